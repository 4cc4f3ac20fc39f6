"""The bake-off: competitors find what is clear, scores are what they say, rules meet their bars, strangers count."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from companion import sweeps, trials
from companion.__main__ import main
from companion.claims import decide
from companion.records import Results
from companion.trials import Trial
from conftest import laid_out
from modutils import lesions, planted, similarity
from modutils.statistics import Interval
from studies.bake_off import STUDY, cells, claims, evidence, figures, leaderboard, methods, scores
from studies.bake_off.evidence import Evidence
from studies.bake_off.methods import NAMES, Net

Loaded = tuple[Net, list[np.ndarray], tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def clear() -> Loaded:
    """A small network whose groups share nothing."""
    return cells.load(family="aligned", dataset="digits", groups=2, delta=0.0, seed=5)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The record of the quick scale."""
    folder = tmp_path_factory.mktemp("quick")
    plan = cells.plan("quick")
    sweeps.run(plan, folder, progress=False)
    return Results(plan, folder)


def of_quick(quick: Results) -> Evidence:
    return evidence.evidence_of(quick, "quick")["digits"]()


# --- who competes -----------------------------------------------------------------------------------------------------


def test_everybody_labels_every_unit_and_finds_groups_that_share_nothing(clear: Loaded) -> None:
    net, true, _ = clear
    before = copy.deepcopy(net.model.state_dict())
    labels, seconds = methods.compete(net)
    assert list(labels) == list(seconds) == NAMES
    assert all(torch.equal(before[name], value) for name, value in net.model.state_dict().items())
    alive = [scores.fires(net.model, layer, net.inputs) for layer in methods.LAYERS]
    for name, own in labels.items():
        assert [one.shape for one in own] == [(48,), (48,)], name
        assert all(one.dtype == np.int64 and one.min() >= -1 for one in own), name
        if not name.endswith(", Q") and not name.startswith("sculpting"):
            assert all(len(set(one[one >= 0])) <= 2 for one in own), name
    sure = {
        "co-clustering", *methods.MEASURES, "weights, all", "weights, hidden", "weights, local", "in-weight",
        "out-weight", "class preference", "activations", "activations, all", "reach 0.8", "reach 0.8, tree",
    }  # fmt: skip
    found = {name: [scores.agreement(true[at], labels[name][at], alive[at]) for at in (0, 1)] for name in labels}
    assert {name: ari for name, ari in found.items() if name in sure and min(ari) < 0.9} == {}
    assert max(map(abs, found["random"] + found["random, equal sizes"])) < 0.2


def test_the_hessian_of_several_heads_is_the_sum_of_the_sizes_of_theirs(clear: Loaded) -> None:
    net, *_ = clear
    small = net._replace(inputs=net.inputs[:40])
    for layer, found in zip(methods.LAYERS, methods.similarities(small, "loss_hessian"), strict=True):
        heads = [
            similarity.unit_similarity(
                net.model, layer, small.inputs, measure="loss_hessian", output=planted.head(head)
            )
            for head in (0, 1)
        ]
        np.testing.assert_allclose(found, similarity.normalize(heads[0] + heads[1]).numpy(), atol=1e-5)
    other = methods.similarities(small, "output_sensitivity")[1]
    alone = similarity.unit_similarity(net.model, "act2", small.inputs, measure="output_sensitivity")
    np.testing.assert_allclose(other, similarity.normalize(alone).numpy(), atol=1e-6)


def test_losses_of_single_lesions_are_those_of_the_library(clear: Loaded) -> None:
    net, *_ = clear
    found = methods.hurt(net)[1]
    for head in (0, 1):
        losses = lesions.lesioned_losses(
            net.model, "act2", net.inputs, net.targets[:, head], [[], [7]], output=planted.head(head)
        ).mean(1)
        assert found[7, head] == pytest.approx(losses[1] - losses[0], abs=1e-5)


def test_a_graph_of_fewer_units_than_groups_is_left_alone() -> None:
    graph = np.diag([1.0, 2, 3, 4])
    assert methods.cut(graph, 2).tolist() == [-1] * 4  # only diagonal: no edge
    graph[0, 1] = graph[1, 0] = 1
    assert methods.cut(graph, 3).tolist() == [-1] * 4
    assert sorted(methods.cut(graph, 2)) == [-1, -1, 0, 1]


