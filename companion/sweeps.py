"""Compute many cells on any executor, one record each; stop and go on at will."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import SoftFileLock, Timeout
from tqdm import tqdm

from companion import records, witness
from companion.records import Cell
from modutils import data


class SweepError(RuntimeError):
    """Some cells failed; the others are recorded, and running again goes on with what is missing."""


_NAMED = 10  # failures in a message

#: What became of a cell: computed and recorded here; recorded by somebody else meanwhile; or somebody computes it now.
Outcome = Literal["computed", "there", "taken"]


def compute(cell: Cell, folder: Path, expected: str | None = None, *, patient: bool = True) -> Outcome:
    """Compute one cell and write its record, unless the present code has recorded it already.

    A lock beside the record, which names its owner, keeps two runs from computing one cell.

    Parameters
    ----------
    cell : Cell
    folder : path
        Where the records are.
    expected : str, optional
        Digest that the code must have.
    patient : bool
        Wait for whoever computes the cell now, rather than answer "taken".

    Raises
    ------
    RecordError
        The code is not that with the digest ``expected``: it was edited after the run began.
    """
    made_by = records.code(cell.study, cell.stage)  # before the cell runs: the code that runs is the code of now
    for module in made_by.modules:
        importlib.import_module(module)
    if expected not in (None, made_by.digest):
        raise records.RecordError(f"the code of {cell.study}/{cell.stage} was edited during the run; start it again")
    lock = _lock(cell, folder)
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = SoftFileLock(lock, poll_interval=0.2).acquire(blocking=patient)
    except Timeout:
        return "taken"
    with held:
        now = made_by.digest, records.version(cell.study, cell.stage)
        if _is_valid(cell, folder) and witness.origin(cell, folder) == now:
            return "there"
        wall, cpu = time.perf_counter(), time.process_time()
        with data.reading() as read:
            values = cell.function(**cell.params)
        provenance = records.provenance(cell) | {
            "seconds": round(time.perf_counter() - wall, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "data": dict(sorted(read.items())),
        }
        records.write(cell, values, provenance, folder)
    return "computed"


def _is_valid(cell: Cell, folder: Path) -> bool:
    return records.is_recorded(cell, folder) and records.fault(cell, folder) is None


def _lock(cell: Cell, folder: Path) -> Path:
    path = cell.path(folder)
    return path.with_name(f".{path.name}.lock")


class _Result(NamedTuple):
    """What a worker sends back of a cell: errors as text, since not every exception can be sent."""

    outcome: Outcome | None
    error: str = ""
    hopeless: bool = False  # no other cell could be written either


def _attempt(cell: Cell, folder: Path, expected: str | None, patient: bool) -> _Result:
    try:
        return _Result(compute(cell, folder, expected, patient=patient))
    except Exception as error:  # reported by the caller, with the cell's name
        hopeless = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        return _Result(None, f"{type(error).__name__}: {error}", hopeless)


def run(
    cells: Sequence[Cell],
    folder: Path,
    *,
    executor: Executor | None = None,
    progress: bool = True,
    unchecked: Literal["refuse", "replace"] = "refuse",
) -> int:
    """Compute every cell that has no valid record in ``folder`` yet, or one that is outdated.

    Each cell is recorded as soon as it is done, so a crash loses at most the cells in hand. After an interrupt those
    are still recorded; a second one ends at once. Several runs on one folder share the work.

    Parameters
    ----------
    cells : sequence of Cell
        Computed in this order, as workers become free. A cell that others build on comes first.
    folder : path
        Where the records go.
    executor : concurrent.futures.Executor, optional
        Such as `companion.workers.Processes`, or ``Client.get_executor()`` of ``dask.distributed`` with a shared file
        system; without one the cells are computed here, one after the other.
    progress : bool
        Show a progress bar on stderr.
    unchecked : {"refuse", "replace"}
        What to do with a stage whose code has changed since its records were made, so that the new would stand beside
        the old: refuse to add to it, or compute it anew. The latter is for records that are a cache.

    Returns
    -------
    int
        How many cells were computed; the others were there, or another run computed them.

    Raises
    ------
    RecordError
        A stage to which cells would be added has changed and was not checked.
    SweepError
        Some cells failed: the message names ten, each with its error. Or nothing can be written.
    """
    records.check_addresses(cells)
    missing = to_compute(cells, folder, unchecked=unchecked)
    if not missing:
        return 0
    check_writable(folder, "another --output, or MODUTILS_RESULTS")
    check_writable(data.cache_folder(), "another MODUTILS_CACHE")
    for study, stage in dict.fromkeys((cell.study, cell.stage) for cell in missing):
        witness.register(study, stage, folder)
    computed, todo = 0, missing
    failures: list[str] = []
    with tqdm(total=len(cells), initial=len(cells) - len(missing), unit="cell", disable=not progress) as bar:
        for patient in (False, True):
            taken: list[Cell] = []
            with _computing(todo, folder, executor, patient) as results:
                for cell, found in results:
                    if found.outcome == "taken":
                        taken.append(cell)
                        continue
                    bar.update()
                    bar.set_postfix_str(f"{len(cells) - bar.n} left, last {cell}", refresh=False)
                    computed += found.outcome == "computed"
                    if found.error:
                        failures.append(f"{cell}: {found.error}")
                    if found.hopeless:
                        raise SweepError(f"the run ends here, at {failures[-1]}")
            for cell in taken:
                _say(f"waiting for {cell}, {_owner(cell, folder)}")
            todo = taken
    if failures:
        more = [f"and {len(failures) - _NAMED} more"] if len(failures) > _NAMED else []
        raise SweepError(f"{len(failures)} of {len(missing)} cells failed: " + "; ".join(failures[:_NAMED] + more))
    return computed


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _owner(cell: Cell, folder: Path) -> str:
    lock = _lock(cell, folder)
    try:
        process, host = lock.read_text().split()[:2]
    except (OSError, ValueError):
        return "which another run computed"
    return f"which process {process} on {host} computes; if that has ended, delete {lock}"


def check_writable(folder: Path, instead: str) -> None:
    """Refuse a folder to which a record could not be written, before anything is computed.

    Raises
    ------
    SweepError
        Says what is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(os.urandom(2**20))  # more than a record; of zeros a file system would keep nothing
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SweepError(f"cannot write to {folder} ({error.strerror}); mend that, or choose {instead}") from error


