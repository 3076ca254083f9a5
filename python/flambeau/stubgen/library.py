"""What is written down: the modules that were asked for, their classes, and the classes that those refer to."""

from __future__ import annotations

import inspect
import sys
import warnings
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from .attributes import Attribute, kind_of_value
from .classes import DECLARED_ELSEWHERE, ClassShape, kinds_in, shape_of
from .docstrings import read_docstring
from .kinds import UNKNOWN, Instance, Scalar, classes_in
from .limits import SUBMODULE_DEPTH
from .overlays import overlaid
from .signatures import Method, method_of, method_of_stub
from .stubs import stub_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence, Set

Public: TypeAlias = Method | Attribute | type | str
"""A function, a value, a class, or the full name of a submodule."""


# Deeper than others are read, because everybody uses them.
_ALSO = ("torch.nn.functional", "torch.nn.init", "torch.optim.lr_scheduler", "torch.utils.data")


@dataclass
class ModuleShape:
    name: str
    summary: str
    members: dict[str, Public] = field(default_factory=dict)


@dataclass
class Library:
    modules: dict[str, ModuleShape] = field(default_factory=dict)
    classes: dict[type, ClassShape] = field(default_factory=dict)


def read_library(modules: Sequence[ModuleType], words: Set[str] | None, progress: Callable[[int], None]) -> Library:
    """Those modules with all their functions, and the classes that the app names: `words`, or None for every public one.

    diffusers and transformers have thousands of classes; an editor that had to hold them all would be slow for no use.
    """
    library = Library()
    reader = _ModuleReader(library, words)
    for module in modules:
        reader.read(module, SUBMODULE_DEPTH)
    packages = {package_of(module) for module in library.modules}
    public = {one for shape in library.modules.values() for one in shape.members.values() if isinstance(one, type)}
    waiting = [one for shape in library.modules.values() for one in _classes_of_module(shape)]
    while waiting:
        cls = waiting.pop()
        for base in _written(cls):
            if base in library.classes:
                continue
            shape = library.classes[base] = overlaid(shape_of(base))
            progress(len(library.classes))
            # Classes of packages that nobody asked for are there, and what they refer to is not followed.
            if package_of(base.__module__) in packages:
                waiting += _classes_of_shape(shape, lambda one: one in public or package_of(one.__module__) not in packages)
    return library


def package_of(module: str) -> str:
    return module.partition(".")[0]


def _written(cls: type) -> list[type]:
    """The class and its bases, without Python's own."""
    return [one for one in cls.__mro__ if is_written(one)]


def is_written(cls: type) -> bool:
    """Not Python's own, and not ours: the worker puts itself between some classes."""
    module = getattr(cls, "__module__", None)
    is_own = isinstance(module, str) and package_of(module) in {"flambeau", *sys.stdlib_module_names}
    return isinstance(module, str) and not is_own and cls.__name__.isidentifier()


def _classes_of_module(shape: ModuleShape) -> Iterable[type]:
    for member in shape.members.values():
        if isinstance(member, type):
            yield member
        elif not isinstance(member, str):
            for kind in kinds_in(member):
                yield from classes_in(kind)


def _classes_of_shape(shape: ClassShape, is_worth: Callable[[type], bool]) -> Iterable[type]:
    """What methods take and give; of what objects are made of, only what is public: a network has hundreds of private blocks."""
    for member in (*shape.instance.values(), *shape.itself.values()):
        for kind in kinds_in(member):
            yield from (one for one in classes_in(kind) if isinstance(member, Method) or is_worth(one))
    for items in (shape.each, shape.item):
        if items is not None:
            yield from classes_in(items)


class _ModuleReader:
    def __init__(self, library: Library, words: Set[str] | None) -> None:
        self._library = library
        self._words = words

    def read(self, module: ModuleType, depth: int) -> None:
        if module.__name__ in self._library.modules:
            return
        shape = self._library.modules[module.__name__] = ModuleShape(module.__name__, read_docstring(module.__doc__).summary)
        # Where names are loaded one by one, each costs an import, and all that is public is at the top.
        is_lazy = isinstance(getattr(module, "_class_to_module", None), dict)
        listed = {name for name in vars(module).get("__all__") or () if isinstance(name, str)}
        for name in sorted(name for name in {*dir(module), *listed} if not name.startswith("_")):
            if is_lazy and not self._is_wanted(name):
                shape.members[name] = _left_out(module, name)
                continue
            value = _value(module, name)
            if isinstance(value, ModuleType) and value.__name__ == f"{module.__name__}.{name}" and not is_lazy:
                shape.members[name] = self._submodule(value, depth)
                continue
            member = _public(module, name, value, is_listed=name in listed)
            shape.members[name] = _left_out(module, name) if isinstance(member, type) and not self._is_wanted(name) else member

    def _submodule(self, module: ModuleType, depth: int) -> Public:
        parent, _, name = module.__name__.rpartition(".")
        if not self._is_wanted(name) or (depth == 0 and module.__name__ not in _ALSO):
            return _left_out(sys.modules[parent], name)
        self.read(module, depth - 1)
        return module.__name__

    def _is_wanted(self, name: str) -> bool:
        return self._words is None or name in self._words


def _left_out(module: ModuleType, name: str) -> Attribute:
    return Attribute(UNKNOWN, None, f"Not read, as the app does not use it: `flambeau types {module.__name__}.{name}` does.")


def _value(module: ModuleType, name: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(module, name)
    except BaseException as error:  # a name can fail in any way, also by SystemExit, and is then left out
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def _public(module: ModuleType, name: str, value: Any, *, is_listed: bool) -> Public:
    """Described where it is the module's own, or named in its `__all__`; else it is there, and nothing more is said."""
    package = package_of(module.__name__)
    if isinstance(value, type):
        if type(value).__name__ == "tensortype":
            return Attribute(UNKNOWN, None, "A tensor of one dtype, as torch named them before `torch.dtype`.")
        return value if is_written(value) and (is_listed or package_of(value.__module__) == package) else _THERE
    if inspect.isroutine(value):
        origin = getattr(value, "__module__", None) or package
        return _function(module, name, value) if is_listed or package_of(origin) == package else _THERE
    kind = kind_of_value(value)
    is_own = isinstance(kind, Instance) and is_written(kind.of) and package_of(kind.of.__module__) == package
    return Attribute(kind, None) if isinstance(kind, Scalar) or is_own else _THERE


_THERE = Attribute(UNKNOWN, None)


def _function(module: ModuleType, name: str, value: Any) -> Method:
    origin = getattr(value, "__module__", None) or module.__name__
    doc = getattr(value, "__doc__", None)
    for place in dict.fromkeys((origin, module.__name__, *DECLARED_ELSEWHERE.get(package_of(module.__name__), ()))):
        stub = stub_of(place)
        if stub is not None and name in stub.functions and not inspect.isfunction(value):
            return method_of_stub(stub.functions[name], stub.names, doc if isinstance(doc, str) else None, is_bound=False)
    return method_of(value, {}, is_bound=inspect.ismethod(value))