def test_a_network_of_which_pruning_leaves_nothing_gets_no_modules(clear: Loaded) -> None:
    net, *_ = clear
    nothing = [np.zeros(shape, bool) for shape in ((48, 128), (48, 48), (20, 48))]
    for tree in (False, True):
        assert all((one == -1).all() for one in methods.by_reach(nothing, net, tree=tree))
    assert all((one == -1).all() for one in methods.detected(nothing, net))


def test_with_one_head_or_one_image_baselines_make_one_group() -> None:
    net, true, _ = cells.load(family="columns", dataset="digits", groups=2, delta=0.0, seed=5)
    labels, _ = methods.compete(net)
    for name in ("in-weight", "out-weight", "class preference", "single unit"):
        assert all(set(one) == {0} for one in labels[name]), name
    alive = scores.fires(net.model, "act2", net.inputs)
    assert scores.agreement(true[1], labels["in-weight"][1], alive) == 0
    assert scores.agreement(true[1], labels["weights, hidden"][1], alive) == 1


def test_a_rescaled_copy_is_the_same_to_those_who_do_not_look_at_weights() -> None:
    params: dict[str, Any] = {"dataset": "digits", "groups": 2, "delta": 0.3, "seed": 5}
    net, _, test = cells.load(family="aligned", **params)
    other, _, _ = cells.load(family="rescaled", **params)
    torch.testing.assert_close(net.model(test[0]), other.model(test[0]), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(net.model.get_parameter("logits.weight"), other.model.get_parameter("logits.weight"))
    for name, measure in methods.MEASURES.items():
        for a, b in zip(methods.similarities(net, measure), methods.similarities(other, measure), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-3, err_msg=name)


# --- how they are judged ----------------------------------------------------------------------------------------------


def test_agreement_counts_units_that_fire_and_those_without_a_module() -> None:
    true, alive = np.array([0, 0, 0, 1, 1, 1, 0, 1]), np.arange(8) < 6
    assert scores.agreement(true, np.array([5, 5, 5, 2, 2, 2, 2, 5]), alive) == 1
    assert scores.agreement(true, np.full(8, -1), alive) == 0  # −1 everywhere
    assert scores.agreement(true, np.zeros(8, int), alive) == 0  # one group
    assert 0 < scores.agreement(true, np.array([-1, 0, 0, 1, 1, 1, 9, 9]), alive) < 1
    assert np.isnan(scores.agreement(true, true, np.arange(8) < 3))  # one planted group is left
    assert scores.unassigned(np.array([-1, -1, 0, 1, 1, 1, -1, -1]), alive) == pytest.approx(1 / 3)
    assert np.isnan(scores.unassigned(true, np.zeros(8, bool)))


@pytest.mark.parametrize(
    ("lost", "value"),
    [
        ([[0.8, 0.1], [0.0, 0.6]], 0.65),
        ([[0.0, 0.6], [0.8, 0.1]], 0.65),  # whatever the order
        ([[0.8, 0.1], [0.7, 0.1]], 0.05),  # both hit one head
        ([[0.8, 0.1]], 0.35),  # one module
        ([[0.8, 0.1], [0.0, 0.6], [0.0, 0.9]], 0.8),  # more modules than heads
        ([[0.6, 0.3, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.6]], (0.45 + 0.6 + 0.6) / 3),
    ],
)
def test_modules_are_matched_one_to_one_to_heads(lost: list[list[float]], value: float) -> None:
    assert scores.matched(np.array(lost)) == pytest.approx(value)


def test_selectivities_are_of_counts_of_right_answers(clear: Loaded) -> None:
    net, true, (inputs, targets) = clear
    sets = [np.flatnonzero(true[1] == group) for group in (0, 1)]
    by_head = [
        lesions.correct_counts(net.model, "act2", inputs, targets[:, head], [[], *sets], output=planted.head(head)).sum(
            1
        )
        for head in (0, 1)
    ]
    lost = np.array([(counts[0] - counts[1:]) / len(inputs) for counts in by_head]).T
    np.testing.assert_allclose(scores.drops(net.model, "act2", inputs, targets, sets), lost)
    found = scores.selectivities(net.model, "act2", inputs, targets, [true[1], np.full(48, -1), np.zeros(48, int)])
    assert found[0] == pytest.approx(scores.matched(lost))
    assert found[0] > 0.6
    assert found[1] == 0
    assert abs(found[2]) < 0.1


def test_a_greedy_search_takes_what_hurts_one_head_alone(clear: Loaded) -> None:
    net, true, test = clear
    for head in (0, 1):
        chosen, rest = scores.greedy(net.model, net.inputs, net.targets, head)
        assert sorted([*chosen, *rest]) == list(range(48))
        assert len(chosen) <= 24
        assert set(true[1][chosen[:5]]) == {head}
        lost = scores.drops(net.model, "act2", *test, [chosen])[0]
        assert lost[head] - lost[1 - head] > 0.5
        first = _probabilities(net, [[unit] for unit in range(48)])
        assert chosen[0] == int((first[:, 1 - head] - first[:, head]).argmax())


def _probabilities(net: Net, sets: list[list[int]]) -> np.ndarray:
    """Mean probability of the right digit, (sets, heads)."""
    logits = torch.from_numpy(lesions.lesioned_logits(net.model, "act2", net.inputs, sets))
    p = logits.unflatten(2, (2, 10)).softmax(3)
    right = net.targets[None, :, :, None].expand(len(sets), -1, -1, 1)
    return p.gather(3, right)[..., 0].mean(1).numpy()


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_contest_says_what_it_found_in_the_order_of_the_names(quick: Results) -> None:
    for family in ("aligned", "crossed", "columns", "rescaled"):
        for record in quick.records("contest", family=family):
            one = record.values
            assert one["names"] == NAMES
            for name in ("ari", "unassigned", "selectivity", "random"):
                assert one[name].shape == (len(NAMES), 2), name
            assert [table.shape for table in one["labels"]] == [(len(NAMES), 48)] * 2
            for at in (0, 1):
                row = NAMES.index("weights, local")
                found = scores.agreement(one["plant"][at], one["labels"][at][row], one["fires"][at])
                assert one["ari"][row, at] == pytest.approx(found)
            assert np.isnan(one["selectivity"]).all() == (family == "columns")
            assert ("greedy" in one) == (family == "aligned")
            assert len(one["seconds"]) == len(NAMES)


def test_networks_that_did_not_learn_are_left_out_and_counted(quick: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    of = of_quick(quick)
    assert len(of.networks("aligned", 0.3)) == 1
    assert "did not learn" not in claims._n(of, "aligned", 0.3)
    monkeypatch.setattr(cells, "LEARNED", 1.01)
    assert of.networks("aligned", 0.3) == {}
    assert len(of.recorded("aligned", 0.3)) == 1
    assert claims._n(of, "aligned", 0.3) == " 1 networks that did not learn are left out."
    assert of.ari("covariance", "aligned", 0.3).shape == (0,)
    assert of.table("covariance").size == 0
    rows = next(iter(STUDY.judge("quick", results=quick).values()))
    assert {row.verdict for row in rows} == {"not testable"}
    (row,) = [one for one in leaderboard.score(perfect, "quick", quick.folder) if one.kind[:1] == ("rescaled",)]
    assert (row.networks, row.left_out) == (0, 1)


def test_every_hypothesis_has_a_row_at_quick_scale(quick: Results) -> None:
    rows = next(iter(STUDY.judge("quick", results=quick).values()))
    assert [row.id for row in rows] == [f"H{number}" for number in range(1, 9)]
    assert all(row.verdict in ("undecided", "not testable", "does not hold") for row in rows)  # one network of a kind


@pytest.mark.parametrize(
    ("values", "delta"),
    [([1, 0.75, 0.25], 0.75), ([1, 1, 1], 1.0), ([0.4, 1, 1], 0.0), ([1, 0.5, 0.0], 0.5), ([1, 0.4, 0.6], 5 / 12)],
)
def test_where_a_curve_falls_below_one_half(values: list[float], delta: float) -> None:
    assert evidence.crossing(np.array([0, 0.5, 1]), np.array(values)) == pytest.approx(delta)


def test_d50_has_a_bootstrap_interval_and_differences_are_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 20)
    curve = np.linspace(1, 0, 5)[:, None] + noise
    tables = {"a": curve, "b": curve - 0.1}
    of = Evidence(Results([], Path()), "mnist", 2)
    monkeypatch.setattr(of, "table", tables.__getitem__)
    monkeypatch.setattr(of, "deltas", lambda _: [0, 0.25, 0.5, 0.75, 1])
    found = of.d50("a")
    assert found.mean == pytest.approx(0.5 + noise.mean())
    assert found.low < found.mean < found.high
    assert 0.03 < found.high - found.low < 0.15
    gap = of.d50("b", "a")
    assert gap.mean == pytest.approx(-0.1)
    assert gap.high - gap.low < 1e-9
    monkeypatch.setattr(of, "table", {"a": curve[:, :1]}.__getitem__)
    assert of.d50("a").n == 1
    assert np.isnan(of.d50("a").low)


def test_agreement_beyond_chance_is_nothing_for_guesses() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=(5, 400))
    labels[4] = labels[3]
    found = evidence.agreement({"labels": [labels, labels], "fires": [np.arange(400) < 300] * 2})
    assert abs(found[0, 1:]).max() < 0.02
    assert found[3, 4] == pytest.approx(0.5, abs=0.01)


