"""Networks with known modules: planted by masks on the weights, and kept through training.

A network of two hidden layers reads G images side by side and has heads of ten logits each. Units of both hidden layers
belong to groups in a random order, and weights between different groups are masked, but for a share δ of them that
stays trainable. So what a method finds can be compared with what is there. Three families:

.. list-table::
   :header-rows: 1

   * - family
     - images and heads
     - groups of layer 1
     - groups of layer 2
     - masked weights
   * - ``aligned``
     - G images; head g names image g
     - by the image read
     - by the head served, which is the same
     - all layers
   * - ``crossed``
     - G images; the largest and the smallest of their digits
     - G, by the image read
     - two, by the head served
     - from the inputs, and to the heads
   * - ``columns``
     - one image, one head
     - G columns that do the same
     - the same columns
     - between the hidden layers

With δ = 0 groups share nothing. With δ = 1 nothing is masked: there is no plant, only the task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils import prune

from modutils import _check, data, networks
from modutils.training import HERE, Execution, History, optimize, predict

#: The families, as the table says.
FAMILIES = ("aligned", "crossed", "columns")
#: Logits of a head.
CLASSES = 10


class Planted(NamedTuple):
    """A network and what is planted in it.

    Attributes
    ----------
    model : torch.nn.Sequential
        A `modutils.networks.mlp` in evaluation mode. Layers with masked weights are reparametrised by
        `torch.nn.utils.prune`, so that training keeps them at zero. Copy it by `plain`: after a run with gradients,
        `copy.deepcopy` refuses such layers.
    labels : list of two ndarrays of int64, shapes (units,)
        The true group of each unit of ``act1`` and ``act2``.
    masks : list of three ndarrays of bool, shapes (out, in)
        Where weights may differ from zero, in all layers, as `modutils.hierarchy` takes them.
    """

    model: nn.Sequential
    labels: list[np.ndarray]
    masks: list[np.ndarray]


def network(family: str, *, sizes: Sequence[int], groups: int = 2, delta: float = 0.0, seed: int = 0) -> Planted:
    """An untrained network with planted modules.

    Parameters
    ----------
    family : str
        One of :data:`FAMILIES`.
    sizes : sequence of four int
        Inputs, units of the two hidden layers, outputs. Inputs are so many for each image, one image after the other,
        and outputs are ten for each head.
    groups : int
        G, at least 2 and at most the units of a hidden layer. Groups of a layer differ by one unit at most.
    delta : float
        Share in [0, 1] of the weights between different groups that is kept, rounded to whole weights in each layer.
    seed : int
        Of the starting weights, the order of the units, and the weights that are kept. Of one seed, networks of
        different ``delta`` differ in nothing else, and a larger one keeps what a smaller one keeps.

    Raises
    ------
    ValueError
        An unknown family, sizes that do not fit, or a number out of range.

    Examples
    --------
    >>> planted = network("aligned", sizes=[128, 6, 4, 20])
    >>> [int(mask.sum()) for mask in planted.masks], planted.labels[1].tolist().count(0)
    ([384, 12, 40], 2)
    """
    images, heads = _images_and_heads(family, groups)
    fits = len(sizes) == 4 and sizes[0] >= images and sizes[0] % images == 0 and min(sizes[1:3]) >= groups
    if not fits or sizes[3] != CLASSES * heads:
        raise ValueError(
            f"sizes={list(sizes)}; {family!r} with groups={groups} needs four: inputs that are a multiple of {images}, "
            f"two hidden layers of at least {groups} units, and {CLASSES * heads} outputs"
        )
    if not 0 <= delta <= 1:
        raise ValueError(f"delta={delta} must lie in 0 ... 1")
    generator = np.random.default_rng(seed)
    inputs, outputs = _groups(sizes[0], images), _groups(sizes[3], heads)
    lower = generator.permutation(_groups(sizes[1], groups))
    upper = generator.permutation(_groups(sizes[2], heads if family == "crossed" else groups))
    apart = [above[:, None] != below for below, above in pairwise([inputs, lower, upper, outputs])]
    for place in {"aligned": (), "crossed": (1,), "columns": (0, 2)}[family]:
        apart[place][:] = False
    masks = [_kept(outside, delta, generator) for outside in apart]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = networks.mlp(sizes).eval()
    for layer, mask in zip(_linear(model), masks, strict=True):
        if not mask.all():
            prune.custom_from_mask(layer, "weight", torch.from_numpy(mask))
    _settle(model)
    return Planted(model, [lower, upper], masks)


def _images_and_heads(family: str, groups: int) -> tuple[int, int]:
    _check.choice("family", family, FAMILIES)
    _check.count("groups", groups, 2)
    return {"aligned": (groups, groups), "crossed": (groups, 2), "columns": (1, 1)}[family]


def _groups(units: int, count: int) -> np.ndarray:
    return np.arange(units) * count // units


def _kept(outside: np.ndarray, delta: float, generator: np.random.Generator) -> np.ndarray:
    """Mask that drops what is outside, but for a share of it, drawn at random."""
    drawn = generator.permutation(np.flatnonzero(outside))
    mask = ~outside
    mask.flat[drawn[: round(delta * len(drawn))]] = True
    return mask


def _linear(model: nn.Module) -> list[nn.Linear]:
    return [part for part in model.modules() if isinstance(part, nn.Linear)]


def _settle(model: nn.Module) -> None:
    """Bring masked weights up to date, which else happens in the next run, and without a graph, so that they copy."""
    for layer in _linear(model):
        if prune.is_pruned(layer):
            layer.weight = layer.get_parameter("weight_orig").detach() * layer.get_buffer("weight_mask")


def samples(
    family: str, name: str, split: str, n: int, *, groups: int = 2, pool: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Images side by side, and what the heads are to say of them.

    Parameters
    ----------
    family : str
        One of :data:`FAMILIES`.
    name, split : str
        Of `modutils.data.load`, in grey. Each image is drawn from all of the split, with replacement.
    n : int
        Samples, at least 1.
    groups : int
        Images of a sample, at least 2; of ``columns`` it is one image anyway.
    pool : int
        Average over squares of so many pixels a side, at least 1; it must divide the side of an image.
    seed : int
        Of the draw.

    Returns
    -------
    inputs : Tensor
        (n, images, height, width), float32 in [0, 1].
    targets : Tensor
        (n, heads), int64 in 0 … 9: ``aligned`` the digit of each image, ``crossed`` the largest and the smallest of
        them, ``columns`` the digit.

    Raises
    ------
    ValueError
        An unknown name, images in colour, or a number out of range.

    Examples
    --------
    >>> inputs, targets = samples("crossed", "digits", "test", 100, groups=3)
    >>> inputs.shape, targets.shape
    (torch.Size([100, 3, 8, 8]), torch.Size([100, 2]))
    """
    images, _ = _images_and_heads(family, groups)
    _check.count("n", n, 1)
    pixels, digits = data.load(name, split)
    side = pixels.shape[-1]
    if pixels.shape[1] != 1:
        raise ValueError(f"name={name!r} has {pixels.shape[1]} channels; images in grey are needed")
    if pool < 1 or side % pool:
        raise ValueError(f"pool={pool} must be at least 1 and divide the {side} pixels of a side of {name!r}")
    drawn = torch.randint(len(pixels), (n, images), generator=torch.Generator().manual_seed(seed))
    targets = digits[drawn]
    if family == "crossed":
        targets = torch.stack([targets.amax(1), targets.amin(1)], 1)
    return avg_pool2d(pixels, pool)[drawn, 0], targets


