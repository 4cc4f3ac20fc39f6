"""A stranger's method on the networks of the bake-off, beside everybody who is recorded.

A method is a function ``method(model, layer, inputs, k)``. It gets a trained `torch.nn.Sequential`, the name of one of
its hidden layers (``act1`` or ``act2``), images (N, images, height, width) to describe units with, and the number of
groups that is planted in this layer. It returns one label for each unit of the layer: integers, −1 for a unit of no
group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from companion import records, sweeps
from companion.records import Cell, Results
from modutils import _check, data, planted
from studies.bake_off import cells, scores
from studies.bake_off.evidence import learned, of_network
from studies.bake_off.methods import LAYERS, NAMES, Net

Method = Callable[..., Any]


class Scored(NamedTuple):
    """What a method found in one network: ARI, share of units left out and number of modules by layer, and seconds."""

    ari: tuple[float, ...]
    unassigned: tuple[float, ...]
    modules: tuple[int, ...]
    seconds: float


class Row(NamedTuple):
    """A method on all networks of one kind.

    ``ari`` are means by layer, ``place`` the method's place by them among all, ``best`` the best of the others with its
    ARI, ``baseline`` that of in-weight; ``left_out`` counts networks that did not learn.
    """

    kind: tuple[str, str, int, float]
    networks: int
    left_out: int
    ari: tuple[float, ...]
    place: tuple[int, ...]
    best: tuple[tuple[str, float], ...]
    baseline: tuple[float, ...]
    unassigned: float
    odd: int
    seconds: float


def on_network(method: Method, net: Net, true: Sequence[np.ndarray]) -> Scored:
    """Score a method on one network. It gets copies, so that nothing it does to them lasts.

    Raises
    ------
    ValueError
        What the method returns is not one integer of −1 or more for each unit.
    """
    ari, unassigned, modules = [], [], []
    seconds = 0.0
    for layer, own, k in zip(LAYERS, true, net.ks, strict=True):
        model, inputs = planted.plain(net.model), net.inputs.clone()
        start = time.process_time()
        given = method(model, layer, inputs, k)
        seconds += time.process_time() - start
        name = getattr(method, "__name__", "method")
        labels = _check.labels(f"what {name} returns for {layer}", given, len(own))
        alive = scores.fires(net.model, layer, net.inputs)
        ari.append(scores.agreement(own, labels, alive))
        unassigned.append(scores.unassigned(labels, alive))
        modules.append(len(np.unique(labels[labels >= 0])))
    return Scored(tuple(ari), tuple(unassigned), tuple(modules), seconds)


def score(method: Method, scale: str, folder: Path, *, progress: bool = False) -> list[Row]:
    """Score a method on the networks of a scale, which are trained now or come from the cache.

    Others stand beside it as they are recorded in a folder; networks that are not recorded there, such as all of the
    quick scale, are contested now, in the cache.
    """
    plan = cells.plan(scale)
    if not all(records.is_recorded(cell, folder) for cell in plan):
        folder = data.cache_folder() / "recomputed"
        sweeps.run(plan, folder, progress=progress, unchecked="replace")
    results = Results(plan, folder)
    kinds: dict[tuple[str, str, int, float], list[tuple[Cell, Mapping[str, Any]]]] = {}
    for cell, record in results.recorded("contest"):
        of = cell.params
        kinds.setdefault((of["family"], of["dataset"], of["groups"], of["delta"]), []).append((cell, record.values))
    rows = []
    with tqdm(total=len(plan), unit="network", disable=not progress) as bar:
        for kind, contests in kinds.items():
            found = []
            for cell, values in contests:
                bar.update()
                if learned(values):
                    net, true, _ = cells.load(**cell.params)
                    found.append((on_network(method, net, true), values, net.ks))
            rows.append(_row(kind, found, len(contests) - len(found)))
    return rows


def _row(
    kind: tuple[str, str, int, float],
    found: Sequence[tuple[Scored, Mapping[str, Any], tuple[int, int]]],
    left_out: int,
) -> Row:
    if not found:
        nothing = (float("nan"),) * len(LAYERS)
        return Row(
            kind, 0, left_out, nothing, (0, 0), (("", float("nan")),) * len(LAYERS), nothing, float("nan"), 0, 0.0
        )
    ari = np.mean([one.ari for one, _, _ in found], axis=0)
    others = {
        name: np.array([np.mean([of_network(values, name, layer) for _, values, _ in found]) for layer in (0, 1)])
        for name in NAMES
    }
    best = [max(NAMES, key=lambda name, layer=layer: float(others[name][layer])) for layer in (0, 1)]  # type: ignore[misc]
    return Row(
        kind,
        len(found),
        left_out,
        tuple(ari.tolist()),
        tuple(1 + sum(bool(other[layer] > ari[layer]) for other in others.values()) for layer in (0, 1)),
        tuple((name, float(others[name][layer])) for layer, name in enumerate(best)),
        tuple(others["in-weight"].tolist()),
        float(np.mean([one.unassigned for one, _, _ in found])),
        sum(one.modules != ks for one, _, ks in found),
        float(np.mean([one.seconds for one, _, _ in found])),
    )


HEAD = ("networks", "δ", "n", "layer 1", "layer 2", "in-weight", "best in layer 1", "best in layer 2")


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Rows as texts under :data:`HEAD`: mean ARI, with the place among all in brackets."""
    return [
        (
            f"{row.kind[0]}, {row.kind[2]} × {row.kind[1]}",
            f"{row.kind[3]:g}",
            str(row.networks),
            *(f"{ari:.2f} ({place}.)" if row.networks else "–" for ari, place in zip(row.ari, row.place, strict=True)),
            " ".join(f"{value:.2f}" for value in row.baseline) if row.networks else "–",
            *(f"{name} {value:.2f}" if row.networks else "–" for name, value in row.best),
        )
        for row in rows
    ]


def report(method: Method, scale: str, folder: Path, *, progress: bool = False) -> str:
    """The table as text, with what else is worth knowing."""
    rows = score(method, scale, folder, progress=progress)
    lines = [HEAD, *table(rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    counted = [row for row in rows if row.networks]
    networks = sum(row.networks for row in counted)
    text += [
        "",
        f"ARI to the planted groups over units that fire, and the place among {len(NAMES) + 1}. "
        f"{networks} networks; {sum(row.left_out for row in rows)} did not learn and are left out.",
    ]
    if networks:
        weights = [row.networks for row in counted]
        unassigned = np.average([row.unassigned for row in counted], weights=weights)
        seconds = np.average([row.seconds for row in counted], weights=weights)
        text.append(
            f"{100 * unassigned:.0f} % of the units that fire got no group; {sum(row.odd for row in counted)} networks "
            f"got another number of groups than was asked for; {seconds:.2f} s of processor time a network."
        )
    return "\n".join(text)
