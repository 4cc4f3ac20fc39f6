"""Intervals cover, p-values are uniform under the null, and tests that can be compared agree with SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from modutils import statistics


def test_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(2, 3, 12)
    found = statistics.mean_interval(values, level=0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert found.n == 12
    np.testing.assert_allclose([found.mean, found.low, found.high], [values.mean(), expected.low, expected.high])


def test_few_values_are_a_mean_without_an_interval_and_nan_does_not_count() -> None:
    nan = np.nan
    found = statistics.mean_interval([1.0, 2.0, 3.0])
    assert found == pytest.approx((2, 2 - 2.484138, 2 + 2.484138, 3))
    assert statistics.mean_interval([nan, 1.0, 2.0, nan, 3.0]) == found
    assert statistics.mean_interval([0.5, nan]) == pytest.approx((0.5, nan, nan, 1), nan_ok=True)
    assert statistics.mean_interval([]) == pytest.approx((nan, nan, nan, 0), nan_ok=True)


def test_shares_have_wilsons_interval_also_of_one() -> None:
    z, p = stats.norm.ppf(0.975), 35 / 36
    middle, half = (p + z**2 / 72) / (1 + z**2 / 36), z / (1 + z**2 / 36) * np.sqrt(p * (1 - p) / 36 + (z / 72) ** 2)
    assert statistics.share(35, 36) == pytest.approx((p, middle - half, middle + half, 36))
    assert statistics.share(1, 1) == pytest.approx((1, 1 / (1 + z**2), 1, 1))
    assert statistics.share(0, 0) == pytest.approx((np.nan, np.nan, np.nan, 0), nan_ok=True)


def test_an_interval_is_written_with_n_or_not_at_all() -> None:
    assert statistics.Interval(0.5, 0.25, 0.75, 12).text(".2f") == "[0.25, 0.75], n = 12"
    assert statistics.Interval(2, 1.23456, -0.0012345, 3).text() == "[1.23, -0.00123], n = 3"
    assert statistics.mean_interval([1.0]).text() == "n = 1, no interval"


def test_trend_is_spearmans_with_the_place_of_what_is_left() -> None:
    values = np.random.default_rng(0).normal(size=9).round(1)
    values[[2, 5]] = np.nan
    left = np.isfinite(values)
    assert statistics.trend(values) == pytest.approx(stats.spearmanr(np.arange(7), values[left]).statistic)
    assert statistics.trend([0.3] * 4) == 0
    assert np.isnan(statistics.trend([1.0, np.nan, 2.0]))


def test_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    intervals = [statistics.mean_interval(generator.normal(size=5), level=0.8) for _ in range(2000)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert abs(covered - 0.8) < 0.03


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_rank_p_value_is_uniform_under_the_null(alternative: str) -> None:
    draws = np.random.default_rng(2).normal(size=(3000, 40))
    p = [statistics.rank_p_value(row[0], row[1:], alternative) for row in draws]
    assert stats.kstest(p, "uniform").statistic < 0.05


def test_ties_strict_is_never_too_small_and_mid_is_one_half_on_average() -> None:
    draws = np.random.default_rng(3).integers(0, 3, size=(4000, 20)).astype(float)
    strict = np.array([statistics.rank_p_value(row[0], row[1:], ties="strict") for row in draws])
    mid = np.array([statistics.rank_p_value(row[0], row[1:]) for row in draws])
    for level in (0.05, 0.2, 0.5):
        assert (strict <= level).mean() <= level + 0.02
    assert abs(mid.mean() - 0.5) < 0.02
    assert strict.mean() > 0.6


def test_rank_p_value_counts() -> None:
    null = [0.0, 1.0, 1.0, 2.0]
    assert statistics.rank_p_value(1.0, null, "greater", ties="strict") == pytest.approx(4 / 5)
    assert statistics.rank_p_value(1.0, null, "greater") == pytest.approx(2.5 / 5)
    assert statistics.rank_p_value(3.0, null, "greater", ties="strict") == pytest.approx(1 / 5)
    assert statistics.rank_p_value(-1.0, null, "less", ties="strict") == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("ties", "greater", "less"),
    [
        ("mid", [0.4, 0.1, 0.5], [0.6, 0.9, 0.5]),
        ("strict", [0.6, 0.2, 1.0], [0.8, 1.0, 1.0]),
        ("ignored", [0.4, 0.2, 0.2], [0.6, 1.0, 0.2]),
    ],
)
def test_rank_p_values_count_for_every_rule(ties: str, greater: list[float], less: list[float]) -> None:
    values = [1.0, 3.0, 0.0]
    null = [[0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(statistics.rank_p_values(values, null, ties=ties), greater)
    np.testing.assert_allclose(statistics.rank_p_values(values, null, "less", ties=ties), less)


def test_infinite_statistics_are_beyond_finite_ones_and_tied_with_each_other() -> None:
    inf = np.inf
    values = [inf, 0.0, -inf]
    null = [[inf, 0.0, 1.0, -inf], [inf, -inf, inf, 5.0], [-inf, -inf, -inf, -inf]]
    np.testing.assert_allclose(statistics.rank_p_values(values, null), [0.2, 0.7, 0.5])
    np.testing.assert_allclose(statistics.rank_p_values(values, null, "less"), [0.8, 0.3, 0.5])
    np.testing.assert_allclose(statistics.rank_p_values(values, null, ties="ignored"), [0.2, 0.8, 0.2])


@pytest.mark.parametrize("alternative", ["greater", "less"])
@pytest.mark.parametrize("ties", ["mid", "strict"])
def test_many_ranks_at_once_are_those_of_each_alone(alternative: str, ties: str) -> None:
    table = np.random.default_rng(6).integers(0, 6, size=(50, 12)).astype(float)
    alone = [statistics.rank_p_value(row[0], row[1:], alternative, ties=ties) for row in table]
    found = statistics.rank_p_values(table[:, 0], table[:, 1:], alternative, ties=ties)
    np.testing.assert_array_equal(found, alone)


def test_without_ties_the_mid_p_is_the_published_p_after_its_shift() -> None:
    table = np.random.default_rng(7).normal(size=(30, 20))
    mid = statistics.rank_p_values(table[:, 0], table[:, 1:])
    published = statistics.rank_p_values(table[:, 0], table[:, 1:], ties="ignored")
    np.testing.assert_allclose(mid, published - 1 / 40)
    assert statistics.fisher(mid) == pytest.approx(statistics.fisher(published, n_null=19))


def _null_partitions(kind: str, count: int = 400, parts: int = 20, draws: int = 19) -> np.ndarray:
    """(count, parts, draws + 1) statistics of sets that are all alike; the first column stands for the true one."""
    generator = np.random.default_rng(8)
    shape = (count, parts, draws + 1)
    if kind == "continuous":
        return generator.normal(size=shape)
    if kind == "tied":
        return generator.poisson(1.0, size=shape).astype(float)
    return np.zeros(shape)


@pytest.mark.parametrize("kind", ["continuous", "tied", "all equal"])
def test_the_mid_p_is_one_half_on_average(kind: str) -> None:
    table = _null_partitions(kind).reshape(-1, 20)
    for alternative in ("greater", "less"):
        mid = statistics.rank_p_values(table[:, 0], table[:, 1:], alternative)
        assert mid.mean() == pytest.approx(0.5, abs=4 * 0.29 / len(mid) ** 0.5)
        assert statistics.rank_p_values(table[:, 0], table[:, 1:], alternative, ties="strict").mean() > 0.52


def _fisher(tables: np.ndarray, ties: str) -> np.ndarray:
    n_null = tables.shape[2] - 1 if ties == "ignored" else None
    p_values = [statistics.rank_p_values(table[:, 0], table[:, 1:], ties=ties) for table in tables]
    return np.array([statistics.fisher(p, n_null=n_null) for p in p_values])


def test_fisher_of_mid_p_values_is_calibrated_and_that_of_the_published_rule_is_not() -> None:
    continuous, tied, equal = (_null_partitions(kind) for kind in ("continuous", "tied", "all equal"))
    combined = _fisher(continuous, "mid")
    # Ranks among 19 are coarse: −ln p is 0.983 on average, not 1, so that the combination is a little too large.
    assert stats.kstest(combined, "uniform").statistic < 0.08
    assert stats.kstest(combined, "uniform", alternative="greater").pvalue > 0.05
    np.testing.assert_allclose(_fisher(continuous, "ignored"), _fisher(continuous, "mid"))
    # Ties take from the spread of mid-p-values, never from their mean: Fisher's combination may only be too large.
    assert (_fisher(tied, "mid") < 0.05).mean() < 0.05
    assert (_fisher(equal, "mid") > 0.5).all()
    assert (_fisher(tied, "ignored") < 0.05).mean() > 0.5
    assert (_fisher(equal, "ignored") < 0.01).all()


def test_fisher_is_scipys_and_the_formula() -> None:
    p = np.random.default_rng(9).uniform(0.001, 1, size=13)
    assert statistics.fisher(p) == pytest.approx(stats.combine_pvalues(p, method="fisher").pvalue)
    assert statistics.fisher(p) == pytest.approx(stats.chi2.sf(-2 * np.log(p).sum(), 26))
    assert statistics.fisher([0.03]) == pytest.approx(0.03)
    shifted = [0.05 - 0.025, 1 - 0.025]
    assert statistics.fisher([0.05, 1.0], n_null=19) == pytest.approx(statistics.fisher(shifted))


def test_bates_is_the_share_of_means_of_uniforms_below() -> None:
    generator = np.random.default_rng(10)
    for n in (2, 5, 12):
        p = generator.uniform(size=n) * 0.9
        simulated = generator.uniform(size=(100_000, n)).mean(axis=1)
        assert statistics.bates(p) == pytest.approx((simulated <= p.mean()).mean(), abs=0.008)
    assert statistics.bates([0.37]) == pytest.approx(0.37)
    assert statistics.bates([1.0, 1.0, 1.0]) == pytest.approx(1)
    assert statistics.bates([0.1, 0.2]) == pytest.approx(0.3**2 / 2)


def test_bates_is_not_moved_by_one_small_p_value() -> None:
    p = [1e-12, 0.6, 0.7, 0.8, 0.9]
    assert statistics.fisher(p) < 1e-5
    assert statistics.bates(p) > 0.5


def _step_up(p_values: np.ndarray, rate: float) -> float:
    largest = 0.0
    for k, p in enumerate(sorted(p_values), start=1):
        if p <= rate * k / len(p_values):
            largest = float(p)
    return largest


def test_benjamini_hochberg_is_the_step_up_written_out() -> None:
    generator = np.random.default_rng(11)
    found = []
    for m in (1, 2, 7, 48):
        for rate in (0.05, 0.2):
            for _ in range(30):
                p = generator.uniform(1e-6, 1, size=m) ** generator.uniform(0.5, 4)
                found.append(statistics.benjamini_hochberg(p, rate))
                assert found[-1] == _step_up(p, rate)
    assert 0 < sum(value == 0 for value in found) < len(found)
    # Above its own line, but below that of a larger one.
    assert statistics.benjamini_hochberg([0.03, 0.04, 0.9], 0.06) == 0.04
    assert statistics.benjamini_hochberg([0.3, 0.9, 1.0]) == 0.0


def _whole(values: np.ndarray, null: np.ndarray, alternative: str = "greater") -> float:
    """P-value of a whole partition: the rank of its score."""
    scores = statistics.partition_scores(values, null, alternative)
    return statistics.rank_p_value(scores[0], scores[1:])


def test_p_value_of_a_partition_is_uniform_also_where_parts_depend_on_each_other() -> None:
    """All parts of a partition move together: fewer independent p-values than Fisher's combination counts."""
    generator = np.random.default_rng(12)
    tables = generator.normal(size=(600, 1, 20)) + 0.3 * generator.normal(size=(600, 8, 20))
    whole = [_whole(table[:, 0], table[:, 1:]) for table in tables]
    assert stats.kstest(whole, "uniform").statistic < 0.06
    assert np.mean(whole) == pytest.approx(0.5, abs=0.04)
    fisher = _fisher(tables, "mid")
    assert (fisher < 0.05).mean() > 0.15
    assert stats.kstest(fisher, "uniform").pvalue < 1e-10


