"""Detection of modules against hand-built networks, and each step against the rule written out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import AgglomerativeClustering

from modutils import hierarchy as library
from modutils.hierarchy import (
    cluster_layer,
    condense,
    condensed_sizes,
    cut_layer,
    detect_modules,
    merge_clusters,
    reach,
    signature,
)

Edges = list[list[tuple[int, int]]]


def network(sizes: list[int], edges: Edges) -> list[np.ndarray]:
    """Masks from edges (from, to) per layer."""
    masks = [np.zeros((after, before), dtype=int) for before, after in pairwise(sizes)]
    for mask, pairs in zip(masks, edges, strict=True):
        for source, target in pairs:
            mask[target, source] = 1
    return masks


def random_masks(sizes: list[int], density: float, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.random((after, before)) < density for before, after in pairwise(sizes)]


def random_features(n: int, m: int, density: float, seed: int) -> np.ndarray:
    """At least one target per unit."""
    rng = np.random.default_rng(seed)
    features = rng.random((n, m)) < density
    features[np.arange(n), rng.integers(m, size=n)] = True
    return features


def listed(labels: list[np.ndarray]) -> list[list[int]]:
    return [layer.tolist() for layer in labels]


def modules_of(*pairs: tuple[set[int], set[int]]) -> Counter[tuple[frozenset[int], frozenset[int]]]:
    return Counter((frozenset(inputs), frozenset(outputs)) for inputs, outputs in pairs)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a[:, None] == a) == (b[:, None] == b)).all())


def cosine_distances(features: np.ndarray) -> np.ndarray:
    counts = features.astype(float)
    lengths = np.linalg.norm(counts, axis=1)
    distances = np.round(1 - counts @ counts.T / lengths[:, None] / lengths, 12)
    np.fill_diagonal(distances, 0)
    return distances


def cut_by_refitting(distances: np.ndarray, k: int) -> np.ndarray:
    """What the authors call, once for every k."""
    model = AgglomerativeClustering(n_clusters=k, metric="precomputed", linkage="average")
    return model.fit(distances).labels_


def q_written_out(distances: np.ndarray, labels: np.ndarray) -> float:
    E = distances / distances.sum()
    q = 0.0
    for c in set(labels.tolist()):
        inside = labels == c
        q += E[np.ix_(inside, inside)].sum() - E[inside].sum() ** 2
    return round(q, 8)


def clusters_written_out(features: np.ndarray, threshold: float, N: int) -> tuple[np.ndarray, str]:
    """Points 3 to 5 of the specification, refitting for every k and with fractions in the tests."""
    n = len(features)
    if n == 1:
        return np.zeros(1, int), "single unit"
    distances = cosine_distances(features)
    k, q = 2, math.inf
    if n > 2:
        scores = dict.fromkeys(range(2, n), 0.0)
        if distances.any():
            scores = {k: q_written_out(distances, cut_by_refitting(distances, k)) for k in range(2, n)}
        q = min(scores.values())
        k = max(k for k, value in scores.items() if value == q)
    if not (k == 2 or k == n - 1 or q > threshold):
        return cut_by_refitting(distances, k), "modularity"

    def terms(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int, Fraction, float]:
        k1, k2, k12 = int(a.sum()), int(b.sum()), int((a & b).sum())
        e = Fraction(k1 * k2, N)
        return k1, k2, k12, e, math.sqrt(e * (1 - Fraction(k1 * k2, N**2)))

    labels = cut_by_refitting(distances, n - 1) if n > 2 else np.zeros(2, int)
    pair = np.flatnonzero(labels == np.bincount(labels).argmax())
    k1, k2, k12, e, sigma = terms(features[pair[0]], features[pair[-1]])
    separate = (k12 < max(k1, k2) and k12 <= e) or k12 < 1
    z_sep = float(e - k12) / (sigma or 1)
    halves = cut_by_refitting(distances, 2) == 0
    k1, k2, k12, e, sigma = terms(features[halves].any(axis=0), features[~halves].any(axis=0))
    one = (k12 >= 1 and k12 >= e) or k12 >= max(k1, k2)
    z_one = float(k12 - e) / (sigma or 1)
    if one and separate:
        one, separate = z_one >= z_sep - 1e-12, z_one < z_sep - 1e-12
    if one:
        return np.zeros(n, int), "all one"
    return (np.arange(n), "all separate") if separate else (cut_by_refitting(distances, k), "modularity")


# Two pairs of inputs, each with two first-layer units, one second-layer unit and two outputs of its own.
SEPARABLE = network(
    [4, 4, 2, 4],
    [
        [(0, 0), (1, 0), (1, 1), (0, 1), (2, 2), (3, 2), (2, 3), (3, 3)],
        [(0, 0), (1, 0), (2, 1), (3, 1)],
        [(0, 0), (0, 1), (1, 2), (1, 3)],
    ],
)
# Two input modules whose first-layer units all feed the one unit in the middle, which feeds two output modules.
TWO_ONE_TWO = network(
    [4, 4, 1, 2, 4],
    [
        [(0, 0), (1, 0), (0, 1), (1, 1), (2, 2), (3, 2), (2, 3), (3, 3)],
        [(0, 0), (1, 0), (2, 0), (3, 0)],
        [(0, 0), (0, 1)],
        [(0, 0), (0, 1), (1, 2), (1, 3)],
    ],
)


def with_dead_units() -> list[np.ndarray]:
    """SEPARABLE, each unit with its number plus one, and units that are condensed away around it."""
    shifted: Edges = [[(int(i) + 1, int(j) + 1) for j, i in np.argwhere(mask)] for mask in SEPARABLE[:2]]
    shifted.append([(int(i) + 1, int(j)) for j, i in np.argwhere(SEPARABLE[2])])
    shifted[0] += [(5, 5), (0, 6)]  # input 5 feeds a unit that feeds nothing, input 0 a chain that ends in layer 2
    shifted[1] += [(6, 3), (0, 0)]  # from a unit without inputs
    shifted[2] += [(0, 3)]  # a chain without inputs into an output
    return network([6, 7, 4, 4], shifted)


# Whole networks -------------------------------------------------------------------------------------------------------


def test_separable() -> None:
    assert condensed_sizes(SEPARABLE) == [4, 4, 2, 4]
    found = detect_modules(SEPARABLE)
    assert listed(found) == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 1], [0, 0, 1, 1]]
    assert signature(found) == modules_of(({0, 1}, {0, 1}), ({2, 3}, {2, 3}))


def test_dead_units_change_nothing() -> None:
    masks = with_dead_units()
    assert condensed_sizes(masks) == [4, 4, 2, 4]
    found = detect_modules(masks)
    assert listed(found) == [[-1, 0, 0, 1, 1, -1], [-1, 0, 0, 1, 1, -1, -1], [-1, 0, 1, -1], [0, 0, 1, 1]]
    assert signature(found) == modules_of(({1, 2}, {0, 1}), ({3, 4}, {2, 3}))


def test_features_are_outgoing_only() -> None:
    """The first-layer units of both input modules look alike and are joined, as the specification warns."""
    found = detect_modules(TWO_ONE_TWO)
    assert listed(found) == [[0, 0, 1, 1], [2, 2, 2, 2], [2], [3, 4], [3, 3, 4, 4]]
    assert signature(found) == modules_of(
        ({0, 1}, set()), ({2, 3}, set()), (set(), set()), (set(), {0, 1}), (set(), {2, 3})
    )


def test_two_one_two_with_targets_of_their_own() -> None:
    """With separate targets for their first-layer units, the input modules reach down to the middle."""
    masks = network(
        [4, 2, 2, 1, 2, 4],
        [
            [(0, 0), (1, 0), (2, 1), (3, 1)],
            [(0, 0), (1, 1)],
            [(0, 0), (1, 0)],
            [(0, 0), (0, 1)],
            [(0, 0), (0, 1), (1, 2), (1, 3)],
        ],
    )
    assert listed(detect_modules(masks, hops=1)) == [[0, 0, 1, 1], [0, 1], [2, 2], [2], [3, 4], [3, 3, 4, 4]]


def test_single_module() -> None:
    masks = [np.ones((3, 4)), np.ones((1, 3)), np.ones((4, 1))]
    assert listed(detect_modules(masks)) == [[0] * 4, [0] * 3, [0], [0] * 4]


def test_no_path_from_input_to_output() -> None:
    masks = network([3, 2, 2, 2], [[(0, 0)], [(1, 1)], [(1, 0), (1, 1)]])
    assert condensed_sizes(masks) == [0, 0, 0, 2]
    found = detect_modules(masks)
    assert listed(found) == [[-1] * 3, [-1] * 2, [-1] * 2, [0, 1]]
    assert signature(found) == modules_of((set(), {0}), (set(), {1}))


def test_output_that_no_input_reaches() -> None:
    """Output 1 is fed by a unit that is fed by nothing, output 2 by nothing."""
    masks = network([2, 2, 3], [[(0, 0), (1, 0)], [(0, 0), (1, 1)]])
    found = detect_modules(masks)
    assert listed(found) == [[0, 0], [0, -1], [0, 1, 2]]
    assert signature(found) == modules_of(({0, 1}, {0}), (set(), {1}), (set(), {2}))


def test_one_layer_of_weights() -> None:
    masks = [np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])]
    assert listed(detect_modules(masks)) == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert listed(detect_modules([np.ones((1, 1))])) == [[0], [0]]


def test_hops_limit_what_counts() -> None:
    """Two halves that feed the same chain. All the way down they share more than chance, with an output that nothing
    feeds among the targets; one hop down they share nothing."""
    masks = network([4, 2, 1, 1, 2], [[(0, 0), (1, 0), (2, 1), (3, 1)], [(0, 0), (1, 0)], [(0, 0)], [(0, 0)]])
    assert listed(detect_modules(masks, hops=1)) == [[0, 0, 1, 1], [2, 2], [2], [2], [2, 3]]
    assert listed(detect_modules(masks)) == [[0] * 4, [0, 0], [0], [0], [0, 1]]
    for hops in (4, 50):
        assert listed(detect_modules(masks, hops=hops)) == listed(detect_modules(masks))


def test_detection_equals_steps_on_the_condensed_network() -> None:
    """Also that only units alive and within the hops are targets of the tests."""
    differing = 0
    for seed in range(60):
        masks = random_masks([7, 8, 6, 5], 0.25, seed)
        for hops in (None, 1, 2):
            alive = condense(masks)
            small = [mask[np.ix_(b, a)] for mask, a, b in zip(masks, alive[:-1], alive[1:], strict=True)]
            found = detect_modules(masks, hops=hops, merge_threshold=0.6, modularity_threshold=-0.3)
            for labels, units in zip(found, alive, strict=True):
                assert (labels[units] >= 0).all()
                assert (labels[~units] == -1).all()
            if not all(mask.size for mask in small):
                continue
            widths = [len(mask) for mask in small]
            clusters = []
            for place, features in enumerate(reach(small, hops=hops)):
                N = sum(widths[place : place + (hops or 3)])
                clusters.append(clusters_written_out(features, -0.3, N)[0])
            expected = merge_clusters(small, [*clusters, np.arange(widths[-1])], threshold=0.6)
            for labels, units, small_labels in zip(found, alive, expected, strict=True):
                np.testing.assert_array_equal(labels[units], small_labels)
            differing += listed(found) != listed(detect_modules(masks, hops=hops))
    assert differing > 10  # the thresholds are passed on


def test_labels_are_numbered_by_first_appearance() -> None:
    several = 0
    for seed in range(20):
        labels = np.concatenate(detect_modules(random_masks([8, 8, 6, 6], 0.2, seed)))
        names = list(dict.fromkeys(labels[labels >= 0].tolist()))
        assert names == list(range(len(names)))
        several += len(names) > 4
    assert several


def untied(masks: list[np.ndarray]) -> bool:
    """No two pairs of units of a layer have the same distance, save units that are the same; layers have three kinds
    of units or more."""
    alive = condense(masks)
    for place, features in enumerate(reach(masks)):
        rows = np.unique(features[alive[place]], axis=0)
        distances = cosine_distances(rows)[np.triu_indices(len(rows), 1)]
        if len(rows) < 3 or len(np.unique(distances)) < len(distances):
            return False
    return True


def test_permuted_units() -> None:
    rng = np.random.default_rng(0)
    sizes = [4, 5, 6, 12]
    checked, modules = 0, set()
    for seed in range(1000):
        masks = random_masks(sizes, 0.3, seed)
        if not untied(masks):
            continue
        found = detect_modules(masks, merge_threshold=0.5)
        orders = [rng.permutation(width) for width in sizes]
        moved = [mask[np.ix_(b, a)] for mask, a, b in zip(masks, orders[:-1], orders[1:], strict=True)]
        before = np.concatenate([labels[order] for labels, order in zip(found, orders, strict=True)])
        after = np.concatenate(detect_modules(moved, merge_threshold=0.5))
        np.testing.assert_array_equal(before == -1, after == -1)
        assert same_partition(before, after)
        modules.add(len(set(after.tolist())))
        checked += 1
    assert checked >= 10
    assert len(modules) > 3


def test_ties_are_deterministic() -> None:
    """Four inputs that all feed different units: every pair is equally far apart."""
    masks = [np.ones((5, 4)) - np.eye(5, 4), np.ones((2, 5))]
    first = listed(detect_modules(masks))
    for _ in range(3):
        assert listed(detect_modules([mask.copy() for mask in masks])) == first


def test_tensors_bools_and_arguments_left_alone() -> None:
    expected = listed(detect_modules(SEPARABLE))
    kept = [mask.copy() for mask in SEPARABLE]
    for convert in (torch.as_tensor, lambda mask: torch.as_tensor(mask, dtype=torch.float32), lambda mask: mask > 0):
        masks = [convert(mask) for mask in SEPARABLE]
        assert listed(detect_modules(masks)) == expected
        assert listed(merge_clusters(masks, [torch.tensor(row) for row in expected])) == expected
    for mask, before in zip(SEPARABLE, kept, strict=True):
        np.testing.assert_array_equal(mask, before)
    assert all(labels.dtype == np.int64 for labels in detect_modules(SEPARABLE))


# Condensing and reach -------------------------------------------------------------------------------------------------


def test_condense_drops_until_stable() -> None:
    dropped = 0
    for seed in range(50):
        masks = random_masks([6, 5, 5, 5, 3], 0.22, seed)
        alive = [np.ones(width, bool) for width in (6, 5, 5, 5, 3)]
        rounds, before = 0, -1
        while (left := sum(int(units.sum()) for units in alive)) != before:
            rounds, before = rounds + 1, left
            for place in range(4):
                alive[place] &= masks[place][alive[place + 1]].any(axis=0)
                if place:
                    alive[place] &= masks[place - 1][:, alive[place - 1]].any(axis=1)
        dropped += rounds > 2  # the second round dropped something too
        found = condense(masks)
        assert all(units.dtype == bool for units in found)
        assert listed(found) == listed(alive)
        assert condensed_sizes(masks) == [int(units.sum()) for units in alive]
    assert dropped > 10


@pytest.mark.parametrize("hops", [None, 1, 2, 3, 4, 9])
def test_reach_is_powers_of_the_adjacency(hops: int | None) -> None:
    sizes = [5, 4, 6, 4, 3]
    starts = np.cumsum([0, *sizes])
    masks = random_masks(sizes, 0.35, 3)
    adjacency = np.zeros((starts[-1], starts[-1]), dtype=int)
    for place, mask in enumerate(masks):
        adjacency[starts[place] : starts[place + 1], starts[place + 1] : starts[place + 2]] = mask.T
    paths = np.zeros_like(adjacency)
    for hop in range(1, (hops or 4) + 1):
        paths |= np.linalg.matrix_power(adjacency, hop)
    paths = paths > 0
    features = reach(masks, hops=hops)
    assert len(features) == 4
    for place, found in enumerate(features):
        assert found.dtype == bool
        np.testing.assert_array_equal(found, paths[starts[place] : starts[place + 1], starts[place + 1] :])


# Clusters of one layer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 5), (8, 6), (25, 10), (60, 100)])
@pytest.mark.parametrize("density", [0.1, 0.4, 0.8])
def test_incremental_modularity_equals_brute_force(n: int, m: int, density: float) -> None:
    for seed in range(3):
        features = random_features(n, m, density, seed)
        distances = cosine_distances(features)
        q_by_k = cluster_layer(features).q_by_k
        assert q_by_k.shape == (n,)
        if distances.any():
            expected = [q_written_out(distances, cut_by_refitting(distances, k)) for k in range(1, n + 1)]
            np.testing.assert_allclose(q_by_k, expected, rtol=0, atol=1.01e-8)  # half-way values may round apart
            assert np.mean(q_by_k == expected) > 0.9
            assert q_by_k[0] == 0


def test_incremental_modularity_of_many_units() -> None:
    features = random_features(300, 40, 0.3, 0)
    distances = cosine_distances(features)
    found = cluster_layer(features)
    assert len(np.unique(found.q_by_k)) > 290
    for k in (2, 3, 10, 100, 200, 297, 299, 300):
        labels = library._cut(library.linkage(distances[np.triu_indices(300, 1)], "average"), k)
        assert labels.max() == k - 1
        assert found.q_by_k[k - 1] == pytest.approx(q_written_out(distances, labels), abs=1.01e-8)


@pytest.mark.parametrize("threshold", [-0.2, -0.45, -1, 0.9])
def test_clusters_equal_the_rule_written_out(threshold: float) -> None:
    reasons: Counter[str] = Counter()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n, m = int(rng.integers(1, 9)), int(rng.integers(2, 14))
        features = random_features(n, m, rng.uniform(0.05, 0.7), seed)
        if seed % 3 == 0:  # two separate blocks
            features[: n // 2, m // 2 :] = False
            features[n // 2 :, : m // 2] = False
            features[: n // 2, 0] = features[n // 2 :, -1] = True
        N = m + int(rng.integers(0, 4))
        labels, reason = clusters_written_out(features, threshold, N)
        found = cluster_layer(features, modularity_threshold=threshold, n_targets=N)
        assert found.reason == reason
        assert same_partition(found.labels, labels)
        assert found.labels.max() + 1 == found.k == len(set(labels.tolist()))
        assert found.q == found.q_by_k[found.k - 1]
        reasons[reason] += 1
    assert set(reasons) == {"single unit", "all one", "all separate", "modularity"}


@pytest.mark.parametrize(("n", "m"), [(1, 3), (2, 3), (8, 6), (60, 100)])
def test_a_layer_is_cut_into_any_number_of_clusters(n: int, m: int) -> None:
    for seed in range(5):
        features = random_features(n, m, 0.4, seed)
        tree = library.linkage(cosine_distances(features)[np.triu_indices(n, 1)], "average") if n > 1 else None
        for k in {1, min(2, n), (n + 1) // 2, n}:
            labels = cut_layer(features, k)
            assert len(set(labels.tolist())) == k == labels.max() + 1
            assert tree is None or labels.tolist() == library._cut(tree, k).tolist()
        found = cluster_layer(features)
        assert cut_layer(features, found.k).tolist() == found.labels.tolist()


@pytest.mark.parametrize(
    ("features", "k", "message"),
    [
        ([[1, 0], [0, 0]], 1, r"features\[1\] is all zero"),
        ([[1, 0], [0, 1]], 3, "k=3; an integer, 1 ... 2, is needed"),
        ([[1, 0], [0, 1]], 0, "k=0"),
        ([[1, 2]], 1, r"features\[0, 1\] = 2"),
    ],
)
def test_a_layer_is_not_cut_into_what_it_has_not(features: list[list[int]], k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cut_layer(features, k)


def test_one_unit() -> None:
    found = cluster_layer([[0, 1, 1]])
    assert (found.labels.tolist(), found.k, found.q, found.reason) == ([0], 1, 0.0, "single unit")
    assert found.q_by_k.tolist() == [0.0]


@pytest.mark.parametrize(
    ("features", "k", "reason"),
    [
        ([[1, 1, 0], [1, 1, 0]], 1, "all one"),  # the same
        ([[1, 0, 0], [0, 1, 1]], 2, "all separate"),  # nothing in common
        ([[1, 1, 0, 0], [1, 0, 1, 0]], 1, "all one"),  # 1 shared, 1 expected: both propose, both with z = 0
        ([[1, 1, 1, 0, 0, 0], [1, 0, 0, 1, 1, 0]], 2, "all separate"),  # 1 shared, 1.5 expected
        ([[1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0]], 1, "all one"),  # 2 shared, 1.5 expected
        ([[1, 0], [1, 1]], 1, "all one"),  # 1 shared, 1 expected
        ([[1, 1], [1, 1]], 1, "all one"),  # both reach everything: no deviation
    ],
)
def test_two_units(features: list[list[int]], k: int, reason: str) -> None:
    found = cluster_layer(features, modularity_threshold=0.9)  # Q counts as bad whatever the threshold
    assert (found.k, found.reason) == (k, reason)
    assert found.labels.tolist() == ([0, 0] if k == 1 else [0, 1])


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("row", [[1, 1, 1], [0, 1, 0, 1, 0]])
def test_identical_units(n: int, row: list[int]) -> None:
    found = cluster_layer([row] * n)
    assert (found.labels.tolist(), found.k, found.q, found.reason) == ([0] * n, 1, 0.0, "all one")
    assert found.q_by_k.tolist() == [0.0] * n


def test_lowest_modularity_wins_and_the_larger_k_of_equals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the lowest of all counts for k = 1 and k = n."""
    q = np.array([-0.9, -0.5, -0.6, -0.6, -0.55, -0.9])
    monkeypatch.setattr(library, "_distance_modularity", lambda distances, tree: q)
    found = cluster_layer(random_features(6, 12, 0.4, 0))
    assert (found.k, found.q, found.reason) == (4, -0.6, "modularity")
    assert found.labels.max() == 3


