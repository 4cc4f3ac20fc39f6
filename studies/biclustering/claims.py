"""Claims B1–B15 of Lu & Ester (2019): what they say, the rule for each, and the verdicts.

The paper prints no number, so every row turns a sentence or a picture into a number with a rule. The rules and their
thresholds come from the chapter's specification and were fixed before this record was made. Unless a row says otherwise
the matrix is DeepLIFT's, at the second convolution, on 10 000 test images, co-clustered into 10 modules in the paper's
form; n counts training seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from companion import claims
from companion.claims import Finding
from companion.records import Results
from modutils import statistics
from modutils.statistics import Interval, mean_interval
from studies.biclustering import cells

FORM = "paper"
# Layer-wise integrated gradients equal DeepLIFT where one ReLU lies above the layer, so they are not a fifth opinion.
INDEPENDENT = tuple(method for method in cells.METHODS if method != "integrated_gradients")
TARGET_FREE = ("no target: activations", "no target: size over classes")
SAME_TARGET = ("untrained, predicted class of the trained", "untrained, label")
MARGIN = 0.02
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

    def other(self, model: str, layer: str) -> Setting:
        """The same data with another network or layer."""
        return Setting(self.results, self.where["dataset"], model, layer)


def evidence_of(results: Results, scale: str) -> dict[str, Callable[[], Setting]]:
    """What the rules look at, for each data set of a scale; the paper's own first."""
    names = dict.fromkeys(cell.params["dataset"] for cell in cells.plan(scale))
    return {name: partial(Setting, results, name) for name in names}


def _above(interval: Interval, threshold: float) -> str:
    if interval.n < 2:
        return "not testable"
    return claims.above(interval.low, interval.high, threshold)


#: From "above" to "below".
_OPPOSITE = {"holds": "does not hold", "does not hold": "holds"}


# --- the rules --------------------------------------------------------------------------------------------------------


@CLAIMS.add(
    "B1",
    "The neuron–sample matrix is very sparse: few entries are above zero.",
    published="Picture and sentence, no number (Fig. 1a)",
    rule="Share of entries above zero: 95 % interval below 0.25.",
)
def _b1(of: Setting) -> Finding:
    share = of.interval("structure", "sparsity", "positive")
    verdict = _above(share, 0.25)
    if of.where["model"] == "cnn":
        by_method = ", ".join(
            f"{method.replace('_', ' ')} {of.numbers('describe', 'methods', method, 'sparsity', 'positive').mean():.2f}"
            for method in cells.METHODS
            if method != "deeplift"
        )
        why = f"Sparsity belongs to the method as much as to the network: share above zero is {by_method}."
    else:
        why = "Share of entries above zero in the DeepLIFT matrix."
    return Finding(_OPPOSITE.get(verdict, verdict), f"{share.mean:.3f} of entries above zero", share.text(), why)


@CLAIMS.add(
    "B2",
    "Reordered by bicluster, the matrix shows blocks.",
    published="Picture, no number (Fig. 1b)",
    rule=(
        "Share of the positive mass in the blocks at least 4 × their share of the area (interval), and p < "
        "0.01 against "
        "permuted labels in every seed; in part if only the latter."
    ),
)
def _b2(of: Setting) -> Finding:
    mass = of.numbers("structure", FORM, "blocks", "mass_share")
    area = of.numbers("structure", FORM, "blocks", "area_share")
    p = of.numbers("structure", FORM, "blocks", "p").max()
    ratio = mean_interval(mass / area)
    verdict = _above(ratio, 4) if p < 0.01 else "does not hold"
    if verdict == "does not hold" and p < 0.01:
        verdict = "holds in part"  # blocks beyond chance, but fainter than the rule asks
    return Finding(
        verdict,
        f"mass share {ratio.mean:.2f} × area share",
        ratio.text(),
        f"The {cells.K} blocks hold {mass.mean():.0%} of the positive mass on {area.mean():.0%} of the area; "
        f"largest p over seeds {p:.3g} ({cells.EFFORTS[of.where['dataset']].draws} permutations).",
    )


