"""Claims B1–B15 of Lu & Ester (2019): what they say, the rule for each, and the verdicts.

The paper prints no number, so every row turns a sentence or a picture into a number with a rule. Bars come from the
chapter's specification, whose writer had seen one network of others; which rules were changed after the record was
made, and why, is in ``book/rule_changes.csv``. A function ``…_conditions`` takes numbers, one per training seed, and is
what trials run. Unless a row says otherwise the matrix is DeepLIFT's, at the second convolution, on 10 000 test images,
co-clustered into 10 modules in the paper's form; n counts training seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from companion import claims
from companion.claims import Finding, Series, State, above, below, bounded, every, finding, untestable, within
from companion.records import Results
from modutils.statistics import Interval, mean_interval
from studies.biclustering import cells

FORM = "paper"
# Layer-wise integrated gradients equal DeepLIFT where one ReLU lies above the layer, so they are not a fifth opinion.
INDEPENDENT = tuple(method for method in cells.METHODS if method != "integrated_gradients")
TARGET_FREE = ("no target: activations", "no target: size over classes")
SAME_TARGET = ("untrained, predicted class of the trained", "untrained, label")
#: Of areas: twice their standard deviation between k-means seeds on one network, which is 0.01 to 0.04.
MARGIN = 0.05
CLAIMS = claims.Claims("lu2019checking")


class Setting:
    """The record as one network type on one data set: what the rules look at."""

    def __init__(self, results: Results, dataset: str, model: str = "cnn", layer: str = "act2") -> None:
        self.results = results
        self.where: dict[str, Any] = {"dataset": dataset, "model": model, "layer": layer}

    def values(self, stage: str) -> list[dict[str, Any]]:
        """Values of every training seed."""
        return [record.values for record in self.results.records(stage, **self.where)]

    def numbers(self, stage: str, *path: str) -> np.ndarray:
        """One number per training seed."""
        return self.results.numbers(stage, *path, **self.where)

    def interval(self, stage: str, *path: str) -> Interval:
        """Mean and 95 % interval over training seeds."""
        return mean_interval(self.numbers(stage, *path))

    def share(self, stage: str, *path: str) -> Interval:
        """The same of a quantity in [0, 1]."""
        return bounded(self.interval(stage, *path), 0)

    def other(self, model: str, layer: str) -> Setting:
        """The same data with another network or layer."""
        return Setting(self.results, self.where["dataset"], model, layer)


def evidence_of(results: Results, scale: str) -> dict[str, Callable[[], Setting]]:
    """What the rules look at, for each data set of a scale; the paper's own first."""
    names = dict.fromkeys(cell.params["dataset"] for cell in cells.plan(scale))
    return {name: partial(Setting, results, name) for name in names}


# --- the rules --------------------------------------------------------------------------------------------------------


@CLAIMS.add(
    "B1",
    "The neuron–sample matrix is very sparse: few entries are above zero.",
    published="Picture and sentence, no number (Fig. 1a)",
    rule="Share of entries above zero: 95 % interval below 0.25.",
)
def _b1(of: Setting) -> Finding:
    share = of.share("structure", "sparsity", "positive")
    if of.where["model"] == "cnn":
        by_method = ", ".join(
            f"{method.replace('_', ' ')} {of.numbers('describe', 'methods', method, 'sparsity', 'positive').mean():.2f}"
            for method in cells.METHODS
            if method != "deeplift"
        )
        why = f"Sparsity belongs to the method as much as to the network: share above zero is {by_method}."
    else:
        why = "Share of entries above zero in the DeepLIFT matrix."
    conditions = {"below a quarter": below(share, 0.25)}
    return finding(conditions, f"{share.mean:.3f} of entries above zero", share.text(), why)


