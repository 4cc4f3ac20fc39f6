"""Spectral clustering against numpy, scikit-learn and networkx; n-cuts and shuffles against loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy.linalg import block_diag
from sklearn.cluster import SpectralClustering
from sklearn.manifold import spectral_embedding
from sklearn.metrics import adjusted_rand_score

from modutils import spectral
from modutils.graphs import weight_graph
from modutils.spectral import embedding, layered_clusters, layered_embedding, layered_ncut, ncut, spectral_clusters

LAYERS = {2: [9, 6], 3: [5, 12, 6], 4: [8, 7, 11, 9], 5: [10, 9, 8, 12, 7], 6: [6, 7, 9, 8, 6, 10]}


def random_weights(sizes: list[int], density: float = 1.0, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [(above, below) for below, above in pairwise(sizes)]
    return [rng.standard_normal(shape) * (rng.random(shape) < density) for shape in shapes]


def random_graph(n: int, seed: int = 0) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).random((n, n)), 1)
    return upper + upper.T


def planted(groups: list[np.ndarray], across: float = 0.1, seed: int = 0) -> list[np.ndarray]:
    """Weights about 1 within a group of units and about ``across`` between groups, of random signs."""
    rng = np.random.default_rng(seed)
    joined = [np.where(above[:, None] == below, 1, across) for below, above in pairwise(groups)]
    return [block * rng.uniform(0.8, 1.2, block.shape) * rng.choice([-1, 1], block.shape) for block in joined]


def shuffled_groups(sizes: list[int], k: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.arange(size) % k) for size in sizes]


def check_eigenvectors(found: spectral.Embedding, A: np.ndarray, k: int) -> None:
    """The definition: D⁻¹ A p = λ p, orthonormal where a node counts by its degree, and λ the k largest."""
    degree = A.sum(axis=0)
    np.testing.assert_array_equal(found.nodes, np.flatnonzero(degree))
    A, degree = A[np.ix_(found.nodes, found.nodes)], degree[found.nodes]
    walk = A / degree[:, None]
    largest = np.sort(np.linalg.eigvals(walk).real)[::-1][:k]
    np.testing.assert_allclose(found.eigenvalues, largest, atol=1e-9)
    np.testing.assert_allclose(walk @ found.points, found.points * found.eigenvalues, atol=1e-9)
    np.testing.assert_allclose(found.points.T @ (degree[:, None] * found.points), np.eye(k), atol=1e-9)


def projector(found: spectral.Embedding, A: np.ndarray) -> np.ndarray:
    vectors = found.points * np.sqrt(A.sum(axis=0)[found.nodes])[:, None]
    return vectors @ vectors.T


def cut_by_loops(A: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for c in set(labels.tolist()) - {-1}:
        inside = [i for i, label in enumerate(labels) if label == c]
        outside = [i for i, label in enumerate(labels) if label not in (c, -1)]
        leaving = sum(A[i, j] for i in inside for j in outside)
        total += leaving / (leaving + sum(A[i, j] for i in inside for j in inside))
    return total


def cut_by_networkx(A: np.ndarray, labels: np.ndarray) -> float:
    graph = nx.from_numpy_array(A).subgraph(np.flatnonzero(labels >= 0).tolist())
    sets = [set(np.flatnonzero(labels == c).tolist()) for c in np.unique(labels[labels >= 0])]
    return sum(nx.cut_size(graph, c, weight="weight") / nx.volume(graph, c, weight="weight") for c in sets)


@pytest.mark.parametrize(("n", "k"), [(12, 3), (40, 12), (40, 40), (260, 6)])
def test_embedding_holds_the_leading_eigenvectors_of_the_walk(n: int, k: int) -> None:
    A = random_graph(n)
    A[[0, 5]] = A[:, [0, 5]] = 0
    check_eigenvectors(embedding(A, min(k, n - 2)), A, min(k, n - 2))


@pytest.mark.parametrize("n", [30, 260])
def test_embedding_equals_that_of_scikit_learn_up_to_signs(n: int) -> None:
    A = random_graph(n)
    reference = spectral_embedding(A, n_components=5, drop_first=False, random_state=0)
    found = embedding(A, 5).points
    np.testing.assert_allclose(found * np.sign((found * reference).sum(axis=0)), reference, atol=1e-9)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("kind", ["full", "sparse", "isolated units", "two parts"])
def test_shortcut_finds_the_eigenvectors_of_the_whole_graph(kind: str, layers: int, k: int) -> None:
    weights = random_weights(LAYERS[layers], density=0.6 if kind == "sparse" else 1.0)
    if kind == "isolated units":
        weights[0][:, [0, 3]] = 0
        weights[-1][2] = 0
    if kind == "two parts":
        others = random_weights(LAYERS[layers], seed=1)
        weights, k = [block_diag(*pair) for pair in zip(weights, others, strict=True)], k + 1
    A = weight_graph(weights)
    found, whole = layered_embedding(weights, k), embedding(A, k)
    check_eigenvectors(found, A, k)
    np.testing.assert_allclose(found.eigenvalues, whole.eigenvalues, atol=1e-9)
    np.testing.assert_allclose(projector(found, A), projector(whole, A), atol=1e-8)


def test_eigenvalues_are_the_singular_values_of_the_normalised_block() -> None:
    (block,) = weights = random_weights([9, 6])
    size = np.abs(block)
    N = size / np.sqrt(np.outer(size.sum(axis=1), size.sum(axis=0)))
    np.testing.assert_allclose(layered_embedding(weights, 6).eigenvalues, np.linalg.svd(N)[1], atol=1e-12)


@pytest.mark.parametrize(("sizes", "k"), [([2, 30], 5), ([4, 3, 5], 7), ([4, 3, 5], 12), ([1, 1], 2), ([3, 120, 2], 5)])
def test_more_clusters_than_singular_values(sizes: list[int], k: int) -> None:
    """There the eigenvalues 0, and then the negative ones, come into play."""
    weights = random_weights(sizes)
    found = layered_embedding(weights, k)
    check_eigenvectors(found, weight_graph(weights), k)
    labels = layered_clusters(weights, k, restarts=3)
    assert 0 == labels.min() <= labels.max() < k


def test_layer_wholly_dead() -> None:
    weights = random_weights([7, 5, 4, 6, 8])
    weights[1][:] = weights[2][:] = 0
    A = weight_graph(weights)
    check_eigenvectors(layered_embedding(weights, 3), A, 3)
    labels = layered_clusters(weights, 2)
    assert set(labels[12:16]) == {-1}
    assert adjusted_rand_score(np.delete(labels, np.s_[12:16]), [0] * 12 + [1] * 14) == 1
    assert layered_ncut(weights, labels) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("layers", [2, 3, 5])
def test_planted_groups_are_found(layers: int, k: int) -> None:
    groups = shuffled_groups([20, 15, 25, 20, 15][:layers], k, seed=k)
    weights = planted(groups)
    A = weight_graph(weights)
    rival = SpectralClustering(k, affinity="precomputed", random_state=0).fit_predict(A)
    for scale in (1e-150, 1.0, 1e150):
        for found in (
            layered_clusters([block * scale for block in weights], k),
            spectral_clusters(A * scale, k),
            rival,
        ):
            assert adjusted_rand_score(found, np.concatenate(groups)) == 1


@pytest.mark.parametrize("layers", LAYERS)
def test_ncut_equals_loops_and_networkx(layers: int) -> None:
    weights = random_weights(LAYERS[layers], density=0.8)
    A = weight_graph(weights)
    rng = np.random.default_rng(layers)
    some_left_out = np.maximum(rng.integers(-2, 3, size=len(A)) * 5, -1)
    for labels in (rng.integers(3, size=len(A)), some_left_out, np.zeros(len(A), int)):
        expected = cut_by_loops(A, labels)
        assert cut_by_networkx(A, labels) == pytest.approx(expected, abs=1e-12)
        assert ncut(A, labels) == pytest.approx(expected, abs=1e-12)
        assert layered_ncut(weights, labels) == pytest.approx(expected, abs=1e-12)


def test_no_partition_cuts_less_than_the_eigenvalues_allow() -> None:
    """Shi & Malik's relaxation: the n-cut of k clusters is at least k − Σ λ."""
    weights = random_weights([12, 10, 8], density=0.5)
    for k in (2, 3, 6):
        bound = k - layered_embedding(weights, k).eigenvalues.sum()
        found = layered_ncut(weights, layered_clusters(weights, k))
        rng = np.random.default_rng(k)
        others = [layered_ncut(weights, rng.permutation(np.arange(30) % k)) for _ in range(200)]
        assert bound - 1e-12 <= found < min(others)


