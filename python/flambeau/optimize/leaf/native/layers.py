"""Layers on the C++ kernels: 3x3 convolutions in Winograd's tiles, linear layers, group norms, SiLU. Knows one layer at a time."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..kernels import Kernel, PackedConv, WeightKernel
from .library import Convolution, Library, Norm

# Reading a weight once takes as long as multiplying it with so many rows (of an image's tiles).
_ROWS_OF_READING: Final = 16
# Tiles that a thread has in work at once: their values stay in the second cache, and a wide layer's weights are read seldom.
_FEWEST_TILES: Final = 24
_CHANNELS_PER_TILE: Final = 8
# Floats in the widest vector of any processor.
CHANNEL_STEP: Final = 16


def best_tile(batch: int, height: int, width: int) -> int:
    """The tile that takes least time for outputs of this size: 2 or 4 squared, or 1 where a plain convolution is faster.

    A larger tile multiplies less and reads more weights.
    """

    def cost(tile: int) -> float:
        side = 3 if tile == 1 else tile + 2
        return side**2 * (batch * math.ceil(height / tile) * math.ceil(width / tile) + _ROWS_OF_READING)

    return min((1, 2, 4), key=cost)


def tiles_at_once(total: int, channels: int, threads: int) -> int:
    """How many of that many tiles a thread has in work at once; all of them if there are too few for each thread to have its own.

    `channels` are those that go in and come out together.
    """
    if threads > 1 and total < threads * _FEWEST_TILES:
        return total
    return min(-(-total // threads), max(_FEWEST_TILES, channels // _CHANNELS_PER_TILE))


class Room(threading.local):
    """Memory that each thread's convolutions work in, one after the other."""

    def __init__(self) -> None:
        self._room = torch.empty(0)

    def of(self, size: int) -> Tensor:
        """So many floats of any value."""
        if self._room.numel() < size:
            with torch.inference_mode(False):
                self._room = torch.empty(size)
        return self._room


@dataclass(frozen=True)
class Panels:
    """A weight as the C++ kernels read it: for `tile` squared outputs at a time, or the weight itself."""

    values: Tensor
    columns: int
    depth: int
    tile: int = 1

    def numel(self) -> int:
        """As of a tensor."""
        return self.values.numel()

    def element_size(self) -> int:
        """As of a tensor."""
        return self.values.element_size()

    def address(self, depth: int) -> int:
        """Of the values, for inputs of that depth. Raises ValueError where they are not for those."""
        if depth != self.depth:
            raise ValueError(f"the weight changed while it was used: it was for {self.depth} channels, now there are {depth}")
        return self.values.data_ptr()


