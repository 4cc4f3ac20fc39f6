"""What the slides leave open: what each ingredient of the method and each setting does, and how sure detection is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from companion.records import RecordError, Results
from modutils import hierarchy, statistics, tasks
from modutils.plotting import COLORS, GREY, WIDTH, figure, heat_table, interval_dots, letters, note
from modutils.statistics import Interval
from studies.neural_sculpting import cells, evidence, published, recovery
from studies.neural_sculpting.claims import NAMES
from studies.neural_sculpting.evidence import DEFAULT_OUTPUTS, Digits
from studies.neural_sculpting.figures import WILSON, WORDS, span, widest

#: How the variants of the ablation are called in figures.
VARIANT_NAMES = {
    "full": "the method",
    "one setting": "one setting of the 70",
    "edges only": "edges only",
    "units only": "units only",
    "edges first": "edges first, then units",
    "no retraining": "no retraining",
    "no halving": "no halving of steps",
    "random units": "random unit scores",
    "random edges": "random edge scores",
}


def graded(
    results: Results, stage: str, task: str, outputs: int, *, least_layers: int = 1
) -> list[dict[str, dict[str, Any]]]:
    """For every recorded network of stage ``ablate`` or ``vary`` what each variant gave, by variant."""
    found = []
    for cell, record in results.recorded(stage, task=task, outputs=outputs):
        values = record.values
        found += [
            values[f"{width}x{depth}"]
            for width, depth in cells.shapes(cell.params["widths"], cell.params["layers"])
            if depth >= least_layers
        ]
    return found


def _best(variant: Mapping[str, Any]) -> tuple[bool, float]:
    """Success and density of the sparsest run; no success and density 1 if all have failed."""
    best = variant["best"]
    return (bool(variant["success"][best]), float(variant["densities"][best])) if best >= 0 else (False, 1.0)


@figure
def ablation(results: Results) -> Figure:
    """Success and density of the four exemplars with one ingredient taken away at a time."""
    together = _exemplars(results)
    if not together:
        raise RecordError("no network of stage 'ablate' is recorded")
    variants = ["full", "one setting", *[name for name in cells.VARIANTS if name != "full"]]
    rates, ratios = [], []
    for name in variants:
        if name == "one setting":
            rates.append(Interval(single_run_rate(results), np.nan, np.nan, 1))
            ratios.append([_single_ratio(network) for network in together])
        else:
            rates.append(statistics.share(sum(_best(network[name])[0] for network in together), len(together)))
            ratios.append([_best(network[name])[1] / _best(network["full"])[1] for network in together])
    names = [VARIANT_NAMES[name] for name in variants]
    made, (ax, other) = plt.subplots(1, 2, figsize=(WIDTH, 4.6), sharey=True, width_ratios=(1.15, 1))
    colors = [COLORS[0]] * 2 + [COLORS[1]] * (len(names) - 2)
    interval_dots(ax, names, rates, colors=colors, reference=rates[0].mean)
    ax.set(xlabel="share with all modules found", xlim=(-0.04, 1.04))
    quartiles = [(*np.quantile(values, (0.5, 0.25, 0.75)), len(values)) for values in ratios]
    interval_dots(other, names, [Interval(*each) for each in quartiles], colors=colors, reference=1, marker="s")
    other.set(xscale="log", xlabel="density, relative\nto the method")
    other.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    other.minorticks_off()
    letters([ax, other])
    return note(
        made,
        f"n = {len(together)} networks of the four exemplars, the same in every row, each the sparsest of its grid (70 "
        f"runs; edges only 5, units only 14). a: {WILSON} One setting: the share over all runs. b: median and "
        "quartiles over networks.",
    )


def _single_ratio(network: Mapping[str, Mapping[str, Any]]) -> float:
    """Mean density of a single run over that of the sparsest of the grid."""
    full = network["full"]
    return float(full["densities"][~full["failed"]].mean() / full["densities"][full["best"]])


def _exemplars(results: Results) -> list[dict[str, dict[str, Any]]]:
    """The networks of the ablation on all four exemplars."""
    return [n for task in cells.EXEMPLARS for n in graded(results, "ablate", task, DEFAULT_OUTPUTS[task])]


def ablation_rates(results: Results) -> dict[str, tuple[int, int, float]]:
    """By variant: networks of the exemplars that show all modules, of how many, and their median density ratio."""
    together = _exemplars(results)
    found = {}
    for name in cells.VARIANTS:
        ratio = np.median([_best(network[name])[1] / _best(network["full"])[1] for network in together])
        found[name] = (sum(_best(network[name])[0] for network in together), len(together), float(ratio))
    return found


def single_run_rate(results: Results) -> float:
    """Share of single runs of the method that show all modules, over the networks of the ablation."""
    return float(np.mean([network["full"]["success"].mean() for network in _exemplars(results)]))


def fewer_runs_rate(results: Results) -> float:
    """The same for the sparsest of the runs that share the step of the unit phase: as many as "edges only" has."""
    shares = []
    for network in _exemplars(results):
        full = network["full"]
        rows = next(len(u) for u, e in cells.GRIDS.values() if len(u) * len(e) == full["success"].size)
        densities = np.where(full["failed"], np.inf, full["densities"]).reshape(rows, -1)
        success = full["success"].reshape(rows, -1)
        shares.append(success[np.arange(rows), densities.argmin(axis=1)].mean())
    return float(np.mean(shares))


@figure
def ablation_by_task(results: Results) -> Figure:
    """Share of networks with all modules found, by variant and exemplar."""
    names = list(cells.VARIANTS)
    values = np.full((len(names), len(cells.EXEMPLARS)), np.nan)
    for column, task in enumerate(cells.EXEMPLARS):
        networks = graded(results, "ablate", task, DEFAULT_OUTPUTS[task])
        for row, name in enumerate(names):
            if networks:
                values[row, column] = np.mean([_best(network[name])[0] for network in networks])
    made, ax = plt.subplots(figsize=(WIDTH, 3.6))
    columns = [NAMES[task].replace(" and ", "\nand ").replace(" sub", "\nsub") for task in cells.EXEMPLARS]
    heat_table(ax, values, [VARIANT_NAMES[name] for name in names], columns, low=0, high=1)
    counts = {len(graded(results, "ablate", task, DEFAULT_OUTPUTS[task])) for task in cells.EXEMPLARS}
    return note(
        made,
        f"n = {span(counts)} networks a cell, one, two and three hidden layers together. Networks with one hidden "
        f"layer cannot show the reused function, so 0.67 is the most there. {widest(max(counts))}",
    )


def settings_rates(results: Results, outputs: int) -> dict[str, Interval]:
    """For each change of a setting, the share of networks of the reused function with all modules found."""
    networks = graded(results, "vary", "reused", outputs)
    return {
        name: statistics.share(sum(_best(network[name])[0] for network in networks), len(networks))
        for name in (networks[0] if networks else ())
    }


@figure
def settings(results: Results) -> Figure:
    """Success on the reused function with other settings of the training: two outputs and sixteen."""
    made, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.7), sharey=True)
    for ax, outputs in zip(axes, (2, 16), strict=True):
        found = settings_rates(results, outputs)
        if found:
            names, rates = list(found), list(found.values())
            colors = [COLORS[0], *[COLORS[1]] * (len(names) - 1)]
            interval_dots(ax, names, rates, colors=colors, reference=rates[0].mean)
            ax.set_title(f"{outputs} outputs, n = {rates[0].n}")
        else:
            ax.set_title(f"{outputs} outputs: not recorded")
        ax.set(xlabel="share with all\nmodules found", xlim=(-0.04, 1.04))
        ax.axvline(published.reused_rate(outputs), color="black", linewidth=1, linestyle=":", zorder=0)
    letters(axes, pad=8)
    return note(
        made,
        f"Two and three hidden layers, the sparsest of each grid. {WILSON} Dashed: as they are; dotted: published.",
    )


@figure
def sparse_and_modular(results: Results) -> Figure:
    """Single runs by how far they were pruned: how many show the reused function, for two outputs and for sixteen."""
    made, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True)
    edges = np.array([1, 1.001, 1.1, 1.2, 1.3, 1.5, 1.75, np.inf])
    ranges = [f"{low:.3g}–\n{high:.3g}" for low, high in pairwise(edges[1:-1].round(2))]
    for ax, outputs in zip(axes, (2, 16), strict=True):
        networks = graded(results, "ablate", "reused", outputs, least_layers=2)
        counts = np.array([_by_density(network["full"], edges) for network in networks]).reshape(-1, 2, len(edges) - 1)
        right, runs = counts.sum(axis=0)
        drawn = np.random.default_rng(0).integers(0, max(len(counts), 1), size=(1000, len(counts)))
        for place in np.flatnonzero(runs):
            resampled = counts[drawn, :, place].sum(axis=1)
            shares = resampled[:, 0] / np.maximum(resampled[:, 1], 1)
            low, high = np.quantile(shares[resampled[:, 1] > 0], (0.025, 0.975))
            ax.plot([place, place], [low, high], color=COLORS[0], linewidth=2)
            ax.plot(place, right[place] / runs[place], "o", color=COLORS[0])
        ax.set_xticks(range(len(edges) - 1), ["the\nsparsest", *ranges, "above\n1.75"], fontsize=7.5)
        ax.set(title=f"{outputs} outputs, {int(runs.sum()) or 'no'} runs")
        ax.set_xlabel("density over that of\nthe sparsest of the grid")
        ax.grid(True, axis="y")
    axes[0].set(ylabel="share of runs with\nall modules found", ylim=(-0.03, 1.03))
    letters(axes, pad=8)
    return note(
        made,
        "Single runs of the reused function, two and three hidden layers, all widths and seeds. Bars: 95 % intervals "
        "from 1000 resamples of whole grids, since the runs of a grid share their dense network.",
    )


def _by_density(full: Mapping[str, Any], edges: np.ndarray) -> np.ndarray:
    """Runs with success and all runs that did not fail, by density relative to the sparsest: (2, bins)."""
    left = ~full["failed"]
    if full["best"] < 0:
        return np.zeros((2, len(edges) - 1))
    ratios = full["densities"][left] / full["densities"][full["best"]]
    return np.stack(
        [np.histogram(ratios[chosen], edges)[0] for chosen in (full["success"][left], np.ones_like(ratios, bool))]
    )


# --- how sure is detection? -------------------------------------------------------------------------------------------

MERGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MODULARITIES = (-0.4, -0.3, -0.2, -0.1, 0.0)
_TASKS = (("single", 4), ("separable", 4), ("reused", 16), ("separable-reused", 3), ("overlap-0", 8), ("depth", 4))


def threshold_rates(results: Results) -> dict[str, np.ndarray]:
    """Share of networks with success by task: first for ``MERGES``, then for ``MODULARITIES``."""
    found = {}
    for name, outputs in _TASKS:
        task = tasks.load(name, outputs=outputs)
        networks = [one for one in evidence.networks(results, name, outputs) if not one.failed]
        counts = np.zeros(len(MERGES) + len(MODULARITIES))
        for one in networks:
            for place, merge in enumerate(MERGES):
                counts[place] += recovery.success(task, hierarchy.detect_modules(one.masks, merge_threshold=merge))
            for place, least in enumerate(MODULARITIES, len(MERGES)):
                counts[place] += recovery.success(task, hierarchy.detect_modules(one.masks, modularity_threshold=least))
        if networks:
            found[name] = counts / len(networks)
    return found


@figure
def thresholds(found: Mapping[str, np.ndarray]) -> Figure:
    """Success with other thresholds of the detection, on the very same masks; ``found`` by :func:`threshold_rates`."""
    made, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.6), sharey=True)
    markers = "osD^vP"
    for ax, values, part, chosen in (
        (axes[0], MERGES, slice(0, len(MERGES)), 0.9),
        (axes[1], MODULARITIES, slice(len(MERGES), None), -0.2),
    ):
        for place, (name, rates) in enumerate(found.items()):
            ax.plot(values, rates[part], color=COLORS[place], marker=markers[place], markersize=5, label=NAMES[name])
        ax.axvline(chosen, color=GREY, linewidth=1, linestyle="--", zorder=0)
        ax.grid(True, axis="y")
    axes[0].set(xlabel="merge threshold", ylabel="share with all modules found", ylim=(-0.03, 1.03))
    axes[1].set(xlabel="modularity threshold")
    letters(axes)
    handles, labels = axes[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside upper center", ncols=2)
    return note(made, "The recorded networks of each task, all shapes and seeds. Dashed: the thresholds of the method.")


# --- along a run ------------------------------------------------------------------------------------------------------


def trajectory(axes: Sequence[Axes], trace: Mapping[str, Any], bits: int, needed: float) -> None:
    """One run, step by step: accuracy above, density below; rejected steps are hollow."""
    upper, lower = axes
    steps = np.arange(len(trace["right"]))
    tried = np.asarray(trace["right"]) >= 0
    accepted = np.asarray(trace["accepted"], dtype=bool)
    accuracy = np.asarray(trace["right"]) / bits
    density = 100 * np.asarray(trace["density"])
    for ax, values in ((upper, accuracy), (lower, density)):
        ax.plot(steps[accepted], values[accepted], "o-", color=COLORS[0], markersize=3.5, linewidth=1, label="accepted")
        no = tried & ~accepted
        ax.plot(steps[no], values[no], "o", color=COLORS[1], markerfacecolor="white", markersize=3.5, label="rejected")
        change = int(np.argmax(trace["edge_phase"])) if np.any(trace["edge_phase"]) else len(steps)
        ax.axvline(change - 0.5, color=GREY, linewidth=1, linestyle=":")
        ax.grid(True, axis="y")
    upper.axhline(needed, color="black", linewidth=1, linestyle="--")
    upper.set(ylabel="bits right")
    lower.set(yscale="log", ylabel="edges left (%)", xlabel="step (dotted: from units to edges)")
    lower.yaxis.set_major_formatter("{x:g}")
    lower.yaxis.set_minor_formatter("")


@figure
def digit_runs(found: Sequence[Digits]) -> Figure:
    """How networks on pairs of digits were pruned: accuracy and density, step by step."""
    made, axes = plt.subplots(2, len(found), figsize=(WIDTH, 4.2), sharey="row", squeeze=False)
    for column, one in enumerate(found):
        trajectory(list(axes[:, column]), one.trace, one.bits, one.dense_accuracy - cells.TOLERANCE)
        axes[0, column].set_title(f"{WORDS[one.layers]} hidden", fontsize=10.5)
        if column:
            axes[0, column].set_ylabel("")
            axes[1, column].set_ylabel("")
        axes[1, column].set_xlabel("step")
    lowest = min(one.dense_accuracy for one in found) - 0.05
    axes[0, 0].set_ylim(lowest, 1)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside upper center", ncols=2)
    return note(
        made,
        "Dashed: accuracy that a step must reach, one percentage point below the dense network. Dotted: from units to "
        "edges. Rejected steps below the frame are not shown.",
    )


@figure
def grid(results: Results) -> Figure:
    """Mean density of single runs by the steps of both phases, relative to the sparsest of the grid."""
    full = cells.GRIDS["full"]
    values = []
    for task in cells.EXEMPLARS:
        for network in graded(results, "ablate", task, DEFAULT_OUTPUTS[task]):
            densities = np.where(network["full"]["failed"], np.nan, network["full"]["densities"])
            if densities.size == len(full[0]) * len(full[1]) and np.isfinite(densities).any():
                values.append((densities / np.nanmin(densities)).reshape(len(full[0]), len(full[1])))
    made, ax = plt.subplots(figsize=(WIDTH, 3.2))
    if values:
        table = np.nanmean(np.stack(values), axis=0).T
        heat_table(ax, table, [f"{s:g}" for s in full[1]], [f"{s:g}" for s in full[0]], low=1, fontsize=8)
    else:
        ax.text(0.5, 0.5, "This scale has no full grid.", ha="center", transform=ax.transAxes)
        ax.set_axis_off()
    ax.set(ylabel="edge step (%)", xlabel="unit step (%)")
    ax.xaxis.set_label_position("top")
    return note(
        made,
        f"Density over that of the sparsest run of the grid, mean of {len(values)} networks of the four exemplars.",
    )
