"""What runs fast and what runs eagerly afterwards: other inputs, other modes, edited weights."""

from __future__ import annotations

import pytest
import torch
from flambeau.optimize.leaf.layers import Layers
from flambeau.optimize.leaf.stamp import WeightStamp
from optimize_nets import Net, accepted, image, kernels
from torch import nn

ROWS = ["channels_last", "packed_convs", "packed_linears"]


def eager(module: Net, x: torch.Tensor) -> torch.Tensor:
    plain = Net().to(module.head.weight.dtype).eval()
    plain.load_state_dict(module.state_dict())
    with torch.no_grad():
        return plain(x)


def is_near(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).norm() <= 1e-5 * b.norm())


@pytest.mark.parametrize("row", ROWS)
def test_measured_inputs_take_the_kernels_and_others_are_eager_bit_for_bit(row):
    module, made = accepted(row)
    other = image(side=10)
    with torch.no_grad():
        assert is_near(module(image(seed=3)), eager(module, image(seed=3)))
        assert made.report(module).eager_calls == ()
        assert torch.equal(module(other), eager(module, other))
    [counted] = made.report(module).eager_calls
    assert (counted.why, counted.count) == ("not measured: float32[1, 3, 10, 10] on cpu", 1)


def test_strides_dtype_and_batch_make_another_kind_of_call():
    module, made = accepted()
    with torch.no_grad():
        module(image(batch=2))
        module(image().contiguous(memory_format=torch.channels_last))
        module(image(side=16)[:, :, ::2, ::2])
    assert sum(counted.count for counted in made.report(module).eager_calls) == 3


def test_arguments_by_name_are_the_same_kind_of_call_as_by_place():
    module, made = accepted(net=Net)
    with torch.no_grad():
        module(x=image())
    assert made.report(module).eager_calls == ()


def test_plain_arguments_count_by_value_and_numbers_by_type():
    module, made = accepted(net=Measured)
    with torch.no_grad():
        module(image(), 7)
        assert made.report(module).eager_calls == ()
        module(image(), 7.5)
        module(image(), 7, return_dict=False)
        module(image(), 7, return_dict=object())
    counts = made.report(module).eager_calls
    assert sum(counted.count for counted in counts) == 3
    assert any("return_dict is a object" in counted.why for counted in counts)


class Measured(Net):
    def forward(self, x, strength=3, return_dict=True):
        return super().forward(x) * strength


def test_calls_that_record_gradients_are_eager_and_have_gradients():
    module, made = accepted()
    module(image()).sum().backward()
    assert module.conv.weight.grad is not None
    [counted] = made.report(module).eager_calls
    assert "torch.no_grad()" in counted.why


def test_frozen_weights_run_fast_without_no_grad():
    module, made = accepted()
    module.requires_grad_(False)
    assert is_near(module(image()), eager(module, image()))
    assert made.report(module).eager_calls == ()


def test_autocast_and_training_are_eager():
    module, made = accepted()
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert module(image()).dtype == torch.bfloat16
        module.train()(image())
    whys = [counted.why for counted in made.report(module).eager_calls]
    assert any("autocast" in why for why in whys)
    assert len(whys) == 2


def edit_in_place(module: Net) -> None:
    with torch.no_grad():
        module.conv.weight.add_(0.5)
        module.head.weight.add_(0.5)


def edit_data(module: Net) -> None:
    # As peft merges a LoRA: no version counter sees it.
    module.conv.weight.data += 0.5
    module.head.weight.data += 0.5


def replace_parameters(module: Net) -> None:
    module.conv.weight = nn.Parameter(module.conv.weight.detach() + 0.5)
    module.head.weight = nn.Parameter(module.head.weight.detach() + 0.5)


def load_state(module: Net) -> None:
    module.load_state_dict({name: value + 0.5 for name, value in module.state_dict().items()})


def assign_state(module: Net) -> None:
    module.load_state_dict({name: value + 0.5 for name, value in module.state_dict().items()}, assign=True)


def edit_bias(module: Net) -> None:
    module.conv.bias.data += 0.5
    module.head.bias.data += 0.5


EDITS = [edit_in_place, edit_data, replace_parameters, load_state, assign_state, edit_bias]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("edit", EDITS)
def test_edited_weights_are_followed(row, edit):
    module, made = accepted(row)
    with torch.no_grad():
        before = module(image())
        edit(module)
        after = module(image())
        assert not is_near(after, before)
        assert is_near(after, eager(module, image()))
    assert made.report(module).repacked == (0 if edit is edit_bias else 1)


def test_a_layer_that_is_replaced_computes_as_the_new_one():
    module, _ = accepted()
    module.conv = nn.Conv2d(3, 8, 3, padding=1)
    with torch.no_grad():
        assert is_near(module(image()), eager(module, image()))


