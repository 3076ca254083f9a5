"""What every peer of the bridge benchmark calls: the same object, so that what differs is the way to it."""

from __future__ import annotations

from functools import cache


class Thing:
    """One attribute and the calls that are measured."""

    def __init__(self) -> None:
        self.value = 7

    def add(self, a: int, b: int = 0) -> int:
        """The smallest useful call."""
        return a + b

    def make(self) -> Thing:
        """A call whose result stays in Python."""
        return Thing()

    def sink(self, data: bytes) -> int:
        """Takes bytes; their number."""
        return len(data)

    def source(self, size: int) -> bytes:
        """Gives `size` bytes, which were made the first time that they were asked for."""
        return _block(size)


@cache
def _block(size: int) -> bytes:
    return bytes(range(256)) * (size // 256)
