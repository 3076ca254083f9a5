"""Whether a module is still the one that a package was built of: its weights, and all that decides what its forward computes.
A package has both built in and sees no change. Knows modules, no packages.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from itertools import chain
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

# Of each weight: the bytes at its start, middle and end.
_WINDOW = 32
_OWN = frozenset(nn.Module().__dict__) | {"forward"}
_NOT_LOOKED_INTO = (nn.Module, Tensor, type, ModuleType, FunctionType, MethodType)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Watch:
    """A picture of a module, compared in one pass over lists: about 0.1 ms for 400 modules.

    Seen: replaced or edited weights (by identity, address, version, and bytes for edits through `.data`), replaced parts, hooks, other
    values of attributes and, one level deep, of lists, dicts and plain objects in them. Not seen: an edit through `.data` that leaves
    the start, middle and end of a weight as they were, and what lies deeper.
    """

    def __init__(self, module: nn.Module) -> None:
        modules = list(module.modules())
        # The module's own hooks run around a package as they do around its forward.
        self._hooks = [getattr(part, name) for part in modules[1:] for name in _HOOKS if hasattr(part, name)]
        mappings: Iterable[dict[Any, Any]] = (found for part in modules for found in _contents(part))
        self._values = [mapping.values() for mapping in mappings]
        self._lists = [value for part in modules for value in part.__dict__.values() if type(value) in (list, set)]
        self._plain = [part.__dict__ for part in modules]
        self._weights = _weights(modules)
        self._versioned = [weight for weight in self._weights if not weight.is_inference()]
        self._windows = [window for weight in self._weights for window in _windows(weight)]
        self._before = self._now()

    def holds(self) -> bool:
        """True if nothing is known to have changed."""
        if any(self._hooks) or _has_global_hooks():
            return False
        before = self._before
        try:
            # The addresses first: windows are read only while they are known to be where they were.
            return bool(
                [weight.data_ptr() for weight in self._weights] == before[0]
                and [weight._version for weight in self._versioned] == before[1]
                and list(chain.from_iterable(self._values)) == before[2]
                and list(chain.from_iterable(self._lists)) == before[3]
                and list(chain.from_iterable(map(_values, self._plain))) == before[4]
                and b"".join(self._windows) == before[5]
            )
        except Exception:  # Whatever cannot be compared is not the same.
            return False

    def _now(self) -> tuple[Any, ...]:
        return (
            [weight.data_ptr() for weight in self._weights],
            [weight._version for weight in self._versioned],
            list(chain.from_iterable(self._values)),
            list(chain.from_iterable(self._lists)),
            list(chain.from_iterable(map(_values, self._plain))),
            b"".join(self._windows),
        )


_values = dict.values


def has_hooks(module: nn.Module) -> bool:
    """Hooks on parts of it, which a package would not run."""
    inner = (part for part in module.modules() if part is not module)
    return any(getattr(part, name, None) for part in inner for name in _HOOKS) or _has_global_hooks()


def _contents(part: nn.Module) -> Iterable[dict[Any, Any]]:
    yield from (part._parameters, part._buffers, part._modules)
    yield from _attributes(part)


def _attributes(part: nn.Module) -> Iterable[dict[Any, Any]]:
    """Dicts and plain objects among its attributes, whose contents may be edited in place."""
    for name, value in part.__dict__.items():
        if name in _OWN:
            continue
        if isinstance(value, dict):
            yield value
        elif hasattr(value, "__dict__") and not isinstance(value, _NOT_LOOKED_INTO):
            yield vars(value)


def _weights(modules: Iterable[nn.Module]) -> list[Tensor]:
    found = {
        id(value): value
        for part in modules
        for value in (*part._parameters.values(), *part._buffers.values(), *part.__dict__.values())
        if isinstance(value, Tensor)
    }
    return list(found.values())


def _windows(weight: Tensor) -> Iterable[Any]:
    if weight.device.type != "cpu" or weight.layout is not torch.strided or not weight.numel() or not _is_dense(weight):
        return
    size, start = weight.numel() * weight.element_size(), weight.data_ptr()
    for offset in sorted({0, max(0, size // 2 - _WINDOW), max(0, size - _WINDOW)}):
        yield (ctypes.c_uint8 * min(_WINDOW, size - offset)).from_address(start + offset)


def _is_dense(weight: Tensor) -> bool:
    return weight.is_contiguous() or (weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last))


def _has_global_hooks() -> bool:
    found: Any = nn.modules.module
    return bool(found._global_forward_hooks or found._global_forward_pre_hooks)
