"""The floors of the bridge benchmark, on file descriptor 3.

`calls`: msgpack frames with the thread shape of Flambeau's worker (one reads, the main one carries out and answers) and nothing else.
`bytes`: raw bytes into and out of one buffer that is never given up, so no page of it is new.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from queue import SimpleQueue
from typing import Any

import msgpack
from bench_target import Thing

WIRE = 3
READ_BYTES = 64 * 1024
BUFFER_BYTES = 1024 * 1024
LENGTH = struct.Struct("<I")
ORDER = struct.Struct("<cQ")


def read_calls(calls: SimpleQueue[Any]) -> None:
    """The I/O thread: frames of a length and a msgpack body."""
    pending = b""
    while True:
        data = os.read(WIRE, READ_BYTES)
        if not data:
            os._exit(0)
        data = pending + data if pending else data
        at = 0
        while len(data) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(data, at)
            end = at + LENGTH.size + length
            if end > len(data):
                break
            calls.put(msgpack.unpackb(data[at + LENGTH.size : end]))
            at = end
        pending = data[at:]


def serve_calls() -> None:
    """The main thread: `[id, name, args or nil, kwargs or nil]` in, `[id, value]` out. What is no scalar stays here under its id."""
    calls: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=read_calls, args=(calls,), daemon=True).start()
    thing = Thing()
    kept: dict[int, object] = {}
    while True:
        call_id, name, args, kwargs = calls.get()
        value = getattr(thing, name)
        if args is not None:
            value = value(*args, **kwargs) if kwargs else value(*args)
        if type(value) is not int:
            kept[call_id] = value
            value = None
        body = msgpack.packb([call_id, value])
        os.write(WIRE, LENGTH.pack(len(body)) + body)


def serve_bytes() -> None:
    """`u` and a size: that many bytes come, then one is answered; `U`: into memory that is new each time. `d` and a size: they go."""
    wire = socket.socket(fileno=WIRE)
    buffer = memoryview(bytearray(BUFFER_BYTES))
    while True:
        order = wire.recv(ORDER.size, socket.MSG_WAITALL)
        if len(order) < ORDER.size:
            return
        direction, left = ORDER.unpack(order)
        if direction == b"U":
            kept = memoryview(bytearray(left))
            while left:
                left -= wire.recv_into(kept[-left:])
        while left:
            piece = buffer[: min(left, BUFFER_BYTES)]
            left -= wire.recv_into(piece) if direction == b"u" else wire.send(piece)
        if direction != b"d":
            wire.send(b".")


if __name__ == "__main__":
    {"calls": serve_calls, "bytes": serve_bytes}[sys.argv[1]]()
