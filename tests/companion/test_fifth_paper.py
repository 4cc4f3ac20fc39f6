"""A fifth paper costs a study, a notebook and a line in _toc.yml: from its first run to a page of the book."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from conftest import ROOT

FIFTH = ROOT / "tests" / "fifth_paper"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository without its papers and their records, and with the fifth."""
    root = tmp_path_factory.mktemp("fifth")
    for name in ("companion", "modutils", "book", "benchmarks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "_config.yml", root)
    shutil.copytree(FIFTH, root, dirs_exist_ok=True)
    shutil.copy(ROOT / "studies" / "__init__.py", root / "studies")
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/claims\nchapters:\n  - file: notebooks/cliques\n  - file: book/references\n"
    )
    return root


def _command(tree: Path, *words: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).with_name(words[0])), *words[1:]],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_from_run_through_claims_to_a_page(tree: Path) -> None:
    assert "12 cells computed, 0 were there" in _command(tree, "python", "-m", "companion", "run")
    assert len(list((tree / "results" / "cliques" / "search").glob("*.json"))) == 12
    (row,) = json.loads(_command(tree, "python", "-m", "companion", "status", "--format", "json"))
    assert row == {
        "study": "cliques",
        "stage": "search",
        "planned": 12,
        "recorded": 12,
        "state": "current",
        "definitions": [],
    }
    (claim,) = json.loads(_command(tree, "python", "-m", "companion", "claims", "--format", "json"))
    assert (claim["id"], claim["verdict"], claim["stages"], claim["state"]) == ("X1", "holds", ["search"], "current")
    assert claim["n"] == {"search": {"recorded": 12, "planned": 12}}
    _command(tree, "python", "-m", "companion", "execute")
    _command(tree, "jupyter-book", "build", "--all", ".", "-W", "-n", "--keep-going")
    page = BeautifulSoup((tree / "_build" / "html" / "notebooks" / "cliques.html").read_text(), "html.parser")
    assert "In short: of 1 claim, 1 holds." in page.get_text()
    assert "Claim X1: Cliques are found <as they are>" in page.get_text()
    scoreboard = BeautifulSoup((tree / "_build" / "html" / "book" / "claims.html").read_text(), "html.parser")
    assert "1 claims: 1 holds." in scoreboard.get_text()
