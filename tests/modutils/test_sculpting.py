"""Scores against autograd, both ways of training against torch's Adam, and sculpting against its rules written out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from modutils import _masked_training, sculpting, tasks
from modutils.sculpting import Network, Schedule, Sculpted, Training, sculpt, sparsest, tied, train
from modutils.tasks import Task
from modutils.training import Execution

SEPARABLE = tasks.load("separable")
QUICK = Training(0.05, 8, 10)
RUN = Training(0.03, 8, 40)  # with 16 + 16 units nearly every network learns SEPARABLE
WAYS: list[Any] = [_masked_training._train_loop, _masked_training._train_products]


def table(n: int, m: int, *, noise: float = 0.0, rows: int = 37, tests: int = 40, seed: int = 0) -> Task:
    """Random bits to learn from random inputs, and other random bits to judge by."""
    generator = torch.Generator().manual_seed(seed)
    inputs, test_inputs = (torch.rand(count, n, generator=generator) for count in (rows, tests))
    targets, test_targets = (torch.randint(2, (count, m), generator=generator).float() for count in (rows, tests))
    return Task("random", inputs, targets, test_inputs, test_targets, noise, {}, (), ())


def network(sizes: Sequence[int], seed: int = 0, share: float = 1.0, *without: tuple[int, Any, Any]) -> Network:
    """Random weights and biases, and a share of the edges, ``without`` those at (layer, above, below)."""
    rng = np.random.default_rng(seed)
    dense = sculpting.initialize(sizes, seed=seed)
    masks = [rng.random(mask.shape) < share for mask in dense.masks]
    for layer, above, below in without:
        masks[layer][above, below] = False
    biases = [0.3 * rng.standard_normal(len(bias), dtype=np.float32) for bias in dense.biases]
    return sculpting._masked(Network(dense.weights, biases, dense.masks), masks)


EVERY = slice(None)
#: Networks of all kinds. The odd one has a hidden unit with outgoing edges only, one with incoming edges only, one with
#: neither, and an output without incoming edges.
NETWORKS = {
    "dense": network([4, 6, 5, 3]),
    "one unit": network([4, 1, 3], 1),
    "one layer": network([4, 7, 3], 2, 0.7),
    "four layers": network([4, 5, 4, 4, 5, 3], 3, 0.8),
    "odd": network(
        [4, 6, 5, 3], 4, 0.7, (0, 1, EVERY), (1, EVERY, 2), (1, EVERY, 3), (0, 3, EVERY), (2, 1, EVERY), (2, EVERY, 0)
    ),
    "no edges": network([4, 3, 3], 5, 0.0),
}


def test_the_odd_network_is_odd() -> None:
    incoming, outgoing = (
        [np.flatnonzero(mask.sum(axis=axis) > 0).tolist() for mask in NETWORKS["odd"].masks] for axis in (1, 0)
    )
    assert incoming[0] == [0, 2, 4, 5]  # of six units
    assert outgoing[1] == [0, 1, 4, 5]
    assert outgoing[2] == [1, 2, 3]  # of five
    assert incoming[2] == [0, 2]  # of three outputs


def parts(found: Network | tuple[list[np.ndarray], list[np.ndarray]]) -> list[np.ndarray]:
    return [*found[0], *found[1]]


def assert_close(a: Sequence[np.ndarray], b: Sequence[np.ndarray], tolerance: float) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)


def forced(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Let ``train`` take one way whatever the work."""
    monkeypatch.setattr(_masked_training, "_CALLS", {"loop": math.inf, "products": -math.inf}[way])


# --- scores of units --------------------------------------------------------------------------------------------------


def scores_by_autograd(weights: Sequence[Any], biases: Sequence[Any], inputs: Tensor, targets: Tensor) -> np.ndarray:
    """|a ∂ℓ/∂a|, one row at a time."""
    total: list[np.ndarray] = []
    for x, y in zip(inputs.double(), targets.double(), strict=True):
        hidden = []
        for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
            x = torch.as_tensor(w).double() @ x + torch.as_tensor(b).double()
            if layer < len(weights) - 1:
                x = x.relu().requires_grad_()
                x.retain_grad()
                hidden.append(x)
        binary_cross_entropy_with_logits(x, y).backward()
        total.append(np.concatenate([(a * a.grad).abs().detach().numpy() for a in hidden]))
    return np.mean(total, axis=0)


@pytest.mark.parametrize("name", ["dense", "one unit", "one layer", "four layers", "odd"])
@pytest.mark.parametrize("batch_size", [4096, 7, 1])
def test_unit_scores_equal_autograd(name: str, batch_size: int) -> None:
    given = NETWORKS[name]
    task = table(4, 3)
    expected = scores_by_autograd(given.weights, given.biases, task.inputs, task.targets)
    exact = [[part.astype(np.float64) for part in group] for group in given[:2]]
    inputs, targets = task.inputs.double(), task.targets.double()
    found = sculpting.unit_scores(exact[0], exact[1], inputs, targets, batch_size=batch_size)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-15)
    single = sculpting.unit_scores(given.weights, given.biases, task.inputs, task.targets, batch_size=batch_size)
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-7)
    assert expected.max() > 1e-3


def test_unit_scores_of_silent_and_masked_units_are_zero() -> None:
    task = table(4, 3)
    odd = NETWORKS["odd"]
    scores = sculpting.unit_scores(odd.weights, odd.biases, task.inputs, task.targets)
    hidden = np.split(scores, [6])
    assert (hidden[0][[1, 2, 3]] == 0).all()
    assert hidden[1][0] == 0
    dense = NETWORKS["dense"]
    biases = [bias.copy() for bias in dense.biases]
    biases[0][4] = -100  # never above zero
    scores = sculpting.unit_scores(dense.weights, biases, task.inputs, task.targets)
    assert scores[4] == 0
    assert np.count_nonzero(scores) >= 8


def test_unit_scores_take_lists_and_leave_them_alone() -> None:
    weights = [[[1.0, -2.0], [0.5, 0.5]], [[2.0, -1.0]]]
    inputs, targets = [[1.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]]
    # Row 1: a = (1, .5), z = 1.5; row 2: a = (0, .5), z = −.5.
    p, q = 1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(0.5))
    expected = [2 * (1 - p) / 2, (0.5 * (1 - p) + 0.5 * q) / 2]
    found = sculpting.unit_scores(weights, [[0.0, 0.0], [0.0]], inputs, targets)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert weights == [[[1.0, -2.0], [0.5, 0.5]], [[2.0, -1.0]]]


def scored(**change: Any) -> np.ndarray:
    task = table(4, 3)
    given = {"weights": NETWORKS["dense"].weights, "biases": NETWORKS["dense"].biases}
    return sculpting.unit_scores(**{**given, "inputs": task.inputs, "targets": task.targets, **change})


