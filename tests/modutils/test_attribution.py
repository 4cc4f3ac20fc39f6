"""Attribution: equal to captum where captum covers the network, right or refused where it does not."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modutils import _attribution
from modutils.attribution import (
    METHODS,
    CompletenessError,
    attribute,
    neuron_sample_matrices,
    neuron_sample_matrix,
)
from modutils.networks import cnn, mlp

ACTIVATIONS = [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh]
SEED_LINEAR = [method for method in METHODS if method != "guided_backprop"]


class Separate(nn.Module):
    """Make a new tensor. captum loses the upper rule where two non-linearities touch, see `test_touching_rules`."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1


class Plain(nn.Module):
    """A chain behind a forward of its own, so that it is run as a whole, with a hook."""

    def __init__(self, chain: nn.Module) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: Tensor) -> Tensor:
        return self.chain(x)


class Head(nn.Module):
    """Two linear maps around any function: `z` is the layer, everything after it is `head`."""

    def __init__(self, head: Callable[[Tensor], Tensor], units: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.z = nn.Linear(6, units)
        self.head = head
        self.out = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.head(self.z(x)))


def convolutional(activation: Callable[[], nn.Module], between: Callable[[], nn.Module] = nn.Identity) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        activation(),
        between(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.MaxPool2d(2),
        between(),
        activation(),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(32, 16),
        activation(),
        nn.Dropout(0.5),
        nn.Linear(16, 5),
    ).eval()


def images(n: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Also for baselines: black ones tie the places of a pooling window, and rounding decides which of them counts."""
    return torch.rand(n, 1, 12, 12, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def vectors(n: int, features: int = 6, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(0), dtype=dtype)


def by_captum(
    model: nn.Sequential, layer: int, x: Tensor, target: Tensor, method: str, baseline: Tensor | None = None
) -> Tensor:
    reference: Any = torch.zeros_like(x) if baseline is None else baseline
    module = model[layer]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the hooks it sets
        if method == "deeplift":
            a = captum.attr.LayerDeepLift(model, module).attribute(x.clone().requires_grad_(), reference, target=target)
        elif method == "guided_backprop":
            h = model[: layer + 1](x).detach().requires_grad_()
            a = captum.attr.GuidedBackprop(model[layer + 1 :]).attribute(h, target=target)
        elif method == "gradient_x_activation":
            a = captum.attr.LayerGradientXActivation(model, module).attribute(x, target=target)
        else:
            kind = {
                "conductance": captum.attr.LayerConductance,
                "internal_influence": captum.attr.InternalInfluence,
                "integrated_gradients": captum.attr.LayerIntegratedGradients,
            }[method]
            a = kind(model, module).attribute(x, reference, target=target, n_steps=50)
    return a.detach().flatten(1)


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


@pytest.fixture
def exact_captum(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """captum rounds the weights of its quadratures to float32 even for float64 models, which costs 2e-9."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    yield
    torch.set_default_dtype(before)


# captum as the reference


@pytest.mark.usefixtures("exact_captum")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_captum_in_a_cnn(activation: type[nn.Module], method: str) -> None:
    if method == "guided_backprop" and activation is not nn.ReLU:
        with pytest.raises(ValueError, match="defined for ReLU"):
            attribute(convolutional(activation), "1", images(2), method=method, target=0)
        return
    model = convolutional(activation, Separate).double()
    x, target = images(7, torch.float64), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    baseline = images(7, torch.float64, seed=5)
    for layer in (0, 1, 4, 7, 11):  # before and after an activation; 3, 2, 1 and no non-linearities above
        result = attribute(model, model[layer], x, method=method, target=target, baseline=baseline)
        assert result.dtype == torch.float64
        assert difference(result, by_captum(model, layer, x, target, method, baseline)) < 1e-9


def of_the_book() -> list[tuple[nn.Sequential, Tensor, Tensor, tuple[int, ...]]]:
    """Networks, six inputs, a baseline, and layers to attribute."""
    torch.manual_seed(0)
    return [
        (cnn(image_size=8).eval(), torch.rand(6, 1, 8, 8), torch.zeros(1, 8, 8), (1, 3, 7)),
        (mlp((30, 20, 15, 10), dropout=0.2).eval(), torch.rand(6, 30), torch.zeros(30), (2, 5)),
    ]


@pytest.mark.usefixtures("exact_captum")
@pytest.mark.parametrize("method", METHODS)
def test_equals_captum_in_the_networks_of_the_book(method: str) -> None:
    target = torch.tensor([1, 2, 3, 9, 9, 0])
    for model, x, _, layers in of_the_book():  # the baseline is zero if none is given
        for layer in layers:
            result = attribute(model, model[layer], x, method=method, target=target)
            assert difference(result, by_captum(model, layer, x, target, method)) < 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_differs_from_double_by_rounding(method: str) -> None:
    """In most samples: rounding may put a point of a path on the other side of a kink, where the gradient jumps, and a
    slope over a small change has few digits left."""
    cases = of_the_book()
    activations = [nn.ReLU] if method == "guided_backprop" else ACTIVATIONS
    x, baseline = images(7), images(7, seed=5)
    cases += [(convolutional(activation, Separate), x, baseline, (0, 1, 4, 7, 11)) for activation in activations]
    for model, x, baseline, layers in cases:
        exact = copy.deepcopy(model).double()
        how: dict[str, Any] = {"method": method, "target": torch.arange(len(x)) % 5}
        for layer in layers:
            result = attribute(model, model[layer], x, baseline=baseline, **how)
            truth = attribute(exact, exact[layer], x.double(), baseline=baseline.double(), **how)
            assert result.dtype == torch.float32
            error = (result - truth).abs().amax(1) / truth.abs().max()
            assert error.median() < 64 * torch.finfo(torch.float32).eps


@pytest.mark.usefixtures("exact_captum")
@pytest.mark.parametrize("method", ["deeplift", "conductance", "internal_influence", "integrated_gradients"])
@pytest.mark.parametrize("shape", [(12, 12), (1, 12, 12), (5, 1, 12, 12)])
def test_baseline_of_one_sample_or_of_each(method: str, shape: tuple[int, ...]) -> None:
    model, x, target = convolutional(nn.ELU, Separate), images(5, torch.float64), torch.arange(5)
    baseline = torch.rand(shape, generator=torch.Generator().manual_seed(7))
    if len(shape) == 2:  # not a sample of the model
        with pytest.raises(ValueError, match=r"baseline has shape \(12, 12\); give \(1, 12, 12\), or \(5, 1, 12, 12\)"):
            attribute(model, "1", x, method=method, target=target, baseline=baseline)
        return
    result = attribute(model, "1", x, method=method, target=target, baseline=baseline, batch_size=2)
    reference = by_captum(model, 1, x, target, method, baseline.expand(x.shape))
    assert difference(result, reference) < 1e-9


# the matrix


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["1", "7", "11"])
def test_one_pass_matrix_equals_its_definition(method: str, layer: str) -> None:
    model, x = convolutional(nn.ReLU).double(), images(9, torch.float64)
    single = torch.stack([attribute(model, layer, x, method=method, target=c) for c in range(5)], dim=1)
    every = attribute(model, layer, x, method=method, target="all")
    assert difference(every, single) < 1e-12
    predicted = model(x).argmax(1)
    for target, classes in ((None, predicted), (torch.arange(9) % 5, torch.arange(9) % 5), (3, torch.full((9,), 3))):
        definition = (single[torch.arange(9), classes] - single.mean(1)).T
        matrix = neuron_sample_matrix(model, layer, x, method=method, target=target)
        assert matrix.is_contiguous()
        assert difference(matrix, definition) < 1e-12


