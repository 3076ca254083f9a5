"""One kind of call recorded once, and done again on the same memory: inputs are copied in, outputs copied out. Knows how CUDA records
its launches, nothing of what is launched.
"""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from ..calls import tree
from ..graph.skeleton import skeleton
from ..memory import free_bytes

# Does again what was recorded; its outputs lie where they lay. Made of a function and the device that it launches on.
Recorded = tuple[Callable[[], None], Any]
Record = Callable[[Callable[[], Any], torch.device], Recorded]

_WARM_UPS: Final = 2
_SYNC: Final = "synchronizing CUDA operation"


class Replay:
    """See the head of this file. Raises whatever stands in the way of recording."""

    def __init__(self, tensors: Sequence[Tensor], run: Callable[[list[Tensor]], Any], record: Record, turns: Turns | None = None) -> None:
        """`run` takes tensors of which `tensors` are an example; `turns` are shared by those whose recorder is."""
        devices = {tensor.device for tensor in tensors}
        if len(devices) != 1:
            raise ValueError(f"its inputs lie on {len(devices)} devices; on one they could be recorded")
        with torch.inference_mode(False), torch.no_grad():
            self._inputs = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=t.device).copy_(t) for t in tensors]
            self._again, output = record(lambda: run(self._inputs), devices.pop())
        self._outputs = tree.tensors(output)
        self._fill = skeleton(output)
        self._turns = turns or Turns(self._inputs[0].device)

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        """The output for other inputs of the same kind, in memory of its own."""
        with self._turns, torch.no_grad():
            for own, given in zip(self._inputs, tensors, strict=True):
                own.copy_(given)
            self._again()
            outputs = [tensor.clone() for tensor in self._outputs]
        return self._fill(iter(outputs))


class Turns:
    """One use of the same memory after the other, from whichever thread and stream."""

    def __init__(self, device: torch.device) -> None:
        self._lock = threading.Lock()
        self._device = device
        self._event: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # As torch has it.

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._event is not None:
            torch.cuda.current_stream(self._device).wait_event(self._event)

    def __exit__(self, *_: object) -> None:
        if self._event is not None:
            self._event.record(torch.cuda.current_stream(self._device))
        self._lock.release()


class Recorder:
    """Records launches on one GPU. What it records shares one pool of memory: only one is done again at a time, and results are copied.

    A recording that fails ends in an exception, with torch's streams and random numbers as they were.
    """

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, run: Callable[[], Any], device: torch.device) -> Recorded:
        """See Record."""
        with torch.cuda.device(device):
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # As torch has it.
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    run()
                _refuse_waiting(run)
            torch.cuda.current_stream().wait_stream(side)
            gc.collect()
            torch.cuda.synchronize()
            # At most: nothing that the process has needed since it started was more than this.
            needed = torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()
            torch.cuda.empty_cache()
            free = free_bytes(device) or 0
            if needed > free:
                raise ValueError(f"it may hold {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free")
            return self._record(run, side)

    def _record(self, run: Callable[[], Any], side: torch.cuda.Stream) -> Recorded:
        generator: Any = torch.cuda.default_generators[torch.cuda.current_device()]
        spare = generator.clone_state()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(side):
                # Another thread may allocate meanwhile: that is no concern of this recording.
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    output = run()
                finally:
                    graph.capture_end()
        except BaseException:
            # It would go on believing that it is recorded, and refuse to draw.
            generator.graphsafe_set_state(spare)
            raise
        self._pool = self._pool or graph.pool()
        return graph.replay, output


def _refuse_waiting(run: Callable[[], Any]) -> None:
    """Raises ValueError if the host waits for the GPU on the way, which cannot be recorded; found without trying to."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    if any(_SYNC in str(warning.message) for warning in said):
        raise ValueError("a call waits for the GPU on its way; one that does not could be recorded")


def recording_refusal() -> str | None:
    """Why this torch cannot record launches, or None."""
    if not torch.cuda.is_available():
        return "there is no NVIDIA GPU that torch can use"
    generator: Any = torch.cuda.default_generators[torch.cuda.current_device()]
    return None if hasattr(generator, "graphsafe_set_state") else f"torch {torch.__version__} is too old; 2.4 and later can record"
