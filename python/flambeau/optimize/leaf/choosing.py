"""Which layers a row's kernels are for: those that they make faster by themselves. Knows kernels, not what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from ..applied import Trial
from .kernels import Kernel
from .layers import Layers
from .profiling import Probe, gaining

K = TypeVar("K", bound=Kernel)

# Reading every layer both ways, in calls of the module; and of the time that is left, what it may take.
_READING_CALLS = 2.5
_SHARE = 0.25


def choose(layers: Layers, kernels: Mapping[nn.Module, K], trial: Trial) -> Mapping[nn.Module, K]:
    """The kernels of layers that gain, as the last recorded call tells; all of them if there is no time to read it. Raises ValueError if
    none gains."""
    if len(kernels) < 2 or _READING_CALLS * trial.call_s > _SHARE * trial.left_s():
        return kernels
    before = {layer: layers.kernel(layer) for layer in kernels}
    probes = [Probe(layer, kernel, trial.clock) for layer, kernel in kernels.items()]
    try:
        for probe in probes:
            layers.set_kernel_(probe.layer, probe)
        trial.run(trial.calls[-1], True)
    finally:
        for layer, kernel in before.items():
            layers.set_kernel_(layer, kernel)
    chosen = gaining(probes, trial.min_saving)
    if not chosen:
        raise ValueError(f"none of {len(kernels)} layers is faster with it by itself")
    return {layer: kernel for layer, kernel in kernels.items() if layer in chosen}
