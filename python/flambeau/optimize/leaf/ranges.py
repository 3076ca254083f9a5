"""Which range of an activation to map to 8 bits: the one with the least squared error over what was seen. Knows tensors only."""

from __future__ import annotations

import torch
from torch import Tensor

from .int8 import Steps
from .stamp import is_dense

_BINS = 1024
# A histogram of more numbers than this is taken of a regular selection; the smallest and largest are always exact.
_MOST = 1 << 17
_EDGES = 32


class Seen:
    """What passed through one place. Clipping the rare far ends makes all other steps finer."""

    def __init__(self) -> None:
        self._centers: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._widths: list[float] = []

    def note_(self, x: Tensor) -> None:
        """Adds the numbers of one tensor."""
        x = x.detach()
        low, high = (float(value) for value in torch.aminmax(x))
        if not high > low:
            high = low + 1e-6
        flat = x.as_strided((x.numel(),), (1,)) if is_dense(x) else x.flatten()
        every = -(-flat.numel() // _MOST)
        some = flat[::every].float()
        bins = ((some - low) * ((_BINS - 1) / (high - low))).to(torch.int32).clamp_(0, _BINS - 1)
        counts = torch.bincount(bins, minlength=_BINS).double() * every
        counts[0] += 1
        counts[-1] += 1
        self._centers.append(torch.linspace(low, high, _BINS, dtype=torch.float64))
        self._counts.append(counts)
        self._widths.append(high - low)

    @property
    def spread(self) -> float:
        """The widest range of one tensor over the narrowest: 1 where all had the same."""
        return max(self._widths) / min(self._widths)

    @property
    def num_seen(self) -> int:
        """How many tensors were noted."""
        return len(self._widths)

    def steps(self) -> Steps:
        """Rounding costs width² / 12 / 255² for each number, clipping the squared distance; the least sum of both."""
        centers, counts = torch.cat(self._centers), torch.cat(self._counts)
        lows = torch.linspace(min(float(centers.min()), 0.0), 0.0, _EDGES, dtype=torch.float64)
        highs = torch.linspace(max(float(centers.max()), 0.0), 0.0, _EDGES, dtype=torch.float64)
        below = (lows[:, None] - centers).clamp_(min=0).square_() @ counts
        above = (centers - highs[:, None]).clamp_(min=0).square_() @ counts
        rounding = (highs - lows[:, None]).square() * (float(counts.sum()) / 12 / 255**2)
        best = int((rounding + below[:, None] + above).argmin())
        return Steps.over(float(lows[best // _EDGES]), float(highs[best % _EDGES]))
