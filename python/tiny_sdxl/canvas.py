"""A supersampled transparent canvas on which a thing is drawn in its own frame: centre (0, 0), radius about 1, y down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

from .vocabulary import RGB

SIDE_PX = 128
SUPERSAMPLING = 3
BOARD_PX = SIDE_PX * SUPERSAMPLING
Point = tuple[float, float]
INK: RGB = (44, 34, 48)
LIGHT_INK: RGB = (154, 150, 164)


def mix(a: RGB, b: RGB, share_of_b: float) -> RGB:
    """A colour between two."""
    red, green, blue = (round(x * (1 - share_of_b) + y * share_of_b) for x, y in zip(a, b, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Frame:
    """Where a thing's own coordinates lie on the picture: centre and radius in picture widths, angle in radians."""

    x: float
    y: float
    radius: float
    angle: float = 0.0

    def to_board(self, points: Sequence[Point]) -> list[Point]:
        """Board pixels of points given in the thing's own frame."""
        cos, sin, scale = math.cos(self.angle), math.sin(self.angle), self.radius * BOARD_PX
        cx, cy = self.x * BOARD_PX, self.y * BOARD_PX
        return [(cx + scale * (x * cos - y * sin), cy + scale * (x * sin + y * cos)) for x, y in points]


@dataclass(frozen=True)
class Oval:
    """An ellipse in the thing's own frame."""

    x: float
    y: float
    rx: float
    ry: float
    angle: float = 0.0

    def points(self, count: int = 48) -> list[Point]:
        """The outline as a polygon."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turns = [(self.rx * math.cos(t), self.ry * math.sin(t)) for t in (k * math.tau / count for k in range(count))]
        return [(self.x + a * cos - b * sin, self.y + a * sin + b * cos) for a, b in turns]


class Canvas:
    """Filled and outlined shapes with one ink, drawn in a frame."""

    def __init__(self, frame: Frame, ink: RGB = INK) -> None:
        self.image = Image.new("RGBA", (BOARD_PX, BOARD_PX), (0, 0, 0, 0))
        self.ink = ink
        self.frame = frame
        self._draw = ImageDraw.Draw(self.image)
        self._line_px = round(BOARD_PX * (0.0125 + 0.011 * frame.radius))

    def within(self, y: float, scale: float) -> Canvas:
        """The same canvas in a smaller frame whose centre lies at (0, y)."""
        ((bx, by),) = self.frame.to_board([(0.0, y)])
        inner = object.__new__(Canvas)
        inner.__dict__.update(self.__dict__)
        inner.frame = replace(self.frame, x=bx / BOARD_PX, y=by / BOARD_PX, radius=self.frame.radius * scale)
        return inner

    def fill(self, points: Sequence[Point], colour: RGB) -> None:
        """A polygon without an outline."""
        self._draw.polygon(self.frame.to_board(points), fill=colour)

    def shape(self, points: Sequence[Point], colour: RGB) -> None:
        """A polygon with an inked outline."""
        board = self.frame.to_board(points)
        self._draw.line([*board, board[0], board[1]], fill=self.ink, width=2 * self._line_px, joint="curve")
        self._draw.polygon(board, fill=colour)

    def oval(self, oval: Oval, colour: RGB) -> None:
        """An outlined ellipse."""
        self.shape(oval.points(), colour)

    def spot(self, oval: Oval, colour: RGB) -> None:
        """An ellipse without an outline."""
        self.fill(oval.points(), colour)

    def hole(self, oval: Oval) -> None:
        """An inked rim with nothing inside."""
        board = self.frame.to_board(oval.points(60))
        self._draw.line([*board, board[0], board[1]], fill=self.ink, width=2 * self._line_px, joint="curve")
        self._draw.polygon(board, fill=(0, 0, 0, 0))

    def line(self, points: Sequence[Point], width: float = 1.0, colour: RGB | None = None) -> None:
        """An open line, its width in outline widths."""
        self._draw.line(self.frame.to_board(points), fill=colour or self.ink, width=max(2, round(self._line_px * width)), joint="curve")
