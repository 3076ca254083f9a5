"""What a call came to, on its way to the host: RESULT with a value or a handle, or FAILURE. Runs no code of the user's."""

from __future__ import annotations

from flambeau import TYPE_CHECKING
from flambeau.codec import Encoder
from flambeau.objects import BY_VALUE, SCALARS, Failed, describe, type_name
from flambeau.operations import ByValue, Items
from flambeau.packing import pack_scalar
from flambeau.placeholders import Handle
from flambeau.protocol import FAILURE, INLINE_BYTES, MAX_FRAME_BYTES, MESSAGE_BYTES, RESULT

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from flambeau.frames import FrameWriter
    from flambeau.objects import Objects
    from flambeau.protocol import Call

    # Type name, length, flags of an object; None for what travels by value.
    Note = tuple[str, int | None, int] | None
    # What a call came to: the result, and what is said of it or of each of its items; nothing of a scalar.
    Outcome = tuple[object, list[Note]]


def notes_of(value: object) -> list[Note]:
    """Of a result, or of each item. May run the object's own `__len__`, so it is asked for while user code may run."""
    kind = type(value)
    if kind in BY_VALUE or kind is ByValue:
        return [None]
    if type(value) is Items:
        return [None if type(item) in BY_VALUE else describe(item) for item in value.values]
    return [describe(value)]


def explain(error: BaseException, call: Call, objects: Objects, asked_to_stop: bool) -> dict[str, Any]:
    """The body of FAILURE; also where not even the file that describes errors can be read any more."""
    try:
        from flambeau.failures import failure_of
    except (OSError, MemoryError, ImportError) as second:
        name = type_name(type(error))
        message = f"{str(error)[:MESSAGE_BYTES]} (describing it failed: {second})"
        return {"type": name, "mro": [name], "message": message, "traceback": ""}
    return failure_of(error, call, objects, asked_to_stop)


class Replies:
    """Answers each call once."""

    def __init__(self, wire: FrameWriter, objects: Objects, next_attachment: Callable[[], int]) -> None:
        self._wire = wire
        self._objects = objects
        self._next_attachment = next_attachment

    def answer(self, call: Call, outcome: Outcome) -> None:
        """RESULT; or FAILURE, if it cannot travel."""
        value, notes = outcome
        if type(value) in SCALARS and self._answer_scalar(call.id, value):
            return
        note = notes[0] if notes and type(value) is not Items else None
        encoder = Encoder(self._next_attachment)
        kept = None if isinstance(value, (ByValue, Items)) else value
        try:
            if isinstance(value, ByValue):
                body = encoder.encode(value.value)
            elif isinstance(value, Items):
                items = [self._item(item, about, encoder) for item, about in zip(value.values, notes, strict=True)]
                body = encoder.encode((value.done, items))
            elif note is None:
                body = encoder.encode(self._item(value, None, encoder))
            else:
                body = b""
        except Exception as error:
            self.fail(call, explain(error, call, self._objects, False))
            return
        if len(body) > MAX_FRAME_BYTES:
            self.fail(call, _too_large(len(body)))
            return
        told = self._objects.keep_result(call.id, kept)
        if note is not None:
            body = encoder.encode(Handle(told, *note))
        self._wire.send(RESULT, call.id, body, encoder.attachments)

    def _answer_scalar(self, call_id: int, value: object) -> bool:
        """Most answers are one. False if it is one of the rare ones that take more than one look."""
        if type(value) is str and len(value) > INLINE_BYTES:
            return False
        try:
            body = pack_scalar(value)
        except (OverflowError, UnicodeEncodeError):
            return False
        self._objects.keep_result(call_id, value)
        self._wire.gather(RESULT, call_id, body)
        return True

    def _item(self, value: object, note: Note, encoder: Encoder) -> object:
        if note is None:
            return encoder.bulk(value) if type(value) is bytes else value
        return Handle(self._objects.lend(value), *note)

    def fail(self, call: Call, failure: dict[str, Any]) -> None:
        """FAILURE, which is also what calls that build on this one come to."""
        kept = {name: value for name, value in failure.items() if name != "link"}
        self._objects.keep_result(call.id, Failed(kept, failure.get("link", call.id)))
        self._wire.send(FAILURE, call.id, Encoder(self._next_attachment).encode(failure))


def _too_large(size: int) -> dict[str, Any]:
    from flambeau.failures import refusal

    message = f"a result of {size} bytes; one message holds {MAX_FRAME_BYTES}: send it in parts, or as bytes or an array"
    return refusal("TooLarge", message, "TOO_LARGE")