# --- the rules --------------------------------------------------------------------------------------------------------


def test_every_trial_tells_its_null_from_its_planted_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    of = Evidence(Results([], Path()), "mnist", 2)
    monkeypatch.setattr(of, "networks", lambda family, delta: dict.fromkeys(range(20)))
    tried = {id: trial for id, trial in STUDY.trials.items() if isinstance(trial, Trial)}
    assert list(tried) == ["H1", "H5", "H6", "H8"]
    for id, trial in tried.items():
        found = trials.outcome(id, trial, of, times=40)
        assert found["null"].count("0") <= 2, id
        assert found["planted"].count("0") >= 36, id


def _around(mean: float) -> np.ndarray:
    return mean + 0.01 * np.linspace(-1, 1, 20)


def test_rules_meet_their_bars() -> None:
    crossed = {(name, layer): _around(0.95 if layer == 0 else 0.1) for name in evidence.UPSTREAM for layer in (0, 1)}
    crossed |= {(name, layer): _around(0.05 if layer == 0 else 0.8) for name in evidence.DOWNSTREAM for layer in (0, 1)}
    crossed |= {("weights, local", layer): _around(0.95) for layer in (0, 1)}
    assert decide(claims.h2_conditions(crossed)) == "holds"
    crossed["loss Hessian", 0] = _around(0.3)
    assert [state for state in claims.h2_conditions(crossed).values() if not state] == [False]

    columns = {name: _around(0.95) for name in evidence.FAMILIES["weight graph"]}
    columns |= {name: _around(0.2) for name in claims.FUNCTIONAL}
    assert decide(claims.h3_conditions(columns)) == "holds"
    columns["input sensitivity"] = _around(0.4)
    assert list(claims.h3_conditions(columns).values()) == [True, False]

    change = {name: np.zeros(20) for name in claims.INVARIANT} | {"weights, all": _around(-0.9)}
    assert decide(claims.h4_conditions(change)) == "holds"
    change["activations"] = _around(-0.05)
    assert list(claims.h4_conditions(change).values()) == [True, True, False, True]

    excess = {name: Interval(-0.1, -0.2, 0.0, 20) for name in claims.named(with_free=True)}
    assert decide(claims.h7_conditions(excess)) == "holds"
    excess["reach 0.9"] = Interval(0.2, 0.1, 0.3, 20)
    assert [family for family, state in claims.h7_conditions(excess).items() if not state] == ["sculpting"]

    pairs = {pair: _around(0.0) for pair in combinations(evidence.FAMILIES, 2)}
    assert len(pairs) == 10
    pairs["similarity", "activation graph"] = _around(0.2)
    assert sum(state is False for state in claims.h8_conditions(pairs).values()) == 1


