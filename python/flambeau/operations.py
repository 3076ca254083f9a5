"""What a CALL can ask for: one function for each `op`. Knows no wire; runs user code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flambeau import pipelines
from flambeau.protocol import Call
from flambeau.resolve import Resolver


class UnknownOperation(Exception):
    """An `op` that this worker does not know."""


class BodyError(Exception):
    """The error inside the host's `with` body, as Python's context manager sees it."""


@dataclass(frozen=True)
class ByValue:
    """A result that travels as it is, instead of staying here behind a handle."""

    value: object


@dataclass(frozen=True)
class Item:
    """The answer of `next`: a scalar or a handle beside `done`."""

    done: bool
    value: object


def carry_out(call: Call, resolver: Resolver) -> object:
    """The result of a call: an object, ByValue or Item. Raises whatever user code raises."""
    operation = _OPERATIONS.get(call.op)
    if operation is None:
        raise UnknownOperation(f"operation {call.op!r} is not known; expected one of {', '.join(_OPERATIONS)}")
    return operation(call, resolver)


def _target(call: Call, resolver: Resolver) -> Any:
    return resolver.walk(resolver.value(call.target), call.path)


def _call(call: Call, resolver: Resolver) -> object:
    function = _target(call, resolver)
    args, kwargs = resolver.arguments(call.args, call.kwargs)
    if not pipelines.is_pipeline(function):
        return function(*args, **kwargs)
    with pipelines.watched(function):
        return function(*args, **kwargs)


def _owner(call: Call, resolver: Resolver) -> tuple[Any, Any]:
    if not call.path:
        raise TypeError(f"{call.op!r} needs a path: its last step is what is changed")
    return resolver.walk(resolver.value(call.target), call.path[:-1]), call.path[-1]


def _set(call: Call, resolver: Resolver) -> None:
    owner, step = _owner(call, resolver)
    (value,) = (resolver.value(item) for item in call.args)
    if type(step) is str:
        setattr(owner, step, value)
    else:
        owner[resolver.key(step)] = value


def _delete(call: Call, resolver: Resolver) -> None:
    owner, step = _owner(call, resolver)
    if type(step) is str:
        delattr(owner, step)
    else:
        del owner[resolver.key(step)]


def _value(call: Call, resolver: Resolver) -> object:
    from flambeau.plain import plain

    return ByValue(plain(_target(call, resolver)))


def _array(call: Call, resolver: Resolver) -> object:
    from flambeau.arrays import to_wire

    dtype = resolver.value(call.args[0]) if call.args else None
    return ByValue(to_wire(_target(call, resolver), dtype))


def _pixels(call: Call, resolver: Resolver) -> object:
    from flambeau.arrays import pixels

    return ByValue(pixels(_target(call, resolver)))


def _next(call: Call, resolver: Resolver) -> object:
    target = _target(call, resolver)
    try:
        return Item(False, next(target))
    except StopIteration:
        return Item(True, None)


def _enter(call: Call, resolver: Resolver) -> object:
    manager = _target(call, resolver)
    enter = getattr(type(manager), "__enter__", None)
    if enter is None:
        raise TypeError(f"{type(manager).__qualname__!r} is not a context manager: it has no __enter__")
    return enter(manager)


def _exit(call: Call, resolver: Resolver) -> object:
    """Arguments: none, or the name and message of the error that ends the body. True if the manager swallows it."""
    manager = _target(call, resolver)
    args = [resolver.value(item) for item in call.args]
    if len(args) == 1 and isinstance(args[0], list):
        args = args[0]
    leave = type(manager).__exit__
    if not args or args[0] is None:
        return bool(leave(manager, None, None, None))
    error = BodyError(": ".join(str(part) for part in args))
    return bool(leave(manager, BodyError, error, None))


def _close(call: Call, resolver: Resolver) -> None:
    """Generators only: `close` of a file or a socket that is being iterated would be another thing."""
    target = _target(call, resolver)
    if hasattr(type(target), "throw") and hasattr(type(target), "close"):
        target.close()


_OPERATIONS: dict[str, Callable[[Call, Resolver], object]] = {
    "get": _target,
    "call": _call,
    "set": _set,
    "delete": _delete,
    "value": _value,
    "array": _array,
    "pixels": _pixels,
    "iter": lambda call, resolver: iter(_target(call, resolver)),
    "next": _next,
    "close": _close,
    "len": lambda call, resolver: len(_target(call, resolver)),
    "repr": lambda call, resolver: repr(_target(call, resolver)),
    "enter": _enter,
    "exit": _exit,
}
