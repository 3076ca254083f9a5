"""One row: a module, a variant, a number of threads, in a process of its own. Prints the row as JSON on its last line.

The variant is prepared with inputs that it is not judged by; eager and the variant then take turns, so that whatever else the machine
does meets both, and the ratio is the median over the pairs of neighbours.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modules import CASES, Case, Inputs, Positional
from setting import SkippedError, print_row
from torch import Tensor
from variants import CHANGING, VARIANTS

PREPARED_WITH = (0, 1, 2, 3)
JUDGED_BY = (100, 101, 102)
PAIRS = {"most": 21, "least": 5, "quick": 2}
TIMED_S = 60.0


def main() -> None:
    """Reads the row's name from the command line and prints the row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module", choices=CASES)
    parser.add_argument("variant", choices=VARIANTS)
    print_row(lambda arguments: measured(CASES[arguments.module](), arguments), parser)


def measured(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Prepares, compares and times one variant."""
    module = Positional(case)
    own = Positional(CASES[arguments.module]()) if arguments.variant in CHANGING else module
    judged_by = [case.inputs(seed) for seed in JUDGED_BY]
    expected = [module(*inputs) for inputs in judged_by]
    before = _memory()
    started, started_cpu = time.perf_counter(), _cpu_s()
    prepared = VARIANTS[arguments.variant](own, [case.inputs(seed) for seed in PREPARED_WITH], arguments.threads)
    prepared.run(*case.inputs(PREPARED_WITH[0]))
    seconds, cpu_seconds = time.perf_counter() - started, _cpu_s() - started_cpu
    after = _memory()
    errors = [_difference(want, prepared.run(*inputs)) for inputs, want in zip(judged_by, expected, strict=True)]
    pairs = _pairs(module, prepared.run, judged_by[0], arguments.quick)
    again = {} if prepared.again is None else prepared.again(Positional(CASES[arguments.module]()))
    return {
        "eager_s": statistics.median(pair["eager"] for pair in pairs),
        "seconds": statistics.median(pair["variant"] for pair in pairs),
        "ratio": statistics.median(pair["eager"] / pair["variant"] for pair in pairs),
        "ratio_cpu": statistics.median(pair["eager_cpu"] / max(pair["variant_cpu"], 1e-9) for pair in pairs),
        "ratio_spread": [min(pair["eager"] / pair["variant"] for pair in pairs), max(pair["eager"] / pair["variant"] for pair in pairs)],
        "pairs": len(pairs),
        "relative_l2": max(error for error, _ in errors),
        "cosine": min(cosine for _, cosine in errors),
        "prepare_s": seconds,
        "prepare_cpu_s": cpu_seconds,
        "held_mib": round((after["now"] - before["now"]) / 2**20),
        "peak_mib": round((max(after["peak"], after["children"]) - before["now"]) / 2**20),
        "parameters": sum(p.numel() for p in case.module.parameters()),
        **prepared.notes,
        **again,
    }


def _pairs(module: Positional, run: Callable[..., Any], inputs: Inputs, quick: bool) -> list[dict[str, float]]:
    """Neighbouring runs of both, each first in every other pair."""
    pairs: list[dict[str, float]] = []
    module(*inputs)
    run(*inputs)
    started = time.perf_counter()
    least, most = (PAIRS["quick"],) * 2 if quick else (PAIRS["least"], PAIRS["most"])
    # A short call is repeated within its turn, so that a turn is long enough to be timed.
    repeats = max(1, min(50, int(0.05 / max(_seconds(module, inputs, 1)[0], 1e-6))))
    while len(pairs) < most and (len(pairs) < least or time.perf_counter() - started < TIMED_S):
        contenders: list[tuple[str, Callable[..., Any]]] = [("eager", module), ("variant", run)]
        pair: dict[str, float] = {}
        for name, contender in contenders if len(pairs) % 2 == 0 else contenders[::-1]:
            pair[name], pair[f"{name}_cpu"] = _seconds(contender, inputs, repeats)
        pairs.append(pair)
    return pairs


def _seconds(run: Callable[..., Any], inputs: Inputs, repeats: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        run(*inputs)
    return (time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats


def _difference(expected: Any, got: Any) -> tuple[float, float]:
    worst, nearest = 0.0, 1.0
    for a, b in zip(_tensors(expected), _tensors(got), strict=True):
        if a.shape != b.shape:
            raise SkippedError(f"its output has the shape {list(b.shape)} instead of {list(a.shape)}")
        x, y = a.flatten().double(), b.flatten().double()
        worst = max(worst, float((x - y).norm() / x.norm()))
        nearest = min(nearest, float(x @ y / (x.norm() * y.norm())))
    return worst, nearest


def _tensors(value: Any) -> Sequence[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def _cpu_s() -> float:
    """Of this process and of those that it has waited for, such as compilers."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _memory() -> dict[str, int]:
    """Bytes resident now, at most so far, and of the largest child."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"now": pages * resource.getpagesize(), "peak": peaks[0], "children": peaks[1]}


if __name__ == "__main__":
    main()
