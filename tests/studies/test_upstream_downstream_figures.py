"""Every figure of the upstream/downstream chapter draws from a made-up record, without warnings, what is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from companion import records
from companion.records import RecordError, Results
from conftest import laid_out
from studies.upstream_downstream import beyond, cells, drawing, figures, length
from studies.upstream_downstream.evidence import Evidence
from studies.upstream_downstream.runs import Runs

UNITS = 6
OF_RUNS = (
    figures.q_curves,
    figures.agreement_maps,
    figures.training_outcome,
    figures.q_by_layer,
    figures.effective_numbers,
    figures.agreement_by_strength,
    beyond.definitions,
    beyond.chance_and_ceiling,
    beyond.unused_units,
    beyond.other_scores,
    beyond.transfer,
)
WITHOUT_UNTRAINED = (
    figures.q_curves,
    figures.training_outcome,
    figures.q_by_layer,
    figures.effective_numbers,
    beyond.unused_units,
    beyond.other_scores,
)
STAGES = {
    figures.sorted_matrices: "examples",
    figures.search_gains: "search",
    beyond.subset_sizes: "subsample",
}


def made_up(lead: tuple[int, ...], layers: int, seed: int) -> dict[str, np.ndarray]:
    """What the stages record of networks, with numbers drawn at random."""
    draw = np.random.default_rng(seed)
    shapes = {
        **dict.fromkeys(("q", "effective_number", "self_similarity"), (8,)),
        **dict.fromkeys(("similarity", "chance", "similarity_used", "chance_used", "transfer"), (8, 8)),
        "rank_correlation": (8, 8),
        "other_scores": (28, 5),
        "variant_q": (16,),
    }
    found: dict[str, np.ndarray] = {
        name: draw.uniform(0.1, 0.9, (*lead, layers, *shape)) for name, shape in shapes.items()
    }
    found["unused"] = draw.integers(0, UNITS, (*lead, layers, 8))
    for name in ("train_accuracy", "sum_squares", "sum_absolute", "sparsity", "nuclear_norm"):
        found[name] = draw.uniform(0.1, 1, lead)
    found["test_accuracy"] = np.full(lead, 0.95)
    return found


def runs_of(dataset: str = "mnist", *, grid: str = "quick", hidden: str = "64-64", runs: int = 3) -> Runs:
    """Runs in which the strongest L2 is below the bar in all runs, and the strongest L1 in the first."""
    settings = cells.settings(grid)
    layers = len(hidden.split("-"))
    values = made_up((runs, len(settings)), layers, 0)
    values |= {name: np.full((runs, len(settings)), count) for name, count in (("epochs", 60), ("best_epochs", 50))}
    values["diverged"] = np.zeros((runs, len(settings)), dtype=bool)
    strongest = {kind: max(i for i, s in enumerate(settings) if s.kind == kind) for kind in {s.kind for s in settings}}
    values["test_accuracy"][:, strongest["l2"]] = 0.1
    if "l1" in strongest:
        values["test_accuracy"][0, strongest["l1"]] = 0.1
    params = {"hidden": hidden, "grid": grid, "regime": "fixed", "epochs": 60}
    return Runs(dataset, params, settings, list(range(runs)), 9, values, made_up((5,), layers, 1))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A record of the stages that figures read themselves, on digits, one run each."""
    draw = np.random.default_rng(0)
    labels = np.array([1, 0, 1, 0, 1, -1], dtype=np.int8)
    matrix = draw.uniform(0, 1, (UNITS, UNITS))
    example = {"matrix": matrix + matrix.T, "labels": labels, "q": 0.1234}
    single, four = draw.uniform(0.1, 0.3, 12), draw.uniform(0.1, 0.3, (4, 12))
    values: dict[str, dict[str, Any]] = {
        "examples": dict.fromkeys(("0.1", "0.3", "0.5", "0.7"), example),
        "search": {"spectral": single, **dict.fromkeys(
            ("spectral_1000", "single_1000", "spectral_5000", "single_5000", "ours"), four)},
        "subsample": {str(count): {"q": draw.uniform(0, 1, (4, 16)), "same_modules": draw.uniform(0, 1, (4, 16))}
                      for count in (500, 250, 25)},
    }  # fmt: skip
    plan = cells.plan("quick")
    for cell in plan:
        if cell.stage in values and cell.params["dataset"] == "digits":
            records.write(cell, values[cell.stage], {}, tmp_path)
    return Results(plan, tmp_path)


