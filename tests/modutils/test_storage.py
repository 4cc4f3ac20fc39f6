"""Files come back as they were written, or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modutils import _storage


def _content() -> dict[Any, Any]:
    return {
        "tensors": [torch.arange(6).view(2, 3), torch.rand(3, 4).double().T, torch.tensor(True), torch.zeros(0, 2)],
        "array": np.array([[True, False]]),
        "numbers": (1, 2**120, 0.1, float("inf"), None, True),
        7: {"text": "ä", "empty": {}, "of arrays": [[np.array([1, 2], np.float32)], []]},
    }


def _assert_same(a: Any, b: Any) -> None:
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert isinstance(b, list)
        for x, y in zip(a, b, strict=True):
            _assert_same(x, y)
    else:
        assert a == b
        assert type(a) is type(b)


def test_content_comes_back(tmp_path: Path) -> None:
    path, content = tmp_path / "new" / "file", _content()
    assert _storage.load(path) is None
    for _ in range(2):
        _storage.save(path, content)
    found = _storage.load(path)
    _assert_same(content, found)
    assert [file.name for file in path.parent.iterdir()] == ["file"]
    found["tensors"][0] += 1  # what comes back can be written to
    found["array"][0, 0] = False


def test_what_cannot_be_kept_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    _storage.save(path, [1])
    with pytest.raises(TypeError, match="not JSON serializable"):
        _storage.save(path, [object()])
    with pytest.raises(TypeError, match="array of objects"):  # which would come back by running code
        _storage.save(path, [np.array([{}])])
    assert _storage.load(path) == [1]


def test_what_a_killed_process_left_is_gone_when_the_call_is_done(tmp_path: Path) -> None:
    checkpoint = _storage.Checkpoint(tmp_path / "file", 1, {"seed": 1})
    _storage._partial(tmp_path / "file").write_bytes(b"half")
    assert checkpoint.load() is None
    checkpoint.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "foreign"])
def test_a_damaged_file_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    path = tmp_path / "file"
    _storage.save(path, _content())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 16
    path.write_bytes({"flipped": bytes(flipped), "truncated": whole[:-9], "empty": b"", "foreign": _planted()}[damage])
    assert _storage.load(path) is None
    assert capsys.readouterr().err == f"{path} is damaged and is passed over; its content is computed anew\n"


class _Planted:
    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was read",)


def _planted() -> bytes:
    return pickle.dumps(_Planted())


def test_a_bit_flipped_anywhere_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    _storage.save(path, [torch.arange(3)])
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert _storage.load(path) is None


def test_a_checkpoint_names_its_call(tmp_path: Path) -> None:
    path = tmp_path / "file"
    call = {"rates": (0.1, 0.2), "images": torch.rand(3), "masks": [np.ones(2, bool)], "seeds": range(3), "none": None}
    checkpoint = _storage.Checkpoint(path, 2, call)
    assert checkpoint.load() is None
    assert [checkpoint.due(count) for count in (1, 2, 3, 4)] == [False, True, False, True]
    checkpoint.save({"step": 3})
    assert _storage.Checkpoint(path, 5, dict(call)).load() == {"step": 3}
    changes: dict[str, Any] = {
        "rates": [0.1, 0.3], "images": call["images"].double(), "masks": [np.ones((2, 1), bool)], "new": 1,  # type: ignore[attr-defined]
    }  # fmt: skip
    for name, value in changes.items():
        with pytest.raises(ValueError, match=f"{path} is of another call, with another {name} .* there, .* here"):
            _storage.Checkpoint(path, 2, call | {name: value}).load()
    checkpoint.remove()
    assert not path.exists()


def test_without_a_path_nothing_is_kept() -> None:
    checkpoint = _storage.Checkpoint(None, 1, {"images": object()})
    assert not checkpoint.due(1)
    checkpoint.save(object())
    assert checkpoint.load() is None
    checkpoint.remove()
