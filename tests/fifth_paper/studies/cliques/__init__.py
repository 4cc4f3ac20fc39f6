"""An invented paper: cliques that are joined by a few edges are found by the eigenvectors of Newman's Q."""

from companion.study import Study
from studies.cliques import cells, claims, trials

STUDY = Study(
    "cliques",
    cells.plan,
    claims.evidence_of,
    claims.CLAIMS,
    stages={"search": "plant cliques and search for them"},
    trials=trials.TRIALS,
)
