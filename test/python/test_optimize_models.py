"""Models of diffusers and transformers of every make, small and with random weights: the same results, and still what they were."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from flambeau.optimize.limits import Limits
from flambeau.optimize.registry import Registry
from torch import Tensor, nn

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

GENEROUS = Limits(min_gain=0, min_won=0, hopeless=0, max_pairs=1, min_pairs=1, sure_pairs=1, min_call_s=0)
SMALL = {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

Call = Callable[[Any], Any]


def tokens(length: int = 16) -> Tensor:
    return torch.randint(3, 100, (2, length))


def clip() -> tuple[nn.Module, Call]:
    model = transformers.CLIPTextModel(transformers.CLIPTextConfig(**SMALL, **IDS))
    return model, lambda m: m(tokens())


def bert() -> tuple[nn.Module, Call]:
    model = transformers.BertModel(transformers.BertConfig(**SMALL))
    return model, lambda m: m(input_ids=tokens(), attention_mask=torch.ones(2, 16, dtype=torch.int64))


def t5() -> tuple[nn.Module, Call]:
    config = transformers.T5Config(vocab_size=100, d_model=64, d_ff=96, num_layers=2, num_heads=4, d_kv=16)
    return transformers.T5EncoderModel(config), lambda m: m(input_ids=tokens())


def vit() -> tuple[nn.Module, Call]:
    config = transformers.ViTConfig(**{**SMALL, "image_size": 32, "patch_size": 8})
    return transformers.ViTModel(config), lambda m: m(torch.randn(2, 3, 32, 32))


def language_model() -> tuple[nn.Module, Call]:
    config = transformers.LlamaConfig(**SMALL, **IDS, num_key_value_heads=2)
    return transformers.LlamaForCausalLM(config), lambda m: m(tokens(), use_cache=False)


def mixture_of_experts() -> tuple[nn.Module, Call]:
    config = transformers.MixtralConfig(**SMALL, **IDS, num_key_value_heads=2, num_local_experts=4)
    return transformers.MixtralForCausalLM(config), lambda m: m(tokens(), use_cache=False)


def unet() -> tuple[nn.Module, Call]:
    kinds = {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}
    model = diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=32, norm_num_groups=8, **kinds
    )
    return model, lambda m: m(torch.randn(2, 4, 8, 8), torch.tensor(3.0), encoder_hidden_states=torch.randn(2, 6, 32), return_dict=False)


def controlnet() -> tuple[nn.Module, Call]:
    sizes = {"block_out_channels": (16, 32), "layers_per_block": 1, "cross_attention_dim": 32, "norm_num_groups": 8}
    kinds = {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "conditioning_embedding_out_channels": (16, 32)}
    model = diffusers.ControlNetModel(**sizes, **kinds)
    return model, lambda m: m(torch.randn(1, 4, 8, 8), torch.tensor(3.0), torch.randn(1, 6, 32), torch.randn(1, 3, 16, 16))


def flux() -> tuple[nn.Module, Call]:
    sizes = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2}
    model = diffusers.FluxTransformer2DModel(
        in_channels=16, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), **sizes
    )
    text = {"encoder_hidden_states": torch.randn(1, 8, 32), "pooled_projections": torch.randn(1, 32), "txt_ids": torch.zeros(8, 3)}
    return model, lambda m: m(torch.randn(1, 16, 16), timestep=torch.tensor([0.5]), img_ids=torch.zeros(16, 3), **text)


def sd3() -> tuple[nn.Module, Call]:
    sizes = {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "caption_projection_dim": 32}
    model = diffusers.SD3Transformer2DModel(
        sample_size=16, in_channels=4, out_channels=4, joint_attention_dim=32, pooled_projection_dim=32, **sizes
    )
    text = {"encoder_hidden_states": torch.randn(1, 8, 32), "pooled_projections": torch.randn(1, 32)}
    return model, lambda m: m(torch.randn(1, 4, 16, 16), timestep=torch.tensor([500.0]), **text)


def video() -> tuple[nn.Module, Call]:
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "text_dim": 16, "freq_dim": 32, "ffn_dim": 32, "num_layers": 2}
    model = diffusers.WanTransformer3DModel(patch_size=(1, 2, 2), in_channels=4, out_channels=4, rope_max_seq_len=32, **sizes)
    return model, lambda m: m(torch.randn(1, 4, 2, 8, 8), torch.tensor([3]), torch.randn(1, 6, 16))


def autoencoder() -> tuple[nn.Module, Call]:
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    model = diffusers.AutoencoderKL(block_out_channels=(16, 32), norm_num_groups=8, sample_size=32, **kinds)
    return model, lambda m: m.decode(torch.randn(2, 4, 8, 8))


MODELS = [clip, bert, t5, vit, language_model, mixture_of_experts, unet, controlnet, flux, sd3, video, autoencoder]


def tensors(value: Any) -> list[Tensor]:
    """Of any output of these libraries."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in tensors(item)]


