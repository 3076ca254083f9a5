"""Models that write into a cache which the program hands them: the same words, whatever the cache and the way to generate."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from flambeau.optimize.calls.capture import Footprint, apart, record
from flambeau.optimize.calls.guard import call_key, is_cached, parameters_of
from flambeau.optimize.calls.tree import NotPlainError, num_bytes
from flambeau.optimize.follow import Follower
from flambeau.optimize.leaf import int8_plan
from flambeau.optimize.leaf.int8 import int8_refusal
from flambeau.optimize.limits import Limits
from flambeau.optimize.registry import Registry
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

GENEROUS = Limits(min_gain=0, min_won=0, hopeless=0, max_pairs=1, min_pairs=1, sure_pairs=1, min_call_s=0)
SMALL = {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
EACH_LENGTH = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}


class OwnCache(transformers.DynamicCache):
    """A program's own kind of cache."""


def llama(**sizes: Any) -> nn.Module:
    torch.manual_seed(0)
    config = {**SMALL, **IDS, "num_key_value_heads": 2, **sizes}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()


def sliding() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.MistralConfig(**SMALL, **IDS, num_key_value_heads=2, sliding_window=6)
    return transformers.MistralForCausalLM(config).eval()


def encoder_decoder() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"d_model": 64, "d_ff": 96, "num_layers": 2, "num_heads": 4, "d_kv": 16}
    config = transformers.T5Config(vocab_size=100, **sizes, decoder_start_token_id=0, eos_token_id=2, pad_token_id=0)
    return transformers.T5ForConditionalGeneration(config).eval()


def encoder_within() -> nn.Module:
    """Its encoder is no direct part of it, so that it is called as a whole, with the encoder's output."""
    torch.manual_seed(0)
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96}
    config = transformers.BartConfig(vocab_size=100, d_model=64, encoder_layers=2, decoder_layers=2, **heads)
    return transformers.BartForConditionalGeneration(config).eval()


def recurrent() -> nn.Module:
    """Its cache is of one size, and written into in place."""
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=100, hidden_size=64, num_hidden_layers=2, **IDS)
    return transformers.MambaForCausalLM(config).eval()


def optimized(plain: nn.Module, quality: str = "lossless", limits: Limits = GENEROUS) -> tuple[Any, Registry]:
    fast, made = copy.deepcopy(plain), Registry(limits=limits)
    made.optimize(fast, quality=quality)
    return fast, made


