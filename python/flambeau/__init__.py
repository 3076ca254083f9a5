"""What the user's own Python may call inside a Flambeau worker. Does nothing at import, and outside a worker nothing at all."""

from __future__ import annotations

__all__ = ["cancelled", "log", "progress"]

# As in `typing`, by whose name type checkers know it: importing that takes as long as starting Python, and all we want of it are names
# in annotations, which nobody evaluates.
TYPE_CHECKING = False


def progress(step: int, total: int | None = None, stage: str | None = None) -> None:
    """Tells the caller of the running request how far it is. At most about 50 a second travel; the last one always does."""
    from flambeau import context

    context.progress(step, total, stage)


def log(message: str) -> None:
    """Adds a line to the log of the running request; outside of a worker it goes to stderr."""
    from flambeau import context

    context.log(message)


def cancelled() -> bool:
    """True once the running request was cancelled: a loop of your own may then stop early and tidy up."""
    from flambeau import context

    return context.cancelled()
