"""Trained networks, kept in the cache folder: trained once by the code as it is, verified when they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from companion.records import Cell
from modutils import _storage, data


def networks(cell: Cell, train: Callable[[], Mapping[Cell, Any]], *, together: str | None = None) -> Any:
    """What training left of the networks of ``cell``: from the cache, or trained now.

    Parameters
    ----------
    cell : Cell
        Names the networks: the ``stage`` is the function whose code decides what they are.
    train : callable
        Trains them, and maybe others at once. Returns for each cell nested dictionaries, lists and tuples of tensors,
        numbers, strings, booleans and None; tuples come back as lists.
    together : str, optional
        Name shared by cells that are trained at once, so that one process trains them and others wait.

    Returns
    -------
    dict, list or value
        The content for ``cell``; tensors are on the CPU.
    """
    path = path_of(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{together or cell.label}.lock"):
        if (found := _load(cell)) is None:
            with data.reading() as read:
                made = train()
            for other, content in made.items():
                _storage.save(path_of(other), {"name": path_of(other).name, "content": content, "data": read})
            found = _load(cell)
    if found is None:
        raise RuntimeError(f"training of {cell} left nothing in {path}")
    data.note_read(found["data"])
    return found["content"]


def _load(cell: Cell) -> Any:
    path = path_of(cell)
    return _storage.load(path, "content", "data", name=path.name)


def path_of(cell: Cell, suffix: str = "npz") -> Path:
    """A file of the cache for this cell and the present code."""
    return data.cache_folder() / "networks" / f"{cell.study}-{cell.label}-{cell.key}.{suffix}"
