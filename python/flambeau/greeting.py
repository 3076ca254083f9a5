"""HELLO as the worker says it, before anything else of it is imported: the host reads it and sends its first request meanwhile.

Written by hand, in the longest of msgpack's forms, because importing what packs everything else takes longer than all of this.
"""

from __future__ import annotations

import os
import sys

from flambeau.protocol import HELLO, PROTOCOL_NAME, PROTOCOL_VERSION, header

_MAP, _STR, _UINT = 0xDF, 0xDB, 0xCE


def hello() -> bytes:
    """The frame."""
    fields: dict[str, str | int] = {
        "protocol": PROTOCOL_NAME,
        "version": PROTOCOL_VERSION,
        "pid": os.getpid(),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "executable": sys.executable,
        "platform": sys.platform,
    }
    body = _sized(_MAP, len(fields)) + b"".join(_packed(name) + _packed(value) for name, value in fields.items())
    return header(len(body), HELLO, 0) + body


def _packed(value: str | int) -> bytes:
    if isinstance(value, int):
        return _sized(_UINT, value)
    text = value.encode("utf-8", "surrogatepass")
    return _sized(_STR, len(text)) + text


def _sized(form: int, number: int) -> bytes:
    return bytes((form,)) + number.to_bytes(4, "big")
