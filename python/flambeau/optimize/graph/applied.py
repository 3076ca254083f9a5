"""A package as something applied: one kind of call is computed by it while enabled. Knows no files and no measuring."""

from __future__ import annotations

from typing import Final

from ..applied import Applied, Kept
from ..calls.guard import Key
from ..leaf.layers import Layers, Whole

NAME: Final = "graph"


class AppliedGraph:
    """The layers keep what they have: they compute whatever the package declines."""

    def __init__(self, layers: Layers, key: Key, whole: Whole, *, is_kept: bool = True) -> None:
        """`is_kept`: another process can have it as well."""
        self.key = key
        self.whole = whole
        self.is_kept = is_kept
        self._layers = layers

    def enable(self) -> None:
        self._layers.wholes[self.key] = self.whole

    def disable(self) -> None:
        self._layers.wholes.pop(self.key, None)

    def supersedes_(self, older: Applied) -> bool:
        return False

    def keep(self) -> Kept:
        """The package itself is an entry of its own."""
        return Kept()
