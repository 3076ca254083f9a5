"""What the host asks for by name: what `py.expr`, `py.object` and `py.tensor` come to. Plain values have words on the wire."""

from __future__ import annotations

import builtins

from flambeau import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def evaluate(source: str, *values: Any) -> Any:
    """`py.expr`: evaluates an expression in which the values are called `_0`, `_1`, …"""
    names: dict[str, Any] = {f"_{index}": value for index, value in enumerate(values)}
    # As globals, so that comprehensions and lambdas inside see them as well.
    return eval(compile(source.strip(), "<py.expr>", "eval"), {"__builtins__": builtins, **names})


def make_object(methods: dict[str, Callable[..., Any]]) -> Any:
    """`py.object`: an object whose methods, also special ones such as `__call__`, are these functions; they get no `self`."""
    return type("HostObject", (), {name: _method(function) for name, function in methods.items()})()


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(_self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return method


def tensor(data: Any, shape: list[int] | None = None, device: Any = None, dtype: Any = None) -> Any:
    """`py.tensor`: a tensor over the memory that the data arrived in, moved or converted only if asked."""
    import torch

    if isinstance(data, (bytes, bytearray)):
        made = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    else:
        made = torch.as_tensor(data)
    if shape is not None:
        made = made.reshape(list(shape))
    return made if device is None and dtype is None else made.to(device=device, dtype=dtype)
