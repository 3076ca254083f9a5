"""Rows of numbers as 8-bit codes with a scale each, in one pass: a Triton kernel, as torch would take four. Knows no layers."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

_WIDEST: Final = 1 << 14
_LEAST: Final = 1e-12


def takes(x_BD: Tensor) -> bool:
    """Whether these rows can be coded here."""
    return (x_BD.is_cuda or _is_interpreted()) and x_BD.is_contiguous() and 0 < x_BD.shape[1] <= _WIDEST and _triton() is not None


def coded(x_BD: Tensor, dtype: torch.dtype, most: float) -> tuple[Tensor, Tensor]:
    """Codes of the same shape, and scales of shape [B, 1] in float32."""
    from . import rows_kernel

    num_rows, width = x_BD.shape
    codes = torch.empty_like(x_BD, dtype=dtype)
    scales = torch.empty(num_rows, 1, dtype=torch.float32, device=x_BD.device)
    block = 1 << (width - 1).bit_length()
    launch: Any = rows_kernel.code_row[(num_rows,)]
    launch(x_BD, codes, scales, width, most, _LEAST, IS_FLOAT=dtype.is_floating_point, BLOCK=block, num_warps=4 if block <= 2048 else 8)
    return codes, scales


@cache
def _triton() -> ModuleType | None:
    try:
        import triton
    except ImportError:
        return None
    found: ModuleType = triton
    return found


def _is_interpreted() -> bool:
    """Triton's own interpreter runs kernels without a GPU, for tests."""
    found: Any = _triton()
    return found is not None and bool(getattr(getattr(found, "knobs", None), "runtime", None) and found.knobs.runtime.interpret)
