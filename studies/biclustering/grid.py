"""The extension grid: layers × activation functions × models × data sets, as figures and as effects of each axis."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from companion import records, reports
from companion.records import RecordError, Results
from companion.reports import DATASETS
from modutils.plotting import COLORS, DIVERGING, WIDTH, figure, heat_table, interval_dots, letters, note
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


def _grid_figure(
    results: Results, panels: Sequence[tuple[str, tuple[str, ...], tuple[str, ...] | None, str, str]]
) -> Figure:
    """A heat table per panel: title, path of the number, path of one to subtract, format, colour map."""
    tables = [_grid(results, *path, minus=minus) for _, path, minus, _, _ in panels]
    shown = [[row for row, values in enumerate(table) if np.isfinite(values).any()] for table, _, _ in tables]
    heights = [1.05 + 0.3 * len(rows) for rows in shown]
    made, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, sum(heights)), height_ratios=heights)
    for ax, panel, (table, datasets, columns), rows in zip(axes, panels, tables, shown, strict=True):
        title, _, _, text, cmap = panel
        size = max(float(np.nanmax(np.abs(table))), 0.1)  # no strong colours for tiny differences
        low = -size if cmap == DIVERGING else 0.0
        layers = [list(LAYERS.values())[row] for row in rows]
        names = [ACTIVATIONS[activation] for _, activation in columns]
        heat_table(ax, table[rows], layers, names, text=text, cmap=cmap, low=low, high=size, fontsize=8.5)
        ax.tick_params(axis="both", labelsize=9)
        each = len(columns) // len(datasets)
        for number, dataset in enumerate(datasets):
            if number:
                ax.axvline(number * each - 0.5, color="white", linewidth=5)
            look: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9, "color": "#444444"}
            ax.annotate(DATASETS[dataset], (number * each - 0.45, 1), (0, 18), ("data", "axes fraction"), **look)
        if len(rows) > 3:
            ax.axhline(2.5, color="white", linewidth=5)
        ax.set_title(title)
    letters(axes, pad=32)
    seeds = complete_seeds(results)
    (removed,) = {cells.EFFORTS[dataset].k_ablation for dataset in datasets}
    return note(
        made,
        f"Means over {seeds} training seed{'s' if seeds > 1 else ''} of each network; DeepLIFT, k = {cells.K} "
        f"(areas: {removed}), form as in the paper.",
    )


@figure
def grid_of_modules(results: Results) -> Figure:
    """The extension grid: what modules look like for other layers, activation functions, models and data."""
    return _grid_figure(
        results,
        [
            ("share of entries above 0", ("positive",), None, "{:.2f}", "Blues"),
            ("blocks: mass share ÷ area share", ("mass_ratio",), None, "{:.1f}", "Blues"),
            ("NMI with the predicted class", ("nmi",), None, "{:.2f}", "Blues"),
            ("that NMI − NMI of the untrained network, same classes", *_NMI, "{:+.2f}", DIVERGING),
        ],
    )


@figure
def grid_of_tests(results: Results) -> Figure:
    """The extension grid: removal of modules against greedy removal, and the places of units."""
    return _grid_figure(
        results,
        [
            ("area, by module − greedy (below 0: modules hurt more)", *_GREEDY, "{:+.2f}", DIVERGING),
            ("area, by module − random units", *_RANDOM, "{:+.2f}", DIVERGING),
            ("neighbours in one module: standard deviations above chance", _NEIGHBOURS, None, "{:.0f}", "Blues"),
        ],
    )


@figure
def regularization(results: Results) -> Figure:
    """The paper's layer when its network is trained with dropout, with weight decay, or with neither."""
    datasets = list(dict.fromkeys(cell.params["dataset"] for cell in results.cells if cell.stage == "regularize"))
    ways = {
        "dropout": ("extend", {"model": "cnn", "layer": "act2", "activation": "relu"}),
        "weight decay": ("regularize", {"regularization": "weight_decay"}),
        "neither": ("regularize", {"regularization": "none"}),
    }
    rows = {
        (dataset, way): [record.values for _, record in results.recorded(stage, dataset=dataset, **where)]
        for dataset in datasets
        for way, (stage, where) in ways.items()
    }
    counts = {way: sorted({len(rows[dataset, way]) for dataset in datasets}) for way in ways}
    rows = {name: found for name, found in rows.items() if found}
    measures = {name: paths for name, paths in _MEASURES.items() if name != "area, by module − random"}
    made, axes = plt.subplots(1, len(measures), figsize=(WIDTH, 1.6 + 0.34 * len(rows)), sharey=True)
    labels = [f"{DATASETS[dataset]},\n{way}" if len(datasets) > 1 else way for dataset, way in rows]
    colors = [COLORS[list(ways).index(way)] for _, way in rows]
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

    For every measure and axis: the levels with the lowest and the highest mean, and their mean paired difference with a
    95 % interval over blocks. A block is one setting of the other axes and one seed. Blocks share networks and data and
    are not independent, so there is no p-value.
    """
    seeds = complete_seeds(results)
    rows = []
    for measure, (path, minus) in _MEASURES.items():
        for axis, words in _AXES.items():
            blocks: dict[tuple[Any, ...], dict[str, float]] = {}
            for cell in results.cells:
                params = dict(cell.params)
                if cell.stage != "extend" or params["seed"] >= seeds:
                    continue
                (record,) = results.records("extend", **params)
                value = _at(record.values, path) - (_at(record.values, minus) if minus else 0.0)
                level = params.pop(axis)
                blocks.setdefault(tuple(params.values()), {})[level] = value
            levels = list(next(iter(blocks.values())))
            if len(levels) < 2:
                continue
            values = np.array([[block[level] for level in levels] for block in blocks.values()])
            low, high = values.mean(0).argmin(), values.mean(0).argmax()
            gap = mean_interval(values[:, high] - values[:, low])
            names = [_LEVELS.get(levels[index], levels[index]) for index in (low, high)]
            ends = [f"{name} {values[:, index].mean():.3f}" for name, index in zip(names, (low, high), strict=True)]
            rows.append((measure, words, *ends, str(gap)))
    rows = [tuple(re.sub(r"-(?=\d)", "−", text) for text in row) for row in rows]
    head = ("Measure", "Axis", "Lowest mean", "Highest mean", f"Difference, {len(blocks)} blocks or more")
    return reports.table(head, rows)


_LEVELS = DATASETS | ACTIVATIONS | {"cnn": "CNN", "mlp": "MLP", "act1": "first", "act2": "second", "act3": "third"}
