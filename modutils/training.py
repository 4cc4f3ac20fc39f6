"""Train a classifier, and ask it for its predictions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

SCHEDULES = ("cosine", "constant")


class History(NamedTuple):
    """What :func:`train` saw: one mean training loss (nats per image) per epoch."""

    losses: list[float]


def train(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: str = "cosine",
    weight_decay: float = 0.0,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """Train ``model`` in place with Adam on the cross-entropy; leave it in evaluation mode.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (batch, …) to logits (batch, classes); trained on the device its parameters are on.
    images : torch.Tensor
        (N, …), as the model takes them.
    labels : torch.Tensor
        (N,), int64.
    epochs : int
        Passes over the images, each in a new random order; 0 leaves the weights as they are.
    batch_size : int
        Images per step; the last batch of an epoch may be smaller.
    learning_rate : float
        Adam's rate at the first step.
    schedule : {"cosine", "constant"}
        ``cosine`` lowers the rate to 0 along half a cosine over all steps.
    weight_decay : float
        Adam's ``weight_decay`` (an L2 penalty that goes through Adam's scaling).
    seed : int
        Fixes the order of the images and the dropout masks. The global random state is left as it was.
    progress : bool
        Show a progress bar on stderr.

    Raises
    ------
    ValueError
        Lengths differ, a number out of range, an unknown schedule, or a loss that is no longer finite.
    """
    if len(images) != len(labels):
        raise ValueError(f"images and labels differ in length: {len(images)} and {len(labels)}")
    if epochs < 0 or batch_size < 1 or learning_rate <= 0:
        raise ValueError(
            f"epochs={epochs}, batch_size={batch_size}, learning_rate={learning_rate}: "
            "need at least 0, at least 1 and above 0"
        )
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}")
    device = next(model.parameters()).device
    images, labels = images.to(device), labels.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    total_steps = epochs * math.ceil(len(images) / batch_size)
    losses: list[float] = []
    model.train()
    # Weights that decay towards zero become denormal numbers, on which CPUs are many times slower.
    torch.set_flush_denormal(True)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        step = 0
        for _ in tqdm(range(epochs), desc="training", unit="epoch", disable=not progress):
            total = torch.zeros((), device=device)
            for batch in torch.randperm(len(images)).split(batch_size):
                if schedule == "cosine":
                    rate = learning_rate * 0.5 * (1 + math.cos(math.pi * step / total_steps))
                    optimizer.param_groups[0]["lr"] = rate
                rows = batch.to(device)
                loss = functional.cross_entropy(model(images[rows]), labels[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(batch)
                step += 1
            losses.append(float(total) / len(images))
            if not math.isfinite(losses[-1]):
                raise ValueError(
                    f"the loss is {losses[-1]} after epoch {len(losses)}; lower learning_rate={learning_rate}"
                )
    model.eval()
    return History(losses)


def prune(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
    sparsity: float = 0.9,
    start: float = 0.5,
    every: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    l1: float = 0.0,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """Train ``model`` on while its smallest weights are set to zero, layer by layer; in place, then evaluation mode.

    Magnitude pruning along a cubic schedule (Zhu & Gupta 2017, equation 1): after step t of T the share of zeros in the
    weights of every linear and convolutional layer is sparsity + (start − sparsity)(1 − t / T)³. A weight that is zero
    stays zero. Biases are left alone.

    Parameters
    ----------
    model, images, labels, batch_size, learning_rate, seed, progress
        As for :func:`train`; the rate is constant.
    epochs : int
        Passes over the images, at least 1.
    sparsity, start : float
        Share of zeros at the end and at the first step, 0 ≤ start ≤ sparsity < 1.
    every : int
        Steps between two prunings, at least 1; the last step prunes too.
    l1 : float
        Penalty ``l1 Σ|W|`` on the weights of these layers, in nats.

    Raises
    ------
    ValueError
        Lengths differ, a number out of range, nothing to prune, or a loss that is no longer finite.
    """
    if len(images) != len(labels):
        raise ValueError(f"images and labels differ in length: {len(images)} and {len(labels)}")
    if epochs < 1 or every < 1 or batch_size < 1 or learning_rate <= 0 or l1 < 0:
        raise ValueError(
            f"epochs={epochs}, every={every}, batch_size={batch_size}, learning_rate={learning_rate}, l1={l1}: "
            "need at least 1, 1 and 1, above 0, and at least 0"
        )
    if not 0 <= start <= sparsity < 1:
        raise ValueError(f"start={start}, sparsity={sparsity}: need 0 ≤ start ≤ sparsity < 1")
    weights = [part.weight for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    if not weights:
        raise ValueError("model has no linear or convolutional layer, so there is nothing to prune")
    device = weights[0].device
    images, labels = images.to(device), labels.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    masks = [torch.ones_like(weight) for weight in weights]
    total_steps = epochs * math.ceil(len(images) / batch_size)
    losses: list[float] = []
    model.train()
    torch.set_flush_denormal(True)  # as in `train`
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        step = 0
        for _ in tqdm(range(epochs), desc="pruning", unit="epoch", disable=not progress):
            total = torch.zeros((), device=device)
            for rows in torch.randperm(len(images)).to(device).split(batch_size):
                loss = functional.cross_entropy(model(images[rows]), labels[rows])
                total += loss.detach() * len(rows)
                if l1:
                    loss = loss + l1 * torch.stack([weight.abs().sum() for weight in weights]).sum()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                step += 1
                with torch.no_grad():
                    if step % every == 0 or step == total_steps:
                        share = sparsity + (start - sparsity) * (1 - step / total_steps) ** 3
                        for weight, mask in zip(weights, masks, strict=True):
                            size = (weight * mask).abs()
                            if zeros := round(share * weight.numel()):
                                mask.mul_(size > size.flatten().kthvalue(zeros).values)
                    for weight, mask in zip(weights, masks, strict=True):
                        weight.mul_(mask)
            losses.append(float(total) / len(images))
            if not math.isfinite(losses[-1]):
                raise ValueError(
                    f"the loss is {losses[-1]} after epoch {len(losses)}; lower learning_rate={learning_rate}"
                )
    model.eval()
    return History(losses)


def predict(model: nn.Module, images: torch.Tensor, *, batch_size: int = 1000) -> torch.Tensor:
    """Logits of ``model`` for ``images``: (N, classes), on the CPU; the model's mode is left as it is."""
    device = next(model.parameters()).device
    with torch.no_grad():
        return torch.cat([model(batch.to(device)).cpu() for batch in images.split(batch_size)])


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of ``images`` in [0, 1] whose largest logit is that of their label; ties go to the lowest class."""
    return float((predict(model, images).argmax(1) == labels).double().mean())
