"""Trying, on the program's own calls, what could be faster for a kind of call: the layers' kernels on other shapes, a package in place
of the module. Compared first, then timed in turn with what runs now. Knows one target's ways to run, no recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .calls import tree
from .calls.guard import is_cached
from .challenge import Challenge
from .gate import Difference, difference
from .graph.applied import NAME as GRAPH
from .graph.applied import AppliedGraph
from .leaf.checks import Checks
from .leaf.layers import DECLINED
from .phase import Eager, Fast, Kind
from .report import Skipped
from .search import Outcome
from .serving import Serving
from .subject import Subject


class Trying:
    """The challengers of one target's kinds. `accepted` is told of a kind whose layers' kernels have won, and whether unseen."""

    def __init__(self, target: Subject, serving: Serving, accepted: Callable[[Kind, bool], None]) -> None:
        self._target = target
        self._session = target.session
        self._serving = serving
        self._offers = serving.offers
        self._accepted = accepted

    def look(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Whether there is something to try on calls of this kind."""
        if kind.challenges:
            return
        target, phase = self._target, self._target.phase
        stack = [name for name, _ in phase.outcome.applied if name != GRAPH] if isinstance(phase, Fast) else []
        if stack and not kind.was_searched:
            is_kept = kind.num_calls == 1 and self._offers.has_kept(kind, stack)
            if is_kept or kind.num_calls >= self._session.limits.try_kind_at_call:
                kind.was_searched = True
                checks = self._serving.checks(kind, args, kwargs)
                accept_ = partial(self._accept_layers, kind)
                kind.challenges.append(Challenge(" + ".join(stack), target.run_layers, accept_, is_kept, checks))
        offered = self._offers.look(kind, args, kwargs)
        if offered is not None:
            applied, is_trusted = offered
            kind.challenges.append(Challenge(GRAPH, applied.whole, lambda won: self._accept_graph(kind, applied, won), is_trusted))

    def run(self, kind: Kind, challenge: Challenge, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One call of the program, of which this challenger makes use."""
        challenge.is_busy = True
        try:
            if challenge.checks is not None and challenge.is_trusted:
                return self._trust(kind, challenge, args, kwargs)
            if challenge.checks is not None:
                return self._check(kind, challenge, challenge.checks, args, kwargs)
            if not challenge.is_compared:
                return self._compare(kind, challenge, args, kwargs)
            return self._time(kind, challenge, args, kwargs)
        finally:
            challenge.is_busy = False

    def _trust(self, kind: Kind, challenge: Challenge, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Eager's output, of which the fast path needs the strides; from now on the kernels serve, and are watched."""
        output = self._serving.eager(kind, args, kwargs)
        with self._target.reporting():
            self._serving.admit(kind, output)
            self._win(kind, challenge)
        return output

    def _check(self, kind: Kind, challenge: Challenge, checks: Checks, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Eager's output; on the way, some layers compute both ways."""
        target, session, clock = self._target, self._session, self._serving.clock(kind, args, kwargs)
        before_s = clock()
        output = checks.run(lambda: target.shell.eager(*args, **kwargs), session.limits.check_share * kind.call_s, serves_kernels=False)
        own_s = clock() - before_s - checks.spent_s
        session.spent_s += checks.spent_s
        with target.reporting():
            kind.call_s = min(kind.call_s or own_s, own_s)
            self._serving.see(kind, output)
            if checks.why is not None:
                # One layer is not the module, whose own tolerance decides: on the next call, which runs both ways.
                challenge.checks = None
            elif checks.is_complete and not checks.num_compared:
                self._lose(kind, challenge, "no layer's kernel takes such inputs")
            elif checks.is_complete:
                challenge.checks, challenge.is_compared = None, True
                challenge.difference = Difference(checks.error, 1 - checks.error**2 / 2)
                self._serving.admit(kind, output)
        return output

    def _compare(self, kind: Kind, challenge: Challenge, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Eager's output, and the challenger's beside it."""
        target, session = self._target, self._session
        beside = self._serving.beside(args, kwargs)
        output = self._serving.eager(kind, args, kwargs)
        if beside is None:
            return output
        before_s = session.clock()
        with target.reporting():
            found, why = None, None
            try:
                with target.quiet():
                    got = challenge.run(*beside)
                if got is DECLINED:
                    kind.challenges.remove(challenge)
                    self._offers.declined(kind)
                    return output
                found = difference(list(tree.leaves(output, "output")), got)
                why = found.refusal(self._session.exact(output) if challenge.name == GRAPH else self._serving.allowed(output))
            except Exception as error:  # The challenger's fault.
                why = f"{type(error).__name__}: {error}"
            challenge.is_compared, challenge.difference = True, found or challenge.difference
            if why is not None:
                self._lose(kind, challenge, why)
            else:
                self._serving.admit(kind, output)
                if challenge.is_trusted:
                    self._win(kind, challenge)
        session.spent_s += session.clock() - before_s
        return output

    def _time(self, kind: Kind, challenge: Challenge, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One of both runs this call, timed; both give results within the tolerance."""
        target, session = self._target, self._session
        turn, clock = challenge.turn, self._serving.clock(kind, args, kwargs)
        started_s = clock()
        try:
            output = challenge.run(args, kwargs) if turn == "challenger" else self._serving.fast(kind, args, kwargs)
        except Exception as error:
            if turn == "incumbent" or is_cached(kind.key):
                # Some layers have written into the cache already: run again, they would do so twice.
                raise
            self._lose(kind, challenge, f"{type(error).__name__}: {error}")
            return self._serving.fast(kind, args, kwargs)
        seconds = clock() - started_s
        if output is DECLINED:
            kind.challenges.remove(challenge)
            self._offers.declined(kind)
            return self._serving.fast(kind, args, kwargs)
        with target.reporting():
            challenge.note(turn, seconds)
            if challenge.is_decided(session.limits):
                why_not = challenge.result.refusal(session.limits)
                if why_not is None:
                    self._win(kind, challenge)
                else:
                    self._lose(kind, challenge, why_not, challenge.result.speed_up)
        return target.guard.restride(kind.key, output)

    def _win(self, kind: Kind, challenge: Challenge) -> None:
        kind.challenges.remove(challenge)
        kind.difference = challenge.difference
        if not challenge.is_trusted:
            kind.speed_up = (kind.speed_up or 1.0) * challenge.result.speed_up
            kind.call_s = kind.call_s or challenge.call_s
        challenge.accept_(challenge)
        self._target.tell_if_settled()

    def _lose(self, kind: Kind, challenge: Challenge, why: str, speed_up: float | None = None) -> None:
        kind.challenges.remove(challenge)
        skipped = Skipped(challenge.name, why, speed_up)
        if challenge.name == GRAPH:
            self._offers.lost(kind, skipped)
        else:
            self._offers.note(skipped)

    def _accept_layers(self, kind: Kind, won: Challenge) -> None:
        kind.uses_layers = True
        self._accepted(kind, won.checks is not None)
        if not won.is_trusted:
            self._offers.keep(kind)

    def _accept_graph(self, kind: Kind, applied: AppliedGraph, won: Challenge) -> None:
        target, phase = self._target, self._target.phase
        applied.enable()
        if isinstance(phase, Fast):
            others = [(name, one) for name, one in phase.outcome.applied if not (isinstance(one, AppliedGraph) and one.key == kind.key)]
            speed_up = (phase.outcome.speed_up or 1.0) * (1.0 if won.is_trusted else won.result.speed_up)
            target.phase = Fast(replace(phase.outcome, applied=(*others, (GRAPH, applied)), speed_up=speed_up, difference=won.difference))
        elif isinstance(phase, Eager):
            target.phase = Fast(
                Outcome(
                    applied=((GRAPH, applied),),
                    skipped=phase.skipped,
                    speed_up=kind.speed_up,
                    difference=kind.difference,
                    call_s=kind.call_s,
                )
            )
        if not won.is_trusted:
            self._offers.keep(kind)
