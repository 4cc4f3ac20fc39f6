"""Graphs of networks against loops, numpy and scipy: edges from weights, from kernels, and from correlations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from modutils.graphs import (
    NORMS,
    by_layer,
    correlation_graph,
    layer_sizes,
    layer_weights,
    weight_graph,
)
from modutils.networks import mlp

# The size of one kernel (height, width), each by another road than the library's.
KERNEL_NORMS: dict[str, Callable[[np.ndarray], float]] = {
    "sum": lambda kernel: sum(abs(float(w)) for row in kernel for w in row),
    "euclidean": lambda kernel: float(np.linalg.norm(kernel.ravel())),
    "column_sum": lambda kernel: float(np.linalg.norm(np.abs(kernel), ord=1)),
    "spectral": lambda kernel: float(np.linalg.svd(np.abs(kernel), compute_uv=False)[0]),
}


def random_weights(sizes: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((above, below)) for below, above in pairwise(sizes)]


def convolutions(*, normalised: bool, affine: bool = True) -> nn.Sequential:
    """Three convolutions and a dense layer, all numbers random; eps is so small that it does not count."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for below, above in pairwise([2, 5, 4, 3]):
        parts.append(nn.Conv2d(below, above, (3, 2), padding=1))
        if normalised:
            norm = nn.BatchNorm2d(above, eps=1e-30, affine=affine)
            norm.running_mean = torch.randn(above)
            norm.running_var = torch.rand(above) + 0.5
            if affine:
                norm.weight.data = torch.randn(above)
                norm.bias.data = torch.randn(above)
            parts.append(norm)
        parts.append(nn.ReLU())
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)]
    return nn.Sequential(*parts, *head).double().eval()


def of_type(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [part for part in model.modules() if isinstance(part, kind)]


def kernels(model: nn.Module) -> list[np.ndarray]:
    """Of every convolution but the first."""
    return [part.get_parameter("weight").detach().numpy() for part in of_type(model, nn.Conv2d)[1:]]


@pytest.mark.parametrize("sizes", [[1, 1], [4, 3], [5, 2, 4], [3, 6, 2, 5, 1]])
def test_weight_graph_joins_units_of_consecutive_layers(sizes: list[int]) -> None:
    weights = random_weights(sizes)
    expected = nx.Graph()
    expected.add_nodes_from((layer, unit) for layer, size in enumerate(sizes) for unit in range(size))
    for layer, block in enumerate(weights):
        for above in range(sizes[layer + 1]):
            for below in range(sizes[layer]):
                expected.add_edge((layer, below), (layer + 1, above), weight=abs(block[above, below]))
    graph = weight_graph(weights)
    np.testing.assert_array_equal(graph, nx.to_numpy_array(expected))
    assert layer_sizes(weights) == sizes
    assert graph.dtype == np.float64


def test_weight_graph_takes_lists_and_tensors() -> None:
    weights = random_weights([3, 4, 2])
    expected = weight_graph(weights)
    np.testing.assert_array_equal(weight_graph([block.tolist() for block in weights]), expected)
    tensors = [torch.tensor(block, requires_grad=True) for block in weights]
    np.testing.assert_array_equal(weight_graph(tensors), expected)


def test_weight_graph_leaves_its_inputs_alone() -> None:
    weights = random_weights([3, 4, 2])
    kept = [block.copy() for block in weights]
    weight_graph(weights)[:] = 7
    for block, before in zip(weights, kept, strict=True):
        np.testing.assert_array_equal(block, before)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], "weights is empty"),
        ([np.ones(3)], r"weights\[0\] has shape \(3,\)"),
        ([np.ones((0, 3))], r"weights\[0\] has shape \(0, 3\)"),
        ([np.ones((2, 3)), np.ones((4, 3))], r"weights\[1\] .* reads 3 units, but weights\[0\] gives 2"),
        ([np.ones((2, 3)), np.full((1, 2), np.nan)], r"weights\[1\] has NaN"),
        ([np.full((1, 2), -np.inf)], r"weights\[0\] has NaN or infinite"),
    ],
)
def test_weight_graph_names_the_weights_that_do_not_fit(weights: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weight_graph(weights)


@pytest.mark.parametrize("norm", NORMS)
def test_weights_of_a_perceptron_are_sizes_of_its_parameters(norm: str) -> None:
    model = mlp([6, 5, 4, 3], dropout=0.5)
    found = layer_weights(model, norm=norm)
    parameters = [p.detach().numpy() for name, p in model.named_parameters() if name.endswith("weight")]
    assert len(found) == len(parameters) == 3
    for block, parameter in zip(found, parameters, strict=True):
        np.testing.assert_array_equal(block, np.abs(parameter.astype(np.float64)))
        assert block.dtype == np.float64


@pytest.mark.parametrize("norm", NORMS)
def test_weights_of_convolutions_are_norms_of_their_kernels(norm: str) -> None:
    model = convolutions(normalised=False)
    found = layer_weights(model, norm=norm)
    assert [block.shape for block in found] == [(4, 5), (3, 4)]
    for block, kernel in zip(found, kernels(model), strict=True):
        expected = [[KERNEL_NORMS[norm](one) for one in row] for row in kernel]
        np.testing.assert_allclose(block, expected, rtol=1e-14)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_batch_normalisation_scales_the_kernels_of_its_channels(norm: str, affine: bool) -> None:
    model = convolutions(normalised=True, affine=affine)
    norms = of_type(model, nn.BatchNorm2d)[1:]
    for block, kernel, part in zip(layer_weights(model, norm=norm), kernels(model), norms, strict=True):
        variance = part.get_buffer("running_var").numpy()
        gain = part.get_parameter("weight").detach().numpy() if affine else np.ones(len(variance))
        for o, row in enumerate(kernel):
            scaled = [KERNEL_NORMS[norm](one * gain[o] / variance[o] ** 0.5) for one in row]
            np.testing.assert_allclose(block[o], scaled, rtol=1e-13)


def test_eps_counts_as_variance() -> None:
    model = convolutions(normalised=True)
    plain = layer_weights(model)
    for part in of_type(model, nn.BatchNorm2d):
        assert isinstance(part, nn.BatchNorm2d)
        part.eps = 1e-3
    variance = of_type(model, nn.BatchNorm2d)[1].get_buffer("running_var").numpy()
    expected = plain[0] * np.sqrt(variance / (variance + 1e-3))[:, None]
    np.testing.assert_allclose(layer_weights(model)[0], expected, rtol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
def test_graph_keeps_when_a_channel_and_its_normalisation_share_a_factor(norm: str) -> None:
    model = convolutions(normalised=True)
    images = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    graph, outputs = weight_graph(layer_weights(model, norm=norm)), model(images).detach()
    scale = torch.tensor([3.0, 0.01, 7.0, 100.0], dtype=torch.float64)
    convolution, batch_norm = of_type(model, nn.Conv2d)[1], of_type(model, nn.BatchNorm2d)[1]
    with torch.no_grad():
        convolution.get_parameter("weight").mul_(scale[:, None, None, None])
        convolution.get_parameter("bias").mul_(scale)
        batch_norm.get_buffer("running_mean").mul_(scale)
        batch_norm.get_buffer("running_var").mul_(scale**2)
    np.testing.assert_allclose(model(images).detach(), outputs, rtol=1e-10)
    np.testing.assert_allclose(weight_graph(layer_weights(model, norm=norm)), graph, rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 3, 3), nn.Linear(3, 2)), "weights is empty"),
        (nn.Sequential(nn.ReLU()), "weights is empty"),
        (nn.Sequential(nn.Linear(4, 3), nn.Linear(5, 2)), r"weights\[1\]"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=2)), "groups=2"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
            "no running variance",
        ),
    ],
)
def test_networks_without_a_graph_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_weights(model)


