"""What everybody sees in one network, who finds the plant, when they part, and what removal shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import adjusted_rand_score

from companion.reports import table as html_table
from modutils import graphs, hierarchy
from modutils.plotting import (
    COLORS,
    GREY,
    SEQUENTIAL,
    WIDTH,
    band_curves,
    figure,
    heat_table,
    interval_dots,
    letters,
    note,
)
from modutils.statistics import Interval, mean_interval
from studies.bake_off import methods, scores
from studies.bake_off.evidence import BASELINES, Evidence, agreement, of_network
from studies.bake_off.methods import NAMES, Net

LAYERS = ("lower layer", "upper layer")
#: One method for each idea, in the order of the figures.
SHOWN = (
    "co-clustering", "covariance", "input sensitivity", "output sensitivity", "loss Hessian", "weights, all",
    "weights, hidden", "weights, local", "activations", "activations, all", "reach 0.8", "reach 0.9", "reach 0.95",
    "sculpting 0.8", "sculpting 0.9", "sculpting 0.95",
)  # fmt: skip
#: Those with a line of their own in colour, and in grey.
LINES = ("co-clustering", "input sensitivity", "loss Hessian", "weights, all", "activations", "reach 0.9")
GREYS = ("in-weight", "class preference", "single unit", "k-means")
#: What methods are called where it must be clear that a number is one of theirs.
WORDS = {
    "co-clustering": "co-clustering of attributions",
    "weights, all": "weight graph, all layers",
    "weights, hidden": "weight graph, hidden layers",
    "weights, local": "weight graph, layer by layer",
    "activations": "activation graph of a layer",
    "activations, all": "activation graph of both",
    **{f"reach {share}": f"pruned to {share:.0%} zeros, reach".replace("%", " %") for share in methods.SPARSITIES},
    **{
        f"sculpting {share}": f"pruned to {share:.0%} zeros, detected".replace("%", " %")
        for share in methods.SPARSITIES
    },
    "in-weight": "in-weight (baseline)",
    "out-weight": "out-weight (baseline)",
    "class preference": "head preferred (baseline)",
    "single unit": "single lesions (baseline)",
    "k-means": "k-means (baseline)",
    "random": "random (baseline)",
    "random, equal sizes": "random, equal sizes (baseline)",
}


def word(method: str) -> str:
    """A method in words."""
    return WORDS.get(method, method)


def two(value: float) -> str:
    """A number with two decimals; a rounded zero has no sign.

    Examples
    --------
    >>> two(-0.001), two(-0.25)
    ('0.00', '−0.25')
    """
    return f"{round(float(value), 2) + 0:.2f}".replace("-", "−")


# --- one network, live ------------------------------------------------------------------------------------------------


@figure
def seen(net: Net, true: Sequence[np.ndarray], labels: Mapping[str, methods.Labels], layer: int = 1) -> Figure:
    """The plant of one layer, and what eight methods look at, with units in the order of their planted groups."""
    order = np.argsort(true[layer], kind="stable")
    other = np.argsort(true[0], kind="stable")
    masks = methods.pruned(net, 0.8)
    reached = hierarchy.reach(masks)[layer + 1].astype(float)
    length = np.sqrt(reached.sum(1).clip(1))
    views: dict[str, np.ndarray] = {
        "the plant": (true[layer][:, None] == true[layer]).astype(float)[np.ix_(order, order)],
        "weights, all": methods.sizes_of_weights(net)[1][np.ix_(order, other)],
        "co-clustering": np.asarray(methods.attributions(net)[layer].clip(min=0))[order],
        "activations": graphs.correlation_graph(methods.activities(net)[layer])[np.ix_(order, order)],
        "reach 0.8": (reached @ reached.T / np.outer(length, length))[np.ix_(order, order)],
    }
    for name, measure in methods.MEASURES.items():
        views[name] = methods.similarities(net, measure)[layer][np.ix_(order, order)]
    alive = scores.fires(net.model, methods.LAYERS[layer], net.inputs)
    sheet, axes = plt.subplots(3, 3, figsize=(WIDTH, WIDTH * 1.12))
    edges = np.cumsum(np.bincount(true[layer]))[:-1] - 0.5
    for ax, (name, view) in zip(axes.flat, views.items(), strict=True):
        shown = view.copy()
        square = name not in ("the plant", "weights, all", "co-clustering")
        if square:
            np.fill_diagonal(shown, 0)
        top = np.quantile(shown, 0.98) if name != "the plant" else 1.6
        ax.imshow(shown, cmap=SEQUENTIAL, vmin=0, vmax=max(top, 1e-9), aspect="auto")
        for edge in edges:
            ax.axhline(edge, color=COLORS[1], linewidth=1)
            if name not in ("co-clustering",):
                ax.axvline(edge, color=COLORS[1], linewidth=1)
        if name == "co-clustering":
            for head in range(1, net.heads):
                ax.axvline(head * len(net.inputs) - 0.5, color=COLORS[1], linewidth=1)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(True)
        short = {"weights, all": "weights", "co-clustering": "attributions", "reach 0.8": "reach"}.get(name, name)
        if name == "the plant":
            ax.set_title(short, fontsize=10)
        else:
            found = scores.agreement(true[layer], labels[name][layer], alive)
            ax.set_title(f"{short} {two(found)}", fontsize=10)
    for ax in axes[:, 0]:
        ax.set_ylabel("units", fontsize=10)
    return sheet


def standings(
    true: Sequence[np.ndarray], labels: Mapping[str, methods.Labels], net: Net
) -> list[tuple[str, float, float]]:
    """Everybody's ARI in both layers of one network, the best first."""
    alive = [scores.fires(net.model, layer, net.inputs) for layer in methods.LAYERS]
    rows = []
    for name, own in labels.items():
        if not name.endswith((", Q at k", ", tree")):
            lower, upper = (scores.agreement(true[at], own[at], alive[at]) for at in range(2))
            rows.append((name, lower, upper))
    return sorted(rows, key=lambda row: -(row[1] + row[2]))


