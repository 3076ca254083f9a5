"""The 8-bit candidate: which layers compute in 8 bits, so that the module is fastest within what it may differ by.

Errors of layers add up in quadrature (measured: 39 layers of a decoder predicted 0.0703, together they gave 0.0705), so the
choice is a knapsack: the squared error is the weight, the time saved the value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import nn

from ..applied import Applied, AppliedKernels, Json, Kept, Trial
from ..gate import EQUAL, Difference, difference
from ..limits import Quality
from ..memory import memory_refusal
from ..report import Extent, LeftOut
from .int8 import Group, Int8Conv, Int8Kernel, Int8Linear, Steps, int8_refusal
from .layers import Layers
from .profiling import Int8Probe, gaining

_KINDS: Final[Mapping[type[nn.Module], type[Int8Kernel]]] = {nn.Linear: Int8Linear, nn.Conv2d: Int8Conv}
# A layer must save so much of its own time: quantizing and the call's overhead are all that a small one has.
_MIN_SAVING = 0.05
# In calls of the module: reading every layer, and running the result.
_READING_CALLS = 2.0
# The first choice and its corrections; each runs one recorded call, or all of them where it is close.
_MOST_TRIES = 5
# Other inputs than those recorded err a little more: aim below what is allowed.
_AIM = 0.92
# Layers measured alone at the module's output, the most harmful first, take this share of what is left.
_ALONE_SHARE = 0.25
# Of layers left out for one reason, so many are named.
_MOST_NAMED = 8
# Of what all gave together, layers that did not run alone have at least this share.
_LEAST_UNKNOWN = 0.05


@dataclass(frozen=True)
class Share:
    """One layer's part in the choice: its squared error at the module's output, as far as known, and the seconds that it saves."""

    layer: nn.Module
    harm: float
    saved_s: float


def within(shares: Sequence[Share], budget: float) -> list[nn.Module]:
    """Layers whose harms sum to at most the budget and save the most time, nearly: those that save least for their harm go first."""
    left = sorted(shares, key=lambda share: share.saved_s / max(share.harm, 1e-30), reverse=True)
    chosen, spent = [], 0.0
    for share in left:
        if spent + share.harm <= budget:
            spent += share.harm
            chosen.append(share.layer)
    return chosen


@dataclass(frozen=True, kw_only=True)
class Int8Layers:
    """Linear and Conv2d layers in 8-bit integers, as many as the quality allows."""

    name: str = "int8"
    quality: Quality = "balanced"
    needs: Callable[[], str | None] = int8_refusal

    def capability(self, layers: Layers, device: torch.device) -> str | None:
        """See Candidate."""
        why = self.needs()
        if why is not None:
            return why
        chosen = [layer for kind in _KINDS for layer in layers.free(kind, device)]
        if not chosen:
            return "there is no Linear or Conv2d that computes as its class does; such a layer would do"
        return memory_refusal(sum(_numel(layer) for layer in chosen), device)

    def apply_(self, layers: Layers, device: torch.device, trial: Trial) -> Applied:
        """See Candidate."""
        return _Choosing(layers, device, trial).run()

    def recall(self, layers: Layers, device: torch.device, kept: Kept) -> Applied:
        """See Candidate."""
        chosen, named = kept.choices.get("layers"), dict(layers.named())
        if not isinstance(chosen, dict):
            raise ValueError(f'{self.name}: "layers" was to be an object, came {type(chosen).__name__}; measure again')
        eligible = {layer: kernel for kind, kernel in _KINDS.items() for layer in layers.eligible(kind, device)}
        kernels: dict[nn.Module, Int8Kernel] = {}
        group = Group()
        for path, kept_layer in chosen.items():
            layer = named.get(path)
            if layer is None or layer not in eligible:
                raise ValueError(f"{self.name}: layer {path} is not as it was; measure again")
            kernels[layer] = _recalled(eligible[layer](layer, group=group), path, kept_layer, kept)
        return AppliedInt8(layers, kernels, _recalled_extent(kept, len(kernels)))


class AppliedInt8(AppliedKernels):
    """See AppliedKernels. `extent` is for the report."""

    def __init__(self, layers: Layers, kernels: Mapping[nn.Module, Int8Kernel], extent: Extent) -> None:
        super().__init__(layers, kernels)
        self.extent = extent
        self._named = {path: kernels[layer] for path, layer in layers.named() if layer in kernels}

    def keep(self) -> Kept:
        """Ranges and means; weights are quantized again from the module's own, in seconds."""
        choices: dict[str, Json] = {path: _kept(kernel) for path, kernel in self._named.items()}
        means = {path: kernel.correction_O for path, kernel in self._named.items() if kernel.correction_O is not None}
        left_out: list[Json] = [[one.why, one.count, list(one.layers)] for one in self.extent.left_out]
        return Kept({"layers": choices, "of": self.extent.of, "left_out": left_out}, means)