def with_number(array: Any, number: float) -> Any:
    array = array.clone() if isinstance(array, Tensor) else array.copy()
    array.reshape(-1)[2] = number
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": network([4, 6, 4, 3]).weights}, r"layer 1: weights \(4, 6\) and biases \(5,\) do not chain"),
        (
            {"weights": [np.ones((6, 4)), np.ones((5, 7)), np.ones((3, 5))]},
            r"layer 1: weights \(5, 7\) and biases \(5,\) do not chain; needed are \(outputs, 6\)",
        ),
        ({"weights": [np.ones(4), np.ones((5, 6)), np.ones((3, 5))]}, "layer 0: .* do not chain"),
        ({"biases": NETWORKS["dense"].biases[:2]}, "3 weights and 2 biases"),
        ({"weights": [], "biases": []}, "0 weights and 0 biases; .* at least 2"),
        ({"weights": [np.ones((3, 4))], "biases": [np.ones(3)]}, "1 weights and 1 biases; .* at least 2"),
        ({"weights": [with_number(w, math.nan) for w in NETWORKS["dense"].weights]}, "layer 0: .* not finite"),
        (
            {"biases": [*NETWORKS["dense"].biases[:2], with_number(NETWORKS["dense"].biases[2], math.inf)]},
            "layer 2: weights or biases have numbers that are not finite",
        ),
        ({"inputs": torch.rand(37, 5)}, r"inputs \(37, 5\) and targets \(37, 3\) do not fit; needed are \(R, 4\)"),
        ({"inputs": torch.rand(36, 4)}, r"inputs \(36, 4\) and targets \(37, 3\)"),
        ({"inputs": torch.rand(0, 4), "targets": torch.rand(0, 3)}, "R ≥ 1"),
        ({"targets": torch.ones(37, 2)}, r"targets \(37, 2\) do not fit"),
        ({"inputs": with_number(table(4, 3).inputs, math.nan)}, "inputs has 1 numbers that are not finite"),
        ({"targets": with_number(table(4, 3).targets, 0.5)}, "targets must be 0 or 1"),
        ({"targets": with_number(table(4, 3).targets, -1)}, "targets must be 0 or 1"),
        ({"targets": with_number(table(4, 3).targets, math.nan)}, "targets must be 0 or 1"),
    ],
)
def test_bad_scores(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scored(**change)


# --- training ---------------------------------------------------------------------------------------------------------


class Epoch(NamedTuple):
    """The network after an epoch, the bits that it gets right, and its loss."""

    network: tuple[list[np.ndarray], list[np.ndarray]]
    right: int
    loss: float


def plain_training(given: Network, task: Task, training: Training, seed: int) -> list[Epoch]:
    """What one would write: autograd, ``torch.optim.Adam``, masks on the gradients, in double precision."""
    rng = np.random.default_rng(seed)
    weights = [torch.tensor(w).double().requires_grad_() for w in given.weights]
    biases = [torch.tensor(b).double().requires_grad_() for b in given.biases]
    masks = [torch.tensor(mask) for mask in given.masks]
    optimizer = torch.optim.Adam([*weights, *biases], lr=training.learning_rate, weight_decay=training.weight_decay)

    def logits(x: Tensor) -> Tensor:
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            x = torch.relu(x @ w.T + b)
        return x @ weights[-1].T + biases[-1]

    epochs = []
    for _ in range(training.epochs):
        order = torch.from_numpy(rng.permutation(len(task.inputs)))
        for rows in order.split(training.batch_size):
            x = task.inputs[rows].double()
            if task.noise:
                x = x + task.noise * torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32)).double()
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits(x), task.targets[rows].double()).backward()
            for w, b, mask in zip(weights, biases, masks, strict=True):
                assert w.grad is not None
                assert b.grad is not None
                w.grad *= mask
                b.grad *= mask.any(dim=1)
            optimizer.step()
        with torch.no_grad():
            z = logits(task.test_inputs.double())
            right = int(((z >= 0) == (task.test_targets == 1)).sum())
            loss = float(binary_cross_entropy_with_logits(z, task.test_targets.double()))
        copy = [w.detach().numpy().copy() for w in weights], [b.detach().numpy().copy() for b in biases]
        epochs.append(Epoch(copy, right, loss))
    return epochs


def best_of(epochs: list[Epoch]) -> int:
    best = 0
    for place, epoch in enumerate(epochs):
        more = epoch.right > epochs[best].right
        if more or (epoch.right == epochs[best].right and epoch.loss <= epochs[best].loss):
            best = place
    return best


def distance(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(x - y).max(initial=0)) for x, y in zip(a, b, strict=True))


def in_double(given: Network, rounding: float = 0.0) -> Network:
    """The network in double precision, its parameters off by about so much of their size."""
    rng = np.random.default_rng(0)
    weights, biases = (
        [part * (1 + rounding * rng.standard_normal(part.shape)) for part in group] for group in given[:2]
    )
    return Network(weights, biases, given.masks)


def nudged_trainings(given: Network, task: Task, training: Training, seed: int) -> list[list[Epoch]]:
    """`plain_training`, then the same from parameters that are off by a hundred roundings of single precision.

    How far apart these end is what its roundings, some tens of steps long, explain. It grows from step to step, at
    kinks it jumps, and it may be another epoch that is the best.
    """
    size = 128 * float(np.finfo(np.float32).eps)
    return [plain_training(in_double(given, rounding), task, training, seed) for rounding in (0, -size, size)]


#: Full batch, batches that divide the 37 rows nearly (the last has 1 row) or not, one row at a time, and more than all.
TRAININGS = [
    Training(0.02, 37, 6),
    Training(0.02, 9, 3),
    Training(0.01, 16, 3, 0.01),
    Training(0.005, 1, 1),
    Training(0.02, 500, 4, 0.0),
]


@pytest.mark.parametrize("noise", [0.0, 0.25])
@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: f"batch {t.batch_size}")
@pytest.mark.parametrize("name", NETWORKS)
def test_both_ways_equal_plain_torch(name: str, training: Training, noise: float) -> None:
    given, task = NETWORKS[name], table(4, 3, noise=noise)
    columns = np.arange(4)
    expected, *nudged = (epochs[best_of(epochs)] for epochs in nudged_trainings(given, task, training, 11))
    explained = max(distance(parts(expected.network), parts(other.network)) for other in nudged)
    results = [way(given, columns, task, training, np.random.default_rng(11), "cpu") for way in WAYS]
    for weights, biases, right in results:
        assert right in {expected.right, *(other.right for other in nudged)}
        assert all(part.dtype == np.float32 for part in (*weights, *biases))
        assert distance([*weights, *biases], parts(expected.network)) <= explained
        for w, b, mask in zip(weights, biases, given.masks, strict=True):
            assert (w[~mask] == 0).all()
            assert (b[~mask.any(axis=1)] == 0).all()
    moved = max(float(np.abs(a - b).max()) for a, b in zip(results[0][0], given.weights, strict=True))
    assert moved > 3e-3 or name == "no edges"


@pytest.mark.parametrize("noise", [0.0, 0.25])  # exact in single precision, in which it is drawn
@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: f"batch {t.batch_size}")
@pytest.mark.parametrize("name", NETWORKS)
def test_products_in_double_precision_equal_plain_torch(name: str, training: Training, noise: float) -> None:
    given, task = NETWORKS[name], table(4, 3, noise=noise)
    epochs = plain_training(given, task, training, 11)
    expected = epochs[best_of(epochs)]
    rows = ("inputs", "targets", "test_inputs", "test_targets")
    exact = dataclasses.replace(task, **{part: getattr(task, part).double() for part in rows})
    rng = np.random.default_rng(11)
    weights, biases, right = _masked_training._train_products(
        in_double(given), np.arange(4), exact, training, rng, "cpu"
    )
    assert right == expected.right
    assert distance([*weights, *biases], parts(expected.network)) < 1e-10


def test_the_best_copy_is_kept() -> None:
    """More bits right, or as many at a loss that is not higher; test rows that training does not know vary enough."""
    given = NETWORKS["dense"]
    seen, clear = set(), 0
    for seed in range(12):
        task = table(4, 3, noise=0.1, tests=12, seed=seed)
        training = Training(0.02, 12, 14)
        epochs, *nudged = nudged_trainings(given, task, training, seed)
        best = best_of(epochs)
        if any((best_of(run), run[best_of(run)].right) != (best, epochs[best].right) for run in nudged):
            continue  # rounding decides
        clear += 1
        explained = max(distance(parts(epochs[best].network), parts(run[best].network)) for run in nudged)
        for way in WAYS:
            weights, biases, right = way(given, np.arange(4), task, training, np.random.default_rng(seed), "cpu")
            assert right == epochs[best].right
            distances = [distance([*weights, *biases], parts(e.network)) for e in epochs]
            assert int(np.argmin(distances)) == best
            assert distances[best] <= explained
        seen.add("an earlier one" if best < len(epochs) - 1 else "the last")
        for place in range(1, len(epochs)):
            before = epochs[best_of(epochs[:place])]
            order = "more" if epochs[place].right > before.right else "as many"
            if epochs[place].right >= before.right:
                seen.add(f"{order} at a {'higher' if epochs[place].loss > before.loss else 'lower'} loss")
    assert clear > 8
    assert seen == {
        *("an earlier one", "the last", "more at a higher loss", "more at a lower loss"),
        *("as many at a higher loss", "as many at a lower loss"),
    }


