"""Module search with incremental modularity beside a loop that recomputes the trace, Louvain, and clusim.

Run with ``python -m benchmarks.modularity``; takes about a minute. Each compiled loop runs once before it is timed,
so that its compilation (seconds, once per machine: numba keeps it on disk) does not count.
"""

import networkx as nx
import numpy as np
from clusim.clustering import Clustering
from clusim.sim import element_sim

from benchmarks._common import Row, cpu_seconds, report
from modutils.agreement import element_similarities
from modutils.modularity import find_modules, modularity

UNITS, FEATURES = 64, 192
STEPS, TRACE_STEPS = 5000, 100


def gram(n: int, seed: int) -> np.ndarray:
    """Sizes of the inner products of random vectors: as weakly modular as the layers of an untrained network."""
    vectors = np.random.default_rng(seed).standard_normal((n, FEATURES * n // UNITS))
    edges = np.abs(vectors @ vectors.T)
    np.fill_diagonal(edges, 0)
    return edges


def by_trace(A: np.ndarray, steps: int, seed: int = 0) -> float:
    """The paper's chain as one would write it down: Q anew for every candidate, tr(Pᵀ A P) − ‖Pᵀ k‖²."""
    rng = np.random.default_rng(seed)
    A = A / A.sum()
    k = A.sum(axis=1)
    P = np.ones((len(A), 1))
    best, log_tau = -np.inf, -5.0
    for _ in range(steps):
        unit = rng.integers(len(A))
        candidates = []
        for module in range(P.shape[1] + 1):
            moved = np.pad(P, ((0, 0), (0, 1)))
            moved[unit] = 0
            moved[unit, module] = 1
            candidates.append(moved[:, moved.any(axis=0)])
        q = np.array([np.trace(M.T @ A @ M) - np.square(M.T @ k).sum() for M in candidates])
        best = max(best, float(q.max()))
        low, high = np.log(1e-6), np.log(1e6)
        while True:
            p = np.exp((q - q.max()) / np.exp(log_tau))
            p /= p.sum()
            entropy = -p[p > 0] @ np.log(p[p > 0])
            if abs(entropy - 0.15) < 0.01 or high - low < 1e-3:
                break
            low, high = (log_tau, high) if entropy < 0.15 else (low, log_tau)
            log_tau = (low + high) / 2
        P = candidates[rng.choice(len(q), p=p)]
    return best


def trace_step_seconds(n: int) -> float:
    """CPU seconds of one step that recomputes the trace."""
    A = gram(n, 0)
    return cpu_seconds(lambda: by_trace(A, TRACE_STEPS)) / TRACE_STEPS


def step_seconds(n: int) -> float:
    """CPU seconds of one step of ours, start and checks of a search with ten restarts shared out."""
    A = gram(n, 0)
    return cpu_seconds(lambda: find_modules(A, steps=STEPS, restarts=10, polish=False)) / (10 * STEPS)


def main() -> None:
    """Measure and report."""
    find_modules(gram(UNITS, 0), steps=10)
    trace = {n: trace_step_seconds(n) for n in (UNITS, 256)}
    ours = {n: step_seconds(n) for n in (UNITS, 256)}

    stack = [gram(UNITS, seed) for seed in range(8)]
    graphs = [nx.from_numpy_array(edges) for edges in stack]

    def search() -> list[float]:
        return [find_modules(edges, start="perturbed", restarts=100, steps=200).q for edges in stack]

    def louvain(seeds: int) -> list[float]:
        return [
            max(
                nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=seed))
                for seed in range(seeds)
            )
            for graph in graphs
        ]

    searching, one_louvain = cpu_seconds(search), cpu_seconds(lambda: louvain(1))
    seeds = max(1, round(searching / one_louvain))
    found, rival = np.array(search()), np.array(louvain(max(seeds, 10)))

    labels = np.random.default_rng(0).integers(5, size=(8, UNITS))
    clusterings = [Clustering(elm2clu_dict={i: [int(c)] for i, c in enumerate(row)}) for row in labels]
    pairs = [(a, b) for a in range(8) for b in range(a)]
    by_clusim = cpu_seconds(lambda: [element_sim(clusterings[a], clusterings[b], alpha=0.9) for a, b in pairs])
    at_once = cpu_seconds(lambda: [element_similarities(labels) for _ in range(100)]) / 100
    similarities = element_similarities(labels)
    difference = max(abs(similarities[a, b] - element_sim(clusterings[a], clusterings[b], alpha=0.9)) for a, b in pairs)

    report(
        "modularity",
        [
            Row("1000 steps of the chain, 64 units", "CPU-s", 1000 * trace[UNITS], 1000 * ours[UNITS], 200),
            Row("1000 steps of the chain, 256 units", "CPU-s", 1000 * trace[256], 1000 * ours[256], 200),
            Row(
                "1000 pairs of partitions of 64 units", "CPU-s", 1000 * by_clusim / len(pairs), 1000 * at_once / 28, 10
            ),
        ],
        reference="numpy, the trace recomputed for every candidate; clusim.sim.element_sim",
        compilation="not counted",
        microseconds_per_step={str(n): round(1e6 * seconds, 2) for n, seconds in ours.items()},
        milliseconds_per_search=round(1e3 * searching / len(stack), 1),
        search='start="perturbed", restarts=100, steps=200',
        louvain_runs=max(seeds, 10),
        louvain_seconds_over_search_seconds=round(max(seeds, 10) * one_louvain / searching, 2),
        least_gain_in_q_over_louvain=round(float((found - rival).min()), 5),
        mean_gain_in_q_over_louvain=round(float((found - rival).mean()), 5),
        largest_difference_from_clusim=float(difference),
        largest_difference_of_q_from_networkx=_difference(graphs[0], stack[0]),
    )


def _difference(graph: nx.Graph, edges: np.ndarray) -> float:
    sets = nx.community.louvain_communities(graph, seed=0)
    labels = np.array([next(c for c, members in enumerate(sets) if unit in members) for unit in graph])
    return abs(modularity(edges, labels) - nx.community.modularity(graph, sets))


if __name__ == "__main__":
    main()