def head(number: int) -> Callable[[Tensor], Tensor]:
    """What picks the logits of one head, as ``output=`` of the functions that run a network.

    Examples
    --------
    >>> head(1)(torch.arange(30)[None]).tolist()
    [[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]]
    """
    _check.count("number", number, 0)
    return lambda logits: logits[:, number * CLASSES : (number + 1) * CLASSES]


def joint(logits: Tensor) -> Tensor:
    """Logits of all heads as those of one, as ``output=``: (N, heads · 10) to (N, 10 ** heads).

    Each combination of classes is a class, whose logit is the sum of theirs, the first head's class being the first
    digit of its number. So the cross-entropy is the sum of those of the heads, and so is its Hessian; and what is
    attributed to the combination that is predicted is the sum of what is attributed to the classes.

    Raises
    ------
    ValueError
        More than three heads: of these there are too many combinations.

    Examples
    --------
    >>> joint(torch.arange(20)[None])[0, 37]
    tensor(20)
    """
    heads = logits.unflatten(1, (-1, CLASSES))
    if heads.shape[1] > 3:
        raise ValueError(f"logits has {heads.shape[1]} heads; their combinations are too many for more than 3")
    total, *others = heads.unbind(1)
    for other in others:
        total = (total[:, :, None] + other[:, None]).flatten(1)
    return total


