"""From a fresh process to its first picture: eager, ours from a warm store, torch.compile from a warm cache; seconds and CPU-seconds.

A picture here is a denoiser called `steps` times and a decoder called once, without text. Each variant is started once to warm what it
keeps, and then, in turns with the others, as often as asked.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
PAIRS: Final = {"bundled": ("bundled-unet", "bundled-vae"), "wide": ("sdxl-unet", "sdxl-vae")}
VARIANTS: Final = ("eager", "flambeau", "flambeau-built", "compile")


def main() -> None:
    """Starts processes and prints a table; in such a process, makes the picture."""
    arguments = _arguments()
    if arguments.only is not None:
        print(json.dumps(picture(arguments.model, arguments.only, arguments.steps, arguments.is_warming)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for variant in arguments.variants:
            if variant != "eager":
                print(f"warming {variant}", file=sys.stderr, flush=True)
                _started(arguments, variant, folder, is_warming=True)
        rows: dict[str, list[dict[str, Any]]] = {variant: [] for variant in arguments.variants}
        for _ in range(arguments.starts):
            for variant, found in rows.items():
                found.append(_started(arguments, variant, folder, is_warming=False))
    for variant, found in rows.items():
        middle = {name: statistics.median(row[name] for row in found) for name in ("seconds", "cpu_s", "made_s", "made_cpu_s")}
        print(variant, json.dumps({**{name: round(value, 2) for name, value in middle.items()}, "applied": found[-1]["applied"]}))


def picture(model: str, variant: str, steps: int, is_warming: bool) -> dict[str, Any]:
    """Makes one; with a store or a cache to be filled, as many calls as that takes. `made_s`: without imports and weights."""
    sys.path.insert(0, str(ROOT / "python"))
    import torch
    from modules import CASES

    cases = [CASES[name]() for name in PAIRS[model]]
    started, started_cpu = time.perf_counter(), time.process_time()
    applied: list[str] = []
    with torch.no_grad():
        if variant.startswith("flambeau"):
            from flambeau.optimize import optimize

            for case in cases:
                optimize(case.module, quality="balanced", builds="now" if is_warming and variant == "flambeau-built" else "never")
        elif variant == "compile":
            for case in cases:
                case.module.compile()
        for case, calls in zip(cases, (steps, 1), strict=True):
            for call in range(max(calls, 24) if is_warming and variant != "compile" else calls):
                case.call(case.module, *case.inputs(call))
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
        if variant.startswith("flambeau"):
            from flambeau.optimize import report

            applied = [name for case in cases for name in report(case.module).applied]
    return {"made_s": seconds, "made_cpu_s": cpu_s, "applied": applied}


def _started(arguments: argparse.Namespace, variant: str, folder: str, is_warming: bool) -> dict[str, Any]:
    own = Path(folder) / variant
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(arguments.threads),
        "XDG_CACHE_HOME": str(own / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(own / "inductor"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-W", "ignore", __file__, arguments.model, "--only", variant, "--steps", str(arguments.steps)]
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [*command, *(["--is-warming"] if is_warming else [])], env=environment, capture_output=True, text=True, check=True
    )
    seconds, after = time.perf_counter() - started, os.times()
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {**row, "seconds": seconds, "cpu_s": spent}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=PAIRS)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=VARIANTS)
    parser.add_argument("--is-warming", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
