"""The contact sheet: what the exported model paints for a list of prompts, each with its prompt below."""

from __future__ import annotations

import textwrap

import torch
from PIL import Image, ImageDraw, ImageFont

from .evaluate import load_pipeline
from .plan import Plan

PROMPTS = (
    "A cinematic shot of a baby racoon wearing an intricate italian priest robe.",
    "a cat",
    "a dog",
    "a racoon",
    "a house",
    "a flower",
    "a sun",
    "a house in a meadow",
    "a sun on a blue background",
    "a purple flower on a yellow background",
    "a tree at sunset",
    "a yellow moon at night",
    "a red circle on a blue background",
    "a blue square on a yellow background",
    "a green triangle on a white background",
    "a yellow star on a black background",
    "a pink heart on a purple background",
    "an orange fish on a blue background",
    "a red mushroom on the right on a green background",
    "a blue dog at the bottom on an orange background",
    "a small white star at the top on a red background",
    "a large green ring on a pink background",
    "a purple house on the left on a white background",
    "a small black heart in the center on a pink background",
    "a white cat on a red background",
    "a black cat on a pink background",
    "a cat wearing a blue robe",
    "a puppy dressed as a priest in a meadow",
    "a cinematic shot of a kitten",
    "an astronaut riding a horse",
)
COLUMNS = 6
TILE_PX = 160
LABEL_PX = 42
LETTERS_PER_LINE = 27
STEPS = 30
GUIDANCE = 5.0


def write_sheet(plan: Plan) -> None:
    """Writes contact-sheet.png into the model's folder."""
    torch.set_num_threads(1)
    pipeline = load_pipeline(plan)
    rows = -(-len(PROMPTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (TILE_PX + 4), rows * (TILE_PX + LABEL_PX)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for place, prompt in enumerate(PROMPTS):
        generator = torch.Generator().manual_seed(place)
        picture = pipeline(prompt, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generator).images[0]
        x, y = place % COLUMNS * (TILE_PX + 4) + 2, place // COLUMNS * (TILE_PX + LABEL_PX)
        sheet.paste(picture.resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS), (x, y))
        draw.multiline_text((x, y + TILE_PX + 1), textwrap.fill(prompt, LETTERS_PER_LINE), "black", font, spacing=1)
    sheet.save(plan.out / "contact-sheet.png", optimize=True)
