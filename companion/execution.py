"""Execute a chapter: one function for the Makefile, the command line and the tests.

A chapter is a percent-format Jupytext script. It is executed by papermill into a notebook that is never
committed; the book shows that notebook, and only if it belongs to the script, the record and the code as they are
now, and was not altered since (`find_executed`).
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import sys
import tempfile
import textwrap
import time
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastjsonschema
import jupytext
import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

import modutils
from companion import records
from companion.fingerprint import OURS
from companion.reading import FOR_PAGE
from companion.records import ROOT, RecordError, form

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotebookError(RuntimeError):
    """A cell of a notebook raised; the message names the notebook, the cell and its source."""


_check_notebook = fastjsonschema.compile(
    form(
        nbformat={"const": 4},
        cells={"type": "array", "items": {"type": "object"}},
        metadata={
            "type": "object",
            "properties": {
                "modutils": form(
                    source="string", source_sha256="string", inputs_sha256="string", injected="object",
                    parameters="object", seconds="number", provenance=records.PROVENANCE, sha256="string",
                )
            },
        },
    )
)  # fmt: skip


# Sockets of this machine alone need no encryption; without the second entry the kernel prints a warning about it.
_KERNEL = {"ip": "127.0.0.1", "transport_encryption": "auto"}


class _SavedAtTheEnd(NBClientEngine):
    """Papermill's own engine, which else writes the notebook anew, with all its figures, twice for every cell."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **options: Any) -> None:
        nb_man.output_path, path = None, nb_man.output_path
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **options)
        finally:
            nb_man.output_path = path  # papermill goes on to write what there is, also of a run that failed


papermill_engines.register("saved-at-the-end", _SavedAtTheEnd)


def parameters_of(source: str | Path) -> dict[str, Any]:
    """Names and values of a chapter's parameters, as its cell tagged ``parameters`` sets them.

    Parameters
    ----------
    source : path
        Percent-format Jupytext script. Every parameter is a literal (number, string, boolean, list, ...).

    Raises
    ------
    ValueError
        If the script has no such cell, or a value in it is not a literal.
    """
    source = Path(source)
    with tempfile.TemporaryDirectory() as folder:
        return _inspect(source, _prepare(_read(source), Path(folder)))


