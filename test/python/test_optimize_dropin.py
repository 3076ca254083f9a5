"""An optimized module is the module it was: copies, pickles, state, hooks, signature, and back again bit for bit."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import io
import pickle
import weakref

import pytest
import torch
from flambeau.optimize import optimize, report, restore
from optimize_nets import Autoencoder, Bending, Clock, Net, accepted, image, registry
from torch import nn


def outputs(module: nn.Module, side: int = 8) -> torch.Tensor:
    with torch.no_grad():
        return module(image(side=side))


def eager_copy(module: Net) -> Net:
    plain = Net().eval()
    plain.load_state_dict(module.state_dict())
    return plain


def test_type_keys_parameters_and_signature_stay():
    plain = Net()
    keys, parameters = list(plain.state_dict()), list(plain.parameters())
    signature = inspect.signature(plain.forward)
    assert optimize(plain) is plain
    assert type(plain) is Net
    assert list(plain.state_dict()) == keys
    assert all(a is b for a, b in zip(plain.parameters(), parameters, strict=True))
    assert inspect.signature(plain.forward) == signature
    assert plain.forward.__name__ == "forward"
    assert plain.forward.__self__ is plain


@pytest.mark.parametrize("when", ["waiting", "done"])
def test_a_deep_copy_is_plain_and_computes_with_its_own_weights(when):
    module = optimize(Net().eval()) if when == "waiting" else accepted()[0]
    twin = copy.deepcopy(module)
    assert not [type(part.__dict__["forward"]) for part in twin.modules() if type(part.__dict__.get("forward")).__module__ != "builtins"][
        1:
    ]
    assert torch.equal(outputs(twin), outputs(eager_copy(module)))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert outputs(twin).count_nonzero() == 0
    assert outputs(module).count_nonzero() > 0
    assert report(twin).state == "unchanged"


def test_a_copy_of_a_copy_and_a_pickle_of_a_copy_work():
    twin = copy.deepcopy(copy.deepcopy(accepted()[0]))
    again = pickle.loads(pickle.dumps(twin))
    assert torch.equal(outputs(again), outputs(twin))


@pytest.mark.parametrize("when", ["waiting", "done"])
def test_a_saved_module_loads_as_a_plain_one(when):
    module = optimize(Net().eval()) if when == "waiting" else accepted()[0]
    file = io.BytesIO()
    torch.save(module, file)
    assert b"flambeau" not in file.getvalue()
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(outputs(loaded), outputs(eager_copy(module)))
    with torch.no_grad():
        loaded.head.weight.zero_()
        loaded.head.bias.zero_()
    assert outputs(loaded).count_nonzero() == 0
    assert outputs(module).count_nonzero() > 0


def test_pickling_the_forward_alone_works():
    module = accepted()[0]
    loaded = pickle.loads(pickle.dumps(module.forward))
    with torch.no_grad():
        assert torch.allclose(loaded(image()), module(image()), atol=1e-5)


@pytest.mark.parametrize("row", ["channels_last", "packed_convs", "packed_linears"])
def test_restore_leaves_nothing_behind(row):
    module, made = accepted(row)
    reference = eager_copy(module)
    names = set(vars(module))
    assert made.restore(module) is module
    assert made.report(module).state == "restored"
    assert set(vars(module)) == names - {"forward"}
    assert not [part for part in module.modules() if "forward" in part.__dict__]
    assert torch.equal(outputs(module), outputs(reference))
    assert [p.stride() for p in module.parameters()] == [p.stride() for p in reference.parameters()]


def test_a_forward_that_was_replaced_before_is_kept_and_comes_back():
    module = Net().eval()
    plain = outputs(module)
    module.forward = functools.partial(Net.forward, module)
    made = registry(Bending(), clock=Clock())
    made.optimize(module)
    assert torch.equal(outputs(module), plain)
    made.restore(module)
    assert isinstance(module.__dict__["forward"], functools.partial)


def test_a_forward_that_was_wrapped_afterwards_keeps_working_after_restore():
    module = Net().eval()
    made = registry(Bending(), clock=Clock())
    made.optimize(module)
    inner = module.forward
    module.forward = lambda x: inner(x) + 1
    plain = outputs(eager_copy(module))
    assert torch.equal(outputs(module), plain + 1)
    made.restore(module)
    assert torch.equal(outputs(module), plain + 1)


def test_optimizing_twice_and_again_after_restore_is_harmless():
    module, made = accepted()
    shell = module.forward
    assert made.optimize(module) is module
    assert module.forward is shell
    made.restore(module)
    made.restore(module)
    made.optimize(module)
    assert made.report(module).state == "waiting"
    outputs(module)
    assert made.report(module).state == "done"


def test_two_optimized_modules_that_contain_each_other_are_both_restored():
    vae, clock = Autoencoder(Clock()).eval(), Clock()
    made = registry(Bending(), clock=clock)
    made.optimize(vae)
    made.optimize(vae.decoder)
    made.restore(vae)
    made.restore(vae.decoder)
    assert not [part for part in vae.modules() if "forward" in part.__dict__]


def test_hooks_of_the_module_run_once_a_call():
    module, clock = Net().eval(), Clock()
    module.clock = clock
    made = registry(Bending(), clock=clock)
    seen: list[torch.Tensor] = []
    module.register_forward_hook(lambda owner, args, output: seen.append(output))
    made.optimize(module)
    for _ in range(3):
        outputs(module)
    assert len(seen) == 3
    assert made.report(module).state == "done"


def test_moving_to_another_dtype_works_and_runs_eagerly():
    module, made = accepted()
    module.double()
    with torch.no_grad():
        assert module(image().double()).dtype == torch.float64
    module.float()
    assert torch.allclose(outputs(module), outputs(eager_copy(module)), atol=1e-5)
    assert "float64" in made.report(module).eager_calls[0].why


def test_outputs_keep_the_strides_that_eager_gives():
    class Image(Net):
        def forward(self, x):
            super().forward(x)
            return self.conv(x)

    module, made = accepted("channels_last", Image)
    assert outputs(module).stride() == outputs(module.__class__().eval()).stride()
    assert made.report(module).eager_calls == ()
    with torch.inference_mode():
        assert module(image()).is_contiguous()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torch_can_export_trace_and_transform_an_optimized_module():
    module, _ = accepted()
    plain = eager_copy(module)
    images = image(batch=2)[:, None]
    with torch.no_grad():
        exported = torch.export.export(module, (image(),), strict=False).module()
        traced = torch.jit.trace(module, (image(),), check_trace=False)
        assert torch.equal(exported(image()), plain(image()))
        assert torch.equal(traced(image()), plain(image()))
        assert torch.equal(torch.func.vmap(module)(images), torch.func.vmap(plain)(images))


def test_an_optimized_module_is_freed_with_its_last_reference():
    module, _ = accepted()
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None


def test_restore_of_what_was_never_optimized_does_nothing():
    module = Net()
    assert restore(module) is module
    assert "forward" not in vars(module)
    assert restore(5) == 5


def test_a_module_that_stays_eager_for_good_gets_its_own_forward_back_and_keeps_its_report():
    module, clock = Net().eval(), Clock()
    module.clock, module.cost_s = clock, 1e-4
    made = registry(Bending(), clock=clock)
    made.optimize(module)
    outputs(module)
    assert "forward" not in vars(module)
    assert "too short to gain" in made.report(module).skipped[0].why
    made.optimize(module)
    assert "forward" not in vars(module)
    made.restore(module)
    assert made.report(module).state == "restored"
    made.optimize(module)
    assert made.report(module).state == "waiting"


def test_another_quality_looks_again_at_a_module_that_stayed_eager():
    module, clock = Net().eval(), Clock()
    module.clock, module.cost_s = clock, 4e-3
    made = registry(Bending(cost_s=2e-3, error=0.08), clock=clock)
    made.optimize(module)
    outputs(module)
    assert made.report(module).state == "unchanged"
    made.optimize(module, quality="fast")
    outputs(module)
    assert made.report(module).applied == ("bending",)
