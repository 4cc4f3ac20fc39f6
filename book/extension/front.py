"""What the front page is made of when the book is built: counts, findings and cards, from the record alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import drawings
import jupytext
import nbformat
import yaml
from matplotlib.figure import Figure

from companion import records, study
from companion.claims import VERDICTS, Verdict
from companion.reading import minus

#: How many claims have a verdict, in words; one only, in the second.
COUNTED = dict(
    zip(
        VERDICTS,
        (
            ("hold", "holds"),
            ("hold in part", "holds in part"),
            ("do not hold", "does not hold"),
            ("are undecided", "is undecided"),
            ("cannot be tested", "cannot be tested"),
        ),
        strict=True,
    )
)
MARKS = dict(zip(VERDICTS, ("●", "◐", "○", "?", "–"), strict=True))
COLORS = dict(zip(VERDICTS, ("success", "warning", "danger", "info", "muted"), strict=True))

#: The findings that the front page lists: a claim, what it says in plain words, and the number behind it.
FINDINGS = (
    ("N1", "Cut a network to what its task needs, and parts of the task with inputs of their own show.", "{value}"),
    ("N2", "A part that is used twice shows as well.", "{value}"),
    ("U1", "Dropout makes groups of like units stand out, by every measure of likeness.", "modularity: {value}"),
    ("U10", "Without a regulariser, training hardly makes networks more modular.", "modularity {value}"),
    ("U15", "Measures of one side find much the same modules, measures of two sides do not.", "agreement {value}"),
    ("C2", "Trained networks are easier to cut into parts than the same weights shuffled.", "{value}"),
    ("M1", "Parts cut by the weights alone matter more for the network than random groups.", "{interval}"),
    ("B10", "Removing units module by module hurts more than any other order.", "{value}; less is worse"),
    ("B7", "Images group by class with the modules, though no label was used.", "{value}; 1 is full agreement"),
    ("B8", "The units of a module have nothing to do with their places.", "{value}"),
)


class Card(NamedTuple):
    """What the card of a chapter has: a claim or a finding of its own, what to know before, a picture and its words."""

    finding: str | Callable[[], str]
    before: str
    picture: Callable[[], Figure]
    alt: str


def _own_network() -> str:
    from studies.your_own_network import figures

    found = study.load("your_own_network").results().records("modules")
    table = figures.table([record.values for record in found])
    beyond = figures.beyond_chance(table, "accuracy")
    return f"Of {len(table)} partitions of the same channels, {beyond} cost more accuracy than chance when removed."


#: A card a chapter; the order is that of the table of contents. A new chapter needs an entry, or the build stops.
CARDS: dict[str, Card] = {
    "biclustering": Card(
        "B7",
        "what a convolution and a gradient are",
        drawings.blocks,
        "A sorted matrix with red blocks on its diagonal",
    ),
    "upstream_downstream": Card(
        "U15",
        "what a covariance and a Jacobian are",
        drawings.sides,
        "Three dots: agreement upstream and downstream is high, across it is lower",
    ),
    "neural_sculpting": Card(
        "N1",
        "what pruning is; no more",
        drawings.sculpted,
        "The few units and edges that are left of a network, in three colours",
    ),
    "detecting_modularity": Card(
        "C2",
        "eigenvectors of a graph, and p values",
        drawings.shuffles,
        "Blue dots of networks to the left of grey marks of their shuffles",
    ),
    "your_own_network": Card(
        _own_network,
        "one of the other chapters, and PyTorch",
        drawings.nine,
        "Rows of coloured squares that agree only in part",
    ),
    "bake_off": Card(
        "H7",
        "the primer",
        drawings.planted,
        "Falling curves of agreement with known modules; the dashed one of a simple baseline falls last",
    ),
}


@cache
def first_verdicts() -> dict[str, Verdict]:
    """For each claim the verdict on its paper's own data set."""
    first: dict[str, Verdict] = {}
    for name in study.names():
        if (records.results_folder() / name).is_dir():
            for rows in study.load(name).judge().values():
                for row in rows:
                    first.setdefault(row.id, row)
    return first


def of_papers() -> dict[str, Verdict]:
    """Those on claims of the four papers, without the hypotheses of this book."""
    return {id: row for id, row in first_verdicts().items() if row.paper != "bakeoff2026"}


