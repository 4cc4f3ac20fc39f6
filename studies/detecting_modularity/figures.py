"""The figures of the chapter on detecting modularity, drawn from the record.

Functions with ``of`` as a mapping take the evidence of one data set or more by name, and draw what of it is recorded;
every figure says in small print below it how many networks that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import stats

from companion.records import RecordError
from modutils.plotting import COLORS, GREY, figure, interval_dots, letters, note
from modutils.statistics import Interval, mean_interval
from studies.detecting_modularity import cells, drawing, proxies
from studies.detecting_modularity.drawing import (
    DATASET_LOOKS,
    EVEN,
    GROUP_LOOKS,
    LAYER_LOOKS,
    PARTITION_LOOKS,
    ROWS,
    UNITS,
    Group,
    Of,
    Series,
    counted,
    dot_rows,
    handle,
    lanes,
    logs,
    name_rows,
    names_of,
    p_ticks,
    panels,
    partition_handles,
    published_handles,
    published_ranges,
    recorded,
    seeds_of,
    span_published,
    tested_of,
)
from studies.detecting_modularity.evidence import GROUPS, NAMES, UNTRAINED, Evidence, Tested

GRAPHS = ("weights", "activations")
STATISTICS = ("importance", "normalised range", "score", "entropy")
DASHED, CLIPPED = "Dashed: p\u00a0=\u00a00.05", "p below 10⁻¹⁶ stands there"
_DATASET_LANES = (-0.2, 0.2)
INTERVALS = "bars: 95\u00a0% intervals over seeds (Student's t)"


# --- tests of sub-clusters --------------------------------------------------------------------------------------------


def _titles(axes: np.ndarray, of: Of, statistics: Sequence[str], titles: Mapping[str, str] | None = None) -> None:
    """Statistics above the columns, data sets above the rows."""
    for ax, statistic in zip(axes[0], statistics, strict=True):
        ax.set_title((titles or {}).get(statistic, statistic.replace(" ", "\n")), fontsize=10.5)
    _row_titles(axes, list(of) if len(of) > 1 else [])


def _row_titles(axes: np.ndarray, names: Sequence[str]) -> None:
    """Words in bold above the names of the rows of panels."""
    look: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right", "weight": "bold"}
    for (ax, *_), name in zip(axes, names, strict=False):
        ax.annotate(name, (0, 1), (-6, 5), **look)


def _fisher(statistic: str) -> Callable[[Tested, str], float]:
    """A function that gives −log₁₀ of Fisher's p of a network's partition."""
    return lambda one, which: _log_p(one, which, statistic, False)


#: A row of a figure: its name, its networks, and whether random partitions are tested in place of theirs.
_Row = tuple[str, Callable[[Evidence], list[Tested]], bool]


def _rows(shown: Sequence[Group]) -> list[_Row]:
    return [(name, partial(tested_of, group=group), False) for name, group in zip(names_of(shown), shown, strict=True)]


def _by_graph(
    of: Of,
    rows: Sequence[_Row],
    statistics: Sequence[str],
    number: Callable[[Tested, str, str, bool], float],
    summary: Callable[[Sequence[float]], Interval],
    titles: Mapping[str, str] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Panels of statistics (columns) by graph (rows), in which every data set has a lane in every row.

    A filled mark with a bar summarises partitions of the whole network, a hollow mark those of single layers.
    """
    made, axes = panels(2, len(statistics), 2.2 + 0.64 * len(rows))
    for panel_row, graph in zip(axes, GRAPHS, strict=True):
        for ax, statistic in zip(panel_row, statistics, strict=True):
            for offset, evidence, (color, marker) in zip(_DATASET_LANES, of.values(), DATASET_LOOKS, strict=False):
                look: dict[str, Any] = {"colors": color, "marker": marker, "size": 4.6 * EVEN[marker], "offset": offset}
                for reach in ("global", "local"):
                    found = [
                        summary([number(one, f"{graph}/{reach}", statistic, control) for one in networks(evidence)])
                        for _, networks, control in rows
                    ]
                    if reach == "local":
                        found = [one._replace(n=1) for one in found]  # without a bar
                    interval_dots(ax, [name for name, *_ in rows], found, filled=reach == "global", **look)
            name_rows(ax, [name for name, *_ in rows])
    _titles(axes, {}, statistics, titles)
    _row_titles(axes, GRAPHS)
    return made, axes


