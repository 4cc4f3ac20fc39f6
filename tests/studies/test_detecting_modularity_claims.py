"""The rules of C1–C10 and M1–M10 decide as they say, on made-up records; and the evidence that they read."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from companion import records
from companion.records import Cell, RecordError, Results
from modutils import graphs
from studies.detecting_modularity import STUDY, cells, claims, cut_claims, evidence, proxies
from studies.detecting_modularity.evidence import GROUPS, Cut, Evidence

PAPER = cells.plan("paper")
DECIDE = {claim.id: claim.decide for claim in claims.CLAIMS}
IDS = [f"C{number}" for number in range(1, 11)] + [f"M{number}" for number in range(1, 11)]
Values = dict[str, Any]

# --- made-up records --------------------------------------------------------------------------------------------------

#: Shuffles with mean 0 and standard deviation 1: the lowest at −1.70, the next at −1.63.
SHUFFLES = (np.arange(50) - 24.5) / np.arange(50).std()


def cut(ncut: float, z: float) -> Values:
    return {"ncut": ncut, "null": ncut - 0.1 * z + 0.1 * SHUFFLES, "pieces": np.array([1, 2, 3])}


def cuts(ncut: float = 10.0, z: float = 0.0, activations: float = -50.0, nmi: float = 0.1) -> Values:
    """A record of stage ``cuts``: z is 1 higher with unit norm, 2 with the pattern kept, 3 to 5 with other norms."""
    names = ("weights", "unit norm", "pattern kept", *graphs.NORMS[1:])
    found = {name: cut(ncut, z + more) for more, name in enumerate(names)}
    return {**found, "activations": cut(9.0, activations), "nmi": nmi}


def of(**groups: Any) -> dict[str, Any]:
    """N-cuts of groups, by name, such as ``plain_trained=(ncut, z)``: each a number, or one for every seed."""
    rows = {name: np.stack(np.broadcast_arrays(*own, np.zeros(3))[:-1], axis=1) for name, own in groups.items()}
    return {f"cuts {name.replace('_', ' ')}": [cuts(*row) for row in each.tolist()] for name, each in rows.items()}


def partition(ranks: Mapping[str, int], effect: float = 1.0, drop: float = 0.0, control: int = 20) -> Values:
    """One sub-cluster, as `proxies.test_partition` returns it, with p-values in units of 1/40 (0.5 if not given)."""
    mid = np.array([[ranks.get(name, 20)] for name in proxies.STATISTICS], dtype=np.uint8)
    random, none = np.full_like(mid, control), np.zeros(mid.shape, dtype=np.float16)
    ranked = {"mid": mid, "ignored": (mid + 1) // 2, "control_mid": random, "control_ignored": (random + 1) // 2}
    scores = np.pad(20.0 - mid, ((0, 0), (0, proxies.DRAWS)))
    value = np.where(np.array(list(proxies.STATISTICS))[:, None] == "importance", drop, none)
    compared = {"value": value, "null_mean": none, "effect": none + effect, "scores": scores}
    return {"size": mid[0], **ranked, **compared}


def network(importance: int = 20, *, where: str = "weights/global", number: int | None = None, **others: Any) -> Values:
    """Partitions with these ranks where the name starts so; numbered networks have controls of all ranks."""
    more = {name: others.pop(name) for name in ("effect", "drop") if name in others}
    ranks = {"importance": importance, **{name.replace("_", " "): rank for name, rank in others.items()}}
    found: Values = {"intact": np.full(10, 190), "per_class": 200}
    for index, which in enumerate((*cells.PARTITIONS, "planted")):
        control = 9 if number is None else 1 + (4 * number + index) * 11 % 39
        own = which.startswith(where)
        found[which] = partition(ranks if own else {}, control=control, **(more if own else {}))
    return found


def groups(good: Any, *, count: int = 4, rest: Any = None, k: int = 16) -> dict[str, Any]:
    """The four groups, as many of them with the first record, the others with another."""
    each = [good if number < count else rest or network() for number in range(4)]
    return {f"subclusters {kind} {state} {k}": one for (kind, state), one in zip(GROUPS, each, strict=True)}


def halves(*z: Any) -> dict[str, Any]:
    """z with independent and redundant halves, trained, then pruned."""
    names = "independent_trained", "redundant_trained", "independent_pruned", "redundant_pruned"
    found = of(**{name: (10, each) for name, each in zip(names, z, strict=True)})
    seen = {"independent": {"trained": {"accuracy": 0.75}}, "redundant": {"trained": {"accuracy": 0.9}}}
    return found | {f"train {kind}": values for kind, values in seen.items()}


def penalty(ncut: Any, accuracy: Any) -> dict[str, Any]:
    """A penalty that changes n-cut 10 and accuracy 0.95 to these; z goes from −2 to +3."""
    each = np.broadcast(ncut, accuracy, np.zeros(3))
    pruned = {"accuracy": 0.87}
    with_it = [{"weights": cut(float(low), 3.0), "accuracy": float(share), "pruned": pruned} for low, share, _ in each]
    return {
        "penalised 0.0": {"weights": cut(10.0, -2.0), "accuracy": 0.95, "pruned": {"accuracy": 0.9}},
        "penalised 0.1": with_it,
    }


def chosen(name: str) -> list[Cell]:
    """MNIST cells by seed, not with all images: stage, kind, state and k, such as "subclusters plain trained 16"."""
    stage, *wanted = name.split()
    keys = {"kind", "state", "strength", "k" if stage == "subclusters" else ""}
    own = [one for one in PAPER if (one.stage, one.params["dataset"]) == (stage, "mnist")]
    own = [one for one in own if one.params.get("per_class") != cells.ALL]
    return [one for one in own if [str(value) for key, value in one.params.items() if key in keys] == wanted]


def write(folder: Path, found: Mapping[str, Any]) -> Evidence:
    """Record these values: a list has one for each seed, None where it lacks one; other values are those of three."""
    for name, values in found.items():
        for cell, own in zip(chosen(name), values if isinstance(values, list) else [values] * 3, strict=False):
            if own is not None:
                records.write(cell, own, {}, folder)
    return look(folder, found)


def look(folder: Path, names: Iterable[str]) -> Evidence:
    """Evidence by these cells: to look for all others of the plan takes long."""
    return Evidence(Results([cell for name in names for cell in chosen(name)], folder), "mnist")


# --- rules ------------------------------------------------------------------------------------------------------------

HOLDS, PART, NOT, OPEN, NONE = "holds", "holds in part", "does not hold", "undecided", "not testable"
TRAINED, PRUNED, FRESH = (f"subclusters plain {state} 16" for state in ("trained", "pruned", "untrained"))
PLAIN = {"plain_trained": (10, -3), "plain_pruned": (10, -9)}
A, ZERO = {"plain_trained": (10, -5)}, {"plain_trained": (10, 0), "plain_pruned": (10, 0)}
START = {"plain_trained": (10, -5), "plain_pruned": (9, -10)}
CNN, ACTIVE, KS = "filters trained", "activations/global", (8, 12, 16, 24)
REAL: dict[str, Any] = {"drop": 1 / 64, "effect": 1.25}  # effects on the right side


def c10(**groups: Any) -> dict[str, Any]:
    return of(**{f"{kind}_{state}": (10, -5, -50, 0.1) for kind, state in GROUPS} | groups)


def drops(*values: float) -> list[Values]:
    return [network(8, drop=value) for value in values]


def m5(count: int, *, importance: int = 8, fresh: int = 9, effect: float = 1.25) -> dict[str, Any]:
    """Activations: groups with a significant score, ranks of importance in these and untrained, effect of the score."""
    good, rest = (network(importance, where=ACTIVE, score=score, effect=effect, drop=1 / 64) for score in (8, 9))
    return groups(good, count=count, rest=rest) | {FRESH: network(fresh, where=ACTIVE)}


def m8(*counts: int) -> dict[str, Any]:
    """For each k, in how many groups the first network is significant."""
    good, rest = [network(1, drop=1 / 64)], [network(1, drop=-1 / 64)]
    each = [groups(good, count=count, rest=rest, k=k) for k, count in zip(KS, counts, strict=True)]
    return each[0] | each[1] | each[2] | each[3]


def m9(fresh: int, *, uniform: bool) -> dict[str, Any]:
    """Ranks of importance in untrained networks by one partition; random partitions with all ranks or only one."""
    numbers = [[3 * group + seed if uniform else None for seed in range(3)] for group in range(5)]
    found = {FRESH: [network(fresh, where="weights/local", number=one) for one in numbers[0]]}
    rest = zip(groups(None), numbers[1:], strict=True)
    return found | {name: [network(number=one) for one in own] for name, own in rest}


def m10(*importance: int, **ranks: int) -> dict[str, Any]:
    return {"blocks": [network(rank, where="planted", **ranks) for rank in importance]}


#: Claim, verdict, record, and what the words have. With three networks of equal p, ranks of 8 and less are significant.
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    ("C1", HOLDS, of(plain_untrained=(10.3, 0), plain_trained=(10, 0)), "n-cut 10.30 before, 10.00 after training"),
    ("C1", OPEN, of(plain_untrained=(10.3, 0), plain_trained=((10.2, 10.1, 10), 0)), "-0.20 [-0.45, 0.05], n = 3"),
    ("C1", NOT, of(plain_untrained=(10.3, 0), plain_trained=(10.4, 0)), "difference 0.10 ["),
    ("C2", HOLDS, of(plain_trained=(10, (-5, -5, -4))), "mean z -4.7; 3 of 3 networks below all 50 shuffles"),
    ("C2", PART, of(plain_trained=(10, (-2, -1.66, -1.66))), "1 of 3 networks"),
    ("C2", OPEN, of(plain_trained=(10, (-5, -5, 0.5))), "z -5.0 to 0.5, n = 3 With"),
    ("C2", OPEN, of(plain_trained=(10, (-5, -1, -1))), "mean z is -1.3."),
    ("C2", NOT, of(plain_trained=(10, (8, 8, 9))), "mean z 8.3"),
    ("C3", HOLDS, of(**A, plain_pruned=(9, -10)), "-1.00 [-1.00, -1.00], n = 3; z -5.0 [-5.0, -5.0], n = 3"),
    ("C3", OPEN, of(**A, plain_pruned=(9, (-9, -9, -1.5))), "mean z -6.5; 2 of 3 below all shuffles"),
    ("C3", PART, of(plain_trained=(10, 0), plain_pruned=(9, -1.5)), "0 of 3 below all shuffles"),
    ("C3", PART, of(**A, plain_pruned=(10.5, -10)), "leave a mean z of -8.0"),
    ("C3", OPEN, of(**A, plain_pruned=((9, 9, 12.5), -4)), "n-cut 0.17 [-4.85, 5.19]"),
    ("C3", NOT, of(**A, plain_pruned=(11, -4)), "n-cut 1.00 [1.00, 1.00]"),
    ("C4", HOLDS, of(**PLAIN, dropout_trained=(10, -4), dropout_pruned=(10, (-19, -20, -21))), "[-13.5, -8.5], n"),
    ("C4", PART, of(**PLAIN, dropout_trained=(10, -2), dropout_pruned=(10, -20)), "against plain: 1.0 [1.0, 1.0]"),
    ("C4", OPEN, of(**PLAIN, dropout_trained=(10, -4), dropout_pruned=(10, (-20, -8, -8))), "-4.0, pruned -12.0"),
    ("C4", NOT, of(**PLAIN, dropout_trained=(10, -2), dropout_pruned=(10, -8)), "pruned 1.0"),
    ("C5", HOLDS, of(l1_trained=(10, 10), l1_pruned=(9, (11, 12, 13))), "9.00, shuffles 7.80 in 2.0 pieces. Shuf"),
    ("C5", OPEN, of(l1_trained=(10, (10, 10, -1)), l1_pruned=(9, 12)), "trained -1.0 to +10.0, n = 3; pruned +12.0"),
    ("C5", PART, of(l1_trained=(10, -1), l1_pruned=(9, (20, 20, 17))), "give a mean z of +21.0."),
    ("C5", NOT, of(l1_trained=(10, -1), l1_pruned=(9, -1)), "trained mean z -1.0"),
    ("C6", OPEN, of(cnn_trained=(10, (0, 1, -5)), cnn_pruned=(10, 8)), "0.05): trained 1, pruned 0. With other"),
    ("C6", OPEN, of(cnn_trained=(10, (0, -5, -5)), cnn_pruned=(10, 8)), "z goes from -2.0 to +5.0 (trained)"),
    ("C6", HOLDS, of(cnn_trained=(10, 0), cnn_pruned=(10, -1.66)), "trained mean z +0.0; pruned mean z -1.7"),
    ("C6", PART, of(cnn_trained=(10, -5), cnn_pruned=(10, 1)), "pruned mean z +1.0"),
    ("C6", NOT, of(cnn_trained=(10, -5), cnn_pruned=(10, -5)), "trained 3, pruned 3"),
    ("C7", HOLDS, of(**START, planted_trained=(8.7, -40), planted_pruned=(6, -90)), "; pruned n-cut 6.00, z -90 m"),
    ("C7", PART, of(**START, planted_trained=((9, 9, 11), -40), planted_pruned=(5, -90)), "trained n-cut 9.67, z -40"),
    ("C7", PART, of(**START, planted_trained=(9, -40), planted_pruned=(5, (-90, -90, -9))), "n-cut 5.00, z -63"),
    ("C7", PART, of(**ZERO, planted_trained=(9, -4), planted_pruned=(9, -1.2)), "z -4; pruned n-cut 9.00, z -1 means"),
    ("C7", NOT, of(**START, planted_trained=(11, -40), planted_pruned=(9.5, -90)), "n-cut 11.00, z -40; pruned"),
    ("C8", HOLDS, halves(-7, -3, -22, -4), "trained -7.0 and -3.0; pruned -22.0 and -4.0 n = 3 seeds"),
    ("C8", PART, halves((-7, -7, -2), -3, -9, -3), "-5.3 and -3.0; pru"),
    ("C8", NOT, halves(-2, -3, (-9, -9, 0), -3), "75.0%, on redundant 90.0%"),
    ("C9", HOLDS, penalty(9.0, 0.952), "accuracy +0.20 points n-cut [-1.00, -1.00], n = 3; accuracy [0.20,"),
    ("C9", PART, penalty(9.0, 0.93), "accuracy -2.00 points"),
    ("C9", OPEN, penalty(9.0, (0.95, 0.93, 0.95)), "accuracy -0.67 points n-cut [-1.00, -1.00]"),
    (
        "C9",
        OPEN,
        penalty((9.0, 9.0, 10.5), 0.952),
        "z goes from -2.0 to +3.0. Of the same networks, pruned later, accuracy differs by -3.00 points",
    ),
    ("C9", NOT, penalty(10.5, 0.96), "n-cut +0.50, accuracy +1.00 points"),
    ("C10", OPEN, c10(dropout_pruned=(10, -5, -50, (0.1, 0.2, 0.25))), "0.18."),
    ("C10", HOLDS, c10(dropout_pruned=(10, -5, (-20.2, -50, -100), (0.1, 0.11, 0.12))), "z -100 to -20, n = 12 netw"),
    ("C10", PART, c10(dropout_pruned=(10, -5, -50, 0.25)), "plain, pruned 0.10, dropout, pruned 0.25."),
    ("C10", PART, c10(plain_trained=(10, -5, (-50, -50, -19), 0.1)), "z -50 to -19"),
    ("C10", NOT, c10(plain_trained=(10, -5, -19, 0.25)), "n-cut 9.00 (plain), z -42; NMI of the two partitions 0.14"),
    ("M1", HOLDS, {TRAINED: drops(1, 1, 1), PRUNED: drops(1 / 32, 1 / 32, 3 / 64)}, "3.65 points [1.40, 5.89], n = 3"),
    ("M1", OPEN, {TRAINED: drops(1, 0, 0), PRUNED: drops(1, 1, 1)}, "Combined p: plain 0.04, plain, pruned 0.04. "),
    ("M1", PART, {TRAINED: drops(-1, -1, -1), PRUNED: drops(1, 1, 1)}, "plain: extra drop -100.00"),
    ("M1", OPEN, {TRAINED: network(9, drop=1), PRUNED: drops(1, 1, 1)}, "p ≤ 0.05 for 6 of 6 networks."),
    ("M1", OPEN, {TRAINED: network(9, drop=1), PRUNED: network(drop=1)}, "Combined p: plain 0.05, plain, pruned 0.50"),
    ("M1", NOT, {TRAINED: drops(-1, -1, -1), PRUNED: drops(-1, -1, -1)}, "Combined p: plain 0.04"),
    ("M2", OPEN, {CNN: drops(0, 1 / 256, 1 / 256)}, "Fisher p 0.20 to 0.20; extra drop 0.26 points [-0.30, 0.82],"),
    ("M2", HOLDS, {CNN: [network(rank, drop=1 / 256) for rank in (1, 1, 8)]}, "Significant alone: 2 of 3 networks."),
    ("M2", PART, {CNN: [network(1, drop=1 / 64) for _ in range(3)]}, "Significant alone: 3 of 3 networks."),
    ("M2", OPEN, {CNN: drops(0, 0, 1 / 64)}, "extra drop 0.52 points [-1.72, 2.76], n = 3 Significant alone: 0"),
    ("M2", OPEN, {CNN: drops(1 / 64, 1 / 64, 1 / 64)}, "extra drop 1.56 points"),
    ("M3", NONE, groups(network(normalised_range=9)), "0 of 4 groups significant; Fisher p"),
    ("M4", HOLDS, groups(network(score=9, effect=1.0625)), "score: combined p plain 0.05, dropout 0.05, plain, pruned"),
    ("M4", PART, groups(network(score=8, effect=1.0625), count=1), "effect plain 1.062 [1.062, 1.062], dropout 1.000"),
    ("M4", NOT, groups(network(score=8), rest=network(effect=1.125), count=1), "dropout, pruned 1.125"),
    ("M5", HOLDS, m5(3), "plain +0.250 [+0.250, +0.250], dropout"),
    ("M5", OPEN, m5(2), "score plain 0.04, dropout 0.04, plain, pruned 0.05"),
    ("M5", PART, m5(4, effect=0.75), "plain -0.250 [-0.250, -0.250]"),
    ("M5", OPEN, m5(4, effect=1.0), "plain +0.000 [+0.000, +0.000]"),
    ("M5", PART, m5(4, fresh=8), "Untrained networks: importance 0.04, score 0.50."),
    ("M5", OPEN, m5(4, importance=9), "importance plain 0.05, dropout 0.05"),
    ("M5", NOT, m5(4, effect=0.75, fresh=8), "score plain 0.04"),
    ("M6", HOLDS, groups(network(1, score=1, **REAL), count=3), "critical p 7e-05 over 64 tests"),
    ("M6", PART, groups(network(1, score=1, drop=1 / 64, effect=0.75)), "importance 4 of 4 groups, score 0 of 4"),
    ("M6", OPEN, groups(network(1, **REAL), count=3), "importance 3 of 4 groups, score 0 of 4"),
    ("M6", OPEN, groups(network(score=1, **REAL)), "+1.56 points [+1.56, +1.56], score effect +0.25"),
    ("M6", OPEN, groups(network(8, score=8)), "importance 0 of 4 groups, score 0 of 4"),
    ("M6", NOT, groups(network(1, score=1, drop=-1 / 64, effect=0.75)), "importance 0 of 4 groups, score 0 of 4"),
    (
        "M7",
        HOLDS,
        groups(network(8, where="", **REAL), count=3),
        "weights/global 3/4, weights/local 3/4, activations/global 3",
    ),
    (
        "M7",
        OPEN,
        groups(network(8, where="weights", **REAL)),
        "weights/local 4/4, activations/global 0/4, activations/local",
    ),
    (
        "M7",
        OPEN,
        groups(network(8, where="activations", **REAL)),
        "weights/global 0/4, weights/local 0/4, activations/global",
    ),
    (
        "M7",
        OPEN,
        groups(network(8, where="activations/local")),
        "weights/global 1, weights/local 1, activations/global",
    ),
    ("M7", NOT, groups(network(8, where="", drop=-1 / 64)), "weights/global 0/4, weights/local 0/4"),
    ("M8", HOLDS, m8(3, 4, 3, 4), "k = 8: 3 of 4 networks; k = 12: 4 of 4 networks; k = 16: 3 of 4 networks; k = 24"),
    ("M8", PART, m8(3, 2, 2, 3), "k = 16: 2 of 4 networks; k = 24: 3 of 4 networks one network of each group"),
    ("M8", NOT, m8(2, 2, 4, 2), "k = 8: 2 of 4 networks; k = 12: 2 of 4 networks; k = 16: 4 of 4 networks"),
    ("M9", HOLDS, m9(6, uniform=True), "5% of random partitions get an entropy p ≤ 0.05."),
    ("M9", PART, m9(5, uniform=True), "weights/local 9e-03, activations/global 0.50"),
    ("M9", PART, m9(6, uniform=False), "importance 0.23, normalised range 0.23"),
    ("M9", PART, m9(5, uniform=False), "15 networks Share of random partitions with p"),
    ("M10", HOLDS, m10(1, 1, 1, normalised_range=1, score=1), "label entropy 0.50 to 0.50 Fisher p, n = 3 networks"),
    ("M10", PART, m10(1, 1, 1, normalised_range=1, score=4), "score 0.10 to 0.10; entropy"),
    ("M10", PART, m10(1, 1, 4, score=1), "to 0.10; normalised range 0.50 to 0.50; score"),
    ("M10", NOT, m10(1, 1, 4, normalised_range=4, score=4), "partition that clustering finds: 0.50 to 0.50."),
]
GOOD = {id: found for id, verdict, found, _ in reversed(CASES) if verdict in (HOLDS, NONE)}


@pytest.mark.parametrize(("id", "verdict", "found", "words"), CASES)
def test_rules_decide_as_they_say(id: str, verdict: str, found: dict[str, Any], words: str, tmp_path: Path) -> None:
    decided = DECIDE[id](write(tmp_path, found))
    assert decided.verdict == verdict
    assert words in f"{decided.value} {decided.interval} {decided.why}"


def test_the_table_is_complete() -> None:
    assert [claim.id for claim in claims.CLAIMS] == IDS
    found = {id: {case[1] for case in CASES if case[0] == id} for id in IDS}
    assert {id: HOLDS in verdicts and len(verdicts) > 1 for id, verdicts in found.items()} == dict.fromkeys(
        IDS, True
    ) | {"M3": False}
    for claim in claims.CLAIMS:
        assert claim.paper == (cut_claims.FILAN if claim.id.startswith("C") else claims.HOD)
        assert all(text.strip() for text in (claim.statement, claim.published, claim.rule))


@pytest.mark.parametrize("id", IDS)
def test_a_rule_needs_three_networks_of_a_group(id: str, tmp_path: Path) -> None:
    assert DECIDE[id](write(tmp_path, GOOD[id])).verdict == (NONE if id == "M3" else HOLDS)
    # C7 is about planted groups, M9 about untrained networks, C10 about any group.
    needed = [name for name in GOOD[id] if not name.startswith("train") and (id != "C7" or "planted" in name)]
    for lost in {"C10": [needed], "M9": [[FRESH]]}.get(id, [[name] for name in needed]):
        paths = [chosen(name)[0 if id == "M8" else 2].path(tmp_path) for name in lost]
        for path in paths:
            path.rename(path.with_suffix(".lost"))
        assert DECIDE[id](look(tmp_path, GOOD[id])).verdict == "not testable"
        for path in paths:
            path.with_suffix(".lost").rename(path)


def test_a_paired_rule_takes_common_seeds(tmp_path: Path) -> None:
    before, after = ([cuts(ncut) for ncut in ncuts] for ncuts in ((10.5, 10.6, 10.7, 10.8), (10.3, 10.2, 10.4, 99)))
    of = write(tmp_path, {"cuts plain untrained": before, "cuts plain trained": [None, *after]})
    assert DECIDE["C1"](of).interval == "difference -0.40 [-0.65, -0.15], n = 3"  # −0.3, −0.5, −0.4; t = 4.303


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for id in ("M8", *(id for id in IDS if id != "M8")):
        write(folder, GOOD[id])
    return folder


LOST = {
    "": "",
    "cuts": "C1 C2 C3 C4 C5 C6 C7 C8 C10",
    "subclusters": "M1 M3 M4 M5 M6 M7 M8 M9",
    "filters": "M2",
    "blocks penalised": "C9 M10",
}


@pytest.mark.parametrize("lost", LOST)
def test_what_is_not_recorded_is_not_testable(lost: str, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "record", ignore=lambda folder, names: lost.split())
    found = STUDY.judge(results=Results(PAPER, tmp_path / "record"), dataset="mnist")["mnist"]
    assert [verdict.id for verdict in found] == IDS
    assert [verdict.id for verdict in found if verdict.value == "no result"] == LOST[lost].split()
    for verdict in found:
        assert verdict.value != "no result" or verdict.verdict == "not testable"


def test_a_single_seed_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cell in cells.plan("quick"):
        values = {
            "train": {},
            "cuts": cuts(),
            "pictures": {},
            "penalised": {**cut(9.0, 1.0), "accuracy": 1.0, "pruned": {"accuracy": 1.0}},
        }
        records.write(cell, values.get(cell.stage, network()), {}, tmp_path)
    monkeypatch.setenv("MODUTILS_RESULTS", str(tmp_path))
    assert {verdict.verdict for verdict in STUDY.judge("quick")["digits"]} == {"not testable"}


def test_data_sets_that_are_unknown_or_not_recorded_are_refused(tmp_path: Path) -> None:
    for dataset, scale, known in (("digits", "paper", "mnist, fashion-mnist"), ("mnist", "quick", "digits")):
        with pytest.raises(ValueError, match=f"dataset='{dataset}' is not part of scale '{scale}'; it has {known}$"):
            STUDY.judge(scale, results=Results(cells.plan(scale), tmp_path), dataset=dataset)
    write(tmp_path, {"cuts plain trained": cuts()})
    for dataset, folder in (("fashion-mnist", tmp_path), ("mnist", tmp_path / "none")):
        with pytest.raises(
            RecordError, match=f"no record of {cells.STUDY} in {folder}; compute it: python -m companion"
        ):
            STUDY.judge(results=Results(PAPER, folder), dataset=dataset)


def test_networks_have_their_own_k_and_images(tmp_path: Path) -> None:
    written = [("plain", "pruned"), ("plain", "trained")]
    for cell in PAPER:
        own = {**cell.params}
        if cell.stage == "subclusters" and own["dataset"] == "mnist" and (own["kind"], own["state"]) in written:
            records.write(cell, own, {}, tmp_path)
    of = Evidence(Results(PAPER, tmp_path), "mnist")

    def seen(*group: str, **which: Any) -> list[tuple[int, int, int]]:
        networks = of.tested(*group, **which)
        assert all(one.values["state"] == group[1] and one.values["seed"] == one.seed for one in networks)
        return [(one.values["k"], one.values["per_class"], one.seed) for one in networks]

    assert seen("plain", "pruned") == [(16, 200, seed) for seed in range(5)]
    assert seen("plain", "pruned", k=12) == [(12, 200, 0)]
    assert seen("plain", "trained", k=8) == [(8, 200, 0)]
    assert seen("plain", "trained", all_images=True) == [(16, 892, 0)]
    assert seen("plain", "pruned", k=7) == seen("dropout", "trained") == []
    assert Evidence(of.results, "fashion-mnist").tested("plain", "trained") == []


def parts(mid: list[int], **rows: list[float]) -> evidence.Tested:
    """A network with sub-clusters by weights: what is recorded of their importance, and nothing else."""
    made = {"mid": np.array(mid, dtype=float)} | {name: np.array(row) for name, row in rows.items()}
    table = {name: np.concatenate([[row], np.zeros((7, len(row)))]) for name, row in made.items()}
    return evidence.Tested(0, {"weights/global": table, "intact": np.array([190] * 9 + [90]), "per_class": 200})


def test_numbers_of_a_network_by_hand() -> None:
    # The last sub-cluster is too small: its numbers do not count.
    ranks: dict[str, Any] = {"ignored": [1, 2, 0], "control_mid": [10, 20, 0], "control_ignored": [5, 10, 0]}
    numbers = {"value": [0.5, 0.25, 9], "null_mean": [0.25, 0.125, 0], "effect": [1.5, 1.25, 9]}
    one = parts([1, 4, 0], **ranks, **numbers, scores=[3, *(5, 4, 3), *([1] * 16)])
    which = "weights/global", "importance"

    def two(product: float) -> float:
        return product * (1 - float(np.log(product)))  # Fisher's p of two p-values with this product

    assert one.fisher(*which) == pytest.approx(two(1 / 40 * 4 / 40))
    assert one.fisher(*which, ties="ignored") == pytest.approx(two(1 / 40 * 3 / 40))
    assert one.fisher(*which, control=True) == pytest.approx(two(10 / 40 * 20 / 40))
    assert one.fisher(*which, ties="ignored", control=True) == pytest.approx(two(9 / 40 * 19 / 40))
    assert one.permutation(*which) == pytest.approx((2 + (1 + 1) / 2) / 20)
    assert one.effect(*which) == 1.375
    assert one.excess(*which) == 0.1875
    assert one.intact == pytest.approx((9 * 0.95 + 0.45) / 10)


def test_networks_are_combined_by_their_mean() -> None:
    which = "weights/global", "importance"
    empty, first, second = parts(mid=[]), parts(mid=[4]), parts(mid=[12])
    assert np.isnan(empty.fisher(*which))
    assert evidence.combined([first, second], *which) == pytest.approx((0.1 + 0.3) ** 2 / 2)
    assert evidence.combined([first, empty, second], *which) == pytest.approx((0.1 + 0.3) ** 2 / 2)
    assert evidence.combined([empty, first], *which) == pytest.approx(0.1)
    assert np.isnan(evidence.combined([empty, empty], *which))
    assert np.isnan(evidence.combined([], *which))
    many = parts(mid=[1] * 2000)
    assert many.fisher(*which) == 0
    assert evidence.combined([many], *which) == pytest.approx(1e-300, abs=0)


def test_pairs_have_common_seeds() -> None:
    numbers = {3: 5, 1: 7, 0: 9}, {1: 3, 2: 4, 3: 4}
    first, second = ([Cut(seed, {"n": n}) for seed, n in each.items()] for each in numbers)
    assert evidence.paired(first, second, lambda one: one.values["n"]).tolist() == [1, 4]
    assert evidence.paired(first, [], lambda one: one.values["n"]).size == 0
