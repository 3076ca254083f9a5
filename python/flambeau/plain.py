"""A deep copy as plain data: what `$value()` asks for. Whatever cannot be copied is an error that names its path: `$.a[3].b`."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import enum
import sys
from collections.abc import Callable, ItemsView, KeysView, Mapping, ValuesView
from typing import Any

from flambeau.arrays import bytes_of, is_buffer, is_ndarray, is_tensor, loaded, to_wire, widened
from flambeau.objects import type_name
from flambeau.placeholders import Blob, Members, NotSendable, Pairs
from flambeau.protocol import INLINE_BYTES, MAX_DEPTH, MAX_ITEMS

SCALARS = frozenset({type(None), bool, int, float, str})
SEQUENCES = (list, tuple, set, frozenset, range, collections.deque, KeysView, ValuesView, ItemsView)
DATES = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
# Types that are told as text, by where they live; looked up only in modules that are loaded.
TEXTUAL = (
    ("decimal", "Decimal"),
    ("fractions", "Fraction"),
    ("uuid", "UUID"),
    ("pathlib", "PurePath"),
    ("torch", "dtype"),
    ("torch", "device"),
    ("numpy", "dtype"),
)


def plain(value: object) -> object:
    """The copy, ready to be encoded. Raises NotSendable."""
    return _Copy().copy(value, "$")


class _Copy:
    def __init__(self) -> None:
        # Containers around the value at hand, and where each was met.
        self._open: dict[int, str] = {}
        self._items = 0

    def copy(self, value: Any, path: str) -> object:
        """One value; containers go through `_inside`, which finds cycles and bounds depth."""
        kind = type(value)
        if kind in SCALARS:
            return value
        if kind is bytes:
            return value if len(value) <= INLINE_BYTES else Blob(value)
        for copy in (self._container, self._number_like, self._text_like, self._record):
            made = copy(value, path)
            if made is not NotImplemented:
                return made
        raise _refusal(path, kind, "which cannot be copied as plain data")

    def _container(self, value: Any, path: str) -> object:
        if isinstance(value, SEQUENCES):
            return self._inside(value, path, self._sequence)
        if isinstance(value, Mapping):
            return self._inside(value, path, self._mapping)
        return NotImplemented

    def _inside(self, value: Any, path: str, copy: Callable[[Any, str], object]) -> object:
        around = self._open.get(id(value))
        if around is not None:
            raise _refusal(path, type(value), f"the same one as {around}: a cycle cannot be copied as plain data")
        if len(self._open) >= MAX_DEPTH - 4:  # tuples, sets and dicts take two levels of the message
            raise _refusal(path, type(value), f"nested more than {MAX_DEPTH - 4} deep")
        self._open[id(value)] = path
        try:
            return copy(value, path)
        finally:
            del self._open[id(value)]

    def _count(self, size: int, path: str) -> None:
        self._items += size
        if self._items > MAX_ITEMS:
            raise NotSendable(f"{shown(path)} has more than {MAX_ITEMS} items in all; send numbers as an array ($array), or a part of it")

    def _sequence(self, value: Any, path: str) -> object:
        self._count(len(value), path)  # before there is a list of them: ranges are as long as they like
        items = list(value)
        # Most long lists hold scalars only, and are then told without looking at each.
        if not SCALARS.issuperset(map(type, items)):
            items = [self.copy(item, f"{path}[{index}]") for index, item in enumerate(items)]
        if isinstance(value, tuple):
            return tuple(items)
        if isinstance(value, (set, frozenset)):
            return Members(isinstance(value, frozenset), items)
        return items

    def _mapping(self, value: Any, path: str) -> object:
        entries = list(value.items())
        self._count(2 * len(entries), path)
        pairs: list[list[Any]] = []
        for key, item in entries:
            name = f"{path}.{key}" if type(key) is str else f"{path}[{key!r:.40}]"
            pairs.append([self.copy(key, f"{path} (a key)"), self.copy(item, name)])
        return {key: item for key, item in pairs} if all(type(key) is str for key, _ in pairs) else Pairs(pairs)

    def _number_like(self, value: Any, path: str) -> object:
        if isinstance(value, enum.Enum):
            return self.copy(value.value, f"{path}.value")
        if is_tensor(value) or is_ndarray(value):
            return self._array(value, path)
        if isinstance(value, loaded("numpy", "generic")):
            return self._item(value, path)
        if isinstance(value, (int, float, str)):
            return int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else str.__str__(value)
        return complex(value) if isinstance(value, complex) else NotImplemented

    def _array(self, value: Any, path: str) -> object:
        if not (is_tensor(value) and value.is_nested) and value.ndim == 0:
            return self._item(value, path)
        if is_ndarray(value) and value.dtype.kind in "UMm":
            return self.copy((_exact_times(value) if value.dtype.kind in "Mm" else value).tolist(), path)
        try:
            return widened(value)
        except NotSendable as error:
            raise NotSendable(f"{shown(path)}: {error}") from None

    def _item(self, value: Any, path: str) -> object:
        item = (_exact_times(value) if getattr(value.dtype, "kind", "") in ("M", "m") else value).item()
        if type(item) is type(value):
            raise _refusal(path, type(value), "which has no plain number")
        return self.copy(item, path)

    def _text_like(self, value: Any, _path: str) -> object:
        if isinstance(value, DATES):
            return next(_exact_date(value, kind) for kind in DATES if isinstance(value, kind))
        if is_buffer(value):
            return Blob(bytes_of(value))
        if isinstance(value, array.array):
            return to_wire(value, None)
        for module, name in TEXTUAL:
            kind = getattr(sys.modules.get(module), name, None)
            if kind is not None and isinstance(value, kind):
                return str(value)
        return NotImplemented

    def _record(self, value: Any, path: str) -> object:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self._inside(value, path, lambda _value, at: self._mapping(fields, at))
        dump = getattr(type(value), "model_dump", None)  # pydantic
        if callable(dump):
            return self._inside(value, path, lambda at_value, at: self._mapping(dump(at_value), at))
        return NotImplemented


PATH_CHARACTERS = 200


def shown(path: str) -> str:
    """A path of readable length."""
    return path if len(path) <= PATH_CHARACTERS else f"{path[: PATH_CHARACTERS // 2]}…{path[-PATH_CHARACTERS // 2 :]}"


def _refusal(path: str, kind: type, why: str) -> NotSendable:
    return NotSendable(f"{shown(path)} is a {type_name(kind)}, {why}; keep it as a handle (await without $value()), or pick its fields")


def _exact_times(value: Any) -> Any:
    """Of numpy's times, those finer than Python's microseconds: dates as text, durations as seconds. The others as they are."""
    import numpy

    if numpy.datetime_data(value.dtype)[0] not in ("ns", "ps", "fs", "as"):
        return value
    return numpy.datetime_as_string(numpy.asarray(value)) if value.dtype.kind == "M" else value / numpy.timedelta64(1, "s")


_DATE = ("year", "month", "day")
_TIME = ("hour", "minute", "second", "microsecond", "tzinfo")


def _exact_date(value: Any, kind: type) -> object:
    """A subclass (pandas.Timestamp) as what it derives from."""
    if type(value) is kind:
        return value
    if kind is datetime.timedelta:
        return datetime.timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)
    names = _DATE if kind is datetime.date else _TIME if kind is datetime.time else _DATE + _TIME
    return kind(*(getattr(value, name) for name in names))
