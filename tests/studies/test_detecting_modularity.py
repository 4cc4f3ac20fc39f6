"""The study on detecting modularity: its networks, the tests of sub-clusters, and the penalty, on embedded digits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modutils import coherence, data, graphs, networks, spectral, stacked, statistics, training, visualization
from modutils.visualization import Visualization
from studies.detecting_modularity import nets, penalty, proxies

HIDDEN = ("act1", "act2")


# --- networks ---------------------------------------------------------------------------------------------------------


def test_groups_are_equal_shares_and_every_output_has_its_own() -> None:
    for own, units in zip(nets.groups([64, 64, 256, 10]), (64, 256, 10), strict=True):
        counts = torch.bincount(own)
        assert len(own) == units
        assert len(counts) == nets.GROUPS
        assert counts.max() - counts.min() <= 1
        assert (own.diff() >= 0).all()
    assert nets.groups([64, 64, 10])[-1].tolist() == list(range(10))


def test_networks_of_one_seed_start_alike_but_for_the_planted_factors() -> None:
    plain, planted = nets.start("digits", "plain", 3), nets.start("digits", "planted", 3)
    assert [tuple(weight.shape) for weight in plain.weights] == [(1, 64, 64)] * 4 + [(1, 10, 64)]
    assert all((bias == 0).all() for bias in (*plain.biases, *planted.biases))
    for weight in plain.weights:
        bound = (6 / sum(weight.shape[1:])) ** 0.5
        assert 0.98 * bound < float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert torch.equal(plain.weights[0], planted.weights[0])
    groups = nets.groups(nets.sizes("digits"))
    for index in range(1, 5):
        same = groups[index][:, None] == groups[index - 1]
        ratio = planted.weights[index][0] / plain.weights[index][0]
        torch.testing.assert_close(ratio[same], torch.full((int(same.sum()),), 4.6))
        torch.testing.assert_close(ratio[~same], torch.full((int((~same).sum()),), 0.6))
    for again, other, weight in zip(
        nets.start("digits", "dropout", 3).weights, nets.start("digits", "plain", 4).weights, plain.weights, strict=True
    ):
        assert torch.equal(again, weight)
        assert not torch.equal(other, weight)


def test_the_cnn_has_three_layers_of_filters_and_is_drawn_from_its_seed() -> None:
    model, again, other = (nets.cnn("digits", seed) for seed in (0, 0, 1))
    images = data.load("digits", "test")[0][:5]
    with torch.no_grad():
        assert model(images).shape == (5, 10)
        assert torch.equal(model(images), again(images))
        assert not torch.allclose(model(images), other(images), atol=1e-3)
    assert [layer.out_channels for layer in model if isinstance(layer, nn.Conv2d)] == [32, 64, 64]
    assert all((value == 0).all() for name, value in model.named_parameters() if name.endswith("bias"))
    assert graphs.layer_sizes(graphs.layer_weights(model)) == [32, 64, 64]


def _known_halves(split: str) -> tuple[Tensor, dict[bytes, int]]:
    """All pictures squeezed to half their width, and the class of each by its pixels."""
    pictures, labels = data.load("digits", split)
    halves = (pictures[..., 0::2] + pictures[..., 1::2]) / 2
    return halves, {half.numpy().tobytes(): int(label) for half, label in zip(halves, labels, strict=True)}


@pytest.mark.parametrize("kind", ["independent", "redundant"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_halves_are_squeezed_pictures_and_their_classes_give_the_label(kind: str, split: str) -> None:
    halves, classes = _known_halves(split)
    pictures, labels = nets.images("digits", kind, split)
    assert pictures.shape == (len(halves), 1, 8, 8)
    sides = [half.contiguous() for half in pictures.split(4, dim=3)]
    left, right = (np.array([classes[half.numpy().tobytes()] for half in side]) for side in sides)
    expected = (left + right) % 10 if kind == "independent" else left
    np.testing.assert_array_equal(labels, expected)
    if kind == "redundant":
        np.testing.assert_array_equal(left, right)
    else:
        assert (left == right).mean() < 0.2
    for side in sides:  # every picture once on each side
        used = sorted(half.numpy().tobytes() for half in side)
        assert used == sorted(half.numpy().tobytes() for half in halves)
    assert (sides[0] == sides[1]).flatten(1).all(dim=1).double().mean() < 0.05  # rarely beside itself
    again = nets.images("digits", kind, split)
    assert torch.equal(again[0], pictures)
    assert torch.equal(again[1], labels)


def test_other_kinds_see_the_data_set_as_it_is() -> None:
    for found, expected in zip(nets.images("digits", "dropout", "test"), data.load("digits", "test"), strict=True):
        assert torch.equal(found, expected)


def test_true_modules_have_no_weights_between_them() -> None:
    model = nets.blocks("digits", 0)
    groups = nets.groups(nets.sizes("digits"))
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert (layers[0].weight != 0).all()
    for layer, (lower, upper) in zip(layers[1:], pairwise(groups), strict=True):
        same = upper[:, None] == lower
        assert (layer.weight[~same] == 0).all()
        assert (layer.weight[same] != 0).all()
        assert set(dict(layer.named_parameters())) == {"weight", "bias"}
    assert training.accuracy(model, *data.load("digits", "test")) > 0.9


def test_true_modules_are_detected() -> None:
    """By hand: a module gets the distance of an image from the mean of its class, and holds the output down by it."""
    pictures, classes = data.load("digits", "train")
    means = torch.stack([pictures[classes == label].flatten(1).mean(0) for label in range(10)])
    groups = nets.groups(nets.sizes("digits"))
    model = stacked.network(nets.start("digits", "plain", 0), 0)
    first, *others = (layer for layer in model if isinstance(layer, nn.Linear))
    with torch.no_grad():
        first.weight[:] = -means[groups[0]]
        first.bias[:] = 20 + means.square().sum(1)[groups[0]] / 2
        for layer, (lower, upper) in zip(others, pairwise(groups), strict=True):
            same = (upper[:, None] == lower).float()
            layer.weight[:] = same / same.sum(1, keepdim=True)
        others[-1].weight *= -1
    assert training.accuracy(model, *data.load("digits", "test")) > 0.8
    subject = _tested(model, [f"act{index}" for index in range(1, 5)], 40)
    tested = proxies.test_partition(subject, [own.numpy() for own in groups[:-1]], seed=0)
    assert tested["layer"].tolist() == np.repeat(range(4), 10).tolist()
    assert statistics.fisher(proxies.p_values(tested, "importance")) < 1e-9
    assert statistics.fisher(proxies.p_values(tested, "importance", control=True)) > 1e-3
    # An output without its module is no longer held down: others are taken for its class, which itself loses nothing.
    own = tested["lost"][np.arange(40), np.tile(range(10), 4)]
    assert own.max() <= 0
    assert (tested["lost"].sum(axis=1) - own).min() / 9 > 20


# --- proxies ----------------------------------------------------------------------------------------------------------


def test_balanced_takes_the_first_of_every_class_in_order() -> None:
    labels = torch.tensor([2, 0, 0, 1, 2, 1, 0, 2, 1])
    assert proxies.balanced(labels, 2).tolist() == [0, 1, 2, 3, 4, 5]
    assert proxies.balanced(labels, 1).tolist() == [0, 1, 3]
    assert proxies.balanced(torch.tensor([0, 0, 1, 0, 1, 0]), 5).tolist() == [0, 1, 2, 4]  # two of class 1 alone


def _tested(model: nn.Sequential, layers: Sequence[str], per_class: int) -> proxies.Subjects:
    """In double precision, in which no two logits are so close that the order of summation decides."""
    images, labels = data.load("digits", "test")
    return proxies.subjects(model.double(), layers, images.double(), labels, per_class)


@pytest.fixture(scope="module")
def small() -> proxies.Subjects:
    """A small trained network, tested on 32 images a class: shares of 32 are exact, so that ties are."""
    torch.manual_seed(0)
    model = networks.mlp([64, 20, 16, 10])
    training.train(model, *data.load("digits", "train"), epochs=6, batch_size=32, learning_rate=3e-3)
    return _tested(model, HIDDEN, 32)


PARTITION = (
    np.array([0] * 2 + [1] * 3 + [2] * 6 + [3] * 7 + [4] + [-1]),  # 4: one unit alone; the last unit is isolated
    np.array([5, 6] * 5 + [-1, -1, 6, 6, 7, 7]),
)


class Seen:
    """Notes the sets that the tests measure, layer by layer, and the images that they get."""

    def __init__(self) -> None:
        self.sets: list[list[np.ndarray]] = []
        self.images: list[Visualization] = []
        self.visualize = visualization.feature_visualization

    def __call__(
        self, model: nn.Module, layer: str, unit_sets: Any, shape: Any, *, before: bool, steps: int
    ) -> Visualization:
        assert steps == 65  # the default, as in the paper
        self.sets.append(unit_sets)
        self.images.append(self.visualize(model, layer, unit_sets, shape, before=before, steps=5))
        return self.images[-1]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    monkeypatch.setattr(visualization, "feature_visualization", found)
    return found


def _lost(subject: proxies.Subjects, layer: int, units: np.ndarray) -> np.ndarray:
    """Correct predictions of every class that a lesion costs, by a forward pass written out."""
    at = [name for name, _ in subject.model.named_children()].index(HIDDEN[layer]) + 1
    truth = torch.from_numpy(subject.labels)
    right = []
    with torch.no_grad():
        for removed in (units[:0], units):
            values = subject.model[:at](subject.images)
            values[:, removed] = 0
            hits = subject.model[at:](values).argmax(1) == truth
            right.append(np.bincount(truth[hits], minlength=10))
    return right[0] - right[1]


def _hand_ranks(values: np.ndarray, alternative: str) -> tuple[np.ndarray, np.ndarray]:
    """Mid-ranks in units of 1/40 and published ones in units of 1/20, of the first column among the others."""
    mid, ignored = [], []
    for value, *null in values.tolist():
        beyond = sum(draw > value if alternative == "greater" else draw < value for draw in null)
        mid.append(2 * beyond + 1 + null.count(value))
        ignored.append(beyond + 1)
    return np.array(mid), np.array(ignored)


def test_ranks_are_those_of_lesions_and_images_taken_one_by_one(small: proxies.Subjects, seen: Seen) -> None:
    tested = proxies.test_partition(small, PARTITION, seed=1)
    assert tested["layer"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert tested["size"].tolist() == [2, 3, 6, 7, 5, 7, 2]
    # The first of every 21 sets is a sub-cluster itself.
    clusters = [np.flatnonzero(labels == one) for labels in PARTITION for one in np.unique(labels[labels >= 0])]
    first = [units for sets in seen.sets for units in sets[::21]]
    for units, cluster in zip(first, [one for one in clusters if len(one) > 1], strict=True):
        np.testing.assert_array_equal(units, cluster)
    lost = np.array([_lost(small, layer, units) for layer, sets in enumerate(seen.sets) for units in sets])
    lost = lost.reshape(7, 21, 10)
    np.testing.assert_array_equal(tested["lost"], lost[:, 0])
    spread = lost.max(axis=2) - lost.min(axis=2)
    total = np.abs(lost.sum(axis=2))
    ratio = np.array(
        [
            [0.0 if s == 0 else np.inf if t == 0 else s * 10 / t for s, t in zip(*rows, strict=True)]
            for rows in zip(spread, total, strict=True)
        ]
    )
    drive = np.concatenate(
        [
            [small.drive[layer][:, units].astype(float).sum(axis=1) for units in sets]
            for layer, sets in enumerate(seen.sets)
        ]
    )
    labels = coherence.label_entropy(drive, small.classes).reshape(7, 21)
    expected = {
        "importance": lost.sum(axis=2),
        "normalised range": ratio,
        "spread": spread,
        "score": np.concatenate([images.scores for images in seen.images]).reshape(7, 21),
        "entropy": np.concatenate(
            [coherence.softmax_entropy(images.logits.double()) for images in seen.images]
        ).reshape(7, 21),
        "label entropy": labels,
    }
    for name, values in expected.items():
        alternative, least = proxies.STATISTICS[name]
        fits = tested["size"] >= least
        row = list(proxies.STATISTICS).index(name)
        for prefix, columns in (("", range(20)), ("control_", (20, *range(1, 20)))):
            mid, ignored = _hand_ranks(values[fits][:, columns], alternative)
            np.testing.assert_array_equal(tested[prefix + "mid"][row][fits], mid, err_msg=name)
            np.testing.assert_array_equal(tested[prefix + "ignored"][row][fits], ignored, err_msg=name)
            assert (tested[prefix + "mid"][row][~fits] == 0).all()
        control = proxies.p_values(tested, name, control=True)
        np.testing.assert_allclose(control, mid / 40)
        scores = statistics.partition_scores(values[fits][:, 0], values[fits][:, 1:20], alternative)
        np.testing.assert_allclose(tested["scores"][row], scores, rtol=1e-6)
    np.testing.assert_allclose(
        proxies.column(tested, "importance", "value"), expected["importance"][:, 0] / 320, rtol=1e-3
    )
    means = expected["importance"][:, 1:20].mean(axis=1) / 320
    np.testing.assert_allclose(proxies.column(tested, "importance", "null_mean"), means, rtol=1e-3)
    effect = proxies.relative_effect(expected["importance"][:, 0] / 320, means)
    np.testing.assert_allclose(proxies.column(tested, "importance", "effect"), effect, rtol=1e-3)


def test_pairs_are_lesioned_but_not_visualised(small: proxies.Subjects, seen: Seen) -> None:
    tested = proxies.test_partition(small, PARTITION, seed=5)
    for name, (_, least) in proxies.STATISTICS.items():
        count = 7 if least == 2 else 5
        assert len(proxies.p_values(tested, name)) == count
        assert len(proxies.p_values(tested, name, ties="ignored", control=True)) == count
        assert len(proxies.column(tested, name, "effect")) == count
    assert {name for name, (_, least) in proxies.STATISTICS.items() if least == 3} == {
        "score",
        "entropy",
        "entropy, single precision",
        "label entropy",
    }


def test_relative_effect_is_one_where_sets_are_as_random_ones() -> None:
    found = proxies.relative_effect(
        np.array([3.0, 2.0, 0.0, 5.0, 1.0, -1.0]), np.array([1.0, 2.0, 0.0, 0.0, -1.0, 3.0])
    )
    np.testing.assert_allclose(found, [1.5, 1, 1, 2, 1, -1])


@pytest.mark.parametrize("which", ["alone", "isolated", "one cluster"])
def test_a_partition_without_anything_to_test_has_no_p_values(small: proxies.Subjects, which: str) -> None:
    whole = {"alone": np.arange(20), "isolated": np.full(20, -1), "one cluster": np.zeros(20, dtype=int)}[which]
    tested = proxies.test_partition(small, [whole, whole[:16]], seed=0)
    assert tested["lost"].shape == (0, 10)
    assert tested["scores"].shape == (8, 20)
    for name in proxies.STATISTICS:
        assert proxies.p_values(tested, name).shape == proxies.column(tested, name, "effect").shape == (0,)


def test_units_that_do_nothing_are_tied_and_only_the_published_rule_takes_them_for_effects(
    small: proxies.Subjects,
) -> None:
    model = copy.deepcopy(small.model)
    with torch.no_grad():
        for value in model.get_submodule("hidden2").parameters():
            value.zero_()
    subject = _tested(model, HIDDEN, 32)
    tested = proxies.test_partition(subject, [np.full(20, -1), np.repeat([0, 1, 2, 3], 4)], seed=0)
    assert (tested["lost"] == 0).all()
    for name in proxies.STATISTICS:
        assert proxies.p_values(tested, name).tolist() == [0.5] * 4, name
        assert proxies.p_values(tested, name, control=True).tolist() == [0.5] * 4
        assert proxies.p_values(tested, name, ties="ignored").tolist() == [0.05] * 4
    assert proxies.column(tested, "importance", "effect").tolist() == [1] * 4


def test_channels_of_convolutions_are_removed_with_all_their_places() -> None:
    model = nets.cnn("digits", 0)
    training.train(model, *data.load("digits", "train"), epochs=2, batch_size=64, learning_rate=3e-3)
    layers = [f"act{index}" for index in (1, 2, 3)]
    subject = _tested(model, layers, 16)
    assert [values.shape for values in subject.drive] == [(500, 32), (500, 64), (500, 64)]
    isolated = np.full(64, -1)
    own = np.repeat(np.arange(4), 16)
    tested = proxies.test_partition(subject, [isolated[:32], own, isolated], seed=0)
    assert (tested["lost"] != 0).any(axis=1).all(), "the lesions must matter"
    for label, lost in enumerate(tested["lost"]):
        damaged = copy.deepcopy(model)
        with torch.no_grad():
            for value in damaged.get_submodule("conv2").parameters():
                value[own == label] = 0
            hits = damaged(subject.images).argmax(1).numpy() == subject.labels
        np.testing.assert_array_equal(subject.intact - lost, np.bincount(subject.labels[hits], minlength=10))


# --- penalty ----------------------------------------------------------------------------------------------------------


def _random_weights(sizes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(above, below, generator=generator).double() for below, above in pairwise(sizes)]


@pytest.mark.parametrize("sizes", [(9, 8, 7, 6), (12, 5, 6, 5, 10), (5, 20, 4, 9, 6), (6, 30, 5)])
def test_penalised_eigenvalues_are_those_of_the_graph(sizes: tuple[int, ...]) -> None:
    weights = _random_weights(sizes)
    found = penalty.small_eigenvalues(weights).numpy()
    by_blocks = 1 - spectral.layered_embedding(weights, 4).eigenvalues[1:4]
    np.testing.assert_allclose(np.sort(found), np.sort(by_blocks), atol=1e-10)
    graph = graphs.weight_graph(weights).numpy()
    root = graph.sum(axis=0) ** -0.5
    laplacian = np.eye(len(graph)) - root[:, None] * graph * root
    np.testing.assert_allclose(np.sort(found), np.linalg.eigvalsh(laplacian)[1:4], atol=1e-10)


def test_their_gradient_is_that_of_finite_differences() -> None:
    weights = [weight.requires_grad_() for weight in _random_weights((6, 5, 4, 5))]
    assert torch.autograd.gradcheck(lambda *blocks: penalty.small_eigenvalues(list(blocks)), weights)


def test_a_unit_without_weights_does_not_spoil_the_gradient() -> None:
    weights = [weight.float() for weight in _random_weights((6, 5, 5, 5))]
    weights[0][2], weights[1][:, 2] = 0, 0
    for weight in weights:
        weight.requires_grad_()
    penalty.small_eigenvalues(weights).mean().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in weights if weight.grad is not None)
    assert all(weight.grad is not None for weight in weights)


def test_rescaling_gives_hidden_units_one_norm_and_leaves_the_function() -> None:
    torch.manual_seed(0)
    model = networks.mlp([64, 12, 9, 7, 10]).double()
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    images = data.load("digits", "test")[0].double()
    with torch.no_grad():
        for layer in layers:
            layer.bias.normal_()
        before = model(images)
        penalty._rescale(layers)
        torch.testing.assert_close(model(images), before, rtol=1e-9, atol=1e-9)
    for layer in layers[:-1]:
        torch.testing.assert_close(layer.weight.norm(dim=1), torch.full((len(layer.weight),), 2**0.5).double())


def test_training_with_the_penalty_lowers_the_eigenvalues_and_ends_rescaled() -> None:
    images, labels = penalty.images("digits", "train")
    assert torch.equal(images, data.load("digits", "train")[0])
    how: dict[str, Any] = {"epochs": 4, "seed": 0}
    state = torch.get_rng_state()
    free, again, penalised = (penalty.train(images, labels, strength=s, **how) for s in (0.0, 0.0, 3.0))
    assert torch.equal(torch.get_rng_state(), state)
    means, eps = [], torch.finfo(torch.float32).eps
    for model in (free, penalised):
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        assert [len(layer.weight) for layer in layers] == [64, 64, 64, 10]
        for layer in layers[:-1]:
            # Of 64 numbers, each rounded more than once.
            norms = layer.weight.double().norm(dim=1)
            torch.testing.assert_close(norms, torch.full((64,), 2**0.5).double(), rtol=64 * eps, atol=0)
        means.append(float(penalty.small_eigenvalues([layer.weight.detach() for layer in layers]).mean()))
        assert not model.training
        assert training.accuracy(model, images, labels) > 0.5
    assert means[1] < means[0] - 0.03
    for one, same in zip(free.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, same)
