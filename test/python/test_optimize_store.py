"""What the store keeps for the next process, and what it does with anything that is not what was kept."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flambeau.optimize.applied import Kept
from flambeau.optimize.kept import identity
from flambeau.optimize.kept.store import Store
from flambeau.optimize.limits import LIMITS, Quality
from flambeau.optimize.registry import Registry
from optimize_nets import Bend, Bent, Clock, Net, image

KEY = {"what": "plan", "of": "a test"}


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Halves the time of a Net. What it keeps: which layer, and a tensor that it wants back exactly."""

    name: str = "scaling"
    quality: Quality = "lossless"

    def capability(self, layers, device):
        return None

    def apply_(self, layers, device, trial):
        return self._applied(layers)

    def recall(self, layers, device, kept):
        if kept.choices.get("layers") != ["conv"] or not torch.equal(kept.tensors["scales"], SCALES):
            raise ValueError("these are not the scales that were kept")
        return self._applied(layers)

    def _applied(self, layers):
        made = Bent(layers.owner.bent, Bend(layers.switch, 0.05, 1e-6))
        made.keep = lambda: Kept({"layers": ["conv"]}, {"scales": SCALES, "none": torch.empty(0, 3)})
        return made


SCALES = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)


def optimized(directory: Any, *, seed: int = 0, net: type[Net] = Net, quality: Quality = "balanced", **limits: Any) -> tuple[Net, Registry]:
    """A net of these weights in a registry of its own: as in a process of its own."""
    clock = Clock()
    torch.manual_seed(seed)
    module = net(clock).eval()
    made = Registry(table={"cpu": (Scaling(),)}, limits=replace(LIMITS, **limits), clock=clock, store=directory)
    return made.optimize(module, quality=quality), made


def first_call(directory: Any, **kwargs: Any) -> tuple[Any, float, str]:
    """The report after one call, the seconds it took, and all that was skipped; the output is checked against eager's."""
    net, made = optimized(directory, **kwargs)
    output = net(image())
    took_s = net.clock.now_s
    assert torch.allclose(output, type(net).forward(net, image()), rtol=1e-5)
    assert torch.allclose(net(image(1)), type(net).forward(net, image(1)), rtol=1e-5)
    report = made.report(net)
    return report, took_s, " | ".join(f"{skip.what}: {skip.why}" for skip in report.skipped)


def test_a_second_process_starts_fast_after_one_look(tmp_path):
    report, measured_s, _ = first_call(tmp_path / "store")
    assert report.applied == ("scaling",)
    again, took_s, why = first_call(tmp_path / "store")
    assert (again.applied, again.speed_up, why) == (report.applied, report.speed_up, "")
    # Eager once, as the program asked, and the fast path once, to be compared.
    assert took_s == pytest.approx(0.15)
    assert took_s < measured_s / 4


def test_that_nothing_is_faster_is_kept_too_until_there_is_more_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(Scaling, "_applied", lambda self, layers: Bent(layers.owner.bent, Bend(layers.switch, 0.2, 0.0)))
    report, _, _ = first_call(tmp_path)
    assert report.applied == ()
    again, took_s, why = first_call(tmp_path)
    assert again.skipped == report.skipped
    assert "0.50x" in why
    assert took_s == pytest.approx(0.1)
    _, took_s, _ = first_call(tmp_path, budget_s=1000.0)
    assert took_s > 0.5


@pytest.mark.parametrize("other", ["weights", "class", "quality", "threads", "torch", "package"])
def test_a_plan_is_of_one_module_and_machine(tmp_path, monkeypatch, other):
    class Other(Net):
        def forward(self, x):
            return super().forward(x) * 1.0

    first_call(tmp_path)
    kwargs: dict[str, Any] = {}
    if other == "weights":
        kwargs["seed"] = 1
    elif other == "class":
        kwargs["net"] = Other
    elif other == "quality":
        kwargs["quality"] = "lossless"
    elif other == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    elif other == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9.9")
        identity.machine.cache_clear()
    else:
        monkeypatch.setattr(identity, "source", lambda *_: "another version of this package")
    report, took_s, why = first_call(tmp_path, **kwargs)
    identity.machine.cache_clear()
    assert report.applied == ("scaling",)
    assert took_s > 0.5
    assert why == ""


def test_one_changed_weight_is_another_module():
    torch.manual_seed(0)
    net = Net()
    before = identity.weights_identity(net)
    assert identity.weights_identity(net) == before
    net.conv.weight.data[3, 1, 2, 2] += 1e-6
    changed = identity.weights_identity(net)
    net.head.bias.data.neg_()
    assert len({before, changed, identity.weights_identity(net)}) == 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 5)])
def test_weights_of_any_dtype_and_size_have_an_identity(dtype, shape):
    module = torch.nn.Module()
    module.register_buffer("a", torch.ones(shape).to(dtype))
    module.register_buffer("b", torch.ones(4, 6).to(dtype)[:, 1::2])
    assert len(identity.weights_identity(module)) == 64


