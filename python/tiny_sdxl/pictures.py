"""What one training picture shows, how such descriptions are drawn at random, and which are held out of training."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from .vocabulary import ANIMALS, BACKGROUNDS, COLOURS, POSITIONS, PRIEST, SCENES, SIZES, THINGS, UNSAID

Triple = tuple[str, str, str]
HELD_OUT_PER_THING = 15
HELD_OUT_SEED = 20261123


@dataclass(frozen=True)
class Picture:
    """One picture in words; None means that the caption leaves it open."""

    thing: str
    colour: str | None = None
    background: str = UNSAID
    position: str | None = None
    size: str | None = None
    robe: str | None = None

    @property
    def triple(self) -> Triple | None:
        """(thing, colour, background) where all three are said and the background is a plain colour."""
        if self.colour is None or self.background not in BACKGROUNDS or self.robe is not None:
            return None
        return self.thing, self.colour, self.background


@cache
def held_out_triples() -> tuple[Triple, ...]:
    """The triples that no training picture shows: as many of each thing, in a fixed shuffled order."""
    rng = random.Random(HELD_OUT_SEED)
    pairs = [(colour, background) for colour in COLOURS for background in BACKGROUNDS if colour != background]
    triples = [(thing, *pair) for thing in THINGS for pair in rng.sample(pairs, HELD_OUT_PER_THING)]
    rng.shuffle(triples)
    return tuple(triples)


def random_picture(rng: random.Random) -> Picture:
    """Any picture, held out or not: what the checker learns from."""
    if rng.random() < 0.17:
        return _robed(rng)
    colour = rng.choice(list(COLOURS)) if rng.random() < 0.78 else None
    return Picture(
        thing=rng.choice((*THINGS, *ANIMALS, "house", "flower", "sun")),
        colour=colour,
        background=_background(rng, colour),
        position=rng.choice(POSITIONS) if rng.random() < 0.42 else None,
        size=rng.choice(SIZES) if rng.random() < 0.35 else None,
    )


def training_picture(rng: random.Random) -> Picture:
    """A picture that is not held out."""
    forbidden = set(held_out_triples())
    while (picture := random_picture(rng)).triple in forbidden:
        pass
    return picture


def training_rng(index: int, seed: int) -> random.Random:
    """The random source of one training picture: first its description, then its drawing."""
    return random.Random(f"training {seed} {index}")


def training_description(index: int, seed: int) -> Picture:
    """What the training picture of that index shows."""
    return training_picture(training_rng(index, seed))


def held_out_pictures(seed: int = 0) -> list[Picture]:
    """The evaluation's pictures: each held-out triple once, with a random position and size."""
    rng = random.Random(HELD_OUT_SEED + 1 + seed)
    return [
        Picture(thing, colour, background, rng.choice((None, *POSITIONS)), rng.choice((None, None, *SIZES)))
        for thing, colour, background in held_out_triples()
    ]


def _robed(rng: random.Random) -> Picture:
    colour = rng.choice(list(COLOURS)) if rng.random() < 0.15 else None
    robe = rng.choice(list(COLOURS)) if rng.random() < 0.45 else PRIEST
    background = "cinematic" if rng.random() < 0.35 else _background(rng, colour)
    return Picture(rng.choice(("raccoon", "raccoon", "cat", "dog")), colour, background, robe=robe)


def _background(rng: random.Random, colour: str | None) -> str:
    share = rng.random()
    if share < 0.20:
        return rng.choice(SCENES)
    if share < 0.80:
        return rng.choice([name for name in BACKGROUNDS if name != colour])
    return UNSAID
