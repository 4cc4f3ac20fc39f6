"""The built book in a real browser, from disk: what a reader sees, hears read aloud, clicks and prints."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import book_pdf
from conftest import ROOT
from test_book import CONFIG, NAMES

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
#: One rule is an experiment of axe's, and off without this.
AXE_RULES = {"label-content-name-mismatch": {"enabled": True}}
#: What is not ours: the colours of code; the theme's button for light and dark, which says both and shows one; and math
#: alone in the head of a column, which MathJax speaks and axe does not hear.
NOT_OURS = [[".highlight span"], [".theme-switch-button"], ["th:has(mjx-container)"]]
#: Rows, claims and functions are alike: axe is shown the first of each, and code without colours, since many thousands
#: of elements would take it minutes.
THIN = """kinds => {
    document.querySelectorAll(".highlight pre").forEach((one) => (one.textContent = one.textContent));
    const alike = new Map();
    for (const one of document.querySelectorAll(kinds)) {
        const key = `${one.tagName} ${one.className}`;
        const seen = alike.get(one.parentElement) ?? alike.set(one.parentElement, {}).get(one.parentElement);
        seen[key] = (seen[key] ?? 0) + 1;
        if (seen[key] > 4) one.classList.add("thinned");
    }
    document.querySelectorAll(".thinned").forEach((one) => one.remove());
}"""
KINDS = "tr, details.verdict, dl.py, section > .cell, section > p, section > ul, li, div.citation, figure"


needs_browser = pytest.mark.skipif(
    book_pdf.find_browser() is None, reason="no Chromium is installed, so that no page is tried in a browser"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=book_pdf.find_browser(), args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """A page from disk, and what the browser said of it."""

    def __init__(self, page: Page) -> None:
        self.page, self.said, self.outside = page, list[str](), list[str]()
        page.on("console", lambda line: self.said.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.outside.append(request.url) if _is_outside(request.url) else None)

    def open(self, file: Path, rest: str = "") -> Page:
        self.page.goto(file.as_uri() + rest)
        return self.page


def _is_outside(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:", "about:"))


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    yield Opened(context.new_page())
    context.close()


def _theme(page: Page, theme: str) -> None:
    page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)


def _violations(page: Page, **options: Any) -> list[str]:
    """What axe finds: its rule, and for each element where it is and why."""
    options = {"resultTypes": ["violations"], "preload": False} | options
    found = page.evaluate("([not, options]) => axe.run({exclude: not}, options)", [NOT_OURS, options])
    return [
        f"{rule['id']}: {node['html'][:120]} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@needs_browser
@pytest.mark.parametrize("name", NAMES)
def test_a_page_on_two_screens_in_two_themes(html: Path, opened: Opened, name: str) -> None:
    page = opened.open(html / f"{name}.html")
    page.evaluate("window.MathJax?.startup?.promise")
    for width in (390, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            _theme(page, theme)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"scrolls sideways in {theme}"
    assert (
        page.evaluate("[...document.images].filter(i => i.loading != 'lazy' && !i.naturalWidth).map(i => i.src)") == []
    )
    shown = page.locator("article img")
    assert all(len((shown.nth(place).get_attribute("alt") or "").split()) > 1 for place in range(shown.count()))

    page.evaluate(THIN, f"{KINDS}, section > section" if name.endswith("api") else KINDS)
    page.add_script_tag(content=AXE)
    assert _violations(page, runOnly=["color-contrast"]) == []
    _theme(page, "light")
    assert _violations(page, rules=AXE_RULES) == []
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_timeout(500)  # the theme notices a new width after a while
    assert _violations(page, rules={"color-contrast": {"enabled": False}}) == []
    assert opened.said == []
    assert opened.outside == []


@needs_browser
def test_figures_have_the_ground_of_the_page(html: Path, opened: Opened) -> None:
    page = opened.open(html / "notebooks" / "biclustering.html")
    figures = page.locator("article figure:has(img)")
    settings: tuple[tuple[Literal["screen", "print"], str, str], ...] = (
        ("screen", "light", "on-light"),
        ("print", "dark", "on-light"),
        ("screen", "dark", "on-dark"),
    )
    for media, theme, shown in settings:
        page.emulate_media(media=media)
        _theme(page, theme)
        assert page.locator("article figure img:visible").count() == figures.count() > 10
        assert page.locator(f"article figure img.{shown}:visible").count() == figures.count()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(18, 18, 18)"  # the one for which test_dark.py measures contrast
    pixels = np.asarray(Image.open(io.BytesIO(figures.first.locator("img:visible").screenshot())).convert("RGB"))
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 18).all()
    # Words are as light as they were made: nothing dims the figure.
    assert pixels.max() > 220


@needs_browser
@pytest.mark.parametrize("name", ["book/primer", "notebooks/upstream_downstream"])
def test_on_a_phone_every_number_stands_under_the_name_of_its_column(html: Path, opened: Opened, name: str) -> None:
    page = opened.open(html / f"{name}.html")
    page.set_viewport_size({"width": 390, "height": 900})
    tables = page.locator("article table.cards").evaluate_all(
        """tables => tables.map(table => [...table.rows].map(row =>
            [...row.cells].map(cell => [cell.textContent.trim(), cell.dataset.label || ""])))"""
    )
    assert tables
    for head, *rows in tables:
        names = [text for text, _ in head]
        for row in rows:
            assert [label for _, label in row] == names


@needs_browser
def test_the_slider_prunes_with_the_keyboard(html: Path, opened: Opened) -> None:
    page = opened.open(html / "notebooks" / "neural_sculpting.html")
    box = page.locator(".pruning-slider")
    drawn = "parts => parts.filter(part => part.style.visibility != 'hidden').length"

    def edges() -> int:
        shown = int(box.locator("line").evaluate_all(drawn))
        said = re.search(r"(\d+) edges", box.locator("output").text_content() or "")
        assert said is not None
        assert shown == int(said[1])
        return shown

    dense = edges()
    box.locator("input").press("ArrowRight")
    after = edges()
    box.locator("input").press("End")
    assert edges() < after < dense
    box.locator("input").press("Home")
    assert edges() == dense


@needs_browser
def test_two_measures_are_chosen_and_drawn(html: Path, opened: Opened) -> None:
    page = opened.open(html / "notebooks" / "upstream_downstream.html")
    box = page.locator(".partition-chooser")
    network, left, right = (box.locator("select").nth(place) for place in range(3))
    heights = "lines => lines.map(line => [line.getAttribute('y1'), line.getAttribute('y2')])"
    before = box.locator("line").evaluate_all(heights)
    right.select_option("covariance")
    left.select_option("covariance")
    assert all(a == b for a, b in box.locator("line").evaluate_all(heights))  # the same, so no line goes elsewhere
    assert "similarity 1.00" in (box.locator("output").text_content() or "")
    right.select_option("loss Hessian")
    assert box.locator("line").evaluate_all(heights) == before
    network.select_option("untrained")
    assert box.locator("line").evaluate_all(heights) != before
    assert opened.said == []


@needs_browser
def test_search_finds_a_word_and_leads_there(html: Path, opened: Opened) -> None:
    page = opened.open(html / f"{NAMES[0]}.html")
    page.locator(".search-button-field").first.click()
    field = page.locator("#pst-search-dialog input[type=search]")
    field.fill("co-clustering")
    field.press("Enter")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    titles = results.all_inner_texts()
    assert any("Biclustering" in title for title in titles), titles
    results.filter(has_text="Biclustering").first.click()
    page.wait_for_url(re.compile(r"notebooks/biclustering\.html"))
    assert "co-clustering" in page.locator("article").inner_text().lower()
    assert opened.said == []
    assert opened.outside == []


@needs_browser
def test_the_scoreboard_filters_sorts_and_finds(html: Path, opened: Opened) -> None:
    page = opened.open(html / "book" / "claims.html")
    rows = page.locator("#scoreboard tbody tr:visible")
    form = page.locator(".scoreboard-filters")

    def count() -> int:
        number, of = re.findall(r"\d+", form.locator("output").inner_text())
        assert int(number) == rows.count() <= int(of) == page.locator("#scoreboard tbody tr").count()
        return int(number)

    own = count()
    form.locator("[name=dataset]").select_option("")
    every = count()
    assert every > own > 0
    form.locator("[name=verdict]").select_option("holds")
    assert 0 < count() < every
    assert set(page.locator("#scoreboard tbody tr:visible .verdict-badge").all_inner_texts()) == {"● holds"}
    form.locator("[name=paper]").select_option("lu2019checking")
    papers = rows.evaluate_all("rows => rows.map(row => row.dataset.paper)")
    assert set(papers) == {"lu2019checking"}
    # The address remembers the filter, so that it can be passed on.
    assert opened.open(html / "book" / "claims.html", page.url.partition("claims.html")[2]) is page
    assert rows.count() == len(papers)

    form.get_by_role("button", name="Reset").click()
    page.wait_for_function(f"document.querySelectorAll('#scoreboard tbody tr:not([hidden])').length == {own}")
    form.locator("[name=find]").fill("dropout RAISES q")
    assert rows.first.locator("a").first.inner_text() == "U1"
    assert count() < 5
    form.locator("[name=find]").fill("zebra")
    assert count() == 0
    form.locator("[name=find]").fill("")

    order = "rows => rows.map(row => +row.dataset.verdict)"
    by_verdict = page.locator("#scoreboard th", has_text="Verdict")
    for sort in ("ascending", "descending"):
        by_verdict.get_by_role("button").click()
        found = rows.evaluate_all(order)
        assert by_verdict.get_attribute("aria-sort") == sort
        assert found == sorted(found, reverse=sort == "descending")
        assert found[0] != found[-1]
    assert opened.said == []


@needs_browser
def test_a_row_leads_to_figure_rule_and_record(html: Path, opened: Opened) -> None:
    page = opened.open(html / "book" / "claims.html")
    row = page.locator("#scoreboard tbody tr").filter(has=page.locator('a[href="#claim-u2"]')).first
    code, record = page.locator("#claim-u2-rule pre"), page.locator("#claim-u2-record li")
    assert not code.is_visible()
    row.get_by_role("link", name="rule").click()
    code.wait_for(state="visible")
    assert "def _u2(" in code.inner_text()
    row.get_by_role("link", name="record").click()
    record.first.wait_for(state="visible")
    assert "results/upstream_downstream/modules" in record.first.locator("..").inner_text()
    row.get_by_role("link", name="figure").click()
    page.wait_for_url(re.compile(r"upstream_downstream\.html#fig-"))
    assert page.locator(f"{page.evaluate('location.hash')} img:visible").count() == 1
    # The same anchor in the chapter, and the way back.
    page = opened.open(html / "notebooks" / "upstream_downstream.html", "#claim-u2")
    box = page.locator("#claim-u2")
    assert box.get_attribute("open") is not None
    assert page.locator("#claim-u1").get_attribute("open") is None
    box.get_by_role("link", name="on the scoreboard").click()
    page.wait_for_url(re.compile(r"claims\.html#claim-u2"))
    assert page.locator("#claim-u2").get_attribute("open") is not None


@needs_browser
def test_the_scoreboard_without_script_is_a_table_of_all(html: Path, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((html / "book" / "claims.html").as_uri())
    rows = page.locator("#scoreboard tbody tr")
    assert page.locator("#scoreboard tbody tr:visible").count() == rows.count() > 100
    assert not page.locator(".scoreboard-filters").is_visible()
    context.close()


@needs_browser
def test_buttons_name_files_that_exist(html: Path, opened: Opened) -> None:
    repository = f"{CONFIG['repository']['url']}/(?:blob|edit|tree)/{CONFIG['repository']['branch']}/"
    for name in NAMES:
        page = opened.open(html / f"{name}.html")
        links = page.locator(".header-article a, .article-header-buttons a").evaluate_all("all => all.map(a => a.href)")
        files_named = [found[1] for link in links if (found := re.match(rf"{repository}([^?#]+)", link))]
        assert files_named
        assert [file for file in files_named if not (ROOT / unquote(file)).exists()] == []
        downloads = [Path(unquote(link.removeprefix("file://"))) for link in links if "/_sources/" in link]
        assert downloads
        assert all(file.is_file() for file in downloads)


@needs_browser
def test_on_paper_claims_are_unfolded_and_nothing_is_cut_or_white_on_white(html: Path, opened: Opened) -> None:
    page = opened.open(html / "notebooks" / "biclustering.html")
    page.set_viewport_size({"width": 680, "height": 1000})
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.verdict").evaluate_all("all => all.every(one => one.open)")
    assert not page.locator(".bd-sidebar-primary").first.is_visible()
    badges = page.locator(".verdict-badge").evaluate_all("all => all.map(one => getComputedStyle(one).color)")
    assert badges
    assert "rgb(255, 255, 255)" not in badges
    cut = "all => all.filter(one => one.clientWidth && one.scrollWidth > one.clientWidth + 1).length"
    assert page.locator("article pre").evaluate_all(cut) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.verdict").evaluate_all("all => all.every(one => !one.open)")


def test_the_whole_book_is_one_page_whose_links_lead_somewhere(html: Path) -> None:
    whole = BeautifulSoup(book_pdf.one_page(html, book_pdf.pages()), "html.parser")
    ids = [str(element["id"]) for element in whole.select("body [id]")]
    assert len(whole.select("article")) == len(NAMES)
    assert len(ids) == len(set(ids))
    targets = {str(link["href"])[1:] for link in whole.select('body a[href^="#"]')}
    assert len(targets) > 300
    assert targets - set(ids) == set()
    assert [
        link for link in whole.select("body a[href]") if not re.match(r"#|https?:|mailto:", str(link["href"]))
    ] == []
    missing = [image["src"] for image in whole.select("body img") if not (html / str(image["src"])).is_file()]
    assert missing == []


def test_a_pdf_needs_a_book_and_a_browser(
    html: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(book_pdf, "HTML", html / "nothing")
    assert book_pdf.main() == 1
    assert capsys.readouterr().err == "error: no book in _build/html; make it: make book\n"
    monkeypatch.setattr(book_pdf, "HTML", html)
    monkeypatch.delenv("MODUTILS_BROWSER", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert book_pdf.main() == 1
    assert "no Chromium found; install one" in capsys.readouterr().err
