"""The inputs of a package: which tensors it takes, in which order and memory layout, and which plain values are built into it.
Packages check nothing and return garbage; this stands before them, behind the guard. Knows no module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..calls import tree
from ..calls.guard import Parameters, argument_name


@dataclass(frozen=True)
class Spec:
    """One tensor as the package was built for it."""

    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...]


class Inputs:
    """Made from one call; takes others apart in the same way."""

    def __init__(self, parameters: Parameters, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.parameters = parameters
        given = given_arguments(parameters, args, kwargs)
        self.names = tuple(sorted(given))
        self._specs = [_spec(leaf) for leaf in self._leaves(given)]

    def describe(self) -> list[Any]:
        """As JSON: equal for inputs that the same package serves."""
        return [
            [str(spec.dtype), list(spec.shape), list(spec.stride)] if isinstance(spec, Spec) else [type(spec).__name__, repr(spec)]
            for spec in self._specs
        ]

    def tensors(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor] | None:
        """What to hand to the package for this call; None if the call is not of its kind."""
        leaves = self._leaves(given_arguments(self.parameters, args, kwargs))
        if len(leaves) != len(self._specs):
            return None
        tensors: list[Tensor] = []
        for leaf, spec in zip(leaves, self._specs, strict=True):
            if isinstance(spec, Spec):
                tensor = _fitting(leaf, spec)
                if tensor is None:
                    return None
                tensors.append(tensor)
            elif type(leaf) is not type(spec) or leaf != spec:
                return None
        return tensors

    def _leaves(self, given: Mapping[str, Any]) -> list[Any]:
        return [leaf for name in self.names if name in given for _, leaf in tree.leaves(given[name], name)]


def given_arguments(parameters: Parameters, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a call by name, defaults written out."""
    return {**parameters.defaults, **{argument_name(parameters.names, index): value for index, value in enumerate(args)}, **kwargs}


def _spec(leaf: Any) -> Any:
    return Spec(leaf.dtype, leaf.shape, leaf.stride()) if isinstance(leaf, Tensor) else leaf


def _fitting(leaf: Any, spec: Spec) -> Tensor | None:
    if type(leaf) is not Tensor or leaf.dtype != spec.dtype or leaf.shape != spec.shape or leaf.is_conj() or leaf.is_neg():
        return None
    if leaf.stride() == spec.stride:
        return leaf
    # Such as an expanded tensor: the kind of call is the same, and the package reads memory as it was built to.
    return torch.empty_strided(leaf.shape, spec.stride, dtype=leaf.dtype, device=leaf.device).copy_(leaf)
