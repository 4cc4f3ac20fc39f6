"""Sculpting with the compiled loop beside one network at a time in plain torch; clusters beside refitting for every k.

Run with ``python -m benchmarks.sculpting``; takes about a minute. The 4-24-24-4 network of the slides that learns the
input-separable task. Both ways prune by the same scores, percentiles and schedule, and train as often with the same
batches, noise, rate and decay; what differs is how a network is trained. Compilation (seconds, once per machine) does
not count.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import pairwise_distances
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._common import Row, cpu_seconds, report
from modutils import sculpting, tasks
from modutils.hierarchy import LayerClusters, cluster_layer
from modutils.sculpting import EDGE_STEPS, UNIT_STEPS, Network, Schedule, Sculpted, Training, sculpt
from modutils.tasks import Task

TASK = tasks.load("separable")
HIDDEN = (24, 24)
TRAINING = Training(learning_rate=0.05, batch_size=8, epochs=10)
SEEDS = (0, 1, 2, 5)
FEW_SEEDS = (0, 1)  # for what takes longest
UNIT_STEP = 40.0  # with all steps of the edge phase, so that phases have the same shares as in the grid
BITS = TASK.targets.numel()
UNITS = 200  # to be clustered

Batches = Callable[[Tensor, Tensor, bool], Iterable[Sequence[Tensor]]]


def indexed(x: Tensor, y: Tensor, shuffle: bool) -> Iterable[Sequence[Tensor]]:
    """The fastest way to batches: index the whole tensor, and judge all rows at once."""
    if not shuffle:
        return [(x, y)]
    return ((x[rows], y[rows]) for rows in torch.randperm(len(x)).split(TRAINING.batch_size))


def loaded(x: Tensor, y: Tensor, shuffle: bool) -> Iterable[Sequence[Tensor]]:
    """As the authors' code does, but without worker processes."""
    return DataLoader(TensorDataset(x, y), batch_size=TRAINING.batch_size, shuffle=shuffle)


class Plain(NamedTuple):
    """Networks as a user would sculpt them: densities reached, and how often a network was trained for that."""

    densities: list[float]
    trainings: int


