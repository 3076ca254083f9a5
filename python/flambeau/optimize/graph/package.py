"""A compiled package of one module for one kind of call: loaded from the store, run in the module's place. Knows no measuring.

A package crashes the process if its file is damaged or its instructions are foreign: only what the store has verified is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..cuda.package import FILE as SHARED
from ..cuda.package import Shared, loader_refusal
from ..kept.identity import processor_flags
from ..kept.store import Entry
from ..leaf.layers import DECLINED
from .inputs import Inputs
from .skeleton import Fill
from .watch import Watch

FILE: Final = "package.so"
# What a package says it was compiled for, as the system's flags name it.
_FLAGS: Final[Mapping[str, str]] = {"avx2": "avx2", "avx512": "avx512f"}


@dataclass(frozen=True)
class Compiled:
    """What computes a package's flat outputs of its flat inputs, and how many there are."""

    run: Callable[[list[Tensor]], list[Tensor]]
    num_outputs: int


class Package:
    """Computes whole calls as the module did when the package was built; declines other kinds, and all once the module has changed."""

    def __init__(self, compiled: Compiled, owner: nn.Module, inputs: Inputs, fill: Fill) -> None:
        self.has_changed = False
        self._compiled = compiled
        self._inputs = inputs
        self._fill = fill
        self._watch = Watch(owner)

    @staticmethod
    def loaded(entry: Entry, owner: nn.Module, inputs: Inputs, fill: Fill) -> Package:
        """Raises ValueError, or what torch raises, for an entry that does not fit."""
        _check(entry.body, inputs)
        described = entry.body.get("shared")
        run = Shared(entry.path(SHARED), owner, described) if described is not None else _runner()(str(entry.path(FILE)), 1).run
        return Package(Compiled(run, entry.body["outputs"]), owner, inputs, fill)

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self.has_changed or not self._watch.holds():
            self.has_changed = True
            return DECLINED
        tensors = self._inputs.tensors(args, kwargs)
        if tensors is None:
            return DECLINED
        outputs = self._compiled.run(tensors)
        return self._fill(iter(outputs)) if len(outputs) == self._compiled.num_outputs else DECLINED


def refusal(is_shared: bool = False) -> str | None:
    """Why this torch cannot run packages, or None. `is_shared`: those that run on the module's own weights."""
    if is_shared:
        return loader_refusal()
    return None if _runner() is not None else f"torch {torch.__version__} cannot run compiled packages; 2.6 and later can"


def _runner() -> Any:
    found: Any = getattr(torch._C, "_aoti", None)
    return getattr(found, "AOTIModelContainerRunnerCpu", None)


def _check(body: Mapping[str, Any], inputs: Inputs) -> None:
    why = refusal(body.get("shared") is not None)
    if why is not None:
        raise ValueError(why)
    if body.get("inputs") != inputs.describe():
        raise ValueError("the package was built for other inputs")
    if not isinstance(body.get("outputs"), int):
        raise ValueError("the package does not say what it returns")
    needed, flags = str(body.get("isa", "")).lower(), processor_flags()
    if flags and _FLAGS.get(needed, "") not in (flags | {""}):
        raise ValueError(f"the package needs {needed}, which this processor has not")
