"""Spectral co-clustering, against planted truth, scikit-learn and sums done by hand."""

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from sklearn.cluster import SpectralCoclustering
from sklearn.metrics import adjusted_rand_score, consensus_score

from modutils.coclustering import (
    Coclustering,
    block_mass,
    block_summary,
    hoyer_sparsity,
    mass_share_null,
    module_order,
    spectral_cocluster,
)

Planted = tuple[np.ndarray, np.ndarray, np.ndarray]


def planted(
    k: int,
    *,
    shape: tuple[int, int] = (800, 2000),
    negatives: float = 0.0,
    outliers: int = 0,
    zero_lines: int = 0,
    seed: int = 0,
) -> Planted:
    """A sparse matrix whose k blocks are fuller than the rest, and the true labels of rows and columns.

    ``negatives`` is the mean size of negative entries (10 % of all), ``outliers`` the number of entries 20 times
    as large as the mean, half of them negative, ``zero_lines`` the number of rows, and of columns, without
    positive entry.
    """
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(k, size=shape[0]), rng.integers(k, size=shape[1])
    fill = np.where(rows[:, None] == columns, 0.5, 0.1)
    matrix = np.where(rng.random(shape) < fill, rng.exponential(size=shape), 0)
    if negatives:
        matrix -= np.where((rng.random(shape) < 0.1) & (matrix == 0), rng.exponential(negatives, shape), 0)
    spots = rng.integers(shape[0], size=outliers), rng.integers(shape[1], size=outliers)
    matrix[spots] = 20 * np.resize([-1, 1], outliers)
    for axis in (0, 1):
        lines = rng.choice(shape[axis], zero_lines, replace=False)
        view = matrix if axis == 0 else matrix.T
        view[lines] = -np.abs(view[lines])
    rows[(matrix <= 0).all(axis=1)] = -1
    columns[(matrix <= 0).all(axis=0)] = -1
    return matrix, rows, columns


def consensus(found: Coclustering, rows: np.ndarray, columns: np.ndarray, k: int) -> float:
    def biclusters(row_labels: np.ndarray, column_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number = np.arange(k)[:, None]
        return row_labels == number, column_labels == number

    return consensus_score(biclusters(rows, columns), biclusters(found.row_labels, found.column_labels))


def stock(k: int) -> dict[str, Any]:
    """Options that make the form of Dhillon and scikit-learn."""
    return {"signs": "shift", "n_vectors": math.ceil(math.log2(k)), "embedding": "degree"}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "trouble",
    [
        {},
        {"negatives": 10.0},
        {"outliers": 20},
        {"zero_lines": 20},
        {"negatives": 10.0, "outliers": 20, "zero_lines": 20},
    ],
    ids=["plain", "negatives", "outliers", "zero lines", "all"],
)
@pytest.mark.parametrize("k", [4, 10])
def test_finds_planted_modules(k: int, trouble: dict[str, Any], seed: int) -> None:
    matrix, rows, columns = planted(k, seed=seed, **trouble)
    found = spectral_cocluster(matrix, k, seed=seed)
    assert consensus(found, rows, columns, k) >= 0.99
    np.testing.assert_array_equal(found.row_labels == -1, rows == -1)
    np.testing.assert_array_equal(found.column_labels == -1, columns == -1)


def test_stock_form_fails_where_the_default_does_not() -> None:
    # Otherwise the planted matrices above are too easy to tell the forms apart.
    matrix, rows, columns = planted(10, negatives=10.0)
    assert consensus(spectral_cocluster(matrix, 10, **stock(10)), rows, columns, 10) < 0.1
    vectors_only = spectral_cocluster(matrix, 10, n_vectors=4, embedding="degree")
    assert consensus(vectors_only, rows, columns, 10) < 0.8


