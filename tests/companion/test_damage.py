"""Whatever was done to a file: one line that names it and says what to do, an exit status of 1, and no traceback."""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from companion import published, records, reports, sweeps, witness
from companion.__main__ import main
from companion.execution import find_executed
from companion.records import Cell, RecordError, Results
from conftest import ROOT, Toy

CELL = Cell("toy", "double", {"number": 3, "seed": 0})

#: What may be found in place of any JSON file.
NOT_OURS: dict[str, bytes] = {
    "empty": b"",
    "binary": b"\x89PNG\r\n\x1a\n\x00\x00",
    "invalid UTF-8": b'{"study": "\xff"}',
    "a list": b"[1, 2]",
    "a number": b"3",
    "null": b"null",
    "a text": b'"study"',
    "an object": b"{}",
    "deep nesting": b'{"values": ' * 10**5,
    "NaN": b'{"study": NaN}',
    "a number that is infinite": b'{"study": 1e999}',
    "a huge integer": b'{"study": ' + b"9" * 5000 + b"}",
    "two lines in a name": b'{"a\\nb": {',
}
everything = pytest.mark.parametrize("content", NOT_OURS.values(), ids=NOT_OURS)


@pytest.fixture
def folder(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record with one cell of the toy study, as the command line finds it."""
    monkeypatch.setenv("MODUTILS_RESULTS", str(tmp_path / "results"))
    sweeps.run([CELL], tmp_path / "results", progress=False)
    return tmp_path / "results"


def _is_one_line(message: str, path: Path, *words: str) -> None:
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400
    for part in (str(path), *words):
        assert part in message


def _refused(call: Callable[[], Any], path: Path, *words: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    _is_one_line(str(caught.value), path, *words)


def _command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    return error.removesuffix("\n")


def _seal(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a record, and make its digest right again."""
    content = json.loads(path.read_text())
    content.pop("sha256")
    change(content)
    path.write_text(json.dumps(content | {"sha256": records.digest(content)}))


# --- records ----------------------------------------------------------------------------------------------------------


@everything
def test_a_file_that_is_no_record(content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = CELL.path(folder)
    path.write_bytes(content)
    words = ("is not a record (", "delete it and run the study again")
    _refused(lambda: records.read(CELL, folder), path, *words)
    _is_one_line(_command(capsys, "status", "toy"), path, *words)
    records.write(CELL, {"value": 1}, {}, folder)  # and may be written again
    assert records.read(CELL, folder).values == {"value": 1}


def test_a_record_that_is_truncated_anywhere(folder: Path) -> None:
    path = CELL.path(folder)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 29):
        path.write_bytes(whole[:length])
        _refused(lambda: records.read(CELL, folder), path, "is not a record")


FIELDS = ["format", "study", "stage", "params", "version", "code", "provenance", "values"]


@pytest.mark.parametrize("name", [*FIELDS, "sha256"])
def test_a_field_of_another_type_or_none(name: str, folder: Path) -> None:
    path = CELL.path(folder)
    whole = path.read_text()
    kind = type(json.loads(whole)[name])
    values: list[Any] = [None, 3.5, 10**30, "text", [1], {"a": {}}, True]
    for value in values:
        path.write_text(whole)
        content = json.loads(whole)
        del content["sha256"]
        content[name] = value
        path.write_text(json.dumps({"sha256": records.digest(content)} | content))
        if type(value) is kind and name not in ("format", "study", "stage", "params", "sha256"):
            records.read(CELL, folder)
        else:
            _refused(lambda: records.read(CELL, folder), path)
    _refused_without(name, whole, path, folder)


def _refused_without(name: str, whole: str, path: Path, folder: Path) -> None:
    content = json.loads(whole)
    del content[name]
    if name != "sha256":
        del content["sha256"]
        content["sha256"] = records.digest(content)
    path.write_text(json.dumps(content))
    _refused(
        lambda: records.read(CELL, folder), path, f"must contain ['{name}'] properties" if name == "sha256" else name
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("versions", ["torch"]), ("versions", {"torch": 2}), ("data", 3), ("data", {"mnist/x": None}), ("date", 20260101),
     ("device", {}), ("commit", ["a"]), ("threads", "1"), ("seconds", "long"), ("cpu_seconds", None), ("python", 3)],
)  # fmt: skip
def test_provenance_of_another_type(name: str, value: Any, folder: Path) -> None:
    path = CELL.path(folder)
    _seal(path, lambda content: content["provenance"].update({name: value}))
    _refused(lambda: records.read(CELL, folder), path, name)


