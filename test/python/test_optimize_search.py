"""What is tried, what is kept, and what stops it: with a clock on which candidates cost what the test says."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from flambeau.optimize import Notice
from optimize_nets import Autoencoder, Bending, Chosen, Clock, Denoiser, Net, image, kernels, registry


class Cancelled(BaseException):
    """As the worker's cancel: no Exception."""


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def net(clock):
    return Net(clock).eval()


def test_a_candidate_that_halves_the_time_is_applied_and_reported(net, clock):
    made = registry(Bending(cost_s=0.05), clock=clock)
    assert made.optimize(net) is net
    assert made.report(net).state == "waiting"
    net(image())
    report = made.report(net)
    assert (report.state, report.applied) == ("done", ("bending",))
    assert report.speed_up == pytest.approx(2.0)
    assert report.relative_error == 0.0
    assert report.cosine == pytest.approx(1.0)


def test_a_candidate_that_is_slower_is_undone_and_its_ratio_reported(net, clock):
    made = registry(Bending(cost_s=0.15), clock=clock)
    made.optimize(net)
    net(image())
    report = made.report(net)
    assert (report.state, report.applied, net.bent) == ("unchanged", (), [])
    assert report.skipped[0].speed_up == pytest.approx(0.1 / 0.15)


def test_a_gain_under_two_percent_is_no_gain(net, clock):
    made = registry(Bending(cost_s=0.0985), clock=clock)
    made.optimize(net)
    net(image())
    assert made.report(net).state == "unchanged"


@pytest.mark.parametrize("error", [1.0, math.nan, math.inf, 0.06])
def test_a_candidate_with_wrong_results_is_refused_however_fast_it_is(net, clock, error):
    made = registry(Bending(cost_s=0.001, error=error), clock=clock)
    made.optimize(net)
    before = net(image())
    assert torch.equal(net(image()), before)
    report = made.report(net)
    assert report.state == "unchanged"
    assert "error" in report.skipped[0].why or "finite" in report.skipped[0].why


@pytest.mark.parametrize(("quality", "error", "kept"), [("lossless", 0.03, False), ("balanced", 0.03, True), ("fast", 0.08, True)])
def test_the_quality_decides_how_much_error_is_allowed(net, clock, quality, error, kept):
    made = registry(Bending(error=error), clock=clock)
    made.optimize(net, quality=quality)
    net(image())
    assert bool(made.report(net).applied) is kept


def test_a_candidate_of_lower_quality_is_not_even_tried(net, clock):
    made = registry(Bending(quality="fast"), clock=clock)
    made.optimize(net, quality="balanced")
    net(image())
    assert 'quality "fast" would allow it' in made.report(net).skipped[0].why


def test_a_candidate_that_raises_is_reported_and_the_next_one_tried(net, clock):
    def fail():
        raise RuntimeError("no such kernel")

    made = registry(Bending(name="broken", run=fail), Bending(name="good"), clock=clock)
    made.optimize(net)
    net(image())
    report = made.report(net)
    assert report.applied == ("good",)
    assert report.skipped[0].why == "RuntimeError: no such kernel"


def test_what_a_candidate_needs_and_does_not_find_is_reported(net, clock):
    made = registry(Bending(why_not="another processor would do"), clock=clock)
    made.optimize(net)
    net(image())
    assert made.report(net).skipped[0].why == "another processor would do"


def test_candidates_are_tried_on_top_of_each_other_and_each_must_gain(net, clock):
    made = registry(Bending(name="a", cost_s=0.08), Bending(name="b", cost_s=0.05), Bending(name="c", cost_s=0.06), clock=clock)
    made.optimize(net)
    net(image())
    report = made.report(net)
    assert report.applied == ("a", "b")
    assert report.speed_up == pytest.approx(2.0)


def test_a_candidate_for_which_those_before_it_left_no_layer_is_not_tried(net, clock):
    made = registry(Chosen(row=kernels("packed_convs"), clock=clock), Chosen(row=kernels("channels_last"), clock=clock), clock=clock)
    made.optimize(net)
    net(image())
    report = made.report(net)
    assert report.applied == ("packed_convs",)
    assert [(skip.what, skip.speed_up) for skip in report.skipped] == [("channels_last", None)]
    assert "left" in report.skipped[0].why


