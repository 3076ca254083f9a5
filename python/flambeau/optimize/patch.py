"""A `forward` that sits on one module instance and leaves the module what it was: type, keys, hooks, config.
Copies and pickles of the module get a plain forward of their own. Knows nothing of plans or kernels.

Known limit, shared with accelerate's hooks: `copy.copy(module)` keeps this forward and with it the first module's weights.
"""

from __future__ import annotations

import copy
import functools
import operator
from types import MethodType
from typing import Any, cast

from torch import nn


class Patch:
    """Takes the place of `owner.forward`. Calls go to `__call__` of a subclass; `eager` is what was there before."""

    def __init__(self, owner: nn.Module) -> None:
        self.owner = owner
        self.previous: Any = owner.__dict__.get("forward")
        # Pipelines read the signature of forward to see which arguments a model takes.
        functools.update_wrapper(cast(Any, self), self.previous or type(owner).forward, updated=())
        self.__wrapped__ = self.previous or MethodType(type(owner).forward, owner)

    def eager(self, *args: Any, **kwargs: Any) -> Any:
        """The forward that the module had before."""
        if self.previous is not None:
            return self.previous(*args, **kwargs)
        return type(self.owner).forward(self.owner, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # torch.export and others look at a forward's code; what we lack is asked of the forward that was there.
        if name == "__wrapped__":
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    @property
    def __self__(self) -> nn.Module:
        return self.owner

    def install_(self) -> None:
        """Takes the place of the owner's forward."""
        self.owner.__dict__["forward"] = self

    def remove_(self) -> bool:
        """Puts back what was there before. False if someone else has wrapped this forward since: it then stays, passing calls on."""
        current = self.owner.__dict__.get("forward")
        if current is self:
            if self.previous is None:
                del self.owner.__dict__["forward"]
            else:
                self.owner.__dict__["forward"] = self.previous
            return True
        while isinstance(current, Patch):
            if current.previous is self:
                current.previous = self.previous
                current.__wrapped__ = self.__wrapped__
                return True
            current = current.previous
        return False

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = copy.deepcopy(self.owner, memo)
        if self.previous is not None:
            return copy.deepcopy(self.previous, memo)
        return MethodType(type(owner).forward, owner)

    def __reduce__(self) -> tuple[Any, ...]:
        # While the owner is being loaded it has no forward of its own yet, so getattr finds its class's.
        if self.previous is None:
            return getattr, (self.owner, "forward")
        return operator.getitem, ((self.previous,), 0)
