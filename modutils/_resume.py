"""Run a network again and again from one layer on, with what comes before it computed once (used by `lesions`).

A module whose call ends before that of the layer cannot depend on it. When the network runs again, the outermost of
these modules give what they gave before, without running. Nothing is assumed of how the modules are joined, and what is
no module (a sum, a `torch.nn.functional`) simply runs again.

One sample is looked at first. A module that works in place on what it is given, or gives a view of it, must run again
unless nobody else reads that; a module that is called twice, or has hooks, runs again. And a network that does not give
bit for bit what it should when it is run this way is run as a whole every time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from modutils.units import has_hooks, run, value_of


class Resumed:
    """A network that goes on from a layer.

    `start` runs it up to the layer; `go_on` gives what it makes, for the same inputs, of another value there.

    Attributes
    ----------
    replaced : dict
        Modules that do not run again, and whether what they give is read. Empty if the network runs as a whole.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, x: Tensor):
        """Look at one sample `x`, in the precision and on the device of the model."""
        self.model, self.layer = model, layer
        try:
            given = x.clone()
            calls, output = _observe(model, layer, given)
            self.replaced, self.reads_input = _plan(model, layer, x, given, calls)
            same = _equal(self.go_on(self.start(x.clone())), output)
        except Exception:  # a network may do anything when parts of it do not run: then let all of it run
            same = False
        if not same:
            self.replaced, self.reads_input = {}, True

    def start(self, x: Tensor) -> Tensor:
        """Value of the layer for inputs, which may be overwritten."""
        # Where nobody reads a value, NaNs stand for it: they take no memory, and are seen if they are read after all.
        self.x = x.clone() if self.reads_input else _hollow(x)
        self.kept: dict[nn.Module, Any] = {}

        def keep(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
            def keeping(*args: Any, **kwargs: Any) -> Any:
                output = forward(*args, **kwargs)
                self.kept[module] = tree_map_only(Tensor, torch.clone if self.replaced[module] else _hollow, output)
                return output

            return keeping

        with _forwards({m: keep(m, m.forward) for m in self.replaced if m is not self.layer}):
            return value_of(self.model, self.layer, x)

    def go_on(self, value: Tensor) -> Any:
        """What the model returns when the layer gives `value`, which may be overwritten."""
        forwards = {module: _giving(kept, copy=self.replaced[module]) for module, kept in self.kept.items()}
        if self.layer in self.replaced:
            forwards[self.layer] = _giving(value)
        x = self.x.clone() if self.reads_input else self.x
        with _forwards(forwards):
            return run(self.model, self.layer, x, lambda _: value)[1]


class _Call(NamedTuple):
    """Of a module that has run on one sample; ``touched`` are the tensors that it overwrites or gives views of."""

    module: nn.Module
    within: tuple[nn.Module, ...]
    output: Any
    copy: Any
    touched: list[Tensor]


def _observe(model: nn.Module, layer: nn.Module, x: Tensor) -> tuple[list[_Call], Any]:
    """All calls of modules, in the order in which they end, and the output of the model."""
    stack: list[nn.Module] = []
    calls: list[_Call] = []

    def watch(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            given = _tensors((args, kwargs))
            versions = [tensor._version for tensor in given]
            stack.append(module)
            output = forward(*args, **kwargs)
            stack.pop()
            made = {_storage(tensor) for tensor in _tensors(output)}
            touched = [t for t, v in zip(given, versions, strict=True) if t._version != v or _storage(t) in made]
            calls.append(_Call(module, tuple(stack), output, _copied(output), touched))
            return output

        return watched

    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    with _forwards({module: watch(module, module.forward) for module in modules}):
        return calls, run(model, layer, x)[1]


def _plan(
    model: nn.Module, layer: nn.Module, x: Tensor, given: Tensor, calls: Sequence[_Call]
) -> tuple[dict[nn.Module, bool], bool]:
    """Modules that need not run again, each with whether its output is read; and whether the model's input is.

    `given` was the input, now perhaps overwritten, when the calls were observed.
    """
    times = Counter(call.module for call in calls)
    (end,) = [place for place, call in enumerate(calls) if call.module is layer]
    before = [
        call
        for call in calls[: end + 1]
        if times[call.module] == 1
        and layer not in call.within
        and not has_hooks(call.module)
        and all(isinstance(leaf, Tensor | int | float | str | None) for leaf in tree_leaves(call.output))
    ]
    usable = {call.module for call in before}
    while True:
        chosen = [call for call in before if call.module in usable and usable.isdisjoint(call.within)]
        read = _read(model, x, chosen)
        makers: dict[int, list[nn.Module | None]] = {_storage(given): [None]}
        refused = set()
        for call in chosen:
            # What it overwrites or gives views of must come from what does not run again either, and be read by nobody.
            of = [makers.get(_storage(tensor)) for tensor in call.touched]
            if any(origin is None or not read.isdisjoint(origin) for origin in of):
                refused.add(call.module)
            for storage in {_storage(tensor) for tensor in _tensors(call.output)}:
                makers.setdefault(storage, []).append(call.module)
        if not refused:
            return {call.module: call.module in read for call in chosen}, None in read
        usable -= refused


def _read(model: nn.Module, x: Tensor, chosen: Sequence[_Call]) -> set[nn.Module | None]:
    """Those of the chosen modules whose output is read by anything that runs again; None for the model's input."""
    inputs = x.clone()
    given = {call.module: _copied(call.copy) for call in chosen}
    owners: dict[int, nn.Module | None] = {id(tensor): m for m, out in given.items() for tensor in _tensors(out)}
    owners[id(inputs)] = None
    read: set[nn.Module | None] = set()

    class Readers(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            kwargs = kwargs or {}
            read.update(owners[id(tensor)] for tensor in _tensors((args, kwargs)) if id(tensor) in owners)
            return func(*args, **kwargs)

    with _forwards({module: _giving(output) for module, output in given.items()}), Readers():
        model(inputs)
    return read


@contextmanager
def _forwards(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Let modules compute something else."""
    before = {module: module.__dict__.get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, own in before.items():
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own


def _giving(output: Any, *, copy: bool = False) -> Callable[..., Any]:
    return lambda *args, **kwargs: _copied(output) if copy else output


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _copied(tree: Any) -> Any:
    return tree_map_only(Tensor, torch.clone, tree)


def _hollow(tensor: Tensor) -> Tensor:
    return tensor.new_full((), torch.nan if tensor.is_floating_point() else 0).expand(tensor.shape)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _equal(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(_tensors(one), _tensors(other), strict=True))
