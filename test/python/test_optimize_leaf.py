"""Layers in 8-bit integers: how near they are, and which of them are chosen."""

from __future__ import annotations

import copy
import dataclasses
import time
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from flambeau.optimize.applied import Kept, Trial
from flambeau.optimize.calls.capture import record, with_output
from flambeau.optimize.calls.guard import parameters_of
from flambeau.optimize.leaf import int8_plan
from flambeau.optimize.leaf.int8 import Group, Int8Conv, Int8Linear, Packed, Steps, int8_refusal, quantize, quantize_weight
from flambeau.optimize.leaf.int8_plan import Int8Layers, Share, within
from flambeau.optimize.leaf.layers import Layers
from flambeau.optimize.leaf.ranges import Seen
from flambeau.optimize.limits import LIMITS, Tolerance
from flambeau.optimize.registry import Registry
from flambeau.optimize.report import summary
from hypothesis import given, settings
from hypothesis import strategies as st
from optimize_nets import GENEROUS, registry
from torch import nn

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(int8_refusal() is not None, reason="this build of torch computes no 8-bit layers")


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.double() - expected.double()).norm() / expected.double().norm())


class Mixer(nn.Module):
    """Convolutions, a norm and linear layers on tokens, as in a UNet."""

    def __init__(self, channels: int = 32):
        super().__init__()
        self.first = nn.Conv2d(4, channels, 3, padding=1)
        self.norm = nn.GroupNorm(4, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, stride=2, bias=False)
        self.wide = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.last = nn.Conv2d(channels, 4, 1)

    def forward(self, x):
        x = self.second(torch.nn.functional.silu(self.norm(self.first(x))))
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.narrow(torch.nn.functional.gelu(self.wide(tokens)))
        return self.last(tokens.transpose(1, 2).reshape(x.shape))


def mixer(seed: int = 0) -> Mixer:
    torch.manual_seed(seed)
    return Mixer().eval()


def trial(module: nn.Module, layers: Layers, allowed: float = 0.05, budget_s: float = 60.0) -> Trial:
    """Two recorded calls of the module, each with eager's output."""
    calls = []
    for seed in (1, 2):
        x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
        calls.append(with_output(record(parameters_of(module), (x,), {}, False), module(x), 0.001))

    def run(call, fast):
        with layers.switch.set(fast):
            return module(*call.args, **call.kwargs)

    return Trial(calls=calls, run=run, allowed=Tolerance(allowed, 0.99), call_s=0.001, clock=time.perf_counter, left_s=lambda: budget_s)


