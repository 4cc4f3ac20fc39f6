"""Data sets: digits as embedded; MNIST from files made here, whole, packed, missing, truncated or altered."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from modutils import data

FILES = {
    "train-images-idx3-ubyte": (2051, (6, 28, 28)),
    "train-labels-idx1-ubyte": (2049, (6,)),
    "t10k-images-idx3-ubyte": (2051, (4, 28, 28)),
    "t10k-labels-idx1-ubyte": (2049, (4,)),
}


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A read-only folder like MNIST's with a few made-up images, and an empty cache."""
    raw = tmp_path / "source" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    checksums = {}
    for name, (magic, shape) in FILES.items():
        high = 256 if len(shape) == 3 else 10
        content = (
            struct.pack(f">{1 + len(shape)}i", magic, *shape)
            + generator.integers(high, size=shape, dtype=np.uint8).tobytes()
        )
        (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        checksums[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(data._MD5, "mnist", checksums)
    monkeypatch.setenv("MODUTILS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MODUTILS_DATA", raising=False)
    return tmp_path / "source"


def test_digits_are_split_once_and_for_all() -> None:
    train, test = data.load("digits", "train"), data.load("digits", "test")
    assert [tuple(part.shape) for part in (*train, *test)] == [(1297, 1, 8, 8), (1297,), (500, 1, 8, 8), (500,)]
    assert train[0].dtype == torch.float32
    assert train[1].dtype == torch.int64
    assert float(train[0].min()) == 0
    assert float(train[0].max()) == 1
    assert data.checksums("digits", "test") == {"digits/test": "88974bfccaa8d1ffaabef8f6ddee0e40"}
    assert data.checksums("digits", "train") == {"digits/train": "4d2522a2bdf92efc6f351ddbb4e5649a"}


def test_packed_files_are_expanded_into_the_cache(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODUTILS_DATA", str(small_mnist))
    images, labels = data.load("mnist", "test", limit=3)
    with gzip.open(small_mnist / "MNIST/raw/t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    torch.testing.assert_close(images, torch.tensor(pixels[:3] / 255, dtype=torch.float32))
    assert labels.shape == (3,)
    cached = data.cache_folder() / "data" / "MNIST" / "raw"
    assert sorted(path.name for path in cached.iterdir()) == sorted(FILES)


def test_what_is_read_is_noted_while_someone_asks(small_mnist: Path) -> None:
    with data.reading() as outer:
        data.load("digits", "train")
        with data.reading() as inner:
            data.load("mnist", "test", root=small_mnist)
    data.load("mnist", "train", root=small_mnist)  # nobody asks any more
    assert inner == data.checksums("mnist", "test")
    assert set(inner) == {"mnist/t10k-images-idx3-ubyte", "mnist/t10k-labels-idx1-ubyte"}
    assert outer == inner | data.checksums("digits", "train")


def test_what_is_not_read_is_not_noted(small_mnist: Path) -> None:
    (small_mnist / "MNIST/raw/train-labels-idx1-ubyte.gz").write_bytes(b"")
    with data.reading() as seen, pytest.raises(data.DataError):
        data.load("mnist", "train", root=small_mnist)
    assert seen == {}


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_expanded_file_with_flipped_bits_is_made_again(
    split: str, small_mnist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = data.load("mnist", split, root=small_mnist)
    prefix = "train" if split == "train" else "t10k"
    for part in ("images-idx3", "labels-idx1"):
        path = data.cache_folder() / "data" / "MNIST" / "raw" / f"{prefix}-{part}-ubyte"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))
        capsys.readouterr()
        again = data.load("mnist", split, root=small_mnist)
        assert capsys.readouterr().err == f"{path} has changed since it was made; it is made again\n"
        assert torch.equal(again[0], images)
        assert torch.equal(again[1], labels)
        data.load("mnist", split, root=small_mnist)
        assert capsys.readouterr().err == ""


def test_checksums_at_hand(small_mnist: Path) -> None:
    file = "mnist/t10k-images-idx3-ubyte"
    assert data.checksum_at_hand(file) is None
    data.load("mnist", "test", root=small_mnist)
    assert data.checksum_at_hand(file) == data.checksums("mnist", "test")[file]
    path = data.cache_folder() / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes() + b"0")
    assert data.checksum_at_hand(file) == hashlib.md5(path.read_bytes()).hexdigest()
    assert data.checksum_at_hand("digits/test") == data.checksums("digits", "test")["digits/test"]
    assert data.checksum_at_hand("cifar/train") is None


def test_argument_root_comes_before_the_environment(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODUTILS_DATA", "no-such-folder")
    assert len(data.load("mnist", "train", root=small_mnist)[0]) == 6


def test_missing_file_is_named(small_mnist: Path) -> None:
    (small_mnist / "MNIST/raw/train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(data.DataError, match=r"train-labels-idx1-ubyte\.gz is missing; set MODUTILS_DATA"):
        data.load("mnist", "train", root=small_mnist)


def test_truncated_file_is_named_and_never_used(small_mnist: Path) -> None:
    packed = small_mnist / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(data.DataError, match=r"t10k-images-idx3-ubyte\.gz is truncated"):
        data.load("mnist", "test", root=small_mnist)
    left = [path.name for path in (data.cache_folder() / "data" / "MNIST" / "raw").iterdir()]
    assert "t10k-images-idx3-ubyte" not in left
    assert not [name for name in left if "partial" in name]
    packed.write_bytes(whole)
    assert len(data.load("mnist", "test", root=small_mnist)[0]) == 4


def test_altered_file_is_named(small_mnist: Path) -> None:
    packed = small_mnist / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(packed.read_bytes()))
    content[-1] ^= 1
    packed.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(data.DataError, match=r"t10k-labels-idx1-ubyte\.gz is altered"):
        data.load("mnist", "test", root=small_mnist)


def test_a_file_that_expands_without_end_is_stopped(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four kilobytes that expand to four mebibytes, of which little more than one is written."""
    monkeypatch.setattr(data, "_LARGEST", 2**20)
    packed = small_mnist / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    packed.write_bytes(gzip.compress(bytes(4 * 2**20)))
    with pytest.raises(data.DataError, match=r"t10k-labels-idx1-ubyte\.gz is altered: it expands to more than 1 MiB"):
        data.load("mnist", "test", root=small_mnist)
    left = [path.name for path in (data.cache_folder() / "data" / "MNIST" / "raw").iterdir()]
    assert not [name for name in left if name.startswith("t10k-labels")]


def test_a_failed_download_says_what_to_do(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(data.torchvision().datasets.utils, "download_url", unreachable)
    with pytest.raises(data.DataError, match=r"could not be downloaded .*no route to host.*MODUTILS_DATA"):
        data.load("mnist", "test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("emnist", "train", None), "name='emnist' is unknown"),
        (("digits", "valid", None), "split='valid' is unknown"),
        (("digits", "train", 0), "limit=0"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple[str, str, int | None], message: str) -> None:
    name, split, limit = arguments
    with pytest.raises(ValueError, match=message):
        data.load(name, split, limit=limit)


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a subset of CIFAR-10 of a few made-up images, and an empty cache."""
    path = tmp_path / "source" / "CIFAR10-subset" / "cifar10_train10k_test2k.npz"
    path.parent.mkdir(parents=True)
    generator = np.random.default_rng(0)
    parts = {
        f"{kind}_{split}": generator.integers(high, size=(n, *shape), dtype=np.uint8)
        for split, n in (("train", 6), ("test", 4))
        for kind, high, shape in (("x", 256, (32, 32, 3)), ("y", 10, ()))
    }
    np.savez(path, **parts)  # type: ignore[arg-type]
    monkeypatch.setitem(data._MD5, "cifar10-subset", {path.name: hashlib.md5(path.read_bytes()).hexdigest()})
    monkeypatch.setenv("MODUTILS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODUTILS_DATA", str(tmp_path / "source"))
    return path


def test_the_subset_of_cifar10_is_read_and_named(small_cifar10: Path) -> None:
    with data.reading() as read:
        images, labels = data.load("cifar10", "test", limit=3)
    assert images.shape == (3, 3, 32, 32)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    with np.load(small_cifar10) as archive:
        np.testing.assert_array_equal(images[2, 1] * 255, archive["x_test"][2, :, :, 1])
        assert labels.tolist() == archive["y_test"][:3].tolist()
    file = f"cifar10-subset/{small_cifar10.name}"
    assert read == {file: hashlib.md5(small_cifar10.read_bytes()).hexdigest()} == {file: data.checksum_at_hand(file)}
    assert data.class_names("cifar10")[9] == "truck"


def test_an_altered_subset_of_cifar10_is_refused(small_cifar10: Path) -> None:
    small_cifar10.write_bytes(small_cifar10.read_bytes() + b"0")
    with pytest.raises(data.DataError, match=r"cifar10_train10k_test2k\.npz is altered"):
        data.load("cifar10", "train")


def test_an_incomplete_cifar10_is_refused_before_anything_in_it_is_read(small_cifar10: Path) -> None:
    """The published files are pickles: torchvision compares their checksums first."""
    folder = small_cifar10.parents[1] / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(data.DataError, match=r"is incomplete or altered .*cifar-10-batches-py"):
        data.load("cifar10", "test")


def test_a_cifar10_that_cannot_be_downloaded_says_what_to_do(
    small_cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    small_cifar10.unlink()
    monkeypatch.setattr(data.torchvision().datasets.CIFAR10, "download", unreachable)
    with pytest.raises(data.DataError, match=r"CIFAR-10 could not be downloaded .*no route to host.*MODUTILS_DATA"):
        data.load("cifar10", "test")