def test_matrices_that_share_work_equal_single_ones() -> None:
    for model in (convolutional(nn.ReLU).double(), Plain(convolutional(nn.ReLU).double())):
        layer = "7" if isinstance(model, nn.Sequential) else "chain.7"
        x = images(9, torch.float64)
        for methods in (METHODS, METHODS[::-1]):
            together = neuron_sample_matrices(model, layer, x, methods=methods, batch_size=4)
            assert list(together) == list(methods)
            for method in methods:
                assert difference(together[method], neuron_sample_matrix(model, layer, x, method=method)) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_batch_size_does_not_matter(method: str) -> None:
    x = images(7, torch.float64)
    how: dict[str, Any] = {"method": method, "target": 1, "baseline": images(7, torch.float64, seed=5)}
    chain = convolutional(nn.ReLU).double()
    flat = mlp((144, 20, 15, 5)).double().eval()
    for model, layers in ((chain, ("0", "1", "7")), (Plain(chain), ("chain.1",)), (flat, ("hidden1", "act1", "act2"))):
        for layer in layers:
            whole = attribute(model, layer, x, **how, batch_size=1000)
            for batch_size in (3, 7, 20):
                assert difference(attribute(model, layer, x, **how, batch_size=batch_size), whole) < 1e-12


def test_one_class_predicted_only() -> None:
    model = convolutional(nn.ReLU)
    with torch.no_grad():
        model.get_parameter("13.bias")[2] += 100
    assert (model(images(4)).argmax(1) == 2).all()
    matrix = neuron_sample_matrix(model, "7", images(4))
    assert difference(matrix, neuron_sample_matrix(model, "7", images(4), target=2)) == 0
    assert matrix.abs().max() > 0


@pytest.mark.parametrize("method", METHODS)
def test_dead_layer_gives_zeros(method: str) -> None:
    model = convolutional(nn.ReLU)
    with torch.no_grad():
        model.get_parameter("4.weight").zero_()
        model.get_parameter("4.bias").fill_(-1)
    result = attribute(model, "7", images(3), method=method, target="all")
    if method in ("internal_influence", "guided_backprop"):  # not multiplied by the activation
        assert result.isfinite().all()
    else:
        assert (result == 0).all()


# any network


@pytest.mark.parametrize("method", METHODS)
def test_network_with_a_forward_of_its_own(method: str) -> None:
    chain, x = convolutional(nn.ReLU).double(), images(5, torch.float64)
    nested = nn.Sequential(nn.Sequential(chain[:4], chain[4:8]), chain[8:])
    how: dict[str, Any] = {"method": method, "target": 1, "baseline": images(5, torch.float64, seed=5)}
    for layer in ("0", "3", "7", "11"):
        inside = attribute(chain, layer, x, **how)
        hooked = attribute(Plain(chain), f"chain.{layer}", x, **how)
        assert difference(hooked, inside) < 1e-12
        assert difference(attribute(nested, chain[int(layer)], x, **how), inside) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_layer_that_is_a_block(method: str) -> None:
    chain, x = convolutional(nn.ReLU).double(), images(3, torch.float64)
    block = nn.Sequential(chain[:8], chain[8:])
    assert (
        difference(attribute(block, "0", x, method=method, target=1), attribute(chain, "7", x, method=method, target=1))
        < 1e-12
    )


