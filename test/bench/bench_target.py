"""What every peer of the bridge benchmark calls: the same object, so that what differs is the way to it."""

from __future__ import annotations

import socket
import threading
import time
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

    def loop(self) -> None:
        """Python code without end."""
        while True:
            pass

    def sleep(self) -> None:
        """A sleep."""
        time.sleep(60)

    def wait(self) -> None:
        """For another thread, which never comes."""
        threading.Event().wait(60)

    def read(self) -> None:
        """From a socket that nobody writes to."""
        one, _other = socket.socketpair()
        one.recv(1)

    def multiply(self, seconds: float = 60.0) -> None:
        """Matrices, each product some tens of milliseconds in which no Python runs."""
        import torch

        matrix = torch.ones(1024, 1024)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            matrix @ matrix


@cache
def _block(size: int) -> bytes:
    return bytes(range(256)) * (size // 256)