class Follows(nn.Module):
    """The same layers, in another way than in a chain."""

    def __init__(self, how: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.how = how
        self.second, self.first = nn.Linear(4, 4), nn.Linear(4, 4)  # not in the order in which they run

    def forward(self, x: torch.Tensor) -> Any:
        return self.how(self, x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Follows(lambda net, x: x + net.second(net.first(x))), "no chain: at 'add' it reads x, second and not just"),
        (
            Follows(lambda net, x: (net.first(x), net.second(x))),
            "no chain: at 'second' it reads x and not just what first",
        ),
        (Follows(lambda net, x: net.first(x) if x.sum() > 0 else net.second(x)), "cannot be followed without running"),
        (Follows(lambda net, x: x @ net.first.weight), "no chain: at 'first_weight' it reads a constant"),
        (nn.Sequential(nn.Linear(4, 8), nn.LSTM(8, 4)), r"LSTM\(8, 4\) are no edges between units"),
        (nn.Sequential(nn.Linear(4, 8), nn.TransformerEncoderLayer(8, 2)), "are no edges between units"),
        (nn.Sequential(nn.Linear(4, 8), nn.Conv1d(8, 4, 1)), "are no edges between units"),
        (nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 4)), "are no edges between units"),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 8)), "stands before the first weights"),
    ],
)
def test_what_is_no_chain_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_weights(model)


def test_a_chain_is_followed_in_the_order_in_which_it_runs() -> None:
    net = Follows(lambda net, x: net.second(torch.relu(net.first(x.view(x.size(0), -1))).reshape(x.shape[0], 4)))
    expected = [part.weight.detach().abs().double().numpy() for part in (net.first, net.second)]
    for found, own in zip(layer_weights(net), expected, strict=True):
        np.testing.assert_array_equal(found, own)
    twice = Follows(lambda net, x: net.first(torch.relu(net.first(x))))
    assert len(layer_weights(twice)) == 2


