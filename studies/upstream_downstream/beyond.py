"""Figures of the upstream/downstream chapter that the paper does not have: controls, sensitivity, extensions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from companion.records import Results
from companion.reports import DATASETS, spaced
from modutils.plotting import COLORS, GREY, WIDTH, figure, heat_table, interval_dots, letters, note
from modutils.statistics import Interval, mean_interval
from studies.upstream_downstream.cells import MEASURES, OTHER_SCORES, VARIANTS
from studies.upstream_downstream.drawing import (
    BY_SIDE,
    COMMON_AXIS,
    DOWN,
    HOLLOW,
    HUES,
    KIND_COLORS,
    KINDS,
    MARKERS,
    PUBLISHED_Q,
    PUBLISHED_UNTRAINED,
    SHORT,
    UP,
    agreement_table,
    average,
    bands,
    block_dots,
    block_means,
    caption,
    count_of,
    curve,
    curve_frame,
    curve_row,
    images_of,
    in_words,
    kinds_of,
    mean_error,
    measure_titles,
    per_run,
    recorded,
    strength_name,
    untrained_of,
)
from studies.upstream_downstream.runs import DOWNSTREAM, UPSTREAM, Runs

# --- how the measures are defined -------------------------------------------------------------------------------------

#: Where |·| stands and how it is normalised, with the published form that each could have made.
_DEFINITIONS = {
    "published, raw": ("published", "raw"),
    "|mean|, raw (code)": ("outside", "raw"),
    "mean |·|, raw (printed)": ("inside", "raw"),
    "published, normalised": ("published", "normalised"),
    "|mean|, √ (code)": ("outside", "sqrt"),
    "mean |·|, max (printed)": ("inside", "max"),
    "|mean|, max": ("outside", "max"),
    "mean |·|, √": ("inside", "sqrt"),
}


@figure
def definitions(runs: Runs) -> Figure:
    """Modularity under six definitions of the measures, next to the published level: which one made the plots."""
    wanted = [("l2", 1e-5), ("l1", 1e-3), ("dropout", 0.7)]
    panels: dict[str, tuple[np.ndarray, np.ndarray, list[float]]] = {
        "untrained": (
            untrained_of(runs, "q").mean((0, 1)),
            untrained_of(runs, "variant_q").mean((0, 1)),
            [PUBLISHED_UNTRAINED[measure] for measure in MEASURES],
        )
    }
    for kind, strength in wanted:
        place = _place(runs, kind, strength)
        if place is not None and runs.kept[:, place].any():
            panels[f"trained, {in_words(kind, strength)}"] = (
                average(runs.of("q")[:, place], axis=(0, 1)),
                average(runs.of("variant_q")[:, place], axis=(0, 1)),
                [PUBLISHED_Q[measure][kind][strength] for measure in MEASURES],
            )
    made, axes = plt.subplots(2, 2, figsize=(WIDTH, 6.2), sharey=True)
    columns = [SHORT[MEASURES.index((measure, "raw"))] for measure in BY_SIDE]
    for ax, (title, found) in zip(axes.flat, panels.items(), strict=False):
        table = np.array(
            [[_defined(*found, measure, *where) for measure in BY_SIDE] for where in _DEFINITIONS.values()]
        )
        heat_table(ax, table, list(_DEFINITIONS), columns, text=_short, low=0, high=0.4, fontsize=9.5)
        ax.axhline(2.5, color="black", linewidth=1.4)
        for row in (0, 3):
            ax.axhspan(row - 0.5, row + 0.5, fill=False, edgecolor=GREY, linewidth=1.6, linestyle="--")
        ax.set_title(title)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    letters(axes.flat[: len(panels)])
    return caption(
        made,
        runs,
        "means over networks and hidden layers",
        f"{len(runs.fresh['q'])} untrained networks",
        "dashed boxes: published levels, MNIST after 500 epochs, read off with an error of 0.01",
        "√ and max: divided by the root of the product, or by the larger, of the two diagonal entries",
    )


def _short(value: float) -> str:
    """Three decimals without the leading zero."""
    return f"{value:.3f}".replace("0.", ".", 1)


def _place(runs: Runs, kind: str, strength: float) -> int | None:
    """Column of the network with this strength, if the grid has it."""
    for index, setting in enumerate(runs.settings):
        if setting.kind == kind and np.isclose(setting.strength, strength):
            return index
    return None


def _defined(
    q: np.ndarray, variant_q: np.ndarray, published: list[float], measure: str, place: str, norm: str
) -> float:
    """Q of a measure, (8,) and (16,), under one definition, or the published level."""
    if place == "published":
        return published[MEASURES.index((measure, norm))]
    if (measure, place, norm) in VARIANTS:
        return float(variant_q[VARIANTS.index((measure, place, norm))])
    return float(q[MEASURES.index((measure, "raw" if norm == "raw" else "normalised"))])


# --- controls of the agreement ----------------------------------------------------------------------------------------


@figure
def chance_and_ceiling(runs: Runs) -> Figure:
    """Figure 4a above chance, and how far two searches of the same matrix agree: floor and ceiling of agreement."""
    above = runs.of("similarity") - runs.of("chance")
    before = untrained_of(runs, "similarity") - untrained_of(runs, "chance")
    made, (table, blocks, ceiling) = plt.subplots(3, 1, figsize=(WIDTH, 9.0), height_ratios=(2.4, 0.9, 1.9))
    agreement_table(table, average(above, axis=(0, 1, 2)), low=0, high=0.8)
    table.set_title("similarity minus its chance level, trained")
    trained = {name: per_run(values) for name, values in block_means(above.mean(2)).items()}
    block_dots(blocks, trained, block_means(before.mean(1)))
    blocks.axvline(0, color=GREY, linewidth=1, zorder=0)
    blocks.set_title("the same, means of the blocks")
    own, fresh = per_run(runs.of("self_similarity").mean(2)), untrained_of(runs, "self_similarity").mean(1)
    order = [MEASURES.index((measure, form)) for measure in BY_SIDE for form in ("raw", "normalised")]
    names = [SHORT[index] for index in order]
    colors = [HUES[MEASURES[index][0]] for index in order]
    interval_dots(ceiling, names, [mean_interval(own[:, i]) for i in order], colors=colors, offset=-0.13)
    interval_dots(ceiling, names, [mean_interval(fresh[:, i]) for i in order], colors=colors, offset=0.17, filled=False)
    ceiling.axvspan(0.64, 0.68, color="#dddddd", linewidth=0, zorder=0)
    ceiling.text(0.66, 7.35, "published,\nraw with\nnormalised", ha="center", va="bottom", fontsize=9, color="#555555")
    ceiling.set_xlim(min(0.55, ceiling.get_xlim()[0]), 1.01)
    ceiling.set_title("agreement of two searches of the same matrix")
    ceiling.set_xlabel("element-centric similarity")
    letters([table, blocks, ceiling])
    return caption(
        made,
        runs,
        "means over networks and hidden layers",
        f"{len(fresh)} untrained networks",
        "chance: exact mean over all shuffles of the units",
        "c: two searches with other seeds, filled: trained, hollow: untrained; grey: the published agreement of "
        "the raw and the normalised form downstream, 0.64 to 0.68",
        "bars: 95\u00a0% intervals over runs, or over untrained networks",
    )


@figure
def unused_units(runs: Runs) -> Figure:
    """Units that a measure leaves out, and the agreement across the sides with and without them."""
    units = int(runs.params["hidden"].split("-")[0])
    kinds = kinds_of(runs)
    made, axes = plt.subplots(2, len(kinds), figsize=(WIDTH, 5.6), sharex="col", sharey="row", squeeze=False)
    unused = runs.of("unused")
    scores: dict[str, tuple[str, Any, str]] = {
        "all units": ("similarity", "-", "black"),
        "chance, all units": ("chance", ":", "black"),
        "used by both": ("similarity_used", "-", COLORS[2]),
        "chance, used by both": ("chance_used", ":", COLORS[2]),
    }
    across = {name: block_means(runs.of(name).mean(2))["across the sides"] for name, _, _ in scores.values()}
    for column, kind in enumerate(kinds):
        above, below = axes[:, column]
        for layer, dashes in ((0, "-"), (unused.shape[2] - 1, "--")):
            for side, color in ((UPSTREAM, UP), (DOWNSTREAM, DOWN)):
                mean = unused[:, :, layer, side].mean(2)
                curve(above, runs, kind, mean, axis="own", color=color, linestyle=dashes, markersize=3, marker="o")
        for name, dashes, color in scores.values():
            curve(below, runs, kind, across[name], axis="own", color=color, linestyle=dashes, markersize=3, marker="o")
        for ax in (above, below):
            if kind != "dropout":
                ax.set_xscale("log")
            ax.grid(True, axis="y")
        above.set_title(KINDS[kind])
        below.set_xlabel(strength_name(kind))
    axes[0, 0].set_ylabel(f"unused units of {units}")
    axes[1, 0].set_ylabel("agreement\nacross the sides")
    axes[1, 0].set_ylim(bottom=0)
    sides = [
        Line2D([], [], color=UP, label="upstream, first layer"),
        Line2D([], [], color=UP, linestyle="--", label="upstream, last layer"),
        Line2D([], [], color=DOWN, label="downstream, first layer"),
        Line2D([], [], color=DOWN, linestyle="--", label="downstream, last layer"),
    ]
    lines = [Line2D([], [], color=color, linestyle=dashes, label=label) for label, (_, dashes, color) in scores.items()]
    made.legend(handles=sides + lines, loc="outside upper center", ncols=2, columnspacing=2)
    return caption(
        made,
        runs,
        "mean over the four measures of a side, or the 16 pairs across",
        "bars: ± s.e.m. over runs",
        HOLLOW,
        "“all units”: those that a measure leaves unused form one module, as in the authors' code",
    )


@figure
def other_scores(runs: Runs) -> Figure:
    """Other scores of agreement against element-centric similarity, over the 28 pairs of measures."""
    upper = np.triu_indices(len(MEASURES), 1)
    similarity = runs.of("similarity")[..., *upper]
    others = runs.of("other_scores")
    correlations = runs.of("rank_correlation")[..., *upper]
    scores = {name: others[..., index] for index, name in enumerate(OTHER_SCORES)}
    scores["rank correlation of the matrices"] = correlations
    sides = np.array([first < 4 for first in range(8)])
    first, second = sides[upper[0]], sides[upper[1]]
    groups = {
        "within downstream": (first & second, DOWN),
        "within upstream": (~first & ~second, UP),
        "across the sides": (first ^ second, "black"),
    }
    made, axes = plt.subplots(2, 3, figsize=(WIDTH, 4.9), sharex=True)
    x = average(similarity, axis=(0, 1, 2))
    for ax, (name, values) in zip(axes.flat, scores.items(), strict=True):
        y = average(values, axis=(0, 1, 2))
        for label, (of_group, color) in groups.items():
            ax.scatter(x[of_group], y[of_group], s=22, color=color, alpha=0.8, linewidths=0, label=label)
        mean = mean_interval(_rank_correlations(similarity, values))
        ax.text(0.04, 0.97, f"ρ = {mean.mean:.2f}", transform=ax.transAxes, va="top", fontsize=10)
        ax.set_title(textwrap.fill(name, 18), fontsize=10)
        ax.locator_params(nbins=4)
        ax.grid(True)
    made.supxlabel("element-centric similarity", fontsize=11)
    made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, handletextpad=0.2)
    return caption(
        made,
        runs,
        "a dot: a pair of measures, mean over networks and hidden layers",
        "ρ: Spearman's correlation over the 28 pairs of a network and layer, mean; "
        "published for other scores 0.94 to 1.0, for the matrices 0.79 to 0.84",
    )


def _rank_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlations along the last axis, mean over kept networks and layers per run: (R,)."""
    kept = np.isfinite(first).all(-1) & np.isfinite(second).all(-1)
    found = np.full(kept.shape, np.nan)
    ranks = [stats.rankdata(values[kept], axis=-1) for values in (first, second)]
    centred = [rank - rank.mean(-1, keepdims=True) for rank in ranks]
    sizes = [np.linalg.norm(rank, axis=-1) for rank in centred]
    with np.errstate(invalid="ignore"):  # constant scores have no ranks
        found[kept] = (centred[0] * centred[1]).sum(-1) / (sizes[0] * sizes[1])
    return average(found, axis=(1, 2))


