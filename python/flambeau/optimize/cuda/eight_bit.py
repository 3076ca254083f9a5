"""Linear layers in 8 bits on a GPU's matrix units: FP8 or integers, weights by output channel, activations at each call. Plain torch.
Knows one layer at a time.

Shapes: x_BD rows of features (any number of leading dimensions), codes_BD, scale_B1 and scale_1O of rows and of output channels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from .copies import CopiedKernel

_FLOAT8: Final = torch.float8_e4m3fn
_FLOAT8_MAX: Final = 448.0
_INT8_MAX: Final = 127.0
_LEAST: Final = 1e-12
# Fewer rows than this torch._int_mm does not take.
_LEAST_ROWS: Final = 17

# Codes of rows, and the scale of each.
Coding = Callable[[Tensor, torch.dtype, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Coded:
    """A weight as codes, and its scales in float32."""

    codes_OI: Tensor
    scale_1O: Tensor

    def numel(self) -> int:
        """As of a tensor."""
        return self.codes_OI.numel() + 4 * self.scale_1O.numel()

    def element_size(self) -> int:
        """As of a tensor."""
        return 1


def code_rows(x_BD: Tensor, dtype: torch.dtype, most: float) -> tuple[Tensor, Tensor]:
    """Each row in its own range, in several passes over it."""
    scale_B1 = x_BD.abs().amax(1, keepdim=True).float().clamp_(min=_LEAST).div_(most)
    return _codes(x_BD.float() / scale_B1, dtype, most), scale_B1


def code_whole(x_BD: Tensor, dtype: torch.dtype, most: float) -> tuple[Tensor, Tensor]:
    """All rows in one range."""
    scale = x_BD.abs().amax().float().clamp_(min=_LEAST).div_(most)
    return _codes(x_BD.float() / scale, dtype, most), scale


def code_rows_at_once(x_BD: Tensor, dtype: torch.dtype, most: float) -> tuple[Tensor, Tensor]:
    """As `code_rows`, in one pass, where Triton is there and the rows lie one after the other."""
    from . import rows

    return rows.coded(x_BD, dtype, most) if rows.takes(x_BD) else code_rows(x_BD, dtype, most)


def _codes(scaled: Tensor, dtype: torch.dtype, most: float) -> Tensor:
    # What rounding carries over the edge would be NaN in FP8.
    scaled = scaled.clamp_(-most, most)
    return scaled.to(dtype) if dtype.is_floating_point else scaled.round_().to(dtype)


class EightBitLinear(CopiedKernel):
    """A linear layer on 8-bit codes."""

    dtype8: torch.dtype
    most: float
    least_rows = 1
    coding: Callable[[], Coding] = staticmethod(lambda: code_rows_at_once)

    def _accepts(self, x_BD: Tensor) -> bool:
        return x_BD.dim() >= 2 and x_BD.numel() >= self.least_rows * x_BD.shape[-1] > 0

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Any:
        codes_OI, scale_O1 = code_rows(weight, self.dtype8, self.most)
        return Coded(codes_OI.contiguous(), scale_O1.t().contiguous())

    def _compute(self, x_BD: Tensor, bias: Tensor | None) -> Tensor:
        rows = x_BD.reshape(-1, x_BD.shape[-1])
        codes, scale = self.coding()(rows, self.dtype8, self.most)
        return self._multiply(codes, scale, bias).reshape(*x_BD.shape[:-1], -1)

    @abstractmethod
    def _multiply(self, codes_BD: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor: ...


class Float8ByRow(EightBitLinear):
    """See EightBitLinear."""

    dtype8, most = _FLOAT8, _FLOAT8_MAX

    def _multiply(self, codes_BD: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        w: Coded = self._prepared
        return torch._scaled_mm(
            codes_BD, w.codes_OI.t(), scale_a=scale, scale_b=w.scale_1O, bias=bias, out_dtype=self.dtype, use_fast_accum=True
        )


class Float8Whole(EightBitLinear):
    """One range for all activations and one for all weights: what every GPU with FP8 takes."""

    dtype8, most = _FLOAT8, _FLOAT8_MAX
    coding = staticmethod(lambda: code_whole)

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Any:
        codes_OI, scale = code_whole(weight, self.dtype8, self.most)
        return Coded(codes_OI.contiguous(), scale)

    def _multiply(self, codes_BD: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        w: Coded = self._prepared
        return torch._scaled_mm(
            codes_BD, w.codes_OI.t(), scale_a=scale, scale_b=w.scale_1O, bias=bias, out_dtype=self.dtype, use_fast_accum=True
        )


class Int8ByRow(EightBitLinear):
    """See EightBitLinear."""

    dtype8, most, least_rows = torch.int8, _INT8_MAX, _LEAST_ROWS

    def _multiply(self, codes_BD: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        w: Coded = self._prepared
        sums = torch._int_mm(codes_BD, w.codes_OI.t())
        output = (sums * scale).mul_(w.scale_1O).to(self.dtype)
        return output if bias is None else output.add_(bias)
