"""The independent pieces of work of the upstream/downstream chapter.

Each public function is one stage: it takes the parameters of a cell and returns what the record keeps. A *run* is all
settings of a grid with one seed: its networks share their first weights, the split of the images and their order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from clusim import sim as clusim
from clusim.clustering import Clustering
from scipy import stats
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from companion import cache
from companion.records import Cell, check_scale
from modutils import agreement, data, modularity, similarity, stacked
from modutils.similarity import Similarity
from modutils.stacked import Stack
from modutils.training import Execution, flushed_denormals

STUDY = "upstream_downstream"
RUNS = 9
BATCH = {"mnist": 200, "fashion-mnist": 200, "digits": 50}
VALIDATION = {"mnist": 6000, "fashion-mnist": 6000, "digits": 150}
PATIENCE = 6
CHECKPOINT_EVERY = 5  # epochs
# The eight measures in the order of the paper's Figure 4: four measures, each raw and normalised.
ORDER = ("loss_hessian", "output_sensitivity", "covariance", "input_sensitivity")
MEASURES = tuple((measure, form) for measure in ORDER for form in ("raw", "normalised"))
# What the printed equations and the authors' code disagree on: where |·| stands, and how to normalise. The measures
# above are (outside, raw) and (outside, sqrt), as in the code; the paper prints (inside, raw) and (inside, max).
VARIANTS = tuple(
    (measure, place, norm)
    for place, norm in (("inside", "raw"), ("inside", "max"), ("inside", "sqrt"), ("outside", "max"))
    for measure in ORDER
)
SPARSE = 1e-3  # weights below this count as zero (the paper's Figure S1)
UNTRAINED = {"mnist": 25, "fashion-mnist": 25, "digits": 6}  # networks per cell
# Where training is followed: after these epochs the modules are searched.
FOLLOWED = (1, 2, 5, 10, 15, 20, 30, 40, 60, 90, 120, 180, 250, 350, 500)


class Setting(NamedTuple):
    """How one network of a run is regularised; ``kind`` is the regulariser that its curve varies, by ``strength``."""

    kind: str
    strength: float
    l2: float
    l1: float
    dropout: float


def settings(grid: str) -> list[Setting]:
    """The networks of a run, in the order of its stack.

    ``all`` is the paper's grid of 30; ``final code`` that of the authors' later sweeps over other shapes, L2 and
    dropout only; ``quick`` a coarse one. ``followed`` are those of ``all`` whose training is followed to 500 epochs:
    the plain network and, of each regulariser, the strongest that leave networks to look at (L2 = 10^-1 and
    L1 = 10^-2 leave none in any run); ``quick followed`` some of them.
    """
    if grid == "all":
        strengths = {"l2": np.logspace(-5, -1, 9), "l1": np.logspace(-5, -2, 7), "dropout": np.linspace(0.05, 0.7, 14)}
    elif grid == "final code":
        strengths = {"l2": np.logspace(-5, -1, 5), "dropout": np.linspace(0.1, 0.6, 6)}
    elif grid == "followed":
        strengths = {
            "l2": np.logspace(-5, -1, 9)[[0, 4, 5, 6, 7]],
            "l1": np.logspace(-5, -2, 7)[2:6],
            "dropout": np.array([0.5, 0.6, 0.7]),
        }
    elif grid == "quick followed":
        strengths = {
            "l2": np.logspace(-5, -1, 9)[[0, 6]],
            "l1": np.logspace(-5, -2, 7)[[5]],
            "dropout": np.array([0.5, 0.7]),
        }
    elif grid == "quick":
        strengths = {"l2": np.logspace(-5, -1, 3), "l1": np.logspace(-5, -2, 3), "dropout": np.linspace(0.1, 0.7, 4)}
    else:
        known = "'all', 'final code', 'followed', 'quick' or 'quick followed'"
        raise ValueError(f"grid={grid!r} is unknown; choose {known}")
    found = []
    for kind, values in strengths.items():
        for value in values.tolist():
            found.append(
                Setting(
                    kind,
                    value,
                    l2=value if kind == "l2" else 1e-5,
                    l1=value if kind == "l1" else 0.0,
                    dropout=value if kind == "dropout" else 0.0,
                )
            )
    return found


def sizes(dataset: str, hidden: str) -> list[int]:
    """Inputs, units of each hidden layer (``hidden`` is like ``64-64``), outputs."""
    return [64 if dataset == "digits" else 784, *(int(units) for units in hidden.split("-")), 10]


# --- networks ---------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """The trained networks of one run, with the course of their training."""

    stack: Stack
    snapshots: dict[int, Stack]
    history: dict[str, Any]


def trained(*, dataset: str, hidden: str, grid: str, regime: str, epochs: int, seed: int) -> Run:
    """One run from the cache, or trained now; a training that was interrupted goes on from its last checkpoint.

    ``regime`` is ``fixed``: a constant rate, all ``epochs``, last checkpoint; or ``early stopping``: at most
    ``epochs``, a rate that falls, and the checkpoint of the lowest validation loss. On a GPU all runs train at once.
    """
    params = {"dataset": dataset, "hidden": hidden, "grid": grid, "regime": regime, "epochs": epochs}
    seeds = list(range(RUNS)) if torch.cuda.is_available() else [seed]
    saved = cache.networks(
        _cell(params, seed), lambda: _train(params, seeds), together=f"{_cell(params, seeds[-1]).label}-{len(seeds)}"
    )
    snapshots = {epoch: Stack(*parts) for epoch, parts in saved["snapshots"].items()}
    return Run(Stack(*saved["stack"]), snapshots, saved["history"])


def _cell(params: dict[str, Any], seed: int) -> Cell:
    return Cell(STUDY, "trained", params | {"seed": seed})


def _train(params: dict[str, Any], seeds: list[int]) -> dict[Cell, Any]:
    """Train the runs of ``seeds`` together."""
    if params["regime"] not in ("fixed", "early stopping"):
        raise ValueError(f"regime={params['regime']!r} is unknown; choose 'fixed' or 'early stopping'")
    images, labels = data.load(params["dataset"], "train")
    grid = settings(params["grid"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = stacked.initialize(sizes(params["dataset"], params["hidden"]), seeds=seeds, copies=len(grid))
    clock = time.process_time()
    found = stacked.train(
        start,
        images,
        labels,
        epochs=params["epochs"],
        seeds=seeds,
        l2=[setting.l2 for setting in grid] * len(seeds),
        l1=[setting.l1 for setting in grid] * len(seeds),
        dropout=[setting.dropout for setting in grid] * len(seeds),
        batch_size=BATCH[params["dataset"]],
        validation=VALIDATION[params["dataset"]],
        patience=PATIENCE if params["regime"] == "early stopping" else None,
        snapshots=FOLLOWED if params["grid"].endswith("followed") else (),
        execution=Execution(
            device, cache.path_of(_cell(params, seeds[-1]), f"{len(seeds)}.checkpoint"), CHECKPOINT_EVERY
        ),
    )
    seconds = (time.process_time() - clock) / len(seeds)
    validation_losses = found.losses if found.validation_losses is None else found.validation_losses
    made: dict[Cell, Any] = {}
    for index, seed in enumerate(seeds):
        own = slice(index * len(grid), (index + 1) * len(grid))
        history = {
            "losses": found.losses[:, own],
            "validation_losses": validation_losses[:, own],
            "epochs": found.epochs[own],
            "best_epochs": found.best_epochs[own],
            "diverged": found.diverged[own],
            "cpu_seconds": seconds,
        }
        made[_cell(params, seed)] = {
            "stack": stacked.take(found.stack, own),
            "snapshots": {epoch: stacked.take(stack, own) for epoch, stack in found.snapshots.items()},
            "history": history,
        }
    return made


# --- stages -----------------------------------------------------------------------------------------------------------


def train(*, dataset: str, hidden: str, grid: str, regime: str, epochs: int, seed: int) -> dict[str, Any]:
    """Train one run and describe its networks (Figure S1); the weights stay in the cache."""
    run = trained(dataset=dataset, hidden=hidden, grid=grid, regime=regime, epochs=epochs, seed=seed)
    images, labels = data.load(dataset, "train")
    rows, held_out = stacked.split(len(images), VALIDATION[dataset], seed)
    history = run.history
    return {
        **_describe(run.stack, dataset),
        "train_accuracy": _accuracy(run.stack, images[rows], labels[rows]),
        "validation_accuracy": _accuracy(run.stack, images[held_out], labels[held_out]),
        "losses": _numbers(history["losses"].numpy()),
        "validation_losses": _numbers(history["validation_losses"].numpy()),
        "epochs": history["epochs"].numpy(),
        "best_epochs": history["best_epochs"].numpy(),
        "diverged": history["diverged"].numpy(),
        "training_cpu_seconds": history["cpu_seconds"],
    }


def modules(*, dataset: str, hidden: str, grid: str, regime: str, epochs: int, seed: int) -> dict[str, Any]:
    """Modules of every network of a run by every measure, and how much they agree (Figures 3, 4, S3–S5)."""
    run = trained(dataset=dataset, hidden=hidden, grid=grid, regime=regime, epochs=epochs, seed=seed)
    return _modules(run.stack, dataset, seed)


def untrained(*, dataset: str, hidden: str, seed: int) -> dict[str, Any]:
    """The same for a block of freshly initialised networks, each with a seed of its own."""
    stack = _fresh(dataset, hidden, seed)
    return {**_describe(stack, dataset), **_modules(stack, dataset, seed)}


def search(*, dataset: str, hidden: str, grid: str, regime: str, epochs: int, seed: int) -> dict[str, Any]:
    """What the parts of the search contribute, on a random 5 % of the matrices of a run (Figure S2)."""
    run = trained(dataset=dataset, hidden=hidden, grid=grid, regime=regime, epochs=epochs, seed=seed)
    images = data.load(dataset, "test")[0]
    generator = np.random.default_rng(seed)
    count = len(run.stack) * len(run.stack.weights[:-1]) * len(MEASURES)
    chosen = np.sort(generator.choice(count, max(1, round(0.05 * count)), replace=False))
    per_network = count // len(run.stack)
    picked = np.concatenate(
        [
            np.concatenate(_measured(_similarities(run.stack, int(index), images)))[
                chosen[chosen // per_network == index] % per_network
            ]
            for index in np.unique(chosen // per_network)
        ]
    )
    # Matrices of networks that were regularised to nothing have no modules to search.
    picked = picked[picked.sum((1, 2)) > 0]

    def chains(start: str, steps: int, **options: Any) -> np.ndarray:
        """Q of four searches with seeds of their own: (chains, matrices)."""
        seeds = range(10 * seed, 10 * seed + 4)
        return np.stack([modularity.find_modules(picked, steps=steps, start=start, seed=s, **options).q for s in seeds])

    return {
        "spectral": modularity.spectral_modules(picked).q,
        "spectral_1000": chains("spectral", 1000, polish=False),
        "single_1000": chains("single", 1000, polish=False),
        "spectral_5000": chains("spectral", 5000, polish=False),
        "single_5000": chains("single", 5000, polish=False),
        "ours": chains("leiden", 1000),
    }


def examples(*, dataset: str, hidden: str, grid: str, regime: str, epochs: int, seed: int) -> dict[str, Any]:
    """The matrices of the paper's Figure 3, top: normalised covariance of the first layer at four dropout rates."""
    run = trained(dataset=dataset, hidden=hidden, grid=grid, regime=regime, epochs=epochs, seed=seed)
    images = data.load(dataset, "test")[0]
    found: dict[str, Any] = {}
    for index, setting in enumerate(settings(grid)):
        if setting.kind == "dropout" and round(setting.dropout, 3) in (0.1, 0.3, 0.5, 0.7):
            matrix = _measured(_similarities(run.stack, index, images))[0][MEASURES.index(("covariance", "normalised"))]
            best = modularity.find_modules(matrix, seed=seed)
            found[f"{setting.dropout:.1f}"] = {
                "matrix": _numbers(matrix),
                "labels": best.labels.astype(np.int8),
                "q": best.q,
            }
    return found


