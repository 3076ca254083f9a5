"""The table of live objects: id → object, how often the host holds it, and the same id again for the same object.

Touched by the main thread, and by other threads of user code through callbacks; never runs user code but `__del__` on release.
"""

from __future__ import annotations

import itertools
import sys

from flambeau import TYPE_CHECKING
from flambeau.protocol import CENSUS_KINDS, FIRST_WORKER_ID
from flambeau.threads import RLock

if TYPE_CHECKING:
    from typing import Any

SCALARS = frozenset({type(None), bool, int, float, str})
BY_VALUE = SCALARS | {bytes}


class StaleReference(Exception):
    """The host named an id that is not (or no longer) in the table."""


class FailedLink(Exception):
    """The host named the result of a call that failed."""

    def __init__(self, failure: dict[str, Any], call_id: int) -> None:
        super().__init__(failure.get("message"))
        self.failure = failure
        self.call_id = call_id


class Failed:
    """Stands in the table for a call that failed; what builds on it fails in the same words."""

    __slots__ = ("call_id", "failure")

    def __init__(self, failure: dict[str, Any], call_id: int) -> None:
        self.failure = failure
        self.call_id = call_id


class _Entry:
    __slots__ = ("count", "size", "value")

    def __init__(self, value: object, count: int, size: int) -> None:
        self.value = value
        self.count = count
        self.size = size


class Objects:
    """Counts are what the host has received and not given back; at zero the object is let go."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        # Results that are scalars, each held once: they are told by value, and kept for calls that name them before the answer has come.
        self._scalars: dict[int, object] = {}
        # id() of an object in the table → the ids it is known under, the one that is told to the host first.
        self._known: dict[int, list[int]] = {}
        self._lock = RLock()
        self._own_ids = itertools.count(FIRST_WORKER_ID)
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries) + len(self._scalars)

    def values(self) -> list[object]:
        """Everything that is kept, some of it under several ids."""
        return [entry.value for entry in list(self._entries.values())]

    def get(self, object_id: int) -> object:
        """Raises StaleReference, or FailedLink when that call failed."""
        entry = self._entries.get(object_id)
        if entry is None:
            if object_id in self._scalars:
                return self._scalars[object_id]
            raise StaleReference(f"object {object_id} is not on this worker: it was released, or belongs to another worker")
        value = entry.value
        if type(value) is Failed:
            raise FailedLink(value.failure, value.call_id)
        return value

    def keep_result(self, call_id: int, value: object) -> int:
        """Keeps the result of a call under the call's id, counted once; returns the id to tell the host."""
        if type(value) in SCALARS:
            self._scalars[call_id] = value
            return call_id
        with self._lock:
            self._insert(call_id, value)
            if type(value) in BY_VALUE or type(value) is Failed:
                return call_id
            known = self._known.setdefault(id(value), [])
            known.append(call_id)
            if known[0] != call_id:
                self._entries[known[0]].count += 1
            return known[0]

    def lend(self, value: object) -> int:
        """An id for an object that travels inside a message: counted once more if it is known, else under an id of ours."""
        with self._lock:
            known = self._known.setdefault(id(value), [])
            if known:
                self._entries[known[0]].count += 1
            else:
                known.append(next(self._own_ids))
                self._insert(known[0], value)
            return known[0]

    def _insert(self, object_id: int, value: object) -> None:
        entry = _Entry(value, 1, size_of(value))
        self._entries[object_id] = entry
        self.bytes += entry.size

    def release(self, counts: list[tuple[int, int]]) -> None:
        """Unknown ids are ignored. The objects are let go after the table is in order, since `__del__` may come back here."""
        gone: list[object] = []
        with self._lock:
            for object_id, count in counts:
                entry = self._entries.get(object_id)
                if entry is None:
                    self._scalars.pop(object_id, None)
                    continue
                entry.count -= count
                if entry.count <= 0:
                    self._remove(object_id, entry)
                    gone.append(entry.value)
        del gone

    def _remove(self, object_id: int, entry: _Entry) -> None:
        del self._entries[object_id]
        self.bytes -= entry.size
        known = self._known.get(id(entry.value))
        if known is not None and object_id in known:
            known.remove(object_id)
            if not known:
                del self._known[id(entry.value)]


def census(objects: Objects) -> str:
    """What is alive, the largest kinds first, in words: for an out-of-memory error. Modules are asked for their parameters."""
    kinds: dict[str, tuple[int, int]] = {}
    seen: set[int] = set()
    for value in objects.values():
        if type(value) in BY_VALUE or type(value) is Failed or id(value) in seen:
            continue
        seen.add(id(value))
        name = type_name(type(value))
        count, size = kinds.get(name, (0, 0))
        kinds[name] = count + 1, size + (size_of(value) or _size_of_parts(value))
    largest = sorted(kinds.items(), key=lambda item: item[1][1], reverse=True)[:CENSUS_KINDS]
    told = ", ".join(f"{count} {name} ({size / 2**20:.1f} MiB)" for name, (count, size) in largest)
    return f"alive on the worker: {len(seen)} objects that the host holds" + (f", most of it {told}" if told else "")


def _size_of_parts(value: Any) -> int:
    """Of a module of torch its parameters and buffers; of a pipeline its modules."""
    torch = sys.modules.get("torch")
    if torch is None:
        return 0
    try:
        parts = value.components.values() if isinstance(getattr(type(value), "components", None), property) else (value,)
        modules = [part for part in parts if isinstance(part, torch.nn.Module)]
        return sum(int(tensor.nbytes) for module in modules for tensor in (*module.parameters(), *module.buffers()))
    except Exception:
        return 0


def size_of(value: object) -> int:
    """Bytes of tensors, arrays and buffers; 0 for anything whose size would have to be searched for."""
    kind = type(value)
    if kind in SCALARS:
        return 0
    if kind in (bytes, bytearray):
        return len(value)  # type: ignore[arg-type]
    for module, name in (("torch", "Tensor"), ("numpy", "ndarray")):
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(value, getattr(loaded, name, ())):
            try:
                return int(value.nbytes)  # type: ignore[attr-defined]
            except Exception:
                return 0
    return 0


def describe(value: object) -> tuple[str, int | None, int]:
    """Type name, length where it has one, and flags. May run the object's own `__len__`; never tests its truth."""
    kind = type(value)
    length = None
    if hasattr(kind, "__len__"):
        try:
            length = len(value)  # type: ignore[arg-type]
        except Exception:
            length = None
    flags = (1 if callable(value) else 0) | (2 if hasattr(kind, "__next__") else 0)
    return type_name(kind), length, flags


def type_name(kind: type) -> str:
    """`list`, `torch.Tensor`: qualified unless built in."""
    module = getattr(kind, "__module__", None)
    name = getattr(kind, "__qualname__", kind.__name__)
    return name if module in (None, "builtins") else f"{module}.{name}"
