"""What the slides and the figures published with the authors' code report, as far as the chapter compares with it.

Captions of the slides are quoted in percent and unit counts. Rates come from published bar charts and heat maps; each
is of 36 networks (3 widths × 3 depths × 4 seeds), or 12 for one depth.
"""

from __future__ import annotations

from typing import NamedTuple


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


PICTURES = (
    Picture(5, "separable", 4, 24, 2, 0, 65.0, 1.5, 2.08, (4, 4, 2, 4)),
    Picture(6, "reused", 16, 24, 2, 0, 70.0, 2.5, 2.75, (4, 3, 2, 16)),
    Picture(7, "separable-reused", 3, 24, 2, 0, 60.0, 0.5, 1.89, (6, 3, 3, 3)),
    Picture(8, "single", 4, 24, 2, 0, 15.0, 2.5, 1.82, (4, 2, 1, 4)),
    Picture(9, "overlap-0", 8, 24, 2, 0, 70.0, 2.5, 2.81, (8, 4, 2, 8)),
    Picture(10, "overlap-1", 8, 24, 2, 0, 55.0, 1.0, 2.88, (7, 4, 2, 8)),
    Picture(11, "overlap-2", 8, 24, 2, 0, 65.0, 2.0, 3.07, (6, 5, 2, 8)),
    Picture(12, "overlap-3", 8, 24, 2, 0, 25.0, 2.0, 3.15, (5, 3, 3, 8)),
    Picture(13, "overlap-4", 8, 36, 2, 1, 60.0, 2.5, 1.39, (4, 3, 2, 8)),
    Picture(15, "reused", 2, 24, 2, 5, 45.0, 1.0, 2.08, (4, 3, 2, 2)),
    Picture(16, "reused", 4, 24, 2, 0, 55.0, 2.5, 2.34, (4, 3, 2, 4)),
    Picture(17, "reused", 8, 24, 2, 0, 40.0, 2.5, 2.55, (4, 3, 2, 8)),
    Picture(18, "reused", 12, 24, 2, 0, 65.0, 2.0, 2.60, (4, 3, 2, 12)),
    Picture(19, "reused", 16, 24, 2, 0, 70.0, 2.5, 2.75, (4, 3, 2, 16)),
    Picture(21, "depth", 4, 48, 4, 0, 10.0, 1.0, 0.40, (8, 5, 2, 2, 2, 4)),
    # The slide prints six numbers for this network, one too many for three hidden layers.
    Picture(22, "depth", 4, 48, 3, 0, 35.0, 1.0, 0.52, (8, 4, 2, 2, 4)),
    Picture(23, "depth", 4, 48, 2, 0, 70.0, 2.0, 0.94, (8, 4, 2, 4)),
)

#: Copies of each of the two output functions.
REUSE = (1, 2, 4, 6, 8)
#: Rates by overlap, then by reuse.
OVERLAP_RATES: dict[str, tuple[tuple[float, ...], ...]] = {
    "inputs": (
        (1, 1, 1, 1, 1),
        (0.97, 1, 1, 1, 1),
        (0.92, 1, 1, 1, 1),
        (0.64, 0.72, 0.78, 0.89, 0.86),
        (0.94, 0.94, 1, 1, 0.89),
    ),
    "hidden": ((1, 1, 1, 1, 1),) * 3 + ((0, 0, 0.03, 0.06, 0.06), (0, 0, 0.06, 0.17, 0.17)),
    "outputs": (
        (1, 1, 1, 1, 1),
        (1, 1, 1, 1, 1),
        (0.97, 1, 1, 1, 1),
        (0.58, 0.58, 0.69, 0.67, 0.72),
        (0.25, 0.31, 0.44, 0.53, 0.61),
    ),
}
#: Networks of 12 that show both output functions, by hidden layers, then by reuse.
REUSE_COUNTS = {1: (0, 0, 0, 0, 0), 2: (7, 11, 12, 12, 12), 3: (8, 9, 10, 10, 11)}
#: Rates of "all modules that this depth can show" by hidden layers, then by reuse.
DEPTH_RATES = {2: (1, 1, 1, 1, 0.83), 3: (0.17, 0.50, 0.83, 1, 1), 4: (0.25, 0.75, 0.92, 1, 1)}
#: Pairs of MNIST digits, by hidden layers: the pictured network's density in % and sizes.
DIGIT_PICTURES = {
    2: (0.37, (829, 83, 12, 3)),
    3: (0.32, (856, 56, 12, 27, 3)),
    4: (0.18, (734, 38, 22, 12, 6, 3)),
    5: (0.18, (766, 40, 22, 13, 13, 13, 3)),
}


def reused_rate(outputs: int) -> float:
    """Rate of networks with two and three hidden layers that show both functions which use the reused one."""
    place = REUSE.index(outputs // 2)
    return (REUSE_COUNTS[2][place] + REUSE_COUNTS[3][place]) / 24
