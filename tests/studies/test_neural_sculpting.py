"""The neural sculpting study: plan and settings, criteria of recovery, evidence, and the rules of its claims."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib.figure import Figure

from companion import records
from companion.records import Cell, RecordError, Results
from modutils import sculpting, statistics, tasks
from studies.neural_sculpting import STUDY, beyond, cells, claims, evidence, figures, published, recovery, tie_figures
from studies.neural_sculpting.claims import Evidence
from studies.neural_sculpting.evidence import Digits, Found

# --- plan and settings ------------------------------------------------------------------------------------------------


def test_the_plan_has_the_size_of_the_slides_and_no_cell_twice() -> None:
    plan = cells.plan("paper")
    assert len(plan) == len({str(cell) for cell in plan})
    boolean = [cell for cell in plan if cell.stage == "boolean"]
    networks = Counter(
        (cell.params["task"], cell.params["outputs"])
        for cell in boolean
        for _ in cells.shapes(cell.params["widths"], cell.params["layers"])
    )
    assert set(networks.values()) == {36}
    assert set(networks) == {(task, outputs) for task, each in tasks.OUTPUTS.items() for outputs in each}
    assert {cell.params["grid"] for cell in boolean} == {"full"}
    assert len(cells.GRIDS["full"][0]) * len(cells.GRIDS["full"][1]) == 70
    full = [cell for cell in plan if cell.stage == "digits" and cell.params["pool"] == 1]
    assert {cell.params["layers"] for cell in full if cell.params["seed"] == 0} == {2, 3, 4, 5}
    assert {cell.params["width"] for cell in full} == {392}
    reduced = Counter(cell.params["layers"] for cell in plan if cell.stage == "digits" and cell.params["pool"] == 2)
    assert reduced == {2: 8, 3: 8, 4: 8, 5: 8}  # four seeds, two pairs of steps
    for cell in [*plan, *cells.plan("quick")]:  # each name is a function that takes these parameters
        assert set(cell.params) == set(cell.function.__annotations__) - {"return"}
    with pytest.raises(ValueError, match="scale='huge'"):
        cells.plan("huge")


@pytest.mark.parametrize(
    ("task", "outputs", "width", "layers", "expected"),
    [
        ("separable", 4, 24, 2, (0.05, 8, 10)),
        ("single", 4, 24, 2, (0.05, 8, 30)),
        ("single", 4, 48, 2, (0.1, 8, 20)),
        ("reused", 16, 48, 3, (0.1, 16, 30)),
        ("reused", 2, 36, 2, (0.05, 8, 30)),
        ("overlap-3", 8, 24, 2, (0.05, 16, 20)),
        ("depth", 4, 48, 3, (0.1, 128, 40)),
        ("depth", 4, 60, 3, (0.05, 128, 20)),
        ("overlap-4", 2, 24, 2, (0.1, 8, 30)),
        ("overlap-1", 2, 24, 3, (0.05, 16, 60)),
        ("depth", 16, 48, 4, (0.05, 32, 30)),
    ],
)
def test_settings_are_those_of_the_authors_code(
    task: str, outputs: int, width: int, layers: int, expected: tuple[float, int, int]
) -> None:
    assert cells.training(task, outputs, width, layers)[:3] == expected
    with pytest.raises(ValueError, match="width=25"):
        cells.training(task, outputs, 25, layers)


def test_the_record_was_made_with_these_settings() -> None:
    for cell, record in STUDY.results("paper").recorded("boolean"):
        for name, values in record.values.items():
            width, layers = map(int, name.split("x"))
            how = cells.training(cell.params["task"], cell.params["outputs"], width, layers)
            assert values["settings"] == list(how), (cell, name)


def test_every_pictured_network_is_planned_with_the_slides_settings() -> None:
    planned = {
        (cell.params["task"], cell.params["outputs"], width, layers, cell.params["seed"])
        for cell in cells.plan("paper")
        if cell.stage == "boolean"
        for width, layers in cells.shapes(cell.params["widths"], cell.params["layers"])
    }
    for p in published.PICTURES:
        assert (p.task, p.outputs, p.width, p.layers, p.seed) in planned
        assert p.unit_step in sculpting.UNIT_STEPS
        assert p.edge_step in sculpting.EDGE_STEPS
        inputs = tasks.load(p.task, outputs=p.outputs).inputs.shape[1]
        assert (p.sizes[0], p.sizes[-1], len(p.sizes)) == (inputs, p.outputs, p.layers + 2)


def test_masks_survive_the_record() -> None:
    masks = sculpting.initialize([3, 4, 5, 2], seed=0).masks
    masks = [np.random.default_rng(1).random(mask.shape) < 0.5 for mask in masks]
    again = cells.unflat(cells.flat(masks), [3, 4, 5, 2])
    assert all((a == b).all() for a, b in zip(masks, again, strict=True))


# --- criteria ---------------------------------------------------------------------------------------------------------


def _labels(*layers: list[int]) -> list[np.ndarray]:
    return [np.array(layer) for layer in layers]


ODD_EVEN = [1, 2] * 8


@pytest.mark.parametrize(
    ("task", "outputs", "labels", "expected"),
    [
        ("single", 4, _labels([0] * 4, [0, -1], [0] * 4), True),
        ("single", 4, _labels([0] * 4, [0, 1], [0] * 4), False),
        ("separable", 4, _labels([0, 0, 1, 1], [0, 1], [0, 0, 1, 1]), True),
        ("separable", 4, _labels([5, 5, 3, 3], [5, 3], [5, 5, 3, 3]), True),
        ("separable", 4, _labels([0, 0, 1, 1], [0, 1], [1, 1, 0, 0]), False),
        ("separable", 4, _labels([0, 0, 1, 1], [0, 2], [0, 0, 1, 1]), False),
        ("separable", 4, _labels([0, 0, 1, 1], [0, 1], [0, 0, 1, 2]), False),
        ("separable", 4, _labels([0, 0, 1, -1], [0, 1], [0, 0, 1, 1]), False),
        ("reused", 16, _labels([0] * 4, [0, 1], [1, 2], ODD_EVEN), True),
        ("reused", 16, _labels([0] * 4, [0, 3], [1, 2], ODD_EVEN), False),
        ("reused", 16, _labels([1] * 4, [1, 1], [1, 2], ODD_EVEN), False),
        ("reused", 16, _labels([0] * 4, [0, 1, 2], ODD_EVEN), False),  # one hidden layer never qualifies
        ("separable-reused", 3, _labels([0, 0, 1, 1, 2, 2], [0, 1, 2], [3, 4, 5]), True),
        ("separable-reused", 3, _labels([0, 0, 1, 1, 2, 2], [0, 1, 2], [0, 4, 5]), False),
        ("overlap-0", 2, _labels([0] * 4 + [1] * 4, [0, 1], [0, 1]), True),
        ("overlap-1", 2, _labels([0] * 3 + [1] + [2] * 3, [3, 4], [3, 4]), True),
        ("overlap-1", 2, _labels([0] * 3 + [1] + [2] * 3, [3, 5], [3, 4]), False),
        ("overlap-1", 2, _labels([0] * 3 + [0] + [2] * 3, [3, 4], [3, 4]), False),
        ("depth", 2, _labels([0] * 4 + [1] * 4, [0, 1], [2, 2], [2, 2]), True),
        ("depth", 2, _labels([0] * 4 + [1] * 4, [0, 1], [2, 3], [2, 3]), False),
        ("depth", 2, _labels([0] * 4 + [1] * 4, [0, 1], [2], [3, 4], [3, 4]), True),
        ("depth", 2, _labels([0] * 4 + [1] * 4, [0, 1], [2], [2, 2], [2, 2]), False),
    ],
)
def test_success_is_all_modules_and_no_other(task: str, outputs: int, labels: list[np.ndarray], expected: bool) -> None:
    assert recovery.success(tasks.load(task, outputs=outputs), labels) is expected


def test_the_three_verdicts_of_an_overlap() -> None:
    task = tasks.load("overlap-4", outputs=2)
    shared = recovery.verdicts(task, _labels([0] * 4, [1, 3, 2], [1, 2]))
    assert shared == {"inputs": True, "hidden": False, "outputs": True, "success": False}
    one_side = recovery.verdicts(task, _labels([0] * 4, [1, 1], [1, 2]))
    assert not one_side["hidden"]
    apart = recovery.verdicts(task, _labels([0] * 4, [1, 2, -1], [1, 2]))
    assert all(apart.values())


def test_pixels_that_are_cut_off_are_not_missed() -> None:
    task = tasks.two_digits("digits", train=1, test=1)
    pixels = np.where(np.arange(128) % 16 < 8, 0, 1)
    pixels[::3] = -1
    assert recovery.verdicts(task, [pixels, *_labels([0, 1], [2, 3, 4])])["success"]
    pixels[1] = 1
    assert not recovery.verdicts(task, [pixels, *_labels([0, 1], [2, 3, 4])])["inputs"]


# --- evidence ---------------------------------------------------------------------------------------------------------

SHAPE = {"widths": "24", "layers": "2", "grid": "coarse"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One seed and one shape of a few tasks, and a pair-of-digits network, as the stages record them."""
    folder = tmp_path_factory.mktemp("study")
    plan = [
        Cell(cells.STUDY, "boolean", {"task": task, "outputs": outputs, **SHAPE, "seed": 0})
        for task, outputs in (("separable", 4), ("single", 4), ("reused", 2), ("reused", 16), ("separable-reused", 3))
    ]
    plan += [
        Cell(cells.STUDY, stage, {"task": "reused", "outputs": outputs, **SHAPE, "seed": 0})
        for stage in ("ablate", "vary", "repeat")
        for outputs in (2, 16)
    ]
    digits = cells.SMALL | {"train": 8, "width": 12, "epochs": 4, "edge_step": 20.0}
    plan += [Cell(cells.STUDY, "digits", {**digits, "layers": layers, "seed": 0}) for layers in (2, 4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODUTILS_CACHE", str(folder / "cache"))
        for cell in plan:
            records.write(cell, cell.function(**cell.params), {}, folder)
        assert not list((folder / "cache").rglob("*.checkpoint"))
    return Results(plan, folder)


def test_a_network_comes_back_with_its_modules(results: Results) -> None:
    (one,) = evidence.networks(results, "separable", 4)
    task = tasks.load("separable")
    alone = sculpting.sculpt(
        task,
        [24, 24],
        cells.training("separable", 4, 24, 2),
        unit_steps=[one.unit_step],
        edge_steps=[one.edge_step],
        seeds=[0],
    )[0]
    assert all((a == b).all() for a, b in zip(alone.network.masks, one.masks, strict=True))
    assert one.edges == sum(int(mask.sum()) for mask in one.masks)
    assert one.density == one.edges / 768
    assert one.verdicts == recovery.verdicts(task, one.labels) | {"resolved": True}
    assert one.sizes == tuple(int((labels >= 0).sum()) for labels in one.labels)
    assert evidence.networks(results, "separable", 4, layers=3) == []
    assert evidence.networks(results, "depth", 4) == []


def test_a_network_whose_runs_all_failed_succeeds_at_nothing(tmp_path: Path) -> None:
    cell = Cell(cells.STUDY, "boolean", {"task": "single", "outputs": 4, **SHAPE, "seed": 0})
    values = {
        "24x2": {
            "all_failed": True,
            "unit_step": 5.0,
            "edge_step": 0.5,
            "sizes": [4, 24, 24, 4],
            "masks": np.ones((1, 768), dtype=bool),
        }
    }
    records.write(cell, values, {}, tmp_path)
    (one,) = evidence.networks(Results([cell], tmp_path), "single", 4)
    assert one.failed
    assert not any(one.verdicts.values())


def test_one_sidedness_of_pure_and_mixed_units() -> None:
    left = np.array([True, True, True, False, False, False])
    pure = [np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]), np.ones((1, 2), dtype=int)]
    shares, value, null = evidence.one_sidedness(pure, left)
    assert shares.tolist() == [1.0, 0.0]
    assert value == 1.0
    assert null.shape == (evidence.SHUFFLES,)
    # C(3, 3) / C(6, 3) on either side: the null is 1 for a unit with probability 0.1, else 1/3
    assert null.mean() == pytest.approx(0.4, abs=0.02)
    mixed = [np.array([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0]]), np.ones((1, 2), dtype=int)]
    assert evidence.one_sidedness(mixed, left)[1] == 0.0
    cut = [np.zeros((2, 6), dtype=int), np.zeros((1, 2), dtype=int)]
    assert evidence.one_sidedness(cut, left)[1] == 0.0


