"""The scoreboard: a row for every verdict, and below it every claim with the code of its rule and its record."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from functools import cache, partial
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from companion import records, reports, study
from companion.claims import VERDICTS, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]


@cache
def _repository(kind: str) -> str:
    """Address behind which the book's repository shows files (``blob``) or folders (``tree``)."""
    found = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    return f"{found['url']}/{kind}/{found['branch']}"


class Figure(NamedTuple):
    """The figure of a chapter that a claim stands below."""

    chapter: str
    name: str


@cache
def figures() -> dict[str, Figure]:
    """For each claim the figure before it in its chapter, found in the chapter's text."""
    found: dict[str, Figure] = {}
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        name = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if figure := re.search(r'"figure": \{"name": "([\w-]+)"', line):
                name = figure[1]
            elif shown := re.match(r"chapter\.(?:boxes|lines)\((.+)\)", line):
                found |= {id: Figure(path.stem, name) for id in re.findall(r'"(\w+)"', shown[1]) if name}
    return found


def in_chapter_order(names: Sequence[str]) -> list[str]:
    """Names of studies as the contents of the book order their chapters; those without a chapter last."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [*toc.get("chapters", []), *(entry for part in toc.get("parts", []) for entry in part["chapters"])]
    order = [entry["file"].removeprefix("notebooks/") for entry in entries]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def paper(key: str) -> str:
    """The key of a paper for readers: ``lu2019checking`` as ``Lu 2019``."""
    found = re.match(r"([a-z]+)(\d{4})", key)
    return f"{found[1].capitalize()} {found[2]}" if found else key


def board(found: Mapping[str, Mapping[str, Sequence[Verdict]]]) -> str:
    """Every verdict as a row of one HTML table, with what filters it; a plain table without the page's script.

    Parameters
    ----------
    found : mapping
        For each study, in the order of the chapters, for each data set as text its verdicts; the paper's own first.
    """
    rows = [
        (row, name, place == 0)
        for datasets in found.values()
        for of_claim in zip(*datasets.values(), strict=True)
        for place, (name, row) in enumerate(zip(datasets, of_claim, strict=True))
    ]
    papers = list(dict.fromkeys(row.paper for row, _, _ in rows))
    names = list(dict.fromkeys(name for _, name, _ in rows))
    filters = (
        _select("paper", "Paper", {"": "all", **{key: paper(key) for key in papers}})
        + _select("verdict", "Verdict", {"": "all", **{verdict: verdict for verdict in VERDICTS}})
        + _select("dataset", "Data set", {"first": "each paper’s own", "": "all", **dict.fromkeys(names)})
        + '<label>Find <input type="search" name="find" size="16"></label>'
        '<button type="reset">Reset</button> <output aria-live="polite"></output>'
    )
    columns = (("Claim", "place"), ("Data set", "dataset"), ("Verdict", "verdict"), ("Ours", ""), ("See", ""))
    head = "".join(f'<th scope="col"{f" data-sort={key}" if key else ""}>{text}</th>' for text, key in columns)
    body = "".join(_row(place, row, name, first) for place, (row, name, first) in enumerate(rows))
    return (
        f'<form class="scoreboard-filters" hidden>{filters}</form>'
        '<table class="table scoreboard" id="scoreboard"><caption>Every claim on every data set</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _select(name: str, label: str, options: Mapping[str, str | None]) -> str:
    inner = "".join(f'<option value="{escape(key)}">{escape(text or key)}</option>' for key, text in options.items())
    return f'<label>{label} <select name="{name}">{inner}</select></label>'


def _row(place: int, row: Verdict, dataset: str, first: bool) -> str:
    anchor = reports.anchor(row.id)
    links = {"rule": f"#{anchor}-rule", "record": f"#{anchor}-record"}
    if figure := figures().get(row.id):
        links = {"figure": f"../notebooks/{figure.chapter}.html#{figure.name}"} | links
    see = " ".join(f'<a href="{to}" aria-label="{text} of {escape(row.id)}">{text}</a>' for text, to in links.items())
    interval = f"<br><small>{reports.typeset(row.interval)}</small>" if row.interval else ""
    caveat = f"<br><small><em>{escape(row.caveat)}</em></small>" if row.caveat else ""
    return (
        f'<tr data-place="{place}" data-paper="{escape(row.paper)}" data-verdict="{VERDICTS.index(row.verdict)}" '
        f'data-dataset="{escape(dataset)}"{" data-first" if first else ""}>'
        f'<td><a href="#{anchor}"><strong>{escape(row.id)}</strong></a> {escape(row.statement)}</td>'
        f"<td>{escape(dataset)}</td><td>{reports.badge(row.verdict)}</td>"
        f"<td>{reports.typeset(row.value)}{interval}{caveat}</td><td>{see}</td></tr>"
    )


def claim(found: Mapping[str, Sequence[Verdict]], id: str) -> str:
    """One claim on every data set, with the code of its rule and the cells that the rule looked at, as HTML."""
    rows = {name: row for name, verdicts in found.items() for row in verdicts if row.id == id}
    (decide,) = (one.decide for name in study.names() for one in study.load(name).claims if one.id == id)
    anchor, links = reports.anchor(id), {}
    if figure := figures().get(id):
        page = f"../notebooks/{figure.chapter}.html"
        links = {"the figure": f"{page}#{figure.name}", "in the chapter": f"{page}#{anchor}"}
    function = decide.func if isinstance(decide, partial) else decide
    lines, start = inspect.getsourcelines(function)
    file = Path(inspect.getsourcefile(function) or "").resolve().relative_to(records.ROOT).as_posix()
    where = f"{file}, lines {start} to {start + len(lines) - 1}"
    address = f"{_repository('blob')}/{file}#L{start}-L{start + len(lines) - 1}"
    code = highlight("".join(lines), PythonLexer(), HtmlFormatter(nowrap=True))
    more = (
        f'<details id="{anchor}-rule"><summary>Code of the rule</summary>'
        f'<div class="highlight"><pre tabindex="0">{code}</pre></div>'
        f'<p><small><a href="{escape(address)}">{escape(where)}</a></small></p></details>'
        f'<details id="{anchor}-record"><summary>Cells of the record</summary>{_cells(rows)}</details>'
    )
    return reports.verdict_box(found, id, links=links, more=more, heading="h3", reasons=None)


def _cells(rows: Mapping[str, Verdict]) -> str:
    """For each data set and stage that the rule looked at, the folder and the cells."""
    lines, tree = [], _repository("tree")
    for name, row in rows.items():
        for stage, cells in groupby(sorted(row.cells, key=lambda cell: cell.stage), key=lambda cell: cell.stage):
            own = list(cells)
            folder = f"results/{own[0].study}/{stage}"
            count, planned = row.n[stage]
            labels = ", ".join(escape(cell.label) for cell in own)
            lines.append(
                f'<li>{escape(name)}: <a href="{tree}/{folder}">{escape(folder)}</a>, '
                f"{count} of {planned} cells<br><small>{labels}</small></li>"
            )
    return f"<ul>{''.join(lines)}</ul>" if lines else "<p>The rule looks at no cell.</p>"


def counts(rows: Sequence[Verdict]) -> str:
    """Such as ``15 claims: 5 holds, 3 undecided``."""
    found = Counter(row.verdict for row in rows)
    summary = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])
    return f"{len(rows)} {'claim' if len(rows) == 1 else 'claims'}: {summary}."
