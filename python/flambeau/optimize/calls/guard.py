"""What stands in front of a fast path: which calls it was measured for. Knows inputs and torch's modes, no kernels."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import tree
from .caches import has_cache, is_cache

Key = Hashable

_REQUIRED = "required"
_OWN_DEFAULT = "its own default"
_CACHED = "with a cache"
# As long as what the cache holds: it grows with every call.
_MASK = "attention_mask"
# Kinds of refused calls whose text is kept; making it takes longer than looking at the call.
_TEXTS_KEPT = 32
_any_autocast = getattr(torch._C, "_is_any_autocast_enabled", None)


@dataclass(frozen=True)
class Refused:
    """A call that must run eagerly. `key` is its kind if nothing speaks against the call but that this kind was not measured."""

    why: str
    key: Key | None = None


class Guard:
    """The calls that one target was measured for, and the strides that eager gave their outputs."""

    def __init__(self, owner: nn.Module, parameters: Parameters) -> None:
        self._owner = owner
        self._parameters = parameters
        self._strides: dict[Key, tuple[tuple[int, ...], ...]] = {}
        self._refusals: dict[Key, Refused] = {}

    def admit(self, key: Key, strides: Sequence[tuple[int, ...]]) -> None:
        """From now on calls like this one take the fast path; their output tensors get these strides, which eager gave them.

        Calls with a cache share a kind at different sizes, so that no strides can be told for them.
        """
        self._strides[key] = () if is_cached(key) else tuple(strides)

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Key | Refused:
        """The key of a call that may take the fast path."""
        try:
            why = mode_refusal(self._owner, args, kwargs)
            if why is not None:
                return Refused(why)
            key = call_key(self._parameters, args, kwargs, self._owner.training)
            return key if key in self._strides else self._refused(key, args, kwargs)
        except tree.NotPlainError as error:
            return Refused(str(error))
        except Exception as error:  # Whatever an argument is that we cannot look at, the module itself may well take it.
            return Refused(f"{type(error).__name__}: {error}")

    def _refused(self, key: Key, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Refused:
        refused = self._refusals.get(key)
        if refused is None:
            refused = Refused(f"not measured: {describe(args, kwargs)}", key)
            if len(self._refusals) < _TEXTS_KEPT:
                self._refusals[key] = refused
        return refused

    def restride(self, key: Key, output: Any) -> Any:
        """Gives the outputs the strides that eager gives them, in place."""
        expected = self._strides[key]
        if not expected:
            return output
        if type(output) is Tensor and len(expected) == 1 and output.stride() == expected[0]:
            return output
        for tensor, strides in zip(_tensors(output), expected, strict=False):
            if tensor.stride() != strides and tensor.dim() == len(strides) and _is_dense(tensor, strides):
                tensor.data = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
        return output


def _is_dense(tensor: Tensor, strides: Sequence[int]) -> bool:
    """True if these strides place every element of the tensor in a place of its own: a changed module may return another shape."""
    return tensor.numel() == 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True))


@dataclass(frozen=True)
class Parameters:
    """The parameters of a forward, so that `f(x)`, `f(sample=x)` and a default written out are one kind of call."""

    names: tuple[str, ...]
    defaults: Mapping[str, Any]

    @functools.cached_property
    def default_kinds(self) -> dict[str, Hashable]:
        """The kind of each parameter that a call leaves out, in one order; never changed."""
        kinds: dict[str, Hashable] = {name: _REQUIRED for name in self.names}
        for name, value in self.defaults.items():
            try:
                kinds[name] = tree.kind(value, name)
            except tree.NotPlainError:
                # Whatever it is, it is the same at every call that leaves it out.
                kinds[name] = _OWN_DEFAULT
        return kinds


def parameters_of(owner: nn.Module) -> Parameters:
    """Of its class's forward; none if Python cannot tell."""
    try:
        parameters = list(inspect.signature(type(owner).forward).parameters.values())[1:]
    except (TypeError, ValueError):
        return Parameters((), {})
    names = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    return Parameters(names, {p.name: p.default for p in parameters if p.default is not p.empty})


