"""A network that no paper studied: described, grouped and tested in every way that the library has for any network."""

from companion.study import Study
from studies.your_own_network import cells

STUDY = Study(
    "your_own_network",
    cells.plan,
    lambda results, scale: {},
    claims=(),
    stages={"modules": "train a network; describe, group and test one layer"},
)
