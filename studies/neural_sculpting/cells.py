"""The independent pieces of work of the neural sculpting chapter.

Each public function is one stage: it takes the parameters of a cell and returns what the record keeps. A cell is one
task with one seed; it sculpts networks of every width and depth that is asked for. What the slides show is recorded as
masks, so that modules are detected when it is read; of the controls, which have many more runs, success is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from companion import cache
from companion.published import table
from companion.records import Cell, check_scale
from modutils import hierarchy, sculpting, tasks
from modutils.sculpting import Network, Sculpted, Training
from modutils.training import Execution
from studies.neural_sculpting import recovery

STUDY = "neural_sculpting"
SEEDS = (0, 1, 2, 5)  # as in the slides
MORE_SEEDS = range(50)  # where it is cheap to see how much a rate over four of them is chance
EXEMPLARS = ("single", "separable", "reused", "separable-reused")
WIDTHS, DEEP_WIDTHS = "24-36-48", "36-48-60"
LAYERS, DEEP_LAYERS = "1-2-3", "2-3-4"
#: Steps of both phases: all 70 pairs of the slides, or 15 of them.
GRIDS = {
    "full": (sculpting.UNIT_STEPS, sculpting.EDGE_STEPS),
    "coarse": ((10.0, 25.0, 40.0, 55.0, 70.0), (0.5, 1.5, 2.5)),
}
TOLERANCE = 0.01  # share of bits that a sculpted network may know less than the dense one, on pairs of digits
#: What the ablation changes in :func:`modutils.sculpting.sculpt`; "full" is the method itself.
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "edges only": {"phases": ("edges",)},
    "units only": {"phases": ("units",)},
    "edges first": {"phases": ("edges", "units")},
    "no retraining": {"retrain": False},
    "no halving": {"halving": False},
    "random units": {"random_scores": ("units",)},
    "random edges": {"random_scores": ("edges",)},
}
#: Settings of the training that the control changes, and by which factor.
CHANGES: dict[str, tuple[str, float]] = {
    "as they are": ("noise", 1.0),
    "no noise": ("noise", 0.0),
    "noise × 2": ("noise", 2.0),
    "no weight decay": ("weight_decay", 0.0),
    "weight decay × 10": ("weight_decay", 10.0),
    "epochs × 2": ("epochs", 2.0),
    "learning rate × 0.3": ("learning_rate", 0.3),
}

#: Learning rate, batch size and epochs of the authors' scripts, by task, outputs, hidden layers and width.
SETTINGS = {
    (row["task"], row["outputs"], row["hidden_layers"], row["width"]): (row["rate"], row["batch_size"], row["epochs"])
    for row in table(STUDY, "published_settings")
}


def training(task: str, outputs: int, width: int, layers: int) -> Training:
    """The settings that the authors trained with.

    Raises
    ------
    ValueError
        They trained no such network.
    """
    if (task, outputs, layers, width) not in SETTINGS:
        raise ValueError(
            f"task={task!r}, outputs={outputs}, width={width}, layers={layers}: the authors' scripts have no settings "
            "for this network; give those of your own to sculpting.sculpt"
        )
    return Training(*SETTINGS[task, outputs, layers, width])


def shapes(widths: str, layers: str) -> list[tuple[int, int]]:
    """Every width with every number of hidden layers, from texts like ``24-36-48``."""
    return [(int(width), int(depth)) for depth in layers.split("-") for width in widths.split("-")]


def flat(masks: list[np.ndarray]) -> np.ndarray:
    """All masks in one array, which a record keeps small."""
    return np.concatenate([mask.ravel() for mask in masks])


def unflat(masks: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """The masks (outputs, inputs) of every layer again, from the units of every layer."""
    found, begin = [], 0
    for below, above in pairwise(sizes):
        found.append(masks[begin : begin + above * below].reshape(above, below))
        begin += above * below
    return found


def _sizes(network: Network) -> list[int]:
    return [network.masks[0].shape[1], *(mask.shape[0] for mask in network.masks)]


def _trace(run: Sculpted) -> dict[str, Any]:
    return {
        "edge_phase": np.array([attempt.phase == "edges" for attempt in run.trace]),
        "nominal": np.array([attempt.nominal for attempt in run.trace], dtype=np.float32),
        "density": np.array([attempt.density for attempt in run.trace], dtype=np.float32),
        "units": np.array([attempt.units for attempt in run.trace], dtype=np.int16),
        "right": np.array([attempt.right for attempt in run.trace], dtype=np.int32),
        "accepted": np.array([attempt.accepted for attempt in run.trace]),
    }


# --- stages -----------------------------------------------------------------------------------------------------------


def boolean(*, task: str, outputs: int, widths: str, layers: str, grid: str, seed: int) -> dict[str, Any]:
    """Sculpt networks of every shape on a Boolean task, and keep those of each grid that have the fewest edges."""
    found = {}
    unit_steps, edge_steps = GRIDS[grid]
    for width, depth in shapes(widths, layers):
        how = training(task, outputs, width, depth)
        runs = sculpting.sculpt(
            tasks.load(task, outputs=outputs),
            [width] * depth,
            how,
            unit_steps=unit_steps,
            edge_steps=edge_steps,
            seeds=[seed],
        )
        tied = sculpting.tied(runs)
        kept = [runs[place] for place in tied or [0]]
        best = kept[0]
        found[f"{width}x{depth}"] = {
            "settings": list(how),
            "dense_right": best.dense_right,
            "right": best.right,
            "bits": best.bits,
            "densities": np.array([run.density for run in runs], dtype=np.float32),
            "failed": np.array([run.failed for run in runs]),
            "attempts": np.array([len(run.trace) for run in runs], dtype=np.int16),
            "all_failed": best.failed,
            "tied": np.array(tied, dtype=np.int16),
            "unit_step": best.unit_step,
            "edge_step": best.edge_step,
            "sizes": _sizes(best.network),
            "masks": np.stack([flat(run.network.masks) for run in kept]),
            "trace": _trace(best),
        }
    return found


def repeat(*, task: str, outputs: int, widths: str, layers: str, grid: str, seed: int) -> dict[str, Any]:
    """Density and success of every run of the grid, for more seeds than are kept as networks."""
    truth = tasks.load(task, outputs=outputs)
    return {
        f"{width}x{depth}": _graded(truth, [width] * depth, training(task, outputs, width, depth), grid, seed)
        for width, depth in shapes(widths, layers)
    }


def ablate(*, task: str, outputs: int, widths: str, layers: str, grid: str, seed: int) -> dict[str, Any]:
    """The method with one ingredient taken away at a time: density and success of every run of the grid."""
    truth = tasks.load(task, outputs=outputs)
    found: dict[str, Any] = {}
    for width, depth in shapes(widths, layers):
        how = training(task, outputs, width, depth)
        found[f"{width}x{depth}"] = {
            name: _graded(truth, [width] * depth, how, grid, seed, **options) for name, options in VARIANTS.items()
        }
    return found


def vary(*, task: str, outputs: int, widths: str, layers: str, grid: str, seed: int) -> dict[str, Any]:
    """The method with one setting of the training changed at a time: density and success of every run of the grid."""
    truth = tasks.load(task, outputs=outputs)
    found: dict[str, Any] = {}
    for width, depth in shapes(widths, layers):
        how = training(task, outputs, width, depth)
        for name, (setting, factor) in CHANGES.items():
            changed = replace(truth, noise=truth.noise * factor) if setting == "noise" else truth
            number: Any = getattr(how, setting, 0) * factor
            number = int(number) if setting == "epochs" else number
            other = how if setting == "noise" else Training(**how._asdict() | {setting: number})
            found.setdefault(f"{width}x{depth}", {})[name] = _graded(changed, [width] * depth, other, grid, seed)
    return found


def _graded(task: tasks.Task, hidden: list[int], how: Training, grid: str, seed: int, **options: Any) -> dict[str, Any]:
    """Density and success of every run of a grid, and which is the sparsest."""
    unit_steps, edge_steps = GRIDS[grid]
    runs = sculpting.sculpt(task, hidden, how, unit_steps=unit_steps, edge_steps=edge_steps, seeds=[seed], **options)
    success = [not run.failed and recovery.success(task, hierarchy.detect_modules(run.network.masks)) for run in runs]
    return {
        "densities": np.array([run.density for run in runs], dtype=np.float32),
        "failed": np.array([run.failed for run in runs]),
        "success": np.array(success),
        "best": sculpting.sparsest(runs),
    }


def digits(
    *,
    dataset: str,
    pool: int,
    train: int,
    width: int,
    layers: int,
    rate: float,
    batch_size: int,
    epochs: int,
    unit_step: float,
    edge_step: float,
    seed: int,
) -> dict[str, Any]:
    """Sculpt one network on pairs of digit images; a run that was interrupted goes on from its last step."""
    cell = Cell(STUDY, "digits", locals().copy())
    run = sculpting.sculpt(
        tasks.two_digits(dataset, pool=pool, train=train, test=train // 4),
        [width] * layers,
        Training(rate, batch_size, epochs),
        unit_steps=[unit_step],
        edge_steps=[edge_step],
        seeds=[seed],
        tolerance=TOLERANCE,
        execution=Execution("cuda" if torch.cuda.is_available() else "cpu", cache.path_of(cell, "checkpoint")),
    )[0]
    return {
        "dense_right": run.dense_right,
        "right": run.right,
        "bits": run.bits,
        "failed": run.failed,
        "sizes": _sizes(run.network),
        "masks": flat(run.network.masks),
        "trace": _trace(run),
    }


def untrained_values(stage: str, params: Mapping[str, Any], name: str) -> bool:
    """Whether a recorded value, by its dotted name, does not depend on training: the task's size and the settings."""
    return name.rpartition(".")[2].partition("[")[0] in ("bits", "settings")