class ByHead(nn.Module):
    """Logits (N, heads · 10) as (N, 10, heads), which a cross-entropy takes with targets (N, heads).

    Put on top of a network it makes `modutils.training` train, or prune, on the mean of the heads' cross-entropies.

    Examples
    --------
    >>> nn.Sequential(networks.mlp([4, 20]), ByHead())(torch.zeros(3, 4)).shape
    torch.Size([3, 10, 2])
    """

    def forward(self, logits: Tensor) -> Tensor:
        return logits.unflatten(1, (-1, CLASSES)).mT


def train(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
    execution: Execution = HERE,
) -> History:
    """Train a network of several heads in place with Adam on the mean of their cross-entropies.

    Masked weights stay zero. Other parameters, and what is raised, are as in `modutils.training.optimize`.

    Parameters
    ----------
    inputs, targets : Tensor
        As `samples` gives them.
    learning_rate : float
        Adam's rate, which is constant.

    Raises
    ------
    ValueError
        As there; or targets that do not fit the heads.
    """
    _check_heads(model, inputs, targets)
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate={learning_rate} must be above 0 and finite")
    history = optimize(
        nn.Sequential(model, ByHead()),
        inputs,
        targets,
        torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True),
        epochs=epochs, batch_size=batch_size, seed=seed, execution=execution,
    )  # fmt: skip
    _settle(model)
    return history


def accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> np.ndarray:
    """Share of the samples whose target each head gives: (heads,) float64 in [0, 1]; ties go to the lowest class."""
    _check_heads(model, inputs, targets)
    guesses = predict(model, inputs).unflatten(1, (-1, CLASSES)).argmax(2)
    return (guesses == targets.cpu()).double().mean(0).numpy()


def _check_heads(model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    outputs = predict(model, inputs[:1]).shape[1]
    if targets.shape != (len(inputs), outputs // CLASSES) or outputs % CLASSES:
        raise ValueError(
            f"targets has shape {tuple(targets.shape)}; {len(inputs)} inputs and {outputs} logits, which are "
            f"{CLASSES} for each head, need ({len(inputs)}, {outputs // CLASSES})"
        )


def plain(model: nn.Sequential) -> nn.Sequential:
    """A copy whose masked weights are plain zeros, of which a further training knows nothing.

    It computes the same. The closed forms of `modutils.similarity` and `modutils.lesions` are for such layers alone,
    and are several times faster.
    """
    _settle(model)
    copy = deepcopy(model)
    for layer in _linear(copy):
        if prune.is_pruned(layer):
            prune.remove(layer, "weight")
    return copy


def rescaled(model: nn.Sequential, *, sigma: float = 1.5, seed: int = 0) -> nn.Sequential:
    """A `plain` copy that computes the same function with other weights: nothing that a method says should change.

    What comes into each hidden unit is multiplied by a factor, and what leaves it is divided by it. Factors are
    log-normal: exp(σ z) with z standard normal.

    Parameters
    ----------
    model : torch.nn.Sequential
        Linear layers with ReLU between them, masked or not, such as `network` or `modutils.networks.mlp` gives.
    sigma : float
        At least 0 and finite.
    seed : int
        Of the factors.

    Raises
    ------
    ValueError
        A network with something else in it, or a sigma out of range.

    Examples
    --------
    >>> net = networks.mlp([4, 3, 2]).double()
    >>> x = torch.rand(5, 4, dtype=torch.float64)
    >>> torch.allclose(rescaled(net)(x), net(x), rtol=1e-12)
    True
    """
    other = [type(part).__name__ for part in model if not isinstance(part, nn.Flatten | nn.Linear | nn.ReLU)]
    if other:
        raise ValueError(f"model has {', '.join(other)}; only linear layers with ReLU keep their function")
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma={sigma} must be at least 0 and finite")
    copy = plain(model)
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for below, above in pairwise(_linear(copy)):
            factor = torch.from_numpy(np.exp(sigma * generator.standard_normal(below.out_features))).to(below.weight)
            below.weight.mul_(factor[:, None])
            if below.bias is not None:
                below.bias.mul_(factor)
            above.weight.div_(factor)
    return copy
