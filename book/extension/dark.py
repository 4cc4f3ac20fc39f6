"""Figures for dark pages, made from those for light ones when the book is built."""

from __future__ import annotations

import io
import json

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from modutils.plotting import COLORS

_LUMA = np.array([0.299, 0.587, 0.114])
_INK = 0.93  # what black becomes
_BRIGHT = 0.45  # luma from which a colour is seen well on a dark ground as it is
_WHITE = 2**32 - 1  # red, green, blue and opacity in one number
_NEUTRAL = 20  # differences of red, green and blue up to which a pixel is grey
_NEAR = 0.1  # how far a colour of the palette reaches, in direction from white


def repaint(light: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels on white as pixels on a clear ground, to be seen before a dark one.

    A pixel is taken for paint over white: a paint of the palette if it lies between one and white, else as little of a
    paint as will do. White goes, black becomes nearly white, other paints stay or become lighter. All is continuous, so
    that soft edges stay soft.

    Parameters
    ----------
    light : array
        (pixels, 3), red, green and blue.

    Returns
    -------
    array
        (pixels, 4), with opacity.
    """
    missing = 1 - light / 255
    strongest = missing.max(axis=1, keepdims=True)
    away = missing / np.maximum(strongest, 1e-9)
    full = np.ones_like(strongest)
    for paint in COLORS:
        lacks = 1 - np.array(to_rgb(paint))
        far = np.linalg.norm(away - lacks / lacks.max(), axis=1, keepdims=True)
        full -= (1 - lacks.max()) * np.exp(-((far / _NEAR) ** 2))
    opacity = np.minimum(strongest / full, 1)
    paints = 1 - missing / np.maximum(opacity, 1e-9)
    lift = _INK * np.clip(1 - (paints @ _LUMA) / _BRIGHT, 0, 1)[:, None] ** 1.2
    paints += lift * (1 - paints)
    return (255 * np.concatenate([paints, opacity], axis=1)).round().clip(0, 255).astype(np.uint8)


def on_dark(png: bytes) -> bytes:
    """A figure of `modutils.plotting.png` for a dark page: all but its images is repainted, the ground is clear.

    Raises
    ------
    ValueError
        The picture does not say where its images are.
    """
    picture = Image.open(io.BytesIO(png))
    if "images" not in picture.info:
        raise ValueError("the picture was not made by modutils.plotting.png: it does not say where its images stand")
    light = np.asarray(picture.convert("RGBA"))
    kept = np.full(light.shape[:2], False)
    for left, top, right, bottom in json.loads(picture.info["images"]):
        kept[top:bottom, left:right] = True
    for left, top, right, bottom in json.loads(picture.info["ends"]):
        # The point of a colour bar has white corners beside it, and a black outline.
        kept[top:bottom, left:right] = np.ptp(light[top:bottom, left:right, :3], axis=2) > _NEUTRAL
    packed = light.view(np.uint32)[..., 0]
    painted = ~kept & (packed != _WHITE)
    # A picture has far fewer colours than pixels.
    colours, places = np.unique(packed[painted], return_inverse=True)
    dark = np.where(kept[..., None], light, np.uint8(0))
    dark[painted] = repaint(colours[:, None].view(np.uint8)[:, :3])[places]
    made = io.BytesIO()
    Image.fromarray(dark).save(made, format="png")
    return made.getvalue()
