"""What the record says of the sculpted networks: modules are detected here, when a record is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from companion import records
from companion.records import Cell, Results
from modutils import hierarchy, sculpting, tasks
from modutils.statistics import Interval
from studies.neural_sculpting import cells, recovery
from studies.neural_sculpting.published import Picture

#: Looser thresholds for networks on pictures, whose layers are larger (the authors' code).
MERGE, MODULARITY = 0.6, -0.3
SHUFFLES = 999
DEFAULT_OUTPUTS = {task: outputs[0] for task, outputs in tasks.OUTPUTS.items()}
NOT_ENOUGH = "The record of this scale has too few networks for this rule."


class Found(NamedTuple):
    """A sculpted network on a Boolean task, the sparsest of its grid.

    ``density`` is a share, ``sizes`` are the units of every layer that lie on a path from an input to an output,
    ``verdicts`` those of :func:`recovery.verdicts`, all False where every run of the grid failed; ``resolved`` is
    success, or, on the deepest task with two hidden layers, that both output functions are told apart as well. ``ties``
    are the verdicts of all runs of the grid with as few edges, in their order; the other fields are of the first.
    """

    task: str
    outputs: int
    width: int
    layers: int
    seed: int
    unit_step: float
    edge_step: float
    density: float
    edges: int
    sizes: tuple[int, ...]
    failed: bool
    verdicts: dict[str, bool]
    masks: list[np.ndarray]
    labels: list[np.ndarray]
    ties: tuple[dict[str, bool], ...]


def networks(
    results: Results,
    task: str,
    outputs: int,
    *,
    width: int | None = None,
    layers: int | None = None,
    seed: int | None = None,
) -> list[Found]:
    """The sculpted networks of one task that are recorded, by seed, depth and width; any of them if not given."""
    found = []
    for cell, _ in results.recorded("boolean", task=task, outputs=outputs):
        for shape in cells.shapes(cell.params["widths"], cell.params["layers"]):
            wanted = (width or shape[0], layers or shape[1], cell.params["seed"] if seed is None else seed)
            if wanted == (*shape, cell.params["seed"]):
                found.append(_detected(json.dumps(dict(cell.params)), *shape, results.folder))
    return found


def pictured(results: Results, picture: Picture) -> list[Found]:
    """The recorded networks of the task and the shape that a slide shows, one per seed."""
    return networks(results, picture.task, picture.outputs, width=picture.width, layers=picture.layers)


@lru_cache(maxsize=1)
def _values(cell: Cell, folder: Path) -> Mapping[str, Any]:
    """A record's values; all shapes of a record are looked at in turn."""
    return records.read(cell, folder).values


_task = cache(lambda name, outputs: tasks.load(name, outputs=outputs))


@cache
def _detected(params: str, width: int, layers: int, folder: Path) -> Found:
    cell = Cell(cells.STUDY, "boolean", json.loads(params))
    values = _values(cell, folder)[f"{width}x{layers}"]
    task = _task(cell.params["task"], cell.params["outputs"])
    masks = cells.unflat(values["masks"][0], values["sizes"])
    labels = hierarchy.detect_modules(masks)
    known: dict[bytes, dict[str, bool]] = {}  # two of three tied runs end in the masks of another
    for flat in values["masks"]:
        if flat.tobytes() in known:
            continue
        first = not known
        verdicts = recovery.verdicts(
            task, labels if first else hierarchy.detect_modules(cells.unflat(flat, values["sizes"]))
        )
        # Who tells apart more than the depth needs has found all that it needs.
        resolved = verdicts["success"] or (cell.params["task"] == "depth" and layers == 2 and both(verdicts))
        verdicts["resolved"] = resolved
        known[flat.tobytes()] = dict.fromkeys(verdicts, False) if values["all_failed"] else verdicts
    ties = [known[flat.tobytes()] for flat in values["masks"]]
    return Found(
        cell.params["task"],
        cell.params["outputs"],
        width,
        layers,
        cell.params["seed"],
        values["unit_step"],
        values["edge_step"],
        sculpting.density(masks),
        sum(int(mask.sum()) for mask in masks),
        tuple(hierarchy.condensed_sizes(masks)),
        values["all_failed"],
        ties[0],
        masks,
        labels,
        tuple(ties),
    )


def both(verdicts: dict[str, bool]) -> bool:
    """Whether the groups of inputs and those of outputs are modules."""
    return verdicts["inputs"] and verdicts["outputs"]


#: Which of several networks with the fewest edges counts: the first in the order of the grid, each with equal weight,
#: or one that shows what is looked for, if there is any. The last needs to know the answer.
TIES = ("first", "expected", "most favourable")


def weight(shown: Sequence[bool], ties: str = "first") -> float:
    """What a network counts, from 0 to 1, of whose tied runs some show what is looked for."""
    return {"first": float(shown[0]), "expected": float(np.mean(shown)), "most favourable": float(any(shown))}[ties]


