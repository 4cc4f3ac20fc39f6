"""The pictures of the primer: what the papers build on, each on a handful of units that one can count."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from drawings import GREY, HUES, INK, NEGATIVE, POSITIVE, signed, svg
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from modutils import modularity, spectral
from modutils.plotting import WIDTH

_STEPS = (
    "a trained\nnetwork",
    "describe\nevery unit",
    "group units\ninto modules",
    "test the\nmodules",
    "a verdict\nper claim",
)


def skeleton() -> Figure:
    """The path that all four papers follow."""
    figure, ax = plt.subplots(figsize=(WIDTH, 1.15))
    for place, words in enumerate(_STEPS):
        edge = HUES[place % len(HUES)]
        box = FancyBboxPatch((place * 1.3, 0), 1, 0.8, boxstyle="round,pad=0.04", fc="none", ec=edge, linewidth=2)
        ax.add_patch(box)
        ax.text(place * 1.3 + 0.5, 0.4, words, ha="center", va="center", fontsize=11)
        if place:
            ends = (place * 1.3 - 0.24, 0.4), (place * 1.3 - 0.05, 0.4)
            ax.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=11, color=INK))
    ax.set(xlim=(-0.1, 6.3), ylim=(-0.12, 0.92))
    ax.set_axis_off()
    return figure


def _graph() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nine units in two groups, wired closely inside, loosely between, and one that hangs by a thread."""
    rng = np.random.default_rng(3)
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
    same = labels[:, None] == labels
    weights = np.triu(np.where(same, rng.uniform(0.6, 1.0, same.shape), 0.0), 1)
    weights[0, 6], weights[3, 8] = 0.35, 0.3
    weights[:, 4] = weights[4] = 0
    weights[1, 4] = 0.3
    weights = weights + weights.T
    angle = np.linspace(0, 2 * np.pi, 5)[:4] + 0.4
    left = np.c_[-1.1 + 0.62 * np.cos(angle), 0.62 * np.sin(angle)]
    right = np.c_[1.1 + 0.62 * np.cos(angle + 0.5), 0.62 * np.sin(angle + 0.5)]
    places = np.vstack([left, [[-2.35, 0.75]], right])
    return weights, places, labels


def _draw(ax: Axes, weights: np.ndarray, places: np.ndarray, labels: np.ndarray) -> None:
    pairs = np.argwhere(np.triu(weights) > 0)
    cut = [bool(labels[a] != labels[b]) for a, b in pairs]
    ax.add_collection(
        LineCollection(
            [places[pair] for pair in pairs],
            colors=[POSITIVE if one else GREY for one in cut],
            linestyles=["--" if one else "-" for one in cut],
            linewidths=[3.2 * weights[a, b] for a, b in pairs],
        )
    )
    ax.scatter(places[:, 0], places[:, 1], s=130, c=[HUES[label] for label in labels], zorder=3, linewidths=0)
    ax.set(xlim=(-2.6, 1.95), ylim=(-0.95, 1.0), aspect="equal")
    ax.set_axis_off()


def ncut() -> Figure:
    """Two divisions of one graph, each with what it cuts and its normalised cut."""
    weights, places, good = _graph()
    bad = np.zeros(len(good), dtype=int)
    bad[4] = 1
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 1.75))
    for ax, labels in zip(axes, (bad, good), strict=True):
        _draw(ax, weights, places, labels)
        cut = weights[labels == 0][:, labels == 1].sum()
        ax.set_title(f"cut {cut:.2f}, n-cut {spectral.ncut(weights, labels):.2f}")
    return figure


