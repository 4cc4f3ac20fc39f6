"""Train a classifier, and ask it for its predictions.

All training of one network at a time is one loop, :func:`optimize`. Two others stay apart: :mod:`modutils.stacked`
takes one step for many networks, each with its own rate and penalties, and :mod:`modutils.sculpting` trains networks of
which little is left by a compiled loop. Both are many times faster than autograd, which is why they were written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as reparametrised
from tqdm import tqdm

from modutils import _storage

SCHEDULES = ("cosine", "constant")


class Execution(NamedTuple):
    """How a training is carried out, which is no part of the method; shared by all functions that train.

    ``device`` does the work (default: the one where the weights are); what is trained comes back to where it was.
    ``checkpoint`` is a file that is written after every ``checkpoint_every`` epochs, or steps of
    :func:`modutils.sculpting.sculpt`, and removed at the end. If it exists, the training goes on from it and gives bit
    for bit what it would have given undisturbed. One of another call is refused with a ValueError; one that is damaged
    is passed over with a line on stderr. ``progress`` shows a progress bar on stderr.
    """

    device: str | torch.device | None = None
    checkpoint: Path | None = None
    checkpoint_every: int = 1
    progress: bool = False


HERE = Execution()  # where the weights are, and at one go


class History(NamedTuple):
    """What a training saw: one mean loss (cross-entropy without penalties, nats per image) per epoch."""

    losses: list[float]


class Hooks(NamedTuple):
    """What a training does beside descending the cross-entropy.

    ``penalty`` is called in every step after the network and gives what to add to the loss, in nats; ``after_step`` is
    called with the number of steps taken. ``tensors`` are what they remember, and ``settings`` what else they depend
    on: a checkpoint holds the former and is refused where the latter differ.
    """

    penalty: Callable[[], Tensor] | None = None
    after_step: Callable[[int], None] | None = None
    tensors: Sequence[Tensor] = ()
    settings: Mapping[str, Any] = {}


PLAIN = Hooks()


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let numbers too small to be normal count as 0 meanwhile, in this thread: CPUs are many times slower on them."""
    tiny = torch.tensor([math.ulp(0.0)], dtype=torch.float64)
    before = not bool((tiny * 1).any())  # torch has no function that tells
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def optimize(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int,
    batch_size: int = 128,
    seed: int | None = 0,
    hooks: Hooks = PLAIN,
    execution: Execution = HERE,
) -> History:
    """Train ``model`` in place on the cross-entropy with any optimizer; leave it in evaluation mode.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (batch, …) to logits (batch, classes).
    images : Tensor
        (N, …), as the model takes them.
    labels : Tensor
        (N,), int64.
    optimizer : torch.optim.Optimizer
        Fresh, of parameters of the model.
    epochs : int
        Passes over the images, each in a new random order; 0 leaves the weights as they are.
    batch_size : int
        Images per step; the last batch of an epoch may be smaller.
    seed : int, optional
        Fixes the order of the images and the dropout masks, and leaves the global random state as it was. None goes
        on with the global random state.
    hooks : Hooks
        A penalty, and what to do after every step.
    execution : Execution

    Raises
    ------
    ValueError
        Lengths differ, a number out of range, a loss that is no longer finite, or a checkpoint of another call.
    """
    if len(images) != len(labels):
        raise ValueError(f"images and labels differ in length: {len(images)} and {len(labels)}")
    if epochs < 0 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: need at least 0 and at least 1")
    home = next(model.parameters()).device
    device = torch.device(execution.device or home)
    call = {
        "function": "modutils.training.optimize",
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "optimizer": {"name": type(optimizer).__name__, **optimizer.defaults},
        "settings": hooks.settings,
        "starting weights": model.state_dict(),
        "images": images,
        "labels": labels,
    }
    checkpoint = _storage.Checkpoint(execution.checkpoint, execution.checkpoint_every, call)
    model.to(device).train()
    images, labels = images.to(device), labels.to(device)
    for tensor in hooks.tensors:
        tensor.data = tensor.data.to(device)
    on_gpu = [device] if device.type == "cuda" else []
    losses: list[float] = []
    step = 0
    # Weights that decay towards zero become denormal numbers.
    with flushed_denormals(), torch.random.fork_rng(devices=on_gpu, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        if (state := checkpoint.load()) is not None:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            for tensor, saved in zip(hooks.tensors, state["tensors"], strict=True):
                tensor.copy_(saved)
            losses, step = state["losses"], state["step"]
            torch.set_rng_state(state["random"])
            for own, saved in zip(on_gpu, state["random_on_gpu"], strict=False):
                torch.cuda.set_rng_state(saved, own)
        epochs_left = range(len(losses), epochs)
        bar = tqdm(epochs_left, "training", epochs, unit="epoch", initial=len(losses), disable=not execution.progress)
        for _ in bar:
            total = torch.zeros((), device=device)
            for rows in torch.randperm(len(images)).to(device).split(batch_size):
                loss = functional.cross_entropy(model(images[rows]), labels[rows])
                total += loss.detach() * len(rows)
                if hooks.penalty is not None:
                    loss = loss + hooks.penalty()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                step += 1
                if hooks.after_step is not None:
                    hooks.after_step(step)
            losses.append(float(total) / len(images))
            if not math.isfinite(losses[-1]):
                raise ValueError(
                    f"the loss is {losses[-1]} after epoch {len(losses)}; "
                    f"lower learning_rate={optimizer.defaults['lr']}"
                )
            if checkpoint.due(len(losses)):
                checkpoint.save(
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "tensors": hooks.tensors,
                        "losses": losses,
                        "step": step,
                        "random": torch.get_rng_state(),
                        "random_on_gpu": [torch.cuda.get_rng_state(own) for own in on_gpu],
                    }
                )
    checkpoint.remove()
    model.to(home).eval()
    return History(losses)


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: str = "cosine",
    weight_decay: float = 0.0,
    seed: int = 0,
    execution: Execution = HERE,
) -> History:
    """Train ``model`` in place with Adam on the cross-entropy; leave it in evaluation mode.

    Parameters
    ----------
    model, images, labels, epochs, batch_size, seed, execution
        As for :func:`optimize`.
    learning_rate : float
        Adam's rate at the first step.
    schedule : {"cosine", "constant"}
        ``cosine`` lowers the rate to 0 along half a cosine over all steps.
    weight_decay : float
        Adam's ``weight_decay`` (an L2 penalty that goes through Adam's scaling).

    Raises
    ------
    ValueError
        As for :func:`optimize`, or an unknown schedule.
    """
    _check_rates(learning_rate=learning_rate, weight_decay=weight_decay)
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}")
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay)

    def lower(step: int) -> None:
        total_steps = epochs * math.ceil(len(images) / batch_size)
        optimizer.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / total_steps))

    hooks = Hooks(after_step=lower if schedule == "cosine" else None, settings={"schedule": schedule})
    return optimize(
        model, images, labels, optimizer,
        epochs=epochs, batch_size=batch_size, seed=seed, hooks=hooks, execution=execution,
    )  # fmt: skip


