"""Where one call's time goes, by kind of layer: noted once, in a real call of the fast path. Knows modules, no kernels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from .report import Share

BETWEEN = "between layers"
PACKAGE = "compiled package"


class Breakdown:
    """Of one target. Is due until a call was noted."""

    def __init__(self, owner: nn.Module) -> None:
        self.shares: tuple[Share, ...] = ()
        self.is_due = True
        self._owner = owner

    def run(self, call: Callable[[], Any]) -> Any:
        """The call, with hooks on the innermost modules while it runs. What they do not see is "between layers"."""
        self.is_due = False
        now, seconds, handles, entered_s = self._clock(), dict[str, float](), [], 0.0

        def enter(*_: Any) -> None:
            nonlocal entered_s
            entered_s = now()

        def leave(layer: nn.Module, *_: Any) -> None:
            name = type(layer).__name__
            seconds[name] = seconds.get(name, 0.0) + now() - entered_s

        for layer in self._owner.modules():
            if next(layer.children(), None) is None:
                handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
        try:
            before_s = now()
            output = call()
            rest_s = max(0.0, now() - before_s - sum(seconds.values()))
        finally:
            for handle in handles:
                handle.remove()
        self.shares = merged([[Share(name, spent_s) for name, spent_s in seconds.items()], [Share(BETWEEN, rest_s)]])
        return output

    def _clock(self) -> Callable[[], float]:
        parameter = next(self._owner.parameters(), None)
        if parameter is None or not parameter.is_cuda:
            return time.perf_counter
        device = parameter.device

        def now_s() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return now_s


def merged(breakdowns: Sequence[Sequence[Share]]) -> tuple[Share, ...]:
    """Of several, the largest share first."""
    seconds: dict[str, float] = {}
    for share in (share for shares in breakdowns for share in shares):
        seconds[share.what] = seconds.get(share.what, 0.0) + share.seconds
    return tuple(Share(what, spent_s) for what, spent_s in sorted(seconds.items(), key=lambda item: -item[1]))
