"""Importance and coherence of every part of a partition, beside parts of partitions with permuted labels.

What `modutils.partitions.permutation_test` draws is measured here with the statistics of Hod et al. (2021) and some of
ours, and packed for the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from modutils import coherence, lesions, partitions, statistics, units, visualization

DRAWS = 19  # random sets for each sub-cluster, as in the paper
INFINITE = 6e4  # what is recorded of an infinite range
#: For each statistic: where an effect puts it, and the smallest sub-cluster that it is taken of (both as in the
#: authors' code; the last four are not in it).
STATISTICS: dict[str, tuple[str, int]] = {
    "importance": ("greater", 2),  # mean over classes of the class accuracy that the lesion costs
    "normalised range": ("greater", 2),
    "score": ("greater", 3),
    "entropy": ("less", 3),
    "entropy, single precision": ("less", 3),  # ties at 0, which the published rule takes for effects
    "spread": ("greater", 2),
    "matched spread": ("greater", 2),
    "label entropy": ("less", 3),
}


class Subjects(NamedTuple):
    """What all partitions of one network are tested on.

    ``layers`` are activation functions: units are seen before them, and removed after them. ``images`` (M, channels,
    height, width) and ``labels`` (M,) are as many test images of every class, and ``intact`` (classes,) counts those
    that the intact network gets right. ``drive`` has for every layer the sizes of its values on all test images
    (N, units), whose classes are ``classes`` (N,). An image that drives a set takes ``steps``.
    """

    model: nn.Sequential
    layers: tuple[str, ...]
    images: Tensor
    labels: np.ndarray
    drive: list[np.ndarray]
    classes: np.ndarray
    intact: np.ndarray
    steps: int


def balanced(labels: Tensor, per_class: int) -> Tensor:
    """The first ``per_class`` positions of every class, in order; fewer of each if one class has fewer."""
    counts = torch.bincount(labels)
    least = min(per_class, int(counts.min()))
    return torch.cat([(labels == label).nonzero()[:least, 0] for label in range(len(counts))]).sort().values


def before(model: nn.Module, layer: str, images: Tensor) -> np.ndarray:
    """Values (N, units) before an activation function; of a channel its mean size over space."""
    return units.layer_activations(model, layer, images, units="channel", before=True).numpy()


def subjects(
    model: nn.Sequential, layers: Sequence[str], images: Tensor, labels: Tensor, per_class: int, *, steps: int = 65
) -> Subjects:
    """Gather what the tests need from a network and its test images."""
    rows = balanced(labels, per_class)
    few, truth = images[rows], labels[rows].numpy()
    drive = [np.abs(before(model, layer, images)) for layer in layers]
    intact = lesions.correct_counts(model, layers[0], few, truth, [[]])[0]
    return Subjects(model, tuple(layers), few, truth, drive, labels.numpy(), intact, steps)


def test_partition(subject: Subjects, labels: Sequence[np.ndarray], *, seed: int) -> dict[str, Any]:
    """All statistics of all sub-clusters, ranked among those of random sets.

    Parameters
    ----------
    subject : Subjects
    labels : sequence of arrays
        For each hidden layer the cluster of each unit; −1 = unassigned.
    seed : int
        Of the permutations.

    Returns
    -------
    dict
        ``layer``, ``size``, ``live`` (sub-clusters,): number of the layer, units in the sub-cluster, units that have a
        cluster. ``lost`` (sub-clusters, classes): correct predictions that the lesion costs. Then arrays with a row for
        each of `STATISTICS` and a column for each sub-cluster, 0 where it is too small: ``value``, ``null_mean`` over
        the random sets; ``effect`` (`relative_effect`), and p-values as ranks, ``mid`` in units of
        1/(2(n + 1)) and ``ignored`` in units of 1/(n + 1), these also for one more random partition (``control_…``).
        ``scores`` (statistics, n + 1) as `statistics.partition_scores`.
    """
    tested = partitions.permutation_test(labels, partial(_measure, subject), draws=DRAWS, seed=seed)
    values = {name: tested.values.get(name, np.empty((0, DRAWS + 2))) for name in STATISTICS}
    lost = tested.values["lost"][:, 0] if len(tested.size) else np.empty((0, len(subject.intact)))
    result: dict[str, Any] = {name: getattr(tested, name).astype(np.int16) for name in ("layer", "size", "live")}
    result["lost"] = lost.astype(np.int16)
    rows: dict[str, list[np.ndarray]] = {}
    for name, (alternative, least) in STATISTICS.items():
        fits = result["size"] >= least
        for column, row in _ranked(values[name][fits], alternative).items():
            if column != "scores":
                spread = np.zeros(len(fits), dtype=row.dtype)
                spread[fits] = row
                row = spread
            rows.setdefault(column, []).append(row)
    return {**result, **{column: np.stack(row) for column, row in rows.items()}}


def _measure(subject: Subjects, number: int, sets: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Every statistic of every set of units of a layer; NaN nowhere, so that ranks are defined."""
    layer = subject.layers[number]
    counts = lesions.correct_counts(subject.model, layer, subject.images, subject.labels, sets, units="channel")
    classes = np.bincount(subject.labels)
    # Classes are equally large, so the changes are integers before they are shares: equal sets are tied.
    ranges = coherence.class_ranges(counts - subject.intact)
    spread = ranges.spread / classes[0]
    shape = subject.images.shape[1:]
    seen = visualization.feature_visualization(subject.model, layer, sets, shape, before=True, steps=subject.steps)
    member = np.zeros((len(sets), subject.drive[number].shape[1]), dtype=np.float32)
    for row, chosen in zip(member, sets, strict=True):
        row[chosen] = 1
    drop = (subject.intact.sum() - counts.sum(axis=1)) / classes.sum()
    return {
        "lost": subject.intact - counts,
        "importance": drop,
        "normalised range": ranges.normalised,
        "score": seen.scores.astype(float),
        "entropy": coherence.softmax_entropy(seen.logits.double()).numpy(),
        "entropy, single precision": coherence.softmax_entropy(seen.logits).numpy().astype(float),
        "spread": spread,
        "matched spread": _residual(spread, drop).round(12),
        "label entropy": coherence.label_entropy(member @ subject.drive[number].T, subject.classes),
    }


