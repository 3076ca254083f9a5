"""The words and colours of the training pictures: things, object colours, backgrounds, places and sizes."""

from __future__ import annotations

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (224, 34, 42),
    "orange": (255, 138, 16),
    "yellow": (255, 216, 26),
    "green": (38, 168, 66),
    "blue": (38, 98, 234),
    "purple": (138, 58, 202),
    "pink": (255, 118, 178),
    "white": (250, 250, 250),
    "black": (40, 38, 46),
}
BACKGROUNDS: dict[str, RGB] = {
    "white": (250, 250, 250),
    "black": (22, 22, 28),
    "gray": (150, 152, 160),
    "red": (206, 50, 56),
    "orange": (250, 162, 72),
    "yellow": (255, 230, 116),
    "green": (112, 202, 122),
    "blue": (112, 177, 250),
    "purple": (176, 126, 226),
    "pink": (255, 187, 216),
}
SCENES = ("night", "meadow", "sunset", "cinematic")
UNSAID = "pastel"
"""The background of captions that name none: one of a few quiet tints."""
PASTELS: tuple[RGB, ...] = (
    (255, 238, 214),
    (216, 236, 255),
    (224, 246, 224),
    (252, 224, 236),
    (238, 228, 252),
    (255, 248, 218),
)
ANIMALS = ("cat", "dog", "raccoon")
THINGS = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "ring",
    *ANIMALS,
    "fish",
    "house",
    "tree",
    "flower",
    "sun",
    "moon",
    "mushroom",
)
NATURAL_COLOURS: dict[str, tuple[RGB, ...]] = {
    "cat": ((242, 162, 74), (152, 152, 164), (246, 206, 152)),
    "dog": ((202, 142, 82), (236, 202, 152), (164, 108, 64)),
    "raccoon": ((142, 142, 152), (152, 146, 150)),
    "fish": (COLOURS["orange"], COLOURS["blue"]),
    "house": ((246, 224, 184), (252, 242, 228)),
    "tree": (COLOURS["green"],),
    "flower": (COLOURS["pink"], COLOURS["red"], COLOURS["purple"]),
    "sun": ((255, 206, 32),),
    "moon": ((250, 236, 152),),
    "mushroom": (COLOURS["red"],),
    "heart": (COLOURS["red"],),
    "star": (COLOURS["yellow"],),
}
POSITIONS = ("left", "right", "top", "bottom", "center")
SIZES = ("small", "large")
PRIEST = "priest"
"""The robe of captions that name no robe colour: crimson, sometimes purple, with gold."""
PRIEST_ROBES: tuple[RGB, ...] = ((178, 26, 50), (178, 26, 50), (122, 32, 112))