class PlainSculptor:
    """One network at a time: ``nn.Linear``, autograd, ``torch.optim.Adam``, masks on weights and gradients."""

    def __init__(self, task: Task, batches: Batches) -> None:
        self.task, self.batches, self.trainings = task, batches, 0

    def train(self, model: nn.Sequential, masks: list[Tensor]) -> int:
        """Train and load the best copy; the bits that it gets right."""
        self.trainings += 1
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        optimizer = torch.optim.Adam(model.parameters(), lr=TRAINING.learning_rate, weight_decay=TRAINING.weight_decay)
        loss_of = nn.BCEWithLogitsLoss()
        best_right, best_loss, best = -1, float("inf"), model.state_dict()
        for _ in range(TRAINING.epochs):
            for x, y in self.batches(self.task.inputs, self.task.targets, True):
                loss = loss_of(model(x + self.task.noise * torch.randn_like(x)), y)
                optimizer.zero_grad()
                loss.backward()
                for layer, mask in zip(layers, masks, strict=True):
                    assert layer.weight.grad is not None
                    assert layer.bias.grad is not None
                    layer.weight.grad *= mask
                    layer.bias.grad *= mask.any(dim=1)
                optimizer.step()
            right, total = 0, 0.0
            with torch.no_grad():
                for x, y in self.batches(self.task.test_inputs, self.task.test_targets, False):
                    logits = model(x)
                    right += int(((logits >= 0) == (y > 0.5)).sum())
                    total += float(loss_of(logits, y)) * len(y)
            if right > best_right or (right == best_right and total <= best_loss):
                best_right, best_loss, best = right, total, copy.deepcopy(model.state_dict())
        model.load_state_dict(best)
        return best_right

    def phase(self, model: nn.Sequential, masks: list[Tensor], step: float, *, units: bool) -> list[Tensor]:
        """Prune until the schedule ends; the masks of what was accepted last."""
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        edges = sum(mask.numel() for mask in masks)
        gone = 100 - 100 * sum(int(mask.sum()) for mask in masks) / edges
        schedule = Schedule(0, step, 100 / sum(HIDDEN)) if units else Schedule(gone, step, 100 / edges)
        while not schedule.done:
            kept = copy.deepcopy(model.state_dict())
            accepted, candidate = False, masks
            if schedule.proposal < 100:
                weights, biases = (
                    [getattr(layer, part).detach().numpy() for layer in layers] for part in ("weight", "bias")
                )
                network = Network(weights, biases, [mask.numpy() for mask in masks])
                if units:
                    scores = sculpting.unit_scores(*network[:2], self.task.test_inputs, self.task.test_targets)
                    network = sculpting.prune_units(network, scores, schedule.proposal)
                else:
                    network = sculpting.prune_edges(network, schedule.proposal)
                candidate = [torch.from_numpy(mask) for mask in network.masks]
                with torch.no_grad():
                    for layer, mask in zip(layers, candidate, strict=True):
                        layer.weight.mul_(mask)
                        layer.bias.mul_(mask.any(dim=1))
                accepted = self.train(model, candidate) == BITS
            schedule.report(accepted)
            if accepted:
                masks = candidate
            else:
                model.load_state_dict(kept)
        return masks

    def sculpt(self, edge_steps: Sequence[float], seed: int) -> Plain:
        """From one dense network: its hidden units, then its edges with each of the steps."""
        torch.manual_seed(seed)
        sizes = [self.task.inputs.shape[1], *HIDDEN, self.task.targets.shape[1]]
        linear = [nn.Linear(below, above) for below, above in pairwise(sizes)]
        for layer in linear:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        model = nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
        masks = [torch.ones_like(layer.weight, dtype=torch.bool) for layer in linear]
        self.train(model, masks)
        masks = self.phase(model, masks, UNIT_STEP, units=True)
        if all(bool(mask.all()) for mask in masks):
            return Plain([], self.trainings)  # failed, as no step was ever accepted
        densities = []
        for step in edge_steps:
            own = copy.deepcopy(model)
            kept = copy.deepcopy(own.state_dict())
            if self.train(own, masks) < BITS:
                own.load_state_dict(kept)
            left = self.phase(own, masks, step, units=False)
            densities.append(sculpting.density([mask.numpy() for mask in left]))
        return Plain(densities, self.trainings)


def plain(
    batches: Batches, seeds: Sequence[int], edge_steps: Sequence[float] = EDGE_STEPS
) -> tuple[float, list[Plain]]:
    """CPU seconds and what was reached, for every seed one dense network."""
    found: list[Plain] = []

    def all_seeds() -> None:
        found.extend(PlainSculptor(TASK, batches).sculpt(edge_steps, seed) for seed in seeds)

    return cpu_seconds(all_seeds, repeats=1), found


def ours(unit_steps: Sequence[float], seeds: Sequence[int]) -> tuple[float, list[Sculpted], int]:
    """CPU seconds of the library, its runs, and how often a network was trained for them."""

    def call() -> list[Sculpted]:
        return sculpt(TASK, HIDDEN, TRAINING, unit_steps=unit_steps, seeds=seeds)

    with patch.object(sculpting, "train", wraps=sculpting.train) as counted:
        runs = call()
    return cpu_seconds(call), runs, counted.call_count