def follow(*, dataset: str, hidden: str, grid: str, regime: str, epochs: int, seed: int) -> dict[str, Any]:
    """The modules of some networks of a run along their training; arrays start with (epochs, networks).

    Those after as many epochs as the main regime has are, but for rounding, networks of the run with this seed.
    """
    run = trained(dataset=dataset, hidden=hidden, grid=grid, regime=regime, epochs=epochs, seed=seed)
    stacks = {0: stacked.initialize(sizes(dataset, hidden), seeds=[seed], copies=len(run.stack)), **run.snapshots}
    images = data.load(dataset, "test")[0]
    found: dict[str, list[Any]] = {}
    for stack in stacks.values():
        described = _describe(stack, dataset)
        for name in ("test_accuracy", "sum_squares", "sparsity"):
            found.setdefault(name, []).append(described[name])
        best = [
            [
                modularity.find_modules(matrices, seed=seed)
                for matrices in _measured(_similarities(stack, index, images))
            ]
            for index in range(len(stack))
        ]
        found.setdefault("q", []).append([[layer.q for layer in layers] for layers in best])
        found.setdefault("unused", []).append([[(layer.labels < 0).sum(1) for layer in layers] for layers in best])
        found.setdefault("effective_number", []).append(
            [[[modularity.effective_number(row) for row in layer.labels] for layer in layers] for layers in best]
        )
        for name, score in (("similarity", agreement.element_similarities), ("chance", agreement.chance_similarities)):
            found.setdefault(name, []).append([[score(layer.labels) for layer in layers] for layers in best])
    return {
        "epochs": np.array(list(stacks)),
        "diverged": run.history["diverged"].numpy(),
        "training_cpu_seconds": run.history["cpu_seconds"],
        **{name: _numbers(np.array(value)) for name, value in found.items()},
    }


