"""Training against plain torch, also when it is interrupted; pruning: the zeros asked for, and a network that works."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from modutils import data, hierarchy, networks, training
from modutils.training import Execution, Hooks


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    return data.load("digits", "train")


@pytest.fixture(scope="module")
def trained(digits: tuple[Tensor, Tensor]) -> nn.Sequential:
    """A small network that knows the digits; tests prune copies of it."""
    torch.manual_seed(0)
    model = networks.mlp([64, 40, 30, 10])
    training.train(model, *digits, epochs=15, batch_size=32, learning_rate=3e-3)
    return model


def _weights(model: nn.Module) -> list[Tensor]:
    return [part.weight.detach() for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]


def _pruned(model: nn.Sequential, images: Tensor, labels: Tensor, **options: Any) -> nn.Sequential:
    own = copy.deepcopy(model)
    training.prune(own, images, labels, **{"epochs": 2, **options})
    return own


@pytest.mark.parametrize("sparsity", [0.0, 0.77, 0.9])
def test_every_layer_ends_with_the_zeros_asked_for(
    trained: nn.Sequential, digits: tuple[Tensor, Tensor], sparsity: float
) -> None:
    model = _pruned(trained, *digits, sparsity=sparsity, start=sparsity / 2, every=7)
    for weight in _weights(model):
        assert int((weight == 0).sum()) == round(sparsity * weight.numel())
    assert not model.training


def test_convolutions_are_pruned_and_normalisation_is_not(digits: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10))
    pruned = _pruned(model, *digits, epochs=1, sparsity=0.8)
    for weight in _weights(pruned):
        assert int((weight == 0).sum()) == round(0.8 * weight.numel())
    assert not any((value == 0).any() for value in pruned[1].parameters())


def test_zeros_follow_the_cubic_schedule_and_stay(trained: nn.Sequential, digits: tuple[Tensor, Tensor]) -> None:
    model = copy.deepcopy(trained)
    seen: list[list[Tensor]] = []
    model.register_forward_pre_hook(lambda _m, _a: seen.append([weight == 0 for weight in _weights(model)]))
    training.prune(model, *digits, epochs=2, sparsity=0.9, start=0.4, every=4, batch_size=100)
    seen.append([weight == 0 for weight in _weights(model)])
    total = 2 * 13  # 1297 images in batches of 100
    assert len(seen) == total + 1
    for step, zeros in enumerate(seen):
        last = step if step == total else step - step % 4
        share = 0.9 + (0.4 - 0.9) * (1 - last / total) ** 3 if last else 0.0
        assert [int(zero.sum()) for zero in zeros] == [round(share * zero.numel()) for zero in zeros]
    for before, after in pairwise(seen):
        assert all(bool(later[earlier].all()) for earlier, later in zip(before, after, strict=True))


@pytest.mark.parametrize("share", [0.2, 0.6])
@pytest.mark.parametrize("reparametrised", [True, False])
def test_pruning_further_keeps_what_is_zero(digits: tuple[Tensor, Tensor], share: float, reparametrised: bool) -> None:
    """Fewer zeros than the first step asks for, and more; masked by torch, or plain zeros."""
    torch.manual_seed(3)
    model = networks.mlp([64, 20, 10])
    layer, dense = (part for part in model if isinstance(part, nn.Linear))
    before = torch.rand(20, 64) >= share
    torch_prune.custom_from_mask(layer, "weight", before)
    if not reparametrised:
        torch_prune.remove(layer, "weight")
    seen: list[Tensor] = []
    model.register_forward_hook(lambda _m, _a, _o: seen.append(layer.weight.detach() != 0))
    start = dense.weight.detach().clone()
    masks = training.prune_further(model, *digits, epochs=2, sparsity=0.9, start=0.5, every=4, batch_size=100)
    assert len(seen) == 26
    assert not torch.stack(seen)[:, ~before].any()  # at no step does a zero come back
    assert torch.equal(seen[3], before)  # until the first pruning all others are there
    assert [int(mask.sum()) for mask in masks] == [1280 - round(0.9 * 1280), 200 - round(0.9 * 200)]
    for part, mask in zip((layer, dense), masks, strict=True):
        assert mask.dtype == bool
        assert torch.equal(part.weight != 0, torch.from_numpy(mask))
    assert torch_prune.is_pruned(layer) == reparametrised
    assert not torch_prune.is_pruned(dense)
    assert not torch.equal(dense.weight, start)
    copy.deepcopy(model)
    assert [len(labels) for labels in hierarchy.detect_modules(masks)] == [64, 20, 10]


def test_pruning_further_prunes_a_dense_network_as_ever(trained: nn.Sequential, digits: tuple[Tensor, Tensor]) -> None:
    one, other = copy.deepcopy(trained), copy.deepcopy(trained)
    training.prune(one, *digits, epochs=2)
    masks = training.prune_further(other, *digits, epochs=2)
    for a, b, mask in zip(_weights(one), _weights(other), masks, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(b != 0, torch.from_numpy(mask))


def test_the_smallest_weights_go(trained: nn.Sequential, digits: tuple[Tensor, Tensor]) -> None:
    """At a rate that hardly moves them, the weights that are left are those that were largest."""
    model = _pruned(trained, *digits, epochs=1, sparsity=0.6, start=0.6, learning_rate=1e-9)
    for before, after in zip(_weights(trained), _weights(model), strict=True):
        assert before[after == 0].abs().max() <= before[after != 0].abs().min() + 1e-5
        torch.testing.assert_close(after[after != 0], before[after != 0], rtol=0, atol=1e-5)


def test_of_equal_weights_no_more_go_than_asked(digits: tuple[Tensor, Tensor]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.ones_(_weights(model)[0])
    pruned = _pruned(model, *digits, epochs=1, sparsity=0.6, start=0.6, every=1, learning_rate=1e-9)
    assert int((_weights(pruned)[0] == 0).sum()) == round(0.6 * 640)


def test_biases_are_trained_but_not_pruned(trained: nn.Sequential, digits: tuple[Tensor, Tensor]) -> None:
    model = _pruned(trained, *digits, sparsity=0.95)
    before, after = (
        [value.detach() for name, value in one.named_parameters() if name.endswith("bias")] for one in (trained, model)
    )
    assert len(after) == 3
    for old, new in zip(before, after, strict=True):
        assert (new != 0).all()
        assert not torch.allclose(old, new, atol=1e-4)


def test_a_pruned_network_still_knows_the_digits(trained: nn.Sequential, digits: tuple[Tensor, Tensor]) -> None:
    test = data.load("digits", "test")
    at_once = copy.deepcopy(trained)
    with torch.no_grad():
        for part in at_once:
            if isinstance(part, nn.Linear):
                size = part.weight.abs().flatten()
                part.weight *= part.weight.abs() > size.kthvalue(round(0.9 * size.numel())).values
    model = copy.deepcopy(trained)
    history = training.prune(model, *digits, epochs=20, batch_size=32)
    assert len(history.losses) == 20
    assert training.accuracy(model, *test) > 0.85
    assert training.accuracy(at_once, *test) < 0.6  # all at once, and without training on, it is lost


def test_a_penalty_makes_what_is_left_smaller(trained: nn.Sequential, digits: tuple[Tensor, Tensor]) -> None:
    sums = []
    for l1 in (0.0, 1e-2):
        model = _pruned(trained, *digits, epochs=4, learning_rate=1e-2, l1=l1)
        sums.append(float(torch.stack([weight.abs().sum() for weight in _weights(model)]).sum()))
    assert sums[1] < 0.8 * sums[0]


def test_the_seed_alone_decides(digits: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(2)
    model = networks.mlp([64, 20, 10], dropout=0.5)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = _pruned(model, *digits, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again, other = (_pruned(model, *digits, seed=seed) for seed in (4, 5))
    for one, same, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)


def _plain(model: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, cosine: bool, decay: float) -> list[float]:
    """What one would write."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=decay)
    steps = epochs * math.ceil(len(images) / 100)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    torch.manual_seed(6)
    losses = []
    model.train()
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(images)).split(100):
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if cosine:
                scheduler.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / len(images))
    return losses


