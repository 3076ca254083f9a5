"""What a candidate is, what it may look at, and what it leaves on a module. Knows no technique and no measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Union

import torch
from torch import Tensor, nn

from .calls.capture import Call
from .leaf.kernels import Kernel
from .leaf.layers import Layers
from .limits import Quality, Tolerance
from .timing import Clock

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]


@dataclass(frozen=True)
class Kept:
    """What a fresh process needs to have a candidate again without measuring; layers are named by their path below the target."""

    choices: Mapping[str, Json] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What preparing may look at: recorded calls with eager's outputs, a way to run them, and until when.

    `run(call, fast)` computes a call to its end; `fast` switches on what is enabled. `clock` is what work is timed with,
    `left_s` tells the seconds that are left for preparing, `call_s` those that a call takes eagerly.
    """

    calls: Sequence[Call]
    run: Callable[[Call, bool], Any]
    allowed: Tolerance
    call_s: float
    clock: Clock
    left_s: Callable[[], float]
    # Of its own time, what a layer must save to be worth another kernel.
    min_saving: float = 0.0


class Applied(Protocol):
    """A candidate on one module. Enabling and disabling may come in any order and number; disabled is bit for bit what was before."""

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def supersedes_(self, older: Applied) -> bool:
        """True if nothing is left of an older one while this is enabled; from then on, disabling this undoes both."""

    def keep(self) -> Kept:
        """What `Candidate.recall` makes the same of, in another process."""


class Candidate(Protocol):
    """One technique. `quality` is the strictest request that it may serve."""

    @property
    def name(self) -> str: ...

    @property
    def quality(self) -> Quality: ...

    def capability(self, layers: Layers, device: torch.device) -> str | None:
        """Why it cannot be applied here, saying what would do; or None."""

    def apply_(self, layers: Layers, device: torch.device, trial: Trial) -> Applied:
        """Prepares it, disabled. Whatever it enables to look at the trial's calls, it disables before it returns or raises."""

    def recall(self, layers: Layers, device: torch.device, kept: Kept) -> Applied:
        """Prepares, disabled, what `keep` gave. Raises ValueError if that does not fit this module."""


class AppliedKernels:
    """Kernels for some layers, and what those layers used before."""

    def __init__(self, layers: Layers, kernels: Mapping[nn.Module, Kernel]) -> None:
        self._layers = layers
        self._kernels = kernels
        self._before = {layer: layers.kernel(layer) for layer in kernels}

    def enable(self) -> None:
        for layer, kernel in self._kernels.items():
            self._layers.set_kernel_(layer, kernel)

    def disable(self) -> None:
        for layer, kernel in self._before.items():
            self._layers.set_kernel_(layer, kernel)

    def supersedes_(self, older: Applied) -> bool:
        if not isinstance(older, AppliedKernels) or not older._before.keys() <= self._before.keys():
            return False
        self._before.update(older._before)
        return True

    def keep(self) -> Kept:
        chosen = {layer: type(kernel).__name__ for layer, kernel in self._kernels.items()}
        return Kept({"layers": {path: chosen[layer] for path, layer in self._layers.named() if layer in chosen}})
