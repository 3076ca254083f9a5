"""Trains the VAE on crops that grow from 32 to 128 pixels, and later its decoder alone on the latents the UNet learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .canvas import SIDE_PX
from .drawing_set import load_drawings
from .latents import Latents
from .model import Vae, build_vae
from .muon import Rates
from .plan import Plan
from .team import Team
from .trainee import Progress, Schedule, Trainee
from .vae_tools import load_vae, to_signed

VAE_RATES = Rates(2.5e-3, momentum=0.9)
DECODER_RATES = Rates(6e-4)
DECODER_BATCH = 4
CROP_SPREAD_PX = 22
EDGE_GAIN = 6.0


@dataclass(frozen=True)
class CropPhase:
    """From this share of the steps on, crops of this side and number."""

    start: float
    side_px: int
    batch: int


PHASES = (CropPhase(0.88, 128, 2), CropPhase(0.5, 64, 6), CropPhase(0.0, 32, 14))
"""Small crops first: many of them fit into a step, and edges are learnt sooner."""


def train_vae(plan: Plan, team: Team) -> None:
    """Trains encoder and decoder; ends with vae.pt in the work folder."""
    torch.manual_seed(plan.seed)
    vae, drawings = build_vae(), load_drawings(plan)
    trainee = Trainee(vae, VAE_RATES, team, 0.998)
    trainee.restore(plan.file("vae.checkpoint"))
    schedule = Schedule(plan.vae_steps, 30)
    progress = Progress("vae", trainee, plan.vae_steps, plan.file("vae.checkpoint"))
    while trainee.step < plan.vae_steps:
        share = trainee.step / plan.vae_steps
        phase = next(phase for phase in PHASES if share >= phase.start)
        rng = np.random.default_rng((plan.seed, 1, trainee.step, team.rank))
        torch.manual_seed(int(rng.integers(2**62)))
        loss, figures = _vae_loss(vae, _crops(drawings, phase, rng), share)
        trainee.learn(loss, schedule.scale(trainee.step))
        progress.note(phase.batch, **figures)
    _finish(trainee, vae, plan, "vae")


def train_decoder(plan: Plan, team: Team) -> None:
    """Sharpens the decoder on whole pictures; the encoder, and so the latents, stay as they are. Ends with decoder.pt."""
    torch.manual_seed(plan.seed)
    vae, drawings, latents = load_vae(plan, "vae"), load_drawings(plan), Latents.load(plan)
    trainee = Trainee(nn.ModuleList([vae.decoder, vae.post_quant_conv]), DECODER_RATES, team, 0.99)
    trainee.restore(plan.file("decoder.checkpoint"))
    schedule = Schedule(plan.decoder_steps, 40)
    progress = Progress("decoder", trainee, plan.decoder_steps, plan.file("decoder.checkpoint"))
    while trainee.step < plan.decoder_steps:
        rng = np.random.default_rng((plan.seed, 3, trainee.step, team.rank))
        torch.manual_seed(int(rng.integers(2**62)))
        chosen = np.sort(rng.choice(plan.pictures, DECODER_BATCH, replace=False))
        z_BCHW = latents.sample(chosen)
        z_BCHW = z_BCHW + 0.03 * torch.randn_like(z_BCHW)
        x_BCHW = to_signed(drawings[chosen])
        y_BCHW = vae.decode(z_BCHW).sample
        difference, steepness = (y_BCHW - x_BCHW).abs(), gradient_error(y_BCHW, x_BCHW)
        loss = (difference * edge_weight(x_BCHW, 3.0)).mean() + 0.7 * steepness
        trainee.learn(loss, schedule.scale(trainee.step))
        progress.note(DECODER_BATCH, error=difference.mean().item(), edges=steepness.item())
    _finish(trainee, vae, plan, "decoder")


def gradient_error(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Mean difference of the steps between neighbouring pixels."""
    difference = a_BCHW - b_BCHW
    return (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean() + (difference[..., 1:] - difference[..., :-1]).abs().mean()


def edge_weight(x_BCHW: Tensor, most: float) -> Tensor:
    """1 in flat regions, up to 1 + most near edges: (B, 1, H, W)."""
    detail = (x_BCHW - F.avg_pool2d(x_BCHW, 5, 1, 2)).abs().mean(1, keepdim=True)
    return 1 + most * (F.avg_pool2d(detail, 3, 1, 1) * EDGE_GAIN).clamp(max=1)


def _vae_loss(vae: Vae, x_BCHW: Tensor, share: float) -> tuple[Tensor, dict[str, float]]:
    posterior = vae.encode(x_BCHW).latent_dist
    y_BCHW = vae.decode(posterior.sample()).sample
    error, weight, steepness = y_BCHW - x_BCHW, edge_weight(x_BCHW, 2.0), gradient_error(y_BCHW, x_BCHW)
    divergence = posterior.kl().mean() / posterior.mean[0].numel()
    # Three latent channels start as a thumbnail of the picture: without that the encoder finds colours very late.
    thumbnail = (posterior.mean[:, :3] - 2 * F.avg_pool2d(x_BCHW, 8)).square().mean()
    thumbnail_weight = max(0.02, 0.5 * (1 - share / 0.3))
    likeness = (error.abs() * weight).mean() + 0.5 * (weight * error.square()).mean() + 0.7 * steepness
    figures = {"error": error.abs().mean().item(), "edges": steepness.item(), "kl": divergence.item()}
    return likeness + 1e-3 * divergence + thumbnail_weight * thumbnail, figures


def _crops(drawings: NDArray[np.uint8], phase: CropPhase, rng: np.random.Generator) -> Tensor:
    """Crops near the centre, where the things are; half of them mirrored."""
    room, side, crops = SIDE_PX - phase.side_px, phase.side_px, []
    for index in rng.integers(len(drawings), size=phase.batch):
        y, x = np.clip(rng.normal(room / 2, CROP_SPREAD_PX, 2), 0, room).astype(int)
        crop = drawings[index, y : y + side, x : x + side]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return to_signed(np.stack(crops))


def _finish(trainee: Trainee, vae: Vae, plan: Plan, name: str) -> None:
    if trainee.team.leads:
        trainee.save(plan.file(f"{name}.checkpoint"))
        trainee.take_average()
        torch.save(vae.state_dict(), plan.file(f"{name}.pt"))
