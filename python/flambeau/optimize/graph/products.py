"""Which matrix products a package computes inline, in C++ made for their sizes, and which by a call of oneDNN. Knows the child's torch.

A call costs some 13 us, as long as the product itself where a model is small; inline code is slower where it is large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..limits import LIMITS


def by_size() -> Mapping[str, Any]:
    """What the compiler is to be told, for it to ask us for each product. Nothing, where it does not ask."""
    from torch._inductor import select_algorithm

    ask: Any = getattr(select_algorithm, "add_preprocessing_fn", None)
    if ask is None:
        return {}
    ask(_chosen)
    # Of both ways one is left at once, so that nothing is timed here.
    return {"max_autotune_gemm": True, "max_autotune_gemm_backends": "CPP,ATEN"}


def _chosen(ways: Sequence[Any]) -> list[Any]:
    inline = [way for way in ways if _flops(way) is not None]
    called = [way for way in ways if _flops(way) is None]
    is_small = bool(inline) and (_flops(inline[0]) or 0) <= LIMITS.package_inline_flops
    return list(inline if is_small or not called else called)[:1]


def _flops(way: Any) -> int | None:
    """Of a product in inline code; None for anything else."""
    template: Any = getattr(way, "template", None)
    try:
        return 2 * int(template.m) * int(template.n) * int(template.k)
    except (AttributeError, TypeError):
        return None
