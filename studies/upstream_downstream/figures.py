"""The figures of the paper on upstream and downstream modules, redrawn from the record.

What the paper does not show is in ``beyond``. Every figure says in small print below it what it is made of; figures of
MNIST networks carry the levels of the published plots in grey, read off with an error of about 0.01.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle

from companion.records import Results
from companion.reports import DATASETS
from modutils.plotting import (
    COLORS,
    DIVERGING,
    GREY,
    PUBLISHED,
    SEQUENTIAL,
    WIDTH,
    figure,
    interval_dots,
    letters,
    note,
)
from modutils.statistics import mean_interval
from studies.upstream_downstream.cells import MEASURES
from studies.upstream_downstream.drawing import (
    BY_SIDE,
    COMMON_AXIS,
    DOWN,
    HOLLOW,
    HUES,
    KIND_COLORS,
    KINDS,
    NAMES,
    PUBLISHED_LABEL,
    SHORT,
    UP,
    agreement_table,
    average,
    block_dots,
    block_means,
    caption,
    curve,
    curve_frame,
    curve_row,
    has_published,
    images_of,
    in_words,
    kinds_of,
    mean_error,
    name_measures,
    per_run,
    published_levels,
    recorded,
    strength_name,
    untrained_of,
)
from studies.upstream_downstream.evidence import KIND_OF_INFORMATION, NORMALISATION, of_pairs
from studies.upstream_downstream.runs import LEAST_ACCURACY, Runs


def _panels(runs: Runs, name: str, label: str, *notes: str) -> Figure:
    """Eight panels of a quantity averaged over layers: one per measure, raw above, normalised below."""
    made, axes = plt.subplots(2, 4, figsize=(WIDTH, 4.9), sharex=True, sharey=True)
    for row, form in zip(axes, ("raw", "normalised"), strict=True):
        curve_row(row, runs, name, form, f"{form}\n{label}")
    curve_frame(made, axes[0], runs)
    fresh = f"{len(runs.fresh['q'])} untrained networks" if runs.fresh else "no untrained networks recorded"
    return caption(made, runs, "bars: ± s.e.m. over runs, layers averaged", fresh, *notes, COMMON_AXIS, HOLLOW)


# --- the idea ---------------------------------------------------------------------------------------------------------

_TINTS = {"up": (COLORS[1], COLORS[4], "#FBE0B0"), "down": (COLORS[0], COLORS[5], "#CFE8F7")}


def _wires(
    ax: Axes, start: Sequence[tuple[float, float]], end: Sequence[tuple[float, float]], weights: np.ndarray, color: str
) -> None:
    """Connections between two columns of nodes, as thick as ``weights`` (start, end) say."""
    for (row, column), weight in np.ndenumerate(weights):
        if weight > 0:
            (x, y), (u, v) = start[row], end[column]
            ax.plot([x, u], [y, v], color=color, linewidth=weight, zorder=1, solid_capstyle="round")


def _nodes(ax: Axes, places: Sequence[tuple[float, float]], color: Any = "white", size: float = 95) -> None:
    x, y = zip(*places, strict=True)
    ax.scatter(x, y, s=size, c=color, edgecolors="#444444", linewidths=0.8, zorder=3)


def _column(x: float, count: int, height: float = 1.0) -> list[tuple[float, float]]:
    return [(x, float(y)) for y in np.linspace(height, -height, count)]


@figure
def idea() -> Figure:
    """Figure 1: a unit between what drives it and what it drives, and what two units can share on either side."""
    made = plt.figure(figsize=(WIDTH, 5.2))
    upper, lower = made.subfigures(2, 1, height_ratios=(1.15, 1), squeeze=False)[:, 0]
    generator = np.random.default_rng(3)

    whole = upper.subplots()
    inputs, layer, outputs = _column(0, 8), _column(2, 7, 0.95), _column(4, 5, 0.75)
    _wires(whole, inputs, layer, np.full((8, 7), 0.4), "#dddddd")
    _wires(whole, layer, outputs, np.full((7, 5), 0.4), "#dddddd")
    own = 3
    into, out = np.zeros((8, 7)), np.zeros((7, 5))
    into[:, own] = generator.uniform(0.6, 4.2, 8)
    out[own] = generator.uniform(0.8, 4.2, 5)
    _wires(whole, inputs, layer, into, UP)
    _wires(whole, layer, outputs, out, DOWN)
    _nodes(whole, inputs)
    _nodes(whole, layer)
    _nodes(whole, outputs)
    _nodes(whole, [layer[own]], color="black", size=150)
    for x, words in ((0, "inputs"), (2, "one layer"), (4, "outputs")):
        whole.text(x, -1.13, words, ha="center", va="top")
    whole.text(1, 1.1, "upstream: what drives it", color=UP, ha="center", weight="bold")
    whole.text(3, 1.1, "downstream: what it drives", color=DOWN, ha="center", weight="bold")
    whole.set_xlim(-0.6, 4.6)
    whole.set_ylim(-1.3, 1.25)
    whole.set_title("a unit has two sides")

    both, driven, drives = lower.subplots(1, 3, width_ratios=(1, 1, 1))
    for ax, shared in ((both, "up"), (driven, "down")):
        _two_units(ax, shared)
    both.set_title("alike upstream")
    driven.set_title("alike downstream")
    _two_partitions(drives)
    drives.set_title("same modules?")
    for ax in (whole, both, driven, drives):
        ax.set_axis_off()
    letters([whole, both, driven, drives])
    return made


def _two_units(ax: Axes, shared: str) -> None:
    """Two units that share one side and have nothing in common on the other."""
    inputs, units, outputs = _column(0, 6), [(1.0, 0.45), (1.0, -0.45)], _column(2, 6)
    same = np.array([0.0, 3.2, 1.4, 2.6, 0.8, 0.0])
    apart = np.array([[2.6, 1.2, 2.0, 0, 0, 0], [0, 0, 0, 1.4, 2.6, 2.0]])
    one_side, other_side = np.stack([same, same]), apart
    into, out = (one_side, other_side) if shared == "up" else (other_side, one_side)
    _wires(ax, inputs, units, into.T, UP if shared == "up" else "#c9c9c9")
    _wires(ax, units, outputs, out, DOWN if shared == "down" else "#c9c9c9")
    _nodes(ax, inputs, size=60)
    _nodes(ax, outputs, size=60)
    _nodes(ax, units, color="black", size=190)
    for (x, y), name in zip(units, "ij", strict=True):
        ax.text(x, y - 0.015, f"${name}$", color="white", ha="center", va="center", zorder=4)
    words = "driven by the same inputs" if shared == "up" else "drive the same outputs"
    ax.text(1, -1.25, words, ha="center", va="top", fontsize=9, color=UP if shared == "up" else DOWN)
    ax.set_xlim(-0.25, 2.25)
    ax.set_ylim(-1.5, 1.15)


def _two_partitions(ax: Axes) -> None:
    """Nine units, each with its upstream module on the left and its downstream module on the right."""
    upstream, downstream = (0, 0, 0, 1, 1, 1, 2, 2, 2), (0, 1, 0, 2, 1, 2, 0, 2, 1)
    for index, (a, b) in enumerate(zip(upstream, downstream, strict=True)):
        row, column = divmod(index, 3)
        ax.plot(
            column,
            -row,
            "o",
            markersize=27,
            fillstyle="left",
            markerfacecolor=_TINTS["up"][a],
            markerfacecoloralt=_TINTS["down"][b],
            markeredgecolor="#444444",
            markeredgewidth=0.8,
        )
    ax.text(0.9, -2.62, "left half:\nupstream\nmodule", ha="right", va="top", fontsize=9, color=UP)
    ax.text(1.1, -2.62, "right half:\ndownstream\nmodule", ha="left", va="top", fontsize=9, color=DOWN)
    ax.set_xlim(-0.75, 2.75)
    ax.set_ylim(-3.3, 0.5)


_CARDS = {
    "covariance": (r"$|\,\langle (h_i-\mu_i)\,(h_j-\mu_j)\rangle\,|$", "Are both active together?"),
    "input_sensitivity": (
        r"$|\,\langle \nabla_{\!x} h_i \cdot \nabla_{\!x} h_j\rangle\,|$",
        "Do the same pixels move both?",
    ),
    "output_sensitivity": (
        r"$|\,\langle \partial y/\partial h_i \cdot \partial y/\partial h_j\rangle\,|$",
        "Do both move the same outputs?",
    ),
    "loss_hessian": (
        r"$|\,\langle \partial^2\!L\,/\,\partial h_i\,\partial h_j\rangle\,|$",
        "Does the loss bend along both?",
    ),
}


@figure
def measures_overview() -> Figure:
    """Figure 2: the eight measures along three axes, with what each asks and how it is computed."""
    made, ax = plt.subplots(figsize=(WIDTH, 4.9))
    ax.set_axis_off()
    ax.set_xlim(0, 10)
    ax.set_ylim(0.3, 7.9)
    middle, left, width = 5.35, (0.75, 5.5), 4.45

    # The path of a signal: the left column of cards stands under x → h, the right one under h → y → L.
    stations = {1.1: "$x$", middle: "$h$", 8.4: "$y$", 9.6: "$L$"}
    for start, end, color in ((1.1, middle, UP), (middle, 8.4, DOWN), (8.4, 9.6, DOWN)):
        ax.annotate(
            "",
            (end - 0.33, 7.1),
            (start + 0.33, 7.1),
            arrowprops={"arrowstyle": "-|>,head_width=0.35,head_length=0.6", "color": color, "linewidth": 3},
        )
    ax.scatter(list(stations), [7.1] * 4, s=420, c="white", edgecolors="#444444", linewidths=1, zorder=3)
    for x, name in stations.items():
        ax.text(x, 7.08, name, ha="center", va="center", fontsize=13, zorder=4)
    for x, words, color in ((3.2, "upstream", UP), (6.9, "downstream", DOWN)):
        ax.text(x, 7.42, words, ha="center", fontsize=12, color=color, weight="bold")
    for x, words in ((1.1, "image"), (middle, "layer"), (8.4, "logits"), (9.6, "loss")):
        ax.text(x, 6.5, words, ha="center", va="center", fontsize=9, color="#444444")

    for row, (kind, bottom) in enumerate((("moments", 4.0), ("gradients", 1.75))):
        ax.text(0.32, bottom + 0.95, kind, rotation=90, ha="center", va="center", fontsize=12, weight="bold")
        for column, measure in enumerate((BY_SIDE[0], BY_SIDE[3]) if row == 0 else (BY_SIDE[1], BY_SIDE[2])):
            _card(ax, left[column], bottom, width, measure)

    # The third axis.
    ax.text(0.75, 0.82, "each in two forms", fontsize=11, weight="bold", va="center")
    for x, filled, words in (
        (3.75, True, "raw  $S_{ij}$"),
        (5.72, False, r"normalised  $S'_{ij}=S_{ij}\,/\sqrt{S_{ii}S_{jj}}$"),
    ):
        for offset, color in enumerate((UP, DOWN)):
            ax.plot(
                x + 0.3 * offset,
                0.82,
                "s",
                markersize=9,
                color=color,
                markerfacecolor=color if filled else "white",
                markeredgewidth=1.6,
            )
        ax.text(x + 0.55, 0.82, words, va="center", fontsize=11)
    return note(
        made,
        "h: activity of a unit, μ: its mean, x: pixels, y: logits, L: cross-entropy; ⟨ ⟩: mean over test images, "
        "a dot: sum over pixels or logits. The absolute value stands outside the mean and the normalisation is "
        "that of a correlation, as in the authors' code; the printed equations differ in both.",
    )


def _card(ax: Axes, x: float, y: float, width: float, measure: str) -> None:
    color = HUES[measure]
    box = FancyBboxPatch(
        (x + 0.08, y + 0.08), width - 0.16, 1.84, boxstyle="round,pad=0.06,rounding_size=0.18", linewidth=1.8
    )
    box.set_edgecolor(color)
    box.set_facecolor((*plt.matplotlib.colors.to_rgb(color), 0.1))
    ax.add_patch(box)
    formula, question = _CARDS[measure]
    short = SHORT[MEASURES.index((measure, "raw"))]
    ax.text(x + 0.22, y + 1.6, NAMES[measure], va="center", fontsize=11.5, weight="bold")
    ax.text(
        x + width - 0.22, y + 1.6, short, va="center", ha="right", fontsize=9.5, color="#444444", family="monospace"
    )
    ax.text(x + width / 2, y + 0.98, formula, va="center", ha="center", fontsize=13)
    ax.text(x + 0.22, y + 0.34, question, va="center", fontsize=10, color="#333333")


# --- figure 3 ---------------------------------------------------------------------------------------------------------


@figure
def sorted_matrices(results: Results, dataset: str, params: Mapping[str, Any]) -> Figure:
    """Figure 3, top: normalised covariance of the first layer at four dropout rates, units sorted by module."""
    found = recorded(results, "examples", dataset, params)[0]
    published = published_levels("examples", "covariance", "normalised", 0)["dropout"]
    made, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.9))
    for ax in axes.flat:
        ax.set_axis_off()  # a grid may lack a rate
    for ax, (rate, example) in zip(axes.flat, found.items(), strict=False):
        ax.set_axis_on()
        matrix, labels = np.array(example["matrix"], dtype=float), np.asarray(example["labels"])
        np.fill_diagonal(matrix, 0)
        order, edges = _by_module(matrix, labels)
        shown = matrix[np.ix_(order, order)]
        image = ax.imshow(shown, cmap=SEQUENTIAL, vmin=0, vmax=1)
        for start, end in pairwise(edges):
            square = (start - 0.5, start - 0.5), end - start, end - start
            ax.add_patch(Rectangle(*square, fill=False, edgecolor=COLORS[1], linewidth=1.6))
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(True)
        beside = f" (published {published[float(rate)]:.3f})" if dataset == "mnist" else ""
        ax.set_title(f"p = {rate}\nQ = {example['q']:.3f}{beside}", fontsize=10.5)
    bar = made.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label("normalised covariance of two units")
    epochs = params["epochs"]
    return note(
        made,
        f"{images_of(dataset)}; first hidden layer, {len(labels)} units, "
        f"{epochs} epochs, one run (seed 0); squares: modules, units without one last; "
        "rows and columns are the same units, diagonal set to 0; the published networks had 500 epochs.",
    )


def _by_module(matrix: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Units by module, large modules and strong units first and unused units last, with the modules' edges."""
    names, sizes = np.unique(labels[labels >= 0], return_counts=True)
    ranks = {int(name): rank for rank, name in enumerate(names[np.argsort(-sizes, kind="stable")])}
    inside = (matrix * (labels[:, None] == labels)).sum(1)
    order = np.lexsort((-inside, [ranks.get(int(label), len(ranks)) for label in labels]))
    return order, [0, *np.cumsum(np.sort(sizes)[::-1]).tolist()]


