"""What a CALL can ask for: one function for each `op`. Knows no wire; runs user code."""

from __future__ import annotations

import itertools

from flambeau import TYPE_CHECKING, pipelines
from flambeau.protocol import NEXT_ITEMS, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

    from flambeau.protocol import Call
    from flambeau.resolve import Resolver


class UnknownOperation(Exception):
    """An `op` that this worker does not know."""


class BodyError(Exception):
    """The error inside the host's `with` body, as Python's context manager sees it."""


class ByValue(Record):
    """A result that travels as it is, instead of staying here behind a handle."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value: Final = value


class Items(Record):
    """The answer of `next`: scalars and handles beside `done`."""

    __slots__ = ("done", "values")

    def __init__(self, done: bool, values: list[object]) -> None:
        self.done: Final = done
        self.values: Final = values


class Steps:
    """An iterator of a container of Python's own, whose items are there already: several of them may travel at once."""

    def __init__(self, iterator: Iterator[object]) -> None:
        self.iterator = iterator


def carry_out(call: Call, resolver: Resolver) -> object:
    """The result of a call: an object, ByValue or Items. Raises whatever user code raises."""
    operation = _OPERATIONS.get(call.op)
    if operation is None:
        raise UnknownOperation(f"operation {call.op!r} is not known; expected one of {', '.join(_OPERATIONS)}")
    return operation(call, resolver)


def _target(call: Call, resolver: Resolver) -> Any:
    return resolver.walk(call.target, call.path)


def _call(call: Call, resolver: Resolver) -> object:
    function = _target(call, resolver)
    args, kwargs = resolver.arguments(call.args, call.kwargs)
    if not pipelines.is_pipeline(function):
        return resolver.coroutines.settled(function(*args, **kwargs))
    with pipelines.Watched(function):
        return function(*args, **pipelines.forgiving(kwargs))


def _owner(call: Call, resolver: Resolver) -> tuple[Any, Any]:
    if not call.path:
        raise TypeError(f"{call.op!r} needs a path: its last step is what is changed")
    return resolver.walk(call.target, call.path[:-1]), call.path[-1]


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


# Their items are there before they are asked for, so asking for several runs no code of the user's ahead of time.
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, range, str, bytes, type({}.keys()), type({}.values()), type({}.items())})


def _iter(call: Call, resolver: Resolver) -> object:
    target = _target(call, resolver)
    if type(target) in _CONTAINERS:
        return Steps(iter(target))
    if hasattr(type(target), "__aiter__") and not hasattr(type(target), "__iter__"):
        return type(target).__aiter__(target)
    return iter(target)


def _next(call: Call, resolver: Resolver) -> object:
    target = _target(call, resolver)
    if type(target) is Steps:
        values = list(itertools.islice(target.iterator, NEXT_ITEMS))
        return Items(len(values) < NEXT_ITEMS, values)
    try:
        if hasattr(type(target), "__anext__"):
            return Items(False, [resolver.coroutines.run(_awaited(type(target).__anext__(target)))])
        return Items(False, [next(target)])
    except (StopIteration, StopAsyncIteration):
        return Items(True, [])


async def _awaited(awaitable: Any) -> object:
    return await awaitable


def _enter(call: Call, resolver: Resolver) -> object:
    """Argument: whether the host's block holds the main thread until its `exit`, which is the dispatcher's to see to."""
    manager = _target(call, resolver)
    kind = type(manager)
    if hasattr(kind, "__enter__"):
        return kind.__enter__(manager)
    if hasattr(kind, "__aenter__"):
        return resolver.coroutines.run(_awaited(kind.__aenter__(manager)))
    raise TypeError(f"{kind.__qualname__!r} is not a context manager: it has no __enter__")


def _exit(call: Call, resolver: Resolver) -> object:
    """Argument: None, or the name and message of the error that ends the body. True if the manager swallows it."""
    manager = _target(call, resolver)
    kind = type(manager)
    told: Any = resolver.value(call.args[0]) if call.args else None
    error = None if told is None else BodyError(": ".join(str(part) for part in told))
    about = (None, None, None) if error is None else (BodyError, error, None)
    if hasattr(kind, "__exit__"):
        return bool(kind.__exit__(manager, *about))
    return bool(resolver.coroutines.run(_awaited(kind.__aexit__(manager, *about))))


def _close(call: Call, resolver: Resolver) -> None:
    """Generators only: `close` of a file or a socket that is being iterated would be another thing."""
    target = _target(call, resolver)
    kind = type(target)
    if hasattr(kind, "athrow") and hasattr(kind, "aclose"):
        resolver.coroutines.run(_awaited(kind.aclose(target)))
    elif hasattr(kind, "throw") and hasattr(kind, "close"):
        target.close()


_OPERATIONS: dict[str, Callable[[Call, Resolver], object]] = {
    "get": _target,
    "call": _call,
    "set": _set,
    "delete": _delete,
    "value": _value,
    "array": _array,
    "pixels": _pixels,
    "iter": _iter,
    "next": _next,
    "close": _close,
    "len": lambda call, resolver: len(_target(call, resolver)),
    "repr": lambda call, resolver: repr(_target(call, resolver)),
    "enter": _enter,
    "exit": _exit,
}