@pytest.mark.parametrize("negatives", [0.0, 1.0])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_stock_form_is_scikit_learn(k: int, negatives: float) -> None:
    matrix, _, _ = planted(max(k, 3), shape=(120, 300), negatives=negatives)
    reference = SpectralCoclustering(k, random_state=7).fit(matrix)
    found = spectral_cocluster(matrix, k, seed=7, **stock(k))
    np.testing.assert_array_equal(found.row_labels, reference.row_labels_)
    np.testing.assert_array_equal(found.column_labels, reference.column_labels_)


@pytest.mark.parametrize("signs", ["clip", "shift", "abs"])
@pytest.mark.parametrize("embedding", ["unit", "degree"])
def test_kinds_of_matrix_agree(signs: str, embedding: str) -> None:
    matrix, _, _ = planted(4, shape=(150, 300), negatives=1.0, zero_lines=5)
    matrix = matrix.astype(np.float32).astype(np.float64)
    csr = sparse.csr_array(matrix)
    # Every entry e stored as 3 e and -2 e: they must be added before the signs are looked at.
    pieces = np.outer(csr.data, [3, -2]).ravel()
    in_pieces = sparse.csr_array((pieces, np.repeat(csr.indices, 2), 2 * csr.indptr), shape=csr.shape)
    kinds = [
        matrix.astype(np.float32),
        matrix.tolist(),
        np.asfortranarray(matrix),
        torch.tensor(matrix, requires_grad=True),
        torch.tensor(matrix, dtype=torch.float32),
        csr,
        sparse.csc_matrix(matrix),
        in_pieces,
    ]
    expected = spectral_cocluster(matrix, 4, signs=signs, embedding=embedding)
    for kind in kinds:
        found = spectral_cocluster(kind, 4, signs=signs, embedding=embedding)
        np.testing.assert_array_equal(found.row_labels, expected.row_labels)
        np.testing.assert_array_equal(found.column_labels, expected.column_labels)
        np.testing.assert_allclose(found.singular_values, expected.singular_values)


@pytest.mark.parametrize("kind", [np.array, sparse.csr_array, torch.tensor])
@pytest.mark.parametrize("signs", ["clip", "shift", "abs"])
def test_matrix_is_left_unchanged(kind: Any, signs: str) -> None:
    matrix, rows, columns = planted(3, shape=(40, 60), negatives=1.0, zero_lines=2)
    given = kind(matrix)
    spectral_cocluster(given, 3, signs=signs)
    block_summary(given, rows, columns, 3)
    mass_share_null(given, rows, columns, 3, draws=2)
    np.testing.assert_array_equal(given.toarray() if sparse.issparse(given) else np.asarray(given), matrix)


def test_partition_follows_permuted_transposed_and_scaled_matrix() -> None:
    matrix, _, _ = planted(5, shape=(800, 900), negatives=1.0)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(800), rng.permutation(900)
    expected = spectral_cocluster(matrix, 5)
    permuted = spectral_cocluster(matrix[rows][:, columns], 5)
    assert adjusted_rand_score(permuted.row_labels, expected.row_labels[rows]) > 0.99
    assert adjusted_rand_score(permuted.column_labels, expected.column_labels[columns]) > 0.99
    transposed = spectral_cocluster(matrix.T, 5)
    assert adjusted_rand_score(transposed.row_labels, expected.column_labels) > 0.99
    assert adjusted_rand_score(transposed.column_labels, expected.row_labels) > 0.99
    scaled = spectral_cocluster(matrix * 1e-6, 5)
    np.testing.assert_array_equal(scaled.row_labels, expected.row_labels)


def test_clip_ignores_the_size_of_negative_entries() -> None:
    matrix, _, _ = planted(4, shape=(100, 200), negatives=1.0)
    expected = spectral_cocluster(matrix, 4)
    found = spectral_cocluster(np.where(matrix < 0, -1e9, matrix), 4)
    np.testing.assert_array_equal(found.row_labels, expected.row_labels)
    np.testing.assert_array_equal(found.column_labels, expected.column_labels)