def test_modularity_is_that_of_fractions_to_the_last_digit() -> None:
    """Groups that share nothing: distances are 0 or 1, Q is a fraction, and some lie half-way at 8 decimals."""
    half_way = 0
    for sizes in ((1, 16), (5, 16), (2, 40), (1, 1, 40), (4, 4), (16, 10), (8, 20), (2, 7, 9), (32, 5), (3, 64)):
        features = np.repeat(np.eye(len(sizes), dtype=int), sizes, axis=0)
        n, total = sum(sizes), sum(sizes) ** 2 - sum(size**2 for size in sizes)
        distances = 1.0 - features @ features.T
        tree = library.linkage(distances[np.triu_indices(n, 1)], "average")
        q_by_k = cluster_layer(features).q_by_k
        for k in range(1, n + 1):
            labels, q = library._cut(tree, k), Fraction(0)
            for c in range(k):
                inside = labels == c
                within, strength = distances[np.ix_(inside, inside)].sum(), distances[inside].sum()
                q += Fraction(int(within), total) - Fraction(int(strength), total) ** 2
            half_way += (q * 10**8).denominator == 2
            assert q_by_k[k - 1] == np.round(float(q), 8)  # of the double next to the fraction
    assert half_way > 5


def test_modularity_is_rounded() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        q = cluster_layer(random_features(int(rng.integers(2, 30)), 9, 0.4, seed)).q_by_k
        np.testing.assert_array_equal(q, np.round(q, 8))
        assert not np.signbit(q[q == 0]).any()


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        # The first pair shares 1 of 1 expected, the last two clusters nothing.
        ([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], "all separate"),
        # Pair: 1 of 9/8 expected, σ = 0.98. Clusters: 2 of 15/8 expected, σ = 1.20. The pair surprises more.
        ([[0, 1, 0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 1, 1, 0]], "all separate"),
        # Neither: the pair shares 2 of 1 expected, the last two clusters nothing.
        ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]], "modularity"),
    ],
)
def test_the_larger_surprise_decides(features: list[list[int]], reason: str) -> None:
    assert cluster_layer(features).reason == reason