@pytest.mark.parametrize("method", METHODS)
def test_operations_in_place(method: str) -> None:
    x = images(5, torch.float64)
    how: dict[str, Any] = {"method": method, "target": "all", "baseline": images(5, torch.float64, seed=5)}
    plain = convolutional(nn.ReLU).double()
    in_place = convolutional(lambda: nn.ReLU(inplace=True)).double()
    for wrap in (lambda m: m, Plain):
        for layer in (0, 1, 4, 7):
            a, b = attribute(wrap(in_place), in_place[layer], x, **how), attribute(plain, plain[layer], x, **how)
            assert difference(a, b) < 1e-12


class View(nn.Module):
    """The idiom of before `nn.Flatten`, which fails on any other memory layout than the usual one."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1)


@pytest.mark.parametrize("method", METHODS)
def test_modules_of_other_people_see_the_usual_memory_layout(method: str) -> None:
    chain, x = convolutional(nn.ReLU), images(5, torch.float64).repeat(1, 3, 1, 1)
    chain.insert(0, nn.Conv2d(3, 1, 1)).double()
    baseline = images(1, torch.float64, seed=5)[0].repeat(3, 1, 1)
    expected = attribute(chain, chain[4], x, method=method, target=0, baseline=baseline)
    parts = list(chain)
    above = nn.Sequential(*parts[:10], View(), *parts[11:])
    below = nn.Sequential(View(), nn.Unflatten(1, (3, 12, 12)), *parts)
    for model in (above, below):
        result = attribute(model, chain[4], x, method=method, target=0, baseline=baseline)
        assert difference(result, expected) < 1e-12


@pytest.mark.parametrize("method", SEED_LINEAR)
def test_operations_in_place_after_a_non_linearity(method: str) -> None:
    torch.manual_seed(3)
    add = Head(lambda z: F.gelu(F.gelu(z) - 0.1) * 2).double()
    add_in_place = Head(lambda z: F.gelu(F.gelu(z).sub_(0.1)).mul_(2)).double()
    add_in_place.load_state_dict(add.state_dict())
    a, b = (attribute(net, "z", vectors(5), method=method, target="all") for net in (add, add_in_place))
    assert difference(a, b) < 1e-12


class Shifted(Plain):
    """Works in place on its own input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


@pytest.mark.parametrize("methods", [METHODS, METHODS[::-1]])
def test_network_that_works_in_place_on_its_input(methods: tuple[str, ...]) -> None:
    chain, x = convolutional(nn.ReLU).double(), images(5, torch.float64)
    before = x.clone()
    for baseline in (images(1, torch.float64, seed=5), images(5, torch.float64, seed=6)):
        shifted = neuron_sample_matrices(Shifted(chain), chain[1], x, methods=methods, baseline=baseline)
        expected = neuron_sample_matrices(chain, "1", x - 0.5, methods=methods, baseline=baseline - 0.5)
        for method in methods:
            assert difference(shifted[method], expected[method]) < 1e-12
    assert torch.equal(x, before)


def relu_in_place(z: Tensor) -> Tensor:
    z = z * 1
    z.relu_()  # the result is not used: `z` itself must have changed
    return z


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("relu", [F.relu, torch.relu, Tensor.relu, relu_in_place, lambda z: torch.relu_(z * 1)])
def test_functional_relu(method: str, relu: Callable[[Tensor], Tensor]) -> None:
    """captum sees no module, and gives the plain gradient (section 9 of the specification)."""
    torch.manual_seed(3)
    model = Head(lambda z: relu(relu(z) - 0.1)).double()
    modules = nn.Sequential(model.z, nn.ReLU(), Minus(), nn.ReLU(), model.out)
    x = vectors(6, dtype=torch.float64)
    result = attribute(model, "z", x, method=method, target="all")
    assert difference(result, attribute(modules, "0", x, method=method, target="all")) < 1e-12