@pytest.mark.parametrize("way", WAYS)
def test_of_equal_copies_the_last_is_kept(way: Any) -> None:
    """No output is connected, so that the loss stays; weight decay goes on."""
    given = network([4, 5, 3], 0, 1.0, (1, EVERY, EVERY))
    found = [
        way(given, np.arange(4), table(4, 3), Training(0.01, 37, epochs, 0.1), np.random.default_rng(0), "cpu")
        for epochs in (1, 2, 5)
    ]
    sizes = [float(np.abs(weights[0]).sum()) for weights, _, _ in found]
    assert np.abs(given.weights[0]).sum() > sizes[0] > sizes[1] > sizes[2]
    assert len({right for _, _, right in found}) == 1


@pytest.mark.parametrize("way", ["loop", "products"])
def test_training_that_gets_worse_ends_with_its_best_copy(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A network that knows its task learns the opposite: it is best after the first epoch."""
    forced(monkeypatch, way)
    able, right = train(sculpting.initialize([4, 24, 24, 4], seed=0), SEPARABLE, RUN, np.random.default_rng(0))
    assert right == 64
    task = dataclasses.replace(SEPARABLE, targets=1 - SEPARABLE.targets)
    once, often = (train(able, task, QUICK._replace(epochs=n), np.random.default_rng(0)) for n in (1, 12))
    assert once[1] == often[1]
    assert_close(parts(once[0]), parts(often[0]), 0)
    last = train(able, changed(targets=task.targets, test_targets=task.targets), QUICK, np.random.default_rng(0))
    assert last[1] > 40


def bits(given: Network, inputs: Tensor, targets: Tensor) -> tuple[int, int]:
    """Bits right in double precision, and how many of the logits are so close to 0 that rounding decides in single."""
    x = inputs.double()
    for layer, (w, b) in enumerate(zip(given.weights, given.biases, strict=True)):
        x = (x.relu() if layer else x) @ torch.tensor(w).double().T + torch.tensor(b).double()
    close = (x != 0) & (x.abs() < 64 * torch.finfo(torch.float32).eps * x.abs().max())
    return int(((x >= 0) == (targets == 1)).sum()), int(close.sum())


@pytest.mark.parametrize("way", ["loop", "products"])
def test_without_epochs_it_only_judges(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    forced(monkeypatch, way)
    for name, given in NETWORKS.items():
        # More rows than either way takes together.
        task = table(4, 3, tests=5000)
        rng = np.random.default_rng(0)
        found, right = train(given, task, QUICK._replace(epochs=0), rng)
        assert_close(parts(found), parts(given), 0)
        expected, close = bits(given, task.test_inputs, task.test_targets)
        for counted in (right, sculpting.bits_right(given, task.test_inputs, task.test_targets)):
            assert abs(counted - expected) <= close < 10, name
        assert rng.random() == np.random.default_rng(0).random(), "nothing is drawn"


@pytest.mark.parametrize("rate", [1e16, 1e30, 1e38])
@pytest.mark.parametrize("way", ["loop", "products"])
@pytest.mark.parametrize("name", ["dense", "four layers"])
def test_a_rate_that_diverges(monkeypatch: pytest.MonkeyPatch, way: str, rate: float, name: str) -> None:
    forced(monkeypatch, way)
    found, right = train(NETWORKS[name], table(4, 3), Training(rate, 8, 5), np.random.default_rng(0))
    assert right == -1
    assert_close(parts(found), parts(NETWORKS[name]), 0)


@pytest.mark.parametrize("way", ["loop", "products"])
def test_a_network_that_was_never_finite(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    forced(monkeypatch, way)
    given = network([4, 6, 5, 3])
    given.weights[1][:] *= np.float32(1e30)
    given.weights[2][:] *= np.float32(1e30)
    for epochs in (0, 3):
        found, right = train(given, table(4, 3), Training(0.01, 8, epochs), np.random.default_rng(0))
        assert right == -1
        assert_close(parts(found), parts(given), 0)


@pytest.mark.parametrize("way", ["loop", "products"])
def test_dead_units_cost_nothing_and_change_nothing(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A network with dead inputs and units trains as the smaller one without them; only inputs that count get noise."""
    forced(monkeypatch, way)
    small, task = network([3, 4, 3, 2], 1, 0.8), table(5, 2, noise=0.2, seed=3)
    inputs, hidden = [0, 2, 3], [1, 2, 4, 6]
    wide = sculpting._masked(network([5, 7, 3, 2], 2), [np.zeros(s, dtype=bool) for s in ((7, 5), (3, 7), (2, 3))])
    for wide_parts, small_parts in ((wide.weights, small.weights), (wide.masks, small.masks)):
        wide_parts[0][np.ix_(hidden, inputs)] = small_parts[0]
        wide_parts[1][:, hidden] = small_parts[1]
        wide_parts[2][:] = small_parts[2]
    wide.biases[0][hidden] = small.biases[0]
    wide.biases[1][:], wide.biases[2][:] = small.biases[1:]
    fewer = dataclasses.replace(task, inputs=task.inputs[:, inputs], test_inputs=task.test_inputs[:, inputs])
    before = [part.copy() for part in parts(wide)]
    found, right = train(wide, task, Training(0.02, 8, 3), np.random.default_rng(0))
    expected, expected_right = train(small, fewer, Training(0.02, 8, 3), np.random.default_rng(0))
    assert right == expected_right
    assert_close([found.weights[0][np.ix_(hidden, inputs)]], [expected.weights[0]], 0)
    assert_close([found.weights[1][:, hidden], found.weights[2]], expected.weights[1:], 0)
    assert_close([found.biases[0][hidden], *found.biases[1:]], expected.biases, 0)
    for w, mask in zip(found.weights, found.masks, strict=True):
        assert (w[~mask] == 0).all()
    assert_close(parts(wide), before, 0)  # the argument is left as it is
    assert not np.array_equal(found.weights[2], wide.weights[2])


def test_train_takes_the_way_with_less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    for way in WAYS:

        def spy(*args: Any, way: Any = way) -> Any:
            taken.append(way.__name__)
            return way(*args)

        monkeypatch.setattr(_masked_training, way.__name__, spy)
    few, many = sculpting.initialize([4, 6, 4], seed=0), sculpting.initialize([4, 300, 300, 4], seed=0)
    training = Training(0.01, 16, 1)
    on_cpu = train(few, SEPARABLE, training, np.random.default_rng(0))
    train(many, SEPARABLE, training, np.random.default_rng(0))
    elsewhere = train(few, SEPARABLE, training, np.random.default_rng(0), device="cpu:0")
    assert taken == ["_train_loop", "_train_products", "_train_products"]
    assert_close(parts(on_cpu[0]), parts(elsewhere[0]), 1e-5)


def test_training_learns() -> None:
    for name in ("separable", "single", "separable-reused"):
        task = tasks.load(name)
        learned = 0
        for seed in range(20):
            dense = sculpting.initialize([task.inputs.shape[1], 24, 24, task.targets.shape[1]], seed=seed)
            found, right = train(dense, task, Training(0.05, 8, 30), np.random.default_rng(0))
            if right == task.targets.numel():
                learned += 1
                assert sculpting.bits_right(found, task.inputs, task.targets) == right
        assert learned > 15


def test_training_on_another_task() -> None:
    with pytest.raises(ValueError, match="network has 4 inputs and 3 outputs, but 'separable' has 4 and 4"):
        train(network([4, 5, 3]), SEPARABLE, QUICK, np.random.default_rng(0))


@pytest.mark.parametrize(
    "change", [{"learning_rate": math.nan}, {"weight_decay": math.nan}, {"batch_size": 0}, {"epochs": -1}]
)
def test_training_with_bad_numbers(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))}={next(iter(change.values()))}.*needed are a rate"):
        train(NETWORKS["dense"], table(4, 3), QUICK._replace(**change), np.random.default_rng(0))


