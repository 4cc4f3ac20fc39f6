"""Figures of the upstream/downstream chapter about the length of training: what 60 epochs show, and what 500."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from companion.records import RecordError
from modutils.plotting import COLORS, GREY, PUBLISHED, WIDTH, figure, letters, note
from modutils.statistics import Interval, mean_interval
from studies.upstream_downstream import agreement_claims, modularity_claims
from studies.upstream_downstream.agreement_claims import across_at_l1, against_untrained
from studies.upstream_downstream.cells import MEASURES
from studies.upstream_downstream.drawing import (
    BY_SIDE,
    DOWN,
    HUES,
    KIND_COLORS,
    KINDS,
    MARKERS,
    NAMES,
    PUBLISHED_Q,
    UP,
    count_of,
    images_of,
    in_words,
    mean_error,
)
from studies.upstream_downstream.evidence import Evidence
from studies.upstream_downstream.modularity_claims import sparsity_at_top
from studies.upstream_downstream.runs import LEAST_ACCURACY, UPSTREAM, Runs

#: Settings whose course is drawn, with their colours: those whose level after 500 epochs was read off, and p = 0.5.
_FOLLOWED = {
    ("l2", -5.0): COLORS[2],
    ("l2", -1.5): "#7fcfb9",
    ("l1", -3.0): COLORS[3],
    ("l1", -2.5): "#e8a98a",
    ("dropout", 0.5): "#8c8c8c",
    ("dropout", 0.7): "black",
}


def _epoch_axis(ax: Axes, epochs: np.ndarray) -> None:
    """A logarithmic axis on which 0.5 stands for 0."""
    ax.set_xscale("log")
    ax.set_xlim(0.4, 1.7 * epochs.max())
    ticks = [tick for tick in (1, 10, 60, 500) if tick <= epochs.max()]
    ax.set_xticks([0.5, *ticks], ["0", *(str(tick) for tick in ticks)])
    ax.minorticks_off()
    ax.grid(True, axis="y")


def _followed(found: Mapping[int, Runs]) -> tuple[Runs, np.ndarray]:
    """The last of the runs along training, and where the numbers of epochs stand on a logarithmic axis."""
    if not found:
        raise RecordError("no run whose training is followed is recorded")
    epochs = np.array(list(found), dtype=float)
    return found[max(found)], np.where(epochs == 0, 0.5, epochs)


def _published(last: Runs, measure: str, kind: str, strength: float) -> list[float]:
    """The published Q after 500 epochs by the raw measure, where it was read off; of MNIST alone."""
    levels = PUBLISHED_Q[measure, "raw"][kind] if last.dataset == "mnist" else {}
    return [level for known, level in levels.items() if np.isclose(known, strength)]


def _errors(last: Runs) -> tuple[str, ...]:
    return ("bars: ± s.e.m.",) if len(last.seeds) > 1 else ()


def _small_print(made: Figure, last: Runs, *parts: str) -> Figure:
    words = (
        images_of(last.dataset),
        f"hidden layers {last.params['hidden'].replace('-', '–')}",
        f"constant rate to {last.params['epochs']} epochs",
        count_of(last),
    )
    return note(made, "; ".join((*words, *parts)) + ".")


@figure
def along_training(found: Mapping[int, Runs]) -> Figure:
    """Modularity of the four raw measures along training, beside the published level after 500 epochs.

    Parameters
    ----------
    found : mapping
        For each number of epochs the runs as they were then, see `studies.upstream_downstream.runs.followed`.
    """
    last, x = _followed(found)
    q = np.stack([runs["q"] for runs in found.values()], axis=1).mean(3)  # (runs, epochs, networks, measures)
    made, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.6), sharex=True)
    for ax, measure in zip(axes.flat, BY_SIDE, strict=True):
        index = MEASURES.index((measure, "raw"))
        for place, setting in enumerate(last.settings):
            size = setting.strength if setting.kind == "dropout" else np.log10(setting.strength)
            color = _FOLLOWED.get((setting.kind, round(float(size), 2)))
            if color is None:
                continue
            look: dict[str, Any] = {"color": color, "marker": MARKERS[setting.kind]}
            ax.errorbar(
                x,
                *mean_error(q[:, :, place, index]),
                linewidth=1.2,
                markersize=3.5,
                label=in_words(setting.kind, setting.strength),
                **look,
            )
            for level in _published(last, measure, setting.kind, setting.strength):
                ax.plot(620, level, **PUBLISHED | {"markersize": 7.5, "clip_on": False} | look)
        _epoch_axis(ax, x)
        ax.set_title(NAMES[measure], color=UP if measure in BY_SIDE[:2] else DOWN)
    for ax in axes[:, 0]:
        ax.set_ylabel("modularity Q*")
    for ax in axes[1]:
        ax.set_xlabel("epochs")
    made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    published = ("hollow markers at the right: published after 500 epochs",) if last.dataset == "mnist" else ()
    return _small_print(made, last, *_errors(last), "layers averaged, no network is left out", *published)


@figure
def strong_penalties(found: Mapping[int, Runs]) -> Figure:
    """The strongest L2 and L1 trained on: modularity, small weights and agreement across the sides.

    Parameters
    ----------
    found : mapping
        As in `along_training`.
    """
    last, x = _followed(found)

    def along(name: str, place: int) -> np.ndarray:
        """A quantity of one setting: (runs, epochs, …)."""
        return np.stack([runs[name][:, place] for runs in found.values()], axis=1)

    made, axes = plt.subplots(3, 2, figsize=(WIDTH, 7.4), sharex=True, sharey="row")

    def line(ax: Axes, values: np.ndarray, color: str, label: str, style: str = "-") -> None:
        """Mean and s.e.m. of (runs, epochs)."""
        ax.errorbar(x, *mean_error(values), color=color, linestyle=style, marker="o", markersize=3, label=label)

    for column, kind in enumerate(("l2", "l1")):
        place, strength = last.places(kind)[-1], float(last.strengths(kind)[-1])
        top, middle, bottom = axes[:, column]
        top.set_title(in_words(kind, strength), color="black")
        q = along("q", place).mean(2)
        for measure in BY_SIDE:
            line(top, q[:, :, MEASURES.index((measure, "raw"))], HUES[measure], NAMES[measure])
            for level in _published(last, measure, kind, strength):
                top.plot(620, level, **PUBLISHED | {"markersize": 6, "color": HUES[measure], "clip_on": False})
        line(middle, along("sparsity", place), "black", "small weights")
        line(middle, along("test_accuracy", place), GREY, "test accuracy", "--")
        unused = along("unused", place)[..., UPSTREAM].mean((2, 3))
        line(middle, unused / int(last.params["hidden"].split("-")[0]), UP, "units unused upstream", ":")
        similarity = along("similarity", place).mean(2)
        for form, name, style in ((0, "raw", "-"), (1, "normalised", "--")):
            line(bottom, similarity[:, :, form:4:2, 4:].mean((2, 3)), DOWN, f"{name} downstream", style)
        line(bottom, along("chance", place).mean(2)[:, :, :4, 4:].mean((2, 3)), GREY, "chance", ":")
        for ax in axes[:, column]:
            _epoch_axis(ax, x)
        bottom.set_xlabel("epochs")
    for ax, label in zip(axes[:, 0], ("modularity Q*", "share", "agreement across"), strict=True):
        ax.set_ylabel(label)
    axes[0, 0].legend(fontsize=8, loc="lower right")
    axes[1, 1].legend(fontsize=8, loc="center left", bbox_to_anchor=(0.14, 0.47))
    axes[2, 1].legend(fontsize=8, loc="upper right")
    letters(axes.flat)
    published = ("diamonds at the right: published after 500 epochs",) if last.dataset == "mnist" else ()
    return _small_print(
        made,
        last,
        *_errors(last),
        "layers averaged",
        *published,
        "small weights: below 0.001 in size; no network is left out",
    )


_CLAIMS = {claim.id: claim for each in (modularity_claims, agreement_claims) for claim in each.CLAIMS}
#: For each of four claims its axis, and the bar of its rule.
_AXES = {
    "U2": ("peak Q*: dropout minus\nthe better of L2 and L1", 0),
    "U8": ("share of small weights", 0.8),
    "U22": ("agreement downstream\nminus untrained", 0),
    "U23": ("downstream agrees\nwith upstream", 0.4),
}
SIGNS = {"holds": "✓", "holds in part": "½", "does not hold": "✗", "undecided": "?"}
_BELOW: dict[str, Any] = {"loc": "lower center", "ncols": 2, "fontsize": 7.5, "columnspacing": 0.8, "handlelength": 1.4}


def verdicts(of: Evidence) -> dict[str, str]:
    """What the four rules say of the evidence after so many epochs."""
    return {name: _CLAIMS[name].decide(of).verdict for name in _AXES}


@figure
def verdicts_by_length(found: Mapping[int, Evidence]) -> Figure:
    """What four rules about strong penalties see after several lengths of training, and what they say.

    Parameters
    ----------
    found : mapping
        For each number of epochs what the rules look at, see `Evidence.by_length`.
    """
    if not found:
        raise RecordError("no run whose training is followed is recorded")
    last = found[max(found)].runs
    made, axes = plt.subplots(2, 2, figsize=(WIDTH, 6.6), sharex=True)
    x = np.arange(len(found))

    def dots(ax: Axes, own: Sequence[Interval], shift: float = 0.0, **look: Any) -> None:
        """Means with their intervals, one for each length."""
        means, low, high = (np.array([getattr(one, name) for one in own]) for name in ("mean", "low", "high"))
        error = np.nan_to_num(np.stack([means - low, high - means]))
        ax.errorbar(x + shift, means, error, markersize=4.5, **look)

    peak, small, pattern, across = axes.flat
    for j, (_, form) in enumerate(MEASURES):
        gaps = [
            np.minimum(*(of.peak("dropout")[:, j] - of.peak(kind)[:, j] for kind in ("l2", "l1")))
            for of in found.values()
        ]
        color, marker = DOWN if j < UPSTREAM.start else UP, "o" if form == "raw" else "D"
        dots(peak, [mean_interval(gap) for gap in gaps], 0.06 * (j - 3.5), color=color, marker=marker)
    for kind in ("l2", "l1"):
        look: dict[str, Any] = {"color": KIND_COLORS[kind], "marker": MARKERS[kind]}
        own = [mean_interval(sparsity_at_top(of)[kind]) for of in found.values()]
        dots(small, own, label=KINDS[kind], **look)
        for place, (label, style) in enumerate((("two forms", "-"), ("one form", ":"))):
            differences = [against_untrained(of)[kind][place] for of in found.values()]
            dots(pattern, differences, 0.06 * (place - 0.5), label=f"{KINDS[kind]}, {label}", linestyle=style, **look)
    for place, (label, marker, style) in enumerate((("raw", "o", "-"), ("normalised", "D", "--"))):
        own = [mean_interval(across_at_l1(of)[place]) for of in found.values()]
        dots(across, own, 0.06 * (place - 0.5), color=DOWN, marker=marker, linestyle=style, label=label)
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=label)
        for color, marker, label in ((UP, "o", "upstream"), (DOWN, "o", "downstream"), (GREY, "D", "normalised"))
    ]
    peak.legend(handles=handles, **_BELOW)
    said = [verdicts(of) for of in found.values()]
    for ax, (name, (label, bar)) in zip(axes.flat, _AXES.items(), strict=True):
        ax.axhline(bar, color=GREY, linewidth=1, zorder=0)
        ax.set_ylabel(f"{label} ({name})")
        ax.set_xlim(-0.5, len(found) - 0.5)
        ax.set_xticks(x, [str(epochs) for epochs in found])
        ax.grid(True, axis="y")
        for column, all_four in zip(x, said, strict=True):
            at: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
            ax.annotate(SIGNS[all_four[name]], (column, 1.01), fontsize=12, **at)
        if ax is not peak:
            ax.legend(**_BELOW)
        low, high = ax.get_ylim()
        ax.set_ylim(low - 0.25 * (high - low))  # room for the legend
    for ax in axes[1]:
        ax.set_xlabel("epochs")
    return _small_print(
        made,
        last,
        "bars: 95\u00a0% intervals over runs" if len(last.seeds) > 1 else "no intervals",
        f"networks below {100 * LEAST_ACCURACY:.0f}\u00a0% test accuracy are left out",
        "grey lines: bars of the rules",
        "above: " + ", ".join(f"{sign} {word}" for word, sign in SIGNS.items()),
    )
