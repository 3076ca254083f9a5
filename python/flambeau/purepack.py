"""msgpack in plain Python, for environments without the C library: the part of its interface that packing.py uses.

Written from the format's specification (https://github.com/msgpack/msgpack/blob/master/spec.md); tested against the C library.
"""

from __future__ import annotations

import struct

from flambeau import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Default = Callable[[Any], object]

MAX_NESTING = 512


class ExtType:
    """An extension value: its code, and its raw payload."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code = code
        self.data = data


class FormatError(ValueError):
    """Bytes that are not one whole msgpack value."""


def packb(value: object, *, strict_types: bool = True, default: Default | None = None, **_options: object) -> bytes:
    """Packs exact types; anything else goes through `default`. Lone surrogates pass."""
    if not strict_types:
        raise ValueError("only strict_types=True is implemented")
    out = bytearray()
    _pack(value, out, default, 0)
    return bytes(out)


class Packer:
    """Packs with the options that it was made with."""

    def __init__(self, *, strict_types: bool = True, default: Default | None = None) -> None:
        self._strict_types = strict_types
        self._default = default

    def pack(self, value: object) -> bytes:
        """See `packb`."""
        return packb(value, strict_types=self._strict_types, default=self._default)


def _pack(value: Any, out: bytearray, default: Default | None, depth: int) -> None:
    if depth > MAX_NESTING:
        raise ValueError("recursion limit exceeded")
    writer = _WRITERS.get(type(value))
    if writer is not None and writer(value, out):
        return
    kind = type(value)
    if kind is list:
        _sized(out, len(value), 0x90, (15, None, 0xDC, 0xDD))
        for item in value:
            _pack(item, out, default, depth + 1)
    elif kind is dict:
        _sized(out, len(value), 0x80, (15, None, 0xDE, 0xDF))
        for key, item in value.items():
            _pack(key, out, default, depth + 1)
            _pack(item, out, default, depth + 1)
    elif default is not None:
        _pack(default(value), out, None if kind is int else default, depth + 1)
    elif kind is int:
        raise OverflowError("Integer value out of range")
    else:
        raise TypeError(f"can not serialize {kind.__name__!r} object")


def _sized(out: bytearray, size: int, base: int, forms: tuple[int, int | None, int, int]) -> None:
    """A length in its shortest form: inside the first byte, then 8, 16 or 32 bits."""
    largest, eight, sixteen, thirty_two = forms
    if size <= largest:
        out.append(base | size)
    elif eight is not None and size < 1 << 8:
        out += struct.pack(">BB", eight, size)
    elif size < 1 << 16:
        out += struct.pack(">BH", sixteen, size)
    elif size < 1 << 32:
        out += struct.pack(">BI", thirty_two, size)
    else:
        raise ValueError("longer than msgpack can say")


def _write_none(_value: None, out: bytearray) -> bool:
    out.append(0xC0)
    return True


def _write_bool(value: bool, out: bytearray) -> bool:
    out.append(0xC3 if value else 0xC2)
    return True


_UNSIGNED = ((1 << 8, 0xCC, "B"), (1 << 16, 0xCD, "H"), (1 << 32, 0xCE, "I"), (1 << 64, 0xCF, "Q"))
_SIGNED = ((1 << 7, 0xD0, "b"), (1 << 15, 0xD1, "h"), (1 << 31, 0xD2, "i"), (1 << 63, 0xD3, "q"))


def _write_int(value: int, out: bytearray) -> bool:
    if -32 <= value < 128:
        out.append(value & 0xFF)
        return True
    for bound, code, form in _UNSIGNED if value >= 0 else _SIGNED:
        if (value < bound) if value >= 0 else (value >= -bound):
            out += struct.pack(f">B{form}", code, value)
            return True
    return False


def _write_float(value: float, out: bytearray) -> bool:
    out += struct.pack(">Bd", 0xCB, value)
    return True


def _write_str(value: str, out: bytearray) -> bool:
    data = value.encode("utf-8", "surrogatepass")
    _sized(out, len(data), 0xA0, (31, 0xD9, 0xDA, 0xDB))
    out += data
    return True


def _write_bytes(value: bytes | bytearray, out: bytearray) -> bool:
    _sized(out, len(value), 0, (-1, 0xC4, 0xC5, 0xC6))
    out += value
    return True


def _write_ext(value: Any, out: bytearray) -> bool:
    size = len(value.data)
    if size in (1, 2, 4, 8, 16):
        out.append(0xD4 + size.bit_length() - 1)
    else:
        _sized(out, size, 0, (-1, 0xC7, 0xC8, 0xC9))
    out += struct.pack("b", value.code)
    out += value.data
    return True


_WRITERS: dict[type, Callable[[Any, bytearray], bool]] = {
    type(None): _write_none,
    bool: _write_bool,
    int: _write_int,
    float: _write_float,
    str: _write_str,
    bytes: _write_bytes,
    bytearray: _write_bytes,
    ExtType: _write_ext,
}


class _Reader:
    def __init__(self, data: bytes, ext_hook: Callable[[int, bytes], object], max_items: int) -> None:
        self.data = data
        self.at = 0
        self.ext_hook = ext_hook
        self.max_items = max_items

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise FormatError("incomplete input")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def value(self, depth: int) -> object:
        if depth > MAX_NESTING:
            raise FormatError("nested too deep")
        code: int = self.number("B")
        if code < 0x80:
            return code
        if code >= 0xE0:
            return code - 0x100
        if code < 0x90:
            return self.map(code & 15, depth)
        if code < 0xA0:
            return self.array(code & 15, depth)
        if code < 0xC0:
            return self.text(code & 31)
        return self.long_form(code, depth)

    def long_form(self, code: int, depth: int) -> object:
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _NUMBERS:
            return self.number(_NUMBERS[code])
        if 0xD4 <= code <= 0xD8:
            return self.ext(1 << (code - 0xD4))
        if code not in _LENGTHS:
            raise FormatError(f"0x{code:X} is no msgpack code")
        kind, form = _LENGTHS[code]
        size: int = self.number(form)
        if kind in ("array", "map"):
            return self.array(size, depth) if kind == "array" else self.map(size, depth)
        return {"bin": self.take, "ext": self.ext, "str": self.text}[kind](size)

    def ext(self, size: int) -> object:
        return self.ext_hook(self.number("b"), self.take(size))

    def text(self, size: int) -> str:
        return self.take(size).decode("utf-8", "surrogatepass")

    def array(self, size: int, depth: int) -> list[object]:
        self.check(size)
        return [self.value(depth + 1) for _ in range(size)]

    def map(self, size: int, depth: int) -> dict[object, object]:
        self.check(size)
        return {self.value(depth + 1): self.value(depth + 1) for _ in range(size)}

    def check(self, size: int) -> None:
        if size > min(self.max_items, len(self.data) - self.at):
            raise FormatError(f"{size} items are more than the message holds or may hold")


_CONSTANTS: dict[int, object] = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q"}
_LENGTHS = {
    0xC4: ("bin", "B"),
    0xC5: ("bin", "H"),
    0xC6: ("bin", "I"),
    0xC7: ("ext", "B"),
    0xC8: ("ext", "H"),
    0xC9: ("ext", "I"),
    0xD9: ("str", "B"),
    0xDA: ("str", "H"),
    0xDB: ("str", "I"),
    0xDC: ("array", "H"),
    0xDD: ("array", "I"),
    0xDE: ("map", "H"),
    0xDF: ("map", "I"),
}


def unpackb(
    packed: bytes | bytearray | memoryview,
    *,
    ext_hook: Callable[[int, bytes], object] = ExtType,
    max_array_len: int = 1 << 32,
    **_limits: object,
) -> object:
    """One whole value, and nothing behind it. Raises FormatError or UnicodeDecodeError, both ValueErrors."""
    reader = _Reader(bytes(packed), ext_hook, max_array_len)
    value = reader.value(0)
    if reader.at != len(reader.data):
        raise FormatError("unpack(b) received extra data.")
    return value
