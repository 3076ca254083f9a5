"""The sizes, step counts and folders of one training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """Everything a stage needs to know; step counts are optimizer steps of the whole team."""

    out: Path
    work: Path
    seed: int = 0
    workers: int = 2
    pictures: int = 20_000
    vae_steps: int = 3_200
    unet_steps: int = 1_700
    decoder_steps: int = 450
    checker_steps: int = 1_200
    evaluated: int = 240

    def file(self, name: str) -> Path:
        """A file in the work folder."""
        return self.work / name
