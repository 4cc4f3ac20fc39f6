"""The slides' results, redrawn from the record: networks beside their tasks, rates beside the published ones.

What the slides do not show is in ``beyond``. Every figure says in small print below it what it is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from companion.records import Results
from modutils import statistics, tasks
from modutils.plotting import (
    COLORS,
    GREY,
    PUBLISHED,
    WIDTH,
    figure,
    heat_table,
    interval_dots,
    letters,
    name_rows,
    note,
)
from studies.neural_sculpting import evidence, published
from studies.neural_sculpting.claims import NAMES
from studies.neural_sculpting.evidence import DEFAULT_OUTPUTS, Digits, Found
from studies.neural_sculpting.published import Picture
from studies.neural_sculpting.task_drawing import hierarchy_graph, module_colors, pixel_modules, sculpted_network

WILSON = "Bars: Wilson's 95 % binomial intervals."
LAYER_COLORS = {1: COLORS[4], 2: COLORS[0], 3: COLORS[1], 4: COLORS[2], 5: COLORS[3]}
LAYER_MARKERS = {1: "o", 2: "s", 3: "^", 4: "D", 5: "v"}
#: The three rules for ties.
TIES_LOOK: dict[str, dict[str, Any]] = {
    "first": {"color": COLORS[0], "marker": "v", "markersize": 5, "linestyle": ":", "linewidth": 1},
    "expected": {"color": COLORS[0], "marker": "o", "markersize": 6},
    "most favourable": {"color": COLORS[1], "marker": "^", "markersize": 6, "linestyle": "-", "linewidth": 1},
}
#: Where a legend above the axes stands.
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "borderaxespad": 0}
WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


def sheet(rows: int, height: float, *, columns: int = 2) -> tuple[Figure, list[list[Axes]]]:
    """A figure of drawings, which need to know their size: ``rows`` of ``height`` inches, without automatic layout."""
    made = plt.figure(figsize=(WIDTH, rows * height), layout="none")
    share = (1 - 0.01 * (columns - 1)) / columns
    axes = [
        [
            made.add_axes((column * (share + 0.01), 1 - (row + 0.96) / rows, share, 0.84 / rows))
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    return made, axes


def pictured(results: Results, picture: Picture) -> Found | None:
    """The network of a slide: that of the same seed if it is recorded, else of the first."""
    found = evidence.pictured(results, picture)
    return next((one for one in found if one.seed == picture.seed), found[0] if found else None)


def span(counts: Iterable[int]) -> str:
    """Numbers of networks as text: one number if all are equal, else the least and the largest."""
    known = sorted(set(counts) - {0})
    return " to ".join(str(n) for n in dict.fromkeys((known[0], known[-1]))) if known else "0"


def widest(n: int) -> str:
    """How wide the interval of a rate of ``n`` networks can be, as a sentence for tables that have no room for bars."""
    rate = statistics.share(n // 2, max(n, 1))
    return f"Wilson's 95 % interval of a rate of {n} is at most ±{(rate.high - rate.low) / 2:.2f}."


def percent(density: float) -> str:
    """A density as the slides write it, such as ``2.08 %``."""
    return f"{100 * density:.2f} %"


def network_pair(axes: Sequence[Axes], one: Found, *, title: str | None = None) -> None:
    """A task's true hierarchy, and beside it what was found in a network."""
    task = tasks.load(one.task, outputs=one.outputs)
    hierarchy_graph(axes[0], task, title=title or NAMES[one.task])
    verdict = "all found" if one.verdicts["success"] else "not all found"
    if one.task == "depth" and one.layers < 3 and one.verdicts["success"]:
        verdict = "all it can show"
    colors = module_colors(task, one.labels)
    sculpted_network(axes[1], one.masks, one.labels, colors=colors, title=f"{percent(one.density)}, {verdict}")


@figure
def picture_sheet(
    results: Results, numbers: Sequence[int], *, titles: Sequence[str] = (), height: float = 2.8
) -> Figure:
    """The networks of some slides, one a row: the task on the left, the network on the right.

    Parameters
    ----------
    results : Results
    numbers : sequence of int
        Claims about the slides' captions, such as 5 for N5.
    titles : sequence of str
        One a row, where the name of the task does not tell rows apart.
    height : float
        Of a row, in inches.
    """
    pictures = [picture for number in numbers for picture in published.PICTURES if picture.claim == number]
    found = [pictured(results, picture) for picture in pictures]
    shown = [(one, picture, place) for place, (one, picture) in enumerate(zip(found, pictures, strict=True)) if one]
    made, axes = sheet(len(shown), height)
    for row, (one, _, place) in zip(axes, shown, strict=True):
        network_pair(row, one, title=titles[place] if titles else None)
    words = "; ".join(
        f"{percent(one.density)} (slide {picture.density:.2f} %), seed {one.seed}, "
        f"P_u = {one.unit_step:g} %, P_e = {one.edge_step:g} %"
        for one, picture, _ in shown
    )
    return note(
        made,
        f"Each the sparsest run of its grid, in the order of the rows: {words}. Same colour and marker: same module.",
    )


