"""A module in float32 computed by a copy of it in 16 bits; calls are cast at the border. So a VAE that its pipeline widens for every
picture is decoded in 16 bits all the same. The copy takes over edited weights in place. Knows no pipelines.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..applied import Applied, Kept, Trial
from ..calls import tree
from ..graph.watch import Watch
from ..leaf.layers import Layers
from ..limits import Quality
from ..memory import memory_refusal
from .around import AppliedWay, Run, Slot, Way


class _Structure(Watch):
    """Of a module, all but its weights' values and places."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._weights, self._versioned, self._windows = [], [], []
        self._before = self._now()


class Twin(Way):
    """See the head of this file. `is_narrow`: numbers may leave the range of the dtype, so every output is looked at."""

    slot: Slot = "precision"

    def __init__(self, owner: nn.Module, dtype: torch.dtype) -> None:
        self._owner = owner
        self._dtype = dtype
        self._is_narrow = dtype == torch.float16
        self._twin: nn.Module | None = None
        self._structure: _Structure | None = None

    def __call__(self, run: Run, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See Way."""
        twin = self._twin or self._made()
        narrow_args, narrow_kwargs = pytree.tree_map(self._narrowed, (tuple(args), dict(kwargs)))
        return pytree.tree_map(self._widened, twin(*narrow_args, **narrow_kwargs))

    def forget_(self) -> None:
        """See Way."""
        self._twin = None

    def follow_(self) -> bool:
        """See Way."""
        if self._twin is None or self._structure is None or not self._structure.holds():
            return False
        _take_over(self._twin, self._owner)
        return True

    def is_right(self, output: Any) -> bool:
        """See Way."""
        return not self._is_narrow or all(bool(tensor.isfinite().all()) for tensor in tree.tensors(output))

    def _made(self) -> nn.Module:
        with torch.inference_mode(False), torch.no_grad():
            twin = copy.deepcopy(self._owner).to(self._dtype).requires_grad_(False)
            twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads of `to` lack it.
        self._twin, self._structure = twin, _Structure(self._owner)
        return twin

    def _narrowed(self, value: Any) -> Any:
        # A timestep of 981 would become 980: what has no more than one dimension keeps its digits.
        return value.to(self._dtype) if isinstance(value, Tensor) and value.dtype == torch.float32 and value.dim() > 1 else value

    def _widened(self, value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.dtype == self._dtype else value


def _take_over(twin: nn.Module, owner: nn.Module) -> None:
    """Values only: whatever was recorded of the twin reads them where they always were."""
    own = [*twin.parameters(), *twin.buffers()]
    given = [*owner.parameters(), *owner.buffers()]
    with torch.inference_mode(False), torch.no_grad():
        for mine, other in zip(own, given, strict=True):
            mine.copy_(other.detach())


@dataclass(frozen=True, kw_only=True)
class Sixteen:
    """The row. `dtype_of` says in which 16 bits a device computes well: bfloat16 has float32's range."""

    name: str = "sixteen_bits"
    quality: Quality = "balanced"
    dtype_of: Callable[[torch.device], torch.dtype]

    def capability(self, layers: Layers, device: torch.device) -> str | None:
        """See Candidate."""
        weights = list(layers.owner.parameters())
        if not weights or any(weight.dtype != torch.float32 for weight in weights if weight.is_floating_point()):
            return "not all of its weights are in float32; such a module would be narrowed"
        # The copy is made in float32 before it is narrowed.
        return memory_refusal(sum(6 * weight.numel() for weight in weights), device)

    def apply_(self, layers: Layers, device: torch.device, trial: Trial) -> Applied:
        """See Candidate."""
        return self.recall(layers, device, Kept())

    def recall(self, layers: Layers, device: torch.device, kept: Kept) -> Applied:
        """See Candidate."""
        return AppliedWay(layers, Twin(layers.owner, self.dtype_of(device)))


def sixteen_bits_of(device: torch.device) -> torch.dtype:
    """bfloat16 from compute capability 8 on; before it, float16."""
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
