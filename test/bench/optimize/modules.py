"""The modules of the benchmark, with the calls that programs make of them. Weights are random (seeded) but for the bundled model's.

Knows diffusers and transformers, nothing of how a module is made faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

BUNDLED: Final = Path(__file__).parents[3] / "python" / "models" / "tiny-sdxl"

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A module, the call that a program makes of it, and inputs for that call by seed."""

    module: nn.Module
    call: Callable[..., Any]
    inputs: Callable[[int], Inputs]


class Positional(nn.Module):
    """A case as exporters want it: tensors in, one tensor or a tuple of them out."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.module = case.module
        self._call = case.call

    def forward(self, *inputs: Tensor) -> Any:
        return self._call(self.module, *inputs)


def call_unet(unet: Any, sample: Tensor, timestep: Tensor, text: Tensor, pooled: Tensor, time_ids: Tensor) -> Tensor:
    """As diffusers' SDXL pipeline calls it."""
    added = {"text_embeds": pooled, "time_ids": time_ids}
    return unet(
        sample,
        timestep,
        encoder_hidden_states=text,
        timestep_cond=None,
        cross_attention_kwargs=None,
        added_cond_kwargs=added,
        return_dict=False,
    )[0]


def unet_inputs(unet: Any, side: int, batch: int = 2) -> Callable[[int], Inputs]:
    """Latents of `side`, with text of 77 tokens; a seed's timestep lies anywhere in the schedule."""
    width = unet.config.cross_attention_dim
    pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim

    def make(seed: int) -> Inputs:
        g = torch.Generator().manual_seed(seed)
        timestep = torch.randint(1, 999, (), generator=g).float()
        sizes = torch.tensor([[side * 8.0, side * 8.0, 0.0, 0.0, side * 8.0, side * 8.0]]).repeat(batch, 1)
        noise = torch.randn(batch, unet.config.in_channels, side, side, generator=g)
        return noise, timestep, torch.randn(batch, 77, width, generator=g), torch.randn(batch, pooled, generator=g), sizes

    return make


def wide_unet() -> Case:
    """SDXL's channels with fewer transformer layers: 0.36 TFLOP a call."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    ).eval()
    return Case(unet, call_unet, unet_inputs(unet, side=32))


def call_decode(vae: Any, latents: Tensor) -> Tensor:
    """As every latent diffusion pipeline calls it."""
    return vae.decode(latents, return_dict=False)[0]


def latents_of(channels: int, side: int, batch: int = 1) -> Callable[[int], Inputs]:
    """Latents as a denoiser leaves them."""
    return lambda seed: (torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(seed)),)


def wide_vae() -> Case:
    """The architecture of SDXL's VAE, decoding 24 x 24 latents: 0.35 TFLOP a call."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=192,
    ).eval()
    return Case(vae, call_decode, latents_of(4, side=24))


def bundled_unet() -> Case:
    """The bundled model's UNet, trained."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(BUNDLED / "unet", variant="fp16", torch_dtype=torch.float32).eval()
    return Case(unet, call_unet, unet_inputs(unet, side=unet.config.sample_size))


def bundled_vae() -> Case:
    """The bundled model's VAE, decoding."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(BUNDLED / "vae", variant="fp16", torch_dtype=torch.float32).eval()
    return Case(vae, call_decode, latents_of(vae.config.latent_channels, side=16))


def call_text(encoder: Any, ids: Tensor) -> Tensor:
    """As SDXL's pipeline calls its text encoders."""
    return encoder(ids, output_hidden_states=True).hidden_states[-2]


def bundled_text() -> Case:
    """The bundled model's second text encoder."""
    from transformers import CLIPTextModelWithProjection

    folder = BUNDLED / "text_encoder_2"
    encoder = CLIPTextModelWithProjection.from_pretrained(folder, variant="fp16", dtype=torch.float32).eval()
    length, words = encoder.config.max_position_embeddings, encoder.config.vocab_size
    return Case(encoder, call_text, tokens_of(words, (2, length)))


def tokens_of(words: int, shape: tuple[int, int]) -> Callable[[int], Inputs]:
    """Any words."""
    return lambda seed: (torch.randint(3, words, shape, generator=torch.Generator().manual_seed(seed)),)


def encoder() -> Case:
    """A transformer encoder of the size of a small BERT."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048}
    model = BertModel(BertConfig(vocab_size=8000, **sizes), add_pooling_layer=False).eval()
    return Case(model, lambda m, ids: m(input_ids=ids).last_hidden_state, tokens_of(8000, (2, 128)))


def language_model() -> Case:
    """A small decoder-only model reading a prompt."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 1408}
    config = LlamaConfig(vocab_size=8000, num_key_value_heads=4, bos_token_id=1, eos_token_id=2, **sizes)
    return Case(LlamaForCausalLM(config).eval(), lambda m, ids: m(ids, use_cache=False).logits, tokens_of(8000, (1, 64)))


def call_step(model: Any, ids: Tensor, keys_LBHTD: Tensor, values_LBHTD: Tensor) -> Tensor:
    """As `generate` calls it for each word: with a cache that it writes into."""
    from transformers import DynamicCache

    cache = DynamicCache(list(zip(keys_LBHTD, values_LBHTD, strict=True)))
    logits: Tensor = model(ids, past_key_values=cache, use_cache=True).logits
    return logits


def language_model_step() -> Case:
    """The same model writing one word after 64."""
    case = language_model()
    config = case.module.config
    shape = (config.num_hidden_layers, 1, config.num_key_value_heads, 64, config.hidden_size // config.num_attention_heads)

    def make(seed: int) -> Inputs:
        g = torch.Generator().manual_seed(seed)
        return torch.randint(3, config.vocab_size, (1, 1), generator=g), torch.randn(shape, generator=g), torch.randn(shape, generator=g)

    return Case(case.module, call_step, make)


class Residual(nn.Module):
    """Two convolutions with batch norm around a shortcut."""

    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, wider, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(wider)
        self.second = nn.Conv2d(wider, wider, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(wider)
        self.shortcut = nn.Conv2d(channels, wider, 1, stride, bias=False) if (channels, stride) != (wider, 1) else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inner = self.norm2(self.second(torch.relu(self.norm1(self.first(x_BCHW)))))
        return torch.relu(inner + self.shortcut(x_BCHW))


def cnn() -> Case:
    """A plain image classifier: eight residual blocks, as ResNet-18."""
    torch.manual_seed(0)
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    blocks = (Residual(*sizes) for sizes in widths)
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)).eval()
    return Case(model, lambda m, x: m(x), lambda seed: (torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(seed)),))


# The cheap ones first, so that a run that is stopped has said most.
CASES: Final[Mapping[str, Callable[[], Case]]] = {
    "bundled-unet": bundled_unet,
    "bundled-vae": bundled_vae,
    "bundled-text": bundled_text,
    "cnn": cnn,
    "encoder": encoder,
    "language-model": language_model,
    "language-model-step": language_model_step,
    "sdxl-vae": wide_vae,
    "sdxl-unet": wide_unet,
}
