"""What the targets of one plan share: settings, the lock, the budget, the counts. Knows no modules."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from .candidates import Candidate
from .limits import Limits, Quality
from .report import EagerCalls, Notice
from .switch import Depth, Switch
from .timing import Clock

_OTHERS = "other reasons"


@dataclass(frozen=True)
class Request:
    """What was asked for, of a module of this class."""

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


class Session:
    """One `optimize(module)`: what was asked for, and what has been spent on it."""

    def __init__(self, request: Request, means: Means) -> None:
        self.request = request
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

    def count_eager(self, why: str) -> None:
        """One more call that ran eagerly, and why."""
        known = why in self._eager_calls or len(self._eager_calls) < self.limits.reasons_kept
        self._eager_calls[why if known else _OTHERS] += 1

    @property
    def eager_calls(self) -> tuple[EagerCalls, ...]:
        """Counts by reason, the most frequent first."""
        return tuple(EagerCalls(why, count) for why, count in self._eager_calls.most_common())
