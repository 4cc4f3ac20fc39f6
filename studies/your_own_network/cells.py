"""One stage: train a small residual network, and find and test the modules of its last block in nine ways."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from companion import cache
from companion.records import Cell, check_scale
from modutils import (
    agreement,
    attribution,
    coclustering,
    coherence,
    graphs,
    lesions,
    modularity,
    partitions,
    similarity,
    spectral,
    statistics,
    training,
    units,
)
from modutils import data as images_of
from modutils.training import Execution

STUDY = "your_own_network"
LAYER = "blocks.2"
SEEDS = 3


class Setup(NamedTuple):
    """Size of a network, its training, and how many test images describe its units; the rest test the modules."""

    channels: tuple[int, ...]
    epochs: int
    described: int
    k: int


SETUPS = {"digits": Setup((8, 16, 32), 10, 250, 4), "cifar10": Setup((16, 32, 64), 8, 500, 8)}


# --- the network ------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Two convolutions with batch normalisation, and a way around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.way_around = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.branch(x) + self.way_around(x))
        return out


class Residual(nn.Module):
    """Three residual blocks, the mean over positions, and a linear readout."""

    def __init__(self, image_channels: int, channels: tuple[int, ...], classes: int = 10) -> None:
        super().__init__()
        first = channels[0]
        self.stem = nn.Sequential(
            nn.Conv2d(image_channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        pairs = zip((first, *channels), channels, strict=False)
        self.blocks = nn.Sequential(*(Block(a, b, 1 if a == b else 2) for a, b in pairs))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(x)))
        return logits


def network(dataset: str, seed: int) -> nn.Module:
    """The trained network, from the cache or trained now."""
    setup = SETUPS[dataset]
    torch.manual_seed(seed)
    model = Residual(3 if dataset == "cifar10" else 1, setup.channels)
    cell = Cell(STUDY, "network", {"dataset": dataset, "seed": seed})

    def trained() -> dict[Cell, Any]:
        start = time.process_time()
        execution = Execution("cuda" if torch.cuda.is_available() else "cpu", cache.path_of(cell, "checkpoint"))
        training.train(
            model, *images_of.load(dataset, "train"), epochs=setup.epochs, batch_size=64, seed=seed, execution=execution
        )
        return {cell: {"weights": model.state_dict(), "cpu_seconds": time.process_time() - start}}

    model.load_state_dict(cache.networks(cell, trained)["weights"])
    return model.eval()


# --- describe, group, test --------------------------------------------------------------------------------------------


def describe(model: nn.Module, layer: str, images: Tensor) -> dict[str, Tensor]:
    """The channels of a layer in three ways: one matrix (channels, images), and two (channels, channels)."""
    values = units.layer_activations(model, layer, images, units="channel")
    return {
        "attribution": attribution.neuron_sample_matrix(model, layer, images)
        .unflatten(0, (values.shape[1], -1))
        .sum(1),
        "similarity": similarity.normalize(similarity.unit_similarity(model, layer, images, measure="covariance")),
        "correlation": torch.as_tensor(graphs.correlation_graph(values)),
    }


def group(description: Tensor, k: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Modules of the channels in three ways; a matrix of channels and images becomes a graph by correlation."""
    square = description.shape[0] == description.shape[1]
    graph = description if square else graphs.correlation_graph(description.T)
    found = {
        "co-clustering": coclustering.spectral_cocluster(description, k, seed=seed).row_labels,
        "modularity": modularity.find_modules(graph, seed=seed).labels,
        "normalised cut": spectral.spectral_clusters(graph, k, seed=seed),
    }
    return {name: np.asarray(labels) for name, labels in found.items()}


def compared(
    model: nn.Module, layer: str, images: Tensor, classes: Tensor, labels: np.ndarray, *, draws: int = 99, seed: int = 0
) -> dict[str, Any]:
    """Modules beside random sets of as many channels, by what removal does and by which images drive them."""
    values = units.layer_activations(model, layer, images, units="channel").T
    of_class = np.bincount(classes)

    def measure(_: int, sets: list[np.ndarray]) -> Mapping[str, np.ndarray]:
        left = lesions.correct_counts(model, layer, images, classes, sets, units="channel")
        lost = (lesions.correct_counts(model, layer, images, classes, [[]]) - left) / of_class
        drive = torch.stack([values[torch.as_tensor(channels)].sum(0) for channels in sets])
        return {
            "lost": lost.mean(1),
            "selectivity": np.ptp(lost, axis=1),
            "entropy": np.asarray(coherence.label_entropy(drive, classes, top=50)),
        }

    test = partitions.permutation_test([labels], measure, draws=draws, seed=seed)
    found: dict[str, Any] = {"size": test.size}
    for name, values_of_sets in test.values.items():
        own, random = values_of_sets[:, 0], values_of_sets[:, 1:-1]
        p = statistics.rank_p_values(own, random, "less" if name == "entropy" else "greater")
        found[name] = {"value": own, "null": random.mean(1), "p": p}
    return found


# --- the stage --------------------------------------------------------------------------------------------------------


def modules(*, dataset: str, seed: int) -> dict[str, Any]:
    """Three descriptions, nine partitions, two tests of each, and how far the partitions agree."""
    setup = SETUPS[dataset]
    model = network(dataset, seed)
    images, classes = images_of.load(dataset, "test")
    first, rest = slice(None, setup.described), slice(setup.described, None)
    described = describe(model, LAYER, images[first])
    found: dict[str, Any] = {}
    labels = []
    for name, description in described.items():
        for way, partition in group(description, setup.k).items():
            labels.append(partition)
            found[f"{name}, {way}"] = {
                "labels": partition,
                "modules": len(np.unique(partition[partition >= 0])),
                **compared(model, LAYER, images[rest], classes[rest], partition),
            }
    square = {
        name: graphs.correlation_graph(one.T) if name == "attribution" else one for name, one in described.items()
    }
    return {
        "accuracy": training.accuracy(model, images, classes),
        "train": len(images_of.load(dataset, "train")[0]),
        "test": len(images),
        "graphs": {name: np.asarray(one, dtype=np.float32) for name, one in square.items()},
        "partitions": found,
        "agreement": np.array([[agreement.element_similarity(a, b) for b in labels] for a in labels]),
    }


def networks_of(stage: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The network behind a cell; what its training took is not recorded, so no limit of time lets the cell through."""
    return [dict(params)]


def plan(scale: str) -> list[Cell]:
    """All cells of a scale: ``paper``, three networks on CIFAR-10; ``quick``, one on digits.

    Raises
    ------
    ValueError
        An unknown scale.
    """
    check_scale(scale)
    dataset, seeds = ("digits", 1) if scale == "quick" else ("cifar10", SEEDS)
    return [Cell(STUDY, "modules", {"dataset": dataset, "seed": seed}) for seed in range(seeds)]
