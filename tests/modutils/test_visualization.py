"""Images that drive units: each as if it were alone, further with every step, and the network left as it was."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modutils.units import layer_activations
from modutils.visualization import Visualization, feature_visualization


class Opaque(nn.Module):
    """The same network, its structure hidden."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs)


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision, in which rounding does not hide what differs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


SHAPE = (1, 8, 6)
SETS: dict[str, list[list[int]]] = {"conv": [[0], [3, 1], [0, 1, 2, 3]], "dense": [[2], [0, 5, 11], [7, 3], [1, 4, 6]]}


def _network(seed: int = 0) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=nn.Conv2d(1, 4, 3), act1=nn.ReLU(), flatten=nn.Flatten())
    layers |= {"dense": nn.Linear(96, 12), "act2": nn.ReLU(), "logits": nn.Linear(12, 5)}
    model = nn.Sequential(layers)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
    return model.eval()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("layer", SETS)
def test_many_images_in_one_optimisation_come_out_as_each_alone(layer: str) -> None:
    model, sets = _network(), SETS[layer]
    together = feature_visualization(model, layer, sets, SHAPE)
    in_two = feature_visualization(model, layer, sets, SHAPE, batch_size=2)
    for index, units in enumerate(sets):
        alone = feature_visualization(model, layer, [units], SHAPE)
        for found in (together, in_two):
            torch.testing.assert_close(found.images[index], alone.images[0], rtol=0, atol=1e-9)
            torch.testing.assert_close(found.logits[index], alone.logits[0], rtol=0, atol=1e-9)
            assert found.scores[index] == pytest.approx(alone.scores[0], abs=1e-9)
    assert not torch.allclose(together.images[0], together.images[1], atol=0.05)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("layer", SETS)
def test_an_image_drives_its_own_units_further_with_every_stretch_of_steps(layer: str) -> None:
    model, sets = _network(1), SETS[layer]
    scores = [feature_visualization(model, layer, sets, SHAPE, steps=steps).scores for steps in (0, 5, 20, 65)]
    assert (np.diff(scores, axis=0) > 0).all()
    found = feature_visualization(model, layer, sets, SHAPE)
    with torch.no_grad():
        values = (model[: 1 if layer == "conv" else 4](found.images)).abs()
    sizes = (values.mean((2, 3)) if layer == "conv" else values).numpy()
    table = np.stack([sizes[:, units].sum(axis=1) for units in sets])  # sets by images
    np.testing.assert_allclose(np.diag(table), found.scores, rtol=1e-12)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("layer", SETS)
def test_a_network_of_unknown_structure_gives_the_same_images(layer: str) -> None:
    model = _network(2)
    found = feature_visualization(model, layer, SETS[layer], SHAPE, steps=20)
    hidden = feature_visualization(Opaque(model).eval(), f"inner.{layer}", SETS[layer], SHAPE, steps=20)
    torch.testing.assert_close(found.images, hidden.images, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.scores, hidden.scores, rtol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model(found.images), rtol=0, atol=1e-12)


def test_all_images_start_from_one_draw_of_noise() -> None:
    model = _network()
    start = feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=0)
    assert start.images.shape == (4, *SHAPE)
    assert start.logits.shape == (4, 5)
    assert (start.images == start.images[0]).all()
    assert 0 < float((start.images - 0.5).abs().max()) < 0.2  # nearly grey
    again = feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=0)
    other = feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=0, seed=1)
    assert torch.equal(start.images, again.images)
    assert not torch.equal(start.images, other.images)
    wider = feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=0, deviation=0.1)
    assert wider.images.std() > 5 * start.images.std()


def test_visualisation_leaves_network_and_random_state_as_they_were() -> None:
    model = _network()
    model.get_submodule("conv").weight.requires_grad_(False)
    before = [(parameter.detach().clone(), parameter.requires_grad) for parameter in model.parameters()]
    state = torch.get_rng_state()
    found = feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=3)
    assert torch.equal(torch.get_rng_state(), state)
    for parameter, (value, flag) in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.requires_grad is flag
        assert parameter.grad is None
    assert not found.images.requires_grad
    with pytest.raises(ValueError, match=r"shape \(1, 1, 5, 5\) do not pass"):  # an image too small for the dense layer
        feature_visualization(model, "conv", [[0]], (1, 5, 5), steps=1)
    assert [parameter.requires_grad for parameter in model.parameters()] == [flag for _, flag in before]


def test_pixels_stay_between_black_and_white() -> None:
    images = feature_visualization(_network(), "dense", SETS["dense"], SHAPE, steps=65).images
    assert images.min() > 0
    assert images.max() < 1
    assert images.min() < 0.1
    assert images.max() > 0.9


def _visualize(
    model: nn.Module | None = None, *, layer: str = "dense", sets: list[list[int]] | None = None, steps: int = 1
) -> Visualization:
    chosen = [[0]] if sets is None else sets
    return feature_visualization(model or _network(), layer, chosen, SHAPE, steps=steps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _visualize(layer="dens"), "layer='dens' is not in the model; its layers are conv, act1"),
        (lambda: _visualize(layer=""), "layer='' is not in the model"),
        (lambda: _visualize(nn.Sequential(_network(), nn.Dropout()), layer="0.dense"), "training mode at '1'"),
        (lambda: _visualize(sets=[]), "0 sets"),
        (lambda: _visualize(sets=[[0], []]), "unit_sets has an empty set"),
        (lambda: _visualize(sets=[[0, 12]]), "units 0 ... 12 are named; the layer has 0 ... 11"),
        (lambda: _visualize(sets=[[-1]]), "units -1 ... -1"),
        (lambda: _visualize(steps=-1), "steps=-1"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("wrap", [lambda model: model, Opaque])
def test_what_an_activation_function_is_given(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = _network(3)
    name = "inner.act2" if wrap is Opaque else "act2"
    given = feature_visualization(wrap(model).eval(), name, SETS["dense"], SHAPE, before=True, steps=5)
    dense = feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=5)
    after = feature_visualization(model, "act2", SETS["dense"], SHAPE, steps=5)
    torch.testing.assert_close(given.images, dense.images)
    assert not torch.allclose(given.images, after.images)


@pytest.mark.parametrize("units", ["element", "channel"])
def test_sets_are_of_elements_or_channels(units: str) -> None:
    model = _network()
    found = feature_visualization(model, "conv", [[0], [1, 2]], SHAPE, units=units, steps=3)
    values = layer_activations(model, "conv", found.images, units=units).abs()
    expected = [float(values[0, 0]), float(values[1, [1, 2]].sum())]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-5)
    last = values.shape[1]
    with pytest.raises(ValueError, match=f"units {last} ... {last} are named; the layer has 0 ... {last - 1}"):
        feature_visualization(model, "conv", [[last]], SHAPE, units=units, steps=1)
    with pytest.raises(ValueError, match="units='filter' is unknown"):
        feature_visualization(model, "conv", [[0]], SHAPE, units="filter", steps=1)


class Named(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner(x)}


def test_output_picks_the_logits() -> None:
    model = _network()
    named = Named(model).eval()
    found = feature_visualization(named, "inner.conv", [[0]], SHAPE, steps=2, output=lambda given: given["logits"])
    assert torch.equal(found.logits, feature_visualization(model, "conv", [[0]], SHAPE, steps=2).logits)
    with pytest.raises(ValueError, match=r"model gives a dict for 1 samples; .* Give output="):
        feature_visualization(named, "inner.conv", [[0]], SHAPE, steps=2)