class TiledConv(PackedConv):
    """A 3x3 convolution of stride 1 with a half or a quarter of the products; a plain one where images are too small for that."""

    growth = 4

    def __init__(self, layer: nn.Module, compute_dtype: torch.dtype | None, library: Library, room: Room) -> None:
        super().__init__(layer, compute_dtype)
        self._library = library
        self._room = room

    @staticmethod
    def suits(layer: Any) -> bool:
        """See WeightKernel. Channels fill vectors of any processor."""
        weight = layer._parameters["weight"]
        is_plain = tuple(weight.shape[2:]) == (3, 3) and tuple(layer.stride) == tuple(layer.dilation) == (1, 1) and layer.groups == 1
        return is_plain and all(size % CHANNEL_STEP == 0 for size in weight.shape[:2])

    def _accepts(self, x_NCHW: Tensor) -> bool:
        if x_NCHW.dim() != 4 or not _is_plain(x_NCHW, self.layer) or not self.suits(self.layer):
            return False
        height, width = _out_size(x_NCHW.shape, self.layer.padding)
        return x_NCHW.shape[1] == self.layer._parameters["weight"].shape[1] and height > 0 and width > 0

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Any:
        tile = best_tile(shape[0], *_out_size(shape, self.layer.padding))
        if tile == 1:
            return super()._pack(weight, shape)
        library, weight, (out_channels, channels) = self._library, weight.contiguous(), weight.shape[:2]
        packed = torch.empty((tile + 2) ** 2, -(-out_channels // library.panel), channels, library.panel)
        library.pack_tiles[tile](weight.data_ptr(), packed.data_ptr(), out_channels, channels, library.threads)
        return Panels(packed, out_channels, channels, tile)

    def _compute(self, x_NCHW: Tensor, bias: Tensor | None) -> Tensor:
        # Local names own what the addresses are of.
        w, pad = self._prepared, self.layer.padding
        if not isinstance(w, Panels):
            return super()._compute(x_NCHW, bias)
        x_NCHW, bias = x_NCHW.contiguous(memory_format=torch.channels_last), _in_a_row(bias)
        batch, channels, *size = x_NCHW.shape
        out_size, threads = _out_size(x_NCHW.shape, pad), self._library.threads
        out = torch.empty((batch, w.columns, *out_size), memory_format=torch.channels_last)
        total = batch * math.prod(-(-length // w.tile) for length in out_size)
        tiles = tiles_at_once(total, channels + w.columns, threads)
        call = Convolution(
            *(x_NCHW.data_ptr(), w.address(channels), _address(bias), out.data_ptr(), None),
            *(tiles, batch, *size, channels, *out_size, w.columns, *pad),
        )
        room = self._room.of(self._library.room_for[w.tile](ctypes.byref(call), threads))
        call.room = room.data_ptr()
        self._library.convolve[w.tile](ctypes.byref(call), threads)
        return out


class PanelLinear(WeightKernel):
    """A linear layer with the weight in panels of columns."""

    def __init__(self, layer: nn.Module, compute_dtype: torch.dtype | None, library: Library, room: Room) -> None:
        super().__init__(layer, compute_dtype)
        self._library = library

    @staticmethod
    def suits(layer: Any) -> bool:
        """See WeightKernel."""
        return int(layer._parameters["weight"].dim()) == 2

    def _accepts(self, x_BD: Tensor) -> bool:
        is_plain = x_BD.dim() > 0 and _is_plain(x_BD, self.layer) and self.suits(self.layer)
        return is_plain and x_BD.shape[-1] == self.layer._parameters["weight"].shape[1]

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Any:
        library, weight, (columns, depth) = self._library, weight.contiguous(), weight.shape
        packed = torch.empty(-(-columns // library.panel), depth, library.panel)
        library.pack(weight.data_ptr(), packed.data_ptr(), columns, depth, library.threads)
        return Panels(packed, columns, depth)

    def _compute(self, x_BD: Tensor, bias: Tensor | None) -> Tensor:
        w: Panels = self._prepared
        x_BD, bias, depth = x_BD.contiguous(), _in_a_row(bias), x_BD.shape[-1]
        out = torch.empty((*x_BD.shape[:-1], w.columns))
        self._library.linear(
            *(x_BD.data_ptr(), w.address(depth), _address(bias), out.data_ptr()),
            *(x_BD.numel() // depth, w.columns, depth, self._library.threads),
        )
        return out


class ImageNorm(Kernel):
    """A group norm of images in NHWC, on the layer's own weights."""

    def __init__(self, layer: nn.Module, compute_dtype: torch.dtype | None, library: Library, room: Room) -> None:
        super().__init__(layer)
        self._library = library

    @staticmethod
    def suits(layer: Any) -> bool:
        """See Kernel."""
        return int(layer.num_channels) % CHANNEL_STEP == 0

    def __call__(self, x_NCHW: Tensor) -> Tensor | None:
        """See Kernel."""
        layer, weights = self.layer, (self.layer._parameters["weight"], self.layer._parameters["bias"])
        if x_NCHW.dim() != 4 or x_NCHW.shape[1] % CHANNEL_STEP or x_NCHW.shape[1] % layer.num_groups or not _is_float32(x_NCHW):
            return None
        if not all(w is None or (w.shape == x_NCHW.shape[1:2] and w.is_contiguous() and _is_float32(w, True)) for w in weights):
            return None
        if not x_NCHW.is_contiguous(memory_format=torch.channels_last):
            return None
        batch, channels, height, width = x_NCHW.shape
        out, room = torch.empty_like(x_NCHW), torch.empty(2 * batch * channels, dtype=torch.float64)
        call = Norm(
            *(x_NCHW.data_ptr(), _address(weights[0]), _address(weights[1]), out.data_ptr(), room.data_ptr()),
            *(batch, height * width, channels, layer.num_groups, layer.eps),
        )
        self._library.group_norm(ctypes.byref(call), self._library.threads)
        return out


class FastSilu(Kernel):
    """SiLU of numbers that lie in memory without a gap."""

    def __init__(self, layer: nn.Module, compute_dtype: torch.dtype | None, library: Library, room: Room) -> None:
        super().__init__(layer)
        self._library = library

    @staticmethod
    def suits(layer: Any) -> bool:
        """See Kernel."""
        return not layer.inplace

    def __call__(self, x: Tensor) -> Tensor | None:
        """See Kernel."""
        if self.layer.inplace or not _is_float32(x):
            return None
        if not x.is_contiguous() and not (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)):
            return None
        out = torch.empty_like(x)
        self._library.silu(x.data_ptr(), out.data_ptr(), x.numel(), self._library.threads)
        return out


def _is_float32(x: Tensor, is_weight: bool = False) -> bool:
    return x.dtype is torch.float32 and x.numel() > 0 and _is_in_memory(x) and (is_weight or not x.requires_grad)


def _is_plain(x: Tensor, layer: Any) -> bool:
    """Whether input and bias are numbers in this process's memory as they look."""
    weight, bias = layer._parameters["weight"], layer._parameters["bias"]
    is_bias_plain = bias is None or (bias.shape == weight.shape[:1] and bias.dtype == x.dtype and _is_in_memory(bias))
    return is_bias_plain and x.numel() > 0 and _is_in_memory(x)


def _is_in_memory(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.layout is torch.strided and not x.is_neg()


def _out_size(shape: Sequence[int], padding: Sequence[int]) -> tuple[int, int]:
    return shape[2] + 2 * padding[0] - 2, shape[3] + 2 * padding[1] - 2


def _in_a_row(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.contiguous()


def _address(bias: Tensor | None) -> int | None:
    return None if bias is None else bias.data_ptr()
