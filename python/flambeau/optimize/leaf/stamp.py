"""Whether a weight is still the one that a copy was made of. Knows tensors only."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

_SAMPLES = 16


class WeightStamp:
    """Identity, version, address and a sample of one weight, in under a microsecond a check.

    The version misses edits through `weight.data` (peft merges a LoRA so), hence the sample: 16 places spread over the
    memory of a CPU weight. An edit of few single elements through `.data` can be missed, and any through it on a GPU.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._version = version(weight)
        self._address = weight.data_ptr()
        self._view = _sample(weight)
        self._sample = b"" if self._view is None else self._view.tobytes()

    def holds(self, weight: Tensor) -> bool:
        """True if nothing about the weight is known to have changed."""
        return (
            weight is self._weight
            and version(weight) == self._version
            and weight.data_ptr() == self._address
            and (self._view is None or self._view.tobytes() == self._sample)
        )


def version(tensor: Tensor) -> int:
    """Its edit counter; tensors made in inference mode have none."""
    return -1 if tensor.is_inference() else tensor._version


def _sample(weight: Tensor) -> memoryview | None:
    """A strided window on the weight's own memory; read only while its address is known to be the same."""
    size = weight.numel() * weight.element_size()
    if weight.device.type != "cpu" or weight.layout is not torch.strided or size < 4 or not is_dense(weight):
        return None
    words = memoryview((ctypes.c_uint8 * (size // 4 * 4)).from_address(weight.data_ptr())).cast("B").cast("I")
    return words[:: max(1, len(words) // _SAMPLES)][:_SAMPLES]


def is_dense(weight: Tensor) -> bool:
    """Whether the elements lie in memory without a gap, in whatever order."""
    order = sorted(range(weight.dim()), key=lambda dim: (weight.stride(dim), weight.shape[dim]))
    expected = 1
    for dim in order:
        if weight.shape[dim] != 1 and weight.stride(dim) != expected:
            return False
        expected *= weight.shape[dim]
    return True
