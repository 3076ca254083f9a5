"""Which layers a row's kernels are for: those that gain by themselves."""

from __future__ import annotations

import pytest
import torch
from flambeau.optimize.applied import Trial
from flambeau.optimize.calls.capture import record, with_output
from flambeau.optimize.calls.guard import parameters_of
from flambeau.optimize.leaf.choosing import choose
from flambeau.optimize.leaf.kernels import WeightKernel
from flambeau.optimize.leaf.layers import Layers
from flambeau.optimize.limits import Tolerance
from optimize_nets import Clock
from torch import nn

CLOCK = Clock()
OWN_S = 0.01


class Ticking(nn.Linear):
    """A layer that takes time on the clock."""

    def forward(self, x):
        CLOCK.now_s += OWN_S
        return super().forward(x)


class Costing(WeightKernel):
    """A kernel that takes as long as its layer says."""

    def _accepts(self, x):
        return True

    def _pack(self, weight, shape):
        return weight.clone()

    def _compute(self, x, bias):
        CLOCK.now_s += self.layer.costs * OWN_S
        return torch.nn.functional.linear(x, self._prepared, bias)


def chosen(costs: list[float], left_s: float = 100.0) -> list[float]:
    # Layers of one shape share their times, so each has its own width.
    module = nn.Sequential(*(Ticking(8 + index, 9 + index) for index in range(len(costs))))
    for layer, cost in zip(module, costs, strict=True):
        layer.costs = cost
    layers, x = Layers(module), torch.ones(2, 8)
    call = with_output(record(parameters_of(module), (x,), {}, False), module(x), 0.1)

    def run(call, fast):
        with layers.switch.set(fast):
            return module(*call.args)

    trial = Trial(calls=[call], run=run, allowed=Tolerance(0.1, 0.9), call_s=0.1, clock=CLOCK, left_s=lambda: left_s, min_saving=0.02)
    kernels = {layer: Costing(layer) for layer in module}
    found = choose(layers, kernels, trial)
    assert not list(layers.kernels()), "nothing stays enabled"
    assert all(found[layer].error == 0.0 for layer in found) or left_s < 1
    return [layer.costs for layer in found]


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def test_layers_that_gain_are_chosen_and_those_that_lose_keep_their_own():
    assert chosen([0.5, 2.0, 0.97, 0.99, 1.0]) == [0.5, 0.97]


def test_a_row_from_which_no_layer_gains_says_so():
    with pytest.raises(ValueError, match="none of 2 layers is faster"):
        chosen([1.5, 1.0])


def test_without_time_to_read_them_all_layers_are_chosen():
    assert chosen([0.5, 2.0], left_s=0.5) == [0.5, 2.0]