class Minus(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - 0.1


def test_functional_relu_where_captum_is_wrong() -> None:
    torch.manual_seed(3)
    model = Head(F.relu).double()
    x = vectors(6, dtype=torch.float64)
    h, h0 = model.z(x), model.z(torch.zeros(1, 6, dtype=torch.float64))
    slope = (F.relu(h) - F.relu(h0)) / (h - h0)
    analytic = (h - h0) * slope * model.out.weight[1]
    assert difference(attribute(model, "z", x, target=1), analytic.detach()) < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = captum.attr.LayerDeepLift(model, model.z).attribute(x.clone().requires_grad_(), target=1)
    assert difference(wrong.detach(), analytic.detach()) > 0.01


@pytest.mark.parametrize(
    "function",
    [
        F.gelu,
        F.silu,
        F.mish,
        F.softplus,
        F.selu,
        F.celu,
        F.relu6,
        F.hardtanh,
        F.hardswish,
        F.softsign,
        F.logsigmoid,
        F.tanhshrink,
        torch.sigmoid,
        torch.tanh,
        lambda z: F.leaky_relu(z, 0.2),
        lambda z: F.elu(z, inplace=True),
        lambda z: z.clamp(min=-0.2, max=0.4),
        lambda z: F.prelu(z, torch.tensor([0.3], dtype=z.dtype)),
        nn.Hardshrink(0.1),
        nn.Threshold(0.1, -0.2),
    ],
)
def test_every_elementwise_function_follows_the_rescale_rule(function: Callable[[Tensor], Tensor]) -> None:
    """GELU and most of these are unknown to captum, which gives the plain gradient (section 9)."""
    torch.manual_seed(4)
    model = Head(function).double()
    x, baseline = vectors(6, dtype=torch.float64), torch.full((6,), 0.3, dtype=torch.float64)
    with torch.no_grad():
        h, h0 = model.z(x), model.z(baseline)
        analytic = (function(h.clone()) - function(h0.expand_as(h).clone()))[:, None] * model.out.weight
    assert difference(attribute(model, "z", x, target="all", baseline=baseline), analytic) < 1e-10
    if isinstance(function, nn.Hardshrink | nn.Threshold):  # they jump, and no gradient sees it
        with pytest.raises(CompletenessError):
            attribute(model, "z", x, target="all", baseline=baseline, method="integrated_gradients")
        return
    quadrature = attribute(model, "z", x, target="all", baseline=baseline, method="integrated_gradients")
    assert difference(quadrature, analytic) < 0.05


def test_touching_rules() -> None:
    """captum ignores the rule of a non-linearity that another one follows at once: its hooks sit on the same tensor.

    Completeness is then lost. It is kept if any operation separates the two.
    """
    x, baseline = images(6, torch.float64), images(6, torch.float64, seed=5)
    touching, separate = (convolutional(nn.ReLU, between).double() for between in (nn.Identity, Separate))
    ours = attribute(touching, "0", x, target=1, baseline=baseline)
    assert difference(ours, by_captum(separate, 0, x, torch.full((6,), 1), "deeplift", baseline)) < 1e-9
    assert difference(by_captum(touching, 0, x, torch.full((6,), 1), "deeplift", baseline), ours) > 0.1


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, stride=1),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.AdaptiveMaxPool2d(3),
        lambda x: torch.max_pool2d(x, 2),
        lambda x: F.max_pool2d(input=x, kernel_size=2),
    ],
)
def test_pooling_of_overlapping_windows_is_complete(pool: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.out = nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(pool(torch.tanh(self.conv(x)))).flatten(1))

    torch.manual_seed(0)
    model = Net().double()
    x, baseline = images(5, torch.float64), images(5, torch.float64, seed=9)
    model(x)
    total = attribute(model, "conv", x, target="all", baseline=baseline).sum(2)
    assert torch.allclose(total, model(x) - model(baseline), atol=1e-10)


def test_pooling_in_one_and_three_dimensions() -> None:
    torch.manual_seed(0)
    for conv, pool, shape in (
        (nn.Conv1d(1, 3, 2), nn.MaxPool1d(2), (4, 1, 13)),
        (nn.Conv3d(1, 3, 2), nn.MaxPool3d(2), (4, 1, 5, 5, 5)),
    ):
        model = nn.Sequential(conv, nn.Tanh(), Separate(), pool, nn.Flatten(), nn.LazyLinear(3)).double()
        x, baseline = torch.rand(2, *shape, dtype=torch.float64)
        model(x)
        result = attribute(model, "0", x, target=2, baseline=baseline)
        assert difference(result, by_captum(model, 0, x, torch.full((4,), 2), "deeplift", baseline)) < 1e-9


# integrated gradients: one non-linearity above, or more


def mean_gradient(model: nn.Module, head: Callable[[Tensor], Tensor], h: Tensor, h0: Tensor, target: int) -> Tensor:
    nodes, weights = _attribution._quadrature(50)
    total = torch.zeros_like(h)
    for node, weight in zip(nodes, weights, strict=True):
        point = (h0 + node * (h - h0)).detach().requires_grad_()
        total += weight * torch.autograd.grad(head(point)[:, target].sum(), point)[0]
    return ((h - h0) * total).detach()


