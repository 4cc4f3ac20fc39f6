"""Neural sculpting: the hierarchy of a task in what pruning leaves of a network (Patil, Michael & Dovrolis 2023)."""

from companion.study import Study
from studies.neural_sculpting import cells, claims, evidence, trials

STUDY = Study(
    "neural_sculpting",
    cells.plan,
    evidence.evidence_of,
    claims.CLAIMS,
    stages={
        "boolean": "sculpt networks on a Boolean task: nine shapes, 70 runs each",
        "ablate": "the same with one ingredient taken away, eight ways",
        "vary": "the same with one setting of the training changed, seven ways",
        "repeat": "density and success of every run, for many seeds of the reused function",
        "digits": "sculpt one network on pairs of digits",
    },
    trials=trials.TRIALS,
)
