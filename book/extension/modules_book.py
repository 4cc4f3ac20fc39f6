"""The book's own Sphinx extension: shows executed chapters, local math, and the tables made at build time."""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from modutils.execution import find_executed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sphinx.application import Sphinx
    from sphinx.config import Config

ROOT = Path(__file__).resolve().parents[2]
EXECUTED = ROOT / "_executed"


def read_executed(text: str) -> nbformat.NotebookNode:
    """Reader for chapters: the notebook that was executed from exactly this text."""
    try:
        return find_executed(text, EXECUTED)
    except ValueError as error:
        names = [path.name for path in _chapters() if path.read_text(encoding="utf-8") == text]
        raise ExtensionError(f"{', '.join(names)}: {error}") from error


class StatusTable(SphinxDirective):
    """``{status-table}``: what each chapter was executed with, and how long it took."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for path in _chapters():
            text = path.read_text(encoding="utf-8")
            made = read_executed(text).metadata["modutils"]
            parameters = ", ".join(f"{name} = {value!r}" for name, value in made["parameters"].items())
            where = made["provenance"]
            rows.append(
                (
                    f"{{doc}}`/notebooks/{path.stem}`",
                    where["date"],
                    f"{made['seconds']:.0f} s",
                    f"`{parameters}`",
                    where["device"],
                    ", ".join(f"{name} {version}" for name, version in where["versions"].items()),
                    f"`{where['commit']}`",
                )
            )
        header = ("Chapter", "Executed", "Duration", "Parameters", "Device", "Versions", "Commit")
        return _table(self, header, rows)


class ClaimsTable(SphinxDirective):
    """``{claims-table}``: the verdict on every claim of every study, from the record."""

    def run(self) -> list[nodes.Node]:
        header = ("Claim", "Statement", "Published", "Rule", "Ours", "Verdict", "Why")
        rows = [
            (
                claim.id,
                claim.statement,
                claim.published,
                claim.rule,
                f"{claim.value} {claim.interval}".strip(),
                f"**{claim.verdict}**",
                claim.why,
            )
            for claim in evaluated_claims()
        ]
        return _table(self, header, rows)


def evaluated_claims() -> list[Any]:
    """The claims of all studies with their verdicts. The one place that knows where they come from."""
    return []


def _chapters() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.py"))


def _table(
    directive: SphinxDirective, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> list[nodes.Node]:
    """A Markdown table, parsed on the page, so that cells may hold math, references and emphasis."""
    lines = [header, ["---"] * len(header), *rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    container = nodes.container(classes=["wide-table"])
    directive.state.nested_parse(StringList(text, directive.get_source_info()[0]), 0, container)
    return [container]


def _add_local_math(app: Sphinx, config: Config) -> None:
    """Copy one file of the installed MathJax package; loading that package as an extension copies 31 MB."""
    scripts = [path for path in files("sphinx-mathjax-offline") or [] if path.name == "tex-svg.js"]
    if not scripts:
        raise ExtensionError("sphinx-mathjax-offline is not installed, or has no tex-svg.js")
    config.html_static_path.append(str(scripts[0].locate()))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives, the style sheet and the math script."""
    app.add_directive("status-table", StatusTable)
    app.add_directive("claims-table", ClaimsTable)
    app.connect("config-inited", _add_local_math)
    app.config.html_static_path.append(str(ROOT / "book" / "static"))
    app.add_css_file("book.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