@figure
def transfer(runs: Runs) -> Figure:
    """How much of a measure's modularity the modules of another measure reach, trained and untrained."""
    made, axes = plt.subplots(2, 1, figsize=(WIDTH, 7.6))
    trained = average(runs.of("transfer"), axis=(0, 1, 2))
    for ax, values, title in (
        (axes[0], trained, "trained"),
        (axes[1], untrained_of(runs, "transfer").mean((0, 1)), "untrained"),
    ):
        share = 100 * values / np.diag(values)[:, None]
        agreement_table(ax, share, text="{:.0f}", low=0, high=100)
        ax.set_title(f"{title}: % of the best Q of the row's matrix")
        ax.set_ylabel("matrix of")
    letters(axes)
    return caption(
        made,
        runs,
        "columns: modules of the measure named above",
        "ratio of means over networks and hidden layers",
        f"{len(runs.fresh['transfer'])} untrained networks",
        "0: no better than chance",
    )


# --- how networks are trained -----------------------------------------------------------------------------------------


@figure
def regimes(fixed: Runs, early: Runs) -> Figure:
    """Modularity along dropout and L2 after a fixed length of training and with early stopping."""
    made = plt.figure(figsize=(WIDTH, 6.6))
    upper, lower = made.subfigures(2, 1, height_ratios=(2.3, 1), squeeze=False)[:, 0]
    axes = upper.subplots(2, 4, sharex="row", sharey="row")
    looks = {"fixed": (fixed, COLORS[6], "-"), "early stopping": (early, COLORS[2], "--")}
    for row, kind in enumerate(("dropout", "l2")):
        for ax, measure in zip(axes[row], BY_SIDE, strict=True):
            index = MEASURES.index((measure, "raw"))
            if fixed.fresh:
                bands(ax, untrained_of(fixed, "q")[:, :, index].mean(1))
            for runs, color, dashes in looks.values():
                values = average(runs.of("q"), axis=2)[:, :, index]
                curve(ax, runs, kind, values, axis="own", color=color, linestyle=dashes, markersize=3, marker="o")
            _own_axis(ax, kind)
        axes[row, 0].set_ylabel(f"{KINDS[kind]}\nQ*, raw")
    measure_titles(axes[0])
    below = lower.subplots(1, 2, sharey=True)
    for ax, kind in zip(below, ("dropout", "l2"), strict=True):
        for runs, name, color, dashes in (
            (fixed, "epochs", COLORS[6], "-"),
            (early, "epochs", COLORS[2], "--"),
            (early, "best_epochs", COLORS[2], ":"),
        ):
            look: dict[str, Any] = {"color": color, "linestyle": dashes, "marker": "o", "markersize": 3}
            curve(ax, runs, kind, runs.of(name), axis="own", **look)
        _own_axis(ax, kind)
        ax.set_xlabel(strength_name(kind))
    below[0].set_ylim(bottom=0)
    below[0].set_ylabel("epochs trained")
    handles = [
        Line2D([], [], color=COLORS[6], label=f"{fixed.params['epochs']} epochs"),
        Line2D([], [], color=COLORS[2], linestyle="--", label="early stopping"),
        Line2D([], [], color=COLORS[2], linestyle=":", label="its best checkpoint"),
    ]
    upper.legend(handles=handles, loc="outside upper center", ncols=3)
    return caption(
        made,
        fixed,
        f"early stopping: {count_of(early)}, {int(early.kept.sum())} of {early.kept.size} kept, "
        f"at most {early.params['epochs']} epochs",
        "bars: ± s.e.m. over runs, layers averaged",
        "grey: untrained ± 1, 2, 3 s.d.",
        HOLLOW,
    )


