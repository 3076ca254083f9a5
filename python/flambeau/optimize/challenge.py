"""One challenger against what runs now, on the program's own calls: compared first, then timed in turn. Kernels of layers are compared
a few layers in each call; what replaces a whole module costs one extra run. Knows no modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .gate import EQUAL, Difference
from .leaf.checks import Checks
from .limits import Limits
from .timing import Race

Run = Callable[[Sequence[Any], Mapping[str, Any]], Any]


@dataclass
class Challenge:
    """`accept_` makes the challenger what runs. `checks` compares it layer by layer; without, one whole call is compared.
    One that is trusted was raced before, by an earlier process.
    """

    name: str
    run: Run
    accept_: Callable[[Challenge], None]
    is_trusted: bool = False
    checks: Checks | None = None
    difference: Difference = EQUAL
    is_compared: bool = False
    # A call of it is under way; those of other threads run as before.
    is_busy: bool = False
    _incumbent_s: list[float] = field(default_factory=list)
    _challenger_s: list[float] = field(default_factory=list)

    @property
    def turn(self) -> Literal["incumbent", "challenger"]:
        """Who runs the next call: A B, B A, A B, … of which each two are a pair."""
        num_incumbent, num_challenger = len(self._incumbent_s), len(self._challenger_s)
        if num_incumbent != num_challenger:
            return "challenger" if num_incumbent > num_challenger else "incumbent"
        return "incumbent" if num_incumbent % 2 == 0 else "challenger"

    def note(self, turn: Literal["incumbent", "challenger"], seconds: float) -> None:
        """One timed call."""
        (self._incumbent_s if turn == "incumbent" else self._challenger_s).append(max(seconds, 1e-9))

    @property
    def result(self) -> Race:
        """The pairs so far."""
        return Race(tuple(zip(self._incumbent_s, self._challenger_s, strict=False)))

    @property
    def call_s(self) -> float:
        """Seconds that a call took before."""
        return min(self._incumbent_s, default=0.0)

    def is_decided(self, limits: Limits) -> bool:
        """True once more calls would not change who wins."""
        pairs = self.result.pairs
        won = sum(a > b * limits.min_gain for a, b in pairs)
        if len(pairs) >= limits.min_pairs and all(a <= b for a, b in pairs):
            return True
        return len(pairs) >= limits.max_pairs or (len(pairs) >= limits.sure_pairs and won == len(pairs))