# --- the plan ---------------------------------------------------------------------------------------------------------

#: Pairs of digits: the network of the paper, one small enough for many seeds, and one for the embedded digits.
FULL: dict[str, Any] = {
    "dataset": "mnist",
    "pool": 1,
    "train": 800,
    "width": 392,
    "rate": 0.001,
    "batch_size": 512,
    "epochs": 40,
    "unit_step": 40.0,
    "edge_step": 2.5,
}
REDUCED: dict[str, Any] = FULL | {"pool": 2, "train": 160, "width": 128, "batch_size": 128}
SMALL: dict[str, Any] = REDUCED | {"dataset": "digits", "pool": 1, "train": 24, "width": 32, "epochs": 15}
#: Small networks are cheap enough for a second run with other steps.
OTHER_STEPS: dict[str, Any] = {"unit_step": 20.0, "edge_step": 1.0}
DIGIT_LAYERS = {"full": (2, 3, 4, 5), "reduced": (2, 3, 4, 5), "quick": (2, 4)}


def _boolean(
    stage: str, task: str, outputs: int, widths: str, layers: str, grid: str, seeds: Sequence[int]
) -> list[Cell]:
    shape = {"task": task, "outputs": outputs, "widths": widths, "layers": layers, "grid": grid}
    return [Cell(STUDY, stage, {**shape, "seed": seed}) for seed in seeds]


