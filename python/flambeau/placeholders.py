"""What stands for a value between the wire and user code: a live object, a module, a function of the host's, bytes on their way.

Made by codec.py when a message is read, turned into the real thing by resolve.py on the thread that is going to use it.
"""

from __future__ import annotations

from flambeau import TYPE_CHECKING
from flambeau.blocks import Blocks, fresh
from flambeau.protocol import MAX_ATTACHMENT_BYTES, ProtocolError, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final


class NotSendable(TypeError):
    """A value that cannot travel; the message names its path."""


class Ref(Record):
    """A live object, or the result of an earlier call."""

    __slots__ = ("id",)

    def __init__(self, object_id: int) -> None:
        self.id: Final = object_id


class PathOf(Record):
    """Attributes and items from `target`, followed when the call runs."""

    __slots__ = ("steps", "target")

    def __init__(self, target: object, steps: list[object]) -> None:
        self.target: Final = target
        self.steps: Final = steps


class Module(Record):
    """A module, imported when first used."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name: Final = name


class File(Record):
    """A .py file of the user's."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path: Final = path


class Function(Record):
    """A function of the host's."""

    __slots__ = ("id", "kind")

    def __init__(self, function_id: int, kind: int) -> None:
        self.id: Final = function_id
        self.kind: Final = kind


class Array(Record):
    """Numbers in bulk; `data` is bytes or an Attachment."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, shape: list[int] | None, data: object) -> None:
        self.dtype: Final = dtype
        self.shape: Final = shape
        self.data: Final = data


class Handle(Record):
    """What the host is told of an object that stays here: type name, length or None, and flags 1 callable, 2 iterator."""

    __slots__ = ("flags", "id", "length", "type_name")

    def __init__(self, object_id: int, type_name: str, length: int | None, flags: int) -> None:
        self.id: Final = object_id
        self.type_name: Final = type_name
        self.length: Final = length
        self.flags: Final = flags


class Build(Record):
    """A container that can be made only when the placeholders in it are resolved."""

    __slots__ = ("items", "make")

    def __init__(self, make: Callable[[Any], object], items: object) -> None:
        self.make: Final = make
        self.items: Final = items


class Pairs(Record):
    """A dict whose keys are not all strings, on its way out."""

    __slots__ = ("items",)

    def __init__(self, items: list[list[Any]]) -> None:
        self.items: Final = items


class Members(Record):
    """A set on its way out; its members may be no longer hashable by then."""

    __slots__ = ("frozen", "items")

    def __init__(self, frozen: bool, items: list[Any]) -> None:
        self.frozen: Final = frozen
        self.items: Final = items


class Blob(Record):
    """Bytes of any length inside a value on its way out."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | memoryview) -> None:
        self.data: Final = data


class Attachment:
    """Bytes that follow the message in chunks: filled by the I/O thread, complete before the message is delivered."""

    __slots__ = ("_blocks", "_memory", "filled", "id", "length")

    def __init__(self, attachment_id: int, length: int, blocks: Blocks | None = None) -> None:
        self._blocks: Blocks | None = None  # until there is memory to give back
        if length > MAX_ATTACHMENT_BYTES:
            raise ProtocolError(f"an attachment of {length} bytes; the limit is {MAX_ATTACHMENT_BYTES}")
        self.id = attachment_id
        self.length = length
        self.filled = 0
        try:
            self._memory = fresh(length) if blocks is None else blocks.take(length)
        except MemoryError:
            raise MemoryError(f"{length} bytes are on their way, and Python could get no memory for them: send them in parts") from None
        self._blocks = blocks

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