def test_a_wrapped_layer_keeps_its_kernel_as_a_lora_does():
    module, _ = accepted()
    plain = eager(module, image())

    class Doubled(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base

        def forward(self, x):
            return self.base(x) * 2

    module.head = Doubled(module.head)
    with torch.no_grad():
        assert is_near(module(image()), (plain - module.head.base.bias) * 2 + 2 * module.head.base.bias)


def test_a_kernel_that_fails_later_leaves_its_layer_eager_and_says_so(monkeypatch):
    module, made = accepted()
    kernel = module.conv.forward.kernel

    def fail(x, bias):
        raise RuntimeError("out of scratch memory")

    monkeypatch.setattr(kernel, "_compute", fail)
    with torch.no_grad():
        assert is_near(module(image()), eager(module, image()))
        assert is_near(module(image()), eager(module, image()))
    assert "out of scratch memory" in made.report(module).skipped[-1].why


def test_a_default_written_out_is_the_same_kind_of_call():
    module, made = accepted(net=Measured)
    with torch.no_grad():
        module(image(), 3, return_dict=True)
    assert made.report(module).eager_calls == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("row", ["packed_convs", "packed_linears"])
def test_layers_in_half_precision_compute_in_float32_kernels(row, dtype):
    layer = (nn.Conv2d(3, 8, 3, stride=2, dilation=2) if row == "packed_convs" else nn.Linear(8, 5, bias=False)).to(dtype).eval()
    x = torch.randn(2, 3, 12, 12) if row == "packed_convs" else torch.randn(2, 3, 8)
    [kernel] = [kind(layer, torch.float32) for known, kind in kernels(row).kernels.items() if isinstance(layer, known)]
    with torch.no_grad():
        output = kernel(x.to(dtype))
        exact = layer.float()(x.to(dtype).float())
    assert output.dtype == dtype
    assert (output.float() - exact).norm() <= 1e-2 * exact.norm()


@pytest.mark.parametrize("shape", [(1, 3, 9, 9), (2, 3, 6, 31), (3, 3, 1, 1)])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("row", ["channels_last", "packed_convs"])
def test_a_prepared_convolution_computes_other_shapes_too(row, shape, groups):
    layer = nn.Conv2d(3, 6, 3, padding=1, groups=groups)
    kernel = kernels(row).kernels[nn.Conv2d](layer, None)
    with torch.no_grad():
        assert kernel(image()) is not None
        x = torch.randn(shape)
        assert is_near(kernel(x), layer(x))
        assert kernel(torch.randn(3, 8, 8)) is None
        assert kernel(torch.empty(0, 3, 8, 8)) is None


def test_a_stamp_sees_what_it_promises():
    weight = nn.Parameter(torch.randn(64, 32, 3, 3))
    stamp = WeightStamp(weight)
    assert stamp.holds(weight)
    assert not stamp.holds(nn.Parameter(weight.detach()))
    weight.data += 1e-3
    assert not stamp.holds(weight)
    with torch.inference_mode():
        made_there = torch.ones(4, 4)
    assert WeightStamp(made_there).holds(made_there)
    assert WeightStamp(torch.ones(4, 8)[:, ::2]).holds(torch.ones(1)) is False


def test_bfloat16_is_near_where_the_cpu_computes_it_and_refused_with_the_reason_elsewhere():
    row, layers = kernels("bfloat16"), Layers(Net())
    why = row.capability(layers, torch.device("cpu"))
    if why is not None:
        assert " would" in why
        return
    layer = nn.Linear(64, 64)
    x = torch.randn(8, 64)
    with torch.no_grad():
        output = row.kernels[nn.Linear](layer, torch.bfloat16)(x)
        assert output.dtype == torch.float32
        assert (output - layer(x)).norm() <= 3e-2 * layer(x).norm()


@pytest.mark.parametrize("name", ["packed_convs", "channels_last", "packed_linears", "bfloat16"])
def test_a_row_without_its_layers_or_without_memory_says_what_would_do(name, monkeypatch):
    monkeypatch.setattr("flambeau.optimize.processor.bfloat16_refusal", lambda: None)
    row, device = kernels(name), torch.device("cpu")
    assert "such a layer would do" in row.capability(Layers(nn.ReLU()), device)
    monkeypatch.setattr("flambeau.optimize.memory.free_bytes", lambda device: 100)
    assert "MiB are free" in row.capability(Layers(Net()), device)


def test_layers_that_do_not_compute_as_their_class_are_left_alone():
    class Scaled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    owner = nn.Sequential(
        Scaled(4, 4),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        nn.Linear(4, 4).double(),
        nn.Linear(4, 4),
    )
    layers, device = Layers(owner), torch.device("cpu")
    assert layers.eligible(nn.Linear, device) == [owner[4]]
    assert layers.eligible(nn.Conv2d, device) == []