@CLAIMS.add(
    "B2",
    "Reordered by bicluster, the matrix shows blocks.",
    published="Picture, no number (Fig. 1b)",
    rule="Share of the positive mass in the blocks over their share of the area: interval above 4.",
)
def _b2(of: Setting) -> Finding:
    mass = of.numbers("structure", FORM, "blocks", "mass_share")
    area = of.numbers("structure", FORM, "blocks", "area_share")
    p = of.numbers("structure", FORM, "blocks", "p").max()
    ratio = mean_interval(mass / area)
    return finding(
        b2_conditions(mass / area),
        f"mass share {ratio.mean:.2f} × area share",
        ratio.text(),
        f"The {cells.K} blocks hold {mass.mean():.0%} of the positive mass on {area.mean():.0%} of the area. Against "
        f"permuted labels the largest p over seeds is {p:.3g} ({cells.EFFORTS[of.where['dataset']].draws} "
        "permutations), which decides nothing: co-clustering finds such blocks in noise as well. Untrained networks "
        "have blocks, too (trials).",
    )


def b2_conditions(ratios: np.ndarray) -> dict[str, State]:
    """By mass share over area share."""
    return {"four times the area's share": above(mean_interval(ratios), 4)}


@CLAIMS.add(
    "B3",
    "Over the whole matrix, scores are centred at zero.",
    published="Histogram, no number (Fig. 2a)",
    rule="None that could fail: more than half of the entries are zero or below, and the zeros lie in the middle.",
)
def _b3(of: Setting) -> Finding:
    medians = of.numbers("structure", "sparsity", "median")
    near = 1 - of.interval("structure", "sparsity", "above_1_percent").mean
    skew = of.interval("structure", "sparsity", "skewness")
    zero = of.numbers("structure", "sparsity", "zero").mean()
    return untestable(
        "Cannot fail: a unit that is off has score 0 whatever the network has learned, and so many zeros are the "
        f"median. {zero:.0%} of the entries are exactly zero and {near:.0%} lie within ±1 % of the largest; skewness "
        f"{skew.mean:.1f} [{skew.low:.1f}, {skew.high:.1f}]; above 0 the longer tail is positive.",
        f"median {np.abs(medians).max():.3g} at most in size",
        f"all {medians.size} seeds",
    )


@CLAIMS.add(
    "B4",
    "Inside a bicluster the mass lies on the positive side.",
    published="Histogram of one block, no number (Fig. 2b)",
    rule="Positive mass over absolute mass, pooled over all blocks: interval at or above 0.9.",
)
def _b4(of: Setting) -> Finding:
    ratio = of.share("structure", FORM, "positive", "pooled_mass_ratio")
    fraction = float(np.mean([values[FORM]["positive"]["fraction"].mean() for values in of.values("structure")]))
    lowest = of.numbers("structure", FORM, "positive", "lowest_mass_ratio").min()
    return finding(
        {"at least 0.9": above(ratio, 0.9)},
        f"{ratio.mean:.3f} of the absolute mass is positive",
        ratio.text(),
        f"Lowest of all blocks and seeds: {lowest:.3f}. By count, {fraction:.0%} of a block are above zero.",
    )


@CLAIMS.add(
    "B5",
    "Samples of one bicluster look alike.",
    published="Sample images, no number (Fig. 3a, 3b)",
    rule=(
        "Mean squared distance within over between blocks: interval below 1 and p < 0.01 in every seed, for pixels "
        "and for features."
    ),
)
def _b5(of: Setting) -> Finding:
    pixels = of.interval("structure", FORM, "compactness", "pixels", "ratio")
    features = of.interval("structure", FORM, "compactness", "features", "ratio")
    floor = of.numbers("structure", FORM, "compactness", "pixels", "of_classes").mean()
    p = {kind: of.numbers("structure", FORM, "compactness", kind, "p").max() for kind in ("pixels", "features")}
    near = {"pixels": below(pixels, 1), "features": below(features, 1)}
    return finding(
        {kind: every(state, p[kind] < 0.01 or None) for kind, state in near.items()},
        f"within / between distance {pixels.mean:.3f} in pixels, {features.mean:.3f} in features",
        f"pixels {pixels.text()}",
        f"The true classes give {floor:.3f} in pixels. Largest p {max(p.values()):.3g} ({pixels.n} seeds, two feature "
        "spaces).",
    )


