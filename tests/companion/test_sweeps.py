"""Sweeps: every cell once, failures named, interrupts and kills lose nothing, and verification notices a change."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from companion import records, sweeps, witness
from companion.records import Cell, RecordError
from conftest import Toy

pytestmark = pytest.mark.usefixtures("toy")


def _cells(stage: str, count: int = 3, **params: object) -> list[Cell]:
    return [Cell("toy", stage, params | {"seed": seed}) for seed in range(count)]


def test_what_is_recorded_is_not_computed_again(tmp_path: Path) -> None:
    cells = _cells("slow", seconds=0, log=str(tmp_path / "log"))
    assert sweeps.run(cells[:2], tmp_path, progress=False) == 2
    assert sweeps.run(cells, tmp_path, progress=False) == 1
    assert (tmp_path / "log").read_text().split() == ["0", "1", "2"]
    provenance = records.read(cells[0], tmp_path).provenance
    assert provenance["seconds"] >= 0
    assert provenance["data"] == {}


@pytest.mark.parametrize("threads", [0, 2])
def test_a_failing_cell_is_named_and_the_others_are_kept(threads: int, tmp_path: Path) -> None:
    cells = _cells("failing")
    executor = ThreadPoolExecutor(threads) if threads else None
    with pytest.raises(sweeps.SweepError, match=r"1 of 3 cells failed: toy/failing/1: ValueError: seed 1"):
        sweeps.run(cells, tmp_path, executor=executor, progress=False)
    assert [records.is_recorded(cell, tmp_path) for cell in cells] == [True, False, True]


# --- the code of a record ---------------------------------------------------------------------------------------------


def test_nothing_is_added_to_a_stage_that_has_changed(toy: Toy, tmp_path: Path) -> None:
    cells = _cells("double", number=2)
    sweeps.run(cells[:1], tmp_path, progress=False)
    toy.change("FACTOR * number", "number * FACTOR")
    assert sweeps.run(cells[:1], tmp_path, progress=False) == 0  # nothing would be added
    with pytest.raises(
        RecordError, match=r"toy/double was recorded by other code \(double differ\).*check toy --stage"
    ):
        sweeps.run(cells, tmp_path, progress=False)
    assert not records.is_recorded(cells[1], tmp_path)
    assert set(witness.read("toy", "double", tmp_path)["fingerprints"]) == {records.read(cells[0], tmp_path).code}


def test_a_record_that_is_a_cache_is_computed_anew(toy: Toy, tmp_path: Path) -> None:
    cells = _cells("double", number=2)
    sweeps.run(cells[:1], tmp_path, progress=False)
    toy.change("FACTOR = 2", "FACTOR = 3")
    assert sweeps.run(cells, tmp_path, progress=False, unchecked="replace") == 3
    assert [records.read(cell, tmp_path).values["value"] for cell in cells] == [6, 7, 8]
    assert sweeps.run(cells, tmp_path, progress=False, unchecked="replace") == 0


def test_what_is_outdated_is_computed_and_what_is_checked_is_kept(toy: Toy, tmp_path: Path) -> None:
    cells = _cells("double", number=2)
    sweeps.run(cells[:2], tmp_path, progress=False)
    before = records.code("toy", "double").digest
    toy.change("FACTOR = 2", "FACTOR = 3")
    for equal, computed in ((True, 1), (False, 2)):
        found = witness.read("toy", "double", tmp_path)
        found["checks"].append({"from": before, "to": records.code("toy", "double").digest, "equal": equal})
        records.write_json(witness.path_of("toy", "double", tmp_path), found)
        assert sweeps.run(cells, tmp_path, progress=False) == computed
    assert [records.read(cell, tmp_path).values["value"] for cell in cells] == [6, 7, 8]


def test_a_file_that_is_edited_during_a_run_puts_no_value_under_a_new_digest(toy: Toy, tmp_path: Path) -> None:
    """The file is edited while the first cell runs: this process goes on with what it has, and says so."""
    old = records.code("toy", "slow").digest
    cells = _cells("slow", seconds=0, log=str(tmp_path / "log"))
    toy.change("import time\n", "import time\nfrom toy_edit import edit\n")
    toy.change('return {"value": seed, "holm"', 'edit(__file__)\n    return {"value": seed, "holm"')
    (tmp_path / "toy_edit.py").write_text(
        "from pathlib import Path\n\ndef edit(file):\n"
        "    Path(file).write_text(Path(file).read_text().replace('[0.1]', '[0.2]'))\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        sweeps.run(cells, tmp_path, progress=False)
    finally:
        sys.path.remove(str(tmp_path))
    made_by = {records.read(cell, tmp_path).code for cell in cells}
    assert "[0.2]" in toy.source.read_text()
    toy.forget()
    assert records.code("toy", "slow").digest not in made_by
    assert len(made_by) == 1
    assert old not in made_by
    (row,) = witness.status(cells, tmp_path)
    assert (row.state, row.definitions) == ("changed", ("slow",))


def test_a_worker_that_sees_other_code_than_the_run_refuses(toy: Toy, tmp_path: Path) -> None:
    cell = _cells("double", number=2)[0]
    before = records.code("toy", "double").digest
    toy.change("FACTOR = 2", "FACTOR = 3")  # as a worker that starts after an edit
    with pytest.raises(RecordError, match=r"the code of toy/double was edited during the run; start it again"):
        sweeps.compute(cell, tmp_path, before)
    assert not records.is_recorded(cell, tmp_path)
    sweeps.compute(cell, tmp_path, records.code("toy", "double").digest)
    assert records.is_recorded(cell, tmp_path)


def test_threads_tell_apart_what_they_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODUTILS_CACHE", str(tmp_path / "cache"))
    waiting = _cells("slow", seconds=0.5, log=str(tmp_path / "log"))
    cells = [*waiting, *_cells("reader", 1)]
    with ThreadPoolExecutor(4) as executor:
        sweeps.run(cells, tmp_path, executor=executor, progress=False)
    read = [set(records.read(cell, tmp_path).provenance["data"]) for cell in cells]
    assert read == [set(), set(), set(), {"digits/train", "digits/test"}]