def test_digit_networks_know_their_halves(results: Results) -> None:
    settings = {name: value for name, value in results.cells[-1].params.items() if name not in ("layers", "seed")}
    found = evidence.digit_networks(results, settings)
    assert [one.layers for one in found] == [2, 4]
    for one in found:
        assert one.shape == (8, 16)
        edges = one.masks[0][one.labels[1] >= 0][:, one.labels[0] >= 0]
        left = (np.arange(128) % 16 < 8)[one.labels[0] >= 0]
        np.testing.assert_allclose(one.left_shares, (edges & left).sum(1) / edges.sum(1))
        assert 0 < one.p_value <= 1
        assert one.accuracy >= one.dense_accuracy - cells.TOLERANCE - 1e-9 or one.failed


# --- rules ------------------------------------------------------------------------------------------------------------


def _network(task: str, layers: int = 2, **changes: Any) -> Found:
    verdicts = dict.fromkeys(("inputs", "hidden", "outputs", "success", "resolved"), True)
    masks = [np.zeros((24, 4), dtype=bool), np.zeros((24, 24), dtype=bool), np.zeros((4, 24), dtype=bool)]
    base = Found(task, 4, 24, layers, 0, 5.0, 0.5, 16 / 768, 16, (4, 4, 2, 4), False, verdicts, masks, [], ())
    found = base._replace(**changes)
    return found if found.ties else found._replace(ties=(found.verdicts,))


