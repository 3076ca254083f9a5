"""Whole pictures of the bundled, trained SDXL at each quality beside float32: do they show what was asked, and how far off are they?

The judge of python/tiny_sdxl counts what the pictures show; latents are compared after every step. "forced" takes whatever a quality
allows even where it is no faster: on a model this small int8 may never be chosen, and its quality is the question here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

ROOT: Final = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "python"))

import record  # noqa: E402
from flambeau.optimize.limits import LIMITS  # noqa: E402
from flambeau.optimize.registry import Registry  # noqa: E402
from tiny_sdxl.checker import load_checker, train_checker  # noqa: E402
from tiny_sdxl.evaluate import GUIDANCE, held_out_prompts, judge, load_pipeline  # noqa: E402
from tiny_sdxl.plan import Plan  # noqa: E402

ALLOWED_POINTS = 2.0
STEPS = 30
AT_ONCE = 8
SHOWN = 8
FILE: Final = ROOT / "test" / "bench" / "results" / "optimize-pictures.json"
FORCED: Final = replace(LIMITS, min_gain=0.0, min_gain_of_one_pair=0.0, min_won=0.0, hopeless=0.0, min_pairs=1, sure_pairs=1, max_pairs=1)
ASKED: Final = ("shape", "colour", "background", "position")


@dataclass(frozen=True)
class Painted:
    """Pictures uint8 (B, H, W, 3), latents after each step (steps, B, C, h, w), and what was done to the model."""

    pixels: Any
    latents: Tensor
    seconds: float
    reports: dict[str, list[str]]


def main() -> None:
    """Paints all variants, judges them and keeps the table and a sheet."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    plan = Plan(out=ROOT / "python" / "models" / "tiny-sdxl", work=arguments.work)
    plan.work.mkdir(parents=True, exist_ok=True)
    if not plan.file("checker.pt").exists():
        print("training the judge: about four minutes", flush=True)
        train_checker(plan)
        torch.set_num_threads(arguments.threads)
    said = held_out_prompts(plan.seed)[: arguments.prompts]
    pictures, prompts = [picture for picture, _ in said], [prompt for _, prompt in said]
    checker = load_checker(plan)
    rows: dict[str, Any] = {}
    painted: dict[str, Painted] = {}
    for name, change in variants().items():
        if name not in ("float32", *arguments.variants):
            continue
        painted[name] = paint(plan, prompts, change)
        rows[name] = compared(painted[name], painted["float32"]) | judge(checker, pictures, painted[name].pixels)
        show(name, rows[name], rows["float32"])
    if not arguments.quick:
        keep(rows, {"prompts": len(prompts), "steps": STEPS, "guidance": GUIDANCE, "threads": arguments.threads})
        sheet(painted, prompts).save(FILE.with_suffix(".png"), optimize=True)


def variants() -> dict[str, Callable[[Any], dict[str, list[str]]]]:
    """What is done to a pipeline before it paints; float32 comes first."""
    qualities = ("lossless", "balanced", "fast")
    chosen = {quality: optimized(quality, Registry()) for quality in qualities}
    forced = {f"{quality}, forced": optimized(quality, Registry(limits=FORCED)) for quality in qualities}
    return {"float32": lambda _: {}, **chosen, **forced}


def optimized(quality: str, registry: Registry) -> Callable[[Any], dict[str, list[str]]]:
    """Optimizes the parts and paints once, so that all of them are measured; what was applied, by part."""

    def change(pipeline: Any) -> dict[str, list[str]]:
        parts = {name: getattr(pipeline, name) for name in ("unet", "vae", "text_encoder", "text_encoder_2")}
        for part in parts.values():
            registry.optimize(part, quality=quality)  # type: ignore[arg-type]
        pipeline(["a cat"] * AT_ONCE, num_inference_steps=STEPS, guidance_scale=GUIDANCE)
        return {name: list(registry.report(part).applied) for name, part in parts.items()}

    return change


