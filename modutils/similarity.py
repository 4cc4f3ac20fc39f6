r"""How alike are two units of a layer: in what drives them, and in what they do to the output and to the loss?

Every measure is a matrix :math:`M_k` of units × units per sample :math:`k`, averaged over the samples. Notation:
:math:`x` the input, :math:`h` the value of the layer, :math:`y` the logits, :math:`p = \mathrm{softmax}(y)`,
:math:`\bar h` the mean of :math:`h` over the samples:

.. list-table::
   :header-rows: 1

   * - measure
     - :math:`M_k`
     - side
   * - ``covariance``
     - :math:`(h - \bar h)(h - \bar h)^\top`
     - upstream
   * - ``input_sensitivity``
     - :math:`J J^\top` with :math:`J = \partial h / \partial x`
     - upstream
   * - ``output_sensitivity``
     - :math:`J^\top J` with :math:`J = \partial y / \partial h`
     - downstream
   * - ``loss_hessian``
     - :math:`\partial^2 L / \partial h^2`, :math:`L` the cross-entropy of one sample
     - downstream

The absolute value that makes a similarity of it stands outside the mean, :math:`|\sum_k M_k| / K`, or inside,
:math:`\sum_k |M_k| / K`. The paper prints it inside; its authors' code, and so its figures, have it outside.

A unit that never fires has zero rows in both upstream measures, but not in the downstream ones: derivatives with
respect to :math:`h` do not ask whether :math:`h` ever changes.

References
----------
R. D. Lange, D. S. Rolnick and K. P. Kording, "Clustering units in neural networks: upstream vs downstream
information", Transactions on Machine Learning Research, 2022, section 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from modutils import _check
from modutils.units import (
    UNITS,
    Output,
    batches,
    channel_axis,
    find,
    has_hooks,
    logits_of,
    probe,
    run,
    run_from,
    split,
    undisturbed,
    value_of,
)

__all__ = ["MEASURES", "Similarity", "mlp_similarities", "normalize", "unit_similarity"]

MEASURES = ("covariance", "input_sensitivity", "output_sensitivity", "loss_hessian")

_Array = TypeVar("_Array", Tensor, np.ndarray)


class Similarity(NamedTuple):
    """One measure of one layer, the absolute value taken either way.

    Attributes
    ----------
    outside, inside : Tensor of float64, shape (n, n)
        :math:`|\\mathrm{mean}_k M_k|` and :math:`\\mathrm{mean}_k |M_k|`, on the device of the weights.
    """

    outside: Tensor
    inside: Tensor


@undisturbed
@torch.enable_grad()
def unit_similarity(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    *,
    measure: str,
    abs_inside: bool = False,
    labels: Tensor | None = None,
    units: str = "channel",
    positions: int | None = None,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int = 500,
) -> Tensor:
    """Compare all pairs of units of a layer of any network.

    Networks of `modutils.networks.mlp` with ReLU go through `mlp_similarities`; all others through automatic
    differentiation: per batch, `input_sensitivity` takes one backward pass for each unit at each position, and the
    downstream measures one for each class.

    Parameters
    ----------
    model : nn.Module
        Maps inputs (N, ...) to logits (N, classes), each sample on its own, in evaluation mode. It runs on its own
        device and in its own precision. For the upstream measures it may return anything. `loss_hessian` is of a
        cross-entropy, so it needs two classes or more.
    layer : nn.Module or str
        Submodule of the model, or its dotted name, that runs once. Name the activation function, not the linear map
        below it. Its output is (N, n), or (N, n, height, width), or (N, tokens, n).
    inputs : Tensor or ndarray, shape (N, ...)
        Finite floating point numbers, or but for `input_sensitivity` integers for a model that takes such; moved to the
        model's device batch by batch.
    measure : str
        One of `MEASURES`, as defined at the top of this module, with no factor in front.
    abs_inside : bool
        Average the absolute values, instead of taking the absolute value of the average.
    labels : Tensor of int, shape (N,), optional
        True classes, for `loss_hessian` alone. Where everything above the layer is piecewise linear (ReLU, max-pooling)
        they make no difference. Elsewhere the Hessian depends on them; without them it is the one expected when
        labels are drawn from the model's own p, which is the Gauss-Newton matrix JᵀHJ with H = diag(p) - ppᵀ.
        With labels, a network without closed forms takes one backward pass per batch for each unit at each position.
    units : {"channel", "element"}
        Of a layer with positions (see `modutils.units`). Of n channels, M is the mean over positions of the matrix
        between the channels *at the same position*. For the downstream measures that is: J and the second derivative
        are with respect to the channels at one position, with all others held. Covariances are about the mean at the
        position. Elements are compared across positions, in one matrix of all of them.
    positions : int, optional
        Use at most so many positions of a layer that has several, drawn once for all samples. Default: all. Of channels
        only.
    output : callable, optional
        Picks the logits (N, classes) from what the model returns, for the downstream measures. Default: all of it.
    seed : int
        Of that draw.
    batch_size : int
        Most samples to run at once. Memory grows with it, not with N.

    Returns
    -------
    Tensor of float64, shape (n, n)
        Symmetric and non-negative, on the model's device. `normalize` brings it to [0, 1].

    Raises
    ------
    ValueError
        Unknown measure or layer; a layer or model whose output has another shape; empty inputs; numbers that are not
        finite, given or found; dropout or batch normalisation in training mode; labels out of range.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = net[0].weight.copy_(torch.eye(2)), net[2].weight.copy_(torch.tensor([[3.0, -1.0]]))
    >>> unit_similarity(net, "1", torch.tensor([[1.0, 1.0], [1.0, -1.0]]), measure="output_sensitivity")
    tensor([[9., 3.],
            [3., 1.]], dtype=torch.float64)
    """
    _check.choice("measure", measure, MEASURES)
    _check.choice("units", units, UNITS)
    module = find(model, layer)
    inputs = _check.samples("inputs", inputs, integers=measure != "input_sensitivity")
    _check.count("batch_size", batch_size, 1)
    if positions is not None:
        _check.count("positions", positions, 1)
    value, given = probe(model, module, inputs)
    logits = _logits(given, output, 1, measure)
    _refuse_infinite(value, logits)
    if measure == "loss_hessian" and labels is not None:
        labels = torch.from_numpy(_check.labels("labels", labels, len(inputs), low=0, high=logits.shape[1] - 1))

    closed = None if output is not None else _relu_mlp(model, module, inputs)
    if closed is not None:
        weights, biases, index = closed
        batch_size = min(batch_size, 100)
        found = mlp_similarities(weights, biases, inputs, measures=(measure,), batch_size=batch_size)[index][measure]
    else:
        where = torch.arange(_by_position(value, units).shape[2])
        if positions is not None and positions < len(where):
            where = torch.randperm(len(where), generator=torch.Generator().manual_seed(seed))[:positions].sort().values
        found = _by_autograd(model, module, inputs, measure, labels, units, where, batch_size, output)
    return found.inside if abs_inside else found.outside


@torch.inference_mode(False)
@torch.no_grad()
def mlp_similarities(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    inputs: Tensor,
    *,
    measures: Sequence[str] = MEASURES,
    batch_size: int = 100,
) -> list[dict[str, Similarity]]:
    r"""Compare the units of all hidden layers of a ReLU network by exact closed forms.

    The network is :math:`h_l = \max(0, W_l h_{l-1} + b_l)` with logits :math:`y = W_{L+1} h_L + b_{L+1}` and no
    dropout. Between its kinks it is linear, so its Jacobians are products of weights and of the 0/1 matrices
    :math:`D_l` of active units. In the first layer :math:`J J^\top` is :math:`C = W_1 W_1^\top` where both units are
    active; deeper, any factor of :math:`C` stands for :math:`W_1`, and the dimension of the input disappears.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (n_l, n_{l-1})
        Of all L + 1 linear maps, L ≥ 1. Everything is computed on the device and in the precision (float32 or float64)
        of the first; sums over batches are float64.
    biases : sequence of Tensor, shapes (n_l,)
    inputs : Tensor, shape (K, ...)
        Finite; flattened to (K, n_0).
    measures : sequence of str
        Some of `MEASURES`.
    batch_size : int
        Samples whose (n, n) matrices are held at once. About 100 suits the cache of a CPU.

    Returns
    -------
    list of dict of Similarity
        One dictionary per hidden layer, from measure to :math:`(n_l, n_l)` similarities.

    Raises
    ------
    ValueError
        Shapes that do not chain, no hidden layer, an unknown measure, empty inputs, numbers that are not finite.

    Examples
    --------
    >>> weights, biases = [torch.eye(2), torch.tensor([[3.0, -1.0]])], [torch.zeros(2), torch.zeros(1)]
    >>> inputs = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> mlp_similarities(weights, biases, inputs, measures=["input_sensitivity"])[0]["input_sensitivity"].outside
    tensor([[1.0000, 0.0000],
            [0.0000, 0.5000]], dtype=torch.float64)
    """
    for measure in measures:
        _check.choice("measures", measure, MEASURES)
    _check.count("batch_size", batch_size, 1)
    weights, biases, x = _check_chain(weights, biases, inputs)
    if "loss_hessian" in measures and len(weights[-1]) < 2:
        raise ValueError("measures has 'loss_hessian', but there is a single output; a cross-entropy needs two classes")

    layers: list[Tensor] = []
    for weight, bias in zip(weights, biases, strict=True):
        value = torch.addmm(bias, layers[-1].relu_() if layers else x, weight.T)
        if not _check.finite(value):
            raise ValueError(
                f"layer {len(layers) + 1} takes values that are NaN or infinite; the weights are too large"
            )
        layers.append(value)
    *hidden, logits = layers
    gates = [value.sign() for value in hidden]  # of a rectified value: 1 where active, else 0

    found: list[dict[str, Similarity]] = [{} for _ in hidden]
    for measure in measures:
        if measure == "covariance":
            similarities = [_covariance(value, batch_size) for value in hidden]
        elif measure == "input_sensitivity":
            similarities = _input_sensitivity(weights, gates, batch_size)
        else:
            p = logits.softmax(1) if measure == "loss_hessian" else None
            similarities = _downstream(weights, gates, p, batch_size)
        for layer, similarity in zip(found, similarities, strict=True):
            layer[measure] = similarity
    return found


def normalize(S: _Array, how: str = "sqrt") -> _Array:
    """Divide the similarity of two units by how much there is of each.

    Parameters
    ----------
    S : Tensor or ndarray, shape (..., n, n)
        Non-negative, such as `unit_similarity` gives.
    how : str
        "sqrt": S_ij / √(S_ii S_jj), a cosine or correlation, which the authors' code uses. "max":
        S_ij / max(S_ii, S_jj), which the paper prints. Diagonal entries are taken as at least 1e-24, so that the
        zero rows of a unit without any similarity stay zero.

    Returns
    -------
    Tensor or ndarray, as given
        In [0, 1]; of the same precision, float64 for integers, and a tensor where the given one lies. Half precision is
        reckoned with in single. Entries above 1 are set to 1: by rounding alone, except for a Hessian that is not
        positive semidefinite (`unit_similarity` with labels).

    Raises
    ------
    ValueError
        An unknown form, a matrix that is not square, entries that are negative or not finite.

    Examples
    --------
    >>> normalize(np.array([[4.0, 1.0], [1.0, 1.0]]))
    array([[1. , 0.5],
           [0.5, 1. ]])
    >>> normalize(np.array([[4.0, 1.0], [1.0, 1.0]]), how="max")
    array([[1.  , 0.25],
           [0.25, 1.  ]])
    """
    _check.choice("how", how, ("sqrt", "max"))
    values = S if isinstance(S, Tensor) else torch.as_tensor(np.array(S))
    kept = values.dtype if values.is_floating_point() else torch.float64
    values = values.to(torch.promote_types(kept, torch.float32))
    if values.ndim < 2 or values.shape[-1] != values.shape[-2]:
        raise ValueError(f"S has shape {tuple(values.shape)}; (..., n, n) is needed")
    if not torch.isfinite(values).all() or (values < 0).any():
        raise ValueError("S has entries that are negative, NaN or infinite")
    diagonal = values.diagonal(dim1=-2, dim2=-1)
    if how == "sqrt":
        root = diagonal.sqrt().clamp(min=1e-12)
        scale = root.unsqueeze(-1) * root.unsqueeze(-2)
    else:
        scale = torch.maximum(diagonal.unsqueeze(-1), diagonal.unsqueeze(-2)).clamp(min=1e-24)
    normalized = (values / scale).clamp(max=1).to(kept)
    return normalized if isinstance(S, Tensor) else normalized.numpy()


def _covariance(value: Tensor, batch_size: int) -> Similarity:
    # Relative to the first sample, the mean of a constant unit is exactly its value, and its row exactly zero.
    centred = value - value[0]
    centred -= centred.mean(0, dtype=torch.float64)
    total = _zeros(centred)
    for rows in centred.split(batch_size):
        _add_grams(total, rows[:, None])
    return _mean(total, len(value))


def _input_sensitivity(weights: Sequence[Tensor], gates: Sequence[Tensor], batch_size: int) -> list[Similarity]:
    first = weights[0].double()
    gram = first @ first.T
    both_active = sum(gate.T @ gate for gate in gates[0].split(batch_size))
    similarities = [_mean(torch.stack([gram, gram.abs()]) * both_active, len(gates[0]))]

    if first.shape[1] > first.shape[0]:
        eigenvalues, vectors = torch.linalg.eigh(gram)
        first = vectors * eigenvalues.clamp(min=0).sqrt()
    root = first.T.to(weights[0])
    totals = [_zeros(gate) for gate in gates[1:]]
    if totals:
        for active in zip(*(gate.split(batch_size) for gate in gates), strict=True):
            rows = root * active[0][:, None]
            for total, weight, gate in zip(totals, weights[1:], active[1:], strict=False):
                rows = (rows @ weight.T).mul_(gate[:, None])
                _add_grams(total, rows)
    return similarities + [_mean(total, len(gates[0])) for total in totals]


def _downstream(
    weights: Sequence[Tensor], gates: Sequence[Tensor], p: Tensor | None, batch_size: int
) -> list[Similarity]:
    """Output sensitivity, or with class probabilities p (K, classes) the Hessian of the loss."""
    totals = [_zeros(gate) for gate in gates]
    samples = len(gates[0])
    for start in range(0, samples, batch_size):
        part = slice(start, start + batch_size)
        jacobian = weights[-1][None]  # of the logits, the same for all samples in the last hidden layer
        for layer in reversed(range(len(gates))):
            if p is not None:
                _add_grams(totals[layer], _curvature_root(jacobian, p[part]))
            elif layer < len(gates) - 1:
                _add_grams(totals[layer], jacobian)
            if layer:
                jacobian = (jacobian * gates[layer][part][:, None]) @ weights[layer]
    if p is None:
        _add_grams(totals[-1], weights[-1][None])
        totals[-1] *= samples
    return [_mean(total, samples) for total in totals]


def _curvature_root(jacobian: Tensor, p: Tensor) -> Tensor:
    """RᵀJ for the root R of the Hessian of the cross-entropy with respect to the logits, RRᵀ = diag(p) - ppᵀ.

    R = diag(√p) - p√pᵀ does it, because p sums to 1.
    """
    return p.sqrt()[:, :, None] * (jacobian - p[:, None] @ jacobian)


def _zeros(values: Tensor) -> Tensor:
    units = values.shape[1]
    return torch.zeros(2, units, units, dtype=torch.float64, device=values.device)


def _add(total: Tensor, matrices: Tensor) -> None:
    """Add the sums over samples of M and of |M|, for matrices (N, n, n), which are overwritten."""
    total[0] += matrices.sum(0)
    total[1] += matrices.abs_().sum(0)


def _add_grams(total: Tensor, rows: Tensor) -> None:
    """The same for M = RᵀR, for rows R (N, r, n)."""
    if rows.shape[1] == 1:
        rows = rows[:, 0]
        total[0] += rows.T @ rows
        rows = rows.abs()
        total[1] += rows.T @ rows
    else:
        _add(total, rows.mT @ rows)


def _mean(total: Tensor, samples: int) -> Similarity:
    mean = (total + total.mT) / (2 * samples)  # exactly symmetric, which a product of matrices is not
    if not torch.isfinite(mean).all():
        raise ValueError("a similarity is beyond the largest number of this precision; the values are too large")
    return Similarity(mean[0].abs(), mean[1])


def _check_chain(
    weights: Sequence[Tensor], biases: Sequence[Tensor], inputs: Tensor
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    if len(weights) < 2 or len(biases) != len(weights):
        raise ValueError(
            f"there are {len(weights)} weights and {len(biases)} biases; needed is one of each per linear map, and at "
            f"least two maps, so that there is a hidden layer"
        )
    inputs = _check.samples("inputs", inputs)
    weights, biases = ([_check.tensor(given) for given in some] for some in (weights, biases))
    like = weights[0].detach()
    like = like if like.is_floating_point() else like.float()
    x = inputs.flatten(1).to(like)
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        width = weights[i - 1].shape[0] if i else x.shape[1]
        if weight.ndim != 2 or weight.shape[1] != width or not len(weight):
            below = f"weights[{i - 1}]" if i else f"inputs of shape {tuple(inputs.shape)}"
            raise ValueError(f"weights[{i}] has shape {tuple(weight.shape)}; after {below}, (units, {width}) is needed")
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"biases[{i}] has shape {tuple(bias.shape)}; ({weight.shape[0]},) is needed")
        for name, given in (("weights", weight), ("biases", bias)):
            if not _check.finite(given):
                raise ValueError(f"{name}[{i}] has NaN or infinite entries")
    return [w.detach().to(like) for w in weights], [b.detach().to(like) for b in biases], x


def _relu_mlp(model: nn.Module, layer: nn.Module, inputs: Tensor) -> tuple[list[Tensor], list[Tensor], int] | None:
    """Weights, biases and number of the hidden layer, if the closed forms hold. Exact types: a subclass may differ."""
    parts = split(model, layer)
    if parts is None:
        return None
    letters: dict[type[nn.Module], str] = {nn.Flatten: "F", nn.Linear: "L", nn.ReLU: "R", nn.Dropout: "D"}
    below, above = parts
    kinds = "".join("?" if has_hooks(part) else letters.get(type(part), "?") for part in below + above)
    if not re.fullmatch("F?(LRD*)+L", kinds) or kinds[len(below) - 1] not in "RD":
        return None
    if (below[0].start_dim, below[0].end_dim) != (1, -1) if kinds[0] == "F" else inputs.ndim != 2:
        return None
    linear = [part for part in below + above if isinstance(part, nn.Linear)]
    weights: list[Tensor] = [part.weight for part in linear]
    biases: list[Tensor] = [
        part.weight.new_zeros(part.out_features) if part.bias is None else part.bias for part in linear
    ]
    return weights, biases, kinds[: len(below)].count("L") - 1


def _logits(given: Any, output: Output | None, rows: int, measure: str) -> Tensor:
    """The logits (rows, classes) in what the model returns, which the upstream measures do not ask for."""
    if measure in ("covariance", "input_sensitivity"):
        return torch.zeros(rows, 0)
    return logits_of(given, output, rows, least=2 if measure == "loss_hessian" else 1)


def _refuse_infinite(value: Tensor, logits: Tensor) -> None:
    for name, given in (("layer", value), ("model", logits)):
        if given.numel() and not _check.finite(given):
            raise ValueError(f"{name} gives NaN or infinite values")


def _by_autograd(
    model: nn.Module,
    layer: nn.Module,
    inputs: Tensor,
    measure: str,
    labels: Tensor | None,
    units: str,
    where: Tensor,
    batch_size: int,
    output: Output | None,
) -> Similarity:
    """The general path: any network, at the positions ``where`` of the layer's output (0 for elements)."""
    by_position = partial(_by_position, units=units)
    if measure == "covariance":
        return _covariance_of_layer(model, layer, inputs, units, where, batch_size)
    total: Tensor | None = None
    for part, x in batches(model, inputs, batch_size):
        upstream = measure == "input_sensitivity"
        if upstream:  # what can be differentiated starts at the input, else at the value
            value, given = run(model, layer, x.requires_grad_().clone())
        else:
            value, given = run_from(model, layer, x)
        logits = _logits(given, output, len(x), measure)
        _refuse_infinite(value, logits)
        if total is None:
            total = _zeros(by_position(value))
        if upstream:
            for position in where.tolist():
                here = by_position(value)[..., position].unbind(1)
                _add_grams(total, torch.stack([_gradient(unit, x).flatten(1) for unit in here], dim=2))
        elif measure == "loss_hessian" and labels is not None:
            loss = nn.functional.cross_entropy(logits, labels[part].long().to(logits.device), reduction="sum")
            slopes = by_position(_gradient(loss, value, create_graph=True))
            for position in where.tolist():
                slope = slopes[..., position].unbind(1)
                _add(total, torch.stack([by_position(_gradient(s, value))[..., position] for s in slope], dim=1))
        else:
            jacobian = torch.stack([by_position(_gradient(y, value)) for y in logits.unbind(1)], dim=1)
            for rows in jacobian[..., where.to(jacobian.device)].unbind(-1):
                if measure == "loss_hessian":
                    rows = _curvature_root(rows, logits.detach().softmax(1))
                _add_grams(total, rows)
    assert total is not None
    return _mean(total, len(inputs) * len(where))


