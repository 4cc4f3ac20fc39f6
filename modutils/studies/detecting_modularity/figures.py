"""The figures of the chapter on detecting modularity, drawn from the record.

Functions with ``of`` as a mapping take the evidence of one data set or more by name, and draw what of it is recorded;
every figure says in small print below it how many networks that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import stats

from modutils import data
from modutils.plotting import COLORS, DIVERGING, GREY, WIDTH, figure, heat_table, letters, note
from modutils.records import RecordError
from modutils.studies.detecting_modularity import cells, drawing, nets, proxies
from modutils.studies.detecting_modularity.drawing import (
    DATASET_LOOKS,
    GROUP_LOOKS,
    LAYER_LOOKS,
    PARTITION_LOOKS,
    SHUFFLE,
    UNITS,
    Group,
    Series,
    counted,
    diamond,
    dot_rows,
    handle,
    idea,
    interval_rows,
    lanes,
    logs,
    name_rows,
    names_of,
    p_ticks,
    partition_handles,
    published_handle,
    published_of,
    shuffle_handle,
    span,
)
from modutils.studies.detecting_modularity.evidence import GROUPS, NAMES, UNTRAINED, Cut, Evidence, Tested

__all__ = [
    "STAGES",
    "activation_cuts",
    "calibration",
    "classes",
    "clusters",
    "composition",
    "drops",
    "effects",
    "further_cuts",
    "idea",
    "images_used",
    "ncuts",
    "p_values",
    "penalty",
    "permutation",
    "pictures",
    "spreads",
    "true_modules",
    "z_scores",
]

Of = Mapping[str, Evidence]

STAGES = {
    "train": "train and prune a network",
    "cuts": "n-cuts of a network and its shuffles",
    "subclusters": "test the sub-clusters of a network",
    "filters": "test the sub-clusters of a CNN",
    "blocks": "train and test true modules",
    "penalised": "train with the penalty, and test",
    "pictures": "images that drive sub-clusters",
}
STATISTICS = ("importance", "normalised range", "score", "entropy")
#: Rows of the figures on tests, and of those on n-cuts in bands with an axis each.
ROWS: tuple[Group, ...] = (UNTRAINED, *GROUPS)
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
DASHED, CLIPPED = "Dashed: p\u00a0=\u00a00.05", "p below 10⁻¹⁶ stands there"
INTERVALS = "bars: 95\u00a0% intervals over seeds (Student's t)"


def _recorded(groups: Sequence[Group], of: Of, found: Callable[[Evidence, Group], Sequence[Any]]) -> list[Group]:
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


def _cuts(evidence: Evidence, group: Group) -> list[Cut]:
    return evidence.cuts(*group)


def _tested(evidence: Evidence, group: Group) -> list[Tested]:
    return evidence.tested(*group)


def _seeds(of: Of, groups: Sequence[Group], found: Callable[[Evidence, Group], Sequence[Any]]) -> str:
    return counted({name: [len(found(evidence, group)) for group in groups] for name, evidence in of.items()})


def _effort(of: Of) -> cells.Effort:
    """What went into every network; data sets that are shown together have the same."""
    (effort,) = {cells.EFFORTS[evidence.dataset] for evidence in of.values()}
    return effort


def _panels(
    rows: int, columns: int, height: float, *, sharex: str = "col", sharey: str = "row", **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of the width of the page, and its axes (rows, columns)."""
    return plt.subplots(  # type: ignore[call-overload]
        rows, columns, figsize=(WIDTH, height), sharex=sharex, sharey=sharey, squeeze=False, **options
    )


# --- clusterability ---------------------------------------------------------------------------------------------------


