"""Networks as other people build them: each function works on them, or says clearly why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from modutils.attribution import attribute, neuron_sample_matrix
from modutils.data import torchvision
from modutils.lesions import ablation_curve, correct_counts, lesioned_logits, lesioned_losses
from modutils.similarity import unit_similarity
from modutils.units import layer_activations
from modutils.visualization import feature_visualization

models = torchvision().models


class Sequences(nn.Module):
    """An LSTM, or attention, over (N, tokens, 6)."""

    def __init__(self, kind: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.kind = kind
        if kind == "lstm":
            self.body: nn.Module = nn.LSTM(6, 8, num_layers=2, dropout=dropout, batch_first=True)
        else:
            self.up, self.body = nn.Linear(6, 8), nn.MultiheadAttention(8, 2, dropout=dropout, batch_first=True)
        self.last, self.out = nn.Tanh(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)[0] if self.kind == "lstm" else self.body(*[self.up(x)] * 3)[0]
        return self.out(self.last(h[:, -1]))


class Dense(nn.Module):
    """Layers ``act`` and ``out`` on (N, 6), and what is made of them."""

    def __init__(self, give: Callable[[Dense, Tensor], Any], classes: int = 3) -> None:
        super().__init__()
        self.give = give
        self.first, self.act, self.second = nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 8)
        self.out, self.other = nn.Linear(8, classes), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        return self.give(self, self.act(self.first(x)))


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.act, self.out = nn.Embedding(11, 8), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.embedding(x)).mean(1))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.act(x) * mask


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    layer: str
    shape: tuple[int, ...]  # of one sample
    channels: int
    output: Callable[[Any], Tensor] | None = None
    refused: Mapping[str, str] | str = MappingProxyType({})  # for each function, or for all


def vit() -> nn.Module:
    model = models.VisionTransformer(16, 8, 2, 2, hidden_dim=8, mlp_dim=12, num_classes=3)
    nn.init.normal_(model.heads.head.weight)
    return model


def numbers() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 1), nn.Flatten(0), nn.Unflatten(0, (-1, 1)))


def resnet() -> nn.Module:
    return models.resnet18(weights=None, num_classes=3)


BLOCK = "encoder.layers.encoder_layer_0"
INCOMPLETE = r"miss the change of the logits by .* a path of the network bypasses it"
ATTENTION = "Above the layer lie operations that the method may not cover: .*"
BRANCH = {"attribute": INCOMPLETE, "matrix": INCOMPLETE}
SINGLE = dict.fromkeys(
    ("matrix", "loss_hessian", "lesions", "curve"), "model gives a single output; a class is chosen among 2 or more"
)
NO_LOGITS = dict.fromkeys(
    ("attribute", "matrix", "output_sensitivity", "loss_hessian", "lesions", "curve", "logits"),
    "Give output=, a function that picks them from what the model returns",
)

CASES: dict[str, Case] = {
    "resnet18": Case(resnet, "layer4", (3, 32, 32), 512),
    "resnet18, inside a block": Case(resnet, "layer4.1.conv1", (3, 32, 32), 512, None, BRANCH),
    "resnet18, relu of a block": Case(resnet, "layer3.1.relu", (3, 32, 32), 256, None, "runs 2 times"),
    "ViT": Case(vit, BLOCK, (3, 16, 16), 8, None, {"attribute": ATTENTION, "matrix": ATTENTION}),
    "ViT, normalised": Case(vit, "encoder.ln", (3, 16, 16), 8),
    "ViT, attention": Case(vit, f"{BLOCK}.self_attention", (3, 16, 16), 8, None, "gives a tuple"),
    "LSTM": Case(lambda: Sequences("lstm"), "last", (5, 6), 8),
    "LSTM, its output": Case(lambda: Sequences("lstm"), "body", (5, 6), 8, None, "gives a tuple"),
    "attention": Case(lambda: Sequences("attention"), "last", (5, 6), 8),
    "attention, its output": Case(lambda: Sequences("attention"), "body", (5, 6), 8, None, "gives a tuple"),
    "in place": Case(lambda: Dense(lambda net, h: net.out(torch.relu_(net.second(h)))), "second", (6,), 8),
    "two heads": Case(lambda: Dense(lambda net, h: (net.out(h), net.other(h))), "act", (6,), 8, None, NO_LOGITS),
    "two heads, one picked": Case(
        lambda: Dense(lambda net, h: (net.out(h), net.other(h))), "act", (6,), 8, lambda given: given[0]
    ),
    "dict": Case(lambda: Dense(lambda net, h: {"logits": net.out(h)}), "act", (6,), 8, None, NO_LOGITS),
    "dict, picked": Case(
        lambda: Dense(lambda net, h: {"logits": net.out(h)}), "act", (6,), 8, lambda given: given["logits"]
    ),
    "regression": Case(lambda: Dense(lambda net, h: net.out(h), 1), "act", (6,), 8, None, SINGLE),
    "regression, (N,)": Case(lambda: Dense(lambda net, h: net.out(h)[:, 0], 1), "act", (6,), 8, None, NO_LOGITS),
    "regression, (N,), picked": Case(
        lambda: Dense(lambda net, h: net.out(h)[:, 0], 1),
        "act",
        (6,),
        8,
        lambda given: given[:, None],
        SINGLE,
    ),
    "layer (N,)": Case(numbers, "1", (6,), 1, None, r"gives shape \(\d,\)"),
    "several inputs": Case(TwoInputs, "act", (6,), 6, None, "'mask'.*can be wrapped in a module that takes one"),
}

Call = Callable[[nn.Module, str, Tensor, Any], Any]


def _similarity(measure: str) -> Call:
    return lambda model, layer, x, output: unit_similarity(model, layer, x, measure=measure, positions=2, output=output)


FUNCTIONS: dict[str, Call] = {
    "attribute": lambda model, layer, x, output: attribute(model, layer, x, target=0, output=output),
    "matrix": lambda model, layer, x, output: neuron_sample_matrix(model, layer, x, output=output),
    **{measure: _similarity(measure) for measure in ("covariance", "output_sensitivity", "loss_hessian")},
    "activations": lambda model, layer, x, output: layer_activations(model, layer, x, units="channel"),
    "lesions": lambda model, layer, x, output: correct_counts(
        model, layer, x, [0] * len(x), [[], [0]], units="channel", output=output
    ),
    "curve": lambda model, layer, x, output: ablation_curve(model, layer, x, [0] * len(x), [[0]], output=output),
    "logits": lambda model, layer, x, output: lesioned_logits(
        model, layer, x, [[], [0]], units="channel", output=output
    ),
}


def inputs(shape: tuple[int, ...], n: int = 3) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_works_or_is_refused_clearly(name: str, function: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    model, x = case.make().eval(), inputs(case.shape)
    kept, state = x.clone(), torch.get_rng_state()
    weights = [parameter.clone() for parameter in model.parameters()]
    message = case.refused if isinstance(case.refused, str) else case.refused.get(function)
    if message:
        with pytest.raises(ValueError, match=message):
            FUNCTIONS[function](model, case.layer, x, case.output)
    else:
        found = np.asarray(FUNCTIONS[function](model, case.layer, x, case.output))
        assert np.isfinite(found).all()
        expected = {"activations": case.channels, "covariance": case.channels, "output_sensitivity": case.channels}
        assert found.shape[-1] == expected.get(function, found.shape[-1])
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), weights, strict=True))
    assert not any("forward" in part.__dict__ or part._forward_hooks for part in model.modules())


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet18, inside a block", "ViT", "LSTM", "attention", "in place"])
def test_a_channel_is_removed_as_a_hook_removes_it(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    model, x = case.make().eval(), inputs(case.shape, 5)
    for channels in ([], [1], [0, 5]):

        def lesion(_module: nn.Module, _args: Any, value: Tensor, channels: list[int] = channels) -> Tensor:
            value = value.clone()
            value[(Ellipsis, channels) if value.ndim == 3 else (slice(None), channels)] = 0
            return value

        with model.get_submodule(case.layer).register_forward_hook(lesion):
            expected = model(x.clone())
        found = lesioned_logits(model, case.layer, x, [channels], units="channel")[0]
        assert np.array_equal(found, expected.numpy())
        losses = lesioned_losses(model, case.layer, x, [0, 1, 2, 0, 1], [channels], units="channel")[0]
        assert np.allclose(losses, functional.cross_entropy(expected, torch.tensor([0, 1, 2, 0, 1]), reduction="none"))


def test_a_layer_inside_a_branch_is_attributed_with_a_warning() -> None:
    torch.manual_seed(0)
    model, x = resnet().eval(), inputs((3, 32, 32))
    with pytest.warns(UserWarning, match=INCOMPLETE):
        found, missed = attribute(model, "layer4.1.conv1", x, target=0, incomplete="warn", return_delta=True)
    assert found.shape == (3, 512)
    assert missed.shape == (3,)
    assert (missed.abs() > 1e-3).all()


def test_token_ids() -> None:
    torch.manual_seed(0)
    model, ids = Embedded().eval(), torch.randint(11, (4, 5))
    assert layer_activations(model, "act", ids, units="channel").shape == (4, 8)
    assert layer_activations(model, "act", ids.numpy()[::-1]).shape == (4, 40)
    assert lesioned_logits(model, "act", ids, [[0], [1, 2]], units="channel").shape == (2, 4, 3)
    assert correct_counts(model, "act", ids, [0, 1, 2, 0], [[0]], replacement="mean").shape == (1, 3)
    for measure in ("covariance", "output_sensitivity", "loss_hessian"):
        assert unit_similarity(model, "act", ids, measure=measure).shape == (8, 8)
    assert attribute(model, "act", ids, target=0, baseline=torch.zeros(5, dtype=torch.int64)).shape == (4, 40)
    needs_gradients: dict[str, Callable[[], object]] = {
        "similarity": lambda: unit_similarity(model, "act", ids, measure="input_sensitivity"),
        "conductance": lambda: attribute(model, "act", ids, target=0, method="conductance"),
        "internal influence": lambda: neuron_sample_matrix(model, "act", ids, method="internal_influence"),
    }
    for function in needs_gradients.values():
        with pytest.raises(ValueError, match=r"inputs is torch.int64; .*no gradients with respect to token ids"):
            function()


# --- training mode ----------------------------------------------------------------------------------------------------


class Always(nn.Module):
    """A function that is random, or depends on the batch, whatever the mode."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def in_training(part: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), part.train(), nn.ReLU(), nn.Linear(6, 3))


