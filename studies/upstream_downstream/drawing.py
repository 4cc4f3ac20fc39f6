"""What the figures of the upstream/downstream chapter share: names, colours, published levels, curves and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from companion.published import table
from companion.records import RecordError, Results
from companion.reports import DATASETS, spaced
from modutils.plotting import COLORS, GREY, PUBLISHED, heat_table, interval_dots, note
from modutils.statistics import mean_interval
from studies.upstream_downstream.cells import MEASURES, ORDER
from studies.upstream_downstream.runs import DOWNSTREAM, LEAST_ACCURACY, UPSTREAM, Runs

NAMES = {
    "covariance": "covariance",
    "input_sensitivity": "input sensitivity",
    "output_sensitivity": "output sensitivity",
    "loss_hessian": "loss Hessian",
}
#: As a signal meets them: upstream first.
BY_SIDE = ("covariance", "input_sensitivity", "output_sensitivity", "loss_hessian")
#: Short names in the order of ``MEASURES``; a prime marks the normalised form.
SHORT = ("hess", "hess′", "o-sens", "o-sens′", "cov", "cov′", "i-sens", "i-sens′")
UP, DOWN = COLORS[1], COLORS[0]
#: Orange upstream and blue downstream, dark for moments and light for gradients.
HUES = {
    "covariance": COLORS[1],
    "input_sensitivity": COLORS[4],
    "output_sensitivity": COLORS[5],
    "loss_hessian": COLORS[0],
}
KINDS = {"l2": "L2", "l1": "L1", "dropout": "dropout"}
KIND_COLORS = {"l2": COLORS[2], "l1": COLORS[3], "dropout": COLORS[6]}
MARKERS = {"l2": "o", "l1": "D", "dropout": "*"}
_SIZES = {"l2": 4.0, "l1": 3.8, "dropout": 5.5}
BLOCKS = {"within downstream": (DOWNSTREAM, DOWNSTREAM), "within upstream": (UPSTREAM, UPSTREAM)}
BLOCKS |= {"across the sides": (DOWNSTREAM, UPSTREAM)}
IMAGES = {"mnist": 10_000, "fashion-mnist": 10_000, "digits": 500}

# --- read off the published plots: networks of 500 epochs, with an error of about 0.01 -------------------------------


def published_levels(
    quantity: str, measure: str | None = None, form: str | None = None, layer: int | None = None
) -> dict[str, dict[float, float]]:
    """Published levels by regulariser and strength; nothing where the plots were not read."""
    found: dict[str, dict[float, float]] = {}
    for row in table("upstream_downstream", "published_levels"):
        if [row[name] for name in ("quantity", "measure", "form", "layer")] == [quantity, measure, form, layer]:
            for column, level in row.items():
                kind, _, strength = column.partition(" ")
                if kind in KINDS and level is not None:
                    power = strength.removeprefix("10^")
                    at = float(strength) if power == strength else 10 ** float(power)
                    found.setdefault(kind, {})[at] = level
    return found


PUBLISHED_Q = {measure: published_levels("q", *measure) for measure in MEASURES}
#: Q of the same measures, before training.
PUBLISHED_UNTRAINED = {
    (row["measure"], row["form"]): row["untrained"]
    for row in table("upstream_downstream", "published_levels")
    if row["untrained"] is not None
}
PUBLISHED_LABEL = "published (read off, 500 epochs)"


# --- what the figures share -------------------------------------------------------------------------------------------


def caption(made: Figure, runs: Runs, *parts: str) -> Figure:
    """Data, networks, n and how they were trained in small print below a figure, and more; the figure."""
    epochs = runs.params["epochs"]
    regime = f"{epochs} epochs" if runs.params["regime"] == "fixed" else f"early stopping, at most {epochs} epochs"
    words = (
        images_of(runs.dataset),
        f"hidden layers {runs.params['hidden'].replace('-', '–')}, {regime}",
        f"{count_of(runs)} of {len(runs.settings)} networks, {int(runs.kept.sum())} "
        f"of {runs.kept.size} reach {100 * LEAST_ACCURACY:.0f}\u00a0% test accuracy and count",
    )
    return note(made, "; ".join((*words, *parts)) + ".")


def average(values: np.ndarray, axis: int | tuple[int, ...] = 0) -> np.ndarray:
    """Mean of the finite values along ``axis``, NaN where there is none."""
    return np.ma.filled(np.ma.masked_invalid(values).mean(axis), np.nan)


def mean_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the first axis without NaN; NaN where there are too few values."""
    own = np.ma.masked_invalid(values)
    error = own.std(0, ddof=1) / np.sqrt(own.count(0))
    return np.ma.filled(own.mean(0), np.nan), np.ma.filled(error, np.nan)


def count_of(runs: Runs) -> str:
    """How many runs are recorded, and of how many if some are missing, in words."""
    count = f"{len(runs.seeds)}{'' if len(runs.seeds) == runs.planned else f' of {runs.planned}'}"
    return f"{count} run{'' if count == '1' else 's'}"


