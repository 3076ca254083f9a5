"""Keywords that a function takes through `**kwargs`: what its docstring lists and what its source takes out of them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

from .annotations import kind_of
from .docstrings import read_docstring
from .kinds import NONE, UNKNOWN, Kind, either
from .signatures import Parameter

_ENDS = re.compile(r",?\s*(\*?optional\*?|defaults?\b|required\b|\*defaults).*$", re.IGNORECASE)


def keywords_of(*functions: Any) -> dict[str, Parameter]:
    """By name; documented ones with their types. All are optional."""
    found: dict[str, Parameter] = {}
    for function in functions:
        plain = inspect.unwrap(getattr(function, "__func__", function))
        scope = getattr(plain, "__globals__", {})
        note = read_docstring(plain.__doc__)
        own = set(inspect.signature(plain).parameters)
        for name, one in note.parameters.items():
            if name not in own and name not in ("kwargs", "remaining"):
                kind = kind_of_note(one.type_text, scope)
                found.setdefault(name, Parameter(name, "keyword", kind, False, one.text))
        for name in sorted(_taken(plain)):
            found.setdefault(name, Parameter(name, "keyword", UNKNOWN, False))
    return found


def kind_of_note(text: str, scope: dict[str, Any]) -> Kind:
    """`str` or `os.PathLike`, *optional* → what an annotation `str | os.PathLike | None` is."""
    bare = _ENDS.sub("", text).replace("`", "").replace(" or ", " | ")
    if "[" not in bare:
        bare = bare.replace("*", "").replace(", ", " | ")
    kind = kind_of(bare.strip(), scope)
    return kind if kind is UNKNOWN else either([kind, NONE])


def is_closed(function: Any) -> bool:
    """Whether `**kwargs` is only ever asked for names, and never passed on: other keywords then have no effect."""
    tree = _source(inspect.unwrap(getattr(function, "__func__", function)))
    if tree is None:
        return False
    uses = sum(_is_kwargs(node) for node in ast.walk(tree))
    return uses == sum(1 for node in ast.walk(tree) if _key(node) is not None)


def class_in_returns(function: Any) -> type | None:
    """The first class that the docstring's Returns section names."""
    plain = inspect.unwrap(function)
    returns = read_docstring(plain.__doc__).returns
    for name in re.findall(r"[~`\[(\s]([A-Za-z_][\w.]*)", f" {returns}"):
        found = getattr(plain, "__globals__", {}).get(name.rpartition(".")[2])
        if isinstance(found, type) and found.__module__ != "builtins":
            return found
    return None


def _taken(function: Any) -> set[str]:
    """Names that the source takes out of `kwargs`."""
    tree = _source(function)
    keys = [] if tree is None else [key for node in ast.walk(tree) if (key := _key(node)) is not None]
    return {key for key in keys if key.isidentifier() and not key.startswith("_")}


def _source(function: Any) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None


def _key(node: ast.AST) -> str | None:
    """In `kwargs.pop("x", …)`, `kwargs.get("x")`, `kwargs["x"]`, `"x" in kwargs`."""
    key: ast.expr | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("pop", "get") and node.args:
        key = node.args[0] if _is_kwargs(node.func.value) else None
    elif isinstance(node, ast.Subscript):
        key = node.slice if _is_kwargs(node.value) else None
    elif isinstance(node, ast.Compare) and len(node.comparators) == 1 and _is_kwargs(node.comparators[0]):
        key = node.left
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None


def _is_kwargs(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "kwargs"