def _with(one: Found, **verdicts: bool) -> Found:
    """Other verdicts, of a network without ties."""
    changed = one.verdicts | verdicts
    return one._replace(verdicts=changed, ties=(changed,))


class Planted(Evidence):
    """Evidence made up for a test: networks by task, outputs and layers, and pairs of digits."""

    def __init__(self, networks: dict[Any, list[Found]] | None = None, digits: list[Digits] | None = None) -> None:
        self.planted = networks or {}
        self.planted_digits = digits or []
        self.digit_settings = (cells.FULL, cells.REDUCED)

    def networks(self, task: str, outputs: int | None = None, layers: int | None = None) -> list[Found]:
        found = self.planted.get((task, outputs or evidence.DEFAULT_OUTPUTS[task]), self.planted.get(task, []))
        return [one for one in found if layers in (None, one.layers)]

    def pictured(self, picture: published.Picture) -> list[Found]:
        return self.planted.get(picture.claim, [])

    def digits(self, layers: int | None = None) -> list[Digits]:
        return self.planted_digits


def _some(task: str, right: int, n: int, layers: int = 2, verdict: str = "success") -> list[Found]:
    good = _network(task, layers)
    bad = _with(good, **{verdict: False, "success": False, "resolved": False})
    return [good] * right + [bad] * (n - right)


