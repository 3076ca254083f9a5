"""One `.d.ts` for each top-level module: header, imports, interfaces in a fixed order."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from typing import TYPE_CHECKING

from .interfaces import Interfaces, module_name
from .library import package_of
from .typescript import RESERVED, Names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .library import Library

# What generated text uses of flambeau.
_FROM_FLAMBEAU = (
    *("PyArg", "PyArgOf", "PyCallback", "PyDict", "PyExpr", "PyItems", "PyKeywords"),
    *("PyLike", "PyList", "PyPositional", "PySelf", "PySet", "PyTuple"),
)
# Names that TypeScript keeps for itself (numpy has a class `void`), and those that generated text uses.
_NOT_FOR_CLASSES = frozenset(
    (
        *("any", "bigint", "boolean", "never", "null", "number", "object", "string", "symbol", "typeof", "undefined", "unknown", "void"),
        *("ArrayBufferView", "ReadonlyMap", "ReadonlySet", "Uint8Array"),
        *_FROM_FLAMBEAU,
        *RESERVED,
    )
)


def files_of(library: Library, asked: Sequence[str]) -> dict[str, str]:
    """File name → text; the same library gives the same text."""
    names = Names(_names_of(library))
    interfaces = Interfaces(library, names)
    packages = sorted({package_of(name) for name in (*names.of.values(), *library.modules)})
    bodies = {package: _body(package, library, names, interfaces) for package in packages}
    sources = _sources(packages)
    files: dict[str, str] = {}
    for package in packages:
        header = _header(package, sources[package], [one for one in asked if package_of(one) == package])
        files[f"{package}.d.ts"] = header + _file(package, bodies[package], library, names)
    return files


def _names_of(library: Library) -> dict[type, str]:
    """Each class by package and a name of its own: the plain one for what is public or nearest to the top."""
    public = {one for shape in library.modules.values() for one in shape.members.values() if isinstance(one, type)}
    ordered = sorted(library.classes, key=lambda one: (one not in public, one.__module__.count("."), one.__module__, one.__qualname__))
    found: dict[type, str] = {}
    # A name ends neither as a class's own interface does nor as a module's.
    taken: set[str] = {f"{package_of(name)}.{module_name(name)}" for name in library.modules}
    for cls in ordered:
        package = package_of(cls.__module__)
        name = f"{package}.{cls.__name__}"
        suffix = re.sub(r"\W", "_", cls.__module__.partition(".")[2])
        while {name, f"{name}Class"} & taken or (cls.__name__ in _NOT_FOR_CLASSES and name == f"{package}.{cls.__name__}"):
            name = f"{name}_{suffix}"
        taken |= {name, f"{name}Class"}
        found[cls] = name
    return found


def _body(package: str, library: Library, names: Names, interfaces: Interfaces) -> str:
    modules = [name for name in sorted(library.modules) if package_of(name) == package]
    classes = sorted((name, cls) for cls, name in names.of.items() if package_of(name) == package)
    parts = [interfaces.module_text(module_name(name), library.modules[name]) for name in modules]
    parts += [interfaces.class_text(cls) for _, cls in sorted(classes, key=lambda one: one[0])]
    return "\n".join(parts)


def _file(package: str, body: str, library: Library, names: Names) -> str:
    shared = sorted((name, text) for text, name in names.keywords.get(package, {}).items())
    whole = body + "".join(f"\nexport interface {name} {{\n{text}}}\n" for name, text in shared)
    used = [name for name in _FROM_FLAMBEAU if re.search(rf"\b{name}\b", whole)]
    known = {package_of(name) for name in (*names.of.values(), *library.modules)}
    others = sorted({package} | known & set(re.findall(r"(?<![\w.$\"])([A-Za-z_]\w*)\.[A-Za-z_]", _code(whole))))
    imports = f'import type {{ {", ".join(used)} }} from "flambeau";\n' if used else ""
    text = f"{_declared(package, library, names)}{whole}"
    for other in others:
        # A module may be named as TypeScript's own types are: `string`.
        local = f"{other}_" if other in _NOT_FOR_CLASSES else other
        imports += f'import type * as {local} from "./{other}.js";\n'
        text = text if local == other else re.sub(rf"(?<![\w.$\"]){other}\.(?=[A-Za-z_])", f"{local}.", text)
    return f"{imports}\n{text}"


def _code(text: str) -> str:
    return re.sub(r"/\*\*.*?\*/", "", text)


def _header(package: str, source: tuple[str, str], asked: list[str]) -> str:
    lines = [
        f"// {package}, as TypeScript sees it: written by `flambeau types`, to be written again and not edited.",
        f"// from {source[0]} {source[1]}",
    ]
    if asked:
        lines.append(f"// asked for: {' '.join(sorted(asked))}")
    return "\n".join(lines) + "\n"


def _sources(packages: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The distribution that each module came with, and its version: PIL comes with pillow."""
    found = {package: (package, version) for package in packages if (version := _version(package)) is not None}
    others = importlib.metadata.packages_distributions() if len(found) < len(packages) else {}
    for package in packages:
        for distribution in others.get(package, []):
            found.setdefault(package, (distribution, _version(distribution) or ""))
        if package in sys.stdlib_module_names:
            found.setdefault(package, ("python", ".".join(str(part) for part in sys.version_info[:3])))
        own = getattr(sys.modules.get(package), "__version__", None)
        found.setdefault(package, (package, own if isinstance(own, str) else "without a version"))
    return found


def _version(distribution: str) -> str | None:
    try:
        # Without the part that says for which machine it was built: 2.13.0+cpu.
        return importlib.metadata.version(distribution).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def _declared(package: str, library: Library, names: Names) -> str:
    modules = [name for name in sorted(library.modules) if package_of(name) == package]
    types = {}
    for name in modules:
        for member, what in library.modules[name].members.items():
            if isinstance(what, type) and what in names.of:
                types[f"{name}.{member}"] = names.of[what]
    for cls, known in names.of.items():
        if package_of(known) == package:
            types.setdefault(known, known)
        # `Py<"diffusers.AutoPipelineForText2Image">` is what it loads: it has no objects of its own.
        if (loader := vars(cls).get("loaded_by")) in names.of:
            types.update({name: known for name in [name for name in types if types[name] == names.of[loader]]})
    lines = [f'    "{name}": {package}.{module_name(name)};\n' for name in modules]
    listed = [f'    "{name}": {types[name]};\n' for name in sorted(types)]
    in_modules = f"  interface PyModules {{\n{''.join(lines)}  }}\n" if lines else ""
    in_types = f"  interface PyTypes {{\n{''.join(listed)}  }}\n" if listed else ""
    return f'declare module "flambeau" {{\n{in_modules}{in_types}}}\n\n'
