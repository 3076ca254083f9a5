"""Draws a picture as uint8 (128, 128, 3): background, soft shadow, shaded thing, always the same for the same seed."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .animals import draw_mitre, draw_robe
from .canvas import INK, LIGHT_INK, SIDE_PX, SUPERSAMPLING, Canvas, Frame
from .pictures import Picture, training_picture, training_rng
from .scenery import Pixels, paint_background
from .things import DRAWERS
from .vocabulary import COLOURS, NATURAL_COLOURS, PRIEST, PRIEST_ROBES, RGB

RADII = {"small": 0.205, None: 0.31, "large": 0.425}
"""Radius of a thing, in picture widths."""
ROBED_RADIUS = 0.41
OFFSETS = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1), "center": (0, 0), None: (0, 0)}
REACH = {"small": 0.26, None: 0.215, "large": 0.16}
"""How far a placed thing lies from the centre, in picture widths; large things may touch the edge."""
DARK_BACKGROUNDS = ("black", "night", "cinematic")


def draw_picture(picture: Picture, rng: random.Random) -> NDArray[np.uint8]:
    """The picture with random shade, place within its region, tilt and background details: uint8 (128, 128, 3)."""
    colour = _thing_colour(picture, rng)
    background = paint_background(picture.background, rng)
    frame = _place(picture, rng)
    canvas = Canvas(frame, LIGHT_INK if picture.colour == "black" and picture.background in DARK_BACKGROUNDS else INK)
    if picture.robe is None:
        DRAWERS[picture.thing](canvas, colour)
    else:
        cloth = rng.choice(PRIEST_ROBES) if picture.robe == PRIEST else COLOURS[picture.robe]
        draw_robe(canvas, cloth, colour)
        DRAWERS[picture.thing](canvas.within(-0.34, 0.64), colour)
        draw_mitre(canvas)
    return _compose(background, canvas)


def training_drawing(index: int, seed: int) -> tuple[Picture, NDArray[np.uint8]]:
    """The training set's picture of that index: its description and its pixels."""
    rng = training_rng(index, seed)
    picture = training_picture(rng)
    return picture, draw_picture(picture, rng)


def _thing_colour(picture: Picture, rng: random.Random) -> RGB:
    if picture.colour is None:
        return rng.choice(NATURAL_COLOURS.get(picture.thing) or tuple(COLOURS.values())[:7])
    if picture.colour in ("white", "black"):
        return COLOURS[picture.colour]
    vary = partial(rng.uniform, -8, 8)
    red, green, blue = (int(np.clip(value + vary(), 0, 255)) for value in COLOURS[picture.colour])
    return red, green, blue


def _place(picture: Picture, rng: random.Random) -> Frame:
    if picture.robe is not None:
        return Frame(0.5, 0.545, ROBED_RADIUS * rng.uniform(0.97, 1.03), rng.uniform(-0.03, 0.03))
    radius = RADII[picture.size] * rng.uniform(0.96, 1.05)
    dx, dy = OFFSETS[picture.position]
    reach = REACH[picture.size]
    x, y = (0.5 + reach * d + rng.uniform(-0.018, 0.018) for d in (dx, dy))
    margin = min(radius + 0.025, 0.4)
    low, high = margin, 1 - margin
    return Frame(min(max(x, low), high), min(max(y, low), high), radius, rng.uniform(-0.05, 0.05))


def _compose(background: Pixels, canvas: Canvas) -> NDArray[np.uint8]:
    """Premultiplied layers: the shadow darkens the background, a vertical gradient shades the thing."""
    layer = np.asarray(canvas.image.convert("RGBa").reduce(SUPERSAMPLING), np.float32)
    ink, alpha = layer[..., :3], layer[..., 3:] / 255
    blurred = Image.fromarray((alpha[..., 0] * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(3))
    shadow = np.pad(np.asarray(blurred, np.float32) / 255, ((3, 0), (2, 0)))[:SIDE_PX, :SIDE_PX, None]
    rows = np.arange(SIDE_PX, dtype=np.float32)[:, None, None] / (SIDE_PX - 1)
    top = canvas.frame.y - canvas.frame.radius
    light = 1.05 - 0.17 * np.clip((rows - top) / (2 * canvas.frame.radius), 0, 1)
    lit = background * (1 - 0.2 * shadow * (1 - alpha))
    return np.clip(lit * (1 - alpha) + ink * light + 0.5, 0, 255).astype(np.uint8)