def by_refitting(features: np.ndarray) -> np.ndarray:
    """Labels of the lowest distance modularity, with scikit-learn's tree anew for every number of clusters."""
    n = len(features)
    distances = pairwise_distances(features, metric="cosine")
    shares = distances / distances.sum()
    best, chosen = np.inf, np.zeros(n, dtype=int)
    for k in range(2, n):
        labels = AgglomerativeClustering(n_clusters=k, metric="cosine", linkage="average").fit(features).labels_
        q = 0.0
        for c in range(k):
            inside = labels == c
            q += shares[np.ix_(inside, inside)].sum() - shares[inside].sum() ** 2
        if round(q, 8) <= best:
            best, chosen = round(q, 8), labels
    return chosen


def units_to_cluster() -> np.ndarray:
    """What units reach that belong to three groups, with some edges astray."""
    rng = np.random.default_rng(0)
    targets = np.arange(120) // 40 == rng.integers(3, size=UNITS)[:, None]
    return (targets ^ (rng.random(targets.shape) < 0.05)).astype(float)


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    grid_seconds, grid, grid_trainings = ours(UNIT_STEPS, SEEDS)
    seconds, runs, trainings = ours([UNIT_STEP], SEEDS)
    few_seconds, _, few_trainings = ours([UNIT_STEP], FEW_SEEDS)
    plain(loaded, SEEDS[:1], EDGE_STEPS[-1:])  # what torch does only once does not count either
    plain_seconds, reached = plain(indexed, SEEDS)
    loaded_seconds, reached_loaded = plain(loaded, FEW_SEEDS)

    plain_density = np.mean([density for found in reached for density in found.densities])
    density = np.mean([run.density for run in runs if not run.failed])
    if not 0.5 < plain_density / density < 2:
        raise RuntimeError(f"densities {plain_density:.3f} and {density:.3f} should be similar")

    features = units_to_cluster()
    clusters: LayerClusters = cluster_layer(features)
    refitted = by_refitting(features)
    same = (refitted[:, None] == refitted) == (clusters.labels[:, None] == clusters.labels)
    if clusters.reason != "modularity" or not same.all():
        raise RuntimeError("both ways to clusters should choose the same")

    plain_trainings, loaded_trainings = (sum(each.trainings for each in found) for found in (reached, reached_loaded))
    report(
        "sculpting",
        [
            Row(
                "1000 trainings of sculpting, DataLoader",
                "CPU-s",
                1000 * loaded_seconds / loaded_trainings,
                1000 * few_seconds / few_trainings,
                50,
            ),
            Row(
                "1000 trainings of sculpting, indexed",
                "CPU-s",
                1000 * plain_seconds / plain_trainings,
                1000 * seconds / trainings,
                25,
            ),
            Row(
                f"clusters of {UNITS} units",
                "CPU-s",
                cpu_seconds(lambda: by_refitting(features), repeats=1),
                cpu_seconds(lambda: [cluster_layer(features) for _ in range(10)]) / 10,
                50,
            ),
        ],
        reference="one network at a time: nn.Linear, autograd, torch.optim.Adam, masks on weights and gradients, the "
        "best copy by deepcopy, one thread; batches from torch's DataLoader without workers, or by indexing the whole "
        "tensor. For clusters sklearn's AgglomerativeClustering refitted for every k, Q summed anew",
        compilation="not counted",
        full_grid=f"{len(grid)} runs, {grid_trainings} trainings, {grid_seconds:.1f} CPU-s; the target is at most 15",
        trainings_timed=f"{loaded_trainings} with a DataLoader ({few_trainings} ours), {plain_trainings} indexed "
        f"({trainings} ours)",
        full_grid_cpu_seconds_at_the_rate_of_the_references=f"{grid_trainings * loaded_seconds / loaded_trainings:.0f} "
        f"with a DataLoader, {grid_trainings * plain_seconds / plain_trainings:.0f} indexed",
        mean_density_percent=f"{100 * plain_density:.2f} by the references, {100 * density:.2f} ours",
        sparsest_percent_per_seed=[
            round(100 * min(run.density for run in grid if run.seed == seed and not run.failed), 2) for seed in SEEDS
        ],
    )


if __name__ == "__main__":
    main()
