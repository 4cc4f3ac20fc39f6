"""Pictures of the front page and of the primer, as SVG in the page itself, which takes the colours of its theme."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from html import escape
from itertools import count
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.optimize import linear_sum_assignment
from torch import nn

from companion import study
from modutils import (
    agreement,
    attribution,
    coclustering,
    data,
    graphs,
    hierarchy,
    modularity,
    networks,
    plotting,
    similarity,
    spectral,
    tasks,
    training,
)
from modutils.statistics import mean_interval

# These two stand for text and ground of the page, whatever its theme, and occur nowhere else.
INK, PAPER = "#010203", "#fcfdfe"
GREY = plotting.GREY
#: Seen well on white and on black; black and yellow of the book's own list are not.
HUES = (*plotting.COLORS[:6], "#8C6BB1", "#A6761D")
_STYLE: Any = plotting.STYLE | {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GREY,
    "svg.fonttype": "path",
    "svg.hashsalt": "modules",
}
POSITIVE, NEGATIVE = "#D6604D", "#4393C3"


def svg(draw: Callable[[], Figure], key: str, alt: str) -> str:
    """A figure as an SVG element with a description; text and ground have the colours of the page.

    Parameters
    ----------
    draw : callable
        Makes the figure, in this module's style.
    key : str
        Goes before every id of the drawing, so that several can stand on a page.
    alt : str
        What the picture shows.
    """
    before = plt.get_fignums()
    with mpl.rc_context(_STYLE):
        figure = draw()
        text = io.StringIO()
        # Without a date, so that the same figure is the same text.
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        for number in set(plt.get_fignums()) - set(before):
            plt.close(number)
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', drawn))
    drawn = re.sub(r' id="([^"]*)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", drawn)
    drawn = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", drawn)
    drawn = re.sub(f"{INK}|#333333", "currentColor", drawn).replace(PAPER, "var(--pst-color-background, white)")
    drawn = drawn.replace(HUES[0].lower(), f"var(--drawing-blue, {HUES[0]})")  # words in it are too dark on black
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)
    assert size is not None
    words = escape(alt, quote=True)
    head = f'<svg class="drawing" role="img" aria-label="{words}" viewBox="{size[0].split(chr(34))[1]}"'
    head += ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    # On one line: an empty one would end the HTML in which it stands.
    return re.sub(r"\s*\n\s*", " ", re.sub(r"^<svg[^>]*>", head, drawn)).strip()


# --- one network, four ways -------------------------------------------------------------------------------------------


class Four(NamedTuple):
    """One small network described and grouped in the four papers' ways; ``labels`` are of the first hidden layer."""

    scores: np.ndarray
    samples: np.ndarray
    alike: np.ndarray
    masks: list[np.ndarray]
    weights: list[np.ndarray]
    labels: dict[str, np.ndarray]
    accuracy: float


#: The four groupings, in the order of the chapters.
WAYS = ("together for the same images", "alike in what drives them", "alike in where they lead", "strongly wired")
_WIDTH, _MODULES = 24, 4


@cache
def four() -> Four:
    """Train a network on the digits of scikit-learn, and look for modules in the four ways; a few seconds."""
    images, labels = data.load("digits", "train")
    test_images, test_labels = data.load("digits", "test")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = networks.mlp([64, _WIDTH, _WIDTH, 10])
    training.train(network, images, labels, epochs=20, batch_size=32, seed=0)
    scores = attribution.neuron_sample_matrix(network, "act1", test_images).numpy()
    together = coclustering.spectral_cocluster(scores, _MODULES, seed=0)
    alike = similarity.normalize(similarity.unit_similarity(network, "act1", test_images, measure="covariance"))
    weights = graphs.layer_weights(network)
    sizes = np.cumsum(graphs.layer_sizes(weights))
    cut = np.asarray(spectral.layered_clusters(weights, 2 * _MODULES, seed=0))[sizes[0] : sizes[1]]
    masks = [weight != 0 for weight in graphs.layer_weights(_pruned(network, images, labels))]
    left = hierarchy.detect_modules(masks, merge_threshold=0.6, modularity_threshold=-0.3)[1]
    found = (
        together.row_labels,
        np.asarray(modularity.find_modules(np.asarray(alike), seed=0).labels),
        left,
        cut,
    )
    by_way = {way: _matched(np.asarray(each), np.asarray(found[0])) for way, each in zip(WAYS, found, strict=True)}
    return Four(
        scores,
        np.asarray(together.column_labels),
        np.asarray(alike),
        masks,
        weights,
        by_way,
        training.accuracy(network, test_images, test_labels),
    )


