"""Spectral co-clustering of 1600 units x 10 000 samples beside scikit-learn's own call.

Run with ``python -m benchmarks.coclustering``; takes about 20 s. The matrix is made up: k = 10 planted modules, 16 %
of the entries positive and 10 % negative, as in the biclustering chapter.

``--device cuda`` adds rows of that device.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from scipy import sparse
from sklearn.cluster import SpectralCoclustering
from sklearn.metrics import consensus_score

from benchmarks._common import Row, cpu_seconds, device_rows, extra_megabytes, report
from modutils import coclustering
from modutils.coclustering import spectral_cocluster

K = 10


def planted(rows: int = 1600, columns: int = 10_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A float32 matrix with K planted modules, and the labels of its rows and columns."""
    rng = np.random.default_rng(0)
    row_labels, column_labels = rng.integers(K, size=rows), rng.integers(K, size=columns)
    inside = row_labels[:, None] == column_labels
    shape = rows, columns
    draw = rng.random(shape, dtype=np.float32)
    size = rng.standard_exponential(shape, dtype=np.float32)
    positive = np.where(inside, 0.45, 0.128)
    matrix = np.where(draw < positive, size, np.where(draw > 0.9, -size, 0))
    return matrix, row_labels, column_labels


def consensus(labels: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """Agreement with the planted modules, in [0, 1]."""
    numbers = np.arange(K)[:, None]
    sets = [(rows == numbers, columns == numbers) for rows, columns in (labels, truth)]
    return round(float(consensus_score(*sets)), 4)


def main() -> None:
    """Measure and report."""
    matrix, *truth = planted()
    clipped = sparse.csr_array(np.maximum(matrix, 0).astype(np.float64))
    double = matrix.astype(np.float64)  # what scikit-learn would convert to; not counted against it

    def stock() -> SpectralCoclustering:
        return SpectralCoclustering(K, random_state=0).fit(double)

    stock_time, stock_memory = cpu_seconds(stock), extra_megabytes(stock)
    rows = []
    for what, given, faster in (("clipped CSR", clipped, 2), ("dense float32, clipping included", matrix, 1)):
        ours = partial(spectral_cocluster, given, K)
        rows.append(Row(f"{what}: time", "CPU-s", stock_time, cpu_seconds(ours), faster))
        rows.append(Row(f"{what}: extra memory", "MB", stock_memory, extra_megabytes(ours), 5))

    rows += device_rows({"dense float32": lambda place: partial(spectral_cocluster, torch.tensor(matrix).to(place), K)})
    dense = torch.tensor(matrix)  # what an accelerator does, by a CPU: slower there than what a CPU is given
    in_torch = cpu_seconds(partial(coclustering._cocluster_on_device, dense, K, "clip", None, "unit", 0), 1)
    by_torch = coclustering._cocluster_on_device(dense, K, "clip", None, "unit", 0)

    theirs, found = stock(), spectral_cocluster(clipped, K)
    n_vectors = math.ceil(math.log2(K))
    same = spectral_cocluster(double, K, signs="shift", n_vectors=n_vectors, embedding="degree")
    report(
        "coclustering",
        rows,
        reference="sklearn.cluster.SpectralCoclustering on the dense matrix, which shifts it to be non-negative",
        shape=matrix.shape,
        positive=round(float((matrix > 0).mean()), 4),
        negative=round(float((matrix < 0).mean()), 4),
        consensus_stock=consensus([theirs.row_labels_, theirs.column_labels_], truth),
        consensus_ours=consensus([found.row_labels, found.column_labels], truth),
        seconds_of_the_path_in_torch_on_a_cpu=round(in_torch, 2),
        seconds_of_scikit_learn=round(stock_time, 2),
        consensus_in_torch=consensus([by_torch.row_labels.numpy(), by_torch.column_labels.numpy()], truth),
        stock_form_equals_scikit_learn=bool(
            (same.row_labels == theirs.row_labels_).all() and (same.column_labels == theirs.column_labels_).all()
        ),
    )


if __name__ == "__main__":
    main()