def rate(found: Sequence[Found], verdict: str = "success", ties: str = "first") -> Interval:
    """Share of networks with a verdict by one of the rules for ``TIES``, with Wilson's 95 % interval."""
    return share([weight([tie[verdict] for tie in one.ties], ties) for one in found])


def as_slide(one: Found) -> str:
    """The verdict that the slide counts. One hidden layer cannot show the reused function: there it is the inputs."""
    return "inputs" if one.task == "reused" and one.layers == 1 else "success"


def share(weights: Sequence[float]) -> Interval:
    """Mean of weights from 0 to 1 with Wilson's 95 % interval; NaN of none.

    The interval is that of a count, which need not be whole here: of all numbers from 0 to 1 with one mean, noughts and
    ones vary most, so it is not too narrow.
    """
    n = len(weights)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean, z = float(np.mean(weights)), float(stats.norm.ppf(0.975))
    middle = (mean + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2))
    return Interval(mean, max(float(middle - half), 0.0), min(float(middle + half), 1.0), n)


def seeds_of(results: Results, outputs: int) -> dict[str, np.ndarray]:
    """What every network of the reused function with two layers counts by each of `TIES`: (seeds, widths) each."""
    rows: dict[str, list[list[float]]] = {ties: [] for ties in TIES}
    for _, record in results.recorded("repeat", task="reused", outputs=outputs):
        shown = [tied_success(run) for run in record.values.values()]
        for ties in TIES:
            rows[ties].append([weight(each, ties) for each in shown])
    return {ties: np.array(own) for ties, own in rows.items()}


def tied_success(run: Mapping[str, Any]) -> list[bool]:
    """Success of the runs of a grid that have the fewest edges, in order; one failure if all have failed."""
    left = ~run["failed"]
    if not left.any():
        return [False]
    lowest = run["densities"][left].min()
    return list(map(bool, run["success"][left & (run["densities"] == lowest)]))


# --- pairs of digits --------------------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """A sculpted network on pairs of digits.

    ``accuracy`` and ``dense_accuracy`` are shares of the test ``bits``. ``left_shares`` (units left of the first hidden
    layer,) says which share of a unit's edges comes from the left digit, ``one_sidedness`` is the mean of
    \\|2 share − 1\\| over units, 0 for evenly mixed and 1 for pure ones; ``null`` (shuffles,) is the same where every
    unit draws as many edges from all pixels that are left.
    """

    layers: int
    seed: int
    density: float
    sizes: tuple[int, ...]
    dense_accuracy: float
    accuracy: float
    bits: int
    failed: bool
    verdicts: dict[str, bool]
    left_shares: np.ndarray
    one_sidedness: float
    null: np.ndarray
    masks: list[np.ndarray]
    labels: list[np.ndarray]
    trace: dict[str, np.ndarray]
    shape: tuple[int, int]

    @property
    def p_value(self) -> float:
        """Of the one-sidedness against its null, one-sided; ties count in full."""
        return float((1 + (self.null >= self.one_sidedness - 1e-12).sum()) / (1 + len(self.null)))

    @property
    def purity(self) -> float:
        """Share of the pixels left that are of the digit which most of their module's pixels are of, in [0.5, 1]."""
        modules = pixel_modules(self)
        return sum(count * max(share, 1 - share) for count, share in modules) / max(sum(c for c, _ in modules), 1)


def digit_networks(results: Results, params: dict[str, Any]) -> list[Digits]:
    """The sculpted networks of one setting, such as ``cells.FULL``, that are recorded, by seed and depth."""
    found = results.recorded("digits", **params)
    return [_detected_digits(json.dumps(dict(cell.params)), results.folder) for cell, _ in found]


@cache
def _detected_digits(params: str, folder: Path) -> Digits:
    cell = Cell(cells.STUDY, "digits", json.loads(params))
    values = records.read(cell, folder).values
    masks = cells.unflat(values["masks"], values["sizes"])
    labels = hierarchy.detect_modules(masks, merge_threshold=MERGE, modularity_threshold=MODULARITY)
    side = round((values["sizes"][0] / 2) ** 0.5)
    left = np.tile(np.arange(2 * side) < side, side)
    task = _digit_modules(side)
    shares, sided, null = one_sidedness(masks, left, seed=cell.params["seed"])
    return Digits(
        cell.params["layers"],
        cell.params["seed"],
        sculpting.density(masks),
        tuple(hierarchy.condensed_sizes(masks)),
        values["dense_right"] / values["bits"],
        values["right"] / values["bits"],
        values["bits"],
        values["failed"],
        dict.fromkeys(recovery.verdicts(task, labels), False) if values["failed"] else recovery.verdicts(task, labels),
        shares,
        sided,
        null,
        masks,
        labels,
        values["trace"],
        (side, 2 * side),
    )