def to_compute(
    cells: Sequence[Cell], folder: Path, *, unchecked: Literal["refuse", "replace"] = "refuse"
) -> list[Cell]:
    """The cells that :func:`run` would compute."""
    found, valid = [], []
    for cell in cells:
        if not records.is_recorded(cell, folder):
            found.append(cell)
        elif fault := records.fault(cell, folder):
            records.refuse_taken(cell, folder)
            _say(f"{fault}; it is computed anew")
            found.append(cell)
        else:
            valid.append(cell)
    states = {cell: witness.state_of(cell, folder) for cell in valid}
    wanted = ("outdated", "changed") if unchecked == "replace" else ("outdated",)
    again = {cell for cell, state in states.items() if state in wanted}
    found = [cell for cell in cells if cell in again or cell not in states]
    if unchecked == "replace":
        return found
    for study, stage in dict.fromkeys((cell.study, cell.stage) for cell in found):
        own = [cell for cell in valid if (cell.study, cell.stage) == (study, stage)]
        if any(states[cell] == "changed" for cell in own):
            (row,) = witness.status(own, folder)
            raise records.RecordError(
                f"{study}/{stage} was recorded by other code ({', '.join(row.definitions[:5])} differ), so nothing is "
                f"added to it; first: python -m companion check {study} --stages {stage}"
            )
    return found


@contextmanager
def _computing(
    cells: Sequence[Cell], folder: Path, executor: Executor | None, patient: bool
) -> Iterator[Iterator[tuple[Cell, _Result]]]:
    """The cells, each as it is done. An interrupt waits for what is in hand, and starts nothing new."""
    if executor is None:
        yield ((cell, _attempt(cell, folder, None, patient)) for cell in cells)
        return
    digests = {(c.study, c.stage): records.code(c.study, c.stage).digest for c in cells}
    futures: dict[Future[_Result], Cell] = {
        executor.submit(_attempt, cell, folder, digests[cell.study, cell.stage], patient): cell for cell in cells
    }
    try:
        yield ((futures[future], _result_of(future)) for future in as_completed(futures))
    except KeyboardInterrupt:
        in_hand = [future for future in futures if not future.cancel() and not future.done()]
        _say(f"stopping: {len(in_hand)} cells in hand are still recorded; interrupt again to end at once")
        wait(in_hand)
        raise
    finally:
        for future in futures:
            future.cancel()


def _result_of(future: Future[_Result]) -> _Result:
    """What came back, or why nothing did: the process died, or the cluster is gone and has dropped all its work."""
    try:
        return future.result()
    except CancelledError:
        return _Result(None, "the connection to the cluster was lost", hopeless=True)
    except Exception as error:  # reported by the caller, with the cell's name
        return _Result(None, f"{type(error).__name__}: {error}")
