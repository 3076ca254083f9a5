"""Which calls of a module are kept, and when enough of one kind are. Knows one module's calls, no candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..limits import Limits
from . import tree
from .capture import Call, Footprint, record, with_output
from .guard import Key, Parameters, call_key


@dataclass(frozen=True)
class Recording:
    """A call under way: its kind and, if it is one of those kept, its copy and the state around it."""

    key: Key
    call: Call | None = None
    footprint: Footprint | None = None


class Recorder:
    """Counts and keeps calls by kind, so that all that is measured together is alike; holds at most `capture_bytes`."""

    def __init__(self, owner: nn.Module, parameters: Parameters, limits: Limits) -> None:
        self.is_looped = any(name in limits.loop_arguments for name in parameters.names)
        self._owner = owner
        self._parameters = parameters
        self._limits = limits
        self._counts: Counter[Key] = Counter()
        self._kept: dict[Key, list[Call]] = {}
        self._num_dirty = 0
        self._is_owed = False

    def begin(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Recording:
        """Before the call runs. Raises NotPlainError for arguments that cannot be copied, or are too large for it."""
        key = call_key(self._parameters, args, kwargs, self._owner.training)
        self._counts[key] += 1
        if self.is_looped and not self._is_owed and self._counts[key] not in self._limits.capture_at_calls:
            return Recording(key)
        why = self._size_refusal(tree.num_bytes((tuple(args), dict(kwargs))))
        if why is not None:
            raise tree.NotPlainError(why)
        call = record(self._parameters, args, kwargs, self._owner.training)
        return Recording(key, call, Footprint(self._owner, call, args, kwargs))

    def end(self, recording: Recording, output: Any, seconds: float) -> str | None:
        """After the call has run: why this module can never be measured, or None. Raises NotPlainError for such an output."""
        if recording.call is None or recording.footprint is None:
            return None
        change = recording.footprint.change()
        self._is_owed = change is not None
        if change is not None:
            self._num_dirty += 1
            return f"a call cannot be replayed: {change}" if self._num_dirty >= self._limits.dirty_calls else None
        return self._keep(with_output(recording.call, output, seconds))

    def ready(self, key: Key) -> Sequence[Call]:
        """The kept calls of this kind once they suffice, else none."""
        if self.is_looped and self._counts[key] < self._limits.measure_at_call_looped:
            return ()
        return self._kept.get(key, ())

    def recorded(self, key: Key) -> Sequence[Call]:
        """The kept calls of this kind so far."""
        return self._kept.get(key, ())

    def num_calls(self, key: Key) -> int:
        """How many calls of this kind there were."""
        return self._counts[key]

    def forget_(self) -> None:
        """Frees the copies."""
        self._kept.clear()

    def _keep(self, call: Call) -> str | None:
        held = sum(other.num_bytes for calls in self._kept.values() for other in calls)
        if held + call.num_bytes <= self._limits.capture_bytes:
            self._kept.setdefault(call.key, []).append(call)
            while len(self._kept) > self._limits.kinds_kept:
                del self._kept[next(iter(self._kept))]
            return None
        return None if held else self._size_refusal(call.num_bytes)

    def _size_refusal(self, num_bytes: int) -> str | None:
        most = self._limits.capture_bytes
        if num_bytes <= most:
            return None
        return f"one call's inputs and outputs are {num_bytes / 2**20:.0f} MiB, at most {most / 2**20:.0f} are kept"