@pytest.mark.parametrize("way", ["loop", "products"])
def test_training_leaves_denormal_numbers_as_they_were(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    forced(monkeypatch, way)
    train(NETWORKS["dense"], table(4, 3), QUICK, np.random.default_rng(0))
    assert float(torch.tensor([5e-324], dtype=torch.float64) * 1) > 0


def test_initialize() -> None:
    dense = sculpting.initialize([400, 300, 200, 5], seed=1)
    assert (
        [w.shape for w in dense.weights] == [mask.shape for mask in dense.masks] == [(300, 400), (200, 300), (5, 200)]
    )
    for w, b, mask in zip(*dense, strict=True):
        assert w.dtype == b.dtype == np.float32
        assert mask.dtype == bool
        assert mask.all()
        assert b.shape == w.shape[:1]
        assert not b.any()
        assert float(w.std()) == pytest.approx(math.sqrt(2 / w.shape[1]), rel=6 / math.sqrt(2 * w.size))
    assert_close(parts(sculpting.initialize([400, 300, 200, 5], seed=1)), parts(dense), 0)
    assert not np.array_equal(sculpting.initialize([400, 300, 200, 5], seed=2).weights[0], dense.weights[0])
    assert sculpting.density(dense.masks) == 1


@pytest.mark.parametrize("sizes", [[4, 4], [4], [], [4, 0, 4], [0, 3, 4]])
def test_bad_sizes(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="must name inputs, at least one hidden layer, and outputs"):
        sculpting.initialize(sizes, seed=0)


# --- pruning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 10, 48, 97])
def test_percentiles_are_those_of_numpy(size: int) -> None:
    rng = np.random.default_rng(size)
    for ties in (False, True):
        values = rng.integers(4, size=size) / 8 if ties else rng.random(size)
        for percentage in (0, 2.5, 20, 50, 33.3, 99.9, *rng.uniform(0, 100, 20)):
            expected = np.percentile(values, percentage, method="linear")
            assert sculpting._percentile(values, percentage) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("percentage", [-1, 100, 250.0, math.nan])
def test_bad_percentages(percentage: float) -> None:
    with pytest.raises(ValueError, match=f"percentage={percentage} must be at least 0 and below 100"):
        sculpting.prune_edges(NETWORKS["dense"], percentage)
    with pytest.raises(ValueError, match=f"percentage={percentage} must be at least 0 and below 100"):
        sculpting.prune_units(NETWORKS["dense"], np.ones(11), percentage)


@pytest.mark.parametrize("name", ["dense", "odd", "four layers", "one unit"])
@pytest.mark.parametrize("percentage", [0, 10, 50, 77.7, 99])
def test_prune_edges(name: str, percentage: float) -> None:
    given = NETWORKS[name]
    # Edges that are gone count as zeros: the percentile is that of all.
    threshold = np.percentile(np.abs(np.concatenate([w.ravel() for w in given.weights])), percentage)
    found = sculpting.prune_edges(given, percentage)
    for layer, mask in enumerate(given.masks):
        keep = np.abs(given.weights[layer]) > threshold
        np.testing.assert_array_equal(found.masks[layer], keep & mask)
        np.testing.assert_array_equal(found.weights[layer], np.where(keep, given.weights[layer], 0))
        np.testing.assert_array_equal(found.biases[layer], np.where(keep.any(axis=1), given.biases[layer], 0))
    if name == "dense":
        # The edge at the percentile goes, even at 0 %.
        assert 69 * sculpting.density(found.masks) == pytest.approx(69 - 0.69 * percentage, abs=1.5)


def test_prune_edges_counts_those_that_are_gone() -> None:
    """Half of the edges are gone: up to the 50th percentile nothing more goes, and 75 % leaves half of the rest."""
    given = network([8, 10, 8, 8], 0)
    half = sculpting.prune_edges(given, 50)
    assert sculpting.density(half.masks) == 0.5
    for percentage in (0, 30, 49.9):
        again = sculpting.prune_edges(half, percentage)
        assert all((a == b).all() for a, b in zip(again.masks, half.masks, strict=True))
    assert sculpting.density(sculpting.prune_edges(half, 75).masks) == 0.25


def test_an_edge_must_be_above_the_percentile() -> None:
    given = Network(
        [np.array([[1, 2], [3, 4]], dtype=np.float32), np.array([[5, -5]], dtype=np.float32)],
        [np.ones(2, dtype=np.float32), np.ones(1, dtype=np.float32)],
        [np.ones((2, 2), dtype=bool), np.ones((1, 2), dtype=bool)],
    )
    # Six edges: 0 % is at the smallest, 20 % at the second, 60 % at the fourth; 80 % at the ties, and so are 90 %.
    left = {p: sum(int(m.sum()) for m in sculpting.prune_edges(given, p).masks) for p in (0, 20, 30, 60, 79, 80, 90)}
    assert left == {0: 5, 20: 4, 30: 4, 60: 2, 79: 2, 80: 0, 90: 0}
    first = sculpting.prune_edges(given, 20)
    assert first.biases[0].tolist() == [0, 1]
    assert given.biases[0].tolist() == [1, 1]
    assert given.masks[0].all()


def test_prune_edges_by_other_scores() -> None:
    given = NETWORKS["odd"]
    scores = [np.random.default_rng(0).random(w.shape) for w in given.weights]
    found = sculpting.prune_edges(given, 80, scores=scores)
    threshold = np.percentile(np.concatenate([(s * m).ravel() for s, m in zip(scores, given.masks, strict=True)]), 80)
    for mask, score, before in zip(found.masks, scores, given.masks, strict=True):
        np.testing.assert_array_equal(mask, before & (score > threshold))


def test_prune_units() -> None:
    given = NETWORKS["dense"]
    scores = np.array([6, 1, 5, 0, 9, 8, 2, 7, 3, 10, 4], dtype=float)
    for percentage in (0, 5, 10, 15, 40, 73.2, 95):
        keep = scores > np.percentile(scores, percentage)
        first, second = keep[:6], keep[6:]
        found = sculpting.prune_units(given, scores, percentage)
        expected = [
            np.repeat(first[:, None], 4, axis=1), np.outer(second, first), np.repeat(second[None], 3, axis=0)
        ]  # fmt: skip
        for layer, mask in enumerate(expected):
            np.testing.assert_array_equal(found.masks[layer], mask)
            np.testing.assert_array_equal(found.weights[layer], given.weights[layer] * mask)
            np.testing.assert_array_equal(found.biases[layer], given.biases[layer] * mask.any(axis=1))
    assert all(mask.all() for mask in given.masks)
    # Strictly above the percentile: at 10 % of 11 units this is the second, which goes as well.
    assert np.count_nonzero(sculpting.prune_units(given, scores, 10).masks[0].any(axis=1)) == 4
    assert sculpting.prune_units(given, scores, 10).masks[1].tolist()[0] == [True, False, True, False, True, True]


def test_prune_units_masks_the_bias_of_an_output_that_is_cut_off() -> None:
    given = network([4, 3, 2], 0)
    given.masks[1][0] = [False, True, False]
    pruned = sculpting.prune_units(sculpting._masked(given, given.masks), np.array([2.0, 1.0, 3.0]), 20)
    assert pruned.masks[1].tolist() == [[False] * 3, [True, False, True]]
    assert pruned.biases[1][0] == 0
    assert pruned.biases[1][1] == given.biases[1][1] != 0


@pytest.mark.parametrize("percentage", [0.01, 5, 30])
def test_silent_units_go_at_the_first_step(percentage: float) -> None:
    scores = np.array([0.0, 0.3, 0.0, 0.4, 0.0, 0.5, 0.6, 0.7, 0.0, 0.8, 0.9])
    found = sculpting.prune_units(NETWORKS["dense"], scores, percentage)
    left = np.concatenate([mask.any(axis=1) for mask in found.masks[:-1]])
    np.testing.assert_array_equal(left, scores > 0)


@pytest.mark.parametrize("scores", [np.ones(10), np.ones(12), np.ones((11, 1)), np.float64(1)])
def test_bad_unit_scores(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"scores has shape \(.*\), but there are 11 hidden units"):
        sculpting.prune_units(NETWORKS["dense"], scores, 10)


# --- the schedule -----------------------------------------------------------------------------------------------------


def written_out(q0: float, P: float, p_min: float, accepts: Callable[[float], bool]) -> list[tuple[float, bool]]:
    """Section 3.3 of the specification; the percentages that are tried, and whether they are accepted."""
    tried: list[tuple[float, bool]] = []
    accepted_last, p, rejected = q0, P, False
    while True:
        if not rejected:
            q = q0 + (len(tried) + 1) * P
            p = q - accepted_last
        else:
            q = accepted_last + p
        accepted = q < 100 and accepts(q)
        tried.append((q, accepted))
        if accepted:
            accepted_last = q
        else:
            rejected = True
            if p <= p_min:
                return tried
            p = max(p / 2, p_min)


def driven(schedule: Schedule, accepts: Callable[[float], bool]) -> list[tuple[float, bool]]:
    tried = []
    while not schedule.done:
        q = schedule.proposal
        tried.append((q, q < 100 and accepts(q)))
        schedule.report(tried[-1][1])
    return tried


def test_schedule_that_always_accepts() -> None:
    tried = driven(Schedule(0, 30, 5), lambda q: True)
    assert [q for q, _ in tried] == [30, 60, 90, 120, 105, 97.5, 105, 102.5]
    assert [accepted for _, accepted in tried] == [q < 100 for q, _ in tried]


def test_schedule_that_never_accepts() -> None:
    tried = driven(Schedule(10, 40, 3), lambda q: False)
    assert [q for q, _ in tried] == [50, 30, 20, 15, 13]  # halves until 2.5 would be below 3


def test_schedule_of_one_unit() -> None:
    assert driven(Schedule(0, 40, 100), lambda q: False) == [(40, False)]


def test_schedule_with_a_limit() -> None:
    """Networks work up to 77 %: halving closes in on it, by no more than the smallest step."""
    tried = driven(Schedule(0, 40, 100 / 48), lambda q: q <= 77)
    assert tried == [
        (40, True), (80, False), (60, True), (80, False), (70, True), (80, False), (75, True), (80, False),
        (77.5, False), (75 + 100 / 48, False),
    ]  # fmt: skip


def test_schedule_equals_the_rule_for_random_answers() -> None:
    rng = np.random.default_rng(0)
    ends = set()
    for _ in range(300):
        # Fractions of powers of two, so that sums are exact.
        q0, P, p_min = rng.integers(0, 60) / 2, rng.integers(1, 141) / 2, rng.integers(1, 200) / 32
        chance = rng.random()
        answers = rng.random(2000) < chance
        limit = rng.uniform(0, 130)
        oracles: list[Callable[[float], bool]] = [
            lambda q, limit=limit: q <= limit,  # type: ignore[misc]
            lambda q, answers=answers: bool(answers[int(q * 16)]),  # type: ignore[misc]
        ]
        for oracle in oracles:
            expected = written_out(q0, P, p_min, oracle)
            schedule = Schedule(q0, P, p_min)
            assert driven(schedule, oracle) == expected
            assert not expected[-1][1]
            assert schedule.step <= max(p_min, P)
            ends.add(len(expected))
    assert len(ends) > 20


def test_steps_never_grow_and_end_at_the_smallest() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        schedule, steps = Schedule(0, float(rng.uniform(1, 70)), 100 / 48), []
        while not schedule.done:
            steps.append(schedule.step)
            before = schedule.position
            accepted = schedule.proposal < 100 and rng.random() < 0.6
            schedule.report(bool(accepted))
            assert schedule.position == (before + steps[-1] if accepted else before)
        assert all(a >= b for a, b in pairwise(steps))
        assert steps[-1] == min(steps[0], 100 / 48)


# --- sculpting --------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"unit_steps": [30.0], "edge_steps": [2.5], "history": True}


def small(**change: Any) -> list[Sculpted]:
    """A run of a few milliseconds."""
    options = {"task": SEPARABLE, "hidden": [16, 16], "training": RUN, **SMALL, **change}
    return sculpt(options.pop("task"), options.pop("hidden"), options.pop("training"), **options)


def assert_same(a: Sculpted, b: Sculpted) -> None:
    for name in ("seed", "unit_step", "edge_step", "failed", "dense_right", "right", "bits", "trace"):
        assert getattr(a, name) == getattr(b, name), name
    assert_close(parts(a.network), parts(b.network), 0)
    for x, y in zip([a.network.masks, *a.history], [b.network.masks, *b.history], strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(x, y, strict=True))


def attempts(run: Sculpted, phase: str) -> list[tuple[float, bool]]:
    return [(attempt.nominal, attempt.accepted) for attempt in run.trace if attempt.phase == phase]


class Stub:
    """Instead of training: a rule says how many bits are right, and calls are kept."""

    def __init__(self, right: Callable[[Network, int], int]) -> None:
        self.right, self.networks, self.epochs = right, list[Network](), list[int]()

    def __call__(self, given: Network, task: Task, training: Training, rng: Any, *, device: str) -> tuple[Network, int]:
        self.networks.append(given)
        self.epochs.append(training.epochs)
        return given, self.right(given, len(self.networks))


class WrittenOut:
    """A run by the specification, with numpy's percentiles; answers stand for training."""

    def __init__(self, dense: Network, answers: np.ndarray) -> None:
        self.answers, self.given, self.last = answers, [dense], dense
        self.history = [dense.masks]

    def trained(self, candidate: Network) -> bool:
        self.given.append(candidate)
        return bool(self.answers[len(self.given) - 1])

    def phase(self, pruned: Callable[[float], list[np.ndarray]], q0: float, P: float, p_min: float) -> Any:
        def accepts(q: float) -> bool:
            masks = pruned(q)
            weights = [w * mask for w, mask in zip(self.last.weights, masks, strict=True)]
            candidate = Network(weights, self.last.biases, masks)
            if accepted := self.trained(candidate):
                self.last = candidate
                self.history.append(masks)
            return accepted

        return written_out(q0, P, p_min, accepts)

    def without_units(self, q: float) -> list[np.ndarray]:
        scores = scores_by_autograd(self.last.weights, self.last.biases, SEPARABLE.inputs, SEPARABLE.targets)
        keep = [np.ones(4, dtype=bool), *np.split(scores > np.percentile(scores, q), 2), np.ones(4, dtype=bool)]
        return [mask & np.outer(keep[i + 1], keep[i]) for i, mask in enumerate(self.last.masks)]

    def without_edges(self, q: float) -> list[np.ndarray]:
        threshold = np.percentile(np.abs(np.concatenate([w.ravel() for w in self.last.weights])), q)
        return [np.abs(w) > threshold for w in self.last.weights]


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_sculpting_follows_the_specification(monkeypatch: pytest.MonkeyPatch, chance: float) -> None:
    """Nothing is trained; random answers accept. Without biases, a unit and the only one above it would tie.

    In double precision, in which no two scores are so close that rounding decides.
    """
    dense = [in_double(network([4, 16, 16, 4], seed)) for seed in range(4)]
    monkeypatch.setattr(sculpting, "initialize", lambda sizes, *, seed: dense[seed])
    for seed in range(4):
        answers = np.random.default_rng(seed).random(1000) < chance
        answers[:2] = True  # the dense network and the first step
        stub = Stub(lambda _, call, answers=answers: 64 if answers[call - 1] else 63)  # type: ignore[misc]
        monkeypatch.setattr(sculpting, "train", stub)
        (run,) = small(seeds=[seed])
        expected = WrittenOut(dense[seed], answers)
        units = expected.phase(expected.without_units, 0, 30, 100 / 32)
        expected.trained(expected.last)  # once more before edges are pruned
        gone = 100 - 100 * sum(int(mask.sum()) for mask in expected.last.masks) / 384
        edges = expected.phase(expected.without_edges, gone, 2.5, 100 / 384)
        for found, wanted in ((attempts(run, "units"), units), (attempts(run, "edges"), edges)):
            assert [accepted for _, accepted in found] == [accepted for _, accepted in wanted]
            assert [q for q, _ in found] == pytest.approx([q for q, _ in wanted])
        for found_masks, masks in zip(run.history, expected.history, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(found_masks, masks, strict=True))
        for a, b in zip(stub.networks, expected.given, strict=True):
            assert_close(a.weights, b.weights, 0)
        assert stub.epochs == [RUN.epochs] * len(stub.epochs)


@pytest.mark.parametrize("right", [57, 58, 64])
@pytest.mark.parametrize(
    ("options", "dense_right", "needed"),
    [
        ({}, 64, 64),
        ({"threshold": 0.9}, 64, 58),  # 57.6
        ({"threshold": 58 / 64}, 64, 58),
        ({"threshold": 57 / 64}, 64, 57),
        ({"tolerance": 0.1}, 64, 58),  # 57.6
        ({"tolerance": 0.0}, 58, 58),
        ({"tolerance": 0.0}, 64, 64),
        ({"tolerance": 1 / 64}, 58, 57),
        ({"tolerance": 0.0, "threshold": 1.0}, 57, 57),  # instead of the threshold
        ({"tolerance": 0.0, "threshold": 0.1}, 64, 64),
    ],
)
def test_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, float], dense_right: int, needed: int, right: int
) -> None:
    monkeypatch.setattr(sculpting, "train", Stub(lambda _, call: dense_right if call == 1 else right))
    (run,) = small(**options)
    assert run.dense_right == dense_right
    assert run.bits == 64
    trained = [attempt for attempt in run.trace if attempt.nominal < 100]
    assert {attempt.accepted for attempt in trained} == {right >= needed}
    assert {attempt.right for attempt in trained} == {right}
    assert {(a.right, a.accepted) for a in run.trace if a.nominal >= 100} <= {(-1, False)}
    assert run.failed == (right < needed)
    assert run.right == (dense_right if run.failed else right)


