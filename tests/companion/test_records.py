"""Records: found by parameters alone, read back as written; what was altered or is of other data is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from companion import records, sweeps
from companion.records import Cell, RecordError, Results
from conftest import Toy
from modutils import data

CELL = Cell("toy", "double", {"number": 3, "seed": 0})


def _write(folder: Path, cell: Cell = CELL) -> Path:
    return records.write(cell, cell.function(**cell.params), {"date": "today"}, folder)


@pytest.mark.usefixtures("toy")
def test_values_survive_a_round_trip(tmp_path: Path) -> None:
    path = _write(tmp_path)
    assert path == tmp_path / "toy" / "double" / "3-0.json"
    record = records.read(CELL, tmp_path)
    assert record.values["value"] == 6
    assert record.values["list"] == [3, "3", None, True]
    np.testing.assert_array_equal(record.values["array"], [0.0, 3.0, 6.0, 9.0])
    assert record.provenance == {"date": "today"}
    assert record.code == records.code("toy", "double").digest
    assert record.version == 1
    assert records.is_recorded(CELL, tmp_path)
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
    with pytest.raises(
        RecordError, match=r"3-0.json is not a record \(it was altered after it was written\); delete it and run"
    ):
        records.read(CELL, tmp_path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(RecordError, match=r"3-0.json is not a record"):
        records.read(CELL, tmp_path)
    _write(tmp_path)  # what is no record may be replaced
    assert records.read(CELL, tmp_path).values["value"] == 6


@pytest.mark.usefixtures("toy")
def test_a_record_of_other_parameters_is_refused(tmp_path: Path) -> None:
    other = Cell("toy", "double", {"number": 4, "seed": 0})
    _write(tmp_path).rename(other.path(tmp_path))
    with pytest.raises(RecordError, match=r"belongs to other parameters: .*'number': 3"):
        records.read(other, tmp_path)


def test_the_code_is_no_part_of_the_address(toy: Toy, tmp_path: Path) -> None:
    before, digest, key = _write(tmp_path), records.code("toy", "double").digest, CELL.key
    toy.change("FACTOR = 2", "FACTOR = 3")
    assert records.code("toy", "double").digest != digest
    assert CELL.key != key  # but of the name in the cache
    assert records.read(CELL, tmp_path).code == digest
    assert _write(tmp_path) == before
    assert records.read(CELL, tmp_path).code == records.code("toy", "double").digest
    assert records.read(CELL, tmp_path).values["value"] == 9


@pytest.mark.usefixtures("toy")
def test_two_cells_with_one_address_are_refused(tmp_path: Path) -> None:
    one, other = (Cell("toy", "double", {"a": a, "b": b}) for a, b in (("x-y", "z"), ("x", "y-z")))
    assert one.path(tmp_path) == other.path(tmp_path)
    with pytest.raises(ValueError, match=r"two cells have the address toy/double/x-y-z: .*'x-y'.*'y-z'"):
        records.check_addresses([one, other])
    with pytest.raises(ValueError, match="two cells have the address"):
        sweeps.run([one, other], tmp_path, progress=False)
    upper, lower = (Cell("toy", "double", {"a": a}) for a in "Xx")
    with pytest.raises(ValueError, match="two cells have the address"):
        records.check_addresses([upper, lower])
    records.check_addresses([one, one, upper])
    path = records.write(one, {"value": 1}, {}, tmp_path)
    with pytest.raises(RecordError, match=r"x-y-z\.json belongs to other parameters"):
        records.write(other, {"value": 2}, {}, tmp_path)
    assert json.loads(path.read_text())["values"] == {"value": 1}


@pytest.mark.usefixtures("toy")
def test_a_missing_record_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no record of toy/double/3-0 .*python -m companion run toy"):
        records.read(CELL, tmp_path)


@pytest.mark.usefixtures("toy")
def test_code_is_followed_through_the_package() -> None:
    found = records.code("toy", "slow")
    assert {"slow", "holm", "_finite"} <= found.definitions.keys()  # `_finite` is called by `holm`
    assert "effect_size" not in found.definitions
    assert {"_digits", "_idx", "_MD5"} <= records.code("biclustering", "train").definitions.keys()
    assert "companion.records" not in records.code("biclustering", "describe").modules


def test_a_raised_version_is_written(toy: Toy, tmp_path: Path) -> None:
    toy.change("FACTOR = 2", 'FACTOR = 2\nVERSIONS = {"double": 2}')
    _write(tmp_path)
    assert records.read(CELL, tmp_path).version == 2
    assert records.version("toy", "slow") == 1


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


@pytest.mark.usefixtures("toy")
def test_results_tell_what_was_asked_for_and_whether_it_was_there(tmp_path: Path) -> None:
    cells = [Cell("toy", "double", {"number": 1, "seed": seed}) for seed in (0, 1)]
    _write(tmp_path, cells[0])
    results = Results(cells, tmp_path)
    with results.watch() as outer:
        with results.watch() as inner:
            results.recorded("double", seed=0)
        assert inner == outer == {cells[0]: True}
        assert [cell for cell, _ in results.recorded("double")] == cells[:1]
    assert inner == {cells[0]: True}
    assert outer == {cells[0]: True, cells[1]: False}


@pytest.mark.usefixtures("toy")
def test_results_see_that_a_record_was_replaced(tmp_path: Path) -> None:
    results = Results([CELL], tmp_path)
    _write(tmp_path)
    assert results.numbers("double", "value") == [6]
    path = records.write(CELL, {"value": 7}, {}, tmp_path)
    assert path.exists()
    assert results.numbers("double", "value") == [7]


# --- data and provenance ----------------------------------------------------------------------------------------------


def _reader(seed: int) -> Cell:
    return Cell("toy", "reader", {"seed": seed})


@pytest.mark.usefixtures("toy")
def test_data_are_those_that_were_read_also_through_a_cached_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODUTILS_CACHE", str(tmp_path / "cache"))
    both = data.checksums("digits", "train") | data.checksums("digits", "test")
    sweeps.run([_reader(0)], tmp_path / "first", progress=False)
    assert list((tmp_path / "cache" / "networks").glob("*.npz"))
    monkeypatch.setattr("studies.toy.cells._train", None)  # the network comes from the cache now
    sweeps.run([_reader(0)], tmp_path / "again", progress=False)
    for folder in ("first", "again"):
        assert records.read(_reader(0), tmp_path / folder).provenance["data"] == both
    sweeps.run([CELL], tmp_path, progress=False)
    assert records.read(CELL, tmp_path).provenance["data"] == {}


@pytest.mark.usefixtures("toy")
def test_a_record_of_other_data_than_those_at_hand_is_refused(tmp_path: Path) -> None:
    there = data.checksums("digits", "test")
    records.write(CELL, {}, {"data": there | {"mnist/no-such-file": "0"}}, tmp_path)
    records.read(CELL, tmp_path)  # data that are not at hand cannot be compared
    records.write(CELL, {}, {"data": {"digits/test": "0" * 32}}, tmp_path)
    with pytest.raises(RecordError, match=f"a digits/test with MD5 0+, but .* has {there['digits/test']}"):
        records.read(CELL, tmp_path)


def test_provenance_names_versions_machine_and_commit() -> None:
    found = records.provenance()
    assert set(found) == {"date", "commit", "python", "versions", "device", "threads"}
    assert found["versions"]["torch"].startswith("2.")
    json.dumps(found)


@pytest.mark.parametrize(
    ("study", "stage", "reached", "others"),
    [
        ("neural_sculpting", "boolean", {"numba", "llvmlite", "networkx", "numpy", "torch"}, {"captum", "clusim"}),
        ("upstream_downstream", "modules", {"clusim", "python-igraph", "scikit-learn", "scipy", "numba"}, {"captum"}),
        ("biclustering", "train", {"torch", "torchvision", "scikit-learn", "joblib"}, {"clusim"}),
        ("detecting_modularity", "cuts", {"scipy", "torchvision"}, {"captum", "clusim"}),
    ],
)
def test_provenance_names_every_package_that_is_reached(
    study: str, stage: str, reached: set[str], others: set[str]
) -> None:
    versions = records.provenance(Cell(study, stage, {}))["versions"]
    assert reached <= versions.keys()
    assert not others & versions.keys()
    assert all(version[0].isdigit() for name, version in versions.items() if name in reached)


def test_every_committed_record_is_whole() -> None:
    """Its digest, its address, and the data that the data sets' authors published."""
    folder = records.results_folder()
    paths = sorted(folder.glob("*/*/*.json"))
    assert len(paths) > 800
    published = {f"{name}/{file}": md5 for name, files in data._MD5.items() for file, md5 in files.items()}
    published |= data.checksums("digits", "train") | data.checksums("digits", "test")  # those of scikit-learn
    for path in paths:
        content = json.loads(path.read_text())
        cell = Cell(content["study"], content["stage"], content["params"])
        assert cell.path(folder) == path
        made_of = records.read(cell).provenance["data"]
        assert made_of.items() <= published.items(), path
