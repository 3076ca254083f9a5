"""Every message in both directions, the frame header and the limits.

Knows neither how bytes travel nor what a message makes happen. The wire is described in src/bridge/README.md.
"""

from __future__ import annotations

import struct

from flambeau import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

PROTOCOL_NAME = "flambeau"
PROTOCOL_VERSION = 1

# Mirrors `limits` in src/config.ts; a test compares the two.
MAX_FRAME_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 512 * 1024
INLINE_BYTES = 16 * 1024
MAX_ATTACHMENT_BYTES = 4 * 1024**3
MAX_DEPTH = 128
MAX_ITEMS = 4_000_000

# The worker's own bounds.
MAX_UNSENT_BYTES = 256 * 1024 * 1024
MESSAGE_BYTES = 64 * 1024
TRACEBACK_LINES = 200
CAUSE_DEPTH = 16
NEXT_ITEMS = 64
CENSUS_KINDS = 5
PROGRESS_PER_SECOND = 50
NUDGE_S = 0.05
# How long Python code may go on while another thread waits: pings and cancels wait as long, a few times in turn. Python's own: 5 ms.
SWITCH_S = 0.001
COOPERATIVE_S = 1.0
# Of frames.py: as many short answers leave in one piece.
GATHERED_FRAMES = 32
# Of reading.py: how long one thing, and how long many short ones, may keep the main thread from the wire before the I/O thread takes
# over, and how long after the last of them that no longer looks.
TICK_S = 0.001
AWAY_S = 0.005
IDLE_S = 0.05
# Of blocks.py: memory of this size and more is kept for what comes next, as much as this in all.
BLOCK_BYTES = 1024 * 1024
KEPT_BYTES = 128 * 1024 * 1024
SHUTDOWN_S = 1.0
EXIT_HANDLERS_S = 0.8

# Ids of objects that the worker sends unasked (callback arguments, items of iterators) count up from here; the host's from 1.
FIRST_WORKER_ID = 2**40

HEADER = struct.Struct("<IBBHQ")
MARK = 0xF1

HELLO = 1
CALL = 2
CANCEL = 3
RELEASE = 4
PING = 5
PONG = 6
RETURN = 7
SHUTDOWN = 8
CHUNK = 9
DUMP = 10
RESULT = 16
FAILURE = 17
STACK = 18
EVENT = 19
INVOKE = 20
DROPPED = 21

FUNCTION_WAITS = 0
FUNCTION_ONE_WAY = 1
FUNCTION_LATEST_WINS = 2


class ProtocolError(Exception):
    """The wire carried something that is not our protocol."""


class Record:
    """What is a frozen dataclass elsewhere: importing `dataclasses` takes longer than starting Python, and making one longer than this."""

    __slots__: tuple[str, ...] = ()

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"


class Call(Record):
    """CALL. Values are as decoded: references in them are resolved when it runs."""

    __slots__ = ("args", "id", "inside", "kwargs", "op", "path", "refs", "tag", "target")

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        call_id: int,
        op: str,
        target: object,
        path: list[object],
        args: list[object],
        kwargs: dict[str, object],
        tag: int,
        refs: list[int],
        inside: tuple[int, ...] = (),
    ) -> None:
        self.id: Final = call_id
        self.op: Final = op
        self.target: Final = target
        self.path: Final = path
        self.args: Final = args
        self.kwargs: Final = kwargs
        self.tag: Final = tag
        # Ids of results and handles that it names, so that it is never run before the calls that make them.
        self.refs: Final = refs
        # Calls in whose callbacks, and `enter` calls in whose blocks, the host made it, outermost first.
        self.inside: Final = inside


class Release(Record):
    """RELEASE: how often the host gives back each id."""

    __slots__ = ("counts",)

    def __init__(self, counts: list[tuple[int, int]]) -> None:
        self.counts: Final = counts


class Return(Record):
    """RETURN: the host's answer to a callback."""

    __slots__ = ("id", "ok", "value")

    def __init__(self, callback_id: int, ok: bool, value: object) -> None:
        self.id: Final = callback_id
        self.ok: Final = ok
        self.value: Final = value


class Shutdown(Record):
    """SHUTDOWN: leave, running exit handlers."""

    __slots__ = ()


class Wake(Record):
    """Never on the wire: lets the main thread look at its cancel flag while it waits for something else."""

    __slots__ = ()


def header(length: int, kind: int, frame_id: int) -> bytes:
    """The 16 bytes before a body of `length` bytes, lane 0."""
    return HEADER.pack(length, kind, MARK, 0, frame_id)


def read_header(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int, int, int]:
    """(length, type, lane, id). Raises ProtocolError for anything that is not a header of ours."""
    length, kind, mark, lane, frame_id = HEADER.unpack_from(data, offset)
    if mark != MARK:
        raise ProtocolError(
            f"expected a frame header marked 0x{MARK:X}, got {bytes(data[offset : offset + 16]).hex()}: something else wrote to the wire"
        )
    limit = CHUNK_BYTES if kind == CHUNK else MAX_FRAME_BYTES
    if length > limit:
        raise ProtocolError(f"a frame of type {kind} with {length} bytes; the limit is {limit}")
    return length, kind, lane, frame_id
