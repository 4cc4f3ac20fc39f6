"""The benchmarks' way to a second device; what they measure is not for tests."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks._common import device, device_rows

ROOT = Path(__file__).parents[1]


def test_a_second_device_adds_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[torch.device] = []
    calls = {"nothing": lambda place: lambda: placed.append(place)}
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    assert device() is None
    assert device_rows(calls) == []
    assert not placed
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--device", "cpu"])
    (row,) = device_rows(calls)
    assert row.what == "nothing: CPU beside cpu"
    assert set(placed) == {torch.device("cpu")}
    assert len(placed) == 8
    assert row.reference > 0 < row.ours


@pytest.mark.parametrize(("given", "passed"), [([], False), (["DEVICE=cuda"], True)])
def test_make_bench_passes_the_device_on(given: list[str], passed: bool) -> None:
    said = subprocess.run(["make", "-n", "bench", *given], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ("--device cuda" in said) == passed
