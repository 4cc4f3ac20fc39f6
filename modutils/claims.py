"""A verdict for every claim of a paper, by a rule that was fixed before the results were seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    """

    id: str
    paper: str
    statement: str
    published: str
    rule: str
    decide: Callable[[Any], Finding]


@dataclass(frozen=True)
class Verdict:
    """A claim with what was found: one row of the scoreboard. Fields as in :class:`Claim` and :class:`Finding`."""

    id: str
    paper: str
    statement: str
    published: str
    rule: str
    value: str
    interval: str
    verdict: str
    why: str


def evaluate(claims: Sequence[Claim], record: Any) -> list[Verdict]:
    """Apply every claim's rule to ``record``.

    Raises
    ------
    ValueError
        Two claims share an id, or a rule returns a verdict that is not one of :data:`VERDICTS`.

    Examples
    --------
    >>> claim = Claim("X1", "somebody2020", "Large.", "3", "above 2", lambda x: Finding("holds", str(x), "", "It is."))
    >>> evaluate([claim], 3)[0].verdict
    'holds'
    """
    ids = [claim.id for claim in claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"claims share an id: {sorted(i for i in set(ids) if ids.count(i) > 1)}")
    rows = []
    for claim in claims:
        found = claim.decide(record)
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
            )
        )
    return rows