@CLAIMS.add(
    "B3",
    "Over the whole matrix, scores are centred at zero.",
    published="Histogram, no number (Fig. 2a)",
    rule="The median is 0 in every seed.",
)
def _b3(of: Setting) -> Finding:
    medians = of.numbers("structure", "sparsity", "median")
    near = 1 - of.interval("structure", "sparsity", "above_1_percent").mean
    skew = of.interval("structure", "sparsity", "skewness")
    zero = of.numbers("structure", "sparsity", "zero").mean()
    return Finding(
        "holds" if (medians == 0).all() else "does not hold",
        f"median {np.abs(medians).max():.3g} at most in size",
        f"all {medians.size} seeds",
        f"{zero:.0%} of the entries are exactly zero and {near:.0%} lie within ±1 % of the largest; "
        f"skewness {skew.mean:.1f} [{skew.low:.1f}, {skew.high:.1f}]; above 0 the longer tail is positive.",
    )


@CLAIMS.add(
    "B4",
    "Inside a bicluster the mass lies on the positive side.",
    published="Histogram of one block, no number (Fig. 2b)",
    rule="Positive mass over absolute mass, pooled over all blocks: interval at or above 0.9.",
)
def _b4(of: Setting) -> Finding:
    ratio = of.interval("structure", FORM, "positive", "pooled_mass_ratio")
    fraction = float(np.mean([values[FORM]["positive"]["fraction"].mean() for values in of.values("structure")]))
    lowest = of.numbers("structure", FORM, "positive", "lowest_mass_ratio").min()
    return Finding(
        _above(ratio, 0.9),
        f"{ratio.mean:.3f} of the absolute mass is positive",
        ratio.text(),
        f"Lowest of all blocks and seeds: {lowest:.3f}. By count, {fraction:.0%} of a block are above zero.",
    )


@CLAIMS.add(
    "B5",
    "Samples of one bicluster look alike.",
    published="Sample images, no number (Fig. 3a, 3b)",
    rule=(
        "Mean squared distance within over between blocks below 1, p < 0.01 in every seed, for pixels and for features."
    ),
)
def _b5(of: Setting) -> Finding:
    pixels = of.interval("structure", FORM, "compactness", "pixels", "ratio")
    features = of.interval("structure", FORM, "compactness", "features", "ratio")
    floor = of.numbers("structure", FORM, "compactness", "pixels", "of_classes").mean()
    p = max(of.numbers("structure", FORM, "compactness", kind, "p").max() for kind in ("pixels", "features"))
    good = p < 0.01 and pixels.high < 1 and features.high < 1
    return Finding(
        "holds" if good else "does not hold",
        f"within / between distance {pixels.mean:.3f} in pixels, {features.mean:.3f} in features",
        f"pixels {pixels.text()}",
        f"The true classes give {floor:.3f} in pixels. Largest p {p:.3g} ({pixels.n} seeds, two feature spaces).",
    )


@CLAIMS.add(
    "B6",
    "Each bicluster holds samples of one class.",
    published="Bar chart, no number (Fig. 4)",
    rule="Purity: interval at or above 0.9.",
)
def _b6(of: Setting) -> Finding:
    purity = of.interval("structure", FORM, "labels", "purity")
    nmi = of.interval("structure", FORM, "labels", "nmi")
    ari = of.interval("structure", FORM, "labels", "ari")
    pixels = of.other("cnn", "act2").numbers("controls", "k-means on pixels", "k-means", "purity").mean()
    unit = of.numbers("structure", "unit", "labels", "purity").mean()
    return Finding(
        _above(purity, 0.9),
        f"purity {purity.mean:.3f}",
        purity.text(),
        f"NMI {nmi.mean:.3f}, ARI {ari.mean:.3f}; k-means on pixels reaches purity {pixels:.2f}. With k − 1 "
        "vectors and "
        f"unit rows purity is {unit:.3f}.",
    )


@CLAIMS.add(
    "B7",
    "The samples group by class although no labels were used.",
    published="Sentence (section 4)",
    rule=(
        "NMI with the labels is higher than that of both target-free matrices, and than that of the "
        "untrained network with "
        "the same targets (intervals of paired differences above 0); in part if only higher than the latter."
    ),
)
def _b7(of: Setting) -> Finding:
    trained = of.numbers("controls", "predicted class", FORM, "nmi")
    groups = []
    parts = []
    for names in (TARGET_FREE, SAME_TARGET):
        differences = [mean_interval(trained - of.numbers("controls", name, FORM, "nmi")) for name in names]
        groups.append(all(difference.low > 0 for difference in differences))
        parts += [f"{name}: {of.numbers('controls', name, FORM, 'nmi').mean():.3f}" for name in names]
    same = mean_interval(trained - of.numbers("controls", SAME_TARGET[0], FORM, "nmi"))
    return Finding(
        "holds" if all(groups) else "holds in part" if groups[1] else "does not hold",
        f"NMI {trained.mean():.3f} trained; {trained.mean() - same.mean:.3f} untrained with the same targets",
        f"difference {same.text()}",
        "The target class enters the matrix, so it is not free of labels. Controls: " + "; ".join(parts) + ".",
    )


