"""What the members of a module have in common: the classes and looks of its samples, the places of its units.

Arrays may be tensors: what comes out then is a tensor beside the first of them. Matrices on an accelerator (features,
changes, logits, drive) are worked on where they are; labels are copied to the host.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import normalized_mutual_info_score

from modutils import _arrays

SCHEMES = ("all", "within_channel", "within_position")


def purity(labels: Any, classes: Any) -> float:
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
    table = class_table(_arrays.host(labels), classes)
    return float(table.max(axis=1).sum() / table.sum())


def class_table(labels: Any, classes: Any, *, k: int | None = None) -> Any:
    """How many samples of each class each cluster holds.

    Parameters
    ----------
    labels, classes : array_like
        As in :func:`purity`.
    k : int, optional
        Number of clusters, when the last ones may be empty.

    Returns
    -------
    numpy.ndarray or Tensor
        (clusters, classes) counts.

    Raises
    ------
    ValueError
        Lengths differ or nothing is assigned.
    """
    cluster, of_class = _arrays.host(labels), _arrays.host(classes)
    if cluster.shape != of_class.shape or cluster.ndim != 1:
        raise ValueError(f"labels {cluster.shape} and classes {of_class.shape} must be vectors of one length")
    if of_class.size and of_class.min() < 0:
        raise ValueError(
            f"classes goes down to {of_class.min()}; leave out samples without a class (their label is -1)"
        )
    assigned = cluster >= 0
    if not assigned.any():
        raise ValueError("labels assign no sample: all are -1")
    table = np.zeros((max(k or 0, int(cluster.max()) + 1), int(of_class.max()) + 1), dtype=np.int64)
    np.add.at(table, (cluster[assigned], of_class[assigned]), 1)
    return _arrays.like(table, labels)


class Compactness(NamedTuple):
    """Mean squared distance within clusters over that between clusters, and the same for permuted labels."""

    ratio: float
    null: Any


def compactness(features: Any, labels: Any, *, draws: int = 200, seed: int = 0) -> Compactness:
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
        ``ratio`` below 1 when members of a cluster are closer; ``null`` has shape (draws,), a tensor beside the
        features if they are one. The permutations of a seed are the same on every device.

    Raises
    ------
    ValueError
        Wrong shapes, features that are not finite or the same for all samples, fewer than two clusters, or only
        clusters of one sample.

    Examples
    --------
    >>> compactness([[0.0], [2.0], [10.0], [12.0]], [0, 0, 1, 1], draws=1).ratio
    0.0392156862745098
    """
    on_device = _arrays.on_device(features)
    x: Any = _arrays.placed(features) if on_device else _arrays.host(features).astype(np.float64, copy=False)
    cluster = _arrays.host(labels)
    if x.ndim != 2 or not x.shape[1] or cluster.shape != x.shape[:1]:
        raise ValueError(f"features {tuple(x.shape)} and labels {cluster.shape} must be (N, d) and (N,)")
    x, cluster = x[_arrays.like(cluster >= 0, x)], cluster[cluster >= 0]
    names, cluster = np.unique(cluster, return_inverse=True)
    sizes = np.bincount(cluster).astype(float)
    if len(names) < 2 or sizes.max() < 2:
        raise ValueError(
            f"labels has {len(names)} clusters of at most {sizes.max(initial=0):.0f} samples; need two of two"
        )
    if not (torch if on_device else np).isfinite(x).all():
        raise ValueError("features has numbers that are not finite")
    if (x == x[0]).all():
        raise ValueError("features are the same for all samples, so no distance can be compared")
    x = x - x.mean(axis=0)  # distances do not change, rounding errors shrink
    squares = (x**2).sum(axis=1)

    def ratio(of: np.ndarray) -> float:
        indicator = np.zeros((len(names), len(of)))
        indicator[of, np.arange(len(of))] = 1
        indicator = _arrays.like(indicator, x)
        sums = indicator @ x
        # Sum over ordered pairs of |a − b|² = 2 · (count · Σ|a|² − |Σ a|²).
        within = 2 * ((indicator @ squares) * _arrays.like(sizes, x) - (sums**2).sum(axis=1)).sum()
        total = 2 * (len(of) * squares.sum() - (x.sum(axis=0) ** 2).sum())
        pairs_within = (sizes * (sizes - 1)).sum()
        pairs_between = len(of) ** 2 - (sizes**2).sum()
        return float((within / pairs_within) / ((total - within) / pairs_between))

    generator = np.random.default_rng(seed)
    null = np.array([ratio(generator.permutation(cluster)) for _ in range(draws)])
    return Compactness(ratio(cluster), _arrays.like(null, features))


class SpatialTest(NamedTuple):
    """A statistic of where the units of the modules sit, and its values for permuted units."""

    value: float
    null: Any


def spatial_tests(labels: Any, *, draws: int = 1000, seed: int = 0) -> dict[str, SpatialTest]:
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
    modules = _arrays.host(labels)
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
        name: SpatialTest(
            float(normalized_mutual_info_score(place, modules[assigned])), _arrays.like(np.array(nulls[name]), labels)
        )
        for name, place in places.items()
    }
    observed = _neighbour_share(modules)
    for scheme in SCHEMES:
        null = [_neighbour_share(_permuted(modules, scheme, generator)) for _ in range(draws)]
        tests[f"neighbours:{scheme}"] = SpatialTest(observed, _arrays.like(np.array(null), labels))
    return tests


