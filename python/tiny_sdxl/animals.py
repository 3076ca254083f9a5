"""The three animal faces, and the priest's robe and mitre below and above them."""

from __future__ import annotations

from .canvas import INK, Canvas, Oval, mix
from .vocabulary import RGB

WHITE: RGB = (255, 255, 255)
PUPIL: RGB = (26, 20, 28)
GOLD: RGB = (250, 206, 72)
MASK: RGB = (48, 42, 52)
SIDES = (-1, 1)


def draw_cat(canvas: Canvas, fur: RGB) -> None:
    """A cat's face: pointed ears, muzzle, whiskers."""
    for side in SIDES:
        canvas.shape([(side * 0.88, -0.98), (side * 0.8, -0.05), (side * 0.18, -0.6)], fur)
        canvas.fill([(side * 0.76, -0.76), (side * 0.7, -0.28), (side * 0.4, -0.52)], (255, 168, 184))
    canvas.oval(Oval(0, 0.12, 0.9, 0.76), fur)
    canvas.spot(Oval(0, 0.44, 0.4, 0.28), mix(fur, WHITE, 0.6))
    _eyes(canvas, 0.38, -0.02, fur)
    canvas.fill([(-0.13, 0.24), (0.13, 0.24), (0, 0.4)], (238, 104, 126))
    _smile(canvas, 0.42)
    for side in SIDES:
        for tip_y in (0.3, 0.58):
            canvas.line([(side * 0.5, 0.4), (side * 1.04, tip_y)], 0.75, _against(fur))


def draw_dog(canvas: Canvas, fur: RGB) -> None:
    """A dog's face: hanging ears, muzzle, tongue."""
    canvas.oval(Oval(0, 0.08, 0.78, 0.86), fur)
    for side in SIDES:
        canvas.oval(Oval(side * 0.78, 0, 0.27, 0.62, -side * 0.22), mix(fur, (70, 36, 14), 0.5))
    canvas.spot(Oval(0, 0.48, 0.46, 0.38), mix(fur, WHITE, 0.72))
    _eyes(canvas, 0.31, -0.1, fur)
    canvas.spot(Oval(0, 0.7, 0.15, 0.22), (244, 102, 124))
    canvas.spot(Oval(0, 0.3, 0.21, 0.16), (30, 24, 28))
    _smile(canvas, 0.5)


def draw_raccoon(canvas: Canvas, fur: RGB) -> None:
    """A raccoon's face: round ears, pale brows, dark mask."""
    for side in SIDES:
        canvas.oval(Oval(side * 0.64, -0.58, 0.28, 0.3), fur)
        canvas.spot(Oval(side * 0.64, -0.54, 0.15, 0.17), (62, 54, 62))
    half = [(0.5, -0.64), (0.82, -0.12), (1.02, 0.22), (0.8, 0.44), (0.45, 0.74)]
    canvas.shape([(0, -0.72), *half, (0, 0.86), *[(-x, y) for x, y in reversed(half)]], fur)
    for side in SIDES:
        canvas.spot(Oval(side * 0.5, -0.18, 0.36, 0.18, side * 0.35), (246, 246, 246))
        canvas.spot(Oval(side * 0.48, 0.12, 0.38, 0.26, side * 0.42), MASK)
        canvas.spot(Oval(side * 0.64, 0.46, 0.26, 0.14, -side * 0.5), (242, 242, 242))
    canvas.spot(Oval(0, 0.5, 0.34, 0.3), (246, 246, 246))
    for side in SIDES:
        canvas.spot(Oval(side * 0.37, 0.08, 0.15, 0.16), WHITE)
        canvas.spot(Oval(side * 0.36, 0.09, 0.09, 0.11), PUPIL)
    canvas.spot(Oval(0, 0.38, 0.17, 0.13), PUPIL)
    _smile(canvas, 0.54)


def draw_robe(canvas: Canvas, cloth: RGB, fur: RGB) -> None:
    """A priest's robe in the lower half of the frame: sleeves, paws, a gold stole with a cross, a gold hem."""
    fold = mix(cloth, (0, 0, 0), 0.24)
    canvas.shape([(-0.42, 0), (0.42, 0), (0.62, 0.35), (0.88, 1.02), (-0.88, 1.02), (-0.62, 0.35)], cloth)
    for side in SIDES:
        canvas.shape([(side * x, y) for x, y in ((0.42, 0.08), (0.66, 0.1), (0.98, 0.64), (0.68, 0.8), (0.5, 0.5))], fold)
        canvas.fill([(side * x, y) for x, y in ((0.98, 0.64), (0.9, 0.5), (0.62, 0.66), (0.68, 0.8))], GOLD)
        canvas.oval(Oval(side * 0.85, 0.8, 0.15, 0.12), fur)
    canvas.fill([(-0.2, 0.1), (0.2, 0.1), (0.2, 1.0), (-0.2, 1.0)], GOLD)
    canvas.fill([(-0.065, 0.3), (0.065, 0.3), (0.065, 0.82), (-0.065, 0.82)], fold)
    canvas.fill([(-0.16, 0.42), (0.16, 0.42), (0.16, 0.55), (-0.16, 0.55)], fold)
    canvas.fill([(-0.84, 0.9), (0.84, 0.9), (0.88, 1.01), (-0.88, 1.01)], GOLD)


def draw_mitre(canvas: Canvas) -> None:
    """The bishop's hat above the head."""
    canvas.shape([(-0.26, -0.7), (-0.3, -0.98), (0, -1.24), (0.3, -0.98), (0.26, -0.7)], (252, 248, 238))
    canvas.fill([(-0.07, -1.14), (0.07, -1.14), (0.07, -0.74), (-0.07, -0.74)], GOLD)
    canvas.fill([(-0.27, -0.84), (0.27, -0.84), (0.26, -0.71), (-0.26, -0.71)], GOLD)


def _against(fur: RGB) -> RGB:
    """A line colour that shows on the fur."""
    return (206, 202, 212) if sum(fur) < 180 else INK


def _eyes(canvas: Canvas, dx: float, y: float, fur: RGB) -> None:
    dark_fur = sum(fur) < 180
    for side in SIDES:
        if dark_fur:
            canvas.spot(Oval(side * dx, y, 0.2, 0.24), (232, 226, 170))
        canvas.spot(Oval(side * dx, y, 0.13 if dark_fur else 0.15, 0.19), PUPIL)
        canvas.spot(Oval(side * dx + 0.04, y - 0.07, 0.06, 0.06), WHITE)


def _smile(canvas: Canvas, y: float) -> None:
    for side in SIDES:
        canvas.line([(0, y), (side * 0.06, y + 0.11), (side * 0.15, y + 0.1), (side * 0.22, y)], 0.85, INK)