def _own_axis(ax: Axes, kind: str) -> None:
    """Strengths as they are, few ticks."""
    if kind == "dropout":
        ax.set_xlim(-0.05, 0.75)
        ax.set_xticks([0, 0.35, 0.7], ["0", ".35", ".7"])
    else:
        ax.set_xscale("log")
        ax.set_xlim(6e-6, 2e-1)
        ax.set_xticks([1e-5, 1e-3, 1e-1])
        ax.minorticks_off()
    ax.grid(True, axis="y")


# --- other data and shapes --------------------------------------------------------------------------------------------


@figure
def data_sets(first: Runs, second: Runs) -> Figure:
    """Modularity of the raw measures along every regulariser on two data sets."""
    made, axes = plt.subplots(2, 4, figsize=(WIDTH, 4.7), sharex=True, sharey=True)
    for row, runs in zip(axes, (first, second), strict=True):
        curve_row(row, runs, "q", "raw", f"{DATASETS[runs.dataset]}\nmodularity Q*")
    curve_frame(made, axes[0], first)
    return caption(
        made,
        first,
        f"{DATASETS[second.dataset]}: {count_of(second)}, {int(second.kept.sum())} of {second.kept.size} kept, "
        f"{second.params['epochs']} epochs",
        "raw measures, layers averaged, bars: ± s.e.m. over runs",
        COMMON_AXIS,
        HOLLOW,
    )