def _noted(sheet: Figure, of: Evidence, networks: int, more: str = "") -> Figure:
    """Data and number of networks in small print."""
    of_what = {"mnist": "MNIST", "digits": "digits"}[of.dataset]
    return note(sheet, f"{of.groups} images of {of_what} side by side; n = {networks} networks of a kind.{more}")


# --- who finds it -----------------------------------------------------------------------------------------------------


def course(of: Evidence, method: str, layer: int) -> np.ndarray:
    """ARI of a layer of the aligned networks, (seeds, δ), of seeds that learned at every δ."""
    found = [of.networks("aligned", delta) for delta in of.deltas("aligned")]
    seeds = sorted(set.intersection(*map(set, found)))
    return np.array([[of_network(one[seed], method, layer) for one in found] for seed in seeds])


@figure
def against_delta(of: Evidence) -> Figure:
    """ARI against the share of weights between groups that is kept, for both layers."""
    sheet, axes = plt.subplots(2, 1, figsize=(WIDTH, 7.4), sharex=True)
    deltas = of.deltas("aligned")
    for layer, ax in enumerate(axes):
        band_curves(ax, deltas, {word(name): course(of, name, layer) for name in LINES})
        for name, dash in zip(GREYS, ("-", "--", ":", "-."), strict=True):
            ax.plot(deltas, course(of, name, layer).mean(0), dash, color=GREY, linewidth=1.2, label=word(name))
        ax.axhline(0.5, color=GREY, linewidth=0.6)
        ax.set_ylim(-0.06, 1.06)
        ax.set_ylabel("agreement with the plant (ARI)")
        ax.set_title(LAYERS[layer])
    axes[1].set_xlabel(f"share δ of the weights between groups that is kept; n = {len(course(of, LINES[0], 0))}")
    letters(axes)
    sheet.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return sheet


@figure
def half_way(of: Evidence) -> Figure:
    """δ50 of every method with its bootstrap interval, beside that of in-weight."""
    names = [name for name in (*SHOWN, *BASELINES) if not name.startswith("random")]
    found = {name: of.d50(name) for name in names}
    rows = sorted(names, key=lambda name: -found[name].mean)
    sheet, ax = plt.subplots(figsize=(WIDTH, 0.27 * len(rows) + 0.9))
    colors = [GREY if name in BASELINES else COLORS[0] for name in rows]
    interval_dots(ax, [word(name) for name in rows], [found[name] for name in rows], colors=colors,
                  reference=found["in-weight"].mean)  # fmt: skip
    ax.set_xlabel("δ at which ARI falls below one half")
    return _noted(sheet, of, found["in-weight"].n)


# --- when they part ---------------------------------------------------------------------------------------------------


