"""Compiled packages on a GPU: how one is compiled, and one that runs on the module's own weights, its launches recorded.
Knows torch's compiler and loader, no store and no module in use.

The weights stay where they are, so that a package is a few MB and edits in place are seen; sizes and layouts must be as they were.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from .replay import Record, Recorder, Replay, recording_refusal

FILE: Final = "package.pt2"
# The compiler's wrapper holds the module as this attribute.
PREFIX: Final = "owner."
# Attention that was found faster: torch decides it while it traces. Then the others, in this order.
_OTHERS: Final = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")
_MOST_COMPILERS: Final = 8


def compile_to(exported: Any, target: Path) -> None:
    """Writes the package of an exported program."""
    import torch._inductor

    settings: dict[str, Any] = {
        "aot_inductor.package_constants_in_so": False,
        "aot_inductor.precompile_headers": False,
        "compile_threads": max(1, min(_MOST_COMPILERS, (os.cpu_count() or 2) // 2)),
    }
    torch._inductor.aoti_compile_and_package(exported, package_path=str(target), inductor_configs=settings)


def attention(first: str | None) -> contextlib.AbstractContextManager[Any]:
    """In which to trace a module so that its attention is computed by this backend; None for torch's own choice."""
    if first is None:
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = [getattr(SDPBackend, name) for name in dict.fromkeys((first, *_OTHERS))]
    chosen: contextlib.AbstractContextManager[Any] = sdpa_kernel(order, set_priority=True)
    return chosen


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """By the names that a package knows them by."""
    return {f"{PREFIX}{name}": tensor.detach() for name, tensor in _named(module)}


def describe(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """As JSON: what a package takes for granted of weights and checks nowhere."""
    return {name: [str(w.dtype), list(w.shape), list(w.stride())] for name, w in weights.items()}


def loader_refusal() -> str | None:
    """Why this torch cannot run such packages, or None."""
    return None if _loader() is not None else f"torch {torch.__version__} cannot run compiled packages; 2.6 and later can"


class Shared:
    """A loaded package; call it with the tensors that it takes. Records its launches where that can be done."""

    def __init__(self, path: Path, module: nn.Module, described: Any, record: Record | None = None) -> None:
        """Raises ValueError, or what torch raises, for weights that are not as they were when it was compiled."""
        weights = weights_of(module)
        if described != describe(weights):
            raise ValueError("the package was built for weights of other sizes or layouts")
        device = next(iter(weights.values())).device
        index = device.index if device.index is not None else -1
        # One run at a time, as whoever calls it has it: recorded launches leave no choice.
        self._package = _loader()(str(path), "model", True, 1, index)
        missing = [name for name in self._package.get_constant_fqns() if name not in weights]
        if missing:
            raise ValueError(f"the package knows a weight {missing[0]}, which the module has not")
        # Raw addresses are kept inside; the tensors live as long as this does.
        self._weights = {name: weights[name] for name in self._package.get_constant_fqns()}
        self._package.load_constants(self._weights, False, True, True)
        self._launches = Launches(self._package.run, device, record)

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Its outputs, in memory of their own."""
        return self._launches(tensors)


class Launches:
    """Something compiled, whose launches are recorded at its first call where that can be done. One call at a time."""

    def __init__(self, run: Callable[[list[Tensor]], Sequence[Tensor]], device: torch.device, record: Record | None = None) -> None:
        self._run = run
        self._record = record or (Recorder() if device.type == "cuda" and recording_refusal() is None else None)
        self._replay: Replay | None = None
        self._lock = threading.Lock()

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Outputs in memory of their own."""
        with self._lock:
            if self._record is not None:
                self._replay, self._record = self._recorded(tensors, self._record), None
            return list(self._run(list(tensors)) if self._replay is None else self._replay(tensors))

    def _recorded(self, tensors: Sequence[Tensor], record: Record) -> Replay | None:
        try:
            return Replay(tensors, self._run, record)
        except Exception:  # It runs launch by launch as well.
            return None


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A weight that sits in two places by both names: a package knows either."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _loader() -> Any:
    return getattr(getattr(torch._C, "_aoti", None), "AOTIModelPackageLoader", None)
