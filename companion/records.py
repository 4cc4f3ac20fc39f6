"""What expensive runs found, kept in small files with their provenance.

A :class:`Cell` is one independent piece of work of a study: the function ``stage`` in
``studies.<study>.cells``, called with ``params``. Its record is the file
``results/<study>/<stage>/<label>.json``, where the label is made of the parameters alone. Which code made it is written
in the record, as the digest of a fingerprint, and is no part of its address: see `companion.witness`.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import fastjsonschema
import numpy as np
import torch
from packaging.requirements import Requirement

from companion.fingerprint import OURS, Fingerprint, fingerprint, installed
from modutils import data

# The repository. (Not documented: the page would show a path of the machine that built it.)
ROOT = Path(__file__).resolve().parent.parent
FORMAT = 2
_FIX = "delete it and run the study again"
_LARGEST = 2**30  # bytes of all arrays of a record; the whole record of the repository has less


class RecordError(ValueError):
    """A record is missing, was altered, or belongs to other parameters or data; the message names the file."""


@dataclass(frozen=True)
class Cell:
    """One independent piece of work of a study.

    Parameters
    ----------
    study, stage : str
        The work is the function ``stage`` of ``studies.<study>.cells``.
    params : mapping
        Its keyword arguments: strings, numbers, booleans or None. A parameter named ``seed`` marks replicates.
    """

    study: str
    stage: str
    params: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash((self.study, self.stage, frozenset(self.params.items())))

    @property
    def function(self) -> Callable[..., dict[str, Any]]:
        """The function that does the work."""
        return getattr(importlib.import_module(module_of(self.study)), self.stage)

    @property
    def label(self) -> str:
        """The parameters as part of a file name, such as ``mnist-cnn-act2-relu-3``."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(str(value) for value in self.params.values()))

    @property
    def key(self) -> str:
        """Hash of the cell and of the code that computes it, 12 hexadecimal digits: a name for what may be cached."""
        return digest([self.study, self.stage, dict(self.params), code(self.study, self.stage).digest])[:12]

    def path(self, folder: Path) -> Path:
        """Where the record of this cell is or will be."""
        return folder / self.study / self.stage / f"{self.label}.json"

    def __str__(self) -> str:
        return f"{self.study}/{self.stage}/{self.label}"


