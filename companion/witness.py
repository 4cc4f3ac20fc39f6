"""Which code made a record, and whether the present code gives the same: states, and the ledger of checks.

For every stage one file, ``results/<study>/<stage>.json``, holds the fingerprints of the code that made its records, by
digest, and what later checks found. When code changes, the record is neither thrown away nor believed: `check` computes
a few cells twice on one machine, by the code of then and by the code of now.
"""

from __future__ import annotations

import base64
import datetime
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from companion import records
from companion.fingerprint import below, differences, fingerprint
from companion.records import Cell, RecordError
from modutils import data

#: The states of a stage, from best to worst. *Current*: made by the present code. *Checked*: the present code gave the
#: same numbers in a check. *Changed*: the code has changed since, and was not checked. *Outdated*: the present code
#: gives other numbers.
STATES = ("current", "checked", "changed", "outdated")


class NoHistoryError(RecordError):
    """The code that made a record is not in the git history at hand."""


class StageStatus(NamedTuple):
    """A stage of a plan: how many cells are planned and recorded, its state, and the definitions that differ."""

    study: str
    stage: str
    planned: int
    recorded: int
    state: str
    definitions: tuple[str, ...]


def path_of(study: str, stage: str, folder: Path) -> Path:
    """Where the witness of a stage is."""
    return folder / study / f"{stage}.json"


def read(study: str, stage: str, folder: Path) -> dict[str, Any]:
    """The witness of a stage; an empty one if there is none yet.

    Raises
    ------
    RecordError
        The file is not one of ours.
    """
    path = path_of(study, stage, folder)
    if not path.exists():
        return {"study": study, "stage": stage, "version": 1, "fingerprints": {}, "checks": []}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (found["study"], found["stage"]) != (study, stage):
            raise ValueError(f"it belongs to {found['study']}/{found['stage']}")
        if not isinstance(found["fingerprints"], dict) or not isinstance(found["checks"], list):
            raise ValueError("its parts have other types")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is no witness of a stage ({error}); restore it from git, or delete it") from error
    return found


def register(study: str, stage: str, folder: Path) -> None:
    """Write the fingerprint of the present code into the witness of a stage, before a cell is computed by it."""
    witness, now = read(study, stage, folder), records.code(study, stage)
    version = records.version(study, stage)
    known = witness["fingerprints"].get(now.digest)
    committed = records.commit(_files(study, stage))
    if known and witness["version"] == version and not (known["commit"].endswith("changes") and committed[-1] != "s"):
        return
    witness["version"] = version
    witness["fingerprints"][now.digest] = {
        "commit": committed,
        "module": records.module_of(study),
        "packages": list(now.packages),
        "definitions": now.definitions,
    }
    records.write_json(path_of(study, stage, folder), witness)


def _files(study: str, stage: str) -> tuple[str, ...]:
    found = (records.installed(module) for module in records.code(study, stage).modules)
    return tuple(sorted(str(path) for path in found if path))


# --- states -----------------------------------------------------------------------------------------------------------


def status(cells: Sequence[Cell], folder: Path) -> list[StageStatus]:
    """The state of every stage of a plan, in the order of the plan. Nothing is computed.

    Raises
    ------
    RecordError
        A witness or a record cannot be read.
    """
    rows = []
    for study, stage in dict.fromkeys((cell.study, cell.stage) for cell in cells):
        own = [cell for cell in cells if (cell.study, cell.stage) == (study, stage)]
        made = [origin(cell, folder) for cell in own if records.is_recorded(cell, folder)]
        witness = read(study, stage, folder)
        states = [_state(digest, version, study, stage, witness) for digest, version in made]
        names: set[str] = set()
        for (digest, _), state in zip(made, states, strict=True):
            if state not in STATES[:2]:
                names |= set(changed_definitions(digest, study, stage, witness))
        worst = max(states, key=STATES.index, default=STATES[0])
        rows.append(StageStatus(study, stage, len(own), len(made), worst, tuple(sorted(names))))
    return rows


def state_of(cell: Cell, folder: Path) -> str:
    """The state of one record.

    Raises
    ------
    RecordError
        There is no record, or it or the witness cannot be read.
    """
    return _state(*origin(cell, folder), cell.study, cell.stage, read(cell.study, cell.stage, folder))


def origin(cell: Cell, folder: Path) -> tuple[str, int]:
    """Digest and version of the code that made a record."""
    path = cell.path(folder)
    return _origin(path, path.stat().st_mtime_ns) if path.exists() else _missing(cell, folder)


def _missing(cell: Cell, folder: Path) -> tuple[str, int]:
    raise RecordError(f"no record of {cell} in {folder}")


