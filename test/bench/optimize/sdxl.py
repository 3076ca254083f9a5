"""SDXL's UNet and VAE in their own sizes, with random weights: diffusers' where it is installed, else the same layers in plain torch,
called in the same way. A small one of the same make shows that a script runs.

Shapes: latents_BCHW, tokens_BLD.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Sizes:
    """Of a UNet with as many levels as there are channels; `depths` are transformer blocks of each attention."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    text_width: int
    pooled_width: int
    time_width: int
    vae_channels: tuple[int, ...]
    # Of the latents: an eighth of the picture's.
    side: int
    steps: int


FULL: Final = Sizes((320, 640, 1280), (0, 2, 10), 2048, 1280, 256, (128, 256, 512, 512), 128, 30)
SMALL: Final = Sizes((32, 64, 64), (0, 1, 2), 64, 32, 32, (32, 32, 64, 64), 16, 8)
_HEAD: Final = 64
_GROUPS: Final = 32


def make(sizes: Sizes) -> str:
    """Whose layers they are; the small ones are never diffusers', which takes long to import."""
    return "diffusers" if sizes == FULL and importlib.util.find_spec("diffusers") is not None else "plain torch"


def unet(sizes: Sizes) -> nn.Module:
    """Random weights, on torch's default device and in its default dtype."""
    if make(sizes) != "diffusers":
        return PlainUNet(sizes).eval()
    from diffusers import UNet2DConditionModel

    kinds = ["CrossAttn" if depth else "" for depth in sizes.depths]
    return UNet2DConditionModel(
        sample_size=sizes.side,
        block_out_channels=sizes.channels,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        transformer_layers_per_block=tuple(max(1, depth) for depth in sizes.depths),
        attention_head_dim=tuple(max(1, channels // _HEAD) for channels in sizes.channels),
        cross_attention_dim=sizes.text_width,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=sizes.time_width,
        projection_class_embeddings_input_dim=sizes.pooled_width + 6 * sizes.time_width,
    ).eval()


def vae(sizes: Sizes) -> nn.Module:
    """Likewise; only its decoder is called."""
    if make(sizes) != "diffusers":
        return PlainVae(sizes).eval()
    from diffusers import AutoencoderKL

    levels = len(sizes.vae_channels)
    return AutoencoderKL(
        block_out_channels=sizes.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=2,
        latent_channels=4,
        sample_size=sizes.side * 8,
    ).eval()


class Resnet(nn.Module):
    """Two convolutions around a shortcut, with the time added between them."""

    def __init__(self, channels: int, wider: int, time: int | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(_GROUPS, channels), nn.GroupNorm(_GROUPS, wider)
        self.conv1, self.conv2 = nn.Conv2d(channels, wider, 3, padding=1), nn.Conv2d(wider, wider, 3, padding=1)
        self.time_emb_proj = None if time is None else nn.Linear(time, wider)
        self.conv_shortcut = nn.Conv2d(channels, wider, 1) if channels != wider else nn.Identity()

    def forward(self, x_BCHW: Tensor, time_BD: Tensor | None = None) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(x_BCHW)))
        if self.time_emb_proj is not None and time_BD is not None:
            inner = inner + self.time_emb_proj(F.silu(time_BD))[:, :, None, None]
        return self.conv_shortcut(x_BCHW) + self.conv2(F.silu(self.norm2(inner)))


class Attention(nn.Module):
    """Of tokens to themselves, or to the text's."""

    def __init__(self, width: int, other: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = nn.Linear(width, width, bias=False), *(nn.Linear(other, width, bias=False) for _ in range(2))
        self.to_out = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, text_BTD: Tensor | None = None) -> Tensor:
        other = x_BLD if text_BTD is None else text_BTD
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(x_BLD), self.to_k(other), self.to_v(other)))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer block with a gated feed-forward part."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        heads = max(1, width // _HEAD)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1, self.attn2 = Attention(width, width, heads), Attention(width, text, heads)
        self.ff_in, self.ff_out = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x_BLD: Tensor, text_BTD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.attn1(self.norm1(x_BLD))
        x_BLD = x_BLD + self.attn2(self.norm2(x_BLD), text_BTD)
        inner, gate = self.ff_in(self.norm3(x_BLD)).chunk(2, -1)
        return x_BLD + self.ff_out(inner * F.gelu(gate))


class Transformer(nn.Module):
    """Blocks on the places of an image."""

    def __init__(self, width: int, text: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width, text) for _ in range(depth))

    def forward(self, x_BCHW: Tensor, text_BTD: Tensor) -> Tensor:
        x_BLD = self.proj_in(self.norm(x_BCHW).flatten(2).transpose(1, 2))
        for block in self.blocks:
            x_BLD = block(x_BLD, text_BTD)
        return x_BCHW + self.proj_out(x_BLD).transpose(1, 2).unflatten(2, x_BCHW.shape[2:])


class Stage(nn.Module):
    """A Resnet and, where the level has attention, a transformer after it."""

    def __init__(self, sizes: tuple[int, int, int], text: int, depth: int) -> None:
        super().__init__()
        self.resnet = Resnet(*sizes)
        self.transformer = Transformer(sizes[1], text, depth) if depth else None

    def forward(self, x_BCHW: Tensor, time_BD: Tensor, text_BTD: Tensor) -> Tensor:
        x_BCHW = self.resnet(x_BCHW, time_BD)
        return x_BCHW if self.transformer is None else self.transformer(x_BCHW, text_BTD)


