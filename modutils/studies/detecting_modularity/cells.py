"""The independent pieces of work of the chapter on detecting modularity.

Each public function is one stage: it takes the parameters of a cell and returns what the record keeps. A network is
named by data set, ``kind`` (how it is trained), ``state`` (untrained, trained, pruned) and seed. All kinds of one seed
start from the same draw of weights and see the images in the same order.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modutils import data, stacked, training
from modutils.records import Cell
from modutils.studies.detecting_modularity import nets

STUDY = "detecting_modularity"
DROPOUT = 0.5
L1 = 5e-5
#: Kinds of MLP that are trained in one stack, and the others, which have seeds of their own.
MAIN = ("plain", "dropout", "planted")
STATES = ("untrained", "trained", "pruned")


# --- networks ---------------------------------------------------------------------------------------------------------


def network(*, dataset: str, kind: str, state: str, seed: int) -> nn.Sequential:
    """A network in evaluation mode, from the cache or trained now."""
    if state == "untrained":
        return nets.cnn(dataset, seed) if kind == "cnn" else nets.mlp(nets.start(dataset, kind, seed))
    saved = trained(dataset=dataset, kind=kind, seed=seed)[state]
    model = nets.cnn(dataset, seed) if kind == "cnn" else nets.mlp(nets.start(dataset, kind, seed))
    model.load_state_dict(saved)
    return model.eval()


def trained(*, dataset: str, kind: str, seed: int) -> dict[str, Any]:
    """Parameters after training and after pruning, from the cache or computed now, with the CPU seconds it took."""
    params = {"dataset": dataset, "kind": kind, "seed": seed}
    if not _path(params).exists():
        kinds = MAIN if kind in MAIN else (kind,)
        _train(dataset, kinds, seed)
    found: dict[str, Any] = torch.load(_path(params), weights_only=True)
    return found


def _path(params: dict[str, Any]) -> Path:
    cell = Cell(STUDY, "trained", params)
    return data.cache_folder() / "networks" / f"{STUDY}-{cell.label}-{cell.key}.pt"


def _train(dataset: str, kinds: tuple[str, ...], seed: int) -> None:
    """Train and prune networks of one seed together, and put each into the cache."""
    setup = nets.SETUPS[dataset]
    images, labels = nets.images(dataset, kinds[0], "train")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clock = time.process_time()
    models: list[nn.Sequential]
    how: dict[str, Any]
    if kinds == ("cnn",):
        models = [nets.cnn(dataset, seed).to(device)]
        how = {"epochs": setup.cnn_epochs, "batch_size": 64, "seed": seed}
        training.train(models[0], images, labels, schedule="constant", **how)
    else:
        starts = [nets.start(dataset, kind, seed) for kind in kinds]
        joined = stacked.Stack(
            [torch.cat(parts).to(device) for parts in zip(*(one.weights for one in starts), strict=True)],
            [torch.cat(parts).to(device) for parts in zip(*(one.biases for one in starts), strict=True)],
        )
        dropout = [DROPOUT if kind == "dropout" else 0.0 for kind in kinds]
        l1 = [L1 if kind == "l1" else 0.0 for kind in kinds]
        how = {"epochs": setup.epochs, "batch_size": setup.batch_size}
        found = stacked.train(
            joined,
            images,
            labels,
            seeds=[seed],
            dropout=dropout,
            l1=l1,
            checkpoint=_path({"dataset": dataset, "kind": kinds[0], "seed": seed}).with_suffix(".checkpoint"),
            **how,
        ).stack
        models = [
            nets.mlp(stacked.take(found, slice(index, index + 1)), dropout=p).to(device)
            for index, p in enumerate(dropout)
        ]
        how = how | {"seed": seed}
    seconds = (time.process_time() - clock) / len(kinds)
    for model, kind in zip(models, kinds, strict=True):
        content: dict[str, Any] = {"trained": _own(model)}
        clock = time.process_time()
        training.prune(model, images, labels, l1=L1 if kind == "l1" else 0.0, **how)
        content |= {"pruned": _own(model), "cpu_seconds": seconds + time.process_time() - clock}
        path = _path({"dataset": dataset, "kind": kind, "seed": seed})
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        torch.save(content, partial)
        partial.replace(path)


def _own(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone().cpu() for name, value in model.state_dict().items()}


# --- stages -----------------------------------------------------------------------------------------------------------


def train(*, dataset: str, kind: str, seed: int) -> dict[str, Any]:
    """Train and prune one network, and say how accurate it is; the weights stay in the cache."""
    images, labels = nets.images(dataset, kind, "test")
    found: dict[str, Any] = {}
    for state in STATES:
        model = network(dataset=dataset, kind=kind, state=state, seed=seed)
        layers = [part.weight for part in model if isinstance(part, nn.Linear | nn.Conv2d)]
        found[state] = {
            "accuracy": training.accuracy(model, images, labels),
            "zeros": [float((weight == 0).double().mean()) for weight in layers],
        }
    return {**found, "training_cpu_seconds": trained(dataset=dataset, kind=kind, seed=seed)["cpu_seconds"]}
