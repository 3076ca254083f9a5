"""Functions of the host's, callable from Python: INVOKE, and the wait for RETURN.

While the main thread waits, it runs the calls that the host makes inside that function, and nothing else: others keep their order.
Functions that nothing refers to any more are told to the host between two calls: a finalizer may run anywhere, also inside of a send.
"""

from __future__ import annotations

import itertools
from _queue import SimpleQueue
from _weakref import ref
from collections import deque

from flambeau import TYPE_CHECKING
from flambeau.codec import Encoder
from flambeau.objects import BY_VALUE, describe
from flambeau.placeholders import Handle
from flambeau.protocol import DROPPED, FUNCTION_LATEST_WINS, FUNCTION_WAITS, INVOKE
from flambeau.threads import Lock, get_ident

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from flambeau.frames import FrameWriter
    from flambeau.interrupts import Gate
    from flambeau.objects import Objects
    from flambeau.placeholders import Function
    from flambeau.protocol import Return

    HostFunction = Callable[..., Any]
    Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class HostError(Exception):
    """A function of the host's threw. `stack` is its own; `callback_id` lets the host find the very same error again."""

    def __init__(self, name: str, message: str, stack: str | None, callback_id: int) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.stack = stack
        self.callback_id = callback_id


class _Latest:
    """A function of which only the newest call matters: one is on its way, and the newest since then is held back."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.sent: int | None = None
        self.held: Arguments | None = None


def is_host_function(function: object) -> bool:
    """True for what `Callbacks.function` has made."""
    return getattr(function, "_flambeau_host", False) is True


class Callbacks:
    """Open callback calls, and who waits for each."""

    def __init__(self, wire: FrameWriter, objects: Objects, gate: Gate, next_attachment: Callable[[], int]) -> None:
        self._wire = wire
        self._objects = objects
        self._gate = gate
        self._next_attachment = next_attachment
        self._ids = itertools.count(1)
        self._main = get_ident()
        # Waiting threads other than the main one; the main thread finds its answers in the inbox.
        self._slots: dict[int, SimpleQueue[Return]] = {}
        self._functions: dict[int, ref[Any]] = {}
        self._dropped: deque[int] = deque()
        # Calls of latest-wins functions whose answer is awaited, and functions that hold a newer one back.
        self._latest: dict[int, tuple[Function, _Latest]] = {}
        self._holding: dict[int, tuple[Function, _Latest]] = {}
        # Set by the dispatcher: how the main thread waits for the answer to one callback, and, before that, which call waits and
        # which is the newest one that waits behind it.
        self.wait_on_main: Callable[[int], Return]
        self.prepare_wait: Callable[[], tuple[int, int]]
        self.resolve: Callable[[object], Any]

    def function(self, described: Function) -> HostFunction:
        """The callable for a function of the host's; the same one while it is in use."""
        known = self._functions.get(described.id)
        made = None if known is None else known()
        if made is not None:
            return made  # type: ignore[no-any-return]
        if described.kind == FUNCTION_LATEST_WINS:
            latest = _Latest()

            def host_function(*args: Any, **kwargs: Any) -> Any:
                return self._offer(described, latest, (args, kwargs))
        else:

            def host_function(*args: Any, **kwargs: Any) -> Any:
                return self._invoke(described, (args, kwargs))

        host_function._flambeau_host = True  # type: ignore[attr-defined]
        self._functions[described.id] = ref(host_function, lambda _gone: self._dropped.append(described.id))
        return host_function

    def deliver(self, answer: Return) -> bool:
        """From whoever reads the wire: True if it is not for the main thread."""
        latest = self._latest.pop(answer.id, None)
        if latest is not None:
            self._answered(*latest, answer.id)
            return True
        slot = self._slots.pop(answer.id, None)
        if slot is None:
            return False
        slot.put(answer)
        return True

    def tidy(self) -> None:
        """After each call, before its answer: what was held back goes out, and the host hears of functions that are gone."""
        if not self._holding and not self._dropped:
            return
        for function_id in list(self._holding):
            function, latest = self._holding.pop(function_id, (None, None))
            if function is None or latest is None:  # its answer came just now
                continue
            with latest.lock:
                held, latest.held = latest.held, None
                if held is not None:
                    self._send_latest(function, latest, held)
        gone = []
        while self._dropped:
            function_id = self._dropped.popleft()
            known = self._functions.get(function_id)
            if known is not None and known() is None:  # it may have been made again
                del self._functions[function_id]
                gone.append(function_id)
        if gone:
            self._wire.send(DROPPED, 0, Encoder(self._next_attachment).encode(gone))

    def _invoke(self, described: Function, given: Arguments) -> Any:
        callback_id = next(self._ids)
        waits = described.kind == FUNCTION_WAITS
        on_main = get_ident() == self._main
        self._gate.shield()
        try:
            around = self.prepare_wait() if waits and on_main else (0, 0)
            slot: SimpleQueue[Return] = SimpleQueue()
            if waits and not on_main:
                self._slots[callback_id] = slot
            self._send(described, callback_id, given, not waits, around)
        finally:
            self._gate.unshield()
        if not waits:
            return None
        answer = self.wait_on_main(callback_id) if on_main else slot.get()
        if answer.ok:
            return self.resolve(answer.value)
        error: Any = answer.value
        name, message, stack = (error.get(key) for key in ("name", "message", "stack"))
        raise HostError(str(name or "Error"), str(message or ""), stack, callback_id)

    def _offer(self, described: Function, latest: _Latest, given: Arguments) -> None:
        self._gate.shield()
        try:
            with latest.lock:
                if latest.sent is None:
                    self._send_latest(described, latest, given)
                else:
                    latest.held = given
                    self._holding[described.id] = (described, latest)
        finally:
            self._gate.unshield()

    def _answered(self, described: Function, latest: _Latest, callback_id: int) -> None:
        with latest.lock:
            if latest.sent != callback_id:
                return
            latest.sent = None
            self._holding.pop(described.id, None)
            held, latest.held = latest.held, None
            if held is not None:
                self._send_latest(described, latest, held)

    def _send_latest(self, described: Function, latest: _Latest, given: Arguments) -> None:
        """Its answer is what lets the next one go. Under the lock."""
        latest.sent = next(self._ids)
        self._latest[latest.sent] = (described, latest)
        self._send(described, latest.sent, given, False, (0, 0))

    def _send(self, described: Function, callback_id: int, given: Arguments, one_way: bool, around: tuple[int, int]) -> None:
        encoder = Encoder(self._next_attachment)
        args, kwargs = given
        body = encoder.encode(
            [
                described.id,
                [self.travelling(item, encoder) for item in args],
                {name: self.travelling(item, encoder) for name, item in kwargs.items()},
                one_way,
                *around,
            ]
        )
        self._wire.send(INVOKE, callback_id, body, encoder.attachments)

    def travelling(self, value: Any, encoder: Encoder) -> object:
        """A scalar itself; for anything else a handle, counted once."""
        kind = type(value)
        if kind in BY_VALUE:
            return encoder.bulk(value) if kind is bytes else value
        type_name, length, flags = describe(value)
        return Handle(self._objects.lend(value), type_name, length, flags)