class ClassRanges(NamedTuple):
    """How unevenly a lesion falls on the classes, one number a set: see `class_ranges`."""

    spread: Any
    normalised: Any


def class_ranges(changes: Any) -> ClassRanges:
    """Largest minus smallest change of class accuracy, as it is and divided by the size of the mean change.

    Parameters
    ----------
    changes : array_like
        (sets, classes) accuracy of each class with the set removed minus the intact accuracy.

    Returns
    -------
    ClassRanges
        ``spread`` (sets,), at least 0, in the unit of the changes. ``normalised`` (sets,) is the spread over the size
        of the mean change: 0 where nothing changes at all, infinite where changes cancel.

    Raises
    ------
    ValueError
        Not two-dimensional, without a class, or numbers that are not finite.

    References
    ----------
    Hod et al. (2021), "class-wise coherence" (the normalised one).

    Examples
    --------
    >>> found = class_ranges([[-0.5, 0.0], [-0.5, -0.5], [0.0, 0.0]])
    >>> found.spread.tolist(), found.normalised.tolist()
    ([0.5, 0.0, 0.0], [2.0, 0.0, 0.0])
    """
    on_device = _arrays.on_device(changes)
    array: Any = _arrays.placed(changes) if on_device else _arrays.host(changes).astype(float)
    if array.ndim != 2 or not array.shape[1] or not (torch if on_device else np).isfinite(array).all():
        raise ValueError(f"changes has shape {tuple(array.shape)}; finite numbers (sets, classes) are needed")
    if on_device:
        spread, total = array.amax(1) - array.amin(1), array.sum(1).abs()
        normalised = torch.where(total > 1e-12, spread * array.shape[1] / total, torch.inf)
        return ClassRanges(spread, torch.where(spread == 0, 0, normalised))
    spread = np.ptp(array, axis=1)
    # A sum, not a mean: sums of counts are exact, so equal sets are tied.
    total = np.abs(array.sum(axis=1))
    normalised = np.divide(spread * array.shape[1], total, out=np.full(len(array), np.inf), where=total > 1e-12)
    normalised[spread == 0] = 0
    return ClassRanges(_arrays.like(spread, changes), _arrays.like(normalised, changes))


def softmax_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy of the softmax of logits, in nats: (N, classes) to (N,) in 0 … log(classes), in the logits' precision.

    A tensor on the device of the logits.

    In single precision all classes but one get probability 0 when the logits are further apart than about 100, and
    then entropies are tied at 0. Give double precision to tell them apart up to about 700.

    Examples
    --------
    >>> softmax_entropy(torch.zeros(1, 2)).tolist()
    [0.693147...]
    >>> softmax_entropy(torch.tensor([[0.0, 200.0]])).item(), softmax_entropy(torch.tensor([[0.0, 200.0]]).double()) > 0
    (0.0, tensor([True]))
    """
    log_p = logits.detach().log_softmax(1)
    return (log_p.exp() * -log_p).sum(dim=1) + 0.0  # and no −0


def label_entropy(drive: Any, classes: Any, *, top: int = 10) -> Any:
    """Entropy of the classes of the images that drive a set of units most.

    Parameters
    ----------
    drive : array_like
        (sets, N) how much each image drives each set, such as the sum of the sizes of its units' values.
    classes : array_like
        (N,) non-negative integers.
    top : int
        Images with the largest drive that are looked at, from 1 to N; of equal ones those with lower numbers.

    Returns
    -------
    numpy.ndarray or Tensor
        (sets,) in nats: 0 if all of them are of one class.

    Raises
    ------
    ValueError
        Shapes that do not fit, numbers that are not finite, or ``top`` out of range.

    Examples
    --------
    >>> label_entropy([[3.0, 2.0, 1.0]], [0, 0, 1], top=2).tolist()
    [0.0]
    """
    on_device = _arrays.on_device(drive)
    values: Any = _arrays.placed(drive) if on_device else _arrays.host(drive).astype(float, copy=False)
    of_class = _arrays.host(classes)
    finite = (torch if on_device else np).isfinite(values).all()
    if values.ndim != 2 or of_class.shape != values.shape[1:] or not finite:
        raise ValueError(
            f"drive and classes have shapes {tuple(values.shape)} and {of_class.shape}; "
            "finite (sets, N) and (N,) are needed"
        )
    if not 1 <= top <= values.shape[1]:
        raise ValueError(f"top={top} must be from 1 to {values.shape[1]}, the number of images")
    if on_device:
        first = values.sort(dim=1, descending=True, stable=True).indices[:, :top]
        _, numbers = np.unique(of_class, return_inverse=True)
        met = torch.nn.functional.one_hot(_arrays.like(numbers, values)[first]).sum(1)
        return torch.special.entr(met.sort(dim=1, descending=True).values.double() / top).sum(1)
    last = -np.partition(-values, top - 1, axis=1)[:, top - 1 : top]
    above, tied = values > last, values == last
    chosen = above | (tied & (tied.cumsum(axis=1) <= top - above.sum(axis=1, keepdims=True)))
    counts = np.stack([chosen[:, of_class == label].sum(axis=1) for label in np.unique(of_class)], axis=1)
    # In falling order, so that equal compositions give the same number to the last bit.
    share = np.sort(counts, axis=1)[:, ::-1] / top
    return _arrays.like(np.asarray(-(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)) + 0.0, drive)


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
