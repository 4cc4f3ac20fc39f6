"""What the figures of the chapter on detecting modularity share: colours, published numbers, rows of dots, the idea."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

from companion.published import table
from companion.records import RecordError
from companion.reports import DATASETS
from modutils import plotting
from modutils.plotting import COLORS, GREY, PUBLISHED, WIDTH, figure, letters, note
from studies.detecting_modularity.evidence import GROUPS, NAMES, UNTRAINED, Evidence, Tested

Group = tuple[str, str]

Of = Mapping[str, Evidence]
#: The groups that most figures show.
ROWS: tuple[Group, ...] = (UNTRAINED, *GROUPS)
#: Colour and marker of a partition: blue from weights, orange from activations, light for local ones.
PARTITION_LOOKS = {
    "weights/global": (COLORS[0], "o"),
    "weights/local": (COLORS[5], "s"),
    "activations/global": (COLORS[1], "D"),
    "activations/local": (COLORS[4], "^"),
}
GROUP_LOOKS = {
    ("plain", "trained"): (COLORS[0], "o"),
    ("dropout", "trained"): (COLORS[1], "s"),
    ("plain", "pruned"): (COLORS[2], "^"),
    ("dropout", "pruned"): (COLORS[3], "D"),
}
LAYER_LOOKS = ((COLORS[4], "o"), (COLORS[0], "s"), (COLORS[1], "^"), (COLORS[2], "D"))
DATASET_LOOKS = ((COLORS[0], "o"), (COLORS[1], "s"), (COLORS[2], "^"))
#: What an effect is counted in.
UNITS = {
    "importance": "extra drop\n(% points)",
    "normalised range": "normalised\nrange",
    "score": "score",
    "entropy": "entropy",
    "spread": "spread",
    "matched spread": "matched\nspread",
    "label entropy": "label\nentropy",
}
SMALLEST = 1e-16  # smaller p-values are drawn here
LEVEL = float(-np.log10(0.05))
EVEN = {"o": 1.0, "s": 0.95, "D": 0.88, "^": 1.12}  # factors that make markers look equally large
SHUFFLE, SPAN = "#bdbdbd", "#f7e6bd"

# --- from the authors' stored results ---------------------------------------------------------------------------------


def has_published(evidence: Evidence) -> bool:
    """Whether there are published numbers for the data set."""
    return any(row["dataset"] == evidence.dataset for row in table("detecting_modularity", "published_cuts"))


def published_of(evidence: Evidence, quantity: str) -> dict[Group, float]:
    """Published ``ncut``, ``z``, ``activations_ncut`` or ``nmi`` at k = 12 by group: means over 5 networks.

    Those of untrained networks are over 100.
    """
    rows = [row for row in table("detecting_modularity", "published_cuts") if row["dataset"] == evidence.dataset]
    return {(row["kind"], row["state"]): row[quantity] for row in rows if row[quantity] is not None}


def published_ranges(evidence: Evidence, statistic: str) -> dict[Group, tuple[float, float]]:
    """Least and largest published Fisher p (k = 12), z or n-cut over networks, by group.

    Where the source does not name the data set, the range stands for both. That of L1 does not say either whether
    networks are pruned, and stands for both states.
    """
    if not has_published(evidence):
        return {}
    return {
        (row["kind"], state): (row["low"], row["high"])
        for row in table("detecting_modularity", "published_ranges")
        if row["dataset"] in (None, evidence.dataset) and row["statistic"] == statistic
        for state in ([row["state"]] if row["state"] else ["trained", "pruned"])
    }


# --- what is recorded -------------------------------------------------------------------------------------------------


def recorded(groups: Sequence[Group], of: Of, found: Callable[[Evidence, Group], Sequence[Any]]) -> list[Group]:
    """The groups of which some data set has something.

    Raises
    ------
    RecordError
        None has.
    """
    shown = [group for group in groups if any(len(found(evidence, group)) for evidence in of.values())]
    if not shown:
        raise RecordError(f"nothing that this figure shows is recorded for {', '.join(of) or 'no data set'}")
    return shown


def tested_of(evidence: Evidence, group: Group) -> list[Tested]:
    """The networks of a group whose sub-clusters were tested."""
    return evidence.tested(*group)


def seeds_of(of: Of, groups: Sequence[Group], found: Callable[[Evidence, Group], Sequence[Any]]) -> str:
    """How many networks a row has, in words."""
    return counted({name: [len(found(evidence, group)) for group in groups] for name, evidence in of.items()})


def panels(
    rows: int, columns: int, height: float, *, sharex: str = "col", sharey: str = "row", **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of the width of the page, and its axes (rows, columns)."""
    return plt.subplots(  # type: ignore[call-overload]
        rows, columns, figsize=(WIDTH, height), sharex=sharex, sharey=sharey, squeeze=False, **options
    )


