"""What comes by the wire: answers the control plane at once, on whichever thread reads, and puts the rest into the inbox.

Whatever ends the reading ends the process: a worker without a host must not live on.
"""

from __future__ import annotations

import os
import sys
import time
from _signal import SIGKILL  # type: ignore[import-not-found]  # typeshed has no _signal.

from flambeau import TYPE_CHECKING, protocol
from flambeau.blocks import Blocks
from flambeau.codec import Decoder, Encoder
from flambeau.frames import WireClosed
from flambeau.jobs import Job
from flambeau.objects import Failed
from flambeau.protocol import Call, ProtocolError, Release, Return, Shutdown, Wake
from flambeau.stdio import complain
from flambeau.threads import get_ident, start_new_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from flambeau.callbacks import Callbacks
    from flambeau.frames import FrameReader, FrameWriter
    from flambeau.interrupts import Gate
    from flambeau.jobs import Running
    from flambeau.objects import Objects
    from flambeau.placeholders import Attachment
    from flambeau.reading import WireInbox

    # Valid until the next frame is read: whatever is kept of it is decoded first.
    Body = memoryview | bytearray

EXIT_PROTOCOL = 76  # EX_PROTOCOL of sysexits.h
STACK_FRAMES = 200


class Channel:
    """One frame after the other. Control (ping, cancel, dump, callback answers) never waits for what the main thread runs."""

    def __init__(
        self,
        reader: FrameReader,
        wire: FrameWriter,
        inbox: WireInbox,
        running: Running,
        gate: Gate,
    ) -> None:
        self._reader = reader
        self._wire = wire
        self._inbox = inbox
        self._running = running
        self._gate = gate
        self._main = get_ident()
        self._objects: Objects
        self._callbacks: Callbacks
        # Attachments under way, and for each what to do when it is whole.
        self._filling: dict[int, tuple[Attachment, Callable[[], None]]] = {}
        self._blocks = Blocks()
        self._newest_call = 0
        # Control overtakes: a cancel may be here before its call.
        self._cancelled_early: set[int] = set()
        self._handlers: dict[int, Callable[[int, int, Body], None]] = {
            protocol.CANCEL: self._on_cancel,
            protocol.RELEASE: self._on_release,
            protocol.PING: self._on_ping,
            protocol.RETURN: self._on_return,
            protocol.SHUTDOWN: self._on_shutdown,
            protocol.DUMP: self._on_dump,
        }

    def greet(self) -> dict[str, Any]:
        """The setup in the host's HELLO, which comes before anything else. Raises ProtocolError or WireClosed."""
        length, kind, _lane, _id = protocol.read_header(self._reader.read(protocol.HEADER.size))
        answer = Decoder().decode(self._reader.read(length)) if kind == protocol.HELLO else None
        if not isinstance(answer, dict) or answer.get("protocol") != protocol.PROTOCOL_NAME:
            raise ProtocolError(f"expected the host's hello first, got a frame of type {kind}: {answer!r:.200}")
        if answer.get("version") != protocol.PROTOCOL_VERSION:
            raise ProtocolError(
                f"the host speaks version {answer.get('version')} of the protocol, this worker {protocol.PROTOCOL_VERSION}: "
                "install the two halves of Flambeau from one release"
            )
        setup = answer.get("setup")
        return setup if isinstance(setup, dict) else {}

    def start(self, objects: Objects, callbacks: Callbacks) -> None:
        """Begins to read."""
        self._objects = objects
        self._callbacks = callbacks
        self._inbox.start(self._read, self._reader.has_more, self._wire)

    def _read(self) -> None:
        """One frame, and those that came whole with it: a cancel among them must find its call before that begins."""
        reader = self._reader
        try:
            head: tuple[int, int, int, int] | None = reader.header()
            while head is not None:
                length, kind, lane, frame_id = head
                if kind == protocol.CALL:
                    self._on_call(frame_id, lane, reader.view(length))
                elif kind == protocol.CHUNK:
                    self._on_chunk(frame_id, length)
                else:
                    self._on_other(kind, frame_id, lane, reader.view(length))
                head = reader.whole_header()
        except (WireClosed, OSError):
            end_process(0)  # a host that dies with unread replies gives ECONNRESET
        except BaseException as error:
            complain(f"the wire is broken: {error}")
            end_process(EXIT_PROTOCOL)

    def _on_other(self, kind: int, frame_id: int, lane: int, body: Body) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            raise ProtocolError(f"frame type {kind} is not known")
        handler(frame_id, lane, body)

    def _send(self, kind: int, frame_id: int, value: object) -> None:
        self._wire.send(kind, frame_id, Encoder(_no_attachments).encode(value))

    def _on_call(self, call_id: int, lane: int, body: Body) -> None:
        self._newest_call = max(self._newest_call, call_id)
        decoder = Decoder(self._blocks)
        try:
            if lane != 0:
                raise ProtocolError(f"lane {lane} does not exist on this worker; calls run on lane 0")
            call = _read_call(call_id, decoder, decoder.decode(body))
        except MemoryError as error:
            self._fail(call_id, self._out_of_memory(str(error)))
            return
        except Exception as error:
            self._refuse(call_id, "ProtocolError", str(error), "PROTOCOL_ERROR")
            return
        if not decoder.attachments:
            job = Job(call)
        else:
            job = Job(call, self._inbox.wait_for)
            self._expect(decoder.attachments, job.set_ready)
        if call_id in self._cancelled_early:
            self._cancelled_early.discard(call_id)
            self._refuse_cancelled(call_id)
            return
        self._inbox.add_job(job)

    def _refuse(self, call_id: int, kind: str, message: str, code: str) -> None:
        name = f"flambeau.{kind}"
        self._fail(call_id, {"type": name, "mro": [name], "message": message, "traceback": "", "code": code})

    def _out_of_memory(self, message: str) -> dict[str, Any]:
        live = {"handles": len(self._objects), "bytes": self._objects.bytes}
        mro = ["MemoryError", "Exception", "BaseException"]
        return {"type": "MemoryError", "mro": mro, "message": message, "traceback": "", "code": "OUT_OF_MEMORY", "live": live}

    def _fail(self, call_id: int, failure: dict[str, Any]) -> None:
        """Its attachments come all the same, and are forgotten, as nobody expects them."""
        self._objects.keep_result(call_id, Failed(failure, call_id))
        self._send(protocol.FAILURE, call_id, failure)

    def _refuse_cancelled(self, call_id: int) -> None:
        self._refuse(call_id, "CallCancelled", "the call was cancelled before it began", "CANCELLED")

    def _on_cancel(self, call_id: int, _lane: int, _body: Body) -> None:
        if call_id > self._newest_call:
            self._cancelled_early.add(call_id)
            return
        job = self._inbox.claim(call_id)
        if job is not None:
            self._refuse_cancelled(call_id)
            job.set_ready()
        elif self._running.cancel(call_id):
            self._inbox.add(Wake())
            self._gate.interrupt()

    def _on_release(self, _id: int, _lane: int, body: Body) -> None:
        self._inbox.add(Release([(object_id, count) for object_id, count in Decoder().decode(body)]))

    def _on_ping(self, frame_id: int, _lane: int, _body: Body) -> None:
        job = self._running.top
        running_ms = 0 if job is None else int((time.monotonic() - job.started_s) * 1000)
        self._send(
            protocol.PONG,
            frame_id,
            {
                "running": None if job is None else job.call.id,
                "running_ms": running_ms,
                "queued": self._inbox.queued,
                "handles": len(self._objects),
                "bytes": self._objects.bytes,
            },
        )

    def _on_return(self, callback_id: int, _lane: int, body: Body) -> None:
        decoder = Decoder()
        try:
            ok, value = decoder.decode(body)
        except MemoryError as error:
            decoder = Decoder()  # what it expected is forgotten as it comes
            ok, value = False, {"name": "MemoryError", "message": str(error), "stack": None}
        answer = Return(callback_id, bool(ok), value)
        self._expect(decoder.attachments, lambda: self._deliver(answer))

    def _deliver(self, answer: Return) -> None:
        if not self._callbacks.deliver(answer):
            self._inbox.add(answer)

    def _on_shutdown(self, _id: int, _lane: int, _body: Body) -> None:
        self._inbox.drop_queued()
        for job in list(self._running.stack)[:1]:
            self._running.cancel(job.call.id)
            self._inbox.add(Wake())
            self._gate.interrupt()
        self._inbox.add(Shutdown())
        start_new_thread(self._insist, ())

    def _insist(self) -> None:
        if self._inbox.leaving.wait(protocol.SHUTDOWN_S):
            time.sleep(protocol.EXIT_HANDLERS_S)
        os._exit(0)

    def _on_dump(self, frame_id: int, _lane: int, _body: Body) -> None:
        self._send(protocol.STACK, frame_id, main_stack(self._main))

    def _expect(self, attachments: list[Attachment], whole: Callable[[], None]) -> None:
        """`whole` is called when all of them are here: at once, if there are none."""
        if not attachments:
            whole()
            return
        arrived = _after(len(attachments), whole)
        for attachment in attachments:
            if attachment.length == 0:
                arrived()
            else:
                self._filling[attachment.id] = (attachment, arrived)

    def _on_chunk(self, attachment_id: int, length: int) -> None:
        known = self._filling.get(attachment_id)
        if known is None:
            self._reader.read(length)
            return
        attachment, arrived = known
        end = attachment.filled + length
        if end > attachment.length:
            raise ProtocolError(f"attachment {attachment_id} was declared with {attachment.length} bytes and has more")
        self._reader.read_into(attachment.data[attachment.filled : end])
        attachment.filled = end
        if end == attachment.length:
            del self._filling[attachment_id]
            arrived()


