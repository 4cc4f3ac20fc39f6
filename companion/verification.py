"""Recompute recorded cells from scratch, and compare: equal on one machine, like another draw on another."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from companion import records, sweeps
from companion.records import Cell
from modutils import data


class Verification(NamedTuple):
    """How a recomputed cell compares with its record.

    ``same_setting`` says whether versions and processor are those of the record: then a recomputed number must be equal
    to 1e-4 of its size. On another machine rounding differs, a trained network is another draw, and it is enough that a
    value lies where the replicates (the cells that differ in ``seed`` alone) lie. What does not depend on training, as
    the study says, must be equal to 1e-4 everywhere, but for one entry of an array in ten: elsewhere an image whose two
    largest logits are equal to rounding falls into the other class, and of tables of thousands of counts a few move.
    Names of values that are not as recorded stand in ``broken`` if they had to be equal, in ``outside`` if they had to
    lie near the replicates, and in ``unjudged`` if there are fewer than four of these: the range of two draws, and once
    more its width on both sides, leaves out a third of all others.
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
#: Share of the entries of an array that another processor's rounding may move, though nothing was trained. Up to 6 % of
#: a table were seen to, in two untrained networks; set at 10 %, it was then met by eight others, with two instruction
#: sets.
_RARE = 0.1
_NUMBERS = set("biuf")


def _tolerated(replicates: int) -> float:
    return 0.05 if replicates >= 8 else 0.15


def verify(
    cells: Sequence[Cell],
    folder: Path,
    *,
    count: int = 2,
    most_seconds: float = math.inf,
    seed: int | None = None,
    executor: Executor | None = None,
    progress: bool = False,
) -> list[Verification]:
    """Recompute ``count`` recorded cells, of stages picked at random, and compare them with their records.

    Nothing that an earlier run left in the cache is used, except the data files. Cells without record are passed over,
    and those that took more than ``most_seconds`` of processor time, with the training of their networks.

    Raises
    ------
    ValueError
        ``count`` is below 1.
    RecordError
        No such cell has a record, or one cannot be read.
    """
    if count < 1:
        raise ValueError(f"count={count} must be at least 1")
    cells = [cell for cell in cells if records.is_recorded(cell, folder)]
    short = [cell for cell in cells if most_seconds == math.inf or _cpu_seconds(cell, folder) <= most_seconds]
    if not short:
        raise records.RecordError(f"nothing to verify: no record in {folder} that took at most {most_seconds} s")
    picked = _pick(short, count, np.random.default_rng(seed))
    with _fresh_cache(), tempfile.TemporaryDirectory() as scratch:
        sweeps.run(picked, Path(scratch), executor=executor, progress=progress)
        return [_compare(cell, cells, folder, Path(scratch)) for cell in picked]


def _cpu_seconds(cell: Cell, folder: Path) -> float:
    """Processor time of a cell from scratch; infinite if what its networks took is not recorded."""
    own = records.read(cell, folder).cpu_seconds
    networks = [one for one in records.networks_of(cell) if one != cell]
    if not all(records.is_recorded(one, folder) for one in networks):
        return math.inf
    return own + sum(records.read(one, folder).values["training_cpu_seconds"] for one in networks)


def _pick(cells: Sequence[Cell], count: int, rng: np.random.Generator) -> list[Cell]:
    """Random cells of as many stages as possible, so that a stage of many cells does not stand for all."""
    by_stage: dict[tuple[str, str], list[Cell]] = {}
    for place in rng.permutation(len(cells)):
        by_stage.setdefault((cells[place].study, cells[place].stage), []).append(cells[place])
    own = list(by_stage.values())
    rounds = zip_longest(*(own[place] for place in rng.permutation(len(own))))
    return [cell for turn in rounds for cell in turn if cell is not None][:count]


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
            moved, difference = _moved(np.asarray(before[name]), np.asarray(after[name]))
            largest = max(largest, difference)
            fits = moved <= (_RARE if strict and not same_setting else 0)
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


def _moved(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Share of entries that are not within 1e-4 of their size, nor both NaN; and the largest relative difference.

    Numbers that are kept in half precision may differ by four of its steps instead.
    """
    if {before.dtype.kind, after.dtype.kind} - _NUMBERS:
        equal = before.dtype.kind == after.dtype.kind and np.array_equal(before, after)
        return (0.0, 0.0) if equal else (1.0, math.inf)
    if before.shape != after.shape:
        return 1.0, math.inf
    a, b = before.astype(float), after.astype(float)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        size = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-9)
        difference = np.where(same, 0.0, np.nan_to_num(np.abs(a - b) / size, nan=math.inf))
    steps = [np.finfo(each.dtype).eps for each in (before, after) if each.dtype.kind == "f"]
    allowed = max(1e-4, 4 * float(max(steps, default=0)))
    return float((difference > allowed).sum()) / max(difference.size, 1), float(difference.max(initial=0.0))


def _is_like(before: Any, after: Any, others: Sequence[Any]) -> bool:
    """Whether two draws of a value lie in the range of the other draws, or no further outside than it is wide.

    Of fewer than eight draws, no further than twice its width: the course of one training in forty, with four
    replicates, had three of its values between once and twice.

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
    margin = np.maximum((high - low) * (1 if len(known) >= 7 else 2), rounding)
    return bool(((one >= low - margin) & (one <= high + margin)).all())
