"""Importance and coherence of every part of a partition, beside parts of partitions with permuted labels.

A *sub-cluster* is what a cluster has of one layer. Its units are compared with random sets of as many units of the same
layer. These come from permuting the labels of the layer's units, so that one permutation gives a random set for every
sub-cluster at once, and a whole random partition. Each random set is a uniform draw, as in Hod et al. (2021).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from modutils import coherence, graphs, lesions, statistics

DRAWS = 19  # random sets for each sub-cluster, as in the paper
INFINITE = 6e4  # what is recorded of an infinite range
LARGEST = 0.99  # share of a layer's live units that a sub-cluster may have
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


class Hidden(NamedTuple):
    """A hidden layer: where its units are seen before the ReLU, and where they are removed."""

    before: str
    after: str


class Subjects(NamedTuple):
    """What all partitions of one network are tested on.

    ``images`` (M, channels, height, width) and ``labels`` (M,) are as many test images of every class, and ``intact``
    (classes,) counts those that the intact network gets right. ``drive`` has for every layer the sizes of its values on
    all test images (N, units), whose classes are ``classes`` (N,). An image that drives a set takes ``steps``.
    """

    model: nn.Sequential
    layers: tuple[Hidden, ...]
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


def subjects(
    model: nn.Sequential, layers: Sequence[Hidden], images: Tensor, labels: Tensor, per_class: int, *, steps: int = 65
) -> Subjects:
    """Gather what the tests need from a network and its test images."""
    rows = balanced(labels, per_class)
    few, truth = images[rows], labels[rows].numpy()
    drive = [np.abs(values) for values in graphs.layer_activations(model, [one.before for one in layers], images)]
    intact = lesions.correct_counts(model, layers[0].after, few, truth, [[]])[0]
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
        the random sets; ``effect`` (`statistics.relative_effect`), and p-values as ranks, ``mid`` in units of
        1/(2(n + 1)) and ``ignored`` in units of 1/(n + 1), these also for one more random partition (``control_…``).
        ``scores`` (statistics, n + 1) as `statistics.partition_scores`.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {name: [] for name in ("layer", "size", "live")}
    values: dict[str, list[np.ndarray]] = {name: [] for name in STATISTICS}
    lost: list[np.ndarray] = [np.empty((0, len(subject.intact)))]
    for number, own in enumerate(labels):
        live = np.flatnonzero(own >= 0)
        sizes = {label: int((own == label).sum()) for label in np.unique(own[live])}
        chosen = [label for label, size in sizes.items() if 2 <= size <= LARGEST * len(live)]
        if not chosen:
            continue
        # The true labels, the permutations that make the null, and one that is tested in their place.
        orders = [own[live], *(generator.permutation(own[live]) for _ in range(DRAWS + 1))]
        sets = [live[order == label] for label in chosen for order in orders]
        found["layer"] += [number] * len(chosen)
        found["size"] += [sizes[label] for label in chosen]
        found["live"] += [len(live)] * len(chosen)
        counts = _counts(subject, subject.layers[number], sets)
        lost.append((subject.intact - counts)[:: len(orders)])
        for name, value in _measure(subject, number, sets, counts).items():
            values[name].append(value.reshape(len(chosen), len(orders)))
    result: dict[str, Any] = {name: np.array(value, dtype=np.int16) for name, value in found.items()}
    result["lost"] = np.concatenate(lost).astype(np.int16)
    rows: dict[str, list[np.ndarray]] = {}
    for name, (alternative, least) in STATISTICS.items():
        fits = result["size"] >= least
        table = np.concatenate([np.empty((0, DRAWS + 2)), *values[name]])
        for column, row in _ranked(table[fits], alternative).items():
            if column != "scores":
                spread = np.zeros(len(fits), dtype=row.dtype)
                spread[fits] = row
                row = spread
            rows.setdefault(column, []).append(row)
    return {**result, **{column: np.stack(row) for column, row in rows.items()}}


def _measure(subject: Subjects, number: int, sets: list[np.ndarray], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Every statistic of every set of units of a layer; NaN nowhere, so that ranks are defined."""
    layer = subject.layers[number]
    classes = np.bincount(subject.labels)
    # Classes are equally large, so the changes are integers before they are shares: equal sets are tied.
    ranges = coherence.class_ranges(counts - subject.intact)
    spread = ranges.spread / classes[0]
    channels, height, width = subject.images.shape[1:]
    seen = coherence.feature_visualization(
        subject.model, layer.before, sets, (channels, height, width), steps=subject.steps
    )
    member = np.zeros((len(sets), subject.drive[number].shape[1]), dtype=np.float32)
    for row, units in zip(member, sets, strict=True):
        row[units] = 1
    drop = (subject.intact.sum() - counts.sum(axis=1)) / classes.sum()
    return {
        "importance": drop,
        "normalised range": ranges.normalised,
        "score": seen.scores.astype(float),
        "entropy": coherence.softmax_entropy(seen.logits.double()),
        "entropy, single precision": coherence.softmax_entropy(seen.logits).astype(float),
        "spread": spread,
        "matched spread": _residual(spread, drop).round(12),
        "label entropy": coherence.label_entropy(member @ subject.drive[number].T, subject.classes),
    }


def _counts(subject: Subjects, layer: Hidden, sets: list[np.ndarray]) -> np.ndarray:
    """Correct predictions per class with each set removed; what lies below the layer runs once."""
    names = [name for name, _ in subject.model.named_children()]
    at = names.index(layer.after) + 1
    with torch.no_grad():
        values = torch.cat([subject.model[:at](batch) for batch in subject.images.split(500)])
    if values.ndim == 4:  # a unit is a channel: all its places
        place = np.arange(values[0].numel()).reshape(values.shape[1], -1)
        sets = [place[units].ravel() for units in sets]
    above = nn.Sequential(OrderedDict(values=nn.Identity(), above=subject.model[at:])).eval()
    return lesions.correct_counts(above, "values", values, subject.labels, sets)


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
    effects = (statistics.relative_effect(x, mean).clip(-INFINITE, INFINITE) for x in (value, other))
    return {
        "value": value.astype(np.float16),
        "null_mean": mean.astype(np.float16),
        **{name: x.astype(np.float16) for name, x in zip(("effect", "control_effect"), effects, strict=True)},
        **ranks,
        "scores": scores.astype(np.float32),
    }


def p_values(tested: Mapping[str, Any], statistic: str, *, ties: str = "mid", control: bool = False) -> np.ndarray:
    """P-values of the sub-clusters, or of those of the random partition that was tested in place of the true one."""
    ranks = column(tested, statistic, ("control_" if control else "") + ties)
    return ranks / ((2 if ties == "mid" else 1) * (DRAWS + 1))


def column(tested: Mapping[str, Any], statistic: str, name: str) -> np.ndarray:
    """``value``, ``null_mean``, ``effect`` or ranks of the sub-clusters that are large enough for a statistic."""
    row = list(STATISTICS).index(statistic)
    return np.asarray(tested[name][row][tested["mid"][row] > 0], dtype=float)
