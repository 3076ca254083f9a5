"""Who reads the wire: the main thread while it has nothing to carry out, the I/O thread as soon as something takes longer.

A short call is then read, run and answered by one thread, without the two wake-ups that are most of what it would cost otherwise.
Knows neither frames nor calls.
"""

from __future__ import annotations

import time
from _queue import Empty, SimpleQueue

from flambeau import TYPE_CHECKING
from flambeau.jobs import Inbox
from flambeau.protocol import AWAY_S, IDLE_S, TICK_S, Wake
from flambeau.threads import Lock, start_new_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from flambeau.frames import FrameWriter
    from flambeau.jobs import Item
    from flambeau.threads import Event


class WireInbox(Inbox):
    """Whoever holds the token reads. The I/O thread looks every `TICK_S` whether nobody does, and sleeps while all is quiet."""

    def __init__(self) -> None:
        super().__init__()
        self._token = Lock()
        self._main_reads = False
        self._main_waits = False
        # When the main thread last had read: by time.monotonic.
        self._read_s = 0.0
        self._asleep = False
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._read: Callable[[], None]
        self._may_read: Callable[[float], bool]
        self._wire: FrameWriter

    def start(self, read: Callable[[], None], may_read: Callable[[float], bool], wire: FrameWriter) -> None:
        """Begins. `read` blocks until something has come and never raises; `may_read` tells whether something does within a time."""
        self._read = read
        self._may_read = may_read
        self._wire = wire
        wire.is_watched = True
        start_new_thread(self._watch, ())

    def take(self) -> Item:
        """The next arrival; for the main thread, which reads while it waits."""
        arrivals = self._arrivals
        while not arrivals.qsize():
            self._wire.flush()
            if self._read_on_main():
                continue
            self._main_waits = True
            # Not if the other thread has just stopped reading: it may not have seen that it is waited for.
            item = arrivals.get() if self._token.locked() else Wake()
            self._main_waits = False
            self._begin()
            return item
        self._begin()
        return arrivals.get()

    def take_arrived(self) -> list[Item]:
        """Everything that is here already, also on the wire; for the main thread."""
        if not self._main_reads and self._may_read(0.0):
            self._read_on_main()
        return super().take_arrived()

    def wait_for(self, event: Event) -> None:
        """Until something that comes by the wire has set it; for the main thread."""
        while not event.is_set():
            self._wire.flush()
            if not self._read_on_main():
                event.wait()
        self._begin()

    def _begin(self) -> None:
        """The main thread goes away from the wire."""
        self.began_s = time.monotonic()
        if self._asleep:
            self._asleep = False
            self._bell.put(None)

    def _read_on_main(self) -> bool:
        """False if the I/O thread reads, which goes on until the main thread has something to do."""
        if not self._token.acquire(blocking=False):
            if self._main_reads:
                raise RuntimeError("a finalizer or a signal handler that runs while nothing else does cannot wait for the host")
            return False
        self._main_reads = True
        try:
            self._read()
        finally:
            self._read_s = time.monotonic()
            self._main_reads = False
            self._token.release()
        return True

    def _watch(self) -> None:
        while True:
            try:  # noqa: SIM105 - contextlib is not there at boot
                self._bell.get(timeout=TICK_S)
            except Empty:
                pass
            self._wire.flush()
            now_s = time.monotonic()
            if self._token.locked():
                if now_s - self._read_s > IDLE_S:
                    self._rest()
            elif now_s - self.began_s > TICK_S or now_s - self._read_s > AWAY_S:
                self._read_for_main()

    def _rest(self) -> None:
        self._asleep = True
        # The main thread may have begun something before it could see that.
        if self._token.locked():
            self._bell.get()
        self._asleep = False

    def _read_for_main(self) -> None:
        """Until the main thread has nothing else to do: then it is the one who reads again."""
        if not self._token.acquire(blocking=False):
            return
        while not self._main_waits:
            # Nobody is woken every millisecond beside something long, so nobody looks after answers that are gathered meanwhile.
            is_short = time.monotonic() - self.began_s < AWAY_S
            # First this, then the flush: what the main thread gathers is either in it, or left by it at once.
            self._wire.is_watched = is_short
            self._wire.flush()
            if self._may_read(TICK_S if is_short else IDLE_S):
                self._read()
        self._wire.is_watched = True
        self._token.release()
        if self._main_waits and not self._arrivals.qsize():
            self.add(Wake())  # otherwise every call would take two changes of threads from now on
