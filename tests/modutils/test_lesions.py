"""Lesions: the exact updates against runs with a hook, and both against forward passes written out."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modutils.lesions import (
    ablation_curve,
    ablation_curves,
    correct_counts,
    lesioned_logits,
    lesioned_losses,
    lesioned_predictions,
)
from modutils.networks import cnn, mlp


class Opaque(nn.Module):
    """The same network, its structure hidden: leaves only the hooked runs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs)


class Runs:
    """Counts how many samples run through a module, without a hook, which the library would respect."""

    def __init__(self, module: nn.Module) -> None:
        self.samples, self.inner = 0, module.forward
        module.forward = self

    def __call__(self, *args: Any) -> Any:
        self.samples += len(args[0])
        return self.inner(*args)


@torch.no_grad()
def hooked(model: nn.Module, layer: str, x: Tensor, elements: Any, put: Any = 0.0) -> Tensor:
    """Logits with elements of a layer replaced: what one would write without the library."""

    def lesion(_module: nn.Module, _args: Any, value: Tensor) -> Tensor:
        lesioned = value.flatten(1).clone()
        lesioned[:, elements] = torch.as_tensor(put).to(value)
        return lesioned.view(value.shape)

    with model.get_submodule(layer).register_forward_hook(lesion):
        return model(x.clone())