@CLAIMS.add(
    "B6",
    "Each bicluster holds samples of one class.",
    published="Bar chart, no number (Fig. 4)",
    rule="Purity: interval at or above 0.9.",
)
def _b6(of: Setting) -> Finding:
    purity = of.share("structure", FORM, "labels", "purity")
    nmi = of.interval("structure", FORM, "labels", "nmi")
    ari = of.interval("structure", FORM, "labels", "ari")
    pixels = of.other("cnn", "act2").numbers("controls", "k-means on pixels", "k-means", "purity").mean()
    unit = of.numbers("structure", "unit", "labels", "purity").mean()
    return finding(
        {"at least 0.9": above(purity, 0.9)},
        f"purity {purity.mean:.3f}",
        purity.text(),
        f"{_two_groups(of.numbers('structure', FORM, 'labels', 'purity'))} NMI {nmi.mean:.3f}, ARI {ari.mean:.3f}; "
        f"k-means on pixels reaches purity {pixels:.2f}. With k − 1 vectors and unit rows purity is {unit:.3f}.",
    )


def _two_groups(values: np.ndarray) -> str:
    """The seeds on both sides of the widest gap between their values, as a sentence."""
    ordered = np.sort(values)
    if len(ordered) < 4:
        return ""
    place = int(np.diff(ordered).argmax()) + 1
    low, high = ordered[:place], ordered[place:]
    return (
        f"The widest gap between seeds: {len(low)} at {low.min():.3f} to {low.max():.3f}, {len(high)} at "
        f"{high.min():.3f} to {high.max():.3f}."
    )


@CLAIMS.add(
    "B7",
    "The samples group by class although no labels were used.",
    published="Sentence (section 4)",
    rule=(
        "NMI with the labels is higher than that of the untrained network with the same targets, and than that of "
        "both target-free matrices (intervals of paired differences above 0). In part with the former alone."
    ),
)
def _b7(of: Setting) -> Finding:
    trained = of.numbers("controls", "predicted class", FORM, "nmi")
    controls = {name: of.numbers("controls", name, FORM, "nmi") for name in (*TARGET_FREE, *SAME_TARGET)}
    parts = [f"{name}: {values.mean():.3f}" for name, values in controls.items()]
    same = mean_interval(trained - controls[SAME_TARGET[0]])
    return finding(
        b7_conditions(trained, controls),
        f"NMI {trained.mean():.3f} trained; {trained.mean() - same.mean:.3f} untrained with the same targets",
        f"difference {same.text()}",
        "The target class enters the matrix, so it is not free of labels. Controls: " + "; ".join(parts) + ".",
        needed=B7_NEEDED,
    )


#: Without it nothing is left of the claim.
B7_NEEDED = "above untrained with the same targets"


def b7_conditions(trained: np.ndarray, controls: dict[str, np.ndarray]) -> dict[str, State]:
    """By NMI of the trained network, and of each control."""

    def beaten(names: tuple[str, ...]) -> State:
        return every(*(above(mean_interval(trained - controls[name]), 0) for name in names))

    return {B7_NEEDED: beaten(SAME_TARGET), "above target-free": beaten(TARGET_FREE)}


