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
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import fastjsonschema
import numpy as np
from filelock import SoftFileLock

from companion import records
from companion.fingerprint import below, differences, fingerprint
from companion.records import Cell, RecordError, form
from companion.workers import Processes
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

    def opened(content: Any) -> Any:
        _check_witness(content)
        if (content["study"], content["stage"]) != (study, stage):
            raise ValueError(f"it belongs to {content['study']}/{content['stage']}")
        return content

    found: dict[str, Any] = records.read_json(
        path, opened, "is no witness of a stage", "restore it from git, or delete it"
    )
    return found


_FINGERPRINT = form(
    commit="string", module="string", packages={"type": "array", "items": {"type": "string"}}, definitions=records.TEXTS
)
_CHECK = form(**{"from": "string", "to": "string", "equal": "boolean"})
_check_witness = fastjsonschema.compile(
    form(
        study="string",
        stage="string",
        version="integer",
        fingerprints={"type": "object", "additionalProperties": _FINGERPRINT},
        checks={"type": "array", "items": _CHECK},
    )
)


def register(study: str, stage: str, folder: Path) -> None:
    """Write the fingerprint of the present code into the witness of a stage, before a cell is computed by it."""
    now = records.code(study, stage)
    version = records.version(study, stage)
    committed = records.commit(_files(study, stage))
    with _edited(study, stage, folder) as witness:
        known = witness["fingerprints"].get(now.digest)
        was_committed_since = known is not None and " " in known["commit"] and " " not in committed
        if known and witness["version"] == version and not was_committed_since:
            return
        witness["version"] = version
        witness["fingerprints"][now.digest] = {
            "commit": committed,
            "module": records.module_of(study),
            "packages": list(now.packages),
            "definitions": now.definitions,
        }


