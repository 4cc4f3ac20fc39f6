"""What chapters show beside figures: texts are escaped, claims must match, and nothing recorded is passed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from companion import records, reports, sweeps
from companion.claims import Series, State, Verdict
from companion.records import Cell, Results
from conftest import Toy
from modutils.statistics import Interval


def _verdict(id: str, verdict: str = "holds") -> Verdict:
    return Verdict(id, "paper", "A < B", "picture", "p < 0.01", "0.3", "[0.2, 0.4]", verdict, "because A & B")


def test_verdicts_side_by_side() -> None:
    html = reports.verdict_table({"MNIST": [_verdict("B1")], "Fashion": [_verdict("B1", "does not hold")]})
    soup = BeautifulSoup(html, "html.parser")
    assert [cell.text for cell in soup.find_all("th")] == ["Claim of the paper", "MNIST", "Fashion"]
    assert soup.find_all("td")[0].text == "B1 A < B"
    assert "○ does not hold" in soup.find_all("td")[2].text
    # Its row is the claim's anchor, unless the claim has another place on the page, to which it leads.
    assert [row.get("id") for row in soup.select("tbody tr")] == ["claim-b1"]
    elsewhere = BeautifulSoup(reports.verdict_table({"MNIST": [_verdict("B1")]}, linked=True), "html.parser")
    assert [row.get("id") for row in elsewhere.select("tbody tr")] == [None]
    assert [link["href"] for link in elsewhere.select("a")] == ["#claim-b1"]
    with pytest.raises(ValueError, match="lists of different claims"):
        reports.verdict_table({"a": [_verdict("B1")], "b": [_verdict("B2")]})


def test_conditions_are_folded_behind_their_count_and_negative_numbers_have_a_minus() -> None:
    row = replace(
        _verdict("B1", "holds in part"), value="L2 10^-1.5: -0.3", conditions="1 of 2 conditions: above -1; open: b"
    )
    soup = BeautifulSoup(reports.verdict_table({"MNIST": [row]}), "html.parser")
    assert soup.sup is not None
    assert soup.sup.text == "−1.5"
    assert "L2 10−1.5: −0.3" in soup.text
    assert soup.details is not None
    assert soup.details.text == "1 of 2 conditionsabove −1; open: b"
    assert soup.summary is not None
    assert soup.summary.text == "1 of 2 conditions"
    assert "details" not in reports.verdict_table({"MNIST": [_verdict("B1")]})


def test_one_claim_with_its_rule() -> None:
    soup = BeautifulSoup(reports.verdict_box({"MNIST": [_verdict("B1")]}, "B1"), "html.parser")
    assert "Rule: p < 0.01" in soup.text
    assert "because A & B" in soup.text
    assert "Tried" not in soup.text
    row = replace(
        _verdict("B1", "undecided"), conditions="1 of 2 conditions: a; open: b", tried="on a null: holds 1 of 9"
    )
    soup = BeautifulSoup(reports.verdict_box({"MNIST": [row]}, "B1"), "html.parser")
    assert "? undecided" in soup.text
    assert "1 of 2 conditions: a; open: b" in soup.text
    assert "Tried: on a null: holds 1 of 9" in soup.text
    assert "conditions" not in reports.verdict_box({"MNIST": [replace(row, verdict="holds")]}, "B1")
    with pytest.raises(ValueError, match="id='B9' is no claim; there are B1"):
        reports.verdict_box({"MNIST": [_verdict("B1")]}, "B9")


def test_a_claim_is_one_line_until_it_is_unfolded() -> None:
    rows = {"MNIST": [_verdict("B1")], "digits": [_verdict("B1", "undecided")]}
    box = BeautifulSoup(reports.verdict_box(rows, "B1", links={"the rule": "x.html#y"}), "html.parser").details
    assert box is not None
    assert box["id"] == "claim-b1"
    assert box.get("open") is None
    assert box.summary is not None
    assert box.summary.get_text(" ", strip=True) == "B1: A < B MNIST ● holds digits ? undecided"
    assert [link["href"] for link in box.select("a")] == ["x.html#y"]
    # Reasons for the first data set, or for all.
    assert box.get_text().count("because") == 1
    assert reports.verdict_box(rows, "B1", reasons=None).count("because") == 2


def test_many_numbers_are_drawn_and_not_listed() -> None:
    values: dict[str, float | Interval]
    values = {"a < b": Interval(0.5, 0.4, 0.6, 9), "c": Interval(-0.5, -0.7, -0.3, 9), "d": Interval(0.1, -0.1, 0.3, 9)}
    series = Series(
        "Gain", {**values, "e": 0.25, "f": Interval(0.0, float("nan"), float("nan"), 1)}, "+.2f", (0.0, 0.2)
    )
    states: dict[str, State] = {"a < b": True, "c": False, "d": None}
    row = replace(_verdict("B1", "holds in part"), series=series, states=states, conditions="1 of 3 conditions: a < b")
    soup = BeautifulSoup(reports.verdict_box({"MNIST": [row]}, "B1"), "html.parser")
    drawing = soup.svg
    assert drawing is not None
    assert drawing["aria-label"] == "Gain: a < b +0.50, c -0.50, d +0.10, e +0.25, f +0.00"
    texts = [text.get_text() for text in drawing.select("text")]
    assert texts == ["0", "0.2", "a < b", "+0.50", "c", "−0.50", "d", "+0.10", "e", "+0.25", "f", "+0.00"]
    # Further right is more; met is filled, open is half a dot, not met a ring.
    places = [float(str(dot["cx"])) for dot in drawing.select("circle")]
    assert places[1] < places[4] < places[2] < places[3] < places[0]
    assert [dot["fill"] for dot in drawing.select("circle")] == ["currentColor", "none", "none", *["currentColor"] * 2]
    assert len(drawing.select("path")) == 2 + 1 + 3
    assert "with 95 % intervals; condition met by 1 (filled), open for 1 (half), not met by 1 (ring)." in soup.text
    assert "conditions" not in soup.text
    # A condition that is not drawn is said.
    said = replace(row, states=states | {"another": True})
    assert "1 of 3 conditions" in reports.verdict_box({"MNIST": [said]}, "B1")


def test_texts_are_no_markup(tmp_path: Path) -> None:
    """Of claims, of data sets, and of records: a browser shows them as they are, and makes no element of them."""
    text = "<script>alert(1)</script> | `a` $b$ {glue}`c` & <b>"
    verdict = Verdict(text, text, text, text, text, text, text, "holds", text, text, {text: (1, 2)})
    cell = Cell("biclustering", "pictures", {"dataset": text, "seed": 0})
    provenance = dict.fromkeys(("date", "commit", "python", "device"), text) | {"versions": {text: text}, "threads": 1}
    records.write(cell, {}, provenance | {"data": {text: text}, "cpu_seconds": 1}, tmp_path)
    results = Results([cell], tmp_path)
    shown = {
        reports.verdict_table({text: [verdict]}): 6,
        reports.verdict_box({text: [verdict]}, text): 8,
        reports.origin_box(results, text, text, committed=True): 3,
        reports.origin_table(results): 7,
        reports.durations(results, {"pictures": text}): 1,
        reports.table([text], [[text]]): 2,
    }
    for html, times in shown.items():
        soup = BeautifulSoup(html, "html.parser")
        assert soup.text.count(text) >= times, html
        assert not soup.select("script, b")


def _write(cell: Cell, folder: Path, seconds: float, values: dict[str, float]) -> None:
    provenance = records.provenance(cell) | {"seconds": seconds, "cpu_seconds": seconds, "data": {"file": "md5"}}
    records.write(cell, values, provenance, folder)


def test_durations_count_the_training_behind_a_cached_network(tmp_path: Path) -> None:
    setting = {"dataset": "digits", "model": "cnn", "activation": "relu", "regularization": "dropout"}
    cells = [Cell("biclustering", "train", setting | {"seed": seed}) for seed in range(3)]
    _write(cells[0], tmp_path, 1.0, {"training_cpu_seconds": 59.0})
    _write(cells[1], tmp_path, 61.0, {"training_cpu_seconds": 60.0})
    results = Results(cells, tmp_path)
    soup = BeautifulSoup(reports.durations(results, {"train": "train", "extend": "grid"}), "html.parser")
    assert [cell.text for cell in soup.find_all("td")] == ["train", "2 of 3", "2", "60.0 s", "2.0 min"]
    origin = BeautifulSoup(reports.origin_table(results), "html.parser").text
    assert "2, and 1 missing" in origin
    assert "file md5" in origin
    assert "Present codecurrent: train" in origin
    assert "Not computed yet: train 1." in reports.origin_box(results, "quick", "digits", committed=False)


def test_missing_records_and_changed_code_stand_beside_a_verdict() -> None:
    poor = replace(_verdict("B1"), n={"train": (3, 6), "modules": (2, 2)}, state="outdated")
    words = "recorded: train 3 of 6; the present code gives other numbers"
    whole = replace(_verdict("B1"), n={"train": (6, 6)}, state="checked")
    for html in (reports.verdict_table({"a": [poor]}), reports.verdict_box({"a": [poor]}, "B1")):
        assert words in BeautifulSoup(html, "html.parser").text
    for html in (reports.verdict_table({"a": [whole]}), reports.verdict_box({"a": [whole]}, "B1")):
        assert "<em>" not in html


def test_a_page_says_which_stages_were_made_by_other_code(toy: Toy, tmp_path: Path) -> None:
    cells = [Cell("toy", stage, {"seed": 0}) for stage in ("trained", "failing")]
    sweeps.run(cells, tmp_path / "results", progress=False)
    results = Results(cells, tmp_path / "results")
    assert "Present codecurrent: trained, failing" in BeautifulSoup(reports.origin_table(results), "html.parser").text
    assert "code has changed" not in reports.origin_box(results, "paper", "digits", committed=True)
    toy.change('"accuracy": 0.9', '"accuracy": 0.8')
    table = BeautifulSoup(reports.origin_table(results), "html.parser").text
    assert "current: failing; changed: trained (trained)" in table
    box = reports.origin_box(results, "paper", "digits", committed=True)
    assert "trained: the code has changed since, and was not checked against the record." in box


def test_a_piece_of_work_without_data_set_is_about_truth_tables(tmp_path: Path) -> None:
    params = {"task": "single", "outputs": 4, "widths": "24", "layers": "2", "grid": "full"}
    cells = [Cell("neural_sculpting", "boolean", params | {"seed": 0})]
    _write(cells[0], tmp_path, 1.0, {})
    box = reports.origin_box(Results(cells, tmp_path), "quick", "truth tables", committed=False)
    assert "Scale “quick” on truth tables, " in box


def test_every_benchmark_is_shown() -> None:
    soup = BeautifulSoup(reports.benchmarks(), "html.parser")
    shown = {cell.text.split(":")[0] for cell in soup.select("td:first-child")}
    assert shown == {
        "attribution",
        "bake_off",
        "coclustering",
        "kmeans",
        "lesions",
        "modularity",
        "module_search",
        "own_network",
        "sculpting",
        "similarity",
        "spectral",
        "stacked",
    }
    some = BeautifulSoup(reports.benchmarks("lesions"), "html.parser")
    assert {cell.text.split(":")[0] for cell in some.select("td:first-child")} == {"lesions"}
    with pytest.raises(ValueError, match="no benchmark is called 'lesion'; there are attribution, "):
        reports.benchmarks("lesion")