@CLAIMS.add(
    "B8",
    "The units of a module have no spatial relation: neither channel nor position.",
    published="Sentence (section 4)",
    rule=(
        "Does not hold if half or more of the seeds reject chance at 0.05 (five permutation tests each, "
        "Holm-adjusted). Holds if at most a tenth do, and neighbours are in one module as often as by chance: "
        "interval of the ratio within 1 ± 0.1."
    ),
)
def _b8(of: Setting) -> Finding:
    if of.where["model"] != "cnn":
        return untestable("Units of a dense layer have no place.")
    tests = list(of.values("structure")[0][FORM]["space"])
    p = np.array([[values[FORM]["space"][name]["p_holm"] for name in tests] for values in of.values("structure")])
    rejected = (p.min(axis=1) < 0.05).mean()
    z = {name: of.interval("structure", FORM, "space", name, "z") for name in tests}
    neighbours = of.share("structure", FORM, "space", "neighbours:all", "value")
    by_chance = of.numbers("structure", FORM, "space", "neighbours:all", "null_mean")
    ratio = mean_interval(of.numbers("structure", FORM, "space", "neighbours:all", "value") / by_chance - 1)
    null = by_chance.mean()
    return finding(
        {"no relation": False if rejected >= 0.5 else every(rejected <= 0.1 or None, within(ratio, 0.1) or None)},
        f"{rejected:.0%} of the seeds show a spatial relation",
        f"neighbours in one module {neighbours.mean:.3f} {neighbours.text()}; by chance {null:.3f}",
        "Standard deviations above chance: "
        + ", ".join(f"{name.replace(':', ' ').replace('_', ' ')} {found.mean:.0f}" for name, found in z.items())
        + f". The share of neighbours in one module is {neighbours.mean / null:.1f} times that of chance.",
    )


@CLAIMS.add(
    "B9",
    "Multilayer perceptrons show the same.",
    published="Sentence (section 4)",
    rule="B1, B2 and B6 hold in both hidden layers of the perceptron; in part if some do.",
)
def _b9(of: Setting) -> Finding:
    verdicts: dict[str, Finding] = {}
    for layer in ("act1", "act2"):
        inner = of.other("mlp", layer)
        verdicts |= {f"{layer} {rule.__name__[1:].upper()}": rule(inner) for rule in (_b1, _b2, _b6)}
    conditions = {name: next(iter(found.conditions.values())) for name, found in verdicts.items()}
    good = sum(state is True for state in conditions.values())
    purity = of.other("mlp", "act1").share("structure", FORM, "labels", "purity")
    return finding(
        conditions,
        f"{good} of {len(verdicts)} tests hold; purity {purity.mean:.3f} in the first layer",
        f"purity {purity.text()}",
        "; ".join(f"{name}: {found.value}, {found.verdict}" for name, found in verdicts.items()) + ".",
    )


def area(of: Setting, name: str, replacement: str = "zero") -> np.ndarray:
    """Area under accuracy against removed share, per training seed (mean over k-means seeds or orders)."""
    return of.numbers("ablate", replacement, name, "area")


def _paired(a: np.ndarray, b: np.ndarray) -> Interval:
    """Mean paired difference with its bootstrap interval (bias-corrected and accelerated, 10 000 resamples)."""
    difference = a - b
    found = stats.bootstrap((difference,), np.mean, n_resamples=10_000, rng=np.random.default_rng(0))
    low, high = found.confidence_interval
    return Interval(float(difference.mean()), float(low), float(high), difference.size)