def _digits(params: dict[str, Any], layers: Sequence[int], seeds: Sequence[int]) -> list[Cell]:
    return [Cell(STUDY, "digits", {**params, "layers": depth, "seed": seed}) for seed in seeds for depth in layers]


def plan(scale: str) -> list[Cell]:
    """All cells of a scale.

    ``paper``: every Boolean task of the slides with 36 networks each, each the sparsest of 70 runs; pairs of MNIST
    digits, at full size and reduced; the ablation. ``quick``: a coarse grid, two seeds and one width of the exemplars,
    one seed of the other tasks, and pairs of the embedded digits.

    Raises
    ------
    ValueError
        An unknown scale.
    """
    check_scale(scale)
    overlaps = [f"overlap-{overlap}" for overlap in range(5)]
    graded = (*((task, tasks.OUTPUTS[task][0]) for task in EXEMPLARS), ("reused", 2))
    cells: list[Cell] = []
    if scale == "quick":
        for task in EXEMPLARS:
            cells += _boolean("boolean", task, tasks.OUTPUTS[task][0], "24", LAYERS, "coarse", SEEDS[:2])
        for outputs in tasks.OUTPUTS["reused"][1:]:
            cells += _boolean("boolean", "reused", outputs, "24", LAYERS, "coarse", SEEDS[:1])
        for task in overlaps:
            cells += _boolean("boolean", task, 8, "24", "2", "coarse", SEEDS[:1])
        cells += _boolean("boolean", "depth", 4, "48", DEEP_LAYERS, "coarse", SEEDS[:1])
        for task, outputs in graded:
            cells += _boolean("ablate", task, outputs, "24", "2", "coarse", SEEDS[:1])
        for outputs in (2, 16):
            cells += _boolean("vary", "reused", outputs, "24", "2", "coarse", SEEDS[:1])
            cells += _boolean("repeat", "reused", outputs, "24", "2", "coarse", SEEDS)
        return cells + _digits(SMALL, DIGIT_LAYERS["quick"], SEEDS[:1])
    # The longest first, so that no worker is left with them at the end.
    cells += _digits(FULL, DIGIT_LAYERS["full"], SEEDS[:1])
    for task in EXEMPLARS:
        cells += _boolean("boolean", task, tasks.OUTPUTS[task][0], WIDTHS, LAYERS, "full", SEEDS)
    for task in ("reused", *overlaps, "depth"):
        deep = task == "depth"
        for outputs in tasks.OUTPUTS[task][task == "reused" :]:
            shape = (DEEP_WIDTHS, DEEP_LAYERS) if deep else (WIDTHS, LAYERS)
            cells += _boolean("boolean", task, outputs, *shape, "full", SEEDS)
    for params in (REDUCED, REDUCED | OTHER_STEPS):
        cells += _digits(params, DIGIT_LAYERS["reduced"], SEEDS)
    for task, outputs in graded:
        cells += _boolean("ablate", task, outputs, WIDTHS, LAYERS, "full", SEEDS)
    for outputs in (2, 16):
        cells += _boolean("vary", "reused", outputs, WIDTHS, "2-3", "full", SEEDS)
    for outputs in sorted(tasks.OUTPUTS["reused"]):
        cells += _boolean("repeat", "reused", outputs, WIDTHS, "2", "full", MORE_SEEDS)
    return cells + _digits(FULL, DIGIT_LAYERS["full"], SEEDS[1:])
