"""Many small ReLU networks of one shape, trained at once; each gets exactly what it would get alone.

The networks of a *run* share their seed: the draw of their first weights, the split into training and validation
images, the order of the images, and the noise behind their dropout masks. They differ in how they are regularised. So
the first layer of all of them is one matrix product, and a comparison between settings is paired by run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from modutils import _storage, networks
from modutils.training import HERE, Execution, flushed_denormals

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults (Kingma & Ba 2015)
# Elements of a parameter that are updated together: what Adam touches for them stays in a core's cache.
_CHUNK = 65_536
# With patience: bad epochs in a row before a rate is reduced, and the factor.
REDUCE_AFTER, REDUCE_BY = 3, 0.25


class Stack(NamedTuple):
    """Parameters of m networks: per layer ``weights`` (m, outputs, inputs) and ``biases`` (m, outputs)."""

    weights: list[Tensor]
    biases: list[Tensor]

    def __len__(self) -> int:
        """Number of networks, not of fields."""
        return len(self.weights[0])


class Trained(NamedTuple):
    """What :func:`train` returns, for m networks and e epochs.

    ``stack`` holds the last checkpoint, or with ``patience`` that of the lowest validation loss. ``losses`` and,
    with ``patience``, ``validation_losses`` are (e, m) float64: the cross-entropy in nats per image without penalties,
    NaN once a network has stopped. ``epochs`` (m,) counts epochs trained, ``best_epochs`` (m,) those of the checkpoint
    that was kept, ``diverged`` (m,) says which networks were given up because their loss was no longer finite (their
    checkpoint is the last one before). ``snapshots`` maps the epochs asked for to copies of the parameters.
    """

    stack: Stack
    losses: Tensor
    validation_losses: Tensor | None
    epochs: Tensor
    best_epochs: Tensor
    diverged: Tensor
    snapshots: dict[int, Stack]


def initialize(sizes: Sequence[int], *, seeds: Sequence[int], copies: int = 1) -> Stack:
    """Fresh networks: for every seed ``copies`` identical ones, initialised as :func:`modutils.networks.mlp` does.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, units of each hidden layer, outputs.
    seeds : sequence of int
        One per run; network ``i`` belongs to run ``i // copies``.
    copies : int
        Networks per run, at least 1.

    Raises
    ------
    ValueError
        No seed, ``copies`` below 1, or sizes that :func:`modutils.networks.mlp` refuses.

    Examples
    --------
    >>> stack = initialize([784, 64, 64, 10], seeds=[0, 1], copies=30)
    >>> len(stack), tuple(stack.weights[0].shape)
    (60, (60, 64, 784))
    """
    if not len(seeds) or copies < 1:
        raise ValueError(f"seeds={list(seeds)}, copies={copies}: at least one of each is needed")
    models = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            models.append(networks.mlp(sizes))
    layers = [[layer for layer in model if isinstance(layer, nn.Linear)] for model in models]

    def stacked(tensors: list[Tensor]) -> Tensor:
        return torch.stack(tensors).detach().repeat_interleave(copies, dim=0)

    return Stack(
        [stacked([layer.weight for layer in group]) for group in zip(*layers, strict=True)],
        [stacked([layer.bias for layer in group]) for group in zip(*layers, strict=True)],
    )


def network(stack: Stack, index: int, *, dropout: float = 0.0) -> nn.Sequential:
    """One network of the stack as :func:`modutils.networks.mlp` builds it, in evaluation mode."""
    sizes = [stack.weights[0].shape[2], *(weight.shape[1] for weight in stack.weights)]
    with torch.random.fork_rng(devices=[]):  # first weights are drawn in vain
        model = networks.mlp(sizes, dropout=dropout).to(stack.weights[0])
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, stack.weights, stack.biases, strict=True):
            layer.weight.copy_(weight[index])
            layer.bias.copy_(bias[index])
    return model.eval()


def take(stack: Stack, index: slice | Tensor) -> Stack:
    """Some networks of the stack, as a copy."""
    return Stack([w[index].clone() for w in stack.weights], [b[index].clone() for b in stack.biases])


def split(n: int, validation: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows that a run trains on and rows it holds out for validation, in random order; they depend on these alone."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[validation:], order[:validation]


@torch.no_grad()
def predict(stack: Stack, images: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Logits of every network for the same images: (m, N, classes), on the CPU.

    Parameters
    ----------
    stack : Stack
        m networks.
    images : Tensor
        (N, …); all but the first axis are flattened.
    """
    device = stack.weights[0].device
    batches = images.flatten(1).to(stack.weights[0].dtype).split(batch_size)
    return torch.cat([_forward(stack, batch.to(device)[None])[-1].cpu() for batch in batches], dim=2).transpose(1, 2)


