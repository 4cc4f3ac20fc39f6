"""Claims U1–U14, U24 and U25, about modularity and the search for it: see :mod:`studies.upstream_downstream.claims`."""

from __future__ import annotations

import numpy as np

from companion import claims
from companion.claims import Finding, State, above, below, bounded, every, finding, untestable, within
from companion.records import RecordError
from modutils.statistics import mean_interval
from studies.upstream_downstream import cells
from studies.upstream_downstream.evidence import (
    KINDS,
    Evidence,
    by_epochs,
    by_measure,
    mean,
    met,
    series,
    strength,
    welch,
)
from studies.upstream_downstream.runs import DOWNSTREAM, UPSTREAM

CLAIMS = claims.Claims("lange2022clustering")


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
        f"{met(conditions)} of 8 measures rise; × {factors.min():.2f} to × {factors.max():.2f}",
        f"smallest gain {smallest.mean:.3f} {smallest.text()}",
        "The factor is Q at the strongest over Q without dropout.",
        series=series("Gain of Q", gains),
        part=5,
    )


def u1_conditions(trends: np.ndarray, gains: np.ndarray) -> dict[str, State]:
    """By rank correlations with strength and gains from the weakest to the strongest, (R, 8) each."""
    pairs = zip(trends.T, gains.T, strict=True)
    return by_measure([every(*(above(mean_interval(own), 0) for own in pair)) for pair in pairs])


@CLAIMS.add(
    "U2",
    "Of the three regularisers dropout has the largest effect on Q.",
    published="7 of 8 measures; raw output sensitivity peaks under L1 (Fig. 3, read off)",
    rule=(
        "Where training is followed to the paper's length: after the most epochs, with the settings that are "
        "followed; else at the end, with all. Gain over the plain network at the strength with the highest mean, "
        "dropout minus each other, above 0. Holds for 7 measures, in part from 4."
    ),
)
def _u2(of: Evidence) -> Finding:
    own = of.at_length()
    peaks = {kind: own.peak(kind) for kind in KINDS}
    beaten = [mean_interval(peaks["dropout"][:, j] - peaks[other][:, j]) for other in ("l2", "l1") for j in range(8)]
    conditions = u2_conditions(own)
    last = own.last("l2")
    closest = min(beaten, key=lambda found: found.mean)
    means = {kind: np.nanmean(values) for kind, values in peaks.items()}
    return finding(
        conditions,
        f"dropout first for {met(conditions)} of 8 measures",
        f"closest difference {closest.mean:+.3f} {closest.text()}",
        f"After {own.runs.params['epochs']} epochs. Peak gain of Q, mean over measures: "
        + ", ".join(f"{KINDS[kind]} {value:+.3f}" for kind, value in means.items())
        + f". Without {strength(own, last)}, the strongest L2 that is kept, dropout is first for "
        f"{met(u2_conditions(own, leave_out=last))} of 8."
        + by_epochs(of, lambda one: f"{met(u2_conditions(one))} of 8"),
        holds=7,
        part=4,
    )


def u2_conditions(of: Evidence, *, leave_out: int | None = None) -> dict[str, State]:
    """For which measures dropout gains most, maybe without one column of the others."""
    peaks = {kind: of.peak(kind, leave_out=None if kind == "dropout" else leave_out) for kind in KINDS}
    gaps = [[mean_interval(peaks["dropout"][:, j] - peaks[other][:, j]) for other in ("l2", "l1")] for j in range(8)]
    return by_measure([every(*(above(gap, 0) for gap in own)) for own in gaps])


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
    conditions = by_measure([above(found, 0) for found in differences])
    less = sum(state is False for state in conditions.values())
    clearest = max(differences, key=lambda found: found.mean)
    return finding(
        conditions,
        f"larger in layer 1 for {met(conditions)} of 8 measures, in layer 2 for {less}",
        f"clearest {clearest.mean:+.3f} {clearest.text()}",
        "A dot to the right of the line has gained more in layer 1.",
        series=series("Gain in layer 1 minus gain in layer 2", differences),
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
        f"within ±1 for {met(conditions)} of 8 measures",
        f"largest change {largest.mean:+.2f} {largest.text()}",
        "From no dropout to the strongest, along a line through the curve.",
        series=series("Change of the effective number of modules", changes, "+.2f", bars=(-1, 0, 1)),
        part=4,
    )


def u5_conditions(changes: np.ndarray) -> dict[str, State]:
    """By changes along the curve, (R, 8)."""
    return by_measure([within(mean_interval(own), 1) for own in changes.T])


