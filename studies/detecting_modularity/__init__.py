"""Hod et al. (2021): are the parts of a graph partition important and coherent?"""

from companion.study import Study
from studies.detecting_modularity import cells, claims, evidence, trials

STUDY = Study(
    "detecting_modularity",
    cells.plan,
    evidence.evidence_of,
    claims.CLAIMS,
    stages={
        "train": "train and prune a network",
        "cuts": "n-cuts of a network and its shuffles",
        "subclusters": "test the sub-clusters of a network",
        "filters": "test the sub-clusters of a CNN",
        "blocks": "train and test true modules",
        "penalised": "train with the penalty, and test",
        "pictures": "images that drive sub-clusters",
    },
    trials=trials.TRIALS,
)