def _forward(stack: Stack, batch: Tensor, keep: Callable[[int, Tensor], Tensor] | None = None) -> list[Tensor]:
    """Hidden activities after dropout and logits, each (m, units, B); ``batch`` is (runs, B, inputs).

    Units come before images, so that the first layer of a whole run is one matrix product without a transposition.
    """
    runs, size, inputs = batch.shape
    weight, bias = stack.weights[0], stack.biases[0]
    z = torch.baddbmm(bias.view(runs, -1, 1), weight.view(runs, -1, inputs), batch.mT).view(len(stack), -1, size)
    outputs = []
    for layer in range(1, len(stack.weights)):
        h = z.clamp_(min=0)
        if keep is not None:
            h = keep(layer - 1, h)
        outputs.append(h)
        z = torch.baddbmm(stack.biases[layer].unsqueeze(2), stack.weights[layer], h)
    return [*outputs, z]


def train(
    stack: Stack,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    seeds: Sequence[int],
    l2: Sequence[float] | float = 0.0,
    l1: Sequence[float] | float = 0.0,
    dropout: Sequence[float] | float = 0.0,
    batch_size: int = 200,
    learning_rate: float = 1e-3,
    validation: int = 0,
    patience: int | None = None,
    snapshots: Sequence[int] = (),
    execution: Execution = HERE,
) -> Trained:
    """Train every network of a stack with Adam on cross-entropy + l1 Σ|W| + l2 ΣW² (weights only, not biases).

    The penalties are part of the loss and go through Adam, as in Lange et al. (2022): the gradient of the second is
    2 l2 W. Dropout follows every hidden activation and is inverted (kept units are scaled by 1/(1 − p)).

    Parameters
    ----------
    stack : Stack
        m networks, left as they are.
    images : Tensor
        (N, …); all but the first axis are flattened.
    labels : Tensor
        (N,), int64 classes.
    epochs : int
        Passes over the training images at most, at least 1.
    seeds : sequence of int
        One per run; network ``i`` belongs to run ``i // (m / runs)``. A seed fixes the split, the order of the images
        and the noise of dropout: networks with the same dropout drop the same units, others nested sets of units.
    l2, l1, dropout : float or sequence of float
        Per network or for all; dropout in [0, 1).
    batch_size : int
        Images per step; the last batch of an epoch may be smaller.
    learning_rate : float
        Adam's rate, per network reduced with ``patience``.
    validation : int
        Images drawn by every run that it does not train on.
    patience : int, optional
        Without it every network trains for all ``epochs`` at a constant rate. With it a network stops after so many
        epochs in a row without a lower validation loss, its rate is multiplied by `REDUCE_BY` after every
        `REDUCE_AFTER` such epochs, and the checkpoint of its lowest validation loss is kept.
    snapshots : sequence of int
        Epochs after which to copy the parameters.
    execution : Execution
        A checkpoint also serves on another device.

    Raises
    ------
    ValueError
        Shapes that do not fit together, a number out of range, labels that are no class, NaN among the images, or a
        checkpoint of another call.
    """
    runs = len(seeds)
    home = stack.weights[0].device
    stack = _to(stack, torch.device(execution.device or home))
    x, y, settings = _checked(
        stack, images, labels, runs, epochs, batch_size, learning_rate, validation, patience, (l2, l1, dropout)
    )
    checkpoint = _storage.Checkpoint(
        execution.checkpoint,
        execution.checkpoint_every,
        {
            "function": "modutils.stacked.train",
            "epochs": epochs,
            "seeds": seeds,
            "l2, l1, dropout": settings,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "validation": validation,
            "patience": patience,
            "snapshots": snapshots,
            "starting weights": stack,
            "images": x,
            "labels": y,
        },
    )
    splits = [split(len(x), validation, seed) for seed in seeds]
    rows, held_out = (torch.stack(part) for part in zip(*splits, strict=True))
    state = _start(stack, learning_rate)
    if (saved := checkpoint.load()) is not None:
        state = _placed(saved, stack.weights[0].device)
    bar = tqdm(total=epochs, initial=state["epoch"], desc="training", unit="epoch", disable=not execution.progress)
    # Penalised weights decay to denormal numbers.
    with flushed_denormals(), bar, torch.no_grad():
        while state["epoch"] < epochs and not state["done"].all():
            state["epoch"] += 1
            active = state["active"]
            loss = _epoch(state, x, y, rows, seeds, settings[:, active], batch_size)
            finite = torch.isfinite(loss)
            state["losses"].append(_spread(loss, state))
            lower = finite
            if patience is not None:
                loss = _validation_loss(_stack(state["parameters"]), x, y, held_out)
                state["validation_losses"].append(_spread(loss, state))
                lower = finite & (loss < state["best"][active])
                state["best"][active] = torch.where(lower, loss, state["best"][active])
            _keep(state, lower, finite, patience)
            if runs == 1:  # several runs must stay equally large, so there the stopped ones go along unused
                _compact(state)
            if state["epoch"] in snapshots:
                state["snapshots"][state["epoch"]] = [p.clone() for p in state["kept"]]
            bar.update()
            if checkpoint.due(state["epoch"]):
                checkpoint.save(state)
    checkpoint.remove()
    return Trained(
        _to(_stack(state["kept"]), home),
        torch.stack(state["losses"]),
        torch.stack(state["validation_losses"]) if patience is not None else None,
        state["epochs"],
        state["best_epochs"],
        state["diverged"],
        {epoch: _to(_stack(parameters), home) for epoch, parameters in state["snapshots"].items()},
    )