@torch.no_grad()
def _covariance_of_layer(
    model: nn.Module, layer: nn.Module, inputs: Tensor, units: str, where: Tensor, batch_size: int
) -> Similarity:
    """In two passes, or one if a single batch holds all; at every position relative to the mean there."""

    def values(skip: int = 0) -> Iterator[Tensor]:
        for _, x in islice(batches(model, inputs, batch_size), skip, None):
            value = _by_position(value_of(model, layer, x), units)
            _refuse_infinite(value, value)
            yield value[..., where.to(value.device)].double()

    first = next(values())
    origin = first[0]  # so that the centred value of a constant unit is exactly zero
    mean = sum((value - origin).sum(0) for value in chain([first], values(1))) / len(inputs)
    total = _zeros(origin[None])
    for value in chain([first], values(1)):
        rows = (value - origin - mean).movedim(-1, 1).flatten(0, 1)
        _add_grams(total, rows[:, None])
    return _mean(total, len(inputs) * len(where))


def _by_position(value: Tensor, units: str) -> Tensor:
    """(N, n) as (N, n, 1), and channels of (N, n, height, width) or (N, positions, n) as (N, n, positions)."""
    if units == "element":
        return value.flatten(1)[..., None]
    return value.movedim(channel_axis(value.ndim), 1).reshape(len(value), value.shape[channel_axis(value.ndim)], -1)


def _gradient(values: Tensor, leaf: Tensor, *, create_graph: bool = False) -> Tensor:
    """Gradient of the sum of values, which is that of each sample; zero where nothing depends on the leaf."""
    if not values.requires_grad:
        return torch.zeros_like(leaf)
    return torch.autograd.grad(
        values.sum(), leaf, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )[0]