def _train_layers_only() -> nn.Module:
    model = Sequences("lstm", dropout=0.3).eval()
    model.body.train()
    return model


RANDOM: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dropout": (lambda: in_training(nn.Dropout()), "training mode at '1', a Dropout"),
    "batch norm": (lambda: in_training(nn.BatchNorm1d(6)), "training mode at '1', a BatchNorm1d"),
    "random slopes": (lambda: in_training(nn.RReLU()), "training mode at '1', a RReLU"),
    "functional dropout": (lambda: in_training(Always(functional.dropout)), "calls dropout in training mode"),
    "functional batch norm": (
        lambda: in_training(Always(lambda x: functional.batch_norm(x, None, None, training=True))),
        "calls batch_norm in training mode",
    ),
    "batch norm without statistics": (
        lambda: in_training(nn.BatchNorm1d(6, track_running_stats=False)).eval(),
        "calls batch_norm in training mode",
    ),
    "stochastic depth": (
        lambda: in_training(_depth()),
        "model draws random numbers in a forward pass",
    ),
    "noise": (lambda: in_training(Always(lambda x: x + torch.randn_like(x))), "model draws random numbers"),
    "LSTM": (_train_layers_only, "training mode at 'body', a LSTM"),
    "attention": (lambda: Sequences("attention", dropout=0.3).train(), "training mode at 'body', a MultiheadAttention"),
}