@pytest.mark.parametrize("file", ["digits/nothing", "digits", "", "/", "mnist/../../x", "mnist//etc/passwd", "a\0b"])
def test_provenance_that_names_no_data_of_ours(file: str, folder: Path) -> None:
    _seal(CELL.path(folder), lambda content: content["provenance"].update(data={file: "0"}))
    records.read(CELL, folder)


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


ZEROS = {"dtype": "<f8", "shape": [4], "zlib": _packed(bytes(32))}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"zlib": base64.b64encode(b"no zlib").decode()}, "Error -3 while decompressing"),
        ({"zlib": "*" * 8}, "base64"),
        ({"zlib": "ä"}, "ASCII"),
        ({"zlib": _packed(bytes(32))[:-8]}, ""),
        ({"zlib": ""}, "other than the 32 bytes"),
        ({"zlib": None}, "must be string"),
        ({"shape": [5]}, "other than the 40 bytes of its shape [5]"),
        ({"shape": [3]}, "other than the 24 bytes"),
        ({"shape": [-1]}, "shape"),
        ({"shape": [2, 2.0]}, ""),
        ({"shape": ["4"]}, "shape"),
        ({"shape": 4}, "shape"),
        ({"shape": [0, 10**30]}, ""),
        ({"shape": [10**30]}, "more than 1024 MiB"),
        ({"shape": [1] * 70 + [4]}, ""),
        ({"dtype": "O"}, ""),
        ({"dtype": "no type"}, "no type"),
        ({"dtype": None}, "dtype"),
        ({"dtype": "S0"}, ""),
        ({"shape": [8], "zlib": _packed(bytes(10**8))}, "other than the 64 bytes"),
        ({"shape": [2**28], "zlib": _packed(bytes(10**6))}, "more than 1024 MiB"),
    ],
)
def test_an_array_that_cannot_be_read(change: dict[str, Any], why: str, folder: Path) -> None:
    path = CELL.path(folder)
    _seal(path, lambda content: content["values"].update(array=ZEROS))
    assert records.read(CELL, folder).values["array"].tolist() == [0.0] * 4
    _seal(path, lambda content: content["values"].update(array=ZEROS | change))
    _refused(lambda: records.read(CELL, folder), path, "is not a record (", why)


def test_many_arrays_may_not_have_more_room_than_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_LARGEST", 100)
    _seal(CELL.path(folder), lambda content: content["values"].update(array=[ZEROS] * 3))
    assert len(records.read(CELL, folder).values["array"]) == 3
    _seal(CELL.path(folder), lambda content: content["values"].update(array=[ZEROS] * 4))
    _refused(lambda: records.read(CELL, folder), CELL.path(folder), "its arrays have more than")


def test_values_that_are_nested_too_deeply(folder: Path) -> None:
    """Each of reading, digesting and decoding has a limit of its own."""
    path = CELL.path(folder)
    content = json.loads(path.read_text())
    for depth in (10, 400, 900, 3000, 20_000):
        nested = "[" * depth + "]" * depth
        path.write_text(json.dumps(content | {"values": {"a": "DEEP"}}).replace('"DEEP"', nested))
        _refused(lambda: records.read(CELL, folder), path, "is not a record")


def test_a_name_that_a_record_lacks(folder: Path) -> None:
    record = records.read(CELL, folder)
    for part, name in ((record.values, "accuracy"), (record.provenance, "weather")):
        with pytest.raises(RecordError) as caught:
            part[name]
        _is_one_line(str(caught.value), CELL.path(folder), f"has no {name!r}; delete it and run the study again")
    with pytest.raises(RecordError, match="has no 'mean'"):
        Results([CELL], folder).numbers("double", "mean")


