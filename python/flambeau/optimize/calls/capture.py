"""Recording real calls so that they can be replayed, and noticing modules for which replaying would be wrong.
Knows one module and its calls, no candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..leaf.stamp import version
from . import tree
from .caches import has_cache, is_cache
from .guard import Key, Parameters, argument_name, call_key

_BARE = frozenset(nn.Module().__dict__) | {"forward"}


@dataclass(frozen=True)
class Call:
    """One recorded call: copies of its inputs and of eager's output, owned by the plan and never changed; runs take `fresh` inputs."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    key: Key
    # Leaves of the output with their paths, and the strides of its tensors as eager gave them (a copy may lose those).
    output: Sequence[tuple[str, Any]] = ()
    strides: tuple[tuple[int, ...], ...] = ()
    seconds: float = 0.0

    @property
    def num_bytes(self) -> int:
        """Memory of the copies."""
        return tree.num_bytes((self.args, self.kwargs, self.output))

    @property
    def fresh(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The inputs for one run, which writes into their caches."""
        return apart(self.args, self.kwargs)


def apart(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The same inputs with copies of their caches, for a run beside another one. Raises NotPlainError for a cache that cannot be copied."""
    if not has_cache(args, kwargs):
        return tuple(args), kwargs
    copied = {name: tree.clone(value, name) if is_cache(value) else value for name, value in kwargs.items()}
    return tuple(tree.clone(value, f"argument {index}") if is_cache(value) else value for index, value in enumerate(args)), copied


def record(parameters: Parameters, args: Sequence[Any], kwargs: Mapping[str, Any], training: bool) -> Call:
    """Copies the inputs of a call. Raises NotPlainError for an argument that cannot be copied, naming it."""
    key = call_key(parameters, args, kwargs, training)
    copied_args = tuple(tree.clone(value, argument_name(parameters.names, index)) for index, value in enumerate(args))
    copied_kwargs = {name: tree.clone(value, name) for name, value in kwargs.items()}
    return Call(copied_args, copied_kwargs, key)


def with_output(call: Call, output: Any, seconds: float) -> Call:
    """The same call with a copy of what eager gave, and the time it took. Raises NotPlainError for an output that cannot be compared."""
    leaves = [(path, tree.clone(leaf, path)) for path, leaf in tree.leaves(output, "output")]
    return replace(call, output=leaves, strides=tuple(tensor.stride() for tensor in tree.tensors(output)), seconds=seconds)


class Footprint:
    """The state around one call: what it may change besides its result. Taken before, compared after."""

    def __init__(self, owner: nn.Module, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._owner = owner
        self._inputs = [
            (tensor, version(tensor), copied)
            for value, twin in zip((*args, *kwargs.values()), (*call.args, *call.kwargs.values()), strict=True)
            # Caches are there to be written into; each replay has copies of its own.
            if not is_cache(value)
            for tensor, copied in zip(tree.tensors(value), tree.tensors(twin), strict=True)
        ]
        self._state = _state(owner)
        self._random = _random_states(owner)

    def change(self) -> str | None:
        """What the call changed, for a report; None if a replay gives the same again and harms nothing."""
        for tensor, before, copied in self._inputs:
            if before != version(tensor) or (before == -1 and not torch.equal(tensor, copied)):
                return "it writes into its inputs"
        if any(not torch.equal(a, b) for a, b in zip(self._random, _random_states(self._owner), strict=True)):
            return "it draws random numbers"
        now = _state(self._owner)
        changed = [name for name in {**self._state, **now} if self._state.get(name) != now.get(name)]
        return f"it keeps state between calls ({', '.join(changed[:3])})" if changed else None


def _state(owner: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for path, module in owner.named_modules():
        for name, value in (*module._parameters.items(), *module._buffers.items()):
            state[f"{path}.{name}"] = _mark(value)
        for name, value in vars(module).items():
            if name not in _BARE:
                state[f"{path}.{name}"] = _mark(value)
    return state


def _mark(value: Any) -> Any:
    """Something that differs if the value was replaced or, as far as can be seen cheaply, edited."""
    if isinstance(value, Tensor):
        return id(value), version(value)
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, (list, dict, set, tuple)):
        return id(value), len(value)
    return id(value)


def _random_states(owner: nn.Module) -> list[Tensor]:
    devices = {p.device for p in owner.parameters() if p.device.type == "cuda"}
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in sorted(devices, key=str))]
