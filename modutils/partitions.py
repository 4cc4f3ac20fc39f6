"""Permutation test of a partition: its parts beside parts of the same partition with permuted labels.

A *sub-cluster* is what a cluster has of one layer. Its units are compared with random sets of as many units of the same
layer. These come from permuting the labels of the layer's units, so that one permutation gives a random set for every
sub-cluster at once, and a whole random partition. Each random set is a uniform draw, as in Hod et al. (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from modutils import _check

__all__ = ["PartitionTest", "permutation_test"]


class PartitionTest(NamedTuple):
    """Statistics of m sub-clusters and of their random sets.

    ``layer``, ``size``, ``live`` (m,): number of the layer, units in the sub-cluster, units of the layer that have a
    cluster. ``values``: for each statistic (m, draws + 2, ...) of the sub-cluster, of its random sets, and of one more
    of them, so that the last column is a random partition to be tested in place of the true one. Tensors where
    ``measure`` gave tensors, beside them.
    """

    layer: np.ndarray
    size: np.ndarray
    live: np.ndarray
    values: dict[str, Any]


def permutation_test(
    labels: Sequence[Any],
    measure: Callable[[int, list[np.ndarray]], Mapping[str, Any]],
    *,
    draws: int = 19,
    least: int = 2,
    largest: float = 0.99,
    seed: int = 0,
) -> PartitionTest:
    """Measure every sub-cluster of a partition, and random sets of as many units of its layer.

    Parameters
    ----------
    labels : sequence of arrays or tensors of int
        For each layer the cluster of each unit; −1 = unassigned. Random sets have only units with a cluster.
    measure : callable
        Gets the number of a layer and all sets of its units (arrays of int64), and returns for each statistic an array
        or Tensor (sets, ...), such as what `modutils.lesions.correct_counts` counts.
    draws : int
        Random sets for each sub-cluster.
    least, largest : int, float
        Units that a sub-cluster must have, and the share of the layer's units with a cluster that it may have at most:
        random sets must be able to differ.
    seed : int
        Of the permutations.

    Raises
    ------
    ValueError
        Labels that are not integers or below −1, or a number out of range.

    Examples
    --------
    The sizes of activations, tested by their ranks among those of random sets:

    >>> from modutils.statistics import rank_p_values
    >>> size = np.arange(8.0)
    >>> tested = permutation_test([[0, 0, 0, 0, 1, 1, 1, 1]], lambda _, sets: {"size": [size[s].sum() for s in sets]})
    >>> rank_p_values(tested.values["size"][:, 0], tested.values["size"][:, 1:-1]).tolist()
    [0.975, 0.025]
    """
    _check.count("draws", draws, 1)
    _check.count("least", least, 1)
    generator = np.random.default_rng(seed)
    where: list[tuple[int, int, int]] = []
    values: dict[str, list[Any]] = {}
    for number, given in enumerate(labels):
        own = _check.labels(f"labels[{number}]", given)
        live = np.flatnonzero(own >= 0)
        sizes = {label: int((own == label).sum()) for label in np.unique(own[live])}
        chosen = [label for label, size in sizes.items() if least <= size <= largest * len(live)]
        if not chosen:
            continue
        # The true labels, the permutations that make the null, and one that is tested in their place.
        orders = [own[live], *(generator.permutation(own[live]) for _ in range(draws + 1))]
        sets = [live[order == label] for label in chosen for order in orders]
        where += [(number, sizes[label], len(live)) for label in chosen]
        for name, found in measure(number, sets).items():
            table = found if isinstance(found, torch.Tensor) else np.asarray(found)
            values.setdefault(name, []).append(table.reshape(len(chosen), len(orders), *table.shape[1:]))
    layer, size, of = np.array(where, dtype=np.int64).reshape(-1, 3).T
    joined = {name: torch.cat(t) if isinstance(t[0], torch.Tensor) else np.concatenate(t) for name, t in values.items()}
    return PartitionTest(layer, size, of, joined)
