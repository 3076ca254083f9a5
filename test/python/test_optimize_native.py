"""Kernels in C++: how near they are at every shape, when they decline, and how their library is built and kept."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from flambeau.optimize.kept.store import Store
from flambeau.optimize.leaf.native import library
from flambeau.optimize.leaf.native.layers import FastSilu, ImageNorm, PanelLinear, Room, TiledConv, best_tile, tiles_at_once
from flambeau.optimize.leaf.native.library import NativeError
from flambeau.optimize.limits import LIMITS
from hypothesis import given, settings
from hypothesis import strategies as st
from optimize_nets import GENEROUS, kernels, registry
from torch import nn

pytestmark = pytest.mark.skipif(library.refusal() is not None, reason="kernels cannot be built here")


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def built() -> library.Library:
    return library.load(None, math.inf)


@pytest.fixture
def afresh(monkeypatch):
    """From now on, and at each call, as in a process that has loaded nothing yet."""

    def begin() -> None:
        loading = library._Loading()
        monkeypatch.setattr(library, "_loading", lambda: loading)

    begin()
    return begin


def error(got: torch.Tensor, layer: nn.Module, x: torch.Tensor) -> float:
    """Relative to what the sums consist of: a sum near zero has lost its digits in any order."""
    exact, parts = copy.deepcopy(layer).double(), copy.deepcopy(layer).double()
    for parameter in parts.parameters():
        parameter.square_()
    assert got.shape == exact(x.double()).shape
    return float((got.double() - exact(x.double())).norm() / parts(x.double().square()).sum().sqrt())


def conv(channels: int = 16, out_channels: int = 32, **how: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, out_channels, 3, **{"padding": 1, **how})


class Blocks(nn.Module):
    """Convolutions that can be in tiles around a norm and SiLU, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.act = nn.SiLU()
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.second(self.act(self.norm(self.first(x)))).permute(0, 2, 3, 1))


@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 21), st.integers(1, 21)),
    channels=st.tuples(st.sampled_from([16, 48]), st.sampled_from([16, 32, 80])),
    how=st.fixed_dictionaries({"padding": st.tuples(st.integers(0, 2), st.integers(0, 2)), "bias": st.booleans()}),
    threads=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_convolution_in_tiles_is_as_near_as_float32_is(built, sizes, channels, how, threads):
    (batch, height, width), padding = sizes, how["padding"]
    layer = conv(*channels, **how)
    kernel, x = TiledConv(layer, torch.float32, built, Room()), torch.randn(batch, channels[0], height, width)
    if min(height + 2 * padding[0], width + 2 * padding[1]) < 3:
        assert kernel(x) is None
        return
    torch.set_num_threads(threads)
    try:
        got = kernel(x)
    finally:
        torch.set_num_threads(1)
    assert error(got, layer, x) < 3e-6


