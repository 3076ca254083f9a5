"""A host in Python for tests: starts a real worker over a socket pair, speaks the wire, and remembers what came."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
from flambeau import codec, placeholders, protocol

PYTHON_FOLDER = Path(__file__).resolve().parents[2] / "python"
WAIT_S = 60.0
# Another interpreter for the workers: the tests then show that it can run them, also without msgpack and numpy.
PYTHON = os.environ.get("FLAMBEAU_WORKER_PYTHON") or sys.executable


class Failure(Exception):
    """A FAILURE frame."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(f"{body['type']}: {body['message']}\n{body['traceback']}")
        self.body = body


class HostSide:
    """Values that only a host sends."""

    @staticmethod
    def ext(code: int, payload: object) -> msgpack.ExtType:
        return msgpack.ExtType(code, msgpack.packb(payload, strict_types=True))

    ref = staticmethod(lambda object_id: HostSide.ext(codec.REF, object_id))
    module = staticmethod(lambda name: HostSide.ext(codec.MODULE, name))
    file = staticmethod(lambda path: HostSide.ext(codec.FILE, str(path)))
    path = staticmethod(lambda target, *steps: HostSide.ext(codec.PATH, [target, list(steps)]))
    function = staticmethod(lambda function_id, kind=0: HostSide.ext(codec.FUNCTION, [function_id, kind]))
    tuple = staticmethod(lambda *items: HostSide.ext(codec.TUPLE, list(items)))
    array = staticmethod(lambda dtype, shape, data: HostSide.ext(codec.ARRAY, [dtype, shape, data]))
    attach = staticmethod(lambda attachment_id, length: HostSide.ext(codec.ATTACH, [attachment_id, length]))


