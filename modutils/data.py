"""Images to train and dissect networks on: 8×8 digits (embedded), MNIST, Fashion-MNIST and CIFAR-10 (real, verified).

``digits`` ships with scikit-learn and needs nothing. The others are read from, in this order: the folder ``root``, the
folder in the environment variable ``MODUTILS_DATA``, the cache, a download through torchvision. Folders follow
torchvision's layout (``MNIST/raw/…``); the published ``.gz`` files are enough, and the folder may be read-only: files
are expanded into the cache (``MODUTILS_CACHE``, else the user's cache folder). A file enters the cache under a
temporary name that is then renamed. Its checksum is verified each time it is read; a file that has changed is made
again.

Of CIFAR-10 a folder may hold a subset instead of the whole set: 1000 training and 200 test images of each class, in
``CIFAR10-subset``. Which of the two was read, :func:`reading` tells, and the number of images.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import importlib.util
import os
import sys
import zlib
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import numpy as np
import torch
from filelock import FileLock

from modutils import _check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SPLITS = ("train", "test")
_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
NAMES = ("digits", *_FOLDERS, "cifar10")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# MD5 of the expanded files, as their authors published them.
_MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "cifar10": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    "cifar10-subset": {"cifar10_train10k_test2k.npz": "c624b930eb8dd6bd3cb03763c6257268"},
}
_CIFAR10 = {"cifar10": "cifar-10-batches-py", "cifar10-subset": "CIFAR10-subset"}
_LARGEST = 64 * 2**20  # bytes; the largest published file has 45 MiB
_FIX = (
    "set MODUTILS_DATA to a folder that holds the published files in torchvision's layout "
    "(MNIST/raw/train-images-idx3-ubyte.gz and so on), or leave it unset to download them"
)


class DataError(ValueError):
    """A data file is missing, truncated or altered; the message names it and says what to do."""


def cache_folder() -> Path:
    """The folder for what can be made again: ``MODUTILS_CACHE``, else ``modutils`` in the user's cache folder."""
    if chosen := os.environ.get("MODUTILS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modutils"


def load(
    name: str, split: str, *, root: str | Path | None = None, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Load a data set of images in its canonical order.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion-mnist", "cifar10"}
        ``digits``: 1297 training and 500 test images of 8×8 pixels, a fixed split stratified by class. ``cifar10``: the
        whole set where it is at hand, else the subset (10 000 and 2000 images), else a download of the whole.
    split : {"train", "test"}
    root : path, optional
        Folder in torchvision's layout; without it ``MODUTILS_DATA``, the cache, or a download.
    limit : int, optional
        Keep only the first ``limit`` images.

    Returns
    -------
    images : torch.Tensor
        (N, channels, height, width), float32 in [0, 1]; three channels of ``cifar10``, one of the others.
    labels : torch.Tensor
        (N,), int64 in 0…9.

    Raises
    ------
    ValueError
        Unknown name or split, or a limit below 1.
    DataError
        A file is missing, truncated or altered.

    Examples
    --------
    >>> images, labels = load("digits", "test")
    >>> images.shape, labels.shape
    (torch.Size([500, 1, 8, 8]), torch.Size([500]))
    """
    _check.choice("name", name, NAMES)
    _check.choice("split", split, SPLITS)
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit} must be at least 1, or None for all images")
    if name == "cifar10":
        pixels, labels = _cifar10(split, root)
        return pixels[:limit].float() / 255, labels[:limit].clone()
    if name == "digits":
        pixels, labels = _digits(split)
        note_read(checksums(name, split))
    else:
        pixels, labels = _idx(name, split, root)
    scale = 16 if name == "digits" else 255
    return pixels[:limit, None].float() / scale, labels[:limit].clone()


def class_names(name: str) -> tuple[str, ...]:
    """What the ten classes are called, in the order of their labels.

    Raises
    ------
    ValueError
        Unknown name.

    Examples
    --------
    >>> class_names("fashion-mnist")[:2]
    ('T-shirt', 'trouser')
    """
    _check.choice("name", name, NAMES)
    return {"fashion-mnist": CLOTHES, "cifar10": THINGS}.get(name, tuple("0123456789"))


def checksums(name: str, split: str) -> dict[str, str]:
    """Checksums that identify the data behind :func:`load`.

    Returns
    -------
    dict
        Data set and file, such as ``mnist/train-labels-idx1-ubyte``, to the MD5 of the expanded file, as published; for
        ``digits/train`` and ``digits/test``, of the pixels and labels. Of ``cifar10``, those of the whole set.

    Raises
    ------
    ValueError
        Unknown name or split.
    """
    _check.choice("name", name, NAMES)
    _check.choice("split", split, SPLITS)
    if name == "digits":
        pixels, labels = _digits(split)
        return {f"digits/{split}": hashlib.md5(pixels.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()}
    return {f"{name}/{file}": _MD5[name][file] for file in _files(name, split)}


_readers: ContextVar[tuple[dict[str, str], ...]] = ContextVar("readers", default=())


@contextmanager
def reading() -> Iterator[dict[str, str]]:
    """Collect the checksums of what this thread reads meanwhile, by file name, for a record's provenance."""
    seen: dict[str, str] = {}
    token = _readers.set((*_readers.get(), seen))
    try:
        yield seen
    finally:
        _readers.reset(token)


def note_read(found: Mapping[str, str]) -> None:
    """Tell whoever is :func:`reading` that files with these checksums were read, now or for what is cached."""
    for seen in _readers.get():
        seen.update(found)


def checksum_at_hand(file: str) -> str | None:
    """Checksum of a file as it is here, by its name in :func:`checksums`; None if it is not expanded here."""
    name, _, part = file.partition("/")
    if name == "digits" and part in SPLITS:
        return checksums(name, part)[file]
    if part not in _MD5.get(name, ()):
        return None
    if name in _FOLDERS:
        path = cache_folder() / "data" / _FOLDERS[name] / "raw" / part
    else:
        places = [folder / _CIFAR10[name] / part for folder in _folders(None)]
        path = next((place for place in places if place.is_file()), places[-1])
    if not path.is_file():
        return None
    return _md5_cached(path, path.stat().st_mtime_ns, path.stat().st_size)


def _files(name: str, split: str) -> list[str]:
    prefixes = ("train", "data") if split == "train" else ("t10k", "test")
    return [file for file in _MD5[name] if file.startswith(prefixes)]


@lru_cache(maxsize=2)
def _digits(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    # Here, since importing them takes as long as importing torch, and most processes read no digits.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    parts = train_test_split(pixels.reshape(-1, 8, 8), labels, test_size=500, random_state=0, stratify=labels)
    images, classes = (parts[0], parts[2]) if split == "train" else (parts[1], parts[3])
    return torch.tensor(images), torch.tensor(classes)


def _idx(name: str, split: str, root: str | Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = root or os.environ.get("MODUTILS_DATA")
    cache = cache_folder() / "data"
    for file in _MD5[name]:  # torchvision asks for all four, whichever split is read
        _expand(name, file, Path(chosen) if chosen else None, cache, verify=file in _files(name, split))
    dataset_class = getattr(torchvision().datasets, _FOLDERS[name])
    dataset = dataset_class(cache, train=split == "train", download=False)
    note_read(checksums(name, split))
    return dataset.data, dataset.targets


def _folders(root: str | Path | None) -> list[Path]:
    """Where data may be, the first that has them first."""
    chosen = root or os.environ.get("MODUTILS_DATA")
    return [*([Path(chosen)] if chosen else []), cache_folder() / "data"]


def _cifar10(split: str, root: str | Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (N, 3, 32, 32) uint8 and labels, of the whole set or of the subset."""
    folders = _folders(root)
    for folder in folders:
        if (folder / _CIFAR10["cifar10"]).is_dir():
            return _whole_cifar10(folder, split, download=False)
        ((file, md5),) = _MD5["cifar10-subset"].items()
        path = folder / _CIFAR10["cifar10-subset"] / file
        if path.exists():
            if (found := _md5(path)) != md5:
                raise DataError(f"{path} is altered: its MD5 is {found}, not {md5}; restore it, or remove it")
            with np.load(path, allow_pickle=False) as archive:
                pixels, labels = archive[f"x_{split}"], archive[f"y_{split}"]
            note_read({f"cifar10-subset/{file}": md5})
            return torch.from_numpy(pixels).movedim(3, 1), torch.from_numpy(labels.astype(np.int64))
    return _whole_cifar10(folders[-1], split, download=True)


def _whole_cifar10(folder: Path, split: str, *, download: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Through torchvision, which verifies every file before it reads any."""
    fix = "put the published cifar-10-batches-py, or CIFAR10-subset, into the folder that MODUTILS_DATA names"
    try:
        dataset = torchvision().datasets.CIFAR10(folder, train=split == "train", download=download)
    except (URLError, OSError, RuntimeError) as error:
        what = "could not be downloaded" if download else f"in {folder} is incomplete or altered"
        raise DataError(f"CIFAR-10 {what} ({error}); {fix}") from error
    note_read(checksums("cifar10", split))
    return torch.from_numpy(dataset.data).movedim(3, 1), torch.tensor(dataset.targets)


def _md5(path: Path) -> str:
    with open(path, "rb") as reader:
        return hashlib.file_digest(reader, "md5").hexdigest()


@lru_cache(maxsize=64)
def _md5_cached(path: Path, changed: int, size: int) -> str:
    """As `_md5`, once for every state of a file as its time and size tell it."""
    return _md5(path)


def _expand(name: str, file: str, source: Path | None, cache: Path, *, verify: bool) -> None:
    """Put the expanded ``file`` into the cache, unless it is there; with ``verify``, unless it is there unchanged."""
    target = cache / _FOLDERS[name] / "raw" / file
    if target.exists():
        if not verify or _md5(target) == _MD5[name][file]:
            return
        print(f"{target} has changed since it was made; it is made again", file=sys.stderr)
    if source is None:
        source = cache / "downloads"
        _download(name, file, source)
    folder = source / _FOLDERS[name] / "raw"
    packed, plain = folder / f"{file}.gz", folder / file
    origin = plain if plain.exists() else packed
    if not origin.exists():
        raise DataError(f"{packed} is missing; {_FIX}")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{file}.partial")
    with FileLock(cache / _FOLDERS[name] / ".lock"):
        try:
            _copy(origin, partial)
            if (found := _md5(partial)) != _MD5[name][file]:
                raise DataError(
                    f"{origin} is altered: expanded, its MD5 is {found}, not {_MD5[name][file]}; "
                    f"replace it by the published file, or {_FIX}"
                )
            partial.replace(target)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{origin} is truncated or not a gzip file ({error}); replace it, or {_FIX}") from error
        finally:
            partial.unlink(missing_ok=True)


def _copy(origin: Path, target: Path) -> None:
    """Write a file's content to ``target``, expanded if it is packed; a small file may expand to a very large one."""
    open_file: Callable[..., Any] = gzip.open if origin.suffix == ".gz" else open
    with open_file(origin, "rb") as reader, open(target, "wb") as writer:
        while chunk := reader.read(2**20):
            if writer.tell() > _LARGEST:
                raise DataError(
                    f"{origin} is altered: it expands to more than {_LARGEST // 2**20} MiB; "
                    f"replace it by the published file, or {_FIX}"
                )
            writer.write(chunk)


def _download(name: str, file: str, root: Path) -> None:
    datasets = torchvision().datasets
    dataset_class = getattr(datasets, _FOLDERS[name])
    md5 = dict(dataset_class.resources)[f"{file}.gz"]
    failures = []
    for mirror in dataset_class.mirrors:
        try:
            datasets.utils.download_url(
                f"{mirror}{file}.gz", root / _FOLDERS[name] / "raw", filename=f"{file}.gz", md5=md5
            )
            return
        except (URLError, OSError, RuntimeError) as error:
            failures.append(f"{mirror}: {error}")
    raise DataError(f"{file}.gz of {name} could not be downloaded ({'; '.join(failures)}); {_FIX}")


def torchvision() -> Any:
    """The package torchvision, also where its compiled operators do not fit the installed torch.

    torchvision describes ``nms`` and ``qnms`` to torch while it is imported, which fails when its compiled library
    could not be loaded (next to a CPU build of torch, say). Declaring the two names is enough: neither data sets nor
    classifiers call them.

    Raises
    ------
    DataError
        It is not installed.

    Examples
    --------
    >>> torchvision().models.resnet18().fc.in_features
    512
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("torchvision is not installed; install it, or use name='digits'")
    for library in Path(spec.submodule_search_locations[0]).glob("_C*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue  # built for another torch: its operators stay undeclared, and are declared below
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    return importlib.import_module("torchvision")
