"""The optimizer as the worker calls it: the same functions, with their notices told to the host."""

from __future__ import annotations

from typing import Any

from . import context


def optimize(module: Any, quality: str = "balanced") -> Any:
    """In place; the same object comes back. Never raises because an optimisation failed."""
    try:
        from . import optimize as optimizer
    except ImportError:  # No torch here: then this is no torch module either.
        return module
    optimizer.set_listener(_tell)
    return optimizer.optimize(module, quality=quality)  # type: ignore[arg-type]


def report(module: Any) -> dict[str, Any]:
    from . import optimize as optimizer

    made = optimizer.report(module)
    return {
        "state": made.state,
        "applied": list(made.applied),
        "skipped": [{"what": skipped.what, "why": skipped.why} for skipped in made.skipped],
        "seconds": made.seconds,
        "speedUp": made.speed_up,
        "relativeError": made.relative_error,
        "bytes": made.bytes,
    }


def _tell(notice: Any) -> None:
    """A count while it measures, closed by its line of outcome."""
    context.progress(notice.step, notice.total, f"optimize {notice.module}")
    if notice.step >= notice.total:
        context.notice(notice.message)