@pytest.mark.parametrize(("schedule", "decay"), [("cosine", 0.0), ("constant", 1e-3)])
def test_training_equals_plain_torch(digits: tuple[Tensor, Tensor], schedule: str, decay: float) -> None:
    images, labels = digits[0].double(), digits[1]
    torch.manual_seed(0)
    model = networks.mlp([64, 20, 10], dropout=0.3).double()
    other = copy.deepcopy(model)
    options: dict[str, Any] = {"schedule": schedule, "weight_decay": decay, "learning_rate": 1e-2, "seed": 6}
    found = training.train(model, images, labels, epochs=3, batch_size=100, **options)
    expected = _plain(other, images, labels, epochs=3, cosine=schedule == "cosine", decay=decay)
    assert found.losses == pytest.approx(expected, rel=1e-6)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_hooks_are_called_and_the_penalty_is_no_part_of_the_losses(digits: tuple[Tensor, Tensor]) -> None:
    model = networks.mlp([64, 10])
    weight = model.get_parameter("logits.weight")
    steps: list[int] = []
    hooks = Hooks(penalty=lambda: 1e3 * weight.square().sum(), after_step=steps.append)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    history = training.optimize(model, *digits, optimizer, epochs=2, batch_size=100, hooks=hooks)
    assert steps == list(range(1, 2 * 13 + 1))
    assert max(history.losses) < 3
    assert float(weight.detach().abs().max()) < 0.02
    assert not model.training


