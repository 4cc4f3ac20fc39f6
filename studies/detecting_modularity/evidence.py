"""What the record says of the networks: n-cuts beside their shuffles, and p-values of sub-clusters, combined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from companion import records
from companion.records import Cell, Results
from modutils import spectral, statistics
from modutils.spectral import Clusterability
from studies.detecting_modularity import cells, proxies

LEAST = 3  # networks of a group, for a rule to be applied
LEVEL = 0.05
NOT_ENOUGH = "The record of this scale has too few networks for this rule."
#: The groups of networks that claims are about: kind and state.
GROUPS = (("plain", "trained"), ("dropout", "trained"), ("plain", "pruned"), ("dropout", "pruned"))
UNTRAINED = ("plain", "untrained")
NAMES = {
    ("plain", "untrained"): "untrained",
    ("plain", "trained"): "plain",
    ("plain", "pruned"): "plain, pruned",
    ("dropout", "trained"): "dropout",
    ("dropout", "pruned"): "dropout, pruned",
    ("planted", "untrained"): "planted, untrained",
    ("planted", "trained"): "planted",
    ("planted", "pruned"): "planted, pruned",
    ("l1", "trained"): "L1",
    ("l1", "pruned"): "L1, pruned",
    ("cnn", "untrained"): "CNN, untrained",
    ("cnn", "trained"): "CNN",
    ("cnn", "pruned"): "CNN, pruned",
    ("independent", "trained"): "independent halves",
    ("independent", "pruned"): "independent halves, pruned",
    ("redundant", "trained"): "redundant halves",
    ("redundant", "pruned"): "redundant halves, pruned",
}


class Cut(NamedTuple):
    """N-cuts of one network: the record of stage ``cuts``, and the seed."""

    seed: int
    values: dict[str, Any]

    def of(self, graph: str = "weights") -> Clusterability:
        """One of its graphs beside its shuffles; ``pattern kept`` compares the same n-cut with other shuffles."""
        found = self.values[graph]
        return spectral.clusterability(found["ncut"], found["null"])


class Tested(NamedTuple):
    """Sub-clusters of one network's partitions: the record of a stage, and the seed."""

    seed: int
    values: dict[str, Any]

    def fisher(self, which: str, statistic: str, *, ties: str = "mid", control: bool = False) -> float:
        """Fisher's p-value over the sub-clusters of one partition; NaN where there are none."""
        p = proxies.p_values(self.values[which], statistic, ties=ties, control=control)
        if not p.size:
            return np.nan
        return statistics.fisher(p, None if ties == "mid" else proxies.DRAWS)

    def permutation(self, which: str, statistic: str) -> float:
        """P-value of the whole partition among partitions with permuted labels."""
        scores = self.values[which]["scores"][list(proxies.STATISTICS).index(statistic)].astype(float)
        return float(statistics.rank_p_values(scores[:1], scores[None, 1:])[0])

    def effect(self, which: str, statistic: str, *, control: bool = False) -> float:
        """Mean over sub-clusters of 2t / (t + r̄), of the partition or of a random one in its place."""
        return _mean(proxies.column(self.values[which], statistic, ("control_" if control else "") + "effect"))

    def excess(self, which: str, statistic: str) -> float:
        """Mean over sub-clusters of the statistic minus its mean over random sets."""
        tested = self.values[which]
        difference = proxies.column(tested, statistic, "value") - proxies.column(tested, statistic, "null_mean")
        return _mean(difference)

    @property
    def intact(self) -> float:
        """Mean over classes of the accuracy of the intact network on the test images of the lesions."""
        return float(np.mean(self.values["intact"]) / self.values["per_class"])


def _mean(values: np.ndarray) -> float:
    """NaN without values: a partition may have no sub-cluster that is large enough."""
    return float(np.mean(values)) if values.size else np.nan


