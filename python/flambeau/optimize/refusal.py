"""Which modules optimize leaves alone from the start, and why. Knows modules, no measuring."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

# accelerate's hooks that move weights between devices around a forward; AlignDevicesHook does so only with offload set.
_STAYING_HOOKS = ("AlignDevicesHook", "ModelHook")


# nn.Buffer came with torch 2.5.
_PLAIN_TENSORS = (Tensor, nn.Parameter, getattr(nn, "Buffer", Tensor))


def refusal(module: object) -> str | None:
    """Why this cannot be optimized and what would do, or None. Never raises."""
    try:
        return _refusal(module)
    except Exception as error:  # A module may have properties that raise, or no hash.
        return f"it cannot be looked at: {type(error).__name__}: {error}"


def _refusal(module: object) -> str | None:
    if not isinstance(module, nn.Module):
        return f"expected a torch.nn.Module, got {type(module).__name__}{_hint(module)}"
    if isinstance(module, torch.jit.ScriptModule):
        return "it is a TorchScript module; the Python module that it was made of would do"
    if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
        return "it is compiled already; the module before torch.compile would do"
    for path, part in module.named_modules():
        why = _offload_refusal(part)
        if why is not None:
            return f"{path or 'it'} {why}"
    for path, tensor in (*module.named_parameters(), *module.named_buffers()):
        why = _tensor_refusal(tensor)
        if why is not None:
            return f"{path} {why}"
    return None


def _hint(module: object) -> str:
    parts: Any = getattr(module, "components", None)
    if not isinstance(parts, dict):
        return ""
    names = [name for name, part in parts.items() if isinstance(part, nn.Module)]
    return f": pass one of its modules ({', '.join(names)})" if names else ""


def _offload_refusal(module: nn.Module) -> str | None:
    hook: Any = module.__dict__.get("_hf_hook")
    for part in () if hook is None else getattr(hook, "hooks", (hook,)):
        if getattr(part, "offload", False) or type(part).__name__ not in _STAYING_HOOKS:
            return f"carries {type(part).__name__}, which moves its weights between calls; optimize it without offloading"
    registry: Any = module.__dict__.get("_diffusers_hook")
    names = list(getattr(registry, "hooks", {}))
    return f"carries the hooks {', '.join(names)}; optimize it without them" if names else None


def _tensor_refusal(tensor: Tensor) -> str | None:
    if is_lazy(tensor):
        return "has no shape yet (lazy); call the module once before"
    if tensor.is_meta:
        return "has no data (meta device); load the weights first"
    if tensor.is_sparse or tensor.layout is not torch.strided:
        return f"is sparse ({tensor.layout}); dense weights would do"
    if tensor.is_quantized or type(tensor) not in _PLAIN_TENSORS:
        return f"is quantized or not a plain tensor ({type(tensor).__name__}); plain weights would do"
    return None