def _decide(number: int, of: Evidence) -> str:
    return next(claim for claim in claims.CLAIMS if claim.id == f"N{number}").decide(of).verdict


#: N19 repeats N6.
IDS = [f"N{number}" for number in range(1, 28) if number != 19]


def test_there_are_26_claims_in_order() -> None:
    assert [claim.id for claim in claims.CLAIMS] == IDS


@pytest.mark.parametrize(
    ("right", "expected"),
    [(36, "holds"), (35, "holds"), (33, "undecided"), (27, "undecided"), (20, "does not hold")],
)
def test_exemplars_are_counted(right: int, expected: str) -> None:
    assert _decide(1, Planted({"separable": _some("separable", right, 36)})) == expected


@pytest.mark.parametrize(
    ("counts", "inputs", "expected"),
    [
        ((0, 60, 60), 60, "holds"),
        ((0, 60, 6), 60, "does not hold"),  # one depth alone
        ((0, 40, 55), 60, "undecided"),
        ((0, 10, 10), 10, "does not hold"),
        ((0, 60, 60), 3, "does not hold"),  # networks with one hidden layer count by their inputs
    ],
)
def test_the_reused_function_is_counted_twice(counts: tuple[int, ...], inputs: int, expected: str) -> None:
    deep = [one for layers, right in zip((2, 3), counts[1:], strict=True) for one in _some("reused", right, 60, layers)]
    shallow = [_with(one, success=False) for one in _some("reused", inputs, 60, 1, "inputs")]
    assert _decide(2, Planted({"reused": [*shallow, *deep]})) == expected


