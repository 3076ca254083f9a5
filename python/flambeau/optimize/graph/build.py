"""Packages built in the background: one child process at a time, of the lowest priority, which dies with this one.
Knows no modules in use; what it is given is copied to the child, what comes back goes to the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import torch
from torch import nn

from ..calls.capture import Call
from ..calls.guard import Parameters
from ..cuda.package import FILE as SHARED
from ..kept.store import Store
from ..limits import Limits
from ..memory import free_bytes, memory_refusal
from .package import FILE

_POLL_S: Final = 0.25
_SAID: Final = 2000
_CHILD: Final = "flambeau.optimize.graph.child"


@dataclass(frozen=True)
class Job:
    """One package to build. `done` is told why it failed, or None; in the builder's thread. A job keeps no module alive."""

    owner: Callable[[], nn.Module | None]
    parameters: Parameters
    call: Call
    name: Mapping[str, Any]
    store: Store
    num_threads: int
    done: Callable[[str | None], None]
    # The backend of attention that was found fastest; None for torch's own choice.
    attention: str | None = None


class BuildError(Exception):
    """Why there is no package."""


class Builder:
    """`is_waiting`: whoever orders a package waits for it."""

    def __init__(self, limits: Limits, *, is_waiting: bool) -> None:
        self._limits = limits
        self.is_waiting = is_waiting
        self._jobs: queue.Queue[Job] = queue.Queue(limits.builds_waiting)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def order(self, job: Job) -> None:
        """Builds it now or in its turn. Never raises; how it ends, `job.done` is told."""
        if self.is_waiting:
            self._run(job)
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            job.done(f"{self._limits.builds_waiting} other packages wait to be built")
            return
        with self._lock:
            if self._thread is None:
                # The child dies with the thread that started it, so this one stays.
                self._thread = threading.Thread(target=self._work, name="flambeau-builds", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            self._run(job)
            del job

    def _run(self, job: Job) -> None:
        try:
            with self._lock if self.is_waiting else contextlib.nullcontext():
                self._build(job)
        except BuildError as error:
            job.done(str(error))
        except Exception as error:  # Without a package everything stays as it is.
            job.done(f"{type(error).__name__}: {error}")
        else:
            job.done(None)

    def _build(self, job: Job) -> None:
        self._check(job)
        job.store.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = job.store.directory / f".unfinished-{secrets.token_hex(8)}"
        directory.mkdir(mode=0o700)
        try:
            with _sent(job, directory) as sent:
                result = self._wait(job, sent, directory)
            if result["weights"] != job.name["weights"]:
                raise BuildError("the weights changed while the package was built")
            made = next(name for name in (SHARED, FILE) if (directory / name).exists())
            if not job.store.put(job.name, result, {made: directory / made}):
                raise BuildError("; ".join(job.store.remarks()) or "the store did not take the package")
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _check(self, job: Job) -> None:
        owner = _present(job)
        weights = sum(w.numel() * w.element_size() for w in (*owner.parameters(), *owner.buffers()))
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise BuildError(f"there is no C++ compiler: {compiler} was not found; with g++ installed a package could be built")
        own = next((type(part) for part in owner.modules() if type(part).__module__ == "__main__"), None)
        if own is not None:
            raise BuildError(f"{own.__name__} is defined in the program's main script; in a module of its own it could be built")
        limits, free = self._limits, free_bytes(torch.device("cpu"))
        device = _device(owner)
        if is_shared(device):
            # The child holds the weights once more on the GPU, and passes them through memory.
            why = memory_refusal(weights + limits.build_memory_bytes, device)
            if why is not None:
                raise BuildError(f"building a package: {why}")
        per_weight = limits.shared_memory_per_weight if is_shared(device) else limits.build_memory_per_weight
        needed = int(weights * per_weight) + limits.build_memory_bytes
        if free is not None and free < needed + limits.spare_memory_bytes:
            raise BuildError(f"building takes up to {needed / 2**20:.0f} MiB of memory, {free / 2**20:.0f} are free")
        on_disk = 0 if is_shared(device) else int(weights * limits.build_disk_per_weight)
        self._check_disk(job, on_disk + limits.build_disk_bytes)

    def _check_disk(self, job: Job, needed: int) -> None:
        place = next(path for path in (job.store.directory, *job.store.directory.parents) if path.exists())
        free = shutil.disk_usage(place).free
        if free < needed + self._limits.store_spare_bytes:
            raise BuildError(f"building takes up to {needed / 2**20:.0f} MiB in {place}, {free / 2**20:.0f} are free")

    def _wait(self, job: Job, sent: IO[bytes], directory: Path) -> Mapping[str, Any]:
        """Runs the child to its end, and ends it when memory or time run out."""
        errors = directory / "errors.txt"
        order = {
            "fd": sent.fileno(),
            "directory": str(directory),
            "num_threads": job.num_threads,
            "parent": os.getpid(),
            "is_patient": not self.is_waiting,
            "is_shared": is_shared(_device(_present(job))),
            "attention": job.attention,
        }
        with open(errors, "wb") as said:
            child = subprocess.Popen(
                [sys.executable, "-m", _CHILD, json.dumps(order)],
                stdin=subprocess.PIPE,  # Closed when this process ends, however it ends: the child takes that as its own end.
                stdout=subprocess.PIPE,
                stderr=said,
                env=_environment(directory),
                pass_fds=(sent.fileno(),),
                start_new_session=True,
            )
        try:
            answer = self._watch(child)
        finally:
            _end(child)
        if child.returncode != 0:
            said_last = errors.read_bytes()[-_SAID:].decode(errors="replace").strip().splitlines()
            raise BuildError(f"the compiler's process ended with {child.returncode}: {said_last[-1] if said_last else 'it said nothing'}")
        result: Mapping[str, Any] = json.loads(answer)
        if "error" in result:
            raise BuildError(str(result["error"]))
        return result

    def _watch(self, child: subprocess.Popen[bytes]) -> bytes:
        waited_s = 0.0
        while True:
            try:
                # The answer is one line: it fits into the pipe, so that the child never waits for us.
                child.wait(_POLL_S)
                return b"" if child.stdout is None else child.stdout.read()
            except subprocess.TimeoutExpired:
                waited_s += _POLL_S
            free = free_bytes(torch.device("cpu"))
            if free is not None and free < self._limits.spare_memory_bytes:
                raise BuildError(f"memory ran low while it was built: {free / 2**20:.0f} MiB were free")
            if waited_s > self._limits.build_s:
                raise BuildError(f"it was not built after {self._limits.build_s:.0f} s")


@contextlib.contextmanager
def _sent(job: Job, directory: Path) -> Iterator[IO[bytes]]:
    """The module and a call of it in a file without a name, which only the child is given."""
    memory: Any = getattr(os, "memfd_create", None)
    with open(memory("flambeau-module"), "w+b") if memory else tempfile.TemporaryFile(dir=directory) as file:
        try:
            torch.save((_present(job), job.parameters, tuple(job.call.args), dict(job.call.kwargs)), file)
        except BuildError:
            raise
        except Exception as error:
            raise BuildError(f"the module cannot be sent to the compiler's process: {type(error).__name__}: {error}") from error
        file.flush()
        file.seek(0)
        yield file


def is_shared(device: torch.device) -> bool:
    """Whether packages run on the module's own weights: a GPU has no room for them twice, and gains nothing by packing them."""
    return device.type == "cuda"


def _device(owner: nn.Module) -> torch.device:
    return next((tensor.device for tensor in (*owner.parameters(), *owner.buffers())), torch.device("cpu"))


def _present(job: Job) -> nn.Module:
    owner = job.owner()
    if owner is None:
        raise BuildError("the module is gone")
    return owner


def _environment(directory: Path) -> dict[str, str]:
    """This process's own, with its import path, and all that a compiler writes in one place."""
    cache = str(directory / "cache")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "TORCHINDUCTOR_CACHE_DIR": cache,
        "TMPDIR": str(directory),
    }


def _end(child: subprocess.Popen[bytes]) -> None:
    """With all that it has started."""
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    child.wait()
