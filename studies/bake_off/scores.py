"""How a competitor is judged: against what is planted, and by what the network loses with each module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from modutils import lesions, planted
from modutils.units import layer_activations


def fires(model: nn.Module, layer: str, inputs: Tensor) -> np.ndarray:
    """Which units of a layer are above zero for any input."""
    return np.asarray((layer_activations(model, layer, inputs) > 0).any(0))


def agreement(true: np.ndarray, labels: np.ndarray, alive: np.ndarray) -> float:
    """Adjusted Rand index over the units that fire; those without a module count as one more module.

    So a method that names no module at all scores 0, as does one that puts all units into one. Without a plant of two
    groups among the units that fire there is nothing to agree with: NaN.
    """
    if len(np.unique(true[alive])) < 2:
        return float("nan")
    return float(adjusted_rand_score(true[alive], labels[alive]))


def unassigned(labels: np.ndarray, alive: np.ndarray) -> float:
    """Share of the units that fire to which a method gives no module."""
    return float((labels[alive] < 0).mean()) if alive.any() else float("nan")


def drops(model: nn.Module, layer: str, inputs: Tensor, targets: Tensor, sets: Sequence[np.ndarray]) -> np.ndarray:
    """Accuracy that each head loses without each set of units: (sets, heads), in [−1, 1]."""
    logits = lesions.lesioned_logits(model, layer, inputs, [[], *sets])
    guesses = logits.reshape(*logits.shape[:2], -1, planted.CLASSES).argmax(3)
    right = (guesses == targets.numpy()).mean(1)
    return np.asarray(right[0] - right[1:])


def matched(lost: np.ndarray) -> float:
    """Selectivity of a partition from what its modules cost: own head's loss minus the mean of the others'.

    Modules are matched one to one to heads so that the sum is largest, and a head without a module adds 0: two modules
    that hit the same head are worth one.
    """
    heads = lost.shape[1]
    contrast = (heads * lost - lost.sum(1, keepdims=True)) / (heads - 1)
    rows, columns = linear_sum_assignment(contrast, maximize=True)
    return float(contrast[rows, columns].sum() / heads)


def selectivities(
    model: nn.Module, layer: str, inputs: Tensor, targets: Tensor, partitions: Sequence[np.ndarray]
) -> np.ndarray:
    """Selectivity of each partition of a layer, (partitions,): see `matched`."""
    sets = [[np.flatnonzero(labels == module) for module in np.unique(labels[labels >= 0])] for labels in partitions]
    lost = drops(model, layer, inputs, targets, [one for own in sets for one in own])
    parts = np.split(lost, np.cumsum([len(own) for own in sets])[:-1])
    return np.array([matched(part) if len(part) else 0.0 for part in parts])


def greedy(model: nn.Sequential, inputs: Tensor, targets: Tensor, head: int) -> tuple[np.ndarray, np.ndarray]:
    """The units of the last hidden layer that a forward search removes to hurt one head and spare the others; the rest.

    One after the other, at most half of them: each time the unit without which the mean probability of the right digit
    falls most at the head, less the mean of what it falls at the others. The best place on the way is returned.
    """
    readout = list(model)[-1]
    assert isinstance(readout, nn.Linear)
    values = layer_activations(model, "act2", inputs)
    with torch.no_grad():
        logits = torch.nn.functional.linear(values, readout.weight, readout.bias)
        parts = values.T[:, :, None] * readout.weight.T[:, None]  # (units, N, outputs): what each unit adds
        heads = targets.shape[1]
        worth = torch.full((heads,), 1 / (heads - 1)).index_fill_(0, torch.tensor(head), -1.0)
        right = (targets + planted.CLASSES * torch.arange(heads)).expand(len(parts), -1, -1)
        chosen: list[int] = []
        course: list[float] = []
        for _ in range(len(parts) // 2):
            without = logits - parts
            total = without.unflatten(2, (heads, planted.CLASSES)).logsumexp(3)
            score = ((without.gather(2, right) - total).exp().mean(1) * worth).sum(1)
            score[chosen] = -torch.inf
            best = int(score.argmax())
            chosen.append(best)
            course.append(float(score[best]))
            logits = without[best]
    found = np.array(chosen[: int(np.argmax(course)) + 1])
    return found, np.setdiff1d(np.arange(len(parts)), found)
