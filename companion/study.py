"""A study of one paper: what it computes, what its rules look at, and what it claims; and a chapter that shows it."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from IPython.display import HTML, Markdown

from companion import claims, records, reports, sweeps, trials
from companion.claims import Claim, Verdict
from companion.reading import FOR_PAGE, glue, minus
from companion.records import Cell, RecordError, Results
from companion.trials import Trial
from companion.workers import Processes
from modutils import data


@dataclass(frozen=True)
class Study:
    """One paper's study: the attribute ``STUDY`` of the package ``studies.<name>``.

    Parameters
    ----------
    name : str
        Of its package, and of its folder in ``results/``.
    plan : callable
        ``plan(scale)`` gives all cells of work of a scale, ``quick`` or ``paper``.
    evidence : callable
        ``evidence(results, scale)`` gives for each data set (and regime) of a scale, the paper's own first, a function
        that makes what the rules look at.
    claims : iterable of Claim
        Each with its rule.
    stages : mapping
        What each stage does, in words.
    trials : mapping
        For each claim how its rule is tried, or why it is not.
    score : callable, optional
        ``score(method, scale, folder, progress=...)`` scores a function of a reader on the study's networks, beside
        what is recorded in the folder, and gives a text.
    """

    name: str
    plan: Callable[[str], list[Cell]]
    evidence: Callable[[Results, str], Mapping[str, Callable[[], Any]]]
    claims: Iterable[Claim]
    stages: Mapping[str, str]
    trials: Mapping[str, Trial | str] = field(default_factory=dict)
    score: Callable[..., str] | None = None

    def results(self, scale: str = "paper", folder: Path | None = None) -> Results:
        """The records of a scale's plan, in the committed record or in another folder; an unknown scale is an error."""
        return Results(self.plan(scale), folder or records.results_folder())

    def judge(
        self, scale: str = "paper", *, results: Results | None = None, dataset: str | None = None
    ) -> dict[str, list[Verdict]]:
        """The verdict on every claim, for each data set of a scale of which anything is recorded, or for one.

        A study without claims has none to give.

        Raises
        ------
        ValueError
            A scale or data set that there is not.
        RecordError
            Nothing is recorded, or a record is invalid.
        """
        found = results or self.results(scale)
        if not self.claims:
            return {}
        evidence = self.evidence(found, scale)
        if dataset is not None and dataset not in evidence:
            raise ValueError(f"dataset={dataset!r} is not part of scale {scale!r}; it has {', '.join(evidence)}")
        nothing = f"no record of {self.name} in {found.folder}; compute it: python -m companion run {self.name}"
        if not any(records.is_recorded(cell, found.folder) for cell in found.cells):
            raise RecordError(nothing)
        judged, tried = {}, trials.read()
        for name in [dataset] if dataset else evidence:
            rows = [
                replace(row, tried=trials.in_words(row.id, self.trials.get(row.id), tried))
                for row in claims.evaluate(self.claims, evidence[name], results=found, dataset=name)
            ]
            if any(there for row in rows for there, _ in row.n.values()):
                judged[name] = rows
            elif dataset:
                raise RecordError(nothing)
        return judged