def test_same_seed_same_labels() -> None:
    noise = np.random.default_rng(0).random((60, 90))
    first, again, other = (spectral_cocluster(noise, 6, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.row_labels, again.row_labels)
    np.testing.assert_array_equal(first.column_labels, again.column_labels)
    assert (first.column_labels != other.column_labels).any()


@pytest.mark.parametrize("options", [{}, {"n_vectors": 3, "embedding": "degree"}, {"n_vectors": 8}])
def test_result_shapes_and_singular_values(options: dict[str, Any]) -> None:
    matrix, _, _ = planted(5, shape=(60, 90), negatives=1.0)
    found = spectral_cocluster(matrix, 5, **options)
    assert found.row_labels.shape == (60,)
    assert found.column_labels.shape == (90,)
    assert found.row_labels.dtype == found.column_labels.dtype == np.int64
    clipped = np.maximum(matrix, 0)
    normalised = clipped / np.sqrt(np.outer(clipped.sum(axis=1), clipped.sum(axis=0)))
    expected = np.linalg.svd(normalised, compute_uv=False)[: options.get("n_vectors", 4) + 1]
    assert found.singular_values[0] == pytest.approx(1, abs=1e-6)
    # The randomised decomposition is approximate where the values lie close together.
    np.testing.assert_allclose(found.singular_values[:5], expected[:5], rtol=0.01)
    assert (np.diff(found.singular_values) <= 0).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [2, 3, 6])
def test_separate_blocks_are_found_exactly(k: int, seed: int) -> None:
    # All k singular values are 1: the first vector found need not be the trivial one.
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(np.repeat(range(k), 8)), rng.permutation(np.repeat(range(k), 12))
    matrix = (rows[:, None] == columns) * rng.uniform(1, 2, size=(8 * k, 12 * k))
    assert consensus(spectral_cocluster(matrix, k, seed=seed), rows, columns, k) == 1


def test_thin_band_is_no_numerical_failure() -> None:
    # Its singular values crowd below 1, so the randomised decomposition meets the first one only to 1e-3.
    distance = np.abs(np.arange(800)[:, None] / 800 - np.arange(2000) / 2000)
    found = spectral_cocluster(distance < 0.02, 4)
    assert abs(found.singular_values[0] - 1) > 1e-6
    assert len(set(found.row_labels)) == 4


def test_module_with_rows_and_no_columns() -> None:
    # Three kinds of rows, two kinds of columns: the rows that use both kinds have no column of their own.
    matrix = np.kron([[1, 0], [0, 1], [1, 1]], np.ones((20, 30)))
    matrix += 0.01 * np.random.default_rng(0).random(matrix.shape)
    found = spectral_cocluster(matrix, 3)
    rows, columns = found.row_labels, found.column_labels
    (lonely,) = set(rows) - set(columns)
    assert len(set(rows)) == 3
    assert len(set(columns)) == 2
    mass = block_mass(matrix, rows, columns, 3)
    assert (mass[:, lonely] == 0).all()
    assert mass[lonely].sum() > 0
    assert module_order(matrix, rows, columns, 3)[-1] == lonely
    assert module_order(matrix, rows, columns, 3, by="density")[-1] == lonely


