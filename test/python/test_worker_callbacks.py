"""Functions of the host's called from Python, calls nested inside them, progress and logs."""

from __future__ import annotations

import threading
import time

import msgpack
import pytest
from flambeau import codec, protocol
from worker_host import HostSide, Worker

VALUES = HostSide.module("flambeau.values")
SCRATCH = HostSide.module("scratch")


@pytest.fixture
def call_with(worker):
    """Calls an expression with host functions as `_0`, `_1`, …"""
    numbers = iter(range(1000 + int(time.monotonic() * 1000) % 100_000 * 1000, 10**9))

    def run(source, *functions, kind=0, tag=0):
        ids = [next(numbers) for _ in functions]
        worker.functions.update(zip(ids, functions, strict=True))
        return worker.call(VALUES, "evaluate", source, *[HostSide.function(name, kind) for name in ids], tag=tag)

    return run


def test_python_blocks_for_the_answer(call_with):
    assert call_with("_0(20, b=1) + _0(0, b=1)", lambda a, b: a + b + 10) == 42


def test_arguments_that_are_objects_come_as_handles_and_can_be_passed_back(worker, call_with):
    def check(items, data):
        assert (items.type_name, items.length, data) == ("list", 1, b"raw")
        return HostSide.ref(items.id)

    assert call_with("(lambda x: _0(x, data=b'raw') is x)([5])", check) is True


def test_an_error_of_the_host_is_raised_in_python_and_comes_back_recognisable(worker, call_with):
    def throw():
        raise ValueError("from the host")

    failure = worker.failure(lambda: call_with("_0()", throw))
    assert failure["type"] == "flambeau.callbacks.HostError"
    assert failure["message"] == "ValueError: from the host"
    assert failure["callback"] >= 1
    worker.run("def catch(f):\n try: f()\n except Exception as e: return str(e)")
    assert call_with("__import__('sys').modules['scratch'].catch(_0)", throw) == "ValueError: from the host"


def test_a_callback_may_call_python_fifty_deep(worker, call_with):
    def deeper(depth):
        if depth == 0:
            return "bottom"
        return worker.call(SCRATCH, "go", depth - 1, tag=9)

    worker.run("def keep(f):\n global go; go = lambda depth: f(depth)")
    call_with("__import__('sys').modules['scratch'].keep(_0)", deeper, tag=9)
    assert worker.call(SCRATCH, "go", 50, tag=9) == "bottom"


def test_calls_of_other_requests_wait_until_the_call_has_ended(worker, call_with):
    worker.run("order = []")
    others = []

    def inside():
        others.append(worker.send_call("call", SCRATCH, ["order", "append"], ["other"], tag=4))
        worker.call(SCRATCH, ["order", "append"], "nested", tag=3)

    call_with("(_0(), __import__('sys').modules['scratch'].order.append('outer'))", inside, tag=3)
    worker.answer(others[0])
    assert worker.expr("_0 == ['nested', 'outer', 'other']", HostSide.path(SCRATCH, "order"))


def test_what_was_sent_before_the_callback_keeps_its_place_behind_the_call(worker, call_with):
    worker.run("order = []\nimport time\ndef slow(f):\n time.sleep(0.2); f(); order.append('slow')")
    worker.functions[50] = lambda: None
    first = worker.send_call("call", SCRATCH, ["slow"], [HostSide.function(50)], tag=6)
    second = worker.send_call("call", SCRATCH, ["order", "append"], ["behind"], tag=6)
    third = worker.send_call("get", HostSide.ref(first), [], tag=6)
    for call in (first, second, third):
        worker.answer(call)
    assert worker.expr("_0 == ['slow', 'behind']", HostSide.path(SCRATCH, "order"))


def test_a_nested_call_that_builds_on_the_outer_one_waits_for_it(worker, call_with):
    sent = []
    worker.functions[51] = lambda: sent.append(worker.send_call("get", HostSide.ref(outer), ["real"], tag=6))
    outer = next(worker.ids)
    worker.send(protocol.CALL, outer, ["call", VALUES, ["evaluate"], ["(_0(), 7)[1]", HostSide.function(51)], {}, 6])
    assert worker.answer(outer) == 7
    assert worker.answer(sent[0]) == 7


def test_a_one_way_function_is_not_waited_for(worker, call_with):
    seen = threading.Event()
    assert call_with("_0('news')", lambda text: (time.sleep(0.2), seen.set()), kind=1) is None
    assert not seen.is_set()
    assert seen.wait(5)


def test_a_callback_from_another_python_thread_works_while_the_main_thread_is_busy_or_idle(worker, call_with):
    heard = []
    worker.run(
        "import threading\ndef begin(f):\n global thread, answers; answers = []\n"
        " thread = threading.Thread(target=lambda: [answers.append(f(n)) for n in range(3)]); thread.start()"
    )
    call_with("__import__('sys').modules['scratch'].begin(_0)", lambda n: (heard.append(n), n * 2)[1])
    worker.call(SCRATCH, ["thread", "join"])
    assert heard == [0, 1, 2]
    assert worker.expr("_0 == [0, 2, 4]", HostSide.path(SCRATCH, "answers"))


