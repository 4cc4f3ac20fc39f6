"""Trials of rules: what a rule gives where the answer is known, on a null and on a planted positive, at the record's n.

A study names its trials by claim. ``python -m companion trials`` runs them and keeps the outcome in one file, which the
claims page reads.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastjsonschema
import numpy as np

from companion import records
from companion.claims import VERDICTS

if TYPE_CHECKING:
    from companion.study import Study

SEED = 0


@dataclass(frozen=True)
class Trial:
    """How a rule is tried.

    Parameters
    ----------
    null, planted : str
        In words, what numbers are made where the claim is wrong, and where it is right.
    run : callable
        ``run(evidence, generator, planted)`` gives the verdict on one such draw, at the n of the evidence.
    times : int
        Draws of each.
    note : callable, optional
        Gives a sentence with what else is worth knowing of the numbers.
    whole : Trial, optional
        Of the whole way, from networks or matrices to the verdict, where the trial itself is of the decision alone.
    """

    null: str
    planted: str
    run: Callable[[Any, np.random.Generator, bool], str]
    times: int = 200
    note: Callable[[], str] | None = None
    whole: Trial | None = None


def outcome(id: str, trial: Trial, evidence: Any, *, times: int | None = None) -> dict[str, str]:
    """Verdicts on the null and on planted positives, each as a text of digits: places in :data:`VERDICTS`."""
    found = {}
    for name in ("null", "planted"):
        drawn = (
            trial.run(
                evidence, np.random.default_rng([SEED, zlib.crc32(f"{id} {name}".encode()), draw]), name == "planted"
            )
            for draw in range(times or trial.times)
        )
        found[name] = "".join(str(VERDICTS.index(verdict)) for verdict in drawn)
    return found


def run(study: Study) -> dict[str, Any]:
    """The outcome of every trial of a study, on the first data set of its record, ``whole`` that of the whole way."""
    tried = {id: trial for id, trial in study.trials.items() if isinstance(trial, Trial)}
    if not tried:
        return {}
    evidence = next(iter(study.evidence(study.results(), "paper").values()))()

    def of(id: str, trial: Trial) -> dict[str, Any]:
        found = outcome(id, trial, evidence) | ({"note": trial.note()} if trial.note else {})
        return found | ({"whole": of(f"{id} whole", trial.whole)} if trial.whole else {})

    return {id: of(id, trial) for id, trial in tried.items()}


def path() -> Path:
    """Of the file with the outcomes."""
    return records.results_folder() / "trials.json"


def _schema(**more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"note": {"type": "string"}}
        | {name: {"type": "string", "pattern": "^[0-4]+$"} for name in ("null", "planted")}
        | more,
        "required": ["null", "planted"],
        "additionalProperties": False,
    }


_check = fastjsonschema.compile({"type": "object", "additionalProperties": _schema(whole=_schema())})


def read() -> dict[str, Any]:
    """Outcomes by claim, of all studies; none if there is no file.

    Raises
    ------
    RecordError
        The file is damaged.
    """
    if not path().is_file():
        return {}
    found: dict[str, Any] = records.read_json(path(), _check, "has no outcomes of trials", "restore it")
    return found


def write(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep these outcomes, and those of other claims that are kept already."""
    kept = read() | {id: dict(one) for id, one in found.items()}
    path().write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")


def in_words(id: str, trial: Trial | str | None, found: Mapping[str, Mapping[str, Any]]) -> str:
    """What a rule gave in its trial, or why there is none."""
    if not isinstance(trial, Trial):
        return trial or ""
    if id not in found:
        return "not yet: python -m companion trials"
    whole = f" The whole way: {_words(trial.whole, found[id]['whole'])}" if trial.whole and "whole" in found[id] else ""
    return _words(trial, found[id]) + whole


def _words(trial: Trial, found: Mapping[str, str]) -> str:
    return (
        f"on a null ({trial.null}) {counted(found['null'])}; "
        f"on a planted positive ({trial.planted}) {counted(found['planted'])}. {found.get('note', '')}"
    ).strip()


def counted(verdicts: str) -> str:
    """Such as ``holds 3 of 200, undecided 12``: how often it holds, and each other verdict that came out."""
    counts = Counter(VERDICTS[int(digit)] for digit in verdicts)
    others = "".join(f", {name} {counts[name]}" for name in VERDICTS[1:] if counts[name])
    return f"holds {counts['holds']} of {len(verdicts)}{others}"
