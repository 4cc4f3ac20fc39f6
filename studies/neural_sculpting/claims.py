"""Claims N1–N27 of Patil, Michael & Dovrolis (2023): what they say, the rule for each, and the verdicts.

A claim about a Boolean task is about the sparsest network of the 70 runs of each seed and shape. Where several have as
few edges, three rates are shown: the *first* in the order of the grid, the *expected* one, and the *most favourable*,
which the authors' release supports; a rate holds as published if the expected one reaches it, and in part if only the
most favourable does. Rates have Wilson's
95 % binomial intervals, and their differences from published ones Newcombe's, since both are of few networks. A density
counts as that of the slides if the median of our seeds is within two edges of it. The rules were committed while the
record was being made; which of them were changed after it, and why, is in ``book/rule_changes.csv``. N19 repeats N6 and
is counted once. A function ``…_conditions`` takes numbers, and is what trials run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from companion import claims
from companion.claims import Finding, State, above, below, every, finding, untestable
from modutils import statistics, tasks
from modutils.statistics import Interval
from studies.neural_sculpting import digit_claims, evidence, published
from studies.neural_sculpting.evidence import NOT_ENOUGH, TIES, Evidence, Found, sizes_text
from studies.neural_sculpting.published import Picture

OWN = claims.Claims("patil2023sculpting")
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
LESS = 0.15  # by which a rate may lie below the published one: five of 36
CELL = 12  # networks for one depth of one task
JUDGED = ("expected", "most favourable")


# --- words ------------------------------------------------------------------------------------------------------------


def count(found: Sequence[Found], verdict: str = "success", ties: str = "first") -> str:
    """Such as ``35/36``, or ``34.5/36`` of expected numbers."""
    return f"{round(evidence.rate(found, verdict, ties).mean * len(found), 1):g}/{len(found)}" if found else "0/0"


def three(found: Sequence[Found], verdict: str = "success") -> str:
    """The rates by the three rules for ties, such as ``30, 31.5, 33 of 36``; one number where they are alike."""
    counts = [f"{round(evidence.rate(found, verdict, ties).mean * len(found), 1):g}" for ties in TIES]
    return f"{counts[0] if len(set(counts)) == 1 else ', '.join(counts)} of {len(found)}"


def _which(found: Sequence[Found]) -> str:
    """Which counts those of `three` are."""
    return f" ({', '.join(TIES)})" if "," in three(found) else ", whichever of tied runs counts"


# --- numbers ----------------------------------------------------------------------------------------------------------


def difference(ours: Interval, theirs: Interval) -> Interval:
    """Difference of two shares with Newcombe's 95 % interval from their Wilson intervals (1998, method 10)."""
    gap = ours.mean - theirs.mean
    low = gap - np.hypot(ours.mean - ours.low, theirs.high - theirs.mean)
    high = gap + np.hypot(ours.high - ours.mean, theirs.mean - theirs.low)
    return Interval(float(gap), float(low), float(high), ours.n)


def _gaps(gaps: Mapping[str, Interval]) -> str:
    return "; ".join(f"{name} {gap.mean:+.2f} {gap.text('.2f')}" for name, gap in gaps.items())


# --- the rules --------------------------------------------------------------------------------------------------------


def _exemplar(task: str) -> Callable[[Evidence], Finding]:
    def decide(of: Evidence) -> Finding:
        found = of.networks(task)
        if not found:
            return untestable(NOT_ENOUGH)
        theirs = statistics.share(PUBLISHED_EXEMPLARS, PUBLISHED_EXEMPLARS)
        gaps = {ties: difference(evidence.rate(found, ties=ties), theirs) for ties in JUDGED}
        by_depth = ", ".join(
            f"{layers} hidden {count([one for one in found if one.layers == layers])}"
            for layers in sorted({one.layers for one in found})
        )
        return finding(
            {f"{ties} rate as published": above(gap, -LESS) for ties, gap in gaps.items()},
            f"{three(found)} networks show exactly the task's modules{_which(found)}",
            f"expected {evidence.rate(found, ties='expected').text('.2f')}",
            f"The first, by depth: {by_depth}. Minus published: {_gaps(gaps)}.",
        )

    return decide


