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

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from companion import claims
from companion.claims import Finding, State, above, at_least, below, bounded, every, finding, untestable
from modutils import statistics
from modutils.statistics import Interval
from studies.detecting_modularity import cells, cut_claims, evidence
from studies.detecting_modularity.evidence import (
    GROUPS,
    LEAST,
    LEVEL,
    NAMES,
    NOT_ENOUGH,
    UNTRAINED,
    Evidence,
    Tested,
    listed,
    p_text,
    span,
)

HOD = "hod2021detecting"
GLOBAL = "weights/global"
#: The statistics of the two proxies that the paper publishes.
PUBLISHED = ("importance", "normalised range", "score", "entropy")
OWN = claims.Claims(HOD)


def _groups(of: Evidence) -> dict[tuple[str, str], list[Tested]]:
    return {group: found for group in GROUPS if len(found := of.tested(*group)) >= LEAST}


def _combined(groups: Mapping[tuple[str, str], list[Tested]], which: str, statistic: str) -> dict[str, float]:
    """For each group its combined p-value."""
    return {NAMES[group]: evidence.combined(found, which, statistic) for group, found in groups.items()}


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


# --- importance and coherence -----------------------------------------------------------------------------------------


def _effect(networks: Sequence[Tested], which: str, statistic: str) -> Interval:
    """Effect 2t / (t + r) of a statistic, over networks."""
    return bounded(statistics.mean_interval([one.effect(which, statistic) for one in networks]), 0, 2)


def _intervals(found: Mapping[str, Interval]) -> str:
    return ", ".join(f"{name} {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]" for name, one in found.items())


def _excess(networks: Sequence[Tested], which: str) -> Interval:
    """Extra drop of accuracy over random sets, in percentage points, over networks."""
    return statistics.mean_interval([100 * network.excess(which, "importance") for network in networks])


@OWN.add(
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
        "; ".join(f"{name}: Fisher p {span(numbers)}" for name, numbers in fisher.items()),
        "; ".join(f"{name}: extra drop {found.mean:.2f} points {found.text('.2f')}" for name, found in extra.items()),
        f"Combined p: {listed(p)}. Whole partitions among permuted ones: p ≤ 0.05 for "
        f"{sum(n <= LEVEL for n in whole)} of {len(whole)} networks.",
    )


@OWN.add(
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
        f"Fisher p {span(fisher)}; extra drop {extra.mean:.2f} points",
        extra.text(".2f"),
        f"Significant alone: {seen} of {len(fisher)} networks. Combined p (Bates), for p-values that are small "
        f"together: {p_text(p)}.",
    )


@OWN.add(
    "M3",
    "Class-wise coherence, as published, is not significant in small networks.",
    published="normalised class range: Fisher p 0.51–0.98 (MNIST), 0.15–0.86 (Fashion-MNIST)",
    rule="None that the record could fail: in trained networks of true modules the statistic is not significant, too.",
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
    seen = f" Where the modules are true ones (M10) its p is {span(true)}." if true else ""
    return untestable(
        f"A large p shows no absence where a true module has one as well.{seen} In made networks of such modules "
        "it can be small (trials): it depends on how a lesion hurts, not on modules alone. The spread that is not "
        "normalised: "
        f"{listed(others['spread'])}; beyond what importance explains: {listed(others['matched spread'])}.",
        f"{count} of {len(p)} groups significant; Fisher p {span(fisher)}",
        f"combined p: {listed(p)}",
    )


@OWN.add(
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
        f"score: combined p {listed(p)}",
        "effect " + ", ".join(f"{name} {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]" for name, one in effect.items()),
        f"Entropy of the prediction: {listed(entropy)}. Without optimisation, entropy of the classes of the ten test "
        f"images that drive a sub-cluster most: {listed(_combined(groups, GLOBAL, 'label entropy'))}.",
    )


@OWN.add(
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
        f"importance {listed(importance)}; score {listed(score)}",
        "score effect beyond untrained: "
        + ", ".join(f"{name} {one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for name, one in beyond.items()),
        f"Untrained networks: importance {p_text(control)}, score {p_text(evidence.combined(fresh, which, 'score'))}.",
    )


@OWN.add(
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
        f"critical p {p_text(critical) if critical else 'none'} over {len(tests)} tests",
        f"Effect of the score: {_intervals(effect)}. Weights minus activations, paired: extra drop {drops.mean:+.2f} "
        f"points [{drops.low:+.2f}, {drops.high:+.2f}], score effect {pairs.mean:+.3f} [{pairs.low:+.3f}, "
        f"{pairs.high:+.3f}].",
    )


@OWN.add(
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
        "; ".join(f"{which}: {listed(found)}" for which, found in p.items()) + ".",
        part=2,
    )


@OWN.add(
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
        "; ".join(f"k = {k}: {listed(p)}" for k, p in found.items()) + ".",
        part=2,
    )


def m8_network(p: float, extra_drop: float) -> State:
    """Whether a single network, of which there is no interval, has important sub-clusters."""
    return False if extra_drop <= 0 else p <= LEVEL or None


@OWN.add(
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
        f"{listed(tested)}. With the published rule for ties and single precision, {(ignored <= LEVEL).mean():.0%} of "
        "random partitions get an entropy p ≤ 0.05.",
    )


def _controls(one: Tested, statistic: str, ties: str) -> list[float]:
    """Fisher's p-values of the random partitions of a network, one of each kind."""
    return [one.fisher(which, statistic, ties=ties, control=True) for which in cells.PARTITIONS]


@OWN.add(
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
    names = ("importance", "normalised range", "score", "entropy", "spread", "label entropy")
    p = {name: [one.fisher("planted", name) for one in networks] for name in names}
    seen = {name: all(number <= LEVEL for number in numbers) for name, numbers in p.items()}
    own = [one.fisher(GLOBAL, "importance") for one in networks]
    weaker = of.tested("planted", "trained")
    words = (
        " Of the clusterable initialisation (C7) after training: "
        f"{span([one.fisher('planted', 'importance') for one in weaker])}."
        if weaker
        else ""
    )
    return finding(
        {name: seen[name] for name in ("importance", "normalised range", "score")},
        "; ".join(f"{name} {span(numbers)}" for name, numbers in p.items()),
        f"Fisher p, n = {len(networks)} networks",
        f"Importance of the partition that clustering finds: {span(own)}.{words}",
    )


#: All of them, C1 first.
CLAIMS = (*cut_claims.CLAIMS, *OWN)
