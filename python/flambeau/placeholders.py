"""What stands for a value between the wire and user code: a live object, a module, a function of the host's, bytes on their way.

Made by codec.py when a message is read, turned into the real thing by resolve.py on the thread that is going to use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from flambeau.blocks import Blocks, fresh
from flambeau.protocol import MAX_ATTACHMENT_BYTES, ProtocolError


class NotSendable(TypeError):
    """A value that cannot travel; the message names its path."""


class Ref(NamedTuple):
    """A live object, or the result of an earlier call. A tuple, as every call has one: made in less time than a dataclass."""

    id: int


@dataclass(frozen=True)
class PathOf:
    """Attributes and items from `target`, followed when the call runs."""

    target: object
    steps: list[object]


@dataclass(frozen=True)
class Module:
    """A module, imported when first used."""

    name: str


@dataclass(frozen=True)
class File:
    """A .py file of the user's."""

    path: str


@dataclass(frozen=True)
class Function:
    """A function of the host's."""

    id: int
    kind: int


@dataclass(frozen=True)
class Array:
    """Numbers in bulk; `data` is bytes or an Attachment."""

    dtype: str
    shape: list[int] | None
    data: object


class Handle(NamedTuple):
    """What the host is told of an object that stays here: type name, length or None, and flags 1 callable, 2 iterator."""

    id: int
    type_name: str
    length: int | None
    flags: int


@dataclass(frozen=True)
class Build:
    """A container that can be made only when the placeholders in it are resolved."""

    make: Callable[[Any], object]
    items: object


@dataclass(frozen=True)
class Pairs:
    """A dict whose keys are not all strings, on its way out."""

    items: list[list[Any]]


@dataclass(frozen=True)
class Members:
    """A set on its way out; its members may be no longer hashable by then."""

    frozen: bool
    items: list[Any]


@dataclass(frozen=True)
class Blob:
    """Bytes of any length inside a value on its way out."""

    data: bytes | memoryview


class Attachment:
    """Bytes that follow the message in chunks: filled by the I/O thread, complete before the message is delivered."""

    __slots__ = ("_blocks", "_memory", "filled", "id", "length")

    def __init__(self, attachment_id: int, length: int, blocks: Blocks | None = None) -> None:
        if length > MAX_ATTACHMENT_BYTES:
            raise ProtocolError(f"an attachment of {length} bytes; the limit is {MAX_ATTACHMENT_BYTES}")
        self.id = attachment_id
        self.length = length
        self.filled = 0
        self._blocks = blocks
        self._memory = fresh(length) if blocks is None else blocks.take(length)

    def __del__(self) -> None:
        if self._blocks is not None:
            self._blocks.give_back(self._memory, self.length)

    @property
    def data(self) -> memoryview:
        """Where the bytes are, and where they are put as they come."""
        return self._memory.getbuffer()

    def whole(self) -> bytes:
        """All of it."""
        return self._memory.getvalue()
