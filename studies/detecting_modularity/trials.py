"""How the rules of C1–C10 and M1–M10 are tried: shuffles and random partitions of the record, and its true modules.

The whole way is in :mod:`studies.detecting_modularity.whole`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from companion.claims import State, decide
from companion.trials import Trial
from modutils import spectral, statistics
from studies.detecting_modularity import cells, claims, cut_claims, proxies, whole
from studies.detecting_modularity.claims import PUBLISHED, group_state, m8_network, most
from studies.detecting_modularity.evidence import GROUPS, LEVEL, UNTRAINED, Evidence, Tested

INTERVALS = "no: 95 % intervals over seeds against bars. At its bar a condition is met in 2.5 cases of 100."
SIGNS = "no: the same sign in every network; by chance so in 1 of 8 for three seeds."
Numbers = dict[str, tuple[float, float]]  # by statistic: p-value and effect of one partition of one network


def _c3(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    change = {
        number: cut_claims.paired(of, ("plain", "pruned"), ("plain", "trained"), number) for number in ("ncut", "z")
    }
    noise = [values - values.mean() for values in change.values()]
    signs = rng.choice((-1, 1), size=len(noise[0]))
    ncut, z = (own * signs - planted * effect for own, effect in zip(noise, (1.0, 10.0), strict=True))
    shuffles = cells.EFFORTS[of.dataset].shuffles
    lowest = len(z) if planted else int((rng.integers(shuffles + 1, size=len(z)) == 0).sum())
    return decide(cut_claims.c3_conditions(ncut, z, lowest), part=2)


def _c5(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    z = {}
    for state in ("trained", "pruned"):
        own = []
        for cut in of.cuts("l1", state):
            null = cut.of().null
            place = rng.integers(len(null))
            found = spectral.clusterability(float(null[place]), np.delete(null, place))
            own.append(found.z + 10 * planted)
        z[state] = np.array(own)
    return decide(cut_claims.c5_conditions(z))


def _random(one: Tested, which: str) -> Numbers:
    """Of the random partition that was tested in place of one."""
    tested, found = one.values[which], {}
    for name in PUBLISHED:
        effect = one.effect(which, name, control=True)
        if name == "importance":
            ratio, mean = (proxies.column(tested, name, column) for column in ("control_effect", "null_mean"))
            with np.errstate(divide="ignore", invalid="ignore"):  # the effect is 2t / (t + r)
                drops = np.where(np.abs(2 - ratio) > 1e-3, mean * ratio / (2 - ratio) - mean, np.nan)
            effect = float(np.nanmean(drops))
        found[name] = (one.fisher(which, name, control=True), effect)
    return found


def _true(one: Tested) -> Numbers:
    """Of a partition into true modules."""
    found = {name: (one.fisher("planted", name), one.effect("planted", name)) for name in PUBLISHED}
    return found | {"importance": (found["importance"][0], one.excess("planted", "importance"))}


@cache
def _pool(of: Evidence, planted: bool) -> list[Numbers]:
    if planted:
        return [_true(one) for one in of.blocks()]
    networks = [one for kind in (UNTRAINED, *GROUPS) for one in of.tested(*kind)]
    return [_random(one, which) for one in networks for which in cells.PARTITIONS]


def _networks(of: Evidence, rng: np.random.Generator, planted: bool, n: int) -> list[Numbers]:
    pool = _pool(of, planted)
    return [pool[place] for place in rng.integers(len(pool), size=n)]


def _group(found: Sequence[Numbers], statistic: str, nothing: float = 0.0, level: float = LEVEL) -> State:
    p_values, effects = zip(*(one[statistic] for one in found), strict=True)
    return group_state(p_values, effects, nothing, level)


def _m1(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    found = {state: _networks(of, rng, planted, cells.SEEDS) for state in ("plain", "pruned")}
    return decide({state: _group(own, "importance") for state, own in found.items()})


def _m3(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    p = [
        statistics.bates([one["normalised range"][0] for one in _networks(of, rng, planted, cells.SEEDS)])
        for _ in GROUPS
    ]
    return "holds" if min(p) > LEVEL else "does not hold"


def _m6(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    found = {which: [_networks(of, rng, planted, cells.SEEDS) for _ in GROUPS] for which in cells.PARTITIONS}
    tests = [
        statistics.bates(np.maximum([one[name][0] for one in own], 1e-300))
        for each in found.values()
        for own in each
        for name in PUBLISHED
    ]
    critical = statistics.benjamini_hochberg(tests, LEVEL)
    own = found[claims.GLOBAL]
    states = {"importance": most(_group(one, "importance", level=critical) for one in own)}
    return decide(states | {"score": most(_group(one, "score", 1, critical) for one in own)})


def _m7(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    def state() -> State:
        return most(_group(_networks(of, rng, planted, cells.SEEDS), "importance") for _ in GROUPS)

    return decide({which: state() for which in cells.PARTITIONS}, part=2)


def _m8(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    def state() -> State:
        return most(m8_network(*one["importance"]) for one in _networks(of, rng, planted, len(GROUPS)))

    return decide({str(k): state() for k in (*cells.SWEPT, cells.K_PROXY)}, part=2)


RANDOM = "random partitions of the recorded networks"
TRUE = "true modules (M10)"
WHOLE = 100  # draws


def _partitions(run: Callable[..., str], null: str = "", planted: str = "") -> Trial:
    """The whole way of a rule about partitions."""
    return Trial(
        f"five networks of ten modules, one a class, made on the digits: random partitions of the same sizes{null}",
        f"their modules{planted}",
        run,
        times=WHOLE,
    )


TRIALS: dict[str, Trial | str] = {
    **{f"C{number}": INTERVALS for number in range(1, 11)},
    **{f"M{number}": INTERVALS for number in range(1, 11)},
    "C3": Trial(
        "the record's spread over seeds, signs drawn by chance, each network one of its shuffles",
        "the same with an n-cut lower by 1 and z by 10, below all shuffles",
        _c3,
        whole=Trial(
            "untrained networks of the digits' size, ten of which each draw has as many as the record; nine of ten "
            "weights are removed at random",
            "what is left lies within planted groups for the most part",
            whole.c3,
            times=WHOLE,
        ),
    ),
    "C5": Trial(
        "a shuffle in the place of each network",
        "the same with z higher by 10",
        _c5,
        whole=Trial(
            "untrained networks of the digits' size, ten of which each draw has as many as the record",
            "the same, with weights between a quarter of the units alone",
            whole.c5,
            times=WHOLE,
        ),
    ),
    "C7": SIGNS,
    "C8": SIGNS,
    "M1": Trial(RANDOM, TRUE, _m1, whole=_partitions(whole.of_partitions("M1"))),
    "M3": Trial(
        f"the rule until 2026-11-29: {RANDOM}, for which it should hold",
        f"{TRUE}, for which it should not",
        _m3,
        whole=_partitions(whole.m3, ", for which it should hold", ", for which it should not"),
    ),
    "M6": Trial(RANDOM, TRUE, _m6, times=100, whole=_partitions(whole.of_partitions("M6"))),
    "M7": Trial(RANDOM, TRUE, _m7, whole=_partitions(whole.of_partitions("M7"))),
    "M8": Trial(RANDOM, TRUE, _m8, whole=_partitions(whole.of_partitions("M8"))),
    "M9": "a trial itself: of the p-values on random partitions and untrained networks.",
    "M10": "a trial itself: of the statistics on true modules.",
}
