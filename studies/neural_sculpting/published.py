"""What the slides and the figures published with the authors' code report, as far as the chapter compares with it.

Captions of the slides are quoted in percent and unit counts. Rates come from published bar charts and heat maps; each
is of 36 networks (3 widths × 3 depths × 4 seeds), or 12 for one depth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from companion.published import table


class Picture(NamedTuple):
    """A network that a slide shows: density in %, and the units of every layer that are left."""

    claim: int
    task: str
    outputs: int
    width: int
    layers: int
    seed: int
    unit_step: float
    edge_step: float
    density: float
    sizes: tuple[int, ...]


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


# The slide prints six numbers for the network of claim 22, one too many for three hidden layers.
PICTURES = tuple(
    Picture(**row | {"sizes": _sizes(row["sizes"])}) for row in table("neural_sculpting", "published_networks")
)
#: Pairs of MNIST digits, by hidden layers: the pictured network's density in % and sizes.
DIGIT_PICTURES = {
    row["layers"]: (row["density"], _sizes(row["sizes"])) for row in table("neural_sculpting", "published_digits")
}
#: The same: of how many networks, and how many of them show each digit as a module, and three output modules.
DIGIT_COUNTS = {
    row["layers"]: (row["networks"], row["apart"], row["outputs"])
    for row in table("neural_sculpting", "published_digits")
}
#: Copies of each of the two output functions.
REUSE = (1, 2, 4, 6, 8)


def _by_reuse(task: str) -> dict[int, tuple[float, ...]]:
    rows = [row for row in table("neural_sculpting", "published_rates") if row["task"] == task]
    return {row["layers"]: tuple(row[str(reuse)] for reuse in REUSE) for row in rows}


#: Networks of 12 that show both output functions, by hidden layers, then by reuse.
REUSE_COUNTS = _by_reuse("reused")
#: Rates of "all modules that this depth can show" by hidden layers, then by reuse.
DEPTH_RATES = _by_reuse("depth")


def overlap_rates(verdict: str) -> np.ndarray:
    """Rates of a verdict by overlap (0 to 4), then by reuse, (5, 5)."""
    rows = [row for row in table("neural_sculpting", "published_rates") if row["verdict"] == verdict]
    return np.array([[row[str(reuse)] for reuse in REUSE] for row in sorted(rows, key=lambda row: row["task"])])


def reused_rate(outputs: int) -> float:
    """Rate of networks with two and three hidden layers that show both functions which use the reused one."""
    place = REUSE.index(outputs // 2)
    return (REUSE_COUNTS[2][place] + REUSE_COUNTS[3][place]) / 24


class SecondNetworks(NamedTuple):
    """What the authors' public release keeps of reused and depth tasks besides the networks that are counted.

    ``pairs`` of networks with the same seed, settings and number of edges; in ``one_right`` of them just one shows the
    task's modules; ``counted_right``: that one is counted; ``order_wrong``: the first in the order of the grid is
    the other one.
    """

    pairs: int
    one_right: int
    counted_right: int
    order_wrong: int


SECOND_NETWORKS = SecondNetworks(pairs=42, one_right=31, counted_right=31, order_wrong=17)
