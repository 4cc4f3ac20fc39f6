"""What the rules of the bake-off look at: one set of networks, and what everybody found in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from companion.records import Results
from modutils.agreement import chance_similarities, element_similarities
from modutils.statistics import Interval
from studies.bake_off import cells
from studies.bake_off.methods import MEASURES, NAMES

UPSTREAM, DOWNSTREAM = tuple(MEASURES)[:2], tuple(MEASURES)[2:]
REACH = tuple(name for name in NAMES if name.startswith("reach"))
#: Definitions of the four papers at the planted number of modules; the third paper's own number is `FREE`.
FAMILIES: dict[str, tuple[str, ...]] = {
    "co-clustering": ("co-clustering",),
    "similarity": (*MEASURES, *(f"{name}, Q at k" for name in MEASURES)),
    "weight graph": ("weights, all", "weights, hidden", "weights, local"),
    "activation graph": ("activations", "activations, all"),
    "sculpting": REACH,
}
FREE = (*(f"{name}, Q" for name in MEASURES), *(f"sculpting {share}" for share in (0.8, 0.9, 0.95)))
BASELINES = (
    "in-weight", "out-weight", "class preference", "single unit", "k-means", "random", "random, equal sizes",
)  # fmt: skip
BOOTSTRAPS = 1000

Found = Mapping[str, Any]


@dataclass
class Evidence:
    """The networks of one data set, by family and δ; those that did not learn are left out and counted."""

    results: Results
    dataset: str
    groups: int
    _kept: dict[tuple[str, float], dict[int, Found]] = field(default_factory=dict)

    def recorded(self, family: str, delta: float) -> dict[int, Found]:
        """What is recorded of all networks of a family and δ, by seed."""
        if (family, delta) not in self._kept:
            of = {"family": family, "dataset": self.dataset, "groups": self.groups, "delta": delta}
            found = self.results.recorded("contest", **of)
            self._kept[family, delta] = {cell.params["seed"]: record.values for cell, record in found}
        return self._kept[family, delta]

    def networks(self, family: str, delta: float) -> dict[int, Found]:
        """The same of those that learned, by the rule of `cells.LEARNED` on every head."""
        return {seed: one for seed, one in self.recorded(family, delta).items() if learned(one)}

    def deltas(self, family: str) -> list[float]:
        """Those that are planned, from small to large."""
        planned = self.results.planned("contest", family=family, dataset=self.dataset, groups=self.groups)
        return sorted({cell.params["delta"] for cell in planned})

    def ari(self, method: str, family: str, delta: float, layer: int | None = None) -> np.ndarray:
        """ARI of a method for each network that learned; without a layer the mean of both."""
        return np.array([of_network(one, method, layer) for one in self.networks(family, delta).values()])

    def of_seeds(self, method: str, networks: Mapping[int, Found], seeds: Sequence[int]) -> np.ndarray:
        """ARI of a method, mean of both layers, for some of these networks."""
        return np.array([of_network(networks[seed], method) for seed in seeds])

    def table(self, method: str) -> np.ndarray:
        """ARI (δ, seeds), mean of both layers, of the aligned networks of seeds that learned at every δ."""
        found = [self.networks("aligned", delta) for delta in self.deltas("aligned")]
        seeds = sorted(set.intersection(*map(set, found))) if found else []
        return np.array([[of_network(one[seed], method) for seed in seeds] for one in found])

    def d50(self, method: str, minus: str | None = None) -> Interval:
        """The δ at which ARI falls below 1/2, or by how much it exceeds another's; 95 % bootstrap over seeds."""
        deltas, own = np.array(self.deltas("aligned")), self.table(method)
        other = None if minus is None else self.table(minus)
        if own.size == 0:
            return Interval(np.nan, np.nan, np.nan, 0)
        seeds = own.shape[1]
        drawn = np.random.default_rng(0).integers(seeds, size=(BOOTSTRAPS, seeds))
        values = []
        for places in (np.arange(seeds), *drawn):
            value = crossing(deltas, own[:, places].mean(1))
            values.append(value if other is None else value - crossing(deltas, other[:, places].mean(1)))
        low, high = np.quantile(values[1:], [0.025, 0.975]) if seeds > 1 else (np.nan, np.nan)
        return Interval(values[0], float(low), float(high), seeds)

    def beyond_chance(self, delta: float) -> dict[tuple[str, str], np.ndarray]:
        """For each pair of families how much more alike their partitions are than shuffled ones, for each network."""
        found = [agreement(one) for one in self.networks("aligned", delta).values()]
        place = {name: number for number, name in enumerate(NAMES)}
        rows = {family: [place[name] for name in names] for family, names in FAMILIES.items()}
        return {
            (a, b): np.array([one[np.ix_(rows[a], rows[b])].mean() for one in found])
            for a, b in combinations(FAMILIES, 2)
        }


def learned(one: Found) -> bool:
    """Whether a network counts."""
    return bool((one["accuracy"] >= cells.LEARNED).all())


def of_network(one: Found, method: str, layer: int | None = None) -> float:
    """ARI of a method on one network, of a layer (0 or 1) or the mean of both."""
    row = one["ari"][one["names"].index(method)].astype(float)
    return float(row.mean() if layer is None else row[layer])


def crossing(deltas: np.ndarray, values: np.ndarray) -> float:
    """The δ at which a curve first falls below 1/2, on straight lines between its points.

    The smallest δ if it lies below from the start, the largest if it never does.

    Examples
    --------
    >>> crossing(np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.75, 0.25]))
    0.75
    """
    under = np.flatnonzero(values < 0.5)
    if not len(under):
        return float(deltas[-1])
    if under[0] == 0:
        return float(deltas[0])
    after = int(under[0])
    before = after - 1
    share = (values[before] - 0.5) / (values[before] - values[after])
    return float(deltas[before] + share * (deltas[after] - deltas[before]))


def agreement(one: Found) -> np.ndarray:
    """How much more alike any two competitors' partitions are than shuffled ones: (competitors, competitors).

    Element-centric similarity minus its expectation, over the units that fire, as a mean of both layers.
    """
    found = []
    for labels, alive in zip(one["labels"], one["fires"], strict=True):
        own = np.asarray(labels)[:, alive].astype(np.int64)
        found.append(element_similarities(own) - chance_similarities(own))
    return np.asarray(np.mean(found, axis=0))


def evidence_of(results: Results, scale: str) -> Mapping[str, Callable[[], Evidence]]:
    """For each set of networks what the rules look at."""
    if scale == "quick":
        return {"digits": partial(Evidence, results, "digits", 2)}
    return {
        "mnist": partial(Evidence, results, "mnist", 2),
        "digits, five images": partial(Evidence, results, "digits", 5),
    }
