"""Every command of the how-to page runs as it is printed, and what the repository says of itself agrees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import modutils
from conftest import ROOT

TEXT = (ROOT / "book" / "howto.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def first_line(block: tuple[str, str]) -> str:
    lines = [line for line in block[1].splitlines() if line and not line.startswith(("import", "from"))]
    return re.sub(r"\W+", "-", lines[0].removeprefix(".venv/bin/"))[:40]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The repository as its links, so that what a command writes into its root goes away; results are copied links."""
    for path in ROOT.iterdir():
        if path.name not in ("results", "_executed", "_build", ".venv", ".git"):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "results").mkdir()
    for path in (ROOT / "results").iterdir():
        (tmp_path / "results" / path.name).symlink_to(path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("block", BLOCKS, ids=first_line)
def test_a_command_runs_as_it_is_printed(block: tuple[str, str], root: Path) -> None:
    kind, text = block
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MODUTILS_RESULTS": str(root / "results")}
    words = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    # What the text says is written is there.
    for output in re.findall(r"--output (\w[\w.]*)", text):
        assert (root / output).exists()
    if "companion crate" in text:
        assert (root / "results" / "ro-crate-metadata.json").is_file()


def test_there_are_commands_for_every_recipe() -> None:
    assert len(BLOCKS) >= 10
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    wanted = ("Rerun a chapter", "Change the data", "GPU", "cluster", "CI", "Add a paper", "Cite")
    assert [word for word in wanted if not any(word in heading for heading in headings)] == []


def test_what_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", TEXT)) <= targets
    for name in ("CONTRIBUTING.md", "tests/fifth_paper", ".ci/run", ".github/workflows", "CITATION.cff"):
        assert f"`{name}" in TEXT
        assert (ROOT / name).exists()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_descriptions_for_archives_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    meta = json.loads((ROOT / "codemeta.json").read_text(encoding="utf-8"))
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {citation["version"], meta["version"], zenodo["version"]} == {modutils.__version__}
    assert {citation["title"], meta["name"], zenodo["title"]} == {"Modules in Neural Networks"}
    assert citation["license"] == zenodo["license"] == project["license"] == meta["license"].rpartition("/")[2]
    assert citation["abstract"] == meta["description"] == zenodo["description"]
    assert citation["repository-code"] == meta["codeRepository"] == project["urls"]["Repository"]
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    urls = [paper["url"] for paper in citation["references"]]
    assert urls == [paper["@id"] for paper in meta["referencePublication"]]
    assert [url for url in urls if f"{{{url}}}" not in bibliography] == []
    assert [one["identifier"].rpartition(":")[2] for one in zenodo["related_identifiers"]] == [
        url.rpartition(":")[2] if "openreview" in url else url.rpartition("/")[2] for url in urls
    ]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {modutils.__version__}" in changes
