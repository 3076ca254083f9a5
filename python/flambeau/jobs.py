"""Calls on their way, and what reaches the main thread. Knows neither the wire nor how a call is run.

Threads share no lock here: each step is one operation on a dict, list or queue, which the interpreter makes atomic.
"""

from __future__ import annotations

import time
from _queue import SimpleQueue

from flambeau import TYPE_CHECKING
from flambeau.threads import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from flambeau.protocol import Call, Release, Return, Shutdown, Wake


class Job:
    """One call and what becomes of it."""

    __slots__ = ("_ready", "_wait", "call", "cancelled", "cancelled_s", "interrupted", "progress", "started_s")

    def __init__(self, call: Call, wait: Callable[[Event], None] | None = None) -> None:
        """`wait`, if it has attachments: how the main thread waits for them."""
        self.call = call
        # Set by whoever reads the wire; everything that can stop the call early looks at it.
        self.cancelled = False
        self.cancelled_s = 0.0
        # The exception has been raised in it: never twice, so that `finally` blocks of user code run undisturbed.
        self.interrupted = False
        self.started_s = 0.0
        # Of context.py: the meter that keeps progress events to a bearable rate.
        self.progress: object = None
        self._wait = wait
        self._ready = None if wait is None else Event()

    def set_ready(self) -> None:
        """Its attachments are whole, or it will not run: whoever waits for it goes on."""
        if self._ready is not None:
            self._ready.set()

    def wait_until_ready(self) -> None:
        """Blocks until its attachments are whole; for the main thread."""
        if self._ready is not None and self._wait is not None:
            self._wait(self._ready)


if TYPE_CHECKING:
    Item = Job | Release | Return | Shutdown | Wake


class Inbox:
    """What has arrived for the main thread, in order, and which calls have not begun."""

    def __init__(self) -> None:
        self._arrivals: SimpleQueue[Item] = SimpleQueue()
        # Whoever pops a job from here owns it: the main thread to run it, or whoever reads a cancel for it.
        self._queued: dict[int, Job] = {}
        # When the main thread last began something: by time.monotonic.
        self.began_s = 0.0
        # Set by the main thread once it has seen SHUTDOWN.
        self.leaving = Event()

    def add(self, item: Item) -> None:
        """From whoever reads the wire."""
        self._arrivals.put(item)

    def add_job(self, job: Job) -> None:
        """The same, for a call that can be claimed."""
        self._queued[job.call.id] = job
        self._arrivals.put(job)

    def claim(self, call_id: int) -> Job | None:
        """The job, if nobody has it yet."""
        return self._queued.pop(call_id, None)

    def drop_queued(self) -> None:
        """Nothing that has not begun will begin."""
        for call_id in list(self._queued):
            job = self.claim(call_id)
            if job is not None:
                job.set_ready()

    def take(self) -> Item:
        """Waits for the next arrival; for the main thread."""
        return self._arrivals.get()

    def take_arrived(self) -> list[Item]:
        """Everything that is here already; for the main thread."""
        return [self._arrivals.get() for _ in range(self._arrivals.qsize())]

    @property
    def queued(self) -> int:
        """Calls that have not begun."""
        return len(self._queued)


class Running:
    """The calls that the main thread is in, outermost first: one, and above it those that its callbacks made."""

    def __init__(self) -> None:
        self.stack: list[Job] = []

    @property
    def top(self) -> Job | None:
        """The call whose code runs now."""
        stack = self.stack
        try:
            return stack[-1]
        except IndexError:
            return None

    def push(self, job: Job) -> None:
        """It begins."""
        job.started_s = time.monotonic()
        self.stack.append(job)

    def pop(self) -> None:
        """The call on top has ended."""
        self.stack.pop()

    def cancel(self, call_id: int) -> bool:
        """Marks that call and the ones made on its behalf; False if it is not running."""
        stack = list(self.stack)
        for depth, job in enumerate(stack):
            if job.call.id == call_id:
                for affected in stack[depth:]:
                    affected.cancelled_s = time.monotonic()
                    affected.cancelled = True
                return True
        return False
