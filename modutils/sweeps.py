"""Compute many cells on any executor, one record each; stop and go on at will; recompute to verify."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from modutils import data, records
from modutils.records import Cell


class SweepError(RuntimeError):
    """Some cells failed; the others are recorded, and running again goes on with what is missing."""


def compute(cell: Cell, folder: Path) -> float:
    """Compute one cell, write its record, and return the seconds it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    values = cell.function(**cell.params)
    seconds = time.perf_counter() - wall
    provenance = records.provenance(cell) | {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "data": _checksums(cell),
    }
    records.write(cell, values, provenance, folder)
    return seconds


def run(cells: Sequence[Cell], folder: Path, *, executor: Executor | None = None, progress: bool = True) -> int:
    """Compute every cell that the present code has not recorded in ``folder`` yet.

    Each cell is recorded as soon as it is done, so an interrupt or a crash loses at most the cells in flight.

    Parameters
    ----------
    cells : sequence of Cell
        Computed in this order, as workers become free. A cell that others build on comes first.
    folder : path
        Where the records go.
    executor : concurrent.futures.Executor, optional
        Such as :func:`processes`, or ``Client.get_executor(retries=2)`` of ``dask.distributed`` with a shared file
        system; without one the cells are computed here, one after the other.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    int
        How many cells were computed; the others were there.

    Raises
    ------
    SweepError
        Some cells failed. The message names each with its error.
    """
    missing = [cell for cell in cells if not records.is_done(cell, folder)]
    failures: list[str] = []
    with tqdm(total=len(cells), initial=len(cells) - len(missing), unit="cell", disable=not progress) as bar:
        for cell, error in _finished(missing, folder, executor):
            bar.update()
            bar.set_postfix_str(str(cell), refresh=False)
            if error is not None:
                failures.append(f"{cell}: {type(error).__name__}: {error}")
    if failures:
        raise SweepError(f"{len(failures)} of {len(missing)} cells failed: " + "; ".join(failures))
    return len(missing)


def _finished(
    cells: Sequence[Cell], folder: Path, executor: Executor | None
) -> Iterator[tuple[Cell, BaseException | None]]:
    """Each cell as it is done, with the exception that it raised, if any."""
    if executor is None:
        for cell in cells:
            try:
                compute(cell, folder)
            except Exception as error:  # reported by the caller, with the cell's name
                yield cell, error
            else:
                yield cell, None
        return
    futures: dict[Future[float], Cell] = {executor.submit(compute, cell, folder): cell for cell in cells}
    try:
        for future in as_completed(futures):
            yield futures[future], future.exception()
    finally:
        for future in futures:  # after an interrupt nothing new starts; what runs is still recorded
            future.cancel()


def processes(workers: int) -> ProcessPoolExecutor:
    """An executor of ``workers`` fresh processes with one thread each: more threads are slower on small networks."""
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    # Numerical libraries read these when they are loaded, which is before a worker can call anything.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _checksums(cell: Cell) -> dict[str, str]:
    name = cell.params.get("dataset")
    return data.checksums(name, "train") | data.checksums(name, "test") if name else {}


# --- verification -----------------------------------------------------------------------------------------------------


class Verification(NamedTuple):
    """How a recomputed cell compares with its record.

    ``same_setting`` says whether versions and processor are those of the record: then a recomputed number must be equal
    to 1e-4 of its size. On another machine rounding differs, a trained network is another draw, and a number must lie
    where the replicates (the cells that differ in ``seed`` alone) lie.
    """

    cell: Cell
    same_setting: bool
    largest_difference: float
    outside: tuple[str, ...]
    numbers: int
    seconds: float
    replicates: int

    @property
    def passed(self) -> bool:
        """Equal here; elsewhere at most 5 % of the numbers outside the replicates' range, as chance allows.

        The range of few replicates is a poor guess: of four, further seeds of the sculpting study had up to 9 % of
        their numbers outside it. So with fewer than eight replicates 15 % may be.
        """
        allowed = 0.05 if self.replicates >= 8 else 0.15
        return not self.outside if self.same_setting else len(self.outside) <= allowed * self.numbers

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        setting = "same versions and processor" if self.same_setting else "other versions or processor"
        names = f": {', '.join(self.outside[:5])}" if self.outside else ""
        return (
            f"{self.cell}: {verdict} ({setting}; {self.numbers} numbers, largest relative difference "
            f"{self.largest_difference:.1e}, {len(self.outside)} outside what is allowed{names}; {self.seconds:.0f} s)"
        )


