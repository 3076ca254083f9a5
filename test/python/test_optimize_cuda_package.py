"""Packages that run on the module's own weights, as they are built for GPUs: here for a CPU, by the same child and the same loader."""

from __future__ import annotations

import pytest
import torch
from flambeau.optimize.calls import tree
from flambeau.optimize.cuda.package import FILE, Shared, describe, weights_of
from flambeau.optimize.graph import build
from optimize_nets import Net, image
from optimize_packages import CALLS, near, needs_compiler, optimized, seeded, why
from optimize_recording import Rerun

pytestmark = needs_compiler


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with such a package, the net that it was built of, and its report."""
    directory = tmp_path_factory.mktemp("shared") / "store"
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(build, "is_shared", lambda device: True)
        net, made = optimized(directory, builds="now")
        for seed in range(CALLS):
            net(image(seed))
    return directory, net, made


def path_of(directory):
    return next(directory.glob(f"*/{FILE}"))


def loaded(directory, net, **more):
    return Shared(path_of(directory), net, describe(weights_of(net)), **more)


def test_it_is_built_raced_and_accepted_like_any_other(kept):
    directory, net, made = kept
    assert made.report(net).applied == ("graph",), why(made, net)
    assert path_of(directory).stat().st_size > 0
    assert near(net, 100)


def test_another_process_has_it_from_its_first_call(kept):
    net, made = optimized(kept[0])
    net(image())
    assert made.report(net).applied == ("graph",), why(made, net)
    assert all(near(net, seed) for seed in range(1, 4))


def test_its_weights_are_the_modules_own(kept):
    net = seeded()
    package = loaded(kept[0], net)
    net.head.weight.mul_(3)
    (got,) = package([image(5)])
    assert torch.allclose(got, Net.forward(net, image(5)), atol=1e-5)


def test_weights_that_lie_otherwise_are_refused(kept):
    net = seeded()
    described = describe(weights_of(net))
    net.conv.to(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="layouts"):
        Shared(path_of(kept[0]), net, described)


def test_its_launches_are_recorded_once_and_one_that_cannot_be_runs_all_the_same(kept):
    net, rerun = seeded(), Rerun()
    package = loaded(kept[0], net, record=rerun)
    for seed in range(3):
        assert torch.allclose(package([image(seed)])[0], Net.forward(net, image(seed)), atol=1e-5)
    assert (rerun.num_recorded, rerun.num_again) == (1, 3)
    rerun.fails = True
    package = loaded(kept[0], net, record=rerun)
    for seed in range(3):
        assert torch.allclose(package([image(seed)])[0], Net.forward(net, image(seed)), atol=1e-5)
    assert rerun.num_recorded == 1


def test_outputs_are_in_memory_of_their_own(kept):
    package = loaded(kept[0], seeded(), record=Rerun())
    first = tree.tensors(package([image(0)]))[0]
    before = first.clone()
    package([image(1)])
    assert torch.equal(first, before)


def test_where_none_can_be_built_this_process_compiles_for_itself_if_it_is_to_wait(tmp_path, monkeypatch):
    def fail(*_):
        raise build.BuildError("there are no headers")

    monkeypatch.setattr(build, "is_shared", lambda device: True)
    monkeypatch.setattr(build.Builder, "_build", fail)
    net, made = optimized(tmp_path / "store", builds="now")
    for seed in range(CALLS):
        net(image(seed))
    assert made.report(net).applied == ("graph",), why(made, net)
    assert near(net, 100)
    net.head.weight.mul_(2)
    assert near(net, 101)
    # Of this process alone: the next one finds nothing, and nothing amiss.
    other, again = optimized(tmp_path / "store")
    for seed in range(CALLS):
        other(image(seed))
    assert again.report(other).applied == ()
    assert "gone" not in why(again, other)


def test_a_build_in_the_background_that_fails_has_nobody_compile(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "is_shared", lambda device: True)
    monkeypatch.setattr(build.Builder, "_build", lambda *_: (_ for _ in ()).throw(build.BuildError("there are no headers")))
    net, made = optimized(tmp_path / "store", builds="background")
    for seed in range(CALLS):
        net(image(seed))
    assert made.report(net).applied == ()