@figure
def q_curves(runs: Runs) -> Figure:
    """Figure 3, bottom: modularity against the strength of each regulariser, for the eight measures."""
    return _panels(runs, "q", "modularity Q*")


# --- figure 4 ---------------------------------------------------------------------------------------------------------


@figure
def agreement_maps(runs: Runs) -> Figure:
    """Figure 4: how alike the modules of two measures are after training (a), and what training changed (b)."""
    similarity, fresh = runs.of("similarity"), untrained_of(runs, "similarity")
    trained, untrained = average(similarity, axis=(0, 1, 2)), fresh.mean((0, 1))
    made, (after, change, blocks) = plt.subplots(3, 1, figsize=(WIDTH, 8.9), height_ratios=(2.6, 2.6, 1))
    agreement_table(after, trained, low=0, high=1)
    off = np.where(np.eye(len(MEASURES), dtype=bool), np.nan, trained - untrained)
    agreement_table(change, off, text="{:+.2f}", cmap=DIVERGING, low=-0.4, high=0.4)
    after.set_title("element-centric similarity of modules, trained")
    change.set_title("trained minus untrained")
    means, before = block_means(similarity.mean(2)), block_means(fresh.mean(1))
    by_run = {name: per_run(values) for name, values in means.items()}
    block_dots(blocks, by_run, before, published=has_published(runs))
    blocks.set_title("means of the blocks")
    blocks.set_xlim(0, 0.9)
    letters([after, change, blocks])
    return caption(
        made,
        runs,
        "means over networks and hidden layers",
        f"{len(fresh)} untrained networks",
        "blue names: downstream, orange: upstream, ′: normalised",
        "c: bars are 95\u00a0% intervals over runs, or over untrained networks",
    )


