"""How far one output is from another, and whether that is near enough. Knows tensors in nested containers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .calls import tree
from .limits import Tolerance


@dataclass(frozen=True)
class Difference:
    """The worst over all tensors compared: relative L2 error (0 is equal) and cosine similarity (1 is equal)."""

    relative_error: float
    cosine: float

    def worst(self, other: Difference) -> Difference:
        """The worse of both in each number."""
        return Difference(max(self.relative_error, other.relative_error), min(self.cosine, other.cosine))

    def refusal(self, tolerance: Tolerance) -> str | None:
        """Why this is too far off, or None."""
        if not math.isfinite(self.relative_error):
            return "its outputs are not finite, or not of eager's shape and dtype"
        if self.relative_error > tolerance.relative_error:
            return f"relative error {self.relative_error:.2g}, allowed {tolerance.relative_error:.2g}"
        if self.cosine < tolerance.cosine:
            return f"cosine {self.cosine:.4f}, at least {tolerance.cosine:.4f} expected"
        return None


EQUAL = Difference(0.0, 1.0)
INCOMPARABLE = Difference(math.inf, -1.0)


def difference(reference: Sequence[tuple[str, Any]], output: Any) -> Difference:
    """Compares the leaves of eager's output with another output of the same call.

    Another structure, shape or dtype, or a number that is not finite, is INCOMPARABLE.

    Places where the reference itself is not finite must agree exactly and are left out of the error.
    """
    return between(reference, list(tree.leaves(output, "output")))


def between(reference: Sequence[tuple[str, Any]], got: Sequence[tuple[str, Any]]) -> Difference:
    """The same of two outputs' leaves."""
    if [path for path, _ in reference] != [path for path, _ in got]:
        return INCOMPARABLE
    worst = EQUAL
    for (_, a), (_, b) in zip(reference, got, strict=True):
        worst = worst.worst(_compare(a, b))
    return worst


def _compare(a: Any, b: Any) -> Difference:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return EQUAL if type(a) is type(b) and a == b else INCOMPARABLE
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        return INCOMPARABLE
    if not a.is_floating_point():
        return EQUAL if torch.equal(a, b) else Difference(1.0, 0.0)
    return _compare_floats(a.detach().flatten().double(), b.detach().flatten().double())


def _compare_floats(a: Tensor, b: Tensor) -> Difference:
    finite = a.isfinite()
    if not bool(finite.all()):
        if not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
            return INCOMPARABLE
        a, b = a[finite], b[finite]
    if not bool(b.isfinite().all()):
        return INCOMPARABLE
    norm, other = float(a.norm()), float(b.norm())
    if norm == 0 or other == 0:
        return EQUAL if norm == other else Difference(1.0 if norm else math.inf, 0.0)
    return Difference(float((a - b).norm()) / norm, float(a @ b) / (norm * other))
