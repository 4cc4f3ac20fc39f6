"""The book's own Sphinx extension: shows executed chapters, local math, and the tables made at build time."""

from __future__ import annotations

import atexit
import csv
import json
import re
import shutil
import tempfile
from functools import cache
from importlib.metadata import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dark
import front
import nbformat
import primer
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.errors import ExtensionError
from sphinx.util.docutils import ReferenceRole, SphinxDirective

import scoreboard
from companion import records, reports, study, witness
from companion.claims import Verdict, as_csv, as_json
from companion.execution import find_executed
from companion.records import results_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sphinx.application import Sphinx
    from sphinx.config import Config

ROOT = Path(__file__).resolve().parents[2]
EXECUTED = ROOT / "_executed"


def read_executed(text: str) -> nbformat.NotebookNode:
    """Reader for chapters: the notebook that was executed from exactly this text."""
    try:
        return as_page(find_executed(text, EXECUTED))
    except ValueError as error:
        names = [path.name for path in _chapters() if path.read_text(encoding="utf-8") == text]
        raise ExtensionError(f"{', '.join(names)}: {error}") from error


# What a chapter writes in plain Markdown, so that it reads well in JupyterLab, and what the book makes of it.
_OWN_REFERENCES = (
    (r"\[Figure [^\]]*\]\(#(fig-[\w-]+)\)", r"{numref}`\1`"),
    (r"\[[^\]]*\]\(#(eq-[\w-]+)\)", r"{eq}`\1`"),
    (r"\[([^\]]*)\]\(#(sec-[\w-]+)\)", r"{ref}`\1 <\2>`"),
    (r"\[([^\]]*)\]\(\.\./book/(\w+)\.(?:md|rst)\)", r"{doc}`\1 </book/\2>`"),
    (r"\[([^\]]*)\]\((\w+)\.py\)", r"{doc}`\1 </notebooks/\2>`"),
)


def with_references(text: str) -> str:
    """Markdown in which links to figures, equations, sections and pages are references: numbered, and checked.

    Examples
    --------
    >>> with_references("See [Figure idea](#fig-idea) and [Claims](../book/claims.md).")
    'See {numref}`fig-idea` and {doc}`Claims </book/claims>`.'
    """
    for link, reference in _OWN_REFERENCES:
        text = re.sub(link, reference, text)
    return text


