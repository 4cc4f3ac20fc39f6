"""Unit similarities: closed forms, automatic differentiation and torch.func agree; edge cases and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import hessian, jacrev, vmap

from modutils import similarity
from modutils.networks import cnn, mlp
from modutils.similarity import MEASURES, Similarity, mlp_similarities, normalize, unit_similarity

MLPS = {
    "two hidden": [20, 12, 12, 4],
    "three hidden": [20, 12, 9, 7, 4],
    "one hidden, more units than inputs": [6, 12, 4],
    "fewer units than inputs, then more": [30, 8, 12, 3],
}


def network(sizes: list[int], seed: int = 0, **options: Any) -> nn.Sequential:
    torch.manual_seed(seed)
    model = mlp(sizes, **options).double().eval()
    for parameter in model.parameters():
        parameter.data *= 2  # so that the activity and the probabilities vary
    return model


def samples(n: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parameters(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    linear = maps(model)
    return [part.weight for part in linear], [part.bias for part in linear]


def maps(model: nn.Module) -> list[nn.Linear]:
    return [part for part in model.modules() if isinstance(part, nn.Linear)]


def split(model: nn.Sequential, layer: str) -> tuple[nn.Sequential, nn.Sequential]:
    end = [name for name, _ in model.named_children()].index(layer) + 1
    parts = list(model)
    return nn.Sequential(*parts[:end]), nn.Sequential(*parts[end:])


def by_definition(model: nn.Sequential, layer: str, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
    """M_k (K, units, units) by torch.func, with the units numbered as torch.flatten does."""
    below, above = split(model, layer)
    labels = torch.zeros(len(x), dtype=torch.int64) if labels is None else labels
    with torch.no_grad():
        h = below(x)

    def loss(value: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(above(value[None]), label[None])

    units = h[0].numel()
    centred = (h - h.mean(0)).flatten(1)
    up = vmap(jacrev(lambda one: below(one[None])[0]))(x).reshape(len(x), units, -1)
    down = vmap(jacrev(lambda one: above(one[None])[0]))(h).reshape(len(x), -1, units)
    curvature = vmap(hessian(loss))(h, labels).reshape(len(x), units, units)
    found = {
        "covariance": centred[:, :, None] * centred[:, None],
        "input_sensitivity": up @ up.mT,
        "output_sensitivity": down.mT @ down,
        "loss_hessian": curvature,
    }
    return {measure: matrices.detach() for measure, matrices in found.items()}


def autograd(model: nn.Module, layer: str, x: Tensor, measure: str, **options: Any) -> Similarity:
    """The general path, also where the closed forms hold."""
    given = {"labels": None, "where": torch.arange(1), "batch_size": 33, **options}
    return similarity._by_autograd(model, model.get_submodule(layer), x, measure, units="channel", output=None, **given)


def assert_equal(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert found.shape == expected.shape
    assert expected.abs().max() > 1e-4, "zeros would agree with anything"
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("sizes", MLPS.values(), ids=MLPS)
def test_closed_forms_and_autograd_equal_the_definition(sizes: list[int]) -> None:
    model, x = network(sizes), samples(100, sizes[0])
    found = mlp_similarities(*parameters(model), x, batch_size=30)
    assert len(found) == len(sizes) - 2
    for number, layer in enumerate(found, start=1):
        assert tuple(layer) == MEASURES
        expected = by_definition(model, f"act{number}", x)
        for measure, ours in layer.items():
            matrices = expected[measure]
            general = autograd(model, f"act{number}", x, measure)
            for one in (ours, general):
                assert_equal(one.outside, matrices.mean(0).abs())
                assert_equal(one.inside, matrices.abs().mean(0))
                for matrix in one:
                    assert matrix.dtype == torch.float64
                    assert torch.equal(matrix, matrix.T)
                    assert (matrix >= 0).all()
            assert torch.equal(unit_similarity(model, f"act{number}", x, measure=measure, batch_size=30), ours.outside)
    # Otherwise the two absolute values were not told apart.
    assert (found[0]["covariance"].inside - found[0]["covariance"].outside).max() > 0.01


def test_unscaled_and_about_the_mean() -> None:
    model, x = network([20, 12, 4]), samples(100, 20)
    h = split(model, "act1")[0](x).detach()
    cov = unit_similarity(model, "act1", x, measure="covariance")
    np.testing.assert_allclose(cov, np.abs(np.cov(h.T.numpy(), bias=True)), atol=1e-12)
    repeated = unit_similarity(model, "act1", torch.cat([x, x, x]), measure="loss_hessian")
    assert_equal(repeated, unit_similarity(model, "act1", x, measure="loss_hessian"))


def test_closed_forms_are_used_where_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    x = samples(40, 2, 10)
    model = network([20, 12, 12, 4], dropout=0.5)
    bare = nn.Sequential(*list(model)[1:])
    no_bias = nn.Sequential(nn.Linear(20, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)).double()
    cases = [(model, layer, x) for layer in ("act1", "drop1", "act2")]
    cases += [(bare, "1", x.flatten(1)), (no_bias, "1", x.flatten(1))]
    expected = {(case, measure): autograd(*cases[case], measure).outside for case in range(5) for measure in MEASURES}
    monkeypatch.setattr(similarity, "_by_autograd", None)
    for (case, measure), matrix in expected.items():
        assert_equal(unit_similarity(*cases[case], measure=measure), matrix)


def test_closed_forms_are_not_used_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    x = samples(40, 2, 10)
    model = network([20, 12, 12, 4])
    hooked = network([20, 12, 4])
    hooked[1].register_forward_hook(lambda _module, _args, output: output * 2)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(20, 5), nn.Linear(5, 3)).double()
    half = nn.Sequential(nn.Flatten(0, 1), nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    cases: list[tuple[nn.Module, nn.Module | str]]
    cases = [(model, "hidden1"), (model, "logits"), (model, "flatten"), (model, model), (linear, "1"), (hooked, "act1")]
    cases += [(network([20, 12, 4], activation="tanh"), "act1"), (Doubling(*model), "2")]
    monkeypatch.setattr(similarity, "mlp_similarities", None)
    for given, layer in cases:
        assert unit_similarity(given, layer, x, measure="covariance").max() > 0
    with pytest.raises(ValueError, match=r"layer=.* gives shape \(2, 5\)"):
        unit_similarity(half, "2", x, measure="covariance")  # flattens samples into one another


class Doubling(nn.Sequential):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


def test_hook_below_the_layer_counts() -> None:
    x, model = samples(40, 20), network([20, 12, 4])
    before = unit_similarity(model, "act1", x, measure="input_sensitivity")
    model[2].register_forward_hook(lambda _module, _args, output: output * 3)
    assert_equal(unit_similarity(model, "act1", x, measure="input_sensitivity"), 9 * before)


@pytest.mark.parametrize("measure", MEASURES)
def test_batch_size_does_not_change_the_result(measure: str) -> None:
    x, model = samples(50, 20), network([20, 12, 9, 4])
    rough = network([20, 12, 9, 4], activation="tanh")
    for given in (model, rough):
        whole = unit_similarity(given, "act2", x, measure=measure, abs_inside=True)
        for batch_size in (1, 7, 50, 1000):
            part = unit_similarity(given, "act2", x, measure=measure, abs_inside=True, batch_size=batch_size)
            assert_equal(part, whole, 1e-12)


def test_single_precision_keeps_five_digits() -> None:
    model, x = network([784, 64, 64, 10]), samples(830, 784).float().double()
    for layer in ("hidden1", "hidden2"):  # no unit is so close to its kink that rounding decides
        z = split(model, layer)[0](x).detach()
        x = x[(z.abs() > 784 * torch.finfo(torch.float32).eps * z.std()).all(1)]
    assert len(x) > 800  # so that two units are active together more often than bfloat16 can count
    exact = mlp_similarities(*parameters(model), x)
    single = mlp_similarities(*parameters(model.float()), x.float(), batch_size=1000)
    for ours, truth in zip(single, exact, strict=True):
        for measure in MEASURES:
            for a, b in zip(ours[measure], truth[measure], strict=True):
                assert_equal(a / b.max(), b / b.max(), 1e-5)


@pytest.mark.parametrize("rank", [1, 3])
def test_first_weights_of_low_rank(rank: int) -> None:
    model, x = network([20, 12, 12, 4]), samples(60, 20)
    maps(model)[0].weight.data = samples(12, rank, seed=5) @ samples(rank, 20, seed=6)
    ours = mlp_similarities(*parameters(model), x, measures=["input_sensitivity"])
    expected = by_definition(model, "act2", x)["input_sensitivity"]
    assert list(ours[1]) == ["input_sensitivity"]
    assert_equal(ours[1]["input_sensitivity"].outside, expected.mean(0).abs())
    assert_equal(ours[1]["input_sensitivity"].inside, expected.abs().mean(0))


def test_labels_matter_only_where_the_network_above_is_curved() -> None:
    x = samples(60, 20)
    labels = torch.randint(4, (2, 60), generator=torch.Generator().manual_seed(0))
    smooth = network([20, 12, 9, 7, 4], activation="tanh")
    kinked = network([20, 12, 9, 7, 4])
    for layer in ("act1", "act3"):
        none, *given = (unit_similarity(kinked, layer, x, measure="loss_hessian", labels=y) for y in (None, *labels))
        assert torch.equal(given[0], none)
        for y in (None, *labels):
            assert_equal(autograd(kinked, layer, x, "loss_hessian", labels=y).outside, none)
        given = [unit_similarity(smooth, layer, x, measure="loss_hessian", labels=y, batch_size=25) for y in labels]
        for y, found in zip(labels, given, strict=True):
            assert_equal(found, by_definition(smooth, layer, x, y)["loss_hessian"].mean(0).abs())
        assert ((given[0] - given[1]).abs().max() > 1e-3) == (layer == "act1")


def test_without_labels_the_hessian_is_expected_under_the_model() -> None:
    x, model = samples(60, 20), network([20, 12, 9, 4], activation="tanh")
    p = model(x).softmax(1).detach()
    expected = torch.zeros(60, 12, 12, dtype=torch.float64)
    for label in range(4):
        matrices = by_definition(model, "act1", x, torch.full((60,), label))["loss_hessian"]
        expected += p[:, label, None, None] * matrices
    for inside, mean in ((False, expected.mean(0).abs()), (True, expected.abs().mean(0))):
        assert_equal(unit_similarity(model, "act1", x, measure="loss_hessian", abs_inside=inside), mean)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "leaky_relu", "elu"])
def test_other_activations(activation: str) -> None:
    model, x = network([20, 12, 9, 4], activation=activation), samples(60, 20)
    labels = torch.arange(60) % 4
    for layer in ("act1", "act2"):
        for measure, matrices in by_definition(model, layer, x, labels).items():
            for inside, expected in ((False, matrices.mean(0).abs()), (True, matrices.abs().mean(0))):
                found = unit_similarity(model, layer, x, measure=measure, abs_inside=inside, labels=labels)
                assert_equal(found, expected)


def tiny_convnet(activation: Callable[[], nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 3, 2), activation(), nn.Conv2d(3, 4, 2), activation(), nn.MaxPool2d(2), nn.Flatten()]
    model = nn.Sequential(*parts, nn.Linear(4, 5)).double().eval()
    for parameter in model.parameters():
        parameter.data *= 3
    return nn.Sequential(*model)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("layer", ["1", "3"])
def test_channels_are_averaged_over_equal_positions(activation: Callable[[], nn.Module], layer: str) -> None:
    model, x = tiny_convnet(activation), samples(20, 1, 4, 4)
    labels = torch.arange(20) % 5
    channels, side = (3, 3) if layer == "1" else (4, 2)
    for measure, matrices in by_definition(model, layer, x, labels).items():
        grid = matrices.reshape(20, channels, side * side, channels, side * side)
        same = torch.stack([grid[:, :, s, :, s] for s in range(side * side)])
        for inside, expected in ((False, same.mean((0, 1)).abs()), (True, same.abs().mean((0, 1)))):
            options: dict[str, Any] = {"measure": measure, "abs_inside": inside, "labels": labels, "batch_size": 8}
            assert_equal(unit_similarity(model, layer, x, **options), expected)

        # A draw of positions: the same for all samples, without repetition, decided by the seed.
        options = {"measure": measure, "labels": labels, "positions": 2}
        drawn = unit_similarity(model, layer, x, seed=3, **options)
        pairs = [same[[s, t]].mean((0, 1)).abs() for s in range(side * side) for t in range(s)]
        assert sum(torch.allclose(drawn, pair, atol=1e-10) for pair in pairs) == 1
        assert torch.equal(drawn, unit_similarity(model, layer, x, seed=3, **options))
        assert any(not torch.equal(drawn, unit_similarity(model, layer, x, seed=seed, **options)) for seed in range(9))
        options["positions"] = side * side
        assert_equal(unit_similarity(model, layer, x, **options), same.mean((0, 1)).abs())


def test_convolutional_network_of_the_book() -> None:
    torch.manual_seed(0)
    model, x = cnn(image_size=8).double().eval(), samples(4, 1, 8, 8)
    expected = by_definition(model, "act2", x)
    for measure in ("covariance", "output_sensitivity", "loss_hessian"):
        grid = expected[measure].reshape(4, 64, 16, 64, 16)
        same = torch.stack([grid[:, :, s, :, s] for s in range(16)]).mean((0, 1)).abs()
        found = unit_similarity(model, "act2", x, measure=measure)
        torch.testing.assert_close(found / same.max(), same / same.max(), rtol=0, atol=1e-10)
    dense = unit_similarity(model, "act3", x, measure="input_sensitivity")
    assert_equal(dense, by_definition(model, "act3", x)["input_sensitivity"].mean(0).abs())


def dead_network(bias: float) -> nn.Sequential:
    """Unit 3 of the first layer is constant: 0 for a negative bias. Unit 5 has no outgoing weights."""
    model = network([20, 12, 9, 4])
    first, second, _ = maps(model)
    first.weight.data[3], first.bias.data[3] = 0, bias
    second.weight.data[:, 5] = 0
    return model


@pytest.mark.parametrize("general", [False, True])
def test_dead_units_lose_their_upstream_rows_only(general: bool) -> None:
    x, model = samples(60, 20), dead_network(-1.0)
    maps(model)[0].weight.data[3] = 1e-3  # never fires, though it has weights
    for measure in MEASURES:
        found = autograd(model, "act1", x, measure) if general else mlp_similarities(*parameters(model), x)[0][measure]
        for matrix in found:
            zero_rows = [int(i) for i in (matrix == 0).all(1).nonzero()]
            assert zero_rows == ([3] if measure in ("covariance", "input_sensitivity") else [5])


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_unit_has_exactly_no_covariance(general: bool, dtype: torch.dtype) -> None:
    x, model = samples(60, 20).to(dtype), dead_network(0.1).to(dtype)
    found = (
        autograd(model, "act1", x, "covariance")
        if general
        else mlp_similarities(*parameters(model), x, measures=["covariance"])[0]["covariance"]
    )
    for matrix in found:
        assert (matrix[3] == 0).all()
        assert (matrix[:, 3] == 0).all()
        assert (matrix.diagonal() == 0).sum() == 1


class Skip(nn.Module):
    """Works in place, adds a path around its layer, and has an output that ignores a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(6, 6), nn.Identity(), nn.Linear(6, 3)
        self.unused = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        inputs.mul_(2)
        h = self.act(self.first(inputs))
        self.unused(h)
        return self.last(h.tanh_() + inputs)


