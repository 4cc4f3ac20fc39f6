"""A network as a weighted, undirected graph of its units: edges are weights, or correlations of activations.

Hod et al. (2021) look for modules in such graphs with normalised spectral clustering (`modutils.spectral`). Graphs of
tensors are tensors beside them; those of an accelerator are made where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, fx, nn

from modutils import _arrays, _check

#: How a convolution kernel becomes the weight of one edge.
NORMS = ("sum", "euclidean", "column_sum", "spectral")
KINDS = ("spearman", "pearson")


def layer_weights(model: nn.Module, *, norm: str = "sum") -> list[np.ndarray]:
    """Sizes of the weights between the units of consecutive layers, as `weight_graph` takes them.

    A network of linear layers gives every one of them, so inputs and outputs are nodes. A network with convolutions
    gives the convolutions but the first: nodes are filters, and the kernel from the images and the dense layers are
    left out (Hod et al. 2021). The weight between two filters is a norm of the kernel that joins them. Batch
    normalisation that follows a layer scales the weights into unit or filter o by the size of γ_o / √(variance_o + ε),
    so that the graph does not depend on how a layer and its normalisation share a factor.

    Parameters
    ----------
    model : nn.Module
        A chain: each layer reads what the one before gives, and nothing else. It is traced (`torch.fx`) but not run,
        and layers are taken in the order in which it calls them.
    norm : {"sum", "euclidean", "column_sum", "spectral"}
        Of a kernel: sum of sizes, root of the sum of squares, largest sum of sizes of a column, largest singular
        value of the sizes. The last two are matrix norms; the authors' code uses ``column_sum``, labelled L1.

    Returns
    -------
    list of ndarray, shapes (out, in), float64, at least 0

    Raises
    ------
    ValueError
        An unknown norm; fewer than two convolutions; a network that is no such chain, as with skips or branches; or
        layers with other weights, as attention and LSTMs have them, which are no edges between units.

    Examples
    --------
    >>> [w.shape for w in layer_weights(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))]
    [(3, 4), (2, 3)]
    """
    _check.choice("norm", norm, NORMS)
    parts = _chain(model)
    convolutional = any(isinstance(part, nn.Conv2d) for part in parts)
    found: list[np.ndarray] = []
    counts = False  # whether the weights that a normalisation would follow are among those found
    for part in parts:
        if isinstance(part, nn.Conv2d) and part.groups != 1:
            raise ValueError(f"{part} has groups={part.groups}; only groups=1 joins every pair of filters")
        if isinstance(part, nn.Conv2d):
            found.append(_kernel_norm(part.weight.detach().double().cpu().numpy(), norm))
            counts = True
        elif isinstance(part, nn.Linear):
            counts = not convolutional
            if counts:
                found.append(part.weight.detach().double().abs().cpu().numpy())
        elif isinstance(part, _NORMALISED) and counts:
            if part.running_var is None:
                raise ValueError(f"{part} keeps no running variance, which the weights are scaled by")
            scale = (part.running_var + part.eps).double().rsqrt()
            if part.weight is not None:
                scale = scale * part.weight.detach().abs()
            found[-1] = found[-1] * scale.cpu().numpy()[:, None]
        elif isinstance(part, _NORMALISED) and not convolutional:
            raise ValueError(f"{part} stands before the first weights, so none can be scaled by it")
        elif not isinstance(part, _NORMALISED | nn.PReLU) and next(part.parameters(), None) is not None:
            raise ValueError(f"the weights of {part} are no edges between units; only Linear and Conv2d join units")
    found = found[1:] if convolutional else found
    checked_weights(found)
    return found


_NORMALISED = nn.BatchNorm1d | nn.BatchNorm2d


def _chain(model: nn.Module) -> list[nn.Module]:
    """The modules that a network calls, in this order, if each reads what the one before gives and nothing else."""
    try:
        nodes = fx.Tracer().trace(model).nodes
    except (fx.proxy.TraceError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"model cannot be followed without running it, so its layers may be no chain: {error}"
        ) from error
    parts: list[nn.Module] = []
    shapes: set[fx.Node] = set()  # sizes, which carry no values
    last: fx.Node | None = None
    for node in nodes:
        given = [source for source in node.all_input_nodes if source not in shapes]
        reads_shape = node.target in ("size", "dim") or (node.target is getattr and "shape" in node.args)
        if node.op == "placeholder" and last is None:
            last = node
        elif reads_shape or (node.all_input_nodes and not given):
            shapes.add(node)
        elif given == [last]:
            last = node
            if node.op == "call_module":
                parts.append(model.get_submodule(str(node.target)))
        else:
            reads = ", ".join(source.name for source in given) or "a constant"
            raise ValueError(
                f"model is no chain: at {node.name!r} it reads {reads} and not just what {last} gives; skips and "
                "branches have no graph of consecutive layers"
            )
    return parts


def _kernel_norm(kernels: np.ndarray, norm: str) -> np.ndarray:
    """One number for each kernel: (out, in, height, width) to (out, in)."""
    size = np.abs(kernels)
    if norm == "sum":
        return size.sum((2, 3))
    if norm == "euclidean":
        return np.sqrt((kernels**2).sum((2, 3)))
    if norm == "column_sum":
        return size.sum(2).max(2)
    return np.linalg.norm(size, ord=2, axis=(2, 3))


def weight_graph(weights: Sequence[Any]) -> Any:
    """Adjacency matrix of the units of all layers, joined by the sizes of the weights between consecutive layers.

    Parameters
    ----------
    weights : sequence of arrays or tensors, shapes (out, in)
        Weights between consecutive layers, in order; ``weights[l + 1]`` has as many columns as ``weights[l]`` rows.
        Their signs are dropped.

    Returns
    -------
    ndarray, shape (nodes, nodes), float64
        Symmetric, zero diagonal. Nodes are the units of the lowest layer first, then of the next one. A tensor beside
        the weights if they are tensors.

    Raises
    ------
    ValueError
        No weights, shapes that do not fit together, or numbers that are not finite.

    References
    ----------
    Hod et al. (2021), arXiv 2110.08058; Filan et al. (2021), arXiv 2103.03386.

    Examples
    --------
    >>> weight_graph([[[1.0, -2.0]]]).tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [1.0, 2.0, 0.0]]
    """
    blocks = checked_weights(weights)
    ends = np.cumsum(layer_sizes(blocks))
    size = (int(ends[-1]), int(ends[-1]))
    graph = blocks[0].new_zeros(size) if isinstance(blocks[0], Tensor) else np.zeros(size)
    for block, (end, next_end) in zip(blocks, pairwise(ends), strict=True):
        below, above = slice(end - block.shape[1], end), slice(end, next_end)
        graph[above, below] = block
        graph[below, above] = block.T
    return _arrays.like(graph, *weights)


def layer_sizes(weights: Sequence[Any]) -> list[int]:
    """Units of every layer that ``weights`` joins, from the lowest up.

    Examples
    --------
    >>> layer_sizes([np.zeros((3, 4)), np.zeros((2, 3))])
    [4, 3, 2]
    """
    return [np.shape(weights[0])[1], *(np.shape(block)[0] for block in weights)]


def by_layer(labels: Any, weights: Sequence[Any]) -> list[Any]:
    """What a graph of all layers has for each of its nodes, such as clusters, as one array for each layer.

    Parameters
    ----------
    labels : array or Tensor, shape (nodes, ...)
        In the order of `weight_graph`, as `modutils.spectral.layered_clusters` gives it.
    weights : sequence of arrays or tensors, shapes (out, in)
        The weights that joined the nodes.

    Returns
    -------
    list of arrays or tensors, shapes (units, ...)
        From the lowest layer up; parts of what was given.

    Raises
    ------
    ValueError
        Weights that do not fit together, or another number of nodes.

    Examples
    --------
    >>> by_layer(np.arange(9), [np.zeros((3, 4)), np.zeros((2, 3))])
    [array([0, 1, 2, 3]), array([4, 5, 6]), array([7, 8])]
    """
    sizes = layer_sizes(checked_weights(weights))
    nodes = labels if isinstance(labels, Tensor) else np.asarray(labels)
    if len(nodes) != sum(sizes):
        raise ValueError(f"labels has {len(nodes)} nodes; the layers of weights have {' + '.join(map(str, sizes))}")
    return [nodes[end - size : end] for size, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True)]


def correlation_graph(activations: Any, kind: str = "spearman") -> Any:
    """Adjacency matrix of units joined by the squares of the correlations between their activations.

    Parameters
    ----------
    activations : array or Tensor, shape (N, units)
        Of N ≥ 2 samples. Units of several layers stand side by side: the graph then joins units of different layers.
    kind : {"spearman", "pearson"}
        Correlation of ranks (ties get their mean rank) or of values.

    Returns
    -------
    ndarray, shape (units, units), float64
        Symmetric, in [0, 1], zero diagonal. A unit that is constant has no correlation: its edges are 0, and it is an
        isolated node. A tensor beside the activations if they are one.

    Raises
    ------
    ValueError
        Not two-dimensional, fewer than two samples, an unknown kind, or numbers that are not finite.

    References
    ----------
    Hod et al. (2021), arXiv 2110.08058 (squared Spearman correlation; Pearson as an option of the code).

    Examples
    --------
    >>> correlation_graph([[0, 3, 5], [1, 2, 5], [2, 0, 5]]).round(6).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    _check.choice("kind", kind, KINDS)
    on_device = _arrays.on_device(activations)
    values: Any = _arrays.placed(activations) if on_device else _arrays.host(activations)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"activations has shape {tuple(values.shape)}; (N, units) with N of at least 2 is needed")
    if not on_device:
        values = values.astype(np.float64)
    if not (torch if on_device else np).isfinite(values).all():
        raise ValueError("activations has NaN or infinite entries")
    if on_device:
        return _correlations_on_device(values.T.contiguous(), kind)
    constant = (values == values[0]).all(axis=0)
    # Powers of two change no digit, and keep squares and sums from being too large or too small.
    values = stats.rankdata(values, axis=0) if kind == "spearman" else _scaled(values)
    centred = _scaled(values - values.mean(axis=0))
    length = np.sqrt((centred**2).sum(axis=0))
    length[constant] = 1  # what is left of a constant after rounding must not be divided by its own size
    standard = np.where(constant, 0, centred / length)
    graph = np.minimum((standard.T @ standard) ** 2, 1)
    np.fill_diagonal(graph, 0)
    return _arrays.like(graph, activations)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Columns times a power of two, so that the largest number of each is below 1 and at least 1/2."""
    return np.ldexp(values, -np.frexp(np.abs(values).max(axis=0))[1])


def _correlations_on_device(units: Tensor, kind: str) -> Tensor:
    """Squared correlations (units, units) of rows (units, N), where they are."""
    constant = units.amax(1) == units.amin(1)
    units = _arrays.ranks(units) if kind == "spearman" else units
    centred = units - units.mean(1, keepdim=True)
    centred /= torch.where(constant, torch.inf, centred.abs().amax(1))[:, None]  # squares stay in range
    standard = centred / torch.where(constant, torch.inf, centred.norm(dim=1))[:, None]
    graph = (standard @ standard.T).square().clamp(max=1)
    return ((graph + graph.T) / 2).fill_diagonal_(0)  # exactly symmetric, which a product of matrices is not


def checked_weights(weights: Sequence[Any]) -> list[Any]:
    """Sizes of the weights as float64 arrays that fit together; tensors only if one of them is on an accelerator."""
    on_device = _arrays.on_device(*weights)
    blocks: list[Any] = [
        abs(_arrays.placed(block, *weights) if on_device else _arrays.host(block).astype(float)) for block in weights
    ]
    if not blocks:
        raise ValueError("weights is empty; at least the weights between two layers are needed")
    for number, block in enumerate(blocks):
        if block.ndim != 2 or 0 in block.shape:
            raise ValueError(f"weights[{number}] has shape {tuple(block.shape)}; (out, in) is needed")
        if not (torch if on_device else np).isfinite(block).all():
            raise ValueError(f"weights[{number}] has NaN or infinite entries")
        if number and block.shape[1] != blocks[number - 1].shape[0]:
            raise ValueError(
                f"weights[{number}] has shape {tuple(block.shape)}: it reads {block.shape[1]} units, but "
                f"weights[{number - 1}] gives {blocks[number - 1].shape[0]}"
            )
    return blocks
