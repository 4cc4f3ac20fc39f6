"""Neural sculpting: prune a network's hidden units, then its edges, as far as it can still learn its task.

Both phases repeat one step: remove what scores lowest, train on from the weights that are left, and keep the result if
the network is still right; else restore the last one kept and try half the step. What is left of the network shows
how the task is built. Source: Patil, Michael & Dovrolis, "Neural Sculpting", NeurIPS 2023; settings that the slides do
not state are those of the authors' code.

Sculpting takes thousands of trainings of networks of which little is left. So a network is trained as what it has
become: a compiled loop runs over the units and edges that are alive. Where many are, matrix products are faster (and
they run on a GPU); :func:`train` takes whichever needs less work. Every network has a random stream of its own, so each
run of a grid is exactly the run one gets alone.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor
from tqdm import tqdm

from modutils.tasks import Task

#: The grid of steps of both phases, in percent, that the slides choose the sparsest network from.
UNIT_STEPS = tuple(float(step) for step in range(5, 75, 5))
EDGE_STEPS = (0.5, 1.0, 1.5, 2.0, 2.5)
#: The phases in the order of the method.
PHASES = ("units", "edges")
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults (Kingma & Ba 2015)
# Seconds on one core, which only choose between two ways to the same result: the compiled loop for each multiplication
# and each input that it reads; matrix products for each multiplication and for the calls of a step.
_LOOP, _READ, _PRODUCT, _CALLS = 1.2e-10, 2e-8, 3e-11, 3e-4
_CHUNK = 256  # rows that the compiled loop evaluates together


class Network(NamedTuple):
    """A multilayer perceptron with ReLU units whose edges can be masked, as numpy arrays.

    Per layer of edges ``weights`` (outputs, inputs) float32, ``biases`` (outputs,) float32, and ``masks`` (outputs,
    inputs) bool. Masked weights are 0, and so is the bias of a unit without incoming edges.
    """

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    masks: list[np.ndarray]


class Training(NamedTuple):
    """How networks are trained: Adam with coupled weight decay at a constant rate, moments reset every time.

    ``epochs`` passes over the rows in random order, ``batch_size`` rows a step (the last batch of an epoch may be
    smaller); ``weight_decay`` times a weight or bias is added to its gradient.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    weight_decay: float = 1e-4


class Attempt(NamedTuple):
    """One step of a phase.

    ``nominal`` is the percentage that the schedule asked to be gone, ``density`` the share of edges left, ``units`` the
    number of hidden units left, ``right`` the number of test bits that the network got right after training, −1 if it
    was not trained because nothing would have been left.
    """

    phase: str
    nominal: float
    density: float
    units: int
    right: int
    accepted: bool


@dataclass
class Sculpted:
    """One run: what became of a network.

    ``network`` is the last one accepted. ``failed`` says that no step of the first phase was ever accepted: then it is
    the dense network and no result. ``dense_right`` and ``right`` count the test bits that the dense network and
    this one get right, of ``bits``. ``trace`` lists all attempts, and ``history`` the masks of the dense network and
    of every accepted step, if they were asked for.
    """

    seed: int
    unit_step: float | None
    edge_step: float | None
    network: Network
    failed: bool
    dense_right: int
    right: int
    bits: int
    trace: list[Attempt] = field(default_factory=list)
    history: list[list[np.ndarray]] = field(default_factory=list)

    @property
    def density(self) -> float:
        """Edges left, as a share of those of the dense network."""
        return density(self.network.masks)


@dataclass
class Schedule:
    """Step halving: which percentage to try next, from whether the last try was accepted.

    Parameters
    ----------
    position : float
        Percentage that was last accepted, at first where the phase starts.
    step : float
        Percent to add; halved after every rejection, and never raised again.
    smallest : float
        Percent; a rejected step that is no larger ends the phase.

    Examples
    --------
    >>> schedule = Schedule(position=0.0, step=40.0, smallest=15.0)
    >>> for accepted in (True, False, False, True, False):
    ...     print(schedule.proposal, end=" ")
    ...     schedule.report(accepted)
    40.0 80.0 60.0 55.0 70.0
    >>> schedule.done
    True
    """

    position: float
    step: float
    smallest: float
    done: bool = False

    @property
    def proposal(self) -> float:
        """Percentage to try; at 100 or more nothing would be left, and the try counts as rejected."""
        return self.position + self.step

    def report(self, accepted: bool) -> None:
        """Say whether the proposal was accepted."""
        if accepted:
            self.position = self.proposal
        elif self.step > self.smallest:
            self.step = max(self.step / 2, self.smallest)
        else:
            self.done = True


