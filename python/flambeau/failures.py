"""An exception → the body of FAILURE: what happened in Python's words, and what to do about it where we know.

Keeps nothing of the exception: formats it, then empties the frames, so that no tensor of a failed call stays alive.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from types import TracebackType
from typing import Any

from flambeau import hints
from flambeau.callbacks import HostError
from flambeau.interrupts import CallCancelled
from flambeau.objects import Objects, StaleReference, census, type_name
from flambeau.operations import UnknownOperation
from flambeau.placeholders import NotSendable
from flambeau.protocol import CAUSE_DEPTH, MESSAGE_BYTES, TRACEBACK_LINES, Call, ProtocolError

OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
LINE_CHARACTERS = 500
OUT_OF_MEMORY = frozenset({"MemoryError", "torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError"})


def failure_of(error: BaseException, call: Call, objects: Objects, asked_to_stop: bool) -> dict[str, Any]:
    """The body of FAILURE. `asked_to_stop`: the host cancelled this call, so a KeyboardInterrupt is its answer."""
    try:
        body = _describe(error, CAUSE_DEPTH)
        body["code"] = _code(error, body["mro"], asked_to_stop)
        hint = hints.hint_for(error, call)
        if hint is not None:
            body["hint"] = hint.text
            body["code"] = body["code"] or hint.code
        if body["code"] is None:
            del body["code"]
        elif body["code"] == "OUT_OF_MEMORY":
            body["live"] = {"handles": len(objects), "bytes": objects.bytes}
            body["message"] += f"\n{census(objects)}"
    except BaseException as second:  # out of memory or of stack while describing: the call must be answered all the same
        name = type_name(type(error))
        body = {"type": name, "mro": [name], "message": f"(describing it failed: {type_name(type(second))})", "traceback": ""}
    clear_frames(error)
    return body


def refusal(kind: str, message: str, code: str) -> dict[str, Any]:
    """A failure that no exception stands behind."""
    return {"type": f"flambeau.{kind}", "mro": [f"flambeau.{kind}"], "message": message, "traceback": "", "code": code}


def _describe(error: BaseException, depth: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": type_name(type(error)),
        "mro": [type_name(kind) for kind in type(error).__mro__ if kind is not object],
        "message": message_of(error),
        "traceback": traceback_of(error),
    }
    if isinstance(error, HostError):
        body["callback"] = error.callback_id
    cause = error.__cause__ if error.__cause__ is not None or error.__suppress_context__ else error.__context__
    if cause is not None and depth > 1:
        body["cause"] = _describe(cause, depth - 1)
    members = _members(error)
    if members and depth > 1:
        body["errors"] = [_describe(member, depth - 1) for member in members]
    return body


def _members(error: BaseException) -> list[BaseException]:
    """Of an exception group, the first ones."""
    members = getattr(error, "exceptions", None)
    return [member for member in members[:CAUSE_DEPTH] if isinstance(member, BaseException)] if isinstance(members, tuple) else []


def _code(error: BaseException, mro: list[str], asked_to_stop: bool) -> str | None:
    if isinstance(error, CallCancelled) or (asked_to_stop and isinstance(error, KeyboardInterrupt)):
        return "CANCELLED"
    if OUT_OF_MEMORY.intersection(mro):
        return "OUT_OF_MEMORY"
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return None


_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (StaleReference, "STALE_REF"),
    (NotSendable, "NOT_SENDABLE"),
    (UnknownOperation, "PROTOCOL_ERROR"),
    (ProtocolError, "PROTOCOL_ERROR"),
)


def message_of(error: BaseException) -> str:
    """`str(error)` with its notes and a line for each member of a group, bounded; an error whose own `__str__` raises has one as well."""
    try:
        notes = getattr(error, "__notes__", None)
        lines = [str(error), *(str(note) for note in notes)] if isinstance(notes, list) else [str(error)]
        lines += [f"  {type_name(type(member))}: {str(member).partition(chr(10))[0][:LINE_CHARACTERS]}" for member in _members(error)]
        text = "\n".join(lines)
    except BaseException as second:
        text = f"(its message could not be made: {type_name(type(second))})"
    return bounded(text, MESSAGE_BYTES)


def bounded(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8; what is left out is counted."""
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text) - limit} more characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def traceback_of(error: BaseException) -> str:
    """As Python prints it, for this exception alone, without the worker's own frames; long ones folded in the middle."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_own(frame.filename)]
    lines: list[str] = []
    if frames:
        lines.append("Traceback (most recent call last):\n")
        lines += traceback.format_list(frames)
    message = message_of(error)
    try:
        if len(message) > MESSAGE_BYTES // 2:
            raise ValueError("formatting a message of megabytes takes seconds")
        lines += traceback.format_exception_only(type(error), error)
    except BaseException:
        lines.append(f"{type_name(type(error))}: {message}\n")
    lines = bounded("".join(lines), 4 * MESSAGE_BYTES).splitlines()
    if len(lines) > TRACEBACK_LINES:
        half = TRACEBACK_LINES // 2
        lines = [*lines[:half], f"  … {len(lines) - 2 * half} lines folded …", *lines[-half:]]
    return "\n".join(lines)


def is_own(filename: str) -> bool:
    """True for the worker's own files; the optimizer's frames are kept, they are what happened."""
    return filename.startswith(OWN_FOLDER) and os.sep not in filename[len(OWN_FOLDER) :]


def clear_frames(error: BaseException) -> None:
    """Empties the locals of every frame that this exception, its causes and its members hold."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        _clear(current.__traceback__)
        waiting += [current.__cause__, current.__context__]
        members = getattr(current, "exceptions", None)
        if isinstance(members, tuple):
            waiting += [member for member in members if isinstance(member, BaseException)]


def _clear(trace: TracebackType | None) -> None:
    while trace is not None:
        with contextlib.suppress(RuntimeError):  # still running: ours
            trace.tb_frame.clear()
        trace = trace.tb_next
