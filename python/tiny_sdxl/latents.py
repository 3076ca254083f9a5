"""The latents of the training drawings: posterior means and deviations as float16, and the factor that gives them unit variance."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .plan import Plan

ENCODED_AT_ONCE = 50


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
def encode_all(plan: Plan) -> None:
    """Encodes every training drawing; ends with latents.npz in the work folder."""
    from .drawing_set import load_drawings
    from .train_vae import load_vae, to_signed

    torch.set_num_threads(1)
    vae, drawings = load_vae(plan, "vae"), load_drawings(plan)
    means, deviations = [], []
    for start in range(0, len(drawings), ENCODED_AT_ONCE):
        posterior = vae.encode(to_signed(drawings[start : start + ENCODED_AT_ONCE])).latent_dist
        means.append(posterior.mean.half())
        deviations.append(posterior.std.half())
    mean_NCHW, deviation_NCHW = torch.cat(means), torch.cat(deviations)
    variance = mean_NCHW.float().var() + deviation_NCHW.float().square().mean()
    path = plan.file("latents.tmp.npz")
    np.savez(path, mean=mean_NCHW.numpy(), deviation=deviation_NCHW.numpy(), scaling=float(variance.rsqrt()))
    os.replace(path, plan.file("latents.npz"))
