"""k-means in torch, all restarts as one batch, beside scikit-learn's.

Run with ``python -m benchmarks.kmeans``; takes about 30 s. Ten restarts of each, on the points of a co-clustering
(11 600 in 10 dimensions), separated and not. On a CPU the library takes scikit-learn's: the first rows say what torch
would cost there. ``--device cuda`` adds rows of that device.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans

from benchmarks._common import Row, cpu_seconds, device_rows, report
from modutils._kmeans import kmeans

POINTS, DIMENSIONS, K, SEEDS = 11_600, 10, 10, 3


def points(spread: float) -> np.ndarray:
    """Points around K corners of a cube, at a distance of about ``spread`` from them."""
    rng = np.random.default_rng(0)
    corners = np.eye(K, DIMENSIONS)
    return corners[rng.integers(K, size=POINTS)] + spread * rng.standard_normal((POINTS, DIMENSIONS))


def main() -> None:
    """Measure and report."""
    rows, inertias = [], {}
    for name, spread in (("separated", 0.1), ("not separated", 1.0)):
        given = points(spread)
        placed = torch.tensor(given)
        theirs = cpu_seconds(lambda given=given: KMeans(K, n_init=10, random_state=0).fit(given))  # type: ignore[misc]
        rows.append(Row(f"{name}, on a CPU", "CPU-s", theirs, cpu_seconds(partial(kmeans, placed, K), 1), 0))

        def at(place: torch.device, given: np.ndarray = given) -> Callable[[], object]:
            if place.type == "cpu":
                return lambda: KMeans(K, n_init=10, random_state=0).fit(given)
            return partial(kmeans, torch.tensor(given, device=place), K)

        rows += device_rows({name: at})
        inertias[name] = [
            float(kmeans(placed, K, seed=seed)[1]) / KMeans(K, n_init=10, random_state=seed).fit(given).inertia_ - 1
            for seed in range(SEEDS)
        ]
    report(
        "kmeans",
        rows,
        reference="sklearn.cluster.KMeans, ten restarts, one thread",
        points=POINTS,
        dimensions=DIMENSIONS,
        k=K,
        sum_of_squares_above_that_of_scikit_learn=inertias,
    )


if __name__ == "__main__":
    main()
