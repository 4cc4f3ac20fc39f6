"""The plot verbs put the right numbers at the right place, and refuse what does not fit."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from modutils import plotting
from modutils.statistics import Interval, mean_interval


@pytest.fixture
def ax() -> Iterator[Axes]:
    made, axes = plt.subplots()
    yield axes
    plt.close(made)


def test_a_figure_is_white_in_style_and_not_left_to_pyplot() -> None:
    @plotting.figure
    def draw(width: float) -> Figure:
        return plt.figure(figsize=(width, 1))

    before = dict(plt.rcParams)
    made = draw(3)
    assert made.get_facecolor() == (1, 1, 1, 1)
    assert made.get_size_inches().tolist() == [3, 1]
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before


def test_interval_dots_draws_each_mean_and_interval_in_its_row(ax: Axes) -> None:
    plotting.interval_dots(ax, ["a", "b"], [Interval(2, 1, 3, 5), Interval(7, 7, 7, 1)], reference=4)
    lines = [(line.get_xdata(), line.get_ydata()) for line in ax.lines]
    drawn = [(np.ravel(x).tolist(), np.ravel(y).tolist()) for x, y in lines]
    assert ([1, 3], [0, 0]) in drawn
    assert ([2], [0]) in drawn
    assert ([7], [1]) in drawn
    assert ([7, 7], [1, 1]) not in drawn  # one replicate has no interval
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row is on top
    with pytest.raises(ValueError, match="2 names, 1 intervals"):
        plotting.interval_dots(ax, ["a", "b"], [Interval(2, 1, 3, 5)])


def test_a_second_series_has_marks_of_its_own_in_the_same_rows(ax: Axes) -> None:
    intervals = [mean_interval([1.0]), mean_interval([])]
    plotting.interval_dots(ax, ["a", "b"], intervals, offset=0.2, marker="s", size=4, filled=False)
    plotting.name_rows(ax, ["a", "b"])
    assert ax.xaxis.get_gridlines()[0].get_visible()  # a second call does not take the grid away
    assert [line.get_marker() for line in ax.lines] == ["s", "s"]  # no bar without an interval
    assert np.asarray(ax.lines[0].get_xydata()).tolist() == [[1, 0.2]]
    assert (ax.lines[0].get_markersize(), ax.lines[0].get_markerfacecolor()) == (4, "white")
    assert np.isnan(np.asarray(ax.lines[1].get_xdata(), dtype=float)).all()


def test_rows_are_named_from_above_with_room_for_all(ax: Axes) -> None:
    plotting.name_rows(ax, ["a", "b", "c"], fontsize=7)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_yticklabels()[0].get_fontsize() == 7
    assert ax.get_ylim() == (2.5, -0.5)


def test_a_published_value_looks_the_same_in_the_legend(ax: Axes) -> None:
    (mark,) = ax.plot(1, 2, **plotting.PUBLISHED, label="published")
    (shown,) = ax.legend().get_lines()
    assert (shown.get_marker(), shown.get_markerfacecolor()) == (mark.get_marker(), "none")


def test_band_curves_draws_mean_and_students_interval(ax: Axes) -> None:
    values = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    plotting.band_curves(ax, [0, 10], {"some": values, "one": values[:1]})
    assert ax.lines[0].get_ydata() == pytest.approx([2, 2])
    assert len(ax.collections) == 1  # no band around a single replicate
    ends = np.asarray(ax.collections[0].get_paths()[0].vertices)
    first = mean_interval(values[:, 0])
    assert ends[ends[:, 0] == 0, 1].min() == pytest.approx(first.low)
    assert ends[ends[:, 0] == 0, 1].max() == pytest.approx(first.high)
    with pytest.raises(ValueError, match=r"curves\['bad'\] has shape \(2,\)"):
        plotting.band_curves(ax, [0, 10], {"bad": [1, 2]})


def test_a_diverging_image_is_white_at_zero(ax: Axes) -> None:
    image = plotting.diverging_image(ax, [[-1, 0, 1]], 2, label="score")
    low, zero, high = np.asarray(image.cmap(image.norm(np.array([-2, 0, 2]))))
    assert min(zero[:3]) > 0.95
    assert low[2] > low[0]
    assert high[0] > high[2]
    with pytest.raises(ValueError, match="limit=0"):
        plotting.diverging_image(ax, [[1]], 0, label="score")


def test_a_heat_table_writes_every_finite_number_readably(ax: Axes) -> None:
    plotting.heat_table(ax, [[-0.004, np.nan], [0.5, 1.0]], ["r", "s"], ["a", "b"])
    written = {text.get_position(): (text.get_text(), text.get_color()) for text in ax.texts}
    assert {place: text for place, (text, _) in written.items()} == {(0, 0): "0.00", (0, 1): "0.50", (1, 1): "1.00"}
    assert to_rgb(written[0, 0][1]) == (0, 0, 0)
    assert to_rgb(written[1, 1][1]) == (1, 1, 1)
    with pytest.raises(ValueError, match="2 rows and 1 columns"):
        plotting.heat_table(ax, [[1, 2]], ["r", "s"], ["a"])


def test_a_heat_table_writes_a_true_minus(ax: Axes) -> None:
    plotting.heat_table(ax, [[-1.5, 2.0]], ["r"], ["a", "b"], text="{:+.1f}")
    assert [text.get_text() for text in ax.texts] == ["−1.5", "+2.0"]


def test_tiles_puts_images_in_rows_with_gaps(ax: Axes) -> None:
    plotting.tiles(ax, np.arange(1, 4)[:, None, None] * np.ones((3, 2, 2)), columns=2)
    sheet: Any = ax.images[0].get_array()
    assert sheet.shape == (6, 6)
    assert sheet[0, 0] == 1
    assert sheet[0, 3] == 2
    assert sheet[3, 0] == 3
    assert sheet.mask[2].all()
    assert sheet.mask[3:, 3:].all()
    with pytest.raises(ValueError, match=r"images has shape \(2, 2\)"):
        plotting.tiles(ax, np.ones((2, 2)))


def test_letters_keep_the_titles() -> None:
    made, axes = plt.subplots(1, 2)
    axes[0].set_title("first", loc="left")
    plotting.letters(axes)
    assert [ax.get_title(loc="left") for ax in axes] == [r"$\bf{a}$  first", r"$\bf{b}$"]
    plt.close(made)


def test_a_note_stands_below_the_figure_in_lines_that_fit() -> None:
    made = plt.figure(figsize=(4, 2))
    returned = plotting.note(made, "word " * 40)
    (text,) = made.texts
    assert returned is made
    assert text.get_text().count("\n") >= 2
    assert text.get_window_extent().y1 <= 0
    assert text.get_window_extent().width <= 4 * made.dpi
    plt.close(made)


def test_colours_can_be_told_apart_on_white() -> None:
    rgb = np.array([to_rgb(color) for color in plotting.COLORS])
    apart = np.abs(rgb[:, None] - rgb[None]).sum(axis=2) + 9 * np.eye(len(rgb))
    assert apart.min() > 0.3
    assert (3 - rgb.sum(axis=1)).min() > 0.5


def test_a_figure_that_cannot_be_finished_is_closed() -> None:
    @plotting.figure
    def broken() -> Figure:
        plt.subplots()
        raise ValueError("no data")

    before = plt.get_fignums()
    with pytest.raises(ValueError, match="no data"):
        broken()
    assert plt.get_fignums() == before


def opened(made: Figure) -> tuple[Image.Image, dict[str, list[list[int]]]]:
    picture = Image.open(io.BytesIO(plotting.png(made)))
    return picture, {entry: json.loads(picture.info[entry]) for entry in ("images", "ends")}


def test_a_picture_says_to_the_pixel_where_its_images_stand() -> None:
    @plotting.figure
    def draw() -> Figure:
        made, (left, middle, right) = plt.subplots(1, 3, figsize=(6.3, 2.4))
        left.imshow(np.ones((3, 3)), cmap="Reds", vmin=0, vmax=1)  # square, so that it does not fill its place
        left.spines[:].set_visible(False)
        middle.imshow(np.ones((2, 5)), cmap="Reds", vmin=0, vmax=1, aspect="auto")
        middle.set(xlim=(-3, 2), ylim=(1.5, -2), ylabel="long words at the side")  # half empty
        middle.spines[:].set_visible(False)
        right.plot([1, 2])
        return plotting.note(made, "Words below the figure, which make the picture larger than it.")

    made = draw()
    picture, places = opened(made)
    red: Any = (np.abs(np.asarray(picture) / 255 - plt.get_cmap("Reds")(1.0)[:3]) < 0.01).all(axis=2)
    said = np.zeros_like(red)
    assert len(places["images"]) == 2
    for left, top, right, bottom in places["images"]:
        assert red[top + 1 : bottom - 1, left + 1 : right - 1].all()
        said[top - 1 : bottom + 1, left - 1 : right + 1] = True
    assert not red[~said].any()
    assert places["ends"] == []
    assert made.artists == []
    assert plotting.png(draw()) == plotting.png(draw())


def test_colour_bars_and_their_points_belong_to_images() -> None:
    @plotting.figure
    def draw() -> Figure:
        made, ax = plt.subplots(figsize=(4, 2))
        plotting.diverging_image(ax, np.ones((2, 2)), 1.0, label="x")
        return made

    picture, places = opened(draw())
    _, bar = places["images"]
    pixels = np.asarray(picture).astype(int)
    inside = pixels[bar[1] + 3 : bar[3] - 3, (bar[0] + bar[2]) // 2]
    assert inside[0, 0] > inside[0, 2] + 50  # red above
    assert inside[-1, 2] > inside[-1, 0] + 50  # blue below
    # Points go on where the bar ends, below and above.
    (_, below, _, end), (_, start, _, above) = places["ends"]
    assert start < above == pytest.approx(bar[1], abs=1)
    assert end > below == pytest.approx(bar[3], abs=1)


def test_jupyter_is_shown_the_picture_and_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[Any, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, *, raw, metadata: shown.append((data, metadata)))
    with plt.rc_context(plotting.STYLE):
        made = plt.figure(figsize=(3, 2))
    plt.close(made)
    made._ipython_display_()  # type: ignore[attr-defined]
    ((data, metadata),) = shown
    assert base64.b64decode(data["image/png"]) == plotting.png(made)
    size = Image.open(io.BytesIO(plotting.png(made))).size
    assert metadata == {"image/png": {"width": size[0] // 2, "height": size[1] // 2}}