def test_a_kept_plan_whose_result_is_wrong_now_is_dropped_and_measured_again(tmp_path, monkeypatch):
    first_call(tmp_path)
    applied = Scaling._applied
    monkeypatch.setattr(Scaling, "_applied", lambda self, layers: Bent(layers.owner.bent, Bend(layers.switch, 0.05, 1.0)))
    report, _, why = first_call(tmp_path)
    assert report.applied == ()
    assert "a kept plan was not used: relative error" in why
    monkeypatch.setattr(Scaling, "_applied", applied)
    assert first_call(tmp_path, budget_s=1000.0)[0].applied == ("scaling",)


# Damage. Each takes the directory of the one entry.

Damage = Callable[[Path], object]


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda entry: (entry / name).write_bytes(change((entry / name).read_bytes()))


def flip(name: str, at: float) -> Damage:
    def change(content: bytes) -> bytes:
        index = min(int(len(content) * at), len(content) - 1)
        return content[:index] + bytes([content[index] ^ 0x40]) + content[index + 1 :]

    return rewrite(name, change)


def retell(change: Callable[[Any], Any]) -> Damage:
    """The entry says something else, with a hash that fits."""

    def write(content: bytes) -> bytes:
        told = json.loads(content.partition(b"\n")[2])
        text = json.dumps(change(told) or told).encode()
        return hashlib.sha256(text).hexdigest().encode() + b"\n" + text

    return rewrite("entry.json", write)


