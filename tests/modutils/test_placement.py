"""What comes in decides what goes out, and where; nothing as large as a matrix leaves an accelerator on the way.

The accelerator is pretended (`pretended`), so that its path runs anywhere; its numbers are those of numpy's path.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from pretended import PRETENDED, Pretended, accelerator
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from modutils import _arrays, graphs, similarity, spectral
from modutils.agreement import chance_similarities, element_similarities
from modutils.attribution import attribute, neuron_sample_matrix
from modutils.coclustering import (
    block_mass,
    block_summary,
    hoyer_sparsity,
    mass_share_null,
    module_order,
    spectral_cocluster,
)
from modutils.coherence import (
    class_ranges,
    class_table,
    compactness,
    label_entropy,
    purity,
    softmax_entropy,
    spatial_tests,
)
from modutils.partitions import permutation_test
from modutils.statistics import effect_size, holm, partition_scores, rank_p_value, rank_p_values
from modutils.units import layer_activations

K = 3
rng = np.random.default_rng(0)
GROUPS, COLUMNS = rng.permutation(np.arange(40) % K), rng.permutation(np.arange(70) % K)
MATRIX = np.where(GROUPS[:, None] == COLUMNS, 1, 0.1) * rng.exponential(size=(40, 70)) - 0.05
MATRIX[7], MATRIX[:, 5] = -1, -2
GRAPH = np.where(GROUPS[:, None] == GROUPS, 1, 0.1) * (MATRIX.clip(0) @ MATRIX.clip(0).T)
ACTIVATIONS = np.where(COLUMNS[:, None] == GROUPS, 2, 0) + rng.normal(size=(70, 40)).round(1)  # with ties
ACTIVATIONS[:, 3] = 0.1
WEIGHTS = [rng.normal(size=shape) * (rng.random(shape) < 0.8) for shape in ((12, 10), (9, 12), (8, 9))]
WEIGHTS[1][:, 4] = WEIGHTS[0][4] = 0
LABELS = np.where(np.arange(40) == 7, -1, GROUPS)
PARTITIONS = np.stack([LABELS, rng.integers(-1, 5, 40), np.full(40, 10**12)])
NULL = rng.integers(0, 9, (6, 30)).astype(float)

CASES: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "normalize": lambda put: similarity.normalize(put(GRAPH)),
    "normalize by max": lambda put: similarity.normalize(put(GRAPH), how="max"),
    "spearman": lambda put: graphs.correlation_graph(put(ACTIVATIONS)),
    "pearson": lambda put: graphs.correlation_graph(put(ACTIVATIONS), kind="pearson"),
    "by layer": lambda put: graphs.by_layer(put(LABELS[:39]), [put(w) for w in WEIGHTS]),
    "weight graph": lambda put: graphs.weight_graph([put(w) for w in WEIGHTS]),
    "block mass": lambda put: block_mass(put(MATRIX), put(LABELS), COLUMNS, K),
    "block mass, signed": lambda put: block_mass(put(MATRIX), LABELS, put(COLUMNS), K, signed=True),
    "block summary": lambda put: block_summary(put(MATRIX), put(LABELS), put(COLUMNS), K),
    "mass share null": lambda put: mass_share_null(put(MATRIX), put(LABELS), put(COLUMNS), K, draws=9),
    "order by mass": lambda put: module_order(put(MATRIX), put(LABELS), put(COLUMNS), K),
    "order by density": lambda put: module_order(put(MATRIX), put(LABELS), put(COLUMNS), K, by="density"),
    "hoyer": lambda put: hoyer_sparsity(put(MATRIX)),
    "eigenvalues": lambda put: spectral.embedding(put(GRAPH), K).eigenvalues,
    "eigenvalues by layers": lambda put: spectral.layered_embedding([put(w) for w in WEIGHTS], 4).eigenvalues,
    "eigenvalues of all": lambda put: spectral.layered_embedding([put(w) for w in WEIGHTS], 30).eigenvalues,
    "nodes": lambda put: spectral.layered_embedding([put(w) for w in WEIGHTS], 4).nodes,
    "n-cut": lambda put: spectral.ncut(put(GRAPH), put(LABELS)),
    "n-cut by layers": lambda put: spectral.layered_ncut([put(w) for w in WEIGHTS], LABELS[:39] % 2),
    "components": lambda put: spectral.components([put(np.kron(np.eye(3), w)) for w in WEIGHTS]),
    "shuffled weights": lambda put: list(islice(spectral.shuffled_weights([put(w) for w in WEIGHTS], seed=3), 2)),
    "shuffled weights, zeros kept": lambda put: next(spectral.shuffled_weights([put(WEIGHTS[0])], keep_zeros=True)),
    "shuffled edges": lambda put: list(islice(spectral.shuffled_edges(put(GRAPH), seed=3), 2)),
    "clusterability": lambda put: spectral.clusterability(0.3, put(NULL[0])),
    "agreement": lambda put: element_similarities(put(PARTITIONS)),
    "agreement of the used": lambda put: element_similarities(put(PARTITIONS), unused="drop"),
    "chance": lambda put: chance_similarities(put(PARTITIONS)),
    "chance of the used": lambda put: chance_similarities(put(PARTITIONS), unused="drop"),
    "purity": lambda put: purity(put(LABELS), GROUPS),
    "class table": lambda put: class_table(put(LABELS), put(GROUPS), k=5),
    "compactness": lambda put: compactness(put(MATRIX), put(LABELS), draws=5),
    "places": lambda put: spatial_tests(put(GROUPS.reshape(2, 4, 5)), draws=3)["neighbours:all"],
    "class ranges": lambda put: class_ranges(
        put(np.vstack([MATRIX[:3], MATRIX[:1] - MATRIX[:1], [[0, -1, 1] + 67 * [0]]]))
    ),
    "softmax entropy": lambda put: softmax_entropy(put(torch.tensor(MATRIX))),
    "label entropy": lambda put: label_entropy(put(MATRIX.round(1)), put(COLUMNS), top=9),
    "ranks among a null": lambda put: rank_p_values(put(NULL[:, 0]), put(NULL[:, 1:])),
    "ranks, ties ignored": lambda put: rank_p_values(NULL[:, 0], put(NULL[:, 1:]), "less", ties="ignored"),
    "rank": lambda put: rank_p_value(put(NULL)[0, 0], put(NULL[0, 1:]), "two-sided", ties="strict"),
    "scores of partitions": lambda put: partition_scores(put(NULL[:, 0]), put(NULL[:, 1:])),
    "effect size": lambda put: effect_size(3.0, put(NULL[0])),
    "holm": lambda put: holm(put(np.array([0.01, 0.04, 0.03]))),
    "permutation test": lambda put: permutation_test(
        [put(LABELS)], lambda _, sets: {"sum": put(np.array([ACTIVATIONS[:, s].sum() for s in sets]))}, draws=4
    ).values["sum"],
}
#: Numbers alone come out of these, wherever the data are.
FLOATS = {"block summary", "hoyer", "n-cut", "n-cut by layers", "purity", "rank", "effect size"}


def _leaves(result: Any) -> list[Any]:
    if isinstance(result, list | tuple):
        return [leaf for one in result for leaf in _leaves(one)]
    return _leaves(list(vars(result).values())) if hasattr(result, "__dataclass_fields__") else [result]


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(leaf.as_subclass(Tensor) if isinstance(leaf, Pretended) else leaf)


@pytest.mark.parametrize("name", CASES)
def test_results_lie_where_the_data_are_and_are_those_of_numpy(name: str) -> None:
    call = CASES[name]
    expected = _leaves(call(lambda array: array))
    with accelerator() as put:
        placed = _leaves(call(put))
        at = [leaf.device for leaf in placed if isinstance(leaf, Tensor)]
    assert set(at) == (set() if name in FLOATS else {PRETENDED})
    beside = _leaves(call(torch.as_tensor))
    assert len(expected) == len(placed) == len(beside)
    for numbers, here, there in zip(expected, beside, placed, strict=True):
        assert isinstance(here, Tensor) == isinstance(there, Tensor) == (isinstance(numbers, np.ndarray | Tensor))
        assert _plain(here).dtype == _plain(there).dtype == np.asarray(numbers).dtype
        np.testing.assert_array_equal(_plain(here), np.asarray(numbers))  # the same path
        np.testing.assert_allclose(_plain(there), np.asarray(numbers), rtol=1e-11, atol=1e-13)


def _same_partition(a: Any, b: Any) -> bool:
    a, b = _plain(a), _plain(b)
    names = {*zip(a.tolist(), b.tolist(), strict=True)}
    return len(names) == len(set(a.tolist())) == len(set(b.tolist())) and all((x < 0) == (y < 0) for x, y in names)


@pytest.mark.parametrize("signs", ["clip", "shift", "abs"])
@pytest.mark.parametrize("embedding", ["unit", "degree"])
def test_modules_of_units_and_samples(signs: str, embedding: str) -> None:
    matrix = MATRIX - 0.2 * (MATRIX < -0.5)
    expected = spectral_cocluster(matrix, K, signs=signs, embedding=embedding, n_vectors=2)
    with accelerator() as put:
        found = spectral_cocluster(put(matrix), K, signs=signs, embedding=embedding, n_vectors=2)
        assert {part.device for part in _leaves(found)} == {PRETENDED}
    assert _same_partition(found.row_labels, expected.row_labels)
    assert _same_partition(found.column_labels, expected.column_labels)
    edges = {"clip": matrix.clip(0), "abs": np.abs(matrix), "shift": matrix - matrix.min()}[signs]
    edges = edges[edges.any(1)][:, edges.any(0)]
    exact = np.linalg.svd(edges / np.sqrt(np.outer(edges.sum(1), edges.sum(0))), compute_uv=False)[:3]
    np.testing.assert_allclose(_plain(found.singular_values), exact, rtol=1e-12)


def test_modules_of_a_graph_that_falls_apart() -> None:
    matrix = np.kron(np.eye(4), np.ones((5, 7)))
    with accelerator() as put:
        found = spectral_cocluster(put(matrix), 4)
    assert _same_partition(found.row_labels, np.repeat(np.arange(4), 5))
    assert _same_partition(found.column_labels, np.repeat(np.arange(4), 7))


def test_clusters_from_describing_units_to_testing_modules() -> None:
    weights = [torch.as_tensor(w, dtype=torch.float64) for w in WEIGHTS]
    inputs = torch.as_tensor(rng.normal(size=(50, 10)))
    with accelerator() as put:
        biases = [put(torch.zeros(len(w), dtype=torch.float64)) for w in weights]
        found = similarity.mlp_similarities([put(w) for w in weights], biases, put(inputs))
        for layer in found:
            for one in layer.values():
                graph = similarity.normalize(one.inside)
                labels = spectral.spectral_clusters(graph, 2, restarts=3)
                assert graph.device == labels.device == PRETENDED
                assert 0 <= spectral.ncut(graph, labels) <= 2
    expected = similarity.mlp_similarities(weights, [torch.zeros(len(w)) for w in weights], inputs)
    for layer, reference in zip(found, expected, strict=True):
        for measure, one in layer.items():
            np.testing.assert_allclose(_plain(one.outside), reference[measure].outside, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("measure", similarity.MEASURES)
def test_from_a_network_on_the_accelerator_to_its_modules(measure: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4)).double().eval()
    images = torch.randn(20, 1, 8, 8).double()
    expected = similarity.unit_similarity(model, "1", images, measure=measure)
    with accelerator() as put:
        for part in model.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                setattr(part, name, nn.Parameter(put(parameter.detach())))
        found = similarity.unit_similarity(model, "1", put(images), measure=measure)
        labels = spectral.spectral_clusters(similarity.normalize(found), 2)
        assert found.device == labels.device == PRETENDED
    np.testing.assert_allclose(_plain(found), expected, rtol=1e-10)
    assert set(_plain(labels)) == {0, 1}


def test_clusters_of_graphs() -> None:
    with accelerator() as put:
        found = spectral.spectral_clusters(put(GRAPH), K)
        by_layers = spectral.local_clusters([put(w) for w in WEIGHTS], [2, 2, 2, 2])
        assert found.device == by_layers.device == PRETENDED
    assert _same_partition(found, spectral.spectral_clusters(GRAPH, K))
    assert _same_partition(found, spectral.spectral_clusters(torch.as_tensor(GRAPH), K))
    blocks = [np.kron(np.eye(3), np.ones((4, 5))), np.kron(np.eye(3), np.ones((2, 4)))]
    with accelerator() as put:
        layered = spectral.layered_clusters([put(w) for w in blocks], 3)
    assert _same_partition(layered, spectral.layered_clusters(blocks, 3))
    assert _same_partition(layered, np.repeat(np.tile(np.arange(3), 3), np.repeat([5, 4, 2], 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda put: spectral_cocluster(put(np.full((4, 4), np.nan)), 2), "matrix contains NaN"),
        (lambda put: spectral_cocluster(put(np.eye(3)[0]), 2), r"matrix is torch.float64 of shape \(3,\)"),
        (lambda put: spectral_cocluster(put(-np.eye(3)), 2), "no entry above zero"),
        (lambda put: spectral_cocluster(put(np.eye(3)), 4), "k=4 is more than the 3 rows"),
        (lambda put: block_mass(put(np.eye(3)), [0, 1, 2], [0, 1, 1], 2), "row_labels goes from 0 to 2"),
        (lambda put: spectral.spectral_clusters(put(np.ones((2, 3))), 1), r"A has shape \(2, 3\)"),
        (lambda put: spectral.spectral_clusters(put(np.full((2, 2), np.inf)), 1), "A must have finite"),
        (lambda put: spectral.spectral_clusters(put(np.triu(np.ones((3, 3)))), 1), "A is not symmetric"),
        (lambda put: spectral.layered_ncut([put(np.full((2, 2), np.nan))], [0, 0, 1, 1]), r"weights\[0\] has NaN"),
        (lambda put: graphs.correlation_graph(put(np.ones((1, 3)))), r"activations has shape \(1, 3\)"),
        (lambda put: element_similarities(put(np.array([[0, -2]]))), "labels is torch.int64 from -2"),
        (lambda put: compactness(put(np.full((4, 2), np.nan)), [0, 0, 1, 1]), "features has numbers"),
        (lambda put: class_ranges(put(np.zeros(3))), r"changes has shape \(3,\)"),
        (lambda put: label_entropy(put(np.full((2, 3), np.inf)), [0, 1, 2]), "drive and classes"),
        (lambda put: rank_p_values(put(np.zeros(2)), put(np.full((2, 2), np.nan))), "values or null has NaN"),
        (lambda put: rank_p_values(put(np.zeros(2)), put(np.zeros((3, 2)))), r"shapes \(2,\) and \(3, 2\)"),
    ],
)
def test_bad_input_on_the_accelerator(call: Callable[[Any], Any], message: str) -> None:
    with accelerator() as put, pytest.raises(ValueError, match=message):
        call(put)


def test_the_guard_guards() -> None:
    with accelerator() as put:
        matrix = put(np.ones((3, 4)))
        assert matrix.device == (matrix + 1).T.device == PRETENDED
        for copy in (matrix.cpu, matrix.tolist):
            with pytest.raises(AssertionError, match="copied to the host"):
                copy()
        for convert in (matrix.numpy, lambda: np.asarray(matrix)):
            with pytest.raises(TypeError, match="can't convert cuda"):
                convert()
        with pytest.raises(RuntimeError, match="two devices"):
            matrix @ torch.ones(4, 2, dtype=torch.float64)
        assert float(matrix.sum()) == 12
        assert type(_arrays.host(matrix[0])) is np.ndarray


@pytest.mark.parametrize(
    "call",
    [
        lambda x: _arrays.ranks(x),
        lambda x: softmax_entropy(x),
    ],
    ids=["ranks", "entropy"],
)
def test_no_device_is_named_in_a_formula(call: Callable[[Tensor], Tensor]) -> None:
    """By torch's own tensors without values, where nothing hangs on values and, without CUDA, nothing is indexed."""
    with FakeTensorMode():
        found = call(torch.empty(12, 7, dtype=torch.float64, device="cuda"))
        assert found.device.type == "cuda"


@pytest.mark.parametrize(
    "describe",
    [
        lambda model, x: layer_activations(model, "1", x),
        lambda model, x: layer_activations(model, "1", x, units="channel"),
        lambda model, x: neuron_sample_matrix(model, "1", x),
        lambda model, x: attribute(model, "1", x, method="conductance", target="all"),
        lambda model, x: attribute(model, "1", x, method="guided_backprop", target=1),
    ],
    ids=["activations", "of channels", "matrix", "to all classes", "to one class"],
)
def test_descriptions_lie_where_the_network_is(describe: Callable[[nn.Module, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4)).double().eval()
    images = torch.randn(20, 1, 8, 8).double()
    expected = describe(model, images)
    with accelerator() as put:
        for part in model.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                setattr(part, name, nn.Parameter(put(parameter.detach())))
        found = describe(model, put(images))
        assert found.device == PRETENDED
    np.testing.assert_allclose(_plain(found), expected, rtol=1e-10, atol=1e-12)
