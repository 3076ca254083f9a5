"""Many ways to say what a picture shows; a picture's caption is said anew each time it is trained on."""

from __future__ import annotations

import random

from .pictures import Picture
from .vocabulary import BACKGROUNDS, POSITIONS, PRIEST, UNSAID

NAMES: dict[str, tuple[str, ...]] = {
    "cat": ("cat", "cat", "cat", "kitten", "baby cat", "cute cat"),
    "dog": ("dog", "dog", "dog", "puppy", "baby dog", "cute dog"),
    "raccoon": ("raccoon", "racoon", "baby raccoon", "baby racoon", "cute raccoon"),
    "circle": ("circle", "circle", "disc", "ball"),
    "square": ("square", "square", "square", "box"),
    "house": ("house", "house", "house", "home"),
    "moon": ("moon", "moon", "crescent moon"),
    "ring": ("ring", "ring", "donut"),
}
SIZE_WORDS = {"small": ("small", "small", "tiny", "little"), "large": ("large", "large", "big", "huge")}
OPENINGS = ("a picture of", "a drawing of", "an illustration of", "a photo of", "an image of", "a cartoon of", "a sticker of", "draw")
FLOURISHES = ("high quality", "detailed", "4k", "vector art", "digital art", "masterpiece")
CINEMATIC = ("a cinematic shot of", "a cinematic shot of", "cinematic shot of", "a cinematic photo of", "cinematic,")
SCENE_PHRASES: dict[str, tuple[str, ...]] = {
    "night": ("at night", "in the night sky", "under a starry night sky", "with a starry night background"),
    "meadow": ("in a meadow", "in a green meadow", "on green grass under a blue sky", "in a field"),
    "sunset": ("at sunset", "in front of a sunset", "with a sunset background", "at dusk"),
}
PRIEST_ROBES = (
    "wearing an intricate italian priest robe",
    "wearing an intricate italian priest robe",
    "wearing an italian priest robe",
    "wearing a priest robe",
    "in a priest robe",
    "dressed as a priest",
    "wearing a robe",
)


def caption(picture: Picture, rng: random.Random) -> str:
    """One of the picture's captions."""
    places = [part for part in (_position(picture.position, rng), _background(picture.background, rng)) if part]
    if len(places) == 2 and rng.random() < 0.35:
        places.reverse()
    joint = rng.choice((" ", " ", ", "))
    text = joint.join([_subject(picture, rng), *places])
    if picture.background == "cinematic":
        text = f"{rng.choice(CINEMATIC)} {text}"
    elif rng.random() < 0.3:
        text = f"{rng.choice(OPENINGS)} {text}"
    if rng.random() < 0.06:
        text = f"{text}, {rng.choice(FLOURISHES)}"
    return _punctuated(text, rng)


def with_article(words: str) -> str:
    """The words after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _subject(picture: Picture, rng: random.Random) -> str:
    name = rng.choice(NAMES.get(picture.thing, (picture.thing,)))
    words = [rng.choice(SIZE_WORDS[picture.size])] if picture.size else []
    words += [picture.colour] if picture.colour else []
    subject = " ".join([*words, name])
    start = rng.random()
    if start < 0.78:
        subject = with_article(subject)
    elif start < 0.88:
        subject = f"the {subject}"
    return f"{subject} {_robe(picture.robe, rng)}" if picture.robe else subject


def _robe(robe: str, rng: random.Random) -> str:
    if robe == PRIEST:
        return rng.choice(PRIEST_ROBES)
    return rng.choice((f"wearing {with_article(robe)} robe", f"in {with_article(robe)} robe", f"wearing {with_article(robe)} priest robe"))


def _position(position: str | None, rng: random.Random) -> str | None:
    if position is None:
        return None
    if position == POSITIONS[-1]:
        return rng.choice(("in the center", "in the middle", "in the centre", "at the center"))
    if position in ("left", "right"):
        return rng.choice((f"on the {position}", f"on the {position}", f"at the {position}", f"on the {position} side"))
    return rng.choice((f"at the {position}", f"at the {position}", f"on the {position}", f"near the {position}"))


def _background(background: str, rng: random.Random) -> str | None:
    if background in SCENE_PHRASES:
        return rng.choice(SCENE_PHRASES[background])
    if background == UNSAID or background not in BACKGROUNDS:
        return None
    colour = rng.choice(("gray", "grey")) if background == "gray" else background
    phrase = with_article(colour)
    return rng.choice(
        (f"on {phrase} background", f"on {phrase} background", f"with {phrase} background", f"against {phrase} background", f"on {colour}")
    )


def _punctuated(text: str, rng: random.Random) -> str:
    if rng.random() < 0.25:
        text = text[0].upper() + text[1:]
    return f"{text}." if rng.random() < 0.25 else text
