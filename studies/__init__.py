"""One package per paper: ``cells`` (the work), ``claims`` (verdicts) and ``figures`` (what a chapter shows)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from companion.claims import Verdict


def verdicts(studies: Sequence[str], *, scale: str = "paper", dataset: str | None = None) -> list[Verdict]:
    """The verdict on every claim of some studies, on one of their data sets or on all.

    Raises
    ------
    ValueError
        None of the studies has the data set.
    RecordError
        Nothing is recorded, or a record is invalid.
    """
    found, names = [], []
    for study in studies:
        module = importlib.import_module(f"{__name__}.{study}.claims")
        for name, where in module.columns(scale).items():
            names.append(name)
            if dataset in (None, name):
                found += module.evaluate(**where, scale=scale)
    if not found:
        raise ValueError(
            f"dataset={dataset!r} is not part of scale {scale!r}; there are {', '.join(dict.fromkeys(names))}"
        )
    return found
