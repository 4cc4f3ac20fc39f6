"""Thirty networks trained as one stack beside one network at a time through autograd.

Run with ``python -m benchmarks.stacked``; takes about 40 s. The 784-64-64-10 network of Lange et al. (2022) with the
thirty settings of a run, random images, batches of 200; both ways take the same penalties, dropout rates and Adam.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._common import Row, cpu_seconds, report
from modutils import networks, stacked
from studies.upstream_downstream.cells import Setting, settings

SIZES = (784, 64, 64, 10)
BATCH, STEPS = 200, 30
ALONE = (0, 12, 28)  # an L2, an L1 and a dropout network stand for the thirty


def batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The fastest way to shuffled batches: index the whole tensor."""
    for rows in torch.randperm(len(images)).split(BATCH):
        yield images[rows], labels[rows]


def one_at_a_time(loader: Iterable[tuple[Tensor, Tensor]], setting: Setting) -> nn.Module:
    """One network as one would write it without the library: autograd, penalties in the loss, ``torch.optim.Adam``."""
    model = networks.mlp(SIZES, dropout=setting.dropout).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    weights = [p for p in model.parameters() if p.ndim == 2]
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x), y)
        for weight in weights:
            loss = loss + setting.l2 * weight.square().sum() + setting.l1 * weight.abs().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def _speed(seconds: float) -> float:
    """Billion operations per second: forward, and backward to weights and activities, is six per weight and image."""
    weights = sum(a * b for a, b in pairwise(SIZES))
    return 6 * weights * BATCH * STEPS * len(settings("all")) / seconds / 1e9


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    images = torch.rand(BATCH * STEPS, 784)
    labels = torch.randint(0, 10, (len(images),))
    grid = settings("all")
    options: dict[str, Any] = {"epochs": 1, "seeds": [0], "batch_size": BATCH}

    def together() -> None:
        stacked.train(
            stacked.initialize(SIZES, seeds=[0], copies=len(grid)),
            images,
            labels,
            l2=[s.l2 for s in grid],
            l1=[s.l1 for s in grid],
            dropout=[s.dropout for s in grid],
            **options,
        )

    ours = cpu_seconds(together)
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True)
    plain = sum(cpu_seconds(partial(one_at_a_time, loader, grid[i])) for i in ALONE) / len(ALONE)
    tight = sum(cpu_seconds(lambda i=i: one_at_a_time(batches(images, labels), grid[i])) for i in ALONE) / len(ALONE)  # type: ignore[misc]
    per_step = ours / STEPS
    report(
        "stacked",
        [
            Row("30 networks, DataLoader", "CPU-s", plain * len(grid), ours, 50),
            Row("30 networks, indexed", "CPU-s", tight * len(grid), ours, 50),
        ],
        reference="one network at a time: autograd and torch.optim.Adam, penalties in the loss, one thread, denormals "
        "flushed; batches from torch's DataLoader, or by indexing the whole tensor",
        billion_float32_operations_per_cpu_second=f"{_speed(tight * len(grid)):.0f} indexed, {_speed(ours):.0f} ours",
        networks_x_samples_per_cpu_second=round(len(grid) * len(images) / ours),
        milliseconds_per_step_of_30=round(1000 * per_step, 1),
        cpu_seconds_for_an_epoch_of_all_270_on_54000_images=round(9 * 270 * per_step, 1),
    )


if __name__ == "__main__":
    main()
