"""Files for what takes long to compute: verified when they are read, and nothing in them can run.

A file is the digest of what follows on its first line, then a ``.npz`` archive: arrays, and the structure that holds
them as JSON. It is written under another name and then renamed, so that it is whole or not there. The other name is
always the same, so that what a killed process left of it is overwritten by the next: two must not write at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def save(path: Path, content: Any) -> None:
    """Write nested dictionaries, lists and tuples of tensors, arrays, numbers, strings, booleans and None.

    Raises
    ------
    TypeError
        Something else is among them, such as an array of objects.
    """
    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(_take_apart(content, arrays))
    archive = io.BytesIO()
    np.savez(archive, structure=np.frombuffer(structure.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    packed = archive.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        partial.write_bytes(hashlib.sha256(packed).hexdigest().encode() + b"\n" + packed)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def load(path: Path, *parts: str, **same: Any) -> Any:
    """What was saved, or None if there is no file or not the one that is meant, which a line on stderr says.

    With ``parts`` and ``same`` a mapping is meant that has these keys, and no others, and for those in ``same`` this
    value. Tensors are on the CPU; tuples come back as lists.
    """
    if not path.exists():
        return None
    digest, _, packed = path.read_bytes().partition(b"\n")
    wrong = "" if hashlib.sha256(packed).hexdigest().encode() == digest else "is damaged"
    if not wrong:
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            found = _put_together(json.loads(arrays.pop("structure").tobytes()), arrays)
        except (AttributeError, KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
            wrong = f"is no file of ours ({type(error).__name__})"
    if not wrong and (parts or same):
        meant = isinstance(found, dict) and found.keys() == {*parts, *same}
        if not meant or any(found[name] != value for name, value in same.items()):
            wrong = "holds something else"
    if wrong:
        print(f"{path} {wrong} and is passed over; its content is computed anew", file=sys.stderr)
        return None
    return found


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _take_apart(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, Tensor | np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = _array(value)
        if arrays[name].dtype.hasobject:
            raise TypeError("an array of objects is not kept: reading it could run code")
        return {"tensor" if isinstance(value, Tensor) else "array": name}
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
            return torch.from_numpy(arrays[value["tensor"]])
        if "array" in value:
            return arrays[value["array"]]
        return {key: _put_together(item, arrays) for key, item in value["items"]}
    return value


class Checkpoint:
    """The file from which a call goes on that was interrupted; without a path nothing is kept.

    Parameters
    ----------
    path : path, optional
    every : int
        Epochs or steps between two times that it is due, at least 1.
    call : mapping
        What the result depends on, as for `save`. Of tensors and arrays a digest is kept.

    Raises
    ------
    ValueError
        ``every`` is below 1.
    """

    def __init__(self, path: Path | None, every: int, call: Mapping[str, Any]) -> None:
        if every < 1:
            raise ValueError(f"checkpoint_every={every} must be at least 1")
        self.path, self.every = path, every
        self.call = {} if path is None else {name: _described(value) for name, value in call.items()}

    def load(self) -> Any:
        """What was saved last, or None if there is nothing to go on from.

        Raises
        ------
        ValueError
            The file was written by another call.
        """
        if self.path is None or (found := load(self.path, "call", "state")) is None:
            return None
        theirs = found["call"]
        if different := sorted(k for k in theirs.keys() | self.call.keys() if theirs.get(k) != self.call.get(k)):
            texts = [
                f"{name} ({_short(theirs.get(name))} there, {_short(self.call.get(name))} here)" for name in different
            ]
            raise ValueError(
                f"checkpoint {self.path} is of another call, with another {', '.join(texts)}; "
                "remove the file, or name another one"
            )
        return found["state"]

    def due(self, count: int) -> bool:
        """Whether to save after so many epochs or steps."""
        return self.path is not None and count % self.every == 0

    def save(self, state: Any) -> None:
        """Replace what was saved before."""
        if self.path is not None:
            save(self.path, {"call": self.call, "state": state})

    def remove(self) -> None:
        """The call is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            _partial(self.path).unlink(missing_ok=True)


def _described(value: Any) -> Any:
    """As `load` gives it back, with digests instead of numbers."""
    if isinstance(value, Tensor | np.ndarray):
        array = _array(value)
        return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()[:16]
    if isinstance(value, Mapping):
        return {str(key): _described(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [_described(item) for item in value]
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
