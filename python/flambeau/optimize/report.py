"""What optimize did, as plain data, and the one line that says it. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "measuring", "done", "unchanged", "restored"]


@dataclass(frozen=True)
class Skipped:
    """Something that was not applied. `speed_up` is set when it was timed: below 1 it was slower than what ran before."""

    what: str
    why: str
    speed_up: float | None = None


@dataclass(frozen=True)
class EagerCalls:
    """Calls that ran the module as it came, although a faster path exists or was to be measured."""

    why: str
    count: int


@dataclass(frozen=True)
class Share:
    """Seconds that one call spends in one kind of layer, such as "Conv2d"."""

    what: str
    seconds: float


@dataclass(frozen=True)
class LeftOut:
    """Layers that kept what they had: why, how many, and the paths of some of them."""

    why: str
    count: int
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Extent:
    """Of what was applied: it runs in `count` of `of` layers that it could be for."""

    what: str
    count: int
    of: int
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """The state of one optimized module.

    `seconds` is the time added so far by capturing and measuring; `speed_up`, `relative_error` (L2) and `cosine` compare
    with eager over the captured calls and are None until something was measured; `bytes` is extra memory held, `module_bytes`
    what the module's own weights take; `repacked` counts layers that were prepared again because their weights had changed;
    `extents` tells of what computes in 8 bits in how many layers it does, and why not in the others;
    `breakdown` is where the time of one fast call goes now, the largest share first, and empty until there was one.
    """

    state: State
    applied: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    seconds: float = 0.0
    speed_up: float | None = None
    relative_error: float | None = None
    cosine: float | None = None
    bytes: int = 0
    module_bytes: int = 0
    eager_calls: tuple[EagerCalls, ...] = ()
    repacked: int = 0
    extents: tuple[Extent, ...] = ()
    breakdown: tuple[Share, ...] = ()


@dataclass(frozen=True)
class Notice:
    """Progress for a listener. `module` is its name as optimize was given it, or its class's; step runs to total while "measuring"."""

    module: str
    phase: Literal["measuring", "done"]
    step: int
    total: int
    message: str


Listener = Callable[[Notice], None]


def summary(module: str, report: Report) -> str:
    """One line for a terminal: `optimize UNet2DConditionModel: int8 41/58 layers + packed_convs, 1.46x, error 3e-02, 1.4 s`."""
    if report.applied and report.speed_up is not None:
        error = "" if report.relative_error is None else f", error {report.relative_error:.0e}"
        extents = {extent.what: f"{extent.what} {extent.count}/{extent.of} layers" for extent in report.extents}
        applied = " + ".join(extents.get(name, name) for name in report.applied)
        return f"optimize {module}: {applied}, {report.speed_up:.2f}x{error}, {report.seconds:.1f} s"
    timed = [f"{skip.what} {skip.speed_up:.2f}x" for skip in report.skipped if skip.speed_up is not None]
    if timed:
        return f"optimize {module}: unchanged, eager is fastest ({', '.join(timed)})"
    return f"optimize {module}: unchanged, {_first_reason(report)}"


def _first_reason(report: Report) -> str:
    if not report.skipped:
        return "nothing to try"
    first = report.skipped[0]
    return first.why if first.what == "optimize" else f"{first.what}: {first.why}"
