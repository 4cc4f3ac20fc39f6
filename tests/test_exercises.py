"""Every exercise of a chapter ("Try it") can be done as it is written; here on fewer epochs, runs and draws."""

from __future__ import annotations

import re
from typing import Any

import jupytext
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from conftest import ROOT
from modutils import graphs, hierarchy, lesions, spectral

#: What makes the part of a chapter that runs live small, and the cells that no exercise needs.
SMALL = {
    "biclustering": ({"epochs=15": "epochs=4"}, ()),
    "upstream_downstream": (
        {
            '"epochs": 60': '"epochs": 3',
            "np.empty((20, len(steps)))": "np.empty((1, len(steps)))",
            "range(20)": "range(2)",
        },
        (),
    ),
    "neural_sculpting": (
        {"sculpting.sculpt(task, [24, 24], how, seeds=[seed])": "sculpting.sculpt(task, [24, 24], how, **ONE)"},
        ("idea = tasks.load",),
    ),
    "your_own_network": ({"epochs=10": "epochs=6"}, ("inspect",)),
    "bake_off": ({"6000, groups": "3000, groups"}, ()),
    "detecting_modularity": (
        {'"epochs": 40': '"epochs": 3', "shuffles=30": "shuffles=3"},
        ("rng.random((above, below))", "proxies.subjects", "in tested", "seen_by ="),
    ),
}


def text_of(chapter: str) -> str:
    notebook = jupytext.read(ROOT / "notebooks" / f"{chapter}.py")
    (text,) = [cell.source for cell in notebook.cells if cell.cell_type == "markdown" and "## Try it" in cell.source]
    return " ".join(str(text).split())


def live(chapter: str, *changes: tuple[str, str]) -> dict[str, Any]:
    """The names that the live part of a chapter leaves, after changes to its code, each of which must apply once."""
    small, skipped = SMALL[chapter]
    sources = [
        cell.source
        for cell in jupytext.read(ROOT / "notebooks" / f"{chapter}.py").cells
        if cell.cell_type == "code" and not any(text in cell.source for text in skipped)
    ]
    end = next(place for place, source in enumerate(sources) if "open_chapter(" in source)
    code = "\n\n".join(sources[:end])
    for old, new in changes:
        assert code.count(old) == 1, (code.count(old), old)
        code = code.replace(old, new)
    for old, new in small.items():
        assert old in code, old
        code = code.replace(old, new)
    names: dict[str, Any] = {"__name__": chapter, "ONE": {"unit_steps": [40.0], "edge_steps": [2.5], "seeds": [5]}}
    with mpl.rc_context({"figure.max_open_warning": 0}):
        exec(compile(code, f"{chapter}.py", "exec"), names)
    plt.close("all")
    return names


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plt, "show", lambda *_: None)
    mpl.use("Agg")


def test_every_chapter_has_three_exercises() -> None:
    for chapter in SMALL:
        assert re.findall(r"(?<= )(\d)\. \*\*", text_of(chapter)) == ["1", "2", "3"]


def test_every_exercise_has_a_folded_solution_and_a_time() -> None:
    for chapter in SMALL:
        solutions = re.findall(
            r"<details> <summary>What one sees \(([^)]+)\)</summary> (.+?) </details>", text_of(chapter)
        )
        assert len(solutions) == 3, chapter
        assert all(re.search(r"second|minute|as long as", time) for time, _ in solutions), chapter
        assert all(len(text.split()) > 12 for _, text in solutions), chapter


def test_biclustering_a_meaningless_question(capsys: pytest.CaptureFixture[str]) -> None:
    new = "target = torch.randint(10, predicted.shape)"
    assert f"replace `target = predicted` by a random class for every image, `{new}`" in text_of("biclustering")
    names = live("biclustering", ("target = predicted\n", new + "\n"))
    assert names["with_target"] > 2 * names["untrained_nmi"]  # yes, it groups by whatever it is told
    assert f"with the classes it was asked for {names['with_target']:.2f}" in capsys.readouterr().out


