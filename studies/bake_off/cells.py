"""One stage: train a network with planted modules, let everybody look for them, and judge what they found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from companion import cache
from companion.records import Cell, check_scale
from modutils import planted
from studies.bake_off import scores
from studies.bake_off.methods import LAYERS, NAMES, Net, compete

STUDY = "bake_off"
#: Shares of the weights between groups that are kept.
ALIGNED = (0.0, 0.3, 0.5, 0.6, 0.7, 0.85, 1.0)
OTHERS = (0.0, 0.1, 0.2, 0.3, 0.5)
#: Seeds that the pilot did not see.
SEEDS = range(100, 120)
DESCRIBED, TESTED = 500, 2000
#: A network with a head below this does not count.
LEARNED = 0.8
#: Random partitions of the same sizes that a partition's selectivity is compared with.
DRAWS = 2


class Setup(NamedTuple):
    """Pixels of a side of an image, units of a hidden layer, training samples, epochs (crossed: more) and batch."""

    pool: int
    side: int
    units: int
    samples: int
    epochs: int
    crossed_epochs: int
    batch_size: int


#: By data set and the number of images side by side.
SETUPS = {
    ("mnist", 2): Setup(2, 14, 128, 10_000, 5, 10, 128),
    ("digits", 5): Setup(1, 8, 100, 6_000, 10, 10, 64),
    ("digits", 2): Setup(1, 8, 48, 6_000, 8, 20, 64),
}


def plant(family: str, dataset: str, groups: int, delta: float, seed: int) -> planted.Planted:
    """The untrained network of a cell."""
    setup = SETUPS[dataset, groups]
    images = 1 if family == "columns" else groups
    heads = {"columns": 1, "crossed": 2}.get(family, groups)
    sizes = [images * setup.side**2, setup.units, setup.units, planted.CLASSES * heads]
    return planted.network(family, sizes=sizes, groups=groups, delta=delta, seed=seed)


def samples(family: str, dataset: str, split: str, n: int, groups: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of a cell."""
    pool = SETUPS[dataset, groups].pool
    return planted.samples(family, dataset, split, n, groups=groups, pool=pool, seed=seed)


def network(*, family: str, dataset: str, groups: int, delta: float, seed: int) -> dict[str, Any]:
    """What training leaves of a network: its plain weights from the cache, or trained now."""
    cell = Cell(
        STUDY, "network", {"family": family, "dataset": dataset, "groups": groups, "delta": delta, "seed": seed}
    )
    setup = SETUPS[dataset, groups]

    def trained() -> dict[Cell, Any]:
        start = time.process_time()
        model = plant(family, dataset, groups, delta, seed).model
        planted.train(
            model,
            *samples(family, dataset, "train", setup.samples, groups, seed),
            epochs=setup.crossed_epochs if family == "crossed" else setup.epochs,
            batch_size=setup.batch_size,
            seed=seed,
        )
        weights = planted.plain(model).state_dict()
        return {cell: {"weights": weights, "cpu_seconds": time.process_time() - start}}

    found: dict[str, Any] = cache.networks(cell, trained)
    return found


def load(
    *, family: str, dataset: str, groups: int, delta: float, seed: int
) -> tuple[Net, list[np.ndarray], tuple[torch.Tensor, torch.Tensor]]:
    """A trained network as competitors see it, its true groups, and the samples that it is judged on."""
    task = "aligned" if family == "rescaled" else family
    untrained = plant(task, dataset, groups, delta, seed)
    model = planted.plain(untrained.model)
    model.load_state_dict(network(family=task, dataset=dataset, groups=groups, delta=delta, seed=seed)["weights"])
    if family == "rescaled":
        model = planted.rescaled(model, seed=seed)
    setup = SETUPS[dataset, groups]
    train = samples(task, dataset, "train", setup.samples, groups, seed)
    ks = tuple(len(np.unique(labels)) for labels in untrained.labels)
    net = Net(
        model,
        train[0][:DESCRIBED],
        train[1][:DESCRIBED],
        train,
        setup.batch_size,
        images=train[0].shape[1],
        heads=train[1].shape[1],
        ks=(ks[0], ks[1]),
        seed=seed,
    )
    return net, untrained.labels, samples(task, dataset, "test", TESTED, groups, seed)


# --- the stage --------------------------------------------------------------------------------------------------------