def params_of(stage: str) -> dict[str, Any]:
    cell = next(cell for cell in cells.plan("quick") if cell.stage == stage)
    return {name: value for name, value in cell.params.items() if name not in ("dataset", "seed")}


def small_print(made: Figure) -> str:
    return str(made.texts[-1].get_text()).replace("\n", " ")


def points(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xydata(), dtype=float)


@pytest.mark.parametrize("draw", [figures.idea, figures.measures_overview], ids=lambda draw: draw.__name__)
def test_the_schematic_figures_need_no_record(draw: Callable[[], Figure]) -> None:
    laid_out(draw)


@pytest.mark.parametrize("draw", OF_RUNS, ids=lambda draw: draw.__name__)
def test_figures_of_runs_draw_and_say_how_many_networks_count(draw: Callable[[Runs], Figure]) -> None:
    made = laid_out(lambda: draw(runs_of()))
    settings = len(cells.settings("quick"))
    words = small_print(made)
    assert "MNIST, 10\u2009000 test images" in words
    assert f"3 of 9 runs of {settings} networks, {3 * settings - 4} of {3 * settings} reach" in words


def test_one_run_on_other_data_without_untrained_networks_is_enough_for_curves() -> None:
    made = laid_out(lambda: figures.q_curves(replace(runs_of("digits", grid="final code", runs=1), fresh={})))
    assert "published" not in "".join(text.get_text() for legend in made.legends for text in legend.get_texts())


@pytest.mark.parametrize(
    "draw", [draw for draw in OF_RUNS if draw not in WITHOUT_UNTRAINED], ids=lambda draw: draw.__name__
)
def test_a_difference_to_untrained_networks_is_refused_without_them(draw: Callable[[Runs], Figure]) -> None:
    with pytest.raises(ValueError, match=r"no untrained networks in the record.*'untrained'"):
        draw(replace(runs_of(), fresh={}))


@pytest.mark.parametrize(("draw", "stage"), STAGES.items(), ids=[draw.__name__ for draw in STAGES])
def test_figures_of_a_stage_draw_from_its_record_and_refuse_without(
    draw: Callable[[Results, str, Any], Figure], stage: str, results: Results, tmp_path: Path
) -> None:
    laid_out(lambda: draw(results, "digits", params_of(stage)))
    with pytest.raises(RecordError, match=f"stage '{stage}'"):
        draw(Results(results.cells, tmp_path / "empty"), "digits", params_of(stage))


def along(dataset: str = "mnist", epochs: tuple[int, ...] = (0, 60, 120, 250, 500), runs: int = 3) -> dict[int, Runs]:
    """Followed runs at several numbers of epochs, with numbers of their own each."""
    found = {}
    for place, count in enumerate(epochs):
        one = runs_of(dataset, grid="followed", runs=runs)
        values = {**one.values, "q": one["q"] + place, "test_accuracy": np.full(one["test_accuracy"].shape, 0.9)}
        found[count] = replace(one, values=values, params={**one.params, "epochs": count})
    return found


