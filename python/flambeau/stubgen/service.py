"""What the host asks for: the `.d.ts` files of some modules, and the versions that are installed."""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from typing import TYPE_CHECKING

from .files import files_of, version_of
from .library import read_library
from .limits import PROGRESS_SECONDS

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
    imported: list[ModuleType] = []
    for name in modules:
        report(f"importing {name}", 0)
        imported.append(_imported(name))
    last = time.monotonic()

    def progress(count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            report("reading classes", count)

    library = read_library(imported, None if words is None else frozenset(words), progress)
    report("writing types", len(library.classes))
    return files_of(library, [module.__name__ for module in imported])


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions by top-level module, without importing any."""
    return {package: version_of(package)[1] for package in packages}


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