# --- supplement -------------------------------------------------------------------------------------------------------

_OUTCOME = {
    "train_accuracy": "train\naccuracy",
    "test_accuracy": "test\naccuracy",
    "sum_squares": "Σ W²",
    "sum_absolute": "Σ |W|",
    "sparsity": "share of\n|W| < 10⁻³",
    "nuclear_norm": "nuclear\nnorm",
}


@figure
def training_outcome(runs: Runs) -> Figure:
    """Figure S1: accuracy and size of the weights against the strength of each regulariser, of all networks."""
    kinds, published = kinds_of(runs), PUBLISHED | {"marker": "s", "markersize": 6, "color": GREY}
    made, axes = plt.subplots(
        len(_OUTCOME), len(kinds), figsize=(WIDTH, 9.2), sharex="col", sharey="row", squeeze=False
    )
    for row, (name, label) in enumerate(_OUTCOME.items()):
        for ax, kind in zip(axes[row], kinds, strict=True):
            own, x = np.asarray(runs[name], dtype=float)[:, runs.places(kind)], runs.strengths(kind)
            ax.plot(x, own.T, color=KIND_COLORS["l2"], linewidth=0.6, alpha=0.7)
            ax.errorbar(x, *mean_error(own), color="black", linewidth=1.4, marker="o", markersize=2.5)
            if name in runs.fresh:
                ax.axhline(float(untrained_of(runs, name).mean()), color=GREY, linewidth=1.2, linestyle="--", zorder=0)
            if name == "test_accuracy":
                ax.axhline(LEAST_ACCURACY, color=COLORS[1], linewidth=1, linestyle=":")
            if has_published(runs):
                points = published_levels(name).get(kind, {})
                ax.plot(list(points), list(points.values()), **published)
            if kind != "dropout":
                ax.set_xscale("log")
            if name in ("sum_squares", "sum_absolute"):
                ax.set_yscale("log")
            ax.grid(True, axis="y")
        if name in ("sum_squares", "sum_absolute") and runs.kept.any():
            axes[row, 0].set_ylim(bottom=0.3 * float(np.nanmin(runs.of(name))))
        axes[row, 0].set_ylabel(label)
    for ax in axes[:2].flat:
        ax.set_ylim(0, 1.03)
    for column, kind in enumerate(kinds):
        axes[0, column].set_title(KINDS[kind])
        axes[-1, column].set_xlabel(strength_name(kind))
    handles = [
        Line2D([], [], color="black", marker="o", markersize=3, label="mean ± s.e.m."),
        Line2D([], [], color=KIND_COLORS["l2"], linewidth=0.8, label="one run"),
        Line2D([], [], color=GREY, linestyle="--", label="untrained"),
        Line2D([], [], color=COLORS[1], linestyle=":", label="bar of 80\u00a0%"),
    ]
    if has_published(runs):
        handles.append(Line2D([], [], **published, label=PUBLISHED_LABEL))
    made.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.4, handlelength=1.7)
    return caption(
        made,
        runs,
        "here all networks are drawn, but the smallest Σ of those below the bar fall out of the panels",
        "weights of the three matrices, without biases",
    )


