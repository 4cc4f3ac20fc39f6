"""Reaching into networks: what is seen and changed at a layer, one error for every function, nothing left behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import modutils
from modutils.attribution import attribute
from modutils.lesions import correct_counts
from modutils.networks import cnn, mlp
from modutils.similarity import unit_similarity
from modutils.units import _full_precision, channel_elements, find, layer_activations, run, unit_values
from modutils.visualization import feature_visualization


class Opaque(nn.Module):
    """The same network, its structure hidden."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs)


class Calls(nn.Module):
    """Runs its layer so many times, on images of 4 × 4 pixels; what it makes of the layer's output is given."""

    def __init__(self, times: int = 1, output: Callable[[Tensor], Any] = lambda value: value) -> None:
        super().__init__()
        self.layer, self.odd, self.out = nn.Linear(16, 16), Odd(output), nn.Linear(16, 3)
        self.times = times

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs.flatten(1)
        for _ in range(self.times):
            h = self.layer(h)
        self.odd(h)
        return self.out(h)


class Odd(nn.Module):
    def __init__(self, output: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.output = output

    def forward(self, inputs: Tensor) -> Any:
        return self.output(inputs)


def small(**options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 2),
        nn.Tanh(),
        nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(**options)),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()


def images(n: int = 7, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


# --- find and run -----------------------------------------------------------------------------------------------------


def test_a_layer_is_a_submodule_or_its_name() -> None:
    model = small()
    assert find(model, "2.1") is model.get_submodule("2.1")
    assert find(model, model[2]) is model[2]
    assert find(model, model) is model
    shared = nn.ReLU()
    assert find(nn.Sequential(shared, nn.Tanh(), shared), "2") is shared
    for other in ("3.1", "", nn.ReLU(), "2.1."):
        with pytest.raises(ValueError, match=r"layer=.* is not .*; its layers are 0, 1, 2, 2\.0, 2\.1, 3, 4$"):
            find(model, other)


@pytest.mark.parametrize("wrap", [lambda model: model, Opaque])
def test_what_is_seen_and_what_goes_on(wrap: Callable[[nn.Module], nn.Module]) -> None:
    chain, x = small(), images()
    model, before, expected = wrap(chain), chain[:2](x), chain(x)
    value, output = run(model, chain[1], x)
    assert torch.equal(value, before)
    assert torch.equal(output, expected)
    value, output = run(model, chain[1], x, lambda value: value * 2)
    assert torch.equal(value, before)
    assert torch.equal(output, chain[2:](before * 2))
    value, output = run(model, chain[1], x, lambda value: value * 2, before=True)
    assert torch.equal(value, chain[0](x))
    assert torch.equal(output, chain[1:](chain[0](x) * 2))


def test_what_follows_in_place_does_not_change_what_was_seen() -> None:
    model, x = small(inplace=True), images()
    value, output = run(model, "2.0", x)
    assert value.min() < 0
    assert torch.equal(output, model(x))
    assert run(model, "2.1", x, before=True)[0].min() < 0


# --- activations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda model: model, Opaque])
@pytest.mark.parametrize("batch_size", [3, 500])
def test_activations_are_those_of_a_forward_pass(wrap: Callable[[nn.Module], nn.Module], batch_size: int) -> None:
    chain, x = small(inplace=True), images()
    model, kept = wrap(chain), x.clone()
    with torch.no_grad():
        convolved = chain.get_submodule("2.0")(chain[:2](x))
    relu = chain.get_submodule("2.1")
    for options, expected in (
        ({}, convolved.relu().flatten(1)),
        ({"before": True}, convolved.flatten(1)),
        ({"units": "channel"}, convolved.relu().mean((2, 3))),
        ({"units": "channel", "before": True}, convolved.abs().mean((2, 3))),
    ):
        found = layer_activations(model, relu, x.requires_grad_(), batch_size=batch_size, **options)
        assert torch.allclose(found, expected, atol=1e-6)
        assert not found.requires_grad
    assert torch.equal(x, kept)
    assert x.grad is None


def test_activations_of_dense_layers_and_in_the_precision_of_the_model() -> None:
    torch.manual_seed(0)
    model, x = mlp([6, 5, 4, 3]).eval(), torch.randn(7, 6)
    weight, bias = (model.get_parameter(f"hidden1.{name}").double() for name in ("weight", "bias"))
    first = functional.linear(x.double(), weight, bias).detach()
    for units in ("element", "channel"):
        for layer, before in (("hidden1", False), ("act1", True)):
            for dtype in (torch.float32, torch.float64):
                found = layer_activations(model.to(dtype), layer, x.to(dtype), units=units, before=before)
                # Six products of numbers of size 1.
                assert (found - first).abs().max() < 32 * torch.finfo(dtype).eps
        model.float()
        assert layer_activations(model.double(), "act1", x, units=units).dtype == torch.float64
        assert layer_activations(model.float(), "act1", x.double(), units=units).dtype == torch.float32


class Shifted(Opaque):
    """Works in place on its own input."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs.sub_(0.5))


def test_inputs_of_models_that_work_in_place_are_left_alone() -> None:
    """Also from one set of removed units to the next."""
    model, x, y = small(), images(), torch.arange(7) % 5
    sets = [[], [0, 1], [], list(range(8))]
    for given, layer in (
        (Shifted(model).eval(), model[1]),
        (nn.Sequential(nn.ReLU(inplace=True), model).eval(), model[1]),
    ):
        start = x - 0.5
        kept = start.clone()
        expected = model(start.relu() if isinstance(given, nn.Sequential) else start - 0.5).argmax(1)
        counts = correct_counts(given, layer, start, y, sets)
        assert counts[0].sum() == (expected == y).sum()
        assert (counts[0] == counts[2]).all()
        attribute(given, layer, start, target=0)
        unit_similarity(given, layer, start, measure="covariance")
        layer_activations(given, layer, start)
        assert torch.equal(start, kept)


def test_units_of_outputs() -> None:
    value = torch.tensor([[[[1.0, -3.0]], [[0.0, 4.0]]]])
    assert unit_values(value, "element").tolist() == [[1, -3, 0, 4]]
    assert unit_values(value, "channel").tolist() == [[2, 2]]
    assert unit_values(value[0, 0], "channel").tolist() == [[1, -3]]
    for shape, channels in (((2, 3, 4), 4), ((2, 3, 4, 5, 6), 3)):
        assert unit_values(torch.ones(shape), "element").shape == (2, np.prod(shape[1:]))
        assert unit_values(torch.ones(shape), "channel").tolist() == [[1.0] * channels] * 2
    tokens = torch.tensor([[[1.0, 2.0], [-3.0, 0.0]]])  # features over all tokens
    assert unit_values(tokens, "channel").tolist() == [[2, 1]]


def test_elements_of_channels_are_those_of_flatten() -> None:
    value = torch.arange(24).reshape(1, 4, 3, 2)
    for channels in ([], [2], [3, 0], np.array([1, 2])):
        elements = channel_elements(value.shape[1:], np.asarray(channels, dtype=int))
        assert value.flatten(1)[0, elements].tolist() == value[0, np.asarray(channels, dtype=int)].flatten().tolist()
    assert channel_elements((5,), [4, 1]).tolist() == [4, 1]
    tokens = torch.arange(12).reshape(1, 4, 3)
    assert tokens.flatten(1)[0, channel_elements((4, 3), [2, 0])].tolist() == tokens[0, :, [2, 0]].T.flatten().tolist()


# --- every function ---------------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[nn.Module, Any, Tensor], object]] = {
    "attribute": lambda model, layer, x: attribute(model, layer, x, target=0, batch_size=4),
    "conductance": lambda model, layer, x: attribute(model, layer, x, target=0, method="conductance", steps=50),
    "unit_similarity": lambda model, layer, x: unit_similarity(
        model, layer, x, measure="output_sensitivity", batch_size=4
    ),
    "covariance": lambda model, layer, x: unit_similarity(model, layer, x, measure="covariance", batch_size=4),
    "correct_counts": lambda model, layer, x: correct_counts(model, layer, x, [0] * len(x), [[0]], batch_size=4),
    "layer_activations": lambda model, layer, x: layer_activations(model, layer, x, batch_size=4),
    "channels": lambda model, layer, x: layer_activations(model, layer, x, units="channel", batch_size=4),
    "feature_visualization": lambda model, layer, x: feature_visualization(model, layer, [[0]], (1, 4, 4), steps=1),
}
every = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())


@every
@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        (Calls(), "act9", "layer='act9' is not in the model; its layers are layer, odd, out"),
        (Calls(), nn.ReLU(), r"layer=ReLU\(\) is not in the model"),
        (Calls(0), "layer", "layer=.* runs 0 times in a forward pass of the model; once is needed"),
        (Calls(2), "layer", "layer=.* runs 2 times in a forward pass of the model; once is needed"),
        (Calls(1, lambda value: (value, value)), "odd", r"layer=.* gives a tuple; one tensor of shape \(\d, ...\)"),
        (Calls(1, lambda value: {"value": value}), "odd", "layer=.* gives a dict"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(16, 3)), "1", r"layer=.* gives a tuple"),
        (nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (-1, 4))), "1", r"layer=.* gives shape \(\d+, 4\)"),
        (Calls(1, lambda value: value[:, 0]), "odd", r"layer=.* gives shape \(\d,\)"),
        (Calls(1, lambda value: value.flatten()[:, None]), "odd", r"layer=.* gives shape \(\d+, 1\)"),
    ],
)
def test_one_error_for_a_layer_that_cannot_be_used(
    function: Callable[[nn.Module, Any, Tensor], object], model: nn.Module, layer: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(model.eval(), layer, images())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@every
@pytest.mark.parametrize("part", [nn.Dropout(), nn.Dropout2d(), nn.BatchNorm2d(1)])
def test_training_mode_is_refused_wherever_it_is(
    function: Callable[[nn.Module, Any, Tensor], object], part: nn.Module
) -> None:
    model = nn.Sequential(small(), nn.Identity()).eval()
    model.insert(0, part.train())
    with pytest.raises(ValueError, match=f"model is in training mode at '0', a {type(part).__name__}; call model.eval"):
        function(model, "1.1", images())


class Fails(nn.Module):
    """Cannot run so many times in a row."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def forward(self, inputs: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("out of order")
        return inputs


def state(model: nn.Module) -> list[Any]:
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()]
    tensors = [*model.parameters(), *model.buffers()]
    values = [(t.requires_grad, t.grad is None, t._version, float(t.detach().sum())) for t in tensors]
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_rng_state().tolist()
    return [hooks, values, [m.training for m in model.modules()], modes]


