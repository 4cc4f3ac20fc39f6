"""Hypotheses H1–H8 of the bake-off: what we expected after a pilot of 126 networks, and the rule for each.

The rules were committed before the record was made, on seeds that the pilot did not see. Intervals are Student's 95 %
over networks, those of δ50 bootstrapped over seeds. ARI is over units that fire. What "published" says is the pilot's
number where there is one. A function ``…_conditions`` takes numbers, and is what trials run.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from companion import claims
from companion.claims import Finding, State, above, below, every, finding, untestable, within
from modutils.statistics import Interval, mean_interval
from studies.bake_off.evidence import DOWNSTREAM, FAMILIES, FREE, REACH, UPSTREAM, Evidence
from studies.bake_off.methods import MEASURES

CLAIMS = claims.Claims("bakeoff2026")
#: What two scores, on a scale from 0 to 1, may differ by and still count as equal.
MARGIN = 0.05
NONE = "There are no such networks at this scale."
#: Methods that ask what units do, not how they are joined: all of them rank or compare activity or derivatives.
FUNCTIONAL = (*FAMILIES["co-clustering"], *FAMILIES["similarity"], *FAMILIES["activation graph"])


def _two(value: float) -> str:
    return f"{round(float(value), 2) + 0:.2f}"


def _n(of: Evidence, family: str, delta: float) -> str:
    """How many networks did not learn, if any."""
    lost = len(of.recorded(family, delta)) - len(of.networks(family, delta))
    return f" {lost} networks that did not learn are left out." if lost else ""


@CLAIMS.add(
    "H1",
    "Half of the weights between groups are kept: in the upper layer input sensitivity finds the plant far better than "
    "the loss Hessian.",
    published="pilot: ARI 0.72 and 0.13",
    rule="Aligned, δ = 0.5, layer 2, spectral clustering: interval of the paired difference of ARI above 0.2.",
)
def _h1(of: Evidence) -> Finding:
    upper = {name: of.ari(name, "aligned", 0.5, 1) for name in ("input sensitivity", "loss Hessian")}
    first, second = upper.values()
    if not len(first):
        return untestable(NONE)
    gap = mean_interval(first - second)
    return finding(
        h1_conditions(first - second),
        f"ARI {first.mean():.2f} and {second.mean():.2f}",
        f"difference {gap.mean:.2f} {gap.text('.2f')}",
        "The other two: "
        + ", ".join(f"{name} {of.ari(name, 'aligned', 0.5, 1).mean():.2f}" for name in MEASURES if name not in upper)
        + "."
        + _n(of, "aligned", 0.5),
    )


def h1_conditions(gaps: np.ndarray) -> dict[str, State]:
    """By differences of ARI, one for each network."""
    return {"by 0.2 at least": above(mean_interval(gaps), 0.2)}


@CLAIMS.add(
    "H2",
    "The lower layer is grouped by what it reads, the upper by what it serves: upstream measures find the one, "
    "downstream measures the other, and local clustering of the weights both.",
    published="pilot: the bars of the rule",
    rule=(
        "Crossed, δ of 0 and 0.1 together. Each upstream measure: ARI in layer 1 above 0.9, in layer 2 below 0.2; each "
        "downstream measure: below 0.1 and above 0.7; local clusters of the weight graph: above 0.9 in both. Intervals "
        "beyond the bars; six conditions, in part with three."
    ),
)
def _h2(of: Evidence) -> Finding:
    names = (*UPSTREAM, *DOWNSTREAM, "weights, local")
    found = {
        (name, layer): np.concatenate([of.ari(name, "crossed", delta, layer) for delta in (0.0, 0.1)])
        for name, layer in product(names, (0, 1))
    }
    if not len(found["weights, local", 0]):
        return untestable(NONE)
    intervals = {key: mean_interval(values) for key, values in found.items()}
    return finding(
        h2_conditions(found),
        "; ".join(f"{name} {_two(intervals[name, 0].mean)} and {_two(intervals[name, 1].mean)}" for name in names),
        f"loss Hessian in the upper layer {intervals['loss Hessian', 1].text('.2f')}",
        "ARI in the lower and in the upper layer." + _n(of, "crossed", 0.0) + _n(of, "crossed", 0.1),
        part=3,
    )


def h2_conditions(found: Mapping[tuple[str, int], np.ndarray]) -> dict[str, State]:
    """By ARI of methods in layers 0 and 1."""
    own = {key: mean_interval(values) for key, values in found.items()}
    return {
        "upstream finds the lower": every(*(above(own[name, 0], 0.9) for name in UPSTREAM)),
        "upstream misses the upper": every(*(below(own[name, 1], 0.2) for name in UPSTREAM)),
        "downstream misses the lower": every(*(below(own[name, 0], 0.1) for name in DOWNSTREAM)),
        "downstream finds the upper": every(*(above(own[name, 1], 0.7) for name in DOWNSTREAM)),
        "weights find the lower": above(own["weights, local", 0], 0.9),
        "weights find the upper": above(own["weights, local", 1], 0.9),
    }


@CLAIMS.add(
    "H3",
    "Columns that do the same are seen by their weights and by nothing that looks at function.",
    published="pilot: the bars of the rule",
    rule=(
        "Columns, δ = 0.1, mean of both layers: ARI of each of the three weight graphs above 0.9, and of every "
        "functional method (co-clustering, similarities, activation graphs) below 0.3. Intervals beyond the bars; in "
        "part with one of the two."
    ),
)
def _h3(of: Evidence) -> Finding:
    found = {name: of.ari(name, "columns", 0.1) for name in (*FAMILIES["weight graph"], *FUNCTIONAL)}
    if not len(found["weights, all"]):
        return untestable(NONE)
    best = max(FUNCTIONAL, key=lambda name: found[name].mean())
    worst = min(FAMILIES["weight graph"], key=lambda name: found[name].mean())
    layers = [of.ari(best, "columns", 0.1, layer).mean() for layer in (0, 1)]
    return finding(
        h3_conditions(found),
        f"{worst}, the worst weight graph, {found[worst].mean():.2f}; {best}, the best of the functional methods, "
        f"{found[best].mean():.2f}",
        f"{best} {mean_interval(found[best]).text('.2f')}",
        f"{best}: {_two(layers[0])} in the lower and {_two(layers[1])} in the upper layer. Above 0.3 by the mean: "
        + (", ".join(name for name in FUNCTIONAL if found[name].mean() > 0.3) or "none")
        + f". What units reach after pruning (not among them): {of.ari(REACH[0], 'columns', 0.1, 0).mean():.2f} in the "
        f"lower layer.{_n(of, 'columns', 0.1)}",
    )


def h3_conditions(found: Mapping[str, np.ndarray]) -> dict[str, State]:
    """By ARI of methods."""
    own = {name: mean_interval(values) for name, values in found.items()}
    return {
        "weight graphs above 0.9": every(*(above(own[name], 0.9) for name in FAMILIES["weight graph"])),
        "functional methods below 0.3": every(*(below(own[name], 0.3) for name in FUNCTIONAL)),
    }


INVARIANT = ("co-clustering", *MEASURES, *FAMILIES["activation graph"])


@CLAIMS.add(
    "H4",
    "Rescaling units, which leaves the function as it is, leaves what functional methods say as it is, and ruins the "
    "graph of all weights.",
    published="pilot: weight graph from 1.0 to 0.01",
    rule=(
        "Aligned, δ = 0.3, mean of both layers, paired: interval of the change of ARI within ±0.01 for co-clustering,"
        " for the four normalised similarities and for both activation graphs; loss of the graph of all weights above"
        " 0.5. Four conditions, in part with two."
    ),
)
def _h4(of: Evidence) -> Finding:
    before, after = of.networks("aligned", 0.3), of.networks("rescaled", 0.3)
    seeds = sorted(before.keys() & after.keys())
    if not seeds:
        return untestable(NONE)
    change = {
        name: of.of_seeds(name, after, seeds) - of.of_seeds(name, before, seeds)
        for name in (
            *INVARIANT,
            "weights, all",
            "weights, hidden",
            "weights, local",
            "k-means",
            "in-weight",
            *REACH[::2],
        )
    }
    largest = max(INVARIANT, key=lambda name: float(np.abs(change[name]).max()))
    lost = mean_interval(-change["weights, all"])
    return finding(
        h4_conditions(change),
        f"graph of all weights loses {lost.mean:.2f}; largest change of an invariant method in any network "
        f"{np.abs(change[largest]).max():.3f} ({largest})",
        f"loss {lost.text('.2f')}",
        "Others change by: "
        + ", ".join(f"{name} {change[name].mean():+.2f}" for name in change if name not in (*INVARIANT, "weights, all"))
        + ". Before: "
        + ", ".join(f"{name} {of.of_seeds(name, before, seeds).mean():.2f}" for name in ("weights, all", "k-means"))
        + f".{_n(of, 'aligned', 0.3)}",
        part=2,
    )


def h4_conditions(change: Mapping[str, np.ndarray]) -> dict[str, State]:
    """By changes of ARI of methods."""
    own = {name: mean_interval(values) for name, values in change.items()}
    return {
        "co-clustering stays": within(own["co-clustering"], 0.01),
        "similarities stay": every(*(within(own[name], 0.01) for name in MEASURES)),
        "activation graphs stay": every(*(within(own[name], 0.01) for name in FAMILIES["activation graph"])),
        "all weights lose 0.5": below(own["weights, all"], -0.5),
    }


@CLAIMS.add(
    "H5",
    "Without any plant a greedy search still finds a selective set, but no selective partition: one selective set "
    "proves nothing.",
    published="pilot: 50 units cost their half 0.7–0.8 and the other 0.01–0.05, and their complement fails",
    rule=(
        "Aligned, δ = 1, layer 2, held-out images. Accuracy that a set costs its head minus the other's: interval "
        "above 0.6; mean of this and the same of the complement: interval below 0.35."
    ),
)
def _h5(of: Evidence) -> Finding:
    found = [one["greedy"] for one in of.networks("aligned", 1.0).values() if "greedy" in one]
    if not found:
        return untestable(NONE)
    sets, rest = (np.mean([one[name] for one in found], axis=1) for name in ("set", "complement"))
    one, both = mean_interval(sets), mean_interval((sets + rest) / 2)
    cost = {name: np.mean([each[name] for each in found]) for name in ("own", "other", "size")}
    return finding(
        h5_conditions(sets, rest),
        f"set {one.mean:.2f}, partition {both.mean:.2f}",
        f"set {one.text('.2f')}; partition {both.text('.2f')}",
        f"{cost['size']:.0f} units on average cost their head {cost['own']:.2f} and the other {cost['other']:.2f}; the "
        f"complement is selective for the other head by {rest.mean():.2f}.{_n(of, 'aligned', 1.0)}",
    )


def h5_conditions(sets: np.ndarray, rest: np.ndarray) -> dict[str, State]:
    """By the selectivity of greedy sets and of their complements, one for each network."""
    return {
        "the set is selective": above(mean_interval(sets), 0.6),
        "the partition is not": below(mean_interval((sets + rest) / 2), 0.35),
    }


@CLAIMS.add(
    "H6",
    "Where the plant is nearly gone, of all methods only weight graphs match the simplest baseline: which image a "
    "unit's weights lead from.",
    published="pilot: seen, without a number",
    rule=(
        "Aligned, δ = 0.7, mean of both layers, paired: ARI minus that of in-weight. For at least one weight graph "
        f"the interval lies above −{MARGIN}; for every method of the other families below −{MARGIN}. Needs the former."
    ),
)
def _h6(of: Evidence) -> Finding:
    baseline = of.ari("in-weight", "aligned", 0.7)
    if not len(baseline):
        return untestable(NONE)
    names = [name for own in FAMILIES.values() for name in own] + list(FREE)
    gaps = {name: of.ari(name, "aligned", 0.7) - baseline for name in names}
    best = max(FAMILIES["weight graph"], key=lambda name: gaps[name].mean())
    others = [name for name in names if name not in FAMILIES["weight graph"]]
    rival = max(others, key=lambda name: gaps[name].mean())
    return finding(
        h6_conditions(gaps),
        f"in-weight {baseline.mean():.2f}; minus it: {best} {gaps[best].mean():+.2f}, {rival} (best of the others) "
        f"{gaps[rival].mean():+.2f}",
        f"{best} {mean_interval(gaps[best]).text('.2f')}; {rival} {mean_interval(gaps[rival]).text('.2f')}",
        "Weight graphs: "
        + ", ".join(f"{name} {gaps[name].mean():+.2f}" for name in FAMILIES["weight graph"])
        + f".{_n(of, 'aligned', 0.7)}",
        needed="a weight graph matches",
    )


def h6_conditions(gaps: Mapping[str, np.ndarray]) -> dict[str, State]:
    """By ARI minus that of the baseline, for every method."""
    own = {name: mean_interval(values) for name, values in gaps.items()}
    graphs = [above(own[name], -MARGIN) for name in FAMILIES["weight graph"]]
    return {
        "a weight graph matches": claims.at_least(1, graphs),
        "no other does": every(*(below(own[name], -MARGIN) for name in own if name not in FAMILIES["weight graph"])),
    }


@CLAIMS.add(
    "H7",
    "No method keeps finding the plant for longer than the simplest baseline.",
    published="pilot: seen, without a number",
    rule=(
        "Aligned: δ50, the share of kept weights at which the mean ARI of both layers falls below one half. δ50 of "
        f"each method minus that of in-weight: interval below {MARGIN}. A condition for each of five families, all of "
        "whose methods must meet it; in part with four."
    ),
)
def _h7(of: Evidence) -> Finding:
    baseline = of.d50("in-weight")
    if np.isnan(baseline.low):
        return untestable(NONE if not baseline.n else "One network for each δ has no interval.")
    excess = {name: of.d50(name, "in-weight") for name in named(with_free=True)}
    best = max(excess, key=lambda name: excess[name].mean)
    return finding(
        h7_conditions(excess),
        f"δ50 of in-weight {baseline.mean:.2f}, of {best}, the best method, {of.d50(best).mean:.2f}",
        f"in-weight {baseline.text('.2f')}; excess of {best} {excess[best].text('.2f')}",
        "The best of each family exceeds in-weight by: "
        + ", ".join(
            f"{family} {max(excess[name].mean for name in names):+.2f}"
            for family, names in families_with_free().items()
        )
        + ".",
        part=4,
    )


def families_with_free() -> dict[str, tuple[str, ...]]:
    """Methods by family, those among them that choose their own number of modules."""
    more = {"similarity": FREE[:4], "sculpting": FREE[4:]}
    return {family: (*names, *more.get(family, ())) for family, names in FAMILIES.items()}


def named(*, with_free: bool = False) -> list[str]:
    """All methods that are no baseline."""
    return [name for names in (families_with_free() if with_free else FAMILIES).values() for name in names]


def h7_conditions(excess: Mapping[str, Interval]) -> dict[str, State]:
    """By the excess of each method's δ50 over the baseline's."""
    return {
        family: every(*(below(excess[name], MARGIN) for name in names if name in excess))
        for family, names in families_with_free().items()
    }


@CLAIMS.add(
    "H8",
    "Without a plant, methods of different families agree no more than chance.",
    published="pilot: none",
    rule=(
        "Aligned, δ = 1: element-centric similarity minus its expectation under shuffled labels, over units that fire, "
        "mean of both layers and of all pairs of methods at the planted number. For each of ten pairs of families the "
        f"interval over networks lies within ±{MARGIN} (two one-sided tests at 2.5 %); in part with five."
    ),
)
def _h8(of: Evidence) -> Finding:
    found = of.beyond_chance(1.0)
    if not len(next(iter(found.values()))):
        return untestable(NONE)
    means = {pair: mean_interval(values) for pair, values in found.items()}
    most = max(means, key=lambda pair: means[pair].mean)
    planted = {pair: float(values.mean()) for pair, values in of.beyond_chance(min(of.deltas("aligned"))).items()}
    return finding(
        h8_conditions(found),
        f"from {min(one.mean for one in means.values()):+.3f} to {means[most].mean:+.3f} beyond chance",
        f"most: {' and '.join(most)} {means[most].text('.3f')}",
        f"With the clearest plant it is {min(planted.values()):.2f} to {max(planted.values()):.2f}."
        + _n(of, "aligned", 1.0),
        part=5,
    )


def h8_conditions(found: Mapping[tuple[str, str], np.ndarray]) -> dict[str, State]:
    """By agreement beyond chance, for each pair of families and network."""
    return {" and ".join(pair): within(mean_interval(values), MARGIN) for pair, values in found.items()}