def outputs(model: nn.Module, call: Call, seed: int = 5) -> list[Tensor]:
    torch.manual_seed(seed)
    with torch.no_grad():
        return tensors(call(model))


def are_near(got: list[Tensor], expected: list[Tensor]) -> bool:
    return len(got) == len(expected) > 0 and all(
        a.shape == b.shape and a.dtype == b.dtype and a.stride() == b.stride() and bool((a - b).norm() <= 1e-4 * b.norm())
        for a, b in zip(got, expected, strict=True)
    )


def made_fast(model: nn.Module, call: Call) -> Registry:
    made = Registry(limits=GENEROUS)
    made.optimize(model, quality="lossless")
    for seed in range(5):
        outputs(model, call, seed)
    return made


@pytest.fixture(scope="module", params=MODELS, ids=lambda make: make.__name__)
def optimized(request):
    torch.manual_seed(1)
    plain, call = request.param()
    plain.eval()
    fast = copy.deepcopy(plain)
    return plain, fast, made_fast(fast, call), call


def test_it_is_made_faster_and_computes_the_same(optimized):
    plain, fast, made, call = optimized
    report = made.report(fast)
    assert report.applied, report
    assert are_near(outputs(fast, call), outputs(plain, call))
    assert report.eager_calls == ()


def test_copies_pickles_and_saved_folders_of_it_are_plain(optimized, tmp_path):
    plain, fast, _, call = optimized
    expected = outputs(plain, call)
    file = io.BytesIO()
    torch.save(fast, file)
    assert b"flambeau" not in file.getvalue()
    file.seek(0)
    fast.save_pretrained(tmp_path)
    for twin in (copy.deepcopy(fast), torch.load(file, weights_only=False), type(plain).from_pretrained(tmp_path)):
        twin.eval()
        # Weights in a mapped file lie differently in memory, for which eager itself rounds differently.
        assert are_near(outputs(twin, call), expected)
        assert all(torch.equal(value, plain.state_dict()[name]) for name, value in twin.state_dict().items())
        assert list(twin.state_dict()) == list(plain.state_dict())
        assert type(twin.config) is type(plain.config)


def test_moved_to_another_dtype_and_back_it_does_what_eager_does(optimized):
    plain, fast, _, call = optimized
    twin = copy.deepcopy(plain).to(torch.bfloat16)
    fast.to(torch.bfloat16)
    assert attempt(fast, call) == attempt(twin, call)
    fast.to(torch.float32).load_state_dict(plain.state_dict())
    assert are_near(outputs(fast, call), outputs(plain, call))


def attempt(model: nn.Module, call: Call) -> Any:
    """The outputs' numbers, or the error: not every model takes inputs of another dtype than its own."""
    try:
        return [tensor.tolist() for tensor in outputs(model, call)]
    except RuntimeError as error:
        return str(error)


def test_hooks_of_it_and_of_its_layers_run_once_a_call(optimized):
    _, fast, _, call = optimized
    counts = {"root": 0, "layer": 0}

    def count(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            counts[name] += 1

        return hook

    runs = fast.decoder if isinstance(fast, diffusers.AutoencoderKL) else fast
    layer = next(part for part in runs.modules() if isinstance(part, (nn.Conv2d, nn.Linear)))
    handles = [runs.register_forward_hook(count("root")), layer.register_forward_pre_hook(count("layer"))]
    outputs(fast, call)
    for handle in handles:
        handle.remove()
    assert counts["root"] == 1
    assert counts["layer"] >= 1


def test_slices_and_tiles_of_an_autoencoder_are_as_without():
    plain, call = autoencoder()
    plain.eval()
    fast = copy.deepcopy(plain)
    made_fast(fast, call)
    latents = torch.randn(2, 4, 24, 24)
    for switch in ("slicing", "tiling"):
        results = []
        for model in (fast, plain):
            getattr(model, f"enable_{switch}")()
            with torch.no_grad():
                results.append(tensors(model.decode(latents, return_dict=False)))
            getattr(model, f"disable_{switch}")()
        assert are_near(*results), switch
