"""The workflows: every action is known by its commit, who may write is one job, and packages come from one index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _jobs(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return jobs


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(path: Path) -> None:
    used = [step["uses"] for job in _jobs(path).values() for step in job["steps"] if "uses" in step]
    pinned = re.findall(r"uses: ([\w-]+/[\w-]+@[0-9a-f]{40}) # v\d+\.\d+\.\d+$", path.read_text(), re.MULTILINE)
    assert used == pinned
    assert used


def test_only_the_job_that_deploys_may_write() -> None:
    may: dict[tuple[str, str], dict[str, str]] = {}
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
        may |= {(path.stem, name): job["permissions"] for name, job in _jobs(path).items() if "permissions" in job}
    assert may == {("book", "deploy"): {"pages": "write", "id-token": "write"}}
    steps = _jobs(ROOT / ".github" / "workflows" / "book.yml")["deploy"]["steps"]
    assert [step["uses"].partition("@")[0] for step in steps] == ["actions/deploy-pages"]


def test_no_job_keeps_the_token_where_what_it_runs_can_read_it() -> None:
    steps = [step for path in WORKFLOWS for job in _jobs(path).values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * 4


def test_no_second_index_can_shadow_a_name() -> None:
    files = [*WORKFLOWS, ROOT / "Makefile", ROOT / "constraints.txt", ROOT / "environment.yml", ROOT / "pyproject.toml"]
    for path in files:
        settings = re.sub("#.*", "", path.read_text())
        assert not re.search("extra.index", settings, re.IGNORECASE), path.name