def newman() -> Figure:
    """Edges, what degrees alone make expect, and the difference, of which Q sums the squares on the diagonal."""
    weights, _, labels = _graph()
    degree = weights.sum(0)
    expected = np.outer(degree, degree) / degree.sum()
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.35))
    q = modularity.modularity(weights, labels)
    titles = ("edges A", "expected by degree", f"difference: Q = {q:.2f}")
    for ax, matrix, title in zip(axes, (weights, expected, weights - expected), titles, strict=True):
        signed(ax, matrix, 1.0)
        ax.set(xticks=[], yticks=[], aspect="equal")
        ax.set_title(title, fontsize=10.5)
        ax.spines[:].set_visible(True)
        for label in (0, 1):
            own = np.flatnonzero(labels == label)
            corner = (own[0] - 0.5, own[0] - 0.5)
            ax.add_patch(Rectangle(corner, len(own), len(own), fill=False, edgecolor=HUES[label], linewidth=2.2))
    return figure


def deeplift() -> Figure:
    """A unit that saturates: its slope at the input, and the slope between baseline and input."""
    figure, ax = plt.subplots(figsize=(WIDTH * 0.75, 2.5))
    z = np.linspace(-0.4, 3.4, 200)
    base, here = 0.0, 2.6
    ax.plot(z, np.tanh(z), color=INK, linewidth=1.6)
    slope = 1 - np.tanh(here) ** 2
    ax.plot([here - 0.8, here + 0.8], np.tanh(here) + slope * np.array([-0.8, 0.8]), color=POSITIVE, linewidth=2.4)
    ax.plot([base, here], np.tanh([base, here]), color=HUES[0], linewidth=2.4)
    ax.plot([base, here], np.tanh([base, here]), "o", color=INK)
    ax.text(base + 0.08, -0.1, "baseline", va="top")
    ax.text(here, np.tanh(here) + 0.08, "input", ha="center", va="bottom")
    ax.text(1.75, 0.5, f"multiplier {np.tanh(here) / here:.2f}", color=HUES[0])
    ax.text(here + 0.1, 0.86, f"gradient {slope:.2f}", color=POSITIVE, va="top")
    ax.set(xlabel="what goes into the unit", ylabel="what comes out", ylim=(-0.35, 1.25), xlim=(-0.4, 3.6))
    return figure


def hessian() -> Figure:
    """How the loss changes with two units: independent ones, and ones that can stand in for each other."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.5), sharey=True)
    side = np.linspace(-1, 1, 80)
    first, second = np.meshgrid(side, side)
    for ax, mixed in zip(axes, (0.0, 0.8), strict=True):
        loss = first**2 + second**2 + 2 * mixed * first * second
        ax.contour(first, second, loss, levels=[0.05, 0.2, 0.5, 0.9, 1.4], colors=[NEGATIVE], linewidths=1.4)
        ax.plot(0, 0, "o", color=INK, markersize=5)
        words = "nothing shared" if mixed == 0 else "one stands in for the other"
        ax.set_title(words, fontsize=10.5)
        ax.set(xlabel="change of unit i", xticks=[], yticks=[], aspect="equal")
    axes[0].set_ylabel("change of unit j")
    return figure


PICTURES: Mapping[str, tuple[Callable[[], Figure], str]] = {
    "skeleton": (
        skeleton,
        "Five boxes with arrows: a trained network, describe every unit, group units into modules, test the modules, "
        "a verdict per claim",
    ),
    "newman": (
        newman,
        "Three small matrices: edges in two blocks, a smooth one expected by degree, and their difference, red inside "
        "the two squares on the diagonal and blue outside",
    ),
    "ncut": (
        ncut,
        "The same small graph divided twice: once one loose unit is cut off, once two close groups are parted",
    ),
    "deeplift": (
        deeplift,
        "A curve that flattens out; a tangent at the input that is nearly flat, and a steeper line from the baseline",
    ),
    "hessian": (hessian, "Two contour plots of the loss over two units: circles, and a long tilted valley"),
}


def picture(name: str) -> str:
    """One of `PICTURES` as SVG."""
    draw, alt = PICTURES[name]
    return svg(draw, f"primer-{name}", alt)