@pytest.mark.parametrize("right", [63, 64])
def test_training_before_edges_counts_only_if_accepted(monkeypatch: pytest.MonkeyPatch, right: int) -> None:
    """Units cannot go twice; the training after that doubles all weights."""
    calls: list[Network] = []
    before_edges = 0

    def stub(given: Network, *_: Any, **__: Any) -> tuple[Network, int]:
        nonlocal before_edges
        calls.append(given)
        if len(calls) <= 2:
            return given, 64
        if any(mask.any(axis=1).sum() < 13 for mask in given.masks[:2]):  # fewer units than the first step left
            return given, 63
        if not before_edges:
            before_edges = len(calls)
            return given._replace(weights=[2 * w for w in given.weights]), right
        return given, 0

    monkeypatch.setattr(sculpting, "train", stub)
    scores = np.r_[:3, 4:17, 0:3, 4:17]  # the first step takes three of each layer
    monkeypatch.setattr(
        sculpting, "unit_scores", lambda weights, *_: scores * np.concatenate([w.any(axis=1) for w in weights[:2]])
    )
    (run,) = small(unit_steps=[18.0])
    assert [accepted for _, accepted in attempts(run, "units")][:2] == [True, False]
    accepted = calls[1]
    assert_close(calls[before_edges - 1].weights, accepted.weights, 0)
    assert_close(run.network.weights, [w * (2 if right == 64 else 1) for w in accepted.weights], 0)
    assert run.right == 64
    assert len(attempts(run, "edges")) > 1