@cache
def _digit_modules(side: int) -> tasks.Task:
    """The task of pairs of embedded digits, with the pixels of another size: only its modules are looked at."""
    task = tasks.two_digits("digits", train=1, test=1)
    columns = np.arange(2 * side * side).reshape(side, 2 * side)
    halves = [frozenset(half.ravel().tolist()) for half in np.hsplit(columns, 2)]
    modules = (*(m._replace(inputs=half) for m, half in zip(task.modules, halves, strict=False)), *task.modules[2:])
    return replace(task, inputs=task.inputs.new_zeros(1, columns.size), modules=modules)


def pixel_modules(one: Digits) -> list[tuple[int, float]]:
    """The modules of the pixels, the largest first: how many pixels, and which share is of the left digit."""
    left = np.arange(one.labels[0].size) % one.shape[1] < one.shape[1] // 2
    found = [one.labels[0] == module for module in np.unique(one.labels[0][one.labels[0] >= 0])]
    return sorted(((int(own.sum()), float(left[own].mean())) for own in found), reverse=True)


def pixel_reach(one: Digits) -> tuple[float, int, float, int]:
    """What a pixel that is left reaches on average: units of the first hidden layer, of how many; the same above it."""
    alive = hierarchy.condense(one.masks)
    features = hierarchy.reach(one.masks)[0][alive[0]][:, np.concatenate(alive[1:])]
    first = int(alive[1].sum())
    counts = features[:, :first].sum(1).mean(), features[:, first:].sum(1).mean()
    return float(counts[0]), first, float(counts[1]), features.shape[1] - first


def one_sidedness(
    masks: Sequence[np.ndarray], left: np.ndarray, *, seed: int = 0, shuffles: int = SHUFFLES
) -> tuple[np.ndarray, float, np.ndarray]:
    """How far the units of the first hidden layer read one half of the inputs alone.

    Parameters
    ----------
    masks : sequence of arrays
        Per layer (outputs, inputs), 0 or 1.
    left : array
        (inputs,) bool.
    seed : int
        Of the shuffles.
    shuffles : int
        Draws of the null: every unit keeps its number of edges, and draws them without replacement from all
        inputs that are left.

    Returns
    -------
    shares : numpy.ndarray
        (units left,) share of edges from the left half.
    value : float
        Mean of \\|2 share − 1\\| over units, in [0, 1]; 0 if none is left.
    null : numpy.ndarray
        (shuffles,) the same under the null.
    """
    alive = hierarchy.condense(masks)
    edges = np.asarray(masks[0], dtype=bool)[alive[1]][:, alive[0]]
    if not edges.size:
        return np.zeros(0), 0.0, np.zeros(shuffles)
    here = np.asarray(left)[alive[0]]
    degrees = edges.sum(axis=1)
    shares = (edges & here).sum(axis=1) / degrees
    drawn = np.random.default_rng(seed).hypergeometric(
        int(here.sum()), int((~here).sum()), degrees, size=(shuffles, len(degrees))
    )
    null = np.abs(2 * drawn / degrees - 1).mean(axis=1)
    return shares, float(np.abs(2 * shares - 1).mean()), null


# --- what the rules look at -------------------------------------------------------------------------------------------


class Evidence:
    """What the rules look at: the record of a scale, and the settings of its pairs of digits."""

    def __init__(self, results: Results, scale: str) -> None:
        self.results = results
        self.digit_settings = (cells.FULL, cells.REDUCED) if scale == "paper" else (cells.SMALL,)

    def networks(self, task: str, outputs: int | None = None, layers: int | None = None) -> list[Found]:
        """The networks of a task, of all widths and seeds."""
        return networks(self.results, task, outputs or DEFAULT_OUTPUTS[task], layers=layers)

    def pictured(self, picture: Picture) -> list[Found]:
        """Those of the shape that a slide shows, one per seed."""
        return pictured(self.results, picture)

    def digits(self) -> list[Digits]:
        """Networks on pairs of digits, at the size of the paper where there are any."""
        for setting in self.digit_settings:
            if found := digit_networks(self.results, setting):
                return found
        return []


def evidence_of(results: Results, scale: str) -> dict[str, Callable[[], Evidence]]:
    """What the rules look at; the data set is that of the pairs of digits."""
    names = dict.fromkeys(cell.params["dataset"] for cell in cells.plan(scale) if cell.stage == "digits")
    return {f"truth tables and {name}": partial(Evidence, results, scale) for name in names}


def sizes_text(sizes: Sequence[int]) -> str:
    """Units of every layer, such as ``[4, 3, 2]``."""
    return f"[{', '.join(map(str, sizes))}]"