@pytest.mark.parametrize(
    ("function", "fast"),
    [
        (F.relu, True),
        (torch.tanh, True),
        (lambda z: F.relu(z) + 2 * z, True),
        (lambda z: F.relu(z).cumsum(1) / 3, True),
        (lambda z: F.relu(F.relu(z) - 0.1), False),
        (lambda z: F.relu(z) * z, False),
        (lambda z: F.relu(z * (z > 0) - 0.1), False),  # a second non-linearity that the graph takes for a mask
        (lambda z: F.relu(z).exp(), False),
        (lambda z: F.relu(z.abs()), False),
        (lambda z: F.softmax(F.relu(z), 1), False),
        (lambda z: F.relu(z) / (1 + z.square().sum(1, keepdim=True)), False),
        (lambda z: 1 / (2 + F.relu(z)), False),
        (lambda z: F.relu((z[:, :, None] @ z[:, None, :]).sum(2)), False),
    ],
)
def test_layer_integrated_gradients_without_extra_passes_only_where_exact(
    function: Callable[[Tensor], Tensor], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = Head(function).double()
    x = vectors(1, dtype=torch.float64)
    calls: list[int] = []
    inner = _attribution._Chunk._mean_gradients

    def counted(chunk: Any, *arguments: Any) -> Tensor:
        calls.append(1)
        return inner(chunk, *arguments)

    monkeypatch.setattr(_attribution._Chunk, "_mean_gradients", counted)
    result = attribute(model, "z", x, method="integrated_gradients", target=1)
    h, h0 = model.z(x), model.z(torch.zeros_like(x))
    expected = mean_gradient(model, lambda z: model.out(function(z)), h, h0, 1)
    assert difference(result, expected) < 1e-10
    assert bool(calls) is not fast


# completeness


class _Cube(torch.autograd.Function):
    """An activation function that nothing knows of."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * 3 * ctx.saved_tensors[0] ** 2


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda z: z * torch.tanh(z), "Mul"),
        (lambda z: z.exp(), "Exp"),
        (lambda z: torch.ones_like(z) / (2 + torch.tanh(z)), "Div"),
        (lambda z: F.softmax(z, 1), "Softmax"),
        (lambda z: F.layer_norm(z, (8,)), "NativeLayerNorm"),
        (lambda z: _Cube.apply(z), "_Cube"),
        (lambda z: z * (z > 0), ""),
    ],
)
def test_what_deeplift_does_not_cover_is_an_error(function: Callable[[Tensor], Tensor], name: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(CompletenessError, match=rf"method 'deeplift'.* sample \d+ miss.*{name}"):
        attribute(Head(function), "z", vectors(20), target="all")


class Bypass(Head):
    """Two per cent of the output do not pass through the layer."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.3 * x[:, :3]


@pytest.mark.parametrize("method", ["deeplift", "conductance", "integrated_gradients"])
def test_a_bypass_of_the_layer_is_an_error(method: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(CompletenessError, match=f"method '{method}'.*bypasses"):
        attribute(Bypass(torch.tanh), "z", vectors(20), method=method, target="all")


@pytest.mark.parametrize("method", ["conductance", "integrated_gradients"])
def test_too_few_steps_are_an_error(method: str) -> None:
    torch.manual_seed(0)
    model = Head(lambda z: torch.tanh(torch.tanh(6 * z) - 0.2))
    attribute(model, "z", vectors(20), method=method, target="all", steps=200)
    with pytest.raises(CompletenessError, match="steps=2 are too few"):
        attribute(model, "z", vectors(20), method=method, target="all", steps=2)


@pytest.mark.parametrize("activation", ["relu", "elu", "tanh", "gelu"])
def test_completeness_of_what_is_returned(activation: str) -> None:
    torch.manual_seed(0)
    model = cnn(image_size=8, activation=activation).double().eval()
    x, baseline = torch.rand(2, 9, 1, 8, 8, dtype=torch.float64)
    change = (model(x) - model(baseline)).detach()
    for method, bar in (("deeplift", 1e-12), ("integrated_gradients", 0.02), ("conductance", 0.05)):
        total = attribute(model, "act1", x, method=method, target="all", baseline=baseline).sum(2)
        assert (total - change).abs().max() < bar * change.abs().max()


class Offset(nn.Module):
    """Adds a constant to all logits of a network, part of whose output goes past the layer."""

    def __init__(self, inner: nn.Module, offset: float, past: float) -> None:
        super().__init__()
        self.inner, self.offset, self.past = inner, offset, past

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.past * x.flatten(1)[:, :5] + self.offset


@pytest.mark.parametrize("offset", [0.0, 200.0, -1e4])
@pytest.mark.parametrize("method", ["deeplift", "conductance", "integrated_gradients"])
def test_an_offset_of_the_logits_does_not_hide_what_is_missed(method: str, offset: float) -> None:
    x, inner = images(5, torch.float64), convolutional(nn.ReLU).double()
    plain = attribute(Offset(inner, 0, 0).eval(), "inner.7", x, target=1, method=method)
    assert difference(attribute(Offset(inner, offset, 0).eval(), "inner.7", x, target=1, method=method), plain) < 1e-9
    with pytest.raises(CompletenessError, match="bypasses"):
        attribute(Offset(inner, offset, 10).eval(), "inner.7", x, target=1, method=method)


@pytest.mark.parametrize("method", ["deeplift", "conductance", "integrated_gradients"])
def test_what_is_missed_can_be_told_or_returned(method: str) -> None:
    x, inner = images(5, torch.float64), convolutional(nn.ReLU).double()
    model = Offset(inner, 3, 10).eval()
    arguments: dict[str, Any] = {"method": method, "incomplete": "warn", "batch_size": 3}
    with torch.no_grad():
        change = model(x) - model(torch.zeros_like(x[:1]))
    with pytest.warns(UserWarning, match=rf"method '{method}': .* of sample \d .* bypasses"):
        found, delta = attribute(model, "inner.7", x, target="all", return_delta=True, **arguments)
    assert difference(found, attribute(inner, "7", x, target="all", method=method)) < 1e-9
    assert torch.allclose(delta, found.sum(2) - change, atol=1e-10)
    with pytest.warns(UserWarning, match="bypasses"):
        one, its_delta = attribute(model, "inner.7", x, target=2, return_delta=True, **arguments)
    assert torch.allclose(one, found[:, 2])
    assert torch.allclose(its_delta, delta[:, 2], atol=1e-10)
    with pytest.warns(UserWarning, match="bypasses"):
        assert neuron_sample_matrix(model, "inner.7", x, **arguments).isfinite().all()


def test_output_picks_the_logits_of_a_model_with_more_to_say() -> None:
    class Heads(Plain):
        def forward(self, x: Tensor) -> Any:
            logits = super().forward(x)
            return {"logits": logits, "other": logits[:, :2]}

    x, inner = images(5), convolutional(nn.ReLU)
    for method in METHODS:
        arguments: dict[str, Any] = {"method": method, "steps": 20}
        found = attribute(
            Heads(inner).eval(), inner[7], x, target="all", output=lambda given: given["logits"], **arguments
        )
        assert difference(found, attribute(Plain(inner), inner[7], x, target="all", **arguments)) < 1e-6
    matrix = neuron_sample_matrix(Heads(inner).eval(), inner[7], x, output=lambda given: given["other"])
    assert matrix.shape == (found.shape[2], 5)
    with pytest.raises(ValueError, match=r"model gives a dict for 1 samples; .* Give output="):
        neuron_sample_matrix(Heads(inner).eval(), inner[7], x)


def test_a_single_output_has_attributions_but_no_matrix() -> None:
    model, x = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)), vectors(5)
    assert attribute(model, "1", x, target=0).any()
    with pytest.raises(ValueError, match="model gives a single output; a class is chosen among 2 or more"):
        neuron_sample_matrix(model, "1", x)
    numbers = nn.Sequential(*model, nn.Flatten(0))
    found = attribute(numbers, "1", x, target=0, output=lambda given: given[:, None])
    assert torch.equal(found, attribute(model, "1", x, target=0))


