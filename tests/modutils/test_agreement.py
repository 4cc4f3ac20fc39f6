"""Element-centric similarity against clusim, and its chance level against shuffles and all permutations."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from clusim.clustering import Clustering
from clusim.sim import element_sim

from modutils.agreement import chance_similarities, chance_similarity, element_similarities, element_similarity


def reference(a: np.ndarray, b: np.ndarray) -> float:
    of_both = [Clustering(elm2clu_dict={unit: [int(c)] for unit, c in enumerate(labels)}) for labels in (a, b)]
    return float(element_sim(*of_both, alpha=0.9))


def pair(seed: int, unused: bool = True) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 70))
    return np.stack([rng.integers(-1 if unused else 0, rng.integers(1, 9), size=n) for _ in range(2)])


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_clusim(seed: int) -> None:
    a, b = pair(seed)
    assert element_similarity(a, b) == pytest.approx(reference(a, b), abs=1e-12)
    both = (a >= 0) & (b >= 0)
    if both.any():
        expected = reference(a[both], b[both])
        assert element_similarity(a, b, unused="drop") == pytest.approx(expected, abs=1e-12)


def test_shared_unused_units_raise_the_similarity_unless_dropped() -> None:
    a, b = np.array([0, 0, 1, 1] + [-1] * 12), np.array([0, 1, 0, 1] + [-1] * 12)
    assert element_similarity(a, b) == (4 * 0.5 + 12) / 16
    assert element_similarity(a, b, unused="drop") == 0.5


@pytest.mark.parametrize("unused", ["one module", "drop"])
def test_chance_level_against_shuffles(unused: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-1, 4, size=30), rng.choice([-1, 0, 0, 0, 1, 2, 3, 4], size=30)
    kept = (a >= 0) & (b >= 0) if unused == "drop" else np.ones(30, dtype=bool)
    shuffled = [
        element_similarities(np.stack([b[kept], *(rng.permutation(a[kept]) for _ in range(20))]))[0, 1:]
        for _ in range(1000)
    ]
    error = np.std(shuffled) / np.sqrt(20_000)
    assert error < 5e-4
    assert chance_similarity(a, b, unused=unused) == pytest.approx(np.mean(shuffled), abs=4 * error)


@pytest.mark.parametrize(
    ("a", "b"),
    [([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 1]), ([0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 2]), ([0] * 6, [0, 0, 1, 1, 2, 2])],
)
def test_chance_level_over_all_permutations(a: list[int], b: list[int]) -> None:
    expected = np.mean([element_similarity(order, b) for order in permutations(a)])
    assert chance_similarity(a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("modules", "level"), [(2, 0.51), (3, 0.35), (4, 0.285), (5, 0.25), (6, 0.23)])
def test_chance_level_of_equal_modules(modules: int, level: float) -> None:
    labels = np.arange(64) % modules
    assert chance_similarity(labels, labels) == pytest.approx(level, abs=0.006)


def test_chance_where_nothing_can_vary() -> None:
    assert chance_similarity([0, 0, 0], [4, 4, 4]) == 1
    assert chance_similarity([0, 1, 2], [2, 0, 1]) == pytest.approx(1, abs=1e-15)
    assert chance_similarity([0], [1]) == 1
    assert element_similarity([0], [-1]) == 1


@pytest.mark.parametrize("unused", ["one module", "drop"])
def test_all_pairs_equal_one_by_one(unused: str) -> None:
    rng = np.random.default_rng(2)
    labels = np.stack([rng.integers(-1, most, size=64) for most in (1, 2, 3, 5, 8, 40)])
    similarities, chances = element_similarities(labels, unused=unused), chance_similarities(labels, unused=unused)
    assert similarities.shape == chances.shape == (6, 6)
    for i, a in enumerate(labels):
        for j, b in enumerate(labels):
            assert similarities[i, j] == pytest.approx(element_similarity(a, b, unused=unused), abs=1e-14)
            assert chances[i, j] == pytest.approx(chance_similarity(a, b, unused=unused), abs=1e-14)
    np.testing.assert_array_equal(np.diag(similarities), 1)
    for matrix in (similarities, chances):
        np.testing.assert_array_equal(matrix, matrix.T)
        assert (matrix > 0).all()
        assert (matrix <= 1 + 1e-15).all()


def test_numbering_does_not_matter() -> None:
    a, b = pair(3, unused=False)
    assert element_similarity(a * 10**9 + 5, b) == element_similarity(a, b) == element_similarity(b, a)
    assert element_similarity(torch.as_tensor(a), torch.as_tensor(b)) == element_similarity(a, b)


def test_pairs_without_a_unit_in_common() -> None:
    labels = [[0, 0, -1, -1], [-1, -1, 0, 1], [0, 1, 1, 1], [-1] * 4]
    similarities = element_similarities(labels, unused="drop")
    expected = [[False, True, False, True], [True, False, False, True], [False, False, False, True], [True] * 4]
    np.testing.assert_array_equal(np.isnan(similarities), expected)
    np.testing.assert_array_equal(np.isnan(chance_similarities(labels, unused="drop")), expected)
    for call in (element_similarity, chance_similarity):
        with pytest.raises(ValueError, match="no unit has a module in both a and b"):
            call(labels[0], labels[1], unused="drop")


@pytest.mark.parametrize("call", [element_similarity, chance_similarity])
@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ([0, 1], [0, 1, 1], {}, r"b has shape \(3,\) .* shape \(2,\)"),
        ([[0, 1]], [[0, 1]], {}, r"a has shape \(1, 2\)"),
        ([0, 1], [0.0, 1.0], {}, "b .* type float64"),
        ([0, -2], [0, 1], {}, "a goes from -2 to 0"),
        ([0, 1], [0, 1], {"unused": "keep"}, "unused='keep'"),
    ],
)
def test_bad_pairs(call: Any, a: Any, b: Any, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(a, b, **options)


@pytest.mark.parametrize("call", [element_similarities, chance_similarities])
def test_bad_tables(call: Any) -> None:
    for labels in ([0, 1], np.empty((0, 3), dtype=int), np.empty((3, 0), dtype=int), [[0.5, 1.0]], [[-2, 0]]):
        with pytest.raises(ValueError, match="labels"):
            call(labels)


def test_no_unit_at_all() -> None:
    empty = np.empty(0, dtype=int)
    with pytest.raises(ValueError, match="one unit or more"):
        element_similarity(empty, empty)
