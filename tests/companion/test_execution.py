"""Executing a chapter, and what is shown when it fails or is out of date."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from companion import execution, records
from companion.__main__ import main
from companion.execution import NotebookError, execute, find_executed, is_current, parameters_of
from conftest import ROOT
from toy_study import write_toy_study

GOOD = """\
# %% [markdown]
# # A small chapter

# %% tags=["parameters"]
scale = "paper"
count = 3

# %%
import os

print(scale, count, os.path.basename(os.getcwd()))
"""
BAD = GOOD + "\n# %%\nvalue = 1\nvalue / 0\n"
QUICK = (
    GOOD
    + """
# %%
from companion.records import Cell
from companion.study import Study, open_chapter

plan = [Cell("toy", "double", {"number": 1, "seed": 0})]
open_chapter(Study("toy", lambda scale: plan, lambda results, scale: {}, (), {}), "quick")
"""
)


@pytest.fixture
def chapter(tmp_path: Path) -> Path:
    folder = tmp_path / "chapters"
    folder.mkdir()
    path = folder / "small.py"
    path.write_text(GOOD)
    return path


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``GOOD``, executed once for the tests that only read the output."""
    folder = tmp_path_factory.mktemp("executed")
    (folder / "small.py").write_text(GOOD)
    return execute(folder / "small.py", folder / "out" / "small.ipynb")


def printed(notebook: Path) -> str:
    return "".join(
        output.text for cell in nbformat.read(notebook, as_version=4).cells for output in cell.get("outputs", [])
    )


def test_runs_in_the_folder_of_the_script_with_its_own_parameters(executed: Path) -> None:
    assert printed(executed) == f"paper 3 {executed.parent.parent.name}\n"
    assert [path.name for path in executed.parent.iterdir()] == ["small.ipynb"]


def test_injects_parameters(chapter: Path, tmp_path: Path) -> None:
    output = execute(chapter, tmp_path / "small.ipynb", parameters={"count": 5})
    assert printed(output) == "paper 5 chapters\n"
    made = nbformat.read(output, as_version=4).metadata["modutils"]
    assert made["injected"] == {"count": 5}
    assert made["parameters"] == {"scale": "paper", "count": 5}


def test_records_how_it_was_made_and_no_path_of_the_machine(executed: Path) -> None:
    made = nbformat.read(executed, as_version=4).metadata["modutils"]
    assert made["source"] == "small.py"
    assert made["parameters"] == {"scale": "paper", "count": 3}
    assert made["seconds"] > 0
    assert {"date", "commit", "versions", "device"} <= set(made["provenance"])
    text = executed.read_text()
    assert str(executed.parent) not in text
    assert str(Path(sys.prefix)) not in text


