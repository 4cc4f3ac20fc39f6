"""Time two ways to the same result side by side, and keep the figures.

With ``--device cuda`` a benchmark whose calls take tensors also times them there (`device_rows`).
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from companion.records import provenance


class Row(NamedTuple):
    """One comparison: the usual call, ours, and how many times less ours should need."""

    what: str
    unit: str
    reference: float
    ours: float
    target: float


def cpu_seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    """Least CPU time of several calls, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def device() -> torch.device | None:
    """What ``--device`` names, or None."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", type=torch.device)
    chosen: torch.device | None = parser.parse_args().device
    return chosen


def device_rows(calls: Mapping[str, Callable[[torch.device], Callable[[], Any]]]) -> list[Row]:
    """The same calls with tensors of the CPU and of what ``--device`` names, without which there are no rows.

    Each of ``calls`` puts what a call needs on a device and returns the call. Seconds are by the clock, the least of
    three calls after a first one.
    """
    there = device()
    if there is None:
        return []
    rows = []
    for what, prepare in calls.items():
        here, on_it = (_clock_seconds(prepare(place), place) for place in (torch.device("cpu"), there))
        rows.append(Row(f"{what}: CPU beside {_name(there)}", "s", here, on_it, 1))
    return rows


def _name(there: torch.device) -> str:
    return torch.cuda.get_device_name(there) if there.type == "cuda" else str(there)


def _clock_seconds(call: Callable[[], Any], place: torch.device) -> float:
    times = []
    for _ in range(4):
        start = time.perf_counter()
        call()
        if place.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def extra_megabytes(call: Callable[[], Any]) -> float:
    """Largest memory that numpy arrays made during the call occupy at one time, in MB (10^6 bytes)."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def report(name: str, rows: list[Row], **facts: Any) -> None:
    """Print the comparisons and write them, with versions, machine and date, to ``results/<name>.json``."""
    width = max(len(row.what) for row in rows)
    print(f"{'':{width}}  {'reference':>10}  {'ours':>10}        {'ratio':>7}  {'target':>7}")
    for row in rows:
        ratio = row.reference / row.ours
        verdict = "" if ratio >= row.target else "  MISSED"
        numbers = f"{row.reference:10.3f}  {row.ours:10.3f} {row.unit:5} {ratio:7.1f}x {row.target:7.1f}x{verdict}"
        print(f"{row.what:{width}}  {numbers}")
    for key, value in facts.items():
        print(f"{key}: {value}")
    content = {"rows": [row._asdict() | {"ratio": row.reference / row.ours} for row in rows]}
    file = Path(__file__).parent / "results" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**content, "facts": facts, "provenance": provenance()}, indent=1) + "\n")
