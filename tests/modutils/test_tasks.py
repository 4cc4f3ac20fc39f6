"""Boolean tasks against formulas written out row by row, their true modules, and pairs of digit images."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from modutils import data, tasks
from modutils.tasks import OUTPUTS, Task

ALL = [(name, outputs) for name, counts in OUTPUTS.items() for outputs in counts]


# --- the specification in plain Python --------------------------------------------------------------------------------


def h(a: int, b: int, c: int, d: int) -> int:
    return int(a != d and b != c)


def f(a: int, b: int, c: int, d: int) -> int:
    return int(h(a, b, c, d) == 1 and (a == 1 or c == 1))


def g(a: int, b: int, c: int, d: int) -> int:
    return int(d == 1 and a + b >= 1 and a * b == c)


def written_out(name: str, outputs: int, x: str) -> list[int]:
    """Outputs for one row, which is given as a string of bits, x1 first."""
    bits = [int(bit) for bit in x]
    if name == "single":
        return [f(*bits)] * 4
    if name == "separable":
        x1, x2, x3, x4 = bits
        return [int(x1 != x2), int(x1 == x2), int(x3 != x4), int(x3 == x4)]
    if name == "separable-reused":
        A, B, C = (int(x[i : i + 2] == "11") for i in (0, 2, 4))
        return [max(A, B), max(A, C), max(B, C)]
    if name == "reused":
        pair = [h(*bits) * bits[0], h(*bits) * bits[2]]
    elif name == "depth":
        first, second = f(*bits[:4]), g(*bits[4:])
        pair = [int(first > second), int(second > first)]
    else:  # the last four bits are those of g, whatever the overlap
        pair = [f(*bits[:4]), g(*bits[-4:])]
    return pair * (outputs // 2)


def rows(name: str) -> list[str]:
    overlaps = {f"overlap-{o}": 8 - o for o in range(5)}
    n = {"single": 4, "separable": 4, "reused": 4, "separable-reused": 6, "depth": 8, **overlaps}[name]
    return [format(i, f"0{n}b") for i in range(2**n)]


def test_every_task_is_tested() -> None:
    assert list(OUTPUTS) == [
        "single",
        "separable",
        "reused",
        "separable-reused",
        *(f"overlap-{o}" for o in range(5)),
        "depth",
    ]
    assert {name: sorted(OUTPUTS[name]) for name in OUTPUTS if len(OUTPUTS[name]) > 1} == {
        name: [2, 4, 8, 12, 16] for name in ("reused", *(f"overlap-{o}" for o in range(5)), "depth")
    }


@pytest.mark.parametrize(("name", "outputs"), ALL)
def test_table_equals_the_formulas(name: str, outputs: int) -> None:
    inputs, targets = tasks.truth_table(name, outputs)
    assert inputs.dtype == targets.dtype == torch.float32
    assert inputs.tolist() == [[float(bit) for bit in x] for x in rows(name)]
    assert targets.tolist() == [written_out(name, outputs, x) for x in rows(name)]
    task = tasks.load(name, outputs=outputs)
    assert task.name == name
    assert task.noise == 0.1
    for given, expected in ((task.inputs, inputs), (task.test_inputs, inputs), (task.targets, targets)):
        assert torch.equal(given, expected)
    assert torch.equal(task.test_targets, targets)


def test_building_blocks() -> None:
    """Where f and g are 1, as the specification lists it."""
    single, both = tasks.truth_table("single"), tasks.truth_table("overlap-0", 2)
    ones = single[0][single[1][:, 0] == 1].int().tolist()
    assert sorted("".join(map(str, row)) for row in ones) == ["0011", "1010", "1100"]
    ones = both[0][both[1][:, 1] == 1][:, 4:].int().tolist()
    assert {"".join(map(str, row)) for row in ones} == {"0101", "1001", "1111"}


@pytest.mark.parametrize(("name", "outputs"), ALL)
def test_ones_per_output(name: str, outputs: int) -> None:
    targets = tasks.truth_table(name, outputs)[1]
    ones, of = {
        "single": (3, 16), "separable": (8, 16), "reused": (2, 16), "separable-reused": (28, 64), "depth": (39, 256)
    }.get(name, (3, 16))  # fmt: skip
    assert (targets.sum(0) * of == ones * len(targets)).all()


@pytest.mark.parametrize("name", OUTPUTS)
def test_number_of_outputs(name: str) -> None:
    default = tasks.load(name)
    assert default.targets.shape[1] == {"reused": 16, "separable-reused": 3}.get(name, 8 if "overlap" in name else 4)
    assert torch.equal(default.targets, tasks.load(name, outputs=default.targets.shape[1]).targets)


def test_x1_is_the_most_significant_bit() -> None:
    inputs, targets = tasks.truth_table("separable")
    assert inputs[8].tolist() == [1, 0, 0, 0]
    assert inputs[1].tolist() == [0, 0, 0, 1]
    assert targets[8].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("name", ["reused", "overlap-0", "overlap-2", "overlap-4", "depth"])
def test_output_functions_take_turns(name: str) -> None:
    two = tasks.truth_table(name, 2)[1]
    assert not torch.equal(two[:, 0], two[:, 1])
    many = tasks.truth_table(name, 12)[1]
    for output in range(12):
        assert torch.equal(many[:, output], two[:, output % 2])


# --- true modules and the graph ---------------------------------------------------------------------------------------


def sets(task: Task) -> list[tuple[list[int], list[int]]]:
    """Inputs and outputs of the true modules, counted from 1 as in the specification."""
    return [(sorted(i + 1 for i in m.inputs), sorted(o + 1 for o in m.outputs)) for m in task.modules]


ODD: tuple[list[int], list[int]] = ([], [1, 3])
EVEN: tuple[list[int], list[int]] = ([], [2, 4])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("single", [([1, 2, 3, 4], [1, 2, 3, 4])]),
        ("separable", [([1, 2], [1, 2]), ([3, 4], [3, 4])]),
        ("reused", [([1, 2, 3, 4], []), ODD, EVEN]),
        ("separable-reused", [([1, 2], []), ([3, 4], []), ([5, 6], []), ([], [1]), ([], [2]), ([], [3])]),
        ("overlap-0", [([1, 2, 3, 4], [1, 3]), ([5, 6, 7, 8], [2, 4])]),
        ("overlap-1", [([1, 2, 3], []), ([4], []), ([5, 6, 7], []), ODD, EVEN]),
        ("overlap-2", [([1, 2], []), ([3, 4], []), ([5, 6], []), ODD, EVEN]),
        ("overlap-3", [([1], []), ([2, 3, 4], []), ([5], []), ODD, EVEN]),
        ("overlap-4", [([1, 2, 3, 4], []), ODD, EVEN]),
        ("depth", [([1, 2, 3, 4], []), ([5, 6, 7, 8], []), ([], []), ODD, EVEN]),
    ],
)
def test_true_modules(name: str, expected: list[tuple[list[int], list[int]]]) -> None:
    assert sets(tasks.load(name, outputs=3 if name == "separable-reused" else 4)) == expected


@pytest.mark.parametrize(("name", "outputs"), ALL)
def test_everything_is_in_one_module(name: str, outputs: int) -> None:
    task = tasks.load(name, outputs=outputs)
    assert sorted(i for module in task.modules for i in module.inputs) == list(range(task.inputs.shape[1]))
    assert sorted(o for module in task.modules for o in module.outputs) == list(range(outputs))
    assert sorted(o for function in task.functions for o in function.outputs) == list(range(outputs))
    named = [function for module in task.modules for function in module.functions]
    assert sorted(named) == sorted(function.name for function in task.functions)
    assert task.sources == {f"x{i + 1}": (i,) for i in range(task.inputs.shape[1])}


def evaluate(formula: str, values: dict[str, int]) -> int:
    """A printed formula by Python's own operators on bits."""
    return int(eval(formula.translate(str.maketrans("⊕∧∨¬", "^&|~")), {}, dict(values))) & 1


