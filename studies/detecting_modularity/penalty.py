"""Training with a penalty that makes a network's weights easier to cluster (Filan et al. 2021)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from modutils import data, networks, training

HIDDEN = (64, 64, 64)
EIGENVALUES = 3  # the smallest ones of the normalised Laplacian after 0
BATCH = 128
NORM = math.sqrt(2)  # of the incoming weights of every hidden unit


def images(dataset: str, split: str) -> tuple[Tensor, Tensor]:
    """MNIST averaged to 7×7 pixels, as in the paper; the embedded digits as they are."""
    pictures, labels = data.load(dataset, split)
    return (functional.avg_pool2d(pictures, 4) if pictures.shape[-1] == 28 else pictures), labels


def train(pictures: Tensor, labels: Tensor, *, strength: float, epochs: int, seed: int) -> nn.Sequential:
    """Train an MLP with three hidden layers on cross-entropy + strength × mean of small Laplacian eigenvalues.

    After every step the incoming weights of each hidden unit are scaled to length √2 and its outgoing ones by the
    inverse, which does not change what the network does. Otherwise it could lower the penalty by scale alone.
    """
    with torch.random.fork_rng(devices=[]):
        model = networks.mlp([pictures[0].numel(), *HIDDEN, 10])
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        torch.manual_seed(seed)
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

        def penalty() -> Tensor:
            return strength * small_eigenvalues([layer.weight for layer in layers]).mean()

        training.optimize(
            model,
            pictures,
            labels,
            torch.optim.Adam(model.parameters(), lr=1e-3, fused=True),
            epochs=epochs,
            batch_size=BATCH,
            seed=None,  # the order goes on from the draw of the weights
            hooks=training.Hooks(penalty if strength else None, lambda _: _rescale(layers)),
        )
    return model


def small_eigenvalues(weights: list[Tensor]) -> Tensor:
    """The smallest eigenvalues after 0 of the normalised Laplacian of the weight graph, (EIGENVALUES,); differentiable.

    As in `modutils.spectral.layered_embedding` they are 1 − σ for the largest singular values σ of the normalised
    weights between even and odd layers.
    """
    blocks = [weight.abs() for weight in weights]
    rows = []
    for even in range(0, len(blocks) + 1, 2):  # layer `even` against all odd layers
        row = []
        for odd in range(1, len(blocks) + 1, 2):
            if odd == even + 1:
                row.append(blocks[even].T)
            elif odd == even - 1:
                row.append(blocks[odd])
            else:
                inputs = blocks[0].shape[1] if even == 0 else blocks[even - 1].shape[0]
                row.append(blocks[0].new_zeros(inputs, blocks[odd - 1].shape[0]))
        rows.append(torch.cat(row, dim=1))
    between = torch.cat(rows)
    tiny = torch.finfo(between.dtype).tiny
    normal = between / (between.sum(1, keepdim=True) + tiny).sqrt() / (between.sum(0) + tiny).sqrt()
    gram = normal.T @ normal if normal.shape[0] >= normal.shape[1] else normal @ normal.T
    squares = torch.linalg.eigvalsh(gram)[-EIGENVALUES - 1 : -1]
    return 1 - squares.clamp(min=1e-12).sqrt()


@torch.no_grad()
def _rescale(layers: list[nn.Linear]) -> None:
    for below, above in pairwise(layers):
        factor = NORM / below.weight.norm(dim=1).clamp(min=1e-12)
        below.weight.mul_(factor[:, None])
        below.bias.mul_(factor)
        above.weight.div_(factor)
