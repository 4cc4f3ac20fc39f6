"""The independent pieces of work: each public function but ``plan`` is a stage."""

from __future__ import annotations

from typing import Any

import numpy as np

from companion.records import Cell
from modutils import agreement, modularity


def search(*, dataset: str, size: int, joined: float, seed: int) -> dict[str, Any]:
    """Plant three cliques, join units of different ones at random, and search for modules."""
    rng = np.random.default_rng(seed)
    true = np.repeat(np.arange(3), size)
    between = np.triu(rng.random((3 * size, 3 * size)) < joined, 1)
    graph = ((true[:, None] == true) | between | between.T).astype(float)
    np.fill_diagonal(graph, 0)
    found = modularity.spectral_modules(graph)
    return {"q": found.q, "similarity": agreement.element_similarity(true, found.labels), "labels": found.labels}


def plan(scale: str) -> list[Cell]:
    """All cells of a scale: six seeds, or two."""
    seeds = range(6 if scale == "paper" else 2)
    return [
        Cell("cliques", "search", {"dataset": "planted", "size": 8, "joined": joined, "seed": seed})
        for joined in (0.05, 0.6)
        for seed in seeds
    ]