@pytest.mark.parametrize("method", METHODS)
def test_a_channel_contributes_what_its_places_do(method: str) -> None:
    x, model = images(4, torch.float64), convolutional(nn.ReLU).double()
    found = attribute(model, "1", x, target="all", method=method)
    with torch.no_grad():
        shape = model[:2](x).shape[1:]
    channels = attribute(model, "1", x, target="all", method=method, units="channel")
    assert torch.equal(channels, found.reshape(4, 5, shape[0], -1).sum(-1))
    matrix = neuron_sample_matrix(model, "1", x, method=method, units="channel")
    whole = neuron_sample_matrix(model, "1", x, method=method)
    assert torch.allclose(matrix, whole.reshape(shape[0], -1, 4).sum(1), atol=1e-12)
    with pytest.raises(ValueError, match="units='pixel' is unknown; choose one of element, channel"):
        neuron_sample_matrix(model, "1", x, method=method, units="pixel")


def test_token_ids_have_attributions_with_a_baseline_of_theirs() -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(11, 4)
    above = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3))
    ids, padding = torch.randint(11, (5, 3)), torch.zeros(3, dtype=torch.int64)
    for method in ("deeplift", "integrated_gradients", "gradient_x_activation"):
        baseline = None if method == "gradient_x_activation" else padding
        found = attribute(nn.Sequential(embedding, above), "1.1", ids, target=1, method=method, baseline=baseline)
        x, start = embedding(ids).detach(), embedding(padding[None]).detach()
        expected = attribute(above, "1", x, target=1, method=method, baseline=start)
        assert difference(found, expected) < 1e-6


def test_arrays_of_any_strides() -> None:
    model, x = convolutional(nn.ReLU), images(4)
    backwards, reference = x.flip(0).numpy()[::-1], np.zeros((1, 12, 12), np.float32)
    found = attribute(model, "7", backwards, target=0, baseline=reference)
    assert torch.equal(found, attribute(model, "7", x, target=0))


# memory, and what is left behind