def prompt(length: int = 5, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(3, 100, (batch, length), generator=torch.Generator().manual_seed(seed))


def words(model: Any, ids: Tensor, **how: Any) -> Tensor:
    torch.manual_seed(7)
    generated: Tensor = model.generate(ids, attention_mask=torch.ones_like(ids), **{**EACH_LENGTH, **how})
    return generated


def lengths(cache: Any) -> list[int]:
    return [layer.get_seq_length() for layer in cache.layers]


@pytest.mark.parametrize("model", [llama, sliding, encoder_decoder, encoder_within, recurrent])
@pytest.mark.parametrize(
    "how",
    [{}, {"num_beams": 3}, {"do_sample": True}, {"cache_implementation": "static"}, {"use_cache": False}, {"prompt_lookup_num_tokens": 2}],
    ids=str,
)
def test_a_model_generates_eagers_words(model: Callable[[], nn.Module], how: dict[str, Any]):
    plain = model()
    fast, made = optimized(plain)
    for seed, (length, batch) in enumerate([(5, 1), (9, 1), (6, 1 if "prompt_lookup_num_tokens" in how else 2), (5, 1)]):
        ids = prompt(length, batch, seed)
        try:
            expected = words(plain, ids, **how)
        except (ValueError, TypeError, AttributeError) as error:
            with pytest.raises(type(error)):
                words(fast, ids, **how)
            continue
        assert torch.equal(words(fast, ids, **how), expected), (length, batch)
        assert made.report(fast).state == "done", made.report(fast)


def test_the_prompt_and_each_word_after_it_run_fast_once_measured():
    fast, made = optimized(llama())
    for _ in range(2):
        words(fast, prompt())
    before = made.report(fast).eager_calls
    words(fast, prompt(6, seed=3), max_new_tokens=40, min_new_tokens=40)
    assert made.report(fast).eager_calls == before
    assert made.report(fast).applied


@pytest.mark.skipif(int8_refusal() is not None, reason="this build of torch computes no 8-bit layers")
def test_at_balanced_the_numbers_are_within_what_that_allows(monkeypatch):
    # Layers as small as these gain nothing, or little.
    monkeypatch.setattr(int8_plan, "_MIN_SAVING", -1e9)
    plain = llama()
    fast, made = optimized(plain, "balanced")
    with torch.no_grad():
        for seed in range(3):
            caches = [transformers.DynamicCache(config=model.config) for model in (fast, plain)]
            for step in range(6):
                ids = prompt(24 if step == 0 else 1, seed=10 * seed + step)
                got, expected = (m(ids, past_key_values=cache).logits for m, cache in zip((fast, plain), caches, strict=True))
                assert (got - expected).norm() <= 0.08 * expected.norm()
    assert "int8" in made.report(fast).applied, made.report(fast)
    assert not torch.equal(got, expected)


def test_measuring_leaves_the_programs_cache_as_eager_leaves_it():
    plain = llama()
    fast, _ = optimized(plain)
    for make in (transformers.DynamicCache, lambda: transformers.StaticCache(plain.config, max_cache_len=64)):
        caches = [make(), make()]
        with torch.no_grad():
            for step in range(8):
                ids = prompt(7 if step == 0 else 1, seed=step)
                for model, cache in zip((fast, plain), caches, strict=True):
                    model(ids, past_key_values=cache)
                assert lengths(caches[0]) == lengths(caches[1])
        for ours, eagers in zip(caches[0].layers, caches[1].layers, strict=True):
            assert torch.allclose(ours.keys, eagers.keys, atol=1e-5)
            assert torch.allclose(ours.values, eagers.values, atol=1e-5)


def test_a_cache_that_only_the_output_has_is_understood():
    plain = llama()
    fast, made = optimized(plain)
    with torch.no_grad():
        for seed in range(3):
            got, expected = fast(prompt(seed=seed)), plain(prompt(seed=seed))
    assert made.report(fast).state == "done"
    assert type(got.past_key_values) is type(expected.past_key_values)
    assert lengths(got.past_key_values) == lengths(expected.past_key_values)
    assert torch.allclose(got.logits, expected.logits, atol=1e-5)


def test_a_cache_of_a_programs_own_class_runs_eagerly_and_the_report_says_so():
    plain = llama()
    fast, made = optimized(plain)
    for _ in range(2):
        caches = [OwnCache(config=plain.config) for _ in range(2)]
        assert torch.equal(*(words(model, prompt(), past_key_values=cache) for model, cache in zip((fast, plain), caches, strict=True)))
    assert "past_key_values is a OwnCache" in made.report(fast).skipped[0].why


def test_such_a_cache_after_others_were_measured_is_counted():
    plain = llama()
    fast, made = optimized(plain)
    words(fast, prompt())
    caches = [OwnCache(config=plain.config) for _ in range(2)]
    assert torch.equal(*(words(model, prompt(), past_key_values=cache) for model, cache in zip((fast, plain), caches, strict=True)))
    counts = {counted.why: counted.count for counted in made.report(fast).eager_calls}
    assert sum(count for why, count in counts.items() if "OwnCache" in why) == EACH_LENGTH["max_new_tokens"]


def test_a_cache_that_moves_itself_to_another_device_is_not_copied():
    cache = transformers.DynamicCache(offloading=True)
    with pytest.raises(NotPlainError, match="prefetch_stream"):
        apart((), {"past_key_values": cache})


def test_a_cache_too_large_to_copy_is_run_eagerly():
    plain = llama()
    held = num_bytes(filled(plain, 64))
    fast, made = optimized(plain, limits=replace(GENEROUS, capture_bytes=held // 2))
    with torch.no_grad():
        made_fast = [fast(prompt(4), past_key_values=filled(plain, 2)).logits for _ in range(2)]
        for seed in range(4):
            got, expected = (m(prompt(1, seed=seed), past_key_values=filled(plain, 64)).logits for m in (fast, plain))
            assert torch.equal(got, expected)
    assert len(made_fast) == 2
    assert made.report(fast).state == "done"
    assert any("not measured" in counted.why for counted in made.report(fast).eager_calls)


def test_an_error_in_a_call_leaves_the_cache_as_eager_leaves_it():
    plain = llama()
    fast, _ = optimized(plain, limits=replace(GENEROUS, max_pairs=50, min_pairs=50, sure_pairs=50, pairs_s=0))
    caches = [transformers.DynamicCache(config=plain.config) for _ in range(2)]

    def refuse(*_: Any) -> None:
        raise KeyError("stop")

    with torch.no_grad():
        for step in range(12):
            for model, cache in zip((fast, plain), caches, strict=True):
                model(prompt(3 if step == 0 else 1, seed=step), past_key_values=cache)
                # The first layer has written into the cache by then.
                handle = model.model.layers[1].register_forward_pre_hook(refuse)
                with pytest.raises(KeyError):
                    model(prompt(1), past_key_values=cache)
                handle.remove()
            assert lengths(caches[0]) == lengths(caches[1])


def test_calls_with_a_cache_are_few_kinds_however_long_it_grows():
    model = llama()
    parameters = parameters_of(model)

    def key(num_new: int, past: int, batch: int = 1) -> Any:
        kwargs = {
            "input_ids": torch.zeros(batch, num_new, dtype=torch.int64),
            "attention_mask": torch.ones(batch, past + num_new, dtype=torch.int64),
            "past_key_values": filled(model, past, batch),
        }
        return call_key(parameters, (), kwargs, False)

    assert len({key(1, past) for past in range(1, 80)}) == 1
    assert len({key(length, 0) for length in range(1, 64)}) == 6
    assert len({key(1, 5), key(1, 5, batch=4), key(32, 5)}) == 3
    assert is_cached(key(1, 5))
    assert not is_cached(call_key(parameters, (torch.zeros(1, 5, dtype=torch.int64),), {}, False))


def test_a_package_never_takes_calls_with_a_cache():
    model = llama()
    key = call_key(parameters_of(model), (), {"past_key_values": filled(model, 2)}, False)
    session = SimpleNamespace(limits=GENEROUS, store=None, request=SimpleNamespace(quality="lossless"))
    kind = Follower(cast(Any, SimpleNamespace(owner=model, session=session))).kind(key)
    assert kind is not None
    assert kind.package == "none"


def test_a_recorded_call_is_not_changed_by_its_replays():
    model = llama()
    with torch.no_grad():
        args, kwargs = (prompt(1),), {"past_key_values": filled(model, 3)}
        call = record(parameters_of(model), args, kwargs, False)
        footprint = Footprint(model, call, args, kwargs)
        model(*args, **kwargs)
        assert footprint.change() is None
        logits = []
        for _ in range(2):
            own_args, own_kwargs = call.fresh
            logits.append(model(*own_args, **own_kwargs).logits)
    assert torch.equal(*logits)
    assert lengths(call.kwargs["past_key_values"]) == [3, 3]
    assert lengths(kwargs["past_key_values"]) == [4, 4]


def test_bfloat16_generates_words_within_its_own_rounding():
    plain = llama().to(torch.bfloat16)
    fast, made = optimized(plain)
    for seed in range(2):
        assert words(fast, prompt(seed=seed)).shape == words(plain, prompt(seed=seed)).shape
    assert made.report(fast).state in ("done", "unchanged")
    assert not [skip for skip in made.report(fast).skipped if "Error" in skip.why], made.report(fast)


def filled(model: Any, length: int, batch: int = 1) -> Any:
    """A cache that holds so many words."""
    cache = transformers.DynamicCache()
    heads, width = model.config.num_key_value_heads, model.config.hidden_size // model.config.num_attention_heads
    for index in range(model.config.num_hidden_layers):
        numbers = torch.randn(2, batch, heads, length, width, generator=torch.Generator().manual_seed(index))
        cache.update(numbers[0], numbers[1], index)
    return cache