GOOD = np.kron(np.eye(3), np.ones((4, 5)))


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (GOOD, {"k": 1}, "k=1; an integer, 2 or more"),
        (GOOD, {"k": -3}, "k=-3"),
        (GOOD, {"k": 3.0}, "k=3.0"),
        (GOOD, {"k": True}, "k=True"),
        (GOOD, {"k": 13}, "k=13 is more than the 12 rows"),
        (np.vstack([GOOD, -GOOD]), {"k": 13}, r"k=13 is more than the 12 rows with an edge \(of 24\)"),
        (GOOD, {"signs": "square"}, "signs='square'"),
        (GOOD, {"embedding": "cosine"}, "embedding='cosine'"),
        (GOOD, {"n_vectors": 0}, "n_vectors=0; an integer, 1 ... 11"),
        (GOOD, {"n_vectors": 12}, "n_vectors=12"),
        (np.where(GOOD > 0, GOOD, np.nan), {}, "matrix contains NaN"),
        (np.where(GOOD > 0, GOOD, np.inf), {}, "matrix contains infinity"),
        (torch.full((5, 5), torch.nan), {}, "matrix contains NaN"),
        (sparse.csr_array(np.where(GOOD > 0, np.nan, 0)), {}, "matrix contains NaN"),
        (np.zeros((5, 5)), {}, "no entry above zero"),
        (np.zeros((5, 5)), {"signs": "shift"}, "no entry above zero"),
        (sparse.csr_array((5, 5)), {"signs": "abs"}, "no entry above zero"),
        (-GOOD, {}, "no entry above zero after signs='clip'"),
        (GOOD[:, :1] + 1, {}, "one column"),
        (GOOD[0], {}, "Expected 2D array"),
        (GOOD[:, :, None], {}, "dim 3"),
        (np.empty((0, 4)), {}, "0 sample"),
        (np.empty((4, 0)), {}, "0 feature"),
        (np.array([["a", "b"]]), {}, "could not convert"),
    ],
)
def test_bad_input(matrix: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spectral_cocluster(matrix, **{"k": 3, **options})


def test_overflowing_sums_are_refused() -> None:
    with np.errstate(over="ignore"), pytest.raises(ArithmeticError, match="first singular value"):
        spectral_cocluster(sparse.csr_array(GOOD) * 1e308, 3)


def test_block_mass_is_the_sum_over_each_block() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(12, 20)) * (rng.random((12, 20)) < 0.5)
    rows, columns = rng.integers(-1, 4, size=12), rng.integers(-1, 3, size=20)
    for signed in (False, True):
        entries = matrix if signed else np.maximum(matrix, 0)
        expected = [[entries[rows == i][:, columns == j].sum() for j in range(4)] for i in range(4)]
        for kind in (np.array, sparse.csr_array, torch.tensor):
            found = block_mass(kind(matrix), rows, columns, 4, signed=signed)
            np.testing.assert_allclose(found, expected, atol=1e-12)
    counts = block_mass(matrix > 0, rows, columns, 4)
    assert counts[1, 2] == (matrix[rows == 1][:, columns == 2] > 0).sum() > 0


def test_block_summary_by_hand() -> None:
    matrix = np.array([[4, -1, 0, 9], [0, 2, 1, 0], [1, 0, -3, 0]])
    for given in (matrix, sparse.csr_array(matrix), torch.tensor(matrix, dtype=torch.float32)):
        found = block_summary(given, [0, 1, 1], [0, 1, 1, -1], k=3)
        assert found.mass_share == pytest.approx((4 + 2 + 1) / 17)
        assert found.area_share == pytest.approx((1 + 4) / 12)
        assert found.mean_inside == pytest.approx((4 + 2 + 1 - 3) / 5)
        assert found.mean_overall == pytest.approx(13 / 12)


def test_null_is_all_permutations_of_the_assigned_labels() -> None:
    matrix = np.random.default_rng(0).exponential(size=(5, 5))
    rows, columns = np.array([0, -1, 0, 1, 1]), np.array([1, 1, 0, 0, -1])
    used = matrix[rows >= 0][:, columns >= 0]
    # The shares of all 24 x 24 pairs of permutations, each as likely as any other.
    expected = [
        used[np.equal.outer(r, c)].sum() / matrix.sum()
        for r in permutations(rows[rows >= 0])
        for c in permutations(columns[columns >= 0])
    ]
    null = mass_share_null(matrix, rows, columns, 2, draws=6000)
    shares, counts = np.unique(null.round(9), return_counts=True)
    expected_shares, expected_counts = np.unique(np.round(expected, 9), return_counts=True)
    np.testing.assert_allclose(shares, expected_shares)
    assert stats.chisquare(counts, expected_counts * len(null) / len(expected)).pvalue > 0.001


