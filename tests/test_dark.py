"""Figures for dark pages: what is painted is seen, images stay, and nothing is left of the white ground."""

from __future__ import annotations

import io
import json
from typing import Any

import dark
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from modutils import plotting

#: The ground of the theme's dark pages; a test in a browser looks whether it is.
GROUND = np.array(to_rgb("#121212"))


def contrast(one: Any, other: Any) -> float:
    """The ratio that WCAG 2 defines, of two colours in [0, 1]."""
    bright = [
        np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722] + 0.05
        for color in (np.asarray(one), np.asarray(other))
    ]
    return float(max(bright) / min(bright))


def on_ground(painted: Any) -> Any:
    """Pixels with opacity as seen on a dark page."""
    shares = np.asarray(painted) / 255
    return shares[..., 3:] * shares[..., :3] + (1 - shares[..., 3:]) * GROUND


def repainted(*colors: str) -> Any:
    return dark.repaint((255 * np.array([to_rgb(color) for color in colors])).round().astype(np.uint8))


@pytest.mark.parametrize("color", [*plotting.COLORS, plotting.GREY, "#444444", "#333333", "#555555"])
def test_words_and_lines_are_seen(color: str) -> None:
    (seen,) = on_ground(repainted(color))
    assert contrast(seen, GROUND) >= 4.5


def test_what_is_faint_on_white_stays_faint_and_white_goes() -> None:
    assert repainted("white")[0, 3] == 0
    for color in ("#e5e5e5", "#eeeeee"):
        (seen,) = on_ground(repainted(color))
        assert 1.05 < contrast(seen, GROUND) < 1.5


def test_colours_of_the_palette_stay_or_become_lighter() -> None:
    blue, *others, _ = plotting.COLORS[:7]
    (light_blue,) = repainted(blue)
    assert light_blue[3] == 255
    assert (light_blue[:3] > 255 * np.array(to_rgb(blue))).all()
    for color, seen in zip(others, on_ground(repainted(*others)), strict=True):
        assert np.abs(seen - to_rgb(color)).max() < 0.05, color
    seen = on_ground(repainted(*plotting.COLORS))
    apart = np.abs(seen[:, None] - seen[None]).sum(axis=2) + 9 * np.eye(len(seen))
    assert apart.min() > 0.3  # as on white


@pytest.mark.parametrize("color", plotting.COLORS)
def test_soft_edges_stay_soft(color: str) -> None:
    share = np.linspace(0, 1, 101)[:, None]
    light = (255 * (share * to_rgb(color) + 1 - share)).round().astype(np.uint8)
    painted = dark.repaint(light)
    np.testing.assert_allclose(painted[:, 3] / 255, share[:, 0], atol=0.03)
    wanted = (1 - share) * GROUND + share * on_ground(painted)[-1]
    assert np.abs(on_ground(painted) - wanted).max() < 0.05


@plotting.figure
def table() -> Figure:
    made, ax = plt.subplots(figsize=(3, 2))
    plotting.heat_table(ax, [[0.0, 1.0], [0.5, 0.2]], ["first", "second"], ["a", "b"])
    return made


def test_tables_stay_as_they_are_and_words_beside_them_are_light() -> None:
    png = plotting.png(table())
    light = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    made = np.asarray(Image.open(io.BytesIO(dark.on_dark(png))))
    (place,) = json.loads(Image.open(io.BytesIO(png)).info["images"])
    left, top, right, bottom = place
    assert (made[top:bottom, left:right, :3] == light[top:bottom, left:right]).all()
    assert (made[top:bottom, left:right, 3] == 255).all()
    beside = made[:, :left]
    assert beside[..., 3].max() > 250
    assert beside[0, 0, 3] == 0
    assert beside[beside[..., 3] > 0][:, :3].min() > 200
    assert dark.on_dark(png) == dark.on_dark(png)


def test_the_points_of_a_colour_bar_have_no_white_corners() -> None:
    @plotting.figure
    def draw() -> Figure:
        made, ax = plt.subplots(figsize=(3, 2))
        plotting.diverging_image(ax, [[1.0, -1.0]], 1.0, label="x")
        return made

    png = plotting.png(draw())
    made = np.asarray(Image.open(io.BytesIO(dark.on_dark(png)))).astype(int)
    for left, top, right, bottom in json.loads(Image.open(io.BytesIO(png)).info["ends"]):
        part = made[top + 1 : bottom - 1, left + 1 : right - 1]
        assert {part[0, 0, 3], part[-1, 0, 3]} & {0}
        kept = part[(part[..., 3] == 255) & (np.ptp(part[..., :3], axis=2) > 60)]
        assert len(kept) > 0.2 * part[..., 3].size
        assert kept[:, :3].max() < 160  # the dark ends of the colours, not a lighter paint


def test_a_picture_that_does_not_say_where_its_images_are_is_refused() -> None:
    plain = io.BytesIO()
    Image.new("RGB", (3, 3)).save(plain, format="png")
    with pytest.raises(ValueError, match=r"not made by modutils.plotting.png"):
        dark.on_dark(plain.getvalue())
