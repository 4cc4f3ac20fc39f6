"""The command line: one line for an expected failure, no traceback, a non-zero exit."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from companion import claims, records, sweeps, witness
from companion.__main__ import main
from companion.records import Cell
from conftest import Toy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "alchemy"], "study='alchemy' is unknown; choose one of bake_off, biclustering"),
        (["run", "biclustering", "--scale", "huge"], "scale='huge' is unknown; choose 'quick' or 'paper'"),
        (["run", "biclustering", "--stages", "dream"], "--stages dream: no such stage in biclustering"),
        (
            ["run", "biclustering", "--stages", "train", "dream", "pictures", "awake"],
            "--stages awake dream: no such stage in biclustering; it has train, structure",
        ),
        (["verify", "--stages", "dream", "awake"], "--stages awake dream: no such stage in any study; it has contest"),
        (["claims", "alchemy"], "study='alchemy' is unknown"),
        (["claims", "biclustering", "--scale", "huge"], "scale='huge' is unknown"),
        (["status", "--scale", "huge"], "scale='huge' is unknown"),
        (["claims", "--dataset", "svhn"], "dataset='svhn' is not part of scale 'paper'; there are mnist"),
        (["run", "biclustering", "--workers", "0", "--output", "nowhere"], "workers=0 must be at least 1"),
        (["verify", "biclustering", "--cells", "0"], "count=0 must be at least 1"),
        (["verify", "alchemy"], "study='alchemy' is unknown"),
        (["status", "alchemy"], "study='alchemy' is unknown"),
        (["check", "biclustering", "--stages", "dream"], "--stages dream: no such stage in biclustering"),
        (["check", "biclustering", "--cells", "-1"], "count=-1 must be at least 0"),
        (
            ["claims", "biclustering", "--dataset", "svhn"],
            "dataset='svhn' is not part of scale 'paper'; there are mnist",
        ),
    ],
)
def test_expected_failures_are_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


def test_claims_without_a_record_say_what_to_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODUTILS_RESULTS", str(tmp_path))
    assert main(["claims", "biclustering"]) == 1
    assert "compute it: python -m companion run biclustering" in capsys.readouterr().err


def test_status_computes_nothing_and_counts(
    capsys: pytest.CaptureFixture[str], toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODUTILS_RESULTS", str(tmp_path / "results"))
    cells = [Cell("toy", "double", {"number": 3, "seed": seed}) for seed in range(2)]
    sweeps.run(cells, tmp_path / "results", progress=False)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*.json"))
    assert main(["status", "toy", "--strict"]) == 0
    assert capsys.readouterr().out.split() == ["toy", "double", "2", "of", "3", "current"]
    toy.change("FACTOR = 2", "FACTOR = 3")
    assert main(["status", "toy"]) == 0
    assert capsys.readouterr().out.split() == ["toy", "double", "2", "of", "3", "changed", "FACTOR"]
    assert main(["status", "toy", "--strict"]) == 1
    assert "toy/double is changed: run `check`, and compute anew what has other numbers" in capsys.readouterr().err
    assert main(["status", "toy", "--format", "json"]) == 0
    row = {
        "study": "toy",
        "stage": "double",
        "planned": 3,
        "recorded": 2,
        "state": "changed",
        "definitions": ["FACTOR"],
    }
    assert json.loads(capsys.readouterr().out) == [row]
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*.json")) == before


def test_status_names_six_definitions_and_counts_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for count, shown in ((0, "current"), (6, "changed  a, b, c, d, e, f"), (9, "changed  a, b, c, d, e, f and 3 more")):
        row = witness.StageStatus("toy", "double", 3, 2, shown.split()[0], tuple("abcdefghi"[:count]))
        monkeypatch.setattr(witness, "status", lambda cells, folder, row=row: [row])
        assert main(["status", "biclustering"]) == 0
        assert capsys.readouterr().out.rstrip("\n").endswith(f"2 of 3  {shown}")
        assert main(["status", "biclustering", "--format", "json"]) == 0
        assert len(json.loads(capsys.readouterr().out)[0]["definitions"]) == count


def test_status_of_the_committed_record_covers_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["study"], row["stage"]) for row in rows} == {
        (path.parent.name, path.stem) for path in records.results_folder().glob("*/*.json")
    }
    for row in rows:
        assert list(row) == ["study", "stage", "planned", "recorded", "state", "definitions"]
        assert 0 < row["recorded"] <= row["planned"]
        assert bool(row["definitions"]) is (row["state"] in ("changed", "outdated"))


def test_claims_in_three_formats(capsys: pytest.CaptureFixture[str]) -> None:
    printed = {}
    for form in ("text", "json", "csv"):
        assert main(["claims", "biclustering", "--dataset", "mnist", "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    rows = json.loads(printed["json"])
    assert [row["id"] for row in rows] == [f"B{number}" for number in range(1, 16)]
    assert [row["id"] for row in csv.DictReader(io.StringIO(printed["csv"]))] == [row["id"] for row in rows]
    assert list(rows[0]) == list(claims.FIELDS)
    for row in rows:
        assert f"{row['id']:4} {row['verdict']:14} mnist" in printed["text"]
        assert row["value"] in printed["text"]


def test_run_computes_then_finds_everything_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["run", "biclustering", "--scale", "quick", "--stages", "pictures", "--output", str(tmp_path)]
    assert main(arguments) == 0
    assert "1 cells computed, 0 were there" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "0 cells computed, 1 were there" in capsys.readouterr().out
