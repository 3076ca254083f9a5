"""Compiled packages: built in a child process, raced on the program's own calls, kept, loaded by another process.

On the tests' clock only a module's own forward takes time, so that a package always wins.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flambeau.optimize.graph import build
from flambeau.optimize.graph.build import BuildError
from optimize_nets import Bending, Net, image
from optimize_packages import CALLS, near, needs_compiler, optimized, why


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@needs_compiler
def test_a_package_is_built_compared_raced_and_reported(built):
    report = built[1]
    assert (report.state, report.applied) == ("done", ("graph",)), report
    assert report.speed_up > 2
    assert report.relative_error < 1e-5


@needs_compiler
def test_another_process_has_the_package_from_its_first_call(store):
    net, made = optimized(store)
    net(image())
    assert made.report(net).applied == ("graph",), why(made, net)
    before_s = net.clock.now_s
    assert all(near(net, seed) for seed in range(1, 4))
    # The three calls of `near` to eager are all that took time.
    assert net.clock.now_s - before_s == pytest.approx(0.3)


@needs_compiler
def test_a_really_fresh_process_does_too_and_imports_no_compiler(store):
    code = f"""
import sys, torch
from optimize_nets import image
from optimize_packages import optimized
net, made = optimized({str(store)!r})
with torch.no_grad():
    net(image())
assert made.report(net).applied == ("graph",), made.report(net)
assert "torch._inductor" not in sys.modules and "torch._dynamo" not in sys.modules
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@needs_compiler
def test_a_package_that_is_slower_is_not_tried_again_nor_kept(store):
    """Nothing takes time here with the candidate, so that the package cannot gain."""
    for entry in store.iterdir():
        if not (entry / "package.so").exists():
            shutil.rmtree(entry)
    for _ in range(2):
        net, made = optimized(store, Bending(cost_s=0.0))
        for seed in range(CALLS):
            net(image(seed))
        assert made.report(net).applied == ("bending",), why(made, net)
        assert "graph: 1.00x" in why(made, net)
        assert not list(store.glob("*/package.so"))


@needs_compiler
def test_inputs_laid_out_otherwise_are_another_kind_and_expanded_ones_are_read_rightly(store):
    net, _ = optimized(store)
    net(image())
    for x in (
        image(1).contiguous(memory_format=torch.channels_last),
        image(2)[:, :1].expand(1, 3, 8, 8),
        image(3, side=9),
        image(4, batch=2),
    ):
        for _ in range(CALLS):
            assert torch.allclose(net(x), Net.forward(net, x), rtol=1e-4, atol=1e-6)


@needs_compiler
def test_several_threads_may_call_it(store):
    net, _ = optimized(store)
    net(image())
    wrong: list[int] = []

    def work(seed: int) -> None:
        with torch.no_grad():
            wrong.extend(n for n in range(30) if not near(net, seed * 100 + n))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_compiler
def test_hooks_on_parts_run_so_the_package_does_not(store):
    net, _ = optimized(store)
    net(image())
    seen: list[int] = []
    hook = net.norm.register_forward_hook(lambda *_: seen.append(1))
    assert near(net, 1)
    assert len(seen) == 2
    hook.remove()
    assert near(net, 2)


@needs_compiler
def test_restore_and_copies_are_eager(store):
    net, made = optimized(store)
    net(image())
    made.restore(net)
    before_s = net.clock.now_s
    assert torch.equal(net(image(1)), Net.forward(net, image(1)))
    assert net.clock.now_s - before_s == pytest.approx(0.2)


@needs_compiler
def test_a_package_in_the_background_is_swapped_in_between_calls(store, tmp_path, monkeypatch):
    """The compiler's work was done by the fixture; here it is handed over when the test says so."""
    entry = next(path.parent for path in store.glob("*/package.so"))
    result = json.loads((entry / "entry.json").read_bytes().partition(b"\n")[2])["body"]
    start, finished, order = subprocess.Popen, threading.Event(), build.Builder.order

    def instead(command: list[str], **kwargs: Any) -> Any:
        target = Path(json.loads(command[-1])["directory"]) / "package.so"
        code = f"import shutil; shutil.copy({str(entry / 'package.so')!r}, {str(target)!r}); input(); print({json.dumps(result)!r})"
        children.append(start([sys.executable, "-c", code], **kwargs))
        return children[-1]

    def ordered(self: Any, job: Any) -> None:
        order(self, replace(job, done=lambda reason: (job.done(reason), finished.set())))  # type: ignore[func-returns-value]

    children: list[Any] = []
    monkeypatch.setattr(build.subprocess, "Popen", instead)
    monkeypatch.setattr(build.Builder, "order", ordered)
    net, made = optimized(tmp_path / "other", builds="background")
    for seed in range(CALLS):
        assert near(net, seed)
    assert made.report(net).applied == ()
    while not children:
        threading.Event().wait(0.01)
    children[0].stdin.write(b"now\n")
    children[0].stdin.flush()
    assert finished.wait(60)
    assert all(near(net, seed) for seed in range(CALLS))
    assert made.report(net).applied == ("graph",), why(made, net)


