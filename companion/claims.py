"""A verdict for every claim of a paper, by a rule.

A rule reduces the record to *conditions*. Each is met, not met, or open, where an interval has both sides of its bar.
The verdict follows from these alone, so that a rule can be tried on made-up numbers (:mod:`companion.trials`).
"""

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
from modutils.statistics import Interval

#: The verdicts: what a rule found, then what it could not.
VERDICTS = ("holds", "holds in part", "does not hold", "undecided", "not testable")

#: Whether a condition is met; None where its interval has both sides of the bar, or there is no interval.
State = bool | None


class Series(NamedTuple):
    """Numbers of one kind, each by its name: too many for a sentence, so that pages draw them as dots on one axis.

    ``what`` says what they are; ``form`` is how a number is written; ``bars`` are numbers to compare them with.

    Examples
    --------
    >>> str(Series("Gain of Q", {"covariance": 0.25, "Hessian": -0.031}))
    'Gain of Q: covariance +0.250, Hessian -0.031'
    """

    what: str
    values: Mapping[str, float | Interval]
    form: str = "+.3f"
    bars: tuple[float, ...] = (0.0,)

    def __str__(self) -> str:
        return f"{self.what}: {', '.join(f'{name} {mean:{self.form}}' for name, (mean, _, _) in self.ends().items())}"

    def ends(self) -> dict[str, tuple[float, float, float]]:
        """Each number with the ends of its interval; without an interval three times the number."""
        found = {}
        for name, value in self.values.items():
            mean, low, high = value[:3] if isinstance(value, Interval) else (value,) * 3
            found[name] = (float(mean), float(low), float(high))
        return found


class Finding(NamedTuple):
    """What a rule found: a verdict, the number behind it with its interval, and why.

    ``verdict`` is one of :data:`VERDICTS`; ``value`` and ``interval`` are text with units and n; ``why`` is a sentence
    or two for a reader who has seen only the claim. ``conditions`` are those of the rule, by name. ``series`` are
    numbers to draw, where a sentence would have to list many; its names may be those of the conditions.
    """

    verdict: str
    value: str
    interval: str
    why: str
    conditions: Mapping[str, State] = {}
    series: Series | None = None


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


# --- conditions and verdicts ------------------------------------------------------------------------------------------


def above(found: Interval, bar: float) -> State:
    """Whether a whole interval lies above a bar (True), below it (False), or on both sides (None).

    Examples
    --------
    >>> [above(Interval(0.5, low, high, 9), 0.4) for low, high in ((0.45, 0.55), (0.35, 0.65), (0.1, 0.3))]
    [True, None, False]
    """
    return True if found.low > bar else False if found.high < bar else None


def below(found: Interval, bar: float) -> State:
    """The opposite of :func:`above`."""
    return True if found.high < bar else False if found.low > bar else None


def within(found: Interval, margin: float) -> State:
    """Equivalence: whether a whole interval lies in ±``margin`` (True), outside (False), or in both (None).

    With a 95 % interval this is the test by two one-sided tests at 2.5 % each (Schuirmann 1987).
    """
    if -margin <= found.low and found.high <= margin:
        return True
    return False if found.low > margin or found.high < -margin else None


def every(*parts: State) -> State:
    """Whether all parts are met: False as soon as one is not."""
    return at_least(len(parts), parts)


def at_least(count: int, parts: Iterable[State]) -> State:
    """Whether so many parts are met: None if that depends on those that are open.

    Examples
    --------
    >>> at_least(2, [True, True, None]), at_least(3, [True, True, None]), at_least(3, [True, False, None])
    (True, None, False)
    """
    parts = list(parts)
    met, open_ = sum(bool(part) for part in parts), sum(part is None for part in parts)
    return True if met >= count else None if met + open_ >= count else False


def decide(conditions: Mapping[str, State], *, holds: int | None = None, part: int = 1, needed: str = "") -> str:
    """The verdict by how many conditions are met: it holds from ``holds`` on (else all), in part from ``part`` on.

    Without the condition that is ``needed``, if any, nothing is left of the claim. What depends on conditions that are
    open is undecided.

    Examples
    --------
    >>> decide({"a": True, "b": False}), decide({"a": True, "b": None}), decide({"a": False, "b": None})
    ('holds in part', 'undecided', 'undecided')
    """
    if needed and not conditions[needed]:
        return "undecided" if conditions[needed] is None else "does not hold"
    whole = at_least(len(conditions) if holds is None else holds, conditions.values())
    if whole is None:
        return "undecided"
    some = at_least(part, conditions.values())
    return "holds" if whole else "undecided" if some is None else "holds in part" if some else "does not hold"


def finding(
    conditions: Mapping[str, State], value: str, interval: str, why: str, *, series: Series | None = None, **bars: Any
) -> Finding:
    """A finding whose verdict is that of :func:`decide` with these bars."""
    plain = {name: None if state is None else bool(state) for name, state in conditions.items()}
    return Finding(decide(plain, **bars), value, interval, why, plain, series)


def in_words(conditions: Mapping[str, State]) -> str:
    """Which conditions are met, in the one form that is used for them.

    Examples
    --------
    >>> in_words({"high": True, "wide": None, "deep": False})
    '1 of 3 conditions: high; open: wide; not: deep'
    """
    names = {state: [name for name, own in conditions.items() if own is state] for state in (True, None, False)}
    met = f"{len(names[True])} of {len(conditions)} conditions: {', '.join(names[True]) or 'none'}"
    rest = (f"{word}: {', '.join(names[state])}" for word, state in (("open", None), ("not", False)) if names[state])
    return "; ".join([met, *rest])


def bounded(found: Interval, low: float = -1.0, high: float = 1.0) -> Interval:
    """An interval cut to the range that its quantity has; the t interval of a correlation may leave it."""
    return found._replace(low=max(found.low, low), high=min(found.high, high))


def untestable(why: str, value: str = "no result", interval: str = "") -> Finding:
    """The record at hand, or any other, cannot decide the claim, for this reason."""
    return Finding("not testable", value, interval, why)


# --- evaluation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """A claim with what was found: one row of the scoreboard. Fields as in :class:`Claim` and :class:`Finding`.

    ``conditions`` says which are met, in words, and ``states`` by name. ``tried`` says what the rule gave where the
    answer is known. ``dataset`` is the data set, and the regime where there are several. ``n`` has, for every stage
    that the rule looked at, how many cells are recorded and how many were planned; ``cells`` are those that are
    recorded. ``state`` is the worst of these stages' states.
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
    conditions: str = ""
    tried: str = ""
    states: Mapping[str, State] = field(default_factory=dict)
    series: Series | None = None
    cells: tuple[Cell, ...] = ()

    @property
    def parts(self) -> str:
        """The conditions in words, where the verdict alone does not say which are met."""
        return self.conditions if self.verdict in ("holds in part", "undecided") else ""

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
                in_words(found.conditions) if len(found.conditions) > 1 else "",
                states=dict(found.conditions),
                series=found.series,
                cells=tuple(cell for cell, there in seen.items() if there),
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
    "id", "paper", "dataset", "statement", "published", "rule", "value", "interval", "n", "verdict", "conditions",
    "series", "why", "tried", "stages", "state",
)  # fmt: skip


def _fields(row: Verdict) -> dict[str, Any]:
    n = {stage: {"recorded": found, "planned": planned} for stage, (found, planned) in row.n.items()}
    made = {"n": n, "stages": list(n), "series": str(row.series or "")}
    return {name: made[name] if name in made else getattr(row, name) for name in FIELDS}
