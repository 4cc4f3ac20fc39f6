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

from companion.records import RecordError, Results
from companion.reports import DATASETS
from modutils.plotting import COLORS, GREY, heat_table
from modutils.statistics import Interval, mean_interval
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
_MARKERS = {"l2": "o", "l1": "D", "dropout": "*"}
_SIZES = {"l2": 4.0, "l1": 3.8, "dropout": 5.5}
BLOCKS = {"within downstream": (DOWNSTREAM, DOWNSTREAM), "within upstream": (UPSTREAM, UPSTREAM)}
BLOCKS |= {"across the sides": (DOWNSTREAM, UPSTREAM)}
IMAGES = {"mnist": 10_000, "fashion-mnist": 10_000, "digits": 500}

# --- read off the published plots, networks of 500 epochs -------------------------------------------------------------

_L2, _L1 = (1e-5, 10**-1.5), (1e-5, 1e-3, 10**-2.5)
_P = (0.05, 0.7)


def _levels(dropout: Sequence[float], l2: Sequence[float], l1: Sequence[float]) -> dict[str, dict[float, float]]:
    """Published levels by strength: of dropout at 0.05 and 0.7, of L2 and L1 at ``_L2`` and ``_L1``."""
    return {kind: dict(zip(x, y)) for kind, x, y in (("dropout", _P, dropout), ("l2", _L2, l2), ("l1", _L1, l1))}  # noqa: B905


PUBLISHED_Q = {
    ("covariance", "raw"): _levels((0.11, 0.26), (0.115, 0.12), (0.115, 0.11, 0.10)),
    ("covariance", "normalised"): _levels((0.11, 0.24), (0.11, 0.155), (0.11, 0.115, 0.08)),
    ("input_sensitivity", "raw"): _levels((0.15, 0.40), (0.10, 0.155), (0.115, 0.17, 0.145)),
    ("input_sensitivity", "normalised"): _levels((0.145, 0.39), (0.10, 0.165), (0.115, 0.13, 0.10)),
    ("loss_hessian", "raw"): _levels((0.115, 0.21), (0.11, 0.13), (0.12, 0.18, 0.05)),
    ("loss_hessian", "normalised"): _levels((0.115, 0.205), (0.11, 0.15), (0.11, 0.125, 0.115)),
    ("output_sensitivity", "raw"): _levels((0.11, 0.205), (0.11, 0.12), (0.12, 0.23, 0.065)),
    ("output_sensitivity", "normalised"): _levels((0.11, 0.20), (0.11, 0.16), (0.11, 0.13, 0.115)),
}
#: Of the same measures, before training.
PUBLISHED_UNTRAINED = {
    ("covariance", "raw"): 0.10,
    ("covariance", "normalised"): 0.098,
    ("input_sensitivity", "raw"): 0.085,
    ("input_sensitivity", "normalised"): 0.08,
    **{(measure, form): 0.105 for measure in ORDER[:2] for form in ("raw", "normalised")},
}
_UPSTREAM_NUMBERS = _levels((), (3.8, 2.0), (3.2, 2.2, 1.8))
PUBLISHED_NUMBERS = {
    **{(measure, form): _UPSTREAM_NUMBERS for measure in ORDER[2:] for form in ("raw", "normalised")},
    **{(measure, "raw"): _levels((), (3.8, 5.5), (4.1, 3.0, 1.9)) for measure in ORDER[:2]},
    **{(measure, "normalised"): _levels((3.9, 3.4), (3.9, 3.9), (4.0, 3.6, 3.2)) for measure in ORDER[:2]},
}
PUBLISHED_LAYERS = {
    (("covariance", "raw"), 0): _levels((0.11, 0.24), (), ()),
    (("covariance", "raw"), 1): _levels((0.12, 0.28), (0.12, 0.195), ()),
    (("input_sensitivity", "raw"), 0): _levels((0.15, 0.50), (0.09, 0.11), (0.105, 0.145)),
    (("input_sensitivity", "raw"), 1): _levels((0.15, 0.27), (0.11, 0.20), (0.13, 0.19)),
}
#: Means of the blocks of Figure 4, trained and untrained.
PUBLISHED_BLOCKS = {
    "within downstream": (0.54, 0.58),
    "within upstream": (0.64, 0.36),
    "across the sides": (0.32, 0.26),
}
PUBLISHED_EXAMPLES = {"0.1": 0.128, "0.3": 0.166, "0.5": 0.196, "0.7": 0.232}
PUBLISHED_OUTCOME: dict[str, dict[str, dict[float, float]]] = {
    "test_accuracy": {
        "dropout": {0.05: 0.98, 0.7: 0.95},
        "l2": {1e-5: 0.98, 1e-3: 0.976, 1e-2: 0.92, 10**-1.5: 0.857},
        "l1": {1e-5: 0.978, 1e-3: 0.953},
    },
    "sparsity": {
        "dropout": {0.0: 0.29, 0.05: 0.23, 0.7: 0.25},
        "l2": {1e-5: 0.29, 1e-3: 0.43, 10**-1.5: 0.92},
        "l1": {1e-5: 0.57, 1e-3: 0.90, 10**-2.5: 0.97},
    },
    "sum_squares": {
        "dropout": {0.0: 580, 0.05: 1100, 0.7: 2400},
        "l2": {1e-5: 580, 1e-3: 100, 10**-1.5: 10},
        "l1": {1e-5: 500, 1e-3: 200},
    },
}
PUBLISHED_LABEL = "published (read off, 500 epochs)"


