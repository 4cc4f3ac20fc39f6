"""Reach into a network: find a layer, see what it gives, put something else there, cut the network at it.

A layer is a submodule or its dotted name. Its *units* are either the *elements* of its output for one sample, in the
order of `torch.flatten`, or its *channels*: of (N, channels, height, width) the feature maps, of (N, tokens, features)
the features, of (N, units) the elements themselves. This is the only file of the library that sets hooks; they are gone
when a call ends, also after an error.

Threads: while a function of the library runs a network, the calls of other threads wait, since what is put into a
network is seen by everybody who runs it. Running the same network by oneself in another thread meanwhile is not safe.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from modutils import _check

__all__ = ["UNITS", "channel_elements", "find", "layer_activations", "run", "unit_values"]

UNITS = ("element", "channel")
#: Picks the logits (N, classes) from what a model returns, where that is something else, or several things.
Output = Callable[[Any], Tensor]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_LOCK = threading.RLock()


def find(model: nn.Module, layer: nn.Module | str) -> nn.Module:
    """The submodule of a model that is meant by itself or by its dotted name; a ValueError if there is none."""
    named = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, str) and layer and layer in named:
        return named[layer]
    if isinstance(layer, nn.Module) and any(layer is module for module in named.values()):
        return layer
    known = ", ".join(name for name in islice(named, 31) if name)
    raise ValueError(f"layer={layer!r} is not in the model; its layers are {known}")


def run(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor,
    edit: Callable[[Tensor], Tensor] | None = None,
    *,
    before: bool = False,
) -> tuple[Tensor, Any]:
    """Run a network once, see what a layer gives, and put something else there.

    Parameters
    ----------
    model, layer
        A network, and a submodule of it, or its dotted name, that runs exactly once.
    inputs : torch.Tensor
        (N, ...), as the model takes them. A model that works in place changes them: give a copy.
    edit : callable, optional
        Gets the value of the layer; what it returns goes on in its place.
    before : bool
        Look at what the layer is given (its first argument) instead of what it gives.

    Returns
    -------
    value : torch.Tensor
        (N, ...), of the layer before `edit`. Without `edit` the model goes on with a copy, so that what follows cannot
        change it by working in place.
    output
        What the model returns.

    Raises
    ------
    ValueError
        The layer is not in the model, runs never or more than once, or gives something else than one tensor (N, ...).

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> run(net, "0", torch.tensor([[1.0, 2.0]]), torch.neg)
    (tensor([[1., 2.]]), tensor([[0., 0.]]))
    """
    seen: list[Tensor] = []

    def look(_: nn.Module, args: tuple[Any, ...], output: Any = None) -> Any:
        value = next(iter(args), None) if before else output
        if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != len(inputs):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ValueError(f"layer={layer!r} gives {got}; one tensor of shape ({len(inputs)}, ...) is needed")
        seen.append(value)
        put = value.clone() if edit is None else edit(value)
        return (put, *args[1:]) if before else put

    module = find(model, layer)
    with module.register_forward_pre_hook(look) if before else module.register_forward_hook(look):
        output = model(inputs)
    if len(seen) != 1:
        raise ValueError(f"layer={layer!r} runs {len(seen)} times in a forward pass of the model; once is needed")
    return seen[0], output


class _Reached(BaseException):  # no Exception, which a model may catch
    def __init__(self, value: Tensor):
        super().__init__()
        self.value = value


def value_of(model: nn.Module, layer: nn.Module | str, inputs: Tensor) -> Tensor:
    """Value of a layer, with nothing run above it."""

    def stop(value: Tensor) -> Tensor:
        raise _Reached(value)

    try:
        return run(model, layer, inputs, stop)[0]
    except _Reached as reached:
        return reached.value


def probe(model: nn.Module, layer: nn.Module | str, inputs: Tensor, *, before: bool = False) -> tuple[Tensor, Any]:
    """`run` on the first sample: a ValueError where layer or model cannot be used, or the inputs do not fit."""
    x = next(batches(model, inputs[:1], 1))[1]
    before_run = _generators(x.device)
    try:
        with _RefuseTraining():
            value, output = run(model, layer, x, before=before)
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(
            f"inputs of shape {tuple(inputs.shape)} do not pass through the model: {error}. They are {inputs.dtype}; a "
            "model of several inputs can be wrapped in a module that takes one"
        ) from error
    if any(not torch.equal(a, b) for a, b in zip(before_run, _generators(x.device), strict=True)):
        raise ValueError(
            "model draws random numbers in a forward pass, as dropout or stochastic depth do in training mode; call "
            "model.eval() first"
        )
    return value, output


def logits_of(given: Any, output: Output | None, rows: int, *, least: int = 1) -> Tensor:
    """What `output` picks from what a model gives, if that is (rows, classes) with so many classes."""
    value = given if output is None else output(given)
    if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != rows or value.shape[1] < 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        source = "model" if output is None else "output"
        raise ValueError(
            f"{source} gives {got} for {rows} samples; logits of shape ({rows}, classes) are needed. Give output=, a "
            "function that picks them from what the model returns, such as lambda given: given['logits'], or "
            "lambda given: given[:, None] for one number a sample"
        )
    if value.shape[1] < least:
        raise ValueError(
            f"model gives a single output; a class is chosen among {least} or more. `attribute` with target=0, "
            "`layer_activations`, `lesioned_logits` and the other measures have a meaning for a single output"
        )
    return value


def run_from(model: nn.Module, layer: nn.Module, inputs: Tensor, at: Tensor | None = None) -> tuple[Tensor, Any]:
    """`run` without a graph below the layer: its value, as the leaf of one, and what the model makes of it.

    With `at`, that is put in place of the value.
    """
    leaves: list[Tensor] = []

    def start(value: Tensor) -> Tensor:
        leaves.append((value if at is None else at).detach().requires_grad_())
        torch.set_grad_enabled(True)
        return leaves[-1].clone()  # what follows may work in place

    with torch.no_grad():  # restores the mode that `start` changes
        output = run(model, layer, inputs, start)[1]
    return leaves[0], output


def undisturbed(function: _Function) -> _Function:
    """Make a function of a model refuse training mode, run alone and in full precision, and leave all as it was."""

    @wraps(function)
    def alone(*args: Any, **kwargs: Any) -> Any:
        model = kwargs["model"] if "model" in kwargs else next(iter(args), None)
        if not isinstance(model, nn.Module):
            raise ValueError(f"model is a {type(model).__name__}; give a torch.nn.Module")
        refuse_training(model)
        devices = {t.device.index for t in model.parameters() if t.is_cuda}
        with (
            _LOCK,
            torch.inference_mode(False),
            torch.random.fork_rng(sorted(devices)),
            _full_precision(bool(devices)),
        ):
            kept = [
                (of._buffers, name, value, value._version, value.clone())
                for of in model.modules()
                for name, value in of._buffers.items()
                if value is not None and not value.is_inference()
            ]
            try:
                return function(*args, **kwargs)
            finally:
                for buffers, name, value, version, copy in kept:
                    buffers[name] = value
                    if value._version != version:
                        with torch.no_grad():
                            value.copy_(copy)

    return cast(_Function, alone)


@undisturbed
@torch.no_grad()
def layer_activations(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    *,
    units: str = "element",
    before: bool = False,
    batch_size: int = 500,
) -> Tensor:
    """Values of the units of a layer.

    Parameters
    ----------
    model, layer, before
        As for `run`. The model runs in its own precision and on its own device; ``before`` an activation function are
        the values that it is applied to.
    inputs : torch.Tensor or numpy.ndarray
        (N, ...) finite floating point, or integers for a model that takes such (token ids). Moved to the model's device
        batch by batch.
    units : {"element", "channel"}
        As for `unit_values`.
    batch_size : int
        Most samples to run at once.

    Returns
    -------
    torch.Tensor
        (N, units), on the model's device.

    Raises
    ------
    ValueError
        As `run`; an argument that cannot be used; dropout or batch normalisation in training mode.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> layer_activations(net, "1", torch.tensor([[1.0, -1.0]]))
    tensor([[1., 0.]])
    """
    _check.choice("units", units, UNITS)
    _check.count("batch_size", batch_size, 1)
    inputs = _check.samples("inputs", inputs, integers=True)
    probe(model, layer, inputs, before=before)
    # Means over space are taken in the usual memory layout, which a cut network may not keep.
    cut = None if before or units == "channel" else Cut(model, find(model, layer))
    kept = []
    for _, x in batches(model, inputs, batch_size):
        value = run(model, layer, x, before=before)[0] if cut is None else cut.value(cut.stem(x), spend=True)
        kept.append(unit_values(value, units))
    return torch.cat(kept)


def channel_axis(ndim: int) -> int:
    """Axis of the channels in the output of a layer with so many axes, the first of which is the samples."""
    return ndim - 1 if ndim <= 3 else 1


def unit_values(value: Tensor, units: str) -> Tensor:
    """The output of a layer as (N, units), from one of (N, ...).

    Elements are all its entries. Channels are those of (N, channels, height, width), or the features of
    (N, tokens, features), each with its mean *size* over places (the authors of Hod et al. 2021 take a matrix norm); an
    output (N, units) is taken as it is.

    Examples
    --------
    >>> unit_values(torch.tensor([[[[1.0, -3.0]]]]), "channel")
    tensor([[2.]])
    """
    if units == "element" or value.ndim == 2:
        return value.flatten(1)
    axis = channel_axis(value.ndim)
    return value.abs().mean([other for other in range(1, value.ndim) if other != axis])


def unit_elements(shape: Sequence[int], units: str) -> np.ndarray:
    """Elements (units, places) of every unit of a layer whose output for one sample has this shape.

    Examples
    --------
    >>> unit_elements((2, 3), "channel").tolist(), unit_elements((2,), "element").tolist()
    ([[0, 3], [1, 4], [2, 5]], [[0], [1]])
    """
    elements = np.arange(math.prod(shape))
    if units == "element":
        return elements[:, None]
    axis = channel_axis(len(shape) + 1) - 1
    return np.moveaxis(elements.reshape(shape), axis, 0).reshape(shape[axis], -1)


def channel_elements(shape: Sequence[int], channels: Any) -> np.ndarray:
    """Elements of some channels of a layer whose output for one sample has a shape (channels, ...).

    Of a shape (tokens, features) the channels are the features.

    Examples
    --------
    >>> channel_elements((3, 2, 2), [0, 2])
    array([ 0,  1,  2,  3,  8,  9, 10, 11])
    """
    return unit_elements(shape, "channel")[np.asarray(channels)].ravel()


class Cut:
    """A network cut at a layer: ``stem`` (affine in the input), then ``forward``, from there to layer and output.

    A chain is cut into lists of modules. Any other network is run as a whole, and its stem is empty.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, output: Output | None = None):
        self.model, self.layer, self.output = model, layer, output
        parts = split(model, layer)
        self.is_chain = parts is not None
        below, self.above = parts or ([], [])
        bottom = next((i for i, module in enumerate(below) if not _is_affine(module)), len(below))
        self.affine, self.trunk = below[:bottom], below[bottom:]
        # With channels as the fastest axis, convolutions take half the time on a CPU. Modules of other people may call
        # `view`, which expects the usual order.
        native = all(type(module).__module__.startswith("torch.nn.") for module in below + self.above)
        self.memory_format = torch.channels_last if self.is_chain and native else torch.contiguous_format

    @torch.no_grad()
    def stem(self, x: Tensor) -> Tensor:
        """The affine part: on a straight path of inputs, one need not run it again."""
        if x.ndim == 4 and self.memory_format != torch.contiguous_format:
            # A copy, since `contiguous` does nothing for one channel, and then the convolution keeps the usual order.
            x = torch.empty_like(x, memory_format=self.memory_format).copy_(x)
        for module in self.affine:
            x = module(x)
        return x

    @torch.no_grad()
    def value(self, z: Tensor, *, spend: bool = False) -> Tensor:
        """Value of the layer from what `stem` returned; `spend`: that may be overwritten."""
        if not self.is_chain:
            return run(self.model, self.layer, z)[0]
        trunk = self.trunk
        if spend and trunk and type(trunk[0]) is nn.ReLU and not has_hooks(trunk[0]):
            z, trunk = z.relu_(), trunk[1:]
        for module in trunk:
            z = module(z)
        return z

    def forward(
        self, z: Tensor, at: Tensor | None = None, *, whole: bool = False, spend: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Value of the layer, as the leaf of a graph, and the logits that follow from it.

        `z` is what `stem` returned, or with `whole` the model's input. The layer's value is replaced by `at` if
        given. `spend`: `z` may be overwritten.
        """
        if whole or not self.is_chain:
            leaf, given = run_from(self.model, self.layer, z, at)
            with torch.enable_grad():
                return leaf, logits_of(given, self.output, len(leaf))
        leaf = (self.value(z, spend=spend) if at is None else at).detach().requires_grad_()
        with torch.enable_grad():
            given = leaf.clone()  # what follows may work in place
            for module in self.above:
                given = module(given)
            return leaf, logits_of(given, self.output, len(leaf))


def split(model: nn.Module, layer: nn.Module) -> tuple[list[nn.Module], list[nn.Module]] | None:
    """Modules up to the layer and those above it; None unless the model is a chain through which it runs once.

    Nested `torch.nn.Sequential` are flattened, but not the layer itself, nor where hooks would be passed by.
    """

    def flat(module: nn.Module) -> list[nn.Module]:
        plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
        if module is layer or not plain or has_hooks(module):
            return [module]
        return [part for child in cast(nn.Sequential, module) for part in flat(child)]

    chain = flat(model)
    places = [place for place, module in enumerate(chain, 1) if module is layer]
    return (chain[: places[0]], chain[places[0] :]) if len(places) == 1 else None


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody has set a forward hook."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_affine(module: nn.Module) -> bool:
    affine = (nn.Flatten, nn.Identity, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return type(module) in affine and not has_hooks(module)


def like(model: nn.Module, inputs: Tensor) -> Tensor:
    """A tensor on the device and in the precision of the model: its first parameter or buffer that is a float."""
    return next((t for ts in (model.parameters(), model.buffers()) for t in ts if t.is_floating_point()), inputs)


def batches(model: nn.Module, inputs: Tensor, batch_size: int) -> Iterator[tuple[slice, Tensor]]:
    """Copies of the inputs, which the model may overwrite, on its device and in its precision."""
    to = like(model, inputs)
    dtype = to.dtype if inputs.is_floating_point() else inputs.dtype
    for start in range(0, len(inputs), batch_size):
        part = slice(start, min(start + batch_size, len(inputs)))
        yield part, inputs[part].detach().to(to.device, dtype, copy=True)


def refuse_training(model: nn.Module) -> None:
    """Raise a ValueError where a part in training mode makes an output random or depend on other samples."""
    for name, part in model.named_modules():
        random = (
            isinstance(part, nn.modules.dropout._DropoutNd | nn.modules.batchnorm._BatchNorm | nn.RReLU)
            or (isinstance(part, nn.modules.instancenorm._InstanceNorm) and part.track_running_stats)
            or (isinstance(part, nn.RNNBase | nn.MultiheadAttention) and part.dropout > 0)
        )
        if random and part.training:
            raise ValueError(f"model is in training mode at {name!r}, a {type(part).__name__}; call model.eval()")


class _RefuseTraining(TorchFunctionMode):
    """See functions that are called in training mode, by whatever module."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # Attention says so also without any dropout: whether it has some, the generators tell.
        if kwargs.get("training") and kwargs.get("p") != 0 and func is not functional.multi_head_attention_forward:
            raise ValueError(
                f"model calls {func.__name__} in training mode: its output is random, or depends on the other samples "
                "of the batch; call model.eval() first (and let batch normalisation track its statistics)"
            )
        return func(*args, **kwargs)


def _generators(device: torch.device) -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


@contextmanager
def _full_precision(cuda: bool) -> Iterator[None]:
    """On a GPU, convolutions and matrix products in TF32 would be good to three digits only."""
    switches: list[Any] = [torch.backends.cudnn, torch.backends.cuda.matmul] if cuda else []
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = False
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value
