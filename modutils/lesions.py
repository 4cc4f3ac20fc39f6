"""Remove units from a layer and see what the network still gets right.

A removed unit has its value in the output of ``layer`` replaced: by 0, by its mean, by its value for another sample, or
by a number. With ``units="element"`` units are numbered as `torch.flatten` numbers the entries of that output for one
sample; with ``units="channel"`` a unit is a channel, and all its places are replaced at once (see `modutils.units`).

What lies below the layer runs once for all sets of removed units, in any network. Where the network is a chain
(`torch.nn.Sequential`) and the first thing that computes after ``layer`` is a `torch.nn.Linear`, a lesion is moreover
an exact update of what that gives. Both agree with a run of the whole network for every set, the former bit for bit,
the latter up to rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from modutils import _check
from modutils._resume import Resumed
from modutils.units import (
    UNITS,
    Output,
    batches,
    find,
    has_hooks,
    logits_of,
    probe,
    run,
    split,
    undisturbed,
    unit_elements,
    value_of,
)

__all__ = [
    "REPLACEMENTS",
    "ablation_curve",
    "ablation_curves",
    "correct_counts",
    "lesioned_logits",
    "lesioned_losses",
    "lesioned_predictions",
]

REPLACEMENTS = ("zero", "mean", "resample")
_Sets = Sequence[Any]


def ablation_curve(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    labels: Any,
    groups: _Sets,
    *,
    replacement: Any = "zero",
    units: str = "element",
    output: Output | None = None,
    seed: int = 0,
    batch_size: int = 500,
) -> np.ndarray:
    """Count correct predictions while groups of units are removed one after the other.

    Parameters
    ----------
    model : nn.Module
        Maps inputs to (N, classes), with two classes or more, in evaluation mode. Each sample goes on its own.
    layer : nn.Module or str
        Submodule of the model, or its dotted name, that runs once. Its output is (N, ...).
    inputs : Tensor or ndarray, shape (N, ...)
        Finite, or integers for a model that takes such; moved to the device of the model batch by batch.
    labels : array of int, shape (N,)
        True classes, in 0 ... classes - 1.
    groups : sequence of arrays of int
        Unit numbers of each group, in the order of removal. No unit twice. A group may be empty, and units in
        no group are never removed.
    replacement : {"zero", "mean", "resample"} or array of shape (units,)
        What a removed unit gives: 0; the mean of each of its elements over `inputs`; what it gives for another of the
        inputs, the same one for all units and sets, no sample twice; or a number of its own.
    units : {"element", "channel"}
        What the numbers mean, see `modutils.units`.
    output : callable, optional
        Picks the logits (N, classes) from what the model returns. Default: all that it returns.
    seed : int
        Of the choice of other samples.
    batch_size : int
        Samples that run through the model at once.

    Returns
    -------
    ndarray of int64, shape (len(groups) + 1,)
        Entry j: correct predictions with the first j groups removed. Entry 0 is the intact network. On equal
        logits the class with the lowest number is predicted.

    Raises
    ------
    ValueError
        Unknown layer; units out of range or repeated; wrong shapes, types or labels; numbers that are not
        finite; logits that are NaN; a part of the model in training mode.

    References
    ----------
    Q. Lu and M. Ester, "Checking functional modularity in DNN by biclustering task-specific hidden neurons",
    NeurIPS 2019 workshop Real Neurons & Hidden Units, figure 5.

    Examples
    --------
    >>> model = nn.Sequential(nn.Identity(), nn.Linear(2, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.eye(2))
    >>> ablation_curve(model, "0", torch.eye(2), [0, 1], [[1], [0]])
    array([2, 1, 1])
    """
    options = {"replacement": replacement, "units": units, "output": output, "seed": seed, "batch_size": batch_size}
    return ablation_curves(model, layer, inputs, labels, [groups], **options)[0]


@undisturbed
@torch.no_grad()
def ablation_curves(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    labels: Any,
    curves: Sequence[_Sets],
    *,
    replacement: Any = "zero",
    units: str = "element",
    output: Output | None = None,
    seed: int = 0,
    batch_size: int = 500,
) -> list[np.ndarray]:
    """Compute several ablation curves of one network, sharing the run of the layers below.

    Parameters
    ----------
    curves : sequence of sequences of arrays of int
        The ``groups`` of each curve. All else, and what is raised, is as in `ablation_curve`.

    Returns
    -------
    list of ndarray of int64, shapes (len(curves[i]) + 1,)
    """
    network = _Lesioned(model, layer, inputs, replacement, units, output, seed, batch_size, least=2)
    truth = _check.labels("labels", labels, network.samples, low=0, high=network.classes - 1)
    checked = [[network.elements(group) for group in groups] for groups in curves]
    for number, groups in enumerate(checked):
        if len(groups) and (np.bincount(np.concatenate(groups), minlength=1) > 1).any():
            raise ValueError(f"the groups of curve {number} name a unit more than once")
    return [(network.cumulative(groups, _guess) == truth).sum(axis=1) for groups in checked]


@undisturbed
@torch.no_grad()
def lesioned_predictions(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    unit_sets: _Sets,
    *,
    replacement: Any = "zero",
    units: str = "element",
    output: Output | None = None,
    seed: int = 0,
    batch_size: int = 500,
) -> np.ndarray:
    """Predict the class of every sample with each set of units removed on its own.

    Parameters
    ----------
    unit_sets : sequence of arrays of int
        Unit numbers of each set, none twice in one set. Sets may overlap; the empty set is the intact
        network. All else, and what is raised, is as in `ablation_curve`.

    Returns
    -------
    ndarray of int64, shape (len(unit_sets), N)
    """
    network = _Lesioned(model, layer, inputs, replacement, units, output, seed, batch_size, least=2)
    return network.alone([network.elements(given) for given in unit_sets], _guess)


@undisturbed
@torch.no_grad()
def correct_counts(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    labels: Any,
    unit_sets: _Sets,
    *,
    replacement: Any = "zero",
    units: str = "element",
    output: Output | None = None,
    seed: int = 0,
    batch_size: int = 500,
) -> np.ndarray:
    """Count the correct predictions per true class with each set of units removed on its own.

    Parameters are those of `lesioned_predictions` and ``labels`` as in `ablation_curve`.

    Returns
    -------
    ndarray of int64, shape (len(unit_sets), classes)
    """
    network = _Lesioned(model, layer, inputs, replacement, units, output, seed, batch_size, least=2)
    truth = _check.labels("labels", labels, network.samples, low=0, high=network.classes - 1)
    guesses = network.alone([network.elements(given) for given in unit_sets], _guess)
    counts = [np.bincount(truth[guess == truth], minlength=network.classes) for guess in guesses]
    return np.array(counts, dtype=np.int64).reshape(len(unit_sets), network.classes)


@undisturbed
@torch.no_grad()
def lesioned_logits(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    unit_sets: _Sets,
    *,
    replacement: Any = "zero",
    units: str = "element",
    output: Output | None = None,
    seed: int = 0,
    batch_size: int = 500,
) -> np.ndarray:
    """Give the logits of every sample with each set of units removed on its own.

    Parameters are those of `lesioned_predictions`; a model with a single output will do.

    Returns
    -------
    ndarray, shape (len(unit_sets), N, classes)
        In the precision of the model, float32 for half precision.

    Examples
    --------
    >>> model = nn.Sequential(nn.Identity(), nn.Linear(2, 1, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 2.0]]))
    >>> lesioned_logits(model, "0", torch.tensor([[1.0, 1.0], [3.0, 5.0]]), [[1]], replacement="mean").tolist()
    [[[7.0], [9.0]]]
    """
    network = _Lesioned(model, layer, inputs, replacement, units, output, seed, batch_size)
    return network.alone([network.elements(given) for given in unit_sets], lambda logits, _: logits)


@undisturbed
@torch.no_grad()
def lesioned_losses(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor | np.ndarray,
    labels: Any,
    unit_sets: _Sets,
    *,
    replacement: Any = "zero",
    units: str = "element",
    output: Output | None = None,
    seed: int = 0,
    batch_size: int = 500,
) -> np.ndarray:
    """Give the cross-entropy in nats of every sample with each set of units removed on its own.

    Parameters are those of `correct_counts`.

    Returns
    -------
    ndarray, shape (len(unit_sets), N)
        At least 0, in the precision of the model, float32 for half precision.
    """
    network = _Lesioned(model, layer, inputs, replacement, units, output, seed, batch_size, least=2)
    truth = torch.from_numpy(_check.labels("labels", labels, network.samples, low=0, high=network.classes - 1))

    def loss(logits: Tensor, part: slice) -> Tensor:
        return nn.functional.cross_entropy(logits, truth[part].to(logits.device), reduction="none")

    return network.alone([network.elements(given) for given in unit_sets], loss)


_Measure = Callable[[Tensor, slice], Tensor]


def _guess(logits: Tensor, _: slice) -> Tensor:
    return logits.argmax(1)


class _Lesioned:
    """A network on fixed inputs, ready to be measured with units of one layer removed."""

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module | str,
        inputs: Tensor | np.ndarray,
        replacement: Any,
        units: str,
        output: Output | None,
        seed: int,
        batch_size: int,
        *,
        least: int = 1,
    ) -> None:
        _check.choice("units", units, UNITS)
        _check.count("batch_size", batch_size, 1)
        _check.count("seed", seed, 0)
        self.model, self.module = model, find(model, layer)
        self.inputs = _check.samples("inputs", inputs, integers=True)
        self.samples, self.batch_size, self.output = len(self.inputs), batch_size, output
        value, given = probe(model, self.module, self.inputs)
        self.logits = logits_of(given, output, 1, least=least)
        self.classes = self.logits.shape[1]
        self.places = unit_elements(value.shape[1:], units)

        parts = split(model, self.module)
        above = nn.Sequential() if parts is None else nn.Sequential(*parts[1])
        linear = _linear_above(above, value.ndim)
        self.fast = linear is not None
        if linear is not None:
            reads, self.head = cast(nn.Linear, above[linear]), above[linear + 1 :]
            # Unit-major, so that the rows of a group are read as whole stretches of memory.
            self.values = value.new_empty(value.numel(), self.samples)
            for part, x in batches(model, self.inputs, batch_size):
                self.values[:, part] = value_of(model, self.module, x).flatten(1).T
            self.weights = reads.weight.T.contiguous()
            self.bias = self.weights.new_zeros(()) if reads.bias is None else reads.bias
        self._set_replacement(value, replacement, seed)

    def _set_replacement(self, value: Tensor, replacement: Any, seed: int) -> None:
        """What each element gives when it is removed; or the sample whose value it takes, for every sample."""
        self.partners: Tensor | None = None
        self.replacement = value.new_zeros(value.numel())
        if isinstance(replacement, str):
            _check.choice("replacement", replacement, REPLACEMENTS)
            if replacement == "mean":
                total = torch.zeros_like(self.replacement, dtype=torch.float64)
                for chunk in self._values():
                    total += chunk.flatten(1).sum(0, dtype=torch.float64)
                self.replacement = (total / self.samples).to(value)
            elif replacement == "resample":
                if self.samples < 2:
                    raise ValueError(f"replacement='resample' takes another sample, but inputs has {self.samples}")
                order = torch.randperm(self.samples, generator=torch.Generator().manual_seed(seed))
                self.partners = torch.empty_like(order)
                self.partners[order] = order.roll(1)  # one cycle, so that no sample is its own partner
        elif replacement is not None:
            numbers = torch.as_tensor(_check.tensor(replacement)).to(value)
            if numbers.shape != (len(self.places),) or not torch.isfinite(numbers).all():
                raise ValueError(
                    f"replacement has shape {tuple(numbers.shape)}; finite numbers of shape ({len(self.places)},) are "
                    f"needed, or one of {', '.join(REPLACEMENTS)}"
                )
            self.replacement[torch.as_tensor(self.places, device=value.device)] = numbers[:, None]

    def _values(self) -> Iterator[Tensor]:
        if self.fast:
            yield self.values.T
        else:
            for _, x in batches(self.model, self.inputs, self.batch_size):
                yield value_of(self.model, self.module, x)

    def elements(self, given: Any) -> np.ndarray:
        """Elements of a set of units."""
        return self.places[_check.unit_set(given, len(self.places))].ravel()

    def cumulative(self, groups: list[np.ndarray], measure: _Measure) -> np.ndarray:
        """Measures (len(groups) + 1, N, ...) with the first 0, 1, ... groups removed."""
        removed = [np.concatenate([np.empty(0, np.int64), *groups[:j]]) for j in range(len(groups) + 1)]
        if not self.fast:
            return self._run(removed, measure)
        found = self._empty(len(removed), measure)
        # From the last group back to the intact network: sums of what is left. So no rounding error is left
        # over from units that are gone, and with all units removed exactly the bias remains.
        drive = self._drive(self._others(removed[-1]))
        found[-1] = self._head(drive, removed[-1], measure)
        for place in range(len(groups) - 1, -1, -1):
            drive += self._drive(groups[place])
            found[place] = self._head(drive, removed[place], measure)
        return found

    def alone(self, sets: list[np.ndarray], measure: _Measure) -> np.ndarray:
        """Measures (len(sets), N, ...)."""
        if not self.fast:
            return self._run(sets, measure)
        found = self._empty(len(sets), measure)
        intact = self._drive(np.arange(len(self.values)))
        for row, elements in zip(found, sets, strict=True):
            if 2 * len(elements) <= len(self.values):
                row[:] = self._head(intact - self._drive(elements), elements, measure)
            else:
                row[:] = self._head(self._drive(self._others(elements)), elements, measure)
        return found

    def _drive(self, elements: np.ndarray) -> Tensor:
        """What these elements add to the output of the linear module: (N, out)."""
        index = torch.as_tensor(elements, device=self.values.device)
        return self.values[index].T @ self.weights[index]

    def _others(self, elements: np.ndarray) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.values)), elements)

    def _head(self, drive: Tensor, removed: np.ndarray, measure: _Measure) -> np.ndarray:
        if self.partners is not None:
            constant = self.bias + self._drive(removed)[self.partners.to(drive.device)]
        else:
            index = torch.as_tensor(removed, device=drive.device)
            constant = self.bias + self.replacement[index] @ self.weights[index]
        logits = logits_of(self.head(drive + constant), self.output, self.samples)
        _refuse_nan(logits)
        return _array(measure(logits, slice(None)))

    def _run(self, sets: list[np.ndarray], measure: _Measure) -> np.ndarray:
        found = self._empty(len(sets), measure)
        if not sets:
            return found
        network = Resumed(self.model, self.module, next(batches(self.model, self.inputs[:1], 1))[1])
        for part, x in batches(self.model, self.inputs, self.batch_size):
            other = None
            if self.partners is not None:
                other = value_of(self.model, self.module, next(self._partners_of(part)))
            value = network.start(x.clone())
            for row, elements in zip(found, sets, strict=True):
                logits = self._logits(network.go_on(self._lesioned(value, elements, other)), x)
                if logits.isnan().any():  # also where a network reads for some samples what it does not for others
                    lesioned = self._lesioned(value, elements, other)
                    given = run(self.model, self.module, x.clone(), lambda _, put=lesioned: put)[1]  # type: ignore[misc]
                    logits = self._logits(given, x)
                    _refuse_nan(logits)
                row[part] = _array(measure(logits, part))
        return found

    def _partners_of(self, part: slice) -> Iterator[Tensor]:
        assert self.partners is not None
        return (
            x for _, x in batches(self.model, self.inputs[self.partners[part].to(self.inputs.device)], self.samples)
        )

    def _logits(self, given: Any, x: Tensor) -> Tensor:
        return logits_of(given, self.output, len(x))

    def _lesioned(self, value: Tensor, elements: np.ndarray, other: Tensor | None) -> Tensor:
        index = torch.as_tensor(elements, device=value.device)
        lesioned = value.flatten(1).clone()
        lesioned[:, index] = self.replacement[index] if other is None else other.flatten(1)[:, index]
        return lesioned.view(value.shape)

    def _empty(self, sets: int, measure: _Measure) -> np.ndarray:
        one = _array(measure(self.logits, slice(0, 1)))
        return np.empty((sets, self.samples, *one.shape[1:]), dtype=one.dtype)


def _array(measured: Tensor) -> np.ndarray:
    half = measured.dtype in (torch.float16, torch.bfloat16)  # numpy knows the first alone
    return (measured.float() if half else measured).cpu().numpy()


def _refuse_nan(logits: Tensor) -> None:
    if logits.isnan().any():
        raise ValueError("model gives logits that are NaN for some samples; NaN is no prediction")


def _linear_above(above: nn.Sequential, ndim: int) -> int | None:
    """Place of the linear module that reads a layer of so many axes, element by element; None if there is none.

    Exact types throughout: a subclass may compute something else.
    """
    for place, part in enumerate(above):
        if has_hooks(part):
            return None
        if type(part) is nn.Linear:
            return place if ndim == 2 else None
        if type(part) is nn.Flatten and (part.start_dim, part.end_dim) == (1, -1):
            ndim = 2
        elif type(part) not in (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d):
            return None
    return None
