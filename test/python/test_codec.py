"""Values and frames against test/wire/vectors.json, the bundled msgpack against the C library, and the limits against src/config.ts."""

from __future__ import annotations

import datetime
import itertools
import re
from pathlib import Path

import msgpack
import pytest
from flambeau import codec, packing, placeholders, protocol, purepack
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_values import VECTORS, comparable, from_json

ROWS = VECTORS["rows"]
FRAMES = [row for row in ROWS if "frame" in row]
VALUES = [row for row in ROWS if "frame" not in row]
CONFIG = Path(__file__).resolve().parents[2] / "src" / "config.ts"


def encode(value: object) -> bytes:
    return codec.Encoder(itertools.count(1).__next__).encode(value)


def named(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row["name"])


@pytest.fixture(params=["the C library", "the bundled one"])
def either_msgpack(request, monkeypatch):
    monkeypatch.setattr(packing, "_library", msgpack if request.param == "the C library" else purepack)
    monkeypatch.setattr(packing, "_idle", [])
    monkeypatch.setattr(codec, "ExtType", packing._library.ExtType)


@named(VALUES)
def test_every_value_of_the_wire_table_is_read(row, either_msgpack):
    decoded = codec.Decoder().decode(bytes.fromhex(row["hex"]))
    assert comparable(decoded) == comparable(from_json(row["value"]))


@named([row for row in VALUES if row["direction"] in ("both", "worker") and "attachment" not in str(row["value"])])
def test_every_value_that_a_worker_sends_is_written_to_the_byte(row, either_msgpack):
    value = from_json(row["value"])
    if type(value) is dict and not all(type(key) is str for key in value):
        value = placeholders.Pairs([[key, item] for key, item in value.items()])
    assert encode(value).hex() == row["hex"]


@named(FRAMES)
def test_every_frame_of_the_wire_table_is_read(row):
    data = bytes.fromhex(row["hex"])
    length, kind, lane, frame_id = protocol.read_header(data)
    assert {"type": kind, "lane": lane, "id": frame_id} == row["frame"]
    assert length == len(data) - protocol.HEADER.size
    assert protocol.header(length, kind, frame_id) == data[:16]
    body = data[16:] if kind == protocol.CHUNK else codec.Decoder().decode(data[16:])
    assert comparable(body) == comparable(from_json(row["value"]))


def test_a_header_without_our_mark_is_refused():
    with pytest.raises(protocol.ProtocolError, match="something else wrote to the wire"):
        protocol.read_header(b"Downloading mode")


def test_a_frame_beyond_the_limit_is_refused_before_anything_is_allocated():
    with pytest.raises(protocol.ProtocolError, match="limit"):
        protocol.read_header(protocol.HEADER.pack(protocol.MAX_FRAME_BYTES + 1, protocol.CALL, protocol.MARK, 0, 1))


def test_large_bytes_are_set_aside_and_small_ones_are_not():
    encoder = codec.Encoder(itertools.count(5).__next__)
    small, large = b"s" * protocol.INLINE_BYTES, b"l" * (protocol.INLINE_BYTES + 1)
    decoded = codec.Decoder().decode(encoder.encode([placeholders.Blob(small), placeholders.Blob(large)]))
    assert decoded[0] == small
    assert (decoded[1].id, decoded[1].length) == (5, len(large))
    assert [(name, bytes(data)) for name, data in encoder.attachments] == [(5, large)]


def test_containers_wait_only_when_something_in_them_has_to():
    decoder = codec.Decoder()
    assert decoder.decode(encode((1, (2,)))) == (1, (2,))
    assert decoder.placeholders == 0
    nested = msgpack.packb(msgpack.ExtType(codec.TUPLE, msgpack.packb([1, msgpack.ExtType(codec.REF, msgpack.packb(4))])))
    assert type(decoder.decode(nested)) is placeholders.Build
    assert decoder.refs == [4]


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x92\x01", b"\x01\x01", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff", b"\xc7\x01"],
    ids=lambda body: body.hex() or "nothing",
)
def test_broken_bodies_are_refused(body, either_msgpack):
    with pytest.raises((ValueError, protocol.ProtocolError)):
        codec.Decoder().decode(body)


