"""How each thing is drawn: bold outlines and few, large details, so that a small VAE can carry them."""

from __future__ import annotations

import math
from collections.abc import Callable

from .animals import draw_cat, draw_dog, draw_raccoon
from .canvas import Canvas, Oval, Point, mix
from .vocabulary import COLOURS, RGB

WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)
WOOD: RGB = (126, 80, 48)
LEAF: RGB = (62, 166, 76)


def burst(points: int, outer: float, inner: float) -> list[Point]:
    """A star polygon that points up."""
    radii = (outer, inner)
    angles = [-math.pi / 2 + k * math.pi / points for k in range(2 * points)]
    return [(radii[k % 2] * math.cos(a), radii[k % 2] * math.sin(a)) for k, a in enumerate(angles)]


def mirrored(points: list[Point]) -> tuple[list[Point], list[Point]]:
    """Points and their mirror image in the vertical axis."""
    return points, [(-x, y) for x, y in points]


def _circle(canvas: Canvas, colour: RGB) -> None:
    canvas.oval(Oval(0, 0, 0.86, 0.86), colour)


def _square(canvas: Canvas, colour: RGB) -> None:
    canvas.shape([(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)], colour)


def _triangle(canvas: Canvas, colour: RGB) -> None:
    canvas.shape([(0, -0.88), (0.94, 0.72), (-0.94, 0.72)], colour)


def _star(canvas: Canvas, colour: RGB) -> None:
    canvas.shape(burst(5, 1.0, 0.45), colour)


def _heart(canvas: Canvas, colour: RGB) -> None:
    turns = [k * math.tau / 50 for k in range(50)]
    heights = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    canvas.shape([(0.9 * math.sin(t) ** 3, -0.058 * height - 0.08) for t, height in zip(turns, heights, strict=True)], colour)


def _ring(canvas: Canvas, colour: RGB) -> None:
    canvas.oval(Oval(0, 0, 0.88, 0.88), colour)
    canvas.hole(Oval(0, 0, 0.43, 0.43))


def _fish(canvas: Canvas, colour: RGB) -> None:
    fin = mix(colour, BLACK, 0.14)
    canvas.shape([(0.45, 0), (0.98, -0.52), (0.86, 0), (0.98, 0.52)], fin)
    canvas.shape([(-0.3, -0.35), (0.1, -0.8), (0.35, -0.3)], fin)
    canvas.oval(Oval(-0.15, 0, 0.8, 0.54), colour)
    canvas.spot(Oval(-0.52, -0.12, 0.2, 0.2), WHITE)
    canvas.spot(Oval(-0.55, -0.12, 0.11, 0.12), (20, 16, 20))
    canvas.line([(-0.2, -0.36), (-0.08, 0), (-0.2, 0.36)], 0.9)


def _house(canvas: Canvas, colour: RGB) -> None:
    roof = (112, 66, 48) if colour[0] > 180 and max(colour[1:]) < 80 else (196, 62, 52)
    canvas.shape([(0.36, -0.45), (0.36, -0.88), (0.64, -0.88), (0.64, -0.35)], (150, 92, 72))
    canvas.shape([(-0.7, -0.12), (0.7, -0.12), (0.7, 0.86), (-0.7, 0.86)], colour)
    canvas.shape([(0, -0.95), (0.98, -0.08), (-0.98, -0.08)], roof)
    canvas.shape([(-0.18, 0.26), (0.18, 0.26), (0.18, 0.84), (-0.18, 0.84)], WOOD)
    for pane in mirrored([(0.34, 0.16), (0.58, 0.16), (0.58, 0.5), (0.34, 0.5)]):
        canvas.shape(pane, (190, 230, 255))


def _tree(canvas: Canvas, colour: RGB) -> None:
    canvas.shape([(-0.17, 0.2), (0.17, 0.2), (0.22, 0.98), (-0.22, 0.98)], WOOD)
    crown = [(-0.42, 0.08, 0.4), (0.42, 0.08, 0.4), (0, -0.02, 0.45), (-0.24, -0.4, 0.4), (0.26, -0.4, 0.4), (0, -0.58, 0.36)]
    for x, y, r in crown:
        canvas.oval(Oval(x, y, r, r), colour)
    for x, y, r in crown:
        canvas.spot(Oval(x, y, r, r), colour)


def _flower(canvas: Canvas, colour: RGB) -> None:
    canvas.line([(0, 0.1), (0, 1.0)], 4.4)
    canvas.line([(0, 0.1), (0, 0.97)], 2.4, LEAF)
    canvas.oval(Oval(0.3, 0.72, 0.28, 0.13, -0.5), LEAF)
    canvas.oval(Oval(-0.3, 0.78, 0.28, 0.13, 0.5), LEAF)
    for k in range(5):
        turn = -math.pi / 2 + k * math.tau / 5
        canvas.oval(Oval(0.43 * math.cos(turn), -0.28 + 0.43 * math.sin(turn), 0.32, 0.32), colour)
    warm = colour[0] > 200 and 100 < colour[1] < 235 and colour[2] < 60
    canvas.oval(Oval(0, -0.28, 0.27, 0.27), (146, 88, 40) if warm else (255, 206, 54))


def _sun(canvas: Canvas, colour: RGB) -> None:
    canvas.shape(burst(8, 1.02, 0.62), mix(colour, WHITE, 0.16))
    canvas.oval(Oval(0, 0, 0.56, 0.56), colour)


def _moon(canvas: Canvas, colour: RGB) -> None:
    outer = [(0.15 + 0.9 * math.cos(t), 0.9 * math.sin(t)) for t in (math.pi * (0.35 + 1.3 * k / 40) for k in range(41))]
    tip_x, tip_y = outer[0]
    inner_x = tip_x + 0.12
    reach, start = math.hypot(tip_x - inner_x, tip_y), math.atan2(tip_y, tip_x - inner_x)
    sweep = [math.tau - start + (2 * start - math.tau) * k / 40 for k in range(1, 40)]
    canvas.shape(outer + [(inner_x + reach * math.cos(t), reach * math.sin(t)) for t in sweep], colour)


def _mushroom(canvas: Canvas, colour: RGB) -> None:
    canvas.shape([(-0.28, 0.05), (0.28, 0.05), (0.36, 0.85), (0.22, 0.93), (-0.22, 0.93), (-0.36, 0.85)], (250, 240, 222))
    rim = [(0.96 * math.cos(t), 0.15 + math.sin(t)) for t in (math.pi * (1 + k / 30) for k in range(31))]
    canvas.shape([*rim, (0.6, 0.32), (0, 0.36), (-0.6, 0.32)], colour)
    dot = (255, 250, 245) if sum(colour) < 690 else COLOURS["red"]
    for x, y, r in ((-0.48, -0.1, 0.18), (0.06, -0.45, 0.2), (0.52, -0.06, 0.17)):
        canvas.spot(Oval(x, y, r, r * 0.92), dot)


DRAWERS: dict[str, Callable[[Canvas, RGB], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
    "cat": draw_cat,
    "dog": draw_dog,
    "raccoon": draw_raccoon,
    "fish": _fish,
    "house": _house,
    "tree": _tree,
    "flower": _flower,
    "sun": _sun,
    "moon": _moon,
    "mushroom": _mushroom,
}