def test_isolated_units_belong_to_no_cluster() -> None:
    weights = random_weights([8, 7, 6])
    weights[0][:, 2] = weights[1][4] = 0
    weights[0][3] = weights[1][:, 3] = 0
    for labels in (layered_clusters(weights, 3), spectral_clusters(weight_graph(weights), 3)):
        assert np.flatnonzero(labels == -1).tolist() == [2, 11, 19]
        assert set(labels) == {-1, 0, 1, 2}


def test_the_diagonal_of_a_similarity_does_not_count() -> None:
    """One group of small similarities beside one of large ones; every unit is most like itself."""
    groups, A = np.repeat([0, 1], 20), random_graph(40)
    A = np.where(groups[:, None] == groups, 1, 0.3) * (0.2 + A) * np.where(groups[:, None] + groups > 0, 0.2, 1)
    similar = A + np.diag(np.random.default_rng(1).exponential(100, 40))
    labels = spectral_clusters(similar, 2)
    np.testing.assert_array_equal(labels, spectral_clusters(A - np.diag(np.diag(A)), 2))
    assert adjusted_rand_score(labels, groups) == 1
    assert ncut(similar, labels) == ncut(A, labels) == pytest.approx(cut_by_loops(A - np.diag(np.diag(A)), labels))


@pytest.mark.parametrize(
    ("given", "k", "message"),
    [
        (np.ones((2, 3)), 1, r"A has shape \(2, 3\)"),
        (np.full((2, 2), np.nan), 1, "A must have finite"),
        (np.array([[0, -1], [-1, 0]]), 1, "A must have finite entries of at least 0"),
        (np.array([[0, 1], [2, 0]]), 1, "A is not symmetric"),
        (np.zeros((3, 3)), 1, "graph has no edge"),
        (np.ones((3, 3)), 0, "k=0; an integer, 1 ... 3"),
        (block_diag([[0, 1], [1, 0]], [[1.0]]), 3, "k=3; an integer, 1 ... 2"),
        (np.eye(3), 1, "graph has no edge"),
        ([], 1, "weights is empty"),
        ([np.ones((2, 3)), np.ones((2, 3))], 1, r"weights\[1\] has shape \(2, 3\)"),
        ([np.full((2, 3), np.nan)], 1, r"weights\[0\] has NaN"),
        ([np.zeros((2, 3))], 1, "graph has no edge"),
        ([np.ones((2, 3))], 0, "k=0; an integer, 1 ... 5"),
        ([np.diag([1.0, 0.0])], 3, "k=3; an integer, 1 ... 2"),
    ],
)
def test_what_cannot_be_clustered(given: Any, k: int, message: str) -> None:
    layered = isinstance(given, list)
    for call in (layered_clusters, layered_embedding) if layered else (spectral_clusters, embedding):
        with pytest.raises(ValueError, match=message):
            call(given, k)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels has shape \(2,\)"),
        ([0.0, 1.0, 1.0], "labels has shape .* and type float64"),
        ([-1, -1, -1], "labels assign no node"),
        ([0, 1, 0], "labels has a cluster without any edge: number 1 "),
        ([5, 9, -1], "labels has a cluster without any edge: number 0 "),
    ],
)
def test_labels_without_an_ncut(labels: list[int], message: str) -> None:
    weights = [[[1.0, 0.0]]]
    with pytest.raises(ValueError, match=message):
        layered_ncut(weights, labels)
    with pytest.raises(ValueError, match=message):
        ncut(weight_graph(weights), labels)


