"""Other kinds of calls than the one that was measured: right at once, tried in turn, never waited for."""

from __future__ import annotations

import random

import pytest
import torch
from optimize_nets import Bending, Clock, Denoiser, Net, image, registry
from optimize_packages import agrees, needs_compiler, optimized


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def net():
    return Net(Clock()).eval()


def timed(net: Net, x: torch.Tensor) -> float:
    before_s = net.clock.now_s
    net(x)
    return net.clock.now_s - before_s


def test_another_shape_that_repeats_becomes_fast_too(net):
    made = registry(Bending(), clock=net.clock)
    made.optimize(net)
    net(image())
    other = image(side=12)
    assert torch.equal(net(other), Net.forward(net, other))
    for _ in range(12):
        timed(net, other)
    assert timed(net, other) == timed(net, image()) == pytest.approx(0.05)
    assert made.report(net).applied == ("bending",)


def test_what_computes_more_than_layers_is_tried_on_another_shape_with_one_run_of_it(net):
    made = registry(Bending(), clock=net.clock)
    made.optimize(net)
    net(image())
    spent = [timed(net, image(side=12)) for _ in range(20)]
    assert spent[0] == pytest.approx(0.1)
    assert spent[1] == pytest.approx(0.15)
    assert max(spent[2:]) == pytest.approx(0.1)
    assert spent[-1] == pytest.approx(0.05)


def test_a_shape_for_which_it_is_slower_or_wrong_stays_eager(net):
    class Moody(Bending):
        pass

    made = registry(Bending(), clock=net.clock)
    made.optimize(net)
    net(image())
    bend = net.bent[0]
    object.__setattr__(bend, "cost_s", 0.2)
    for _ in range(20):
        timed(net, image(side=12))
    assert timed(net, image(side=12)) == pytest.approx(0.1)
    object.__setattr__(bend, "cost_s", 0.05)
    object.__setattr__(bend, "error", 1.0)
    other = image(side=10)
    for _ in range(20):
        assert torch.equal(net(other), Net.forward(net, other))
    assert "relative error" in " ".join(skip.why for skip in made.report(net).skipped)


def test_a_shape_seen_once_is_not_tried(net):
    made = registry(Bending(), clock=net.clock)
    made.optimize(net)
    net(image())
    for side in range(9, 30):
        assert timed(net, image(side=side)) == pytest.approx(0.1)


def test_only_so_many_kinds_are_followed_and_the_rest_run_eagerly(net):
    made = registry(Bending(), clock=net.clock, kinds_followed=3)
    made.optimize(net)
    net(image())
    for side in (10, 12, 14, 16):
        for _ in range(20):
            timed(net, image(side=side))
    assert [timed(net, image(side=side)) for side in (10, 12, 14, 16)] == pytest.approx([0.05, 0.05, 0.1, 0.1])
    assert any("too many kinds" in eager.why for eager in made.report(net).eager_calls)


def test_where_nothing_was_faster_another_shape_is_not_waited_for(net):
    made = registry(Bending(cost_s=0.2), clock=net.clock)
    made.optimize(net)
    net(image())
    assert made.report(net).state == "unchanged"
    assert [timed(net, image(side=12)) for _ in range(20)] == pytest.approx([0.1] * 20)


def test_every_kind_is_kept_and_fast_from_its_first_call_in_the_next_process(tmp_path):
    def run(calls: int) -> list[float]:
        net, _ = optimized(tmp_path / "store", Bending())
        return [timed(net, image(side=side)) for side in (8, 12) for _ in range(calls)]

    run(20)
    again = run(3)
    assert again == pytest.approx([0.15, 0.05, 0.05] * 2)


def test_a_loop_is_compared_again_at_later_calls_of_every_kind():
    net = Denoiser(Clock()).eval()
    made = registry(Bending(), clock=net.clock)
    made.optimize(net)
    for side in (8, 12):
        for _ in range(40):
            net(image(side=side), torch.tensor(100.0))
    net.late_error = 1.0
    assert made.report(net).applied == ("bending",)


@needs_compiler
def test_a_thousand_calls_of_any_kind_agree_with_eager(store):
    net, made = optimized(store, Bending(error=1e-7))
    net(image())
    chance = random.Random(5)
    wrong = []
    for number in range(1000):
        x = image(number, side=chance.choice([8, 8, 8, 9, 7, 16]), batch=chance.choice([1, 1, 1, 2, 3]))
        layout = chance.choice(["as it is", "as it is", "channels_last", "flipped", "a window", "expanded", "grown"])
        if layout == "channels_last":
            x = x.contiguous(memory_format=torch.channels_last)
        elif layout == "flipped":
            x = x.transpose(2, 3)
        elif layout == "a window":
            x = torch.nn.functional.pad(x, (1, 1))[..., 1:-1]
        elif layout == "expanded":
            x = x[:, :1].expand(-1, 3, -1, -1)
        elif layout == "grown":
            x = x.requires_grad_()
        if not agrees(net, x):
            wrong.append((number, layout, tuple(x.shape)))
    assert not wrong
    assert "graph" in made.report(net).applied