def _ncut_rows(
    ax: Axes, evidence: Evidence, groups: Sequence[Group], published: Mapping[Group, float], graph: str = "weights"
) -> None:
    """N-cut of each seed on a bar for its own shuffles."""
    for row, group in enumerate(groups):
        found = evidence.cuts(*group)
        for offset, cut in zip(lanes(len(found), 0.6), found, strict=True):
            null, y = np.asarray(cut.values[graph]["null"], dtype=float), row + offset
            low, high = null.mean() - null.std(), null.mean() + null.std()
            ax.plot([low, high], [y, y], color=SHUFFLE, linewidth=4, solid_capstyle="butt", zorder=2)
            ax.plot([null.mean()] * 2, [y - 0.05, y + 0.05], color="#777777", linewidth=2, zorder=2)
            ax.plot(cut.values[graph]["ncut"], y, "o", color=COLORS[0], markersize=4.5, zorder=3)
        if group in published:
            diamond(ax, published[group], row)
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
    published = published_of(evidence, drawing.PUBLISHED_Z)
    for row, group in enumerate(groups):
        if group in published:
            diamond(ax, published[group], row + lanes(len(GRAPHS))[0])
        if group[0] == "l1" and evidence.dataset in drawing.PUBLISHED_Z:
            span(ax, row, *drawing.PUBLISHED_L1_Z)
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
    handles: list[Any] = [handle((COLORS[0], "o"), "a network"), shuffle_handle()]
    return [*handles, published_handle()] if _any_published(of) else handles


def _any_published(of: Of) -> bool:
    return any(evidence.dataset in drawing.PUBLISHED_Z for evidence in of.values())


@figure
def ncuts(of: Of) -> Figure:
    """N-cut of every group of networks beside its own shuffles, and the published n-cut."""
    shown = _recorded([group for band in BANDS for group in band], of, _cuts)
    bands = [band for band in ([group for group in band if group in shown] for band in BANDS) if band]
    height = 1.0 + 0.4 * len(shown) + 0.35 * len(bands)
    made, axes = _panels(len(bands), len(of), height, sharex="row", height_ratios=[len(band) + 0.3 for band in bands])
    for column, (name, evidence) in enumerate(of.items()):
        for ax, band in zip(axes[:, column], bands, strict=True):
            _ncut_rows(ax, evidence, band, published_of(evidence, drawing.PUBLISHED_NCUT))
            ax.locator_params(axis="x", nbins=4)
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel(f"n-cut (k = {cells.K_CUT})")
    made.legend(handles=_cut_handles(of), loc="outside upper center", ncols=3)
    note(
        made,
        f"{_seeds(of, shown, _cuts)}; {_effort(of).shuffles} shuffles each. Lower: easier to cluster. The three parts have "
        "axes of their own.",
    )
    return made


@figure
def z_scores(of: Of) -> Figure:
    """Standard deviations between the n-cut of a network and those of its shuffles, of three kinds."""
    shown = _recorded([group for band in BANDS for group in band], of, _cuts)
    made, axes = _panels(1, len(of), 1.3 + 0.46 * len(shown), sharex="row")
    for ax, (name, evidence) in zip(axes[0], of.items(), strict=True):
        _z_rows(ax, evidence, shown)
        ax.set_title(name)
        ax.set_xlabel("z: n-cut against shuffles (s.d.)")
    handles = [handle(look, label) for look, label in GRAPHS.values()]
    made.legend(
        handles=[*handles, published_handle()] if _any_published(of) else handles,
        loc="outside upper center",
        ncols=2,
    )
    note(
        made,
        f"{_seeds(of, shown, _cuts)}; {_effort(of).shuffles} shuffles each, {_effort(of).fewer} of weights of unit norm "
        "(incoming weights of every unit scaled to one length, which need not change what a network does). Left of 0: "
        "easier to cluster than its shuffles. Shuffles that keep the zeros: pruned networks. The axis is linear within "
        "±5, logarithmic beyond.",
    )
    return made


@figure
def further_cuts(of: Of) -> Figure:
    """Z and n-cut of the CNN, of L1, and of the tasks with two halves."""
    shown = _recorded(FURTHER, of, _cuts)
    made, axes = _panels(len(of), 2, 0.7 + (0.65 + 0.36 * len(shown)) * len(of))
    for row, (name, evidence) in enumerate(of.items()):
        left, right = axes[row]
        _z_rows(left, evidence, shown)
        _ncut_rows(right, evidence, shown, published_of(evidence, drawing.PUBLISHED_NCUT))
        if evidence.dataset in drawing.PUBLISHED_Z:
            for place, (kind, _) in enumerate(shown):
                if kind == "l1":
                    span(right, place, *drawing.PUBLISHED_L1_NCUT)
        left.set_title(f"{name}: z")
        right.set_title("n-cut and shuffles")
    axes[-1, 0].set_xlabel("n-cut against shuffles (s.d.)")
    axes[-1, 1].set_xlabel(f"n-cut (k = {cells.K_CUT})")
    handles: list[Any] = [handle(look, label) for look, label in GRAPHS.values()]
    handles.append(shuffle_handle())
    if _any_published(of):
        handles += [published_handle(), Patch(color=drawing.SPAN, label="published range")]
    made.legend(handles=handles, loc="outside upper center", ncols=2)
    note(
        made,
        f"{_seeds(of, shown, _cuts)}. Independent and redundant: images of two halves, the label a sum of both digits, "
        "or both of one class. The published range with L1 is over all its networks.",
    )
    return made