class _Choosing:
    """One choice: reads the layers, then tries sets of them on the recorded calls until one is near enough."""

    def __init__(self, layers: Layers, device: torch.device, trial: Trial) -> None:
        self._layers = layers
        self._trial = trial
        # Squared errors at the module's output of layers that ran alone.
        self._alone: dict[nn.Module, float] = {}
        group = Group()
        self._probes = {
            layer: Int8Probe(layer, kernel(layer, group=group), trial.clock)
            for kind, kernel in _KINDS.items()
            for layer in layers.free(kind, device)
        }

    def run(self) -> Applied:
        """Raises ValueError if no layer gains, or time does not suffice."""
        needed_s = (_READING_CALLS + 1) * self._trial.call_s
        if needed_s > self._trial.left_s():
            raise ValueError(f"choosing layers takes {needed_s:.2g} s or more, {self._trial.left_s():.2g} s are left for it")
        try:
            self._read()
            chosen = self._choose()
        finally:
            self._install(())
        # Only now: what a layer used before is not what was tried on it.
        return AppliedInt8(self._layers, {layer: self._probes[layer].kernel for layer in chosen}, self._extent(chosen))

    def _read(self) -> None:
        """Reads every layer in the last recorded calls, as many as there is time for; the last one's readings count."""
        for layer, probe in self._probes.items():
            self._layers.set_kernel_(layer, probe)
        per_call_s = _READING_CALLS * self._trial.call_s
        num_calls = max(1, min(len(self._trial.calls), int(self._trial.left_s() / 4 / per_call_s)))
        for call in self._trial.calls[-num_calls:]:
            for probe in self._probes.values():
                probe.restart_()
            self._trial.run(call, True)

    def _choose(self) -> Collection[nn.Module]:
        shares = self._shares()
        own_s, saved_s = sum(probe.reading.own_s for probe in self._probes.values()), sum(share.saved_s for share in shares)
        if not shares or saved_s < _MIN_SAVING * own_s:
            raise ValueError(f"{len(shares)} of {len(self._probes)} layers compute faster in 8 bits here, too little; larger ones would")
        allowed = self._trial.allowed.relative_error
        chosen: Collection[nn.Module] = [share.layer for share in shares]
        for _ in range(_MOST_TRIES):
            found = self._try(chosen, most=1)
            if _AIM * allowed < found.relative_error <= allowed:
                found = self._try(chosen)
            if found.refusal(self._trial.allowed) is None:
                return chosen
            if self._trial.left_s() < self._trial.call_s:
                break
            shares = self._measured_alone(self._scaled(shares, chosen, found.relative_error**2))
            chosen = within(shares, (allowed * _AIM) ** 2)
            if not chosen:
                break
        raise ValueError(f"relative error {found.relative_error:.2g} with {len(chosen)} layers, allowed {allowed:.2g}")

    def _shares(self) -> list[Share]:
        """Layers that gain."""
        found = gaining(self._probes.values(), _MIN_SAVING)
        return [Share(layer, reading.error**2, reading.saved_s) for layer, reading in found.items()]

    def _extent(self, chosen: Collection[nn.Module]) -> Extent:
        gain = gaining(self._probes.values(), _MIN_SAVING)
        reasons: dict[str, list[str]] = {}
        for path, layer in self._layers.named():
            probe = self._probes.get(layer)
            if probe is None or layer in chosen:
                continue
            seen = (
                "too much error for the time it saves" if layer in gain else "no faster" if probe.shape else "not run in the recorded calls"
            )
            reasons.setdefault(seen if probe.why is None else probe.why, []).append(path)
        left_out = (LeftOut(why, len(paths), tuple(paths[:_MOST_NAMED])) for why, paths in reasons.items())
        return Extent("int8", len(chosen), len(self._probes), tuple(left_out))

    def _scaled(self, shares: Sequence[Share], chosen: Collection[nn.Module], measured: float) -> list[Share]:
        """Harms such that those of the chosen sum to what was measured of them together; those measured alone stay."""
        together = set(chosen)
        known, unknown = (
            sum(share.harm for share in shares if share.layer in together and (share.layer in self._alone) is is_known)
            for is_known in (True, False)
        )
        factor = max(measured - known, _LEAST_UNKNOWN * measured) / max(1e-30, unknown)
        return [share if share.layer in self._alone else replace(share, harm=share.harm * factor) for share in shares]

    def _measured_alone(self, shares: list[Share]) -> list[Share]:
        """The first time: with the most harmful layers run alone, as many as there is time for."""
        if self._alone:
            return shares
        num_alone = int(_ALONE_SHARE * self._trial.left_s() / self._trial.call_s)
        for share in sorted(shares, key=lambda share: share.harm, reverse=True)[:num_alone]:
            self._alone[share.layer] = self._try([share.layer], most=1).relative_error ** 2
        return [replace(share, harm=self._alone.get(share.layer, share.harm)) for share in shares]

    def _try(self, chosen: Collection[nn.Module], most: int | None = None) -> Difference:
        self._install(chosen)
        found = EQUAL
        for call in self._trial.calls[:most]:
            found = found.worst(difference(call.output, self._trial.run(call, True)))
        return found

    def _install(self, chosen: Collection[nn.Module]) -> None:
        known = set(chosen)
        for layer, probe in self._probes.items():
            self._layers.set_kernel_(layer, probe.kernel if layer in known else None)


