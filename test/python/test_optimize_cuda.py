"""What CUDA's rows put around a module, on a CPU: everything but the recording of launches itself, which `rerun` stands in for."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from flambeau.optimize.applied import Kept
from flambeau.optimize.calls import tree
from flambeau.optimize.candidates import LayerKernels
from flambeau.optimize.cuda.around import AppliedCopies, Around
from flambeau.optimize.cuda.contexts import Attention
from flambeau.optimize.cuda.copies import CopiedConv
from flambeau.optimize.cuda.graphs import CudaGraphs
from flambeau.optimize.cuda.replay import Replay
from flambeau.optimize.cuda.twin import Sixteen
from flambeau.optimize.leaf.layers import Layers
from optimize_nets import GENEROUS, Chosen, Clock, Denoiser, Net, image, registry
from optimize_recording import Rerun
from torch import nn


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


class Heads(nn.Module):
    """An attention as transformers have it, behind a norm."""

    def __init__(self):
        super().__init__()
        self.attention = SelfAttention()
        self.norm = nn.LayerNorm(32)

    def forward(self, x, scale=1.0, return_dict=False):
        output = self.attention(self.norm(x)) * scale
        return {"sample": output} if return_dict else (output,)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def tokens(seed=0, length=16):
    return torch.randn(2, length, 32, generator=torch.Generator().manual_seed(seed))


def heads():
    torch.manual_seed(0)
    return Heads().eval()


def graphs(module):
    """A module with the row enabled, and what stands in for CUDA."""
    rerun, layers = Rerun(), Layers(module)
    applied = CudaGraphs(needs=lambda: None, record=lambda: rerun).recall(layers, torch.device("cpu"), Kept())
    applied.enable()
    return layers, rerun, applied


def fast(layers, *args, **kwargs):
    with layers.switch.set(True):
        return layers.owner(*args, **kwargs)


def test_a_call_is_recorded_once_and_done_again_for_other_inputs():
    module = heads()
    layers, rerun, _ = graphs(module)
    for seed in range(4):
        x = tokens(seed)
        (got,) = fast(layers, x)
        assert torch.equal(got, module(x)[0])
    assert (rerun.num_recorded, rerun.num_again) == (1, 4)
    assert not layers.failures


def test_outputs_are_in_memory_of_their_own():
    layers, _, _ = graphs(heads())
    (first,) = fast(layers, tokens(0))
    before = first.clone()
    fast(layers, tokens(1))
    assert torch.equal(first, before)


def test_other_shapes_and_other_plain_values_are_recorded_apart():
    module = heads()
    layers, rerun, _ = graphs(module)
    for _ in range(2):
        for call in ({"x": tokens()}, {"x": tokens(length=8)}, {"x": tokens(), "scale": 2.0}, {"x": tokens(), "return_dict": True}):
            assert all(torch.equal(a, b) for a, b in zip(tree.tensors(fast(layers, **call)), tree.tensors(module(**call)), strict=True))
    assert rerun.num_recorded == 4


def test_no_more_recordings_are_held_than_the_limit_says():
    module = heads()
    layers, rerun, _ = graphs(module)
    for length in range(1, 20):
        fast(layers, tokens(length=length))
    fast(layers, tokens(length=19))
    fast(layers, tokens(length=1))
    assert rerun.num_recorded == 20
    way = Around.of(layers).ways[0]
    assert len(way._entries) == 8


def test_nothing_runs_while_the_switch_is_off():
    module = heads()
    _, rerun, _ = graphs(module)
    module(tokens())
    assert rerun.num_recorded == 0


def test_what_cannot_be_recorded_runs_as_before_is_said_once_and_not_tried_again():
    module = heads()
    layers, rerun, _ = graphs(module)
    rerun.fails = True
    for seed in range(3):
        assert torch.equal(fast(layers, tokens(seed))[0], module(tokens(seed))[0])
    assert layers.failures == ["Heads: ValueError: it cannot be recorded"]


def test_a_cancel_while_it_is_recorded_goes_through_and_the_next_call_records():
    class Cancel(BaseException):
        pass

    module = heads()
    layers, rerun, _ = graphs(module)
    handle = module.attention.qkv.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(Cancel()))
    with pytest.raises(Cancel):
        fast(layers, tokens())
    handle.remove()
    rerun.cancel = Cancel()
    with pytest.raises(Cancel):
        fast(layers, tokens())
    rerun.cancel = None
    assert torch.equal(fast(layers, tokens())[0], module(tokens())[0])
    assert (rerun.num_recorded, layers.failures) == (1, [])


def test_an_edited_weight_is_seen_and_recorded_again_after_a_while():
    module = heads()
    layers, rerun, _ = graphs(module)
    fast(layers, tokens())
    for round_ in range(1, 4):
        module.norm.weight.mul_(1.5)
        for seed in range(2**round_ + 1):
            assert torch.equal(fast(layers, tokens(seed))[0], module(tokens(seed))[0])
        assert rerun.num_recorded == 1 + round_


def test_a_replaced_part_is_seen():
    module = heads()
    layers, _, _ = graphs(module)
    fast(layers, tokens())
    module.attention = SelfAttention().eval()
    assert torch.equal(fast(layers, tokens())[0], module(tokens())[0])


def test_hooks_on_parts_run():
    module = heads()
    layers, rerun, _ = graphs(module)
    fast(layers, tokens())
    seen = []
    handle = module.attention.register_forward_hook(lambda *_: seen.append(1))
    fast(layers, tokens())
    assert seen == [1]
    handle.remove()
    fast(layers, tokens())
    assert (seen, rerun.num_recorded) == ([1], 1)


def test_a_call_at_fault_raises_what_it_raised_and_everything_stays():
    module = heads()
    layers, _, _ = graphs(module)
    fast(layers, tokens())
    with pytest.raises(RuntimeError):
        fast(layers, tokens()[..., :31])
    assert not layers.failures
    assert Around.of(layers).ways


def test_disabling_leaves_the_module_as_it_came():
    module = heads()
    names = set(vars(module))
    layers, _, applied = graphs(module)
    fast(layers, tokens())
    applied.disable()
    assert set(vars(module)) == names
    applied.enable()
    applied.enable()
    applied.disable()
    assert set(vars(module)) == names


def test_copies_and_pickles_are_plain():
    module = heads()
    layers, rerun, _ = graphs(module)
    fast(layers, tokens())
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(tokens())[0], module(tokens())[0])
        twin.norm.weight.zero_()
        assert not torch.equal(twin(tokens())[0], module(tokens())[0])
    assert rerun.num_again == 1


def test_recordings_made_in_inference_mode_serve_outside_of_it():
    module = heads()
    layers, rerun, _ = graphs(module)
    with torch.inference_mode():
        fast(layers, tokens())
    assert torch.equal(fast(layers, tokens(1))[0], module(tokens(1))[0])
    with torch.inference_mode():
        assert torch.equal(fast(layers, tokens(2))[0], module(tokens(2))[0])
    assert rerun.num_recorded == 1


def test_inputs_on_two_devices_are_refused():
    with pytest.raises(ValueError, match="2 devices"):
        Replay((image(), torch.empty((), device="meta")), lambda tensors: tensors, Rerun())


def operators(run):
    with torch.profiler.profile() as profile:
        run()
    return Counter(event.key for event in profile.key_averages())


@pytest.mark.parametrize(("backend", "expected"), [("FLASH_ATTENTION", "flash"), ("MATH", "math")])
def test_attention_is_by_the_backend_that_a_row_names(backend, expected):
    module = heads()
    layers = Layers(module)
    row = Attention(name="x", backend=backend, others=())
    assert row.capability(layers, torch.device("cpu")) is None
    applied = row.recall(layers, torch.device("cpu"), Kept())
    applied.enable()
    found = operators(lambda: fast(layers, tokens()))
    assert [key for key in found if expected in key and "attention" in key], found
    assert torch.allclose(fast(layers, tokens())[0], module(tokens())[0], atol=1e-5)
    assert [key for key in operators(lambda: module(tokens())) if "flash" in key]


def test_of_two_rows_for_attention_the_last_counts_and_takes_the_other_with_it():
    module = heads()
    layers, device = Layers(module), torch.device("cpu")
    math, flash = (Attention(name=name, backend=name, others=()).recall(layers, device, Kept()) for name in ("MATH", "FLASH_ATTENTION"))
    math.enable()
    flash.enable()
    assert flash.supersedes_(math)
    assert [key for key in operators(lambda: fast(layers, tokens())) if "flash" in key]
    flash.disable()
    assert "forward" not in vars(module)


def test_a_module_without_attention_is_told_so():
    assert "no attention" in str(Attention(name="x", backend="MATH").capability(Layers(Net()), torch.device("cpu")))


def sixteen(module, dtype=torch.bfloat16):
    layers = Layers(module)
    row = Sixteen(dtype_of=lambda _: dtype)
    assert row.capability(layers, torch.device("cpu")) is None
    row.recall(layers, torch.device("cpu"), Kept()).enable()
    return layers


def near(a, b, error=2e-2):
    return bool((a - b).norm() <= error * b.norm()) and a.dtype == b.dtype


def test_a_module_in_float32_is_computed_in_16_bits_between_casts():
    module = Denoiser().eval()
    layers = sixteen(module)
    got = fast(layers, image(), torch.tensor(981.0))["sample"]
    expected = module(image(), torch.tensor(981.0))["sample"]
    assert near(got, expected)
    assert not torch.equal(got, expected)
    assert all(p.dtype == torch.float32 for p in module.parameters())


def test_a_module_in_16_bits_is_left_alone():
    why = Sixteen(dtype_of=lambda _: torch.bfloat16).capability(Layers(Net().bfloat16()), torch.device("cpu"))
    assert "float32" in str(why)


def test_numbers_that_leave_the_range_of_float16_are_computed_in_float32():
    module = Net().eval()
    module.head.weight.mul_(1e6)
    layers = sixteen(module, torch.float16)
    assert torch.equal(fast(layers, image()), module(image()))
    module.head.weight.mul_(1e-6)
    assert near(fast(layers, image()), module(image()))


def test_the_copy_follows_a_pipeline_that_narrows_and_widens_the_module_and_recordings_of_it_stay():
    """As diffusers' SDXL pipeline does with a VAE for every picture."""
    module = Net().eval().half().float()
    layers = sixteen(module)
    rerun = Rerun()
    CudaGraphs(needs=lambda: None, record=lambda: rerun).recall(layers, torch.device("cpu"), Kept()).enable()
    for seed in range(4):
        module.half()
        if seed == 2:
            module.head.weight.mul_(2)
        module.float()
        assert near(fast(layers, image(seed)), module(image(seed)))
    assert rerun.num_recorded == 1


