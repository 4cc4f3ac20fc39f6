"""Module search as called by default against its rivals, by its symmetries, and in lock-step on a device."""

from __future__ import annotations

import random
from typing import Any

import igraph
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from test_modularity import GRAPHS, adjacency, gram, partitions

from benchmarks.module_search import blocks, cliques, lfr, rivals
from modutils import _lockstep, _search
from modutils import modularity as library
from modutils.modularity import find_modules, modularity, spectral_modules

SMALL = {
    **{name: adjacency(name) for name in GRAPHS},
    "20 cliques": cliques(20, 5, 0.1, 0),
    "LFR": lfr(1),
    **{f"similarities {seed}": gram(64, seed) * (1 - np.eye(64)) for seed in range(6)},
    **{f"dense {n}": blocks(n, 4, 0.6, 0.3, n) for n in (30, 60, 100)},
    **{f"sparse {n}": blocks(n, 5, 30 / n, 2 / n, n) for n in (30, 60, 100, 200)},
}
seeds = st.integers(0, 10**6)


def graph(seed: int) -> np.ndarray:
    """A weighted graph with modules, of 8 to 40 units, dense or sparse."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 40))
    inside, outside = rng.uniform([0.5, 0.05], [1, 0.5])
    edges = blocks(n, int(rng.integers(2, 5)), inside, outside, seed)
    edges[0, 1] = edges[1, 0] = 1.0  # one edge at least
    return edges


def test_at_or_above_leiden_louvain_and_greedy() -> None:
    """At the size of 21 graphs: at least 20, and none lost by more than 1e-3."""
    gaps = [max(rivals(A)[0].values()) - find_modules(A).q for A in SMALL.values()]
    assert sum(gap <= 1e-6 for gap in gaps) >= len(gaps) - 1
    assert max(gaps) <= 1e-3
    assert min(gaps) < -1e-4  # and above it on some


def test_planted_cliques_are_found() -> None:
    labels = find_modules(SMALL["20 cliques"]).labels
    assert adjusted_rand_score(np.repeat(np.arange(20), 5), labels) == 1


def test_a_climb_ends_where_no_move_helps_and_says_its_q() -> None:
    for seed in range(5):
        edges = library._scaled(gram(20, seed))[0]
        pull = edges.sum(1)
        rng = np.random.default_rng(seed)
        for fixed in (False, True):
            labels, q = _search._climb(edges, pull, np.arange(20) % 3, 30, fixed, rng)
            assert q == pytest.approx(library._quality(edges, labels), abs=1e-13)
            assert set(labels) == set(range(labels.max() + 1))
            assert not fixed or labels.max() == 2
            for i in range(20):
                for c in range(3 if fixed else labels.max() + 2):
                    moved = np.where(np.arange(20) == i, c, labels)
                    if not fixed or len(set(moved)) == 3:
                        assert library._quality(edges, moved) <= q + 2e-12


@pytest.mark.parametrize("resolution", [0.5, 1.0, 2.0])
def test_resolution(resolution: float) -> None:
    A, labels = gram(9, 1), np.array([0, 0, 1, 1, 2, 2, 0, 1, -1])
    edges = library._scaled(A)[0]
    k = edges.sum(1)
    same = (labels[:, None] == labels) & (labels >= 0)
    expected = ((edges - resolution * np.outer(k, k)) * same).sum()
    assert modularity(A, labels, resolution=resolution) == pytest.approx(expected, abs=1e-15)
    best = max(library._quality(edges, row, resolution) for row in partitions(9))
    for start in ("leiden", "alternate"):
        found = find_modules(A, resolution=resolution, start=start, restarts=3)
        assert found.q == pytest.approx(best, abs=1e-12)
        assert found.q == modularity(A, found.labels, resolution=resolution)


def test_higher_resolution_gives_more_modules() -> None:
    A = SMALL["sparse 100"]
    counts = [find_modules(A, resolution=resolution).labels.max() for resolution in (0.2, 1, 5)]
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("start", ["leiden", "spectral"])
def test_so_many_modules(k: int, start: str) -> None:
    A = gram(8, 4)
    edges = library._scaled(A)[0]
    best = max(library._quality(edges, row) for row in partitions(8) if row.max() == k - 1)
    found = find_modules(A, k=k, start=start)
    assert found.labels.max() == k - 1
    assert found.q == pytest.approx(best, abs=1e-12)


def test_default_and_the_papers_procedure() -> None:
    A = gram(30)
    for polish, meant in ((True, "leiden"), (False, "alternate")):
        implied, said = find_modules(A, polish=polish), find_modules(A, polish=polish, start=meant)
        np.testing.assert_array_equal(implied.labels, said.labels)


def test_random_numbers_of_others_are_left_alone() -> None:
    A = gram(30)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    found = find_modules(A, seed=3).labels
    assert (random.getstate(), str(np.random.get_state())) == before  # noqa: NPY002
    random.seed(6)
    np.testing.assert_array_equal(find_modules(A, seed=3).labels, found)
    before_igraph = random.getstate()
    igraph.Graph.Erdos_Renyi(n=20, m=30)  # draws from Python's generator again
    assert random.getstate() != before_igraph


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_order_scale_and_units_without_edges(seed: int) -> None:
    A = graph(seed)
    found = find_modules(A, seed=1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(A))
    permuted = find_modules(A[np.ix_(order, order)], seed=1)
    assert permuted.q == pytest.approx(found.q, abs=5e-3)
    # A power of two changes no digit.
    scaled = find_modules(A * 2.0**40, seed=1)
    np.testing.assert_array_equal(scaled.labels, found.labels)
    padded = np.zeros((len(A) + 2,) * 2)
    padded[1:-1, 1:-1] = A
    wider = find_modules(padded, seed=1)
    np.testing.assert_array_equal(wider.labels, [-1, *found.labels, -1])
    assert ((found.labels == -1) == (A.sum(1) == 0)).all()
    np.testing.assert_array_equal(find_modules(A, seed=1).labels, found.labels)


def test_order_of_units_matters_no_more_than_the_seed() -> None:
    def agreement(found: list[np.ndarray]) -> float:
        return float(np.mean([adjusted_rand_score(a, b) for i, a in enumerate(found) for b in found[:i]]))

    by_order, by_seed = [], []
    for A in (SMALL["sparse 200"], SMALL["dense 60"], SMALL["similarities 0"], SMALL["LFR"]):
        permuted = []
        for seed in range(4):
            order = np.random.default_rng(seed).permutation(len(A))
            permuted.append(find_modules(A[np.ix_(order, order)]).labels[order.argsort()])
        by_order.append(agreement(permuted))
        by_seed.append(agreement([find_modules(A, seed=seed).labels for seed in range(4)]))
    assert np.mean(by_order) > np.mean(by_seed) - 0.1
    assert np.mean(by_order) > 0.8


# In lock-step. On the CPU, `find_modules` does not go there.


def stacked(*names: str) -> torch.Tensor:
    return torch.as_tensor(np.stack([SMALL[name] for name in names]))


def find(A: torch.Tensor, **options: Any) -> torch.Tensor:
    settings = {"restarts": 1, "resolution": 1.0, "k": None, "seed": 0} | options
    return _lockstep.find(_lockstep.scaled(A), **settings)


def test_q_in_torch_equals_numpy() -> None:
    stack = np.stack([gram(20, seed) for seed in range(3)])
    labels = np.random.default_rng(0).integers(-1, 4, size=(3, 20))
    for dtype in (torch.float64, torch.float32):
        given_ = torch.as_tensor(stack).to(dtype)
        edges = _lockstep.scaled(given_)
        np.testing.assert_allclose(edges, library._scaled(given_), rtol=1e-14, atol=0)
        for resolution in (1.0, 1.5):
            q = _lockstep.quality(edges, torch.as_tensor(labels), resolution)
            expected = [modularity(A, row, resolution=resolution) for A, row in zip(given_, labels, strict=True)]
            np.testing.assert_allclose(q, expected, rtol=0, atol=1e-14)


def test_spectral_splits_in_torch_equal_numpy() -> None:
    stack = np.stack([gram(40, seed) for seed in range(4)])
    stack[1, 3] = stack[1, :, 3] = 0
    stack[3] = 0
    labels = _lockstep.spectral(_lockstep.scaled(torch.as_tensor(stack)))
    np.testing.assert_array_equal(labels, spectral_modules(stack).labels)


@pytest.mark.slow
def test_lockstep_reaches_the_same_bar() -> None:
    names = ["karate", "karate weighted"], ["ring of six K5", "dense 30", "sparse 30"], ["similarities 0"]
    gaps = []
    for group in names:
        for name, row in zip(group, find(stacked(*group)), strict=True):
            assert row.dtype == torch.int64
            gaps.append(max(rivals(SMALL[name])[0].values()) - modularity(SMALL[name], row))
    assert max(gaps) <= 1e-6


def test_lockstep_finds_the_optimum_by_enumeration() -> None:
    A = np.stack([gram(8, 8), blocks(8, 2, 0.8, 0.4, 1), blocks(8, 3, 0.9, 0.1, 2)])
    for resolution, k in ((1.0, None), (2.0, None), (1.0, 3)):
        found = find(torch.as_tensor(A), resolution=resolution, k=k)
        for matrix, row in zip(A, found, strict=True):
            edges = library._scaled(matrix)[0]
            best = max(library._quality(edges, p, resolution) for p in partitions(8) if k is None or p.max() == k - 1)
            assert modularity(matrix, row, resolution=resolution) == pytest.approx(best, abs=1e-12)
            assert k is None or row.max() == k - 1


def test_lockstep_edges() -> None:
    pairs = torch.block_diag(torch.ones(2, 2), torch.zeros(1, 1), torch.ones(2, 2))
    found = find(torch.stack([pairs, torch.zeros(5, 5), torch.eye(5)]))
    assert found.tolist() == [[0, 0, -1, 1, 1], [-1] * 5, [-1] * 5]
    assert find(torch.ones(1, 1)).tolist() == [[-1]]
    assert find(torch.ones(2, 2)).tolist() == [[0, 0]]
    A = torch.as_tensor(gram(12))
    assert torch.equal(find(A, seed=2), find(A, seed=2))
    with pytest.raises(ValueError, match="k=5; a matrix has 4 units"):
        find(pairs, k=5)


@pytest.mark.parametrize(
    ("A", "message"),
    [
        (torch.ones(3, 2), r"A has shape \(3, 2\)"),
        (torch.full((3, 3), torch.nan), r"entry \(0, 0\) of matrix 0 is nan, which is not finite"),
        (-torch.eye(3), r"entry \(0, 0\) of matrix 0 is -1.0, which is negative"),
        (torch.tensor([[0, 1.0], [2, 0]]), r"entry \(0, 1\) of matrix 0 is 1.0, .*mirror"),
        (torch.ones(3, 3, dtype=torch.complex64), "A is of type torch.complex64"),
    ],
)
def test_lockstep_refuses(A: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _lockstep.scaled(A)


def test_an_accelerator_is_searched_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatch, with a CPU tensor taken for one on an accelerator; nothing of the size of A goes to the host."""
    A = torch.as_tensor(gram(10))
    expected = find_modules(A)
    assert isinstance(expected.labels, torch.Tensor)
    stack = find_modules(torch.stack([A, A]))
    assert isinstance(stack.q, torch.Tensor)
    monkeypatch.setattr(library, "_on_accelerator", lambda A: True)

    def refuse(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a tensor went to the host")

    for name in ("cpu", "numpy", "__array__", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    found = find_modules(A)
    assert isinstance(found.labels, torch.Tensor)
    assert found.q == pytest.approx(expected.q, abs=1e-12)
    assert find_modules(torch.stack([A, A])).labels.shape == (2, 10)
    assert spectral_modules(A).q <= found.q
    with pytest.raises(ValueError, match="start='spectral' needs the CPU"):
        find_modules(A, start="spectral")
    monkeypatch.undo()
    monkeypatch.setattr(library, "_on_accelerator", lambda A: True)
    assert modularity(A, found.labels) == pytest.approx(found.q, abs=1e-14)
