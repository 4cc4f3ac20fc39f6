"""Who competes: four papers' definitions of a module and seven baselines, each as labels of both hidden layers.

A competitor is a description of a network and a way to group units by it; several ways share a description. All get the
planted number of groups of each layer but those that choose their own: Newman's Q where the name has no number, and the
modules that neural sculpting detects. −1 marks units that a method leaves out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from modutils import (
    attribution,
    coclustering,
    graphs,
    hierarchy,
    lesions,
    modularity,
    planted,
    similarity,
    spectral,
    training,
)
from modutils.units import layer_activations

LAYERS = ("act1", "act2")
#: The paper's four measures by the names that readers know.
MEASURES = {
    "covariance": "covariance",
    "input sensitivity": "input_sensitivity",
    "output sensitivity": "output_sensitivity",
    "loss Hessian": "loss_hessian",
}
SPARSITIES = (0.8, 0.9, 0.95)
#: Thresholds of detection that the authors took for MNIST.
MERGE, DETECT = 0.6, -0.3

Labels = list[np.ndarray]


class Net(NamedTuple):
    """A network as competitors see it: nothing tells them what is planted but the number of groups.

    ``model`` has plain layers; ``inputs`` (N, images, height, width) describe its units, ``targets`` (N, heads) are
    what the heads should say; ``images`` and ``heads`` are counts; ``ks`` the planted number of groups of each layer;
    ``training`` what the network was trained with, and ``batch_size``.
    """

    model: nn.Sequential
    inputs: Tensor
    targets: Tensor
    training: tuple[Tensor, Tensor]
    batch_size: int
    images: int
    heads: int
    ks: tuple[int, int]
    seed: int


# --- descriptions -----------------------------------------------------------------------------------------------------


def attributions(net: Net) -> list[Tensor]:
    """DeepLIFT attribution e of each layer's units, for all heads: (units, heads · N)."""
    return [
        torch.cat(
            [
                # of rescaled copies the sums miss by more than the usual rounding
                attribution.neuron_sample_matrix(
                    net.model, layer, net.inputs, output=planted.head(head), incomplete="warn"
                )
                for head in range(net.heads)
            ],
            1,
        )
        for layer in LAYERS
    ]


def similarities(net: Net, measure: str) -> list[np.ndarray]:
    """One measure of each layer, normalised; the Hessian is the sum over heads of the sizes of theirs."""
    linear = _linear(net.model)
    weights, biases = [one.weight.detach() for one in linear], [one.bias.detach() for one in linear]
    size = planted.CLASSES if measure == "loss_hessian" else len(biases[-1])
    total: list[Any] = [0, 0]
    for head, bias in zip(weights[-1].split(size), biases[-1].split(size), strict=True):
        found = similarity.mlp_similarities([*weights[:-1], head], [*biases[:-1], bias], net.inputs, measures=[measure])
        total = [before + one[measure].outside for before, one in zip(total, found, strict=True)]
    return [similarity.normalize(one).numpy() for one in total]


def sizes_of_weights(net: Net) -> list[np.ndarray]:
    """The sizes of the weights between layers, (out, in) each."""
    return graphs.layer_weights(net.model)


def activities(net: Net) -> list[np.ndarray]:
    """Activations of each layer, (N, units)."""
    return [np.asarray(layer_activations(net.model, layer, net.inputs)) for layer in LAYERS]


def pruned(net: Net, sparsity: float) -> list[np.ndarray]:
    """Masks (out, in) that are left when the network is pruned to a share of zeros, in two more epochs."""
    model = nn.Sequential(planted.plain(net.model), planted.ByHead())
    return training.prune_further(
        model, *net.training, epochs=2, sparsity=sparsity, batch_size=net.batch_size, seed=net.seed
    )


def hurt(net: Net) -> list[np.ndarray]:
    """How much each unit's lesion raises the cross-entropy of each head, (units, heads) for each layer."""
    found = []
    for layer, units in zip(LAYERS, _widths(net), strict=True):
        logits = lesions.lesioned_logits(net.model, layer, net.inputs, [[], *([unit] for unit in range(units))])
        by_head = torch.from_numpy(logits).unflatten(2, (net.heads, planted.CLASSES)).log_softmax(3)
        right = net.targets[None, :, :, None].expand(len(logits), -1, -1, 1)
        losses = -by_head.gather(3, right)[..., 0].mean(1)
        found.append((losses[1:] - losses[0]).numpy())
    return found


