"""The few ways in which every chapter draws, in one style that also works on a phone and for colour-blind readers.

The verbs draw on given axes. A figure that a study offers is a function marked :func:`figure`, so that Jupyter shows
it once and in the style of the book.
"""

from __future__ import annotations

import base64
import io
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modutils.statistics import Interval, mean_interval

# Okabe and Ito (2008): told apart with any colour vision. Yellow comes last because it is faint on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
GREY = "#767676"
DIVERGING = "RdBu_r"  # white at zero; red and blue differ for every reader
SEQUENTIAL = "Blues"  # white at zero, so that an empty table looks empty
WIDTH = 6.3  # inches: text of 11 points stays readable when the figure is scaled to a phone
STYLE: Any = {
    "figure.dpi": 192,  # two pixels for each of the page
    "figure.facecolor": "white",
    "figure.hooks": ["modutils.plotting:show_as_png"],
    "figure.constrained_layout.use": True,
    "axes.axisbelow": True,
    "axes.facecolor": "white",
    "axes.prop_cycle": plt.cycler(color=COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "font.size": 11,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.8,
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "legend.fontsize": 10,
}
#: How a published value looks beside ours: keywords of ``Axes.plot``, and of the ``Line2D`` in a legend.
PUBLISHED: Any = {
    "color": "black",
    "linestyle": "",
    "marker": "D",
    "markerfacecolor": "none",
    "markersize": 8,
    "zorder": 4,
}
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))

P = ParamSpec("P")


def show_as_png(figure: Figure) -> None:
    """Let Jupyter show a figure by :func:`png`; pyplot does so with every new one in :data:`STYLE`."""
    figure._ipython_display_ = partial(_show, figure)  # type: ignore[attr-defined]


