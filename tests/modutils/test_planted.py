"""Planted modules are there, stay there through training, and every step of the library takes such networks."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, homogeneity_score
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from modutils import (
    attribution,
    data,
    graphs,
    hierarchy,
    lesions,
    modularity,
    networks,
    planted,
    similarity,
    spectral,
    training,
)
from modutils.coclustering import spectral_cocluster
from modutils.planted import Planted
from modutils.units import layer_activations

SIZES = {"aligned": [24, 7, 9, 20], "crossed": [24, 7, 9, 20], "columns": [24, 7, 9, 10]}
LAYERS = ("act1", "act2")
EPS = torch.finfo(torch.float64).eps


def linear(model: nn.Module) -> list[nn.Linear]:
    return [part for part in model.modules() if isinstance(part, nn.Linear)]


def sides(family: str, net: Planted) -> list[np.ndarray]:
    """Group of every unit, inputs and outputs included, written out."""
    inputs, outputs = net.masks[0].shape[1], len(net.masks[2])
    images = 1 if family == "columns" else 2
    heads = outputs // 10
    return [np.arange(images).repeat(inputs // images), *net.labels, np.arange(heads).repeat(10)]


def digits(family: str, n: int, seed: int = 1, split: str = "train") -> tuple[Tensor, Tensor]:
    return planted.samples(family, "digits", split, n, seed=seed)


@pytest.fixture(scope="module")
def trained() -> Planted:
    net = planted.network("aligned", sizes=[128, 48, 32, 20], seed=3)
    planted.train(net.model, *digits("aligned", 3000), epochs=8, batch_size=64)
    return net


def double(net: Planted) -> nn.Sequential:
    with torch.no_grad():
        net.model(torch.zeros(1, 2, 8, 8))  # torch copies no masked weights that carry a graph
    return deepcopy(net.model).double()


# --- the plant --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", planted.FAMILIES)
@pytest.mark.parametrize("delta", [0.0, 0.5, 1.0])
def test_masks_keep_what_lies_within_groups_and_a_share_of_the_rest(family: str, delta: float) -> None:
    net = planted.network(family, sizes=SIZES[family], delta=delta, seed=1)
    groups = sides(family, net)
    free = {"aligned": [False, False, False], "crossed": [False, True, False], "columns": [True, False, True]}[family]
    for mask, below, above, all_free in zip(net.masks, groups, groups[1:], free, strict=False):
        within = above[:, None] == below
        assert mask[within].all()
        outside = int((~within).sum())
        assert mask[~within].sum() == (outside if all_free else round(delta * outside))
        if delta == 0.5 and not all_free:
            assert (np.diff(mask[~within].astype(int)) > 0).any()  # kept in random places
    for layer, mask in zip(linear(net.model), net.masks, strict=True):
        assert np.array_equal(layer.weight.detach().numpy() != 0, mask)
        assert prune.is_pruned(layer) == (not mask.all())


def test_counts_written_out() -> None:
    """24 inputs, 7 = 4 + 3 and 9 = 5 + 4 units, two heads of ten."""
    networks_of = {delta: planted.network("aligned", sizes=SIZES["aligned"], delta=delta) for delta in (0, 0.5, 1)}
    counts = {delta: [int(mask.sum()) for mask in net.masks] for delta, net in networks_of.items()}
    assert counts == {0: [7 * 12, 4 * 5 + 3 * 4, 9 * 10], 0.5: [126, 48, 135], 1: [7 * 24, 7 * 9, 9 * 20]}


def test_units_of_a_group_are_in_random_places() -> None:
    net = planted.network("aligned", sizes=[30, 23, 22, 30], groups=3, seed=1)
    other = planted.network("aligned", sizes=[30, 23, 22, 30], groups=3, seed=2)
    for labels, units in zip(net.labels, (23, 22), strict=True):
        assert labels.dtype == np.int64
        sizes = np.bincount(labels)
        assert len(sizes) == 3
        assert sizes.sum() == units
        assert np.ptp(sizes) == 1
        assert (np.diff(labels) < 0).any()
    assert not np.array_equal(net.labels[0], other.labels[0])
    crossed = planted.network("crossed", sizes=[30, 9, 8, 20], groups=3)
    assert [len(set(labels)) for labels in crossed.labels] == [3, 2]


def test_networks_of_one_seed_differ_in_delta_alone() -> None:
    few, more = (planted.network("aligned", sizes=SIZES["aligned"], delta=delta, seed=5) for delta in (0.2, 0.6))
    assert all(np.array_equal(a, b) for a, b in zip(few.labels, more.labels, strict=True))
    for small, large in zip(few.masks, more.masks, strict=True):
        assert (small <= large).all()
    for a, b, mask in zip(linear(few.model), linear(more.model), few.masks, strict=True):
        assert np.array_equal(a.weight.detach().numpy()[mask], b.weight.detach().numpy()[mask])


def test_an_equal_seed_gives_an_equal_network_and_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (planted.network("crossed", sizes=SIZES["crossed"], delta=0.3, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.rand(5, 2, 3, 4)
    assert torch.equal(one.model(x), same.model(x))
    assert not torch.equal(one.model(x), other.model(x))


# --- the task ---------------------------------------------------------------------------------------------------------


def test_targets_are_the_digits_of_the_images() -> None:
    pixels, digit = data.load("digits", "test")
    inputs, targets = digits("aligned", 50, split="test")
    assert inputs.shape == (50, 2, 8, 8)
    assert targets.dtype == torch.int64
    for image in range(2):
        same = (inputs[:, None, image] == pixels[None, :, 0]).all((2, 3))  # (samples, images of the split)
        assert torch.equal(digit[same.int().argmax(1)], targets[:, image])
        assert same.any(1).all()
    assert not torch.equal(inputs, digits("aligned", 50, seed=2, split="test")[0])
    again, ends = digits("crossed", 50, split="test")
    assert torch.equal(again, inputs)
    assert torch.equal(ends, torch.stack([targets.amax(1), targets.amin(1)], 1))
    one, label = digits("columns", 50, split="test")
    assert (one.shape, label.shape) == ((50, 1, 8, 8), (50, 1))
    half = planted.samples("aligned", "digits", "test", 50, pool=2, seed=1)[0]
    torch.testing.assert_close(half, inputs.view(50, 2, 4, 2, 4, 2).mean((3, 5)))


def test_training_learns_and_keeps_masked_weights_at_zero(trained: Planted) -> None:
    test = digits("aligned", 500, split="test")
    found = planted.accuracy(trained.model, *test)
    assert found.shape == (2,)
    assert (found > 0.8).all()
    by_hand = [(planted.head(h)(trained.model(test[0])).argmax(1) == test[1][:, h]).double().mean() for h in (0, 1)]
    assert found.tolist() == [float(share) for share in by_hand]
    for layer, mask in zip(linear(trained.model), trained.masks, strict=True):
        assert np.array_equal(layer.weight.detach().numpy() != 0, mask)


def test_the_loss_is_the_mean_over_heads_and_an_equal_seed_gives_equal_weights() -> None:
    inputs, targets = digits("aligned", 60)
    found = []
    for _ in range(2):
        net = planted.network("aligned", sizes=[128, 8, 8, 20], delta=0.5)
        heads = [planted.head(h)(net.model(inputs).detach()) for h in (0, 1)]
        losses = [float(functional.cross_entropy(head, targets[:, h])) for h, head in enumerate(heads)]
        history = planted.train(net.model, inputs, targets, epochs=3, batch_size=60)
        assert history.losses[0] == pytest.approx(sum(losses) / 2, rel=1e-5)
        assert history.losses[2] < history.losses[0]
        up_to_date = [layer.weight.detach().clone() for layer in linear(net.model)]
        found.append(net.model(inputs))
        assert all(torch.equal(a, b.weight) for a, b in zip(up_to_date, linear(net.model), strict=True))
    assert torch.equal(*found)


def test_joint_logits_have_the_loss_and_the_attributions_of_all_heads(trained: Planted) -> None:
    model = double(trained)
    inputs, targets = (part[:20] for part in digits("aligned", 40))
    logits = model(inputs.double())
    losses = [functional.cross_entropy(planted.head(h)(logits), targets[:, h]) for h in (0, 1)]
    loss = functional.cross_entropy(planted.joint(logits), targets[:, 0] * 10 + targets[:, 1])
    torch.testing.assert_close(loss, losses[0] + losses[1], rtol=1e-12, atol=0)
    each, all_heads = (
        [attribution.neuron_sample_matrix(model, "act1", inputs, output=output) for output in outputs]
        for outputs in ([planted.head(0), planted.head(1)], [planted.joint])
    )
    torch.testing.assert_close(all_heads[0], each[0] + each[1], rtol=1e-10, atol=1e-12)
    three = planted.joint(torch.arange(30.0)[None])[0].view(10, 10, 10)
    assert three[1, 2, 3] == 1 + 12 + 23


# --- copies -----------------------------------------------------------------------------------------------------------


def test_rescaling_leaves_the_function_and_changes_the_weights(trained: Planted) -> None:
    model, x = double(trained), digits("aligned", 100)[0].double()
    copy, same = planted.rescaled(model, seed=2), planted.rescaled(model, sigma=0)
    logits = model(x)
    largest = planted.plain(model)(x).abs().max() * sum(layer.in_features for layer in linear(model))
    assert (copy(x) - logits).abs().max() <= EPS * largest
    assert torch.equal(same(x), logits)
    before, after = ([layer.weight.detach() for layer in linear(net)] for net in (planted.plain(model), copy))
    lower = after[0].abs().sum(1) / before[0].abs().sum(1)  # the factors
    upper = (after[1] * lower).abs().sum(1) / before[1].abs().sum(1)
    ends = [torch.ones(128).double(), lower, upper, torch.ones(20).double()]
    for old, new, (below, above) in zip(before, after, pairwise(ends), strict=True):
        torch.testing.assert_close(new, old * above[:, None] / below, rtol=1e-12, atol=0)
    assert 1 < float(lower.log().std()) < 2  # 48 draws of 1.5
    assert torch.equal(model(x), logits)  # the network itself is as it was


def test_a_plain_copy_computes_the_same_with_plain_layers(trained: Planted) -> None:
    x = digits("aligned", 20)[0]
    similarity.unit_similarity(trained.model, "act1", x, measure="input_sensitivity")  # leaves weights with a graph
    copy = planted.plain(trained.model)
    assert torch.equal(copy(x), trained.model(x))
    assert not prune.is_pruned(copy)
    assert prune.is_pruned(trained.model)
    assert [type(layer.weight) for layer in linear(copy)] == [nn.Parameter] * 3


# --- every step of the library takes them -----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_descriptions_are_those_of_the_plain_copy(trained: Planted, layer: str) -> None:
    model, inputs = double(trained), digits("aligned", 60)[0].double()
    plain = planted.plain(model)
    outputs: dict[str, list[Callable[[Tensor], Tensor] | None]] = {
        "covariance": [None],
        "input_sensitivity": [None],
        "output_sensitivity": [None, planted.head(1)],
        "loss_hessian": [planted.head(0), planted.joint],
    }
    for measure, ways in outputs.items():
        for output in ways:
            a, b = (
                similarity.unit_similarity(m, layer, inputs, measure=measure, output=output) for m in (model, plain)
            )
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12 * float(b.max()))
    for head in (0, 1):
        a, b = (attribution.neuron_sample_matrix(m, layer, inputs, output=planted.head(head)) for m in (model, plain))
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_hessian_of_all_heads_is_that_of_the_sum_of_their_losses() -> None:
    net = planted.network("aligned", sizes=[8, 4, 4, 20], seed=4)
    model = net.model.double()
    inputs = torch.rand(3, 2, 2, 2, dtype=torch.float64)
    targets = torch.tensor([[3, 1], [0, 9], [5, 5]])

    def loss(h: Tensor, sample: int) -> Tensor:
        logits = model[3:](h[None])
        heads = [functional.cross_entropy(planted.head(k)(logits), targets[sample, None, k]) for k in (0, 1)]
        return heads[0] + heads[1]

    h = layer_activations(model, "act1", inputs)
    hessians = [torch.autograd.functional.hessian(lambda v, s=s: loss(v, s), h[s]) for s in range(3)]
    found = similarity.unit_similarity(model, "act1", inputs, measure="loss_hessian", output=planted.joint)
    torch.testing.assert_close(found, torch.stack(hessians).mean(0).abs(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("layer", LAYERS)
def test_lesions_hurt_the_head_that_a_group_serves_and_no_other(trained: Planted, layer: str) -> None:
    inputs, targets = digits("aligned", 300, split="test")
    labels = trained.labels[LAYERS.index(layer)]
    sets = [[], *(np.flatnonzero(labels == group) for group in (0, 1))]
    for head in (0, 1):
        counts = lesions.correct_counts(trained.model, layer, inputs, targets[:, head], sets, output=planted.head(head))
        intact, *lesioned = counts.sum(1).tolist()
        assert lesioned[1 - head] == intact
        assert lesioned[head] < intact / 2


def in_weight(weights: list[np.ndarray], images: int) -> list[np.ndarray]:
    """Group by the image that a unit reads most, through all layers below it."""
    paths = np.eye(images).repeat(weights[0].shape[1] // images, 0)
    found = []
    for weight in weights[:-1]:
        paths = np.abs(weight) @ paths
        found.append(paths.argmax(1))
    return found


def ari(net: Planted, found: list[np.ndarray]) -> list[float]:
    return [adjusted_rand_score(true, labels) for true, labels in zip(net.labels, found, strict=True)]


def test_what_reads_weights_finds_the_plant(trained: Planted) -> None:
    weights = graphs.layer_weights(trained.model)
    assert graphs.weight_graph(weights).shape == (128 + 48 + 32 + 20,) * 2
    assert [np.array_equal(weight != 0, mask) for weight, mask in zip(weights, trained.masks, strict=True)] == [
        True
    ] * 3
    assert ari(trained, in_weight(weights, 2)) == [1, 1]
    assert ari(trained, graphs.by_layer(spectral.layered_clusters(weights, 2), weights)[1:3]) == [1, 1]
    assert ari(trained, graphs.by_layer(spectral.layered_clusters(weights[1:2], 2), weights[1:2])) == [1, 1]
    assert ari(trained, graphs.by_layer(spectral.local_clusters(weights, [2, 2, 2, 2]), weights)[1:3]) == [1, 1]
    modules = hierarchy.detect_modules(trained.masks)
    assert [len(set(labels)) for labels in modules] == [2] * 4
    assert ari(trained, modules[1:3]) == [1, 1]


def test_what_reads_activations_and_attributions_takes_it(trained: Planted) -> None:
    inputs = digits("aligned", 300)[0]
    values = [layer_activations(trained.model, layer, inputs).numpy() for layer in LAYERS]
    graph = graphs.correlation_graph(np.concatenate(values, 1))  # two layers side by side
    assert graph.shape == (80, 80)
    alone = graphs.correlation_graph(values[0])
    np.testing.assert_allclose(graph[:48, :48], alone, rtol=1e-12, atol=1e-15)
    assert spectral.spectral_clusters(graph, 2).shape == (80,)
    for layer, value, true in zip(LAYERS, values, trained.labels, strict=True):
        fires = (value > 0).any(0)
        A = similarity.normalize(similarity.unit_similarity(trained.model, layer, inputs, measure="input_sensitivity"))
        assert adjusted_rand_score(true[fires], np.asarray(spectral.spectral_clusters(A, 2))[fires]) == 1
        free = np.asarray(modularity.find_modules(A).labels)  # may split a group, but never joins two
        assert homogeneity_score(true[fires], free[fires]) == 1
        e = [attribution.neuron_sample_matrix(trained.model, layer, inputs, output=planted.head(h)) for h in (0, 1)]
        labels = spectral_cocluster(torch.cat(e, 1), 2).row_labels
        assert adjusted_rand_score(true[fires], np.asarray(labels)[fires]) == 1


@pytest.mark.parametrize("plain", [False, True])
def test_it_is_pruned_by_magnitude_on_all_heads(trained: Planted, plain: bool) -> None:
    model = planted.plain(trained.model) if plain else double(trained).float()
    both = nn.Sequential(model, planted.ByHead())
    masks = training.prune_further(both, *digits("aligned", 300), epochs=1, sparsity=0.9)
    assert [int(mask.sum()) for mask in masks] == [mask.size - round(0.9 * mask.size) for mask in masks]
    assert all((found <= true).all() for found, true in zip(masks, trained.masks, strict=True))
    modules = hierarchy.detect_modules(masks)
    assert [len(labels) for labels in modules] == [128, 48, 32, 20]
    alive = hierarchy.condense(masks)
    for layer in (1, 2):
        features = hierarchy.reach(masks)[layer][alive[layer]]
        assert adjusted_rand_score(trained.labels[layer - 1][alive[layer]], hierarchy.cut_layer(features, 2)) == 1


def test_the_other_families_have_their_own_plant() -> None:
    crossed = planted.network("crossed", sizes=[128, 24, 24, 20])
    columns = planted.network("columns", sizes=[64, 24, 24, 10])
    for net in (crossed, columns):
        weights = graphs.layer_weights(net.model)
        assert ari(net, graphs.by_layer(spectral.local_clusters(weights, [2] * 4), weights)[1:3]) == [1, 1]
    weights = graphs.layer_weights(crossed.model)
    assert ari(crossed, in_weight(weights, 2))[0] == 1
    assert ari(crossed, hierarchy.detect_modules(crossed.masks)[1:3]) == [0, 1]  # reach looks downstream alone
    assert ari(columns, hierarchy.detect_modules(columns.masks)[1:3]) == [1, 0]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planted.network("rings", sizes=[24, 7, 9, 20]), "family='rings' is unknown"),
        (lambda: planted.network("aligned", sizes=[24, 7, 20]), r"sizes=\[24, 7, 20\].*needs four"),
        (lambda: planted.network("aligned", sizes=[25, 7, 9, 20]), "multiple of 2"),
        (lambda: planted.network("aligned", sizes=[24, 1, 9, 20]), "at least 2 units"),
        (lambda: planted.network("columns", sizes=[24, 7, 9, 20]), "10 outputs"),
        (lambda: planted.network("aligned", sizes=[24, 7, 9, 20], groups=1), "groups=1"),
        (lambda: planted.network("aligned", sizes=[24, 7, 9, 20], delta=1.1), "delta=1.1"),
        (lambda: planted.network("aligned", sizes=[24, 7, 9, 20], delta=float("nan")), "delta=nan"),
        (lambda: planted.samples("aligned", "digits", "train", 0), "n=0"),
        (lambda: planted.samples("aligned", "digits", "train", 5, pool=3), "pool=3"),
        (lambda: planted.samples("aligned", "cifar10", "test", 5), "name='cifar10' has 3 channels"),
        (lambda: planted.head(-1), "number=-1"),
        (lambda: planted.joint(torch.zeros(1, 40)), "4 heads"),
        (lambda: planted.rescaled(networks.mlp([4, 3, 2], activation="tanh")), "model has Tanh"),
        (lambda: planted.rescaled(networks.mlp([4, 3, 2]), sigma=-1), "sigma=-1"),
        (
            lambda: planted.train(networks.mlp([4, 20]), torch.zeros(3, 4), torch.zeros(3, 1).long(), epochs=1),
            r"\(3, 2\)",
        ),
        (lambda: planted.accuracy(networks.mlp([4, 15]), torch.zeros(3, 4), torch.zeros(3, 1).long()), "15 logits"),
        (
            lambda: planted.train(
                networks.mlp([4, 10]), torch.zeros(3, 4), torch.zeros(3, 1).long(), epochs=1, learning_rate=0
            ),
            "learning_rate=0",
        ),
    ],
)
def test_bad_arguments_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
