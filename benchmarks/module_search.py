"""`find_modules` as called by default beside Leiden × 10, Louvain × 10 and greedy, on 200 graphs.

Run with ``python -m benchmarks.module_search``; takes about two minutes, of which most are greedy's. Everyone starts
from the same matrix; igraph's graph is made once per matrix, and its making counts for no one but us, who make one too.
"""

import random
from collections.abc import Callable

import igraph
import networkx as nx
import numpy as np

from benchmarks._common import Row, cpu_seconds, report
from modutils import data, similarity, stacked
from modutils.agreement import element_similarity
from modutils.modularity import find_modules, modularity

RUNS = 10
TOLERANCE = 1e-6
LFR_SEEDS = (1, 2, 3, 4, 6, 7, 9, 11, 13, 14)  # with others networkx finds no graph, or never ends


def networks() -> dict[str, np.ndarray]:
    """Similarities of hidden units, 64 a layer, of digit networks under five regularisers, as the second chapter's."""
    images, labels = data.load("digits", "train")
    penalties = {"l2": [0, 1e-4, 1e-3, 0, 0], "l1": [0, 0, 0, 1e-4, 0], "dropout": [0, 0, 0, 0, 0.4]}
    stack = stacked.initialize([64, 64, 64, 10], seeds=[0], copies=5)
    trained = stacked.train(stack, images, labels, epochs=20, seeds=[0], batch_size=50, **penalties).stack
    found = {}
    for index in range(5):
        weights, biases = ([p[index] for p in parameters] for parameters in trained)
        for layer, measures in enumerate(similarity.mlp_similarities(weights, biases, images), 1):
            for name, one in measures.items():
                raw = one.outside.double()
                for form, matrix in (("raw", raw), ("normalised", similarity.normalize(raw))):
                    found[f"{name}, {form}, network {index}, layer {layer}"] = matrix.numpy()
    return found


def blocks(n: int, modules: int, inside: float, outside: float, seed: int, weighted: bool = True) -> np.ndarray:
    """A planted partition; weights are exponential, with twice the mean inside the blocks."""
    rng = np.random.default_rng(seed)
    planted = rng.integers(modules, size=n)
    same = planted[:, None] == planted
    edges = np.triu(rng.random((n, n)) < np.where(same, inside, outside), 1).astype(float)
    if weighted:
        edges *= rng.exponential(np.where(same, 2.0, 1.0))
    return edges + edges.T


def cliques(count: int, size: int, noise: float, seed: int) -> np.ndarray:
    """Planted cliques whose weights vary, joined by weak edges."""
    rng = np.random.default_rng(seed)
    same = np.kron(np.eye(count), np.ones((size, size)))
    edges = np.triu(np.where(same, rng.uniform(0.5, 1.5, same.shape), noise * rng.random(same.shape)), 1)
    return edges + edges.T


def lfr(seed: int) -> np.ndarray:
    """A graph with power laws of degrees and of module sizes (Lancichinetti, Fortunato and Radicchi 2008)."""
    mixing = 0.1 + 0.1 * (seed % 5)
    graph = nx.LFR_benchmark_graph(250, 3, 1.5, mixing, average_degree=8, min_community=15, seed=seed)
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    return nx.to_numpy_array(graph)


def graphs() -> dict[str, np.ndarray]:
    """Two hundred, by name; seeds are fixed."""
    found = networks()  # 80
    for seed in range(50):
        n = (30, 60, 100, 200, 400)[seed % 5]
        modules = 3 + seed % 7
        found[f"blocks, dense, n = {n}, {seed}"] = blocks(n, modules, 0.6, 0.3, seed)
        outside = 2 / n
        found[f"blocks, sparse, n = {n}, {seed}"] = blocks(n, modules, min(1, 6 * modules / n), outside, seed, seed < 25)
    found |= {f"LFR, {seed}": lfr(seed) for seed in LFR_SEEDS}
    for noise in (0.05, 0.1, 0.2):
        found[f"20 cliques of 5, noise {noise}"] = cliques(20, 5, noise, 0)
    karate, miserables = nx.karate_club_graph(), nx.les_miserables_graph()
    return found | {
        "karate": nx.to_numpy_array(karate, weight=None),
        "karate, weighted": nx.to_numpy_array(karate),
        "Les Misérables": nx.to_numpy_array(miserables, weight=None),
        "Les Misérables, weighted": nx.to_numpy_array(miserables),
        "Florentine families": nx.to_numpy_array(nx.florentine_families_graph()),
        "ring of 20 cliques": nx.to_numpy_array(nx.ring_of_cliques(20, 5)),
        "ring of 6 cliques": nx.to_numpy_array(nx.ring_of_cliques(6, 5)),
    }
