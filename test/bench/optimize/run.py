"""`python test/bench/optimize/run.py`: eager, peers and ours on every module, each row in a process of its own.

Rows come in an order in which a run that is stopped has said most; `--resume` leaves out those that are recorded.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

import record
import rows
from order import CLAIMS, MODULES, UNFORCED, VARIANTS, Name, expected_s, most_s, ordered

REQUIREMENTS = rows.HERE / "requirements.txt"
OURS = tuple(variant for variant in VARIANTS if variant.startswith("flambeau-")) + ("eager", "compile", "compile-best", "pt2e-int8")


def main() -> None:
    """Measures what the command line asks for and keeps it row by row."""
    arguments = _arguments()
    if arguments.show:
        print(record.table(record.Record(record.machine(sys.executable)).rows))
        return
    needs_peers = "table" in arguments.sections and not set(arguments.variants) <= set(OURS)
    python = arguments.python or (peers_python() if needs_peers else sys.executable)
    made = record.machine(python)
    print(f"{made['cpu']}, {made['cores']} cores, {' '.join(made['flags'])}; load {os.getloadavg()[0]:.2f}", flush=True)
    kept = record.Record(made)
    names = ordered(wanted(arguments, made["flags"]), kept.rows)
    if arguments.resume:
        names = [name for name in names if str(name) not in kept.rows]
    if arguments.list:
        print("\n".join(f"{expected_s(name, kept.rows):>6.0f} s  {name}" for name in names))
        return
    run(names, python, kept, arguments)


def run(names: Sequence[Name], python: str, kept: record.Record, arguments: argparse.Namespace) -> None:
    """Row by row, as far as the time goes; one that would not end within it is left for the next run."""
    until_s = time.monotonic() + 60 * arguments.limit_minutes
    left_out = 0
    for index, name in enumerate(names):
        left_s, needed_s = until_s - time.monotonic(), expected_s(name, kept.rows)
        if needed_s > left_s:
            left_out += 1
            continue
        rest_s = sum(expected_s(other, kept.rows) for other in names[index:])
        print(f"[{index + 1}/{len(names)}] {name}: some {_span(needed_s)}; all that are left {_span(min(rest_s, left_s))}", flush=True)
        bounds = rows.Bounds(seconds=min(most_s(name, kept.rows), arguments.row_s, left_s), bytes=int(arguments.row_gib * 2**30))
        row = measure(python, name, bounds, quick=arguments.quick)
        print(record.line(str(name), row), flush=True)
        if not arguments.quick:
            kept.keep(str(name), row)
    if left_out:
        print(f"{left_out} rows would take longer than {arguments.limit_minutes:g} minutes allow; --resume measures them")


def wanted(arguments: argparse.Namespace, flags: list[str]) -> Iterator[Name]:
    """Every row that was asked for and can be had here."""
    forced = [isa for isa in arguments.isa if isa != "avx2" or "avx512f" in flags]
    if len(forced) < len(arguments.isa):
        print("forced AVX2 is left out: it is what this processor has", flush=True)
    for isa in forced:
        for threads in arguments.threads:
            yield from (Name(claim, "flambeau", threads, isa) for claim in CLAIMS if claim in arguments.sections)
            if "table" in arguments.sections:
                yield from (Name(module, variant, threads, isa) for module in arguments.modules for variant in arguments.variants)


def measure(python: str, name: Name, bounds: rows.Bounds, *, quick: bool) -> record.Row:
    """One row, and how long it took. A peer that cannot be told which instructions to use is no row of a forced setting."""
    if name.isa == "avx2" and name.variant in UNFORCED:
        return {"skipped": "it chooses its instructions itself"}
    flags = ["--threads", str(name.threads), "--isa", name.isa, *(["--quick"] if quick else [])]
    script, what = (f"{name.module}.py", []) if name.is_claim else ("child.py", [name.module, name.variant])
    started_s = time.monotonic()
    row = rows.run_row(python, script, [*what, *flags], threads=name.threads, isa=name.isa, bounds=bounds)
    return row | {"took_s": time.monotonic() - started_s}


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


def _span(seconds: float) -> str:
    """As `2:05:00`, or `45 s`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours = int(seconds // 60) % 60, int(seconds // 3600)
    return f"{hours}:{minutes:02}:{int(seconds) % 60:02}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    sections = (*CLAIMS, "table")
    parser.add_argument("--quick", action="store_true", help="two pairs each: shows that it runs, says little of speed, keeps nothing")
    parser.add_argument("--resume", action="store_true", help="leave out rows that are recorded for this processor")
    parser.add_argument("--limit-minutes", type=float, default=24 * 60, help="no row is begun that would not end within this time")
    parser.add_argument("--list", action="store_true", help="print the rows in their order, measure nothing")
    parser.add_argument("--show", action="store_true", help="print the record of this processor as tables")
    parser.add_argument("--sections", nargs="+", choices=sections, default=sections)
    parser.add_argument("--modules", nargs="+", choices=MODULES, default=tuple(MODULES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=tuple(VARIANTS))
    parser.add_argument("--threads", nargs="+", type=int, default=(1, 2))
    parser.add_argument("--isa", nargs="+", choices=("native", "avx2"), default=("native", "avx2"))
    parser.add_argument("--row-s", type=float, default=1800.0, help="seconds that any row may take; most may take less")
    parser.add_argument("--row-gib", type=float, default=18.0, help="GiB that the processes of a row may hold")
    parser.add_argument("--python", help="an interpreter that has torch and the peers, instead of one that is built")
    return parser.parse_args()


if __name__ == "__main__":
    main()