def _residual(spread: np.ndarray, drop: np.ndarray) -> np.ndarray:
    """Spread beyond what a set of this importance has, by a line through all sets of the layer."""
    if np.ptp(drop) == 0:
        return spread - spread.mean()
    slope, intercept = np.polyfit(drop, spread, 1)
    return np.asarray(spread - slope * drop - intercept)


def _ranked(table: np.ndarray, alternative: str) -> dict[str, np.ndarray]:
    """Columns: the true set, the draws of the null, and one more draw."""
    true, null, control = table[:, 0], table[:, 1:-1], table[:, -1]
    ranks = {}
    for prefix, values in (("", true), ("control_", control)):
        for ties, unit in (("mid", 2 * (DRAWS + 1)), ("ignored", DRAWS + 1)):
            p = statistics.rank_p_values(values, null, alternative, ties=ties)
            ranks[prefix + ties] = (p * unit).round().astype(np.uint8)
    scores = statistics.partition_scores(true, null, alternative) if len(true) else np.zeros(DRAWS + 1)
    value, other, mean = (
        np.minimum(true, INFINITE),
        np.minimum(control, INFINITE),
        np.minimum(null, INFINITE).mean(axis=1),
    )
    effects = (relative_effect(x, mean).clip(-INFINITE, INFINITE) for x in (value, other))
    return {
        "value": value.astype(np.float16),
        "null_mean": mean.astype(np.float16),
        **{name: x.astype(np.float16) for name, x in zip(("effect", "control_effect"), effects, strict=True)},
        **ranks,
        "scores": scores.astype(np.float32),
    }


def relative_effect(values: np.ndarray, null_means: np.ndarray) -> np.ndarray:
    """Effect sizes 2t / (t + r̄) of statistics t and the means r̄ over their random sets, as in the authors' code.

    1 = as the random sets, 0 … 2 for positive numbers. Where t + r̄ is 0 the two are equal or cancel, and it is 1.
    """
    both = values + null_means
    return np.where(both == 0, 1.0, 2 * values / np.where(both == 0, 1.0, both))


def p_values(tested: Mapping[str, Any], statistic: str, *, ties: str = "mid", control: bool = False) -> np.ndarray:
    """P-values of the sub-clusters, or of those of the random partition that was tested in place of the true one."""
    ranks = column(tested, statistic, ("control_" if control else "") + ties)
    return ranks / ((2 if ties == "mid" else 1) * (DRAWS + 1))


def column(tested: Mapping[str, Any], statistic: str, name: str) -> np.ndarray:
    """``value``, ``null_mean``, ``effect`` or ranks of the sub-clusters that are large enough for a statistic."""
    row = list(STATISTICS).index(statistic)
    return np.asarray(tested[name][row][tested["mid"][row] > 0], dtype=float)