@figure
def activation_cuts(of: Of) -> Figure:
    """N-cut of graphs of activations beside shuffled edges, and their agreement with the partition by weights."""
    shown = _recorded(ROWS, of, _cuts)
    made, axes = _panels(len(of), 2, 0.7 + (0.55 + 0.34 * len(shown)) * len(of))
    for row, (name, evidence) in enumerate(of.items()):
        left, right = axes[row]
        _ncut_rows(
            left, evidence, shown, published_of(evidence, drawing.PUBLISHED_ACTIVATION_NCUT), graph="activations"
        )
        dot_rows(right, [[Series([cut.values["nmi"] for cut in evidence.cuts(*group)], COLORS[0])] for group in shown])
        name_rows(right, names_of(shown))
        published = published_of(evidence, drawing.PUBLISHED_NMI)
        for place, group in enumerate(shown):
            if group in published:
                diamond(right, published[group], place)
        right.set_xlim(-0.03, max(0.5, right.get_xlim()[1]))
        left.set_title(f"{name}: n-cut")
        right.set_title("agreement with weights")
    axes[-1, 0].set_xlabel(f"n-cut of activations (k = {cells.K_CUT})")
    axes[-1, 1].set_xlabel("NMI (1: the same clusters)")
    made.legend(handles=_cut_handles(of), loc="outside upper center", ncols=3)
    note(
        made,
        f"{_seeds(of, shown, _cuts)}; {_effort(of).fewer} graphs with shuffled edges each. NMI: normalised mutual "
        "information of the clusters of hidden units by activations and by weights.",
    )
    return made


# --- what clusters are ------------------------------------------------------------------------------------------------


@figure
def composition(
    of: Evidence, groups: Sequence[Group] = (UNTRAINED, ("plain", "trained"), ("plain", "pruned"))
) -> Figure:
    """Which clusters the units of each layer are in, and how many sub-clusters of each layer are tested."""
    shown = _recorded(groups, {of.dataset: of}, _tested)
    units = nets.sizes(of.dataset)
    made, axes = _panels(2, len(shown), 4.6, height_ratios=(2.3, 1), sharex="all")
    colors = plt.get_cmap("viridis_r")
    depths = np.repeat(np.arange(len(units)), units)
    for column, group in enumerate(shown):
        found = _tested(of, group)
        labels = np.asarray(found[0].values["weights/global"]["labels"])
        if len(labels) != len(depths):
            raise ValueError(f"{NAMES[group]} has {len(labels)} nodes, an MLP of this data set {len(depths)}")
        names = sorted(set(labels[labels >= 0].tolist()), key=lambda label: float(depths[labels == label].mean()))
        ax, below = axes[:, column]
        for layer, count in enumerate(units):
            bottom, own = 0.0, labels[depths == layer]
            for label in [*names, -1]:
                share = float((own == label).mean())
                color = "#dddddd" if label < 0 else colors(depths[labels == label].mean() / (len(units) - 1))
                if share:
                    ax.bar(layer, share, 0.86, bottom=bottom, color=color, edgecolor="white", linewidth=0.7)
                bottom += share
            assert abs(bottom - 1) < 1e-9, count
        ax.set_title(NAMES[group])
        ax.set_ylim(0, 1)
        counts = np.array(
            [np.bincount(one.values["weights/global"]["layer"], minlength=len(units) - 2) for one in found]
        )
        below.bar(range(1, len(units) - 1), counts.mean(axis=0), 0.86, color=GREY)
        for layer, mean in enumerate(counts.mean(axis=0), 1):
            below.text(layer, mean, f"{mean:.2g}", ha="center", va="bottom", fontsize=9)
        below.set_xticks(range(len(units)), ["in", *(str(layer) for layer in range(1, len(units) - 1)), "out"])
        below.set_xlabel("layer")
    axes[0, 0].set_ylabel("share of units")
    axes[1, 0].set_ylabel("sub-clusters\ntested")
    axes[1, 0].set_ylim(0, 1.22 * axes[1, 0].dataLim.y1)
    bar = made.colorbar(ScalarMappable(Normalize(0, len(units) - 1), colors), ax=axes[0, :].tolist(), pad=0.01)
    bar.set_ticks(range(len(units)), labels=["in", *(str(layer) for layer in range(1, len(units) - 1)), "out"])
    bar.set_label("mean layer of a cluster")
    note(
        made,
        f"Above: one network each (seed {_tested(of, shown[0])[0].seed}), clusters of weights, global, "
        f"k = {cells.K_PROXY}; a part of a bar is a cluster, grey: units without a connection. Below: means; "
        f"{_seeds({drawing.data_name(of): of}, shown, _tested)}".replace("a row", "a column")
        + ".",
    )
    return made