def test_unknown_extensions_are_refused_by_number(either_msgpack):
    with pytest.raises(protocol.ProtocolError, match="99"):
        codec.Decoder().decode(packing.pack(packing._library.ExtType(99, b"")))


def test_extensions_nested_without_end_are_refused(either_msgpack):
    body = packing.pack(None)
    for _ in range(protocol.MAX_DEPTH + 1):
        body = packing.pack(packing._library.ExtType(codec.TUPLE, b"\x91" + body))
    with pytest.raises((ValueError, protocol.ProtocolError)):
        codec.Decoder().decode(body)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=300)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20), max_leaves=30
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_the_bundled_msgpack_writes_the_same_bytes_as_the_c_library_and_reads_them_back(value):
    packed = msgpack.packb(value, strict_types=True)
    assert purepack.packb(value) == packed
    assert comparable(purepack.unpackb(packed)) == comparable(value)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_the_bundled_msgpack_reads_any_bytes_or_refuses_them_with_a_value_error(data):
    try:
        purepack.unpackb(data)
    except ValueError:
        return
    except TypeError:  # an unhashable map key, as in the C library
        return


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=2**64) | st.integers(max_value=-(2**63) - 1))
def test_integers_beyond_64_bits_come_back_exactly_and_as_short_as_possible(value):
    body = encode(value)
    assert codec.Decoder().decode(body) == value
    extension = codec.int_extension(value)
    assert len(extension.data) == (value if value >= 0 else ~value).bit_length() // 8 + 1


ZONES = st.none() | st.integers(-1439, 1439).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
# Two of the same hour, as clocks are set back, are told apart by an attribute that ISO text does not have.
DATETIMES = st.datetimes(timezones=ZONES).map(lambda moment: moment.replace(fold=0))
KEYS = st.none() | st.booleans() | st.integers() | st.text(st.characters()) | st.binary(max_size=20) | st.tuples(st.integers(), st.text())
SPECIAL = (
    st.integers()
    | st.text(st.characters(), max_size=100)
    | st.complex_numbers()
    | DATETIMES
    | st.dates()
    | st.times().map(lambda time: time.replace(fold=0))
    # Seconds are a float on the wire, which is exact to the microsecond within 285 years.
    # A float of seconds is exact to the microsecond for 270 years.
    | st.timedeltas(datetime.timedelta(days=-98_000), datetime.timedelta(days=98_000))
    | st.sets(KEYS)
    | st.frozensets(KEYS)
)
VALUES_OF_PYTHON = st.recursive(
    SCALARS | SPECIAL,
    lambda inner: st.lists(inner, max_size=8) | st.lists(inner, max_size=8).map(tuple) | st.dictionaries(KEYS, inner, max_size=8),
    max_leaves=20,
)


def sendable(value: object) -> object:
    """As plain.py prepares it: dicts whose keys are not all text as pairs."""
    if isinstance(value, (list, tuple)):
        return type(value)(sendable(item) for item in value)
    if not isinstance(value, dict):
        return value
    if all(type(key) is str for key in value):
        return {key: sendable(item) for key, item in value.items()}
    return placeholders.Pairs([[key, sendable(item)] for key, item in value.items()])


@settings(max_examples=400, deadline=None)
@given(VALUES_OF_PYTHON)
def test_every_value_comes_back_as_it_was(value):
    assert comparable(codec.Decoder().decode(encode(sendable(value)))) == comparable(value)


def test_python_and_typescript_have_the_same_limits():
    source = CONFIG.read_text()

    def limit(name: str) -> int:
        expression = re.search(rf"{name}: ([\d_* ]+),", source).group(1)
        return eval(expression)

    assert limit("maxFrameBytes") == protocol.MAX_FRAME_BYTES
    assert limit("chunkBytes") == protocol.CHUNK_BYTES
    assert limit("inlineBytes") == protocol.INLINE_BYTES
    assert limit("maxAttachmentBytes") == protocol.MAX_ATTACHMENT_BYTES
    assert limit("maxDepth") == protocol.MAX_DEPTH
    assert limit("maxItems") == protocol.MAX_ITEMS
