"""The nine partitions in one picture and in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from companion import reports
from companion.records import Record
from modutils.plotting import COLORS, SEQUENTIAL, WIDTH, figure, heat_table
from modutils.statistics import fisher, mean_interval

WAYS = ("co-clustering", "modularity", "normalised cut")
DESCRIPTIONS = ("attribution", "similarity", "correlation")


@figure
def partitions(values: Mapping[str, Any]) -> Figure:
    """Each description as a graph of the channels, sorted by what each way of grouping found in it."""
    sheet, axes = plt.subplots(3, 3, figsize=(WIDTH, WIDTH * 1.05))
    for row, description in zip(axes, DESCRIPTIONS, strict=True):
        graph = np.array(values["graphs"][description], dtype=float)
        np.fill_diagonal(graph, 0)
        for ax, way in zip(row, WAYS, strict=True):
            labels = values["partitions"][f"{description}, {way}"]["labels"]
            order = np.argsort(labels, kind="stable")
            ax.imshow(graph[np.ix_(order, order)], cmap=SEQUENTIAL, vmin=0, vmax=np.quantile(graph, 0.98))
            start = -0.5
            for size in np.unique(labels, return_counts=True)[1]:
                box = plt.Rectangle((start, start), size, size, fill=False, color=COLORS[1], linewidth=1.4)
                ax.add_patch(box)
                start += size
            ax.set_xticks([])
            ax.set_yticks([])
            if description == DESCRIPTIONS[0]:
                ax.set_title(way)
        row[0].set_ylabel(f"{description}\nchannels, sorted")
    return sheet


def table(runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each partition: its modules, and how they compare with random sets of as many channels.

    Of several networks, means; the p values of all modules of all networks are joined by Fisher's method.
    """
    rows = {}
    for name in runs[0]["partitions"]:
        found = [run["partitions"][name] for run in runs]
        row: dict[Any, float] = {"modules": np.mean([one["modules"] for one in found])}
        for test, unit in (("lost", 100), ("selectivity", 100), ("entropy", 1)):
            for column in ("value", "null"):
                row[test, column] = unit * np.mean(np.concatenate([one[test][column] for one in found]))
            row[test, "p"] = fisher(np.concatenate([one[test]["p"] for one in found]))
        rows[name] = row
    frame = pd.DataFrame(rows).T
    names = {"lost": "accuracy lost (%)", "selectivity": "most − least over classes (%)", "entropy": "entropy (nats)"}
    words = {"value": "modules", "null": "random sets", "p": "p"}
    frame.columns = pd.MultiIndex.from_tuples(
        [("", "number") if key == "modules" else (names[key[0]], words[key[1]]) for key in frame.columns]
    )
    return frame


def shown(frame: pd.DataFrame) -> str:
    """The table as HTML, with a column for each test."""
    tests = list(dict.fromkeys(test for test, _ in frame.columns if test))

    def written(row: pd.Series, test: str) -> str:
        form = ".2f" if test.startswith("entropy") else ".1f"
        p = row[test, "p"]
        numbers = f"{row[test, 'modules']:{form}} (random {row[test, 'random sets']:{form}})"
        return f"{numbers}, p {f'= {p:.3f}' if p >= 0.0005 else '< 0.001'}"

    rows = [
        (name, f"{row['', 'number']:.1f}", *(written(row, test) for test in tests)) for name, row in frame.iterrows()
    ]
    return reports.table(("partition", "modules", *tests), rows)


def beyond_chance(frame: pd.DataFrame, test: str) -> int:
    """Partitions whose modules differ from random sets by a test whose name begins so, at 0.05 over all tests."""
    (p,) = [name for name in frame.columns if name[0].startswith(test) and name[1] == "p"]
    return int((frame[p] < 0.05 / (3 * len(frame))).sum())


@figure
def agreement(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """How alike the nine partitions are, as a mean over networks."""
    names = [f"{description}, {way}" for description in DESCRIPTIONS for way in WAYS]
    short = [f"{name}, {way.split()[-1]}" for name in ("attr.", "sim.", "corr.") for way in WAYS]
    sheet, ax = plt.subplots(figsize=(WIDTH, 4.2))
    heat_table(ax, np.mean([run["agreement"] for run in runs], axis=0), names, short, low=0, high=1, fontsize=8)
    plt.setp(ax.get_xticklabels(), rotation=60, ha="left", rotation_mode="anchor")
    return sheet


def origin(record: Record) -> str:
    """Which images a network was trained and tested on, and how many of them."""
    files = record.provenance["data"]
    name = "CIFAR-10" if any(file.startswith("cifar10") for file in files) else "digits"
    if any(file.startswith("cifar10-subset") for file in files):
        name = "a class-balanced subset of CIFAR-10"
    return f"{name}, {record.values['train']} images to train on and {record.values['test']} to test"


def accuracy(runs: Sequence[Mapping[str, Any]]) -> str:
    """Test accuracy in per cent with its range over networks."""
    found = 100 * np.array([run["accuracy"] for run in runs])
    if len(found) == 1:
        return f"{found[0]:.1f} %"
    interval = mean_interval(found)
    return f"{interval.mean:.1f} % [{interval.low:.1f}, {interval.high:.1f}]"
