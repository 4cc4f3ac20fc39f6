"""Published numbers stand in files that every study finds, also once it is installed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from companion import published
from companion.records import ROOT

TABLES = sorted((ROOT / "studies").rglob("*.csv"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_table_has_a_value_or_an_empty_cell_in_every_column(path: Path) -> None:
    rows = published.table(path.parent.name, path.stem)
    assert len(rows) == len(path.read_text(encoding="utf-8").splitlines()) - 1
    assert all(None not in row and len(row) == len(rows[0]) for row in rows)
    assert any(isinstance(value, float) for row in rows for value in row.values())


def test_cells_are_numbers_texts_or_none() -> None:
    first = published.table("detecting_modularity", "published_cuts")[0]
    assert first["kind"] == "plain"
    assert first["ncut"] == 10.295
    assert first["z"] is None
    assert isinstance(published.table("neural_sculpting", "published_networks")[0]["claim"], int)


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"guesses\.csv"):
        published.table("neural_sculpting", "guesses")


def test_an_installed_package_has_the_tables() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert [path for path in TABLES if not any(path.match(each) for each in settings["package-data"]["*"])] == []