@pytest.mark.parametrize("shape", [(1, 16, 40, 36), (2, 16, 7, 5), (1, 16, 2, 2)])
def test_weights_prepared_for_one_size_serve_all(built, shape):
    layer = conv()
    for first in [(1, 16, 64, 64), (1, 16, 8, 8), (1, 16, 1, 1)]:
        kernel = TiledConv(layer, torch.float32, built, Room())
        kernel(torch.randn(first))
        x = torch.randn(shape)
        for given_x in (x, x.contiguous(memory_format=torch.channels_last), x.flip(3).flip(3), torch.cat([x, x])[:1].expand(3, -1, -1, -1)):
            assert error(kernel(given_x), layer, given_x) < 3e-6


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 16, 67, 90), (3, 48, 41, 30)])
def test_images_of_many_tiles_give_each_thread_tiles_of_its_own(built, shape, threads):
    layer, x = conv(shape[1], 32), torch.randn(shape)
    tile = best_tile(shape[0], *shape[2:])
    total = shape[0] * -(-shape[2] // tile) * -(-shape[3] // tile)
    assert tiles_at_once(total, shape[1] + 32, threads) < total
    kernel = TiledConv(layer, torch.float32, built, Room())
    torch.set_num_threads(threads)
    try:
        got = kernel(x)
    finally:
        torch.set_num_threads(1)
    assert error(got, layer, x) < 3e-6


def test_images_of_few_tiles_have_all_threads_on_each():
    assert tiles_at_once(40, 64, 2) == 40
    assert tiles_at_once(40, 64, 1) == 24
    assert tiles_at_once(128, 2560, 2) == 64


def test_larger_images_take_larger_tiles_and_tiny_ones_none():
    assert best_tile(2, 32, 32) == 4
    assert best_tile(2, 8, 8) == 2
    assert best_tile(1, 1, 1) == 1


@given(
    rows=st.lists(st.integers(1, 40), min_size=0, max_size=2),
    weight=st.tuples(st.integers(1, 700), st.integers(1, 70)),
    has_bias=st.booleans(),
    threads=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_linear_layer_in_panels_is_as_near_as_float32_is(built, rows, weight, has_bias, threads):
    layer, x = nn.Linear(*weight, bias=has_bias), torch.randn(*rows, weight[0])
    torch.set_num_threads(threads)
    try:
        got = PanelLinear(layer, torch.float32, built, Room())(x)
    finally:
        torch.set_num_threads(1)
    assert error(got, layer, x) < 3e-6


def test_more_rows_than_fit_the_cache_are_as_near(built):
    layer, x = nn.Linear(24, 40), torch.randn(1000, 48)[:, ::2]
    assert error(PanelLinear(layer, torch.float32, built, Room())(x), layer, x) < 3e-6


@pytest.mark.parametrize("shape", [(2, 32, 9, 7), (1, 96, 1, 1), (3, 48, 20, 33)])
@pytest.mark.parametrize("is_affine", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_group_norm_is_nearer_than_eager_where_numbers_lie_far_from_zero(built, shape, is_affine, threads):
    layer = nn.GroupNorm(8, shape[1], eps=1e-3, affine=is_affine)
    if is_affine:
        layer.weight.normal_()
        layer.bias.normal_()
    x = (torch.randn(shape) + 1000).contiguous(memory_format=torch.channels_last)
    exact = nn.functional.group_norm(x.double(), 8, *(None if w is None else w.double() for w in (layer.weight, layer.bias)), layer.eps)
    torch.set_num_threads(threads)
    try:
        got = ImageNorm(layer, torch.float32, built, Room())(x)
    finally:
        torch.set_num_threads(1)
    assert got.stride() == x.stride()
    assert float((got - exact).norm()) <= max(1.1 * float((layer(x) - exact).norm()), 1e-4 * float(exact.norm()))


@pytest.mark.parametrize("size", [1, 7, 8, 1003])
def test_silu_is_exact_but_for_the_last_digits(built, size):
    kernel = FastSilu(nn.SiLU(), torch.float32, built, Room())
    x = torch.cat([torch.linspace(-80, 100, size), torch.tensor([0.0, 1e30, float("inf"), float("nan")])])
    exact = nn.functional.silu(x.double())
    got = kernel(x)
    assert torch.isnan(got[-1])
    assert torch.allclose(got[:-1].double(), exact[:-1], rtol=3e-7, atol=0)
    assert torch.equal(kernel(torch.tensor([-1e4, -100.0])).abs() < 1e-30, torch.tensor([True, True]))


def test_norms_decline_what_does_not_lie_as_they_read_it(built):
    norm, silu = ImageNorm(nn.GroupNorm(8, 16), torch.float32, built, Room()), FastSilu(nn.SiLU(), torch.float32, built, Room())
    for x in (
        torch.randn(2, 16, 4, 4),
        torch.randn(2, 16, 9),
        torch.randn(2, 24, 4, 4),
        torch.randn(2, 16, 4, 4).double(),
        torch.empty(0, 16, 2, 2),
    ):
        assert norm(x) is None
    for x in (
        torch.randn(4, 8)[:, ::2],
        torch.randn(4).double(),
        torch.empty(0),
        torch._neg_view(torch.randn(4)),
        torch.randn(4, device="meta"),
    ):
        assert silu(x) is None
    assert not FastSilu.suits(nn.SiLU(inplace=True))
    assert not ImageNorm.suits(nn.GroupNorm(4, 24))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_in_half_precision_compute_in_float32(built, dtype):
    for layer, kind, x in ((conv(), TiledConv, torch.randn(1, 16, 9, 9)), (nn.Linear(16, 5), PanelLinear, torch.randn(3, 16))):
        layer.to(dtype)
        got = kind(layer, torch.float32, built, Room())(x.to(dtype))
        assert got.dtype == dtype
        assert error(got, layer, x.to(dtype)) < 1e-2


def test_what_a_kernel_cannot_compute_it_declines(built):
    layer = conv()
    kernel = TiledConv(layer, torch.float32, built, Room())
    for x in (
        torch.randn(16, 8, 8),
        torch.randn(1, 8, 8, 8),
        torch.randn(1, 16, 8, 8, device="meta"),
        torch.empty(0, 16, 8, 8),
        torch.randn(1, 16, 8, 8).double(),
        torch.randn(1, 16, 8, 8).to_mkldnn(),
        torch._neg_view(torch.randn(1, 16, 8, 8)),
    ):
        assert kernel(x) is None
    linear = PanelLinear(nn.Linear(16, 5), torch.float32, built, Room())
    for x in (torch.randn(3, 15), torch.tensor(1.0), torch.empty(0, 16), torch._neg_view(torch.randn(3, 16))):
        assert linear(x) is None
    layer.bias = nn.Parameter(torch.randn(31))
    assert kernel(torch.randn(1, 16, 8, 8)) is None


@pytest.mark.parametrize(
    "layer",
    [
        conv(stride=2),
        conv(dilation=2),
        conv(groups=2),
        conv(15),
        conv(16, 24),
        nn.Conv2d(16, 16, 1),
        nn.Conv2d(16, 16, (3, 1)),
    ],
)
def test_other_convolutions_are_not_for_tiles(layer):
    assert not TiledConv.suits(layer)


def test_an_edited_a_replaced_and_a_differently_laid_out_weight_are_packed_again(built):
    layer, x = conv(), torch.randn(1, 16, 12, 12)
    kernel = TiledConv(layer, torch.float32, built, Room())
    kernel(x)
    layer.weight.mul_(2)
    assert error(kernel(x), layer, x) < 3e-6
    layer.weight = nn.Parameter(torch.randn(48, 16, 3, 3).contiguous(memory_format=torch.channels_last))
    layer.bias = nn.Parameter(torch.randn(96)[::2])
    assert error(kernel(x), layer, x) < 3e-6
    layer.weight = nn.Parameter(torch.randn(48, 16, 1, 1))
    assert kernel(x) is None


def test_threads_at_once_compute_each_their_own(built):
    layer = conv(32, 32)
    kernel = TiledConv(layer, torch.float32, built, Room())
    images = [torch.randn(1, 32, 20 + index, 20) for index in range(4)]
    expected = [kernel(x) for x in images]
    wrong: list[int] = []

    def work(index: int) -> None:
        with torch.no_grad():
            for _ in range(50):
                if not torch.equal(kernel(images[index]), expected[index]):
                    wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_module_on_these_kernels_is_near_copies_plainly_and_is_restored_bit_for_bit():
    module, x = Blocks().eval(), torch.randn(1, 16, 16, 16)
    eager = module(x)
    made = registry(kernels("tiled_convs"), kernels("image_norms"), kernels("panel_linears"), **GENEROUS)
    made.optimize(module)
    module(x)
    assert made.report(module).applied == ("tiled_convs", "image_norms", "panel_linears"), made.report(module)
    assert float((module(x) - eager).norm() / eager.norm()) < 3e-6
    assert not torch.equal(module(x), eager)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), eager)
    made.restore(module)
    assert torch.equal(module(x), eager)


def test_a_second_process_takes_the_library_from_the_store(tmp_path, afresh, monkeypatch):
    store = Store(tmp_path / "store")
    library.load(store, math.inf)
    afresh()
    monkeypatch.setattr(library.subprocess, "run", None)
    assert library.load(store, 0.0).panel > 0


def test_a_damaged_library_is_built_again(tmp_path, afresh, monkeypatch):
    store = Store(tmp_path / "store")
    library.load(store, math.inf)
    [path] = (tmp_path / "store").rglob(library.FILE)
    path.write_bytes(b"\0" * path.stat().st_size)
    afresh()
    assert library.load(store, math.inf).panel > 0
    assert "hash" in store.remarks()[0]


def test_no_library_is_built_in_less_time_than_it_takes(afresh):
    with pytest.raises(NativeError, match="are left"):
        library.load(None, LIMITS.kernels_build_s / 2)


@pytest.mark.parametrize(("compiler", "said"), [("no-such-compiler", "was not found"), ("false", "ended with 1")])
def test_without_a_working_compiler_the_reason_is_said_and_the_module_stays(compiler, said, monkeypatch, afresh):
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(library, "recipe_here", library.recipe_here.__wrapped__)
    module = Blocks().eval()
    made = registry(kernels("tiled_convs"), **GENEROUS)
    made.optimize(module)
    module(torch.randn(1, 16, 16, 16))
    [skip] = made.report(module).skipped
    assert said in skip.why
    assert library.refusal() is not None


def test_the_library_uses_the_threads_of_torch(built):
    if not Path("/proc/self/maps").exists():
        pytest.skip("this system does not say what is loaded")
    torch.set_num_threads(2)
    try:
        assert built.threads == (2 if library._openmp() else 1)
    finally:
        torch.set_num_threads(1)