PUBLISHED_EXEMPLARS = 36  # networks, all of them right
_EXEMPLAR_RULE = (
    "Share of networks that show exactly the modules of the task, expected and most favourable over ties: interval of "
    f"the difference from the published share above −{LESS}, for each."
)
OWN.add("N1", "Input-separable sub-functions are found.", published="36/36 (slide)", rule=_EXEMPLAR_RULE)(
    _exemplar("separable")
)
OWN.add(
    "N3", "Sub-functions that are input-separable and reused are found.", published="36/36 (slide)", rule=_EXEMPLAR_RULE
)(_exemplar("separable-reused"))
OWN.add("N4", "A single function stays one module.", published="36/36 (slide)", rule=_EXEMPLAR_RULE)(
    _exemplar("single")
)


@OWN.add(
    "N2",
    "A reused sub-function is found.",
    published="35/36 (slide); strictly 0/12, 12/12, 11/12 with one, two, three hidden layers (bar chart)",
    rule=(
        f"Share of networks: interval of the difference from the published share above −{LESS}, as the slide counts, "
        "and strictly with two and with three hidden layers; for the expected rate, and for the most favourable."
    ),
)
def _reused(of: Evidence) -> Finding:
    found = of.networks("reused")
    if not found:
        return untestable(NOT_ENOUGH)
    depths = sorted({one.layers for one in found})
    gaps = {}
    for ties in JUDGED:
        as_slide = [evidence.weight([tie[evidence.as_slide(one)] for tie in one.ties], ties) for one in found]
        gaps[ties, "as the slide counts"] = difference(evidence.share(as_slide), statistics.share(35, 36))
        for layers in depths:
            if layers > 1:
                own = evidence.rate([one for one in found if one.layers == layers], ties=ties)
                theirs = statistics.share(int(published.REUSE_COUNTS[layers][published.REUSE.index(8)]), CELL)
                gaps[ties, f"strictly with {layers} hidden layers"] = difference(own, theirs)
    each = {layers: [one for one in found if one.layers == layers] for layers in depths}
    return finding(
        {
            f"{ties} rates as published": every(*(above(gap, -LESS) for (rule, _), gap in gaps.items() if rule == ties))
            for ties in JUDGED
        },
        f"strictly {three(found)}{_which(found)}",
        f"strictly, expected {evidence.rate(found, ties='expected').text('.2f')}",
        "Strictly, by depth: "
        + "; ".join(f"{layers} hidden {three(own)}" for layers, own in each.items())
        + ". Minus published: "
        + "; ".join(f"{name}, {ties}, {gap.mean:+.2f} {gap.text('.2f')}" for (ties, name), gap in gaps.items())
        + ". One hidden layer cannot separate the reused function from those that use it. The slide's number fits only "
        'if such networks count as right, and so "as the slide counts" takes them if their inputs form one module.',
    )


def _density(picture: Picture) -> Callable[[Evidence], Finding]:
    def decide(of: Evidence) -> Finding:
        found = of.pictured(picture)
        if not found:
            return untestable(NOT_ENOUGH)
        conditions = _as_pictured(found, picture)
        shown = sum(one.verdicts["success"] for one in found)
        extra = f" All modules that this depth can show: {shown} of {len(found)} seeds."
        if picture.task == "depth":
            conditions["modules of the slide"] = shown >= len(found) / 2
            if picture.layers == 2:
                apart = sum(one.verdicts["outputs"] for one in found)
                conditions["modules of the slide"] = shown >= len(found) / 2 and apart <= len(found) / 2
                extra += f" Output functions apart: {apart} of {len(found)} (the slide: not)."
        return finding(
            conditions,
            f"{', '.join(f'{100 * one.density:.2f} %' for one in found)}; "
            f"{' '.join(sizes_text(sizes) for sizes in sorted({one.sizes for one in found}))}",
            f"{len(found)} seeds",
            f"Edges left: {', '.join(str(one.edges) for one in found)}, on the slide "
            f"{round(picture.density / 100 * _total(found[0]))}.{extra}",
            part=len(conditions) - 1,
        )

    return decide


