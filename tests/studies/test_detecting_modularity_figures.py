"""Every figure of the chapter on detecting modularity draws from a made-up record what is in it, without warnings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from companion import records
from companion.records import Cell, RecordError, Results
from conftest import laid_out
from studies.detecting_modularity import cells, cluster_figures, cut_figures, drawing, figures, nets, proxies
from studies.detecting_modularity.evidence import GROUPS, UNTRAINED, Evidence

SEEDS = 2
SHUFFLES = 6
#: Of the first layer two sub-clusters, of the others one, one of them too small for the images.
LAYERS, SIZES = np.array([0, 0, 1, 2, 3], dtype=np.int16), np.array([2, 40, 30, 20, 10], dtype=np.int16)
OF_BOTH: tuple[Callable[..., Figure], ...] = (
    cut_figures.ncuts,
    cut_figures.z_scores,
    cut_figures.further_cuts,
    cut_figures.activation_cuts,
    figures.p_values,
    figures.effects,
    figures.drops,
    figures.calibration,
    figures.spreads,
    figures.true_modules,
    figures.permutation,
    figures.clusters,
)
OF_ONE: tuple[Callable[..., Figure], ...] = (
    cluster_figures.composition,
    cluster_figures.classes,
    cluster_figures.pictures,
    figures.penalty,
    figures.images_used,
)


def sub_clusters(draw: np.random.Generator) -> dict[str, Any]:
    """What `proxies.test_partition` returns, with numbers drawn at random."""
    shape = (len(proxies.STATISTICS), len(SIZES))
    least = np.array([least for _, least in proxies.STATISTICS.values()])
    fits = least[:, None] <= SIZES
    ranks = {
        prefix + ties: (draw.integers(1, 20 * step, shape) * fits).astype(np.uint8)
        for prefix in ("", "control_")
        for ties, step in (("mid", 2), ("ignored", 1))
    }
    return {
        "layer": LAYERS,
        "size": SIZES,
        "live": np.full(len(SIZES), 50, dtype=np.int16),
        "lost": draw.integers(0, 60, (len(SIZES), 10)).astype(np.int16),
        **{name: (draw.uniform(0.1, 0.9, shape) * fits).astype(np.float16) for name in ("value", "null_mean")},
        **{name: draw.uniform(0.5, 1.5, shape).astype(np.float16) for name in ("effect", "control_effect")},
        **ranks,
        "scores": draw.uniform(0.5, 2, (len(shape), proxies.DRAWS + 1))[[0] * shape[0]].astype(np.float32),
    }


def partitions(draw: np.random.Generator, dataset: str, per_class: int) -> dict[str, Any]:
    nodes = sum(nets.sizes(dataset))
    return {
        "intact": draw.integers(30, 40, 10),
        "per_class": per_class,
        **{
            which: {"labels": draw.integers(-1, 16, nodes).astype(np.int8), **sub_clusters(draw)}
            for which in cells.PARTITIONS
        },
    }


def cut(draw: np.random.Generator) -> dict[str, Any]:
    return {"ncut": float(draw.uniform(6, 10)), "null": draw.uniform(9.8, 10.2, SHUFFLES), "pieces": np.ones(3)}


def made_up(cell: Cell, number: int) -> dict[str, Any]:
    """The values of a cell's record, drawn at random."""
    draw, params = np.random.default_rng(number), cell.params
    per_class = int(params.get("per_class", 0))
    if cell.stage == "cuts":
        graphs = ["weights", "unit norm", "activations", *(["pattern kept"] if params["state"] == "pruned" else [])]
        return {**{graph: cut(draw) for graph in graphs}, "nmi": float(draw.uniform(0, 1))}
    if cell.stage == "subclusters":
        planted = {"planted": sub_clusters(draw)} if params["kind"] == "planted" else {}
        return {**partitions(draw, params["dataset"], per_class), **planted}
    if cell.stage in ("blocks", "penalised"):
        own = {"accuracy": float(draw.uniform(0.9, 1)), "weights": cut(draw), "planted": sub_clusters(draw)}
        return {**partitions(draw, params["dataset"], per_class), **own}
    if cell.stage == "pictures":
        seen = {"size": [9, 7, 9, 7], "image": draw.integers(0, 256, (4, 8, 8)).astype(np.uint8)}
        seen |= {"score": np.array([5.0, 4.0, 3.0, 2.0]), "class": np.arange(4)}
        return {f"{which}, layer {layer}": seen for which in cells.PARTITIONS for layer in (1, 2, 3)}
    return {}


