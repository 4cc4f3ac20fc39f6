"""Modularity against networkx, the searches against known and enumerated optima, and the chain step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from modutils import _check
from modutils import modularity as library
from modutils.modularity import effective_number, find_modules, modularity, spectral_modules

# Highest modularity known.
GRAPHS: dict[str, tuple[nx.Graph, str | None, float]] = {
    "karate": (nx.karate_club_graph(), None, 0.4198),
    "karate weighted": (nx.karate_club_graph(), "weight", 0.4449),
    "les miserables": (nx.les_miserables_graph(), None, 0.5600),
    "les miserables weighted": (nx.les_miserables_graph(), "weight", 0.5667),
    "florentine families": (nx.florentine_families_graph(), None, 0.3988),
    "ring of six K5": (nx.ring_of_cliques(6, 5), None, 0.7424),
}


def adjacency(name: str) -> np.ndarray:
    graph, weight, _ = GRAPHS[name]
    return nx.to_numpy_array(graph, weight=weight)


def gram(n: int, seed: int = 0, features: int | None = None) -> np.ndarray:
    """Sizes of the inner products of random vectors: what similarities of an untrained layer look like."""
    vectors = np.random.default_rng(seed).standard_normal((n, features or n))
    return np.abs(vectors @ vectors.T)


def written_out(A: np.ndarray, labels: np.ndarray) -> float:
    """Q as a plain double sum over pairs of units."""
    A = np.array(A, dtype=np.float64)
    np.fill_diagonal(A, 0)
    A /= A.sum()
    k = A.sum(axis=1)
    pairs = [(i, j) for i in range(len(A)) for j in range(len(A)) if labels[i] == labels[j] >= 0]
    return math.fsum(A[i, j] - k[i] * k[j] for i, j in pairs)


def partitions(n: int) -> Iterator[np.ndarray]:
    """Every partition of n units once, as labels in the order of first appearance."""
    stack = [[0]]
    while stack:
        labels = stack.pop()
        if len(labels) == n:
            yield np.array(labels)
        else:
            stack += [[*labels, new] for new in range(max(labels) + 2)]


@pytest.mark.parametrize("name", GRAPHS)
def test_modularity_equals_networkx(name: str) -> None:
    graph, weight, _ = GRAPHS[name]
    nodes = list(graph)
    rng = np.random.default_rng(0)
    for modules in (1, 2, 5, len(nodes)):
        labels = rng.integers(modules, size=len(nodes))
        sets = [{nodes[i] for i in np.flatnonzero(labels == c)} for c in np.unique(labels)]
        expected = nx.community.modularity(graph, sets, weight=weight)
        assert modularity(adjacency(name), labels) == pytest.approx(expected, abs=1e-12)


def test_modularity_ignores_scale_diagonal_and_numbering() -> None:
    A = gram(12)
    labels = np.random.default_rng(1).integers(-1, 3, size=12)
    expected = written_out(A, labels)
    assert modularity(A, labels) == pytest.approx(expected, abs=1e-14)
    assert modularity(A + 7 * np.eye(12), labels) == modularity(A, labels)
    for scale in (1e-300, 1e300):
        assert modularity(A * scale, labels) == pytest.approx(expected, abs=1e-14)
    assert modularity(A, np.where(labels >= 0, labels * 10**12 + 3, -1)) == modularity(A, labels)


def test_units_without_a_module_add_nothing_but_keep_their_edges() -> None:
    A = gram(6)
    alone = np.array([0, 0, 0, 1, 1, 2])
    k = (A - np.diag(np.diag(A))).sum(axis=1)
    difference = modularity(A, [0, 0, 0, 1, 1, -1]) - modularity(A, alone)
    assert difference == pytest.approx((k[5] / k.sum()) ** 2, abs=1e-15)
    assert modularity(A, [-1] * 6) == 0


@pytest.mark.parametrize("name", GRAPHS)
def test_known_optima_and_other_searches(name: str) -> None:
    graph, weight, optimum = GRAPHS[name]
    found = find_modules(adjacency(name), restarts=10)
    assert found.q == pytest.approx(optimum, abs=5.1e-5)
    for sets in (
        *(nx.community.louvain_communities(graph, weight=weight, seed=seed) for seed in range(20)),
        nx.community.greedy_modularity_communities(graph, weight=weight),
    ):
        assert found.q >= nx.community.modularity(graph, sets, weight=weight) - 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_never_below_louvain_or_greedy_on_random_graphs(seed: int) -> None:
    graphs = [
        nx.from_numpy_array(gram(64, seed) * (1 - np.eye(64))),
        nx.gnp_random_graph(50, 0.1, seed=seed),
        nx.powerlaw_cluster_graph(60, 3, 0.3, seed=seed),
        nx.random_partition_graph([15, 20, 25], 0.4, 0.05, seed=seed),
    ]
    for graph in graphs:
        found = find_modules(nx.to_numpy_array(graph), restarts=100, steps=200, start="perturbed")
        rivals = [nx.community.louvain_communities(graph, seed=s) for s in range(3)]
        rivals.append(nx.community.greedy_modularity_communities(graph, weight="weight"))
        assert found.q >= max(nx.community.modularity(graph, sets) for sets in rivals) - 1e-12


@pytest.mark.parametrize("n", [2, 3, 5, 7, 8])
def test_optimum_by_enumeration(n: int) -> None:
    rng = np.random.default_rng(n)
    for kind in ("dense", "sparse"):
        A = gram(n, seed=n) if kind == "dense" else np.triu(rng.random((n, n)) < 0.5, 1) * rng.random((n, n))
        A = A + A.T
        A[0, 1] = A[1, 0] = 1.0
        scaled = library._scaled(A)[0]
        best = max(library._quality(scaled, labels) for labels in partitions(n))
        assert find_modules(A, restarts=6).q == pytest.approx(best, abs=1e-12)


def test_enumeration_counts_bell_numbers() -> None:
    assert [sum(1 for _ in partitions(n)) for n in (1, 2, 3, 5, 8)] == [1, 2, 5, 52, 4140]


def test_spectral_start_on_karate() -> None:
    """The eigenvalue largest in magnitude is negative here, and would leave the club undivided (Q = 0)."""
    scaled = library._scaled(adjacency("karate"))[0]
    k = scaled.sum(axis=1)
    values = np.linalg.eigvalsh(scaled - np.outer(k, k))
    assert -values[0] > values[-1]
    assert spectral_modules(adjacency("karate")).q == pytest.approx(0.4094, abs=5e-5)


def test_spectral_splits_written_out() -> None:
    for seed in range(5):
        A = gram(40, seed)
        scaled = library._scaled(A)[0]
        k = scaled.sum(axis=1)
        B = scaled - np.outer(k, k)
        labels, queue = np.zeros(40, dtype=int), [0]
        while queue:
            members = np.flatnonzero(labels == queue.pop(0))
            block = B[np.ix_(members, members)]
            vector = np.linalg.eigh(block)[1][:, -1]
            split = labels.copy()
            split[members[vector < 0]] = labels.max() + 1
            if written_out(A, split) > written_out(A, labels) + 1e-12:
                queue += [labels[members[vector >= 0][0]], labels.max() + 1]
                labels = split
        expected = _check.renumbered(labels)
        np.testing.assert_array_equal(spectral_modules(A).labels, expected)
        assert len(np.unique(expected)) > 2


def test_spectral_zeros_stay_together() -> None:
    """A star: the leaves enter the leading eigenvector alike; two stars joined at a leaf leave that leaf at zero."""
    two = nx.Graph([(0, 1), (0, 2), (3, 4), (3, 5), (0, 6), (3, 6)])
    found = spectral_modules(nx.to_numpy_array(two, nodelist=range(7)))
    assert found.q == pytest.approx(written_out(nx.to_numpy_array(two, nodelist=range(7)), found.labels), abs=1e-14)
    assert len(set(found.labels[[0, 1, 2]])) == len(set(found.labels[[3, 4, 5]])) == 1
    assert found.labels[6] in (found.labels[0], found.labels[3])


def replay(
    edges: np.ndarray, start: np.ndarray, units: np.ndarray, uniforms: np.ndarray
) -> tuple[np.ndarray, float, list[float]]:
    """The chain, each candidate partition scored from scratch; returns the best, its Q, and all entropies."""
    labels, best, best_q = start.copy(), start.copy(), library._quality(edges, start)
    entropies, log_tau = [], -5.0
    for i, uniform in zip(units, uniforms, strict=True):
        others = np.delete(labels, i)
        modules = sorted(set(labels.tolist()))
        # A unit alone in its module has its own; all others may open a new one.
        options = [*modules, labels.max() + 1] if labels[i] in others else modules
        candidates = [np.where(np.arange(len(labels)) == i, c, labels) for c in options]
        q = np.array([library._quality(edges, candidate) for candidate in candidates])
        assert len({_check.renumbered(candidate).tobytes() for candidate in candidates}) == len(candidates)
        if q.max() > best_q + 1e-12:
            best, best_q = candidates[q.argmax()], q.max()
        weights = np.empty(len(q))
        log_tau, entropy = library._soften(q, log_tau, weights)
        p = np.exp((q - q.max()) / np.exp(log_tau))
        np.testing.assert_allclose(weights, p, atol=1e-12)
        p /= p.sum()
        assert entropy == pytest.approx(-np.sum(p * np.log(np.maximum(p, 1e-300))), abs=1e-9)
        entropies.append(entropy)
        labels = candidates[int(np.searchsorted(np.cumsum(p), uniform, side="right"))]
        # The chain closes the gap that an emptied module leaves by giving the last module its number.
        gaps = sorted(set(range(labels.max() + 1)) - set(labels.tolist()))
        if gaps:
            labels = np.where(labels == labels.max(), gaps[0], labels)
    return best, best_q, entropies


@pytest.mark.parametrize("start", ["spectral", "single", "apart"])
def test_incremental_chain_equals_scoring_from_scratch(start: str) -> None:
    edges = library._scaled(gram(14, seed=3, features=6))[0]
    first = {"spectral": library._spectral(edges), "single": np.zeros(14, np.int64), "apart": np.arange(14)}[start]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        units, uniforms = rng.integers(14, size=300), rng.random(300)
        best, best_q, entropies = replay(edges, first, units, uniforms)
        fast = library._chain(edges, edges.sum(axis=1), first, units, uniforms)
        np.testing.assert_array_equal(_check.renumbered(fast), _check.renumbered(best))
        assert library._quality(edges, fast) == pytest.approx(best_q, abs=1e-15)
        # Random similarities do not tie, so that 0.15 nats can be reached in every step.
        assert max(abs(entropy - 0.15) for entropy in entropies) <= 0.01


@pytest.mark.parametrize("log_tau", [-13.8, -5.0, 0.0, 13.8])
def test_temperature(log_tau: float) -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 10, 60):
        for scale in (1e-4, 1e-2, 1.0, 1e3):
            scores = rng.standard_normal(size) * scale
            weights = np.empty(size)
            found, entropy = library._soften(scores, log_tau, weights)
            assert abs(entropy - 0.15) <= 0.01
            assert weights.max() == 1
            assert np.log(1e-6) < found < np.log(1e6)
    # Two equal best moves: log 2 is the least entropy there is, and the temperature goes to its lower limit.
    found, entropy = library._soften(np.array([1.0, 1.0, 0.0]), log_tau, np.empty(3))
    assert entropy == pytest.approx(np.log(2), abs=1e-6)
    assert found == pytest.approx(np.log(1e-6), abs=1e-2)


def test_polish_leaves_no_improving_move() -> None:
    improved = 0
    for seed in range(5):
        edges = library._scaled(gram(16, seed))[0]
        for start in (np.zeros(16, np.int64), np.arange(16), np.random.default_rng(seed).integers(3, size=16)):
            polished = library._polish(edges, edges.sum(axis=1), _check.renumbered(start))
            q = library._quality(edges, polished)
            assert q >= library._quality(edges, start) - 1e-15
            improved += q > library._quality(edges, start) + 1e-6
            for i in range(16):
                for c in range(polished.max() + 2):
                    moved = np.where(np.arange(16) == i, c, polished)
                    assert library._quality(edges, moved) <= q + 2e-12
    assert improved == 15


def test_polish_and_restarts_and_steps_never_lower_q() -> None:
    stack = np.stack([gram(32, seed) for seed in range(4)])
    spectral = spectral_modules(stack).q
    plain = find_modules(stack, polish=False, seed=1).q
    polished = find_modules(stack, start="alternate", seed=1).q
    many = find_modules(stack, start="alternate", restarts=8, seed=1).q
    assert (spectral <= plain + 1e-15).all()
    assert (plain <= polished + 1e-15).all()
    assert (polished <= many + 1e-15).all()
    assert (many > spectral + 1e-4).all()
    unmoved = find_modules(stack, steps=0, polish=False)
    np.testing.assert_array_equal(unmoved.labels, spectral_modules(stack).labels)
    assert find_modules(stack, steps=0, polish=False, start="single").q == pytest.approx(0, abs=1e-15)


def test_starts() -> None:
    stack = np.stack([gram(24, seed) for seed in range(6)])

    def q(start: str, restarts: int) -> np.ndarray:
        return find_modules(stack, steps=20, polish=False, start=start, restarts=restarts).q

    assert (q("alternate", 1) == q("spectral", 1)).all()
    assert (q("spectral", 1) != q("single", 1)).all()
    assert (q("alternate", 2) >= q("spectral", 1)).all()
    assert (q("single", 1) < q("single", 12)).any()
    assert (q("perturbed", 1) == q("spectral", 1)).all()
    assert (q("perturbed", 4) >= q("perturbed", 1)).all()
    assert (q("perturbed", 4) != q("spectral", 4)).any()


def test_perturbed_restarts_find_more_in_the_same_steps() -> None:
    stack = np.stack([gram(64, seed) for seed in range(4)])
    alternate = find_modules(stack, restarts=20, steps=100, start="alternate", seed=1).q
    perturbed = find_modules(stack, restarts=20, steps=100, start="perturbed", seed=1).q
    assert perturbed.mean() > alternate.mean()


def test_one_matrix_is_the_first_slice_of_a_stack() -> None:
    stack = np.stack([gram(20, seed) for seed in (0, 1, 0)])
    whole = find_modules(stack, restarts=2, steps=30, polish=False, seed=5)
    alone = find_modules(stack[0], restarts=2, steps=30, polish=False, seed=5)
    np.testing.assert_array_equal(whole.labels[0], alone.labels)
    assert whole.q[0] == alone.q
    assert isinstance(alone.q, float)
    assert whole.labels.shape == (3, 20)
    assert whole.labels.dtype == np.int64
    assert whole.q.dtype == np.float64
    # The same matrix at another place has a chain of its own.
    assert (whole.labels[2] != whole.labels[0]).any()
    np.testing.assert_array_equal(spectral_modules(stack).labels[1], spectral_modules(stack[1]).labels)
    for labels, A, q in zip(whole.labels, stack, whole.q, strict=True):
        assert modularity(A, labels) == q
        assert q == pytest.approx(written_out(A, labels), abs=1e-14)


def test_seed_decides() -> None:
    A = gram(40)
    first = find_modules(A, steps=50, polish=False, seed=1)
    again = find_modules(A, steps=50, polish=False, seed=1)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert any((find_modules(A, steps=50, polish=False, seed=s).labels != first.labels).any() for s in (2, 3))


def test_units_without_edges_are_unused() -> None:
    A = gram(10)
    whole = find_modules(A, restarts=4)
    padded = np.zeros((13, 13))
    kept = np.array([0, 2, 3, 4, 6, 7, 8, 9, 11, 12])
    padded[np.ix_(kept, kept)] = A
    padded[5, 5] = 3.0  # similar only to itself
    for found in (find_modules(padded, restarts=4), spectral_modules(padded)):
        np.testing.assert_array_equal(np.flatnonzero(found.labels == -1), [1, 5, 10])
    found = find_modules(padded, restarts=4)
    np.testing.assert_array_equal(found.labels[kept], whole.labels)
    assert found.q == pytest.approx(whole.q, abs=1e-15)


@pytest.mark.parametrize("search", [find_modules, spectral_modules])
def test_edges(search: Any) -> None:
    for A in (np.zeros((4, 4)), np.eye(4)):
        found = search(A)
        assert found.labels.tolist() == [-1] * 4
        assert found.q == modularity(A, [0, 0, 1, 1]) == 0.0
    assert search([[2.0]]).labels.tolist() == [-1]
    assert search([[0, 3], [3, 0]]).labels.tolist() == [0, 0]
    assert search([[0, 3], [3, 0]]).q == 0.0
    mixed = search(np.stack([np.zeros((4, 4)), np.kron(np.eye(2), np.ones((2, 2)))]))
    assert mixed.labels.tolist() == [[-1] * 4, [0, 0, 1, 1]]
    assert mixed.q.tolist() == [0.0, 0.5]


def test_labels_are_numbered_by_first_appearance() -> None:
    for seed in range(5):
        for found in (find_modules(gram(20, seed)), spectral_modules(gram(20, seed))):
            names, first = np.unique(found.labels, return_index=True)
            assert names.tolist() == list(range(len(names)))
            assert (np.diff(first) > 0).all()


def test_single_precision_and_tensors() -> None:
    A = gram(16).astype(np.float32)
    A[0, 1] *= 1 + 3e-7
    found = find_modules(A)
    np.testing.assert_array_equal(find_modules(torch.as_tensor(A)).labels, found.labels)
    np.testing.assert_array_equal(find_modules(A.astype(np.float64)).labels, found.labels)
    assert modularity(torch.as_tensor(A), torch.as_tensor(found.labels)) == found.q
    before = A.copy()
    find_modules(A)
    np.testing.assert_array_equal(A, before)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 0, 0], 1.0), ([0, 1, 2, 7], 4.0), ([-1, 3, 3, -1], 1.0), ([0, 0, 0, 1], 4 / 3**0.75), ([-1, -1], 0.0)],
)
def test_effective_number(labels: list[int], expected: float) -> None:
    assert effective_number(labels) == pytest.approx(expected, abs=1e-14)


def changed(value: float, *places: tuple[int, ...]) -> np.ndarray:
    A = np.ones((3, 3))
    for place in places:
        A[place] = value
    return A


@pytest.mark.parametrize("call", [find_modules, spectral_modules, lambda A: modularity(A, [0, 0, 1])])
@pytest.mark.parametrize(
    ("A", "message"),
    [
        (changed(2, (0, 1)), r"not symmetric: entry \(0, 1\) of matrix 0 is 2.0 and \(1, 0\) is 1.0"),
        (changed(1 + 1e-5, (0, 1)), "not symmetric"),
        (changed(-1, (0, 2), (2, 0)), r"A\[0, 2\] = -1.0; non-negative"),
        (changed(np.nan, (1, 2), (2, 1)), r"A\[1, 2\] = nan; finite"),
        (changed(np.inf, (1, 1)), r"A\[1, 1\] = inf; finite"),
        (np.ones((3, 2)), r"A has shape \(3, 2\)"),
        (np.ones(3), r"A has shape \(3,\)"),
        (np.ones((0, 0)), r"A has shape \(0, 0\)"),
        (np.ones((3, 3)) + 1j, "A is of type complex128; real"),
        (torch.ones(3, 3, dtype=torch.complex64), "A is of type complex64; real"),
    ],
)
def test_bad_matrices(call: Any, A: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(A)


def test_bad_matrix_in_a_stack_is_named() -> None:
    stack = np.ones((3, 4, 4))
    stack[2, 1, 0] = -5
    with pytest.raises(ValueError, match=r"A\[2, 1, 0\] = -5.0"):
        find_modules(stack)
    with pytest.raises(ValueError, match=r"A has shape \(3, 4, 4\); \(n, n\)"):
        modularity(np.ones((3, 4, 4)), [0, 0, 0, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels has shape \(2,\)"),
        ([[0, 1, 1]], r"labels has shape \(1, 3\)"),
        ([0.0, 1.0, 1.0], "type float64"),
        ([0, -2, 1], "labels goes from -2 to 1; -1 or more"),
    ],
)
def test_bad_labels(labels: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        modularity(np.ones((3, 3)), labels)
    if message != r"labels has shape \(2,\)":
        with pytest.raises(ValueError, match=message):
            effective_number(labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps=-1"),
        ({"steps": 10.5}, r"steps=10\.5"),
        ({"restarts": 0}, "restarts=0"),
        ({"seed": -3}, "seed=-3"),
        ({"start": "louvain"}, "start='louvain'"),
        ({"resolution": -0.5}, r"resolution=-0\.5"),
        ({"resolution": math.nan}, "resolution=nan"),
        ({"k": 0}, "k=0"),
        ({"k": 4}, "k=4; matrix 0 has 3 units"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_modules(np.ones((3, 3)), **options)