@pytest.mark.parametrize(("name", "outputs"), ALL)
def test_the_graph_computes_the_table(name: str, outputs: int) -> None:
    """Formula by formula, from the inputs up."""
    task = tasks.load(name, outputs=outputs)
    graph = task.graph()
    assert nx.is_directed_acyclic_graph(graph)
    n = task.inputs.shape[1]
    for row, wanted in zip(task.inputs.int().tolist(), task.targets.int().tolist(), strict=True):
        values = {f"x{i + 1}": bit for i, bit in enumerate(row)}
        for node in nx.topological_sort(graph):
            below = list(graph.predecessors(node))
            if graph.nodes[node]["kind"] == "function":
                values[node] = evaluate(graph.nodes[node]["formula"], {source: values[source] for source in below})
            elif graph.nodes[node]["kind"] == "output":
                (source,) = below
                values[node] = values[source]
        assert [values[f"y{k + 1}"] for k in range(outputs)] == wanted
    kinds = [kind for _, kind in graph.nodes(data="kind")]
    assert [kinds.count(kind) for kind in ("input", "function", "output")] == [n, len(task.functions), outputs]


@pytest.mark.parametrize(("name", "outputs"), ALL)
def test_attributes_of_the_graph(name: str, outputs: int) -> None:
    task = tasks.load(name, outputs=outputs)
    graph = task.graph()
    layers = dict(graph.nodes(data="layer"))
    assert all(layers[a] < layers[b] for a, b in graph.edges)
    top = max(layers.values())
    for node, found in graph.nodes(data=True):
        above = [layers[a] for a in graph.predecessors(node)]
        if found["kind"] == "input":
            assert found["layer"] == 0
            assert int(node[1:]) - 1 in task.modules[found["module"]].inputs
        elif found["kind"] == "output":
            assert found["layer"] == top
            assert int(node[1:]) - 1 in task.modules[found["module"]].outputs
        else:
            assert found["layer"] == 1 + max(above)
            assert node in task.modules[found["module"]].functions
    # Inner functions of depth are two below the outputs' functions.
    assert top == {"single": 2, "depth": 4}.get(name, 2 if "overlap" in name else 3)