@figure
def shapes(runs_by_name: Mapping[str, Runs]) -> Figure:
    """Modularity of every hidden layer of networks of several shapes: untrained, plain, and under strong regularisers.

    Parameters
    ----------
    runs_by_name : mapping
        For the name of each shape, its runs.
    """
    if not runs_by_name:
        raise ValueError("runs_by_name is empty; give the runs of at least one shape")
    rows = [(runs, layer) for runs in runs_by_name.values() for layer in range(runs.of("q").shape[2])]
    names = [f"{name}: layer {layer + 1}" for name, runs in runs_by_name.items() for layer in range(runs["q"].shape[2])]
    made, axes = plt.subplots(2, 2, figsize=(WIDTH, 1.4 + 0.46 * len(rows)), sharex=True, sharey=True)
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "weakest L2": ("plain", {"colors": COLORS[6], "filled": False, "size": 5}),
        "strongest L2": ("l2", {"colors": KIND_COLORS["l2"], "marker": "s", "size": 5, "offset": 0.2}),
        "strongest dropout": (
            "dropout",
            {"colors": KIND_COLORS["dropout"], "marker": MARKERS["dropout"], "size": 8, "offset": -0.2},
        ),
    }
    for ax, measure in zip(axes.flat, BY_SIDE, strict=True):
        index = MEASURES.index((measure, "raw"))
        for row, (runs, layer) in enumerate(rows):
            if runs.fresh:
                ax.plot(untrained_of(runs, "q")[:, layer, index].mean(), row, "|", color=GREY, markersize=11, zorder=1)
        for label, (kind, look) in looks.items():
            found = []
            for runs, layer in rows:
                own = runs.of("q")[:, runs.plain if kind == "plain" else runs.well_kept(kind)[-1], layer, index]
                mean, error = (float(value) for value in mean_error(own))
                found.append(Interval(mean, mean - error, mean + error, int(np.isfinite(own).sum())))
            interval_dots(ax, names, found, label=label, **look)
        for edge in np.flatnonzero([layer == 0 for _, layer in rows])[1:] - 0.5:
            ax.axhline(edge, color="#bbbbbb", linewidth=0.8)
    measure_titles(axes.flat)
    made.supxlabel("modularity Q*, raw", fontsize=11)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    untrained = Line2D([], [], color=GREY, marker="|", markersize=11, linestyle="", label="untrained")
    made.legend([untrained, *handles], ["untrained", *labels], loc="outside upper center", ncols=4, handletextpad=0.1)
    first = next(iter(runs_by_name.values()))
    each = "; ".join(
        f"{name}: hidden layers {runs.params['hidden'].replace('-', '–')}, {runs.params['epochs']} epochs, "
        f"{count_of(runs)}, {int(runs.kept.sum())} of {runs.kept.size} networks kept, strongest "
        + " and ".join(in_words(kind, runs.settings[runs.well_kept(kind)[-1]].strength) for kind in ("l2", "dropout"))
        for name, runs in runs_by_name.items()
    )
    return note(
        made,
        f"{images_of(first.dataset)}; {each}; bars: ± s.e.m. over runs. Strongest: of which half of the runs, and two, "
        "are left.",
    )


