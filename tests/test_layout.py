"""Arrows run one way: notebooks → studies → companion → modutils, and no study imports another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from conftest import CHAPTERS, ROOT

PACKAGES = ("modutils", "companion", "studies")


def _imported(path: Path) -> set[str]:
    """Dotted names of what a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize(
    ("package", "forbidden"), [("modutils", ("companion", "studies")), ("companion", ("studies",))]
)
def test_a_package_knows_only_those_below_it(package: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        (path.name, name)
        for path in _files(package)
        for name in _imported(path)
        if name.partition(".")[0] in (*forbidden, "notebooks")
    ]
    assert wrong == []


def test_companion_names_no_paper() -> None:
    studies = [path.name for path in (ROOT / "studies").iterdir() if (path / "__init__.py").is_file()]
    assert len(studies) >= 4
    for path in _files("companion"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not texts & set(studies), path.name


def test_no_study_imports_another() -> None:
    for path in _files("studies"):
        own = path.relative_to(ROOT / "studies").parts[0]
        for name in _imported(path):
            first, _, rest = name.partition(".")
            assert first != "studies" or rest.partition(".")[0] == own, (path.name, name)


def test_a_chapter_uses_its_own_study() -> None:
    for chapter in CHAPTERS:
        used = {name.split(".")[1] for name in _imported(chapter) if name.startswith("studies.")}
        assert used == {chapter.stem}
