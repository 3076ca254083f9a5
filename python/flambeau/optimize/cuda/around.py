"""What is done around a fast run of a target: other attention, 16 bits, a graph instead of launches. Each has a slot; the last one
enabled in a slot counts. Sits beneath the target's own forward, so that the guard stands before it. Knows no technique.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

from torch import nn

from ..applied import Applied, AppliedKernels, Kept
from ..calls.caches import has_cache
from ..calls.guard import is_transforming
from ..graph.watch import Watch, has_hooks
from ..leaf.kernels import LayerPatch
from ..leaf.layers import Layers
from ..patch import Patch
from .copies import CopiedKernel

Run = Callable[[Sequence[Any], Mapping[str, Any]], Any]
Slot = Literal["precision", "convolutions", "attention", "graph"]
# Innermost first: a graph holds all that happens within it.
_SLOTS: Final[tuple[Slot, ...]] = ("precision", "convolutions", "attention", "graph")
# So many calls in a row, and what is around them is given up.
_MOST_FAILURES: Final = 3


class Way(ABC):
    """One way to run a target. `run` is what it is put around."""

    slot: Slot

    @abstractmethod
    def __call__(self, run: Run, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The target's output for a call."""

    def forget_(self) -> None:
        """The module has changed: what was made of it no longer holds."""
        return None

    def follow_(self) -> bool:
        """Weights have other values or places. True if all that was made of this way holds all the same."""
        return False

    def is_right(self, output: Any) -> bool:
        """Whether this output may be given; if not, the call is computed without any way."""
        return True


class _Look(Watch):
    """A picture of the module that tells patches of layers from all else: kernels come and go while rows are raced."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._bare = self._without_patches()

    def sees_only_patches(self) -> bool:
        """True if nothing but such patches is another."""
        try:
            now, before = self._now(), self._before
            return bool(all(now[part] == before[part] for part in (0, 1, 2, 3, 5)) and self._without_patches() == self._bare)
        except Exception:  # Whatever cannot be compared is not the same.
            return False

    def _without_patches(self) -> list[Any]:
        return [value for plain in self._plain for value in plain.values() if not isinstance(value, LayerPatch)]


class Around(Patch):
    """The forward beneath a target's own. Does nothing while the layers' switch is off."""

    def __init__(self, layers: Layers) -> None:
        super().__init__(layers.owner)
        self._shell = self.previous
        if isinstance(self._shell, Patch):
            self.previous, self.__wrapped__ = self._shell.previous, self._shell.__wrapped__
        elif self._shell is not None:
            raise ValueError("forward was wrapped since optimize; optimize the module after whatever wraps it")
        self._layers = layers
        self._ways: list[Way] = []
        self._num_holders = 0
        self._num_failures = 0
        self._watch = _Look(layers.owner)

    @staticmethod
    def of(layers: Layers) -> Around | None:
        """The one that is there."""
        current = layers.owner.__dict__.get("forward")
        while isinstance(current, Patch):
            if isinstance(current, Around):
                return current
            current = current.previous
        return None

    def install_(self) -> None:
        """Beneath the forward that decides which calls are fast; if there is none, as the owner's forward."""
        if self._shell is None:
            super().install_()
        else:
            self._shell.previous = self._shell.__wrapped__ = self

    @property
    def ways(self) -> tuple[Way, ...]:
        """Those that count, the innermost first."""
        last = {way.slot: way for way in self._ways}
        return tuple(last[slot] for slot in _SLOTS if slot in last)

    def hold_(self, way: Way | None) -> None:
        """Adds a way; None only keeps it watching the module."""
        if way is not None:
            self._ways.append(way)
        self._num_holders += 1

    def release_(self, way: Way | None) -> None:
        """The reverse. Gone with the last."""
        if way in self._ways:
            self._ways.remove(way)
        self._num_holders -= 1
        if not self._num_holders:
            self.remove_()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._layers.switch.on or is_transforming():
            return self.eager(*args, **kwargs)
        try:
            output = self._run(args, kwargs)
            self._num_failures = 0
        except Exception as error:
            if has_cache(args, kwargs):
                # Some layers have written into the cache already: run again, they would do so twice.
                raise
            # Raises by itself if the call is at fault.
            output = self.eager(*args, **kwargs)
            self._layers.failures.append(f"{type(self.owner).__name__}: {type(error).__name__}: {error}")
            self._num_failures += 1
            if self._num_failures >= _MOST_FAILURES:
                self._ways.clear()
        return output

    def _run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        ways = self.ways
        if not self._watch.holds():
            ways = self._look_again(ways)
        if has_cache(args, kwargs):
            # It is written into, in the module's own dtype.
            ways = _watched(ways)
        run: Run = self._inner
        for way in ways:
            run = partial(way, run)
        output = run(args, kwargs)
        return output if all(way.is_right(output) for way in ways) else self._inner(args, kwargs)

    def _inner(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self.eager(*args, **kwargs)

    def _look_again(self, ways: tuple[Way, ...]) -> tuple[Way, ...]:
        """Something has changed. What may run now."""
        if has_hooks(self.owner):
            # They want to see the module's parts run.
            return _watched(ways)
        if self._watch.sees_only_patches():
            self._watch = _Look(self.owner)
            return ways
        is_followed = any(way.follow_() for way in ways)
        if not is_followed:
            for way in self._ways:
                way.forget_()
            for kernel in self._layers.kernels():
                if isinstance(kernel, CopiedKernel):
                    kernel.forget_()
        self._watch = _Look(self.owner)
        return ways


class AppliedWay:
    """A way as something applied."""

    def __init__(self, layers: Layers, way: Way, kept: Kept | None = None) -> None:
        self.way = way
        self._layers = layers
        self._kept = kept or Kept()
        self._older: list[AppliedWay] = []
        self._is_on = False

    def enable(self) -> None:
        if not self._is_on:
            _around(self._layers).hold_(self.way)
            self._is_on = True

    def disable(self) -> None:
        around = Around.of(self._layers)
        if self._is_on and around is not None:
            around.release_(self.way)
        self._is_on = False
        for older in self._older:
            older.disable()

    def supersedes_(self, older: Applied) -> bool:
        if not isinstance(older, AppliedWay) or older.way.slot != self.way.slot:
            return False
        self._older.append(older)
        return True

    def keep(self) -> Kept:
        return self._kept


class AppliedCopies(AppliedKernels):
    """Kernels on copies of weights, and someone who watches the module for them."""

    _is_on = False

    def enable(self) -> None:
        if not self._is_on:
            _around(self._layers).hold_(None)
            self._is_on = True
        super().enable()

    def disable(self) -> None:
        super().disable()
        around = Around.of(self._layers)
        if self._is_on and around is not None:
            around.release_(None)
        self._is_on = False

    def supersedes_(self, older: Applied) -> bool:
        is_so = super().supersedes_(older)
        around = Around.of(self._layers)
        if is_so and isinstance(older, AppliedCopies) and older._is_on and around is not None:
            around.release_(None)
            older._is_on = False
        return is_so


def _watched(ways: tuple[Way, ...]) -> tuple[Way, ...]:
    """Of these, the ones in which the module's parts run as they always did."""
    return tuple(way for way in ways if way.slot not in ("precision", "graph"))


def _around(layers: Layers) -> Around:
    found = Around.of(layers)
    if found is None:
        found = Around(layers)
        found.install_()
    return found
