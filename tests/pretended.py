"""An accelerator that is not there: CPU tensors that say ``cuda`` and may not meet others or be copied to the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

PRETENDED = torch.device("cuda", 0)
_TO_PYTHON = (Tensor.item, Tensor.tolist, Tensor.__float__, Tensor.__int__, Tensor.__bool__, Tensor.__index__)


class Pretended(Tensor):
    """A tensor of the accelerator."""


class _Guard(TorchFunctionMode):
    """What torch itself would refuse on an accelerator, and any copy of a matrix to the host."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [*args, *(kwargs or {}).values()]
        tensors = list(_tensors(given))
        inside = any(isinstance(one, Pretended) for one in tensors)
        if func == Tensor.device.__get__:
            return PRETENDED if inside else torch.device("cpu")
        if func in (Tensor.numpy, Tensor.__array__) and inside:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func is Tensor.cpu or (func in _TO_PYTHON and inside):
            if inside and tensors[0].is_floating_point() and tensors[0].ndim > 1:  # labels may be copied
                raise AssertionError(f"a matrix {tuple(tensors[0].shape)} is copied to the host")
            return func(tensors[0].as_subclass(Tensor))
        moved = any(isinstance(one, torch.device) and one.type != "cpu" for one in given)
        if inside and not moved and any(one.ndim and not isinstance(one, Pretended) for one in tensors):
            raise RuntimeError(f"{func.__name__} gets tensors of two devices")
        cpu = torch.device("cpu")
        args = [cpu if isinstance(one, torch.device) else one for one in args]
        kwargs = {name: cpu if isinstance(one, torch.device) else one for name, one in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        return result.clone().as_subclass(Pretended) if moved else result


@contextmanager
def accelerator() -> Iterator[Callable[[Any], Any]]:
    """Gives a function that puts an array on the accelerator while the guard stands."""
    draws = mock.patch.object(torch.cuda, "get_rng_state", return_value=torch.get_rng_state())
    with draws, _Guard():
        yield lambda array: torch.as_tensor(array, device=PRETENDED)


def _tensors(given: Any) -> Iterator[Tensor]:
    for one in given:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, list | tuple):
            yield from _tensors(one)
