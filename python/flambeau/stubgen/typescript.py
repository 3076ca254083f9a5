"""Kinds and signatures as TypeScript: what reading gives, what may be sent, and one overload for each way to call."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .kinds import (
    NONE,
    UNKNOWN,
    Callback,
    ClassItself,
    Container,
    Either,
    Instance,
    Kind,
    Scalar,
    Self,
    Text,
    Unknown,
    alternatives,
    either,
)
from .limits import INLINE_KEYWORDS, MANY_PARAMETERS, OPTIONAL_POSITIONS, OVERLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .signatures import Method, Parameter, Signature

_VALUES = {"str": "string", "int": "number", "float": "number", "bool": "boolean", "bytes": "Uint8Array", "none": "null"}
# As names of parameters; the others that TypeScript reserves, Python reserves as well.
RESERVED = frozenset(
    (
        *("arguments", "case", "catch", "const", "debugger", "default", "delete", "do", "enum", "eval"),
        *("export", "extends", "function", "implements", "instanceof", "interface", "let", "new", "null", "package"),
        *("private", "protected", "public", "static", "super", "switch", "this", "throw", "typeof", "var"),
        *("void"),
    )
)


@dataclass
class Names:
    """Qualified names of the classes that are written, and the keyword interfaces that their signatures share."""

    of: dict[type, str]
    keywords: dict[str, dict[str, str]] = field(default_factory=dict)
    """By package: body → name."""

    def keywords_of(self, package: str, wanted: str, body: str) -> str:
        known = self.keywords.setdefault(package, {})
        if body not in known:
            taken = set(known.values())
            known[body] = next(name for name in _numbered(wanted) if name not in taken)
        return f"{package}.{known[body]}"


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in range(2, 10_000):
        yield f"{name}{number}"


def comment(text: str, indent: str) -> str:
    return f"{indent}/** {text} */\n" if text else ""


def expression(kind: Kind, names: Names) -> str:
    """What reading or calling gives."""
    text = read(kind, names)
    return "PyExpr" if text == "unknown" else f"PyExpr<{text}>"


def read(kind: Kind, names: Names) -> str:
    """The T of PyExpr<T>."""
    if isinstance(kind, Either):
        parts = list(dict.fromkeys(read(member, names) for member in kind.of))
        return "unknown" if "unknown" in parts else " | ".join(parts)
    if isinstance(kind, (Scalar, Text)):
        return _VALUES[kind.name] if isinstance(kind, Scalar) else json.dumps(kind.value, ensure_ascii=False)
    if isinstance(kind, (Instance, ClassItself)):
        known = names.of.get(kind.of, "unknown")
        return known if known == "unknown" or isinstance(kind, Instance) else f"{known}Class"
    if isinstance(kind, Self):
        return "PySelf<this>"
    return _read_container(kind, names) if isinstance(kind, Container) else "unknown"


def _read_container(kind: Container, names: Names) -> str:
    members = [read(member, names) for member in kind.of]
    if kind.name == "tuple":
        return f"PyTuple<{_items(members[0])}>" if kind.is_open else f"PyTuple<[{', '.join(members)}]>"
    name = {"list": "PyList", "set": "PySet", "dict": "PyDict", "items": "PyItems"}[kind.name]
    return f"{name}<{', '.join(members)}>"


def _items(text: str) -> str:
    return f"({text})[]" if " " in text else f"{text}[]"


def sent(kind: Kind, names: Names, *, is_last: bool = False) -> str:
    """What may be passed. `is_last`: as the last positional argument, where a plain object would be keywords."""
    if kind is UNKNOWN or isinstance(kind, Unknown):
        return "PyPositional" if is_last else "PyArg"
    values: dict[str, None] = {}
    proxies: dict[str, None] = {}
    for member in alternatives(kind):
        for value in _values(member, names, is_last=is_last):
            values[value] = None
        if member != NONE:
            proxies[_proxy(member, names)] = None
    if "" in proxies:
        values["PyLike"] = None
    elif proxies:
        values[f"PyArgOf<{' | '.join(proxies)}>"] = None
    return " | ".join(values)


def _values(kind: Kind, names: Names, *, is_last: bool) -> list[str]:
    """Values of TypeScript's own that will do."""
    if isinstance(kind, Container):
        return _container_values(kind, names, is_last=is_last)
    if isinstance(kind, Scalar):
        return ["number", "bigint"] if kind.name == "int" else [_VALUES[kind.name]]
    if isinstance(kind, Text):
        return [json.dumps(kind.value, ensure_ascii=False)]
    is_array = isinstance(kind, Instance) and (kind.of.__module__, kind.of.__name__) == ("numpy", "ndarray")
    return ["PyCallback"] if isinstance(kind, Callback) else ["ArrayBufferView"] if is_array else []


def _container_values(kind: Container, names: Names, *, is_last: bool) -> list[str]:
    if kind.name == "dict":
        return ["ReadonlyMap<PyArg, PyArg>"] if is_last else ["PyKeywords", "ReadonlyMap<PyArg, PyArg>"]
    if kind.name == "set":
        return ["ReadonlySet<PyArg>"]
    members = [sent(member, names) for member in kind.of]
    is_fixed = kind.name == "tuple" and not kind.is_open
    return [f"readonly [{', '.join(members)}]" if is_fixed else f"readonly {_items(members[0])}"]


