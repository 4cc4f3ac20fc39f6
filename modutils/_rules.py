"""Backward rules for non-linearities, and what lies between a layer and the logits (used by `attribution`).

A non-linearity is recognised by the function that is called, not by the module that calls it: ``nn.ReLU``,
``F.relu``, ``torch.relu`` and ``x.relu_()`` are all seen by a `torch.overrides.TorchFunctionMode`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Pointwise = Callable[[Tensor], Tensor]
# (function, its input, its input at the baseline) -> slope, all of one shape
SlopeRule = Callable[[Pointwise, Tensor, Tensor], Tensor]

# Below this distance between input and baseline the slope is the derivative (Shrikumar 2017, and captum).
EPS = 1e-10

_SPACES = (torch, F, torch.Tensor, torch._C._nn)
# fmt: off
_NAMES = (
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "softplus", "softsign", "sigmoid", "hardsigmoid", "logsigmoid", "log_sigmoid", "tanh", "hardtanh",
    "hardswish", "tanhshrink", "hardshrink", "softshrink", "threshold", "_threshold", "clamp",
    "clamp_min", "clamp_max", "clip",
)
# fmt: on
# Every spelling of these functions, in place or not.
_ELEMENTWISE: dict[Any, str] = {
    getattr(space, name + suffix): name
    for name in _NAMES
    for space in _SPACES
    for suffix in ("", "_")
    if hasattr(space, name + suffix)
}
# Function with indices, and the number of axes it pools.
_MAX_POOL: dict[Any, tuple[Any, int]] = {
    getattr(space, f"{name}{axes}d"): (getattr(F, f"{name}{axes}d_with_indices"), axes)
    for axes in (1, 2, 3)
    for name, space in (("max_pool", torch), ("max_pool", F), ("adaptive_max_pool", F))
}

# Autograd nodes that are affine; those of the second list only while one of their inputs depends on the layer.
# fmt: off
_AFFINE = frozenset((
    "add", "sub", "rsub", "neg", "sum", "mean", "clone", "copy", "copybackwards", "tocopy", "t",
    "transpose", "permute", "view", "unsafeview", "reshapealias", "alias", "squeeze", "unsqueeze",
    "expand", "repeat", "slice", "select", "index", "indexselect", "gather", "narrow", "cat", "stack",
    "split", "splitwithsizes", "unsafesplit", "unbind", "flip", "roll", "unfold", "im2col", "col2im",
    "asstrided", "constantpadnd", "reflectionpad1d", "reflectionpad2d", "replicationpad1d",
    "replicationpad2d", "avgpool1d", "avgpool2d", "avgpool3d", "adaptiveavgpool1d", "adaptiveavgpool2d",
    "adaptiveavgpool3d", "mkldnnadaptiveavgpool2d", "nativebatchnorm", "cudnnbatchnorm",
    "miopenbatchnorm", "upsamplenearest2d", "upsamplebilinear2d", "pixelshuffle", "cumsum", "tril", "triu",
))
# fmt: on
# fmt: off
_BILINEAR = frozenset((
    "mul", "div", "mm", "addmm", "mv", "addmv", "bmm", "baddbmm", "addbmm", "dot", "linear",
    "convolution", "convolutionoverrideable", "mkldnnconvolution", "cudnnconvolution", "slowconv2d",
    "thnnconv2d", "addcmul",
))
# fmt: on


class _Slope(torch.autograd.Function):
    """A given value whose derivative with respect to the input is a given slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.clone()  # what follows may work in place

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.saved_tensors[0], None, None


class _GuidedReLU(torch.autograd.Function):
    """ReLU that passes back only positive gradients (Springenberg 2014)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x > 0)
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].clamp_min(0) * ctx.saved_tensors[0]


class _PoolRescale(torch.autograd.Function):
    """Max-pooling under the rescale rule, as in captum.

    The change of the output is split at the larger of the two maxima: what lies above the baseline's maximum goes to
    the sample's winner, what lies below to the baseline's winner. Where windows overlap the shares are summed
    (captum keeps only one of them, and completeness is lost).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, winners: Tensor, rows: int, axes: int) -> Tensor:
        ctx.save_for_backward(x, value, winners)
        ctx.rows, ctx.axes = rows, axes
        return value.clone()  # what follows may work in place

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, value, winners = ctx.saved_tensors
        rows, grad = ctx.rows, grads[0][: ctx.rows]
        shape = x[:rows].shape

        def spread(amount: Tensor, to: Tensor) -> Tensor:
            planes = amount.new_zeros(shape).flatten(-ctx.axes)
            to = to.expand_as(amount).flatten(-ctx.axes)
            return planes.scatter_add_(-1, to, amount.flatten(-ctx.axes)).view(shape)

        top = torch.maximum(value[:rows], value[rows:])
        share = spread(grad * (top - value[rows:]), winners[:rows])
        share += spread(grad * (value[:rows] - top), winners[rows:])
        change = x[:rows] - x[rows:]
        small = change.abs() < EPS
        out = torch.zeros_like(x)
        out[:rows] = torch.where(small, spread(grad, winners[:rows]), share / change.masked_fill(small, 1))
        return out, None, None, None, None


