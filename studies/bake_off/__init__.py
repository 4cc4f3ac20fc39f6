"""The bake-off: what four papers call a module, on the same networks with known modules."""

from companion.study import Study
from studies.bake_off import cells, claims, evidence, leaderboard, trials

STUDY = Study(
    "bake_off",
    cells.plan,
    evidence.evidence_of,
    claims.CLAIMS,
    stages={"contest": "train a network with planted modules; every method looks for them, and is judged"},
    trials=trials.TRIALS,
    score=leaderboard.report,
)