@CLAIMS.add(
    "B8",
    "The units of a module have no spatial relation: neither channel nor position.",
    published="Sentence (section 4)",
    rule=(
        "Five permutation tests a seed, Holm-adjusted. Holds if at most 10 % of the seeds reject at 0.05, "
        "does not hold if "
        "half or more do."
    ),
)
def _b8(of: Setting) -> Finding:
    if of.where["model"] != "cnn":
        return Finding("not testable", "", "", "Units of a dense layer have no place.")
    tests = list(of.values("structure")[0][FORM]["space"])
    p = np.array([[values[FORM]["space"][name]["p_holm"] for name in tests] for values in of.values("structure")])
    rejected = (p.min(axis=1) < 0.05).mean()
    z = {name: of.interval("structure", FORM, "space", name, "z") for name in tests}
    neighbours = of.interval("structure", FORM, "space", "neighbours:all", "value")
    null = of.numbers("structure", FORM, "space", "neighbours:all", "null_mean").mean()
    verdict = "holds" if rejected <= 0.1 else "does not hold" if rejected >= 0.5 else "holds in part"
    return Finding(
        verdict,
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
    good = sum(found.verdict == "holds" for found in verdicts.values())
    purity = of.other("mlp", "act1").interval("structure", FORM, "labels", "purity")
    return Finding(
        "holds" if good == len(verdicts) else "does not hold" if good == 0 else "holds in part",
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
    good = sum(found.high < 0 for found in against.values())
    unit = area(of, "deeplift/unit/mass").mean()
    return Finding(
        ("does not hold", "holds in part", "holds")[good],
        f"area {module.mean():.3f} by module, {greedy.mean():.3f} greedy, {random.mean():.3f} random",
        "; ".join(f"module − {name} {found.mean:+.3f} {found.text()}" for name, found in against.items()),
        f"Lower is more harmful. With k − 1 vectors and unit rows the modules reach {unit:.3f}; in random order "
        f"{area(of, f'deeplift/{FORM}/random order').mean():.3f}.",
    )


@CLAIMS.add(
    "B11",
    "It makes no significant difference which attribution method finds the modules.",
    published="Curves, no number (Fig. 5b)",
    rule=(
        f"All pairs of methods equivalent in area within ±{MARGIN} (two one-sided tests, 0.05); in part if "
        "not, but Friedman's "
        "test finds no difference either."
    ),
)
def _b11(of: Setting) -> Finding:
    areas = {method: area(of, f"{method}/{FORM}/mass") for method in INDEPENDENT}
    pairs = list(combinations(INDEPENDENT, 2))
    equivalent = [statistics.equivalence_p_value(areas[a] - areas[b], MARGIN) < 0.05 for a, b in pairs]
    friedman = stats.friedmanchisquare(*areas.values()).pvalue
    wilcoxon = statistics.holm([stats.wilcoxon(areas[a], areas[b]).pvalue for a, b in pairs])
    friedman_nmi = stats.friedmanchisquare(
        *(of.numbers("describe", "methods", method, "forms", FORM, "nmi") for method in INDEPENDENT)
    ).pvalue
    verdict = "holds" if all(equivalent) else "holds in part" if friedman >= 0.05 else "does not hold"
    means = ", ".join(f"{method.replace('_', ' ')} {values.mean():.3f}" for method, values in areas.items())
    return Finding(
        verdict,
        f"Friedman p = {friedman:.2g}; {sum(equivalent)} of {len(pairs)} pairs equivalent within ±{MARGIN}",
        f"n = {len(next(iter(areas.values())))} seeds as blocks",
        f"Areas: {means}. {int((wilcoxon < 0.05).sum())} pairs differ after Holm's adjustment. For NMI Friedman "
        f"p = {friedman_nmi:.2g}. Integrated gradients are left out: here they equal DeepLIFT by algebra.",
    )


@CLAIMS.add(
    "B12",
    "Attribution methods agree in what one sees.",
    published="Sentence (section 4)",
    rule="Lowest adjusted Rand index between two methods at least 0.8, for units and for samples; in part if for one.",
)
def _b12(of: Setting) -> Finding:
    pairs = [f"{a}|{b}" for a, b in combinations(INDEPENDENT, 2)]
    rows = {pair: of.interval("describe", "agreement", pair, "rows") for pair in pairs}
    columns = {pair: of.interval("describe", "agreement", pair, "columns") for pair in pairs}
    rho = [of.numbers("describe", "agreement", pair, "spearman").mean() for pair in pairs]
    row, column = min(rows.values(), key=lambda i: i.mean), min(columns.values(), key=lambda i: i.mean)
    good = int(row.mean >= 0.8) + int(column.mean >= 0.8)
    return Finding(
        ("does not hold", "holds in part", "holds")[good],
        f"lowest ARI between two methods: {row.mean:.2f} for units, {column.mean:.2f} for samples",
        f"units {row.text()}; samples {column.text()}",
        f"Rank correlation of the matrices, pair by pair, is {min(rho):.2f} to {max(rho):.2f}.",
    )


@CLAIMS.add(
    "B13",
    "Modules matter for telling their samples apart.",
    published="Sentence (section 4)",
    rule=(
        "Removing one module costs its own samples more than other samples, and more than random units of "
        "the same number "
        "cost them (Wilcoxon over seeds, p < 0.01 each); in part if one."
    ),
)
def _b13(of: Setting) -> Finding:
    drops = {
        name: np.array([values[FORM]["lesions"][name].mean() for values in of.values("structure")])
        for name in ("own", "other", "random_own")
    }
    against = [
        stats.wilcoxon(drops["own"], drops[name], alternative="greater").pvalue for name in ("other", "random_own")
    ]
    own = mean_interval(drops["own"])
    verdict = ("does not hold", "holds in part", "holds")[sum(p < 0.01 for p in against)]
    if 0.5**own.n >= 0.01:  # the smallest p-value that so few seeds can give
        verdict = "not testable"
    return Finding(
        verdict,
        f"{own.mean:.1%} of accuracy lost on own samples, {drops['other'].mean():.2%} on all others",
        f"own {own.text()}",
        f"As many random units cost own samples {drops['random_own'].mean():.2%}. One-sided Wilcoxon p over seeds: "
        f"{against[0]:.2g} against others, {against[1]:.2g} against random units.",
    )


@CLAIMS.add(
    "B14",
    "Modules are very sparse.",
    published="20 of 100 units as an example (project page)",
    rule="Largest module's share of the layer's units: interval below 0.2.",
)
def _b14(of: Setting) -> Finding:
    sizes = [values[FORM]["sizes"]["units"] for values in of.values("structure")]
    largest = mean_interval([size.max() / size.sum() for size in sizes])
    carriers = np.mean([values[FORM]["sizes"]["units_for_90_percent"].mean() for values in of.values("structure")])
    gini = of.interval("structure", FORM, "sizes", "gini")
    verdict = _above(largest, 0.2)
    return Finding(
        _OPPOSITE.get(verdict, verdict),
        f"largest module has {largest.mean:.1%} of the units",
        largest.text(),
        f"k = {cells.K} puts the average at 10 % whatever the network does, so this says little. Gini index "
        "of the sizes "
        f"{gini.mean:.2f}; {carriers:.0%} of a module's units carry 90 % of its block's mass.",
    )


@CLAIMS.add(
    "B15",
    "Ten modules, the number of classes, suit the data.",
    published="Choice, without a test (section 4)",
    rule=(
        "The largest gap in the singular values lies after the tenth in more than half of the seeds; in part "
        "if in some."
    ),
)
def _b15(of: Setting) -> Finding:
    spectra = np.array([values["k"]["singular_values"] for values in of.values("structure")])
    # The first value is 1 and trivial; a gap after the k-th speaks for k modules.
    gaps = -np.diff(spectra[:, 1:], axis=1)
    chosen = gaps.argmax(axis=1) + 2
    share = (chosen == cells.K).mean()
    stability = {k: of.numbers("structure", "k", k, "stability_units").mean() for k in ("5", "10", "20", "40")}
    return Finding(
        "holds" if share > 0.5 else "holds in part" if share > 0 else "does not hold",
        f"the largest gap comes after singular value {np.bincount(chosen).argmax()} (most seeds)",
        f"{share:.0%} of {len(chosen)} seeds have it after value {cells.K}",
        "Agreement of unit labels between k-means seeds (ARI): "
        + ", ".join(f"{value:.2f} at k = {k}" for k, value in stability.items())
        + ".",
    )
