"""The methods of `attribution`: checked arguments, the loop over chunks of samples, and each method on one chunk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from modutils import _check
from modutils._rules import Rules, SlopeRule, non_affine_operations, path_mean, rescale
from modutils.units import (
    UNITS,
    Cut,
    Output,
    batches,
    find,
    like,
    logits_of,
    probe,
    unit_elements,
)

METHODS = (
    "deeplift",
    "conductance",
    "internal_influence",
    "integrated_gradients",
    "gradient_x_activation",
    "guided_backprop",
)
_WALKS = frozenset({"conductance", "internal_influence"})
COMPLETE = frozenset({"deeplift", "conductance", "integrated_gradients"})
Target = int | Tensor | Literal["all"] | None


class CompletenessError(ValueError):
    """The attributions of a sample do not add up to the change of the output, so they are wrong."""


class Job:
    """Checked arguments of one call, and the loop over chunks of samples."""

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module | str,
        inputs: Tensor | np.ndarray,
        methods: Sequence[str],
        target: Target,
        baseline: Tensor | np.ndarray | None,
        steps: int,
        batch_size: int,
        units: str,
        output: Output | None,
        incomplete: str,
        *,
        least: int = 1,
    ):
        for method in methods:
            _check.choice("method", method, METHODS)
        _check.choice("units", units, UNITS)
        _check.choice("incomplete", incomplete, ("raise", "warn"))
        _check.count("steps", steps, 1)
        _check.count("batch_size", batch_size, 1)
        self.inputs = _check.samples("inputs", inputs, integers=_WALKS.isdisjoint(methods)).detach()
        self.methods, self.steps, self.batch_size, self.incomplete = list(methods), steps, batch_size, incomplete
        self.baseline = _broadcast_baseline(baseline, self.inputs, needed=not COMPLETE.isdisjoint(methods)).detach()
        module = find(model, layer)
        value, given = probe(model, module, self.inputs)
        self.classes = logits_of(given, output, 1, least=least).shape[1]
        self.elements, self.places = value.numel(), unit_elements(value.shape[1:], units)
        self.units = len(self.places)
        tensor = like(model, self.inputs)
        self.device, self.dtype = tensor.device, tensor.dtype
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"model is {self.dtype}; convert it to float32 or float64")
        self.cut = Cut(model, module, output)
        self._probe()
        self.all_classes = isinstance(target, str)
        self.target = _check_target(target, len(self.inputs), self.classes)

    def _probe(self) -> None:
        """Run one sample and its baseline through the whole model, and look at what lies above the layer."""
        x, base = next(self.chunks(1))[1:]
        rules = Rules(1, 1, rule=rescale)
        with rules:
            leaf, logits = self.cut.forward(torch.cat([x, base]), whole=True)
        self._look_above(leaf, logits, rules)
        if "guided_backprop" in self.methods:
            with Rules(1, 1, guided=True):  # raises if an activation function above the layer is not ReLU
                self.cut.forward(torch.cat([x, base]), whole=True)

    def _look_above(self, leaf: Tensor, logits: Tensor, rules: Rules) -> None:
        """What lies between the layer and the logits, from the probe and the rules that it met."""
        values = logits.detach()
        if not values.isfinite().all():
            raise ValueError("model returns logits that are not finite for the first sample or its baseline")
        if self.classes > 1 and _is_softmax(values):
            raise ValueError(
                "model returns softmax or log-softmax outputs; attribute logits: pass the model without its last step"
            )
        self.suspects = non_affine_operations(logits, leaf)
        # DeepLIFT's completeness holds if and only if `rules` met every non-linearity.
        seed = torch.linspace(1, 2, self.classes, dtype=self.dtype, device=self.device)
        multiplier = None
        if logits.requires_grad:
            (multiplier,) = torch.autograd.grad(logits[0], leaf, seed, allow_unused=True)
        if multiplier is None:
            raise ValueError("layer has no differentiable influence on the output of the model")
        change = values[0] - values[1]
        gap = (multiplier[0] * (leaf[0] - leaf[1]).detach()).sum() - seed @ change
        allowed = 2 * _TOLERANCE["deeplift"][self.dtype] * change.abs().sum() + _rounding(values).sum()
        complete = not self.suspects and bool(gap.abs() <= allowed)
        self.one_bend = complete and rules.elementwise == 1 and rules.pools == 0
        if "guided_backprop" in self.methods and not complete:
            found = ", ".join(self.suspects) or "a non-linearity written by hand"
            raise ValueError(
                f"method 'guided_backprop' is defined for ReLU networks, but {found} lies above the layer; use another "
                "method, such as 'integrated_gradients'"
            )

    def chunks(self, size: int | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Samples and baselines (one, or one for each) on the model's device."""
        for part, x in batches(self.cut.model, self.inputs, size or self.batch_size):
            base = self.baseline if len(self.baseline) == 1 else self.baseline[part]
            yield part, x, base.to(x)

    def run(self, *, centred: bool) -> Iterator[tuple[slice, dict[str, Tensor], dict[str, Tensor]]]:
        """Attributions (seeds, samples, units) by each method, and what they miss (seeds, samples), chunk by chunk."""
        for part, x, base in self.chunks():
            chunk = _Chunk(self, part, x, base, centred)
            results = chunk.attribute()
            missed = {method: results[method].sum(2) - chunk.expected() for method in chunk.checked}
            if self.units < self.elements:
                places = torch.as_tensor(self.places, device=self.device)
                results = {method: result[..., places].sum(-1) for method, result in results.items()}
            yield part, results, missed