# --- a stranger -------------------------------------------------------------------------------------------------------


def perfect(model: nn.Module, layer: str, inputs: Tensor, k: int) -> Any:
    """In networks whose groups are masked well, the zeros of the weights tell."""
    return methods.most_read([np.abs(one) for one in _weights(model)], _Counts(inputs))[methods.LAYERS.index(layer)]  # type: ignore[arg-type]


class _Counts:
    def __init__(self, inputs: Tensor) -> None:
        self.images = inputs.shape[1]


def _weights(model: nn.Module) -> list[np.ndarray]:
    return [part.weight.detach().numpy() for part in model.modules() if isinstance(part, nn.Linear)]


def test_a_stranger_is_scored_on_a_network_and_changes_nothing(clear: Loaded) -> None:
    net, true, _ = clear
    before = copy.deepcopy(net.model.state_dict()), net.inputs.clone()

    def vandal(model: nn.Module, layer: str, inputs: Tensor, k: int) -> Any:
        found = perfect(model, layer, inputs, k)
        with torch.no_grad():
            model.get_parameter("logits.weight").zero_()
            inputs.zero_()
        return torch.from_numpy(found)

    found = leaderboard.on_network(vandal, net, true)
    assert found.ari == (1.0, 1.0)
    assert (found.unassigned, found.modules) == ((0.0, 0.0), (2, 2))
    assert all(torch.equal(before[0][name], value) for name, value in net.model.state_dict().items())
    assert torch.equal(before[1], net.inputs)


