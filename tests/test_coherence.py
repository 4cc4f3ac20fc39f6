"""Coherence of samples and units: against plain loops over pairs, planted layouts, and random ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
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
    ],
)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
