"""The biclustering study: its plan, and the pieces that turn co-clusters into orders of removal and pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from companion import records
from companion.records import Cell, Results
from conftest import laid_out
from modutils import coclustering, data, lesions, networks, training
from modutils.coclustering import Coclustering
from studies.biclustering import cells, grid


@pytest.fixture
def network() -> torch.nn.Sequential:
    return cells.network("digits", "cnn", 0)


def test_the_plan_has_the_papers_size_and_no_cell_twice() -> None:
    plan = cells.plan("paper")
    assert len(plan) == len({str(cell) for cell in plan})
    counts = Counter((cell.stage, cell.params["dataset"]) for cell in plan)
    assert counts["describe", "mnist"] == counts["ablate", "mnist"] == 10
    assert counts["extend", "mnist"] == counts["extend", "fashion-mnist"] == 150
    assert counts["regularize", "mnist"] == counts["regularize", "fashion-mnist"] == 10
    trained = {cell for cell in plan if cell.stage == "train"}
    for cell in plan:
        assert {Cell(cells.STUDY, "train", own) for own in cells.networks_of(cell.stage, cell.params)} <= trained
    with pytest.raises(ValueError, match="scale='huge'"):
        cells.plan("huge")


def test_ways_to_train_are_compared_as_far_as_they_are_recorded(tmp_path: Path) -> None:
    plan = cells.plan("paper")
    of_layer = {"model": "cnn", "layer": "act2", "activation": "relu"}
    for cell in plan:
        ours = cell.stage == "extend" and of_layer.items() <= dict(cell.params).items()
        if ours or (cell.stage == "regularize" and cell.params["seed"] < 2 and cell.params["dataset"] == "mnist"):
            share = 0.3 if ours else 0.2 if cell.params["regularization"] == "none" else 0.1
            values = {"positive": share + 0.001 * cell.params["seed"], "nmi": 0.9, "nmi_untrained": 0.8}
            records.write(cell, values | {"area": {"module": 0.6, "greedy": 0.5}}, {}, tmp_path)
    made = laid_out(lambda: grid.regularization(Results(plan, tmp_path)))
    ax = made.axes[0]
    names = [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()]
    assert names == ["MNIST, dropout", "MNIST, weight decay", "MNIST, neither", "Fashion-MNIST, dropout"]
    assert "training seeds: dropout 5, weight decay 0–2, neither 0–2" in made.texts[-1].get_text().replace("\n", " ")


def test_a_trained_network_comes_back_from_the_cache(network: torch.nn.Sequential) -> None:
    images, labels = data.load("digits", "test")
    (saved,) = (data.cache_folder() / "networks").glob("biclustering-digits-cnn-relu-dropout-0-*.npz")
    before = saved.stat().st_mtime_ns
    again = cells.network("digits", "cnn", 0)
    assert saved.stat().st_mtime_ns == before
    assert torch.equal(training.predict(network, images), training.predict(again, images))
    assert training.accuracy(network, images, labels) > 0.9
    untrained = cells.network("digits", "cnn", 0, trained=False)
    assert training.accuracy(untrained, images, labels) < 0.5


def test_the_global_random_state_does_not_matter() -> None:
    torch.manual_seed(1)
    first = cells.network("digits", "mlp", 3, trained=False)
    torch.manual_seed(2)
    second = cells.network("digits", "mlp", 3, trained=False)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with pytest.raises(ValueError, match="model='rnn' is unknown"):
        cells._untrained("digits", "rnn", "relu", "none", 0)


def test_removal_takes_every_unit_once_and_unassigned_units_last(network: torch.nn.Sequential) -> None:
    images, _ = data.load("digits", "test")
    matrix = cells._matrix(network, "act2", images)
    found = cells._cluster(matrix, 40, "paper", 0)
    groups = cells._removal(matrix, found, 40, "mass")
    assert len(groups) == 41
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(len(matrix)))
    assert (found.row_labels[groups[-1]] == -1).all()
    mass = [
        np.maximum(matrix[np.ix_(found.row_labels == m, found.column_labels == m)], 0).sum(dtype=float)
        for m in (found.row_labels[group[0]] for group in groups[:-1] if len(group))
    ]
    assert (np.diff(mass) <= 1e-9 * mass[0]).all()
    greedy = cells._by_score(matrix.mean(1), [len(group) for group in groups])
    assert [len(group) for group in greedy] == [len(group) for group in groups]
    assert matrix.mean(1)[greedy[0]].min() >= matrix.mean(1)[np.concatenate(greedy[1:])].max()


def test_area_of_curves_is_between_the_extremes(network: torch.nn.Sequential) -> None:
    images, labels = data.load("digits", "test", limit=100)
    units = np.arange(16 * 4 * 4)
    orders = {"all at the end": [[*np.split(units[:0], 1), units]], "by halves": [np.split(units, 2)]}
    curves = cells._curves(network, "act2", images, labels, orders)
    intact = training.accuracy(network, images, labels)
    none = lesions.ablation_curve(network, "act2", images, labels, [units])[-1] / 100
    assert curves["all at the end"]["curve"][0] == pytest.approx(intact, abs=1e-5)
    assert curves["by halves"]["curve"][-1] == pytest.approx(none, abs=1e-5)
    middle = lesions.ablation_curve(network, "act2", images, labels, np.split(units, 2))[1] / 100
    assert curves["by halves"]["area"] == pytest.approx((intact + 2 * middle + none) / 4)


def test_positive_share_of_a_planted_block() -> None:
    matrix = np.full((20, 30), -1.0)
    rows, columns = np.arange(20) % cells.K, np.arange(30) % cells.K
    matrix[rows[:, None] == columns] = 3.0
    matrix[0, 0] = -3.0
    found = cells._positive(matrix, Coclustering(rows, columns, np.ones(1)))
    assert found["fraction"][0] == pytest.approx(5 / 6)
    assert found["mass_ratio"][0] == pytest.approx(5 / 6)
    assert found["lowest_mass_ratio"] == pytest.approx(5 / 6)
    assert found["pooled_mass_ratio"] == pytest.approx(59 / 60)


def test_sizes_count_the_units_that_carry_a_block() -> None:
    matrix = np.zeros((40, 20))
    rows, columns = np.repeat(np.arange(cells.K), 4), np.repeat(np.arange(cells.K), 2)
    matrix[::4, :] = 9.5
    matrix[1::4, :] = 0.5
    sizes = cells._sizes(matrix, Coclustering(rows, columns, np.ones(1)))
    np.testing.assert_allclose(sizes["units_for_90_percent"], 1 / 4)
    assert sizes["gini"] == pytest.approx(0)


def test_a_network_that_predicts_one_class_still_has_modules(network: torch.nn.Sequential) -> None:
    with torch.no_grad():
        network.get_parameter("logits.bias")[3] += 1000
    images, _ = data.load("digits", "test")
    assert training.predict(network, images).argmax(1).unique().tolist() == [3]
    matrix = cells._matrix(network, "act2", images)
    found = cells._cluster(matrix, cells.K, "paper", 0)
    assert set(found.column_labels) <= set(range(-1, cells.K))
    assert np.isfinite(matrix).all()


def test_a_dead_layer_has_no_modules_and_says_so() -> None:
    model = networks.cnn(image_size=8).eval()
    with torch.no_grad():
        model.get_parameter("conv2.weight").zero_()
        model.get_parameter("conv2.bias").fill_(-1)
    images, _ = data.load("digits", "test", limit=20)
    matrix = cells._matrix(model, "act2", images)
    assert (matrix == 0).all()
    with pytest.raises(ValueError, match="no entry above zero"):
        coclustering.spectral_cocluster(matrix, 2)


def test_thumbnails_are_means_of_tiles() -> None:
    matrix = np.kron(np.array([[1.0, -1.0], [0.5, 0.0]]), np.ones((4, 6)))
    found = cells._thumbnail(matrix, height=2, width=2)
    assert (found["units_per_pixel"], found["samples_per_pixel"]) == (4, 6)
    shown = found["pixels"] * found["limit"] / 127
    np.testing.assert_allclose(shown, np.array([[1.0, -1.0], [0.5, 0.0]]), atol=0.01)
