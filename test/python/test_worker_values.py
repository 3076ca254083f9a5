"""`$value()`, `$array()` and pixels: what Python's data looks like on the other side."""

from __future__ import annotations

import datetime
import struct

import pytest
from flambeau import placeholders
from worker_host import HostSide


def value_of(worker, source, *values):
    """`py.expr` and then `$value()`, in one message."""
    call = worker.send_call("call", HostSide.module("flambeau.values"), ["evaluate"], [source, *values])
    copied = worker.send_call("value", HostSide.ref(call))
    worker.answer(call)
    return worker.answer(copied)


def numbers(array):
    data = array.data.data if isinstance(array.data, placeholders.Attachment) else array.data
    form = {"float32": "f", "float64": "d", "int64": "q", "int32": "i", "uint8": "B", "bool": "?", "uint16": "H"}[array.dtype]
    return array.dtype, array.shape, list(struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[1, 2.0, 'a', None, True, b'x', [2**70]]", [1, 2.0, "a", None, True, b"x", [2**70]]),
        ("(1, (2,))", (1, (2,))),
        ("{1, 2}", {1, 2}),
        ("frozenset()", frozenset()),
        ("{'a': {'b': []}}", {"a": {"b": []}}),
        ("{1: 'a', (1, 2): 'b', None: 'c', True: 'd'}", {1: "d", (1, 2): "b", None: "c"}),
        ("__import__('collections').OrderedDict(a=1)", {"a": 1}),
        ("__import__('collections').deque([1, 2])", [1, 2]),
        ("__import__('collections').namedtuple('P', 'x y')(1, 2)", (1, 2)),
        ("__import__('http').HTTPStatus.OK", 200),
        ("__import__('decimal').Decimal('1.10')", "1.10"),
        ("__import__('fractions').Fraction(1, 3)", "1/3"),
        ("__import__('uuid').UUID(int=1)", "00000000-0000-0000-0000-000000000001"),
        ("__import__('pathlib').Path('/a/b')", "/a/b"),
        ("bytearray(b'xy')", b"xy"),
        ("memoryview(b'abcdef')[::2]", b"ace"),
        ("1 + 2j", 1 + 2j),
        ("__import__('datetime').datetime(2026, 11, 23, 1, 2, 3, 4)", datetime.datetime(2026, 11, 23, 1, 2, 3, 4)),
        ("__import__('datetime').timedelta(microseconds=1)", datetime.timedelta(microseconds=1)),
        ("'a\\ud800'", "a\ud800"),
        ("__import__('numpy').float32(0.5)", 0.5),
        ("__import__('numpy').int64(7)", 7),
        ("__import__('numpy').bool_(True)", True),
        ("__import__('numpy').array(3)", 3),
        ("__import__('numpy').datetime64('2026-11-23T01:02:03')", datetime.datetime(2026, 11, 23, 1, 2, 3)),
        ("__import__('numpy').array(['a', 'bc'])", ["a", "bc"]),
        ("__import__('numpy').datetime64('2026-11-23T01:02:03.123456789')", "2026-11-23T01:02:03.123456789"),
        ("__import__('numpy').timedelta64(1_500_000_000, 'ns')", 1.5),
        ("__import__('numpy').array(['2026-11-23'], 'datetime64[ns]')", ["2026-11-23T00:00:00.000000000"]),
        ("__import__('numpy').datetime64('NaT')", None),
        ("range(2, 8, 3)", [2, 5]),
        ("{'a': 1, 'b': 2}.items()", [("a", 1), ("b", 2)]),
        ("{'a': 1}.keys()", ["a"]),
        ("{'__proto__': 1, 'constructor': 2}", {"__proto__": 1, "constructor": 2}),
    ],
)
def test_plain_data_is_copied_with_its_types(worker, source, expected):
    value = value_of(worker, source)
    assert (type(value), value) == (type(expected), expected)


def test_dataclasses_become_objects_of_their_fields(worker):
    worker.run("import dataclasses\n@dataclasses.dataclass\nclass Point:\n x: int\n next: object = None")
    assert value_of(worker, "_0.Point(1, _0.Point(2))", HostSide.module("scratch")) == {"x": 1, "next": {"x": 2, "next": None}}


def test_pydantic_models_become_objects_of_their_fields(worker):
    pytest.importorskip("pydantic")
    worker.run("import pydantic\nclass Point(pydantic.BaseModel):\n x: int\n next: 'Point | None' = None")
    assert value_of(worker, "_0.Point(x=1, next=_0.Point(x=2))", HostSide.module("scratch")) == {"x": 1, "next": {"x": 2, "next": None}}


def test_arrays_inside_keep_their_element_type(worker):
    value = value_of(worker, "{'a': __import__('numpy').arange(4).reshape(2, 2), 'b': __import__('array').array('f', [1.5])}")
    assert numbers(value["a"]) == ("int64", [2, 2], [0, 1, 2, 3])
    assert numbers(value["b"]) == ("float32", [1], [1.5])


def test_half_floats_are_widened_since_javascript_has_no_array_for_them(worker):
    assert numbers(value_of(worker, "__import__('numpy').array([0.5, 2], 'float16')")) == ("float32", [2], [0.5, 2.0])


