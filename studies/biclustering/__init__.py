"""Lu & Ester (2019), "Checking Functional Modularity in DNN By Biclustering Task-specific Hidden Neurons"."""

from companion.study import Study
from studies.biclustering import cells, claims, trials

STUDY = Study(
    "biclustering",
    cells.plan,
    claims.evidence_of,
    claims.CLAIMS,
    stages={
        "train": "train a network",
        "structure": "modules and their tests",
        "controls": "other targets, or none",
        "ablate": "removal of units, six methods",
        "describe": "six methods side by side",
        "pictures": "what figures 1 to 3 show",
        "compare": "other clusterings",
        "extend": "extension grid",
        "regularize": "without dropout",
    },
    trials=trials.TRIALS,
)