def test_without_a_seed_the_global_random_state_goes_on(digits: tuple[Tensor, Tensor]) -> None:
    def trained(seed: int | None) -> Tensor:
        model = networks.mlp([64, 10])
        weight, bias = (nn.init.zeros_(p).detach() for p in model.parameters())
        torch.manual_seed(5)
        training.optimize(model, *digits, torch.optim.SGD(model.parameters(), lr=0.1), epochs=1, seed=seed)
        assert bias.any()
        return weight

    with torch.random.fork_rng(devices=[]):
        seeded, global_state = trained(5), torch.get_rng_state()
        assert torch.equal(seeded, trained(None))
        assert not torch.equal(torch.get_rng_state(), global_state)


@pytest.mark.parametrize("before", [False, True])
def test_training_leaves_denormal_numbers_as_they_were(digits: tuple[Tensor, Tensor], before: bool) -> None:
    def flushed() -> bool:
        return float(torch.tensor([5e-324], dtype=torch.float64) * 1) == 0

    assert not flushed()
    seen = []
    hooks = Hooks(after_step=lambda _: seen.append(flushed()))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    torch.set_flush_denormal(before)
    try:
        training.optimize(model, *digits, torch.optim.SGD(model.parameters(), lr=0.1), epochs=1, hooks=hooks)
        assert flushed() == before
    finally:
        torch.set_flush_denormal(False)
    assert all(seen)


# --- a checkpoint -----------------------------------------------------------------------------------------------------


class _Dies:
    """Interrupts a network that has been called so often."""

    def __init__(self, model: nn.Module, left: int) -> None:
        self.left = left
        model.register_forward_pre_hook(self)

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def _train(model: nn.Sequential, images: Tensor, labels: Tensor, **options: Any) -> training.History:
    return training.train(model, images, labels, **{"epochs": 4, "batch_size": 100, "weight_decay": 1e-4, **options})


