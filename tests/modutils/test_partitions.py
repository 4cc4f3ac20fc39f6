"""The permutation test of a partition: which sets are drawn, and that planted parts alone are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modutils import partitions, statistics

#: In the first layer cluster 4 has one unit, and the last unit has no cluster.
PARTITION = (
    np.array([0] * 2 + [1] * 3 + [2] * 6 + [3] * 7 + [4] + [-1]),
    np.array([5, 6] * 5 + [-1, -1, 6, 6, 7, 7]),
)


class Sets:
    """Keeps the sets that are measured, layer by layer; the measure is the sum of the units' numbers."""

    def __init__(self) -> None:
        self.of: dict[int, list[np.ndarray]] = {}

    def __call__(self, layer: int, sets: list[np.ndarray]) -> dict[str, np.ndarray]:
        self.of[layer] = sets
        return {"sum": np.array([units.sum() for units in sets]), "ends": np.array([units[[0, -1]] for units in sets])}


def test_random_sets_are_permutations_of_the_live_units_of_the_layer() -> None:
    seen = Sets()
    found = partitions.permutation_test(PARTITION, seen, seed=2)
    assert found.layer.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert found.size.tolist() == [2, 3, 6, 7, 5, 7, 2]
    assert found.live.tolist() == [19] * 4 + [14] * 3
    assert found.values["sum"].shape == (7, 21)
    assert found.values["ends"].shape == (7, 21, 2)
    for layer, (own, chosen) in enumerate(zip(PARTITION, ([0, 1, 2, 3], [5, 6, 7]), strict=True)):
        by_label = [seen.of[layer][21 * index : 21 * (index + 1)] for index in range(len(chosen))]
        for label, one, sums in zip(chosen, by_label, found.values["sum"][found.layer == layer], strict=True):
            np.testing.assert_array_equal(one[0], np.flatnonzero(own == label))
            assert sums.tolist() == [units.sum() for units in one]
            assert {len(units) for units in one} == {int((own == label).sum())}
            assert all(len(np.unique(units)) == len(units) for units in one)
            assert len({tuple(units) for units in one}) > 10
        drawn = np.concatenate([units for one in by_label for units in one])
        assert not np.isin(drawn, np.flatnonzero(own < 0)).any()
        for together in zip(*by_label, strict=True):  # one permutation gives sets of every sub-cluster
            units = np.concatenate(together)
            assert len(np.unique(units)) == len(units)
    # Every live unit is drawn.
    drawn = np.concatenate(seen.of[0][21 * 3 + 1 :])
    assert np.bincount(drawn, minlength=20)[:19].min() > 0


def test_the_seed_decides_the_random_sets() -> None:
    first, again, other = (
        partitions.permutation_test(PARTITION, Sets(), seed=seed).values["sum"] for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[:, 1:], other[:, 1:])
    np.testing.assert_array_equal(first[:, 0], other[:, 0])


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        ([0] * 200, []),
        ([0] * 199 + [1], []),  # 99.5 %
        ([0] * 198 + [1, 1], [198, 2]),  # 99 %
        ([0] * 150 + [-1] * 50, []),  # all live units
        ([0] * 98 + [1] + [-1] * 101, [98]),
        ([-1] * 200, []),
    ],
)
def test_a_layer_in_one_cluster_is_left_out(labels: list[int], sizes: list[int]) -> None:
    found = partitions.permutation_test([labels], Sets(), draws=3)
    assert found.size.tolist() == sizes
    assert set(found.live.tolist()) <= {sum(label >= 0 for label in labels)}
    assert bool(found.values) == bool(sizes)


def test_planted_parts_are_found_and_a_random_partition_is_not() -> None:
    generator = np.random.default_rng(0)
    value = np.repeat([0.0, 1.0, 2.0, 3.0], 10) + 0.1 * generator.normal(size=40)

    def spread(_: int, sets: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {"spread": np.array([value[units].std() for units in sets])}

    found = partitions.permutation_test([np.repeat(range(4), 10)] * 3, spread, draws=99)
    table = found.values["spread"]
    p = statistics.rank_p_values(table[:, 0], table[:, 1:-1], "less")
    control = statistics.rank_p_values(table[:, -1], table[:, 1:-1], "less")
    assert (p == 0.005).all()
    assert control.min() > 0.01
    assert statistics.fisher(control) > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [[0.5, 1.0]]}, r"labels\[0\] has shape \(2,\) and type float64"),
        ({"labels": [[0, 1], [0, -2]]}, r"labels\[1\] goes from -2 to 0; -1 or more"),
        ({"draws": 0}, "draws=0"),
        ({"least": 0}, "least=0"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partitions.permutation_test(**{"labels": PARTITION, "measure": Sets(), **change})