def images(n: int, size: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Double precision, in which no two logits are so close that the order of summation decides."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, size, size, generator=generator).double(), torch.randint(10, (n,), generator=generator)


def spread(model: nn.Sequential, seed: int = 0) -> nn.Sequential:
    """Weights so large that the predictions use several classes and change with the lesions, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.data = torch.randn(parameter.shape, generator=generator) * (2 / fan_in) ** 0.5
    return model.double().eval()


def split_units(units: int, groups: int, *, left_out: int = 0, seed: int = 0) -> list[np.ndarray]:
    order = np.random.default_rng(seed).permutation(units)
    return np.array_split(order[left_out:], groups)


def nested() -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.ReLU(), nn.Identity()), nn.MaxPool2d(2))
    head = nn.Sequential(nn.LayerNorm(20), nn.ReLU(inplace=True), nn.Linear(20, 10, bias=False))
    return nn.Sequential(body, nn.Dropout2d(), nn.Flatten(), nn.Sequential(nn.Linear(36, 20, bias=False), head))


NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], str, int]] = {
    "cnn act2": (lambda: cnn(image_size=8), "act2", 1024),
    "cnn drop1": (lambda: cnn(image_size=8), "drop1", 1024),
    "cnn act3": (lambda: cnn(image_size=8), "act3", 128),
    "mlp act1": (lambda: mlp([64, 40, 30, 20, 10], dropout=0.5), "act1", 40),
    "mlp hidden2": (lambda: mlp([64, 40, 30, 10], activation="gelu"), "act2", 30),
    "mlp inputs": (lambda: mlp([64, 40, 10]), "flatten", 64),
    "nested": (nested, "0.2", 36),
    "nested container": (nested, "0", 36),
}


@pytest.mark.parametrize("replaced", [False, True], ids=["zero", "replacement"])
@pytest.mark.parametrize("network", NETWORKS)
def test_updates_equal_hooked_runs(network: str, replaced: bool) -> None:
    make, layer, units = NETWORKS[network]
    model = spread(make())
    x, y = images(90)
    replacement = np.random.default_rng(1).random(units) if replaced else None
    options: dict[str, Any] = {"replacement": replacement, "batch_size": 32}
    groups = split_units(units, 7, left_out=3)
    # More than half of the units in one set: summed from what is left instead of subtracted.
    sets = [[], *groups, np.concatenate(groups[:5]), np.arange(units)]

    hidden = Opaque(model).eval()
    runs = Runs(next(part for part in model.modules() if not list(part.children())))
    curve = ablation_curve(model, layer, x, y, groups, **options)
    alone = lesioned_predictions(model, layer, x, sets, **options)
    assert runs.samples == 2 * (1 + len(x))
    hidden_curve = ablation_curve(hidden, f"inner.{layer}", x, y, groups, **options)
    hidden_alone = lesioned_predictions(hidden, f"inner.{layer}", x, sets, **options)
    # Once for the probe and twice for a look at the network, but not for every set.
    assert runs.samples == 2 * (1 + len(x)) + 2 * (3 + len(x))

    removed = [np.concatenate([np.array([], int), *groups[:j]]) for j in range(len(groups) + 1)]

    def guess(elements: Any) -> Tensor:
        return hooked(
            hidden, f"inner.{layer}", x, elements, 0.0 if replacement is None else replacement[elements]
        ).argmax(1)

    for found_curve, found_alone in ((curve, alone), (hidden_curve, hidden_alone)):
        assert found_curve.tolist() == [int((guess(elements) == y).sum()) for elements in removed]
        np.testing.assert_array_equal(found_alone, np.stack([guess(elements) for elements in sets]))
    assert curve.dtype == alone.dtype == np.int64
    assert len({row.tobytes() for row in alone}) > 5, "the lesions must matter"


@pytest.mark.parametrize("wrap", [nn.Identity, Opaque])
def test_against_a_forward_pass_written_out(wrap: type) -> None:
    model = spread(cnn(image_size=8))
    x, y = images(60)
    groups = split_units(1024, 4)
    replacement = torch.rand(1024, generator=torch.Generator().manual_seed(3)).double()
    for values in (None, replacement):
        expected = []
        for removed in range(5):
            h = model[:4](x).detach().flatten(1)
            for group in groups[:removed]:
                h[:, group] = 0.0 if values is None else values[group]
            expected.append(int((model[5:](h).argmax(1) == y).sum()))
        given, prefix = (model, "") if wrap is nn.Identity else (Opaque(model).eval(), "inner.")
        curve = ablation_curve(given, f"{prefix}act2", x, y, groups, replacement=values)
        assert curve.tolist() == expected


def test_full_size_network_in_single_precision() -> None:
    model = spread(cnn())
    x, _ = images(500, size=28)
    y = model(x).argmax(1)
    groups = split_units(1600, 40)
    curve = ablation_curve(copy.deepcopy(model).float(), "act2", x.float(), y, groups)
    with torch.no_grad():
        h = model[:4](x).flatten(1)
        for j, removed in enumerate([[], *groups]):
            h[:, removed] = 0
            logits = model[6:](h)
            best = logits.topk(2).values
            # Sums of 1600 numbers: rounding decides between two logits this close, in any order of summation.
            close = (best[:, 0] - best[:, 1] < 1600 * torch.finfo(torch.float32).eps * best.abs().max()).sum()
            assert abs(curve[j] - (logits.argmax(1) == y).sum()) <= (close if j < 40 else 0)
            assert close < 3 or j == 40
    assert len(set(curve)) > 20


@pytest.mark.parametrize("opaque", [False, True])
def test_equal_logits_predict_the_first_class(opaque: bool) -> None:
    # Without biases nothing is left when all units are gone: rounding must not choose the class.
    model = spread(nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(64, 30, bias=False), nn.Linear(30, 10, bias=False)))
    x, y = images(300)
    given, layer = (Opaque(model).eval(), "inner.1") if opaque else (model, "1")
    curve = ablation_curve(given, layer, x, y, split_units(64, 20))
    assert curve[-1] == (y == 0).sum()
    assert (lesioned_predictions(given, layer, x, [np.random.default_rng(0).permutation(64)]) == 0).all()


def test_several_curves_share_one_run_and_equal_single_ones() -> None:
    model = spread(mlp([64, 40, 10]))
    x, y = images(50)
    curves: list[list[Any]] = [split_units(40, 8, seed=1), split_units(40, 3, left_out=5, seed=2), [], [[], [4], []]]
    runs = Runs(model[1])
    found = ablation_curves(model, "act1", x, y, curves)
    assert runs.samples == 1 + 50
    assert [len(curve) for curve in found] == [9, 4, 1, 4]
    for curve, groups in zip(found, curves, strict=True):
        assert curve.dtype == np.int64
        np.testing.assert_array_equal(curve, ablation_curve(model, "act1", x, y, groups))
        assert curve[0] == int((model(x).argmax(1) == y).sum())
    assert found[3][0] == found[3][1]
    assert found[3][2] == found[3][3]
    assert ablation_curves(model, "act1", x, y, []) == []


def test_correct_counts_per_class() -> None:
    model = spread(mlp([64, 40, 10]))
    x, y = images(80)
    sets = [[], *split_units(40, 5)]
    counts = correct_counts(model, "act1", x, y, sets)
    guesses = lesioned_predictions(model, "act1", x, sets)
    assert counts.shape == (6, 10)
    assert counts.dtype == np.int64
    for row, guess in zip(counts, guesses, strict=True):
        for label in range(10):
            assert row[label] == ((guess == label) & (y.numpy() == label)).sum()
    for j, units in enumerate(sets):
        assert counts[j].sum() == ablation_curve(model, "act1", x, y, [units])[-1]
    # A class that no sample has still gets its column.
    assert correct_counts(model, "act1", x, torch.zeros(80, dtype=torch.int64), sets)[:, 1:].sum() == 0
    assert correct_counts(model, "act1", x, y, []).shape == (0, 10)
    assert lesioned_predictions(model, "act1", x, []).shape == (0, 80)


def test_labels_units_and_layers_in_other_forms() -> None:
    model = spread(mlp([64, 40, 10]))
    x, y = images(30)
    expected = ablation_curve(model, "act1", x, y, [[3, 1], [0]])
    for labels in (y.numpy(), y.tolist(), y.to(torch.int32)):
        np.testing.assert_array_equal(ablation_curve(model, "act1", x, labels, [[3, 1], [0]]), expected)
    for groups in ([torch.tensor([3, 1]), (0,)], [np.array([1, 3], np.int16), range(1)]):
        np.testing.assert_array_equal(ablation_curve(model, model.get_submodule("act1"), x, y, groups), expected)
    np.testing.assert_array_equal(ablation_curve(model, "act1", x, y, [[3, 1], [0]], batch_size=7), expected)


class Shouting(nn.Sequential):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).flip(1)


class Doubling(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs) + 1


def _doubled(model: nn.Sequential) -> nn.Sequential:
    model[2].register_forward_hook(lambda _module, _args, output: output * -1)
    return model


def _doubled_container(model: nn.Sequential) -> nn.Sequential:
    model.register_forward_pre_hook(lambda _module, args: (args[0] * -1,))
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: Shouting(nn.Flatten(), nn.Linear(64, 30), nn.Linear(30, 10)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 30), Shouting(nn.Linear(30, 10))),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 30), Doubling(30, 10), nn.Tanh()),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.Tanh(), nn.Linear(30, 10)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(inplace=True), nn.Linear(30, 10)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LogSoftmax(1)),
        lambda: nn.Sequential(nn.Flatten(2), nn.Linear(64, 30), nn.Linear(30, 10), nn.Softmax(1), nn.Flatten()),
        lambda: nn.Sequential(
            nn.Flatten(2), nn.Linear(64, 30), nn.Flatten(2), nn.Linear(30, 10), nn.Softmax(1), nn.Flatten()
        ),
        lambda: _doubled(nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.Linear(30, 10))),
        lambda: _doubled_container(nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.Linear(30, 10))),
    ],
    ids=[
        "own forward", "own forward inside", "own linear", "tanh between", "in-place relu between", "no linear above",
        "linear on a second axis", "flatten of two axes", "hook on the linear", "hook on the container",
    ],
)  # fmt: skip
def test_networks_without_the_shortcut_are_right(make: Callable[[], nn.Sequential]) -> None:
    model = spread(make())
    x, y = images(40)
    groups = split_units(model[:2](x)[0].numel(), 4)
    np.testing.assert_array_equal(
        ablation_curve(model, "1", x, y, groups), ablation_curve(Opaque(model).eval(), "inner.1", x, y, groups)
    )


@pytest.mark.parametrize("opaque", [False, True])
def test_model_is_left_as_it_was(opaque: bool) -> None:
    model: nn.Module = spread(mlp([64, 40, 10]))
    model = Opaque(model).eval() if opaque else model
    layer = "inner.act1" if opaque else "act1"
    x, y = images(20)
    x.requires_grad_()
    before, inputs = {name: p.clone() for name, p in model.named_parameters()}, x.clone()
    expected = model(x).clone()
    ablation_curve(model, layer, x, y, split_units(40, 4))
    with pytest.raises(RuntimeError):  # the second batch cannot run
        ablation_curve(nn.Sequential(model, Breaks()), f"0.{layer}", x, y, [[0]], batch_size=10)
    assert not any(part._forward_hooks for part in model.modules())
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.named_parameters())
    assert torch.equal(x, inputs)
    assert torch.equal(model(x), expected)


class Breaks(nn.Module):
    """Fails when it sees more than one sample."""

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > 1:
            raise RuntimeError("out of order")
        return inputs


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.first, self.last = nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.act(self.first(self.act(inputs.flatten(1)))))


def _nan(x: Tensor) -> Tensor:
    x = x.clone()
    x[3, 0, 2, 2] = torch.nan
    return x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "act9"}, "layer='act9' is not in the model; its layers are flatten, hidden1, act1"),
        ({"layer": ""}, "layer='' is not in the model"),
        ({"layer": nn.ReLU()}, "is not in the model"),
        ({"groups": [[0], [40]]}, "units 40 ... 40 are named; the layer has 0 ... 39"),
        ({"groups": [[0], [-1, 4]]}, "units -1 ... 4"),
        ({"groups": [[0, 0]]}, "more than once"),
        ({"groups": [[0.0]]}, "must be a list of unit numbers"),
        ({"groups": [np.ones(40, dtype=bool)]}, "must be a list of unit numbers"),
        ({"groups": [[[0], [1]]]}, "must be a list of unit numbers"),
        ({"labels": torch.zeros(29, dtype=torch.int64)}, r"labels has shape \(29,\) .* \(30,\)"),
        ({"labels": torch.zeros(30)}, "labels .* float32"),
        ({"labels": torch.full((30,), 10)}, "labels goes from 10 to 10; 0 ... 9 is allowed"),
        ({"labels": torch.full((30,), -1)}, "labels goes from -1"),
        ({"replacement": np.zeros(39)}, r"replacement has shape \(39,\)"),
        ({"replacement": np.full(40, np.nan)}, "replacement .* finite"),
        ({"inputs": _nan(images(30)[0])}, "inputs has NaN"),
        ({"inputs": images(30)[0][:0], "labels": []}, "at least one sample"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"model": mlp([64, 40, 10], dropout=0.5)}, "training mode at 'drop1', a Dropout; call model.eval()"),
        ({"model": nn.Sequential(nn.BatchNorm2d(1), mlp([64, 40, 10])), "layer": "1.act1"}, "at '0', a BatchNorm2d"),
        ({"model": Twice(), "layer": "act"}, "runs 2 times in a forward pass"),
        (
            {"model": nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), "layer": "0"},
            r"shape \(1, 2, 6, 6\) for 1 samples; logits",
        ),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    x, y = images(30)
    arguments = {
        "model": mlp([64, 40, 10]),
        "layer": "act1",
        "inputs": x.float(),
        "labels": y,
        "groups": [[0]],
        **change,
    }
    with pytest.raises(ValueError, match=message):
        ablation_curve(**arguments)
    arguments["unit_sets"] = arguments.pop("groups")
    with pytest.raises(ValueError, match=message):
        correct_counts(**arguments)


def test_unit_in_two_groups() -> None:
    x, y = images(30)
    model = mlp([64, 40, 10]).double()
    with pytest.raises(ValueError, match="the groups of curve 1 name a unit more than once"):
        ablation_curves(model, "act1", x, y, [[[0], [1]], [[0, 1], [2, 1]]])
    # Sets that are removed on their own may overlap.
    assert correct_counts(model, "act1", x, y, [[0, 1], [2, 1]]).shape == (2, 10)


# --- channels, replacements, logits and losses ------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["act1", "act2", "act3"])
@pytest.mark.parametrize("opaque", [False, True])
def test_a_channel_goes_with_all_its_places(layer: str, opaque: bool) -> None:
    model = spread(cnn(image_size=8))
    x, y = images(60)
    place = [name for name, _ in model.named_children()].index(layer)
    with torch.no_grad():
        value = model[: place + 1](x)
        expected = []
        for channels in ([], [0, 3], [5]):
            lesioned = value.clone()
            lesioned[:, channels] = 0
            expected.append(model[place + 1 :](lesioned).argmax(1))
    given, name = (Opaque(model).eval(), f"inner.{layer}") if opaque else (model, layer)
    found = lesioned_predictions(given, name, x, [[], [0, 3], [5]], units="channel")
    np.testing.assert_array_equal(found, np.stack(expected))
    counts = correct_counts(given, name, x, y, [[], [0, 3], [5]], units="channel")
    assert counts.sum(axis=1).tolist() == [int((guess == y).sum()) for guess in expected]
    curve = ablation_curve(given, name, x, y, [[3, 0]], units="channel")
    assert curve.tolist() == counts.sum(axis=1)[:2].tolist()
    channels = value.shape[1]
    with pytest.raises(
        ValueError, match=f"units {channels} ... {channels} are named; the layer has 0 ... {channels - 1}"
    ):
        correct_counts(given, name, x, y, [[channels]], units="channel")
    with pytest.raises(ValueError, match=rf"finite numbers of shape \({channels},\)"):
        correct_counts(given, name, x, y, [[0]], units="channel", replacement=np.zeros(channels + 1))
    numbers = np.arange(channels) / 7
    with torch.no_grad():
        lesioned = value.clone()
        lesioned[:, 2] = numbers[2]
        assert np.allclose(
            lesioned_logits(given, name, x, [[2]], units="channel", replacement=numbers)[0],
            model[place + 1 :](lesioned),
            rtol=1e-12,
            atol=1e-12 * float(value.abs().max()),
        )


def test_features_of_tokens_are_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3)).double().eval()
    x = torch.randn(7, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        value = model[:2](x)
        value[:, :, [1, 4]] = 0
        expected = model[2:](value)
    assert np.allclose(lesioned_logits(model, "1", x, [[1, 4]], units="channel")[0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("units", ["element", "channel"])
@pytest.mark.parametrize("wrap", [nn.Identity, Opaque])
def test_mean_and_resample_against_forward_passes_written_out(units: str, wrap: type) -> None:
    model = spread(cnn(image_size=8))
    x, y = images(50)
    given, name = (model, "act2") if wrap is nn.Identity else (Opaque(model).eval(), "inner.act2")
    sets = [[], [0, 7, 9], list(range(10, 60))]
    value = model[:4](x).detach()
    options: dict[str, Any] = {"units": units, "batch_size": 16}

    def logits(put: Callable[[Tensor], Tensor]) -> np.ndarray:
        found = []
        for members in sets:
            shape = value.shape if units == "channel" else (len(x), -1)
            lesioned = value.clone().reshape(shape)
            lesioned[:, members] = put(value).reshape(shape)[:, members]
            found.append(model[4:](lesioned.reshape(value.shape)).detach().numpy())
        return np.stack(found)

    tolerance: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-11}
    mean = lesioned_logits(given, name, x, sets, replacement="mean", **options)
    np.testing.assert_allclose(mean, logits(lambda v: v.mean(0, keepdim=True).expand_as(v)), **tolerance)
    other = lesioned_logits(given, name, x, sets, replacement="resample", seed=3, **options)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(3))
    partners = torch.empty_like(order)
    partners[order] = order.roll(1)
    assert (partners != torch.arange(50)).all()
    assert len(partners.unique()) == 50
    np.testing.assert_allclose(other, logits(lambda v: v[partners]), **tolerance)
    assert not np.allclose(other, lesioned_logits(given, name, x, sets, replacement="resample", seed=4, **options))
    zero = lesioned_logits(given, name, x, sets, **options)
    np.testing.assert_allclose(zero, logits(torch.zeros_like), **tolerance)
    # Logits, losses, predictions, counts and curves are of the same lesions.
    for replacement in ("zero", "mean", "resample"):
        same = {**options, "replacement": replacement, "seed": 3}
        table = lesioned_logits(given, name, x, sets, **same)
        losses = lesioned_losses(given, name, x, y, sets, **same)
        rows = [nn.functional.cross_entropy(torch.tensor(row), y, reduction="none").numpy() for row in table]
        np.testing.assert_allclose(losses, np.stack(rows), rtol=1e-11, atol=1e-13)
        np.testing.assert_array_equal(lesioned_predictions(given, name, x, sets, **same), table.argmax(2))
        counts = correct_counts(given, name, x, y, sets, **same).sum(axis=1)
        assert counts.tolist() == (table.argmax(2) == y.numpy()).sum(axis=1).tolist()
        assert ablation_curve(given, name, x, y, sets[:2], **same).tolist() == counts[[0, 0, 1]].tolist()


def test_shapes_without_sets_and_precision_of_logits() -> None:
    x, y = images(6)
    for dtype, expected in ((torch.float64, np.float64), (torch.float32, np.float32), (torch.bfloat16, np.float32)):
        model = spread(mlp([64, 40, 10])).to(dtype)
        for given, name in ((model, "act1"), (Opaque(model).eval(), "inner.act1")):
            assert lesioned_logits(given, name, x, [[1]]).shape == (1, 6, 10)
            assert lesioned_logits(given, name, x, [[1]]).dtype == expected
            assert lesioned_logits(given, name, x, []).shape == (0, 6, 10)
            assert lesioned_losses(given, name, x, y, []).shape == (0, 6)
            assert lesioned_losses(given, name, x, y, [[0]]).dtype == expected


class Broken(nn.Module):
    """Gives NaN where the first unit of what it is given is 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[:, :1] == 0, torch.nan, x)