def test_the_copy_is_made_anew_of_a_module_with_other_parts():
    module = Net().eval()
    layers = sixteen(module)
    fast(layers, image())
    module.head = nn.Linear(8, 5)
    assert fast(layers, image()).shape[-1] == 5


def test_rows_are_raced_and_reported_with_others_recorded_inside():
    """The real registry on rows of the real table, with a clock on which nothing is slower."""
    module, rerun = Denoiser().eval(), Rerun()
    rows = (
        Sixteen(dtype_of=lambda _: torch.bfloat16),
        CudaGraphs(needs=lambda: None, record=lambda: rerun),
    )
    made = registry(*rows, clock=Clock(), **GENEROUS)
    plain = copy.deepcopy(module)
    made.optimize(module)
    for step in range(6):
        assert near(module(image(step), torch.tensor(900.0 - step))["sample"], plain(image(step), torch.tensor(900.0 - step))["sample"])
    report = made.report(module)
    assert report.applied == ("sixteen_bits", "cuda_graph"), report
    recorded = rerun.num_recorded
    again = rerun.num_again
    module(image(9), torch.tensor(9.0))
    assert (rerun.num_recorded, rerun.num_again) == (recorded, again + 1)
    names = set(vars(module))
    made.restore(module)
    assert set(vars(module)) == names - {"forward"}
    assert torch.equal(module(image(), torch.tensor(1.0))["sample"], plain(image(), torch.tensor(1.0))["sample"])