def record(plan: list[Cell], folder: Path, seeds: int = SEEDS) -> Results:
    for number, cell in enumerate(plan):
        if cell.params["seed"] < seeds and cell.stage != "train":  # which figures do not read
            records.write(cell, made_up(cell, number), {}, folder)
    return Results(plan, folder)


@pytest.fixture(scope="module")
def of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evidence]:
    results = record(cells.plan("paper"), tmp_path_factory.mktemp("record"))
    return {"MNIST": Evidence(results, "mnist"), "Fashion-MNIST": Evidence(results, "fashion-mnist")}


def small_print(made: Figure) -> str:
    return str(made.texts[-1].get_text()).replace("\n", " ").replace("\N{NON-BREAKING HYPHEN}", "-")


def rows_of(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def marks(ax: Axes, marker: str, color: str = "", *, filled: bool | None = None) -> np.ndarray:
    """Places of all marks of a look, (n, 2)."""
    lines = [line for line in ax.lines if line.get_marker() == marker and color in ("", line.get_color())]
    lines = [line for line in lines if filled in (None, line.get_markerfacecolor() != "white")]
    return np.concatenate([np.empty((0, 2)), *(points(line) for line in lines)])


def points(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xydata(), dtype=float)


def bars(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def one(of: dict[str, Evidence]) -> dict[str, Evidence]:
    return {"MNIST": of["MNIST"]}


def test_the_idea_needs_no_record() -> None:
    made = laid_out(drawing.idea)
    assert [ax.get_title(loc="left")[-4:] for ax in made.axes[:3]] == ["work", "hts|", "ters"]


@pytest.mark.parametrize("draw", OF_BOTH, ids=lambda draw: draw.__name__)
def test_two_data_sets_stand_side_by_side_with_n_in_small_print(
    draw: Callable[..., Figure], of: dict[str, Evidence]
) -> None:
    words = small_print(laid_out(lambda: draw(of)))
    counted = "networks (MNIST, Fashion-MNIST)" if draw in (figures.calibration, figures.permutation) else "seed"
    assert counted in words
    assert "MNIST" in words


@pytest.mark.parametrize("draw", OF_ONE, ids=lambda draw: draw.__name__)
def test_figures_of_one_data_set_draw(draw: Callable[..., Figure], of: dict[str, Evidence]) -> None:
    words = small_print(laid_out(lambda: draw(of["MNIST"])))
    assert "seed" in words


def test_what_is_not_recorded_is_refused_and_what_is_recorded_of_one_group_is_drawn(tmp_path: Path) -> None:
    plan = cells.plan("quick")
    empty = Evidence(Results(plan, tmp_path / "none"), "digits")
    for draw in OF_BOTH:
        with pytest.raises(RecordError, match="recorded for digits"):
            draw({"digits": empty})
    for draw in OF_ONE:
        with pytest.raises(RecordError, match="for digits"):
            draw(empty)
    few = [cell for cell in plan if cell.params.get("kind") == "dropout" and cell.params.get("state") == "trained"]
    record(few, tmp_path)
    of = {"digits": Evidence(Results(plan, tmp_path), "digits")}
    assert rows_of(laid_out(lambda: cut_figures.ncuts(of)).axes[0]) == ["dropout"]
    made = laid_out(lambda: figures.p_values(of))
    assert rows_of(made.axes[0]) == ["dropout", "random"]
    assert "published" not in "".join(text.get_text() for text in made.legends[0].get_texts())


def test_ncuts_stand_beside_their_own_shuffles_and_the_published_ones(of: dict[str, Evidence]) -> None:
    made = cut_figures.ncuts(one(of))
    names = [rows_of(ax) for ax in made.axes]
    assert names == [
        ["untrained", "plain", "dropout"],
        ["plain, pruned", "dropout, pruned"],
        ["planted, untrained", "planted", "planted, pruned"],
    ]
    found = of["MNIST"].cuts("dropout", "trained")
    dots = marks(made.axes[0], "o")
    assert len(dots) == 3 * SEEDS
    np.testing.assert_allclose(dots[dots[:, 1] > 1.5, 0], [one.values["weights"]["ncut"] for one in found])
    bars = [points(line)[:, 0] for line in made.axes[0].lines if line.get_color() == drawing.SHUFFLE]
    null = found[-1].values["weights"]["null"]
    np.testing.assert_allclose(bars[-1], [null.mean() - null.std(), null.mean() + null.std()])
    np.testing.assert_allclose(marks(made.axes[0], "D"), [[10.295, 0], [10.02, 1]])
    assert marks(made.axes[1], "D")[:, 0].tolist() == [8.88, 8.35]


def test_z_scores_have_lanes_for_three_kinds_of_shuffles(of: dict[str, Evidence]) -> None:
    ax = cut_figures.z_scores(one(of)).axes[0]
    for graph, ((color, marker), _) in cut_figures.GRAPHS.items():
        groups = [
            group for band in cut_figures.BANDS for group in band if graph != "pattern kept" or group[1] == "pruned"
        ]
        expected = [cut.of(graph).z for group in groups for cut in of["MNIST"].cuts(*group)]
        np.testing.assert_allclose(marks(ax, marker, color)[:, 0], expected)
    assert ax.get_xscale() == "symlog"
    assert marks(ax, "D")[:, 0].tolist() == [-4.5, -3.0, -9.7, -24.0, -43.8, -92.0]


def test_p_values_are_medians_in_the_lane_of_their_data_set_with_random_ones_below(of: dict[str, Evidence]) -> None:
    made = figures.p_values(of, ("importance", "score"))
    assert len(made.axes) == 4
    assert rows_of(made.axes[2]) == ["untrained", "plain", "dropout", "plain, pruned", "dropout, pruned", "random"]
    evidence, ax = of["Fashion-MNIST"], made.axes[3]  # the score by graphs of activations
    color, marker = drawing.DATASET_LOOKS[1]
    for reach, filled in (("local", False), ("global", True)):
        found = marks(ax, marker, color, filled=filled)
        p = [
            [-np.log10(network.fisher(f"activations/{reach}", "score")) for network in evidence.tested(*group)]
            for group in (UNTRAINED, *GROUPS)
        ]
        np.testing.assert_allclose(found[:5, 0], np.median(p, axis=1))
        np.testing.assert_allclose(found[:, 1], np.arange(6) + 0.2)
    ranges = [points(line) for line in ax.lines if line.get_marker() == "None" and line.get_color() == color]
    np.testing.assert_allclose([one[:, 0] for one in ranges[:5]], np.sort(p, axis=1)[:, [0, -1]])
    networks = [network for group in (UNTRAINED, *GROUPS) for network in evidence.tested(*group)]
    random = [-np.log10(network.fisher("activations/global", "score", control=True)) for network in networks]
    assert found[5, 0] == pytest.approx(np.median(random))
    spans = [(patch.get_x(), patch.get_x() + patch.get_width(), patch.get_y() + 0.15) for patch in bars(made.axes[0])]
    np.testing.assert_allclose(spans, [(*-np.log10([4e-7, 3e-9]), 2.8), (*-np.log10([9e-5, 2e-7]), 3.2)])
    assert not bars(made.axes[2])  # published are partitions by weights alone


def test_tiny_p_values_are_drawn_at_the_edge_and_axes_reach_them() -> None:
    assert drawing.logs([1e-300, 0.1]).tolist() == [16, 1]
    made, ax = matplotlib.pyplot.subplots()
    drawing.dot_rows(ax, [[drawing.Series(drawing.logs([1e-300, np.nan]), "black")]])
    drawing.p_ticks([ax])
    assert ax.get_xlim()[1] > 16
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "1",
        "$10^{-4}$",
        "$10^{-8}$",
        "$10^{-12}$",
        "$10^{-16}$",
    ]
    matplotlib.pyplot.close(made)


def test_effects_are_means_over_seeds_in_points_or_as_ratios(of: dict[str, Evidence]) -> None:
    made = figures.effects(of)
    color, marker = drawing.DATASET_LOOKS[0]
    networks = of["MNIST"].tested("plain", "trained")
    for ax, which, expected in (
        (made.axes[0], "weights/local", [100 * network.excess("weights/local", "importance") for network in networks]),
        (made.axes[0], "weights/global", [100 * one.excess("weights/global", "importance") for one in networks]),
        (made.axes[6], "activations/global", [one.effect("activations/global", "score") for one in networks]),
    ):
        filled = which.endswith("global")
        assert marks(ax, marker, color, filled=filled)[1, 0] == pytest.approx(np.mean(expected))


def test_drops_are_in_points_by_layer_with_both_axes_alike(of: dict[str, Evidence]) -> None:
    made = figures.drops(one(of))
    ax = made.axes[1]
    assert ax.get_title(loc="left") == "plain"
    assert ax.get_xlim() == ax.get_ylim()
    color, marker = drawing.LAYER_LOOKS[0]
    found = marks(ax, marker, color)
    assert len(found) == 2 * SEEDS
    first = of["MNIST"].tested("plain", "trained")[0].values["weights/global"]
    expected = [100 * float(first[name][0][0]) for name in ("null_mean", "value")]
    np.testing.assert_allclose(found[0], expected)


def test_composition_fills_every_layer_and_counts_sub_clusters(of: dict[str, Evidence]) -> None:
    made = cluster_figures.composition(of["MNIST"], [("plain", "pruned")])
    above, below = made.axes[:2]
    heights = np.zeros(6)
    for bar in bars(above):
        heights[round(bar.get_x() + bar.get_width() / 2)] += bar.get_height()
    np.testing.assert_allclose(heights, 1)
    assert [round(bar.get_height(), 9) for bar in bars(below)] == [2, 1, 1, 1]
    assert [label.get_text() for label in below.get_xticklabels()] == ["in", "1", "2", "3", "4", "out"]


def test_classes_have_a_row_for_each_large_loss_and_one_a_layer_for_the_others(
    of: dict[str, Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = of["Fashion-MNIST"]
    first = evidence.tested("dropout", "pruned")[0]
    lost = np.zeros((5, 10))
    lost[0, 3], lost[1, :2], lost[2, 5] = 9, 8, 4.6  # the second costs more in all than the first
    lost[3, 4], lost[4, 9] = 0.5, -6
    found = first.values["weights/global"] | {"layer": [0, 0, 0, 1, 1], "lost": 2 * lost}
    changed = first._replace(values={"weights/global": found, "per_class": 200})
    monkeypatch.setattr(evidence, "tested", lambda *_: [changed])
    ax = cluster_figures.classes(evidence, "dropout", "pruned").axes[0]
    assert rows_of(ax) == ["layer 1, 40 units", "layer 1, 2 units", "1 other: largest", "layer 2, all 2: largest"]
    assert ax.get_xticklabels()[9].get_text() == "boot"
    image = np.asarray(ax.images[0].get_array(), dtype=float)
    np.testing.assert_allclose(image, [*lost[[1, 0, 2]], lost[3:].max(axis=0)])
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["8", "8", "9", "5"]


def test_pictures_have_scores_above_and_random_sets_below(of: dict[str, Evidence]) -> None:
    made = cluster_figures.pictures(of["MNIST"], "activations/local")
    assert [ax.get_title(loc="center") for ax in made.axes[:4]] == [
        "9 units\nscore 5",
        "7 units\nscore 4",
        "score 3",
        "score 2",
    ]
    assert made.axes[0].get_ylabel() == "layer 1\nsub-clusters"
    with pytest.raises(RecordError, match="'halves'"):
        cluster_figures.pictures(of["MNIST"], "halves")


def test_calibration_sorts_the_p_values_of_all_random_partitions(of: dict[str, Evidence]) -> None:
    ax = figures.calibration(one(of)).axes[1]
    curves = [points(line) for line in ax.lines if line.get_label() in figures.RULES.values()]
    networks = [network for group in cells.TESTED for network in of["MNIST"].tested(*group)]
    for ties, curve in zip(figures.RULES, curves, strict=True):
        p = [
            network.fisher(which, "score", ties=ties, control=True)
            for network in networks
            for which in cells.PARTITIONS
        ]
        assert len(curve) == 7 * SEEDS * 4
        np.testing.assert_allclose(curve[:, 1], sorted(p))
    band = np.asarray(ax.collections[0].get_paths()[0].vertices)
    bend = np.unique(band[:, 0].round(9))[1]
    assert bend == pytest.approx(1.36 / np.sqrt(7 * SEEDS * 4), abs=0.005)  # Kolmogorov's limit for many numbers


def test_true_modules_are_tested_as_planted_and_as_clustered(of: dict[str, Evidence]) -> None:
    made = figures.true_modules(of)
    assert rows_of(made.axes[0]) == ["true modules", "same, clustered", "planted start", "same, pruned"]
    color, marker = drawing.DATASET_LOOKS[0]
    found = marks(made.axes[4], marker, color)[:, 0]
    networks = of["MNIST"].blocks()
    expected = [
        100 * network.excess(which, "importance") for which in ("planted", "weights/global") for network in networks
    ]
    np.testing.assert_allclose(found[: 2 * SEEDS], expected)
    assert rows_of(figures.spreads(of).axes[0])[-1] == "true modules"


def test_clusters_join_the_first_seed_over_all_k(of: dict[str, Evidence]) -> None:
    ax = figures.clusters(one(of)).axes[0]
    lines = [line for line in ax.lines if line.get_linestyle() == "-" and line.get_marker() == "s"]
    expected = [
        -np.log10(of["MNIST"].tested("dropout", "trained", k=k)[0].fisher("weights/global", "importance"))
        for k in (8, 12, 16, 24)
    ]
    np.testing.assert_allclose(points(lines[0])[:, 1], expected)


def test_penalty_joins_the_strengths_of_a_seed(of: dict[str, Evidence]) -> None:
    made = figures.penalty(of["MNIST"])
    seeds = [points(line) for line in made.axes[1].lines if line.get_marker() == "o"]
    assert len(seeds) == SEEDS
    expected = [100 * of["MNIST"].penalised(strength)[1].values["accuracy"] for strength in cells.STRENGTHS]
    np.testing.assert_allclose(seeds[1], np.transpose([[0, 1, 2], expected]))
    assert [label.get_text() for label in made.axes[2].get_xticklabels()] == ["0", "0.1", "1"]


def test_images_used_links_few_with_all(of: dict[str, Evidence]) -> None:
    made = figures.images_used(of["MNIST"])
    labels = [text.get_text() for text in made.legends[0].get_texts()]
    assert labels[-2:] == ["2000 test images", "8920 test images"]
    color, marker = drawing.PARTITION_LOOKS["weights/global"]
    few, every = (
        -np.log10(of["MNIST"].tested("plain", "trained", all_images=every)[0].fisher("weights/global", "importance"))
        for every in (False, True)
    )
    assert marks(made.axes[0], marker, color)[:2, 0].tolist() == pytest.approx([few, every])


def test_permutation_has_a_mark_for_every_partition_of_every_network(of: dict[str, Evidence]) -> None:
    made = figures.permutation(one(of))
    for color, marker in drawing.PARTITION_LOOKS.values():
        assert len(marks(made.axes[0], marker, color)) == 5 * SEEDS


def test_seeds_are_counted_in_words() -> None:
    assert (
        drawing.counted({"a": [2, 5, 0], "b": [1], "c": [1]}) == "a: n = 2 to 5 seeds a row; b and c: n = 1 seed a row"
    )