def test_figures_along_training_draw_the_runs_at_every_length() -> None:
    for draw in (length.along_training, length.strong_penalties):
        made = laid_out(lambda draw=draw: draw(along()))  # type: ignore[misc]
        words = small_print(made)
        assert "constant rate to 500 epochs; 3 of 9 runs; bars: ± s.e.m." in words
        assert "published after 500 epochs" in words
        assert "published" not in small_print(laid_out(lambda draw=draw: draw(along("digits"))))  # type: ignore[misc]
        with pytest.raises(RecordError, match="no run whose training is followed"):
            draw({})
    ax = length.along_training(along()).axes[1]  # input sensitivity
    line = next(
        c.lines[0] for c in ax.containers if isinstance(c, ErrorbarContainer) and c.lines[0].get_color() == "black"
    )
    place = [setting.dropout for setting in cells.settings("followed")].index(0.7)
    q = [runs["q"][:, place, :, cells.MEASURES.index(("input_sensitivity", "raw"))].mean() for runs in along().values()]
    np.testing.assert_allclose(points(line), np.transpose([[0.5, 60, 120, 250, 500], q]))


def test_the_verdict_of_each_rule_stands_above_each_length() -> None:
    found = {epochs: Evidence(Results([], Path()), runs) for epochs, runs in along().items() if epochs}
    made = laid_out(lambda: length.verdicts_by_length(found))
    said = [length.verdicts(of) for of in found.values()]
    for ax, name in zip(made.axes, ("U2", "U8", "U22", "U23"), strict=True):
        assert [text.get_text() for text in ax.texts] == [length.SIGNS[one[name]] for one in said]
        assert [text.xy[0] for text in ax.texts] == list(range(len(said)))  # type: ignore[attr-defined]
    with pytest.raises(RecordError, match="no run whose training is followed"):
        length.verdicts_by_length({})


def test_figures_that_compare_regimes_data_and_shapes() -> None:
    early = replace(runs_of(runs=1), params={**runs_of().params, "regime": "early stopping", "epochs": 500})
    assert "early stopping: 1 of 9 runs" in small_print(laid_out(lambda: beyond.regimes(runs_of(), early)))
    fashion = runs_of("fashion-mnist", runs=2)
    assert "Fashion-MNIST: 2 of 9 runs" in small_print(laid_out(lambda: beyond.data_sets(runs_of(), fashion)))
    deep = runs_of(grid="final code", hidden="64-64-64-64-64", runs=2)
    made = laid_out(lambda: beyond.shapes({"two layers": runs_of(), "deep": deep}))
    assert "deep: hidden layers 64–64–64–64–64, 60 epochs, 2 of 9 runs" in small_print(made)
    assert [label.get_text() for label in made.axes[0].get_yticklabels()] == [
        *(f"two layers: layer {layer}" for layer in (1, 2)),
        *(f"deep: layer {layer}" for layer in range(1, 6)),
    ]
    # The strongest dropout, and the last L2 but one, since the strongest is below the bar.
    q = runs_of().of("q")[..., cells.MEASURES.index(("input_sensitivity", "raw"))]
    for marker, kind, place in (("*", "dropout", -1), ("s", "l2", -2)):
        found = [points(line)[0, 0] for line in made.axes[1].lines if line.get_marker() == marker]
        np.testing.assert_allclose(found[:2], q[:, runs_of().places(kind)[place]].mean(0))
    with pytest.raises(ValueError, match="runs_by_name is empty"):
        beyond.shapes({})


def test_agreement_by_strength_has_a_curve_for_each_kind_of_pairs_and_tables_at_the_strongest() -> None:
    runs = runs_of(grid="all")
    runs.values["similarity"][:] = np.outer(np.arange(8), np.arange(8)) / 100  # of measures i and j: i j / 100
    runs.fresh["similarity"][:] = 0.02
    made = laid_out(lambda: figures.agreement_by_strength(runs))
    levels = {"upstream": 0.2925, "one form": 0.015, "raw with": 0.03, "raw down": 0.055, "normalised down": 0.11}
    curves = [container.lines[0] for container in made.axes[0].containers if isinstance(container, ErrorbarContainer)]
    assert len(curves) == len(levels)
    for line, level in zip(curves, levels.values(), strict=True):
        np.testing.assert_allclose(points(line)[:, 1], level)
    tables = [ax for ax in made.axes if ax.images]
    assert len(tables) == 6
    assert [label.get_text() for label in tables[0].get_yticklabels()] == list(drawing.SHORT)
    similarity, difference = (np.asarray(tables[place].images[0].get_array(), dtype=float) for place in (0, 3))
    assert similarity[3, 7] == pytest.approx(0.21)
    assert difference[3, 7] == pytest.approx(0.19)
    assert np.isnan(np.diag(difference)).all()
    assert tables[0].get_title(loc="left").endswith(", n = 3")


