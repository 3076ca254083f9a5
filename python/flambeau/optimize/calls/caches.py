"""Key-value caches that a program hands to a language model, which writes into them: recognised, and their kind.
Knows the classes of transformers by name, so that nothing of it is imported.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

_MODULE = "transformers.cache_utils"


def is_cache(value: Any) -> bool:
    """A cache of transformers, or one of its layers. A program's own class is none: nobody knows what a copy of it would share."""
    return type(value).__module__ == _MODULE and not isinstance(value, type)


def has_cache(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether one of a call's arguments is a cache."""
    return any(is_cache(value) for value in args) or any(is_cache(value) for value in kwargs.values())


def kind(cache: Any) -> Hashable:
    """Its class and its layers', not what they hold: that grows with every call. Raises TypeError for a layer of an unknown class."""
    layers = getattr(cache, "layers", None)
    if layers is None:
        return type(cache).__qualname__, tuple(kind(part) for part in vars(cache).values() if is_cache(part))
    for layer in layers:
        if not is_cache(layer):
            raise TypeError(f"a layer of the {type(cache).__name__} is a {type(layer).__name__}, which cannot be copied to be replayed")
    return type(cache).__qualname__, tuple(type(layer).__qualname__ for layer in layers)


def parts(cache: Any) -> Iterator[tuple[str, Any]]:
    """Its attributes by name; classes among them say only how it makes new layers."""
    return ((name, value) for name, value in vars(cache).items() if not isinstance(value, type))
