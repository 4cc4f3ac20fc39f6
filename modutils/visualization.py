"""Images that drive a set of units as far as they go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from modutils import _check
from modutils.units import UNITS, Output, find, like, logits_of, probe, run, split, undisturbed, unit_values

__all__ = ["Visualization", "feature_visualization"]


class Visualization(NamedTuple):
    """One image for each set of units: see `feature_visualization`.

    ``images`` (sets, channels, height, width) in (0, 1); ``scores`` (sets,): sum over the units of a set of their mean
    size; ``logits`` (sets, classes) of the network for the image.
    """

    images: Tensor
    scores: np.ndarray
    logits: Tensor


@undisturbed
@torch.enable_grad()
def feature_visualization(
    model: nn.Module,
    layer: nn.Module | str,
    unit_sets: Sequence[Any],
    shape: Sequence[int],
    *,
    units: str = "channel",
    before: bool = False,
    steps: int = 65,
    learning_rate: float = 0.05,
    deviation: float = 0.01,
    output: Output | None = None,
    batch_size: int = 512,
    seed: int = 0,
) -> Visualization:
    """For each set of units, an image that drives all of them far from 0.

    The image is a sigmoid of a Fourier series whose coefficients are scaled by 1/frequency, and Adam climbs the sum
    over the units of the size of the value, its mean over space for a channel. These are the defaults of Lucid without
    its random transformations (Olah, Mordvintsev & Schubert 2017). Adam works coefficient by coefficient, so many
    images in one optimisation come out as each would alone; all start from one draw of noise.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; maps (N, channels, height, width) to (N, classes).
    layer : nn.Module or str
        Submodule of the model or its dotted name, that runs once. Where the model is a chain
        (`torch.nn.Sequential`) nothing above it runs.
    unit_sets : sequence of arrays of int
        Units of each set, none empty.
    shape : sequence of int
        Channels, height and width of the images.
    units : {"channel", "element"}
        What the numbers mean, see `modutils.units`.
    before : bool
        Drive what the layer is given instead of what it gives: of an activation function, the values before it.
    steps, learning_rate : int, float
        Of Adam; the score is that after the last step.
    deviation : float
        Standard deviation of the coefficients at the start.
    output : callable, optional
        Picks the logits (N, classes) from what the model returns. Default: all that it returns.
    batch_size : int
        Images in one optimisation.
    seed : int
        Of the noise at the start.

    Raises
    ------
    ValueError
        An unknown layer, a model in training mode, no sets, an empty set, a unit out of range, or steps below 0.
    """
    module = find(model, layer)
    _check.choice("units", units, UNITS)
    if not len(unit_sets) or steps < 0 or batch_size < 1:
        raise ValueError(f"{len(unit_sets)} sets, steps={steps}, batch_size={batch_size}: need at least 1, 0 and 1")
    channels, height, width = shape
    to = like(model, torch.empty(0))
    parts = split(model, module)
    below = None if parts is None else nn.Sequential(*parts[0][: -1 if before else None])

    def values(images: Tensor) -> Tensor:
        """(N, units), differentiable."""
        value = run(model, module, images, before=before)[0] if below is None else below(images)
        return unit_values(value, units)

    with torch.no_grad():
        value, given = probe(model, module, to.new_zeros(1, *shape), before=before)
        number = unit_values(value, units).shape[1]
        logits_of(given, output, 1)  # refuses others now, not after the last step
    masks = to.new_zeros(len(unit_sets), number)
    for mask, members in zip(masks, unit_sets, strict=True):
        if not len(members):
            raise ValueError(f"unit_sets has an empty set; each needs units in 0 ... {number - 1}")
        mask[torch.as_tensor(_check.unit_set(members, number), device=to.device)] = 1
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    scale = ((height * width) ** 0.5 / frequency.clamp(min=1 / max(height, width))).to(to)
    noise = torch.randn(channels, *scale.shape, 2, generator=torch.Generator().manual_seed(seed)).to(to) * deviation

    def image(coefficients: Tensor) -> Tensor:
        # Lucid divides by 4, "a magic number".
        return (torch.fft.irfft2(scale * torch.view_as_complex(coefficients), s=(height, width)) / 4).sigmoid()

    images, scores, logits = [], [], []
    frozen = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        for mask in masks.split(batch_size):
            coefficients = noise.expand(len(mask), *noise.shape).clone().requires_grad_()
            optimizer = torch.optim.Adam([coefficients], lr=learning_rate, fused=True)
            for _ in range(steps):
                optimizer.zero_grad(set_to_none=True)
                (-(values(image(coefficients)).abs() * mask).sum()).backward()
                optimizer.step()
            with torch.no_grad():
                final = image(coefficients)
                images.append(final.cpu())
                scores.append((values(final).abs() * mask).sum(dim=1).cpu().numpy())
                logits.append(logits_of(model(final), output, len(final)).cpu())
    finally:
        for parameter, flag in zip(model.parameters(), frozen, strict=True):
            parameter.requires_grad_(flag)
    return Visualization(torch.cat(images), np.concatenate(scores), torch.cat(logits))
