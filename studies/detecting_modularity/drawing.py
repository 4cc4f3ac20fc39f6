"""What the figures of the chapter on detecting modularity share: colours, published numbers, rows of dots, the idea."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

from companion.reports import DATASETS
from modutils.plotting import COLORS, GREY, WIDTH, figure, letters
from studies.detecting_modularity.evidence import NAMES, Evidence, interval

Group = tuple[str, str]

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
LINE, SHUFFLE, SPAN = "#e5e5e5", "#bdbdbd", "#f7e6bd"

# --- from the authors' stored results ---------------------------------------------------------------------------------

#: N-cut at k = 12, means over 5 networks (100 untrained ones), by data set and group.
PUBLISHED_NCUT: dict[str, dict[Group, float]] = {
    "mnist": {
        ("plain", "untrained"): 10.295,
        ("plain", "trained"): 10.02,
        ("plain", "pruned"): 8.88,
        ("dropout", "pruned"): 8.35,
        ("planted", "trained"): 8.72,
        ("planted", "pruned"): 5.75,
        ("cnn", "untrained"): 10.92,
    },
    "fashion-mnist": {
        ("plain", "untrained"): 10.295,
        ("plain", "trained"): 9.89,
        ("plain", "pruned"): 8.69,
        ("cnn", "untrained"): 10.92,
    },
}
PUBLISHED_Z: dict[str, dict[Group, float]] = {
    "mnist": {
        ("plain", "trained"): -4.5,
        ("dropout", "trained"): -3.0,
        ("plain", "pruned"): -9.7,
        ("dropout", "pruned"): -24.0,
        ("planted", "trained"): -43.8,
        ("planted", "pruned"): -92.0,
        ("cnn", "trained"): 0.8,
        ("cnn", "pruned"): 11.0,
        ("independent", "trained"): -7.2,
        ("independent", "pruned"): -22.5,
        ("redundant", "trained"): -2.6,
        ("redundant", "pruned"): -3.0,
    },
    "fashion-mnist": {
        ("plain", "trained"): -5.4,
        ("dropout", "trained"): -10.7,
        ("plain", "pruned"): -10.4,
        ("dropout", "pruned"): -24.7,
        ("planted", "trained"): -34.0,
        ("planted", "pruned"): -81.0,
        ("cnn", "trained"): -1.5,
        ("cnn", "pruned"): 8.0,
        ("independent", "trained"): -18.9,
        ("independent", "pruned"): -14.6,
        ("redundant", "trained"): -4.4,
        ("redundant", "pruned"): -9.5,
    },
}
#: Least and largest over the networks with L1: z, and n-cut. Which data and whether pruned is not told apart.
PUBLISHED_L1_Z, PUBLISHED_L1_NCUT = (11.0, 24.0), (8.4, 10.1)
PUBLISHED_ACTIVATION_NCUT: dict[str, dict[Group, float]] = {"mnist": {("plain", "trained"): 8.92}}
PUBLISHED_NMI: dict[str, dict[Group, float]] = {"mnist": {("plain", "trained"): 0.04, ("plain", "pruned"): 0.07}}
#: Least and largest Fisher p of 5 networks (pruned, k = 12); those of score and entropy do not name the data set.
_OF_BOTH: dict[tuple[Group, str], tuple[float, float]] = {
    (("plain", "pruned"), "score"): (0.34, 0.82),
    (("dropout", "pruned"), "score"): (0.50, 0.85),
    (("plain", "pruned"), "entropy"): (0.02, 0.78),
}
PUBLISHED_P: dict[str, dict[tuple[Group, str], tuple[float, float]]] = {
    "mnist": {
        (("plain", "pruned"), "importance"): (3e-9, 4e-7),
        (("plain", "pruned"), "normalised range"): (0.51, 0.98),
        **_OF_BOTH,
    },
    "fashion-mnist": {
        (("plain", "pruned"), "importance"): (2e-7, 9e-5),
        (("plain", "pruned"), "normalised range"): (0.15, 0.86),
        **_OF_BOTH,
    },
}


# --- rows of dots -----------------------------------------------------------------------------------------------------


class Series(NamedTuple):
    """Some marks of one look in one lane of a row."""

    values: Sequence[float] | np.ndarray
    color: str
    marker: str = "o"
    filled: bool = True
    size: float = 4.2


def lanes(count: int, height: float = 0.66) -> np.ndarray:
    """Offsets from the middle of a row, from above."""
    return np.linspace(-height / 2, height / 2, count) if count > 1 else np.zeros(count)


def name_rows(ax: Axes, names: Sequence[str], *, fontsize: float = 10) -> None:
    """One row for each name, the first on top, with thin lines between rows."""
    ax.set_yticks(range(len(names)), names, fontsize=fontsize)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    for edge in np.arange(1, len(names)) - 0.5:
        ax.axhline(edge, color="#eeeeee", linewidth=0.8, zorder=0)
    ax.grid(axis="x", color=LINE, linewidth=0.8)
    ax.set_axisbelow(True)


def dot_rows(ax: Axes, rows: Sequence[Sequence[Series]], *, height: float = 0.66) -> None:
    """Marks of every series of every row, each series in a lane of its own."""
    for row, series in enumerate(rows):
        for offset, one in zip(lanes(len(series), height), series, strict=True):
            values = np.asarray(one.values, dtype=float)
            values = values[np.isfinite(values)]
            ax.plot(
                values,
                np.full(len(values), row + offset),
                one.marker,
                color=one.color,
                markerfacecolor=one.color if one.filled else "white",
                markersize=one.size * EVEN[one.marker],
                markeredgewidth=0.8,
                markeredgecolor=one.color,
                alpha=0.85,
                zorder=3,
            )


def interval_rows(ax: Axes, rows: Sequence[Sequence[Series]]) -> None:
    """Mean of every series with Student's t interval, each in a lane of its own."""
    for row, series in enumerate(rows):
        for offset, one in zip(lanes(len(series)), series, strict=True):
            found, y = interval([value for value in one.values if np.isfinite(value)]), row + offset
            if found.n > 1:
                ax.plot([found.low, found.high], [y, y], color=one.color, linewidth=1.6, solid_capstyle="butt")
            if found.n:
                ax.plot(found.mean, y, one.marker, color=one.color, markersize=one.size * EVEN[one.marker], zorder=3)


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


