"""Encoders of transformers, called in every way that their programs call them, at lossless and at balanced."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from flambeau.optimize.leaf import int8_plan
from flambeau.optimize.leaf.int8 import int8_refusal
from flambeau.optimize.registry import Registry
from optimize_calls import GENEROUS
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

SMALL = {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LENGTH = 16
ALLOWED = {"lossless": 1e-4, "balanced": 8e-2}
QUALITIES = [
    "lossless",
    pytest.param("balanced", marks=pytest.mark.skipif(int8_refusal() is not None, reason="this build of torch computes no 8-bit layers")),
]


def bert() -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(**SMALL))


def clip() -> nn.Module:
    return transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**SMALL, **IDS, projection_dim=32))


def t5() -> nn.Module:
    config = transformers.T5Config(vocab_size=100, d_model=64, d_ff=96, num_layers=3, num_heads=4, d_kv=16)
    return transformers.T5EncoderModel(config)


def tokens(seed: int = 0, batch: int = 2, length: int = LENGTH) -> Tensor:
    return torch.randint(3, 100, (batch, length), generator=torch.Generator().manual_seed(seed))


def padded(dtype: torch.dtype = torch.int64, *, is_left: bool = False) -> Tensor:
    """The first row whole, of the second a part."""
    mask = torch.ones(2, LENGTH, dtype=dtype)
    mask[1, : LENGTH // 2] = 0
    return mask if is_left else mask.flip(1)


CALLS: dict[str, Any] = {
    "the call that was measured": lambda: {"input_ids": tokens(50)},
    "a mask over padding": lambda: {"input_ids": tokens(51), "attention_mask": padded()},
    "a mask on the left": lambda: {"input_ids": tokens(52), "attention_mask": padded(is_left=True)},
    "a mask of truth values": lambda: {"input_ids": tokens(53), "attention_mask": padded(torch.bool)},
    "a mask of floats": lambda: {"input_ids": tokens(54), "attention_mask": padded(torch.float32)},
    "a tuple": lambda: {"input_ids": tokens(55), "return_dict": False},
    "hidden states": lambda: {"input_ids": tokens(56), "output_hidden_states": True},
    "hidden states in a tuple": lambda: {"input_ids": tokens(57), "output_hidden_states": True, "return_dict": False},
    "attentions": lambda: {"input_ids": tokens(58), "output_attentions": True},
    "another length": lambda: {"input_ids": tokens(59, length=9)},
    "another batch": lambda: {"input_ids": tokens(60, batch=5)},
    "one token": lambda: {"input_ids": tokens(61, batch=1, length=1)},
    "int32 tokens": lambda: {"input_ids": tokens(62).int()},
    "tokens of a wrong type": lambda: {"input_ids": tokens(63).float()},
    "a token that is none": lambda: {"input_ids": tokens(64) + 1000},
    "embeddings instead": lambda: {"inputs_embeds": torch.randn(2, LENGTH, 64, generator=torch.Generator().manual_seed(65))},
    "nothing at all": lambda: {},
}


@pytest.fixture(scope="module", params=QUALITIES)
def quality(request):
    with pytest.MonkeyPatch.context() as patch:
        # Layers as small as these gain nothing, or little.
        patch.setattr(int8_plan, "_MIN_SAVING", -1e9)
        yield request.param


@pytest.fixture(scope="module", params=[bert, clip, t5], ids=lambda make: make.__name__)
def models(request, quality):
    torch.manual_seed(0)
    plain = request.param().eval()
    fast, made = copy.deepcopy(plain), Registry(limits=GENEROUS)
    made.optimize(fast, quality=quality)
    with torch.no_grad():
        for seed in range(3):
            fast(input_ids=tokens(seed))
    report = made.report(fast)
    assert ("int8" in report.applied) is (quality == "balanced"), report
    assert report.applied
    return plain, fast, made


def outcome(model: Any, kwargs: dict[str, Any]) -> Any:
    try:
        with torch.no_grad():
            return model(**kwargs)
    except Exception as error:
        return type(error), str(error)


def flat(value: Any, path: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor with where it sits."""
    if isinstance(value, Tensor):
        return [(path, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return [found for key, item in items for found in flat(item, f"{path}[{key}]")]


@pytest.mark.parametrize("how", list(CALLS))
def test_an_encoder_gives_what_eager_gives(models, quality, how):
    plain, fast, made = models
    # A kind of call is tried at its second call, and runs fast from the third on.
    for _ in range(4):
        expected, got = outcome(plain, CALLS[how]()), outcome(fast, CALLS[how]())
        assert type(got) is type(expected)
        if isinstance(expected, tuple) and isinstance(expected[0], type):
            assert got == expected
            continue
        ours, eagers = flat(got), flat(expected)
        assert [path for path, _ in ours] == [path for path, _ in eagers]
        assert eagers
        for (path, a), (_, b) in zip(ours, eagers, strict=True):
            assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride()), path
            assert (a - b).norm() <= ALLOWED[quality] * b.norm(), path
    assert made.report(fast).state == "done"


def test_calls_like_the_measured_one_stay_fast(models):
    plain, fast, made = models
    before = sum(counted.count for counted in made.report(fast).eager_calls)
    for seed in range(3):
        outcome(fast, {"input_ids": tokens(seed + 100)})
    assert sum(counted.count for counted in made.report(fast).eager_calls) == before
    assert outcome(plain, {"input_ids": tokens(100)})[0].shape == outcome(fast, {"input_ids": tokens(100)})[0].shape


def test_moved_to_another_dtype_and_back_it_does_what_eager_does(models, quality):
    plain, fast, _ = models
    twin = copy.deepcopy(plain)
    for dtype in (torch.bfloat16, torch.float64):
        for model in (fast, twin):
            model.to(dtype)
        got, expected = (flat(outcome(model, {"input_ids": tokens(7)})) for model in (fast, twin))
        assert len(got) == len(expected) > 0
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(got, expected, strict=True)), dtype
    fast.to(torch.float32).load_state_dict(plain.state_dict())
    got, expected = (flat(outcome(model, {"input_ids": tokens(8)})) for model in (fast, plain))
    assert all((a - b).norm() <= ALLOWED[quality] * b.norm() for (_, a), (_, b) in zip(got, expected, strict=True))


def test_in_training_it_drops_as_eager_does_and_learns(models):
    plain, fast, _ = models
    losses = []
    for model in (plain, fast):
        model.train()
        torch.manual_seed(3)
        loss = model(input_ids=tokens(9))[0].float().square().mean()
        loss.backward()
        losses.append((float(loss), sum(float(p.grad.norm()) for p in model.parameters() if p.grad is not None)))
        model.zero_grad()
        model.eval()
    assert losses[0] == losses[1]
