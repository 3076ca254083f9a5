"""What both bridges call in cases.ts: what pythonia's README shows, and what its users ran into."""

from __future__ import annotations

import datetime
import math
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

BIG = 2**53 + 1
EVENTS: list[str] = []


def what_time_is_it() -> str:
    return str(datetime.datetime.now())


def files() -> Iterator[str]:
    try:
        yield from ("a", "b", "c")
    finally:
        EVENTS.append("closed")


def fails_half_way() -> Iterator[int]:
    yield 1
    yield 2
    raise ValueError("no third one")


def named(a: int, b: int = 0, *, c: int = 0) -> list[int]:
    return [a, b, c]


def run_it(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def call_in_thread(function: Callable[..., Any], value: Any) -> Any:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function(value)))
    thread.start()
    thread.join()
    return answers[0]


class Thing:
    def __init__(self) -> None:
        self.value = 5
        self.items: list[Any] = []

    def length(self) -> str:
        return "length of Python"

    def call(self) -> str:
        return "call of Python"

    @property
    def read_only(self) -> int:
        return 1


class Manager:
    def __enter__(self) -> Manager:
        return self

    def __exit__(self, kind: Any, _error: Any, _trace: Any) -> bool:
        EVENTS.append("left with an error" if kind else "left")
        return False


class Counted:
    live: ClassVar[weakref.WeakSet[Counted]] = weakref.WeakSet()

    def __init__(self) -> None:
        Counted.live.add(self)


def live() -> int:
    return len(Counted.live)


def value(name: str) -> Any:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    return {
        "nan": math.nan,
        "big": BIG,
        "huge": 2**80,
        "set": {1},
        "bytes": b"abc",
        "cyclic": cyclic,
        "dict": {"3d_model": "right", 3: "wrong"},
        "nested": {"a": [1, {"b": 2}]},
    }[name]


def tensor_holder() -> Any:
    import torch

    holder = Thing()
    holder.tensor = torch.zeros(3)  # type: ignore[attr-defined]
    return holder


def same(one: Any, other: Any) -> bool:
    return one is other


def told(what: Any) -> str:
    return f"{type(what).__name__} {what!r}"


def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def leave() -> None:
    sys.exit(3)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def fail() -> None:
    raise LookupError("what went wrong")


def pid() -> int:
    return os.getpid()
