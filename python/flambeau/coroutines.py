"""What `async def` makes, run to its end for a host that waits: coroutines, asynchronous generators and context managers.

One event loop, on the main thread, where everything else of the user's runs. It turns only while a call waits for it: tasks that a call
leaves behind go on when the next one does. asyncio is imported with the first coroutine.
"""

from __future__ import annotations

from flambeau import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio  # 70 ms at import
    from collections.abc import Coroutine
    from typing import Any


async def _nothing() -> None:
    pass


_made = _nothing()
_made.close()
CoroutineType = type(_made)  # as `types` has it, which is not there at boot


class Coroutines:
    """The loop, made when it is first needed and kept, since clients and locks of the user's belong to it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def settled(self, result: Any) -> Any:
        """The result of a call; of a coroutine, what it returns. Other awaitables stay what they are: some are also something else."""
        return self.run(result) if isinstance(result, CoroutineType) else result

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """To its end. Raises what it raises; when the call is cancelled, its `finally` blocks have run."""
        import asyncio

        outer = asyncio._get_running_loop()
        if outer is None:
            self._loop = self._loop or asyncio.new_event_loop()
            return _run(self._loop, coroutine)
        # Inside of a callback that a coroutine waits for: its loop stands still until we return.
        asyncio._set_running_loop(None)
        loop = asyncio.new_event_loop()
        try:
            return _run(loop, coroutine)
        finally:
            loop.close()
            asyncio._set_running_loop(outer)


def _run(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        from contextlib import suppress

        if not task.done():  # the loop itself was interrupted: the task hears of it now
            task.cancel()
            with suppress(BaseException):
                loop.run_until_complete(task)
        raise