def _pruned(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    pruned = copy.deepcopy(network)
    training.prune(pruned, images, labels, epochs=30, sparsity=0.9, batch_size=32, seed=0)
    return pruned


def _matched(labels: np.ndarray, to: np.ndarray) -> np.ndarray:
    """The same modules, numbered so that they overlap most with others; what matches none is numbered on."""
    own, others = np.unique(labels[labels >= 0]), np.unique(to[to >= 0])
    overlap = [[np.sum((labels == a) & (to == b)) for b in others] for a in own]
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    new = {int(own[row]): int(others[column]) for row, column in zip(rows, columns, strict=True)}
    unmatched = (int(module) for module in own if int(module) not in new)
    new |= dict(zip(list(unmatched), count(int(others.max()) + 1), strict=False))
    return np.array([new.get(label, -1) for label in labels.tolist()])


def agreements() -> np.ndarray:
    """Element-centric similarity of the four groupings, each pair once; 1 is equal."""
    labels = list(four().labels.values())
    found = agreement.element_similarities(np.stack(labels))
    return np.asarray(found)[np.triu_indices(len(labels), 1)]


def hue(label: int) -> str:
    """Colour of a module; grey for a unit without one."""
    return GREY if label < 0 else HUES[label % len(HUES)]


def _bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def signed(ax: Axes, values: np.ndarray, limit: float) -> None:
    """A signed matrix that is clear at zero, so that it fits any ground."""
    share = np.clip(np.abs(values) / limit, 0, 1)[..., None]
    colour = np.where(values[..., None] > 0, to_rgb(POSITIVE), to_rgb(NEGATIVE))
    ax.imshow(np.concatenate([colour, share], axis=2), aspect="auto", interpolation="nearest")


def _by(labels: np.ndarray) -> np.ndarray:
    return np.argsort(np.where(labels < 0, 99, labels), kind="stable")


def _strip(ax: Axes, labels: np.ndarray) -> None:
    """The same units in the same order under every panel, coloured by what the panel found."""
    order = _by(four().labels[WAYS[0]])
    for place, label in enumerate(labels[order]):
        ax.add_patch(Rectangle((place + 0.07, 0), 0.86, 1, color=hue(label), alpha=1 if label >= 0 else 0.25))
    ax.set(xlim=(0, len(order)), ylim=(0, 1))
    _bare(ax)


def _panel(draw: Callable[[Axes, np.ndarray], None], labels: np.ndarray) -> Figure:
    figure, (main, strip) = plt.subplots(2, 1, figsize=(3.3, 2.9), height_ratios=(11, 1))
    draw(main, labels)
    _strip(strip, labels)
    return figure


def _squares(ax: Axes, labels: np.ndarray, order: np.ndarray) -> None:
    start = 0
    for label in dict.fromkeys(labels[order].tolist()):
        size = int(np.sum(labels == label))
        if label >= 0:
            box = Rectangle((start - 0.5, start - 0.5), size, size, fill=False, edgecolor=hue(label), linewidth=2.4)
            ax.add_patch(box)
        start += size


def _together(ax: Axes, labels: np.ndarray) -> None:
    of = four()
    order, across = _by(labels), _by(of.samples)
    signed(ax, of.scores[order][:, across], float(np.percentile(np.abs(of.scores), 98)))
    wide = of.scores.shape[1]
    for row, label in enumerate(labels[order]):
        ax.add_patch(Rectangle((-0.05 * wide, row - 0.5), 0.035 * wide, 1, color=hue(label)))
    ax.set(xlim=(-0.055 * wide, wide), ylim=(len(order) - 0.5, -0.5), xlabel="images, sorted")
    ax.set_ylabel(f"{len(order)} units, sorted")
    _bare(ax)


def _alike(ax: Axes, labels: np.ndarray) -> None:
    order = _by(labels)
    off = four().alike * ~np.eye(len(order), dtype=bool)
    signed(ax, -off[np.ix_(order, order)], 1.0)
    _squares(ax, labels, order)
    ax.set(xlabel="the same units, sorted", ylabel="units, sorted", aspect="auto")
    _bare(ax)


def _places(sizes: Sequence[int], first: np.ndarray) -> list[np.ndarray]:
    """Heights of the units of every layer; those of the first hidden layer stand by module."""
    heights = [np.linspace(0, 1, size) if size > 1 else np.array([0.5]) for size in sizes]
    sorted_first = np.empty(sizes[1])
    sorted_first[_by(first)] = np.linspace(0, 1, sizes[1])
    heights[1] = sorted_first
    return heights


def wiring(ax: Axes, weights: Sequence[np.ndarray], labels: np.ndarray, *, faint: float = 1.0) -> None:
    """A network from left to right, edges as strong as their weights; the first hidden layer has its colours."""
    sizes = [weights[0].shape[1], *map(len, weights)]
    y = _places(sizes, labels)
    for layer, weight in enumerate(weights):
        size = np.abs(weight) / np.abs(weight).max()
        edges = np.argwhere(size > 0.3)
        lines = [[(layer, y[layer][below]), (layer + 1, y[layer + 1][above])] for above, below in edges]
        hidden = [labels[above if layer == 0 else below] for above, below in edges]
        hues = [
            (*to_rgb(hue(int(label)) if layer < 2 else GREY), faint * float(size[above, below]))
            for label, (above, below) in zip(hidden if layer < 2 else [-1] * len(edges), edges, strict=True)
        ]
        ax.add_collection(LineCollection(lines, colors=hues, linewidths=0.8))
    for layer, heights in enumerate(y):
        colors = [hue(int(label)) for label in labels] if layer == 1 else GREY
        ax.scatter([layer] * len(heights), heights, s=26 if layer == 1 else 7, c=colors, linewidths=0, zorder=3)
    names = ("images", "units", "units", "classes")
    ax.set(xlim=(-0.2, len(sizes) - 0.8), ylim=(1.04, -0.04))
    _bare(ax)
    for layer in range(len(sizes)):
        ax.text(layer, 1.06, names[layer], ha="center", va="top", fontsize=10)


def _left(ax: Axes, labels: np.ndarray) -> None:
    of = four()
    wiring(ax, [mask.astype(float) for mask in of.masks], labels, faint=0.7)


def _wired(ax: Axes, labels: np.ndarray) -> None:
    wiring(ax, four().weights, labels)


_FOUR: dict[str, tuple[Callable[[Axes, np.ndarray], None], str]] = {
    WAYS[0]: (_together, "Matrix of units by images, sorted so that red support gathers in blocks of one colour each"),
    WAYS[1]: (_alike, "Matrix of units by units in blue, sorted, with squares around groups that respond alike"),
    WAYS[2]: (_left, "A network of which few edges are left; units that lead to the same places share a colour"),
    WAYS[3]: (_wired, "A network with its strong edges; units that are wired together share a colour"),
}


def four_panels() -> dict[str, str]:
    """The picture of the front page: for every way of `WAYS` an SVG."""
    return {
        way: svg(partial(_panel, draw, four().labels[way]), f"four{place}", f"{alt}. Below: all units in one order.")
        for place, (way, (draw, alt)) in enumerate(_FOUR.items())
    }


# --- a picture for each chapter, from the record ----------------------------------------------------------------------

_CARD = (3.3, 1.75)


def blocks() -> Figure:
    """The neuron–sample matrix of the first chapter, sorted."""
    from studies.biclustering.claims import Setting

    picture = Setting(study.load("biclustering").results(), "mnist").values("pictures")[0]["reordered"]
    pixels = np.asarray(picture["pixels"], dtype=float)
    rows, columns = (np.linspace(0, n, m + 1).astype(int)[:-1] for n, m in zip(pixels.shape, (60, 120), strict=True))
    small = np.add.reduceat(np.add.reduceat(pixels, rows, 0), columns, 1)
    figure, ax = plt.subplots(figsize=_CARD)
    signed(ax, small, float(np.percentile(np.abs(small), 97)))
    ax.set(xlabel="images, by module", ylabel="units")
    _bare(ax)
    return figure


def sides() -> Figure:
    """Agreement of measures within the sides and across."""
    from studies.upstream_downstream.evidence import CROSS, WITHIN

    upstream = study.load("upstream_downstream")
    of = upstream.evidence(upstream.results(), "paper")["mnist"]()
    rows = {"upstream": WITHIN["upstream"], "downstream": WITHIN["downstream"], "across": CROSS}
    figure, ax = plt.subplots(figsize=_CARD)
    found = [mean_interval(of.agreement(pairs)) for pairs in rows.values()]
    plotting.interval_dots(ax, list(rows), found, colors=[HUES[1], HUES[0], GREY], size=8)
    ax.set(xlim=(0, 1), xlabel="agreement of two measures")
    return figure


def sculpted() -> Figure:
    """A sculpted network with its modules."""
    from studies.neural_sculpting import figures, published
    from studies.neural_sculpting.task_drawing import module_colors, sculpted_network

    (picture,) = [one for one in published.PICTURES if one.claim == 7]
    one = figures.pictured(study.load("neural_sculpting").results(), picture)
    assert one is not None, "the record has no network for this picture"
    colors = module_colors(tasks.load(one.task, outputs=one.outputs), one.labels)
    figure = plt.figure(figsize=(_CARD[0], 2.1), layout="none")
    sculpted_network(figure.add_axes((0, 0, 1, 1)), one.masks, one.labels, colors=colors)
    return figure


def shuffles() -> Figure:
    """Normalised cuts of networks beside those of their shuffles."""
    from studies.detecting_modularity.evidence import Evidence

    cuts = Evidence(study.load("detecting_modularity").results(), "mnist").cuts("plain", "trained")
    figure, ax = plt.subplots(figsize=_CARD)
    for row, cut in enumerate(cuts):
        null = np.asarray(cut.values["weights"]["null"], dtype=float)
        ax.plot(null, np.full(len(null), row), "|", color=GREY, markersize=9)
        ax.plot(cut.values["weights"]["ncut"], row, "o", color=HUES[0], markersize=8)
    ax.set(yticks=[], xlabel="normalised cut: networks (dots), shuffles", ylim=(len(cuts) - 0.4, -0.6))
    return figure


def nine() -> Figure:
    """Nine partitions of the same channels, a row each."""
    own = study.load("your_own_network")
    partitions = own.results().records("modules")[0].values["partitions"]
    figure, ax = plt.subplots(figsize=_CARD)
    labels = [np.asarray(one["labels"]) for one in partitions.values()]
    order = _by(labels[0])
    rows = [
        [(*to_rgb(hue(int(each))), 1 if each >= 0 else 0.25) for each in _matched(one, labels[0])[order]]
        for one in labels
    ]
    ax.imshow(np.array(rows), aspect="auto", interpolation="nearest")
    for row in range(1, len(rows)):
        ax.axhline(row - 0.5, color=PAPER, linewidth=2.5)
    ax.set(xlabel="channels", ylabel=f"{len(labels)} partitions")
    _bare(ax)
    return figure


def planted() -> Figure:
    """Agreement with known modules as they are joined more and more: a method a paper, and the simplest baseline."""
    bake_off = study.load("bake_off")
    of = bake_off.evidence(bake_off.results(), "paper")["mnist"]()
    names = {
        "input sensitivity": HUES[0],
        "loss Hessian": HUES[1],
        "co-clustering": HUES[2],
        "weights, hidden": HUES[3],
    }
    figure, ax = plt.subplots(figsize=_CARD)
    deltas = of.deltas("aligned")
    for name, color in (*names.items(), ("in-weight", INK)):
        means = [of.ari(name, "aligned", delta).mean() for delta in deltas]
        ax.plot(deltas, means, color=color, linewidth=2, linestyle="--" if color == INK else "-")
    ax.set(xlabel="weights kept between modules", ylabel="agreement", ylim=(-0.05, 1.05))
    return figure
