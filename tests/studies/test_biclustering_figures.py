"""The extension grid of the biclustering chapter draws from a made-up record, without warnings, what is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib.axes import Axes

from companion import records, reports
from companion.records import RecordError, Results
from companion.reports import DATASETS
from conftest import laid_out
from modutils.statistics import mean_interval
from studies.biclustering import cells, grid

SEEDS = 2


def made_up(number: int, params: dict[str, Any]) -> dict[str, Any]:
    draw = np.random.default_rng(number)
    found: dict[str, Any] = {
        name: float(draw.uniform(0, 1)) for name in ("positive", "mass_ratio", "nmi", "nmi_untrained")
    }
    found["area"] = {order: float(draw.uniform(0, 1)) for order in ("module", "greedy", "random")}
    if params["model"] == "cnn" and params["layer"] != "act3":
        found["space"] = {"neighbours:all": {"z": float(draw.uniform(0, 9))}}
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The grid at full size, of which two seeds are recorded."""
    folder, plan = tmp_path_factory.mktemp("record"), cells.plan("paper")
    for number, cell in enumerate(plan):
        if cell.stage == "extend" and cell.params["seed"] < SEEDS:
            records.write(cell, made_up(number, dict(cell.params)), {}, folder)
    return Results(plan, folder)


def dots(ax: Axes, activation: str, *, filled: bool) -> np.ndarray:
    """Places of the dots of an activation function on one data set, (layers, 2)."""
    look = *grid._LOOKS[activation], filled
    (line,) = [
        line
        for line in ax.lines
        if (line.get_color(), line.get_marker(), line.get_markerfacecolor() != "white") == look
    ]
    return np.asarray(line.get_xydata(), dtype=float)


def test_dots_are_means_over_seeds_by_layer_with_a_lane_for_each_data_set(results: Results) -> None:
    made = laid_out(lambda: grid.grid_of_modules(results))
    where = {"dataset": "fashion-mnist", "activation": "tanh", "model": "mlp", "layer": "act2"}
    values = [record.values for cell, record in results.recorded("extend", **where)]
    assert len(values) == SEEDS
    expected = np.mean([one["nmi"] - one["nmi_untrained"] for one in values])
    np.testing.assert_allclose(dots(made.axes[3], "tanh", filled=False)[4], [expected, 4.18])
    assert dots(made.axes[3], "tanh", filled=True)[4, 1] == 3.82
    assert [label.get_text() for label in made.axes[0].get_yticklabels()][4] == "MLP, hidden 2"
    words = made.texts[-1].get_text().replace("\n", " ")
    assert "filled: MNIST, hollow: Fashion-MNIST; means over 2 training seeds" in words


def test_layers_without_places_have_no_row_for_them(results: Results) -> None:
    made = laid_out(lambda: grid.grid_of_tests(results))
    names = [[label.get_text() for label in ax.get_yticklabels()] for ax in made.axes]
    assert names[2] == ["CNN, convolution 1", "CNN, convolution 2"]
    assert len(names[0]) == 6
    assert len(dots(made.axes[2], "relu", filled=True)) == 2


def test_the_effect_of_an_axis_has_its_interval_over_seeds(results: Results) -> None:
    (row,) = re.findall(r"<tr><td>share of entries above 0</td><td>data set</td>.*?</tr>", grid.effects(results))
    means = {
        dataset: [
            np.mean([record.values["positive"] for _, record in results.recorded("extend", dataset=dataset, seed=seed)])
            for seed in range(SEEDS)
        ]
        for dataset in ("mnist", "fashion-mnist")
    }
    low, high = sorted(means, key=lambda dataset: np.mean(means[dataset]))
    gap = mean_interval(np.subtract(means[high], means[low]))
    assert gap.n == SEEDS
    assert reports.typeset(f"{gap.mean:.3f} {gap.text('.3f')}") in row
    assert row.index(DATASETS[low]) < row.index(DATASETS[high])


def test_an_incomplete_grid_is_refused(results: Results, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no seed of the extension grid is complete"):
        grid.grid_of_modules(Results(results.cells, tmp_path))