def _read_call(call_id: int, decoder: Decoder, body: Any) -> Call:
    if type(body) is not list or not 6 <= len(body) <= 7:
        raise ProtocolError("the body of CALL is [op, target, path, args, kwargs, tag] and, where there is one, what it is inside of")
    inside = tuple(body.pop()) if len(body) == 7 else ()
    op, target, path, args, kwargs, tag = body
    args, kwargs = args or [], kwargs or {}
    if not (type(op) is str and type(path) is list and type(args) is list and type(kwargs) is dict and type(tag) is int):
        raise ProtocolError("the body of CALL is [op: str, target, path: list, args: list, kwargs: map, tag: int]")
    return Call(call_id, op, target, path, args, kwargs, tag, decoder.refs, inside)


def _after(count: int, whole: Callable[[], None]) -> Callable[[], None]:
    """Calls `whole` at the `count`-th call of the function it returns."""
    left = count

    def one_more() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            whole()

    return one_more


def _no_attachments() -> int:
    raise ProtocolError("control messages have no attachments")


def main_stack(main: int) -> str:
    """Where the main thread is, outermost first; reads no source file, so that it works whatever is broken."""
    frame: FrameType | None = sys._current_frames().get(main)
    lines: list[str] = []
    while frame is not None and len(lines) < STACK_FRAMES:
        lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}')
        frame = frame.f_back
    return "\n".join(["Main thread (most recent call last):", *reversed(lines)])


def end_process(status: int) -> None:
    """Ends this process and, where the process group is its own, everything that it has started."""
    try:
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), SIGKILL)
    finally:
        os._exit(status)
