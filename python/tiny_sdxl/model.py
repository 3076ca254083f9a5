"""The parts of the small SDXL: the real classes with small configurations."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

LATENT_SIDE = 16
LATENT_CHANNELS = 4
TOKENS = 77
TEXT_WIDTH = 64
TIME_ID_WIDTH = 32
TIME_IDS = 6
# diffusers builds its classes in ways that mypy cannot follow.
Vae = Any
Unet = Any
Scheduler = Any
UNET_WIDTHS = (64, 64, 96)
VAE_WIDTHS = (16, 32, 64, 64)


def build_vae() -> Vae:
    """An autoencoder that shrinks each side 8 times, to 4 channels."""
    return AutoencoderKL(  # type: ignore[no-untyped-call]
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=VAE_WIDTHS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        sample_size=128,
        force_upcast=False,
    )


def build_text_encoders(vocabulary_size: int) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Both encoders; the second gives the pooled embedding and pads with token 0, as in SDXL."""
    end = vocabulary_size - 1
    return (
        CLIPTextModel(_text_config(vocabulary_size, end, "quick_gelu")),
        CLIPTextModelWithProjection(_text_config(vocabulary_size, 0, "gelu")),
    )


def build_unet() -> Unet:
    """The denoiser: three levels, attention to the text in the lower two, size conditioning as in SDXL."""
    return UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=UNET_WIDTHS,
        layers_per_block=1,
        transformer_layers_per_block=[1, 1, 2],
        attention_head_dim=[width // 16 for width in UNET_WIDTHS],
        cross_attention_dim=2 * TEXT_WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=TEXT_WIDTH + TIME_IDS * TIME_ID_WIDTH,
    )


def build_scheduler() -> Scheduler:
    """SDXL's noise, with velocity prediction."""
    return EulerDiscreteScheduler(  # type: ignore[no-untyped-call]
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def count_weights(*modules: nn.Module) -> int:
    """How many numbers the modules hold."""
    return sum(weight.numel() for module in modules for weight in module.parameters())


def _text_config(vocabulary_size: int, pad: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        hidden_act=activation,
        bos_token_id=vocabulary_size - 2,
        eos_token_id=vocabulary_size - 1,
        pad_token_id=pad,
    )