def _total(one: Found) -> int:
    return sum(mask.size for mask in one.masks)


def _as_pictured(found: Sequence[Found], picture: Picture) -> dict[str, State]:
    """Whether our median has the published number of edges, give or take, and whether one seed has the published "
    "sizes."""
    edges = [one.edges for one in found if not one.failed]
    wanted = picture.density / 100 * _total(found[0])
    near = bool(edges) and abs(float(np.median(edges)) - wanted) <= EDGES + 0.5  # the caption is rounded
    return {"edges": near, "sizes": any(one.sizes == picture.sizes for one in found)}


@OWN.add(
    "N14",
    "Sub-functions with higher separability are uncovered more accurately.",
    published=(
        "at least 0.92 for overlap up to 2; from 3 on hidden units apart at most 0.17, outputs 0.58–0.72, then "
        "0.25–0.61 (slide; heat map)"
    ),
    rule=(
        "Rates for overlap up to 2: interval above 0.9; hidden units apart: below 0.2 from 3 on; outputs apart less "
        "often with overlap; from 3 on, more often with reuse; and at most one in ten of the 75 rates differs from "
        "the published one (interval of the difference without 0). In part with three of the five."
    ),
)
def _separability(of: Evidence) -> Finding:
    counts = {name: np.zeros((5, len(published.REUSE)), dtype=int) for name in QUESTIONS}
    n = np.zeros((5, len(published.REUSE)), dtype=int)
    for overlap in range(5):
        for place, reuse in enumerate(published.REUSE):
            found = of.networks(f"overlap-{overlap}", 2 * reuse)
            n[overlap, place] = len(found)
            for name, table in counts.items():
                table[overlap, place] = sum(any(tie[name] for tie in one.ties) for one in found)
    if (n == 0).all(axis=1).any():
        return untestable(NOT_ENOUGH)
    if (n > 0).sum(axis=1).min() < 3:
        return untestable("Whether rates rise with reuse needs several numbers of outputs.")
    conditions = n14_conditions(counts, n)
    low = {name: table[:3].sum() / n[:3].sum() for name, table in counts.items()}
    output = [counts["outputs"][row].sum() / n[row].sum() for row in (slice(0, 3), 3, 4)]
    hidden = max(counts["hidden"][row].sum() / n[row].sum() for row in (3, 4))
    different = _different(counts, n)
    return finding(
        conditions,
        f"overlap up to 2: inputs {low['inputs']:.2f}, hidden {low['hidden']:.2f}, outputs {low['outputs']:.2f}; "
        f"outputs at overlap 3: {output[1]:.2f}, at 4: {output[2]:.2f}",
        f"{n.sum()} of 900 networks",
        f"{different} of {len(QUESTIONS) * n.size} rates differ from the published ones. Hidden units apart from "
        f"overlap 3 on: {hidden:.2f}. Ties count as is most favourable, as in the authors' release.",
        part=3,
    )


#: Verdicts on a network with overlapping functions.
QUESTIONS = ("inputs", "hidden", "outputs")


def _different(counts: Mapping[str, np.ndarray], n: np.ndarray) -> int:
    """How many rates differ from the published ones, (5, 5) each."""
    found = 0
    for name, table in counts.items():
        theirs = published.overlap_rates(name)
        for place in np.argwhere(n > 0):
            own, total, other = int(table[tuple(place)]), int(n[tuple(place)]), theirs[tuple(place)]
            gap = difference(statistics.share(own, total), statistics.share(round(36 * other), 36))
            found += gap.low > 0 or gap.high < 0
    return found


