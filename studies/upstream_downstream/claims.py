"""Claims U1–U27 of Lange, Rolnick & Kording (2022): what they say, the rule for each, and the verdicts.

A run is the unit of replication: n counts runs, and settings are compared within a run. Networks below 80 % test
accuracy are left out. Unless a row says otherwise a value is averaged over both hidden layers, Q is that of the best
partition found, and intervals are 95 % t intervals over runs. The rules were committed before the record was made;
which of them were changed after it, and why, is in ``book/rule_changes.csv``. A function ``…_conditions`` takes
numbers, one row a run, and is what trials run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
from scipy import stats

from companion import claims
from companion.claims import Finding, State, above, below, bounded, every, finding, untestable, within
from companion.records import RecordError
from modutils.statistics import Interval, mean_interval
from studies.upstream_downstream import cells
from studies.upstream_downstream.evidence import (
    CROSS,
    KIND_OF_INFORMATION,
    KINDS,
    NORMALISATION,
    SHORT,
    WITHIN,
    Evidence,
    mean,
    of_pairs,
    welch,
)
from studies.upstream_downstream.runs import DOWNSTREAM, UPSTREAM

CLAIMS = claims.Claims("lange2022clustering")


# --- words ------------------------------------------------------------------------------------------------------------


def _list(numbers: Sequence[float], form: str = "+.3f") -> str:
    return ", ".join(f"{name} {number:{form}}" for name, number in zip(SHORT, numbers, strict=True))


def _trained_on(of: Evidence, words: Callable[[dict[str, np.ndarray]], str]) -> str:
    """What becomes of the strongest penalties with more epochs, as a sentence, where that is recorded."""
    strong = of.strong()
    if not strong:
        return ""
    return f" Trained on to {strong['epochs'][0, -1]} epochs: {words(strong)}; {len(strong['q'])} runs."


def _at_epoch(strong: dict[str, np.ndarray], name: str, network: int, epoch: int | None = None) -> float:
    """Mean of a quantity of stage ``strong`` over runs, layers and measures, after an epoch or at the end."""
    place = -1 if epoch is None else int(np.flatnonzero(strong["epochs"][0] == epoch)[0])
    return float(strong[name][:, place, network].mean())


def _strength(of: Evidence, place: int) -> str:
    setting = of.runs.settings[place]
    value = f"{setting.strength:.2g}" if setting.kind == "dropout" else f"10^{np.log10(setting.strength):.2g}"
    return f"{KINDS[setting.kind]} {value}"


def _by_measure(states: Sequence[State]) -> dict[str, State]:
    return dict(zip(SHORT, states, strict=True))


# --- the rules --------------------------------------------------------------------------------------------------------

# Values marked "read off" come from the authors' own rendered figures of the first version, ±0.01 on Q and similarity.


@CLAIMS.add(
    "U1",
    "Dropout raises Q for every measure.",
    published="8 of 8 rise, × 1.8 to × 2.7 (Fig. 3, read off)",
    rule=(
        "Per measure, over runs: rank correlation of Q with p above 0, and Q(0.7) − Q(0.05) above 0. Holds for 8 "
        "measures, in part from 5."
    ),
)
def _u1(of: Evidence) -> Finding:
    first, last = of.at("dropout", 0.05), of.at("dropout", 0.7)
    conditions = u1_conditions(of.trends("dropout", of.q), of.q[:, last] - of.q[:, first])
    gains = [mean_interval(of.q[:, last, j] - of.q[:, first, j]) for j in range(8)]
    factors = np.nanmean(of.q[:, last], 0) / np.nanmean(of.q[:, of.runs.plain], 0)
    smallest = min(gains, key=lambda gain: gain.mean)
    return finding(
        conditions,
        f"{_met(conditions)} of 8 measures rise; × {factors.min():.2f} to × {factors.max():.2f}",
        f"smallest gain {smallest.mean:.3f} {smallest.text()}",
        f"Q at the strongest over Q without dropout: {_list(factors, '.2f')}.",
        part=5,
    )


def _met(conditions: Mapping[str, State]) -> int:
    return sum(state is True for state in conditions.values())


def u1_conditions(trends: np.ndarray, gains: np.ndarray) -> dict[str, State]:
    """By rank correlations with strength and gains from the weakest to the strongest, (R, 8) each."""
    pairs = zip(trends.T, gains.T, strict=True)
    return _by_measure([every(*(above(mean_interval(own), 0) for own in pair)) for pair in pairs])


@CLAIMS.add(
    "U2",
    "Of the three regularisers dropout has the largest effect on Q.",
    published="7 of 8 measures; raw output sensitivity peaks under L1 (Fig. 3, read off)",
    rule=(
        "Gain over the plain network at the strength with the highest mean, dropout minus each other, above 0. Holds "
        "for 7 measures, in part from 4."
    ),
)
def _u2(of: Evidence) -> Finding:
    peaks = {kind: of.peak(kind) for kind in KINDS}
    beaten = {
        other: [mean_interval(peaks["dropout"][:, j] - peaks[other][:, j]) for j in range(8)] for other in ("l2", "l1")
    }
    conditions = u2_conditions(of)
    last = of.last("l2")
    closest = min((beaten[other][j] for other in beaten for j in range(8)), key=lambda found: found.mean)
    means = {kind: np.nanmean(values) for kind, values in peaks.items()}
    return finding(
        conditions,
        f"dropout first for {_met(conditions)} of 8 measures",
        f"closest difference {closest.mean:+.3f} {closest.text()}",
        "Peak gain of Q, mean over measures: "
        + ", ".join(f"{KINDS[kind]} {value:+.3f}" for kind, value in means.items())
        + f". Without {_strength(of, last)}, the strongest L2 that is kept, dropout is first for "
        f"{_met(u2_conditions(of, leave_out=last))} of 8."
        + _trained_on(
            of,
            lambda strong: (
                f"Q of the strongest L2 goes from {_at_epoch(strong, 'q', 0, 60):.3f} to "
                f"{_at_epoch(strong, 'q', 0):.3f} (mean over measures)"
            ),
        ),
        holds=7,
        part=4,
    )


def u2_conditions(of: Evidence, *, leave_out: int | None = None) -> dict[str, State]:
    """For which measures dropout gains most, maybe without one column of the others."""
    peaks = {kind: of.peak(kind, leave_out=None if kind == "dropout" else leave_out) for kind in KINDS}
    gaps = [[mean_interval(peaks["dropout"][:, j] - peaks[other][:, j]) for other in ("l2", "l1")] for j in range(8)]
    return _by_measure([every(*(above(gap, 0) for gap in own)) for own in gaps])


@CLAIMS.add(
    "U3",
    "The effect of dropout is larger for upstream than for downstream measures.",
    published="+0.15 to +0.25 against +0.09 (Fig. 3, read off)",
    rule="Q(0.7) − Q(0.05), mean of the upstream minus mean of the downstream measures: above 0.",
)
def _u3(of: Evidence) -> Finding:
    gain = of.q[:, of.at("dropout", 0.7)] - of.q[:, of.at("dropout", 0.05)]
    difference = mean_interval(gain[:, UPSTREAM].mean(1) - gain[:, DOWNSTREAM].mean(1))
    return finding(
        {"above 0": above(difference, 0)},
        f"upstream gains {difference.mean:+.3f} more",
        difference.text(),
        f"Gain from the weakest to the strongest dropout: upstream {np.nanmean(gain[:, UPSTREAM]):+.3f}, downstream "
        f"{np.nanmean(gain[:, DOWNSTREAM]):+.3f}.",
    )


@CLAIMS.add(
    "U4",
    "The effect of dropout is larger in the first than in the second layer.",
    published="clear for input sensitivity (> 0.35 against 0.12); covariance slightly reversed (Fig. S3, read off)",
    rule="Per measure, gain in layer 1 minus gain in layer 2 above 0. Holds for 8 measures, in part from 1.",
)
def _u4(of: Evidence) -> Finding:
    q = of.runs.of("q")
    gain = q[:, of.at("dropout", 0.7)] - q[:, of.at("dropout", 0.05)]  # (runs, layers, measures)
    differences = [mean_interval(gain[:, 0, j] - gain[:, 1, j]) for j in range(8)]
    conditions = _by_measure([above(found, 0) for found in differences])
    less = sum(state is False for state in conditions.values())
    clearest = max(differences, key=lambda found: found.mean)
    return finding(
        conditions,
        f"larger in layer 1 for {_met(conditions)} of 8 measures, in layer 2 for {less}",
        f"clearest {clearest.mean:+.3f} {clearest.text()}",
        f"Gain in layer 1 minus gain in layer 2: {_list([found.mean for found in differences])}.",
    )


@CLAIMS.add(
    "U5",
    "Dropout hardly changes the number of modules.",
    published="flat within one s.d. of untrained, downstream −0.5 (Fig. S4, read off)",
    rule=(
        "Per measure, equivalence: interval of the change of the effective number along a line through the curve "
        "within ±1. Holds for 8, in part from 4."
    ),
)
def _u5(of: Evidence) -> Finding:
    numbers = of.runs.of("effective_number").mean(2)
    each = np.stack([of.change("dropout", numbers[:, :, j]) for j in range(8)], axis=1)
    changes = [mean_interval(own) for own in each.T]
    conditions = u5_conditions(each)
    largest = max(changes, key=lambda found: abs(found.mean))
    return finding(
        conditions,
        f"within ±1 for {_met(conditions)} of 8 measures",
        f"largest change {largest.mean:+.2f} {largest.text()}",
        "Change of the effective number of modules along the curve: "
        + _list([found.mean for found in changes], "+.2f")
        + ".",
        part=4,
    )


def u5_conditions(changes: np.ndarray) -> dict[str, State]:
    """By changes along the curve, (R, 8)."""
    return _by_measure([within(mean_interval(own), 1) for own in changes.T])


@CLAIMS.add(
    "U6",
    "L2 raises Q.",
    published="0.11 → 0.14–0.16 (Fig. 3, read off)",
    rule="Per measure, rank correlation of Q with strength above 0. Holds for 8 measures, in part from 4.",
)
def _u6(of: Evidence) -> Finding:
    slopes = of.slopes("l2", of.q)
    conditions = _by_measure([above(slope, 0) for slope in slopes])
    gain = np.nanmean(of.peak("l2"), 0)
    lowest = min(slopes, key=lambda slope: slope.mean)
    return finding(
        conditions,
        f"{_met(conditions)} of 8 measures rise",
        f"weakest rank correlation {lowest.mean:+.2f} {lowest.text()}",
        f"Peak gain of Q: {_list(gain)}.",
        part=4,
    )


@CLAIMS.add(
    "U7",
    "The effect of L1 is weak, and like that of L2.",
    published="similar curves; raw downstream measures exceed them (Fig. 3)",
    rule=(
        "Per measure, equivalence: interval of the peak gain by L1 minus that by L2 within ±0.05. Holds for 6 "
        "measures, in part from 4."
    ),
)
def _u7(of: Evidence) -> Finding:
    l1, l2, dropout = of.peak("l1"), of.peak("l2"), of.peak("dropout")
    differences = [mean_interval(l1[:, j] - l2[:, j]) for j in range(8)]
    conditions = _by_measure([within(found, 0.05) for found in differences])
    largest = max(differences, key=lambda found: abs(found.mean))
    return finding(
        conditions,
        f"peak gains within ±0.05 of each other for {_met(conditions)} of 8 measures",
        f"largest difference {largest.mean:+.3f} {largest.text()}",
        f"Peak gain by L1 minus by L2: {_list([found.mean for found in differences])}. Mean peak gain: L1 "
        f"{np.nanmean(l1):+.3f}, L2 {np.nanmean(l2):+.3f}, dropout {np.nanmean(dropout):+.3f}.",
        holds=6,
        part=4,
    )


@CLAIMS.add(
    "U8",
    "At the strongest settings L1 and L2 give comparable sparsity.",
    published="above 0.9 for both (Fig. S1, read off)",
    rule="At the last setting with enough runs: interval of the difference within ±0.1, and both intervals above 0.8.",
)
def _u8(of: Evidence) -> Finding:
    sparsity = of.runs.of("sparsity")
    tops = {kind: sparsity[:, of.last(kind)] for kind in ("l2", "l1")}
    means = {kind: float(np.nanmean(values)) for kind, values in tops.items()}
    difference = mean_interval(tops["l1"] - tops["l2"])
    high = every(*(above(mean_interval(values), 0.8) for values in tops.values()))
    return finding(
        {"within ±0.1": within(difference, 0.1), "both above 0.8": high},
        f"L2 {means['l2']:.2f}, L1 {means['l1']:.2f} of the weights below {cells.SPARSE}",
        f"difference {difference.mean:+.3f} {difference.text()}",
        f"At {_strength(of, of.last('l2'))} and {_strength(of, of.last('l1'))}, the strongest that leave enough runs."
        + _trained_on(
            of,
            lambda strong: f"L2 {_at_epoch(strong, 'sparsity', 0):.2f}, L1 {_at_epoch(strong, 'sparsity', 1):.2f}",
        ),
    )


@CLAIMS.add(
    "U9",
    "Dropout does not create sparsity.",
    published="0.21–0.25 throughout (Fig. S1, read off)",
    rule="Change of the share of small weights along a line through the curve: interval below 0.1.",
)
def _u9(of: Evidence) -> Finding:
    sparsity = of.runs.of("sparsity")
    change = mean_interval(of.change("dropout", sparsity))
    plain, top = np.nanmean(sparsity[:, of.runs.plain]), np.nanmean(sparsity[:, of.at("dropout", 0.7)])
    return finding(
        {"below 0.1": below(change, 0.1)},
        f"sparsity changes by {change.mean:+.3f} along the curve",
        change.text(),
        f"{plain:.2f} of the weights are below {cells.SPARSE} without dropout, {top:.2f} at the strongest.",
    )


@CLAIMS.add(
    "U10",
    "Without strong regularisation Q is only slightly above that of untrained networks.",
    published="0.11 against 0.10 (Fig. 3, read off)",
    rule=(
        "Per measure, plain trained minus untrained: interval above 0 and below 0.03. Holds for 6 measures, in part "
        "from 3."
    ),
)
def _u10(of: Evidence) -> Finding:
    fresh = np.array(of.runs.fresh["q"], dtype=float).mean(1)
    differences = [welch(of.q[:, of.runs.plain, j], fresh[:, j]) for j in range(8)]
    z = [found.mean / fresh[:, j].std(ddof=1) for j, found in enumerate(differences)]
    conditions = _by_measure([every(above(found, 0), below(found, 0.03)) for found in differences])
    extreme = max(differences, key=lambda found: abs(found.mean))
    return finding(
        conditions,
        f"above, by at most 0.03, for {_met(conditions)} of 8 measures",
        f"largest difference {extreme.mean:+.4f} {extreme.text()}",
        f"In standard deviations of {len(fresh)} untrained networks: {_list(z, '+.1f')}.",
        holds=6,
        part=3,
    )


@CLAIMS.add(
    "U11",
    "21 of 270 networks stay below 80 % accuracy.",
    published="249 kept; L2 = 0.1 and L1 = 0.01 lost wholly (text, Fig. S1)",
    rule=(
        "Both strongest settings lost wholly, nothing lost but there and at L1 = 10^-2.5, 18 to 27 in all (of 270, or "
        "that share). In part with two of the three."
    ),
)
def _u11(of: Evidence) -> Finding:
    left_out = ~of.runs.kept
    total, share = int(left_out.sum()), left_out.mean()
    top = [of.at("l2", 0.1), of.at("l1", 0.01)]
    near = of.at("l1", 10**-2.5)
    all_top = bool(left_out[:, top].all())
    elsewhere = total - int(left_out[:, top].sum()) - (int(left_out[:, near].sum()) if near not in top else 0)
    return finding(
        {
            "strongest lost wholly": all_top,
            "nothing lost elsewhere": elsewhere == 0,
            "18 to 27 of 270": 18 / 270 <= share <= 27 / 270,
        },
        f"{total} of {left_out.size} networks",
        f"{share:.1%}; the paper has 7.8 %",
        f"Left out at {_strength(of, top[0])}: {left_out[:, top[0]].sum()}, at {_strength(of, top[1])}: "
        f"{left_out[:, top[1]].sum()}, elsewhere {total - int(left_out[:, top].sum())}; "
        f"{int(of.runs['diverged'].sum())} diverged.",
        part=2,
    )


@CLAIMS.add(
    "U12",
    "Accuracy falls with strength, mildly under dropout.",
    published="dropout 0.98 → 0.95, L2 0.98 → 0.86, L1 0.98 → 0.95 and less (Fig. S1, read off)",
    rule=(
        "Rank correlation of accuracy with strength: interval below 0 for all three; and dropout loses less at the "
        "last setting than each other, paired over runs."
    ),
)
def _u12(of: Evidence) -> Finding:
    accuracy = np.array(of.runs["test_accuracy"], dtype=float)
    slopes = {kind: of.slopes(kind, accuracy[:, :, None])[0] for kind in KINDS}
    plain = accuracy[:, of.runs.plain]
    loss = {kind: mean_interval(plain - accuracy[:, of.last(kind)]) for kind in KINDS}
    lost = {kind: plain - accuracy[:, of.last(kind)] for kind in KINDS}
    mild = every(*(above(mean_interval(lost[other] - lost["dropout"]), 0) for other in ("l2", "l1")))
    return finding(
        {"accuracy falls": every(*(below(slope, 0) for slope in slopes.values())), "dropout loses least": mild},
        ", ".join(f"{KINDS[kind]} −{found.mean:.3f}" for kind, found in loss.items()),
        f"dropout {loss['dropout'].text()}",
        f"Accuracy lost at the strongest setting that is kept, from {plain.mean():.3f}. Rank correlation with "
        "strength: " + ", ".join(f"{KINDS[kind]} {slope.mean:+.2f}" for kind, slope in slopes.items()) + ".",
    )


@CLAIMS.add(
    "U13",
    "Modules number 2 to 6, rarely more, for 64 units.",
    published="means from 1.8 to 7 (Fig. S4, read off)",
    rule="Share of (network, layer, measure) with an effective number above 6: interval below 5 %.",
)
def _u13(of: Evidence) -> Finding:
    numbers = of.runs.of("effective_number")
    many = np.where(np.isfinite(numbers), numbers > 6, np.nan)
    share = bounded(mean_interval(mean(many)), 0)
    cell_means = np.nanmean(numbers[:, of.runs.kept.any(0)], axis=0)
    return finding(
        {"below 5 %": below(share, 0.05)},
        f"{share.mean:.1%} above 6",
        share.text(),
        f"Means over runs of a setting, layer and measure lie between {np.nanmin(cell_means):.1f} and "
        f"{np.nanmax(cell_means):.1f}; all kept networks have a mean of {np.nanmean(numbers):.2f}.",
    )


@CLAIMS.add(
    "U14",
    "Untrained networks have as many modules.",
    published="3.5–4.4 untrained (Fig. S4, read off)",
    rule="Equivalence: interval of the mean effective number, trained minus untrained, within ±1.",
)
def _u14(of: Evidence) -> Finding:
    fresh = np.array(of.runs.fresh["effective_number"], dtype=float)
    difference = welch(mean(of.runs.of("effective_number")), fresh.mean((1, 2)))
    by_measure = fresh.mean((0, 1))
    return finding(
        {"within ±1": within(difference, 1)},
        f"untrained {fresh.mean():.2f}, trained {difference.mean:+.2f}",
        difference.text(),
        f"Untrained, by measure: {by_measure.min():.2f} to {by_measure.max():.2f} ({len(fresh)} networks).",
    )


@CLAIMS.add(
    "U15",
    "Modules agree much more within the upstream and within the downstream measures than across.",
    published="0.64 and 0.54 against 0.32 (Fig. 4a, read off)",
    rule="Within minus across: intervals above 0.1 on both sides, and above 0.05 beyond chance.",
)
def _u15(of: Evidence) -> Finding:
    cross = of.agreement(CROSS)
    gaps = {side: mean_interval(of.agreement(pairs) - cross) for side, pairs in WITHIN.items()}
    conditions = u15_conditions(
        np.stack([of.agreement(pairs) - cross for pairs in WITHIN.values()]),
        np.stack([of.excess(pairs) - of.excess(CROSS) for pairs in WITHIN.values()]),
    )
    means = {side: float(of.agreement(pairs).mean()) for side, pairs in WITHIN.items()}
    return finding(
        conditions,
        f"upstream {means['upstream']:.2f}, downstream {means['downstream']:.2f}, across {cross.mean():.2f}",
        f"downstream − across {gaps['downstream'].mean:.3f} {gaps['downstream'].text()}",
        "Beyond the chance level of the same partitions: "
        + ", ".join(f"{side} {of.excess(pairs).mean():.2f}" for side, pairs in WITHIN.items())
        + f", across {of.excess(CROSS).mean():.2f}.",
    )


def u15_conditions(gaps: np.ndarray, beyond: np.ndarray) -> dict[str, State]:
    """By agreement within minus across, as it is and beyond chance: (sides, R) each."""
    return {
        "above 0.1": every(*(above(mean_interval(own), 0.1) for own in gaps)),
        "above 0.05 beyond chance": every(*(above(mean_interval(own), 0.05) for own in beyond)),
    }


def _normalisation_gap(of: Evidence, side: str) -> Interval:
    return mean_interval(of.agreement(NORMALISATION[side]) - of.agreement(KIND_OF_INFORMATION[side]))


@CLAIMS.add(
    "U16",
    "Normalisation matters little.",
    published="raw against normalised 0.64–0.78, the highest entries (Fig. 4a, read off)",
    rule=(
        "Raw and normalised agree by more than half of what lies between chance (0) and two searches of one matrix "
        "(1), on both sides."
    ),
)
def _u16(of: Evidence) -> Finding:
    gaps = {side: _normalisation_gap(of, side) for side in WITHIN}
    ceiling = mean(of.runs.of("self_similarity"))
    reached = {}
    for side, pairs in NORMALISATION.items():
        chance = of.agreement(pairs, "chance")
        reached[side] = bounded(mean_interval((of.agreement(pairs) - chance) / (ceiling - chance)))
    return finding(
        {side: above(found, 0.5) for side, found in reached.items()},
        ", ".join(f"{side} {of.agreement(NORMALISATION[side]).mean():.2f}" for side in WITHIN),
        "between chance and two searches: "
        + ", ".join(f"{side} {found.mean:.2f} {found.text()}" for side, found in reached.items()),
        f"Raw against normalised is above moment against gradient by {gaps['downstream'].mean:+.2f} downstream and "
        f"{gaps['upstream'].mean:+.2f} upstream. Two searches of one matrix agree to {ceiling.mean():.2f}.",
    )


@CLAIMS.add(
    "U17",
    "Inside a side the gap between moment and gradient measures is moderate.",
    published="0.58 upstream, 0.50 downstream (Fig. 4a, read off)",
    rule=(
        "Raw-against-normalised pairs minus moment-against-gradient pairs: interval between 0.05 and 0.35, on both "
        "sides."
    ),
)
def _u17(of: Evidence) -> Finding:
    gaps = {side: _normalisation_gap(of, side) for side in WITHIN}
    return finding(
        {side: every(above(gap, 0.05), below(gap, 0.35)) for side, gap in gaps.items()},
        ", ".join(f"{side} gap {gap.mean:.2f}" for side, gap in gaps.items()),
        f"upstream {gaps['upstream'].text()}",
        "Moment against gradient: "
        + ", ".join(f"{side} {of.agreement(KIND_OF_INFORMATION[side]).mean():.2f}" for side in WITHIN)
        + ".",
    )


@CLAIMS.add(
    "U18",
    "Training leaves agreement among downstream measures as it was.",
    published="−0.03 (Fig. 4b, read off)",
    rule="Equivalence: interval of trained minus untrained within ±0.05.",
)
def _u18(of: Evidence) -> Finding:
    pairs = WITHIN["downstream"]
    difference = welch(of.agreement(pairs), of.untrained_agreement(pairs))
    beyond = welch(of.excess(pairs), of.excess(pairs, fresh=True))
    equal = welch(of.by_kind(pairs), of.untrained_agreement(pairs))
    return finding(
        {"within ±0.05": within(difference, 0.05)},
        f"trained − untrained {difference.mean:+.3f}",
        difference.text(),
        f"Untrained {of.untrained_agreement(pairs).mean():.2f}. Beyond chance the difference is {beyond.mean:+.3f} "
        f"[{beyond.low:.3f}, {beyond.high:.3f}]. Nearly half of the settings are dropout: with equal weights for the "
        f"three regularisers it is {equal.mean:+.3f} [{equal.low:.3f}, {equal.high:.3f}].",
    )


@CLAIMS.add(
    "U19",
    "Agreement among upstream measures emerges by training.",
    published="+0.28 (Fig. 4b, read off)",
    rule="Trained minus untrained: interval above 0, and above 0.15.",
)
def _u19(of: Evidence) -> Finding:
    pairs = WITHIN["upstream"]
    difference = welch(of.agreement(pairs), of.untrained_agreement(pairs))
    return finding(
        {"above 0": above(difference, 0), "above 0.15": above(difference, 0.15)},
        f"trained − untrained {difference.mean:+.3f}",
        difference.text(),
        f"Untrained {of.untrained_agreement(pairs).mean():.2f}, trained {of.agreement(pairs).mean():.2f}.",
    )


@CLAIMS.add(
    "U20",
    "Training slightly reduces the split: agreement across sides rises.",
    published="+0.05 to +0.08 (Fig. 4b, read off)",
    rule="Trained minus untrained: interval above 0, also after subtracting the chance level.",
)
def _u20(of: Evidence) -> Finding:
    difference = welch(of.agreement(CROSS), of.untrained_agreement(CROSS))
    beyond = welch(of.excess(CROSS), of.excess(CROSS, fresh=True))
    return finding(
        u20_conditions(difference, beyond),
        f"across: {difference.mean:+.3f}; beyond chance {beyond.mean:+.3f}",
        f"{difference.text()}; beyond chance {beyond.text()}",
        f"Untrained {of.untrained_agreement(CROSS).mean():.3f}, of which chance gives "
        f"{of.untrained_agreement(CROSS, 'chance').mean():.3f}; trained {of.agreement(CROSS).mean():.3f}, of which "
        f"chance gives {of.agreement(CROSS, 'chance').mean():.3f}.",
    )


def u20_conditions(difference: Interval, beyond: Interval) -> dict[str, State]:
    """By differences of agreement across the sides, as it is and beyond chance."""
    return {"above 0": above(difference, 0), "above 0 beyond chance": above(beyond, 0)}


@CLAIMS.add(
    "U21",
    "Upstream measures agree weakly at low and strongly at high strength.",
    published="0.4 → 0.8–0.95 (L2), 0.55 → 0.8 (L1), 0.4 → 0.65 (dropout) (Fig. S5, read off)",
    rule="Rank correlation of covariance–sensitivity agreement with strength: interval above 0 for all three.",
)
def _u21(of: Evidence) -> Finding:
    pairs = KIND_OF_INFORMATION["upstream"]
    values = of_pairs(of.runs.of("similarity"), pairs).mean(2)
    slopes = {kind: of.slopes(kind, values[:, :, None])[0] for kind in KINDS}
    ends = {
        kind: (np.nanmean(values[:, of.runs.places(kind)[0]]), np.nanmean(values[:, of.last(kind)])) for kind in KINDS
    }
    weakest = min(slopes.values(), key=lambda slope: slope.mean)
    return finding(
        {KINDS[kind]: above(slope, 0) for kind, slope in slopes.items()},
        ", ".join(f"{KINDS[kind]} {low:.2f} → {high:.2f}" for kind, (low, high) in ends.items()),
        f"weakest rank correlation {weakest.mean:+.2f} {weakest.text()}",
        "Covariance against input sensitivity, weakest and strongest setting. Rank correlation with strength: "
        + ", ".join(f"{KINDS[kind]} {slope.mean:+.2f}" for kind, slope in slopes.items())
        + ".",
    )


@CLAIMS.add(
    "U22",
    "At the strongest L2 and L1 the downstream pattern depends on normalisation.",
    published="raw–normalised pairs fall by 0.2–0.3, same-form pairs rise (Fig. S5, read off)",
    rule=(
        "Against untrained: raw–normalised pairs lower and same-form pairs higher, for L2 and L1 (four intervals). In "
        "part with two of the four."
    ),
)
def _u22(of: Evidence) -> Finding:
    same_form = [(0, 2), (1, 3)]
    falls, rises, words = [], [], []
    for kind in ("l2", "l1"):
        place = of.last(kind)
        fall = welch(
            of.agreement_at(place, NORMALISATION["downstream"]), of.untrained_agreement(NORMALISATION["downstream"])
        )
        rise = welch(of.agreement_at(place, same_form), of.untrained_agreement(same_form))
        falls.append(fall)
        rises.append(rise)
        words.append(f"{_strength(of, place)}: raw–normalised {fall.mean:+.2f}, same form {rise.mean:+.2f}")
    conditions = {
        f"{kind} raw–normalised falls": below(fall, 0) for kind, fall in zip(("L2", "L1"), falls, strict=True)
    }
    conditions |= {f"{kind} same form rises": above(rise, 0) for kind, rise in zip(("L2", "L1"), rises, strict=True)}
    return finding(
        conditions,
        "; ".join(words),
        f"L2, raw–normalised {falls[0].text()}",
        "Differences from untrained networks at the strongest settings that leave enough runs.",
        part=2,
    )


@CLAIMS.add(
    "U23",
    "At large L1 only raw downstream measures agree moderately with upstream ones.",
    published="about 0.5 against 0.3 (Fig. S5, read off)",
    rule="At the strongest L1 with enough runs: interval of raw minus normalised above 0, and of raw above 0.4.",
)
def _u23(of: Evidence) -> Finding:
    place = of.last("l1")
    raw = of.agreement_at(place, list(product((0, 2), range(4, 8))))
    normalised = of.agreement_at(place, list(product((1, 3), range(4, 8))))
    difference = mean_interval(raw - normalised)
    return finding(
        {"raw above normalised": above(difference, 0), "raw above 0.4": above(mean_interval(raw), 0.4)},
        f"raw {raw.mean():.2f}, normalised {normalised.mean():.2f}",
        f"difference {difference.mean:+.3f} {difference.text()}",
        f"At {_strength(of, place)}, the strongest L1 that leaves enough runs; {len(raw)} runs are left of "
        f"{len(of.runs.seeds)}. The paper's 0.5 is at 10^-2.5 with about 6 runs left."
        + _trained_on(
            of,
            lambda strong: (
                f"raw {strong['similarity'][:, -1, 1, :, 0:4:2, 4:].mean():.2f}, normalised "
                f"{strong['similarity'][:, -1, 1, :, 1:4:2, 4:].mean():.2f}"
            ),
        ),
    )


@CLAIMS.add(
    "U24",
    "The Monte Carlo steps never lower Q and often raise it.",
    published="all points on or above the diagonal (Fig. S2, left)",
    rule="None that could fail: the best partition on the way counts, and the start is on the way.",
)
def _u24(of: Evidence) -> Finding:
    found = _searched(of)
    if found is None:
        return NOT_SEARCHED
    gains = np.concatenate([(values["spectral_5000"] - values["spectral"]).ravel() for values in found])
    per_run = mean_interval([(values["spectral_5000"] - values["spectral"]).mean() for values in found])
    often = float((gains > 1e-4).mean())
    matrices = sum(len(values["spectral"]) for values in found)
    return untestable(
        "Cannot fail: no chain ends below its start, because the best partition on the way counts, and among "
        f"{matrices} matrices with four chains of 5000 steps each hardly a start is already best. Our search adds "
        f"another {np.mean([(v['ours'] - v['spectral_5000']).mean() for v in found]):.4f}.",
        f"mean gain {per_run.mean:.4f}; above 0.0001 in {often:.0%}",
        per_run.text(),
    )


@CLAIMS.add(
    "U25",
    "After 1000 steps a spectral start is ahead of a start from one module.",
    published="all points on or above the diagonal (Fig. S2, right)",
    rule="Share of pairs of chains not behind: interval above 95 %; and interval of the mean difference above 0.",
)
def _u25(of: Evidence) -> Finding:
    found = _searched(of)
    if found is None:
        return NOT_SEARCHED
    differences = np.concatenate([(values["spectral_1000"] - values["single_1000"]).ravel() for values in found])
    per_run = mean_interval([(values["spectral_1000"] - values["single_1000"]).mean() for values in found])
    share = bounded(
        mean_interval([((values["spectral_1000"] - values["single_1000"]) >= -1e-6).mean() for values in found]), 0
    )
    longer = float(np.mean([(values["spectral_5000"] - values["single_5000"]).mean() for values in found]))
    return finding(
        {"not behind in 95 %": above(share, 0.95), "ahead on average": above(per_run, 0)},
        f"{(differences >= -1e-6).mean():.0%} on or above; mean difference {per_run.mean:+.4f}",
        per_run.text(),
        f"Chains of 1000 steps, paired by matrix and chain. After 5000 steps the mean difference is {longer:+.4f}.",
    )


NOT_SEARCHED = untestable("The parts of the search were compared on MNIST at fixed epochs alone.")


def _searched(of: Evidence) -> list[dict[str, np.ndarray]] | None:
    try:
        return of.search()
    except RecordError:
        if any(
            cell.stage == "search"
            and cell.params["dataset"] == of.runs.dataset
            and cell.params["regime"] == of.runs.params["regime"]
            for cell in of.results.cells
        ):
            raise  # planned, so it is missing
        return None


@CLAIMS.add(
    "U26",
    "Other scores of agreement tell the same.",
    published="correlations of 0.94 to 1.0 between scores (text)",
    rule=(
        "Rank correlation over pairs of measures, per network and layer: interval above 0.9, and above 0.7, for every "
        "score."
    ),
)
def _u26(of: Evidence) -> Finding:
    upper = np.triu_indices(8, 1)
    ours = of.runs["similarity"][..., upper[0], upper[1]]  # (runs, networks, layers, pairs)
    others = of.runs["other_scores"]
    ranks = of.runs["rank_correlation"][..., upper[0], upper[1]]
    kept = of.runs.kept

    def per_run(score: np.ndarray) -> Interval:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            rho = _row_correlation(stats.rankdata(ours, axis=-1), stats.rankdata(score, axis=-1))
        return bounded(mean_interval([np.nanmean(values[mask]) for values, mask in zip(rho, kept, strict=True)]))

    found = {name: per_run(others[..., index]) for index, name in enumerate(cells.OTHER_SCORES)}
    raw = per_run(ranks)
    lowest = min(found.values(), key=lambda interval: interval.mean)
    means = np.nanmean(of.runs.of("other_scores"), axis=(0, 1, 2))  # (pairs, scores)
    pooled = np.nanmean(of.runs.of("similarity"), axis=(0, 1, 2))[upper]
    over_pairs = [np.corrcoef(pooled, means[:, index])[0, 1] for index in range(means.shape[1])]
    return finding(
        {f"above {bar}": every(*(above(one, bar) for one in found.values())) for bar in (0.9, 0.7)},
        f"lowest mean rank correlation {lowest.mean:.3f}",
        lowest.text(),
        "Over the 28 pairs of measures within a network and layer: "
        + ", ".join(f"{name} {interval.mean:.2f}" for name, interval in found.items())
        + f". Rank correlation of the matrices themselves: {raw.mean:.2f}. If pairs are averaged over networks first, "
        f"the correlation over the 28 pairs is {min(over_pairs):.3f} to {max(over_pairs):.3f}, and the claim would "
        "hold.",
    )


def _row_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))


@CLAIMS.add(
    "U27",
    "What one would have expected is wrong in every point.",
    published="dropout lowers Q, L2 does nothing, L1 raises Q, all measures agree: all refuted (text)",
    rule=(
        "The claims against these expectations (U1, U6, U7, U15) hold. In part where two do; those that are undecided "
        "stay open."
    ),
)
def _u27(of: Evidence) -> Finding:
    verdicts = {
        "“dropout lowers Q” (U1)": _u1(of).verdict,
        "“L2 has no effect” (U6)": _u6(of).verdict,
        "“L1 raises Q more than L2” (U7)": _u7(of).verdict,
        "“all measures find the same modules” (U15)": _u15(of).verdict,
    }
    conditions = {
        name: True if verdict == "holds" else None if verdict == "undecided" else False
        for name, verdict in verdicts.items()
    }
    return finding(
        conditions,
        f"{_met(conditions)} of 4 expectations are refuted",
        f"n = {len(of.runs.seeds)}",
        "An expectation is refuted where the claim against it holds: "
        + "; ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
        + ".",
        part=2,
    )