def subsample(*, dataset: str, hidden: str, grid: str, regime: str, epochs: int, seed: int) -> dict[str, Any]:
    """What fewer inputs than the whole test set change, on four networks of a run."""
    run = trained(dataset=dataset, hidden=hidden, grid=grid, regime=regime, epochs=epochs, seed=seed)
    images = data.load(dataset, "test")[0]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    grid_of = settings(grid)
    wanted = [("l2", 1e-5), ("l2", 1e-2), ("dropout", 0.3), ("dropout", 0.7)]
    chosen = [
        min(range(len(grid_of)), key=lambda i: (grid_of[i].kind != kind, abs(grid_of[i].strength - strength)))
        for kind, strength in wanted
    ]
    found: dict[str, Any] = {}
    whole: list[np.ndarray] = []
    for share in (1.0, 0.5, 0.2, 0.1, 0.05):
        count = round(share * len(images))
        q, same = [], []
        for place, index in enumerate(chosen):
            matrices = np.concatenate(_measured(_similarities(run.stack, index, images[order[:count]])))
            best = modularity.find_modules(matrices, seed=seed)
            if share == 1.0:
                whole.append(best.labels)
                # The ceiling: another search of the same matrices.
                labels = modularity.find_modules(matrices, seed=seed + 1000).labels
            else:
                labels = best.labels
            q.append(best.q)
            pairs = zip(whole[place], labels, strict=True)
            same.append([agreement.element_similarity(a, b) for a, b in pairs])
        found[str(count)] = {"q": _numbers(np.array(q)), "same_modules": _numbers(np.array(same))}
    return found


