"""The independent pieces of work of the chapter on detecting modularity.

Each public function is one stage: it takes the parameters of a cell and returns what the record keeps. A network is
named by data set, ``kind`` (how it is trained), ``state`` (untrained, trained, pruned) and seed. All kinds of one seed
start from the same draw of weights and see the images in the same order.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn

from companion import cache
from companion.records import Cell, check_scale
from modutils import data, graphs, spectral, stacked, training, visualization
from modutils.stacked import Stack
from modutils.training import Execution
from studies.detecting_modularity import nets, penalty, proxies

STUDY = "detecting_modularity"
DROPOUT = 0.5
L1 = 5e-5
#: Kinds of MLP that are trained in one stack, and the others, which have seeds of their own.
MAIN = ("plain", "dropout", "planted")
STATES = ("untrained", "trained", "pruned")


# --- networks ---------------------------------------------------------------------------------------------------------


def network(*, dataset: str, kind: str, state: str, seed: int) -> nn.Sequential:
    """A network in evaluation mode, from the cache or trained now."""
    model = nets.cnn(dataset, seed) if kind == "cnn" else stacked.network(nets.start(dataset, kind, seed), 0)
    if state != "untrained":
        model.load_state_dict(trained(dataset=dataset, kind=kind, seed=seed)[state])
    return model


def trained(*, dataset: str, kind: str, seed: int) -> dict[str, Any]:
    """Parameters after training and after pruning, from the cache or computed now, with the CPU seconds it took."""
    kinds = MAIN if kind in MAIN else (kind,)
    together = _cell(dataset, "+".join(kinds), seed).label
    found: dict[str, Any] = cache.networks(
        _cell(dataset, kind, seed), lambda: _train(dataset, kinds, seed), together=together
    )
    return found


def _cell(dataset: str, kind: str, seed: int) -> Cell:
    return Cell(STUDY, "trained", {"dataset": dataset, "kind": kind, "seed": seed})


def _train(dataset: str, kinds: tuple[str, ...], seed: int) -> dict[Cell, Any]:
    """Train and prune networks of one seed together."""
    setup = nets.SETUPS[dataset]
    images, labels = nets.images(dataset, kinds[0], "train")
    epochs, batch_size = (setup.cnn_epochs, 64) if kinds == ("cnn",) else (setup.epochs, setup.batch_size)
    how: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "execution": _execution(dataset, kinds[0], seed)}
    clock = time.process_time()
    if kinds == ("cnn",):
        models = [nets.cnn(dataset, seed)]
        training.train(models[0], images, labels, schedule="constant", seed=seed, **how)
    else:
        starts = [nets.start(dataset, kind, seed) for kind in kinds]
        dropout = [DROPOUT if kind == "dropout" else 0.0 for kind in kinds]
        found = stacked.train(
            Stack(
                [torch.cat(parts) for parts in zip(*(one.weights for one in starts), strict=True)],
                [torch.cat(parts) for parts in zip(*(one.biases for one in starts), strict=True)],
            ),
            images,
            labels,
            seeds=[seed],
            dropout=dropout,
            l1=[L1 if kind == "l1" else 0.0 for kind in kinds],
            **how,
        )
        models = [stacked.network(found.stack, index, dropout=p) for index, p in enumerate(dropout)]
    seconds = (time.process_time() - clock) / len(kinds)
    made: dict[Cell, Any] = {}
    for model, kind in zip(models, kinds, strict=True):
        content: dict[str, Any] = {"trained": copy.deepcopy(model.state_dict())}
        clock = time.process_time()
        how["execution"] = _execution(dataset, f"{kind} pruned", seed)
        training.prune(model, images, labels, l1=L1 if kind == "l1" else 0.0, seed=seed, **how)
        content |= {"pruned": model.state_dict(), "cpu_seconds": seconds + time.process_time() - clock}
        made[_cell(dataset, kind, seed)] = content
    return made


def _execution(dataset: str, kind: str, seed: int) -> Execution:
    checkpoint = cache.path_of(_cell(dataset, kind, seed), "checkpoint")
    return Execution("cuda" if torch.cuda.is_available() else "cpu", checkpoint)


# --- stages -----------------------------------------------------------------------------------------------------------


def train(*, dataset: str, kind: str, seed: int) -> dict[str, Any]:
    """Train and prune one network, and say how accurate it is; the weights stay in the cache."""
    images, labels = nets.images(dataset, kind, "test")
    found: dict[str, Any] = {}
    for state in STATES:
        model = network(dataset=dataset, kind=kind, state=state, seed=seed)
        layers = [part.weight for part in model if isinstance(part, nn.Linear | nn.Conv2d)]
        found[state] = {
            "accuracy": training.accuracy(model, images, labels),
            "zeros": [float((weight == 0).double().mean()) for weight in layers],
        }
    return {**found, "training_cpu_seconds": trained(dataset=dataset, kind=kind, seed=seed)["cpu_seconds"]}


#: The four partitions: what the edges of the graph are, and whether all layers are clustered at once.
PARTITIONS = ("weights/global", "weights/local", "activations/global", "activations/local")
CORRELATED = 5000  # training images behind the correlations of activations (the authors' code)


class Effort(NamedTuple):
    """How much work goes into one network: ``fewer`` shuffles are of activation graphs and of normalised weights."""

    shuffles: int
    fewer: int
    restarts: int  # of k-means
    steps: int  # to an image that drives units


FULL = Effort(50, 20, 25, 65)  # as in the authors' code, but for `fewer`
EFFORTS = {"mnist": FULL, "fashion-mnist": FULL, "digits": Effort(20, 10, 5, 25)}


def hidden(kind: str) -> list[str]:
    """The layers whose units are tested: all hidden layers of an MLP, the convolutions of a CNN."""
    return [f"act{index}" for index in range(1, (3 if kind == "cnn" else 4) + 1)]


def activations(model: nn.Sequential, layers: list[str], images: Tensor, *, seed: int) -> list[np.ndarray]:
    """Values before the ReLU of every unit of the layers on random training images."""
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:CORRELATED]
    return [proxies.before(model, layer, images[rows]) for layer in layers]


def partition(
    model: nn.Sequential, values: list[np.ndarray], which: str, k: int, *, restarts: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels of all nodes of the graph, and of the units of each hidden layer.

    Parameters
    ----------
    model : nn.Sequential
        Of this study.
    values : list of arrays, shapes (N, units)
        From `activations`.
    which : str
        One of `PARTITIONS`.
    k : int
        Clusters of the global partition. In the local one a layer gets as many as it has labels in the global one.
    restarts : int
        Of k-means.
    seed : int
    """
    source, reach = which.split("/")
    widths = [part.shape[1] for part in values]
    how = {"restarts": restarts, "seed": seed}
    if source == "weights":
        weights = graphs.layer_weights(model)
        sizes = graphs.layer_sizes(weights)
        labels = spectral.layered_clusters(weights, k, **how)
        layers = np.split(labels, np.cumsum(sizes)[:-1])
        if reach == "local":
            counts = [max(len(np.unique(own[own >= 0])), 1) for own in layers]
            labels = spectral.local_clusters(weights, counts, **how)
            layers = np.split(labels, np.cumsum(sizes)[:-1])
        first = 0 if len(sizes) == len(widths) else 1  # the graph of an MLP has inputs and outputs too
        return labels, layers[first : first + len(widths)]
    labels = spectral.spectral_clusters(graphs.correlation_graph(np.concatenate(values, axis=1)), k, **how)
    layers = np.split(labels, np.cumsum(widths)[:-1])
    if reach == "local":
        used = 0
        for index, own in enumerate(layers):
            count = len(np.unique(own[own >= 0]))
            if count:
                found = spectral.spectral_clusters(graphs.correlation_graph(values[index]), count, **how)
                layers[index] = np.where(found >= 0, found + used, -1)
                used += count
        labels = np.concatenate(layers)
    return labels, layers


