"""Standard streams and the wire's file descriptor: claimed at boot, kept out of reach of user code and of children."""

from __future__ import annotations

import io
import os
import sys

from flambeau import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOST_FD = 3
# Above what `os.closerange(3, 256)` and its like reach; the second is for a small RLIMIT_NOFILE.
PARKING_FDS = (1000, 200, 10)


def claim_wire() -> int:
    """Moves fd 3 to a high number and leaves /dev/null in its place, so that user code that closes or writes 3 hurts nothing."""
    if not _is_open(HOST_FD):
        raise OSError("file descriptor 3 is not open: this program is started by Flambeau, with a socket there")
    wire = HOST_FD
    for free in PARKING_FDS:
        if _is_open(free):
            continue
        try:
            wire = os.dup2(HOST_FD, free, inheritable=False)
            break
        except OSError:  # beyond RLIMIT_NOFILE
            continue
    if wire == HOST_FD:
        raise OSError(f"none of the file descriptors {PARKING_FDS} can be had: raise the limit (`ulimit -n`)")
    null = os.open(os.devnull, os.O_RDWR)
    if null != HOST_FD:
        os.dup2(null, HOST_FD, inheritable=False)
        os.close(null)
    os.set_blocking(wire, True)
    return wire


def close_in_children(wire: int, closed: Callable[[], None]) -> None:
    """A forked child loses the wire at once: while it held a copy, the host would not learn of our end."""

    def close_here() -> None:
        closed()
        if _is_open(wire):  # a child of a child has lost it already
            os.close(wire)

    os.register_at_fork(after_in_child=close_here)


def settle_streams() -> None:
    """stdout and stderr are logs: one write a line, and never an error over a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False)


def die_with_parent() -> None:
    """Linux: SIGKILL when the host's thread that started us ends, even while C code holds the GIL. Elsewhere the wire's end tells."""
    if sys.platform != "linux":
        return
    from _signal import SIGKILL  # type: ignore[import-not-found]  # typeshed has no _signal.

    parent = os.getppid()
    set_parent_death_signal = 1
    _call_c("prctl", set_parent_death_signal, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the signal was armed
        os._exit(0)


def flush() -> None:
    """What Python and C have buffered goes out."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - as in `complain`
            stream.flush()
        except BaseException:  # whatever user code has put there
            pass
    _call_c("fflush", None)


def _call_c(name: str, *arguments: int | None) -> None:
    try:
        from _ctypes import call_function, dlopen, dlsym  # what is under ctypes, which takes four times as long
    except ImportError:
        import ctypes

        getattr(ctypes.CDLL(None), name)(*arguments)
    else:
        # None is the null pointer here, which the stubs leave out.
        call_function(dlsym(dlopen(None, 0), name), arguments)  # type: ignore[arg-type]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def complain(text: str) -> None:
    """One line on fd 2, whatever user code has done to sys.stderr."""
    try:  # noqa: SIM105 - contextlib would be what takes longest here
        os.write(2, f"flambeau: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass
