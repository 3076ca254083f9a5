"""What to do about an error that people coming from TypeScript meet often: one rule each, found by type and words."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from flambeau.placeholders import Module, PathOf
from flambeau.protocol import Call

PACKAGE_OF = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "bs4": "beautifulsoup4",
    "dotenv": "python-dotenv",
    "google.protobuf": "protobuf",
}
# Beginnings of module names: the hub's client has moved from requests to httpx, and bundles versions under names of their own.
HUB_MODULES = ("huggingface_hub", "requests", "httpx", "httpcore", "urllib3")
# Not EntryNotFoundError: then the hub was reached, and the repository has no such file.
UNREACHABLE = re.compile(
    r"\w*Connect\w*|\w*Timeout\w*|ProxyError|SSLError|MaxRetryError|NameResolutionError|HTTPError|HfHubHTTPError|"
    r"LocalEntryNotFoundError|RepositoryNotFoundError|GatedRepoError|DisabledRepoError|OfflineModeIsEnabled"
)
HUB_WORDS = re.compile(
    r"huggingface\.co|couldn't connect to|is not a valid model identifier|is not a local folder|"
    r"[Cc]an't load|[Cc]annot load model|offline mode",
)
# Members that arrays, maps and strings have in JavaScript, and what says the same of Python's.
LOOP = "for await (const item of it), or [...it] of a handle, or await it.$value() for a copy"
JAVASCRIPT_NAMES = {
    "length": '$length of a handle (it came with it), or py.import("builtins").len(it)',
    "size": '$length of a handle (it came with it), or py.import("builtins").len(it)',
    **dict.fromkeys(("map", "filter", "forEach", "reduce", "some", "every", "find", "findIndex", "flatMap", "entries"), LOOP),
    "at": "it[-1] for the last item",
    "push": ".append(item)",
    "shift": ".pop(0)",
    "unshift": ".insert(0, item)",
    "concat": "py.expr`${it} + ${other}`",
    "slice": "it.$item(py.slice(start, stop))",
    "includes": "py.expr`${item} in ${it}`",
    "has": "py.expr`${key} in ${it}`",
    "indexOf": ".index(item)",
    "get": "it.$item(key)",
    "set": "it.$setItem(key, value)",
    "toString": "$repr()",
    "toUpperCase": ".upper()",
    "toLowerCase": ".lower()",
    "trim": ".strip()",
    "startsWith": ".startswith(text)",
    "endsWith": ".endswith(text)",
}
BUILT_IN = (list, tuple, dict, set, frozenset, str, bytes, range)
CHAIN_LIMIT = 16
SIGNATURE_CHARACTERS = 500
SEARCHED_CHARACTERS = 4096


@dataclass(frozen=True)
class Hint:
    """A sentence for the reader, and the code of our error tree where there is one."""

    text: str
    code: str | None = None


def hint_for(error: BaseException, call: Call) -> Hint | None:
    """The first rule that fits."""
    for rule in (_missing_module, _unreachable_model, _unexpected_keyword, _int_for_float, _javascript_name):
        hint = rule(error, call)
        if hint is not None:
            return hint
    return None


def _missing_module(error: BaseException, _call: Call) -> Hint | None:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    top = error.name.partition(".")[0]
    if top in sys.modules or importlib.util.find_spec(top) is not None:
        return None  # the package is there, a part of it is not: its own message says more
    package = PACKAGE_OF.get(top, top.replace("_", "-"))
    return Hint(f'add "{package}" to the app\'s requirements')


def _unreachable_model(error: BaseException, call: Call) -> Hint | None:
    chain = list(_chain(error))
    from_pretrained = bool(call.path) and str(call.path[-1]).startswith("from_")
    hub = any(type(link).__module__.startswith(HUB_MODULES) and UNREACHABLE.fullmatch(type(link).__name__) for link in chain)
    words = any(isinstance(link, OSError) and HUB_WORDS.search(_words(link)) for link in chain)
    named = any(HUB_WORDS.search(_words(link)) for link in chain) or any(
        type(link).__module__.startswith("huggingface_hub") for link in chain
    )
    if not ((hub and (named or from_pretrained)) or words):
        return None
    model = call.args[0] if call.args and type(call.args[0]) is str else "the model"
    return Hint(
        f"{model} could not be reached on the model hub: check its id and the network (HF_HUB_OFFLINE=1 uses only what is already "
        "downloaded, HF_TOKEN opens gated models), or pass the path of a local folder, or tinySdxl(), the model that comes with Flambeau",
        "MODEL_UNREACHABLE",
    )


def _words(error: BaseException) -> str:
    try:
        return str(error)[:SEARCHED_CHARACTERS]
    except Exception:
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(CHAIN_LIMIT):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _unexpected_keyword(error: BaseException, call: Call) -> Hint | None:
    if not isinstance(error, TypeError):
        return None
    found = re.search(r"unexpected keyword argument '([^']*)'", _words(error))
    if found is None or found.group(1) not in call.kwargs:
        return None
    text = "a trailing plain object is passed as keyword arguments; use py.dict() to pass it as one dict"
    signature = _signature(call)
    return Hint(text if signature is None else f"{text}. It takes {signature}")


def _signature(call: Call) -> str | None:
    """The signature of what was called, where it can be found without running anything again: module functions and their members."""
    target = call.target.target if isinstance(call.target, PathOf) else call.target
    if not isinstance(target, Module) or not all(type(step) is str for step in call.path):
        return None
    found: object = sys.modules.get(target.name)
    try:
        for step in call.path:
            found = inspect.getattr_static(found, str(step))
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
        text = f"{call.path[-1]}{inspect.signature(found)}"  # type: ignore[arg-type]
    except Exception:
        return None
    return text if len(text) <= SIGNATURE_CHARACTERS else f"{text[:SIGNATURE_CHARACTERS]}…"


def _int_for_float(error: BaseException, call: Call) -> Hint | None:
    if not isinstance(error, (TypeError, ValueError)) or "float" not in _words(error):
        return None
    for value in (*call.args, *call.kwargs.values()):
        if type(value) is int:
            return Hint(f"{value} is an int in Python; py.float({value}) makes it a float")
    return None


def _javascript_name(error: BaseException, call: Call) -> Hint | None:
    """`images.length`, `images.map(…)`: attributes of Python for us, and Python's containers have none of that name."""
    if not isinstance(error, AttributeError) or not isinstance(error.obj, BUILT_IN) or error.name not in _names_in(call):
        return None
    instead = JAVASCRIPT_NAMES.get(error.name or "")
    return None if instead is None else Hint(f"{error.name} is JavaScript's; for a {type(error.obj).__name__} of Python write {instead}")


def _names_in(call: Call) -> set[object]:
    """Attributes that the host wrote, as against those that fail inside of Python."""
    paths = [call.path, *(value.steps for value in (call.target, *call.args, *call.kwargs.values()) if isinstance(value, PathOf))]
    return {step for path in paths for step in path if isinstance(step, str)}
