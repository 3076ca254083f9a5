"""Rows that run the target with other settings of torch: which attention, which convolutions. Nothing is copied, nothing recorded.
The settings are torch's own and hold for the whole process while a fast call runs: a call of another thread may see them.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from ..applied import Applied, Kept, Trial
from ..leaf.layers import Layers
from ..limits import Quality
from .around import AppliedWay, Run, Slot, Way

# What computes when those before it cannot: other head sizes, masks, dtypes.
_FALLBACK: Final = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")


class Within(Way):
    """The call inside a context."""

    def __init__(self, slot: Slot, context: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
        self.slot = slot
        self._context = context

    def __call__(self, run: Run, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See Way."""
        with self._context():
            return run(args, kwargs)


def nothing_needed(device: torch.device) -> str | None:
    """For rows that every GPU can do."""
    return None


@dataclass(frozen=True, kw_only=True)
class Attention:
    """`F.scaled_dot_product_attention` by this backend first, then by the others; `needs` says why it is none for a device."""

    name: str
    backend: str
    others: tuple[str, ...] = _FALLBACK
    quality: Quality = "lossless"
    needs: Callable[[torch.device], str | None] = nothing_needed

    def capability(self, layers: Layers, device: torch.device) -> str | None:
        """See Candidate."""
        if not any("ttention" in type(part).__name__ for part in layers.owner.modules()):
            return "there is no attention in it"
        kernel: Any = getattr(getattr(torch.nn, "attention", None), "sdpa_kernel", None)
        if kernel is None or "set_priority" not in inspect.signature(kernel).parameters:
            return f"torch {torch.__version__} cannot be told which attention to prefer; 2.6 and later can"
        return self.needs(device)

    def apply_(self, layers: Layers, device: torch.device, trial: Trial) -> Applied:
        """See Candidate."""
        return self.recall(layers, device, Kept())

    def recall(self, layers: Layers, device: torch.device, kept: Kept) -> Applied:
        """See Candidate."""
        return AppliedWay(layers, Within("attention", self._context))

    def _context(self) -> contextlib.AbstractContextManager[Any]:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        order = dict.fromkeys((self.backend, *self.others))
        chosen: contextlib.AbstractContextManager[Any] = sdpa_kernel([getattr(SDPBackend, name) for name in order], set_priority=True)
        return chosen


@dataclass(frozen=True, kw_only=True)
class MeasuredConvolutions:
    """cuDNN measures its algorithms for each convolution, instead of guessing."""

    name: str = "cudnn_benchmark"
    quality: Quality = "lossless"

    def capability(self, layers: Layers, device: torch.device) -> str | None:
        """See Candidate."""
        if torch.backends.cudnn.benchmark:
            return "the program has it on already"
        return None if any(isinstance(part, nn.Conv2d) for part in layers.owner.modules()) else "there is no Conv2d in it"

    def apply_(self, layers: Layers, device: torch.device, trial: Trial) -> Applied:
        """See Candidate."""
        return self.recall(layers, device, Kept())

    def recall(self, layers: Layers, device: torch.device, kept: Kept) -> Applied:
        """See Candidate."""
        return AppliedWay(layers, Within("convolutions", _measuring))


@contextlib.contextmanager
def _measuring() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def cudnn_attention_refusal(device: torch.device) -> str | None:
    """Why cuDNN's attention is no gain on a device, or None: published figures have it ahead on compute capability 9 and 10 only."""
    major, minor = torch.cuda.get_device_capability(device)
    return None if major in (9, 10) else f"the GPU's compute capability is {major}.{minor}; 9.x (Hopper) or 10.x would do"
