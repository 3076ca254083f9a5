"""A thousand calls that nothing was measured for: each gives what eager gives, or raises what eager raises."""

from __future__ import annotations

import copy

import pytest
import torch
from flambeau.optimize.registry import Registry
from optimize_calls import GENEROUS, SmallUNet, disagreements, optimized_pair, outcome, variation
from optimize_nets import Net, accepted
from optimize_nets import image as measured_image
from optimize_random import random_module

NUM_CALLS = 1000


def test_a_thousand_varied_calls_agree_with_eager():
    plain, fast, made = optimized_pair()
    wrong = disagreements(plain, fast, NUM_CALLS)
    assert not wrong, (len(wrong), wrong[:5])
    assert made.report(fast).state == "done"
    num_eager = sum(counted.count for counted in made.report(fast).eager_calls)
    assert NUM_CALLS / 5 < num_eager < NUM_CALLS * 0.9, made.report(fast).eager_calls


def test_the_varied_calls_are_calls_of_every_kind():
    results = [outcome(SmallUNet().eval(), variation(seed)) for seed in range(300)]
    failed = sum(isinstance(result, tuple) and isinstance(result[0], type) for result in results)
    assert 15 < failed < 150


@pytest.mark.parametrize("seed", range(30))
def test_a_random_small_module_computes_the_same_before_while_and_after_it_is_measured(seed):
    plain, make = random_module(seed)
    plain.eval()
    fast, made = copy.deepcopy(plain), Registry(limits=GENEROUS)
    made.optimize(fast, quality="lossless")
    with torch.no_grad():
        for _ in range(4):
            x = make()
            got, expected = fast(x.clone()), plain(x.clone())
            got, expected = (value[0] if isinstance(value, tuple) else value for value in (got, expected))
            assert got.stride() == expected.stride()
            assert (got - expected).norm() <= 1e-5 * expected.norm()
    report = made.report(fast)
    assert report.state in ("done", "unchanged"), report
    made.restore(fast)
    assert not [part for part in fast.modules() if "forward" in part.__dict__]


def test_an_argument_given_twice_raises_what_eager_raises():
    module, made = accepted()
    with torch.no_grad(), pytest.raises(TypeError, match="multiple values"):
        module(measured_image(), x=measured_image())
    assert made.report(module).eager_calls[0].why == "x is given twice"


def test_a_default_that_is_no_plain_value_does_not_keep_a_module_from_running_fast():
    class WithObject(Net):
        def forward(self, x, hook=object()):  # noqa: B008
            return super().forward(x)

    module, made = accepted(net=WithObject)
    with torch.no_grad():
        module(measured_image())
        assert made.report(module).eager_calls == ()
        module(measured_image(), object())
    assert "hook is a object" in made.report(module).eager_calls[0].why