# --- what the figures share -------------------------------------------------------------------------------------------


def about(runs: Runs, *parts: str) -> str:
    """Data, networks, n and how they were trained, in words."""
    epochs = runs.params["epochs"]
    regime = f"{epochs} epochs" if runs.params["regime"] == "fixed" else f"early stopping, at most {epochs} epochs"
    total, kept = runs.kept.size, int(runs.kept.sum())
    count = f"{len(runs.seeds)}{'' if len(runs.seeds) == runs.planned else f' of {runs.planned}'}"
    return (
        "; ".join(
            (
                f"{DATASETS[runs.dataset]}, {spaced(IMAGES[runs.dataset])} test images",
                f"hidden layers {runs.params['hidden'].replace('-', '–')}, {regime}",
                f"{count} {'run' if len(runs.seeds) == 1 else 'runs'} of {len(runs.settings)} networks, "
                f"{kept} of {total} reach {LEAST_ACCURACY:.0%} test accuracy and count".replace("%", "\u00a0%"),
                *parts,
            )
        )
        + "."
    )


def spaced(number: int) -> str:
    """A whole number with thin spaces between thousands, four digits without."""
    return f"{number:,}".replace(",", "\u2009") if number >= 10_000 else str(number)


def interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean and interval of the finite values, the mean alone where there is one, NaN where there is none."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if array.size > 1:
        return mean_interval(array)
    only = float(array[0]) if array.size else float("nan")
    return Interval(only, only, only, array.size)


def average(values: np.ndarray, axis: int | tuple[int, ...] = 0) -> np.ndarray:
    """Mean of the finite values along ``axis``, NaN where there is none."""
    return np.ma.filled(np.ma.masked_invalid(values).mean(axis), np.nan)


def in_words(strength: float, kind: str) -> str:
    """A strength as it is said: p as a decimal, the others as a power of ten."""
    if kind == "dropout":
        return f"{strength:.2g}"
    exponent = np.log10(strength)
    return rf"$10^{{{exponent:.3g}}}$".replace("-", "−")


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
    own = np.ma.masked_invalid(values[:, runs.places(kind)])
    mean, count = np.ma.filled(own.mean(0), np.nan), own.count(0)
    spread = np.ma.filled(own.std(0, ddof=1), 0.0) if len(own) > 1 else np.zeros(len(mean))
    error = spread / np.sqrt(np.maximum(count, 1))
    x = runs.axis(kind) if axis == "common" else runs.strengths(kind)
    drawn = count > 0
    color = color or KIND_COLORS[kind]
    look: dict[str, Any] = {"marker": _MARKERS[kind], "markersize": _SIZES[kind], "markeredgewidth": 0.8} | style
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
            ax.plot(
                x,
                level,
                _MARKERS[kind],
                markersize=_SIZES[kind] + 1.5,
                markerfacecolor="none",
                markeredgecolor=GREY,
                markeredgewidth=1.0,
                zorder=4,
            )


def has_published(runs: Runs) -> bool:
    """Whether the published plots are of these data and this shape."""
    return runs.dataset == "mnist" and runs.params["hidden"] == "64-64"


