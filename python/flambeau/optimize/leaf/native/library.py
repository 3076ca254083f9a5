"""The C++ beside this file as a library: built once by this machine's compiler, kept in the store, loaded once. Knows no layers."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from ctypes import POINTER, Structure, c_double, c_int, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch

from ...kept import identity
from ...kept.store import Store
from ...limits import LIMITS

FILE: Final = "kernels.so"
_SOURCE: Final = "kernels.cpp"
_FLAGS: Final = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")
# Told to use less than the processor has, torch is followed.
_LESS: Final[Mapping[str, tuple[str, ...]]] = {"AVX2": ("-mno-avx512f",)}
_SAID: Final = 200


class NativeError(ValueError):
    """Why there are no kernels."""


class Convolution(Structure):
    """See kernels.cpp."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "weight", "bias", "out", "room")),
        *((name, c_int64) for name in ("tiles", "batch", "height", "width", "channels")),
        *((name, c_int64) for name in ("out_height", "out_width", "out_channels", "pad_top", "pad_left")),
    )


class Norm(Structure):
    """See norms.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "gamma", "beta", "out", "room")),
        *((name, c_int64) for name in ("batch", "pixels", "channels", "groups")),
        ("eps", c_double),
    )


class Library:
    """Its functions, which release the interpreter while they run. They check nothing: sizes and layouts are the caller's."""

    def __init__(self, path: Path, num_threads_max: int) -> None:
        loaded: Any = ctypes.CDLL(str(path))
        self.num_threads_max = num_threads_max
        self.panel: int = loaded.panel()
        self.pack = _typed(loaded.pack, c_void_p, c_void_p, c_int64, c_int64, c_int)
        self.pack_tiles = {n: _typed(loaded[f"pack_tiles{n}"], c_void_p, c_void_p, c_int64, c_int64, c_int) for n in (2, 4)}
        self.linear = _typed(loaded.linear, *[c_void_p] * 4, *[c_int64] * 3, c_int)
        self.group_norm = _typed(loaded.group_norm, POINTER(Norm), c_int)
        self.silu = _typed(loaded.silu, c_void_p, c_void_p, c_int64, c_int)
        self.room_for = {n: _typed(loaded[f"room_for{n}"], POINTER(Convolution), c_int, result=c_int64) for n in (2, 4)}
        self.convolve = {n: _typed(loaded[f"convolve{n}"], POINTER(Convolution), c_int) for n in (2, 4)}

    @property
    def threads(self) -> int:
        """How many threads its functions may use now: torch's own."""
        return min(torch.get_num_threads(), self.num_threads_max)


@dataclass(frozen=True)
class Recipe:
    """What is built, by what. `openmp` is the runtime that torch has loaded: with another one, two sets of threads would fight."""

    compiler: str
    version: str
    flags: tuple[str, ...]
    openmp: str | None

    def key(self) -> Mapping[str, Any]:
        """Of the library in the store."""
        machine = identity.machine("cpu", 0)
        same = {name: machine[name] for name in ("processor", "capability")}
        return {"what": "kernels", "source": _source(), "compiler": self.version, "flags": [*self.flags, self.openmp or ""], **same}

    def command(self, out: Path) -> Sequence[str]:
        """Builds into that file."""
        # Named first, torch's runtime is the one that is linked.
        openmp = () if self.openmp is None else ("-fopenmp", self.openmp, "-Wl,--as-needed")
        return (self.compiler, *self.flags, "-o", str(out), str(Path(__file__).parent / _SOURCE), *openmp)


def refusal() -> str | None:
    """Why kernels cannot be built here, or None."""
    try:
        _loading().check()
        recipe_here()
    except NativeError as error:
        return str(error)
    return None


def load(store: Store | None, left_s: float) -> Library:
    """From the store, or built now, which takes seconds. Raises NativeError if it cannot be had, or not within `left_s`."""
    return _loading().load(store, left_s)


class _Loading:
    """One library for the whole process: what was tried, and how it ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library: Library | None = None
        self._why: str | None = None

    def check(self) -> None:
        if self._why is not None:
            raise NativeError(self._why)

    def load(self, store: Store | None, left_s: float) -> Library:
        with self._lock:
            self.check()
            if self._library is None:
                self._library = self._found(store, left_s)
            return self._library

    def _found(self, store: Store | None, left_s: float) -> Library:
        recipe = recipe_here()
        num_threads_max = 1 if recipe.openmp is None else LIMITS.kernels_threads
        entry = None if store is None else store.find(recipe.key())
        if entry is not None:
            return Library(entry.path(FILE), num_threads_max)
        if left_s < LIMITS.kernels_build_s:
            raise NativeError(f"building kernels takes up to {LIMITS.kernels_build_s:.0f} s, {left_s:.2g} are left")
        try:
            return self._built(recipe, store, num_threads_max)
        except (NativeError, OSError, subprocess.SubprocessError) as error:
            self._why = f"kernels could not be built: {error}"
            raise NativeError(self._why) from error

    def _built(self, recipe: Recipe, store: Store | None, num_threads_max: int) -> Library:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / FILE
            run = subprocess.run(
                recipe.command(path), stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMITS.kernels_timeout_s, check=False
            )
            if run.returncode != 0:
                raise NativeError(f"{recipe.compiler} ended with {run.returncode}: {_first_line(run.stderr)}")
            library = Library(path, num_threads_max)
            if store is not None:
                store.put(recipe.key(), {}, {FILE: path.read_bytes()})
            # Once loaded, the file may go.
            return library


@cache
def _loading() -> _Loading:
    return _Loading()


@cache
def recipe_here() -> Recipe:
    """With this machine's compiler and processor. Raises NativeError where there is no compiler."""
    name = os.environ.get("CXX", "g++")
    compiler = shutil.which(name)
    if compiler is None:
        raise NativeError(f"there is no C++ compiler: {name} was not found; with g++ installed, kernels could be built")
    try:
        asked = subprocess.run([compiler, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMITS.kernels_timeout_s)
    except (OSError, subprocess.SubprocessError) as error:
        raise NativeError(f"{compiler} --version: {error}") from error
    capability: Any = identity.machine("cpu", 0)["capability"]
    return Recipe(compiler, _first_line(asked.stdout), (*_FLAGS, *_LESS.get(capability, ())), _openmp())


def _openmp() -> str | None:
    """The file of the one OpenMP runtime of GNU's kind in this process, if there is exactly one."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    found = {path for line in lines if "libgomp" in (path := line.split(maxsplit=5)[-1]) and path.startswith("/")}
    return found.pop() if len(found) == 1 else None


@cache
def _source() -> str:
    digest = hashlib.sha256()
    for path in sorted((*Path(__file__).parent.glob("*.cpp"), *Path(__file__).parent.glob("*.h"))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _typed(function: Any, *types: Any, result: Any = None) -> Any:
    function.argtypes, function.restype = types, result
    return function


def _first_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[0][:_SAID] if lines else "it said nothing"
