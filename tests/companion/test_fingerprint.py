"""Fingerprints: what changes a result is seen, what does not is not, and every Python gives the same."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from companion.fingerprint import Fingerprint, _parse, below, differences, fingerprint, installed
from conftest import ROOT

#: A small tree of ours: `stage` calls `middle`, which calls `inner`, which calls `innermost`, in three files.
SAMPLE = {
    "__init__": "",
    "stages": '''
"""Stages."""
from dataclasses import dataclass
from functools import lru_cache, wraps

import numpy as np

from modutils import data, tools
from modutils.deep import inner as bottom
from modutils.tools import Base, middle

FACTOR = 2
unused = 5


@dataclass(frozen=True)
class Point(Base):
    """Where."""

    x: float
    y: float = 1.0


def stage(*, number: int, seed: int = 0, **options) -> dict[str, object]:
    """What the record keeps."""
    rng = np.random.default_rng(seed)
    if number < 0 or options:
        raise ValueError(f"number={number!r} must be at least 0, " "and no more")
    assert number < 100, "number is too large"
    images, labels = data.load("digits", "train")
    total = 0
    for inner in range(number):
        total += inner * FACTOR
    point = Point(middle(total), rng.normal())
    return {"value": point.x - bottom(1), "width": f"{total:>{seed}} of {number!r} is {total=}", "n": len(images)}


@lru_cache(maxsize=8)
def decorated(values):
    return [tools for tools in tools.chosen(values) if (last := tools)] + [tools.LIMIT, last]


def shadowing(unused, *FACTOR, **middle):
    """Names of its own that are also names of the module."""
    def bottom(tools):
        return tools + unused

    with open("file") as inner:
        pass
    try:
        return [Point for Point in FACTOR], lambda stage: stage, bottom(inner), middle
    except ValueError as decorated:
        return decorated


def local_import():
    from modutils.deep import inner
    import scipy.stats as st

    return inner(st.norm.ppf(0.5))
''',
    "tools": '''
"""Tools."""
from modutils.deep import inner

LIMIT = 3


class Base:
    scale = 1.0


def middle(value, *, offset=1):
    return inner(value) + offset


def chosen(values):
    return values[:LIMIT]
''',
    "deep": '''
"""Deep."""
from numba import njit


def inner(value):
    return innermost(value) + 1


@njit(fastmath=True)
def innermost(value):
    return value * 0.5
''',
}


class Tree:
    """A copy of the sample, with the real reader of data, that can be changed; every version in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.version = folder, 0
        real = {name: (ROOT / "modutils" / f"{name}.py").read_text(encoding="utf-8") for name in ("data", "_check")}
        self.files = dict(SAMPLE) | real

    def change(self, module: str, old: str, new: str) -> None:
        assert self.files[module].count(old) >= 1, old
        self.files[module] = self.files[module].replace(old, new)

    def fingerprint(self, name: str = "stage", module: str = "stages") -> Fingerprint:
        self.version += 1
        root = self.folder / str(self.version)
        for file, text in self.files.items():
            path = root / "modutils" / f"{file}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return fingerprint(f"modutils.{module}", name, locate=below(root))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


