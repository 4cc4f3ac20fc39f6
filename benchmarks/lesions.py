"""Lesions by exact updates beside a forward pass with a hook for every set of units.

Run with ``python -m benchmarks.lesions``; takes about a minute. The convolutional network of the biclustering chapter
with random weights, 5 000 random images, 1600 units removed in 40 groups: 41 points. And the MLP of the modularity
chapter (784, four times 256, 10), 2 000 images, 400 sets of 2 to 60 units of every hidden layer: what the test of a
partition needs. And torchvision's ResNet-18 with random weights, which is no chain: 64 images of 64 × 64 pixels, 32
sets of half of the channels.

``--device cuda`` adds rows of that device.
"""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks._common import Row, cpu_seconds, device_rows, report
from modutils.data import torchvision
from modutils.lesions import ablation_curve, ablation_curves, correct_counts
from modutils.networks import cnn, mlp
from modutils.units import channel_elements

SAMPLES, UNITS, GROUPS, CURVES = 5000, 1600, 40, 20
BATCH = 500
MLP_SAMPLES, MLP_SETS = 2000, 400
RESNET_SAMPLES, RESNET_SETS = 64, 32


@torch.no_grad()
def hooked(model: nn.Module, layer: nn.Module, inputs: Tensor, labels: Tensor, removed: list[np.ndarray]) -> list[int]:
    """Correct predictions with each of the sets of units removed: what one would write without the library."""
    counts = []
    for units in removed:

        def lesion(_module: nn.Module, _args: object, output: Tensor, units: np.ndarray = units) -> Tensor:
            shape = output.shape
            output = output.flatten(1)
            output[:, units] = 0
            return output.view(shape)

        with layer.register_forward_hook(lesion):
            guesses = torch.cat([model(batch).argmax(1) for batch in inputs.split(BATCH)])
        counts.append(int((guesses == labels).sum()))
    return counts


def layers_of_mlp() -> tuple[list[Row], int]:
    """Sets of units of every hidden layer, each on its own; and the largest difference in counts."""
    torch.manual_seed(0)
    model = mlp([784, 256, 256, 256, 256, 10]).eval()
    inputs = torch.rand(MLP_SAMPLES, 784)
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    rng = np.random.default_rng(0)
    rows, seconds, difference = [], np.zeros(2), 0
    for index in range(1, 5):
        sets = [rng.permutation(256)[: rng.integers(2, 61)] for _ in range(MLP_SETS)]
        layer = model.get_submodule(f"act{index}")
        slow = cpu_seconds(lambda layer=layer, sets=sets: hooked(model, layer, inputs, labels, sets), repeats=1)  # type: ignore[misc]
        fast = cpu_seconds(lambda index=index, sets=sets: correct_counts(model, f"act{index}", inputs, labels, sets))  # type: ignore[misc]
        ours = correct_counts(model, f"act{index}", inputs, labels, sets).sum(axis=1)
        difference = max(difference, int(np.abs(ours - hooked(model, layer, inputs, labels, sets)).max()))
        rows.append(Row(f"MLP, {MLP_SETS} sets of hidden layer {index}", "CPU-s", slow, fast, 1))
        seconds += slow, fast
    return [*rows, Row("MLP, sets of all layers", "CPU-s", seconds[0], seconds[1], 20)], difference


def blocks_of_resnet() -> tuple[list[Row], int]:
    """Sets of channels of a network with skips; and the largest difference in counts."""
    torch.manual_seed(0)
    model = torchvision().models.resnet18(weights=None, num_classes=10).eval()
    inputs = torch.randn(RESNET_SAMPLES, 3, 64, 64)
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    rng = np.random.default_rng(0)
    rows, difference = [], 0
    for name, channels, shape, target in (("layer3", 256, (256, 4, 4), 3), ("layer4", 512, (512, 2, 2), 10)):
        sets = [rng.permutation(channels)[: channels // 2] for _ in range(RESNET_SETS)]
        elements = [channel_elements(shape, chosen) for chosen in sets]
        by_hooks = partial(hooked, model, model.get_submodule(name), inputs, labels, elements)
        by_ours = partial(correct_counts, model, name, inputs, labels, sets, units="channel")
        slow, fast = cpu_seconds(by_hooks, repeats=1), cpu_seconds(by_ours)
        difference = max(difference, int(np.abs(by_ours().sum(axis=1) - by_hooks()).max()))
        rows.append(Row(f"ResNet-18, {RESNET_SETS} sets of channels of {name}", "CPU-s", slow, fast, target))
    return rows, difference


def main() -> None:
    """Measure and report."""
    mlp_rows, mlp_difference = layers_of_mlp()
    resnet_rows, resnet_difference = blocks_of_resnet()
    torch.manual_seed(0)
    model = cnn().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=(2 / (parameter[0].numel() if parameter.ndim > 1 else 1)) ** 0.5)
    inputs = torch.randn(SAMPLES, 1, 28, 28)
    with torch.no_grad():
        labels = model(inputs).argmax(1)  # so that the curve starts at 100 % and falls
    rng = np.random.default_rng(0)
    curves = [np.array_split(rng.permutation(UNITS), GROUPS) for _ in range(CURVES)]
    groups = curves[0]
    removed = [np.concatenate(groups[:j]) if j else np.arange(0) for j in range(GROUPS + 1)]
    layer = model.get_submodule("act2")

    by_hooks = cpu_seconds(lambda: hooked(model, layer, inputs, labels, removed), repeats=1)
    alone_by_hooks = cpu_seconds(lambda: hooked(model, layer, inputs, labels, groups), repeats=1)
    one = cpu_seconds(lambda: ablation_curve(model, "act2", inputs, labels, groups))
    many = cpu_seconds(lambda: ablation_curves(model, "act2", inputs, labels, curves)) / CURVES
    alone = cpu_seconds(lambda: correct_counts(model, "act2", inputs, labels, groups))
    difference = np.abs(
        ablation_curve(model, "act2", inputs, labels, groups) - hooked(model, layer, inputs, labels, removed)
    )

    def at(place: torch.device) -> Callable[[], object]:
        placed = copy.deepcopy(model).to(place)
        return lambda: correct_counts(placed, "act2", inputs.to(place), labels.to(place), groups)

    report(
        "lesions",
        [
            Row("one curve, 41 points", "CPU-s", by_hooks, one, 10),
            Row(f"each of {CURVES} curves", "CPU-s", by_hooks, many, 10),
            Row("40 sets, each on its own", "CPU-s", alone_by_hooks, alone, 10),
            *mlp_rows,
            *resnet_rows,
            *device_rows({"40 sets, each on its own": at}),
        ],
        reference="a forward pass through the whole network with a hook, for every point",
        samples=SAMPLES,
        units=UNITS,
        seconds_of_one_curve_at_most=0.5,
        largest_difference_in_counts=max(int(difference.max()), mlp_difference, resnet_difference),
    )


if __name__ == "__main__":
    main()
