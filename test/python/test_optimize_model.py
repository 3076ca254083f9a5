"""The bundled SDXL through real pipeline calls: found, measured, as good as before, and back to what it was."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flambeau.optimize import optimize, report, set_listener
from flambeau.optimize.leaf.native import library
from flambeau.optimize.limits import Limits
from flambeau.optimize.registry import Registry

MODEL = Path(__file__).parents[2] / "python" / "models" / "tiny-sdxl"
# With these, whatever is near enough is kept, also on a machine too busy to tell what is faster.
GENEROUS = Limits(min_gain=0, min_won=0, hopeless=0, max_pairs=2, min_pairs=1, sure_pairs=1)

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.skipif(not MODEL.is_dir(), reason="the bundled model is not here")


@dataclass
class Plain:
    """The pipeline as it was loaded, its own UNet and VAE, and a picture of theirs."""

    pipeline: Any
    unet: torch.nn.Module
    vae: torch.nn.Module
    picture: np.ndarray


@pytest.fixture(scope="module")
def plain():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(MODEL, torch_dtype=torch.float32, variant="fp16")
    pipeline.set_progress_bar_config(disable=True)
    yield Plain(pipeline, pipeline.unet, pipeline.vae, picture(pipeline))
    torch.set_num_threads(threads)


@pytest.fixture
def pipeline(plain):
    """The same pipeline with a UNet and a VAE of the test's own."""
    use(plain.pipeline, copy.deepcopy(plain.unet), copy.deepcopy(plain.vae))
    yield plain.pipeline
    use(plain.pipeline, plain.unet, plain.vae)


@pytest.fixture(scope="module")
def applied(plain):
    """A UNet and a VAE with everything applied that the table has for this CPU, and the registry that did it."""
    made = Registry(limits=GENEROUS)
    unet, vae = (made.optimize(copy.deepcopy(part), quality="lossless") for part in (plain.unet, plain.vae))
    use(plain.pipeline, unet, vae)
    picture(plain.pipeline)
    use(plain.pipeline, plain.unet, plain.vae)
    return made, unet, vae


@pytest.fixture
def fast(plain, applied):
    made, unet, vae = applied
    use(plain.pipeline, unet, vae)
    yield plain.pipeline, made
    use(plain.pipeline, plain.unet, plain.vae)


def use(pipeline: Any, unet: torch.nn.Module, vae: torch.nn.Module) -> None:
    pipeline.unet, pipeline.vae = unet, vae


