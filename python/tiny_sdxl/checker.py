"""The judge of the evaluation: a small CNN that learns thing, colour and background from fresh drawings, at 128 pixels."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .drawings import draw_picture
from .pictures import Picture, random_picture
from .plan import Plan
from .vae_tools import to_signed
from .vocabulary import BACKGROUNDS, COLOURS, SCENES, THINGS, UNSAID

ROBED = "robed animal"
CLASSES = ((*THINGS, ROBED), tuple(COLOURS), (*BACKGROUNDS, *SCENES, UNSAID))
WIDTHS = (24, 32, 64, 96, 128)
DRAWINGS = 10_000
BATCH = 64
TOP_RATE = 3e-3
LARGEST_SHIFT_PX = 4
NO_CLASS = -100
"""cross_entropy passes over this label: the colour of a thing whose colour the picture leaves open."""


class Checker(nn.Module):
    """Five strided convolutions, then one linear layer for all three questions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in zip((3, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.answers = nn.Linear(2 * WIDTHS[-1], sum(map(len, CLASSES)))

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Logits of thing (B, 17), colour (B, 9) and background (B, 15)."""
        features = self.features(x_BCHW)
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
        return torch.split(self.answers(pooled), [len(names) for names in CLASSES], dim=1)


@dataclass(frozen=True)
class Answer:
    """What the checker sees in one picture."""

    thing: str
    colour: str
    background: str


def train_checker(plan: Plan) -> None:
    """Ends with checker.pt in the work folder."""
    torch.set_num_threads(1)
    torch.manual_seed(plan.seed)
    drawings, labels = _fresh_drawings(plan.seed)
    checker, rng = Checker(), np.random.default_rng((plan.seed, 4))
    optimizer = torch.optim.AdamW(checker.parameters(), lr=TOP_RATE)
    for step in range(plan.checker_steps):
        for group in optimizer.param_groups:
            group["lr"] = TOP_RATE * (1 - step / plan.checker_steps) + 1e-5
        chosen = rng.integers(len(drawings), size=BATCH)
        logits = checker(_disturbed(to_signed(drawings[chosen]), rng))
        loss = torch.stack([F.cross_entropy(each, labels[chosen, k]) for k, each in enumerate(logits)]).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"checker {step + 1}/{plan.checker_steps}  loss {loss.item():.4f}", flush=True)
    torch.save(checker.state_dict(), plan.file("checker.pt"))


def load_checker(plan: Plan) -> Checker:
    """The trained checker, ready to judge."""
    checker = Checker()
    checker.load_state_dict(torch.load(plan.file("checker.pt")))
    return checker.eval()


@torch.no_grad()
def look(checker: Checker, pixels_BHWC: NDArray[np.uint8]) -> list[Answer]:
    """What the checker sees in each picture."""
    things, colours, backgrounds = (logits.argmax(1).tolist() for logits in checker(to_signed(pixels_BHWC)))
    return [Answer(CLASSES[0][a], CLASSES[1][b], CLASSES[2][c]) for a, b, c in zip(things, colours, backgrounds, strict=True)]


def _fresh_drawings(seed: int) -> tuple[NDArray[np.uint8], Tensor]:
    """Drawings of any triple, held out or not, and their labels (N, 3)."""
    rng = random.Random(f"checker {seed}")
    pictures = [random_picture(rng) for _ in range(DRAWINGS)]
    return np.stack([draw_picture(picture, rng) for picture in pictures]), torch.tensor([_label(picture) for picture in pictures])


def _label(picture: Picture) -> tuple[int, int, int]:
    things, colours, backgrounds = CLASSES
    return (
        things.index(ROBED if picture.robe else picture.thing),
        colours.index(picture.colour) if picture.colour and not picture.robe else NO_CLASS,
        backgrounds.index(picture.background),
    )


def _disturbed(x_BCHW: Tensor, rng: np.random.Generator) -> Tensor:
    """Shifts, tints, blur and noise: the judge must not depend on how crisp a drawing is."""
    down, right = rng.integers(-LARGEST_SHIFT_PX, LARGEST_SHIFT_PX + 1, 2).tolist()
    x_BCHW = x_BCHW.roll((down, right), (2, 3))
    x_BCHW = x_BCHW + 0.03 * torch.randn(len(x_BCHW), 1, 1, 1) + 0.02 * torch.randn(len(x_BCHW), 3, 1, 1)
    if rng.random() < 0.5:
        x_BCHW = F.avg_pool2d(x_BCHW, 3, 1, 1, count_include_pad=False)
    return x_BCHW + 0.08 * float(rng.random()) * torch.randn_like(x_BCHW)
