"""Arguments that several functions take, checked in one place.

Each raises a ValueError that names the argument, its value and what would do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor


def choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """One of a few words."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(allowed)}")


def count(name: str, value: Any, low: int, high: int | None = None) -> None:
    """A whole number in low … high."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        allowed = f"{low} or more" if high is None else f"{low} ... {high}"
        raise ValueError(f"{name}={value!r}; an integer, {allowed}, is needed")


def labels(name: str, given: Any, length: int | None = None, *, low: int = -1, high: int | None = None) -> np.ndarray:
    """Integers (length,) in low … high, as int64; by default −1 = unassigned and modules from 0 on."""
    array = np.asarray(given.cpu() if isinstance(given, Tensor) else given)
    if array.ndim != 1 or length not in (None, len(array)) or not np.issubdtype(array.dtype, np.integer):
        shape = f"({'n' if length is None else length},)"
        raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}; needed are integers of shape {shape}")
    if array.size and (array.min() < low or (high is not None and array.max() > high)):
        allowed = f"{low} or more" if high is None else f"{low} ... {high}"
        raise ValueError(f"{name} goes from {array.min()} to {array.max()}; {allowed} is allowed")
    return array.astype(np.int64)


def unit_set(given: Any, units: int) -> np.ndarray:
    """Numbers of units in 0 … units − 1, none twice, as int64; possibly none."""
    array = np.asarray(given)
    if not array.size:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"units {given!r} must be a list of unit numbers")
    if array.min() < 0 or array.max() >= units:
        raise ValueError(f"units {array.min()} ... {array.max()} are named; the layer has 0 ... {units - 1}")
    if len(np.unique(array)) < len(array):
        raise ValueError(f"units {given!r} name a unit more than once")
    return array.astype(np.int64)


def renumbered(labels: np.ndarray) -> np.ndarray:
    """0, 1, ... in the order of first appearance; −1 stays."""
    names, first, modules = np.unique(labels, return_index=True, return_inverse=True)
    first[names < 0] = len(labels)  # last, so that the others count from 0
    return np.where(labels < 0, -1, np.argsort(np.argsort(first))[modules])


def binary(name: str, given: Any) -> np.ndarray:
    """A matrix of 0 and 1, as bool, without an empty axis."""
    array = np.asarray(given)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; two dimensions with one unit or more each are needed")
    wrong = ~((array == 0) | (array == 1))  # NaN is neither
    if wrong.any():
        i, j = np.argwhere(wrong)[0].tolist()
        raise ValueError(f"{name}[{i}, {j}] = {array[i, j]}; 0 and 1 alone are allowed, such as weights != 0")
    return array == 1


def masks(given: Sequence[Any]) -> list[np.ndarray]:
    """One matrix (out, in) of 0 and 1 for each layer of weights, as bool, that follow on one another."""
    layers = [binary(f"masks[{place}]", mask) for place, mask in enumerate(given)]
    if not layers:
        raise ValueError("masks is empty; one array (out, in) per layer of weights is needed")
    for place, (before, after) in enumerate(pairwise(layers)):
        if after.shape[1] != len(before):
            raise ValueError(
                f"masks[{place}] has shape {before.shape} and masks[{place + 1}] {after.shape}; with (out, in) the "
                f"latter needs {len(before)} columns"
            )
    return layers


def tensor(given: Any) -> Any:
    """A numpy array, of any strides, as a tensor; anything else as it is."""
    return torch.from_numpy(np.require(given, requirements=["C", "W"])) if isinstance(given, np.ndarray) else given


def samples(name: str, given: Any, *, integers: bool = False) -> Tensor:
    """A floating point tensor (N, ...) of finite numbers, not empty, of a tensor or array; with `integers` also ids."""
    given = tensor(given)
    if not isinstance(given, Tensor):
        raise ValueError(
            f"{name} is {type(given).__name__}; give a floating point tensor (a model of several inputs can be wrapped "
            "in a module that takes one)"
        )
    if given.is_complex() or not (given.is_floating_point() or integers):
        raise ValueError(
            f"{name} is {given.dtype}; give a floating point tensor (there are no gradients with respect to token ids: "
            "give the embedded tokens to what follows the embedding)"
        )
    if given.ndim < 2 or not given.numel():
        raise ValueError(f"{name} has shape {tuple(given.shape)}; (N, ...) with at least one sample is needed")
    if given.is_floating_point() and not finite(given):
        wrong = ~given.flatten(1).isfinite().all(1)
        raise ValueError(f"{name} has NaN or infinite entries in sample {int(wrong.int().argmax())}")
    return given


def finite(values: Tensor) -> bool:
    """Whether no entry is NaN or infinite, in a fifth of the time of `torch.isfinite` on all."""
    return bool(torch.isfinite(torch.stack(torch.aminmax(values.detach()))).all())
