"""How cost grows: processor time and memory of the library's main calls, against the size of what they are given.

Run with ``python -m benchmarks.scaling``; takes about two minutes. Each call runs in a process of its own, so that its
largest memory is its own. The slope is that of log cost against log size between the smallest and the largest: 1 where
twice as much takes twice as long, 2 where it takes four times as long.
"""

import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks._common import cpu_seconds
from companion.records import provenance
from modutils import attribution, coclustering, graphs, lesions, modularity, networks, similarity, spectral, stacked


class Case(NamedTuple):
    """A call, what grows, the sizes, and a function that prepares the call for a size."""

    what: str
    grows: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Callable[[], object]]


def _mlp(width: int = 256, classes: int = 10) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return networks.mlp([784, width, width, classes]).eval()


def _images(count: int) -> torch.Tensor:
    return torch.rand(count, 784, generator=torch.Generator().manual_seed(0))


def _symmetric(units: int) -> np.ndarray:
    factors = np.random.default_rng(0).standard_normal((units, 20))
    return np.abs(factors @ factors.T)


def _train(count: int) -> Callable[[], object]:
    labels = torch.randint(10, (2000,), generator=torch.Generator().manual_seed(0))
    stack = stacked.initialize((784, 64, 64, 10), seeds=[0], copies=count)
    return lambda: stacked.train(stack, _images(2000), labels, epochs=1, seeds=[0])


def _cocluster(rows: int, columns: int) -> Callable[[], object]:
    matrix = np.random.default_rng(0).standard_exponential((rows, columns), dtype=np.float32)
    return lambda: coclustering.spectral_cocluster(matrix, 10)


def _lesions(sets: int) -> Callable[[], object]:
    labels = torch.randint(10, (2000,), generator=torch.Generator().manual_seed(0))
    chosen = [list(range(start, start + 8)) for start in range(sets)]
    return lambda: lesions.correct_counts(_mlp(), "act1", _images(2000), labels, chosen)


CASES = {
    case.what + case.grows: case
    for case in (
        Case("train a stack of networks", "networks", (8, 16, 32, 64), _train),
        Case(
            "neuron_sample_matrix (DeepLIFT)", "units", (256, 512, 1024, 2048),
            lambda n: lambda: attribution.neuron_sample_matrix(_mlp(n), "act2", _images(4000)),
        ),
        Case(
            "neuron_sample_matrix (DeepLIFT)", "samples", (2000, 4000, 8000, 16_000),
            lambda n: lambda: attribution.neuron_sample_matrix(_mlp(), "act2", _images(n)),
        ),
        Case(
            "attribute to all classes", "classes", (10, 20, 40, 80),
            lambda n: lambda: attribution.attribute(
                _mlp(classes=n), "act2", _images(2000), method="deeplift", target="all"
            ),
        ),
        Case(
            "unit_similarity (loss Hessian)", "units", (256, 512, 1024, 2048),
            lambda n: lambda: similarity.unit_similarity(_mlp(n), "act2", _images(1000), measure="loss_hessian"),
        ),
        Case(
            "correlation_graph", "units", (256, 512, 1024, 2048),
            lambda n: lambda: graphs.correlation_graph(_images(4000).repeat(1, 3)[:, :n]),
        ),
        Case("spectral_cocluster", "units", (200, 400, 800, 1600), lambda n: _cocluster(n, 5000)),
        Case("spectral_cocluster", "samples", (1250, 2500, 5000, 10_000), lambda n: _cocluster(800, n)),
        Case(
            "spectral_clusters", "units", (250, 500, 1000, 2000),
            lambda n: (lambda graph: lambda: spectral.spectral_clusters(graph, 10))(_symmetric(n)),
        ),
        Case(
            "find_modules", "units", (64, 128, 256, 512),
            lambda n: (lambda graph: lambda: modularity.find_modules(graph, start="alternate"))(_symmetric(n)),
        ),
        Case("correct_counts", "sets of units", (32, 64, 128, 248), _lesions),
    )
}  # fmt: skip


def measure(name: str, size: int) -> None:
    """Print CPU seconds, and the growth of the largest memory in MB, of one call in this process."""
    call = CASES[name].prepare(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = cpu_seconds(call, repeats=2)
    print(json.dumps([seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000]))


def main() -> None:
    """Measure all cases and write them to ``results/scaling.json``."""
    rows = []
    for name, case in CASES.items():
        found = []
        for size in case.sizes:
            command = [sys.executable, "-m", "benchmarks.scaling", name, str(size)]
            found.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        seconds, megabytes = (list(column) for column in zip(*found, strict=True))
        slope = math.log(seconds[-1] / seconds[0]) / math.log(case.sizes[-1] / case.sizes[0])
        rows.append(
            {
                "what": case.what,
                "grows": case.grows,
                "sizes": case.sizes,
                "cpu_seconds": seconds,
                "megabytes": megabytes,
                "slope": slope,
            }
        )
        print(
            f"{case.what:34} {case.grows:14} {case.sizes!s:26} {seconds[-1]:7.2f} CPU-s {megabytes[-1]:7.0f} MB", end=""
        )
        print(f"  slope {slope:.2f}", flush=True)
    file = Path(__file__).parent / "results" / "scaling.json"
    content = {"rows": [], "facts": {"scaling": rows}, "provenance": provenance()}
    file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in CASES:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        main()
