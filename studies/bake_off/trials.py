"""How the rules of H1–H8 are tried, on numbers of as many networks as a row of the record has."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from companion.claims import decide
from companion.trials import Trial
from studies.bake_off import claims
from studies.bake_off.evidence import FAMILIES, Evidence

BARS = "no: intervals against bars, as in H1."
#: Spread of ARI, and of an agreement, over networks, as wide as the pilot saw them.
SPREAD, AGREE_SPREAD = 0.15, 0.04


def _networks(of: Evidence, delta: float) -> int:
    return max(len(of.networks("aligned", delta)), 2)


def _h1(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    gaps = rng.normal(0.59 if planted else 0.0, np.sqrt(2) * SPREAD, _networks(of, 0.5))
    return decide(claims.h1_conditions(gaps))


def _h5(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    n = _networks(of, 1.0)
    sets = rng.normal(0.7, 0.05, n)
    return decide(claims.h5_conditions(sets, rng.normal(-0.1 if planted else 0.6, 0.05, n)))


def _h6(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    names = claims.named(with_free=True)
    low = 0.3 if planted else 0.0
    gaps = {
        name: rng.normal(0.0 if name in FAMILIES["weight graph"] else -low, SPREAD / 2, _networks(of, 0.7))
        for name in names
    }
    return decide(claims.h6_conditions(gaps), needed="a weight graph matches")


def _h8(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    n = _networks(of, 1.0)
    mean = 0.0 if planted else 0.1
    return decide(
        claims.h8_conditions({pair: rng.normal(mean, AGREE_SPREAD, n) for pair in combinations(FAMILIES, 2)}), part=5
    )


TRIALS: dict[str, Trial | str] = {
    "H1": Trial("both measures find as much", "the pilot's difference", _h1),
    "H2": BARS,
    "H3": BARS,
    "H4": BARS,
    "H5": Trial("the complement is as selective as the set", "it hurts both heads, the wrong one more", _h5),
    "H6": Trial("all methods match the baseline", "all but weight graphs lie 0.3 below", _h6),
    "H7": "no: bootstrap intervals against a bar.",
    "H8": Trial("all agree 0.1 beyond chance", "no more than chance", _h8),
}
