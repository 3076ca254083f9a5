"""Cancel: what stops at once, what is left alone, and that every call is answered exactly once."""

from __future__ import annotations

import random
import threading
import time

import pytest
from flambeau import protocol
from worker_host import Failure, HostSide, Worker

SCRATCH = HostSide.module("scratch")
VALUES = HostSide.module("flambeau.values")


def start(worker, source, tag=0):
    """Defines `work` by `source`, calls it, and waits until it runs."""
    worker.run(source)
    call = worker.send_call("call", SCRATCH, ["work"], tag=tag)
    worker.until_running(call)
    return call


def stopped(worker, call):
    """Cancels a call; how long it took to end, in seconds."""
    began_s = time.monotonic()
    worker.cancel(call)
    failure = worker.failure(lambda: worker.answer(call))
    assert failure["code"] == "CANCELLED", failure
    assert worker.expr("1 + 1") == 2
    return time.monotonic() - began_s


@pytest.mark.parametrize(
    "body",
    [
        "import time; time.sleep(60)",
        "while True: pass",
        "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
        "import threading; threading.Event().wait()",
        "import queue; queue.Queue().get()",
        "import socket; a, b = socket.socketpair(); a.recv(1)",
        "import asyncio; asyncio.run(asyncio.sleep(60))",
        "import subprocess; subprocess.run(['sleep', '60'])",
        "[x for x in iter(int, 1)]",
    ],
)
def test_a_running_call_stops_at_once_whatever_it_waits_for(worker, body):
    assert stopped(worker, start(worker, f"def work():\n {body}")) < 2


def test_a_queued_call_never_runs_and_is_answered_while_the_other_still_runs(worker):
    running = start(worker, "ran = []\ndef work():\n import time; time.sleep(60)")
    queued = worker.send_call("call", SCRATCH, ["ran", "append"], [1])
    worker.cancel(queued)
    failure = worker.failure(lambda: worker.answer(queued, 5))
    assert failure["code"] == "CANCELLED"
    assert worker.ping()["running"] == running
    dependent = worker.send_call("get", HostSide.ref(queued), ["real"])
    stopped(worker, running)
    assert worker.failure(lambda: worker.answer(dependent))["link"] == queued
    assert worker.expr("len(_0)", HostSide.path(SCRATCH, "ran")) == 0


def test_a_cancel_that_overtakes_its_call_still_stops_it(worker):
    worker.run("late = []")
    call = next(worker.ids)
    worker.cancel(call)
    worker.send(protocol.CALL, call, ["call", SCRATCH, ["late", "append"], [1], {}, 0])
    assert worker.failure(lambda: worker.answer(call))["code"] == "CANCELLED"
    assert worker.expr("len(_0)", HostSide.path(SCRATCH, "late")) == 0


def test_a_call_whose_attachments_never_came_can_be_cancelled(worker):
    call = worker.send_call("call", VALUES, ["evaluate"], ["_0", HostSide.attach(77, 100_000)])
    worker.ping()
    worker.cancel(call)
    assert worker.failure(lambda: worker.answer(call))["code"] == "CANCELLED"
    worker.send_raw(protocol.CHUNK, 77, b"x" * 100_000)
    assert worker.expr("1 + 1") == 2


def test_a_cancel_after_the_end_does_nothing_to_the_next_call(worker):
    done = worker.send_call("call", VALUES, ["evaluate"], ["1"])
    worker.answer(done)
    worker.cancel(done)
    assert worker.expr("(__import__('time').sleep(0.1), 'unhurt')[1]") == "unhurt"


def test_finally_blocks_run_undisturbed(worker):
    call = start(
        worker,
        "ends = []\ndef work():\n import time\n try: time.sleep(60)\n finally:\n  time.sleep(0.3); ends.append('tidied')",
    )
    stopped(worker, call)
    assert worker.call(SCRATCH, ["ends", [0]], op="get") == "tidied"


def test_except_exception_does_not_swallow_it(worker):
    stopped(worker, start(worker, "def work():\n import time\n while True:\n  try: time.sleep(60)\n  except Exception: pass"))