def test_nan_is_no_prediction() -> None:
    x, y = images(30)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Sigmoid(), Broken()).double()
    direct = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Sigmoid(), nn.Linear(5, 5, bias=False), Broken()).double()
    for given, name in ((model, "2"), (direct, "2"), (Opaque(model), "inner.2")):
        assert correct_counts(given, name, x, y % 5, [[1]]).shape == (1, 5)
        sets = [list(range(5))] if given is direct else [[1], [0]]
        with pytest.raises(ValueError, match="model gives logits that are NaN for some samples"):
            correct_counts(given, name, x, y % 5, sets)
        with pytest.raises(ValueError, match="model gives logits that are NaN for some samples"):
            ablation_curve(given, name, x, y % 5, sets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "filter"}, "units='filter' is unknown; choose one of element, channel"),
        ({"replacement": "median"}, "replacement='median' is unknown; choose one of zero, mean, resample"),
        ({"inputs": images(1)[0].float(), "replacement": "resample"}, "takes another sample, but inputs has 1"),
        ({"seed": -1}, "seed=-1; an integer, 0 or more"),
        ({"inputs": (images(3)[0], images(3)[0])}, "inputs is tuple; .*a model of several inputs can be wrapped"),
        ({"model": [nn.ReLU()]}, "model is a list; give a torch.nn.Module"),
        (
            {"output": lambda given: given[0]},
            r"output gives shape \(10,\) for 1 samples; logits of shape \(1, classes\)",
        ),
        ({"output": lambda given: given[:, :1]}, "model gives a single output; a class is chosen among 2 or more"),
    ],
)
def test_bad_options(change: dict[str, Any], message: str) -> None:
    x = change.pop("inputs", images(30)[0].float())
    arguments = {"model": mlp([64, 40, 10]), "layer": "act1", "inputs": x, "unit_sets": [[0]], **change}
    with pytest.raises(ValueError, match=message):
        lesioned_predictions(**arguments)
