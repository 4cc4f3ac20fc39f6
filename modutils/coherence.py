"""What the members of a module have in common: the classes and looks of its samples, the places of its units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import normalized_mutual_info_score

SCHEMES = ("all", "within_channel", "within_position")


def purity(labels: ArrayLike, classes: ArrayLike) -> float:
    """Share of the assigned samples that belong to the most frequent class of their cluster.

    Parameters
    ----------
    labels : array_like
        (N,) cluster of each sample; −1 = unassigned, left out.
    classes : array_like
        (N,) class of each sample, non-negative integers.

    Returns
    -------
    float
        In (0, 1]; 1 when every cluster holds one class.

    Raises
    ------
    ValueError
        Lengths differ or nothing is assigned.

    Examples
    --------
    >>> purity([0, 0, 0, 1, -1], [7, 7, 2, 3, 3])
    0.75
    """
    table = class_table(labels, classes)
    return float(table.max(axis=1).sum() / table.sum())


def class_table(labels: ArrayLike, classes: ArrayLike, *, k: int | None = None) -> np.ndarray:
    """How many samples of each class each cluster holds.

    Parameters
    ----------
    labels, classes : array_like
        As in :func:`purity`.
    k : int, optional
        Number of clusters, when the last ones may be empty.

    Returns
    -------
    numpy.ndarray
        (clusters, classes) counts.

    Raises
    ------
    ValueError
        Lengths differ or nothing is assigned.
    """
    cluster, of_class = np.asarray(labels), np.asarray(classes)
    if cluster.shape != of_class.shape or cluster.ndim != 1:
        raise ValueError(f"labels {cluster.shape} and classes {of_class.shape} must be vectors of one length")
    assigned = cluster >= 0
    if not assigned.any():
        raise ValueError("labels assign no sample: all are -1")
    table = np.zeros((max(k or 0, int(cluster.max()) + 1), int(of_class.max()) + 1), dtype=np.int64)
    np.add.at(table, (cluster[assigned], of_class[assigned]), 1)
    return table


class Compactness(NamedTuple):
    """Mean squared distance within clusters over that between clusters, and the same for permuted labels."""

    ratio: float
    null: np.ndarray


def compactness(features: ArrayLike, labels: ArrayLike, *, draws: int = 200, seed: int = 0) -> Compactness:
    """Do the members of a cluster look alike?

    Squared Euclidean distances, averaged over all pairs of two different samples in one cluster and divided by the
    average over all pairs in two clusters. Computed from sums, so that no pair is visited.

    Parameters
    ----------
    features : array_like
        (N, d) finite numbers.
    labels : array_like
        (N,) cluster of each sample; −1 = unassigned, left out. At least two clusters, one of them with two samples.
    draws : int
        Random permutations of the labels behind ``null``.
    seed : int
        Seed of the permutations.

    Returns
    -------
    Compactness
        ``ratio`` below 1 when members of a cluster are closer; ``null`` has shape (draws,).

    Raises
    ------
    ValueError
        Wrong shapes, features that are not finite, fewer than two clusters, or only clusters of one sample.

    Examples
    --------
    >>> compactness([[0.0], [2.0], [10.0], [12.0]], [0, 0, 1, 1], draws=1).ratio
    0.0392156862745098
    """
    x, cluster = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if x.ndim != 2 or cluster.shape != x.shape[:1]:
        raise ValueError(f"features {x.shape} and labels {cluster.shape} must be (N, d) and (N,)")
    x, cluster = x[cluster >= 0], cluster[cluster >= 0]
    names, cluster = np.unique(cluster, return_inverse=True)
    sizes = np.bincount(cluster).astype(float)
    if len(names) < 2 or sizes.max() < 2:
        raise ValueError(
            f"labels has {len(names)} clusters of at most {sizes.max(initial=0):.0f} samples; need two of two"
        )
    if not np.isfinite(x).all():
        raise ValueError("features has numbers that are not finite")
    x = x - x.mean(axis=0)  # distances do not change, rounding errors shrink
    squares = (x**2).sum(axis=1)

    def ratio(of: np.ndarray) -> float:
        indicator = np.zeros((len(names), len(of)))
        indicator[of, np.arange(len(of))] = 1
        sums = indicator @ x
        # Sum over ordered pairs of |a − b|² = 2 · (count · Σ|a|² − |Σ a|²).
        within = 2 * ((indicator @ squares) * sizes - (sums**2).sum(axis=1)).sum()
        total = 2 * (len(of) * squares.sum() - (x.sum(axis=0) ** 2).sum())
        pairs_within = (sizes * (sizes - 1)).sum()
        pairs_between = len(of) ** 2 - (sizes**2).sum()
        return float((within / pairs_within) / ((total - within) / pairs_between))

    generator = np.random.default_rng(seed)
    null = np.array([ratio(generator.permutation(cluster)) for _ in range(draws)])
    return Compactness(ratio(cluster), null)


class SpatialTest(NamedTuple):
    """A statistic of where the units of the modules sit, and its values for permuted units."""

    value: float
    null: np.ndarray


def spatial_tests(labels: ArrayLike, *, draws: int = 1000, seed: int = 0) -> dict[str, SpatialTest]:
    """Are the units of a module in the same channel, at the same position, or neighbours?

    Parameters
    ----------
    labels : array_like
        (channels, height, width) module of each unit of a convolutional layer; −1 = unassigned, left out.
    draws : int
        Random permutations behind each null.
    seed : int
        Seed of the permutations.

    Returns
    -------
    dict
        ``channel`` and ``position``: normalised mutual information of module and place, units permuted at will.
        ``neighbours:<scheme>``: share of the pairs of assigned units side by side in one channel that are in one
        module; units permuted at will (``all``), within their channel, or within their position.

    Raises
    ------
    ValueError
        Not three-dimensional, or fewer than two modules.
    """
    modules = np.asarray(labels)
    if modules.ndim != 3:
        raise ValueError(f"labels has shape {modules.shape}; a convolutional layer has (channels, height, width)")
    assigned = modules >= 0
    if np.unique(modules[assigned]).size < 2:
        raise ValueError("labels has fewer than two modules; a place cannot be related to one module")
    place = np.arange(modules.size).reshape(modules.shape)
    size = modules.shape[1] * modules.shape[2]
    channel, position = place // size, place % size
    generator = np.random.default_rng(seed)
    places = {"channel": channel[assigned], "position": position[assigned]}
    nulls: dict[str, list[float]] = {"channel": [], "position": []}
    for _ in range(draws):
        shuffled = generator.permutation(modules[assigned])
        for name, place in places.items():
            nulls[name].append(normalized_mutual_info_score(place, shuffled))
    tests = {
        name: SpatialTest(float(normalized_mutual_info_score(place, modules[assigned])), np.array(nulls[name]))
        for name, place in places.items()
    }
    observed = _neighbour_share(modules)
    for scheme in SCHEMES:
        null = [_neighbour_share(_permuted(modules, scheme, generator)) for _ in range(draws)]
        tests[f"neighbours:{scheme}"] = SpatialTest(observed, np.array(null))
    return tests


def _permuted(modules: np.ndarray, scheme: str, generator: np.random.Generator) -> np.ndarray:
    flat = modules.reshape(modules.shape[0], -1)
    if scheme == "all":
        return generator.permutation(flat.ravel()).reshape(modules.shape)
    return generator.permuted(flat, axis=1 if scheme == "within_channel" else 0).reshape(modules.shape)


def _neighbour_share(modules: np.ndarray) -> float:
    same = pairs = 0
    for a, b in ((modules[:, 1:], modules[:, :-1]), (modules[:, :, 1:], modules[:, :, :-1])):
        both = (a >= 0) & (b >= 0)
        pairs += int(both.sum())
        same += int((both & (a == b)).sum())
    return same / max(pairs, 1)
