"""CUDA graphs: all launches of one call recorded once and launched together, where launching takes longer than computing.
Records whatever runs at that moment, so that other rows are raced with their launches recorded as well. Knows no CUDA.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from ..applied import Applied, Kept, Trial
from ..calls import tree
from ..calls.guard import parameters_of
from ..graph.inputs import Inputs, given_arguments
from ..graph.skeleton import skeleton
from ..leaf.layers import Layers
from ..limits import LIMITS, Quality
from .around import AppliedWay, Around, Run, Slot, Way
from .replay import Record, Recorder, Replay, Turns, recording_refusal

# As a power of two, in calls: how long is waited before recording again, the longer the oftener the module changes.
_MAX_WAIT: Final = 6


@dataclass(frozen=True)
class _Entry:
    """What was recorded for one kind of call with these kernels and ways; None if it cannot be."""

    inputs: Inputs
    running: tuple[weakref.ref[Any], ...]
    replay: Replay | None

    def is_of(self, running: Sequence[Any]) -> bool:
        return len(running) == len(self.running) and all(ref() is one for ref, one in zip(self.running, running, strict=True))

    def is_gone(self) -> bool:
        return any(ref() is None for ref in self.running)


class Graphs(Way):
    """See the head of this file. Holds at most `LIMITS.graphs_per_module`, the one unused for longest goes first."""

    slot: Slot = "graph"

    def __init__(self, layers: Layers, record: Record) -> None:
        self._layers = layers
        self._record = record
        self._parameters = parameters_of(layers.owner)
        self._entries: list[_Entry] = []
        self._turns: Turns | None = None
        self._lock = threading.RLock()
        self._num_changes = 0
        self._num_waiting = 0

    def __call__(self, run: Run, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See Way."""
        with self._lock:
            if self._num_waiting:
                self._num_waiting -= 1
                return run(args, kwargs)
            running = self._running()
            for index, entry in enumerate(self._entries):
                tensors = entry.inputs.tensors(args, kwargs) if entry.is_of(running) else None
                if tensors is not None:
                    self._entries.append(self._entries.pop(index))
                    return run(args, kwargs) if entry.replay is None else entry.replay(tensors)
            return self._recorded(run, args, kwargs, running)

    def forget_(self) -> None:
        """See Way."""
        with self._lock:
            if self._entries:
                self._entries.clear()
                self._num_changes += 1
                self._num_waiting = 2 ** min(self._num_changes, _MAX_WAIT) - 2

    def _recorded(self, run: Run, args: Sequence[Any], kwargs: Mapping[str, Any], running: Sequence[Any]) -> Any:
        try:
            inputs = Inputs(self._parameters, args, kwargs)
            given = given_arguments(self._parameters, args, kwargs)
            fill = skeleton([given[name] for name in inputs.names], "input")
        except tree.NotPlainError:
            return run(args, kwargs)
        tensors = inputs.tensors(args, kwargs) or []
        if self._turns is None and tensors:
            self._turns = Turns(tensors[0].device)
        try:
            replay = Replay(tensors, lambda own: run((), dict(zip(inputs.names, fill(iter(own)), strict=True))), self._record, self._turns)
        except Exception:
            # What cannot be recorded is not tried again. A cancel is no such thing.
            self._keep(_Entry(inputs, _weak(running), None))
            raise
        self._keep(_Entry(inputs, _weak(running), replay))
        return replay(tensors)

    def _keep(self, entry: _Entry) -> None:
        self._entries = [other for other in self._entries if not other.is_gone()][1 - LIMITS.graphs_per_module :]
        self._entries.append(entry)

    def _running(self) -> list[Any]:
        """What a recording depends on besides the call."""
        around = Around.of(self._layers)
        ways = () if around is None else around.ways
        return [*(way for way in ways if way is not self), *self._layers.kernels()]


def _weak(running: Sequence[Any]) -> tuple[weakref.ref[Any], ...]:
    """A recording does not keep the kernels of a row that has lost."""
    return tuple(weakref.ref(one) for one in running)


@dataclass(frozen=True, kw_only=True)
class CudaGraphs:
    """The row. `needs` says why nothing can be recorded here; `record` makes what records."""

    name: str = "cuda_graph"
    quality: Quality = "lossless"
    needs: Callable[[], str | None] = recording_refusal
    record: Callable[[], Record] = Recorder

    def capability(self, layers: Layers, device: torch.device) -> str | None:
        """See Candidate."""
        return self.needs()

    def apply_(self, layers: Layers, device: torch.device, trial: Trial) -> Applied:
        """See Candidate."""
        return self.recall(layers, device, Kept())

    def recall(self, layers: Layers, device: torch.device, kept: Kept) -> Applied:
        """See Candidate."""
        return AppliedWay(layers, Graphs(layers, self.record()))
