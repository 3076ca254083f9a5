"""Backgrounds as float32 (128, 128, 3) arrays in 0..255: plain colours, pastels, night, meadow, sunset, cinematic."""

from __future__ import annotations

import math
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .canvas import SIDE_PX
from .vocabulary import BACKGROUNDS, PASTELS, RGB

Pixels = NDArray[np.float32]
_ROWS, _COLUMNS = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32) / (SIDE_PX - 1)


def paint_background(name: str, rng: random.Random) -> Pixels:
    """The background of that name."""
    if name in BACKGROUNDS:
        return _plain(BACKGROUNDS[name])
    scenes = {"night": _night, "meadow": _meadow, "sunset": _sunset, "cinematic": _cinematic}
    return scenes[name](rng) if name in scenes else _plain(rng.choice(PASTELS))


def _ramp(start: RGB, end: RGB, share_HW: Pixels) -> Pixels:
    share = np.clip(share_HW, 0, 1)[..., None]
    return np.asarray(np.asarray(start, np.float32) * (1 - share) + np.asarray(end, np.float32) * share, np.float32)


def _from_centre() -> Pixels:
    return np.asarray(np.hypot(_COLUMNS - 0.5, _ROWS - 0.5), np.float32)[..., None]


def _plain(colour: RGB) -> Pixels:
    return np.asarray(np.clip(np.asarray(colour, np.float32) * (1.02 - 0.11 * _from_centre() ** 1.5), 0, 255), np.float32)


def _below(line_HW: Pixels | float, sky: Pixels, ground: Pixels) -> Pixels:
    cover = np.clip((_ROWS - line_HW) * SIDE_PX / 1.3, 0, 1)[..., None]
    return np.asarray(sky * (1 - cover) + ground * cover, np.float32)


def _night(rng: random.Random) -> Pixels:
    sky = Image.fromarray(_ramp((18, 22, 60), (62, 62, 132), _ROWS).astype(np.uint8))
    draw = ImageDraw.Draw(sky)
    for _ in range(10):
        x, y, r = rng.random() * SIDE_PX, rng.random() * SIDE_PX, rng.choice((1.0, 1.4, 1.8))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 250, 210))
    return np.asarray(sky, np.float32)


def _meadow(rng: random.Random) -> Pixels:
    hills = (0.66 + 0.05 * np.sin(_COLUMNS * 5 + rng.random() * math.tau)).astype(np.float32)
    return _below(hills, _ramp((120, 196, 250), (216, 240, 255), _ROWS / 0.7), _ramp((132, 206, 92), (72, 162, 62), (_ROWS - 0.6) / 0.4))


def _sunset(rng: random.Random) -> Pixels:
    upper, lower = _ramp((92, 62, 142), (208, 114, 114), _ROWS / 0.45), _ramp((208, 114, 114), (255, 190, 102), (_ROWS - 0.45) / 0.27)
    horizon = 0.72 + rng.uniform(-0.02, 0.02)
    return _below(horizon, np.where((_ROWS > 0.45)[..., None], lower, upper), _ramp((120, 72, 122), (62, 42, 92), (_ROWS - 0.72) / 0.28))


def _cinematic(rng: random.Random) -> Pixels:
    lights = Image.new("RGB", (SIDE_PX, SIDE_PX))
    draw = ImageDraw.Draw(lights)
    for _ in range(7):
        x, y, r, glow = rng.random() * SIDE_PX, rng.random() * SIDE_PX * 0.8, 4 + rng.random() * 6, 0.35 + 0.4 * rng.random()
        red, green, blue = rng.choice(((255, 190, 90), (255, 150, 70), (120, 200, 220)))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(int(red * glow), int(green * glow), int(blue * glow)))
    bokeh = np.asarray(lights.filter(ImageFilter.GaussianBlur(1.4)), np.float32)
    dusk = _ramp((24, 56, 72), (126, 70, 38), 0.25 * _COLUMNS + 0.75 * _ROWS)
    return np.asarray(np.clip((dusk + 0.7 * bokeh) * (1.15 - 0.75 * _from_centre() ** 1.5), 0, 255), np.float32)
