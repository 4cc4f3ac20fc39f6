"""The command line: one line for an expected failure, no traceback, a non-zero exit."""

from __future__ import annotations

from pathlib import Path

import pytest

from companion.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "alchemy"], "study='alchemy' is unknown; choose one of biclustering"),
        (["run", "biclustering", "--scale", "huge"], "scale='huge' is unknown; choose 'quick' or 'paper'"),
        (["run", "biclustering", "--stages", "dream"], "--stages dream: no such stage in biclustering"),
        (["run", "biclustering", "--workers", "0", "--output", "nowhere"], "workers=0 must be at least 1"),
        (["verify", "biclustering", "--cells", "0"], "count=0 must be at least 1"),
        (["claims", "biclustering", "--dataset", "svhn"], "no cell of stage"),
    ],
)
def test_expected_failures_are_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


def test_claims_without_a_record_say_what_to_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODUTILS_RESULTS", str(tmp_path))
    assert main(["claims", "biclustering"]) == 1
    assert "compute it: python -m companion run biclustering" in capsys.readouterr().err


def test_run_computes_then_finds_everything_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["run", "biclustering", "--scale", "quick", "--stages", "pictures", "--output", str(tmp_path)]
    assert main(arguments) == 0
    assert "1 cells computed, 0 were there" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "0 cells computed, 1 were there" in capsys.readouterr().out
