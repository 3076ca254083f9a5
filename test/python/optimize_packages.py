"""Packages for tests: a module, a store that holds a package of it, and a clock on which the package always wins."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flambeau.optimize.graph.package import refusal
from flambeau.optimize.limits import LIMITS
from flambeau.optimize.registry import Registry
from flambeau.optimize.report import Report
from optimize_nets import Net, image

WHY_NOT = refusal() or (None if shutil.which(os.environ.get("CXX", "g++")) else "there is no C++ compiler on this machine")
needs_compiler = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
# Enough to be measured, built for, compared and raced.
CALLS = 20


class Hidden:
    """Time that passes only in a module's own forward. It is no part of the module's state: packages see changes of that."""

    __slots__ = ("now_s",)

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def seeded(clock: Hidden | None = None) -> Net:
    torch.manual_seed(0)
    return Net(clock or Hidden()).eval()


def optimized(directory: Path, *candidates: Any, builds: Any = "never", **limits: Any) -> tuple[Net, Registry]:
    clock = Hidden()
    net = seeded(clock)
    made = Registry(table={"cpu": candidates}, limits=replace(LIMITS, **limits), clock=clock, store=directory, builds=builds)
    return made.optimize(net), made


def build_in(directory: Path) -> Report:
    """Puts a package for calls of `image()` on `seeded()` into this store; the report of the process that built it."""
    net, made = optimized(directory, builds="now")
    with torch.no_grad():
        for seed in range(CALLS):
            net(image(seed))
    return made.report(net)


def near(net: Net, seed: int) -> bool:
    return agrees(net, image(seed))


def agrees(net: Net, x: torch.Tensor) -> bool:
    got = net(x)
    expected = type(net).forward(net, x)
    return bool((got - expected).norm() <= 1e-5 * expected.norm()) and got.stride() == expected.stride() and got.dtype == expected.dtype


def why(made: Registry, net: Net) -> str:
    return " | ".join(f"{skip.what}: {skip.why}" for skip in made.report(net).skipped)
