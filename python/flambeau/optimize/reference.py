"""What a module in half precision would give without its rounding: the outputs of a float32 twin. Knows calls, no candidates."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .calls import tree
from .calls.capture import Call
from .memory import memory_refusal

_HALVES = (torch.float16, torch.bfloat16)
# Copying and widening weights, slower than any machine that this was measured on; a GPU reads 5e11 and more.
_BYTES_PER_S = 5e8
_BYTES_PER_S_ON_GPU = 5e10


def is_half(call: Call) -> bool:
    """Whether the call gave anything in half precision."""
    return any(isinstance(leaf, Tensor) and leaf.dtype in _HALVES for _, leaf in call.output)


def in_float32(owner: nn.Module, calls: Sequence[Call], device: torch.device, most_s: float) -> list[Call] | None:
    """The calls with a float32 twin's outputs in place of eager's; None where memory or time do not suffice, or there is no twin.

    The outputs have eager's dtypes, as candidates' have. `most_s` is what it may take, as far as that can be foreseen.
    """
    num_bytes = 4 * sum(parameter.numel() for parameter in owner.parameters())
    # A GPU computes float32 several times slower than half precision, a CPU faster.
    bytes_per_s = _BYTES_PER_S_ON_GPU if device.type == "cuda" else _BYTES_PER_S
    expected_s = num_bytes / bytes_per_s + sum(4 * call.seconds for call in calls)
    if expected_s > most_s or memory_refusal(num_bytes, device) is not None:
        return None
    try:
        twin = copy.deepcopy(owner).float()
        return [replace(call, output=_outputs(twin, call)) for call in calls]
    except Exception:  # Not every module can be copied or widened: eager's own output is then what candidates are compared with.
        return None


def _outputs(twin: nn.Module, call: Call) -> list[tuple[str, Any]]:
    args, kwargs = pytree.tree_map(_widened, _fresh(call))
    wide = list(tree.leaves(twin(*args, **kwargs), "output"))
    if [path for path, _ in wide] != [path for path, _ in call.output]:
        raise ValueError("the twin's output has another structure")
    return [(path, _like(leaf, own)) for (path, leaf), (_, own) in zip(wide, call.output, strict=True)]


def _fresh(call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = call.fresh
    return args, dict(kwargs)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALVES else value


def _like(leaf: Any, own: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.to(own.dtype) if isinstance(own, Tensor) else leaf
    # A cache notes its dtype, in which alone the twin's may differ.
    return own if isinstance(leaf, torch.dtype) else leaf
