"""Coherence of samples and units: against plain loops, planted layouts and random ones; images that drive units."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from modutils import coherence


def test_purity_and_table_leave_unassigned_samples_out() -> None:
    labels, classes = [0, 0, 1, 1, -1], [3, 3, 3, 0, 2]
    np.testing.assert_array_equal(coherence.class_table(labels, classes), [[0, 0, 0, 2], [1, 0, 0, 1]])
    assert coherence.class_table(labels, classes, k=4).shape == (4, 4)
    assert coherence.purity(labels, classes) == 0.75


def test_compactness_equals_a_loop_over_pairs() -> None:
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(40, 3)) + 5, generator.integers(-1, 3, 40)
    kept = labels >= 0
    distances = cdist(features[kept], features[kept], "sqeuclidean")
    same = labels[kept][:, None] == labels[kept]
    within = distances[same & ~np.eye(kept.sum(), dtype=bool)].mean()
    found = coherence.compactness(features, labels, draws=3)
    assert found.ratio == pytest.approx(within / distances[~same].mean())
    assert found.null.shape == (3,)


def test_compactness_null_is_about_one_and_planted_clusters_are_below() -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 30)
    features = generator.normal(size=(90, 4)) + 3 * labels[:, None]
    found = coherence.compactness(features, labels, draws=300)
    assert found.null.mean() == pytest.approx(1, abs=0.02)
    assert found.ratio < found.null.min()


def _tests(labels: np.ndarray) -> dict[str, float]:
    found = coherence.spatial_tests(labels, draws=200)
    return {name: (test.value - test.null.mean()) / max(test.null.std(), 1e-9) for name, test in found.items()}


def test_each_spatial_test_sees_its_own_layout_only() -> None:
    generator = np.random.default_rng(2)
    shape = (30, 6, 6)
    by_channel = _tests(np.broadcast_to(generator.integers(0, 4, 30)[:, None, None], shape))
    assert by_channel["channel"] > 10
    assert by_channel["position"] < 4
    assert by_channel["neighbours:within_channel"] < 4
    assert by_channel["neighbours:within_position"] > 10
    by_position = _tests(np.broadcast_to(generator.integers(0, 4, (6, 6)), shape))
    assert by_position["position"] > 10
    assert by_position["channel"] < 4
    nowhere = _tests(generator.integers(0, 4, shape))
    assert max(abs(z) for z in nowhere.values()) < 4


def test_blobs_within_channels_are_neighbours_beyond_channel_and_position() -> None:
    """Half-planes at random angles per channel: only neighbourhood, not channel or position, tells the module."""
    generator = np.random.default_rng(3)
    row, column = np.indices((8, 8))
    angles = generator.uniform(0, 2 * np.pi, 40)
    labels = np.array([(np.cos(a) * (row - 3.5) + np.sin(a) * (column - 3.5) > 0).astype(int) for a in angles])
    z = _tests(labels)
    assert min(z["neighbours:within_channel"], z["neighbours:within_position"]) > 10


def test_unassigned_units_are_left_out() -> None:
    labels = np.random.default_rng(4).integers(-1, 3, (10, 4, 4))
    pairs = [(labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])]
    kept = [(a[(a >= 0) & (b >= 0)], b[(a >= 0) & (b >= 0)]) for a, b in pairs]
    expected = sum((a == b).sum() for a, b in kept) / sum(len(a) for a, _ in kept)
    assert coherence.spatial_tests(labels, draws=1)["neighbours:all"].value == pytest.approx(expected)


# --- class ranges -----------------------------------------------------------------------------------------------------


def test_equal_ranges_of_counts_are_tied_whatever_the_classes() -> None:
    generator = np.random.default_rng(5)
    lost = generator.integers(-9, 3, size=(40, 10))
    for scale in (1, 32):  # what a power of two divides is exact
        found = coherence.class_ranges(np.concatenate([lost, generator.permuted(lost, axis=1)]) / scale)
        for first, second in (np.split(values, 2) for values in found):
            np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(found.spread[:40], (lost.max(axis=1) - lost.min(axis=1)) / scale)
        with np.errstate(divide="ignore"):
            expected = (lost.max(axis=1) - lost.min(axis=1)) / np.abs(lost.mean(axis=1))
        np.testing.assert_allclose(found.normalised[:40], expected)
    # 3 of 6 lost, and 1 of 2: one ratio.
    assert coherence.class_ranges([[-3, 0, -3], [-1, 0, -1]]).normalised.tolist() == [1.5, 1.5]


def test_ranges_of_nothing_are_zero_and_those_of_changes_that_cancel_infinite() -> None:
    found = coherence.class_ranges([[0.0, 0.0, 0.0], [-0.2, -0.2, -0.2], [0.1, 0.2, -0.3], [0.0, 0.0, 0.3]])
    np.testing.assert_allclose(found.spread, [0, 0, 0.5, 0.3])
    np.testing.assert_allclose(found.normalised, [0, 0, np.inf, 3])
    assert found.spread[0] == found.normalised[0] == 0
    assert coherence.class_ranges(np.empty((0, 10))).spread.shape == (0,)


# --- feature visualisation --------------------------------------------------------------------------------------------


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
    together = coherence.feature_visualization(model, layer, sets, SHAPE)
    in_two = coherence.feature_visualization(model, layer, sets, SHAPE, batch_size=2)
    for index, units in enumerate(sets):
        alone = coherence.feature_visualization(model, layer, [units], SHAPE)
        for found in (together, in_two):
            torch.testing.assert_close(found.images[index], alone.images[0], rtol=0, atol=1e-9)
            torch.testing.assert_close(found.logits[index], alone.logits[0], rtol=0, atol=1e-9)
            assert found.scores[index] == pytest.approx(alone.scores[0], abs=1e-9)
    assert not torch.allclose(together.images[0], together.images[1], atol=0.05)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("layer", SETS)
def test_an_image_drives_its_own_units_further_with_every_stretch_of_steps(layer: str) -> None:
    model, sets = _network(1), SETS[layer]
    scores = [
        coherence.feature_visualization(model, layer, sets, SHAPE, steps=steps).scores for steps in (0, 5, 20, 65)
    ]
    assert (np.diff(scores, axis=0) > 0).all()
    found = coherence.feature_visualization(model, layer, sets, SHAPE)
    with torch.no_grad():
        values = (model[: 1 if layer == "conv" else 4](found.images)).abs()
    sizes = (values.mean((2, 3)) if layer == "conv" else values).numpy()
    table = np.stack([sizes[:, units].sum(axis=1) for units in sets])  # sets by images
    np.testing.assert_allclose(np.diag(table), found.scores, rtol=1e-12)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("layer", SETS)
def test_a_network_of_unknown_structure_gives_the_same_images(layer: str) -> None:
    model = _network(2)
    found = coherence.feature_visualization(model, layer, SETS[layer], SHAPE, steps=20)
    hidden = coherence.feature_visualization(Opaque(model).eval(), f"inner.{layer}", SETS[layer], SHAPE, steps=20)
    torch.testing.assert_close(found.images, hidden.images, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.scores, hidden.scores, rtol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model(found.images), rtol=0, atol=1e-12)


def test_all_images_start_from_one_draw_of_noise() -> None:
    model = _network()
    start = coherence.feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=0)
    assert start.images.shape == (4, *SHAPE)
    assert start.logits.shape == (4, 5)
    assert (start.images == start.images[0]).all()
    assert 0 < float((start.images - 0.5).abs().max()) < 0.2  # nearly grey
    again = coherence.feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=0)
    other = coherence.feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=0, seed=1)
    assert torch.equal(start.images, again.images)
    assert not torch.equal(start.images, other.images)
    wider = coherence.feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=0, deviation=0.1)
    assert wider.images.std() > 5 * start.images.std()


def test_visualisation_leaves_network_and_random_state_as_they_were() -> None:
    model = _network()
    model.get_submodule("conv").weight.requires_grad_(False)
    before = [(parameter.detach().clone(), parameter.requires_grad) for parameter in model.parameters()]
    state = torch.get_rng_state()
    found = coherence.feature_visualization(model, "dense", SETS["dense"], SHAPE, steps=3)
    assert torch.equal(torch.get_rng_state(), state)
    for parameter, (value, flag) in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.requires_grad is flag
        assert parameter.grad is None
    assert not found.images.requires_grad
    with pytest.raises(RuntimeError):  # an image too small for the dense layer
        coherence.feature_visualization(model, "conv", [[0]], (1, 5, 5), steps=1)
    assert [parameter.requires_grad for parameter in model.parameters()] == [flag for _, flag in before]


def test_pixels_stay_between_black_and_white() -> None:
    images = coherence.feature_visualization(_network(), "dense", SETS["dense"], SHAPE, steps=65).images
    assert images.min() > 0
    assert images.max() < 1
    assert images.min() < 0.1
    assert images.max() > 0.9


# --- entropies --------------------------------------------------------------------------------------------------------


def test_softmax_entropy_is_scipys() -> None:
    logits = np.random.default_rng(6).normal(size=(30, 7)) * 4
    found = coherence.softmax_entropy(torch.from_numpy(logits))
    np.testing.assert_allclose(found, stats.entropy(special.softmax(logits, axis=1), axis=1), rtol=1e-9)
    assert coherence.softmax_entropy(torch.zeros(1, 10)) == pytest.approx(np.log(10))


def test_softmax_entropy_of_sure_networks_is_told_apart_in_double_precision_only() -> None:
    logits = torch.tensor([[0.0, 150.0], [0.0, 300.0]])
    assert coherence.softmax_entropy(logits).tolist() == [0, 0]
    first, second = coherence.softmax_entropy(logits.double())
    assert first > second > 0


@pytest.mark.parametrize("top", [1, 10, 60])
def test_label_entropy_is_a_loop_over_sets(top: int) -> None:
    generator = np.random.default_rng(7)
    drive = generator.integers(0, 5, size=(40, 60)).astype(float)  # many equal ones
    classes = generator.choice([0, 2, 3, 9], size=60)
    expected = []
    for row in drive:
        chosen = sorted(range(60), key=lambda image: (-row[image], image))[:top]
        counts = np.unique(classes[chosen], return_counts=True)[1]
        expected.append(stats.entropy(counts))
    np.testing.assert_allclose(coherence.label_entropy(drive, classes, top=top), expected, atol=1e-12)


def test_equal_compositions_have_equal_label_entropy() -> None:
    """To the last bit: a sum in another order would untie them."""
    generator = np.random.default_rng(8)
    classes = np.repeat(np.arange(10), 6)
    drive = np.zeros((40, 60))
    for row in drive:
        for label, count in zip(generator.permutation(10), (4, 3, 2, 1), strict=False):
            row[np.flatnonzero(classes == label)[:count]] = 1
    found = coherence.label_entropy(drive, classes)
    assert len(set(found.tolist())) == 1
    assert found[0] == pytest.approx(stats.entropy([4, 3, 2, 1]))


def _visualize(
    model: nn.Module | None = None, *, layer: str = "dense", sets: list[list[int]] | None = None, steps: int = 1
) -> coherence.Visualization:
    chosen = [[0]] if sets is None else sets
    return coherence.feature_visualization(model or _network(), layer, chosen, SHAPE, steps=steps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coherence.purity([0, 1], [0]), "vectors of one length"),
        (lambda: coherence.purity([-1, -1], [0, 1]), "labels assign no sample"),
        (lambda: coherence.compactness(np.zeros((3, 2)), [0, 0]), r"\(N, d\) and \(N,\)"),
        (lambda: coherence.compactness(np.zeros((3, 2)), [0, 0, 0]), "has 1 clusters"),
        (lambda: coherence.compactness(np.full((3, 2), np.nan), [0, 0, 1]), "not finite"),
        (lambda: coherence.spatial_tests(np.zeros((4, 4), int)), r"shape \(4, 4\)"),
        (lambda: coherence.spatial_tests(np.zeros((4, 4, 4), int)), "fewer than two modules"),
        (lambda: coherence.class_ranges([0.0, 1.0]), r"shape \(2,\)"),
        (lambda: coherence.class_ranges(np.empty((3, 0))), r"shape \(3, 0\)"),
        (lambda: coherence.class_ranges([[np.nan, 0.0]]), "finite numbers"),
        (lambda: _visualize(layer="dens"), "layer='dens' is unknown; the model has conv, act1"),
        (lambda: _visualize(layer=""), "layer='' is unknown"),
        (lambda: _visualize(_network().train()), "training mode"),
        (lambda: _visualize(sets=[]), "0 sets"),
        (lambda: _visualize(sets=[[0], []]), r"unit set \[\]"),
        (lambda: _visualize(sets=[[0, 12]]), r"unit set \[0, 12\]: needed are units in 0 ... 11"),
        (lambda: _visualize(sets=[[-1]]), r"unit set \[-1\]"),
        (lambda: _visualize(steps=-1), "steps=-1"),
        (lambda: coherence.label_entropy([1.0], [0]), r"shapes \(1,\) and \(1,\)"),
        (lambda: coherence.label_entropy([[1.0, 2.0]], [0]), r"shapes \(1, 2\) and \(1,\)"),
        (lambda: coherence.label_entropy([[np.inf]], [0], top=1), "finite"),
        (lambda: coherence.label_entropy([[1.0, 2.0]], [0, 1]), "top=10 must be from 1 to 2"),
        (lambda: coherence.label_entropy([[1.0, 2.0]], [0, 1], top=0), "top=0"),
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
