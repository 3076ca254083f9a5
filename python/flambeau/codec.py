"""Values ⇄ msgpack bytes by the extension types of src/bridge/README.md, attachments set aside.

Runs no user code and knows neither objects nor the wire: what needs either is left as a placeholder for resolve.py.
"""

from __future__ import annotations

import datetime
import struct

from flambeau import TYPE_CHECKING
from flambeau.packing import ExtType, pack, unpack
from flambeau.placeholders import Array, Attachment, Blob, Build, File, Function, Handle, Members, Module, NotSendable, Pairs, PathOf, Ref
from flambeau.protocol import INLINE_BYTES, MAX_ATTACHMENT_BYTES, MAX_DEPTH, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from flambeau.blocks import Blocks

REF = 1
PATH = 2
MODULE = 3
FILE = 4
INT = 5
TUPLE = 7
SET = 8
MAP = 9
DATE = 11
ARRAY = 12
ATTACH = 13
HANDLE = 14
FUNCTION = 15
SLICE = 16
ELLIPSIS = 18
COMPLEX = 19


class Decoder:
    """Decodes one message, and tells what it names: `refs`, `attachments`, and whether anything waits for resolve.py."""

    __slots__ = ("_depth", "attachments", "blocks", "placeholders", "refs")

    def __init__(self, blocks: Blocks | None = None) -> None:
        """`blocks`: where the memory of attachments comes from."""
        self.blocks = blocks
        self.refs: list[int] = []
        self.attachments: list[Attachment] = []
        self.placeholders = 0
        self._depth = 0

    def decode(self, body: bytes | bytearray | memoryview) -> Any:
        """The value of a body. Raises ProtocolError or ValueError."""
        try:
            return unpack(body, self._extension)
        except RecursionError:
            raise ProtocolError("values are nested too deep") from None

    def _extension(self, code: int, data: bytes) -> object:
        if code == REF:
            # Read here where it is a plain msgpack uint: every call has one of these, and calling the library takes longer.
            first = data[0]
            object_id = first if first < 0x80 else int.from_bytes(data[1:], "big") if 0xCC <= first <= 0xCF else self.decode(data)
            self.refs.append(object_id)
            self.placeholders += 1
            return Ref(object_id)
        read = _READERS.get(code)
        if read is None:
            raise ProtocolError(f"extension type {code} is not known")
        if self._depth >= MAX_DEPTH:
            raise ProtocolError(f"values are nested more than {MAX_DEPTH} deep")
        self._depth += 1
        try:
            return read(self, data)
        finally:
            self._depth -= 1

    def hold(self, placeholder: object) -> object:
        """Counts something that resolve.py has to replace."""
        self.placeholders += 1
        return placeholder

    def build(self, data: bytes, make: Callable[[Any], object]) -> object:
        """A container from its items: at once where they are plain, later where not."""
        before = self.placeholders
        items = self.decode(data)
        return make(items) if self.placeholders == before else self.hold(Build(make, items))


def _read_path(decoder: Decoder, data: bytes) -> object:
    return decoder.hold(PathOf(*decoder.decode(data)))


def _read_attachment(decoder: Decoder, data: bytes) -> object:
    attachment_id, length = decoder.decode(data)
    attachment = Attachment(attachment_id, length, decoder.blocks)
    decoder.attachments.append(attachment)
    return decoder.hold(attachment)


def _read_date(_decoder: Decoder, data: bytes) -> object:
    kind, value = _decoder.decode(data)
    if kind == "timedelta":
        return datetime.timedelta(seconds=value)
    # Python 3.10 reads no "Z".
    text = value[:-1] + "+00:00" if value.endswith("Z") else value
    if kind == "datetime":
        return datetime.datetime.fromisoformat(text)
    return datetime.date.fromisoformat(text) if kind == "date" else datetime.time.fromisoformat(text)


def make_set(payload: list[Any]) -> object:
    """`[frozen, items]` as a set."""
    frozen, items = payload
    return frozenset(items) if frozen else set(items)


def make_slice(parts: list[Any]) -> slice:
    """`[start, stop, step]` as a slice."""
    return slice(*parts)