def call_key(parameters: Parameters, args: Sequence[Any], kwargs: Mapping[str, Any], training: bool) -> Key:
    """What two calls must share to be measured as one: structure, shapes, dtypes, devices, layouts, plain values.

    Of calls with a cache, sizes count by powers of two, and those of masks not at all: each call is longer than the one before, and
    only kernels of layers, which take any shape, serve them.
    Raises NotPlainError for an argument that is neither a tensor nor plain, and for one that is given twice.
    """
    names = parameters.names
    kinds = parameters.default_kinds.copy()
    is_growing = has_cache(args, kwargs)
    kind_of = _growing_kind if is_growing else _kind
    for index, value in enumerate(args):
        name = argument_name(names, index)
        kinds[name] = kind_of(value, name)
    for name, value in kwargs.items():
        if name in names[: len(args)]:
            raise tree.NotPlainError(f"{name} is given twice")
        kinds[name] = kind_of(value, name)
    mode = (_CACHED, training) if is_growing else training
    if len(kinds) == len(parameters.default_kinds):
        return mode, tuple(kinds.values())
    return mode, tuple(sorted(kinds.items(), key=operator.itemgetter(0)))


def is_cached(key: Key) -> bool:
    """Whether calls of this kind have a cache: they write into an argument, and differ in size."""
    return isinstance(key, tuple) and isinstance(key[0], tuple) and key[0][0] == _CACHED


def _kind(value: Any, name: str) -> Any:
    try:
        return tree.kind(value, name)
    except tree.NotPlainError:
        # Says where in the argument.
        for _ in tree.leaves(value, name):
            pass
        raise


def _growing_kind(value: Any, name: str) -> Any:
    if isinstance(value, Tensor):
        sizes = value.dim() if name.endswith(_MASK) else tuple(size.bit_length() for size in value.shape)
        return value.dtype, value.device, sizes
    if isinstance(value, Mapping):
        return type(value), tuple((key, _growing_kind(item, name)) for key, item in value.items())
    return _kind(value, name)


def argument_name(names: Sequence[str], index: int) -> str:
    """The name of a positional argument."""
    return names[index] if index < len(names) else f"argument {index}"


def mode_refusal(owner: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Why torch's present mode rules out any fast path, or None."""
    if torch.is_grad_enabled() and _needs_grad(owner, args, kwargs):
        return "gradients are recorded: call it under torch.no_grad()"
    if _has_autocast():
        return "autocast is on: load the model in the dtype you want instead"
    return None


def is_transforming() -> bool:
    """True while torch traces, compiles, records or transforms the program: it must see the module's own forward."""
    if torch.compiler.is_compiling() or (torch.version.cuda is not None and torch.cuda.is_current_stream_capturing()):
        return True
    return torch._C._is_tracing() or torch._C._are_functorch_transforms_active()


def describe(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The tensors of a call for a message: `float32[2, 4, 16, 16] on cpu, …`."""
    found = [tensor for value in (*args, *kwargs.values()) if not is_cache(value) for tensor in _tensors(value)]
    texts = [f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)} on {t.device}" for t in found[:3]]
    return ", ".join(texts) + (", …" if len(found) > 3 else "") if texts else "a call without tensors"


def _has_autocast() -> bool:
    if _any_autocast is not None:
        return bool(_any_autocast())
    try:
        return any(torch.is_autocast_enabled(device) for device in ("cpu", "cuda"))
    except TypeError:  # torch before 2.4 asks per device type by name.
        return torch.is_autocast_enabled() or torch.is_autocast_cpu_enabled()


def _needs_grad(owner: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    inputs = (tensor for value in (*args, *kwargs.values()) for tensor in _tensors(value))
    return any(t.requires_grad for t in inputs) or any(p.requires_grad for p in owner.parameters())


def _tensors(value: Any) -> list[Tensor]:
    try:
        return tree.tensors(value)
    except tree.NotPlainError:
        return []