# --- success rates ----------------------------------------------------------------------------------------------------


@figure
def exemplar_rates(results: Results) -> Figure:
    """Success on the four exemplars, as the slides count and by depth."""
    made, ax = plt.subplots(figsize=(WIDTH, 4.4))
    rows: list[tuple[str, float, str, list[list[bool]]]] = []
    for task, slide in (("single", 36), ("separable", 36), ("reused", 35), ("separable-reused", 36)):
        found = evidence.networks(results, task, DEFAULT_OUTPUTS[task])
        asked = [[tie[evidence.as_slide(one)] for tie in one.ties] for one in found]
        rows.append((NAMES[task] + ", as the slide counts" * (task == "reused"), slide / 36, COLORS[0], asked))
    for layers, counts in published.REUSE_COUNTS.items():
        found = evidence.networks(results, "reused", DEFAULT_OUTPUTS["reused"], layers=layers)
        asked = [[tie["success"] for tie in one.ties] for one in found]
        rows.append((f"reused, strictly, {WORDS[layers]} hidden", counts[-1] / 12, GREY, asked))
    rates = {
        ties: [evidence.share([evidence.weight(ask, ties) for ask in asked]) for *_, asked in rows]
        for ties in evidence.TIES
    }
    interval_dots(ax, [row[0] for row in rows], rates["expected"], colors=[row[2] for row in rows])
    places = range(len(rows))
    for ties in ("first", "most favourable"):
        look = TIES_LOOK[ties] | {"linestyle": "", "color": "black", "markersize": 4}
        ax.plot([rate.mean for rate in rates[ties]], np.array(places) + 0.22, label=ties, **look)
    ax.plot([row[1] for row in rows], places, **PUBLISHED, label="published")
    ax.set(xlabel="share of networks that show exactly the task's modules", xlim=(-0.04, 1.04))
    ax.legend(**ABOVE | {"ncols": 3})
    expected = rates["expected"]
    return note(
        made,
        f"n = {span(rate.n for rate in expected[:4])} networks a row, {span(rate.n for rate in expected[4:])} for one "
        "depth, all widths and seeds pooled. Dots: ties count with equal weight; below them the first of tied runs and "
        f"the most favourable. {WILSON}",
    )


@figure
def densities(results: Results) -> Figure:
    """Density of every pictured network: our seeds beside the slide."""
    made, ax = plt.subplots(figsize=(WIDTH, 5.6))
    rows = []
    for picture in published.PICTURES:
        found = evidence.pictured(results, picture)
        if found and picture.claim != 19:  # the same network as that of claim 6
            rows.append((picture, found))
    for row, (picture, found) in enumerate(rows):
        ours = [100 * one.density / picture.density for one in found]
        spread = row + 0.12 * (np.arange(len(ours)) - (len(ours) - 1) / 2)
        label = None if row else "ours, one seed"
        ax.plot(ours, spread, "o", color=COLORS[0], markersize=5, alpha=0.8, label=label)
        edges = found[0].edges / found[0].density * picture.density / 100
        ax.hlines(row, 1 - 2 / edges, 1 + 2 / edges, color="#dddddd", linewidth=7, zorder=0)
        ax.plot(1, row, **PUBLISHED, label=None if row else "published")
    names = [f"N{p.claim}  {NAMES[p.task]}, {p.layers} × {p.width} → {p.outputs}" for p, _ in rows]
    name_rows(ax, names, fontsize=9.5)
    ax.set_xlabel("edges left, relative to the slide")
    ax.legend(**ABOVE)
    return note(made, "One dot a seed, each the sparsest of its grid. Grey: two edges more or less than on the slide.")


