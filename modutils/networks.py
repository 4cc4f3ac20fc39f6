"""The feed-forward networks that the papers study, as plain :class:`torch.nn.Sequential` models.

Every network names its layers, so that a layer can be given by name. A hidden layer is described *after* its
activation function: ``act1``, ``act2``, … Units of a convolution are numbered as ``torch.flatten`` does:
``channel * height * width + row * width + column``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from modutils import _check

#: Activation functions by name, each a constructor of a module.
#:
#: :meta hide-value:
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


def _activation(name: str) -> nn.Module:
    _check.choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def mlp(sizes: Sequence[int], *, activation: str = "relu", dropout: float = 0.0) -> nn.Sequential:
    """A multilayer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Number of inputs, of units of each hidden layer, and of outputs: at least two numbers.
    activation : str
        A key of :data:`ACTIVATIONS`, applied after every hidden layer.
    dropout : float
        Probability in [0, 1) of dropping a hidden unit during training; 0 leaves dropout out.

    Returns
    -------
    torch.nn.Sequential
        Children ``flatten``, then ``hidden1``, ``act1`` (``drop1``), …, then ``logits``; maps (N, …) to (N, outputs).

    Raises
    ------
    ValueError
        Fewer than two sizes, a size below 1, an unknown activation, a dropout outside [0, 1).

    Examples
    --------
    >>> [name for name, _ in mlp([784, 256, 10]).named_children()]
    ['flatten', 'hidden1', 'act1', 'logits']
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes={list(sizes)} must name inputs and outputs, each at least 1")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} must be at least 0 and below 1")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes[:-1]), start=1):
        layers[f"hidden{i}"] = nn.Linear(fan_in, fan_out)
        layers[f"act{i}"] = _activation(activation)
        if dropout:
            layers[f"drop{i}"] = nn.Dropout(dropout)
    layers["logits"] = nn.Linear(sizes[-2], sizes[-1])
    return nn.Sequential(layers)


def cnn(
    *, image_size: int = 28, filters: tuple[int, int] = (32, 64), activation: str = "relu", dropout: bool = True
) -> nn.Sequential:
    """The convolutional network of the DeepLIFT MNIST example, which Lu & Ester (2019) dissect.

    Two convolutions (32 and 64 filters, 4×4, stride 2, no padding), a dense layer of 128 units and 10 logits. On
    28×28 images ``act2`` has 64 × 5 × 5 = 1600 units and the network has 239 594 parameters. Images of 8×8 pixels
    are too small for two such strides; there the filters are 3×3 with stride 1 and ``act2`` has 64 × 4 × 4 units.

    Parameters
    ----------
    image_size : int
        Height and width of the images in pixels: 28 or 8.
    filters : (int, int)
        Of both convolutions, each at least 1.
    activation : str
        A key of :data:`ACTIVATIONS`, applied after ``conv1``, ``conv2`` and ``dense``.
    dropout : bool
        Drop 25 % of ``act2`` and 50 % of ``act3`` during training (Shrikumar et al. 2017).

    Returns
    -------
    torch.nn.Sequential
        Maps (N, 1, image_size, image_size) to (N, 10).

    Raises
    ------
    ValueError
        An image size or an activation that is not offered, or filters below 1.

    Examples
    --------
    >>> sum(p.numel() for p in cnn().parameters())
    239594
    """
    if image_size not in (28, 8):
        raise ValueError(f"image_size={image_size} is not offered; choose 28 (MNIST) or 8 (digits)")
    if min(filters) < 1:
        raise ValueError(f"filters={filters} must be at least 1 each")
    kernel, stride, side = (4, 2, 5) if image_size == 28 else (3, 1, 4)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(1, filters[0], kernel, stride)
    layers["act1"] = _activation(activation)
    layers["conv2"] = nn.Conv2d(filters[0], filters[1], kernel, stride)
    layers["act2"] = _activation(activation)
    if dropout:
        layers["drop1"] = nn.Dropout(0.25)
    layers["flatten"] = nn.Flatten()
    layers["dense"] = nn.Linear(filters[1] * side * side, 128)
    layers["act3"] = _activation(activation)
    if dropout:
        layers["drop2"] = nn.Dropout(0.5)
    layers["logits"] = nn.Linear(128, 10)
    return nn.Sequential(layers)