def _start(stack: Stack, learning_rate: float) -> dict[str, Any]:
    """All that changes during training; the first four entries hold the networks that are still ``active`` alone.

    Weights and their moments lie where the work is done; what is counted lies on the CPU.
    """
    m = len(stack)
    parameters = [*stack.weights, *stack.biases]
    return {
        "active": torch.arange(m),
        "parameters": [p.clone() for p in parameters],
        "first": [torch.zeros_like(p) for p in parameters],
        "second": [torch.zeros_like(p) for p in parameters],
        "epoch": 0,
        "steps": 0,
        "kept": [p.clone() for p in parameters],
        "rates": torch.full((m,), learning_rate, dtype=torch.float64),
        "best": torch.full((m,), math.inf, dtype=torch.float64),
        "bad": torch.zeros(m, dtype=torch.int64),
        "epochs": torch.zeros(m, dtype=torch.int64),
        "best_epochs": torch.zeros(m, dtype=torch.int64),
        "done": torch.zeros(m, dtype=torch.bool),
        "diverged": torch.zeros(m, dtype=torch.bool),
        "losses": [],
        "validation_losses": [],
        "snapshots": {},
    }


def _placed(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A state that comes from a file, with each tensor on the device where `_start` has it."""
    for name in ("parameters", "first", "second", "kept"):
        state[name] = [p.to(device) for p in state[name]]
    state["snapshots"] = {epoch: [p.to(device) for p in kept] for epoch, kept in state["snapshots"].items()}
    return state


def _to(stack: Stack, device: torch.device) -> Stack:
    return Stack([w.to(device) for w in stack.weights], [b.to(device) for b in stack.biases])


def _stack(parameters: list[Tensor]) -> Stack:
    half = len(parameters) // 2
    return Stack(parameters[:half], parameters[half:])


def _spread(values: Tensor, state: dict[str, Any]) -> Tensor:
    """Numbers of the active networks among all: NaN for those that have stopped."""
    found = torch.full_like(state["best"], math.nan)
    found[state["active"]] = values
    found[state["done"]] = math.nan
    return found


def _keep(state: dict[str, Any], lower: Tensor, finite: Tensor, patience: int | None) -> None:
    """Copy the checkpoints worth keeping, lower the rates that are due, and mark who stops."""
    active = state["active"]
    going = ~state["done"][active]
    lower = lower & going
    for kept, p in zip(state["kept"], state["parameters"], strict=True):
        kept[active[lower].to(p.device)] = p[lower.to(p.device)]
    state["epochs"][active[going]] = state["epoch"]
    state["best_epochs"][active[lower]] = state["epoch"]
    state["diverged"][active[going & ~finite]] = True
    bad = torch.where(lower, 0, state["bad"][active] + 1)
    state["bad"][active] = bad
    stops = ~finite
    if patience is not None:
        state["rates"][active[(bad > 0) & (bad % REDUCE_AFTER == 0)]] *= REDUCE_BY
        stops = stops | (bad >= patience)
    state["done"][active[stops]] = True


def _compact(state: dict[str, Any]) -> None:
    """Let the networks that have stopped leave the stack."""
    stay = ~state["done"][state["active"]]
    if stay.all():
        return
    state["active"] = state["active"][stay]
    for name in ("parameters", "first", "second"):
        state[name] = [p[stay.to(p.device)] for p in state[name]]


def _epoch(
    state: dict[str, Any], x: Tensor, y: Tensor, rows: Tensor, seeds: Sequence[int], settings: Tensor, batch_size: int
) -> Tensor:
    """One pass of the active networks over their training images; mean cross-entropy of each, float64 on the CPU."""
    stack = _stack(state["parameters"])
    device, dtype = stack.weights[0].device, stack.weights[0].dtype
    runs, n = rows.shape
    l2, l1, drop = settings.to(device, dtype)
    rates = state["rates"][state["active"]].to(device, dtype)
    hidden = [w.shape[1] for w in stack.weights[:-1]]
    # Drawn on the CPU, so that a network is the same on any device; anew for every epoch, so that a run can resume.
    generators = [torch.Generator().manual_seed(seed * 1_000_003 + state["epoch"]) for seed in seeds]
    shuffled = torch.stack([row[torch.randperm(n, generator=g)] for row, g in zip(rows, generators, strict=True)])
    shuffled = shuffled.to(device)
    keep_share = (1 - drop).view(runs, -1, 1, 1)
    gradients = [torch.empty_like(p) for p in state["parameters"]]
    total = torch.zeros(len(stack), dtype=torch.float64, device=device)
    for start in range(0, n, batch_size):
        batch = shuffled[:, start : start + batch_size]
        size = batch.shape[1]
        noise: list[Tensor] = []
        if bool((drop > 0).any()):
            noise = [torch.stack([torch.rand(units, size, generator=g) for g in generators]) for units in hidden]

        def keep(layer: int, h: Tensor, noise: list[Tensor] = noise, size: int = size) -> Tensor:
            if not noise:
                return h
            kept = (noise[layer].to(device)[:, None] < keep_share).to(dtype).div_(keep_share)
            return h.mul_(kept.view(len(stack), -1, size))

        images = x[batch]
        *activities, logits = _forward(stack, images, keep)
        chosen = nn.functional.one_hot(y[batch], logits.shape[1]).to(dtype).mT[:, None]
        log_p = logits.log_softmax(1).view(runs, -1, *chosen.shape[2:])
        total -= (log_p * chosen).sum((2, 3)).flatten()
        delta = log_p.exp_().sub_(chosen).div_(size).view(len(stack), -1, size)
        depth = len(stack.weights)
        for layer in range(depth - 1, -1, -1):
            torch.sum(delta, 2, out=gradients[depth + layer])
            if layer == 0:
                out = gradients[0].view(runs, -1, x.shape[1])
                torch.bmm(delta.view(runs, -1, size), images, out=out)
                break
            h = activities[layer - 1]
            torch.bmm(delta, h.mT, out=gradients[layer])
            back = torch.bmm(stack.weights[layer].mT, delta)
            if noise:
                back.div_(keep_share.view(-1, 1, 1))
            delta = back.mul_(h > 0)  # an activity after dropout is above 0 just where both let it pass
        state["steps"] += 1
        _adam(state, gradients, l2, l1, rates, depth)
    return (total / n).cpu()


def _adam(state: dict[str, Any], gradients: list[Tensor], l2: Tensor, l1: Tensor, rates: Tensor, depth: int) -> None:
    """One step of Adam with a rate and penalties per network."""
    correction1 = 1 - BETA1 ** state["steps"]
    correction2 = math.sqrt(1 - BETA2 ** state["steps"])
    lasso = l1.tolist()  # most networks have none
    groups = zip(state["parameters"], gradients, state["first"], state["second"], strict=True)
    for index, (p, g, m, v) in enumerate(groups):
        shape = (-1,) + (1,) * (p.ndim - 1)
        at_once = len(p) if p.device.type != "cpu" else max(1, _CHUNK // p[0].numel())
        for start in range(0, len(p), at_once):
            part = slice(start, start + at_once)
            w, grad, mean, square = p[part], g[part], m[part], v[part]
            if index < depth:
                grad.addcmul_(w, l2[part].view(shape), value=2)
                if any(lasso[part]):
                    grad.addcmul_(w.sign(), l1[part].view(shape))
            mean.lerp_(grad, 1 - BETA1)
            square.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
            step = square.sqrt().div_(correction2).add_(EPSILON).reciprocal_().mul_(mean)
            w.addcmul_(step, rates[part].view(shape), value=-1 / correction1)


def _validation_loss(stack: Stack, x: Tensor, y: Tensor, held_out: Tensor, batch_size: int = 1000) -> Tensor:
    """Mean cross-entropy of each network on its run's validation images, float64 on the CPU."""
    runs = len(held_out)
    total = torch.zeros(runs, len(stack) // runs, dtype=torch.float64, device=x.device)
    for batch in held_out.to(x.device).split(batch_size, dim=1):
        log_p = _forward(stack, x[batch])[-1].log_softmax(1).view(runs, len(stack) // runs, -1, batch.shape[1])
        chosen = y[batch][:, None, None].expand(-1, log_p.shape[1], -1, -1)
        total -= log_p.gather(2, chosen).sum((2, 3))
    return (total / held_out.shape[1]).flatten().cpu()


def _checked(
    stack: Stack,
    images: Tensor,
    labels: Tensor,
    runs: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    validation: int,
    patience: int | None,
    settings: tuple[Sequence[float] | float, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """Images (N, inputs) and labels where the weights are, and l2, l1 and dropout as (3, m)."""
    m = len(stack)
    device, dtype = stack.weights[0].device, stack.weights[0].dtype
    x = images.flatten(1).to(device, dtype)
    if runs < 1 or m % runs:
        raise ValueError(f"{m} networks cannot be shared equally among seeds of {runs} runs")
    if len(x) != len(labels):
        raise ValueError(f"images and labels differ in length: {len(x)} and {len(labels)}")
    if x.shape[1] != stack.weights[0].shape[2]:
        raise ValueError(f"images have {x.shape[1]} pixels, but the networks take {stack.weights[0].shape[2]}")
    if not torch.isfinite(x).all():
        raise ValueError("images contain NaN or infinite numbers; leave those images out")
    classes = stack.weights[-1].shape[1]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels lie in {int(labels.min())}..{int(labels.max())}; the networks have {classes} classes")
    if epochs < 1 or batch_size < 1 or not 0 < learning_rate < math.inf:
        raise ValueError(
            f"epochs={epochs}, batch_size={batch_size}, learning_rate={learning_rate}: "
            "need at least 1, at least 1 and above 0, all finite"
        )
    if not 0 <= validation < len(x):
        raise ValueError(f"validation={validation} must be at least 0 and leave some of {len(x)} images for training")
    if patience is not None and (patience < 1 or not validation):
        raise ValueError(f"patience={patience} must be at least 1 and needs validation images; validation={validation}")
    found = []
    for name, values in zip(("l2", "l1", "dropout"), settings, strict=True):
        tensor = torch.as_tensor(values, dtype=torch.float64)
        if tensor.ndim and tensor.shape != (m,):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; give one number, or one for each of {m} networks"
            )
        limit = 1.0 if name == "dropout" else math.inf
        if not bool(((tensor >= 0) & (tensor < limit)).all()):
            raise ValueError(f"{name}={values} must be at least 0 and below {limit}")
        found.append(tensor.expand(m))
    return x, labels.to(device), torch.stack(found)
