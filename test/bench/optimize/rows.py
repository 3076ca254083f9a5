"""Running one row in a process of its own, within a time and a memory limit: a crash, or a limit that is met, is a row as well.

Knows processes, no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
_POLL_S: Final = 0.25
_FORCED_AVX2: Final = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How long a row may take, and how much memory its processes may hold together."""

    seconds: float
    bytes: int


def run_row(python: str, script: str, arguments: list[str], *, threads: int, isa: str, bounds: Bounds) -> dict[str, Any]:
    """What the child measured, or how it failed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-W", "ignore", str(HERE / script), *arguments]
        paths = [Path(folder, name) for name in ("stdout", "stderr")]
        with paths[0].open("w") as output, paths[1].open("w") as errors:
            environment = _environment(folder, threads, isa)
            child = subprocess.Popen(command, env=environment, stdout=output, stderr=errors, start_new_session=True, cwd=folder)
            failure = _watched(child, bounds)
        if failure is not None:
            return {"failed": failure}
        return _row(child.returncode, *(path.read_text(errors="replace") for path in paths))


def _watched(child: subprocess.Popen[bytes], bounds: Bounds) -> str | None:
    """Waits for the end; ends the child's whole group when it meets a limit, and says which."""
    deadline, failure = time.monotonic() + bounds.seconds, None
    try:
        while child.poll() is None and failure is None:
            time.sleep(_POLL_S)
            held = _group_bytes(child.pid)
            if time.monotonic() > deadline:
                failure = f"time: more than {bounds.seconds:.0f} s"
            elif held > bounds.bytes:
                failure = f"memory: more than {bounds.bytes / 2**30:.1f} GiB"
    finally:
        # Compilers of a child that has ended or was ended may still run.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return failure


def _row(code: int, output: str, errors: str) -> dict[str, Any]:
    lines = output.strip().splitlines()
    if code == 0 and lines:
        try:
            row: dict[str, Any] = json.loads(lines[-1])
            return row
        except json.JSONDecodeError:
            return {"failed": f"its last line is no row: {lines[-1][:200]}"}
    if code < 0:
        return {"failed": f"ended by {signal.Signals(-code).name}"}
    last = next((line for line in reversed(errors.strip().splitlines()) if line.strip()), "nothing said")
    return {"failed": f"exit code {code}: {last[:300]}"}


def _environment(folder: str, threads: int, isa: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORCH", "OMP_", "ATEN_", "ONEDNN_", "KMP_", "MKL_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "python"), str(ROOT / "test" / "python"))),
        "OMP_NUM_THREADS": str(threads),
        # Cold: the time that a variant needs before its first fast call counts.
        "TORCHINDUCTOR_CACHE_DIR": str(Path(folder, "inductor")),
        "XDG_CACHE_HOME": str(Path(folder, "cache")),
        "TMPDIR": folder,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        **(_FORCED_AVX2 if isa == "avx2" else {}),
    }


def _group_bytes(group: int) -> int:
    """Resident bytes of every process of the group; 0 where the system has no /proc."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            continue
    return total
