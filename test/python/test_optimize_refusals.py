"""Modules that are left as they came: optimize never raises, and the report says why."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from flambeau.optimize import optimize, report, set_listener
from flambeau.optimize.patch import Patch
from optimize_nets import Bending, Clock, Net, image, kernels, registry
from torch import nn


class Odd(nn.Module):
    """Takes 0.1 s on the clock, and does what the test says."""

    def __init__(self, clock: Clock, run):
        super().__init__()
        self.clock = clock
        self.run = run
        self.bent = []
        self.layer = nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x, extra=None):
        self.clock.now_s += 0.05 if any(bend.switch.on for bend in self.bent) else 0.1
        return self.run(self, x, extra)


class Cache:
    pass


def writes_into_inputs(self, x, extra):
    return x.add_(1)


def draws(self, x, extra):
    return x + torch.rand_like(x)


def counts_in_a_buffer(self, x, extra):
    self.seen += 1
    return x + self.seen


def counts_in_an_attribute(self, x, extra):
    self.calls = getattr(self, "calls", 0) + 1
    return x * self.calls


def collects(self, x, extra):
    self.inputs = [*getattr(self, "inputs", []), x]
    return x


def returns_an_object(self, x, extra):
    return SimpleNamespace(x=x)


def run(module: nn.Module, *candidates, **kwargs):
    made = registry(*candidates or (Bending(),), clock=module.clock)
    made.optimize(module)
    with torch.no_grad():
        outputs = [module(torch.ones(2, 4), **kwargs) for _ in range(3)]
    return outputs, made.report(module)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (writes_into_inputs, "it writes into its inputs"),
        (draws, "it draws random numbers"),
        (counts_in_a_buffer, "it keeps state between calls (.seen)"),
        (counts_in_an_attribute, "it keeps state between calls (.calls)"),
        (collects, "it keeps state between calls (.inputs)"),
        (returns_an_object, "output is a SimpleNamespace"),
    ],
)
def test_modules_that_cannot_be_replayed_are_left_alone(behaviour, why):
    _, made = run(Odd(Clock(), behaviour))
    assert made.state == "unchanged"
    assert why in made.skipped[0].why


def test_what_a_stateful_module_computes_is_not_disturbed():
    outputs, _ = run(Odd(Clock(), counts_in_a_buffer))
    assert [float(output[0, 0]) for output in outputs] == [2.0, 3.0, 4.0]


def test_random_numbers_of_the_program_are_not_disturbed():
    def numbers(optimized: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        module = Net(Clock()).eval()
        if optimized:
            registry(Bending(run=lambda: torch.rand(5)), clock=module.clock).optimize(module)
        torch.manual_seed(1)
        with torch.no_grad():
            return [module(image()), torch.rand(3), module(image()), torch.rand(3)]

    assert all(torch.equal(a, b) for a, b in zip(numbers(True), numbers(False), strict=True))


def test_a_cache_that_the_first_call_fills_is_no_reason_to_refuse():
    def fills(self, x, extra):
        if not hasattr(self, "table"):
            self.table = torch.ones(4)
        return x * self.table

    _, made = run(Odd(Clock(), fills))
    assert made.state == "done"


def test_arguments_that_cannot_be_copied_are_named():
    _, made = run(Odd(Clock(), lambda self, x, extra: x), extra=Cache())
    assert made.skipped[0].why.startswith("extra is a Cache")


@dataclass
class Result:
    sample: torch.Tensor
    note: str = "fine"


class ModelOutput(OrderedDict):
    pass


@pytest.mark.parametrize(
    "wrap", [lambda x: (x,), lambda x: [x, None, 5], lambda x: Result(x), lambda x: ModelOutput(sample=x), lambda x: {"a": {"b": x}}]
)
def test_tuples_dicts_and_dataclasses_of_tensors_are_understood(wrap):
    outputs, made = run(Odd(Clock(), lambda self, x, extra: wrap(self.layer(x))), extra={"scale": (1.0, None)})
    assert made.state == "done"
    assert type(outputs[-1]) is type(outputs[0])


def test_quantized_layers_are_left_alone_with_a_reason():
    module = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})
    plain = module(torch.ones(2, 4))
    made = registry(kernels("packed_linears"), min_call_s=0)
    made.optimize(module)
    with torch.no_grad():
        assert torch.equal(module(torch.ones(2, 4)), plain)
    assert "such a layer would do" in made.report(module).skipped[0].why


def test_arguments_of_a_new_kind_that_come_later_run_eagerly_and_are_counted():
    module = Odd(Clock(), lambda self, x, extra: self.layer(x) if extra is None else self.layer(x) + 1)
    made = registry(Bending(), clock=module.clock)
    made.optimize(module)
    with torch.no_grad():
        plain = module(torch.ones(2, 4))
        assert made.report(module).state == "done"
        late = [module(torch.ones(2, 4), extra=extra) for extra in (Cache(), {"scale": 1.0}, [Cache()], lambda: None)]
    assert all(torch.equal(output, plain + 1) for output in late)
    assert sum(counted.count for counted in made.report(module).eager_calls) == 4


def test_calls_with_more_input_than_may_be_held_are_not_kept():
    module = Net(Clock()).eval()
    made = registry(Bending(), clock=module.clock, capture_bytes=100)
    made.optimize(module)
    with torch.no_grad():
        module(image())
    assert "inputs and outputs" in made.report(module).skipped[0].why


def test_calls_with_gradients_wait_and_say_why():
    module = Net(Clock())
    made = registry(Bending(), clock=module.clock)
    made.optimize(module)
    module(image()).sum().backward()
    assert made.report(module).state == "waiting"
    assert "torch.no_grad()" in made.report(module).eager_calls[0].why
    with torch.no_grad():
        module(image())
    assert made.report(module).state == "done"


def test_a_device_without_candidates_says_so():
    module = Net(Clock()).eval()
    made = registry(clock=module.clock)
    made.optimize(module)
    with torch.no_grad():
        module(image())
    assert made.report(module).skipped[0].why == "there is no candidate for cpu yet"


def with_offload() -> nn.Module:
    module = Net()
    module.conv._hf_hook = SimpleNamespace(offload=True)
    return module


def with_group_offload() -> nn.Module:
    module = Net()
    module._diffusers_hook = SimpleNamespace(hooks={"group_offloading": object()})
    return module


def sparse() -> nn.Module:
    module = Net()
    module.head.register_buffer("mask", torch.eye(4).to_sparse())
    return module


def lazy() -> nn.Module:
    module = Net()
    module.head = nn.LazyLinear(4)
    return module


def quantized() -> nn.Module:
    torchao = pytest.importorskip("torchao.quantization")
    module = Net()
    torchao.quantize_(module, torchao.Int8WeightOnlyConfig())
    return module


class Unhashable(Net):
    def __eq__(self, other):
        raise RuntimeError("cannot be compared")


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Net()


def compiled() -> nn.Module:
    return torch.compile(Net())


def scripted() -> nn.Module:
    return torch.jit.script(nn.Linear(2, 2))


def pipeline() -> object:
    return SimpleNamespace(components={"unet": Net(), "scheduler": object()})


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: 5, "expected a torch.nn.Module, got int"),
        (lambda: None, "expected a torch.nn.Module, got NoneType"),
        (pipeline, "pass one of its modules (unet)"),
        (with_offload, "conv carries SimpleNamespace, which moves its weights"),
        (with_group_offload, "it carries the hooks group_offloading"),
        (on_meta, "has no data (meta device)"),
        (sparse, "head.mask is sparse"),
        (lazy, "head.weight has no shape yet (lazy)"),
        (quantized, "head.weight is quantized"),
        (Unhashable, "it cannot be looked at: TypeError: unhashable type"),
        (scripted, "it is a TorchScript module"),
        (compiled, "it is compiled already"),
        (lambda: nn.Module(), "nothing in it has a forward"),
    ],
)
def test_what_cannot_be_optimized_comes_back_as_it_was_with_the_reason(make, why):
    module = make()
    heard = []
    set_listener(heard.append)
    try:
        assert optimize(module) is module
    finally:
        set_listener(None)
    assert not isinstance(getattr(module, "forward", None), Patch)
    assert report(module).state == "unchanged"
    assert why in report(module).skipped[0].why
    assert "unchanged" in heard[-1].message
    assert why in heard[-1].message


def test_a_misspelt_quality_is_refused_without_raising():
    module = Net()
    assert optimize(module, quality="best") is module
    assert report(module).skipped[0].why == "quality: expected one of lossless, balanced, fast, got 'best'"


def test_a_module_that_was_never_optimized_reports_that():
    assert report(Net()).skipped[0].why == "optimize was never called on this module"
