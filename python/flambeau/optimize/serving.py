"""One call of a known kind: by its package, on its layers' kernels, or eagerly. Knows no choice between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .applied import AppliedKernels
from .calls import tree
from .calls.caches import has_cache
from .calls.capture import apart
from .gate import EQUAL
from .graph.applied import NAME as GRAPH
from .graph.applied import AppliedGraph
from .graph.package import Package
from .graph.skeleton import skeleton
from .leaf.checks import Bound, Checks
from .leaf.layers import DECLINED
from .limits import Tolerance
from .offers import Offers
from .phase import Fast, Kind
from .report import Skipped
from .subject import Subject
from .timing import Clock

# Whatever else is applied to a target computes more than single layers.
_BY_LAYERS = (AppliedKernels, AppliedGraph)


class Serving:
    """How calls of one target are run, and compared."""

    def __init__(self, target: Subject) -> None:
        self.offers = Offers(target)
        self._target = target
        self._session = target.session

    def is_fast(self, kind: Kind) -> bool:
        """Whether anything but eager serves such calls."""
        return kind.uses_layers or kind.key in self._target.layers.wholes

    def fast(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The fastest way that was accepted for this kind."""
        target = self._target
        output = self._by_package(kind, args, kwargs)
        if output is DECLINED:
            if not kind.uses_layers:
                return self.eager(kind, args, kwargs)
            output = target.run_layers(args, kwargs)
        return target.guard.restride(kind.key, output)

    def eager(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The module as it came; timed at its first call."""
        clock = None if kind.call_s else self.clock(kind, args, kwargs)
        before_s = clock() if clock else 0.0
        output = self._target.shell.eager(*args, **kwargs)
        if clock:
            kind.call_s = clock() - before_s
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

    def admit(self, kind: Kind, output: Any) -> None:
        """From now on such calls may take the fast path; `output` is eager's."""
        self._target.guard.admit(kind.key, tuple(tensor.stride() for tensor in tree.tensors(output)))

    def clock(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Clock:
        """What calls of this kind are timed with."""
        if kind.clock is None:
            kind.clock = self._session.work_clock(self._target.device((args, kwargs)).type)
        return kind.clock

    def beside(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]] | None:
        """Inputs for a run beside the program's own; None if there can be none now. A later call may have a smaller cache."""
        try:
            if has_cache(args, kwargs) and tree.num_bytes((tuple(args), dict(kwargs))) > self._session.limits.capture_bytes:
                return None
            return apart(args, kwargs)
        except Exception as error:
            self.offers.note(Skipped("other calls", f"{type(error).__name__}: {error}"))
            return None

    def checks(self, kind: Kind, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Checks | None:
        """None where there is more than kernels of layers: that is compared as a whole."""
        phase, limits = self._target.phase, self._session.limits
        outcome = phase.outcome if isinstance(phase, Fast) else None
        if outcome is None or outcome.tolerance is None or not all(isinstance(one, _BY_LAYERS) for _, one in outcome.applied):
            return None
        accepted, allowed = (outcome.difference or EQUAL).relative_error, outcome.tolerance.relative_error
        bound = Bound(accepted, allowed, limits.check_ratio, limits.check_least * allowed)
        return Checks(self._target.layers, bound, self.clock(kind, args, kwargs))

    def allowed(self, output: Any) -> Tolerance:
        """How far a result may be from this one of eager's."""
        phase = self._target.phase
        known = phase.outcome.tolerance if isinstance(phase, Fast) else None
        return known or self._session.tolerance(output)

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

    def _drop_package(self, kind: Kind, why: str) -> None:
        self._target.layers.wholes.pop(kind.key, None)
        self.offers.lost(kind, Skipped(GRAPH, why))
