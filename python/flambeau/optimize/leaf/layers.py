"""Which layers of a module may get another kernel, and the patches that hold those kernels. Knows modules, no measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..calls.guard import Key
from ..kept.store import Store
from ..switch import Switch
from .kernels import Kernel, LayerPatch

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_WEIGHTLESS = (nn.SiLU,)

# Computes a whole call of the target, or returns DECLINED: the layers then do it.
Whole = Callable[[Sequence[Any], Mapping[str, Any]], Any]
DECLINED: Final = object()


class Layers:
    """The layers below one target and their patches. With its switch off, every layer computes exactly as it came."""

    def __init__(self, owner: nn.Module, store: Store | None = None) -> None:
        self.owner = owner
        # Where kernels built here are kept.
        self.store = store
        self.switch = Switch()
        self.failures: list[str] = []
        # By kind of call: what replaces the target as a whole while the switch is on.
        self.wholes: dict[Key, Whole] = {}
        self._patches: dict[nn.Module, LayerPatch] = {}
        self._dropped_repacked = 0

    def eligible(self, kind: type[nn.Module], device: torch.device) -> list[nn.Module]:
        """Layers of this kind that compute as their class does, on plain floating point weights of this device if they have any."""
        return [layer for layer in self.owner.modules() if self._is_plain(layer, kind) and _is_ready(layer, device)]

    def free(self, kind: type[nn.Module], device: torch.device) -> list[nn.Module]:
        """Those of them that have no kernel yet."""
        return [layer for layer in self.eligible(kind, device) if self.kernel(layer) is None]

    def named(self) -> Iterator[tuple[str, nn.Module]]:
        """All layers with their paths below the target; a layer that sits in two places has the first one's."""
        yield from self.owner.named_modules()

    def kernel(self, layer: nn.Module) -> Kernel | None:
        """The kernel that this layer uses while the switch is on."""
        patch = self._patches.get(layer)
        return None if patch is None else patch.kernel

    def set_kernel_(self, layer: nn.Module, kernel: Kernel | None) -> None:
        """From now on the layer uses this kernel while the switch is on; None is the layer itself."""
        patch = self._patches.get(layer)
        if patch is None and kernel is not None:
            patch = self._patches[layer] = LayerPatch(layer, self.switch, self._note_failure)
            patch.install_()
        if patch is not None:
            patch.kernel = kernel

    def prune_(self, *, everything: bool = False) -> None:
        """Takes the patches off layers that have no kernel, or off all of them."""
        for layer, patch in list(self._patches.items()):
            if everything or patch.kernel is None:
                patch.kernel = None
                patch.remove_()
                del self._patches[layer]

    @property
    def bytes(self) -> int:
        """Memory that the kernels hold beside the module's own."""
        return sum(kernel.bytes for kernel in self.kernels())

    @property
    def num_repacked(self) -> int:
        """How many times a layer was prepared again because its weight had changed."""
        return sum(max(0, kernel.num_prepared - 1) for kernel in self.kernels())

    def kernels(self) -> Iterator[Kernel]:
        """Those that layers use while the switch is on."""
        return (patch.kernel for patch in self._patches.values() if patch.kernel is not None)

    def _is_plain(self, layer: nn.Module, kind: type[nn.Module]) -> bool:
        if type(layer).forward is not kind.forward:
            return False
        if isinstance(layer, nn.Conv2d) and (
            type(layer)._conv_forward is not nn.Conv2d._conv_forward or layer.padding_mode != "zeros" or isinstance(layer.padding, str)
        ):
            return False
        return "forward" not in layer.__dict__ or layer in self._patches

    def _note_failure(self, layer: nn.Module, error: Exception) -> None:
        self.failures.append(f"{type(layer).__name__}: {type(error).__name__}: {error}")


def _is_ready(layer: nn.Module, device: torch.device) -> bool:
    return isinstance(layer, _WEIGHTLESS) or _has_plain_weight(layer, device)


def _has_plain_weight(layer: nn.Module, device: torch.device) -> bool:
    weight = layer._parameters.get("weight")
    return (
        type(weight) in (nn.Parameter, Tensor)
        and weight is not None
        and "bias" in layer._parameters
        and weight.layout is torch.strided
        and weight.dtype in _DTYPES
        and weight.device == device
        and weight.numel() > 0
    )
