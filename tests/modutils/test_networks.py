"""Networks have the sizes the papers give; training learns, repeats exactly, and leaves the random state alone."""

from __future__ import annotations

import pytest
import torch

from modutils import data, networks, training


def test_sizes_of_the_convolutional_network() -> None:
    model = networks.cnn()
    below = torch.nn.Sequential(*list(model.children())[:4])
    assert below(torch.zeros(2, 1, 28, 28)).shape == (2, 64, 5, 5)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert networks.cnn(image_size=8)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    small = networks.cnn(image_size=8, filters=(3, 5))
    assert small(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert [small.get_parameter(f"conv{layer}.weight").shape[0] for layer in (1, 2)] == [3, 5]
    assert [name for name, _ in networks.cnn(dropout=False).named_children()] == [
        *("conv1", "act1", "conv2", "act2", "flatten", "dense", "act3", "logits")
    ]


def test_perceptron_names_and_dropout() -> None:
    model = networks.mlp([64, 8, 6, 3], activation="tanh", dropout=0.5)
    names = [name for name, _ in model.named_children()]
    assert names == ["flatten", "hidden1", "act1", "drop1", "hidden2", "act2", "drop2", "logits"]
    assert isinstance(model.act2, torch.nn.Tanh)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.mlp([5]), r"sizes=\[5\]"),
        (lambda: networks.mlp([5, 0, 2]), r"sizes=\[5, 0, 2\]"),
        (lambda: networks.mlp([5, 2], dropout=1.0), "dropout=1.0"),
        (lambda: networks.mlp([5, 2, 2], activation="swish"), "activation='swish' is unknown"),
        (lambda: networks.cnn(image_size=32), "image_size=32"),
        (lambda: networks.cnn(filters=(8, 0)), r"filters=\(8, 0\)"),
    ],
)
def test_bad_sizes_are_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def _trained(seed: int) -> tuple[torch.nn.Module, list[float]]:
    torch.manual_seed(0)
    model = networks.mlp([64, 32, 10], dropout=0.2)
    images, labels = data.load("digits", "train")
    return model, training.train(model, images, labels, epochs=8, batch_size=16, seed=seed).losses


def test_training_learns_and_repeats_exactly() -> None:
    model, losses = _trained(seed=1)
    images, labels = data.load("digits", "test")
    assert losses[-1] < 0.6 * losses[0]
    assert training.accuracy(model, images, labels) > 0.8
    assert not model.training
    again, _ = _trained(seed=1)
    other, _ = _trained(seed=2)
    assert torch.equal(training.predict(model, images), training.predict(again, images))
    assert not torch.equal(training.predict(model, images), training.predict(other, images))


def test_training_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = torch.nn.Linear(2, 2)
    torch.manual_seed(5)
    training.train(model, torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), epochs=1, seed=9)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("schedule", "expected"), [("constant", [0.4] * 4), ("cosine", [0.4, 0.3414, 0.2, 0.0586])])
def test_learning_rate_follows_the_schedule(
    schedule: str, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []
    step = torch.optim.Adam.step

    def recorded(self: torch.optim.Adam) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    images, labels = torch.zeros(8, 2), torch.zeros(8, dtype=torch.int64)
    training.train(torch.nn.Linear(2, 2), images, labels, epochs=2, batch_size=4, learning_rate=0.4, schedule=schedule)
    assert rates == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "differ in length: 4 and 3"),
        ({"epochs": -1}, "epochs=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"schedule": "linear"}, "schedule='linear' is unknown"),
        ({"images": torch.full((4, 2), torch.nan)}, "the loss is nan after epoch 1"),
    ],
)
def test_bad_training_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {"images": torch.zeros(4, 2), "labels": torch.zeros(4, dtype=torch.int64), "epochs": 1} | change
    with pytest.raises(ValueError, match=message):
        training.train(torch.nn.Linear(2, 2), **arguments)  # type: ignore[arg-type]
