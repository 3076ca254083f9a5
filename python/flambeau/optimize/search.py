"""Trying the candidates of a device one after the other on recorded calls. Knows no pipelines and no plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from .applied import Applied, Candidate, Trial
from .calls.capture import Call
from .gate import EQUAL, Difference, between, difference
from .leaf.layers import Layers
from .limits import QUALITIES, Limits, Quality, Tolerance, tolerance
from .reference import in_float32, is_half
from .report import Skipped
from .timing import Clocks, Contender, Race, race

# Of one candidate: its first run, which prepares it, and one pair.
_FEWEST_RUNS = 3
# A first run may take so many times as long as those after it.
_COLD_RATIO = 10
_SHORT_RUNS = 5
# Of the budget, what a float32 twin of a module in half precision may take.
_TWIN_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured and with what. `run(call, fast)` computes a recorded call to its end, its kernels on or off."""

    layers: Layers
    device: torch.device
    calls: Sequence[Call]
    run: Callable[[Call, bool], Any]
    limits: Limits
    clocks: Clocks
    budget_s: float
    quality: Quality
    tell: Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was accepted, and how it compares with eager. Nothing is enabled that is not in `applied`."""

    applied: tuple[tuple[str, Applied], ...] = ()
    skipped: tuple[Skipped, ...] = ()
    speed_up: float | None = None
    difference: Difference | None = None
    call_s: float = 0.0
    tolerance: Tolerance | None = None
    is_short: bool = False


class Search:
    """One run over a table. Whatever happens in it, only accepted candidates stay enabled."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._started_s = bench.clocks.wall()
        self._accepted: list[tuple[str, Applied]] = []
        self._skipped: list[Skipped] = []
        self._difference = EQUAL
        self._num_accepted = 0
        self._speed_up = 1.0
        self._call_s = 0.0
        # What candidates are compared with, and how far eager's own output is from that.
        self._calls = bench.calls
        self._rounding = 0.0

    def run(self, table: Sequence[Candidate]) -> Outcome:
        """Accepts what is near enough and faster. A BaseException (a cancel) leaves nothing enabled and goes on."""
        try:
            return self._run(table)
        except BaseException:
            self._withdraw()
            raise

    def _run(self, table: Sequence[Candidate]) -> Outcome:
        bench = self._bench
        allowed = self._look_at_eager()
        if isinstance(allowed, Skipped):
            is_short = self._call_s < bench.limits.min_call_s
            return replace(self._outcome(allowed), is_short=is_short)
        if not table:
            return self._outcome(Skipped("optimize", f"there is no candidate for {bench.device.type} yet"))
        able = [candidate for candidate in table if self._is_able(candidate)]
        for step, candidate in enumerate(able):
            bench.tell(step, len(able), f"trying {candidate.name}")
            if self._accepted and not self._is_able(candidate):
                continue
            left_s, needed_s = self._left_s(), _FEWEST_RUNS * self._call_s
            if needed_s > left_s:
                why = f"measuring it takes {needed_s:.2g} s or more, the budget of {bench.budget_s:.2g} s leaves less"
                self._skipped.append(Skipped(candidate.name, why))
            else:
                self._try(candidate, left_s / (len(able) - step), allowed)
        return self._conclude(allowed)

    def _look_at_eager(self) -> Tolerance | Skipped:
        """Runs the first call again: how long eager takes, and whether it gives the same twice. What a candidate may differ by."""
        bench, call = self._bench, self._bench.calls[0]
        half = is_half(call)
        self._call_s = call.seconds
        if bench.budget_s < (2 + _FEWEST_RUNS) * self._call_s:
            # One more eager run could leave nothing to try a candidate with.
            return tolerance(bench.quality, 0.0, half)
        before = bench.clocks.wall()
        output = bench.run(call, False)
        self._call_s = bench.clocks.wall() - before
        if self._call_s < _COLD_RATIO * bench.limits.min_call_s:
            # Cold, or while others use the machine, a short call looks long: the fastest of some tells.
            self._call_s = min(self._call_s, *(self._run_s(call) for _ in range(_SHORT_RUNS)))
        if self._call_s < bench.limits.min_call_s:
            return Skipped("optimize", f"a call takes {self._call_s * 1e3:.2g} ms: too short to gain")
        noise = difference(call.output, output).relative_error
        # Even "fast" wants the module itself to agree with itself: if not, it draws, remembers or races.
        if noise > tolerance("balanced", 0.0, half).relative_error / 2:
            return Skipped("optimize", f"two eager runs of the same call differ by {noise:.2g}: there is nothing to compare with")
        if half:
            noise = max(noise, self._look_at_float32())
        return tolerance(bench.quality, noise, half)

    def _run_s(self, call: Call) -> float:
        before = self._bench.clocks.wall()
        self._bench.run(call, False)
        return self._bench.clocks.wall() - before

    def _look_at_float32(self) -> float:
        """From now on candidates are compared with a float32 twin's outputs, if there can be one; how far eager is from them."""
        bench = self._bench
        calls = in_float32(bench.layers.owner, bench.calls, bench.device, _TWIN_SHARE * self._left_s())
        if calls is None:
            return 0.0
        self._calls = calls
        self._rounding = max(between(call.output, own.output).relative_error for call, own in zip(calls, bench.calls, strict=True))
        return self._rounding

    def _is_able(self, candidate: Candidate) -> bool:
        bench, why = self._bench, None
        if QUALITIES.index(candidate.quality) > QUALITIES.index(bench.quality):
            why = f'quality "{candidate.quality}" would allow it, "{bench.quality}" does not'
        else:
            try:
                why = candidate.capability(bench.layers, bench.device)
            except Exception as error:  # A candidate's fault is a reason, never the caller's failure.
                why = _text(error)
        if why is not None:
            self._skipped.append(Skipped(candidate.name, why))
        return why is None

    def _try(self, candidate: Candidate, share_s: float, allowed: Tolerance) -> None:
        """Accepts the candidate, or says why not and leaves nothing of it."""
        bench, name, until_s = self._bench, candidate.name, self._bench.clocks.wall() + share_s
        applied: Applied | None = None
        is_kept = False
        try:
            applied = candidate.apply_(bench.layers, bench.device, self._trial(allowed))
            applied.enable()
            found, fast_s = self._compare()
            skipped = self._refused(name, found, allowed)
            if skipped is None:
                limits = self._thoroughness(self._call_s + fast_s, until_s - bench.clocks.wall())
                result = self._race(applied, limits)
                more = self._second_look(result, limits)
                if more is not None:
                    limits, result = more, Race(result.pairs + self._race(applied, more).pairs)
                why = result.refusal(limits)
                skipped = None if why is None else Skipped(name, why, result.speed_up)
                if skipped is None:
                    self._accept(name, applied, found, result)
                    is_kept = True
        except Exception as error:  # Likewise.
            skipped = Skipped(name, _text(error))
        finally:
            if applied is not None and not is_kept:
                applied.disable()
            bench.layers.prune_()
        if skipped is not None:
            self._skipped.append(skipped)

    def _trial(self, allowed: Tolerance) -> Trial:
        # What is prepared is then run once and raced for one pair; it would not have been if it were as slow as eager.
        bench, needed_s = self._bench, (_FEWEST_RUNS - 0.5) * self._call_s
        return Trial(
            calls=self._calls,
            run=bench.run,
            allowed=allowed,
            call_s=self._call_s,
            clock=bench.clocks.work,
            min_saving=1 - 1 / bench.limits.min_gain if bench.limits.min_gain else -math.inf,
            left_s=lambda: self._left_s() - needed_s,
        )

    def _compare(self) -> tuple[Difference, float]:
        """The worst over all calls, or over as many as leave time for one pair; and the seconds of the fastest."""
        bench, found, fast_s = self._bench, EQUAL, math.inf
        for call in self._calls:
            if fast_s < math.inf and self._left_s() < self._call_s + 2 * fast_s:
                break
            before = bench.clocks.wall()
            output = bench.run(call, True)
            fast_s = min(fast_s, bench.clocks.wall() - before)
            found = found.worst(difference(call.output, output))
        return found, fast_s

    def _refused(self, name: str, found: Difference, allowed: Tolerance) -> Skipped | None:
        failures = self._bench.layers.failures
        why = failures[0] if failures else found.refusal(allowed)
        failures.clear()
        return None if why is None else Skipped(name, why)

    def _accept(self, name: str, applied: Applied, found: Difference, result: Race) -> None:
        applied.enable()
        kept = [(other, older) for other, older in self._accepted if not applied.supersedes_(older)]
        self._num_accepted += 1
        self._accepted = [*kept, (name, applied)]
        self._difference = found
        self._speed_up *= result.speed_up

    def _race(self, applied: Applied, limits: Limits) -> Race:
        run, call, has_incumbent = self._bench.run, self._bench.calls[0], bool(self._accepted)
        incumbent = Contender(applied.disable, lambda: run(call, has_incumbent))
        return race(incumbent, Contender(applied.enable, lambda: run(call, True)), limits, self._bench.clocks)

    def _conclude(self, allowed: Tolerance) -> Outcome:
        """What was accepted alone was timed against eager already; several are timed once more together, if that can be paid for."""
        bench = self._bench
        if self._num_accepted > 1 and 2 * self._call_s <= self._left_s():
            call, stack = bench.calls[0], [applied for _, applied in self._accepted]
            eager = Contender(partial(_each, [applied.disable for applied in reversed(stack)]), lambda: bench.run(call, False))
            fast = Contender(partial(_each, [applied.enable for applied in stack]), lambda: bench.run(call, True))
            result = race(eager, fast, self._thoroughness(2 * self._call_s, self._left_s()), bench.clocks)
            fast.prepare()
            self._speed_up = result.speed_up
            why = result.refusal(bench.limits)
            if why is not None:
                names = " + ".join(name for name, _ in self._accepted)
                self._withdraw()
                self._skipped.append(Skipped(names, f"in the last race, against eager: {why}", result.speed_up))
        if not self._accepted:
            return self._outcome()
        return replace(
            self._outcome(),
            applied=tuple(self._accepted),
            speed_up=self._speed_up,
            difference=self._difference,
            # Later calls are compared with eager's output, which is itself so far from the reference.
            tolerance=replace(allowed, relative_error=allowed.relative_error + self._rounding),
        )

    def _second_look(self, result: Race, limits: Limits) -> Limits | None:
        """Two more pairs for one that gained, but not enough for a single pair; if the budget has them."""
        base = self._bench.limits
        if limits.max_pairs > 1 or not base.min_gain <= result.speed_up < limits.min_gain:
            return None
        return replace(base, min_pairs=2, max_pairs=2) if 4 * self._call_s <= self._left_s() else None

    def _left_s(self) -> float:
        return self._bench.budget_s - (self._bench.clocks.wall() - self._started_s)

    def _thoroughness(self, pair_s: float, share_s: float) -> Limits:
        """As many pairs as this share of the budget pays for, at least one."""
        limits = self._bench.limits
        two = replace(limits, min_pairs=2, max_pairs=2)
        # One pair can be luck: the gain must be one that luck does not give.
        one = replace(limits, min_pairs=1, max_pairs=1, min_gain=limits.min_gain_of_one_pair)
        return next((choice for choice in (limits, two) if choice.min_pairs * pair_s <= share_s), one)

    def _withdraw(self) -> None:
        for _, applied in reversed(self._accepted):
            applied.disable()
        self._accepted.clear()
        self._bench.layers.prune_(everything=True)

    def _outcome(self, *more: Skipped) -> Outcome:
        return Outcome(skipped=(*more, *self._skipped), call_s=self._call_s)


def _each(actions: Sequence[Callable[[], None]]) -> None:
    for action in actions:
        action()


def _text(error: BaseException) -> str:
    first = str(error).splitlines()[:1]
    return f"{type(error).__name__}: {first[0] if first else 'no message'}"