def initialize(sizes: Sequence[int], *, seed: int) -> Network:
    """A dense network with Kaiming-normal weights (fan-in, gain √2) and zero biases.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, units of each hidden layer (at least one), outputs.
    seed : int

    Raises
    ------
    ValueError
        No hidden layer, or a size below 1.
    """
    if len(sizes) < 3 or min(sizes) < 1:
        raise ValueError(
            f"sizes={list(sizes)} must name inputs, at least one hidden layer, and outputs, each at least 1"
        )
    rng = np.random.default_rng(seed)
    shapes = [(fan_out, fan_in) for fan_in, fan_out in pairwise(sizes)]
    weights = [rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2 / shape[1])) for shape in shapes]
    biases = [np.zeros(shape[0], dtype=np.float32) for shape in shapes]
    return Network(weights, biases, [np.ones(shape, dtype=bool) for shape in shapes])


def density(masks: Sequence[np.ndarray]) -> float:
    """Share of the edges of the dense network that are left, in [0, 1]."""
    return sum(int(np.count_nonzero(mask)) for mask in masks) / sum(mask.size for mask in masks)


def unit_scores(
    weights: Sequence[Any], biases: Sequence[Any], inputs: Any, targets: Any, *, batch_size: int = 4096
) -> np.ndarray:
    """Loss sensitivity of every hidden unit of a ReLU network: the mean over rows of \\|a ∂ℓ/∂a\\|.

    ℓ is a row's binary cross-entropy in nats, averaged over outputs, and a the unit's activation. It estimates to
    first order how much the loss of a row changes when the unit is silenced.

    Parameters
    ----------
    weights, biases : sequences of arrays
        Per layer (outputs, inputs) and (outputs,).
    inputs, targets : array
        (R, n) and (R, m); targets in {0, 1}.
    batch_size : int
        Rows at a time.

    Returns
    -------
    numpy.ndarray
        (hidden units,), float64, at least 0, all hidden layers one after the other. Exactly 0 for a unit that is
        silent on all rows.

    Raises
    ------
    ValueError
        Shapes that do not fit, or numbers that are not finite.
    """
    w = [torch.as_tensor(weight) for weight in weights]
    b = [torch.as_tensor(bias, dtype=w[0].dtype) for bias in biases]
    x, y = torch.as_tensor(inputs).to(w[0]), torch.as_tensor(targets).to(w[0])
    _check_network(w, b)
    _check_rows("inputs", x, "targets", y, w[0].shape[1], w[-1].shape[0])
    total = [torch.zeros(weight.shape[0], dtype=torch.float64) for weight in w[:-1]]
    for rows, wanted in zip(x.split(batch_size), y.split(batch_size), strict=True):
        activities = _forward(w, b, rows)
        slope = (torch.sigmoid(activities[-1]) - wanted) / y.shape[1]
        for layer in range(len(w) - 1, 0, -1):
            slope = slope @ w[layer]
            a = activities[layer - 1]
            total[layer - 1] += (a * slope).abs_().sum(0, dtype=torch.float64).cpu()
            slope = slope * (a > 0)
    return (torch.cat(total) / len(x)).numpy()


def bits_right(network: Network, inputs: Tensor, targets: Tensor) -> int:
    """How many of the R × m bits a network gets right; a logit of at least 0 says 1."""
    weights, biases = ([torch.as_tensor(part) for part in parts] for parts in network[:2])
    batches = zip(inputs.split(4096), targets.split(4096), strict=True)
    return sum(int(((_forward(weights, biases, x)[-1] >= 0) == (y > 0.5)).sum()) for x, y in batches)