def _prune(model: nn.Sequential, images: Tensor, labels: Tensor, **options: Any) -> training.History:
    return training.prune(model, images, labels, **{"epochs": 4, "batch_size": 100, "l1": 1e-4, "every": 7, **options})


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("function", [_train, _prune])
def test_killed_in_the_middle_goes_on(digits: tuple[Tensor, Tensor], tmp_path: Path, function: Any, every: int) -> None:
    torch.manual_seed(2)
    model = networks.mlp([64, 20, 10], dropout=0.5)
    whole = copy.deepcopy(model)
    losses = function(whole, *digits).losses
    path = tmp_path / "new" / "run.checkpoint"
    execution = Execution(checkpoint=path, checkpoint_every=every)
    for end in (0, 12, 13, 20, 26, 40, 51):  # of 4 × 13 batches
        own = copy.deepcopy(model)
        _Dies(own, end)
        with pytest.raises(KeyboardInterrupt):
            function(own, *digits, execution=execution)
        assert path.exists() == (end // 13 >= every)
        own = copy.deepcopy(model)
        dies = _Dies(own, 52 - end // 13 // every * every * 13)  # no more than those after the last checkpoint
        state = torch.get_rng_state()
        assert function(own, *digits, execution=execution).losses == losses
        assert dies.left == 0
        assert torch.equal(torch.get_rng_state(), state)
        for a, b in zip(own.parameters(), whole.parameters(), strict=True):
            assert torch.equal(a, b)
        assert list(path.parent.iterdir()) == []


def test_checkpoint_of_another_call(digits: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = networks.mlp([64, 20, 10])
    dying, other = copy.deepcopy(model), copy.deepcopy(model)
    _Dies(dying, 30)
    execution = Execution(checkpoint=tmp_path / "run.checkpoint")
    with pytest.raises(KeyboardInterrupt):
        _prune(dying, *digits, execution=execution)
    with torch.no_grad():
        other.get_parameter("hidden1.bias")[3] += 1e-6
    changes: list[tuple[str, Any, dict[str, Any]]] = [
        (r"epochs \(4 there, 5 here\)", model, {"epochs": 5}),
        ("batch_size", model, {"batch_size": 50}),
        ("seed", model, {"seed": 1}),
        ("optimizer", model, {"learning_rate": 0.1}),
        ("settings", model, {"sparsity": 0.8}),
        ("settings", model, {"l1": 1e-3}),
        ("starting weights", other, {}),
    ]
    for name, given, change in changes:
        with pytest.raises(ValueError, match=f"run.checkpoint is of another call, with another {name}"):
            _prune(copy.deepcopy(given), *digits, **change, execution=execution)
    with pytest.raises(ValueError, match=r"with another images .*, labels"):
        _prune(model, digits[0].flip(0), digits[1].flip(0), execution=execution)
    whole = copy.deepcopy(model)
    _prune(whole, *digits)
    _prune(model, *digits, execution=execution)  # still there for the call that made it
    for a, b in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_bad_execution(digits: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="checkpoint_every=0 must be at least 1"):
        _train(networks.mlp([64, 10]), *digits, execution=Execution(checkpoint_every=0))


def test_progress(digits: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    _train(networks.mlp([64, 10]), *digits)
    assert capsys.readouterr().err == ""
    _train(networks.mlp([64, 10]), *digits, execution=Execution(progress=True))
    assert "4/4" in capsys.readouterr().err


# --- errors -----------------------------------------------------------------------------------------------------------


def _call(model: nn.Module | None = None, *, labels: int = 20, **options: Any) -> training.History:
    images = torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
    how = {"epochs": 1, **options}
    return training.prune(model or nn.Linear(4, 3), images, torch.zeros(labels, dtype=torch.int64), **how)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _call(labels=19), "differ in length: 20 and 19"),
        (lambda: _call(epochs=0), "epochs=0"),
        (lambda: _call(every=0), "every=0"),
        (lambda: _call(batch_size=0), "batch_size=0"),
        (lambda: _call(learning_rate=0.0), "learning_rate=0.0"),
        (lambda: _call(l1=-0.1), "l1=-0.1"),
        (lambda: _call(l1=math.nan), "l1=nan must be at least 0 and finite"),
        (lambda: _call(learning_rate=math.nan), "learning_rate=nan must be above 0 and finite"),
        (lambda: _call(sparsity=1.0), "sparsity=1.0"),
        (lambda: _call(start=0.6, sparsity=0.5), "start=0.6, sparsity=0.5"),
        (lambda: _call(start=-0.1), "start=-0.1"),
        (lambda: _call(nn.Flatten()), "nothing to prune"),
        (lambda: _call(learning_rate=1e38, epochs=5), "the loss is .* lower learning_rate=1e\\+38"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
