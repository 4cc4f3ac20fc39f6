"""How the rules of N1–N27 are tried: counts drawn by chance, then from the rates that the authors published.

The whole way is in :mod:`studies.neural_sculpting.whole`."""

from __future__ import annotations

import numpy as np

from companion.claims import decide
from companion.trials import Trial
from studies.neural_sculpting import claims, digit_claims, published, whole
from studies.neural_sculpting.claims import QUESTIONS
from studies.neural_sculpting.evidence import Evidence

COUNTS = "no: shares with binomial intervals against bars, or counts against published ones."
PICTURES = "no: numbers of single networks against those of a slide."


def _n14(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    n = np.full((5, len(published.REUSE)), 36)
    counts = {}
    for name in QUESTIONS:
        rates = published.overlap_rates(name)
        counts[name] = rng.binomial(n, rates if planted else np.full_like(rates, rates.mean()))
    return decide(claims.n14_conditions(counts, n), part=3)


def _n25(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    depths = [one.layers for one in of.digits()]
    rates = {layers: (apart / n, outputs / n) for layers, (n, apart, outputs) in published.DIGIT_COUNTS.items()}
    drawn = rng.random((len(depths), 2)) < np.array([rates[layers] if planted else (0.5, 0.5) for layers in depths])
    deep = np.array(depths) >= 4
    return decide(
        digit_claims.n25_conditions(
            (int(drawn[deep, 0].sum()), int(deep.sum())),
            (int(drawn[~deep, 0].sum()), int((~deep).sum())),
            (int(drawn[:, 1].sum()), len(depths)),
        ),
        part=2,
    )


TRIALS: dict[str, Trial | str] = {
    **{f"N{number}": COUNTS for number in range(1, 28) if number != 19},
    **{f"N{picture.claim}": PICTURES for picture in published.PICTURES if picture.claim != 19},
    "N14": Trial(
        "one rate for all overlaps and reuses",
        "the published rates, 36 networks each",
        _n14,
        whole=Trial(
            "made masks, 36 for each overlap and reuse: inputs, hidden units and outputs are right at one rate each",
            "the same at the published rates",
            whole.n14,
            times=100,
        ),
    ),
    "N25": Trial(
        "a coin for every network",
        "the published rates, as many networks as ours",
        _n25,
        whole=Trial(
            "made masks, as many as the record has, on as many pixels; a coin says whether digits, and "
            "outputs, are apart",
            "the same at the published rates",
            whole.n25,
            times=100,
        ),
    ),
    "N26": PICTURES,
}
