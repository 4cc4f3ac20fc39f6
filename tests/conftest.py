"""What tests share: their order, one cache of trained networks, chapters and the book made once, a small study."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from matplotlib.figure import Figure

import studies
from companion import fingerprint, records, witness
from companion.execution import execute, is_current
from toy_study import write_toy_study

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("*.py"))
# An example of a study, for one test and for CONTRIBUTING.md; imported in a tree of its own only.
collect_ignore = ["fifth_paper"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what is slow, so that no worker ends with it, and last what would wait for another worker to build."""

    def place(item: pytest.Item) -> int:
        if item.get_closest_marker("slow") is not None:
            return 0
        if "html" not in getattr(item, "fixturenames", ()):
            return 2
        return 1 if item.path.name == "test_book.py" else 3  # the first builds the book

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal out chapters and pages in a browser one by one, and other tests by file, so that a fixture is made once.

    (``--dist loadgroup`` is meant for this, but xdist 3.8 cannot name groups with pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file.endswith(("test_notebooks.py", "test_browser.py")) else file

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A fresh cache for all tests and workers: nothing comes from an earlier run, and no network is trained twice."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker's folder lies in that of the run
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODUTILS_CACHE", str(folder / "cache"))
        yield


def laid_out(draw: Callable[[], Figure]) -> Figure:
    """The figure, after a layout in which every warning counts as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = draw()
        made.draw_without_rendering()
    assert made.get_facecolor() == (1, 1, 1, 1)
    return made


def executed(chapter: Path) -> Path:
    """The chapter as the book shows it: what ``make book`` would find up to date, or executed now in its place."""
    output = ROOT / "_executed" / f"{chapter.stem}.ipynb"
    output.parent.mkdir(exist_ok=True)
    with FileLock(output.with_suffix(".lock")):
        if not is_current(chapter, output):
            execute(chapter, output)
    return output


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the HTML of the whole book, built once for all workers, see `_build`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    root = folder / "book"
    with FileLock(folder / "book.lock"):
        if not root.is_dir():
            _build(root)
    built = root / "_build" / "html"
    assert (built / "index.html").is_file(), "the build failed, see the first test that needed it"
    return built


def _build(root: Path) -> None:
    """Build the book from a copy with every warning fatal, as ``make book`` does."""
    root.mkdir()
    for name in ("book", "notebooks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, root)
    (root / "_executed").mkdir()
    for chapter in CHAPTERS:
        shutil.copy(executed(chapter), root / "_executed")
    jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
    command = [jupyter_book, "build", "--all", ".", "-W", "-n", "--keep-going"]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]


class Toy:
    """The toy study, importable in this process; its source can be changed, as between two processes."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def change(self, old: str, new: str) -> None:
        """Replace text in the study's source, and forget what was imported and looked at."""
        assert old in self.source.read_text()
        self.source.write_text(self.source.read_text().replace(old, new))
        self.forget()

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.startswith("studies.toy")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        for cached in (records.code, records._read_cached, witness._origin, fingerprint._parse):
            cached.cache_clear()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a source may change twice within a second
    made = Toy(write_toy_study(tmp_path / "studies"))
    studies.__path__.append(str(tmp_path / "studies"))
    yield made
    studies.__path__.pop()
    made.forget()
