"""What objects of a class carry besides methods: assignments in `__init__`, annotations, properties, class attributes."""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from dataclasses import dataclass
from typing import Any

from .annotations import kind_of
from .docstrings import read_docstring
from .kinds import NONE, UNKNOWN, Callback, Instance, Kind, Scalar, either


@dataclass(frozen=True)
class Attribute:
    kind: Kind
    """What reading gives."""
    accepts: Kind | None
    """What may be set; None: read only."""
    summary: str = ""


def attributes_of(cls: type, stub: dict[str, str], names: dict[str, Any]) -> dict[str, Attribute]:
    """Of this class alone, without its bases, by name."""
    found: dict[str, Attribute] = {}
    for name, kind in _from_init(cls, names).items():
        found[name] = Attribute(kind, kind)
    for name, annotation in {**_annotations(cls), **stub}.items():
        if not str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            kind = kind_of(annotation, names)
            found[name] = Attribute(kind, kind)
    for name, value in vars(cls).items():
        if isinstance(value, property):
            found[name] = _property(value, names)
        elif name not in found and isinstance(value, (str, int, float, bool)):
            found[name] = Attribute(_constant(value), UNKNOWN)
        elif name not in found and inspect.isdatadescriptor(value):
            found[name] = Attribute(UNKNOWN, UNKNOWN, read_docstring(getattr(value, "__doc__", None)).summary)
    return found


def _annotations(cls: type) -> dict[str, Any]:
    annotations = vars(cls).get("__annotations__")
    if annotations is None and "__annotate__" in dir(type(cls)):  # Python 3.14 makes them when asked
        annotations = typing.cast("dict[str, Any]", getattr(cls, "__annotations__", {}))
    return dict(annotations) if isinstance(annotations, dict) else {}


def _property(value: property, names: dict[str, Any]) -> Attribute:
    if value.fget is None:
        return Attribute(UNKNOWN, UNKNOWN)
    scope = {**getattr(inspect.unwrap(value.fget), "__globals__", {}), **names}
    kind = kind_of(getattr(value.fget, "__annotations__", {}).get("return", inspect.Parameter.empty), scope)
    return Attribute(kind, None if value.fset is None else kind, read_docstring(value.__doc__).summary)


def _from_init(cls: type, names: dict[str, Any]) -> dict[str, Kind]:
    """`self.x = …` and `self.register_modules(x=…)` in the source of `__init__`."""
    init = vars(cls).get("__init__")
    function = inspect.unwrap(init) if callable(init) else None
    if function is None or not inspect.isfunction(function):
        return {}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return {}
    scope = {**function.__globals__, **names}
    reader = _InitReader(_parameters(function, scope), scope)
    reader.visit(tree)
    return {name: either(kinds) for name, kinds in reader.found.items()}


def _parameters(function: Any, scope: dict[str, Any]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = kind_of(parameter.annotation, scope)
        kinds[name] = either([kind, NONE]) if parameter.default is None and kind is not UNKNOWN else kind
    return kinds


class _InitReader(ast.NodeVisitor):
    def __init__(self, parameters: dict[str, Kind], scope: dict[str, Any]) -> None:
        self.found: dict[str, list[Kind]] = {}
        self._parameters = parameters
        self._scope = scope

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            # `self.a, self.b = …` says that they are there, and not what they are.
            members = target.elts if isinstance(target, ast.Tuple) else [target]
            for member in members:
                self._set(member, self._kind(node.value) if member is target else UNKNOWN)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._set(node.target, kind_of(ast.unparse(node.annotation), self._scope))

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and _is_self(node.func.value):
            if node.func.attr == "register_modules":
                for keyword in node.keywords:
                    if keyword.arg is not None:
                        self.found.setdefault(keyword.arg, []).append(self._kind(keyword.value))
            elif node.func.attr in ("register_buffer", "register_parameter") and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    self.found.setdefault(name.value, []).append(UNKNOWN)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name == "__init__":
            self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """A function inside has a `self` of its own."""

    def _set(self, target: ast.expr, kind: Kind) -> None:
        if isinstance(target, ast.Attribute) and _is_self(target.value):
            self.found.setdefault(target.attr, []).append(kind)

    def _kind(self, value: ast.expr) -> Kind:
        if isinstance(value, ast.Constant):
            # None is a place to be filled later; with what, nobody says.
            return UNKNOWN if value.value is None else _constant(value.value)
        if isinstance(value, ast.Name):
            return self._parameters.get(value.id, UNKNOWN)
        if isinstance(value, ast.Call):
            return self._made_by(value.func)
        if isinstance(value, ast.IfExp):
            return either([self._kind(value.body), self._kind(value.orelse)])
        if isinstance(value, ast.Compare):
            return Scalar("bool")
        return UNKNOWN

    def _made_by(self, function: ast.expr) -> Kind:
        made = self._global(function)
        if isinstance(made, type) and made not in (dict, list, tuple, set, type, object):
            return kind_of(made)
        annotations = getattr(made, "__annotations__", {})
        return (
            kind_of(annotations.get("return", inspect.Parameter.empty), getattr(made, "__globals__", {})) if made is not None else UNKNOWN
        )

    def _global(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return None if node.id in self._parameters else self._scope.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._global(node.value)
            return getattr(owner, node.attr, None) if inspect.ismodule(owner) else None
        return None


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _constant(value: object) -> Kind:
    """The type of a constant; the next value may be another one."""
    return {bool: Scalar("bool"), str: Scalar("str"), int: Scalar("int"), float: Scalar("float")}.get(type(value), UNKNOWN)


def kind_of_value(value: object) -> Kind:
    """Of a module's attribute."""
    if type(value) in (bool, str, int, float):
        return _constant(value)
    if value is None or inspect.ismodule(value):
        return UNKNOWN
    if callable(value) and not isinstance(value, type):
        return Callback()
    return Instance(type(value))
