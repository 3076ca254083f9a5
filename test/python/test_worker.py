"""Calls, results, handles and order, against a real worker process."""

from __future__ import annotations

import datetime
import math
import struct

import msgpack
import pytest
from flambeau import codec, placeholders, protocol
from worker_host import HostSide, Worker


def data_of(value):
    return bytes(value.data) if isinstance(value, placeholders.Attachment) else value


# Values to the host


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("None", None),
        ("True", True),
        ("2**53 + 1", 2**53 + 1),
        ("2**63", 2**63),
        ("-2**200", -(2**200)),
        ("1.5", 1.5),
        ("'caf\\xe9'", "café"),
        ("'\\ud800'", "\ud800"),
        ("b'\\0\\xff'", b"\0\xff"),
    ],
)
def test_scalars_come_by_value_exactly(worker, source, expected):
    value = worker.expr(source)
    assert (type(value), value) == (type(expected), expected)


def test_a_whole_float_stays_a_float_and_minus_zero_keeps_its_sign(worker):
    assert type(worker.expr("5.0")) is float
    assert math.copysign(1, worker.expr("-0.0")) == -1


def test_everything_else_stays_behind_a_handle_with_type_length_and_flags(worker):
    described = {source: worker.expr(source) for source in ("[1, 2]", "(1,)", "{}", "iter([])", "len", "object()", "range(10**9)")}
    assert {source: (h.type_name, h.length, h.flags) for source, h in described.items()} == {
        "[1, 2]": ("list", 2, 0),
        "(1,)": ("tuple", 1, 0),
        "{}": ("dict", 0, 0),
        "iter([])": ("list_iterator", None, 2),
        "len": ("builtin_function_or_method", None, 1),
        "object()": ("object", None, 0),
        "range(10**9)": ("range", 10**9, 0),
    }


def test_subclasses_of_scalars_keep_their_type_behind_a_handle(worker):
    assert worker.expr("__import__('http').HTTPStatus.OK").type_name == "http.HTTPStatus"
    assert worker.expr("__import__('numpy').float64(1)").type_name == "numpy.float64"


def test_an_object_whose_length_raises_or_whose_truth_is_ambiguous_is_described_all_the_same(worker):
    worker.run("class Odd:\n def __len__(self): raise RuntimeError('no')\n def __bool__(self): raise RuntimeError('no')")
    assert worker.call(HostSide.module("scratch"), "Odd").length is None


def test_large_bytes_follow_in_chunks(worker):
    value = worker.expr("bytes(range(256)) * 4096")
    assert bytes(value.data) == bytes(range(256)) * 4096


def test_two_large_results_in_flight_leave_room_for_pings(worker):
    calls = [worker.send_call("call", HostSide.module("flambeau.values"), ["evaluate"], ["b'x' * (48 << 20)"]) for _ in range(2)]
    for _ in range(5):
        worker.ping(timeout_s=5)
    assert [len(worker.answer(call).data) for call in calls] == [48 << 20] * 2


# Values from the host


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (8589934592, "8589934592"),
        (5.0, "5.0"),
        (-0.0, "-0.0"),
        (HostSide.ext(codec.TUPLE, [1, 2]), "(1, 2)"),
        (HostSide.ext(codec.SET, [True, [1]]), "frozenset({1})"),
        (HostSide.ext(codec.MAP, [[1, "a"], [None, "b"]]), "{1: 'a', None: 'b'}"),
        (HostSide.ext(codec.SLICE, [1, None, -1]), "slice(1, None, -1)"),
        (msgpack.ExtType(codec.ELLIPSIS, b""), "Ellipsis"),
        (msgpack.ExtType(codec.INT, (2**100).to_bytes(13, "little")), str(2**100)),
        (msgpack.ExtType(codec.COMPLEX, struct.pack(">dd", 1, 2)), "(1+2j)"),
        (
            HostSide.ext(codec.DATE, ["datetime", "2026-11-23T01:02:03.004Z"]),
            repr(datetime.datetime(2026, 11, 23, 1, 2, 3, 4000, datetime.timezone.utc)),
        ),
        (HostSide.ext(codec.DATE, ["timedelta", 1.5]), repr(datetime.timedelta(seconds=1.5))),
        (b"bytes", "b'bytes'"),
        ({"__proto__": 1, "then": 2}, "{'__proto__': 1, 'then': 2}"),
    ],
    ids=repr,
)
def test_values_arrive_with_their_python_type(worker, value, expected):
    assert worker.expr("repr(_0)", value) == expected


