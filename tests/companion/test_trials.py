"""Trials of rules: what is kept is what the rules give now, and every claim has a trial, or a reason for none."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from companion import study, trials
from companion.__main__ import main
from companion.records import RecordError
from companion.trials import Trial

#: The studies of papers, which have claims.
PAPERS = [name for name in study.names() if study.load(name).claims]
LARGE = Trial("zeros", "ones", lambda of, rng, planted: "holds" if planted or rng.random() < of else "undecided", 50)


@pytest.mark.parametrize("name", PAPERS)
def test_every_claim_is_tried_or_says_why_not(name: str) -> None:
    one = study.load(name)
    assert set(one.trials) == {claim.id for claim in one.claims} != set()
    assert all(isinstance(trial, Trial) or trial.endswith(".") for trial in one.trials.values())


@pytest.mark.parametrize("name", PAPERS)
def test_what_is_kept_is_what_the_rules_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first draws of each; the whole run is `python -m companion trials`."""
    one = study.load(name)
    kept = trials.read()
    evidence = next(iter(one.evidence(one.results(), "paper").values()))()
    for id, trial in one.trials.items():
        if isinstance(trial, Trial):
            for own, there in ((trial, kept[id]), (trial.whole, kept[id].get("whole"))):
                if own:
                    assert all(len(there[which]) == own.times for which in ("null", "planted")), id
                assert (own is None) == (there is None), id
            if trial.note is None:  # else it is made from networks that are trained here
                first = trials.outcome(id, trial, evidence, times=2)
                assert all(kept[id][which].startswith(verdicts) for which, verdicts in first.items()), id


def test_no_rule_that_decides_holds_on_its_null() -> None:
    verdicts = {row.id: row.verdict for name in PAPERS for row in next(iter(study.load(name).judge().values()))}
    kept = trials.read()
    both = [(id, own) for id, one in kept.items() for own in (one, one.get("whole")) if own]
    assert {id for id, one in both if one["null"].count("0") > 0.05 * len(one["null"])} == {"B13", "M3"}
    assert verdicts["B13"] == verdicts["M3"] == "not testable"
    assert {id for id, one in both if one["planted"].count("0") < 0.8 * len(one["planted"])} == {"M3"}


def test_the_whole_way_is_run_where_the_issue_asks_for_it() -> None:
    wanted = ["B7", "B10", "U1", "U5", "U15", "U20", "C3", "C5", "M1", "M3", "M6", "M7", "M8", "N14", "N25"]
    assert {id for id, one in trials.read().items() if "whole" in one} == set(wanted)
    every = {id: trial for name in PAPERS for id, trial in study.load(name).trials.items()}
    assert all("the whole way" in trial.null for id in ("B2", "B13") if isinstance(trial := every[id], Trial))


def test_outcomes_are_drawn_alike_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODUTILS_RESULTS", str(tmp_path))
    assert trials.read() == {}
    assert trials.in_words("X1", LARGE, {}) == "not yet: python -m companion trials"
    found = trials.outcome("X1", LARGE, 0.2)
    assert found == trials.outcome("X1", LARGE, 0.2)
    assert found["planted"] == "0" * 50
    assert 3 <= found["null"].count("0") <= 20
    assert found != trials.outcome("X2", LARGE, 0.2)
    trials.write({"X2": found})
    trials.write({"X1": found | {"note": "So."}})
    assert list(trials.read()) == ["X1", "X2"]
    words = trials.in_words("X1", LARGE, trials.read())
    count = found["null"].count("0")
    assert words == (
        f"on a null (zeros) holds {count} of 50, undecided {50 - count}; "
        "on a planted positive (ones) holds 50 of 50. So."
    )
    both = replace(LARGE, whole=replace(LARGE, null="noise"))
    kept = trials.read() | {"X1": found | {"whole": found}}
    assert trials.in_words("X1", both, kept).endswith(
        f"50 of 50. The whole way: on a null (noise) holds {count} of 50, undecided {50 - count}; "
        "on a planted positive (ones) holds 50 of 50."
    )
    trials.write({"X1": found | {"whole": found}})
    assert trials.read() == kept
    assert trials.in_words("X1", "No need.", {}) == "No need."
    assert trials.in_words("X1", None, {}) == ""
    trials.path().write_text(json.dumps({"X1": {"null": "07", "planted": "0"}}))
    with pytest.raises(RecordError, match=r"trials\.json has no outcomes of trials"):
        trials.read()


def test_the_command_runs_the_trials_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = trials.read()
    monkeypatch.setattr(trials, "path", lambda: tmp_path / "trials.json")
    monkeypatch.setattr(trials, "outcome", partial(trials.outcome, times=1))
    assert main(["trials", "neural_sculpting"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("N14  null: holds 0 of 1")
    assert second.startswith("     null: holds 0 of 1")
    assert list(trials.read()) == ["N14", "N25"]
    for id, found in trials.read().items():  # the whole way gives what is kept
        assert all(kept[id]["whole"][which].startswith(found["whole"][which]) for which in ("null", "planted")), id


def test_a_verdict_says_how_its_rule_was_tried() -> None:
    rows = {row.id: row for row in next(iter(study.load("upstream_downstream").judge().values()))}
    assert rows["U1"].tried.startswith("on a null (")
    assert "holds 200 of 200" in rows["U1"].tried
    assert "The whole way: on a null (made networks" in rows["U1"].tried
    assert "On untrained networks it holds" in rows["U15"].tried
    assert rows["U24"].tried == "no: it cannot fail."
    assert np.unique([bool(row.tried) for row in rows.values()]).tolist() == [True]
