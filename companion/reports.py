"""What every chapter shows beside its figures, as HTML: verdicts, where the record comes from, what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import fastjsonschema
import numpy as np

from companion import records, witness
from companion.claims import STATE_WORDS, VERDICTS, Verdict
from companion.records import Cell, Record, Results, form

#: What the data sets are called in text.
DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "digits": "digits", "cifar10": "CIFAR-10"}
_MARKS = dict(zip(VERDICTS, ("●", "◐", "○", "?", "–"), strict=True))
_BADGES = dict(zip(VERDICTS, ("success", "warning", "danger", "info", "muted"), strict=True))


def verdict_table(found: Mapping[str, Sequence[Verdict]]) -> str:
    """The claims of a chapter as an HTML table, with a column of verdicts for every data set.

    Parameters
    ----------
    found : mapping
        For each column's name, such as ``MNIST``, the verdicts of `companion.claims.evaluate`: the same claims in the
        same order.
    """
    lists = list(found.values())
    if len({tuple(row.id for row in rows) for rows in lists}) != 1:
        raise ValueError("found has lists of different claims; needed are the same claims in the same order")
    head = "".join(f"<th>{escape(name)}</th>" for name in ("Claim of the paper", *found))
    lines = []
    for rows in zip(*lists, strict=True):
        first = rows[0]
        cells_of_row = "".join(
            f"<td>{_badge(row)}<br>{escape(row.value)}<br><small>{escape(row.interval)}{_parts(row)}{_caveat(row)}</small></td>"
            for row in rows
        )
        lines.append(f"<tr><td><strong>{escape(first.id)}</strong> {escape(first.statement)}</td>{cells_of_row}</tr>")
    return f'<table class="table verdicts"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def verdict_box(found: Mapping[str, Sequence[Verdict]], id: str) -> str:
    """One claim with its rule and, for every data set, its verdict and number, as HTML; reasons for the first only.

    Parameters
    ----------
    found : mapping
        As for :func:`verdict_table`.
    id : str
        Such as ``B7``.
    """
    rows = {name: row for name, verdicts in found.items() for row in verdicts if row.id == id}
    if not rows:
        raise ValueError(f"id={id!r} is no claim; there are {', '.join(row.id for row in next(iter(found.values())))}")
    first = next(iter(rows.values()))
    lines = "".join(
        f"<p>{escape(name)}: {_badge(row)} <strong>{escape(row.value)}</strong> "
        f"{escape(_in_brackets(row.interval))}{_parts(row)}{_caveat(row)}"
        f"{'<br>' + escape(row.why) if row is first else ''}</p>"
        for name, row in rows.items()
    )
    tried = f"<br>Tried: {escape(first.tried)}" if first.tried else ""
    return (
        f'<div class="admonition verdict"><p class="admonition-title">Claim {escape(id)}: {escape(first.statement)}</p>'
        f"{lines}<p><small>Rule: {escape(first.rule)}{tried}</small></p></div>"
    )


def _badge(row: Verdict) -> str:
    color = _BADGES[row.verdict]
    return f'<span class="sd-badge sd-bg-{color} sd-bg-text-{color}">{_MARKS[row.verdict]} {escape(row.verdict)}</span>'


def _parts(row: Verdict) -> str:
    return f"<br>{escape(row.parts)}" if row.parts else ""


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
    """Rows of text as an HTML table in the book's style; the texts are escaped."""
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<table class="table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def spaced(number: int) -> str:
    """A whole number with thin spaces between thousands, four digits without."""
    return f"{number:,}".replace(",", "\u2009") if number >= 10_000 else str(number)
