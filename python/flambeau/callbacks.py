"""Functions of the host's, callable from Python: INVOKE, and the wait for RETURN.

While the main thread waits, it runs the calls that the host makes inside that function, and nothing else: others keep their order.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from flambeau.codec import Encoder
from flambeau.frames import FrameWriter
from flambeau.interrupts import Gate
from flambeau.objects import BY_VALUE, Objects, describe
from flambeau.placeholders import Function, Handle
from flambeau.protocol import FUNCTION_WAITS, INVOKE, Return

HostFunction = Callable[..., Any]


class HostError(Exception):
    """A function of the host's threw. `stack` is its own; `callback_id` lets the host find the very same error again."""

    def __init__(self, name: str, message: str, stack: str | None, callback_id: int) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.stack = stack
        self.callback_id = callback_id


class Callbacks:
    """Open callback calls, and who waits for each."""

    def __init__(self, wire: FrameWriter, objects: Objects, gate: Gate, next_attachment: Callable[[], int]) -> None:
        self._wire = wire
        self._objects = objects
        self._gate = gate
        self._next_attachment = next_attachment
        self._ids = itertools.count(1)
        self._main = threading.main_thread()
        # Waiting threads other than the main one; the main thread finds its answers in the inbox.
        self._slots: dict[int, SimpleQueue[Return]] = {}
        self._functions: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        # Set by the dispatcher: how the main thread waits for the answer to one callback.
        self.wait_on_main: Callable[[int], Return]
        self.prepare_wait: Callable[[], None]
        self.resolve: Callable[[object], Any]

    def function(self, described: Function) -> HostFunction:
        """The callable for a function of the host's; the same one while it is in use."""
        known = self._functions.get(described.id)
        if known is not None:
            return known  # type: ignore[no-any-return]

        def host_function(*args: Any, **kwargs: Any) -> Any:
            return self._invoke(described, args, kwargs)

        self._functions[described.id] = host_function
        return host_function

    def deliver(self, answer: Return) -> bool:
        """From the I/O thread: True if a thread other than the main one was waiting for it."""
        slot = self._slots.pop(answer.id, None)
        if slot is None:
            return False
        slot.put(answer)
        return True

    def _invoke(self, described: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        callback_id = next(self._ids)
        waits = described.kind == FUNCTION_WAITS
        on_main = threading.current_thread() is self._main
        self._gate.shield()
        try:
            if waits and on_main:
                self.prepare_wait()
            slot: SimpleQueue[Return] = SimpleQueue()
            if waits and not on_main:
                self._slots[callback_id] = slot
            self._send(described, callback_id, args, kwargs)
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

    def _send(self, described: Function, callback_id: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        encoder = Encoder(self._next_attachment)
        body = encoder.encode(
            [
                described.id,
                [self.travelling(item, encoder) for item in args],
                {name: self.travelling(item, encoder) for name, item in kwargs.items()},
                described.kind != FUNCTION_WAITS,
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
