"""What the store has for the kinds of calls of one target. Knows the store and the target's layers, no measuring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..calls.guard import Key
from ..limits import Quality
from . import identity, keeping
from .keeping import KeptPlan
from .store import Entry, Store


class Keeper:
    """Plans and packages under keys that say all they depend on. Without a store it has nothing and keeps nothing."""

    def __init__(self, owner: nn.Module, quality: Quality, store: Store | None) -> None:
        self._owner = owner
        self._quality = quality
        self._store = store
        self._why_not: str | None = None
        self._is_one_module = False
        self._module: Mapping[str, str] | None = None

    @contextmanager
    def one_module(self) -> Iterator[None]:
        """The module does not change inside a `with`: its weights are read once."""
        self._is_one_module = True
        try:
            yield
        finally:
            self._is_one_module, self._module = False, None

    def plan(self, key: Key, device: torch.device) -> KeptPlan | None:
        """What an earlier process measured for calls of this kind."""
        entry = self._find(self.name(key, device, "plan"))
        if entry is None or self._store is None:
            return None
        try:
            return keeping.from_entry(entry)
        except ValueError as error:
            self._store.set_aside(entry.directory, str(error))
            return None

    def save(self, key: Key, device: torch.device, plan: KeptPlan) -> None:
        """For the next process."""
        name = self.name(key, device, "plan")
        if self._store is not None and name is not None:
            body, files = keeping.to_entry(plan)
            self._store.put(name, body, files)

    def drop(self, key: Key, device: torch.device, what: str = "plan") -> None:
        """The plan of this kind has proved wrong, or its package slow."""
        name = self.name(key, device, what)
        if self._store is not None and name is not None:
            self._store.drop(name)

    def package(self, key: Key, device: torch.device) -> Entry | None:
        """The package that was built for calls of this kind and the present weights."""
        return self._find(self.name(key, device, "package"))

    def name(self, key: Key, device: torch.device, what: str) -> Mapping[str, Any] | None:
        """Under which a thing of this target is kept; None where nothing can be. Reads every weight."""
        if self._store is None:
            return None
        try:
            module = self._module or identity.module_identity(self._owner)
        except ValueError as error:
            self._why_not = str(error)
            return None
        self._module = module if self._is_one_module else None
        machine = identity.machine(str(device), torch.get_num_threads())
        builder = {"builder": identity.source("graph") + identity.source("leaf/native")}
        own = {"quality": self._quality, "optimizer": identity.source()} if what == "plan" else builder
        return {"what": what, "kind": identity.kind_identity(key), **own, **machine, **module}

    def remarks(self) -> tuple[str, ...]:
        """What went wrong with the store since this was asked last."""
        own = () if self._why_not is None else (self._why_not,)
        self._why_not = None
        return own if self._store is None else (*own, *self._store.remarks())

    def _find(self, name: Mapping[str, Any] | None) -> Entry | None:
        return None if self._store is None or name is None else self._store.find(name)