def test_curves_show_means_over_kept_networks_and_mark_where_some_are_missing() -> None:
    runs = runs_of()
    ax = figures.q_curves(runs).axes[0]
    values = runs.of("q").mean(2)[:, :, cells.MEASURES.index(("covariance", "raw"))]
    lines = {
        container.lines[0].get_color(): container.lines[0]
        for container in ax.containers
        if isinstance(container, ErrorbarContainer)
    }
    for kind in ("l2", "l1", "dropout"):
        own = values[:, runs.places(kind)]
        drawn = np.isfinite(own).any(0)
        expected = [np.nanmean(column) for column in own[:, drawn].T]
        line = lines[drawing.KIND_COLORS[kind]]
        np.testing.assert_allclose(points(line), np.transpose([runs.axis(kind)[drawn], expected]))
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white" and len(points(line))]
    assert [line.get_color() for line in hollow] == [drawing.KIND_COLORS["l1"]]
    np.testing.assert_allclose(points(hollow[0])[:, 0], [1])


def test_published_levels_stand_where_the_common_axis_has_their_strength() -> None:
    found = _grey_marks(figures.q_curves(runs_of(grid="all")).axes[1])
    assert found == {(0.05, 0.15), (0.7, 0.4), (0, 0.1), (0.875, 0.155), (0, 0.115), (0.667, 0.17), (0.833, 0.145)}
    assert not _grey_marks(figures.q_curves(runs_of("digits")).axes[1])


def _grey_marks(ax: Axes) -> set[tuple[float, float]]:
    marks = [points(line)[0] for line in ax.lines if line.get_markeredgecolor() == drawing.GREY]
    return {(round(float(x), 3), float(y)) for x, y in marks}


def test_blocks_average_pairs_within_and_across_the_sides_without_the_diagonal() -> None:
    values = np.full((8, 8), 0.2)
    values[:4, :4], values[4:, 4:] = 0.5, 0.7
    np.fill_diagonal(values, 1)
    found = drawing.block_means(values)
    assert {name: round(float(value), 9) for name, value in found.items()} == {
        "within downstream": 0.5,
        "within upstream": 0.7,
        "across the sides": 0.2,
    }


def test_units_are_sorted_by_module_with_unused_ones_last() -> None:
    labels = np.array([2, -1, 0, 2, 0, 2])
    matrix = np.zeros((6, 6))
    matrix[0, 3] = matrix[3, 0] = 1
    matrix[3, 5] = matrix[5, 3] = 2
    order, edges = figures._by_module(matrix, labels)
    assert order.tolist() == [3, 5, 0, 2, 4, 1]
    assert edges == [0, 3, 5]


def test_definitions_pair_every_row_with_its_own_numbers() -> None:
    q, other = np.arange(8.0), 100 + np.arange(16.0)
    at = {where: beyond._defined(q, other, [-1.0] * 8, "covariance", *where) for where in beyond._DEFINITIONS.values()}
    raw, normalised = (cells.MEASURES.index(("covariance", form)) for form in ("raw", "normalised"))
    assert at["outside", "raw"] == raw
    assert at["outside", "sqrt"] == normalised
    for place, norm in (("inside", "raw"), ("inside", "max"), ("inside", "sqrt"), ("outside", "max")):
        assert at[place, norm] == 100 + cells.VARIANTS.index(("covariance", place, norm))
    assert at["published", "raw"] == at["published", "normalised"] == -1