@pytest.mark.parametrize(
    ("method", "ari", "unassigned", "modules"),
    [
        (lambda model, layer, inputs, k: np.full(48, -1), 0, 1, 0),
        (lambda model, layer, inputs, k: np.zeros(48, int), 0, 0, 1),
        (lambda model, layer, inputs, k: np.arange(48), 0, 0, 48),  # k that it was not asked for
        (lambda model, layer, inputs, k: [7] * 24 + [10**12] * 24, None, 0, 2),
    ],
)
def test_poor_answers_score_what_they_are_worth(
    clear: Loaded, method: leaderboard.Method, ari: float | None, unassigned: float, modules: int
) -> None:
    net, true, _ = clear
    found = leaderboard.on_network(method, net, true)
    assert ari is None or found.ari == pytest.approx((ari, ari), abs=0.01)
    assert found.unassigned == (unassigned, unassigned)
    assert found.modules == (modules, modules)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(3, int), r"what answer returns for act1 has shape \(3,\).*integers of shape \(48,\)"),
        (np.zeros(48), "type float64"),
        (np.full(48, -2), "goes from -2"),
        (None, "has shape"),
    ],
)
def test_what_is_no_partition_is_refused(clear: Loaded, given: Any, message: str) -> None:
    def answer(model: nn.Module, layer: str, inputs: Tensor, k: int) -> Any:
        return given

    net, true, _ = clear
    with pytest.raises(ValueError, match=message):
        leaderboard.on_network(answer, net, true)


def test_the_leaderboard_puts_a_method_among_the_others(quick: Results) -> None:
    rows = {row.kind[:1] + row.kind[3:]: row for row in leaderboard.score(perfect, "quick", quick.folder)}
    assert len(rows) == 7
    row = rows["aligned", 0.3]
    assert row.ari == row.baseline == (1.0, 1.0)  # it is in-weight
    assert row.place == (1, 1)
    assert (row.networks, row.odd, row.unassigned) == (1, 0, 0.0)
    assert rows["columns", 0.1].ari == (0.0, 0.0)
    assert rows["columns", 0.1].place[0] > 3
    assert rows["columns", 0.1].odd == 1
    text = leaderboard.report(perfect, "quick", quick.folder)
    assert "aligned, 2 × digits" in text
    assert f"the place among {len(NAMES) + 1}." in text
    assert "0 % of the units that fire got no group; 2 networks got another number" in text


