"""The record as arrays over runs: what the claims and figures of the chapter look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from companion.records import RecordError, Results
from studies.upstream_downstream import cells
from studies.upstream_downstream.cells import Setting

#: Networks below this test accuracy are left out, as in the paper.
LEAST_ACCURACY = 0.8
DOWNSTREAM, UPSTREAM = slice(0, 4), slice(4, 8)  # in the order of ``cells.MEASURES``


@dataclass(frozen=True)
class Runs:
    """All runs of one data set, shape, grid and regime that have a record.

    Parameters
    ----------
    dataset : str
        Name of the images.
    params : mapping
        ``hidden``, ``grid``, ``regime`` and ``epochs``, as the stages take them.
    settings : list of Setting
        S networks of a run.
    seeds : list of int
        R runs.
    planned : int
        Runs that the plan has.
    values : mapping
        What the stages ``train`` and ``modules`` recorded, by name, each with the shape (R, S, …).
    fresh : mapping
        The same of n untrained networks, each (n, …).
    """

    dataset: str
    params: Mapping[str, Any]
    settings: list[Setting]
    seeds: list[int]
    planned: int
    values: Mapping[str, np.ndarray]
    fresh: Mapping[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        """A recorded quantity of all networks, (R, S, …)."""
        return self.values[name]

    @property
    def kept(self) -> np.ndarray:
        """(R, S): networks that did not diverge and reach 80 % test accuracy; the others are left out everywhere."""
        return (self["test_accuracy"] >= LEAST_ACCURACY) & ~self["diverged"].astype(bool)

    def of(self, name: str) -> np.ndarray:
        """A recorded quantity as float64 with NaN for the networks that are left out."""
        values = np.array(self[name], dtype=np.float64)
        values[~self.kept] = np.nan
        return values

    def places(self, kind: str) -> list[int]:
        """Columns of the networks on the curve of one regulariser, by rising strength.

        The curve of dropout begins at p = 0 with the network of the weakest L2, as in the paper.
        """
        own = [index for index, setting in enumerate(self.settings) if setting.kind == kind]
        own.sort(key=lambda index: self.settings[index].strength)
        return [self.plain, *own] if kind == "dropout" else own

    def strengths(self, kind: str) -> np.ndarray:
        """Strengths of ``places(kind)``; 0 for the network without dropout."""
        found = [self.settings[i].strength if self.settings[i].kind == kind else 0.0 for i in self.places(kind)]
        return np.array(found)

    def well_kept(self, kind: str) -> list[int]:
        """Columns of the settings of which at least half of the runs are left, and two if there are as many."""
        enough = max(min(2, len(self.seeds)), len(self.seeds) / 2)
        return [place for place in self.places(kind) if self.kept[:, place].sum() >= enough]

    def axis(self, kind: str) -> np.ndarray:
        """Where the paper's figures put ``strengths(kind)`` on their common axis: dropout itself, else log in [0, 1].

        The log position is inside the range of all strengths, also those whose networks are left out.
        """
        strengths = self.strengths(kind)
        if kind == "dropout":
            return strengths
        logs = np.log10(strengths)
        return (logs - logs.min()) / (logs.max() - logs.min())

    @property
    def plain(self) -> int:
        """Column of the least regularised network: L2 at 1e-5, no L1, no dropout."""
        return min(
            (index for index, setting in enumerate(self.settings) if setting.kind == "l2"),
            key=lambda index: self.settings[index].strength,
        )


def load(results: Results, dataset: str, params: Mapping[str, Any]) -> Runs:
    """Read the runs of one regime that are recorded so far.

    Raises
    ------
    RecordError
        The plan has no such run, none is recorded yet, or a record is invalid.
    """
    where = {"dataset": dataset, **params}
    by_stage = {
        stage: {cell.params["seed"]: record for cell, record in results.recorded(stage, **where)}
        for stage in ("train", "modules")
    }
    planned = [cell.params["seed"] for cell in results.planned("modules", **where)]
    seeds = [seed for seed in planned if all(seed in found for found in by_stage.values())]
    if not seeds:
        raise RecordError(f"no run of {dataset} with {params} is recorded in {results.folder}")
    values: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        for found in by_stage.values():
            for name, value in found[seed].values.items():
                if isinstance(value, np.ndarray) and not name.endswith("losses"):
                    values.setdefault(name, []).append(value)
    fresh: dict[str, list[np.ndarray]] = {}
    for _, record in results.recorded("untrained", dataset=dataset, hidden=params["hidden"]):
        for name, value in record.values.items():
            fresh.setdefault(name, []).append(value)
    return Runs(
        dataset,
        params,
        cells.settings(params["grid"]),
        seeds,
        len(planned),
        {name: np.stack(value) for name, value in values.items()},
        {name: np.concatenate(value) for name, value in fresh.items()},
    )


#: What stage ``follow`` records of every network after every number of epochs.
ALONG_TRAINING = ("test_accuracy", "sparsity", "q", "unused", "effective_number", "similarity", "chance")


def followed(results: Results, first: Runs) -> dict[int, Runs]:
    """Runs of the same data set, shape and regime after each number of epochs at which stage ``follow`` looked.

    They have some of the settings, and `ALONG_TRAINING` alone. Nothing where the stage has no such record, and of runs
    that are one of these.

    Raises
    ------
    RecordError
        A record is invalid.
    """
    where = {"dataset": first.dataset} | {name: first.params[name] for name in ("hidden", "regime")}
    found = results.recorded("follow", **where)
    if not found:
        return {}
    params = {name: value for name, value in found[0][0].params.items() if name not in ("dataset", "seed")}
    if first.params["grid"] == params["grid"]:
        return {}
    diverged = np.stack([record.values["diverged"] for _, record in found])
    return {
        int(epochs): Runs(
            first.dataset,
            params | {"epochs": int(epochs)},
            cells.settings(params["grid"]),
            [cell.params["seed"] for cell, _ in found],
            len(results.planned("follow", **where)),
            {name: np.stack([record.values[name][place] for _, record in found]) for name in ALONG_TRAINING}
            | {"diverged": diverged},
            first.fresh,
        )
        for place, epochs in enumerate(found[0][1].values["epochs"])
    }


def main_params(scale: str) -> dict[str, Any]:
    """The chapter's main regime: what its figures show unless they say otherwise."""
    return cells.QUICK if scale == "quick" else cells.FIXED


def early_params(scale: str) -> dict[str, Any]:
    """The second regime: early stopping."""
    return cells.QUICK_EARLY if scale == "quick" else cells.EARLY