_READERS: dict[int, Callable[[Decoder, bytes], object]] = {
    PATH: _read_path,
    MODULE: lambda decoder, data: decoder.hold(Module(decoder.decode(data))),
    FILE: lambda decoder, data: decoder.hold(File(decoder.decode(data))),
    INT: lambda _decoder, data: int.from_bytes(data, "little", signed=True),
    TUPLE: lambda decoder, data: decoder.build(data, tuple),
    SET: lambda decoder, data: decoder.build(data, make_set),
    MAP: lambda decoder, data: decoder.build(data, dict),
    DATE: _read_date,
    ARRAY: lambda decoder, data: decoder.hold(Array(*decoder.decode(data))),
    ATTACH: _read_attachment,
    HANDLE: lambda decoder, data: Handle(*decoder.decode(data)),
    FUNCTION: lambda decoder, data: decoder.hold(Function(*decoder.decode(data))),
    SLICE: lambda decoder, data: decoder.build(data, make_slice),
    ELLIPSIS: lambda _decoder, _data: ...,
    COMPLEX: lambda _decoder, data: complex(*struct.unpack(">dd", data)),
}


class Encoder:
    """Encodes one message. `attachments` are what has to follow it: (id, bytes); nobody may change them until they are gone."""

    __slots__ = ("_next_id", "attachments")

    def __init__(self, next_id: Callable[[], int]) -> None:
        self._next_id = next_id
        self.attachments: list[tuple[int, memoryview]] = []

    def encode(self, value: object) -> bytes:
        """Exact scalars, lists, dicts with string keys, and everything that has an extension type. Other types are a TypeError."""
        return pack(value, self._special)

    def bulk(self, data: bytes | memoryview) -> object:
        """Bytes as they travel: inside the message when small, else set aside as an attachment."""
        if len(data) <= INLINE_BYTES:
            return data if isinstance(data, bytes) else bytes(data)
        total = len(data) + sum(len(sent) for _, sent in self.attachments)
        if total > MAX_ATTACHMENT_BYTES:
            raise NotSendable(f"{total} bytes in one result; {MAX_ATTACHMENT_BYTES} may follow one message: fetch it in parts")
        attachment_id = self._next_id()
        self.attachments.append((attachment_id, memoryview(data)))
        return ExtType(ATTACH, pack([attachment_id, len(data)]))

    def _special(self, value: Any) -> object:
        write = _WRITERS.get(type(value))
        if write is None:
            raise TypeError(f"{type(value).__qualname__} does not travel by value")
        return write(self, value)

    def nest(self, code: int, value: object) -> object:
        """An extension whose payload is msgpack."""
        return ExtType(code, self.encode(value))


def int_extension(value: int) -> object:
    """Two's complement, little-endian, as short as possible."""
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return ExtType(INT, value.to_bytes(size, "little", signed=True))


def _write_date(encoder: Encoder, value: Any) -> object:
    if type(value) is datetime.timedelta:
        return encoder.nest(DATE, ["timedelta", value.total_seconds()])
    return encoder.nest(DATE, [type(value).__name__, value.isoformat()])


_WRITERS: dict[type, Callable[[Encoder, Any], object]] = {
    int: lambda _encoder, value: int_extension(value),
    tuple: lambda encoder, value: encoder.nest(TUPLE, list(value)),
    set: lambda encoder, value: encoder.nest(SET, [False, list(value)]),
    frozenset: lambda encoder, value: encoder.nest(SET, [True, list(value)]),
    datetime.datetime: _write_date,
    datetime.date: _write_date,
    datetime.time: _write_date,
    datetime.timedelta: _write_date,
    Array: lambda encoder, value: encoder.nest(ARRAY, [value.dtype, value.shape, encoder.bulk(value.data)]),
    Handle: lambda encoder, value: encoder.nest(HANDLE, [value.id, value.type_name, value.length, value.flags]),
    complex: lambda _encoder, value: ExtType(COMPLEX, struct.pack(">dd", value.real, value.imag)),
    Members: lambda encoder, value: encoder.nest(SET, [value.frozen, value.items]),
    Blob: lambda encoder, value: encoder.bulk(value.data),
    Pairs: lambda encoder, value: encoder.nest(MAP, value.items),
}
