"""Kernels on copies of weights on a GPU, where no sample of a weight tells that it was edited. Knows one layer at a time."""

from __future__ import annotations

from ..leaf.kernels import ChannelsLastConv, WeightKernel


class CopiedKernel(WeightKernel):
    """Whoever watches the module says when the copy is to be made anew."""

    def forget_(self) -> None:
        """The next call prepares the weight."""
        self._stamp = None


class CopiedConv(CopiedKernel, ChannelsLastConv):
    """A convolution in NHWC, which is what matrix units compute in."""
