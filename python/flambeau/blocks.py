"""Memory that bulk data arrives in, kept for what comes next: the pages of fresh memory take as long as the bytes themselves.

A block is given back when the call that it came with has ended, unless code of the user's still holds what lies in it.
"""

from __future__ import annotations

import io
import sys

from flambeau.protocol import BLOCK_BYTES, KEPT_BYTES
from flambeau.threads import Lock

# Of the bytes in a BytesIO that nobody else holds: its own reference, and the one of getrefcount's argument.
OWN_REFERENCES = 2


def fresh(length: int) -> io.BytesIO:
    """Memory of `length` bytes. Not a bytearray: of this one, bytes are had without a copy."""
    memory = io.BytesIO()
    if length:
        memory.seek(length - 1)
        memory.write(b"\0")
    return memory


class Blocks:
    """Blocks that nobody uses at the moment, newest last. Any thread."""

    def __init__(self) -> None:
        self._idle: list[tuple[int, io.BytesIO]] = []
        self._lock = Lock()

    def take(self, length: int) -> io.BytesIO:
        """One of exactly this length if there is one, else fresh memory."""
        if length < BLOCK_BYTES:
            return fresh(length)
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place][0] == length:
                    return self._idle.pop(place)[1]
        return fresh(length)

    def give_back(self, memory: io.BytesIO, length: int) -> None:
        """Keeps it, if it is free; the oldest ones go when there are too many bytes."""
        if not BLOCK_BYTES <= length <= KEPT_BYTES or not _is_free(memory, length):
            return
        with self._lock:
            self._idle.append((length, memory))
            while sum(size for size, _ in self._idle) > KEPT_BYTES:
                del self._idle[0]


def _is_free(memory: io.BytesIO, length: int) -> bool:
    try:
        memory.truncate(length)  # changes nothing, and is refused while an array or a view lies over it
    except BufferError:
        return False
    return sys.getrefcount(memory.getvalue()) == OWN_REFERENCES