@figure
def apart(of: Evidence, delta: float = 0.1) -> Figure:
    """Mean ARI by layer of crossed networks and of columns."""
    rows = [name for name in (*SHOWN, *BASELINES) if not name.startswith("random,")]
    table = np.array(
        [
            [
                float(np.mean(found)) if len(found := of.ari(name, family, delta, layer)) else np.nan
                for family in ("crossed", "columns")
                for layer in (0, 1)
            ]
            for name in rows
        ]
    )
    sheet, ax = plt.subplots(figsize=(WIDTH, 0.28 * len(rows) + 0.9))
    columns = ("crossed\nlower", "crossed\nupper", "columns\nlower", "columns\nupper")
    heat_table(ax, table, [word(name) for name in rows], columns, low=0, high=1, fontsize=9)
    ax.axvline(1.5, color="white", linewidth=5)
    ax.axhline(len(rows) - sum(name in BASELINES for name in rows) - 0.5, color="white", linewidth=3)
    crossed, of_columns = (len(of.networks(family, delta)) for family in ("crossed", "columns"))
    return _noted(sheet, of, of_columns, f" Columns have one image. Of crossed networks {crossed} learned.")


@figure
def rescaling(of: Evidence, delta: float = 0.3) -> Figure:
    """ARI, mean of both layers, before and after units were rescaled."""
    before, after = of.networks("aligned", delta), of.networks("rescaled", delta)
    seeds = sorted(before.keys() & after.keys())
    rows = [name for name in (*SHOWN, *BASELINES) if not name.startswith("random")]
    sheet, ax = plt.subplots(figsize=(WIDTH, 0.3 * len(rows) + 1.2))
    series: dict[str, list[Interval]] = {
        label: [mean_interval(of.of_seeds(name, networks, seeds)) for name in rows]
        for label, networks in (("as trained", before), ("rescaled", after))
    }
    names = [word(name) for name in rows]
    interval_dots(ax, names, series["as trained"], offset=-0.13, filled=False, label="as trained")
    interval_dots(ax, names, series["rescaled"], colors=COLORS[1], offset=0.13, marker="s", size=5, label="rescaled")
    ax.set_xlim(-0.05, 1.05)
    ax.set_xlabel(f"agreement with the plant (ARI); n = {len(seeds)}")
    sheet.legend(loc="outside lower center", ncols=2)
    return sheet


# --- who agrees with whom ---------------------------------------------------------------------------------------------


@figure
def agreements(of: Evidence, with_plant: float = 0.3, without: float = 1.0) -> Figure:
    """Agreement of methods beyond chance where there is a plant and where there is none, as means over networks."""
    left_out = ("weights, all", "activations, all", "reach 0.95")
    rows = [name for name in SHOWN if not name.startswith("sculpting") and name not in left_out]
    places = [NAMES.index(name) for name in rows]
    sheet, axes = plt.subplots(2, 1, figsize=(WIDTH, 8.6))
    for ax, delta in zip(axes, (with_plant, without), strict=True):
        found = [agreement(one)[np.ix_(places, places)] for one in of.networks("aligned", delta).values()]
        table = np.mean(found, axis=0) if found else np.full((len(rows),) * 2, np.nan)
        np.fill_diagonal(table, np.nan)
        short = [str(number) for number in range(1, len(rows) + 1)]
        names = [f"{word(name)}  {number}" for number, name in enumerate(rows, 1)]
        heat_table(ax, table, names, short, low=0, high=0.5, fontsize=9)
        ax.set_title(f"δ = {delta:g}: " + ("no plant" if delta == 1 else "a plant"), pad=22)
    letters(axes, pad=22)
    return _noted(sheet, of, min(len(of.networks("aligned", delta)) for delta in (with_plant, without)))


# --- what removal shows -----------------------------------------------------------------------------------------------


@figure
def removal(of: Evidence) -> Figure:
    """Selectivity on held-out images of modules found, of random ones, and of what a greedy search finds."""
    deltas = of.deltas("aligned")
    found = [of.networks("aligned", delta) for delta in deltas]
    seeds = sorted(set.intersection(*map(set, found)))

    def curve(number: Any) -> np.ndarray:
        return np.array([[number(one[seed]) for one in found] for seed in seeds])

    def modules(method: str, kind: str) -> np.ndarray:
        return curve(lambda one: float(one[kind][one["names"].index(method)][1]))

    lines = {
        "greedy set": curve(lambda one: float(np.mean(one["greedy"]["set"]))),
        "greedy set and its complement": curve(
            lambda one: float(np.mean([one["greedy"]["set"], one["greedy"]["complement"]]))
        ),
        "modules by input sensitivity": modules("input sensitivity", "selectivity"),
        "modules by weights": modules("weights, all", "selectivity"),
        "head preferred (baseline)": modules("class preference", "selectivity"),
        "random sets of the same sizes": modules("weights, all", "random"),
    }
    sheet, ax = plt.subplots(figsize=(WIDTH, 4.6))
    band_curves(ax, deltas, lines, colors=(*COLORS[:4], GREY, COLORS[6]))
    ax.set_xlabel(f"share δ of the weights between groups that is kept; n = {len(seeds)}")
    ax.set_ylabel("own head's loss − the other's")
    ax.set_ylim(-0.05, 1)
    sheet.legend(loc="outside lower center", ncols=2, fontsize=9)
    return sheet


