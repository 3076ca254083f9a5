"""Linear layers in 8 bits as on a GPU: torch has the same products on a CPU, so that all but their speed is real here."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from flambeau.optimize.applied import Trial
from flambeau.optimize.calls.capture import record, with_output
from flambeau.optimize.calls.guard import parameters_of
from flambeau.optimize.cuda import choosing, rows
from flambeau.optimize.cuda.around import Around
from flambeau.optimize.cuda.choosing import EightBitLayers
from flambeau.optimize.cuda.copies import CopiedConv
from flambeau.optimize.cuda.eight_bit import EightBitLinear, Float8ByRow, Float8Whole, Int8ByRow, code_rows, code_whole
from flambeau.optimize.leaf.layers import Layers
from flambeau.optimize.limits import Tolerance
from torch import Tensor, nn

CPU = torch.device("cpu")
KERNELS: list[type[EightBitLinear]] = [Float8ByRow, Float8Whole, Int8ByRow]


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def error(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def linear(inputs=64, outputs=48, bias=True):
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias).bfloat16()


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).bfloat16()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gives_what_it_gives_in_16_bits_within_8_bits(kernel, bias):
    layer, x = linear(bias=bias), features(2, 17, 64)
    got = kernel(layer)(x)
    assert got.shape == (2, 17, 48)
    assert got.dtype == torch.bfloat16
    assert 1e-4 < error(got, layer(x)) < 5e-2


@pytest.mark.parametrize("kernel", KERNELS)
def test_large_and_zero_rows_stay_finite(kernel):
    layer, x = linear(), features(32, 64)
    x[0] = 0
    x[1] = 3e38
    layer.weight[0] = 0
    got = kernel(layer)(x)
    assert got[0].isfinite().all()
    if kernel is not Float8Whole:
        # A row has a range of its own: its neighbours keep theirs.
        assert error(got[2:], layer(x)[2:]) < 5e-2


def test_too_few_rows_for_integers_are_left_to_the_layer():
    assert Int8ByRow(linear())(features(16, 64)) is None
    assert Int8ByRow(linear())(features(17, 64)) is not None


@pytest.mark.parametrize("kernel", KERNELS)
def test_another_weight_is_coded_anew(kernel):
    layer, x = linear(), features(32, 64)
    made = kernel(layer)
    made(x)
    layer.weight.mul_(-2)
    assert error(made(x), layer(x)) < 5e-2
    # As an edit of a GPU's weight that nobody sees.
    layer.weight.data = layer.weight.data.mul(2)
    made.forget_()
    assert error(made(x), layer(x)) < 5e-2


def test_codes_reach_both_ends_and_never_pass_them():
    x = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    codes, scale = code_rows(x, torch.int8, 127.0)
    assert codes.tolist() == [[64, -127, 32], [0, 0, 0]]
    assert torch.allclose(codes * scale, x, atol=0.01)
    codes, scale = code_whole(x, torch.float8_e4m3fn, 448.0)
    assert codes.float().tolist() == [[224, -448, 112], [0, 0, 0]]
    assert float(scale) == pytest.approx(2 / 448)


@pytest.mark.parametrize(("dtype", "most"), [(torch.int8, 127.0), (torch.float8_e4m3fn, 448.0)])
def test_one_pass_of_triton_gives_the_codes_of_four_of_torch(dtype, most):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if not rows.takes(torch.ones(1, 1, device=device)):
        pytest.skip("Triton is not there, or there is no GPU and it is not told to interpret (TRITON_INTERPRET=1)")
    if device == "cpu" and dtype != torch.int8:
        pytest.skip("Triton 3.6 interprets a cast to FP8 wrongly where it rounds up to a power of two")
    x = features(5, 77).to(device)
    x[2] = 0
    codes, scale = rows.coded(x, dtype, most)
    expected, expected_scale = code_rows(x, dtype, most)
    assert torch.allclose(scale, expected_scale)
    # A number half-way between two codes may go to either.
    assert ((codes.float() - expected.float()).abs() <= (1 if dtype == torch.int8 else most / 8)).all()
    assert error(codes.float() * scale, x) < 5e-2


class Block(nn.Module):
    """Of a transformer: two large layers, a small one, and one that is known to err."""

    def __init__(self):
        super().__init__()
        self.time_embedding = nn.Linear(64, 64)
        self.up = nn.Linear(64, 128)
        self.down = nn.Linear(128, 64)
        self.small = nn.Linear(64, 8)

    def forward(self, x):
        return self.small(self.down(torch.nn.functional.gelu(self.up(self.time_embedding(x)))))


def prepared(kernel=Float8ByRow, allowed=5e-2):
    torch.manual_seed(0)
    module = Block().bfloat16().eval()
    layers, x = Layers(module), features(4, 32, 64)
    call = with_output(record(parameters_of(module), (x,), {}, False), module(x), 1.0)

    def run(call: Any, fast: bool) -> Any:
        with layers.switch.set(fast):
            return module(*call.args)

    trial = Trial(calls=[call], run=run, allowed=Tolerance(allowed, 0.0), call_s=1.0, clock=time.perf_counter, left_s=lambda: 100.0)
    row = EightBitLayers(name="x", kernel=kernel, needs=lambda device: None, least_side=32)
    return module, layers, row, trial, x


def all_gain(monkeypatch):
    """Here nothing does: what is tested is what follows."""
    monkeypatch.setattr(EightBitLayers, "_seconds", lambda *_: (1.0, 0.5))


@pytest.mark.parametrize("kernel", KERNELS)
def test_large_layers_that_gain_are_chosen_and_the_ends_are_not(kernel, monkeypatch):
    all_gain(monkeypatch)
    module, layers, row, trial, x = prepared(kernel)
    assert row.capability(layers, CPU) is None
    eager = module(x)
    applied = row.apply_(layers, CPU, trial)
    assert torch.equal(trial.run(trial.calls[0], True), eager)
    applied.enable()
    assert {path for path, layer in layers.named() if layers.kernel(layer)} == {"up", "down"}
    assert 1e-4 < error(trial.run(trial.calls[0], True), eager) < 5e-2
    kept = applied.keep()
    applied.disable()
    layers.prune_()
    assert not [part for part in module.modules() if "forward" in vars(part)]
    again = row.recall(layers, CPU, kept)
    again.enable()
    assert {path for path, layer in layers.named() if layers.kernel(layer)} == {"up", "down"}


def test_layers_that_gain_nothing_are_not_chosen(monkeypatch):
    monkeypatch.setattr(EightBitLayers, "_seconds", lambda *_: (1.0, 0.99))
    _, layers, row, trial, _ = prepared()
    with pytest.raises(ValueError, match="no layer of 2"):
        row.apply_(layers, CPU, trial)


def test_fewer_layers_are_taken_where_all_err_too_much(monkeypatch):
    all_gain(monkeypatch)
    _, layers, row, trial, _ = prepared()
    alone = []
    for path in ("up", "down"):
        applied = row._applied(layers, [dict(layers.named())[path]])
        alone.append(row._tried(applied, trial).relative_error)
    _, layers, row, trial, _ = prepared(allowed=alone[0] * 1.01)
    applied = row.apply_(layers, CPU, trial)
    applied.enable()
    assert sum(layers.kernel(layer) is not None for _, layer in layers.named()) == 1


def test_times_of_a_real_shape_are_taken(monkeypatch):
    _, layers, row, trial, _ = prepared()
    seconds = row._seconds(choosing.Shape(32, 64, 128, True), layers.owner.up, trial.clock)
    assert all(0 < one < 1 for one in seconds)


def test_a_layer_that_has_changed_is_not_recalled(monkeypatch):
    all_gain(monkeypatch)
    _, layers, row, trial, _ = prepared()
    kept = row.apply_(layers, CPU, trial).keep()
    layers.owner.up = nn.Linear(64, 130)
    with pytest.raises(ValueError, match="up is not as it was"):
        row.recall(layers, CPU, kept)


def test_copies_are_made_anew_when_an_adapter_is_put_in(monkeypatch):
    """As peft does it: a layer gets a wrapper, then the weight inside is edited where nobody sees it."""
    all_gain(monkeypatch)
    module, layers, row, trial, x = prepared()
    applied = row.apply_(layers, CPU, trial)
    applied.enable()
    trial.run(trial.calls[0], True)
    inner = module.up

    class Adapter(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = inner

        def forward(self, x):
            return self.base(x)

    module.up = Adapter()
    inner.weight.data += 1
    assert error(trial.run(trial.calls[0], True), module(x)) < 5e-2
    applied.disable()
    assert Around.of(layers) is None


def test_a_convolution_computes_in_nhwc_on_a_copy():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(8, 16, 3, padding=1), torch.randn(1, 8, 6, 6)
    kernel = CopiedConv(conv)
    got = kernel(x)
    assert torch.allclose(got, conv(x), atol=1e-5)
    assert kernel._prepared.is_contiguous(memory_format=torch.channels_last)
    conv.weight.data = conv.weight.data * 2
    kernel.forget_()
    assert torch.allclose(kernel(x), conv(x), atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU that torch can use")
def test_each_row_refuses_or_takes_this_gpu():
    for needs in (choosing.float8_refusal, choosing.float8_by_row_refusal, choosing.int8_refusal):
        why = needs(torch.device("cuda", torch.cuda.current_device()))
        assert why is None or "would do" in why
