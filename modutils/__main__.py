"""Command line of the book: ``python -m modutils <command> --help``."""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an expected failure is one line on standard error and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m modutils", description="Modules in Neural Networks")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_execute(commands)
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
    parser.add_argument(
        "notebooks", nargs="*", type=Path, help="percent-format scripts (default: all in notebooks/)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("_executed"), help="folder for the executed notebooks"
    )
    parser.add_argument("--force", action="store_true", help="execute also what is up to date")
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
            execute(source, output, parameters=parameters)


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