def in_words(kind: str, strength: float) -> str:
    """A setting as it is said: p as a decimal, the others as a power of ten."""
    if kind == "dropout":
        return f"p = {strength:.2g}"
    return rf"{KINDS[kind]} = $10^{{{np.log10(strength):.3g}}}$".replace("-", "−")


def images_of(dataset: str) -> str:
    """The images that networks are looked at with, in words."""
    return f"{DATASETS[dataset]}, {spaced(IMAGES[dataset])} test images"


def recorded(results: Results, stage: str, dataset: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a stage found, per run that has a record.

    Raises
    ------
    RecordError
        None is planned or recorded.
    """
    wanted = {"dataset": dataset, **params}
    found = [dict(record.values) for _, record in results.recorded(stage, **wanted)]
    if not found:
        raise RecordError(f"no cell of stage {stage!r} with {wanted} is recorded in {results.folder}")
    return found


def untrained_of(runs: Runs, name: str) -> np.ndarray:
    """A quantity of the untrained networks, (n, …).

    Raises
    ------
    ValueError
        The record has no untrained networks of this data set and shape.
    """
    if name not in runs.fresh:
        raise ValueError(
            f"runs of {runs.dataset}, {runs.params['hidden']} have no untrained networks in the record: "
            "compute the stage 'untrained' first"
        )
    return np.asarray(runs.fresh[name], dtype=float)


def curve(
    ax: Axes, runs: Runs, kind: str, values: np.ndarray, *, axis: str = "common", color: str = "", **style: Any
) -> None:
    """Mean ± standard error over runs along one regulariser.

    Parameters
    ----------
    ax : Axes
    runs : Runs
    kind : {"l2", "l1", "dropout"}
    values : array
        (R, S), NaN for networks that are left out. Strengths without any are not drawn; those that lack some runs
        have hollow markers.
    axis : {"common", "own"}
        The paper's common axis, or the strength itself.
    color : str
        Default: that of the regulariser.
    **style
        Of the line, such as ``linestyle``.
    """
    own = values[:, runs.places(kind)]
    count, (mean, error) = np.isfinite(own).sum(0), mean_error(own)
    x = runs.axis(kind) if axis == "common" else runs.strengths(kind)
    drawn = count > 0
    color = color or KIND_COLORS[kind]
    look: dict[str, Any] = {"marker": MARKERS[kind], "markersize": _SIZES[kind], "markeredgewidth": 0.8} | style
    ax.errorbar(x[drawn], mean[drawn], error[drawn], color=color, linewidth=1.1, elinewidth=1.1, **look)
    few = drawn & (count < len(own))
    ax.plot(x[few], mean[few], color=color, markerfacecolor="white", **(look | {"linestyle": "", "zorder": 3}))


def bands(ax: Axes, values: np.ndarray) -> None:
    """Mean ± 1, 2 and 3 standard deviations of untrained networks, (n,), as grey bands."""
    mean, deviation = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    for times, color in ((3, "#f2f2f2"), (2, "#e4e4e4"), (1, "#d2d2d2")):
        ax.axhspan(mean - times * deviation, mean + times * deviation, color=color, linewidth=0, zorder=0)


def published_marks(ax: Axes, levels: Mapping[str, Mapping[float, float]]) -> None:
    """Published levels on the common axis, hollow and grey, each with the marker of its regulariser."""
    lowest, highest = -5.0, {"l2": -1.0, "l1": -2.0}
    for kind, points in levels.items():
        for strength, level in points.items():
            x = strength if kind == "dropout" else (np.log10(strength) - lowest) / (highest[kind] - lowest)
            ax.plot(x, level, **PUBLISHED | {"marker": MARKERS[kind], "markersize": _SIZES[kind] + 1.5, "color": GREY})


def has_published(runs: Runs) -> bool:
    """Whether the published plots are of these data and this shape."""
    return runs.dataset == "mnist" and runs.params["hidden"] == "64-64"


def kinds_of(runs: Runs) -> list[str]:
    """The regularisers that the runs have."""
    return [kind for kind in KINDS if any(setting.kind == kind for setting in runs.settings)]


def curve_row(axes: Sequence[Axes], runs: Runs, name: str, form: str, label: str, *, layer: int | None = None) -> None:
    """A quantity along every regulariser in four panels, one a measure, beside untrained networks and published levels.

    Parameters
    ----------
    axes : sequence of Axes
        Four.
    runs : Runs
    name : str
        A recorded quantity, (R, S, layers, 8).
    form : {"raw", "normalised"}
    label : str
        Of the row.
    layer : int, optional
        Default: the mean over layers.
    """
    values = average(runs.of(name), axis=2) if layer is None else runs.of(name)[:, :, layer]
    for ax, measure in zip(axes, BY_SIDE, strict=True):
        index = MEASURES.index((measure, form))
        if runs.fresh:
            fresh = untrained_of(runs, name)[..., index]
            bands(ax, fresh.mean(1) if layer is None else fresh[:, layer])
        for kind in kinds_of(runs):
            curve(ax, runs, kind, values[:, :, index])
        if has_published(runs):
            published_marks(ax, published_levels(name, measure, form, layer))
        ax.set_xlim(-0.06, 1.02)
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        ax.grid(True, axis="y")
    axes[0].set_ylabel(label)


def curve_frame(made: Figure, top: Sequence[Axes], runs: Runs) -> None:
    """Measures above the panels of :func:`curve_row`, the axis below, and what curves, bands and grey marks mean."""
    measure_titles(top)
    made.supxlabel("strength of the regulariser (common axis)", fontsize=11)
    handles: list[Any] = [
        Line2D([], [], color=KIND_COLORS[kind], marker=MARKERS[kind], markersize=_SIZES[kind] + 0.5, label=KINDS[kind])
        for kind in kinds_of(runs)
    ]
    if runs.fresh:
        handles.append(Patch(color="#d2d2d2", label="untrained ±1, 2, 3 s.d."))
    if has_published(runs):
        look = PUBLISHED | {"markersize": 6, "color": GREY}
        handles.append(tuple(Line2D([], [], **look | {"marker": marker}) for marker in MARKERS.values()))
    labels = [PUBLISHED_LABEL if isinstance(handle, tuple) else handle.get_label() for handle in handles]
    made.legend(
        handles,
        labels,
        handler_map={tuple: HandlerTuple(ndivide=None)},
        loc="outside upper center",
        ncols=3 if has_published(runs) else 4,
        columnspacing=1.4,
        handlelength=1.9,
    )


COMMON_AXIS = (
    "across: dropout rate p as it is, L2 from 10⁻⁵ to 10⁻¹ and L1 from 10⁻⁵ to 10⁻² on log scales, as in the paper"
)
HOLLOW = "hollow coloured markers: some runs fall below the bar"


def measure_titles(axes: Sequence[Axes]) -> None:
    """The four measures above a row of panels, in the colours of their sides."""
    for ax, measure in zip(axes, BY_SIDE, strict=True):
        title = NAMES[measure].replace(" ", "\n") if " " in NAMES[measure] else f"\n{NAMES[measure]}"
        ax.set_title(title, fontsize=10, color=UP if measure in BY_SIDE[:2] else DOWN)


def strength_name(kind: str) -> str:
    """What an axis of strengths is called."""
    return "dropout rate p" if kind == "dropout" else f"{KINDS[kind]} strength"


def agreement_table(ax: Axes, values: np.ndarray, **options: Any) -> AxesImage:
    """A table of numbers for pairs of measures, (8, 8)."""
    image = heat_table(ax, values, SHORT, SHORT, **options)
    name_measures(ax, fontsize=9.5)
    return image


def name_measures(ax: Axes, *, fontsize: float = 8) -> None:
    """Short names of the eight measures along both axes, in the colours of their sides, and lines between the sides."""
    ax.set_xticks(range(len(SHORT)), SHORT, fontsize=fontsize)
    ax.set_yticks(range(len(SHORT)), SHORT, fontsize=fontsize)
    ax.tick_params(length=0)
    for line in (ax.axhline, ax.axvline):
        line(3.5, color="black", linewidth=1.4)
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        for label, (measure, _) in zip(labels, MEASURES, strict=True):
            label.set_color(DOWN if measure in ORDER[:2] else UP)


def block_means(values: np.ndarray) -> dict[str, np.ndarray]:
    """Means of (…, 8, 8) over pairs of measures within and across the sides; a measure with itself does not count."""
    off = np.where(np.eye(len(MEASURES), dtype=bool), np.nan, values)
    return {name: average(off[(..., *block)], axis=(-2, -1)) for name, block in BLOCKS.items()}


def per_run(values: np.ndarray) -> np.ndarray:
    """(R, S, …) with NaN → (R, …): mean over the kept networks of each run."""
    return average(values, axis=1)


def block_dots(
    ax: Axes, trained: Mapping[str, np.ndarray], untrained: Mapping[str, np.ndarray], *, published: bool = False
) -> None:
    """Means of the three blocks with intervals, trained (filled) and untrained (hollow), beside published ones."""
    names, colors = list(BLOCKS), [DOWN, UP, COLORS[6]]
    for values, filled, offset in ((trained, True, -0.16), (untrained, False, 0.16)):
        found = [mean_interval(values[name]) for name in names]
        interval_dots(ax, names, found, colors=colors, offset=offset, filled=filled)
    look: dict[str, Any] = {"marker": "o", "color": "#333333", "linestyle": ""}
    handles = [
        Line2D([], [], **look, label="trained"),
        Line2D([], [], **look, markerfacecolor="white", label="untrained"),
    ]
    if published:
        bar: dict[str, Any] = PUBLISHED | {"marker": "|", "color": GREY, "markeredgewidth": 2, "zorder": 1}
        for row, levels in enumerate(table("upstream_downstream", "published_blocks")):
            ax.plot([levels["trained"], levels["untrained"]], [row - 0.16, row + 0.16], **bar | {"markersize": 13})
        handles.append(Line2D([], [], **bar | {"markersize": 11}, label=PUBLISHED_LABEL))
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.3, -0.32), ncols=3, handletextpad=0.3)