def test_a_call_whose_bytes_are_still_arriving_keeps_its_place(worker):
    worker.run("seen = []")
    scratch = HostSide.module("scratch")
    first = worker.send_call("call", scratch, ["seen", "append"], [HostSide.attach(901, 300_000)])
    second = worker.send_call("call", scratch, ["seen", "append"], ["later"])
    worker.ping()
    assert not any(kind == protocol.RESULT for kind, _, _ in worker.frames)
    for start in range(0, 300_000, protocol.CHUNK_BYTES):
        worker.send_raw(protocol.CHUNK, 901, b"b" * min(protocol.CHUNK_BYTES, 300_000 - start))
    worker.answer(first)
    worker.answer(second)
    assert worker.expr("[type(_0[0]).__name__, len(_0[0]), _0[1]] == ['bytes', 300000, 'later']", HostSide.path(scratch, "seen"))


def test_a_typed_array_arrives_as_a_writable_numpy_array(worker):
    array = HostSide.array("float32", None, struct.pack("<3f", 1, 2, 3))
    assert worker.expr("(_0.__setitem__(0, 9), str(_0.dtype), _0.tolist())[1:] == ('float32', [9.0, 2.0, 3.0])", array)


def test_a_typed_array_from_an_attachment_uses_the_memory_that_it_arrived_in(worker):
    call = worker.send_call(
        "call",
        HostSide.module("flambeau.values"),
        ["evaluate"],
        ["int(_0.sum())", HostSide.array("uint8", [2, 10000], HostSide.attach(902, 20000))],
    )
    worker.send_raw(protocol.CHUNK, 902, b"\1" * 20000)
    assert worker.answer(call) == 20000


def test_without_numpy_a_typed_array_becomes_an_array_array():
    with Worker(prelude="import sys; sys.modules['numpy'] = None") as worker:
        worker.hello()
        array = HostSide.array("float32", None, struct.pack("<2f", 1, 2))
        assert worker.expr("repr(_0)", array) == "array('f', [1.0, 2.0])"


def test_without_the_msgpack_library_the_worker_uses_its_own():
    with Worker(prelude="import sys; sys.modules['msgpack'] = None") as worker:
        worker.hello()
        assert worker.expr("__import__('flambeau.packing').packing._library.__name__") == "flambeau.purepack"
        assert worker.expr("_0 + 1", 2**70 and 41) == 42
        assert worker.call(HostSide.module("flambeau.values"), "evaluate", "[_0, {'a': (1, 2.5)}]", "é", op="call").length == 2


# Paths and operations


def test_get_set_and_delete_follow_attributes_and_items(worker):
    scratch = HostSide.module("scratch")
    worker.run("class Box: pass\nbox = Box(); box.items = {'a': [1, 2]}")
    assert worker.call(scratch, ["box", "items", ["a"], [-1]], op="get") == 2
    worker.call(scratch, ["box", "items", ["b"]], 5, op="set")
    worker.call(scratch, ["box", "name"], "new", op="set")
    assert worker.expr("_0.items['b'], _0.name", HostSide.path(scratch, "box")).length == 2
    worker.call(scratch, ["box", "items", ["a"]], op="delete")
    worker.call(scratch, ["box", "name"], op="delete")
    assert worker.expr("list(vars(_0)) == ['items'] and list(_0.items) == ['b']", HostSide.path(scratch, "box"))


def test_falsy_attributes_and_numeric_looking_keys_are_what_they_are(worker):
    scratch = HostSide.module("scratch")
    worker.run("class Box: pass\nfalsy = Box(); falsy.empty = []; falsy.zero = 0; falsy.text = ''; falsy.keys = {'3d': 1, '0': 2}")
    assert worker.call(scratch, ["falsy", "empty"], op="get").length == 0
    assert worker.call(scratch, ["falsy", "zero"], op="get") == 0
    assert worker.call(scratch, ["falsy", "text"], op="get") == ""
    assert worker.call(scratch, ["falsy", "keys", ["3d"]], op="get") == 1
    assert worker.call(scratch, ["falsy", "keys", ["0"]], op="get") == 2


def test_keyword_arguments_may_have_any_name(worker):
    names = {"self": 1, "cls": 2, "from": 3, "async": 4, "lambda": 5, "__x": 6}
    call = worker.send_call("call", HostSide.module("builtins"), ["dict"], [], names)
    assert worker.answer(worker.send_call("value", HostSide.ref(worker.answer(call).id))) == names


