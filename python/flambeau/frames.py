"""Whole frames over one file descriptor. Knows how bytes travel and in which order, and nothing of what they say.

One thread reads at a time. Any thread may write: small frames at once, attachments chunk by chunk by a thread of their own,
which steps back whenever somebody else has something to say.
"""

from __future__ import annotations

import os
import time
from _queue import SimpleQueue
from collections import deque

from flambeau import TYPE_CHECKING
from flambeau.protocol import CHUNK, CHUNK_BYTES, GATHERED_FRAMES, HEADER, MAX_UNSENT_BYTES, header, read_header
from flambeau.threads import Lock, start_new_thread

if TYPE_CHECKING:
    import threading

READ_BYTES = 64 * 1024
JOINED_BYTES = 64 * 1024
HEADER_BYTES = HEADER.size


class WireClosed(Exception):
    """The host is gone, or this is a forked child, which has no wire."""


class FrameReader:
    """Reads exactly what is asked for; small frames come several to a system call, large ones land where they belong."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    def close(self) -> None:
        """For a forked child: nothing comes any more, and what has come is its parent's."""
        self._fd = -1
        self._start = self._end = 0

    def has_more(self, wait_s: float) -> bool:
        """True if something is here that was not read, or comes within as many seconds."""
        if self._end > self._start:
            return True
        if self._fd < 0:
            return False
        import select  # not at boot: few workers come here soon

        waiting = select.poll()
        waiting.register(self._fd, select.POLLIN)
        return bool(waiting.poll(wait_s * 1000))

    def header(self) -> tuple[int, int, int, int]:
        """(length, type, lane, id) of the next frame; its body has to be read next."""
        if self._end - self._start < HEADER_BYTES:
            self._fill(HEADER_BYTES)
        start = self._start
        self._start = start + HEADER_BYTES
        return read_header(self._buffer, start)

    def whole_header(self) -> tuple[int, int, int, int] | None:
        """The same of a frame that is in the buffer already, all of it; None if there is none."""
        start = self._start
        held = self._end - start - HEADER_BYTES
        if held < 0:
            return None
        head = read_header(self._buffer, start)
        if held < head[0]:
            return None
        self._start = start + HEADER_BYTES
        return head

    def read(self, size: int) -> bytes | bytearray:
        """`size` bytes. Raises WireClosed at the end of the stream."""
        if self._end - self._start >= size:
            data = bytes(self._view[self._start : self._start + size])
            self._start += size
            return data
        whole = bytearray(size)
        self.read_into(memoryview(whole))
        return whole

    def view(self, size: int) -> memoryview | bytearray:
        """`size` bytes that are valid until the next read: a piece of the buffer, where they fit into it."""
        if size > READ_BYTES:
            whole = bytearray(size)
            self.read_into(memoryview(whole))
            return whole
        if self._end - self._start < size:
            self._fill(size)
        start = self._start
        self._start = start + size
        return self._view[start : start + size]

    def _fill(self, size: int) -> None:
        held = self._end - self._start
        if self._start:
            self._buffer[:held] = self._buffer[self._start : self._end]
            self._start = 0
            self._end = held
        while self._end < size:
            self._end += self._receive(self._view[self._end :])

    def read_into(self, target: memoryview) -> None:
        """Fills `target`."""
        filled = 0
        size = len(target)
        while filled < size:
            held = self._end - self._start
            if held:
                piece = min(held, size - filled)
                target[filled : filled + piece] = self._view[self._start : self._start + piece]
                self._start += piece
                filled += piece
            else:
                self._start = 0
                self._end = 0  # stays so if the read fails
                if size < READ_BYTES:
                    self._end = self._receive(self._view)
                else:
                    # The next header comes along, and nothing more: what follows may have a place of its own as well.
                    filled += self._receive(target[filled:], self._view[:HEADER_BYTES])
                    self._end = max(0, filled - size)

    def _receive(self, *targets: memoryview) -> int:
        count = os.readv(self._fd, targets)
        if count == 0:
            raise WireClosed("the host closed the wire")
        return count