@figure
def overlap_rates(results: Results) -> Figure:
    """Rates of the three verdicts by overlap and reuse, ours above and the published below."""
    titles = {"inputs": "input groups", "hidden": "hidden units apart", "outputs": "outputs apart"}
    made, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.4))
    n = set()
    for column, (name, title) in enumerate(titles.items()):
        ours = np.full((5, len(published.REUSE)), np.nan)
        for overlap in range(5):
            for place, reuse in enumerate(published.REUSE):
                found = evidence.networks(results, f"overlap-{overlap}", 2 * reuse)
                if found:
                    ours[overlap, place] = evidence.rate(found, name, "most favourable").mean
                    n.add(len(found))
        for row, values in enumerate((ours, published.overlap_rates(name))):
            heat_table(
                axes[row, column], values, list("01234"), [*map(str, published.REUSE)], low=0, high=1, fontsize=8.5
            )
            axes[row, column].set_title(title if row == 0 else "", pad=22 if row == 0 else 6)
            axes[row, column].set_ylabel(("ours\n" if row == 0 else "published\n") + "overlap" if column == 0 else "")
    for ax in axes[0]:
        ax.set_xlabel("reuse r", labelpad=2)
        ax.xaxis.set_label_position("top")
    return note(
        made,
        f"Share of {span(n)} networks a cell; a cell stays empty where nothing is recorded. Overlap: inputs that the "
        "two functions share. Reuse: copies of each output function. "
        f"Ties count as is most favourable, in ours as in the published. {widest(max(n, default=1))}",
    )


def _rates_by_reuse(
    results: Results, task: str, there: Mapping[int, Sequence[float]], ylabel: str, *words: str
) -> Figure:
    """How often all is found that a depth can show, by reuse, by each rule for ties; a panel a depth, and published."""
    x = np.arange(len(published.REUSE))
    made, axes = plt.subplots(1, len(there), figsize=(WIDTH, 3.3), sharey=True)
    n: set[int] = set()
    for ax, (layers, theirs) in zip(axes, sorted(there.items()), strict=True):
        rows = {
            ties: [
                evidence.rate(evidence.networks(results, task, 2 * reuse, layers=layers), "resolved", ties)
                for reuse in published.REUSE
            ]
            for ties in evidence.TIES
        }
        known = [place for place, rate in enumerate(rows["expected"]) if rate.n]
        n |= {rows["expected"][place].n for place in known}
        ax.fill_between(
            x[known],
            [rows["first"][i].mean for i in known],
            [rows["most favourable"][i].mean for i in known],
            color=COLORS[0],
            alpha=0.2,
            linewidth=0,
        )
        for ties, rates in rows.items():
            ax.plot(x[known], [rates[i].mean for i in known], label=ties, **TIES_LOOK[ties])
        expected = rows["expected"]
        ax.vlines(
            x[known], [expected[i].low for i in known], [expected[i].high for i in known], color=COLORS[0], linewidth=1
        )
        ax.plot(x, theirs, label="published", **PUBLISHED | {"linestyle": "--", "linewidth": 1, "color": GREY})
        ax.set_xticks(x, [str(reuse) for reuse in published.REUSE])
        ax.set(xlabel="reuse r", ylim=(-0.04, 1.04), title=f"{WORDS[layers]} hidden layer{'s' * (layers > 1)}")
        ax.grid(True, axis="y")
    axes[0].set_ylabel(ylabel)
    letters(axes)
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    about = (
        f"n = {span(n)} networks a point (ours), all widths and seeds pooled; 12 (published). Where several runs of a "
        "grid have the fewest edges, the first in its order counts, or all with equal weight (expected), or the most "
        "favourable. Bars: Wilson's 95 % intervals of the expected rate."
    )
    return note(made, " ".join((about, *words)))


@figure
def reuse_rates(results: Results) -> Figure:
    """Success on the reused function, by reuse and depth."""
    there = {layers: [count / 12 for count in counts] for layers, counts in published.REUSE_COUNTS.items()}
    return _rates_by_reuse(results, "reused", there, "share that show both\noutput functions")


@figure
def depth_rates(results: Results) -> Figure:
    """Success on the task with three levels, by reuse and depth."""
    words = "Two hidden layers can show three modules, more can show five."
    return _rates_by_reuse(results, "depth", published.DEPTH_RATES, "share that show all\nthis depth can show", words)


# --- pairs of digits --------------------------------------------------------------------------------------------------


def digit_colors(one: Digits) -> dict[int, str]:
    """The largest module of pixels in the first colour, and so on; modules of outputs and hidden units after them."""
    numbers = np.concatenate([layer[layer >= 0] for layer in one.labels])
    found, first = np.unique(numbers, return_index=True)
    pixels = {int(module): int((one.labels[0] == module).sum()) for module in found}
    order = sorted(range(len(found)), key=lambda i: (-pixels[int(found[i])], first[i]))
    return {int(found[i]): COLORS[place % len(COLORS)] for place, i in enumerate(order)}


