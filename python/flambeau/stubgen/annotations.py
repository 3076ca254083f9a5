"""Annotations, as objects or as text, to kinds. One name that cannot be found costs its own annotation and no other."""

from __future__ import annotations

import enum
import inspect
import os
import sys
import types
import typing
from collections import abc
from pathlib import PurePath
from typing import Any

from .kinds import NONE, UNKNOWN, Callback, ClassItself, Container, Instance, Kind, Scalar, Self, Text, either
from .limits import NESTING

_SCALARS: dict[Any, Kind] = {
    str: Scalar("str"),
    int: Scalar("int"),
    float: Scalar("float"),
    bool: Scalar("bool"),
    bytes: Scalar("bytes"),
    bytearray: Scalar("bytes"),
    None: NONE,
    type(None): NONE,
    typing.SupportsIndex: Scalar("int"),
    typing.SupportsInt: Scalar("int"),
    typing.SupportsFloat: Scalar("float"),
    typing.AnyStr: Scalar("str"),
    typing.NoReturn: NONE,
}
_CONTAINERS: dict[Any, str] = {
    list: "list",
    set: "set",
    frozenset: "set",
    dict: "dict",
    abc.Mapping: "dict",
    abc.MutableMapping: "dict",
    abc.Sequence: "items",
    abc.MutableSequence: "items",
    abc.Iterable: "items",
    abc.Iterator: "items",
    abc.Generator: "items",
    abc.Collection: "items",
    abc.Set: "set",
}
_FUNCTIONS = (abc.Callable, types.FunctionType, types.BuiltinFunctionType, types.LambdaType, types.MethodType)
_TRANSPARENT = {typing.Annotated, typing.ClassVar, typing.Final, getattr(typing, "Required", None), getattr(typing, "NotRequired", None)}


def kind_of(annotation: object, names: dict[str, Any] | None = None, depth: int = 0) -> Kind:
    """The kind of an annotation; text is evaluated with `names`. Never raises."""
    if depth > NESTING or annotation is inspect.Parameter.empty or annotation is Any:
        return UNKNOWN
    try:
        if isinstance(annotation, str):
            return kind_of(evaluated(annotation, names or {}), names, depth + 1)
        if isinstance(annotation, typing.ForwardRef):
            return kind_of(evaluated(annotation.__forward_arg__, names or {}), names, depth + 1)
        return _kind_of_object(annotation, names, depth)
    except Exception:  # an annotation can hold any object, whose hash or equality may do anything
        return UNKNOWN


def evaluated(text: str, names: dict[str, Any]) -> object:
    """What the text of an annotation means, or Any. What annotations of a library say is as trusted as the library itself."""
    try:
        return eval(text, {**vars(typing), **names})
    except Exception:
        return Any


def _kind_of_object(annotation: Any, names: dict[str, Any] | None, depth: int) -> Kind:
    if annotation is None or (isinstance(annotation, (type, typing.TypeVar)) and annotation in _SCALARS):
        return _SCALARS[annotation]
    if getattr(annotation, "__name__", getattr(annotation, "_name", "")) == "Self" and annotation.__module__ in (
        "typing",
        "typing_extensions",
    ):
        return Self()
    if isinstance(annotation, typing.TypeVar):
        return _of_variable(annotation, names, depth)
    if (supertype := getattr(annotation, "__supertype__", None)) is not None:
        return kind_of(supertype, names, depth + 1)
    origin = typing.get_origin(annotation)
    if origin is not None:
        return _of_generic(origin, typing.get_args(annotation), names, depth)
    return _of_class(annotation) if isinstance(annotation, type) else UNKNOWN


def _of_variable(variable: typing.TypeVar, names: dict[str, Any] | None, depth: int) -> Kind:
    if variable.__constraints__:
        return either(kind_of(one, names, depth + 1) for one in variable.__constraints__)
    return UNKNOWN if variable.__bound__ is None else kind_of(variable.__bound__, names, depth + 1)


def _of_class(annotation: type) -> Kind:
    if annotation in _CONTAINERS:
        return _container(_CONTAINERS[annotation], (), None, 0)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if issubclass(annotation, PurePath):
        return Scalar("str")
    if type(annotation).__name__ == "tensortype":
        # torch.FloatTensor and its like are dtypes of old; annotations mean any tensor.
        return Instance(vars(sys.modules["torch"])["Tensor"])
    if getattr(annotation, "_is_protocol", False) or getattr(annotation, "__total__", None) is not None:
        return UNKNOWN  # protocols and typed dicts are shapes and not classes
    members = [Text(str(one.value)) for one in annotation] if issubclass(annotation, enum.Enum) and issubclass(annotation, str) else []
    return either([Instance(annotation), *members])


_PLAIN: dict[Any, Kind] = {
    tuple: Container("tuple", (UNKNOWN,), is_open=True),
    os.PathLike: Scalar("str"),
    **dict.fromkeys(_FUNCTIONS, Callback()),
    **dict.fromkeys((type, object, complex, slice), UNKNOWN),
}


def _of_generic(origin: Any, arguments: tuple[Any, ...], names: dict[str, Any] | None, depth: int) -> Kind:
    if origin in (typing.Union, getattr(types, "UnionType", None)):
        return either(kind_of(one, names, depth) for one in arguments)
    if origin is typing.Literal:
        return either(NONE if one is None else Text(one) if isinstance(one, (str, int, bool)) else UNKNOWN for one in arguments)
    if origin in _TRANSPARENT or origin is type:
        inner = kind_of(arguments[0], names, depth + 1)
        return inner if origin is not type else ClassItself(inner.of) if isinstance(inner, Instance) else UNKNOWN
    if origin in _CONTAINERS:
        return _container(_CONTAINERS[origin], arguments, names, depth)
    if origin is tuple:
        return _tuple(arguments, names, depth)
    return _of_class(origin) if isinstance(origin, type) else UNKNOWN


def _tuple(arguments: tuple[Any, ...], names: dict[str, Any] | None, depth: int) -> Kind:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return Container("tuple", (kind_of(arguments[0], names, depth + 1),), is_open=True)
    return Container("tuple", tuple(kind_of(one, names, depth + 1) for one in arguments))


def _container(name: Any, arguments: tuple[Any, ...], names: dict[str, Any] | None, depth: int) -> Kind:
    members = [kind_of(one, names, depth + 1) for one in arguments]
    count = 2 if name == "dict" else 1
    return Container(name, tuple([*members, UNKNOWN, UNKNOWN][:count]))
