"""What every user of the VAE needs: loading it after a stage, and pixels as it takes them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .model import Vae, build_vae
from .plan import Plan


def load_vae(plan: Plan, name: str) -> Vae:
    """The VAE after the stage of that name."""
    vae = build_vae()
    vae.load_state_dict(torch.load(plan.file(f"{name}.pt")))
    return vae.eval()


def to_signed(pixels_BHWC: NDArray[np.uint8]) -> Tensor:
    """float32 (B, 3, H, W) in -1..1."""
    return torch.from_numpy(np.array(pixels_BHWC)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
