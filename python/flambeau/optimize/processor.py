"""What this machine's processor computes well: asked of the processor, then measured. Knows no modules."""

from __future__ import annotations

import time
from typing import Any

import torch

_NATIVE_BFLOAT16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
_SIDE = 512
_RUNS = 5
_MIN_RATIO = 1.3


def bfloat16_refusal() -> str | None:
    """Why bfloat16 is no gain on this CPU, or None. Without native instructions it is 7 to 90 times slower than float32."""
    if not any(_has(name) for name in _NATIVE_BFLOAT16):
        return "this CPU does not compute bfloat16 natively; one with AVX512_BF16 or AMX would"
    ratio = _matmul_s(torch.float32) / _matmul_s(torch.bfloat16)
    return None if ratio >= _MIN_RATIO else f"bfloat16 multiplies matrices at {ratio:.1f}x of float32 here; {_MIN_RATIO}x would do"


def onednn_refusal() -> str | None:
    """Why layers cannot be packed for oneDNN, or None."""
    mkldnn: Any = torch.backends.mkldnn
    if not mkldnn.is_available():
        return "this build of torch has no oneDNN; the CPU wheels for x86 have it"
    names = ("_convolution_pointwise", "_linear_pointwise", "_reorder_linear_weight")
    missing = [name for name in names if not hasattr(torch.ops.mkldnn, name)]
    return f"this version of torch has no mkldnn::{missing[0]}; 2.2 and later have it" if missing else None


def _has(name: str) -> bool:
    flag: Any = getattr(torch.cpu, name, None)
    return flag is not None and bool(flag())


def _matmul_s(dtype: torch.dtype) -> float:
    """The fastest of a few products, in seconds."""
    with torch.inference_mode(False), torch.no_grad():
        a = torch.ones(_SIDE, _SIDE, dtype=dtype)
        times = []
        for _ in range(_RUNS):
            before = time.perf_counter()
            a @ a
            times.append(time.perf_counter() - before)
    return min(times)
