"""Sweeps: every cell once, failures named, interrupts and kills lose nothing, and verification notices a change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_records import toy  # noqa: F401  (a fixture)

from companion import records, sweeps
from companion.records import Cell
from toy_study import write_toy_study

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
    assert [records.is_done(cell, tmp_path) for cell in cells] == [True, False, True]


def test_workers_must_be_positive() -> None:
    with pytest.raises(ValueError, match="workers=0"):
        sweeps.processes(0)


def _command(tmp_path: Path, seconds: float) -> tuple[list[str], dict[str, str]]:
    studies = tmp_path / "own"
    if not studies.exists():
        write_toy_study(studies)
    arguments = ["run", "toy", "--scale", f"slow:{seconds}:{tmp_path / 'log'}", "--output", str(tmp_path / "out")]
    return [sys.executable, "-m", "companion", *arguments], os.environ | {"PYTHONPATH": str(studies)}


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_goes_on_where_it_was(blow: signal.Signals, tmp_path: Path) -> None:
    command, environment = _command(tmp_path, seconds=0.5)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("out/toy/slow/*.json"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, blow)
    _, errors = process.communicate(timeout=120)
    if blow == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert "run again to go on" in errors
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/toy/slow/*.json")}
    assert 2 <= len(done) < 6
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"{6 - len(done)} cells computed, {len(done)} were there" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list(tmp_path.glob("out/toy/slow/*.json"))) == 6


def test_verify_passes_on_equal_numbers(tmp_path: Path) -> None:
    cells = _cells("double", number=2)
    sweeps.run(cells, tmp_path, progress=False)
    found = sweeps.verify(cells, tmp_path, count=2, seed=0)
    assert [verification.passed for verification in found] == [True, True]
    assert found[0].same_setting
    assert found[0].largest_difference == 0
    assert "passed" in str(found[0])


def test_verify_notices_a_number_that_is_not_what_the_code_gives(tmp_path: Path) -> None:
    cell = _cells("double", number=2)[0]
    true = cell.function(**cell.params)
    sweeps.run([cell], tmp_path, progress=False)
    provenance = records.read(cell, tmp_path).provenance
    records.write(cell, true | {"value": true["value"] + 0.01}, provenance, tmp_path)
    (found,) = sweeps.verify([cell], tmp_path, count=1)
    assert not found.passed
    assert found.outside == ("value",)
    assert "FAILED" in str(found)


def test_verify_on_another_machine_asks_for_the_range_of_the_replicates(
    tmp_path: Path,
    toy: Callable[[str, str], None],  # noqa: F811
) -> None:
    cells = _cells("double", number=2)
    for cell in cells:
        elsewhere = records.provenance() | {"device": "another", "seconds": 1.0}
        records.write(cell, cell.function(**cell.params), elsewhere, tmp_path)
    within = sweeps.verify(cells, tmp_path, count=3)
    assert all(found.passed and not found.same_setting for found in within)
    for cell in cells:
        values = cell.function(**cell.params)
        records.write(cell, values | {"value": values["value"] + 50}, elsewhere, tmp_path)
    assert not any(found.passed for found in sweeps.verify(cells, tmp_path, count=3))


@pytest.mark.parametrize(
    ("replicates", "outside", "passed"), [(10, 5, True), (10, 6, False), (4, 15, True), (4, 16, False)]
)
def test_few_replicates_allow_more_outside_their_range(replicates: int, outside: int, passed: bool) -> None:
    found = sweeps.Verification(
        _cells("double", number=2)[0], False, 1.0, tuple(map(str, range(outside))), 100, 1.0, replicates
    )
    assert found.passed is passed


def test_verify_uses_no_cached_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODUTILS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "data").mkdir(parents=True)
    with sweeps._fresh_cache():
        assert os.environ["MODUTILS_CACHE"] != str(tmp_path / "cache")
        assert os.environ["MODUTILS_DATA"]
    assert os.environ["MODUTILS_CACHE"] == str(tmp_path / "cache")


def test_verify_passes_over_cells_without_a_record(tmp_path: Path) -> None:
    cells = _cells("double", number=2)
    with pytest.raises(records.RecordError, match="nothing to verify"):
        sweeps.verify(cells, tmp_path)
    sweeps.run(cells[1:2], tmp_path, progress=False)
    assert [found.cell for found in sweeps.verify(cells, tmp_path, count=3)] == cells[1:2]


def test_verify_needs_a_count() -> None:
    with pytest.raises(ValueError, match="count=0"):
        sweeps.verify([], Path(), count=0)