def verify(
    cells: Sequence[Cell],
    folder: Path,
    *,
    count: int = 2,
    seed: int | None = None,
    executor: Executor | None = None,
) -> list[Verification]:
    """Recompute ``count`` recorded cells, picked at random, from scratch and compare them with their records.

    Nothing that an earlier run left in the cache is used, except the data files. Cells without record are passed over.

    Raises
    ------
    ValueError
        ``count`` is below 1.
    RecordError
        No cell has a record, or one cannot be read.
    """
    if count < 1:
        raise ValueError(f"count={count} must be at least 1")
    cells = [cell for cell in cells if records.is_recorded(cell, folder)]
    if not cells:
        raise records.RecordError(f"nothing to verify: no record in {folder}")
    chosen = np.random.default_rng(seed).permutation(len(cells))[:count]
    picked = [cells[index] for index in chosen]
    with _fresh_cache(), tempfile.TemporaryDirectory() as scratch:
        run(picked, Path(scratch), executor=executor, progress=False)
        return [_compare(cell, cells, folder, Path(scratch)) for cell in picked]


@contextmanager
def _fresh_cache() -> Iterator[None]:
    """An empty cache, with the data files of the usual one as its source."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as fresh:
        if (files := data.cache_folder() / "data").exists():
            os.environ.setdefault("MODUTILS_DATA", str(files))
        os.environ["MODUTILS_CACHE"] = fresh
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _compare(cell: Cell, cells: Sequence[Cell], folder: Path, scratch: Path) -> Verification:
    old, new = records.read(cell, folder), records.read(cell, scratch)
    same_setting = all(old.provenance[name] == new.provenance[name] for name in ("versions", "device", "threads"))
    before, after = dict(_numbers(old.values)), dict(_numbers(new.values))
    if before.keys() != after.keys():
        names = sorted(before.keys() ^ after.keys())
        raise records.RecordError(f"{cell}: recorded and recomputed values have different names: {names[:5]}")
    replicates = [
        dict(_numbers(records.read(other, folder).values))
        for other in cells
        if not same_setting
        and (other.study, other.stage) == (cell.study, cell.stage)
        and _setting(other) == _setting(cell)
    ]
    outside, largest = [], 0.0
    for name, value in after.items():
        difference = abs(value - before[name]) / max(abs(value), abs(before[name]), 1e-9)
        largest = max(largest, difference)
        if same_setting:
            allowed = difference <= 1e-4
        else:
            others = [replicate.get(name, value) for replicate in replicates]
            low, high = min(others), max(others)
            allowed = low - (high - low) <= value <= high + (high - low)
        if not allowed:
            outside.append(name)
    return Verification(
        cell, same_setting, largest, tuple(outside), len(after), new.provenance["seconds"], len(replicates)
    )


def _setting(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in cell.params.items() if name != "seed"}


def _numbers(values: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested values by its dotted name, but durations; an array counts by its mean and mean size."""
    if isinstance(values, Mapping):
        for key, item in values.items():
            if key.endswith("seconds"):
                continue
            yield from _numbers(item, f"{name}.{key}" if name else key)
    elif isinstance(values, list):
        for index, item in enumerate(values):
            yield from _numbers(item, f"{name}[{index}]")
    elif isinstance(values, np.ndarray) and values.size:
        yield f"{name}:mean", float(values.mean())
        yield f"{name}:mean size", float(np.abs(values.astype(float)).mean())
    elif isinstance(values, int | float):
        yield name, float(values)