@pytest.mark.parametrize("seed", [0, 1])
def test_local_clusters_come_from_the_three_layers_around(seed: int) -> None:
    """Each middle layer has groups of its own: the weights of the layers above and below disagree elsewhere."""
    sizes, k = [20, 18, 16, 24], 3
    groups = shuffled_groups(sizes, k, seed)
    weights = planted(groups, across=0.3, seed=seed)
    labels = np.split(spectral.local_clusters(weights, [k] * 4, restarts=10), np.cumsum(sizes)[:-1])
    for layer, part in enumerate(labels):
        first = min(max(layer - 1, 0), 1)
        graph = weight_graph(weights[first : first + 2])
        rival = SpectralClustering(k, affinity="precomputed", random_state=0).fit_predict(graph)
        begin = sum(sizes[first:layer])
        assert adjusted_rand_score(part, rival[begin : begin + sizes[layer]]) == 1
        assert set(part) == set(range(k * layer, k * layer + k))


def test_local_clusters_of_unlike_layers() -> None:
    """A count of 1, a layer of one unit, a count above the nodes, and units that are dead on both sides."""
    sizes = [6, 5, 1, 4, 7]
    weights = random_weights(sizes)
    weights[0][2] = weights[1][:, 2] = 0
    labels = spectral.local_clusters(weights, [3, 1, 4, 99, 2], restarts=5)
    parts = [set(part[part >= 0].tolist()) for part in np.split(labels, np.cumsum(sizes)[:-1])]
    assert np.flatnonzero(labels == -1).tolist() == [8]
    assert len(parts[1]) == len(parts[2]) == 1
    assert len(parts[3]) == 4
    assert sum(map(len, parts)) == len(set.union(*parts)) == labels.max() + 1


