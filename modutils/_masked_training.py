"""Training of networks of which little is left: by a compiled loop over the edges, or by matrix products.

Its public names are those of :mod:`modutils.sculpting`. Neither way is :func:`modutils.training.optimize`: gradients of
a masked network are written out, which takes a fraction of the calls of autograd, and the loop has an Adam of its own
because it has no tensors. The products, which share the rest, take torch's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from modutils.tasks import Task
from modutils.training import flushed_denormals

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
        The network's inputs or outputs are not those of the task, or a number of the training is out of range.
    """
    rate, decay = training.learning_rate, training.weight_decay
    if not (0 < rate < math.inf and 0 <= decay < math.inf) or training.batch_size < 1 or training.epochs < 0:
        raise ValueError(
            f"{training}: needed are a rate above 0, at least 1 row a step, and a decay of at least 0, all finite"
        )
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
    adam = torch.optim.Adam(
        parameters,
        lr=training.learning_rate,
        betas=(BETA1, BETA2),
        eps=EPSILON,
        weight_decay=training.weight_decay,
        fused=True,
    )
    best_right, best_loss, best = -1, math.inf, [p.clone() for p in parameters]
    with flushed_denormals(), torch.no_grad():
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
