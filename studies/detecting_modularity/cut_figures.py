"""The figures on n-cuts of networks beside their shuffles, drawn from the record as those in ``figures``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modutils.plotting import COLORS, GREY, figure, note
from studies.detecting_modularity import cells
from studies.detecting_modularity.drawing import (
    ROWS,
    SHUFFLE,
    Group,
    Of,
    Series,
    dot_rows,
    handle,
    lanes,
    mark_published,
    name_rows,
    names_of,
    panels,
    published_handles,
    published_of,
    published_ranges,
    recorded,
    seeds_of,
    shuffle_handle,
    span_published,
)
from studies.detecting_modularity.evidence import Cut, Evidence

#: Groups of networks in bands with an axis each.
BANDS: tuple[tuple[Group, ...], ...] = (
    ROWS[:3],
    ROWS[3:],
    (("planted", "untrained"), ("planted", "trained"), ("planted", "pruned")),
)
FURTHER: tuple[Group, ...] = (
    *(("cnn", state) for state in cells.STATES),
    *((kind, state) for kind in ("l1", "independent", "redundant") for state in cells.STATES[1:]),
)
GRAPHS = {
    "weights": ((COLORS[0], "o"), "shuffled weights"),
    "pattern kept": ((COLORS[2], "s"), "shuffles keep the zeros"),
    "unit norm": ((COLORS[1], "^"), "weights of unit norm"),
}


def _effort(of: Of) -> cells.Effort:
    """What went into every network; data sets that are shown together have the same."""
    (effort,) = {cells.EFFORTS[evidence.dataset] for evidence in of.values()}
    return effort


def _cuts(evidence: Evidence, group: Group) -> list[Cut]:
    return evidence.cuts(*group)


def _ncut_rows(ax: Axes, evidence: Evidence, groups: Sequence[Group], graph: str = "weights") -> None:
    """N-cut of each seed on a bar for its own shuffles, and the published one."""
    for row, group in enumerate(groups):
        found = evidence.cuts(*group)
        for offset, cut in zip(lanes(len(found), 0.6), found, strict=True):
            null, y = np.asarray(cut.values[graph]["null"], dtype=float), row + offset
            low, high = null.mean() - null.std(), null.mean() + null.std()
            ax.plot([low, high], [y, y], color=SHUFFLE, linewidth=4, solid_capstyle="butt", zorder=2)
            ax.plot([null.mean()] * 2, [y - 0.05, y + 0.05], color="#777777", linewidth=2, zorder=2)
            ax.plot(cut.values[graph]["ncut"], y, "o", color=COLORS[0], markersize=4.5, zorder=3)
    mark_published(ax, groups, published_of(evidence, "activations_ncut" if graph == "activations" else "ncut"))
    name_rows(ax, names_of(groups))


def _z(cut: Cut, graph: str) -> float:
    """Z-score, or NaN where the graph is not recorded or its shuffles are all alike."""
    return cut.of(graph).z if graph in cut.values and np.ptp(cut.values[graph]["null"]) > 0 else np.nan


def _z_rows(ax: Axes, evidence: Evidence, groups: Sequence[Group]) -> None:
    """Z-scores of each seed, in lanes for three kinds of shuffles, on an axis that is linear around 0."""
    rows = []
    for group in groups:
        found = evidence.cuts(*group)
        rows.append([Series([_z(cut, graph) for cut in found], *look) for graph, (look, _) in GRAPHS.items()])
    dot_rows(ax, rows)
    mark_published(ax, groups, published_of(evidence, "z"), offset=lanes(len(GRAPHS))[0])
    span_published(ax, groups, published_ranges(evidence, "z"))
    name_rows(ax, names_of(groups))
    ax.set_xscale("symlog", linthresh=5, linscale=0.8)
    low, high = ax.get_xlim()
    marks = (-100, -10, 0, 10, 100) if low < -10 and high > 10 else (-100, -30, -10, -3, 0, 3, 10, 30, 100)
    ticks = [tick for tick in marks if low <= tick <= high]
    ax.set_xticks(ticks, [f"{tick}".replace("-", "−") for tick in ticks], fontsize=9.5)
    ax.minorticks_off()
    ax.axvline(0, color=GREY, linewidth=1, linestyle="--", zorder=1)


def _cut_handles(of: Of) -> list[Any]:
    """A seed, its shuffles and, where there is one, the published value."""
    return [handle((COLORS[0], "o"), "a network"), shuffle_handle(), *published_handles(of)]


@figure
def ncuts(of: Of) -> Figure:
    """N-cut of every group of networks beside its own shuffles, and the published n-cut."""
    shown = recorded([group for band in BANDS for group in band], of, _cuts)
    bands = [band for band in ([group for group in band if group in shown] for band in BANDS) if band]
    height = 1.0 + 0.4 * len(shown) + 0.35 * len(bands)
    made, axes = panels(len(bands), len(of), height, sharex="row", height_ratios=[len(band) + 0.3 for band in bands])
    for column, (name, evidence) in enumerate(of.items()):
        for ax, band in zip(axes[:, column], bands, strict=True):
            _ncut_rows(ax, evidence, band)
            ax.locator_params(axis="x", nbins=4)
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel(f"n-cut (k = {cells.K_CUT})")
    made.legend(handles=_cut_handles(of), loc="outside upper center", ncols=3)
    return note(
        made,
        f"{seeds_of(of, shown, _cuts)}; {_effort(of).shuffles} shuffles each. Lower: easier to cluster. The three "
        "parts have axes of their own.",
    )


@figure
def z_scores(of: Of) -> Figure:
    """Standard deviations between the n-cut of a network and those of its shuffles, of three kinds."""
    shown = recorded([group for band in BANDS for group in band], of, _cuts)
    made, axes = panels(1, len(of), 1.3 + 0.46 * len(shown), sharex="row")
    for ax, (name, evidence) in zip(axes[0], of.items(), strict=True):
        _z_rows(ax, evidence, shown)
        ax.set_title(name)
        ax.set_xlabel("z: n-cut against shuffles (s.d.)")
    handles = [handle(look, label) for look, label in GRAPHS.values()] + published_handles(of)
    made.legend(handles=handles, loc="outside upper center", ncols=2)
    return note(
        made,
        f"{seeds_of(of, shown, _cuts)}; {_effort(of).shuffles} shuffles each, {_effort(of).fewer} of weights of unit "
        "norm (incoming weights of every unit scaled to one length, which need not change what a network does). Left "
        "of 0: easier to cluster than its shuffles. Shuffles that keep the zeros: pruned networks. The axis is linear "
        "within ±5, logarithmic beyond.",
    )


@figure
def further_cuts(of: Of) -> Figure:
    """Z and n-cut of the CNN, of L1, and of the tasks with two halves."""
    shown = recorded(FURTHER, of, _cuts)
    made, axes = panels(len(of), 2, 0.7 + (0.65 + 0.36 * len(shown)) * len(of))
    for row, (name, evidence) in enumerate(of.items()):
        left, right = axes[row]
        _z_rows(left, evidence, shown)
        _ncut_rows(right, evidence, shown)
        span_published(right, shown, published_ranges(evidence, "ncut"))
        left.set_title(f"{name}: z")
        right.set_title("n-cut and shuffles")
    axes[-1, 0].set_xlabel("n-cut against shuffles (s.d.)")
    axes[-1, 1].set_xlabel(f"n-cut (k = {cells.K_CUT})")
    graphs = [handle(look, label) for look, label in GRAPHS.values()]
    handles = [*graphs, shuffle_handle(), *published_handles(of, ranges=True)]
    made.legend(handles=handles, loc="outside upper center", ncols=2)
    return note(
        made,
        f"{seeds_of(of, shown, _cuts)}. Independent and redundant: images of two halves, the label a sum of both "
        "digits, or both of one class. The published range with L1 is over all its networks.",
    )


@figure
def activation_cuts(of: Of) -> Figure:
    """N-cut of graphs of activations beside shuffled edges, and their agreement with the partition by weights."""
    shown = recorded(ROWS, of, _cuts)
    made, axes = panels(len(of), 2, 0.7 + (0.55 + 0.34 * len(shown)) * len(of))
    for row, (name, evidence) in enumerate(of.items()):
        left, right = axes[row]
        _ncut_rows(left, evidence, shown, "activations")
        dot_rows(right, [[Series([cut.values["nmi"] for cut in evidence.cuts(*group)], COLORS[0])] for group in shown])
        name_rows(right, names_of(shown))
        mark_published(right, shown, published_of(evidence, "nmi"))
        right.set_xlim(-0.03, max(0.5, right.get_xlim()[1]))
        left.set_title(f"{name}: n-cut")
        right.set_title("agreement with weights")
    axes[-1, 0].set_xlabel(f"n-cut of activations (k = {cells.K_CUT})")
    axes[-1, 1].set_xlabel("NMI (1: the same clusters)")
    made.legend(handles=_cut_handles(of), loc="outside upper center", ncols=3)
    return note(
        made,
        f"{seeds_of(of, shown, _cuts)}; {_effort(of).fewer} graphs with shuffled edges each. NMI: normalised mutual "
        "information of the clusters of hidden units by activations and by weights.",
    )
