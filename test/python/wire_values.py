"""The JSON form of values in test/wire/vectors.json ⇄ what Python's codec works with."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flambeau import placeholders

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "wire" / "vectors.json").read_text())

DATES = {kind.__name__: kind for kind in (datetime.datetime, datetime.date, datetime.time)}


def _list(items: list[Any]) -> list[Any]:
    return [from_json(item) for item in items]


READERS: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "bytes": bytes.fromhex,
    "list": _list,
    "map": lambda pairs: {from_json(key): from_json(value) for key, value in pairs},
    "tuple": lambda items: tuple(_list(items)),
    "set": lambda items: set(_list(items)),
    "frozenset": lambda items: frozenset(_list(items)),
    "timedelta": lambda seconds: datetime.timedelta(seconds=float(seconds)),
    "complex": lambda parts: complex(float(parts[0]), float(parts[1])),
    "slice": lambda parts: slice(*_list(parts)),
    "ellipsis": lambda _: ...,
    "ref": placeholders.Ref,
    "module": placeholders.Module,
    "file": placeholders.File,
    "path": lambda parts: placeholders.PathOf(from_json(parts[0]), _list(parts[1])),
    "function": lambda parts: placeholders.Function(*parts),
    "handle": lambda parts: placeholders.Handle(*parts),
    "array": lambda parts: placeholders.Array(parts[0], parts[1], from_json(parts[2])),
    "raw": bytes.fromhex,
    "attachment": lambda parts: placeholders.Attachment(*parts),
    **{name: kind.fromisoformat for name, kind in DATES.items()},
}


def from_json(form: Any) -> Any:
    """null, true, false and strings are themselves; everything else is an object of one key."""
    if form is None or isinstance(form, (bool, str)):
        return form
    ((name, payload),) = form.items()
    return READERS[name](payload)


def comparable(value: Any) -> Any:
    """Equality that tells 5 from 5.0, -0.0 from 0.0, NaN as itself, and True from 1."""
    kind = type(value)
    take_apart = PARTS.get(kind)
    return (kind.__name__, take_apart(value) if take_apart is not None else repr(value))


def _each(items: Any) -> list[Any]:
    return [comparable(item) for item in items]


def _sorted(items: Any) -> list[Any]:
    return sorted(_each(items), key=repr)


PARTS: dict[type, Callable[[Any], Any]] = {
    placeholders.Build: lambda build: comparable(build.make(build.items)),
    list: _each,
    tuple: _each,
    set: _sorted,
    frozenset: _sorted,
    dict: lambda entries: [_each(pair) for pair in entries.items()],
    placeholders.Attachment: lambda attachment: (attachment.id, attachment.length),
    placeholders.Array: lambda array: (array.dtype, array.shape, comparable(array.data)),
    placeholders.PathOf: lambda path: _each((path.target, path.steps)),
}
