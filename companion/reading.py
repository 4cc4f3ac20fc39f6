"""Text that reads the same in JupyterLab and in the book.

A sentence with numbers is what a cell shows: :func:`say` fills them in from what :func:`glue` was given. Captions stand
in the metadata of cells, which JupyterLab does not show: :func:`show_captions` shows them below the figures. Links are
those of Markdown, which the book turns into its own references (``book/extension``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.core.interactiveshell import ExecutionResult
from IPython.display import Markdown, display

__all__ = ["FOR_PAGE", "glue", "minus", "say", "show_captions"]

#: Set in the kernel of a chapter that is executed for a page.
FOR_PAGE = "MODUTILS_FOR_PAGE"
_values: dict[str, Any] = {}


def minus(text: str) -> str:
    """The text with the sign of every negative number as a minus, which a hyphen is not.

    >>> minus("from -0.5 [-1, 2] to 10^-2, seeds 3-5")
    'from −0.5 [−1, 2] to 10^−2, seeds 3-5'
    """
    return re.sub(r"(?<![^\s(\[|^×*])-(?=[\d.])", "−", text)


def glue(name: str, value: Any, *, display: bool = False, caption: bool = True) -> None:
    """Name a value, for text and captions.

    Parameters
    ----------
    name : str
        By which ``{glue:text}`name:.2f``` asks for it, with or without a format.
    value : object
        Text or number.
    display : bool
        Show it here, too.
    caption : bool
        For captions as well, which the book fills in; a name can be glued for these only once in a chapter.
    """
    from myst_nb import glue as glue_for_page

    _values[name] = value
    if caption:
        glue_for_page(name, value, display=display)


def _filled(text: str) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in _values:
            raise ValueError(f"{found[1]!r} was not glued before this text; there are {', '.join(_values) or 'none'}")
        filled = minus(format(_values[found[1]], found[2] or ""))
        # A value is text, not markup. Entities, since a backslash before a bracket is mathematics to JupyterLab.
        return re.sub(r"[\\`*_{}\[\]<>|$~^&!]", lambda mark: f"&#{ord(mark[0])};", filled)

    return re.sub(r"\{glue:text\}`([\w.-]+)(?::([^`]*))?`", value, text)


def say(text: str) -> Markdown:
    """Text with its numbers filled in.

    Raises
    ------
    ValueError
        A name that was not glued before.

    Examples
    --------
    >>> glue("share", 0.4567, caption=False)
    >>> say("A share of {glue:text}`share:.2f`.").data
    'A share of 0.46.'
    >>> glue("interval", "[0.4, 0.5]", caption=False)
    >>> say("{glue:text}`interval`").data
    '&#91;0.4, 0.5&#93;'
    """
    return Markdown(_filled(text.strip()))


def caption_text(name: str, caption: str) -> str:
    """A caption as plain Markdown, with the name by which text refers to the figure.

    Examples
    --------
    >>> glue("dataset", "MNIST", caption=False)
    >>> caption_text("fig-4", "Classes ({glue:text}`dataset`), as {numref}`fig-1`.")
    '*Figure 4.* Classes (MNIST), as Figure 1.'
    """
    plain = re.sub(r"\{numref\}`fig-([^`]*)`", r"Figure \1", _filled(caption))
    plain = re.sub(r"\{\w+(?::\w+)?\}`(?:sec-)?([^`]*)`", r"\1", plain)
    return f"*Figure {name.removeprefix('fig-')}.* {plain}"


def show_captions(chapter: str | Path) -> None:
    """From now on, show the caption of each of the chapter's figures below it; for a page this does nothing.

    Parameters
    ----------
    chapter : path
        The script, whose cells have the captions. Of a cell that was changed since, none is shown; nor without it.
    """
    import jupytext  # for this alone, and not for every command

    shell = get_ipython()
    if FOR_PAGE in os.environ or shell is None or not Path(chapter).is_file():
        return
    figures = {
        cell.source.strip(): cell.metadata["mystnb"]["figure"]
        for cell in jupytext.read(chapter).cells
        if "figure" in cell.metadata.get("mystnb", {})
    }

    def after(result: ExecutionResult) -> None:
        source = str(getattr(result.info, "raw_cell", "")).strip()
        if result.success and source in figures:
            display(Markdown(caption_text(figures[source]["name"], figures[source]["caption"])))

    shell.events.register("post_run_cell", after)
