"""Claims C1–C10 and M1–M10 about partitions of network graphs: what they say, the rule for each, and the verdicts.

The body of Hod et al. (2021) could not be read here. M1–M8 test its abstract, and C1–C10 the predecessor, Filan et al.
(2021); published numbers are from the authors' stored result tables of 2021, which is an earlier generation of the
study. M9 and M10 are controls of ours.

A *group* is one way to train, with five seeds: plain, dropout, plain pruned, dropout pruned. P-values of a network's
sub-clusters are mid-p-values, combined by Fisher; those of a group's networks are combined by their mean (Bates). A p
above 0.05 leaves a condition open: it does not show that there is nothing. The rules were committed before the record
was made, by authors who knew a pilot of single networks; which of them were changed after it, and why, is in
``book/rule_changes.csv``. A function ``…_conditions`` takes numbers, and is what trials run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from companion import claims
from companion.claims import Finding, State, above, at_least, below, bounded, every, finding, untestable
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


def paired(of: Evidence, first: tuple[str, str], second: tuple[str, str], number: str) -> np.ndarray:
    """Paired difference over seeds, first minus second, of ``z``, ``ncut``, or the ``gap`` to the mean shuffle."""

    def of_cut(cut: evidence.Cut) -> float:
        found = cut.of()
        return float(found.ncut - found.null.mean() if number == "gap" else getattr(found, number))

    return evidence.paired(of.cuts(*first), of.cuts(*second), of_cut)


def _difference(of: Evidence, first: tuple[str, str], second: tuple[str, str], number: str) -> Interval:
    return statistics.mean_interval(paired(of, first, second, number))


def _groups(of: Evidence) -> dict[tuple[str, str], list[Tested]]:
    return {group: found for group in GROUPS if len(found := of.tested(*group)) >= LEAST}


def _combined(groups: Mapping[tuple[str, str], list[Tested]], which: str, statistic: str) -> dict[str, float]:
    """For each group its combined p-value."""
    return {NAMES[group]: evidence.combined(found, which, statistic) for group, found in groups.items()}


def _listed(numbers: Mapping[str, float], form: Callable[[float], str] = _p) -> str:
    return ", ".join(f"{name} {form(number)}" for name, number in numbers.items())


def significant(p: float, effect: Interval, nothing: float = 0.0, level: float = LEVEL) -> State:
    """Whether there is an effect on the right side; a p-value above the level leaves that open."""
    return every(p <= level or None, above(effect, nothing))


def group_state(
    p_values: Sequence[float], effects: Sequence[float], nothing: float = 0.0, level: float = LEVEL
) -> State:
    """The same by one p-value and one effect for each network."""
    return significant(
        statistics.bates(np.maximum(p_values, 1e-300)), statistics.mean_interval(effects), nothing, level
    )


def most(states: Iterable[State]) -> State:
    """Whether three of the four groups are."""
    return at_least(3, states)


# --- clusterability ---------------------------------------------------------------------------------------------------


@CLAIMS.add(
    "C1",
    "Training lowers the n-cut of an MLP below that of its random initialisation.",
    published="10.30 ± 0.03 at random, 10.02 (MNIST) and 9.89 (Fashion-MNIST) trained",
    rule="Paired over seeds, the interval of the difference lies below 0.",
    paper=FILAN,
)
def _c1(of: Evidence) -> Finding:
    change = _difference(of, ("plain", "trained"), ("plain", "untrained"), "ncut")
    if change.n < LEAST:
        return untestable(NOT_ENOUGH)
    before, after = (np.mean([cut.of().ncut for cut in of.cuts("plain", state)]) for state in ("untrained", "trained"))
    return finding(
        {"lower": below(change, 0)},
        f"n-cut {before:.2f} before, {after:.2f} after training",
        f"difference {change.mean:.2f} {change.text('.2f')}",
        "Same seeds before and after training, paired.",
    )


@CLAIMS.add(
    "C2",
    "Trained MLPs are more clusterable than their own weights shuffled.",
    published="z = −4.5 (MNIST), −5.4 (Fashion-MNIST); all 10 networks below all 50 shuffles",
    rule="Interval of z below 0, and all networks but one below all shuffles.",
    paper=FILAN,
)
def _c2(of: Evidence) -> Finding:
    z = _z(of, "plain", "trained")
    if z.size < LEAST:
        return untestable(NOT_ENOUGH)
    lowest = _below_shuffles(of, "plain", "trained")
    unit = _z(of, "plain", "trained", "unit norm")
    shuffles = cells.EFFORTS[of.dataset].shuffles
    return finding(
        {"z below 0": below(statistics.mean_interval(z), 0), "below all shuffles": lowest >= len(z) - 1},
        f"mean z {z.mean():.1f}; {lowest} of {len(z)} networks below all {shuffles} shuffles",
        f"z {z.min():.1f} to {z.max():.1f}, n = {len(z)}",
        "With the incoming weights of every unit scaled to one length, which does not change what the network does, "
        f"mean z is {unit.mean():.1f}.",
    )


@CLAIMS.add(
    "C3",
    "Pruned networks have a lower n-cut and stand further below their shuffles.",
    published="n-cut 8.88, z = −9.7 (MNIST); 8.69, −10.4 (Fashion-MNIST)",
    rule=(
        "Paired against unpruned, the interval of the n-cut lies below 0, and so does that of z; all networks but one "
        "are below all shuffles."
    ),
    paper=FILAN,
)
def _c3(of: Evidence) -> Finding:
    change = {number: paired(of, ("plain", "pruned"), ("plain", "trained"), number) for number in ("ncut", "z", "gap")}
    cut, deeper, gap = (statistics.mean_interval(found) for found in change.values())
    if cut.n < LEAST:
        return untestable(NOT_ENOUGH)
    lowest = _below_shuffles(of, "plain", "pruned")
    z, kept = _z(of, "plain", "pruned"), _z(of, "plain", "pruned", "pattern kept")
    level = np.mean([one.of().ncut for one in of.cuts("plain", "pruned")])
    return finding(
        c3_conditions(change["ncut"], change["z"], lowest),
        f"n-cut {level:.2f}, mean z {z.mean():.1f}; {lowest} of {len(z)} below all shuffles",
        f"against unpruned: n-cut {cut.mean:.2f} {cut.text('.2f')}; z {deeper.mean:.1f} {deeper.text('.1f')}",
        f"{_beside(gap)}. Shuffles that keep who is joined to whom leave a mean z of {kept.mean():.1f}: the rest of "
        "the distance is the pattern of zeros.",
        part=2,
    )


def _beside(gap: Interval) -> str:
    """The difference by the other yardstick, as a sentence: z, which the authors use, is divided by the spread."""
    return (
        f"The distance to the mean shuffle, not in units of their spread, changes by {gap.mean:.2f} {gap.text('.2f')}"
    )


def c3_conditions(ncut: np.ndarray, z: np.ndarray, lowest: int) -> dict[str, State]:
    """By paired differences of n-cut and z, and how many networks are below all shuffles."""
    return {
        "lower n-cut": below(statistics.mean_interval(ncut), 0),
        "lower z": below(statistics.mean_interval(z), 0),
        "below all shuffles": lowest >= len(z) - 1,
    }


@CLAIMS.add(
    "C4",
    "Dropout makes networks more clusterable, above all pruned ones.",
    published="pruned with dropout z = −24.0, −24.7; unpruned −3.0, −10.7 (MNIST, Fashion-MNIST)",
    rule="Paired against networks without dropout, the interval of z lies below 0, unpruned and pruned.",
    paper=FILAN,
)
def _c4(of: Evidence) -> Finding:
    plain, pruned = (_difference(of, ("dropout", state), ("plain", state), "z") for state in ("trained", "pruned"))
    if min(plain.n, pruned.n) < LEAST:
        return untestable(NOT_ENOUGH)
    z = [_z(of, "dropout", state).mean() for state in ("trained", "pruned")]
    gaps = {state: _difference(of, ("dropout", state), ("plain", state), "gap") for state in ("trained", "pruned")}
    return finding(
        {"pruned": below(pruned, 0), "unpruned": below(plain, 0)},
        f"mean z with dropout {z[0]:.1f}, pruned {z[1]:.1f}",
        f"against plain: {plain.mean:.1f} {plain.text('.1f')}; pruned {pruned.mean:.1f} {pruned.text('.1f')}",
        f"Paired by seed. Unpruned: {_beside(gaps['trained'])}. Pruned: {_beside(gaps['pruned'])}.",
    )


@CLAIMS.add(
    "C5",
    "Under an L1 penalty the comparison with shuffles loses its meaning: they are easier to cut.",
    published="z = +11 to +24; n-cut 8.4–10.1, shuffles 2.7–7.2",
    rule="Interval of z above 0, trained and pruned.",
    paper=FILAN,
)
def _c5(of: Evidence) -> Finding:
    found = {state: of.cuts("l1", state) for state in ("trained", "pruned")}
    if min(map(len, found.values())) < LEAST:
        return untestable("Networks with an L1 penalty are not part of this scale, or fewer than three are recorded.")
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
    return finding(
        c5_conditions({state: np.array(one) for state, one in z.items()}),
        "; ".join(f"{state} mean z {np.mean(one):+.1f}" for state, one in z.items()),
        "; ".join(f"{state} {min(one):+.1f} to {max(one):+.1f}, n = {len(one)}" for state, one in z.items()),
        f"{'; '.join(words)}. Shuffles of the pruned networks that keep the pattern of zeros give a mean z of "
        f"{kept:+.1f}.",
    )


def c5_conditions(z: Mapping[str, np.ndarray]) -> dict[str, State]:
    """By z of trained and of pruned networks."""
    return {state: above(statistics.mean_interval(own), 0) for state, own in z.items()}


@CLAIMS.add(
    "C6",
    "Small CNNs are not more clusterable than their shuffles.",
    published="z = +0.8 (MNIST), −1.5 (Fashion-MNIST); pruned +11, +8",
    rule="Interval of z above −2, trained and pruned: not further below the shuffles than these are from each other.",
    paper=FILAN,
)
def _c6(of: Evidence) -> Finding:
    found = {state: of.cuts("cnn", state) for state in ("trained", "pruned")}
    if min(map(len, found.values())) < LEAST:
        return untestable("Convolutional networks are not part of this scale, or fewer than three are recorded.")
    lower = {state: sum(cut.of().p <= LEVEL for cut in cuts) for state, cuts in found.items()}
    z = {state: [cut.of().z for cut in cuts] for state, cuts in found.items()}
    norms = [cut.of(norm).z for cut in found["trained"] for norm in ("euclidean", "column_sum", "spectral")]
    return finding(
        {state: above(statistics.mean_interval(own), -2) for state, own in z.items()},
        "; ".join(f"{state} mean z {np.mean(one):+.1f}" for state, one in z.items()),
        "; ".join(f"{state} {min(one):+.1f} to {max(one):+.1f}, n = {len(one)}" for state, one in z.items()),
        f"Below the shuffles (p ≤ 0.05): {', '.join(f'{state} {n}' for state, n in lower.items())}. With other norms "
        f"of the kernels z goes from {min(norms):+.1f} to {max(norms):+.1f} (trained).",
    )


@CLAIMS.add(
    "C7",
    "A clusterable initialisation survives training.",
    published="n-cut 8.72, z = −43.8; pruned 5.75, z = −92 (MNIST); at the start 6.80",
    rule=(
        "Each network has lower n-cut and z than the plain one of its seed, and lies below all shuffles, trained and "
        "pruned."
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
    return finding(
        dict(zip(found, stays, strict=True)),
        "; ".join(f"{state} n-cut {ncut:.2f}, z {z:.0f}" for state, (ncut, z) in means.items()),
        f"means, n = {len(found['trained'])}",
        "Each network is compared with the plain one of its seed.",
    )


@CLAIMS.add(
    "C8",
    "A task of two independent half-images gives more clusterable networks than one of redundant halves.",
    published="z = −7.2 and −2.6, pruned −22.5 and −3.0 (MNIST); −18.9 and −4.4, −14.6 and −9.5 (Fashion-MNIST)",
    rule="z is lower with independent halves for every seed, trained and pruned.",
    paper=FILAN,
)
def _c8(of: Evidence) -> Finding:
    parts: dict[str, State] = {}
    words = []
    for state in ("trained", "pruned"):
        difference = evidence.paired(of.cuts("independent", state), of.cuts("redundant", state), lambda cut: cut.of().z)
        if difference.size < LEAST:
            return untestable(NOT_ENOUGH)
        parts[state] = bool((difference < 0).all())
        z = [_z(of, kind, state).mean() for kind in ("independent", "redundant")]
        words.append(f"{state} {z[0]:.1f} and {z[1]:.1f}")
    return finding(
        parts,
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
    rule="Paired over seeds, the interval of the n-cut lies below 0, and that of accuracy above −1 point.",
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

    return finding(
        {"lower n-cut": below(cut, 0), "costs less than a point": above(cost, -1)},
        f"n-cut {cut.mean:+.2f}, accuracy {cost.mean:+.2f} points",
        f"n-cut {cut.text('.2f')}; accuracy {cost.text('.2f')}",
        f"Against shuffles z goes from {z(without):+.1f} to {z(with_it):+.1f}.",
        needed="lower n-cut",
    )


def _clusterability(one: Tested) -> evidence.Clusterability:
    return evidence.Cut(one.seed, one.values).of()


@CLAIMS.add(
    "C10",
    "Graphs of activations are far more clusterable than their shuffles, and their partition is another one.",
    published="n-cut 8.92, z ≈ −234; NMI with the weight partition 0.04, pruned 0.07 (MNIST)",
    rule=(
        "Every network, trained and pruned, with z ≤ −20 and below all shuffles; interval of the NMI below 0.2 in "
        "every group."
    ),
    paper=FILAN,
)
def _c10(of: Evidence) -> Finding:
    groups = {group: cuts for group in GROUPS if len(cuts := of.cuts(*group)) >= LEAST}
    if len(groups) < len(GROUPS):
        return untestable(NOT_ENOUGH)
    z = [cut.of("activations").z for cuts in groups.values() for cut in cuts]
    lowest = [cut.of("activations").ncut < cut.of("activations").null.min() for cuts in groups.values() for cut in cuts]
    shared = {NAMES[g]: statistics.mean_interval([cut.values["nmi"] for cut in cuts]) for g, cuts in groups.items()}
    nmi = {name: found.mean for name, found in shared.items()}
    plain = [cut.of("activations").ncut for cut in of.cuts("plain", "trained")]
    return finding(
        {
            "far below shuffles": all(lowest) and max(z) <= -20,
            "another partition": every(*(below(found, 0.2) for found in shared.values())),
        },
        f"n-cut {np.mean(plain):.2f} (plain), z {np.mean(z):.0f}; NMI of the two partitions "
        f"{np.mean(list(nmi.values())):.2f}",
        f"z {min(z):.0f} to {max(z):.0f}, n = {len(z)} networks",
        f"NMI by group: {_listed(nmi, lambda number: f'{number:.2f}')}.",
    )


# --- importance and coherence -----------------------------------------------------------------------------------------


def _effect(networks: Sequence[Tested], which: str, statistic: str) -> Interval:
    """Effect 2t / (t + r) of a statistic, over networks."""
    return bounded(statistics.mean_interval([one.effect(which, statistic) for one in networks]), 0, 2)


def _intervals(found: Mapping[str, Interval]) -> str:
    return ", ".join(f"{name} {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]" for name, one in found.items())


def _excess(networks: Sequence[Tested], which: str) -> Interval:
    """Extra drop of accuracy over random sets, in percentage points, over networks."""
    return statistics.mean_interval([100 * network.excess(which, "importance") for network in networks])


@CLAIMS.add(
    "M1",
    "Partitions by weights alone contain groups of units that are more important than random ones.",
    published="Fisher p 3e-9 to 4e-7 (MNIST), 2e-7 to 9e-5 (Fashion-MNIST), pruned, k = 12; accuracy ratio 1.02–1.20",
    rule="Plain networks, trained and pruned: combined p ≤ 0.05 and the interval of the extra drop above 0.",
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
    return finding(
        {name.removeprefix("plain, "): significant(p[name], extra[name]) for name in p},
        "; ".join(f"{name}: Fisher p {_range(numbers)}" for name, numbers in fisher.items()),
        "; ".join(f"{name}: extra drop {found.mean:.2f} points {found.text('.2f')}" for name, found in extra.items()),
        f"Combined p: {_listed(p)}. Whole partitions among permuted ones: p ≤ 0.05 for "
        f"{sum(n <= LEVEL for n in whole)} of {len(whole)} networks.",
    )


@CLAIMS.add(
    "M2",
    "In small CNNs importance is there, but practically nil.",
    published="Fisher p 4e-4 to 0.04; accuracy ratio 1.0002–1.001",
    rule="Fisher p ≤ 0.05 in two of three networks; and the interval of the extra drop below 1 point.",
)
def _m2(of: Evidence) -> Finding:
    found = of.filters()
    if len(found) < LEAST:
        return untestable("Convolutional networks are not part of this scale, or fewer than three are recorded.")
    p, extra = evidence.combined(found, GLOBAL, "importance"), _excess(found, GLOBAL)
    fisher = [one.fisher(GLOBAL, "importance") for one in found]
    seen = sum(one <= LEVEL for one in fisher)
    return finding(
        {"importance is there": 3 * seen >= 2 * len(fisher) or None, "practically nil": below(extra, 1)},
        f"Fisher p {_range(fisher)}; extra drop {extra.mean:.2f} points",
        extra.text(".2f"),
        f"Significant alone: {seen} of {len(fisher)} networks. Combined p (Bates), for p-values that are small "
        f"together: {_p(p)}.",
    )


@CLAIMS.add(
    "M3",
    "Class-wise coherence, as published, is not significant in small networks.",
    published="normalised class range: Fisher p 0.51–0.98 (MNIST), 0.15–0.86 (Fashion-MNIST)",
    rule="None that could fail: the published statistic is not significant where modules are true ones, either.",
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
    return untestable(
        f"A large p shows no absence where a true module has one as well.{seen} The spread that is not normalised: "
        f"{_listed(others['spread'])}; beyond what importance explains: {_listed(others['matched spread'])}.",
        f"{count} of {len(p)} groups significant; Fisher p {_range(fisher)}",
        f"combined p: {_listed(p)}",
    )


@CLAIMS.add(
    "M4",
    "Coherence by feature visualisation is weak in small networks.",
    published="score: Fisher p 0.34–0.82, with dropout 0.50–0.85; entropy 0.02–0.78",
    rule="Effect of the score (1 is none): interval within ±0.1 of 1 in every group; and no group with p ≤ 0.05.",
)
def _m4(of: Evidence) -> Finding:
    groups = _groups(of)
    if len(groups) < len(GROUPS):
        return untestable(NOT_ENOUGH)
    p = _combined(groups, GLOBAL, "score")
    effect = {
        NAMES[group]: statistics.mean_interval([one.effect(GLOBAL, "score") for one in found])
        for group, found in groups.items()
    }
    entropy = _combined(groups, GLOBAL, "entropy")
    return finding(
        {
            "weak": every(*(every(above(one, 0.9), below(one, 1.1)) for one in effect.values())),
            "not significant": all(number > LEVEL for number in p.values()),
        },
        f"score: combined p {_listed(p)}",
        "effect " + ", ".join(f"{name} {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]" for name, one in effect.items()),
        f"Entropy of the prediction: {_listed(entropy)}.",
    )


@CLAIMS.add(
    "M5",
    "Partitions by correlations of activations give important and coherent groups too.",
    published="numbers unknown (abstract)",
    rule=(
        "Three of four groups, for each of the two. Importance: p ≤ 0.05 with an extra drop above 0, and not p ≤ 0.05 "
        "in untrained networks. Score: p ≤ 0.05 with an effect beyond that of untrained networks (intervals)."
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
    extra = {NAMES[group]: _excess(found, which) for group, found in groups.items()}
    return finding(
        {
            "important": every(most(significant(importance[name], extra[name]) for name in extra), control > LEVEL),
            "coherent": most(significant(score[name], beyond[name]) for name in beyond),
        },
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
        "Partitions by weights, three of four groups: importance significant after Benjamini–Hochberg correction over "
        "all tests with an extra drop above 0, and score with an effect above 1 (intervals)."
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
    p = {name: _combined(groups, GLOBAL, name) for name in ("importance", "score")}
    extra = {NAMES[group]: _excess(found, GLOBAL) for group, found in groups.items()}
    effect = {NAMES[group]: _effect(found, GLOBAL, "score") for group, found in groups.items()}
    states = {
        "importance": [significant(p["importance"][name], found, level=critical) for name, found in extra.items()],
        "score": [significant(p["score"][name], found, 1, level=critical) for name, found in effect.items()],
    }
    words = {name: f"{sum(state is True for state in own)} of 4 groups" for name, own in states.items()}
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
    return finding(
        {name: most(own) for name, own in states.items()},
        f"significant, with an effect on the right side: importance {words['importance']}, score {words['score']}",
        f"critical p {_p(critical) if critical else 'none'} over {len(tests)} tests",
        f"Effect of the score: {_intervals(effect)}. Weights minus activations, paired: extra drop {drops.mean:+.2f} "
        f"points [{drops.low:+.2f}, {drops.high:+.2f}], score effect {pairs.mean:+.3f} [{pairs.low:+.3f}, "
        f"{pairs.high:+.3f}].",
    )


@CLAIMS.add(
    "M7",
    "Partitions of the whole network and of single layers both work.",
    published="direction unknown",
    rule=(
        "Importance p ≤ 0.05 with an extra drop above 0 (interval) in three of four groups, for each of the four "
        "kinds of partition. In part with two of the four."
    ),
)
def _m7(of: Evidence) -> Finding:
    groups = _groups(of)
    if len(groups) < len(GROUPS):
        return untestable(NOT_ENOUGH)
    p = {which: _combined(groups, which, "importance") for which in cells.PARTITIONS}
    states = {
        which: [significant(p[which][NAMES[group]], _excess(networks, which)) for group, networks in groups.items()]
        for which in cells.PARTITIONS
    }
    count = {
        which: np.mean([len(one.values[which]["size"]) for found in groups.values() for one in found])
        for which in cells.PARTITIONS
    }
    return finding(
        {which: most(own) for which, own in states.items()},
        "importance significant with an extra drop in "
        + ", ".join(f"{which} {sum(state is True for state in own)}/4" for which, own in states.items()),
        "sub-clusters of a network: " + ", ".join(f"{which} {number:.0f}" for which, number in count.items()),
        "; ".join(f"{which}: {_listed(found)}" for which, found in p.items()) + ".",
        part=2,
    )


@CLAIMS.add(
    "M8",
    "The number of clusters hardly matters.",
    published="shown for VGG with k = 8, 12, 16",
    rule=(
        "With k = 8, 12, 16 and 24: importance p ≤ 0.05 with an extra drop above 0 in three of four networks, one of "
        "each group. In part with two of the k."
    ),
)
def _m8(of: Evidence) -> Finding:
    found: dict[int, dict[str, float]] = {}
    states: dict[int, list[State]] = {}
    for k in sorted((*cells.SWEPT, cells.K_PROXY)):
        first = {NAMES[group]: [one for one in of.tested(*group, k=k) if one.seed == 0] for group in GROUPS}
        if not all(first.values()):
            return untestable("Other numbers of clusters are not part of this scale, or not recorded yet.")
        found[k] = {name: one[0].fisher(GLOBAL, "importance") for name, one in first.items()}
        states[k] = [m8_network(found[k][name], one[0].excess(GLOBAL, "importance")) for name, one in first.items()]
    return finding(
        {f"k = {k}": most(own) for k, own in states.items()},
        "; ".join(f"k = {k}: {sum(state is True for state in own)} of 4 networks" for k, own in states.items()),
        "one network of each group",
        "; ".join(f"k = {k}: {_listed(p)}" for k, p in found.items()) + ".",
        part=2,
    )


def m8_network(p: float, extra_drop: float) -> State:
    """Whether a single network, of which there is no interval, has important sub-clusters."""
    return False if extra_drop <= 0 else p <= LEVEL or None


@CLAIMS.add(
    "M9",
    "Control of ours: random partitions give uniform p-values, and untrained networks no importance.",
    published="no such control known",
    rule=(
        "P-values of random partitions, four of each network, for all four statistics: interval over networks of "
        "their mean within 0.05 of 1/2, and of the share of p ≤ 0.05 below 0.1. Untrained networks: importance p > "
        "0.05/4 for all four partitions."
    ),
)
def _m9(of: Evidence) -> Finding:
    fresh = of.tested(*UNTRAINED)
    networks = [one for group in (UNTRAINED, *GROUPS) for one in of.tested(*group)]
    if len(fresh) < LEAST or len(networks) < 2 * LEAST:
        return untestable(NOT_ENOUGH)
    tested = {which: evidence.combined(fresh, which, "importance") for which in cells.PARTITIONS}
    random = {name: np.array([_controls(one, name, "mid") for one in networks]) for name in PUBLISHED}
    means = {name: statistics.mean_interval(p.mean(axis=1)) for name, p in random.items()}
    alarms = {name: bounded(statistics.mean_interval((p <= LEVEL).mean(axis=1)), 0) for name, p in random.items()}
    tied = "entropy, single precision"
    ignored = np.array([_controls(one, tied, "ignored") for one in networks])
    return finding(
        {
            "uniform on average": every(*(every(above(one, 0.45), below(one, 0.55)) for one in means.values())),
            "few false alarms": every(*(below(one, 0.1) for one in alarms.values())),
            "untrained networks without importance": min(tested.values()) > LEVEL / len(tested),
        },
        "mean p of random partitions: " + ", ".join(f"{name} {one.mean:.2f}" for name, one in means.items()),
        f"importance {means['importance'].text('.2f')}; {len(networks)} networks",
        "Share of random partitions with p ≤ 0.05: "
        f"{', '.join(f'{name} {one.mean:.0%}' for name, one in alarms.items())}. Untrained networks, importance: "
        f"{_listed(tested)}. With the published rule for ties and single precision, {(ignored <= LEVEL).mean():.0%} of "
        "random partitions get an entropy p ≤ 0.05.",
    )


def _controls(one: Tested, statistic: str, ties: str) -> list[float]:
    """Fisher's p-values of the random partitions of a network, one of each kind."""
    return [one.fisher(which, statistic, ties=ties, control=True) for which in cells.PARTITIONS]


@CLAIMS.add(
    "M10",
    "Control of ours: true modules are detected.",
    published="no such control known",
    rule=(
        "In networks of ten separate modules, one a class: importance, and both published measures of coherence "
        "(normalised class range, score), with p ≤ 0.05 in every network."
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
    return finding(
        {name: seen[name] for name in ("importance", "normalised range", "score")},
        "; ".join(f"{name} {_range(numbers)}" for name, numbers in p.items()),
        f"Fisher p, n = {len(networks)} networks",
        f"Importance of the partition that clustering finds: {_range(own)}.{words}",
    )
