"""Kernels compared with their layers inside the program's own calls: a few layers in each, so that no call is felt to wait.
Knows layers, kernels and time, not what follows from an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..timing import Clock
from .kernels import Kernel, LayerPatch
from .layers import Layers

# While kernels serve, the layer itself is expected to take so many times as long.
_OWN_PER_KERNEL = 2.0


@dataclass(frozen=True)
class Bound:
    """How far off layers may be, in relative L2 error. `accepted` is the module's error where its kernels were accepted, `allowed` what it
    may be; one layer may have `ratio` times the error that it had there, or `least` if that is more or its own was not looked at.
    """

    accepted: float
    allowed: float
    ratio: float
    least: float

    def of(self, kernel: Kernel) -> float:
        """What this layer may have."""
        return max(self.ratio * (kernel.error or 0.0), self.least)


class Checks:
    """One pass over all layers that have a kernel. Each call compares the next ones, as many as its time allows; a layer that is too
    large to be run twice within that is compared on a part of its input. For one thread at a time.
    """

    def __init__(self, layers: Layers, bound: Bound, clock: Clock) -> None:
        self.why: str | None = None
        self.num_compared = 0
        # What comparing added to the last call.
        self.spent_s = 0.0
        self._layers = layers
        self._bound = bound
        self._clock = clock
        self._due = set(layers.kernels())
        self._serves_kernels = False
        self._allowance_s = 0.0
        self._num_met = 0
        # Squared errors of the layers compared, and what they were where the kernels were accepted.
        self._found = self._expected = 0.0
        # What the first run of a kernel takes beyond the run itself: code is made for its shapes.
        self._first_s = 0.0

    @property
    def is_complete(self) -> bool:
        """No layer is left that such calls run."""
        return not self._due

    def run(self, call: Callable[[], Any], allowance_s: float, *, serves_kernels: bool) -> Any:
        """One call of the module, which goes on with the kernels' outputs or with the layers' own. Comparing adds `allowance_s` to it,
        and what the first run of one kernel takes."""
        self._serves_kernels, self._allowance_s = serves_kernels, allowance_s
        self.spent_s, self._num_met = 0.0, 0
        with self._layers.switch.checking(self._check):
            output = call()
        if not self._num_met:
            self._due.clear()
        if self.is_complete and self.why is None and not self.error <= self._bound.allowed:
            self.why = f"its layers' errors make a relative error of some {self.error:.2g}, allowed {self._bound.allowed:.2g}"
        return output

    @property
    def error(self) -> float:
        """The module's, estimated: layers' errors add in quadrature, so it has grown as the root of the sum of their squares has."""
        return self._bound.accepted * math.sqrt(self._found / self._expected) if self._expected else self._bound.accepted

    def _check(self, patch: LayerPatch, kernel: Kernel, x: Tensor) -> Tensor | None:
        serving: Callable[[Tensor], Tensor | None] = kernel if self._serves_kernels else patch.eager
        if kernel not in self._due:
            return serving(x)
        self._num_met += 1
        before_s = self._clock()
        output = serving(x)
        served_s = self._clock()
        if output is None:
            self._due.discard(kernel)
            return None
        other_s = (served_s - before_s) * (_OWN_PER_KERNEL if self._serves_kernels else 1.0)
        num_rows = self._num_rows(patch.owner, x, served_s - before_s, other_s)
        if num_rows is not None:
            self._due.discard(kernel)
            self._compare(patch, kernel, x.narrow(-2, 0, num_rows), output if num_rows == x.shape[-2] else None)
            spent_s = self._clock() - served_s
            self.spent_s += spent_s
            self._first_s = (self._first_s + max(0.0, spent_s - other_s)) / 2
        return output

    def _num_rows(self, layer: nn.Module, x: Tensor, served_s: float, other_s: float) -> int | None:
        """How much of the input there is time for; None if its turn comes in a later call."""
        if other_s + self._first_s <= self._allowance_s - self.spent_s:
            return x.shape[-2]
        if self.spent_s:
            return None
        if other_s <= self._allowance_s:
            return x.shape[-2]
        share = self._allowance_s / (served_s + other_s)
        return min(x.shape[-2], max(_fewest_rows(layer), int(share * x.shape[-2])))

    def _compare(self, patch: LayerPatch, kernel: Kernel, x: Tensor, served: Tensor | None) -> None:
        own = patch.eager(x) if served is None or self._serves_kernels else served
        got = kernel(x) if served is None or not self._serves_kernels else served
        if got is None:
            return
        self.num_compared += 1
        wrong, whole = (float(torch.linalg.vector_norm(values.float())) for values in (own - got, own))
        error = wrong / whole if whole else math.inf if wrong else 0.0
        most = self._bound.of(kernel)
        self._found += error**2
        self._expected += (self._bound.least if kernel.error is None else kernel.error) ** 2
        if not error <= most:
            self.why = f"a {type(patch.owner).__name__} has relative error {error:.2g}, expected at most {most:.2g}"


def _fewest_rows(layer: nn.Module) -> int:
    """Of an input: as many as one row of a convolution's output needs, and as many again, so that it is not mostly padding."""
    return 2 * (layer.dilation[0] * (layer.kernel_size[0] - 1) + 1) if isinstance(layer, nn.Conv2d) else 1
