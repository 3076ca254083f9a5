"""The training drawings on disk: one memory-mapped uint8 array (count, 128, 128, 3), and the descriptions that go with it."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from .canvas import SIDE_PX
from .drawings import training_drawing
from .pictures import Picture, training_description
from .plan import Plan
from .team import Team


def draw_all(plan: Plan, team: Team) -> None:
    """Draws the training set; each worker draws its share into one file."""
    path, parts = plan.file("drawings.npy"), [plan.file(f"drawings.{rank}.npy") for rank in range(team.size)]
    indices = range(team.rank, plan.pictures, team.size)
    pixels = np.stack([training_drawing(index, plan.seed)[1] for index in indices])
    np.save(parts[team.rank], pixels)
    team.wait()
    if team.leads:
        merged = np.lib.format.open_memmap(path.with_suffix(".tmp"), "w+", np.uint8, (plan.pictures, SIDE_PX, SIDE_PX, 3))
        for rank, part in enumerate(parts):
            merged[rank :: team.size] = np.load(part, mmap_mode="r")
            part.unlink()
        merged.flush()
        os.replace(path.with_suffix(".tmp"), path)


def load_drawings(plan: Plan) -> NDArray[np.uint8]:
    """The drawings, read from the disk as they are used."""
    drawings: NDArray[np.uint8] = np.load(plan.file("drawings.npy"), mmap_mode="r")
    return drawings


def load_descriptions(plan: Plan) -> list[Picture]:
    """What each training drawing shows; cheap to repeat, so never stored."""
    return [training_description(index, plan.seed) for index in range(plan.pictures)]
