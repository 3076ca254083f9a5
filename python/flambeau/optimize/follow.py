"""What a settled target does with the program's calls: the fast path for kinds that have one, eager for the others; now and then a call
on which something is tried, or compared again. Knows no recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .calls import tree
from .calls.guard import Key, Refused, is_cached
from .gate import difference
from .phase import Fast, Kind
from .report import Skipped
from .serving import Serving
from .subject import Subject
from .trying import Trying


class Follower:
    """The kinds of calls of one target, and what runs for each."""

    def __init__(self, target: Subject) -> None:
        self._target = target
        self._session = target.session
        self._kinds: dict[Key, Kind] = {}
        self._serving = Serving(target)
        self._trying = Trying(target, self._serving, lambda kind, now: self.watch_(kind, now=now))
        self.offers = self._serving.offers
        self.see = self._serving.see

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
        kind.num_calls += 1
        if not is_inner:
            before_s = session.clock()
            with target.reporting():
                self._trying.look(kind, args, kwargs)
            session.spent_s += session.clock() - before_s
            if kind.challenges and not kind.challenges[0].is_busy:
                return self._trying.run(kind, kind.challenges[0], args, kwargs)
        if not self._serving.is_fast(kind):
            session.count_eager(found.why if isinstance(found, Refused) else "nothing is faster for this kind of call")
            return self._serving.eager(kind, args, kwargs)
        if kind.watch_at and not is_inner and self._is_watch_due(kind):
            return self._run_watched(kind, args, kwargs)
        return self._serving.fast(kind, args, kwargs)

    def watch_(self, kind: Kind, *, now: bool) -> None:
        """Its kernels were accepted: those of a loop are compared with their layers again later, those of an earlier process now."""
        limits = self._session.limits
        is_looped = any(name in limits.loop_arguments for name in self._target.parameters.names)
        kind.watch_at = [*([kind.num_calls] if now else ()), *(limits.check_at_calls if is_looped else ())]

    def _is_watch_due(self, kind: Kind) -> bool:
        target = self._target
        is_of_layers = kind.uses_layers and kind.key not in target.layers.wholes and not target.breakdown.is_due
        return is_of_layers and kind.num_calls >= kind.watch_at[0] and not kind.is_watch_busy

    def _run_watched(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The kernels' output; on the way, some layers compute both ways. One that is off has the next call run both ways."""
        target, session = self._target, self._session
        kind.is_watch_busy = True
        try:
            checks = kind.watch = kind.watch or self._serving.checks(kind, args, kwargs)
            if checks is None or checks.why is not None:
                kind.watch = None
                del kind.watch_at[0]
                return self._run_checked(kind, args, kwargs)
            allowance_s = session.limits.check_share * kind.call_s / (kind.speed_up or 1.0)
            output = checks.run(lambda: target.run_layers(args, kwargs), allowance_s, serves_kernels=True)
            session.spent_s += checks.spent_s
            if checks.is_complete and checks.why is None:
                kind.watch = None
                del kind.watch_at[0]
            return target.guard.restride(kind.key, output)
        finally:
            kind.is_watch_busy = False

    def _run_checked(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Runs both ways, gives eager's output, and withdraws the fast path if it has left the tolerance."""
        target, session = self._target, self._session
        before_s = session.clock()
        beside = self._serving.beside(args, kwargs)
        output = target.shell.eager(*args, **kwargs)
        if beside is None:
            return output
        with target.reporting():
            with target.quiet():
                found = difference(list(tree.leaves(output, "output")), self._serving.fast(kind, *beside))
            why = found.refusal(self._serving.allowed(output))
            if why is not None and isinstance(target.phase, Fast):
                names = dict.fromkeys(name for name, _ in target.phase.outcome.applied)
                self.offers.drop(kind)
                target.settle(*(Skipped(name, f"withdrawn at call {kind.num_calls}: {why}") for name in names))
        session.spent_s += session.clock() - before_s
        target.tell_if_settled()
        return output
