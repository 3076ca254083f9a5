"""Layers in 8-bit integers: weights by output channel, activations by tensor, products summed in oneDNN. Knows one layer at a time.

A processor without VNNI sums each product pair of neighbouring input channels in 16 bits and saturates there. Instead of
giving up a bit of every activation, weights are scaled so that no such pair can reach the bound (see quantize_weight).
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .kernels import WeightKernel
from .stamp import version

_LEVELS = 255
_WEIGHT_MAX = 127
# 255 * 128 fits 16 signed bits; rounding may add one to a pair of 127.
_PAIR_MAX = 127
# Weights are rounded in blocks of so many numbers, which stay in the processor's cache.
_BLOCK = 1 << 16
# Scales of a layer's weights that change by more (relative L2) are another model's; a LoRA changes them by a few percent.
_STALE = 0.1


@dataclass(frozen=True)
class Steps:
    """How numbers map to 0 … 255: `x ≈ (code - zero_point) * scale`. Zero is exact, as padding needs it."""

    scale: float
    zero_point: int

    @staticmethod
    def over(low: float, high: float) -> Steps:
        """For numbers in a range, which is widened to hold 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / _LEVELS, 1e-30)
        return Steps(scale, min(_LEVELS, max(0, round(-low / scale))))

    @staticmethod
    def of(x: Tensor) -> Steps:
        """For exactly the range of these numbers."""
        low, high = torch.aminmax(x)
        return Steps.over(float(low), float(high))


@dataclass(frozen=True)
class Packed:
    """A weight in oneDNN's blocks, its scale for each output channel (float32) and zero points, which are 0."""

    codes: Tensor
    scales_O: Tensor
    zeros_O: Tensor

    def numel(self) -> int:
        """As of a tensor."""
        return self.codes.numel() + 8 * self.scales_O.numel()

    def element_size(self) -> int:
        """As of a tensor."""
        return 1


def quantize(x: Tensor, steps: Steps) -> Tensor:
    """Codes of x as uint8, in x's own memory order."""
    with_scale = torch.quantize_per_tensor(x, steps.scale, steps.zero_point, torch.quint8)
    # `int_repr` would copy, which takes six times as long as the quantizing.
    return torch.empty(0, dtype=torch.uint8).set_(with_scale.untyped_storage(), 0, with_scale.shape, with_scale.stride())


