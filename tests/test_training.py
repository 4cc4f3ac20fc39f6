"""Magnitude pruning: as many zeros as the schedule asks for, in every layer, and a network that still works."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modutils import data, networks, training


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


def test_the_smallest_weights_go(trained: nn.Sequential, digits: tuple[Tensor, Tensor]) -> None:
    """At a rate that hardly moves them, the weights that are left are those that were largest."""
    model = _pruned(trained, *digits, epochs=1, sparsity=0.6, start=0.6, learning_rate=1e-9)
    for before, after in zip(_weights(trained), _weights(model), strict=True):
        assert before[after == 0].abs().max() <= before[after != 0].abs().min() + 1e-5
        torch.testing.assert_close(after[after != 0], before[after != 0], rtol=0, atol=1e-5)


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