# --- what stages share ------------------------------------------------------------------------------------------------


def _fresh(dataset: str, hidden: str, seed: int) -> Stack:
    """Untrained networks; their seeds are far from those of the runs."""
    first = 1000 + seed * UNTRAINED[dataset]
    return stacked.initialize(sizes(dataset, hidden), seeds=range(first, first + UNTRAINED[dataset]))


def _numbers(values: np.ndarray) -> np.ndarray:
    """Rounded for the record: seven digits are more than a retraining gives back."""
    return np.asarray(values, dtype=np.float32)


def _accuracy(stack: Stack, images: Tensor, labels: Tensor) -> np.ndarray:
    """Share of images whose largest logit is that of their class, per network."""
    correct = sum(
        (stacked.predict(stack, x).argmax(2) == y).sum(1)
        for x, y in zip(images.split(6000), labels.split(6000), strict=True)
    )
    return (correct / len(images)).double().numpy()


def _describe(stack: Stack, dataset: str) -> dict[str, Any]:
    """Accuracy on the test images and size of the weights; biases do not count."""
    images, labels = data.load(dataset, "test")
    flat = torch.cat([w.flatten(1) for w in stack.weights], dim=1).double()
    return {
        "test_accuracy": _accuracy(stack, images, labels),
        "sum_squares": flat.square().sum(1).numpy(),
        "sum_absolute": flat.abs().sum(1).numpy(),
        "sparsity": (flat.abs() < SPARSE).double().mean(1).numpy(),
        "nuclear_norm": sum(torch.linalg.svdvals(w.double()).sum(1) for w in stack.weights).numpy(),
    }


