"""What may be tried on which device: one frozen row per technique. A row says what it needs and how it is applied;
whether it is any good is for the gate and the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import nn

from . import processor
from .applied import Applied, AppliedKernels, Candidate, Kept, Trial
from .cuda.around import AppliedCopies
from .cuda.choosing import EightBitLayers, float8_by_row_refusal, float8_refusal, int8_refusal
from .cuda.contexts import Attention, MeasuredConvolutions, cudnn_attention_refusal
from .cuda.copies import CopiedConv
from .cuda.eight_bit import Float8ByRow, Float8Whole, Int8ByRow
from .cuda.graphs import CudaGraphs
from .cuda.twin import Sixteen, sixteen_bits_of
from .leaf.choosing import choose
from .leaf.int8 import pairs_saturate
from .leaf.int8_plan import Int8Layers
from .leaf.kernels import ChannelsLastConv, Kernel, PackedConv, PackedLinear, WeightKernel
from .leaf.layers import Layers
from .leaf.native import library
from .leaf.native.layers import FastSilu, ImageNorm, PanelLinear, Room, TiledConv
from .limits import Quality
from .memory import memory_refusal

__all__ = ["TABLE", "Applied", "Candidate", "Kept", "LayerKernels", "Trial"]


def _nothing_needed() -> str | None:
    return None


def tiles_first_refusal() -> str | None:
    """Why convolutions in 8 bits are tried before those in tiles, or None: in tiles they multiply less than 8 bits save without VNNI."""
    why = library.refusal()
    return why if why is not None or pairs_saturate() else "this CPU has VNNI: 8 bits come first, tiles after them"


@dataclass(frozen=True, kw_only=True)
class LayerKernels:
    """Other kernels for single layers, on copies of their weights: nothing is traced, any shape works, seconds to prepare."""

    name: str
    quality: Quality
    kernels: Mapping[type[nn.Module], type[Kernel]]
    # None: the layer's own. Layers whose dtype differs have their inputs and outputs cast.
    compute_dtype: torch.dtype | None = None
    needs: Callable[[], str | None] = _nothing_needed
    applied: type[AppliedKernels] = AppliedKernels

    def capability(self, layers: Layers, device: torch.device) -> str | None:
        why = self.needs()
        if why is not None:
            return why
        chosen = self._chosen(layers, device)
        if not chosen:
            kinds = " or ".join(kind.__name__ for kind in self.kernels)
            return f"there is no {kinds} left that computes as its class does; such a layer would do"
        return memory_refusal(sum(self._bytes(layer, kernel) for layer, kernel in chosen), device)

    def apply_(self, layers: Layers, device: torch.device, trial: Trial) -> Applied:
        make = self._maker(layers, trial.left_s())
        kernels = {layer: make(kernel, layer) for layer, kernel in self._chosen(layers, device)}
        return self.applied(layers, choose(layers, kernels, trial) if device.type == "cpu" else kernels)

    def recall(self, layers: Layers, device: torch.device, kept: Kept) -> Applied:
        paths, named = kept.choices.get("layers"), dict(layers.named())
        if not isinstance(paths, dict):
            raise ValueError(f'{self.name}: "layers" was to be an object, came {type(paths).__name__}; measure again')
        kernels: dict[nn.Module, Kernel] = {}
        make = self._maker(layers, 0.0)
        for kind, kernel in self.kernels.items():
            eligible = {layer for layer in layers.eligible(kind, device) if kernel.suits(layer)}
            of_kind = {named[path] for path, name in paths.items() if name == kernel.__name__ and path in named} & eligible
            kernels.update({layer: make(kernel, layer) for layer in of_kind})
        if len(kernels) != len(paths):
            raise ValueError(f"{self.name}: {len(paths) - len(kernels)} of {len(paths)} layers are not as they were; measure again")
        return self.applied(layers, kernels)

    def _chosen(self, layers: Layers, device: torch.device) -> list[tuple[nn.Module, type[Kernel]]]:
        """The layers that are left for it."""
        return [(layer, kernel) for kind, kernel in self.kernels.items() for layer in layers.free(kind, device) if kernel.suits(layer)]

    def _maker(self, layers: Layers, left_s: float) -> Callable[[type[Kernel], nn.Module], Kernel]:
        """What makes a layer's kernel. Raises ValueError if it cannot, or not in the time that is left."""
        return lambda kernel, layer: kernel(layer, self.compute_dtype) if issubclass(kernel, WeightKernel) else kernel(layer)

    def _bytes(self, layer: nn.Module, kernel: type[Kernel]) -> int:
        weight = layer._parameters.get("weight")
        return 0 if weight is None else weight.numel() * (self.compute_dtype or weight.dtype).itemsize * kernel.growth