def _tied(one: Found, *shown: bool) -> Found:
    """The same network with ties of which these show all that is looked for."""
    verdicts = tuple(dict.fromkeys(one.verdicts, each) for each in shown)
    return one._replace(verdicts=verdicts[0], ties=verdicts)


def test_the_three_rules_for_ties() -> None:
    found = [_tied(_network("single"), *shown) for shown in ((False, True, True, False), (True,), (False,))]
    means = {ties: evidence.rate(found, ties=ties).mean for ties in evidence.TIES}
    assert means == {"first": 1 / 3, "expected": 0.5, "most favourable": 2 / 3}
    assert evidence.rate([], ties="expected").n == 0
    assert claims.three(found) == "1, 1.5, 2 of 3"
    assert claims.three(found[1:]) == "1 of 2"  # the same by each
    whole = evidence.share([1.0] * 35 + [0.0])
    assert whole == pytest.approx(tuple(statistics.share(35, 36)))


@pytest.mark.parametrize(("number", "task"), [(1, "separable"), (2, "reused"), (3, "separable-reused"), (4, "single")])
def test_a_rate_that_only_the_most_favourable_tie_reaches_holds_in_part(number: int, task: str) -> None:
    layers = (1, 2, 3) if task == "reused" else (2,)
    networks = [_network(task, depth) for depth in layers for _ in range(60)]
    assert _decide(number, Planted({task: networks})) == "holds"
    for order in ((False, True), (True, False)):  # the first of them does not decide
        assert _decide(number, Planted({task: [_tied(one, *order) for one in networks]})) == "holds in part"
    assert _decide(number, Planted({task: [_tied(one, False, False) for one in networks]})) == "does not hold"


def test_success_of_tied_runs_is_that_of_the_fewest_edges() -> None:
    run = {
        "densities": np.array([0.3, 0.1, 0.2, 0.1, 0.05, 0.1], dtype=np.float32),
        "failed": np.array([False, False, False, False, True, True]),
        "success": np.array([True, False, True, True, True, True]),
    }
    assert evidence.tied_success(run) == [False, True]
    assert evidence.tied_success(run | {"failed": np.ones(6, dtype=bool)}) == [False]


def test_what_four_seeds_would_have_given() -> None:
    rows = {ties: np.repeat([[0.0], [1.0]], 25, axis=0) for ties in evidence.TIES}
    drawn = tie_figures.four_of_many(rows)["first"]
    assert set(drawn.tolist()) == {0, 0.25, 0.5, 0.75, 1}
    # hypergeometric: all four of one kind in 2 C(25, 4) / C(50, 4) of the draws
    assert np.isin(drawn, (0, 1)).mean() == pytest.approx(0.11, abs=0.03)


