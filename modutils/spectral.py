"""Normalised spectral clustering of a graph, its n-cut, and the shuffles that an n-cut is compared with.

The eigenvectors of the normalised Laplacian I − D^(−1/2) A D^(−1/2) with the smallest eigenvalues, each divided by
√degree, place every node in k dimensions, and k-means groups them (Shi & Malik 2000). A layered graph is bipartite,
with the even layers on one side and the odd ones on the other. There the eigenvectors follow from the singular vectors
of one block, which is several times smaller than the graph.

Graphs and weights are array-like or tensors. Tensors of an accelerator are worked on where they are, in float64; arrays
that come out of tensors are tensors beside them, and labels may be given as either. The diagonal of a graph never
counts: what a unit shares with itself says nothing about a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import linalg
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans

from modutils import _arrays, _check, graphs
from modutils._algebra import leading_eigenvectors, leading_singular_vectors
from modutils._kmeans import kmeans

#: Below this singular value the shortcut's other half of an eigenvector would be noise divided by noise.
_SMALLEST = 1e-6  # a true 0 comes out of the square root of rounding near 1e-8


class Embedding(NamedTuple):
    """Places of the nodes that have an edge.

    ``nodes`` (m,) are their numbers; ``eigenvalues`` (k,) of the normalised adjacency matrix, falling from 1;
    ``points`` (m, k): eigenvectors of the random walk, one column each. Tensors if the graph came as tensors.
    """

    nodes: Any
    eigenvalues: Any
    points: Any


class Clusterability(NamedTuple):
    """How much lower the n-cut of a graph is than those of its shuffles.

    ``z`` is (n-cut − mean of the null) / its standard deviation with divisor n, and ``p`` the share of shuffles below
    it, (b + 1) / (n + 1): both as in the authors' code.
    """

    ncut: float
    null: Any
    z: float
    p: float


def spectral_clusters(A: Any, k: int, *, restarts: int = 25, seed: int = 0) -> Any:
    """Group the nodes of a graph into k clusters by normalised spectral clustering.

    Parameters
    ----------
    A : array or Tensor, shape (n, n)
        Symmetric, at least 0, such as a graph of `modutils.graphs` or a similarity. The diagonal does not count.
    k : int
        Number of clusters, from 1 to the number of nodes with an edge.
    restarts : int
        Of k-means; the best is kept. The authors take 25.
    seed : int

    Returns
    -------
    ndarray of int64, shape (n,)
        0 … k − 1; −1 for a node without any edge. A tensor beside A if that is one. k-means has draws of its own on an
        accelerator: clusters equal those of the CPU where they are separated.

    Raises
    ------
    ValueError
        Not a symmetric matrix of finite numbers that are at least 0, k out of range, or no edge at all.

    References
    ----------
    Shi & Malik (2000); von Luxburg (2007); Hod et al. (2021).

    Examples
    --------
    >>> A = np.kron(np.eye(2), np.ones((3, 3))) - np.eye(6)
    >>> labels = spectral_clusters(A, 2)
    >>> len(set(labels[:3])), len(set(labels[3:])), len(set(labels))
    (1, 1, 2)
    """
    return _arrays.like(_labels(_embedding(A, k), len(A), k, restarts, seed), A)


def layered_clusters(weights: Sequence[Any], k: int, *, restarts: int = 25, seed: int = 0) -> Any:
    """`spectral_clusters` of ``graphs.weight_graph(weights)``, many times faster: see `layered_embedding`.

    Examples
    --------
    >>> block = np.kron(np.eye(2), np.ones((2, 3)))
    >>> layered_clusters([block, np.eye(4)], 2).reshape(2, -1).shape
    (2, 7)
    """
    found = _layered_embedding(weights, k)
    return _arrays.like(_labels(found, sum(graphs.layer_sizes(weights)), k, restarts, seed), *weights)


def _labels(found: Embedding, n: int, k: int, restarts: int, seed: int) -> Any:
    if isinstance(found.points, torch.Tensor):
        on_device = found.nodes.new_full((n,), -1)
        on_device[found.nodes] = kmeans(found.points, k, restarts=restarts, seed=seed)[0]
        return on_device
    labels = np.full(n, -1, dtype=np.int64)
    labels[found.nodes] = KMeans(k, n_init=restarts, random_state=seed).fit_predict(found.points)
    return labels


def embedding(A: Any, k: int) -> Embedding:
    """Where spectral clustering into k clusters places the nodes of a graph.

    Parameters and errors are those of `spectral_clusters`.
    """
    return Embedding(*(_arrays.like(part, A) for part in _embedding(A, k)))


def _embedding(A: Any, k: int) -> Embedding:
    graph = _checked_graph(A)
    degree = graph.sum(axis=0)
    nodes = _places(degree > 0)
    _check_k(k, len(nodes))
    root = 1 / _root(degree[nodes])
    normal = graph[nodes[:, None], nodes] * root[:, None] * root
    values, vectors = _leading(normal, k)
    return Embedding(nodes, values, vectors * root[:, None])


def _root(values: Any) -> Any:
    return values.sqrt() if isinstance(values, torch.Tensor) else np.sqrt(values)


def _places(condition: Any) -> Any:
    """Where a vector is true."""
    return condition.nonzero()[:, 0] if isinstance(condition, torch.Tensor) else np.flatnonzero(condition)


def _leading(normal: Any, k: int) -> tuple[Any, Any]:
    """The k largest eigenvalues of a normalised adjacency matrix, falling, with their eigenvectors."""
    if isinstance(normal, torch.Tensor):
        return leading_eigenvectors(normal, k)
    m = len(normal)
    # ARPACK misses some of the repeated eigenvalues that a graph of several components has.
    if m > 200 and k < m // 4 and connected_components(csr_array(normal), directed=False)[0] == 1:
        values, vectors = eigsh(normal, k, which="LA", v0=np.random.default_rng(0).random(m), tol=0)
        order = np.argsort(-values)
        return values[order], vectors[:, order]
    values, vectors = linalg.eigh(normal, subset_by_index=(m - k, m - 1))
    return values[::-1], vectors[:, ::-1]


def layered_embedding(weights: Sequence[Any], k: int) -> Embedding:
    """`embedding` of ``graphs.weight_graph(weights)`` from the singular vectors of one block.

    Let B be the weights between even layers (rows) and odd ones, and N = D_even^(−1/2) B D_odd^(−1/2). The eigenvalues
    of the normalised adjacency matrix are ±σ for the singular values σ of N, and the eigenvectors of +σ are (u, v)/√2.
    So the smaller of NᵀN and NNᵀ is decomposed. Where k singular values above rounding do not exist, the whole graph
    is.

    Raises
    ------
    ValueError
        Weights that do not fit together or are not finite, k out of range, or no edge at all.
    """
    return Embedding(*(_arrays.like(part, *weights) for part in _layered_embedding(weights, k)))


def _layered_embedding(weights: Sequence[Any], k: int) -> Embedding:
    blocks = graphs.checked_weights(weights)
    sizes = graphs.layer_sizes(blocks)
    layer = np.repeat(np.arange(len(sizes)), sizes)
    rows, columns = np.flatnonzero(layer % 2 == 0), np.flatnonzero(layer % 2 == 1)
    on_device = isinstance(blocks[0], torch.Tensor)
    B = blocks[0].new_zeros(len(rows), len(columns)) if on_device else np.zeros((len(rows), len(columns)))
    row_ends = np.cumsum([size if index % 2 == 0 else 0 for index, size in enumerate(sizes)])
    column_ends = np.cumsum([size if index % 2 == 1 else 0 for index, size in enumerate(sizes)])
    for below, block in enumerate(blocks):  # joins layers `below` and `below + 1`
        even, odd = (below, below + 1) if below % 2 == 0 else (below + 1, below)
        place = np.s_[row_ends[even] - sizes[even] : row_ends[even], column_ends[odd] - sizes[odd] : column_ends[odd]]
        B[place] = block.T if below % 2 == 0 else block
    row_degree, column_degree = B.sum(axis=1), B.sum(axis=0)
    live_rows, live_columns = row_degree > 0, column_degree > 0
    m = int(live_rows.sum() + live_columns.sum())
    _check_k(k, m)
    N = B[_places(live_rows)[:, None], _places(live_columns)]
    N = N / _root(row_degree[live_rows])[:, None] / _root(column_degree[live_columns])
    tall = N.shape[0] >= N.shape[1]
    if k > min(N.shape):
        return _embedding(graphs.weight_graph(blocks), k)
    if on_device:
        left, values, right = leading_singular_vectors(N, k)
        if values[-1] < _SMALLEST:
            return _embedding(graphs.weight_graph(blocks), k)
        volumes = torch.cat([row_degree[live_rows], column_degree[live_columns]])
        places = torch.cat([left, right]) / (2 * volumes).sqrt()[:, None]
        sides = zip((rows, columns), (live_rows, live_columns), strict=True)
        numbers, by_number = torch.cat([_arrays.like(side, B)[live] for side, live in sides]).sort()
        return Embedding(numbers, values, places[by_number])
    gram = N.T @ N if tall else N @ N.T
    side = len(gram)
    squares, small = linalg.eigh(gram, subset_by_index=(side - k, side - 1))
    sigma = np.sqrt(np.maximum(squares[::-1], 0))
    if sigma[-1] < _SMALLEST:
        return _embedding(graphs.weight_graph(blocks), k)
    small = small[:, ::-1]
    large = (N @ small if tall else N.T @ small) / sigma
    u, v = (large, small) if tall else (small, large)
    degree = np.concatenate([row_degree[live_rows], column_degree[live_columns]])
    points = np.concatenate([u, v]) / np.sqrt(2 * degree)[:, None]
    nodes = np.concatenate([rows[live_rows], columns[live_columns]])
    order = np.argsort(nodes)
    return Embedding(nodes[order], sigma, points[order])


def ncut(A: Any, labels: Any) -> float:
    """Sum over clusters of the share of their edges' weight that leaves them: Σ_c cut(c, rest) / vol(c).

    ``vol(c)`` is the sum of the degrees of the nodes in c. For k clusters it lies between 0 (no edge leaves any) and
    k; random clusters of one size have about k − 1.

    Parameters
    ----------
    A : array or Tensor, shape (n, n)
        As for `spectral_clusters`.
    labels : array or Tensor of int, shape (n,)
        Cluster of each node; −1 = unassigned, whose edges are left out.

    Raises
    ------
    ValueError
        Shapes that do not fit, nothing assigned, or a cluster without any edge.

    References
    ----------
    Shi & Malik (2000), eq. 2 for two clusters.

    Examples
    --------
    >>> round(ncut([[0, 1, 0], [1, 0, 1], [0, 1, 0]], [0, 0, 1]), 6)
    1.333333
    """
    graph = _checked_graph(A)
    member = _membership(labels, graph)
    kept = _places(member.sum(axis=1) > 0)
    return _ncut(member[kept].T @ graph[kept[:, None], kept] @ member[kept])


def layered_ncut(weights: Sequence[Any], labels: Any) -> float:
    """`ncut` of ``graphs.weight_graph(weights)`` without that matrix.

    Examples
    --------
    >>> round(layered_ncut([[[1.0]], [[1.0]]], [0, 0, 1]), 6)
    1.333333
    """
    blocks = graphs.checked_weights(weights)
    sizes = graphs.layer_sizes(blocks)
    member = _membership(labels, blocks[0], sum(sizes))
    parts = [member[end - size : end] for size, end in zip(sizes, np.cumsum(sizes), strict=True)]
    between: Any = sum(above.T @ block @ below for block, (below, above) in zip(blocks, pairwise(parts), strict=True))
    return _ncut(between + between.T)


def _membership(labels: Any, beside: Any, n: int | None = None) -> Any:
    """0/1 matrix (n, clusters) in float64 beside the weights, of which there is a row per node if n is not given."""
    cluster = _check.labels("labels", labels, len(beside) if n is None else n)
    if cluster.max(initial=-1) < 0:
        raise ValueError("labels assign no node: all are -1")
    names = np.unique(cluster[cluster >= 0])
    return _arrays.like((cluster[:, None] == names).astype(float), beside)


def _ncut(between: Any) -> float:
    """From the weight between every two clusters, that within them counted twice."""
    volume = between.sum(axis=1)
    if (volume == 0).any():
        raise ValueError(f"labels has a cluster without any edge: number {int(_places(volume == 0)[0])} of them")
    return float((1 - between.diagonal() / volume).sum())


def local_clusters(weights: Sequence[Any], counts: Sequence[int], *, restarts: int = 25, seed: int = 0) -> Any:
    """Cluster every layer from the graph of three consecutive layers of which it is the middle.

    Clusters of different layers never share a label. The lowest and the highest layer get their labels from the
    lowest and the highest such graph.

    Parameters
    ----------
    weights : sequence of arrays or tensors, shapes (out, in)
        At least two.
    counts : sequence of int
        Clusters asked for, layer by layer, such as the number of different labels that `layered_clusters` gives the
        layer. The graph around a layer is cut into so many clusters; its middle layer may meet fewer of them. A count
        above the nodes of the graph is lowered to them.

    Returns
    -------
    ndarray of int64, shape (nodes,)
        A tensor beside the weights if they are tensors.

    Raises
    ------
    ValueError
        Fewer than two weights, or not one count ≥ 1 per layer.
    """
    blocks = graphs.checked_weights(weights)
    sizes = graphs.layer_sizes(blocks)
    if len(blocks) < 2:
        raise ValueError(f"weights has {len(blocks)} entry; three consecutive layers need two")
    if len(counts) != len(sizes) or min(counts) < 1:
        raise ValueError(f"counts={list(counts)} must have one number, at least 1, for each of {len(sizes)} layers")
    ends = np.cumsum(sizes)
    labels = np.full(ends[-1], -1, dtype=np.int64)
    used = 0
    for layer, size in enumerate(sizes):
        middle = min(max(layer, 1), len(sizes) - 2)
        pair = blocks[middle - 1 : middle + 1]
        live = sum(int((w > 0).any(axis).sum()) for w, axis in ((pair[0], 0), (pair[1], 1)))
        live += int(((pair[0] > 0).any(1) | (pair[1] > 0).any(0)).sum())
        if not live:
            continue
        own = _arrays.host(layered_clusters(pair, min(counts[layer], live), restarts=restarts, seed=seed))
        begin = sum(sizes[middle - 1 : layer])
        part = own[begin : begin + size]
        _, numbers = np.unique(part[part >= 0], return_inverse=True)
        place = labels[ends[layer] - size : ends[layer]]
        place[part >= 0] = used + numbers
        used += int(numbers.max(initial=-1)) + 1
    return _arrays.like(labels, *weights)


def components(weights: Sequence[Any]) -> Any:
    """Sizes of the connected components of a layered graph, largest first; a node without an edge is one of size 1."""
    if _arrays.on_device(*weights):
        joined = graphs.weight_graph(weights) > 0
        joined |= torch.eye(len(joined), dtype=torch.bool, device=joined.device)
        name = torch.arange(len(joined), device=joined.device)
        while True:  # every node takes the smallest name among its neighbours, and then that node's own
            smallest = torch.where(joined, name, len(name)).amin(1)
            smallest = smallest[smallest]
            if torch.equal(smallest, name):
                return name.unique(return_counts=True)[1].sort(descending=True).values
            name = smallest
    graph = _arrays.host(graphs.weight_graph(weights))
    count, of_node = connected_components(csr_array(graph), directed=False)
    return _arrays.like(-np.sort(-np.bincount(of_node, minlength=count)), *weights)


def shuffled_weights(weights: Sequence[Any], *, keep_zeros: bool = False, seed: int = 0) -> Iterator[list[Any]]:
    """Endlessly the same weights, permuted at random within each layer. A seed gives the same on every device.

    Parameters
    ----------
    weights : sequence of arrays or tensors, shapes (out, in)
    keep_zeros : bool
        Permute only entries that are not zero among themselves, so that who is joined to whom stays.
    seed : int
    """
    blocks = graphs.checked_weights(weights)
    generator = np.random.default_rng(seed)
    while True:
        shuffled = []
        for block in blocks:
            if keep_zeros:
                new = block + 0
                new[block > 0] = _permuted(block[block > 0], generator)
            else:
                new = _permuted(block.ravel(), generator).reshape(block.shape)
            shuffled.append(_arrays.like(new, *weights))
        yield shuffled


def shuffled_edges(A: Any, *, seed: int = 0) -> Iterator[Any]:
    """Endlessly the same graph with the weights of its edges permuted at random over all pairs of nodes.

    A seed gives the same on every device.
    """
    graph = _checked_graph(A)
    upper = tuple(_arrays.like(one, graph) for one in np.triu_indices(len(graph), 1))
    generator = np.random.default_rng(seed)
    while True:
        new = 0 * graph
        new[upper] = _permuted(graph[upper], generator)
        yield _arrays.like(new + new.T, A)


def _permuted(values: Any, generator: np.random.Generator) -> Any:
    """A vector in a random order, which does not depend on where it is."""
    return values[_arrays.like(generator.permutation(len(values)), values)]


def clusterability(value: float, null: Any) -> Clusterability:
    """Compare an n-cut with those of shuffled graphs that were clustered with the same effort.

    Raises
    ------
    ValueError
        Fewer than two shuffles, numbers that are not finite, or shuffles without spread.

    Examples
    --------
    >>> clusterability(8.0, [10.0, 10.2, 9.8]).p
    0.25
    """
    value, draws = float(value), _arrays.host(null).astype(float).ravel()
    if draws.size < 2 or not np.isfinite(draws).all() or not np.isfinite(value):
        raise ValueError(f"value={value} and null, {draws.size} numbers: needed are finite ones, null at least two")
    spread = float(draws.std())
    if np.ptp(draws) == 0:
        raise ValueError(f"null has no spread: all {draws.size} shuffles have n-cut {draws[0]}")
    p = (int((draws < value).sum()) + 1) / (draws.size + 1)
    return Clusterability(value, _arrays.like(draws, null), float((value - draws.mean()) / spread), p)


def _check_k(k: int, nodes: int) -> None:
    if nodes == 0:
        raise ValueError("the graph has no edge, so there is nothing to cluster")
    _check.count("k", k, 1, nodes)


def _checked_graph(A: Any) -> Any:
    """In float64 without its diagonal, a tensor only on an accelerator; not a copy where none is needed."""
    on_device = _arrays.on_device(A)
    graph = _arrays.placed(A) if on_device else _arrays.host(A).astype(float, copy=False)
    xp = torch if on_device else np
    if graph.ndim != 2 or graph.shape[0] != graph.shape[1]:
        raise ValueError(f"A has shape {tuple(graph.shape)}; an adjacency matrix (n, n) is needed")
    if not xp.isfinite(graph).all() or (graph < 0).any():
        raise ValueError("A must have finite entries of at least 0; take the sizes of signed weights")
    if not xp.allclose(graph, graph.T, rtol=1e-10, atol=1e-300):
        raise ValueError("A is not symmetric; the graph must be undirected")
    return graph - xp.diag(graph.diagonal()) if (graph.diagonal() != 0).any() else graph
