"""Classes and modules as interfaces. A subclass extends what it shares with its base, and repeats what any subclass overrides.

Python lets a method change its signature when it is overridden, TypeScript does not. So each base is split: members that every
written subclass leaves alone are inherited, the others are written out wherever they apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .attributes import Attribute
from .classes import kinds_sent
from .kinds import Self, alternatives, classes_in
from .library import package_of
from .signatures import Method
from .typescript import Names, Owner, comment, expression, member_name, overloads, read, sent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .classes import ClassShape, Member
    from .library import Library, ModuleShape, Public

# Every callable has these in JavaScript; the bridge answers for them, untyped.
_FUNCTION_MEMBERS = frozenset(["apply", "bind", "call", "name", "length", "caller", "arguments", "prototype", "then", "catch", "finally"])
Side = Literal["instance", "itself"]


@dataclass(frozen=True)
class Line:
    """One member: its comment, and its text, by which members are compared."""

    note: str
    text: str


class Interfaces:
    def __init__(self, library: Library, names: Names) -> None:
        self._library = library
        self._names = names
        self._lines: dict[tuple[type, Side], dict[str, Line]] = {}
        self._subclasses: dict[type, list[type]] = {}
        for cls in library.classes:
            for base in cls.__mro__[1:]:
                self._subclasses.setdefault(base, []).append(cls)
        self._shared: dict[tuple[type, Side], dict[str, Line]] = {}
        self._asked_for = set(_classes_asked_for(library))

    def class_text(self, cls: type) -> str:
        shape = self._library.classes[cls]
        return self._side(cls, "instance", shape.summary) + self._side(cls, "itself", f"The class `{cls.__name__}` itself.")

    def module_text(self, name: str, shape: ModuleShape) -> str:
        body = "".join(
            self._module_member(shape, member, what) for member, what in shape.members.items() if member not in _FUNCTION_MEMBERS
        )
        return f"{comment(shape.summary, '')}export interface {name} {{\n{body}}}\n"

    def _module_member(self, shape: ModuleShape, name: str, what: Public) -> str:
        if isinstance(what, str):
            return f"  readonly {member_name(name)}: PyExpr<{package_of(what)}.{module_name(what)}>;\n"
        if isinstance(what, type):
            note = self._library.classes[what].summary if what in self._library.classes else ""
            known = self._names.of.get(what)
            return f"{comment(note, '  ')}  readonly {member_name(name)}: PyExpr{'' if known is None else f'<{known}Class>'};\n"
        package = package_of(shape.name)
        owner = Owner(package, "" if "." not in shape.name else module_name(shape.name).removesuffix("Module"))
        return _text([self._line(name, what, owner)])

    def _side(self, cls: type, side: Side, note: str) -> str:
        name = _last(self._names.of[cls]) + ("" if side == "instance" else "Class")
        lines, shared = self._all(cls, side), self._shared_of(cls, side)
        bases = self._bases(cls, side)
        inherited = {member for base in bases for member in self._shared_of(base, side)}
        own_shared = {member: line for member, line in shared.items() if member not in inherited}
        rest = {member: line for member, line in lines.items() if member not in shared}
        kind = f"  readonly $kind?: {self._kind(cls)};\n" if side == "instance" else ""
        extends = _extends(self._shared_name(base, side) for base in bases)
        if not self._is_split(cls, side):
            return f"{comment(note, '')}export interface {name}{extends} {{\n{kind}{_text([*own_shared.values(), *rest.values()])}}}\n"
        split = (
            f"interface {name}_shared{extends} {{\n{_text(own_shared.values())}}}\n"
            if own_shared or len(bases) > 1
            else f"interface {name}_shared{extends} {{}}\n"
        )
        whole = f"{comment(note, '')}export interface {name} extends {name}_shared {{\n{kind}{_text(rest.values())}}}\n"
        return f"export {split}{whole}"

    def _is_split(self, cls: type, side: Side) -> bool:
        return bool(self._subclasses.get(cls))

    def _shared_name(self, cls: type, side: Side) -> str:
        return f"{self._names.of[cls]}{'' if side == 'instance' else 'Class'}_shared"

    def _bases(self, cls: type, side: Side) -> list[type]:
        """Direct bases that are written, also through ones that are not."""
        found: dict[type, None] = {}
        for base in cls.__bases__:
            for one in [base] if base in self._library.classes else self._bases(base, side):
                found[one] = None
        return list(found)

    def _kind(self, cls: type) -> str:
        """What an argument is compared by: the class itself and those of its bases that any parameter asks for."""
        bases = [one for one in cls.__mro__ if one is cls or one in self._asked_for]
        members = "; ".join(f'readonly "{self._names.of[one]}": true' for one in bases)
        return f"{{ {members} }}"

    def _shared_of(self, cls: type, side: Side) -> dict[str, Line]:
        """Members that are the same in every written subclass."""
        known = self._shared.get((cls, side))
        if known is None:
            subclasses = self._subclasses.get(cls, [])
            known = self._shared[cls, side] = {
                name: line
                for name, line in self._all(cls, side).items()
                if all(self._all(one, side)[name].text == line.text for one in subclasses)
            }
        return known

    def _all(self, cls: type, side: Side) -> dict[str, Line]:
        """Members with those of all bases, as Python's method resolution order gives them."""
        known = self._lines.get((cls, side))
        if known is not None:
            return known
        known = self._lines[cls, side] = {}
        for base in reversed([one for one in cls.__mro__ if one in self._library.classes]):
            shape = self._library.classes[base]
            for name, member in (shape.instance if side == "instance" else shape.itself).items():
                if name not in _FUNCTION_MEMBERS:
                    known[name] = self._member(cls, base, side, (name, member))
            if side == "instance":
                known.update(self._items(shape))
        if side == "itself" and "__init__" not in known:
            known["__init__"] = Line("", f"  (...arguments_: PyPositional[]): PyExpr<{self._names.of[cls]}>;\n")
        return known

    def _member(self, cls: type, defined: type, side: Side, what: tuple[str, Member]) -> Line:
        name, member = what
        if cls is not defined and not (side == "itself" and _depends_on_class(name, member)):
            return self._all(defined, side)[name]
        if name == "__init__" and isinstance(member, Method):
            member = Method(tuple(type(one)(one.parameters, Self()) for one in member.signatures), member.summary)
        defined_name = _last(self._names.of[defined])
        owner = Owner(package_of(self._names.of[defined]), defined_name, cls if side == "itself" else None)
        return self._line(name, member, owner)

    def _line(self, name: str, member: Member, owner: Owner) -> Line:
        if isinstance(member, Method):
            return Line(member.summary, "".join(f"  {one}\n" for one in overloads(name, member, owner, self._names)))
        return Line(member.summary, _attribute(member_name(name), member, self._names))

    def _items(self, shape: ClassShape) -> dict[str, Line]:
        lines: dict[str, Line] = {}
        if shape.each is not None:
            lines["$each"] = Line("", f"  readonly $each?: {read(shape.each, self._names)};\n")
        if shape.item is not None:
            lines["$item"] = Line("", f"  readonly [index: number]: {expression(shape.item, self._names)};\n")
        return lines