def as_page(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its references, and with what `companion.reading.say` said as text among text."""
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.startswith("say("):
            (output,) = cell.outputs
            cell = notebook.cells[place] = nbformat.v4.new_markdown_cell(output.data["text/markdown"])
        if cell.cell_type == "markdown":
            cell.source = with_references(cell.source)
        for output in cell.get("outputs", []):
            output.get("metadata", {}).pop("image/png", None)  # its size in JupyterLab; that on a page is the cell's
    return notebook


def status_markdown() -> list[str]:
    """For each chapter when and at which commit it was executed, how long it took, and with what."""
    rows, given = [], []
    made_with: dict[tuple[str, str], list[str]] = {}
    paths = {path.stem: path for path in _chapters()}
    for name in scoreboard.in_chapter_order(list(paths)):
        made = read_executed(paths[name].read_text(encoding="utf-8")).metadata["modutils"]
        where, chapter = made["provenance"], f"{{doc}}`/notebooks/{name}`"
        commit, _, changes = where["commit"].partition(" with ")
        short = f"{commit[:7]} with {changes}" if changes else commit[:7]
        parameters = ", ".join(_code(f"{key} = {value!r}") for key, value in made["parameters"].items())
        rows.append((chapter, _text(where["date"]), f"{made['seconds']:.0f} s", _text(short)))
        given.append(f"- {chapter} with {parameters}")
        versions = {"Python": where["python"]} | where["versions"]
        words = ", ".join(f"{key} {version}" for key, version in versions.items())
        made_with.setdefault((where["device"], words), []).append(chapter)
    lines = [*_table(("Chapter", "Executed", "Duration", "Commit"), rows), "", *given]
    for (device, versions_in_words), chapters in made_with.items():
        whose = "All of them" if len(made_with) == 1 else ", ".join(chapters)
        lines += ["", f"{whose}: on {_text(device)} with {_text(versions_in_words)}."]
    return lines


def record_markdown() -> list[str]:
    """For every stage of every study how much of the plan is recorded, and by which code."""
    rows = []
    for name in scoreboard.in_chapter_order([own for own in study.names() if own not in studies_without_record()]):
        own = study.load(name)
        for stage in witness.status(own.plan("paper"), results_folder()):
            rows.append(
                (
                    _text(_title(name)),
                    _text(own.stages[stage.stage]),
                    f"{stage.recorded} of {stage.planned}",
                    stage.state if stage.recorded else "–",
                )
            )
    return _table(("Chapter", "Piece of work", "Recorded", "By the present code"), rows)


@cache
def judged() -> dict[str, dict[str, list[Verdict]]]:
    """For every study that has a record, in the order of the chapters, its verdicts on every data set."""
    names = [name for name in study.names() if name not in studies_without_record()]
    found = {name: study.load(name).judge() for name in scoreboard.in_chapter_order(names)}
    return {name: columns for name, columns in found.items() if columns}


def verdicts() -> list[Verdict]:
    """The verdict on every claim of every study that has a record, on every data set."""
    return [row for columns in judged().values() for rows in columns.values() for row in rows]


def first_verdicts() -> list[Verdict]:
    """Those on the first data set of each study, the paper's own."""
    first: dict[str, Verdict] = {}
    for verdict in verdicts():
        first.setdefault(verdict.id, verdict)
    return list(first.values())


def studies_without_record() -> list[str]:
    """Studies of which nothing was computed yet; an incomplete record is an error instead."""
    return [name for name in study.names() if not (results_folder() / name).is_dir()]


def claims_markdown(found: Mapping[str, Mapping[str, Sequence[Verdict]]]) -> list[str]:
    """For each study, with a count for each of its papers, its claims."""
    lines: list[str] = []
    for name, columns in found.items():
        first = next(iter(columns.values()))
        lines += ["", f"## {_text(_title(name))}", ""]
        for key, group in groupby(first, key=lambda row: row.paper):
            rows = list(group)
            lines += [f"{{cite:t}}`{key}`: {_text(scoreboard.counts(rows))}", ""]
            for row in rows:
                lines += [f"```{{claim}} {row.id}", "```", ""]
    return lines


def _title(name: str) -> str:
    """The title of a study's chapter, or the name of a study that has none."""
    path = ROOT / "notebooks" / f"{name}.py"
    found = re.search(r"^# # (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.is_file() else None
    return found[1] if found else name


def changes_markdown(found: Iterable[Verdict]) -> list[str]:
    """Every rule that was changed: both rules, both verdicts, when and why, from ``book/rule_changes.csv``."""
    now: dict[str, list[Verdict]] = {}
    for row in found:
        now.setdefault(row.id, []).append(row)
    lines = []
    with (ROOT / "book" / "rule_changes.csv").open(encoding="utf-8", newline="") as file:
        for change in csv.DictReader(file):
            rows = now.get(change["id"], [])
            after = " / ".join(row.verdict for row in rows) or "no row of its own"
            link = f'<a href="claims.html#{reports.anchor(change["id"])}">{change["id"]}</a>' if rows else change["id"]
            lines += [
                "",
                f"**{link}: {_text(change['verdicts'])} → {_text(after)}**",
                f"- *Changed:* {_text(change['date'])}. {_text(change['reason'])}",
            ]
            if rows and rows[0].rule == change["rule"]:
                lines.append(f"- *Rule, in the same words:* {_text(change['rule'])}")
            else:
                lines.append(f"- *Before:* {_text(change['rule'])}")
                lines += [f"- *Now:* {_text(rows[0].rule)}"] if rows else []
    return lines


def scaling_markdown() -> list[str]:
    """How the cost of the library's main calls grows with what they are given, as ``benchmarks/`` measured it last."""
    found = json.loads((records.ROOT / "benchmarks" / "results" / "scaling.json").read_text(encoding="utf-8"))
    rows = [
        (
            row["what"],
            row["grows"],
            f"{row['sizes'][0]} to {row['sizes'][-1]}",
            f"{row['cpu_seconds'][0]:.2g} s to {row['cpu_seconds'][-1]:.2g} s",
            f"{row['slope']:.1f}",
            f"{row['megabytes'][-1]:.0f} MB",
        )
        for row in found["facts"]["scaling"]
    ]
    where = found["provenance"]
    head = ("Call", "What grows", "From, to", "Processor time", "Slope", "Memory")
    return [*_table(head, rows), "", f"Measured {where['date']} on {where['device']}, one thread."]


class StatusTable(SphinxDirective):
    """``{status-table}``: see `status_markdown`."""

    def run(self) -> list[nodes.Node]:
        return _parse(self, status_markdown())


class RecordTable(SphinxDirective):
    """``{record-table}``: see `record_markdown`."""

    def run(self) -> list[nodes.Node]:
        return _parse(self, record_markdown())


class ScalingTable(SphinxDirective):
    """``{scaling-table}``: see `scaling_markdown`."""

    def run(self) -> list[nodes.Node]:
        return _parse(self, scaling_markdown())


class RuleChanges(SphinxDirective):
    """``{rule-changes}``: see `changes_markdown`."""

    def run(self) -> list[nodes.Node]:
        return _parse(self, changes_markdown(verdicts()))


class ClaimsTable(SphinxDirective):
    """``{claims-table}``: see `claims_markdown`."""

    def run(self) -> list[nodes.Node]:
        notes = [
            f"The study `{name}` has no record yet: `make paper` computes it." for name in studies_without_record()
        ]
        return _parse(self, [*notes, "", *claims_markdown(judged())], titles=True)


class Scoreboard(SphinxDirective):
    """``{scoreboard}``: see `scoreboard.board`."""

    def run(self) -> list[nodes.Node]:
        found = {name: _labelled(columns) for name, columns in judged().items()}
        return [nodes.raw("", scoreboard.board(found), format="html")]


class Claim(SphinxDirective):
    """``{claim} U2``: see `scoreboard.claim`; other pages link to it as ``#claim-u2``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (id,) = self.arguments
        (columns,) = [
            columns for columns in judged().values() if any(r.id == id for rows in columns.values() for r in rows)
        ]
        html = scoreboard.claim(_labelled(columns), id)
        return [nodes.raw("", html, format="html")]


def _labelled(columns: Mapping[str, Sequence[Verdict]]) -> dict[str, Sequence[Verdict]]:
    """Data sets as text for readers."""
    return {study.label(name): rows for name, rows in columns.items()}


class FrontPage(SphinxDirective):
    """``{front-page} part``: a part of the front page, see `front`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        if self.arguments[0] == "verdicts":
            return [nodes.raw("", front.strip_html(), format="html")]
        parts = {
            "picture": front.picture_markdown,
            "findings": front.findings_markdown,
            "chapters": front.cards_markdown,
        }
        return _parse(self, parts[self.arguments[0]]())


class PrimerPicture(SphinxDirective):
    """``{primer-picture} name``: see `primer.PICTURES`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", primer.picture(self.arguments[0]), format="html")]


class ClaimLink(ReferenceRole):
    """``{claim}`words <U2>``` or ``{claim}`U2```: a link to the claim's place on the claims page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if self.target not in {row.id for row in first_verdicts()}:
            return [], [self.inliner.reporter.error(f"{self.target} is no claim", line=self.lineno)]
        page = "" if self.env.app.builder.name == "singlehtml" else _to_page(self, "book/claims")
        address = f"{page}#claim-{self.target.lower()}"
        return [nodes.reference("", self.title, refuri=address, reftitle=f"Claim {self.target}", internal=True)], []


def _to_page(role: ReferenceRole, name: str) -> str:
    return str(role.env.app.builder.get_relative_uri(role.env.docname, name))


def _chapters() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.py"))


def _text(text: str) -> str:
    """As Markdown that shows just this text: what claims and records say is no markup."""
    return re.sub(r"([\\`*_{}\[\]<>|$~^&!])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """As Markdown that shows just this text as code."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {' '.join(text.split())} {fence}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Cells are Markdown."""
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]


def _parse(directive: SphinxDirective, markdown: Sequence[str], *, titles: bool = False) -> list[nodes.Node]:
    """Parse Markdown on the page, so that it may hold math, references, emphasis, and maybe headings."""
    container = nodes.Element() if titles else nodes.container()
    source = directive.get_source_info()[0]
    directive.state.nested_parse(StringList(markdown, source), 0, container, match_titles=titles)
    return container.children if titles else [container]


def _configure(app: Sphinx, config: Config) -> None:
    """Style, title, claims for machines, and one file of MathJax, whose package would copy 31 MB as an extension."""
    scripts = [path for path in files("sphinx-mathjax-offline") or [] if path.name == "tex-svg.js"]
    if not scripts:
        raise ExtensionError("sphinx-mathjax-offline is not installed, or has no tex-svg.js")
    machines = Path(tempfile.mkdtemp(prefix="claims-"))
    atexit.register(shutil.rmtree, machines, ignore_errors=True)
    (machines / "claims.json").write_text(as_json(verdicts()), encoding="utf-8")
    (machines / "claims.csv").write_text(as_csv(verdicts()), encoding="utf-8")
    config.html_extra_path += [str(machines)]
    config.html_static_path += [str(scripts[0].locate()), str(ROOT / "book" / "static")]
    # In _config.yml this would replace the options that Jupyter Book makes from the other settings.
    config.html_theme_options["logo"] = {
        "text": config.html_title,
        "alt_text": "A matrix with three blocks on its diagonal",
    }


def _offer_notebook(app: Sphinx, name: str, template: str, context: dict[str, object], tree: object) -> None:
    """A chapter's download button has the executed notebook beside the script; the theme asks the context for it."""
    if name.startswith("notebooks/"):
        context["ipynb_source"] = f"{name}.ipynb"


def _copy_notebooks(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        for path in _chapters():
            target = Path(app.outdir) / "_sources" / "notebooks" / f"{path.stem}.ipynb"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(EXECUTED / target.name, target)


def _figures_for_dark_pages(app: Sphinx, document: nodes.document) -> None:
    """Put beside every figure of a chapter the one that the style sheet shows on dark pages instead, see `dark`."""
    if not app.env.docname.startswith("notebooks/"):
        return
    for image in list(document.findall(nodes.image)):
        light = Path(app.srcdir) / image["uri"].lstrip("/")
        try:
            made = dark.on_dark(light.read_bytes())
        except ValueError as error:
            raise ExtensionError(f"{app.env.docname}, figure {image.get('alt')!r}: {error}") from error
        light.with_suffix(".dark.png").write_bytes(made)
        twin = image.deepcopy()
        twin["uri"] = str(Path(image["uri"]).with_suffix(".dark.png"))
        image["classes"] += ["on-light"]
        twin["classes"] += ["on-dark", "dark-light"]  # the second: to the theme, an image that it need not dim
        image.parent.insert(image.parent.index(image) + 1, twin)


def _own_footnotes(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings number their references from 1 each, and share a page here: let Sphinx number them on."""
    for position, line in enumerate(lines):
        lines[position] = re.sub(r"\[(\d+)\](?=_|\s)", rf"[#{name}-\1]", line)


#: What docutils, MyST-NB and pandas write that a screen reader stumbles over: deprecated roles, a label that hides what
#: the element says, headers of columns that say nothing.
_MENDED = {
    r' role="doc-(?:biblioentry|biblioref|endnote)"': "",
    r'(<div) role="list"( class="citation-list">)': r"\1\2",
    r'(<summary) aria-label="Toggle hidden content">': r"\1>",
    r"<th(?: [^>]*)?>(\s*(?:<p>\s*</p>)?\s*)</th>": r"<td>\1</td>",
}


def _accessible(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.Node | None) -> None:
    """Mend what keeps the text of a page from being read aloud."""
    for wrong, right in _MENDED.items():
        if "body" in context:
            context["body"] = re.sub(wrong, right, context["body"])


def _skip_fields(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out fields of named tuples, whose docstrings say "Alias for field number 0": the class explains them."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives, the style sheet and the math script."""
    app.add_directive("status-table", StatusTable)
    app.add_directive("record-table", RecordTable)
    app.add_directive("scaling-table", ScalingTable)
    app.add_directive("claims-table", ClaimsTable)
    app.add_directive("scoreboard", Scoreboard)
    app.add_directive("claim", Claim)
    app.add_directive("rule-changes", RuleChanges)
    app.add_directive("front-page", FrontPage)
    app.add_directive("primer-picture", PrimerPicture)
    app.add_role("claim", ClaimLink())
    app.connect("config-inited", _configure)
    app.connect("html-page-context", _offer_notebook, priority=400)  # before the theme makes its buttons
    app.connect("build-finished", _copy_notebooks)
    app.connect("doctree-read", _figures_for_dark_pages, priority=400)  # before Sphinx collects images
    app.connect("autodoc-process-docstring", _own_footnotes)
    app.connect("autodoc-skip-member", _skip_fields)
    app.connect("html-page-context", _accessible)
    app.add_css_file("book.css")
    app.add_js_file("pages.js", loading_method="defer")
    app.add_js_file("scoreboard.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
