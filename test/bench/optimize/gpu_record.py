"""The record of `gpu.py`: one for each kind of GPU, with what was aimed at."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import torch

import record

# Seconds for a picture and times over eager, as they were set for an H200; in bfloat16 alone, and with 8 bits.
TARGETS: Final = {"bf16_s": 0.85, "balanced_s": 0.75, "over_eager": 2.2}


def verdicts(rows: dict[str, Any]) -> list[str]:
    """What was aimed at, and what came."""
    found = [(name, row) for name, row in rows.items() if name.startswith("ours") and "picture_s" in row]
    lines = []
    for what, names in (("bf16_s", "ours-bf16"), ("balanced_s", "ours-balanced")):
        times = [row["picture_s"] for name, row in found if name.startswith(names)]
        came = f"{min(times):.3f}" if times else "not measured"
        lines.append(f"target    {what} <= {TARGETS[what]}: {came}")
    ratios = [row["over_eager"] for _, row in found if "over_eager" in row]
    lines.append(f"target    over_eager >= {TARGETS['over_eager']}: {f'{max(ratios):.2f}' if ratios else 'not measured'}")
    return lines


def rounded(value: Any) -> Any:
    """Four digits: more would say what was not measured."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def keep(found: dict[str, Any]) -> None:
    """One record for each kind of GPU."""
    path = record.FILE.with_name("optimize-gpu.json")
    everything = json.loads(path.read_text()) if path.exists() else {}
    driver = getattr(torch._C, "_cuda_getDriverVersion", lambda: None)()
    gpu = {"name": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "driver": driver, "cudnn": torch.backends.cudnn.version()}
    everything[gpu["name"]] = {"machine": {**record.machine(sys.executable), "gpu": gpu}, **record.when(), **found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(everything, indent=1) + "\n")