@figure
def subset_sizes(results: Results, dataset: str, params: Mapping[str, Any]) -> Figure:
    """What fewer images change: modularity, and the modules themselves."""
    found = recorded(results, "subsample", dataset, params)
    counts = sorted(int(count) for count in found[0])
    # (images, runs, networks, layers, measures)
    q, same = (
        np.array([[run[str(count)][name] for run in found] for count in counts]).reshape(
            len(counts), len(found), -1, len(params["hidden"].split("-")), len(MEASURES)
        )
        for name in ("q", "same_modules")
    )
    made, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.9))
    for index in [MEASURES.index((measure, form)) for measure in BY_SIDE for form in ("raw", "normalised")]:
        measure, form = MEASURES[index]
        look: dict[str, Any] = {"color": HUES[measure], "linestyle": "-" if form == "raw" else "--", "marker": "o"}
        look |= {"markersize": 4, "markerfacecolor": HUES[measure] if form == "raw" else "white"}
        left.plot(counts, (q[..., index] - q[-1:, ..., index]).mean((1, 2, 3)), **look)
        right.plot(counts, same[..., index].mean((1, 2, 3)), label=SHORT[index], **look)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xticks(counts, [spaced(count) if count in counts[::2] else "" for count in counts])
        ax.minorticks_off()
        ax.set_xlabel("images")
        ax.grid(True)
    left.axhline(0, color=GREY, linewidth=1, zorder=0)
    left.set_ylabel("Q* minus that of all images")
    right.set_ylabel("element-centric similarity")
    right.set_ylim(top=1.02)
    left.set_title("modularity")
    right.set_title("same modules?")
    letters([left, right])
    made.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    networks = q.shape[1] * q.shape[2]
    return note(
        made,
        f"{DATASETS[dataset]}, {params['epochs']} epochs; means over {networks} networks "
        "(L2 = 10⁻⁵ and 10⁻², p = 0.3 and 0.7) and their layers; b: modules found with fewer images against those with "
        "all; at the right end the ceiling, two searches of the same matrix.",
    )