def test_targets_decide_on_chance() -> None:
    """Two of five or six shared is what chance gives among 18, more than that among 40."""
    features = np.zeros((2, 18))
    features[0, :6] = features[1, 4:10] = 1
    assert cluster_layer(features, n_targets=17).reason == "all separate"  # 36 / 17 > 2
    assert cluster_layer(features).reason == "all one"  # exactly 2 expected
    assert cluster_layer(features, n_targets=40).reason == "all one"
    assert cluster_layer(features[:, :10]).reason == "all separate"
    assert cluster_layer(features, n_targets=10).reason == "all separate"


@pytest.mark.parametrize(("k1", "k2", "k12", "targets"), [(3, 7, 1, 21), (9, 7, 3, 21), (14, 21, 6, 49)])
def test_as_many_shared_as_expected(k1: int, k2: int, k12: int, targets: int) -> None:
    """Both tests propose, without a surprise either way. One more or one less decides."""
    for change, reason in ((-1, "all separate"), (0, "all one"), (1, "all one")):
        features = np.zeros((2, targets))
        features[0, :k1] = 1
        features[1, k1 - k12 - change : k1 - k12 - change + k2] = 1
        assert cluster_layer(features).reason == reason


# Merging --------------------------------------------------------------------------------------------------------------


def fan(inside: int, leaving: int, entering: int) -> tuple[list[np.ndarray], list[list[int]]]:
    """Cluster 0 sends ``inside`` edges to cluster 0 of the next layer, ``leaving`` to cluster 1, which sends
    ``entering`` back to cluster 0; two outputs follow."""
    masks = network(
        [20, 20, 2],
        [
            [(i, i) for i in range(inside)]
            + [(i, 10 + i) for i in range(leaving)]
            + [(10 + i, i) for i in range(entering)],
            [(0, 0), (10, 1)],
        ],
    )
    return masks, [[0] * 10 + [1] * 10, [0] * 10 + [1] * 10, [0, 1]]