def _handles(of: Of, words: str) -> list[Any]:
    """What the marks of :func:`_by_graph` mean."""
    each = [handle(look, name) for look, name in zip(DATASET_LOOKS, of, strict=False)] if len(of) > 1 else []
    return [*each, handle((GREY, "o"), f"whole network, {words}"), handle((GREY, "o"), "layer by layer", filled=False)]


def _log_p(one: Tested, which: str, statistic: str, control: bool) -> float:
    """−log₁₀ of Fisher's p of a network's partition, or of a random one in its place."""
    return float(logs(one.fisher(which, statistic, control=control)))


def _range(values: Sequence[float]) -> Interval:
    """Median and range of the finite values."""
    known = [value for value in values if np.isfinite(value)] or [np.nan]
    return Interval(float(np.median(known)), min(known), max(known), len(known))


@figure
def p_values(of: Of, statistics: Sequence[str] = STATISTICS) -> Figure:
    """Fisher's p-values of networks as median and range, by graph, statistic and data set, and of random partitions."""
    shown = recorded(ROWS, of, tested_of)
    rows = [*_rows(shown), ("random", lambda evidence: [one for g in shown for one in tested_of(evidence, g)], True)]
    made, axes = _by_graph(of, rows, statistics, _log_p, _range)
    for ax, statistic in zip(axes[0], statistics, strict=True):
        for offset, evidence in zip(_DATASET_LANES, of.values(), strict=False):
            ranges = published_ranges(evidence, statistic).items()
            ends = {group: (float(logs(high)), float(logs(low))) for group, (low, high) in ranges}
            span_published(ax, shown, ends, offset=offset, height=0.3)
    for column in axes.T:
        p_ticks(column, most=10.4 / len(statistics))
    made.supxlabel("Fisher's p over the sub-clusters of a network (smaller to the right)", fontsize=11)
    handles = [*_handles(of, "median and range"), *published_handles(of, values=False, ranges=True)]
    made.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.2)
    return note(
        made,
        f"{seeds_of(of, shown, tested_of)}; k = {cells.K_PROXY}. Random: partitions with permuted labels of all these "
        f"networks, tested like the true ones. {DASHED}; {CLIPPED}.",
    )


def _effect(one: Tested, which: str, statistic: str, control: bool = False) -> float:
    """Points of accuracy for importance, the relative effect of anything else."""
    return 100 * one.excess(which, statistic) if statistic == "importance" else one.effect(which, statistic)


EFFECT = "2t/(t + r): t of a sub-cluster, r the mean of its random sets, 1 = no effect"


@figure
def effects(of: Of, statistics: Sequence[str] = STATISTICS) -> Figure:
    """Mean effect of every group by graph, statistic and data set."""
    shown = recorded(ROWS, of, tested_of)
    made, axes = _by_graph(of, _rows(shown), statistics, _effect, mean_interval, UNITS)
    for graph, panel_row in zip(GRAPHS, axes, strict=True):
        for ax, statistic in zip(panel_row, statistics, strict=True):
            ax.axvline(0 if statistic == "importance" else 1, color=GREY, linewidth=1, linestyle="--", zorder=1)
            lanes_of = zip(_DATASET_LANES, of.values(), strict=False)
            for (row, group), (offset, evidence) in product(enumerate(shown), lanes_of):
                random = [one.effect(f"{graph}/global", statistic, control=True) for one in tested_of(evidence, group)]
                if random and statistic != "importance":
                    ends = row + offset - 0.15, row + offset + 0.15
                    ax.vlines(np.mean(random), *ends, color="#c4c4c4", linewidth=4, zorder=0.5)
            ax.locator_params(axis="x", nbins=3)
            ax.xaxis.set_major_formatter("{x:g}")
    for ax, statistic in zip(axes[-1], statistics, strict=True):
        ax.set_xlabel("more →" if statistic != "entropy" else "← surer")
    handles: list[Any] = [*_handles(of, "mean with interval"), Patch(color="#c4c4c4", label="random partitions")]
    made.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.2)
    return note(
        made,
        f"{seeds_of(of, shown, tested_of)}; k = {cells.K_PROXY}; {INTERVALS}. Importance: accuracy lost beyond that "
        f"without random sets, mean over sub-clusters. Others: {EFFECT}. Grey: mean of random partitions, which is "
        "not 1 for skewed statistics.",
    )


