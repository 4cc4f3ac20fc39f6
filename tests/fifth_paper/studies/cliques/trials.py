"""How the rule is tried: the whole way, from graphs to the verdict."""

from __future__ import annotations

import numpy as np

from companion.claims import decide
from companion.records import Results
from companion.trials import Trial
from modutils.statistics import Interval, mean_interval
from studies.cliques import cells, claims


def _x1(of: Results, rng: np.random.Generator, planted: bool) -> str:
    def agreement(joined: float) -> Interval:
        seeds = rng.integers(2**31, size=6).tolist()
        return mean_interval(
            [cells.search(dataset="planted", size=8, joined=joined, seed=seed)["similarity"] for seed in seeds]
        )

    return decide(claims.x1_conditions(agreement(0.0 if planted else 0.7), agreement(0.7)), part=2)


TRIALS = {"X1": Trial("many edges in both", "no edges, and many", _x1, times=20)}
