"""A denoiser as diffusers' are called, and calls of it that vary by seed: for tests of what comes out, and for the benchmark's count."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from flambeau.optimize.limits import Limits
from flambeau.optimize.registry import Registry
from torch import Tensor, nn

# With these, whatever is near enough is kept, also on a machine too busy to tell what is faster.
GENEROUS = Limits(min_gain=0, min_won=0, hopeless=0, max_pairs=1, min_pairs=1, sure_pairs=1, min_call_s=0)


class SmallUNet(nn.Module):
    """Convolutions, norms, linear layers and attention, called as diffusers' UNets are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 16, 3, padding=1)
        self.time = nn.Linear(8, 16)
        self.norm = nn.GroupNorm(4, 16)
        self.down = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.query = nn.Linear(16, 16)
        self.key_value = nn.Linear(12, 32)
        self.conv_out = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, sample, timestep, encoder_hidden_states, scale=1.0, return_dict=True):
        time = torch.as_tensor(timestep).reshape(-1, 1).to(sample) * torch.arange(1, 9, device=sample.device) * 1e-3
        x_BCHW = self.norm(self.conv_in(sample)) + self.time(time.sin())[..., None, None] * scale
        small = self.down(x_BCHW.relu())
        tokens = self.query(small.flatten(2).transpose(1, 2))
        keys, values = self.key_value(encoder_hidden_states).chunk(2, dim=-1)
        attended = nn.functional.scaled_dot_product_attention(tokens, keys, values).transpose(1, 2).reshape(small.shape)
        result = self.conv_out(nn.functional.interpolate(small + attended, size=x_BCHW.shape[-2:]) + x_BCHW)
        return {"sample": result} if return_dict else (result,)


@dataclass(frozen=True)
class Variation:
    """One call: what makes its arguments, so that each side gets its own, and the mode around it."""

    make: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]
    mode: Callable[[], AbstractContextManager[Any]]


def pick(draw: random.Random, usual: Any, others: list[Any]) -> Any:
    """Mostly what was measured, so that most calls differ from it in one or two things."""
    return usual if draw.random() < 0.9 else draw.choice(others)


def image(draw: random.Random) -> Tensor:
    batch, channels = pick(draw, 2, [0, 1, 3]), pick(draw, 4, [4, 3])
    height, width = pick(draw, 8, [1, 7, 9, 16]), pick(draw, 8, [1, 5, 9, 16])
    tensor = torch.randn(batch, channels, height, width)
    shape = pick(draw, "plain", ["channels_last", "transposed", "every second", "expanded", "offset", "unbatched", "a subclass"])
    if shape == "channels_last":
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    elif shape == "transposed":
        tensor = tensor.transpose(2, 3)
    elif shape == "every second":
        tensor = torch.randn(batch, channels, 2 * height, 2 * width)[..., ::2, ::2]
    elif shape == "expanded":
        tensor = torch.randn(1, channels, height, width).expand(max(batch, 1), -1, -1, -1)
    elif shape == "offset":
        tensor = torch.randn(batch, channels, height, width + 1)[..., 1:]
    elif shape == "unbatched":
        tensor = torch.randn(channels, height, width)
    dtype = pick(draw, torch.float32, [torch.float64, torch.float16, torch.bfloat16, torch.int64])
    tensor = tensor.to(dtype).requires_grad_(dtype.is_floating_point and draw.random() < 0.05)
    return nn.Parameter(tensor.detach()) if shape == "a subclass" and dtype.is_floating_point else tensor


def variation(seed: int) -> Variation:
    def make() -> tuple[tuple[Any, ...], dict[str, Any]]:
        draw = random.Random(seed)
        torch.manual_seed(seed)
        sample = image(draw)
        batch = sample.shape[0] if sample.dim() == 4 else 1
        timestep = pick(draw, torch.tensor(7.0), [torch.tensor(7), torch.tensor([7.0]), torch.full((batch,), 7.0), 7, 7.5, True, None])
        text = torch.randn(pick(draw, batch, [1]), pick(draw, 5, [6, 1]), 12).to(pick(draw, sample.dtype, [torch.float32]))
        arguments = {"sample": sample, "timestep": timestep, "encoder_hidden_states": text}
        if draw.random() < 0.2:
            arguments["scale"] = pick(draw, 1.0, [0.5, 2, torch.tensor(0.5)])
        if draw.random() < 0.2:
            arguments["return_dict"] = pick(draw, True, [False, 1, "no"])
        if draw.random() < 0.03:
            arguments["surprise"] = object()
        num_positional = draw.randint(0, 3)
        named = list(arguments.items())
        return tuple(value for _, value in named[:num_positional]), dict(named[num_positional:])

    modes = [torch.inference_mode, nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)]
    return Variation(make, pick(random.Random(-seed - 1), torch.no_grad, modes))


def outcome(module: nn.Module, call: Variation) -> Any:
    args, kwargs = call.make()
    try:
        with call.mode():
            output = module(*args, **kwargs)
    except Exception as error:
        return type(error), str(error)
    return output


def disagreement(got: Any, expected: Any) -> str | None:
    """What differs between two outcomes; values may by float32's rounding, or that of a shorter type."""
    if type(got) is not type(expected):
        return f"{type(got).__name__} instead of {type(expected).__name__}: {got}"
    if isinstance(got, tuple) and isinstance(got[0], type):
        return None if got == expected else f"{got} instead of {expected}"
    a, b = (value["sample"] if isinstance(value, dict) else value[0] for value in (got, expected))
    if (a.shape, a.dtype, a.stride(), a.requires_grad) != (b.shape, b.dtype, b.stride(), b.requires_grad):
        return f"{a.dtype}{list(a.shape)} {a.stride()} instead of {b.dtype}{list(b.shape)} {b.stride()}"
    allowed = 1e-5 if b.dtype in (torch.float32, torch.float64) else 1e-2
    return None if (a - b).norm() <= allowed * b.norm() else f"off by {float((a - b).norm() / b.norm()):.2g}"


def optimized_pair() -> tuple[nn.Module, nn.Module, Registry]:
    """The denoiser twice with the same weights, the second one measured on its usual calls."""
    torch.manual_seed(0)
    plain = SmallUNet().eval()
    fast, made = copy.deepcopy(plain), Registry(limits=GENEROUS)
    made.optimize(fast, quality="lossless")
    with torch.no_grad():
        for step in range(4):
            fast(torch.randn(2, 4, 8, 8), torch.tensor(9.0 - step), torch.randn(2, 5, 12))
    if not made.report(fast).applied:
        raise RuntimeError(f"nothing was applied: {made.report(fast)}")
    return plain, fast, made


def disagreements(plain: nn.Module, fast: nn.Module, num_calls: int) -> list[str]:
    """Of the calls 0 … num_calls - 1: those whose outcomes differ, and in what."""
    found = (
        (seed, disagreement(outcome(fast, call), outcome(plain, call))) for seed, call in ((n, variation(n)) for n in range(num_calls))
    )
    return [f"{seed}: {what}" for seed, what in found if what is not None]
