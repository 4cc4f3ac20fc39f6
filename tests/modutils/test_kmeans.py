"""k-means in torch against scikit-learn's, and against what defines it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from modutils import _kmeans
from modutils._kmeans import kmeans


def by_definition(points: np.ndarray, labels: np.ndarray) -> float:
    return sum(float(((own - own.mean(0)) ** 2).sum()) for own in (points[labels == c] for c in np.unique(labels)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [2, 8, 20])
def test_separated_groups_are_those_of_scikit_learn(k: int, seed: int) -> None:
    centres = 10 * np.random.default_rng(seed).permutation(np.indices((5, 5)).reshape(2, -1).T)[:k]
    points, groups = make_blobs(50 * k, centers=centres, cluster_std=0.5, random_state=seed)
    reference = KMeans(k, n_init=10, random_state=seed).fit(points)
    labels, inertia = kmeans(torch.tensor(points), k, seed=seed)
    assert adjusted_rand_score(reference.labels_, groups) == adjusted_rand_score(labels, groups) == 1
    assert inertia.item() == pytest.approx(reference.inertia_, rel=1e-12)
    assert inertia.item() == pytest.approx(by_definition(points, labels.numpy()), rel=1e-12)


@pytest.mark.parametrize(("m", "d", "k"), [(600, 10, 12), (400, 2, 30), (300, 40, 5)])
def test_where_nothing_is_separated_the_sum_is_within_a_hundredth(m: int, d: int, k: int) -> None:
    """On average over seeds: one differs from the next by up to two hundredths, for scikit-learn too."""
    points = np.random.default_rng(0).normal(size=(m, d))
    theirs = [KMeans(k, n_init=10, random_state=seed).fit(points).inertia_ for seed in range(12)]
    ours = [kmeans(torch.tensor(points), k, seed=seed)[1].item() for seed in range(12)]
    assert np.mean(ours) <= 1.01 * np.mean(theirs)


def test_restarts_in_parts_are_restarts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.tensor(np.random.default_rng(0).normal(size=(200, 3)))
    best = kmeans(points, 9, restarts=6)[1].item()
    assert best <= min(kmeans(points, 9, restarts=1, seed=seed)[1].item() for seed in range(3)) * 1.05
    monkeypatch.setattr(_kmeans, "_HELD", 1)
    labels, inertia = kmeans(points, 9, restarts=6)
    assert len(labels.unique()) == 9
    assert inertia.item() == pytest.approx(best, rel=0.05)


def test_equal_seeds_give_equal_labels_and_nothing_else_is_drawn() -> None:
    points = torch.tensor(np.random.default_rng(0).normal(size=(100, 3)))
    state, given = torch.random.get_rng_state(), points.clone()
    first, second = kmeans(points, 7, seed=3), kmeans(points, 7, seed=3)
    assert torch.equal(first[0], second[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(points, given)


def test_a_centre_that_loses_its_points_takes_the_farthest() -> None:
    points = torch.tensor([[0.0], [0.1], [0.2], [10.0], [20.0]]).double()
    for start in ([[0.0], [0.1], [100.0]], [[0.1], [200.0], [300.0]]):
        labels, inertia = _kmeans._lloyd(points, torch.tensor([start]).double())
        assert len(labels.unique()) == 3
        assert inertia.item() < 51
    labels, inertia = kmeans(points, 5)
    assert sorted(labels.tolist()) == [0, 1, 2, 3, 4]
    assert inertia.item() == pytest.approx(0, abs=1e-25)


def test_fewer_different_points_than_clusters() -> None:
    points = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double().repeat(5, 1)
    labels, inertia = kmeans(points, 4)
    assert len({(int(label), *point) for label, point in zip(labels, points.tolist(), strict=True)}) >= 2
    assert inertia.item() == pytest.approx(0, abs=1e-25)
    assert (labels[::2].unique().numel(), kmeans(points[:1], 1)[0].tolist()) == (1, [0])


def test_points_far_from_the_origin() -> None:
    points, _ = make_blobs(200, centers=4, cluster_std=0.5, random_state=1)
    near, far = kmeans(torch.tensor(points), 4), kmeans(torch.tensor(points + 1e6), 4)
    assert adjusted_rand_score(near[0], far[0]) == 1
    assert far[1].item() == pytest.approx(near[1].item(), rel=1e-6)