LAYERS = [
    (nn.Linear(96, 48), (3, 7, 96)),
    (nn.Linear(33, 5, bias=False), (64, 33)),
    (nn.Conv2d(16, 24, 3, padding=1), (2, 16, 12, 12)),
    (nn.Conv2d(16, 24, 3, stride=2, padding=(2, 1), dilation=2, groups=4, bias=False), (1, 16, 12, 15)),
    (nn.Conv2d(5, 8, 1), (2, 5, 6, 6)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_layer_in_8_bits_is_near_at_any_shape_layout_and_mode(layer, shape, mode):
    kind = Int8Linear if isinstance(layer, nn.Linear) else Int8Conv
    with mode():
        x = torch.nn.functional.silu(torch.randn(shape))
        static, dynamic = kind(layer, Steps.of(x)), kind(layer)
        larger = torch.cat([x, x], 0)
        for value in (x, larger, x.transpose(-1, -2).contiguous().transpose(-1, -2)):
            for kernel in (static, dynamic):
                assert error(kernel(value), layer(value)) < 0.03
                assert kernel(value).shape == layer(value).shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_layer_in_half_precision_gives_half_precision(dtype):
    layer, x = nn.Linear(64, 32).to(dtype), torch.randn(8, 64).to(dtype)
    output = Int8Linear(layer)(x)
    assert output.dtype == dtype
    assert error(output, layer(x)) < 0.03


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_no_activation_can_overflow_a_pair_of_weights(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) ** 3
    codes, scales = quantize_weight(weight, saturates=True)
    wide = codes.to(torch.int32)
    assert int(wide.abs().max()) <= 127
    for even, odd in pairwise(range(columns)):
        if even % 2 == 0:
            assert int((wide[:, even] + wide[:, odd]).abs().max()) <= 128
    assert float((codes * scales[:, None] - weight).abs().max()) <= float(scales.max()) / 2 * 1.001


def test_sums_of_the_largest_codes_are_exact_on_this_processor():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 64, generator=generator).abs() + 1
    kernel = Int8Linear(nn.Linear(64, 48, bias=False))
    kernel.layer.weight.copy_(weight)
    kernel.prepare_((16, 64))
    prepared: Packed = kernel._prepared
    codes, _ = quantize_weight(weight, saturates=True)
    if not torch.equal(prepared.scales_O, quantize_weight(weight, saturates=True)[1]):
        codes, _ = quantize_weight(weight, saturates=False)
    x = torch.full((16, 64), 255, dtype=torch.uint8)
    got = kernel._multiply(x, Steps(1.0, 0), None) / prepared.scales_O
    assert torch.allclose(got, (codes.double().sum(1) * 255).float().expand_as(got), rtol=1e-5)


def test_codes_keep_the_memory_order_and_zero_is_exact():
    x = torch.randn(2, 8, 5, 5).contiguous(memory_format=torch.channels_last)
    steps = Steps.over(-3.0, 5.0)
    codes = quantize(x, steps)
    assert codes.stride() == x.stride()
    assert float((codes.float() - steps.zero_point).mul(steps.scale).sub(x.clamp(-3, 5)).abs().max()) <= steps.scale
    assert int(quantize(torch.zeros(1), steps)) == steps.zero_point


def test_the_range_leaves_out_a_few_far_values_and_keeps_many():
    x = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
    x[7] = 20.0
    seen = Seen()
    seen.note_(x)
    steps = seen.steps()

    def rounding(steps):
        return error((quantize(x, steps).float() - steps.zero_point) * steps.scale, x)

    assert rounding(steps) < 0.7 * rounding(Steps.of(x))
    many = Seen()
    many.note_(torch.cat([torch.zeros(50), torch.full((50,), 9.0)]))
    assert many.steps().scale * 255 == pytest.approx(9.0, rel=1e-3)


def test_a_changed_weight_is_quantized_again():
    layer, x = nn.Linear(64, 32), torch.randn(8, 64)
    kernel = Int8Linear(layer, Steps.of(x))
    kernel(x)
    layer.weight.mul_(-3.0)
    assert error(kernel(x), layer(x)) < 0.03
    assert kernel.num_prepared == 2


def test_the_knapsack_takes_what_saves_most_for_its_error():
    a, b, c = (nn.Linear(1, 1) for _ in range(3))
    shares = [Share(a, 4.0, 1.0), Share(b, 1.0, 1.0), Share(c, 3.0, 2.0)]
    assert within(shares, 4.0) == [b, c]
    assert within(shares, 8.0) == [b, c, a]
    assert within(shares, 0.5) == []


@pytest.fixture
def every_layer_gains(monkeypatch):
    monkeypatch.setattr(int8_plan, "_MIN_SAVING", -1e9)


def test_as_many_layers_are_chosen_as_the_error_allows(every_layer_gains):
    num_chosen = []
    for allowed in (1.0, 0.015, 1e-3):
        module = mixer()
        layers = Layers(module)
        given = trial(module, layers, allowed)
        try:
            applied = Int8Layers().apply_(layers, CPU, given)
        except ValueError as why:
            assert "relative error" in str(why)
            num_chosen.append(0)
            continue
        expected = given.calls[0].output[0][1]
        assert torch.equal(given.run(given.calls[0], True), expected), "prepared means disabled"
        applied.enable()
        assert 0 < error(given.run(given.calls[0], True), expected) <= allowed
        applied.disable()
        assert torch.equal(given.run(given.calls[0], True), expected), "refused means gone"
        num_chosen.append(len(applied.keep().choices["layers"]))
    assert num_chosen[0] == 5
    assert num_chosen == sorted(num_chosen, reverse=True)
    assert num_chosen[2] == 0


def test_what_was_kept_gives_the_same_in_another_process_and_is_refused_by_another_module(every_layer_gains):
    module = mixer()
    layers = Layers(module)
    given = trial(module, layers)
    applied = Int8Layers().apply_(layers, CPU, given)
    applied.enable()
    fast = given.run(given.calls[1], True)
    kept = applied.keep()
    other = Layers(mixer())
    recalled = Int8Layers().recall(other, CPU, kept)
    x = given.calls[1].args[0]
    with other.switch.set(True):
        assert torch.equal(other.owner(x), given.calls[1].output[0][1])
        recalled.enable()
        assert torch.equal(other.owner(x), fast)
    good = kept.choices["layers"]["first"]
    layers_of_others = (
        {"nowhere": good},
        {"wide": [1, 2]},
        {"norm": good},
        {"first": {**good, "steps": [0.0, 1]}},
        {"first": {**good, "shape": [2, 9, 4, 4]}},
    )
    for broken in (Kept(), *(Kept({"layers": other}) for other in layers_of_others)):
        with pytest.raises(ValueError, match="measure again"):
            Int8Layers().recall(other, CPU, broken)


def test_a_fresh_process_has_it_from_the_store_without_measuring(every_layer_gains, tmp_path):
    x, outputs, messages, extents = torch.randn(2, 4, 16, 16), [], [], []
    for _ in range(2):
        module = mixer()
        made = Registry(table={"cpu": (Int8Layers(),)}, limits=replace(LIMITS, **GENEROUS), store=tmp_path)
        made.set_listener(lambda notice: messages.append(notice.message))
        made.optimize(module)
        module(x)
        outputs.append(module(x))
        assert made.report(module).applied == ("int8",), made.report(module)
        extents.append(made.report(module).extents)
    assert messages.count("trying int8") == 1
    assert extents[0] == extents[1] != ()
    assert torch.equal(*outputs)


def test_ranges_are_fixed_only_where_several_calls_had_the_same_and_found_at_each_call_elsewhere(every_layer_gains):
    for num_calls in (1, 2):
        module = mixer()
        layers = Layers(module)
        given = trial(module, layers)
        given = dataclasses.replace(given, calls=given.calls[:num_calls])
        chosen = Int8Layers().apply_(layers, CPU, given).keep()
        fixed = [one["steps"] is not None for one in chosen.choices["layers"].values()]
        assert any(fixed) == (num_calls > 1)
        assert bool(chosen.tensors) == (num_calls > 1)


def test_without_time_for_it_the_reason_says_how_much_it_takes():
    module = mixer()
    with pytest.raises(ValueError, match="s or more"):
        Int8Layers().apply_(Layers(module), CPU, trial(module, Layers(module), budget_s=0.0))


def test_a_failure_inside_a_layer_leaves_that_layer_out_and_nothing_patched(every_layer_gains, monkeypatch):
    module = mixer()
    layers = Layers(module)
    given = trial(module, layers)

    def broken(self, x):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Int8Conv, "__call__", broken)
    kept = Int8Layers().apply_(layers, CPU, given).keep()
    assert sorted(kept.choices["layers"]) == ["narrow", "wide"]
    layers.prune_()
    assert not [part for part in module.modules() if "forward" in part.__dict__]


