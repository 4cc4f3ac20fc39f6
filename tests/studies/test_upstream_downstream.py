"""The upstream/downstream study: its grids and plan, its stages on digits, and the rules of its claims."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from companion import records, sweeps
from companion.records import Cell, RecordError, Results
from modutils import data, modularity, stacked, training
from modutils.stacked import Stack
from studies.upstream_downstream import cells, claims, runs
from studies.upstream_downstream.evidence import Evidence

NETWORKS = len(cells.settings("quick"))
DECIDE = {claim.id: claim.decide for claim in claims.CLAIMS}
SMALL: dict[str, Any] = {"hidden": "12-12", "grid": "quick", "regime": "fixed", "epochs": 8}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two runs of small networks and some untrained ones, with a short search."""
    folder = tmp_path_factory.mktemp("study")
    plan = [
        Cell(cells.STUDY, stage, {"dataset": "digits", **SMALL, "seed": seed})
        for stage in ("train", "modules")
        for seed in range(2)
    ]
    plan.append(Cell(cells.STUDY, "untrained", {"dataset": "digits", "hidden": "12-12", "seed": 0}))
    plan.append(Cell(cells.STUDY, "search", {"dataset": "digits", **SMALL, "seed": 0}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODUTILS_CACHE", str(folder / "cache"))
        patch.setattr(cells, "UNTRAINED", {"digits": 3})
        sweeps.run(plan, folder, progress=False)
    return Results(plan, folder)


@pytest.fixture(scope="module")
def found(results: Results) -> runs.Runs:
    return runs.load(results, "digits", SMALL)


def test_the_grid_is_the_papers() -> None:
    grid = cells.settings("all")
    assert len(grid) == 30
    assert Counter(setting.kind for setting in grid) == {"l2": 9, "l1": 7, "dropout": 14}
    l2 = [setting for setting in grid if setting.kind == "l2"]
    assert (l2[0].l2, l2[-1].l2, l2[4].l2) == pytest.approx((1e-5, 1e-1, 1e-3))
    assert all(setting.l1 == setting.dropout == 0 for setting in l2)
    l1 = [setting for setting in grid if setting.kind == "l1"]
    assert (l1[0].l1, l1[-1].l1) == pytest.approx((1e-5, 1e-2))
    assert {setting.l2 for setting in grid if setting.kind != "l2"} == {1e-5}
    dropout = [setting.dropout for setting in grid if setting.kind == "dropout"]
    np.testing.assert_allclose(dropout, np.arange(0.05, 0.71, 0.05))
    with pytest.raises(ValueError, match="grid='fine' is unknown"):
        cells.settings("fine")


def test_the_plan_has_the_papers_size_and_no_cell_twice() -> None:
    plan = cells.plan("paper")
    assert len(plan) == len({str(cell) for cell in plan})
    main = [cell for cell in plan if cell.params.items() >= {**cells.FIXED, "dataset": "mnist"}.items()]
    count = Counter(cell.stage for cell in main)
    assert count["train"] == count["modules"] == 9
    assert count["train"] * len(cells.settings("all")) == 270
    blocks = [cell for cell in plan if cell.stage == "untrained" and cell.params["hidden"] == "64-64"]
    assert sum(cell.params["dataset"] == "mnist" for cell in blocks) * cells.UNTRAINED["mnist"] >= 100
    for cell in plan:  # each name is a function that takes these parameters
        assert cell.function.__kwdefaults__ is None
        assert set(cell.params) == set(cell.function.__annotations__) - {"return"}
    with pytest.raises(ValueError, match="scale='huge'"):
        cells.plan("huge")


def test_the_axis_of_the_figures(found: runs.Runs) -> None:
    paper = replace(found, settings=cells.settings("all"))
    np.testing.assert_allclose(paper.axis("l1"), np.arange(7) / 6)
    assert paper.axis("l2")[7] == pytest.approx(0.875)  # 10^-1.5
    assert paper.strengths("dropout")[0] == 0
    assert paper.places("dropout")[0] == paper.plain == 0


def test_what_is_recorded_of_a_run(found: runs.Runs) -> None:
    networks = len(cells.settings("quick"))
    assert found["q"].shape == (2, networks, 2, 8)
    assert found["labels"].shape == (2, networks, 2, 8, 12)
    assert found["variant_q"].shape == (2, networks, 2, 16)
    assert found["other_scores"].shape == (2, networks, 2, 28, len(cells.OTHER_SCORES))
    assert found.fresh["q"].shape == (3, 2, 8)
    assert (found["q"] >= found["q_spectral"] - 1e-6).all()
    numbers = [modularity.effective_number(row) for row in found["labels"].reshape(-1, 12)]
    np.testing.assert_allclose(found["effective_number"].ravel(), numbers, rtol=1e-6)
    np.testing.assert_array_equal(found["unused"], (found["labels"] < 0).sum(-1))
    # A measure's own modules are best for it.
    own = np.einsum("...ii->...i", found["transfer"])
    np.testing.assert_allclose(own, found["q"], atol=1e-6)
    assert (found["similarity"] <= 1).all()
    symmetric = found["rank_correlation"]
    np.testing.assert_allclose(symmetric, np.swapaxes(symmetric, -1, -2), atol=1e-6)


def test_a_run_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODUTILS_CACHE", str(tmp_path))
    first = cells.trained(dataset="digits", **SMALL | {"epochs": 2}, seed=4)
    (saved,) = (tmp_path / "networks").glob("upstream_downstream-*.npz")
    before = saved.stat().st_mtime_ns
    again = cells.trained(dataset="digits", **SMALL | {"epochs": 2}, seed=4)
    assert saved.stat().st_mtime_ns == before
    for a, b in zip(first.stack.weights, again.stack.weights, strict=True):
        assert (a == b).all()
    with pytest.raises(ValueError, match="regime='late' is unknown"):
        cells.trained(dataset="digits", **SMALL | {"regime": "late"}, seed=0)


def test_runs_trained_at_once_are_the_runs_trained_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a GPU does: all runs in one stack. In double precision: a difference in rounding grows while they train.
    first = stacked.initialize

    def in_double(*sizes: Any, **options: Any) -> Stack:
        return Stack(*([part.double() for part in parts] for parts in first(*sizes, **options)))

    monkeypatch.setattr(stacked, "initialize", in_double)
    params = {"dataset": "digits", **SMALL, "epochs": 2}
    monkeypatch.setenv("MODUTILS_CACHE", str(tmp_path))
    together = list(cells._train(params, [0, 1]).values())
    for seed in (0, 1):
        alone = cells.trained(**params, seed=seed)
        for a, b in zip(together[seed]["stack"].weights, alone.stack.weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


def test_similarities_too_small_for_a_normal_number_are_zero() -> None:
    stack = stacked.initialize([64, 8, 8, 10], seeds=[0])
    stack.weights[1].mul_(1e-20)
    images = data.load("digits", "test")[0][:50]
    before = [found.outside for layer in cells._similarities(stack, 0, images) for found in layer.values()]
    with training.flushed_denormals():  # as after training in the same process, before that was undone
        after = [found.outside for layer in cells._similarities(stack, 0, images) for found in layer.values()]
    sizes = torch.cat([matrix.abs().flatten() for matrix in before])
    assert not ((sizes > 0) & (sizes < torch.finfo(sizes.dtype).tiny)).any()
    assert (sizes == 0).any()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_networks_that_fail_or_diverge_are_left_out(found: runs.Runs) -> None:
    values = dict(found.values)
    values["test_accuracy"] = np.full((2, NETWORKS), 0.95)
    values["test_accuracy"][0, 3] = 0.79
    values["diverged"] = np.zeros((2, NETWORKS), bool)
    values["diverged"][1, 5] = True
    changed = replace(found, values=values)
    assert changed.kept.sum() == 2 * NETWORKS - 2
    assert not changed.kept[0, 3]
    assert not changed.kept[1, 5]
    assert np.isnan(changed.of("q")[1, 5]).all()
    verdict = DECIDE["U11"](Evidence(Results([], Path()), changed))
    assert verdict.value == f"2 of {2 * NETWORKS} networks"
    assert "1 diverged" in verdict.why


def test_every_claim_has_a_verdict(results: Results, found: runs.Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    values = dict(found.values) | {"test_accuracy": np.where(np.arange(NETWORKS) % 9 == 4, 0.1, 0.9)[None].repeat(2, 0)}
    evidence = Evidence(results, replace(found, values=values))
    for claim in claims.CLAIMS:
        verdict = claim.decide(evidence)
        assert verdict.verdict != "not testable" or claim.id == "U24", claim.id
        assert verdict.value, claim.id
        assert verdict.why, claim.id
        assert "nan" not in verdict.value, claim.id
    assert [claim.id for claim in claims.CLAIMS] == [f"U{number}" for number in range(1, 28)]


def test_what_was_not_planned_is_not_testable(results: Results, found: runs.Runs) -> None:
    planned = [cell for cell in results.cells if cell.stage != "search"]
    assert DECIDE["U24"](Evidence(Results(planned, results.folder), found)).verdict == "not testable"
    missing = [*planned, Cell(cells.STUDY, "search", {"dataset": "digits", **SMALL, "seed": 7})]
    with pytest.raises(RecordError, match="no record of"):
        DECIDE["U24"](Evidence(Results(missing, results.folder), found))


def _with_dropout_effect(found: runs.Runs, effect: float, noise: float = 0.001) -> Evidence:
    """Evidence in which Q rises by ``effect`` from the weakest to the strongest dropout, for every measure."""
    generator = np.random.default_rng(0)
    seeds = 6
    q = 0.1 + noise * generator.standard_normal((seeds, NETWORKS, 1, 8)).repeat(2, axis=2)
    places = [p for p in found.places("dropout") if p != found.plain]
    q[:, places] += np.linspace(0, effect, len(places))[:, None, None]
    values = {name: np.repeat(value[:1], seeds, axis=0) for name, value in found.values.items()}
    values |= {"q": q, "test_accuracy": np.full((seeds, NETWORKS), 0.95), "diverged": np.zeros((seeds, NETWORKS), bool)}
    return Evidence(Results([], Path()), replace(found, values=values, seeds=list(range(seeds))))


@pytest.mark.parametrize(
    ("effect", "first", "second"),
    [(0.1, "holds", "holds"), (0.0, "undecided", "undecided"), (-0.1, "does not hold", "undecided")],
)
def test_the_main_claim_follows_the_effect(found: runs.Runs, effect: float, first: str, second: str) -> None:
    evidence = _with_dropout_effect(found, effect)
    assert DECIDE["U1"](evidence).verdict == first
    assert DECIDE["U2"](evidence).verdict == second
    # The same effect on both sides and in both layers.
    assert DECIDE["U3"](evidence).verdict != "holds"


def test_rules_on_strong_penalties_look_at_the_longest_training(found: runs.Runs, tmp_path: Path) -> None:
    found = replace(found, values={**found.values, "test_accuracy": np.full(found["test_accuracy"].shape, 0.95)})
    params = cells.FOLLOW | {"hidden": found.params["hidden"]}
    plan = [Cell(cells.STUDY, "follow", {"dataset": "digits", **params, "seed": seed}) for seed in range(3)]
    grid = cells.settings("followed")
    epochs = np.array([0, 60, 120, 250, 500])
    draw = np.random.default_rng(0)
    dropout = np.array([setting.kind == "dropout" for setting in grid])
    for cell in plan[:2]:
        shape = (len(epochs), len(grid))
        q = 0.1 + 0.001 * draw.standard_normal((*shape, 2, 8))
        q[-1, dropout] += 0.2  # dropout comes first after 500 epochs, and not before
        values = {
            **{name: np.full(shape, value) for name, value in (("test_accuracy", 0.95), ("sparsity", 0.5))},
            **{name: np.full((*shape, 2, 8), 1.0) for name in ("unused", "effective_number")},
            **{name: np.full((*shape, 2, 8, 8), 0.3) for name in ("similarity", "chance")},
            "q": q,
            "epochs": epochs,
            "diverged": np.zeros(len(grid), bool),
        }
        values["sparsity"][-1] = 0.9 + 0.001 * draw.standard_normal(len(grid))
        records.write(cell, values, {}, tmp_path)
    own = Evidence(Results(plan, tmp_path), found)
    assert list(own.by_length()) == [60, 120, 250, 500]
    assert own.by_length()[120].by_length() == {}
    assert own.at_length().runs.params == params | {"epochs": 500}
    assert (own.at_length().runs.planned, own.at_length().runs.seeds) == (3, [0, 1])
    assert DECIDE["U2"](own).verdict == "holds"
    assert "after 250 epochs 0 of 8, after 500 epochs 8 of 8" in DECIDE["U2"](own).why
    assert DECIDE["U8"](own).verdict == "holds"
    assert "after 250 epochs L2 0.50 and L1 0.50, after 500 epochs L2 0.90 and L1 0.90" in DECIDE["U8"](own).why
    other = replace(found, params={**found.params, "regime": "early stopping"})
    assert Evidence(Results(plan, tmp_path), other).by_length() == {}
    alone = Evidence(Results([], tmp_path), found)
    assert alone.at_length() is alone
    assert "By length" not in DECIDE["U8"](alone).why


def test_side_and_layer_of_the_effect(found: runs.Runs) -> None:
    evidence = _with_dropout_effect(found, 0.1)
    q = np.array(evidence.runs["q"])
    strongest = found.places("dropout")[-1]
    q[:, strongest, 0, 4:] += 0.1  # upstream, first layer
    changed = Evidence(Results([], Path()), replace(evidence.runs, values={**evidence.runs.values, "q": q}))
    assert DECIDE["U3"](changed).verdict == "holds"
    fourth = DECIDE["U4"](changed)
    assert fourth.verdict == "undecided"  # nothing is known to be larger in the second layer
    assert fourth.value.startswith("larger in layer 1 for 4 of 8")


def test_agreement_that_is_chance_alone_does_not_count(found: runs.Runs) -> None:
    seeds = 4
    similarity = np.full((seeds, NETWORKS, 2, 8, 8), 0.3)
    for side in (slice(0, 4), slice(4, 8)):
        similarity[..., side, side] = 0.6
    similarity += 0.001 * np.random.default_rng(0).standard_normal((seeds, 1, 1, 1, 1))
    values = {name: np.repeat(value[:1], seeds, axis=0) for name, value in found.values.items()}
    values |= {"test_accuracy": np.full((seeds, NETWORKS), 0.95), "diverged": np.zeros((seeds, NETWORKS), bool)}

    def verdict(chance: np.ndarray) -> str:
        changed = replace(found, values={**values, "similarity": similarity, "chance": chance}, seeds=list(range(4)))
        return DECIDE["U15"](Evidence(Results([], Path()), changed)).verdict

    assert verdict(np.full_like(similarity, 0.25)) == "holds"
    assert verdict(similarity - 0.01) == "holds in part"
    wide = 0.4 * np.random.default_rng(1).standard_normal((seeds, 1, 1, 1, 1))
    assert verdict(np.full_like(similarity, 0.25) + wide * (similarity > 0.5)) == "undecided"


def test_no_run_recorded_is_an_error(results: Results) -> None:
    with pytest.raises(RecordError, match="no run of digits"):
        runs.load(results, "digits", SMALL | {"epochs": 9})
    assert records.is_recorded(results.cells[0], results.folder)
