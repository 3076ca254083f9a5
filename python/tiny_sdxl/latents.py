"""The latents of the training drawings: posterior means and deviations as float16, and the factor that gives them unit variance."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .drawing_set import load_drawings
from .model import LATENT_CHANNELS, LATENT_SIDE
from .plan import Plan
from .team import Team
from .vae_tools import load_vae, to_signed

ENCODED_AT_ONCE = 8
"""Few enough that the widest layer stays in the processor's cache: twice as fast as 50."""


@dataclass(frozen=True)
class Latents:
    """mean_NCHW and deviation_NCHW of each drawing; scaling is the VAE's scaling_factor."""

    mean_NCHW: Tensor
    deviation_NCHW: Tensor
    scaling: float

    @staticmethod
    def load(plan: Plan) -> Latents:
        """What encode_all has stored."""
        with np.load(plan.file("latents.npz")) as stored:
            return Latents(torch.from_numpy(stored["mean"]), torch.from_numpy(stored["deviation"]), float(stored["scaling"]))

    def sample(self, chosen: NDArray[np.int64]) -> Tensor:
        """Unscaled float32 latents (B, 4, 16, 16) of the chosen drawings, drawn from their posteriors."""
        mean_BCHW, deviation_BCHW = self.mean_NCHW[chosen].float(), self.deviation_NCHW[chosen].float()
        return mean_BCHW + deviation_BCHW * torch.randn_like(mean_BCHW)


@torch.no_grad()
def encode_all(plan: Plan, team: Team) -> None:
    """Encodes every training drawing, each worker its share; ends with latents.npz in the work folder."""
    vae, drawings = load_vae(plan, "vae"), load_drawings(plan)[team.rank :: team.size]
    means, deviations = [], []
    for start in range(0, len(drawings), ENCODED_AT_ONCE):
        posterior = vae.encode(to_signed(drawings[start : start + ENCODED_AT_ONCE])).latent_dist
        means.append(posterior.mean.half())
        deviations.append(posterior.std.half())
    np.savez(plan.file(f"latents.{team.rank}.npz"), mean=torch.cat(means).numpy(), deviation=torch.cat(deviations).numpy())
    team.wait()
    if team.leads:
        _merge(plan, team.size)


def _merge(plan: Plan, count: int) -> None:
    """Puts the workers' shares in the drawings' order and measures the scaling."""
    shape = (plan.pictures, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    mean_NCHW, deviation_NCHW = np.empty(shape, np.float16), np.empty(shape, np.float16)
    for rank in range(count):
        with np.load(plan.file(f"latents.{rank}.npz")) as part:
            mean_NCHW[rank::count], deviation_NCHW[rank::count] = part["mean"], part["deviation"]
    variance = mean_NCHW.astype(np.float32).var() + np.square(deviation_NCHW.astype(np.float32)).mean()
    path = plan.file("latents.tmp.npz")
    np.savez(path, mean=mean_NCHW, deviation=deviation_NCHW, scaling=float(variance) ** -0.5)
    os.replace(path, plan.file("latents.npz"))
    for rank in range(count):
        plan.file(f"latents.{rank}.npz").unlink()
