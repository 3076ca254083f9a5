"""Trains the UNet and both text encoders together, on the latents and on captions said anew at every step."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from .canvas import SIDE_PX
from .captions import caption
from .drawing_set import load_descriptions
from .latents import Latents
from .model import TIME_IDS, TOKENS, Unet, build_scheduler, build_text_encoders, build_unet
from .muon import Rates
from .pictures import Picture
from .plan import Plan
from .team import Team
from .trainee import Progress, Schedule, Trainee

UNET_RATES = Rates(2e-3, adamw_share=0.7)
BATCH = 32
WARMUP_STEPS = 100
CONSTANT_SHARE = 0.35
LONGEST_AVERAGE = 0.997
NOISE_TIMES = 1000
UNCAPTIONED_SHARE = 0.1
ODD_SIZES_SHARE = 0.2
"""Share of samples told another size than 128: the pipeline passes whatever size it is asked for."""


class Painter(nn.Module):
    """The UNet and the text encoders as one module: predicts velocities from noisy latents, times and token ids."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.text_encoder: CLIPTextModel
        self.text_encoder_2: CLIPTextModelWithProjection
        self.text_encoder, self.text_encoder_2 = build_text_encoders(vocabulary_size)
        self.unet: Unet = build_unet()
        self._end = vocabulary_size - 1

    def forward(self, noisy: Noisy, tokens_BT: Tensor, sizes_B6: Tensor) -> Tensor:
        """Velocities (B, 4, 16, 16); hidden states are taken one layer before the last, as the pipeline does."""
        text = self.text_encoder(tokens_BT, output_hidden_states=True)
        text_2 = self.text_encoder_2(padded_with_zero(tokens_BT, self._end), output_hidden_states=True)
        context_BTC = torch.cat([text.hidden_states[-2], text_2.hidden_states[-2]], dim=-1)
        added = {"text_embeds": text_2.text_embeds, "time_ids": sizes_B6}
        velocity: Tensor = self.unet(noisy.x_BCHW, noisy.times_B, encoder_hidden_states=context_BTC, added_cond_kwargs=added).sample
        return velocity


@dataclass(frozen=True)
class Noisy:
    """Latents with noise, the time of each, and the velocity the model should predict."""

    x_BCHW: Tensor
    times_B: Tensor
    velocity_BCHW: Tensor


class Captioner:
    """Token ids of freshly said captions."""

    def __init__(self, plan: Plan, pictures: list[Picture]) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(plan.file("tokenizer"))
        self._pictures = pictures

    def tokens(self, chosen: NDArray[np.int64], rng: random.Random) -> Tensor:
        """(B, 77) of the chosen pictures; a tenth are empty, for guidance."""
        texts = ["" if rng.random() < UNCAPTIONED_SHARE else caption(self._pictures[index], rng) for index in chosen]
        ids: Tensor = self.tokenizer(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids
        return ids


def train_unet(plan: Plan, team: Team) -> None:
    """Ends with painter.pt, the moving average of all three networks, in the work folder."""
    torch.manual_seed(plan.seed)
    captioner, latents = Captioner(plan, load_descriptions(plan)), Latents.load(plan)
    painter = Painter(len(captioner.tokenizer))
    # SDXL never reads the last layer of the first encoder: it gets no gradient.
    trainee = Trainee(painter, UNET_RATES, team, LONGEST_AVERAGE)
    trainee.restore(plan.file("unet.checkpoint"))
    schedule = Schedule(plan.unet_steps, WARMUP_STEPS, CONSTANT_SHARE)
    progress = Progress("unet", trainee, plan.unet_steps, plan.file("unet.checkpoint"))
    while trainee.step < plan.unet_steps:
        rng = np.random.default_rng((plan.seed, 2, trainee.step, team.rank))
        torch.manual_seed(int(rng.integers(2**62)))
        chosen = rng.integers(plan.pictures, size=BATCH)
        tokens_BT = captioner.tokens(chosen, random.Random(int(rng.integers(2**62))))
        noisy = add_noise(latents.sample(chosen) * latents.scaling)
        error_B = (painter(noisy, tokens_BT, _sizes()) - noisy.velocity_BCHW).square().mean((1, 2, 3))
        trainee.learn(error_B.mean(), schedule.scale(trainee.step))
        quarter = BATCH // 4
        progress.note(BATCH, loss=error_B.mean().item(), clear=error_B[:quarter].mean().item(), noisy=error_B[-quarter:].mean().item())
    if team.leads:
        trainee.save(plan.file("unet.checkpoint"))
        trainee.take_average()
        torch.save(painter.state_dict(), plan.file("painter.pt"))


def padded_with_zero(tokens_BT: Tensor, end: int) -> Tensor:
    """The second tokenizer's ids from the first's: everything after the first end mark becomes 0."""
    past_end_BT = (tokens_BT == end).int().cumsum(1) > 1
    return tokens_BT.masked_fill(past_end_BT, 0)


def add_noise(clean_BCHW: Tensor) -> Noisy:
    """Noise at times spread evenly over the batch, which makes the loss steadier than independent times."""
    count = len(clean_BCHW)
    times_B = ((torch.arange(count) + torch.rand(count)) / count * NOISE_TIMES).long()
    kept_B111 = _kept_variance()[times_B][:, None, None, None]
    noise_BCHW = torch.randn_like(clean_BCHW)
    signal, spread = kept_B111.sqrt(), (1 - kept_B111).sqrt()
    return Noisy(signal * clean_BCHW + spread * noise_BCHW, times_B, signal * noise_BCHW - spread * clean_BCHW)


@cache
def _kept_variance() -> Tensor:
    """Share of the signal's variance left at each of the 1000 times."""
    kept: Tensor = build_scheduler().alphas_cumprod
    return kept.float()


def _sizes() -> Tensor:
    """(B, 6): original size, crop corner, target size, in pixels."""
    sizes_B6 = torch.tensor([[SIDE_PX, SIDE_PX, 0, 0, SIDE_PX, SIDE_PX]]).repeat(BATCH, 1).float()
    odd = torch.rand(BATCH) < ODD_SIZES_SHARE
    random_B6 = torch.randint(8, 65, (BATCH, TIME_IDS)).float() * 8
    random_B6[:, 2:4] = 0
    return torch.where(odd[:, None], random_B6, sizes_B6)
