"""No number that the record could change is typed into a chapter: what is typed stands here, with a reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jupytext
import pytest

from conftest import CHAPTERS, ROOT

#: Roles, substitutions and code are computed; math and the numbers of exercises, figures and intervals are names.
NO_TEXT = (
    r"\{[\w:]+\}`[^`]*`|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\(sec-[\w-]+\)=|\[[^\]]*\]\([^)]*\)|^\d\. (?=\*\*)"
    r"|Figures? S?\d\w?(?: and \d\w)*|95 % (?:binomial )?intervals?|BY-SA 3\.0|CIFAR-10"
)
NUMBER = r"(?<![\w.^−-])\d+(?: 000)?(?:\.\d+)?(?!\w)"
#: A text that is a code alone: an argument of a function.
CODE = re.compile(r"[BCHMNU]\d{1,2}")
#: Ends of ranges and values of definitions, such as "1 is no effect".
DEFINED = {"0", "1", "2"}

REASONS: dict[str, dict[str, str]] = {
    "biclustering": {
        "the network, the images and the layers, as in the paper": "1600 10 000 256 128",
        "the small network of this page, and what its pictures show": "8 18 25",
        "steps of an integral, and how far off a sum may be": "50 5",
        "what an exercise says": "6 39",
    },
    "upstream_downstream": {
        "the networks, the grid and the images, as in the paper": "784 64 10 30 10 000 256",
        "how long the authors train and search": "500 1000 5000 100",
        "what is left out (accuracy in %), and how many matrices a comparison has (%)": "80 5",
        "how well a published plot can be read": "0.01",
        "how long other shapes are trained": "60 30",
        "the small networks of this page, and their searches": "8 32 20",
        "the number of measures": "8",
    },
    "neural_sculpting": {
        "tasks, widths, depths and seeds of the slides": "3 4 5 6 8 12 16 24 36 48 392 784 1568 28 56 7",
        "the steps of the method, in %, and the size of its grid": "5 10 14 40 50 60 70 80 90 0.5 2.5 20",
        "how networks are trained": "0.1 64",
        "thresholds of detection": "0.6 0.8 0.5",
        "what the slides say, and where their text and their charts differ": "35 11",
        "smaller networks on digits": "14 128 160",
    },
    "your_own_network": {
        "the small network of this page: image size, channels, positions": "8 32 16",
        "random sets, tests and their levels": "99 27 0.05 0.002 200",
    },
    "bake_off": {
        "the small network of this page: image size, and δ of an exercise": "8",
        "what two groups of equal size can agree beyond chance, and δ of the figures": "0.5 0.1 0.3 0.6 0.7",
        "zeros of a pruned network (%)": "90",
        "the level of intervals": "95",
    },
    "detecting_modularity": {
        "the networks and images, as in the paper": "784 256 10 1818 5000 200 892 2000 20 90 0.5 32 64 7 0.1",
        "clusters, random sets, shuffles and steps, as in the paper": "12 16 19 50 65 40 99",
        "levels": "0.05 5 0.01 95",
        "years": "2021 2022",
        "the small network of this page, and its tests": "8 64 0.3 30 31 20 100 200 400 500",
        "about how much work there is": "3000",
    },
}


def prose(chapter: Path) -> list[str]:
    """What a chapter says in text, captions and remarks."""
    texts = []
    for cell in jupytext.read(chapter).cells:
        if cell.cell_type == "markdown":
            texts.append(cell.source)
            continue
        texts.append(cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", ""))
        if any(call in cell.source for call in ("chapter.remark(", "Markdown(", "say(")):
            tree = ast.parse(cell.source)
            formats = {
                id(part) for node in ast.walk(tree) if isinstance(node, ast.FormattedValue) for part in ast.walk(node)
            }
            texts += [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in formats
            ]
    return texts


def typed(chapter: Path) -> list[tuple[str, str]]:
    """Numbers in what a chapter says, each with what stands around it."""
    found = []
    for text in prose(chapter):
        shown = re.sub(NO_TEXT, " ", text, flags=re.DOTALL | re.MULTILINE)
        for match in re.finditer(NUMBER, shown):
            found.append((match[0], " ".join(shown[max(0, match.start() - 50) : match.end() + 30].split())))
    return found


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_claim_is_named_in_words_and_its_code_stands_in_brackets(chapter: Path) -> None:
    shown = [re.sub(NO_TEXT, " ", text, flags=re.DOTALL | re.MULTILINE) for text in prose(chapter)]
    nouns = [re.search(r".{0,40}\b[BCHMNU]\d{1,2}\b.{0,20}", re.sub(r"\([^()]*\)", "", text)) for text in shown]
    assert [found[0] for text, found in zip(shown, nouns, strict=True) if found and not CODE.fullmatch(text)] == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_typed_numbers_have_a_reason(chapter: Path) -> None:
    reasons = " ".join(REASONS[chapter.stem].values())
    allowed = DEFINED | set(re.findall(NUMBER, reasons))
    found = typed(chapter)
    assert [(number, where) for number, where in found if number not in allowed] == []
    # The list is no longer than it must be.
    assert allowed - DEFINED - {number for number, _ in found} == set()


def test_pages_have_no_numbers_of_the_record() -> None:
    for name in ("intro", "claims", "later"):
        text = re.sub(NO_TEXT, " ", (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8"), flags=re.DOTALL)
        assert set(re.findall(NUMBER, text)) <= {"95"}, name


def test_rules_are_not_said_to_be_older_than_they_are() -> None:
    """Only the page on changed rules says when rules were fixed."""
    pages = [*CHAPTERS, *(ROOT / "book").glob("*.md"), ROOT / "README.md"]
    claimed = r"fixed before|rules? (?:that )?w(?:as|ere) fixed"
    found = [path.name for path in pages if re.search(claimed, path.read_text(encoding="utf-8"))]
    assert found == ["changes.md"]
