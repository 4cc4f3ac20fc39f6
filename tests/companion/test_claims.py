"""Claims: the table is complete and its rules decide as they say, on planted numbers and on a live record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from companion import claims, records
from companion.claims import Claim, Finding
from companion.records import Results, results_folder
from studies.biclustering import cells
from studies.biclustering import claims as biclustering


def _claim(id: str, verdict: str) -> Claim:
    return Claim(id, "paper", "statement", "published", "rule", lambda record: Finding(verdict, str(record), "", "why"))


def test_evaluate_keeps_order_and_refuses_bad_rows() -> None:
    rows = claims.evaluate([_claim("X2", "holds"), _claim("X1", "not testable")], 5)
    assert [(row.id, row.verdict, row.value) for row in rows] == [("X2", "holds", "5"), ("X1", "not testable", "5")]
    with pytest.raises(ValueError, match="share an id: \\['X1'\\]"):
        claims.evaluate([_claim("X1", "holds"), _claim("X1", "holds")], 0)
    with pytest.raises(ValueError, match="X1: verdict='maybe'"):
        claims.evaluate([_claim("X1", "maybe")], 0)


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
        (biclustering._b1, {"positive": _near(0.25)}, "holds in part"),
        (biclustering._b1, {"positive": _near(0.4)}, "does not hold"),
        (biclustering._b2, {"mass_share": _near(0.5), "area_share": _near(0.1, 0), "p": _near(0.002, 0)}, "holds"),
        (
            biclustering._b2,
            {"mass_share": _near(0.2), "area_share": _near(0.1, 0), "p": _near(0.002, 0)},
            "holds in part",
        ),
        (
            biclustering._b2,
            {"mass_share": _near(0.5), "area_share": _near(0.1, 0), "p": _near(0.03, 0)},
            "does not hold",
        ),
        (biclustering._b3, {"median": np.zeros(10)}, "holds"),
        (biclustering._b3, {"median": np.eye(10)[0]}, "does not hold"),
        (biclustering._b5, {"ratio": _near(0.7), "p": _near(0.002, 0)}, "holds"),
        (biclustering._b5, {"ratio": _near(0.7), "p": _near(0.02, 0)}, "does not hold"),
        (biclustering._b5, {"ratio": _near(1.0), "p": _near(0.002, 0)}, "does not hold"),
        (biclustering._b6, {"structure": [], "paper/labels/purity": _near(0.95)}, "holds"),
        (biclustering._b6, {"paper/labels/purity": _near(0.9)}, "holds in part"),
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
        (0.9, 0.6, 0.9, "does not hold"),
    ],
)
def test_labels_must_be_beaten_by_more_than_the_targets(
    trained: float, free: float, same: float, expected: str
) -> None:
    assert biclustering._b7(_controls(trained, free, same)).verdict == expected  # type: ignore[arg-type]


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
    assert biclustering._b10(Planted(**numbers)).verdict == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shift", "spread", "expected"), [(0.0, 0.005, "holds"), (0.0, 0.1, "holds in part"), (0.2, 0.01, "does not hold")]
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
    assert biclustering._b11(Planted(**numbers)).verdict == expected  # type: ignore[arg-type]


def _lesions(own: float, other: float, random: float, seeds: int) -> Planted:
    noise = np.random.default_rng(2).normal(0, 0.01, (seeds, 3))
    drops = {"own": own, "other": other, "random_own": random}
    values = [
        {
            "paper": {
                "lesions": {name: np.full(10, drop + noise[seed, i]) for i, (name, drop) in enumerate(drops.items())}
            }
        }
        for seed in range(seeds)
    ]
    return Planted(structure=values)


@pytest.mark.parametrize(
    ("own", "other", "random", "seeds", "expected"),
    [
        (0.3, 0.0, 0.0, 10, "holds"),
        (0.3, 0.0, 0.3, 10, "holds in part"),
        (0.0, 0.3, 0.3, 10, "does not hold"),
        (0.3, 0.0, 0.0, 3, "not testable"),
    ],
)
def test_lesions_need_own_samples_to_suffer_most(
    own: float, other: float, random: float, seeds: int, expected: str
) -> None:
    assert biclustering._b13(_lesions(own, other, random, seeds)).verdict == expected  # type: ignore[arg-type]


def _spectrum(gap_after: int) -> list[dict[str, Any]]:
    values = np.linspace(0.8, 0.6, 20)
    values[gap_after:] -= 0.2
    values[0] = 1.0
    return [{"k": {"singular_values": values}}] * 4


@pytest.mark.parametrize(("gap_after", "expected"), [(10, "holds"), (7, "does not hold")])
def test_the_eigengap_is_counted_from_the_trivial_value(gap_after: int, expected: str) -> None:
    assert biclustering._b15(Planted(structure=_spectrum(gap_after))).verdict == expected  # type: ignore[arg-type]


def _space(p: list[float]) -> Planted:
    test = {"value": 0.2, "null_mean": 0.1, "z": 3.0}
    return Planted(structure=[{"paper": {"space": {"neighbours:all": test | {"p_holm": value}}}} for value in p])


@pytest.mark.parametrize(
    ("p", "expected"),
    [([0.5] * 10, "holds"), ([0.01] * 10, "does not hold"), ([0.01] * 3 + [0.5] * 7, "holds in part")],
)
def test_place_is_judged_by_the_share_of_seeds(p: list[float], expected: str) -> None:
    assert biclustering._b8(_space(p)).verdict == expected  # type: ignore[arg-type]


def test_a_dense_layer_has_no_places() -> None:
    assert biclustering._b8(Planted(model="mlp")).verdict == "not testable"  # type: ignore[arg-type]


def test_a_missing_record_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(records.RecordError, match="no record of biclustering/structure"):
        biclustering.evaluate(results=Results(cells.plan("paper"), tmp_path))


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_the_committed_record_decides_all_fifteen(dataset: str) -> None:
    rows = biclustering.evaluate(dataset)
    assert [row.id for row in rows] == [f"B{number}" for number in range(1, 16)]
    assert all(row.value and row.why and row.rule and row.published for row in rows)
    assert results_folder().is_dir()
