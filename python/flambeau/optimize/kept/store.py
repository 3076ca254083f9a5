"""A private directory of entries: what was found out or built once, for the next process. Knows files and hashes, no torch.

An entry is a directory that appears under its name complete: `entry.json` (a hash, then JSON) beside files that it lists with their
hashes. Whatever does not fit is set aside, said once, and as good as absent. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from ..limits import LIMITS, Limits

_ENTRY: Final = "entry.json"
_FORMAT: Final = 1
# Leading dots: no entry's name has one.
_UNFINISHED: Final = ".unfinished-"
_DAMAGED: Final = ".damaged-"
_CHUNK: Final = 1 << 20


def default_directory() -> Path:
    """In the user's cache."""
    if "XDG_CACHE_HOME" not in os.environ and sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "flambeau" / "optimize"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flambeau" / "optimize"


class DamagedError(Exception):
    """An entry is not what `put` wrote; the message says in what."""


@dataclass(frozen=True)
class Entry:
    """A verified entry: its files were hashed when it was found."""

    directory: Path
    body: Mapping[str, Any]
    files: frozenset[str]

    def path(self, name: str) -> Path:
        """Where one of its files lies. Raises ValueError if it has none of this name."""
        if name not in self.files:
            raise ValueError(f"the entry has no file {name}")
        return self.directory / name