GRID: dict[str, Any] = {"unit_steps": [10.0, 45.0, 70.0], "edge_steps": [1.0, 2.5], "seeds": [0, 5]}


@pytest.mark.parametrize("phases", [("units", "edges"), ("edges", "units"), ("units",), ("edges",)])
def test_a_run_alone_is_the_same_in_a_grid(phases: tuple[str, ...]) -> None:
    runs = small(**GRID, phases=phases)
    chosen = [GRID[f"{name[:-1]}_steps"] for name in phases]
    expected = [(seed, *steps) for seed in GRID["seeds"] for steps in product(*chosen)]
    names = [f"{name[:-1]}_step" for name in phases]
    assert [(run.seed, *(getattr(run, name) for name in names)) for run in runs] == expected
    for run in runs:
        unit_steps, edge_steps = ([100.0 if s is None else s] for s in (run.unit_step, run.edge_step))
        own = {"units": unit_steps if run.unit_step else [30.0], "edges": edge_steps if run.edge_step else [2.5]}
        (alone,) = small(seeds=[run.seed], unit_steps=own["units"], edge_steps=own["edges"], phases=phases)
        assert_same(run, alone)
    assert len({tuple(run.trace) for run in runs}) == len(runs)


@pytest.mark.parametrize("phases", [("units", "edges"), ("edges", "units"), ("units",), ("edges",)])
def test_what_a_run_keeps(monkeypatch: pytest.MonkeyPatch, phases: tuple[str, ...]) -> None:
    trained: list[tuple[Network, int]] = []

    def spy(*args: Any, **options: Any) -> tuple[Network, int]:
        trained.append(train(*args, **options))
        return trained[-1]

    monkeypatch.setattr(sculpting, "train", spy)
    for seed in (0, 1, 2):
        trained.clear()
        (run,) = small(seeds=[seed], phases=phases)
        assert not run.failed
        assert run.right == run.bits == 64 == sculpting.bits_right(run.network, SEPARABLE.inputs, SEPARABLE.targets)
        for found, right in trained:  # rejected ones too
            expected, close = bits(found, SEPARABLE.inputs, SEPARABLE.targets)
            for counted in (right, sculpting.bits_right(found, SEPARABLE.inputs, SEPARABLE.targets)):
                assert abs(counted - expected) <= close < 3
        accepted = [attempt for attempt in run.trace if attempt.accepted]
        assert all(attempt.right == 64 for attempt in accepted)
        assert all(attempt.right < 64 for attempt in run.trace if not attempt.accepted)
        assert list(dict.fromkeys(attempt.phase for attempt in run.trace)) == list(phases)
        assert [attempt.density for attempt in accepted] == [sculpting.density(masks) for masks in run.history[1:]]
        assert [attempt.units for attempt in accepted] == [
            sum(int(mask.any(axis=1).sum()) for mask in masks[:-1]) for masks in run.history[1:]
        ]
        assert all(mask.all() for mask in run.history[0])
        for before, after in pairwise(run.history):
            assert all((b <= a).all() for a, b in zip(before, after, strict=True))
        assert all((a == b).all() for a, b in zip(run.history[-1], run.network.masks, strict=True))
        for w, b, mask in zip(*run.network, strict=True):
            assert (w[~mask] == 0).all()
            assert (b[~mask.any(axis=1)] == 0).all()
        for phase in phases:
            assert not attempts(run, phase)[-1][1]
        assert run.density == sculpting.density(run.network.masks) < (0.5 if phases == ("units",) else 0.15)
        assert (run.unit_step, run.edge_step) == (
            30.0 if "units" in phases else None,
            2.5 if "edges" in phases else None,
        )


def test_without_history() -> None:
    (plain,), (kept,) = small(history=False), small()
    assert plain.history == []
    plain.history = kept.history
    assert_same(plain, kept)


def test_the_first_step_takes_silent_units_with_it() -> None:
    """24 + 24 units and 5 %: nominally two go."""
    most = 0
    for seed in range(10):
        (run,) = small(hidden=[24, 24], unit_steps=[5.0], phases=("units",), seeds=[seed])
        dense = sculpting.initialize([4, 24, 24, 4], seed=seed)
        dense = train(dense, SEPARABLE, RUN, np.random.default_rng([seed, 0]))[0]
        scores = sculpting.unit_scores(dense.weights, dense.biases, SEPARABLE.inputs, SEPARABLE.targets)
        silent = int((scores == 0).sum())
        assert run.trace[0].units == 48 - max(3, silent)
        most = max(most, silent)
    assert most > 3


def test_random_scores() -> None:
    (plain,) = small()
    (units,) = small(random_scores=["units"])
    (edges,) = small(random_scores=["edges"])
    (both,) = small(random_scores=["units", "edges"])
    assert attempts(edges, "units") == attempts(plain, "units")
    for random, phase in ((units, "units"), (edges, "edges"), (both, "units")):
        assert_same(random, small(random_scores=["units", "edges"] if random is both else [phase])[0])
        for before, after in pairwise(random.history):
            assert all((b <= a).all() for a, b in zip(before, after, strict=True))
    assert attempts(edges, "edges") != attempts(plain, "edges")
    left = [[run.density for run in small(random_scores=names, seeds=range(8))] for names in ([], ["edges"])]
    assert np.mean(left[1]) > 1.2 * np.mean(left[0])
    # The first step of 30 % of 32 units takes nominally 10, but others than those of the lowest scores.
    assert units.trace[0].units == both.trace[0].units == 22
    (other,) = small(random_scores=["units"], seeds=[1])
    kept = [run.history[1][0].any(axis=1).tolist() for run in (plain, units, other) if run.trace[0].accepted]
    assert len(kept) >= 2
    assert kept[0] != kept[1]