class PlainUNet(nn.Module):
    """See the head of this file."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        channels, text, time = sizes.channels, sizes.text_width, 4 * sizes.channels[0]
        self.time_embedding = nn.Sequential(nn.Linear(channels[0], time), nn.SiLU(), nn.Linear(time, time))
        self.add_embedding = nn.Sequential(nn.Linear(sizes.pooled_width + 6 * sizes.time_width, time), nn.SiLU(), nn.Linear(time, time))
        self.conv_in = nn.Conv2d(4, channels[0], 3, padding=1)
        self.down, self.halves, held, last = nn.ModuleList(), nn.ModuleList(), [channels[0]], channels[0]
        for level, (wide, depth) in enumerate(zip(channels, sizes.depths, strict=True)):
            for _ in range(2):
                self.down.append(Stage((last, wide, time), text, depth))
                held.append(wide)
                last = wide
            if level < len(channels) - 1:
                self.halves.append(nn.Conv2d(wide, wide, 3, stride=2, padding=1))
                held.append(wide)
        self.middle = Stage((last, last, time), text, sizes.depths[-1])
        self.middle_out = Resnet(last, last, time)
        self.up, self.doubles = nn.ModuleList(), nn.ModuleList()
        for level, (wide, depth) in enumerate(zip(reversed(channels), reversed(sizes.depths), strict=True)):
            for _ in range(3):
                self.up.append(Stage((last + held.pop(), wide, time), text, depth))
                last = wide
            if level < len(channels) - 1:
                self.doubles.append(nn.Conv2d(wide, wide, 3, padding=1))
        self.conv_norm_out, self.conv_out = nn.GroupNorm(_GROUPS, last), nn.Conv2d(last, 4, 3, padding=1)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        timestep_cond: None = None,
        cross_attention_kwargs: None = None,
        added_cond_kwargs: Mapping[str, Tensor] | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """As diffusers' UNet2DConditionModel is called by SDXL's pipeline."""
        added = added_cond_kwargs or {}
        time = self.time_embedding(waves(timestep.expand(len(sample)), self.sizes.channels[0]).to(sample.dtype))
        places = waves(added["time_ids"].flatten(), self.sizes.time_width).view(len(sample), -1).to(sample.dtype)
        time = time + self.add_embedding(torch.cat([added["text_embeds"], places], -1))
        x, held = self.conv_in(sample), []
        held.append(x)
        for index, stage in enumerate(self.down):
            x = stage(x, time, encoder_hidden_states)
            held.append(x)
            if index % 2 and index // 2 < len(self.halves):
                x = self.halves[index // 2](x)
                held.append(x)
        x = self.middle_out(self.middle(x, time, encoder_hidden_states), time)
        for index, stage in enumerate(self.up):
            x = stage(torch.cat([x, held.pop()], 1), time, encoder_hidden_states)
            if index % 3 == 2 and index // 3 < len(self.doubles):
                x = self.doubles[index // 3](F.interpolate(x, scale_factor=2.0))
        return (self.conv_out(F.silu(self.conv_norm_out(x))),)


class PlainDecoder(nn.Module):
    """Latents to a picture of eight times their side."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        last = channels[-1]
        self.conv_in = nn.Conv2d(4, last, 3, padding=1)
        self.middle = nn.ModuleList([Resnet(last, last, None), Resnet(last, last, None)])
        self.norm, self.attention = nn.GroupNorm(_GROUPS, last), Attention(last, last, 1)
        self.resnets, self.doubles = nn.ModuleList(), nn.ModuleList()
        for level, wide in enumerate(reversed(channels)):
            for _ in range(3):
                self.resnets.append(Resnet(last, wide, None))
                last = wide
            if level < len(channels) - 1:
                self.doubles.append(nn.Conv2d(wide, wide, 3, padding=1))
        self.conv_norm_out, self.conv_out = nn.GroupNorm(_GROUPS, last), nn.Conv2d(last, 3, 3, padding=1)

    def forward(self, latents_BCHW: Tensor) -> Tensor:
        x = self.middle[0](self.conv_in(latents_BCHW))
        tokens_BLD = self.norm(x).flatten(2).transpose(1, 2)
        x = self.middle[1](x + self.attention(tokens_BLD).transpose(1, 2).unflatten(2, x.shape[2:]))
        for index, resnet in enumerate(self.resnets):
            x = resnet(x)
            if index % 3 == 2 and index // 3 < len(self.doubles):
                x = self.doubles[index // 3](F.interpolate(x, scale_factor=2.0))
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class PlainVae(nn.Module):
    """Of diffusers' AutoencoderKL, what decodes."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = nn.Conv2d(4, 4, 1), PlainDecoder(sizes.vae_channels)

    def forward(self, z: Tensor) -> Tensor:
        return self.decode(z)[0]

    def decode(self, z: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        """As pipelines call it."""
        return (self.decoder(self.post_quant_conv(z)),)


def waves(numbers_B: Tensor, width: int) -> Tensor:
    """Cosines and sines of each number, in float32."""
    rates = torch.exp(-math.log(10000) / (width // 2) * torch.arange(width // 2, dtype=torch.float32, device=numbers_B.device))
    angles = numbers_B.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


def conditions(sizes: Sizes, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What a picture is asked for with, twice: without and with a prompt."""
    g = torch.Generator().manual_seed(5)
    text, pooled = torch.randn(2, 77, sizes.text_width, generator=g), torch.randn(2, sizes.pooled_width, generator=g)
    side = sizes.side * 8.0
    time_ids = torch.tensor([[side, side, 0.0, 0.0, side, side]]).repeat(2, 1)
    placed = [tensor.to(device, dtype) for tensor in (text, pooled, time_ids)]
    return {"encoder_hidden_states": placed[0], "added_cond_kwargs": {"text_embeds": placed[1], "time_ids": placed[2]}}