def n14_conditions(counts: Mapping[str, np.ndarray], n: np.ndarray) -> dict[str, State]:
    """By counts of each question, by overlap and reuse, and by how many networks there are, (5, 5) each."""

    def rate(name: str, rows: slice) -> Interval:
        return statistics.share(int(counts[name][rows].sum()), int(n[rows].sum()))

    low, third, fourth = slice(0, 3), slice(3, 4), slice(4, 5)
    with np.errstate(invalid="ignore"):
        trends = [statistics.trend(counts["outputs"][overlap] / n[overlap]) for overlap in (3, 4)]
    outputs = [rate("outputs", rows) for rows in (low, third, fourth)]
    falls = [above(difference(first, second), 0) for first, second in pairwise(outputs)]
    return {
        "up to overlap 2 found": every(*(above(rate(name, low), 0.9) for name in QUESTIONS)),
        "hidden units shared from 3 on": every(*(below(rate("hidden", rows), 0.2) for rows in (third, fourth))),
        "outputs apart less with overlap": every(*falls),
        "outputs apart more with reuse": min(trends) > 0,
        "rates as published": _different(counts, n) <= 0.1 * len(QUESTIONS) * (n > 0).sum(),
    }


@OWN.add(
    "N20",
    "Sub-functions with higher reuse are detected more accurately.",
    published=(
        "of 12, r = 1, 2, 4, 6, 8: two hidden layers 7, 11, 12, 12, 12; three 8, 9, 10, 10, 11; one 0 (bar chart)"
    ),
    rule=(
        "Rank correlation of the expected rate with reuse above 0 for two and for three hidden layers; and no count "
        "more than 3 of 12 below the published one: of the expected counts, and of the most favourable."
    ),
)
def _reuse(of: Evidence) -> Finding:
    found = {layers: [of.networks("reused", 2 * reuse, layers) for reuse in published.REUSE] for layers in (1, 2, 3)}
    if any(len(own) < CELL for row in found.values() for own in row):
        return untestable(NOT_ENOUGH)
    there = {layers: [count / 12 for count in counts] for layers, counts in published.REUSE_COUNTS.items()}
    table, below_published = _by_rule(found, there, "success", published.REUSE)
    trends = {layers: statistics.trend([rate.mean for rate in table["expected"][layers]]) for layers in (2, 3)}
    return finding(
        {
            "rises with two hidden layers": trends[2] > 0,
            "rises with three": trends[3] > 0,
            **{f"{ties} counts as published": not below_published[ties] for ties in JUDGED},
        },
        f"of {CELL} networks each, r = 1, 2, 4, 6, 8: {_counts(table, (2, 3, 1))}",
        f"two hidden layers, r = 8, expected: {table['expected'][2][-1].text('.2f')}",
        f"Rank correlation with reuse: {trends[2]:+.2f} and {trends[3]:+.2f}. {_missed(below_published)}",
    )


def _by_rule(
    found: Mapping[int, Sequence[Sequence[Found]]],
    there: Mapping[int, Sequence[float]],
    verdict: str,
    reuses: Sequence[int],
) -> tuple[dict[str, dict[int, list[Interval]]], dict[str, list[tuple[int, int]]]]:
    """Rates by rule for ties, depth and reuse; and by rule where, in depth and reuse, a rate is too far below."""
    table = {
        ties: {layers: [evidence.rate(own, verdict, ties) for own in row] for layers, row in found.items()}
        for ties in TIES
    }
    missed = {
        ties: [
            (layers, reuse)
            for layers, row in table[ties].items()
            for rate, reuse, published_rate in zip(row, reuses, there[layers], strict=True)
            if rate.mean < published_rate - 3.01 / CELL
        ]
        for ties in JUDGED
    }
    return table, missed


def _counts(table: Mapping[str, Mapping[int, Sequence[Interval]]], depths: Sequence[int]) -> str:
    """Counts by depth and rule, in words."""
    words = {1: "one hidden layer", 2: "two hidden layers", 3: "three", 4: "four"}
    return (
        "; ".join(
            f"{words[layers]} "
            + " / ".join(
                ", ".join(f"{round(rate.mean * rate.n, 1):g}" for rate in table[ties][layers]) for ties in TIES
            )
            for layers in depths
        )
        + f" ({' / '.join(TIES)})"
    )


