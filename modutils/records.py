"""What expensive runs found, kept in small files with their provenance.

A :class:`Cell` is one independent piece of work of a study: the function ``stage`` in
``modutils.studies.<study>.cells``, called with ``params``. Its record is one JSON file in
``results/<study>/<stage>/``. The file's name ends in a key: a hash of the cell and of the code that computes it. A
record whose code has changed since can still be read, and says so.
"""

from __future__ import annotations

import ast
import base64
import datetime
import hashlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import subprocess
import tokenize
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

FORMAT = 1
# Code that decides where things are kept, not what is found: a record does not depend on it. (Data files are identified
# by their checksums in the provenance, however they got here.)
_HOUSEKEEPING = ("modutils.records.", "modutils.data._")
_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "captum")


class RecordError(ValueError):
    """A record is missing, was altered, or belongs to other parameters; the message names the file."""


@dataclass(frozen=True)
class Cell:
    """One independent piece of work of a study.

    Parameters
    ----------
    study, stage : str
        The work is the function ``stage`` of ``modutils.studies.<study>.cells``.
    params : mapping
        Its keyword arguments: strings, numbers, booleans or None. A parameter named ``seed`` marks replicates.
    """

    study: str
    stage: str
    params: Mapping[str, Any]

    @property
    def function(self) -> Callable[..., dict[str, Any]]:
        """The function that does the work."""
        return getattr(importlib.import_module(f"modutils.studies.{self.study}.cells"), self.stage)

    @property
    def label(self) -> str:
        """The parameters as part of a file name, such as ``mnist-cnn-act2-relu-3``."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(str(value) for value in self.params.values()))

    @property
    def key(self) -> str:
        """Hash of the cell and of the code that computes it, as 12 hexadecimal digits."""
        return _digest([self.study, self.stage, dict(self.params), code_parts(self.study, self.stage)])[:12]

    def path(self, folder: Path) -> Path:
        """Where the record of this cell, made by the present code, is or will be."""
        return folder / self.study / self.stage / f"{self.label}-{self.key}.json"

    def __str__(self) -> str:
        return f"{self.study}/{self.stage}/{self.label}"


class Record(NamedTuple):
    """What a cell found (``values``), how it came about (``provenance``), and which code has changed since."""

    values: dict[str, Any]
    provenance: dict[str, Any]
    changed: tuple[str, ...]


def results_folder() -> Path:
    """The committed record: ``MODUTILS_RESULTS`` if set, else ``results`` in the repository."""
    if chosen := os.environ.get("MODUTILS_RESULTS"):
        return Path(chosen)
    return Path(__file__).resolve().parent.parent / "results"


def write(cell: Cell, values: Mapping[str, Any], provenance: Mapping[str, Any], folder: Path) -> Path:
    """Write the record of ``cell`` in one step, and remove one that earlier code made of the same cell.

    ``values`` may nest dictionaries, lists, strings, numbers, booleans, None and numpy arrays.
    """
    content = {
        "format": FORMAT,
        "study": cell.study,
        "stage": cell.stage,
        "params": dict(cell.params),
        "code": code_parts(cell.study, cell.stage),
        "provenance": dict(provenance),
        "values": _encode(values),
    }
    content["sha256"] = _digest(content)
    path = cell.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    for other in _of_any_code(cell, folder):
        if other != path:
            other.unlink()
    return path


def is_done(cell: Cell, folder: Path) -> bool:
    """Whether the present code has computed ``cell`` already."""
    return cell.path(folder).exists()


def is_recorded(cell: Cell, folder: Path) -> bool:
    """Whether ``cell`` has a record, made by the present code or by earlier code."""
    return bool(_of_any_code(cell, folder))


def read(cell: Cell, folder: Path | None = None) -> Record:
    """Read the record of ``cell``.

    Raises
    ------
    RecordError
        No record of these parameters, or its file was altered or belongs to other parameters.
    """
    folder = folder or results_folder()
    path = cell.path(folder)
    if not path.exists():
        others = _of_any_code(cell, folder)
        if not others:
            raise RecordError(f"no record of {cell} in {folder}; compute it: python -m modutils run {cell.study}")
        path = others[0]
    try:
        content = json.loads(path.read_text())
        found = content.pop("sha256")
    except (ValueError, KeyError, AttributeError) as error:
        raise RecordError(f"{path} is not a record ({error}); delete it and run the study again") from error
    if found != _digest(content):
        raise RecordError(f"{path} was altered after it was written; delete it and run the study again")
    if (content["study"], content["stage"], content["params"]) != (cell.study, cell.stage, dict(cell.params)):
        raise RecordError(f"{path} belongs to other parameters: {content['params']}, not {dict(cell.params)}")
    now, then = code_parts(cell.study, cell.stage), content["code"]
    changed = sorted(part for part in now.keys() | then.keys() if now.get(part) != then.get(part))
    return Record(_decode(content["values"]), content["provenance"], tuple(changed))


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

    def records(self, stage: str, **params: Any) -> list[Record]:
        """Records of the cells of ``stage`` whose parameters include ``params``, in the order of the plan.

        Raises
        ------
        RecordError
            No such cell is planned, or one has no valid record.
        """
        chosen = [c for c in self.cells if c.stage == stage and params.items() <= dict(c.params).items()]
        if not chosen:
            raise RecordError(f"no cell of stage {stage!r} with {params} is planned")
        return [_read_cached(cell.study, stage, json.dumps(dict(cell.params)), self.folder) for cell in chosen]

    def numbers(self, stage: str, *path: str, **params: Any) -> np.ndarray:
        """One number per cell: the one at ``path`` (names, from the outside in) in its values; shape (cells,)."""
        found = []
        for record in self.records(stage, **params):
            value: Any = record.values
            for name in path:
                value = value[name]
            found.append(float(value))
        return np.array(found)


@lru_cache(maxsize=1024)
def _read_cached(study: str, stage: str, params: str, folder: Path) -> Record:
    return read(Cell(study, stage, json.loads(params)), folder)


def provenance(cell: Cell | None = None) -> dict[str, Any]:
    """Versions, commit, machine and date of the present process, for :func:`write`.

    The commit is marked "with changes" if files of the package were changed since: those that ``cell`` reaches, if one
    is given.
    """
    parts = code_parts(cell.study, cell.stage) if cell else {}
    files = {_file(part.rpartition(".")[0]) for part in parts} or {str(Path(__file__).parent)}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(tuple(sorted(files))),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": device_name(),
        "threads": torch.get_num_threads(),
    }


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
def _commit(files: tuple[str, ...]) -> str:
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (" with changes" if git("status", "--porcelain", "--", *files) else "")
    except (OSError, subprocess.CalledProcessError):
        return "not in a git checkout"


def _of_any_code(cell: Cell, folder: Path) -> list[Path]:
    pattern = re.compile(re.escape(cell.label) + r"-[0-9a-f]{12}\.json")
    stage = folder / cell.study / cell.stage
    return sorted(path for path in stage.glob(f"{cell.label}-*.json") if pattern.fullmatch(path.name))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _encode(value: Any) -> Any:
    """``value`` as JSON can hold it; arrays as compressed bytes, exactly."""
    if isinstance(value, np.ndarray):
        data = base64.b64encode(zlib.compress(np.ascontiguousarray(value).tobytes(), 9)).decode()
        return {"dtype": value.dtype.str, "shape": list(value.shape), "zlib": data}
    if isinstance(value, Mapping):
        return {str(name): _encode(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"dtype", "shape", "zlib"}:
            data = zlib.decompress(base64.b64decode(value["zlib"]))
            return np.frombuffer(data, value["dtype"]).reshape(value["shape"])
        return {name: _decode(item) for name, item in value.items()}
    return [_decode(item) for item in value] if isinstance(value, list) else value


# --- the code behind a cell -------------------------------------------------------------------------------------------


@cache
def code_parts(study: str, stage: str) -> dict[str, str]:
    """Digest of every definition in ``modutils`` that a cell's function reaches, by qualified name.

    Found by following names from the function's source through the package's modules, so that a change elsewhere does
    not touch a record. Comments, docstrings and blank lines do not count.
    """
    found: dict[str, str] = {}
    waiting = [(f"modutils.studies.{study}.cells", stage)]
    while waiting:
        module, name = waiting.pop()
        qualified = f"{module}.{name}"
        if qualified in found or qualified.startswith(_HOUSEKEEPING) or name not in _definitions(module):
            continue
        nodes = _definitions(module)[name]
        text = "\n".join(_bare(ast.get_source_segment(_source(module), node) or "") for node in nodes)
        found[qualified] = hashlib.sha256(text.encode()).hexdigest()[:12]
        for node in nodes:
            waiting += _references(module, node)
    return dict(sorted(found.items()))


def _file(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"module {module!r} does not exist")
    return spec.origin


@cache
def _source(module: str) -> str:
    return Path(_file(module)).read_text(encoding="utf-8")


@cache
def _definitions(module: str) -> dict[str, list[ast.stmt]]:
    """Top-level functions, classes and assignments of a module, by name."""
    found: dict[str, list[ast.stmt]] = {}
    for node in ast.parse(_source(module)).body:
        names = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
        for name in names:
            found.setdefault(name, []).append(node)
    return found


@cache
def _imports(module: str) -> dict[str, tuple[str, str | None]]:
    """What a name imported from the package means: a module, or a definition in one."""
    found: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "modutils":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = importlib.util.find_spec(node.module or "").submodule_search_locations is not None  # type: ignore[union-attr]
                if is_module and importlib.util.find_spec(inner) is not None:
                    found[alias.asname or alias.name] = (inner, None)
                else:
                    found[alias.asname or alias.name] = (node.module or "", alias.name)
    return found


def _references(module: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    imports = _imports(module)
    for leaf in ast.walk(node):
        if isinstance(leaf, ast.Attribute) and isinstance(leaf.value, ast.Name) and leaf.value.id in imports:
            target, name = imports[leaf.value.id]
            if name is None:
                yield target, leaf.attr
        if isinstance(leaf, ast.Name):
            if leaf.id in imports and imports[leaf.id][1] is not None:
                target, name = imports[leaf.id]
                yield target, str(name)
            yield module, leaf.id


def _bare(source: str) -> str:
    """``source`` without comments, docstrings and blank lines: what is left decides what the code does."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            for row in range(docstring.lineno - 1, docstring.end_lineno or docstring.lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
