"""Damaged frames against a real worker: it answers, or ends as one whose wire is broken; it never hangs and never dies otherwise."""

from __future__ import annotations

import random
import signal
import socket
import time

import pytest
from flambeau import protocol
from wire_values import VECTORS
from worker_host import WAIT_S, Worker

FRAMES = 2_000
FRAMES_A_WORKER = 80
EXIT_PROTOCOL = 76
# Attachments that lie about their length take memory only up to here.
BOUNDED = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))"

FROM_HOST = [bytes.fromhex(row["hex"]) for row in VECTORS["rows"] if "frame" in row and row["direction"] != "worker"]
# What would import torch, which takes seconds, or end the worker, is not of interest here.
SAMPLES = [frame for frame in FROM_HOST if b"torch" not in frame and frame[4] != protocol.SHUTDOWN]
CALLS = [frame for frame in SAMPLES if frame[4] == protocol.CALL]


def damaged(chance: random.Random) -> bytes:
    """Mostly calls whose bodies are wounded and whose headers are right: those a worker has to survive."""
    if chance.random() < 0.03:
        return wounded(chance.choice(SAMPLES), chance)
    frame = chance.choice(CALLS)
    body = wounded(frame[16:], chance)
    _, kind, _, frame_id = protocol.read_header(frame)
    return protocol.header(len(body), kind, frame_id + chance.randrange(100)) + body


def wounded(sample: bytes, chance: random.Random) -> bytes:
    """Flipped bits, bytes too few and too many, pieces of other frames, lengths that lie."""
    data = bytearray(sample)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + chance.randrange(4)]
        elif kind == 3:
            data[at:at] = chance.randbytes(chance.randrange(4))
        elif kind == 4:
            piece = chance.choice(SAMPLES)
            start = chance.randrange(len(piece))
            data[at:at] = piece[start : start + chance.randrange(64)]
        else:
            data[at : at + 4] = chance.randrange(2 ** chance.randrange(1, 33)).to_bytes(4, "big")
    return bytes(data)


def survived(chance: random.Random) -> int:
    """How many frames one worker has read before the one that ended it."""
    with Worker(prelude=BOUNDED) as worker:
        worker.hello()
        wire = b"".join(
            damaged(chance) + protocol.header(1, protocol.PING, number) + b"\xc0"
            for number in range(1_000_000, 1_000_000 + FRAMES_A_WORKER)
        )
        try:
            worker.socket.sendall(wire)
            worker.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has ended already
        status = worker.process.wait(WAIT_S)
        worker.stderr.thread.join(WAIT_S)
        # A worker that ends itself ends all of its process group, so it may be its own SIGKILL that is told.
        assert status in (0, EXIT_PROTOCOL, -signal.SIGKILL), worker.stderr.text
        assert worker.stderr.text == "" or worker.stderr.text.startswith("flambeau: the wire is broken: "), worker.stderr.text
        return 1 + sum(kind == protocol.PONG for kind, _, _ in worker.frames)


def test_thousands_of_damaged_frames_are_answered_or_end_the_worker_as_one_with_a_broken_wire():
    seed = time.time_ns() % 2**32
    chance = random.Random(seed)
    frames = workers = 0
    try:
        while frames < FRAMES:
            frames += survived(chance)
            workers += 1
    except BaseException as error:
        pytest.fail(f"seed {seed}, worker {workers}: {error!r}")
    print(f"seed {seed}: {frames} frames, {workers} workers")
