"""msgpack with our limits: the C library where it is installed, the bundled Python one elsewhere. Knows no extension types."""

from __future__ import annotations

from flambeau import TYPE_CHECKING
from flambeau.protocol import MAX_FRAME_BYTES, MAX_ITEMS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# A message of this size cannot say of anything in it that it is longer than the limits, and reads in half the time without them.
SMALL_BYTES = 64 * 1024

try:
    import msgpack as _library
except ImportError:
    from flambeau import purepack as _library  # type: ignore[no-redef]

ExtType: Any = _library.ExtType
# Of one scalar of an exact type: a quarter of the time of `pack`. OverflowError and UnicodeEncodeError leave the rest to that; so do
# strings beyond SMALL_BYTES, as a packer keeps the largest buffer that it ever had.
pack_scalar: Callable[[object], bytes] = _library.Packer(strict_types=True).pack


class _Packing:
    """A packer that is used again: making one takes up to a megabyte of memory, and longer than most messages."""

    def __init__(self) -> None:
        self.default: Callable[[Any], object] | None = None
        self.pack: Callable[[object], bytes] = _library.Packer(strict_types=True, default=self._ask).pack

    def _ask(self, value: Any) -> object:
        if self.default is None:
            raise TypeError(f"{type(value).__qualname__} does not travel by value")
        return self.default(value)


# Those that nobody uses at the moment; a message inside of a message takes a second one.
_idle: list[_Packing] = []


def pack(value: object, default: Callable[[Any], object] | None = None) -> bytes:
    """Exact types only; `default` gets the others (tuples, subclasses, integers beyond 64 bits)."""
    packing = _idle.pop() if _idle else _Packing()
    packing.default = default
    try:
        packed = packing.pack(value)
    except UnicodeEncodeError:  # a lone surrogate; saying so from the start would slow down every other string
        return _library.packb(value, strict_types=True, default=default, unicode_errors="surrogatepass")  # type: ignore[no-any-return]
    packing.default = None
    if len(packed) <= SMALL_BYTES:
        _idle.append(packing)
    return packed


def unpack(body: bytes | bytearray | memoryview, ext_hook: Callable[[int, bytes], object]) -> Any:
    """One whole value; never a stream. Raises ValueError (or a subclass) for anything broken."""
    if len(body) <= SMALL_BYTES:
        return _unpackb(body, ext_hook=ext_hook, strict_map_key=False, unicode_errors="surrogatepass")
    return _unpackb(body, ext_hook=ext_hook, strict_map_key=False, unicode_errors="surrogatepass", **_LIMITS)


_unpackb = _library.unpackb
_LIMITS = {
    "max_str_len": MAX_FRAME_BYTES,
    "max_bin_len": MAX_FRAME_BYTES,
    "max_ext_len": MAX_FRAME_BYTES,
    "max_array_len": MAX_ITEMS,
    "max_map_len": MAX_ITEMS,
}
