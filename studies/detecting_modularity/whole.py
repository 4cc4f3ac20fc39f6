"""The rules of C3, C5, M1, M3 and M6–M8 the whole way: from the weights of networks to the verdict.

N-cuts are those of made weights beside their shuffles, and partitions are tested in networks of ten separate modules,
one a class, by the functions of the stages; the rule is that of the claim. The numbers of networks are those of the
record; they are as small as those of the embedded digits, so that all of it takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from modutils import data, graphs, stacked, statistics
from studies.detecting_modularity import cells, claims, nets, proxies
from studies.detecting_modularity.evidence import GROUPS, LEVEL, Cut, Evidence, Tested

DATASET = "digits"
RULES = {claim.id: claim.decide for claim in claims.CLAIMS}
KEPT = 0.1  # of the weights, by pruning
PER_CLASS = 20  # test images of every class


class Size(NamedTuple):
    """Of the made record: networks with each of the planted structures, and tested partitions of each of them."""

    networks: int
    tests: int


RECORD = Size(2 * cells.SEEDS, len(GROUPS))
SMALL = Size(cells.FEWER_SEEDS, 1)


# --- n-cuts -----------------------------------------------------------------------------------------------------------


def _removed(weights: list[np.ndarray], seed: int, *, smallest: bool) -> list[np.ndarray]:
    """Weights of which nine of ten in every layer are zero: the smallest, or any."""
    rng = np.random.default_rng(seed)
    found = []
    for block in weights:
        order = np.abs(block) if smallest else rng.random(block.shape)
        found.append(np.where(order >= np.quantile(order, 1 - KEPT), block, 0))
    return found


def _gathered(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Weights between every fourth unit of a layer alone: one piece, of which shuffles make many."""
    found = []
    for block in weights:
        kept = np.zeros_like(block)
        kept[::4, ::4] = block[::4, ::4]
        found.append(kept)
    return found


MADE: dict[str, Callable[[list[np.ndarray], int], list[np.ndarray]]] = {
    "as it is": lambda weights, seed: weights,
    "any removed": lambda weights, seed: _removed(weights, seed, smallest=False),
    "smallest removed": lambda weights, seed: _removed(weights, seed, smallest=True),
    "gathered": lambda weights, seed: _gathered(weights),
}


@cache
def _cut(kind: str, made: str, seed: int) -> Cut:
    """N-cut of a fresh network, plain or with planted groups, of which some weights are removed."""
    weights = graphs.layer_weights(stacked.network(nets.start(DATASET, kind, seed), 0))
    effort = cells.EFFORTS[DATASET]
    found = cells._cut(MADE[made](weights, seed), cells.K_CUT, seed, effort.shuffles, effort.restarts)
    return Cut(seed, {"weights": found, "pattern kept": found})  # the rules do not look at the latter


class _Cuts(Evidence):
    """Cuts of some seeds, by kind and state of the claim."""

    def __init__(self, seeds: np.ndarray, made: dict[tuple[str, str], tuple[str, str]]) -> None:
        self.dataset, self.seeds, self.made = DATASET, sorted(seeds.tolist()), made

    def cuts(self, kind: str, state: str) -> list[Cut]:
        return [_cut(*self.made[kind, state], seed) for seed in self.seeds]


def c3(of: Any, rng: np.random.Generator, planted: bool, size: Size = RECORD) -> str:
    """Nine of ten weights removed at random; or those that are left lie within planted groups."""
    pruned = ("planted", "smallest removed") if planted else ("plain", "any removed")
    seeds = rng.permutation(size.networks)[: cells.SEEDS]
    return RULES["C3"](_Cuts(seeds, {("plain", "trained"): ("plain", "as it is"), ("plain", "pruned"): pruned})).verdict


def c5(of: Any, rng: np.random.Generator, planted: bool, size: Size = RECORD) -> str:
    """Random weights; or those of a quarter of the units alone."""
    seeds = rng.permutation(size.networks)[: cells.FEWER_SEEDS]
    how = ("plain", "gathered" if planted else "as it is")
    return RULES["C5"](_Cuts(seeds, {("l1", "trained"): how, ("l1", "pruned"): how})).verdict


