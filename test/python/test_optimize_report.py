"""What the report says of memory and time, and under which name its lines speak of a module."""

from __future__ import annotations

import pytest
import torch
from flambeau import toolkit
from flambeau.optimize import report as report_of
from flambeau.optimize import restore
from optimize_nets import Bending, Clock, Net, accepted, image, registry


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def test_where_a_call_spends_its_time_is_noted_in_the_first_fast_call():
    module, made = accepted()
    assert made.report(module).breakdown == ()
    module(image())
    shares = made.report(module).breakdown
    assert {share.what for share in shares} == {"Conv2d", "GroupNorm", "Linear", "between layers"}
    assert [share.seconds for share in shares] == sorted((share.seconds for share in shares), reverse=True)
    assert not module.conv._forward_hooks
    module(image())
    assert made.report(module).breakdown == shares


def test_a_compiled_package_is_one_share():
    module, made = accepted()
    target = module.forward._target
    target.layers.wholes["a kind of call"] = lambda args, kwargs: None
    [share] = made.report(module).breakdown
    assert share.what == "compiled package"
    assert share.seconds == pytest.approx(0.05)


def test_a_layer_that_fails_while_it_is_noted_leaves_no_hooks():
    module, _ = accepted()

    def fail(layer, args):
        raise OSError("a hook of the program")

    handle = module.head.register_forward_pre_hook(fail)
    with pytest.raises(OSError, match="a hook of the program"):
        module(image())
    handle.remove()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    module(image())


def test_memory_is_told_of_the_module_and_of_what_is_held_beside_it():
    module, made = accepted()
    report = made.report(module)
    assert report.module_bytes == sum(parameter.numel() * 4 for parameter in module.parameters())
    assert report.bytes >= module.conv.weight.numel() * 4


def test_lines_and_progress_call_a_module_by_the_name_that_it_was_given():
    module, clock, heard = Net().eval(), Clock(), []
    module.clock = clock
    made = registry(Bending(name="int8_static"), clock=clock)
    made.set_listener(heard.append)
    made.optimize(module, name="unet")
    module(image())
    made.optimize(5, name="vae")
    assert [notice.module for notice in heard] == ["unet", "unet", "vae"]
    assert heard[1].message.startswith("optimize unet: int8_static, 2.00x")
    assert heard[2].message == "optimize vae: unchanged, expected a torch.nn.Module, got int"


def test_the_worker_tells_what_is_tried_as_a_stage_and_the_outcome_as_a_line(monkeypatch):
    told = []
    monkeypatch.setattr("flambeau.context.progress", lambda *event: told.append(event))
    monkeypatch.setattr("flambeau.context.notice", lambda line: told.append(line))
    module, clock = Net().eval(), Clock()
    module.clock = clock
    made = registry(Bending(name="int8_static"), Bending(name="packed_convs"), clock=clock)
    made.set_listener(toolkit._tell)
    made.optimize(module, name="unet")
    module(image())
    first, second = "optimize unet 1/2 int8 static", "optimize unet 2/2 packed convs"
    assert told[:4] == [(0, 1, first), (1, 1, first), (0, 1, second), (1, 1, second)]
    assert told[4].startswith("optimize unet: int8_static")


def test_the_worker_s_report_has_everything_as_plain_data():
    module = Net().eval()
    toolkit.optimize(module, quality="lossless", budget_s=1.0, store=False, name="net")
    module(image())
    told, made = toolkit.report(module), report_of(module)
    restore(module)
    assert told["state"] == made.state
    assert told["moduleBytes"] == made.module_bytes or not made.module_bytes
    assert [skip["what"] for skip in told["skipped"]] == [skip.what for skip in made.skipped]
    figures = {"seconds", "speedUp", "relativeError", "cosine", "bytes", "eagerCalls", "repacked"}
    assert set(told) >= {"applied", "extents", "breakdown", *figures}


def test_a_host_may_turn_it_off_to_compare(monkeypatch):
    module = Net()
    monkeypatch.setenv("FLAMBEAU_OPTIMIZE", "off")
    assert toolkit.optimize(module) is module
    assert "forward" not in vars(module)


def test_the_host_s_policy_of_builds_holds_where_the_app_names_none(monkeypatch):
    asked = []
    monkeypatch.setattr("flambeau.optimize.optimize", lambda module, **options: asked.append(options["builds"]) or module)
    toolkit.optimize(Net())
    monkeypatch.setenv("FLAMBEAU_OPTIMIZE_BUILDS", "background")
    toolkit.optimize(Net())
    toolkit.optimize(Net(), builds="never")
    assert asked == [None, "background", "never"]
