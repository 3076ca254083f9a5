"""Functions to signatures: from a `.pyi` file where there is one, else from the function itself."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from .annotations import kind_of
from .docstrings import Docstring, read_docstring
from .kinds import NONE, UNKNOWN, Kind, Self, either

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Form = Literal["position", "either", "keyword", "rest", "keywords"]
_FORMS: dict[Any, Form] = {
    inspect.Parameter.POSITIONAL_ONLY: "position",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_POSITIONAL: "rest",
    inspect.Parameter.VAR_KEYWORD: "keywords",
}


@dataclass(frozen=True)
class Parameter:
    name: str
    form: Form
    kind: Kind
    is_required: bool
    note: str = ""
    group: str = ""
    """Keywords that many functions share: the qualified name of the interface that holds them."""


@dataclass(frozen=True)
class Signature:
    parameters: tuple[Parameter, ...]
    result: Kind


ANYTHING = Signature((Parameter("arguments", "rest", UNKNOWN, False), Parameter("keywords", "keywords", UNKNOWN, False)), UNKNOWN)


@dataclass(frozen=True)
class Method:
    signatures: tuple[Signature, ...]
    summary: str = ""


def method_of(function: Any, names: dict[str, Any], *, is_bound: bool) -> Method:
    """A Python function; `is_bound`: its first parameter is the object or the class."""
    note = read_docstring(_doc(function))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return Method((ANYTHING,), note.summary)
    scope = {**getattr(inspect.unwrap(function), "__globals__", {}), **names}
    given = list(signature.parameters.values())
    result = kind_of(signature.return_annotation, scope)
    if is_bound and given and _is_same(given[0].annotation, signature.return_annotation):
        result = Self()
    if is_bound and given and given[0].kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        given = given[1:]
    parameters = tuple(_parameter(one, scope, note) for one in given)
    return Method((Signature(parameters, result),), note.summary)


def _is_same(owner: object, result: object) -> bool:
    """`def to(self: T) -> T` and `def make(cls: type[T]) -> T` give their own class."""
    if owner is inspect.Parameter.empty or result is inspect.Parameter.empty:
        return False
    names = [one if isinstance(one, str) else getattr(one, "__name__", repr(one)) for one in (owner, result)]
    return names[0] in (names[1], f"type[{names[1]}]", f"Type[{names[1]}]")


def _parameter(given: inspect.Parameter, scope: dict[str, Any], note: Docstring) -> Parameter:
    kind = kind_of(given.annotation, scope)
    if given.default is None and kind is not UNKNOWN:
        kind = either([kind, NONE])
    is_required = given.default is inspect.Parameter.empty and _FORMS[given.kind] not in ("rest", "keywords")
    text = note.parameters[given.name].text if given.name in note.parameters else ""
    return Parameter(given.name, _FORMS[given.kind], kind, is_required, text)


def method_of_stub(overloads: Iterable[ast.FunctionDef], names: dict[str, Any], doc: str | None, *, is_bound: bool) -> Method:
    note = read_docstring(doc)
    signatures = tuple(dict.fromkeys(_stub_signature(one, names, note, is_bound=is_bound) for one in overloads))
    return Method(signatures or (ANYTHING,), note.summary or read_docstring(_stub_doc(overloads)).summary)


def _stub_doc(overloads: Iterable[ast.FunctionDef]) -> str | None:
    return next((doc for one in overloads if (doc := ast.get_docstring(one)) is not None), None)


def _stub_signature(function: ast.FunctionDef, names: dict[str, Any], note: Docstring, *, is_bound: bool) -> Signature:
    given = function.args
    positions = [*given.posonlyargs, *given.args]
    first_default = len(positions) - len(given.defaults)
    parameters: list[Parameter] = []
    for index, one in enumerate(positions):
        # Before PEP 570, stubs marked positional parameters with two underscores.
        is_position = index < len(given.posonlyargs) or (one.arg.startswith("__") and not one.arg.endswith("__"))
        default = given.defaults[index - first_default] if index >= first_default else None
        parameters.append(_stub_parameter(one, "position" if is_position else "either", default, names, note))
    if is_bound:
        parameters = parameters[1:]
    if given.vararg is not None:
        parameters.append(replace(_stub_parameter(given.vararg, "rest", None, names, note), is_required=False))
    for one, keyword_default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        parameters.append(_stub_parameter(one, "keyword", keyword_default, names, note))
    if given.kwarg is not None:
        parameters.append(replace(_stub_parameter(given.kwarg, "keywords", None, names, note), is_required=False))
    result = UNKNOWN if function.returns is None else kind_of(ast.unparse(function.returns), names)
    owner = positions[0].annotation if is_bound and positions else None
    if owner is not None and function.returns is not None and _is_same(ast.unparse(owner), ast.unparse(function.returns)):
        result = Self()
    return Signature(tuple(parameters), result)


def _stub_parameter(given: ast.arg, form: Form, default: ast.expr | None, names: dict[str, Any], note: Docstring) -> Parameter:
    kind = UNKNOWN if given.annotation is None else kind_of(ast.unparse(given.annotation), names)
    if isinstance(default, ast.Constant) and default.value is None and kind is not UNKNOWN:
        kind = either([kind, NONE])
    text = note.parameters[given.arg].text if given.arg in note.parameters else ""
    return Parameter(given.arg, form, kind, default is None, text)


def _doc(function: Callable[..., object]) -> str | None:
    doc = getattr(function, "__doc__", None)
    return doc if isinstance(doc, str) else None
