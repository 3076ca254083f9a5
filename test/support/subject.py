"""What the tests of the bridge call in a real worker: things that tell how a value arrived, and things that misbehave."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any


def echo(value: Any = None) -> Any:
    return value


def told(*args: Any, **kwargs: Any) -> str:
    """How the arguments arrived, as Python writes them."""
    return ", ".join([_told(value) for value in args] + [f"{name}={_told(value)}" for name, value in kwargs.items()])


def _told(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


def same(one: Any, other: Any) -> bool:
    return one is other


def raises(kind: str, message: str) -> None:
    raise getattr(__import__("builtins"), kind)(message)


class Model:
    """Attributes that are falsy, and members whose names mean something to JavaScript."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.zero = 0
        self.empty = ""
        self.nothing = None
        self.unet: Any = "old"
        self.log: list[str] = []

    def __call__(self, prompt: str = "", **kwargs: Any) -> str:
        return f"{prompt} with {self.unet} {kwargs}"

    def then(self, *_args: Any) -> str:
        self.log.append("then")
        return "then of Python"

    def length(self) -> str:
        return "length of Python"

    def name(self) -> str:
        return "name of Python"

    def call(self, value: Any) -> str:
        return f"call of Python {value}"

    def constructor(self) -> str:
        return "constructor of Python"

    def toJSON(self) -> str:  # noqa: N802
        self.log.append("toJSON")
        return "toJSON of Python"

    def catch(self) -> str:
        return "catch of Python"

    @property
    def read_only(self) -> int:
        return 1

    def step(self, log: list[str], word: str) -> Model:
        log.append(word)
        if word == "fail":
            raise LookupError("this link failed")
        return self


def keywords(*, self: Any = None, cls: Any = None, lambda_: Any = None, **more: Any) -> dict[str, Any]:
    return {"self": self, "cls": cls, **more}


def resize(image: Any, width: int, height: int = 8) -> tuple[Any, int, int]:
    return (image, width, height)


class Tracked:
    """Counts those that live."""

    live: weakref.WeakSet[Tracked] = weakref.WeakSet()

    def __init__(self) -> None:
        Tracked.live.add(self)
        self.values = [1, 2, 3]


def live() -> int:
    return len(Tracked.live)


def tracked(count: int = 1) -> list[Tracked]:
    return [Tracked() for _ in range(count)]


class Generators:
    """What happened inside of generators, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def count(self, limit: int, fail_at: int = -1) -> Iterator[int]:
        try:
            for number in range(limit):
                if number == fail_at:
                    raise ValueError(f"no {number}")
                self.events.append(f"yield {number}")
                yield number
        finally:
            self.events.append("finally")

    def objects(self, limit: int) -> Iterator[Tracked]:
        for _ in range(limit):
            yield Tracked()


class Manager:
    """A context manager that remembers."""

    def __init__(self, swallow: bool = False) -> None:
        self.swallow = swallow
        self.events: list[str] = []

    def __enter__(self) -> Manager:
        self.events.append("enter")
        return self

    def __exit__(self, kind: Any, error: Any, _trace: Any) -> bool:
        self.events.append("exit" if kind is None else f"exit {error}")
        return self.swallow


def call_with(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def call_told(function: Callable[..., Any], *args: Any) -> str:
    return told(function(*args))


def call_in_thread(function: Callable[..., Any], *args: Any) -> Any:
    answer: list[Any] = []
    thread = threading.Thread(target=lambda: answer.append(function(*args)))
    thread.start()
    thread.join()
    return answer[0]


def lend_tracked(function: Callable[..., Any], times: int) -> int:
    """Calls back with an object that nothing else holds, and tells how many of those live afterwards."""
    for _ in range(times):
        function(Tracked())
    return live()


def catches(function: Callable[[], Any]) -> str:
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def wraps(function: Callable[[], Any]) -> None:
    try:
        function()
    except Exception as error:
        raise RuntimeError("the callback failed") from error


def chain(length: int) -> None:
    error: Exception | None = None
    for number in range(length):
        later = ValueError(f"link {number}")
        later.__cause__ = error
        error = later
    assert error is not None
    raise error


def group() -> None:
    raise ExceptionGroup("two at once", [ValueError("one"), KeyError("two")])  # noqa: F821


def noted() -> None:
    error = ValueError("with a note")
    error.add_note("a note about it")
    raise error


def raises_by_hand() -> None:
    """Implicit context below an explicit cause."""
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise OSError("second")  # noqa: B904
    except OSError as error:
        raise ValueError("third") from error


def raises_alone() -> None:
    try:
        raise KeyError("hidden")
    except KeyError:
        raise ValueError("alone") from None


def raises_local() -> None:
    class Local(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("cannot be pickled")

    raise Local("defined inside of a function")


def raises_at_the_limit(levels: int = 0) -> None:
    """Raises as deep as Python lets it, so that describing the error has no stack to spare."""
    try:
        raises_at_the_limit(levels + 1)
    except RecursionError:
        raise ValueError("at the limit") from None


def interrupts_itself() -> str:
    """What Ctrl-C in a terminal does to every process in front of it."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    return "went on"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


