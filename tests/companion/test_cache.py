"""Cached networks: trained once, as they were when read again, and trained again when their file has changed."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from companion import cache
from companion.records import Cell
from conftest import Toy
from modutils import _storage, data

CELL = Cell("toy", "_network", {"seed": 0})
CONTENT = {
    "weights": {"layer.0": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3, dtype=torch.int64)},
    "losses": [0.5, 0.25],
    "stack": ([torch.ones(1, 2)], [torch.zeros(2, dtype=torch.bool)]),
    "snapshots": {5: [torch.zeros(0)], 10: []},
    "cpu_seconds": 1.5,
    "text": "ä",
    "nothing": None,
    "flag": True,
}


@pytest.fixture(autouse=True)
def _own_cache(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODUTILS_CACHE", str(tmp_path / "cache"))


class Training:
    """Counts how often it is asked to train."""

    def __init__(self, *cells: Cell, content: Any = None) -> None:
        self.cells, self.content, self.times = cells or (CELL,), content, 0

    def __call__(self) -> dict[Cell, Any]:
        self.times += 1
        data.load("digits", "train")
        return dict.fromkeys(self.cells, CONTENT if self.content is None else self.content)


def _plain(value: Any) -> Any:
    """With lists for tensors and for tuples."""
    if isinstance(value, torch.Tensor):
        return ["tensor", str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_networks_are_trained_once_and_come_back_as_they_were() -> None:
    train = Training()
    first, again = cache.networks(CELL, train), cache.networks(CELL, train)
    assert train.times == 1
    assert _plain(first) == _plain(again) == _plain(CONTENT)
    assert not [path for path in cache.path_of(CELL).parent.iterdir() if path.suffix == ".partial"]


@pytest.mark.parametrize("place", [0, 70, -1], ids=["digest", "archive", "end"])
def test_a_network_with_flipped_bits_is_trained_again(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    train = Training()
    cache.networks(CELL, train)
    path = cache.path_of(CELL)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    assert _plain(cache.networks(CELL, train)) == _plain(CONTENT)
    assert train.times == 2
    assert capsys.readouterr().err == f"{path} is damaged and is passed over; its content is computed anew\n"
    cache.networks(CELL, train)
    assert train.times == 2


@pytest.mark.parametrize("cut", [0, 30, 200])
def test_a_truncated_network_is_trained_again(cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    train = Training()
    cache.networks(CELL, train)
    path = cache.path_of(CELL)
    path.write_bytes(path.read_bytes()[:cut])
    assert _plain(cache.networks(CELL, train)) == _plain(CONTENT)
    assert train.times == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("change", ["other network", "no archive", "other parts"])
def test_a_file_that_holds_something_else_is_trained_again(change: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its digest is right, and its content is not what its name says."""
    train = Training()
    cache.networks(CELL, train)
    path = cache.path_of(CELL)
    if change == "other network":
        other = Cell("toy", "_network", {"seed": 99})
        cache.networks(other, Training(other))
        path.write_bytes(cache.path_of(other).read_bytes())
    elif change == "no archive":
        path.write_bytes(hashlib.sha256(b"text").hexdigest().encode() + b"\ntext")
    else:
        _storage.save(path, {"name": path.name, "content": 1})
    assert _plain(cache.networks(CELL, train)) == _plain(CONTENT)
    assert train.times == 2
    said = "is no file of ours" if change == "no archive" else "holds something else"
    assert capsys.readouterr().err.startswith(f"{path} {said}")


def test_other_code_trains_anew(toy: Toy) -> None:
    train = Training()
    cache.networks(CELL, train)
    toy.change('data.load("digits", "train")[0]', 'data.load("digits", "train")[0] * 2')
    assert cache.networks(CELL, train)
    assert train.times == 2
    toy.change("monotonic() + seconds", "monotonic() + 2 * seconds")  # of a stage that trains nothing
    cache.networks(CELL, train)
    assert train.times == 2


def test_data_behind_a_cached_network_are_noted_each_time() -> None:
    found = []
    for _ in range(2):
        with data.reading() as read:
            cache.networks(CELL, Training())
        found.append(dict(read))
    assert found == [data.checksums("digits", "train")] * 2


def test_networks_that_are_trained_together_are_trained_once_by_whoever_comes_first() -> None:
    cells = [Cell("toy", "_network", {"seed": seed}) for seed in range(4)]
    train = Training(*cells)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda cell: cache.networks(cell, train, together="all"), cells))
    assert train.times == 1
    assert [_plain(one) for one in found] == [_plain(CONTENT)] * 4


def test_a_training_that_leaves_nothing_or_fails_is_named() -> None:
    other = Cell("toy", "_network", {"seed": 1})
    with pytest.raises(RuntimeError, match="training of toy/_network/0 left nothing in"):
        cache.networks(CELL, Training(other))

    def fail() -> dict[Cell, Any]:
        raise KeyboardInterrupt

    refused: Callable[[], dict[Cell, Any]] = fail
    with pytest.raises(KeyboardInterrupt):
        cache.networks(CELL, refused)
    assert not cache.path_of(CELL).exists()
    assert cache.networks(CELL, Training())


def test_nothing_in_a_file_can_run() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        cache.networks(CELL, Training(content={"code": sys.exit}))
    assert not cache.path_of(CELL).exists()