class Store:
    """Entries by key; any number of processes may use one directory. What is wrong on the disk is remarked, never raised."""

    def __init__(self, directory: Path, limits: Limits = LIMITS) -> None:
        self.directory = directory
        self._limits = limits
        self._remarks: list[str] = []
        self._said: set[str] = set()

    def find(self, key: Mapping[str, Any]) -> Entry | None:
        """The entry with this key, every byte of it verified; None if there is none that can be used."""
        directory = self.directory / _name(key)
        try:
            if not os.path.lexists(directory) or not self._is_private():
                return None
            entry = _read(directory, key, self._limits)
            os.utime(directory / _ENTRY)
            return entry
        except FileNotFoundError:
            self._gone(directory)
        except (DamagedError, OSError, ValueError, RecursionError) as error:
            self.set_aside(directory, _why(error))
        return None

    def put(self, key: Mapping[str, Any], body: Mapping[str, Any], files: Mapping[str, bytes | Path]) -> bool:
        """Writes an entry, in place of the one with this key if there is one. False, with a remark, where that does not work."""
        aside = self.directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_private() or not self._has_room(files):
                return False
            aside.mkdir(mode=0o700)
            listed = {name: _write(aside / name, content) for name, content in files.items()}
            text = json.dumps({"format": _FORMAT, "key": key, "files": listed, "body": body}, allow_nan=False).encode()
            _write(aside / _ENTRY, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
            self._place(aside, self.directory / _name(key))
        except (OSError, ValueError) as error:
            self._remark(f"nothing can be kept in {self.directory}: {_why(error)}")
            return False
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self.prune_()
        return True

    def set_aside(self, directory: Path, why: str) -> None:
        """Takes an entry out of use, for somebody to look at until it is pruned."""
        self._remark(f"what was kept as {directory.name} is not used: {why}; it is set aside")
        with contextlib.suppress(OSError):
            directory.rename(self.directory / f"{_DAMAGED}{directory.name}-{secrets.token_hex(4)}")

    def drop(self, key: Mapping[str, Any]) -> None:
        """Removes the entry with this key, if there is one."""
        shutil.rmtree(self.directory / _name(key), ignore_errors=True)

    def prune_(self) -> None:
        """Keeps the size limit: entries unused for longest go first, and what was set aside or left behind after its time."""
        now = time.time()
        entries: list[tuple[float, int, Path]] = []
        with contextlib.suppress(OSError):
            for directory in self.directory.iterdir():
                age_s = now - _used(directory)
                if directory.name.startswith((_UNFINISHED, _DAMAGED)):
                    if age_s > self._limits.store_aside_s:
                        _remove(directory)
                    continue
                entries.append((age_s, _size(directory), directory))
        held = sum(size for _, size, _ in entries)
        for _, size, directory in sorted(entries, reverse=True):
            if held <= self._limits.store_bytes:
                break
            _remove(directory)
            held -= size

    def remarks(self) -> tuple[str, ...]:
        """What went wrong since this was asked last; each thing once."""
        said, self._remarks = tuple(self._remarks), []
        return said

    def _is_private(self) -> bool:
        """Packages in here are run as code: nobody else may be able to write them."""
        found = os.stat(self.directory)
        if not stat.S_ISDIR(found.st_mode):
            self._remark(f"{self.directory} is not a directory")
        elif hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
            self._remark(f"{self.directory} can be written by others and is not used; make it yours alone (chmod 700)")
        else:
            return True
        return False

    def _has_room(self, files: Mapping[str, bytes | Path]) -> bool:
        needed = sum(len(content) if isinstance(content, bytes) else content.stat().st_size for content in files.values())
        free = shutil.disk_usage(self.directory).free
        if needed > self._limits.store_bytes:
            self._remark(f"an entry of {needed / 2**20:.0f} MiB is more than is kept in all ({self._limits.store_bytes / 2**20:.0f} MiB)")
        elif needed > free - self._limits.store_spare_bytes:
            self._remark(f"{self.directory} has {free / 2**20:.0f} MiB free, too little to keep {needed / 2**20:.0f} MiB")
        else:
            return True
        return False

    def _place(self, aside: Path, target: Path) -> None:
        if os.path.lexists(target):
            old = self.directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
            with contextlib.suppress(FileNotFoundError):
                target.rename(old)
            _remove(old)
        aside.rename(target)

    def _gone(self, directory: Path) -> None:
        """Another process may have pruned it meanwhile; a part of it alone is damage."""
        if os.path.lexists(directory):
            self.set_aside(directory, "a file of it is missing")

    def _remark(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._remarks.append(text)


def _name(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, allow_nan=False).encode()).hexdigest()[:40]


def _read(directory: Path, key: Mapping[str, Any], limits: Limits) -> Entry:
    if not stat.S_ISDIR(os.lstat(directory).st_mode):
        raise DamagedError("it is not a directory")
    with _opened(directory / _ENTRY, limits.store_entry_bytes) as (file, _):
        claimed, _, text = file.read(limits.store_entry_bytes).partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != claimed:
        raise DamagedError(f"the hash of {_ENTRY} does not match")
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise DamagedError("it has another format")
    if found.get("key") != json.loads(json.dumps(key)):
        raise DamagedError("it belongs to another module or machine")
    files, body = found.get("files"), found.get("body")
    if not isinstance(files, dict) or not isinstance(body, dict):
        raise DamagedError("it has another format")
    for name, listed in files.items():
        _verify(directory, name, listed)
    return Entry(directory, body, frozenset(files))


def _verify(directory: Path, name: Any, listed: Any) -> None:
    if not isinstance(name, str) or os.path.basename(name) != name or not isinstance(listed, dict):
        raise DamagedError("it lists a file of no name")
    size, claimed = listed.get("bytes"), listed.get("sha256")
    if not isinstance(size, int):
        raise DamagedError(f"the size of {name} is not known")
    with _opened(directory / name, size) as (file, found):
        if found != size:
            raise DamagedError(f"{name} has {found} bytes, {size} were written")
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != claimed:
        raise DamagedError(f"the hash of {name} does not match")


@contextlib.contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[tuple[IO[bytes], int]]:
    """A plain file of ours and its size. Links, pipes and devices are not followed and not waited for."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise DamagedError(f"{path.name} is not a plain file")
        if hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
            raise DamagedError(f"{path.name} can be written by others")
        if found.st_size > max_bytes:
            raise DamagedError(f"{path.name} has {found.st_size} bytes, at most {max_bytes} were written")
        yield file, found.st_size


def _write(path: Path, content: bytes | Path) -> dict[str, Any]:
    """Moves or writes one file of an entry; what is listed about it."""
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open(content, "rb")) if isinstance(content, Path) else None
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file = stack.enter_context(open(fd, "wb"))
        chunks: Iterator[bytes] = iter((content,)) if isinstance(content, bytes) else iter(lambda: _more(source), b"")
        for chunk in chunks:
            digest.update(chunk)
            size += file.write(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _more(source: IO[bytes] | None) -> bytes:
    return b"" if source is None else source.read(_CHUNK)


def _used(directory: Path) -> float:
    for path in (directory / _ENTRY, directory):
        with contextlib.suppress(OSError):
            return os.lstat(path).st_mtime
    return 0.0


def _size(directory: Path) -> int:
    size = 0
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            size += os.lstat(path).st_size
    return size


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