def unprintable() -> None:
    raise Unprintable


def holds_while_raising(box: list[Any]) -> None:
    """Raises with a tracked object in its locals."""
    held = Tracked()
    box.append(len(held.values))
    try:
        raise KeyError("holding something as well")
    except KeyError as error:
        raise ValueError("holding something") from error


def sleeps(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def loops(seconds: float) -> int:
    end = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < end:
        turns += 1
    return turns


def swallows(seconds: float) -> None:
    """Cannot be stopped by an exception: says so once, from where none gets out."""
    end = time.monotonic() + seconds
    is_said = False
    while time.monotonic() < end:
        try:
            if not is_said:
                is_said = True
                print("swallowing")
            time.sleep(0.05)
        except BaseException:
            continue


class Dumps:
    """What pydantic's models do when they are asked for plain data."""

    def __init__(self, size: int) -> None:
        self.size = size

    def model_dump(self) -> dict[str, Any]:
        return {"size": self.size, "next": {"size": self.size - 1}}


def mapped(data: bytes) -> Any:
    import mmap

    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memory


def released_view() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


def turned_jpeg(width: int, height: int) -> Any:
    """A picture that viewers turn by a quarter, since its EXIF data says so."""
    import io

    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "JPEG", exif=exif)
    return Image.open(file)


def decompression_bomb() -> Any:
    """Opens a picture of more pixels than PIL thinks right."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, "PNG")
    allowed = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = 1000
    try:
        return Image.open(file)
    finally:
        Image.MAX_IMAGE_PIXELS = allowed


def deep_list(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def deep_tuple(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = (value,)
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {"a": [1, {}]}
    value["a"][1]["back"] = value
    return value


def waits_for_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def waits_for_child(seconds: float) -> int:
    return subprocess.run(["sleep", str(seconds)], check=False).returncode


def waits_for_host(function: Callable[[], Any]) -> Any:
    return function()


def cleans_up(log: list[str], seconds: float) -> None:
    try:
        time.sleep(seconds)
    finally:
        log.append("clean")
        time.sleep(0.1)
        log.append("done")


def prints(lines: int) -> int:
    """200 bytes a line."""
    for number in range(lines):
        print(f"line {number:>194}")
    return lines


def prints_in_every_way() -> None:
    print("print of Python")
    print("print to stderr", file=sys.stderr)
    os.write(1, b"os.write\n")
    os.system("echo os.system")
    subprocess.run(["echo", "subprocess"], check=True)
    library = ctypes.CDLL(None)
    library.puts(b"puts of C")
    library.fflush(None)


def prints_bytes_slowly(data: bytes) -> None:
    for byte in data:
        os.write(1, bytes([byte]))
        time.sleep(0.002)


def asks() -> str:
    try:
        return input("what? ")
    except EOFError as error:
        return f"EOFError: {error}"


def closes_descriptors() -> None:
    os.close(3)
    os.closerange(3, 256)


def spoils_the_streams() -> None:
    sys.stdout = None
    sys.stderr = None
    gc.disable()
    sys.setrecursionlimit(50)
    os.chdir("/")
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def writes_into_the_channel(data: bytes) -> None:
    for wire in (1000, 200, 10):
        try:
            os.write(wire, data)
        except OSError:
            continue
        return


async def answers_later(value: Any, seconds: float = 0.0) -> Any:
    await asyncio.sleep(seconds)
    return value


async def raises_later(message: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(message)


async def asks_host(function: Callable[..., Any], *args: Any) -> Any:
    await asyncio.sleep(0)
    return function(*args)


async def cleans_up_later(log: list[str], seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.sleep(0.01)
        log.append("cleaned")


class AsyncGenerators:
    """As Generators, asynchronous."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def count(self, limit: int, fail_at: int = -1) -> AsyncIterator[int]:
        try:
            for number in range(limit):
                await asyncio.sleep(0)
                if number == fail_at:
                    raise ValueError(f"no {number}")
                self.events.append(f"yield {number}")
                yield number
        finally:
            await asyncio.sleep(0)
            self.events.append("finally")


