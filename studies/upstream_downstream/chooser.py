"""Two partitions of one layer side by side, of measures that the reader chooses: plain HTML, SVG and script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modutils import agreement
from modutils.plotting import COLORS, GREY

_WIDE, _HIGH, _MARGIN, _LEFT, _RIGHT = 640, 420, 12, 170, 470
_GAP = 2.5  # between modules, in units
#: Of the modules by size; the last is that of unused units.
_PALETTE = [*("currentColor" if color == "#000000" else color for color in COLORS), GREY]
# Positions are computed in Python; the script only moves the lines. Without it the first choice is a still picture.
_SCRIPT = """
(function () {
  const box = document.currentScript.closest(".partition-chooser");
  const data = JSON.parse(box.dataset.layouts);
  const palette = box.dataset.palette.split(" ");
  const [network, left, right] = box.querySelectorAll("select");
  const said = box.querySelector("output");
  const picture = box.querySelector("svg");
  const lines = [...picture.querySelectorAll("line")];
  const dots = [...picture.querySelectorAll("circle")];
  const heads = picture.querySelectorAll("text");
  function show() {
    const [a, b] = [left.selectedIndex, right.selectedIndex];
    const of = data[network.selectedIndex];
    const [from, to] = [of.left[a], of.right[a][b]];
    const hues = of.colors[a].map((place) => palette[place]);
    lines.forEach((line, unit) => {
      line.setAttribute("y1", from[unit]);
      line.setAttribute("y2", to[unit]);
      line.setAttribute("stroke", hues[unit]);
      [from, to].forEach((places, side) => {
        dots[2 * unit + side].setAttribute("cy", places[unit]);
        dots[2 * unit + side].setAttribute("fill", hues[unit]);
      });
    });
    heads[0].textContent = left.value;
    heads[1].textContent = right.value;
    said.textContent = of.words[a][b];
    picture.setAttribute("aria-label", left.value + " and " + right.value + ": " + of.words[a][b]);
  }
  [network, left, right].forEach((choice) => choice.addEventListener("change", show));
  box.querySelector("p").hidden = false;
  show();
})();
"""


def partition_chooser(
    partitions: Mapping[str, ArrayLike], measures: Sequence[str], *, first: tuple[str, str, str]
) -> str:
    """The modules of a layer by two measures, which the reader chooses, as HTML that needs nothing else.

    Every unit is a line, from its place among the modules on the left to that among the modules on the right.

    Parameters
    ----------
    partitions : mapping of str to array of int, shape (measures, units)
        For each network by name the module of every unit by every measure; -1 = unused.
    measures : sequence of str
        What the measures are called.
    first : tuple of str
        Network and the two measures that are shown at first, and without script.

    Raises
    ------
    ValueError
        A network or measure to show at first that there is not, or partitions of another number of measures.
    """
    labels = {name: np.asarray(found) for name, found in partitions.items()}
    for name, found in labels.items():
        if found.ndim != 2 or len(found) != len(measures):
            raise ValueError(f"partitions[{name!r}] has shape {found.shape}; needed is ({len(measures)}, units)")
    for choice, known in zip(first, (list(labels), measures, measures), strict=True):
        if choice not in known:
            raise ValueError(f"first has {choice!r}; choose one of {', '.join(known)}")
    layouts = [_layout(found) for found in labels.values()]
    shown = list(labels).index(first[0])
    a, b = measures.index(first[1]), measures.index(first[2])
    here = layouts[shown]
    parts = []
    for start, end, color in zip(here["left"][a], here["right"][a][b], here["colors"][a], strict=True):
        hue = _PALETTE[color]
        parts += [
            f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{start}" y2="{end}" stroke="{hue}" opacity=".75"/>',
            f'<circle cx="{_LEFT}" cy="{start}" r="3" fill="{hue}"/>',
            f'<circle cx="{_RIGHT}" cy="{end}" r="3" fill="{hue}"/>',
        ]
    words = here["words"][a][b]
    middle = _HIGH // 2
    heads = (
        f'<text x="{_LEFT - 14}" y="{middle}" text-anchor="end">{escape(first[1])}</text>'
        f'<text x="{_RIGHT + 14}" y="{middle}">{escape(first[2])}</text>'
    )
    named = {"Network": list(labels), "Left": list(measures), "Right": list(measures)}
    choices = " ".join(
        f"<label>{name} <select>{_options(known, chosen)}</select></label>"
        for (name, known), chosen in zip(named.items(), first, strict=True)
    )
    data = escape(json.dumps(layouts, separators=(",", ":"), ensure_ascii=False))
    return (
        f'<div class="partition-chooser" data-layouts="{data}" data-palette="{" ".join(_PALETTE)}" '
        'style="max-width: 46rem">'
        f"<p hidden>{choices}</p>"
        f'<svg role="img" aria-label="{escape(f"{first[1]} and {first[2]}: {words}")}" viewBox="0 0 {_WIDE} {_HIGH}" '
        f'style="width: 100%; height: auto" font-size="16" fill="currentColor" stroke-width="1.5">'
        f"{''.join(parts)}{heads}</svg>"
        f"<output>{words}</output><script>{_SCRIPT}</script></div>"
    )


def _options(known: Sequence[str], chosen: str) -> str:
    return "".join(f"<option{' selected' if name == chosen else ''}>{escape(name)}</option>" for name in known)


def _layout(labels: np.ndarray) -> dict[str, Any]:
    """Where the units of one network are, by the measure on the left and that on the right, and what to say of both."""
    similarity, chance = agreement.element_similarities(labels), agreement.chance_similarities(labels)
    measures = range(len(labels))
    left = [_places(own, np.arange(labels.shape[1])) for own in labels]
    colors = [np.where(own < 0, len(_PALETTE) - 1, own % (len(_PALETTE) - 1)) for own in map(_by_size, labels)]
    return {
        "left": [place.tolist() for place in left],
        "right": [[_places(labels[b], left[a]).tolist() for b in measures] for a in measures],
        "colors": [own.tolist() for own in colors],
        "words": [
            [f"similarity {similarity[a, b]:.2f}, by chance {chance[a, b]:.2f}" for b in measures] for a in measures
        ],
    }


def _by_size(labels: np.ndarray) -> np.ndarray:
    """The labels numbered from the largest module on; -1 stays."""
    used, counts = np.unique(labels[labels >= 0], return_counts=True)
    numbers = {label: rank for rank, label in enumerate(used[np.argsort(-counts, kind="stable")].tolist())}
    return np.array([numbers.get(label, -1) for label in labels.tolist()])


def _places(labels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Heights of the units: by module, those first that are highest in ``near``, with gaps; unused units last."""
    modules = sorted(np.unique(labels).tolist(), key=lambda label: (label < 0, near[labels == label].mean()))
    places = np.empty(len(labels))
    at = 0.0
    for label in modules:
        own = np.flatnonzero(labels == label)
        places[own[np.argsort(near[own], kind="stable")]] = at + np.arange(len(own))
        at += len(own) + _GAP
    return np.round(_MARGIN + places * (_HIGH - 2 * _MARGIN) / max(at - _GAP - 1, 1)).astype(int)
