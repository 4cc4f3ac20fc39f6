"""Faults, on real processes: whatever is killed, a rerun completes, nothing is done twice, and nothing stays behind."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import PATIENCE, Run, is_alive, until

from companion import records, sweeps
from companion.records import Cell
from companion.workers import Processes, WorkerDiedError
from conftest import Toy

# Blows, one after the other, each to the whole group (a terminal's Ctrl-C) or to the parent alone, and the exit status.
INTERRUPTS = {
    "interrupted": ([(signal.SIGINT, True)], 130),
    "parent interrupted": ([(signal.SIGINT, False)], 130),
    "interrupted twice": ([(signal.SIGINT, True)] * 2, 130),
    "terminated": ([(signal.SIGTERM, False)], 143),
    "group terminated": ([(signal.SIGTERM, True)], 143),
    "killed": ([(signal.SIGKILL, False)], -9),
}


LONG = ("interrupted twice", "parent interrupted", "terminated", "group terminated")


@pytest.mark.parametrize(
    "which", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in INTERRUPTS]
)
def test_a_stopped_run_goes_on_where_it_was(which: str, tmp_path: Path) -> None:
    """Cells would take ten minutes, if they were not told to finish."""
    blows, status = INTERRUPTS[which]
    run, go = Run(tmp_path, "slow:600:{log}"), tmp_path / "log.go"
    process = run.start()
    until(lambda: len(run.begun()) == 2 or process.poll() is not None, "two cells begin")
    computing = run.workers()
    said = False
    for blow, group in blows:
        (os.killpg if group else os.kill)(process.pid, blow)
        if blow == signal.SIGINT and not said:
            assert process.stderr is not None
            assert "2 cells in hand are still recorded; interrupt again to end at once" in process.stderr.readline()
            said = True
    graceful = blows in ([(signal.SIGINT, True)], [(signal.SIGINT, False)])
    if graceful:
        go.touch()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    until(lambda: not any(map(is_alive, computing)), "workers end with their parent")
    assert "Traceback" not in errors, errors
    done = run.recorded()
    assert len(done) == (2 if graceful else 0)
    if status > 0:
        assert f"{len(done)} of 6 cells are recorded in {run.output}; run again to go on" in errors
    go.touch()
    assert f"{6 - len(done)} cells computed, {len(done)} were there" in run.finish()
    assert {name: run.recorded()[name] for name in done} == done
    assert len(run.recorded()) == 6
    expected = Counter(map(str, range(6))) if graceful else Counter(map(str, [0, 1, *range(6)]))
    assert Counter(run.begun()) == expected  # what was ended in the middle begins anew, and nothing else


def test_two_runs_at_once_share_the_work(tmp_path: Path) -> None:
    run = Run(tmp_path, scale="slow:1:{log}", workers=1)
    pair = [run.start(), run.start()]
    texts = [process.communicate(timeout=PATIENCE) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], texts
    assert Counter(run.begun()) == Counter(map(str, range(6)))
    assert sum(int(text.split("\n")[1].split()[0]) for text, _ in texts) == 6  # "4 cells computed, 2 were there"
    assert not run.left_behind()


def test_a_killed_worker_takes_its_own_cell_along_and_no_other(tmp_path: Path) -> None:
    run = Run(tmp_path, scale="slow:1:{log}")
    process = run.start()
    until(run.workers, "a worker begins")
    os.kill(run.workers()[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "1 of 6 cells failed: toy/slow/" in errors
    assert "was ended by SIGKILL, as when memory runs out" in errors
    assert errors.count("\n") == 2, errors  # how much is recorded, and what failed
    assert len(run.recorded()) == 5
    assert "1 cells computed, 5 were there" in run.finish()


def test_what_a_lock_of_a_dead_process_says_is_not_believed(tmp_path: Path, toy: Toy) -> None:
    cell = Cell("toy", "double", {"number": 2, "seed": 0})
    lock = sweeps._lock(cell, tmp_path)
    lock.parent.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock.write_text(f"{ended.pid}\n{os.uname().nodename}\n")
    assert sweeps.run([cell], tmp_path, progress=False) == 1
    assert not lock.exists()


def test_who_computes_a_cell_elsewhere_is_named(tmp_path: Path, toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (Cell("toy", "double", {"number": 2, "seed": seed}) for seed in range(2))
    lock = sweeps._lock(first, tmp_path)
    lock.parent.mkdir(parents=True)
    lock.write_text("17\nanother-machine\n")

    assert sweeps.compute(first, tmp_path, patient=False) == "taken"
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        lock.unlink()  # the other one is done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "_say", hear)
        assert sweeps.run([first, second], tmp_path, progress=False) == 2
    (line,) = said
    assert line == (
        f"waiting for {first}, which process 17 on another-machine computes; if that has ended, delete {lock}"
    )


def test_an_exception_that_cannot_be_sent_is_told() -> None:
    with Processes(1) as executor:
        with pytest.raises(RuntimeError, match="Unsendable: 1 and 2"):
            executor.submit(_raise_unsendable).result()
        assert executor.submit(int, "7").result() == 7


class Unsendable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def _raise_unsendable() -> None:
    raise Unsendable(1, 2)


def test_a_worker_that_dies_is_replaced() -> None:
    with Processes(1) as executor:
        first = executor.submit(os.getpid).result()
        with pytest.raises(WorkerDiedError, match="ended with exit status 3"):
            executor.submit(os._exit, 3).result()
        assert executor.submit(os.getpid).result() != first
    assert not is_alive(first)
    with pytest.raises(ValueError, match="workers=0"):
        Processes(0)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content.replace(b'"value": 4', b'"value": 5'),
    "foreign": lambda content: b"{}",
}


@pytest.mark.parametrize("damage", [*DAMAGES, "of another cell"])
def test_a_damaged_record_is_not_done(
    damage: str, tmp_path: Path, toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [Cell("toy", "double", {"number": 2, "seed": seed}) for seed in range(2)]
    assert sweeps.run(cells, tmp_path, progress=False) == 2
    path, other = (cell.path(tmp_path) for cell in cells)
    whole = path.read_bytes()
    path.write_bytes(other.read_bytes() if damage == "of another cell" else DAMAGES[damage](whole))
    assert path.read_bytes() != whole
    before = other.stat().st_mtime_ns
    assert sweeps.run(cells, tmp_path, progress=False) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert str(path) in line
    assert "it is computed anew" in line
    assert records.read(cells[0], tmp_path).values["value"] == 4
    assert other.stat().st_mtime_ns == before


def test_what_cannot_be_written_is_seen_before_the_first_cell(
    tmp_path: Path, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    cell = Cell("toy", "slow", {"seconds": 0, "log": str(log), "seed": 0})
    (tmp_path / "file").touch()
    with pytest.raises(sweeps.SweepError, match=r"cannot write to .*file/out \(Not a directory\); .* another --output"):
        sweeps.run([cell], tmp_path / "file" / "out", progress=False)
    with monkeypatch.context() as patch:
        patch.setenv("MODUTILS_CACHE", str(tmp_path / "file"))
        with pytest.raises(sweeps.SweepError, match=r"cannot write to .*file \(File exists\); .* MODUTILS_CACHE"):
            sweeps.run([cell], tmp_path / "out", progress=False)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(sweeps.SweepError, match="No space left on device"):
            sweeps.run([cell], tmp_path / "out", progress=False)
    assert not log.exists()


def test_a_disk_that_gets_full_ends_the_run(tmp_path: Path, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    cells = [Cell("toy", "slow", {"seconds": 0, "log": str(log), "seed": seed}) for seed in range(6)]
    write = records.write

    def fill(cell: Cell, *rest: object) -> Path:
        if cell.params["seed"] == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
        return write(cell, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(records, "write", fill)
    with pytest.raises(sweeps.SweepError, match=r"the run ends here, at toy/slow/.*-2: OSError: .*No space left"):
        sweeps.run(cells, tmp_path / "out", progress=False)
    assert log.read_text().split() == ["0", "1", "2"]
    assert [records.is_recorded(cell, tmp_path / "out") for cell in cells] == [True, True, *[False] * 4]


@pytest.mark.long
def test_kills_at_random_moments_change_no_bit(tmp_path: Path) -> None:
    """Trainings with checkpoints, killed again and again, parent, worker or group; then run to the end."""
    undisturbed, disturbed = (Run(tmp_path, "fitted:{log}", name=name) for name in ("undisturbed", "disturbed"))
    undisturbed.finish()
    rng = random.Random(0)
    for blow, at_parent in ((signal.SIGKILL, True), (signal.SIGTERM, True), (signal.SIGKILL, False)):
        process = disturbed.start()
        while process.poll() is None and not disturbed.workers():
            time.sleep(0.02)
        time.sleep(rng.uniform(0.2, 2))
        victims = [process.pid] if at_parent else disturbed.workers()
        if process.poll() is None and victims:
            os.kill(rng.choice(victims), blow)
        process.communicate(timeout=PATIENCE)
        until(lambda: not disturbed.workers(), "workers end")
    disturbed.finish()
    for seed in range(4):
        cell = Cell("toy", "fitted", {"log": str(undisturbed.log), "seed": seed})
        one, other = (json.loads(cell.path(run.output).read_text()) for run in (undisturbed, disturbed))
        assert one["values"] == other["values"]