# --- witnesses --------------------------------------------------------------------------------------------------------


@everything
def test_a_file_that_is_no_witness(content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = witness.path_of("toy", "double", folder)
    path.write_bytes(content)
    words = ("is no witness of a stage (", "restore it from git, or delete it")
    _is_one_line(_command(capsys, "status", "toy"), path, *words)
    _is_one_line(_command(capsys, "check", "toy"), path, *words)


def test_a_part_of_a_witness_of_another_type(folder: Path) -> None:
    path = witness.path_of("toy", "double", folder)
    whole = json.loads(path.read_text())
    line = {"from": "a", "to": "b", "equal": True}
    whole["checks"] = [line]
    path.write_text(json.dumps(whole))
    assert witness.read("toy", "double", folder) == whole
    (known,) = whole["fingerprints"].values()
    changes: list[dict[str, Any]] = [
        *({name: value} for name in whole for value in (None, 3.5, "text", [1], {"a": 1})),
        *({"checks": [line | {name: None}]} for name in line),
        {"checks": [{"from": "a"}]},
        *({"fingerprints": {"a": known | {name: 3}}} for name in known),
        *({"fingerprints": {"a": {n: v for n, v in known.items() if n != name}}} for name in known),
        {"fingerprints": {"a": known | {"definitions": {"double": 3}}}},
    ]
    for change in changes:
        path.write_text(json.dumps(whole | change))
        _refused(lambda: witness.read("toy", "double", folder), path, "is no witness of a stage")


# --- other files ------------------------------------------------------------------------------------------------------


@everything
def test_a_file_that_is_no_executed_notebook(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.ipynb"
    path.write_bytes(content)
    words = ("is not a notebook as it was executed (", "must be executed again", "run `python -m companion execute`")
    _refused(lambda: find_executed("text", tmp_path), path, *words)


@everything
def test_a_file_that_is_no_result_of_a_benchmark(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "benchmarks" / "results" / "lesions.json"
    shutil.copytree(ROOT / "benchmarks" / "results", path.parent)
    monkeypatch.setattr(records, "ROOT", tmp_path)
    row = json.loads(path.read_text())["rows"][0]
    assert reports.benchmarks("lesions").count("<tr>") > 1
    path.write_bytes(content)
    _refused(lambda: reports.benchmarks("lesions"), path, "is no result of a benchmark (")
    for name in ("what", "unit", "reference", "ours", "ratio"):
        path.write_text(json.dumps({"rows": [row | {name: None}]}))
        _refused(lambda: reports.benchmarks("lesions"), path, name)


@pytest.mark.parametrize(
    "content",
    [b"", b"a,b\n", b"a,b\n1\n", b"a,b\n1,2,3\n", b"a,b\n1,\xff\n", b'a,b\n1,"2\n', b"a,b\n1," + b"x" * 200_000 + b"\n",
     b"a,b\n1,nan\n", b"a,b\n1,1e999\n", b"\x00\x01\x02"],
)  # fmt: skip
def test_a_file_that_is_no_published_table(content: bytes, toy: Toy) -> None:
    path = toy.source.with_name("damaged.csv")
    path.write_bytes(content)
    published.table.cache_clear()
    _refused(
        lambda: published.table("toy", "damaged"), path, "is no table of published numbers (", "restore it from git"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n\x00\x00", b"# %%\nx = '\xff'\n", b"null", b'# %% tags=["parameters"]\nx = ' + b"(" * 5000,
     b'# %% tags=["parameters"]\nx = {[]: 1}\n', b'# %% tags=["parameters"\nx = 1\n',
     b"# ---\n# jupyter: [\n# ---\n", b"# ---\n# jupyter: 3\n# ---\n# %%\n", b"[" * 10**5],
)  # fmt: skip
def test_a_file_that_is_no_chapter(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chapter.py"
    path.write_bytes(content)
    error = _command(capsys, "execute", str(path), "--output", str(tmp_path / "out"))
    _is_one_line(error, Path(path.name))
