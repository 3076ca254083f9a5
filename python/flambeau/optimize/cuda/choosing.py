"""The row for Linear layers in 8 bits: those that are large enough, whose shape is faster so on this GPU, and that err little enough."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..applied import Applied, Kept, Trial
from ..gate import EQUAL, Difference, difference
from ..leaf.layers import Layers
from ..limits import Quality
from ..memory import memory_refusal
from ..timing import Clock
from .around import AppliedCopies
from .eight_bit import EightBitLinear

# The ends of a model and its small conditioning layers err most and save least (NVIDIA ModelOpt's list for diffusion models).
_SKIPPED: Final = re.compile(
    "time_emb_proj|time_embedding|add_embedding|time_text_embed|context_embedder|x_embedder|pos_embed|norm_out|proj_out$|conv_|lm_head"
)
# Smaller matrices are over before they are coded.
_LEAST_SIDE: Final = 512
_MULTIPLE: Final = 16
_HALVES: Final = (torch.float16, torch.bfloat16)
# Of a layer's own time.
_MIN_SAVING: Final = 0.05
_RUNS: Final = 20
_ROUNDS: Final = 3
# Each with half of the layers of the one before it.
_MOST_TRIES: Final = 3


@dataclass(frozen=True)
class Shape:
    """Layers alike in time: rows of the input, features of input and output."""

    rows: int
    inputs: int
    outputs: int
    has_bias: bool


@dataclass(frozen=True, kw_only=True)
class EightBitLayers:
    """See the head of this file. `needs` says why a device cannot; `widths` is what weights must be in before."""

    name: str
    kernel: type[EightBitLinear]
    needs: Callable[[torch.device], str | None]
    quality: Quality = "balanced"
    widths: Collection[torch.dtype] = _HALVES
    least_side: int = _LEAST_SIDE

    def capability(self, layers: Layers, device: torch.device) -> str | None:
        """See Candidate."""
        why = self.needs(device)
        if why is not None:
            return why
        chosen = self._large(layers, layers.free(nn.Linear, device))
        if not chosen:
            return f"there is no Linear left in 16 bits with {self.least_side} or more features in and out; such a layer would do"
        return memory_refusal(sum(layer.in_features * layer.out_features for layer in chosen), device)

    def apply_(self, layers: Layers, device: torch.device, trial: Trial) -> Applied:
        """See Candidate."""
        by_shape = self._by_shape(layers, device, trial)
        saved: list[tuple[float, list[Any]]] = []
        for shape, alike in by_shape.items():
            own_s, here_s = self._seconds(shape, alike[0], trial.clock)
            if own_s - here_s > _MIN_SAVING * own_s:
                saved.append(((own_s - here_s) * len(alike), alike))
        if not saved:
            raise ValueError(f"no layer of {sum(map(len, by_shape.values()))} computes faster in 8 bits here; larger ones would")
        saved.sort(key=lambda one: one[0], reverse=True)
        return self._near_enough(layers, trial, [layer for _, alike in saved for layer in alike])

    def recall(self, layers: Layers, device: torch.device, kept: Kept) -> Applied:
        """See Candidate."""
        paths, named = kept.choices.get("layers"), dict(layers.named())
        if not isinstance(paths, dict):
            raise ValueError(f'{self.name}: "layers" was to be an object, came {type(paths).__name__}; measure again')
        able = set(self._large(layers, layers.eligible(nn.Linear, device)))
        missing = [path for path in paths if named.get(path) not in able]
        if missing:
            raise ValueError(f"{self.name}: layer {missing[0]} is not as it was; measure again")
        return self._applied(layers, [named[path] for path in paths])

    def _large(self, layers: Layers, given: Sequence[nn.Module]) -> list[Any]:
        skipped = {layer for path, layer in layers.named() if _SKIPPED.search(path)}
        linears: list[Any] = [layer for layer in given if layer not in skipped]
        return [
            layer
            for layer in linears
            if layer.weight.dtype in self.widths
            and min(layer.in_features, layer.out_features) >= self.least_side
            and layer.in_features % _MULTIPLE == 0
            and layer.out_features % _MULTIPLE == 0
        ]

    def _by_shape(self, layers: Layers, device: torch.device, trial: Trial) -> Mapping[Shape, list[Any]]:
        """Seen in one call, run eagerly."""
        found: dict[Shape, list[Any]] = defaultdict(list)

        def note(layer: Any, args: tuple[Any, ...]) -> None:
            x = args[0]
            shape = Shape(x.numel() // x.shape[-1], layer.in_features, layer.out_features, layer.bias is not None)
            if layer not in found[shape]:
                found[shape].append(layer)

        handles = [layer.register_forward_pre_hook(note) for layer in self._large(layers, layers.free(nn.Linear, device))]
        try:
            trial.run(trial.calls[0], False)
        finally:
            for handle in handles:
                handle.remove()
        return found

    def _seconds(self, shape: Shape, layer: Any, clock: Clock) -> tuple[float, float]:
        """Of the layer itself and of its kernel; infinite where the kernel does not take such an input."""
        weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
        with torch.inference_mode(False), torch.no_grad():
            x_BD = torch.linspace(-1, 1, shape.rows * shape.inputs, dtype=weight.dtype, device=weight.device).view(shape.rows, -1)
            kernel = self.kernel(layer)
            try:
                is_taken = kernel(x_BD) is not None
            except Exception:  # A shape that the GPU's library refuses stays as it is.
                is_taken = False
            own_s = _fastest(lambda: F.linear(x_BD, weight, bias), clock)
            return own_s, _fastest(lambda: kernel(x_BD), clock) if is_taken else float("inf")

    def _near_enough(self, layers: Layers, trial: Trial, chosen: list[Any]) -> Applied:
        found = EQUAL
        for _ in range(_MOST_TRIES):
            applied = self._applied(layers, chosen)
            found = self._tried(applied, trial)
            if found.refusal(trial.allowed) is None or len(chosen) == 1:
                return applied
            # The first save most.
            chosen = chosen[: (len(chosen) + 1) // 2]
        raise ValueError(f"{found.refusal(trial.allowed)}, with {len(chosen)} layers")

    def _tried(self, applied: Applied, trial: Trial) -> Difference:
        applied.enable()
        try:
            return difference(trial.calls[0].output, trial.run(trial.calls[0], True))
        finally:
            applied.disable()

    def _applied(self, layers: Layers, chosen: Sequence[nn.Module]) -> Applied:
        return AppliedCopies(layers, {layer: self.kernel(layer) for layer in chosen})


def _fastest(run: Callable[[], Tensor | None], clock: Clock) -> float:
    best_s = float("inf")
    for _ in range(_ROUNDS):
        before_s = clock()
        for _ in range(_RUNS):
            run()
        best_s = min(best_s, clock() - before_s)
    return best_s / _RUNS


def float8_refusal(device: torch.device) -> str | None:
    """Why a GPU cannot multiply in FP8, or None."""
    if not hasattr(torch, "_scaled_mm"):
        return f"torch {torch.__version__} has no _scaled_mm; 2.5 and later have it"
    found = torch.cuda.get_device_capability(device)
    return None if found >= (8, 9) else f"the GPU's compute capability is {found[0]}.{found[1]}; 8.9 or more would do"


def float8_by_row_refusal(device: torch.device) -> str | None:
    """The same for a scale for each row."""
    if str(torch.version.cuda).startswith("12.9"):
        # Its cuBLASLt ends the process at some shapes (torchao warns of it).
        return "CUDA 12.9 cannot be trusted with it; 13.0 or 12.8 would do"
    return float8_refusal(device)


def int8_refusal(device: torch.device) -> str | None:
    """Why a GPU cannot multiply 8-bit integers, or None."""
    found = torch.cuda.get_device_capability(device)
    return None if found >= (8, 0) else f"the GPU's compute capability is {found[0]}.{found[1]}; 8.0 or more would do"