# --- rows of dots -----------------------------------------------------------------------------------------------------


class Series(NamedTuple):
    """Some marks of one look in one lane of a row."""

    values: Sequence[float] | np.ndarray
    color: str
    marker: str = "o"
    size: float = 4.2


def lanes(count: int, height: float = 0.66) -> np.ndarray:
    """Offsets from the middle of a row, from above."""
    return np.linspace(-height / 2, height / 2, count) if count > 1 else np.zeros(count)


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """One row for each name, the first on top, with thin lines between rows."""
    plotting.name_rows(ax, names, fontsize=10)
    for edge in np.arange(1, len(names)) - 0.5:
        ax.axhline(edge, color="#eeeeee", linewidth=0.8, zorder=0)


def dot_rows(ax: Axes, rows: Sequence[Sequence[Series]], *, height: float = 0.66) -> None:
    """Marks of every series of every row, each series in a lane of its own."""
    for row, series in enumerate(rows):
        for offset, one in zip(lanes(len(series), height), series, strict=True):
            values = np.asarray(one.values, dtype=float)
            values = values[np.isfinite(values)]
            size = one.size * EVEN[one.marker]
            look: dict[str, Any] = {"color": one.color, "markersize": size, "markeredgewidth": 0.8, "alpha": 0.85}
            ax.plot(values, np.full(len(values), row + offset), one.marker, zorder=3, **look)