def nothing(net: Net) -> None:
    """For who does not look."""


def _linear(model: nn.Module) -> list[nn.Linear]:
    return [part for part in model.modules() if isinstance(part, nn.Linear)]


def _widths(net: Net) -> list[int]:
    return [layer.out_features for layer in _linear(net.model)[:-1]]


# --- groupings --------------------------------------------------------------------------------------------------------


def cut(A: Any, k: int) -> np.ndarray:
    """Normalised spectral clusters; −1 everywhere in a graph that has fewer than k nodes with an edge."""
    graph = np.asarray(A)
    edges = (graph > 0).sum(0) - (graph.diagonal() > 0)
    if (edges > 0).sum() < k:
        return np.full(len(graph), -1)
    return np.asarray(spectral.spectral_clusters(graph, k))


def by_cut(graphs_of_layers: Sequence[Any], net: Net) -> Labels:
    """Spectral clusters of each layer's graph."""
    return [cut(graph, k) for graph, k in zip(graphs_of_layers, net.ks, strict=True)]


def by_q(graphs_of_layers: Sequence[Any], net: Net, *, free: bool) -> Labels:
    """The partition of highest modularity, of as many modules as are planted or as many as it likes."""
    found = []
    for graph, k in zip(graphs_of_layers, net.ks, strict=True):
        used = int(((graph - np.diag(graph.diagonal())) > 0).any(0).sum())
        few = used < k
        found.append(
            np.full(len(graph), -1) if few else np.asarray(modularity.find_modules(graph, k=None if free else k).labels)
        )
    return found


def co_clustered(matrices: Sequence[Tensor], net: Net) -> Labels:
    """Row labels of a spectral co-clustering of units and samples."""
    found = []
    for matrix, k in zip(matrices, net.ks, strict=True):
        few = int((matrix > 0).any(1).sum()) < k
        found.append(
            np.full(len(matrix), -1) if few else np.asarray(coclustering.spectral_cocluster(matrix, k).row_labels)
        )
    return found


def preferred(matrices: Sequence[Tensor], net: Net) -> Labels:
    """The head for which a unit's attributions are largest in size."""
    return [np.asarray(one.abs().unflatten(1, (net.heads, -1)).mean(2).argmax(1)) for one in matrices]


def all_layers(weights: Sequence[np.ndarray], net: Net) -> Labels:
    """Spectral clusters of the graph of all layers, inputs and outputs among them."""
    return graphs.by_layer(spectral.layered_clusters(weights, max(net.ks)), weights)[1:-1]


def hidden_layers(weights: Sequence[np.ndarray], net: Net) -> Labels:
    """The same of the hidden layers alone."""
    return graphs.by_layer(spectral.layered_clusters(weights[1:-1], max(net.ks)), weights[1:-1])


def local(weights: Sequence[np.ndarray], net: Net) -> Labels:
    """Each layer from the graph of itself, the one below and the one above."""
    counts = [max(net.images, 2), *net.ks, max(net.heads, 2)]
    return graphs.by_layer(spectral.local_clusters(weights, counts), weights)[1:-1]


