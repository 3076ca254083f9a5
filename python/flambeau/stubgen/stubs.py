"""`.pyi` files beside modules: the functions and classes that they declare, and the names their annotations use."""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stub:
    """One `.pyi` file."""

    names: dict[str, Any]
    functions: dict[str, list[ast.FunctionDef]] = field(default_factory=dict)
    classes: dict[str, StubClass] = field(default_factory=dict)


@dataclass(frozen=True)
class StubClass:
    functions: dict[str, list[ast.FunctionDef]]
    attributes: dict[str, str]
    """Annotations as text."""


@cache
def stub_of(module: str) -> Stub | None:
    """The stub of an imported module, or None where it has none or cannot be parsed."""
    file = _stub_file(module)
    if file is None:
        return None
    try:
        tree = ast.parse(file.read_text(encoding="utf8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    stub = Stub(names=dict(vars(sys.modules[module])) if module in sys.modules else {})
    is_package = file.name == "__init__.pyi"
    _read(_live(tree.body), stub, module if is_package else module.rpartition(".")[0])
    return stub


def _stub_file(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    places: list[Path] = []
    if (source := getattr(loaded, "__file__", None)) is not None:
        path = Path(source)
        places.append(path.with_name(f"{path.name.split('.')[0]}.pyi"))
    # torch._C is one library file, and its stubs are a folder beside it.
    package, *rest = module.split(".")
    for folder in getattr(sys.modules.get(package), "__path__", []) if rest else []:
        inside = Path(folder, *rest)
        places += [inside.with_name(f"{inside.name}.pyi"), inside / "__init__.pyi"]
    return next((place for place in places if place.is_file()), None)


def _live(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements with `if sys.version_info …` and `if TYPE_CHECKING` decided."""
    found: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.If):
            found += _live(statement.body if _holds(statement.test) else statement.orelse)
        else:
            found.append(statement)
    return found


def _holds(test: ast.expr) -> bool:
    try:
        return bool(eval(compile(ast.Expression(test), "<stub>", "eval"), {"sys": sys, "TYPE_CHECKING": True}))
    except Exception:
        return True


def _read(body: list[ast.stmt], stub: Stub, package: str) -> None:
    stub.names.setdefault("__package__", package)
    stub.names["__package__"] = package
    for statement in body:
        if isinstance(statement, ast.FunctionDef):
            stub.functions.setdefault(statement.name, []).append(statement)
        elif isinstance(statement, ast.ClassDef):
            stub.classes[statement.name] = _class(statement)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            _import(statement, stub.names)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            _run(statement, stub.names)


def _class(statement: ast.ClassDef) -> StubClass:
    functions: dict[str, list[ast.FunctionDef]] = {}
    attributes: dict[str, str] = {}
    for inner in _live(statement.body):
        if isinstance(inner, ast.FunctionDef):
            functions.setdefault(inner.name, []).append(inner)
        elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            attributes[inner.target.id] = ast.unparse(inner.annotation)
    return StubClass(functions, attributes)


def _import(statement: ast.Import | ast.ImportFrom, names: dict[str, Any]) -> None:
    """Name by name: a stub may import what exists only for type checkers. Nothing is loaded that is not loaded already."""
    if isinstance(statement, ast.ImportFrom):
        target = "." * statement.level + (statement.module or "")
        try:
            target = importlib.util.resolve_name(target, names["__package__"])
        except (ImportError, ValueError):
            return
        if target not in sys.modules and target.partition(".")[0] not in ("typing_extensions", "collections", "types", "typing"):
            return
    for alias in statement.names:
        single: ast.stmt = (
            ast.Import(names=[alias]) if isinstance(statement, ast.Import) else ast.ImportFrom(statement.module, [alias], statement.level)
        )
        _run(single, names)


def _run(statement: ast.stmt, names: dict[str, Any]) -> None:
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return
    module = ast.fix_missing_locations(ast.Module(body=[statement], type_ignores=[]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(module, "<stub>", "exec"), names)
    except Exception:
        return  # what cannot be evaluated makes the annotations that use it unknown, and those alone
