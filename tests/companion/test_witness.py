"""Witnesses: in which state a stage is, and what the present code gives beside the code that made its record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from companion import records, sweeps, witness
from companion.records import Cell, RecordError
from companion.witness import _compare as compare
from conftest import Toy
from toy_study import Repository

CELLS = [Cell("toy", "double", {"number": 3, "seed": seed}) for seed in range(3)]


def _digest() -> str:
    return records.code("toy", "double").digest


def _state(folder: Path) -> str:
    (row,) = witness.status(CELLS, folder)
    assert [witness.state_of(cell, folder) for cell in CELLS[: row.recorded]].count(row.state) >= 1
    return row.state


def _note(folder: Path, before: str, after: str, *, equal: bool) -> None:
    """Write a line into the ledger."""
    found = witness.read("toy", "double", folder)
    found["checks"].append({"from": before, "to": after, "equal": equal})
    records.write_json(witness.path_of("toy", "double", folder), found)


@pytest.fixture
def recorded(toy: Toy, tmp_path: Path) -> Path:
    """A folder with the record of three cells."""
    sweeps.run(CELLS, tmp_path / "results", progress=False)
    return tmp_path / "results"


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("toy")
def test_a_stage_without_record_is_current(tmp_path: Path) -> None:
    assert witness.status(CELLS, tmp_path) == [("toy", "double", 3, 0, "current", ())]
    with pytest.raises(RecordError, match="no record of toy/double/3-0"):
        witness.state_of(CELLS[0], tmp_path)


def test_a_run_leaves_the_fingerprint_of_its_code(recorded: Path) -> None:
    content = json.loads((recorded / "toy" / "double.json").read_text())
    assert set(content) == {"study", "stage", "version", "fingerprints", "checks"}
    assert set(content["fingerprints"]) == {_digest()}
    made_by = content["fingerprints"][_digest()]
    assert made_by["definitions"].keys() == {"double", "_list", "FACTOR"}
    assert made_by["module"] == "studies.toy.cells"
    assert made_by["packages"] == ["numpy"]
    assert _state(recorded) == "current"


def test_code_that_differs_is_named(toy: Toy, recorded: Path) -> None:
    toy.change("FACTOR * number", "number * FACTOR")
    assert witness.status(CELLS, recorded) == [("toy", "double", 3, 3, "changed", ("double",))]
    toy.change("FACTOR = 2", "FACTOR = 3")
    assert witness.status(CELLS, recorded) == [("toy", "double", 3, 3, "changed", ("FACTOR", "double"))]
    toy.change("number * FACTOR", "FACTOR * number")
    toy.change("FACTOR = 3", "FACTOR = 2")
    assert _state(recorded) == "current"


def test_what_does_not_matter_leaves_a_stage_current(toy: Toy, recorded: Path) -> None:
    toy.change("FACTOR = 2", "# Twice\nFACTOR: int = 2")
    toy.change("monotonic() + seconds", "monotonic() + 2 * seconds")  # of another stage
    assert _state(recorded) == "current"


def test_a_chain_of_equal_checks_is_enough(toy: Toy, recorded: Path) -> None:
    first = _digest()
    toy.change("FACTOR * number", "number * FACTOR")
    second = _digest()
    _note(recorded, first, second, equal=True)
    assert _state(recorded) == "checked"
    toy.change("number * FACTOR", "(number * FACTOR) + 0")
    assert _state(recorded) == "changed"
    _note(recorded, second, _digest(), equal=True)
    assert _state(recorded) == "checked"
    (row,) = witness.status(CELLS, recorded)
    assert row.definitions == ()
    toy.change("(number * FACTOR) + 0", "0 + (number * FACTOR)")
    _note(recorded, _digest(), "another", equal=True)  # a chain that begins elsewhere
    assert _state(recorded) == "changed"


def test_an_unequal_check_outweighs_an_equal_one(toy: Toy, recorded: Path) -> None:
    first = _digest()
    toy.change("FACTOR * number", "number * FACTOR")
    for equal in (True, False, True):
        _note(recorded, first, _digest(), equal=equal)
        assert _state(recorded) == ("checked" if equal and len(witness.read("toy", "double", recorded)["checks"]) == 1
                                    else "outdated")  # fmt: skip
    toy.change("number * FACTOR", "FACTOR * number")
    assert _state(recorded) == "current"


def test_a_chain_does_not_pass_through_an_unequal_check(toy: Toy, recorded: Path) -> None:
    first = _digest()
    toy.change("FACTOR * number", "number * FACTOR")
    second = _digest()
    toy.change("number * FACTOR", "(number * FACTOR) + 0")
    _note(recorded, first, second, equal=True)
    _note(recorded, second, _digest(), equal=True)
    assert _state(recorded) == "checked"
    _note(recorded, second, first, equal=False)
    assert _state(recorded) == "changed"


def test_a_raised_version_outdates_what_is_recorded(toy: Toy, recorded: Path) -> None:
    toy.change("FACTOR = 2", 'FACTOR = 2\nVERSIONS = {"double": 2}')
    assert _state(recorded) == "outdated"
    assert sweeps.run(CELLS, recorded, progress=False) == 3
    assert _state(recorded) == "current"
    assert witness.read("toy", "double", recorded)["version"] == 2


def test_the_worst_state_of_a_cell_is_that_of_its_stage(toy: Toy, recorded: Path) -> None:
    toy.change("FACTOR * number", "number * FACTOR")
    CELLS[2].path(recorded).unlink()
    sweeps.compute(CELLS[2], recorded)
    assert [witness.state_of(cell, recorded) for cell in CELLS] == ["changed", "changed", "current"]
    assert _state(recorded) == "changed"


def test_a_file_that_is_no_witness_is_named(recorded: Path) -> None:
    path = recorded / "toy" / "double.json"
    whole = path.read_text()
    for text, why in ((whole[:40], "no witness"), (whole.replace('"toy"', '"ship"'), "belongs to ship/double")):
        path.write_text(text)
        with pytest.raises(RecordError, match=rf"double\.json is no witness of a stage .*{why.rpartition('no')[0]}"):
            witness.status(CELLS, recorded)


# --- comparison bit for bit -------------------------------------------------------------------------------------------


def _array(*values: float) -> dict[str, object]:
    import base64

    array = np.array(values)
    packed = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": packed}


@pytest.mark.parametrize(
    ("old", "new", "equal", "difference", "where"),
    [
        ({"a": 1.0, "seconds": 1}, {"a": 1.0, "seconds": 2}, True, 0, ""),
        ({"a": float("nan")}, {"a": float("nan")}, True, 0, ""),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0 * (1 + 1e-12)}, False, 1e-12, "b"),
        ({"a": [1, {"c": 1.0}]}, {"a": [1, {"c": 2.0}]}, False, 0.5, "a[1].c"),
        ({"a": _array(1, 2, 3)}, {"a": _array(1, 2, 3)}, True, 0, ""),
        ({"a": _array(1, 2, 3)}, {"a": _array(3, 2, 1)}, False, 2 / 3, "a"),
        ({"a": _array(1, 2, 3)}, {"a": _array(1, 2)}, False, np.inf, "a"),
        ({"a": _array(1, np.nan)}, {"a": _array(1, 2)}, False, np.inf, "a"),
        ({"a": "one"}, {"a": "two"}, False, np.inf, "a"),
        ({"a": "1"}, {"a": "2"}, False, np.inf, "a"),
        ({"a": True}, {"a": False}, False, 1, "a"),
        ({"a": 0.1}, {"a": 0.3}, False, 2 / 3, "a"),
        ({"a": None}, {}, False, np.inf, "a"),
        ({}, {"a": 1}, False, np.inf, "a"),
        ({"a": [1, 2]}, {"a": [1]}, False, np.inf, "a"),
        ({"a": 0.0}, {"a": -0.0}, False, 0, "a"),
    ],
)
def test_values_are_compared_bit_for_bit(old: object, new: object, equal: bool, difference: float, where: str) -> None:
    found = compare(old, new)
    assert found[0] is equal
    assert found[1] == pytest.approx(difference, rel=1e-3)
    assert equal or found[2] == where


# --- checks, in a repository ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_check_computes_by_both_codes(tmp_path: Path) -> None:
    """A stage is run, rewritten, checked, added to, committed, given other numbers, and outdated."""
    repository = Repository(tmp_path)
    done = repository.command("run", "toy", "--workers", "1")
    assert "3 cells computed, 0 were there" in done.stdout, done.stderr
    repository.commit()
    ledger = tmp_path / "results" / "toy" / "double.json"

    repository.change("FACTOR * number + seed", "seed + number * FACTOR")
    (tmp_path / "results" / "toy" / "double" / "3-2.json").unlink()
    equal = repository.command("check", "--workers", "1")
    assert equal.returncode == 0, equal.stderr
    assert "1 stages have changed" in equal.stdout
    assert "toy/double: checked" in equal.stdout
    assert equal.stdout.count("equal bit for bit") == 2  # the cheapest cell, and a random one
    (line,) = json.loads(ledger.read_text())["checks"]
    assert set(line) == {"from", "to", "commit", "date", "device", "cells", "largest_difference", "equal"}
    assert sorted(line["cells"]) == ["3-0", "3-1"]
    assert (line["equal"], line["largest_difference"]) == (True, 0)
    assert line["commit"].endswith("with changes")
    assert line["from"] != line["to"]
    assert set(json.loads(ledger.read_text())["fingerprints"]) == {line["from"], line["to"]}
    # What is made by the code before it is committed is found in the commit that follows.
    assert "1 cells computed, 2 were there" in repository.command("run", "toy", "--workers", "1").stdout
    repository.commit()

    repository.change("FACTOR = 2", "FACTOR = 3")
    repository.change("str(number)", "'other'")
    unequal = repository.command("check", "toy", "--cells", "0", "--workers", "1")
    assert unequal.returncode == 1
    assert "toy/double: OUTDATED" in unequal.stdout
    assert unequal.stdout.count(": list[1] is another\n") == 2  # two codes have made the records
    assert unequal.stderr == "error: the present code gives other numbers in toy/double\n"
    checks = json.loads(ledger.read_text())["checks"]
    assert [check["equal"] for check in checks] == [True, False, False]
    assert checks[-1]["largest_difference"] is None  # of texts
    strict = repository.command("status", "--strict")
    assert strict.returncode == 1
    assert "toy/double is outdated" in strict.stderr
    assert strict.stdout.split() == ["toy", "double", "3", "of", "3", "outdated", "FACTOR,", "_list,", "double"]


@pytest.mark.slow
def test_check_without_history_compares_with_the_record(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.command("run", "toy", "--workers", "1")
    ledger = tmp_path / "results" / "toy" / "double.json"
    content = json.loads(ledger.read_text())
    (known,) = content["fingerprints"].values()
    known["commit"] = "0" * 40
    ledger.write_text(json.dumps(content))
    repository.change("FACTOR * number + seed", "seed + number * FACTOR")
    found = repository.command("check", "toy", "--workers", "1")
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("\n") == 1
    assert "git archive 0000" in found.stderr
    assert "so it is compared with its record, as `verify` does" in found.stderr
    assert found.stdout.count(": passed (same versions and processor") == 2
    assert json.loads(ledger.read_text())["checks"] == []
    repository.change("FACTOR = 2", "FACTOR = 3")
    found = repository.command("check", "toy", "--cells", "0", "--workers", "1")
    assert found.returncode == 1
    assert "FAILED" in found.stdout
    assert "the present code gives other numbers in toy/double/3-" in found.stderr


def test_records_made_without_git_have_no_history(toy: Toy, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = witness.read("toy", "double", recorded)
    for known in found["fingerprints"].values():
        known["commit"] = "not in a git checkout"
    records.write_json(witness.path_of("toy", "double", recorded), found)
    toy.change("FACTOR = 2", "FACTOR = 2.0")
    ((row, error),) = witness.check(CELLS, recorded)
    assert (row.stage, row.state) == ("double", "changed")
    assert isinstance(error, witness.NoHistoryError)
    assert "toy/double: its records were made where there is no git" in str(error)
    found["fingerprints"].clear()
    records.write_json(witness.path_of("toy", "double", recorded), found)
    ((_, error),) = witness.check(CELLS, recorded)
    assert "its witness does not know the code with digest" in str(error)
    assert witness.status(CELLS, recorded)[0].definitions == ("(the code of this record is not known)",)


def test_a_stage_with_outdated_records_is_checked_for_the_others(toy: Toy, recorded: Path) -> None:
    first = _digest()
    toy.change("FACTOR * number", "number * FACTOR")
    sweeps.compute(CELLS[2], recorded)
    toy.change("number * FACTOR", "number * FACTOR + 0")
    _note(recorded, first, _digest(), equal=False)
    assert [witness.state_of(cell, recorded) for cell in CELLS] == ["outdated", "outdated", "changed"]
    assert [row[:2] for row in witness.to_check(CELLS, recorded)] == [("toy", "double")]


def test_check_needs_a_count(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count=-1 must be at least 0"):
        list(witness.check([], tmp_path, count=-1))


def test_a_commit_is_noted_once_there_is_one(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = iter(["a" * 40 + " with changes", "not in a git checkout", "b" * 40, "c" * 40])
    monkeypatch.setattr(records, "commit", lambda files: next(commits))
    noted = []
    for _ in range(4):
        witness.register("toy", "double", tmp_path)
        (known,) = witness.read("toy", "double", tmp_path)["fingerprints"].values()
        noted.append(known["commit"])
    assert noted == ["a" * 40 + " with changes", "a" * 40 + " with changes", "b" * 40, "b" * 40]


def test_the_committed_witnesses_know_the_code_of_every_record() -> None:
    folder = records.results_folder()
    paths = sorted(folder.glob("*/*.json"))
    assert len(paths) > 20
    for path in paths:
        known = witness.read(path.parent.name, path.stem, folder)["fingerprints"]
        made = {json.loads(record.read_text())["code"] for record in path.with_suffix("").glob("*.json")}
        assert made
        assert made <= known.keys(), path
