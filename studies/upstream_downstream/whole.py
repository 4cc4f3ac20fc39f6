"""The rules of U1, U5, U15 and U20 the whole way: from the weights of networks to the verdict.

Networks are made here, untrained or with groups of units that are put there: their similarities, modules and agreement
are those of the stages, and the rule is that of the claim. The shape, the runs and the settings are those of the
record; images are noise, as large as the embedded digits, and the search for modules has a tenth of its restarts, so
that all of it takes a minute or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from modutils import agreement, modularity, stacked
from modutils.stacked import Stack
from studies.upstream_downstream import agreement_claims, cells, modularity_claims
from studies.upstream_downstream.evidence import Evidence
from studies.upstream_downstream.runs import Runs

DATASET = "digits"
RULES = {claim.id: claim.decide for each in (modularity_claims, agreement_claims) for claim in each.CLAIMS}
FIRST = 10_000  # of the seeds, far from those of the record's networks


class Size(NamedTuple):
    """Of the made record: runs, networks of a run where the strength does not matter, untrained ones, and shape."""

    runs: int
    networks: int
    fresh: int
    grid: str
    hidden: str


RECORD = Size(cells.RUNS, 3, 100, "all", cells.FIXED["hidden"])
SMALL = Size(6, 1, 8, "quick", cells.QUICK["hidden"])
#: What is known of a made network, from both layers and all measures.
NAMES = ("q", "effective_number", "similarity", "chance")


def network(hidden: str, seed: int, *, groups: int = 4, leak: float = 1.0, sides: int = 1) -> Stack:
    """One untrained network with separate paths, more or less.

    Parameters
    ----------
    hidden : str
        Like ``64-64``.
    seed : int
    groups : int
        Paths: the units of every layer, inputs and outputs too, are dealt out to so many groups at random.
    leak : float
        Factor on weights between different groups: 0 for separate paths, 1 for none.
    sides : int
        1: the paths go through. 2: in every layer the groups that read are others than those that are read.
    """
    sizes = cells.sizes(DATASET, hidden)
    stack = stacked.initialize(sizes, seeds=[seed])
    rng = np.random.default_rng(seed)
    reading, other = ([rng.permutation(np.arange(units) % groups) for units in sizes] for _ in range(2))
    read = reading if sides == 1 else other
    masks = [(above[:, None] == below) for below, above in zip(read, reading[1:], strict=False)]
    factors = [torch.from_numpy(np.where(mask, 1.0, leak).astype(np.float32)) for mask in masks]
    return Stack([w * factor for w, factor in zip(stack.weights, factors, strict=True)], stack.biases)


@cache
def _images() -> torch.Tensor:
    """Noise of the digits' size: pixels of real images go together, across paths too."""
    return torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def seen(stack: Stack, seed: int) -> dict[str, np.ndarray]:
    """What the stage ``modules`` says of a network: arrays (layers, measures, …) by `NAMES`."""
    layers = cells._measured(cells._similarities(stack, 0, _images()))
    best = [modularity.find_modules(matrices, seed=seed) for matrices in layers]
    return {
        "q": np.array([found.q for found in best]),
        "effective_number": np.array([[modularity.effective_number(row) for row in found.labels] for found in best]),
        "similarity": np.array([agreement.element_similarities(found.labels) for found in best]),
        "chance": np.array([agreement.chance_similarities(found.labels) for found in best]),
    }


@cache
def _pool(hidden: str, first: int, count: int, **how: Any) -> dict[str, np.ndarray]:
    """The same of so many networks, which differ by their seeds alone: arrays (networks, layers, …)."""
    found = [seen(network(hidden, seed, **how), seed) for seed in range(FIRST + first, FIRST + first + count)]
    return {name: np.stack([one[name] for one in found]) for name in NAMES}


def _evidence(
    size: Size, columns: list[int], networks: Mapping[str, np.ndarray], fresh: Mapping[str, np.ndarray]
) -> Evidence:
    """As if the record had these networks (runs, columns, …) at some settings, and none at the others."""
    settings = cells.settings(size.grid)
    values = {"test_accuracy": np.zeros((size.runs, len(settings)))}
    values["diverged"] = np.zeros_like(values["test_accuracy"])
    values["test_accuracy"][:, columns] = 1
    for name, own in networks.items():
        values[name] = np.zeros((size.runs, len(settings), *own.shape[2:]))
        values[name][:, columns] = own
    params = {"hidden": size.hidden, "grid": size.grid, "regime": "made", "epochs": 0}
    runs = Runs(DATASET, params, settings, list(range(size.runs)), size.runs, values, fresh)
    return Evidence(None, runs)  # type: ignore[arg-type]  # these rules read nothing else