def test_any_module() -> None:
    torch.manual_seed(0)
    model, x = Skip().double(), samples(30, 6)
    before, weight = x.clone(), model.first.weight.detach()
    h = 2 * x @ weight.T + model.first.bias.detach()
    centred = h - h.mean(0)
    assert_equal(unit_similarity(model, "act", x, measure="covariance"), (centred.T @ centred / 30).abs())
    assert_equal(unit_similarity(model, "act", x, measure="input_sensitivity"), (4 * weight @ weight.T).abs())
    down = model.last.weight.detach() * (1 - h.tanh() ** 2)[:, None]
    assert_equal(unit_similarity(model, "act", x, measure="output_sensitivity"), (down.mT @ down).mean(0).abs())
    # Changing what `unused` gives changes nothing.
    assert (unit_similarity(model, "unused", x, measure="output_sensitivity") == 0).all()
    labels = torch.arange(30) % 3
    for given in (None, labels):
        assert (unit_similarity(model, "unused", x, measure="loss_hessian", labels=given) == 0).all()
    assert torch.equal(x, before)
    assert not any(part._forward_hooks for part in model.modules())
    assert all(p.grad is None for p in model.parameters())
    with torch.inference_mode():
        inside = unit_similarity(model, model.act, x, measure="output_sensitivity", abs_inside=True)
    assert_equal(inside, (down.mT @ down).abs().mean(0))


