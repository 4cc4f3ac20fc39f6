"""Compute many cells on any executor, one record each; stop and go on at will; recompute to verify."""

from __future__ import annotations

import importlib
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from companion import records, witness
from companion.records import Cell
from modutils import data


class SweepError(RuntimeError):
    """Some cells failed; the others are recorded, and running again goes on with what is missing."""


def compute(cell: Cell, folder: Path, expected: str | None = None) -> float:
    """Compute one cell, write its record, and return the seconds it took.

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
    wall, cpu = time.perf_counter(), time.process_time()
    with data.reading() as read:
        values = cell.function(**cell.params)
    seconds = time.perf_counter() - wall
    provenance = records.provenance(cell) | {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "data": dict(sorted(read.items())),
    }
    records.write(cell, values, provenance, folder)
    return seconds


def run(
    cells: Sequence[Cell],
    folder: Path,
    *,
    executor: Executor | None = None,
    progress: bool = True,
    unchecked: Literal["refuse", "replace"] = "refuse",
) -> int:
    """Compute every cell that has no record in ``folder`` yet, or one that is outdated.

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
    unchecked : {"refuse", "replace"}
        What to do with a stage whose code has changed since its records were made, so that the new would stand beside
        the old: refuse to add to it, or compute it anew. The latter is for records that are a cache.

    Returns
    -------
    int
        How many cells were computed; the others were there.

    Raises
    ------
    RecordError
        A stage to which cells would be added has changed and was not checked.
    SweepError
        Some cells failed. The message names each with its error.
    """
    records.check_addresses(cells)
    missing = to_compute(cells, folder, unchecked=unchecked)
    for study, stage in dict.fromkeys((cell.study, cell.stage) for cell in missing):
        witness.register(study, stage, folder)
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


def to_compute(
    cells: Sequence[Cell], folder: Path, *, unchecked: Literal["refuse", "replace"] = "refuse"
) -> list[Cell]:
    """The cells that :func:`run` would compute."""
    wanted = ("outdated", "changed") if unchecked == "replace" else ("outdated",)
    found = [
        cell for cell in cells if not records.is_recorded(cell, folder) or witness.state_of(cell, folder) in wanted
    ]
    if unchecked == "replace":
        return found
    for study, stage in dict.fromkeys((cell.study, cell.stage) for cell in found):
        own = [c for c in cells if (c.study, c.stage) == (study, stage) and records.is_recorded(c, folder)]
        if any(witness.state_of(cell, folder) == "changed" for cell in own):
            (row,) = witness.status(own, folder)
            raise records.RecordError(
                f"{study}/{stage} was recorded by other code ({', '.join(row.definitions[:5])} differ), so nothing is "
                f"added to it; first: python -m companion check {study} --stages {stage}"
            )
    return found


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
    digests = {(c.study, c.stage): records.code(c.study, c.stage).digest for c in cells}
    futures: dict[Future[float], Cell] = {
        executor.submit(compute, cell, folder, digests[cell.study, cell.stage]): cell for cell in cells
    }
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


# --- verification -----------------------------------------------------------------------------------------------------


class Verification(NamedTuple):
    """How a recomputed cell compares with its record.

    ``same_setting`` says whether versions and processor are those of the record: then a recomputed number must be equal
    to 1e-4 of its size. On another machine rounding differs, a trained network is another draw, and it is enough that a
    value lies where the replicates (the cells that differ in ``seed`` alone) lie. What does not depend on training, as
    the study says, must be equal to 1e-4 everywhere. Names of values that are not as recorded stand in ``broken`` if
    they had to be equal, in ``outside`` if they had to lie near the replicates, and in ``unjudged`` if there are fewer
    than four of these: the range of two draws, and once more its width on both sides, leaves out a third of all others.
    """

    cell: Cell
    same_setting: bool
    largest_difference: float
    outside: tuple[str, ...]
    broken: tuple[str, ...]
    unjudged: tuple[str, ...]
    numbers: int
    seconds: float
    replicates: int

    @property
    def passed(self) -> bool:
        """Equal here; elsewhere at most 5 % of the numbers outside the replicates' range, as chance allows.

        The range of few replicates is a poor guess: of four, further seeds of the sculpting study had up to 9 % of
        their numbers outside it. So with fewer than eight replicates 15 % may be.
        """
        return not self.broken and len(self.outside) <= _tolerated(self.replicates) * self.numbers

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        setting = "same versions and processor" if self.same_setting else "other versions or processor"
        wrong = [*self.broken, *self.outside]
        names = f": {', '.join(wrong[:5])}" if wrong else ""
        few = f"{len(self.unjudged)} not judged, since there are {self.replicates} of {_JUDGED} replicates; "
        unjudged = few if self.unjudged else ""
        return (
            f"{self.cell}: {verdict} ({setting}; {self.numbers} values, largest relative difference "
            f"{self.largest_difference:.1e}, {len(wrong)} not as recorded{names}; {unjudged}{self.seconds:.0f} s)"
        )


#: Replicates that are needed to say where a further draw should lie.
_JUDGED = 4
_NUMBERS = set("biuf")


def _tolerated(replicates: int) -> float:
    return 0.05 if replicates >= 8 else 0.15


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
    versions = old.provenance["versions"].keys() & new.provenance["versions"].keys()
    same_setting = all(old.provenance[name] == new.provenance[name] for name in ("device", "threads")) and all(
        old.provenance["versions"][name] == new.provenance["versions"][name] for name in versions
    )
    before, after = dict(_leaves(old.values)), dict(_leaves(new.values))
    alike = [
        dict(_leaves(records.read(other, folder).values))
        for other in cells
        if not same_setting
        and other != cell
        and (other.study, other.stage) == (cell.study, cell.stage)
        and _setting(other) == _setting(cell)
    ]
    judged = len(alike) + 1 >= _JUDGED
    outside: list[str] = []
    broken: list[str] = []
    unjudged: list[str] = []
    largest = 0.0
    for name in sorted(before.keys() | after.keys()):
        strict = same_setting or not records.depends_on_training(cell, name)
        text = any(isinstance(values.get(name), str) for values in (before, after))
        if name in before and name in after:
            fits, difference = _is_equal(np.asarray(before[name]), np.asarray(after[name]))
            largest = max(largest, difference)
            if not fits and judged and not strict and not text:
                fits = _is_like(before[name], after[name], [one[name] for one in alike if name in one])
            if fits:
                continue
        (broken if strict or text else outside if judged else unjudged).append(name)
    return Verification(
        cell,
        same_setting,
        largest,
        tuple(outside),
        tuple(broken),
        tuple(unjudged),
        len(after),
        new.provenance["seconds"],
        len(alike) + 1,
    )


def _setting(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in cell.params.items() if name != "seed"}


def _leaves(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every array, number, string, boolean and None in nested values by its dotted name, but durations."""
    if isinstance(values, Mapping):
        for key, item in values.items():
            if not key.endswith("seconds"):
                yield from _leaves(item, f"{name}.{key}" if name else key)
    elif isinstance(values, list):
        for index, item in enumerate(values):
            yield from _leaves(item, f"{name}[{index}]")
    else:
        yield name, values