def test_no_more_rows_at_once_than_asked_for() -> None:
    rows: list[int] = []
    model = convolutional(nn.ReLU)
    model[4].register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    for n in (40, 80):
        rows.clear()
        neuron_sample_matrices(model, "7", images(n), batch_size=16, steps=30)
        assert max(rows) == 17  # with the baseline
        assert sum(rows) == 1 + 2 + 2 + (n + -(-n // 16)) + n * (30 + 31)  # below, no sample runs twice


def state(model: nn.Module) -> list[Any]:
    modules = list(model.modules())
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in modules]
    tensors = [*model.parameters(), *model.buffers()]
    values = [(t.requires_grad, t.grad, t._version, float(t.detach().sum())) for t in tensors]
    return [hooks, values, [m.training for m in modules], torch.is_grad_enabled(), torch.get_rng_state().tolist()]


@pytest.mark.parametrize("wrap", [lambda m: m, Plain])
def test_the_model_is_left_as_it_was(wrap: Callable[[nn.Module], nn.Module]) -> None:
    chain = convolutional(nn.ReLU)
    chain.insert(1, nn.BatchNorm2d(6).eval())
    chain.train()
    for module in chain.modules():
        if isinstance(module, nn.Dropout | nn.BatchNorm2d):
            module.eval()
    chain.get_parameter("0.weight").requires_grad_(False)
    model, x = wrap(chain), images(5).requires_grad_()
    before = state(model)
    neuron_sample_matrices(model, chain[8], x)
    assert state(model) == before
    assert x.grad is None
    chain.get_parameter("14.bias").data.fill_(torch.inf)
    before = state(model)
    for method in METHODS:
        with pytest.raises(ValueError):
            attribute(model, chain[8], x, method=method, target=0)
        assert state(model) == before
    with pytest.raises(ValueError, match="do not pass"):
        attribute(model, chain[8], torch.ones(3, 2, 12, 12), target=0)
    assert state(model) == before


def test_frozen_weights_and_gradient_modes() -> None:
    model, x = convolutional(nn.ReLU).double(), images(4, torch.float64)
    baseline = images(4, torch.float64, seed=5)
    expected = neuron_sample_matrices(model, "1", x, baseline=baseline)
    model.requires_grad_(False)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            for method, matrix in neuron_sample_matrices(model, "1", x, baseline=baseline).items():
                assert difference(matrix, expected[method]) < 1e-12
                assert not matrix.requires_grad


def test_hooks_of_others_are_obeyed() -> None:
    model, x = convolutional(nn.ReLU).double(), images(4, torch.float64)
    expected = {method: attribute(model, "7", x, method=method, target=0) for method in METHODS}
    model.register_forward_hook(lambda module, args, output: 2 * output)
    for method in METHODS:
        assert difference(attribute(model, "7", x, method=method, target=0), 2 * expected[method]) < 1e-12


def test_functions_of_parameters_above_the_layer() -> None:
    """They get no rule, and do not count as non-linearities of the layer."""
    torch.manual_seed(0)
    gate = torch.randn(1, 8, requires_grad=True, dtype=torch.float64)
    weight = torch.randn(3, 8, requires_grad=True, dtype=torch.float64)
    model = Head(lambda z: F.relu(z) * F.softplus(gate) * F.softmax(weight, 0).sum(0)).double()
    fixed = Head(lambda z: F.relu(z) * F.softplus(gate).detach()).double()
    fixed.load_state_dict(model.state_dict())
    for method in METHODS:
        x = vectors(5, dtype=torch.float64)
        a, b = (attribute(net, "z", x, method=method, target=2) for net in (model, fixed))
        assert difference(a, b) < 1e-12


def test_inputs_in_the_precision_of_the_model() -> None:
    model = convolutional(nn.ReLU)
    result = attribute(model, "7", images(3, torch.float64), target=0)
    assert result.dtype == torch.float32
    assert torch.equal(result, attribute(model, "7", images(3, torch.float64).float(), target=0))


# errors

BAD = {
    "unknown method": ({"method": "lime"}, "method='lime' is unknown; choose one of deeplift, conductance"),
    "unknown layer": ({"layer": "conv9"}, "layer='conv9' is not in the model; its layers are 0, 1, 2"),
    "foreign layer": ({"layer": nn.ReLU()}, r"layer=ReLU\(\) is not in the model"),
    "target above": ({"target": 5}, "target goes from 5 to 5; 0 ... 4 is allowed"),
    "target below": ({"target": torch.tensor([0, -1, 2])}, "target goes from -1 to 2"),
    "target of wrong length": ({"target": torch.tensor([0, 1])}, r"target has shape \(2,\) .* \(3,\)"),
    "target of wrong type": ({"target": torch.ones(3)}, "target .* type float32"),
    "target in words": ({"target": "every"}, "target='every': give a class, 'all'"),
    "boolean target": ({"target": True}, "target=True: give a class"),
    "steps": ({"steps": 0}, "steps=0; an integer, 1 or more"),
    "batch size": ({"batch_size": 2.5}, "batch_size=2.5; an integer"),
    "no tensor": ({"inputs": [[1.0]]}, "inputs is list; give a floating point tensor"),
    "integers": ({"inputs": torch.ones(3, 1, 12, 12, dtype=torch.int64)}, "baseline=None: where inputs are token ids"),
    "integers on a path": (
        {"inputs": torch.ones(3, 1, 12, 12, dtype=torch.int64), "method": "conductance"},
        "inputs is torch.int64; .* no gradients with respect to token ids",
    ),
    "incomplete": ({"incomplete": "ignore"}, "incomplete='ignore' is unknown; choose one of raise, warn"),
    "no delta": ({"return_delta": True, "method": "guided_backprop"}, "return_delta=True: 'guided_backprop' need not"),
    "no samples": ({"inputs": torch.ones(0, 1, 12, 12)}, r"inputs has shape \(0, 1, 12, 12\)"),
    "one axis": ({"inputs": torch.ones(3)}, r"inputs has shape \(3,\)"),
    "wrong shape": ({"inputs": torch.ones(3, 2, 12, 12)}, r"inputs of shape \(3, 2, 12, 12\) do not pass through"),
    "NaN": ({"inputs": torch.tensor([0.0, 0, torch.nan]).view(3, 1, 1, 1) + images(3)}, "inputs has NaN .* sample 2"),
    "infinite": ({"baseline": torch.full((1, 12, 12), torch.inf)}, "baseline has NaN or infinite entries in sample 0"),
    "baseline": ({"baseline": torch.zeros(2, 1, 12, 12)}, r"baseline has shape \(2, 1, 12, 12\); give \(1, 12, 12\)"),
    "no baseline": ({"baseline": 0.5}, "baseline is float; give a floating point tensor"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"layer": "7", "inputs": images(3), "target": 0}
    with pytest.raises(ValueError, match=message):
        attribute(convolutional(nn.ReLU), **good | arguments)


def test_matrix_has_no_target_all() -> None:
    with pytest.raises(ValueError, match="target='all': the matrix has one class per sample"):
        neuron_sample_matrix(convolutional(nn.ReLU), "7", images(3), target="all")  # type: ignore[arg-type]


class Odd(nn.Module):
    """Reach a layer twice, once or never; return what is not logits."""

    def __init__(self, times: int = 1, output: Callable[[Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(6, 6), nn.Linear(6, 3)
        self.times, self.output = times, output

    def forward(self, x: Tensor) -> Any:
        for _ in range(self.times):
            x = self.layer(x)
        return self.output(self.out(x))


class Unused(Head):
    def forward(self, x: Tensor) -> Tensor:
        self.z(x)
        return self.out(F.pad(x, (0, 2)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Odd(0), "layer=.* runs 0 times"),
        (Odd(2), "layer=.* runs 2 times"),
        (Odd(1, lambda y: y[:, 0]), r"model gives shape \(1,\) for 1 samples; logits of shape \(1, classes\)"),
        (Odd(1, lambda y: y[:, :, None]), r"model gives shape \(1, 3, 1\)"),
        (Odd(1, lambda y: (y, y)), "model gives a tuple"),
        (Odd(1, lambda y: y.sum(0, keepdim=True)), r"model gives shape \(1, 3\) for 2 samples"),
        (Odd(1, torch.detach), "layer has no differentiable influence"),
        (Odd(1, lambda y: y * torch.inf), "logits that are not finite"),
        (Odd(1, lambda y: F.softmax(y, 1)), "attribute logits"),
        (Odd(1, lambda y: F.log_softmax(y, 1)), "attribute logits"),
        (Odd(1, lambda y: y.exp() / y.exp().sum(1, keepdim=True)), "attribute logits"),
        (Odd(1).half(), "model is torch.float16; convert"),
    ],
)
def test_bad_models(model: nn.Module, message: str) -> None:
    torch.manual_seed(0)
    for method in ("deeplift", "conductance", "guided_backprop"):
        with pytest.raises(ValueError, match=message):
            attribute(model, "layer", vectors(4), method=method, target=0)


def test_layer_without_influence() -> None:
    with pytest.raises(ValueError, match="layer has no differentiable influence"):
        attribute(Unused(F.relu), "z", vectors(4), target=0)


def test_layer_that_returns_no_tensor() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.lstm(x[:, None])[0][:, -1])

    with pytest.raises(ValueError, match=r"layer=.* gives a tuple; one tensor"):
        attribute(Recurrent(), "lstm", vectors(4), target=0)


@pytest.mark.parametrize(
    "part",
    [
        nn.Dropout(0.5),
        nn.AlphaDropout(0.5),
        nn.BatchNorm1d(8),
        nn.RReLU(),
        nn.BatchNorm1d(8, track_running_stats=False),
    ],
)
@pytest.mark.parametrize("above", [True, False])
def test_training_mode_is_refused(part: nn.Module, above: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    model.insert(4 if above else 1, part.train())
    before = state(model)
    with pytest.raises(ValueError, match=r"training mode.*call model\.eval\(\)"):
        attribute(model, model[3 if above else 4], vectors(4), target=0)
    assert state(model) == before
    model.eval()
    if getattr(part, "track_running_stats", True):
        attribute(model, model[3 if above else 4], vectors(4), target=0)


def test_functional_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match="calls dropout in training mode"):
        attribute(Head(lambda z: F.dropout(F.relu(z), 0.5)), "z", vectors(4), target=0)
    attribute(Head(lambda z: F.dropout(F.relu(z), 0.5, training=False)), "z", vectors(4), target=0)


@pytest.mark.parametrize(
    ("function", "name"),
    [(torch.tanh, "tanh"), (lambda z: z * z, "Mul"), (lambda z: z * (z > 0), "by hand"), (lambda z: z.exp(), "Exp")],
)
def test_guided_backpropagation_knows_relu_only(function: Callable[[Tensor], Tensor], name: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=f"method 'guided_backprop' is defined for ReLU networks, but .*{name}"):
        attribute(Head(function), "z", vectors(4), method="guided_backprop", target=0)


@pytest.mark.parametrize("method", ["deeplift", "conductance", "guided_backprop"])
def test_a_channel_has_the_sum_over_its_places(method: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 4)).double()
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    elements = attribute(model, "1", x, method=method, target="all")
    channels = attribute(model, "1", x, method=method, target="all", units="channel")
    torch.testing.assert_close(channels, elements.unflatten(2, (3, 16)).sum(3), rtol=1e-12, atol=1e-12)
    matrix = neuron_sample_matrix(model, "1", x, method=method, units="channel")
    whole = neuron_sample_matrix(model, "1", x, method=method)
    torch.testing.assert_close(matrix, whole.unflatten(0, (3, 16)).sum(1), rtol=1e-12, atol=1e-12)


def test_the_channels_of_tokens_are_features() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)).double()
    x = torch.randn(5, 4, 6, dtype=torch.float64)
    elements, channels = (attribute(model, "1", x, target=1, units=units) for units in ("element", "channel"))
    torch.testing.assert_close(channels, elements.unflatten(1, (4, 3)).sum(1), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="units='pixel'"):
        attribute(model, "1", x, target=1, units="pixel")
