"""Lange, Rolnick & Kording (2022), "Clustering units in neural networks: upstream vs downstream information"."""

from companion.study import Study
from studies.upstream_downstream import cells, claims, evidence, trials

STUDY = Study(
    "upstream_downstream",
    cells.plan,
    evidence.evidence_of,
    claims.CLAIMS,
    stages={
        "train": "train all networks of a run",
        "modules": "similarities, modules, agreement",
        "untrained": "the same for 25 untrained networks",
        "search": "what the parts of the search add",
        "examples": "matrices of figure 3",
        "subsample": "fewer images",
        "follow": "modules along training",
    },
    trials=trials.TRIALS,
)