@pytest.mark.parametrize(
    ("inside", "leaving", "entering", "threshold", "joined"),
    [
        (9, 0, 0, 0.9, True),
        (9, 1, 0, 0.9, False),  # 9 of 10 are not more than 0.9
        (9, 0, 1, 0.9, False),
        (9, 1, 1, 0.89, True),
        (9, 1, 2, 0.89, False),
        (9, 2, 1, 0.89, False),
        (6, 4, 0, 0.6, False),
        (7, 4, 4, 0.6, True),
        (3, 2, 0, 0.6, False),
        (7, 3, 0, 0.7, False),
        (8, 2, 2, 0.8, False),
        (1, 0, 0, 0.0, True),
        (0, 1, 1, 0.0, False),
    ],
)
def test_both_shares_must_be_above_the_threshold(
    inside: int, leaving: int, entering: int, threshold: float, joined: bool
) -> None:
    masks, clusters = fan(inside, leaving, entering)
    modules = merge_clusters(masks, clusters, threshold=threshold)
    assert (modules[0][0] == modules[1][0]) is np.bool_(joined)


def test_only_entering_edges_count_at_the_outputs() -> None:
    masks = network([2, 1, 10], [[(0, 0), (1, 0)], [(0, i) for i in range(10)]])
    clusters = [[0, 0], [0], list(range(10))]
    assert listed(merge_clusters(masks, clusters)) == [[0, 0], [0], [0] * 10]
    # The same edges, one layer up.
    deeper = [*masks, np.eye(10)]
    assert listed(merge_clusters(deeper, [*clusters, list(range(10))]))[2] == list(range(1, 11))
    # An output that two clusters feed is on its own.
    shared = network([2, 1], [[(0, 0), (1, 0)]])
    assert listed(merge_clusters(shared, [[0, 1], [0]])) == [[0, 1], [2]]
    assert listed(merge_clusters(shared, [[0, 1], [0]], threshold=0.49)) == [[0, 1], [0]]


