"""What every script that measures one row does around it: reads threads and instructions, prints the row as JSON on its last line.

Knows no modules and no variants.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import torch

Row = dict[str, Any]


class SkippedError(Exception):
    """What was asked for cannot be had here; the message says why."""


def print_row(measure: Callable[[argparse.Namespace], Row], parser: argparse.ArgumentParser) -> None:
    """Measures under the setting of the command line, to which `parser` may have added its own arguments."""
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", choices=("native", "avx2"), default="native")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    _force_isa(arguments.isa)
    with torch.no_grad():
        try:
            row = measure(arguments)
        except SkippedError as error:
            row = {"skipped": str(error)}
    print(json.dumps(row))


def work_s() -> float:
    """A clock for work: the thread's own time where it does all the work, so that others on the machine do not disturb it."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def _force_isa(isa: str) -> None:
    """Tells inductor as well; oneDNN and torch's own kernels are told by the environment."""
    if isa == "avx2" and os.environ.get("ATEN_CPU_CAPABILITY") == "avx2":
        import torch._inductor.config as inductor

        inductor.cpp.simdlen = 256
