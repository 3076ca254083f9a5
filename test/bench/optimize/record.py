"""The record of the optimizer's benchmark: one for each processor model, written again after every row, and shown as a table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parents[1] / "results" / "optimize.json"
_PACKAGES: Final = ("torch", "torchao", "diffusers", "transformers", "onnx", "onnxruntime", "onnxscript", "openvino", "numpy")
_FLAGS: Final = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "asimd", "bf16", "sve")
_VERSIONS: Final = f"""
import importlib.metadata, json, platform
def version(name):
    try: return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: return None
print(json.dumps({{"python": platform.python_version(), **{{name: version(name) for name in {_PACKAGES!r}}}}}))
"""

_RULE: Final = "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"

Row = dict[str, Any]


def machine(python: str) -> dict[str, Any]:
    """Processor, and versions of what the rows are made with."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in info.splitlines() if ":" in line}
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {
        "cpu": fields.get("model name", platform.processor() or "unknown"),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "packages": json.loads(subprocess.check_output([python, "-I", "-c", _VERSIONS])),
    }


class Record:
    """The rows of this machine. A row takes the place of an older one of its name."""

    def __init__(self, machine: dict[str, Any], *, file: Path = FILE) -> None:
        self._file = file
        # Two kinds of processor may share a model's name, as those of a cloud do.
        self._name = " ".join([machine["cpu"], *machine["flags"]])
        self._machine = machine

    @property
    def rows(self) -> dict[str, Row]:
        """By name."""
        found: dict[str, Row] = self._all().get(self._name, {}).get("rows", {})
        return found

    def keep(self, name: str, row: Row) -> None:
        """In one step: a run that is ended while it writes leaves the rows before."""
        everything = self._all()
        rows = {**everything.get(self._name, {}).get("rows", {}), name: _rounded(row | when())}
        everything[self._name] = {"machine": self._machine, "rows": dict(sorted(rows.items()))}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".json.new")
        new.write_text(json.dumps(everything, indent=1) + "\n")
        new.replace(self._file)

    def _all(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}
        return found


def when() -> Row:
    """The time, and how busy the machine is: more than there are cores means that ratios are rough."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "load": load}


def line(name: str, row: Row) -> str:
    """One row for a terminal."""
    if "ratio" not in row:
        return f"{name:<48} {_words(row)}"
    what = row.get("line") or row.get("precision", "")
    return (
        f"{name:<48} {row['seconds']:>9.4f} s  {row['ratio']:>5.2f}x  (cpu {row['ratio_cpu']:>5.2f}x)  L2 {row['relative_l2']:.1e}  "
        f"cos {row['cosine']:.5f}  {row['held_mib']:>6} MiB  prepared in {row['prepare_s']:>6.1f} s  {what}"
    )


def table(rows: dict[str, Row]) -> str:
    """Markdown: one table for each module, processor setting and number of threads."""
    groups: dict[str, list[tuple[str, Row]]] = {}
    for name, row in rows.items():
        group, _, variant = name.rpartition("/")
        groups.setdefault(group, []).append((variant, row))
    texts = []
    for group, members in groups.items():
        members.sort(key=lambda member: -member[1].get("ratio", 0.0))
        head = f"### {group}\n\n| variant | seconds | x eager | rel-L2 | cosine | MiB held | prepared in |\n{_RULE}\n"
        texts.append(head + "\n".join(_cells(*member) for member in members))
    return "\n\n".join(texts)


def _cells(variant: str, row: Row) -> str:
    if "ratio" not in row:
        return f"| {variant} | {_words(row)} | | | | | |"
    parts: Sequence[str] = (
        variant,
        f"{row['seconds']:.4g}",
        f"{row['ratio']:.2f}",
        f"{row['relative_l2']:.1e}",
        f"{row['cosine']:.5f}",
        str(row["held_mib"]),
        f"{row['prepare_s']:.1f} s",
    )
    return f"| {' | '.join(parts)} |"


def _words(row: Row) -> str:
    """What a row without figures of its own says."""
    return str(row.get("summary") or row.get("skipped") or row.get("failed") or row)


def _rounded(value: Any) -> Any:
    """Four digits: more would say what was not measured."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
