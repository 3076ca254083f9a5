"""Small modules as users write them, by seed: for tests of what comes out, and for the benchmark of what it costs."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn


def random_module(seed: int) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A small module as users write them, and its input."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    channels = draw.choice([3, 8, 16])
    if draw.random() < 0.5:
        layers: list[nn.Module] = []
        for _ in range(draw.randint(1, 4)):
            wider = draw.choice([4, 8, 12, 24])
            conv = nn.Conv2d(channels, wider, draw.choice([1, 3, 5]), stride=draw.choice([1, 1, 2]), padding=2, bias=draw.random() < 0.7)
            norm = draw.choice([nn.Identity(), nn.BatchNorm2d(wider), nn.GroupNorm(2, wider), nn.InstanceNorm2d(wider)])
            layers += [conv, norm, draw.choice([nn.ReLU(inplace=True), nn.SiLU(), nn.GELU()])]
            channels = wider
        head = draw.choice([nn.Identity(), nn.Flatten(), nn.AdaptiveAvgPool2d(1), nn.Dropout(0.5)])
        first, batch, side = layers[0].in_channels, draw.choice([1, 3]), draw.choice([8, 13])
        return nn.Sequential(*layers, head), lambda: torch.randn(batch, first, side, side)
    width = draw.choice([16, 32])
    kind = draw.choice(["mlp", "encoder", "gru", "embedding"])
    if kind == "encoder":
        return nn.TransformerEncoderLayer(width, 4, width * 2, batch_first=True), lambda: torch.randn(2, 7, width)
    if kind == "gru":
        return nn.GRU(width, width, batch_first=True), lambda: torch.randn(2, 5, width)
    if kind == "embedding":
        return nn.Sequential(nn.Embedding(50, width), nn.Linear(width, 9)), lambda: torch.randint(0, 50, (2, 6))
    blocks = [nn.Sequential(nn.Linear(width, width * 2), nn.LayerNorm(width * 2), nn.Tanh(), nn.Linear(width * 2, width)) for _ in range(2)]
    return nn.Sequential(*blocks), lambda: torch.randn(4, width)
