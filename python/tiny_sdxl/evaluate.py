"""Measures how well the exported model follows held-out prompts, and what the checker itself gets right on real drawings."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image
from numpy.typing import NDArray
from PIL import Image

from .canvas import SIDE_PX
from .captions import caption
from .checker import Checker, load_checker, look
from .drawings import draw_picture
from .pictures import Picture, held_out_pictures
from .plan import Plan

GUIDANCE = 5.0
STEP_COUNTS = (30, 8)
FIRST_SEED = 5_000
PAINTED_AT_ONCE = 8
BORDER_PX = 3
FOREGROUND_DISTANCE = 70.0
CENTRE_REACH = 0.08
"""A thing nearer than this to the centre, in picture widths, lies in the centre: placed things lie .16 to .26 away."""


def evaluate(plan: Plan) -> None:
    """Writes figures.json and the painted pictures into the work folder."""
    torch.set_num_threads(1)
    checker, said = load_checker(plan), held_out_prompts(plan.seed)[: plan.evaluated]
    pictures, prompts = [picture for picture, _ in said], [prompt for _, prompt in said]
    rng = random.Random(f"ceiling {plan.seed}")
    real = np.stack([draw_picture(picture, rng) for picture in pictures])
    figures: dict[str, Any] = {"prompts": len(prompts), "guidance": GUIDANCE, "ceiling": judge(checker, pictures, real)}
    print(f"evaluate: ceiling {figures['ceiling']}", flush=True)
    for steps in STEP_COUNTS:
        start = time.process_time()
        painted = paint(plan, prompts, steps)
        seconds = (time.process_time() - start) / len(prompts)
        figures[f"steps_{steps}"] = judge(checker, pictures, painted) | {"cpu_seconds_per_picture": round(seconds, 2)}
        print(f"evaluate: {steps} steps {figures[f'steps_{steps}']}", flush=True)
        Image.fromarray(tiled(painted)).save(plan.file(f"held-out-{steps}.png"))
    plan.file("figures.json").write_text(json.dumps(figures, indent=2))


def held_out_prompts(seed: int) -> list[tuple[Picture, str]]:
    """What each held-out prompt asks for, and the prompt."""
    rng = random.Random(f"evaluation {seed}")
    return [(picture, caption(picture, rng)) for picture in held_out_pictures()]


def paint(plan: Plan, prompts: list[str], steps: int) -> NDArray[np.uint8]:
    """The exported model's pictures of the prompts, seeded one by one: uint8 (B, 128, 128, 3)."""
    pipeline = load_pipeline(plan)
    painted = []
    for start in range(0, len(prompts), PAINTED_AT_ONCE):
        some = prompts[start : start + PAINTED_AT_ONCE]
        generators = [torch.Generator().manual_seed(FIRST_SEED + start + k) for k in range(len(some))]
        result = pipeline(some, num_inference_steps=steps, guidance_scale=GUIDANCE, generator=generators, output_type="np")
        painted.append((result.images * 255).round().astype(np.uint8))
    return np.concatenate(painted)


def load_pipeline(plan: Plan) -> Any:
    """The exported model in float32, without progress bars."""
    source = AutoPipelineForText2Image
    pipeline = source.from_pretrained(plan.out, variant="fp16", torch_dtype=torch.float32)  # type: ignore[no-untyped-call]
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def judge(checker: Checker, pictures: list[Picture], pixels_BHWC: NDArray[np.uint8]) -> dict[str, Any]:
    """Percentages of right things, colours, backgrounds and positions, and the things that were missed."""
    answers = look(checker, pixels_BHWC)
    pairs = list(zip(pictures, answers, strict=True))
    placed = [(picture.position, find_position(pixels)) for picture, pixels in zip(pictures, pixels_BHWC, strict=True) if picture.position]
    missed = [f"{picture.thing} seen as {answer.thing}" for picture, answer in pairs if picture.thing != answer.thing]
    return {
        "shape": _percent([picture.thing == answer.thing for picture, answer in pairs]),
        "colour": _percent([picture.colour == answer.colour for picture, answer in pairs]),
        "background": _percent([picture.background == answer.background for picture, answer in pairs]),
        "position": _percent([said == seen for said, seen in placed]),
        "positioned": len(placed),
        "missed": {miss: missed.count(miss) for miss in sorted(set(missed))},
    }


def find_position(pixels_HWC: NDArray[np.uint8]) -> str:
    """Where the thing lies: the middle of what differs from the border's median colour."""
    image = pixels_HWC.astype(np.float32)
    rim = [image[:BORDER_PX], image[-BORDER_PX:], image[:, :BORDER_PX], image[:, -BORDER_PX:]]
    backdrop = np.median(np.concatenate([part.reshape(-1, 3) for part in rim]), axis=0)
    rows, columns = np.nonzero(np.linalg.norm(image - backdrop, axis=-1) > FOREGROUND_DISTANCE)
    if len(rows) == 0:
        return "nowhere"
    y, x = (np.percentile(places, (2, 98)).mean() / (SIDE_PX - 1) - 0.5 for places in (rows, columns))
    if max(abs(x), abs(y)) < CENTRE_REACH:
        return "center"
    if abs(x) > abs(y):
        return "left" if x < 0 else "right"
    return "top" if y < 0 else "bottom"


def tiled(pixels_BHWC: NDArray[np.uint8], columns: int = 20) -> NDArray[np.uint8]:
    """The pictures side by side."""
    missing = -len(pixels_BHWC) % columns
    padded = np.concatenate([pixels_BHWC, np.full((missing, *pixels_BHWC.shape[1:]), 255, np.uint8)])
    rows = padded.reshape(-1, columns, SIDE_PX, SIDE_PX, 3)
    return np.asarray(rows.transpose(0, 2, 1, 3, 4).reshape(-1, columns * SIDE_PX, 3), np.uint8)


def _percent(right: list[bool]) -> float:
    return round(100 * sum(right) / max(1, len(right)), 1)
