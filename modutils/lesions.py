"""Remove units from a layer and count what the network still gets right.

A removed unit has its value in the output of ``layer`` set to 0, or to a replacement. Units are numbered as
`torch.flatten` numbers the entries of that output for one sample.

Where the network is a chain (`torch.nn.Sequential`), the layers below run once for all sets of removed units. Where
the first thing that computes after ``layer`` is also a `torch.nn.Linear`, a lesion is an exact update of what that
gives. Any other network runs anew for every set. All agree up to rounding.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from modutils import _check
from modutils.units import batches, find, has_hooks, probe, refuse_training, run, split

__all__ = ["ablation_curve", "ablation_curves", "correct_counts", "lesioned_predictions"]


def ablation_curve(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor,
    labels: Any,
    groups: Sequence[Any],
    *,
    replacement: Any = None,
    batch_size: int = 500,
) -> np.ndarray:
    """Count correct predictions while groups of units are removed one after the other.

    Parameters
    ----------
    model : nn.Module
        Maps inputs to (N, classes). Dropout and batch normalisation must be in eval mode.
    layer : nn.Module or str
        Submodule of the model, or its dotted name. Its output is (N, ...).
    inputs : Tensor, shape (N, ...)
        Finite; moved to the device of the model batch by batch.
    labels : array of int, shape (N,)
        True classes, in 0 ... classes - 1.
    groups : sequence of arrays of int
        Unit numbers of each group, in the order of removal. No unit twice. A group may be empty, and units in
        no group are never removed.
    replacement : array, shape (units,), optional
        Value that a removed unit takes, for instance its mean. Default: 0.
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
        finite; dropout or batch normalisation in training mode.

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
    return ablation_curves(model, layer, inputs, labels, [groups], replacement=replacement, batch_size=batch_size)[0]


