"""Writes the trained parts as a StableDiffusionXLPipeline folder that holds float16 weights only."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTokenizer

from .latents import Latents
from .model import build_scheduler
from .plan import Plan
from .train_unet import Painter
from .vae_tools import load_vae

KEPT_FILES = ("README.md", "contact-sheet.png")
LARGEST_MODEL_BYTES = 12_000_000


def export(plan: Plan) -> None:
    """Puts the model in place of what plan.out holds, keeping its model card and contact sheet."""
    fresh = plan.out.with_name(f".{plan.out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    _pipeline(plan).save_pretrained(fresh, variant="fp16", safe_serialization=True)
    for name in ("tokenizer", "tokenizer_2"):
        for spelling in ("vocab.json", "merges.txt"):
            shutil.copy(plan.file(name) / spelling, fresh / name)
        _edit(fresh / name / "tokenizer_config.json", {"is_local": None, "local_files_only": None})
    # Without a dtype, transformers takes that of the weights: float16 text encoders beside diffusers' float32 UNet.
    for name in ("text_encoder", "text_encoder_2"):
        _edit(fresh / name / "config.json", {"dtype": "float32"})
    # Configs name the folder that a part was loaded from.
    for config in fresh.rglob("config.json"):
        _edit(config, {"_name_or_path": None})
    _open_to_all(fresh)
    size = weight_bytes(fresh)
    if size > LARGEST_MODEL_BYTES:
        raise ValueError(f"the weights take {size} bytes, more than {LARGEST_MODEL_BYTES}")
    _replace(plan.out, fresh)
    print(f"export: {size} bytes of weights in {plan.out}", flush=True)


def weight_bytes(folder: Path) -> int:
    """Bytes of all safetensors files."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def _pipeline(plan: Plan) -> Any:
    tokenizer, tokenizer_2 = (CLIPTokenizer.from_pretrained(plan.file(name)) for name in ("tokenizer", "tokenizer_2"))
    painter = Painter(len(tokenizer))
    painter.load_state_dict(torch.load(plan.file("painter.pt")))
    painter.half()
    vae = load_vae(plan, "decoder" if plan.file("decoder.pt").exists() else "vae")
    vae.register_to_config(scaling_factor=round(Latents.load(plan).scaling, 6))
    return StableDiffusionXLPipeline(  # type: ignore[no-untyped-call]
        vae=vae.half(),
        text_encoder=painter.text_encoder,
        text_encoder_2=painter.text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=painter.unet,
        scheduler=build_scheduler(),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )


def _edit(config: Path, changes: dict[str, str | None]) -> None:
    """Sets keys of a JSON file; None removes one."""
    settings = json.loads(config.read_text()) | changes
    kept = {key: value for key, value in settings.items() if key not in changes or value is not None}
    config.write_text(json.dumps(kept, indent=2) + "\n")


def _open_to_all(folder: Path) -> None:
    """safetensors writes files that only their owner can read."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _replace(old: Path, fresh: Path) -> None:
    for name in KEPT_FILES:
        if (old / name).exists():
            shutil.copy2(old / name, fresh / name)
    aside = old.with_name(f".{old.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    old.parent.mkdir(parents=True, exist_ok=True)
    if old.exists():
        os.rename(old, aside)
    os.rename(fresh, old)
    shutil.rmtree(aside, ignore_errors=True)