def _depth() -> nn.Module:
    from torchvision.ops import StochasticDepth

    return StochasticDepth(0.5, "row")


@pytest.mark.parametrize("name", RANDOM)
def test_training_mode_anywhere_is_refused_by_all(name: str) -> None:
    make, message = RANDOM[name]
    model = make()
    layer, x = ("last", inputs((5, 6))) if isinstance(model, Sequences) else ("2", inputs((6,)))
    modes, state = [part.training for part in model.modules()], torch.get_rng_state()
    for function in FUNCTIONS.values():
        with pytest.raises(ValueError, match=message):
            function(model, layer, x, None)
        assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in model.modules()] == modes


def test_training_mode_is_refused_where_images_are_made() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), Always(functional.dropout2d), nn.Flatten(), nn.LazyLinear(2))
    with torch.no_grad():
        model(torch.zeros(1, 1, 6, 6))
    with pytest.raises(ValueError, match="calls dropout2d in training mode"):
        feature_visualization(model, "0", [[0]], (1, 6, 6), steps=1)


def test_training_mode_that_does_not_matter_is_let_be() -> None:
    model = Sequences("lstm").train()
    for function in FUNCTIONS.values():
        function(model, "last", inputs((5, 6)), None)
    assert all(part.training for part in model.modules())


class Counts(nn.Module):
    """Changes its buffers in a forward pass, one in place and one by putting another there."""

    total: Tensor
    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(6))
        self.register_buffer("last", torch.zeros(6))
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        self.total += x.detach().sum(0)
        self.last = x.detach().mean(0)
        if self.fails and len(x) > 1:
            raise RuntimeError("out of order")
        return x


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_are_as_they_were(fails: bool) -> None:
    counts = Counts()
    model, x = nn.Sequential(counts, nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).eval(), inputs((6,))
    model(x)
    total, last = counts.total, counts.last
    kept = total.clone(), last.clone()
    counts.fails = fails
    for function in FUNCTIONS.values():
        if fails:
            with pytest.raises(RuntimeError, match="out of order"):
                function(model, "2", x, None)
        else:
            function(model, "2", x, None)
        assert counts.total is total
        assert counts.last is last
        assert torch.equal(total, kept[0])
        assert torch.equal(last, kept[1])


# --- threads ----------------------------------------------------------------------------------------------------------


def test_threads_on_one_network_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model, x = Dense(lambda net, h: net.out(torch.relu(net.second(h)))).eval(), inputs((6,), 40)
    sets = [[], [0], [1, 2], [3, 4, 5]]
    expected = {layer: lesioned_logits(model, layer, x, sets, batch_size=8) for layer in ("act", "second")}

    def work(layer: str) -> None:
        for _ in range(10):
            assert np.array_equal(lesioned_logits(model, layer, x, sets, batch_size=8), expected[layer])

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, layer) for layer in ("act", "second") * 2]:
            done.result()
