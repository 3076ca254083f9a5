"""When answers leave: many short ones together, and none of them later for it than the next longer call begins."""

from __future__ import annotations

import os

import msgpack
import pytest
from flambeau import protocol
from worker_host import HostSide, Worker

SCRATCH = HostSide.module("scratch")
BURST = 20


@pytest.fixture
def gate(tmp_path):
    """A file that cannot be opened for reading until the host opens it as well."""
    path = str(tmp_path / "gate")
    os.mkfifo(path)
    yield path
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # whoever still waits goes on


def send_together(worker, *calls):
    """Calls `(path, args)` of the scratch module, in one piece; their ids."""
    ids = [next(worker.ids) for _ in calls]
    frames = []
    for call_id, (path, args) in zip(ids, calls, strict=True):
        body = msgpack.packb(["call", SCRATCH, [path], args, {}, 1], strict_types=True)
        frames.append(protocol.header(len(body), protocol.CALL, call_id) + body)
    worker.socket.sendall(b"".join(frames))
    return ids


def let_through(path):
    with open(path, "wb"):
        pass


def define(worker):
    worker.run(
        "import ctypes\nlibc = ctypes.PyDLL(None)\n"
        "def work(path=None):\n if path: open(path).close()\n return 1\n"
        "def hold(path):\n return libc.open(path.encode(), 0) >= 0"
    )


def test_answers_do_not_wait_for_the_end_of_the_same_call_that_takes_longer(worker, gate):
    define(worker)
    *short, long = send_together(worker, *[("work", [])] * BURST, ("work", [gate]))
    assert [worker.answer(call) for call in short] == [1] * BURST
    worker.until_running(long)
    let_through(gate)
    assert worker.answer(long) == 1


def test_nor_do_they_when_the_other_thread_reads_the_wire_already(worker, gate):
    define(worker)
    (first,) = send_together(worker, ("work", [gate]))
    worker.until_running(first)  # told by that thread
    *short, long = send_together(worker, *[("work", [])] * BURST, ("work", [gate]))
    let_through(gate)
    assert [worker.answer(call) for call in (first, *short)] == [1] * (BURST + 1)
    worker.until_running(long)
    let_through(gate)
    assert worker.answer(long) == 1


def test_answers_are_gone_before_another_call_can_hold_the_interpreter(worker, gate):
    define(worker)
    *short, long = send_together(worker, *[("work", [])] * BURST, ("hold", [gate]))
    assert [worker.answer(call) for call in short] == [1] * BURST
    let_through(gate)
    assert worker.answer(long) is True


def test_what_a_call_says_comes_between_the_answers_before_it_and_its_own(worker):
    worker.run("import flambeau\ndef told(number):\n if number == 3: flambeau.log('three')\n return number")
    ids = send_together(worker, *[("told", [number]) for number in range(6)])
    order = []
    while len(order) < len(ids) + 1:
        kind, at, _ = worker.wait_for(lambda kind, at, _: kind == protocol.EVENT or at in ids)
        order.append("log" if kind == protocol.EVENT else ids.index(at))
    assert order == [0, 1, 2, "log", 3, 4, 5]


def test_many_short_answers_take_few_writes():
    counting = (
        "import os\nwritten = []\nwrite = os.write\n"
        "def counted(fd, data):\n written.append(len(data))\n return write(fd, data)\n"
        "os.write = counted"
    )
    with Worker(prelude=counting) as worker:
        worker.hello()
        worker.run("import __main__\ndef writes(): return len(__main__.written)")
        # A worker that does not get the processor for a while lets its other thread read, and then gathers less.
        assert min(writes_of_burst(worker) for _ in range(20)) < 10


def writes_of_burst(worker):
    before = worker.call(SCRATCH, "writes")
    ids = send_together(worker, *[("writes", [])] * 100)
    return [worker.answer(call) for call in ids][-1] - before


def test_a_scalar_can_be_named_until_it_is_given_back(worker):
    worker.run("def seven(): return 7")
    (call,) = send_together(worker, ("seven", []))
    assert worker.answer(call) == 7
    assert worker.expr("_0 + 1", HostSide.ref(call)) == 8
    worker.release((call, 1))
    assert "was released" in worker.failure(lambda: worker.call(HostSide.ref(call), op="get"))["message"]
