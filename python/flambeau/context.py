"""The running request as user code and hooks see it: progress, log, and whether it was cancelled.

The one piece of module state in the worker: code of the user's calls plain functions, and there is one worker in a process.
"""

from __future__ import annotations

import time

from flambeau import TYPE_CHECKING
from flambeau.protocol import PROGRESS_PER_SECOND
from flambeau.stdio import complain
from flambeau.threads import Lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from flambeau.interrupts import Gate
    from flambeau.jobs import Job, Running

    # (tag of the request, body of the event)
    SendEvent = Callable[[int, dict[str, Any]], None]


class Context:
    """Tells the host about the call that runs now. Threads that user code started speak for that call as well."""

    def __init__(self, running: Running, gate: Gate, send: SendEvent) -> None:
        self._running = running
        self.gate = gate
        self._send = send

    @property
    def job(self) -> Job | None:
        """The call that runs on the main thread."""
        return self._running.top

    def progress(self, step: int, total: int | None, stage: str | None) -> None:
        """A progress event, if the rate allows it."""
        job = self.job
        if job is None:
            return
        meter = job.progress
        if not isinstance(meter, Meter):
            meter = job.progress = Meter()
        event = {
            "kind": "progress",
            "step": step,
            "total": total,
            "stage": stage,
            "elapsed_s": round(time.monotonic() - job.started_s, 3),
        }
        if meter.admits(event, is_last=total is not None and step >= total):
            self._send(job.call.tag, event)

    def log(self, message: str) -> None:
        """A log event; without a running call, a line on stderr."""
        job = self.job
        if job is None:
            complain(message)
        else:
            self._send(job.call.tag, {"kind": "log", "message": message})

    def notice(self, message: str) -> None:
        """Something of ours that the caller should know."""
        job = self.job
        self._send(0 if job is None else job.call.tag, {"kind": "notice", "message": message})

    def finish(self, job: Job) -> None:
        """The call has ended: a progress event that was held back goes out."""
        meter = job.progress
        if isinstance(meter, Meter) and meter.held is not None:
            self._send(job.call.tag, meter.held)

    def cancelled(self) -> bool:
        """True if the call that runs was cancelled."""
        job = self.job
        return job is not None and job.cancelled


class Meter:
    """Lets a burst of a second's worth of events through, then a steady rate; remembers the newest that it held back."""

    def __init__(self) -> None:
        self._allowance = float(PROGRESS_PER_SECOND)
        self._at_s = time.monotonic()
        self._lock = Lock()
        self.held: dict[str, Any] | None = None

    def admits(self, event: dict[str, Any], *, is_last: bool) -> bool:
        """True if it is to be sent now."""
        with self._lock:
            now_s = time.monotonic()
            self._allowance = min(PROGRESS_PER_SECOND, self._allowance + (now_s - self._at_s) * PROGRESS_PER_SECOND)
            self._at_s = now_s
            admitted = is_last or self._allowance >= 1
            if admitted:
                self._allowance = max(0.0, self._allowance - 1)
            self.held = None if admitted else event
            return admitted


_context: Context | None = None


def install(context: Context | None) -> None:
    """At boot; None in a forked child, which has nobody to tell."""
    global _context
    _context = context


def current() -> Context | None:
    """None outside of a worker."""
    return _context


def progress(step: int, total: int | None = None, stage: str | None = None) -> None:
    """See `flambeau.progress`."""
    if _context is not None:
        with Shielded(_context.gate):
            _context.progress(int(step), None if total is None else int(total), stage)


def log(message: str) -> None:
    """See `flambeau.log`."""
    if _context is None:
        complain(str(message))
        return
    text = str(message)
    with Shielded(_context.gate):
        _context.log(text)


def notice(message: str) -> None:
    """Something of Flambeau's own that the host should know; outside of a worker it goes to stderr."""
    if _context is None:
        complain(message)
        return
    with Shielded(_context.gate):
        _context.notice(message)


def cancelled() -> bool:
    """See `flambeau.cancelled`."""
    return _context is not None and _context.cancelled()


def raise_if_cancelled() -> None:
    """For step hooks: raises CallCancelled in a call that was cancelled, also when it was swallowed before."""
    if _context is not None:
        _context.gate.check_again()


class Shielded:
    """`with Shielded(gate):` no cancel raises inside."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._gate.shield()

    def __exit__(self, *_error: object) -> None:
        self._gate.unshield()