@figure
def drops(of: Of) -> Figure:
    """Accuracy lost without each sub-cluster against that without random sets of as many units."""
    shown = recorded((UNTRAINED, ("plain", "trained"), ("plain", "pruned")), of, tested_of)
    made, axes = panels(len(of), len(shown), 1.2 + 2.15 * len(of), sharex="all", sharey="all")
    counts: dict[str, list[int]] = {name: [] for name in of}
    reach = 0.0
    for row, (name, evidence) in enumerate(of.items()):
        for ax, group in zip(axes[row], shown, strict=True):
            points = [_drop_points(one.values["weights/global"]) for one in tested_of(evidence, group)]
            layer, mean, drop = np.concatenate([np.empty((3, 0)), *points], axis=1)
            counts[name].append(len(points))
            for number, (color, marker) in enumerate(LAYER_LOOKS):
                own = layer == number
                ax.plot(mean[own], drop[own], marker, color=color, markersize=4, alpha=0.75, markeredgewidth=0)
            reach = max(reach, *np.abs(mean), *np.abs(drop), 1.0)
            ax.grid(True)
        axes[row, 0].set_ylabel(f"{name}\nsub-cluster" if len(of) > 1 else "sub-cluster: points lost")
    for ax, group in zip(axes[0], shown, strict=True):
        ax.set_title(NAMES[group])
    for setter in (axes[0, 0].set_xscale, axes[0, 0].set_yscale):
        setter("symlog", linthresh=1, linscale=0.6)
    low = min(axes[0, 0].get_xlim()[0], axes[0, 0].get_ylim()[0])
    axes[0, 0].set(xlim=(low, 1.3 * reach), ylim=(low, 1.3 * reach))
    for ax in axes.flat:  # a straight line where both axes have one scale
        ax.plot([low, 1.3 * reach], [low, 1.3 * reach], color=GREY, linewidth=1, linestyle="--", zorder=0)
    ticks = [tick for tick in (-10, -1, 0, 1, 10, 100) if low <= tick <= 1.3 * reach]
    for setter in (axes[0, 0].set_xticks, axes[0, 0].set_yticks):
        setter(ticks, [str(tick).replace("-", "−") for tick in ticks])
    axes[0, 0].minorticks_off()
    made.supxlabel("random sets, mean: points of accuracy lost", fontsize=11)
    handles = [handle(look, f"layer {number}") for number, look in enumerate(LAYER_LOOKS, 1)]
    made.legend(handles=handles, loc="outside upper center", ncols=4)
    words = counted(counts, each="a panel")
    return note(
        made,
        f"A mark is a sub-cluster (weights, global, k = {cells.K_PROXY}). {words}; {proxies.DRAWS} random sets each. "
        "Dashed: as much as random sets. Axes are linear within ±1 point, logarithmic beyond.",
    )


def _drop_points(tested: Mapping[str, Any]) -> np.ndarray:
    """Layer, mean drop of the random sets and drop of every sub-cluster, (3, sub-clusters), drops in points."""
    value, mean = (100 * proxies.column(tested, "importance", name) for name in ("value", "null_mean"))
    fits = np.asarray(tested["mid"][list(proxies.STATISTICS).index("importance")]) > 0
    return np.stack([np.asarray(tested["layer"], dtype=float)[fits], mean, value])