def test_without_a_store_or_with_never_nothing_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(build.Builder, "order", lambda *_: pytest.fail("a package was ordered"))
    for directory, builds in ((tmp_path / "store", "never"), (False, "now")):
        net, _ = optimized(directory, builds=builds)
        for seed in range(CALLS):
            net(image(seed))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.setenv("CXX", "no-such-compiler"), "no C++ compiler: no-such-compiler was not found"),
        (lambda m: m.setattr(build, "free_bytes", lambda _: 2**20), "of memory, 1 are free"),
        (lambda m: m.setattr(build.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 2**20)), "1 are free"),  # type: ignore[attr-defined]
        (lambda m: m.setattr(Net, "__module__", "__main__"), "main script"),
        (lambda m: m.setattr(Net, "__reduce_ex__", _unpicklable), "cannot be sent"),
    ],
)
def test_what_a_build_needs_and_does_not_find_is_said_and_eager_stays(tmp_path, monkeypatch, change, expected):
    monkeypatch.setenv("CXX", sys.executable)
    change(monkeypatch)
    net, made = optimized(tmp_path / "store", builds="now")
    assert all(near(net, seed) for seed in range(CALLS))
    assert made.report(net).applied == ()
    assert expected in why(made, net)


def _unpicklable(*_: Any) -> None:
    raise TypeError("it holds a lock")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with -9"),
        ("raise SystemExit(3)", "ended with 3"),
        ("import sys; print('out of registers', file=sys.stderr); sys.exit(1)", "out of registers"),
        ("print('no json')", "JSON"),
        ("print('{}')", "KeyError"),
        ('print(\'{"error": "CppCompileError: cc1plus was killed"}\')', "cc1plus was killed"),
        ("import time; time.sleep(600)", "not built after"),
    ],
)
def test_a_compiler_that_dies_talks_nonsense_or_hangs_leaves_eager_and_no_files(tmp_path, monkeypatch, code, expected):
    monkeypatch.setenv("CXX", sys.executable)
    start = subprocess.Popen
    children = []

    def instead(command: list[str], **kwargs: Any) -> Any:
        children.append(start([sys.executable, "-c", code], **kwargs))
        return children[-1]

    monkeypatch.setattr(build.subprocess, "Popen", instead)
    net, made = optimized(tmp_path / "store", builds="now", build_s=1.0)
    assert all(near(net, seed) for seed in range(CALLS))
    assert expected in why(made, net)
    assert len(children) == 1
    assert children[0].poll() is not None
    assert not list((tmp_path / "store").glob(".unfinished-*"))


def test_a_build_ends_when_memory_runs_low(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)
    start = subprocess.Popen
    monkeypatch.setattr(
        build.subprocess, "Popen", lambda _, **kwargs: start([sys.executable, "-c", "import time; time.sleep(600)"], **kwargs)
    )
    answers = iter([2**40])
    monkeypatch.setattr(build, "free_bytes", lambda _: next(answers, 2**20))
    net, made = optimized(tmp_path / "store", builds="now")
    for seed in range(CALLS):
        net(image(seed))
    assert "memory ran low" in why(made, net)


def test_the_child_and_its_compiler_end_with_the_process_that_started_them(tmp_path):
    """A process orders a package and is killed; its child and what that has started are gone."""
    sleeper = tmp_path / "compiler"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    code = f"""
import sys, subprocess, torch
from flambeau.optimize.graph import build
start = subprocess.Popen
def told(*args, **kwargs):
    child = start(*args, **kwargs)
    print(child.pid, flush=True)
    return child
build.subprocess.Popen = told
from optimize_nets import image
from optimize_packages import optimized
from pathlib import Path
net, _ = optimized(Path({str(tmp_path / "store")!r}), builds="now", build_at_call=1)
with torch.no_grad():
    net(image()); net(image())
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CXX": str(sleeper)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        # Its stderr appears once it has started; until then it dies by its standard input alone.
        parent.kill()
    deadline = threading.Event()
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        deadline.wait(0.1)
    pytest.fail("the child outlived the process that started it")


def test_a_module_that_is_let_go_is_freed_though_a_package_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(build.Builder, "_work", lambda _: None)
    net, _ = optimized(tmp_path / "store", Bending(), builds="background")
    for seed in range(CALLS):
        net(image(seed))
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_an_error_of_the_builder_is_an_error_with_its_reason():
    assert str(BuildError("no room")) == "no room"
