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
        (lambda: statistics.mean_interval([1.0]), "values has 1 numbers; at least 2"),
        (lambda: statistics.mean_interval([1.0, np.nan]), "not finite"),
        (lambda: statistics.mean_interval([1.0, 2.0], level=1.0), "level=1.0"),
        (lambda: statistics.rank_p_value(0.0, []), "null has 0 numbers"),
        (lambda: statistics.rank_p_value(np.inf, [1.0]), "value=inf"),
        (lambda: statistics.rank_p_value(0.0, [1.0], "larger"), "alternative='larger'"),
        (lambda: statistics.rank_p_value(0.0, [1.0], ties="none"), "ties='none'"),
        (lambda: statistics.effect_size(1.0, [2.0, 2.0]), "null has no spread"),
        (lambda: statistics.holm([1.2]), r"must be in \[0, 1\]"),
        (lambda: statistics.equivalence_p_value([0.0, 1.0], 0.0), "margin=0.0"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
