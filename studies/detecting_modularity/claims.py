"""Claims C1–C10 and M1–M10 about partitions of network graphs: what they say, the rule for each, and the verdicts.

The body of Hod et al. (2021) could not be read here. M1–M8 test its abstract, and C1–C10 the predecessor, Filan et al.
(2021); published numbers are from the authors' stored result tables of 2021, which is an earlier generation of the
study. M9 and M10 are controls of ours.

A *group* is one way to train, with five seeds: plain, dropout, plain pruned, dropout pruned. P-values of a network's
sub-clusters are mid-p-values, combined by Fisher; those of a group's networks are combined by their mean (Bates). The
rules were fixed before the record was looked at; single networks had been seen while the code was tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from scipy import stats

from companion import claims
from companion.claims import Finding, all_of, untestable
from companion.records import Results
from modutils import statistics
from modutils.statistics import Interval
from studies.detecting_modularity import cells, evidence
from studies.detecting_modularity.evidence import GROUPS, NAMES, UNTRAINED, Evidence, Tested

HOD, FILAN = "hod2021detecting", "filan2021clusterability"
LEAST = 3  # networks of a group, for a rule to be applied
LEVEL = 0.05
GLOBAL = "weights/global"
#: The statistics of the two proxies that the paper publishes.
PUBLISHED = ("importance", "normalised range", "score", "entropy")
CLAIMS = claims.Claims(HOD)
NOT_ENOUGH = "The record of this scale has too few networks for this rule."


def evidence_of(results: Results, scale: str) -> dict[str, Callable[[], Evidence]]:
    """What the rules look at, for each data set of a scale."""
    names = dict.fromkeys(cell.params["dataset"] for cell in cells.plan(scale))
    return {name: partial(Evidence, results, name) for name in names}


# --- words and small tests --------------------------------------------------------------------------------------------


def _p(p: float) -> str:
    """A p-value as text."""
    if np.isnan(p):
        return "none"
    return f"{p:.2f}" if p >= 0.01 else f"{p:.0e}" if p >= 1e-12 else "<1e-12"


def _range(p_values: Sequence[float]) -> str:
    p_values = [p for p in p_values if np.isfinite(p)] or [np.nan]
    return f"{_p(min(p_values))} to {_p(max(p_values))}"


def _z(of: Evidence, kind: str, state: str, graph: str = "weights") -> np.ndarray:
    return np.array([cut.of(graph).z for cut in of.cuts(kind, state)])


def _below_shuffles(of: Evidence, kind: str, state: str) -> int:
    return sum(_is_lowest(cut) for cut in of.cuts(kind, state))


def _is_lowest(cut: evidence.Cut) -> bool:
    """Whether an n-cut is below those of all its shuffles."""
    found = cut.of()
    return not (found.null < found.ncut).any()


def _difference(of: Evidence, first: tuple[str, str], second: tuple[str, str], number: str) -> Interval:
    """Paired difference, first minus second, of ``z`` or ``ncut`` over seeds."""
    found = evidence.paired(of.cuts(*first), of.cuts(*second), lambda cut: getattr(cut.of(), number))
    return statistics.mean_interval(found)


def _groups(of: Evidence) -> dict[tuple[str, str], list[Tested]]:
    return {group: found for group in GROUPS if len(found := of.tested(*group)) >= LEAST}


def _combined(groups: Mapping[tuple[str, str], list[Tested]], which: str, statistic: str) -> dict[str, float]:
    """For each group its combined p-value."""
    return {NAMES[group]: evidence.combined(found, which, statistic) for group, found in groups.items()}


def _listed(numbers: Mapping[str, float], form: Callable[[float], str] = _p) -> str:
    return ", ".join(f"{name} {form(number)}" for name, number in numbers.items())


def _most(p_values: Mapping[str, float]) -> bool:
    """Whether three of the four groups are significant."""
    return sum(p <= LEVEL for p in p_values.values()) >= 3


# --- clusterability ---------------------------------------------------------------------------------------------------


@CLAIMS.add(
    "C1",
    "Training lowers the n-cut of an MLP below that of its random initialisation.",
    published="10.30 ± 0.03 at random, 10.02 (MNIST) and 9.89 (Fashion-MNIST) trained",
    rule="Paired over seeds, the interval of the difference lies below 0. In part if only its mean does.",
    paper=FILAN,
)
def _c1(of: Evidence) -> Finding:
    change = _difference(of, ("plain", "trained"), ("plain", "untrained"), "ncut")
    if change.n < LEAST:
        return untestable(NOT_ENOUGH)
    before, after = (np.mean([cut.of().ncut for cut in of.cuts("plain", state)]) for state in ("untrained", "trained"))
    return Finding(
        "holds" if change.high < 0 else "holds in part" if change.mean < 0 else "does not hold",
        f"n-cut {before:.2f} before, {after:.2f} after training",
        f"difference {change.mean:.2f} {change.text('.2f')}",
        "Same seeds before and after training, paired.",
    )


@CLAIMS.add(
    "C2",
    "Trained MLPs are more clusterable than their own weights shuffled.",
    published="z = −4.5 (MNIST), −5.4 (Fashion-MNIST); all 10 networks below all 50 shuffles",
    rule=(
        "All z below 0 and all networks but one below all shuffles. In part if mean z is below 0 and most "
        "have p ≤ 0.05."
    ),
    paper=FILAN,
)
def _c2(of: Evidence) -> Finding:
    z = _z(of, "plain", "trained")
    if z.size < LEAST:
        return untestable(NOT_ENOUGH)
    lowest = _below_shuffles(of, "plain", "trained")
    p = [cut.of().p for cut in of.cuts("plain", "trained")]
    most = sum(one <= LEVEL for one in p) > len(p) / 2
    unit = _z(of, "plain", "trained", "unit norm")
    shuffles = cells.EFFORTS[of.dataset].shuffles
    return Finding(
        "holds"
        if lowest >= len(z) - 1 and (z < 0).all()
        else "holds in part"
        if z.mean() < 0 and most
        else "does not hold",
        f"mean z {z.mean():.1f}; {lowest} of {len(z)} networks below all {shuffles} shuffles",
        f"z {z.min():.1f} to {z.max():.1f}, n = {len(z)}",
        "With the incoming weights of every unit scaled to one length, which does not change what the "
        "network does, mean "
        f"z is {unit.mean():.1f}.",
    )


@CLAIMS.add(
    "C3",
    "Pruned networks have a lower n-cut and stand further below their shuffles.",
    published="n-cut 8.88, z = −9.7 (MNIST); 8.69, −10.4 (Fashion-MNIST)",
    rule=(
        "Paired against unpruned, the interval of the n-cut lies below 0, and so does that of z, with all networks "
        "below all shuffles. In part with one of the two."
    ),
    paper=FILAN,
)
def _c3(of: Evidence) -> Finding:
    cut, gap = (_difference(of, ("plain", "pruned"), ("plain", "trained"), number) for number in ("ncut", "z"))
    if cut.n < LEAST:
        return untestable(NOT_ENOUGH)
    lowest = _below_shuffles(of, "plain", "pruned")
    z, kept = _z(of, "plain", "pruned"), _z(of, "plain", "pruned", "pattern kept")
    level = np.mean([one.of().ncut for one in of.cuts("plain", "pruned")])
    return Finding(
        all_of(cut.high < 0, gap.high < 0 and lowest == len(z)),
        f"n-cut {level:.2f}, mean z {z.mean():.1f}; {lowest} of {len(z)} below all shuffles",
        f"against unpruned: n-cut {cut.mean:.2f} {cut.text('.2f')}; z {gap.mean:.1f} {gap.text('.1f')}",
        f"Shuffles that keep who is joined to whom leave a mean z of {kept.mean():.1f}: the rest of the "
        "gap is the pattern "
        "of zeros.",
    )


@CLAIMS.add(
    "C4",
    "Dropout makes networks more clusterable, above all pruned ones.",
    published="pruned with dropout z = −24.0, −24.7; unpruned −3.0, −10.7 (MNIST, Fashion-MNIST)",
    rule=(
        "Paired against networks without dropout, the interval of z lies below 0, unpruned and pruned. In "
        "part with one."
    ),
    paper=FILAN,
)
def _c4(of: Evidence) -> Finding:
    plain, pruned = (_difference(of, ("dropout", state), ("plain", state), "z") for state in ("trained", "pruned"))
    if min(plain.n, pruned.n) < LEAST:
        return untestable(NOT_ENOUGH)
    z = [_z(of, "dropout", state).mean() for state in ("trained", "pruned")]
    return Finding(
        all_of(pruned.high < 0, plain.high < 0),
        f"mean z with dropout {z[0]:.1f}, pruned {z[1]:.1f}",
        f"against plain: {plain.mean:.1f} {plain.text('.1f')}; pruned {pruned.mean:.1f} {pruned.text('.1f')}",
        "Paired by seed.",
    )


@CLAIMS.add(
    "C5",
    "Under an L1 penalty the comparison with shuffles loses its meaning: they are easier to cut.",
    published="z = +11 to +24; n-cut 8.4–10.1, shuffles 2.7–7.2",
    rule="z above 0 in every network, trained and pruned. In part with one of the two.",
    paper=FILAN,
)
def _c5(of: Evidence) -> Finding:
    found = {state: of.cuts("l1", state) for state in ("trained", "pruned")}
    if min(map(len, found.values())) < LEAST:
        return untestable("Networks with an L1 penalty are not part of this scale, or fewer than three are recorded.")
    above = {state: all(cut.of().z > 0 for cut in cuts) for state, cuts in found.items()}
    words = []
    for state, cuts in found.items():
        own, null, pieces = (
            np.mean([number(cut) for cut in cuts])
            for number in (
                lambda cut: cut.of().ncut,
                lambda cut: cut.of().null.mean(),
                lambda cut: cut.values["weights"]["pieces"].mean(),
            )
        )
        words.append(f"{state}: n-cut {own:.2f}, shuffles {null:.2f} in {pieces:.1f} pieces")
    z = {state: [cut.of().z for cut in cuts] for state, cuts in found.items()}
    kept = np.mean([cut.of("pattern kept").z for cut in found["pruned"] if "pattern kept" in cut.values])
    return Finding(
        all_of(*above.values()),
        "; ".join(f"{state} mean z {np.mean(one):+.1f}" for state, one in z.items()),
        "; ".join(f"{state} {min(one):+.1f} to {max(one):+.1f}, n = {len(one)}" for state, one in z.items()),
        f"{'; '.join(words)}. Shuffles of the pruned networks that keep the pattern of zeros give a mean z "
        f"of {kept:+.1f}.",
    )


@CLAIMS.add(
    "C6",
    "Small CNNs are not more clusterable than their shuffles.",
    published="z = +0.8 (MNIST), −1.5 (Fashion-MNIST); pruned +11, +8",
    rule="Fewer than half of the networks have p ≤ 0.05, trained and pruned. In part with one of the two.",
    paper=FILAN,
)
def _c6(of: Evidence) -> Finding:
    found = {state: of.cuts("cnn", state) for state in ("trained", "pruned")}
    if min(map(len, found.values())) < LEAST:
        return untestable("Convolutional networks are not part of this scale, or fewer than three are recorded.")
    below = {state: sum(cut.of().p <= LEVEL for cut in cuts) for state, cuts in found.items()}
    z = {state: [cut.of().z for cut in cuts] for state, cuts in found.items()}
    norms = [cut.of(norm).z for cut in found["trained"] for norm in ("euclidean", "column_sum", "spectral")]
    return Finding(
        all_of(*(2 * below[state] < len(cuts) for state, cuts in found.items())),
        "; ".join(f"{state} mean z {np.mean(one):+.1f}" for state, one in z.items()),
        "; ".join(f"{state} {min(one):+.1f} to {max(one):+.1f}, n = {len(one)}" for state, one in z.items()),
        f"Below the shuffles (p ≤ 0.05): {', '.join(f'{state} {n}' for state, n in below.items())}. With "
        "other norms of "
        f"the kernels z goes from {min(norms):+.1f} to {max(norms):+.1f} (trained).",
    )


@CLAIMS.add(
    "C7",
    "A clusterable initialisation survives training.",
    published="n-cut 8.72, z = −43.8; pruned 5.75, z = −92 (MNIST); at the start 6.80",
    rule=(
        "Each network has lower n-cut and z than the plain one of its seed, and lies below all shuffles, trained and "
        "pruned. In part with one of the two."
    ),
    paper=FILAN,
)
def _c7(of: Evidence) -> Finding:
    found = {state: of.cuts("planted", state) for state in ("trained", "pruned")}
    if min(map(len, found.values())) < LEAST:
        return untestable(NOT_ENOUGH)
    stays = []
    for state, cuts in found.items():
        if len(evidence.paired(cuts, of.cuts("plain", state), lambda cut: cut.of().ncut)) < LEAST:
            return untestable(NOT_ENOUGH)
        lower = evidence.paired(cuts, of.cuts("plain", state), lambda cut: cut.of().ncut)
        deeper = evidence.paired(cuts, of.cuts("plain", state), lambda cut: cut.of().z)
        lowest = all(_is_lowest(cut) for cut in cuts)
        stays.append(bool((lower < 0).all() and (deeper < 0).all() and lowest))
    means = {
        state: tuple(np.mean([getattr(cut.of(), number) for cut in cuts]) for number in ("ncut", "z"))
        for state, cuts in ({"untrained": of.cuts("planted", "untrained")} | found).items()
        if cuts
    }
    return Finding(
        all_of(*stays),
        "; ".join(f"{state} n-cut {ncut:.2f}, z {z:.0f}" for state, (ncut, z) in means.items()),
        f"means, n = {len(found['trained'])}",
        "Each network is compared with the plain one of its seed.",
    )


@CLAIMS.add(
    "C8",
    "A task of two independent half-images gives more clusterable networks than one of redundant halves.",
    published="z = −7.2 and −2.6, pruned −22.5 and −3.0 (MNIST); −18.9 and −4.4, −14.6 and −9.5 (Fashion-MNIST)",
    rule="z is lower with independent halves for every seed, trained and pruned. In part with one of the two.",
    paper=FILAN,
)
def _c8(of: Evidence) -> Finding:
    parts, words = [], []
    for state in ("trained", "pruned"):
        difference = evidence.paired(of.cuts("independent", state), of.cuts("redundant", state), lambda cut: cut.of().z)
        if difference.size < LEAST:
            return untestable(NOT_ENOUGH)
        parts.append(bool((difference < 0).all()))
        z = [_z(of, kind, state).mean() for kind in ("independent", "redundant")]
        words.append(f"{state} {z[0]:.1f} and {z[1]:.1f}")
    return Finding(
        all_of(*parts),
        f"mean z, independent and redundant: {'; '.join(words)}",
        f"n = {len(of.cuts('independent', 'trained'))} seeds, paired",
        f"Accuracy on independent halves {_mean_accuracy(of, 'independent')}, on redundant "
        f"{_mean_accuracy(of, 'redundant')}.",
    )


def _mean_accuracy(of: Evidence, kind: str) -> str:
    found = of.accuracies(kind, "trained")
    return f"{found.mean():.1%}" if found.size else "not recorded"


@CLAIMS.add(
    "C9",
    "A differentiable penalty on clusterability lowers the n-cut at little cost.",
    published="n-cut 10.02 → 8.93, accuracy 0.957 → 0.959; z −0.5 → +2.7 (3 × 64 units on 7×7 MNIST)",
    rule=(
        "Paired over seeds, the interval of the n-cut lies below 0, and that of accuracy above −1 point. "
        "In part with a "
        "lower mean n-cut and one of the two."
    ),
    paper=FILAN,
)
def _c9(of: Evidence) -> Finding:
    without, with_it = of.penalised(0.0), of.penalised(0.1)
    if min(len(without), len(with_it)) < LEAST:
        return untestable("Networks with this penalty are trained on MNIST only.")
    cut = statistics.mean_interval(evidence.paired(with_it, without, lambda one: one.values["weights"]["ncut"]))
    cost = statistics.mean_interval(evidence.paired(with_it, without, lambda one: 100 * one.values["accuracy"]))
    if cut.n < LEAST:
        return untestable(NOT_ENOUGH)

    def z(networks: list[Tested]) -> float:
        return float(
            np.mean([_clusterability(one).z for one in networks]),
        )

    return Finding(
        all_of(cut.high < 0, cost.low > -1) if cut.mean < 0 else "does not hold",
        f"n-cut {cut.mean:+.2f}, accuracy {cost.mean:+.2f} points",
        f"n-cut {cut.text('.2f')}; accuracy {cost.text('.2f')}",
        f"Against shuffles z goes from {z(without):+.1f} to {z(with_it):+.1f}.",
    )


def _clusterability(one: Tested) -> evidence.Clusterability:
    return evidence.Cut(one.seed, one.values).of()


@CLAIMS.add(
    "C10",
    "Graphs of activations are far more clusterable than their shuffles, and their partition is another one.",
    published="n-cut 8.92, z ≈ −234; NMI with the weight partition 0.04, pruned 0.07 (MNIST)",
    rule=(
        "Every network, trained and pruned, with z ≤ −20 and below all shuffles; mean NMI below 0.2 in every group. In "
        "part with one of the two."
    ),
    paper=FILAN,
)
def _c10(of: Evidence) -> Finding:
    groups = {group: cuts for group in GROUPS if len(cuts := of.cuts(*group)) >= LEAST}
    if len(groups) < len(GROUPS):
        return untestable(NOT_ENOUGH)
    z = [cut.of("activations").z for cuts in groups.values() for cut in cuts]
    below = [cut.of("activations").ncut < cut.of("activations").null.min() for cuts in groups.values() for cut in cuts]
    nmi = {NAMES[group]: float(np.mean([cut.values["nmi"] for cut in cuts])) for group, cuts in groups.items()}
    plain = [cut.of("activations").ncut for cut in of.cuts("plain", "trained")]
    return Finding(
        all_of(all(below) and max(z) <= -20, max(nmi.values()) < 0.2),
        f"n-cut {np.mean(plain):.2f} (plain), z {np.mean(z):.0f}; NMI of the two partitions "
        f"{np.mean(list(nmi.values())):.2f}",
        f"z {min(z):.0f} to {max(z):.0f}, n = {len(z)} networks",
        f"NMI by group: {_listed(nmi, lambda number: f'{number:.2f}')}.",
    )


# --- importance and coherence -----------------------------------------------------------------------------------------


def _excess(networks: Sequence[Tested], which: str) -> Interval:
    """Extra drop of accuracy over random sets, in percentage points, over networks."""
    return statistics.mean_interval([100 * network.excess(which, "importance") for network in networks])


@CLAIMS.add(
    "M1",
    "Partitions by weights alone contain groups of units that are more important than random ones.",
    published="Fisher p 3e-9 to 4e-7 (MNIST), 2e-7 to 9e-5 (Fashion-MNIST), pruned, k = 12; accuracy ratio 1.02–1.20",
    rule=(
        "Plain networks, trained and pruned: combined p ≤ 0.05 and the interval of the extra drop above 0, in both. In "
        "part if one is significant."
    ),
)
def _m1(of: Evidence) -> Finding:
    groups = _groups(of)
    plain = {group: groups[group] for group in (GROUPS[0], GROUPS[2]) if group in groups}
    if len(plain) < 2:
        return untestable(NOT_ENOUGH)
    p = _combined(plain, GLOBAL, "importance")
    extra = {NAMES[group]: _excess(found, GLOBAL) for group, found in plain.items()}
    fisher = {NAMES[group]: [one.fisher(GLOBAL, "importance") for one in found] for group, found in plain.items()}
    whole = [one.permutation(GLOBAL, "importance") for found in plain.values() for one in found]
    significant = all(number <= LEVEL for number in p.values())
    larger = all(found.low > 0 for found in extra.values())
    return Finding(
        "holds"
        if significant and larger
        else "holds in part"
        if any(n <= LEVEL for n in p.values())
        else "does not hold",
        "; ".join(f"{name}: Fisher p {_range(numbers)}" for name, numbers in fisher.items()),
        "; ".join(f"{name}: extra drop {found.mean:.2f} points {found.text('.2f')}" for name, found in extra.items()),
        f"Combined p: {_listed(p)}. Whole partitions among permuted ones: p ≤ 0.05 for "
        f"{sum(n <= LEVEL for n in whole)} of "
        f"{len(whole)} networks.",
    )


@CLAIMS.add(
    "M2",
    "In small CNNs importance is there, but practically nil.",
    published="Fisher p 4e-4 to 0.04; accuracy ratio 1.0002–1.001",
    rule="Combined p ≤ 0.05 and the interval of the extra drop below 1 point. In part if only its mean is below.",
)
def _m2(of: Evidence) -> Finding:
    found = of.filters()
    if len(found) < LEAST:
        return untestable("Convolutional networks are not part of this scale, or fewer than three are recorded.")
    p, extra = evidence.combined(found, GLOBAL, "importance"), _excess(found, GLOBAL)
    fisher = [one.fisher(GLOBAL, "importance") for one in found]
    nil = extra.high < 1
    return Finding(
        "holds" if p <= LEVEL and nil else "holds in part" if p <= LEVEL and extra.mean < 1 else "does not hold",
        f"Fisher p {_range(fisher)}; extra drop {extra.mean:.2f} points",
        extra.text(".2f"),
        f"Combined p {_p(p)}.",
    )


@CLAIMS.add(
    "M3",
    "Class-wise coherence, as published, is not significant in small networks.",
    published="normalised class range: Fisher p 0.51–0.98 (MNIST), 0.15–0.86 (Fashion-MNIST)",
    rule="Combined p > 0.05 in all four groups. In part in three.",
)
def _m3(of: Evidence) -> Finding:
    groups = _groups(of)
    if len(groups) < len(GROUPS):
        return untestable(NOT_ENOUGH)
    p = _combined(groups, GLOBAL, "normalised range")
    others = {name: _combined(groups, GLOBAL, name) for name in ("spread", "matched spread")}
    count = sum(number <= LEVEL for number in p.values())
    fisher = [one.fisher(GLOBAL, "normalised range") for found in groups.values() for one in found]
    true = [one.fisher("planted", "normalised range") for one in of.blocks()]
    seen = f" Where the modules are true ones (M10) its p is {_range(true)}." if true else ""
    return Finding(
        "holds" if count == 0 else "holds in part" if count == 1 else "does not hold",
        f"{count} of {len(p)} groups significant; Fisher p {_range(fisher)}",
        f"combined p: {_listed(p)}",
        f"The spread that is not normalised: {_listed(others['spread'])}; beyond what importance explains: "
        f"{_listed(others['matched spread'])}.{seen}",
    )


@CLAIMS.add(
    "M4",
    "Coherence by feature visualisation is weak in small networks.",
    published="score: Fisher p 0.34–0.82, with dropout 0.50–0.85; entropy 0.02–0.78",
    rule="Combined p of the score > 0.05 in all four groups. In part if significant with every mean effect below 1.1.",
)
def _m4(of: Evidence) -> Finding:
    groups = _groups(of)
    if len(groups) < len(GROUPS):
        return untestable(NOT_ENOUGH)
    p = _combined(groups, GLOBAL, "score")
    effect = {
        NAMES[group]: statistics.mean_interval([one.effect(GLOBAL, "score") for one in found]).mean
        for group, found in groups.items()
    }
    entropy = _combined(groups, GLOBAL, "entropy")
    significant = any(number <= LEVEL for number in p.values())
    weak = max(effect.values()) < 1.1
    return Finding(
        "holds" if not significant else "holds in part" if weak else "does not hold",
        f"score: combined p {_listed(p)}",
        f"effect {_listed(effect, lambda number: f'{number:.3f}')}",
        f"Entropy of the prediction: {_listed(entropy)}.",
    )


@CLAIMS.add(
    "M5",
    "Partitions by correlations of activations give important and coherent groups too.",
    published="numbers unknown (abstract)",
    rule=(
        "Importance: p ≤ 0.05 in three of four groups and not in untrained networks. Score: p ≤ 0.05 and "
        "an effect beyond "
        "that of untrained networks in three of four groups. In part with one of the two."
    ),
)
def _m5(of: Evidence) -> Finding:
    groups, fresh = _groups(of), of.tested(*UNTRAINED)
    if len(groups) < len(GROUPS) or len(fresh) < LEAST:
        return untestable(NOT_ENOUGH)
    which = "activations/global"
    importance, score = (_combined(groups, which, name) for name in ("importance", "score"))
    control = evidence.combined(fresh, which, "importance")
    beyond = {
        NAMES[group]: statistics.mean_interval(evidence.paired(found, fresh, lambda one: one.effect(which, "score")))
        for group, found in groups.items()
    }
    if min(one.n for one in beyond.values()) < LEAST:
        return untestable(NOT_ENOUGH)
    coherent = sum(score[name] <= LEVEL and one.low > 0 for name, one in beyond.items()) >= 3
    return Finding(
        all_of(_most(importance) and control > LEVEL, coherent),
        f"importance {_listed(importance)}; score {_listed(score)}",
        "score effect beyond untrained: "
        + ", ".join(f"{name} {one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for name, one in beyond.items()),
        f"Untrained networks: importance {_p(control)}, score {_p(evidence.combined(fresh, which, 'score'))}.",
    )


@CLAIMS.add(
    "M6",
    "Weights alone suffice: no data need to run through the network.",
    published="abstract; for feature visualisation, critical p 0.0246 after correction (stored output)",
    rule=(
        "Partitions by weights: importance and score significant after Benjamini–Hochberg correction over "
        "all tests, each "
        "in three of four groups. In part with one of the two."
    ),
)
def _m6(of: Evidence) -> Finding:
    groups = _groups(of)
    if len(groups) < len(GROUPS):
        return untestable(NOT_ENOUGH)
    tests = {
        (statistic, which, name): p
        for statistic in PUBLISHED
        for which in cells.PARTITIONS
        for name, p in _combined(groups, which, statistic).items()
        if np.isfinite(p)
    }
    critical = statistics.benjamini_hochberg(list(tests.values()), LEVEL)
    passed = {
        statistic: sum(p <= critical for (s, w, _), p in tests.items() if (s, w) == (statistic, GLOBAL))
        for statistic in ("importance", "score")
    }
    pairs = statistics.mean_interval(
        [
            one.effect(GLOBAL, "score") - one.effect("activations/global", "score")
            for found in groups.values()
            for one in found
        ]
    )
    drops = statistics.mean_interval(
        [
            100 * (one.excess(GLOBAL, "importance") - one.excess("activations/global", "importance"))
            for found in groups.values()
            for one in found
        ]
    )
    return Finding(
        all_of(passed["importance"] >= 3, passed["score"] >= 3),
        f"significant after correction: importance {passed['importance']} of 4 groups, score {passed['score']} of 4",
        f"critical p {_p(critical) if critical else 'none'} over {len(tests)} tests",
        f"Weights minus activations, paired: extra drop {drops.mean:+.2f} points [{drops.low:+.2f}, "
        f"{drops.high:+.2f}], score "
        f"effect {pairs.mean:+.3f} [{pairs.low:+.3f}, {pairs.high:+.3f}].",
    )


@CLAIMS.add(
    "M7",
    "Partitions of the whole network and of single layers both work.",
    published="direction unknown",
    rule=(
        "Importance p ≤ 0.05 in three of four groups, global and local, by weights and by activations. In part by one."
    ),
)
def _m7(of: Evidence) -> Finding:
    groups = _groups(of)
    if len(groups) < len(GROUPS):
        return untestable(NOT_ENOUGH)
    p = {which: _combined(groups, which, "importance") for which in cells.PARTITIONS}
    works = {which: _most(found) for which, found in p.items()}
    sources = [
        all(works[f"{source}/{reach}"] for reach in ("global", "local")) for source in ("weights", "activations")
    ]
    count = {
        which: np.mean([len(one.values[which]["size"]) for found in groups.values() for one in found])
        for which in cells.PARTITIONS
    }
    return Finding(
        all_of(*sources),
        "importance significant in "
        + ", ".join(f"{which} {sum(n <= LEVEL for n in found.values())}/4" for which, found in p.items()),
        "sub-clusters of a network: " + ", ".join(f"{which} {number:.0f}" for which, number in count.items()),
        "; ".join(f"{which}: {_listed(found)}" for which, found in p.items()) + ".",
    )


@CLAIMS.add(
    "M8",
    "The number of clusters hardly matters.",
    published="shown for VGG with k = 8, 12, 16",
    rule="With k = 8, 12, 16 and 24 importance has p ≤ 0.05 in three of four networks. In part with two of the k.",
)
def _m8(of: Evidence) -> Finding:
    found: dict[int, dict[str, float]] = {}
    for k in sorted((*cells.SWEPT, cells.K_PROXY)):
        first = {NAMES[group]: [one for one in of.tested(*group, k=k) if one.seed == 0] for group in GROUPS}
        if not all(first.values()):
            return untestable("Other numbers of clusters are not part of this scale, or not recorded yet.")
        found[k] = {name: one[0].fisher(GLOBAL, "importance") for name, one in first.items()}
    robust = [_most(p) for p in found.values()]
    return Finding(
        "holds" if all(robust) else "holds in part" if sum(robust) >= 2 else "does not hold",
        "; ".join(f"k = {k}: {sum(n <= LEVEL for n in p.values())} of 4 networks" for k, p in found.items()),
        "one network of each group",
        "; ".join(f"k = {k}: {_listed(p)}" for k, p in found.items()) + ".",
    )


@CLAIMS.add(
    "M9",
    "Control of ours: random partitions give uniform p-values, and untrained networks no importance.",
    published="no such control known",
    rule=(
        "P-values of random partitions pass a test for uniformity (p > 0.05/4) for all four statistics; untrained "
        "networks have importance p > 0.05/4 for all four partitions. In part with one of the two."
    ),
)
def _m9(of: Evidence) -> Finding:
    fresh = of.tested(*UNTRAINED)
    networks = [one for group in (UNTRAINED, *GROUPS) for one in of.tested(*group)]
    if len(fresh) < LEAST or len(networks) < 2 * LEAST:
        return untestable(NOT_ENOUGH)
    tested = {which: evidence.combined(fresh, which, "importance") for which in cells.PARTITIONS}
    uniform = {name: float(stats.kstest(_control(networks, name, "mid"), "uniform").pvalue) for name in PUBLISHED}
    tied = "entropy, single precision"
    ignored = _control(networks, tied, "ignored")
    return Finding(
        all_of(min(uniform.values()) > LEVEL / len(uniform), min(tested.values()) > LEVEL / len(tested)),
        f"random partitions against uniform: {_listed(uniform)}",
        f"{_control(networks, 'importance', 'mid').size} random partitions (KS test)",
        f"Untrained networks, importance: {_listed(tested)}. With the published rule for ties and single precision, "
        f"{(ignored <= LEVEL).mean():.0%} of random partitions get an entropy p ≤ 0.05.",
    )


def _control(networks: Sequence[Tested], statistic: str, ties: str) -> np.ndarray:
    """Fisher's p-values of random partitions."""
    p = [one.fisher(which, statistic, ties=ties, control=True) for one in networks for which in cells.PARTITIONS]
    return np.array([one for one in p if np.isfinite(one)])