def test_random_edges_go_in_the_share_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sculpting, "train", Stub(lambda *_: 64))
    (run,) = small(phases=("edges",), edge_steps=[20.0], random_scores=["edges"])
    for attempt in run.trace:
        if attempt.accepted:
            assert attempt.density == pytest.approx(1 - attempt.nominal / 100, abs=2 / 384)
    strongest = np.abs(run.network.weights[1]).max()
    assert strongest < np.abs(sculpting.initialize([4, 16, 16, 4], seed=0).weights[1]).max()


def test_without_halving() -> None:
    (plain,) = small()
    (run,) = small(halving=False)
    for phase, step in (("units", 30.0), ("edges", 2.5)):
        found = attempts(run, phase)
        assert [accepted for _, accepted in found] == [True] * (len(found) - 1) + [False]
        assert np.diff([q for q, _ in found]) == pytest.approx([step] * (len(found) - 1))
        assert sum(not accepted for _, accepted in attempts(plain, phase)) > 2
    assert attempts(run, "units") == attempts(plain, "units")[: len(attempts(run, "units"))]


def test_without_retraining() -> None:
    runs, plain = (small(retrain=retrain, threshold=0.9, unit_steps=[5.0], seeds=range(8)) for retrain in (False, True))
    left = [np.mean([one.density for one in each]) for each in (runs, plain)]
    assert left[1] < 0.5 * left[0] < 0.5
    run = runs[0]
    dense = train(sculpting.initialize([4, 16, 16, 4], seed=0), SEPARABLE, RUN, np.random.default_rng([0, 0]))[0]
    for w, mask, trained in zip(run.network.weights, run.network.masks, dense.weights, strict=True):
        np.testing.assert_array_equal(w, trained * mask)
    for b, mask, trained in zip(run.network.biases, run.network.masks, dense.biases, strict=True):
        np.testing.assert_array_equal(b, trained * mask.any(axis=1))


TINY = Training(1e-9, 8, 1)  # learns nothing


def test_a_run_that_fails_at_once() -> None:
    runs = small(training=TINY, unit_steps=[20.0, 60.0], edge_steps=[1.0, 2.0])
    assert len(runs) == 4
    for run in runs:
        assert run.failed
        assert run.density == 1
        assert all(mask.all() for mask in run.network.masks)
        assert {attempt.phase for attempt in run.trace} == {"units"}
        assert not any(attempt.accepted for attempt in run.trace)
        assert run.right == run.dense_right < run.bits
        assert len(run.history) == 1
    assert sparsest(runs) == -1
    good = small(unit_steps=[20.0, 60.0])
    assert sparsest([*runs, *good]) >= 4
    (edges,) = small(training=TINY, phases=("edges", "units"))
    assert edges.failed
    assert {attempt.phase for attempt in edges.trace} == {"edges"}


def test_only_the_first_phase_decides_on_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for phases in (("units", "edges"), ("edges", "units")):
        # Right until the first phase is over, which takes the network below the number of edges that is left then.
        monkeypatch.setattr(sculpting, "train", Stub(lambda *_: 64))
        (alone,) = small(phases=phases[:1])
        left = sum(int(mask.sum()) for mask in alone.network.masks)
        kept = Stub(lambda given, _, left=left: 64 if sum(int(m.sum()) for m in given.masks) >= left else 0)  # type: ignore[misc]
        monkeypatch.setattr(sculpting, "train", kept)
        (run,) = small(phases=phases)
        second = attempts(run, phases[1])
        assert second
        assert not any(accepted for q, accepted in second if q < 100)
        assert not run.failed
        assert run.density == alone.density


def test_sparsest() -> None:
    runs = small(unit_steps=[20.0, 40.0, 60.0], edge_steps=[1.0, 2.5])
    best = sparsest(runs)
    densities = [run.density for run in runs]
    assert best == int(np.argmin(densities))
    assert sparsest([]) == -1
    assert sparsest([runs[best], runs[best], *runs]) == 0
    worst = int(np.argmax(densities))
    assert sparsest([runs[worst], *runs, *runs]) == best + 1
    failed = dataclasses.replace(runs[best], failed=True)
    assert sparsest([failed, runs[worst]]) == 1
    assert sparsest([failed, failed]) == -1
    assert tied([failed, failed]) == tied([]) == []
    assert tied([failed, runs[worst], runs[best], runs[worst], runs[best], failed]) == [2, 4]


@pytest.mark.parametrize("hidden", [[10], [10, 6], [8, 8, 8], [8, 10, 8, 8]])
def test_any_depth(hidden: list[int]) -> None:
    # Every other of these small networks learns the task.
    runs = small(hidden=hidden, seeds=range(16), training=Training(0.02, 8, 40))
    for run in runs:
        assert [mask.shape for mask in run.network.masks] == list(zip([*hidden, 4], [4, *hidden], strict=True))
        if not run.failed:
            assert sculpting.bits_right(run.network, SEPARABLE.inputs, SEPARABLE.targets) == 64
    assert any(not run.failed and run.density < 0.5 for run in runs)


def test_one_hidden_unit() -> None:
    """It cannot be removed: the first step would, and no step is smaller."""
    (run,) = small(hidden=[1])
    assert run.failed
    assert attempts(run, "units") == [(30.0, False)]
    assert run.trace[0].units == 0
    assert run.trace[0].density == 0
    (run,) = small(hidden=[1], phases=("edges",), threshold=0.1)
    assert not run.failed
    assert run.density < 1


def test_other_tasks() -> None:
    """Rows to judge by that are others than those to train on, and noise that is drawn for each."""
    task = tasks.two_digits("digits", pool=4, train=2, test=1)
    (run,) = sculpt(task, [12], Training(0.01, 32, 10), unit_steps=[40.0], edge_steps=[20.0], tolerance=0.02)
    assert run.bits == 64 * 3
    assert run.right == sculpting.bits_right(run.network, task.test_inputs, task.test_targets)
    assert run.right >= run.dense_right - 0.02 * run.bits


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    small()
    assert capsys.readouterr().err == ""
    small(execution=Execution(progress=True), seeds=[0, 1])
    assert "2/2" in capsys.readouterr().err


# --- a checkpoint -----------------------------------------------------------------------------------------------------


class Dies:
    """Trains, and is interrupted at some calls."""

    def __init__(self) -> None:
        self.calls, self.dies_at = 0, lambda _: False

    def __call__(self, *args: Any, **own: Any) -> tuple[Network, int]:
        self.calls += 1
        if self.dies_at(self.calls):
            raise KeyboardInterrupt
        return train(*args, **own)


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Dies:
    stub = Dies()
    monkeypatch.setattr(sculpting, "train", stub)
    return stub


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("phases", [("units", "edges"), ("edges", "units"), ("units",)])
def test_killed_in_the_middle_goes_on(tmp_path: Path, dies: Dies, phases: tuple[str, ...], every: int) -> None:
    options: dict[str, Any] = {"phases": phases, "random_scores": ["units"], "edge_steps": [20.0]}
    (whole,) = small(**options)
    total = dies.calls
    assert total > 8
    path = tmp_path / "new" / "run.checkpoint"
    options["execution"] = Execution(checkpoint=path, checkpoint_every=every)
    for end in range(1, total + 1):
        dies.calls, dies.dies_at = 0, lambda call, end=end: call == end  # type: ignore[misc]
        with pytest.raises(KeyboardInterrupt):
            small(**options)
        assert path.exists() == (end > 1)
        dies.calls, dies.dies_at = 0, lambda _: False
        (again,) = small(**options)
        # Made again are those after the last checkpoint, and one before the second phase.
        assert dies.calls <= total - end + 1 + every
        assert_same(whole, again)
        assert list(path.parent.iterdir()) == []