def _missed(missed: Mapping[str, Sequence[tuple[int, int]]]) -> str:
    return " ".join(
        f"{ties.capitalize()}: more than 3 of 12 below the published count at {_cells(far)}."
        if far
        else f"{ties.capitalize()}: no count is more than 3 of 12 below the published one."
        for ties, far in missed.items()
    )


def _cells(far: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{layers} hidden, r = {reuse}" for layers, reuse in far)


@OWN.add(
    "N24",
    "What is found of the hierarchy depends on depth: all that a network of this depth can show, more surely with "
    "reuse.",
    published="r = 2, 4, 6, 8: two hidden layers 1, 1, 1, 0.83; three 0.50, 0.83, 1, 1; four 0.75, 0.92, 1, 1 (chart)",
    rule=(
        "Expected rates rise with reuse for three and for four hidden layers; and no rate is more than 3 of 12 below "
        "the published one: of the expected rates, and of the most favourable. A network with two hidden layers that "
        "tells both output functions apart as well counts as right."
    ),
)
def _depth(of: Evidence) -> Finding:
    reuses = published.REUSE[1:]
    found = {layers: [of.networks("depth", 2 * reuse, layers) for reuse in reuses] for layers in (2, 3, 4)}
    if any(len(own) < CELL for row in found.values() for own in row):
        return untestable(NOT_ENOUGH)
    there = {layers: rates[1:] for layers, rates in published.DEPTH_RATES.items()}
    table, below_published = _by_rule(found, there, "resolved", reuses)
    trends = {layers: statistics.trend([rate.mean for rate in table["expected"][layers]]) for layers in (3, 4)}
    strict = [evidence.rate(own).mean for own in found[2]]
    return finding(
        {
            "rise with reuse": min(trends.values()) > 0,
            **{f"{ties} rates as published": not below_published[ties] for ties in JUDGED},
        },
        f"of {CELL} networks each, r = 2, 4, 6, 8: {_counts(table, (2, 3, 4))}",
        f"three hidden layers, r = 8, expected: {table['expected'][3][-1].text('.2f')}",
        f"{_missed(below_published)} Rank correlation with reuse: {trends[3]:+.2f} and {trends[4]:+.2f} over four "
        f"values. With two hidden layers exactly three modules: {', '.join(f'{rate:.2f}' for rate in strict)}.",
    )


# --- the table --------------------------------------------------------------------------------------------------------


_PICTURE_RULE = (
    f"The median of our four seeds is within {EDGES} edges of the published density, and one seed has the published "
    "sizes."
)
_DEPTH_RULE = (
    f"The median of our four seeds is within {EDGES} edges of the published density; one seed has the published sizes; "
    "at least half of the seeds show the modules of the slide. In part with two of the three."
)
_DEPTH_WORDS = {2: ", with two input modules and one above", 3: ", with all five modules", 4: ", with all five modules"}


def _add_pictures() -> None:
    """The claims about single networks that a slide shows; N19 is N6 once more."""
    for picture in published.PICTURES:
        if picture.claim == 19:
            continue
        inputs = tasks.load(picture.task, outputs=picture.outputs).inputs.shape[1]
        dense = sizes_text([inputs, *[picture.width] * picture.layers, picture.outputs])
        is_depth = picture.task == "depth"
        OWN.add(
            f"N{picture.claim}",
            f"{NAMES[picture.task].capitalize()}, {dense}: pruned to {picture.density:.2f} % and "
            f"{sizes_text(picture.sizes)}{_DEPTH_WORDS[picture.layers] if is_depth else ''}.",
            published=(
                f"{picture.density:.2f} %, {sizes_text(picture.sizes)}; seed {picture.seed}, "
                f"P_u = {picture.unit_step:g} %, P_e = {picture.edge_step:g} % (slide)"
            ),
            rule=_DEPTH_RULE if is_depth else _PICTURE_RULE,
        )(_density(picture))


_add_pictures()

#: All of them, N1 first.
CLAIMS = (*OWN, *digit_claims.CLAIMS)