def span(ax: Axes, row: float, low: float, high: float, *, height: float = 0.84) -> None:
    """A light range behind a row."""
    ax.add_patch(
        Rectangle((low, row - height / 2), high - low, height, facecolor=SPAN, edgecolor="#dcbf73", zorder=0.5)
    )


def diamond(ax: Axes, x: float, y: float) -> None:
    """A published value."""
    ax.plot(x, y, "D", color="black", markerfacecolor="none", markersize=7, zorder=4)


def handle(look: tuple[str, str], label: str, *, filled: bool = True, size: float = 6) -> Line2D:
    """A mark for a legend."""
    color, marker = look
    return Line2D(
        [],
        [],
        color=color,
        marker=marker,
        markersize=size,
        markerfacecolor=color if filled else "white",
        linestyle="none",
        label=label,
    )


def published_handle() -> Line2D:
    return handle(("black", "D"), "published", filled=False, size=7)


def shuffle_handle(label: str = "its shuffles, mean ± s.d.") -> Patch:
    return Patch(color=SHUFFLE, label=label)


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


def published_of(evidence: Evidence, table: Mapping[str, Mapping[Group, float]]) -> Mapping[Group, float]:
    """Published numbers for the data set of the evidence, none where there are none."""
    return table.get(evidence.dataset, {})


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
        fills = []
        for cluster in _CLUSTERS[layer]:
            fills.append(_HUES[cluster] if how == "clusters" else "white")
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
    for ax, how, title in zip(
        axes,
        ("network", "graph", "clusters"),
        ("a network", "its graph: |weights|", "its clusters"),
        strict=False,
    ):
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
    made.text(
        0.012,
        -0.03,
        "c: in the box, what one cluster has of one layer: a sub-cluster. e: it (blue) among its random sets (grey).",
        ha="left",
        va="top",
        fontsize=9,
        color="#444444",
    )
    return made