def test_the_command_scores_a_function_of_a_file(
    quick: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_strangers.py").write_text(
        "import numpy as np\n"
        "number = 3\n"
        "def halves(model, layer, inputs, k):\n"
        "    units = model.get_submodule(layer.replace('act', 'hidden')).out_features\n"
        "    return np.arange(units) * k // units\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["run", "bake_off", "--scale", "quick", "--output", str(quick.folder), "--method"]
    path = list(sys.path)
    assert main([*command, "a_strangers:halves"]) == 0
    assert "rescaled, 2 × digits" in capsys.readouterr().out
    assert sys.path == path
    for wrong, message in {
        "a_strangers": "is no MODULE:FUNCTION",
        "nobody:halves": "No module named 'nobody'",
        "a_strangers:thirds": "has no attribute 'thirds'",
        "a_strangers:number": "is int; a function is needed",
    }.items():
        assert main([*command, wrong]) == 1
        assert message in capsys.readouterr().err
    assert main(["run", "biclustering", "--method", "a_strangers:halves"]) == 1
    assert "study='biclustering' scores no methods" in capsys.readouterr().err
    assert main(["run", "--method", "a_strangers:halves"]) == 1
    assert "name the study" in capsys.readouterr().err


def test_without_a_record_others_are_computed_in_the_cache(
    quick: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Path] = []
    monkeypatch.setattr(leaderboard.sweeps, "run", lambda plan, folder, **_: ran.append(folder))
    assert leaderboard.score(perfect, "quick", tmp_path) == []
    assert [folder.name for folder in ran] == ["recomputed"]


# --- figures ----------------------------------------------------------------------------------------------------------


FIGURES: Mapping[str, Callable[[Evidence], Any]] = {
    "against_delta": figures.against_delta,
    "half_way": figures.half_way,
    "apart": figures.apart,
    "rescaling": figures.rescaling,
    "agreements": figures.agreements,
    "removal": figures.removal,
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_laid_out(name: str, quick: Results) -> None:
    made = laid_out(lambda: FIGURES[name](of_quick(quick)))
    assert made.axes


def test_the_picture_of_one_network_shows_every_description(clear: Loaded) -> None:
    net, true, _ = clear
    labels, _ = methods.compete(net)
    made = laid_out(lambda: figures.seen(net, true, labels))
    titles = [ax.get_title(loc="left") for ax in made.axes]
    assert titles[0] == "the plant"
    assert titles[1:3] == ["weights 1.00", "attributions 1.00"]
    rows = figures.standings(true, labels, net)
    assert {name for name, *_ in rows} == {name for name in NAMES if not name.endswith((", Q at k", ", tree"))}
    assert [lower + upper for _, lower, upper in rows] == sorted((a + b for _, a, b in rows), reverse=True)


def test_tables_say_what_is_recorded(quick: Results) -> None:
    of = of_quick(quick)
    text = figures.choice(of)
    assert text.count("<tr>") == len(figures.QUESTIONS) + 1
    assert f"{of.ari('loss Hessian', 'crossed', 0.1, 1).mean():.2f} (crossed, upper)" in text
    assert -0.1 < figures.across(of, "weights, all", "aligned", 0.3) < 0.1  # it finds the groups
    assert figures.left_out(of, "reach 0.9", "rescaled", 0.3) >= figures.left_out(of, "reach 0.9", "aligned", 0.3)
    assert figures.selective(of, "in-weight", 0.3) > 0.4 > figures.selective(of, "in-weight", 0.3, "random")
    assert figures.seconds(of, "reach 0.8") > figures.seconds(of, "in-weight")
    assert figures.counted(of).startswith("6 of 6 networks learned their task")
    rows = next(iter(STUDY.judge("quick", results=quick).values()))
    assert "<td>ARI 0.72 and 0.13</td>" in figures.pilot(rows)


def test_a_network_counts_if_every_head_learned() -> None:
    assert evidence.learned({"accuracy": np.array([0.9, 0.8])})
    assert not evidence.learned({"accuracy": np.array([0.9, 0.79])})