def test_iteration_ends_with_done_and_close_runs_the_generators_finally(worker):
    worker.run("log = []\ndef count():\n try:\n  for n in range(3): yield n\n finally: log.append('closed')")
    iterator = HostSide.ref(worker.call(worker_scratch(), "count", op="call").id)
    assert worker.call(iterator, op="next") == (False, [0])
    worker.call(iterator, op="close")
    assert worker.call(worker_scratch(), ["log", [0]], op="get") == "closed"
    assert worker.call(iterator, op="next") == (True, [])


def worker_scratch():
    return HostSide.module("scratch")


def test_items_that_are_objects_come_as_handles_under_ids_of_the_workers(worker):
    iterator = HostSide.ref(worker.call(HostSide.module("flambeau.values"), "evaluate", "iter([[1], [2]])").id)
    done, (item,) = worker.call(iterator, op="next")
    assert (done, item.type_name) == (False, "list")
    assert item.id >= protocol.FIRST_WORKER_ID
    assert worker.call(HostSide.ref(item.id), [[0]], op="get") == 1


def test_an_error_in_a_generator_is_an_error_and_not_its_end(worker):
    worker.run("def broken():\n yield 1\n raise ValueError('inside')")
    iterator = HostSide.ref(worker.call(worker_scratch(), "broken").id)
    worker.call(iterator, op="next")
    assert worker.failure(lambda: worker.call(iterator, op="next"))["message"] == "inside"


def test_iter_len_and_repr_ask_the_object(worker):
    items = HostSide.ref(worker.expr("[1, 2, 3]").id)
    assert worker.call(items, op="len") == 3
    assert worker.call(items, op="repr") == "[1, 2, 3]"
    steps = HostSide.ref(worker.call(items, op="iter").id)
    assert worker.call(steps, op="next") == (True, [1, 2, 3])


def test_context_managers_get_the_error_of_the_body_and_may_swallow_it(worker):
    worker.run(
        "class Manager:\n"
        " def __init__(self, swallow): self.swallow, self.seen = swallow, []\n"
        " def __enter__(self): return 'inside'\n"
        " def __exit__(self, kind, error, trace): self.seen.append(str(error)); return self.swallow\n"
        "strict, lenient = Manager(False), Manager(True)"
    )
    for name, swallowed in (("strict", False), ("lenient", True)):
        manager = HostSide.path(worker_scratch(), name)
        assert worker.call(manager, op="enter") == "inside"
        assert worker.call(manager, [], ["TypeError", "body"], op="exit") is swallowed
        assert worker.call(manager, [], None, op="exit") is swallowed
        assert worker.expr("_0.seen == ['TypeError: body', 'None']", manager)


def test_a_file_is_imported_once_and_again_when_it_changed(worker, tmp_path):
    (tmp_path / "neighbour.py").write_text("VALUE = 40")
    file = tmp_path / "edge.py"
    file.write_text("import neighbour\nloads = []\ndef answer(): loads.append(1); return neighbour.VALUE + len(loads)")
    assert worker.call(HostSide.file(file), "answer") == 41
    assert worker.call(HostSide.file(file), "answer") == 42
    file.write_text("def answer(): return 'a changed answer'")
    assert worker.call(HostSide.file(file), "answer") == "a changed answer"


def test_an_expression_sees_its_values_in_comprehensions_as_well(worker):
    assert worker.expr("[x + _1 for x in _0] == [2, 3]", [1, 2], 1)


# Pipelining, identity and lifetime


def test_a_call_may_name_the_result_of_one_that_has_not_been_answered(worker):
    first = worker.send_call("call", HostSide.module("builtins"), ["list"], [[3, 1, 2]])
    second = worker.send_call("call", HostSide.module("builtins"), ["sorted"], [HostSide.ref(first)])
    third = worker.send_call("get", HostSide.ref(second), [[0]])
    assert worker.answer(third) == 1
    worker.answer(first)
    worker.answer(second)


def test_what_builds_on_a_failed_call_is_not_run_and_fails_in_the_same_words(worker):
    worker.run("ran = []")
    first = worker.send_call("call", HostSide.module("math"), ["sqrt"], ["x"])
    second = worker.send_call("call", worker_scratch(), ["ran", "append"], [HostSide.ref(first)])
    third = worker.send_call("get", HostSide.ref(second), ["real"])
    failures = [worker.failure(lambda call=call: worker.answer(call)) for call in (first, second, third)]
    assert {failure["message"] for failure in failures} == {"must be real number, not str"}
    assert [failure.get("link") for failure in failures] == [None, first, first]
    assert worker.call(HostSide.path(worker_scratch(), "ran"), op="len") == 0


