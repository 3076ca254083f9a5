"""Whatever happens to a module's weights and parts, its results follow at once; a package has the old ones built in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from flambeau.optimize.graph.watch import Watch
from optimize_nets import Chosen, Net, image, kernels
from optimize_packages import Hidden, agrees, near, needs_compiler, optimized, seeded, why
from torch import nn


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


class LowRank(nn.Module):
    """A layer and a small addition to it, as peft wraps one."""

    def __init__(self, layer: nn.Linear, scale: float = 0.5):
        super().__init__()
        self.base_layer = layer
        self.down = nn.Linear(layer.in_features, 2, bias=False)
        self.up = nn.Linear(2, layer.out_features, bias=False)
        self.scaling = {"default": scale}

    def forward(self, x):
        return self.base_layer(x) + self.scaling["default"] * self.up(self.down(x))


def _assign(net: Net) -> None:
    net.load_state_dict({name: value * 1.5 for name, value in net.state_dict().items()}, assign=True)


CHANGES: dict[str, Callable[[Net], object]] = {
    "an edit in place": lambda net: net.head.weight.mul_(1.5),
    "an edit through .data": lambda net: net.head.weight.data.mul_(1.5),
    "an edit through .data of a bias": lambda net: net.norm.bias.data.add_(0.5),
    "other data": lambda net: setattr(net.head.weight, "data", net.head.weight.data * 1.5),
    "a load": lambda net: net.load_state_dict({name: value * 1.5 for name, value in net.state_dict().items()}),
    "a load that assigns": _assign,
    "another parameter": lambda net: setattr(net.head, "weight", nn.Parameter(net.head.weight * 1.5)),
    "no bias": lambda net: setattr(net.head, "bias", None),
    "another layer": lambda net: setattr(net, "head", nn.Linear(8, 4)),
    "a layer wrapped": lambda net: setattr(net, "head", LowRank(net.head)),
    "another epsilon": lambda net: setattr(net.norm, "eps", 0.5),
    "another stride": lambda net: setattr(net.conv, "stride", (2, 2)),
    "another forward of a part": lambda net: setattr(net.norm, "forward", lambda x: x),
    "channels last": lambda net: net.to(memory_format=torch.channels_last),
    "a hook": lambda net: net.norm.register_forward_hook(lambda module, args, output: output * 2),
    "a pruned weight": lambda net: nn.utils.parametrize.register_parametrization(net.head, "weight", nn.Softplus()),
}


@needs_compiler
@pytest.mark.parametrize("change", CHANGES)
def test_a_package_never_outlives_a_change(store, change):
    net, made = optimized(store)
    net(image())
    assert made.report(net).applied == ("graph",), why(made, net)
    before = net(image(1))
    CHANGES[change](net)
    assert near(net, 1)
    assert (net(image(1)).shape == before.shape and torch.allclose(net(image(1)), before, atol=1e-5)) is (change == "channels last")
    assert all(near(net, seed) for seed in range(40))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_dtype_is_followed(store, dtype):
    net, _ = optimized(store)
    net(image())
    net.to(dtype)
    for seed in range(4):
        assert agrees(net, image(seed).to(dtype))
        with pytest.raises(RuntimeError):
            net(image(seed))


@needs_compiler
def test_the_package_comes_back_with_its_weights(store):
    net, made = optimized(store)
    net(image())
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    net.head.weight.data.mul_(1.5)
    assert near(net, 1)
    assert "has changed" in why(made, net)
    net.load_state_dict(kept)
    for seed in range(20):
        assert near(net, seed)
    assert made.report(net).applied == ("graph",), why(made, net)
    before_s = net.clock.now_s
    net(image(1))
    assert net.clock.now_s == before_s


@needs_compiler
def test_fused_and_unfused_fifty_times_the_results_follow(store):
    net, made = optimized(store)
    net(image())
    wrong = []
    for turn in range(50):
        delta = 0.1 * torch.randn(4, 2) @ torch.randn(2, 8)
        net.head.weight.data += delta
        wrong += [turn for seed in range(3) if not near(net, seed)]
        net.head.weight.data -= delta
        wrong += [turn for seed in range(3) if not near(net, seed)]
    assert not wrong
    assert "graph" not in made.report(net).applied


def test_kernels_of_layers_follow_a_change_while_the_package_cannot(tmp_path):
    net, made = optimized(tmp_path / "store", Chosen(row=kernels("packed_convs"), clock=Hidden()))
    net(image())
    for turn in range(50):
        net.conv.weight.data.mul_(1.1 if turn % 2 else 0.9)
        assert near(net, turn)
    assert made.report(net).state in ("done", "unchanged")


def test_a_watch_sees_what_lies_one_level_below_an_attribute():
    class Processor:
        scale = 1.0

    net = seeded()
    net.processor, net.names, net.scales = Processor(), ["a"], {"a": 1.0}
    for change in (
        lambda: setattr(net.processor, "scale", 2.0),
        lambda: net.names.append("b"),
        lambda: net.scales.update(a=2.0),
        lambda: net.register_buffer("more", torch.ones(1)),
        lambda: net.add_module("part", nn.ReLU()),
        lambda: net.train(),
    ):
        watch = Watch(net)
        assert watch.holds()
        change()
        assert not watch.holds(), change


def test_a_watch_holds_while_a_module_computes():
    net = seeded()
    watch = Watch(net)
    for seed in range(3):
        net(image(seed))
    assert watch.holds()
    with torch.inference_mode():
        net(image())
    assert watch.holds()