def test_p_value_of_a_partition_finds_what_is_spread_over_the_parts() -> None:
    table = np.random.default_rng(13).normal(size=(30, 20))
    table[:, 0] += 1
    assert _whole(table[:, 0], table[:, 1:]) == 1 / 40
    assert _whole(table[:, 0], table[:, 1:], "less") == 39 / 40
    assert _whole(-table[:, 0], -table[:, 1:], "less") == 1 / 40


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_a_partition_of_one_part_has_the_p_value_of_that_part(alternative: str) -> None:
    for row in np.random.default_rng(14).integers(0, 6, size=(40, 1, 12)).astype(float):
        expected = statistics.rank_p_values(row[:, 0], row[:, 1:], alternative)[0]
        assert _whole(row[:, 0], row[:, 1:], alternative) == pytest.approx(expected)


def test_partition_scores_rank_every_partition_among_all() -> None:
    found = statistics.partition_scores([5.0, 1.0], [[1.0, 5.0, np.inf], [1.0, 1.0, 1.0]])
    expected = -np.log(np.array([[2, 3.5, 2, 0.5], [2, 2, 2, 2]]) / 4)
    expected[0, :3] = -np.log(np.array([2, 3.5, 2]) / 4)
    np.testing.assert_allclose(found, expected.mean(axis=0))


