"""Command line of the book: ``python -m modutils <command> --help``."""

from __future__ import annotations

import argparse
import ast
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modutils import studies

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an expected failure is one line on standard error and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m modutils", description="Modules in Neural Networks")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_execute(commands)
    _add_run(commands)
    _add_verify(commands)
    _add_claims(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    # RuntimeError: NotebookError is one, and importing it here would load papermill for every command.
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _add_execute(commands: Any) -> None:
    parser = commands.add_parser("execute", help="execute chapters into notebooks that the book shows")
    parser.add_argument("notebooks", nargs="*", type=Path, help="percent-format scripts (default: all in notebooks/)")
    parser.add_argument("--output", type=Path, default=Path("_executed"), help="folder for the executed notebooks")
    parser.add_argument("--force", action="store_true", help="execute also what is up to date")
    parser.add_argument(
        "--timeout", type=int, default=1800, metavar="SECONDS", help="limit for one cell (default: 1800)"
    )
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replace a value of the parameters cell; may be repeated",
    )
    parser.set_defaults(run=_execute)


def _execute(options: argparse.Namespace) -> None:
    from modutils.execution import execute, is_current

    parameters = dict(_parameter(text) for text in options.parameter)
    sources = options.notebooks or sorted(Path("notebooks").glob("*.py"))
    if not sources:
        raise ValueError("no notebooks/*.py here; run this in the root of the repository, or name a script")
    for source in sources:
        output = options.output / f"{source.stem}.ipynb"
        if not options.force and is_current(source, output, parameters=parameters):
            print(f"{output} is up to date")
        else:
            print(f"executing {source} ...", flush=True)
            execute(source, output, parameters=parameters, timeout=options.timeout)


def _add_run(commands: Any) -> None:
    parser = commands.add_parser("run", help="compute a study's record; what is recorded already is not computed again")
    parser.add_argument("study", help="such as biclustering")
    parser.add_argument("--scale", default="paper", help="quick or paper (default: paper)")
    parser.add_argument("--stages", nargs="*", default=[], metavar="STAGE", help="only these stages (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")
    parser.add_argument("--dask", metavar="ADDRESS", help="address of a dask scheduler, instead of processes here")
    parser.add_argument("--output", type=Path, help="folder for the records (default: results/)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from modutils import records, sweeps

    cells = _plan(options)
    folder = options.output or records.results_folder()
    print(f"{len(cells)} cells of {options.study} at scale {options.scale}; records go to {folder}", flush=True)
    with _executor(options) as executor:
        try:
            done = sweeps.run(cells, folder, executor=executor, progress=sys.stderr.isatty())
        except KeyboardInterrupt:
            kept = sum(records.is_done(cell, folder) for cell in cells)
            print(f"{kept} of {len(cells)} cells are recorded in {folder}; run again to go on", file=sys.stderr)
            raise
    print(f"{done} cells computed, {len(cells) - done} were there")


def _executor(options: argparse.Namespace) -> Any:
    from modutils import sweeps

    if options.dask is None:
        return sweeps.processes(options.workers)
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("--dask needs the package distributed: pip install -e '.[cluster]'") from error
    return Client(options.dask).get_executor(retries=2)


def _add_verify(commands: Any) -> None:
    parser = commands.add_parser("verify", help="recompute recorded cells from scratch and compare")
    parser.add_argument("study", help="such as biclustering")
    parser.add_argument("--scale", default="paper", help="quick or paper (default: paper)")
    parser.add_argument("--stages", nargs="*", default=[], metavar="STAGE", help="only these stages (default: all)")
    parser.add_argument("--cells", type=int, default=2, help="how many, picked at random (default: 2)")
    parser.add_argument("--seed", type=int, help="fixes the pick")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")
    parser.set_defaults(run=_verify, dask=None)


def _verify(options: argparse.Namespace) -> None:
    from modutils import records, sweeps

    with _executor(options) as executor:
        found = sweeps.verify(
            _plan(options), records.results_folder(), count=options.cells, seed=options.seed, executor=executor
        )
    for verification in found:
        print(verification)
    if failed := [str(verification.cell) for verification in found if not verification.passed]:
        raise ValueError(f"{len(failed)} of {len(found)} cells differ from their records: {', '.join(failed)}")


def _add_claims(commands: Any) -> None:
    parser = commands.add_parser("claims", help="print the verdict on every claim of a study")
    parser.add_argument("study", help="such as biclustering")
    parser.add_argument("--dataset", default="mnist", help="such as mnist, fashion-mnist (default: mnist)")
    parser.add_argument("--scale", default="paper", help="quick or paper (default: paper)")
    parser.set_defaults(run=_claims, stages=[])


def _claims(options: argparse.Namespace) -> None:
    _plan(options)  # names an unknown study or scale
    module = importlib.import_module(f"modutils.studies.{options.study}.claims")
    for verdict in module.evaluate(options.dataset, scale=options.scale):
        print(f"{verdict.id:4} {verdict.verdict:14} {verdict.statement}\n{'':19} {verdict.value} ({verdict.interval})")


def _plan(options: argparse.Namespace) -> list[Any]:
    names = sorted(module.name for module in pkgutil.iter_modules(studies.__path__))
    if options.study not in names:
        raise ValueError(f"study={options.study!r} is unknown; choose one of {', '.join(names)}")
    plan = importlib.import_module(f"modutils.studies.{options.study}.cells").plan(options.scale)
    cells = [cell for cell in plan if not options.stages or cell.stage in options.stages]
    if not cells:
        raise ValueError(f"--stages {' '.join(options.stages)}: no such stage in {options.study}")
    return cells


def _parameter(text: str) -> tuple[str, Any]:
    """``name=value``, in which a value that is no Python literal is a string."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise ValueError(f"parameter {text!r} is not of the form NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    sys.exit(main())
