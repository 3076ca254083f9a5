"""One module whose forward the program really calls: records its first calls, has them measured, then runs the fast path.
Knows one plan's session; which modules are targets is the plan's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from . import tree
from .capture import Call
from .gate import difference
from .guard import Guard, Key, Refused, is_transforming, mode_refusal, parameters_of
from .layers import Layers
from .patch import Patch
from .recorder import Recorder
from .report import Skipped
from .search import Bench, Outcome, Search
from .session import Session
from .timing import Clocks


@dataclass(frozen=True)
class Waiting:
    """Recording calls until there are enough to measure."""


@dataclass
class Fast:
    """Accepted: calls that the guard knows use the kernels."""

    guard: Guard
    outcome: Outcome
    num_calls: int


@dataclass(frozen=True)
class Eager:
    """Measured without gain, refused, withdrawn, or (without a reason) not the module that runs."""

    skipped: tuple[Skipped, ...] = ()
    is_worth_saying: bool = False


class Shell(Patch):
    """The forward of a target."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.owner)
        self._target = target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_transforming():
            return self.eager(*args, **kwargs)
        return self._target.call(args, kwargs)


class Target:
    """See the head of this file. `path` is where the module sits below the plan's root, "" for the root itself."""

    def __init__(self, owner: nn.Module, path: str, session: Session, events: TargetEvents) -> None:
        self.owner = owner
        self.path = path
        self.phase: Waiting | Fast | Eager = Waiting()
        self._told: Waiting | Fast | Eager = self.phase
        self.layers = Layers(owner)
        self._session = session
        self._events = events
        self._parameters = parameters_of(owner)
        self._recorder = Recorder(owner, self._parameters, session.limits)
        self.shell = Shell(self)
        self.shell.install_()

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the owner's forward does now."""
        phase, session = self.phase, self._session
        if isinstance(phase, Fast):
            return self._run_fast(phase, args, kwargs)
        if isinstance(phase, Eager) or session.depth.count or session.measuring.on:
            return self.shell.eager(*args, **kwargs)
        if not self._enter():
            return self.call(args, kwargs)
        try:
            with session.depth.deeper():
                key, output = self._observe(args, kwargs)
        finally:
            with session.lock:
                session.in_flight -= 1
        if key is not None:
            self._measure_if_ready(key)
        return output

    def _enter(self) -> bool:
        """One more call in flight. Waits while another thread measures: the call would spoil the times and meet half-changed weights.

        False if this target has settled meanwhile.
        """
        with self._session.lock:
            if not isinstance(self.phase, Waiting):
                return False
            self._session.in_flight += 1
            return True

    def retire_(self) -> None:
        """It is not this module that the program calls."""
        if isinstance(self.phase, Waiting):
            self.phase = Eager()
            self.shell.remove_()

    def restore_(self) -> None:
        """Everything as it was before optimize."""
        self._undo_()
        self.phase = Eager()
        self.shell.remove_()

    def _observe(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Key | None, Any]:
        """One eager call, recorded where it is due; with its kind, if it may be measured."""
        session, recorder = self._session, self._recorder
        before_s, recording = session.clock(), None
        with self._reporting():
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
        with self._reporting():
            refusal = None if recording is None else recorder.end(recording, output, ended_s - started_s)
            if refusal is not None:
                self._settle(Skipped("optimize", refusal))
        session.warm_up_s += ended_s - started_s
        session.spent_s += session.clock() - ended_s + started_s - before_s
        self._tell_if_settled()
        return None if recording is None else recording.key, output

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """A failure of ours inside it leaves the module eager, with the reason."""
        try:
            yield
        except tree.NotPlainError as error:
            self._settle(Skipped("optimize", str(error)))
        except Exception as error:  # Nothing of ours may reach the caller of the module.
            self._settle(Skipped("optimize", f"{type(error).__name__}: {error}"))

    def _measure_if_ready(self, key: Key) -> None:
        session = self._session
        with session.lock:
            calls = self._recorder.ready(key)
            if session.in_flight or not isinstance(self.phase, Waiting) or not calls:
                return
            started_s = session.clock()
            session.is_measuring = True
            try:
                with self._reporting(), session.measuring.set(True), session.depth.deeper(), self._random_kept():
                    self._conclude(calls, self._search(calls))
            finally:
                session.is_measuring = False
                session.spent_s += session.clock() - started_s
            self._tell_if_settled()

    def _search(self, calls: Sequence[Call]) -> Outcome:
        session, device = self._session, self._device(calls[0])
        bench = Bench(
            layers=self.layers,
            device=device,
            calls=calls,
            run=self._replay,
            limits=session.limits,
            clocks=Clocks(session.work_clock(device.type), session.clock),
            budget_s=max(0.0, session.budget_s - session.spent_s),
            quality=session.request.quality,
            tell=lambda step, total, message: session.tell("measuring", step, total, message),
        )
        return Search(bench).run(session.table.get(device.type, ()))

    def _conclude(self, calls: Sequence[Call], outcome: Outcome) -> None:
        self._recorder.forget_()
        if not outcome.applied:
            # Below a root that never runs, a tiny neighbour of the module that matters is not worth a line.
            self.phase = Eager(outcome.skipped, is_worth_saying=self.path == "" or not outcome.is_short)
            return
        guard = Guard(self.owner, self._parameters)
        guard.admit(calls[0].key, calls[0].strides)
        self.phase = Fast(guard, outcome, self._recorder.num_calls(calls[0].key))

    def _replay(self, call: Call, fast: bool) -> Any:
        with self.layers.switch.set(fast):
            output = self.shell.eager(*call.args, **call.kwargs)
        self._synchronize()
        return output

    def _device(self, call: Call) -> torch.device:
        found = [tensor.device for tensor in (*self.owner.parameters(), *tree.tensors((call.args, call.kwargs)))]
        return found[0] if found else torch.device("cpu")

    def _synchronize(self) -> None:
        parameter = next(self.owner.parameters(), None)
        if parameter is not None and parameter.is_cuda:
            torch.cuda.synchronize(parameter.device)

    @contextmanager
    def _random_kept(self) -> Iterator[None]:
        devices = {p.device for p in self.owner.parameters() if p.is_cuda}
        with torch.random.fork_rng(devices=list(devices)):
            yield

    def _run_fast(self, phase: Fast, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        session = self._session
        key = phase.guard.check(args, kwargs)
        if isinstance(key, Refused):
            session.count_eager(key.why)
            return self.shell.eager(*args, **kwargs)
        phase.num_calls += 1
        if self._recorder.is_looped and phase.num_calls in session.limits.check_at_calls and not session.measuring.on:
            return self._run_checked(phase, args, kwargs)
        return phase.guard.restride(key, self._switched(args, kwargs))

    def _switched(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        switch = self.layers.switch
        before = switch.on
        switch.on = True
        try:
            return self.shell.eager(*args, **kwargs)
        finally:
            switch.on = before

    def _run_checked(self, phase: Fast, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Runs both ways, gives eager's output, and withdraws the fast path if it has left the tolerance."""
        before_s = self._session.clock()
        output = self.shell.eager(*args, **kwargs)
        with self._reporting():
            found = difference(list(tree.leaves(output, "output")), self._switched(args, kwargs))
            why = found.refusal(phase.outcome.tolerance) if phase.outcome.tolerance is not None else None
            if why is not None:
                self._settle(*(Skipped(name, f"withdrawn at call {phase.num_calls}: {why}") for name, _ in phase.outcome.applied))
        self._session.spent_s += self._session.clock() - before_s
        self._tell_if_settled()
        return output

    def _settle(self, *skipped: Skipped) -> None:
        self._undo_()
        self._recorder.forget_()
        self.phase = Eager(skipped, is_worth_saying=True)

    def _tell_if_settled(self) -> None:
        phase = self.phase
        if phase is not self._told:
            self._told = phase
            self._events.settled(self)

    def _undo_(self) -> None:
        if isinstance(self.phase, Fast):
            for _, applied in reversed(self.phase.outcome.applied):
                applied.disable()
        self.layers.prune_(everything=True)


@dataclass(frozen=True)
class TargetEvents:
    """What a target tells its plan."""

    started: Callable[[Target], None]
    settled: Callable[[Target], None]
