"""optimize(module): faster in place, in any Python program; nothing here knows Flambeau's worker.

Effect: the module's first calls are recorded and, inside one of them, replayed to measure what makes it faster. Type, attributes,
state_dict, config and hooks of the module stay; copies and pickles of it are plain modules. Hooks on inner modules run in replays too.
"""

from __future__ import annotations

from typing import Final

from .limits import Builds, Quality
from .registry import Registry
from .report import EagerCalls, Extent, LeftOut, Listener, Notice, Report, Skipped

# The one state of this package. A module cannot carry it: its copies and pickles would carry it as well.
_registry: Final = Registry(store=None)

optimize = _registry.optimize
report = _registry.report
restore = _registry.restore
set_builds = _registry.set_builds
set_listener = _registry.set_listener
set_store = _registry.set_store

__all__ = [
    "Builds",
    "EagerCalls",
    "Extent",
    "LeftOut",
    "Listener",
    "Notice",
    "Quality",
    "Report",
    "Skipped",
    "optimize",
    "report",
    "restore",
    "set_builds",
    "set_listener",
    "set_store",
]