def _proxy(kind: Kind, names: Names) -> str:
    """The T of PyArgOf<T>; empty: any proxy will do."""
    if isinstance(kind, Text):
        return {str: "string", bool: "boolean"}.get(type(kind.value), "number")
    if isinstance(kind, Container):
        # Whoever asks for a list goes through it; a tuple or an array serves as well.
        item = kind.of[0] if len(set(kind.of)) == 1 and not isinstance(kind.of[0], Self) else UNKNOWN
        return "PyDict<unknown, unknown>" if kind.name == "dict" else f"PyItems<{read(item, names)}>"
    text = read(kind, names) if isinstance(kind, (Scalar, Instance)) else "unknown"
    return "" if text == "unknown" else text


@dataclass(frozen=True)
class Owner:
    """Whose signature it is: for names of keyword interfaces, and for Self where a class is called and not an object."""

    package: str
    name: str
    of: type | None = None


def overloads(name: str, method: Method, owner: Owner, names: Names) -> list[str]:
    """Call signatures without indentation: `zeros(size: …, keywords?: …): PyExpr<…>;`"""
    label = f"{owner.name}{_pascal(name)}Keywords"
    found: dict[str, None] = {}
    for signature in method.signatures:
        for parameters, result in _ways(signature, label, owner, names, is_only=len(method.signatures) == 1):
            found[f"{'' if name in ('__call__', '__init__') else member_name(name)}({parameters}): {result};"] = None
    return list(found)[:OVERLOADS]


def _ways(signature: Signature, label: str, owner: Owner, names: Names, *, is_only: bool) -> list[tuple[str, str]]:
    result = expression(_result(signature.result, owner), names)
    positions = [one for one in signature.parameters if one.form in ("position", "either")]
    by_name = [one for one in signature.parameters if one.form in ("either", "keyword")]
    rest = next((one for one in signature.parameters if one.form == "rest"), None)
    is_open = any(one.form == "keywords" for one in signature.parameters)
    keywords = _Keywords(label, by_name, is_open, owner, names)
    if rest is not None:
        return _ways_with_rest(positions, rest, keywords, result)
    needed = sum(one.is_required for one in positions)
    fewest = sum(one.form == "position" and one.is_required for one in positions)
    most = min(len(positions), needed + (OPTIONAL_POSITIONS if len(signature.parameters) <= MANY_PARAMETERS else not needed))
    # By name alone, with the first by position, with all that is required, and a few more.
    counts = sorted({*([fewest, max(1, fewest)] if is_only else []), *range(needed, most + 1)} & set(range(len(positions) + 1)))
    ways = []
    for count in counts:
        first = [f"{_safe(one.name)}: {sent(one.kind, names, is_last=index == count - 1)}" for index, one in enumerate(positions[:count])]
        ways.append((", ".join([*first, *keywords.after({one.name for one in positions[:count]})]), result))
    return ways


def _ways_with_rest(positions: list[Parameter], rest: Parameter, keywords: _Keywords, result: str) -> list[tuple[str, str]]:
    names = keywords.names
    first = [f"{_safe(one.name)}: {sent(one.kind, names)}" for one in positions]
    item = sent(rest.kind, names, is_last=True)
    last = keywords.after({one.name for one in positions})
    ways = [(", ".join([*first, f"...{_safe(rest.name)}: {_items(item)}"]), result)]
    if last:
        ways.append((", ".join([*first, f"...{_safe(rest.name)}: [...{_items(item)}, {last[0].partition(': ')[2]}]"]), result))
    return ways


def _result(kind: Kind, owner: Owner) -> Kind:
    if owner.of is None:
        return kind
    made = owner.of
    return either(Instance(made) if isinstance(member, Self) else member for member in alternatives(kind))


@dataclass(frozen=True)
class _Keywords:
    """The trailing object. Optional ones are shared by all ways to call; required ones are those not given by position."""

    label: str
    parameters: list[Parameter]
    is_open: bool
    owner: Owner
    names: Names

    def after(self, given: set[str]) -> list[str]:
        required = [
            f"{property_name(one.name)}: {sent(one.kind, self.names)}"
            for one in self.parameters
            if one.is_required and one.name not in given
        ]
        grouped = {one.group: [other for other in self.parameters if other.group == one.group] for one in self.parameters if one.group}
        optional = [one for one in self.parameters if not one.is_required and not one.group]
        parts = [f"{{ {'; '.join(required)} }}"] if required else []
        parts += [self._shared(every, group) for group, every in grouped.items()]
        if len(optional) > INLINE_KEYWORDS or any(one.note for one in optional):
            parts.append(self._shared(optional, f"{self.owner.package}.{self.label}"))
        elif left := [one for one in optional if one.name not in given]:
            parts.append(f"{{ {'; '.join(self._optional(one) for one in left)} }}")
        if self.is_open:
            parts.append("PyKeywords")
        return [f"keywords{'' if required else '?'}: {' & '.join(parts)}"] if parts else []

    def _optional(self, one: Parameter) -> str:
        # `undefined` members are not sent.
        return f"{property_name(one.name)}?: {sent(one.kind, self.names)} | undefined"

    def _shared(self, optional: list[Parameter], name: str) -> str:
        body = "".join(f"{comment(one.note, '  ')}  {self._optional(one)};\n" for one in optional)
        package, _, label = name.partition(".")
        return self.names.keywords_of(package, label, body)


def member_name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else json.dumps(name, ensure_ascii=False)


property_name = member_name


def _safe(name: str) -> str:
    return f"{name}_" if name in RESERVED or name == "keywords" else name


def _pascal(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.strip("_").split("_")) if name != "__init__" else ""
