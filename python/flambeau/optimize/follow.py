"""What a settled target does with the program's calls: the fast path for kinds that have one, eager for the others, and meanwhile
trying what could be faster for a kind: the layers' kernels on other shapes, a package in place of the module. Knows no recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .calls import tree
from .calls.caches import has_cache
from .calls.capture import apart
from .calls.guard import Key, Refused, is_cached
from .challenge import Challenge
from .gate import difference
from .graph.applied import NAME as GRAPH
from .graph.applied import AppliedGraph
from .graph.package import Package
from .graph.skeleton import skeleton
from .leaf.layers import DECLINED
from .limits import Tolerance
from .offers import Offers
from .phase import Eager, Fast, Kind
from .report import Skipped
from .search import Outcome
from .subject import Subject


class Follower:
    """The kinds of calls of one target, and what runs for each."""

    def __init__(self, target: Subject) -> None:
        self._target = target
        self._session = target.session
        self._kinds: dict[Key, Kind] = {}
        self.offers = Offers(target)

    def kind(self, key: Key) -> Kind | None:
        """What is known of this kind of call; None once there are too many kinds to follow."""
        kind = self._kinds.get(key)
        if kind is None and len(self._kinds) < self._session.limits.kinds_followed:
            # A package would not write into a cache.
            kind = self._kinds[key] = Kind(key, package="none" if is_cached(key) else "unknown")
        return kind

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any], is_inner: bool) -> Any:
        """One call of the program. `is_inner`: it is part of another module's call, so that nothing is tried on it."""
        target, session = self._target, self._session
        found = target.guard.check(args, kwargs)
        key = found.key if isinstance(found, Refused) else found
        kind = None if key is None else self.kind(key)
        if kind is None:
            session.count_eager(found.why if isinstance(found, Refused) and key is None else "there are too many kinds of calls to follow")
            return target.shell.eager(*args, **kwargs)
        if isinstance(target.phase, Eager) and not kind.was_searched and not is_inner:
            return target.run_observed(args, kwargs)
        kind.num_calls += 1
        if not is_inner:
            before_s = session.clock()
            with target.reporting():
                self._look(kind, args, kwargs)
            session.spent_s += session.clock() - before_s
            if kind.challenges and not kind.challenges[0].is_busy:
                return self._run_challenged(kind, kind.challenges[0], args, kwargs)
        if not self._is_fast(kind):
            session.count_eager(found.why if isinstance(found, Refused) else "nothing is faster for this kind of call")
            return self._run_eager(kind, args, kwargs)
        if not is_inner and kind.is_looped and kind.num_calls in session.limits.check_at_calls:
            return self._run_checked(kind, args, kwargs)
        return self._run_fast(kind, args, kwargs)

    def _is_fast(self, kind: Kind) -> bool:
        return kind.uses_layers or kind.key in self._target.layers.wholes

    def _run_fast(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        target = self._target
        output = self._by_package(kind, args, kwargs)
        if output is DECLINED:
            if not kind.uses_layers:
                return self._run_eager(kind, args, kwargs)
            output = target.run_layers(args, kwargs)
        return target.guard.restride(kind.key, output)

    def _run_eager(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        output = self._target.shell.eager(*args, **kwargs)
        self.see(kind, output)
        return output

    def see(self, kind: Kind, output: Any) -> None:
        """How eager's output of this kind of call is built."""
        if kind.fill is None and kind.package != "none":
            try:
                kind.fill = skeleton(output)
            except tree.NotPlainError as error:
                kind.package = "none"
                self.offers.note(Skipped(GRAPH, str(error)))

    def _by_package(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """DECLINED if there is none for this kind, or it does not take the call."""
        whole = self._target.layers.wholes.get(kind.key)
        if whole is None:
            return DECLINED
        try:
            output = whole(args, kwargs)
        except Exception as error:  # The module itself may well take this call.
            self._drop_package(kind, f"{type(error).__name__}: {error}")
            return DECLINED
        if output is DECLINED and isinstance(whole, Package) and whole.has_changed:
            self.offers.declined(kind)
        return output

    # Trying.

    def _look(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Whether there is something to try on calls of this kind."""
        if kind.challenges:
            return
        target, phase = self._target, self._target.phase
        stack = [name for name, _ in phase.outcome.applied if name != GRAPH] if isinstance(phase, Fast) else []
        if stack and not kind.was_searched:
            is_kept = kind.num_calls == 1 and self.offers.has_kept(kind, stack)
            if is_kept or kind.num_calls >= self._session.limits.try_kind_at_call:
                kind.was_searched = True
                kind.challenges.append(Challenge(" + ".join(stack), target.run_layers, lambda won: self._accept_layers(kind, won), is_kept))
        offered = self.offers.look(kind, args, kwargs)
        if offered is not None:
            applied, is_trusted = offered
            kind.challenges.append(Challenge(GRAPH, applied.whole, lambda won: self._accept_graph(kind, applied, won), is_trusted))

    def _run_challenged(self, kind: Kind, challenge: Challenge, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        challenge.is_busy = True
        try:
            if not challenge.is_compared:
                return self._compare(kind, challenge, args, kwargs)
            return self._time(kind, challenge, args, kwargs)
        finally:
            challenge.is_busy = False

    def _compare(self, kind: Kind, challenge: Challenge, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Eager's output, and the challenger's beside it."""
        target, session = self._target, self._session
        beside = self._beside(args, kwargs)
        output = self._run_eager(kind, args, kwargs)
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
                    self.offers.declined(kind)
                    return output
                found = difference(list(tree.leaves(output, "output")), got)
                why = found.refusal(self._session.exact(output) if challenge.name == GRAPH else self._allowed(output))
            except Exception as error:  # The challenger's fault.
                why = f"{type(error).__name__}: {error}"
            challenge.is_compared, challenge.difference = True, found or challenge.difference
            if why is not None:
                self._lose(kind, challenge, why)
            else:
                target.guard.admit(kind.key, tuple(tensor.stride() for tensor in tree.tensors(output)))
                if challenge.is_trusted:
                    self._win(kind, challenge)
        session.spent_s += session.clock() - before_s
        return output

    def _beside(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]] | None:
        """Inputs for a run beside the program's own; None if there can be none now. A later call may have a smaller cache."""
        try:
            if has_cache(args, kwargs) and tree.num_bytes((tuple(args), dict(kwargs))) > self._session.limits.capture_bytes:
                return None
            return apart(args, kwargs)
        except Exception as error:
            self.offers.note(Skipped("other calls", f"{type(error).__name__}: {error}"))
            return None

    def _time(self, kind: Kind, challenge: Challenge, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One of both runs this call, timed; both give results within the tolerance."""
        target, session = self._target, self._session
        turn, clock = challenge.turn, session.work_clock(target.device((args, kwargs)).type)
        started_s = clock()
        try:
            output = challenge.run(args, kwargs) if turn == "challenger" else self._run_fast(kind, args, kwargs)
        except Exception as error:
            if turn == "incumbent" or is_cached(kind.key):
                # Some layers have written into the cache already: run again, they would do so twice.
                raise
            self._lose(kind, challenge, f"{type(error).__name__}: {error}")
            return self._run_fast(kind, args, kwargs)
        seconds = clock() - started_s
        if output is DECLINED:
            kind.challenges.remove(challenge)
            self.offers.declined(kind)
            return self._run_fast(kind, args, kwargs)
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
            self.offers.lost(kind, skipped)
        else:
            self.offers.note(skipped)

    def _accept_layers(self, kind: Kind, won: Challenge) -> None:
        kind.uses_layers = True
        if not won.is_trusted:
            self.offers.keep(kind)

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
            self.offers.keep(kind)

    # Watching.

    def _run_checked(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Runs both ways, gives eager's output, and withdraws the fast path if it has left the tolerance."""
        target, session = self._target, self._session
        before_s = session.clock()
        beside = self._beside(args, kwargs)
        output = target.shell.eager(*args, **kwargs)
        if beside is None:
            return output
        with target.reporting():
            with target.quiet():
                found = difference(list(tree.leaves(output, "output")), self._run_fast(kind, *beside))
            why = found.refusal(self._allowed(output))
            if why is not None and isinstance(target.phase, Fast):
                names = dict.fromkeys(name for name, _ in target.phase.outcome.applied)
                self.offers.drop(kind)
                target.settle(*(Skipped(name, f"withdrawn at call {kind.num_calls}: {why}") for name in names))
        session.spent_s += session.clock() - before_s
        target.tell_if_settled()
        return output

    def _allowed(self, output: Any) -> Tolerance:
        phase = self._target.phase
        known = phase.outcome.tolerance if isinstance(phase, Fast) else None
        return known or self._session.tolerance(output)

    def _drop_package(self, kind: Kind, why: str) -> None:
        self._target.layers.wholes.pop(kind.key, None)
        self.offers.lost(kind, Skipped(GRAPH, why))