@pytest.mark.parametrize(
    ("edges", "sizes", "expected"),
    [
        ((16, 17, 16, 16), (4, 4, 2, 4), "holds"),
        ((18, 18, 18, 20), (4, 4, 2, 4), "holds"),  # a median of two more than the slide's 16
        ((16, 19, 19, 20), (4, 4, 2, 4), "holds in part"),  # however far our seeds are apart
        ((19, 20, 19, 20), (4, 4, 2, 4), "holds in part"),
        ((16, 17, 16, 16), (4, 3, 3, 4), "holds in part"),
        ((13, 13, 12, 11), (4, 3, 3, 4), "does not hold"),
    ],
)
def test_a_picture_is_judged_by_density_and_sizes(
    edges: tuple[int, ...], sizes: tuple[int, ...], expected: str
) -> None:
    found = [_network("separable", edges=count, density=count / 768, sizes=sizes) for count in edges]
    assert _decide(5, Planted({5: found})) == expected
    assert _decide(5, Planted()) == "not testable"


def test_the_depth_pictures_also_need_their_modules() -> None:
    masks = [np.zeros((48, 8), dtype=bool), np.zeros((48, 48), dtype=bool), np.zeros((4, 48), dtype=bool)]
    good = _network("depth", edges=27, sizes=(8, 4, 2, 4), masks=masks)
    good = _with(good, outputs=False)
    apart = _with(good, outputs=True)
    assert _decide(23, Planted({23: [good] * 4})) == "holds"
    assert _decide(23, Planted({23: [apart] * 4})) == "holds in part"  # the slide has the outputs together
    assert _decide(23, Planted({23: [apart._replace(edges=60)] * 4})) == "does not hold"


def _overlaps(hidden: int, outputs: dict[int, list[int]], inputs: int = 10) -> Planted:
    """Forty networks for every overlap and reuse; counts of ten, four times each."""
    planted = {}
    for overlap in range(5):
        for place, reuse in enumerate(published.REUSE):
            name = f"overlap-{overlap}"
            right = {
                "inputs": inputs if overlap < 3 else 7,
                "hidden": 10 if overlap < 3 else hidden,
                "outputs": outputs[overlap][place] if overlap > 2 else 10,
            }
            planted[name, 2 * reuse] = [
                _with(_network(name), **{what: i < 4 * count for what, count in right.items()}) for i in range(40)
            ]
    return Planted(planted)


@pytest.mark.parametrize(
    ("hidden", "outputs", "inputs", "expected"),
    [
        (1, {3: [5, 6, 6, 7, 8], 4: [2, 3, 4, 5, 6]}, 10, "holds"),
        (4, {3: [5, 6, 6, 7, 8], 4: [2, 3, 4, 5, 6]}, 10, "holds in part"),
        (1, {3: [8, 7, 7, 6, 5], 4: [2, 3, 4, 5, 6]}, 10, "holds in part"),
        (4, {3: [2, 2, 2, 2, 2], 4: [5, 5, 5, 5, 5]}, 10, "does not hold"),
        (4, {3: [6, 6, 6, 6, 6], 4: [2, 3, 4, 5, 6]}, 5, "does not hold"),
    ],
)
def test_separability_has_five_parts(hidden: int, outputs: dict[int, list[int]], inputs: int, expected: str) -> None:
    assert _decide(14, _overlaps(hidden, outputs, inputs)) == expected


def _by_reuse(task: str, counts: dict[int, list[int]], reuses: tuple[int, ...]) -> Planted:
    planted: dict[Any, list[Found]] = {}
    for layers, row in counts.items():
        for count, reuse in zip(row, reuses, strict=True):
            planted.setdefault((task, 2 * reuse), []).extend(_some(task, count, 12, layers))
    return Planted(planted)


