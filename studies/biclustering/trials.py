"""How the rules of B1–B15 are tried: matrices and networks that are made here, and the record with its order lost.

The whole way of B7 and B10 is in :mod:`studies.biclustering.whole`."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from companion.claims import decide
from companion.trials import Trial
from modutils import coclustering, data, lesions, training
from modutils.statistics import mean_interval
from studies.biclustering import cells, claims, whole
from studies.biclustering.claims import FORM, SAME_TARGET, TARGET_FREE, Setting, area

INTERVALS = "no: 95 % intervals against bars. At its bar a condition is met, or not met, in 2.5 cases of 100 each."
SEEDS = 10
UNITS, SAMPLES = 160, 400
WHOLE = 100  # draws


def _b2(of: Setting, rng: np.random.Generator, planted: bool) -> str:
    """The whole way from matrices: as many entries above zero as in the record, anywhere or in blocks."""
    share = of.numbers("structure", "sparsity", "positive").mean()
    ratios = []
    for seed in range(SEEDS):
        rows, columns = (rng.integers(cells.K, size=size) for size in (UNITS, SAMPLES))
        inside = rows[:, None] == columns
        likely = np.where(inside, 0.9, (share - 0.9 / cells.K) / (1 - 1 / cells.K)) if planted else share
        sizes = rng.lognormal(size=(UNITS, 1)) * rng.lognormal(size=SAMPLES) * rng.exponential(size=inside.shape)
        matrix = np.where(rng.random(inside.shape) < likely, sizes * np.where(planted & inside, 3, 1), 0)
        found = coclustering.spectral_cocluster(matrix, cells.K, **cells.forms(cells.K)[FORM], seed=seed)
        blocks = coclustering.block_summary(matrix, found.row_labels, found.column_labels, cells.K)
        ratios.append(blocks.mass_share / blocks.area_share)
    return decide(claims.b2_conditions(np.array(ratios)))


def _ratios(trained: bool) -> np.ndarray:
    """Mass share over area share in networks of the digits, with the true classes as targets."""
    images, labels = data.load("digits", "test")
    ratios = []
    for seed in range(SEEDS):
        matrix = cells._matrix(cells.network("digits", "cnn", seed, trained=trained), "act2", images, target=labels)
        blocks = cells._blocks(matrix, cells._cluster(matrix, cells.K, FORM, seed), cells.K)
        ratios.append(blocks["mass_share"] / blocks["area_share"])
    return np.array(ratios)


def _b2_note() -> str:
    """What training adds."""
    trained, untrained = (mean_interval(_ratios(each)) for each in (True, False))
    return (
        f"Training does not make the blocks: with true classes as targets the ratio is {untrained.mean:.1f} "
        f"{untrained.text('.1f')} in untrained networks of the digits, and {trained.mean:.1f} {trained.text('.1f')} in "
        "trained ones."
    )


def _b7(of: Setting, rng: np.random.Generator, planted: bool) -> str:
    names = ("predicted class", *TARGET_FREE, *SAME_TARGET)
    values = np.stack([of.numbers("controls", name, FORM, "nmi") for name in names], axis=1)
    if planted:
        values[:, 0] = values[:, 1:].max(axis=1) + rng.normal(0.02, 0.01, size=len(values))
    else:
        values = values.mean() + rng.permuted(values - values.mean(axis=0), axis=1)
    controls = dict(zip(names[1:], values[:, 1:].T, strict=True))
    return decide(claims.b7_conditions(values[:, 0], controls), needed=claims.B7_NEEDED)


def _b10(of: Setting, rng: np.random.Generator, planted: bool) -> str:
    greedy, random = area(of, "deeplift/greedy mean"), area(of, "random")
    if planted:
        noise = area(of, f"deeplift/{FORM}/mass") - greedy
        module = greedy - 0.05 + rng.permutation(noise - noise.mean())
    else:
        drawn = [values["zero"]["random"]["areas"] for values in of.values("ablate")]
        module = np.array([rng.choice(areas) for areas in drawn])
    return decide(claims.b10_conditions(module, greedy, random))


class Drops(NamedTuple):
    """Accuracy lost by own samples, by others, and by own samples with as many random units; means over groups."""

    own: float
    other: float
    random: float


WAYS = ("by module", "by class", "greedily")


@cache
def drops(seed: int, way: str) -> Drops:
    """Of a network on the embedded digits: of its modules, of its units by the class that they do most for, or of those
    that do most for the samples of a module, as many as it has."""
    images, labels = data.load("digits", "test")
    network = cells.network("digits", "cnn", seed)
    matrix = cells._matrix(network, "act2", images)
    if way != "by class":
        found = cells._cluster(matrix, cells.K, FORM, seed)
        rows, columns = found.row_labels, found.column_labels
    else:  # no clustering: the class for which a unit's mean score is largest
        columns = training.predict(network, images).argmax(1).numpy()
        rows = np.stack([matrix[:, columns == label].mean(1) for label in range(cells.K)]).argmax(0)
    groups = [np.flatnonzero(rows == label) for label in range(cells.K)]
    if way == "greedily":
        for label in np.unique(columns[columns >= 0]):
            best = np.argsort(-matrix[:, columns == label].mean(1), kind="stable")
            groups[label] = best[: len(groups[label])]
    filled = [label for label in range(cells.K) if len(groups[label]) and (columns == label).any()]
    rng = np.random.default_rng(seed)
    sets = [groups[label] for label in filled]
    sets += [rng.choice(len(rows), len(own), replace=False) for own in sets]
    right = lesions.lesioned_predictions(network, "act2", images, [[], *sets]) == labels.numpy()
    lost = right[0].astype(float) - right[1:]
    own, other, random = [], [], []
    for place, label in enumerate(filled):
        mine = columns == label
        own.append(lost[place][mine].mean())
        other.append(lost[place][~mine].mean())
        random.append(lost[len(filled) + place][mine].mean())
    return Drops(*(float(np.mean(values)) for values in (own, other, random)))


def _b13(of: Setting, rng: np.random.Generator, planted: bool) -> str:
    """The whole way from networks, ten of them."""
    found = [drops(seed, "by module" if planted else "by class") for seed in range(SEEDS)]
    return decide(claims.b13_conditions(*(np.array(values) for values in zip(*found, strict=True))))


def _b13_note() -> str:
    """What clustering adds."""
    means = {way: np.mean([drops(seed, way) for seed in range(SEEDS)], axis=0) for way in WAYS}
    return (
        "Accuracy lost by own samples and by others there: "
        + "; ".join(f"{way} {own:.1%} and {other:.2%}" for way, (own, other, _) in means.items())
        + ". Greedily: as many units as the module has, those with the largest mean score for its samples."
    )


TRIALS: dict[str, Trial | str] = {
    **{f"B{number}": INTERVALS for number in range(1, 16)},
    "B2": Trial(
        f"the whole way, from matrices of noise: {UNITS} units × {SAMPLES} samples, fewer than recorded, as sparse",
        "the same with ten blocks",
        _b2,
        times=40,
        note=_b2_note,
    ),
    "B3": "no: it cannot fail.",
    "B7": Trial(
        "the record's spread, without a difference of means",
        "a network that beats the best control by 0.02",
        _b7,
        whole=Trial(
            f"an untrained network in the place of the trained one, {whole.IMAGES} made images of ten classes",
            "networks of ten modules, one a class, on the same images",
            whole.b7,
            times=WHOLE,
        ),
    ),
    "B8": "no: permutation tests, which are their own null.",
    "B10": Trial(
        "a random order in the place of modules",
        "modules that beat greedy by 0.05",
        _b10,
        whole=Trial(
            "networks of ten modules, one a class, on made images; units go in groups at random, as large as these",
            "they go by module",
            whole.b10,
            times=WHOLE,
        ),
    ),
    "B13": Trial(
        "the rule until 2026-11-29, the whole way from ten networks of the digits, because those of MNIST are not kept "
        "and would take a quarter of an hour to train: units grouped without clustering, by the class for which their "
        "mean score is largest",
        "co-clustered modules of the same networks",
        _b13,
        times=1,
        note=_b13_note,
    ),
    "B14": "no: it cannot fail.",
    "B15": "no: it is no claim of the paper.",
}
