"""Where one target stands, and each kind of its calls. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .calls.guard import Key
from .challenge import Challenge
from .gate import EQUAL, Difference
from .graph.skeleton import Fill
from .leaf.checks import Checks
from .report import Skipped
from .search import Outcome
from .timing import Clock

# "unknown": nobody has looked; "absent": it may be built yet; "failed": it was not, but this process may compile for itself;
# "on": it runs or is being tried; "none": there will be none.
PackageState = Literal["unknown", "absent", "building", "built", "failed", "on", "none"]


@dataclass(frozen=True)
class Waiting:
    """Recording calls until there are enough to measure."""


@dataclass
class Fast:
    """Accepted for at least one kind of call: those that the guard knows take the fast path."""

    outcome: Outcome


@dataclass(frozen=True)
class Eager:
    """Measured without gain, refused, withdrawn, or (without a reason) not the module that runs.

    One that is not final goes on looking: for other kinds of calls, and for what is built meanwhile.
    """

    skipped: tuple[Skipped, ...] = ()
    is_worth_saying: bool = False
    is_final: bool = True


@dataclass
class Kind:
    """Calls of one kind, and what was found out for them. `call_s` is eager's time."""

    key: Key
    num_calls: int = 0
    was_looked_up: bool = False
    was_searched: bool = False
    # The layers' kernels were accepted for it; a package that replaces the whole module may be there besides.
    uses_layers: bool = False
    # From these calls on the kernels are compared with their layers again; what compares them now.
    watch_at: list[int] = field(default_factory=list)
    watch: Checks | None = None
    is_watch_busy: bool = False
    # What its calls are timed with.
    clock: Clock | None = None
    package: PackageState = "unknown"
    # Not before this call is a package looked for again.
    package_at_call: int = 0
    num_declined: int = 0
    # Makes the module's output of a package's tensors, once an output was seen.
    fill: Fill | None = None
    package_skipped: Skipped | None = None
    # What is tried on its next calls, in this order.
    challenges: list[Challenge] = field(default_factory=list)
    speed_up: float | None = None
    difference: Difference = EQUAL
    call_s: float = 0.0
