"""Claims U15–U23 and U26, about agreement between measures: see :mod:`studies.upstream_downstream.claims`."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
from scipy import stats

from companion import claims
from companion.claims import Finding, State, above, below, bounded, every, finding, within
from modutils.statistics import Interval, mean_interval
from studies.upstream_downstream import cells
from studies.upstream_downstream.evidence import (
    CROSS,
    KIND_OF_INFORMATION,
    KINDS,
    NORMALISATION,
    WITHIN,
    Evidence,
    by_epochs,
    mean,
    of_pairs,
    strength,
    welch,
)

CLAIMS = claims.Claims("lange2022clustering")


# Values marked "read off" come from the authors' own rendered figures of the first version, ±0.01 on Q and similarity.


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
        + f", across {of.excess(CROSS).mean():.2f}. Untrained networks have the split too: "
        + ", ".join(f"{side} {of.untrained_agreement(pairs).mean():.2f}" for side, pairs in WITHIN.items())
        + f", across {of.untrained_agreement(CROSS).mean():.2f}. So it tells how alike the measures of a side are, "
        "before it tells anything of what was learned (trials).",
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
        "Where training is followed to the paper's length, after the most epochs, else at the end. Against untrained: "
        "raw–normalised pairs lower and same-form pairs higher, for L2 and L1 (four intervals). In part with two of "
        "the four."
    ),
)
def _u22(of: Evidence) -> Finding:
    own = of.at_length()
    found = against_untrained(own)
    return finding(
        u22_conditions(own),
        "; ".join(
            f"{strength(own, own.last(kind))}: raw–normalised {fall.mean:+.2f}, same form {rise.mean:+.2f}"
            for kind, (fall, rise) in found.items()
        ),
        f"L2, raw–normalised {found['l2'][0].text()}",
        "Differences from untrained networks at the strongest settings that leave enough runs, after "
        f"{own.runs.params['epochs']} epochs."
        + by_epochs(of, lambda one: f"{sum(state is True for state in u22_conditions(one).values())} of 4"),
        part=2,
    )


def against_untrained(of: Evidence) -> dict[str, tuple[Interval, Interval]]:
    """Downstream agreement at the strongest L2 and L1 minus untrained: raw–normalised pairs, and pairs of one form."""

    def gap(kind: str, pairs: list[tuple[int, int]]) -> Interval:
        return welch(of.agreement_at(of.last(kind), pairs), of.untrained_agreement(pairs))

    return {kind: (gap(kind, NORMALISATION["downstream"]), gap(kind, [(0, 2), (1, 3)])) for kind in ("l2", "l1")}


def u22_conditions(of: Evidence) -> dict[str, State]:
    """Raw–normalised pairs agree less than in untrained networks, and pairs of one form more."""
    found = against_untrained(of)
    falls = {f"{KINDS[kind]} raw–normalised falls": below(fall, 0) for kind, (fall, _) in found.items()}
    return falls | {f"{KINDS[kind]} same form rises": above(rise, 0) for kind, (_, rise) in found.items()}


@CLAIMS.add(
    "U23",
    "At large L1 only raw downstream measures agree moderately with upstream ones.",
    published="about 0.5 against 0.3 (Fig. S5, read off)",
    rule=(
        "Where training is followed to the paper's length, after the most epochs, else at the end, at the strongest L1 "
        "with enough runs: interval of raw minus normalised above 0, and of raw above 0.4."
    ),
)
def _u23(of: Evidence) -> Finding:
    own = of.at_length()
    raw, normalised = across_at_l1(own)
    difference = mean_interval(raw - normalised)
    return finding(
        u23_conditions(own),
        f"raw {raw.mean():.2f}, normalised {normalised.mean():.2f}",
        f"difference {difference.mean:+.3f} {difference.text()}",
        f"After {own.runs.params['epochs']} epochs, at {strength(own, own.last('l1'))}, the strongest L1 that leaves "
        f"enough runs; {len(raw)} runs are left of {len(own.runs.seeds)}. The paper's 0.5 is at 10^-2.5 with about 6 "
        "runs left."
        + by_epochs(of, lambda one: "{:.2f} against {:.2f}".format(*(own.mean() for own in across_at_l1(one)))),
    )


def across_at_l1(of: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Agreement of raw, and of normalised, downstream measures with upstream ones at the strongest L1, per run."""
    place = of.last("l1")
    raw, normalised = (of.agreement_at(place, list(product(forms, range(4, 8)))) for forms in ((0, 2), (1, 3)))
    return raw, normalised


def u23_conditions(of: Evidence) -> dict[str, State]:
    """Raw agreement is above that of normalised measures, and moderate."""
    raw, normalised = across_at_l1(of)
    return {
        "raw above normalised": above(mean_interval(raw - normalised), 0),
        "raw above 0.4": above(mean_interval(raw), 0.4),
    }


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
