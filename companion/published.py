"""Numbers that the papers published, from small CSV files beside each study."""

from __future__ import annotations

import csv
import math
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
    ValueError
        The table is damaged.

    Examples
    --------
    >>> table("neural_sculpting", "published_rates")[0]["task"]
    'overlap-0'
    """
    file = resources.files(f"studies.{study}") / f"{name}.csv"
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines(), strict=True))
        if not rows or any(None in row or None in row.values() for row in rows):
            raise ValueError("it has no rows, or one with more or fewer cells than columns")
        return tuple({column: _value(cell) for column, cell in row.items()} for row in rows)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{file} is no table of published numbers ({error}); restore it from git") from error


def _value(cell: str) -> Any:
    for convert in (int, float):
        try:
            number = convert(cell)
        except ValueError:
            continue
        if not math.isfinite(number):
            raise ValueError(f"{cell} is no published number")
        return number
    return cell or None