class FrameWriter:
    """Writes frames; a frame is never torn, whoever writes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = Lock()
        # One entry for each thread that wants to write a frame that is not a chunk: appending and popping are atomic.
        self._urgent: deque[None] = deque()
        # Answers that leave with whatever is written next: appending and popping are atomic.
        self._gathered: deque[bytes] = deque()
        # Another thread calls `flush` every now and then, whatever the main one does.
        self.is_watched = False
        self._bulk: SimpleQueue[tuple[int, memoryview]] = SimpleQueue()
        self._unsent_bytes = 0
        # Both there from the first attachment on.
        self._room: threading.Condition
        self._pumps = False

    def close(self) -> None:
        """For a forked child: whatever it tries to send is refused."""
        self._fd = -1

    def send(self, kind: int, frame_id: int, body: bytes, attachments: list[tuple[int, memoryview]] | None = None) -> None:
        """Returns when the frame is with the kernel; attachments may still be on their way. Raises WireClosed."""
        if self._fd < 0:  # asked before the lock, which may have been held at the moment of the fork
            raise WireClosed("a forked child cannot call the host")
        self._put(header(len(body), kind, frame_id), body)
        if attachments:
            for attachment_id, data in attachments:
                self._queue(attachment_id, data)

    def gather(self, kind: int, frame_id: int, body: bytes) -> None:
        """A small frame that leaves with the next one or by `flush`: one write, and one wake-up of the host, for many. Never raises."""
        self._gathered.append(header(len(body), kind, frame_id) + body)
        if len(self._gathered) >= GATHERED_FRAMES or not self.is_watched:
            self.flush()

    def flush(self) -> None:
        """What was gathered leaves now. Never raises: that the wire is closed is learned by whoever reads it."""
        if self._gathered and self._fd >= 0:
            try:  # noqa: SIM105 - contextlib is not there at boot
                self._put(b"", b"")
            except WireClosed:
                pass

    def _put(self, head: bytes, body: bytes) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._write(head, body)
            finally:
                self._lock.release()
        else:
            self._insist(head, body)

    def _insist(self, head: bytes, body: bytes) -> None:
        self._urgent.append(None)
        try:
            with self._lock:
                self._write(head, body)
        finally:
            self._urgent.pop()

    def _write(self, head: bytes, body: bytes | memoryview) -> None:
        if self._gathered:
            head = b"".join(self._gathered.popleft() for _ in range(len(self._gathered))) + head
        try:
            if len(body) <= JOINED_BYTES:
                whole = head + body
                written = os.write(self._fd, whole)
                if written == len(whole):
                    return
                rest = memoryview(whole)[written:]
            else:
                written = os.writev(self._fd, [head, body])
                rest = memoryview(head)[written:] if written < len(head) else memoryview(b"")
                if len(rest):
                    self._write_all(rest)
                    written = len(head)
                rest = memoryview(body)[written - len(head) :]
            self._write_all(rest)
        except OSError as error:
            raise WireClosed(str(error)) from error

    def _write_all(self, data: memoryview) -> None:
        while len(data):
            data = data[os.write(self._fd, data) :]

    def _queue(self, attachment_id: int, data: memoryview) -> None:
        data = data.cast("B")
        if not self._pumps:
            self._start_pump()
        with self._room:
            # One that is larger than the bound goes when nothing else is waiting.
            self._room.wait_for(lambda: self._unsent_bytes == 0 or self._unsent_bytes + len(data) <= MAX_UNSENT_BYTES)
            self._unsent_bytes += len(data)
        self._bulk.put((attachment_id, data))

    def _start_pump(self) -> None:
        import threading  # at boot it would take a tenth of the time

        with self._lock:
            if not self._pumps:
                self._room = threading.Condition()
                self._pumps = True
                start_new_thread(self._send_bulk, ())

    def _send_bulk(self) -> None:
        while True:
            attachment_id, data = self._bulk.get()
            size = len(data)
            try:
                for start in range(0, size, CHUNK_BYTES):
                    chunk = data[start : start + CHUNK_BYTES]
                    while self._urgent:  # Python's locks are not fair: without stepping back, chunks would keep everybody else out
                        time.sleep(0.0005)
                    with self._lock:
                        self._write(header(len(chunk), CHUNK, attachment_id), chunk)
            except WireClosed:
                return  # the I/O thread learns it as well and ends the process
            data = memoryview(b"")
            with self._room:
                self._unsent_bytes -= size
                self._room.notify_all()