def paint(plan: Plan, prompts: list[str], change: Callable[[Any], dict[str, list[str]]]) -> Painted:
    """The same prompts and seeds for every variant."""
    pipeline = load_pipeline(plan)
    reports = change(pipeline)
    started, pixels, latents = time.process_time(), [], []
    for start in range(0, len(prompts), AT_ONCE):
        some = prompts[start : start + AT_ONCE]
        steps: list[Tensor] = []

        def note(_pipeline: Any, _step: int, _timestep: Any, values: dict[str, Tensor], steps: list[Tensor] = steps) -> dict[str, Tensor]:
            steps.append(values["latents"].clone())
            return values

        generators = [torch.Generator().manual_seed(9_000 + start + k) for k in range(len(some))]
        options = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "generator": generators, "callback_on_step_end": note}
        images = pipeline(some, output_type="np", **options).images
        pixels.append((images * 255).round().astype(np.uint8))
        latents.append(torch.stack(steps))
    seconds = (time.process_time() - started) / len(prompts)
    return Painted(np.concatenate(pixels), torch.cat(latents, dim=1), seconds, reports)


def compared(painted: Painted, reference: Painted) -> dict[str, Any]:
    """PSNR of the pictures, and relative L2 of the latents after each step, over all pictures."""
    wrong = (painted.pixels.astype(np.float64) - reference.pixels.astype(np.float64)) ** 2
    psnr = [min(99.0, float(10 * np.log10(255**2 / max(one.mean(), 1e-9)))) for one in wrong]
    errors = ((painted.latents - reference.latents).flatten(1).norm(dim=1) / reference.latents.flatten(1).norm(dim=1)).tolist()
    return {
        "cpu_s_per_picture": painted.seconds,
        "ratio_cpu": reference.seconds / painted.seconds,
        "psnr_median": float(np.median(psnr)),
        "psnr_min": min(psnr),
        "error_by_step": errors,
        "applied": painted.reports,
    }


def show(name: str, row: dict[str, Any], reference: dict[str, Any]) -> None:
    """One line; adherence in points beside float32's."""
    points = {what: row[what] - reference[what] for what in ASKED}
    is_near = all(difference >= -ALLOWED_POINTS for difference in points.values())
    asked = "  ".join(f"{what} {row[what]:.1f} ({points[what]:+.1f})" for what in ASKED)
    errors = [row["error_by_step"][step] for step in (0, STEPS // 2, STEPS - 1)]
    print(
        f"{name:<18} {'within' if is_near else 'OUTSIDE'} {ALLOWED_POINTS} points  {asked}  PSNR {row['psnr_median']:.1f} dB (least "
        f"{row['psnr_min']:.1f})  error at first, middle, last step {', '.join(f'{error:.1e}' for error in errors)}  "
        f"{row['ratio_cpu']:.2f}x of float32's CPU time  {row['applied']}",
        flush=True,
    )


def keep(rows: dict[str, Any], notes: dict[str, Any]) -> None:
    """One record for each processor, the newest in place of the one before."""
    made = record.machine(sys.executable)
    everything = json.loads(FILE.read_text()) if FILE.exists() else {}
    rounded = json.loads(json.dumps({name: _rounded(row) for name, row in rows.items()}))
    everything[" ".join([made["cpu"], *made["flags"]])] = {"machine": made, **record.when(), "notes": notes, "rows": rounded}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(everything, indent=1) + "\n")


def sheet(painted: dict[str, Painted], prompts: list[str]) -> Image.Image:
    """A column for each variant, a row for each of the first prompts."""
    side = painted["float32"].pixels.shape[1]
    image = Image.new("RGB", ((side + 4) * len(painted), 16 + (side + 16) * SHOWN), "white")
    draw = ImageDraw.Draw(image)
    step = max(1, len(prompts) // SHOWN)
    for column, (name, one) in enumerate(painted.items()):
        draw.text((column * (side + 4) + 2, 2), name, "black")
        for row, index in enumerate(range(0, min(len(prompts), step * SHOWN), step)):
            top = 16 + row * (side + 16)
            image.paste(Image.fromarray(one.pixels[index]), (column * (side + 4), top))
            if column == 0:
                draw.text((2, top + side), prompts[index], "black")
    return image


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _arguments() -> argparse.Namespace:
    cache = Path(os.environ.get("FLAMBEAU_CACHE_DIR") or Path.home() / ".cache" / "flambeau")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=120, help="of those that the model was not trained with")
    parser.add_argument("--variants", nargs="+", choices=list(variants()), default=list(variants()), help="besides float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=cache / "bench-pictures", help="where the trained judge is kept")
    parser.add_argument("--quick", action="store_true", help="keeps nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
