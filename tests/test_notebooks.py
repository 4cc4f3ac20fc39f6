"""Every chapter runs from top to bottom at quick scale, and is a clean Jupytext script."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest

from companion.execution import execute, parameters_of
from conftest import CHAPTERS, executed

chapters = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)


@pytest.mark.slow
@chapters
def test_is_executed_as_the_book_shows_it(chapter: Path) -> None:
    """What the tests of the book look at, one chapter at a time, so that workers share the work."""
    notebook = nbformat.read(executed(chapter), as_version=4)
    assert notebook.metadata["modutils"]["parameters"]["scale"] == "paper"


@pytest.mark.slow
@chapters
def test_runs_at_quick_scale(chapter: Path, tmp_path: Path) -> None:
    output = execute(chapter, tmp_path / "out.ipynb", parameters={"scale": "quick"})
    notebook = nbformat.read(output, as_version=4)
    assert notebook.metadata["modutils"]["parameters"]["scale"] == "quick"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source)
    # The book refuses to show what a cell wrote to standard error, so such a cell would fail there.
    written = [output.text for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert not written


@chapters
def test_has_the_parameters_that_every_chapter_has(chapter: Path) -> None:
    parameters = parameters_of(chapter)
    assert parameters["scale"] == "paper"
    assert parameters["recompute"] is False
    assert isinstance(parameters["seed"], int)


@chapters
def test_saving_in_jupyterlab_changes_nothing(chapter: Path) -> None:
    # The line that opens a cell may differ: Jupytext writes a caption's × as \\u00d7.
    text = chapter.read_text(encoding="utf-8")
    saved = jupytext.writes(jupytext.reads(text, fmt="py:percent"), fmt="py:percent")
    assert _without_headers(saved) == _without_headers(text)


def _without_headers(text: str) -> list[str]:
    return [line.split("{")[0] if line.startswith("# %%") else line for line in text.splitlines()]


def test_there_is_no_other_notebook_source() -> None:
    assert CHAPTERS
    kept = [path for path in CHAPTERS[0].parent.iterdir() if path.name != ".ipynb_checkpoints"]
    assert {path.suffix for path in kept if path.is_file() and path.suffix != ".ipynb"} == {".py"}
