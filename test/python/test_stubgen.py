"""Modules of the tests' own, described as TypeScript: what a signature, a class, a stub and a source become."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap

import pytest
from flambeau.stubgen.annotations import kind_of
from flambeau.stubgen.docstrings import read_docstring
from flambeau.stubgen.notes import kind_of_note
from flambeau.stubgen.service import ModuleMissingError, ModuleUnusableError, describe
from flambeau.stubgen.typescript import Names, read, sent


def _nothing(what, count):
    pass


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Writes modules, describes them, and gives the text of the first one's file."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def describe_sources(words=None, /, **sources):
        for name, source in sources.items():
            path = tmp_path / name.replace("_pyi", ".pyi") if name.endswith("_pyi") else tmp_path / f"{name}.py"
            path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        first = next(iter(sources))
        return describe([first], words, _nothing)[f"{first}.d.ts"]

    yield describe_sources
    for name in set(sys.modules) - before:
        del sys.modules[name]


def interface(text: str, name: str) -> str:
    """The lines of one interface, without comments."""
    found = re.search(rf"export interface {name}( extends [^{{]*)? {{\n(.*?)}}\n", text, re.DOTALL)
    assert found is not None, text
    return re.sub(r" */\*\*.*?\*/\n", "", found[2])


ANNOTATIONS = [
    ("str | None", "string | null", "string | null | PyArgOf<string>"),
    ("int", "number", "number | bigint | PyArgOf<number>"),
    ("typing.Literal['a', 'b', None]", '"a" | "b" | null', '"a" | "b" | null | PyArgOf<string>'),
    ("list[str]", "PyList<string>", "readonly (string | PyArgOf<string>)[] | PyArgOf<PyItems<string>>"),
    ("tuple[int, ...]", "PyTuple<number[]>", "readonly (number | bigint | PyArgOf<number>)[] | PyArgOf<PyItems<number>>"),
    (
        "tuple[int, str]",
        "PyTuple<[number, string]>",
        "readonly [number | bigint | PyArgOf<number>, string | PyArgOf<string>] | PyArgOf<PyItems<unknown>>",
    ),
    ("dict[str, int]", "PyDict<string, number>", "PyKeywords | ReadonlyMap<PyArg, PyArg> | PyArgOf<PyDict<unknown, unknown>>"),
    ("typing.Callable[[int], int]", "unknown", "PyCallback | PyLike"),
    ("typing.Any", "unknown", "PyArg"),
    ("str | typing.Any", "unknown", "PyArg"),
    ("NotThere", "unknown", "PyArg"),
    ("typing.Optional['str']", "string | null", "string | null | PyArgOf<string>"),
    ("bytes", "Uint8Array", "Uint8Array | PyArgOf<Uint8Array>"),
]


@pytest.mark.parametrize(("annotation", "given", "accepted"), ANNOTATIONS)
def test_an_annotation_is_what_reading_gives_and_what_may_be_sent(annotation, given, accepted):
    import typing

    kind = kind_of(annotation, {"typing": typing})
    assert (read(kind, Names({})), sent(kind, Names({}))) == (given, accepted)


def test_a_function_can_be_called_by_name_by_position_and_by_both(described):
    text = described(m="def f(a: int, b: str = 'x', *, c: bool = False) -> None: ...")
    number, string, boolean = "number | bigint | PyArgOf<number>", "string | PyArgOf<string>", "boolean | PyArgOf<boolean>"
    assert interface(text, "MModule").splitlines() == [
        f"  f(keywords: {{ a: {number} }} & {{ b?: {string} | undefined; c?: {boolean} | undefined }}): PyExpr<null>;",
        f"  f(a: {number}, keywords?: {{ b?: {string} | undefined; c?: {boolean} | undefined }}): PyExpr<null>;",
        f"  f(a: {number}, b: {string}, keywords?: {{ c?: {boolean} | undefined }}): PyExpr<null>;",
    ]


def test_keywords_stay_closed_unless_a_function_passes_them_on(described):
    text = described(
        m="""
        def open_one(**kwargs): return print(**kwargs)
        def closed_one(a=1, **kwargs): return kwargs.pop("late", None)
        class Closed:
            def go(self, **kwargs): return kwargs.get("late"), kwargs["sure"]
        """
    )
    assert "open_one(keywords?: PyKeywords)" in text
    assert "go(keywords?: { late?: PyArg | undefined; sure?: PyArg | undefined }): PyExpr;" in text


def test_attributes_come_from_init_annotations_and_properties_and_can_be_set_where_python_lets_them(described):
    text = described(
        m="""
        class Part: ...
        class Whole:
            count: int
            def __init__(self, part: Part, label: str | None = None):
                self.part = part
                self.made = Part()
                self.label, self.other = label, 1
                self._private = 1
            @property
            def fixed(self) -> str: return ""
            @property
            def free(self) -> int: return 1
            @free.setter
            def free(self, value: int) -> None: ...
        """
    )
    lines = interface(text, "Whole")
    assert "get part(): PyExpr<m.Part>;\n  set part(value: PyArgOf<m.Part>);" in lines
    assert "get made(): PyExpr<m.Part>;" in lines
    assert "get label(): PyExpr;\n  set label(value: PyArg);" in lines
    assert "get count(): PyExpr<number>;" in lines
    assert "readonly fixed: PyExpr<string>;" in lines
    assert "get free(): PyExpr<number>;\n  set free(value: number | bigint | PyArgOf<number>);" in lines
    assert "_private" not in text


def test_a_subclass_repeats_what_it_or_a_sibling_overrides_and_extends_the_rest(described):
    text = described(
        m="""
        class Base:
            def same(self) -> int: ...
            def other(self, a: int) -> int: ...
            def me(self) -> "Base": ...
        class Left(Base):
            def other(self) -> str: ...
        class Right(Base): ...
        """
    )
    assert interface(text, "Base_shared").splitlines() == ["  me(): PyExpr<m.Base>;", "  same(): PyExpr<number>;"] or interface(
        text, "Base_shared"
    ).splitlines() == ["  same(): PyExpr<number>;", "  me(): PyExpr<m.Base>;"]
    assert "export interface Left extends m.Base_shared {" in text
    assert "other(): PyExpr<string>;" in interface(text, "Left")
    assert "other(a: number" in interface(text, "Right")
    assert '"m.Left": true' in interface(text, "Left")


def test_a_stub_beside_a_module_is_believed_and_its_overloads_are_kept(described, tmp_path):
    (tmp_path / "m.pyi").write_text(
        textwrap.dedent(
            """
            import sys
            from typing import overload
            @overload
            def f(a: int) -> int: ...
            @overload
            def f(a: str) -> str: ...
            class C:
                size: int
                if sys.version_info >= (3, 0):
                    def g(self, only_for_checkers: NoSuchName) -> bytes: ...
            """
        )
    )
    text = described(m="import functools\nclass C:\n    def g(self, *args): ...\n")
    assert "g(only_for_checkers: PyPositional): PyExpr<Uint8Array>;" in text
    assert "get size(): PyExpr<number>;" in text


def test_of_the_public_classes_those_are_written_that_the_app_names(described):
    source = {"m": "class Used: ...\nclass Unused: ...\ndef f() -> int: ...\n"}
    text = described({"Used"}, **source)
    assert "readonly Used: PyExpr<m.UsedClass>;" in text
    assert "readonly Unused: PyExpr;" in text
    assert "interface Unused" not in text


def test_whatever_a_module_has_is_there_if_only_untyped(described):
    text = described(m="import os\nfrom string import Template\nfrom textwrap import dedent\nthings = [1]\nanswer = 42\n")
    lines = interface(text, "MModule").splitlines()
    assert [line.strip() for line in lines] == [
        "readonly Template: PyExpr;",
        "readonly answer: PyExpr<number>;",
        "readonly dedent: PyExpr;",
        "readonly os: PyExpr;",
        "readonly things: PyExpr;",
    ]


def test_the_same_modules_give_the_same_text(described):
    source = {"m": "class A:\n    def b(self, c: 'A | None' = None) -> 'A': ...\n"}
    assert described(**source) == described(**source)


def test_classes_may_have_names_that_typescript_keeps_for_itself(described):
    text = described(m="class void: ...\nclass PyExpr: ...\ndef f() -> void: ...\n")
    assert "export interface void_ {" in text
    assert "export interface PyExpr_ {" in text
    assert "readonly void: PyExpr<m.void_Class>;" in text
    assert "f(): PyExpr<m.void_>;" in text


def test_reserved_words_and_comments_do_not_break_the_text(described):
    text = described(m='def f(default: int, new: int): "Ends here: */ and goes on."\n')
    assert "f(default_: number" in text
    assert "*\\/ and goes on" in text


def test_docstrings_are_cut_to_a_paragraph_and_a_sentence_for_each_parameter():
    note = read_docstring(
        """
        Loads a [`~Model`] from ``disk``.

        More about it.

        Args:
            name (`str` or `os.PathLike`, *optional*):
                Where it lies. Or where it lay.
            dtype (torch.dtype): its type
        Returns:
            [`Model`]
        """
    )
    assert note.summary == "Loads a `Model` from `disk`."
    assert {name: one.text for name, one in note.parameters.items()} == {"name": "Where it lies.", "dtype": "its type"}
    import os

    kind = kind_of_note(note.parameters["name"].type_text, {"os": os})
    assert read(kind, Names({})) == "string | null"


FAILURES = [
    ("exits", "import sys\nsys.exit(2)", ModuleUnusableError, "ends the process"),
    ("raises", "raise ValueError('why')", ModuleUnusableError, "ValueError: why"),
    ("lacks", "import no_such_module_at_all", ModuleUnusableError, "no_such_module_at_all"),
]


@pytest.mark.parametrize(("name", "source", "error", "message"), FAILURES)
def test_a_module_that_cannot_be_imported_is_refused_in_a_sentence(described, name, source, error, message):
    with pytest.raises(error, match=re.escape(message)):
        described(**{name: source})


@pytest.mark.parametrize("name", ["no_such_module_at_all", "not a name", "", "json.NoSuchClass"])
def test_a_module_that_is_not_there_is_refused(name):
    with pytest.raises(ModuleMissingError):
        describe([name], None, _nothing)
