"""Records: what is written is read back; what was altered, moved or made by other code is noticed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import studies
from companion import records
from companion.records import Cell, RecordError, Results
from toy_study import write_toy_study


def _forget() -> None:
    for cached in (records.code_parts, records._source, records._definitions, records._imports, records._read_cached):
        cached.cache_clear()


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """The toy study, importable; call it with (old, new) to change its source."""
    source = write_toy_study(tmp_path / "studies")
    studies.__path__.append(str(tmp_path / "studies"))

    def change(old: str, new: str) -> None:
        assert old in source.read_text()
        source.write_text(source.read_text().replace(old, new))
        _forget()

    yield change
    studies.__path__.pop()
    for name in [name for name in sys.modules if name.startswith("studies.toy")]:
        del sys.modules[name]
    _forget()


CELL = Cell("toy", "double", {"number": 3, "seed": 0})


def _write(folder: Path, cell: Cell = CELL) -> Path:
    return records.write(cell, cell.function(**cell.params), {"date": "today"}, folder)


@pytest.mark.usefixtures("toy")
def test_values_survive_a_round_trip(tmp_path: Path) -> None:
    path = _write(tmp_path)
    assert path.parent == tmp_path / "toy" / "double"
    assert path.name == f"3-0-{CELL.key}.json"
    record = records.read(CELL, tmp_path)
    assert record.values["value"] == 6
    assert record.values["list"] == [3, "3", None, True]
    np.testing.assert_array_equal(record.values["array"], [0.0, 3.0, 6.0, 9.0])
    assert record.provenance == {"date": "today"}
    assert record.changed == ()
    assert records.is_done(CELL, tmp_path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("dtype", ["int8", "float32", "float64", "bool"])
def test_arrays_are_kept_exactly(dtype: str, tmp_path: Path) -> None:
    array = (np.random.default_rng(0).normal(size=(3, 0, 2)) if dtype == "bool" else np.eye(3) / 3).astype(dtype)
    records.write(CELL, {"array": array}, {}, tmp_path)
    found = records.read(CELL, tmp_path).values["array"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.usefixtures("toy")
def test_an_altered_record_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path)
    path.write_text(path.read_text().replace('"value": 6', '"value": 7'))
    with pytest.raises(RecordError, match=r"3-0-.*json was altered"):
        records.read(CELL, tmp_path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(RecordError, match=r"3-0-.*json is not a record"):
        records.read(CELL, tmp_path)


@pytest.mark.usefixtures("toy")
def test_a_record_of_other_parameters_is_refused(tmp_path: Path) -> None:
    other = Cell("toy", "double", {"number": 4, "seed": 0})
    _write(tmp_path).rename(other.path(tmp_path))
    with pytest.raises(RecordError, match=r"belongs to other parameters: .*'number': 3"):
        records.read(other, tmp_path)


@pytest.mark.usefixtures("toy")
def test_a_missing_record_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no record of toy/double/3-0 .*python -m companion run toy"):
        records.read(CELL, tmp_path)


def test_a_change_of_code_that_is_reached_is_named(toy: Callable[[str, str], None], tmp_path: Path) -> None:
    before = _write(tmp_path)
    toy("FACTOR = 2", "FACTOR = 3")
    assert not records.is_done(CELL, tmp_path)
    assert records.read(CELL, tmp_path).changed == ("studies.toy.cells.FACTOR",)
    after = _write(tmp_path)
    assert after != before
    assert not before.exists()


def test_other_code_comments_and_docstrings_do_not_count(toy: Callable[[str, str], None], tmp_path: Path) -> None:
    slow = Cell("toy", "slow", {"seconds": 0, "log": str(tmp_path / "log"), "seed": 0})
    keys = CELL.key, slow.key
    toy("time.sleep(seconds)", "time.sleep(seconds)  # wait")
    toy("Not reached by `slow`.", "Something else.")
    assert (CELL.key, slow.key) == keys
    toy("[number, str(number), None, True]", "[number]")
    assert CELL.key != keys[0]
    assert slow.key == keys[1]


@pytest.mark.usefixtures("toy")
def test_code_is_followed_through_the_package() -> None:
    parts = records.code_parts("toy", "slow")
    assert "modutils.statistics.holm" in parts
    assert "modutils.statistics._finite" in parts  # called by holm
    assert "modutils.statistics.effect_size" not in parts
    assert "modutils.data.load" in records.code_parts("biclustering", "train")
    assert not [
        name for name in records.code_parts("biclustering", "describe") if name.startswith("companion.records.")
    ]


@pytest.mark.usefixtures("toy")
def test_results_look_cells_up_in_order(tmp_path: Path) -> None:
    cells = [Cell("toy", "double", {"number": number, "seed": seed}) for number in (5, 1) for seed in (0, 1)]
    for cell in cells:
        _write(tmp_path, cell)
    results = Results(cells, tmp_path)
    np.testing.assert_array_equal(results.numbers("double", "value"), [10, 11, 2, 3])
    np.testing.assert_array_equal(results.numbers("double", "value", number=1), [2, 3])
    with pytest.raises(RecordError, match=r"no cell of stage 'double' with \{'number': 9\}"):
        results.records("double", number=9)


def test_provenance_names_versions_machine_and_commit() -> None:
    found = records.provenance()
    assert set(found) == {"date", "commit", "python", "versions", "device", "threads"}
    assert found["versions"]["torch"].startswith("2.")
    json.dumps(found)