@figure
def digit_networks(found: Sequence[Digits]) -> Figure:
    """One network a row: which pixels are left and in which module, and the network above them."""
    made = plt.figure(figsize=(WIDTH, 2.9 * len(found)), layout="none")
    for row, one in enumerate(found):
        bottom = 1 - (row + 1) / len(found)
        image = made.add_axes((0.02, bottom + 0.22 / len(found), 0.34, 0.62 / len(found)))
        colors = digit_colors(one)
        pixel_modules(image, one.labels[0], one.shape, colors=colors)
        image.set_title(f"{WORDS[one.layers]} hidden layers", fontsize=11)
        image.set_xlabel(f"{one.sizes[0]} of {one.shape[0] * one.shape[1]} pixels", fontsize=9.5)
        network = made.add_axes((0.38, bottom + 0.03 / len(found), 0.62, 0.86 / len(found)))
        sculpted_network(network, one.masks, one.labels, colors=colors, title=f"{percent(one.density)} of the edges")
    words = "; ".join(
        f"{one.layers} hidden: {one.accuracy:.1%} of the bits right (dense {one.dense_accuracy:.1%}), seed {one.seed}"
        for one in found
    )
    return note(made, f"{words}. White pixels are cut off. Same colour: same module.")


@figure
def sides_by_density(small: Sequence[Digits], large: Sequence[Digits]) -> Figure:
    """One-sidedness of the first hidden layer and purity of the modules of pixels, against density."""
    made, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.6), sharex=True)
    for found, filled in ((small, True), (large, False)):
        for layers in sorted({one.layers for one in found}):
            own = [one for one in found if one.layers == layers]
            look: dict[str, Any] = {"color": LAYER_COLORS[layers], "marker": LAYER_MARKERS[layers], "linestyle": ""}
            look |= {"markersize": 6} if filled else {"markersize": 8, "markerfacecolor": "white"}
            label = f"{WORDS[layers]} hidden layers{'' if filled else ', full size'}"
            density = [100 * one.density for one in own]
            axes[0].plot(density, [one.one_sidedness for one in own], label=label, **look)
            axes[1].plot(density, [one.purity for one in own], **look)
    axes[0].set(xscale="log", ylabel="one-sidedness", ylim=(-0.03, 1.03))
    axes[1].set(ylabel="purity", ylim=(0.48, 1.02))
    for ax in axes:
        ax.set_xlabel("edges left (%)")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.grid(True)
    letters(axes)
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return note(
        made,
        f"A mark is a run: {len(small)} of the smaller networks (filled), {len(large)} of full size (hollow). Purity: "
        "share of the pixels left that are of the digit which most of their module's pixels are of; one module of all "
        "has one half.",
    )


@figure
def left_shares(found: Sequence[Digits]) -> Figure:
    """How one-sided the first hidden layer reads: a row a network, a dot a unit; their mean and its null."""
    found = sorted(found, key=lambda one: (one.layers, one.seed))
    made, (ax, test) = plt.subplots(1, 2, figsize=(WIDTH, 0.9 + 0.34 * len(found)), width_ratios=(1.5, 1), sharey=True)
    generator = np.random.default_rng(0)
    for row, one in enumerate(found):
        jitter = row + generator.uniform(-0.22, 0.22, len(one.left_shares))
        ax.plot(one.left_shares, jitter, ".", color=COLORS[0], markersize=4, alpha=0.7)
        low, high = np.quantile(one.null, (0.025, 0.975))
        test.hlines(row, low, high, color="#bbbbbb", linewidth=5)
        test.plot(one.one_sidedness, row, "o", color=COLORS[1], markersize=6)
    for each in (ax, test):
        name_rows(each, [f"{one.layers} hidden, seed {one.seed}" for one in found])
    ax.axvline(0.5, color=GREY, linewidth=1, linestyle="--", zorder=0)
    ax.set(xlabel="share of a unit's edges\nfrom the left digit", xlim=(-0.03, 1.03))
    test.set(xlabel="one-sidedness\n(0 mixed, 1 pure)", xlim=(0, 1.03))
    letters([ax, test])
    return note(
        made,
        "a: a dot is a unit of the first hidden layer that is left. b: their mean one-sidedness (orange) and 95 % of "
        f"{evidence.SHUFFLES} shuffled masks (grey), in which every unit draws as many edges from all pixels left.",
    )
