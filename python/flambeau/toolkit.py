"""The optimizer as the worker calls it: the same functions, with their notices told to the host."""

from __future__ import annotations

import os
from typing import Any

from . import context

# "off": every module stays as it came, for a comparison with one that is optimized.
_OPTIMIZE = "FLAMBEAU_OPTIMIZE"
# Set by a host that lives long enough for builds to pay back, such as `flambeau serve`.
_BUILDS = "FLAMBEAU_OPTIMIZE_BUILDS"


def optimize(module: Any, quality: str = "balanced", **options: Any) -> Any:
    """In place; the same object comes back. Never raises because an optimisation failed.

    `options` are those of `flambeau.optimize.optimize`: budget_s, store, builds, name.
    """
    if os.environ.get(_OPTIMIZE) == "off":
        return module
    try:
        from . import optimize as optimizer
    except ImportError:  # No torch here: then this is no torch module either.
        return module
    optimizer.set_listener(_tell)
    builds: Any = options.pop("builds", None) or os.environ.get(_BUILDS) or None
    return optimizer.optimize(module, quality=quality, builds=builds, **options)  # type: ignore[arg-type]


def report(module: Any) -> dict[str, Any]:
    """What was done to it so far, under the names of the host's language."""
    from . import optimize as optimizer

    made = optimizer.report(module)
    return {
        "state": made.state,
        "applied": list(made.applied),
        "skipped": [{"what": skipped.what, "why": skipped.why, "speedUp": skipped.speed_up} for skipped in made.skipped],
        "seconds": made.seconds,
        "speedUp": made.speed_up,
        "relativeError": made.relative_error,
        "cosine": made.cosine,
        "bytes": made.bytes,
        "moduleBytes": made.module_bytes,
        "eagerCalls": [{"why": calls.why, "count": calls.count} for calls in made.eager_calls],
        "repacked": made.repacked,
        "breakdown": [{"what": share.what, "seconds": share.seconds} for share in made.breakdown],
    }


def _tell(notice: Any) -> None:
    """A count while it measures, with what is tried; closed by its line of outcome."""
    tried = notice.message.removeprefix("trying ").replace("_", " ") if notice.phase == "measuring" else ""
    context.progress(notice.step, notice.total, f"optimize {notice.module}{tried and ' ' + tried}")
    if notice.phase == "done":
        context.notice(notice.message)