@lru_cache(maxsize=4096)
def _origin(path: Path, changed: int) -> tuple[str, int]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["code"], content["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is not a record ({error}); delete it and run the study again") from error


def _state(digest: str, version: int, study: str, stage: str, witness: Mapping[str, Any]) -> str:
    if version != records.version(study, stage):
        return "outdated"
    now = records.code(study, stage).digest
    if digest == now:
        return "current"
    # A check that found a difference outweighs one, of other cells, that found none.
    unequal = {frozenset((line["from"], line["to"])) for line in witness["checks"] if not line["equal"]}
    if frozenset((digest, now)) in unequal:
        return "outdated"
    equal = {frozenset((line["from"], line["to"])) for line in witness["checks"] if line["equal"]} - unequal
    reached, waiting = {digest}, [digest]
    while waiting:
        here = waiting.pop()
        for pair in equal:
            if here in pair and not pair <= reached:
                waiting += pair - reached
                reached |= pair
    return "checked" if now in reached else "changed"


def changed_definitions(digest: str, study: str, stage: str, witness: Mapping[str, Any]) -> list[str]:
    """Names of the definitions that differ between the code of ``digest`` and the present code."""
    known = witness["fingerprints"].get(digest)
    if known is None:
        return ["(the code of this record is not known)"]
    return differences(known["definitions"], records.code(study, stage).definitions)


# --- checks -----------------------------------------------------------------------------------------------------------


class Check(NamedTuple):
    """What computing one cell by two codes gave: ``difference`` is the largest relative one, ``where`` its name."""

    cell: Cell
    equal: bool
    difference: float
    where: str


class _Job(NamedTuple):
    """Cells of one stage, made by one code, that are computed again by it and by the present code."""

    row: StageStatus
    digest: str
    cells: list[Cell]
    results: list[tuple[Future[Any], Future[Any]]]


# Runs in a process of its own whose first path is the tree to be used; knows nothing of the present code.
_COMPUTE = """
import base64, importlib, json, sys, zlib
import numpy as np
import torch

torch.set_num_threads(1)
module, stage, params, output = json.loads(sys.argv[1])

def encode(value):
    if isinstance(value, np.ndarray):
        packed = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"dtype": value.dtype.str, "shape": list(value.shape), "bytes": packed}
    if isinstance(value, dict):
        return {str(name): encode(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value

values = encode(getattr(importlib.import_module(module), stage)(**params))
with open(output, "w") as file:
    json.dump(values, file)
"""


def check(
    cells: Sequence[Cell], folder: Path, *, count: int = 1, seed: int | None = None, workers: int = 2
) -> Iterator[tuple[StageStatus, list[Check]]]:
    """Compute a sample of every stage that is *changed* twice on this machine, and write what is found to its ledger.

    The sample is the cheapest cell and ``count`` random ones, of every code that made records of the stage. They are
    computed by the code of then, from its commit in a git worktree, and by the code of now, each with a cache of its
    own. Equal bit for bit: the stage is *checked*. Unequal: it is *outdated*.

    Yields
    ------
    tuple
        A stage as it was, and what was found, when its line is written.

    Raises
    ------
    ValueError
        ``count`` is negative.
    NoHistoryError
        The code of a record is not in the git history; compare with the record itself then, as ``verify`` does.
    RuntimeError
        A cell raised, by one code or the other.
    """
    if count < 0:
        raise ValueError(f"count={count} must be at least 0")
    with tempfile.TemporaryDirectory() as scratch:
        pool = ThreadPoolExecutor(workers)
        try:
            jobs = [
                job
                for row in status(cells, folder)
                if row.state == "changed"
                for job in _jobs(row, cells, folder, count, np.random.default_rng(seed), Path(scratch), pool)
            ]
            for row in dict.fromkeys(job.row for job in jobs):
                found = []
                for job in [job for job in jobs if job.row == row]:
                    found += _write_line(job, folder)
                yield row, found
        finally:
            pool.shutdown(cancel_futures=True)


def _jobs(
    row: StageStatus,
    cells: Sequence[Cell],
    folder: Path,
    count: int,
    rng: np.random.Generator,
    scratch: Path,
    pool: ThreadPoolExecutor,
) -> Iterator[_Job]:
    """Pick the cells of a stage and begin to compute them."""
    own = [c for c in cells if (c.study, c.stage) == row[:2] and records.is_recorded(c, folder)]
    changed = [cell for cell in own if state_of(cell, folder) == "changed"]
    for digest in dict.fromkeys(origin(cell, folder)[0] for cell in changed):
        known = read(row.study, row.stage, folder)["fingerprints"].get(digest)
        tree = _tree(known, digest, row, scratch)
        made = [cell for cell in changed if origin(cell, folder)[0] == digest]
        cheapest = min(made, key=lambda cell: records.read(cell, folder).provenance["cpu_seconds"])
        others = [cell for cell in made if cell != cheapest]
        picked = [cheapest, *(others[place] for place in rng.permutation(len(others))[:count])]
        results = [
            (
                pool.submit(_compute, cell, known["module"], tree, scratch),
                pool.submit(_compute, cell, records.module_of(cell.study), None, scratch),
            )
            for cell in picked
        ]
        yield _Job(row, digest, picked, results)


