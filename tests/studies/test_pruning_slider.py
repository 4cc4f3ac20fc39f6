"""The pruning slider: every edge and unit is there for just the steps in which the masks have it."""

from __future__ import annotations

import json
import re
from html import unescape

import numpy as np
import pytest
from bs4 import BeautifulSoup

from modutils import hierarchy, sculpting, tasks
from studies.neural_sculpting import slider
from studies.neural_sculpting.task_drawing import module_colors

TASK = tasks.load("separable")


def history() -> list[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    first = [rng.random(shape) < 0.9 for shape in ((5, 4), (4, 5))]
    second = [mask & (rng.random(mask.shape) < 0.7) for mask in first]
    return [first, second, [mask & (rng.random(mask.shape) < 0.8) for mask in second]]


def test_elements_are_there_as_long_as_the_masks_have_them() -> None:
    steps = history()
    labels = hierarchy.detect_modules(steps[-1])
    drawn = BeautifulSoup(slider.pruning_slider(steps, labels, module_colors(TASK, labels)), "html.parser")
    until = [int(str(line["data-until"])) for line in drawn.select("line")]
    for step, masks in enumerate(steps):
        assert sum(one >= step for one in until) == sum(int(mask.sum()) for mask in masks)
    assert len(drawn.select("circle")) == 4 + 5 + 4
    words = json.loads(unescape(str(drawn.select(".pruning-slider")[0]["data-words"])))
    assert [int(re.findall(r"(\d+) edges", one)[0]) for one in words] == [
        sum(int(mask.sum()) for mask in masks) for masks in steps
    ]
    (control,) = drawn.select("input")
    assert int(str(control["max"])) == len(steps) - 1 == len(words) - 1


def test_a_real_run_never_brings_an_edge_back() -> None:
    how = sculpting.Training(0.05, 8, 10)

    run = sculpting.sculpt(TASK, [24, 24], how, history=True, unit_steps=[40.0], edge_steps=[10.0], seeds=[5])[0]
    labels = hierarchy.detect_modules(run.history[-1])
    assert "<svg" in slider.pruning_slider(run.history, labels, module_colors(TASK, labels))


def test_refuses_a_history_that_is_none() -> None:
    steps = history()
    labels = hierarchy.detect_modules(steps[-1])
    with pytest.raises(ValueError, match="2 or more"):
        slider.pruning_slider(steps[:1], labels, {})
    with pytest.raises(ValueError, match="comes back"):
        slider.pruning_slider(steps[::-1], labels, {})
