"""What the chapter compares with and the library does not have: another rule of DeepLIFT, and another criterion."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def reveal_cancel(above: nn.Sequential, values: Tensor, baseline: Tensor, outputs: Tensor) -> Tensor:
    """DeepLIFT attributions by the RevealCancel rule: (N, units), what each unit adds to a sum of logits.

    A value that rises and one that falls can cancel before a ReLU, where the rescale rule sees nothing. So positive and
    negative parts go through the network apart, each with the mean of what it adds first and what it adds last
    (Shrikumar, Greenside & Kundaje 2017, section 3.5.3). For a unit with baseline z and parts p ≥ 0 and n ≤ 0:
    Δy⁺ = ½ [f(z + p) − f(z) + f(z + n + p) − f(z + n)], and Δy⁻ likewise.

    Parameters
    ----------
    above : Sequential
        What lies above the layer: linear layers and ReLUs; dropout and flattening are passed over.
    values, baseline : Tensor
        (N, …) and (1, …): the layer's values for the samples, and for the baseline image.
    outputs : Tensor
        (N, classes) weights of the logits in that sum.

    Raises
    ------
    ValueError
        A layer of another kind.

    Examples
    --------
    >>> one = nn.Linear(2, 1, bias=False)
    >>> two = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(one.weight, 1.0), nn.init.constant_(two.weight, 1.0)
    >>> values, baseline = torch.tensor([[3.0, -2.0]]), torch.zeros(1, 2)
    >>> reveal_cancel(nn.Sequential(one, nn.ReLU(), two), values, baseline, torch.ones(1, 1)).tolist()
    [[2.0, -1.0]]
    """
    start = baseline.flatten(1)
    change = values.flatten(1) - start
    up, down = change.clamp(min=0), change.clamp(max=0)
    parts = up, down
    backwards: list[tuple[Tensor, Tensor] | Tensor] = []  # multipliers of a ReLU's parts, or a linear layer's weights
    with torch.no_grad():
        for layer in above:
            if isinstance(layer, nn.Dropout | nn.Flatten):
                continue
            if isinstance(layer, nn.Linear):
                weight = layer.weight
                rising, falling = weight.clamp(min=0).T, weight.clamp(max=0).T
                up, down = up @ rising + down @ falling, up @ falling + down @ rising
                start = layer(start)
                backwards.append(weight)
            elif isinstance(layer, nn.ReLU):
                low, high, end = (layer(start + part) for part in (down, up, up + down))
                base = layer(start)
                raised, lowered = (high - base + end - low) / 2, (low - base + end - high) / 2
                backwards.append((_ratio(raised, up), _ratio(lowered, down)))
                up, down, start = raised, lowered, base
            else:
                raise ValueError(f"above has {type(layer).__name__}; RevealCancel is for linear layers and ReLUs")
        of_up = of_down = outputs
        for step in reversed(backwards):
            if isinstance(step, tuple):
                of_up, of_down = of_up * step[0], of_down * step[1]
            else:
                rising, falling = step.clamp(min=0), step.clamp(max=0)
                of_up, of_down = of_up @ rising + of_down @ falling, of_up @ falling + of_down @ rising
        return parts[0] * of_up + parts[1] * of_down


def _ratio(change: Tensor, of: Tensor) -> Tensor:
    return torch.where(of == 0, 0, change / torch.where(of == 0, 1, of))


def bipartite_modularity(matrix: np.ndarray, row_labels: np.ndarray, column_labels: np.ndarray) -> float:
    """Modularity of modules that hold rows and columns (Barber 2007): mass in blocks beyond what the margins give.

    Parameters
    ----------
    matrix : array
        (rows, columns), not negative, with a positive sum.
    row_labels, column_labels : array of int
        Modules; −1 is none.
    """
    k = 1 + max(row_labels.max(), column_labels.max())
    rows, columns = _indicator(row_labels, k), _indicator(column_labels, k)
    total = matrix.sum(dtype=np.float64)
    inside = np.einsum("ik,ik->k", rows, matrix @ columns)
    return float((inside / total - (matrix.sum(1) @ rows) * (matrix.sum(0) @ columns) / total**2).sum())


def bipartite_modules(
    matrix: np.ndarray, k: int, starts: list[np.ndarray], *, sweeps: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Modules of rows and columns of high bipartite modularity, at most ``k``, by Barber's BRIM from several starts.

    Rows go where they add most, given the columns, and columns likewise, until nothing moves. A row or column without
    mass is in none (−1).

    Parameters
    ----------
    matrix : array
        (rows, columns), not negative.
    k : int
        Modules at most.
    starts : list of array of int
        Labels of the columns to start from; the best end counts.
    """
    total = matrix.sum(dtype=np.float64)
    of_rows, of_columns = matrix.sum(1, dtype=np.float64), matrix.sum(0, dtype=np.float64)

    def placed(entries: np.ndarray, own: np.ndarray, others: np.ndarray, labels: np.ndarray) -> np.ndarray:
        chosen = _indicator(labels, k)
        gain = entries @ chosen / total - np.outer(own, others @ chosen) / total**2
        return np.where(own > 0, gain.argmax(1), -1)

    found = []
    for columns in starts:
        for _ in range(sweeps):
            rows = placed(matrix, of_rows, of_columns, columns)
            before, columns = columns, placed(matrix.T, of_columns, of_rows, rows)
            if (before == columns).all():
                break
        found.append((bipartite_modularity(matrix, rows, columns), rows, columns))
    return max(found, key=lambda one: one[0])[1:]


def _indicator(labels: np.ndarray, k: int) -> np.ndarray:
    return (labels[:, None] == np.arange(k)).astype(np.float64)