@figure
def search_gains(results: Results, dataset: str, params: Mapping[str, Any]) -> Figure:
    """Figure S2: what the Monte Carlo steps and the spectral start add, and what a search with restarts adds."""
    found = recorded(results, "search", dataset, params)
    joined = {name: np.concatenate([run[name] for run in found], axis=-1) for name in found[0]}
    made = plt.figure(figsize=(WIDTH, 6.3))
    upper, lower = made.subfigures(2, 1, height_ratios=(1.45, 1), squeeze=False)[:, 0]
    left, right = upper.subplots(1, 2)
    for ax, x, y in (
        (left, joined["spectral"], joined["spectral_5000"][0]),
        (right, joined["single_1000"][0], joined["spectral_5000"][0]),
    ):
        low, high = 0.9 * min(x.min(), y.min()), 1.05 * max(x.max(), y.max())
        ax.plot([low, high], [low, high], color=GREY, linewidth=1, zorder=0)
        ax.scatter(x, y, s=16, color=COLORS[0], alpha=0.6, linewidths=0)
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.locator_params(nbins=5)
        above, below = (y > x + 1e-6).mean(), (y < x - 1e-6).mean()
        words = f"above: {100 * above:.0f}\u00a0%\nbelow: {100 * below:.0f}\u00a0%"
        ax.text(0.04, 0.96, words, transform=ax.transAxes, va="top", fontsize=10)
    left.set(title="spectral start, then steps", xlabel="Q, spectral start only", ylabel="Q*, with 5000 steps")
    right.set(
        title="against a start from one module",
        xlabel="Q*, 1000 steps from one module",
        ylabel="Q*, spectral start and 5000",
    )

    rows = {
        "spectral start only": "spectral",
        "1000 steps from one module": "single_1000",
        "1000 steps from the spectral start": "spectral_1000",
        "5000 steps from one module": "single_5000",
        "5000 steps from the spectral start": "spectral_5000",
        "ours": "ours",
    }
    best = np.max([joined[name].reshape(-1, joined[name].shape[-1]).max(0) for name in joined], axis=0)
    ax = lower.subplots()
    short = [mean_interval((best - joined[name].reshape(-1, len(best))).mean(0)) for name in rows.values()]
    colors = [COLORS[1] if name == "ours" else COLORS[0] for name in rows.values()]
    interval_dots(ax, list(rows), short, colors=colors, reference=0)
    ax.locator_params(axis="x", nbins=4)
    ax.set_xlabel("modularity below the best found")
    ax.set_title("what is left to find")
    letters([left, right, ax])
    return note(
        made,
        f"{DATASETS[dataset]}, {params['epochs']} epochs; {len(best)} matrices, a random 5\u00a0% of {len(found)} "
        f"{'run' if len(found) == 1 else 'runs'}; a, b: one chain each; c: four searches each, "
        "bars are 95\u00a0% intervals over matrices; ours: the library's search as it comes "
        "(Leiden and a local search, then a chain of 1000 steps, refined).",
    )