def test_normal_forms() -> None:
    S = torch.tensor([[4.0, 1.0, 0.0], [1.0, 9.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    root, largest = normalize(S), normalize(S, how="max")
    torch.testing.assert_close(root[:2, :2], torch.tensor([[1, 1 / 6], [1 / 6, 1]], dtype=torch.float64))
    torch.testing.assert_close(largest[:2, :2], torch.tensor([[1, 1 / 9], [1 / 9, 1]], dtype=torch.float64))
    for how in ("sqrt", "max"):
        for scale in (1e-15, 1.0, 1e15):
            found = normalize(scale * S, how)
            torch.testing.assert_close(found, normalize(S, how))
            assert torch.equal(found, found.T)
            assert (found[2] == 0).all()
            assert found.max() <= 1
        stack = torch.stack([S, 2 * S, S.flip(0, 1)])
        assert torch.equal(normalize(stack, how)[2], normalize(S.flip(0, 1), how))
        array = normalize(S.numpy(), how)
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, normalize(S, how))
        assert normalize(S.float(), how).dtype == torch.float32
        assert normalize(S.long(), how).dtype == torch.float64


def test_normalised_similarities_are_gram_matrices() -> None:
    model, x = dead_network(-1.0), samples(60, 20)
    for layer in mlp_similarities(*parameters(model), x):
        for measure, pair in layer.items():
            for S in pair:
                for how in ("sqrt", "max"):
                    raw = S / (S.diagonal().sqrt().outer(S.diagonal().sqrt()))
                    assert raw.nan_to_num().max() <= 1 + 1e-12
                    found = normalize(S, how)
                    alive = S.diagonal() > 0
                    torch.testing.assert_close(found.diagonal(), alive.double())
                    assert (found[~alive] == 0).all(), measure


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.first, self.last = nn.ReLU(), nn.Linear(20, 20), nn.Linear(20, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.act(self.first(self.act(inputs))))


class Pair(nn.Module):
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs, inputs


def poisoned(x: Tensor, value: float = torch.nan) -> Tensor:
    x = x.clone()
    x.view(-1)[-1] = value
    return x


def nan_inside() -> nn.Sequential:
    model = network([20, 12, 4])
    maps(model)[0].bias.data[2] = torch.nan
    return model


X = samples(30, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measure": "cosine"}, "measure='cosine' is unknown; choose one of covariance, input_sensitivity"),
        ({"layer": "act9"}, "layer='act9' is not in the model; its layers are flatten, hidden1, act1"),
        ({"layer": nn.ReLU()}, "not in the model"),
        ({"inputs": poisoned(X)}, "inputs has NaN"),
        ({"inputs": X[:0]}, r"inputs has shape \(0, 20\)"),
        ({"inputs": X[0]}, r"inputs has shape \(20,\)"),
        ({"inputs": X.long()}, "torch.int64"),
        ({"inputs": X[:, :19]}, r"inputs of shape \(30, 19\) do not pass through the model"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"positions": 0}, "positions=0"),
        ({"model": mlp([20, 12, 4], dropout=0.5).double()}, "training mode at 'drop1', a Dropout; call model.eval()"),
        ({"model": nn.Sequential(nn.BatchNorm1d(20), mlp([20, 12, 4])), "layer": "1.act1"}, "at '0', a BatchNorm1d"),
        ({"model": Twice().double(), "layer": "act"}, "runs 2 times"),
        ({"model": nn.Sequential(nn.Identity(), Pair()), "layer": "1"}, "gives a tuple"),
        ({"model": nan_inside()}, "layer gives NaN"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    for measure in ("covariance", "input_sensitivity", "loss_hessian"):
        arguments = {"model": network([20, 12, 4]), "layer": "act1", "inputs": X, "measure": measure, **change}
        with pytest.raises(ValueError, match=message):
            unit_similarity(**arguments)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(29, dtype=torch.int64), r"labels has shape \(29,\) .* \(30,\)"),
        (torch.zeros(30), "type float32"),
        (torch.full((30,), 4), "labels goes from 4 to 4; 0 ... 3 is allowed"),
        (torch.full((30,), -100), "labels goes from -100"),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_bad_labels(labels: Tensor, message: str, activation: str) -> None:
    model = network([20, 12, 4], activation=activation)
    with pytest.raises(ValueError, match=message):
        unit_similarity(model, "act1", X, measure="loss_hessian", labels=labels)


def test_downstream_needs_logits() -> None:
    for part, message in (
        (nn.Unflatten(1, (4, 5)), r"model gives shape \(1, 4, 5\) for 1 samples"),
        (Pair(), "model gives a tuple for 1 samples; .* Give output="),
        (nn.Threshold(1e9, torch.nan), "model gives NaN"),
    ):
        model = nn.Sequential(nn.Identity(), part).eval()
        for measure in ("covariance", "input_sensitivity"):
            assert unit_similarity(model, "0", X, measure=measure).shape == (20, 20)
        for measure in ("output_sensitivity", "loss_hessian"):
            with pytest.raises(ValueError, match=message):
                unit_similarity(model, "0", X, measure=measure)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_single_output_has_no_cross_entropy(activation: str) -> None:
    model = network([20, 12, 1], activation=activation)
    assert unit_similarity(model, "act1", X, measure="output_sensitivity").any()
    with pytest.raises(ValueError, match="model gives a single output; a class is chosen among 2 or more"):
        unit_similarity(model, "act1", X, measure="loss_hessian")
    weights, biases = [part.weight for part in maps(model)], [part.bias for part in maps(model)]
    with pytest.raises(ValueError, match="there is a single output; a cross-entropy needs two classes"):
        mlp_similarities(weights, biases, X)


@pytest.mark.parametrize("measure", MEASURES)
def test_features_over_tokens_are_channels_over_places(measure: str) -> None:
    class Tokens(nn.Module):
        """(N, features, 2, 2) as (N, tokens, features)."""

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2).mT

    torch.manual_seed(0)
    body, head = nn.Conv2d(1, 5, 4, stride=4), nn.Sequential(nn.Tanh(), nn.Flatten(), nn.Linear(20, 3))
    back = nn.Sequential(nn.Unflatten(1, (2, 2)), Back())
    places = nn.Sequential(body, head).double()
    tokens = nn.Sequential(body, Tokens(), back, head).double()
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    found = unit_similarity(tokens, "1", x, measure=measure)
    assert torch.allclose(found, unit_similarity(places, "0", x, measure=measure), rtol=1e-12, atol=1e-15)
    assert found.shape == (5, 5)


class Back(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


def test_output_picks_the_logits() -> None:
    model = network([20, 12, 4])
    pair = nn.Sequential(model, Pair()).eval()
    for measure in MEASURES:
        found = unit_similarity(pair, "0.act1", X, measure=measure, output=lambda given: given[1])
        assert torch.allclose(found, unit_similarity(model, "act1", X, measure=measure), rtol=1e-12, atol=0)


def test_half_precision_is_normalised_without_underflow() -> None:
    values = torch.tensor([[1e-4, 0.0, 2e-5], [0.0, 0.0, 0.0], [2e-5, 0.0, 6e-6]])
    for dtype in (torch.float16, torch.bfloat16):
        given = values.to(dtype)
        for how in ("sqrt", "max"):
            found = normalize(given, how)
            assert found.dtype == dtype
            assert torch.equal(found, normalize(given.float(), how).to(dtype))
            assert found[0, 0] == 1
    mirrored = np.array([[4.0, 1.0], [1.0, 1.0]])[::-1, ::-1]
    assert normalize(mirrored).tolist() == [[1, 0.5], [0.5, 1]]


def test_arrays_and_integer_weights() -> None:
    model, backwards = network([20, 12, 4]), X.numpy()[::-1]
    found = unit_similarity(model, "act1", backwards, measure="covariance")
    assert torch.equal(found, unit_similarity(model, "act1", X.flip(0), measure="covariance"))
    whole = [torch.eye(2, dtype=torch.int64), torch.tensor([[3, -1], [1, 0]])], [torch.zeros(2), torch.zeros(2)]
    floats = [weight.float() for weight in whole[0]], whole[1]
    inputs = torch.tensor([[0.5, 0.25], [0.5, -0.25]])
    for a, b in zip(mlp_similarities(*whole, inputs), mlp_similarities(*floats, inputs), strict=True):
        assert all(torch.equal(a[measure].outside, b[measure].outside) for measure in MEASURES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measures": ["covariance", "hessian"]}, "measures='hessian' is unknown"),
        ({"weights": [samples(4, 20)], "biases": [samples(4)]}, "1 weights and 1 biases"),
        ({"biases": [samples(12)]}, "2 weights and 1 biases"),
        ({"weights": [samples(12, 20), samples(4, 11)]}, r"weights\[1\] has shape \(4, 11\); after weights\[0\]"),
        ({"weights": [samples(12, 19), samples(4, 12)]}, r"weights\[0\] .* after inputs of shape \(30, 20\)"),
        ({"weights": [samples(12, 20).flatten(), samples(4, 12)]}, r"weights\[0\] has shape \(240,\)"),
        ({"weights": [samples(0, 20), samples(4, 0)]}, r"weights\[0\] has shape \(0, 20\)"),
        ({"biases": [samples(11), samples(4)]}, r"biases\[0\] has shape \(11,\); \(12,\) is needed"),
        ({"weights": [samples(12, 20), poisoned(samples(4, 12))]}, r"weights\[1\] has NaN"),
        ({"biases": [poisoned(samples(12), torch.inf), samples(4)]}, r"biases\[0\] has NaN or infinite"),
        ({"inputs": poisoned(X)}, "inputs has NaN"),
        ({"inputs": X[:0]}, r"inputs has shape \(0, 20\)"),
        ({"inputs": X.long()}, "inputs is torch.int64"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"weights": [samples(12, 20) * 1e200, samples(4, 12) * 1e200]}, "layer 2 takes values that are NaN or inf"),
        ({"weights": [samples(12, 20) * 1e200, samples(4, 12)]}, "the values are too large"),
    ],
)
def test_bad_networks(change: dict[str, Any], message: str) -> None:
    weights, biases = [samples(12, 20), samples(4, 12)], [samples(12), samples(4)]
    arguments: dict[str, Any] = {"weights": weights, "biases": biases, "inputs": X, **change}
    with pytest.raises(ValueError, match=message):
        mlp_similarities(**arguments)


