"""Stopping the call that runs: SIGINT to the main thread, let through only where it is meant and where it does no harm.

A signal handler that raises may do so between any two bytecodes of the main thread. So the gate is shut by default, and open only
while user code of a call runs; a cancel that comes while it is shut, or while a module is being imported, is repeated until it fits.
"""

from __future__ import annotations

import time

# What is under `signal`, which makes enums: at import, and of what getsignal found, longer than everything else after a call.
from _signal import SIGINT, getsignal, pthread_kill, signal  # type: ignore[import-not-found]  # typeshed has no _signal.

from flambeau import TYPE_CHECKING
from flambeau.protocol import COOPERATIVE_S, NUDGE_S
from flambeau.threads import Event, get_ident, start_new_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from flambeau.jobs import Job, Running

IMPORT_CODE = "<frozen importlib._bootstrap>"


class CallCancelled(KeyboardInterrupt):
    """Raised in the call that the host cancelled.

    A KeyboardInterrupt, because `except Exception` lets it pass and because asyncio and subprocess know what to do with one.
    """


class Gate:
    """Decides whether a SIGINT may raise now, and in which call."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._main = get_ident()
        self._handler = self._on_signal
        # The call whose user code runs and may be interrupted; None: shut.
        self._open: Job | None = None
        self._shields = 0
        self._nudge = Event()
        self._nudges = False
        # Asked before raising: True if the call will notice its cancel by itself within a step (pipelines.py).
        self.stops_itself: Callable[[], bool] = lambda: False

    def install(self) -> None:
        """On the main thread, at boot and after each call whose code may have put a handler of its own."""
        if getsignal(SIGINT) is not self._handler:
            signal(SIGINT, self._handler)

    def open(self, job: Job) -> None:
        """User code of this call begins. Raises CallCancelled if it was cancelled meanwhile."""
        self._open = job
        self.check()

    def shut(self) -> None:
        """User code has ended."""
        self._open = None

    def lowered(self, body: Callable[[], None]) -> None:
        """Runs another call inside of one that waits, as if nothing were around it."""
        job, shields = self._open, self._shields
        self._open = None
        self._shields = 0
        try:
            body()
        finally:
            self._shields = shields
            self._open = job

    def check(self) -> None:
        """Raises CallCancelled on the main thread when the call that runs there was cancelled and not yet interrupted."""
        job = self._open
        if job is not None and job.cancelled and not self._shields and get_ident() == self._main:
            self._raise(job)

    def check_again(self) -> None:
        """The same, also when it was raised before: for step hooks, because a step must not run for a cancelled call."""
        job = self._running.top
        if job is not None and job.cancelled and get_ident() == self._main:
            self._raise(job)

    def shield(self) -> None:
        """Nothing raises on the main thread until `unshield`: a frame must not be torn, a lock not be left locked."""
        if get_ident() == self._main:
            self._shields += 1

    def unshield(self) -> None:
        """Ends `shield`."""
        if get_ident() == self._main:
            self._shields -= 1
            self.check()

    def interrupt(self) -> None:
        """From the I/O thread: the running call has been marked cancelled; see that it ends."""
        if not self._nudges:
            self._nudges = True
            start_new_thread(self._repeat, ())
        self._signal_main()
        self._nudge.set()

    def _signal_main(self) -> None:
        pthread_kill(self._main, SIGINT)

    def _repeat(self) -> None:
        while True:
            self._nudge.wait()
            self._nudge.clear()
            while self._is_wanted():
                time.sleep(NUDGE_S)
                if self._is_wanted():
                    self._signal_main()

    def _is_wanted(self) -> bool:
        job = self._running.top
        return job is not None and job.cancelled and not job.interrupted

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        job = self._open
        if job is None or not job.cancelled or job.interrupted or self._shields or is_importing(frame):
            return
        if self.stops_itself() and time.monotonic() - job.cancelled_s < COOPERATIVE_S:
            return
        self._raise(job)

    def _raise(self, job: Job) -> None:
        job.interrupted = True
        self._open = None
        raise CallCancelled("the call was cancelled")


def is_importing(frame: FrameType | None) -> bool:
    """True inside an import: a module that is interrupted half-way stays broken for the rest of the process."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORT_CODE:
            return True
        frame = frame.f_back
    return False