def _show(figure: Figure) -> None:
    from IPython.display import display  # only Jupyter calls this

    content = png(figure)
    width, height = (size // 2 for size in Image.open(io.BytesIO(content)).size)  # text is as large as the page's
    bundle = {"image/png": base64.b64encode(content).decode(), "text/plain": repr(figure)}
    display(bundle, raw=True, metadata={"image/png": {"width": width, "height": height}})


def png(figure: Figure) -> bytes:
    """The figure as PNG, cut to what is drawn, with two entries that say what keeps its colours on a dark page.

    ``images`` are heat maps and pictures, with all that is written on them, and their colour bars; ``ends`` are the
    points of colour bars. Both are lists of left, top, right and bottom in pixels, as JSON.

    Examples
    --------
    >>> made, ax = plt.subplots(figsize=(4, 3), dpi=100)
    >>> _ = ax.imshow([[0, 1]], aspect="auto")
    >>> picture = Image.open(io.BytesIO(png(made)))
    >>> plt.close(made)
    >>> ((left, top, right, bottom),) = json.loads(picture.text["images"])
    >>> right - left, bottom - top  # as always with pyplot, 0.775 and 0.77 of the figure
    (310, 231)
    """
    drawn = io.BytesIO()
    places = _Places(figure)
    # Without compression: it is read again at once.
    figure.savefig(drawn, format="png", dpi="figure", bbox_inches="tight", pil_kwargs={"compress_level": 0})
    places.remove()
    picture = Image.open(drawn).convert("RGB")
    entries = PngInfo()
    for entry, boxes in (("images", places.images), ("ends", places.ends)):
        edges = [np.round(box.extents).astype(int).tolist() for box in boxes]
        upright = [[left, picture.height - top, right, picture.height - bottom] for left, bottom, right, top in edges]
        entries.add_text(entry, json.dumps(upright))
    packed = io.BytesIO()
    picture.save(packed, format="png", pnginfo=entries)
    return packed.getvalue()


class _Places(Artist):
    """Sees where images and their colour bars stand while a figure is drawn: earlier or later it has another layout."""

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        self.set_in_layout(False)
        figure.add_artist(self)
        self.seen_in = figure

    def draw(self, renderer: RendererBase) -> None:
        self.images, self.ends = list[Bbox](), list[Bbox]()
        for image in (image for ax in self.seen_in.axes for image in ax.images):
            seen = Bbox.intersection(image.get_window_extent(renderer), image.axes.bbox)
            self.images += [] if seen is None else [seen]
            if image.colorbar is not None:
                bar = image.colorbar.ax
                points = [patch for patch in bar.patches if isinstance(patch, PathPatch)]
                self.images.append(bar.bbox.frozen())
                self.ends += [point.get_window_extent(renderer) for point in points]


def figure(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Mark a function that returns a figure: drawn in :data:`STYLE`, and shown once when it ends a cell.

    Examples
    --------
    >>> @figure
    ... def empty():
    ...     return plt.subplots()[0]
    >>> empty().get_dpi()
    192.0
    >>> plt.get_fignums()
    []
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        before = plt.get_fignums()
        try:
            with plt.rc_context(STYLE):
                return draw(*args, **kwargs)
        finally:  # pyplot would show a finished figure a second time, and an unfinished one at all
            for number in set(plt.get_fignums()) - set(before):
                plt.close(number)

    return drawn


def name_rows(ax: Axes, names: Sequence[str], *, fontsize: float | None = None) -> None:
    """Name the rows 0, 1, … of a figure, the first on top, and draw upright grid lines."""
    ax.set_yticks(range(len(names)), names, fontsize=fontsize)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")


def interval_dots(
    ax: Axes,
    names: Sequence[str],
    intervals: Sequence[Interval],
    *,
    reference: float | None = None,
    colors: str | Sequence[str] = COLORS[0],
    offset: float = 0.0,
    marker: str = "o",
    size: float = 6,
    filled: bool = True,
    label: str | None = None,
) -> None:
    """A mean per row with its confidence interval.

    Parameters
    ----------
    ax : Axes
        Called again on the same axes with an ``offset``, it adds a second series to the same rows.
    names : sequence of str
        One per row, the first on top.
    intervals : sequence of Interval
        One per row; of a row with ``n`` below 2 only the mean is drawn.
    reference : float, optional
        A vertical line to compare with.
    colors : str or sequence of str
        Of all rows, or of each.
    offset : float
        Rows to move down, such as 0.2.
    marker, size : str, float
        Of the means, in points.
    filled : bool
        Filled or hollow marks.
    label : str, optional
        For the legend.

    Raises
    ------
    ValueError
        Numbers of names, intervals and colours differ.
    """
    each = [colors] * len(names) if isinstance(colors, str) else list(colors)
    if not len(names) == len(intervals) == len(each):
        raise ValueError(f"{len(names)} names, {len(intervals)} intervals and {len(each)} colours; need one a row")
    if reference is not None:
        ax.axvline(reference, color=GREY, linewidth=1, linestyle="--", zorder=1)
    for row, (found, color) in enumerate(zip(intervals, each, strict=True)):
        if found.n > 1:
            ax.plot([found.low, found.high], [row + offset] * 2, color=color, linewidth=2, solid_capstyle="butt")
        ax.plot(
            found.mean,
            row + offset,
            marker,
            color=color,
            markerfacecolor=color if filled else "white",
            markersize=size,
            label=label if row == 0 else None,
        )
    name_rows(ax, names)


def band_curves(ax: Axes, x: ArrayLike, curves: Mapping[str, ArrayLike], *, colors: Sequence[str] = COLORS) -> None:
    """Mean curves over replicates, each with a band for its 95 % interval (Student's t, point by point).

    Parameters
    ----------
    ax : Axes
    x : array_like
        (points,).
    curves : mapping
        For each label (replicates, points); one replicate gives a line without a band.
    colors : sequence of str
        In the order of the curves. Lines also differ in their dashes.

    Raises
    ------
    ValueError
        A curve is not (replicates, points).
    """
    points = np.asarray(x)
    alpha = 0.2 if len(curves) < 5 else 0.1
    for index, (label, replicates) in enumerate(curves.items()):
        values = np.asarray(replicates, dtype=float)
        if values.ndim != 2 or values.shape[1] != len(points):
            raise ValueError(f"curves[{label!r}] has shape {values.shape}; needed is (replicates, {len(points)})")
        color = colors[index % len(colors)]
        ax.plot(points, values.mean(axis=0), color=color, linestyle=_DASHES[index % len(_DASHES)], label=label)
        if len(values) > 1:
            found = [mean_interval(column) for column in values.T]
            ax.fill_between(
                points, [i.low for i in found], [i.high for i in found], color=color, alpha=alpha, linewidth=0
            )
    ax.grid(True)


def diverging_image(ax: Axes, values: ArrayLike, limit: float, *, label: str) -> AxesImage:
    """A signed matrix: white at zero, red above, blue below, full colour at ±``limit``, with a colour bar.

    Parameters
    ----------
    ax : Axes
    values : array_like
        (rows, columns).
    limit : float
        Above 0.
    label : str
        Of the colour bar, with the unit.
    """
    if not limit > 0:
        raise ValueError(f"limit={limit} must be above 0")
    image = ax.imshow(np.asarray(values), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    bar = plt.colorbar(image, ax=ax, fraction=0.04, pad=0.02, extend="both")
    bar.set_label(label)
    ax.spines[:].set_visible(True)
    return image


def heat_table(
    ax: Axes,
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    text: str | Callable[[float], str] = "{:.2f}",
    cmap: str = SEQUENTIAL,
    low: float | None = None,
    high: float | None = None,
    fontsize: float = 9,
) -> AxesImage:
    """A table of numbers on coloured cells; cells that are not finite stay empty.

    Parameters
    ----------
    ax : Axes
    values : array_like
        (rows, columns).
    rows, columns : sequences of str
        Names; those of the columns stand on top.
    text : str or callable
        How a number is written: a format string or a function.
    cmap : str
        Colour map, from ``low`` to ``high`` (default: the extremes of the values).
    fontsize : float
        Of the numbers, in points.

    Raises
    ------
    ValueError
        Shape and names do not fit.
    """
    table = np.asarray(values, dtype=float)
    if table.shape != (len(rows), len(columns)):
        raise ValueError(f"values has shape {table.shape}, but there are {len(rows)} rows and {len(columns)} columns")
    image = ax.imshow(np.ma.masked_invalid(table), cmap=cmap, vmin=low, vmax=high, aspect="auto")
    write = text.format if isinstance(text, str) else text
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
            written = write(value)
            if not written.strip("+-0."):
                written = written.lstrip("+-")  # a rounded zero has no sign
            ax.text(
                column,
                row,
                written.replace("-", "−"),
                ha="center",
                va="center",
                fontsize=fontsize,
                color="white" if dark else "black",
            )
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    return image


def tiles(ax: Axes, images: ArrayLike, *, columns: int = 5) -> None:
    """Many small grey images in one, row by row; black on white.

    Parameters
    ----------
    ax : Axes
    images : array_like
        (N, height, width), larger is darker.
    columns : int
        Images in a row.
    """
    stack = np.asarray(images, dtype=float)
    if stack.ndim != 3 or columns < 1:
        raise ValueError(
            f"images has shape {stack.shape} and columns={columns}; needed is (N, height, width), 1 or more"
        )
    count, height, width = stack.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1), columns * (width + 1)), np.nan)
    for index, image in enumerate(stack):
        row, column = divmod(index, columns)
        top, left = row * (height + 1), column * (width + 1)
        sheet[top : top + height, left : left + width] = image
    ax.imshow(np.ma.masked_invalid(sheet), cmap="Greys", vmin=0, vmax=max(stack.max(initial=0), 1e-9))
    ax.set_axis_off()


def letters(axes: Iterable[Axes], *, pad: float | None = None) -> None:
    """Mark panels a, b, c … in bold at the upper left, before the title; ``pad``: points between title and axes."""
    for letter, ax in zip("abcdefghij", axes, strict=False):
        title = ax.get_title(loc="left")
        ax.set_title(rf"$\bf{{{letter}}}$  {title}".rstrip(), loc="left", pad=pad)


def note(figure: Figure, text: str) -> Figure:
    """Data, n and meaning of the intervals in small print below a figure, so that it can be read alone; the figure."""
    lines = textwrap.fill(text, int(figure.get_figwidth() * 14.5))
    figure.text(0.01, -0.01, lines, ha="left", va="top", fontsize=9, color="#444444")
    return figure
