"""Write a small study into a folder, for tests of records and sweeps."""

from __future__ import annotations

from pathlib import Path

CELLS = '''
"""A study whose cells take no time, or as long as asked."""
import time
from pathlib import Path
import numpy as np
from modutils import statistics
from companion.records import Cell

FACTOR = 2

def double(*, number, seed):
    return {"value": FACTOR * number + seed, "list": _list(number), "array": np.arange(4.0) * number}

def _list(number):
    """Not reached by `slow`."""
    return [number, str(number), None, True]

def slow(*, seconds, log, seed):
    with open(log, "a") as file:
        file.write(f"{seed}\\n")
    time.sleep(seconds)
    return {"value": seed, "holm": statistics.holm([0.1])}

def failing(*, seed):
    if seed == 1:
        raise ValueError("seed 1 is not to be had")
    return {"value": seed}

def plan(scale):
    if not scale.startswith("slow:"):
        raise ValueError(f"scale={scale!r} is unknown")
    _, seconds, log = scale.split(":")
    return [Cell("toy", "slow", {"seconds": float(seconds), "log": log, "seed": seed}) for seed in range(6)]
'''


def write_toy_study(folder: Path) -> Path:
    """Make ``folder`` hold the package ``toy``, and a ``sitecustomize`` that adds it to a new process's studies."""
    package = folder / "toy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cells.py").write_text(CELLS)
    (folder / "sitecustomize.py").write_text(f"import studies\nstudies.__path__.append({str(folder)!r})\n")
    return package / "cells.py"