@dataclass(frozen=True, kw_only=True)
class BuiltKernels(LayerKernels):
    """The same with kernels in C++, which are built where the store has none."""

    needs: Callable[[], str | None] = library.refusal
    compute_dtype: torch.dtype | None = torch.float32

    def _maker(self, layers: Layers, left_s: float) -> Callable[[type[Kernel], nn.Module], Kernel]:
        loaded = library.load(layers.store, left_s)
        room = Room()

        def make(kernel: type[Kernel], layer: nn.Module) -> Kernel:
            if not issubclass(kernel, (TiledConv, PanelLinear, ImageNorm, FastSilu)):
                raise TypeError(f"{kernel.__name__} is not in C++")
            return kernel(layer, self.compute_dtype, loaded, room)

        return make


# They are tried in this order, the largest gains first, as a budget may end; each takes the layers that those before it left.
TABLE: Final[Mapping[str, tuple[Candidate, ...]]] = MappingProxyType(
    {
        "cpu": (
            BuiltKernels(name="tiled_convs", quality="lossless", kernels={nn.Conv2d: TiledConv}, needs=tiles_first_refusal),
            Int8Layers(),
            BuiltKernels(name="tiled_convs", quality="lossless", kernels={nn.Conv2d: TiledConv}),
            LayerKernels(
                name="bfloat16",
                quality="balanced",
                kernels={nn.Conv2d: PackedConv, nn.Linear: PackedLinear},
                compute_dtype=torch.bfloat16,
                needs=lambda: processor.onednn_refusal() or processor.bfloat16_refusal(),
            ),
            LayerKernels(
                name="packed_convs",
                quality="lossless",
                kernels={nn.Conv2d: PackedConv},
                compute_dtype=torch.float32,
                needs=processor.onednn_refusal,
            ),
            LayerKernels(name="channels_last", quality="lossless", kernels={nn.Conv2d: ChannelsLastConv}),
            BuiltKernels(name="image_norms", quality="lossless", kernels={nn.GroupNorm: ImageNorm, nn.SiLU: FastSilu}),
            BuiltKernels(name="panel_linears", quality="lossless", kernels={nn.Linear: PanelLinear}),
            LayerKernels(
                name="packed_linears",
                quality="lossless",
                kernels={nn.Linear: PackedLinear},
                compute_dtype=torch.float32,
                needs=processor.onednn_refusal,
            ),
        ),
        # The graph comes before whatever saves the GPU's time: while launches take longer, nothing else would be seen to gain.
        "cuda": (
            Sixteen(dtype_of=sixteen_bits_of),
            CudaGraphs(),
            MeasuredConvolutions(),
            LayerKernels(name="channels_last", quality="lossless", kernels={nn.Conv2d: CopiedConv}, applied=AppliedCopies),
            Attention(name="cudnn_attention", backend="CUDNN_ATTENTION", needs=cudnn_attention_refusal),
            Attention(name="flash_attention", backend="FLASH_ATTENTION"),
            Attention(name="efficient_attention", backend="EFFICIENT_ATTENTION"),
            EightBitLayers(name="float8_by_row", kernel=Float8ByRow, needs=float8_by_row_refusal, widths=(torch.bfloat16,)),
            EightBitLayers(name="float8", kernel=Float8Whole, needs=float8_refusal),
            EightBitLayers(name="int8", kernel=Int8ByRow, needs=int8_refusal),
        ),
        # Nothing has been measured on Apple's GPUs yet.
        "mps": (),
    }
)
