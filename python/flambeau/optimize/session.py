"""What the targets of one plan share: settings, the lock, the budget, the counts. Knows no modules."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import bfloat16, float16

from .calls import tree
from .candidates import Candidate
from .graph.build import Builder
from .kept.store import Store
from .limits import HALF_ROUNDING, Limits, Quality, Tolerance, tolerance
from .report import EagerCalls, Notice
from .switch import Depth, Switch
from .timing import Clock

_OTHERS = "other reasons"


@dataclass(frozen=True)
class Request:
    """What was asked for, of a module of this name."""

    module: str
    quality: Quality
    # Seconds that measuring may take; None: at least Limits.budget_s, more where the warm-up itself is long.
    budget_s: float | None


@dataclass(frozen=True, kw_only=True)
class Means:
    """What all plans of one registry work with."""

    table: Mapping[str, tuple[Candidate, ...]]
    limits: Limits
    clock: Clock
    # By device type: what races are timed with.
    work_clock: Callable[[str], Clock]
    # On while this thread replays calls, so that an inner plan does not take them for real ones.
    measuring: Switch
    listen: Callable[[Notice], None]


@dataclass(frozen=True)
class Persistence:
    """What outlives the process: None for nothing kept, and for nothing built."""

    store: Store | None = None
    builder: Builder | None = None


class Session:
    """One `optimize(module)`: what was asked for, and what has been spent on it."""

    def __init__(self, request: Request, means: Means, persistence: Persistence) -> None:
        self.request = request
        self.store = persistence.store
        self.builder = persistence.builder
        self.table = means.table
        self.limits = means.limits
        self.clock = means.clock
        self.work_clock = means.work_clock
        self.measuring = means.measuring
        self.lock = threading.RLock()
        self.depth = Depth()
        self.in_flight = 0
        self.is_measuring = False
        self.spent_s = 0.0
        self.warm_up_s = 0.0
        self._listen = means.listen
        self._eager_calls: Counter[str] = Counter()

    @property
    def budget_s(self) -> float:
        """Seconds that measuring may take in all."""
        if self.request.budget_s is not None:
            return self.request.budget_s
        return max(self.limits.budget_s, self.limits.budget_per_warm_up * self.warm_up_s)

    def tell(self, phase: Literal["measuring", "done"], step: int, total: int, message: str) -> None:
        """To the listener, if there is one."""
        self._listen(Notice(self.request.module, phase, step, total, message))

    def tolerance(self, output: Any) -> Tolerance:
        """How far a result may be from this one of eager's."""
        return tolerance(self.request.quality, 0.0, _is_half(output))

    def exact(self, output: Any) -> Tolerance:
        """The same for what computes with the module's own numbers: a package of other weights must not pass for one of these."""
        is_half = _is_half(output)
        return tolerance("lossless", HALF_ROUNDING if is_half else 0.0, is_half)

    def count_eager(self, why: str) -> None:
        """One more call that ran eagerly, and why."""
        known = why in self._eager_calls or len(self._eager_calls) < self.limits.reasons_kept
        self._eager_calls[why if known else _OTHERS] += 1

    @property
    def eager_calls(self) -> tuple[EagerCalls, ...]:
        """Counts by reason, the most frequent first."""
        return tuple(EagerCalls(why, count) for why, count in self._eager_calls.most_common())


def _is_half(output: Any) -> bool:
    return any(tensor.dtype in (float16, bfloat16) for tensor in tree.tensors(output))
