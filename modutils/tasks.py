"""Tasks whose true hierarchy is known: Boolean functions made of sub-functions, and pairs of digit images.

A task is learned from all rows of its truth table (or from images), and carries the sub-functions that it is made of,
so that modules found in a network can be compared with the modules that are there. Formulas and names follow
Patil, Michael & Dovrolis, "Neural Sculpting", NeurIPS 2023. Inputs and outputs are counted from 0 in arrays, and from 1
in names: ``x1`` is input 0 and the most significant bit of a row's number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import networkx as nx
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from modutils import _check, data

#: Boolean tasks, each with the numbers of outputs that it is studied with; the first is the default.
OUTPUTS: dict[str, tuple[int, ...]] = {
    "single": (4,),
    "separable": (4,),
    "reused": (16, 2, 4, 8, 12),
    "separable-reused": (3,),
    **{f"overlap-{overlap}": (8, 2, 4, 12, 16) for overlap in range(5)},
    "depth": (4, 2, 8, 12, 16),
}
NOISE = 0.1  # standard deviation of the noise on training inputs of a truth table


class Function(NamedTuple):
    """A sub-function of a task.

    Attributes
    ----------
    name : str
    sources : tuple of str
        What it reads: inputs by name, such as ``x1``, or other functions.
    formula : str
        In terms of its sources.
    rule : callable or None
        The same for boolean tensors of shape (rows,), one argument a source; None where the sources are images.
    outputs : tuple of int
        Outputs of the task that are copies of it; none for an inner function.
    """

    name: str
    sources: tuple[str, ...]
    formula: str
    rule: Callable[..., Tensor] | None
    outputs: tuple[int, ...] = ()


class Module(NamedTuple):
    """A true module: the inputs and the outputs that belong to it, and the names of its functions."""

    inputs: frozenset[int]
    outputs: frozenset[int]
    functions: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What a network is to learn, and what it is made of.

    Parameters
    ----------
    name : str
    inputs, targets : Tensor
        Rows to train on: (R, n) and (R, m), float32.
    test_inputs, test_targets : Tensor
        Rows to judge by: (T, n) and (T, m). For a truth table the same rows.
    noise : float
        Standard deviation of the Gaussian noise that training adds to the inputs whenever a row is drawn.
    sources : mapping of str to tuple of int
        Input columns by name, in the order of the columns: one bit each, or one image each.
    functions : tuple of Function
        Each after what it reads.
    modules : tuple of Module
        The true modules, from the inputs to the outputs.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    noise: float
    sources: Mapping[str, tuple[int, ...]]
    functions: tuple[Function, ...]
    modules: tuple[Module, ...]

    def graph(self) -> nx.DiGraph:
        """The hierarchy as a directed graph from inputs over functions to outputs.

        Every node has ``kind`` (``input``, ``function`` or ``output``), ``module`` (its place in ``modules``) and
        ``layer``: 0 for inputs, one more than the highest source for functions, and one layer for all outputs, which
        are named ``y1``, ``y2``, … Functions also have ``formula``.
        """
        graph = nx.DiGraph(name=self.name)
        for name, columns in self.sources.items():
            graph.add_node(name, kind="input", layer=0, module=self._module("inputs", columns[0]))
        for function in self.functions:
            layer = 1 + max(graph.nodes[source]["layer"] for source in function.sources)
            place = self._module("functions", function.name)
            graph.add_node(function.name, kind="function", layer=layer, module=place, formula=function.formula)
            graph.add_edges_from((source, function.name) for source in function.sources)
        top = 1 + max(layer for _, layer in graph.nodes(data="layer"))
        for function in self.functions:
            for output in function.outputs:
                name = f"y{output + 1}"
                graph.add_node(name, kind="output", layer=top, module=self._module("outputs", output))
                graph.add_edge(function.name, name)
        return graph

    def _module(self, part: str, member: int | str) -> int:
        return next(place for place, module in enumerate(self.modules) if member in getattr(module, part))


def load(name: str, *, outputs: int | None = None) -> Task:
    """A Boolean task with its truth table and its true modules.

    Parameters
    ----------
    name : str
        A key of :data:`OUTPUTS`: ``single`` (one function of four bits), ``separable`` (two functions of two bits
        each), ``reused`` (one function used by two others), ``separable-reused`` (three functions of two bits, each
        used twice), ``overlap-0`` … ``overlap-4`` (two functions of four bits that share so many), ``depth`` (two
        functions, one of their values, two of that).
    outputs : int, optional
        How many outputs: one that :data:`OUTPUTS` lists for the task (default: the first of them). Where there are two
        output functions they take turns, so half of the outputs are copies of each.

    Raises
    ------
    ValueError
        An unknown task, or a number of outputs that the task is not studied with.

    Examples
    --------
    >>> task = load("reused", outputs=4)
    >>> tuple(task.inputs.shape), tuple(task.targets.shape)
    ((16, 4), (16, 4))
    >>> [sorted(module.outputs) for module in task.modules]
    [[], [0, 2], [1, 3]]
    """
    _check.choice("task", name, OUTPUTS)
    count = OUTPUTS[name][0] if outputs is None else outputs
    if count not in OUTPUTS[name]:
        raise ValueError(f"outputs={outputs} is not offered for {name!r}; choose from {sorted(OUTPUTS[name])}")
    n, functions, modules = _definition(name, tuple(range(0, count, 2)), tuple(range(1, count, 2)))
    sources = {f"x{i + 1}": (i,) for i in range(n)}
    inputs = (torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1)) & 1
    targets = torch.empty(2**n, count, dtype=torch.bool)
    values = {source: inputs[:, columns[0]].bool() for source, columns in sources.items()}
    for function in functions:
        assert function.rule is not None  # only images have none
        values[function.name] = function.rule(*(values[source] for source in function.sources))
        targets[:, list(function.outputs)] = values[function.name][:, None]
    rows = inputs.float(), targets.float()
    return Task(name, *rows, *rows, NOISE, sources, functions, modules)


def truth_table(task: str, outputs: int | None = None) -> tuple[Tensor, Tensor]:
    """All rows of a Boolean task: ``inputs`` (2ⁿ, n) and ``targets`` (2ⁿ, m), float32, each 0 or 1.

    Parameters and errors as for :func:`load`.

    Examples
    --------
    >>> inputs, targets = truth_table("separable")
    >>> targets[1].tolist()  # x = 0001
    [0.0, 1.0, 1.0, 0.0]
    """
    found = load(task, outputs=outputs)
    return found.inputs, found.targets


def _h(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return (a ^ d) & (b ^ c)


def _f(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return _h(a, b, c, d) & (a | c)


def _g(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return d & (a | b) & ~((a & b) ^ c)


_H = "({0}⊕{3}) ∧ ({1}⊕{2})"
_F = _H + " ∧ ({0}∨{2})"
_G = "{3} ∧ ({0}∨{1}) ∧ ¬(({0}∧{1})⊕{2})"


def _bits(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"x{i}" for i in range(first, last + 1))


def _module(inputs: Sequence[int], outputs: Sequence[int], *functions: str) -> Module:
    return Module(frozenset(inputs), frozenset(outputs), functions)


def _definition(
    name: str, odd: tuple[int, ...], even: tuple[int, ...]
) -> tuple[int, tuple[Function, ...], tuple[Module, ...]]:
    """Number of inputs, functions and true modules; ``odd`` are outputs 1, 3, …, counted from 0."""
    x = _bits(1, 4)
    both = sorted(odd + even)
    functions: tuple[Function, ...]
    if name == "single":
        return 4, (Function("f", x, _F.format(*x), _f, tuple(both)),), (_module(range(4), both, "f"),)
    if name == "separable":
        functions = (
            Function("p", ("x1", "x2"), "x1⊕x2", torch.logical_xor, (0,)),
            Function("¬p", ("p",), "¬p", torch.logical_not, (1,)),
            Function("q", ("x3", "x4"), "x3⊕x4", torch.logical_xor, (2,)),
            Function("¬q", ("q",), "¬q", torch.logical_not, (3,)),
        )
        return 4, functions, (_module((0, 1), (0, 1), "p", "¬p"), _module((2, 3), (2, 3), "q", "¬q"))
    if name == "reused":
        functions = (
            Function("h", x, _H.format(*x), _h),
            Function("u", ("h", "x1"), "h∧x1", torch.logical_and, odd),
            Function("v", ("h", "x3"), "h∧x3", torch.logical_and, even),
        )
        return 4, functions, (_module(range(4), (), "h"), _module((), odd, "u"), _module((), even, "v"))
    if name == "separable-reused":
        lower, upper = {"A": 1, "B": 3, "C": 5}, (("A", "B"), ("A", "C"), ("B", "C"))
        functions = (
            *(Function(a, _bits(i, i + 1), f"x{i}∧x{i + 1}", torch.logical_and) for a, i in lower.items()),
            *(Function(a + b, (a, b), f"{a}∨{b}", torch.logical_or, (i,)) for i, (a, b) in enumerate(upper)),
        )
        of_inputs = [_module((i - 1, i), (), a) for a, i in lower.items()]
        return 6, functions, (*of_inputs, *(_module((), (i,), a + b) for i, (a, b) in enumerate(upper)))
    if name == "depth":
        y = _bits(5, 8)
        functions = (
            Function("f", x, _F.format(*x), _f),
            Function("g", y, _G.format(*y), _g),
            Function("m", ("f", "g"), "f⊕g", torch.logical_xor),
            Function("u", ("m", "f"), "m∧f", torch.logical_and, odd),
            Function("v", ("m", "g"), "m∧g", torch.logical_and, even),
        )
        of_inputs = [_module(range(4), (), "f"), _module(range(4, 8), (), "g"), _module((), (), "m")]
        return 8, functions, (*of_inputs, _module((), odd, "u"), _module((), even, "v"))
    overlap = int(name.removeprefix("overlap-"))
    y = _bits(5 - overlap, 8 - overlap)
    functions = (Function("f", x, _F.format(*x), _f, odd), Function("g", y, _G.format(*y), _g, even))
    if overlap == 0:
        return 8, functions, (_module(range(4), odd, "f"), _module(range(4, 8), even, "g"))
    groups = [range(4 - overlap), range(4 - overlap, 4), range(4, 8 - overlap)]
    of_outputs = _module((), odd, "f"), _module((), even, "g")
    return 8 - overlap, functions, (*(_module(group, ()) for group in groups if group), *of_outputs)


def two_digits(dataset: str, *, pool: int = 1, train: int = 800, test: int = 200, seed: int = 0) -> Task:
    """Two digits of 0–7 side by side; the targets are the three bits of their bitwise xor, the highest first.

    For each of the 64 ordered pairs, ``train + test`` pairs of images are drawn with replacement from all images of the
    data set; the first ``train`` are for training. So an image can appear on both sides of the split, with another
    partner, as in the paper.

    Parameters
    ----------
    dataset : str
        Of :func:`modutils.data.load`, such as ``mnist``: two images of 28×28 make 1568 inputs, row by row over both.
    pool : int
        Average over squares of so many pixels a side, at least 1; it must divide the side of an image.
    train, test : int
        Pairs of images for each pair of digits, at least 1.
    seed : int
        Of the draw.

    Raises
    ------
    ValueError
        A number out of range, or an unknown data set.

    Examples
    --------
    >>> task = two_digits("digits", train=10, test=5)
    >>> tuple(task.inputs.shape), tuple(task.test_targets.shape)
    ((640, 128), (320, 3))
    """
    if train < 1 or test < 1:
        raise ValueError(f"train={train}, test={test}: at least 1 of each is needed")
    parts = [data.load(dataset, split) for split in data.SPLITS]
    images, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    side = images.shape[-1]
    if pool < 1 or side % pool:
        raise ValueError(f"pool={pool} must be at least 1 and divide the {side} pixels of a side of {dataset!r}")
    images = avg_pool2d(images, pool)[:, 0]
    side //= pool
    generator = torch.Generator().manual_seed(seed)
    of_digit = [torch.nonzero(labels == digit)[:, 0] for digit in range(8)]
    rows: list[Tensor] = []
    targets: list[Tensor] = []
    for left in range(8):
        for right in range(8):
            drawn = [
                own[torch.randint(len(own), (train + test,), generator=generator)]
                for own in (of_digit[left], of_digit[right])
            ]
            rows.append(torch.cat([images[index] for index in drawn], dim=2).flatten(1))
            bits = torch.tensor([(left ^ right) >> bit & 1 for bit in (2, 1, 0)], dtype=torch.float32)
            targets.append(bits.expand(train + test, 3))
    x, y = torch.stack(rows), torch.stack(targets)
    columns = torch.arange(2 * side * side).view(side, 2 * side)
    halves = [tuple(half.flatten().tolist()) for half in columns.split(side, dim=1)]
    names = ("left", "right")
    bit_functions = tuple(
        Function(f"bit {4 >> i}", names, f"bit {4 >> i} of left ⊕ right", None, (i,)) for i in range(3)
    )
    modules = (
        *(_module(half, ()) for half in halves),
        *(_module((), (i,), function.name) for i, function in enumerate(bit_functions)),
    )
    return Task(
        f"two digits of {dataset}",
        x[:, :train].flatten(0, 1).contiguous(),
        y[:, :train].flatten(0, 1).contiguous(),
        x[:, train:].flatten(0, 1).contiguous(),
        y[:, train:].flatten(0, 1).contiguous(),
        0.0,
        dict(zip(names, halves, strict=True)),
        bit_functions,
        modules,
    )
