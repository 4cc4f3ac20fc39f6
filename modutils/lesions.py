"""Remove units from a layer and count what the network still gets right.

A removed unit has its value in the output of ``layer`` set to 0, or to a replacement. Units are numbered as
`torch.flatten` numbers the entries of that output for one sample.

Where the network is a `torch.nn.Sequential` and the first thing that computes after ``layer`` is a
`torch.nn.Linear`, the layers below run once and a lesion is an exact update of what that linear module gives.
Any other network runs anew for every set of removed units, with a forward hook on ``layer``. The two agree up
to rounding.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
    truth = network.check_labels(labels)
    checked = [[network.check_units(group) for group in groups] for groups in curves]
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
    return network.predict_alone([network.check_units(units) for units in unit_sets])


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
    truth = network.check_labels(labels)
    guesses = network.predict_alone([network.check_units(units) for units in unit_sets])
    counts = [np.bincount(truth[guess == truth], minlength=network.classes) for guess in guesses]
    return np.array(counts, dtype=np.int64).reshape(len(unit_sets), network.classes)


class _Lesioned:
    """A network on fixed inputs, ready to predict with units of one layer removed."""

    @torch.no_grad()
    def __init__(
        self, model: nn.Module, layer: nn.Module | str, inputs: Tensor, replacement: Any, batch_size: int
    ) -> None:
        self.model, self.module = model, _submodule(model, layer)
        if not len(inputs):
            raise ValueError(f"inputs has shape {tuple(inputs.shape)}; at least one sample is needed")
        if not torch.isfinite(inputs).all():
            raise ValueError("inputs has NaN or infinite entries")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}; 1 or more is needed")
        for name, part in model.named_modules():
            random = isinstance(part, nn.modules.dropout._DropoutNd | nn.modules.batchnorm._BatchNorm)
            if random and part.training:
                raise ValueError(f"model is in training mode at {name!r}, a {type(part).__name__}; call model.eval()")
        self.batches = inputs.split(batch_size)
        self.device = next(itertools.chain(model.parameters(), model.buffers(), [inputs])).device

        outputs: list[Tensor] = []
        with self.module.register_forward_hook(lambda _module, _args, output: outputs.append(output)):
            logits = model(inputs[:1].to(self.device))
        if len(outputs) != 1 or not isinstance(outputs[0], Tensor) or len(outputs[0]) != 1:
            raise ValueError(f"layer={layer!r} must run once in a forward pass and give one tensor (N, ...)")
        if logits.ndim != 2:
            raise ValueError(f"model gives shape {tuple(logits.shape)} for one sample; (1, classes) is needed")
        self.units, self.classes = outputs[0].numel(), logits.shape[1]
        if replacement is None:
            self.replacement = outputs[0].new_zeros(self.units)
        else:
            self.replacement = torch.as_tensor(replacement).to(outputs[0])
            if self.replacement.shape != (self.units,) or not torch.isfinite(self.replacement).all():
                raise ValueError(
                    f"replacement has shape {tuple(self.replacement.shape)}; finite numbers of shape "
                    f"({self.units},) are needed"
                )

        parts = _split(model, self.module, outputs[0].ndim)
        self.fast = parts is not None
        if parts is not None:
            below, linear, self.head = parts
            # Unit-major, so that the rows of a group are read as whole stretches of memory.
            self.values = torch.empty(self.units, len(inputs), dtype=outputs[0].dtype, device=outputs[0].device)
            for part, batch in zip(self.values.split(batch_size, dim=1), self.batches, strict=True):
                part.copy_(below(batch.to(self.device)).flatten(1).T)
            self.weights = linear.weight.T.contiguous()
            self.bias = self.weights.new_zeros(()) if linear.bias is None else linear.bias

    @torch.no_grad()
    def predict_cumulative(self, groups: list[np.ndarray]) -> np.ndarray:
        """Predicted classes (len(groups) + 1, N) with the first 0, 1, ... groups removed."""
        removed = [np.concatenate([np.empty(0, np.int64), *groups[:j]]) for j in range(len(groups) + 1)]
        if not self.fast:
            return np.stack([self._run(units) for units in removed])
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
        guesses = np.empty((len(unit_sets), sum(map(len, self.batches))), dtype=np.int64)
        intact = self._drive(np.arange(self.units)) if self.fast else None
        for guess, units in zip(guesses, unit_sets, strict=True):
            if intact is None:
                guess[:] = self._run(units)
            elif 2 * len(units) <= self.units:
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

    def _run(self, removed: np.ndarray) -> np.ndarray:
        index = torch.as_tensor(removed, device=self.replacement.device)

        def lesion(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            lesioned = output.flatten(1).clone()
            lesioned[:, index] = self.replacement[index]
            return lesioned.view(output.shape)

        with self.module.register_forward_hook(lesion):
            guesses = [self.model(batch.to(self.device)).argmax(1) for batch in self.batches]
        return torch.cat(guesses).cpu().numpy()

    def check_units(self, units: Any) -> np.ndarray:
        checked = np.asarray(units)
        if checked.size == 0:
            return np.empty(0, dtype=np.int64)
        if checked.ndim != 1 or not np.issubdtype(checked.dtype, np.integer):
            raise ValueError(f"units {units!r} must be a list of unit numbers")
        if checked.min() < 0 or checked.max() >= self.units:
            raise ValueError(
                f"units {checked.min()} ... {checked.max()} are named; the layer has 0 ... {self.units - 1}"
            )
        if len(np.unique(checked)) < len(checked):
            raise ValueError(f"units {units!r} name a unit more than once")
        return checked.astype(np.int64)

    def check_labels(self, labels: Any) -> np.ndarray:
        checked = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
        samples = sum(map(len, self.batches))
        if checked.shape != (samples,) or not np.issubdtype(checked.dtype, np.integer):
            raise ValueError(
                f"labels has shape {checked.shape} and type {checked.dtype}; needed are integers of shape ({samples},)"
            )
        if checked.min() < 0 or checked.max() >= self.classes:
            raise ValueError(
                f"labels goes from {checked.min()} to {checked.max()}; the model has classes 0 ... {self.classes - 1}"
            )
        return checked


def _submodule(model: nn.Module, layer: nn.Module | str) -> nn.Module:
    named = dict(model.named_modules(remove_duplicate=False))
    del named[""]
    if isinstance(layer, nn.Module):
        if not any(layer is part for part in named.values()):
            raise ValueError(f"layer={layer!r} is not a submodule of the model")
        return layer
    if layer not in named:
        raise ValueError(f"layer={layer!r} is unknown; the model has {', '.join(named)}")
    return named[layer]


def _split(model: nn.Module, layer: nn.Module, ndim: int) -> tuple[nn.Sequential, nn.Linear, nn.Sequential] | None:
    """The parts up to the layer, the linear module that reads it, and the parts above; None if there is none.

    Exact types throughout: a subclass may compute something else.
    """
    chain: list[nn.Module] = []
    ends: dict[int, int] = {}

    def unroll(part: nn.Module) -> bool:
        if type(part) is nn.Sequential:
            # A hook on a container would be passed by.
            plain = not (part._forward_hooks or part._forward_pre_hooks) and all(map(unroll, part))
        else:
            chain.append(part)
            plain = True
        ends[id(part)] = len(chain)
        return plain

    if not unroll(model) or id(layer) not in ends:
        return None
    end = ends[id(layer)]
    for position, part in enumerate(chain[end:], start=end):
        if part._forward_hooks or part._forward_pre_hooks:
            return None
        if type(part) is nn.Linear:
            if ndim != 2:
                return None
            return nn.Sequential(*chain[:end]), part, nn.Sequential(*chain[position + 1 :])
        if type(part) is nn.Flatten and (part.start_dim, part.end_dim) == (1, -1):
            ndim = 2
        elif type(part) not in (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d):
            return None
    return None
