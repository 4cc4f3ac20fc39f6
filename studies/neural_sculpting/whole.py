"""The rules of N14 and N25 the whole way: from the masks of networks to the verdict.

Masks are made here, of networks in which modules are separate, shared or one; they go through the detection of modules,
the criteria of success and the rule of the claim. As many networks as in the paper (N14) or in the record (N25).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from companion.claims import decide
from modutils import hierarchy, tasks
from studies.neural_sculpting import claims, digit_claims, evidence, published, recovery

NETWORKS = 36  # of one task and number of outputs
VARIANTS = 6  # made networks of one kind, among which is drawn


class Kind(NamedTuple):
    """Whether inputs, hidden units and outputs are as the task's modules are; hidden units only if outputs are."""

    inputs: bool
    hidden: bool
    outputs: bool


def _joined(rows: list[np.ndarray], columns: list[np.ndarray], width: int) -> np.ndarray:
    """Mask (rows, ``width``) that joins each group of units to a group of units of the layer below."""
    mask = np.zeros((1 + max(int(own.max()) for own in rows), width), dtype=bool)
    for above, below in zip(rows, columns, strict=True):
        mask[np.ix_(above, below)] = True
    return mask


def _split(units: int, groups: int) -> list[np.ndarray]:
    return list(np.arange(units * groups).reshape(groups, units))


def boolean(task: tasks.Task, kind: Kind, units: int) -> list[np.ndarray]:
    """Masks of two hidden layers for two overlapping functions, f of the odd and g of the even outputs.

    Parameters
    ----------
    task : tasks.Task
        One of ``overlap-0`` to ``overlap-4``.
    kind : Kind
        Without ``inputs`` one input is left out; without ``outputs`` all units of the upper layer feed all of them;
        without ``hidden`` the units of the lower layer have a group of inputs each, those of the overlap for both
        functions.
    units : int
        Of every group in a layer.
    """
    f, g = (np.array(sorted(inputs)) for inputs in _read(task))
    outputs = [np.array(sorted(one.outputs)) for one in task.functions if one.outputs]
    pair = _split(units, 2)
    if not kind.inputs:
        f, g = f[1:], np.setdiff1d(g, f[:1])
    width = task.inputs.shape[1]
    if kind.hidden:
        return [_joined(pair, [f, g], width), _joined(pair, pair, 2 * units), _joined(outputs, pair, 2 * units)]
    groups = [own for own in (np.setdiff1d(f, g), np.intersect1d(f, g), np.setdiff1d(g, f)) if len(own)]
    first = _split(units, len(groups))
    masks = [_joined(first, groups, width)]
    count = units * len(groups)
    if not kind.outputs:
        both = np.concatenate(pair)
        return [
            *masks,
            _joined([both], [np.arange(count)], count),
            _joined([np.concatenate(outputs)], [both], 2 * units),
        ]
    reads = [
        np.concatenate([own for own, inputs in zip(first, groups, strict=True) if np.isin(inputs, read).all()])
        for read in (f, g)
    ]
    return [*masks, _joined(pair, reads, count), _joined(outputs, pair, 2 * units)]


def _read(task: tasks.Task) -> list[set[int]]:
    """Input columns that f and g read."""
    return [{task.sources[name][0] for name in one.sources} for one in task.functions if one.outputs]


@cache
def _verdicts(overlap: int, outputs: int, kind: Kind, variant: int) -> dict[str, bool]:
    task = tasks.load(f"overlap-{overlap}", outputs=outputs)
    return recovery.verdicts(task, hierarchy.detect_modules(boolean(task, kind, 2 + variant)))


def _kinds(rng: np.random.Generator, rates: dict[str, float], count: int) -> list[Kind]:
    """Networks of which so many are right on average; whether inputs are does not depend on the others."""
    drawn = rng.random((count, 2))
    return [
        Kind(
            bool(own < rates["inputs"]),
            bool(other < min(rates["hidden"], rates["outputs"])),
            bool(other < rates["outputs"]),
        )
        for own, other in drawn
    ]


def n14(of: Any, rng: np.random.Generator, planted: bool, networks: int = NETWORKS, variants: int = VARIANTS) -> str:
    """One rate for all tasks; or the published rates."""
    counts = {name: np.zeros((5, len(published.REUSE)), dtype=int) for name in claims.QUESTIONS}
    rates = {name: published.overlap_rates(name) for name in claims.QUESTIONS}
    for overlap, place in np.ndindex(5, len(published.REUSE)):
        own = {name: float(table[overlap, place] if planted else table.mean()) for name, table in rates.items()}
        for kind in _kinds(rng, own, networks):
            found = _verdicts(overlap, 2 * published.REUSE[place], kind, int(rng.integers(variants)))
            for name, table in counts.items():
                table[overlap, place] += found[name]
    return decide(claims.n14_conditions(counts, np.full((5, len(published.REUSE)), networks)), part=3)


# --- pairs of digits --------------------------------------------------------------------------------------------------

SIDE = 28
PIXELS = 0.5  # share of a digit's pixels that a unit of the first hidden layer reads
OUTPUTS = 3


def digits(layers: int, apart: bool, outputs: bool, rng: np.random.Generator) -> list[np.ndarray]:
    """Masks of a network on two digits side by side.

    Parameters
    ----------
    layers : int
        Hidden ones, at least 2.
    apart : bool
        Each unit below the last hidden layer belongs to one digit; else each reads pixels of both.
    outputs : bool
        Each unit of the last hidden layer feeds one output; else all of them.
    rng : numpy.random.Generator
    """
    width = 2 * SIDE * SIDE
    left = np.arange(width) % (2 * SIDE) < SIDE
    counts = rng.integers(8, 16, size=layers)
    masks: list[np.ndarray] = []
    below = left
    for units in counts[:-1]:
        own = np.arange(units) < units // 2
        joined = own[:, None] == below if apart else np.ones((units, len(below)), dtype=bool)
        if not masks:
            joined &= rng.random(joined.shape) < PIXELS
        masks.append(joined)
        below = own
    last = int(counts[-1])
    masks.append(np.ones((last, len(below)), dtype=bool))
    masks.append(
        np.arange(last) % OUTPUTS == np.arange(OUTPUTS)[:, None] if outputs else np.ones((OUTPUTS, last), bool)
    )
    return masks


@cache
def _digit_verdicts(layers: int, apart: bool, outputs: bool, variant: int) -> dict[str, bool]:
    masks = digits(layers, apart, outputs, np.random.default_rng([layers, variant]))
    labels = hierarchy.detect_modules(masks, merge_threshold=evidence.MERGE, modularity_threshold=evidence.MODULARITY)
    return recovery.verdicts(evidence._digit_modules(SIDE), labels)


def n25(of: Any, rng: np.random.Generator, planted: bool, variants: int = VARIANTS) -> str:
    """A coin for every network; or the published rates."""
    counts = {"deep": [0, 0], "shallow": [0, 0], "outputs": [0, 0]}
    for layers in (one.layers for one in of.digits()):
        n, apart, outputs = published.DIGIT_COUNTS[layers] if planted else (2, 1, 1)
        kind = (bool(rng.random() < apart / n), bool(rng.random() < outputs / n))
        found = _digit_verdicts(layers, *kind, int(rng.integers(variants)))
        for name, verdict in (("deep" if layers >= 4 else "shallow", "inputs"), ("outputs", "outputs")):
            counts[name][0] += found[verdict]
            counts[name][1] += 1
    deep, shallow, three = ((right, n) for right, n in counts.values())
    return decide(digit_claims.n25_conditions(deep, shallow, three), part=2)