@CLAIMS.add(
    "M10",
    "Control of ours: true modules are detected.",
    published="no such control known",
    rule=(
        "In networks of ten separate modules, one a class: importance, and both published measures of coherence "
        "(normalised class range, score), with p ≤ 0.05 in every network. In part with importance or one of these."
    ),
)
def _m10(of: Evidence) -> Finding:
    networks = of.blocks()
    if len(networks) < LEAST:
        return untestable(NOT_ENOUGH)
    names = ("importance", "normalised range", "score", "spread")
    p = {name: [one.fisher("planted", name) for one in networks] for name in names}
    seen = {name: all(number <= LEVEL for number in numbers) for name, numbers in p.items()}
    own = [one.fisher(GLOBAL, "importance") for one in networks]
    weaker = of.tested("planted", "trained")
    words = (
        " Of the clusterable initialisation (C7) after training: "
        f"{_range([one.fisher('planted', 'importance') for one in weaker])}."
        if weaker
        else ""
    )
    coherent = seen["normalised range"] + seen["score"]
    return Finding(
        "holds"
        if seen["importance"] and coherent == 2
        else "holds in part"
        if seen["importance"] or coherent
        else "does not hold",
        "; ".join(f"{name} {_range(numbers)}" for name, numbers in p.items()),
        f"Fisher p, n = {len(networks)} networks",
        f"Importance of the partition that clustering finds: {_range(own)}.{words}",
    )
