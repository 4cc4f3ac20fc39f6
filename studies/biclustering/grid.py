"""The extension grid: layers × activation functions × models × data sets, as figures and as effects of each axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from companion import records, reports
from companion.records import RecordError, Results
from companion.reports import DATASETS
from modutils.plotting import COLORS, GREY, WIDTH, figure, interval_dots, letters, name_rows, note
from modutils.statistics import mean_interval
from studies.biclustering import cells
from studies.biclustering.figures import ACTIVATIONS, LAYERS

# Paths in a record: of a number, and of one to subtract.
_NMI = ("nmi",), ("nmi_untrained",)
_GREEDY, _RANDOM = ((("area", "module"), ("area", order)) for order in ("greedy", "random"))
_NEIGHBOURS = ("space", "neighbours:all", "z")


def complete_seeds(results: Results) -> int:
    """How many seeds of the extension grid are complete, counted from seed 0."""
    grid = [cell for cell in results.cells if cell.stage == "extend"]
    incomplete = {cell.params["seed"] for cell in grid if not records.is_recorded(cell, results.folder)}
    return min(incomplete, default=1 + max(cell.params["seed"] for cell in grid))


def _grid(
    results: Results, *path: str, minus: tuple[str, ...] | None = None
) -> tuple[np.ndarray, list[str], list[tuple[str, str]]]:
    """Means over complete seeds: (layers, data sets × activations), with the names of data sets and columns."""
    seeds = complete_seeds(results)
    if seeds == 0:
        raise RecordError("no seed of the extension grid is complete; compute it: python -m companion run biclustering")
    params = [dict(cell.params) for cell in results.cells if cell.stage == "extend"]
    columns = list(dict.fromkeys((p["dataset"], p["activation"]) for p in params))
    table = np.full((len(LAYERS), len(columns)), np.nan)
    for row, (model, layer) in enumerate(LAYERS):
        for column, (dataset, activation) in enumerate(columns):
            where = {"model": model, "layer": layer, "dataset": dataset, "activation": activation}
            values = []
            for seed in range(seeds):
                (record,) = results.records("extend", **where, seed=seed)
                value = _at(record.values, path)
                values.append(value - _at(record.values, minus) if minus else value)
            table[row, column] = np.mean(values)
    return table, list(dict.fromkeys(dataset for dataset, _ in columns)), columns


def _at(values: Mapping[str, Any], path: tuple[str, ...]) -> float:
    found: Any = values
    for name in path:
        if name not in found:
            return float("nan")  # a dense layer has no places
        found = found[name]
    return float(found)


_LOOKS = dict(zip(ACTIVATIONS, zip(COLORS, "osD^v", strict=False), strict=True))
_LANES = (-0.18, 0.18)


def _grid_figure(
    results: Results, panels: Sequence[tuple[str, tuple[str, ...], tuple[str, ...] | None, float]], dashed: str
) -> Figure:
    """Dots by layer, data set and activation; panels are title, path, path of a number to subtract, dashed line."""
    tables = [_grid(results, *path, minus=minus) for _, path, minus, _ in panels]
    shown = [np.flatnonzero(np.isfinite(table).any(axis=1)) for table, _, _ in tables]
    heights = [0.85 + 0.35 * max(map(len, shown[first : first + 2])) for first in range(0, len(panels), 2)]
    made, axes = plt.subplots(
        len(heights), 2, figsize=(WIDTH, 0.5 + sum(heights)), sharey="row", height_ratios=heights, squeeze=False
    )
    for ax, (title, _, _, reference), (table, datasets, columns), rows in zip(
        axes.flat, panels, tables, shown, strict=False
    ):
        for dataset, lane, filled in zip(datasets, _LANES, (True, False), strict=False):
            own = [column for column, (name, _) in enumerate(columns) if name == dataset]
            places, values = np.arange(len(rows)) + lane, table[rows][:, own]
            ax.hlines(places, values.min(axis=1), values.max(axis=1), color="#cccccc", linewidth=1)
            for column, dots in zip(own, values.T, strict=True):
                color, marker = _LOOKS[columns[column][1]]
                ax.plot(dots, places, marker, color=color, markersize=5, markerfacecolor=color if filled else "white")
        ax.axvline(reference, color=GREY, linewidth=1, linestyle="--", zorder=1)
        for edge in np.flatnonzero(np.diff(rows // 3)) + 0.5:  # between the models
            ax.axhline(edge, color="#bbbbbb", linewidth=0.8)
        ax.set_title(title)
        name_rows(ax, [list(LAYERS.values())[row] for row in rows])
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    letters(axes.flat[: len(panels)])
    _, datasets, columns = tables[0]
    handles = [
        Line2D([], [], color=_LOOKS[name][0], marker=_LOOKS[name][1], linestyle="", label=ACTIVATIONS[name])
        for name in dict.fromkeys(activation for _, activation in columns)
    ]
    made.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.1)
    seeds = complete_seeds(results)
    (removed,) = {cells.EFFORTS[dataset].k_ablation for dataset in datasets}
    looks = ", ".join(f"{look}: {DATASETS[name]}" for name, look in zip(datasets, ("filled", "hollow"), strict=False))
    of_seeds = f"means over {seeds} training seeds" if seeds > 1 else "one training seed"
    return note(
        made,
        f"{looks}; {of_seeds} of each network; DeepLIFT, k = {cells.K} (areas: {removed}), form as in the paper; "
        f"dashed: {dashed}.",
    )


@figure
def grid_of_modules(results: Results) -> Figure:
    """The extension grid: what modules look like for other layers, activation functions, models and data."""
    return _grid_figure(
        results,
        [
            ("entries above 0 (share)", ("positive",), None, 0.25),
            ("mass share ÷ area share", ("mass_ratio",), None, 4),
            ("NMI with predicted class", ("nmi",), None, 1),
            ("NMI, trained − untrained", *_NMI, 0),
        ],
        "the claims' bars (a, b), the same grouping (c), no difference (d)",
    )


@figure
def grid_of_tests(results: Results) -> Figure:
    """The extension grid: removal of modules against greedy removal, and the places of units."""
    return _grid_figure(
        results,
        [
            ("area, module − greedy", *_GREEDY, 0),
            ("area, module − random", *_RANDOM, 0),
            ("neighbours alike (s.d.)", _NEIGHBOURS, None, 0),
        ],
        "no difference (a, b), chance (c)",
    )


_WAYS = {
    "dropout": ("extend", {"model": "cnn", "layer": "act2", "activation": "relu"}),
    "weight decay": ("regularize", {"regularization": "weight_decay"}),
    "neither": ("regularize", {"regularization": "none"}),
}


def ways_to_train(results: Results, dataset: str) -> dict[str, list[Mapping[str, Any]]]:
    """What is recorded of the paper's layer, one entry a seed, when its network is trained in one of three ways."""
    return {
        way: [record.values for _, record in results.recorded(stage, dataset=dataset, **where)]
        for way, (stage, where) in _WAYS.items()
    }