def test_edges_of_units_condensed_away_do_not_count() -> None:
    masks = network([4, 2, 1], [[(0, 0), (1, 0), (2, 0), (0, 1)], [(0, 0), (1, 0)]])
    assert listed(merge_clusters(masks, [[0, 0, 1, -1], [0, -1], [0]])) == [[0, 0, 1, -1], [2, -1], [2]]
    assert listed(merge_clusters(masks, [[0, 0, -1, -1], [0, -1], [0]])) == [[0, 0, -1, -1], [0, -1], [0]]


def test_names_of_clusters_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    joined = 0
    for seed in range(30):
        masks = random_masks([8, 7, 6, 5], 0.35, seed)
        clusters = [rng.integers(-1, 4, size=width) for width in (8, 7, 6, 5)]
        renamed = []
        for labels in clusters:
            names = rng.permutation(50)[:4]
            renamed.append(np.where(labels < 0, -1, names[labels]))
        for threshold in (0.2, 0.9):
            found = merge_clusters(masks, clusters, threshold=threshold)
            assert listed(found) == listed(merge_clusters(masks, renamed, threshold=threshold))
            for labels, given in zip(found, clusters, strict=True):
                np.testing.assert_array_equal(labels == -1, given == -1)
            joined += len(np.intersect1d(found[0][found[0] >= 0], found[1])) > 0
    assert joined > 10