def test_null_is_calibrated_and_has_power() -> None:
    rng = np.random.default_rng(0)
    p_values = []
    for trial in range(150):
        matrix = rng.normal(size=(20, 30))
        rows, columns = rng.integers(-1, 3, size=20), rng.integers(-1, 3, size=30)
        null = mass_share_null(matrix, rows, columns, 3, draws=99, seed=trial)
        share = block_summary(matrix, rows, columns, 3).mass_share
        p_values.append((1 + (null >= share).sum()) / 100)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    matrix, rows, columns = planted(3, shape=(60, 90), negatives=1.0)
    null = mass_share_null(matrix, rows, columns, 3, draws=99)
    assert block_summary(matrix, rows, columns, 3).mass_share > 1.5 * null.max()
    np.testing.assert_array_equal(null, mass_share_null(sparse.csr_array(matrix), rows, columns, 3, draws=99))


def test_module_order_by_mass_and_by_density() -> None:
    matrix = np.zeros((6, 6))
    matrix[:4, :4] = 1  # module 2: mass 16, density 1
    matrix[4, 4] = 3  # module 0: mass 3, density 3
    matrix[5, 5] = 3  # module 3: the same
    rows = columns = np.array([2, 2, 2, 2, 0, 3])
    assert module_order(matrix, rows, columns, 4).tolist() == [2, 0, 3, 1]
    assert module_order(matrix, rows, columns, 4, by="density").tolist() == [0, 3, 2, 1]
    with pytest.raises(ValueError, match="by='size'"):
        module_order(matrix, rows, columns, 4, by="size")


@pytest.mark.parametrize("function", [block_mass, block_summary, mass_share_null, module_order])
@pytest.mark.parametrize(
    ("rows", "columns", "k", "message"),
    [
        ([0, 1], [0, 1, 1], 2, r"row_labels has shape \(2,\)"),
        ([0, 1, 1], [0, 1], 2, r"column_labels has shape \(2,\)"),
        ([0, 1, 2], [0, 1, 1], 2, "row_labels goes from 0 to 2; -1 ... 1 is allowed"),
        ([0, 1, 1], [0, 1, -2], 2, "column_labels goes from -2"),
        ([0.0, 1.0, 1.0], [0, 1, 1], 2, "row_labels .* float64"),
        ([0, 0, 0], [0, 0, 0], 0, "k=0"),
    ],
)
def test_bad_labels(function: Any, rows: list[int], columns: list[int], k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(np.eye(3), rows, columns, k)


def test_measures_refuse_what_is_undefined() -> None:
    labels = [0, 0, 1]
    with pytest.raises(ValueError, match="no entry above zero"):
        block_summary(-np.eye(3), labels, labels, 2)
    with pytest.raises(ValueError, match="no entry above zero"):
        mass_share_null(-np.eye(3), labels, labels, 2)
    with pytest.raises(ValueError, match="both rows and columns"):
        block_summary(np.eye(3), [0, 0, 0], [1, 1, 1], 2)
    with pytest.raises(ValueError, match="matrix contains NaN"):
        block_mass([[np.nan]], [0], [0], 1, signed=True)
    with pytest.raises(ValueError, match="draws=0"):
        mass_share_null(np.eye(3), labels, labels, 2, draws=0)


def test_hoyer_sparsity() -> None:
    matrix = np.array([[3.0, 0, -4, 0], [0, 0, 0, 0]])
    expected = (math.sqrt(8) - 7 / 5) / (math.sqrt(8) - 1)
    for given in (matrix, sparse.csr_array(matrix), torch.tensor(-2 * matrix, dtype=torch.float32)):
        assert hoyer_sparsity(given) == pytest.approx(expected)
    assert hoyer_sparsity(np.full((4, 5), -2.0)) == pytest.approx(0)
    for undefined in (np.zeros((2, 2)), np.ones((1, 1))):
        with pytest.raises(ValueError, match="not all zero"):
            hoyer_sparsity(undefined)
