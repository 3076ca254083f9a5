"""The worker's start: claim the wire, say hello, make sure we die with the host; then import the rest, and serve."""

from __future__ import annotations

import faulthandler
import gc
import os
from _signal import SIGUSR1  # type: ignore[import-not-found]  # typeshed has no _signal.

from flambeau import stdio
from flambeau.greeting import hello

EXIT_USAGE = 64  # EX_USAGE of sysexits.h


def main() -> None:
    """Serves one host until it says SHUTDOWN or goes away. Expects a socket as file descriptor 3."""
    gc.disable()  # nothing of what a start makes is garbage
    try:
        fd = stdio.claim_wire()
        os.write(fd, hello())
    except OSError as error:
        stdio.complain(str(error))
        raise SystemExit(EXIT_USAGE) from None
    stdio.die_with_parent()
    stdio.settle_streams()
    # The main thread alone: another one may be changing the very frames that would be read, without the lock (seen: SIGSEGV).
    faulthandler.register(SIGUSR1, all_threads=False)

    from flambeau.worker import serve

    serve(fd)


if __name__ == "__main__":
    main()