def test_batch_normalisation_scales_linear_weights() -> None:
    linear, norm, last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    norm.running_var = torch.rand(4) + 0.5
    nn.init.normal_(norm.weight)
    model = nn.Sequential(linear, norm, nn.ReLU(), nn.Linear(4, 2)).double().eval()
    folded = torch.nn.utils.fuse_linear_bn_eval(linear, norm)
    np.testing.assert_allclose(layer_weights(model)[0], folded.weight.detach().abs().numpy(), rtol=1e-13)
    # Behind the convolutions there is nothing to scale: dense layers are left out.
    images = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 4), last)
    last.running_var = torch.full((4,), 9.0)
    np.testing.assert_array_equal(layer_weights(images)[0], layer_weights(images[:2])[0])


def test_unknown_norms_and_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="norm='L1' is unknown; choose one of sum, euclidean"):
        layer_weights(mlp([3, 2]), norm="L1")
    with pytest.raises(ValueError, match="kind='kendall' is unknown; choose one of spearman, pearson"):
        correlation_graph(np.eye(3), "kendall")


def samples(*, ties: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 7)) + 0.5 * rng.standard_normal((50, 7))
    return np.maximum(np.round(values), 0) if ties else values


@pytest.mark.parametrize("put", [np.asarray, torch.as_tensor])
def test_labels_of_all_layers_are_parted_by_layer(put: Callable[[Any], Any]) -> None:
    weights = [put(np.ones((3, 5))), put(np.ones((4, 3)))]
    labels = put(np.arange(12))
    parts = by_layer(labels, weights)
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9, 10, 11]]
    assert all(type(part) is type(labels) for part in parts)
    with pytest.raises(ValueError, match=r"labels has 11 nodes; the layers of weights have 5 \+ 3 \+ 4"):
        by_layer(labels[:-1], weights)


@pytest.mark.parametrize("ties", [False, True], ids=["no ties", "ties"])
def test_correlation_graph_equals_scipy_and_numpy(ties: bool) -> None:
    values = samples(ties=ties)
    references = {"spearman": stats.spearmanr(values).statistic, "pearson": np.corrcoef(values.T)}
    for kind, reference in references.items():
        expected = reference**2
        np.fill_diagonal(expected, 0)
        for given in (values, torch.tensor(values)):
            graph = correlation_graph(given, kind)
            np.testing.assert_allclose(graph, expected, atol=1e-13)
            assert graph.max() <= 1


def test_ranks_see_only_the_order() -> None:
    values = samples(ties=False)
    np.testing.assert_allclose(correlation_graph(np.exp(values)), correlation_graph(-values), atol=1e-14)
    assert np.abs(correlation_graph(np.exp(values), "pearson") - correlation_graph(values, "pearson")).max() > 0.1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["spearman", "pearson"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 / 3])
def test_constant_units_are_isolated(kind: str, constant: float) -> None:
    values = samples(ties=False)
    full = np.insert(values, 3, constant, axis=1)
    graph = correlation_graph(full, kind)
    assert not graph[3].any()
    assert not graph[:, 3].any()
    np.testing.assert_allclose(np.delete(np.delete(graph, 3, 0), 3, 1), correlation_graph(values, kind), atol=1e-14)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(4), r"activations has shape \(4,\)"),
        (np.ones((1, 4)), r"activations has shape \(1, 4\).*at least 2"),
        (np.ones((2, 3, 4)), r"activations has shape \(2, 3, 4\)"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "activations has NaN"),
        (np.array([[1.0, np.inf], [0.0, 1.0]]), "activations has NaN or infinite"),
    ],
)
def test_correlations_need_finite_samples(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        correlation_graph(values)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["spearman", "pearson"])
@pytest.mark.parametrize("power", [-1000, -600, -3, 5, 600, 1000])
def test_scales_do_not_matter_to_the_last_bit(kind: str, power: int) -> None:
    values = samples(ties=False)
    np.testing.assert_array_equal(correlation_graph(np.ldexp(values, power), kind), correlation_graph(values, kind))
    mixed = values.copy()
    mixed[:, 0] = np.ldexp(values[:, 0], power)
    np.testing.assert_array_equal(correlation_graph(mixed, kind), correlation_graph(values, kind))


def test_activations_of_any_precision_and_strides() -> None:
    values = samples(ties=True)
    for dtype in (torch.float16, torch.bfloat16, torch.int64):
        given = torch.tensor(values).to(dtype)
        np.testing.assert_array_equal(correlation_graph(given), correlation_graph(given.double().numpy()))
    np.testing.assert_allclose(correlation_graph(values[::-1, ::-1]), correlation_graph(values)[::-1, ::-1], atol=1e-14)
    whole = [np.array([[1, -2], [3, 4]])[::-1], np.array([[1, 0]])]
    np.testing.assert_array_equal(weight_graph(whole), weight_graph([block.astype(float) for block in whole]))
