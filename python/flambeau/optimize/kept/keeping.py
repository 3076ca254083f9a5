"""An outcome of measuring as an entry of the store, and back. Knows the store's entries and what candidates keep, no module."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from ..applied import Kept
from ..gate import Difference
from ..limits import Tolerance
from ..report import Skipped
from .store import Entry

_TENSORS: Final = "tensors.bin"
_ALIGNMENT: Final = 64


@dataclass(frozen=True, kw_only=True)
class KeptPlan:
    """What was accepted for one kind of call, in order, and what was measured; nothing accepted means that eager is fastest."""

    applied: tuple[tuple[str, Kept], ...]
    skipped: tuple[Skipped, ...]
    speed_up: float | None
    difference: Difference | None
    call_s: float
    tolerance: Tolerance | None
    # What measuring was allowed to take: with more, something that was left out could be found.
    budget_s: float


def to_entry(plan: KeptPlan) -> tuple[dict[str, Any], dict[str, bytes | Any]]:
    """Body and files for `Store.put`."""
    blob = bytearray()
    body = {
        "applied": [{"name": name, "choices": kept.choices, "tensors": _pack_(kept.tensors, blob)} for name, kept in plan.applied],
        "skipped": [[skip.what, skip.why, skip.speed_up] for skip in plan.skipped],
        "speed_up": plan.speed_up,
        "difference": None if plan.difference is None else [plan.difference.relative_error, plan.difference.cosine],
        "call_s": plan.call_s,
        "tolerance": None if plan.tolerance is None else [plan.tolerance.relative_error, plan.tolerance.cosine],
        "budget_s": plan.budget_s,
    }
    return body, {_TENSORS: bytes(blob)} if blob else {}


def from_entry(entry: Entry) -> KeptPlan:
    """Raises ValueError for a body that `to_entry` does not make."""
    try:
        body = entry.body
        blob = bytearray(entry.path(_TENSORS).read_bytes()) if _TENSORS in entry.files else bytearray()
        return KeptPlan(
            applied=tuple(
                (_text(row["name"]), Kept(_mapping(row["choices"]), _unpack(_mapping(row["tensors"]), blob))) for row in body["applied"]
            ),
            skipped=tuple(Skipped(_text(what), _text(why), _optional(speed_up)) for what, why, speed_up in body["skipped"]),
            speed_up=_optional(body["speed_up"]),
            difference=None if body["difference"] is None else Difference(*map(_number, body["difference"])),
            call_s=_number(body["call_s"]),
            tolerance=None if body["tolerance"] is None else Tolerance(*map(_number, body["tolerance"])),
            budget_s=_number(body["budget_s"]),
        )
    except (KeyError, TypeError, OSError, RuntimeError, AttributeError) as error:
        raise ValueError(f"a plan that cannot be read: {type(error).__name__}: {error}") from error


def _pack_(tensors: Mapping[str, Tensor], blob: bytearray) -> dict[str, Any]:
    """Appends the tensors' bytes; where each lies, by name."""
    placed: dict[str, Any] = {}
    for name, tensor in tensors.items():
        blob.extend(bytes(-len(blob) % _ALIGNMENT))
        held = tensor.detach().cpu().contiguous()
        placed[name] = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "start": len(blob)}
        blob.extend(ctypes.string_at(held.data_ptr(), held.numel() * held.element_size()) if held.numel() else b"")
    return placed


def _unpack(placed: Mapping[str, Any], blob: bytearray) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, place in placed.items():
        dtype, shape, start = getattr(torch, _text(place["dtype"])), place["shape"], place["start"]
        if (
            not isinstance(dtype, torch.dtype)
            or not isinstance(start, int)
            or not all(isinstance(size, int) and size >= 0 for size in shape)
        ):
            raise ValueError(f"{name} is no tensor")
        count = math.prod(shape)
        if start < 0 or start + count * dtype.itemsize > len(blob):
            raise ValueError(f"{name} lies outside its file")
        tensors[name] = (
            torch.frombuffer(blob, dtype=dtype, count=count, offset=start).reshape(shape) if count else torch.empty(shape, dtype=dtype)
        )
    return tensors


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {type(value).__name__}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, got {type(value).__name__}")
    return float(value)


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping, got {type(value).__name__}")
    return value