def test_what_is_computed_shows_its_progress_to_a_reader_and_not_on_a_page(
    chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toy_study(tmp_path / "own")
    paths = (str(tmp_path / "own"), os.environ.get("PYTHONPATH"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    chapter.write_text(QUICK)
    page = nbformat.read(execute(chapter, tmp_path / "small.ipynb"), as_version=4)
    reader = jupytext.read(chapter)
    NotebookClient(reader, kernel_name="python3").execute()  # as JupyterLab does
    for notebook, shown in ((page, False), (reader, True)):
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        errors = "".join(output.text for output in outputs if output.get("name") == "stderr")
        assert ("1/1" in errors) == bool(errors) == shown


def test_a_kernel_listens_to_this_machine_alone(chapter: Path, tmp_path: Path) -> None:
    chapter.write_text(
        GOOD
        + """
# %%
import psutil

print({each.laddr.ip for each in psutil.Process().net_connections() if each.status == "LISTEN"})
"""
    )
    assert printed(execute(chapter, tmp_path / "small.ipynb")).splitlines()[1] == "{'127.0.0.1'}"


def test_parameters_of(chapter: Path) -> None:
    assert parameters_of(chapter) == {"scale": "paper", "count": 3}


def test_unknown_parameter_is_refused_before_anything_runs(chapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"small\.py has no parameter scael; it has scale, count"):
        execute(chapter, tmp_path / "small.ipynb", parameters={"scael": "quick"})
    assert not (tmp_path / "small.ipynb").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# %%\n1 + 1\n", 'no cell tagged "parameters"'),
        ('# %% tags=["parameters"]\nscale = print\n', "not a literal"),
    ],
)
def test_a_chapter_without_proper_parameters_is_refused(chapter: Path, tmp_path: Path, text: str, message: str) -> None:
    chapter.write_text(text)
    with pytest.raises(ValueError, match=message):
        execute(chapter, tmp_path / "small.ipynb")


def test_a_missing_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.py is not a percent-format Jupytext script"):
        execute(tmp_path / "absent.py", tmp_path / "small.ipynb")


def test_a_cell_that_raises_is_named_and_the_good_output_stays(chapter: Path, tmp_path: Path) -> None:
    output = execute(chapter, tmp_path / "small.ipynb")
    good = output.read_bytes()
    chapter.write_text(BAD)
    with pytest.raises(NotebookError) as caught:
        execute(chapter, output)
    message = str(caught.value)
    assert "small.py:14: cell In [3] raised ZeroDivisionError: division by zero" in message
    assert "    value / 0" in message
    assert output.read_bytes() == good
    failed = output.with_suffix(".failed.ipynb")
    assert "Traceback" in failed.read_text()
    with pytest.raises(ValueError, match="not executed yet"):
        find_executed(BAD, tmp_path)

    chapter.write_text(GOOD)
    execute(chapter, output)
    assert not failed.exists()


def test_a_cell_that_takes_too_long_is_named(chapter: Path, tmp_path: Path) -> None:
    chapter.write_text(GOOD + "\n# %%\nimport time\n\ntime.sleep(60)\n")
    with pytest.raises(NotebookError, match=r"small\.py:14: cell In \[3\] took longer than 1 s\n.*\n.*\n.*sleep"):
        execute(chapter, tmp_path / "small.ipynb", timeout=1)
    assert not (tmp_path / "small.ipynb").exists()


def test_a_cell_that_ends_the_kernel_is_named(chapter: Path, tmp_path: Path) -> None:
    chapter.write_text(GOOD + "\n# %%\nos._exit(1)\n")
    with pytest.raises(NotebookError, match=r"small\.py:14: cell In \[3\] ended its kernel"):
        execute(chapter, tmp_path / "small.ipynb")


def test_the_book_takes_only_what_was_executed_from_this_text(executed: Path) -> None:
    assert find_executed(GOOD, executed.parent).metadata["modutils"]["source"] == "small.py"
    with pytest.raises(ValueError, match="changed since: run `python -m companion execute`"):
        find_executed(GOOD + "# changed\n", executed.parent)


def test_the_book_refuses_a_run_with_other_parameters(chapter: Path, tmp_path: Path) -> None:
    execute(chapter, tmp_path / "out" / "small.ipynb", parameters={"count": 1})
    with pytest.raises(ValueError, match="python -m companion execute"):
        find_executed(GOOD, tmp_path / "out")


def test_the_reader_of_the_book_names_the_chapter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "book" / "extension")
    from sphinx.errors import ExtensionError

    import modules_book

    monkeypatch.setattr(modules_book, "EXECUTED", tmp_path)
    text = (ROOT / "notebooks" / "biclustering.py").read_text(encoding="utf-8")
    with pytest.raises(ExtensionError, match=r"biclustering\.py: not executed yet.* `make book`"):
        modules_book.read_executed(text)


def _is_current(source: Path, output: Path) -> bool:
    """By both who ask: `execute`, and the book."""
    for_execute = is_current(source, output)
    try:
        for_book = find_executed(source.read_text(), output.parent) is not None
    except ValueError:
        for_book = False
    assert for_execute == for_book
    return for_execute


