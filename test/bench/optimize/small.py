"""Thirty random small modules, eager against ours: modules for which there is little to gain must not lose either. Prints one row."""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from flambeau.optimize import optimize, report
from optimize_random import random_module
from torch import Tensor
from variants import force_isa

NUM_MODULES = 30
NEEDED = 0.98
TURN_S = 0.02
PAIRS = 41


def main() -> None:
    """One row for all of them: the lowest ratio, and each module's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", default="native")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    force_isa(arguments.isa)
    with torch.no_grad():
        found = [measured(seed, 3 if arguments.quick else PAIRS) for seed in range(3 if arguments.quick else NUM_MODULES)]
    ratios = [each["ratio"] for each in found]
    below = [each for each in found if each["ratio"] < NEEDED]
    worst = f"lowest {min(ratios):.3f}x, median {statistics.median(ratios):.3f}x of eager"
    row = {
        "summary": f"{worst}; {len(below)} of {len(found)} below {NEEDED}",
        "lowest": min(ratios),
        "below": len(below),
        "needed": NEEDED,
        "modules": found,
    }
    print(json.dumps(row))


def measured(seed: int, num_pairs: int) -> dict[str, Any]:
    """Turns of many calls each: eager, ours, ours, eager."""
    plain, make = random_module(seed)
    plain.eval()
    fast = optimize(copy.deepcopy(plain))
    x = make()
    for _ in range(8):
        fast(x)
    for _ in range(3):
        plain(x)
    repeats = max(1, int(TURN_S / max(_seconds(plain, x, 3), 1e-7)))
    pairs = []
    for index in range(num_pairs):
        order = (plain, fast) if index % 2 == 0 else (fast, plain)
        seconds = {id(module): _seconds(module, x, repeats) for module in order}
        pairs.append(seconds[id(plain)] / seconds[id(fast)])
    made = report(fast)
    why = made.skipped[0].why if made.skipped and not made.applied else None
    call_s = _seconds(plain, x, repeats)
    return {"seed": seed, "ratio": statistics.median(pairs), "call_s": call_s, "applied": list(made.applied), "why": why}


def _seconds(run: Callable[[Tensor], Any], x: Tensor, repeats: int) -> float:
    """Of one call: the thread's own time where it does all the work, so that others do not disturb it."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    before = clock()
    for _ in range(repeats):
        run(x)
    return (clock() - before) / repeats


if __name__ == "__main__":
    main()