def chapters() -> list[str]:
    """Names of the chapters in the order of the book."""
    contents = yaml.safe_load((records.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [entry["file"] for part in contents["parts"] for entry in part["chapters"]]
    return [file.removeprefix("notebooks/") for file in files if file.startswith("notebooks/")]


def _source(chapter: str) -> nbformat.NotebookNode:
    return jupytext.read(records.ROOT / "notebooks" / f"{chapter}.py")


def title(chapter: str) -> str:
    """The chapter's first heading."""
    found = re.search(r"^# (.+)$", _source(chapter).cells[0].source, re.MULTILINE)
    return found[1] if found else chapter


def minutes(chapter: str) -> int:
    """How long a chapter takes to read: 200 words a minute, and half a minute for every figure; to five minutes."""
    words, figures = 0, 0
    for cell in _source(chapter).cells:
        if cell.cell_type == "markdown":
            words += len(cell.source.split())
        elif figure := cell.metadata.get("mystnb", {}).get("figure"):
            words += len(figure.get("caption", "").split())
            figures += 1
    return max(5, 5 * round((words / 200 + figures / 2) / 5))


def plain(text: str) -> str:
    """As Markdown that shows just this text, with minus signs."""
    return re.sub(r"([\\`*_{}\[\]<>|$~^&!])", r"\\\1", " ".join(minus(text).split()))


def badge(row: Verdict) -> str:
    """The verdict, as a link to the claim."""
    return f"{{claim}}`{row.id}` {{bdg-{COLORS[row.verdict]}}}`{MARKS[row.verdict]} {row.verdict}`"


def strip_html() -> str:
    """How many claims have which verdict: a bar, and the same in words."""
    counts = Counter(row.verdict for row in of_papers().values())
    bar = "".join(
        f'<span class="sd-bg-{COLORS[verdict]}" style="flex-grow: {counts[verdict]}"></span>'
        for verdict in VERDICTS
        if counts[verdict]
    )
    words = "".join(
        f'<li><span class="sd-badge sd-bg-{COLORS[verdict]} sd-bg-text-{COLORS[verdict]}">{MARKS[verdict]}</span> '
        f"<strong>{counts[verdict]}</strong> {COUNTED[verdict][counts[verdict] == 1]}</li>"
        for verdict in VERDICTS
    )
    return (
        f'<div class="verdict-strip"><div class="bar" aria-hidden="true">{bar}</div>'
        f"<p>Of {counts.total()} claims:</p><ul>{words}</ul></div>"
    )


def findings_markdown() -> list[str]:
    """Ten findings, each with its verdict and the number behind it."""
    lines = []
    for id, words, number in FINDINGS:
        row = first_verdicts()[id]
        lines.append(f"- {badge(row)} {words} *{plain(number.format(value=row.value, interval=row.interval))}.*")
    return lines


def picture_markdown() -> list[str]:
    """The same units in four ways, one panel a way."""
    of, pairs = drawings.four(), drawings.agreements()
    lines = ["::::::{grid} 1 2 2 2", ":gutter: 2", ":class-container: four-ways", ""]
    for chapter, (way, panel) in zip(chapters(), drawings.four_panels().items(), strict=False):
        words = f"**{way.capitalize()}**: {{doc}}`/notebooks/{chapter}`"
        lines += [":::::{grid-item}", "", "```{raw} html", panel, "```", "", words, ":::::"]
    caption = (
        f"*{len(of.labels[drawings.WAYS[0]])} units of one small network on handwritten digits "
        f"({100 * of.accuracy:.0f} % right), grouped in the ways of the four papers when this page was built. The "
        "strip below each panel has the same units in the same order; equal colours are the modules that overlap "
        f"most. Two groupings agree to {pairs.min():.2f} at the least and {pairs.max():.2f} at most, where 1 is equal.*"
    )
    return [*lines, "::::::", "", caption]


def cards_markdown() -> list[str]:
    """A card a chapter: picture, one finding, reading time, what to know before."""
    lines = ["::::::{grid} 1 2 2 3", ":gutter: 3", ":class-container: chapter-cards", ""]
    for chapter in chapters():
        if chapter not in CARDS:
            raise ValueError(f"chapter={chapter!r} has no card: add one to CARDS in book/extension/front.py")
        card, found = CARDS[chapter], first_verdicts()
        if isinstance(card.finding, str):
            row = found[card.finding]
            finding = f"{badge(row)} {plain(row.statement)} {plain(row.value)}."
        else:
            finding = plain(card.finding())
        lines += [
            ":::::{grid-item-card} " + f"{{doc}}`/notebooks/{chapter}`",
            "",
            "```{raw} html",
            drawings.svg(card.picture, f"card-{chapter.replace('_', '-')}", card.alt),
            "```",
            "",
            finding,
            "::::{card-footer}",
            f"About {minutes(chapter)} minutes. Before: {card.before}.",
            "::::",
            ":::::",
        ]
    return [*lines, "::::::"]
