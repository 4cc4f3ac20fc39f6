"""Claims U1–U27 of Lange, Rolnick & Kording (2022): what they say, the rule for each, and the verdicts.

A run is the unit of replication: n counts runs, and settings are compared within a run. Networks below 80 % test
accuracy are left out. Unless a row says otherwise a value is averaged over both hidden layers, Q is that of the best
partition found, and intervals are 95 % t intervals over runs. The rules were committed before the record was made;
which of them were changed after it, and why, is in ``book/rule_changes.csv``. A function ``…_conditions`` takes
numbers, one row a run, and is what trials run.
"""

from __future__ import annotations

from companion import claims
from companion.claims import Claim, Finding, State, finding
from studies.upstream_downstream import agreement_claims, modularity_claims
from studies.upstream_downstream.evidence import Evidence, met

#: The rules on which the last claim rests.
DECIDE = {claim.id: claim.decide for claim in (*modularity_claims.CLAIMS, *agreement_claims.CLAIMS)}
LAST = claims.Claims("lange2022clustering")


@LAST.add(
    "U27",
    "What one would have expected is wrong in every point.",
    published="dropout lowers Q, L2 does nothing, L1 raises Q, all measures agree: all refuted (text)",
    rule=(
        "The claims against these expectations (U1, U6, U7, U15) hold. In part where two do; those that are undecided "
        "stay open."
    ),
)
def _u27(of: Evidence) -> Finding:
    expected = {
        "dropout lowers Q": "U1",
        "L2 has no effect": "U6",
        "L1 raises Q more than L2": "U7",
        "all measures find the same modules": "U15",
    }
    verdicts = {id: DECIDE[id](of).verdict for id in expected.values()}
    states: dict[str, State] = {"holds": True, "undecided": None}
    conditions = {f"not “{name}” ({id})": states.get(verdicts[id], False) for name, id in expected.items()}
    return finding(
        conditions,
        f"{met(conditions)} of 4 expectations are refuted",
        f"n = {len(of.runs.seeds)}",
        "An expectation is refuted where the claim against it holds: "
        + "; ".join(f"against “{name}” stands {id}, which {_is(verdicts[id])}" for name, id in expected.items())
        + ".",
        part=2,
    )


def _is(verdict: str) -> str:
    """A verdict as a predicate: all but two are verbs."""
    return f"is {verdict}" if verdict in ("undecided", "not testable") else verdict


def _number(claim: Claim) -> int:
    return int(claim.id[1:])


CLAIMS = sorted((*modularity_claims.CLAIMS, *agreement_claims.CLAIMS, *LAST), key=_number)
