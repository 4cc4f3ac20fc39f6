"""Draw a task's true hierarchy, and the modules that were found in a sculpted network, so that both can be compared.

Everything runs from left to right: inputs, functions or hidden units, outputs. A module is a soft lane; its units share
a colour and a marker. :func:`module_colors` gives a found module the look of the true module that it equals.

The axes are measured in points, downwards, with their size at the time of the call: give them their size first.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.spatial import ConvexHull

from modutils import hierarchy
from modutils.plotting import COLORS, GREY
from modutils.tasks import Task


def _mixed(color: str, other: str, share: float) -> str:
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(to_rgb(color), to_rgb(other), strict=True))
    return to_hex((red, green, blue)).upper()


#: Colours of modules by number. The second half is darker or, for black, lighter.
PALETTE = (*COLORS, *(_mixed(color, "white" if color == "#000000" else "black", 0.45) for color in COLORS))
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")  # seven, so that no two of the palette share colour and marker
_AREAS = (1.0, 0.82, 0.72, 1.05, 1.05, 1.15, 1.05)  # so that all look equally large
_INK, _CROSSING = "#333333", "#9a9a9a"  # text, edges between modules
_PITCH = 38.0  # points between units where there is room
_STRIP = 4.5  # below so many points between units, a layer is drawn as a strip
_NAME = 12.0  # points that the name of a function takes above it
_LINE = 11.5  # points between names below each other
_NAMES = 20  # inputs or outputs that are named at most


def module_colors(task: Task, labels: Sequence[ArrayLike]) -> dict[int, str]:
    """Colours of found modules: that of the true module with the same inputs and outputs, or one of no true module.

    True module i has colour i of :data:`PALETTE`. Found modules that equal none take the colours that come after those
    of all true modules, in the order of their numbers. Of several found modules that equal the same true one (hidden
    units alone), the first has its colour. Where a source of the task is an image, pixels that are condensed away are
    not missed.

    Parameters
    ----------
    task : Task
    labels : list of arrays of int, shape (units,)
        Modules per layer over all units, as from :func:`modutils.hierarchy.detect_modules`; -1 = condensed away.

    Returns
    -------
    dict
        Module number to colour.

    Raises
    ------
    ValueError
        Labels that do not fit the inputs and outputs of the task.

    Examples
    --------
    >>> from modutils import tasks
    >>> task = tasks.load("separable")
    >>> found = module_colors(task, [[1, 1, 0, 0], [1, 0], [1, 1, 0, 0]])
    >>> found == {0: PALETTE[1], 1: PALETTE[0]}
    True
    """
    layers = _checked_labels(labels)
    if len(layers) < 2:
        raise ValueError(f"labels has {len(layers)} layers; 2 or more, inputs to outputs, are needed")
    for place, width in ((0, task.inputs.shape[1]), (-1, task.targets.shape[1])):
        if len(layers[place]) != width:
            raise ValueError(f"labels[{place}] has {len(layers[place])} units; {task.name!r} has {width}")
    pixels = {column for columns in task.sources.values() if len(columns) > 1 for column in columns}
    gone = pixels & set(np.flatnonzero(layers[0] < 0).tolist())
    free = {place: (true.inputs - gone, true.outputs) for place, true in enumerate(task.modules)}
    others = PALETTE[len(task.modules) :]
    colors, extra = {}, 0
    for module in _modules(layers):
        own = tuple(frozenset(np.flatnonzero(layers[place] == module).tolist()) for place in (0, -1))
        same = next((place for place, true in free.items() if true == own), None)
        if same is None:
            colors[module] = others[extra % len(others)]
            extra += 1
        else:
            colors[module] = PALETTE[same]
            del free[same]
    return colors


def hierarchy_graph(
    ax: Axes,
    task: Task,
    *,
    colors: Mapping[int, str] | None = None,
    formulas: bool = True,
    title: str | None = None,
) -> None:
    """The true hierarchy of a task: inputs, functions and outputs, with the true modules as lanes.

    Parameters
    ----------
    ax : Axes
    task : Task
        Inputs that are an image are one node.
    colors : mapping of int to str, optional
        Of the true modules, by their place in ``task.modules``; by default as in :data:`PALETTE`.
    formulas : bool
        Print the formulas of the functions below.
    title : str, optional

    Raises
    ------
    ValueError
        A module without a colour.
    """
    of_module = _checked_colors(colors, list(range(len(task.modules))))
    nodes, groups, links, routes = _routed(task.graph())
    real = [np.array([node is not None for node in layer]) for layer in nodes]
    inner = range(1, len(nodes) - 1)

    width, height = _blank(ax, title)
    said = [f"{f.name} = {f.formula}".replace(" ", "\u00a0") for f in task.functions if f.formula != f.name]
    lines = textwrap.wrap("    ".join(said), int(width / 4.5), break_long_words=False) if formulas else []
    below = max(29.0, _LINE * len(lines) + 8)  # as much as the sizes below a network take
    order = _order(links, groups)
    top, bottom = 12.0, height - below - 14
    for _ in range(2):  # once more where the name of a function would stick out
        y, pitch = _place(links, groups, order, top, bottom)
        top += max(12 + _NAME - min(y[at][real[at]].min() for at in inner), 0)
    x = _columns(width, len(nodes), *(max(len(str(node)) for node in nodes[at]) for at in (0, -1)))
    _lanes(ax, x, y, groups, pitch, of_module, [_NAME * own * (at in inner) for at, own in enumerate(real)])
    ends = [(groups[first][route[0]], groups[first + len(route) - 1][route[-1]]) for first, route in routes]
    points = [[(x[at], y[at][place]) for at, place in enumerate(route, first)] for first, route in routes]
    _edges(ax, [_bent(each) for each in points], ends, of_module)
    for at, layer in enumerate(nodes):
        _units(ax, x[at], y[at][real[at]], groups[at][real[at]], pitch[at], of_module)
        if at in inner:
            for place in np.flatnonzero(real[at]):
                down = y[at][place] - _radius(pitch[at]) - 2
                ax.text(x[at], down, str(layer[place]), ha="center", va="bottom", fontsize=10.5)
        else:
            _names(ax, x[at], y[at], [str(node) for node in layer], groups[at], order[at], pitch[at], 1 if at else -1)
    for row, line in enumerate(lines):
        down = height - _LINE * (len(lines) - row) + 2
        ax.text(width / 2, down, line, ha="center", va="top", fontsize=8.5, color=_INK)


def sculpted_network(
    ax: Axes,
    masks: Sequence[ArrayLike],
    labels: Sequence[ArrayLike],
    *,
    colors: Mapping[int, str] | None = None,
    names: bool = True,
    title: str | None = None,
    weights: Sequence[ArrayLike] | None = None,
) -> None:
    """What is left of a network, with its modules as lanes and the number of units of each layer.

    Units of a module stand together, in an order in which edges cross little. A layer with too many units for single
    discs is a strip, one thin mark a unit.

    Parameters
    ----------
    ax : Axes
    masks : list of L arrays of 0/1 or bool, shape (out, in)
        Of the dense shape, inputs first.
    labels : list of L + 1 arrays of int, shape (units,)
        Module of every unit; units with -1 and their edges are not drawn.
    colors : mapping of int to str, optional
        Of the modules, as from :func:`module_colors`; by default as in :data:`PALETTE`.
    names : bool
        Name inputs and outputs (x1, y1, …) where they are at most 20.
    title : str, optional
    weights : list of L arrays, shape (out, in), optional
        Edges are as wide as these are large, and dashed where negative.

    Raises
    ------
    ValueError
        Masks, labels or weights that do not fit one another; a module without a colour.
    """
    alive, links, groups = _condensed(masks, labels)
    of_module = _checked_colors(colors, _modules(groups))
    values = None
    if weights is not None:
        arrays = [np.asarray(weight, dtype=float) for weight in weights]
        if [array.shape for array in arrays] != [np.shape(mask) for mask in masks]:
            raise ValueError(f"weights has shapes {[a.shape for a in arrays]}; those of masks differ")
        values = [array[np.ix_(to, of)] for array, of, to in zip(arrays, alive, alive[1:], strict=False)]

    width, height = _blank(ax, title)
    texts = [
        [f"{letter}{unit + 1}" if names and len(alive[at]) <= _NAMES else "" for unit in alive[at]]
        for letter, at in (("x", 0), ("y", -1))
    ]
    order = _order(links, groups)
    y, pitch = _place(links, groups, order, 12.0, height - 47)
    x = _columns(width, len(alive), *(max(map(len, text), default=0) for text in texts))
    _lanes(ax, x, y, groups, pitch, of_module)
    ends = [(at, *edge) for at, link in enumerate(links) for edge in np.argwhere(link).tolist()]
    _edges(
        ax,
        [[(x[at], y[at][i]), (x[at + 1], y[at + 1][j])] for at, j, i in ends],
        [(groups[at][i], groups[at + 1][j]) for at, j, i in ends],
        of_module,
        None if values is None else [values[at][j, i] for at, j, i in ends],
    )
    for at, group in enumerate(groups):
        _units(ax, x[at], y[at], group, pitch[at], of_module)
        ax.text(x[at], height - 25, str(len(group)), ha="center", va="center", fontsize=11)
    captions = [(x[0], "inputs"), (x[-1], "outputs"), *((x[at], f"hidden {at}") for at in range(1, len(links)))]
    if x[1] - x[0] < 42 and len(links) > 2:
        captions[2:] = [(x[1:-1].mean(), "hidden layers")]
    for across, caption in captions:
        ax.text(across, height - 17, caption, ha="center", va="top", fontsize=8.5, color=_INK)
    for at, side, text in ((0, -1, texts[0]), (len(links), 1, texts[1])):
        _names(ax, x[at], y[at], text, groups[at], order[at], pitch[at], side)


def pixel_modules(
    ax: Axes, labels: ArrayLike, shape: tuple[int, int], *, colors: Mapping[int, str] | None = None
) -> None:
    """The inputs as an image: every pixel in the colour of its module, white where it is condensed away.

    Parameters
    ----------
    ax : Axes
    labels : array of int, shape (height × width,)
        Module of every input, row by row; -1 = condensed away.
    shape : tuple of int
        Height and width.
    colors : mapping of int to str, optional
        As in :func:`sculpted_network`.

    Raises
    ------
    ValueError
        Labels that do not fit the shape; a module without a colour.
    """
    (flat,) = _checked_labels([labels])
    if len(shape) != 2 or min(shape) < 1 or len(flat) != shape[0] * shape[1]:
        raise ValueError(f"shape={shape} does not hold {len(flat)} labels; needed is (height, width)")
    image = np.ones((len(flat), 3))
    for module, color in _checked_colors(colors, _modules([flat])).items():
        image[flat == module] = to_rgb(color)
    ax.imshow(image.reshape(*shape, 3))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=_CROSSING, linewidth=0.8)


def pruning_steps(
    axes: Sequence[Axes],
    history: Sequence[Sequence[ArrayLike]],
    *,
    steps: Sequence[int] | None = None,
    labels: Sequence[ArrayLike] | None = None,
    colors: Mapping[int, str] | None = None,
) -> list[int]:
    """The same network after several steps of pruning: units stay where they are, and vanish where they are pruned.

    Parameters
    ----------
    axes : sequence of Axes
        One per picture.
    history : list of lists of arrays of 0/1 or bool, shape (out, in)
        Masks of the dense network and after every accepted step, as in ``Sculpted.history``.
    steps : sequence of int, optional
        Places in the history, one per axes. By default the first, the last, and between them those that divide the
        numbers of edges most evenly on a logarithmic scale.
    labels : list of arrays of int, shape (units,), optional
        Modules of the last network: its units are coloured from the beginning.
    colors : mapping of int to str, optional
        As in :func:`sculpted_network`.

    Returns
    -------
    list of int
        The steps drawn.

    Raises
    ------
    ValueError
        No axes, or a history too short for them; steps that are not in it or not one per axes; labels that do not fit.
    """
    if not 0 < len(axes) <= (len(history) if steps is None else len(axes)) or not len(history):
        raise ValueError(f"axes has {len(axes)} and history {len(history)} entries; 1 axes or more, and as many steps")
    pictures = [[np.asarray(mask) != 0 for mask in masks] for masks in history]
    chosen = _even_steps(pictures, len(axes)) if steps is None else list(steps)
    if len(chosen) != len(axes) or not all(-len(pictures) <= step < len(pictures) for step in chosen):
        raise ValueError(f"steps={steps} needs one per axes, {len(axes)}, each of a history of {len(pictures)}")
    widths = [pictures[0][0].shape[1], *map(len, pictures[0])]
    modules = [np.full(width, -1) for width in widths] if labels is None else _checked_labels(labels)
    if [len(layer) for layer in modules] != widths:
        raise ValueError(f"labels has {[len(layer) for layer in modules]} units; the network has {widths}")
    of_module = _checked_colors(colors, _modules(modules))
    for ax in axes:
        ax.set_axis_off()
        ax.set_title(" ", fontsize=10)
    for ax, step in zip(axes, chosen, strict=True):
        alive = hierarchy.condense(pictures[step])
        links = [mask & np.outer(to, of) for mask, of, to in zip(pictures[step], alive, alive[1:], strict=False)]
        ends = [(at, *edge) for at, link in enumerate(links) for edge in np.argwhere(link).tolist()]
        ax.set_title(f"{len(ends)} edges", fontsize=10)
        width, height = _blank(ax)
        x = np.linspace(8, width - 8, len(widths))
        extent = [min(height - 36, _PITCH * 0.8 * (n - 1)) for n in widths]
        y = [(height - 20) / 2 + np.linspace(-e / 2, e / 2, n) for e, n in zip(extent, widths, strict=True)]
        lines = [[(x[at], y[at][i]), (x[at + 1], y[at + 1][j])] for at, j, i in ends]
        _edges(ax, lines, [(modules[at][i], modules[at + 1][j]) for at, j, i in ends], of_module)
        for at, units in enumerate(alive):
            size = np.clip(0.7 * extent[at] / max(units.sum(), 1), 2.2, 5.5)
            hues: Any = [of_module.get(module, GREY) for module in modules[at][units].tolist()]
            ax.scatter(np.full((~units).sum(), x[at]), y[at][~units], s=1.4, c="#d0d0d0", linewidths=0, gid="pruned")
            dots = ax.scatter(np.full(units.sum(), x[at]), y[at][units], s=size**2, c=hues, linewidths=0, gid="units")
            dots.set_zorder(3)
            ax.text(x[at], height - 8, str(units.sum()), ha="center", va="center", fontsize=10)
    return [step % len(pictures) for step in chosen]


# --- where everything stands ------------------------------------------------------------------------------------------


def _routed(
    graph: nx.DiGraph,
) -> tuple[list[list[str | None]], list[np.ndarray], list[np.ndarray], list[tuple[int, list[int]]]]:
    """Nodes, modules and links by layer, and for each edge its first layer and its place in each layer from there on.

    An edge across layers keeps a place free in each of them: a node None, of the module of both ends or of none.
    """
    layers = dict(graph.nodes(data="layer"))
    module = dict(graph.nodes(data="module"))
    nodes: list[list[str | None]] = [[] for _ in range(1 + max(layers.values()))]
    groups: list[list[int]] = [[] for _ in nodes]
    for node, layer in layers.items():
        nodes[layer].append(node)
        groups[layer].append(module[node])
    place = {node: at for layer in nodes for at, node in enumerate(layer)}
    routes: list[tuple[int, list[int]]] = []
    for source, target in graph.edges:
        route = [place[source]]
        for layer in range(layers[source] + 1, layers[target]):
            route.append(len(nodes[layer]))
            nodes[layer].append(None)
            groups[layer].append(module[source] if module[source] == module[target] else -2 - len(routes))
        routes.append((layers[source], [*route, place[target]]))
    links = [np.zeros((len(after), len(before)), dtype=bool) for before, after in pairwise(nodes)]
    for first, route in routes:
        for layer, (before, after) in enumerate(pairwise(route), first):
            links[layer][after, before] = True
    return nodes, [np.array(group) for group in groups], links, routes


def _order(links: Sequence[np.ndarray], groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Units of each layer from top to bottom: groups together, few crossings, inputs and outputs in order if possible.

    The best of some sweeps of the barycentre heuristic (Sugiyama, Tagawa & Toda 1981).
    """
    last = len(links)
    costs = [
        link * np.where(np.equal.outer(after, before), 3.0, 1.0)  # within a group an edge should cross least
        for link, (before, after) in zip(links, pairwise(groups), strict=True)
    ]
    index = [np.arange(len(group)) for group in groups]
    named = [(at, price) for at, price in ((0, 4.0), (last, 2.0)) if len(groups[at]) <= _NAMES]

    def cost(order: list[np.ndarray]) -> float:
        crossed = sum(_crossings(each[np.ix_(order[at + 1], order[at])]) for at, each in enumerate(costs))
        return crossed + sum(price * _crossings(np.eye(len(order[at]))[order[at]]) for at, price in named)

    best = start = [_grouped(own, group, own) for own, group in zip(index, groups, strict=True)]
    # Inputs and outputs stay where they are, or move as groups; at last the outputs move freely.
    for held, tidy in (({0, last}, {0, last}), ({0}, {0, last}), ({last}, {0, last}), (set(), {0, last}), (set(), {0})):
        order = list(start)
        rank = [_rank(layer) for layer in order]
        for sweep in range(16):
            down = sweep % 2 == 0
            for at in range(1, last + 1) if down else range(last - 1, -1, -1):
                if at in held:
                    continue
                link, other = (links[at - 1], rank[at - 1]) if down else (links[at].T, rank[at + 1])
                wish = np.where(link.any(axis=1), link @ other / np.maximum(link.sum(axis=1), 1), rank[at])
                order[at] = _grouped(wish, groups[at], index[at] if at in tidy else wish)
                rank[at] = _rank(order[at])
            best = min(best, list(order), key=cost)
    for at in range(1, last + 1):  # turned over from one layer on
        turned = [layer[::-1] for layer in best[at:]]
        tidied = _grouped(_rank(turned[-1]), groups[last], index[last])
        best = min(best, [*best[:at], *turned], [*best[:at], *turned[:-1], tidied], key=cost)
    return best