def test_biclustering_all_vectors() -> None:
    new = 'form = {"n_vectors": 9, "embedding": "unit", "seed": seed}'
    assert f"Set `{new}`" in text_of("biclustering")
    assert "set the 6 to 39" in text_of("biclustering")
    old = 'form = {"n_vectors": 4, "embedding": "degree", "seed": seed}'
    names = live("biclustering", (old, new), ('{"n_vectors": 6}', '{"n_vectors": 39}'))
    assert 0 < names["purity"] <= 1


def test_biclustering_another_network() -> None:
    new = 'networks.cnn(image_size=8, activation="tanh")'
    assert f"`{new}`" in text_of("biclustering")
    names = live("biclustering", ("networks.cnn(image_size=8)", new))
    assert any(isinstance(part, nn.Tanh) for part in names["network"])
    assert names["e"].any()


def test_upstream_downstream_more_dropout() -> None:
    text = text_of("upstream_downstream")
    assert "set `rates = [0.5, 0.7, 0.8]`" in text
    assert 'set `"epochs": 300`' in text
    names = live("upstream_downstream", ("rates = [0.2, 0.4, 0.6]", "rates = [0.5, 0.7, 0.8]"))
    assert names["names"] == ["plain", "dropout 0.5", "dropout 0.7", "dropout 0.8", "L2 0.01", "L1 0.001"]
    assert names["dropout"][1:4] == [0.5, 0.7, 0.8]
    assert list(names["networks"])[1:] == names["names"]


def test_upstream_downstream_another_measure_and_a_lesser_search() -> None:
    text = text_of("upstream_downstream")
    line = "labels_of[name] = modularity.find_modules(normalised, seed=seed, **search).labels\n"
    first = "W = network.hidden2.weight"
    second = 'labels_of["weights"] = modularity.find_modules(abs(W.T @ W).numpy(), seed=seed, **search).labels'
    third = 'search = {"start": "spectral", "steps": 1000, "polish": False}'
    assert all(f"`{code}`" in text for code in (first, second, third, "seed=seed + 1"))
    for seed in ("seed=seed", "seed=seed + 1"):
        start = "labels_of = {}\n"
        changes = ((start, f"{third}\n{start}"), (line, f"{line.replace('seed=seed', seed)}{first}\n{second}\n"))
        assert list(live("upstream_downstream", *changes)["labels_of"]) == [
            "cov",
            "i-sens",
            "o-sens",
            "hess",
            "weights",
        ]


def test_neural_sculpting_without_noise() -> None:
    text = text_of("neural_sculpting")
    new = "from dataclasses import replace", "task = replace(task, noise=0.0)"
    assert all(f"`{line}`" in text for line in new)
    top = "import time\n\nclock = time.process_time()\nruns ="
    names = live("neural_sculpting", (top, "\n".join((*new, top))))
    assert names["task"].noise == 0
    assert not names["best"].failed


def test_neural_sculpting_a_harder_task() -> None:
    text = text_of("neural_sculpting")
    task, how = 'tasks.load("overlap-2")', "sculpting.Training(0.1, 32, 40)"
    assert f"`{task}`" in text
    assert f"`{how}`" in text
    old = "sculpting.Training(learning_rate=0.05, batch_size=8, epochs=10)"
    names = live("neural_sculpting", ('tasks.load("separable")', task), (old, how))
    assert len(names["task"].modules) == 5
    assert names["dense"].masks[0].shape == (24, names["task"].inputs.shape[1])


def test_neural_sculpting_a_network_of_ones_own() -> None:
    from studies.neural_sculpting import task_drawing as drawing

    assert "`[weight != 0 for weight in ...]`" in text_of("neural_sculpting")
    assert "`drawing.sculpted_network`" in text_of("neural_sculpting")
    rng = np.random.default_rng(0)
    weights = [(rng.random(shape) < 0.5) * rng.normal(size=shape) for shape in ((6, 4), (5, 6), (2, 5))]
    masks = [weight != 0 for weight in weights]
    labels = hierarchy.detect_modules(masks)
    assert [len(own) for own in labels] == [4, 6, 5, 2]
    drawing.sculpted_network(plt.subplots()[1], masks, labels)
    plt.close("all")