@flushed_denormals()
def _similarities(stack: Stack, index: int, images: Tensor) -> list[dict[str, Similarity]]:
    """All measures of one network, per hidden layer; what is too small for a normal number counts as 0.

    A strong penalty leaves many such similarities, and ranks would tell them apart.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights, biases = ([p[index].to(device) for p in parameters] for parameters in stack)
    return similarity.mlp_similarities(weights, biases, images.to(device))


def _form(found: Similarity, place: str, norm: str) -> np.ndarray:
    raw = (found.inside if place == "inside" else found.outside).double().cpu()
    return (raw if norm == "raw" else similarity.normalize(raw, norm)).numpy()


def _measured(layers: list[dict[str, Similarity]]) -> list[np.ndarray]:
    """The eight measures as the authors' code computes them: per hidden layer (8, n, n)."""
    norms = {"raw": "raw", "normalised": "sqrt"}
    return [np.stack([_form(found[name], "outside", norms[form]) for name, form in MEASURES]) for found in layers]


def _modules(stack: Stack, dataset: str, seed: int) -> dict[str, Any]:
    """Modules by every measure and their agreement.

    Arrays start with (networks, layers), then measures in the order of ``MEASURES`` or ``VARIANTS``, pairs of measures,
    or units. All units of a layer that a measure leaves unused form one module when partitions are compared, as in the
    authors' code; ``similarity_used`` compares the units used by both.
    """
    images = data.load(dataset, "test")[0]
    found: dict[str, list[list[Any]]] = {}
    for index in range(len(stack)):
        layers = _similarities(stack, index, images)
        values = [
            _layer(matrices, np.stack([_form(layer[name], *form) for name, *form in VARIANTS]), seed)
            for matrices, layer in zip(_measured(layers), layers, strict=True)
        ]
        for name in values[0]:
            found.setdefault(name, []).append([value[name] for value in values])
    labels = np.array(found.pop("labels"), dtype=np.int8)
    return {"labels": labels, **{name: _numbers(np.array(value)) for name, value in found.items()}}


def _layer(matrices: np.ndarray, variants: np.ndarray, seed: int) -> dict[str, Any]:
    """The same for one layer of one network: ``matrices`` (8, n, n), ``variants`` (16, n, n)."""
    best = modularity.find_modules(matrices, seed=seed)
    again = modularity.find_modules(matrices, seed=seed + 1000)
    other = modularity.find_modules(variants, seed=seed)
    printed = other.labels[[VARIANTS.index((name, "inside", norm)) for name in ORDER for norm in ("raw", "max")]]
    upper = np.triu_indices(len(MEASURES), 1)
    ranks = [stats.rankdata(matrix[np.triu_indices(len(matrix), 1)]) for matrix in matrices]
    return {
        "labels": best.labels,
        "q": best.q,
        "q_spectral": modularity.spectral_modules(matrices).q,
        "effective_number": [modularity.effective_number(row) for row in best.labels],
        "unused": (best.labels < 0).sum(1),
        "self_similarity": [agreement.element_similarity(a, b) for a, b in zip(best.labels, again.labels, strict=True)],
        "similarity": agreement.element_similarities(best.labels),
        "chance": agreement.chance_similarities(best.labels),
        "similarity_used": agreement.element_similarities(best.labels, unused="drop"),
        "chance_used": agreement.chance_similarities(best.labels, unused="drop"),
        "other_scores": [_other_scores(best.labels[a], best.labels[b]) for a, b in zip(*upper, strict=True)],
        "rank_correlation": _correlations(ranks),
        "transfer": [
            [modularity.modularity(matrix, row) if matrix.any() else 0.0 for row in best.labels] for matrix in matrices
        ],
        "variant_q": other.q,
        "variant_effective_number": [modularity.effective_number(row) for row in other.labels],
        "printed_similarity": agreement.element_similarities(printed),
        "printed_chance": agreement.chance_similarities(printed),
    }


#: Other scores of agreement, all larger for more similar partitions (the distances with a minus sign).
OTHER_SCORES = (
    "normalised mutual information",
    "adjusted Rand index",
    "reduced mutual information",
    "− variation of information",
    "1 − classification error",
)


