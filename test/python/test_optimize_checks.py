"""Kernels of layers on other calls than those they were measured for: compared layer by layer, and no call is felt to wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from flambeau.optimize.applied import AppliedKernels, Kept
from flambeau.optimize.leaf.kernels import Kernel
from flambeau.optimize.limits import LIMITS, Quality
from flambeau.optimize.registry import Registry
from optimize_nets import Clock, registry
from torch import nn

LAYERS = 10
OWN_S = 0.01
SIDE = 32


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


class Ticking(nn.Conv2d):
    """A convolution that takes time on the clock, in proportion to the rows of its input."""

    def __init__(self, clock: Clock, share: float = 1.0):
        super().__init__(4, 4, 3, padding=1)
        self.clock = clock
        self.share = share

    def forward(self, x):
        self.clock.now_s += OWN_S * self.share * x.shape[-2] / SIDE
        return super().forward(x)


class Stack(nn.Module):
    """Ten of them."""

    def __init__(self, clock: Clock, shares: list[float]):
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.Sequential(*(Ticking(clock, share) for share in shares))

    def forward(self, x):
        return self.parts(x)


class Loop(Stack):
    """As a denoiser is called."""

    def forward(self, x, timestep):
        return self.parts(x)


@dataclass
class Behaviour:
    """Of all fake kernels: their share of the layer's time, their error on inputs of this many rows, and what they were accepted with."""

    cost: float = 0.5
    accepted: float | None = None
    error: float = 0.0
    wrong_at: int = 0
    num_runs: int = 0


class Fake(Kernel):
    """See Behaviour. Takes float32 only."""

    def __init__(self, layer: Any, behaviour: Behaviour):
        super().__init__(layer)
        self.behaviour = behaviour
        self.error = behaviour.accepted

    def __call__(self, x):
        if x.dtype != torch.float32:
            return None
        self.behaviour.num_runs += 1
        layer, before_s = self.layer, self.layer.clock.now_s
        output = type(layer).forward(layer, x)
        layer.clock.now_s = before_s + (layer.clock.now_s - before_s) * self.behaviour.cost
        return output * (1 + self.behaviour.error) if x.shape[-1] == self.behaviour.wrong_at else output


@dataclass(frozen=True, kw_only=True)
class Fakes:
    """The row of the table."""

    behaviour: Behaviour
    name: str = "fake"
    quality: Quality = "lossless"

    def capability(self, layers, device):
        return None

    def apply_(self, layers, device, trial):
        return self.recall(layers, device, Kept())

    def recall(self, layers, device, kept):
        return AppliedKernels(layers, {part: Fake(part, self.behaviour) for part in layers.owner.parts})