@figure
def classes(of: Evidence, kind: str = "plain", state: str = "pruned") -> Figure:
    """Accuracy on every class that the removal of every sub-cluster of one network costs."""
    _recorded([(kind, state)], {of.dataset: of}, _tested)
    one = of.tested(kind, state)[0]
    tested = one.values["weights/global"]
    layer, size = (np.asarray(tested[name], dtype=int) for name in ("layer", "size"))
    lost = 100 * np.asarray(tested["lost"], dtype=float) / one.values["per_class"]
    order = np.lexsort((-lost.mean(axis=1), layer))
    names = [f"layer {layer[place] + 1}, {size[place]} units" for place in order]
    columns = data.class_names(of.dataset)
    made, ax = plt.subplots(figsize=(WIDTH, 1.2 + 0.19 * len(order)))
    limit = max(float(np.abs(lost).max(initial=0)), 5)
    heat_table(ax, lost[order], names, columns, text="{:.0f}", cmap=DIVERGING, low=-limit, high=limit)
    ax.tick_params(axis="y", labelsize=9)
    ax.tick_params(axis="x", labelsize=9.5, labelrotation=50 if of.dataset == "fashion-mnist" else 0)
    if of.dataset == "fashion-mnist":
        plt.setp(ax.get_xticklabels(), ha="left", rotation_mode="anchor")
    for edge in np.flatnonzero(np.diff(layer[order])):
        ax.axhline(edge + 0.5, color="black", linewidth=1)
    note(
        made,
        f"{NAMES[kind, state]}, one network (seed {one.seed}); clusters of weights, global, k = {cells.K_PROXY}. "
        f"Numbers: points of accuracy on a class that are lost without the sub-cluster, on {one.values['per_class']} "
        "test images of each class.",
    )
    return made


@figure
def pictures(of: Evidence, which: str = "weights/global") -> Figure:
    """Images that drive sub-clusters of two layers as far as they go, above those of random sets."""
    shown = {name: seen for name, seen in of.pictures().items() if name.startswith(f"{which}, ")}
    shown = dict(sorted(sorted(shown.items(), key=lambda item: -len(item[1]["size"]))[:2]))
    if not shown:
        raise RecordError(f"no pictures of {which!r} are recorded for {of.dataset}")
    columns = max(len(seen["size"]) for seen in shown.values()) // 2
    made, axes = _panels(2 * len(shown), columns, 3.05 * len(shown), sharex="none", sharey="none")
    for block, (name, seen) in enumerate(shown.items()):
        half = len(seen["size"]) // 2
        for row, words in enumerate(("sub-clusters", "random sets")):
            for column, ax in enumerate(axes[2 * block + row]):
                ax.set(xticks=[], yticks=[])
                if column >= half:
                    ax.set_axis_off()
                    continue
                place = row * half + column
                ax.imshow(seen["image"][place], cmap="Greys", vmin=0, vmax=255)
                ax.spines[:].set(visible=True, color="#bbbbbb")
                reached = seen["score"][place]
                score = f"score {reached:.0f}" if reached >= 100 else f"score {reached:.3g}"
                ax.set_title(f"{seen['size'][place]} units\n{score}" if row == 0 else score, fontsize=10, loc="center")
            layer = name.rsplit(", ", 1)[1]
            axes[2 * block + row, 0].set_ylabel(f"{layer}\n{words}" if row == 0 else words, fontsize=10)
    cell = of.recorded("pictures")[0].params
    note(
        made,
        f"{NAMES[cell['kind'], cell['state']]}, one network (seed {cell['seed']}), clusters of {which.split('/')[0]}, "
        f"{which.split('/')[1]}, k = {cell['k']}; the largest sub-clusters of at most half a layer, and below each a "
        "random set of as many units. Dark pixels are on. Score: sum of the sizes of the units' values on the image.",
    )
    return made


