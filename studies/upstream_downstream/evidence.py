"""What the rules of U1–U27 look at: the runs of one regime on one data set as numbers, one row a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy import stats

from companion.claims import Series, State, bounded
from companion.records import Results
from modutils import statistics
from modutils.statistics import Interval, mean_interval
from studies.upstream_downstream import cells, runs
from studies.upstream_downstream.runs import Runs

KINDS = {"l2": "L2", "l1": "L1", "dropout": "dropout"}
NAMES = {
    "loss_hessian": "Hessian",
    "output_sensitivity": "output sensitivity",
    "covariance": "covariance",
    "input_sensitivity": "input sensitivity",
}
SHORT = tuple(f"{NAMES[name]}{' (normalised)' if form == 'normalised' else ''}" for name, form in cells.MEASURES)
# Pairs of measures, as places in ``cells.MEASURES``.
NORMALISATION = {"downstream": [(0, 1), (2, 3)], "upstream": [(4, 5), (6, 7)]}
KIND_OF_INFORMATION = {
    "downstream": list(product((0, 1), (2, 3))),
    "upstream": list(product((4, 5), (6, 7))),
}
WITHIN = {side: NORMALISATION[side] + KIND_OF_INFORMATION[side] for side in NORMALISATION}
CROSS = list(product(range(4), range(4, 8)))
#: Epochs after which a rule about strong penalties is looked at; the last four that are followed.
LENGTHS = (30, 40, 60, 120, 250, 500)


class Evidence:
    """What the rules look at: the runs of one regime on one data set, and the search stage if it has one."""

    def __init__(self, results: Results, found: Runs) -> None:
        self.results = results
        self.runs = found
        self.q = found.of("q").mean(2)  # (runs, networks, measures)

    def search(self) -> list[dict[str, np.ndarray]]:
        """Records of stage ``search``, one per run."""
        where = {"dataset": self.runs.dataset, **self.runs.params}
        return [record.values for record in self.results.records("search", **where)]

    def by_length(self) -> dict[int, Evidence]:
        """The same after four numbers of epochs, of the runs and settings that are followed; nothing without any."""
        found = runs.followed(self.results, self.runs)
        return {epochs: Evidence(self.results, found[epochs]) for epochs in [n for n in LENGTHS if n in found][-4:]}

    def at_length(self) -> Evidence:
        """After the most epochs that are followed, which at full size are the paper's; else these runs."""
        found = self.by_length()
        return found[max(found)] if found else self

    def at(self, kind: str, strength: float) -> int:
        """Column of the network whose strength is nearest to ``strength`` (in log for the penalties)."""
        places, strengths = self.runs.places(kind), self.runs.strengths(kind)
        scale = np.asarray if kind == "dropout" else np.log
        return places[int(np.abs(scale(strengths) - scale(strength)).argmin())]

    def last(self, kind: str) -> int:
        """Column of the strongest setting of which enough runs are left."""
        return self.runs.well_kept(kind)[-1]

    def slopes(self, kind: str, values: np.ndarray) -> list[Interval]:
        """The interval over runs of :meth:`trends`, for every column."""
        return [bounded(mean_interval(own)) for own in self.trends(kind, values).T]

    def trends(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Spearman's correlation with strength of every run and column of (R, S, m) values, (R, m)."""
        places = self.without_plain(kind)
        return np.array([[statistics.trend(run[places, j]) for j in range(values.shape[2])] for run in values])

    def without_plain(self, kind: str) -> list[int]:
        """Columns of the curve of one regulariser; that of dropout without the plain network."""
        return [p for p in self.runs.places(kind) if kind != "dropout" or p != self.runs.plain]

    def change(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Change along the whole range of strengths by a straight line through each run; (R, S) values give (R,)."""
        places = self.without_plain(kind)
        x = np.linspace(0, 1, len(places))
        return np.array([slope(x, run[places]) for run in values])

    def peak(self, kind: str, *, leave_out: int | None = None) -> np.ndarray:
        """Q at the strength where its mean over runs is highest, minus Q of the plain network; (R, 8).

        Strengths of which too few runs are left do not count, nor does the column to leave out; without any other
        there is no gain.
        """
        gains = self.q - self.q[:, [self.runs.plain]]
        kept = [place for place in self.runs.well_kept(kind) if place not in (self.runs.plain, leave_out)]
        places = kept or [self.runs.plain]
        best = np.nanmean(gains[:, places], axis=0).argmax(0)
        return np.stack([gains[:, places[place], j] for j, place in enumerate(best)], axis=1)

    def agreement(self, pairs: Sequence[tuple[int, int]], name: str = "similarity") -> np.ndarray:
        """Mean over pairs of measures, layers and kept networks, per run."""
        return mean(of_pairs(self.runs.of(name), pairs).mean(2))

    def by_kind(self, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """As :meth:`agreement`, with equal weights for the three regularisers, however many settings they have."""
        each = of_pairs(self.runs.of("similarity"), pairs).mean(2)
        return np.mean([mean(each[:, self.without_plain(kind)]) for kind in KINDS], axis=0)

    def agreement_at(self, place: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """The same for one network of every run in which it is left."""
        values = of_pairs(self.runs.of("similarity"), pairs).mean(2)[:, place]
        return values[np.isfinite(values)]

    def untrained_agreement(self, pairs: Sequence[tuple[int, int]], name: str = "similarity") -> np.ndarray:
        """The same per untrained network."""
        return of_pairs(np.array(self.runs.fresh[name], dtype=float), pairs).mean(1)

    def excess(self, pairs: Sequence[tuple[int, int]], *, fresh: bool = False) -> np.ndarray:
        """Agreement beyond the chance level of the same partitions."""
        get = self.untrained_agreement if fresh else self.agreement
        return get(pairs) - get(pairs, "chance")


def evidence_of(results: Results, scale: str) -> dict[str, Callable[[], Evidence]]:
    """What the rules look at, for each data set and regime of a scale; the paper's own first.

    The second regime is the final code's early stopping.
    """
    first, *others = dict.fromkeys(cell.params["dataset"] for cell in cells.plan(scale))
    wanted = {
        first: (first, runs.main_params(scale)),
        f"{first}, early stopping": (first, runs.early_params(scale)),
        **{name: (name, runs.main_params(scale)) for name in others},
    }
    return {name: partial(_evidence, results, *where) for name, where in wanted.items()}


def _evidence(results: Results, dataset: str, params: Mapping[str, Any]) -> Evidence:
    return Evidence(results, runs.load(results, dataset, params))


# --- numbers ----------------------------------------------------------------------------------------------------------


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over all but the first axis, leaving out NaN."""
    return np.nanmean(values.reshape(len(values), -1), axis=1)


def of_pairs(matrices: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Mean over pairs of measures of matrices (…, 8, 8)."""
    rows, columns = zip(*pairs, strict=True)
    return matrices[..., list(rows), list(columns)].mean(-1)


def slope(x: np.ndarray, values: np.ndarray) -> float:
    """Of a straight line through the finite values; NaN with fewer than three."""
    left = np.isfinite(values)
    return float(np.polyfit(x[left], values[left], 1)[0]) if left.sum() >= 3 else float("nan")


def welch(trained: np.ndarray, untrained: np.ndarray) -> Interval:
    """Welch's interval of the difference between runs and untrained networks."""
    trained = trained[np.isfinite(trained)]
    if len(trained) < 2:
        return Interval(float(np.mean(trained) - untrained.mean()), np.nan, np.nan, len(trained))
    test = stats.ttest_ind(trained, untrained, equal_var=False)
    bounds = test.confidence_interval()
    return Interval(float(trained.mean() - untrained.mean()), float(bounds.low), float(bounds.high), len(trained))


# --- words ------------------------------------------------------------------------------------------------------------


def series(what: str, found: Sequence[Interval], form: str = "+.3f", *, bars: tuple[float, ...] = (0.0,)) -> Series:
    """An interval for each measure, to be drawn."""
    return Series(what, dict(zip(SHORT, found, strict=True)), form, bars)


def by_epochs(of: Evidence, words: Callable[[Evidence], str]) -> str:
    """What a rule sees after fewer epochs and after the most, as a sentence, where training is followed."""
    found = of.by_length()
    if not found:
        return ""
    each = [f"after {epochs} epochs {words(own)}" for epochs, own in found.items()]
    return f" By length of training: {', '.join(each)}."


def strength(of: Evidence, place: int) -> str:
    """The setting of a column, such as ``L2 10^-1.5``."""
    setting = of.runs.settings[place]
    value = f"{setting.strength:.2g}" if setting.kind == "dropout" else f"10^{np.log10(setting.strength):.2g}"
    return f"{KINDS[setting.kind]} {value}"


def by_measure(states: Sequence[State]) -> dict[str, State]:
    """One condition for each measure."""
    return dict(zip(SHORT, states, strict=True))


def met(conditions: Mapping[str, State]) -> int:
    """How many conditions are met."""
    return sum(state is True for state in conditions.values())
