"""What the host asks for: the `.d.ts` files of some modules."""

from __future__ import annotations

import importlib
import time
import warnings
from typing import TYPE_CHECKING

from .files import files_of
from .library import read_library
from .limits import PROGRESS_SECONDS
from .stubs import stub_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType


class ModuleMissingError(Exception):
    """No module of that name is installed."""


class ModuleUnusableError(Exception):
    """It is installed and cannot be imported."""


def describe(modules: Sequence[str], words: Sequence[str] | None, report: Callable[[str, int], object]) -> dict[str, str]:
    """File name → text. `words`: the names that the app uses, None for every public one; `report(what, count)` hears how far it is.

    Raises ModuleMissingError and ModuleUnusableError, whose messages a person can act on.
    """
    stub_of.cache_clear()
    imported: dict[str, ModuleType] = {}
    named: set[str] = set()
    for name in modules:
        report(f"importing {name}", 0)
        module, member = _found(name)
        imported[module.__name__] = module
        named |= {member} if member is not None else set()
    last = time.monotonic()

    def progress(count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            report("reading classes", count)

    library = read_library(list(imported.values()), None if words is None else named.union(words), progress)
    report("writing types", len(library.classes))
    return files_of(library, modules)


def _found(name: str) -> tuple[ModuleType, str | None]:
    """The module, or for `diffusers.FluxPipeline` the module and the name in it."""
    try:
        return _imported(name), None
    except ModuleMissingError:
        parent, _, member = name.rpartition(".")
        if not parent or not all(part.isidentifier() for part in name.split(".")):
            raise
        module = _imported(parent)
        if member not in dir(module):
            raise ModuleMissingError(f"{parent} has no module and no class {member!r}") from None
        return module, member


def _imported(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModuleMissingError(f"{name!r} is not the name of a Python module; names look like torch or torch.nn")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise ModuleMissingError(
                f"there is no module {missing!r} in the app's environment; add its package to `static requirements`"
            ) from None
        raise ModuleUnusableError(
            f"importing {name} needs the module {missing!r}, which is not installed; add it to `static requirements`"
        ) from error
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        raise ModuleUnusableError(f"importing {name} ends the process (sys.exit({error.code!r})): it is a program and no library") from None
    except BaseException as error:
        raise ModuleUnusableError(f"importing {name} fails: {type(error).__name__}: {error}") from error
