"""The main thread: takes calls from the inbox in order, carries them out, and answers each exactly once."""

from __future__ import annotations

import os
import sys
from collections import deque

from flambeau import TYPE_CHECKING, pipelines
from flambeau.frames import WireClosed
from flambeau.interrupts import CallCancelled
from flambeau.jobs import Job
from flambeau.objects import SCALARS, FailedLink
from flambeau.operations import carry_out
from flambeau.placeholders import Module, Ref
from flambeau.protocol import TICK_S, Release, Return, Shutdown, Wake
from flambeau.replies import Replies, explain, notes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from flambeau.callbacks import Callbacks
    from flambeau.context import Context
    from flambeau.frames import FrameWriter
    from flambeau.interrupts import Gate
    from flambeau.jobs import Inbox, Item, Running
    from flambeau.objects import Objects
    from flambeau.protocol import Call
    from flambeau.replies import Outcome
    from flambeau.resolve import Resolver

LEAST_RECURSION_LIMIT = 1000
_BLOCK_OPS = frozenset({"enter", "exit"})


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
        # Arrivals that were looked at while waiting for something else, and have to wait their turn.
        self._waiting: deque[Item] = deque()
        # The newest call that has ever been put there.
        self._newest_waiting = 0
        # `enter` calls of the host's blocks that have not been left, innermost last: only calls made inside of the last one run.
        # What a context manager changes, such as torch's modes, is seen by everything on its thread.
        self._blocks: list[int] = []
        self._blocks_left = 0
        # Callbacks that the main thread waits for, innermost last, and their answers.
        self._awaited: set[int] = set()
        # The call before this one, and when it began.
        self._before: tuple[object, ...] = ()
        self._before_s = 0.0
        self._answers: dict[int, Return] = {}
        self.context: Context
        self._resolver: Resolver
        self._callbacks: Callbacks
        self._replies: Replies

    def attach(self, context: Context, resolver: Resolver, callbacks: Callbacks, next_attachment: Callable[[], int]) -> None:
        """The parts that need this one to be made."""
        self.context = context
        self._resolver = resolver
        self._callbacks = callbacks
        self._replies = Replies(self._wire, self._objects, next_attachment)
        callbacks.wait_on_main = self.wait_for
        callbacks.prepare_wait = self.set_aside
        callbacks.resolve = resolver.value

    def serve(self) -> None:
        """Until SHUTDOWN."""
        while True:
            item = self._next()
            if not self._repeats(item):
                self._wire.flush()
            if isinstance(item, Job):
                self._run(item)
            elif isinstance(item, Release):
                self._objects.release(item.counts)
            elif isinstance(item, Shutdown):
                self._inbox.leaving.set()
                return
            del item  # what it holds must not live until the next arrival

    def _repeats(self, item: Item) -> bool:
        """True for the same call again, right after one that took less than a tick: only such answers leave together.

        Nobody is to wait for an answer until something longer has ended, even if that holds the interpreter in C.
        """
        before, before_s = self._before, self._before_s
        self._before, self._before_s = (), self._inbox.began_s
        if type(item) is not Job:
            return False
        call = item.call
        target = call.target
        if type(target) is Ref:
            self._before = (target.id, call.op, call.path)
        elif type(target) is Module:
            self._before = (target.name, call.op, call.path)
        else:
            return False
        # Those that had to wait begin at no time of their own.
        return self._before == before and 0 < self._before_s - before_s < TICK_S

    def _next(self) -> Item:
        if not self._blocks:
            return self._waiting.popleft() if self._waiting else self._inbox.take()
        item = self._first_of_waiting(0, self._admits)
        while item is None:
            item = self._inbox.take()
            if not self._admits(item):
                self._put_back(item)
                item = None
        return item

    def _put_back(self, item: Item) -> None:
        self._waiting.append(item)
        if isinstance(item, Job):
            self._newest_waiting = max(self._newest_waiting, item.call.id)

    def _first_of_waiting(self, start: int, fits: Callable[[Item], bool]) -> Item | None:
        """Takes it out."""
        for place in range(start, len(self._waiting)):
            item = self._waiting[place]
            if fits(item):
                del self._waiting[place]
                return item
        return None

    def _run(self, job: Job) -> None:
        job.wait_until_ready()
        # On the stack before it is claimed: a cancel finds it in one place or in both, never in neither.
        self._running.push(job)
        if self._inbox.claim(job.call.id) is None:
            self._running.pop()
            return
        try:
            failure, outcome = self._carry_out(job)
            if job.progress is not None:
                self.context.finish(job)
            self._running.pop()
            self._mend()
            self._callbacks.tidy()
            if job.call.op in _BLOCK_OPS:
                self._mark_block(job.call, failure is None)
            if failure is None and outcome is not None:
                self._replies.answer(job.call, outcome)
            else:
                self._replies.fail(job.call, failure or {})
        except WireClosed:
            os._exit(1)

    def _carry_out(self, job: Job) -> tuple[dict[str, Any] | None, Outcome | None]:
        """(failure, None) or (None, outcome). User code runs in here and nowhere else."""
        try:
            try:
                self._gate.open(job)
                value = carry_out(job.call, self._resolver)
                notes = [] if type(value) in SCALARS else notes_of(value)
            finally:
                self._gate.shut()
            if os.getpid() != self._pid:
                os._exit(0)  # a forked child that came back from user code: the call is the parent's to answer
            return None, (value, notes)
        except FailedLink as link:
            return {**link.failure, "link": link.call_id}, None
        except BaseException as error:
            if os.getpid() != self._pid:
                os._exit(1)
            if job.cancelled:
                pipelines.settle_after_cancel()
            return explain(error, job.call, self._objects, job.cancelled), None

    def _mend(self) -> None:
        """User code may have bent what the next call stands on."""
        self._gate.install()
        if sys.getrecursionlimit() < LEAST_RECURSION_LIMIT:
            sys.setrecursionlimit(LEAST_RECURSION_LIMIT)

    def _mark_block(self, call: Call, is_done: bool) -> None:
        """`enter` of a block takes the main thread for it, `exit` gives it back, also when leaving failed."""
        if call.op == "enter" and is_done and call.args == [True]:
            self._blocks.append(call.id)
        elif call.op == "exit" and len(call.args) == 2 and call.args[1] in self._blocks:
            self._blocks.remove(call.args[1])
            self._blocks_left += 1

    def set_aside(self) -> tuple[int, int]:
        """Before a callback goes out: what has arrived by now was not sent by it, and keeps its order.

        The call that is going to wait, and the newest one that waits behind it.
        """
        for item in self._inbox.take_arrived():
            self._put_back(item)
        job = self._running.top
        return (0 if job is None else job.call.id), self._newest_waiting

    def wait_for(self, callback_id: int) -> Return:
        """The answer to a callback; meanwhile runs the calls that the host makes inside of it. Raises CallCancelled."""
        job = self._running.top
        self._gate.shield()
        self._awaited.add(callback_id)
        # Those before this place are not ours to run; later ones may be let in by the end of a block.
        start, blocks_left = len(self._waiting), self._blocks_left
        try:
            while callback_id not in self._answers:
                if job is not None and job.cancelled and not job.interrupted:
                    break
                item = self._first_of_waiting(start, self._runs_inside) if blocks_left != self._blocks_left else None
                if item is None:
                    blocks_left = self._blocks_left
                    item = self._inbox.take()
                self._meanwhile(item)
                del item
        finally:
            self._awaited.discard(callback_id)
            answer = self._answers.pop(callback_id, None)
            self._gate.unshield()
        if answer is None:
            raise CallCancelled("the call that waits for this callback was cancelled")
        return answer

    def _meanwhile(self, item: Item) -> None:
        if isinstance(item, Return):
            if item.id in self._awaited:
                self._answers[item.id] = item
        elif isinstance(item, Wake):
            return
        elif isinstance(item, Job) and self._runs_inside(item):
            self._gate.lowered(lambda: self._run(item))
            self._wire.flush()  # the call that waits may go on now, for as long as it likes
        elif isinstance(item, Release) and self._admits(item):
            self._objects.release(item.counts)
        else:
            self._put_back(item)

    def _runs_inside(self, item: Item) -> bool:
        """True for a call that the host makes while the running one waits for it, on behalf of the same request or in a callback."""
        top = self._running.top
        if not isinstance(item, Job) or not self._admits(item):
            return False
        if item.call.tag == (0 if top is None else top.call.tag):
            return True
        return any(job.call.id in item.call.inside for job in self._running.stack)

    def _admits(self, item: Item) -> bool:
        """True if it may be carried out before those that wait: no block keeps it out, and it meets everything that it names."""
        if isinstance(item, Job):
            return (not self._blocks or self._blocks[-1] in item.call.inside) and not self._is_to_come(set(item.call.refs))
        if isinstance(item, Release):
            ids = {object_id for object_id, _ in item.counts}
            return not self._is_to_come(ids) and not any(
                isinstance(waiting, Job) and not ids.isdisjoint(waiting.call.refs) for waiting in self._waiting
            )
        return True

    def _is_to_come(self, ids: set[int]) -> bool:
        """True if one of them is the result of a call that has not ended."""
        if any(job.call.id in ids for job in self._running.stack):
            return True
        return any(isinstance(item, Job) and item.call.id in ids for item in self._waiting)