def test_a_module_in_half_precision_is_compared_with_what_float32_gives(net, clock):
    made = registry(Bending(error=0.001), clock=clock)
    net.bfloat16()
    weight = net.conv.weight
    made.optimize(net, quality="lossless")
    net(image().bfloat16())
    report = made.report(net)
    assert report.applied == ("bending",)
    assert 1e-3 < report.relative_error < 1e-2, "eager itself rounds so much"
    assert net.conv.weight is weight
    assert weight.dtype == torch.bfloat16


def test_a_module_in_half_precision_that_cannot_be_copied_is_compared_with_itself(net, clock):
    made = registry(Bending(error=0.001), clock=clock)
    net.bfloat16().lock = threading.Lock()
    made.optimize(net)
    net(image().bfloat16())
    assert made.report(net).applied == ("bending",)


def test_without_budget_nothing_is_measured(net, clock):
    made = registry(Bending(), clock=clock)
    made.optimize(net, budget_s=0)
    net(image())
    report = made.report(net)
    assert report.state == "unchanged"
    assert "budget" in report.skipped[0].why


def test_measuring_stays_within_its_budget(net, clock):
    made = registry(*(Bending(name=str(n), cost_s=0.1 + n) for n in range(20)), clock=clock)
    made.optimize(net, budget_s=10.0)
    net(image())
    # A candidate's first run cannot be foreseen; those after it can.
    assert made.report(net).seconds < 10.0 + 20


@pytest.mark.parametrize(("cost_s", "applied"), [(30, ("bending",)), (55, ())])
def test_a_long_warm_up_buys_a_longer_budget_and_a_single_pair_must_gain_more(clock, cost_s, applied):
    net = Net(clock, cost_s=60).eval()
    made = registry(Bending(cost_s=cost_s), clock=clock)
    made.optimize(net)
    net(image())
    report = made.report(net)
    assert report.applied == applied
    assert report.seconds == 60 + 2 * cost_s <= 3 * 60


def test_a_single_pair_that_gains_little_is_given_two_more_where_the_budget_has_them(clock):
    net = Net(clock, cost_s=10).eval()
    made = registry(Bending(cost_s=9), Bending(name="hopeless", cost_s=30), clock=clock)
    made.optimize(net, budget_s=90)
    net(image())
    assert made.report(net).applied == ("bending",)
    assert made.report(net).seconds <= 90


def test_a_budget_is_shared_among_the_candidates(clock):
    net = Net(clock, cost_s=1).eval()
    made = registry(*(Bending(name=name, cost_s=cost_s) for name, cost_s in [("a", 1.0), ("b", 0.99), ("c", 0.5)]), clock=clock)
    made.optimize(net, budget_s=12)
    net(image())
    assert made.report(net).applied == ("c",)
    assert made.report(net).seconds <= 12


def test_calls_too_short_to_gain_are_left_alone(clock):
    net = Net(clock, cost_s=1e-5).eval()
    made = registry(Bending(cost_s=1e-6), clock=clock)
    made.optimize(net)
    net(image())
    assert "too short to gain" in made.report(net).skipped[0].why


def test_a_denoiser_is_measured_at_its_fourth_call(clock):
    net = Denoiser(clock).eval()
    made = registry(Bending(), clock=clock)
    made.optimize(net)
    for step in range(3):
        net(image(step), torch.tensor(900.0 - step))
        assert made.report(net).state == "waiting"
    net(image(3), torch.tensor(1.0))
    assert made.report(net).applied == ("bending",)


def test_a_denoiser_whose_later_steps_go_wrong_is_withdrawn(clock):
    net = Denoiser(clock).eval()
    made = registry(Bending(), clock=clock)
    made.optimize(net)
    for step in range(7):
        net(image(step), torch.tensor(900.0 - step))
    assert made.report(net).state == "done"
    net.late_error = 0.2
    before = net(image(7), torch.tensor(1.0))
    report = made.report(net)
    assert (report.state, report.skipped[0].what) == ("unchanged", "bending")
    assert report.skipped[0].why.startswith("withdrawn at call 8: relative error 0.2")
    assert torch.equal(net(image(7), torch.tensor(1.0))["sample"], before["sample"])


def test_of_an_autoencoder_the_decoder_is_found_and_not_the_root(clock):
    vae = Autoencoder(clock).eval()
    made = registry(Bending(), clock=clock)
    made.optimize(vae)
    vae.decode(image())
    report = made.report(vae)
    assert report.applied == ("decoder: bending",)
    assert "forward" not in vae.__dict__
    assert vae.encoder.bent == []


