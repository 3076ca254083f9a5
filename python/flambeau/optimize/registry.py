"""Which modules are optimized, and who is told. Never raises: whatever goes wrong leaves the module as it came."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TypeVar, Union

from torch import nn

from .candidates import TABLE, Candidate
from .graph.build import Builder
from .kept.store import Store, default_directory
from .limits import BUILDS, LIMITS, QUALITIES, Builds, Limits, Quality
from .plan import Plan
from .refusal import refusal
from .report import Listener, Notice, Report, Skipped, summary
from .session import Means, Persistence, Request, Session
from .switch import Switch
from .timing import Clock, work_clock

M = TypeVar("M")

StorePlace = Union[str, "PathLike[str]", bool, None]


class Registry:
    """Plans by module. It owns neither: a plan lives on its module's forward, so that both are freed together."""

    def __init__(
        self,
        *,
        table: Mapping[str, tuple[Candidate, ...]] = TABLE,
        limits: Limits = LIMITS,
        clock: Clock | None = None,
        store: StorePlace = False,
        builds: Builds = "never",
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
        self._limits = limits
        self._store = store
        self._builds = builds
        self._stores: dict[Path, Store] = {}
        self._builders: dict[Builds, Builder] = {}
        self._plans: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Plan]] = weakref.WeakKeyDictionary()
        self._finished: weakref.WeakKeyDictionary[nn.Module, Report] = weakref.WeakKeyDictionary()
        # Measured, eager for good: optimizing them once more as before changes nothing.
        self._ended: weakref.WeakKeyDictionary[nn.Module, Request] = weakref.WeakKeyDictionary()
        self._listener: Listener | None = None

    def optimize(  # noqa: PLR0913
        self,
        module: M,
        *,
        quality: Quality = "balanced",
        budget_s: float | None = None,
        store: StorePlace = None,
        builds: Builds | None = None,
        name: str | None = None,
    ) -> M:
        """Patches the module in place and returns it at once; measuring happens inside its first calls.

        `store` is where plans and packages are kept for other processes: a directory, None for what `set_store` says, False for none.
        `builds` is when compiled packages are built; None for what `set_builds` says. `name` is how messages call the module, such as
        "unet"; None for its class's name.
        """
        try:
            request = Request(name or type(module).__name__, quality, budget_s)
            self._start(module, request, store, builds)
        except Exception as error:  # The promise of this call: it never fails the program.
            self._refuse(module, f"{type(error).__name__}: {error}", name)
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
        elif isinstance(module, nn.Module) and self._was_ended(module):
            del self._ended[module]
            self._finished[module] = replace(self._finished[module], state="restored")
        return module

    def set_listener(self, listener: Listener | None) -> None:
        """Who is told from now on, in the thread that calls the module; None for nobody. An Exception of its is dropped."""
        self._listener = listener

    def set_builds(self, builds: Builds) -> None:
        """When packages are built for modules optimized from now on that do not say otherwise.

        "never": what the store has is used. "background": a child process of the lowest priority, one package at a time, which ends
        with this process. "now": whoever calls the module waits. Raises ValueError for anything else.
        """
        if builds not in BUILDS:
            raise ValueError(f"builds: expected one of {', '.join(BUILDS)}, got {builds!r}")
        self._builds = builds

    def set_store(self, store: StorePlace) -> None:
        """Where plans are kept for modules optimized from now on that do not say otherwise: None is the user's cache, False nowhere."""
        self._store = store

    def _start(self, module: object, request: Request, store: StorePlace, builds: Builds | None) -> None:
        why = refusal(module)
        if request.quality not in QUALITIES:
            why = f"quality: expected one of {', '.join(QUALITIES)}, got {request.quality!r}"
        if builds is not None and builds not in BUILDS:
            why = f"builds: expected one of {', '.join(BUILDS)}, got {builds!r}"
        if why is not None or not isinstance(module, nn.Module):
            self._refuse(module, why or "", request.module)
            return
        with self._lock:
            if self._plan(module) is not None or (self._was_ended(module) and self._ended[module] == request):
                return
            session = Session(request, self._means, self._persistence(store, builds or self._builds))
            self._ended.pop(module, None)
            plan = Plan(module, session, partial(self._end, weakref.ref(module), request))
            self._plans[module] = weakref.ref(plan)
        if plan.num_targets == 0:
            self._refuse(module, "nothing in it has a forward", request.module)

    def _persistence(self, store: StorePlace, builds: Builds) -> Persistence:
        place = self._store if store is None else store
        if place is False:
            return Persistence()
        directory = default_directory() if place is None or place is True else Path(place).expanduser().absolute()
        kept = self._stores.setdefault(directory, Store(directory, self._limits))
        if builds == "never":
            return Persistence(kept)
        builder = self._builders.setdefault(builds, Builder(self._limits, is_waiting=builds == "now"))
        return Persistence(kept, builder)

    def _end(self, module: weakref.ref[nn.Module], request: Request, report: Report) -> None:
        found = module()
        if found is not None and report.state == "unchanged":
            self._finished[found], self._ended[found] = report, request
            self._plans.pop(found, None)

    def _was_ended(self, module: nn.Module) -> bool:
        try:
            return module in self._ended
        except TypeError:
            return False

    def _plan(self, module: object) -> Plan | None:
        try:
            found = self._plans.get(module) if isinstance(module, nn.Module) else None
        except TypeError:
            return None
        return None if found is None else found()

    def _refuse(self, module: object, why: str, name: str | None) -> None:
        report = Report(state="unchanged", skipped=(Skipped("optimize", why),))
        try:
            if isinstance(module, nn.Module):
                self._finished[module] = report
        except TypeError:
            pass
        name = name or type(module).__name__
        self._tell(Notice(name, "done", 1, 1, summary(name, report)))

    def _tell(self, notice: Notice) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            listener(notice)
        except Exception:  # A listener's fault is not the model's; a cancel is no Exception and goes through.
            return