def execute(
    source: str | Path,
    output: str | Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    timeout: int = 1800,
) -> Path:
    """Execute a chapter and write the notebook with its outputs.

    The notebook appears under its name only when every cell has succeeded: an earlier good output stays in
    place when a cell raises. The failed run is then kept beside it as ``<name>.failed.ipynb``.

    Parameters
    ----------
    source : path
        Percent-format Jupytext script; its folder is the working directory, as in JupyterLab.
    output : path
        The ``.ipynb`` file to write. Its ``modutils`` metadata hold digests of what was executed and of what
        came out, the ``parameters``, the duration in ``seconds``, and the ``provenance`` (see `companion.records`).
    parameters : mapping, optional
        Values that replace those in the cell tagged ``parameters``.
    timeout : int
        Seconds that one cell may take.

    Returns
    -------
    Path
        ``output``.

    Raises
    ------
    ValueError
        If the script is missing, or a parameter is none of its own, or has a value that JSON cannot hold.
    NotebookError
        If a cell raises or takes too long.
    """
    source, output, injected = Path(source), Path(output), dict(parameters or {})
    text = _read(source)
    failed = output.with_suffix(".failed.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}-") as folder:
        prepared = _prepare(text, Path(folder))
        values = _inspect(source, prepared)
        if unknown := sorted(set(injected) - set(values)):
            raise ValueError(f"{source.name} has no parameter {', '.join(unknown)}; it has {', '.join(values)}")
        executed = Path(folder) / "executed.ipynb"
        inputs, started = _inputs(text, injected), time.perf_counter()
        os.environ[FOR_PAGE] = "1"  # the kernel inherits it
        try:
            notebook = papermill.execute_notebook(
                prepared,
                executed,
                parameters=injected,
                engine_name="saved-at-the-end",
                kernel_name="python3",
                cwd=source.parent,
                progress_bar=sys.stderr.isatty(),
                execution_timeout=timeout,
                config=Config(KernelManager=_KERNEL, AsyncKernelManager=_KERNEL),
            )
        except (PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
            os.replace(executed, failed)
            if isinstance(error, PapermillExecutionError):
                reason = f"raised {error.ename}: {error.evalue}".splitlines()[0]
            elif isinstance(error, CellTimeoutError):
                reason = f"took longer than {timeout} s"
            else:
                reason = "ended its kernel (out of memory?)"
            raise NotebookError(_describe(source, text, failed, reason)) from error
        finally:
            os.environ.pop(FOR_PAGE, None)
        # Papermill stores both paths as given, which may be absolute.
        notebook.metadata.papermill.update(input_path=source.name, output_path=output.name)
        notebook.metadata["modutils"] = {
            "source": source.name,
            "source_sha256": _sha256(text.encode()),
            "inputs_sha256": inputs,
            "injected": injected,
            "parameters": values | injected,
            "seconds": round(time.perf_counter() - started, 1),
            "provenance": records.provenance(),
        }
        content = json.loads(nbformat.writes(notebook))
        content["metadata"]["modutils"]["sha256"] = records.digest(content)
        records.write_json(executed, content)
        os.replace(executed, output)
        failed.unlink(missing_ok=True)
    return output


def is_current(source: str | Path, output: str | Path, *, parameters: Mapping[str, Any] | None = None) -> bool:
    """Whether executing again would change nothing: the same script, parameters and whatever else a page is made from.

    That is the library, the records, what was measured by ``benchmarks/``, the packages and the processor. An output
    that is damaged or was altered is not current, and a line on stderr says so.
    """
    inputs = _inputs(_read(Path(source)), dict(parameters or {}))
    try:
        return Path(output).is_file() and _made_from(inputs, Path(output)) is not None
    except RecordError as error:
        print(error, file=sys.stderr)
        return False


def find_executed(text: str, folder: str | Path) -> nbformat.NotebookNode:
    """Find the notebook that is current, see `is_current`, for this script with the script's own parameters.

    Parameters
    ----------
    text : str
        The whole script.
    folder : path
        Where `execute` wrote its notebooks.

    Raises
    ------
    ValueError
        If there is none: the script was not executed yet, or it, the record or the code has changed since, or what was
        executed was damaged.
    """
    inputs, damage = _inputs(text, {}), []
    for path in sorted(Path(folder).glob("*.ipynb")):
        try:
            if (notebook := _made_from(inputs, path)) is not None:
                return notebook
        except RecordError as error:
            damage.append(f"{error}; ")
    raise ValueError(
        f"{''.join(damage)}not executed yet, or it, the record, the code or the packages have changed since: "
        "run `python -m companion execute` (or `make book`)"
    )


def _made_from(inputs: str, path: Path) -> nbformat.NotebookNode | None:
    """The notebook in a file, as `execute` wrote it; None if it was made from other inputs, or not by `execute`.

    Raises
    ------
    RecordError
        The file is damaged or was altered.
    """

    def opened(content: Any) -> nbformat.NotebookNode | None:
        _check_notebook(content)
        made = content["metadata"].get("modutils")
        if made is None:
            return None
        found = made.pop("sha256")
        if found != records.digest(content):
            raise ValueError("it was altered after it was executed")
        return nbformat.v4.to_notebook(content) if made["inputs_sha256"] == inputs else None

    return records.read_json(path, opened, "is not a notebook as it was executed", "the chapter must be executed again")


def _read(source: Path) -> str:
    if source.suffix != ".py" or not source.is_file():
        raise ValueError(f"{source} is not a percent-format Jupytext script (.py)")
    try:
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not a text in UTF-8 ({error}); save it as one") from error


def _prepare(text: str, folder: Path) -> Path:
    """Write the script as an ipynb file, the only form that papermill reads."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    prepared = folder / "prepared.ipynb"
    nbformat.write(notebook, prepared)
    return prepared


def _inspect(source: Path, prepared: Path) -> dict[str, Any]:
    found = papermill.inspect_notebook(prepared)
    if not found:
        raise ValueError(f'{source.name} has no cell tagged "parameters", or the cell sets nothing')
    try:
        return {name: ast.literal_eval(parameter["default"]) for name, parameter in found.items()}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"a parameter of {source.name} is not a literal: {error}") from error


def _describe(source: Path, text: str, failed: Path, reason: str) -> str:
    """Say where a run failed: line in the script, number and source of the cell, and why."""
    cells = [cell for cell in nbformat.read(failed, as_version=4).cells if cell.cell_type == "code"]
    begun = [cell for cell in cells if cell.metadata.get("papermill", {}).get("status") != "pending"]
    before, found, _ = text.partition(begun[-1].source)
    where = f"{source}:{before.count(chr(10)) + 1}" if found else str(source)
    cell = textwrap.indent(begun[-1].source, "    ")
    return f"{where}: cell In [{len(begun)}] {reason}\n{cell}\n(run with traceback: {failed})"


def _inputs(text: str, injected: dict[str, Any]) -> str:
    """Digest of everything that decides the outputs; see `is_current`.

    Raises
    ------
    ValueError
        JSON, in which a notebook keeps its parameters, cannot hold one of them.
    """
    for name, value in injected.items():
        try:
            held = json.loads(json.dumps(value, allow_nan=False)) == value
        except (ValueError, TypeError, RecursionError):
            held = False
        if not held:
            raise ValueError(
                f"parameter {name}={value!r} cannot be kept in a notebook, which is JSON; "
                "give a text, a number, True, False, None, or a list or dictionary of these"
            )
    folders = [(ROOT / package, pattern) for package in OURS for pattern in ("*.py", "*.csv")]
    files = {
        str(path.relative_to(folder.parent)): _file_digest(path, path.stat().st_mtime_ns, path.stat().st_size)
        for folder, pattern in (
            *folders,
            (records.results_folder(), "*.json"),
            (ROOT / "benchmarks" / "results", "*.json"),
        )
        for path in folder.rglob(pattern)
    }
    return records.digest([text, injected, _packages(), platform.python_version(), records.device_name(), files])


@cache
def _packages() -> list[tuple[str, str]]:
    """Names and versions of all but ours, whose files count; each once, though it may be found on two paths."""
    return sorted(
        {(package.name, package.version) for package in distributions()} - {("modutils", modutils.__version__)}
    )


@cache
def _file_digest(path: Path, changed: int, size: int) -> str:
    """Digest of a file, read once for every state of it as its time and size tell it: the book asks for each page."""
    return _sha256(path.read_bytes())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
