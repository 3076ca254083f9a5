"""What the store and builds have for one target: a plan of an earlier process, packages, and what goes back to be kept.
Knows no calls under way.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from .applied import Applied
from .calls.capture import Call, record
from .gate import difference
from .graph import build
from .graph.applied import NAME as GRAPH
from .graph.applied import AppliedGraph
from .graph.build import Job
from .graph.here import compiled_here
from .graph.inputs import Inputs
from .graph.package import Package, refusal
from .graph.watch import has_hooks
from .kept.keeper import Keeper
from .kept.keeping import KeptPlan
from .kept.store import Entry
from .phase import Eager, Fast, Kind
from .report import Skipped
from .search import Outcome
from .subject import Subject

# A plan that found nothing counts, unless this many times its budget is there now.
_MORE_BUDGET = 2.0
# As a power of two, in calls.
_MAX_WAIT = 6


class Offers:
    """See the head of this file."""

    def __init__(self, target: Subject) -> None:
        self._target = target
        self._session = target.session
        self._keeper = Keeper(target.owner, target.session.request.quality, target.session.store)
        self._notes: dict[str, Skipped] = {}
        self._num_builds = 0

    def remarks(self) -> Iterator[Skipped]:
        """What stood in the way of something besides what was measured; each thing once."""
        for why in self._keeper.remarks():
            self.note(Skipped("store", why))
        yield from self._notes.values()

    def note(self, skipped: Skipped) -> None:
        """For the report."""
        self._notes[f"{skipped.what} {skipped.why}" if skipped.what == "store" else skipped.what] = skipped

    def recall(self, kind: Kind, call: Call, output: Any) -> Outcome | None:
        """Has again what an earlier process kept for this kind, if it gives here what eager gives; `output` is eager's own."""
        with self._keeper.one_module():
            return self._recall(kind, call, output)

    def _recall(self, kind: Kind, call: Call, output: Any) -> Outcome | None:
        target = self._target
        device = target.device((call.args, call.kwargs))
        plan = self._keeper.plan(kind.key, device)
        if plan is None:
            return None
        if not plan.applied:
            has_more = self._session.budget_s >= _MORE_BUDGET * plan.budget_s
            return None if has_more else Outcome(skipped=plan.skipped, call_s=plan.call_s)
        applied: list[tuple[str, Applied]] = []
        try:
            self._recall_into(applied, kind, plan, call)
            found = difference(call.output, target.replay(call, True))
            session, is_exact = self._session, GRAPH in dict(applied)
            allowed = session.exact(output) if is_exact else session.tolerance(output)
            why = target.layers.failures[0] if target.layers.failures else found.refusal(allowed)
            if why is None:
                kind.package = "on" if GRAPH in dict(applied) else kind.package
                return Outcome(
                    applied=tuple(applied),
                    skipped=plan.skipped,
                    speed_up=plan.speed_up,
                    difference=found,
                    call_s=plan.call_s,
                    tolerance=session.tolerance(output),
                )
        except Exception as error:  # A kept plan that fails is no plan; measuring finds another.
            why = f"{type(error).__name__}: {error}"
        for _, one in reversed(applied):
            one.disable()
        target.layers.prune_(everything=True)
        target.layers.failures.clear()
        self.note(Skipped("store", f"a kept plan was not used: {why}"))
        self._keeper.drop(kind.key, device)
        return None

    def has_kept(self, kind: Kind, stack: Sequence[str]) -> bool:
        """True if an earlier process found the same layers' kernels faster for this kind."""
        plan = self._keeper.plan(kind.key, self._device())
        return plan is not None and [name for name, _ in plan.applied if name != GRAPH] == list(stack)

    def keep(self, kind: Kind) -> None:
        """For the next process: what runs for calls of this kind now."""
        phase = self._target.phase
        outcome = phase.outcome if isinstance(phase, Fast) else None
        stack = () if outcome is None else outcome.applied
        skipped = outcome.skipped if outcome is not None else phase.skipped if isinstance(phase, Eager) else ()
        plan = KeptPlan(
            applied=tuple(
                (name, one.keep())
                for name, one in stack
                if (one.key == kind.key and one.is_kept if isinstance(one, AppliedGraph) else kind.uses_layers)
            ),
            skipped=skipped if kind.package_skipped is None else (*skipped, kind.package_skipped),
            speed_up=kind.speed_up,
            difference=kind.difference,
            call_s=kind.call_s,
            tolerance=None if outcome is None else outcome.tolerance,
            budget_s=self._session.budget_s,
        )
        try:
            self._keeper.save(kind.key, self._device(), plan)
        except Exception as error:  # What cannot be kept is measured again next time.
            self.note(Skipped("store", f"a plan was not kept: {type(error).__name__}: {error}"))

    def drop(self, kind: Kind) -> None:
        """What is kept for this kind has proved wrong."""
        self._keeper.drop(kind.key, self._device())

    # Packages.

    def look(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[AppliedGraph, bool] | None:
        """A package to try on calls of this kind, and whether an earlier process has raced it; orders one where that is due."""
        session = self._session
        if session.store is None or kind.fill is None or kind.num_calls < kind.package_at_call:
            return None
        if kind.package in ("unknown", "built"):
            with self._keeper.one_module():
                return self._load(kind, args, kwargs)
        is_due = kind.package == "absent" and session.builder is not None and kind.num_calls >= session.limits.build_at_call
        if is_due and self._order(kind, args, kwargs):
            return self._load(kind, args, kwargs)
        if is_due and kind.package == "failed":
            return self._compiled(kind, args, kwargs)
        return None

    def declined(self, kind: Kind) -> None:
        """The module has changed since its package was loaded. Another is looked for later: the later, the oftener it changes."""
        self._remove(kind)
        kind.num_declined += 1
        kind.package, kind.package_at_call = "unknown", kind.num_calls + 2 ** min(kind.num_declined, _MAX_WAIT)
        self.note(Skipped(GRAPH, "the module has changed since its package was built"))

    def lost(self, kind: Kind, skipped: Skipped) -> None:
        """The package of this kind is not worth having."""
        self._remove(kind)
        kind.package = "none"
        kind.package_skipped = skipped if skipped.speed_up is not None else None
        self.note(skipped)
        self.keep(kind)
        if kind.package_skipped is not None:
            self._keeper.drop(kind.key, self._device(), "package")

    def _remove(self, kind: Kind) -> None:
        phase = self._target.phase
        self._target.layers.wholes.pop(kind.key, None)
        if isinstance(phase, Fast):
            phase.outcome = _without(phase.outcome, kind)

    def _load(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[AppliedGraph, bool] | None:
        device = self._device()
        was_built, kind.package = kind.package == "built", "none"
        plan = self._keeper.plan(kind.key, device)
        if plan is not None and any(skip.what == GRAPH and skip.speed_up is not None for skip in plan.skipped):
            return None
        entry = self._keeper.package(kind.key, device)
        if entry is None:
            kind.package = "absent"
            if was_built:
                self.note(Skipped(GRAPH, "the module changed while its package was built"))
            return None
        try:
            call = record(self._target.parameters, args, kwargs, self._target.owner.training)
            applied = self._applied(kind, entry, call)
        except Exception as error:  # Without it, everything stays as it is.
            self.note(Skipped(GRAPH, f"{type(error).__name__}: {error}"))
            return None
        kind.package = "on"
        self._notes.pop(GRAPH, None)
        return applied, plan is not None and GRAPH in dict(plan.applied)

    def _order(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Has a package built; True if that is done already. The builder says when it is."""
        target, session = self._target, self._session
        name = self._keeper.name(kind.key, self._device(), "package")
        why = self._build_refusal()
        if why is not None or name is None or session.builder is None or session.store is None:
            kind.package = "none"
            self.note(Skipped(GRAPH, why or "weights of this kind cannot be told apart"))
            return False
        call = record(target.parameters, args, kwargs, target.owner.training)

        offers = weakref.ref(self)

        def done(why: str | None) -> None:
            kind.package = "built" if why is None else "failed" if is_waited_for else "none"
            waiting = offers()
            if why is not None and waiting is not None:
                waiting.note(Skipped(GRAPH, why))

        # Whoever waits for a package waits for a compiler in this process as well, where one pays.
        is_waited_for = session.builder.is_waiting and build.is_shared(self._device())
        self._num_builds += 1
        kind.package = "building"
        num_threads = torch.get_num_threads()
        job = Job(weakref.ref(target.owner), target.parameters, call, name, session.store, num_threads, done, self._attention())
        session.builder.order(job)
        return _is_built(kind)

    def _compiled(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[AppliedGraph, bool] | None:
        """Where no package could be built: the same for this process alone."""
        target, fill = self._target, kind.fill
        kind.package = "none"
        try:
            call = record(target.parameters, args, kwargs, target.owner.training)
            if fill is None:
                raise ValueError("the module's output cannot be made again")
            inputs = Inputs(target.parameters, call.args, call.kwargs)
            made = compiled_here(target.owner, inputs, call.args, call.kwargs, self._attention())
            applied = AppliedGraph(target.layers, kind.key, Package(made, target.owner, inputs, fill), is_kept=False)
        except Exception as error:  # Without it, everything stays as it is.
            self.note(Skipped(GRAPH, f"in this process: {type(error).__name__}: {error}"))
            return None
        kind.package = "on"
        return applied, False

    def _attention(self) -> str | None:
        """The backend that a row has found fastest here: a package has its own built in."""
        phase = self._target.phase
        names = [name for name, _ in phase.outcome.applied] if isinstance(phase, Fast) else []
        return next((name.upper() for name in reversed(names) if name.endswith("_attention")), None)

    def _build_refusal(self) -> str | None:
        owner = self._target.owner
        if self._num_builds >= self._session.limits.packages_per_module:
            return f"packages are built for {self._session.limits.packages_per_module} kinds of calls at most"
        if self._device().type not in ("cpu", "cuda"):
            return f"packages are built for CPUs and NVIDIA GPUs, this module is on {self._device().type}"
        if owner.training:
            return "the module is in training mode; eval() would do"
        return "hooks on its parts would not run" if has_hooks(owner) else refusal(build.is_shared(self._device()))

    def _applied(self, kind: Kind, entry: Entry, call: Call) -> AppliedGraph:
        target = self._target
        if kind.fill is None:
            raise ValueError("the module's output cannot be made again")
        inputs = Inputs(target.parameters, call.args, call.kwargs)
        return AppliedGraph(target.layers, kind.key, Package.loaded(entry, target.owner, inputs, kind.fill))

    def _recall_into(self, applied: list[tuple[str, Applied]], kind: Kind, plan: KeptPlan, call: Call) -> None:
        target = self._target
        device = target.device((call.args, call.kwargs))
        table = {candidate.name: candidate for candidate in self._session.table.get(device.type, ())}
        for name, kept in plan.applied:
            if name == GRAPH:
                entry = self._keeper.package(call.key, device)
                if entry is None:
                    raise ValueError("its package is gone")
                one: Applied = self._applied(kind, entry, call)
            elif name in table:
                why = table[name].capability(target.layers, device)
                if why is not None:
                    raise ValueError(why)
                one = table[name].recall(target.layers, device, kept)
            else:
                raise ValueError(f"there is no {name} here")
            applied.append((name, one))
            one.enable()

    def _device(self) -> torch.device:
        return self._target.device(())


def _is_built(kind: Kind) -> bool:
    return kind.package == "built"


def _without(outcome: Outcome, kind: Kind) -> Outcome:
    applied = ((name, one) for name, one in outcome.applied if not (isinstance(one, AppliedGraph) and one.key == kind.key))
    return replace(outcome, applied=tuple(applied))
