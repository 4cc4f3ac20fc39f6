"""What every chapter shows beside its figures, as HTML: verdicts, where the record comes from, what it took."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import fastjsonschema
import numpy as np

from companion import records, witness
from companion.claims import STATE_WORDS, VERDICTS, Series, State, Verdict
from companion.reading import minus
from companion.records import Cell, Record, Results, form
from modutils.statistics import Interval

#: What the data sets are called in text.
DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "digits": "digits", "cifar10": "CIFAR-10"}
_MARKS = dict(zip(VERDICTS, ("●", "◐", "○", "?", "–"), strict=True))


def anchor(id: str) -> str:
    """Where a claim is, on the page of its chapter and on the scoreboard alike: such as ``claim-u2``."""
    return f"claim-{id.lower()}"


def verdict_table(found: Mapping[str, Sequence[Verdict]], *, linked: bool = False) -> str:
    """The claims of a chapter as an HTML table, with a column of verdicts for every data set.

    Parameters
    ----------
    found : mapping
        For each column's name, such as ``MNIST``, the verdicts of `companion.claims.evaluate`: the same claims in the
        same order.
    linked : bool
        Whether each claim links to its anchor elsewhere on the page; else its row is the anchor.
    """
    lists = list(found.values())
    if len({tuple(row.id for row in rows) for rows in lists}) != 1:
        raise ValueError("found has lists of different claims; needed are the same claims in the same order")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("Claim of the paper", *found))
    lines = []
    for rows in zip(*lists, strict=True):
        first = rows[0]
        cells_of_row = "".join(
            f"<td>{badge(row.verdict)}<br>{typeset(row.value)}<br><small>{typeset(row.interval)}{_folded(row)}{_caveat(row)}</small></td>"
            for row in rows
        )
        place, name = escape(anchor(first.id)), f"<strong>{escape(first.id)}</strong>"
        name = f'<a href="#{place}">{name}</a>' if linked else name
        row_start = "<tr>" if linked else f'<tr id="{place}">'
        lines.append(f"{row_start}<td>{name} {escape(first.statement)}</td>{cells_of_row}</tr>")
    return f'<table class="table verdicts"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def verdict_box(
    found: Mapping[str, Sequence[Verdict]],
    id: str,
    *,
    links: Mapping[str, str] | None = None,
    more: str = "",
    heading: str = "strong",
    reasons: int | None = 1,
) -> str:
    """One claim in a line of HTML that unfolds: its verdicts; then its numbers, reasons, rule and links.

    Parameters
    ----------
    found : mapping
        As for :func:`verdict_table`.
    id : str
        Such as ``B7``.
    links : mapping, optional
        Where each text of a link leads.
    more : str
        HTML to put at the end.
    heading : str
        Element that holds id and statement: ``h3`` on a page of claims.
    reasons : int, optional
        For how many data sets to say why, from the first on; all with None.
    """
    rows = {name: row for name, verdicts in found.items() for row in verdicts if row.id == id}
    if not rows:
        raise ValueError(f"id={id!r} is no claim; there are {', '.join(row.id for row in next(iter(found.values())))}")
    first = next(iter(rows.values()))
    names = {name: f"<small>{escape(name)}</small> " if len(rows) > 1 else "" for name in rows}
    short = " ".join(f'<span class="verdict-of">{names[name]}{badge(row.verdict)}</span>' for name, row in rows.items())
    lines = "".join(_one(name, row, place < (reasons or len(rows))) for place, (name, row) in enumerate(rows.items()))
    rule = {"Published": first.published, "Rule": first.rule, "Tried": first.tried}
    small = "<br>".join(f"{name}: {typeset(text)}" for name, text in rule.items() if text)
    where = " · ".join(f'<a href="{escape(to)}">{escape(text)}</a>' for text, to in (links or {}).items())
    return (
        f'<details class="verdict" id="{escape(anchor(id))}"><summary><{heading}>{escape(id)}: '
        f"{escape(first.statement)}</{heading}> {short}</summary>{lines}<p><small>{small}</small></p>"
        f"{f'<p><small>{where}</small></p>' if where else ''}{more}</details>"
    )


def _one(name: str, row: Verdict, why: bool) -> str:
    """The finding on one data set, with reasons or without."""
    drawn = row.series if why else None
    parts = "" if drawn and set(row.states) <= set(drawn.values) else _parts(row)
    text = (
        f"<p>{escape(name)}: {badge(row.verdict)} <strong>{typeset(row.value)}</strong> "
        f"{typeset(_in_brackets(row.interval))}{parts}{_caveat(row)}{'<br>' + typeset(row.why) if why else ''}</p>"
    )
    return text + (dots(drawn, row.states) if drawn else "")


def badge(verdict: str) -> str:
    """A verdict as a mark and words on its colour."""
    name = verdict.replace(" ", "-")
    return f'<span class="verdict-badge verdict-{name}">{_MARKS[verdict]} {escape(verdict)}</span>'


#: How a dot shows its condition: filled, half, ring.
_FILLS: dict[State, str] = {
    True: '<circle cx="{x:.1f}" cy="{y}" r="4" fill="currentColor"/>',
    None: '<circle cx="{x:.1f}" cy="{y}" r="3.5" fill="none" stroke="currentColor"/>'
    '<path d="M{x:.1f} {top}a4 4 0 0 0 0 8z" fill="currentColor"/>',
    False: '<circle cx="{x:.1f}" cy="{y}" r="3.5" fill="none" stroke="currentColor" stroke-width="1.5"/>',
}
_STATE_NAMES: dict[State, str] = {True: "met by", None: "open for", False: "not met by"}


def dots(series: Series, states: Mapping[str, State]) -> str:
    """Numbers as dots with intervals on one axis, as SVG in the colour of the text; a dot shows its condition."""
    ends = series.ends()
    numbers = [number for each in ends.values() for number in each if np.isfinite(number)]
    low, high = min([*numbers, *series.bars]), max([*numbers, *series.bars])
    left, width, step = 8 + 5.8 * max(map(len, ends)), 170, 16
    bottom = step * len(ends)

    def at(number: float) -> float:
        return left + width * (0.04 + 0.92 * (number - low) / ((high - low) or 1))

    parts = []
    for bar in series.bars:
        parts += [
            f'<path d="M{at(bar):.1f} 0V{bottom}" stroke="currentColor" stroke-dasharray="2 2" opacity=".6"/>',
            f'<text x="{at(bar):.1f}" y="{bottom + 11}" text-anchor="middle">{f"{bar:g}".replace("-", "−")}</text>',
        ]
    for place, (name, (mean, start, end)) in enumerate(ends.items()):
        y = step * place + step // 2
        number = f"{mean:{series.form}}".replace("-", "−")
        parts += [
            f'<text x="0" y="{y + 4}">{escape(name)}</text>',
            f'<text x="{left + width + 6:.1f}" y="{y + 4}">{number}</text>',
        ]
        if np.isfinite(mean):
            parts.append(_FILLS[states.get(name, True)].format(x=at(mean), y=y, top=y - 4))
        if start < end:
            parts.append(f'<path d="M{at(start):.1f} {y}H{at(end):.1f}" stroke="currentColor"/>')
    counts = Counter(_STATE_NAMES[states[name]] for name in ends if name in states)
    legend = ", ".join(
        f"{_STATE_NAMES[state]} {counts[_STATE_NAMES[state]]} ({shape})"
        for state, shape in ((True, "filled"), (None, "half"), (False, "ring"))
        if counts[_STATE_NAMES[state]]
    )
    spread = ", with 95 % intervals" if any(isinstance(value, Interval) for value in series.values.values()) else ""
    words = f"{series.what}{spread}{f'; condition {legend}' if legend else ''}"
    size = (left + width + 52, bottom + 14)
    return (
        f'<figure class="verdict-dots"><figcaption><small>{escape(words)}.</small></figcaption>'
        f'<svg role="img" aria-label="{escape(str(series))}" viewBox="0 0 {size[0]:.0f} {size[1]}" '
        f'style="width: {size[0]:.0f}px; max-width: 100%" font-size="11" fill="currentColor">{"".join(parts)}</svg>'
        "</figure>"
    )


def typeset(text: str) -> str:
    """Text of a claim as HTML, escaped: numbers with a minus, powers of ten with a raised exponent.

    >>> typeset("-0.5 at L2 10^-1.5 & above")
    '−0.5 at L2 10<sup>−1.5</sup> &amp; above'
    """
    return re.sub(r"10\^(−?[\d.]*\d)", r"10<sup>\1</sup>", escape(minus(text)))


def _parts(row: Verdict) -> str:
    return f"<br>{typeset(row.parts)}" if row.parts else ""


def _folded(row: Verdict) -> str:
    """The conditions behind their count: lists of names in three columns make a table that nobody reads."""
    count, _, names = row.parts.partition(": ")
    return f"<details><summary>{typeset(count)}</summary>{typeset(names)}</details>" if names else ""


def _caveat(row: Verdict) -> str:
    return f"<br><em>{escape(row.caveat)}</em>" if row.caveat else ""


def _in_brackets(text: str) -> str:
    return f"({text})" if text else ""


def origin_box(results: Results, scale: str, data: str, *, committed: bool) -> str:
    """In a few sentences where the numbers come from, as HTML.

    ``data`` is the name of the data sets, and ``committed`` says whether the record is that of the repository.
    """
    found = _recorded(results)
    missing = Counter(cell.stage for cell in results.cells) - Counter(cell.stage for cell, _ in found)
    sentences = [
        f"Scale “{scale}” on {data}, {'read from the committed record' if committed else 'computed for this page'}: "
        f"{len(found)} pieces of work, {_hours(found)} of processor time, {_dates(found)}.",
        f"Not computed yet: {', '.join(f'{stage} {count}' for stage, count in missing.items())}." if missing else "",
    ]
    rows = witness.status(results.cells, results.folder)
    for state, words in STATE_WORDS.items():
        if stages := [row.stage for row in rows if row.state == state]:
            sentences.append(f"{', '.join(stages)}: {words}.")
    text = escape(" ".join(filter(None, sentences)))
    return (
        f'<div class="admonition note"><p class="admonition-title">Where these numbers come from</p><p>{text} '
        "Details are at the end of the page.</p></div>"
    )


def origin_table(results: Results) -> str:
    """Data, seeds, commits, machines and versions behind a record, as an HTML table."""
    found = _recorded(results)
    made = [record.provenance for _, record in found]
    numbers = {"Python": {p["python"] for p in made}}
    names = dict.fromkeys(name for p in made for name in p["versions"])
    numbers |= {name: {p["versions"][name] for p in made if name in p["versions"]} for name in names}
    states = witness.status(results.cells, results.folder)
    stages = {
        state: ", ".join(
            f"{row.stage} ({', '.join(row.definitions)})" if row.definitions else row.stage
            for row in states
            if row.state == state
        )
        for state in witness.STATES
    }
    rows = {
        "Pieces of work": f"{len(found)}, and {len(results.cells) - len(found)} missing",
        "Data (MD5)": ", ".join(sorted({f"{name} {digest}" for p in made for name, digest in p["data"].items()})),
        "Made": f"{_dates(found)}, {_hours(found)} of processor time",
        "Commit": ", ".join(sorted({p["commit"] for p in made})),
        "Machine": ", ".join(sorted({f"{p['device']}, {p['threads']} thread(s) a piece of work" for p in made})),
        "Versions": ", ".join(f"{name} {' and '.join(sorted(each))}" for name, each in numbers.items()),
        "Present code": "; ".join(f"{state}: {names}" for state, names in stages.items() if names),
    }
    return table([], list(rows.items()))


def durations(results: Results, stages: Mapping[str, str]) -> str:
    """Processor time and seeds of every stage as an HTML table; ``stages`` says in words what each does."""
    rows = []
    for stage, words in stages.items():
        planned = {cell.params["seed"] for cell in results.cells if cell.stage == stage}
        found = [(cell, record) for cell, record in _recorded(results) if cell.stage == stage]
        seconds = [record.cpu_seconds for _, record in found]
        if seconds:
            seeds = f"{len({cell.params['seed'] for cell, _ in found})} of {len(planned)}"
            each, together = f"{np.mean(seconds):.1f} s", f"{sum(seconds) / 60:.1f} min"
            rows.append((words, seeds, str(len(seconds)), each, together))
    return table(("Stage", "Seeds", "Pieces of work", "Each", "Together"), rows)


_ROW = form(what="string", unit="string", reference="number", ours="number", ratio="number")
_check_benchmarks = fastjsonschema.compile(form(rows={"type": "array", "items": _ROW}))


def benchmarks(*names: str) -> str:
    """What ``benchmarks/`` measured last, as an HTML table: processor time or memory of the usual call and of ours.

    Parameters
    ----------
    names : str
        Which benchmarks to show, such as ``attribution``; all without a name.

    Raises
    ------
    ValueError
        A name without a result.
    RecordError
        A result is damaged.
    """
    rows = []
    files = sorted((records.ROOT / "benchmarks" / "results").glob("*.json"))
    if unknown := sorted(set(names) - {path.stem for path in files}):
        raise ValueError(f"no benchmark is called {unknown[0]!r}; there are {', '.join(path.stem for path in files)}")
    for path in [path for path in files if not names or path.stem in names]:
        found = records.read_json(path, _check_benchmarks, "is no result of a benchmark", "restore it, or `make bench`")
        for row in found["rows"]:
            usual, ours = (f"{row[name]:.3g} {row['unit']}" for name in ("reference", "ours"))
            rows.append((f"{path.stem}: {row['what'].replace('_', ' ')}", usual, ours, f"{row['ratio']:.3g} ×"))
    return table(("What", "Usual call", "Ours", "Ratio"), rows) if rows else "<p>Nothing was measured yet.</p>"


def _hours(found: Sequence[tuple[Cell, Record]]) -> str:
    return f"{sum(record.cpu_seconds for _, record in found) / 3600:.2g} hours"


def _dates(found: Sequence[tuple[Cell, Record]]) -> str:
    dates = sorted(record.provenance["date"] for _, record in found)
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"


def _recorded(results: Results) -> list[tuple[Cell, Record]]:
    """Every cell that has a record, with it."""
    stages = dict.fromkeys(cell.stage for cell in results.cells)
    return [pair for stage in stages for pair in results.recorded(stage)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as an HTML table in the book's style; the texts are escaped, and have minus signs."""
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join("<tr>" + "".join(f"<td>{typeset(text)}</td>" for text in row) + "</tr>" for row in rows)
    thead = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<table class="table">{thead}<tbody>{body}</tbody></table>'


def spaced(number: int) -> str:
    """A whole number with thin spaces between thousands, four digits without."""
    return f"{number:,}".replace(",", "\u2009") if number >= 10_000 else str(number)