def test_detecting_modularity_other_clusters_and_another_graph() -> None:
    text = text_of("detecting_modularity")
    assert "In *What a good division is* set `k = 8`" in text
    assert 'add `kind="pearson"` to `graphs.correlation_graph`' in text
    old = "graphs.correlation_graph(np.concatenate(values, axis=1))"
    new = 'graphs.correlation_graph(np.concatenate(values, axis=1), kind="pearson")'
    names = live("detecting_modularity", ("k = 12\n", "k = 8\n"), (old, new))
    assert names["clusters"].max() == 7


def test_detecting_modularity_a_network_of_ones_own() -> None:
    text = text_of("detecting_modularity")
    assert all(f"`{name}`" in text for name in ("graphs.layer_weights(model)", "lesions.correct_counts"))
    assert 'with `units="channel"`' in text
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    model = nn.Sequential(*layers).eval()
    weights = graphs.layer_weights(model)
    of_layer = np.split(spectral.layered_clusters(weights, 3), np.cumsum(graphs.layer_sizes(weights))[:-1])[-1]
    channels = np.flatnonzero(of_layer == of_layer[0])
    random = np.random.default_rng(0).choice(8, len(channels), replace=False)
    images, labels = torch.rand(30, 1, 8, 8), np.arange(30) % 10
    counts = lesions.correct_counts(model, model[3], images, labels, [channels, random], units="channel")
    assert counts.shape == (2, 10)


def test_your_own_network_another_partition() -> None:
    old, new = "permutation_test([by_modularity]", "permutation_test([by_cut]"
    assert f"replace `{old}` by `{new}`" in text_of("your_own_network")
    names = live("your_own_network", (old, new))
    assert sorted(names["tested"].size) == sorted(np.unique(names["by_cut"], return_counts=True)[1])


def test_your_own_network_shuffled() -> None:
    new = "permutation_test([shuffled]"
    assert f"Replace it by `{new}`" in text_of("your_own_network")
    names = live("your_own_network", ("permutation_test([by_modularity]", new))
    values = names["tested"].values["lost"]
    p = np.mean(values[:, 1:-1] >= values[:, :1], axis=1)
    assert ((p > 0) & (p <= 1)).all()
    assert not np.array_equal(names["shuffled"], names["by_modularity"])
    assert sorted(names["shuffled"]) == sorted(names["by_modularity"])


def test_your_own_network_another_layer() -> None:
    assert 'Set `layer = "blocks.1"`, which has 16 channels' in text_of("your_own_network")
    names = live("your_own_network", ('layer = "blocks.2"', 'layer = "blocks.1"'))
    assert len(names["by_modularity"]) == 16


def _ari(names: dict[str, Any], method: str) -> float:
    return next(lower + upper for name, lower, upper in names["standings"] if name == method) / 2


def test_bake_off_a_hidden_plant() -> None:
    assert "Set `delta = 0.8` in the first code cell" in text_of("bake_off")
    clear, hidden = (live("bake_off", ("delta = 0.5\n", f"delta = {delta}\n")) for delta in (0.2, 0.8))
    for method in ("co-clustering", "loss Hessian", "reach 0.9"):
        assert _ari(hidden, method) < _ari(clear, method) - 0.3, method
    assert _ari(hidden, "in-weight") > _ari(hidden, "loss Hessian")  # somebody still sees it


def test_bake_off_blank_instead_of_swapped() -> None:
    old, new = "inputs[:, image].roll(1, dims=0)", "0"
    assert f"replace `{old}` by `{new}`" in text_of("bake_off")
    names = live("bake_off")
    cells = [cell.source for cell in jupytext.read(ROOT / "notebooks" / "bake_off.py").cells]
    (cell,) = [source for source in cells if "def mine(" in source]
    assert cell.count(old) == 1
    found = []
    for source in (cell, cell.replace(old, new)):
        exec(compile(source, "cell", "exec"), names)
        found.append(names["own"].ari)
    assert np.mean(found[0]) > 0.5
    assert found[0] != found[1]


def test_bake_off_three_images() -> None:
    assert "Set `groups = 3` where the network is planted" in text_of("bake_off")
    names = live("bake_off", ("groups = 2\n", "groups = 3\n"))
    assert names["right"].shape == (3,)
    assert _ari(names, "in-weight") > 0.9
