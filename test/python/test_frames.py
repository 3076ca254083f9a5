"""Frames that leave together."""

from __future__ import annotations

import socket

import pytest
from flambeau import protocol
from flambeau.frames import FrameReader, FrameWriter

FRAME = protocol.header(1, protocol.RESULT, 7) + b"x"


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        writer = FrameWriter(theirs.fileno())
        writer.is_watched = True
        yield ours, writer


def arrived(ours):
    try:
        return ours.recv(1 << 20)
    except BlockingIOError:
        return b""


def test_a_gathered_frame_stays_until_the_flush(pair):
    ours, writer = pair
    writer.gather(protocol.RESULT, 7, b"x")
    writer.gather(protocol.RESULT, 7, b"x")
    assert arrived(ours) == b""
    writer.flush()
    assert arrived(ours) == FRAME + FRAME
    writer.flush()
    assert arrived(ours) == b""


def test_what_was_gathered_leaves_before_whatever_is_sent_next(pair):
    ours, writer = pair
    writer.gather(protocol.RESULT, 7, b"x")
    writer.send(protocol.PONG, 8, b"y")
    assert arrived(ours) == FRAME + protocol.header(1, protocol.PONG, 8) + b"y"


def test_not_more_than_the_limit_are_gathered(pair):
    ours, writer = pair
    for _ in range(protocol.GATHERED_FRAMES - 1):
        writer.gather(protocol.RESULT, 7, b"x")
    assert arrived(ours) == b""
    writer.gather(protocol.RESULT, 7, b"x")
    assert arrived(ours) == FRAME * protocol.GATHERED_FRAMES


def test_nothing_is_gathered_while_nobody_flushes(pair):
    ours, writer = pair
    writer.is_watched = False
    writer.gather(protocol.RESULT, 7, b"x")
    assert arrived(ours) == FRAME


def test_what_was_gathered_before_a_fork_is_the_parents_to_send(pair):
    ours, writer = pair
    writer.gather(protocol.RESULT, 7, b"x")
    writer.close()
    writer.flush()
    assert arrived(ours) == b""


def test_the_next_header_is_known_only_when_its_whole_frame_is(pair):
    ours, writer = pair
    reader = FrameReader(writer._fd)
    ours.send(FRAME + FRAME[:-1])
    assert reader.header() == (1, protocol.RESULT, 0, 7)
    assert bytes(reader.view(1)) == b"x"
    assert reader.whole_header() is None
    ours.send(FRAME[-1:])
    assert reader.header() == (1, protocol.RESULT, 0, 7)
    assert bytes(reader.view(1)) == b"x"
    assert reader.whole_header() is None


def test_bytes_of_an_attachment_land_where_they_belong_and_the_header_behind_them_is_known(pair):
    ours, writer = pair
    reader = FrameReader(writer._fd)
    ours.setblocking(True)
    chunk = bytes(range(256)) * 512
    target = bytearray(len(chunk))
    for _ in range(2):
        ours.sendall(protocol.header(len(chunk), protocol.CHUNK, 3) + chunk + FRAME)
        assert reader.header() == (len(chunk), protocol.CHUNK, 0, 3)
        reader.read_into(memoryview(target))
        assert target == chunk
        assert reader.header() == (1, protocol.RESULT, 0, 7)
        assert bytes(reader.view(1)) == b"x"
