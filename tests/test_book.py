"""What a reader gets: the built HTML, opened from disk without a network."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, unquote, urldefrag, urlparse

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup, Tag

import modules_book
import scoreboard
from companion import records, study
from companion.claims import VERDICTS, Verdict
from conftest import CHAPTERS, ROOT

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
NAMES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> set[str]:
    """Where links to a page can point: the ids of all its elements."""
    return {str(element["id"]) for element in soup(path).select("[id]")}


def pages(html: Path) -> list[Path]:
    """Every page that a reader can come to; files below ``_static`` are parts of pages."""
    return [path for path in sorted(html.rglob("*.html")) if "_static" not in path.relative_to(html).parts]


def elements(html: Path, selector: str) -> list[tuple[str, Tag]]:
    return [(str(page.relative_to(html)), element) for page in pages(html) for element in soup(page).select(selector)]


def test_every_entry_of_the_contents_is_a_page_and_every_chapter_an_entry(html: Path) -> None:
    assert [name for name in NAMES if not (html / f"{name}.html").is_file()] == []
    assert {f"notebooks/{path.stem}" for path in CHAPTERS} == {name for name in NAMES if name.startswith("notebooks/")}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_a_title_and_text(html: Path, name: str) -> None:
    article = soup(html / f"{name}.html").select_one("article")
    assert article is not None
    assert len(article.select("h1")) == 1
    assert len(article.get_text().split()) > 20


def test_every_image_has_a_description(html: Path) -> None:
    images = elements(html, "img")
    assert images
    poor = [
        (page, image.get("src"), image.get("alt"))
        for page, image in images
        # Without alt text of its own, a figure gets its file's name, which is a hash.
        if len(str(image.get("alt", "")).split()) < 2 or re.search(r"[0-9a-f]{32}", str(image.get("alt")))
    ]
    assert poor == []


def test_every_figure_of_a_chapter_is_there_for_light_and_for_dark_pages(html: Path) -> None:
    for chapter in CHAPTERS:
        page = html / "notebooks" / f"{chapter.stem}.html"
        figures = soup(page).select("article figure:has(img)")
        assert figures
        shown = [figure.select("img") for figure in figures]
        assert len(soup(page).select("article img")) == sum(map(len, shown)), "a figure without number and caption"
        for light, dark in shown:
            assert light["alt"] == dark["alt"]
            assert light["style"] == dark["style"]
            assert "on-light" in light["class"]
            assert "on-dark" in dark["class"]
            assert str(dark["src"]) == str(light["src"]).replace(".png", ".dark.png")
            # A hidden image in a link that is not hidden would be an empty stop for the keyboard.
            assert light.find_parent("a", class_="on-light")
            assert dark.find_parent("a", class_="on-dark")


def test_every_drawing_in_a_page_has_a_description_and_ids_of_its_own(html: Path) -> None:
    drawings = elements(html, "svg.drawing")
    assert {page for page, _ in drawings} == {"book/intro.html", "book/primer.html"}
    assert [page for page, tag in drawings if len(str(tag.get("aria-label", "")).split()) < 5] == []
    for name in ("intro", "primer"):
        ids = [str(tag["id"]) for tag in soup(html / "book" / f"{name}.html").select("[id]")]
        assert len(ids) == len(set(ids)), name


def test_the_pruning_slider_is_a_still_picture_without_script(html: Path) -> None:
    (box,) = soup(html / "notebooks" / "neural_sculpting.html").select(".pruning-slider")
    (label,) = box.select("label[hidden]")
    (slider,) = label.select("input[type=range]")
    (picture,) = box.select("svg[role=img][aria-label]")
    last = str(slider["max"])
    strong = [part for part in picture.select("line") if part["data-until"] == last]
    assert strong
    assert all("opacity:0.9" in str(part["style"]) for part in strong)
    assert str(box.select("output")[0].get_text()) in str(picture["aria-label"])


def test_nothing_is_loaded_from_the_network(html: Path) -> None:
    loaded = "script[src], img[src], iframe[src], source[src], video[src], audio[src], embed[src], object[data]"
    sources = [(page, str(tag.get("src") or tag.get("data"))) for page, tag in elements(html, loaded)]
    links = [
        (page, str(tag["href"]))
        for page, tag in elements(html, "link[href]")
        if not {"next", "prev", "search", "index", "author", "canonical"} & set(tag.get("rel") or [])
    ]
    assert len(sources) > len(pages(html))
    assert [found for found in sources + links if re.match(r"(https?:)?//", found[1])] == []
    for style in html.rglob("*.css"):
        outside = re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//[^)]*", style.read_text(encoding="utf-8"))
        assert outside == [], style.name


def test_every_local_link_leads_somewhere(html: Path) -> None:
    broken = []
    for page, tag in elements(html, "a[href], link[href], script[src], img[src]"):
        target = str(tag.get("href") or tag.get("src"))
        if urlparse(target).scheme or target.startswith("//"):
            continue
        file, fragment = urldefrag(target)
        path = (html / page).parent / unquote(file.partition("?")[0]) if file else html / page
        if not path.is_file() or (
            fragment and tag.name == "a" and path.suffix == ".html" and unquote(fragment) not in anchors(path.resolve())
        ):
            broken.append((page, target))
    assert broken == []


def test_buttons_name_files_of_the_repository(html: Path) -> None:
    repository, branch = CONFIG["repository"]["url"], CONFIG["repository"]["branch"]
    prefix = re.compile(rf"{re.escape(repository)}/(?:blob|edit)/{branch}/([^?#]+)")
    for name in NAMES:
        links = [str(tag["href"]) for tag in soup(html / f"{name}.html").select("a[href]")]
        named = [match[1] for link in links if (match := prefix.match(link)) and not link.partition("#")[2]]
        (source,) = [f"{name}{suffix}" for suffix in (".py", ".md", ".rst") if (ROOT / f"{name}{suffix}").is_file()]
        assert set(named) == {source}
        downloads = [link for link in links if "_sources/" in link]
        executed = [f"{Path(name).name}.ipynb"] if source.endswith(".py") else []
        assert [Path(link).name for link in downloads] == [*executed, Path(source).name]


def test_executed_notebooks_can_be_downloaded(html: Path) -> None:
    for chapter in CHAPTERS:
        notebook = nbformat.read(html / "_sources" / "notebooks" / f"{chapter.stem}.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
        assert all(cell.execution_count for cell in code)
        assert any(cell.outputs for cell in code)
        text = nbformat.writes(notebook)
        assert [name for name in (str(ROOT), sys.prefix, str(Path.home()) + "/") if name in text] == []


def test_a_chapter_opens_in_jupyterlab_on_binder(html: Path) -> None:
    for chapter in CHAPTERS:
        links = soup(html / "notebooks" / f"{chapter.stem}.html").select('a[href*="mybinder.org"]')
        assert links
        for link in links:
            opened = parse_qs(urlparse(str(link["href"])).query)["urlpath"]
            assert opened == [f"lab/tree/notebooks/{chapter.name}"]


def test_no_path_of_this_machine(html: Path) -> None:
    private = {str(ROOT), str(html.parents[1]), sys.prefix, str(Path.home()) + "/"}
    texts = [path for path in html.rglob("*") if path.suffix in {".html", ".js", ".py", ".md", ".txt", ".json"}]
    assert len(texts) > len(NAMES)
    found = [
        (str(path.relative_to(html)), name)
        for path in texts
        for name in private
        if name in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_math_is_typeset_by_a_local_script_that_is_not_committed(html: Path) -> None:
    script = html / "_static" / "tex-svg.js"
    assert script.stat().st_size > 1_000_000
    own = {"pages.js", "scoreboard.js"}
    assert {path.name for path in (ROOT / "book").rglob("*.js")} == own
    assert all(path.stat().st_size < 8_000 for path in (ROOT / "book").rglob("*.js"))
    sources = [str(tag["src"]) for tag in soup(html / f"{NAMES[1]}.html").select("script[src]")]
    assert any("_static/tex-svg.js" in source for source in sources)


def test_every_public_module_is_documented(html: Path) -> None:
    packages = ("modutils", "companion")
    modules = {f"{package}.{path.stem}" for package in packages for path in (ROOT / package).glob("[!_]*.py")}
    headings = {tag.get_text().removesuffix("#") for tag in soup(html / "book" / "api.html").select("article h3")}
    assert headings == modules
    assert "Alias for field" not in soup(html / "book" / "api.html").get_text()


def test_every_verdict_is_on_the_scoreboard(html: Path) -> None:
    article = soup(html / "book" / "claims.html").select_one("article")
    assert article is not None
    rows = [
        (row.select("td a")[0].get_text(), row.select("td")[1].get_text(), row.select_one(".verdict-badge"))
        for row in article.select("#scoreboard tbody tr")
    ]
    expected = [(row.id, study.label(row.dataset), row.verdict) for row in modules_book.verdicts()]
    assert sorted((id, name, badge.get_text()[2:]) for id, name, badge in rows if badge) == sorted(expected)
    order = [str(link["href"]) for link in article.select('table a[href^="../notebooks/"]')]
    chapters = list(dict.fromkeys(urldefrag(link)[0] for link in order))
    assert chapters == [f"../{name}.html" for name in NAMES if f"../{name}.html" in chapters]
    for name in modules_book.studies_without_record():
        assert f"The study {name} has no record yet" in article.get_text()


def test_every_claim_has_one_anchor_here_and_in_its_chapter_below_its_figure(html: Path) -> None:
    page = soup(html / "book" / "claims.html")
    claims = {one.id: name for name in study.names() for one in study.load(name).claims}
    assert [box["id"] for box in page.select("details.verdict")] == [
        f"claim-{row.id.lower()}" for columns in modules_book.judged().values() for row in next(iter(columns.values()))
    ]
    boxes = {str(box["id"]): box for box in page.select("details.verdict")}
    chapters = {
        name: Counter(str(element["id"]) for element in soup(html / "notebooks" / f"{name}.html").select("[id]"))
        for name in set(claims.values())
    }
    for id, name in claims.items():
        anchor = f"claim-{id.lower()}"
        assert boxes[anchor].select("summary > h3")
        links = [
            str(link["href"]) for part in boxes[anchor].find_all("p", recursive=False) for link in part.select("a")
        ]
        assert links == [f"../notebooks/{name}.html#{place}" for place in (scoreboard.figures()[id].name, anchor)]
        assert chapters[name][anchor] == 1


def test_a_claim_leads_to_its_rule_and_to_cells_that_are_there(html: Path) -> None:
    page, repository = soup(html / "book" / "claims.html"), CONFIG["repository"]
    folded = {str(part["id"]): part for part in page.select("details.verdict > details")}
    named = re.compile(rf"{re.escape(repository['url'])}/(blob|tree)/{repository['branch']}/([^#]+)(?:#L(\d+)-L(\d+))?")
    for verdict in modules_book.first_verdicts():
        code, cells = (folded[f"claim-{verdict.id.lower()}-{part}"] for part in ("rule", "record"))
        links = [named.fullmatch(str(link["href"])) for link in (*code.select("a"), *cells.select("a"))]
        assert all(links)
        assert len(links) > 1
        for link in filter(None, links):
            assert (ROOT / link[2]).exists()
            if link[1] == "blob":
                lines = (ROOT / link[2]).read_text(encoding="utf-8").splitlines()[int(link[3]) - 1 : int(link[4])]
                assert code.select_one("pre").get_text().split() == " ".join(lines).split()  # type: ignore[union-attr]
        for cell in verdict.cells:
            assert cell.path(ROOT / "results").is_file()
            assert cell.label in cells.get_text()


def test_claims_page_shows_rule_finding_and_reason() -> None:
    found = [
        Verdict("X1", "p2020", "Units | <b>matter</b>.", "42 %", "above 40 %", "45 %", "[41, 49]", "holds", "It is."),
        Verdict("X2", "q2021", "More.", "up", "rises", "-1", "", "does not hold", "It falls."),
    ]
    text = "\n".join(modules_book.claims_markdown({"no_chapter": {"MNIST": found}}))
    for part in ("## no\\_chapter", "{cite:t}`p2020`: 1 claim: 1 holds.", "{cite:t}`q2021`", "```{claim} X2"):
        assert part in text
    board = BeautifulSoup(scoreboard.board({"no_chapter": {"MNIST": found, "digits": found}}), "html.parser")
    rows = board.select("tbody tr")
    assert [row.select("td")[0].get_text() for row in rows] == ["X1 Units | <b>matter</b>."] * 2 + ["X2 More."] * 2
    assert [row.has_attr("data-first") for row in rows] == [True, False] * 2
    assert [option.get_text() for option in board.select("select")[0].select("option")] == ["all", "P 2020", "Q 2021"]
    assert board.select("b") == []


def test_changed_rules_are_shown_with_both_verdicts() -> None:
    now: dict[str, list[Verdict]] = {}
    for verdict in modules_book.verdicts():
        now.setdefault(verdict.id, []).append(verdict)
    with (ROOT / "book" / "rule_changes.csv").open(encoding="utf-8", newline="") as file:
        changes = list(csv.DictReader(file))
    ids = [change["id"] for change in changes]
    assert len(ids) == len(set(ids))
    for change in changes:
        rows, before = now.get(change["id"], []), change["verdicts"].split(" / ")
        assert set(before) <= set(VERDICTS)
        assert change["reason"].endswith(".")
        if change["id"] == "N19":
            assert not rows
            continue
        assert len(rows) == len(before)
        assert (rows[0].rule, [row.verdict for row in rows]) != (change["rule"], before), change["id"]
    text = "\n".join(modules_book.changes_markdown(modules_book.verdicts()))
    assert '**<a href="claims.html#claim-b13">B13</a>: holds / holds → not testable / not testable**' in text
    assert "**N19: holds → no row of its own**" in text


def test_the_record_is_counted_stage_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = study.load("your_own_network").plan("paper")
    (stage,) = {cell.stage for cell in plan}
    records.write(plan[0], {"a": 1}, {}, tmp_path)
    monkeypatch.setenv("MODUTILS_RESULTS", str(tmp_path))
    row = modules_book.record_markdown()[-1]
    assert f"1 of {len(plan)}" in row
    assert study.load("your_own_network").stages[stage] in row
    assert "current" in row


def test_status_page_says_how_each_chapter_was_made(html: Path) -> None:
    table = soup(html / "book" / "status.html").select_one("article table")
    assert table is not None
    rows = [row.get_text(" ", strip=True) for row in table.select("tbody tr")]
    assert len(rows) == len(CHAPTERS)
    for row in rows:
        assert re.search(r"\d{4}-\d\d-\d\d .* \d+ s\b .*[0-9a-f]{7}", row)
    text = soup(html / "book" / "status.html").get_text()
    assert text.count("scale = 'paper'") == len(CHAPTERS)
    assert re.search(r"All of them: on .+ with Python 3\..* torch \d", text)  # once, not for each chapter