@CLAIMS.add(
    "U6",
    "L2 raises Q.",
    published="0.11 → 0.14–0.16 (Fig. 3, read off)",
    rule="Per measure, rank correlation of Q with strength above 0. Holds for 8 measures, in part from 4.",
)
def _u6(of: Evidence) -> Finding:
    slopes = of.slopes("l2", of.q)
    conditions = by_measure([above(slope, 0) for slope in slopes])
    gain = np.nanmean(of.peak("l2"), 0)
    lowest = min(slopes, key=lambda slope: slope.mean)
    return finding(
        conditions,
        f"{met(conditions)} of 8 measures rise",
        f"weakest rank correlation {lowest.mean:+.2f} {lowest.text()}",
        f"Peak gain of Q: {gain.min():+.3f} to {gain.max():+.3f}.",
        series=series("Rank correlation of Q with strength", slopes, "+.2f"),
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
    conditions = by_measure([within(found, 0.05) for found in differences])
    largest = max(differences, key=lambda found: abs(found.mean))
    return finding(
        conditions,
        f"peak gains within ±0.05 of each other for {met(conditions)} of 8 measures",
        f"largest difference {largest.mean:+.3f} {largest.text()}",
        f"Mean peak gain: L1 {np.nanmean(l1):+.3f}, L2 {np.nanmean(l2):+.3f}, dropout {np.nanmean(dropout):+.3f}.",
        series=series("Peak gain by L1 minus by L2", differences, bars=(-0.05, 0, 0.05)),
        holds=6,
        part=4,
    )


@CLAIMS.add(
    "U8",
    "At the strongest settings L1 and L2 give comparable sparsity.",
    published="above 0.9 for both (Fig. S1, read off)",
    rule=(
        "Where training is followed to the paper's length, after the most epochs, else at the end, at the last setting "
        "with enough runs: interval of the difference within ±0.1, and both intervals above 0.8."
    ),
)
def _u8(of: Evidence) -> Finding:
    own = of.at_length()
    conditions = u8_conditions(own)
    tops = sparsity_at_top(own)
    means = {kind: float(np.nanmean(values)) for kind, values in tops.items()}
    difference = mean_interval(tops["l1"] - tops["l2"])
    return finding(
        conditions,
        f"L2 {means['l2']:.2f}, L1 {means['l1']:.2f} of the weights below {cells.SPARSE}",
        f"difference {difference.mean:+.3f} {difference.text()}",
        f"After {own.runs.params['epochs']} epochs, at {strength(own, own.last('l2'))} and "
        f"{strength(own, own.last('l1'))}, the strongest that leave enough runs."
        + by_epochs(
            of,
            lambda one: " and ".join(
                f"{KINDS[kind]} {np.nanmean(values):.2f}" for kind, values in sparsity_at_top(one).items()
            ),
        ),
    )


def sparsity_at_top(of: Evidence) -> dict[str, np.ndarray]:
    """Share of small weights per run, for the strongest L2 and L1 of which enough runs are left."""
    sparsity = of.runs.of("sparsity")
    return {kind: sparsity[:, of.last(kind)] for kind in ("l2", "l1")}


def u8_conditions(of: Evidence) -> dict[str, State]:
    """Comparable, and both sparse."""
    tops = sparsity_at_top(of)
    return {
        "within ±0.1": within(mean_interval(tops["l1"] - tops["l2"]), 0.1),
        "both above 0.8": every(*(above(mean_interval(values), 0.8) for values in tops.values())),
    }


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
    conditions = by_measure([every(above(found, 0), below(found, 0.03)) for found in differences])
    extreme = max(differences, key=lambda found: abs(found.mean))
    return finding(
        conditions,
        f"above, by at most 0.03, for {met(conditions)} of 8 measures",
        f"largest difference {extreme.mean:+.4f} {extreme.text()}",
        f"In standard deviations of {len(fresh)} untrained networks these are {min(z):+.1f} to {max(z):+.1f}.",
        series=series("Q of plain trained networks minus untrained", differences, bars=(0, 0.03)),
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
        f"Left out at {strength(of, top[0])}: {left_out[:, top[0]].sum()}, at {strength(of, top[1])}: "
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
    drawn = np.mean([(values["spectral_5000"] - values["single_1000"] >= -1e-6).mean() for values in found])
    longer = float(np.mean([(values["spectral_5000"] - values["single_5000"]).mean() for values in found]))
    return finding(
        {"not behind in 95 %": above(share, 0.95), "ahead on average": above(per_run, 0)},
        f"{(differences >= -1e-6).mean():.0%} on or above; mean difference {per_run.mean:+.4f}",
        per_run.text(),
        f"Chains of 1000 steps, paired by matrix and chain. After 5000 steps the mean difference is {longer:+.4f}. "
        f"5000 steps from the spectral start against 1000 from one module, as in the paper: {drawn:.0%} on or above.",
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
