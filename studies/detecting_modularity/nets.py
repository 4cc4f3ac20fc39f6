"""The networks of the chapter, as they start: initialisation, planted groups, and the task with two halves."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from modutils import data, stacked, training
from modutils.stacked import Stack

SPLIT_SEEDS = {"train": 100, "test": 101}  # of the pairs of images
GROUPS = 10  # planted groups, one per class
WITHIN, BETWEEN = 4.6, 0.6  # factors on the first weights of a planted network (the authors' code)


class Setup(NamedTuple):
    """Sizes of the networks on one data set, and how long they are trained."""

    side: int
    width: int
    epochs: int
    batch_size: int
    cnn_epochs: int


SETUPS = {
    "mnist": Setup(28, 256, 20, 128, 3),
    "fashion-mnist": Setup(28, 256, 20, 128, 3),
    "digits": Setup(8, 64, 20, 32, 20),
}


def sizes(dataset: str) -> list[int]:
    """Units of every layer of the MLP: inputs, four hidden layers, classes."""
    setup = SETUPS[dataset]
    return [setup.side**2, *[setup.width] * 4, 10]


def groups(layer_sizes: list[int]) -> list[Tensor]:
    """The planted group of every hidden unit and output, layer by layer: equal shares, and output c in group c."""
    return [torch.arange(units) * GROUPS // units for units in layer_sizes[1:]]


def start(dataset: str, kind: str, seed: int) -> Stack:
    """One fresh network: uniform Glorot weights, biases 0; those of one seed start alike.

    ``planted`` has its weights within the planted groups multiplied by `WITHIN` and the others by `BETWEEN`, but for
    the first layer.
    """
    units = sizes(dataset)
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for below, above in pairwise(units):
        weight = torch.empty(above, below)
        weights.append(nn.init.xavier_uniform_(weight, generator=generator))
    if kind == "planted":
        planted = groups(units)
        for weight, (lower, upper) in zip(weights[1:], pairwise(planted), strict=True):
            weight *= torch.where(upper[:, None] == lower, WITHIN, BETWEEN)
    return Stack([w[None] for w in weights], [torch.zeros(1, n) for n in units[1:]])


def cnn(dataset: str, seed: int) -> nn.Sequential:
    """Three 3×3 convolutions of 32, 64 and 64 filters, each followed by 2×2 max-pooling; 128 dense units, 10 logits.

    Smaller than the authors' (64 filters each, no pooling after the first), so that six of them take minutes.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = (1, 32, 64, 64)
    for index in range(1, 4):
        layers[f"conv{index}"] = nn.Conv2d(channels[index - 1], channels[index], 3, padding=1)
        layers[f"act{index}"] = nn.ReLU()
        layers[f"pool{index}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["dense"] = nn.Linear(64 * (SETUPS[dataset].side // 8) ** 2, 128)
    layers["act4"] = nn.ReLU()
    layers["logits"] = nn.Linear(128, 10)
    model = nn.Sequential(layers)
    generator = torch.Generator().manual_seed(seed)
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model.eval()


def blocks(dataset: str, seed: int) -> nn.Sequential:
    """An MLP whose groups are true modules: trained with weights within the planted groups alone.

    The first layer is whole, and each group of hidden units feeds the output of its own class and no other.
    """
    model = stacked.network(start(dataset, "plain", seed), 0)
    units = sizes(dataset)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer, (lower, upper) in zip(layers[1:], pairwise(groups(units)), strict=True):
        prune.custom_from_mask(layer, "weight", (upper[:, None] == lower).float())
    pictures, labels = data.load(dataset, "train")
    setup = SETUPS[dataset]
    training.train(
        model,
        pictures,
        labels,
        epochs=setup.epochs,
        batch_size=setup.batch_size,
        schedule="constant",
        seed=seed,
    )
    for layer in layers[1:]:
        prune.remove(layer, "weight")
    return model.eval()


def images(dataset: str, kind: str, split: str) -> tuple[Tensor, Tensor]:
    """Images and labels that networks of this kind see.

    ``independent`` and ``redundant`` have two images side by side, each squeezed to half its width. With
    ``independent`` halves the label is the sum of the two classes modulo 10; ``redundant`` halves are of one class,
    which is the label.
    """
    pictures, labels = data.load(dataset, split)
    if kind not in ("independent", "redundant"):
        return pictures, labels
    generator = torch.Generator().manual_seed(SPLIT_SEEDS[split])
    halves = functional.avg_pool2d(pictures, (1, 2))
    left = torch.randperm(len(labels), generator=generator)
    right = torch.randperm(len(labels), generator=generator)
    if kind == "redundant":  # a partner from the same class, in random order
        partner = torch.empty_like(left)
        for label in labels.unique():
            members = (labels[left] == label).nonzero()[:, 0]
            partner[members] = left[members[torch.randperm(len(members), generator=generator)]]
        right = partner
    both = torch.cat([halves[left], halves[right]], dim=3)
    target = labels[left] if kind == "redundant" else (labels[left] + labels[right]) % 10
    return both, target