STAGE = "def stage(*, number: int, seed: int = 0, **options) -> dict[str, object]:"
TEXT = """raise ValueError(f"number={number!r} must be at least 0, " "and no more")"""
TOTAL = "    total = 0\n"


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        pytest.param("stages", "    total = 0\n", "    total = 0  # so far\n\n    # and on\n", id="comment"),
        pytest.param("stages", '"""What the record keeps."""', '"""Other words."""', id="docstring"),
        pytest.param("stages", '    """What the record keeps."""\n', "", id="no docstring"),
        pytest.param("stages", '    """Where."""\n\n', "", id="no docstring of a class"),
        pytest.param("tools", "class Base:\n", 'class Base:\n    """Base."""\n', id="new docstring"),
        pytest.param("tools", "scale = 1.0\n", 'scale = 1.0\n    """Size."""\n', id="docstring of an attribute"),
        pytest.param("stages", '"""Stages."""', '"""Other stages."""', id="docstring of the module"),
        pytest.param("stages", STAGE, "def stage(*, number, seed=0, **options):", id="annotations of a function"),
        pytest.param("stages", "    y: float = 1.0", "    y: int = 1.0", id="annotation of a field"),
        pytest.param("stages", "FACTOR = 2", "FACTOR: int = 2", id="new annotation of a constant"),
        pytest.param("stages", TOTAL, "    total: int = 0\n", id="new annotation of a variable"),
        pytest.param("stages", TOTAL, "    total: int\n    total = 0\n", id="annotation on a line of its own"),
        pytest.param("stages", "number={number!r} must be at least 0", "give {seed + 1}", id="text of an error"),
        pytest.param("stages", TEXT, 'raise ValueError("a plain one")', id="text of an error without f"),
        pytest.param("stages", '"number is too large"', 'f"number={number}"', id="text of an assertion"),
        pytest.param("stages", ', "number is too large"', "", id="no text of an assertion"),
        pytest.param("data", 'raise DataError(f"{packed} is missing; {_FIX}")', 'raise DataError("gone")', id="load"),
        pytest.param("data", "must be at least 1, or None for all images", "is too low", id="text in data.load"),
        pytest.param("stages", "Point(middle(total), rng.normal())", "Point(\n        middle(total),\n"
                     "        rng.normal(),\n    )", id="wrapped line"),
        pytest.param("stages", '"digits", "train"', "'digits', 'train'", id="quotes"),
        pytest.param("stages", '"value"', '"val" "ue"', id="string in two pieces"),
        pytest.param("deep", "0.5", "5e-1", id="number in another notation"),
        pytest.param("stages", "unused = 5", "unused = 6", id="what is not reached"),
        pytest.param("stages", "import numpy as np\n", "import numpy as np\nimport os\n", id="import that is not used"),
        pytest.param("stages", "import numpy as np\n", "import numpy\nimport numpy as np\n", id="second import"),
    ],
)  # fmt: skip
def test_what_does_not_matter_changes_nothing(tree: Tree, module: str, old: str, new: str) -> None:
    before = tree.fingerprint()
    tree.change(module, old, new)
    after = tree.fingerprint()
    assert after == before
    assert differences(before.definitions, after.definitions) == []


@pytest.mark.parametrize(
    ("module", "old", "new", "names"),
    [
        pytest.param("stages", "FACTOR = 2", "FACTOR = 3", ["FACTOR"], id="constant"),
        pytest.param("stages", "FACTOR = 2", "FACTOR = 2.0", ["FACTOR"], id="type of a constant"),
        pytest.param("stages", "FACTOR = 2\n", "FACTOR = 2\nFACTOR += 1\n", ["FACTOR"], id="constant changed later"),
        pytest.param("stages", "seed: int = 0", "seed: int = 1", ["stage"], id="default"),
        pytest.param("tools", "*, offset=1", "offset=1", ["middle"], id="kind of an argument"),
        pytest.param("stages", "number < 0", "number < 1", ["stage"], id="branch"),
        pytest.param("stages", "raise ValueError", "raise TypeError", ["stage"], id="kind of error"),
        pytest.param("stages", "assert number < 100", "assert number < 99", ["stage"], id="assertion"),
        pytest.param("stages", "inner * FACTOR", "inner + FACTOR", ["stage"], id="operator"),
        pytest.param("stages", "{total:>{seed}}", "{total:<{seed}}", ["stage"], id="format"),
        pytest.param("stages", "{number!r}", "{number!s}", ["stage"], id="conversion"),
        pytest.param("stages", '"n": len', '"N": len', ["stage"], id="name in the record"),
        pytest.param("deep", "value * 0.5", "value * 0.6", ["innermost"], id="callee three calls down"),
        pytest.param("deep", "@njit(fastmath=True)\n", "", ["innermost"], id="decorator"),
        pytest.param("deep", "fastmath=True", "fastmath=False", ["innermost"], id="argument of a decorator"),
        pytest.param("stages", "frozen=True", "frozen=True, eq=False", ["Point"], id="argument of dataclass"),
        pytest.param("stages", "    x: float\n    y: float = 1.0", "    y: float = 1.0\n    x: float = 1.0", ["Point"],
                     id="order of fields"),
        pytest.param("stages", "    x: float\n", "", ["Point"], id="field"),
        pytest.param("stages", "Point(Base)", "Point", ["Base", "Point"], id="base class"),
        pytest.param("tools", "scale = 1.0", "scale = 2.0", ["Base"], id="in a base class"),
        pytest.param("stages", "import numpy as np", "import jax.numpy as np", ["stage"], id="another package"),
        pytest.param("deep", '"""Deep."""\n', '"""Deep."""\nimport numpy\nnumpy.seterr(all="raise")\n',
                     ["(statements of the module)"], id="statement of a module"),
        pytest.param("data", '("train", "data") if split == "train"', '("train", "data") if split == "test"',
                     ["_files"], id="MNIST's train and test split swapped"),
        pytest.param("data", "train=split == \"train\"", "train=split == \"test\"", ["_idx", "_whole_cifar10"],
                     id="swapped when read"),
        pytest.param("data", "random_state=0", "random_state=1", ["_digits"], id="another seed of the digits' split"),
        pytest.param("data", "(parts[0], parts[2]) if split == \"train\"", "(parts[0], parts[2]) if split == \"test\"",
                     ["_digits"], id="the digits' train and test split swapped"),
        pytest.param("data", "scale = 16", "scale = 15", ["load"], id="scale of the pixels"),
    ],
)  # fmt: skip
def test_what_matters_is_seen_and_named(tree: Tree, module: str, old: str, new: str, names: list[str]) -> None:
    before = tree.fingerprint()
    tree.change(module, old, new)
    after = tree.fingerprint()
    assert after.digest != before.digest
    assert differences(before.definitions, after.definitions) == names


