"""What a failed call tells, what it hints at, and that it leaves nothing behind."""

from __future__ import annotations

import sys

import pytest
from worker_host import HostSide, Worker

SCRATCH = HostSide.module("scratch")


def failing(worker, source, *args, **kwargs):
    """Defines `fail` by `source` and calls it."""
    worker.run(source)
    return worker.failure(lambda: worker.call(SCRATCH, "fail", *args, **kwargs))


def test_a_failure_names_type_bases_message_and_the_users_own_frames_only(worker):
    failure = failing(worker, "class Own(ValueError): pass\ndef inner(): raise Own('what happened')\ndef fail(): inner()")
    assert failure["type"] == "scratch.Own"
    assert failure["mro"] == ["scratch.Own", "ValueError", "Exception", "BaseException"]
    assert failure["message"] == "what happened"
    assert "in inner" in failure["traceback"]
    assert "in fail" in failure["traceback"]
    assert "dispatch.py" not in failure["traceback"]
    assert "operations.py" not in failure["traceback"]
    assert failure["traceback"].endswith("scratch.Own: what happened")


def test_causes_and_contexts_are_nested(worker):
    source = (
        "def fail():\n try:\n  try: 1 / 0\n  except ZeroDivisionError as e: raise KeyError('k') from e\n"
        " except KeyError: raise ValueError('last')"
    )
    failure = failing(worker, source)
    assert [failure["type"], failure["cause"]["type"], failure["cause"]["cause"]["type"]] == ["ValueError", "KeyError", "ZeroDivisionError"]


def test_from_none_hides_the_context(worker):
    failure = failing(worker, "def fail():\n try: 1 / 0\n except ZeroDivisionError: raise ValueError('only') from None")
    assert "cause" not in failure


def test_a_chain_of_a_thousand_causes_is_cut(worker):
    source = "def fail():\n error = None\n for n in range(1000):\n  new = ValueError(n); new.__cause__ = error; error = new\n raise error"
    failure = failing(worker, source)
    depth = 0
    while failure is not None:
        failure, depth = failure.get("cause"), depth + 1
    assert depth == 16


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups and notes came with Python 3.11")
def test_notes_and_the_members_of_a_group_travel(worker):
    failure = failing(
        worker, "def fail():\n error = ExceptionGroup('several', [ValueError('a'), KeyError('b')])\n error.add_note('a note')\n raise error"
    )
    assert failure["message"] == "several (2 sub-exceptions)\na note\n  ValueError: a\n  KeyError: 'b'"
    assert [member["type"] for member in failure["errors"]] == ["ValueError", "KeyError"]


def test_a_message_of_fifty_megabytes_is_cut(worker):
    failure = failing(worker, "def fail(): raise ValueError('x' * (50 << 20))")
    assert len(failure["message"]) < 70_000
    assert "more characters" in failure["message"]


def test_a_deep_traceback_is_folded(worker):
    failure = failing(worker, "def a(n):\n if n: b(n - 1)\n raise ValueError('deep')\ndef b(n): a(n)\ndef fail(): a(400)")
    assert len(failure["traceback"].splitlines()) <= 201
    assert "lines folded" in failure["traceback"]


def test_an_error_in_the_errors_own_text_does_not_hide_it(worker):
    failure = failing(
        worker, "class Bad(Exception):\n def __str__(self): raise RuntimeError('in str')\n __repr__ = __str__\ndef fail(): raise Bad()"
    )
    assert failure["type"] == "scratch.Bad"
    assert "RuntimeError" in failure["message"]


def test_a_syntax_error_shows_its_caret(worker):
    assert "^" in worker.failure(lambda: worker.expr("1 + )"))["traceback"]


def test_lone_surrogates_in_a_message_do_not_break_it(worker):
    assert "\\udc80" in failing(worker, "def fail(): raise ValueError('\\udc80')")["message"]


@pytest.mark.parametrize(
    "raised",
    ["SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()", "MemoryError()", "StopIteration(1)", "BaseException('base')"],
)
def test_every_exception_rejects_only_its_call(worker, raised):
    failure = failing(worker, f"def fail(): raise {raised}")
    assert failure["type"] == raised.partition("(")[0]
    assert worker.expr("1 + 1") == 2


def test_a_recursion_error_rejects_only_its_call(worker):
    assert failing(worker, "def fail(): fail()")["type"] == "RecursionError"
    assert worker.expr("1 + 1") == 2


def test_a_memory_error_tells_what_is_alive(worker):
    failure = failing(worker, "def fail(): raise MemoryError('full')")
    assert failure["code"] == "OUT_OF_MEMORY"
    assert failure["live"]["handles"] > 0