def ablation_curves(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor,
    labels: Any,
    curves: Sequence[Sequence[Any]],
    *,
    replacement: Any = None,
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
    network = _Lesioned(model, layer, inputs, replacement, batch_size)
    truth = _check.labels("labels", labels, len(inputs), low=0, high=network.classes - 1)
    checked = [[_check.unit_set(group, network.units) for group in groups] for groups in curves]
    for number, groups in enumerate(checked):
        if len(groups) and (np.bincount(np.concatenate(groups), minlength=1) > 1).any():
            raise ValueError(f"the groups of curve {number} name a unit more than once")
    return [(network.predict_cumulative(groups) == truth).sum(axis=1) for groups in checked]


def lesioned_predictions(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor,
    unit_sets: Sequence[Any],
    *,
    replacement: Any = None,
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
    network = _Lesioned(model, layer, inputs, replacement, batch_size)
    return network.predict_alone([_check.unit_set(units, network.units) for units in unit_sets])


def correct_counts(
    model: nn.Module,
    layer: nn.Module | str,
    inputs: Tensor,
    labels: Any,
    unit_sets: Sequence[Any],
    *,
    replacement: Any = None,
    batch_size: int = 500,
) -> np.ndarray:
    """Count the correct predictions per true class with each set of units removed on its own.

    Parameters are those of `lesioned_predictions` and ``labels`` as in `ablation_curve`.

    Returns
    -------
    ndarray of int64, shape (len(unit_sets), classes)
    """
    network = _Lesioned(model, layer, inputs, replacement, batch_size)
    truth = _check.labels("labels", labels, len(inputs), low=0, high=network.classes - 1)
    guesses = network.predict_alone([_check.unit_set(units, network.units) for units in unit_sets])
    counts = [np.bincount(truth[guess == truth], minlength=network.classes) for guess in guesses]
    return np.array(counts, dtype=np.int64).reshape(len(unit_sets), network.classes)


class _Lesioned:
    """A network on fixed inputs, ready to predict with units of one layer removed."""

    @torch.no_grad()
    def __init__(
        self, model: nn.Module, layer: nn.Module | str, inputs: Tensor, replacement: Any, batch_size: int
    ) -> None:
        self.model, self.module = model, find(model, layer)
        _check.samples("inputs", inputs)
        _check.count("batch_size", batch_size, 1)
        refuse_training(model)
        self.inputs, self.batch_size = inputs, batch_size
        value, logits = probe(model, self.module, inputs)
        if logits.ndim != 2:
            raise ValueError(f"model gives shape {tuple(logits.shape)} for one sample; (1, classes) is needed")
        self.units, self.classes = value.numel(), logits.shape[1]
        if replacement is None:
            self.replacement = value.new_zeros(self.units)
        else:
            self.replacement = torch.as_tensor(replacement).to(value)
            if self.replacement.shape != (self.units,) or not torch.isfinite(self.replacement).all():
                shape = tuple(self.replacement.shape)
                raise ValueError(f"replacement has shape {shape}; finite numbers of shape ({self.units},) are needed")

        parts = split(model, self.module)
        self.chain = None if parts is None else (nn.Sequential(*parts[0]), nn.Sequential(*parts[1]))
        linear = None if self.chain is None else _linear_above(self.chain[1], value.ndim)
        self.fast = linear is not None
        if self.chain is not None and linear is not None:
            below, above = self.chain
            reads, self.head = cast(nn.Linear, above[linear]), above[linear + 1 :]
            # Unit-major, so that the rows of a group are read as whole stretches of memory.
            self.values = value.new_empty(self.units, len(inputs))
            for part, x in batches(model, inputs, batch_size):
                self.values[:, part] = below(x).flatten(1).T
            self.weights = reads.weight.T.contiguous()
            self.bias = self.weights.new_zeros(()) if reads.bias is None else reads.bias

    @torch.no_grad()
    def predict_cumulative(self, groups: list[np.ndarray]) -> np.ndarray:
        """Predicted classes (len(groups) + 1, N) with the first 0, 1, ... groups removed."""
        removed = [np.concatenate([np.empty(0, np.int64), *groups[:j]]) for j in range(len(groups) + 1)]
        if not self.fast:
            return self._run(removed)
        # From the last group back to the intact network: sums of what is left. So no rounding error is left
        # over from units that are gone, and with all units removed exactly the bias remains.
        drive = self._drive(self._others(removed[-1]))
        guesses = [self._head(drive, removed[-1])]
        for group, units in zip(reversed(groups), reversed(removed[:-1]), strict=True):
            drive += self._drive(group)
            guesses.append(self._head(drive, units))
        return np.stack(guesses[::-1])

    @torch.no_grad()
    def predict_alone(self, unit_sets: list[np.ndarray]) -> np.ndarray:
        """Predicted classes (len(unit_sets), N)."""
        if not self.fast:
            return self._run(unit_sets)
        guesses = np.empty((len(unit_sets), len(self.inputs)), dtype=np.int64)
        intact = self._drive(np.arange(self.units))
        for guess, units in zip(guesses, unit_sets, strict=True):
            if 2 * len(units) <= self.units:
                guess[:] = self._head(intact - self._drive(units), units)
            else:
                guess[:] = self._head(self._drive(self._others(units)), units)
        return guesses

    def _drive(self, units: np.ndarray) -> Tensor:
        """What these units add to the output of the linear module: (N, out)."""
        index = torch.as_tensor(units, device=self.values.device)
        return self.values[index].T @ self.weights[index]

    def _others(self, units: np.ndarray) -> np.ndarray:
        return np.setdiff1d(np.arange(self.units), units)

    def _head(self, drive: Tensor, removed: np.ndarray) -> np.ndarray:
        index = torch.as_tensor(removed, device=drive.device)
        constant = self.bias + self.replacement[index] @ self.weights[index]
        return self.head(drive + constant).argmax(1).cpu().numpy()

    def _run(self, unit_sets: list[np.ndarray]) -> np.ndarray:
        guesses = np.empty((len(unit_sets), len(self.inputs)), dtype=np.int64)
        for part, x in batches(self.model, self.inputs, self.batch_size):
            value = x if self.chain is None else self.chain[0](x)
            for guess, units in zip(guesses, unit_sets, strict=True):
                lesion = partial(self._lesioned, torch.as_tensor(units, device=x.device))
                if self.chain is None:
                    logits = run(self.model, self.module, x.clone(), lesion)[1]
                else:
                    logits = self.chain[1](lesion(value))
                guess[part] = logits.argmax(1).cpu().numpy()
        return guesses

    def _lesioned(self, index: Tensor, value: Tensor) -> Tensor:
        lesioned = value.flatten(1).clone()
        lesioned[:, index] = self.replacement[index]
        return lesioned.view(value.shape)


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