def test_both_see_every_input(executed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = executed.parent.parent / "small.py"
    assert _is_current(source, executed)
    assert not is_current(source, tmp_path / "absent.ipynb")
    assert not is_current(source, executed, parameters={"count": 4})
    changed = tmp_path / "small.py"
    changed.write_text(GOOD + "\n")
    assert not _is_current(changed, executed)
    with monkeypatch.context() as patch:
        patch.setattr(execution, "_packages", lambda: [("numpy", "1")])
        assert not _is_current(source, executed)
    with monkeypatch.context() as patch:
        patch.setattr(records, "device_name", lambda: "another")
        assert not _is_current(source, executed)
    assert _is_current(source, executed)


def test_a_page_is_current_only_with_its_own_record(
    chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "results" / "toy" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("1")
    monkeypatch.setenv("MODUTILS_RESULTS", str(tmp_path / "results"))
    output = execute(chapter, tmp_path / "out" / "small.ipynb")
    assert _is_current(chapter, output)
    (record.parent / ".lock").touch()  # of a run that goes on
    assert _is_current(chapter, output)
    record.write_text("2")
    os.utime(record, ns=(0, 0))
    assert not _is_current(chapter, output)
    with pytest.raises(ValueError, match="or it, the record, the code or the packages have changed since"):
        find_executed(GOOD, output.parent)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("paper 3 ", "paper 4 "),  # an output
        ("print(scale", "print( scale"),  # the source that is shown beside it
        ('"seconds": ', '"seconds": 1'),
        ('"commit": "', '"commit": "0'),
    ],
)
def test_a_page_is_current_only_with_its_own_outputs(
    executed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    source, altered = executed.parent.parent / "small.py", tmp_path / "small.ipynb"
    assert old in executed.read_text()
    altered.write_text(executed.read_text().replace(old, new, 1))
    assert not _is_current(source, altered)
    line = f"{altered} is not a notebook as it was executed (it was altered after it was executed); "
    assert capsys.readouterr().err == f"{line}the chapter must be executed again\n"
    with pytest.raises(ValueError) as caught:
        find_executed(GOOD, tmp_path)
    assert str(caught.value).startswith(line)


def test_what_is_truncated_is_executed_again(
    executed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, cut = executed.parent.parent / "small.py", tmp_path / "small.ipynb"
    cut.write_bytes(executed.read_bytes()[:-100])
    assert main(["execute", str(source), "--output", str(tmp_path)]) == 0
    printed_lines = capsys.readouterr()
    assert printed_lines.err.startswith(f"{cut} is not a notebook as it was executed (")
    assert printed_lines.err.count("\n") == 1
    assert "executing" in printed_lines.out
    assert _is_current(source, cut)


def test_lab_listens_to_this_machine_alone() -> None:
    assert "jupyter lab --ip 127.0.0.1\n" in (ROOT / "Makefile").read_text()


def test_a_damaged_page_of_another_chapter_hides_none(executed: Path, tmp_path: Path) -> None:
    shutil.copy(executed, tmp_path / "small.ipynb")
    (tmp_path / "another.ipynb").write_text("")
    assert find_executed(GOOD, tmp_path).metadata["modutils"]["source"] == "small.py"


def test_command_executes_only_what_changed(chapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["execute", str(chapter), "--output", str(tmp_path / "out"), "-p", "count=4", "-p", "scale=quick"]
    assert main(command) == 0
    assert printed(tmp_path / "out" / "small.ipynb") == "quick 4 chapters\n"
    assert "executing" in capsys.readouterr().out
    assert main(command) == 0
    assert "is up to date" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.py"], "absent.py is not a percent-format Jupytext script"),
        (["-p", "count"], "'count' is not of the form NAME=VALUE"),
        (["-p", "cuont=1"], "small.py has no parameter cuont; it has scale, count"),
        (["-p", "count={1,2}"], "parameter count={1, 2} cannot be kept in a notebook, which is JSON; give a text, "),
        (["-p", "count=b'1'"], "parameter count=b'1' cannot be kept"),
        (["-p", "count=[1j]"], "parameter count=[1j] cannot be kept"),
        (["-p", "count=1e999"], "parameter count=inf cannot be kept"),
        (["-p", "count={1: 2}"], "parameter count={1: 2} cannot be kept"),
        (["-p", "count=..."], "parameter count=Ellipsis cannot be kept"),
        (["--output", "chapters/small.py"], "--output chapters/small.py is a file; name a folder"),
    ],
)
def test_command_fails_in_one_line(
    arguments: list[str],
    message: str,
    chapter: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = [] if arguments == ["absent.py"] else [str(chapter)]
    assert main(["execute", "--output", str(tmp_path / "out"), *named, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_command_of_a_shell_fails_without_traceback(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    command = [sys.executable, "-m", "companion", "execute", "bad.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    # A kernel that is stopped while it is busy may add a line of its own.
    lines = [line for line in run.stderr.splitlines() if not line.startswith("[IPKernelApp]")]
    assert lines[0].startswith("error: bad.py:14: cell In [3] raised ZeroDivisionError")
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "_executed" / "bad.ipynb").exists()
