"""Clusters and n-cut of a network's graph from its blocks beside scikit-learn and networkx on the whole graph.

Run with ``python -m benchmarks.spectral``; takes about 20 s. The graph of the 784-256-256-256-256-10 network of
the modularity chapter as initialised (Glorot uniform), 12 clusters. Ours and scikit-learn's have ten restarts of
k-means, scikit-learn's default.

``--device cuda`` adds rows of that device.
"""

from functools import partial
from itertools import pairwise

import networkx as nx
import numpy as np
import torch
from sklearn.cluster import SpectralClustering
from sklearn.manifold import spectral_embedding

from benchmarks._common import Row, cpu_seconds, device_rows, report
from modutils.graphs import weight_graph
from modutils.spectral import embedding, layered_clusters, layered_embedding, layered_ncut, ncut

SIZES = (784, 256, 256, 256, 256, 10)
K, RESTARTS, SEEDS = 12, 10, 10


def glorot(seed: int) -> list[np.ndarray]:
    """Weights of an untrained network, uniform in ±√(6 / (in + out))."""
    rng = np.random.default_rng(seed)
    return [(6 / (below + above)) ** 0.5 * rng.uniform(-1, 1, (above, below)) for below, above in pairwise(SIZES)]


def by_networkx(graph: nx.Graph, labels: np.ndarray) -> float:
    """Sum over clusters of the weight that leaves one over its volume."""
    sets = [np.flatnonzero(labels == cluster).tolist() for cluster in np.unique(labels)]
    return sum(nx.cut_size(graph, c, weight="weight") / nx.volume(graph, c, weight="weight") for c in sets)


def on(place: torch.device, arrays: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.tensor(array, device=place) for array in arrays]


def main() -> None:
    """Measure and report."""
    weights = glorot(0)
    A = weight_graph(weights)
    graph = nx.from_numpy_array(A)
    labels = layered_clusters(weights, K, restarts=RESTARTS)

    def rival(A: np.ndarray, seed: int) -> np.ndarray:
        return SpectralClustering(K, affinity="precomputed", random_state=seed).fit_predict(A)

    clusters = cpu_seconds(lambda: rival(A, 0)), cpu_seconds(lambda: layered_clusters(weights, K, restarts=RESTARTS))
    shortcut = cpu_seconds(lambda: layered_embedding(weights, K))
    whole = cpu_seconds(lambda: embedding(A, K))
    theirs = cpu_seconds(lambda: spectral_embedding(A, n_components=K, drop_first=False, random_state=0))
    cuts = cpu_seconds(lambda: by_networkx(graph, labels), 1), cpu_seconds(lambda: layered_ncut(weights, labels))

    found, reference = [], []
    for seed in range(SEEDS):
        one = glorot(seed)
        matrix = weight_graph(one)
        found.append(layered_ncut(one, layered_clusters(one, K, restarts=RESTARTS, seed=seed)))
        reference.append(ncut(matrix, rival(matrix, seed)))
    difference = layered_embedding(weights, K).eigenvalues - embedding(A, K).eigenvalues

    report(
        "spectral",
        [
            Row("12 clusters of 1818 units", "CPU-s", *clusters, 10),
            Row("their eigenvectors, scikit-learn", "CPU-s", theirs, shortcut, 10),
            Row("their eigenvectors, our whole graph", "CPU-s", whole, shortcut, 1),
            Row("their n-cut", "CPU-s", *cuts, 10),
            *device_rows(
                {
                    "12 clusters of 1818 units": lambda place: partial(layered_clusters, on(place, weights), K),
                    "their eigenvectors, whole graph": lambda place: partial(embedding, on(place, [A])[0], K),
                    "their n-cut": lambda place: partial(layered_ncut, on(place, weights), labels),
                }
            ),
        ],
        reference="sklearn.cluster.SpectralClustering and spectral_embedding; networkx cut_size over volume",
        nodes=len(A),
        k=K,
        restarts=RESTARTS,
        largest_difference_of_eigenvalues=float(np.abs(difference).max()),
        difference_of_ncut_from_networkx=abs(layered_ncut(weights, labels) - by_networkx(graph, labels)),
        networks=SEEDS,
        mean_ncut=round(float(np.mean(found)), 4),
        mean_ncut_of_sklearn=round(float(np.mean(reference)), 4),
        standard_deviation_of_ncut=round(float(np.std(found, ddof=1)), 4),
        largest_difference_of_ncut=round(float(np.abs(np.subtract(found, reference)).max()), 4),
    )


if __name__ == "__main__":
    main()
