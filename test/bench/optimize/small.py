"""Thirty random small modules, eager against ours: modules for which there is little to gain must not lose either. Prints one row."""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

from flambeau.optimize import optimize, report
from optimize_random import random_module
from setting import Row, print_row, work_s
from torch import Tensor

NUM_MODULES = 30
NEEDED = 0.98
TURN_S = 0.02
PAIRS = 41


def main() -> None:
    """One row for all of them: the lowest ratio, and each module's."""
    print_row(every_module, argparse.ArgumentParser())


def every_module(arguments: argparse.Namespace) -> Row:
    """See main."""
    found = [measured(seed, 3 if arguments.quick else PAIRS) for seed in range(3 if arguments.quick else NUM_MODULES)]
    ratios = [each["ratio"] for each in found]
    below = [each for each in found if each["ratio"] < NEEDED]
    worst = f"lowest {min(ratios):.3f}x, median {statistics.median(ratios):.3f}x of eager"
    chance = min(each["by_chance"] for each in found)
    return {
        "summary": f"{worst}; {len(below)} of {len(found)} below {NEEDED}; lowest of untouched copies {chance:.3f}x",
        "lowest": min(ratios),
        "lowest_by_chance": chance,
        "below": len(below),
        "needed": NEEDED,
        "modules": found,
    }


def measured(seed: int, num_pairs: int) -> dict[str, Any]:
    """Turns of many calls each of eager, ours, and an untouched copy: how far from 1 a ratio is by chance."""
    plain, make = random_module(seed)
    plain.eval()
    fast, untouched = optimize(copy.deepcopy(plain)), copy.deepcopy(plain)
    x = make()
    for _ in range(8):
        fast(x)
    for _ in range(3):
        plain(x)
        untouched(x)
    repeats = max(1, int(TURN_S / max(_seconds(plain, x, 3), 1e-7)))
    pairs, by_chance = [], []
    for index in range(num_pairs):
        order = (plain, fast, untouched) if index % 2 == 0 else (untouched, fast, plain)
        seconds = {id(module): _seconds(module, x, repeats) for module in order}
        pairs.append(seconds[id(plain)] / seconds[id(fast)])
        by_chance.append(seconds[id(plain)] / seconds[id(untouched)])
    made = report(fast)
    why = made.skipped[0].why if made.skipped and not made.applied else None
    call_s = _seconds(plain, x, repeats)
    return {
        "seed": seed,
        "ratio": statistics.median(pairs),
        "by_chance": statistics.median(by_chance),
        "call_s": call_s,
        "applied": list(made.applied),
        "why": why,
    }


def _seconds(run: Callable[[Tensor], Any], x: Tensor, repeats: int) -> float:
    """Of one call."""
    before_s = work_s()
    for _ in range(repeats):
        run(x)
    return (work_s() - before_s) / repeats


if __name__ == "__main__":
    main()