@pytest.mark.parametrize(
    ("S", "how", "message"),
    [
        (torch.eye(3), "mean", "how='mean' is unknown; choose one of sqrt, max"),
        (torch.ones(3, 4), "sqrt", r"S has shape \(3, 4\)"),
        (torch.ones(3), "sqrt", r"S has shape \(3,\)"),
        (-torch.eye(3), "max", "negative"),
        (poisoned(torch.eye(3)), "max", "NaN"),
    ],
)
def test_bad_matrices(S: Tensor, how: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalize(S, how)


@pytest.mark.parametrize("measure", MEASURES)
def test_elements_of_a_convolution_are_compared_across_places(measure: str) -> None:
    """As the units of the same network with its layer flattened."""
    torch.manual_seed(0)
    below, above = [nn.Conv2d(1, 2, 3), nn.ReLU()], [nn.Flatten(), nn.Linear(18, 4)]
    model = nn.Sequential(*below, *above).double()
    x = samples(12, 1, 5, 5)
    found = unit_similarity(model, "1", x, measure=measure, units="element")
    expected = unit_similarity(model, "2", x, measure=measure)
    assert_equal(found, expected, 1e-12)
    channels = unit_similarity(model, "1", x, measure=measure)
    places = torch.stack([found[place::9, place::9] for place in range(9)])
    if measure in ("covariance", "output_sensitivity"):  # sizes are taken after the mean over places
        assert channels.shape == (2, 2)
        assert (channels <= places.mean(0) + 1e-12).all()