def test_most_edges_win_below_one_half() -> None:
    """Output 0: two edges from the first cluster, three from the second. Output 1: two from each."""
    masks = network([6, 2], [[(0, 0), (1, 0), (3, 0), (4, 0), (5, 0), (0, 1), (1, 1), (3, 1), (4, 1)]])
    for names in ([5, 5, 5, 2, 2, 2], [2, 2, 2, 5, 5, 5]):
        assert listed(merge_clusters(masks, [names, [0, 1]], threshold=0.3)) == [[0, 0, 0, 1, 1, 1], [1, 0]]


def test_a_share_equal_to_the_threshold_is_not_above_it() -> None:
    """29 of 50 edges at 0.58, a product that comes out below 29."""
    assert 0.58 * 50 < 29
    entering = [np.ones((1, 50))]
    inputs = [0] * 29 + [1] * 21
    assert merge_clusters(entering, [inputs, [0]], threshold=0.58)[1] == [2]
    assert merge_clusters(entering, [inputs, [0]], threshold=0.57)[1] == [0]
    leaving = [np.ones((50, 1)), np.ones((1, 50))]
    assert merge_clusters(leaving, [[0], inputs, [0]], threshold=0.58)[1].tolist() == [1] * 29 + [2] * 21
    assert merge_clusters(leaving, [[0], inputs, [0]], threshold=0.57)[1].tolist() == [0] * 29 + [1] * 21