def _numel(layer: nn.Module) -> int:
    weight = layer._parameters["weight"]
    return 0 if weight is None else weight.numel()


def _kept(kernel: Int8Kernel) -> Json:
    steps = kernel.steps
    return {"shape": list(kernel.shape), "steps": None if steps is None else [steps.scale, steps.zero_point]}


def _recalled_extent(kept: Kept, count: int) -> Extent:
    of, rows, left_out = kept.choices.get("of"), kept.choices.get("left_out"), []
    for row in rows if isinstance(rows, list) else ():
        match row:
            case [str(why), int(many), [*paths]]:
                left_out.append(LeftOut(why, many, tuple(str(path) for path in paths)))
    return Extent("int8", count, of if isinstance(of, int) else count, tuple(left_out))


def _recalled(kernel: Int8Kernel, path: str, kept_layer: Json, kept: Kept) -> Int8Kernel:
    """The kernel with what was kept of it, its weight quantized."""
    match kept_layer:
        case {"shape": [*shape], "steps": None} if _are_sizes(shape):
            pass
        case {"shape": [*shape], "steps": [float(scale), int(zero_point)]} if _are_sizes(shape) and scale > 0 and 0 <= zero_point <= 255:
            kernel.steps = Steps(scale, zero_point)
        case _:
            raise ValueError(f"int8: layer {path} was to have a shape and [scale, zero point], came {kept_layer!r}; measure again")
    mean_O, num_channels = kept.tensors.get(path), kernel.layer._parameters["weight"].shape[0]
    if mean_O is not None:
        if list(mean_O.shape) != [num_channels] or mean_O.dtype != torch.float32:
            raise ValueError(f"int8: layer {path} was to have {num_channels} float32 means, came {list(mean_O.shape)}; measure again")
        kernel.correction_O = mean_O
    try:
        kernel.prepare_([size for size in shape if isinstance(size, int)])
    except RuntimeError as error:
        raise ValueError(f"int8: layer {path} cannot be packed for an input of {shape}; measure again") from error
    return kernel


def _are_sizes(shape: list[Json]) -> bool:
    return len(shape) >= 2 and all(isinstance(size, int) and size > 0 for size in shape)