# --- partitions -------------------------------------------------------------------------------------------------------


@cache
def _pool(planted: bool, size: Size) -> list[dict[str, Any]]:
    """Tests of true modules, or of partitions of the same sizes at random, in networks of ten separate modules."""
    images, labels = data.load(DATASET, "test")
    truth = [own.numpy() for own in nets.groups(nets.sizes(DATASET))[:-1]]
    found = []
    for seed in range(-(-size.networks // 2)):
        layers = cells.hidden("blocks")
        subject = proxies.subjects(
            _network(seed), layers, images, labels, PER_CLASS, steps=cells.EFFORTS[DATASET].steps
        )
        for number in range(size.tests):
            rng = np.random.default_rng([seed, number])
            own = truth if planted else [rng.permutation(each) for each in truth]
            found.append(proxies.test_partition(subject, own, seed=1000 * seed + number))
    return found


@cache
def _regression() -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (classes, pixels) and intercepts that tell the training images apart."""
    images, labels = data.load(DATASET, "train")
    found = LogisticRegression(max_iter=1000).fit(images.flatten(1).numpy(), labels.numpy())
    return found.coef_, found.intercept_


@cache
def _network(seed: int) -> nn.Sequential:
    """Ten separate modules, one a class: the units of one know how much an image is of its class, and hand it on.

    So one unit of many is hardly missed, and a module is. Weights vary by a tenth from unit to unit.
    """
    model = stacked.network(nets.start(DATASET, "plain", seed), 0)
    rng = np.random.default_rng(seed)
    coefficients, intercepts = _regression()
    groups = [own.numpy() for own in nets.groups(nets.sizes(DATASET))]
    weights = [coefficients[groups[0]]]
    for below, above in pairwise(groups):
        member = above[:, None] == below
        weights.append(member / member.sum(axis=1, keepdims=True))
    with torch.no_grad():
        for layer, weight in zip((one for one in model if isinstance(one, nn.Linear)), weights, strict=True):
            layer.weight.copy_(torch.from_numpy(weight * (1 + 0.1 * rng.standard_normal(weight.shape))))
        model[1].bias.copy_(torch.from_numpy(intercepts[groups[0]] + 2))  # type: ignore[operator]
    return model


class _Tests(Evidence):
    """Every group and every kind of partition, tests drawn from the pool."""

    def __init__(self, rng: np.random.Generator, pool: list[dict[str, Any]]) -> None:
        self.dataset, self.rng, self.pool = DATASET, rng, pool
        self.drawn: dict[tuple[str, str, int], list[Tested]] = {}

    def tested(self, kind: str, state: str, *, k: int = cells.K_PROXY, all_images: bool = False) -> list[Tested]:
        if (kind, state, k) not in self.drawn:
            self.drawn[kind, state, k] = [
                Tested(seed, {which: self.pool[self.rng.integers(len(self.pool))] for which in cells.PARTITIONS})
                for seed in range(cells.SEEDS)
            ]
        return self.drawn[kind, state, k]


def of_partitions(id: str) -> Callable[..., str]:
    """The whole way of M1, M6, M7 or M8."""

    def run(of: Any, rng: np.random.Generator, planted: bool, size: Size = RECORD) -> str:
        return RULES[id](_Tests(rng, _pool(planted, size))).verdict

    return run


def m3(of: Any, rng: np.random.Generator, planted: bool, size: Size = RECORD) -> str:
    """The rule until 2026-11-29: no group with a combined p of at most 0.05."""
    tests = _Tests(rng, _pool(planted, size))
    p = [
        statistics.bates([one.fisher(claims.GLOBAL, "normalised range") for one in tests.tested(*group)])
        for group in GROUPS
    ]
    return "holds" if min(p) > LEVEL else "does not hold"
