"""Claims C1–C10 about n-cuts: see :mod:`studies.detecting_modularity.claims`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from companion import claims
from companion.claims import Finding, State, above, below, bounded, every, finding, untestable
from modutils import statistics
from modutils.statistics import Interval
from studies.detecting_modularity import cells, evidence
from studies.detecting_modularity.evidence import (
    GROUPS,
    LEAST,
    LEVEL,
    NAMES,
    NOT_ENOUGH,
    Evidence,
    Tested,
    listed,
)

FILAN = "filan2021clusterability"
CLAIMS = claims.Claims(FILAN)


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


# --- clusterability ---------------------------------------------------------------------------------------------------


@CLAIMS.add(
    "C1",
    "Training lowers the n-cut of an MLP below that of its random initialisation.",
    published="10.30 ± 0.03 at random, 10.02 (MNIST) and 9.89 (Fashion-MNIST) trained",
    rule="Paired over seeds, the interval of the difference lies below 0.",
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
    published=(
        "n-cut 10.02 → 8.93, accuracy 0.957 → 0.959, pruned 0.934 → 0.896; z −0.5 → +2.7 (3 × 64 units on 7×7 MNIST)"
    ),
    rule="Paired over seeds, the interval of the n-cut lies below 0, and that of accuracy above −1 point.",
)
def _c9(of: Evidence) -> Finding:
    without, with_it = of.penalised(0.0), of.penalised(0.1)
    if min(len(without), len(with_it)) < LEAST:
        return untestable("Networks with this penalty are trained on MNIST only.")
    cut = statistics.mean_interval(evidence.paired(with_it, without, lambda one: one.values["weights"]["ncut"]))
    cost = statistics.mean_interval(evidence.paired(with_it, without, lambda one: 100 * one.values["accuracy"]))
    points = evidence.paired(with_it, without, lambda one: 100 * one.values["pruned"]["accuracy"])
    pruned = bounded(statistics.mean_interval(points), -100, 100)
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
        f"Against shuffles z goes from {z(without):+.1f} to {z(with_it):+.1f}. Of the same networks, pruned later, "
        f"accuracy differs by {pruned.mean:+.2f} points {pruned.text('.2f')}.",
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
        f"NMI by group: {listed(nmi, lambda number: f'{number:.2f}')}.",
    )
