"""Which device torch can use here. Asked only on machines that show a sign of a GPU, as importing torch takes seconds."""

from __future__ import annotations


def best() -> str:
    """ "cuda", "mps" or "cpu"."""
    try:
        import torch
    except ImportError:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    mps = getattr(torch.backends, "mps", None)
    return "mps" if mps is not None and mps.is_available() else "cpu"
