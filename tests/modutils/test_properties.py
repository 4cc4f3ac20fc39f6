"""What every public function that describes, groups or tests keeps, whatever it is given (by hypothesis).

The kind of an array, its precision and layout, a scale, the order of units and samples: none changes the result but as
it must. Nothing of the caller's changes, equal seeds give equal results, and what has no answer is a ValueError.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from modutils import coclustering, coherence, graphs, partitions, similarity, spectral, statistics
from modutils.agreement import chance_similarity, element_similarities, element_similarity
from modutils.attribution import attribute, neuron_sample_matrix
from modutils.lesions import correct_counts
from modutils.modularity import effective_number
from modutils.units import layer_activations

few = settings(max_examples=20, deadline=None, derandomize=True, database=None)

Call = Callable[[Any], Any]


def _dealt(n: int, k: int = 2) -> np.ndarray:
    return np.arange(n) % k


#: Functions of a matrix (units or sets, samples).
MATRIX: dict[str, Call] = {
    "correlation_graph": graphs.correlation_graph,
    "correlation_graph, pearson": lambda x: graphs.correlation_graph(x, "pearson"),
    "weight_graph": lambda x: graphs.weight_graph([x]),
    "layered_ncut": lambda x: spectral.layered_ncut([x], _dealt(sum(x.shape))),
    "layered_embedding": lambda x: spectral.layered_embedding([x], 2).eigenvalues,
    "components": lambda x: spectral.components([x]),
    "shuffled_weights": lambda x: next(spectral.shuffled_weights([x])),
    "singular values": lambda x: coclustering.spectral_cocluster(x, 2).singular_values,
    "block_mass": lambda x: coclustering.block_mass(x, _dealt(len(x)), _dealt(x.shape[1]), 2),
    "block_mass, signed": lambda x: coclustering.block_mass(x, _dealt(len(x)), _dealt(x.shape[1]), 2, signed=True),
    "block_summary": lambda x: coclustering.block_summary(x, _dealt(len(x)), _dealt(x.shape[1]), 2),
    "mass_share_null": lambda x: coclustering.mass_share_null(x, _dealt(len(x)), _dealt(x.shape[1]), 2, draws=3),
    "hoyer_sparsity": coclustering.hoyer_sparsity,
    "compactness": lambda x: coherence.compactness(x, _dealt(len(x)), draws=3),
    "class_ranges": coherence.class_ranges,
    "label_entropy": lambda x: coherence.label_entropy(x, _dealt(x.shape[1]), top=2),
    "rank_p_values": lambda x: statistics.rank_p_values(x[..., :1].reshape(-1), x[..., 1:]),
    "partition_scores": lambda x: statistics.partition_scores(x[..., :1].reshape(-1), x[..., 1:]),
}
#: Functions of a graph (units, units).
GRAPH: dict[str, Call] = {
    "normalize": similarity.normalize,
    "normalize by max": lambda a: similarity.normalize(a, how="max"),
    "embedding": lambda a: spectral.embedding(a, 2).eigenvalues,
    "ncut": lambda a: spectral.ncut(a, _dealt(len(a))),
    "shuffled_edges": lambda a: next(spectral.shuffled_edges(a)),
}
#: Functions of labels.
LABELS: dict[str, Call] = {
    "element_similarity": lambda a: element_similarity(a, _dealt(len(a))),
    "element_similarity of the used": lambda a: element_similarity(a, _dealt(len(a)), unused="drop"),
    "chance_similarity": lambda a: chance_similarity(a, _dealt(len(a), 3)),
    "effective_number": effective_number,
    "purity": lambda a: coherence.purity(a, _dealt(len(a))),
    "class_table": lambda a: coherence.class_table(a, _dealt(len(a)), k=9),
    "permutation_test": lambda a: partitions.permutation_test([a], lambda _, sets: {"n": [len(s) for s in sets]}),
}
#: Their result has the precision of what they are given, not float64.
OWN_PRECISION = {"normalize", "normalize by max"}

EIGHTHS = st.integers(-40, 40).map(lambda i: i / 8)  # exact in half precision too
MATRICES = st.tuples(st.integers(3, 7), st.integers(3, 7)).flatmap(lambda s: arrays(np.float64, s, elements=EIGHTHS))
GRAPHS = st.integers(3, 7).flatmap(lambda n: arrays(np.float64, (n, n), elements=EIGHTHS)).map(lambda x: abs(x + x.T))
PARTITIONS = st.lists(st.integers(-1, 4), min_size=3, max_size=12).map(np.array)
KINDS: dict[str, Call] = {
    "Fortran order": np.asfortranarray,
    "negative strides": lambda x: x[..., ::-1].copy()[..., ::-1],
    "not contiguous": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "tensor": lambda x: torch.tensor(x),
    "transposed tensor": lambda x: torch.tensor(x.T.copy()).permute(*range(x.ndim)[::-1]),
    "tensor with a gradient": lambda x: torch.tensor(x, requires_grad=x.dtype.kind == "f"),
}
#: Other precisions, and the size of their rounding.
TYPES: dict[str, list[tuple[Call, float]]] = {
    "f": [
        (lambda x: x.astype(np.float16), 2**-11),
        (lambda x: x.astype(np.float32), 2**-24),
        (lambda x: torch.tensor(x).half(), 2**-11),
        (lambda x: torch.tensor(x).bfloat16(), 2**-8),
        (lambda x: torch.tensor(x).float(), 2**-24),
    ],
    "i": [
        (lambda x: x.astype(np.int8), 0),
        (lambda x: x.astype(np.int32), 0),
        (lambda x: torch.tensor(x).short(), 0),
    ],
}


def _leaves(result: Any) -> list[np.ndarray]:
    if isinstance(result, dict):
        result = list(result.values())
    if hasattr(result, "__dataclass_fields__"):
        result = list(vars(result).values())
    if isinstance(result, list | tuple):
        return [leaf for one in result for leaf in _leaves(one)]
    if isinstance(result, Tensor):
        result = (result.float() if result.dtype == torch.bfloat16 else result).detach().numpy()
    return [np.asarray(result)]


def _outcome(call: Call, given: Any) -> list[np.ndarray] | str:
    try:
        return _leaves(call(given))
    except ValueError as error:
        return f"ValueError: {error}"


def _check_equal(found: list[np.ndarray] | str, expected: list[np.ndarray] | str, rtol: float = 1e-9) -> None:
    if isinstance(found, str) or isinstance(expected, str):
        assert isinstance(found, str)
        assert isinstance(expected, str), found
        return
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=rtol, atol=rtol)


def _check_kinds(name: str, call: Call, values: np.ndarray) -> None:
    expected = _outcome(call, values)
    for kind in KINDS.values():
        given_values = kind(values)
        _check_equal(_outcome(call, given_values), expected)
        np.testing.assert_array_equal(_leaves(given_values)[0], values)
    for convert, rounding in TYPES[values.dtype.kind]:
        other = convert(values)
        exact = (other.double().numpy() if isinstance(other, Tensor) else other).astype(values.dtype)
        _check_equal(_outcome(call, other), _outcome(call, exact), 8 * rounding if name in OWN_PRECISION else 1e-9)


@pytest.mark.parametrize("name", MATRIX)
@few
@given(x=MATRICES)
def test_kinds_of_matrices(name: str, x: np.ndarray) -> None:
    _check_kinds(name, MATRIX[name], x)


@pytest.mark.parametrize("name", GRAPH)
@few
@given(a=GRAPHS)
def test_kinds_of_graphs(name: str, a: np.ndarray) -> None:
    _check_kinds(name, GRAPH[name], a)


@pytest.mark.parametrize("name", LABELS)
@few
@given(labels=PARTITIONS)
def test_kinds_of_labels(name: str, labels: np.ndarray) -> None:
    _check_kinds(name, LABELS[name], labels)


@pytest.mark.parametrize("name", [*MATRIX, *GRAPH])
@few
@given(data=st.data())
def test_nothing_of_the_callers_changes_and_equal_seeds_are_equal(name: str, data: st.DataObject) -> None:
    call = {**MATRIX, **GRAPH}[name]
    x = data.draw(MATRICES if name in MATRIX else GRAPHS)
    before, drawn = x.copy(), _drawn()
    first = _outcome(call, x)
    np.testing.assert_array_equal(x, before)
    x.flags.writeable = False
    second = _outcome(call, x)
    _check_equal(first, second, rtol=0)
    assert _drawn() == drawn


def _drawn() -> bytes:
    """States of the generators that belong to everyone."""
    return pickle.dumps((np.random.get_state(), torch.random.get_rng_state().numpy()))  # noqa: NPY002


@pytest.mark.parametrize("name", [*MATRIX, *GRAPH])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(name: str, wrong: float) -> None:
    if name in ("rank_p_values", "partition_scores") and np.isinf(wrong):
        return  # which ask for the order alone
    for kind in (np.array, torch.tensor):
        x = np.abs(np.arange(25.0).reshape(5, 5) - 12)
        x[2, 3] = x[3, 2] = wrong
        with pytest.raises(ValueError):
            {**MATRIX, **GRAPH}[name](kind(x))


#: No unit has no neighbours, and no set no p-value.
OF_NOTHING = {
    *((name, (0, 3)) for name in ("class_ranges", "label_entropy", "rank_p_values")),
    *((name, (3, 0)) for name in ("correlation_graph", "correlation_graph, pearson")),
    *((name, (0, 0)) for name in ("normalize", "normalize by max", "shuffled_edges")),
}


@pytest.mark.parametrize("name", [*MATRIX, *GRAPH])
@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3), (2, 2, 2, 2)])
def test_empty_matrices_and_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    if (name, shape) in OF_NOTHING or (name.startswith("normalize") and shape == (2, 2, 2, 2)):  # a stack
        return
    for kind in (np.array, torch.tensor):
        with pytest.raises(ValueError):
            {**MATRIX, **GRAPH}[name](kind(np.ones(shape)))


@pytest.mark.parametrize("name", [*MATRIX, *GRAPH])
@few
@given(row=arrays(np.float64, (1, 5), elements=EIGHTHS))
def test_one_row_is_a_number_or_refused(name: str, row: np.ndarray) -> None:
    found = _outcome({**MATRIX, **GRAPH}[name], row if name in MATRIX else abs(row[:, :1]))
    if not isinstance(found, str) and name != "class_ranges":  # infinite where changes cancel
        assert all(np.isfinite(leaf).all() for leaf in found)


SCALE_FREE = [
    "correlation_graph",
    "correlation_graph, pearson",
    "layered_ncut",
    "layered_embedding",
    "components",
    "singular values",
    "mass_share_null",
    "hoyer_sparsity",
    "compactness",
    "label_entropy",
    "rank_p_values",
    "partition_scores",
    "normalize by max",
    "embedding",
    "ncut",
]


@pytest.mark.parametrize("name", SCALE_FREE)
@few
@given(data=st.data(), exponent=st.sampled_from([-60, -20, -3, 5, 40, 100]))
def test_scales_do_not_matter(name: str, data: st.DataObject, exponent: int) -> None:
    """By powers of two, which no rounding hides; of similarities as long as they are above 1e-24, as documented."""
    x = data.draw(MATRICES if name in MATRIX else GRAPHS)
    call = {**MATRIX, **GRAPH}[name]
    _check_equal(_outcome(call, x * 2.0**exponent), _outcome(call, x))


@few
@given(data=st.data(), x=MATRICES)
def test_order_of_units_and_samples(data: st.DataObject, x: np.ndarray) -> None:
    rows, columns = (np.array(data.draw(st.permutations(range(n)))) for n in x.shape)
    moved = x[rows][:, columns]
    for kind in ("spearman", "pearson"):
        graph = graphs.correlation_graph(x, kind)[np.ix_(columns, columns)]
        np.testing.assert_allclose(graphs.correlation_graph(moved, kind), graph, atol=1e-12)
    of_rows, of_columns = _dealt(len(x)), _dealt(x.shape[1], 3)
    mass = coclustering.block_mass(x, of_rows, of_columns, 3)
    np.testing.assert_allclose(coclustering.block_mass(moved, of_rows[rows], of_columns[columns], 3), mass)
    expected = coherence.compactness(x, of_rows, draws=0) if len(np.unique(x, axis=0)) == len(x) else None
    if expected is not None:
        assert coherence.compactness(moved, of_rows[rows], draws=0).ratio == pytest.approx(expected.ratio)
    similar = abs(x @ x.T)
    np.testing.assert_allclose(
        similarity.normalize(similar[np.ix_(rows, rows)]), similarity.normalize(similar)[np.ix_(rows, rows)]
    )


@few
@given(seed=st.integers(0, 10**6), k=st.integers(2, 4), kind=st.sampled_from(list(KINDS)))
def test_planted_modules_are_found_in_any_order_scale_and_kind(seed: int, k: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(_dealt(8 * k, k)), rng.permutation(_dealt(10 * k, k))
    x = np.where(rows[:, None] == columns, 1.0, 0.02) * rng.uniform(0.7, 1.3, (8 * k, 10 * k))
    given_x = KINDS[kind](x * 10.0 ** rng.integers(-30, 30))
    found = coclustering.spectral_cocluster(given_x, k, seed=seed)
    assert adjusted_rand_score(found.row_labels, rows) == adjusted_rand_score(found.column_labels, columns) == 1
    again = coclustering.spectral_cocluster(given_x, k, seed=seed)
    np.testing.assert_array_equal(found.column_labels, again.column_labels)
    graph = KINDS[kind](
        np.where(rows[:, None] == rows, 1.0, 0.02) * (lambda u: u + u.T)(rng.uniform(0.5, 1, (8 * k, 8 * k)))
    )
    labels = spectral.spectral_clusters(graph, k, restarts=5, seed=seed)
    assert isinstance(labels, Tensor) == isinstance(graph, Tensor)
    assert adjusted_rand_score(labels, rows) == 1
    blocks = [np.where(rows[:, None] == columns, 1.0, 0.0)]
    assert adjusted_rand_score(spectral.layered_clusters([KINDS[kind](blocks[0])], k), np.r_[columns, rows]) == 1


@few
@given(labels=PARTITIONS, other=PARTITIONS, data=st.data())
def test_agreement_is_of_partitions_not_names_or_order(
    labels: np.ndarray, other: np.ndarray, data: st.DataObject
) -> None:
    n = min(len(labels), len(other))
    a, b = labels[:n], other[:n]
    value = element_similarity(a, b)
    assert 0 < value <= 1
    assert value == pytest.approx(element_similarity(b, a), rel=1e-14)
    assert element_similarity(a, a) == pytest.approx(1, rel=1e-14)
    order = np.array(data.draw(st.permutations(range(n))))
    assert element_similarity(a[order], b[order]) == pytest.approx(value, rel=1e-12)
    assert element_similarity(np.where(a < 0, a, 7 * a + 3), b) == pytest.approx(value, rel=1e-14)
    pairs = element_similarities(np.stack([a, b]))
    np.testing.assert_allclose(pairs, [[1, value], [value, 1]], rtol=1e-14)


@few
@given(x=arrays(np.float64, (6, 4), elements=EIGHTHS), seed=st.integers(0, 99), order=st.permutations(range(6)))
def test_descriptions_and_lesions_of_samples_in_any_order(x: np.ndarray, seed: int, order: list[int]) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double().eval()
    assume((model(torch.tensor(x)).diff(dim=1).abs() > 1e-9).all())
    inputs, moved = torch.tensor(x), torch.tensor(x[order])
    labels = torch.arange(6) % 3
    given_state = {name: value.clone() for name, value in model.state_dict().items()}
    for describe in (
        lambda at: layer_activations(model, "1", at),
        lambda at: attribute(model, "1", at, method="gradient_x_activation", target=0),
        lambda at: neuron_sample_matrix(model, "1", at).T,
    ):
        torch.testing.assert_close(describe(moved), describe(inputs)[order], rtol=1e-12, atol=1e-12)
    for measure in similarity.MEASURES:
        one, other = (similarity.unit_similarity(model, "1", at, measure=measure) for at in (inputs, moved))
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    sets = [[0], [1, 4], []]
    expected = correct_counts(model, "1", inputs, labels, sets)
    np.testing.assert_array_equal(correct_counts(model, "1", moved, labels[order], sets), expected)
    torch.testing.assert_close(inputs, torch.tensor(x), rtol=0, atol=0)
    assert all(torch.equal(value, given_state[name]) for name, value in model.state_dict().items())