@figure
def calibration(
    of: Of, statistics: Sequence[str] = ("importance", "score", "normalised range", "entropy, single precision")
) -> Figure:
    """Fisher's p-values of random partitions, sorted, against those that are right."""
    shown = recorded(cells.TESTED, of, tested_of)
    everyone = [one for evidence in of.values() for group in shown for one in tested_of(evidence, group)]
    rows = -(-len(statistics) // 2)
    made, axes = panels(rows, 2, 0.7 + 2.75 * rows, sharex="all", sharey="all")
    for ax in axes.flat[len(statistics) :]:
        ax.set_axis_off()
    for ax, statistic in zip(axes.flat, statistics, strict=False):
        looks = {"mid": (COLORS[0], "-"), "ignored": (COLORS[1], "--")}
        for ties, (color, dashes) in looks.items():
            fisher = partial(Tested.fisher, statistic=statistic, ties=ties, control=True)
            found = np.array([fisher(one, which) for one in everyone for which in PARTITION_LOOKS])
            p = np.sort(found[np.isfinite(found)])
            expected = (np.arange(len(p)) + 0.5) / len(p)
            ax.plot(expected, p, dashes, color=color, linewidth=2, label=RULES[ties])
        reach = float(stats.kstwo.ppf(0.95, len(p)))
        line = np.unique([0, reach, 1 - reach, 1])
        below, above = np.clip([line - reach, line + reach], 0, 1)
        ax.fill_between(line, below, above, color="#e6e6e6", linewidth=0, zorder=0)
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, zorder=1)
        ax.set_title(statistic, fontsize=10.5)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    made.supxlabel("quantile of uniform p-values", fontsize=11)
    made.supylabel("Fisher's p of random partitions", fontsize=11)
    made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return note(
        made,
        f"{len(everyone)} networks ({', '.join(of)}), four random partitions each, tested in place of the true ones. A "
        "curve below the diagonal: p-values are too small. Grey: where 95\u00a0% of samples of as many independent "
        "uniform numbers stay (Kolmogorov–Smirnov).",
    )


RULES = {"mid": "mid-p (ours)", "ignored": "ties ignored (published)"}
SPREADS = ("normalised range", "spread", "matched spread")


@figure
def spreads(of: Of) -> Figure:
    """Fisher's p of three measures of how unevenly a lesion falls on classes, also for networks with true modules."""
    shown = recorded(ROWS, of, tested_of)
    found = {
        name: [*(tested_of(evidence, group) for group in shown), evidence.blocks()] for name, evidence in of.items()
    }
    known = any(rows[-1] for rows in found.values())
    names = [*names_of(shown), *(["true modules"] if known else [])]
    made, axes = panels(len(of), len(SPREADS), 0.9 + (0.55 + 0.33 * len(names)) * len(of))
    for row, evidence in zip(axes, found.values(), strict=True):
        for ax, statistic in zip(row, SPREADS, strict=True):
            p = _fisher(statistic)
            rows = [[Series([p(one, "weights/global") for one in group], COLORS[0])] for group in evidence[:-1]]
            if known:
                rows.append([Series([p(one, "planted") for one in evidence[-1]], COLORS[1], "D")])
            dot_rows(ax, rows)
            name_rows(ax, names)
    for column in axes.T:
        p_ticks(column, most=3)
    _titles(axes, of, SPREADS)
    made.supxlabel("Fisher's p (smaller to the right)", fontsize=11)
    words = counted({name: [len(group) for group in rows] for name, rows in found.items()})
    return note(
        made,
        f"A mark is a network. {words}; clusters of weights, global, k = {cells.K_PROXY}"
        f"{'; of networks with true modules (orange) those modules' if known else ''}. {DASHED}; {CLIPPED}.",
    )


_TRUE = ("importance", "score", "normalised range", "spread")