def cuts(*, dataset: str, kind: str, state: str, k: int, seed: int) -> dict[str, Any]:
    """N-cut of a network's graphs beside those of shuffles that were clustered in the same way.

    Activations are looked at in plain networks and those with dropout.
    """
    model = network(dataset=dataset, kind=kind, state=state, seed=seed)
    effort = EFFORTS[dataset]
    weights = graphs.layer_weights(model)
    labels = spectral.layered_clusters(weights, k, restarts=effort.restarts, seed=seed)
    found = {
        "weights": _cut(weights, k, seed, effort.shuffles, effort.restarts),
        "unit norm": _cut(_unit_norm(weights), k, seed, effort.fewer, effort.restarts),
        "components": spectral.components(weights)[:20].astype(np.int32),
        "labels": labels.astype(np.int8),
    }
    if any((block == 0).any() for block in weights):
        found["pattern kept"] = _cut(weights, k, seed, effort.shuffles, effort.restarts, keep_zeros=True)
    if kind == "cnn":
        for norm in graphs.NORMS[1:]:
            found[norm] = _cut(graphs.layer_weights(model, norm=norm), k, seed, effort.fewer, effort.restarts)
    if kind not in ("plain", "dropout"):
        return found
    values = activations(model, hidden(kind), nets.images(dataset, kind, "train")[0], seed=seed)
    graph = graphs.correlation_graph(np.concatenate(values, axis=1))
    own = spectral.spectral_clusters(graph, k, restarts=effort.restarts, seed=seed)
    null = [
        spectral.ncut(shuffled, spectral.spectral_clusters(shuffled, k, restarts=effort.restarts, seed=draw))
        for draw, shuffled in zip(range(effort.fewer), spectral.shuffled_edges(graph, seed=seed), strict=False)
    ]
    found["activations"] = {"ncut": spectral.ncut(graph, own), "null": np.array(null)}
    sizes = graphs.layer_sizes(weights)
    by_weights = labels[sizes[0] : len(labels) - sizes[-1]]
    both = (own >= 0) & (by_weights >= 0)
    found["nmi"] = float(normalized_mutual_info_score(own[both], by_weights[both]))
    return found