def kind_legend(made: Figure, runs: Runs, *, published: bool, untrained: bool = True) -> None:
    """What curves, bands and grey markers mean, above the panels."""
    handles: list[Any] = [
        Line2D([], [], color=KIND_COLORS[kind], marker=_MARKERS[kind], markersize=_SIZES[kind] + 0.5, label=label)
        for kind, label in KINDS.items()
        if any(setting.kind == kind for setting in runs.settings)
    ]
    if untrained:
        handles.append(Patch(color="#d2d2d2", label="untrained ±1, 2, 3 s.d."))
    if published:
        look: dict[str, Any] = {"linestyle": "", "markerfacecolor": "none", "markeredgecolor": GREY}
        handles.append(tuple(Line2D([], [], marker=marker, **look) for marker in _MARKERS.values()))
    labels = [PUBLISHED_LABEL if isinstance(handle, tuple) else handle.get_label() for handle in handles]
    made.legend(
        handles,
        labels,
        handler_map={tuple: HandlerTuple(ndivide=None)},
        loc="outside upper center",
        ncols=3 if published else 4,
        columnspacing=1.4,
        handlelength=1.9,
    )


COMMON_AXIS = (
    "across: dropout rate p as it is, L2 from 10⁻⁵ to 10⁻¹ and L1 from 10⁻⁵ to 10⁻² on log scales, as in the paper"
)
HOLLOW = "hollow coloured markers: some runs fall below the bar"


def finish(ax: Axes) -> None:
    ax.set_xlim(-0.06, 1.02)
    ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    ax.grid(axis="y", color="#ececec", linewidth=0.7)
    ax.set_axisbelow(True)


def measure_title(ax: Axes, measure: str) -> None:
    side = "upstream" if measure in BY_SIDE[:2] else "downstream"
    title = NAMES[measure].replace(" ", "\n") if " " in NAMES[measure] else f"\n{NAMES[measure]}"
    ax.set_title(title, fontsize=10, color=UP if side == "upstream" else DOWN)


def agreement_table(ax: Axes, values: np.ndarray, **options: Any) -> AxesImage:
    """A table of pairs of measures, (8, 8), with lines between the sides."""
    image = heat_table(ax, values, SHORT, SHORT, **options)
    for line in (ax.axhline, ax.axvline):
        line(3.5, color="black", linewidth=1.4)
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        for label, (measure, _) in zip(labels, MEASURES, strict=True):
            label.set_color(DOWN if measure in ORDER[:2] else UP)
            label.set_fontsize(9.5)
    return image


def block_means(values: np.ndarray) -> dict[str, np.ndarray]:
    """Means of (…, 8, 8) over pairs of measures within and across the sides; a measure with itself does not count."""
    off = np.where(np.eye(len(MEASURES), dtype=bool), np.nan, values)
    return {name: average(off[(..., *block)], axis=(-2, -1)) for name, block in BLOCKS.items()}


def per_run(values: np.ndarray) -> np.ndarray:
    """(R, S, …) with NaN → (R, …): mean over the kept networks of each run."""
    return average(values, axis=1)


def block_dots(
    ax: Axes,
    trained: Mapping[str, np.ndarray],
    untrained: Mapping[str, np.ndarray],
    published: Mapping[str, tuple[float, float]] | None,
) -> None:
    """Means of the three blocks with intervals, trained (filled) and untrained (hollow), beside published ones."""
    colors = {"within downstream": DOWN, "within upstream": UP, "across the sides": COLORS[6]}
    for row, (name, color) in enumerate(colors.items()):
        for values, filled, offset in ((trained[name], True, -0.16), (untrained[name], False, 0.16)):
            found = interval(values)
            if found.n > 1:
                ax.plot([found.low, found.high], [row + offset] * 2, color=color, linewidth=2, solid_capstyle="butt")
            ax.plot(found.mean, row + offset, "o", color=color, markerfacecolor=color if filled else "white")
        if published:
            for level, offset in zip(published[name], (-0.16, 0.16), strict=True):
                ax.plot(level, row + offset, "|", color=GREY, markersize=13, markeredgewidth=2, zorder=1)
    ax.set_yticks(range(3), list(colors))
    ax.set_ylim(2.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    ax.set_axisbelow(True)
    handles = [
        Line2D([], [], marker="o", color="#333333", linestyle="", label="trained"),
        Line2D([], [], marker="o", color="#333333", linestyle="", markerfacecolor="white", label="untrained"),
    ]
    if published:
        handles.append(
            Line2D(
                [], [], marker="|", color=GREY, linestyle="", markersize=11, markeredgewidth=2, label=PUBLISHED_LABEL
            )
        )
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.3, -0.32), ncols=3, handletextpad=0.3)
