"""Group units and samples together: spectral co-clustering and what one asks of its blocks.

A matrix of units (rows) by samples (columns) is read as a bipartite graph whose edge weights are the
non-negative entries. Labels are integer arrays, -1 means unassigned. A module is a row cluster together with
the column cluster of the same number; either side may be empty.

Matrices are array-like, dense tensors or scipy sparse. A tensor of an accelerator is worked on where it is, in float64;
arrays that come out of a tensor are tensors beside it, and labels may be given as either.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize
from sklearn.utils import check_array
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from modutils import _arrays, _check
from modutils._algebra import leading_singular_vectors
from modutils._kmeans import kmeans

__all__ = [
    "BlockSummary",
    "Coclustering",
    "block_mass",
    "block_summary",
    "hoyer_sparsity",
    "mass_share_null",
    "module_order",
    "spectral_cocluster",
]


@dataclass(frozen=True)
class Coclustering:
    """What `spectral_cocluster` found.

    Attributes
    ----------
    row_labels, column_labels : ndarray or Tensor of int64, shapes (rows,) and (columns,)
        Module of each line in 0 ... k-1; -1 for a line with no edge.
    singular_values : ndarray or Tensor of float64, shape (n_vectors + 1,)
        Of the normalised matrix, descending; the first belongs to the trivial solution and is 1.
    """

    row_labels: Any
    column_labels: Any
    singular_values: Any


@dataclass(frozen=True)
class BlockSummary:
    """How far a matrix is concentrated in the k diagonal blocks of a co-clustering.

    Attributes
    ----------
    mass_share : float
        Share of the sum of the positive entries that lies in the blocks, in [0, 1].
    area_share : float
        Share of all entries that lies in the blocks, in [0, 1].
    mean_inside, mean_overall : float
        Mean entry, sign included, in the blocks and in the whole matrix.
    """

    mass_share: float
    area_share: float
    mean_inside: float
    mean_overall: float


def spectral_cocluster(
    matrix: Any,
    k: int,
    *,
    signs: str = "clip",
    n_vectors: int | None = None,
    embedding: str = "unit",
    seed: int = 0,
) -> Coclustering:
    """Co-cluster rows and columns by the normalised cut of their bipartite graph.

    With A the non-negative matrix, D_r and D_c its row and column sums, the singular vectors of
    A_n = D_r^-1/2 A D_c^-1/2 embed rows and columns in one space, where k-means finds k modules [1]_.
    The form of [1]_, and of scikit-learn's ``SpectralCoclustering``, is ``n_vectors=ceil(log2(k))`` with
    ``embedding="degree"``. On a dense matrix with negative entries scikit-learn also does, without saying so,
    what ``signs="shift"`` does.

    Parameters
    ----------
    matrix : array-like, Tensor or scipy sparse matrix, shape (rows, columns)
        Finite numbers; left unchanged.
    k : int
        Number of modules, 2 or more and no more than the rows that have an edge.
    signs : {"clip", "shift", "abs"}
        How entries become edge weights: max(e, 0); e - min(e) if there is a negative entry; or abs(e). Only
        "shift" needs a dense float64 copy, the others work on a sparse one.
    n_vectors : int, optional
        Singular vectors used, the trivial one not counted. Default: k - 1, or one less than the shorter side.
    embedding : {"unit", "degree"}
        "unit": vectors times singular value, each point then scaled to length 1. "degree": vectors divided by
        the square root of the line's sum, as in [1]_.
    seed : int
        For the randomised singular value decomposition and for k-means. The same seed gives the same labels.

    Returns
    -------
    Coclustering
        A line without any edge (all zero after the sign treatment) has label -1. A module may have rows and
        no columns, or the reverse. Tensors beside the matrix if that is one. On an accelerator the singular vectors
        are exact to rounding and k-means has draws of its own, so that modules equal those of the CPU where they are
        separated.

    Raises
    ------
    ValueError
        Bad option, non-finite entries, k or n_vectors out of range, no edge at all.
    ArithmeticError
        The first singular value is not 1: the sums overflowed or underflowed.

    References
    ----------
    .. [1] I. S. Dhillon, "Co-clustering documents and words using bipartite spectral graph partitioning",
       KDD 2001.

    Examples
    --------
    >>> import numpy as np
    >>> e = np.kron(np.eye(2), np.ones((2, 3))) - 0.1
    >>> e[:, 5] = -1
    >>> found = spectral_cocluster(e, 2)
    >>> bool(found.row_labels[0] == found.row_labels[1] != found.row_labels[2])
    True
    >>> int(found.column_labels[5])
    -1
    """
    _check.count("k", k, 2)
    _check.choice("embedding", embedding, ("unit", "degree"))
    if _arrays.on_device(matrix):
        return _cocluster_on_device(matrix, k, signs, n_vectors, embedding, seed)
    edges = _edges(matrix, signs)
    shape = edges.shape
    row_sums, column_sums = edges.sum(axis=1), edges.sum(axis=0)
    rows, columns = np.flatnonzero(row_sums), np.flatnonzero(column_sums)
    n_vectors = _number_of_vectors(n_vectors, k, len(rows), len(columns), shape[0], signs)

    if len(rows) < shape[0] or len(columns) < shape[1]:
        edges = edges[rows][:, columns]
        row_sums, column_sums = row_sums[rows], column_sums[columns]
    row_scale, column_scale = 1 / np.sqrt(row_sums), 1 / np.sqrt(column_sums)
    if sparse.issparse(edges):
        # In slices, because scale factors for all entries at once would take more memory than the matrix.
        for first in range(0, len(rows), 100):
            scale = row_scale[first : first + 100]
            ends = edges.indptr[first : first + 101]
            part = slice(ends[0], ends[-1])
            edges.data[part] *= np.repeat(scale, np.diff(ends)) * column_scale[edges.indices[part]]
    else:
        edges *= row_scale[:, None]
        edges *= column_scale
    # Never through ARPACK: scikit-learn then keeps the trivial vector and drops a useful one (issue 12863).
    u, values, vt = randomized_svd(edges, n_vectors + 1, random_state=seed)
    # Randomised, so met to rounding only where the values are spread; a thin band along the diagonal gives 0.998.
    _check_first(float(values[0]))
    if embedding == "degree":
        points = np.vstack((row_scale[:, None] * u[:, 1:], column_scale[:, None] * vt[1:].T))
    else:
        points = np.vstack((u, vt.T)) * values
        # Where the graph falls apart, several singular values are 1 and the first vector found is any mixture
        # of theirs. So project the trivial solution out instead of dropping that vector.
        trivial = u.T @ np.sqrt(row_sums)
        trivial /= np.linalg.norm(trivial)
        points -= np.outer(points @ trivial, trivial)
        points = normalize(points)
    labels = KMeans(k, n_init=10, random_state=seed).fit(points).labels_
    row_labels, column_labels = np.full(shape[0], -1), np.full(shape[1], -1)
    row_labels[rows], column_labels[columns] = labels[: len(rows)], labels[len(rows) :]
    return Coclustering(*(_arrays.like(part, matrix) for part in (row_labels, column_labels, values)))


def _cocluster_on_device(
    matrix: Tensor, k: int, signs: str, n_vectors: int | None, embedding: str, seed: int
) -> Coclustering:
    """`spectral_cocluster` in torch, where the matrix is."""
    edges = _edges_on_device(matrix, signs)
    row_sums, column_sums = edges.sum(1), edges.sum(0)
    rows, columns = (torch.nonzero(sums)[:, 0] for sums in (row_sums, column_sums))
    n_vectors = _number_of_vectors(n_vectors, k, len(rows), len(columns), len(edges), signs)
    row_scale, column_scale = row_sums[rows].rsqrt(), column_sums[columns].rsqrt()
    labels = [torch.full_like(sums, -1, dtype=torch.int64) for sums in (row_sums, column_sums)]
    if len(rows) < len(row_sums) or len(columns) < len(column_sums):
        edges = edges[rows[:, None], columns]
    edges *= row_scale[:, None]
    edges *= column_scale
    u, values, v = leading_singular_vectors(edges, n_vectors + 1, seed=seed)
    _check_first(float(values[0]))
    if embedding == "degree":
        points = torch.cat([row_scale[:, None] * u[:, 1:], column_scale[:, None] * v[:, 1:]])
    else:
        points = torch.cat([u, v]) * values
        trivial = u.T @ row_sums[rows].sqrt()
        trivial /= trivial.norm()
        points -= torch.outer(points @ trivial, trivial)
        points = torch.nn.functional.normalize(points)
    found, _ = kmeans(points, k, seed=seed)
    for one, lines, part in zip(labels, (rows, columns), found.split([len(rows), len(columns)]), strict=True):
        one[lines] = part
    return Coclustering(labels[0], labels[1], values)


def _number_of_vectors(n_vectors: int | None, k: int, rows: int, columns: int, all_rows: int, signs: str) -> int:
    """Singular vectors to use, if the lines with an edge are enough for them and for k."""
    if not rows:
        raise ValueError(f"matrix has no entry above zero after signs={signs!r}; nothing can be clustered")
    if k > rows:
        raise ValueError(f"k={k} is more than the {rows} rows with an edge (of {all_rows}); use less")
    limit = min(rows, columns) - 1
    if limit < 1:
        raise ValueError("matrix has one column with an edge; two are needed")
    if n_vectors is None:
        n_vectors = min(k - 1, limit)
    _check.count("n_vectors", n_vectors, 1, limit)
    return n_vectors


def _check_first(value: float) -> None:
    if not abs(value - 1) < 0.01:
        raise ArithmeticError(
            f"the first singular value of the normalised matrix is {value}, not 1: its sums overflow or "
            "underflow; rescale matrix"
        )


def block_mass(matrix: Any, row_labels: Any, column_labels: Any, k: int, *, signed: bool = False) -> Any:
    """Sum of the positive entries in each of the k x k blocks of a co-clustering.

    Parameters
    ----------
    matrix : array-like, Tensor or scipy sparse matrix, shape (rows, columns)
        Also boolean: ``block_mass(e > 0, ...)`` counts the positive entries.
    row_labels, column_labels : array or Tensor of int, shapes (rows,) and (columns,)
        In -1 ... k-1; lines with -1 are in no block.
    k : int
        Number of modules.
    signed : bool
        Sum all entries, negative ones included.

    Returns
    -------
    ndarray of float64, shape (k, k)
        Entry (i, j): rows of module i, columns of module j. A tensor beside the matrix if that is one.

    Examples
    --------
    >>> block_mass([[1, -2, 3], [0, 4, 5]], [0, 1], [0, 0, -1], k=2)
    array([[1., 0.],
           [4., 0.]])
    """
    _check.count("k", k, 1)
    device = _arrays.on_device(matrix)
    if device:
        entries = _finite_on_device(matrix) if signed else _edges_on_device(matrix, "clip")
    else:
        entries = _finite(matrix) if signed else _edges(matrix, "clip")
    row_labels = _check.labels("row_labels", row_labels, entries.shape[0], high=k - 1)
    column_labels = _check.labels("column_labels", column_labels, entries.shape[1], high=k - 1)
    if device:
        rows, columns = _indicators_on_device(entries, row_labels, column_labels, k=k)
        return rows.T @ entries @ columns
    blocks = _indicator(row_labels, k).T @ entries @ _indicator(column_labels, k)
    return _arrays.like(np.asarray(blocks.toarray() if sparse.issparse(blocks) else blocks), matrix)


def block_summary(matrix: Any, row_labels: Any, column_labels: Any, k: int) -> BlockSummary:
    """Compare the k diagonal blocks with the whole matrix.

    Parameters are those of `block_mass`. Raises ValueError if no module has both rows and columns, or if no
    entry is positive.
    """
    device = _arrays.on_device(matrix)
    entries: Any = _finite_on_device(matrix) if device else _finite(matrix)
    positive = entries.clamp(min=0) if device else _edges(entries, "clip")
    mass = block_mass(positive, row_labels, column_labels, k).trace()
    area = _block_areas(row_labels, column_labels, k).sum()
    total, size = positive.sum(), entries.shape[0] * entries.shape[1]
    if area == 0:
        raise ValueError("no module in row_labels and column_labels has both rows and columns")
    if total == 0:
        raise ValueError("matrix has no entry above zero")
    inside = block_mass(entries, row_labels, column_labels, k, signed=True).trace()
    return BlockSummary(
        mass_share=float(mass / total),
        area_share=float(area / size),
        mean_inside=float(inside / area),
        mean_overall=float(entries.sum(dtype=torch.float64 if device else np.float64) / size),
    )


def mass_share_null(
    matrix: Any, row_labels: Any, column_labels: Any, k: int, *, draws: int = 500, seed: int = 0
) -> Any:
    """Share of the positive mass in the diagonal blocks when labels are dealt out anew.

    In each draw the row labels are permuted among the labelled rows and, independently, the column labels
    among the labelled columns. Lines with -1 keep it, so the module sizes, and with them the blocks' share of
    the area, stay those of the labels given.

    Parameters
    ----------
    matrix, row_labels, column_labels, k
        As in `block_mass`.
    draws : int
        Number of independent draws.
    seed : int
        For the permutations.

    Returns
    -------
    ndarray of float64, shape (draws,)
        Compare with `BlockSummary.mass_share`. A tensor beside the matrix if that is one; the permutations of a seed
        are the same on every device.
    """
    _check.count("k", k, 1)
    _check.count("draws", draws, 1)
    device = _arrays.on_device(matrix)
    positive: Any = _edges_on_device(matrix, "clip") if device else _edges(matrix, "clip")
    row_labels = _check.labels("row_labels", row_labels, positive.shape[0], high=k - 1)
    column_labels = _check.labels("column_labels", column_labels, positive.shape[1], high=k - 1)
    total = positive.sum()
    if total == 0:
        raise ValueError("matrix has no entry above zero")
    # An entry counts if the labels of its row and column agree: one pass over the stored entries a draw, less
    # work than products with k indicator columns. -1 against -2, so that two unlabelled lines never agree.
    row_marks = row_labels.astype(np.int32)
    column_marks = np.where(column_labels < 0, -2, column_labels).astype(np.int32)
    labelled_rows, labelled_columns = np.flatnonzero(row_labels >= 0), np.flatnonzero(column_labels >= 0)
    rng = np.random.default_rng(seed)

    def dealt() -> tuple[np.ndarray, np.ndarray]:
        row_marks[labelled_rows] = rng.permutation(row_marks[labelled_rows])
        column_marks[labelled_columns] = rng.permutation(column_marks[labelled_columns])
        return row_marks, column_marks

    if device:
        blocks = (_indicators_on_device(positive, *dealt(), k=k) for _ in range(draws))
        return torch.stack([(positive @ columns).mul_(rows).sum() for rows, columns in blocks]) / total
    entries_per_row, columns = np.diff(positive.indptr), positive.indices.astype(np.intp)
    shares = np.empty(draws)
    for draw in range(draws):
        dealt()
        shares[draw] = positive.data @ (np.repeat(row_marks, entries_per_row) == column_marks[columns])
    return _arrays.like(shares / total, matrix)


def module_order(matrix: Any, row_labels: Any, column_labels: Any, k: int, *, by: str = "mass") -> Any:
    """Modules by the weight of their own block, heaviest first.

    Parameters
    ----------
    matrix, row_labels, column_labels, k
        As in `block_mass`.
    by : {"mass", "density"}
        Sum of the block's positive entries, or that sum divided by the number of the block's entries.

    Returns
    -------
    ndarray of int64, shape (k,)
        Module numbers. Equal modules stay in the order of their numbers; a module without rows or without
        columns has an empty block and weighs 0. A tensor beside the matrix if that is one.
    """
    _check.choice("by", by, ("mass", "density"))
    weight = _arrays.host(block_mass(matrix, row_labels, column_labels, k).diagonal())
    if by == "density":
        weight = weight / np.maximum(_block_areas(row_labels, column_labels, k), 1)
    return _arrays.like(np.argsort(-weight, kind="stable"), matrix)


def hoyer_sparsity(matrix: Any) -> float:
    """Sparsity (sqrt(n) - l1 / l2) / (sqrt(n) - 1) of the n entries, in [0, 1].

    0 when all entries have the same size, 1 when a single one is not zero (P. O. Hoyer, JMLR 5, 2004).

    >>> hoyer_sparsity([[0, 0], [0, -3]])
    1.0
    """
    device = _arrays.on_device(matrix)
    entries: Any = _finite_on_device(matrix) if device else _finite(matrix)
    root = float(np.sqrt(entries.shape[0] * entries.shape[1]))
    if device:
        l1, l2 = float(entries.abs().sum()), float(entries.norm())
    else:
        values = (entries.data if sparse.issparse(entries) else entries).ravel()
        l1, l2 = float(np.abs(values).sum(dtype=np.float64)), float(np.linalg.norm(values.astype(np.float64)))
    if root == 1 or l2 == 0:
        raise ValueError("matrix needs two entries or more, not all zero")
    return float((root - l1 / l2) / (root - 1))


def _finite(matrix: Any) -> Any:
    """Dense array or CSR of finite numbers; no copy where none is needed."""
    if isinstance(matrix, Tensor):
        matrix = _arrays.host(matrix)
    checked = check_array(matrix, accept_sparse="csr", dtype=[np.float64, np.float32], input_name="matrix")
    return sparse.csr_array(checked) if sparse.issparse(checked) else checked


def _edges(matrix: Any, signs: str) -> Any:
    """Own copy of the matrix with entries made non-negative, in float64: CSR, or dense for signs="shift"."""
    _check.choice("signs", signs, ("clip", "shift", "abs"))
    entries = _finite(matrix)
    if signs == "shift":
        dense = entries.toarray() if sparse.issparse(entries) else entries
        dense = np.array(dense, dtype=np.float64)
        dense -= min(dense.min(), 0.0)
        return dense
    if sparse.issparse(entries):
        edges = sparse.csr_array(entries, dtype=np.float64, copy=True)
        edges.sum_duplicates()
        if signs == "abs":
            np.abs(edges.data, out=edges.data)
        else:
            np.maximum(edges.data, 0, out=edges.data)
        edges.eliminate_zeros()
        return edges
    # Row by row: scipy's own conversion takes three times the time and three times the memory.
    counts = [np.count_nonzero(row if signs == "abs" else row > 0) for row in entries]
    ends = np.concatenate(([0], np.cumsum(counts)))
    data, indices = np.empty(ends[-1]), np.empty(ends[-1], dtype=np.int32)
    for row, (first, last) in zip(entries, pairwise(ends), strict=True):
        indices[first:last] = np.flatnonzero(row if signs == "abs" else row > 0)
        data[first:last] = np.abs(row[indices[first:last]])
    return sparse.csr_array((data, indices, ends), shape=entries.shape)


def _finite_on_device(matrix: Tensor) -> Tensor:
    """The matrix in float64, where it is."""
    if matrix.ndim != 2 or not matrix.numel() or matrix.is_complex():
        shape = tuple(matrix.shape)
        raise ValueError(f"matrix is {matrix.dtype} of shape {shape}; real numbers (rows, columns) are needed")
    entries = _arrays.placed(matrix)
    if not _check.finite(entries):
        raise ValueError("matrix contains NaN or infinity")
    return entries


def _edges_on_device(matrix: Tensor, signs: str) -> Tensor:
    """Own copy of the matrix with entries made non-negative, where it is."""
    _check.choice("signs", signs, ("clip", "shift", "abs"))
    entries = _finite_on_device(matrix)
    if signs == "shift":
        return entries - entries.min().clamp(max=0)
    return entries.abs() if signs == "abs" else entries.clamp(min=0)


def _indicators_on_device(entries: Tensor, *sides: np.ndarray, k: int) -> list[Tensor]:
    """0/1 matrices (lines, k) beside the entries, one for the labels of each side; negative ones have no entry."""
    number = torch.arange(k, device=entries.device)
    return [(torch.as_tensor(side, device=entries.device)[:, None] == number).double() for side in sides]


def _indicator(labels: np.ndarray, k: int) -> sparse.csr_array:
    """0/1 matrix (lines, k); unassigned lines have no entry."""
    lines = np.flatnonzero(labels >= 0)
    return sparse.csr_array((np.ones(len(lines)), (lines, labels[lines])), shape=(len(labels), k))


def _block_areas(row_labels: Any, column_labels: Any, k: int) -> np.ndarray:
    """Number of entries in each of the k diagonal blocks."""
    sides = [_arrays.host(labels) for labels in (row_labels, column_labels)]
    rows, columns = (np.bincount(side[side >= 0], minlength=k) for side in sides)
    return rows * columns