@contextmanager
def _edited(study: str, stage: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The witness of a stage, to be changed while nobody else does; written if it was."""
    path = path_of(study, stage, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with SoftFileLock(path.with_name(f".{path.name}.lock")):
        witness = read(study, stage, folder)
        before = json.dumps(witness)
        yield witness
        if json.dumps(witness) != before:
            records.write_json(path, witness)


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
    content = records.load(path)
    return content["code"], content["version"]


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

    digest: str
    cells: list[Cell]
    results: list[tuple[Future[Any], Future[Any]]]


# Runs in a process of its own whose first path is the tree to be used; knows nothing of the present code.
_COMPUTE = """
import base64, importlib, json, os, sys, threading
import numpy as np
import torch

def end_with_parent():
    os.read(0, 1)  # returns when the parent closes its end, or dies
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
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


def to_check(cells: Sequence[Cell], folder: Path) -> list[StageStatus]:
    """The stages that :func:`check` would check: those of which some record is *changed*."""
    changed = {c[:2] for c in _changed(cells, folder)}
    return [row for row in status(cells, folder) if row[:2] in changed]


def _changed(cells: Sequence[Cell], folder: Path) -> dict[tuple[str, str, str], list[Cell]]:
    """Cells whose record is *changed*, by study, stage and the digest of the code that made it."""
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if records.is_recorded(cell, folder) and state_of(cell, folder) == "changed":
            found.setdefault((cell.study, cell.stage, origin(cell, folder)[0]), []).append(cell)
    return found


def check(
    cells: Sequence[Cell], folder: Path, *, count: int = 1, seed: int | None = None, workers: int = 2
) -> Generator[tuple[StageStatus, list[Check] | NoHistoryError], None, None]:
    """Compute a sample of every stage that has *changed* twice on this machine, and write what is found to its ledger.

    The sample is the cheapest cell and ``count`` random ones, of every code that made records of the stage. They are
    computed by the code of then, from its commit in git, and by the code of now, each with a cache of its own. Equal
    bit for bit: the stage is *checked*. Unequal: it is *outdated*.

    Yields
    ------
    tuple
        A stage as it was, and what was found, when its line is written; or the error that says why the code of then is
        not to be had. Compare with the record itself then, as ``verify`` does.

    Raises
    ------
    ValueError
        ``count`` is negative.
    RuntimeError
        A cell raised, by one code or the other.
    """
    if count < 0:
        raise ValueError(f"count={count} must be at least 0")
    with tempfile.TemporaryDirectory() as scratch, Processes(workers) as pool:
        jobs: dict[StageStatus, list[_Job] | NoHistoryError] = {}
        for row in to_check(cells, folder):
            try:
                jobs[row] = _jobs(row, cells, folder, count, np.random.default_rng(seed), Path(scratch), pool)
            except NoHistoryError as error:
                jobs[row] = error
        for row, begun in jobs.items():
            if isinstance(begun, NoHistoryError):
                yield row, begun
            else:
                yield row, [one for job in begun for one in _write_line(row, job, folder)]


def _jobs(
    row: StageStatus,
    cells: Sequence[Cell],
    folder: Path,
    count: int,
    rng: np.random.Generator,
    scratch: Path,
    pool: Executor,
) -> list[_Job]:
    """Pick the cells of a stage and begin to compute them."""
    made = {digest: own for (study, stage, digest), own in _changed(cells, folder).items() if (study, stage) == row[:2]}
    fingerprints = read(row.study, row.stage, folder)["fingerprints"]
    trees = {digest: _tree(fingerprints.get(digest), digest, row, scratch) for digest in made}
    jobs = []
    for digest, own in made.items():
        cheapest = min(own, key=lambda cell: records.read(cell, folder).cpu_seconds)
        others = [cell for cell in own if cell != cheapest]
        picked = [cheapest, *(others[place] for place in rng.permutation(len(others))[:count])]
        then, now = fingerprints[digest]["module"], records.module_of(row.study)
        results = [
            (
                pool.submit(_compute, cell, then, trees[digest], scratch),
                pool.submit(_compute, cell, now, None, scratch),
            )
            for cell in picked
        ]
        jobs.append(_Job(digest, picked, results))
    return jobs


def _write_line(row: StageStatus, job: _Job, folder: Path) -> list[Check]:
    """Wait for a job, and write what it found to the ledger of its stage."""
    study, stage = row.study, row.stage
    found = [
        Check(cell, *_compare(old.result(), new.result()))
        for cell, (old, new) in zip(job.cells, job.results, strict=True)
    ]
    largest = max(one.difference for one in found)
    register(study, stage, folder)
    line = {
        "from": job.digest,
        "to": records.code(study, stage).digest,
        "commit": records.commit(_files(study, stage)),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": records.device_name(),
        "cells": [cell.label for cell in job.cells],
        "largest_difference": largest if math.isfinite(largest) else None,  # of values that cannot be subtracted
        "equal": all(one.equal for one in found),
    }
    with _edited(study, stage, folder) as witness:
        witness["checks"].append(line)
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
    name = f"{row.study}/{row.stage}"
    if known is None:
        raise NoHistoryError(f"{name}: its witness does not know the code with digest {digest}")
    commit, _, changes = known["commit"].partition(" with ")
    if " " in commit:
        raise NoHistoryError(f"{name}: its records were made where there is no git")
    # Code that was not committed yet when it made a record is in a commit that followed, if anywhere.
    later = _git("rev-list", "--reverse", f"{commit}..HEAD").decode().split() if changes else []
    for one in (commit, *later):
        tree = scratch / one
        if not tree.exists():
            # As a worktree of git, but one of which nothing stays behind in the repository if this is killed.
            archive = _git("archive", one, "--", ".", ":(exclude)results")
            with tarfile.open(fileobj=io.BytesIO(archive)) as members:
                members.extractall(tree, filter="data")
        if _definitions(known["module"], row.stage, tree) == known["definitions"]:
            return tree
    raise NoHistoryError(f"{name}: commit {known['commit']} does not hold the code that made the record")


def _definitions(module: str, stage: str, tree: Path) -> dict[str, str] | None:
    """Of the code in a tree; None if it has no such stage."""
    try:
        return fingerprint(module, stage, locate=below(tree)).definitions
    except ValueError:
        return None


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
    ours, theirs = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _COMPUTE, call],
            cwd=tree or records.ROOT,
            env=environment,
            stdin=ours,
            capture_output=True,
            text=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"{cell} could not be computed by the code of {side[:12]}: {reason}")
    return json.loads(output.read_text())


def _compare(old: Any, new: Any, name: str = "") -> tuple[bool, float, str]:
    """Whether two values are equal bit for bit, but for durations; the largest relative difference, and where it is."""
    if isinstance(old, dict) and isinstance(new, dict) and "dtype" not in old:
        names = [key for key in old.keys() | new.keys() if not key.endswith("seconds")]
        gone = "(missing)"
        parts = [_compare(old.get(key, gone), new.get(key, gone), f"{name}.{key}".lstrip(".")) for key in sorted(names)]
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
        if isinstance(value, str):
            return float("inf")
        if isinstance(value, dict) and "dtype" in value:
            value = np.frombuffer(base64.b64decode(value["bytes"]), value["dtype"]).reshape(value["shape"])
        try:
            arrays.append(np.asarray(value).astype(float, casting="safe"))
        except (TypeError, ValueError):
            return float("inf")
    a, b = arrays
    if a.shape != b.shape or (np.isfinite(a) != np.isfinite(b)).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        relative = np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-300)
    return float(np.nanmax(relative, initial=0.0))
