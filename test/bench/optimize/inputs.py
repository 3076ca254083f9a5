"""Inputs that nothing was measured for, eager against ours: right, at eager's speed, and without a pause. Prints one row.

A claim about a module's later life: a thousand random calls, then a new resolution or batch, an odd size, another dtype or layout, a
timestep of another kind.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from flambeau.optimize import optimize, report
from modules import CASES, Case, Inputs, Positional, latents_of, unet_inputs
from optimize_calls import disagreements, optimized_pair
from setting import Row, print_row, work_s
from torch import Tensor

ALLOWED = 1.1
PAIRS = 15
FIRST_CALLS = 6
NUM_CALLS = 1000

Variations = Mapping[str, Callable[[], Inputs]]


def main() -> None:
    """One row: how many random calls were wrong; for each variation of real ones, how far off and how much slower than eager."""
    print_row(every_input, argparse.ArgumentParser())


def every_input(arguments: argparse.Namespace) -> Row:
    """See main."""
    pairs, num_calls = (3, 100) if arguments.quick else (PAIRS, NUM_CALLS)
    plain, fast, made = optimized_pair()
    with torch.enable_grad():  # A call turns gradients off itself, or does not.
        wrong = disagreements(plain, fast, num_calls)
    num_fast = num_calls - sum(counted.count for counted in made.report(fast).eager_calls)
    found: dict[str, dict[str, Any]] = {}
    for name, variations in (("bundled-unet", of_unet), ("bundled-vae", of_vae)):
        found |= {f"{name}, {variation}": row for variation, row in measured(CASES[name](), variations, pairs)}
    slow = [name for name, row in found.items() if row["slower"] > ALLOWED]
    worst = max(found, key=lambda name: found[name]["slower"])
    error, pause = max(row["relative_l2"] for row in found.values()), max(row["longest"] for row in found.values())
    summary = f"{len(wrong)} of {num_calls} random calls wrong, {num_fast} ran fast; "
    summary += f"worst {found[worst]['slower']:.2f} of eager's time ({worst}); {len(slow)} of {len(found)} above {ALLOWED}; "
    summary += f"largest error {error:.1e}; longest of the first calls {pause:.2f} of eager's"
    random_calls = {"calls": num_calls, "fast": num_fast, "wrong": wrong}
    return {"summary": summary, "random": random_calls, "allowed": ALLOWED, "above": slow, "inputs": found}


def of_unet(case: Case) -> Variations:
    """Calls of a denoiser; the first kind is what was measured."""
    side = case.module.config.sample_size
    usual = case.inputs(7)

    def with_(index: int, value: Any) -> Callable[[], Inputs]:
        return lambda: (*usual[:index], value, *usual[index + 1 :])

    return {
        "as measured": lambda: usual,
        "resolution x 1.5": lambda: unet_inputs(case.module, side * 3 // 2)(7),
        "one more in the batch": lambda: unet_inputs(case.module, side, batch=3)(7),
        "an odd size": lambda: unet_inputs(case.module, side - 1)(7),
        "channels_last": with_(0, usual[0].contiguous(memory_format=torch.channels_last)),
        "int timestep": with_(1, int(usual[1])),
        "timestep of one dimension": with_(1, usual[1].reshape(1)),
        "float64": lambda: tuple(tensor.double() for tensor in usual),
    }


def of_vae(case: Case) -> Variations:
    """Latents to decode."""
    channels, usual = case.module.config.latent_channels, case.inputs(7)
    return {
        "as measured": lambda: usual,
        "resolution x 1.5": lambda: latents_of(channels, 24)(7),
        "two in the batch": lambda: latents_of(channels, 16, batch=2)(7),
        "an odd size": lambda: latents_of(channels, 15)(7),
        "channels_last": lambda: (usual[0].contiguous(memory_format=torch.channels_last),),
        "float64": lambda: (usual[0].double(),),
    }


def measured(case: Case, variations: Callable[[Case], Variations], num_pairs: int) -> Sequence[tuple[str, dict[str, Any]]]:
    """Of each variation: error, time of ours over eager's, and of the first call."""
    plain = Positional(case)
    fast = Positional(Case(copy.deepcopy(case.module), case.call, case.inputs))
    optimize(fast.module, quality="lossless")
    for seed in range(12):
        fast(*case.inputs(seed))
        if report(fast.module).state not in ("waiting", "measuring"):
            break
    rows = []
    for name, make in variations(case).items():
        inputs = make()
        is_double = inputs[0].dtype == torch.float64
        for module in (plain, fast):
            module.to(torch.float64 if is_double else torch.float32)
        rows.append((name, _compared(plain, fast, inputs, num_pairs)))
    return rows


def _compared(plain: Positional, fast: Positional, inputs: Inputs, num_pairs: int) -> dict[str, Any]:
    plain(*inputs)
    eager = [_timed(plain, inputs) for _ in range(FIRST_CALLS)]
    ours = [_timed(fast, inputs) for _ in range(FIRST_CALLS)]
    (_, expected), (_, got) = eager[0], ours[0]
    pairs = []
    for index in range(num_pairs):
        order = (plain, fast) if index % 2 == 0 else (fast, plain)
        seconds = {id(module): _timed(module, inputs)[0] for module in order}
        pairs.append(seconds[id(fast)] / seconds[id(plain)])
    error = float((got.double() - expected.double()).norm() / expected.double().norm())
    # On one of its first calls of a new kind, ours may try its kernels beside eager: that call takes longer, and is told.
    longest = max(seconds for seconds, _ in ours) / statistics.median(seconds for seconds, _ in eager)
    return {"relative_l2": error, "slower": statistics.median(pairs), "longest": longest}


def _timed(module: Positional, inputs: Inputs) -> tuple[float, Tensor]:
    before_s = work_s()
    output: Tensor = module(*inputs)
    return work_s() - before_s, output


if __name__ == "__main__":
    main()
