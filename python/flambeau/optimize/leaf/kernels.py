"""Faster kernels for single layers, on weights kept beside the layer's own. Knows one layer at a time.

Shapes: x_NCHW images, x_BD rows of features (any number of leading dimensions).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..patch import Patch
from ..switch import Switch
from .stamp import WeightStamp


class Kernel(ABC):
    """Another way to compute one layer."""

    num_prepared = 0
    # Relative L2 error of the layer's output where the kernel was accepted; None if it was not looked at alone.
    error: float | None = None
    # What it holds beside the layer's own has at most so many times the numbers of its weight.
    growth: ClassVar[int] = 0

    def __init__(self, layer: nn.Module) -> None:
        self.layer: Any = layer

    @staticmethod
    def suits(layer: nn.Module) -> bool:
        """Whether this kernel is for that layer, whatever its inputs."""
        return True

    @property
    def bytes(self) -> int:
        """Memory that it holds beside the layer's own."""
        return 0

    def prepare_(self, shape: Sequence[int]) -> None:  # noqa: B027
        """Prepares the layer's weight now instead of at the first call; `shape` is that of an input."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor | None:
        """The layer's output, or None if this input or the layer's present weight is not for this kernel."""


class WeightKernel(Kernel):
    """One layer's computation on a prepared copy of its weight. The bias is the layer's own, read at every call."""

    growth = 1

    def __init__(self, layer: nn.Module, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__(layer)
        self.dtype: torch.dtype = self.layer._parameters["weight"].dtype
        self.compute_dtype = compute_dtype or self.dtype
        self._is_cast = self.compute_dtype != self.dtype
        self._stamp: WeightStamp | None = None
        self._prepared: Any = None

    @property
    def bytes(self) -> int:
        """Memory of the prepared weight; 0 before the first call."""
        return 0 if self._prepared is None else self._prepared.numel() * self._prepared.element_size()

    def __call__(self, x: Tensor) -> Tensor | None:
        """See Kernel."""
        if x.requires_grad or x.dtype != self.dtype or not self._accepts(x):
            return None
        weight = self.layer._parameters["weight"]
        if weight.dtype != self.dtype or weight.device != x.device:
            return None
        if self._stamp is None or not self._stamp.holds(weight):
            self._prepare(weight, x.shape)
        bias = self.layer._parameters["bias"]
        if not self._is_cast:
            return self._compute(x, bias)
        return self._compute(x.to(self.compute_dtype), None if bias is None else bias.to(self.compute_dtype)).to(self.dtype)

    def prepare_(self, shape: Sequence[int]) -> None:
        """See Kernel."""
        weight = self.layer._parameters["weight"]
        if self._stamp is None or not self._stamp.holds(weight):
            self._prepare(weight, shape)

    def _prepare(self, weight: Tensor, shape: Sequence[int]) -> None:
        stamp = WeightStamp(weight)
        with torch.inference_mode(False), torch.no_grad():
            self._prepared = self._pack(weight.detach().to(self.compute_dtype), shape)
        self._stamp = stamp
        self.num_prepared += 1

    @abstractmethod
    def _accepts(self, x: Tensor) -> bool: ...

    @abstractmethod
    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Any:
        """The prepared weight for inputs of this shape; other shapes may come too."""

    @abstractmethod
    def _compute(self, x: Tensor, bias: Tensor | None) -> Tensor: ...


class ChannelsLastConv(WeightKernel):
    """A convolution on NHWC memory, where oneDNN and cuDNN have their fastest kernels."""

    def _accepts(self, x_NCHW: Tensor) -> bool:
        return x_NCHW.dim() == 4 and x_NCHW.numel() > 0

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Any:
        return weight.clone(memory_format=torch.channels_last)

    def _compute(self, x_NCHW: Tensor, bias: Tensor | None) -> Tensor:
        layer = self.layer
        return F.conv2d(x_NCHW, self._prepared, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


class PackedConv(ChannelsLastConv):
    """The same with the weight in oneDNN's own blocks, so that no call reorders it: most of the time at small images."""

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Any:
        layer = self.layer
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # type: ignore[attr-defined]
        return reorder(weight.to_mkldnn(), layer.padding, layer.stride, layer.dilation, layer.groups, list(shape))

    def _compute(self, x_NCHW: Tensor, bias: Tensor | None) -> Tensor:
        layer = self.layer
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x_NCHW, self._prepared, bias, layer.padding, layer.stride, layer.dilation, layer.groups, "none", [], ""
        )
        return output


class PackedLinear(WeightKernel):
    """A linear layer with the weight in oneDNN's own blocks."""

    def _accepts(self, x_BD: Tensor) -> bool:
        return x_BD.dim() >= 2 and x_BD.numel() > 0

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Any:
        return torch.ops.mkldnn._reorder_linear_weight(weight, math.prod(shape[:-1]))

    def _compute(self, x_BD: Tensor, bias: Tensor | None) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise(x_BD, self._prepared, bias, "none", [], "")
        return output


class LayerPatch(Patch):
    """A layer's forward: the kernel while the switch is on in this thread, else the layer as it came."""

    def __init__(self, owner: nn.Module, switch: Switch, failed: Callable[[nn.Module, Exception], None]) -> None:
        super().__init__(owner)
        self.kernel: Kernel | None = None
        self._switch = switch
        self._failed = failed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kernel, check = self.kernel, self._switch.check
        if kernel is None or not (self._switch.on or check) or kwargs or len(args) != 1 or type(args[0]) is not Tensor:
            return self.eager(*args, **kwargs)
        try:
            output = kernel(args[0]) if check is None else check(self, kernel, args[0])
        except Exception as error:  # A kernel's own fault must not reach the caller: the layer itself still works.
            self.kernel = output = None
            self._failed(self.owner, error)
        return self.eager(*args) if output is None else output
