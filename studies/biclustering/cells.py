"""The independent pieces of work of the biclustering chapter; the numbering B1–B15 is that of its claims.

Each public function is one stage: it takes the parameters of a cell and returns what the record keeps.
Everything random is fixed by ``seed``, which also names the trained network.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans, SpectralBiclustering
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import nn

from companion import cache
from companion.records import Cell, check_scale
from modutils import attribution, coclustering, coherence, data, lesions, networks, statistics, training
from modutils.coclustering import Coclustering
from modutils.training import Execution
from modutils.units import layer_activations
from studies.biclustering import others

STUDY = "biclustering"
REGULARIZATION = {"cnn": "dropout", "mlp": "none"}
METHODS = (
    "deeplift",
    "gradient_x_activation",
    "conductance",
    "integrated_gradients",
    "internal_influence",
    "guided_backprop",
)
K = 10  # modules where they are described, as in the paper: the number of classes
RANDOM_ORDERS = 20
RANDOM_STARTS = 20  # of the search for modules of highest bipartite modularity
HISTOGRAM_BINS = 161


class Effort(NamedTuple):
    """Sizes of the networks on a data set, how they are trained with Adam at 1e-3, and the work that goes into each."""

    image_size: int
    filters: tuple[int, int]  # of the CNN
    hidden: tuple[int, ...]  # of the MLP
    epochs: int
    batch_size: int
    k_ablation: int  # modules where they are removed
    kmeans_seeds: int
    draws: int  # behind a null distribution
    entries: int  # of the matrices, for their rank correlation


FULL = Effort(28, (32, 64), (256, 256, 128), 12, 128, 40, 3, 500, 200_000)  # networks and k as in the paper
# The small digits need smaller batches to see enough steps.
DIGITS = Effort(8, (8, 16), (128, 128, 64), 12, 32, 16, 2, 100, 20_000)
EFFORTS = {"mnist": FULL, "fashion-mnist": FULL, "digits": DIGITS}


def forms(k: int) -> dict[str, dict[str, Any]]:
    """The ways to co-cluster that the chapter compares, as arguments of ``spectral_cocluster``.

    ``paper``: as Dhillon (2001), on the positive part; ``unit``: k − 1 vectors, rows of unit length; ``stock``:
    what scikit-learn does on a dense matrix with negative entries; ``abs``: as ``paper``, on absolute values.
    """
    dhillon = {"n_vectors": math.ceil(math.log2(k)), "embedding": "degree"}
    return {
        "paper": {"signs": "clip", **dhillon},
        "unit": {"signs": "clip"},
        "stock": {"signs": "shift", **dhillon},
        "abs": {"signs": "abs", **dhillon},
    }


# --- networks -----------------------------------------------------------------------------------------------


def train(*, dataset: str, model: str, activation: str, regularization: str, seed: int) -> dict[str, Any]:
    """Train one network and say how well it does; the weights stay in the cache."""
    images, labels = data.load(dataset, "test")
    network, history = _trained(dataset, model, activation, regularization, seed)
    return {
        "test_accuracy": training.accuracy(network, images, labels),
        "epochs": len(history["losses"]),
        "training_loss": history["losses"],
        "training_cpu_seconds": history["cpu_seconds"],
        "parameters": sum(weights.numel() for weights in network.parameters()),
    }


def _untrained(dataset: str, model: str, activation: str, regularization: str, seed: int) -> nn.Sequential:
    """The network as initialised; the global random state is left as it was."""
    effort = EFFORTS[dataset]
    size = effort.image_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if model == "cnn":
            network = networks.cnn(
                image_size=size,
                filters=effort.filters,
                activation=activation,
                dropout=regularization == "dropout",
            )
        elif model == "mlp":
            rate = 0.5 if regularization == "dropout" else 0.0
            network = networks.mlp([size * size, *effort.hidden, 10], activation=activation, dropout=rate)
        else:
            raise ValueError(f"model={model!r} is unknown; choose 'cnn' or 'mlp'")
    return network.eval()


def _trained(
    dataset: str, model: str, activation: str, regularization: str, seed: int
) -> tuple[nn.Sequential, dict[str, Any]]:
    """The trained network, with its loss per epoch and what training took, from the cache or trained now."""
    params: dict[str, Any] = {
        "dataset": dataset,
        "model": model,
        "activation": activation,
        "regularization": regularization,
        "seed": seed,
    }
    network = _untrained(**params)
    cell = Cell(STUDY, "_trained", params)

    def trained() -> dict[Cell, Any]:
        images, labels = data.load(dataset, "train")
        start = time.process_time()
        losses = training.train(
            network,
            images,
            labels,
            epochs=EFFORTS[dataset].epochs,
            batch_size=EFFORTS[dataset].batch_size,
            weight_decay=1e-4 if regularization == "weight_decay" else 0.0,
            seed=seed,
            execution=Execution(checkpoint=cache.path_of(cell, "checkpoint")),
        ).losses
        return {cell: {"weights": network.state_dict(), "losses": losses, "cpu_seconds": time.process_time() - start}}

    saved = cache.networks(cell, trained)
    network.load_state_dict(saved["weights"])
    return network.eval(), saved


def network(dataset: str, model: str, seed: int, *, activation: str = "relu", trained: bool = True) -> nn.Sequential:
    """A network of this study, by its training seed; ``trained=False`` gives it as it was initialised."""
    setting = (dataset, model, activation, REGULARIZATION[model], seed)
    return _trained(*setting)[0] if trained else _untrained(*setting)


# --- one matrix, its clusters, and numbers about them -------------------------------------------------------


def _matrix(
    net: nn.Module,
    layer: str,
    images: torch.Tensor,
    *,
    target: torch.Tensor | None = None,
    baseline: torch.Tensor | None = None,
) -> np.ndarray:
    """The DeepLIFT neuron–sample matrix, units × samples."""
    return attribution.neuron_sample_matrix(net, layer, images, target=target, baseline=baseline).numpy()


def _all_methods(net: nn.Module, layer: str, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The neuron–sample matrix by every method, with 50 steps on paths, or more where sums are too far off."""
    steps = 50
    while True:
        try:
            return attribution.neuron_sample_matrices(net, layer, images, methods=METHODS, steps=steps)
        except attribution.CompletenessError:
            if steps >= 400:  # not the number of steps, then
                raise
            steps *= 2


