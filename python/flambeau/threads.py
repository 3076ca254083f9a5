"""Locks, events and threads as the interpreter has them. `threading` is built on functools and more: a tenth of a start.

Nothing that runs in a thread of ours may import that: where it is imported first, there Python believes its main thread to be.
"""

from __future__ import annotations

from _thread import RLock, get_ident, start_new_thread
from _thread import allocate_lock as Lock

__all__ = ["Event", "Lock", "RLock", "get_ident", "start_new_thread"]


class Event:
    """Set by any thread, waited for by one."""

    __slots__ = ("_is_set", "_unset")

    def __init__(self) -> None:
        self._is_set = False
        # Held while the event is not set.
        self._unset = Lock()
        self._unset.acquire()

    def is_set(self) -> bool:
        """True from `set` until `clear`."""
        return self._is_set

    def set(self) -> None:
        """Twice is fine."""
        self._is_set = True
        try:  # noqa: SIM105 - contextlib is not there at boot
            self._unset.release()
        except RuntimeError:  # it was free
            pass

    def clear(self) -> None:
        """For whoever waits."""
        self._is_set = False
        self._unset.acquire(blocking=False)

    def wait(self, timeout_s: float = -1) -> bool:
        """True if it is set, False when the time is up."""
        if not self._is_set:
            self._unset.acquire(timeout=timeout_s)
        return self._is_set
