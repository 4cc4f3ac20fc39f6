"""How the rules of U1–U27 are tried: numbers of the record without its effects, then with one that is planted.

The whole way is in :mod:`studies.upstream_downstream.whole`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from companion.claims import decide
from companion.trials import Trial
from modutils import statistics
from studies.upstream_downstream import agreement_claims, modularity_claims, whole
from studies.upstream_downstream.evidence import CROSS, WITHIN, Evidence, welch

INTERVALS = "no: 95 % intervals against bars. At its bar a condition is met, or not met, in 2.5 cases of 100 each."
COUNTS = "no: counts against published counts."


def _dropout_noise(of: Evidence, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values (R, S, m) of dropout, minus their means over runs, strengths dealt out anew within each run."""
    own = values[:, of.without_plain("dropout")]
    return rng.permuted(own - np.nanmean(own, axis=0), axis=1)


def _u1(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    noise = _dropout_noise(of, of.q, rng)
    q = noise + planted * np.linspace(0, 0.05, noise.shape[1])[:, None]
    trends = np.array([[statistics.trend(curve) for curve in run.T] for run in q])
    return decide(modularity_claims.u1_conditions(trends, q[:, -1] - q[:, 0]), part=5)


def _u5(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    noise = _dropout_noise(of, of.runs.of("effective_number").mean(2), rng)
    x = np.linspace(0, 1, noise.shape[1])
    numbers = noise + (not planted) * x[:, None]
    changes = np.array([[np.polyfit(x, curve, 1)[0] for curve in run.T] for run in numbers])
    return decide(modularity_claims.u5_conditions(changes), part=4)


def _means(of: Evidence, name: str) -> np.ndarray:
    """Matrices (R, 8, 8), averaged over networks and layers."""
    return np.asarray(np.nanmean(of.runs.of(name), axis=(1, 2)))


def _gaps(matrices: np.ndarray) -> np.ndarray:
    """Within minus across for both sides, (2, R)."""

    def mean(pairs: list[tuple[int, int]]) -> np.ndarray:
        rows, columns = zip(*pairs, strict=True)
        return matrices[:, list(rows), list(columns)].mean(1)

    return np.stack([mean(pairs) - mean(CROSS) for pairs in WITHIN.values()])


def _u15(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    similarity, chance = _means(of, "similarity"), _means(of, "chance")
    if planted:
        side = np.arange(8) // 4
        similarity = similarity - similarity.mean(0) + 0.3 + 0.2 * (side[:, None] == side)
        chance = np.full_like(similarity, 0.25)
    else:
        order = rng.permutation(8)
        similarity, chance = similarity[:, order][:, :, order], chance[:, order][:, :, order]
    runs = rng.integers(len(similarity), size=len(similarity))
    similarity, chance = similarity[runs], chance[runs]
    return decide(agreement_claims.u15_conditions(_gaps(similarity), _gaps(similarity - chance)))


def _u20(of: Evidence, rng: np.random.Generator, planted: bool) -> str:
    order = rng.permutation(len(of.runs.fresh["similarity"]))
    trained, rest = order[: len(of.runs.seeds)], order[len(of.runs.seeds) :]
    plain, beyond = of.untrained_agreement(CROSS), of.excess(CROSS, fresh=True)
    found = (welch(values[trained] + 0.05 * planted, values[rest]) for values in (plain, beyond))
    return decide(agreement_claims.u20_conditions(*found))


RUNS = "the record's spread over runs, strengths dealt out anew within each"
WHOLE = 100  # draws
UNTRAINED = "untrained networks at every strength, dealt out anew in each draw"


def _whole(null: str, planted: str, run: Callable[..., str], note: Callable[[], str] | None = None) -> Trial:
    return Trial(f"made networks of the record's shape, with images of noise: {null}", planted, run, WHOLE, note)


TRIALS: dict[str, Trial | str] = {
    **{f"U{number}": INTERVALS for number in range(1, 28)},
    "U1": Trial(
        RUNS,
        "with a rise of Q by 0.05",
        _u1,
        whole=_whole(UNTRAINED, "four paths, more separate at higher strength", whole.u1),
    ),
    "U5": Trial(
        f"{RUNS}, with a change by 1, the margin",
        "without a change",
        _u5,
        whole=_whole("separate paths, from two to eight of them with strength", UNTRAINED, whole.u5),
    ),
    "U11": COUNTS,
    "U15": Trial(
        "measures relabelled at random; one relabelling of 35 is the true one",
        "agreement higher by 0.2 within a side, with the record's spread over runs",
        _u15,
        whole=_whole(
            f"four separate paths, the same on both sides; {whole.RECORD.networks} networks a run",
            "four groups upstream, and four others downstream",
            whole.u15,
            whole.u15_untrained,
        ),
    ),
    "U20": Trial(
        "untrained networks in the place of trained ones",
        "the same with 0.05 more",
        _u20,
        whole=_whole(
            f"untrained in the place of trained ones; {whole.RECORD.networks} networks a run",
            "four paths with a leak, the same on both sides",
            whole.u20,
        ),
    ),
    "U24": "no: it cannot fail.",
    "U27": "no: it follows from U1, U6, U7 and U15.",
}
