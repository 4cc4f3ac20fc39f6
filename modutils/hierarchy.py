"""Find the hierarchy of modules in a pruned network, from its masks alone.

Masks are a list of L arrays of 0/1 or bool, one per layer of weights, each of shape (out, in): masks[l] leads from
unit layer l to unit layer l + 1. Unit layer 0 are the inputs, unit layer L the outputs.

Four steps, one function each, and `detect_modules` that composes them:

1. `condense`: which units lie on a path from an input to an output.
2. `reach`: a unit is described by the units downstream that it reaches.
3. `cluster_layer`: units of one layer with similar reach form a cluster.
4. `merge_clusters`: clusters of consecutive layers that are joined by nearly all of their edges form a module.

Nothing but reach describes a unit. So hidden units that feed the same units form one cluster, even if they compute on
different inputs; pruning has to make their targets differ.

References
----------
S. B. Patil, L. Michael and C. Dovrolis, "Neural Sculpting: Uncovering hierarchically modular task structure in neural
networks through pruning and network analysis", NeurIPS 2023.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from modutils import _check

__all__ = [
    "LayerClusters",
    "cluster_layer",
    "condense",
    "condensed_sizes",
    "cut_layer",
    "detect_modules",
    "merge_clusters",
    "reach",
    "signature",
]

_DECIMALS = 12  # of distances and scores: what is left after rounding is no tie by accident
_Q_DECIMALS = 8  # of the distance modularity, as in the authors' code


class LayerClusters(NamedTuple):
    """Clusters of the units of one layer.

    Attributes
    ----------
    labels : ndarray of int64, shape (n,)
        0, 1, ... in the order of first appearance.
    k : int
        Number of clusters.
    q : float
        Distance modularity of these clusters: ``q_by_k[k - 1]``.
    reason : {"modularity", "all separate", "all one", "single unit"}
        What decided on k: the lowest distance modularity, one of the two tests, or that there is one unit only.
    q_by_k : ndarray of float64, shape (n,)
        Distance modularity of the tree cut into 1 ... n clusters, at index k - 1. Modularity chooses among
        k = 2 ... n - 1.
    """

    labels: np.ndarray
    k: int
    q: float
    reason: str
    q_by_k: np.ndarray


def condense(masks: Sequence[Any]) -> list[np.ndarray]:
    """Which units are alive.

    Inputs without outgoing edges are dropped, and so are hidden units that lack incoming or outgoing edges, until
    nothing changes. What is left lies on a path from an input to an output. Outputs always stay.

    Parameters
    ----------
    masks : list of L arrays of 0/1 or bool, shape (out, in)
        From unit layer l to unit layer l + 1.

    Returns
    -------
    list of L + 1 ndarrays of bool
        True for the units of a layer that are alive.

    Raises
    ------
    ValueError
        No mask; a mask that is not 2-D, has no unit, has entries other than 0 and 1, or does not follow on the one
        before.

    Examples
    --------
    The second input feeds nothing, the second hidden unit is fed by nothing.

    >>> [units.tolist() for units in condense([[[1, 0], [0, 0]], [[1, 1]]])]
    [[True, False], [True, False], [True]]
    """
    layers = _check.masks(masks)
    fed = [np.ones(layers[0].shape[1], dtype=bool)]
    for mask in layers:
        fed.append(mask @ fed[-1])  # of bools: any
    alive = [np.ones(len(layers[-1]), dtype=bool)]
    for mask, from_input in zip(reversed(layers), fed[-2::-1], strict=True):
        alive.append((alive[-1] @ mask) & from_input)
    return alive[::-1]


def condensed_sizes(masks: Sequence[Any]) -> list[int]:
    """Number of units alive per layer, inputs first, outputs last.

    Parameters and what is raised are as in `condense`.

    Examples
    --------
    >>> condensed_sizes([[[1, 0], [0, 0]], [[1, 1]]])
    [1, 1, 1]
    """
    return [int(units.sum()) for units in condense(masks)]


def reach(masks: Sequence[Any], *, hops: int | None = None) -> list[np.ndarray]:
    """Which units downstream each unit reaches.

    Parameters
    ----------
    masks : list of L arrays of 0/1 or bool, shape (out, in)
        As in `condense`.
    hops : int, optional
        1 or more: longest path in edges. By default all the way down.

    Returns
    -------
    list of L ndarrays of bool, shape (units of layer l, units of all later layers)
        For layers 0 ... L - 1: True if a directed path of at most ``hops`` edges leads from the unit of the row to
        that of the column. Columns are in the order of layers, alive or not.

    Raises
    ------
    ValueError
        As `condense`; or hops below 1.

    Examples
    --------
    Two inputs, one hidden unit, two outputs.

    >>> [features.astype(int).tolist() for features in reach([[[1, 0]], [[0], [1]]])]
    [[[1, 0, 1], [0, 0, 0]], [[0, 1]]]
    """
    layers = _check.masks(masks)
    hops = len(layers) if hops is None else hops
    _check.count("hops", hops, 1)
    features = []
    for start, mask in enumerate(layers):
        blocks = [mask.T]
        for away, later in enumerate(layers[start + 1 :], 2):
            # float32 counts the paths through up to 2^24 units exactly, and is far faster than a product of bools.
            paths = blocks[-1].astype(np.float32) @ later.T.astype(np.float32)
            blocks.append((paths > 0) & (away <= hops))
        features.append(np.concatenate(blocks, axis=1))
    return features


def cluster_layer(features: Any, *, modularity_threshold: float = -0.2, n_targets: int | None = None) -> LayerClusters:
    """Cluster the units of one layer by what they reach.

    The tree is that of average linkage on cosine distances D. With E = D / ΣD, a cut into k clusters has the distance
    modularity

        Q(k) = Σ_c [ Σ_{i,j∈c} E_ij − (Σ_{i∈c} Σ_j E_ij)² ],

    rounded to 8 decimals; if all units are the same, Q = 0. The lower, the closer are the units of a cluster. The
    lowest Q among k = 2 ... n − 1 wins, the largest k among equals; for n = 2, k = 2. (`cut_layer` takes a k instead.)

    Two tests may overrule this, if k is 2 or n − 1 or Q is above the threshold, and always for n = 2. They ask whether
    two reach vectors, with k₁ and k₂ ones, share more of them (k₁₂) than chance would have it: e = k₁k₂ / N with the
    deviation σ = √(e (1 − k₁k₂ / N²)), N being ``n_targets``.

    - *All separate*, k = n: the two units that merge first have k₁₂ ≤ e.
    - *All one*, k = 1: the unions of the reach vectors in the last two clusters have k₁₂ ≥ e.
    - If both: all one if its (k₁₂ − e) / σ is not below (e − k₁₂) / σ of the other; for σ = 0, the difference counts.

    The authors' code asks for more: k₁₂ = 0 counts as separate, k₁₂ = max(k₁, k₂) as one, and neither as the other.
    As no unit reaches nothing or more than N, this never changes the result.

    Parameters
    ----------
    features : array of 0/1 or bool, shape (n, m)
        What each unit reaches (`reach`). Every unit must reach something: take the units that are alive.
    modularity_threshold : float
        In [-1, 1). A Q above it calls for the tests. The authors use -0.2, and -0.3 for MNIST.
    n_targets : int, optional
        N: how many units there are to reach. By default m; give it where some columns are of units condensed away or
        farther than ``hops``, which are all zero.

    Returns
    -------
    LayerClusters
        Where pairs tie for the next merge, which one goes first depends on the order of the units.

    Raises
    ------
    ValueError
        Features not 2-D, without rows or columns, with entries other than 0 and 1, or with a row of zeros; a threshold
        out of range; ``n_targets`` below the number of columns that are reached.

    Examples
    --------
    >>> found = cluster_layer([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
    >>> found.labels, found.k, round(found.q, 3), found.reason
    (array([0, 0, 1, 1]), 2, -0.434, 'modularity')
    """
    reached = _check.binary("features", features)
    _check_threshold("modularity_threshold", modularity_threshold, -1)
    if not (rows := reached.any(axis=1)).all():
        raise ValueError(f"features[{rows.argmin()}] is all zero; drop the units that reach nothing, see condense")
    n, m = reached.shape
    _check.count("n_targets", total := m if n_targets is None else n_targets, int(reached.any(axis=0).sum()))
    if n == 1:
        return LayerClusters(np.zeros(1, dtype=np.int64), 1, 0.0, "single unit", np.zeros(1))

    counts = reached.astype(np.float64)
    shared = counts @ counts.T  # whole numbers, so that equal pairs have equal distances
    sizes = shared.diagonal()
    distances = np.round(1 - shared / np.sqrt(np.outer(sizes, sizes)), _DECIMALS)
    tree = linkage(distances[np.triu_indices(n, 1)], "average")
    q_by_k = _distance_modularity(distances, tree)
    # Reversed, argmin finds the largest k first.
    k = n - 1 - int(q_by_k[n - 2 : 0 : -1].argmin()) if n > 2 else 2
    reason = "modularity"
    if k in (2, n - 1) or q_by_k[k - 1] > modularity_threshold:
        first, second = tree[0, :2].astype(int)
        z_separate = -_z_score(reached[first], reached[second], total)
        halves = _cut(tree, 2) == 0
        z_one = _z_score(reached[halves].any(axis=0), reached[~halves].any(axis=0), total)
        if z_one >= max(0, z_separate):
            k, reason = 1, "all one"
        elif z_separate >= 0:
            k, reason = n, "all separate"
    return LayerClusters(_cut(tree, k), k, float(q_by_k[k - 1]), reason, q_by_k)


def cut_layer(features: Any, k: int) -> np.ndarray:
    """Cluster the units of one layer by what they reach, into so many clusters.

    The tree of `cluster_layer`, cut into k clusters whatever its modularity.

    Parameters
    ----------
    features : array of 0/1 or bool, shape (n, m)
        As in `cluster_layer`.
    k : int
        From 1 to n.

    Returns
    -------
    ndarray of int64, shape (n,)
        0, 1, ... in the order of first appearance.

    Raises
    ------
    ValueError
        As `cluster_layer`; or k out of range.

    Examples
    --------
    >>> cut_layer([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], 3)
    array([0, 0, 1, 2])
    """
    reached = _check.binary("features", features)
    if not (rows := reached.any(axis=1)).all():
        raise ValueError(f"features[{rows.argmin()}] is all zero; drop the units that reach nothing, see condense")
    _check.count("k", k, 1, len(reached))
    if k == len(reached):
        return np.arange(k)
    return _cut(linkage(np.round(pdist(reached.astype(float), "cosine"), _DECIMALS), "average"), k)


def merge_clusters(masks: Sequence[Any], clusters: Sequence[Any], *, threshold: float = 0.9) -> list[np.ndarray]:
    """Merge clusters of consecutive layers into modules.

    From the inputs on, cluster j of layer l + 1 joins the module of cluster i of layer l if the edges from i to j are
    more than the share ``threshold`` of the edges that leave i for layer l + 1, and also of those that enter j from
    layer l. At the output layer only the latter counts: otherwise a cluster could never be followed by two outputs.
    A cluster that joins none opens a new module.

    Parameters
    ----------
    masks : list of L arrays of 0/1 or bool, shape (out, in)
        As in `condense`.
    clusters : list of L + 1 arrays of int, shape (units,)
        Clusters of each layer; only which units of a layer share a label matters. -1 marks units condensed away, whose
        edges are not counted.
    threshold : float
        In [0, 1); a share must be above it. The authors use 0.9, and 0.6 for MNIST. Below 0.5 a cluster may qualify
        for several modules. It joins the one that sends it most edges, the one with the earliest unit among equals.

    Returns
    -------
    list of L + 1 ndarrays of int64
        Modules: 0, 1, ... by first appearance from the input layer on, in the order of units; -1 where the cluster
        is -1.

    Raises
    ------
    ValueError
        As `condense`; clusters that do not fit the masks, are not integers, or below -1; threshold out of range.

    Examples
    --------
    >>> modules = merge_clusters([[[1, 1, 0], [0, 0, 1]], [[1, 0], [1, 1]]], [[0, 0, 1], [0, 1], [0, 1]])
    >>> [labels.tolist() for labels in modules]
    [[0, 0, 1], [0, 1], [0, 2]]
    """
    layers = _check.masks(masks)
    _check_threshold("threshold", threshold, 0)
    widths = [layers[0].shape[1], *map(len, layers)]
    if len(clusters) != len(widths):
        raise ValueError(f"clusters has {len(clusters)} layers; one per unit layer, {len(widths)}, is needed")
    given = [
        _check.labels(f"clusters[{place}]", labels, width)
        for place, (labels, width) in enumerate(zip(clusters, widths, strict=True))
    ]
    names = [_check.renumbered(labels) for labels in given]
    members = [labels[:, None] == np.arange(labels.max() + 1) for labels in names]  # (units, clusters)

    of_cluster = [np.arange(members[0].shape[1])]
    opened = len(of_cluster[0])
    for place, mask in enumerate(layers):
        edges = members[place + 1].T.astype(np.int64) @ mask @ members[place]  # (clusters of l + 1, clusters of l)
        # By division, so that a share equal to the threshold is not above it: 0.58 × 50 comes out below 29.
        joins = edges / np.maximum(edges.sum(axis=1, keepdims=True), 1) > threshold
        if place + 1 < len(layers):
            joins &= edges / np.maximum(edges.sum(axis=0), 1) > threshold
        modules = np.empty(len(edges), dtype=np.int64)
        for cluster, (row, candidates) in enumerate(zip(edges, joins, strict=True)):
            if candidates.any():
                modules[cluster] = of_cluster[-1][np.where(candidates, row, -1).argmax()]
            else:
                modules[cluster] = opened
                opened += 1
        of_cluster.append(modules)
    # The label -1 picks the last.
    return [np.append(modules, -1)[labels] for modules, labels in zip(of_cluster, names, strict=True)]


def detect_modules(
    masks: Sequence[Any], *, hops: int | None = None, merge_threshold: float = 0.9, modularity_threshold: float = -0.2
) -> list[np.ndarray]:
    """Modules of a pruned network: `condense`, `reach`, `cluster_layer` per layer, `merge_clusters`.

    Each output is a cluster of its own.

    Parameters
    ----------
    masks : list of L arrays of 0/1 or bool, shape (out, in)
        As in `condense`.
    hops : int, optional
        As in `reach`.
    merge_threshold : float
        In [0, 1), as in `merge_clusters`.
    modularity_threshold : float
        In [-1, 1), as in `cluster_layer`.

    Returns
    -------
    list of L + 1 ndarrays of int64, shape (units,)
        Module of every unit of a layer, as in `merge_clusters`; -1 for units condensed away.

    Raises
    ------
    ValueError
        As `condense`; hops below 1; a threshold out of range.

    References
    ----------
    Patil, Michael and Dovrolis, NeurIPS 2023.

    Examples
    --------
    Two pairs of inputs, each with a hidden unit and two outputs of its own.

    >>> apart = [[[1, 1, 0, 0], [0, 0, 1, 1]], [[1, 0], [1, 0], [0, 1], [0, 1]]]
    >>> [labels.tolist() for labels in detect_modules(apart)]
    [[0, 0, 1, 1], [0, 1], [0, 0, 1, 1]]
    """
    layers = _check.masks(masks)
    hops = len(layers) if hops is None else hops
    _check.count("hops", hops, 1)
    _check_threshold("merge_threshold", merge_threshold, 0)
    _check_threshold("modularity_threshold", modularity_threshold, -1)
    alive = condense(layers)
    clusters = []
    for place, features in enumerate(reach(layers, hops=hops)):
        labels = np.full(len(features), -1)
        # Every path between two units alive runs through units alive: reach in the condensed network is the same.
        near = np.concatenate([units & (away <= hops) for away, units in enumerate(alive[place + 1 :], 1)])
        if alive[place].any():
            found = cluster_layer(features[np.ix_(alive[place], near)], modularity_threshold=modularity_threshold)
            labels[alive[place]] = found.labels
        clusters.append(labels)
    clusters.append(np.arange(len(layers[-1])))
    return merge_clusters(layers, clusters, threshold=merge_threshold)


def signature(labels: Sequence[Any]) -> Counter[tuple[frozenset[int], frozenset[int]]]:
    """Inputs and outputs of every module, whatever the numbers of the modules: to compare with the true ones.

    Parameters
    ----------
    labels : list of arrays of int, shape (units,)
        Modules per layer, inputs first, outputs last, two layers or more. -1 marks units of no module.

    Returns
    -------
    collections.Counter
        How many modules have these inputs and these outputs, both as frozensets of unit numbers from 0 on. A module
        of hidden units alone counts as two empty sets.

    Raises
    ------
    ValueError
        Fewer than two layers; labels not 1-D, not integers, or below -1.

    Examples
    --------
    >>> signature([[0, 0, 1], [1, 2], [0]]) == {
    ...     (frozenset({0, 1}), frozenset({0})): 1,
    ...     (frozenset({2}), frozenset()): 1,
    ...     (frozenset(), frozenset()): 1,
    ... }
    True
    """
    if len(labels) < 2:
        raise ValueError(f"labels has {len(labels)} layers; two or more, inputs to outputs, are needed")
    layers = [_check.labels(f"labels[{place}]", layer) for place, layer in enumerate(labels)]
    modules = np.unique(np.concatenate(layers))

    def units(layer: np.ndarray, module: int) -> frozenset[int]:
        return frozenset(np.flatnonzero(layer == module).tolist())

    return Counter((units(layers[0], module), units(layers[-1], module)) for module in modules if module >= 0)


def _distance_modularity(distances: np.ndarray, tree: np.ndarray) -> np.ndarray:
    """Q of all cuts of a tree of average linkage, at index k - 1.

    A merge of clusters c and d adds twice the distances between them to those inside, and 2 a_c a_d to the sum of
    squares, where a are the row sums of E. The height of the merge is the mean of these distances: nothing has to be
    summed again.
    """
    n = len(distances)
    if not (total := distances.sum()):
        return np.zeros(n)
    strengths = np.concatenate([distances.sum(axis=1) / total, np.empty(n - 1)])
    sizes = np.concatenate([np.ones(n), tree[:, 3]])
    q = np.empty(n)
    q[n - 1] = -np.square(strengths[:n]).sum()
    for step, (left, right) in enumerate(tree[:, :2].astype(int)):
        strengths[n + step] = strengths[left] + strengths[right]
        between = tree[step, 2] * sizes[left] * sizes[right] / total
        q[n - 2 - step] = q[n - 1 - step] + 2 * (between - strengths[left] * strengths[right])
    # Twice, lest noise decide on values that lie half-way between two numbers of 8 decimals.
    return np.round(np.round(q, _DECIMALS), _Q_DECIMALS) + 0.0


def _cut(tree: np.ndarray, k: int) -> np.ndarray:
    """Labels of a tree cut into k clusters: all but its last k - 1 merges are made."""
    n = len(tree) + 1
    top = np.arange(2 * n - k)
    for step in range(n - k):
        top[tree[step, :2].astype(int)] = n + step
    for node in range(len(top) - 1, -1, -1):  # parents have larger numbers: theirs are final
        top[node] = top[top[node]]
    return _check.renumbered(top[:n])


def _z_score(a: np.ndarray, b: np.ndarray, total: int) -> float:
    """Shared targets above those expected, in deviations. Whole numbers until the division: 0 is exactly 0."""
    product, both = int(a.sum()) * int(b.sum()), int((a & b).sum())
    excess = (both * total - product) / total
    deviation = math.sqrt(product * (total**2 - product) / total) / total
    return round(excess / deviation if deviation else excess, _DECIMALS)


def _check_threshold(name: str, value: Any, low: int) -> None:
    if not isinstance(value, (int, float, np.number)) or not low <= value < 1:
        raise ValueError(f"{name}={value!r}; a number in [{low}, 1) is needed")