# --- tests of sub-clusters --------------------------------------------------------------------------------------------


def _by_partition(found: Sequence[Tested], number: Callable[[Tested, str], float]) -> list[Series]:
    """A lane for each partition, with a number of each network."""
    return [Series([number(one, which) for one in found], *look) for which, look in PARTITION_LOOKS.items()]


def _titles(axes: np.ndarray, of: Of, statistics: Sequence[str], titles: Mapping[str, str] | None = None) -> None:
    """Statistics above the columns, data sets above the rows."""
    for ax, statistic in zip(axes[0], statistics, strict=True):
        ax.set_title((titles or {}).get(statistic, statistic.replace(" ", "\n")), fontsize=10.5)
    for row, name in enumerate(of):
        if len(of) > 1:
            axes[row, 0].annotate(
                name, (0, 1), (-6, 5), xycoords="axes fraction", textcoords="offset points", ha="right", weight="bold"
            )


def _fisher(statistic: str, *, control: bool = False) -> Callable[[Tested, str], float]:
    """A function that gives −log₁₀ of Fisher's p of a network's partition."""
    return lambda one, which: float(logs(one.fisher(which, statistic, control=control)))


@figure
def p_values(of: Of, statistics: Sequence[str] = STATISTICS) -> Figure:
    """Fisher's p-value of every network, by partition and statistic, and of random partitions."""
    shown = _recorded(ROWS, of, _tested)
    made, axes = _panels(len(of), len(statistics), 1.5 + (0.5 + 0.42 * (len(shown) + 1)) * len(of))
    for row, evidence in enumerate(of.values()):
        published = drawing.PUBLISHED_P.get(evidence.dataset, {})
        found = [_tested(evidence, group) for group in shown]
        everyone = [one for networks in found for one in networks]
        for ax, statistic in zip(axes[row], statistics, strict=True):
            rows = [_by_partition(networks, _fisher(statistic)) for networks in found]
            random = _by_partition(everyone, _fisher(statistic, control=True))
            rows.append([series._replace(color="#9a9a9a") for series in random])
            dot_rows(ax, rows)
            name_rows(ax, [*names_of(shown), "random"])
            for place, group in enumerate(shown):
                if (group, statistic) in published:
                    low, high = published[group, statistic]
                    span(ax, place, float(logs(high)), float(logs(low)))
    for column in axes.T:
        p_ticks(column, most=10.4 / len(statistics))
    _titles(axes, of, statistics)
    made.supxlabel("Fisher's p over the sub-clusters of a network (smaller to the right)", fontsize=11)
    handles: list[Any] = partition_handles()
    if any(evidence.dataset in drawing.PUBLISHED_P for evidence in of.values()):
        handles.append(Patch(color=drawing.SPAN, label="published range"))
    made.legend(handles=handles, loc="outside upper center", ncols=3)
    note(
        made,
        f"A mark is a network. {_seeds(of, shown, _tested)}; k = {cells.K_PROXY}. Random (grey): partitions with "
        f"permuted labels of all these networks, tested like the true ones. {DASHED}; {CLIPPED}.",
    )
    return made


def _effect(one: Tested, which: str, statistic: str) -> float:
    """Points of accuracy for importance, the relative effect of anything else."""
    return 100 * one.excess(which, statistic) if statistic == "importance" else one.effect(which, statistic)


EFFECT = "2t/(t + r): t of a sub-cluster, r the mean of its random sets, 1 = no effect"


