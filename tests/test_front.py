"""The front page and the primer: what they say rests on the record, and their pictures fit any theme."""

from __future__ import annotations

import re
import sys

import pytest

from conftest import CHAPTERS, ROOT

sys.path.append(str(ROOT / "book" / "extension"))  # where Sphinx finds it, too
import drawings
import front
import primer

#: The second paragraph of the front page is prose. It may say what it says as long as these are the verdicts.
THE_ANSWER_RESTS_ON = {
    "N1": "holds",
    "U1": "holds",
    "C2": "holds",
    "U15": "holds",
    "B7": "does not hold",
    "B10": "holds in part",
}


def test_the_answer_rests_on_the_verdicts() -> None:
    found = front.first_verdicts()
    assert {id: found[id].verdict for id in THE_ANSWER_RESTS_ON} == THE_ANSWER_RESTS_ON


def test_findings_have_their_numbers_from_the_record() -> None:
    found, lines = front.first_verdicts(), front.findings_markdown()
    assert len(lines) == 10
    for (id, words, number), line in zip(front.FINDINGS, lines, strict=True):
        assert not re.search(r"\d", words)
        assert line.startswith(f"- {{claim}}`{id}`")
        assert found[id].verdict in line
        assert "{value}" in number or "{interval}" in number


def test_every_chapter_has_a_card_and_a_picture() -> None:
    names = {path.stem for path in CHAPTERS}
    assert set(front.chapters()) == names
    assert set(front.CARDS) == names
    text = "\n".join(front.cards_markdown())
    for name in names:
        assert f"{{doc}}`/notebooks/{name}`" in text
        assert front.minutes(name) >= 5
        assert front.title(name)


def test_the_strip_counts_every_claim_once() -> None:
    counts = [int(count) for count in re.findall(r"<strong>(\d+)</strong>", front.strip_html())]
    assert sum(counts) == len([id for id in front.first_verdicts() if not id.startswith("H")])
    assert f"Of {sum(counts)} claims" in front.strip_html()


@pytest.mark.parametrize("name", primer.PICTURES)
def test_pictures_of_the_primer_take_the_colours_of_the_page(name: str) -> None:
    drawn = primer.picture(name)
    assert "\n" not in drawn
    assert drawn.startswith('<svg class="drawing" role="img" aria-label="')
    assert "currentColor" in drawn
    for fixed in (drawings.INK, drawings.PAPER, "#000000", "#ffffff", "#333333"):
        assert fixed not in drawn
    ids = re.findall(r'\bid="([^"]*)"', drawn)
    assert len(ids) == len(set(ids))
    assert all(id.startswith(f"primer-{name}-") for id in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', drawn)) <= set(ids)
    assert drawn == primer.picture(name)


def test_the_same_units_are_grouped_in_four_ways() -> None:
    of = drawings.four()
    assert list(of.labels) == list(drawings.WAYS)
    assert {len(labels) for labels in of.labels.values()} == {len(of.scores)}
    assert of.accuracy > 0.8
    assert (drawings.agreements() < 0.9).all()
    panels = drawings.four_panels()
    assert len(set(panels.values())) == 4
    assert all(drawings.INK not in panel for panel in panels.values())