class Evidence:
    """The record of one data set."""

    def __init__(self, results: Results, dataset: str) -> None:
        self.results, self.dataset = results, dataset

    def recorded(self, stage: str, **params: Any) -> list[Cell]:
        """The planned cells with these parameters that have a record."""
        return [cell for cell, _ in self.results.recorded(stage, dataset=self.dataset, **params)]

    def _read(self, stage: str, **params: Any) -> list[tuple[int, dict[str, Any]]]:
        found = self.results.recorded(stage, dataset=self.dataset, **params)
        return [(cell.params["seed"], record.values) for cell, record in found]

    def accuracies(self, kind: str, state: str) -> np.ndarray:
        """Test accuracy of every seed."""
        return np.array([values[state]["accuracy"] for _, values in self._read("train", kind=kind)])

    def cuts(self, kind: str, state: str) -> list[Cut]:
        """N-cuts of every seed of a group of networks."""
        return [Cut(*one) for one in self._read("cuts", kind=kind, state=state)]

    def tested(self, kind: str, state: str, *, k: int = cells.K_PROXY, all_images: bool = False) -> list[Tested]:
        """Sub-clusters of every seed of a group of MLPs."""
        own = [cell.params["per_class"] for cell in self.recorded("subclusters", kind=kind, state=state)]
        if not own:
            return []
        per_class = cells.ALL if all_images else min(own)
        return [Tested(*one) for one in self._read("subclusters", kind=kind, state=state, k=k, per_class=per_class)]

    def filters(self, state: str = "trained") -> list[Tested]:
        """Sub-clusters of every seed of the CNN, of the partition by weights."""
        return [Tested(*one) for one in self._read("filters", state=state)]

    def blocks(self) -> list[Tested]:
        """Networks whose planted groups are true modules."""
        return [Tested(*one) for one in self._read("blocks")]

    def penalised(self, strength: float) -> list[Tested]:
        """Networks trained with a penalty on clusterability."""
        return [Tested(*one) for one in self._read("penalised", strength=strength)]

    def pictures(self) -> dict[str, Any]:
        """Visualisations of one network's sub-clusters."""
        found = self._read("pictures")
        if not found:
            raise records.RecordError(f"no record of stage 'pictures' for {self.dataset}")
        return found[0][1]


def evidence_of(results: Results, scale: str) -> dict[str, Callable[[], Evidence]]:
    """What the rules look at, for each data set of a scale."""
    names = dict.fromkeys(cell.params["dataset"] for cell in cells.plan(scale))
    return {name: partial(Evidence, results, name) for name in names}


def combined(networks: Sequence[Tested], which: str, statistic: str) -> float:
    """Fisher's p-values of the networks, combined by their mean (Bates); NaN without any."""
    p = np.array([network.fisher(which, statistic) for network in networks])
    p = p[np.isfinite(p)]
    return statistics.bates(np.maximum(p, 1e-300)) if p.size else np.nan


def paired(first: Sequence[Any], second: Sequence[Any], number: Any) -> np.ndarray:
    """``number(first) − number(second)`` for every seed that both have."""
    by_seed = {one.seed: one for one in second}
    return np.array([number(one) - number(by_seed[one.seed]) for one in first if one.seed in by_seed])


# --- words ------------------------------------------------------------------------------------------------------------


def p_text(p: float) -> str:
    """A p-value as text."""
    if np.isnan(p):
        return "none"
    return f"{p:.2f}" if p >= 0.01 else f"{p:.0e}" if p >= 1e-12 else "<1e-12"


def span(p_values: Sequence[float]) -> str:
    """The least and the largest of p-values, as text."""
    p_values = [p for p in p_values if np.isfinite(p)] or [np.nan]
    return f"{p_text(min(p_values))} to {p_text(max(p_values))}"


def listed(numbers: Mapping[str, float], form: Callable[[float], str] = p_text) -> str:
    """A number for each name, as text."""
    return ", ".join(f"{name} {form(number)}" for name, number in numbers.items())