@figure
def effects(of: Of, statistics: Sequence[str] = STATISTICS) -> Figure:
    """Mean effect of every group by partition and statistic."""
    shown = _recorded(ROWS, of, _tested)
    made, axes = _panels(len(of), len(statistics), 1.5 + (0.5 + 0.42 * len(shown)) * len(of))
    for row, evidence in enumerate(of.values()):
        found = [_tested(evidence, group) for group in shown]
        for ax, statistic in zip(axes[row], statistics, strict=True):
            interval_rows(
                ax,
                [
                    [
                        Series([_effect(one, which, statistic) for one in networks], *look)
                        for which, look in PARTITION_LOOKS.items()
                    ]
                    for networks in found
                ],
            )
            name_rows(ax, names_of(shown))
            ax.axvline(0 if statistic == "importance" else 1, color=GREY, linewidth=1, linestyle="--", zorder=1)
            for place, networks in enumerate(found):
                random = [one.effect(which, statistic, control=True) for one in networks for which in PARTITION_LOOKS]
                if random and statistic != "importance":
                    ax.vlines(np.mean(random), place - 0.42, place + 0.42, color="#c4c4c4", linewidth=4, zorder=0.5)
            ax.locator_params(axis="x", nbins=3)
            ax.xaxis.set_major_formatter("{x:g}")
    _titles(axes, of, statistics, UNITS)
    for ax, statistic in zip(axes[-1], statistics, strict=True):
        ax.set_xlabel("more →" if statistic != "entropy" else "← surer")
    handles: list[Any] = [*partition_handles(), Patch(color="#c4c4c4", label="random partitions")]
    made.legend(handles=handles, loc="outside upper center", ncols=3)
    note(
        made,
        f"{_seeds(of, shown, _tested)}; k = {cells.K_PROXY}; {INTERVALS}. Importance: accuracy lost beyond that "
        f"without random sets, mean over sub-clusters. Others: {EFFECT}. Grey: mean of random partitions, which is "
        "not 1 for skewed statistics.",
    )
    return made


@figure
def drops(of: Of) -> Figure:
    """Accuracy lost without each sub-cluster against that without random sets of as many units."""
    shown = _recorded((UNTRAINED, ("plain", "trained"), ("plain", "pruned")), of, _tested)
    made, axes = _panels(len(of), len(shown), 1.2 + 2.15 * len(of), sharex="all", sharey="all")
    counts: dict[str, list[int]] = {name: [] for name in of}
    reach = 0.0
    for row, (name, evidence) in enumerate(of.items()):
        for ax, group in zip(axes[row], shown, strict=True):
            points = [_drop_points(one.values["weights/global"]) for one in _tested(evidence, group)]
            layer, mean, drop = np.concatenate([np.empty((3, 0)), *points], axis=1)
            counts[name].append(len(points))
            for number, (color, marker) in enumerate(LAYER_LOOKS):
                own = layer == number
                ax.plot(mean[own], drop[own], marker, color=color, markersize=4, alpha=0.75, markeredgewidth=0)
            reach = max(reach, *np.abs(mean), *np.abs(drop), 1.0)
            ax.grid(color=drawing.LINE, linewidth=0.8)
            ax.set_axisbelow(True)
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
    made.legend(
        handles=[handle(look, f"layer {number}") for number, look in enumerate(LAYER_LOOKS, 1)],
        loc="outside upper center",
        ncols=4,
    )
    words = counted(counts, each="a panel")
    note(
        made,
        f"A mark is a sub-cluster (weights, global, k = {cells.K_PROXY}). {words}; {proxies.DRAWS} random sets each. "
        "Dashed: as much as random sets. Axes are linear within ±1 point, logarithmic beyond.",
    )
    return made


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
    shown = _recorded(cells.TESTED, of, _tested)
    everyone = [one for evidence in of.values() for group in shown for one in _tested(evidence, group)]
    rows = -(-len(statistics) // 2)
    made, axes = _panels(rows, 2, 0.7 + 2.75 * rows, sharex="all", sharey="all")
    for ax in axes.flat[len(statistics) :]:
        ax.set_axis_off()
    for ax, statistic in zip(axes.flat, statistics, strict=False):
        looks = {"mid": (COLORS[0], "-"), "ignored": (COLORS[1], "--")}
        for ties, (color, dashes) in looks.items():
            found = [
                one.fisher(which, statistic, ties=ties, control=True) for one in everyone for which in PARTITION_LOOKS
            ]
            p = np.sort(np.array(found)[np.isfinite(found)])
            expected = (np.arange(len(p)) + 0.5) / len(p)
            ax.plot(expected, p, dashes, color=color, linewidth=2, label=RULES[ties])
        reach = float(stats.kstwo.ppf(0.95, len(p)))
        line = np.unique([0, reach, 1 - reach, 1])
        ax.fill_between(
            line, np.maximum(line - reach, 0), np.minimum(line + reach, 1), color="#e6e6e6", linewidth=0, zorder=0
        )
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, zorder=1)
        ax.set_title(statistic, fontsize=10.5)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    made.supxlabel("quantile of uniform p-values", fontsize=11)
    made.supylabel("Fisher's p of random partitions", fontsize=11)
    made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    note(
        made,
        f"{len(everyone)} networks ({', '.join(of)}), four random partitions each, tested in place of the true ones. A "
        "curve below the diagonal: p-values are too small. Grey: where 95\u00a0% of samples of as many independent "
        "uniform numbers stay (Kolmogorov–Smirnov).",
    )
    return made