def contest(*, family: str, dataset: str, groups: int, delta: float, seed: int) -> dict[str, Any]:
    """Everybody on one network: labels, agreement with the plant, selectivity, and time.

    ``labels``, ``ari``, ``unassigned``, ``selectivity`` and ``random`` have a row for each competitor, in the order of
    ``names``, and all but the labels a column for each layer.
    """
    params: dict[str, Any] = {"family": family, "dataset": dataset, "groups": groups, "delta": delta, "seed": seed}
    net, true, test = load(**params)
    labels, seconds = compete(net)
    alive = [scores.fires(net.model, layer, net.inputs) for layer in LAYERS]
    tables = [np.stack([labels[name][place] for name in NAMES]) for place in range(2)]
    rng = np.random.default_rng([seed, 3])
    selectivity, random = [], []
    for layer, table in zip(LAYERS, tables, strict=True):
        if net.heads < 2:
            selectivity.append(np.full(len(table), np.nan))
            random.append(np.full(len(table), np.nan))
            continue
        shuffled = [rng.permutation(row) for row in table for _ in range(DRAWS)]
        found = scores.selectivities(net.model, layer, *test, [*table, *shuffled])
        selectivity.append(found[: len(table)])
        random.append(found[len(table) :].reshape(-1, DRAWS).mean(1))
    trained = network(**params | {"family": "aligned" if family == "rescaled" else family})
    return {
        "accuracy": planted.accuracy(net.model, *test),
        "training_cpu_seconds": trained["cpu_seconds"],
        "names": NAMES,
        "plant": [one.astype(np.int8) for one in true],
        "fires": alive,
        "labels": [table.astype(np.int16) for table in tables],
        "ari": np.array(
            [[scores.agreement(true[place], row, alive[place]) for row in tables[place]] for place in range(2)]
        ).T.astype(np.float32),
        "unassigned": np.array(
            [[scores.unassigned(row, alive[place]) for row in tables[place]] for place in range(2)]
        ).T.astype(np.float32),
        "selectivity": np.array(selectivity).T.astype(np.float32),
        "random": np.array(random).T.astype(np.float32),
        "seconds": [round(seconds[name], 4) for name in NAMES],
        **(searched(net, test) if family == "aligned" and net.heads == 2 else {}),
    }


def searched(net: Net, test: tuple[torch.Tensor, torch.Tensor]) -> dict[str, Any]:
    """What a greedy search for selective units finds in the upper layer, for each head, and what its complement does.

    ``set`` is the selectivity of the units found, ``complement`` that of all others for the other head, ``own`` and
    ``other`` what the set costs its head and the other one, ``size`` its units.
    """
    start = time.process_time()
    found: dict[str, list[float]] = {name: [] for name in ("set", "complement", "own", "other", "size")}
    for head in range(2):
        chosen, rest = scores.greedy(net.model, net.inputs, net.targets, head)
        lost = scores.drops(net.model, LAYERS[1], *test, [chosen, rest])
        found["own"].append(float(lost[0, head]))
        found["other"].append(float(lost[0, 1 - head]))
        found["set"].append(float(lost[0, head] - lost[0, 1 - head]))
        found["complement"].append(float(lost[1, 1 - head] - lost[1, head]))
        found["size"].append(len(chosen))
    return {"greedy": found, "greedy_cpu_seconds": time.process_time() - start}


# --- the plan ---------------------------------------------------------------------------------------------------------


def plan(scale: str) -> list[Cell]:
    """All cells of a scale: ``paper`` on pairs of MNIST and on five digits, ``quick`` a few networks on digits.

    Raises
    ------
    ValueError
        An unknown scale.
    """
    check_scale(scale)
    if scale == "quick":
        chosen = [("aligned", 0.3), ("aligned", 1.0), ("rescaled", 0.3)]
        chosen += [(family, delta) for family in ("crossed", "columns") for delta in (0.1, 0.5)]
        return [_cell(family, "digits", 2, delta, 100) for family, delta in chosen]
    pairs = [("aligned", delta) for delta in ALIGNED]
    pairs += [(family, delta) for family in ("crossed", "columns") for delta in OTHERS]
    pairs += [("rescaled", 0.3)]
    found = [_cell(family, "mnist", 2, delta, seed) for family, delta in pairs for seed in SEEDS]
    return found + [_cell("aligned", "digits", 5, delta, seed) for delta in ALIGNED for seed in SEEDS[:5]]


def _cell(family: str, dataset: str, groups: int, delta: float, seed: int) -> Cell:
    params: Mapping[str, Any] = {
        "family": family, "dataset": dataset, "groups": groups, "delta": delta, "seed": seed
    }  # fmt: skip
    return Cell(STUDY, "contest", params)