def names() -> list[str]:
    """The names of all studies."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module("studies").__path__))


def load(name: str) -> Study:
    """The study of this name.

    Raises
    ------
    ValueError
        There is none.
    """
    if name not in names():
        raise ValueError(f"study={name!r} is unknown; choose one of {', '.join(names())}")
    study: Study = importlib.import_module(f"studies.{name}").STUDY
    return study


def label(dataset: str) -> str:
    """The data set of a verdict as text for readers, such as ``MNIST, early stopping``."""
    names = sorted(reports.DATASETS, key=len, reverse=True)
    return re.sub("|".join(names), lambda found: reports.DATASETS[found[0]], dataset)


@dataclass(frozen=True)
class Chapter:
    """A study as its chapter shows it: records and verdicts of one scale, from :func:`open_chapter`.

    ``verdicts`` holds for each data set, as text, its verdicts; the paper's own first. ``shown`` are those that the
    boxes beside the figures have.
    """

    study: Study
    scale: str
    results: Results
    verdicts: dict[str, list[Verdict]]
    shown: list[str] = field(default_factory=list)

    @property
    def datasets(self) -> list[str]:
        """Names of the images that the cells are about, the paper's own first."""
        return list(dict.fromkeys(cell.params["dataset"] for cell in self.results.cells if "dataset" in cell.params))

    def boxes(self, *ids: str) -> HTML:
        """Claims with rule, number, verdict and reason."""
        found = {name: self.verdicts[name] for name in self.shown}
        return HTML("".join(reports.verdict_box(found, id, links=_links(id)) for id in ids))

    def lines(self, *ids: str) -> HTML:
        """Claims in a table, on the data sets of the boxes; without ids all claims on all data sets."""
        found = {name: [row for row in rows if row.id in ids or not ids] for name, rows in self.verdicts.items()}
        shown = {name: found[name] for name in (self.shown if ids else found)}
        return HTML(reports.verdict_table(shown, linked=not ids))

    def remark(self, text: str | Callable[[], str]) -> Markdown:
        """What we make of the full-size record; at another scale the numbers are others, and nothing is said."""
        if self.scale != "paper":
            return Markdown("*What we make of this is said at paper scale.*")
        return Markdown(minus(text if isinstance(text, str) else text()))

    def origin(self) -> HTML:
        """Where the numbers come from, in a few sentences."""
        committed = self.results.folder == records.results_folder()
        data = " and ".join(dict.fromkeys(name.partition(",")[0] for name in self.verdicts))
        return HTML(reports.origin_box(self.results, self.scale, data, committed=committed))

    def origin_table(self) -> HTML:
        """Data, commits, machines and versions behind the numbers."""
        return HTML(reports.origin_table(self.results))

    def durations(self) -> HTML:
        """Processor time and seeds of every stage."""
        return HTML(reports.durations(self.results, self.study.stages))

    def glue(self) -> None:
        """Make counts, verdicts, values and the name of the data set available to text and captions."""
        _glue(next(iter(self.verdicts.values())), label(self.datasets[0]), caption=True)


def glue_record(study: Study) -> None:
    """As :meth:`Chapter.glue`, at paper scale and for text alone: for what a chapter says before it computes."""
    results = study.results()
    dataset = next(cell.params["dataset"] for cell in results.cells if "dataset" in cell.params)
    (rows,) = study.judge(results=results, dataset=next(iter(study.evidence(results, "paper")))).values()
    _glue(rows, label(dataset), caption=False)


def _glue(rows: Sequence[Verdict], dataset: str, *, caption: bool) -> None:
    counts = Counter(row.verdict for row in rows)
    keys = ("holds", "in-part", "not", "undecided", "untestable")
    found = {"n-claims": counts.total(), "dataset": dataset}
    found |= {f"n-{key}": counts[verdict] for key, verdict in zip(keys, claims.VERDICTS, strict=True)}
    for row in rows:
        found |= {f"{row.id}-verdict": row.verdict, f"{row.id}-value": row.value}
    for name, value in found.items():
        glue(name, value, caption=caption)


def _links(id: str) -> dict[str, str]:
    """From a claim on the page of its chapter to what the scoreboard has of it."""
    place = f"../book/claims.html#{reports.anchor(id)}"
    return {"on the scoreboard": place, "the rule's code": f"{place}-rule", "the record's cells": f"{place}-record"}


def open_chapter(study: Study, scale: str, *, recompute: bool = False, columns: int | None = None) -> Chapter:
    """A study at a scale: from the committed record, or computed now.

    At scale ``quick`` everything is computed now, into a folder that is removed at the end. With ``recompute`` the
    paper-scale record is computed anew, in the cache folder, where an interrupted run goes on.

    Parameters
    ----------
    study : Study
    scale : {"quick", "paper"}
    recompute : bool
        Compute the paper-scale record instead of reading it.
    columns : int, optional
        How many data sets the boxes beside figures show; all without it.

    Raises
    ------
    ValueError
        An unknown scale.
    SweepError
        Some cells could not be computed.
    """
    results = study.results(scale)
    if scale == "quick" or recompute:
        progress = FOR_PAGE not in os.environ
        if scale == "quick":  # too short to be worth other processes
            results = study.results(scale, Path(_scratch()))
            sweeps.run(results.cells, results.folder, progress=progress)
        else:
            results = study.results(scale, data.cache_folder() / "recomputed")
            with Processes(os.cpu_count() or 1) as executor:
                sweeps.run(results.cells, results.folder, executor=executor, progress=progress, unchecked="replace")
    found = {label(name): rows for name, rows in study.judge(scale, results=results).items()}
    return Chapter(study, scale, results, found, list(found)[:columns])


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _scratch() -> str:
    """A folder that is removed when this process ends."""
    _folders.append(tempfile.TemporaryDirectory())
    return _folders[-1].name