def _cluster(matrix: np.ndarray, k: int, form: str, seed: int) -> Coclustering:
    return coclustering.spectral_cocluster(matrix, k, **forms(k)[form], seed=seed)


def _label_scores(clusters: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Agreement of sample clusters with classes, over the samples that have a cluster."""
    kept = clusters >= 0
    return {
        "nmi": float(normalized_mutual_info_score(labels[kept], clusters[kept])),
        "ari": float(adjusted_rand_score(labels[kept], clusters[kept])),
        "purity": coherence.purity(clusters, labels),
        "unassigned": int((~kept).sum()),
    }


def _sparsity(matrix: np.ndarray) -> dict[str, float]:
    """Claims B1 and B3: how empty the matrix is, and where its distribution is centred."""
    largest = float(np.abs(matrix).max())
    return {
        "positive": float((matrix > 0).mean()),
        "zero": float((matrix == 0).mean()),
        "above_1_percent": float((np.abs(matrix) > 0.01 * largest).mean()),
        "hoyer": coclustering.hoyer_sparsity(matrix),
        "largest": largest,
        "median": float(np.median(matrix)),
        "mean": float(matrix.mean(dtype=np.float64)),
        "skewness": float(stats.skew(matrix.ravel().astype(np.float64))),
    }


def _blocks(matrix: np.ndarray, found: Coclustering, k: int) -> dict[str, float]:
    """Claim B2: how much of the positive mass lies in the k diagonal blocks."""
    summary = coclustering.block_summary(matrix, found.row_labels, found.column_labels, k)
    return {
        "mass_share": summary.mass_share,
        "area_share": summary.area_share,
        "mean_inside": summary.mean_inside,
        "mean_overall": summary.mean_overall,
        "unassigned_units": int((found.row_labels < 0).sum()),
    }


# --- stages -------------------------------------------------------------------------------------------------


def describe(*, dataset: str, model: str, layer: str, seed: int) -> dict[str, Any]:
    """The attribution methods side by side: sparsity, blocks, label coherence, agreement (B1, B6, B12)."""
    images, labels = data.load(dataset, "test")
    classes = labels.numpy()
    net = network(dataset, model, seed)
    matrices = _all_methods(net, layer, images)
    sampled = np.random.default_rng(seed).choice(matrices[METHODS[0]].numel(), EFFORTS[dataset].entries)
    methods: dict[str, Any] = {}
    paper: dict[str, Coclustering] = {}
    entries: dict[str, np.ndarray] = {}
    for method in METHODS:
        matrix = matrices.pop(method).numpy()
        found = {
            form: _cluster(matrix, K, form, seed) for form in (forms(K) if method == "deeplift" else ("paper", "unit"))
        }
        methods[method] = {
            "sparsity": _sparsity(matrix),
            "forms": {
                form: _label_scores(result.column_labels, classes) | _blocks(matrix, result, K)
                for form, result in found.items()
            },
        }
        paper[method] = found["paper"]
        entries[method] = matrix.ravel()[sampled]
    agreement = {
        f"{a}|{b}": {
            "rows": float(adjusted_rand_score(paper[a].row_labels, paper[b].row_labels)),
            "columns": float(adjusted_rand_score(paper[a].column_labels, paper[b].column_labels)),
            "spearman": float(stats.spearmanr(entries[a], entries[b]).statistic),
        }
        for index, a in enumerate(METHODS)
        for b in METHODS[index + 1 :]
    }
    return {"methods": methods, "agreement": agreement, "accuracy": training.accuracy(net, images, labels)}


def structure(*, dataset: str, model: str, layer: str, seed: int) -> dict[str, Any]:
    """The modules of the DeepLIFT matrix (B1–B6, B8, B9, B13–B15), in the two forms that clip."""
    images, labels = data.load(dataset, "test")
    net = network(dataset, model, seed)
    matrix = _matrix(net, layer, images)
    features = layer_activations(net, "act3", images).numpy()
    values: dict[str, Any] = {
        "sparsity": _sparsity(matrix),
        "k": _number_of_modules(matrix, labels.numpy(), EFFORTS[dataset].kmeans_seeds, seed),
    }
    for form in ("paper", "unit"):
        found = _cluster(matrix, K, form, seed)
        rows, columns = found.row_labels, found.column_labels
        null = coclustering.mass_share_null(matrix, rows, columns, K, draws=EFFORTS[dataset].draws, seed=seed)
        blocks = _blocks(matrix, found, K)
        values[form] = {
            "labels": _label_scores(columns, labels.numpy()),
            "label_table": coherence.class_table(columns, labels.numpy(), k=K),
            "blocks": blocks
            | {
                "mass_share_null": float(null.mean()),
                "p": statistics.rank_p_value(blocks["mass_share"], null, ties="strict"),
            },
            "positive": _positive(matrix, found),
            "compactness": {
                "pixels": _compactness(images.flatten(1).numpy(), columns, labels.numpy(), seed),
                "features": _compactness(features, columns, labels.numpy(), seed),
            },
            "sizes": _sizes(matrix, found),
            "lesions": _own_and_other(net, layer, images, labels, found, seed),
        }
        if model == "cnn":
            values[form]["space"] = _space(net, layer, images, rows, EFFORTS[dataset].draws, seed)
    return values


def _number_of_modules(matrix: np.ndarray, classes: np.ndarray, repeats: int, seed: int) -> dict[str, Any]:
    """Claim B15: eigengap, label coherence and stability over k-means seeds for several k."""
    found: dict[str, Any] = {}
    for k in (5, 10, 20, 40):
        runs = [_cluster(matrix, k, "paper", seed + 1000 * repeat) for repeat in range(repeats)]
        pairs = [(a, b) for i, a in enumerate(runs) for b in runs[i + 1 :]]
        found[str(k)] = _label_scores(runs[0].column_labels, classes) | {
            "stability_units": float(np.mean([adjusted_rand_score(a.row_labels, b.row_labels) for a, b in pairs])),
            "stability_samples": float(
                np.mean([adjusted_rand_score(a.column_labels, b.column_labels) for a, b in pairs])
            ),
        }
    spectrum = _cluster(matrix, 20, "unit", seed).singular_values
    return found | {"singular_values": spectrum}


def _positive(matrix: np.ndarray, found: Coclustering) -> dict[str, Any]:
    """Claim B4: inside a block, how many entries are positive, and their share of the absolute mass."""
    fractions, positive, absolute = np.zeros(K), np.zeros(K), np.zeros(K)
    for module in range(K):
        block = matrix[np.ix_(found.row_labels == module, found.column_labels == module)]
        if block.size:
            fractions[module] = (block > 0).mean()
            positive[module] = block[block > 0].sum(dtype=np.float64)
            absolute[module] = np.abs(block).sum(dtype=np.float64)
    ratios = positive / np.maximum(absolute, 1e-30)
    return {
        "pooled_mass_ratio": float(positive.sum() / absolute.sum()),
        "mass_ratio": ratios,
        "fraction": fractions,
        "lowest_mass_ratio": float(ratios[absolute > 0].min()),
    }


def _compactness(features: np.ndarray, clusters: np.ndarray, classes: np.ndarray, seed: int) -> dict[str, float]:
    """Claim B5: distance within over between blocks, its p-value, and the same for the true classes."""
    found = coherence.compactness(features, clusters, draws=200, seed=seed)
    return {
        "ratio": found.ratio,
        "p": statistics.rank_p_value(found.ratio, found.null, "less", ties="strict"),
        "of_classes": coherence.compactness(features, classes, draws=0, seed=seed).ratio,
    }


def _sizes(matrix: np.ndarray, found: Coclustering) -> dict[str, Any]:
    """Claim B14: module sizes, their Gini index, and how few units carry 90 % of a block's positive mass."""
    sizes = np.bincount(found.row_labels[found.row_labels >= 0], minlength=K)
    carriers = np.zeros(K)
    for module in range(K):
        rows = np.flatnonzero(found.row_labels == module)
        mass = np.sort(np.maximum(matrix[np.ix_(rows, found.column_labels == module)], 0).sum(1, dtype=np.float64))[
            ::-1
        ]
        if mass.sum() > 0:
            carriers[module] = (np.searchsorted(np.cumsum(mass), 0.9 * mass.sum()) + 1) / len(rows)
    ordered = np.sort(sizes)
    gini = float((2 * np.arange(1, K + 1) - K - 1) @ ordered / (K * ordered.sum()))
    return {
        "units": sizes,
        "samples": np.bincount(found.column_labels[found.column_labels >= 0], minlength=K),
        "gini": gini,
        "units_for_90_percent": carriers,
    }


def _own_and_other(
    net: nn.Module, layer: str, images: torch.Tensor, labels: torch.Tensor, found: Coclustering, seed: int
) -> dict[str, Any]:
    """Claim B13: accuracy lost on a module's own and on other samples when its units alone are removed."""
    generator = np.random.default_rng(seed)
    modules = [np.flatnonzero(found.row_labels == module) for module in range(K)]
    units = len(found.row_labels)
    random = [generator.choice(units, len(module), replace=False) for module in modules for _ in range(RANDOM_ORDERS)]
    predictions = lesions.lesioned_predictions(net, layer, images, [np.array([], dtype=int), *modules, *random])
    correct = predictions == labels.numpy()
    drop = correct[0].astype(float) - correct[1:]
    own = [found.column_labels == module for module in range(K)]
    by_random = drop[K:].reshape(K, RANDOM_ORDERS, -1)
    filled = [module for module in range(K) if own[module].any() and len(modules[module])]
    return {
        "own": np.array([drop[module][own[module]].mean() for module in filled]),
        "other": np.array([drop[module][~own[module]].mean() for module in filled]),
        "random_own": np.array([by_random[module][:, own[module]].mean() for module in filled]),
        "modules": filled,
        # Which class suffers from which module: the k × classes picture of the chapter.
        "by_class": np.array([[drop[m][labels.numpy() == c].mean() for c in range(10)] for m in range(K)]),
    }


def _space(net: nn.Module, layer: str, images: torch.Tensor, rows: np.ndarray, draws: int, seed: int) -> dict[str, Any]:
    """Claim B8: five tests of place against modules, each with its null, and Holm's adjustment over them."""
    tests = coherence.spatial_tests(rows.reshape(_shape(net, layer, images)), draws=draws, seed=seed)
    p_values = [statistics.rank_p_value(test.value, test.null, ties="strict") for test in tests.values()]
    adjusted = statistics.holm(p_values)
    return {
        name: {
            "value": test.value,
            "null_mean": float(test.null.mean()),
            "null_sd": float(test.null.std(ddof=1)),
            "z": statistics.effect_size(test.value, test.null),
            "p": p_values[index],
            "p_holm": float(adjusted[index]),
        }
        for index, (name, test) in enumerate(tests.items())
    }


def _shape(net: nn.Module, layer: str, images: torch.Tensor) -> tuple[int, ...]:
    """Shape of one sample's output at ``layer``."""
    children = dict(net.named_children())
    names = list(children)
    with torch.no_grad():
        below = nn.Sequential(*[children[name] for name in names[: names.index(layer) + 1]])
        return tuple(below(images[:1]).shape[1:])


def pictures(*, dataset: str, model: str, layer: str, seed: int) -> dict[str, Any]:
    """What figures 1 to 3 show of one network: matrix in two orders, histograms, samples, places of units."""
    images, labels = data.load(dataset, "test")
    net = network(dataset, model, seed)
    matrix = _matrix(net, layer, images)
    found = _cluster(matrix, K, "paper", seed)
    rows, columns = found.row_labels, found.column_labels
    by_row, by_column = np.argsort(rows, kind="stable"), np.argsort(columns, kind="stable")
    largest = float(np.abs(matrix).max())
    edges = np.linspace(-largest, largest, HISTOGRAM_BINS + 1)
    generator = np.random.default_rng(seed)
    chosen = [generator.permutation(np.flatnonzero(columns == module))[:25] for module in range(K)]
    return {
        "raw": _thumbnail(matrix),
        "reordered": _thumbnail(matrix[by_row][:, by_column]),
        "row_sizes": np.bincount(rows + 1, minlength=K + 1),  # unassigned first, as in the reordered matrix
        "column_sizes": np.bincount(columns + 1, minlength=K + 1),
        "edges": edges,
        "histogram": np.histogram(matrix, edges)[0],
        "block_histograms": np.array(
            [np.histogram(matrix[np.ix_(rows == module, columns == module)], edges)[0] for module in range(K)]
        ),
        "samples": [(images[index, 0].numpy() * 255).round().astype(np.uint8) for index in chosen],
        "sample_labels": [labels[index].numpy().astype(np.int8) for index in chosen],
        "unit_modules": rows.reshape(_shape(net, layer, images)).astype(np.int8)
        if model == "cnn"
        else rows.astype(np.int8),
    }


def _thumbnail(matrix: np.ndarray, height: int = 400, width: int = 500) -> dict[str, Any]:
    """The matrix averaged over tiles, in 255 steps up to ±limit, the 99.5th percentile of their size."""
    tall, wide = max(1, matrix.shape[0] // height), max(1, matrix.shape[1] // width)
    trimmed = matrix[: matrix.shape[0] // tall * tall, : matrix.shape[1] // wide * wide]
    tiles = trimmed.reshape(trimmed.shape[0] // tall, tall, trimmed.shape[1] // wide, wide).mean(axis=(1, 3))
    limit = float(np.percentile(np.abs(tiles), 99.5))
    pixels = np.clip(np.round(tiles / limit * 127), -127, 127).astype(np.int8)
    return {"pixels": pixels, "limit": limit, "units_per_pixel": tall, "samples_per_pixel": wide}


def controls(*, dataset: str, model: str, layer: str, seed: int) -> dict[str, Any]:
    """Claim B7: where does the label coherence come from? The same clustering, with other targets or none."""
    images, labels = data.load(dataset, "test")
    classes = labels.numpy()
    net, blank = network(dataset, model, seed), network(dataset, model, seed, trained=False)
    logits, blank_logits = training.predict(net, images), training.predict(blank, images)
    ranked = logits.argsort(dim=1, descending=True)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(10, labels.shape, generator=generator)
    activations = layer_activations(net, layer, images).numpy().T
    matrix = _matrix(net, layer, images)
    mean_image = data.load(dataset, "train")[0].mean(dim=0)
    matrices = {
        "predicted class": matrix,
        "predicted class, mean image as baseline": _matrix(net, layer, images, baseline=mean_image),
        "runner-up class": _matrix(net, layer, images, target=ranked[:, 1]),
        "random class": _matrix(net, layer, images, target=drawn),
        "no target: activations": activations,
        "no target: size over classes": _target_free(net, layer, images),
        "untrained, label": _matrix(blank, layer, images, target=labels),
        "untrained, predicted class of the trained": _matrix(blank, layer, images, target=ranked[:, 0]),
        "untrained, its own predicted class": _matrix(blank, layer, images, target=blank_logits.argmax(1)),
        "untrained, activations": layer_activations(blank, layer, images).numpy().T,
    }
    targets = {"runner-up class": ranked[:, 1].numpy(), "random class": drawn.numpy()}
    found: dict[str, Any] = {"classes_predicted_untrained": int(blank_logits.argmax(1).unique().numel())}
    for name, entries in matrices.items():
        scores = {}
        for form in ("paper", "unit"):
            columns = _cluster(entries, K, form, seed).column_labels
            scores[form] = _label_scores(columns, classes)
            if name in targets:
                scores[form]["nmi_with_target"] = _label_scores(columns, targets[name])["nmi"]
        found[name] = scores
    shuffled = np.random.default_rng(seed).permutation(_cluster(matrix, K, "paper", seed).column_labels)
    found["samples dealt out at random"] = {"paper": _label_scores(shuffled, classes)}
    points = {"pixels": images.flatten(1).numpy(), "activations": activations.T, "matrix": matrix.T}
    for name, rows in points.items():
        clusters = KMeans(K, n_init=3, random_state=seed).fit(rows).labels_
        found[f"k-means on {name}"] = {"k-means": _label_scores(clusters, classes)}
    return found


def _target_free(net: nn.Module, layer: str, images: torch.Tensor) -> np.ndarray:
    """|Δh| times the norm over classes of the centred multipliers: how much a unit matters for any class."""
    parts = []
    for batch in images.split(500):  # all ten classes of all samples at once would be ten matrices
        scores = attribution.attribute(net, layer, batch, method="deeplift", target="all")
        parts.append((scores - scores.mean(dim=1, keepdim=True)).norm(dim=1))
    return torch.cat(parts).T.contiguous().cpu().numpy()


def compare(*, dataset: str, model: str, layer: str, seed: int) -> dict[str, Any]:
    """Other ways to group units and samples of the same matrix, scored as co-clustering is (beyond the paper).

    And co-clustering, in the paper's form, of the matrix by another rule of DeepLIFT.
    """
    images, labels = data.load(dataset, "test")
    net = network(dataset, model, seed)
    matrix = _matrix(net, layer, images)
    positive = np.maximum(matrix, 0)
    clusterings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for form in ("paper", "unit"):
        found = _cluster(positive, K, form, seed)
        clusterings[f"co-clustering, {form}"] = (found.row_labels, found.column_labels)
    factors = NMF(K, init="nndsvda", max_iter=50, random_state=seed)
    with warnings.catch_warnings():  # 50 steps are enough to see which factor is largest
        warnings.simplefilter("ignore", ConvergenceWarning)
        units = factors.fit_transform(positive)
    clusterings["non-negative matrix factorization"] = (units.argmax(1), factors.components_.argmax(0))
    rows, columns = positive.any(axis=1), positive.any(axis=0)
    checkerboard = SpectralBiclustering((K, K), method="bistochastic", random_state=seed)
    checkerboard.fit(positive[rows][:, columns])
    row_labels, column_labels = np.full(rows.size, -1), np.full(columns.size, -1)
    row_labels[rows] = checkerboard.row_labels_
    column_labels[columns] = checkerboard.column_labels_
    # A checkerboard numbers both sides independently: pair them so that the most mass lies in the blocks.
    mass = coclustering.block_mass(positive, row_labels, column_labels, K)
    of_row, of_column = linear_sum_assignment(-mass)
    paired = np.append(of_row[np.argsort(of_column)], -1)[column_labels]
    clusterings["checkerboard biclustering"] = (row_labels, paired)
    generator = np.random.default_rng(seed)
    starts = [clusterings["co-clustering, paper"][1], *generator.integers(K, size=(RANDOM_STARTS, columns.size))]
    clusterings["bipartite modularity"] = others.bipartite_modules(positive, K, starts)

    def scored(entries: np.ndarray, rows_of: np.ndarray, columns_of: np.ndarray) -> dict[str, float]:
        summary = coclustering.block_summary(entries, rows_of, columns_of, K)
        return _label_scores(columns_of, labels.numpy()) | {
            "mass_share": summary.mass_share,
            "area_share": summary.area_share,
            "modularity": others.bipartite_modularity(entries, rows_of, columns_of),
        }

    revealed = _revealed(net, layer, images)
    sampled = np.random.default_rng(seed).choice(matrix.size, EFFORTS[dataset].entries)
    found = _cluster(revealed, K, "paper", seed)
    rule = scored(np.maximum(revealed, 0), found.row_labels, found.column_labels) | {
        "hoyer": coclustering.hoyer_sparsity(revealed),
        "hoyer_rescale": coclustering.hoyer_sparsity(matrix),
        "spearman": float(stats.spearmanr(revealed.ravel()[sampled], matrix.ravel()[sampled]).statistic),
        "rows": float(adjusted_rand_score(found.row_labels, clusterings["co-clustering, paper"][0])),
        "columns": float(adjusted_rand_score(found.column_labels, clusterings["co-clustering, paper"][1])),
    }
    return {name: scored(positive, *of) for name, of in clusterings.items()} | {"RevealCancel": rule}


def _revealed(net: nn.Sequential, layer: str, images: torch.Tensor) -> np.ndarray:
    """The matrix by the RevealCancel rule, units × samples: black image, predicted class minus the mean of all."""
    names = [name for name, _ in net.named_children()]
    above = nn.Sequential(*list(net.children())[names.index(layer) + 1 :])
    logits = training.predict(net, images)
    outputs = nn.functional.one_hot(logits.argmax(1), logits.shape[1]) - 1 / logits.shape[1]
    values, baseline = (layer_activations(net, layer, own) for own in (images, torch.zeros_like(images[:1])))
    return others.reveal_cancel(above, values, baseline, outputs).T.contiguous().numpy()


# --- ablation -----------------------------------------------------------------------------------------------


def ablate(*, dataset: str, model: str, layer: str, seed: int) -> dict[str, Any]:
    """Claims B10 and B11: accuracy on the second half while units go by modules found on the first half."""
    effort = EFFORTS[dataset]
    images, labels = data.load(dataset, "test")
    half = len(images) // 2
    net = network(dataset, model, seed)
    matrices = _all_methods(net, layer, images[:half])
    mean_activation = layer_activations(net, layer, images[:half]).mean(0).numpy()
    plain = {method: entries.numpy() for method, entries in matrices.items()}
    of_prediction = attribution.attribute(
        net, layer, images[:half], method="deeplift", target=training.predict(net, images[:half]).argmax(1)
    ).numpy()
    orders: dict[str, list[list[np.ndarray]]] = {}
    for method, matrix in plain.items():
        for form in ("paper", "unit", "stock") if method == "deeplift" else ("paper", "unit"):
            for repeat in range(effort.kmeans_seeds):
                found = _cluster(matrix, effort.k_ablation, form, seed + 1000 * repeat)
                for by in ("mass", "density"):
                    modules = _removal(matrix, found, effort.k_ablation, by)
                    orders.setdefault(f"{method}/{form}/{by}", []).append(modules)
                    if by == "mass" and repeat == 0:
                        orders[f"{method}/{form}/random order"] = _shuffled(
                            modules, seed, 20 if method == "deeplift" else 5
                        )
        counts = [len(group) for group in orders[f"{method}/paper/mass"][0]]
        orders[f"{method}/greedy mean"] = [_by_score(matrix.mean(1), counts)]
        orders[f"{method}/greedy positive part"] = [_by_score(np.maximum(matrix, 0).mean(1), counts)]
    counts = [len(group) for group in orders["deeplift/paper/mass"][0]]
    orders["deeplift/greedy predicted class"] = [_by_score(of_prediction.mean(0), counts)]
    orders["deeplift/greedy size for predicted class"] = [_by_score(np.abs(of_prediction).mean(0), counts)]
    generator = np.random.default_rng(seed)
    scores = [generator.permutation(len(mean_activation)) for _ in range(RANDOM_ORDERS)]
    orders["random"] = [_by_score(score, counts) for score in scores]
    evaluated = _curves(net, layer, images[half:], labels[half:], orders)
    by_mean = {name: orders[name][:1] for name in ("deeplift/paper/mass", "deeplift/greedy mean")}
    by_mean["random"] = orders["random"][:5]
    return {
        "zero": evaluated,
        "mean": _curves(net, layer, images[half:], labels[half:], by_mean, replacement=mean_activation),
        "samples": half,
    }


def _removal(matrix: np.ndarray, found: Coclustering, k: int, by: str) -> list[np.ndarray]:
    """Units of each of k modules in the order of removal; unassigned units go last."""
    order = coclustering.module_order(matrix, found.row_labels, found.column_labels, k, by=by)
    return [np.flatnonzero(found.row_labels == module) for module in (*order, -1)]


def _by_score(scores: np.ndarray, counts: list[int]) -> list[np.ndarray]:
    """Units in descending score, in groups of the given sizes."""
    return np.split(np.argsort(-scores, kind="stable"), np.cumsum(counts)[:-1])


def _shuffled(modules: list[np.ndarray], seed: int, times: int) -> list[list[np.ndarray]]:
    generator = np.random.default_rng(seed)
    *assigned, last = modules
    return [[assigned[index] for index in generator.permutation(len(assigned))] + [last] for _ in range(times)]


def _curves(
    net: nn.Module,
    layer: str,
    images: torch.Tensor,
    labels: torch.Tensor,
    orders: dict[str, list[list[np.ndarray]]],
    *,
    replacement: np.ndarray | None = None,
) -> dict[str, Any]:
    """Per way of removal: area under accuracy against removed share, and the mean curve on a grid."""
    flat = [groups for curves in orders.values() for groups in curves]
    counts = lesions.ablation_curves(net, layer, images, labels, flat, replacement=replacement)
    found: dict[str, Any] = {}
    start = 0
    grid = np.linspace(0, 1, 81)
    for name, curves in orders.items():
        areas, on_grid = [], []
        for groups, correct in zip(curves, counts[start : start + len(curves)], strict=True):
            removed = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
            share, accuracy = removed / removed[-1], correct / len(labels)
            areas.append(float(np.trapezoid(accuracy, share)))
            on_grid.append(np.interp(grid, share, accuracy))
        start += len(curves)
        found[name] = {
            "areas": areas,
            "area": float(np.mean(areas)),
            "curve": np.mean(on_grid, axis=0).round(5),
        }
    return found


# --- extension grid -----------------------------------------------------------------------------------------


def extend(*, dataset: str, model: str, layer: str, activation: str, seed: int) -> dict[str, Any]:
    """One cell of the extension grid: the main numbers for another layer, activation, model or data set."""
    net = network(dataset, model, seed, activation=activation)
    blank = network(dataset, model, seed, activation=activation, trained=False)
    return _main_numbers(net, blank, dataset, model, layer, seed)


def regularize(*, dataset: str, regularization: str, seed: int) -> dict[str, Any]:
    """The same for the paper's layer when the CNN is trained without dropout, or with weight decay instead."""
    setting = (dataset, "cnn", "relu", regularization, seed)
    return _main_numbers(_trained(*setting)[0], _untrained(*setting), dataset, "cnn", "act2", seed)


def _main_numbers(
    net: nn.Sequential, blank: nn.Sequential, dataset: str, model: str, layer: str, seed: int
) -> dict[str, Any]:
    images, labels = data.load(dataset, "test")
    predicted = training.predict(net, images).argmax(1)
    matrix = _matrix(net, layer, images)
    found = _cluster(matrix, K, "paper", seed)
    control = _cluster(_matrix(blank, layer, images, target=predicted), K, "paper", seed)
    free = _cluster(np.abs(layer_activations(net, layer, images).numpy().T), K, "paper", seed)
    nmi, nmi_untrained, nmi_activations = (
        _label_scores(clusters.column_labels, predicted.numpy())["nmi"] for clusters in (found, control, free)
    )
    blocks = _blocks(matrix, found, K)
    values: dict[str, Any] = {
        "accuracy": float((predicted == labels).double().mean()),
        "units": matrix.shape[0],
        "positive": float((matrix > 0).mean()),
        "hoyer": coclustering.hoyer_sparsity(matrix),
        "mass_share": blocks["mass_share"],
        "mass_ratio": blocks["mass_share"] / blocks["area_share"],
        "nmi": nmi,
        "nmi_untrained": nmi_untrained,
        "nmi_activations": nmi_activations,
        "purity": coherence.purity(found.column_labels, labels.numpy()),
    }
    if model == "cnn" and layer != "act3":
        space = _space(net, layer, images, found.row_labels, EFFORTS[dataset].draws, seed)
        values["space"] = {name: {"z": test["z"], "p_holm": test["p_holm"]} for name, test in space.items()}
    # Above the first convolution every point of a curve is a pass through the second: fewer images.
    half = len(images) // 2
    measured = slice(half, half + 1000) if (model, layer) == ("cnn", "act1") else slice(half, None)
    matrix = matrix[:, :half]
    k = EFFORTS[dataset].k_ablation
    modules = _removal(matrix, _cluster(matrix, k, "paper", seed), k, "mass")
    counts = [len(group) for group in modules]
    generator = np.random.default_rng(seed)
    orders = {
        "module": [modules],
        "greedy": [_by_score(matrix.mean(1), counts)],
        "random": [_by_score(generator.permutation(len(matrix)), counts) for _ in range(3)],
    }
    curves = _curves(net, layer, images[measured], labels[measured], orders)
    return values | {"area": {name: curve["area"] for name, curve in curves.items()}}


#: Values that do not depend on training: the data alone, and networks as they were initialised.
UNTRAINED = ("parameters", "epochs", "samples", "units", "classes_predicted_untrained")


def untrained_values(stage: str, params: Mapping[str, Any], name: str) -> bool:
    """Whether a recorded value, by its dotted name, does not depend on training.

    Clusters of an untrained network are left out: so many entries of its matrix are nearly alike that rounding decides
    between them.
    """
    of_data = name.startswith("k-means on pixels.") or name.endswith("compactness.pixels.of_classes")
    return of_data or name in UNTRAINED


def networks_of(stage: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parameters of the cells that train the networks behind a cell."""
    # In the order of the stage `train`: a label, and so an address, is in the order of the parameters.
    model = params.get("model", "cnn")
    return [
        {
            "dataset": params["dataset"],
            "model": model,
            "activation": params.get("activation", "relu"),
            "regularization": params.get("regularization", REGULARIZATION[model]),
            "seed": params["seed"],
        }
    ]


# --- the plan ---------------------------------------------------------------------------------------------------------


def plan(scale: str) -> list[Cell]:
    """All cells of a scale, those that others build on first.

    ``paper``: the paper's network and data with ten training seeds, an MLP and Fashion-MNIST beside it, then the
    extension grid with five seeds. ``quick``: the same stages on the embedded digits with two seeds and a small grid.

    Raises
    ------
    ValueError
        An unknown scale.
    """
    check_scale(scale)
    quick = scale == "quick"
    main = ["digits"] if quick else ["mnist", "fashion-mnist"]
    activations = ["relu", "tanh"] if quick else list(networks.ACTIVATIONS)
    seeds, grid_seeds = (2, 1) if quick else (10, 5)
    cells: list[Cell] = []

    def add(stage: str, **params: Any) -> None:
        cell = Cell(STUDY, stage, params)
        if cell not in cells:
            cells.append(cell)

    def add_training(dataset: str, model: str, activation: str, seed: int, regularization: str | None = None) -> None:
        setting = {"activation": activation, "regularization": regularization or REGULARIZATION[model]}
        add("train", dataset=dataset, model=model, **setting, seed=seed)

    for dataset in main:
        for model, layers in (("cnn", ("act2",)), ("mlp", ("act1", "act2"))):
            for seed in range(seeds):
                add_training(dataset, model, "relu", seed)
            for layer in layers:
                stages = ["structure", "controls", "ablate", "describe"] if model == "cnn" else ["structure"]
                if model == "mlp" and dataset != "fashion-mnist":
                    stages.append("controls")
                for seed in range(seeds):
                    for stage in stages:
                        add(stage, dataset=dataset, model=model, layer=layer, seed=seed)
        add("pictures", dataset=dataset, model="cnn", layer="act2", seed=0)
        for seed in range(min(3, seeds)):
            add("compare", dataset=dataset, model="cnn", layer="act2", seed=seed)
    # Seed by seed, so that an unfinished grid is complete for the seeds it has.
    for seed in range(grid_seeds):
        for dataset in main:
            for model in ("cnn", "mlp"):
                for activation in activations:
                    add_training(dataset, model, activation, seed)
                    for layer in ("act1", "act2", "act3"):
                        params = {"model": model, "layer": layer, "activation": activation}
                        add("extend", dataset=dataset, **params, seed=seed)
            for regularization in ("weight_decay", "none"):
                add_training(dataset, "cnn", "relu", seed, regularization)
                add("regularize", dataset=dataset, regularization=regularization, seed=seed)
    return cells
