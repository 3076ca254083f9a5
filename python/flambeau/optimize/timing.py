"""Which of two ways to run the same thing is faster, on a machine that others use too. Knows no modules."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .limits import Limits

Clock = Callable[[], float]


@dataclass(frozen=True)
class Clocks:
    """Both in seconds: `work` times the contenders, `wall` what the caller waits for."""

    work: Clock
    wall: Clock


def work_clock(device_type: str) -> Clock:
    """What tells best how long work takes: the thread's own CPU time where one thread does it all, as others then cannot disturb it."""
    if device_type == "cuda":
        return _after_launches
    return time.thread_time if device_type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def _after_launches() -> float:
    """The time once the current GPU has done all that it was given: a launch returns long before."""
    torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class Race:
    """Seconds of the pairs that ran: each pair is one run of each, next to each other in time."""

    pairs: tuple[tuple[float, float], ...]

    @property
    def speed_up(self) -> float:
        """Median over pairs of incumbent / challenger: above 1, the challenger is faster. A ratio of neighbours sees no drift."""
        return statistics.median(a / b for a, b in self.pairs)

    def refusal(self, limits: Limits) -> str | None:
        """Why the challenger has not won, or None: it must gain enough at the median, and win most pairs."""
        won = sum(a > b for a, b in self.pairs)
        if self.speed_up < limits.min_gain:
            return f"{self.speed_up:.2f}x of what ran before it, {limits.min_gain}x needed"
        if won < limits.min_won * len(self.pairs):
            return f"{self.speed_up:.2f}x of what ran before it, but faster in only {won} of {len(self.pairs)} pairs"
        return None


@dataclass(frozen=True)
class Contender:
    """One way to run it: what must be set up before, untimed, and the run."""

    prepare: Callable[[], object]
    run: Callable[[], object]


def race(incumbent: Contender, challenger: Contender, limits: Limits, clocks: Clocks) -> Race:
    """Times both in turn (A B, B A, A B, …); stops early when it is hopeless. Both have run before: a first run prepares weights."""
    pairs: list[tuple[float, float]] = []
    started = clocks.wall()
    clock = clocks.work
    while len(pairs) < limits.max_pairs:
        if len(pairs) % 2 == 0:
            a, b = _seconds(incumbent, clock), _seconds(challenger, clock)
        else:
            b, a = _seconds(challenger, clock), _seconds(incumbent, clock)
        pairs.append((a, b))
        if (
            a / b < limits.hopeless
            or _is_decided(pairs, limits)
            or (len(pairs) >= limits.min_pairs and clocks.wall() - started > limits.pairs_s)
        ):
            break
    return Race(tuple(pairs))


def _seconds(contender: Contender, clock: Clock) -> float:
    contender.prepare()
    before = clock()
    contender.run()
    return max(clock() - before, 1e-9)


def _is_decided(pairs: Sequence[tuple[float, float]], limits: Limits) -> bool:
    """The challenger cannot win enough pairs any more, has lost all of enough, or has won all of more than enough."""
    lost = sum(a <= b for a, b in pairs)
    if lost > (1 - limits.min_won) * limits.max_pairs or (len(pairs) >= limits.min_pairs and lost == len(pairs)):
        return True
    return len(pairs) >= limits.sure_pairs and all(a > b * limits.min_gain for a, b in pairs)
