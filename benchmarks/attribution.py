"""The neuron × sample matrix of a CNN by one pass, beside the ten captum calls of its definition.

Run with ``python -m benchmarks.attribution``; takes about two minutes. The network is the CNN of the biclustering
chapter with random weights, the layer its second convolution after the ReLU (1600 units), the inputs random images
of which, as in MNIST, most pixels are black.

``--device cuda`` adds rows of that device.
"""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from benchmarks._common import Row, cpu_seconds, device_rows, report
from modutils.attribution import neuron_sample_matrices, neuron_sample_matrix
from modutils.networks import cnn

LAYER = "act2"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return cnn().eval()


def images(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 1, 28, 28, generator=generator) * (torch.rand(n, 1, 28, 28, generator=generator) < 0.2)


def ten_calls(model: nn.Sequential, x: Tensor, method: str) -> Tensor:
    """The definition of the matrix: captum for each class, the predicted one less the mean."""
    layer = model.get_submodule(LAYER)
    baseline, steps = torch.zeros_like(x), {"n_steps": 50}
    call: Callable[[int], Tensor] = {
        "deeplift": lambda c: captum.attr.LayerDeepLift(model, layer).attribute(
            x.clone().requires_grad_(), baseline, target=c
        ),
        "conductance": lambda c: captum.attr.LayerConductance(model, layer).attribute(x, baseline, target=c, **steps),
        "internal_influence": lambda c: captum.attr.InternalInfluence(model, layer).attribute(
            x, baseline, target=c, **steps
        ),
        "integrated_gradients": lambda c: captum.attr.LayerIntegratedGradients(model, layer).attribute(
            x, baseline, target=c, **steps
        ),
        "gradient_x_activation": lambda c: captum.attr.LayerGradientXActivation(model, layer).attribute(x, target=c),
        "guided_backprop": lambda c: captum.attr.GuidedBackprop(model[4:]).attribute(
            model[:4](x).detach().requires_grad_(), target=c
        ),
    }[method]
    by_class = torch.stack([call(c).detach().flatten(1) for c in range(10)], dim=1)
    predicted = model(x).argmax(1)
    return (by_class[torch.arange(len(x)), predicted] - by_class.mean(1)).T


def difference(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).abs().max() / reference.abs().max())


def peak_megabytes(n: int) -> float:
    """Peak memory of a call for all methods, above what the process had used before and above the result, in MB."""
    torch.set_num_threads(1)
    model, x = network(), images(n)
    before = high_water_mark()
    result = neuron_sample_matrices(model, LAYER, x, steps=10)
    return high_water_mark() - before - sum(m.numel() * m.element_size() for m in result.values()) / 1e6


def high_water_mark() -> float:
    """Most memory this process has used, in MB (Linux; `getrusage` would pass on that of the parent process)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning, module="captum")
    model = network()
    cases: Sequence[tuple[tuple[str, ...], int, float]] = [
        (("deeplift",), 500, 25),
        (("conductance", "internal_influence"), 100, 20),
        (("integrated_gradients",), 100, 100),
        (("gradient_x_activation",), 500, 10),
        (("guided_backprop",), 500, 5),
    ]
    rows, differences = [], {}
    for methods, n, target in cases:
        x = images(n)
        reference = sum(cpu_seconds(partial(ten_calls, model, x, method), 2) for method in methods)
        ours = cpu_seconds(partial(neuron_sample_matrices, model, LAYER, x, methods=methods), 5)
        rows.append(Row(f"{' + '.join(methods)}, {n} samples", "CPU s", reference, ours, target))
        for method, matrix in neuron_sample_matrices(model, LAYER, x, methods=methods).items():
            differences[method] = difference(matrix, ten_calls(model, x, method))
    many = images(10_000)
    rows += device_rows(
        {
            "deeplift, 10 000 samples": lambda place: partial(
                neuron_sample_matrix, network().to(place), LAYER, many.to(place)
            )
        }
    )
    facts: dict[str, Any] = {
        "largest relative difference": {method: f"{value:.1e}" for method, value in differences.items()},
        "10 000 samples, deeplift, CPU s": round(cpu_seconds(partial(neuron_sample_matrix, model, LAYER, many), 1), 2),
        "10 000 samples, all methods, CPU s": round(
            cpu_seconds(partial(neuron_sample_matrices, model, LAYER, many), 1), 1
        ),
    }
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        peaks = list(pool.map(peak_megabytes, (1000, 4000)))
    facts["peak memory above inputs and results, MB, for 1000 and 4000 samples"] = [round(peak) for peak in peaks]
    report("attribution", rows, **facts)


if __name__ == "__main__":
    main()
