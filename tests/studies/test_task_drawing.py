"""What is drawn is what masks, labels and tasks say: units, edges, colours, order; and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_hex

from modutils import hierarchy, tasks
from studies.neural_sculpting import task_drawing as drawing
from studies.neural_sculpting.task_drawing import PALETTE

ALL = [(name, outputs) for name, counts in tasks.OUTPUTS.items() for outputs in counts]

Unit = tuple[float, float, str]


@pytest.fixture
def ax() -> Iterator[Axes]:
    made, axes = plt.subplots(figsize=(3.2, 3), layout="constrained")
    yield axes
    made.canvas.draw()  # whatever was drawn can be rendered
    plt.close(made)


def units_of(ax: Axes, gid: str = "units") -> list[Unit]:
    """Place and colour of every unit."""
    found: list[Unit] = []
    for made in ax.collections:
        if made.get_gid() != gid:
            continue
        if isinstance(made, PathCollection):
            places = np.asarray(made.get_offsets())
            colors: Any = made.get_facecolor()
        else:
            assert isinstance(made, LineCollection)
            places, colors = np.array([np.mean(mark, axis=0) for mark in made.get_segments()]), made.get_colors()
        colors = list(colors) * (len(places) if len(colors) == 1 else 1)
        found += [(float(x), float(y), to_hex(c).upper()) for (x, y), c in zip(places, colors, strict=True)]
    return found


def edges_of(ax: Axes) -> list[tuple[tuple[float, float], tuple[float, float], str]]:
    """Both ends and the colour of every edge."""
    found = []
    for made in ax.collections:
        if made.get_gid() == "edges":
            assert isinstance(made, LineCollection)
            colors: Any = made.get_colors()
            for line, color in zip(made.get_segments(), colors, strict=True):
                ends = [(round(float(x), 6), round(float(y), 6)) for x, y in (line[0], line[-1])]
                found.append((ends[0], ends[1], to_hex(color).upper()))
    return found


def columns(units: list[Unit]) -> list[list[str]]:
    """Colours of each layer, from top to bottom."""
    across = sorted({x for x, _, _ in units})
    return [[color for _, _, color in sorted(u for u in units if u[0] == x)] for x in across]


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def random_network(seed: int, widths: list[int], share: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    masks = [rng.random((m, n)) < share for n, m in pairwise(widths)]
    return masks, hierarchy.detect_modules(masks)


def separated() -> tuple[list[Any], list[Any]]:
    """A network that recovers the task ``separable``, with a dead unit in its second layer."""
    masks = [[[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]], [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]]
    return [np.array(mask) for mask in masks], hierarchy.detect_modules(masks)


# --- module_colors ----------------------------------------------------------------------------------------------------


def test_a_recovered_module_has_the_colour_of_the_true_one() -> None:
    task = tasks.load("separable")
    _, labels = separated()
    assert drawing.module_colors(task, labels) == {0: PALETTE[0], 1: PALETTE[1]}
    turned = [np.where(layer >= 0, 7 - layer, -1) for layer in labels]
    assert drawing.module_colors(task, turned) == {7: PALETTE[0], 6: PALETTE[1]}


def test_a_module_that_is_not_recovered_has_a_colour_of_no_true_one() -> None:
    task = tasks.load("separable")
    colors = drawing.module_colors(task, [np.array([0, 0, 0, 1]), np.array([0]), np.array([0, 0, 1, 1])])
    assert colors == {0: PALETTE[2], 1: PALETTE[3]}
    half = drawing.module_colors(task, [np.array([0, 0, 2, -1]), np.array([0]), np.array([0, 0, 2, 2])])
    assert half == {0: PALETTE[0], 2: PALETTE[2]}  # an input is missing


def test_of_two_middle_modules_one_is_the_true_one() -> None:
    inputs = np.repeat([0, 1], 4)
    colors = drawing.module_colors(tasks.load("depth"), [inputs, np.array([2, 5]), np.array([3, 4, 3, 4])])
    assert colors == {0: PALETTE[0], 1: PALETTE[1], 2: PALETTE[2], 5: PALETTE[5], 3: PALETTE[3], 4: PALETTE[4]}


def test_pixels_that_are_condensed_away_are_not_missed() -> None:
    task = tasks.two_digits("digits", train=1, test=1)
    left = np.tile(np.repeat([1, 0], 8), 8)
    left[::5] = -1
    outputs = np.array([2, 3, 4])
    assert drawing.module_colors(task, [left, outputs])[1] == PALETTE[0]
    mixed = left.copy()
    mixed[1] = 0
    colors = drawing.module_colors(task, [mixed, outputs])
    assert [colors[module] for module in range(5)] == [PALETTE[5], PALETTE[6], *PALETTE[2:5]]


def test_other_modules_never_take_a_true_colour() -> None:
    task = tasks.load("depth")
    colors = drawing.module_colors(task, [np.arange(8), np.arange(8, 30), np.array([30, 31, 32, 33])])
    assert set(colors.values()) <= set(PALETTE[5:]) | {PALETTE[2]}


def test_labels_that_do_not_fit_the_task_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels\[-1\] has 2 units; 'separable' has 4"):
        drawing.module_colors(tasks.load("separable"), [np.arange(4), np.arange(2)])
    with pytest.raises(ValueError, match="labels has 1 layers"):
        drawing.module_colors(tasks.load("separable"), [np.arange(4)])
    with pytest.raises(ValueError, match=r"labels\[0\]"):
        drawing.module_colors(tasks.load("separable"), [np.ones(4), np.arange(4)])


def test_no_two_of_the_palette_share_colour_or_look() -> None:
    colors = dict(enumerate(PALETTE))
    assert len(set(PALETTE)) == len(PALETTE) == 16
    assert len({drawing._look(colors, module)[1] for module in range(7)}) == 7
    # The marker goes with the colour, not with the number.
    assert drawing._look({9: PALETTE[2]}, 9)[:2] == drawing._look(colors, 2)[:2]


# --- hierarchy_graph --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "outputs"), ALL)
def test_the_true_hierarchy_shows_every_node_and_edge(ax: Axes, name: str, outputs: int) -> None:
    task = tasks.load(name, outputs=outputs)
    drawing.hierarchy_graph(ax, task)
    graph = task.graph()
    units = units_of(ax)
    assert sorted(color for _, _, color in units) == sorted(PALETTE[m] for _, m in graph.nodes(data="module"))
    assert [len(layer) for layer in columns(units)] == np.bincount([at for _, at in graph.nodes(data="layer")]).tolist()
    edges = edges_of(ax)
    assert len(edges) == graph.number_of_edges()
    ends = {(round(x, 6), round(y, 6)) for x, y, _ in units}
    assert {end for edge in edges for end in edge[:2]} == ends
    colors = dict(graph.nodes(data="module"))
    inside = [PALETTE[colors[a]] for a, b in graph.edges if colors[a] == colors[b]]
    assert sorted(color for *_, color in edges if color in PALETTE) == sorted(inside)
    assert sum(made.get_gid() == "lane" for made in ax.collections) == len(task.modules)
    assert {*task.sources, *(f.name for f in task.functions)} <= set(texts(ax))
    for function in task.functions:
        if function.formula != function.name:
            formula = f"{function.name} = {function.formula}"
            assert any(formula in text.replace("\u00a0", " ") for text in texts(ax))


@pytest.mark.parametrize(("name", "outputs"), ALL)
def test_modules_stand_together_and_names_do_not_touch(ax: Axes, name: str, outputs: int) -> None:
    drawing.hierarchy_graph(ax, tasks.load(name, outputs=outputs))
    for layer in columns(units_of(ax)):
        assert sum(a != b for a, b in pairwise(layer)) == len(set(layer)) - 1
    renderer: Any = ax.figure.canvas
    renderer.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    limits = ax.get_tightbbox()
    assert limits is not None
    for at, box in enumerate(boxes):
        assert box.x0 >= -1
        assert box.x1 <= renderer.figure.bbox.x1 + 1
        # Half a point of leading may overlap.
        for other in boxes[at + 1 :]:
            apart = box.x1 < other.x0 or other.x1 < box.x0 or box.y1 < other.y0 + 6 or other.y1 < box.y0 + 6
            assert apart, (name, outputs, [text.get_text() for text in ax.texts])


def test_images_are_one_node_each(ax: Axes) -> None:
    drawing.hierarchy_graph(ax, tasks.two_digits("digits", train=1, test=1), title="two digits")
    assert [len(layer) for layer in columns(units_of(ax))] == [2, 3, 3]
    assert {"left", "right", "bit 4", "y3"} <= set(texts(ax))
    assert ax.get_title(loc="center") + ax.get_title(loc="left") == "two digits"


def test_many_outputs_are_named_by_the_first_two_and_the_last(ax: Axes) -> None:
    drawing.hierarchy_graph(ax, tasks.load("reused", outputs=16), formulas=False)
    names = [text for text in texts(ax) if text.startswith("y")]
    assert names == ["y1", "y3", "y15", "y2", "y4", "y16"]
    assert texts(ax).count("⋮") == 2
    assert not any("=" in text for text in texts(ax))


def test_true_modules_take_the_colours_that_are_given(ax: Axes) -> None:
    drawing.hierarchy_graph(ax, tasks.load("separable"), colors={0: "#123456", 1: "#ABCDEF"})
    assert {color for _, _, color in units_of(ax)} == {"#123456", "#ABCDEF"}
    with pytest.raises(ValueError, match="none for module 1"):
        drawing.hierarchy_graph(ax, tasks.load("separable"), colors={0: "#123456"})


# --- sculpted_network -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("widths", [[4, 9, 7, 4], [8, 12, 12, 12, 5], [6, 3], [150, 30, 9, 3]])
def test_units_and_edges_are_those_of_masks_and_labels(ax: Axes, seed: int, widths: list[int]) -> None:
    masks, labels = random_network(seed, widths, 0.25)
    drawing.sculpted_network(ax, masks, labels)
    units = units_of(ax)
    layers = columns(units)
    alive = [layer[layer >= 0] for layer in labels]
    assert [sorted(layer) for layer in layers] == [sorted(PALETTE[m % 16] for m in layer) for layer in alive]
    for layer, modules in zip(layers, alive, strict=True):  # contiguous; colours may come back after 16 modules
        if modules.max() < 16:
            assert sum(a != b for a, b in pairwise(layer)) == len(set(layer)) - 1
    edges = edges_of(ax)
    kept = [
        (a, b)
        for mask, before, after in zip(masks, labels, labels[1:], strict=False)
        for a, b in ((before[i], after[j]) for j, i in np.argwhere(mask))
        if a >= 0 and b >= 0
    ]
    assert len(edges) == len(set(edges)) == len(kept)
    own = [PALETTE[a % 16] for a, b in kept if a == b]
    assert sorted(color for *_, color in edges if color in PALETTE) == sorted(own)
    assert {end for edge in edges for end in edge[:2]} <= {(round(x, 6), round(y, 6)) for x, y, _ in units}
    lanes = [made for made in ax.collections if made.get_gid() == "lane"]
    assert len(lanes) == len({m for layer in alive for m in layer.tolist()})
    assert all(isinstance(made, PolyCollection) for made in lanes)
    assert [text for text in texts(ax) if text.isdigit()] == [str(len(layer)) for layer in alive]
    assert "inputs" in texts(ax)


def test_edges_lead_from_unit_to_unit_as_the_masks_say(ax: Axes) -> None:
    masks, labels = separated()
    drawing.sculpted_network(ax, masks, labels)
    across = sorted({x for x, *_ in units_of(ax)})
    named = {t.get_text(): t.get_position()[1] for t in ax.texts if t.get_text()[0] in "xy"}
    assert list(named) == ["x1", "x2", "x3", "x4", "y1", "y2", "y3", "y4"]
    assert sorted(named.values()) == sorted([*named.values()], key=float)
    ends = {(round(x, 6), round(y, 6)): color for x, y, color in units_of(ax)}
    reach = {}
    for (x, y), target, color in edges_of(ax):
        assert ends[(x, y)] == ends[target] == color  # nothing joins the two modules
        if x == round(across[0], 6):
            reach[y] = target
    inputs = [reach[round(named[f"x{i}"], 6)] for i in range(1, 5)]
    assert inputs[0] == inputs[1] != inputs[2] == inputs[3]


def test_colours_agree_on_both_sides_for_a_network_that_recovers_its_task() -> None:
    task = tasks.load("separable")
    masks, labels = separated()
    made, (left, right) = plt.subplots(1, 2)
    drawing.hierarchy_graph(left, task)
    drawing.sculpted_network(right, masks, labels, colors=drawing.module_colors(task, labels))
    true, found = columns(units_of(left)), columns(units_of(right))
    assert found[0] == true[0]
    assert found[-1] == true[-1]
    plt.close(made)


def test_inputs_keep_their_order_where_they_can(ax: Axes) -> None:
    drawing.sculpted_network(ax, [np.eye(6)[::-1]], [np.arange(6), np.arange(6)[::-1]])
    heights = {t.get_text(): t.get_position()[1] for t in ax.texts}
    assert [heights[f"x{i}"] for i in range(1, 7)] == sorted(heights[f"x{i}"] for i in range(1, 7))
    assert heights["y6"] == pytest.approx(heights["x1"])  # the outputs turn over: no crossing


def test_order_keeps_groups_together_and_crosses_less_than_the_start() -> None:
    before = after = 0.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        groups = [rng.integers(0, 3, size) for size in (6, 9, 7, 5)]
        links = [rng.random((b.size, a.size)) < 0.3 for a, b in pairwise(groups)]
        order = drawing._order(links, groups)
        again = drawing._order(links, groups)
        for at, (layer, group) in enumerate(zip(order, groups, strict=True)):
            assert sorted(layer) == list(range(len(group)))
            assert (np.diff(group[layer]) != 0).sum() == len(set(group)) - 1
            assert (layer == again[at]).all()
        start = [np.argsort(group, kind="stable") for group in groups]
        for at, link in enumerate(links):
            after += drawing._crossings(1.0 * link[np.ix_(order[at + 1], order[at])])
            before += drawing._crossings(1.0 * link[np.ix_(start[at + 1], start[at])])
    assert after < 0.8 * before


@pytest.mark.parametrize("seed", range(5))
def test_order_finds_a_drawing_without_crossings(seed: int) -> None:
    """Three chains whose hidden units are shuffled, each a module."""
    rng = np.random.default_rng(seed)
    inner = [rng.permutation(6) for _ in range(3)]
    units = [np.arange(6), *inner, np.arange(6)]
    groups = [np.argsort(layer) // 2 for layer in units]
    links = [np.eye(6, dtype=bool)[np.argsort(b)][:, np.argsort(a)] for a, b in pairwise(units)]
    order = drawing._order(links, groups)
    assert [layer.tolist() for layer in order] == [layer.tolist() for layer in units]


def test_crossings_are_counted() -> None:
    rng = np.random.default_rng(0)
    link = rng.integers(0, 3, (5, 6)).astype(float)
    naive = sum(link[i, j] * link[k, m] for i in range(5) for k in range(i + 1, 5) for j in range(6) for m in range(j))
    assert drawing._crossings(link) == naive > 0


def test_units_of_a_layer_keep_their_distance() -> None:
    rng = np.random.default_rng(3)
    groups = [np.sort(rng.integers(0, 3, size)) for size in (4, 7, 2, 16)]
    links = [rng.random((b.size, a.size)) < 0.5 for a, b in pairwise(groups)]
    order = drawing._order(links, groups)
    y, pitch = drawing._place(links, groups, order, 10, 150)
    for heights, layer, step in zip(y, order, pitch, strict=True):
        assert np.diff(heights[layer]).min() >= step - 1e-9
        assert heights.min() >= 10 - 1e-9
        assert heights.max() <= 150 + 1e-9


def test_weights_set_width_and_dashes(ax: Axes) -> None:
    masks, labels = separated()
    weights = [mask * 1.0 for mask in masks]
    weights[0][0, 0] = -4.0
    drawing.sculpted_network(ax, masks, labels, weights=weights, title="w")
    (edges,) = [made for made in ax.collections if made.get_gid() == "edges"]
    widths = np.asarray(edges.get_linewidth())
    assert len(widths) == 8
    assert widths.max() == widths[0] > 2 * widths[1]
    assert len(set(widths[1:])) == 1
    styles: Any = edges.get_linestyle()
    dashed = [dash is not None for _, dash in styles]
    assert dashed == [True] + [False] * 7
    with pytest.raises(ValueError, match="weights has shapes"):
        drawing.sculpted_network(ax, masks, labels, weights=weights[::-1])


def test_names_are_left_out_where_there_are_many_or_none_wanted(ax: Axes) -> None:
    masks, labels = separated()
    drawing.sculpted_network(ax, masks, labels, names=False)
    assert not any(text[0] in "xy" for text in texts(ax) if text)
    ax.clear()
    masks, labels = random_network(0, [21, 5, 3], 0.9)
    drawing.sculpted_network(ax, masks, labels)
    assert sorted(text for text in texts(ax) if text and text[0] in "xy") == ["y1", "y2", "y3"]
    assert "⋮" not in texts(ax)


def test_a_layer_of_many_units_is_a_strip_and_its_edges_are_faint(ax: Axes) -> None:
    masks, labels = random_network(1, [400, 60, 3], 0.5)
    drawing.sculpted_network(ax, masks, labels)
    strips = [m for m in ax.collections if m.get_gid() == "units" and isinstance(m, LineCollection)]
    assert sum(len(made.get_segments()) for made in strips) == sum((layer >= 0).sum() for layer in labels[:2])
    (edges,) = [made for made in ax.collections if made.get_gid() == "edges"]
    assert edges.get_rasterized()
    alpha: Any = edges.get_alpha()
    assert 0 < alpha < 0.1


def test_nothing_alive_but_the_outputs(ax: Axes) -> None:
    masks = [np.zeros((5, 4)), np.zeros((3, 5))]
    labels = hierarchy.detect_modules(masks)
    drawing.sculpted_network(ax, masks, labels)
    assert len(units_of(ax)) == 3
    assert edges_of(ax) == []
    assert [text for text in texts(ax) if text.isdigit()] == ["0", "0", "3"]


def test_many_hidden_layers_share_a_caption(ax: Axes) -> None:
    masks, labels = random_network(2, [4, 5, 5, 5, 5, 5, 4], 0.6)
    drawing.sculpted_network(ax, masks, labels)
    assert "hidden layers" in texts(ax)
    assert "hidden 1" not in texts(ax)


def test_what_does_not_fit_a_network_is_refused(ax: Axes) -> None:
    masks, labels = separated()
    with pytest.raises(ValueError, match="labels has 2 layers and masks 2"):
        drawing.sculpted_network(ax, masks, labels[:2])
    with pytest.raises(ValueError, match="labels has 1 layers and masks 0"):
        drawing.sculpted_network(ax, [], labels[:1])
    with pytest.raises(ValueError, match=r"masks\[1\] has shape \(3, 4\)"):
        drawing.sculpted_network(ax, [masks[0], masks[1].T], labels)
    with pytest.raises(ValueError, match=r"labels\[1\]"):
        drawing.sculpted_network(ax, masks, [labels[0], labels[1] - 5, labels[2]])
    with pytest.raises(ValueError, match="none for module 1"):
        drawing.sculpted_network(ax, masks, labels, colors={0: "red"})


# --- pixel_modules ----------------------------------------------------------------------------------------------------


def test_every_pixel_has_the_colour_of_its_module(ax: Axes) -> None:
    drawing.pixel_modules(ax, np.array([0, -1, 1, 1, 0, -1]), (2, 3), colors={0: "#FF0000", 1: "#0000FF"})
    array: Any = ax.images[0].get_array()
    assert [[to_hex(pixel) for pixel in row] for row in array] == [
        ["#ff0000", "#ffffff", "#0000ff"],
        ["#0000ff", "#ff0000", "#ffffff"],
    ]


@pytest.mark.parametrize("shape", [(2, 2), (6,), (-2, -3), (3, 3)])
def test_pixels_that_do_not_fill_the_shape_are_refused(ax: Axes, shape: Any) -> None:
    with pytest.raises(ValueError, match="shape="):
        drawing.pixel_modules(ax, np.zeros(6, dtype=int), shape)


# --- pruning_steps ----------------------------------------------------------------------------------------------------


def history() -> list[list[np.ndarray]]:
    """A dense network 3-6-2 that loses one hidden unit a step, down to two."""
    steps = []
    for gone in range(5):
        keep = np.arange(6) >= gone
        steps.append([np.repeat(keep[:, None], 3, axis=1), np.repeat(keep[None], 2, axis=0)])
    return steps


def test_units_stay_where_they_are_until_they_are_pruned() -> None:
    made, axes = plt.subplots(1, 3)
    assert drawing.pruning_steps(axes, history(), steps=[0, 3, -1]) == [0, 3, 4]
    places = [{(x, y) for x, y, _ in units_of(ax)} for ax in axes]
    pruned = [{(x, y) for x, y, _ in units_of(ax, "pruned")} for ax in axes]
    assert [len(alive) for alive in places] == [11, 8, 7]
    assert [len(edges_of(ax)) for ax in axes] == [30, 15, 10]
    assert [[t for t in texts(ax) if t.isdigit()] for ax in axes] == [["3", h, "2"] for h in "632"]
    assert [ax.get_title() for ax in axes] == ["30 edges", "15 edges", "10 edges"]
    assert [len(dead) for dead in pruned] == [0, 3, 4]
    for alive, dead in zip(places, pruned, strict=True):
        assert alive | dead == places[0]
    plt.close(made)


def test_edges_of_units_condensed_away_are_not_drawn() -> None:
    made, ax = plt.subplots()
    masks = [np.ones((2, 2)), np.array([[1, 0]])]  # the second hidden unit leads nowhere
    drawing.pruning_steps([ax], [masks])
    assert len(edges_of(ax)) == 3
    assert len(units_of(ax)) == 4
    plt.close(made)


def test_steps_are_chosen_evenly_in_order_with_first_and_last() -> None:
    made, axes = plt.subplots(1, 4)
    many = [[np.ones((n, 1)), np.ones((1, n))] for n in (1000, 999, 998, 997, 100, 99, 10, 9, 8, 1)]
    many = [[np.pad(a, ((0, 1000 - len(a)), (0, 0))), np.pad(b, ((0, 0), (0, 1000 - b.size)))] for a, b in many]
    pictures = [[mask != 0 for mask in masks] for masks in many]
    assert drawing._even_steps(pictures, 4) == [0, 4, 6, 9]
    assert drawing._even_steps(pictures, 10) == list(range(10))
    assert drawing._even_steps(pictures, 1) == [9]
    assert drawing.pruning_steps(axes, history()[:4]) == [0, 1, 2, 3]
    plt.close(made)


def test_units_that_survive_are_coloured_from_the_beginning() -> None:
    made, axes = plt.subplots(1, 2)
    steps = history()
    labels = hierarchy.detect_modules(steps[-1])
    colors = {module: PALETTE[module + 3] for module in range(9)}
    drawing.pruning_steps(axes, steps, labels=labels, colors=colors)
    grey = sum(color not in PALETTE for *_, color in units_of(axes[0]))
    assert grey == 4
    assert all(color in PALETTE[3:] for *_, color in units_of(axes[1]))
    plt.close(made)


def test_steps_that_do_not_fit_are_refused(ax: Axes) -> None:
    with pytest.raises(ValueError, match="history 0 entries"):
        drawing.pruning_steps([ax], [])
    with pytest.raises(ValueError, match="axes has 0"):
        drawing.pruning_steps([], history())
    with pytest.raises(ValueError, match="axes has 6 and history 5"):
        drawing.pruning_steps([ax] * 6, history())
    for steps in ([0, 1], [5]):
        with pytest.raises(ValueError, match="steps="):
            drawing.pruning_steps([ax], history(), steps=steps)
    with pytest.raises(ValueError, match="the network has"):
        drawing.pruning_steps([ax], history(), labels=[np.zeros(3, dtype=int)])


def test_a_panel_has_its_size_before_the_next_is_drawn() -> None:
    """Both panels of a pair get the same scale, whichever is drawn first."""
    made, axes = plt.subplots(1, 2, figsize=(6.3, 3), layout="constrained")
    masks, labels = separated()
    for ax in axes:
        drawing.sculpted_network(ax, masks, labels)
    assert axes[0].get_xlim() == pytest.approx(axes[1].get_xlim(), rel=0.02)
    assert axes[0].get_ylim() == pytest.approx(axes[1].get_ylim(), rel=0.02)
    made.canvas.draw()
    box = axes[0].get_window_extent()
    assert box.width * 72 / made.dpi == pytest.approx(axes[0].get_xlim()[1], rel=0.02)
    plt.close(made)