@figure
def q_by_layer(runs: Runs) -> Figure:
    """Figure S3: figure 3 split by hidden layer; grey panels are the deeper layer."""
    layers = runs.of("q").shape[2]
    made, axes = plt.subplots(2 * layers, 4, figsize=(WIDTH, 1.85 * 2 * layers), sharex=True, sharey=True)
    for row, (form, layer) in zip(axes, product(("raw", "normalised"), range(layers)), strict=True):
        curve_row(row, runs, "q", form, f"{form}\nlayer {layer + 1}", layer=layer)
        if layer % 2:
            for ax in row:
                ax.set_facecolor("#eef3f6")
    curve_frame(made, axes[0], runs)
    made.supylabel("modularity Q*", fontsize=11)
    return caption(made, runs, "bars: ± s.e.m. over runs", COMMON_AXIS, HOLLOW)


@figure
def effective_numbers(runs: Runs) -> Figure:
    """Figure S4: effective number of modules against the strength of each regulariser, for the eight measures."""
    return _panels(
        runs,
        "effective_number",
        "modules",
        "exp of the entropy of the module sizes, used units only",
        "published numbers: one for the measures of a side",
    )


#: Pairs of measures that the claims on Figure S5 are about, with colour and dashes.
_PAIRS: dict[str, tuple[list[tuple[int, int]], str, Any]] = {
    "upstream, covariance with i-sens": (KIND_OF_INFORMATION["upstream"], UP, "-"),
    "downstream, hess with o-sens, one form": ([(0, 2), (1, 3)], DOWN, "-"),
    "downstream, raw with normalised": (NORMALISATION["downstream"], DOWN, "--"),
    "across the sides, raw downstream": (list(product((0, 2), range(4, 8))), COLORS[6], "-"),
    "across the sides, normalised downstream": (list(product((1, 3), range(4, 8))), COLORS[6], "--"),
}
#: The strongest setting of each regulariser in the published Figure S5.
_STRONGEST = {"l2": 1e-2, "l1": 10**-2.5, "dropout": 0.7}