def _write_line(job: _Job, folder: Path) -> list[Check]:
    """Wait for a job, and write what it found to the ledger of its stage."""
    study, stage = job.row.study, job.row.stage
    found = [
        Check(cell, *_compare(old.result(), new.result()))
        for cell, (old, new) in zip(job.cells, job.results, strict=True)
    ]
    register(study, stage, folder)
    witness = read(study, stage, folder)
    witness["checks"].append(
        {
            "from": job.digest,
            "to": records.code(study, stage).digest,
            "commit": records.commit(_files(study, stage)),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "device": records.device_name(),
            "cells": [cell.label for cell in job.cells],
            "largest_difference": max(one.difference for one in found),
            "equal": all(one.equal for one in found),
        }
    )
    records.write_json(path_of(study, stage, folder), witness)
    return found


def _git(*words: str) -> bytes:
    try:
        return subprocess.run(["git", *words], cwd=records.ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistoryError(
            f"the code of the record cannot be had: git {' '.join(words)[:60]} failed "
            f"({getattr(error, 'stderr', b'').decode().strip() or error})"
        ) from error


def _tree(known: Mapping[str, Any] | None, digest: str, row: StageStatus, scratch: Path) -> Path:
    """The tree of the code with this digest, checked out at its commit."""
    if known is None:
        raise NoHistoryError(f"{row.study}/{row.stage}: its witness does not know the code with digest {digest}")
    commit = known["commit"].partition(" ")[0]
    tree = scratch / commit
    if not tree.exists():
        # As a worktree of git, but one of which nothing stays behind in the repository if this is killed.
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
            archive.extractall(tree, filter="data")
    there = fingerprint(known["module"], row.stage, locate=below(tree))
    if there.definitions != known["definitions"]:
        names = differences(known["definitions"], there.definitions)
        raise NoHistoryError(
            f"{row.study}/{row.stage}: commit {commit[:12]} does not hold the code that made the record "
            f"({', '.join(names[:5])} differ)"
        )
    return tree


def _compute(cell: Cell, module: str, tree: Path | None, scratch: Path) -> Any:
    """Values of a cell by the code in ``tree``, or by the present code; durations are left out."""
    side = tree.name if tree else "present"
    output = scratch / f"{side}-{cell.study}-{cell.stage}-{cell.label}.json"
    environment = os.environ | {
        "MODUTILS_CACHE": str(scratch / f"cache-{side}"),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    if tree:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(tree), os.environ.get("PYTHONPATH"))))
    if (files := data.cache_folder() / "data").exists():
        environment.setdefault("MODUTILS_DATA", str(files))
    call = json.dumps([module, cell.stage, dict(cell.params), str(output)])
    done = subprocess.run(
        [sys.executable, "-c", _COMPUTE, call],
        cwd=tree or records.ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{cell} by the code of {side[:12]}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(output.read_text())


def _compare(old: Any, new: Any, name: str = "") -> tuple[bool, float, str]:
    """Whether two values are equal bit for bit, but for durations; the largest relative difference, and where it is."""
    if isinstance(old, dict) and isinstance(new, dict) and "dtype" not in old:
        names = [key for key in old.keys() | new.keys() if not key.endswith("seconds")]
        parts = [_compare(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")) for key in sorted(names)]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = [_compare(a, b, f"{name}[{place}]") for place, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        equal = json.dumps(old) == json.dumps(new)
        return equal, 0.0 if equal else _difference(old, new), name
    return (
        all(equal for equal, _, _ in parts),
        max((difference for _, difference, _ in parts), default=0.0),
        max(parts, key=lambda part: (not part[0], part[1]), default=(True, 0.0, name))[2],
    )


def _difference(old: Any, new: Any) -> float:
    """Largest relative difference of two unequal values; infinite if they are no numbers of one shape."""
    arrays = []
    for value in (old, new):
        if isinstance(value, dict) and "dtype" in value:
            value = np.frombuffer(base64.b64decode(value["bytes"]), value["dtype"]).reshape(value["shape"])
        try:
            arrays.append(np.asarray(value, dtype=float))
        except (TypeError, ValueError):
            return float("inf")
    a, b = arrays
    if a.shape != b.shape or (np.isfinite(a) != np.isfinite(b)).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        relative = np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-300)
    return float(np.nanmax(relative, initial=0.0))