@CLAIMS.add(
    "B10",
    "Removing units by module hurts accuracy more than removing top units or random units.",
    published="Curves, no number (Fig. 5a)",
    rule="Area under accuracy: module − greedy and module − random, bootstrap intervals below 0; in part if one is.",
)
def _b10(of: Setting) -> Finding:
    module = area(of, f"deeplift/{FORM}/mass")
    greedy, random = area(of, "deeplift/greedy mean"), area(of, "random")
    against = {"greedy": _paired(module, greedy), "random": _paired(module, random)}
    unit = area(of, "deeplift/unit/density")
    other = _paired(unit, greedy)
    by_method = ", ".join(
        f"{method.replace('_', ' ')} {area(of, f'{method}/{FORM}/mass').mean():.2f} and "
        f"{area(of, f'{method}/greedy mean').mean():.2f}"
        for method in INDEPENDENT
    )
    return finding(
        b10_conditions(module, greedy, random),
        f"area {module.mean():.3f} by module, {greedy.mean():.3f} greedy, {random.mean():.3f} random",
        "; ".join(f"module − {name} {found.mean:+.3f} {found.text()}" for name, found in against.items()),
        "Lower is more harmful. With k − 1 vectors, unit rows and modules in order of density the area is "
        f"{unit.mean():.3f}, below greedy's in {(unit < greedy).sum()} of {len(unit)} seeds ({other.mean:+.3f} "
        f"{other.text()}); in random order it is {area(of, f'deeplift/{FORM}/random order').mean():.3f}. By module and "
        f"greedy, method by method: {by_method}.",
    )


def b10_conditions(module: np.ndarray, greedy: np.ndarray, random: np.ndarray) -> dict[str, State]:
    """By areas under accuracy."""
    return {
        "more than greedy": below(_paired(module, greedy), 0),
        "more than random": below(_paired(module, random), 0),
    }


@CLAIMS.add(
    "B11",
    "It makes no significant difference which attribution method finds the modules.",
    published="Curves, no number (Fig. 5b)",
    rule=(
        f"All pairs of methods equivalent in area: interval of the difference within ±{MARGIN}, twice the standard "
        "deviation between k-means seeds on one network. Does not hold where one pair's interval lies outside."
    ),
)
def _b11(of: Setting) -> Finding:
    areas = {method: area(of, f"{method}/{FORM}/mass") for method in INDEPENDENT}
    pairs = list(combinations(INDEPENDENT, 2))
    found = {pair: mean_interval(areas[pair[0]] - areas[pair[1]]) for pair in pairs}
    named = {f"{a.replace('_', ' ')} and {b.replace('_', ' ')}": d for (a, b), d in found.items()}
    conditions = {name: within(difference, MARGIN) for name, difference in named.items()}
    widest = max(found.values(), key=lambda difference: abs(difference.mean))
    friedman = stats.friedmanchisquare(*areas.values()).pvalue
    friedman_nmi = stats.friedmanchisquare(
        *(of.numbers("describe", "methods", method, "forms", FORM, "nmi") for method in INDEPENDENT)
    ).pvalue
    noise = [
        np.std([values["zero"][f"{method}/{FORM}/mass"]["areas"] for values in of.values("ablate")], axis=1, ddof=1)
        for method in INDEPENDENT
    ]
    return finding(
        conditions,
        f"{sum(state is True for state in conditions.values())} of {len(pairs)} pairs equivalent within ±{MARGIN}",
        f"widest difference {widest.mean:+.3f} {widest.text()}",
        f"Standard deviation between k-means seeds on one network: {np.mean(noise):.3f}. Friedman's test of no "
        f"difference: p = {friedman:.2g}, for NMI {friedman_nmi:.2g}. Integrated gradients are left out: here they "
        "equal DeepLIFT by algebra.",
        series=Series("Difference of areas", named, bars=(-MARGIN, 0, MARGIN)),
        part=len(pairs),
    )


@CLAIMS.add(
    "B12",
    "Attribution methods agree in what one sees.",
    published="Sentence (section 4)",
    rule="Lowest adjusted Rand index between two methods: interval above 0.8, for units and for samples.",
)
def _b12(of: Setting) -> Finding:
    pairs = [f"{a}|{b}" for a, b in combinations(INDEPENDENT, 2)]
    rows = {pair: of.interval("describe", "agreement", pair, "rows") for pair in pairs}
    columns = {pair: of.interval("describe", "agreement", pair, "columns") for pair in pairs}
    rho = [of.numbers("describe", "agreement", pair, "spearman").mean() for pair in pairs]
    row, column = min(rows.values(), key=lambda i: i.mean), min(columns.values(), key=lambda i: i.mean)
    return finding(
        {"units": above(row, 0.8), "samples": above(column, 0.8)},
        f"lowest ARI between two methods: {row.mean:.2f} for units, {column.mean:.2f} for samples",
        f"units {row.text()}; samples {column.text()}",
        f"Rank correlation of the matrices, pair by pair, is {min(rho):.2f} to {max(rho):.2f}.",
    )


