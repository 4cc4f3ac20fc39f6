"""Ablation curves by exact updates beside a forward pass with a hook for every point.

Run with ``python -m benchmarks.lesions``; takes about 20 s. The convolutional network of the biclustering chapter
with random weights, 5 000 random images, 1600 units removed in 40 groups: 41 points.
"""

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks._common import Row, cpu_seconds, report
from modutils.lesions import ablation_curve, ablation_curves, correct_counts
from modutils.networks import cnn

SAMPLES, UNITS, GROUPS, CURVES = 5000, 1600, 40, 20
BATCH = 500


@torch.no_grad()
def hooked(model: nn.Module, layer: nn.Module, inputs: Tensor, labels: Tensor, removed: list[np.ndarray]) -> list[int]:
    """Correct predictions with each of the sets of units removed: what one would write without the library."""
    counts = []
    for units in removed:

        def lesion(_module: nn.Module, _args: object, output: Tensor, units: np.ndarray = units) -> Tensor:
            output = output.flatten(1)
            output[:, units] = 0
            return output.view(-1, 64, 5, 5)

        with layer.register_forward_hook(lesion):
            guesses = torch.cat([model(batch).argmax(1) for batch in inputs.split(BATCH)])
        counts.append(int((guesses == labels).sum()))
    return counts


def main() -> None:
    """Measure and report."""
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
    report(
        "lesions",
        [
            Row("one curve, 41 points", "CPU-s", by_hooks, one, 10),
            Row(f"each of {CURVES} curves", "CPU-s", by_hooks, many, 10),
            Row("40 sets, each on its own", "CPU-s", alone_by_hooks, alone, 10),
        ],
        reference="a forward pass through the whole network with a hook, for every point",
        samples=SAMPLES,
        units=UNITS,
        seconds_of_one_curve_at_most=0.5,
        largest_difference_in_counts=int(difference.max()),
    )


if __name__ == "__main__":
    main()
