"""Command line of the book: ``python -m companion <command> --help``."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import logging
import math
import signal
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from companion.records import Cell
    from companion.study import Study
    from companion.witness import Check, NoHistoryError, StageStatus


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an expected failure is one line on standard error and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m companion", description="Modules in Neural Networks")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_execute(commands)
    _add_run(commands)
    _add_status(commands)
    _add_check(commands)
    _add_verify(commands)
    _add_claims(commands)
    _add_trials(commands)
    _add_crate(commands)
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
    from companion.execution import execute, is_current

    parameters = dict(_parameter(text) for text in options.parameter)
    sources = options.notebooks or sorted(Path("notebooks").glob("*.py"))
    if not sources:
        raise ValueError("no notebooks/*.py here; run this in the root of the repository, or name a script")
    if options.output.exists() and not options.output.is_dir():
        raise ValueError(f"--output {options.output} is a file; name a folder")
    for source in sources:
        output = options.output / f"{source.stem}.ipynb"
        if not options.force and is_current(source, output, parameters=parameters):
            print(f"{output} is up to date")
        else:
            print(f"executing {source} ...", flush=True)
            execute(source, output, parameters=parameters, timeout=options.timeout)


def _add(commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
    """A command on the cells of a study."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument("study", nargs="?", help="such as biclustering (default: all)")
    parser.add_argument("--scale", default="paper", help="quick or paper (default: paper)")
    parser.set_defaults(run=run, stages=[])
    return parser


