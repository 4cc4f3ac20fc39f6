"""Where arrays lie: numpy arrays and CPU tensors are computed by numpy, tensors of an accelerator where they are.

What comes in decides what goes out. A function first asks `on_device`; if not, it takes `host` (no copy of a CPU
tensor), computes, and gives the result back by `like`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def on_device(*given: Any) -> bool:
    """Whether one of these is a tensor of an accelerator, so that no matrix may be copied to the host."""
    return any(isinstance(one, Tensor) and one.device.type != "cpu" for one in given)


def host(given: Any) -> np.ndarray:
    """As a numpy array: the same memory for a CPU tensor, a copy for one of an accelerator."""
    if not isinstance(given, Tensor):
        return np.asarray(given)
    given = given.detach().cpu()
    return (given.float() if given.dtype == torch.bfloat16 else given).numpy()  # numpy has no bfloat16


def like(result: Any, *given: Any) -> Any:
    """The result beside the first tensor among what was given; as it is where there is none."""
    beside = next((one for one in given if isinstance(one, Tensor)), None)
    if beside is None or isinstance(result, Tensor):
        return result
    return torch.as_tensor(np.require(result, requirements="C"), device=beside.device)  # no negative strides


def placed(given: Any, *others: Any) -> Any:
    """As a float64 tensor beside the first tensor on an accelerator, itself included."""
    beside = next((one for one in (given, *others) if on_device(one)), given)
    given = given.detach() if isinstance(given, Tensor) else np.require(given, requirements="C")
    return torch.as_tensor(given, dtype=torch.float64, device=beside.device)


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 along the last axis, ties their mean, in float64: what `scipy.stats.rankdata` gives."""
    values = values.contiguous()
    ordered = values.sort(-1).values
    below, with_ties = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + with_ties + 1).double() / 2
