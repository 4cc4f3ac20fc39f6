"""Trained networks, kept in the cache folder: trained once by the code as it is, verified when they are read.

A file is the digest of what follows on its first line, then a ``.npz`` archive: arrays, and the structure that holds
them as JSON. Nothing in it can run.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from modutils import data
from modutils.records import Cell


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
        if (found := _read(path)) is None:
            with data.reading() as read:
                made = train()
            for other, content in made.items():
                _write(path_of(other), {"content": content, "data": read})
            found = _read(path)
    if found is None:
        raise RuntimeError(f"training of {cell} left nothing in {path}")
    data.note_read(found["data"])
    return found["content"]


def path_of(cell: Cell, suffix: str = "npz") -> Path:
    """A file of the cache for this cell and the present code."""
    return data.cache_folder() / "networks" / f"{cell.study}-{cell.label}-{cell.key}.{suffix}"


def _write(path: Path, content: Any) -> None:
    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(_take_apart(content, arrays))
    archive = io.BytesIO()
    np.savez(archive, structure=np.frombuffer(structure.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    packed = archive.getvalue()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(hashlib.sha256(packed).hexdigest().encode() + b"\n" + packed)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    """The content, or None if there is no file or it is not as it was written."""
    if not path.exists():
        return None
    digest, _, packed = path.read_bytes().partition(b"\n")
    if hashlib.sha256(packed).hexdigest().encode() != digest:
        print(f"{path} has changed since it was made; its networks are trained again", file=sys.stderr)
        return None
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return _put_together(json.loads(arrays.pop("structure").tobytes()), arrays)


def _take_apart(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, torch.Tensor):
        name = f"array{len(arrays)}"
        arrays[name] = value.detach().cpu().numpy()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _take_apart(item, arrays)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_take_apart(item, arrays) for item in value]
    return value


def _put_together(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_put_together(item, arrays) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return torch.from_numpy(arrays[value["tensor"]].copy())
        return {key: _put_together(item, arrays) for key, item in value["items"]}
    return value
