"""One module whose forward the program really calls: records its first calls, has them measured, then runs the fast path.
Knows one plan's session; which modules are targets is the plan's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from .calls.capture import Call
from .calls.guard import Key, is_transforming, mode_refusal
from .calls.recorder import Recorder
from .follow import Follower
from .graph.applied import AppliedGraph
from .patch import Patch
from .phase import Eager, Fast, Kind, Waiting
from .report import Skipped
from .search import Bench, Outcome, Search
from .session import Session
from .subject import Subject
from .timing import Clocks


class Shell(Patch):
    """The forward of a target."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.owner)
        self._target = target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_transforming():
            return self.eager(*args, **kwargs)
        return self._target.call(args, kwargs)


class Target(Subject):
    """See the head of this file. `path` is where the module sits below the plan's root, "" for the root itself."""

    def __init__(self, owner: nn.Module, path: str, session: Session, events: TargetEvents) -> None:
        super().__init__(owner, session)
        self.path = path
        self._told: Waiting | Fast | Eager = self.phase
        self._events = events
        self._recorder = Recorder(owner, self.parameters, session.limits)
        self.follower = Follower(self)
        self.shell = Shell(self)
        self.shell.install_()

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the owner's forward does now."""
        phase, session = self.phase, self.session
        is_inner = session.depth.count > 0 or session.measuring.on
        if isinstance(phase, Fast) or (isinstance(phase, Eager) and not phase.is_final and not is_inner):
            return self.follower.call(args, kwargs, is_inner)
        if isinstance(phase, Eager) or is_inner:
            return self.shell.eager(*args, **kwargs)
        return self.run_observed(args, kwargs)

    def retire_(self) -> None:
        """It is not this module that the program calls."""
        if isinstance(self.phase, Waiting):
            self.phase = Eager()
            self.shell.remove_()

    def restore_(self) -> None:
        """Everything as it was before optimize."""
        self.undo_()
        self.phase = Eager()
        self.shell.remove_()

    def remarks(self) -> Iterator[Skipped]:
        """What stood in the way of something, besides what was measured."""
        yield from self.follower.offers.remarks()

    def tell_if_settled(self) -> None:
        """To the plan, once for every new phase."""
        phase = self.phase
        if phase is not self._told:
            self._told = phase
            if isinstance(phase, Eager) and phase.is_final:
                # Nothing more will come, and even a shell that only passes calls on is felt by a short module.
                self.shell.remove_()
            self._events.settled(self)

    # Waiting: calls run eagerly and are recorded.

    def run_observed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        session = self.session
        if not self._enter():
            return self.call(args, kwargs)
        try:
            with session.depth.deeper():
                key, output = self._observe(args, kwargs)
        finally:
            with session.lock:
                session.in_flight -= 1
        if key is not None:
            self._measure_if_ready(key, output)
        return output

    def _enter(self) -> bool:
        """One more call in flight. Waits while another thread measures: the call would spoil the times and meet half-changed weights.

        False if this target has settled meanwhile.
        """
        with self.session.lock:
            if not isinstance(self.phase, Waiting):
                return False
            self.session.in_flight += 1
            return True

    def _observe(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Key | None, Any]:
        """One eager call, recorded where it is due; with its kind, if it may be measured."""
        session, recorder = self.session, self._recorder
        before_s, recording = session.clock(), None
        with self.reporting():
            self._events.started(self)
            why = mode_refusal(self.owner, args, kwargs)
            if why is None:
                recording = recorder.begin(args, kwargs)
            else:
                session.count_eager(why)
        started_s = session.clock()
        output = self.shell.eager(*args, **kwargs)
        if recording is not None and recording.call is not None:
            self._synchronize()
        ended_s = session.clock()
        with self.reporting():
            refusal = None if recording is None else recorder.end(recording, output, ended_s - started_s)
            if refusal is not None:
                self.settle(Skipped("optimize", refusal))
        session.warm_up_s += ended_s - started_s
        session.spent_s += session.clock() - ended_s + started_s - before_s
        self.tell_if_settled()
        return None if recording is None else recording.key, output

    def _measure_if_ready(self, key: Key, output: Any) -> None:
        """Takes what the store has for this kind of call, or measures once enough calls are recorded."""
        session = self.session
        with session.lock:
            if session.in_flight or not isinstance(self.phase, Waiting):
                return
            started_s = session.clock()
            with self.reporting(), self.quiet():
                kind = self.follower.kind(key)
                if kind is not None and not kind.was_searched:
                    self._settle_kind(kind, output)
            session.spent_s += session.clock() - started_s
            self.tell_if_settled()

    def _settle_kind(self, kind: Kind, output: Any) -> None:
        self.follower.see(kind, output)
        recorded = self._recorder.recorded(kind.key)
        if recorded and not kind.was_looked_up:
            kind.was_looked_up = True
            outcome = self.follower.offers.recall(kind, recorded[0], output)
            if outcome is not None:
                self._conclude(kind, recorded[0], outcome)
                return
        calls = self._recorder.ready(kind.key)
        if calls:
            self.session.is_measuring = True
            try:
                outcome = self._search(calls)
            finally:
                self.session.is_measuring = False
            self._conclude(kind, calls[0], outcome)
            if not outcome.is_short:
                self.follower.offers.keep(kind)

    def _search(self, calls: Sequence[Call]) -> Outcome:
        session, device = self.session, self.device((calls[0].args, calls[0].kwargs))
        bench = Bench(
            layers=self.layers,
            device=device,
            calls=calls,
            run=self.replay,
            limits=session.limits,
            clocks=Clocks(session.work_clock(device.type), session.clock),
            budget_s=max(0.0, session.budget_s - session.spent_s),
            quality=session.request.quality,
            tell=lambda step, total, message: session.tell("measuring", step, total, message),
        )
        return Search(bench).run(session.table.get(device.type, ()))

    def _conclude(self, kind: Kind, call: Call, outcome: Outcome) -> None:
        kind.was_searched, kind.call_s = True, outcome.call_s
        kind.num_calls = self._recorder.num_calls(kind.key)
        self._recorder.forget_()
        if outcome.applied:
            kind.uses_layers = any(not isinstance(one, AppliedGraph) for _, one in outcome.applied)
            kind.speed_up, kind.difference = outcome.speed_up, outcome.difference or kind.difference
            self.guard.admit(kind.key, call.strides)
            self.phase = Fast(outcome)
            self.follower.watch_(kind, now=False)
            return
        # Below a root that never runs, a tiny neighbour of the module that matters is not worth a line.
        is_worth_saying = self.path == "" or not outcome.is_short
        # One that does not agree with itself, or is too short, can only stay as it is.
        has_candidates = bool(self.session.table.get(self.device((call.args, call.kwargs)).type))
        is_unfit = has_candidates and any(skip.what == "optimize" for skip in outcome.skipped)
        is_final = is_unfit or outcome.is_short or outcome.call_s < self.session.limits.follow_call_s
        self.phase = Eager(outcome.skipped, is_worth_saying, is_final)

    def settle(self, *skipped: Skipped) -> None:
        """Eager for good."""
        self.undo_()
        self._recorder.forget_()
        self.phase = Eager(skipped, is_worth_saying=True)


@dataclass(frozen=True)
class TargetEvents:
    """What a target tells its plan."""

    started: Callable[[Target], None]
    settled: Callable[[Target], None]
