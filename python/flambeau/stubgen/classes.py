"""One class: its own members, as instances and as the class itself. Inheritance is left to whoever writes them down."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .attributes import Attribute, attributes_of
from .kinds import UNKNOWN, Container, Instance, Kind, Self, alternatives, either
from .signatures import Method, method_of, method_of_stub
from .stubs import StubClass, stub_of

Member: TypeAlias = Method | Attribute
# Where the classes of a module are declared when that is not the module they say they are from.
DECLARED_ELSEWHERE = {"torch": ("torch._C", "torch._C._VariableFunctions")}
_SPECIAL = {"__call__", "__init__", "__iter__", "__getitem__"}


@dataclass
class ClassShape:
    of: type
    summary: str
    instance: dict[str, Member] = field(default_factory=dict)
    itself: dict[str, Member] = field(default_factory=dict)
    """Class methods, static methods, and `__init__` as what calling the class takes."""
    each: Kind | None = None
    """What iterating gives."""
    item: Kind | None = None
    """What an index gives."""


def shape_of(cls: type) -> ClassShape:
    stub, names = _stub_class(cls)
    doc = vars(cls).get("__doc__")
    shape = ClassShape(cls, method_of_stub((), {}, doc if isinstance(doc, str) else None, is_bound=True).summary)
    scope = {**names, cls.__name__: cls}
    shape.instance.update(attributes_of(cls, stub.attributes if stub is not None else {}, scope))
    for name, value in vars(cls).items():
        if not name.startswith("_") or name in _SPECIAL:
            _add(shape, name, value, scope)
    if stub is not None:
        for name, overloads in stub.functions.items():
            if not name.startswith("_") or name in (*_SPECIAL, "__new__"):
                _add_stub(shape, name, overloads, scope)
    _take_items(shape)
    shape.instance = {name: member for name, member in shape.instance.items() if not name.startswith("_") or name == "__call__"}
    return shape


def _add(shape: ClassShape, name: str, value: object, scope: dict[str, Any]) -> None:
    if isinstance(value, staticmethod):
        shape.itself[name] = method_of(value.__func__, scope, is_bound=False)
    elif isinstance(value, classmethod):
        shape.itself[name] = method_of(value.__func__, scope, is_bound=True)
    elif inspect.isroutine(value):
        into = shape.itself if name == "__init__" else shape.instance
        into[name] = method_of(value, scope, is_bound=True)


def _add_stub(shape: ClassShape, name: str, overloads: list[Any], scope: dict[str, Any]) -> None:
    decorators = {getattr(one, "id", getattr(one, "attr", "")) for function in overloads for one in function.decorator_list}
    value = vars(shape.of).get(name)
    if "property" in decorators or "setter" in decorators:
        kind = UNKNOWN if overloads[0].returns is None else method_of_stub(overloads[:1], scope, None, is_bound=True).signatures[0].result
        shape.instance[name] = Attribute(kind, kind if "setter" in decorators else None)
        return
    is_static = "staticmethod" in decorators
    doc = getattr(value, "__doc__", None)
    method = method_of_stub(overloads, scope, doc if isinstance(doc, str) else None, is_bound=not is_static)
    if name == "__new__":
        name = "__init__"
    into = shape.itself if name == "__init__" or is_static or "classmethod" in decorators else shape.instance
    into[name] = method


def _take_items(shape: ClassShape) -> None:
    """`__iter__` and `__getitem__` become what the loop and the index give."""
    iterated, indexed = shape.instance.pop("__iter__", None), shape.instance.pop("__getitem__", None)
    if isinstance(iterated, Method):
        results = [one for one in alternatives(iterated.signatures[0].result) if isinstance(one, Container) and one.name == "items"]
        shape.each = _named(results[0].of[0] if results else UNKNOWN, shape.of)
    if isinstance(indexed, Method):
        shape.item = _named(indexed.signatures[0].result, shape.of)
        shape.each = shape.each or shape.item


def _named(kind: Kind, cls: type) -> Kind:
    return either(Instance(cls) if isinstance(one, Self) else one for one in alternatives(kind))


def _stub_class(cls: type) -> tuple[StubClass | None, dict[str, Any]]:
    module = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    for place in (cls.__module__, *DECLARED_ELSEWHERE.get(cls.__module__, ())):
        stub = stub_of(place)
        if stub is not None and cls.__name__ in stub.classes:
            return stub.classes[cls.__name__], stub.names
    return None, dict(module)


def kinds_in(member: Member) -> list[Kind]:
    if isinstance(member, Attribute):
        return [member.kind, *([member.accepts] if member.accepts is not None else [])]
    return [kind for one in member.signatures for kind in (*(parameter.kind for parameter in one.parameters), one.result)]


def kinds_sent(member: Member) -> list[Kind]:
    """Of what is passed or set."""
    if isinstance(member, Attribute):
        return [] if member.accepts is None else [member.accepts]
    return [parameter.kind for one in member.signatures for parameter in one.parameters]