def test_strided_fortran_and_big_endian_arrays_arrive_in_c_order(worker):
    source = "[__import__('numpy').arange(6, dtype='int32').reshape(2, 3).T, __import__('numpy').arange(6, dtype='>i4')[::2]]"
    assert [numbers(array) for array in value_of(worker, source)] == [("int32", [3, 2], [0, 3, 1, 4, 2, 5]), ("int32", [3], [0, 2, 4])]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("{'a': [1, 2, 3, {'b': object()}]}", "$.a[3].b"),
        ("[__import__('threading').Lock()]", "$[0]"),
        ("{(1, 2): len}", "$[(1, 2)]"),
        ("{object(): 1}", "$ (a key)"),
        ("[(n for n in [])]", "$[0]"),
        ("[[__import__('numpy').array([None])]]", "$[0][0]"),
        ("[__import__('numpy').zeros(1, 'complex64')]", "$[0]"),
        ("[__import__('numpy').zeros(1, 'i4,f4')]", "$[0]"),
        ("[__import__('numpy').ma.array([1, 2], mask=[0, 1])]", "$[0]"),
        ("{'all': range(10**9)}", "$.all"),
    ],
)
def test_what_cannot_be_copied_is_named_by_its_path(worker, source, path):
    failure = worker.failure(lambda: value_of(worker, source))
    assert failure["code"] == "NOT_SENDABLE"
    assert failure["message"].startswith(path + (" " if path != "$ (a key)" else "")) or failure["message"].startswith(f"{path}:")


def test_cycles_and_endless_nesting_are_errors_with_a_path_and_overflow_nothing(worker):
    worker.run("cycle = {'a': [1]}\ncycle['a'].append(cycle)\ndeep = []\nfor _ in range(10000): deep = [deep]")
    for name, words in (("cycle", "$.a[1] is a dict, the same one as $:"), ("deep", "nested more than 124 deep")):
        call = worker.send_call("value", HostSide.module("scratch"), [name])
        assert words in worker.failure(lambda call=call: worker.answer(call))["message"]
    assert worker.expr("1 + 1") == 2


def test_the_same_object_twice_is_no_cycle(worker):
    assert value_of(worker, "(lambda x: [x, x])([1])") == [[1], [1]]


def test_values_nested_to_the_limit_travel(worker):
    worker.run("nested = 1\nfor _ in range(120): nested = [nested]")
    value = worker.answer(worker.send_call("value", HostSide.module("scratch"), ["nested"]))
    for _ in range(120):
        (value,) = value
    assert value == 1


def test_an_endless_range_is_refused_by_its_size(worker):
    failure = worker.failure(lambda: value_of(worker, "[0] * 5_000_000"))
    assert "4000000 items" in failure["message"]


def array_of(worker, source, dtype=None):
    call = worker.send_call("call", HostSide.module("flambeau.values"), ["evaluate"], [source])
    asked = worker.send_call("array", HostSide.ref(call), [], [dtype])
    worker.answer(call)
    return worker.answer(asked)


def test_an_array_comes_with_exactly_the_element_type_asked_for(worker):
    assert numbers(array_of(worker, "__import__('numpy').ones((1, 2), 'float32')", "float32")) == ("float32", [1, 2], [1.0, 1.0])
    assert numbers(array_of(worker, "__import__('numpy').array([True])", "uint8"))[0] == "bool"
    failure = worker.failure(lambda: array_of(worker, "__import__('numpy').ones(2)", "float32"))
    assert "float64" in failure["message"]
    assert ".astype('float32')" in failure["message"]


def test_something_that_is_no_array_is_refused_by_its_type(worker):
    assert "builtins.dict" in worker.failure(lambda: array_of(worker, "{}", "float32"))["message"]


def test_numbers_that_were_sent_do_not_change_when_python_writes_later(worker):
    worker.run("import numpy\nnumbers = numpy.zeros(1_000_000, 'uint8')")
    asked = worker.send_call("array", HostSide.module("scratch"), ["numbers"], ["uint8"])
    later = worker.send_call("call", HostSide.module("scratch"), ["numbers", "fill"], [9])
    array = worker.answer(asked)
    worker.answer(later)
    assert set(array.data.data) == {0}


@pytest.mark.parametrize(
    ("source", "channels", "first"),
    [
        ("new('L', (2, 1), 7)", 1, [7]),
        ("new('1', (2, 1), 1)", 1, [255]),
        ("new('RGB', (2, 1), (1, 2, 3))", 3, [1, 2, 3]),
        ("new('RGBA', (2, 1), (1, 2, 3, 4))", 4, [1, 2, 3, 4]),
        ("new('LA', (2, 1), (9, 8))", 4, [9, 9, 9, 8]),
        ("new('P', (2, 1), 0)", 3, [0, 0, 0]),
        ("new('CMYK', (2, 1), (0, 0, 0, 0))", 3, [255, 255, 255]),
        ("new('I;16', (2, 1), 0x8000)", 1, [128]),
        ("new('F', (2, 1), 12.0)", 1, [12]),
        ("new('RGB', (0, 0))", 3, []),
    ],
)
def test_images_of_every_mode_become_grey_rgb_or_rgba(worker, source, channels, first):
    call = worker.send_call("call", HostSide.module("flambeau.values"), ["evaluate"], [f"__import__('PIL.Image').Image.{source}"])
    pixels = worker.answer(worker.send_call("pixels", HostSide.ref(call)))
    assert pixels["channels"] == channels
    assert list(pixels["data"][: len(first)]) == first
    assert len(pixels["data"]) == pixels["width"] * pixels["height"] * channels