def test_objects_given_back_during_a_long_call_are_freed_at_its_next_callback(worker, call_with):
    worker.run(
        "import weakref\nclass Latents: pass\nalive = []\n"
        "def steps(f):\n for n in range(4):\n  latents = Latents(); alive.append(weakref.ref(latents)); f(latents); del latents\n"
        " return sum(ref() is not None for ref in alive)"
    )

    def step(latents):
        worker.release((latents.id, 1))

    assert call_with("__import__('sys').modules['scratch'].steps(_0)", step) <= 1


def test_large_bytes_travel_in_callbacks_both_ways(worker, call_with):
    def echo(data):
        assert bytes(data.data) == b"q" * 50_000
        worker.send_raw(protocol.CHUNK, 4000, b"r" * 0) if False else None
        threading.Timer(0.05, worker.send_raw, [protocol.CHUNK, 4000, b"r" * 60_000]).start()
        return HostSide.attach(4000, 60_000)

    assert call_with("_0(b'q' * 50_000) == b'r' * 60_000", echo) is True


def test_the_same_function_is_the_same_callable(worker):
    function = HostSide.function(7_777)
    assert worker.expr("_0 is _1 and callable(_0)", function, function) is True


def test_a_function_called_from_del_does_not_block_the_release(worker, call_with):
    heard = threading.Event()
    worker.run("class Noisy:\n def __init__(self, f): self.f = f\n def __del__(self): self.f()")
    noisy = call_with("__import__('sys').modules['scratch'].Noisy(_0)", heard.set)
    worker.release((noisy.id, 1))
    assert heard.wait(10)
    assert worker.expr("1 + 1") == 2


def test_an_object_made_of_host_functions_has_their_methods_and_special_methods(worker, call_with):
    made = call_with(
        "__import__('flambeau.values').values.make_object({'put': _0, '__call__': _1, '__len__': _2})",
        lambda x: x + 1,
        lambda: "called",
        lambda: 3,
    )
    target = HostSide.ref(made.id)
    assert worker.call(target, "put", 1) == 2
    assert worker.call(target, []) == "called"
    assert worker.call(target, op="len") == 3


# Progress and logs


def test_progress_and_logs_carry_the_tag_of_their_request(worker):
    worker.events.clear()
    worker.run(
        "import flambeau\ndef work():\n for n in range(3): flambeau.progress(n + 1, 3, 'drawing')\n flambeau.log('half \\ud800 done')"
    )
    worker.call(SCRATCH, "work", tag=31)
    events = [event for tag, event in worker.events if tag == 31]
    assert [(e["step"], e["total"], e["stage"]) for e in events[:3]] == [(1, 3, "drawing"), (2, 3, "drawing"), (3, 3, "drawing")]
    assert events[0]["elapsed_s"] >= 0
    assert events[3] == {"kind": "log", "message": "half \ud800 done"}


def test_a_flood_of_progress_is_thinned_and_the_last_one_arrives(worker):
    worker.events.clear()
    worker.run("import flambeau\ndef work():\n for n in range(20_000): flambeau.progress(n)")
    worker.call(SCRATCH, "work", tag=32)
    steps = [event["step"] for tag, event in worker.events if tag == 32]
    assert len(steps) < 300
    assert steps[-1] == 19_999
    assert steps == sorted(steps)


def test_threads_of_a_call_speak_for_it(worker):
    worker.events.clear()
    worker.run("import flambeau, threading\ndef work():\n t = threading.Thread(target=lambda: flambeau.log('aside')); t.start(); t.join()")
    worker.call(SCRATCH, "work", tag=33)
    assert worker.events == [(33, {"kind": "log", "message": "aside"})]


def test_bars_of_tqdm_become_progress_and_print_nothing():
    with Worker() as worker:
        worker.hello()
        worker.run("from tqdm.auto import tqdm\ndef work():\n for _ in tqdm(range(3), desc='Loading parts: ', mininterval=0): pass")
        worker.call(SCRATCH, "work", tag=34)
        events = [(e["step"], e["total"], e["stage"]) for tag, e in worker.events if tag == 34]
    assert events == [(0, 3, "Loading parts"), (1, 3, "Loading parts"), (2, 3, "Loading parts"), (3, 3, "Loading parts")]
    assert worker.stderr.text == ""


def test_the_functions_do_nothing_outside_of_a_worker(capfd):
    import flambeau

    flambeau.progress(1, 2)
    assert flambeau.cancelled() is False
    flambeau.log("said")
    assert capfd.readouterr().err == "flambeau: said\n"


def test_an_extension_of_the_wire_that_only_hosts_send_is_not_sent_by_a_worker(worker):
    function_value = msgpack.ExtType(codec.FUNCTION, msgpack.packb([12, 0]))
    assert worker.expr("_0", function_value).flags == 1
