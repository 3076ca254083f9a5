"""What rows of overlays are made of: classes that are loaded, looked up by name, and the members that several rows give."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .kinds import NONE, UNKNOWN, Instance, Kind, Scalar, Self, either
from .notes import class_in_returns
from .signatures import Method, Parameter, Signature

if TYPE_CHECKING:
    from .classes import ClassShape


def is_a(cls: type, base: str) -> bool:
    return any(f"{one.__module__}.{one.__name__}" == base for one in cls.__mro__)


def class_named(name: str) -> type | None:
    """A class that is loaded, by its full name."""
    module, _, last = name.rpartition(".")
    found = getattr(sys.modules.get(module), last, None)
    return found if isinstance(found, type) else None


def instance_of(*names: str) -> Kind:
    """The first of those classes that is loaded."""
    return next((Instance(cls) for name in names if (cls := class_named(name)) is not None), UNKNOWN)


def parameter(name: str, kind: Kind, *, is_keyword: bool = True, note: str = "") -> Parameter:
    return Parameter(name, "keyword" if is_keyword else "either", kind, False, note)


def own(shape: ClassShape, name: str) -> Any:
    """A function that this class itself defines."""
    return vars(shape.of).get(name)


def documented_result(shape: ClassShape, name: str, method: Method) -> Method:
    """Without an annotation, the class that the docstring names."""
    found = class_in_returns(own(shape, name)) if any(one.result is UNKNOWN for one in method.signatures) else None
    if found is None:
        return method
    return replace(method, signatures=tuple(replace(one, result=Instance(found)) for one in method.signatures))


def movable(shape: ClassShape) -> Method:
    """`.to("cuda")`, `.to(torch.float16)`, `.to("cuda", dtype)`."""
    device, dtype = instance_of("torch.device"), instance_of("torch.dtype")
    target = either([Scalar("str"), Scalar("int"), device, dtype])
    places = tuple(Parameter(name, "position", target, False) for name in ("device_or_dtype", "dtype"))
    keywords = (parameter("device", either([Scalar("str"), device, NONE])), parameter("dtype", either([dtype, NONE])))
    more = tuple(parameter(name, Scalar("bool")) for name in ("non_blocking", "silence_dtype_warnings"))
    before = shape.instance.get("to")
    return Method((Signature((*places, *keywords, *more), Self()),), before.summary if isinstance(before, Method) else "")