def test_most_edges_win_only_if_they_qualify() -> None:
    """The middle unit: three edges from the first cluster, which sends seven elsewhere, and two from the second."""
    masks = network(
        [6, 8, 1],
        [
            [(0, 0), (1, 0), (2, 0), *((0, i) for i in range(1, 8)), (3, 0), (4, 0)],
            [(0, 0)],
        ],
    )
    clusters = [[0, 0, 0, 1, 1, 1], list(range(8)), [0]]
    assert merge_clusters(masks, clusters, threshold=0.29)[1][0] == 0
    assert merge_clusters(masks, clusters, threshold=0.3)[1][0] == 1


# Signatures -----------------------------------------------------------------------------------------------------------


def test_signature() -> None:
    labels = [[4, 4, 7, -1], [4, 9, 12, -1], [7, 7, 3]]
    expected = modules_of(({0, 1}, set()), ({2}, {0, 1}), (set(), {2}), (set(), set()), (set(), set()))
    found = signature(labels)
    assert found == expected
    assert found[frozenset(), frozenset()] == 2
    assert signature([np.array(row) % 13 for row in [[9, 9, 1, 12], [9, 0, 2, 12], [1, 1, 3]]]) != expected
    renamed = {4: 0, 7: 5, 9: 1, 12: 8, 3: 2, -1: -1}
    assert signature([[renamed[label] for label in row] for row in labels]) == expected
    assert signature([[-1], [-1]]) == Counter()


