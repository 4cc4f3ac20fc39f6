"""Claims N1–N27 of Patil, Michael & Dovrolis (2023): what they say, the rule for each, and the verdicts.

A claim about a Boolean task is about the sparsest network of the 70 runs of each seed and shape. Rates have Wilson's
95 % binomial intervals. A rate counts as that of the slides within what chance does to them: two of 36 networks where
all or nearly all succeed, three of 12 in the middle. A density counts as that of the slides if it lies among those of
our seeds, or within two edges of them. The rules were fixed before the record was looked at, while it was being made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from companion import claims
from companion.claims import Finding, by_count, untestable
from companion.records import Results
from modutils import statistics, tasks
from studies.neural_sculpting import cells, evidence, published
from studies.neural_sculpting.evidence import Digits, Found
from studies.neural_sculpting.published import Picture

CLAIMS = claims.Claims("patil2023sculpting")
DEFAULT_OUTPUTS = {task: outputs[0] for task, outputs in tasks.OUTPUTS.items()}
#: What the tasks are called in text.
NAMES = {
    "single": "single sub-function",
    "separable": "input-separable",
    "reused": "reused",
    "separable-reused": "input-separable and reused",
    "depth": "two, one, two sub-functions",
    **{f"overlap-{overlap}": f"overlap {overlap}" for overlap in range(5)},
}
EDGES = 2  # by which a density may differ
CELL = 12  # networks for one depth of one task
NOT_ENOUGH = "The record of this scale has too few networks for this rule."
SETTINGS_KNOWN = (
    "The authors' learning rates, batch sizes and epochs are known for {} outputs only; for others we use a rule."
)


class Evidence:
    """What the rules look at: the record of a scale, and the settings of its pairs of digits."""

    def __init__(self, results: Results, scale: str) -> None:
        self.results = results
        self.digit_settings = (cells.FULL, cells.REDUCED) if scale == "paper" else (cells.SMALL,)

    def networks(self, task: str, outputs: int | None = None, layers: int | None = None) -> list[Found]:
        """The networks of a task, of all widths and seeds."""
        return evidence.networks(self.results, task, outputs or DEFAULT_OUTPUTS[task], layers=layers)

    def pictured(self, picture: Picture) -> list[Found]:
        """Those of the shape that a slide shows, one per seed."""
        return evidence.pictured(self.results, picture)

    def digits(self) -> list[Digits]:
        """Networks on pairs of digits, at the size of the paper where there are any."""
        for setting in self.digit_settings:
            if found := evidence.digit_networks(self.results, setting):
                return found
        return []


def evidence_of(results: Results, scale: str) -> dict[str, Callable[[], Evidence]]:
    """What the rules look at; the data set is that of the pairs of digits."""
    names = dict.fromkeys(cell.params["dataset"] for cell in cells.plan(scale) if cell.stage == "digits")
    return {f"truth tables and {name}": partial(Evidence, results, scale) for name in names}


# --- words ------------------------------------------------------------------------------------------------------------


def count(found: Sequence[Found], verdict: str = "success") -> str:
    """Such as ``35/36``."""
    return f"{sum(one.verdicts[verdict] for one in found)}/{len(found)}"


# --- the rules --------------------------------------------------------------------------------------------------------


def _exemplar(task: str) -> Callable[[Evidence], Finding]:
    def decide(of: Evidence) -> Finding:
        found = of.networks(task)
        if not found:
            return untestable(NOT_ENOUGH)
        rate = evidence.rate(found)
        by_depth = ", ".join(
            f"{layers} hidden {count([one for one in found if one.layers == layers])}"
            for layers in sorted({one.layers for one in found})
        )
        return Finding(
            by_count(round(rate.mean * rate.n), 34 / 36 * rate.n, 27 / 36 * rate.n),
            f"{count(found)} networks show exactly the task's modules",
            rate.text(".2f"),
            f"By depth: {by_depth}.",
        )

    return decide


_EXEMPLAR_RULE = "At least 34 of 36 (or that share) show exactly the modules of the task. In part from 27 of 36."
CLAIMS.add("N1", "Input-separable sub-functions are found.", published="36/36 (slide)", rule=_EXEMPLAR_RULE)(
    _exemplar("separable")
)
CLAIMS.add(
    "N3", "Sub-functions that are input-separable and reused are found.", published="36/36 (slide)", rule=_EXEMPLAR_RULE
)(_exemplar("separable-reused"))
CLAIMS.add("N4", "A single function stays one module.", published="36/36 (slide)", rule=_EXEMPLAR_RULE)(
    _exemplar("single")
)


@CLAIMS.add(
    "N2",
    "A reused sub-function is found.",
    published="35/36 (slide); strictly 0/12, 12/12, 11/12 with one, two, three hidden layers (bar chart)",
    rule=(
        "At least 33 of 36 as the slide counts, and at least 10 of 12 strictly with two and with three hidden layers. "
        "In part from 27 of 36 as the slide counts."
    ),
)
def _reused(of: Evidence) -> Finding:
    found = of.networks("reused")
    if not found:
        return untestable(NOT_ENOUGH)
    depths = sorted({one.layers for one in found})
    shallow = [one for one in found if one.layers == 1]
    deep = [one for one in found if one.layers > 1]
    right = sum(one.verdicts["inputs"] for one in shallow) + sum(one.verdicts["success"] for one in deep)
    each = [[one.verdicts["success"] for one in found if one.layers == layers] for layers in depths]
    all_deep = all(sum(each[place]) >= 10 / 12 * len(each[place]) for place, layers in enumerate(depths) if layers > 1)
    slide = by_count(right, 33 / 36 * len(found), 27 / 36 * len(found))
    strict = sum(map(sum, each))
    return Finding(
        "holds" if slide == "holds" and all_deep else "does not hold" if slide == "does not hold" else "holds in part",
        f"{right}/{len(found)} as the slide counts, {strict}/{len(found)} strictly",
        f"strictly {statistics.share(strict, len(found)).text('.2f')}",
        "Strictly, by depth: "
        + ", ".join(f"{layers} hidden {sum(one)}/{len(one)}" for layers, one in zip(depths, each, strict=True))
        + ". One hidden layer cannot separate the reused function from those that use it. The slide's number fits only "
        "if such networks count as right, and so our first number counts them if their inputs form one module.",
    )


def _density(picture: Picture) -> Callable[[Evidence], Finding]:
    def decide(of: Evidence) -> Finding:
        found = of.pictured(picture)
        if not found:
            return untestable(NOT_ENOUGH)
        near, same = _as_pictured(found, picture)
        shown = sum(one.verdicts["success"] for one in found)
        extra = f" All modules that this depth can show: {shown} of {len(found)} seeds."
        modules = True
        if picture.task == "depth":
            modules = shown >= len(found) / 2
            if picture.layers == 2:
                apart = sum(one.verdicts["outputs"] for one in found)
                modules = modules and apart <= len(found) / 2
                extra += f" Output functions apart: {apart} of {len(found)} (the slide: not)."
        parts = [near, same, *([modules] if picture.task == "depth" else [])]
        return Finding(
            "holds" if all(parts) else "holds in part" if sum(parts) >= len(parts) - 1 else "does not hold",
            f"{', '.join(f'{100 * one.density:.2f} %' for one in found)}; "
            f"{' '.join(_sizes(sizes) for sizes in sorted({one.sizes for one in found}))}",
            f"{len(found)} seeds",
            f"Edges left: {', '.join(str(one.edges) for one in found)}, on the slide "
            f"{round(picture.density / 100 * _total(found[0]))}.{extra}",
        )

    return decide


def _total(one: Found) -> int:
    return sum(mask.size for mask in one.masks)


def _sizes(sizes: Sequence[int]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _as_pictured(found: Sequence[Found], picture: Picture) -> tuple[bool, bool]:
    """Whether the published density is among ours, give or take, and whether one seed has the published sizes."""
    edges = [one.edges for one in found if not one.failed]
    wanted = picture.density / 100 * _total(found[0])
    near = bool(edges) and min(edges) - EDGES - 0.5 <= wanted <= max(edges) + EDGES + 0.5
    return near, any(one.sizes == picture.sizes for one in found)


@CLAIMS.add(
    "N14",
    "Sub-functions with higher separability are uncovered more accurately.",
    published=(
        "at least 0.92 for overlap up to 2; from 3 on hidden units apart at most 0.17, outputs 0.58–0.72, then "
        "0.25–0.61 (slide; heat map)"
    ),
    rule=(
        "Means for overlap up to 2 at least 0.95; hidden units apart at most 0.2 from 3 on; outputs apart less often "
        "with overlap; and, from 3 on, more often with reuse. In part with two of the four."
    ),
)
def _separability(of: Evidence) -> Finding:
    rates = {name: np.full((5, len(published.REUSE)), np.nan) for name in ("inputs", "hidden", "outputs")}
    n = 0
    for overlap in range(5):
        for place, reuse in enumerate(published.REUSE):
            found = of.networks(f"overlap-{overlap}", 2 * reuse)
            n += len(found)
            for name, table in rates.items():
                table[overlap, place] = evidence.rate(found, name).mean
    if any(np.isnan(table).all(axis=1).any() for table in rates.values()):
        return untestable(NOT_ENOUGH)
    low = {name: float(np.nanmean(table[:3])) for name, table in rates.items()}
    hidden = float(np.nanmax(rates["hidden"][3:]))
    output = [float(np.nanmean(rates["outputs"][row])) for row in (slice(0, 3), 3, 4)]
    trends = [statistics.trend(rates["outputs"][overlap]) for overlap in (3, 4)]
    if np.isnan(trends).any():
        return untestable("Whether rates rise with reuse needs several numbers of outputs.")
    parts = {
        "at least 95 % for overlap up to 2": min(low.values()) >= 0.95,
        "hidden units apart at most 20 % from overlap 3": hidden <= 0.2,
        "outputs apart less often with overlap": output[0] > output[1] > output[2],
        "outputs apart more often with reuse": min(trends) > 0,
    }
    return Finding(
        by_count(sum(parts.values()), 4, 2),
        f"overlap up to 2: inputs {low['inputs']:.2f}, hidden {low['hidden']:.2f}, outputs {low['outputs']:.2f}; "
        f"outputs at overlap 3: {output[1]:.2f}, at 4: {output[2]:.2f}",
        f"{n} of 900 networks",
        "; ".join(f"{words}: {'yes' if holds else 'no'}" for words, holds in parts.items())
        + f". Largest rate of hidden units apart from overlap 3: {hidden:.2f}; rank correlation of outputs apart with "
        f"reuse: {trends[0]:+.2f} and {trends[1]:+.2f} over five values. {SETTINGS_KNOWN.format(8)}",
    )


@CLAIMS.add(
    "N20",
    "Sub-functions with higher reuse are detected more accurately.",
    published=(
        "of 12, r = 1, 2, 4, 6, 8: two hidden layers 7, 11, 12, 12, 12; three 8, 9, 10, 10, 11; one 0 (bar chart)"
    ),
    rule=(
        "Rank correlation of the rate with reuse above 0 for two and for three hidden layers, and no count further "
        "than 3 of 12 from the published one. In part where one rises."
    ),
)
def _reuse(of: Evidence) -> Finding:
    table = {}
    for layers in (1, 2, 3):
        table[layers] = [evidence.rate(of.networks("reused", 2 * reuse, layers)) for reuse in published.REUSE]
    if any(rate.n < CELL for row in table.values() for rate in row):
        return untestable(NOT_ENOUGH)
    trends = {layers: statistics.trend([rate.mean for rate in table[layers]]) for layers in (2, 3)}
    far = [
        (layers, reuse)
        for layers, row in table.items()
        for rate, reuse, there in zip(row, published.REUSE, published.REUSE_COUNTS[layers], strict=True)
        if abs(rate.mean - there / 12) > 3.01 / 12
    ]
    rising = [layers for layers, trend in trends.items() if trend > 0]
    text = {layers: ", ".join(f"{round(rate.mean * rate.n)}" for rate in row) for layers, row in table.items()}
    return Finding(
        "holds" if len(rising) == 2 and not far else "holds in part" if rising else "does not hold",
        f"of {CELL} networks each, r = 1, 2, 4, 6, 8: two hidden layers {text[2]}; three {text[3]}; one {text[1]}",
        f"two hidden layers, r = 8: {table[2][-1].text('.2f')}",
        f"Rank correlation with reuse: {trends[2]:+.2f} and {trends[3]:+.2f}. "
        + (
            f"Further than 3 of 12 from the published count: {_cells(far)}."
            if far
            else "No count is further than 3 of 12 off."
        ),
    )


def _cells(far: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{layers} hidden, r = {reuse}" for layers, reuse in far)


@CLAIMS.add(
    "N24",
    "What is found of the hierarchy depends on depth: all that a network of this depth can show, more surely with "
    "reuse.",
    published="r = 2, 4, 6, 8: two hidden layers 1, 1, 1, 0.83; three 0.50, 0.83, 1, 1; four 0.75, 0.92, 1, 1 (chart)",
    rule=(
        "No rate further than 3 of 12 from the published one, and rates rise with reuse for three and for four hidden "
        "layers. In part with one of the two."
    ),
)
def _depth(of: Evidence) -> Finding:
    table = {
        layers: [evidence.rate(of.networks("depth", 2 * reuse, layers)) for reuse in published.REUSE[1:]]
        for layers in (2, 3, 4)
    }
    if any(rate.n < CELL for row in table.values() for rate in row):
        return untestable(NOT_ENOUGH)
    far = [
        (layers, published.REUSE[place + 1])
        for layers, row in table.items()
        for place in range(len(row))
        if abs(table[layers][place].mean - published.DEPTH_RATES[layers][place + 1]) > 3.01 / 12
    ]
    trends = {layers: statistics.trend([rate.mean for rate in table[layers]]) for layers in (3, 4)}
    parts = [not far, min(trends.values()) > 0]
    text = {layers: ", ".join(f"{rate.mean:.2f}" for rate in row) for layers, row in table.items()}
    return Finding(
        by_count(sum(parts), 2, 1),
        f"r = 2, 4, 6, 8: two hidden layers {text[2]}; three {text[3]}; four {text[4]}",
        f"{CELL} networks each; three hidden layers, r = 8: {table[3][-1].text('.2f')}",
        (
            f"Further than 3 of 12 from the published rate: {_cells(far)}. "
            if far
            else "No rate is further than 3 of 12 off. "
        )
        + f"Rank correlation with reuse: {trends[3]:+.2f} and {trends[4]:+.2f} over four values. "
        + SETTINGS_KNOWN.format(4),
    )


@CLAIMS.add(
    "N25",
    "Pairs of MNIST digits: from four hidden layers on the two digits are modules, with fewer they are one; the "
    "three outputs are modules throughout.",
    published=(
        "digits apart 0, 0, 1, 1 and outputs 1, 1, 0.83, 0.92 of 12 networks with 2, 3, 4, 5 hidden layers (chart)"
    ),
    rule=(
        "Digits apart in at least half of the networks with 4 and 5 hidden layers and in none with 2 and 3, and three "
        "output modules in at least half at every depth. In part with the latter, or where first-layer units of the "
        "deep networks are more one-sided than those of the shallow ones and, in at least half, than their shuffled "
        "masks allow (p ≤ 0.05)."
    ),
)
def _digit_modules(of: Evidence) -> Finding:
    found = of.digits()
    depths = sorted({one.layers for one in found})
    shallow, deep = ([one for one in found if (one.layers >= 4) == side] for side in (False, True))
    if not shallow or not deep:
        return untestable(NOT_ENOUGH)

    def share(nets: Sequence[Digits], verdict: str) -> float:
        return float(np.mean([one.verdicts[verdict] for one in nets]))

    by_depth = {layers: [one for one in found if one.layers == layers] for layers in depths}
    outputs = all(share(nets, "outputs") >= 0.5 for nets in by_depth.values())
    inputs = share(deep, "inputs") >= 0.5 and share(shallow, "inputs") == 0
    graded = np.mean([one.one_sidedness for one in deep]) > np.mean([one.one_sidedness for one in shallow])
    beyond = float(np.mean([one.p_value <= 0.05 for one in deep])) >= 0.5
    apart = statistics.share(sum(one.verdicts["inputs"] for one in deep), len(deep))
    return Finding(
        "holds" if inputs and outputs else "holds in part" if outputs or (graded and beyond) else "does not hold",
        "digits apart "
        + ", ".join(f"{sum(one.verdicts['inputs'] for one in nets)}/{len(nets)}" for nets in by_depth.values())
        + "; three output modules "
        + ", ".join(f"{sum(one.verdicts['outputs'] for one in nets)}/{len(nets)}" for nets in by_depth.values())
        + f" ({', '.join(map(str, depths))} hidden layers)",
        f"digits apart in deep networks {apart.text('.2f')}",
        "One run of one pair of steps for each network; the published ones are the sparsest of 70. Digits count as "
        "apart only without a single stray pixel; the share of pixels that are with their own digit: "
        + ", ".join(f"{layers} hidden {np.mean([one.purity for one in nets]):.2f}" for layers, nets in by_depth.items())
        + ". One-sidedness of the first hidden layer (0 mixed, 1 pure), and its mean for shuffled masks: "
        + ", ".join(
            f"{layers} hidden {np.mean([one.one_sidedness for one in nets]):.3f} "
            f"({np.mean([one.null.mean() for one in nets]):.3f})"
            for layers, nets in by_depth.items()
        )
        + ".",
    )


@CLAIMS.add(
    "N26",
    "Pairs of MNIST digits, width 392: pruned to a few tenths of a percent, with layers as pictured.",
    published=(
        "0.37 % [829, 83, 12, 3]; 0.32 % [856, 56, 12, 27, 3]; 0.18 % [734, 38, 22, 12, 6, 3]; 0.18 % "
        "[766, 40, 22, 13, 13, 13, 3] (slides)"
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
    near, words = [], []
    for one in found:
        density, sizes = published.DIGIT_PICTURES[one.layers]
        fits = (
            1 / 3 <= 100 * one.density / density <= 3
            and 1 / 2 <= one.sizes[0] / sizes[0] <= 2
            and 1 / 3 <= one.sizes[1] / sizes[1] <= 3
        )
        near.append(fits)
        words.append(f"{one.layers} hidden, seed {one.seed}: {100 * one.density:.2f} % {_sizes(one.sizes)}")
    return Finding(
        "holds" if all(near) else "holds in part" if np.mean(near) >= 0.5 else "does not hold",
        "; ".join(words[:4]),
        f"{sum(near)} of {len(near)} networks of that order",
        "; ".join(words[4:]) + "." if len(words) > 4 else "One network for each depth.",
    )


@CLAIMS.add(
    "N27",
    "Roughly half of the pixels are left, and they lie where the digits are.",
    published="730–870 of 1568 (slides)",
    rule=(
        "On average 35 to 65 % of the pixels are left, and at least 80 % of them lie in the middle of a digit. In part "
        "with one of the two."
    ),
)
def _digit_pixels(of: Evidence) -> Finding:
    found = of.digits()
    if not found:
        return untestable(NOT_ENOUGH)
    left = [one.sizes[0] / (one.shape[0] * one.shape[1]) for one in found]
    inside = [_inside(one) for one in found]
    half = 0.35 <= np.mean(left) <= 0.65
    area = bool(np.mean(inside) >= 0.8)
    side = found[0].shape[0]
    return Finding(
        by_count(int(half) + int(area), 2, 1),
        f"{np.mean(left):.0%} of the pixels are left, {np.mean(inside):.0%} of them in the middle of a digit "
        f"({(_core(side) / side) ** 2:.0%} by chance)",
        f"{min(left):.0%} to {max(left):.0%}, n = {len(found)}",
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


# --- the table --------------------------------------------------------------------------------------------------------


_PICTURE_RULE = (
    f"The published density lies among our four seeds or within {EDGES} edges of them, and one seed has the published "
    "sizes. In part with one of the two."
)
_DEPTH_RULE = (
    f"The published density lies among our four seeds or within {EDGES} edges of them; one seed has the published "
    "sizes; at least half of the seeds show the modules of the slide. In part with two of the three."
)
_DEPTH_WORDS = {2: ", with two input modules and one above", 3: ", with all five modules", 4: ", with all five modules"}


def _add_pictures() -> None:
    """The claims about single networks that a slide shows."""
    for picture in published.PICTURES:
        inputs = tasks.load(picture.task, outputs=picture.outputs).inputs.shape[1]
        dense = _sizes([inputs, *[picture.width] * picture.layers, picture.outputs])
        is_depth = picture.task == "depth"
        CLAIMS.add(
            f"N{picture.claim}",
            f"{NAMES[picture.task].capitalize()}, {dense}: pruned to {picture.density:.2f} % and "
            f"{_sizes(picture.sizes)}{_DEPTH_WORDS[picture.layers] if is_depth else ''}.",
            published=(
                f"{picture.density:.2f} %, {_sizes(picture.sizes)}; seed {picture.seed}, "
                f"P_u = {picture.unit_step:g} %, P_e = {picture.edge_step:g} % (slide)"
            ),
            rule=_DEPTH_RULE if is_depth else _PICTURE_RULE,
        )(_density(picture))


_add_pictures()