def train(
    network: Network, task: Task, training: Training, rng: np.random.Generator, *, device: str = "cpu"
) -> tuple[Network, int]:
    """Train a masked network and return its best copy with the number of test bits that this gets right.

    After every epoch the network is judged on the test rows. A copy is kept when more bits are right than ever, or as
    many at a loss that is not higher. With 0 epochs the network is only judged. If the loss was never finite, the
    network is returned as it was, with −1.

    Parameters
    ----------
    network : Network
        Left as it is.
    task : Task
        With Gaussian noise on its training inputs, drawn anew whenever a row is.
    training : Training
    rng : numpy.random.Generator
        Draws the order of the rows, then the noise of every batch.
    device : str
        Of the matrix products; on another than ``cpu`` the compiled loop is not used.

    Raises
    ------
    ValueError
        The network's inputs or outputs are not those of the task.
    """
    ends = network.masks[0].shape[1], network.masks[-1].shape[0]
    if ends != (task.inputs.shape[1], task.targets.shape[1]):
        raise ValueError(
            f"network has {ends[0]} inputs and {ends[1]} outputs, but {task.name!r} has "
            f"{task.inputs.shape[1]} and {task.targets.shape[1]}"
        )
    alive = _alive_units(network.masks)
    blocks = [np.ix_(above, below) for below, above in pairwise(alive)]
    edges = sum(int(np.count_nonzero(mask)) for mask in network.masks)
    area = sum(len(above) * len(below) for below, above in pairwise(alive))
    small = Network(
        [w[block] for w, block in zip(network.weights, blocks, strict=True)],
        [b[above] for b, above in zip(network.biases, alive[1:], strict=True)],
        [m[block] for m, block in zip(network.masks, blocks, strict=True)],
    )
    columns = alive[0]
    # Three multiplications an edge and row: forward, and for the gradients of weights and of activations.
    loop = training.batch_size * (3 * edges * _LOOP + len(columns) * _READ)
    products = training.batch_size * 3 * area * _PRODUCT + _CALLS
    way = _train_loop if device == "cpu" and loop < products else _train_products
    weights, biases, right = way(small, columns, task, training, rng, device)
    found = Network(*([part.copy() for part in parts] for parts in network))
    for layer, (block, above) in enumerate(zip(blocks, alive[1:], strict=True)):
        found.weights[layer][block] = weights[layer]
        found.biases[layer][above] = biases[layer]
    return found, right


