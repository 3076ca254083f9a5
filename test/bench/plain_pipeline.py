"""The same pipeline with nothing of Flambeau around it: orders on stdin (null asks what the optimizer did), pictures on disk, one
JSON line for each on stdout.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def load(folder: str, python_root: str | None) -> Any:
    """The pipeline; optimised where `python_root` says where Flambeau's optimizer is."""
    import torch
    from diffusers import AutoPipelineForText2Image

    pipeline = AutoPipelineForText2Image.from_pretrained(folder, torch_dtype=torch.float32, variant="fp16")
    pipeline.set_progress_bar_config(disable=True)
    if python_root is not None:
        sys.path.insert(0, python_root)
        from flambeau.optimize import optimize

        pipeline.unet = optimize(pipeline.unet)
        pipeline.vae = optimize(pipeline.vae)
    return pipeline


def paint(pipeline: Any, order: dict[str, Any], path: str) -> None:
    """One picture as PNG; level 1, because pictures of a model hardly shrink further."""
    import torch

    generator = torch.Generator("cpu").manual_seed(order["seed"])
    result = pipeline(prompt=order["prompt"], num_inference_steps=order["steps"], generator=generator)
    result.images[0].save(path, compress_level=1)


def reports(pipeline: Any) -> dict[str, Any]:
    """What the optimizer did to each part; nothing without it."""
    if "flambeau.optimize" not in sys.modules:
        return {}
    from dataclasses import asdict

    from flambeau.optimize import report

    return {name: asdict(report(getattr(pipeline, name))) for name in ("unet", "vae")}


def main() -> None:
    """Arguments: the model's folder, a folder for pictures, and optionally where the optimizer is."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    folder, pictures = sys.argv[1:3]
    pipeline = load(folder, sys.argv[3] if len(sys.argv) > 3 else None)
    answers.write('"ready"\n')
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        if order is None:
            answers.write(json.dumps(reports(pipeline)) + "\n")
            continue
        path = os.path.join(pictures, f"{number}.png")
        paint(pipeline, order, path)
        answers.write(json.dumps(path) + "\n")


if __name__ == "__main__":
    main()
