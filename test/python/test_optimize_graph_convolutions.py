"""Convolutions of a package on the layers' C++ kernels: compiled and run in a process of its own, against eager."""

from __future__ import annotations

import os
import subprocess
import sys

from flambeau.optimize.graph import products
from flambeau.optimize.limits import LIMITS
from optimize_packages import needs_compiler

NET = """
import torch
from torch import nn

class Images(nn.Module):
    '''Convolutions that the kernels take, and such that they leave to the compiler.'''

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.wider = nn.Conv2d(16, 32, 3, padding=1)
        self.norm = nn.GroupNorm(4, 32)
        self.twice = nn.Conv2d(32, 32, 3, padding="same", bias=False)
        self.narrower = nn.Conv2d(32, 16, 3)
        self.halved = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.norm(self.wider(nn.functional.silu(self.first(x))))
        x = x + self.twice(nn.functional.silu(self.twice(x)))
        x = self.halved(self.narrower(x.contiguous(memory_format=torch.channels_last)))
        return self.head(self.grouped(x).mean((2, 3)))

torch.manual_seed(0)
net, x = Images().eval(), torch.randn(2, 3, 19, 14)
"""
CHECK = """
import sys
from pathlib import Path
from flambeau.optimize.graph import child, convolutions

directory, threads = Path(sys.argv[1]), 2
with torch.no_grad():
    exported = torch.export.export(net, (x,), strict=False)
    module = exported.module()
    convolutions.swap_(module, directory, threads)
    made = [node for node in module.graph.nodes if node.target is torch.ops.flambeau.convolve.default]
    assert len(made) == 4, module.graph
    assert not any(name.startswith(("wider", "twice", "narrower")) for name, _ in module.named_parameters()), "weights are held twice"
    child._compile(exported, directory / "package.so", threads)
    run = torch._C._aoti.AOTIModelContainerRunnerCpu(str(directory / "package.so"), 1).run
    for seed in range(3):
        x = torch.randn(2, 3, 19, 14, generator=torch.Generator().manual_seed(seed))
        expected, [got] = net(x), run([x])
        assert (got - expected).norm() <= 1e-5 * expected.norm(), (got - expected).norm() / expected.norm()
"""


@needs_compiler
def test_convolutions_in_tiles_are_linked_into_a_package_and_compute_what_eager_does(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", NET + CHECK, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=900)
    # Where the compiler refuses what is ours, it says why and builds without it.
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-3000:]


class Way:
    """One way to compute a product, as the compiler offers it."""

    def __init__(self, *sizes: int):
        if sizes:
            self.template = self
            self.m, self.n, self.k = sizes


def test_small_products_are_inlined_and_large_ones_called():
    called, small, large = Way(), Way(32, 96, 96), Way(1024, 640, 640)
    assert 2 * 32 * 96 * 96 <= LIMITS.package_inline_flops < 2 * 1024 * 640 * 640
    assert products._chosen([small, called]) == [small]
    assert products._chosen([large, called]) == [called]
    assert products._chosen([large]) == [large]
    assert products._chosen([called, Way()]) == [called]
