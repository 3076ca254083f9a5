"""Nested arguments and outputs: walking, cloning, describing. Knows tensors, plain containers and caches, no modules."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from .caches import is_cache, parts
from .caches import kind as cache_kind

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, enum.Enum)

_TENSORS = frozenset({Tensor, torch.nn.Parameter})
_BY_TYPE = (int, float, complex)
_BY_VALUE = frozenset({bool, str, bytes, type(None), torch.dtype, torch.device})


class NotPlainError(TypeError):
    """An argument or output holds something that can be neither copied nor compared; the message names it."""


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Tensors and plain values with their paths, in a stable order. Raises NotPlainError for anything else."""
    if isinstance(value, (Tensor, *PLAIN)):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}")
    elif is_cache(value):
        for name, part in parts(value):
            yield from leaves(part, f"{path}.{name}")
    else:
        raise NotPlainError(
            f"{path} is a {type(value).__name__}; tensors, plain values, lists, tuples, dicts and dataclasses are understood"
        )


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in it."""
    return [leaf for _, leaf in leaves(value, "value") if isinstance(leaf, Tensor)]


def clone(value: Any, path: str) -> Any:
    """A copy that shares no memory and has no gradient. Raises NotPlainError like `leaves`."""
    copies = {id(leaf): leaf.detach().clone() for _, leaf in leaves(value, path) if isinstance(leaf, Tensor)}
    return copy.deepcopy(value, copies)


def num_bytes(value: Any) -> int:
    """Bytes of the elements of every tensor in it."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors(value))


def layout(tensor: Tensor) -> str | tuple[int, ...]:
    """The class of its strides: "contiguous", "channels_last", or the strides themselves."""
    if tensor.is_contiguous():
        return "contiguous"
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return "channels_last"
    return tensor.stride()


def kind(value: Any, path: str = "value") -> Any:
    """What a fast path was measured for, as a hashable that reads alike in every process: numbers count by type (a timestep changes),
    other plain values by value, tensors by dtype, device, shape and layout. Raises NotPlainError like `leaves`.

    It is asked of every argument of every call, hence the exact classes first.
    """
    cls = type(value)
    if cls in _TENSORS:
        return value.dtype, value.device, value.shape, layout(value)
    if cls in _BY_TYPE:
        return cls
    if cls in _BY_VALUE:
        return value
    if cls is tuple or cls is list:
        return cls, tuple([kind(item, path) for item in value])
    if cls is dict:
        return cls, tuple([(key, kind(item, path)) for key, item in value.items()])
    return cls, cache_kind(value) if is_cache(value) else tuple((place, _leaf_kind(leaf)) for place, leaf in leaves(value, path))


def _leaf_kind(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.dtype, leaf.device, leaf.shape, layout(leaf)
    return type(leaf) if isinstance(leaf, _BY_TYPE) and not isinstance(leaf, bool) else leaf
