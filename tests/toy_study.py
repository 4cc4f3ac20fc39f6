"""A small study, for tests of records, witnesses and sweeps: in a folder of its own, or in a repository of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CELLS = '''
"""A study whose cells take no time, or as long as asked."""
import os
import time
from pathlib import Path
import numpy as np
import torch
from companion import cache
from companion.records import Cell
from modutils import data, networks, statistics, training

FACTOR = 2

def double(*, number, seed):
    return {"value": FACTOR * number + seed, "list": _list(number), "array": np.arange(4.0) * number}

def _list(number):
    """Not reached by `slow`."""
    return [number, str(number), None, True]

def trained(*, seed):
    """As if a network was trained, but for the names that begin with data."""
    return {"accuracy": 0.9 + seed / 100, "name": "text", "nothing": np.array([np.nan, 1.0]),
            "array": np.arange(5.0) + seed,
            "data": {"mean": 0.125, "array": np.arange(3.0), "nothing": np.array([np.nan, 1.0]),
                     "table": np.ones((4, 5))}}

def slow(*, seconds, log, seed):
    with open(log, "a") as file:
        file.write(f"{seed}\\n")
    Path(f"{log}.{os.getpid()}").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not Path(f"{log}.go").exists():
        time.sleep(0.02)
    return {"value": seed, "holm": statistics.holm([0.1])}

def failing(*, seed):
    if seed == 1:
        raise ValueError("seed 1 is not to be had")
    return {"value": seed}

def fitted(*, log, seed):
    """Trains for some seconds, with a checkpoint after every epoch."""
    cell = Cell("toy", "fitted", {"log": log, "seed": seed})
    Path(f"{log}.{os.getpid()}").touch()
    return {"weights": [w.numpy() for w in cache.networks(cell, lambda: {cell: _fit(cell)})]}

def _fit(cell):
    images, labels = data.load("digits", "train")
    with torch.random.fork_rng():
        torch.manual_seed(cell.params["seed"])
        model = networks.mlp([64, 32, 10])
    run = training.Execution(checkpoint=cache.path_of(cell, "checkpoint"))
    optimizer = torch.optim.Adam(model.parameters())
    training.optimize(model, images, labels, optimizer, epochs=40, batch_size=16, execution=run)
    return list(model.state_dict().values())

def reader(*, seed):
    """Has a network that was trained on the training images, and looks at the test images."""
    return {"test": len(data.load("digits", "test")[0]), "network": _network(seed)[0]}

def _network(seed):
    return cache.networks(Cell("toy", "_network", {"seed": seed}), lambda: _train(seed))

def _train(seed):
    images = data.load("digits", "train")[0]
    return {Cell("toy", "_network", {"seed": seed}): [len(images), images[seed, 0, :2]]}

def untrained_values(stage, params, name):
    return name.startswith("data")

def plan(scale):
    if scale == "paper":
        return [Cell("toy", "double", {"number": 3, "seed": seed}) for seed in range(3)]
    if scale.startswith("fitted:"):
        return [Cell("toy", "fitted", {"log": scale.partition(":")[2], "seed": seed}) for seed in range(4)]
    if not scale.startswith("slow:"):
        raise ValueError(f"scale={scale!r} is unknown")
    _, seconds, log = scale.split(":")
    return [Cell("toy", "slow", {"seconds": float(seconds), "log": log, "seed": seed}) for seed in range(6)]
'''

STUDY = """
from companion.study import Study
from studies.toy import cells

STUDY = Study("toy", cells.plan, lambda results, scale: {}, (), stages={})
"""


def write_toy_study(folder: Path) -> Path:
    """Make ``folder`` hold the package ``toy``, and a ``sitecustomize`` that adds it to a new process's studies."""
    package = folder / "toy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STUDY)
    (package / "cells.py").write_text(CELLS)
    (folder / "sitecustomize.py").write_text(f"import studies\nstudies.__path__.append({str(folder)!r})\n")
    return package / "cells.py"


class Repository:
    """A git repository with the library and the toy study alone, whose commands run in processes of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in ("modutils", "companion"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        self.studies = root / "studies"
        self.studies.mkdir()
        shutil.copy(ROOT / "studies" / "__init__.py", self.studies)
        self.cells = write_toy_study(self.studies)
        (self.studies / "sitecustomize.py").unlink()
        self.git("init", "--quiet")
        self.commit()

    def git(self, *words: str) -> str:
        names = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        made = subprocess.run(["git", *names, *words], cwd=self.root, capture_output=True, text=True, check=True)
        return made.stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "Next")
        return self.git("rev-parse", "HEAD")

    def change(self, old: str, new: str) -> None:
        text = self.cells.read_text()
        assert old in text
        later = self.cells.stat().st_mtime + 2  # a source may change twice within a second, which bytecode overlooks
        self.cells.write_text(text.replace(old, new))
        os.utime(self.cells, (later, later))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python -m companion``, with the code and the record of this repository."""
        environment = os.environ | {"PYTHONPATH": str(self.root), "MODUTILS_CACHE": str(self.root / "cache")}
        environment.pop("MODUTILS_RESULTS", None)
        call: Sequence[str] = [sys.executable, "-m", "companion", *arguments]
        return subprocess.run(call, cwd=self.root, env=environment, capture_output=True, text=True)
