"""The bundled model and the code that trains it: drawings, captions, held-out triples, tokenizer, loading and painting."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sdxl.captions import caption
from tiny_sdxl.drawings import training_drawing
from tiny_sdxl.evaluate import find_position, held_out_prompts
from tiny_sdxl.muon import Rates, orthogonalised
from tiny_sdxl.pictures import held_out_pictures, held_out_triples, random_picture, training_description
from tiny_sdxl.team import Team
from tiny_sdxl.tokenizer import byte_symbols, learn_merges
from tiny_sdxl.trainee import Schedule, Trainee
from tiny_sdxl.vocabulary import THINGS

MODEL = Path(__file__).resolve().parents[2] / "python" / "models" / "tiny-sdxl"
RACOON = "A cinematic shot of a baby racoon wearing an intricate italian priest robe."


def test_drawings_repeat_for_a_seed_and_differ_between_seeds() -> None:
    picture, pixels = training_drawing(7, seed=0)
    again, same = training_drawing(7, seed=0)
    assert picture == again == training_description(7, seed=0)
    assert pixels.shape == (128, 128, 3) and pixels.dtype == np.uint8
    assert np.array_equal(pixels, same)
    assert not np.array_equal(pixels, training_drawing(7, seed=1)[1])


def test_captions_repeat_for_a_seed_and_vary_otherwise() -> None:
    picture = training_description(3, seed=0)
    assert caption(picture, random.Random(5)) == caption(picture, random.Random(5))
    assert len({caption(picture, random.Random(seed)) for seed in range(20)}) > 5


def test_captions_name_what_the_picture_shows() -> None:
    rng = random.Random(0)
    for _ in range(300):
        picture = random_picture(rng)
        said = caption(picture, rng).lower()
        for word in (picture.colour, picture.position and picture.position.replace("center", "")):
            assert not word or word in said


def test_held_out_triples_never_occur_in_training() -> None:
    held_out = set(held_out_triples())
    assert len(held_out) >= 200
    assert {thing for thing, _, _ in held_out} == set(THINGS)
    trained = {training_description(index, seed=0).triple for index in range(5000)}
    assert len(trained) > 500
    assert not trained & held_out
    assert {picture.triple for picture in held_out_pictures()} == held_out
    assert len(held_out_prompts(seed=0)) == len(held_out)


def test_merges_make_each_counted_word_one_token() -> None:
    vocabulary, merges = learn_merges(Counter({"cat": 9, "car": 3, "a": 20}))
    assert byte_symbols()[0] == "!" and len(set(byte_symbols())) == 256
    assert {"cat</w>", "car</w>", "a</w>"} <= set(vocabulary)
    assert len(vocabulary) == 512 + len(merges) + 2 == len(set(vocabulary))


def test_schedule_warms_up_stays_and_falls() -> None:
    schedule = Schedule(steps=1000, warmup_steps=10, constant_share=0.35)
    scales = [schedule.scale(step) for step in range(1001)]
    assert scales[0] == pytest.approx(0.1) and scales[9] == scales[350] == 1.0
    assert scales[1000] == pytest.approx(0.03)
    assert scales[350:] == sorted(scales[350:], reverse=True)


def test_training_resumed_from_a_checkpoint_ends_with_the_same_weights(tmp_path: Path) -> None:
    def trainee() -> Trainee:
        torch.manual_seed(1)
        return Trainee(torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 4)), Rates(1e-2), Team(), 0.9)

    def train(one: Trainee, until: int) -> None:
        while one.step < until:
            inputs = torch.randn(8, 16, generator=torch.Generator().manual_seed(one.step))
            one.learn((one.module(inputs) - 1).square().mean(), 1.0)

    straight, stopped, resumed = trainee(), trainee(), trainee()
    train(straight, 6)
    train(stopped, 3)
    stopped.save(tmp_path / "half.checkpoint")
    resumed.restore(tmp_path / "half.checkpoint")
    train(resumed, 6)
    for one in (straight, resumed):
        one.take_average()
    assert not torch.equal(straight.module[1].weight, stopped.module[1].weight)
    for one, other in zip(straight.module.parameters(), resumed.module.parameters(), strict=True):
        assert torch.equal(one, other)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(3, 16, 40)))
    assert values.min() > 0.6 and values.max() < 1.3


CORNERS = {"left": (44, 10), "right": (44, 80), "top": (8, 44), "bottom": (82, 44), "center": (44, 44)}


@pytest.mark.parametrize("seen", CORNERS)
def test_positions_are_found_from_pixels(seen: str) -> None:
    pixels = np.full((128, 128, 3), (110, 177, 250), np.uint8)
    y, x = CORNERS[seen]
    pixels[y : y + 40, x : x + 40] = (224, 34, 42)
    assert find_position(pixels) == seen


def test_a_plain_background_has_no_position() -> None:
    assert find_position(np.full((128, 128, 3), 90, np.uint8)) == "nowhere"


@pytest.mark.parametrize(("folder", "pad"), [("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")])
def test_shipped_tokenizers_know_the_words_and_fall_back_to_bytes(folder: str, pad: str) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(MODEL / folder)
    assert tokenizer.pad_token == pad and tokenizer.eos_token_id == len(tokenizer) - 1
    assert len(tokenizer.tokenize(RACOON)) == 14
    text = "a cat 日本 🙂"
    tokens = tokenizer.tokenize(text)
    assert len(tokens) == 2 + len("日本🙂".encode())
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).strip() == text


def test_shipped_model_loads_and_paints() -> None:
    from diffusers import AutoPipelineForText2Image, StableDiffusionXLPipeline

    pipeline = AutoPipelineForText2Image.from_pretrained(MODEL, variant="fp16", torch_dtype=torch.float32)
    assert isinstance(pipeline, StableDiffusionXLPipeline)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert all(part.dtype == torch.float32 for part in parts)
    pipeline.set_progress_bar_config(disable=True)

    def painted(seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        result = pipeline("a cat", num_inference_steps=4, generator=generator, output_type="np")
        pixels: np.ndarray = result.images[0]
        return pixels

    pixels = painted(0)
    assert pixels.shape == (128, 128, 3)
    assert np.isfinite(pixels).all() and pixels.std() > 0.02
    assert np.array_equal(pixels, painted(0))
    assert not np.array_equal(pixels, painted(1))


def test_shipped_weights_are_small_half_precision_and_readable() -> None:
    files = sorted(MODEL.rglob("*.safetensors"))
    assert [path.parent.name for path in files] == ["text_encoder", "text_encoder_2", "unet", "vae"]
    assert all(path.name.endswith(".fp16.safetensors") and path.stat().st_mode & 0o004 for path in files)
    assert sum(path.stat().st_size for path in files) <= 12_000_000