def _curve(size: Size) -> list[int]:
    """Columns of the curve of dropout, the plain network first."""
    settings = cells.settings(size.grid)
    return [0, *(place for place, setting in enumerate(settings) if setting.kind == "dropout")]


def _along(size: Size, rng: np.random.Generator, first: int, hows: list[dict[str, Any]] | None) -> Evidence:
    """Networks along the curve of dropout, made in these ways by strength, and dealt out to the runs.

    Without ways all are untrained, and dealt out to the strengths as well.
    """
    columns = _curve(size)
    count = size.runs * len(columns)
    if hows is None:
        found = _pool(size.hidden, 0, count)
        order = rng.permutation(count)
        networks = {name: own[order].reshape(size.runs, len(columns), *own.shape[1:]) for name, own in found.items()}
    else:
        parts = [_pool(size.hidden, first + size.runs * place, size.runs, **how) for place, how in enumerate(hows)]
        orders = [rng.permutation(size.runs) for _ in parts]
        networks = {
            name: np.stack([part[name][order] for part, order in zip(parts, orders, strict=True)], axis=1)
            for name in NAMES
        }
    return _evidence(size, columns, networks, {})


def u1(of: Any, rng: np.random.Generator, planted: bool, size: Size = RECORD) -> str:
    """Untrained networks at every strength; or four paths, the more separate the higher the strength."""
    leaks = np.linspace(0.4, 0, len(_curve(size)))
    return RULES["U1"](_along(size, rng, 1000, [{"leak": float(leak)} for leak in leaks] if planted else None)).verdict


def u5(of: Any, rng: np.random.Generator, planted: bool, size: Size = RECORD) -> str:
    """Paths whose number grows from two to eight with strength; or untrained networks at every strength."""
    numbers = np.linspace(2, 8, len(_curve(size))).round().astype(int)
    hows = None if planted else [{"groups": int(number), "leak": 0.1} for number in numbers]
    return RULES["U5"](_along(size, rng, 2000, hows)).verdict


def _dealt(found: Mapping[str, np.ndarray], order: np.ndarray, size: Size) -> dict[str, np.ndarray]:
    """Networks in this order as runs (runs, networks, …), as many as these are."""
    kept = order[: size.runs * size.networks]
    return {name: own[kept].reshape(size.runs, size.networks, *own.shape[1:]) for name, own in found.items()}


def _grouped(size: Size, first: int, **how: Any) -> dict[str, np.ndarray]:
    return _pool(size.hidden, first, size.runs * size.networks, **how)


def _u15(found: Mapping[str, np.ndarray], rng: np.random.Generator, size: Size) -> str:
    networks = _dealt(found, rng.permutation(size.runs * size.networks), size)
    # The rule says in words what untrained networks do, whichever these are.
    return RULES["U15"](_evidence(size, list(range(size.networks)), networks, found)).verdict


def u15(of: Any, rng: np.random.Generator, planted: bool, size: Size = RECORD) -> str:
    """Four paths that go through; or others upstream than downstream."""
    found = _grouped(size, 4000, leak=0.0, sides=2) if planted else _grouped(size, 3000, leak=0.0)
    return _u15(found, rng, size)


def u15_untrained(size: Size = RECORD, times: int = 40) -> str:
    """What the rule of U15 gives on untrained networks, as a sentence."""
    found = _grouped(size, 0)
    verdicts = [_u15(found, np.random.default_rng(draw), size) for draw in range(times)]
    return (
        f"On untrained networks it holds {verdicts.count('holds')} of {times} too: what it finds is how alike the "
        "measures of one side are, and not what training has made."
    )


def u20(of: Any, rng: np.random.Generator, planted: bool, size: Size = RECORD) -> str:
    """Untrained networks in the place of trained ones; or four paths that go through, with a leak."""
    count = size.runs * size.networks
    found = _pool(size.hidden, 0, count + size.fresh)
    order = rng.permutation(count + size.fresh)
    fresh = {name: own[order[count:]] for name, own in found.items()}
    networks = _dealt(found, order, size)
    if planted:
        networks = _dealt(_grouped(size, 5000, leak=0.3), rng.permutation(count), size)
    return RULES["U20"](_evidence(size, list(range(size.networks)), networks, fresh)).verdict
