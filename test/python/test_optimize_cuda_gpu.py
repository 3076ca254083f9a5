"""CUDA's rows on a real GPU: what elsewhere is only stood in for. Skipped where there is none."""

from __future__ import annotations

import copy

import pytest
import torch
from flambeau.optimize.applied import Kept
from flambeau.optimize.candidates import TABLE
from flambeau.optimize.cuda.around import Around
from flambeau.optimize.cuda.contexts import Attention
from flambeau.optimize.cuda.eight_bit import Float8ByRow, Float8Whole, Int8ByRow
from flambeau.optimize.cuda.graphs import CudaGraphs
from flambeau.optimize.cuda.twin import Sixteen, sixteen_bits_of
from flambeau.optimize.leaf.layers import Layers
from flambeau.optimize.registry import Registry
from optimize_nets import Net, image
from optimize_packages import needs_compiler
from torch import nn

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU that torch can use")


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


class Waiting(nn.Module):
    """Asks the GPU for a number on its way."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, x):
        return self.head(x) if float(x.sum()) > -1e9 else x


class Drawing(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, x):
        # Allowed before recording, refused while it runs.
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError("not now")
        return self.head(x)


def enabled(module, row=None):
    layers = Layers(module)
    (row or CudaGraphs()).recall(layers, torch.device("cuda", 0), Kept()).enable()
    return layers


def fast(layers, *args):
    with layers.switch.set(True):
        return layers.owner(*args)


def near(a, b, error):
    return bool((a.float() - b.float()).norm() <= error * b.float().norm())


def test_recorded_launches_give_the_same_bits_for_other_inputs():
    module = Net(channels=64).eval().cuda()
    layers = enabled(module)
    for seed in range(5):
        x = image(seed).cuda()
        assert torch.equal(fast(layers, x), module(x))
    assert not layers.failures
    assert Around.of(layers).ways[0]._entries[0].replay is not None


def test_results_are_right_on_other_streams():
    module = Net(channels=64).eval().cuda()
    layers = enabled(module)
    streams, results = [torch.cuda.Stream() for _ in range(4)], []
    for seed in range(40):
        x = image(seed).cuda()
        torch.cuda.synchronize()
        with torch.cuda.stream(streams[seed % 4]):
            results.append((x, fast(layers, x)))
    torch.cuda.synchronize()
    assert all(torch.equal(got, module(x)) for x, got in results)


@pytest.mark.parametrize("kind", [Waiting, Drawing])
def test_what_cannot_be_recorded_runs_as_before_and_random_numbers_can_still_be_drawn(kind):
    module = kind().eval().cuda()
    layers = enabled(module)
    torch.cuda.manual_seed(3)
    expected = torch.randn(4, device="cuda")
    torch.cuda.manual_seed(3)
    x, stream = torch.randn(2, 8).cuda(), torch.cuda.current_stream()
    for _ in range(3):
        assert torch.equal(fast(layers, x), module(x))
    assert len(layers.failures) == 1
    assert torch.cuda.current_stream() == stream
    torch.cuda.manual_seed(3)
    assert torch.equal(torch.randn(4, device="cuda"), expected)


def test_a_recording_of_the_program_itself_is_not_disturbed():
    module = Net(channels=64).eval().cuda()
    layers = enabled(module)
    x = image().cuda()
    fast(layers, x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = fast(layers, x)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(output, module(x))


@pytest.mark.parametrize("kernel", [Float8ByRow, Float8Whole, Int8ByRow])
def test_layers_in_8_bits(kernel):
    name = {Float8ByRow: "float8_by_row", Float8Whole: "float8", Int8ByRow: "int8"}[kernel]
    why = next(row for row in TABLE["cuda"] if row.name == name).needs(torch.device("cuda", 0))
    if why is not None:
        pytest.skip(why)
    layer, x = nn.Linear(512, 1024).bfloat16().cuda(), torch.randn(2, 77, 512).bfloat16().cuda()
    assert near(kernel(layer)(x), layer(x), 5e-2)


@pytest.mark.parametrize("backend", ["CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION"])
def test_attention_by_each_backend(backend):
    class Block(nn.Module):
        def forward(self, q):
            return nn.functional.scaled_dot_product_attention(q, q, q)

    module, q = Block().cuda(), torch.randn(2, 4, 256, 64).bfloat16().cuda()
    assert near(fast(enabled(module, Attention(name="x", backend=backend)), q), module(q), 2e-2)


def test_a_vae_that_is_widened_for_every_picture_is_decoded_in_16_bits_from_one_recording():
    module = Net(channels=64).eval().half().float().cuda()
    layers = enabled(module, Sixteen(dtype_of=sixteen_bits_of))
    CudaGraphs().recall(layers, torch.device("cuda", 0), Kept()).enable()
    for seed in range(4):
        module.half().float()
        assert near(fast(layers, image(seed).cuda()), module(image(seed).cuda()), 2e-2)
    assert len(Around.of(layers).ways[-1]._entries) == 1


def test_the_whole_table_leaves_a_module_that_is_right_and_comes_back():
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Sequential(nn.Linear(1024, 1024), nn.GELU()) for _ in range(24))).bfloat16().cuda().eval()
    plain, made = copy.deepcopy(module), Registry()
    made.optimize(module, quality="balanced")
    for seed in range(6):
        x = torch.randn(2048, 1024, generator=torch.Generator().manual_seed(seed)).bfloat16().cuda()
        assert near(module(x), plain(x), 6e-2)
    report = made.report(module)
    assert report.state in ("done", "unchanged"), report
    made.restore(module)
    assert torch.equal(module(x), plain(x))


@needs_compiler
def test_a_package_is_built_for_this_gpu_and_found_again(tmp_path):
    for builds in ("now", "never"):
        torch.manual_seed(0)
        module = Net(channels=64).eval().cuda()
        made = Registry(store=tmp_path / "store", builds=builds)
        made.optimize(module, quality="lossless")
        for seed in range(40):
            x = image(seed, side=256).cuda()
            assert near(module(x), Net.forward(module, x), 1e-3)
        # Whether it wins is the GPU's business; that it was built, or why not, is ours.
        assert made.report(module).applied or made.report(module).skipped