def test_no_local_of_a_failed_call_stays_alive(worker):
    worker.run(
        "import weakref\nclass Big: pass\n"
        "def inner(big):\n kept = big\n raise ValueError('no')\n"
        "def fail():\n global seen\n local = Big(); seen = weakref.ref(local)\n"
        " try: inner(local)\n except ValueError as e: raise TypeError('outer') from e"
    )
    worker.failure(lambda: worker.call(SCRATCH, "fail"))
    assert worker.expr("_0() is None", HostSide.path(SCRATCH, "seen"))


def test_an_int_where_a_float_belongs_is_hinted_at(worker):
    source = "def fail(temperature):\n if type(temperature) is not float: raise ValueError('`temperature` has to be a positive float')"
    assert "py.float(1)" in failing(worker, source, temperature=1)["hint"]


def test_an_unexpected_keyword_is_hinted_at_with_the_real_signature(worker):
    failure = failing(worker, "def fail(one, *, two=2): pass", 1, three=3)
    assert "py.dict()" in failure["hint"]
    assert "fail(one, *, two=2)" in failure["hint"]


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("[1]", "length", "$length"),
        ("[1]", "map", "for await"),
        ("(1,)", "forEach", "for await"),
        ("{}", "size", "$length"),
        ("[1]", "push", ".append(item)"),
        ("'a'", "toUpperCase", ".upper()"),
        ("{1}", "has", "py.expr"),
    ],
)
def test_a_member_that_only_javascript_has_is_answered_with_what_to_write(worker, source, name, words):
    worker.run(f"made = {source}")
    for op in ("get", "call"):
        failure = worker.failure(lambda op=op: worker.call(SCRATCH, ["made", name], op=op))
        assert words in failure["hint"]
        assert failure["hint"].startswith(f"{name} is JavaScript's")


def test_a_name_that_fails_inside_of_python_has_no_such_hint(worker):
    assert "hint" not in failing(worker, "def fail(): [1].length")


@pytest.mark.parametrize(("module", "package"), [("not_there_at_all", "not-there-at-all"), ("cv2.nothing", "opencv-python-headless")])
def test_a_missing_module_names_the_requirement_to_add(worker, module, package):
    failure = worker.failure(lambda: worker.call(HostSide.module(module), op="get"))
    assert f'"{package}"' in failure["hint"]


def test_a_missing_part_of_a_package_that_is_there_has_no_such_hint(worker):
    assert "hint" not in worker.failure(lambda: worker.call(HostSide.module("json.not_there"), op="get"))


@pytest.mark.parametrize(
    "raised",
    [
        "OSError(\"We couldn't connect to 'https://huggingface.co' to load the files\")",
        "OSError(\"acme/model is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'\")",
    ],
)
def test_a_model_that_cannot_be_reached_says_what_to_try(worker, raised):
    failure = failing(worker, f"def fail(name): raise {raised}", "acme/model")
    assert failure["code"] == "MODEL_UNREACHABLE"
    for word in ("acme/model", "HF_HUB_OFFLINE", "local folder", "tinySdxl()"):
        assert word in failure["hint"]


def test_a_hub_error_behind_another_error_is_recognised(worker):
    source = (
        "import types, sys\nhub = types.ModuleType('huggingface_hub.errors')\n"
        "class LocalEntryNotFoundError(Exception): pass\nLocalEntryNotFoundError.__module__ = 'huggingface_hub.errors'\n"
        "def fail():\n try: raise LocalEntryNotFoundError('not cached')\n except Exception as e: raise EnvironmentError('outer') from e"
    )
    assert failing(worker, source)["code"] == "MODEL_UNREACHABLE"


def test_a_file_that_a_reachable_repository_does_not_have_is_no_network_matter(worker):
    source = (
        "class RemoteEntryNotFoundError(Exception): pass\nRemoteEntryNotFoundError.__module__ = 'huggingface_hub.errors'\n"
        "def fail(): raise RemoteEntryNotFoundError('404 for unet/model.fp16.safetensors')"
    )
    assert "code" not in failing(worker, source)


def test_a_network_error_that_has_nothing_to_do_with_models_is_left_alone(worker):
    source = (
        "class ConnectionError(Exception): pass\nConnectionError.__module__ = 'requests.exceptions'\n"
        "def fail(): raise ConnectionError('api.example.com')"
    )
    assert "code" not in failing(worker, source)


def test_a_stdlib_module_that_prints_and_exits_at_import_rejects_only_that_call(tmp_path):
    (tmp_path / "leaving.py").write_text("print('bye'); import sys; sys.exit(4)")
    with Worker(setup={"paths": [str(tmp_path)]}) as worker:
        worker.hello()
        assert worker.failure(lambda: worker.call(HostSide.module("leaving"), op="get"))["type"] == "SystemExit"
        assert worker.expr("1 + 1") == 2
    assert "bye" in worker.stdout.text
