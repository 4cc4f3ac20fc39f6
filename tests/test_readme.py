"""What the README shows works as it stands."""

from __future__ import annotations

import doctest
import re

from companion.records import ROOT
from companion.study import names


def test_the_ten_lines_on_a_network_of_your_own_run() -> None:
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted >= 10
    assert found.failed == 0


def test_folders_and_commands_that_it_names_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = set(re.findall(r"^\| `(\w+)/`", text, re.MULTILINE))
    kept = {"notebooks", "modutils", "companion", "studies", "results", "book", "benchmarks", "tests"}
    assert folders == kept | {"_executed"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= targets
    assert set(re.findall(r"-m companion (?:verify|run) ([a-z]\w+)", text)) <= set(names())


def test_badges_are_those_of_the_workflows() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    badges = re.findall(r"^\[!\[[\w ]+\]\((\S+)/badge\.svg\)\]\((\S+)\)$", text, re.MULTILINE)
    assert len(badges) == text.count("[![")
    # A badge shows what the workflow of this name did last, and leads there.
    assert all(shown == leads for shown, leads in badges)
    names = {shown.rpartition("/")[2] for shown, _ in badges}
    assert names == {path.name for path in (ROOT / ".github" / "workflows").glob("*.yml")}
