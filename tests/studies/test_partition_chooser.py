"""The chooser of two measures: every unit stands among its module on both sides, and the words are the library's."""

from __future__ import annotations

import json
import re
from html import unescape
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag

from modutils import agreement
from studies.upstream_downstream.chooser import partition_chooser

MEASURES = ("first", "a < b", "third")


def partitions() -> dict[str, np.ndarray]:
    found = np.random.default_rng(0).integers(-1, 4, (2, 3, 20))
    return {"one": found[0], "other": found[1]}


def box() -> Tag:
    html = partition_chooser(partitions(), MEASURES, first=("other", "a < b", "first"))
    (found,) = BeautifulSoup(html, "html.parser").select(".partition-chooser")
    return found


def layouts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(unescape(str(box()["data-layouts"])))
    return found


def test_the_units_of_a_module_stand_together_and_apart_from_others() -> None:
    for layout, labels in zip(layouts(), partitions().values(), strict=True):
        for a in range(3):
            for b, places in [(a, layout["left"][a]), *enumerate(layout["right"][a])]:
                order = np.argsort(places)
                assert len(set(places)) == 20
                gaps = np.diff(np.array(places)[order])
                changes = labels[b][order][1:] != labels[b][order][:-1]
                assert changes.sum() == len(set(labels[b].tolist())) - 1  # each module in one piece
                assert gaps[changes].min() > gaps[~changes].max()
                if (labels[b] < 0).any():
                    assert labels[b][order[-1]] == -1  # unused units last


def test_colours_are_modules_and_words_are_of_the_two() -> None:
    for layout, labels in zip(layouts(), partitions().values(), strict=True):
        similarity, chance = agreement.element_similarities(labels), agreement.chance_similarities(labels)
        for a in range(3):
            assert len({*zip(labels[a].tolist(), layout["colors"][a], strict=True)}) == len(set(labels[a].tolist()))
            counts = [int((np.array(layout["colors"][a]) == color).sum()) for color in range(4)]
            assert all(more >= fewer for more, fewer in pairwise(counts))
            for b in range(3):
                numbers = [float(number) for number in re.findall(r"\d\.\d\d", layout["words"][a][b])]
                assert numbers == pytest.approx([similarity[a, b], chance[a, b]], abs=0.005)


def test_without_script_it_shows_the_first_choice() -> None:
    found, layout = box(), layouts()[1]
    assert [float(str(line["y1"])) for line in found.select("line")] == layout["left"][1]
    assert [float(str(line["y2"])) for line in found.select("line")] == layout["right"][1][0]
    assert [text.text for text in found.select("text")] == ["a < b", "first"]
    assert [option.text for option in found.select("option[selected]")] == ["other", "a < b", "first"]
    assert found.select("p")[0].has_attr("hidden")
    assert found.output is not None
    assert found.output.text == layout["words"][1][0]


def test_refuses_what_cannot_be_chosen() -> None:
    with pytest.raises(ValueError, match="choose one of first, a < b, third"):
        partition_chooser(partitions(), MEASURES, first=("one", "fourth", "first"))
    with pytest.raises(ValueError, match=r"needed is \(2, units\)"):
        partition_chooser(partitions(), MEASURES[:2], first=("one", "first", "first"))
