"""Unit similarities by closed forms beside a backward pass per unit, and beside torch.func.

Run with ``python -m benchmarks.similarity``; takes about 45 s of processor time. The 784-64-64-10 network of the
upstream/downstream chapter as initialised, 10 000 random images, all four measures of both layers, the absolute value
inside and outside.

``--device cuda`` adds rows of that device.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import hessian, jacrev, vmap

from benchmarks._common import Row, cpu_seconds, device_rows, report
from modutils.networks import mlp
from modutils.similarity import MEASURES, mlp_similarities

SAMPLES, BATCH = 10_000, 500
SIZES = {"64, 64": [784, 64, 64, 10], "256, 256": [784, 256, 256, 10], "5 of 64": [784, *[64] * 5, 10]}
Found = dict[tuple[int, str], tuple[Tensor, Tensor]]


def means(matrices: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
    """|mean M| and mean |M| of the (N, n, n) matrices of each batch."""
    sums = [(m.sum(0), m.abs().sum(0)) for m in map(matrices, inputs.split(BATCH))]
    signed, absolute = (torch.stack(parts).sum(0) / len(inputs) for parts in zip(*sums, strict=True))
    return signed.abs(), absolute


def covariance(below: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The same in both references."""
    with torch.no_grad():
        mean = torch.cat([below(x) for x in inputs.split(BATCH)]).mean(0)
        return means(lambda x: (below(x) - mean)[:, :, None] * (below(x) - mean)[:, None], inputs)


def gradients(values: Tensor, leaf: Tensor) -> Tensor:
    """(N, values, leaf) Jacobian: one backward pass per column of values (N, ...)."""
    columns = [torch.autograd.grad(one.sum(), leaf, retain_graph=True)[0] for one in values.unbind(1)]
    return torch.stack(columns, dim=1)


def per_unit(model: nn.Sequential, inputs: Tensor) -> Found:
    """A backward pass for every unit, class, and row of the Hessian."""
    found: Found = {}
    parts = list(model)
    for layer, end in ((0, 3), (1, 5)):
        below, above = nn.Sequential(*parts[:end]), nn.Sequential(*parts[end:])

        def upstream(x: Tensor, below: nn.Module = below) -> Tensor:
            x = x.clone().requires_grad_()
            jacobian = gradients(below(x), x)
            return jacobian @ jacobian.mT

        def downstream(x: Tensor, below: nn.Module = below, above: nn.Module = above) -> Tensor:
            h = below(x).detach().requires_grad_()
            jacobian = gradients(above(h), h)
            return jacobian.mT @ jacobian

        def curvature(x: Tensor, below: nn.Module = below, above: nn.Module = above) -> Tensor:
            h = below(x).detach().requires_grad_()
            loss = nn.functional.cross_entropy(above(h), torch.zeros(len(x), dtype=torch.int64), reduction="sum")
            return gradients(torch.autograd.grad(loss, h, create_graph=True)[0], h)

        calls: list[Callable[[Tensor], Tensor]] = [upstream, downstream, curvature]
        found[layer, "covariance"] = covariance(below, inputs)
        for measure, matrices in zip(MEASURES[1:], calls, strict=True):
            found[layer, measure] = means(matrices, inputs)
    return found


def functional(model: nn.Sequential, inputs: Tensor) -> Found:
    """vmap over samples of torch.func's jacrev and hessian."""
    found: Found = {}
    parts = list(model)
    for layer, end in ((0, 3), (1, 5)):
        # Without the flattening module, which takes a batch.
        below, above = nn.Sequential(*parts[1:end]), nn.Sequential(*parts[end:])

        def loss(h: Tensor, above: nn.Module = above) -> Tensor:
            return nn.functional.cross_entropy(above(h), torch.tensor(0))

        def upstream(x: Tensor, below: nn.Module = below) -> Tensor:
            jacobian = vmap(jacrev(below))(x)
            return jacobian @ jacobian.mT

        def downstream(x: Tensor, below: nn.Module = below, above: nn.Module = above) -> Tensor:
            jacobian = vmap(jacrev(above))(below(x))
            return jacobian.mT @ jacobian

        def curvature(x: Tensor, below: nn.Module = below, loss: Callable[[Tensor], Tensor] = loss) -> Tensor:
            return vmap(hessian(loss))(below(x))

        calls: list[Callable[[Tensor], Tensor]] = [upstream, downstream, curvature]
        found[layer, "covariance"] = covariance(below, inputs)
        with torch.no_grad():
            for measure, matrices in zip(MEASURES[1:], calls, strict=True):
                found[layer, measure] = means(matrices, inputs)
    return found


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    inputs = torch.rand(SAMPLES, 784)
    seconds = {}
    for name, sizes in reversed(SIZES.items()):
        model = mlp(sizes).eval()
        linear = [part for part in model if isinstance(part, nn.Linear)]
        weights, biases = [part.weight.detach() for part in linear], [part.bias.detach() for part in linear]
        seconds[name] = cpu_seconds(lambda w=weights, b=biases: mlp_similarities(w, b, inputs))  # type: ignore[misc]
    ours = mlp_similarities(weights, biases, inputs)

    rows, difference = [], 0.0
    # The goal was set against a backward pass per unit; torch.func is there for comparison.
    for reference, text, goal in ((per_unit, "a backward pass per unit", 30), (functional, "torch.func", 20)):
        found: list[Found] = []
        usual = cpu_seconds(lambda call=reference, found=found: found.append(call(model, inputs)), repeats=1)  # type: ignore[misc]
        rows.append(Row(f"four measures, two layers, {text}", "CPU-s", usual, seconds["64, 64"], goal))
        for (layer, measure), pair in found[0].items():
            for expected, matrix in zip(pair, ours[layer][measure], strict=True):
                difference = max(difference, float((expected - matrix).abs().max() / expected.max()))

    def at(place: torch.device) -> Callable[[], object]:
        maps, shifts = ([one.to(place) for one in some] for some in (weights, biases))
        return partial(mlp_similarities, maps, shifts, inputs.to(place))

    rows += device_rows({"four measures, two layers": at})
    report(
        "similarity",
        rows,
        reference="the Jacobian or Hessian of every sample, batches of 500",
        samples=SAMPLES,
        seconds_for_a_network_with_hidden_layers={name: round(seconds[name], 3) for name in SIZES},
        largest_difference_relative_to_largest_entry=difference,
    )


if __name__ == "__main__":
    main()