class Record(NamedTuple):
    """What a cell found (``values``), how it came about (``provenance``), and the digest and version of the code."""

    values: dict[str, Any]
    provenance: dict[str, Any]
    code: str
    version: int

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the piece of work; a network that came from the cache counts with its training."""
        return max(float(self.provenance["cpu_seconds"]), float(self.values.get("training_cpu_seconds", 0)))


def module_of(study: str) -> str:
    """The module that holds the stages of a study."""
    return f"studies.{study}.cells"


@cache
def code(study: str, stage: str) -> Fingerprint:
    """Fingerprint of the code that computes a stage, as it was when this process first asked."""
    return fingerprint(module_of(study), stage)


def version(study: str, stage: str) -> int:
    """The version of a stage: ``VERSIONS[stage]`` in its module, else 1. Whoever means to change numbers raises it."""
    versions: Mapping[str, int] = getattr(importlib.import_module(module_of(study)), "VERSIONS", {})
    return versions.get(stage, 1)


def depends_on_training(cell: Cell, name: str) -> bool:
    """Whether a recorded value depends on a trained network: then another processor may give another draw of it.

    A study says otherwise by a function ``untrained_values(stage, params, name)`` in its module of stages.
    """
    untrained = getattr(importlib.import_module(module_of(cell.study)), "untrained_values", None)
    return untrained is None or not untrained(cell.stage, cell.params, name)


def networks_of(cell: Cell) -> list[Cell]:
    """The cells of the stage ``train`` that say what training the networks behind a cell took.

    A study names their parameters by a function ``networks_of(stage, params)`` in its module of stages; without one, a
    cell trains what it needs itself.
    """
    named = getattr(importlib.import_module(module_of(cell.study)), "networks_of", None)
    found = [] if named is None else named(cell.stage, cell.params)
    return [Cell(cell.study, "train", params) for params in found]


def results_folder() -> Path:
    """The committed record: ``MODUTILS_RESULTS`` if set, else ``results`` in the repository."""
    if chosen := os.environ.get("MODUTILS_RESULTS"):
        return Path(chosen)
    return ROOT / "results"


def check_scale(scale: str) -> None:
    """Refuse a scale that no plan has.

    Raises
    ------
    ValueError
        Another one than ``quick`` and ``paper``.
    """
    if scale not in ("quick", "paper"):
        raise ValueError(f"scale={scale!r} is unknown; choose 'quick' or 'paper'")


def check_addresses(cells: Sequence[Cell]) -> None:
    """Refuse a plan in which two cells have one address.

    Raises
    ------
    ValueError
        Names both cells. Case does not count, since it does not on every file system.
    """
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(str(cell).lower(), cell)
        if other != cell:
            raise ValueError(f"two cells have the address {cell}: {dict(other.params)} and {dict(cell.params)}")


def write(cell: Cell, values: Mapping[str, Any], provenance: Mapping[str, Any], folder: Path) -> Path:
    """Write the record of ``cell`` in one step, in place of what was there.

    ``values`` may nest dictionaries, lists, strings, numbers, booleans, None and numpy arrays.

    Raises
    ------
    RecordError
        As `refuse_taken`.
    """
    refuse_taken(cell, folder)
    path = cell.path(folder)
    content = {
        "format": FORMAT,
        "study": cell.study,
        "stage": cell.stage,
        "params": dict(cell.params),
        "version": version(cell.study, cell.stage),
        "code": code(cell.study, cell.stage).digest,
        "provenance": dict(provenance),
        "values": encode(values),
    }
    content["sha256"] = digest(content)
    write_json(path, content)
    return path


def is_recorded(cell: Cell, folder: Path) -> bool:
    """Whether ``cell`` has a record, by whatever code; see `fault` for whether it can be read."""
    return cell.path(folder).exists()


def fault(cell: Cell, folder: Path) -> str | None:
    """What is wrong with the file at the address of ``cell``: it is damaged, or another's. None if nothing is wrong."""
    path = cell.path(folder)
    try:
        _compare_params(load(path), cell, path)
    except RecordError as error:
        return str(error)
    return None


def read(cell: Cell, folder: Path | None = None) -> Record:
    """Read the record of ``cell``.

    Raises
    ------
    RecordError
        No record of these parameters; or its file was altered, belongs to other parameters, or was made from other data
        than those at hand.
    """
    folder = folder or results_folder()
    path = cell.path(folder)
    if not path.exists():
        raise RecordError(f"no record of {cell} in {folder}; compute it: python -m companion run {cell.study}")
    content = load(path)
    _compare_params(content, cell, path)
    for file, md5 in content["provenance"].get("data", {}).items():
        if (here := data.checksum_at_hand(file)) not in (None, md5):
            raise RecordError(f"{path} was made from a {file} with MD5 {md5}, but the one at hand has {here}")
    return Record(content["values"], content["provenance"], content["code"], content["version"])


def load(path: Path) -> dict[str, Any]:
    """What a file holds, which is a record, whoever's it is.

    Raises
    ------
    RecordError
        It is not, or was altered.
    """
    content: dict[str, Any] = read_json(path, lambda found: _decoded(_whole(found), path), "is not a record", _FIX)
    return content


def refuse_taken(cell: Cell, folder: Path) -> None:
    """Refuse an address that another cell's record has by right, since both have one label.

    Raises
    ------
    RecordError
        Names the parameters of both.
    """
    path = cell.path(folder)
    try:
        there = load(path)
        taken = Cell(there["study"], there["stage"], there["params"]).path(folder) == path
    except (RecordError, OSError):
        return  # nothing is there, or nothing that could be used
    if taken:
        _compare_params(there, cell, path)


def _compare_params(content: Mapping[str, Any], cell: Cell, path: Path) -> None:
    if (content["study"], content["stage"], content["params"]) != (cell.study, cell.stage, dict(cell.params)):
        raise RecordError(f"{path} belongs to other parameters: {content['params']}, not {dict(cell.params)}")