def _classes_asked_for(library: Library) -> Iterable[type]:
    members = [member for shape in library.classes.values() for member in (*shape.instance.values(), *shape.itself.values())]
    members += [member for shape in library.modules.values() for member in shape.members.values() if not isinstance(member, (str, type))]
    for member in members:
        for kind in kinds_sent(member):
            yield from (one for one in classes_in(kind) if one in library.classes)


def module_name(module: str) -> str:
    """`torch.nn` → `TorchNnModule`."""
    return "".join(part[:1].upper() + part[1:] for part in module.split(".")) + "Module"


def _attribute(name: str, member: Attribute, names: Names) -> str:
    given = expression(member.kind, names)
    if member.accepts is None:
        return f"  readonly {name}: {given};\n"
    return f"  get {name}(): {given};\n  set {name}(value: {sent(member.accepts, names)});\n"


def _depends_on_class(name: str, member: Member) -> bool:
    """Made anew for each subclass: what gives an object of the class."""
    if name == "__init__":
        return True
    return isinstance(member, Method) and any(isinstance(kind, Self) for one in member.signatures for kind in alternatives(one.result))


def _text(lines: Iterable[Line]) -> str:
    return "".join(f"{comment(line.note, '  ')}{line.text}" for line in lines)


def _extends(bases: Iterable[str]) -> str:
    listed = ", ".join(bases)
    return f" extends {listed}" if listed else ""


def _last(qualified: str) -> str:
    return qualified.partition(".")[2]
