"""Coherence of samples and units: against plain loops, planted layouts and random ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.spatial.distance import cdist

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


def test_classes_that_are_none_are_no_class() -> None:
    with pytest.raises(ValueError, match="classes goes down to -1; leave out samples without a class"):
        coherence.class_table([0, 1, -1], [1, -1, 0])


def test_nothing_can_be_compared_where_all_samples_look_alike() -> None:
    with pytest.raises(ValueError, match="features are the same for all samples"):
        coherence.compactness([[0.1], [0.1], [0.1]], [0, 0, 1], draws=1)
