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
#: What a page must show as it is, wherever a claim or a parameter says it.
HOSTILE = (
    r"<script>alert(1)</script> | `a` ``b`` $c^2$ {glue}`n-claims` {{ title }} [d](e) ![f](g) **h** _i_ &lt; \ <i>j</i>"
)
CLAIM = f"""
HOSTILE = {HOSTILE!r}


@CLAIMS.add("X2", HOSTILE, published=HOSTILE, rule=HOSTILE)
def _x2(of: Results) -> Finding:
    return Finding("holds", HOSTILE, HOSTILE, HOSTILE)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository without its papers and their records, and with the fifth."""
    root = tmp_path_factory.mktemp("fifth")
    for name in ("companion", "modutils", "book", "benchmarks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "_config.yml", root)
    shutil.copytree(FIFTH, root, dirs_exist_ok=True)
    shutil.copy(ROOT / "studies" / "__init__.py", root / "studies")
    pages = ("notebooks/cliques", "book/status", "book/references")
    toc = "".join(f"  - file: {page}\n" for page in pages)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/claims\nchapters:\n{toc}")
    _change(root / "studies" / "cliques" / "claims.py", '{"planted": ', "{HOSTILE: ", end=CLAIM)
    _change(root / "notebooks" / "cliques.py", "recompute = False\n", f"recompute = False\nnote = {HOSTILE!r}\n")
    _change(root / "notebooks" / "cliques.py", "holds.\n", "holds: {glue:text}`X2-value`.\n")
    _change(root / "notebooks" / "cliques.py", 'chapter.boxes("X1")', 'chapter.boxes("X1", "X2")')
    return root


def _change(path: Path, old: str, new: str, end: str = "") -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new) + end)


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
    tried = "null: holds 0 of 20, does not hold 20; planted: holds 20 of 20"
    assert _command(tree, "python", "-m", "companion", "trials") == f"X1   {tried}\n"
    claim, hostile = json.loads(_command(tree, "python", "-m", "companion", "claims", "--format", "json"))
    assert (claim["id"], claim["verdict"], claim["stages"], claim["state"]) == ("X1", "holds", ["search"], "current")
    assert claim["n"] == {"search": {"recorded": 12, "planned": 12}}
    assert hostile["statement"] == hostile["dataset"] == HOSTILE
    _command(tree, "python", "-m", "companion", "execute")
    _command(tree, "jupyter-book", "build", "--all", ".", "-W", "-n", "--keep-going")
    page, chapter = _page(tree, "notebooks/cliques")
    assert "In short: of 2 claim, 2 holds: " + HOSTILE in chapter
    assert "X1: Cliques are found <as they are>" in chapter
    assert f"X2: {HOSTILE}" in chapter
    for part in (f"{HOSTILE}: ● holds {HOSTILE} ({HOSTILE})", f"Rule: {HOSTILE}", f"Scale “paper” on {HOSTILE}, "):
        assert part in chapter, part
    scores, scoreboard = _page(tree, "book/claims")
    assert "2 claims: 2 holds." in scoreboard
    assert "Tried: on a null (many edges in both) holds 0 of 20, does not hold 20; on a planted positive" in scoreboard
    cells = [" ".join(cell.get_text(" ").split()) for cell in scores.select("tbody tr:nth-of-type(2) td")]
    assert cells == [f"X2 {HOSTILE}", HOSTILE, "● holds", f"{HOSTILE} {HOSTILE}", "rule record"]
    assert "def _x2(of: Results)" in scoreboard
    assert "results/cliques/search, 12 of 12 cells" in scoreboard
    for name in ("Published: ", "Rule: ", "X2: "):
        assert f"{name}{HOSTILE}" in scoreboard, name
    status, how = _page(tree, "book/status")
    assert f"note = {HOSTILE!r}" in how
    for soup in (page, scores, status):
        assert not [script for script in soup.select("script") if "alert(1)" in script.get_text()]


def _page(tree: Path, name: str) -> tuple[BeautifulSoup, str]:
    soup = BeautifulSoup((tree / "_build" / "html" / f"{name}.html").read_text(), "html.parser")
    article = soup.select_one("article")
    assert article is not None
    return soup, " ".join(article.get_text().split())
