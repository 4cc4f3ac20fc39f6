"""Claims: the table is complete and its rules decide as they say, on planted numbers and on a live record."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from companion import claims, records, study, sweeps, witness
from companion.claims import Claim, Finding
from companion.records import Cell, Results
from conftest import Toy
from modutils.statistics import Interval
from studies.biclustering import STUDY, cells
from studies.biclustering import claims as biclustering


def _claim(id: str, verdict: str) -> Claim:
    return Claim(id, "paper", "statement", "published", "rule", lambda record: Finding(verdict, str(record), "", "why"))


def test_evaluate_keeps_order_and_refuses_bad_rows() -> None:
    rows = claims.evaluate([_claim("X2", "holds"), _claim("X1", "not testable")], lambda: 5)
    assert [(row.id, row.verdict, row.value) for row in rows] == [("X2", "holds", "5"), ("X1", "not testable", "5")]
    assert [(row.n, row.state, row.caveat) for row in rows] == [({}, "current", "")] * 2
    with pytest.raises(ValueError, match="share an id: \\['X1'\\]"):
        claims.evaluate([_claim("X1", "holds"), _claim("X1", "holds")], lambda: 0)
    with pytest.raises(ValueError, match="X1: verdict='maybe'"):
        claims.evaluate([_claim("X1", "maybe")], lambda: 0)


@pytest.mark.parametrize(
    ("states", "bars", "expected"),
    [
        ([True, True], {}, "holds"),
        ([True, None], {}, "undecided"),
        ([True, False], {}, "holds in part"),
        ([False, None], {}, "undecided"),
        ([False, False], {}, "does not hold"),
        ([True, True, None], {"holds": 2}, "holds"),
        ([True, None, False], {"holds": 2}, "undecided"),
        ([True, None, False], {"part": 1}, "holds in part"),
        ([True, None, False], {"part": 2}, "undecided"),
        ([True, False, False], {"part": 2}, "does not hold"),
        ([False, True], {"needed": "0"}, "does not hold"),
        ([None, False], {"needed": "0"}, "undecided"),
        ([True, False], {"needed": "0"}, "holds in part"),
    ],
)
def test_verdicts_follow_from_conditions(states: list[bool | None], bars: dict[str, Any], expected: str) -> None:
    conditions = {str(place): state for place, state in enumerate(states)}
    assert claims.decide(conditions, **bars) == expected
    of_numpy: dict[str, Any] = {name: None if state is None else np.bool_(state) for name, state in conditions.items()}
    found = claims.finding(of_numpy, "", "", "", **bars)
    assert found.verdict == expected
    assert found.conditions == conditions


@pytest.mark.parametrize(
    ("low", "high", "states"),
    [
        (0.1, 0.2, (True, False, None)),
        (-0.2, -0.1, (False, True, None)),
        (-0.1, 0.1, (None, None, True)),
        (0.16, 0.2, (True, False, False)),
        (-0.3, -0.2, (False, True, False)),
        (-0.5, 0.5, (None, None, None)),
        (np.nan, np.nan, (None, None, None)),
    ],
)
def test_an_interval_on_both_sides_decides_nothing(low: float, high: float, states: tuple[bool | None, ...]) -> None:
    found = Interval(0.0, low, high, 9)
    assert (claims.above(found, 0), claims.below(found, 0), claims.within(found, 0.15)) == states


def test_intervals_of_bounded_quantities_stay_within_bounds() -> None:
    assert claims.bounded(Interval(0.9, 0.7, 1.2, 3))[1:3] == (0.7, 1)
    assert claims.bounded(Interval(0.1, -0.2, 0.4, 3), 0)[1:3] == (0, 0.4)
    assert np.isnan(claims.bounded(Interval(0.1, np.nan, np.nan, 1)).low)


# --- what a verdict rests on ------------------------------------------------------------------------------------------


def _looking(id: str, *stages: str) -> Claim:
    """A claim whose rule looks at what is recorded of some stages."""

    def decide(results: Results) -> Finding:
        found = [record for stage in stages for record in results.recorded(stage)]
        return Finding("holds", str(len(found)), "[0, 1]", "It is.")

    return Claim(id, "paper", "A, “b”", "published", "rule", decide)


@pytest.fixture
def results(toy: Toy, tmp_path: Path) -> Results:
    """Of six planned cells of one stage three are recorded, of three of another one all."""
    cells = [Cell("toy", "double", {"number": 1, "seed": seed}) for seed in range(6)]
    cells += [Cell("toy", "trained", {"seed": seed}) for seed in range(3)]
    sweeps.run([*cells[:3], *cells[6:]], tmp_path / "results", progress=False)
    return Results(cells, tmp_path / "results")


def test_a_verdict_says_how_much_is_recorded_of_what_was_planned(results: Results) -> None:
    table = [_looking("X1", "double"), _looking("X2", "trained"), _looking("X3", "trained", "double"), _looking("X4")]
    rows = claims.evaluate(table, lambda: results, results=results, dataset="mnist")
    assert [row.n for row in rows] == [
        {"double": (3, 6)},
        {"trained": (3, 3)},
        {"trained": (3, 3), "double": (3, 6)},
        {},
    ]
    assert [len(row.cells) for row in rows] == [3, 3, 6, 0]
    assert {cell.stage for cell in rows[0].cells} == {"double"}
    assert [row.missing for row in rows] == ["double 3 of 6", "", "double 3 of 6", ""]
    assert [row.caveat for row in rows] == ["recorded: double 3 of 6", "", "recorded: double 3 of 6", ""]
    assert {row.state for row in rows} == {"current"}
    assert {row.dataset for row in rows} == {"mnist"}


def test_a_verdict_says_in_which_state_its_record_is(toy: Toy, results: Results) -> None:
    toy.change("FACTOR * number", "number * FACTOR")  # of `double` alone
    table = [_looking("X1", "trained"), _looking("X2", "trained", "double")]
    rows = claims.evaluate(table, lambda: results, results=results)
    assert [row.state for row in rows] == ["current", "changed"]
    assert rows[1].caveat == (
        "recorded: double 3 of 6; the code has changed since, and was not checked against the record"
    )
    folder = results.folder
    for equal, state, words in ((True, "checked", ""), (False, "outdated", "the present code gives other numbers")):
        found = witness.read("toy", "double", folder)
        (before,) = found["fingerprints"]
        found["checks"].append({"from": before, "to": records.code("toy", "double").digest, "equal": equal})
        records.write_json(witness.path_of("toy", "double", folder), found)
        row = claims.evaluate(table, lambda: results, results=results)[1]
        assert row.state == state
        assert row.caveat == "; ".join(filter(None, ("recorded: double 3 of 6", words)))


def test_evidence_is_made_anew_for_every_claim(results: Results) -> None:
    made: list[Results] = []

    def evidence() -> Results:
        made.append(results)
        return results

    claims.evaluate([_looking("X1", "double"), _looking("X2", "double")], evidence, results=results)
    assert len(made) == 2


FIELDS = [
    "id", "paper", "dataset", "statement", "published", "rule", "value", "interval", "n", "verdict", "conditions",
    "series", "why", "tried", "stages", "state",
]  # fmt: skip


def test_verdicts_for_machines(results: Results) -> None:
    table = [_looking("X1", "trained", "double"), _looking("X2")]
    rows = claims.evaluate(table, lambda: results, results=results, dataset="mnist")
    found = json.loads(claims.as_json(rows))
    assert [list(row) for row in found] == [FIELDS, FIELDS]
    assert found[0] == {
        "id": "X1",
        "paper": "paper",
        "dataset": "mnist",
        "statement": "A, “b”",
        "published": "published",
        "rule": "rule",
        "value": "6",
        "interval": "[0, 1]",
        "n": {"trained": {"recorded": 3, "planned": 3}, "double": {"recorded": 3, "planned": 6}},
        "verdict": "holds",
        "conditions": "",
        "series": "",
        "why": "It is.",
        "tried": "",
        "stages": ["trained", "double"],
        "state": "current",
    }
    head, first, second = list(csv.reader(io.StringIO(claims.as_csv(rows))))
    assert head == FIELDS
    assert dict(zip(head, first, strict=True)) == found[0] | {"n": "trained 3/3, double 3/6",
                                                              "stages": "trained, double"}  # fmt: skip
    assert dict(zip(head, second, strict=True))["n"] == ""


class Planted:
    """Stands in for ``Setting``: numbers by the end of their path, one per seed."""

    def __init__(self, model: str = "cnn", **numbers: Any) -> None:
        self.where = {"model": model, "layer": "act2", "dataset": "mnist"}
        self.planted = numbers

    def numbers(self, stage: str, *path: str) -> np.ndarray:
        for name in ("/".join(path), path[-1]):
            if name in self.planted:
                return np.asarray(self.planted[name], dtype=float)
        return np.full(10, 0.5)

    def interval(self, stage: str, *path: str) -> Any:
        from modutils.statistics import mean_interval

        return mean_interval(self.numbers(stage, *path))

    def share(self, stage: str, *path: str) -> Any:
        return claims.bounded(self.interval(stage, *path), 0)

    def values(self, stage: str) -> list[dict[str, Any]]:
        return self.planted[stage]

    def other(self, model: str, layer: str) -> Planted:
        return self


def _near(mean: float, spread: float = 0.01) -> np.ndarray:
    return mean + spread * np.linspace(-1, 1, 10)


@pytest.mark.parametrize(
    ("rule", "numbers", "expected"),
    [
        (biclustering._b1, {"positive": _near(0.16)}, "holds"),
        (biclustering._b1, {"positive": _near(0.25)}, "undecided"),
        (biclustering._b1, {"positive": _near(0.4)}, "does not hold"),
        (biclustering._b2, {"mass_share": _near(0.5), "area_share": _near(0.1, 0), "p": _near(0.002, 0)}, "holds"),
        (
            biclustering._b2,
            {"mass_share": _near(0.2), "area_share": _near(0.1, 0), "p": _near(0.002, 0)},
            "does not hold",
        ),
        (
            biclustering._b2,
            {"mass_share": _near(0.4), "area_share": _near(0.1, 0), "p": _near(0.002, 0)},
            "undecided",
        ),
        (biclustering._b3, {"median": np.eye(10)[0]}, "not testable"),
        (biclustering._b5, {"ratio": _near(0.7), "p": _near(0.002, 0)}, "holds"),
        (biclustering._b5, {"ratio": _near(0.7), "p": _near(0.02, 0)}, "undecided"),
        (biclustering._b5, {"ratio": _near(1.0), "p": _near(0.002, 0)}, "undecided"),
        (biclustering._b5, {"ratio": _near(1.1), "p": _near(0.5, 0)}, "does not hold"),
        (biclustering._b6, {"structure": [], "paper/labels/purity": _near(0.95)}, "holds"),
        (biclustering._b6, {"paper/labels/purity": _near(0.9)}, "undecided"),
        (biclustering._b6, {"paper/labels/purity": _near(0.8)}, "does not hold"),
        (biclustering._b12, {"rows": _near(0.9), "columns": _near(0.95)}, "holds"),
        (biclustering._b12, {"rows": _near(0.3), "columns": _near(0.95)}, "holds in part"),
        (biclustering._b12, {"rows": _near(0.3), "columns": _near(0.5)}, "does not hold"),
    ],
)
def test_rules_decide_as_they_say(rule: Callable[[Any], Finding], numbers: dict[str, Any], expected: str) -> None:
    assert rule(Planted(**numbers)).verdict == expected


def _controls(trained: float, free: float, same: float) -> Planted:
    numbers: dict[str, Any] = {f"{name}/paper/nmi": _near(free) for name in biclustering.TARGET_FREE}
    numbers |= {f"{name}/paper/nmi": _near(same) for name in biclustering.SAME_TARGET}
    return Planted(**numbers | {"predicted class/paper/nmi": _near(trained)})


@pytest.mark.parametrize(
    ("trained", "free", "same", "expected"),
    [
        (0.9, 0.6, 0.8, "holds"),
        (0.9, 0.6, 0.95, "does not hold"),
        (0.9, 0.95, 0.8, "holds in part"),
        (0.9, 0.95, 0.95, "does not hold"),
        (0.9, 0.6, 0.9, "undecided"),
    ],
)
def test_labels_must_be_beaten_by_more_than_the_targets(
    trained: float, free: float, same: float, expected: str
) -> None:
    assert biclustering._b7(_controls(trained, free, same)).verdict == expected


@pytest.mark.parametrize(
    ("module", "greedy", "random", "expected"),
    [
        (0.6, 0.7, 0.9, "holds"),
        (0.8, 0.7, 0.9, "holds in part"),
        (0.95, 0.7, 0.9, "does not hold"),
    ],
)
def test_ablation_needs_both_differences(module: float, greedy: float, random: float, expected: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 10))
    numbers = {
        "zero/deeplift/paper/mass/area": module + noise[0],
        "zero/deeplift/greedy mean/area": greedy + noise[1],
        "zero/random/area": random + noise[2],
    }
    assert biclustering._b10(Planted(**numbers)).verdict == expected


@pytest.mark.parametrize(
    ("shift", "spread", "expected"), [(0.0, 0.005, "holds"), (0.0, 0.1, "undecided"), (0.2, 0.01, "does not hold")]
)
def test_methods_must_be_shown_to_be_equivalent(shift: float, spread: float, expected: str) -> None:
    noise = np.random.default_rng(1).normal(0, spread, (5, 10))
    numbers = {
        f"zero/{method}/paper/mass/area": 0.8 + shift * index + noise[index]
        for index, method in enumerate(biclustering.INDEPENDENT)
    }
    numbers |= {
        f"methods/{method}/forms/paper/nmi": 0.9 + noise[index] for index, method in enumerate(biclustering.INDEPENDENT)
    }
    ablated = {f"{method}/paper/mass": {"areas": [0.8, 0.81]} for method in biclustering.INDEPENDENT}
    assert biclustering._b11(Planted(**numbers, ablate=[{"zero": ablated}] * 10)).verdict == expected


@pytest.mark.parametrize(
    ("own", "other", "random", "met"),
    [(0.3, 0.0, 0.0, [True, True]), (0.3, 0.0, 0.3, [True, None]), (0.0, 0.3, 0.3, [False, False])],
)
def test_the_former_rule_of_lesions(own: float, other: float, random: float, met: list[bool | None]) -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, (3, 10))
    drops = [mean + noise[place] for place, mean in enumerate((own, other, random))]
    assert list(biclustering.b13_conditions(*drops).values()) == met


def _space(p: list[float], share: float) -> Planted:
    test = {"value": 0.2, "null_mean": 0.1, "z": 3.0}
    place = "paper/space/neighbours:all"
    numbers: dict[str, Any] = {f"{place}/value": _near(share, 0.002), f"{place}/null_mean": _near(0.1, 0)}
    return Planted(
        **numbers,
        structure=[{"paper": {"space": {"neighbours:all": test | {"p_holm": value}}}} for value in p],
    )


@pytest.mark.parametrize(
    ("p", "share", "expected"),
    [
        ([0.5] * 10, 0.1, "holds"),
        ([0.5] * 10, 0.12, "undecided"),  # that tests find nothing shows no absence
        ([0.01] * 10, 0.1, "does not hold"),
        ([0.01] * 3 + [0.5] * 7, 0.1, "undecided"),
    ],
)
def test_place_is_judged_by_tests_and_by_equivalence(p: list[float], share: float, expected: str) -> None:
    assert biclustering._b8(_space(p, share)).verdict == expected


def test_a_dense_layer_has_no_places() -> None:
    assert biclustering._b8(Planted(model="mlp")).verdict == "not testable"


def test_a_missing_record_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(records.RecordError, match=r"no record of biclustering in .*: python -m companion run biclust"):
        STUDY.judge(results=Results(cells.plan("paper"), tmp_path))


def test_intervals_of_shares_and_correlations_stay_within_their_range() -> None:
    """Of what is recorded; with three runs a t interval of a correlation near 1 goes beyond it."""
    bounded = {"B1", "B4", "B6", "B12", "B13", "B14", "U6", "U13", "U21", "U26"}
    for name in ("biclustering", "upstream_downstream"):
        for row in (row for rows in study.load(name).judge().values() for row in rows if row.id in bounded):
            found = [float(end) for pair in re.findall(r"\[([^\]]+), ([^\]]+)\]", row.interval) for end in pair]
            assert found, row.id
            low = -1 if row.id.startswith("U") else 0
            assert all(low <= end <= 1 for end in found), (row.id, row.interval)


def test_every_verdict_of_the_book_says_what_it_rests_on() -> None:
    """On every data set: counts for every stage that was looked at, in the worst of whose states the verdict is."""
    judged = [rows for name in study.names() for rows in study.load(name).judge().values()]
    found = [row for rows in judged for row in rows]
    names = {"mnist", "fashion-mnist", "mnist, early stopping", "truth tables and mnist", "digits, five images"}
    assert {row.dataset for row in found} == names
    assert [row.id for row in found if not row.n and row.verdict != "not testable"] == []
    for row in found:
        assert all(0 <= recorded <= planned and planned > 0 for recorded, planned in row.n.values()), row.id
        assert row.state in witness.STATES
        assert row.verdict != "holds in part" or re.match(r"[1-9]\d* of \d+ conditions: .*; not: ", row.parts), row.id
        assert row.verdict != "undecided" or not row.parts or "; open: " in row.parts, row.id
        assert row.verdict not in ("holds", "does not hold", "not testable") or not row.parts
    early = study.load("upstream_downstream").judge(dataset="mnist, early stopping")
    assert [*early.values()] == [[row for row in found if row.dataset == "mnist, early stopping"]]
    with pytest.raises(ValueError, match="dataset='svhn' is not part of scale 'paper'; it has mnist, fashion-mnist"):
        STUDY.judge(dataset="svhn")