@figure
def regularization(results: Results) -> Figure:
    """The paper's layer when its network is trained with dropout, with weight decay, or with neither."""
    datasets = list(dict.fromkeys(cell.params["dataset"] for cell in results.cells if cell.stage == "regularize"))
    rows = {(dataset, way): found for dataset in datasets for way, found in ways_to_train(results, dataset).items()}
    counts = {way: sorted({len(rows[dataset, way]) for dataset in datasets}) for way in _WAYS}
    rows = {name: found for name, found in rows.items() if found}
    measures = {name: paths for name, paths in _MEASURES.items() if name != "area, by module − random"}
    made, axes = plt.subplots(1, len(measures), figsize=(WIDTH, 1.6 + 0.34 * len(rows)), sharey=True)
    labels = [f"{DATASETS[dataset]},\n{way}" if len(datasets) > 1 else way for dataset, way in rows]
    colors = [COLORS[list(_WAYS).index(way)] for _, way in rows]
    for ax, (title, (path, minus)) in zip(axes, measures.items(), strict=True):
        values = [[_at(one, path) - (_at(one, minus) if minus else 0) for one in found] for found in rows.values()]
        interval_dots(ax, labels, [mean_interval(own) for own in values], colors=colors, reference=0 if minus else None)
        ax.set_xlabel(title.replace(", ", ",\n"), fontsize=9)
    letters(axes)
    seeds = ", ".join(f"{way} {'–'.join(str(count) for count in own)}" for way, own in counts.items())
    return note(
        made, f"CNN, layer conv2, ReLU, k = {cells.K}; training seeds: {seeds}; bars: 95\u00a0% intervals over seeds."
    )


_AXES = {"dataset": "data set", "model": "model", "layer": "depth of the layer", "activation": "activation function"}
_MEASURES: dict[str, tuple[tuple[str, ...], tuple[str, ...] | None]] = {
    "share of entries above 0": (("positive",), None),
    "NMI, trained − untrained, same classes": _NMI,
    "area, by module − greedy": _GREEDY,
    "area, by module − random": _RANDOM,
}


def effects(results: Results) -> str:
    """How much each axis of the grid matters, as an HTML table.

    For every measure and axis: the levels with the lowest and the highest mean, and their difference, paired within the
    settings of the other axes, as a mean over seeds with a 95 % interval over these. The two levels are picked from the
    values that are compared, so there is no p-value.
    """
    seeds = range(complete_seeds(results))
    grid = [cell for cell in results.cells if cell.stage == "extend" and cell.params["seed"] in seeds]
    rows = []
    for measure, (path, minus) in _MEASURES.items():
        for axis, words in _AXES.items():
            found: dict[tuple[Any, int], list[float]] = {}
            for cell in grid:
                (record,) = results.records("extend", **cell.params)
                value = _at(record.values, path) - (_at(record.values, minus) if minus else 0.0)
                found.setdefault((cell.params[axis], cell.params["seed"]), []).append(value)
            means = {
                level: np.array([np.mean(found[level, seed]) for seed in seeds])
                for level in dict.fromkeys(level for level, _ in found)
            }
            if len(means) < 2:
                continue
            low, high = (pick(means, key=lambda level: means[level].mean()) for pick in (min, max))
            gap = mean_interval(means[high] - means[low])
            ends = [f"{_LEVELS.get(level, level)} {means[level].mean():.3f}" for level in (low, high)]
            rows.append((measure, words, *ends, f"{gap.mean:.3f} {gap.text('.3f')}"))
    return reports.table(("Measure", "Axis", "Lowest mean", "Highest mean", "Difference"), rows)


_LEVELS = DATASETS | ACTIVATIONS | {"cnn": "CNN", "mlp": "MLP", "act1": "first", "act2": "second", "act3": "third"}