# Errors ---------------------------------------------------------------------------------------------------------------


def with_entry(value: float) -> list[np.ndarray]:
    masks = [np.ones((3, 2)), np.ones((2, 3))]
    masks[1][1, 2] = value
    return masks


CALLS: list[Callable[[Any], Any]] = [
    condense,
    condensed_sizes,
    reach,
    detect_modules,
    lambda masks: merge_clusters(masks, [[0, 0], [0, 0, 0], [0, 1]]),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([], "masks is empty"),
        ([np.ones((3, 2)), np.ones((2, 4))], r"masks\[0\] has shape \(3, 2\) and masks\[1\] \(2, 4\).*needs 3 columns"),
        ([np.ones((2, 3)), np.ones((3, 2)).T], r"needs 2 columns"),
        ([np.ones(3)], r"masks\[0\] has shape \(3,\)"),
        ([np.ones((3, 2)), np.ones((0, 3))], r"masks\[1\] has shape \(0, 3\)"),
        (np.ones((3, 2)), r"masks\[0\] has shape \(2,\)"),
        (with_entry(0.5), r"masks\[1\]\[1, 2\] = 0.5; 0 and 1 alone"),
        (with_entry(-1), r"masks\[1\]\[1, 2\] = -1.0"),
        (with_entry(2), r"masks\[1\]\[1, 2\] = 2.0"),
        (with_entry(np.nan), r"masks\[1\]\[1, 2\] = nan"),
    ],
)
def test_bad_masks(call: Callable[[Any], Any], masks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(masks)


@pytest.mark.parametrize("hops", [0, -1, 1.5, True])
@pytest.mark.parametrize("call", [reach, detect_modules])
def test_bad_hops(call: Callable[..., Any], hops: Any) -> None:
    with pytest.raises(ValueError, match=f"hops={hops}; an integer, 1 or more"):
        call(SEPARABLE, hops=hops)


@pytest.mark.parametrize("value", [1, 1.0, 1.5, -0.1, math.nan, "0.9", None])
def test_bad_merge_threshold(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"merge_threshold={value!r}; a number in \[0, 1\)"):
        detect_modules(SEPARABLE, merge_threshold=value)
    with pytest.raises(ValueError, match=rf"^threshold={value!r}; a number in \[0, 1\)"):
        merge_clusters(SEPARABLE, detect_modules(SEPARABLE), threshold=value)


@pytest.mark.parametrize("value", [1, -1.01, math.nan, "-0.2"])
def test_bad_modularity_threshold(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"modularity_threshold={value!r}; a number in \[-1, 1\)"):
        detect_modules(network([1, 1], [[]]), modularity_threshold=value)
    with pytest.raises(ValueError, match=rf"modularity_threshold={value!r}; a number in \[-1, 1\)"):
        cluster_layer([[1]], modularity_threshold=value)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([[1, 0], [0, 0]], r"features\[1\] is all zero"),
        ([[0, 0]], r"features\[0\] is all zero"),
        ([1, 0], r"features has shape \(2,\)"),
        (np.ones((0, 3)), r"features has shape \(0, 3\)"),
        ([[1, 3]], r"features\[0, 1\] = 3"),
        ([[math.nan, 1]], r"features\[0, 0\] = nan"),
    ],
)
def test_bad_features(features: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_layer(features)


@pytest.mark.parametrize("n_targets", [2, 0, 4.0])
def test_bad_targets(n_targets: Any) -> None:
    features = [[1, 1, 0, 0], [0, 1, 1, 0]]
    assert cluster_layer(features, n_targets=3).reason == "all separate"
    with pytest.raises(ValueError, match=f"n_targets={n_targets}; an integer, 3 or more"):
        cluster_layer(features, n_targets=n_targets)


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ([[0, 0], [0]], "clusters has 2 layers; one per unit layer, 3"),
        ([[0, 0], [0, 0], [0]], r"clusters\[1\] has shape \(2,\) .* shape \(1,\)"),
        ([[0, 0], [0.0], [0]], r"clusters\[1\] has shape \(1,\) and type float64"),
        ([[[0, 0]], [0], [0]], r"clusters\[0\] has shape \(1, 2\)"),
        ([[0, -2], [0], [0]], r"clusters\[0\] goes from -2"),
    ],
)
def test_bad_clusters(clusters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge_clusters([np.ones((1, 2)), np.ones((1, 1))], clusters)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 0]], "labels has 1 layers"),
        ([[0], [0.5]], r"labels\[1\] has shape \(1,\) and type float64"),
        ([[0], [-3]], r"labels\[1\] goes from -3"),
    ],
)
def test_bad_labels(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        signature(labels)