@pytest.mark.parametrize(
    ("two", "three", "expected"),
    [
        ([7, 11, 12, 12, 12], [8, 9, 10, 10, 11], "holds"),
        ([2, 7, 8, 9, 9], [1, 5, 7, 8, 10], "holds in part"),
        ([12, 11, 10, 9, 8], [8, 9, 10, 10, 11], "holds in part"),
        ([12, 11, 10, 9, 8], [12, 12, 12, 11, 10], "does not hold"),
    ],
)
def test_reuse_needs_the_trend_and_the_level(two: list[int], three: list[int], expected: str) -> None:
    assert _decide(20, _by_reuse("reused", {1: [0] * 5, 2: two, 3: three}, published.REUSE)) == expected


@pytest.mark.parametrize(
    ("three", "four", "expected"),
    [
        ([6, 10, 12, 12], [9, 11, 12, 12], "holds"),
        ([2, 10, 12, 12], [3, 11, 12, 12], "holds in part"),
        ([12, 10, 8, 4], [3, 11, 12, 12], "does not hold"),
    ],
)
def test_depth_needs_the_trend_and_the_level(three: list[int], four: list[int], expected: str) -> None:
    of = _by_reuse("depth", {2: [12, 12, 12, 10], 3: three, 4: four}, published.REUSE[1:])
    assert _decide(24, of) == expected
    more = {
        key: [_with(one, success=False) if one.layers == 2 else one for one in found]
        for key, found in of.planted.items()
    }
    assert _decide(24, Planted(more)) == expected  # who tells the output functions apart as well counts as right
    assert _decide(24, Planted()) == "not testable"


def _digit(
    layers: int, *, inputs: bool, outputs: bool = True, sided: float = 0.9, null: float = 0.1, **more: Any
) -> Digits:
    sizes = published.DIGIT_PICTURES[layers][1]
    pixels = np.where(np.arange(1568) % 56 % 28 < 15, 0, -1)
    base = Digits(
        layers, 0, published.DIGIT_PICTURES[layers][0] / 100, sizes, 0.98, 0.97, 38400, False,
        {"inputs": inputs, "hidden": False, "outputs": outputs, "success": inputs and outputs},
        np.array([0.0, 1.0]), sided, np.full(99, null), [], [pixels], {}, (28, 56),
    )  # fmt: skip
    return base._replace(**more)


def test_digits_need_depth_for_their_modules() -> None:
    depths = (2, 3, 4, 5)
    many = [d for d in depths for _ in range(8)]
    assert _decide(25, Planted(digits=[_digit(d, inputs=d >= 4) for d in many])) == "holds"
    assert _decide(25, Planted(digits=[_digit(d, inputs=False) for d in many])) == "holds in part"
    assert _decide(25, Planted(digits=[_digit(d, inputs=d >= 4) for d in depths])) == "undecided"
    # Nothing but one module of all is no part of the claim, nor does it help that units are one-sided.
    assert _decide(25, Planted(digits=[_digit(d, inputs=False, outputs=False) for d in many])) == "does not hold"
    assert _decide(25, Planted(digits=[_digit(2, inputs=False)])) == "not testable"


def test_digit_sizes_are_judged_by_order_of_magnitude() -> None:
    good = [_digit(d, inputs=True) for d in (2, 3)]
    assert _decide(26, Planted(digits=good)) == "holds"
    assert _decide(26, Planted(digits=[good[0], good[1]._replace(density=0.05)])) == "holds in part"
    assert _decide(26, Planted(digits=[one._replace(density=0.05) for one in good])) == "does not hold"
    assert _decide(26, Planted(digits=[one._replace(shape=(8, 16)) for one in good])) == "not testable"


