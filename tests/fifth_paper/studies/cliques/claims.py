"""What the invented paper says, and the rule for each sentence."""

from __future__ import annotations

from collections.abc import Callable

from companion.claims import Claims, Finding, State, above, below, finding
from companion.records import Results
from modutils.statistics import Interval, mean_interval

CLAIMS = Claims("newman2006modularity")


def evidence_of(results: Results, scale: str) -> dict[str, Callable[[], Results]]:
    """What the rules look at: the records."""
    return {"planted": lambda: results}


@CLAIMS.add(
    "X1",
    "Cliques are found <as they are> where few edges join them, and lost where most do.",
    published="invented",
    rule="Agreement with the planted cliques: interval above 0.9 with few edges, below it with many.",
)
def _x1(of: Results) -> Finding:
    few, many = (mean_interval(of.numbers("search", "similarity", joined=joined)) for joined in (0.05, 0.6))
    return finding(
        x1_conditions(few, many),
        f"agreement {few.mean:.2f} with few edges, {many.mean:.2f} with many",
        f"[{few.low:.2f}, {few.high:.2f}] and [{many.low:.2f}, {many.high:.2f}], n = {few.n} each",
        "Three cliques of eight.",
        part=2,  # cliques that are never found are no part of the claim
    )


def x1_conditions(few: Interval, many: Interval) -> dict[str, State]:
    """By agreement with few edges between cliques, and with many."""
    return {"few edges": above(few, 0.9), "many edges": below(many, 0.9)}
