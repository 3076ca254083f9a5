"""The optimizer as the worker calls it: the same functions, with their notices told to the host."""

from __future__ import annotations

import os
from typing import Any

from . import context

# "off": every module stays as it came, for a comparison with one that is optimized.
_OPTIMIZE = "FLAMBEAU_OPTIMIZE"
# Set by a host that lives long enough for builds to pay back, such as `flambeau serve`.
_BUILDS = "FLAMBEAU_OPTIMIZE_BUILDS"

# The stage that is open: one at a time, as one module is measured at a time.
_stages: list[str] = []


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
        "extents": [_extent(extent) for extent in made.extents],
        "breakdown": [{"what": share.what, "seconds": share.seconds} for share in made.breakdown],
    }


def _extent(extent: Any) -> dict[str, Any]:
    left_out = [{"why": one.why, "count": one.count, "layers": list(one.layers)} for one in extent.left_out]
    return {"what": extent.what, "count": extent.count, "of": extent.of, "leftOut": left_out}


def _tell(notice: Any) -> None:
    """Each thing that is tried is a stage of its own, such as "optimize unet 3/7 int8 static"; the outcome is a line."""
    if _stages:
        context.progress(1, 1, _stages.pop())
    if notice.phase == "done":
        context.notice(notice.message)
        return
    tried = notice.message.removeprefix("trying ").replace("_", " ")
    _stages.append(f"optimize {notice.module} {notice.step + 1}/{notice.total} {tried}")
    context.progress(0, 1, _stages[-1])
