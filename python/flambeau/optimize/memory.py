"""How much memory is left on a device, as far as the system says. Knows no modules."""

from __future__ import annotations

from pathlib import Path

import torch

from .limits import LIMITS

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be allocated; None where the system does not tell. A container's limit counts."""
    if device.type == "cuda":
        # What torch holds for tensors to come is as good as free.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    if device.type != "cpu":
        return None
    known = [size for size in (_system_free(), _container_free()) if size is not None]
    return min(known) if known else None


def memory_refusal(needed: int, device: torch.device) -> str | None:
    """Why so many bytes cannot be held beside what is there, or None."""
    free = free_bytes(device)
    if free is None or needed <= free * LIMITS.memory_share:
        return None
    return (
        f"it would hold {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free; {needed / LIMITS.memory_share / 2**20:.0f} would do"
    )


def _system_free() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _container_free() -> int | None:
    try:
        return int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return None