def test_holm_controls_what_it_should() -> None:
    np.testing.assert_allclose(statistics.holm([0.01, 0.02, 0.03, 0.9]), [0.04, 0.06, 0.06, 0.9])
    assert statistics.holm([0.6, 0.7]).max() == 1
    generator = np.random.default_rng(4)
    false = [statistics.holm(generator.uniform(size=5)).min() < 0.05 for _ in range(4000)]
    assert abs(np.mean(false) - 0.05) < 0.015


def test_equivalence_is_found_only_inside_the_margin() -> None:
    generator = np.random.default_rng(5)
    inside = [statistics.equivalence_p_value(generator.normal(0, 0.01, 10), 0.02) < 0.05 for _ in range(100)]
    on_the_edge = [statistics.equivalence_p_value(generator.normal(0.02, 0.01, 10), 0.02) < 0.05 for _ in range(600)]
    assert np.mean(inside) > 0.95
    assert np.mean(on_the_edge) == pytest.approx(0.05, abs=0.025)
    assert statistics.equivalence_p_value([0.01, 0.01], 0.02) == 0
    assert statistics.equivalence_p_value([0.03, 0.03], 0.02) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.mean_interval([1.0, np.inf]), "1 of 2 numbers that are not finite"),
        (lambda: statistics.share(3, 2), "count=3 must be from 0 to n=2"),
        (lambda: statistics.mean_interval([1.0, 2.0], level=1.0), "level=1.0"),
        (lambda: statistics.rank_p_value(0.0, []), "null has 0 numbers"),
        (lambda: statistics.rank_p_value(np.inf, [1.0]), "value=inf"),
        (lambda: statistics.rank_p_value(0.0, [1.0], "larger"), "alternative='larger'"),
        (lambda: statistics.rank_p_value(0.0, [1.0], ties="none"), "ties='none'"),
        (lambda: statistics.rank_p_values([0.0], [0.0, 1.0]), r"shapes \(1,\) and \(2,\)"),
        (lambda: statistics.rank_p_values([0.0, 1.0], [[0.0]]), r"shapes \(2,\) and \(1, 1\)"),
        (lambda: statistics.rank_p_values([0.0], [[]]), r"n ≥ 1\) are needed"),
        (lambda: statistics.rank_p_values([np.nan], [[0.0]]), "has NaN"),
        (lambda: statistics.rank_p_values([0.0], [[np.nan]]), "has NaN"),
        (lambda: statistics.rank_p_values([0.0], [[1.0]], "two-sided"), "alternative='two-sided'"),
        (lambda: statistics.rank_p_values([0.0], [[1.0]], ties="none"), "ties='none'"),
        (lambda: statistics.fisher([0.5], n_null=0), "n_null=0"),
        (lambda: statistics.fisher([0.025, 0.5], n_null=19), "has 0.025: too small for a rank among 19"),
        (lambda: statistics.benjamini_hochberg([0.5], 0.0), "rate=0.0"),
        (lambda: statistics.benjamini_hochberg([0.5], 1.0), "rate=1.0"),
        (lambda: statistics.partition_scores([], np.empty((0, 19))), "no part to test"),
        (lambda: statistics.partition_scores([1.0], [[np.nan]]), "has NaN"),
        (lambda: statistics.effect_size(1.0, [2.0, 2.0]), "null has no spread"),
        (lambda: statistics.holm([1.2]), r"must be in \[0, 1\]"),
        (lambda: statistics.equivalence_p_value([0.0, 1.0], 0.0), "margin=0.0"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("combine", [statistics.fisher, statistics.bates, statistics.benjamini_hochberg])
@pytest.mark.parametrize(
    ("p_values", "message"),
    [
        ([0.5, 0.0], "between 0.0 and 0.5; they must be above 0"),
        ([-0.1, 0.5], "between -0.1 and 0.5; they must be above 0"),
        ([0.5, 1.01], "and 1.01; they must be above 0 and at most 1"),
        ([0.5, np.nan], "1 of 2 numbers that are not finite"),
        ([], "p_values has 0 numbers"),
    ],
)
def test_p_values_that_are_none_are_refused(
    combine: Callable[[list[float]], float], p_values: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        combine(p_values)


@pytest.mark.parametrize("null", [[0.1] * 3, [0.3, 0.1 + 0.2], [1e20, 1e20], [0.0, 0.0], [-1e-300] * 7])
def test_no_effect_size_where_draws_differ_by_rounding_alone(null: list[float]) -> None:
    with pytest.raises(ValueError, match="null has no spread"):
        statistics.effect_size(0.5, null)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_effect_size_of_what_is_no_number(value: float) -> None:
    with pytest.raises(ValueError, match="value has 1 of 1 numbers that are not finite"):
        statistics.effect_size(value, [0.0, 1.0])