def logs(p: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """−log₁₀ of p-values, at most that of `SMALLEST`."""
    return np.asarray(-np.log10(np.maximum(np.asarray(p, dtype=float), SMALLEST)))


def p_ticks(axes: Sequence[Axes], *, axis: str = "x", most: float = 4) -> None:
    """Label axes of −log₁₀ p, all alike, with p-values, and mark p = 0.05; they reach what is drawn on any."""
    column = 0 if axis == "x" else 1
    drawn = [np.asarray(line.get_xydata(), dtype=float)[:, column] for ax in axes for line in ax.lines]
    spans = [patch for ax in axes for patch in ax.patches if isinstance(patch, Rectangle)]
    drawn += [np.array([patch.get_x() + patch.get_width()]) for patch in spans]
    high = max(float(np.concatenate([[1.7], *drawn]).max()), 1.7)
    step = next(step for step in (1, 2, 3, 4, 5, 8) if high / step <= most)
    ticks = np.arange(0, high + 1e-9, step)
    names = ["1" if not tick else rf"$10^{{-{tick:.0f}}}$" for tick in ticks]
    for ax in axes:
        (ax.axvline if axis == "x" else ax.axhline)(LEVEL, color=GREY, linewidth=1, linestyle="--", zorder=1)
        (ax.set_xticks if axis == "x" else ax.set_yticks)(ticks, names, fontsize=9.5)
        (ax.set_xlim if axis == "x" else ax.set_ylim)(-0.07 * high, 1.07 * high)


def mark_published(ax: Axes, groups: Sequence[Group], values: Mapping[Group, float], *, offset: float = 0) -> None:
    """A diamond in the rows of the groups that have a published value."""
    for row, group in enumerate(groups):
        if group in values:
            ax.plot(values[group], row + offset, **PUBLISHED)


def span_published(
    ax: Axes,
    groups: Sequence[Group],
    ranges: Mapping[Group, tuple[float, float]],
    *,
    offset: float = 0,
    height: float = 0.84,
) -> None:
    """A light band behind the rows of the groups that have a published range, ``offset`` rows below their middle."""
    for row, group in enumerate(groups):
        if group in ranges:
            low, high = ranges[group]
            corner = (low, row + offset - height / 2)
            look: dict[str, Any] = {"facecolor": SPAN, "edgecolor": "#dcbf73", "zorder": 0.5}
            ax.add_patch(Rectangle(corner, high - low, height, **look))


def handle(look: tuple[str, str], label: str, *, filled: bool = True, size: float = 6) -> Line2D:
    """A mark for a legend."""
    color, marker = look
    fill = color if filled else "white"
    return Line2D([], [], color=color, marker=marker, markersize=size, markerfacecolor=fill, linestyle="", label=label)


def published_handles(of: Of, *, values: bool = True, ranges: bool = False) -> list[Any]:
    """What published values and ranges look like, where there are some."""
    if not any(map(has_published, of.values())):
        return []
    diamond = Line2D([], [], **PUBLISHED, label="published")
    return [diamond] * values + [Patch(color=SPAN, label="published range")] * ranges


def shuffle_handle() -> Patch:
    return Patch(color=SHUFFLE, label="its shuffles, mean ± s.d.")


def partition_handles() -> list[Line2D]:
    return [handle(look, name.replace("/", ", ")) for name, look in PARTITION_LOOKS.items()]


def names_of(groups: Sequence[Group]) -> list[str]:
    """Short names of groups: "halves" goes, the figure says it."""
    return [NAMES[group].replace(" halves", "") for group in groups]


def counted(of: Mapping[str, Sequence[int]], *, each: str = "a row") -> str:
    """How many seeds there are, by data set, such as ``digits: n = 2 to 5 seeds a row``."""
    names: dict[str, list[str]] = {}
    for name, counts in of.items():
        known = sorted({count for count in counts if count}) or [0]
        number = f"{known[0]} to {known[-1]}" if len(known) > 1 else str(known[0])
        names.setdefault(f"n = {number} {'seed' if number == '1' else 'seeds'} {each}", []).append(name)
    words = "; ".join(f"{' and '.join(same)}: {number}" for number, same in names.items())
    return words.replace("-", "\N{NON-BREAKING HYPHEN}")


def data_name(evidence: Evidence) -> str:
    return DATASETS[evidence.dataset]


# --- the idea ---------------------------------------------------------------------------------------------------------

_LAYERS = (5, 6, 6, 4)
_CLUSTERS = ((0, 0, 1, 1, 2), (0, 0, 0, 1, 2, 2), (0, 1, 1, 1, 2, 2), (0, 1, 2, 2))
_HUES = (COLORS[0], COLORS[1], COLORS[2])
_CHOSEN = (1, 0)  # layer and cluster of the sub-cluster that is tested


def _places() -> list[np.ndarray]:
    return [
        np.stack([np.full(units, float(x)), np.linspace(1, -1, units) * (0.75 + 0.05 * units)], axis=1)
        for x, units in enumerate(_LAYERS)
    ]


def _weights() -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    found = []
    for below, above in pairwise(_CLUSTERS):
        same = np.array(above)[:, None] == np.array(below)
        strength = np.where(same, generator.uniform(0.5, 1.0, same.shape), generator.uniform(0.02, 0.3, same.shape))
        found.append(strength * generator.choice((-1, 1), same.shape))
    return found


def _net(ax: Axes, *, how: str) -> None:
    """The network of the drawing: as it is (signed weights), as a graph, or with clusters."""
    places = _places()
    for layer, weights in enumerate(_weights()):
        for (above, below), weight in np.ndenumerate(weights):
            (x, y), (u, v) = places[layer][below], places[layer + 1][above]
            color = {"network": COLORS[1] if weight > 0 else COLORS[0], "graph": "#555555"}.get(how, "#cccccc")
            width = 0.7 if how == "network" else 2.6 * abs(weight)
            if how == "clusters" and _CLUSTERS[layer][below] == _CLUSTERS[layer + 1][above]:
                color = _HUES[_CLUSTERS[layer][below]]
            ax.plot([x, u], [y, v], color=color, linewidth=width, alpha=0.75, zorder=1)
    for layer, spots in enumerate(places):
        fills = [_HUES[cluster] if how == "clusters" else "white" for cluster in _CLUSTERS[layer]]
        ax.scatter(spots[:, 0], spots[:, 1], s=62, c=fills, edgecolors="#333333", linewidths=0.9, zorder=3)
    if how == "clusters":
        layer, cluster = _CHOSEN
        own = places[layer][np.array(_CLUSTERS[layer]) == cluster]
        _frame(ax, layer, own[:, 1])
    ax.set(xlim=(-0.45, 3.45), ylim=(-1.4, 1.4))
    ax.set_axis_off()


def _frame(ax: Axes, x: float, heights: np.ndarray) -> None:
    """A box around the sub-cluster that is tested."""
    corner = (x - 0.28, heights.min() - 0.2)
    ax.add_patch(Rectangle(corner, 0.56, np.ptp(heights) + 0.4, fill=False, edgecolor="black", linewidth=1.4, zorder=2))


def _sets(ax: Axes) -> None:
    """One layer four times: with the sub-cluster, and with random sets of as many units."""
    layer, cluster = _CHOSEN
    heights = _places()[layer][:, 1]
    own = np.flatnonzero(np.array(_CLUSTERS[layer]) == cluster)
    _frame(ax, 0, heights[own])
    sets: list[list[int]] = [own.tolist(), [0, 3, 4], [1, 2, 5], [0, 2, 3]]
    for x, units in enumerate(sets):
        color = GREY if x else _HUES[cluster]
        fills = [color if unit in units else "white" for unit in range(len(heights))]
        ax.scatter(np.full(len(heights), x), heights, s=62, c=fills, edgecolors="#333333", linewidths=0.9, zorder=3)
    ax.text(3.4, -1.32, "random sets of its layer", ha="right", va="top", fontsize=9.5)
    ax.set(xlim=(-0.45, 3.45), ylim=(-1.4, 1.4))
    ax.set_axis_off()


def _test(ax: Axes, y: float, words: str, axis: str, true: float, random: np.ndarray) -> None:
    """One statistic of the sub-cluster among those of random sets, on a line."""
    ax.annotate("", (1.06, y), (-0.06, y), arrowprops={"arrowstyle": "-|>", "color": "#333333", "linewidth": 1})
    ax.plot(random, np.full(len(random), y), "o", color=GREY, markersize=6, alpha=0.55, markeredgewidth=0, zorder=3)
    ax.plot(true, y, "o", color=_HUES[_CHOSEN[1]], markersize=9, zorder=4)
    ax.text(-0.06, y + 0.17, words, va="bottom", fontsize=10, weight="bold")
    ax.text(1.06, y - 0.1, axis, va="top", ha="right", fontsize=9.5)


@figure
def idea() -> Figure:
    """From a network to a p-value: graph, clusters, a sub-cluster, random sets, two tests, one number."""
    made = plt.figure(figsize=(WIDTH, 4.5), layout="none")
    axes = [
        made.add_axes((0.012 + 0.333 * column, 0.5 * (1 - row) + 0.02, 0.302, 0.4))
        for row in (0, 1)
        for column in range(3)
    ]
    generator = np.random.default_rng(4)
    titles = {"network": "a network", "graph": "its graph: |weights|", "clusters": "its clusters"}
    for ax, (how, title) in zip(axes, titles.items(), strict=False):
        _net(ax, how=how)
        ax.set_title(title)
    _sets(axes[3])
    axes[3].set_title("a sub-cluster")

    tests = axes[4]
    _test(tests, 0.68, "without these units", "accuracy drop", 0.86, generator.uniform(0.02, 0.72, 12))
    _test(tests, 0.12, "image that drives them", "score", 0.8, np.append(generator.uniform(0.1, 0.74, 11), 0.92))
    tests.set(xlim=(-0.08, 1.1), ylim=(-0.12, 1.12))
    tests.set_title("two tests")

    result = axes[5]
    ranks = (0.025, 0.125, 0.075, 0.325, 0.025)
    for row, p in enumerate(ranks):
        y = 0.98 - 0.19 * row
        result.plot(0.04, y, "o", color=(*_HUES, _HUES[0], _HUES[1])[row], markersize=8)
        result.text(0.13, y, f"p = {p:.3f}", va="center", fontsize=10)
    result.text(0.13, 0.98 - 0.19 * 5, "…", va="center", fontsize=12)
    result.add_patch(
        FancyArrowPatch((0.56, 0.5), (0.69, 0.5), arrowstyle="-|>", mutation_scale=14, color="#333333", linewidth=1.5)
    )
    result.text(0.86, 0.5, "one p\nfor the\npartition", ha="center", va="center", fontsize=10.5, weight="bold")
    result.set(xlim=(0, 1.06), ylim=(-0.12, 1.12))
    result.set_title("combined (Fisher)")
    for ax in (tests, result):
        ax.set_axis_off()
    letters(axes)
    words = (
        "c: in the box, what one cluster has of one layer: a sub-cluster. e: it (blue) among its random sets (grey)."
    )
    return note(made, words)
