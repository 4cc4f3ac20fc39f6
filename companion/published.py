"""Numbers that the papers published, from small CSV files beside each study."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources
from typing import Any


@cache
def table(study: str, name: str) -> tuple[dict[str, Any], ...]:
    """Rows of ``studies/<study>/<name>.csv`` by column: numbers as numbers, other texts as they are, empty is None.

    Raises
    ------
    FileNotFoundError
        The study has no such table.

    Examples
    --------
    >>> table("neural_sculpting", "published_rates")[0]["task"]
    'overlap-0'
    """
    text = (resources.files(f"studies.{study}") / f"{name}.csv").read_text(encoding="utf-8")
    return tuple({column: _value(cell) for column, cell in row.items()} for row in csv.DictReader(text.splitlines()))


def _value(cell: str) -> Any:
    for convert in (int, float):
        try:
            return convert(cell)
        except ValueError:
            continue
    return cell or None
