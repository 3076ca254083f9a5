"""The main thread: takes calls from the inbox in order, carries them out, and answers each exactly once."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from flambeau.callbacks import Callbacks
from flambeau.codec import Encoder
from flambeau.context import Context
from flambeau.frames import FrameWriter, WireClosed
from flambeau.interrupts import CallCancelled, Gate
from flambeau.jobs import Inbox, Item, Job, Running
from flambeau.objects import BY_VALUE, Failed, FailedLink, Objects, describe
from flambeau.operations import ByValue, carry_out
from flambeau.operations import Item as NextItem
from flambeau.placeholders import Handle
from flambeau.protocol import FAILURE, MAX_FRAME_BYTES, RESULT, Call, Release, Return, Shutdown, Wake
from flambeau.resolve import Resolver

LEAST_RECURSION_LIMIT = 1000

# What a call came to: the result and what is said of it, or the body of a FAILURE.
Outcome = tuple[object, tuple[str, int | None, int] | None]


class Dispatcher:
    """Runs one call at a time; calls that a callback makes run inside the call that waits for it."""

    def __init__(
        self,
        wire: FrameWriter,
        inbox: Inbox,
        running: Running,
        objects: Objects,
        gate: Gate,
    ) -> None:
        self._wire = wire
        self._inbox = inbox
        self._running = running
        self._objects = objects
        self._gate = gate
        self._pid = os.getpid()
        # Arrivals that were looked at while waiting for a callback's answer, and have to wait their turn.
        self._waiting: deque[Item] = deque()
        # Callbacks that the main thread waits for, innermost last, and their answers.
        self._awaited: set[int] = set()
        self._answers: dict[int, Return] = {}
        self.context: Context
        self._resolver: Resolver
        self._callbacks: Callbacks
        self._next_attachment: Callable[[], int]

    def attach(self, context: Context, resolver: Resolver, callbacks: Callbacks, next_attachment: Callable[[], int]) -> None:
        """The parts that need this one to be made."""
        self.context = context
        self._resolver = resolver
        self._callbacks = callbacks
        self._next_attachment = next_attachment
        callbacks.wait_on_main = self.wait_for
        callbacks.prepare_wait = self.set_aside
        callbacks.resolve = resolver.value

    def serve(self) -> None:
        """Until SHUTDOWN."""
        while True:
            item = self._waiting.popleft() if self._waiting else self._inbox.take()
            if isinstance(item, Shutdown):
                self._inbox.leaving.set()
                return
            self._serve_one(item)
            del item  # what it holds must not live until the next arrival

    def _serve_one(self, item: Item) -> None:
        if isinstance(item, Job):
            self._run(item)
        elif isinstance(item, Release):
            self._objects.release(item.counts)

    def _run(self, job: Job) -> None:
        job.wait_until_ready()
        # On the stack before it is claimed: a cancel finds it in one place or in both, never in neither.
        self._running.push(job)
        if self._inbox.claim(job.call.id) is None:
            self._running.pop()
            return
        try:
            failure, outcome = self._carry_out(job)
            self.context.finish(job)
            self._running.pop()
            self._mend()
            if failure is None and outcome is not None:
                self._answer(job.call, outcome)
            else:
                self._fail(job.call, failure or {})
        except WireClosed:
            os._exit(1)

    def _carry_out(self, job: Job) -> tuple[dict[str, Any] | None, Outcome | None]:
        """(failure, None) or (None, outcome). User code runs in here and nowhere else."""
        try:
            try:
                self._gate.open(job)
                value = carry_out(job.call, self._resolver)
                about = value.value if isinstance(value, NextItem) else value
                note = None if type(about) in BY_VALUE or type(about) is ByValue else describe(about)
            finally:
                self._gate.shut()
            if os.getpid() != self._pid:
                os._exit(0)  # a forked child that came back from user code: the call is the parent's to answer
            return None, (value, note)
        except FailedLink as link:
            return {**link.failure, "link": link.call_id}, None
        except BaseException as error:
            if os.getpid() != self._pid:
                os._exit(1)
            return self._explain(error, job), None

    def _explain(self, error: BaseException, job: Job) -> dict[str, Any]:
        from flambeau import pipelines
        from flambeau.failures import failure_of

        if job.cancelled:
            pipelines.settle_after_cancel()
        return failure_of(error, job.call, self._objects, job.cancelled)

    def _answer(self, call: Call, outcome: Outcome) -> None:
        value, note = outcome
        encoder = Encoder(self._next_attachment)
        kept = None if isinstance(value, (ByValue, NextItem)) else value
        try:
            if isinstance(value, ByValue):
                body = encoder.encode(value.value)
            elif isinstance(value, NextItem):
                body = encoder.encode((value.done, self._item(value.value, note, encoder)))
            elif note is None:
                body = encoder.encode(self._item(value, None, encoder))
            else:
                body = b""
        except Exception as error:
            self._fail(call, self._refused(error, call))
            return
        if len(body) > MAX_FRAME_BYTES:
            self._fail(call, self._too_large(len(body)))
            return
        told = self._objects.keep_result(call.id, kept)
        if note is not None and not isinstance(value, NextItem):
            body = encoder.encode(Handle(told, *note))
        self._wire.send(RESULT, call.id, body, encoder.attachments)

    def _item(self, value: object, note: tuple[str, int | None, int] | None, encoder: Encoder) -> object:
        if note is None:
            return encoder.bulk(value) if type(value) is bytes else value
        return Handle(self._objects.lend(value), *note)

    def _refused(self, error: Exception, call: Call) -> dict[str, Any]:
        from flambeau.failures import failure_of

        return failure_of(error, call, self._objects, False)

    def _too_large(self, size: int) -> dict[str, Any]:
        from flambeau.failures import refusal

        message = f"a result of {size} bytes; one message holds {MAX_FRAME_BYTES}: send it in parts, or as bytes or an array"
        return refusal("TooLarge", message, "TOO_LARGE")

    def _fail(self, call: Call, failure: dict[str, Any]) -> None:
        kept = {name: value for name, value in failure.items() if name != "link"}
        self._objects.keep_result(call.id, Failed(kept, failure.get("link", call.id)))
        self._wire.send(FAILURE, call.id, Encoder(self._next_attachment).encode(failure))

    def _mend(self) -> None:
        """User code may have bent what the next call stands on."""
        self._gate.install()
        if sys.getrecursionlimit() < LEAST_RECURSION_LIMIT:
            sys.setrecursionlimit(LEAST_RECURSION_LIMIT)

    def set_aside(self) -> None:
        """Before a callback goes out: what has arrived by now was not sent by it, and keeps its order."""
        self._waiting.extend(self._inbox.take_arrived())

    def wait_for(self, callback_id: int) -> Return:
        """The answer to a callback; meanwhile runs the calls that the host makes inside of it. Raises CallCancelled."""
        job = self._running.top
        self._gate.shield()
        self._awaited.add(callback_id)
        try:
            while callback_id not in self._answers:
                if job is not None and job.cancelled and not job.interrupted:
                    break
                self._meanwhile(self._inbox.take(), 0 if job is None else job.call.tag)
        finally:
            self._awaited.discard(callback_id)
            answer = self._answers.pop(callback_id, None)
            self._gate.unshield()
        if answer is None:
            raise CallCancelled("the call that waits for this callback was cancelled")
        return answer

    def _meanwhile(self, item: Item, tag: int) -> None:
        if isinstance(item, Return):
            if item.id in self._awaited:
                self._answers[item.id] = item
        elif isinstance(item, Wake):
            return
        elif isinstance(item, Job) and item.call.tag == tag and not self._must_wait(set(item.call.refs)):
            self._gate.lowered(lambda: self._run(item))
        elif isinstance(item, Release) and not self._must_wait({object_id for object_id, _ in item.counts}):
            self._objects.release(item.counts)
        else:
            self._waiting.append(item)

    def _must_wait(self, ids: set[int]) -> bool:
        """True if it names the result of a call that has not ended, or something that a waiting call still needs."""
        if any(job.call.id in ids for job in self._running.stack):
            return True
        return any(isinstance(item, Job) and (item.call.id in ids or not ids.isdisjoint(item.call.refs)) for item in self._waiting)
