"""Stacked training: every network gets what it would get alone, and what plain torch would give it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modutils import data, networks, stacked
from modutils.stacked import Stack
from modutils.training import Execution

SIZES = (64, 12, 9, 10)
SETTINGS: dict[str, Any] = {
    "l2": [1e-5, 1e-2, 1e-5, 1e-5, 0.0],
    "l1": [0.0, 0.0, 1e-3, 0.0, 0.0],
    "dropout": [0.0, 0.0, 0.0, 0.5, 0.2],
}


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    images, labels = data.load("digits", "train")
    return images[:330].double(), labels[:330]


def _fresh(copies: int, seeds: tuple[int, ...] = (3,), sizes: tuple[int, ...] = SIZES) -> Stack:
    stack = stacked.initialize(sizes, seeds=seeds, copies=copies)
    return Stack([w.double() for w in stack.weights], [b.double() for b in stack.biases])


def _same(a: Stack, b: Stack, tolerance: float = 1e-10) -> None:
    for x, y in zip((*a.weights, *a.biases), (*b.weights, *b.biases), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("patience", [None, 2])
@pytest.mark.parametrize("index", range(5))
def test_a_network_alone_equals_its_slice(digits: tuple[Tensor, Tensor], index: int, patience: int | None) -> None:
    options: dict[str, Any] = {
        "epochs": 12,
        "seeds": [3],
        "batch_size": 40,
        "validation": 50,
        "patience": patience,
        "learning_rate": 0.02,
        "snapshots": [2],
    }
    together = stacked.train(_fresh(5), digits[0], digits[1], **SETTINGS, **options)
    own: dict[str, Any] = {name: [values[index]] for name, values in SETTINGS.items()}
    alone = stacked.train(_fresh(1), digits[0], digits[1], **own, **options)
    one = slice(index, index + 1)
    _same(stacked.take(together.stack, one), alone.stack)
    _same(stacked.take(together.snapshots[2], one), alone.snapshots[2])
    assert together.epochs[index] == alone.epochs[0]
    assert together.best_epochs[index] == alone.best_epochs[0]
    length = len(alone.losses)
    torch.testing.assert_close(together.losses[:length, index], alone.losses[:, 0], equal_nan=True)


def test_stopping_early_is_exercised(digits: tuple[Tensor, Tensor]) -> None:
    found = stacked.train(
        _fresh(5),
        digits[0],
        digits[1],
        **SETTINGS,
        epochs=40,
        seeds=[3],
        batch_size=40,
        validation=50,
        patience=4,
        learning_rate=0.02,
    )
    assert found.validation_losses is not None
    assert len(set(found.epochs.tolist())) > 1, "networks stop at different epochs"
    for index, (epochs, best) in enumerate(zip(found.epochs.tolist(), found.best_epochs.tolist(), strict=True)):
        seen = found.validation_losses[:epochs, index]
        assert int(seen.argmin()) + 1 == best
        assert epochs in (40, best + 4)
        assert found.validation_losses[epochs:, index].isnan().all()
        # What was kept is the checkpoint of the lowest validation loss.
        rows = stacked.split(330, 50, 3)[1]
        logits = stacked.predict(found.stack, digits[0][rows])[index]
        assert float(nn.functional.cross_entropy(logits, digits[1][rows])) == pytest.approx(float(seen.min()), abs=1e-9)


def test_rate_falls_after_bad_epochs() -> None:
    state = stacked._start(_fresh(2), 1.0)
    state["epoch"] = 1
    finite, rates, done = torch.tensor([True, True]), [], []
    for _ in range(6):  # the first network gets no better, the second always does
        stacked._keep(state, torch.tensor([False, True]), finite, 6)
        rates.append(state["rates"].tolist())
        done.append(state["done"].tolist())
    assert [first for first, _ in rates] == [1, 1, 0.25, 0.25, 0.25, 0.0625]
    assert [first for first, _ in done] == [False] * 5 + [True]
    assert all(second == 1 for _, second in rates)
    assert not any(second for _, second in done)


def test_runs_together_equal_runs_apart(digits: tuple[Tensor, Tensor]) -> None:
    options: dict[str, Any] = {"epochs": 5, "batch_size": 64, "validation": 50, "patience": 2, "learning_rate": 0.03}
    settings: dict[str, Any] = {"l2": [1e-4, 0.0], "dropout": [0.0, 0.4]}
    both = stacked.train(
        _fresh(2, (3, 8)), digits[0], digits[1], seeds=[3, 8], **{k: v * 2 for k, v in settings.items()}, **options
    )
    for run, seed in enumerate((3, 8)):
        one = stacked.train(_fresh(2, (seed,)), digits[0], digits[1], seeds=[seed], **settings, **options)
        _same(stacked.take(both.stack, slice(2 * run, 2 * run + 2)), one.stack)
        assert both.epochs[2 * run : 2 * run + 2].tolist() == one.epochs.tolist()


@pytest.mark.parametrize(("l2", "l1"), [(0.0, 0.0), (3e-3, 0.0), (1e-5, 1e-3)])
def test_equals_torch_adam_on_the_penalised_loss(digits: tuple[Tensor, Tensor], l2: float, l1: float) -> None:
    images, labels = digits
    found = stacked.train(_fresh(1), images, labels, epochs=3, seeds=[3], l2=l2, l1=l1, batch_size=100)
    model = stacked.network(_fresh(1), 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(3))
    weights = [p for p in model.parameters() if p.ndim == 2]
    for epoch in range(1, 4):
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(3 * 1_000_003 + epoch))]
        for batch in order.split(100):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss = loss + sum(l1 * w.abs().sum() + l2 * w.square().sum() for w in weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(stacked.predict(found.stack, images)[0], model(images).detach(), rtol=0, atol=1e-9)


def test_dropout_keeps_the_share_and_the_scale(digits: tuple[Tensor, Tensor]) -> None:
    # The gradient of a masked step, by autograd with the same masks.
    images, labels = digits[0][:60], digits[1][:60]
    stack = _fresh(1)
    found = stacked.train(stack, images, labels, epochs=1, seeds=[3], dropout=0.4, batch_size=60, learning_rate=1e-3)
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3 * 1_000_003 + 1)
    rows = rows[torch.randperm(60, generator=generator)]
    masks = [(torch.rand(units, 60, generator=generator) < 0.6).double().T / 0.6 for units in SIZES[1:3]]
    assert 0.5 < float((masks[0] > 0).double().mean()) < 0.7
    model = stacked.network(stack, 0)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    h = images[rows].flatten(1)
    for layer, mask in zip(layers, masks, strict=False):
        h = layer(h).relu() * mask
    nn.functional.cross_entropy(layers[-1](h), labels[rows]).backward()
    optimizer.step()
    expected = [layer.weight.detach() for layer in layers]
    for weight, other in zip(found.stack.weights, expected, strict=True):
        torch.testing.assert_close(weight[0], other, rtol=0, atol=1e-10)


RUN: dict[str, Any] = {
    "epochs": 9,
    "seeds": [3],
    "validation": 50,
    "patience": 3,
    "learning_rate": 0.02,
    "batch_size": 40,
    "snapshots": [2, 8],
}


def _run(digits: tuple[Tensor, Tensor], **change: Any) -> stacked.Trained:
    options = {"stack": _fresh(5), "images": digits[0], "labels": digits[1], **SETTINGS, **RUN, **change}
    return stacked.train(options.pop("stack"), options.pop("images"), options.pop("labels"), **options)


def _interrupted(digits: tuple[Tensor, Tensor], execution: Execution, end: int, **change: Any) -> None:
    """Train, and be interrupted in an epoch."""

    def dies(state: dict[str, Any], *args: Any, epoch: Any = stacked._epoch) -> Tensor:
        if state["epoch"] == end:
            raise KeyboardInterrupt
        return epoch(state, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked, "_epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            _run(digits, execution=execution, **change)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("seeds", [[3], [3, 8]])
def test_killed_in_the_middle_goes_on(
    digits: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, seeds: list[int]
) -> None:
    networks_of_runs = {name: values * len(seeds) for name, values in SETTINGS.items()}
    change: dict[str, Any] = {"stack": _fresh(5, tuple(seeds)), "seeds": seeds, **networks_of_runs}
    whole = _run(digits, **change)
    length = len(whole.losses)
    assert length > 4
    path = tmp_path / "new" / "run.checkpoint"
    execution = Execution(checkpoint=path, checkpoint_every=every)
    epoch, trained = stacked._epoch, list[int]()
    for end in range(1, length + 1):
        _interrupted(digits, execution, end, **change)
        trained.clear()

        def spy(state: dict[str, Any], *args: Any) -> Tensor:
            trained.append(state["epoch"])
            return epoch(state, *args)

        monkeypatch.setattr(stacked, "_epoch", spy)
        again = _run(digits, **change, execution=execution)
        monkeypatch.undo()
        assert trained == list(range((end - 1) // every * every + 1, length + 1)), "none before the checkpoint"
        _same(whole.stack, again.stack, 0)
        assert again.snapshots.keys() == whole.snapshots.keys() != set()
        for after, snapshot in whole.snapshots.items():
            _same(snapshot, again.snapshots[after], 0)
        for name in ("losses", "validation_losses", "epochs", "best_epochs", "diverged"):
            torch.testing.assert_close(getattr(whole, name), getattr(again, name), rtol=0, atol=0, equal_nan=True)
        assert list(path.parent.iterdir()) == []


def test_checkpoint_of_another_call(digits: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    execution = Execution(checkpoint=tmp_path / "run.checkpoint")
    _interrupted(digits, execution, 3)
    other = digits[0].clone()
    other[7, 0, 3, 3] += 1e-9
    changes: dict[str, dict[str, Any]] = {
        r"epochs \(9 there, 10 here\)": {"epochs": 10},
        "seeds": {"seeds": [4]},
        "l2, l1, dropout": {"l2": 0.0},
        "batch_size": {"batch_size": 41},
        "learning_rate": {"learning_rate": 0.03},
        "validation": {"validation": 51},
        "patience": {"patience": 4},
        "snapshots": {"snapshots": []},
        "starting weights": {"stack": _fresh(5, (4,))},
        "images": {"images": other},
        "labels": {"labels": digits[1].flip(0)},
    }
    for name, change in changes.items():
        with pytest.raises(
            ValueError, match=f"run.checkpoint is of another call, with another {name}.*remove the file"
        ):
            _run(digits, **change, execution=execution)
    _same(_run(digits, execution=execution).stack, _run(digits).stack, 0)  # still there for the call that made it


def test_a_damaged_checkpoint_is_passed_over(
    digits: tuple[Tensor, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.checkpoint"
    _interrupted(digits, Execution(checkpoint=path), 3)
    path.write_bytes(path.read_bytes()[:-1])
    again = _run(digits, execution=Execution(checkpoint=path))
    assert capsys.readouterr().err.splitlines() == [
        f"{path} is damaged and is passed over; its content is computed anew"
    ]
    _same(again.stack, _run(digits).stack, 0)


def test_a_state_from_a_file_is_placed_as_a_new_one() -> None:
    """On another device than the CPU, what is counted stays on the CPU; the meta device stands for any other."""
    new, device = stacked._start(_fresh(2), 0.1), torch.device("meta")
    new["snapshots"][1] = new["kept"]
    elsewhere = stacked._start(stacked._to(_fresh(2), device), 0.1)
    placed = stacked._placed(new, device)
    for name, value in elsewhere.items():
        if name == "snapshots":
            assert {p.device for p in placed[name][1]} == {device}
        elif isinstance(value, list):
            assert [p.device for p in placed[name]] == [p.device for p in value]
        elif isinstance(value, Tensor):
            assert placed[name].device == value.device == torch.device("cpu")
    assert placed["parameters"][0].device == device


def test_training_leaves_denormal_numbers_and_random_numbers_as_they_were(digits: tuple[Tensor, Tensor]) -> None:
    state = torch.get_rng_state()
    stacked.network(_run(digits, epochs=1).stack, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert float(torch.tensor([5e-324], dtype=torch.float64) * 1) > 0


def test_a_diverged_network_is_given_up_and_the_others_go_on(digits: tuple[Tensor, Tensor]) -> None:
    stack = _fresh(2)
    stack.weights[0][1] *= 1e200
    stack.weights[1][1] *= 1e200
    found = stacked.train(stack, digits[0], digits[1], epochs=3, seeds=[3])
    assert found.diverged.tolist() == [False, True]
    assert found.epochs.tolist() == [3, 1]
    assert math.isfinite(found.losses[-1, 0])
    assert math.isnan(found.losses[-1, 1])
    _same(
        stacked.take(found.stack, slice(0, 1)),
        stacked.train(_fresh(1), digits[0], digits[1], epochs=3, seeds=[3]).stack,
    )


def test_initial_weights_are_those_of_the_plain_network() -> None:
    stack = stacked.initialize([5, 4, 3], seeds=[7, 8], copies=2)
    torch.manual_seed(8)
    model = networks.mlp([5, 4, 3])
    for index in (2, 3):
        assert torch.equal(stack.weights[0][index], model.get_parameter("hidden1.weight"))
    assert not torch.equal(stack.weights[0][0], stack.weights[0][2])
    images, exact = torch.rand(6, 5).double(), _fresh(2, (7, 8), (5, 4, 3))
    torch.testing.assert_close(stacked.predict(exact, images)[3], model.double()(images).detach(), rtol=0, atol=1e-14)
    for dropout in (0.0, 0.5):
        again = stacked.network(exact, 3, dropout=dropout)
        assert not again.training
        torch.testing.assert_close(again(images), model(images), rtol=0, atol=1e-14)
        assert torch.equal(again.train()(images), again(images)) == (dropout == 0)


def test_it_learns() -> None:
    images, labels = data.load("digits", "train")
    stack = stacked.initialize([64, 32, 32, 10], seeds=[0], copies=2)
    found = stacked.train(stack, images, labels, epochs=15, seeds=[0], dropout=[0.0, 0.3], batch_size=32)
    test_images, test_labels = data.load("digits", "test")
    shares = (stacked.predict(found.stack, test_images).argmax(2) == test_labels).double().mean(1)
    assert (shares > 0.8).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l2": [1.0, 2.0]}, r"l2 has shape \(2,\)"),
        ({"l1": -1.0}, "l1=-1.0 must be at least 0"),
        ({"dropout": 1.0}, "dropout=1.0 must be at least 0 and below 1"),
        ({"dropout": math.nan}, "dropout=nan must be"),
        ({"epochs": 0}, "epochs=0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"l1": math.nan}, "l1=nan must be"),
        ({"validation": 330}, "validation=330 must be at least 0 and leave"),
        ({"patience": 2}, "patience=2 must be at least 1 and needs validation images"),
        ({"seeds": [1, 2]}, "3 networks cannot be shared equally"),
    ],
)
def test_bad_settings(digits: tuple[Tensor, Tensor], change: dict[str, Any], message: str) -> None:
    images, labels = digits
    with pytest.raises(ValueError, match=message):
        stacked.train(_fresh(3), images, labels, **{"epochs": 1, "seeds": [3], **change})


def test_bad_data(digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    with pytest.raises(ValueError, match="differ in length: 330 and 329"):
        stacked.train(_fresh(1), images, labels[1:], epochs=1, seeds=[3])
    with pytest.raises(ValueError, match="images have 63 pixels, but the networks take 64"):
        stacked.train(_fresh(1), images.flatten(1)[:, 1:], labels, epochs=1, seeds=[3])
    broken = images.clone()
    broken[4, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="images contain NaN"):
        stacked.train(_fresh(1), broken, labels, epochs=1, seeds=[3])
    with pytest.raises(ValueError, match=r"labels lie in 10\.\.19"):
        stacked.train(_fresh(1), images, labels + 10, epochs=1, seeds=[3])
    with pytest.raises(ValueError, match="at least one of each is needed"):
        stacked.initialize(SIZES, seeds=[])
