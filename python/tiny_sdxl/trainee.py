"""A module in training: its optimizer, its moving average, its checkpoints, and the line that tells how far it is."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .muon import Muon, Rates
from .team import Team

SECONDS_BETWEEN_CHECKPOINTS = 120
STEPS_BETWEEN_LINES = 50
LONGEST_GRADIENT = 1.0
FINAL_RATE_SHARE = 0.03


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, a constant part, then a cosine down to a small share of the rate."""

    steps: int
    warmup_steps: int
    constant_share: float = 0.0

    def scale(self, step: int) -> float:
        """The factor on the learning rate at a step."""
        progress = max(0.0, (step / self.steps - self.constant_share) / (1 - self.constant_share))
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return min(1.0, (step + 1) / self.warmup_steps) * (cosine * (1 - FINAL_RATE_SHARE) + FINAL_RATE_SHARE)


class Trainee:
    """Runs optimizer steps for a module and keeps the moving average of its weights."""

    def __init__(self, module: nn.Module, rates: Rates, team: Team, longest_average: float) -> None:
        self.module, self.team, self.step = module, team, 0
        self._longest_average = longest_average
        self._weights = [weight for weight in module.parameters() if weight.requires_grad]
        self._optimizer = Muon([(name, weight) for name, weight in module.named_parameters() if weight.requires_grad], rates)
        self._average = [weight.detach().clone() for weight in self._weights]

    def learn(self, loss: Tensor, scale: float) -> None:
        """One step down the gradient of the team's mean loss."""
        self.module.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        grads = [weight.grad for weight in self._weights if weight.grad is not None]
        self.team.average_(grads)
        length = torch.stack(torch._foreach_norm(grads)).norm().item()
        if not math.isfinite(length):
            raise FloatingPointError(f"the gradient of step {self.step} is not finite")
        torch._foreach_mul_(grads, min(1.0, LONGEST_GRADIENT / (length + 1e-6)))
        self._optimizer.step(scale)
        self.step += 1
        if self.team.leads:
            keep = min(self._longest_average, (self.step + 1) / (self.step + 12))
            torch._foreach_lerp_(self._average, [weight.detach() for weight in self._weights], 1 - keep)

    def save(self, path: Path) -> None:
        """Writes a checkpoint in one move."""
        state = {
            "step": self.step,
            "weights": self._weights,
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def restore(self, path: Path) -> None:
        """Continues from a checkpoint where there is one."""
        if not path.exists():
            return
        state = torch.load(path)
        self._fill(state["weights"])
        self._average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def take_average(self) -> None:
        """Puts the moving average in place of the weights."""
        self._fill(self._average)

    @torch.no_grad()
    def _fill(self, values: list[Tensor]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.copy_(value)


class Progress:
    """Prints a line every few steps: means of the figures, samples a second, minutes left."""

    def __init__(self, name: str, trainee: Trainee, steps: int, checkpoint: Path) -> None:
        self._name, self._trainee, self._steps, self._checkpoint = name, trainee, steps, checkpoint
        self._sums: dict[str, float] = {}
        self._since = self._saved = time.monotonic()
        self._count = self._samples = 0

    def note(self, samples: int, **figures: float) -> None:
        """Counts one step of this process; saves and prints when it is time."""
        self._count += 1
        self._samples += samples * self._trainee.team.size
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if not self._trainee.team.leads:
            return
        now = time.monotonic()
        if now - self._saved > SECONDS_BETWEEN_CHECKPOINTS:
            self._trainee.save(self._checkpoint)
            self._saved = now
        if self._trainee.step % STEPS_BETWEEN_LINES == 0:
            self._print(now)

    def _print(self, now: float) -> None:
        step, seconds = self._trainee.step, now - self._since
        means = "  ".join(f"{name} {total / self._count:.4f}" for name, total in self._sums.items())
        left_min = (self._steps - step) * seconds / self._count / 60
        rate = self._samples / seconds
        print(f"{self._name} {step}/{self._steps}  {means}  {rate:.1f} samples/s  {left_min:.1f} min left", flush=True)
        self._sums, self._count, self._samples, self._since = {}, 0, 0, now