class AsyncManager:
    def __init__(self) -> None:
        self.events: list[str] = []

    async def __aenter__(self) -> AsyncManager:
        await asyncio.sleep(0)
        self.events.append("enter")
        return self

    async def __aexit__(self, kind: Any, error: Any, _trace: Any) -> bool:
        await asyncio.sleep(0)
        self.events.append("exit" if kind is None else f"exit {error}")
        return False


class Keeper:
    """Keeps a function and calls it when it is told to, also later than the call that brought it."""

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self.function = function

    def run(self, *args: Any) -> Any:
        assert self.function is not None
        return self.function(*args)

    def let_go(self) -> None:
        self.function = None


def burst(function: Callable[..., Any], times: int) -> str:
    """Calls it without a pause."""
    for number in range(times):
        function(number)
    return "done"


def calls_at_exit(function: Callable[..., Any]) -> None:
    atexit.register(lambda: print(catches(function)))


def children_of_both_kinds() -> list[int]:
    """Processes as a DataLoader starts them; they live on while this one does."""
    pids = []
    for kind in ("fork", "spawn"):
        child = multiprocessing.get_context(kind).Process(target=time.sleep, args=(60,))
        child.start()
        assert child.pid is not None
        pids.append(child.pid)
    return pids


def holds_the_lock(seconds: float) -> int:
    """In C, without ever letting another thread of Python run."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return os.getpid()


def holds_the_lock_and_sleeps(seconds: float) -> None:
    """The same, and then what a cancel can stop: the lock given back at the very end may be too late for one."""
    holds_the_lock(seconds)
    time.sleep(60)


def uses_up(threads: int, children: int) -> dict[str, int]:
    """Threads, processes and descriptors, as many as it gets; they stay."""
    used = {"threads": 0, "children": 0, "files": 0}
    try:
        for _ in range(threads):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            used["threads"] += 1
    except RuntimeError:
        pass
    for _ in range(children):
        if os.fork() == 0:
            try:
                os.fork()  # and each of them once more
                time.sleep(60)
            finally:
                os._exit(0)
        used["children"] += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            KEPT.append(open(os.devnull))  # noqa: SIM115
            used["files"] += 1
    except OSError:
        return used


KEPT: list[Any] = []


def dies(how: str) -> None:
    print("last words", file=sys.stderr)
    eval(how)


def multiplies(seconds: float) -> None:
    import torch

    end = time.monotonic() + seconds
    x = torch.ones(64, 64)
    while time.monotonic() < end:
        x = (x @ x).clamp(0, 1)


def busy_echo(value: Any, turns: int) -> Any:
    """The value, after that many turns of a loop: microseconds, mostly."""
    for _ in range(turns):
        value = [value][0]
    return value
