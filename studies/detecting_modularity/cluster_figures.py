"""The figures on what clusters are, drawn from the record as those in ``figures``: layers, classes, and pictures."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from companion.records import RecordError
from modutils import data
from modutils.plotting import DIVERGING, GREY, WIDTH, figure, heat_table, note
from studies.detecting_modularity import cells, nets
from studies.detecting_modularity.drawing import Group, data_name, panels, recorded, seeds_of, tested_of
from studies.detecting_modularity.evidence import NAMES, UNTRAINED, Evidence


@figure
def composition(
    of: Evidence, groups: Sequence[Group] = (UNTRAINED, ("plain", "trained"), ("plain", "pruned"))
) -> Figure:
    """Which clusters the units of each layer are in, and how many sub-clusters of each layer are tested."""
    shown = recorded(groups, {of.dataset: of}, tested_of)
    units = nets.sizes(of.dataset)
    made, axes = panels(2, len(shown), 4.6, height_ratios=(2.3, 1), sharex="all")
    colors = plt.get_cmap("viridis_r")
    depths = np.repeat(np.arange(len(units)), units)
    for column, group in enumerate(shown):
        found = of.tested(*group)
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
    return note(
        made,
        f"Above: one network each (seed {of.tested(*shown[0])[0].seed}), clusters of weights, global, "
        f"k = {cells.K_PROXY}; a part of a bar is a cluster, grey: units without a connection. Below: means; "
        f"{seeds_of({data_name(of): of}, shown, tested_of)}".replace("a row", "a column")
        + ".",
    )


LEAST_LOSS = 5  # points on some class, for a sub-cluster to have a row of its own


@figure
def classes(of: Evidence, kind: str = "plain", state: str = "pruned") -> Figure:
    """Accuracy on every class that the removal of each sub-cluster costs; those of small losses share a row a layer."""
    recorded([(kind, state)], {of.dataset: of}, tested_of)
    one = of.tested(kind, state)[0]
    tested = one.values["weights/global"]
    layer, size = (np.asarray(tested[name], dtype=int) for name in ("layer", "size"))
    lost = 100 * np.asarray(tested["lost"], dtype=float) / one.values["per_class"]
    rows: list[tuple[str, np.ndarray]] = []
    ends = []
    for number in np.unique(layer):
        own = np.flatnonzero(layer == number)
        own = own[np.argsort(-lost[own].mean(axis=1), kind="stable")]
        large = lost[own].max(axis=1) >= LEAST_LOSS
        rows += [(f"layer {number + 1}, {size[place]} units", lost[place]) for place in own[large]]
        if not large.all():
            rest = int((~large).sum())
            words = f"{rest} other{'s' * (rest > 1)}" if large.any() else f"layer {number + 1}, all {rest}"
            rows.append((f"{words}: largest", lost[own[~large]].max(axis=0)))
        ends.append(len(rows))
    columns = data.class_names(of.dataset)
    made, ax = plt.subplots(figsize=(WIDTH, 1.2 + 0.24 * len(rows)))
    table = np.stack([values for _, values in rows])
    limit = max(float(np.abs(lost).max(initial=0)), LEAST_LOSS)

    def written(points: float) -> str:
        return f"{points:.0f}" if round(points) else ""

    heat_table(ax, table, [name for name, _ in rows], columns, text=written, cmap=DIVERGING, low=-limit, high=limit)
    ax.tick_params(axis="y", labelsize=9)
    ax.tick_params(axis="x", labelsize=9.5, labelrotation=50 if of.dataset == "fashion-mnist" else 0)
    if of.dataset == "fashion-mnist":
        plt.setp(ax.get_xticklabels(), ha="left", rotation_mode="anchor")
    ax.set_xlabel("class")
    ax.xaxis.set_label_position("top")
    for edge in ends[:-1]:
        ax.axhline(edge - 0.5, color="black", linewidth=1)
    return note(
        made,
        f"{NAMES[kind, state]}, one network (seed {one.seed}); clusters of weights, global, k = {cells.K_PROXY}. "
        "Numbers: points of accuracy on a class that are lost without the sub-cluster, on "
        f"{one.values['per_class']} test images of each class; up to half a point stays empty. Of "
        f"{len(lost)} sub-clusters those have a row that cost some class {LEAST_LOSS} points; of the others of a layer "
        "the largest loss of each class is shown.",
    )


@figure
def pictures(of: Evidence, which: str = "weights/global") -> Figure:
    """Images that drive sub-clusters of two layers as far as they go, above those of random sets."""
    shown = {name: seen for name, seen in of.pictures().items() if name.startswith(f"{which}, ")}
    shown = dict(sorted(sorted(shown.items(), key=lambda item: -len(item[1]["size"]))[:2]))
    if not shown:
        raise RecordError(f"no pictures of {which!r} are recorded for {of.dataset}")
    columns = max(len(seen["size"]) for seen in shown.values()) // 2
    made, axes = panels(2 * len(shown), columns, 3.05 * len(shown), sharex="none", sharey="none")
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
    return note(
        made,
        f"{NAMES[cell['kind'], cell['state']]}, one network (seed {cell['seed']}), clusters of {which.split('/')[0]}, "
        f"{which.split('/')[1]}, k = {cell['k']}; the largest sub-clusters of at most half a layer, and below each a "
        "random set of as many units. Dark pixels are on. Score: sum of the sizes of the units' values on the image.",
    )
