"""Going on from a layer: bit for bit what a hooked forward pass gives, in networks that make it hard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modutils._resume import Resumed
from modutils.lesions import lesioned_logits
from modutils.units import run


def conv(channels: int = 4) -> nn.Conv2d:
    return nn.Conv2d(channels, 4, 3, padding=1)


class Net(nn.Module):
    """Layers by name, and what to do with them."""

    def __init__(self, how: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.how = how
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Any:
        return self.how(self, x)


def _skips_what_was_overwritten(net: Any, x: Tensor) -> Tensor:
    h = net.first(x)
    r = net.act(h)  # in place: h is rectified too
    return net.last(net.layer(r)) + h


def _reads_both_sides_of_a_view(net: Any, x: Tensor) -> Tensor:
    h = net.first(x)
    v = net.same(h)  # the same memory
    v.add_(1)
    return net.last(net.layer(v)) + h


def _layer_in_place(net: Any, x: Tensor) -> Tensor:
    h = net.first(x)
    return net.last(net.layer(h)) + h


def _overwrites_its_input(net: Any, x: Tensor) -> Tensor:
    h = net.layer(net.first(x.mul_(2)))
    return net.last(h) + x.mean()


def _in_place_above(net: Any, x: Tensor) -> Tensor:
    h = net.first(x)
    y = net.layer(h)
    y += h
    h.mul_(0.5)
    return net.last(torch.relu_(y)) + h


def _twice(net: Any, x: Tensor) -> Tensor:
    return net.last(net.act(net.layer(net.act(net.first(x)))))


def _gives_a_tuple(net: Any, x: Tensor) -> Tensor:
    a, (b, _) = net.pair(net.first(x))
    return net.last(net.layer(a)) * b


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, None]]:
        return x + 1, (x - 1, None)


def _remembers(net: Any, x: Tensor) -> Tensor:
    net.seen.clear()
    h = net.body(x)
    return net.last(net.layer(h)) + net.seen[0]


class Recalls(nn.Module):
    """Leaves something behind in the network around it."""

    def __init__(self, at: list[nn.Module]) -> None:
        super().__init__()
        self.at, self.inner = at, conv()

    def forward(self, x: Tensor) -> Tensor:
        self.at[0].seen.append(x * 2)  # type: ignore[union-attr, operator]
        return self.inner(x)


def remembers() -> nn.Module:
    around: list[nn.Module] = []
    net = Net(_remembers, body=Recalls(around), layer=conv(), last=conv())
    around.append(net)
    return net


def _depends_on_the_data(net: Any, x: Tensor) -> Tensor:
    """Reads `h` for some samples only: not for the first one, by which the network is known."""
    h = net.first(x)
    y = net.layer(h)
    return net.last(y) if len(x) == 1 else net.last(y) + h


def _without_modules(net: Any, x: Tensor) -> Tensor:
    w = net.first.weight
    return net.last(net.layer(nn.functional.conv2d(x, w, padding=1)))


def hooked() -> nn.Module:
    net = nn.Sequential(conv(), nn.ReLU(), conv(), conv())
    net[0].register_forward_hook(lambda module, args, output: output * 2)
    net[2].register_forward_hook(lambda module, args, output: output + 1)
    return net


def direct(net: Any, x: Tensor) -> Tensor:
    return net.last(net.layer(net.first.forward(x))) + net.first.forward(x)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, bool]] = {
    "chain": (lambda: nn.Sequential(conv(), nn.ReLU(inplace=True), conv(), nn.ReLU(inplace=True), conv()), "2", True),
    "overwritten and read": (
        lambda: Net(_skips_what_was_overwritten, first=conv(), act=nn.ReLU(inplace=True), layer=conv(), last=conv()),
        "layer",
        True,
    ),
    "view": (
        lambda: Net(_reads_both_sides_of_a_view, first=conv(), same=nn.Identity(), layer=conv(), last=conv()),
        "layer",
        True,
    ),
    "layer in place": (
        lambda: Net(_layer_in_place, first=conv(), layer=nn.ReLU(inplace=True), last=conv()),
        "layer",
        True,
    ),
    "input overwritten": (lambda: Net(_overwrites_its_input, first=conv(), layer=conv(), last=conv()), "layer", True),
    "in place above": (lambda: Net(_in_place_above, first=conv(), layer=conv(), last=conv()), "layer", True),
    "module twice": (
        lambda: Net(_twice, first=conv(), act=nn.ReLU(inplace=True), layer=conv(), last=conv()),
        "layer",
        True,
    ),
    "tuple": (lambda: Net(_gives_a_tuple, first=conv(), pair=Pair(), layer=conv(), last=conv()), "layer", True),
    "left behind": (remembers, "layer", False),
    "functions": (lambda: Net(_without_modules, first=conv(), layer=conv(), last=conv()), "layer", True),
    "hooks": (hooked, "2", True),
    "forward called": (lambda: Net(direct, first=conv(), layer=conv(), last=conv()), "layer", True),
    "the model itself": (lambda: nn.Sequential(conv()), "", True),
}


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_goes_on_bit_for_bit(name: str) -> None:
    make, layer, replaces = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    module = model.get_submodule(layer)
    before = {part: dict(part.__dict__) for part in model.modules()}
    x = torch.randn(5, 4, 6, 6)
    network = Resumed(model, module, x[:1].clone())
    assert bool(network.replaced) is replaces
    value = network.start(x.clone())
    assert torch.equal(value, run(model, module, x.clone())[0])
    for put in (value, value * 0, value.flip(0), value):
        expected = run(model, module, x.clone(), lambda _, put=put: put.clone())[1]  # type: ignore[misc]
        assert torch.equal(network.go_on(put.clone()), expected)
        assert not expected.isnan().any()
    assert {part: dict(part.__dict__) for part in model.modules()} == before


class Counted(nn.Conv2d):
    runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += len(x)
        return super().forward(x)


@torch.no_grad()
@pytest.mark.parametrize("name", ["chain", "overwritten and read", "module twice", "tuple", "in place above"])
def test_what_comes_before_does_not_run_again(name: str) -> None:
    make, layer, _ = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    first = "0" if name == "chain" else "first"
    counted = Counted(4, 4, 3, padding=1)
    setattr(model, first, counted)
    x = torch.randn(5, 4, 6, 6)
    network = Resumed(model, model.get_submodule(layer), x[:1].clone())
    assert counted.runs <= 3
    counted.runs = 0
    value = network.start(x.clone())
    for _ in range(4):
        network.go_on(value.clone())
    assert counted.runs == 5


@torch.no_grad()
def test_what_nobody_reads_is_not_kept() -> None:
    model = nn.Sequential(conv(), nn.ReLU(inplace=True), conv(), conv())
    x = torch.randn(5, 4, 6, 6)
    network = Resumed(model, model[2], x[:1].clone())
    network.start(x.clone())
    assert [tensor.untyped_storage().size() for tensor in [network.x, *network.kept.values()]] == [4, 4, 4]


@torch.no_grad()
def test_what_is_read_for_some_samples_only_is_seen() -> None:
    """NaN stands for what the first sample does not need; where it turns up, the network runs as a whole."""
    torch.manual_seed(0)
    model = Net(_depends_on_the_data, first=conv(), layer=conv(), last=conv()).eval()
    layer, x = model.get_submodule("layer"), torch.randn(5, 4, 6, 6)
    network = Resumed(model, layer, x[:1].clone())
    assert network.go_on(network.start(x.clone())).isnan().all()
    found = lesioned_logits(model, "layer", x, [[], [1]], units="channel", output=lambda given: given.flatten(1))

    def lesion(value: Tensor) -> Tensor:
        value[:, 1] = 0
        return value

    expected = [run(model, layer, x, edit)[1].flatten(1).numpy() for edit in (torch.clone, lesion)]
    assert np.array_equal(found, np.stack(expected))


@torch.no_grad()
def test_an_exception_leaves_the_modules_as_they_were() -> None:
    class Fails(nn.Module):
        left = 100

        def forward(self, x: Tensor) -> Tensor:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("out of order")
            return x

    fails = Fails()
    model = nn.Sequential(conv(), conv(), fails)
    x = torch.randn(2, 4, 6, 6)
    network = Resumed(model, model[1], x[:1].clone())
    value = network.start(x.clone())
    fails.left = 0
    with pytest.raises(RuntimeError, match="out of order"):
        network.go_on(value.clone())
    assert not any("forward" in part.__dict__ or part._forward_hooks for part in model.modules())