def _value_and_derivative(f: Pointwise, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = f(leaf.clone())  # a copy, since `f` may work in place
        (derivative,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), derivative


def rescale(f: Pointwise, x: Tensor, baseline: Tensor) -> Tensor:
    """Slope of DeepLIFT's rescale rule: change of output over change of input (Shrikumar 2017, section 3.5.1)."""
    value, derivative = _value_and_derivative(f, x)
    change = x - baseline
    small = change.abs() < EPS
    with torch.no_grad():
        return torch.where(small, derivative, (value - f(baseline.clone())) / change.masked_fill(small, 1))


def path_mean(nodes: Sequence[float], weights: Sequence[float]) -> SlopeRule:
    """Make the rule whose slope is the mean derivative on the straight path from baseline to input, by quadrature."""

    def mean_slope(f: Pointwise, x: Tensor, baseline: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for node, weight in zip(nodes, weights, strict=True):
            total += weight * _value_and_derivative(f, torch.lerp(baseline, x, node))[1]
        return total

    return mean_slope


class Rules(TorchFunctionMode):
    """Give each non-linearity that is called while gradients are on another slope in the backward pass.

    Parameters
    ----------
    rows, references
        The batch is `rows` samples followed by `references` baselines: one for all samples, or one for each.
    rule
        The slope of an elementwise non-linearity. Max-pooling follows `_PoolRescale`. None: ordinary gradients.
    guided
        Guided backpropagation instead. An elementwise non-linearity other than ReLU is then a `ValueError`.

    Attributes
    ----------
    elementwise, pools : int
        How many elementwise non-linearities and max-poolings were met.
    inputs : list of Tensor
        What went into each ReLU, under `guided`.
    """

    def __init__(self, rows: int, references: int, *, rule: SlopeRule | None = None, guided: bool = False):
        super().__init__()
        self.rows, self.references, self.rule, self.guided = rows, references, rule, guided
        self.elementwise = self.pools = 0
        self.inputs: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        x = args[0] if args else kwargs.get("input")
        if (
            (func in _ELEMENTWISE or func in _MAX_POOL)
            and torch.is_grad_enabled()
            and isinstance(x, Tensor)
            and x.requires_grad
            # Else it is a function of parameters, through which no gradient passes to the layer.
            and x.ndim > 0
            and x.shape[0] % (self.rows + self.references) == 0
        ):
            options = {name: value for name, value in kwargs.items() if name != "input"}
            if func in _ELEMENTWISE:
                return self._pointwise(_ELEMENTWISE[func], lambda t: func(t, *args[1:], **options), x)
            if not options.pop("return_indices", False):
                self.pools += 1
                if self.rule is not None:
                    pool, axes = _MAX_POOL[func]
                    value, winners = pool(x.detach(), *args[1:], **options)
                    return _PoolRescale.apply(x, value, winners, self.rows, axes)
        return func(*args, **kwargs)

    def _pointwise(self, name: str, f: Pointwise, x: Tensor) -> Tensor:
        self.elementwise += 1
        if self.guided and name != "relu":
            raise ValueError(
                f"method 'guided_backprop' is defined for ReLU networks, but {name} lies above the layer; "
                "use another method, such as 'deeplift'"
            )
        if self.rule is None and not self.guided:
            return f(x)
        argument = x.detach().clone()
        value = f(argument)
        out: Tensor
        if self.rule is None:
            self.inputs.append(x.clone())
            out = _GuidedReLU.apply(self.inputs[-1])
        else:
            reference = x.detach().reshape(self.rows + self.references, -1)[self.rows :]
            repeats = 1 + self.rows if self.references == 1 else 2
            slope = self.rule(f, x.detach(), reference.repeat(repeats, 1).reshape(x.shape))
            out = _Slope.apply(x, value, slope)
        return x.copy_(out) if value is argument else out  # the former if `f` works in place


def non_affine_operations(output: Tensor, leaf: Tensor) -> list[str]:
    """Name the operations between `leaf` and `output` that are not known to be affine in `leaf`.

    They are read from the autograd graph, so no call is overlooked, but a mask or a constant made from `leaf` is taken
    for a constant. An affine operation that is missing in the lists above is named as well. The rules of this module
    are left out.
    """
    parents: dict[Any, list[tuple[Any, int]]] = {}
    start = None
    stack = [output.grad_fn]
    seen = {output.grad_fn}
    while stack:
        node = stack.pop()
        if getattr(node, "variable", None) is leaf:
            start = node
        for position, (child, _) in enumerate(node.next_functions if node else ()):
            if child is not None:
                parents.setdefault(child, []).append((node, position))
                if child not in seen:
                    seen.add(child)
                    stack.append(child)
    arguments: dict[Any, set[int]] = {}  # of each node on the way, the arguments that depend on the leaf
    stack = [start] if start is not None else []
    while stack:
        for node, position in parents.get(stack.pop(), []):
            if node not in arguments:
                arguments[node] = set()
                stack.append(node)
            arguments[node].add(position)
    names = []
    for node, positions in arguments.items():
        name = type(node).__name__.rstrip("0123456789").removesuffix("Backward")
        key = name.lower()
        affine = key in _AFFINE or (key in _BILINEAR and len(positions) == 1 and (key != "div" or 0 in positions))
        if not affine and name not in ("_Slope", "_PoolRescale"):
            names.append(name)
    return sorted(set(names))