@figure
def agreement_by_strength(runs: Runs) -> Figure:
    """Figure S5: agreement along each regulariser, and the tables of all measures where it is strongest."""
    similarity, fresh = runs.of("similarity"), untrained_of(runs, "similarity")
    kinds = kinds_of(runs)
    made = plt.figure(figsize=(WIDTH, 7.2))
    upper, lower = made.subfigures(2, 1, height_ratios=(1, 1.6), squeeze=False)[:, 0]
    curves = upper.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    tables = lower.subplots(2, len(kinds), squeeze=False)
    for ax, kind, (above, below) in zip(curves, kinds, tables.T, strict=True):
        for pairs, color, dashes in _PAIRS.values():
            values = of_pairs(similarity, pairs).mean(2)
            curve(ax, runs, kind, values, axis="own", color=color, linestyle=dashes, marker="o", markersize=2.5)
            ax.axhline(float(of_pairs(fresh, pairs).mean()), 0, 0.07, color=color, linestyle=dashes, linewidth=2)
        place = _nearest(runs, kind, _STRONGEST[kind])
        strength = runs.settings[place].strength
        if kind == "dropout":
            ax.set_xlim(-0.09)
        else:
            ax.set_xscale("log")
            ax.set_xlim(10**-5.6)
            ax.minorticks_off()
        ax.axvline(strength, color=GREY, linewidth=1, linestyle=":", zorder=0)
        ax.set_xlabel(strength_name(kind))
        ax.grid(True, axis="y")
        mean = average(similarity[:, place], axis=(0, 1))
        off = np.where(np.eye(len(mean), dtype=bool), np.nan, mean - fresh.mean((0, 1)))
        level = above.imshow(mean, cmap=SEQUENTIAL, vmin=0, vmax=1)
        change = below.imshow(off, cmap=DIVERGING, vmin=-0.6, vmax=0.6)
        above.set_title(f"{in_words(kind, strength)}, n = {runs.kept[:, place].sum()}", fontsize=10.5)
        for table in (above, below):
            name_measures(table)
            table.tick_params(axis="x", rotation=90, labelbottom=table is below)
            table.tick_params(axis="y", labelleft=ax is curves[0])
    curves[0].set_ylabel("similarity")
    lower.colorbar(level, ax=tables[0], fraction=0.02, pad=0.01, label="similarity")
    lower.colorbar(change, ax=tables[1], fraction=0.02, pad=0.01, label="trained − untrained")
    handles = [Line2D([], [], color=color, linestyle=dashes, label=name) for name, (_, color, dashes) in _PAIRS.items()]
    upper.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=9, columnspacing=1.4)
    letters([curves[0], *tables[:, 0]])
    return caption(
        made,
        runs,
        "a: bars are ± s.e.m. over runs; short bars on the left: untrained; dotted: the setting of b and c",
        HOLLOW,
        f"b, c: means over n networks and hidden layers; c: minus those of {len(fresh)} untrained networks",
        "blue names: downstream, orange: upstream, ′: normalised",
    )


def _nearest(runs: Runs, kind: str, strength: float) -> int:
    """Column of the setting of a regulariser whose strength is nearest, for the penalties in log, and that is kept."""
    scale = np.asarray if kind == "dropout" else np.log10
    own = [index for index, setting in enumerate(runs.settings) if setting.kind == kind]
    kept = [index for index in own if runs.kept[:, index].any()] or own
    return min(kept, key=lambda index: abs(scale(runs.settings[index].strength) - scale(strength)))