# --- which for what ---------------------------------------------------------------------------------------------------

#: For each question the definition that answers it, and where its number comes from.
QUESTIONS: tuple[tuple[str, str, str, float, int | None], ...] = (
    ("How is the network wired, whatever it does?", "weights, local", "columns", 0.1, None),
    ("Which part of the input does a unit depend on?", "input sensitivity", "crossed", 0.1, 0),
    ("Which output does a unit serve?", "loss Hessian", "crossed", 0.1, 1),
    ("Which output does a unit serve, for which images?", "co-clustering", "crossed", 0.1, 1),
    ("Which units vary together?", "activations", "crossed", 0.1, 0),
    ("What is left of the task when all else is pruned?", "reach 0.8", "crossed", 0.1, 1),
)


def seconds(of: Evidence, method: str) -> float:
    """Processor time of a method on one network, description and grouping of both layers, as the median."""
    found = [
        one["seconds"][one["names"].index(method)]
        for delta in of.deltas("aligned")
        for one in of.networks("aligned", delta).values()
    ]
    return float(np.median(found)) if found else float("nan")


def choice(of: Evidence) -> str:
    """The table of questions and definitions as HTML, which scrolls in itself where it is wider than the page."""
    aligned = max(delta for delta in of.deltas("aligned") if delta <= 0.5)
    rows = []
    for question, method, family, delta, layer in QUESTIONS:
        found = of.ari(method, family, delta, layer)
        where = {"crossed": "crossed", "columns": "columns"}[family] + {0: ", lower", 1: ", upper", None: ""}[layer]
        rows.append(
            (
                question,
                word(method),
                f"{two(found.mean())} ({where})" if len(found) else "–",
                two(of.ari(method, "aligned", aligned).mean()),
                f"{seconds(of, method):.2f} s",
            )
        )
    head = ("Question", "Definition", "ARI where only this counts", f"ARI, aligned, δ = {aligned:g}", "Cost a network")
    return f'<div style="overflow-x: auto">{html_table(head, rows)}</div>'


def across(of: Evidence, method: str, family: str, delta: float) -> float:
    """ARI between a method's modules of all hidden units and the layer that a unit is in, as a mean over networks."""
    place = NAMES.index(method)
    found = []
    for one in of.networks(family, delta).values():
        tables = [table[place] for table in one["labels"]]
        found.append(adjusted_rand_score(np.repeat([0, 1], [len(own) for own in tables]), np.concatenate(tables)))
    return float(np.mean(found))


def left_out(of: Evidence, method: str, family: str, delta: float) -> float:
    """Share of the units that fire to which a method gives no module, as a mean over layers and networks."""
    place = NAMES.index(method)
    return float(np.mean([one["unassigned"][place].mean() for one in of.networks(family, delta).values()]))


def selective(of: Evidence, method: str, delta: float, kind: str = "selectivity") -> float:
    """Mean selectivity of a method's modules in the upper layer of aligned networks."""
    place = NAMES.index(method)
    return float(np.mean([one[kind][place, 1] for one in of.networks("aligned", delta).values()]))


def pilot(rows: Sequence[Any]) -> str:
    """Each hypothesis with its number, its verdict and the pilot's number, as HTML."""
    head = ("Hypothesis", "Found", "Interval", "Verdict", "Pilot")
    lines = [
        (f"{row.id}. {row.statement}", row.value, row.interval, row.verdict, row.published.removeprefix("pilot: "))
        for row in rows
    ]
    return f'<div style="overflow-x: auto">{html_table(head, lines)}</div>'


def counted(of: Evidence) -> str:
    """How many networks learned, of how many, and how many of their units never fire."""
    kinds = [(family, delta) for family in ("aligned", "crossed", "columns") for delta in of.deltas(family)]
    all_of = [one for kind in kinds for one in of.recorded(*kind).values()]
    kept = [one for kind in kinds for one in of.networks(*kind).values()]
    dead = [1 - float(np.mean(one["fires"][layer])) for one in kept for layer in (0, 1)]
    return (
        f"{len(kept)} of {len(all_of)} networks learned their task; in a layer {np.mean(dead):.0%} of the units never "
        f"fire on average, {max(dead):.0%} at most"
    ).replace("%", " %")
