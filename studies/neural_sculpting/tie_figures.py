"""What hangs on ties: networks of one grid with as few edges, and what four seeds out of fifty would have shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from companion.records import Results
from modutils import hierarchy, tasks
from modutils.plotting import COLORS, GREY, PUBLISHED, WIDTH, figure, letters, note
from studies.neural_sculpting import cells, evidence, published
from studies.neural_sculpting.figures import TIES_LOOK, percent
from studies.neural_sculpting.task_drawing import module_colors, sculpted_network

DRAWS = 2000  # of four seeds each


class Tie(NamedTuple):
    """One grid of which some of the sparsest runs show the modules and some do not.

    ``edges`` and ``success`` are of all runs in the order of the grid, ``pair`` the masks of the first tied run that
    fails and of the first that succeeds.
    """

    outputs: int
    width: int
    layers: int
    seed: int
    edges: np.ndarray
    success: np.ndarray
    failed: np.ndarray
    pair: tuple[list[np.ndarray], list[np.ndarray]]


def undecided(results: Results) -> Iterator[Tie]:
    """Networks on the reused function with two hidden layers whose success depends on the rule for ties.

    The stage ``boolean`` has the masks of the tied runs, ``repeat`` the success of all runs of the same grid.
    """
    for cell, repeated in results.recorded("repeat", task="reused"):
        params = dict(cell.params)
        for name, run in repeated.values.items():
            shown = evidence.tied_success(run)
            if len(set(shown)) < 2:
                continue
            width, layers = map(int, name.split("x"))
            kept = [
                record.values[name]
                for other, record in results.recorded(
                    "boolean", task="reused", outputs=params["outputs"], seed=params["seed"], grid=params["grid"]
                )
                if (width, layers) in cells.shapes(other.params["widths"], other.params["layers"])
            ]
            for values in kept:
                masks = [cells.unflat(flat, values["sizes"]) for flat in values["masks"]]
                total = sum(mask.size for mask in masks[0])
                edges = np.round(np.asarray(run["densities"], dtype=float) * total).astype(int)
                pair = masks[shown.index(False)], masks[shown.index(True)]
                yield Tie(params["outputs"], width, layers, params["seed"], edges, run["success"], run["failed"], pair)


@figure
def tied_networks(results: Results) -> Figure:
    """All runs of one grid, and two of its sparsest networks: one without the modules of the task, one with them."""
    one = next(undecided(results), None)
    if one is None:  # as may be in a small record
        made, ax = plt.subplots(figsize=(WIDTH, 1.2))
        ax.set_axis_off()
        ax.text(0.5, 0.5, "In no grid of this record do the sparsest networks differ in success.", ha="center")
        return made
    task = tasks.load("reused", outputs=one.outputs)
    made = plt.figure(figsize=(WIDTH, 5.6), layout="none")
    runs = made.add_axes((0.09, 0.62, 0.88, 0.3))
    place = np.arange(len(one.edges))
    tied = ~one.failed & (one.edges == one.edges[~one.failed].min())
    for shown, color, marker, label in ((True, COLORS[0], "o", "its modules"), (False, COLORS[1], "X", "others")):
        chosen = ~one.failed & (one.success == shown)
        runs.plot(place[chosen], one.edges[chosen], marker, color=color, markersize=5, label=f"shows {label}")
    runs.plot(place[tied], one.edges[tied], "o", color="black", fillstyle="none", markersize=10, label="fewest edges")
    runs.set(xlabel="run, in the order of the grid", ylabel="edges left")
    runs.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    for left, masks, words in zip(
        (0.0, 0.505), one.pair, ("not the task's modules", "the task's modules"), strict=True
    ):
        labels = hierarchy.detect_modules(masks)
        ax = made.add_axes((left, 0.0, 0.495, 0.46))
        edges = sum(int(mask.sum()) for mask in masks)
        title = f"{edges} edges: {words}"
        sculpted_network(ax, masks, labels, colors=module_colors(task, labels), title=title)
    letters([runs])
    density = one.edges[tied][0] / sum(mask.size for mask in one.pair[0])
    return note(
        made,
        f"Reused function with {one.outputs} outputs, {one.layers} × {one.width} hidden units, seed {one.seed}: "
        f"{len(one.edges)} runs from one dense network. {int(tied.sum())} have the fewest edges ({percent(density)}), "
        f"and {int(one.success[tied].sum())} of these show the modules. Below, the first that does not and the first "
        "that does.",
    )


def four_of_many(rows: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """Rates that four seeds drawn from all would have given, by rule for ties: (draws,) each, of (seeds, widths)."""
    rng = np.random.default_rng(seed)
    count = len(next(iter(rows.values())))
    drawn = np.array([rng.choice(count, min(4, count), replace=False) for _ in range(DRAWS)])
    return {ties: own[drawn].mean(axis=(1, 2)) for ties, own in rows.items()}


@figure
def four_seeds(results: Results) -> Figure:
    """The rate on the reused function with two layers as a distribution over seeds, by rule for ties, and published."""
    made, ax = plt.subplots(figsize=(WIDTH, 4.2))
    seeds = 0
    offsets = dict(zip(evidence.TIES, (-0.22, 0.0, 0.22), strict=True))
    for place, reuse in enumerate(published.REUSE):
        rows = evidence.seeds_of(results, 2 * reuse)
        if not rows["first"].size:
            continue
        seeds = len(rows["first"])
        for ties, rates in four_of_many(rows).items():
            look: dict[str, Any] = TIES_LOOK[ties] | {"linestyle": ""}
            low, high = np.quantile(rates, (0.025, 0.975))
            x = place + offsets[ties]
            ax.vlines(x, low, high, color=look["color"], linewidth=6, alpha=0.3)
            ax.plot(x, rows[ties].mean(), label=ties if place == 0 else None, **look)
        theirs = published.REUSE_COUNTS[2][place] / 12
        ax.plot(place + 0.36, theirs, **PUBLISHED, label="published" if place == 0 else None)
    ax.set_xticks(range(len(published.REUSE)), [f"r = {reuse}" for reuse in published.REUSE])
    ax.set(ylabel="share of networks that show\nboth output functions", ylim=(-0.04, 1.04))
    ax.grid(True, axis="y")
    for edge in np.arange(len(published.REUSE) - 1) + 0.55:
        ax.axvline(edge, color=GREY, linewidth=0.5)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)
    return note(
        made,
        f"Two hidden layers, three widths. Marks: mean over {seeds} seeds; bars: 95 % of the rates that four seeds "
        f"drawn from them would have given ({DRAWS} draws). Published: four seeds.",
    )
