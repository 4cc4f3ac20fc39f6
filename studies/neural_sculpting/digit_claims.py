"""Claims N25–N27 about pairs of digits: see :mod:`studies.neural_sculpting.claims`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from companion import claims
from companion.claims import Finding, State, above, below, every, finding, untestable
from modutils import statistics
from modutils.statistics import mean_interval
from studies.neural_sculpting import cells, published
from studies.neural_sculpting.evidence import NOT_ENOUGH, Digits, Evidence, sizes_text

CLAIMS = claims.Claims("patil2023sculpting")


@CLAIMS.add(
    "N25",
    "Pairs of MNIST digits: from four hidden layers on the two digits are modules, with fewer they are one; the three "
    "outputs are modules throughout.",
    published=(
        "digits apart 0, 0, 1, 1 and outputs 1, 1, 0.83, 0.92 of 12 networks with 2, 3, 4, 5 hidden layers (chart)"
    ),
    rule=(
        "Share of networks whose digits are apart: interval above one half with 4 and 5 hidden layers, none with 2 "
        "and 3; and of those with three output modules: above one half. In part with two of the three."
    ),
)
def _digit_modules(of: Evidence) -> Finding:
    found = of.digits()
    depths = sorted({one.layers for one in found})
    shallow, deep = ([one for one in found if (one.layers >= 4) == side] for side in (False, True))
    if not shallow or not deep:
        return untestable(NOT_ENOUGH)

    by_depth = {layers: [one for one in found if one.layers == layers] for layers in depths}

    def counts(nets: Sequence[Digits], verdict: str) -> tuple[int, int]:
        return sum(one.verdicts[verdict] for one in nets), len(nets)

    apart = statistics.share(*counts(deep, "inputs"))
    pure = {
        side: statistics.share(sum(one.purity > 0.9 for one in nets), len(nets))
        for side, nets in (("deep", deep), ("shallow", shallow))
    }
    return finding(
        n25_conditions(
            counts(deep, "inputs"),
            counts(shallow, "inputs"),
            counts(found, "outputs"),
        ),
        "digits apart "
        + ", ".join(f"{sum(one.verdicts['inputs'] for one in nets)}/{len(nets)}" for nets in by_depth.values())
        + "; three output modules "
        + ", ".join(f"{sum(one.verdicts['outputs'] for one in nets)}/{len(nets)}" for nets in by_depth.values())
        + f" ({', '.join(map(str, depths))} hidden layers)",
        f"digits apart in deep networks {apart.text('.2f')}",
        "One run of one pair of steps for each network; the published ones are the sparsest of 70. Digits count as "
        "apart only without a single stray pixel. If nine pixels of ten sufficed, they would be apart in "
        f"{round(pure['deep'].mean * pure['deep'].n)} of {pure['deep'].n} deep networks and in "
        f"{round(pure['shallow'].mean * pure['shallow'].n)} of {pure['shallow'].n} shallow ones. The share of pixels "
        "that are with their own digit: "
        + ", ".join(f"{layers} hidden {np.mean([one.purity for one in nets]):.2f}" for layers, nets in by_depth.items())
        + ". One-sidedness of the first hidden layer (0 mixed, 1 pure), and its mean for shuffled masks: "
        + ", ".join(
            f"{layers} hidden {np.mean([one.one_sidedness for one in nets]):.3f} "
            f"({np.mean([one.null.mean() for one in nets]):.3f})"
            for layers, nets in by_depth.items()
        )
        + ".",
        part=2,
    )


def n25_conditions(deep: tuple[int, int], shallow: tuple[int, int], outputs: tuple[int, int]) -> dict[str, State]:
    """By networks with the digits apart, of how many, and those with three output modules."""
    return {
        "digits apart if deep": above(statistics.share(*deep), 0.5),
        "one module if shallow": shallow[0] == 0,
        "three output modules": above(statistics.share(*outputs), 0.5),
    }


@CLAIMS.add(
    "N26",
    "Pairs of MNIST digits, width 392: pruned to a few tenths of a percent, with layers as pictured.",
    published=(
        "0.37 % [829, 83, 12, 3]; 0.32 % [856, 56, 12, 27, 3]; 0.18 % [734, 38, 22, 12, 6, 3]; 0.18 % [766, 40, 22, "
        "13, 13, 13, 3] (slides)"
    ),
    rule=(
        "Every network within a factor of 3 in density and in units of the first hidden layer, and of 2 in pixels. In "
        "part with half of them."
    ),
)
def _digit_sizes(of: Evidence) -> Finding:
    found = of.digits()
    if not found or of.digit_settings[0] is not cells.FULL or found[0].shape != (28, 56):
        return untestable("The published sizes are those of the full-size network.")
    near: dict[str, State] = {}
    words = []
    for one in found:
        density, sizes = published.DIGIT_PICTURES[one.layers]
        fits = (
            1 / 3 <= 100 * one.density / density <= 3
            and 1 / 2 <= one.sizes[0] / sizes[0] <= 2
            and 1 / 3 <= one.sizes[1] / sizes[1] <= 3
        )
        name = f"{one.layers} hidden, seed {one.seed}"
        near[name] = fits
        words.append(f"{name}: {100 * one.density:.2f} % {sizes_text(one.sizes)}")
    return finding(
        near,
        "; ".join(words[:4]),
        f"{sum(state is True for state in near.values())} of {len(near)} networks of that order",
        "; ".join(words[4:]) + "." if len(words) > 4 else "One network for each depth.",
        part=-(-len(near) // 2),
    )


@CLAIMS.add(
    "N27",
    "Roughly half of the pixels are left, and they lie where the digits are.",
    published="730–870 of 1568 (slides)",
    rule=(
        "Share of the pixels left: interval between 0.35 and 0.65; share of them in the middle of a digit: above 0.8."
    ),
)
def _digit_pixels(of: Evidence) -> Finding:
    found = of.digits()
    if not found:
        return untestable(NOT_ENOUGH)
    left = [one.sizes[0] / (one.shape[0] * one.shape[1]) for one in found]
    inside = [_inside(one) for one in found]
    half, area = mean_interval(left), mean_interval(inside)
    side = found[0].shape[0]
    return finding(
        {"about half are left": every(above(half, 0.35), below(half, 0.65)), "in the middle": above(area, 0.8)},
        f"{np.mean(left):.0%} of the pixels are left, {np.mean(inside):.0%} of them in the middle of a digit "
        f"({(_core(side) / side) ** 2:.0%} by chance)",
        f"left {half.text('.2f')}; in the middle {area.text('.3f')}",
        f"The middle of a digit is its central {_core(side)}×{_core(side)} pixels.",
    )


def _core(side: int) -> int:
    """Pixels of a side that a digit is scaled to: 20 of 28."""
    return 2 * round(10 * side / 28)


def _inside(one: Digits) -> float:
    height, width = one.shape
    margin = (height - _core(height)) // 2
    middle = np.zeros((height, height), dtype=bool)
    middle[margin : height - margin, margin : height - margin] = True
    alive = one.labels[0].reshape(height, width) >= 0
    return float(alive[np.hstack([middle] * (width // height))].sum() / max(alive.sum(), 1))