def test_a_renamed_file_changes_nothing(tree: Tree) -> None:
    before = tree.fingerprint()
    tree.files["bottom"] = tree.files.pop("deep")
    for module in ("stages", "tools"):
        tree.change(module, "modutils.deep", "modutils.bottom")
    assert tree.fingerprint()[:2] == before[:2]


def test_the_file_of_the_stage_itself_may_be_renamed(tree: Tree) -> None:
    before = tree.fingerprint()
    tree.files["pieces"] = tree.files.pop("stages")
    assert tree.fingerprint(module="pieces")[:2] == before[:2]


def test_a_moved_definition_changes_nothing(tree: Tree) -> None:
    before = tree.fingerprint()
    moved = "def inner(value):\n    return innermost(value) + 1\n"
    tree.change("deep", moved, "")
    tree.files["moved"] = f"from modutils import deep\n\n\n{moved.replace('innermost', 'deep.innermost')}"
    tree.change("stages", "from modutils.deep import inner as bottom", "from modutils.moved import inner as bottom")
    tree.change("tools", "from modutils.deep import inner", "from modutils.moved import inner")
    after = tree.fingerprint()
    assert after.definitions == before.definitions
    assert after.digest == before.digest
    assert after.modules != before.modules


def test_an_import_of_another_function_of_the_same_name_is_seen(tree: Tree) -> None:
    tree.files["other"] = "def inner(value):\n    return value\n"
    before = tree.fingerprint()
    tree.change("stages", "from modutils.deep import inner as bottom", "from modutils.other import inner as bottom")
    after = tree.fingerprint()
    assert after.digest != before.digest
    tree.change("stages", "from modutils.other import inner as bottom", "from modutils.deep import inner as lowest")
    tree.change("stages", "bottom(1)", "lowest(1)")
    assert tree.fingerprint() == before  # another name here for the same function is no change


def test_two_functions_of_one_name_that_change_places_are_seen(tree: Tree) -> None:
    tree.files["other"] = "def inner(value):\n    return value\n"
    tree.change("tools", "from modutils.deep import inner", "from modutils.other import inner")
    before = tree.fingerprint()
    assert [name for name in before.definitions if name.startswith("inner")] == ["inner", "inner (2)", "innermost"]
    tree.change("tools", "from modutils.other import inner", "from modutils.deep import inner")
    tree.change("stages", "from modutils.deep import inner as bottom", "from modutils.other import inner as bottom")
    after = tree.fingerprint()
    assert after.digest != before.digest
    assert differences(before.definitions, after.definitions)


def test_names_that_are_local_are_no_references(tree: Tree) -> None:
    found = tree.fingerprint("shadowing")
    assert list(found.definitions) == ["shadowing"]
    reached = tree.fingerprint().definitions
    assert "inner" in reached  # as `bottom`; the loop variable `inner` of `stage` is not it
    tree.change("stages", "bottom(1)", "1")
    tree.change("tools", "inner(value) + offset", "offset")
    assert "inner" not in tree.fingerprint().definitions


def test_what_a_comprehension_runs_over_is_looked_up_outside_of_it(tree: Tree) -> None:
    before = tree.fingerprint("decorated")
    assert list(before.definitions) == ["LIMIT", "chosen", "decorated"]
    tree.change("tools", "LIMIT = 3", "LIMIT = 4")
    assert differences(before.definitions, tree.fingerprint("decorated").definitions) == ["LIMIT"]


def test_imports_in_a_function_are_followed(tree: Tree) -> None:
    found = tree.fingerprint("local_import")
    assert list(found.definitions) == ["inner", "innermost", "local_import"]
    assert found.packages == ("numba", "scipy")


def test_all_that_is_reached_is_listed(tree: Tree) -> None:
    found = tree.fingerprint()
    assert found.modules == ("modutils._check", "modutils.data", "modutils.deep", "modutils.stages", "modutils.tools")
    assert {"numpy", "numba", "sklearn", "torch", "torchvision"} <= set(found.packages)
    assert {"stage", "Point", "Base", "FACTOR", "middle", "inner", "innermost", "load", "_digits", "_idx", "_MD5"} <= (
        found.definitions.keys()
    )
    assert not {"unused", "decorated", "local_import", "LIMIT"} & found.definitions.keys()