def quantize_weight(weight_OI: Tensor, saturates: bool) -> tuple[Tensor, Tensor]:
    """Codes in -127 … 127 and the scale of each output channel. Dimension 1 holds the input channels.

    `saturates`: scales such that |a + b| <= 128 for the codes of input channels 2k and 2k + 1, which no activation can overflow.
    """
    codes = torch.empty(weight_OI.shape, dtype=torch.int8)
    scales_O = torch.empty(weight_OI.shape[0])
    num_rows = max(1, _BLOCK // max(1, weight_OI[0].numel()))
    even = weight_OI.shape[1] // 2 * 2 if saturates else 0
    # Fresh memory for each step of each block would cost more than the arithmetic.
    room = torch.empty((num_rows, *weight_OI.shape[1:]))
    room_of_pairs = torch.empty((num_rows, even // 2, *weight_OI.shape[2:]))
    for block, into, scales in zip(*(torch.split(tensor, num_rows) for tensor in (weight_OI, codes, scales_O)), strict=True):
        scratch, pairs = room[: len(block)], room_of_pairs[: len(block)]
        torch.amax(torch.abs(block, out=scratch).flatten(1), 1, out=scales).div_(_WEIGHT_MAX)
        if even:
            torch.add(block[:, 0:even:2], block[:, 1:even:2], out=pairs).abs_()
            torch.maximum(scales, pairs.flatten(1).amax(1) / _PAIR_MAX, out=scales)
        scales.clamp_(min=1e-30)
        into.copy_(torch.div(block, scales.view(-1, *[1] * (block.dim() - 1)), out=scratch).round_())
    return codes, scales_O


class Group:
    """What the 8-bit layers of one module share: the codes of the last input, as queries, keys and values have the same one.

    `are_steps_stale`: weights have changed so much that what was seen of activations no longer holds.
    """

    def __init__(self) -> None:
        self.are_steps_stale = False
        self._last: tuple[weakref.ref[Tensor], int, Steps, Tensor] | None = None

    def codes(self, x: Tensor, steps: Steps) -> Tensor:
        """Those of `quantize`."""
        last, edits = self._last, version(x)
        if last is not None and last[0]() is x and last[1] == edits != -1 and last[2] == steps:
            return last[3]
        codes = quantize(x, steps)
        self._last = weakref.ref(x), edits, steps, codes
        return codes


class Int8Kernel(WeightKernel):
    """A layer on 8-bit codes. Without steps, each call finds the range of its own input (dynamic)."""

    def __init__(self, layer: nn.Module, steps: Steps | None = None, group: Group | None = None) -> None:
        super().__init__(layer, torch.float32)
        self.steps = steps
        self.correction_O: Tensor | None = None
        # Of the input for which the weight was packed.
        self.shape: tuple[int, ...] = ()
        self._group = group or Group()

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Packed:
        self.shape = tuple(shape)
        codes, scales_O = quantize_weight(weight, pairs_saturate())
        if self._prepared is not None:
            before_O = self._prepared.scales_O
            self.correction_O = None
            if float((scales_O - before_O).norm()) > _STALE * float(before_O.norm()):
                self._group.are_steps_stale = True
        return Packed(self._reorder(codes, scales_O, shape), scales_O, torch.zeros(len(scales_O), dtype=torch.int32))

    def _compute(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x = self._arranged(x)
        steps = self.steps if self.steps is not None and not self._group.are_steps_stale else Steps.of(x)
        if self.correction_O is not None:
            bias = self.correction_O if bias is None else bias + self.correction_O
        return self._multiply(self._group.codes(x, steps), steps, bias)

    def _reorder(self, codes: Tensor, scales_O: Tensor, shape: Sequence[int]) -> Tensor:
        raise NotImplementedError

    def _arranged(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _multiply(self, codes: Tensor, steps: Steps, bias: Tensor | None) -> Tensor:
        raise NotImplementedError


class Int8Linear(Int8Kernel):
    """See Int8Kernel."""

    def _accepts(self, x_BD: Tensor) -> bool:
        return x_BD.dim() >= 2 and x_BD.numel() > 0

    def _reorder(self, codes: Tensor, scales_O: Tensor, shape: Sequence[int]) -> Tensor:
        packed: Tensor = torch.ops.onednn.qlinear_prepack(codes, None)
        return packed

    def _arranged(self, x: Tensor) -> Tensor:
        return x.contiguous()

    def _multiply(self, codes: Tensor, steps: Steps, bias: Tensor | None) -> Tensor:
        w: Packed = self._prepared
        output: Tensor = torch.ops.onednn.qlinear_pointwise(
            codes, steps.scale, steps.zero_point, w.codes, w.scales_O, w.zeros_O, bias, 1.0, 0, torch.float32, "none", [], ""
        )
        return output


class Int8Conv(Int8Kernel):
    """See Int8Kernel; computes in NHWC."""

    def _accepts(self, x_NCHW: Tensor) -> bool:
        return x_NCHW.dim() == 4 and x_NCHW.numel() > 0

    def _reorder(self, codes: Tensor, scales_O: Tensor, shape: Sequence[int]) -> Tensor:
        c = self.layer
        zero_point = 0 if self.steps is not None and self.steps.zero_point == 0 else 1
        packed: Tensor = torch.ops.onednn.qconv_prepack(
            codes, scales_O, 1.0, zero_point, c.stride, c.padding, c.dilation, c.groups, list(shape)
        )
        return packed

    def _arranged(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    def _multiply(self, codes: Tensor, steps: Steps, bias: Tensor | None) -> Tensor:
        w, c = self._prepared, self.layer
        output: Tensor = torch.ops.onednn.qconv_pointwise(
            *(codes, steps.scale, steps.zero_point, w.codes, w.scales_O, w.zeros_O, bias),
            *(c.stride, c.padding, c.dilation, c.groups, 1.0, 0, torch.float32, "none", [], ""),
        )
        return output


@cache
def pairs_saturate() -> bool:
    """Whether this processor's 8-bit products saturate in pairs: asked of a layer whose result shows it, so that settings count too."""
    layer = nn.Linear(64, 64, bias=False)
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # torch announces the end of quantize_per_tensor at its first use; int8_refusal says so when it has come.
        warnings.simplefilter("ignore")
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
        codes = torch.full((64, 64), _WEIGHT_MAX, dtype=torch.int8)
        kernel = Int8Linear(layer)
        kernel._prepared = Packed(kernel._reorder(codes, torch.ones(64), (64, 64)), torch.ones(64), torch.zeros(64, dtype=torch.int32))
        sums = kernel._multiply(torch.full((64, 64), _LEVELS, dtype=torch.uint8), Steps(1.0, 0), None)
    return bool((sums != 64.0 * _LEVELS * _WEIGHT_MAX).any())


def int8_refusal() -> str | None:
    """Why layers cannot compute in 8 bits here, or None."""
    onednn: Any = torch.ops.onednn
    names = ("qlinear_prepack", "qlinear_pointwise", "qconv_prepack", "qconv_pointwise")
    missing = [name for name in names if not hasattr(onednn, name)]
    if missing:
        return f"this build of torch has no onednn::{missing[0]}; the CPU wheels of torch 2.13 for x86 have it"
    return None if hasattr(torch, "quantize_per_tensor") else "this version of torch has no quantize_per_tensor; 2.13 has it"