def test_pixels_left_are_counted_and_placed() -> None:
    middle = np.zeros((28, 28), dtype=bool)
    middle[4:24, 4:24] = True
    inside = np.where(np.hstack([middle, middle]).ravel(), 0, -1)
    half = _digit(2, inputs=True, labels=[inside], sizes=(800, 83, 12, 3))
    assert _decide(27, Planted(digits=[half] * 2)) == "holds"
    assert _decide(27, Planted(digits=[half])) == "undecided"
    outside = np.where(inside == 0, -1, 0)
    assert _decide(27, Planted(digits=[half._replace(labels=[outside])] * 2)) == "holds in part"
    few = half._replace(labels=[outside], sizes=(100, 83, 12, 3))
    assert _decide(27, Planted(digits=[few] * 2)) == "does not hold"


def test_the_committed_record_is_enough_for_every_rule() -> None:
    (rows,) = STUDY.judge().values()
    assert [row.id for row in rows] == IDS
    assert all(row.value and row.why and row.rule and row.published for row in rows)
    assert not [row.id for row in rows if row.verdict == "not testable"]


def test_a_missing_record_or_another_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no record of neural_sculpting"):
        STUDY.judge(results=Results(cells.plan("paper"), tmp_path))
    with pytest.raises(ValueError, match="dataset='fashion-mnist' is not part of scale 'paper'"):
        STUDY.judge(dataset="fashion-mnist")


# --- figures ----------------------------------------------------------------------------------------------------------


def test_every_figure_draws_what_a_small_record_has(results: Results) -> None:
    settings = {name: value for name, value in results.cells[-1].params.items() if name not in ("layers", "seed")}
    digits = evidence.digit_networks(results, settings)
    drawn = [
        figures.picture_sheet(results, (8, 5, 6, 7)),
        figures.picture_sheet(results, (15, 19), titles=["one", "eight"]),
        figures.exemplar_rates(results),
        figures.densities(results),
        figures.overlap_rates(results),
        figures.reuse_rates(results),
        figures.depth_rates(results),
        tie_figures.four_seeds(results),
        tie_figures.tied_networks(results),
        figures.digit_networks(digits),
        figures.left_shares(digits),
        beyond.settings(results),
        beyond.sparse_and_modular(results),
        beyond.thresholds(beyond.threshold_rates(results)),
        beyond.digit_runs(digits),
        beyond.grid(results),
        beyond.ablation(results),
        beyond.ablation_by_task(results),
    ]
    for made in drawn:
        assert isinstance(made, Figure)
        made.canvas.draw()


def test_rates_in_the_figure_are_those_of_the_record(results: Results) -> None:
    (ax,) = figures.exemplar_rates(results).axes
    (one,) = evidence.networks(results, "separable", 4)
    row = [text.get_text() for text in ax.get_yticklabels()].index(claims.NAMES["separable"])
    dots = np.concatenate([np.asarray(line.get_xydata()) for line in ax.lines if line.get_marker() == "o"])
    assert dots[dots[:, 1] == row, 0].tolist() == [float(one.verdicts["success"])]


def test_the_ablation_counts_the_sparsest_of_each_grid(results: Results) -> None:
    counts = beyond.ablation_rates(results)
    assert set(counts) == set(cells.VARIANTS)
    cell = next(c for c in results.cells if c.stage == "ablate" and c.params["outputs"] == 16)
    values = records.read(cell, results.folder).values["24x2"]
    for name, (right, n, ratio) in counts.items():
        best = values[name]["best"]
        assert (right, n) == (int(values[name]["success"][best]), 1)
        full = values["full"]["densities"]
        assert ratio == pytest.approx(values[name]["densities"][best] / full.min(), rel=1e-5)
    with pytest.raises(RecordError, match="no network of stage 'ablate'"):
        beyond.ablation(replace(results, cells=results.cells[:3]))


def test_the_two_reused_tasks_have_records_of_every_change(results: Results) -> None:
    for outputs in (2, 16):
        (network,) = beyond.graded(results, "vary", "reused", outputs)
        assert list(network) == list(cells.CHANGES)
        full = beyond.graded(results, "ablate", "reused", outputs)[0]["full"]
        np.testing.assert_array_equal(network["as they are"]["densities"], full["densities"])