@dataclass(frozen=True)
class Results:
    """The records of a study's plan, looked up by stage and parameters.

    Parameters
    ----------
    cells : sequence of Cell
        The plan, in the order in which replicates are wanted.
    folder : path
        Where the records are.
    """

    cells: Sequence[Cell]
    folder: Path
    _watching: list[dict[Cell, bool]] = field(default_factory=list, init=False, repr=False, compare=False)

    def planned(self, stage: str, **params: Any) -> list[Cell]:
        """The planned cells of ``stage`` whose parameters include ``params``, in the order of the plan."""
        return [cell for cell in self.cells if cell.stage == stage and params.items() <= dict(cell.params).items()]

    def recorded(self, stage: str, **params: Any) -> list[tuple[Cell, Record]]:
        """Those of :meth:`planned` that have a record, each with it.

        Raises
        ------
        RecordError
            A record is invalid.
        """
        chosen = self.planned(stage, **params)
        paths = {cell: cell.path(self.folder) for cell in chosen if is_recorded(cell, self.folder)}
        found = [(cell, _read_cached(cell, self.folder, path.stat().st_mtime_ns)) for cell, path in paths.items()]
        there = {cell for cell, _ in found}
        for seen in self._watching:
            seen.update({cell: cell in there for cell in chosen})
        return found

    def records(self, stage: str, **params: Any) -> list[Record]:
        """Records of all cells of :meth:`planned`.

        Raises
        ------
        RecordError
            No such cell is planned, or one has no valid record.
        """
        chosen = self.planned(stage, **params)
        if not chosen:
            raise RecordError(f"no cell of stage {stage!r} with {params} is planned")
        found = dict(self.recorded(stage, **params))
        for cell in chosen:
            if cell not in found:
                read(cell, self.folder)  # says that it is missing
        return [found[cell] for cell in chosen]

    def numbers(self, stage: str, *path: str, **params: Any) -> np.ndarray:
        """One number per cell: the one at ``path`` (names, from the outside in) in its values; shape (cells,)."""
        found = []
        for record in self.records(stage, **params):
            value: Any = record.values
            for name in path:
                value = value[name]
            found.append(float(value))
        return np.array(found)

    @contextmanager
    def watch(self) -> Iterator[dict[Cell, bool]]:
        """Collect the cells that are asked for meanwhile, and whether each has a record."""
        seen: dict[Cell, bool] = {}
        self._watching.append(seen)
        try:
            yield seen
        finally:
            self._watching[:] = [other for other in self._watching if other is not seen]


@lru_cache(maxsize=2048)
def _read_cached(cell: Cell, folder: Path, changed: int) -> Record:
    return read(cell, folder)


# --- where a record comes from ----------------------------------------------------------------------------------------


def provenance(cell: Cell | None = None) -> dict[str, Any]:
    """Versions, commit, machine and date of the present process, for :func:`write`.

    The versions are those of the packages that ``cell`` reaches and of what these require; if no cell is given, of a
    few. The commit is marked "with changes" if files of ours that ``cell`` reaches, or any, were changed since.
    """
    made_by = code(cell.study, cell.stage) if cell else None
    files = [str(path) for module in made_by.modules if (path := installed(module))] if made_by else []
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(tuple(files or [str(ROOT / package) for package in OURS])),
        "python": platform.python_version(),
        "versions": _versions(made_by.packages if made_by else ("captum", "scipy", "sklearn", "torchvision")),
        "device": device_name(),
        "threads": torch.get_num_threads(),
    }


@cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Version of every distribution that gives one of ``packages``, and of those that it requires at run time."""
    distributions = importlib.metadata.packages_distributions()
    names = {name for package in (*packages, "numpy", "torch") for name in distributions.get(package, ())}
    for name in list(names):
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                names.add(requirement.name)
    found = {}
    for name in names:
        try:
            found[importlib.metadata.metadata(name)["Name"].lower()] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name.lower()] = "not installed"
    return dict(sorted(found.items()))


@cache
def device_name() -> str:
    """The processor with its vector instructions, and the GPU if there is one."""
    try:
        models = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:  # not Linux
        models = []
    names = [f"{models[0] if models else platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"]
    if torch.cuda.is_available():
        names.append(torch.cuda.get_device_name())
    return " + ".join(names)


@cache
def commit(files: tuple[str, ...]) -> str:
    """The present commit; with "with changes" behind it if one of ``files`` differs from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (" with changes" if git("status", "--porcelain", "--", *files) else "")
    except (OSError, subprocess.CalledProcessError):
        return "not in a git checkout"


# --- JSON -------------------------------------------------------------------------------------------------------------


