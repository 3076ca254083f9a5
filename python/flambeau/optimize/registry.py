"""Which modules are optimized, and who is told. Never raises: whatever goes wrong leaves the module as it came."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from .candidates import TABLE, Candidate
from .limits import LIMITS, QUALITIES, Limits, Quality
from .plan import Plan
from .refusal import refusal
from .report import Listener, Notice, Report, Skipped, summary
from .session import Means, Request, Session
from .switch import Switch
from .timing import Clock, work_clock

M = TypeVar("M")


class Registry:
    """Plans by module. It owns neither: a plan lives on its module's forward, so that both are freed together."""

    def __init__(
        self,
        *,
        table: Mapping[str, tuple[Candidate, ...]] = TABLE,
        limits: Limits = LIMITS,
        clock: Clock | None = None,
    ) -> None:
        self._means = Means(
            table=table,
            limits=limits,
            clock=clock or time.perf_counter,
            work_clock=work_clock if clock is None else lambda _: clock,
            measuring=Switch(),
            listen=self._tell,
        )
        self._lock = threading.Lock()
        self._plans: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Plan]] = weakref.WeakKeyDictionary()
        self._finished: weakref.WeakKeyDictionary[nn.Module, Report] = weakref.WeakKeyDictionary()
        self._listener: Listener | None = None

    def optimize(self, module: M, *, quality: Quality = "balanced", budget_s: float | None = None) -> M:
        """Patches the module in place and returns it at once; measuring happens inside its first calls."""
        try:
            self._start(module, quality, budget_s)
        except Exception as error:  # The promise of this call: it never fails the program.
            self._refuse(module, f"{type(error).__name__}: {error}")
        return module

    def report(self, module: object) -> Report:
        """What was done to this module. For anything that was never optimized: "unchanged", and why."""
        plan = self._plan(module)
        if plan is not None:
            return plan.report()
        try:
            finished = self._finished.get(module) if isinstance(module, nn.Module) else None
        except TypeError:
            finished = None
        if finished is not None:
            return finished
        why = refusal(module) or "optimize was never called on this module"
        return Report(state="unchanged", skipped=(Skipped("optimize", why),))

    def restore(self, module: M) -> M:
        """Puts everything back; does nothing to a module that is not optimized. Call it when no call of the module runs."""
        plan = self._plan(module)
        if plan is not None and isinstance(module, nn.Module):
            self._finished[module] = plan.restore_()
            del self._plans[module]
        return module

    def set_listener(self, listener: Listener | None) -> None:
        """Who is told from now on, in the thread that calls the module; None for nobody. An Exception of its is dropped."""
        self._listener = listener

    def _start(self, module: object, quality: Quality, budget_s: float | None) -> None:
        why = refusal(module)
        if quality not in QUALITIES:
            why = f"quality: expected one of {', '.join(QUALITIES)}, got {quality!r}"
        if why is not None or not isinstance(module, nn.Module):
            self._refuse(module, why or "")
            return
        with self._lock:
            if self._plan(module) is not None:
                return
            session = Session(Request(type(module).__name__, quality, budget_s), self._means)
            plan = Plan(module, session)
            self._plans[module] = weakref.ref(plan)
        if plan.num_targets == 0:
            self._refuse(module, "nothing in it has a forward")

    def _plan(self, module: object) -> Plan | None:
        try:
            found = self._plans.get(module) if isinstance(module, nn.Module) else None
        except TypeError:
            return None
        return None if found is None else found()

    def _refuse(self, module: object, why: str) -> None:
        report = Report(state="unchanged", skipped=(Skipped("optimize", why),))
        try:
            if isinstance(module, nn.Module):
                self._finished[module] = report
        except TypeError:
            pass
        name = type(module).__name__
        self._tell(Notice(name, "done", 1, 1, summary(name, report)))

    def _tell(self, notice: Notice) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            listener(notice)
        except Exception:  # A listener's fault is not the model's; a cancel is no Exception and goes through.
            return
