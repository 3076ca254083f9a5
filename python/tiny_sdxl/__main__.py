"""Trains and exports the small SDXL with one command; started again, it continues where it stopped."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from .checker import train_checker
from .drawing_set import draw_all
from .evaluate import evaluate
from .export import export
from .latents import encode_all
from .plan import Plan
from .sheet import write_sheet
from .team import Stage, run_team
from .tokenizer import write_tokenizers
from .train_unet import train_unet
from .train_vae import train_decoder, train_vae


@dataclass(frozen=True)
class Step:
    """One stage, and how long it takes on two free cores."""

    name: str
    minutes: float
    run: Callable[[Plan], None]

    def mark(self, plan: Plan) -> Path:
        """The file in the work folder that says that the stage is done."""
        return plan.file(f"{self.name}.done")


def together(stage: Stage) -> Callable[[Plan], None]:
    """A stage that all workers run."""
    return partial(run_team, stage)


STEPS = (
    Step("draw", 1, together(draw_all)),
    Step("tokenizer", 0.1, write_tokenizers),
    Step("vae", 12, together(train_vae)),
    Step("encode", 2, together(encode_all)),
    Step("unet", 30, together(train_unet)),
    Step("decoder", 7, together(train_decoder)),
    Step("export", 0.1, export),
    Step("checker", 4, train_checker),
    Step("evaluate", 5, evaluate),
    Step("sheet", 0.5, write_sheet),
)


def main() -> None:
    """Runs the stages that are not done yet, or exactly those named."""
    arguments = _parser().parse_args()
    plan = Plan(**{field.name: getattr(arguments, field.name) for field in fields(Plan)})
    plan.work.mkdir(parents=True, exist_ok=True)
    steps = [step for step in STEPS if (step.name in arguments.stages if arguments.stages else not step.mark(plan).exists())]
    minutes = sum(step.minutes for step in steps)
    print(f"{len(steps)} stages to run, about {minutes:.0f} minutes on two free cores: {' '.join(step.name for step in steps)}", flush=True)
    for step in steps:
        start = time.monotonic()
        print(f"{step.name}: expected {step.minutes} min", flush=True)
        step.run(plan)
        step.mark(plan).touch()
        print(f"{step.name}: done in {(time.monotonic() - start) / 60:.1f} min", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tiny_sdxl", description=__doc__)
    parser.add_argument("--stages", nargs="*", choices=[step.name for step in STEPS], help="run only these, even if done")
    for field in fields(Plan):
        if field.type == "Path":
            parser.add_argument(f"--{field.name}", type=Path, required=True)
        else:
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    return parser


if __name__ == "__main__":
    main()
