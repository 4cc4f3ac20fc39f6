"""The book, built once for all tests of its HTML."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from companion.execution import execute

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("*.py"))
# An example of a study, for one test and for CONTRIBUTING.md; imported in a tree of its own only.
collect_ignore = ["fifth_paper"]


def laid_out(draw: Callable[[], Figure]) -> Figure:
    """The figure, after a layout in which every warning counts as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = draw()
        made.draw_without_rendering()
    assert made.get_facecolor() == (1, 1, 1, 1)
    return made


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the HTML of the whole book, built from a copy with every warning fatal, as ``make book`` does."""
    root = tmp_path_factory.mktemp("book")
    for name in ("book", "notebooks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, root)
    for chapter in CHAPTERS:
        execute(chapter, root / "_executed" / f"{chapter.stem}.ipynb")
    jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
    command = [jupyter_book, "build", "--all", ".", "-W", "-n", "--keep-going"]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]
    return root / "_build" / "html"
