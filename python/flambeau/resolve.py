"""Placeholders of a decoded message → the real objects, on the thread that is going to use them. May import and run user code."""

from __future__ import annotations

import os
import sys

from flambeau import TYPE_CHECKING
from flambeau.coroutines import Coroutines
from flambeau.placeholders import Array, Attachment, Build, File, Function, Module, PathOf, Ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from flambeau.objects import Objects

PLAIN = frozenset({type(None), bool, int, float, str, bytes})


class Resolver:
    """Follows references, imports modules, makes functions of the host's callable."""

    def __init__(self, objects: Objects, make_function: Callable[[Function], object]) -> None:
        self._objects = objects
        # Operations that look something up may have to wait for it as well.
        self.coroutines = Coroutines()
        self._files: dict[str, tuple[tuple[int, int], ModuleType]] = {}
        self._table: dict[type, Callable[[Any], object]] = {
            PathOf: lambda path: self.walk(path.target, path.steps),
            Module: lambda module: import_module(module.name),
            File: lambda file: self.import_file(file.path),
            Function: make_function,
            Array: self._array,
            Attachment: lambda attachment: attachment.whole(),
            Build: lambda build: build.make(self.value(build.items)),
            list: lambda items: [self.value(item) for item in items],
            dict: lambda entries: {key: self.value(item) for key, item in entries.items()},
        }

    def value(self, decoded: Any) -> Any:
        """The real thing. Raises StaleReference, FailedLink, and whatever imports and attributes raise."""
        kind = type(decoded)
        if kind in PLAIN:
            return decoded
        if kind is Ref:
            return self._objects.get(decoded.id)
        resolve = self._table.get(kind)
        return decoded if resolve is None else resolve(decoded)

    def arguments(self, args: list[object], kwargs: dict[str, object]) -> tuple[list[Any], dict[str, Any]]:
        """Both."""
        value = self.value
        plain = [item if type(item) in PLAIN else value(item) for item in args]
        return plain, {name: value(item) for name, item in kwargs.items()} if kwargs else {}

    def walk(self, start: object, steps: list[object]) -> Any:
        """Attributes (strings) and items (arrays of one) from what `start` stands for."""
        target = self.value(start)
        for step in steps:
            target = getattr(target, step) if type(step) is str else target[self.key(step)]
        return target

    def key(self, step: Any) -> Any:
        """The key of an item step `[key]`."""
        (key,) = step
        return self.value(key)

    def _array(self, array: Array) -> object:
        from flambeau.arrays import to_numpy

        data = array.data
        held = data.data if isinstance(data, Attachment) else bytearray(data)  # type: ignore[call-overload]
        return to_numpy(array.dtype, array.shape, held)

    def import_file(self, path: str) -> ModuleType:
        """Imports a .py file under a name of its own; again when the file has changed. Its folder is importable, as in a script."""
        import hashlib
        from importlib.util import module_from_spec, spec_from_file_location

        path = os.path.realpath(path)
        status = os.stat(path)
        version = (status.st_mtime_ns, status.st_size)
        known = self._files.get(path)
        if known is not None and known[0] == version:
            return known[1]
        folder, stem = os.path.split(path)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        name = f"_flambeau_{stem.removesuffix('.py')}_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
        spec = spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a Python file: expected a name that ends in .py")
        module = module_from_spec(spec)
        before = sys.modules.get(name)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before
            raise
        self._files[path] = (version, module)
        return module


def import_module(name: str) -> ModuleType:
    """`import a.b` and gives `a.b`."""
    module = sys.modules.get(name)
    if module is not None:
        return module
    __import__(name)
    return sys.modules[name]