def test_the_same_object_comes_back_under_the_same_id_and_lives_until_all_counts_are_given_back(worker):
    worker.run("class Thing: pass\nimport weakref\ndef make():\n t = Thing(); watch.append(weakref.ref(t)); return t\nwatch = []")
    thing = worker.call(worker_scratch(), "make").id
    again = worker.send_call("call", HostSide.module("flambeau.values"), ["evaluate"], ["_0", HostSide.ref(thing)])
    assert worker.answer(again).id == thing
    alive = HostSide.path(worker_scratch(), "watch", [0])
    for given_back, lives in ([(thing, 1)], True), ([(again, 1)], True), ([(thing, 1)], False):
        worker.release(*given_back)
        assert worker.expr("_0() is not None", alive) is lives


def test_an_object_that_is_no_longer_kept_under_its_first_id_is_found_under_the_next(worker):
    first = worker.expr("[7]").id
    second = worker.send_call("call", HostSide.module("flambeau.values"), ["evaluate"], ["_0", HostSide.ref(first)])
    worker.answer(second)
    worker.release((first, 2))
    third = worker.expr("_0", HostSide.ref(second))
    assert third.id == second


def test_results_by_value_and_failures_are_kept_until_released():
    with Worker() as worker:
        worker.hello()
        before = worker.ping()["handles"]
        call = worker.send_call("call", HostSide.module("math"), ["sqrt"], [4])
        worker.answer(call)
        assert worker.call(HostSide.module("math"), "sqrt", HostSide.ref(call)) == math.sqrt(2)
        worker.release((call, 1), (call + 1, 1))
        worker.expr("0")
        assert worker.ping()["handles"] == before + 1


def test_a_released_id_is_stale_and_never_another_object(worker):
    thing = worker.expr("object()").id
    worker.release((thing, 1))
    failure = worker.failure(lambda: worker.call(HostSide.ref(thing), op="repr"))
    assert failure["code"] == "STALE_REF"


def test_releases_keep_their_place_among_the_calls(worker):
    thing = worker.expr("[1]").id
    late = worker.send_call("call", HostSide.module("time"), ["sleep"], [0.05])
    user = worker.send_call("len", HostSide.ref(thing))
    worker.release((thing, 1))
    assert worker.answer(user) == 1
    worker.answer(late)


def test_a_hundred_thousand_made_and_released_objects_leave_nothing_behind():
    with Worker() as worker:
        worker.hello()
        make = msgpack.packb(["call", HostSide.module("builtins"), ["object"], [], {}, 0], strict_types=True)
        for _ in range(20):
            calls = [next(worker.ids) for _ in range(1000)]
            for call in calls:
                worker.send_raw(protocol.CALL, call, make)
            worker.release(*[(call, 1) for call in calls])
        worker.expr("0")
        assert worker.ping()["handles"] == 1


def test_what_a_call_was_given_is_let_go_when_it_has_ended(worker):
    worker.run("import weakref\nclass Given: pass\ndef take(thing):\n global given; given = weakref.ref(thing)")
    thing = worker.call(worker_scratch(), "Given").id
    worker.call(worker_scratch(), "take", HostSide.ref(thing))
    worker.release((thing, 1))
    assert worker.expr("_0() is None", HostSide.path(worker_scratch(), "given"))


# What is refused


def test_other_lanes_are_refused_clearly(worker):
    call = next(worker.ids)
    worker.send_raw(protocol.CALL, call, msgpack.packb(["get", 1, [], [], {}, 0]), lane=3)
    failure = worker.failure(lambda: worker.answer(call))
    assert failure["code"] == "PROTOCOL_ERROR"
    assert "lane 3" in failure["message"]


@pytest.mark.parametrize("body", [b"\xc1", msgpack.packb([1, 2]), msgpack.packb(["get", 1, "path", [], {}, 0]), msgpack.packb("x")])
def test_a_call_that_cannot_be_read_fails_alone(worker, body):
    call = next(worker.ids)
    worker.send_raw(protocol.CALL, call, body)
    assert worker.failure(lambda: worker.answer(call))["code"] == "PROTOCOL_ERROR"
    assert worker.expr("1 + 1") == 2


def test_an_unknown_operation_fails_alone(worker):
    failure = worker.failure(lambda: worker.call(1, op="explode"))
    assert failure["code"] == "PROTOCOL_ERROR"
    assert "'explode'" in failure["message"]


def test_a_result_beyond_the_frame_limit_says_so(worker):
    failure = worker.failure(lambda: worker.expr("'x' * (65 << 20)"))
    assert failure["code"] == "TOO_LARGE"
    assert worker.expr("1 + 1") == 2