def _cut(
    weights: list[np.ndarray], k: int, seed: int, shuffles: int, restarts: int, *, keep_zeros: bool = False
) -> dict[str, Any]:
    """N-cut of a graph of weights and of its shuffles, and the pieces (two nodes or more) that a few of these have."""

    def ncut(blocks: list[np.ndarray], seed: int) -> float:
        return spectral.layered_ncut(blocks, spectral.layered_clusters(blocks, k, restarts=restarts, seed=seed))

    null, pieces = [], []
    draws = spectral.shuffled_weights(weights, keep_zeros=keep_zeros, seed=seed)
    for draw, shuffled in zip(range(shuffles), draws, strict=False):
        null.append(ncut(shuffled, draw))
        if draw < 3:
            pieces.append(int((spectral.components(shuffled) > 1).sum()))
    return {"ncut": ncut(weights, seed), "null": np.array(null), "pieces": np.array(pieces)}


def _unit_norm(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Incoming weights of every unit scaled to length √2: what a ReLU network allows without changing what it does."""
    length = [np.sqrt((block**2).sum(axis=1, keepdims=True)) for block in weights]
    return [block * np.sqrt(2) / np.where(norm > 0, norm, 1) for block, norm in zip(weights, length, strict=True)]


def subclusters(*, dataset: str, kind: str, state: str, k: int, per_class: int, seed: int) -> dict[str, Any]:
    """Importance and coherence of the sub-clusters of the four partitions, on so many test images of every class.

    A network with planted groups is tested on these too.
    """
    model = network(dataset=dataset, kind=kind, state=state, seed=seed)
    images, labels = nets.images(dataset, kind, "test")
    values = activations(model, hidden(kind), nets.images(dataset, kind, "train")[0], seed=seed)
    effort = EFFORTS[dataset]
    subject = proxies.subjects(model, hidden(kind), images, labels, per_class, steps=effort.steps)
    found = _tested(subject, values, k, effort.restarts, seed)
    if kind == "planted":
        truth = [own.numpy() for own in nets.groups(nets.sizes(dataset))[:-1]]
        found["planted"] = proxies.test_partition(subject, truth, seed=1000 * seed + len(PARTITIONS))
    return found


def filters(*, dataset: str, state: str, k: int, per_class: int, seed: int) -> dict[str, Any]:
    """Importance and coherence of the sub-clusters of a CNN, of the partition by weights alone.

    Its lesions run convolutions, so that the four partitions of a CNN would take more time than those of forty MLPs.
    """
    model = network(dataset=dataset, kind="cnn", state=state, seed=seed)
    images, labels = nets.images(dataset, "cnn", "test")
    effort = EFFORTS[dataset]
    subject = proxies.subjects(model, hidden("cnn"), images, labels, per_class, steps=effort.steps)
    weights = graphs.layer_weights(model)
    nodes = spectral.layered_clusters(weights, k, restarts=effort.restarts, seed=seed)
    layers = np.split(nodes, np.cumsum(graphs.layer_sizes(weights))[:-1])
    tested = proxies.test_partition(subject, layers, seed=1000 * seed)
    return {
        "intact": subject.intact,
        "per_class": int(np.bincount(subject.labels)[0]),
        "weights/global": {"labels": nodes.astype(np.int8), **tested},
    }


def _tested(subject: proxies.Subjects, values: list[np.ndarray], k: int, restarts: int, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {"intact": subject.intact, "per_class": int(np.bincount(subject.labels)[0])}
    for number, which in enumerate(PARTITIONS):
        nodes, layers = partition(subject.model, values, which, k, restarts=restarts, seed=seed)
        tested = proxies.test_partition(subject, layers, seed=1000 * seed + number)
        found[which] = {"labels": nodes.astype(np.int8), **tested}
    return found


def penalised(*, dataset: str, strength: float, epochs: int, k: int, per_class: int, seed: int) -> dict[str, Any]:
    """Train a small network with a penalty on its clusterability, and test its partitions like those of the others.

    A copy is pruned afterwards, without the penalty.
    """
    images, labels = penalty.images(dataset, "train")
    model = penalty.train(images, labels, strength=strength, epochs=epochs, seed=seed)
    test_images, test_labels = penalty.images(dataset, "test")
    layers = [f"act{index}" for index in range(1, len(penalty.HIDDEN) + 1)]
    effort = EFFORTS[dataset]
    subject = proxies.subjects(model, layers, test_images, test_labels, per_class, steps=effort.steps)
    weights = graphs.layer_weights(model)
    pruned = copy.deepcopy(model)
    training.prune(pruned, images, labels, epochs=epochs, batch_size=penalty.BATCH, seed=seed)
    return {
        "accuracy": training.accuracy(model, test_images, test_labels),
        "pruned": {
            "accuracy": training.accuracy(pruned, test_images, test_labels),
            "weights": _cut(graphs.layer_weights(pruned), k, seed, effort.shuffles, effort.restarts),
        },
        "eigenvalues": 1 - spectral.layered_embedding(weights, 16).eigenvalues,
        "weights": _cut(weights, k, seed, effort.shuffles, effort.restarts),
        **_tested(subject, activations(model, layers, images, seed=seed), k, effort.restarts, seed),
    }


def blocks(*, dataset: str, k: int, per_class: int, seed: int) -> dict[str, Any]:
    """Train a network whose planted groups are true modules, and see whether the tests detect these."""
    model = nets.blocks(dataset, seed)
    images, labels = data.load(dataset, "test")
    effort = EFFORTS[dataset]
    subject = proxies.subjects(model, hidden("blocks"), images, labels, per_class, steps=effort.steps)
    values = activations(model, hidden("blocks"), data.load(dataset, "train")[0], seed=seed)
    truth = [own.numpy() for own in nets.groups(nets.sizes(dataset))[:-1]]
    return {
        "accuracy": training.accuracy(model, images, labels),
        "weights": _cut(graphs.layer_weights(model), k, seed, effort.fewer, effort.restarts),
        **_tested(subject, values, k, effort.restarts, seed),
        "planted": proxies.test_partition(subject, truth, seed=1000 * seed + len(PARTITIONS)),
    }


def pictures(*, dataset: str, kind: str, state: str, k: int, seed: int) -> dict[str, Any]:
    """Images that drive some sub-clusters, and random sets of as many units, as far as they go."""
    model = network(dataset=dataset, kind=kind, state=state, seed=seed)
    values = activations(model, hidden(kind), nets.images(dataset, kind, "train")[0], seed=seed)
    side, effort = nets.SETUPS[dataset].side, EFFORTS[dataset]
    generator = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for which in PARTITIONS:
        layers = partition(model, values, which, k, restarts=effort.restarts, seed=seed)[1]
        for number, own in enumerate(layers):
            live = np.flatnonzero(own >= 0)
            names, sizes = np.unique(own[live], return_counts=True)
            fitting = (sizes >= 3) & (sizes <= len(live) / 2)
            names = names[fitting][np.argsort(-sizes[fitting], kind="stable")][:5]
            if not len(names):
                continue
            sets = [live[own[live] == name] for name in names]
            sets += [generator.permutation(live)[: len(units)] for units in sets]
            shape, layer = (1, side, side), hidden(kind)[number]
            seen = visualization.feature_visualization(model, layer, sets, shape, before=True, steps=effort.steps)
            found[f"{which}, layer {number + 1}"] = {
                "size": [len(units) for units in sets],
                "image": (seen.images[:, 0] * 255).round().to(torch.uint8).numpy(),
                "score": seen.scores,
                "class": seen.logits.argmax(1).numpy(),
            }
    return found


def untrained_values(stage: str, params: Mapping[str, Any], name: str) -> bool:
    """Whether a recorded value, by its dotted name, does not depend on training."""
    of_untrained = params.get("state") == "untrained" or name.startswith("untrained.")
    return of_untrained or name in ("per_class", "planted.layer", "planted.size")


def networks_of(stage: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parameters of the cells that train the networks behind a cell: a stack is trained at once."""
    if stage in ("blocks", "penalised") or params.get("state") == "untrained":
        return []
    kind = params.get("kind", "cnn")
    kinds = MAIN if kind in MAIN else (kind,)
    return [{"dataset": params["dataset"], "kind": each, "seed": params["seed"]} for each in kinds]


# --- the plan ---------------------------------------------------------------------------------------------------------

SEEDS = 5
FEWER_SEEDS = 3  # of the kinds that only some claims need
K_CUT, K_PROXY = 12, 16  # as in the two generations of the authors' work
#: Networks whose graph partitions are tested: kind and state.
TESTED = (
    ("plain", "untrained"),
    ("plain", "trained"),
    ("plain", "pruned"),
    ("dropout", "trained"),
    ("dropout", "pruned"),
    ("planted", "trained"),
    ("planted", "pruned"),
)
SWEPT = (8, 12, 24)  # further numbers of clusters, on one seed
STRENGTHS = (0.0, 0.1, 1.0)  # of the penalty on clusterability; the authors take 0.1
#: Test images of every class that lesions are tested on: 2000 in all, of a CNN 500; for one seed as many of every class
#: as the rarest one has.
FEW, CNN_FEW, ALL = 200, 50, 892


def plan(scale: str) -> list[Cell]:
    """All cells of a scale, those that others build on first.

    ``paper``: MLPs of four layers of 256 units on MNIST and Fashion-MNIST, with all controls; a small CNN; the tasks
    with two halves; the penalty on clusterability. ``quick``: one seed of small MLPs on the embedded digits.

    Raises
    ------
    ValueError
        An unknown scale.
    """
    check_scale(scale)
    quick = scale == "quick"
    datasets = ("digits",) if quick else ("mnist", "fashion-mnist")
    seeds, fewer = (range(1), range(1)) if quick else (range(SEEDS), range(FEWER_SEEDS))
    tested, few = (TESTED[:-1], 20) if quick else (TESTED, FEW)
    cells: list[Cell] = []

    def add(stage: str, dataset: str, over: range, **params: Any) -> None:
        cells.extend(Cell(STUDY, stage, {"dataset": dataset, **params, "seed": seed}) for seed in over)

    extra = () if quick else ("l1", "independent", "redundant", "cnn")
    for dataset in datasets:
        for kind in MAIN:
            add("train", dataset, seeds, kind=kind)
        for kind in extra:
            add("train", dataset, fewer, kind=kind)
    for dataset in datasets:
        for kind, state in tested:
            add("subclusters", dataset, seeds, kind=kind, state=state, k=K_PROXY, per_class=few)
    for dataset in datasets:
        for kind, state in (*tested, ("planted", "untrained")):
            add("cuts", dataset, seeds, kind=kind, state=state, k=K_CUT)
        for kind in extra:
            for state in STATES if kind == "cnn" else STATES[1:]:
                add("cuts", dataset, fewer, kind=kind, state=state, k=K_CUT)
        add("blocks", dataset, fewer, k=K_CUT, per_class=few)
        add("pictures", dataset, range(1), kind="plain", state="trained", k=K_PROXY)
    for strength in STRENGTHS:
        how = {"strength": strength, "epochs": 10 if quick else 20, "k": K_CUT, "per_class": few}
        add("penalised", datasets[0], fewer, **how)
    if quick:
        return cells
    for dataset in datasets:
        add("filters", dataset, fewer, state="trained", k=K_CUT, per_class=CNN_FEW)
        for kind, state in TESTED[1:5]:
            for k in SWEPT:
                add("subclusters", dataset, range(1), kind=kind, state=state, k=k, per_class=few)
    for kind, state in TESTED[1:5]:
        add("subclusters", "mnist", range(1), kind=kind, state=state, k=K_PROXY, per_class=ALL)
    return cells