class _Chunk:
    """The methods, on one chunk of samples."""

    def __init__(self, job: Job, part: slice, x: Tensor, base: Tensor, centred: bool):
        self.job, self.part, self.centred = job, part, centred
        self.rows, self.references = len(x), len(base)
        self.z = job.cut.stem(torch.cat([x, base]))
        self.h: Tensor | None = None
        self.checked: list[str] = []

    def attribute(self) -> dict[str, Tensor]:
        compute: dict[str, Callable[[], Tensor]] = {
            "deeplift": self._deeplift,
            "conductance": self._conductance,
            "internal_influence": self._internal_influence,
            "integrated_gradients": self._integrated_gradients,
            "gradient_x_activation": self._gradient_x_activation,
            "guided_backprop": self._guided_backprop,
        }
        return {method: compute[method]() for method in self.job.methods}

    def _forward(self, rules: Rules | None = None) -> tuple[Tensor, Tensor]:
        """Layer's value and logits of the samples, as a graph; the first call also stores what all methods use."""
        # The network may work in place on `z`. A chain does not run from `z` again, except to walk.
        last = self.job.cut.is_chain and (self.h is not None or _WALKS.isdisjoint(self.job.methods))
        with rules or nullcontext():
            leaf, logits = self.job.cut.forward(self.z if last else self.z.clone(), self.h, spend=True)
        if self.h is None:
            self.h, self.logits = leaf.detach(), logits.detach()
            if not self.logits.isfinite().all():
                first, last = self.part.start, self.part.stop - 1
                raise ValueError(f"model returns logits that are not finite for some of samples {first} to {last}")
            self._set_seeds()
        return leaf, logits[: self.rows]

    def _set_seeds(self) -> None:
        """What is propagated back from the logits: (seeds, samples, classes)."""
        job, logits = self.job, self.logits[: self.rows]
        self.every_class = torch.eye(job.classes, dtype=logits.dtype, device=logits.device)[:, None].expand(
            -1, self.rows, -1
        )
        if job.all_classes:
            self.seeds = self.every_class
            return
        chosen = logits.argmax(1) if job.target is None else job.target[self.part].to(logits.device)
        self.seeds = nn.functional.one_hot(chosen, job.classes).to(logits.dtype)[None]
        if self.centred:
            self.seeds = self.seeds - 1 / job.classes

    def _rescaled(self, rule: SlopeRule) -> Tensor:
        leaf, logits = self._forward(Rules(self.rows, self.references, rule=rule))
        return _gradients(logits, leaf, self.seeds) * self._change()

    def _values(self) -> Tensor:
        """The layer's value at samples and baselines."""
        if self.h is None:
            self._forward()
        assert self.h is not None
        return self.h

    def _change(self) -> Tensor:
        h = self._values()
        return (h[: self.rows] - h[self.rows :]).flatten(1)

    def _deeplift(self) -> Tensor:
        result = self._rescaled(rescale)
        self._check_completeness("deeplift", result)
        return result

    def _integrated_gradients(self) -> Tensor:
        nodes, weights = _quadrature(self.job.steps)
        if self.job.one_bend:
            # The input of the one non-linearity is affine in the layer: its mean slope is all one needs.
            result = self._rescaled(path_mean(nodes, weights))
        else:
            result = self._mean_gradients(nodes, weights) * self._change()
        self._check_completeness("integrated_gradients", result)
        return result

    def _mean_gradients(self, nodes: Sequence[float], weights: Sequence[float]) -> Tensor:
        """Mean of the gradients while the layer goes straight from its value at the baseline to that at the sample."""
        h = self._values()
        n = self.rows
        total = torch.zeros(len(self.seeds), n, self.job.elements, dtype=h.dtype, device=h.device)
        for block in self._blocks(nodes):
            at = torch.cat([torch.lerp(h[n:], h[:n], nodes[k]) for k in block])
            z = self.z if self.job.cut.is_chain else self.z[:n].repeat(len(block), *[1] * (self.z.ndim - 1))
            for k, (grads, _) in zip(block, self._steps(*self.job.cut.forward(z, at), len(block)), strict=True):
                total.add_(grads, alpha=weights[k])
        return total

    def _gradient_x_activation(self) -> Tensor:
        leaf, logits = self._forward()
        return _gradients(logits, leaf, self.seeds) * self._values()[: self.rows].flatten(1)

    def _guided_backprop(self) -> Tensor:
        rules = Rules(self.rows, self.references, guided=True)
        leaf, logits = self._forward(rules)
        if not self.centred:
            return _gradients(logits, leaf, self.seeds)
        # Not linear in what is propagated back, so every class goes by itself: down to the layer, or to the only ReLU.
        start = rules.inputs[0] if self.job.one_bend else leaf
        total = torch.zeros_like(start)
        for c, seed in enumerate(self.every_class):
            (grads,) = torch.autograd.grad(logits, start, seed, retain_graph=True)
            grads[: self.rows] *= self.seeds[0, :, c].view(-1, *[1] * (grads.ndim - 1))
            total += grads
        if self.job.one_bend:
            (total,) = torch.autograd.grad(start, leaf, total)
        return total[: self.rows].flatten(1)[None]

    def _blocks(self, nodes: Sequence[float]) -> Iterator[range]:
        """Split the nodes of a path so that nodes × samples stay within the batch size."""
        size = max(1, self.job.batch_size // self.rows)
        return (range(i, min(i + size, len(nodes))) for i in range(0, len(nodes), size))

    def _steps(self, leaf: Tensor, logits: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For each of the steps in one batch, the gradients (seeds, samples, units) and the layer's value."""
        grads = _gradients(logits, leaf, self.seeds.repeat(1, steps, 1))
        values = leaf.detach().flatten(1)
        return zip(grads.split(self.rows, dim=1), values.split(self.rows), strict=True)

    def _path(self, nodes: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
        """`_steps` at the nodes of the straight path from baseline to sample."""
        self._values()  # for the seeds
        z, z0 = self.z[: self.rows], self.z[self.rows :]
        # One piece of memory for all points: to get fresh one costs as much as the convolution.
        space = z.new_empty(max(map(len, self._blocks(nodes))) * len(z), *z.shape[1:])
        if z.ndim == 4:
            space = space.contiguous(memory_format=self.job.cut.memory_format)
        for block in self._blocks(nodes):
            points = space[: len(block) * self.rows]
            for k, point in zip(block, points.split(self.rows), strict=True):
                torch.lerp(z0, z, nodes[k], out=point)
            leaf, logits = self.job.cut.forward(points, spend=True)
            shared = leaf.untyped_storage().data_ptr() == space.untyped_storage().data_ptr()
            for grads, value in self._steps(leaf, logits, len(block)):
                yield grads, value.clone() if shared else value  # the next block overwrites `space`

    def _conductance(self) -> Tensor:
        steps = self._path(_quadrature(self.job.steps + 1)[0])
        grads, value = next(steps)
        total = torch.zeros_like(grads)
        other = torch.zeros_like(grads[..., 0])
        for next_grads, next_value in steps:
            change = next_value - value
            total.addcmul_(grads, change)
            other += torch.linalg.vecdot(next_grads, change)
            grads, value = next_grads, next_value
        # captum's sum takes the gradient at the left of each interval, and misses completeness by up to 10 % in trained
        # networks at 50 steps. With the mean of left and right the sum is good enough to tell an error.
        self._check_completeness("conductance", total, (total.sum(2) + other) / 2)
        return total

    def _internal_influence(self) -> Tensor:
        nodes, weights = _quadrature(self.job.steps)
        total: Tensor | None = None
        for weight, (grads, _) in zip(weights, self._path(nodes), strict=True):
            total = grads * weight if total is None else total.add_(grads, alpha=weight)
        assert total is not None
        return total

    def expected(self) -> Tensor:
        """Change (seeds, samples) of what the seeds pick from the logits."""
        return torch.einsum("snc,nc->sn", self.seeds, self.logits[: self.rows] - self.logits[self.rows :])

    def _check_completeness(self, method: str, result: Tensor, total: Tensor | None = None) -> None:
        """Raise or warn unless the total (seeds, samples), the sum over units, is the change of what the seeds pick.

        The difference is measured by the largest change of a logit. Where attributions of both signs cancel, and what
        each sign sums to (half of the sum of sizes) is larger, it is measured by that: neither knows of an offset.
        """
        self.checked.append(method)
        total = result.sum(2) if total is None else total
        values, references = self.logits[: self.rows], self.logits[self.rows :]
        scale = torch.maximum((values - references).abs().amax(1), result.abs().sum(2).amax(0) / 2)
        rounding = torch.maximum(_rounding(values), _rounding(references))
        missed = ((total - self.expected()).abs().amax(0) - rounding).clamp_min(0)  # NaN stays
        error = missed / scale.clamp_min(torch.finfo(scale.dtype).tiny)
        worst = int(error.argmax())
        if not error[worst] <= _TOLERANCE[method][self.job.dtype]:  # also for NaN
            found = ", ".join(self.job.suspects)
            text = (
                f"method {method!r}: the attributions of sample {self.part.start + worst} miss the change of the "
                f"logits by {error[worst]:.1e} of the largest one, or of their own sizes. "
                + (f"Above the layer lie operations that the method may not cover: {found}. " if found else "")
                + "Either an operation above the layer is beyond the method, or a path of the network bypasses it"
                + ("." if method == "deeplift" else f", or steps={self.job.steps} are too few.")
            )
            if self.job.incomplete == "raise":
                raise CompletenessError(f"{text} With incomplete='warn' this is a warning.")
            warnings.warn(text, stacklevel=2)


def _rounding(logits: Tensor) -> Tensor:
    """How far a sum to the largest of the logits (rows, classes) may be off by rounding alone."""
    return 64 * torch.finfo(logits.dtype).eps * logits.abs().amax(1)


# Largest deviation from completeness, relative to the largest change of a logit or to half the sum of the sizes of the
# attributions. DeepLIFT is complete up to rounding: 1e-6 was measured in float32, 1e-15 in float64. A quadrature is not
# where ReLU bends: with 50 steps 0.009 was measured in CNNs and MLPs trained on MNIST with five activation functions,
# with 20 steps 0.03.
_TOLERANCE = {
    "deeplift": {torch.float32: 1e-4, torch.float64: 1e-9},
    "integrated_gradients": {torch.float32: 0.05, torch.float64: 0.05},
    "conductance": {torch.float32: 0.05, torch.float64: 0.05},
}


def _gradients(logits: Tensor, leaf: Tensor, seeds: Tensor) -> Tensor:
    """Back-propagate seeds (seeds, rows, classes) to the layer: (seeds, rows, units)."""
    last = len(seeds) - 1
    grads = [
        torch.autograd.grad(logits, leaf, seed, retain_graph=i < last)[0][: len(logits)].flatten(1)
        for i, seed in enumerate(seeds)
    ]
    return grads[0][None] if last == 0 else torch.stack(grads)


def _quadrature(steps: int) -> tuple[list[float], list[float]]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return list((nodes + 1) / 2), list(weights / 2)


def _is_softmax(outputs: Tensor) -> bool:
    """Whether the rows are probabilities or their logarithms."""
    ones, zeros = torch.ones_like(outputs[:, 0]), torch.zeros_like(outputs[:, 0])
    return bool((outputs >= 0).all() and torch.allclose(outputs.sum(1), ones, atol=1e-6)) or torch.allclose(
        outputs.logsumexp(1), zeros, atol=1e-6
    )


def _broadcast_baseline(baseline: Tensor | np.ndarray | None, inputs: Tensor, *, needed: bool) -> Tensor:
    """One row for all samples, or one row for each."""
    baseline = _check.tensor(baseline)
    if baseline is None:
        if needed and not inputs.is_floating_point():
            raise ValueError("baseline=None: where inputs are token ids, give those of the reference, such as padding")
        return torch.zeros_like(inputs[:1])
    if isinstance(baseline, Tensor) and baseline.shape == inputs.shape[1:]:
        baseline = baseline[None]
    baseline = _check.samples("baseline", baseline, integers=not inputs.is_floating_point())
    if baseline.shape[1:] != inputs.shape[1:] or len(baseline) not in (1, len(inputs)):
        one, each = tuple(inputs.shape[1:]), tuple(inputs.shape)
        raise ValueError(f"baseline has shape {tuple(baseline.shape)}; give {one}, or {each} for one per sample")
    return baseline


def _check_target(target: Target, samples: int, classes: int) -> Tensor | None:
    if target is None or (isinstance(target, str) and target == "all"):
        return None
    if isinstance(target, int | np.integer) and not isinstance(target, bool):
        target = torch.full((samples,), int(target))
    if not isinstance(target, Tensor):
        raise ValueError(f"target={target!r}: give a class, 'all', or an integer tensor of shape ({samples},)")
    return torch.from_numpy(_check.labels("target", target, samples, low=0, high=classes - 1))