class Worker:
    """One worker process. `call` waits for the answer; `send_call` and `answer` do the two halves."""

    def __init__(
        self,
        *,
        setup: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        prelude: str = "",
        version: int = 1,
    ) -> None:
        ours, theirs = socket.socketpair()
        self.socket = ours
        self.ids = itertools.count(1)
        self.pings = itertools.count(1)
        self.functions: dict[int, Callable[..., Any]] = {}
        self.frames: list[tuple[int, int, Any]] = []
        self.events: list[tuple[int, dict[str, Any]]] = []
        self._attachments: dict[int, placeholders.Attachment] = {}
        self._held: list[tuple[int, int, Any, list[placeholders.Attachment]]] = []
        self._arrived = threading.Condition()
        self._send_lock = threading.Lock()
        self.ended = False
        boot = f"{prelude}\nimport sys; sys.path.insert(0, {str(PYTHON_FOLDER)!r}); from flambeau.__main__ import main; main()"
        fd = theirs.fileno()
        self.process = subprocess.Popen(
            [PYTHON, "-I", "-X", "utf8", "-X", "faulthandler", "-u", "-c", boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            pass_fds=[3] if fd == 3 else [3, fd],
            preexec_fn=lambda: _in_place_of_3(fd),
        )
        theirs.close()
        self.stdout = Collected(self.process.stdout)
        self.stderr = Collected(self.process.stderr)
        threading.Thread(target=self._read, daemon=True).start()
        self.send(protocol.HELLO, 0, {"protocol": "flambeau", "version": version, "setup": setup or {}})

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close() if self.ended else self.socket.shutdown(socket.SHUT_RDWR)
        self.process.wait(WAIT_S)
        self.stdout.thread.join(WAIT_S)
        self.stderr.thread.join(WAIT_S)
        self.socket.close()
        self.process.stdout.close()
        self.process.stderr.close()

    # Writing

    def send(self, kind: int, frame_id: int, value: object) -> None:
        self.send_raw(kind, frame_id, msgpack.packb(value, strict_types=True))

    def send_raw(self, kind: int, frame_id: int, body: bytes, lane: int = 0) -> None:
        with self._send_lock:
            self.socket.sendall(protocol.HEADER.pack(len(body), kind, protocol.MARK, lane, frame_id) + body)

    def send_call(self, op: str, target: object, path=(), args=(), kwargs=None, *, tag: int = 0) -> int:  # noqa: PLR0913
        call_id = next(self.ids)
        self.send(protocol.CALL, call_id, [op, target, list(path), list(args), kwargs or {}, tag])
        return call_id

    # Reading

    def _read(self) -> None:
        try:
            while True:
                length, kind, _lane, frame_id = protocol.read_header(self._exactly(16))
                self._take(kind, frame_id, self._exactly(length))
        except (OSError, EOFError):
            pass
        with self._arrived:
            self.ended = True
            self._arrived.notify_all()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(min(size - len(data), 1 << 20))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def _take(self, kind: int, frame_id: int, body: bytes) -> None:
        if kind == protocol.CHUNK:
            attachment = self._attachments[frame_id]
            attachment.data[attachment.filled : attachment.filled + len(body)] = body
            attachment.filled += len(body)
        else:
            decoder = codec.Decoder()
            value = decoder.decode(body)
            self._attachments.update({attachment.id: attachment for attachment in decoder.attachments})
            self._held.append((kind, frame_id, value, decoder.attachments))
        for held in list(self._held):
            if all(attachment.filled == attachment.length for attachment in held[3]):
                self._held.remove(held)
                self._deliver(*held[:3])

    def _deliver(self, kind: int, frame_id: int, value: Any) -> None:
        if kind == protocol.INVOKE and value[0] in self.functions:
            threading.Thread(target=self._run_function, args=(frame_id, value), daemon=True).start()
        with self._arrived:
            self.frames.append((kind, frame_id, value))
            if kind == protocol.EVENT:
                self.events.append((frame_id, value))
            self._arrived.notify_all()

    def _run_function(self, callback_id: int, body: list[Any]) -> None:
        function_id, args, kwargs, one_way, *_around = body
        try:
            answer = [True, self.functions[function_id](*args, **kwargs)]
        except Exception as error:
            answer = [False, {"name": type(error).__name__, "message": str(error), "stack": "at host.ts:1"}]
        if not one_way:
            self.send(protocol.RETURN, callback_id, answer)

    def wait_for(self, test: Callable[[int, int, Any], bool], timeout_s: float = WAIT_S) -> Any:
        """The value of the first frame that fits, which is then forgotten."""
        deadline_s = time.monotonic() + timeout_s
        with self._arrived:
            while True:
                for frame in self.frames:
                    if test(*frame):
                        self.frames.remove(frame)
                        return frame
                if self.ended:
                    raise EOFError(f"the worker ended: {self.process.wait(10)}\n{self.stderr.text}")
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"nothing came; stderr:\n{self.stderr.text}")
                self._arrived.wait(left_s)

    def answer(self, call_id: int, timeout_s: float = WAIT_S) -> Any:
        kind, _, value = self.wait_for(lambda kind, at, _: kind in (protocol.RESULT, protocol.FAILURE) and at == call_id, timeout_s)
        if kind == protocol.FAILURE:
            raise Failure(value)
        return value

    def hello(self) -> dict[str, Any]:
        return self.wait_for(lambda kind, _at, _value: kind == protocol.HELLO)[2]

    # Together

    def call(self, target: object, path=(), *args: object, op: str = "call", tag: int = 0, **kwargs: object) -> Any:
        return self.answer(self.send_call(op, target, [path] if isinstance(path, str) else path, args, kwargs, tag=tag))

    def module(self, name: str, path=(), *args: object, **kwargs: object) -> Any:
        """Calls something in a module."""
        return self.call(HostSide.module(name), path, *args, **kwargs)

    def expr(self, source: str, *values: object, tag: int = 0) -> Any:
        """`py.expr`."""
        return self.module("flambeau.values", "evaluate", source, *values, tag=tag)

    def run(self, source: str) -> None:
        """Statements in the namespace of a module called `scratch`."""
        self.expr(
            "exec(_0, __import__('sys').modules.setdefault('scratch', __import__('types').ModuleType('scratch')).__dict__)",
            source,
        )

    def failure(self, action: Callable[[], Any]) -> dict[str, Any]:
        try:
            value = action()
        except Failure as failure:
            return failure.body
        raise AssertionError(f"expected a failure, got {value!r}")

    def ping(self, timeout_s: float = WAIT_S) -> dict[str, Any]:
        ping_id = next(self.pings)
        self.send(protocol.PING, ping_id, None)
        return self.wait_for(lambda kind, at, _: kind == protocol.PONG and at == ping_id, timeout_s)[2]

    def cancel(self, call_id: int) -> None:
        self.send(protocol.CANCEL, call_id, None)

    def release(self, *counts: tuple[int, int]) -> None:
        self.send(protocol.RELEASE, 0, [list(count) for count in counts])

    def until_running(self, call_id: int) -> None:
        while self.ping()["running"] != call_id:
            time.sleep(0.002)


def _in_place_of_3(fd: int) -> None:
    """In the child: as libuv leaves it, in a process group of its own with one end of the pair as 3 and nowhere else."""
    os.setpgid(0, 0)
    if fd != 3:
        os.dup2(fd, 3)
        os.close(fd)


class Collected:
    """What a process writes, always drained."""

    def __init__(self, stream: Any) -> None:
        self.data = bytearray()
        self.thread = threading.Thread(target=self._drain, args=(stream,), daemon=True)
        self.thread.start()

    def _drain(self, stream: Any) -> None:
        while piece := os.read(stream.fileno(), 65536):
            self.data += piece

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")