@CLAIMS.add(
    "B13",
    "Modules matter for telling their samples apart.",
    published="Sentence (section 4)",
    rule=(
        "None that could fail: units grouped by class without any clustering cost their own samples more than others, "
        "and more than random units do."
    ),
)
def _b13(of: Setting) -> Finding:
    drops = {
        name: np.array([values[FORM]["lesions"][name].mean() for values in of.values("structure")])
        for name in ("own", "other", "random_own")
    }
    own = bounded(mean_interval(drops["own"]))
    return untestable(
        f"As many random units cost own samples {drops['random_own'].mean():.2%}. The effect is large, but it does not "
        "speak for modules: the samples of a module are those that the matrix gives to it, and so nearly a class. "
        "Whoever groups units by the class that they do most for, without clustering, passes the same test (trials). "
        "What clustering adds to that, the record does not say.",
        f"{own.mean:.1%} of accuracy lost on own samples, {drops['other'].mean():.2%} on all others",
        f"own {own.text()}",
    )


def b13_conditions(own: np.ndarray, other: np.ndarray, random: np.ndarray) -> dict[str, State]:
    """The rule until 2026-11-29, by accuracy that removal of a group costs its own samples, others, and at random."""
    return {
        "more than others": above(mean_interval(own - other), 0),
        "more than random units": above(mean_interval(own - random), 0),
    }


@CLAIMS.add(
    "B14",
    "Modules are very sparse.",
    published="20 of 100 units as an example (project page)",
    rule=f"None that could fail: k = {cells.K} modules have a tenth of the units each on average.",
)
def _b14(of: Setting) -> Finding:
    sizes = [values[FORM]["sizes"]["units"] for values in of.values("structure")]
    largest = mean_interval([size.max() / size.sum() for size in sizes])
    carriers = np.mean([values[FORM]["sizes"]["units_for_90_percent"].mean() for values in of.values("structure")])
    gini = of.interval("structure", FORM, "sizes", "gini")
    return untestable(
        f"Cannot fail: k = {cells.K} puts the average at 10 % whatever the network does. Gini index of the sizes "
        f"{gini.mean:.2f}; {carriers:.0%} of a module's units carry 90 % of its block's mass.",
        f"largest module has {largest.mean:.1%} of the units",
        bounded(largest, 0).text(),
    )


@CLAIMS.add(
    "B15",
    "Ten modules, the number of classes, suit the data.",
    published="Choice, without a test (section 4)",
    rule="None: the paper chooses and claims nothing.",
)
def _b15(of: Setting) -> Finding:
    spectra = np.array([values["k"]["singular_values"] for values in of.values("structure")])
    # The first value is 1 and trivial; a gap after the k-th speaks for k modules.
    gaps = -np.diff(spectra[:, 1:], axis=1)
    chosen = gaps.argmax(axis=1) + 2
    share = (chosen == cells.K).mean()
    stability = {k: of.numbers("structure", "k", k, "stability_units").mean() for k in ("5", "10", "20", "40")}
    return untestable(
        "No claim of the paper: it takes as many modules as there are classes. Agreement of unit labels between "
        "k-means "
        "seeds (ARI): " + ", ".join(f"{value:.2f} at k = {k}" for k, value in stability.items()) + ".",
        f"the largest gap comes after singular value {np.bincount(chosen).argmax()} (most seeds)",
        f"{share:.0%} of {len(chosen)} seeds have it after value {cells.K}",
    )