def test_local_clusters_of_layers_without_live_units() -> None:
    sizes = [6, 5, 8, 7]
    weights = random_weights(sizes)
    weights[0][:] = weights[1][:] = 0
    labels = spectral.local_clusters(weights, [2, 2, 2, 3], restarts=5)
    assert set(labels[:11]) == {-1}
    assert labels[11:].min() == 0
    assert not set(labels[11:19]) & set(labels[19:])
    assert set(spectral.local_clusters([block * 0 for block in weights], [1] * 4)) == {-1}


@pytest.mark.parametrize("density", [0.05, 0.1, 0.2, 1.0])
def test_components_equal_networkx(density: float) -> None:
    weights = random_weights([12, 10, 9, 6], density)
    sets = nx.connected_components(nx.from_numpy_array(weight_graph(weights)))
    assert spectral.components(weights).tolist() == sorted(map(len, sets), reverse=True)


@pytest.mark.parametrize("keep_zeros", [False, True])
def test_shuffles_keep_the_sizes_of_each_layer(keep_zeros: bool) -> None:
    weights = random_weights([8, 7, 6], density=0.5)
    draws = list(islice(spectral.shuffled_weights(weights, keep_zeros=keep_zeros), 3))
    assert not np.array_equal(draws[0][0], draws[1][0])
    for draw in draws:
        for new, old in zip(draw, weights, strict=True):
            np.testing.assert_array_equal(np.sort(new, axis=None), np.sort(np.abs(old), axis=None))
            assert not np.array_equal(new, np.abs(old))
            assert np.array_equal(new > 0, old != 0) == keep_zeros


def test_every_shuffle_is_as_likely() -> None:
    weights = [np.array([[1.0, 2.0], [3.0, 0.0]])]
    for keep_zeros, arrangements in ((False, 24), (True, 6)):
        draws = islice(spectral.shuffled_weights(weights, keep_zeros=keep_zeros), 2400)
        _, times = np.unique([new.ravel() for (new,) in draws], axis=0, return_counts=True)
        assert len(times) == arrangements
        assert np.abs(times - 2400 / arrangements).max() < 5 * np.sqrt(2400 / arrangements)


def test_shuffled_edges_keep_their_sizes() -> None:
    A = random_graph(9)
    upper = np.triu_indices(9, 1)
    for new in islice(spectral.shuffled_edges(A), 3):
        np.testing.assert_array_equal(np.sort(new[upper]), np.sort(A[upper]))
        np.testing.assert_array_equal(new, new.T)
        assert not np.diag(new).any()
        assert not np.array_equal(new, A)


@pytest.mark.parametrize(("value", "below"), [(9.0, 0), (12.0, 1), (13.0, 2), (20.0, 4)])
def test_clusterability_by_hand(value: float, below: int) -> None:
    found = spectral.clusterability(value, [10, 12, 14, 16])
    assert found.z == pytest.approx((value - 13) / 5**0.5, abs=1e-14)
    assert found.p == (below + 1) / 5
    assert found.ncut == value
    assert found.null.tolist() == [10, 12, 14, 16]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectral.local_clusters(random_weights([3, 4]), [1, 1]), "weights has 1 entry"),
        (lambda: spectral.local_clusters(random_weights([3, 4, 2]), [1, 1]), r"counts=\[1, 1\] must have one number"),
        (lambda: spectral.local_clusters(random_weights([3, 4, 2]), [1, 0, 1]), r"counts=\[1, 0, 1\] .* at least 1"),
        (lambda: next(spectral.shuffled_weights([])), "weights is empty"),
        (lambda: next(spectral.shuffled_edges([[0, 1], [0, 0]])), "A is not symmetric"),
        (lambda: spectral.clusterability(9.0, [10.5] * 4), "null has no spread"),
        (lambda: spectral.clusterability(9.0, [10.5]), "null"),
        (lambda: spectral.clusterability(9.0, [10.5, np.nan]), "null"),
    ],
)
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_results_depend_on_nothing_but_the_seed() -> None:
    weights, A = random_weights([30, 25, 20]), random_graph(260)
    calls: list[Callable[[int], Any]] = [
        lambda seed: layered_clusters(weights, 5, restarts=1, seed=seed),
        lambda seed: spectral_clusters(A, 5, restarts=1, seed=seed),
        lambda seed: spectral.local_clusters(weights, [3, 3, 3], restarts=1, seed=seed),
        lambda seed: next(spectral.shuffled_weights(weights, seed=seed))[1],
        lambda seed: next(spectral.shuffled_edges(A, seed=seed)),
    ]
    for call in calls:
        np.testing.assert_array_equal(call(0), call(0))
        assert not np.array_equal(call(0), call(1))