def test_the_row_is_tried_on_a_real_module_and_copies_of_it_stay_plain(every_layer_gains):
    module = mixer()
    plain = copy.deepcopy(module)
    made = registry(Int8Layers(), **GENEROUS)
    made.optimize(module)
    x = torch.randn(2, 4, 16, 16)
    module(x)
    report = made.report(module)
    assert report.applied == ("int8",), report
    [extent] = report.extents
    assert (extent.what, extent.of) == ("int8", 5)
    assert extent.count + sum(left.count for left in extent.left_out) == 5
    assert f"int8 {extent.count}/5 layers, " in summary("mixer", report)
    assert 1e-4 < report.relative_error <= 0.05
    assert report.bytes > 0
    assert error(module(x), plain(x)) <= 0.05
    assert torch.equal(copy.deepcopy(module)(x), plain(x))
    made.restore(module)
    assert torch.equal(module(x), plain(x))


def test_layers_that_share_an_input_share_its_codes_until_it_changes():
    group, x = Group(), torch.randn(4, 64)
    query, key = (Int8Linear(nn.Linear(64, 32), Steps.of(x), group) for _ in range(2))
    query(x)
    first = group.codes(x, query.steps)
    key(x)
    assert group.codes(x, key.steps) is first
    x.mul_(0.5)
    assert error(key(x), key.layer(x)) < 0.05
    assert group.codes(x, key.steps) is not first


def test_after_weights_of_another_model_ranges_are_found_at_each_call():
    group = Group()
    a, b = Int8Linear(nn.Linear(64, 64), None, group), Int8Linear(nn.Linear(64, 64), None, group)
    x = torch.randn(16, 64)
    a.steps, b.steps = Steps.of(x), Steps.of(a(x))
    b(a(x))
    a.layer.weight.add_(torch.randn(64, 64) * 1e-3)
    b(a(x))
    assert not group.are_steps_stale, "a small change, as of a LoRA"
    a.layer.weight.mul_(20.0)
    assert error(b(a(x)), b.layer(a.layer(x))) < 0.03


@pytest.mark.parametrize("packed_with", [0, 9])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_a_convolution_packed_for_one_zero_point_takes_any(packed_with, low):
    layer, x = nn.Conv2d(8, 8, 3, padding=1), torch.rand(1, 8, 9, 9) + low
    kernel = Int8Conv(layer, Steps(0.01, packed_with))
    kernel.prepare_(x.shape)
    kernel.steps = None
    assert error(kernel(x), layer(x)) < 0.03