def picture(pipeline: Any, steps: int = 6, **kwargs: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(7)
    return pipeline("a red cat", num_inference_steps=steps, generator=generator, output_type="np", **kwargs).images[0]


def is_near(a: np.ndarray, b: np.ndarray) -> bool:
    """As near as float32 gets after six steps; a pixel's range is 0 to 1."""
    return bool(np.abs(a - b).max() < 1e-3)


def test_one_call_each_and_the_pictures_stay_the_same(pipeline, plain):
    heard = []
    set_listener(heard.append)
    try:
        pipeline.unet = optimize(pipeline.unet, quality="lossless")
        pipeline.vae = optimize(pipeline.vae, quality="lossless")
        first, second = picture(pipeline), picture(pipeline)
    finally:
        set_listener(None)
    assert is_near(first, plain.picture)
    assert is_near(second, plain.picture)
    lines = [notice.message for notice in heard if notice.phase == "done"]
    assert [line.split(":")[0] for line in lines] == ["optimize UNet2DConditionModel", "optimize AutoencoderKL"]
    for module in (pipeline.unet, pipeline.vae):
        made = report(module)
        assert made.state in ("done", "unchanged")
        assert len(made.applied) + sum(skip.speed_up is not None for skip in made.skipped) > 0


def test_the_unet_is_found_at_its_root_and_the_vae_at_its_decoder(fast):
    pipeline, made = fast
    unet, vae = made.report(pipeline.unet), made.report(pipeline.vae)
    # Of the rows for one kind of layer, each takes all that it can of what is left.
    built = ("tiled_convs", "packed_convs", "image_norms", "panel_linears")
    expected = built if library.refusal() is None else ("packed_convs", "packed_linears")
    assert unet.applied == expected
    assert vae.applied == tuple(f"decoder: {name}" for name in expected)
    assert unet.relative_error < 1e-4
    assert unet.cosine > 0.99999
    assert unet.bytes > 1_000_000
    assert "forward" not in vars(pipeline.vae)


def test_pictures_with_every_kernel_applied_are_as_near_as_float32_is(fast, plain):
    pipeline, made = fast
    assert is_near(picture(pipeline), plain.picture)
    assert made.report(pipeline.unet).eager_calls == ()
    assert made.report(pipeline.vae).eager_calls == ()


def test_another_size_runs_eagerly_and_exactly(fast, plain):
    pipeline, made = fast
    got, unet = picture(pipeline, steps=2, height=96, width=64), pipeline.unet
    use(pipeline, plain.unet, plain.vae)
    assert np.array_equal(got, picture(pipeline, steps=2, height=96, width=64))
    assert any("[2, 4, 12, 8]" in counted.why for counted in made.report(unet).eager_calls)


def test_slicing_and_encoding_still_work(fast, plain):
    pipeline, _ = fast
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    results = []
    for vae in (pipeline.vae, plain.vae):
        vae.enable_slicing()
        with torch.no_grad():
            results.append(vae.decode(vae.encode(images).latent_dist.mean).sample)
        vae.disable_slicing()
    assert (results[0] - results[1]).norm() <= 1e-4 * results[1].norm()


def test_saved_and_copied_modules_have_the_weights_and_no_trace(fast, plain, tmp_path):
    pipeline, _ = fast
    pipeline.unet.save_pretrained(tmp_path)
    again = diffusers.UNet2DConditionModel.from_pretrained(tmp_path)
    unet, vae = copy.deepcopy(pipeline.unet), copy.deepcopy(pipeline.vae)
    states = [module.state_dict() for module in (again, unet, pipeline.unet)]
    for name, value in plain.unet.state_dict().items():
        assert all(torch.equal(state[name], value) and state[name].stride() == value.stride() for state in states)
    assert again.config["block_out_channels"] == plain.unet.config["block_out_channels"]
    use(pipeline, unet, vae)
    assert np.array_equal(picture(pipeline), plain.picture)


def test_a_fused_lora_is_followed_and_restore_is_exact(fast, plain):
    pipeline, made = fast
    edited = copy.deepcopy(plain.unet)
    generator, unet = torch.Generator().manual_seed(3), pipeline.unet
    pairs = [
        (a, b) for a, b in zip(unet.modules(), edited.modules(), strict=True) if isinstance(a, torch.nn.Linear) and a.in_features == 96
    ]
    for layer, other in pairs:
        delta = torch.randn(layer.out_features, 4, generator=generator) @ torch.randn(4, layer.in_features, generator=generator)
        # peft adds a LoRA to a layer so, and torch's version counter does not see it.
        layer.weight.data += 0.01 * delta
        other.weight.data += 0.01 * delta
    got = picture(pipeline)
    assert made.report(unet).repacked == len(pairs) > 10
    use(pipeline, edited, plain.vae)
    expected = picture(pipeline)
    assert is_near(got, expected)
    assert np.abs(expected - plain.picture).max() > 1e-2
    use(pipeline, made.restore(unet), plain.vae)
    assert np.array_equal(picture(pipeline), expected)


def test_a_cancel_in_the_warm_up_leaves_the_pipeline_usable(pipeline, plain):
    class Cancelled(BaseException):
        pass

    made = Registry(limits=GENEROUS)
    made.optimize(pipeline.unet, quality="lossless")
    num_runs = 0

    def cancel(module, args):
        nonlocal num_runs
        num_runs += 1
        if num_runs == 6:
            raise Cancelled

    # Four calls of the loop, then replays: the sixth run is inside the measuring.
    hook = pipeline.unet.mid_block.register_forward_pre_hook(cancel)
    with pytest.raises(Cancelled):
        picture(pipeline)
    hook.remove()
    assert made.report(pipeline.unet).state == "waiting"
    assert is_near(picture(pipeline), plain.picture)
    assert made.report(pipeline.unet).state == "done"
