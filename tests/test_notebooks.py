"""Every chapter runs from top to bottom at quick scale, and is a clean Jupytext script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import pytest
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell
from jupyter_client.manager import start_new_kernel

from companion import reading
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


@pytest.fixture(scope="module")
def kernel() -> Iterator[dict[str, dict[str, str]]]:
    """What JupyterLab writes into a notebook when a kernel has started: its name, and what it says of itself."""
    manager, client = start_new_kernel(kernel_name="python3", extra_arguments=["--IPKernelApp.ip=127.0.0.1"])
    try:
        spec = manager.kernel_spec
        assert spec is not None
        client.kernel_info()
        reply = client.get_shell_msg(timeout=60)["content"]
        yield {
            "kernelspec": {"display_name": spec.display_name, "language": spec.language, "name": "python3"},
            "language_info": reply["language_info"],
        }
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@chapters
def test_saving_in_jupyterlab_changes_nothing_but_the_edit(chapter: Path, kernel: dict[str, dict[str, str]]) -> None:
    text = chapter.read_text(encoding="utf-8")
    opened = jupytext.reads(text, fmt="py:percent")
    opened.metadata.update(kernel)  # as after a cell was run
    for number, cell in enumerate(cell for cell in opened.cells if cell.cell_type == "code"):
        cell.execution_count = number + 1
        cell.metadata["trusted"] = True
    assert jupytext.writes(opened, fmt="py:percent") == text
    title = opened.cells[0]
    title.source = title.source.replace("# ", "# More on ", 1)
    assert jupytext.writes(opened, fmt="py:percent") == text.replace("# # ", "# # More on ", 1)


@chapters
def test_reads_as_plain_text_in_jupyterlab(chapter: Path) -> None:
    """No role is left in text that JupyterLab shows as it is, and code that the book hides is folded there, too."""
    for cell in jupytext.read(chapter).cells:
        if cell.cell_type == "markdown":
            assert re.findall(r"\{[\w:]+\}`[^`]*`", cell.source) == []
            continue
        hidden = {"hide-input", "remove-input", "remove-cell"} & set(cell.metadata.get("tags", []))
        assert bool(hidden) == cell.metadata.get("jupyter", {}).get("source_hidden", False), cell.source[:80]
        if "say(" in cell.source:
            roles = re.findall(r"\{([\w:]+)\}`[^`]*`", cell.source)
            assert set(roles) == {"glue:text"}
            assert cell.source.startswith('say(r"""\n')


@chapters
def test_captions_are_shown_in_jupyterlab_alone(chapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = InteractiveShell.instance()
    before = len(shell.events.callbacks["post_run_cell"])
    monkeypatch.setenv(reading.FOR_PAGE, "1")
    reading.show_captions(chapter)
    assert len(shell.events.callbacks["post_run_cell"]) == before
    monkeypatch.delenv(reading.FOR_PAGE)
    monkeypatch.setattr(reading, "get_ipython", lambda: shell)
    shown: list[str] = []
    monkeypatch.setattr(reading, "display", lambda text: shown.append(text.data))
    asked = re.findall(r"\{glue:text\}`([\w.-]+)", chapter.read_text(encoding="utf-8"))
    monkeypatch.setattr(reading, "_values", dict.fromkeys(asked, 7.0))
    reading.show_captions(chapter)
    (after,) = shell.events.callbacks["post_run_cell"][before:]
    figures = [cell for cell in jupytext.read(chapter).cells if "figure" in cell.metadata.get("mystnb", {})]
    for cell in figures:
        ran = ExecutionResult(ExecutionInfo(cell.source, False, False, True, None))
        after(ran)
    shell.events.unregister("post_run_cell", after)
    assert len(shown) == len(figures)
    for cell, text in zip(figures, shown, strict=True):
        assert text.startswith(f"*Figure {cell.metadata['mystnb']['figure']['name'].removeprefix('fig-')}.* ")
        assert "}`" not in text


def test_there_is_no_other_notebook_source() -> None:
    assert CHAPTERS
    kept = [path for path in CHAPTERS[0].parent.iterdir() if path.name != ".ipynb_checkpoints"]
    assert {path.suffix for path in kept if path.is_file() and path.suffix != ".ipynb"} == {".py"}
