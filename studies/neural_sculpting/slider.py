"""A network that one prunes by hand: the masks of one run from dense to sparse, in plain HTML, SVG and script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from modutils import hierarchy
from modutils.plotting import GREY

_WIDE, _HIGH, _MARGIN = 640, 380, 34
# Every element says in `data-until` after which step it is gone. Without script the last step is shown, and the rest
# faintly, since only the script marks what is gone, and only it shows the slider.
_SCRIPT = """
(function () {
  const box = document.currentScript.closest(".pruning-slider");
  const input = box.querySelector("input");
  const said = box.querySelector("output");
  const words = JSON.parse(box.dataset.words);
  function show() {
    const step = Number(input.value);
    for (const part of box.querySelectorAll("[data-until]")) {
      const opacity = Number(part.dataset.until) >= step ? part.dataset.strong : part.dataset.gone;
      part.style.opacity = opacity;
      part.style.visibility = opacity === "0" ? "hidden" : "visible";
    }
    said.textContent = words[step];
    input.setAttribute("aria-valuetext", words[step]);
  }
  input.addEventListener("input", show);
  box.querySelector("label").hidden = false;
  input.value = 0;
  show();
})();
"""


def pruning_slider(
    history: Sequence[Sequence[ArrayLike]], labels: Sequence[ArrayLike], colors: Mapping[int, str]
) -> str:
    """A network after every accepted step of pruning, with a slider, as HTML that needs nothing else.

    Parameters
    ----------
    history : list of lists of arrays of 0/1 or bool, shape (out, in)
        Masks of the dense network and after every accepted step, as in ``Sculpted.history``: what is gone stays gone.
    labels : list of arrays of int, shape (units,)
        Module of every unit of the last network; -1 = pruned away.
    colors : mapping of int to str
        Of the modules.

    Returns
    -------
    str
        Without script it is a still picture of the last network, with what was pruned shown faintly. The slider has the
        keyboard of the browser: arrows, Home and End.

    Raises
    ------
    ValueError
        A history of less than two steps, or one in which an edge comes back.
    """
    steps = [[np.asarray(mask) != 0 for mask in masks] for masks in history]
    if len(steps) < 2:
        raise ValueError(f"history has {len(steps)} steps; 2 or more are needed")
    layers = range(len(steps[0]))
    stacked = [np.stack([masks[layer] for masks in steps]) for layer in layers]
    if any((after & ~before).any() for one in stacked for before, after in pairwise(one)):
        raise ValueError("history has an edge that comes back; needed is a run in which what is gone stays gone")
    until = [one.sum(axis=0) - 1 for one in stacked]  # last step in which an edge is there; -1 = never
    alive = [hierarchy.condense(masks) for masks in steps]
    units_until = [np.sum([one[layer] for one in alive], axis=0) - 1 for layer in range(len(alive[0]))]
    last = len(steps) - 1

    x = np.linspace(_MARGIN, _WIDE - _MARGIN, len(units_until))
    y = [_heights(np.asarray(own)) for own in labels]

    def hue(layer: int, unit: int) -> str:
        found = colors.get(int(np.asarray(labels[layer])[unit]), GREY)
        return "currentColor" if found == "#000000" else found

    parts = []
    for layer in layers:
        for above, below in sorted(np.argwhere(until[layer] >= 0).tolist(), key=lambda edge: until[layer][*edge]):
            gone = until[layer][above, below]
            color = hue(layer, below)
            strong = 0.9 if gone == last else 0.35
            parts.append(
                f'<line x1="{x[layer]:.0f}" y1="{y[layer][below]:.1f}" x2="{x[layer + 1]:.0f}" '
                f'y2="{y[layer + 1][above]:.1f}" stroke="{color}" stroke-width="1.3" data-until="{gone}" '
                f'data-strong="{strong}" data-gone="0" style="opacity:{0.9 if gone == last else 0.04}"/>'
            )
    for layer, own in enumerate(units_until):
        for unit, gone in enumerate(own.tolist()):
            color = hue(layer, unit)
            parts.append(
                f'<circle cx="{x[layer]:.0f}" cy="{y[layer][unit]:.1f}" r="5" fill="{color}" data-until="{gone}" '
                f'data-strong="1" data-gone="0.15" style="opacity:{1 if gone == last else 0.15}"/>'
            )
    words = [
        f"step {step} of {last}: {sum(int(mask.sum()) for mask in masks)} edges, "
        f"{sum(int(own.sum()) for own in one[1:-1])} hidden units"
        for step, (masks, one) in enumerate(zip(steps, alive, strict=True))
    ]
    listed = ", ".join(f"&quot;{one}&quot;" for one in words)
    alt = f"The network after pruning: {words[-1]}; units of a module have one colour"
    return (
        f'<div class="pruning-slider" data-words="[{listed}]" style="max-width: 46rem">'
        f'<svg role="img" aria-label="{alt}" viewBox="0 0 {_WIDE} {_HIGH}" style="width: 100%; height: auto">'
        f"{''.join(parts)}</svg>"
        f'<label hidden>Pruning <input type="range" min="0" max="{last}" value="{last}" '
        'style="width: min(24rem, 55vw); vertical-align: middle"></label> '
        f"<output>{words[-1]}</output><script>{_SCRIPT}</script></div>"
    )


def _heights(labels: np.ndarray) -> np.ndarray:
    """Where the units of a layer stand: those that are left by module and evenly, the others in the places between."""
    count, left = len(labels), np.flatnonzero(labels >= 0)
    pitch = min(60.0, (_HIGH - 28) / max(count - 1, 1))
    places = _HIGH / 2 + (np.arange(count) - (count - 1) / 2) * pitch
    slots = ((np.arange(len(left)) + 0.5) * count / max(len(left), 1)).astype(int)
    heights = np.empty(count)
    heights[left[np.argsort(labels[left], kind="stable")]] = places[slots]
    heights[np.flatnonzero(labels < 0)] = np.delete(places, slots)
    return heights
