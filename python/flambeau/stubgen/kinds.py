"""Types as they are understood from annotations, before they become TypeScript. Knows no annotation and no TypeScript."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from .limits import UNION_MEMBERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class Unknown:
    """Anything: the annotation is missing, or says nothing that TypeScript could use."""


@dataclass(frozen=True)
class Scalar:
    """Comes by value."""

    name: Literal["str", "int", "float", "bool", "bytes", "none"]


@dataclass(frozen=True)
class Text:
    """One string out of a closed set."""

    value: str | int | bool


@dataclass(frozen=True)
class Instance:
    of: type


@dataclass(frozen=True)
class ClassItself:
    of: type


@dataclass(frozen=True)
class Self:
    """Of the class that the method is called on."""


@dataclass(frozen=True)
class Callback:
    """Something to call; a TypeScript function will do."""


@dataclass(frozen=True)
class Container:
    name: Literal["list", "tuple", "set", "dict", "items"]
    """`tuple` has one member for each item, or one and `is_open`; `dict` has key and value; the others one."""
    of: tuple[Kind, ...]
    is_open: bool = False


@dataclass(frozen=True)
class Either:
    of: tuple[Kind, ...]


Kind: TypeAlias = Unknown | Scalar | Text | Instance | ClassItself | Self | Callback | Container | Either

UNKNOWN = Unknown()
NONE = Scalar("none")


def either(kinds: Iterable[Kind]) -> Kind:
    """A union, flat and without repetition; anything together with something is anything."""
    members: dict[Kind, None] = {}
    for kind in kinds:
        for member in kind.of if isinstance(kind, Either) else (kind,):
            members[member] = None
    if UNKNOWN in members or not members or len(members) > UNION_MEMBERS:
        return UNKNOWN
    flat = tuple(members)
    return flat[0] if len(flat) == 1 else Either(flat)


def alternatives(kind: Kind) -> tuple[Kind, ...]:
    return kind.of if isinstance(kind, Either) else (kind,)


def without(kind: Kind, *classes: type) -> Kind:
    """The union without those kinds; as it was where nothing would be left."""
    left = [member for member in alternatives(kind) if not isinstance(member, classes)]
    return either(left) if left else kind


def classes_in(kind: Kind) -> Iterator[type]:
    if isinstance(kind, (Instance, ClassItself)):
        yield kind.of
    elif isinstance(kind, (Container, Either)):
        for member in kind.of:
            yield from classes_in(member)
