"""Everything between the greeting and the end: puts the parts together and runs them on this thread, the main one."""

from __future__ import annotations

import gc
import itertools
import os
import sys

from flambeau import TYPE_CHECKING, context, pipelines, stdio
from flambeau.callbacks import Callbacks
from flambeau.channel import EXIT_PROTOCOL, Channel
from flambeau.codec import Encoder
from flambeau.dispatch import Dispatcher
from flambeau.frames import FrameReader, FrameWriter, WireClosed
from flambeau.interrupts import Gate
from flambeau.jobs import Running
from flambeau.objects import Objects
from flambeau.protocol import EVENT, SWITCH_S, ProtocolError
from flambeau.reading import WireInbox
from flambeau.resolve import Resolver

if TYPE_CHECKING:
    from typing import Any, NoReturn

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def serve(fd: int) -> None:
    """Serves the host at the other end of `fd`, which has been greeted, until it says SHUTDOWN or goes away."""
    reader, wire = FrameReader(fd), FrameWriter(fd)

    def forget_in_child() -> None:
        reader.close()
        wire.close()
        context.install(None)

    stdio.close_in_children(fd, forget_in_child)
    sys.setswitchinterval(SWITCH_S)
    inbox, running, objects = WireInbox(), Running(), Objects()
    gate = Gate(running)
    channel = Channel(reader, wire, inbox, running, gate)
    try:
        apply_setup(channel.greet())
    except (ProtocolError, WireClosed, OSError, ValueError) as error:
        stdio.complain(str(error))
        raise SystemExit(EXIT_PROTOCOL) from None
    attachment_ids = itertools.count(1)

    def next_attachment() -> int:
        return next(attachment_ids)

    callbacks = Callbacks(wire, objects, gate, next_attachment)
    dispatcher = Dispatcher(wire, inbox, running, objects, gate)
    shown = context.Context(running, gate, lambda tag, event: wire.send(EVENT, tag, Encoder(next_attachment).encode(event)))
    context.install(shown)
    dispatcher.attach(shown, Resolver(objects, callbacks.function), callbacks, next_attachment)
    gate.install()
    gate.stops_itself = pipelines.stop_at_next_module
    pipelines.install()
    channel.start(objects, callbacks)
    gc.freeze()
    gc.enable()
    dispatcher.serve()
    leave()


def leave() -> NoReturn:
    """Threads of the user's, exit handlers and what is buffered, as at the end of any program; then the end, at once.

    Taking the modules apart one by one, as the interpreter does, takes seconds once torch is among them, and nobody is there to see it.
    """
    import atexit

    try:
        threading: Any = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException as error:
        stdio.complain(f"an exit handler failed: {type(error).__name__}: {error}")
    finally:
        stdio.flush()
        os._exit(0)


def apply_setup(setup: dict[str, Any]) -> None:
    """`paths` in front of sys.path in their order, `argv0`, and the number of threads for libraries that are imported later."""
    paths = setup.get("paths")
    if isinstance(paths, list):
        sys.path[:0] = [str(path) for path in paths if path not in sys.path]
    argv0 = setup.get("argv0")
    if isinstance(argv0, str):
        sys.argv = [argv0]
    threads = setup.get("threads")
    if isinstance(threads, int):
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(threads))