def _grouped(wish: np.ndarray, group: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Units sorted by the mean wish of their group, then by their own place within it."""
    _, place = np.unique(group, return_inverse=True)
    mean = np.bincount(place, wish) / np.maximum(np.bincount(place), 1)
    return np.lexsort((inner.round(6), place, mean.round(6)[place]))


def _rank(order: np.ndarray) -> np.ndarray:
    return (np.argsort(order) + 0.5) / max(len(order), 1)


def _crossings(link: np.ndarray) -> float:
    """Crossings of weighted edges between two layers whose units are in order."""
    below = np.cumsum(np.cumsum(link[::-1], axis=0)[::-1], axis=1)
    return float((link[:-1, 1:] * below[1:, :-1]).sum())


def _place(
    links: Sequence[np.ndarray], groups: Sequence[np.ndarray], order: Sequence[np.ndarray], top: float, bottom: float
) -> tuple[list[np.ndarray], list[float]]:
    """Heights of all units, close to what they are connected to, and the points between units of each layer."""
    height = bottom - top
    offsets: list[np.ndarray] = []
    pitch: list[float] = []
    for group, layer in zip(groups, order, strict=True):
        gaps = np.where(np.diff(group[layer]), 1.6, 1.0)
        most = max(pitch[0], 24.0) if pitch else _PITCH  # hidden units stand about as close as the inputs
        pitch.append(min(most, height / max(gaps.sum(), 1)))
        offsets.append(np.concatenate([[0.0], np.cumsum(gaps * pitch[-1])])[: len(layer)])
    y = [np.empty(len(layer)) for layer in order]
    for heights, layer, offset in zip(y, order, offsets, strict=True):
        heights[layer] = top + offset + (height - offset[-1]) / 2 if len(layer) else 0
    extents = [offset[-1] if len(offset) else 0.0 for offset in offsets]
    widest = int(np.argmax(extents))
    for _ in range(40):
        for at in range(len(y)):
            if at == widest or not len(y[at]):
                continue
            near = [(links[at - 1], y[at - 1])] if at else []
            near += [(links[at].T, y[at + 1])] if at < len(links) else []
            means = [link @ other / np.maximum(link.sum(axis=1), 1) for link, other in near]
            there = np.array([link.any(axis=1) for link, _ in near])
            wish = np.where(there.any(axis=0), sum(means) / np.maximum(there.sum(axis=0), 1), y[at])
            free = isotonic_regression(wish[order[at]] - offsets[at]).x
            y[at][order[at]] = np.clip(free, top, bottom - extents[at]) + offsets[at]
    return y, pitch


def _columns(width: float, layers: int, left: int, right: int) -> np.ndarray:
    """Where the layers stand, with room for so many characters at the sides."""
    return np.linspace(18 + 6 * left, width - 18 - 6 * right, layers)


def _even_steps(pictures: Sequence[Sequence[np.ndarray]], count: int) -> list[int]:
    """So many steps in order, the first and the last among them, whose numbers of edges divide the way evenly."""
    edges = np.log([max(sum(int(mask.sum()) for mask in masks), 1) for masks in pictures])
    chosen: list[int] = []
    for place, goal in enumerate(np.linspace(edges[0], edges[-1], count)):
        low, high = chosen[-1] + 1 if chosen else 0, len(edges) - count + place + 1
        chosen.append(low + int(np.abs(edges[low:high] - goal).argmin()))
    return [*chosen[:-1], len(edges) - 1]


# --- what is drawn ----------------------------------------------------------------------------------------------------


def _blank(ax: Axes, title: str | None = None) -> tuple[float, float]:
    """Axes without frame, measured in points; their width and height."""
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    root = ax.figure.canvas.figure
    if (engine := root.get_layout_engine()) is not None:  # as if the panels still to come had no frames either
        waiting = [other for other in root.axes if other.axison and not other.has_data()]
        for other in waiting:
            other.set_axis_off()
        engine.execute(root)
        for other in waiting:
            other.set_axis_on()
    box = ax.get_window_extent()
    width, height = (float(side * 72 / ax.figure.dpi) for side in (box.width, box.height))
    ax.set(xlim=(0, width), ylim=(height, 0))
    return width, height


def _radius(pitch: float) -> float:
    return float(np.clip(0.36 * pitch, 1.5, 5.5))


def _pad(pitch: float) -> float:
    return min(_radius(pitch) + 5.5, max(0.8 * pitch - 1.5, 2.0))


def _look(colors: Mapping[int, str], module: int) -> tuple[str, str, float]:
    """Colour, marker and relative area. Colours of the palette have their marker, so both sides agree."""
    place = (PALETTE.index(colors[module]) if colors[module] in PALETTE else module) % len(_MARKERS)
    return colors[module], _MARKERS[place], _AREAS[place]


def _lanes(
    ax: Axes,
    x: np.ndarray,
    y: Sequence[np.ndarray],
    groups: Sequence[np.ndarray],
    pitch: Sequence[float],
    colors: Mapping[int, str],
    above: Sequence[np.ndarray] | None = None,
) -> None:
    """Behind each module the convex hulls of its units in two consecutive layers."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    for module in _modules(groups):
        rings = []
        for at, group in enumerate(groups):
            own = group == module
            high = y[at] if above is None else y[at] - above[at]
            ends = [high[own].min(), y[at][own].max()] if own.any() else []
            pad = min(_pad(pitch[at]), 0.4 * (x[1] - x[0]))
            rings.append([(x[at], end) + pad * circle for end in ends])
        pieces = [np.vstack(a + b) for a, b in pairwise(rings) if a or b]
        hulls = [corners[ConvexHull(corners).vertices] for corners in pieces]
        tint = _mixed(colors[module], "white", 0.88 if colors[module] == "#000000" else 0.8)
        made = PolyCollection(hulls, facecolors=tint, edgecolors="none", zorder=1, gid="lane")
        ax.add_collection(made, autolim=False)


def _bent(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """The Bézier curve with these control points; two are a straight line."""
    t = np.linspace(0, 1, 2 if len(points) == 2 else 25)[:, None]
    curve = [np.broadcast_to(point, (len(t), 2)) for point in points]
    while len(curve) > 1:
        curve = [(1 - t) * a + t * b for a, b in pairwise(curve)]
    return curve[0]


def _edges(
    ax: Axes,
    lines: Sequence[Any],
    ends: Sequence[tuple[int, int]],
    colors: Mapping[int, str],
    weights: Sequence[float] | None = None,
) -> None:
    """One collection; the more edges, the fainter."""
    if not lines:
        return
    crowd = min(1.0, 90 / len(lines))
    hues = [colors.get(a, _CROSSING) if a == b else _CROSSING for a, b in ends]
    sizes: Any = 0.5 + 0.6 * crowd
    dashes: Any = "-"
    if weights is not None:
        large = np.abs(weights)
        sizes = 0.5 + 2.2 * large / max(large.max(), 1e-12)
        dashes = [(0, (3, 2)) if weight < 0 else "-" for weight in weights]
    made = LineCollection(lines, colors=hues, linewidths=sizes, linestyles=dashes, alpha=max(0.035, crowd**0.8))
    made.set(zorder=2, gid="edges", rasterized=len(lines) > 500, capstyle="butt", joinstyle="round")
    ax.add_collection(made, autolim=False)


def _units(ax: Axes, x: float, y: np.ndarray, group: np.ndarray, pitch: float, colors: Mapping[int, str]) -> None:
    """The units of a layer, one collection a module: markers, or thin marks where they are many."""
    for module in _modules([group]):
        own = y[group == module]
        color, marker, area = _look(colors, module)
        if pitch < _STRIP:
            lines = [[(x - 4, down), (x + 4, down)] for down in own]
            marks = LineCollection(lines, colors=color, zorder=3, gid="units")
            marks.set(linewidths=max(0.8 * pitch, 0.25))
            ax.add_collection(marks, autolim=False)
        else:
            look: Any = {"c": color, "marker": marker, "edgecolors": "white", "linewidths": min(1.0, 0.1 * pitch)}
            ax.scatter(np.full(len(own), x), own, s=area * (2 * _radius(pitch)) ** 2, zorder=3, gid="units", **look)


def _names(
    ax: Axes,
    x: float,
    y: np.ndarray,
    names: Sequence[str],
    group: np.ndarray,
    order: np.ndarray,
    pitch: float,
    side: int,
) -> None:
    """Names beside a layer; where they would touch, the first two and the last of each module."""
    there = x + side * (_pad(pitch) + 3)
    blocks = [order[group[order] == module] for module in dict.fromkeys(group[order].tolist())]
    for block in blocks:
        heights = y[block]
        shown = list(zip(block.tolist(), heights, strict=True))
        if pitch < _LINE and len(block) > 4 and names[block[0]]:
            first, second, last = shown[0], (block[1], heights[0] + _LINE), shown[-1]
            shown = [first, second, last]
            middle = (second[1] + last[1]) / 2
            ax.text(there + side * 5, middle, "⋮", ha="center", va="center", fontsize=9.5)
        for unit, down in shown:
            ax.text(there, down, names[unit], ha="left" if side > 0 else "right", va="center", fontsize=9.5)


# --- what is given ----------------------------------------------------------------------------------------------------


def _modules(layers: Sequence[np.ndarray]) -> list[int]:
    return [module for module in np.unique(np.concatenate(layers)).tolist() if module >= 0]


def _checked_labels(labels: Sequence[ArrayLike]) -> list[np.ndarray]:
    layers = [np.asarray(layer) for layer in labels]
    for place, layer in enumerate(layers):
        if layer.ndim != 1 or not np.issubdtype(layer.dtype, np.integer) or (layer.size and layer.min() < -1):
            raise ValueError(f"labels[{place}] = {layer} must be integers of -1 or more, shape (units,)")
    return layers


def _checked_colors(colors: Mapping[int, str] | None, modules: Sequence[int]) -> dict[int, str]:
    if colors is None:
        return {module: PALETTE[module % len(PALETTE)] for module in modules}
    if missing := [module for module in modules if module not in colors]:
        raise ValueError(f"colors={dict(colors)} has none for module {missing[0]}")
    return dict(colors)


def _condensed(
    masks: Sequence[ArrayLike], labels: Sequence[ArrayLike]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Units that are drawn, edges between them, and their modules, layer by layer."""
    edges = [np.asarray(mask) != 0 for mask in masks]
    layers = _checked_labels(labels)
    if len(layers) != len(edges) + 1 or not edges:
        raise ValueError(f"labels has {len(layers)} layers and masks {len(edges)}; one more, and 2 or more, are needed")
    for place, (mask, before, after) in enumerate(zip(edges, layers, layers[1:], strict=False)):
        if mask.shape != (need := (len(after), len(before))):
            raise ValueError(
                f"masks[{place}] has shape {mask.shape}; the labels have {need[1]} and {need[0]} units there, and with "
                f"(out, in) that needs {need}"
            )
    alive = [np.flatnonzero(layer >= 0) for layer in layers]
    links = [mask[np.ix_(to, of)] for mask, of, to in zip(edges, alive, alive[1:], strict=False)]
    return alive, links, [layer[units] for layer, units in zip(layers, alive, strict=True)]