def prune(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    sparsity: float = 0.9,
    start: float = 0.5,
    every: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    l1: float = 0.0,
    seed: int = 0,
    execution: Execution = HERE,
) -> History:
    """Train ``model`` on while its smallest weights are set to zero, layer by layer; in place, then evaluation mode.

    Magnitude pruning along a cubic schedule (Zhu & Gupta 2017, equation 1): after step t of T the share of zeros in the
    weights of every linear and convolutional layer is sparsity + (start − sparsity)(1 − t / T)³, rounded to a number of
    weights. A weight that was set to zero stays zero; of weights of equal size the first in the layer go first. Biases
    are left alone. For a network some of whose weights are zero before, see :func:`prune_further`.

    Parameters
    ----------
    model, images, labels, batch_size, seed, execution
        As for :func:`optimize`.
    epochs : int
        Passes over the images, at least 1.
    sparsity, start : float
        Share of zeros at the end and at the first step, 0 ≤ start ≤ sparsity < 1.
    every : int
        Steps between two prunings, at least 1; the last step prunes too.
    learning_rate : float
        Adam's rate, which is constant.
    l1 : float
        Penalty ``l1 Σ|W|`` on the weights of these layers, in nats.

    Raises
    ------
    ValueError
        As for :func:`optimize`, or nothing to prune.
    """
    _check_rates(learning_rate=learning_rate, l1=l1)
    if epochs < 1 or every < 1:
        raise ValueError(f"epochs={epochs}, every={every}: need at least 1 of each")
    if not 0 <= start <= sparsity < 1:
        raise ValueError(f"start={start}, sparsity={sparsity}: need 0 ≤ start ≤ sparsity < 1")
    weights = [part.weight for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    if not weights:
        raise ValueError("model has no linear or convolutional layer, so there is nothing to prune")
    masks = [torch.ones_like(weight, requires_grad=False) for weight in weights]

    def penalty() -> Tensor:
        return l1 * torch.stack([weight.abs().sum() for weight in weights]).sum()

    @torch.no_grad()
    def after_step(step: int) -> None:
        total_steps = epochs * math.ceil(len(images) / batch_size)
        if step % every == 0 or step == total_steps:
            share = sparsity + (start - sparsity) * (1 - step / total_steps) ** 3
            for weight, mask in zip(weights, masks, strict=True):
                smallest = (weight * mask).abs().flatten().argsort(stable=True)[: round(share * weight.numel())]
                mask.view(-1)[smallest] = 0
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask)

    hooks = Hooks(
        penalty if l1 else None,
        after_step,
        masks,
        {"sparsity": sparsity, "start": start, "every": every, "l1": l1},
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    return optimize(
        model, images, labels, optimizer,
        epochs=epochs, batch_size=batch_size, seed=seed, hooks=hooks, execution=execution,
    )  # fmt: skip


def prune_further(model: nn.Module, images: Tensor, labels: Tensor, **options: Any) -> list[np.ndarray]:
    """Prune a network some of whose weights are zero already, such as one with masks of `torch.nn.utils.prune`.

    It is :func:`prune`, but what is zero at the start stays zero and counts as pruned. Layers whose weights are masked
    by `torch.nn.utils.prune` come out so, with the new masks.

    Parameters
    ----------
    model, images, labels, options
        As for :func:`prune`.

    Returns
    -------
    list of ndarray of bool
        Where the weights of each linear and convolutional layer differ from zero, in the order of the layers and of the
        shape of their weights. Those of linear layers are what `modutils.hierarchy` takes.

    Raises
    ------
    ValueError
        As for :func:`prune`.

    Examples
    --------
    >>> net = nn.Linear(4, 2)
    >>> _ = reparametrised.custom_from_mask(net, "weight", torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]))
    >>> masks = prune_further(net, torch.rand(20, 4), torch.arange(20) % 2, epochs=1, sparsity=0.75)
    >>> int(masks[0].sum()), bool(masks[0][0, 2:].any())
    (2, False)
    """
    layers = [part for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    masked = [layer for layer in layers if hasattr(layer, "weight_mask")]
    for layer in masked:
        reparametrised.remove(layer, "weight")
    # Without a gradient Adam leaves a weight where it is.
    kept = [(layer.weight, layer.weight.detach() != 0) for layer in layers]
    hooks = [weight.register_hook(lambda slope, mask=mask: slope * mask.to(slope)) for weight, mask in kept]
    try:
        prune(model, images, labels, **options)
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        found = [layer.weight != 0 for layer in layers]
        for layer, mask in zip(layers, found, strict=True):
            if layer in masked:
                reparametrised.custom_from_mask(layer, "weight", mask)
    return [mask.cpu().numpy() for mask in found]


def _check_rates(*, learning_rate: float, **others: float) -> None:
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate={learning_rate} must be above 0 and finite")
    for name, value in others.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value} must be at least 0 and finite")


def predict(model: nn.Module, images: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Logits of ``model`` for ``images``: (N, classes), on the CPU; the model's mode is left as it is."""
    device = next(model.parameters()).device
    with torch.no_grad():
        return torch.cat([model(batch.to(device)).cpu() for batch in images.split(batch_size)])


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of ``images`` in [0, 1] whose largest logit is that of their label; ties go to the lowest class."""
    return float((predict(model, images).argmax(1) == labels).double().mean())