def _alive_units(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Per layer of units the places of those that have an edge; all outputs."""
    incoming = [np.zeros(masks[0].shape[1], dtype=bool), *(mask.any(axis=1) for mask in masks)]
    outgoing = [*(mask.any(axis=0) for mask in masks), np.ones(masks[-1].shape[0], dtype=bool)]
    return [np.flatnonzero(a | b) for a, b in zip(incoming, outgoing, strict=True)]


# --- training by matrix products --------------------------------------------------------------------------------------


def _forward(weights: Sequence[Tensor], biases: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Activities of every hidden layer and the logits, each (R, units)."""
    found = []
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = torch.addmm(bias, x, weight.T)
        if layer < len(weights) - 1:
            x = x.clamp_(min=0)
        found.append(x)
    return found


def _train_products(
    small: Network, columns: np.ndarray, task: Task, training: Training, rng: np.random.Generator, device: str
) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    weights = [torch.tensor(w, device=device) for w in small.weights]
    biases = [torch.tensor(b, device=device) for b in small.biases]
    masks = [torch.tensor(m, device=device) for m in small.masks]
    bias_masks = [mask.any(dim=1) for mask in masks]
    whole = all(bool(mask.all()) for mask in masks)
    chosen = torch.from_numpy(columns)
    x, y = task.inputs[:, chosen].to(device), task.targets.to(device)
    test_x, test_y = task.test_inputs[:, chosen].to(device), task.test_targets.to(device)
    parameters = [*weights, *biases]
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    if device == "cpu":
        torch.set_flush_denormal(True)  # CPUs crawl on denormal numbers
    adam = torch.optim.Adam(
        parameters,
        lr=training.learning_rate,
        betas=(BETA1, BETA2),
        eps=EPSILON,
        weight_decay=training.weight_decay,
        fused=True,
    )
    best_right, best_loss, best = -1, math.inf, [p.clone() for p in parameters]
    with torch.no_grad():
        for _ in range(max(training.epochs, 1)):
            order = torch.from_numpy(rng.permutation(len(x))) if training.epochs else torch.empty(0, dtype=torch.int64)
            for rows in order.split(training.batch_size) if training.epochs else ():
                batch = x[rows.to(device)]
                if task.noise:
                    drawn = rng.standard_normal(tuple(batch.shape), dtype=np.float32)
                    batch = batch + task.noise * torch.from_numpy(drawn).to(device)
                _gradients(weights, biases, batch, y[rows.to(device)])
                if not whole:
                    for weight, bias, mask, bias_mask in zip(weights, biases, masks, bias_masks, strict=True):
                        weight.grad.mul_(mask)  # type: ignore[union-attr]
                        bias.grad.mul_(bias_mask)  # type: ignore[union-attr]
                adam.step()
            right, loss = _judge(weights, biases, test_x, test_y)
            if math.isfinite(loss) and (right > best_right or (right == best_right and loss <= best_loss)):
                best_right, best_loss = right, loss
                for kept, parameter in zip(best, parameters, strict=True):
                    kept.copy_(parameter)
    arrays = [p.cpu().numpy() for p in best]
    return arrays[: len(weights)], arrays[len(weights) :], best_right


def _gradients(weights: list[Tensor], biases: list[Tensor], x: Tensor, y: Tensor) -> None:
    """Gradients of the mean cross-entropy over rows and outputs, into ``grad``."""
    activities = [x, *_forward(weights, biases, x)]
    slope = (torch.sigmoid(activities[-1]) - y) / y.numel()
    for layer in range(len(weights) - 1, -1, -1):
        torch.mm(slope.T, activities[layer], out=weights[layer].grad)
        torch.sum(slope, 0, out=biases[layer].grad)
        if layer:
            slope = (slope @ weights[layer]).mul_(activities[layer] > 0)


def _judge(weights: list[Tensor], biases: list[Tensor], x: Tensor, y: Tensor) -> tuple[int, float]:
    """Bits right and mean cross-entropy on the test rows."""
    right, loss = 0, 0.0
    for rows, wanted in zip(x.split(4096), y.split(4096), strict=True):
        logits = _forward(weights, biases, rows)[-1]
        right += int(((logits >= 0) == (wanted > 0.5)).sum())
        loss += float(torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum"))
    return right, loss / y.numel()


# --- training by a compiled loop over the edges -----------------------------------------------------------------------


def _train_loop(
    small: Network, columns: np.ndarray, task: Task, training: Training, rng: np.random.Generator, device: str
) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    # Units are numbered through all layers, edges are sorted by the unit that they end in.
    sizes = [small.masks[0].shape[1], *(mask.shape[0] for mask in small.masks)]
    offsets = np.cumsum([0, *sizes])
    places = [np.nonzero(mask) for mask in small.masks]
    sources = np.concatenate([below + offset for (_, below), offset in zip(places, offsets, strict=False)])
    counts = np.concatenate([mask.sum(axis=1) for mask in small.masks])
    starts = np.concatenate([[0], np.cumsum(counts)])
    weights = np.concatenate([w[place] for w, place in zip(small.weights, places, strict=True)])
    biases = np.concatenate(small.biases)
    if len(columns) == task.inputs.shape[1]:
        x, test_x = task.inputs.numpy(), task.test_inputs.numpy()
    else:
        x, test_x = task.inputs.numpy()[:, columns], task.test_inputs.numpy()[:, columns]
    weights, biases, right = _edge_loop(
        np.ascontiguousarray(x),
        np.ascontiguousarray(task.targets.numpy()),
        np.ascontiguousarray(test_x),
        np.ascontiguousarray(task.test_targets.numpy()),
        starts,
        sources,
        weights,
        biases,
        np.float32(task.noise),
        np.float32(training.learning_rate),
        np.float32(training.weight_decay),
        training.batch_size,
        training.epochs,
        rng,
    )
    ends = np.cumsum([0, *(len(place[0]) for place in places)])
    split_weights = []
    for (first, last), place, mask in zip(pairwise(ends), places, small.masks, strict=True):
        weight = np.zeros(mask.shape, dtype=np.float32)
        weight[place] = weights[first:last]
        split_weights.append(weight)
    return split_weights, np.split(biases, np.cumsum(sizes[1:-1])), int(right)


# Sums may be taken in any order, which lets the compiler use vector instructions; NaN and infinity stay what they are.
_FAST = {"contract", "reassoc", "nsz", "arcp"}


@njit(cache=True, fastmath=_FAST)
def _run_forward(a: Any, count: int, n: int, m: int, starts: Any, sources: Any, weights: Any, biases: Any) -> None:
    """Fill the rows of ``a`` (units, batch) from the inputs up, for ``count`` columns; ``n`` inputs, ``m`` outputs."""
    units = len(a)
    for j in range(n, units):
        bias = biases[j - n]
        for c in range(count):
            a[j, c] = bias
        for e in range(starts[j - n], starts[j - n + 1]):
            weight, s = weights[e], sources[e]
            for c in range(count):
                a[j, c] += weight * a[s, c]
        if j < units - m:
            for c in range(count):
                a[j, c] = max(a[j, c], np.float32(0))


@njit(cache=True, fastmath=_FAST)
def _edge_loop(
    x: Any,
    y: Any,
    test_x: Any,
    test_y: Any,
    starts: Any,
    sources: Any,
    weights: Any,
    biases: Any,
    noise: Any,
    rate: Any,
    decay: Any,
    batch_size: int,
    epochs: int,
    rng: Any,
) -> Any:
    """What `_train_products` does, edge by edge; ``starts`` are the first edges of the units above the inputs."""
    n, m = x.shape[1], y.shape[1]
    above = len(biases)
    units = n + above
    w, b = weights.copy(), biases.copy()
    a = np.zeros((units, max(min(batch_size, len(x)), min(_CHUNK, len(test_x)))), dtype=np.float32)
    d = np.zeros_like(a)
    gw, gb = np.zeros_like(w), np.zeros_like(b)
    first_w, second_w = np.zeros_like(w), np.zeros_like(w)
    first_b, second_b = np.zeros_like(b), np.zeros_like(b)
    best_w, best_b, best_right, best_loss = w.copy(), b.copy(), -1, np.inf
    power1, power2 = 1.0, 1.0
    for _ in range(max(epochs, 1)):
        order = rng.permutation(len(x)) if epochs > 0 else np.empty(0, dtype=np.int64)
        for begin in range(0, len(order), batch_size):
            count = min(batch_size, len(order) - begin)
            for c in range(count):
                row = order[begin + c]
                for i in range(n):
                    a[i, c] = x[row, i]
                if noise > 0:
                    for i in range(n):
                        a[i, c] += noise * rng.standard_normal(None, np.float32)
            _run_forward(a, count, n, m, starts, sources, w, b)
            scale = np.float32(1 / (count * m))
            for k in range(m):
                j = units - m + k
                for c in range(count):
                    p = np.float32(1) / (np.float32(1) + np.exp(-a[j, c]))
                    d[j, c] = (p - y[order[begin + c], k]) * scale
            for j in range(n, units - m):
                for c in range(count):
                    d[j, c] = 0
            for j in range(units - 1, n - 1, -1):
                if j < units - m:
                    for c in range(count):
                        if a[j, c] <= 0:
                            d[j, c] = 0
                total = np.float32(0)
                for c in range(count):
                    total += d[j, c]
                gb[j - n] = total if starts[j - n + 1] > starts[j - n] else 0
                for e in range(starts[j - n], starts[j - n + 1]):
                    s = sources[e]
                    total = np.float32(0)
                    for c in range(count):
                        total += d[j, c] * a[s, c]
                    gw[e] = total
                    if s >= n:
                        weight = w[e]
                        for c in range(count):
                            d[s, c] += weight * d[j, c]
            power1 *= BETA1
            power2 *= BETA2
            step = np.float32(rate / (1 - power1))
            root = np.float32(1 / math.sqrt(1 - power2))
            _adam(w, gw, first_w, second_w, decay, step, root)
            _adam(b, gb, first_b, second_b, decay, step, root)
        right, loss = _run_judge(a, test_x, test_y, n, m, starts, sources, w, b)
        if loss < np.inf and (right > best_right or (right == best_right and loss <= best_loss)):
            best_right, best_loss = right, loss
            best_w[:] = w
            best_b[:] = b
    return best_w, best_b, best_right


@njit(cache=True, fastmath=_FAST)
def _adam(p: Any, g: Any, first: Any, second: Any, decay: Any, step: Any, root: Any) -> None:
    beta1, beta2, epsilon = np.float32(BETA1), np.float32(BETA2), np.float32(EPSILON)
    one = np.float32(1)
    for i in range(len(p)):
        slope = g[i] + decay * p[i]
        first[i] = beta1 * first[i] + (one - beta1) * slope
        second[i] = beta2 * second[i] + (one - beta2) * slope * slope
        p[i] -= step * first[i] / (np.sqrt(second[i]) * root + epsilon)


@njit(cache=True, fastmath=_FAST)
def _run_judge(
    a: Any, x: Any, y: Any, n: int, m: int, starts: Any, sources: Any, weights: Any, biases: Any
) -> tuple[int, float]:
    right, loss = 0, 0.0
    units = len(a)
    for begin in range(0, len(x), _CHUNK):
        count = min(_CHUNK, len(x) - begin)
        for c in range(count):
            for i in range(n):
                a[i, c] = x[begin + c, i]
        _run_forward(a, count, n, m, starts, sources, weights, biases)
        for k in range(m):
            j = units - m + k
            # log Π instead of Σ log: a logarithm takes longer than the rest. Each factor lies in [1, 2].
            product = 1.0
            for c in range(count):
                z = a[j, c]
                one = y[begin + c, k] > 0.5
                right += (z >= 0) == one
                loss += max(z, np.float32(0)) - (z if one else np.float32(0))
                product *= 1.0 + np.exp(-abs(z))
            loss += math.log(product)
    return right, loss / y.size


# --- pruning ----------------------------------------------------------------------------------------------------------


def prune_units(network: Network, scores: np.ndarray, percentage: float) -> Network:
    """Remove the hidden units whose score is not above the given percentile of all scores.

    Parameters
    ----------
    network : Network
    scores : array
        (hidden units,), as of :func:`unit_scores`; units that are gone already count, with score 0.
    percentage : float
        In [0, 100). The percentile is interpolated linearly and a unit must lie strictly above it, so a unit that is
        silent on all rows goes at once.

    Raises
    ------
    ValueError
        A percentage outside [0, 100), or not one score a hidden unit.
    """
    hidden = [len(bias) for bias in network.biases[:-1]]
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (sum(hidden),):
        raise ValueError(f"scores has shape {values.shape}, but there are {sum(hidden)} hidden units")
    keep = np.split(values > _percentile(values, percentage), np.cumsum(hidden)[:-1])
    return _masked(network, [_cut(mask, keep, layer) for layer, mask in enumerate(network.masks)])


def _cut(mask: np.ndarray, keep: list[np.ndarray], layer: int) -> np.ndarray:
    if layer < len(keep):
        mask = mask & keep[layer][:, None]
    return mask & keep[layer - 1] if layer else mask.copy()


def prune_edges(network: Network, percentage: float, *, scores: Sequence[np.ndarray] | None = None) -> Network:
    """Remove the edges whose score is not above the given percentile of all edges of the dense network.

    Parameters
    ----------
    network : Network
    percentage : float
        In [0, 100). Edges that are gone already count, with score 0; biases do not count.
    scores : sequence of arrays, optional
        Like the weights, positive (default: the sizes of the weights).

    Raises
    ------
    ValueError
        A percentage outside [0, 100).
    """
    sizes = [abs(w) for w in network.weights] if scores is None else scores
    sizes = [size * mask for size, mask in zip(sizes, network.masks, strict=True)]
    threshold = _percentile(np.concatenate([size.ravel() for size in sizes]), percentage)
    return _masked(network, [mask & (size > threshold) for size, mask in zip(sizes, network.masks, strict=True)])


def _percentile(values: np.ndarray, percentage: float) -> float:
    if not 0 <= percentage < 100:
        raise ValueError(f"percentage={percentage} must be at least 0 and below 100")
    # numpy.percentile, without what it takes to allow for other cases
    position = percentage / 100 * (values.size - 1)
    below = int(position)
    part = np.partition(values, [below, min(below + 1, values.size - 1)])
    low, high = float(part[below]), float(part[min(below + 1, values.size - 1)])
    return low + (position - below) * (high - low)


def _masked(network: Network, masks: list[np.ndarray]) -> Network:
    weights = [w * mask for w, mask in zip(network.weights, masks, strict=True)]
    return Network(weights, [b * mask.any(axis=1) for b, mask in zip(network.biases, masks, strict=True)], masks)


# --- sculpting --------------------------------------------------------------------------------------------------------


def sculpt(
    task: Task,
    hidden: Sequence[int],
    training: Training,
    *,
    unit_steps: Sequence[float] = UNIT_STEPS,
    edge_steps: Sequence[float] = EDGE_STEPS,
    seeds: Sequence[int] = (0,),
    threshold: float = 1.0,
    tolerance: float | None = None,
    phases: Sequence[str] = PHASES,
    random_scores: Sequence[str] = (),
    halving: bool = True,
    retrain: bool = True,
    history: bool = False,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: bool = False,
) -> list[Sculpted]:
    """Sculpt networks of one shape: every seed with every pair of steps.

    All runs of a seed start from the same trained dense network, and all that share the step of the first phase share
    that phase. Each run is what it would be alone.

    Parameters
    ----------
    task : Task
        Of :mod:`modutils.tasks`.
    hidden : sequence of int
        Units of each hidden layer.
    training : Training
        For the dense network and after every step.
    unit_steps, edge_steps : sequence of float
        Percent by which the phases begin to prune, in (0, 100).
    seeds : sequence of int
        One dense network each.
    threshold : float
        Share of the test bits that must be right for a step to be accepted, in (0, 1]; 1 is all of them, exactly.
    tolerance : float, optional
        Instead of ``threshold``: how much smaller the share may be than that of the dense network.
    phases : sequence of str
        In which order: ``units``, ``edges``, or both. With one phase the other's steps do not count.
    random_scores : sequence of str
        Phases in which random scores decide, as a control.
    halving : bool
        False ends a phase at the first rejection, as a control.
    retrain : bool
        False keeps the weights as they are after a step, as a control.
    history : bool
        Keep the masks of every accepted step.
    device : str
        Where matrix products are taken.
    checkpoint : path, optional
        For a single run: written after every step; sculpting goes on from it when it exists. Removed at the end.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    list of Sculpted
        Seeds × steps of the first phase × steps of the second phase, the last fastest.

    Raises
    ------
    ValueError
        A number out of range, an unknown phase, a task with values that are not finite, or a checkpoint for several
        runs.

    Examples
    --------
    >>> from modutils import tasks
    >>> runs = sculpt(tasks.load("separable"), [24, 24], Training(0.05, 8, 10), unit_steps=[40.0], edge_steps=[2.5])
    >>> runs[0].right == runs[0].bits, runs[0].density < 0.06
    (True, True)
    """
    steps = {"units": [float(s) for s in unit_steps], "edges": [float(s) for s in edge_steps]}
    _check_settings(task, hidden, training, steps, seeds, threshold, tolerance, phases, random_scores)
    chosen = [steps[name] for name in phases]
    if checkpoint is not None and (len(seeds) > 1 or any(len(each) > 1 for each in chosen)):
        raise ValueError("checkpoint is for a single run: one seed, one unit step, one edge step")
    how = _How(
        task, training, threshold, tolerance, tuple(random_scores), halving, retrain, history, device, checkpoint
    )
    sizes = [task.inputs.shape[1], *hidden, task.targets.shape[1]]
    total = len(seeds) * math.prod(len(each) for each in chosen)
    found = []
    with tqdm(total=total, desc="sculpting", unit="run", disable=not progress) as bar:
        for seed in seeds:
            for run in _branches([_start(how, sizes, seed)], how, list(zip(phases, chosen, strict=True))):
                found.append(run.result)
                bar.update()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return found


def sparsest(runs: Sequence[Sculpted]) -> int:
    """Place of the run with the lowest density, the first of equals; −1 if all have failed."""
    left = [(run.density, place) for place, run in enumerate(runs) if not run.failed]
    return min(left)[1] if left else -1


class _How(NamedTuple):
    """What all runs of a call share."""

    task: Task
    training: Training
    threshold: float
    tolerance: float | None
    random_scores: tuple[str, ...]
    halving: bool
    retrain: bool
    history: bool
    device: str
    checkpoint: Path | None

    def needed(self, dense_right: int) -> int:
        """Test bits that must be right."""
        bits = self.task.test_targets.numel()
        if self.tolerance is not None:
            return math.ceil(dense_right - self.tolerance * bits)
        return math.ceil(self.threshold * bits - 1e-9)


@dataclass
class _Run:
    """A run on its way: what a checkpoint holds."""

    result: Sculpted
    phase: str = ""
    schedule: Schedule | None = None
    rng: np.random.Generator | None = None
    finished: tuple[str, ...] = ()


def _start(how: _How, sizes: Sequence[int], seed: int) -> _Run:
    if how.checkpoint is not None and how.checkpoint.exists():
        with open(how.checkpoint, "rb") as file:
            return pickle.load(file)
    rng = np.random.default_rng([seed, 0])
    network, right = train(initialize(sizes, seed=seed), how.task, how.training, rng, device=how.device)
    bits = how.task.test_targets.numel()
    run = _Run(Sculpted(seed, None, None, network, False, right, right, bits))
    if how.history:
        run.result.history.append([mask.copy() for mask in network.masks])
    _save(run, how)
    return run


def _save(run: _Run, how: _How) -> None:
    if how.checkpoint is None:
        return
    how.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = how.checkpoint.with_name(f"{how.checkpoint.name}.{os.getpid()}.partial")
    partial.write_bytes(pickle.dumps(run))
    partial.replace(how.checkpoint)


def _branches(runs: list[_Run], how: _How, phases: list[tuple[str, list[float]]]) -> Iterator[_Run]:
    """Every run through the phases that are left, depth first; what runs have in common is computed once."""
    for run in runs:
        if not phases:
            yield run
            continue
        (name, steps), *rest = phases
        for step in steps:
            branch = _Run(_copy(run.result), run.phase, run.schedule, run.rng, run.finished)
            if name == "units":
                branch.result.unit_step = step
            else:
                branch.result.edge_step = step
            if name not in branch.finished and not branch.result.failed:
                _phase(branch, name, step, how)
            yield from _branches([branch], how, rest)


def _copy(result: Sculpted) -> Sculpted:
    """Networks are never changed in place, so only the lists are copied."""
    own = Sculpted(**vars(result))
    own.trace, own.history = list(result.trace), list(result.history)
    return own


def _phase(run: _Run, name: str, step: float, how: _How) -> None:
    """Prune until the schedule ends."""
    result = run.result
    needed = how.needed(result.dense_right)
    if run.phase != name:  # else a checkpoint is gone on with
        steps = [result.unit_step, result.edge_step]
        run.rng = np.random.default_rng(
            [result.seed, 1 + PHASES.index(name), *(round(1000 * each) if each is not None else 0 for each in steps)]
        )
        if run.finished and how.retrain:  # once before a second phase
            network, right = train(result.network, how.task, how.training, run.rng, device=how.device)
            if right >= needed:
                result.network, result.right = network, right
        if name == "units":
            start, count = 0.0, sum(len(bias) for bias in result.network.biases[:-1])
        else:
            start, count = 100 * (1 - result.density), sum(mask.size for mask in result.network.masks)
        run.schedule = Schedule(start, step, 100 / count if how.halving else step)
        run.phase = name
    schedule, rng = run.schedule, run.rng
    assert schedule is not None
    assert rng is not None
    training = how.training if how.retrain else how.training._replace(epochs=0)
    while not schedule.done:
        percentage = schedule.proposal
        pruned, right, accepted = result.network, -1, False
        if percentage < 100:
            pruned = _pruned(result.network, name, percentage, how, rng)
            pruned, right = train(pruned, how.task, training, rng, device=how.device)
            accepted = right >= needed
        units = sum(int(mask.any(axis=1).sum()) for mask in pruned.masks[:-1])
        result.trace.append(Attempt(name, percentage, density(pruned.masks), units, right, accepted))
        if accepted:
            result.network, result.right = pruned, right
            if how.history:
                result.history.append([mask.copy() for mask in pruned.masks])
        schedule.report(accepted)
        _save(run, how)
    if not run.finished:
        result.failed = not any(attempt.accepted for attempt in result.trace)
    run.finished = (*run.finished, name)
    _save(run, how)


def _pruned(network: Network, name: str, percentage: float, how: _How, rng: np.random.Generator) -> Network:
    drawn = name in how.random_scores
    if name == "units":
        if drawn:
            alive = np.concatenate([mask.any(axis=1) for mask in network.masks[:-1]])
            return prune_units(network, rng.random(len(alive)) * alive, percentage)
        scores = unit_scores(network.weights, network.biases, how.task.test_inputs, how.task.test_targets)
        return prune_units(network, scores, percentage)
    return prune_edges(network, percentage, scores=[rng.random(w.shape) for w in network.weights] if drawn else None)


def _check_network(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
    if len(weights) < 2 or len(weights) != len(biases):
        raise ValueError(f"{len(weights)} weights and {len(biases)} biases; needed are as many, at least 2 of each")
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        below = weights[layer - 1].shape[0] if layer else weight.shape[-1]
        if weight.ndim != 2 or weight.shape[1] != below or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"layer {layer}: weights {tuple(weight.shape)} and biases {tuple(bias.shape)} do not chain; "
                f"needed are (outputs, {below}) and (outputs,)"
            )
        if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise ValueError(f"layer {layer}: weights or biases have numbers that are not finite")


def _check_rows(name: str, x: Tensor, other: str, y: Tensor, n: int, m: int) -> None:
    if x.ndim != 2 or x.shape[1] != n or y.shape != (len(x), m) or not len(x):
        raise ValueError(
            f"{name} {tuple(x.shape)} and {other} {tuple(y.shape)} do not fit; needed are (R, {n}) and (R, {m}), R ≥ 1"
        )
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} has {int((~torch.isfinite(x)).sum())} numbers that are not finite")
    if not ((y == 0) | (y == 1)).all():
        raise ValueError(f"{other} must be 0 or 1")


def _check_settings(
    task: Task,
    hidden: Sequence[int],
    training: Training,
    steps: dict[str, list[float]],
    seeds: Sequence[int],
    threshold: float,
    tolerance: float | None,
    phases: Sequence[str],
    random_scores: Sequence[str],
) -> None:
    n, m = task.inputs.shape[1], task.targets.shape[1]
    _check_rows("task.inputs", task.inputs, "task.targets", task.targets, n, m)
    _check_rows("task.test_inputs", task.test_inputs, "task.test_targets", task.test_targets, n, m)
    if not len(hidden) or min(hidden) < 1:
        raise ValueError(f"hidden={list(hidden)} must name at least one layer, each of at least 1 unit")
    if training.learning_rate <= 0 or training.batch_size < 1 or training.epochs < 1 or training.weight_decay < 0:
        raise ValueError(
            f"{training}: needed are a rate above 0, at least 1 row and 1 epoch, and a decay of at least 0"
        )
    if not phases or set(phases) - set(PHASES) or len(set(phases)) < len(phases):
        raise ValueError(f"phases={tuple(phases)} must be 'units', 'edges', or both, each once")
    if unknown := set(random_scores) - set(PHASES):
        raise ValueError(f"random_scores names {unknown.pop()!r}; choose from 'units', 'edges'")
    for name in phases:
        if not steps[name] or not all(0 < step < 100 for step in steps[name]):
            raise ValueError(f"{name[:-1]}_steps={steps[name]} must be one or more percentages between 0 and 100")
    if not len(seeds):
        raise ValueError("seeds is empty; at least one is needed")
    if not 0 < threshold <= 1 or (tolerance is not None and not 0 <= tolerance < 1):
        raise ValueError(f"threshold={threshold} must be in (0, 1], tolerance={tolerance} in [0, 1)")
