"""The whole built book as one PDF: ``make pdf``, with a Chromium that is on this machine.

All pages are put behind one another, with contents before them and links between them, and printed.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import urldefrag, urlparse

import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
#: Names under which systems install a Chromium.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOOTER = '<div style="font-size: 8px; text-align: center; width: 100%"><span class="pageNumber"></span></div>'
#: What is there to be clicked, or for dark pages.
NOT_PRINTED = (
    ".headerlink, .copybtn, .prev-next-area, .toctree-wrapper, .scoreboard-filters, script, details.verdict details, "
    ".on-dark"
)


def find_browser() -> str | None:
    """Path of the Chromium that ``MODUTILS_BROWSER`` names, or of the first one installed; None without any."""
    return os.environ.get("MODUTILS_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


def pages() -> list[str]:
    """Addresses of the book's pages below :data:`HTML`, in the order of the contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = toc.get("parts", [{"chapters": toc.get("chapters", [])}])
    return [f"{name}.html" for name in (toc["root"], *(entry["file"] for part in parts for entry in part["chapters"]))]


def one_page(html: Path, names: list[str]) -> str:
    """The articles of these pages in one page of HTML for the folder ``html``, with contents before them."""
    whole = BeautifulSoup((html / names[0]).read_text(encoding="utf-8"), "html.parser")
    title = whole.select_one(".logo__title")
    articles, contents = [], []
    for place, name in enumerate(names):
        article = BeautifulSoup((html / name).read_text(encoding="utf-8"), "html.parser").select_one("article")
        if article is None:
            raise ValueError(f"{name} has no article; build the book anew: make book")
        for element in article.select(NOT_PRINTED):
            element.decompose()
        for element in article.select("[id]"):
            element["id"] = f"p{place}-{element['id']}"
        for link in article.select("a[href]"):
            _lead(link, name, names)
        for image in article.select("img[src]"):
            image["src"] = posixpath.normpath(posixpath.join(posixpath.dirname(name), str(image["src"])))
        article["id"] = f"p{place}"
        articles.append(article)
        contents.append(_entry(article, place))
    body = whole.new_tag("body")
    start = f"<h1>{title.get_text(strip=True) if title else ''}</h1><ul>{''.join(contents)}</ul>"
    body.append(BeautifulSoup(start, "html.parser"))
    body.extend(articles)
    if whole.body is not None:
        whole.body.replace_with(body)
    places = {str(element["id"]) for element in body.select("[id]")}
    for link in body.select('a[href^="#"]'):  # to what is folded, and not printed
        if str(link["href"])[1:] not in places:
            del link["href"]
    text = re.sub(r'(<(?:link|script)[^>]* (?:href|src)=")\.\./', r"\1", str(whole))
    return text.replace("</head>", "<style>article { break-before: page; }</style></head>")


def _lead(link: Tag, name: str, names: list[str]) -> None:
    """Let a link lead to its place in the one page; one to a file that is not in it is none."""
    target, fragment = urldefrag(str(link["href"]))
    if urlparse(target).scheme:
        return
    page = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
    if page in names:
        link["href"] = f"#p{names.index(page)}{f'-{fragment}' if fragment else ''}"
    else:
        del link["href"]


def _entry(article: Tag, place: int) -> str:
    """A line of the contents, with the page's sections."""
    heading = article.select_one("h1")
    parts = "".join(
        f'<li><a href="#{section["id"]}">{section.h2.get_text()}</a></li>'
        for section in article.select("section[id]")
        if section.h2 is not None and section.h2.parent is section
    )
    return f'<li><a href="#p{place}">{heading.get_text() if heading else ""}</a><ul>{parts}</ul></li>'


def main() -> int:
    """Print the book into ``_build/book.pdf``."""
    from playwright.sync_api import Error, sync_playwright

    if not (HTML / pages()[0]).is_file():
        print("error: no book in _build/html; make it: make book", file=sys.stderr)
        return 1
    if (browser := find_browser()) is None:
        print("error: no Chromium found; install one, such as Debian's package chromium", file=sys.stderr)
        return 1
    together, output = HTML / "_whole.html", ROOT / "_build" / "book.pdf"
    together.write_text(one_page(HTML, pages()), encoding="utf-8")
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = chromium.new_page()
            page.goto(together.as_uri(), wait_until="load")
            page.evaluate("window.MathJax?.startup?.promise")
            page.pdf(
                path=output,
                format="A4",
                scale=0.75,
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=FOOTER,
                outline=True,
                tagged=True,
            )
            chromium.close()
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        together.unlink()
    print(f"The book is in {output.as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
