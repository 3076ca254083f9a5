"""One optimized module: finds the outermost modules that run, and sums up what their targets did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import nn

from .breakdown import PACKAGE, merged
from .gate import EQUAL
from .phase import Eager, Fast, Waiting
from .report import Extent, Report, Share, Skipped, State, summary
from .session import Session
from .target import Target, TargetEvents


class Plan:
    """Targets on the root and on the modules right below it. A pipeline may never call the root (a VAE's decode does not):
    the level that is called first stays, the other one is let go."""

    def __init__(self, root: nn.Module, session: Session, ended: Callable[[Report], None]) -> None:
        """`ended` is told once all targets are eager for good: no forward holds the plan any more."""
        self._session = session
        self._ended = ended
        self._is_restored = False
        self._module_bytes = sum(tensor.numel() * tensor.element_size() for tensor in (*root.parameters(), *root.buffers()))
        events = TargetEvents(self._started, self._settled)
        self._targets = [Target(module, path, session, events) for path, module in _outermost(root)]
        self._is_narrowed = False

    @property
    def num_targets(self) -> int:
        """0 for a module in which nothing can be called."""
        return len(self._targets)

    def restore_(self) -> Report:
        """Everything as it was; the report says "restored"."""
        with self._session.lock:
            self._is_restored = True
            for target in reversed(self._targets):
                target.restore_()
            return self.report()

    def report(self) -> Report:
        """What was done so far."""
        fast = [(target, target.phase) for target in self._targets if isinstance(target.phase, Fast)]
        found = EQUAL
        for _, phase in fast:
            found = found.worst(phase.outcome.difference or EQUAL)
        return Report(
            state=self._state(),
            applied=tuple(dict.fromkeys(f"{_prefix(target)}{name}" for target, phase in fast for name, _ in phase.outcome.applied)),
            skipped=tuple(skip for target in self._targets for skip in _skipped(target)),
            seconds=self._session.spent_s,
            speed_up=self._speed_up(),
            relative_error=found.relative_error if fast else None,
            cosine=found.cosine if fast else None,
            bytes=sum(target.layers.bytes for target in self._targets),
            module_bytes=self._module_bytes,
            eager_calls=self._session.eager_calls,
            repacked=sum(target.layers.num_repacked for target in self._targets),
            extents=tuple(extent for target, phase in fast for extent in _extents(target, phase)),
            breakdown=merged([_breakdown(target, phase) for target, phase in fast]),
        )

    def _state(self) -> State:
        if self._is_restored:
            return "restored"
        if self._session.is_measuring:
            return "measuring"
        phases = [target.phase for target in self._targets]
        if any(isinstance(phase, Fast) for phase in phases):
            return "done"
        if any(isinstance(phase, Eager) and phase.is_worth_saying for phase in phases) or not any(isinstance(p, Waiting) for p in phases):
            return "unchanged"
        return "waiting"

    def _speed_up(self) -> float | None:
        """Eager seconds of one call of each fast target over their seconds now."""
        outcomes = [target.phase.outcome for target in self._targets if isinstance(target.phase, Fast)]
        now_s = sum(outcome.call_s / (outcome.speed_up or 1.0) for outcome in outcomes)
        return sum(outcome.call_s for outcome in outcomes) / now_s if now_s else None

    def _started(self, running: Target) -> None:
        if self._is_narrowed:
            return
        with self._session.lock:
            self._is_narrowed = True
            for target in self._targets:
                if (target.path == "") != (running.path == ""):
                    target.retire_()

    def _settled(self, target: Target) -> None:
        if not isinstance(target.phase, Eager) or target.phase.is_worth_saying:
            self._session.tell("done", 1, 1, summary(self._session.request.module, self.report()))
        if all(isinstance(one.phase, Eager) and one.phase.is_final for one in self._targets):
            self._ended(self.report())


def _outermost(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The root and the nearest modules below it that have a forward; lists of modules are looked through."""
    seen = {id(root)}
    if _has_forward(root):
        yield "", root
    waiting = [("", root)]
    while waiting:
        path, parent = waiting.pop()
        for name, child in parent.named_children():
            if id(child) in seen:
                continue
            seen.add(id(child))
            here = f"{path}.{name}" if path else name
            if _has_forward(child):
                yield here, child
            else:
                waiting.append((here, child))


def _breakdown(target: Target, phase: Fast) -> tuple[Share, ...]:
    if target.breakdown.shares or not target.layers.wholes:
        return target.breakdown.shares
    # Nothing can be seen inside of a package.
    return (Share(PACKAGE, phase.outcome.call_s / (phase.outcome.speed_up or 1.0)),)


def _extents(target: Target, phase: Fast) -> Iterator[Extent]:
    for name, one in phase.outcome.applied:
        extent = getattr(one, "extent", None)
        if extent is not None:
            yield replace(extent, what=f"{_prefix(target)}{name}")


def _has_forward(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward


def _prefix(target: Target) -> str:
    return f"{target.path}: " if target.path else ""


def _skipped(target: Target) -> Iterator[Skipped]:
    phase = target.phase
    skipped = phase.outcome.skipped if isinstance(phase, Fast) else phase.skipped if isinstance(phase, Eager) else ()
    for skip in skipped:
        yield Skipped(f"{_prefix(target)}{skip.what}", skip.why, skip.speed_up)
    for skip in target.remarks():
        yield Skipped(f"{_prefix(target)}{skip.what}", skip.why, skip.speed_up)
    for failure in target.layers.failures:
        yield Skipped(f"{_prefix(target)}a layer's kernel", failure)