# --- two digits -------------------------------------------------------------------------------------------------------


@lru_cache
def digits() -> tuple[Tensor, Tensor]:
    parts = [data.load("digits", split) for split in ("train", "test")]
    return torch.cat([parts[0][0], parts[1][0]])[:, 0], torch.cat([parts[0][1], parts[1][1]])


def labels_of(halves: Tensor, pool: int) -> list[set[int]]:
    """Labels of the images that each half (side × side pixels) is a copy of."""
    images = avg_pool2d(digits()[0][:, None], pool)[:, 0].flatten(1)
    same = (torch.cdist(halves, images) < 1e-4).nonzero().tolist()
    found: list[set[int]] = [set() for _ in halves]
    for half, image in same:
        found[half].add(int(digits()[1][image]))
    return found


@pytest.mark.parametrize(("pool", "train", "test"), [(1, 3, 2), (2, 2, 1), (1, 1, 4)])
def test_two_digits(pool: int, train: int, test: int) -> None:
    task = tasks.two_digits("digits", pool=pool, train=train, test=test, seed=4)
    side = 8 // pool
    parts = ((task.inputs, task.targets, train), (task.test_inputs, task.test_targets, test))
    for inputs, targets, each in parts:
        assert inputs.shape == (64 * each, 2 * side * side)
        assert targets.shape == (64 * each, 3)
        assert inputs.dtype == targets.dtype == torch.float32
        assert 0 <= inputs.min() < 0.1
        assert 0.9 < inputs.max() <= 1
        pictures = inputs.view(-1, side, 2 * side)  # row by row over both images
        left, right = pictures[:, :, :side].flatten(1), pictures[:, :, side:].flatten(1)
        assert torch.equal(left, inputs[:, list(task.sources["left"])])
        assert torch.equal(right, inputs[:, list(task.sources["right"])])
        pairs = [(a, b) for a in range(8) for b in range(8) for _ in range(each)]
        for (a, b), of_left, of_right, bits in zip(
            pairs, labels_of(left, pool), labels_of(right, pool), targets.int().tolist(), strict=True
        ):
            assert a in of_left
            assert b in of_right
            assert bits == [int(bit) for bit in format(a ^ b, "03b")]
    assert task.noise == 0