def digest(content: Any) -> str:
    """SHA-256 of what JSON can hold, whatever the order of its names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file under a temporary name, then rename it.

    The name is always the same, so that what a killed process left is overwritten; whoever writes holds a lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path, opened: Callable[[Any], Any], otherwise: str, fix: str) -> Any:
    """What ``opened`` makes of the content of a JSON file, whatever was done to the file.

    Parameters
    ----------
    path : Path
    opened : callable
        Takes the content and returns what is wanted of it. Its errors mean that the file is damaged. Such as a
        ``fastjsonschema.compile(schema)``, which refuses content of another form.
    otherwise, fix : str
        For the message, such as "is not a record" and "delete it".

    Raises
    ------
    RecordError
        The file is damaged: one line that names it, and says why and what to do.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return opened(json.loads(text, parse_constant=_finite, parse_float=_finite))
    # What json, base64, zlib and numpy raise for content that is not what they expect.
    except (ValueError, TypeError, OverflowError, RecursionError, zlib.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise RecordError(f"{path} {otherwise} ({reason}); {fix}") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number of JSON")
    return number


def form(**names: Any) -> dict[str, Any]:
    """Schema of a JSON object that has these names, each with a schema or the name of a type."""
    properties = {name: {"type": kind} if isinstance(kind, str) else kind for name, kind in names.items()}
    return {"type": "object", "properties": properties, "required": list(names)}


TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# Where a record or a page comes from. Which of these names it has depends on what made it.
PROVENANCE = form(
    date="string", commit="string", python="string", device="string", versions=TEXTS, threads="integer",
    seconds="number", cpu_seconds="number", data=TEXTS,
) | {"required": []}  # fmt: skip
_check_record = fastjsonschema.compile(
    form(
        format={"const": FORMAT}, study="string", stage="string", params="object", version="integer", code="string",
        provenance=PROVENANCE, values="object", sha256="string",
    )
)  # fmt: skip
_check_array = fastjsonschema.compile(
    form(dtype="string", shape={"type": "array", "items": {"type": "integer", "minimum": 0}}, zlib="string")
)


def _whole(content: Any) -> dict[str, Any]:
    """The content of a record without its digest, which was right."""
    _check_record(content)
    found = content.pop("sha256")
    if found != digest(content):
        raise ValueError("it was altered after it was written")
    return dict(content)


def encode(value: Any) -> Any:
    """``value`` as JSON can hold it; arrays as compressed bytes, exactly."""
    if isinstance(value, np.ndarray):
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 9)).decode()
        return {"dtype": value.dtype.str, "shape": list(value.shape), "zlib": packed}
    if isinstance(value, Mapping):
        return {str(name): encode(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


class _Names(dict[str, Any]):
    """Part of a record. To ask for a name that it lacks is an error that names the file."""

    def __init__(self, items: Mapping[str, Any], path: Path) -> None:
        super().__init__(items)
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise RecordError(f"{self.path} has no {name!r}; {_FIX}")


def _decoded(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The content of a record with its arrays as arrays."""
    room = _LARGEST

    def decode(value: Any) -> Any:
        nonlocal room
        if isinstance(value, dict) and value.keys() == {"dtype", "shape", "zlib"}:
            found = _array(value, room)
            room -= found.nbytes
            return found
        if isinstance(value, dict):
            return _Names({name: decode(item) for name, item in value.items()}, path)
        return [decode(item) for item in value] if isinstance(value, list) else value

    return {**content, "values": decode(content["values"]), "provenance": decode(content["provenance"])}


def _array(value: Mapping[str, Any], room: int) -> np.ndarray:
    """An array that was packed by `encode`, of at most ``room`` bytes: a small file may expand to a very large one."""
    _check_array(value)
    dtype, shape = np.dtype(value["dtype"]), value["shape"]
    size = math.prod(shape) * dtype.itemsize
    if size > room:
        raise ValueError(f"its arrays have more than {_LARGEST // 2**20} MiB")
    stream = zlib.decompressobj()
    packed = stream.decompress(base64.b64decode(value["zlib"], validate=True), size + 1)
    if len(packed) != size or not stream.eof:
        raise ValueError(f"an array has other than the {size} bytes of its shape {shape}")
    return np.frombuffer(packed, dtype).reshape(shape)
