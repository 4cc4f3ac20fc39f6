"""The workflows: actions known by commits, few jobs that may write, pages that wait for tests, one package index."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT

WORKFLOW = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(WORKFLOW.glob("*.yml"))


def _jobs(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return jobs


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(path: Path) -> None:
    used = [step["uses"] for job in _jobs(path).values() for step in job["steps"] if "uses" in step]
    assert used
    pinned = re.findall(r"uses: ([\w-]+/[\w-]+@[0-9a-f]{40}) # v\d+\.\d+\.\d+$", path.read_text(), re.MULTILINE)
    assert used == pinned


def test_jobs_that_may_write_run_nothing_of_ours() -> None:
    may: dict[tuple[str, str], dict[str, str]] = {}
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
        may |= {(path.stem, name): job["permissions"] for name, job in _jobs(path).items() if "permissions" in job}
    assert may == {
        ("test", "deploy"): {"pages": "write", "id-token": "write"},
        ("scheduled", "report"): {"issues": "write"},
    }
    steps = _jobs(WORKFLOW / "test.yml")["deploy"]["steps"]
    assert [step["uses"].partition("@")[0] for step in steps] == ["actions/deploy-pages"]
    [step] = _jobs(WORKFLOW / "scheduled.yml")["report"]["steps"]
    assert set(step) == {"run"}
    assert "${{" not in step["run"]  # what comes from outside is no part of the script


def test_pages_wait_for_the_tests_and_what_was_built_is_kept_when_they_fail() -> None:
    jobs = _jobs(WORKFLOW / "test.yml")
    assert jobs["deploy"]["needs"] == "test"
    steps = jobs["test"]["steps"]
    place = [step.get("run") for step in steps].index(".ci/run")
    kept = next(step for step in steps[place:] if step.get("uses", "").startswith("actions/upload-artifact@"))
    assert kept["if"] == "always()"
    assert kept["with"]["path"].split() == ["_executed", "_build/html"]


def test_a_scheduled_run_that_fails_is_reported() -> None:
    jobs = _jobs(WORKFLOW / "scheduled.yml")
    report = jobs.pop("report")
    assert report["needs"] == list(jobs)
    assert report["if"].startswith("failure()")


@pytest.mark.parametrize("existing", ["", "7"])
def test_the_report_is_one_issue_as_long_as_it_is_open(existing: str, tmp_path: Path) -> None:
    [step] = _jobs(WORKFLOW / "scheduled.yml")["report"]["steps"]
    log = tmp_path / "log"
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\necho "$1 $2 $3" >> {log}\n[ "$2" != list ] || echo "{existing}"\n')
    gh.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TITLE": "T", "WHERE": "here", "WHAT": "what"}
    subprocess.run(["bash", "-e", "-c", step["run"]], check=True, env=env)
    done = "issue comment 7" if existing else "issue create --title"
    assert log.read_text().splitlines() == ["issue list --state", done]


def test_no_job_keeps_the_token_where_what_it_runs_can_read_it() -> None:
    steps = [step for path in WORKFLOWS for job in _jobs(path).values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * 3


def test_no_second_index_can_shadow_a_name() -> None:
    files = [*WORKFLOWS, ROOT / "Makefile", ROOT / "constraints.txt", ROOT / "environment.yml", ROOT / "pyproject.toml"]
    for path in files:
        settings = re.sub("#.*", "", path.read_text())
        assert not re.search("extra.index", settings, re.IGNORECASE), path.name