def test_code_that_swallows_it_can_still_see_the_flag(worker):
    call = start(
        worker,
        "import flambeau\ndef work():\n import time\n try: time.sleep(60)\n except BaseException: pass\n return flambeau.cancelled()",
    )
    worker.cancel(call)
    assert worker.answer(call) is True


def test_a_long_c_call_ends_by_itself_and_then_counts_as_cancelled(worker):
    call = start(worker, "def work():\n total = sum(range(30_000_000))\n while True: pass")
    assert stopped(worker, call) < 20


def test_an_import_is_never_interrupted_halfway(worker, tmp_path):
    (tmp_path / "slow_module.py").write_text("import time\nfirst = 1\nfor _ in range(10): time.sleep(0.05)\nlast = 2")
    worker.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\ndef work():\n import slow_module, time\n time.sleep(60)")
    call = worker.send_call("call", SCRATCH, ["work"])
    worker.until_running(call)
    stopped(worker, call)
    assert worker.expr("__import__('slow_module').last") == 2


def test_a_stray_ctrl_c_is_ignored_when_idle_and_in_a_call(worker):
    pid = worker.process.pid
    kill = HostSide.module("os")
    worker.call(kill, "kill", pid, 2)
    call = start(worker, "def work():\n import time; time.sleep(0.5); return 'unhurt'")
    threading.Timer(0.1, worker.process.send_signal, [2]).start()
    assert worker.answer(call) == "unhurt"


def test_user_code_that_puts_its_own_sigint_handler_cannot_keep_it_beyond_its_call(worker):
    worker.run("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert stopped(worker, start(worker, "def work():\n import time; time.sleep(60)")) < 2


def test_a_call_inside_a_callback_is_cancelled_with_the_call_around_it():
    with Worker() as worker:
        worker.hello()
        nested = []

        def inside():
            nested.append(worker.send_call("call", HostSide.module("time"), ["sleep"], [60], tag=5))
            return worker.answer(nested[0])

        worker.functions[1] = inside
        outer = worker.send_call("call", VALUES, ["evaluate"], ["_0()", HostSide.function(1)], tag=5)
        while not nested:
            time.sleep(0.005)
        worker.until_running(nested[0])
        worker.cancel(outer)
        assert worker.failure(lambda: worker.answer(outer))["code"] == "CANCELLED"
        assert worker.expr("1 + 1") == 2
        assert worker.ping()["running"] is None


def test_a_call_that_waits_for_the_host_stops_though_the_host_never_answers(worker):
    called = threading.Event()
    worker.functions[2] = lambda: (called.set(), threading.Event().wait(30))
    call = worker.send_call("call", VALUES, ["evaluate"], ["_0()", HostSide.function(2)])
    assert called.wait(10)
    assert stopped(worker, call) < 2


def test_five_hundred_cancels_at_random_moments_lose_nothing():
    """Every call gets exactly one RESULT or FAILURE, and the worker answers afterwards."""
    dice = random.Random(7)
    outcomes = {"completed": 0, "cancelled": 0}
    with Worker() as worker:
        worker.hello()
        worker.run("def work(n):\n total = 0\n for i in range(n): total += i\n return total")
        for _ in range(500):
            calls = [worker.send_call("call", SCRATCH, ["work"], [dice.choice((0, 2_000, 100_000))]) for _ in range(dice.choice((1, 2)))]
            time.sleep(dice.random() * 0.006)
            for call in calls:
                worker.cancel(call)
            for call in calls:
                try:
                    worker.answer(call)
                    outcomes["completed"] += 1
                except Failure as failure:
                    assert failure.body["code"] == "CANCELLED", failure
                    outcomes["cancelled"] += 1
        assert worker.expr("'still here'") == "still here"
        replies = [frame for frame in worker.frames if frame[0] in (protocol.RESULT, protocol.FAILURE)]
        assert replies == []
        assert min(outcomes.values()) > 20, outcomes