RULES = {"mid": "mid-p (ours)", "ignored": "ties ignored (published)"}
SPREADS = ("normalised range", "spread", "matched spread")


@figure
def spreads(of: Of) -> Figure:
    """Fisher's p of three measures of how unevenly a lesion falls on classes, also for networks with true modules."""
    shown = _recorded(ROWS, of, _tested)
    found = {name: [*(_tested(evidence, group) for group in shown), evidence.blocks()] for name, evidence in of.items()}
    known = any(rows[-1] for rows in found.values())
    names = [*names_of(shown), *(["true modules"] if known else [])]
    made, axes = _panels(len(of), len(SPREADS), 0.9 + (0.55 + 0.33 * len(names)) * len(of))
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
    note(
        made,
        f"A mark is a network. {words}; clusters of weights, global, k = {cells.K_PROXY}"
        f"{'; of networks with true modules (orange) those modules' if known else ''}. {DASHED}; {CLIPPED}.",
    )
    return made


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
    made, axes = _panels(2, len(_TRUE), 1.7 + 0.8 * len(found), sharex="none")
    for above, below, statistic in zip(*axes, _TRUE, strict=True):
        for ax, number in ((above, _fisher(statistic)), (below, lambda one, which: _effect(one, which, statistic))):  # noqa: B023
            dot_rows(
                ax,
                [
                    [
                        Series([number(*one) for one in networks], *look, size=5)
                        for networks, look in zip(row, looks, strict=True)
                    ]
                    for row in found.values()
                ],
                height=0.36,
            )
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
    note(
        made,
        f"A mark is a network. {words}. True modules: one group of units for each class, without connections between "
        "groups; same, clustered: the clusters of its weights; planted start: groups only in the first weights. "
        f"Importance in points of accuracy; others {EFFECT}. {DASHED}, below: no effect.",
    )
    return made


