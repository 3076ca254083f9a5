"""Docstrings, cut to what an editor has room for: the first paragraph, and one sentence for each parameter."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

from .limits import PARAMETER_CHARACTERS, SUMMARY_CHARACTERS

# `name (`str`, *optional*): text`, as diffusers and transformers write it; `name (int): text`, as torch does.
_PARAMETER = re.compile(r"^\s*\**([A-Za-z_]\w*)\**\s*\(([^\n]*?)\)\s*:(.*)$")
_PARAMETER_SECTIONS = {"Args", "Arguments", "Parameters", "Params", "Keyword Arguments", "Kwargs", "Keyword args", "Attributes"}
_SECTIONS = [*_PARAMETER_SECTIONS, "Returns?", "Yields", "Raises", "Examples?", "Shape", "Note"]
_SECTION = re.compile(rf"^\s*({'|'.join(sorted(_SECTIONS))})\s*:*\s*$")
_MARKUP = re.compile(r":\w+:`~?([^`<]*?)(?:\s*<[^`]*>)?`|\[`~?([^`]*)`\](?:\([^)]*\))?|``([^`]*)``")


@dataclass(frozen=True)
class ParameterNote:
    type_text: str
    """As written between the brackets: "`str`, *optional*"."""
    text: str


@dataclass(frozen=True)
class Docstring:
    summary: str = ""
    parameters: dict[str, ParameterNote] = field(default_factory=dict)
    returns: str = ""


def read_docstring(text: str | None) -> Docstring:
    if not text:
        return Docstring()
    lines = inspect.cleandoc(text).splitlines()
    return Docstring(_summary(lines), _parameters(lines), _section(lines, "Return"))


def _summary(lines: list[str]) -> str:
    paragraph: list[str] = []
    for line in lines:
        stripped = line.strip()
        is_signature = re.match(r"^[\w.]+\(.*\)\s*(->.*)?$", stripped) is not None
        if not stripped or is_signature or stripped.startswith((".. ", ">>>")):
            if paragraph:
                break
            continue
        if _SECTION.match(line) or _PARAMETER.match(line):
            break
        paragraph.append(stripped)
    return plain(" ".join(paragraph), SUMMARY_CHARACTERS)


def _parameters(lines: list[str]) -> dict[str, ParameterNote]:
    found: dict[str, ParameterNote] = {}
    is_inside = False
    for index, line in enumerate(lines):
        if (section := _SECTION.match(line)) is not None:
            is_inside = section[1] in _PARAMETER_SECTIONS
        elif is_inside and (match := _PARAMETER.match(line)) is not None:
            following = [match[3].strip()]
            for other in lines[index + 1 :]:
                if not other.strip() or _PARAMETER.match(other) or _SECTION.match(other):
                    break
                following.append(other.strip())
            found.setdefault(match[1], ParameterNote(match[2], _sentence(" ".join(following))))
    return found


def _section(lines: list[str], name: str) -> str:
    for index, line in enumerate(lines):
        if re.match(rf"^\s*{name}s?\s*:\s*$", line):
            return " ".join(other.strip() for other in lines[index + 1 : index + 8])
    return ""


def _sentence(text: str) -> str:
    first = re.match(r"(.*?[.!?])(\s|$)", text)
    return plain(first[1] if first is not None else text, PARAMETER_CHARACTERS)


def plain(text: str, characters: int) -> str:
    """Without markup, on one line, safe inside a comment."""
    text = _MARKUP.sub(lambda found: f"`{next(group for group in found.groups() if group is not None)}`", text)
    text = re.sub(r"\s+", " ", text).replace("*/", "*\\/").strip()
    return text if len(text) <= characters else f"{text[: characters - 1].rstrip()}…"