def test_two_digits_are_drawn_anew_for_every_pair() -> None:
    task = tasks.two_digits("digits", train=6, test=4)
    pictures = torch.cat([task.inputs, task.test_inputs])
    assert len(pictures.unique(dim=0)) > 0.95 * len(pictures)
    left = pictures[:, list(task.sources["left"])].unique(dim=0)
    assert len(left) > 300  # 640 draws from some 1400 images
    # From the training and the test images alike: the latter are 500 of 1797.
    from_test = torch.cdist(pictures[:, list(task.sources["left"])], data.load("digits", "test")[0].flatten(1)) < 1e-4
    assert 0.18 < from_test.any(dim=1).float().mean() < 0.38


def test_pool_averages() -> None:
    fine, coarse = (tasks.two_digits("digits", pool=pool, train=2, test=1, seed=1) for pool in (1, 2))
    for a, b in ((fine.inputs, coarse.inputs), (fine.test_inputs, coarse.test_inputs)):
        torch.testing.assert_close(avg_pool2d(a.view(-1, 1, 8, 16), 2).flatten(1), b)
    assert torch.equal(fine.targets, coarse.targets)


def test_pool_of_a_whole_image() -> None:
    task = tasks.two_digits("digits", pool=8, train=1, test=1)
    assert task.inputs.shape == (64, 2)
    assert task.sources == {"left": (0,), "right": (1,)}


def test_seed_decides() -> None:
    first, again, other = (tasks.two_digits("digits", train=2, test=2, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.test_inputs, again.test_inputs)
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(first.targets, other.targets)


def test_hierarchy_of_two_digits() -> None:
    task = tasks.two_digits("digits", pool=4, train=1, test=1)
    # 2 × 4 pixels: the left image has the first two of every four columns.
    assert task.sources == {"left": (0, 1, 4, 5), "right": (2, 3, 6, 7)}
    assert sets(task) == [([1, 2, 5, 6], []), ([3, 4, 7, 8], []), ([], [1]), ([], [2]), ([], [3])]
    graph = task.graph()
    assert {node: (found["kind"], found["layer"], found["module"]) for node, found in graph.nodes(data=True)} == {
        "left": ("input", 0, 0),
        "right": ("input", 0, 1),
        "bit 4": ("function", 1, 2),
        "bit 2": ("function", 1, 3),
        "bit 1": ("function", 1, 4),
        "y1": ("output", 2, 2),
        "y2": ("output", 2, 3),
        "y3": ("output", 2, 4),
    }
    bits = ("bit 4", "bit 2", "bit 1")
    assert set(graph.edges) == {
        *((half, bit) for half in ("left", "right") for bit in bits),
        *((bit, f"y{place}") for place, bit in enumerate(bits, 1)),
    }


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [tasks.load, tasks.truth_table])
@pytest.mark.parametrize("name", ["xor", "overlap-5", "overlap", ""])
def test_unknown_task(call: Callable[..., object], name: str) -> None:
    with pytest.raises(ValueError, match=f"task='{name}' is unknown; choose one of single, .*, depth"):
        call(name)


@pytest.mark.parametrize(("name", "outputs"), [("single", 2), ("separable", 8), ("separable-reused", 4), ("reused", 0)])
def test_outputs_not_offered(name: str, outputs: int) -> None:
    for call in (lambda: tasks.load(name, outputs=outputs), lambda: tasks.truth_table(name, outputs)):
        with pytest.raises(ValueError, match=rf"outputs={outputs} is not offered for '{name}'; choose from \["):
            call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": 3}, "pool=3 must be at least 1 and divide the 8 pixels of a side of 'digits'"),
        ({"pool": 16}, "pool=16 must"),
        ({"pool": 0}, "pool=0 must"),
        ({"pool": -2}, "pool=-2 must"),
        ({"train": 0}, "train=0, test=1: at least 1 of each"),
        ({"test": 0}, "train=1, test=0: at least 1 of each"),
        ({"dataset": "letters"}, "name='letters' is unknown"),
    ],
)
def test_bad_two_digits(change: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"dataset": "digits", "train": 1, "test": 1}
    with pytest.raises(ValueError, match=message):
        tasks.two_digits(**{**options, **change})