@figure
def true_modules(of: Of) -> Figure:
    """P-values and effects of networks whose modules are known, and of networks that only started with groups."""
    sources: dict[str, Callable[[Evidence], list[tuple[Tested, str]]]] = {
        "true modules": lambda evidence: [(one, "planted") for one in evidence.blocks()],
        "same, clustered": lambda evidence: [(one, "weights/global") for one in evidence.blocks()],
        "planted start": lambda evidence: [(one, "planted") for one in evidence.tested("planted", "trained")],
        "same, pruned": lambda evidence: [(one, "planted") for one in evidence.tested("planted", "pruned")],
    }
    found = {name: [source(evidence) for evidence in of.values()] for name, source in sources.items()}
    found = {name: rows for name, rows in found.items() if any(rows)}
    if not found:
        raise RecordError(f"no networks with planted groups are recorded for {', '.join(of) or 'no data set'}")
    looks = DATASET_LOOKS[: len(of)]
    made, axes = panels(2, len(_TRUE), 1.7 + 0.8 * len(found), sharex="none")
    for above, below, statistic in zip(*axes, _TRUE, strict=True):
        for ax, number in ((above, _fisher(statistic)), (below, lambda one, which: _effect(one, which, statistic))):  # noqa: B023
            series = [
                [
                    Series([number(*one) for one in networks], *look, 5)
                    for networks, look in zip(row, looks, strict=True)
                ]
                for row in found.values()
            ]
            dot_rows(ax, series, height=0.36)
            name_rows(ax, list(found))
        p_ticks([above], most=2.6)
        below.axvline(0 if statistic == "importance" else 1, color=GREY, linewidth=1, linestyle="--", zorder=1)
        below.locator_params(axis="x", nbins=3)
        below.xaxis.set_major_formatter("{x:g}")
        above.set_title(statistic.replace(" ", "\n"), fontsize=10.5)
    axes[0, 0].set_ylabel("Fisher's p")
    axes[1, 0].set_ylabel("effect")
    for ax, statistic in zip(axes[1], _TRUE, strict=True):
        ax.set_xlabel("% points" if statistic == "importance" else "2t/(t + r)")
    if len(of) > 1:
        handles = [handle(look, name) for name, look in zip(of, looks, strict=True)]
        made.legend(handles=handles, loc="outside upper center", ncols=len(of))
    words = counted({name: [len(row[place]) for row in found.values()] for place, name in enumerate(of)})
    return note(
        made,
        f"A mark is a network. {words}. True modules: one group of units for each class, without connections between "
        "groups; same, clustered: the clusters of its weights; planted start: groups only in the first weights. "
        f"Importance in points of accuracy; others {EFFECT}. {DASHED}, below: no effect.",
    )


