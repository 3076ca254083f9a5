"""One module that is optimized, and the ways to run it: eagerly, on its layers' kernels, as recorded. Knows no recording and no choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .breakdown import Breakdown
from .calls import tree
from .calls.capture import Call
from .calls.guard import Guard, parameters_of
from .leaf.layers import DECLINED, Layers
from .patch import Patch
from .phase import Eager, Fast, Waiting
from .report import Skipped
from .session import Session


class Subject(ABC):
    """See the head of this file. `shell` is its forward now; `phase` is where it stands."""

    shell: Patch

    def __init__(self, owner: nn.Module, session: Session) -> None:
        self.owner = owner
        self.session = session
        self.phase: Waiting | Fast | Eager = Waiting()
        self.layers = Layers(owner, session.store)
        self.breakdown = Breakdown(owner)
        self.parameters = parameters_of(owner)
        self.guard = Guard(owner, self.parameters)

    @abstractmethod
    def run_observed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One call of the program, eager, from which something is learned."""

    @abstractmethod
    def settle(self, *skipped: Skipped) -> None:
        """Eager for good."""

    @abstractmethod
    def tell_if_settled(self) -> None:
        """Once for every new phase."""

    def device(self, inputs: Any) -> torch.device:
        """Where this module computes."""
        found = [tensor.device for tensor in (*self.owner.parameters(), *tree.tensors(inputs))]
        return found[0] if found else torch.device("cpu")

    def run_layers(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The module with its layers' kernels on."""
        if self.breakdown.is_due and not self.session.measuring.on:
            return self.breakdown.run(lambda: self.run_layers(args, kwargs))
        switch = self.layers.switch
        before = switch.on
        switch.on = True
        try:
            return self.shell.eager(*args, **kwargs)
        finally:
            switch.on = before

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """A failure of ours inside it leaves the module eager, with the reason."""
        try:
            yield
        except tree.NotPlainError as error:
            self.settle(Skipped("optimize", str(error)))
        except Exception as error:  # Nothing of ours may reach the caller of the module.
            self.settle(Skipped("optimize", f"{type(error).__name__}: {error}"))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Runs of ours: no plan takes them for the program's calls, and the program's random numbers stay what they were."""
        devices = {p.device for p in self.owner.parameters() if p.is_cuda}
        with self.session.measuring.set(True), self.session.depth.deeper(), torch.random.fork_rng(devices=list(devices)):
            yield

    def replay(self, call: Call, fast: bool) -> Any:
        """A recorded call to its end, with or without what is enabled."""
        args, kwargs = call.fresh
        if fast:
            # The guard stands in front of every fast call, so its time counts in every race.
            self.guard.check(args, kwargs)
        whole = self.layers.wholes.get(call.key) if fast else None
        output = DECLINED if whole is None else whole(args, kwargs)
        if output is DECLINED:
            with self.layers.switch.set(fast):
                output = self.shell.eager(*args, **kwargs)
        self._synchronize()
        return output

    def _synchronize(self) -> None:
        parameter = next(self.owner.parameters(), None)
        if parameter is not None and parameter.is_cuda:
            torch.cuda.synchronize(parameter.device)

    def undo_(self) -> None:
        """Nothing of ours is enabled any more."""
        if isinstance(self.phase, Fast):
            for _, applied in reversed(self.phase.outcome.applied):
                applied.disable()
        self.layers.wholes.clear()
        self.layers.prune_(everything=True)