def _is_equal(before: np.ndarray, after: np.ndarray) -> tuple[bool, float]:
    """Whether every entry is within 1e-4 of its size, or both are NaN; and the largest relative difference.

    Numbers that are kept in half precision may differ by four of its steps instead.
    """
    if {before.dtype.kind, after.dtype.kind} - _NUMBERS:
        equal = before.dtype.kind == after.dtype.kind and np.array_equal(before, after)
        return equal, 0.0 if equal else math.inf
    if before.shape != after.shape:
        return False, math.inf
    a, b = before.astype(float), after.astype(float)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        size = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-9)
        difference = np.where(same, 0.0, np.nan_to_num(np.abs(a - b) / size, nan=math.inf))
    steps = [np.finfo(each.dtype).eps for each in (before, after) if each.dtype.kind == "f"]
    allowed = max(1e-4, 4 * float(max(steps, default=0)))
    return bool((difference <= allowed).all()), float(difference.max(initial=0.0))


def _is_like(before: Any, after: Any, others: Sequence[Any]) -> bool:
    """Whether two draws of a value lie in the range of the other draws, or no further outside than it is wide.

    Each of the two is also among the draws for the other one. So a record that does not belong to its replicates is
    seen, too. An array counts by a few numbers: its entries need not mean the same in another draw, such as the labels
    of clusters, nor need there be as many.
    """
    draws = [np.asarray(value) for value in (before, after, *others)]
    if {draw.dtype.kind for draw in draws} - _NUMBERS:
        return False
    old, new, *rest = (_summary(draw.astype(float)) for draw in draws)
    return _lies_near(old, [new, *rest]) and _lies_near(new, [old, *rest])


def _summary(values: np.ndarray) -> np.ndarray:
    """Mean, mean size, and the mean weighted by the place from −1 to 1, which tells the order; NaN is left out."""
    known = values[~np.isnan(values)]
    if not known.size:
        return np.full(3, np.nan)
    place = np.linspace(-1, 1, known.size) if known.size > 1 else np.zeros(1)
    return np.array([known.mean(), np.abs(known).mean(), (known * place).mean()])


def _lies_near(one: np.ndarray, draws: Sequence[np.ndarray]) -> bool:
    known = [draw for draw in draws if not np.isnan(draw).any()]
    if np.isnan(one).any():
        return len(known) < len(draws)
    if not known:
        return False
    low, high = np.min(known, axis=0), np.max(known, axis=0)
    rounding = 1e-4 * np.maximum(np.abs(low), np.abs(high))
    margin = np.maximum(high - low, rounding)
    return bool(((one >= low - margin) & (one <= high + margin)).all())
