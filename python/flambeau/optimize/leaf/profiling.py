"""What another kernel would gain and cost in each layer, measured inside the module's own calls. Knows layers, not their sum.

While a call runs, each layer computes both ways on its real input and passes on what it always gave: so each error is that of one
layer alone, and the times are those of weights that come from memory, as they do in use.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ..timing import Clock
from .int8 import Int8Kernel
from .kernels import Kernel
from .ranges import Seen

# A layer is run until this much time has passed, or so often, and the fastest run counts: the first of a shape builds its code.
_ENOUGH_S = 8e-3
_MOST_RUNS = 5
# Fewer values per channel say nothing about a channel's mean error.
_FEWEST_FOR_MEAN = 256
# Ranges that differ by more from one call to the next are found anew at each call. So are those of which fewer calls tell:
# one picture's range clips another's, and a dark background comes out grey.
_STEADY = 1.5
_FEWEST_FOR_RANGE = 2

K = TypeVar("K", bound=Kernel)


@dataclass
class Reading:
    """One layer, summed over its calls within one call of the module. `error` is relative L2, at the layer's own output."""

    own_s: float = 0.0
    kernel_s: float = 0.0
    error_energy: float = 0.0
    energy: float = 0.0

    @property
    def saved_s(self) -> float:
        """Seconds that the kernel saves; negative where it is slower."""
        return self.own_s - self.kernel_s

    @property
    def error(self) -> float:
        """Relative L2 error of the layer's output."""
        return (self.error_energy / self.energy) ** 0.5 if self.energy else 0.0


class Probe(Kernel, Generic[K]):
    """Stands in a layer while it is read; what it computes is what the layer computes."""

    def __init__(self, layer: nn.Module, kernel: K, clock: Clock) -> None:
        super().__init__(layer)
        self.kernel = kernel
        self.reading = Reading()
        # The shape of the last input; layers of one class, weight and input are alike in time.
        self.shape: tuple[int, ...] = ()
        self.why: str | None = None
        self._clock = clock

    @property
    def bytes(self) -> int:
        """Of the kernel that is read."""
        return self.kernel.bytes

    def __call__(self, x: Tensor) -> Tensor | None:
        """See Kernel."""
        if self.why is not None:
            return None
        output, own_s = self._fastest(lambda: self._own(x))
        try:
            self._read(x, output, own_s)
        except Exception as error:  # A layer that cannot be read keeps its own kernel.
            self.why = f"{type(error).__name__}: {error}"
        # As the kernel gives it, so that the layers after it are read as they will run.
        return output.contiguous(memory_format=torch.channels_last) if output.dim() == 4 else output

    def restart_(self) -> None:
        """Before another call of the module: ranges are kept, times and errors are read anew."""
        self.reading = Reading()

    def _own(self, x: Tensor) -> Tensor:
        output: Tensor = type(self.layer).forward(self.layer, x)
        return output

    def _read(self, x: Tensor, output: Tensor, own_s: float) -> None:
        reading = self.reading
        self._look_at(x)
        self.kernel.prepare_(x.shape)
        self.shape = tuple(x.shape)
        got, kernel_s = self._fastest(lambda: self._run_kernel(x))
        reading.error_energy += max(0.0, self._energy(output.float() - got.float()))
        reading.energy += float(output.float().square().sum())
        reading.own_s += own_s
        reading.kernel_s += kernel_s
        self.kernel.error = reading.error

    def _look_at(self, x: Tensor) -> None:
        """Before the kernel sees this input."""

    def _energy(self, wrong: Tensor) -> float:
        """Of an error."""
        return float(wrong.square().sum())

    def _run_kernel(self, x: Tensor) -> Tensor:
        output = self.kernel(x)
        if output is None:
            raise ValueError("the kernel does not take this input")
        return output

    def _fastest(self, run: Callable[[], Tensor]) -> tuple[Tensor, float]:
        best_s, spent_s, output = math.inf, 0.0, None
        for _ in range(_MOST_RUNS):
            before = self._clock()
            output = run()
            took_s = self._clock() - before
            best_s, spent_s = min(best_s, took_s), spent_s + took_s
            if spent_s > _ENOUGH_S:
                break
        assert output is not None
        return output, best_s


class Int8Probe(Probe[Int8Kernel]):
    """Finds, besides, the range of the layer's inputs and its mean error."""

    def __init__(self, layer: nn.Module, kernel: Int8Kernel, clock: Clock) -> None:
        super().__init__(layer, kernel, clock)
        self._seen = Seen()

    @property
    def _is_steady(self) -> bool:
        return self._seen.num_seen >= _FEWEST_FOR_RANGE and self._seen.spread <= _STEADY

    def _look_at(self, x: Tensor) -> None:
        self._seen.note_(x)
        self.kernel.steps = self._seen.steps() if self._is_steady else None
        self.kernel.correction_O = None

    def _energy(self, wrong: Tensor) -> float:
        energy = super()._energy(wrong)
        channels = 1 if wrong.dim() == 4 else wrong.dim() - 1
        count = wrong.numel() // wrong.shape[channels]
        # What one call's error means on average says nothing of another's.
        if self._is_steady and count >= _FEWEST_FOR_MEAN:
            self.kernel.correction_O = wrong.mean([dim for dim in range(wrong.dim()) if dim != channels])
            energy -= float(self.kernel.correction_O.square().sum()) * count
        return energy


def gaining(probes: Iterable[Probe[K]], least: float) -> Mapping[nn.Module, Reading]:
    """Layers that save more than this share of their own time. Those alike in shape share the median of their times, as a single
    reading may be disturbed."""
    alike: dict[object, list[Probe[K]]] = defaultdict(list)
    for probe in probes:
        if probe.why is None and probe.shape:
            alike[_signature(probe)].append(probe)
    found: dict[nn.Module, Reading] = {}
    for group in alike.values():
        own_s = statistics.median(probe.reading.own_s for probe in group)
        saved_s = statistics.median(probe.reading.saved_s for probe in group)
        if saved_s >= least * own_s:
            found |= {probe.layer: replace(probe.reading, own_s=own_s, kernel_s=own_s - saved_s) for probe in group}
    return found


def _signature(probe: Probe[K]) -> object:
    layer, weight = probe.layer, probe.layer._parameters.get("weight")
    extra = (layer.stride, layer.padding, layer.dilation) if isinstance(layer, nn.Conv2d) else ()
    return type(layer), None if weight is None else tuple(weight.shape), extra, probe.shape
