"""A verdict for every claim of a paper, by a rule that was fixed before the results were seen."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from companion import witness
from companion.records import Cell, Results

#: The four verdicts, from best to undecidable.
VERDICTS = ("holds", "holds in part", "does not hold", "not testable")


class Finding(NamedTuple):
    """What a rule found: a verdict, the number behind it with its interval, and why.

    ``verdict`` is one of :data:`VERDICTS`; ``value`` and ``interval`` are text with units and n; ``why`` is a sentence
    or two for a reader who has seen only the claim.
    """

    verdict: str
    value: str
    interval: str
    why: str


@dataclass(frozen=True)
class Claim:
    """One claim of a paper and the rule that decides it.

    Parameters
    ----------
    id : str
        As in the specification, such as ``B7``.
    paper : str
        Key of the paper in the bibliography.
    statement : str
        The claim in our words.
    published : str
        The value or direction that was published, and where.
    rule : str
        The rule in words.
    decide : callable
        The rule: a function of the study's record.

    Raises
    ------
    ValueError
        The id or the key is none: pages link to the one, and cite by the other. All else is text, without markup.
    """

    id: str
    paper: str
    statement: str
    published: str
    rule: str
    decide: Callable[[Any], Finding]

    def __post_init__(self) -> None:
        for name, value, pattern in (("id", self.id, r"[A-Za-z]\d+"), ("paper", self.paper, r"[\w:.+-]+")):
            if not re.fullmatch(pattern, value):
                raise ValueError(f"{name}={value!r} of a claim must be of the form {pattern}")


Rule = Callable[[Any], Finding]


class Claims:
    """The claims of one paper, in the order of their numbers.

    Examples
    --------
    >>> claims = Claims("somebody2020")
    >>> @claims.add("X1", "Large.", published="3", rule="above 2")
    ... def _x1(of: int) -> Finding:
    ...     return Finding("holds" if of > 2 else "does not hold", str(of), "", "It is what it is.")
    >>> [(claim.id, claim.decide(3).verdict) for claim in claims]
    [('X1', 'holds')]
    """

    def __init__(self, paper: str) -> None:
        self.paper = paper
        self._claims: list[Claim] = []

    def add(
        self, id: str, statement: str, *, published: str, rule: str, paper: str | None = None
    ) -> Callable[[Rule], Rule]:
        """Decorator of a rule, so that its words and its code stand together; fields as in :class:`Claim`."""

        def with_words(decide: Rule) -> Rule:
            self._claims.append(Claim(id, paper or self.paper, statement, published, rule, decide))
            return decide

        return with_words

    def __iter__(self) -> Iterator[Claim]:
        return iter(sorted(self._claims, key=lambda claim: (claim.id[:1], int(claim.id[1:]))))


# --- verdicts that rules share ----------------------------------------------------------------------------------------


def all_of(*parts: bool) -> str:
    """All parts true: holds; some: in part; none: does not hold."""
    return "holds" if all(parts) else "holds in part" if any(parts) else "does not hold"


def by_count(count: float, holds: float, part: float) -> str:
    """Holds from ``holds`` successes on, in part from ``part`` on."""
    return "holds" if count >= holds else "holds in part" if count >= part else "does not hold"


def above(low: float, high: float, threshold: float) -> str:
    """By a whole interval: holds if it lies at or above the threshold, in part if it straddles it."""
    return "holds" if low >= threshold else "does not hold" if high < threshold else "holds in part"


def untestable(why: str) -> Finding:
    """The record at hand cannot decide the claim, for this reason."""
    return Finding("not testable", "no result", "", why)


# --- evaluation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """A claim with what was found: one row of the scoreboard. Fields as in :class:`Claim` and :class:`Finding`.

    ``dataset`` is the data set, and the regime where there are several. ``n`` has, for every stage that the rule looked
    at, how many cells are recorded and how many were planned. ``state`` is the worst of these stages' states.
    """

    id: str
    paper: str
    statement: str
    published: str
    rule: str
    value: str
    interval: str
    verdict: str
    why: str
    dataset: str = ""
    n: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    state: str = witness.STATES[0]

    @property
    def missing(self) -> str:
        """Such as ``modules 3 of 9``, where cells that were planned are not recorded; else empty."""
        short = {stage: counts for stage, counts in self.n.items() if counts[0] < counts[1]}
        return ", ".join(f"{stage} {found} of {planned}" for stage, (found, planned) in short.items())

    @property
    def caveat(self) -> str:
        """What a reader must know of the record behind the verdict: missing cells, and code that has changed since."""
        parts = [f"recorded: {self.missing}" if self.missing else "", STATE_WORDS.get(self.state, "")]
        return "; ".join(filter(None, parts))


#: What the states that a reader must know of mean.
STATE_WORDS = {
    "changed": "the code has changed since, and was not checked against the record",
    "outdated": "the present code gives other numbers",
}


def evaluate(
    claims: Iterable[Claim], evidence: Callable[[], Any], *, results: Results | None = None, dataset: str = ""
) -> list[Verdict]:
    """Apply every claim's rule to the record.

    Parameters
    ----------
    claims : Claims or sequence of Claim
    evidence : callable
        Makes what the rules look at. It is made anew for every claim, so that each says what it looked at.
    results : Results, optional
        The records that the evidence reads: which cells a rule looks at, and the state of their stages, stand in its
        verdict.
    dataset : str
        Of the evidence.

    Raises
    ------
    ValueError
        Two claims share an id, or a rule returns a verdict that is not one of :data:`VERDICTS`.

    Examples
    --------
    >>> claim = Claim("X1", "somebody2020", "Large.", "3", "above 2", lambda x: Finding("holds", str(x), "", "It is."))
    >>> evaluate([claim], lambda: 3)[0].verdict
    'holds'
    """
    claims = list(claims)
    ids = [claim.id for claim in claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"claims share an id: {sorted(i for i in set(ids) if ids.count(i) > 1)}")
    results = results or Results([], Path())
    states = {(row.study, row.stage): row.state for row in witness.status(results.cells, results.folder)}
    rows = []
    for claim in claims:
        with results.watch() as seen:
            found = claim.decide(evidence())
        if found.verdict not in VERDICTS:
            raise ValueError(f"{claim.id}: verdict={found.verdict!r} must be one of {', '.join(VERDICTS)}")
        rows.append(
            Verdict(
                claim.id,
                claim.paper,
                claim.statement,
                claim.published,
                claim.rule,
                found.value,
                found.interval,
                found.verdict,
                found.why,
                dataset,
                _counts(seen),
                max((states[cell.study, cell.stage] for cell in seen), key=witness.STATES.index, default="current"),
            )
        )
    return rows


def _counts(seen: Mapping[Cell, bool]) -> dict[str, tuple[int, int]]:
    stages = dict.fromkeys(cell.stage for cell in seen)
    there = {stage: [found for cell, found in seen.items() if cell.stage == stage] for stage in stages}
    return {stage: (sum(found), len(found)) for stage, found in there.items()}


def as_json(rows: Sequence[Verdict]) -> str:
    """Verdicts for machines: a JSON list of objects."""
    return json.dumps([_fields(row) for row in rows], indent=1, ensure_ascii=False) + "\n"


def as_csv(rows: Sequence[Verdict]) -> str:
    """Verdicts for machines: CSV with a header; ``n`` and ``stages`` are texts such as ``train 3/9, modules 3/9``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = _fields(row)
        n = ", ".join(f"{stage} {found}/{planned}" for stage, (found, planned) in row.n.items())
        writer.writerow(values | {"n": n, "stages": ", ".join(values["stages"])})
    return text.getvalue()


#: Fields of `as_json` and `as_csv`, in their order.
FIELDS = (
    "id", "paper", "dataset", "statement", "published", "rule", "value", "interval", "n", "verdict", "why", "stages",
    "state",
)  # fmt: skip


def _fields(row: Verdict) -> dict[str, Any]:
    n = {stage: {"recorded": found, "planned": planned} for stage, (found, planned) in row.n.items()}
    values = {name: getattr(row, name) for name in FIELDS if name not in ("n", "stages")} | {"n": n, "stages": list(n)}
    return {name: values[name] for name in FIELDS}
