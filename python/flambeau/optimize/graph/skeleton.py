"""Nested values without their tensors, so that others can be put in: how a package's flat outputs become the module's own.
The order of tensors is that of `tree.leaves`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from ..calls import tree

Fill = Callable[[Iterator[Tensor]], Any]


def skeleton(value: Any, path: str = "output") -> Fill:
    """What makes such a value of an iterator of tensors. Raises NotPlainError for what cannot be made again."""
    if isinstance(value, Tensor):
        return next
    if isinstance(value, Mapping):
        return _mapping(value, path)
    if isinstance(value, (list, tuple)):
        return _sequence(value, path)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: skeleton(getattr(value, field.name), f"{path}.{field.name}") for field in fields(value)}
        kind = type(value)
        return lambda tensors: kind(**{name: part(tensors) for name, part in parts.items()})
    if isinstance(value, tree.PLAIN):
        return lambda _: value
    raise tree.NotPlainError(f"{path} is a {type(value).__name__}, which cannot be made again")


def _mapping(value: Mapping[str, Any], path: str) -> Fill:
    kind, parts = type(value), {key: skeleton(item, f"{path}[{key!r}]") for key, item in value.items()}
    if is_dataclass(value):  # The outputs of diffusers and transformers are both.
        return lambda tensors: kind(**{key: part(tensors) for key, part in parts.items()})
    if kind.__init__ is not dict.__init__ and kind.__module__ != "collections":
        raise tree.NotPlainError(f"{path} is a {kind.__name__}, which cannot be made again")
    made: Any = kind
    return lambda tensors: made((key, part(tensors)) for key, part in parts.items())


def _sequence(value: Any, path: str) -> Fill:
    kind, parts = type(value), [skeleton(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "_fields"):
        return lambda tensors: kind(*[part(tensors) for part in parts])
    if kind is tuple and len(parts) == 1:
        only = parts[0]
        return lambda tensors: (only(tensors),)
    if kind not in (list, tuple):
        raise tree.NotPlainError(f"{path} is a {kind.__name__}, which cannot be made again")
    return lambda tensors: kind([part(tensors) for part in parts])