def test_threads_may_ask_at_once(tree: Tree) -> None:
    def give_way(*_: object) -> None:
        time.sleep(0)  # as any finalizer may, in the middle of ast.parse

    stage = "def stage(x):\n    return [(x + 1) * (y, [y]) for y in range(x)]\n" * 20
    tree.files |= {f"many_{number}": stage for number in range(40)}
    tree.fingerprint()
    locate = below(tree.folder / str(tree.version))
    _parse.cache_clear()
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(give_way)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: fingerprint(f"modutils.many_{number}", "stage", locate=locate), range(40)))
    finally:
        gc.callbacks.remove(give_way)
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)


def test_bad_arguments_are_named(tree: Tree) -> None:
    with pytest.raises(ValueError, match=r"modutils\.stages\.dream is not a definition of modutils"):
        tree.fingerprint("dream")
    tree.change("tools", "from modutils.deep import inner", "from .deep import inner")
    with pytest.raises(ValueError, match=r"tools\.py:3: imports must be absolute"):
        tree.fingerprint()
    tree.change("tools", "from .deep import inner", "from modutils.deep import outer")
    tree.change("tools", "inner(value)", "outer(value)")
    with pytest.raises(ValueError, match=r"modutils\.deep\.outer is imported, but is not there"):
        tree.fingerprint()


def test_modules_are_found_without_running_them() -> None:
    code = (
        "import sys\nfrom companion.fingerprint import installed\n"
        "print(installed('studies.biclustering.cells.train'), installed('modutils.data.load'))\n"
        "print(installed('studies.biclustering.cells').name, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["None", "None", "cells.py", "False"]
    assert installed("numpy_that_is_not_there") is None


# --- every Python gives the same --------------------------------------------------------------------------------------

#: Of `SAMPLE` without the reader of data. CI runs this on every Python that is supported. It changes only when what a
#: fingerprint is changes, and then every witness must be made anew.
DIGESTS = {
    "stage": "3d7b8833847f",
    "decorated": "5e36394b990b",
    "shadowing": "dc5ed9bb9d7a",
    "local_import": "255228429084",
}


def test_the_digest_is_the_same_on_every_python(tree: Tree) -> None:
    tree.files["data"] = "def load(name, split):\n    return [name], [split]\n"
    assert {name: tree.fingerprint(name).digest for name in DIGESTS} == DIGESTS


#: Run by other Pythons, which may have no packages: loads fingerprint.py alone.
_EVERY_STAGE = """
import importlib.util, json, sys
from pathlib import Path

root = Path(sys.argv[1])
spec = importlib.util.spec_from_file_location("fingerprint", root / "companion" / "fingerprint.py")
module = sys.modules["fingerprint"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps({
    f"{study} {stage}": module.fingerprint(
        f"studies.{study}.cells", stage, locate=module.below(root)
    )
    for study, stage in json.loads(sys.argv[2])
}))
"""


def _interpreters() -> dict[str, str]:
    """Other supported Pythons of this machine by their version: on the path, or pyenv's."""
    found: dict[str, str] = {}
    ours = sys.version_info[:2]
    for minor in (11, 12, 13):
        candidates = [shutil.which(f"python3.{minor}")]
        folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        candidates += [str(path) for path in sorted(folder.glob(f"3.{minor}.*/bin/python3"))]
        for candidate in filter(None, candidates):
            asked = subprocess.run(
                [candidate, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True
            )
            if asked.stdout.split() == ["3", str(minor)] and (3, minor) != ours:
                found[f"3.{minor}"] = candidate
    return found


def test_other_pythons_of_this_machine_give_the_same(
    capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    stages = [(path.parent.name, path.stem) for path in sorted((ROOT / "results").glob("*/*.json")) if path.is_file()]
    assert len(stages) > 20
    arguments = ["-c", _EVERY_STAGE, str(ROOT), json.dumps(stages)]
    here = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout
    others = _interpreters()
    for version, interpreter in others.items():
        there = subprocess.run([interpreter, *arguments], capture_output=True, text=True)
        assert there.returncode == 0, there.stderr
        assert json.loads(there.stdout) == json.loads(here), version
    compared = ", ".join(others) or "none is installed here, so only the digests above are tested"
    record_property("compared with Python", compared)
    with capsys.disabled():
        print(f"\n{len(stages)} fingerprints of Python {sys.version_info[0]}.{sys.version_info[1]}: as in {compared}")
    assert re.match(r"3\.1[123]|none", compared)
