"""The independent pieces of work of the upstream/downstream chapter.

Each public function is one stage: it takes the parameters of a cell and returns what the record keeps. A *run* is all
settings of a grid with one seed: its networks share their first weights, the split of the images and their order.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modutils import data, stacked
from modutils.records import Cell
from modutils.stacked import Stack

STUDY = "upstream_downstream"
RUNS = 9
BATCH = {"mnist": 200, "fashion-mnist": 200, "digits": 50}
VALIDATION = {"mnist": 6000, "fashion-mnist": 6000, "digits": 150}
PATIENCE = 6
# Where training is followed: after these epochs the modules are searched.
FOLLOWED = (1, 2, 5, 10, 15, 20, 30, 40, 60, 90, 120, 180, 250, 350, 500)


class Setting(NamedTuple):
    """How one network of a run is regularised; ``kind`` is the regulariser that its curve varies, by ``strength``."""

    kind: str
    strength: float
    l2: float
    l1: float
    dropout: float


def settings(grid: str) -> list[Setting]:
    """The networks of a run, in the order of its stack.

    ``all`` is the paper's grid of 30; ``final code`` that of the authors' later sweeps over other shapes, L2 and
    dropout only; ``followed`` those whose training is followed to 500 epochs; ``quick`` a coarse one.
    """
    if grid == "all":
        strengths = {"l2": np.logspace(-5, -1, 9), "l1": np.logspace(-5, -2, 7), "dropout": np.linspace(0.05, 0.7, 14)}
    elif grid == "final code":
        strengths = {"l2": np.logspace(-5, -1, 5), "dropout": np.linspace(0.1, 0.6, 6)}
    elif grid == "followed":
        strengths = {"l2": np.array([1e-5, 1e-2]), "l1": np.array([1e-3]), "dropout": np.array([0.3, 0.5, 0.7])}
    elif grid == "quick":
        strengths = {"l2": np.logspace(-5, -1, 5), "l1": np.logspace(-5, -2, 4), "dropout": np.linspace(0.1, 0.7, 4)}
    else:
        raise ValueError(f"grid={grid!r} is unknown; choose 'all', 'final code', 'followed' or 'quick'")
    found = []
    for kind, values in strengths.items():
        for value in values.tolist():
            found.append(
                Setting(
                    kind,
                    value,
                    l2=value if kind == "l2" else 1e-5,
                    l1=value if kind == "l1" else 0.0,
                    dropout=value if kind == "dropout" else 0.0,
                )
            )
    return found


def sizes(dataset: str, hidden: str) -> list[int]:
    """Inputs, units of each hidden layer (``hidden`` is like ``64-64``), outputs."""
    return [64 if dataset == "digits" else 784, *(int(units) for units in hidden.split("-")), 10]


# --- networks ---------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """The trained networks of one run, with the course of their training."""

    stack: Stack
    snapshots: dict[int, Stack]
    history: dict[str, Any]


def trained(*, dataset: str, hidden: str, grid: str, regime: str, epochs: int, seed: int) -> Run:
    """One run from the cache, or trained now; a training that was interrupted goes on from its last checkpoint.

    ``regime`` is ``fixed``: a constant rate, all ``epochs``, last checkpoint; or ``early stopping``: at most
    ``epochs``, a rate that falls, and the checkpoint of the lowest validation loss. On a GPU all runs train at once.
    """
    params = {"dataset": dataset, "hidden": hidden, "grid": grid, "regime": regime, "epochs": epochs}
    path = _path(params | {"seed": seed})
    if not path.exists():
        _train(params, range(RUNS) if torch.cuda.is_available() else [seed])
    saved = torch.load(path, weights_only=True)
    snapshots = {epoch: Stack(*parts) for epoch, parts in saved["snapshots"].items()}
    return Run(Stack(*saved["stack"]), snapshots, saved["history"])


def _path(params: dict[str, Any]) -> Path:
    cell = Cell(STUDY, "trained", params)
    return data.cache_folder() / "networks" / f"{STUDY}-{cell.label}-{cell.key}.pt"


def _train(params: dict[str, Any], seeds: range | list[int]) -> None:
    """Train the runs of ``seeds`` together and put each into the cache."""
    if params["regime"] not in ("fixed", "early stopping"):
        raise ValueError(f"regime={params['regime']!r} is unknown; choose 'fixed' or 'early stopping'")
    images, labels = data.load(params["dataset"], "train")
    grid = settings(params["grid"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = stacked.initialize(sizes(params["dataset"], params["hidden"]), seeds=seeds, copies=len(grid))
    clock = time.process_time()
    last = _path(params | {"seed": seeds[-1]})
    found = stacked.train(
        Stack([w.to(device) for w in start.weights], [b.to(device) for b in start.biases]),
        images,
        labels,
        epochs=params["epochs"],
        seeds=seeds,
        l2=[setting.l2 for setting in grid] * len(seeds),
        l1=[setting.l1 for setting in grid] * len(seeds),
        dropout=[setting.dropout for setting in grid] * len(seeds),
        batch_size=BATCH[params["dataset"]],
        validation=VALIDATION[params["dataset"]],
        patience=PATIENCE if params["regime"] == "early stopping" else None,
        snapshots=FOLLOWED if params["grid"] == "followed" else (),
        checkpoint=last.with_suffix(".checkpoint"),
    )
    seconds = (time.process_time() - clock) / len(seeds)
    validation_losses = found.losses if found.validation_losses is None else found.validation_losses
    for index, seed in enumerate(seeds):
        own = slice(index * len(grid), (index + 1) * len(grid))
        history = {
            "losses": found.losses[:, own].clone(),
            "validation_losses": validation_losses[:, own].clone(),
            "epochs": found.epochs[own].clone(),
            "best_epochs": found.best_epochs[own].clone(),
            "diverged": found.diverged[own].clone(),
            "cpu_seconds": seconds,
        }
        content = {
            "stack": _own(found.stack, own),
            "snapshots": {epoch: _own(stack, own) for epoch, stack in found.snapshots.items()},
            "history": history,
        }
        path = _path(params | {"seed": seed})
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        torch.save(content, partial)
        partial.replace(path)


def _own(stack: Stack, index: slice) -> tuple[list[Tensor], list[Tensor]]:
    own = stacked.take(stack, index)
    return [w.cpu() for w in own.weights], [b.cpu() for b in own.biases]
