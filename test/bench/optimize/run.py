"""`python test/bench/optimize/run.py`: eager, peers and ours on every module, each row in a process of its own.

Rows come in an order in which a run that is stopped has said most; `--resume` leaves out those that are recorded.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import record
import rows

MODULES = ("bundled-unet", "bundled-vae", "bundled-text", "cnn", "encoder", "language-model", "sdxl-vae", "sdxl-unet")
VARIANTS = (
    "flambeau-balanced",
    "openvino",
    "openvino-f32",
    "onnxruntime",
    "flambeau-lossless",
    "flambeau-fast",
    "flambeau-lossless-built",
    "flambeau-balanced-built",
    "eager",
    "compile-best",
    "pt2e-int8",
    "compile",
)
# These choose their instructions themselves, whatever torch and oneDNN are told.
UNFORCED = ("onnxruntime",)
REQUIREMENTS = rows.HERE / "requirements.txt"


@dataclass(frozen=True)
class Name:
    """What is measured in one row."""

    script: str
    module: str
    variant: str
    threads: int
    isa: str

    def __str__(self) -> str:
        return f"{self.module}/{self.isa}/{self.threads}/{self.variant}"


def main() -> None:
    """Measures what the command line asks for and keeps it row by row."""
    arguments = _arguments()
    if arguments.show:
        print(record.table(record.Record(record.machine(sys.executable)).rows))
        return
    python = arguments.python or peers_python()
    made = record.machine(python)
    print(f"{made['cpu']}, {made['cores']} cores, {' '.join(made['flags'])}; load {os.getloadavg()[0]:.2f}", flush=True)
    kept = record.Record(made)
    bounds = rows.Bounds(seconds=arguments.row_s, bytes=int(arguments.row_gib * 2**30))
    for name in wanted(arguments, made["flags"]):
        if arguments.resume and str(name) in kept.rows:
            continue
        row = measure(python, name, bounds, quick=arguments.quick)
        print(record.line(str(name), row), flush=True)
        if not arguments.quick:
            kept.keep(str(name), row)


def wanted(arguments: argparse.Namespace, flags: list[str]) -> Iterator[Name]:
    """In order: one thread and native before the rest, ours and the strongest peers before the rest, small modules before large ones."""
    forced = [isa for isa in arguments.isa if isa != "avx2" or "avx512f" in flags]
    if len(forced) < len(arguments.isa):
        print("forced AVX2 is left out: it is what this processor has", flush=True)
    for isa in forced:
        for threads in arguments.threads:
            for section in ("small", "inputs"):
                if section in arguments.sections:
                    yield Name(f"{section}.py", section, "flambeau-balanced", threads, isa)
            if "table" not in arguments.sections:
                continue
            for variant in arguments.variants:
                for module in arguments.modules:
                    yield Name("child.py", module, variant, threads, isa)


def measure(python: str, name: Name, bounds: rows.Bounds, *, quick: bool) -> record.Row:
    """One row. A peer that cannot be told which instructions to use is no row of a forced setting."""
    if name.isa == "avx2" and name.variant in UNFORCED:
        return {"skipped": "it chooses its instructions itself"}
    flags = ["--threads", str(name.threads), "--isa", name.isa, *(["--quick"] if quick else [])]
    what = [name.module, name.variant] if name.script == "child.py" else []
    return rows.run_row(python, name.script, [*what, *flags], threads=name.threads, isa=name.isa, bounds=bounds)


def peers_python() -> str:
    """A Python that has the peers, and everything else from the one that runs this. Built once for each list of requirements."""
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.executable.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("FLAMBEAU_CACHE_DIR") or Path.home() / ".cache" / "flambeau")
    folder = cache / f"bench-optimize-{key}"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return str(python)
    print("building an environment for the peers", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    site = subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    # What runs this lends its packages, so that every variant is measured with the same torch.
    Path(site, "lent.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    frozen = folder / "lent.txt"
    frozen.write_bytes(subprocess.check_output([sys.executable, "-m", "pip", "freeze", "--exclude-editable"]))
    subprocess.check_call([python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS, "-c", frozen])
    (folder / "ready").touch()
    return str(python)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two pairs each: shows that it runs, says little of speed, keeps nothing")
    parser.add_argument("--resume", action="store_true", help="leave out rows that are recorded for this processor")
    parser.add_argument("--show", action="store_true", help="print the record of this processor as tables")
    parser.add_argument("--sections", nargs="+", choices=("small", "inputs", "table"), default=("small", "inputs", "table"))
    parser.add_argument("--modules", nargs="+", choices=MODULES, default=MODULES)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--threads", nargs="+", type=int, default=(1, 2))
    parser.add_argument("--isa", nargs="+", choices=("native", "avx2"), default=("native", "avx2"))
    parser.add_argument("--row-s", type=float, default=1800.0, help="seconds that a row may take")
    parser.add_argument("--row-gib", type=float, default=18.0, help="GiB that the processes of a row may hold")
    parser.add_argument("--python", help="an interpreter that has torch and the peers, instead of one that is built")
    return parser.parse_args()


if __name__ == "__main__":
    main()