@figure
def permutation(of: Of, statistics: Sequence[str] = STATISTICS) -> Figure:
    """Fisher's p against the p-value of the whole partition among permuted ones."""
    shown = recorded(ROWS, of, tested_of)
    everyone = [one for evidence in of.values() for group in shown for one in tested_of(evidence, group)]
    rows = -(-len(statistics) // 2)
    made, axes = panels(rows, 2, 1.2 + 2.4 * rows, sharex="none", sharey="all")
    for ax in axes.flat[len(statistics) :]:
        ax.set_axis_off()
    for ax, statistic in zip(axes.flat, statistics, strict=False):
        for shift, (which, (color, marker)) in zip(lanes(4, 0.15), PARTITION_LOOKS.items(), strict=True):
            x = [one.fisher(which, statistic) for one in everyone]
            y = [one.permutation(which, statistic) for one in everyone]
            ax.plot(logs(x), logs(y) - shift, marker, color=color, markersize=5, alpha=0.7, markeredgewidth=0)
        high = float(logs(0.5 / (proxies.DRAWS + 1)))
        ax.axline((0, 0), slope=1, color=GREY, linewidth=1, zorder=0)
        p_ticks([ax], most=5)
        ax.axhline(drawing.LEVEL, color=GREY, linewidth=1, linestyle="--", zorder=1)
        ax.set_ylim(-0.08 * high, 1.1 * high)
        ax.set_yticks(logs([1, 0.3, 0.1, 0.03]), ["1", "0.3", "0.1", "0.03"])
        ax.grid(True)
        ax.set_title(statistic, fontsize=10.5)
    made.supxlabel("Fisher's p over sub-clusters (smaller to the right)", fontsize=11)
    made.supylabel("p of the whole partition (smaller above)", fontsize=11)
    made.legend(handles=partition_handles(), loc="outside upper center", ncols=2)
    return note(
        made,
        f"A mark is a partition of a network: {len(everyone)} networks ({', '.join(of)}), k = {cells.K_PROXY}. The "
        f"p of the whole is its mid-rank among {proxies.DRAWS} partitions with permuted labels, at least 1/40; it does "
        f"not assume independence. Marks of the four partitions are moved apart a little. {DASHED}; line: both equal.",
    )


@figure
def clusters(of: Of, statistics: Sequence[str] = ("importance", "score")) -> Figure:
    """Fisher's p of clusters of weights against the number of clusters."""
    ks = sorted({*cells.SWEPT, cells.K_CUT, cells.K_PROXY})
    shown = recorded(GROUPS, of, tested_of)
    made, axes = panels(len(statistics), len(of), 1.2 + 2.2 * len(statistics))
    counts: dict[str, list[int]] = {name: [] for name in of}
    for column, (name, evidence) in enumerate(of.items()):
        for ax, statistic in zip(axes[:, column], statistics, strict=True):
            for group, shift in zip(shown, lanes(len(shown), 1.2), strict=True):
                color, marker = GROUP_LOOKS[group]
                found = {k: evidence.tested(*group, k=k) for k in ks}
                counts[name] += [len(networks) for networks in found.values()]
                p = {k: [_fisher(statistic)(one, "weights/global") for one in found[k]] for k in ks if found[k]}
                x = np.repeat(list(p), [len(own) for own in p.values()]) + shift
                ax.plot(x, [y for own in p.values() for y in own], marker, color=color, markersize=3.5, alpha=0.45)
                first = [p[k][0] for k in p]
                ax.plot(np.array(list(p)) + shift, first, marker=marker, color=color, markersize=5.5, linewidth=1.3)
            ax.set_xticks(ks, [str(k) for k in ks])
            ax.set_xlim(ks[0] - 2, ks[-1] + 2)
            ax.grid(True, axis="y")
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("clusters k")
    for row, statistic in zip(axes, statistics, strict=True):
        p_ticks(row, axis="y")
        row[0].set_ylabel(f"{statistic}\nFisher's p")
    handles = [handle(GROUP_LOOKS[group], NAMES[group]) for group in shown]
    made.legend(handles=handles, loc="outside upper center", ncols=4, handletextpad=0.2, columnspacing=1.2)
    return note(
        made,
        f"Clusters of weights, global. Line and large marks: the first seed; small: further seeds. "
        f"{counted(counts, each='a point')}. Smaller p above. {DASHED}; {CLIPPED}.",
    )


@figure
def penalty(of: Evidence) -> Figure:
    """What the penalty on clusterability does to n-cut, accuracy, importance and coherence."""
    found = {strength: of.penalised(strength) for strength in cells.STRENGTHS}
    found = {strength: networks for strength, networks in found.items() if networks}
    if not found:
        raise RecordError(f"no networks with the penalty are recorded for {of.dataset}")
    numbers: dict[str, Callable[[Tested], float]] = {
        f"n-cut (k = {cells.K_CUT})": lambda one: float(one.values["weights"]["ncut"]),
        "test accuracy (%)": lambda one: 100 * float(one.values["accuracy"]),
        "extra drop (% points)": lambda one: 100 * one.excess("weights/global", "importance"),
        "effect on the score": lambda one: one.effect("weights/global", "score"),
    }
    made, axes = panels(2, 2, 4.9, sharex="all", sharey="none")
    seeds = sorted({one.seed for networks in found.values() for one in networks})
    for ax, (label, number) in zip(axes.flat, numbers.items(), strict=True):
        for seed in seeds:
            path = [
                (x, number(one))
                for x, networks in enumerate(found.values())
                for one in networks
                if one.seed == seed and np.isfinite(number(one))
            ]
            ax.plot(*np.reshape(path, (-1, 2)).T, "o-", color=COLORS[0], linewidth=0.9, markersize=4.5, alpha=0.75)
        for x, networks in enumerate(found.values()):
            mean = float(np.nanmean([number(one) for one in networks]))
            ax.plot([x - 0.14, x + 0.14], [mean, mean], color="black", linewidth=2.2, zorder=4)
        ax.set_title(label)
        ax.grid(True, axis="y")
        ax.set_xticks(range(len(found)), [f"{strength:g}" for strength in found])
        ax.set_xlim(-0.4, len(found) - 0.5)
        ax.margins(y=0.15)
    for x, networks in enumerate(found.values()):
        for shift, one in zip(lanes(len(networks), 0.16), networks, strict=True):
            null = np.asarray(one.values["weights"]["null"], dtype=float)
            place = x + 0.28 + shift
            look: dict[str, Any] = {"color": "#8c8c8c", "markersize": 3, "elinewidth": 1.5, "zorder": 2}
            axes[0, 0].errorbar(place, null.mean(), null.std(), fmt="s", **look)
    axes[1, 0].axhline(0, color=GREY, linewidth=1, linestyle="--", zorder=1)
    axes[1, 1].axhline(1, color=GREY, linewidth=1, linestyle="--", zorder=1)
    made.supxlabel("strength of the penalty", fontsize=11)
    letters(axes.flat)
    handles: list[Any] = [
        handle((COLORS[0], "o"), "a network"),
        plt.Line2D([], [], color="black", linewidth=2.2, label="mean"),
        handle(("#8c8c8c", "s"), "its shuffles, ± s.d.", size=4),
    ]
    made.legend(handles=handles, loc="outside upper center", ncols=3)
    words = counted({drawing.data_name(of): [len(networks) for networks in found.values()]}, each="a strength")
    return note(
        made,
        f"{words}, joined by lines; MLPs with three hidden layers of 64 units. c, d: clusters of weights, global, "
        "against random sets; d: 2t/(t + r). Dashed: no effect.",
    )


_BY_IMAGES = ("importance", "normalised range", "spread", "matched spread")


@figure
def images_used(of: Evidence) -> Figure:
    """Fisher's p with few test images and with all of them, for the statistics that are taken from lesions."""
    pairs = {group: _pairs(of, group) for group in GROUPS}
    shown = [group for group in GROUPS if pairs[group]]
    if not shown:
        raise RecordError(f"no networks tested on all images are recorded for {of.dataset}")
    made, axes = panels(1, len(_BY_IMAGES), 1.7 + 0.55 * len(shown))
    for ax, statistic in zip(axes[0], _BY_IMAGES, strict=True):
        p = _fisher(statistic)
        for row, group in enumerate(shown):
            for offset, (which, (color, marker)) in zip(lanes(4), PARTITION_LOOKS.items(), strict=True):
                for pair in pairs[group]:
                    few, every = (p(one, which) for one in pair)
                    y = row + offset
                    ax.plot([few, every], [y, y], color=color, linewidth=1.2, zorder=2)
                    ax.plot(few, y, marker, color=color, markerfacecolor="white", markersize=4.5, zorder=3)
                    ax.plot(every, y, marker, color=color, markersize=4.5, zorder=3)
        name_rows(ax, names_of(shown))
        p_ticks([ax], most=2.6)
    _titles(axes, {drawing.data_name(of): of}, _BY_IMAGES)
    made.supxlabel("Fisher's p (smaller to the right)", fontsize=11)
    few, every = (len(one.values["intact"]) * one.values["per_class"] for one in pairs[shown[0]][0])
    handles = [
        *partition_handles(),
        handle((GREY, "o"), f"{few} test images", filled=False),
        handle((GREY, "o"), f"{every} test images"),
    ]
    made.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.2)
    words = counted({drawing.data_name(of): [len(pairs[group]) for group in shown]})
    return note(made, f"{words}, k = {cells.K_PROXY}, the same random sets for both. {DASHED}; {CLIPPED}.")


def _pairs(of: Evidence, group: Group) -> list[tuple[Tested, Tested]]:
    """Networks tested on few images and on more: both."""
    few = {one.seed: one for one in of.tested(*group)}
    every = [one for one in of.tested(*group, all_images=True) if one.seed in few]
    return [(few[one.seed], one) for one in every if one.values["per_class"] > few[one.seed].values["per_class"]]
