"""The rules of B7 and B10 the whole way: from the weights of networks to the verdict.

Images are made here, of ten classes, and so are the networks: untrained, or with weights that are put there. Matrices,
clusters, scores and curves are by the functions of the stages. As many networks as the record has seeds; they are
small, so that all of it takes a minute.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from companion.claims import decide
from modutils import networks, training
from modutils.units import layer_activations
from studies.biclustering import cells, claims
from studies.biclustering.claims import FORM, SAME_TARGET, TARGET_FREE

SEEDS = 10
CLASSES, PIXELS, IMAGES = 10, 64, 500
WIDTH, DEPTH = 100, 4  # of the hidden layers
POOL = 2 * SEEDS  # networks of one kind, of which each draw has SEEDS


@cache
def _templates() -> Tensor:
    """(classes, pixels) of ±1."""
    return torch.randint(2, (CLASSES, PIXELS), generator=torch.Generator().manual_seed(0)) * 2.0 - 1


@cache
def _images() -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8), a template in as much noise, and their classes."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (IMAGES,), generator=generator)
    images = _templates()[labels] + torch.randn(IMAGES, PIXELS, generator=generator)
    return images.view(IMAGES, 1, 8, 8), labels


def _mlp(depth: int, width: int, seed: int) -> nn.Sequential:
    """As it is initialised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return networks.mlp([PIXELS, *[width] * depth, CLASSES]).eval()


def _linear(model: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in model if isinstance(layer, nn.Linear)]


# --- B7: whence the samples' classes ----------------------------------------------------------------------------------


def separate(seed: int) -> nn.Sequential:
    """Ten modules, one a class, from the first hidden layer on: units compare with its template, and hand that on.

    Weights vary by a tenth from unit to unit.
    """
    model = _mlp(DEPTH, WIDTH, seed)
    generator = torch.Generator().manual_seed(seed)
    below = torch.arange(WIDTH) % CLASSES
    weights = [_templates()[below] / PIXELS]
    for above in (*[below] * (DEPTH - 1), torch.arange(CLASSES)):
        member = (above[:, None] == below).float()
        weights.append(member / member.sum(1, keepdim=True))
    with torch.no_grad():
        for layer, weight in zip(_linear(model), weights, strict=True):
            layer.weight.copy_(weight * (1 + 0.1 * torch.randn(weight.shape, generator=generator)))
            layer.bias.zero_()
    return model


@cache
def _coherence(seed: int, planted: bool) -> dict[str, float]:
    """NMI of sample clusters with classes, as in the stage ``controls``, by which matrix is clustered."""
    images, labels = _images()
    layer = "act1"
    # Seeds of the network in the place of the trained one are none of the untrained ones.
    net, blank = separate(seed) if planted else _mlp(DEPTH, WIDTH, 1000 + seed), _mlp(DEPTH, WIDTH, seed)
    targets = training.predict(net, images).argmax(1) if planted else labels
    matrices = {
        "predicted class": cells._matrix(net, layer, images, target=targets),
        TARGET_FREE[0]: layer_activations(net, layer, images).numpy().T,
        TARGET_FREE[1]: cells._target_free(net, layer, images),
        SAME_TARGET[0]: cells._matrix(blank, layer, images, target=targets),
        SAME_TARGET[1]: cells._matrix(blank, layer, images, target=labels),
    }
    clusters = {name: cells._cluster(matrix, cells.K, FORM, seed).column_labels for name, matrix in matrices.items()}
    return {name: cells._label_scores(found, labels.numpy())["nmi"] for name, found in clusters.items()}


def b7(of: Any, rng: np.random.Generator, planted: bool, pool: int = POOL) -> str:
    """An untrained network in the place of the trained one; or one of ten modules, one a class."""
    found = [_coherence(seed, planted) for seed in rng.permutation(pool)[:SEEDS].tolist()]
    values = {name: np.array([one[name] for one in found]) for name in found[0]}
    return decide(claims.b7_conditions(values.pop("predicted class"), values), needed=claims.B7_NEEDED)


# --- B10: removal -----------------------------------------------------------------------------------------------------

RANDOM_ORDERS = 5


@cache
def _areas(seed: int, planted: bool) -> dict[str, float]:
    """Area under accuracy, as in the stage ``ablate``: by module, greedily, and in random order.

    In place of modules a null has groups of units at random, as large as these.
    """
    images, labels = _images()
    half, layer, net = IMAGES // 2, "act1", separate(seed)
    rng = np.random.default_rng(seed)
    matrix = cells._matrix(net, layer, images[:half])
    found = cells._cluster(matrix, CLASSES, FORM, seed)
    if not planted:
        found = replace(found, row_labels=rng.permutation(found.row_labels))
    modules = cells._removal(matrix, found, CLASSES, "mass")
    counts = [len(group) for group in modules]
    orders = {
        "module": [modules],
        "greedy": [cells._by_score(matrix.mean(1), counts)],
        "random": [cells._by_score(rng.permutation(WIDTH), counts) for _ in range(RANDOM_ORDERS)],
    }
    curves = cells._curves(net, layer, images[half:], labels[half:], orders)
    return {name: curve["area"] for name, curve in curves.items()}


def b10(of: Any, rng: np.random.Generator, planted: bool, pool: int = POOL) -> str:
    """Groups of units at random, as large as the modules; or the modules, in networks of ten, one a class."""
    found = [_areas(seed, planted) for seed in rng.permutation(pool)[:SEEDS].tolist()]
    return decide(claims.b10_conditions(*(np.array([one[name] for one in found]) for name in found[0])))