def _other_scores(a: np.ndarray, b: np.ndarray) -> list[float]:
    first, second = (Clustering().from_membership_list(row.tolist()) for row in (a, b))
    return [
        float(normalized_mutual_info_score(a, b)),
        float(adjusted_rand_score(a, b)),
        float(clusim.rmi(first, second)),
        -float(clusim.vi(first, second)),
        1 - float(clusim.classification_error(first, second)),
    ]


def _correlations(ranks: list[np.ndarray]) -> np.ndarray:
    """Spearman's correlations between measures over pairs of units; 0 with a measure that does not vary."""
    centred = np.stack(ranks) - np.mean(ranks, axis=1, keepdims=True)
    size = np.linalg.norm(centred, axis=1)
    return (centred @ centred.T) / np.maximum(np.outer(size, size), 1e-30)


def untrained_values(stage: str, params: Mapping[str, Any], name: str) -> bool:
    """Whether a recorded value, by its dotted name, does not depend on training.

    Ranks of an untrained network's similarities are left out: some are so nearly alike that rounding decides.
    """
    return (stage == "untrained" and name != "rank_correlation") or (stage == "follow" and name == "epochs")


def networks_of(stage: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parameters of the cell that trains the networks behind a cell."""
    return [dict(params)] if stage in ("modules", "search", "examples", "subsample") else []


# --- the plan ---------------------------------------------------------------------------------------------------------

FIXED: dict[str, Any] = {"hidden": "64-64", "grid": "all", "regime": "fixed", "epochs": 60}
EARLY: dict[str, Any] = FIXED | {"regime": "early stopping", "epochs": 500}
FOLLOW: dict[str, Any] = FIXED | {"grid": "followed", "epochs": 500}
DEEP: dict[str, Any] = FIXED | {"hidden": "64-64-64-64-64", "grid": "final code"}
WIDE: dict[str, Any] = FIXED | {"hidden": "256-256", "grid": "final code", "epochs": 30}
QUICK: dict[str, Any] = FIXED | {"hidden": "24-24", "grid": "quick"}
QUICK_EARLY: dict[str, Any] = QUICK | {"grid": "quick followed", "regime": "early stopping", "epochs": 100}
QUICK_FOLLOW: dict[str, Any] = QUICK | {"grid": "quick followed"}


def plan(scale: str) -> list[Cell]:
    """All cells of a scale, those that others build on first.

    ``paper``: 270 networks on MNIST at a fixed length of training and 100 untrained ones; then the other figures, the
    same 270 with early stopping, Fashion-MNIST, deep and wide networks, and training followed to 500 epochs.
    ``quick``: the same stages on the embedded digits, two runs of small networks on a coarse grid.

    Raises
    ------
    ValueError
        An unknown scale.
    """
    check_scale(scale)
    cells: list[Cell] = []

    def add(stage: str, dataset: str, params: dict[str, Any], seeds: int) -> None:
        cells.extend(Cell(STUDY, stage, {"dataset": dataset, **params, "seed": seed}) for seed in range(seeds))

    def add_runs(dataset: str, params: dict[str, Any], seeds: int) -> None:
        for stage in ("train", "modules"):
            add(stage, dataset, params, seeds)

    shape = ("64-64", DEEP["hidden"], WIDE["hidden"])
    if scale == "quick":
        hidden = QUICK["hidden"]
        add_runs("digits", QUICK, 2)
        add("untrained", "digits", {"hidden": hidden}, 1)
        for stage in ("search", "examples", "subsample"):
            add(stage, "digits", QUICK, 1)
        add_runs("digits", QUICK_EARLY, 1)
        add("follow", "digits", QUICK_FOLLOW, 1)
        return cells
    add_runs("mnist", FIXED, RUNS)
    add("untrained", "mnist", {"hidden": shape[0]}, 4)
    add("search", "mnist", FIXED, RUNS)
    for stage in ("examples", "subsample"):
        add(stage, "mnist", FIXED, 1)
    add_runs("mnist", EARLY, RUNS)
    add_runs("fashion-mnist", FIXED, 3)
    add("untrained", "fashion-mnist", {"hidden": shape[0]}, 1)
    for params in (DEEP, WIDE):
        add_runs("mnist", params, 3)
        add("untrained", "mnist", {"hidden": params["hidden"]}, 1)
    add("follow", "mnist", FOLLOW, RUNS)
    return cells