def test_killed_again_and_again(tmp_path: Path, dies: Dies) -> None:
    (whole,) = small()
    path = tmp_path / "run.checkpoint"
    dies.calls, dies.dies_at = 0, lambda call: call % 4 == 0
    for _ in range(100):
        try:
            (again,) = small(execution=Execution(checkpoint=path))
            break
        except KeyboardInterrupt:
            assert path.exists()
    assert_same(whole, again)
    assert dies.calls > 12


@pytest.fixture
def interrupted(tmp_path: Path, dies: Dies) -> Execution:
    """What is left of a run after some steps; go on with it."""
    execution = Execution(checkpoint=tmp_path / "run.checkpoint")
    dies.dies_at = lambda call: call == 5
    with pytest.raises(KeyboardInterrupt):
        small(execution=execution)
    dies.dies_at = lambda _: False
    return execution


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": dataclasses.replace(SEPARABLE, noise=0.2)}, r"noise \(0.1 there, 0.2 here\); remove the file"),
        ({"task": dataclasses.replace(SEPARABLE, targets=1 - SEPARABLE.targets)}, "inputs and targets"),
        ({"hidden": [16, 12]}, r"sizes \(\[4, 16, 16, 4\] there, \[4, 16, 12, 4\] here\)"),
        ({"training": RUN._replace(weight_decay=0.0)}, "training"),
        ({"unit_steps": [20.0]}, r"steps \(\[\[30.0\], \[2.5\]\] there"),
        ({"seeds": [1]}, r"seeds \(\[0\] there, \[1\] here\)"),
        (
            {"threshold": 0.9, "tolerance": 0.1},
            r"threshold \(1.0 there, 0.9 here\), tolerance \(None there, 0.1 here\)",
        ),
        ({"phases": ["edges", "units"]}, "phases"),
        ({"random_scores": ["edges"]}, "random_scores"),
        ({"halving": False}, "halving"),
        ({"retrain": False}, "retrain"),
        ({"history": False}, "history"),
    ],
)
def test_checkpoint_of_another_call(interrupted: Execution, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"checkpoint .*run.checkpoint is of another call, with another .*{message}"):
        small(**change, execution=interrupted)
    assert interrupted.checkpoint is not None
    assert interrupted.checkpoint.exists()


def test_a_damaged_checkpoint_is_passed_over(
    interrupted: Execution, dies: Dies, capsys: pytest.CaptureFixture[str]
) -> None:
    (whole,) = small()
    needed = dies.calls - 5  # those of the interrupted run
    path = interrupted.checkpoint
    assert path is not None
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    dies.calls = 0
    assert_same(whole, small(execution=interrupted)[0])
    assert dies.calls == needed, "all is done again"
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("many", [{"seeds": [0, 1]}, {"unit_steps": [10.0, 20.0]}, {"edge_steps": [1.0, 2.0]}])
def test_checkpoint_of_several_runs(tmp_path: Path, many: dict[str, Any]) -> None:
    execution = Execution(checkpoint=tmp_path / "run.checkpoint")
    with pytest.raises(ValueError, match="checkpoint is for a single run: one seed, one unit step, one edge step"):
        small(**many, execution=execution)
    assert list(tmp_path.iterdir()) == []
    if "edge_steps" in many:  # which do not count in a phase of units
        small(**many, phases=("units",), execution=execution)


# --- errors -----------------------------------------------------------------------------------------------------------


def changed(**change: Any) -> Task:
    return dataclasses.replace(SEPARABLE, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": changed(inputs=SEPARABLE.inputs[:9])}, r"task.inputs \(9, 4\) and task.targets \(16, 4\)"),
        ({"task": changed(inputs=with_number(SEPARABLE.inputs, math.nan))}, "task.inputs has 1 numbers"),
        ({"task": changed(targets=with_number(SEPARABLE.targets, 0.2))}, "task.targets must be 0 or 1"),
        ({"task": changed(test_inputs=torch.rand(16, 5))}, r"task.test_inputs \(16, 5\) .* needed are \(R, 4\)"),
        ({"task": changed(test_targets=torch.ones(16, 3))}, r"task.test_targets \(16, 3\)"),
        ({"task": changed(test_targets=-SEPARABLE.targets)}, "task.test_targets must be 0 or 1"),
        ({"task": changed(test_inputs=with_number(SEPARABLE.inputs, math.inf))}, "task.test_inputs has 1 numbers"),
        ({"hidden": []}, r"hidden=\[\] must name at least one layer"),
        ({"hidden": [4, 0]}, r"hidden=\[4, 0\] must name"),
        ({"training": QUICK._replace(learning_rate=0)}, "learning_rate=0.*needed are a rate above 0"),
        ({"training": QUICK._replace(learning_rate=-0.1)}, "needed are a rate above 0"),
        ({"training": QUICK._replace(batch_size=0)}, "batch_size=0.*at least 1 row"),
        ({"training": QUICK._replace(epochs=0)}, "epochs=0.*1 epoch"),
        ({"training": QUICK._replace(weight_decay=-1e-4)}, "weight_decay=-0.0001.*a decay of at least 0"),
        ({"training": QUICK._replace(learning_rate=math.nan)}, "learning_rate=nan.*all finite"),
        ({"training": QUICK._replace(weight_decay=math.nan)}, "weight_decay=nan.*all finite"),
        ({"execution": Execution(checkpoint_every=0)}, "checkpoint_every=0 must be at least 1"),
        ({"phases": ()}, r"phases=\(\) must be 'units', 'edges', or both"),
        ({"phases": ("units", "units")}, "each once"),
        ({"phases": ("weights",)}, r"phases=\('weights',\)"),
        ({"random_scores": ["weights"]}, "random_scores names 'weights'; choose from 'units', 'edges'"),
        ({"unit_steps": []}, r"unit_steps=\[\] must be one or more percentages between 0 and 100"),
        ({"unit_steps": [5.0, 0.0]}, r"unit_steps=\[5.0, 0.0\]"),
        ({"unit_steps": [100.0]}, r"unit_steps=\[100.0\]"),
        ({"edge_steps": []}, r"edge_steps=\[\]"),
        ({"edge_steps": [-1.0]}, r"edge_steps=\[-1.0\]"),
        ({"edge_steps": [math.nan]}, r"edge_steps=\[nan\]"),
        ({"seeds": []}, "seeds is empty"),
        ({"threshold": 0.0}, r"threshold=0.0 must be in \(0, 1\]"),
        ({"threshold": 1.01}, r"threshold=1.01 must be in \(0, 1\]"),
        ({"threshold": math.nan}, "threshold=nan"),
        ({"tolerance": -0.01}, r"tolerance=-0.01 in \[0, 1\)"),
        ({"tolerance": 1.0}, r"tolerance=1.0 in \[0, 1\)"),
    ],
)
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**change)


@pytest.mark.parametrize(("phase", "other"), [("units", "edge_steps"), ("edges", "unit_steps")])
def test_steps_of_a_phase_that_is_left_out_do_not_count(phase: str, other: str) -> None:
    (run,) = small(phases=(phase,), **{other: []})
    assert_same(run, small(phases=(phase,))[0])


def test_scores_of_whole_numbers_and_mirrored_arrays() -> None:
    weights, biases = [np.array([[1, 2], [3, 4]]), np.array([[1, -1]])], [np.zeros(2), np.zeros(1)]
    inputs, targets = np.array([[0.5, 0.25], [1.0, 0.0]]), np.array([[1.0], [0.0]])
    expected = sculpting.unit_scores([weight.astype(float) for weight in weights], biases, inputs, targets)
    assert np.array_equal(sculpting.unit_scores(weights, biases, inputs, targets), expected)
    mirrored = [np.ascontiguousarray(weight[::-1])[::-1] for weight in weights]
    assert np.array_equal(sculpting.unit_scores(mirrored, biases, inputs[::-1], targets[::-1]), expected)
    with pytest.raises(ValueError, match="0 weights and 0 biases; needed are as many, at least 2 of each"):
        sculpting.unit_scores([], [], inputs, targets)