class Made:
    """A stack for whose usual calls the fake kernels were accepted."""

    def __init__(self, kind: type[Stack] = Stack, shares: list[float] | None = None, store: Any = False, **behaviour: Any):
        self.clock = Clock()
        self.behaviour = Behaviour(**behaviour)
        self.net = kind(self.clock, shares or [1.0] * LAYERS).eval()
        row = Fakes(behaviour=self.behaviour)
        self.registry = Registry(table={"cpu": (row,)}, clock=self.clock, store=store) if store else registry(row, clock=self.clock)
        self.registry.optimize(self.net)
        self.seconds(calls=4)
        assert self.registry.report(self.net).applied == ("fake",), self.registry.report(self.net)

    def call(self, side: int = SIDE, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        x = torch.ones(1, 4, SIDE, side, dtype=dtype)
        return self.net(x, torch.tensor(1.0)) if isinstance(self.net, Loop) else self.net(x)

    def seconds(self, side: int = SIDE, calls: int = 1) -> list[float]:
        spent = []
        for _ in range(calls):
            before_s = self.clock.now_s
            self.call(side)
            spent.append(self.clock.now_s - before_s)
        return spent

    @property
    def why(self) -> str:
        return " ".join(skip.why for skip in self.registry.report(self.net).skipped)


def test_no_call_of_a_new_shape_takes_more_than_a_tenth_longer_and_in_the_end_it_is_fast():
    made = Made(shares=[0.1, 3.0, *[1.0] * 6, 0.4, 0.5])
    eager_s = 0.1
    spent = made.seconds(side=20, calls=60)
    assert max(spent) <= 1.1 * eager_s
    assert spent[-1] == pytest.approx(eager_s / 2)


def test_while_kernels_are_compared_outputs_are_eager_s_bit_for_bit():
    made = Made(error=1e-5, wrong_at=20)
    expected = made.net.parts.forward(torch.ones(1, 4, SIDE, 20))
    before = made.behaviour.num_runs
    for _ in range(8):
        assert torch.equal(made.call(20), expected)
    assert made.behaviour.num_runs > before


def test_a_shape_on_which_one_layer_is_far_off_is_compared_as_a_whole_and_stays_eager():
    made = Made(error=0.1, wrong_at=20)
    expected = made.net.parts.forward(torch.ones(1, 4, SIDE, 20))
    assert all(torch.equal(made.call(20), expected) for _ in range(60))
    assert "relative error" in made.why
    assert made.seconds()[0] == pytest.approx(0.05), "the shape that was measured stays fast"


def test_errors_of_layers_that_grow_together_beyond_what_the_module_may_have_are_noticed():
    made = Made(accepted=1e-5, error=9e-5, wrong_at=20)
    assert made.seconds(side=20, calls=80)[-1] == pytest.approx(0.05), "each layer is within a tenth of the tolerance"
    target = made.net.forward._target
    target.phase.outcome = type(target.phase.outcome)(
        **{**vars(target.phase.outcome), "difference": type(target.phase.outcome.difference)(5e-4, 1.0)}
    )
    made.behaviour.wrong_at = 24
    runs = made.behaviour.num_runs
    made.seconds(side=24, calls=80)
    assert made.behaviour.num_runs > runs
    assert made.registry.report(made.net).state == "done"


def test_calls_of_which_no_kernel_takes_anything_are_not_raced():
    made = Made()
    made.net.double()
    for _ in range(2 * LAYERS):
        made.call(dtype=torch.float64)
    assert "no layer's kernel takes such inputs" in made.why


def test_a_shape_for_which_the_kernels_are_slower_stays_eager():
    made = Made()
    made.behaviour.cost = 2.0
    assert made.seconds(side=20, calls=80)[-1] == pytest.approx(0.1)


def test_later_calls_of_a_loop_are_watched_a_few_layers_at_a_time_and_none_waits():
    made = Made(Loop)
    before = made.behaviour.num_runs
    spent = made.seconds(calls=80)
    assert max(spent) <= 1.1 * 0.05 + 1e-9
    assert made.behaviour.num_runs - before == 80 * LAYERS + 2 * LAYERS, "each layer twice more, on a part of its input"
    assert spent[-1] == pytest.approx(0.05)


def test_a_loop_that_goes_wrong_later_is_withdrawn_once_the_whole_module_was_compared():
    made = Made(Loop)
    made.seconds(calls=10)
    made.behaviour.wrong_at, made.behaviour.error = SIDE, 0.1
    made.seconds(calls=80)
    report = made.registry.report(made.net)
    assert report.state == "unchanged"
    assert "withdrawn at call" in made.why


def test_a_shape_that_an_earlier_process_found_fast_is_so_from_its_second_call_and_is_watched(tmp_path):
    Made(store=tmp_path).seconds(side=20, calls=80)
    made = Made(store=tmp_path)
    spent = made.seconds(side=20, calls=60)
    assert spent[0] == pytest.approx(0.1)
    assert max(spent[1:]) <= 1.1 * 0.05
    assert spent[-1] == pytest.approx(0.05)
    assert sum(spent[1:]) > 59 * 0.05, "some layers ran once more"


def test_the_share_that_comparing_may_take_leaves_room_for_the_first_run_of_a_kernel():
    assert LIMITS.check_share < 0.1