@figure
def permutation(of: Of, statistics: Sequence[str] = STATISTICS) -> Figure:
    """Fisher's p against the p-value of the whole partition among permuted ones."""
    shown = _recorded(ROWS, of, _tested)
    everyone = [one for evidence in of.values() for group in shown for one in _tested(evidence, group)]
    rows = -(-len(statistics) // 2)
    made, axes = _panels(rows, 2, 1.2 + 2.4 * rows, sharex="none", sharey="all")
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
        ax.grid(color=drawing.LINE, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.set_title(statistic, fontsize=10.5)
    made.supxlabel("Fisher's p over sub-clusters (smaller to the right)", fontsize=11)
    made.supylabel("p of the whole partition (smaller above)", fontsize=11)
    made.legend(handles=partition_handles(), loc="outside upper center", ncols=2)
    note(
        made,
        f"A mark is a partition of a network: {len(everyone)} networks ({', '.join(of)}), k = {cells.K_PROXY}. The "
        f"p of the whole is its mid-rank among {proxies.DRAWS} partitions with permuted labels, at least 1/40; it does "
        f"not assume independence. Marks of the four partitions are moved apart a little. {DASHED}; line: both equal.",
    )
    return made


@figure
def clusters(of: Of, statistics: Sequence[str] = ("importance", "score")) -> Figure:
    """Fisher's p of clusters of weights against the number of clusters."""
    ks = sorted({*cells.SWEPT, cells.K_CUT, cells.K_PROXY})
    shown = _recorded(GROUPS, of, _tested)
    made, axes = _panels(len(statistics), len(of), 1.2 + 2.2 * len(statistics))
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
            ax.grid(axis="y", color=drawing.LINE, linewidth=0.8)
            ax.set_axisbelow(True)
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("clusters k")
    for row, statistic in zip(axes, statistics, strict=True):
        p_ticks(row, axis="y")
        row[0].set_ylabel(f"{statistic}\nFisher's p")
    handles = [handle(GROUP_LOOKS[group], NAMES[group]) for group in shown]
    made.legend(handles=handles, loc="outside upper center", ncols=4, handletextpad=0.2, columnspacing=1.2)
    note(
        made,
        f"Clusters of weights, global. Line and large marks: the first seed; small: further seeds. "
        f"{counted(counts, each='a point')}. Smaller p above. {DASHED}; {CLIPPED}.",
    )
    return made


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
    made, axes = _panels(2, 2, 4.9, sharex="all", sharey="none")
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
        ax.grid(axis="y", color=drawing.LINE, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.set_xticks(range(len(found)), [f"{strength:g}" for strength in found])
        ax.set_xlim(-0.4, len(found) - 0.5)
        ax.margins(y=0.15)
    for x, networks in enumerate(found.values()):
        for shift, one in zip(lanes(len(networks), 0.16), networks, strict=True):
            null = np.asarray(one.values["weights"]["null"], dtype=float)
            place = x + 0.28 + shift
            axes[0, 0].errorbar(
                place, null.mean(), null.std(), fmt="s", color="#8c8c8c", markersize=3, elinewidth=1.5, zorder=2
            )
    axes[1, 0].axhline(0, color=GREY, linewidth=1, linestyle="--", zorder=1)
    axes[1, 1].axhline(1, color=GREY, linewidth=1, linestyle="--", zorder=1)
    made.supxlabel("strength of the penalty", fontsize=11)
    letters(list(axes.flat))
    handles: list[Any] = [
        handle((COLORS[0], "o"), "a network"),
        plt.Line2D([], [], color="black", linewidth=2.2, label="mean"),
        handle(("#8c8c8c", "s"), "its shuffles, ± s.d.", size=4),
    ]
    made.legend(handles=handles, loc="outside upper center", ncols=3)
    words = counted({drawing.data_name(of): [len(networks) for networks in found.values()]}, each="a strength")
    note(
        made,
        f"{words}, joined by lines; MLPs with three hidden layers of 64 units. c, d: clusters of weights, global, "
        "against random sets; d: 2t/(t + r). Dashed: no effect.",
    )
    return made


_BY_IMAGES = ("importance", "normalised range", "spread", "matched spread")


@figure
def images_used(of: Evidence) -> Figure:
    """Fisher's p with few test images and with all of them, for the statistics that are taken from lesions."""
    pairs = {group: _pairs(of, group) for group in GROUPS}
    shown = [group for group in GROUPS if pairs[group]]
    if not shown:
        raise RecordError(f"no networks tested on all images are recorded for {of.dataset}")
    made, axes = _panels(1, len(_BY_IMAGES), 1.7 + 0.55 * len(shown))
    for ax, statistic in zip(axes[0], _BY_IMAGES, strict=True):
        p = _fisher(statistic)
        for row, group in enumerate(shown):
            for offset, (which, (color, marker)) in zip(
                lanes(len(PARTITION_LOOKS)), PARTITION_LOOKS.items(), strict=True
            ):
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
    note(
        made,
        f"{words}, k = {cells.K_PROXY}, the same random sets for both. {DASHED}; {CLIPPED}.",
    )
    return made


def _pairs(of: Evidence, group: Group) -> list[tuple[Tested, Tested]]:
    """Networks tested on few images and on more: both."""
    few = {one.seed: one for one in of.tested(*group)}
    every = [one for one in of.tested(*group, all_images=True) if one.seed in few]
    return [(few[one.seed], one) for one in every if one.values["per_class"] > few[one.seed].values["per_class"]]