def test_if_the_root_runs_its_parts_are_let_go(clock, net):
    made = registry(Bending(), clock=clock)
    made.optimize(net)
    net(image())
    assert [name for name, part in net.named_modules() if "forward" in part.__dict__] == [""]


def test_the_listener_hears_each_candidate_and_one_line_at_the_end(net, clock):
    heard: list[Notice] = []
    made = registry(Bending(name="a", cost_s=0.2), Bending(name="b"), clock=clock)
    made.set_listener(heard.append)
    made.optimize(net)
    net(image())
    assert [(notice.phase, notice.step, notice.total) for notice in heard] == [("measuring", 0, 2), ("measuring", 1, 2), ("done", 1, 1)]
    assert heard[-1].message.startswith("optimize Net: b, 2.00x, error 0e+00, ")


def test_the_line_of_an_unchanged_module_says_how_slow_the_candidates_were(net, clock):
    heard: list[Notice] = []
    made = registry(Bending(name="a", cost_s=0.2), clock=clock)
    made.set_listener(heard.append)
    made.optimize(net)
    net(image())
    assert heard[-1].message == "optimize Net: unchanged, eager is fastest (a 0.50x)"


def test_a_failing_listener_harms_nothing(net, clock):
    def fail(notice):
        raise ValueError(notice.message)

    made = registry(Bending(), clock=clock)
    made.set_listener(fail)
    made.optimize(net)
    net(image())
    assert made.report(net).state == "done"


@pytest.mark.parametrize("cancel", [Cancelled, KeyboardInterrupt])
def test_a_cancel_while_measuring_reaches_the_caller_and_the_next_call_measures_again(net, clock, cancel):
    made = registry(Bending(), clock=clock)
    made.optimize(net)
    num_runs = 0

    def interrupt(module, args):
        nonlocal num_runs
        num_runs += 1
        if num_runs == 4:
            raise cancel

    hook = net.head.register_forward_pre_hook(interrupt)
    with pytest.raises(cancel):
        net(image())
    hook.remove()
    assert (made.report(net).state, net.bent) == ("waiting", [])
    net(image())
    assert made.report(net).state == "done"


def test_an_exception_of_the_modules_own_forward_reaches_the_caller_unchanged(net, clock):
    made = registry(Bending(), clock=clock)
    made.optimize(net)
    with pytest.raises(RuntimeError, match="channels"):
        net(torch.randn(1, 5, 8, 8))
    net(image())
    with pytest.raises(RuntimeError, match="channels"):
        net(torch.randn(1, 5, 8, 8))
    assert made.report(net).state == "done"


def test_an_exception_while_replaying_leaves_the_module_eager_with_the_reason(net, clock):
    made = registry(Bending(), clock=clock)
    made.optimize(net)
    num_runs = 0

    def fail_later(module, args):
        nonlocal num_runs
        num_runs += 1
        if num_runs > 1:
            raise OSError("a hook that runs once")

    hook = net.head.register_forward_pre_hook(fail_later)
    net(image())
    hook.remove()
    assert made.report(net).skipped[0].why == "OSError: a hook that runs once"
    assert made.report(net).state == "unchanged"


def test_an_optimized_part_of_an_optimized_module_does_not_measure_in_its_replays(clock):
    vae = Autoencoder(clock).eval()
    made = registry(Bending(), clock=clock)
    made.optimize(vae.decoder)
    made.optimize(vae)
    expected = vae(image())
    assert torch.equal(vae(image()), expected)
    assert made.report(vae.decoder).state == "done", made.report(vae.decoder)
    made.restore(vae)
    made.restore(vae.decoder)
    assert not [name for name, part in vae.named_modules() if "forward" in part.__dict__]
    assert torch.equal(vae(image()), expected)


def test_threads_that_call_during_the_measuring_get_the_same_results(clock):
    net = Net(clock).eval()
    made = registry(Bending(error=0.01), clock=clock)
    expected = net(image())
    made.optimize(net)
    results: list[torch.Tensor] = []

    def call():
        with torch.no_grad():
            results.extend(net(image()) for _ in range(5))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(torch.allclose(result, expected, rtol=0.02) for result in results)
    net(image())
    assert made.report(net).state == "done"