def _add_stages(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stages", nargs="*", default=[], metavar="STAGE", help="only these stages (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")


def _add_run(commands: Any) -> None:
    parser = _add(commands, "run", "compute the record; what is recorded already is not computed again", _run)
    _add_stages(parser)
    parser.add_argument("--dask", metavar="ADDRESS", help="address of a dask scheduler, instead of processes here")
    parser.add_argument("--output", type=Path, help="folder for the records (default: results/)")
    parser.add_argument(
        "--method",
        metavar="MODULE:FUNCTION",
        help="record nothing, but score a function of yours on the study's networks",
    )


def _run(options: argparse.Namespace) -> None:
    from companion import records, sweeps

    if options.method is not None:
        _score(options)
        return
    cells = _plan(options)
    folder = options.output or records.results_folder()
    print(f"{len(cells)} cells at scale {options.scale}; records go to {folder}", flush=True)
    try:
        with _executor(options) as executor:
            done = sweeps.run(cells, folder, executor=executor, progress=sys.stderr.isatty())
    except (KeyboardInterrupt, SystemExit, sweeps.SweepError):
        kept = sum(records.is_recorded(cell, folder) for cell in cells)
        print(f"{kept} of {len(cells)} cells are recorded in {folder}; run again to go on", file=sys.stderr)
        raise
    print(f"{done} cells computed, {len(cells) - done} were there")


def _score(options: argparse.Namespace) -> None:
    """Score somebody's method, in a study that does such."""
    from companion import records

    able = [one for one in _studies(options) if one.score is not None]
    if not options.study or not able:
        wanted = "name the study" if not options.study else f"study={options.study!r} scores no methods"
        raise ValueError(f"--method {options.method}: {wanted}")
    method, folder = _function(options.method), options.output or records.results_folder()
    for one in able:
        assert one.score is not None
        print(one.score(method, options.scale, folder, progress=sys.stderr.isatty()))


def _function(text: str) -> Callable[..., Any]:
    """The function that ``module:function`` names; modules are looked for in the present folder first."""
    module, _, name = text.partition(":")
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--method {text!r} is no MODULE:FUNCTION that can be imported here: {error}") from error
    finally:
        sys.path.remove("")
    if not callable(found):
        raise ValueError(f"--method {text!r} is {type(found).__name__}; a function is needed")
    return cast("Callable[..., Any]", found)


@contextmanager
def _executor(options: argparse.Namespace) -> Iterator[Executor]:
    from companion.workers import Processes

    if options.dask is None:
        with Processes(options.workers) as executor:
            yield executor
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("--dask needs the package distributed: pip install -e '.[cluster]'") from error
    logging.disable()  # what is lost is said once, and in words of ours
    with Client(options.dask, timeout=10) as client, client.get_executor() as executor:
        yield executor


def _add_status(commands: Any) -> None:
    text = "what is recorded, and whether by the present code; computes nothing"
    parser = _add(commands, "status", text, _status)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--strict", action="store_true", help="fail if a stage is changed or outdated")


def _status(options: argparse.Namespace) -> None:
    from companion import records, witness

    rows = witness.status(_plan(options), records.results_folder())
    if options.format == "json":
        print(json.dumps([row._asdict() for row in rows], indent=1))
    else:
        for row in rows:
            count = f"{row.recorded} of {row.planned}"
            names = ", ".join(row.definitions[:6])
            more = f" and {len(row.definitions) - 6} more" if len(row.definitions) > 6 else ""
            print(f"{row.study:22} {row.stage:12} {count:>12}  {row.state}  {names}{more}".rstrip())
    bad = [f"{row.study}/{row.stage} is {row.state}" for row in rows if row.state in ("changed", "outdated")]
    if options.strict and bad:
        raise ValueError(f"{'; '.join(bad)}: run `check`, and compute anew what has other numbers")


def _add_check(commands: Any) -> None:
    parser = _add(commands, "check", "compute changed stages by the code of then and of now, and compare", _check)
    _add_stages(parser)
    parser.add_argument("--cells", type=int, default=1, help="random ones beside the cheapest one (default: 1)")
    parser.add_argument("--seed", type=int, help="fixes the pick")


def _check(options: argparse.Namespace) -> None:
    from companion import records, witness

    folder = records.results_folder()
    cells = _plan(options)
    changed = witness.to_check(cells, folder)
    print(f"{len(changed)} stages have changed; what is found goes to {folder}", flush=True)
    checks = witness.check(cells, folder, count=options.cells, seed=options.seed, workers=options.workers)
    with closing(checks), tqdm(checks, total=len(changed), unit="stage", disable=not sys.stderr.isatty()) as rows:
        failed = [name for row, found in rows for name in _reported(row, found, cells, options)]
    if failed:
        raise ValueError(f"the present code gives other numbers in {', '.join(failed)}")


def _reported(
    row: StageStatus, found: list[Check] | NoHistoryError, cells: Sequence[Cell], options: argparse.Namespace
) -> list[str]:
    """Print what a check found; returns the name of what failed, if anything."""
    name = f"{row.study}/{row.stage}"
    if not isinstance(found, list):
        print(f"{found}; so it is compared with its record, as `verify` does", file=sys.stderr)
        own = [cell for cell in cells if (cell.study, cell.stage) == (row.study, row.stage)]
        return _verified(own, options, count=options.cells + 1)
    equal = all(one.equal for one in found)
    print(f"{name}: {'checked' if equal else 'OUTDATED'}", flush=True)
    for one in found:
        words = f"{one.where} differs by {one.difference:.1e} of its size"
        words = words if math.isfinite(one.difference) else f"{one.where} is another"
        words = "equal bit for bit" if one.equal else words
        print(f"  {one.cell.label}: {words}", flush=True)
    return [] if equal else [name]


def _add_verify(commands: Any) -> None:
    parser = _add(commands, "verify", "recompute recorded cells from scratch and compare", _verify)
    _add_stages(parser)
    parser.add_argument("--cells", type=int, default=2, help="how many, of stages picked at random (default: 2)")
    parser.add_argument(
        "--most-seconds", type=float, default=math.inf, metavar="S", help="only cells that took no more processor time"
    )
    parser.add_argument("--seed", type=int, help="fixes the pick")


def _verify(options: argparse.Namespace) -> None:
    if failed := _verified(_plan(options), options, count=options.cells, most_seconds=options.most_seconds):
        raise ValueError(f"{len(failed)} cells differ from their records: {', '.join(failed)}")


def _verified(
    cells: Sequence[Cell], options: argparse.Namespace, *, count: int, most_seconds: float = math.inf
) -> list[str]:
    """Recompute some of these cells and print what is found; returns those that differ."""
    from companion import records
    from companion.verification import verify
    from companion.workers import Processes

    folder, progress = records.results_folder(), sys.stderr.isatty()
    with Processes(options.workers) as executor:
        found = verify(
            cells,
            folder,
            count=count,
            most_seconds=most_seconds,
            seed=options.seed,
            executor=executor,
            progress=progress,
        )
    for verification in found:
        print(verification)
    return [str(verification.cell) for verification in found if not verification.passed]


def _add_claims(commands: Any) -> None:
    parser = _add(commands, "claims", "the verdict on every claim, for readers and for machines", _claims)
    parser.add_argument("--dataset", help="such as mnist, or 'mnist, early stopping' (default: all)")
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text")


def _claims(options: argparse.Namespace) -> None:
    from companion import claims

    judged = [study.judge(options.scale, dataset=options.dataset) for study in _with(options.dataset, options)]
    found = [row for columns in judged for rows in columns.values() for row in rows]
    if options.format != "text":
        print(claims.as_json(found) if options.format == "json" else claims.as_csv(found), end="")
        return
    for row in found:
        print(f"{row.id:4} {row.verdict:14} {row.dataset:22} {row.statement}\n{'':42} {row.value} ({row.interval})")
        if row.parts:
            print(f"{'':42} {row.parts}")
        if row.caveat:
            print(f"{'':42} {row.caveat}")


def _add_trials(commands: Any) -> None:
    parser = commands.add_parser("trials", help="try the rules of claims on nulls and on planted positives")
    parser.add_argument("study", nargs="?", help="such as biclustering (default: all)")
    parser.set_defaults(run=_trials)


def _trials(options: argparse.Namespace) -> None:
    from companion import trials

    for study in _studies(options):
        found = trials.run(study)
        trials.write(found)
        for id, one in found.items():
            for name, own in ((id, one), ("", one.get("whole"))):  # the whole way stands below the decision alone
                if own:
                    words = f"null: {trials.counted(own['null'])}; planted: {trials.counted(own['planted'])}"
                    print(f"{name:4} {words}", flush=True)


def _add_crate(commands: Any) -> None:
    parser = commands.add_parser("crate", help="write RO-Crate metadata into the folder of the records")
    parser.add_argument("--output", type=Path, help="folder of the records (default: results/)")
    parser.set_defaults(run=_crate)


def _crate(options: argparse.Namespace) -> None:
    from companion import crate

    print(crate.write(options.output))


def _with(dataset: str | None, options: argparse.Namespace) -> list[Study]:
    """The chosen studies that have a data set."""
    chosen = _studies(options)
    have = {study.name: list(study.evidence(study.results(options.scale), options.scale)) for study in chosen}
    found = [study for study in chosen if dataset is None or dataset in have[study.name]]
    if not found:
        known = ", ".join(dict.fromkeys(name for each in have.values() for name in each))
        raise ValueError(f"dataset={dataset!r} is not part of scale {options.scale!r}; there are {known}")
    return found


def _studies(options: argparse.Namespace) -> list[Study]:
    from companion import study

    return [study.load(name) for name in ([options.study] if options.study else study.names())]


def _plan(options: argparse.Namespace) -> list[Cell]:
    """The cells of the chosen studies and stages."""
    plan = [cell for study in _studies(options) for cell in study.results(options.scale).cells]
    if unknown := sorted(set(options.stages) - {cell.stage for cell in plan}):
        known = ", ".join(dict.fromkeys(cell.stage for cell in plan))
        raise ValueError(
            f"--stages {' '.join(unknown)}: no such stage in {options.study or 'any study'}; it has {known}"
        )
    return [cell for cell in plan if not options.stages or cell.stage in options.stages]


def _parameter(text: str) -> tuple[str, Any]:
    """``name=value``, in which a value that is no Python literal is a string."""
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise ValueError(f"parameter {text!r} is not of the form NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # what is nested too deeply, too
        return name, value


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running, and the count is said
    sys.exit(main())
