"""Which threads are inside a fast path or a measurement right now. Knows nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Switch(threading.local):
    """On while this thread runs the fast path of one target: its layers then use their kernels. Other threads stay eager."""

    on = False
    # While a call compares some of its layers: takes a layer's patch, its kernel and its input, gives what the call goes on with.
    check: Callable[..., Any] | None = None

    @contextmanager
    def checking(self, check: Callable[..., Any]) -> Iterator[None]:
        """Layers of this thread ask `check` for the length of a `with`."""
        self.check = check
        try:
            yield
        finally:
            self.check = None

    @contextmanager
    def set(self, on: bool) -> Iterator[None]:
        """On or off in this thread for the length of a `with`."""
        before = self.on
        self.on = on
        try:
            yield
        finally:
            self.on = before


class Depth(threading.local):
    """How many observed calls this thread is inside; above 0, a module that runs is an inner one."""

    count = 0

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """One level deeper for the length of a `with`."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