def most_read(weights: Sequence[np.ndarray], net: Net) -> Labels:
    """The image that most weight leads from, along all paths."""
    paths = np.eye(net.images).repeat(weights[0].shape[1] // net.images, 0)
    found = []
    for weight in weights[:-1]:
        paths = weight @ paths
        found.append(paths.argmax(1))
    return found


def most_served(weights: Sequence[np.ndarray], net: Net) -> Labels:
    """The head that most weight leads to, along all paths."""
    paths = np.eye(net.heads).repeat(planted.CLASSES, 0)
    found = []
    for weight in weights[:0:-1]:
        paths = weight.T @ paths
        found.append(paths.argmax(1))
    return found[::-1]


def correlated(values: Sequence[np.ndarray], net: Net) -> Labels:
    """Spectral clusters of the squared rank correlations within each layer."""
    return by_cut([graphs.correlation_graph(one) for one in values], net)


def correlated_across(values: Sequence[np.ndarray], net: Net) -> Labels:
    """The same of both layers in one graph."""
    labels = cut(graphs.correlation_graph(np.concatenate(values, 1)), max(net.ks))
    return np.split(labels, [values[0].shape[1]])


def k_means(values: Sequence[np.ndarray], net: Net) -> Labels:
    """k-means on activations as they are."""
    return [KMeans(k, n_init=10, random_state=0).fit_predict(one.T) for one, k in zip(values, net.ks, strict=True)]


def detected(masks: Sequence[np.ndarray], net: Net) -> Labels:
    """The modules that neural sculpting detects, as many as it finds."""
    return hierarchy.detect_modules(masks, merge_threshold=MERGE, modularity_threshold=DETECT)[1:-1]


def by_reach(masks: Sequence[np.ndarray], net: Net, *, tree: bool) -> Labels:
    """What units reach downstream, grouped by spectral clustering of its cosines, or by the tree of the paper."""
    alive, features = hierarchy.condense(masks), hierarchy.reach(masks)
    found = []
    for layer, k in enumerate(net.ks, 1):
        labels = np.full(len(alive[layer]), -1)
        reached = features[layer][alive[layer]].astype(float)
        if len(reached) >= k and tree:
            labels[alive[layer]] = hierarchy.cut_layer(reached, k)
        elif len(reached) >= k:
            length = np.sqrt(reached.sum(1))
            labels[alive[layer]] = cut(reached @ reached.T / np.outer(length, length), k)
        found.append(labels)
    return found


def most_hurt(losses: Sequence[np.ndarray], net: Net) -> Labels:
    """The head that a unit's lesion hurts most."""
    return [one.argmax(1) for one in losses]


def drawn(_: None, net: Net) -> Labels:
    """Groups drawn at random."""
    rng = np.random.default_rng([net.seed, 1])
    return [rng.integers(k, size=units) for k, units in zip(net.ks, _widths(net), strict=True)]


def dealt(_: None, net: Net) -> Labels:
    """Groups of equal sizes, as planted ones are, in a random order."""
    rng = np.random.default_rng([net.seed, 2])
    return [rng.permutation(np.arange(units) % k) for k, units in zip(net.ks, _widths(net), strict=True)]


# --- the field --------------------------------------------------------------------------------------------------------

Describe = Callable[[Net], Any]
Group = Callable[[Any, Net], Labels]


def _of_similarity(name: str, measure: str) -> tuple[Describe, Mapping[str, Group]]:
    ways: dict[str, Group] = {
        name: by_cut,
        f"{name}, Q at k": partial(by_q, free=False),
        f"{name}, Q": partial(by_q, free=True),
    }
    return partial(similarities, measure=measure), ways


def _of_pruning(sparsity: float) -> tuple[Describe, Mapping[str, Group]]:
    ways: dict[str, Group] = {
        f"reach {sparsity}": partial(by_reach, tree=False),
        f"reach {sparsity}, tree": partial(by_reach, tree=True),
        f"sculpting {sparsity}": detected,
    }
    return partial(pruned, sparsity=sparsity), ways


#: Each description with the ways in which it is grouped.
COMPETITORS: list[tuple[Describe, Mapping[str, Group]]] = [
    (attributions, {"co-clustering": co_clustered, "class preference": preferred}),
    *(_of_similarity(name, measure) for name, measure in MEASURES.items()),
    (
        sizes_of_weights,
        {
            "weights, all": all_layers,
            "weights, hidden": hidden_layers,
            "weights, local": local,
            "in-weight": most_read,
            "out-weight": most_served,
        },
    ),
    (activities, {"activations": correlated, "activations, all": correlated_across, "k-means": k_means}),
    *(_of_pruning(sparsity) for sparsity in SPARSITIES),
    (hurt, {"single unit": most_hurt}),
    (nothing, {"random": drawn, "random, equal sizes": dealt}),
]
#: All competitors in this order.
NAMES = [name for _, ways in COMPETITORS for name in ways]


def compete(net: Net) -> tuple[dict[str, Labels], dict[str, float]]:
    """Labels of both layers by every competitor, and the processor time (s) of its description and its grouping."""
    labels, seconds = {}, {}
    for describe, ways in COMPETITORS:
        start = time.process_time()
        described = describe(net)
        first = time.process_time() - start
        for name, group in ways.items():
            start = time.process_time()
            labels[name] = [np.asarray(one, dtype=np.int64) for one in group(described, net)]
            seconds[name] = first + time.process_time() - start
    return labels, seconds
