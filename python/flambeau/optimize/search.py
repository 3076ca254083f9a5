"""Trying the candidates of a device one after the other on recorded calls. Knows no pipelines and no plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .candidates import Applied, Candidate
from .capture import Call
from .gate import EQUAL, Difference, difference
from .layers import Layers
from .limits import QUALITIES, Limits, Quality, Tolerance, tolerance
from .report import Skipped
from .timing import Clock, Contender, Race, race


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured and with what. `run(call, fast)` computes a recorded call to its end, its kernels on or off."""

    layers: Layers
    device: torch.device
    calls: Sequence[Call]
    run: Callable[[Call, bool], Any]
    limits: Limits
    clock: Clock
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
        self._started_s = bench.clock()
        self._accepted: list[tuple[str, Applied]] = []
        self._skipped: list[Skipped] = []
        self._difference = EQUAL
        self._last_race: Race | None = None
        self._call_s = 0.0
        self._has_superseded = False

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
        for step, candidate in enumerate(table):
            bench.tell(step, len(table), f"trying {candidate.name}")
            skipped = self._try(candidate, allowed)
            if skipped is not None:
                self._skipped.append(skipped)
        return self._conclude(allowed)

    def _look_at_eager(self) -> Tolerance | Skipped:
        """Runs the first call again: how long eager takes, and whether it gives the same twice. What a candidate may differ by."""
        bench, call = self._bench, self._bench.calls[0]
        before = bench.clock()
        output = bench.run(call, False)
        self._call_s = bench.clock() - before
        if self._call_s < bench.limits.min_call_s:
            return Skipped("optimize", f"a call takes {self._call_s * 1e3:.2g} ms: too short to gain")
        noise = difference(call.output, output).relative_error
        is_half = any(isinstance(leaf, Tensor) and leaf.dtype in (torch.float16, torch.bfloat16) for _, leaf in call.output)
        allowed = tolerance(bench.quality, noise, is_half)
        # Even "fast" wants the module itself to agree with itself: if not, it draws, remembers or races.
        if noise > tolerance("balanced", 0.0, is_half).relative_error / 2:
            return Skipped("optimize", f"two eager runs of the same call differ by {noise:.2g}: there is nothing to compare with")
        return allowed

    def _try(self, candidate: Candidate, allowed: Tolerance) -> Skipped | None:
        bench, name = self._bench, candidate.name
        if QUALITIES.index(candidate.quality) > QUALITIES.index(bench.quality):
            return Skipped(name, f'quality "{candidate.quality}" would allow it, "{bench.quality}" does not')
        try:
            why = candidate.capability(bench.layers, bench.device)
        except Exception as error:  # A candidate's fault is a reason, never the caller's failure.
            why = _text(error)
        if why is not None:
            return Skipped(name, why)
        calls, limits = self._affordable()
        if not calls:
            return Skipped(name, f"the budget of {bench.budget_s:.3g} s is used up; one call takes {self._call_s:.2g} s")
        return self._measure(candidate, calls, limits, allowed)

    def _measure(self, candidate: Candidate, calls: Sequence[Call], limits: Limits, allowed: Tolerance) -> Skipped | None:
        bench, name = self._bench, candidate.name
        applied: Applied | None = None
        try:
            applied = candidate.apply_(bench.layers, bench.device)
            applied.enable()
            found = EQUAL
            for call in calls:
                found = found.worst(difference(call.output, bench.run(call, True)))
            skipped = self._refused(name, found, allowed)
            if skipped is None:
                result = self._race(applied, calls[0], limits)
                why = result.refusal(limits)
                if why is None:
                    self._accept(name, applied, found, result)
                    return None
                skipped = Skipped(name, why, result.speed_up)
        except BaseException as error:
            skipped = Skipped(name, _text(error))
            if not isinstance(error, Exception):
                raise
        finally:
            if applied is not None and not any(applied is kept for _, kept in self._accepted):
                applied.disable()
                bench.layers.prune_()
        return skipped

    def _refused(self, name: str, found: Difference, allowed: Tolerance) -> Skipped | None:
        failures = self._bench.layers.failures
        why = failures[0] if failures else found.refusal(allowed)
        failures.clear()
        return None if why is None else Skipped(name, why)

    def _accept(self, name: str, applied: Applied, found: Difference, result: Race) -> None:
        applied.enable()
        kept = [(other, older) for other, older in self._accepted if not applied.supersedes_(older)]
        self._has_superseded |= len(kept) < len(self._accepted)
        self._accepted = [*kept, (name, applied)]
        self._difference, self._last_race = found, result

    def _race(self, applied: Applied, call: Call, limits: Limits) -> Race:
        run, has_incumbent = self._bench.run, bool(self._accepted)
        incumbent = Contender(applied.disable, lambda: run(call, has_incumbent))
        return race(incumbent, Contender(applied.enable, lambda: run(call, True)), limits, self._bench.clock)

    def _conclude(self, allowed: Tolerance) -> Outcome:
        """The whole stack against eager: what one alone was measured at already, several are measured at again."""
        if not self._accepted:
            return self._outcome()
        bench, result = self._bench, self._last_race
        if len(self._accepted) > 1 or self._has_superseded or result is None:
            call, stack = bench.calls[0], [applied for _, applied in self._accepted]
            eager = Contender(partial(_each, [applied.disable for applied in reversed(stack)]), lambda: bench.run(call, False))
            fast = Contender(partial(_each, [applied.enable for applied in stack]), lambda: bench.run(call, True))
            result = race(eager, fast, self._affordable()[1], bench.clock)
            fast.prepare()
        why = result.refusal(bench.limits)
        if why is not None:
            names = " + ".join(name for name, _ in self._accepted)
            self._withdraw()
            return self._outcome(Skipped(names, f"in the last race, against eager: {why}", result.speed_up))
        return replace(
            self._outcome(),
            applied=tuple(self._accepted),
            speed_up=result.speed_up,
            difference=self._difference,
            tolerance=allowed,
        )

    def _affordable(self) -> tuple[Sequence[Call], Limits]:
        """What the rest of the budget pays for one more candidate: all recorded calls, the first only, or nothing."""
        bench = self._bench
        left = bench.budget_s - (bench.clock() - self._started_s)
        fewest = replace(bench.limits, min_pairs=2, max_pairs=2)
        for calls, limits in ((bench.calls, bench.limits), (bench.calls[:1], fewest)):
            # The race, and the last one against eager.
            if left >= self._call_s * (len(calls) + 4 * limits.min_pairs):
                return calls, limits
        return (), fewest

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