def rehash(text: bytes) -> Damage:
    return rewrite("entry.json", lambda _: hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


def replaced(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(entry: Path) -> None:
        path = entry / name if name else entry
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return damage


def linked(name: str) -> Damage:
    def damage(entry: Path) -> None:
        path = entry / name if name else entry
        moved = entry.parent.parent / "elsewhere"
        path.rename(moved)
        path.symlink_to(moved)

    return damage


def planted(content: bytes) -> Damage:
    """Another file of tensors, and an entry that vouches for it."""

    def damage(entry: Path) -> None:
        (entry / "tensors.bin").write_bytes(content)
        listed = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        retell(lambda told: told["files"].update({"tensors.bin": listed}))(entry)

    return damage


def body(**values: Any) -> Damage:
    return retell(lambda told: told["body"].update(values))


def row(**values: Any) -> Damage:
    return retell(lambda told: told["body"]["applied"][0].update(values))


def scales(**values: Any) -> Damage:
    return retell(lambda told: told["body"]["applied"][0]["tensors"]["scales"].update(values))


class Planted:
    """Unpickling it would be seen."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


DAMAGE: dict[str, Damage] = {
    **{f"{name} is empty": rewrite(name, lambda _: b"") for name in ("entry.json", "tensors.bin")},
    **{f"{name} is half": rewrite(name, lambda content: content[: len(content) // 2]) for name in ("entry.json", "tensors.bin")},
    **{f"{name} lacks a byte": rewrite(name, lambda content: content[:-1]) for name in ("entry.json", "tensors.bin")},
    **{f"{name} has a byte more": rewrite(name, lambda content: content + b"\n") for name in ("entry.json", "tensors.bin")},
    **{f"{name} has a bit flipped at {at}": flip(name, at) for name in ("entry.json", "tensors.bin") for at in (0.0, 0.1, 0.5, 1.0)},
    **{f"{name} is zeros": rewrite(name, lambda content: bytes(len(content))) for name in ("entry.json", "tensors.bin")},
    **{f"{name} is a page": rewrite(name, lambda _: b"<html>404</html>") for name in ("entry.json", "tensors.bin")},
    **{f"{name} is a pickle": rewrite(name, lambda _: pickle.dumps(Planted())) for name in ("entry.json", "tensors.bin")},
    **{f"{name} is gone": lambda entry, name=name: (entry / name).unlink() for name in ("entry.json", "tensors.bin")},
    **{f"{name or 'the entry'} is a link": linked(name) for name in ("", "entry.json", "tensors.bin")},
    **{f"{name} is a directory": replaced(name, Path.mkdir) for name in ("entry.json", "tensors.bin")},
    **{f"{name} is a pipe": replaced(name, os.mkfifo) for name in ("entry.json", "tensors.bin")},
    **{f"{name} is writable by others": lambda entry, name=name: (entry / name).chmod(0o666) for name in ("entry.json", "tensors.bin")},
    "the entry is a file": replaced("", Path.touch),
    "the entry is empty": replaced("", Path.mkdir),
    "the entry is of another format": retell(lambda told: told.update(format=2)),
    "the entry is of another module": retell(lambda told: told["key"].update(weights="others")),
    "the entry is a list": rehash(b"[]"),
    "the entry is no JSON": rehash(b"{"),
    "the entry is deep": rehash(b"[" * 100_000),
    "the entry is not UTF-8": rehash(b'{"format": "\xff"}'),
    "the entry holds a number without end": rehash(b'{"format": ' + b"9" * 5000 + b"}"),
    "the entry is huge": rehash(b" " * (LIMITS.store_entry_bytes + 1)),
    "the files are a list": retell(lambda told: told.update(files=[])),
    "a file lies elsewhere": retell(lambda told: told["files"].update({"../../secret": {"bytes": 1, "sha256": ""}})),
    "a file has no size": retell(lambda told: told["files"].update({"tensors.bin": {"bytes": "1"}})),
    "the body is null": retell(lambda told: told.update(body=None)),
    "the body is empty": retell(lambda told: told.update(body={})),
    "what was applied is a number": body(applied=1),
    "what was applied is unknown": row(name="no such candidate"),
    "what was applied has no name": row(name=None),
    "the choices are a list": row(choices=[]),
    "the choices are others": row(choices={"layers": ["no such layer"]}),
    "the tensors are missing": row(tensors={}),
    "the speed is a text": body(speed_up="fast"),
    "the difference is short": body(difference=[0.0]),
    "the tolerance is no number": body(tolerance=["a", "b"]),
    "the reasons are mixed up": body(skipped=[["a"]]),
    "the dtype is no dtype": scales(dtype="nn"),
    "the dtype is another": scales(dtype="float32"),
    "the shape is huge": scales(shape=[2**40, 2**40]),
    "the shape is negative": scales(shape=[-2, -3]),
    "the shape is a text": scales(shape="23"),
    "the tensor starts before its file": scales(start=-1),
    "the tensor starts after its file": scales(start=2**70),
    "the tensors are a pickle that is vouched for": planted(pickle.dumps(Planted())),
    "the tensors are other numbers that are vouched for": planted(bytes(200)),
}


def test_there_are_more_than_fifty_kinds_of_damage():
    assert len(DAMAGE) >= 50


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_set_aside_said_once_and_repaired(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "store"
    first_call(directory)
    (entry,) = directory.iterdir()
    DAMAGE[kind](entry)
    report, _, why = first_call(directory)
    assert report.applied == ("scaling",)
    assert why.count("store: ") == 1, why
    again, took_s, why = first_call(directory)
    assert (again.applied, why) == (("scaling",), "")
    assert took_s == pytest.approx(0.15)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("kind", ["a file", "writable by others", "a dangling link", "no place", "full", "read-only"])
def test_a_directory_that_cannot_serve_is_said_and_does_without(tmp_path, monkeypatch, kind):
    directory = tmp_path / "place"
    if kind == "a file":
        directory.touch()
    elif kind == "writable by others":
        directory.mkdir()
        directory.chmod(0o777)
    elif kind == "a dangling link":
        directory.symlink_to(tmp_path / "nowhere" / "at" / "all")
    elif kind == "no place":
        directory = Path("/dev/null/place")
    elif kind == "full":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
    else:
        monkeypatch.setattr(Path, "mkdir", _read_only)
    report, _, why = first_call(directory)
    assert report.applied == ("scaling",)
    assert why.count("store: ") == 1, why


def _read_only(*_: Any, **__: Any) -> None:
    raise OSError(30, "Read-only file system")


def test_with_false_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first_call(False)
    assert not list(tmp_path.iterdir())
    first_call(None)
    assert (tmp_path / "flambeau" / "optimize").is_dir()


def test_only_the_owner_can_read_or_write_what_is_kept(tmp_path):
    first_call(tmp_path / "store")
    for path in (tmp_path / "store", *(tmp_path / "store").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_the_size_limit_holds_and_what_was_used_last_stays(tmp_path):
    store = Store(tmp_path / "store", replace(LIMITS, store_bytes=10_000))
    for number in range(6):
        assert store.put({"number": number}, {}, {"file": bytes(3000)})
        if store.find({"number": 0}) is not None:
            (tmp_path / "store").stat()
        for age, entry in enumerate(sorted((tmp_path / "store").iterdir(), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(entry / "entry.json", (age, age))
    assert sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file()) <= 10_000
    assert store.find({"number": 5}) is not None
    assert not store.put(KEY, {}, {"file": bytes(20_000)})
    assert "more than is kept in all" in store.remarks()[0]


def test_what_was_left_unfinished_or_set_aside_goes_after_its_time(tmp_path):
    store = Store(tmp_path, LIMITS)
    for name in (".unfinished-1", ".damaged-2", ".unfinished-3"):
        (tmp_path / name).mkdir()
    for name in (".unfinished-1", ".damaged-2"):
        os.utime(tmp_path / name, (0, 0))
    store.prune_()
    assert [path.name for path in tmp_path.iterdir()] == [".unfinished-3"]


def test_many_writers_and_readers_never_meet_half_an_entry(tmp_path):
    """Each writes the same key over and over; a reader finds one of them whole, or none."""
    import threading

    store = Store(tmp_path / "store", LIMITS)
    found: list[int] = []

    def work(number: int) -> None:
        own = Store(tmp_path / "store", LIMITS)
        for _ in range(20):
            own.put(KEY, {"number": number}, {"file": bytes([number]) * 1000})
            entry = store.find(KEY)
            if entry is not None:
                found.append(entry.body["number"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found
    assert store.find(KEY) is not None