def test_a_fresh_process_has_them_again_from_the_store(tmp_path):
    for round_ in range(2):
        torch.manual_seed(0)
        module = Denoiser().eval()
        made = registry(CudaGraphs(needs=lambda: None, record=Rerun), clock=Clock(), **GENEROUS)
        made.optimize(module, store=tmp_path / "store")
        for step in range(4 if round_ == 0 else 1):
            module(image(step), torch.tensor(900.0 - step))
        assert made.report(module).applied == ("cuda_graph",), made.report(module)


def test_a_row_that_cannot_record_leaves_what_was_accepted_before_it():
    module, rerun = Denoiser().eval(), Rerun()
    rerun.fails = True
    made = registry(
        Sixteen(dtype_of=lambda _: torch.bfloat16), CudaGraphs(needs=lambda: None, record=lambda: rerun), clock=Clock(), **GENEROUS
    )
    made.optimize(module)
    for step in range(5):
        module(image(step), torch.tensor(900.0))
    report = made.report(module)
    assert report.applied == ("sixteen_bits",)
    assert "it cannot be recorded" in str(report.skipped)


def test_rows_that_are_raced_and_lose_leave_recordings_as_they_were():
    module, rerun = Denoiser().eval(), Rerun()
    row = {"quality": "lossless", "kernels": {nn.Conv2d: CopiedConv}, "applied": AppliedCopies}
    copies = [LayerKernels(name=f"copies {index}", **row) for index in range(4)]
    accepted = CudaGraphs(needs=lambda: None, record=lambda: rerun)
    clock = Clock()
    made = registry(Chosen(row=accepted, clock=clock), *copies, clock=clock, min_call_s=0)
    made.optimize(module)
    module.clock = clock
    for step in range(5):
        module(image(step), torch.tensor(900.0))
    report = made.report(module)
    assert report.applied == ("cuda_graph",), report
    # One of the module alone, and one with each row's kernels.
    assert rerun.num_recorded == 5
    module(image(), torch.tensor(900.0))
    assert rerun.num_recorded == 5
    assert Around.of(made._plan(module)._targets[0].layers) is not None


def test_a_cache_that_a_call_writes_into_is_neither_recorded_nor_narrowed():
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.cache_utils import DynamicCache

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=50, num_key_value_heads=4, **sizes)).eval()
    layers, rerun, _ = graphs(model)
    Sixteen(dtype_of=lambda _: torch.bfloat16).recall(layers, torch.device("cpu"), Kept()).enable()
    cache, plain = DynamicCache(), DynamicCache()
    for step in range(3):
        ids = torch.tensor([[step + 1]])
        got = fast(layers, ids, past_key_values=cache, use_cache=True).logits
        assert torch.equal(got, model(ids, past_key_values=plain, use_cache=True).logits)
    assert cache.get_seq_length() == 3
    assert rerun.num_recorded == 0