@every
@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize("wrap", [lambda model: model, Opaque])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_an_exception_leaves_nothing_behind(
    function: Callable[[nn.Module, Any, Tensor], object],
    calls: int,
    wrap: Callable[[nn.Module], nn.Module],
    mode: Callable[[], Any],
) -> None:
    chain, x = small(), images(20)
    fails = Fails(calls)
    chain.insert(1, fails)
    chain.append(nn.BatchNorm1d(5).eval())
    chain[0].weight.requires_grad_(False)
    chain[3].train()  # whatever it is
    model, kept = wrap(chain), x.clone()
    with mode():
        before = state(model)
        with pytest.raises((RuntimeError, ValueError), match="out of order"):
            function(model, chain[2], x)
        assert state(model) == before
    assert torch.equal(x, kept)
    fails.left = 10_000
    with mode():
        function(model, chain[2], x)
        assert state(model) == before
    assert torch.equal(x, kept)


def test_a_layer_of_the_books_network_in_every_form() -> None:
    """Elements in the order of `torch.flatten`, whatever the layout that the network was run in."""
    torch.manual_seed(0)
    model, x = cnn(image_size=8).eval(), torch.rand(5, 1, 8, 8)
    elements = layer_activations(model, "act2", x)
    channels = layer_activations(model, "act2", x, units="channel")
    assert torch.allclose(elements.reshape(5, 64, 16).abs().mean(2), channels, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(elements, model[:4](x).flatten(1), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "filter"}, "units='filter' is unknown; choose one of element, channel"),
        ({"batch_size": 0}, "batch_size=0; an integer, 1 or more, is needed"),
        ({"inputs": images()[:0]}, r"inputs has shape \(0, 1, 4, 4\)"),
        ({"inputs": images() * torch.nan}, "inputs has NaN or infinite entries in sample 0"),
        (
            {"inputs": images().long()},
            r"inputs of shape \(7, 1, 4, 4\) do not pass through the model: .* They are torch.int64",
        ),
        ({"inputs": images().to(torch.complex64)}, "inputs is torch.complex64; give a floating point tensor"),
        ({"inputs": [1.0]}, "inputs is list"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_activations(**{"model": small(), "layer": "1", "inputs": images(), **change})


def test_no_other_file_of_the_library_sets_hooks() -> None:
    """Hooks of modules; the slope of a masked weight is another matter."""
    folder = Path(modutils.__file__).parent
    assert [
        file.name
        for file in folder.glob("*.py")
        if re.search(r"_(pre|forward|module|backward)\w*_hook\(", file.read_text())
    ] == ["units.py"]


def test_switches_of_a_gpu_are_as_they_were() -> None:
    """Products in TF32 are off while a network is run there. Here only the switches can be looked at."""

    def state() -> list[bool]:
        return [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32]

    before = state()
    assert any(before)
    with _full_precision(False):
        assert state() == before
    with _full_precision(True):
        assert state() == [False, False]
    assert state() == before
