"""A network that is not of this book: ResNet-18, beside captum and what one would write with hooks.

Run with ``python -m benchmarks.own_network``; takes a few minutes. Random weights, 16 random images of 64×64 pixels.
Attributions of ten classes to ``layer3`` (4096 elements), the covariances of its 256 channels position by position, and
the memory that each call needs at its peak, in a process of its own.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks._common import Row, cpu_seconds, report
from modutils import attribution, data, similarity

SAMPLES, LAYER = 16, "layer3"


def network() -> tuple[Any, Tensor]:
    """ResNet-18 with random weights and no in-place modules, which captum's rules cannot take; and images."""
    torch.manual_seed(0)
    model = data.torchvision().models.resnet18().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    return model, torch.randn(SAMPLES, 3, 64, 64)


def matrix_by_captum() -> Tensor:
    """Gradient times activation of ten classes, one call each: the rules of DeepLIFT refuse a ReLU that runs twice."""
    from captum.attr import LayerGradientXActivation

    model, images = network()
    explain = LayerGradientXActivation(model, model.get_submodule(LAYER))
    scores = torch.stack([explain.attribute(images, target=label).flatten(1).detach() for label in range(10)])
    return scores


def matrix_by_ours() -> Tensor:
    """The same ten classes in one pass."""
    model, images = network()
    first_ten = lambda logits: logits[:, :10]  # noqa: E731
    return attribution.attribute(
        model, LAYER, images, method="gradient_x_activation", target="all", output=first_ten
    ).movedim(1, 0)


def covariance_by_hooks() -> Tensor:
    """Covariances of channels at each position, and the mean of their sizes."""
    model, images = network()
    seen: list[Tensor] = []
    with torch.no_grad(), model.get_submodule(LAYER).register_forward_hook(lambda *args: seen.append(args[2])):
        model(images)
    values = seen[0].flatten(2).movedim(2, 0).double()
    values -= values.mean(1, keepdim=True)
    return (values.mT @ values / SAMPLES).mean(0).abs()


def covariance_by_ours() -> Tensor:
    """The same by one call."""
    return similarity.unit_similarity(*_with_layer(), measure="covariance")


def _with_layer() -> tuple[Any, str, Tensor]:
    model, images = network()
    return model, LAYER, images


def peak(work: Callable[[], Tensor]) -> float:
    """Memory that a process of its own takes at its peak beyond the network and the images, in MiB (Linux)."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (work,))


def _peak(work: Callable[[], Tensor]) -> float:
    work()  # once before, so that what is imported and prepared does not count
    before = _kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    work()
    return max(_kilobytes("VmHWM") - before, 1024) / 1024


def _kilobytes(name: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1])


def main() -> None:
    """Measure and report."""
    pairs = {
        "layer3, ten classes": (matrix_by_captum, matrix_by_ours, 2.0),
        "layer3, channels": (covariance_by_hooks, covariance_by_ours, 0.5),
    }
    rows, difference = [], 0.0
    for name, (theirs, ours, least) in pairs.items():
        a, b = theirs(), ours()
        difference = max(difference, float((a - b).abs().max() / a.abs().max()))
        rows.append(Row(name, "CPU-s", cpu_seconds(theirs), cpu_seconds(ours), least))
        rows.append(Row(f"{name}: memory", "MiB", peak(theirs), peak(ours), 0.0))
    report(
        "own_network",
        rows,
        reference="captum, one call a class; a hook and a matrix product",
        samples=SAMPLES,
        largest_relative_difference=difference,
    )


if __name__ == "__main__":
    main()
