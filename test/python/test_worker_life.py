"""Start, streams, liveness and the end of the worker process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from flambeau import protocol
from worker_host import PYTHON, PYTHON_FOLDER, WAIT_S, HostSide, Worker

SCRATCH = HostSide.module("scratch")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def gone(pid: int, within_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while alive(pid):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def test_hello_tells_who_it_is():
    with Worker() as worker:
        hello = worker.hello()
        assert hello["pid"] == worker.process.pid
        assert hello["python"].startswith("3.")
        assert (hello["protocol"], hello["version"], hello["platform"]) == ("flambeau", 1, sys.platform)


def test_a_host_of_another_version_is_refused_naming_both():
    with Worker(version=2) as worker:
        assert worker.process.wait(WAIT_S) == 76
    assert "version 2" in worker.stderr.text
    assert "this worker 1" in worker.stderr.text


def test_started_by_hand_it_says_what_it_is():
    boot = f"import sys; sys.path.insert(0, {str(PYTHON_FOLDER)!r}); from flambeau.__main__ import main; main()"
    ran = subprocess.run([sys.executable, "-I", "-c", boot], capture_output=True, text=True, timeout=WAIT_S)
    assert ran.returncode == 64
    assert "file descriptor 3" in ran.stderr


def test_setup_puts_paths_argv_and_threads(tmp_path):
    (tmp_path / "app_module.py").write_text("VALUE = 5")
    with Worker(setup={"paths": [str(tmp_path)], "argv0": "app.ts", "threads": 3}, environment={"OMP_NUM_THREADS": ""}) as worker:
        worker.hello()
        assert worker.call(HostSide.module("app_module"), ["VALUE"], op="get") == 5
        assert worker.expr("__import__('sys').argv == ['app.ts']")
        assert worker.expr("__import__('os').environ['MKL_NUM_THREADS']") == "3"


# What the start may import beside what every interpreter of this environment has, and beside what is ours: each of them for a reason
# that is not a type or a class of convenience. `datetime` and `collections` are msgpack's as well.
AT_BOOT = frozenset(
    [
        "__future__",
        "_ctypes",
        "_datetime",
        "_pydatetime",
        "_queue",
        "_struct",
        "collections",
        "datetime",
        "faulthandler",
        "gc",
        "itertools",
        "keyword",
        "math",
        "msgpack",
        "operator",
        "reprlib",
        "select",
        "struct",
        "_collections",
        "_operator",
    ]
)


def test_the_start_imports_what_is_listed_and_nothing_else():
    names = "' '.join(__import__('sys').modules)"
    bare = subprocess.run([PYTHON, "-I", "-X", "utf8", "-c", f"print({names})"], capture_output=True, text=True, check=True).stdout
    with Worker() as worker:
        worker.hello()
        loaded = set(worker.expr(names).split()) - set(bare.split())
    of_msgpack = {name for name in loaded if "cython" in name}
    assert {name for name in loaded - of_msgpack if name.partition(".")[0] not in AT_BOOT | {"flambeau"}} == set()
    ours_later = {"arrays", "failures", "hints", "plain", "toolkit", "optimize"}
    assert {name for name in loaded if name.removeprefix("flambeau.") in ours_later} == set()


def test_the_start_costs_a_few_times_a_bare_interpreter():
    """In processor time and as a ratio, so that a loaded machine does not fail it: 28 ms against 15, with the first call.

    numpy alone would add 80. What exactly may be imported is the test above.
    """
    clock = "__import__('time').process_time()"

    def bare_s() -> float:
        # With a function between fork and exec, as the worker: the copy of a large test process's page tables counts for both.
        command = [PYTHON, "-I", "-X", "utf8", "-c", f"print({clock})"]
        return float(subprocess.run(command, capture_output=True, check=True, preexec_fn=lambda: None).stdout)

    def worker_s() -> float:
        with Worker() as worker:
            worker.hello()
            return worker.expr(clock)

    rounds = [(bare_s(), worker_s()) for _ in range(4)]
    assert min(worker for _, worker in rounds) < 5 * min(bare for bare, _ in rounds)


# Liveness


def test_pings_are_answered_while_python_is_busy_and_tell_what_runs(worker):
    worker.run("def busy():\n import time\n end = time.monotonic() + 0.6\n while time.monotonic() < end: pass")
    call = worker.send_call("call", SCRATCH, ["busy"])
    queued = worker.send_call("call", HostSide.module("math"), ["sqrt"], [4])
    worker.until_running(call)
    time.sleep(0.1)
    pong = worker.ping(timeout_s=5)
    assert (pong["running"], pong["queued"]) == (call, 1)
    assert 50 <= pong["running_ms"] < 30_000
    worker.answer(call)
    worker.answer(queued)
    assert worker.ping()["running"] is None


def test_a_dump_shows_where_the_main_thread_is(worker):
    worker.run("def where_am_i():\n import time\n time.sleep(0.5)")
    call = worker.send_call("call", SCRATCH, ["where_am_i"])
    worker.until_running(call)
    worker.send(protocol.DUMP, 5, None)
    stack = worker.wait_for(lambda kind, at, _: kind == protocol.STACK and at == 5)[2]
    assert "in where_am_i" in stack
    worker.answer(call)


def test_sigusr1_writes_the_main_threads_stack_to_stderr_and_hurts_nothing():
    with Worker() as worker:
        worker.hello()
        worker.expr("0")
        for _ in range(50):
            worker.process.send_signal(signal.SIGUSR1)
            worker.expr("0")
    assert "flambeau" in worker.stderr.text
    assert "most recent call first" in worker.stderr.text


def test_control_is_answered_at_every_moment_of_calls_short_and_long(worker):
    """The wire changes hands between two threads while a call runs, and back after it."""
    for step in range(200):
        call = worker.send_call("call", HostSide.module("time"), ["sleep"], [step % 5 * 0.001])
        time.sleep(step % 7 * 0.0005)
        assert worker.ping(timeout_s=5)["running"] in (call, None)
        worker.answer(call, timeout_s=5)


def test_a_call_behind_many_short_ones_can_be_cancelled_before_it_begins(worker):
    worker.run("ran = []")
    short = [worker.send_call("call", HostSide.module("time"), ["sleep"], [0.0005]) for _ in range(200)]
    last = worker.send_call("call", SCRATCH, ["ran", "append"], [1])
    worker.cancel(last)
    assert worker.failure(lambda: worker.answer(last))["code"] == "CANCELLED"
    for call in short:
        worker.answer(call)
    assert worker.expr("len(_0)", HostSide.path(SCRATCH, "ran")) == 0


def test_a_finalizer_that_calls_the_host_in_the_middle_of_reading_does_not_stop_the_worker():
    with Worker() as worker:
        worker.hello()
        worker.functions[1] = lambda: None
        worker.run(
            "import gc\n"
            "class Cycle:\n"
            " def __init__(self, function): self.me, self.function = self, function\n"
            " def __del__(self): self.function()\n"
            "def leave(function): Cycle(function); gc.set_threshold(1)"
        )
        worker.call(SCRATCH, "leave", HostSide.function(1))
        for _ in range(20):
            assert worker.expr("1 + 1") == 2


# Streams


def test_what_is_printed_is_a_log_and_never_the_protocol():
    with Worker() as worker:
        worker.hello()
        worker.expr("print('a line', end='\\n', flush=False)")
        worker.expr("__import__('os').write(1, b'\\xff raw\\n')")
        worker.expr("__import__('subprocess').run(['echo', 'a child']).returncode")
        worker.expr("print('\\ud800 \\xe9')")
        worker.expr("__import__('os').write(3, b'to fd 3')")
        assert worker.expr("1 + 1") == 2
    assert worker.stdout.data == b"a line\n\xff raw\na child\n\\ud800 \xc3\xa9\n"


def test_input_gives_an_end_of_file_and_not_a_hang(worker):
    assert worker.failure(lambda: worker.expr("input()"))["type"] == "EOFError"


@pytest.mark.parametrize(
    "bent",
    [
        "__import__('os').close(3)",
        "__import__('os').closerange(3, 256)",
        "__import__('os').chdir('/')",
        "setattr(__import__('sys'), 'stdout', None)",
        "setattr(__import__('sys'), 'stderr', None)",
        "__import__('gc').disable()",
        "__import__('sys').setrecursionlimit(50)",
        "__import__('signal').signal(2, __import__('signal').default_int_handler)",
        "setattr(__import__('sys'), 'argv', None)",
        "__import__('socket').setdefaulttimeout(0.001)",
    ],
)
def test_user_code_that_bends_the_process_does_not_break_the_worker(bent):
    with Worker() as worker:
        worker.hello()
        worker.send_call("call", HostSide.module("flambeau.values"), ["evaluate"], [bent])
        assert worker.expr("1 + 1") == 2
        assert worker.failure(lambda: worker.expr("1 / 0"))["type"] == "ZeroDivisionError"


# The end


def test_shutdown_runs_exit_handlers_and_exits_with_0(tmp_path):
    with Worker() as worker:
        worker.hello()
        worker.run(f"import atexit\natexit.register(lambda: open({str(tmp_path / 'left')!r}, 'w').write('bye'))")
        worker.send(protocol.SHUTDOWN, 0, None)
        assert worker.process.wait(WAIT_S) == 0
    assert (tmp_path / "left").read_text() == "bye"


def test_shutdown_joins_threads_flushes_what_c_has_buffered_and_does_not_take_modules_apart(tmp_path):
    with Worker() as worker:
        worker.hello()
        worker.run(
            "import ctypes, threading, time\n"
            "class Slow:\n def __del__(self): time.sleep(600)\n"
            "slow = Slow()\n"
            "ctypes.CDLL(None).printf(b'of C')\n"
            f"def work():\n time.sleep(0.2)\n open({str(tmp_path / 'left')!r}, 'w').close()\n"
            "threading.Thread(target=work).start()"
        )
        worker.send(protocol.SHUTDOWN, 0, None)
        assert worker.process.wait(WAIT_S) == 0
    assert worker.stdout.text == "of C"
    assert (tmp_path / "left").exists()


def test_an_exit_handler_that_fails_or_hangs_is_not_waited_for():
    for handler in ("1 / 0", "time.sleep(600)"):
        with Worker() as worker:
            worker.hello()
            worker.run(f"import atexit, time\natexit.register(lambda: {handler})")
            worker.send(protocol.SHUTDOWN, 0, None)
            assert worker.process.wait(WAIT_S) == 0


def test_shutdown_finishes_nothing_that_waits_in_the_queue(tmp_path):
    with Worker() as worker:
        worker.hello()
        worker.run(f"import atexit\natexit.register(lambda: open({str(tmp_path / 'left')!r}, 'w').write('bye'))")
        for _ in range(20):
            worker.send_call("call", HostSide.module("time"), ["sleep"], [60])
        worker.send(protocol.SHUTDOWN, 0, None)
        assert worker.process.wait(5) == 0
    assert (tmp_path / "left").read_text() == "bye"


@pytest.mark.parametrize("body", ["import time; time.sleep(60)", "while True:\n  try: time.sleep(60)\n  except BaseException: pass"])
def test_shutdown_does_not_wait_for_a_call(body):
    with Worker() as worker:
        worker.hello()
        worker.run(f"import time\ndef work():\n {body}")
        call = worker.send_call("call", SCRATCH, ["work"])
        worker.until_running(call)
        worker.send(protocol.SHUTDOWN, 0, None)
        assert worker.process.wait(5) == 0


def test_the_worker_ends_with_the_wire_also_in_the_middle_of_a_call():
    worker = Worker()
    worker.hello()
    worker.run("def work():\n while True: pass")
    call = worker.send_call("call", SCRATCH, ["work"])
    worker.until_running(call)
    worker.close()
    assert gone(worker.process.pid)


def test_unread_replies_do_not_keep_it_alive_when_the_host_goes():
    worker = Worker()
    worker.hello()
    for _ in range(200):
        worker.send_call("call", HostSide.module("flambeau.values"), ["evaluate"], ["'x' * 10_000"])
    worker.close()
    assert gone(worker.process.pid)


HOST = """
import sys, time
sys.path[:0] = {paths!r}
from worker_host import HostSide, Worker
worker = Worker()
worker.hello()
worker.run({source!r})
call = worker.send_call("call", HostSide.module("scratch"), ["work"])
if {running}: worker.until_running(call)
print(worker.process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("source", ["def work(): sorted(range(200_000_000), key=hash)", "def work():\n import time; time.sleep(60)"])
def test_a_host_that_is_killed_takes_the_worker_along_even_in_c_code_that_holds_the_gil(source):
    paths = [str(PYTHON_FOLDER), os.path.dirname(__file__)]
    script = HOST.format(paths=paths, source=source, running="sleep" in source)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
        pid = int(host.stdout.readline())
        time.sleep(0.3)
        assert alive(pid)
        host.kill()
        assert gone(pid, 3)


def test_children_end_with_the_worker_and_forked_ones_do_not_hold_the_wire():
    worker = Worker()
    worker.hello()
    forked = worker.expr("(lambda pid: pid or __import__('time').sleep(60))(__import__('os').fork())")
    spawned = worker.expr("__import__('subprocess').Popen(['sleep', '60']).pid")
    assert alive(forked)
    assert not any("socket" in os.readlink(f"/proc/{forked}/fd/{fd}") for fd in os.listdir(f"/proc/{forked}/fd"))
    worker.close()
    assert gone(forked)
    assert gone(spawned)


def test_a_forked_child_that_comes_back_from_user_code_answers_nothing(worker):
    worker.run("import os\ndef work():\n pid = os.fork()\n return 'parent' if pid else 'child'")
    assert worker.call(SCRATCH, "work") == "parent"
    assert worker.expr("1 + 1") == 2
    assert not any(kind == protocol.RESULT for kind, _, _ in worker.frames)


def test_a_forked_child_that_calls_the_host_is_refused_and_takes_no_call_of_its_parents(worker):
    worker.functions[3] = lambda: "answered"
    worker.run(
        "import os\nran = []\n"
        "def work(function):\n pid = os.fork()\n if pid: return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        " try: function()\n except Exception as error: os._exit(7 if type(error).__name__ == 'WireClosed' else 8)\n os._exit(9)"
    )
    call = worker.send_call("call", SCRATCH, ["work"], [HostSide.function(3)])
    behind = [worker.send_call("call", SCRATCH, ["ran", "append"], [step]) for step in range(50)]
    assert worker.answer(call) == 7
    for step in behind:
        worker.answer(step)
    assert worker.expr("len(_0)", HostSide.path(SCRATCH, "ran")) == 50


def test_progress_logs_and_bars_in_a_forked_child_are_harmless():
    with Worker() as worker:
        worker.hello()
        worker.run(
            "import multiprocessing, flambeau\n"
            "def child():\n flambeau.progress(1, 2); flambeau.log('from the child'); assert not flambeau.cancelled()\n"
            "def work():\n p = multiprocessing.get_context('fork').Process(target=child); p.start(); p.join(); return p.exitcode"
        )
        assert worker.call(SCRATCH, "work") == 0
    assert "flambeau: from the child" in worker.stderr.text


def test_a_polluted_wire_ends_the_worker_with_a_clear_line():
    with Worker() as worker:
        worker.hello()
        worker.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        worker.process.wait(WAIT_S)
    assert "expected a frame header" in worker.stderr.text


def test_a_crash_of_user_code_shows_as_the_signal_that_it_was():
    with Worker() as worker:
        worker.hello()
        worker.send_call("call", HostSide.module("os"), ["abort"])
        assert worker.process.wait(WAIT_S) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in worker.stderr.text
