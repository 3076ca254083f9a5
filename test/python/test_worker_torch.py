"""Tensors and a real diffusers pipeline, the bundled model, in a real worker."""

from __future__ import annotations

import struct
import time

import pytest
from flambeau import placeholders, protocol
from worker_host import PYTHON_FOLDER, HostSide, Worker

MODEL = PYTHON_FOLDER / "models" / "tiny-sdxl"
TORCH = HostSide.module("torch")
SCRATCH = HostSide.module("scratch")
VALUES = HostSide.module("flambeau.values")

pytest.importorskip("torch")
pytest.importorskip("diffusers")


def array_of(worker, source, dtype=None):
    call = worker.send_call("call", VALUES, ["evaluate"], [source])
    asked = worker.send_call("array", HostSide.ref(call), [], [dtype])
    worker.answer(call)
    array = worker.answer(asked)
    return array.dtype, array.shape, bytes(array.data.data if isinstance(array.data, placeholders.Attachment) else array.data)


@pytest.fixture(scope="module")
def pipeline(worker):
    """A handle to the bundled pipeline."""
    from_pretrained = ["AutoPipelineForText2Image", "from_pretrained"]
    loaded = worker.call(
        HostSide.module("diffusers"), from_pretrained, str(MODEL), torch_dtype=HostSide.path(TORCH, "float32"), variant="fp16", tag=1
    )
    return HostSide.ref(loaded.id)


def paint(worker, pipeline, steps, tag=0, **more):
    return worker.send_call("call", pipeline, [], [], {"prompt": "a cat", "num_inference_steps": steps, **more}, tag=tag)


def test_py_tensor_uses_the_memory_that_the_array_arrived_in(worker):
    data = struct.pack("<6f", *range(6))
    tensor = worker.call(VALUES, "tensor", HostSide.array("float32", None, data), [2, 3])
    assert (tensor.type_name, tensor.length) == ("torch.Tensor", 2)
    assert worker.expr("(str(_0.dtype), tuple(_0.shape), float(_0.sum())) == ('torch.float32', (2, 3), 15.0)", HostSide.ref(tensor.id))


def test_py_tensor_takes_bytes_dtype_and_nothing_at_all(worker):
    assert worker.expr("str(_0.dtype)", HostSide.ref(worker.call(VALUES, "tensor", b"\1\2").id)) == "torch.uint8"
    assert worker.expr("_0.numel()", HostSide.ref(worker.call(VALUES, "tensor", b"").id)) == 0
    half = worker.call(VALUES, "tensor", HostSide.array("float32", None, bytes(4)), dtype=HostSide.path(TORCH, "float16"))
    assert worker.expr("str(_0.dtype)", HostSide.ref(half.id)) == "torch.float16"


def test_whole_numbers_and_floats_make_the_tensors_that_they_make_in_python(worker):
    assert worker.expr("str(__import__('torch').full((2,), _0).dtype)", 5) == "torch.int64"
    assert worker.expr("str(__import__('torch').full((2,), _0).dtype)", 5.0) == "torch.float32"


def test_a_tensor_comes_as_an_array_of_its_own_element_type(worker):
    source = "__import__('torch').arange(6.).reshape(2, 3).t().requires_grad_()"
    assert array_of(worker, source, "float32") == ("float32", [3, 2], struct.pack("<6f", 0, 3, 1, 4, 2, 5))
    assert array_of(worker, "__import__('torch').tensor([True, False])")[0] == "bool"
    assert array_of(worker, "__import__('torch').zeros(0, 4)") == ("float32", [0, 4], b"")


@pytest.mark.parametrize(
    ("source", "asked", "words"),
    [
        ("ones(2, dtype=__import__('torch').bfloat16)", "float32", ("bfloat16", ".float()")),
        ("ones(2, dtype=__import__('torch').bfloat16)", None, ("bfloat16", ".float()")),
        ("ones(2).to(__import__('torch').float8_e4m3fn)", None, ("float8_e4m3fn", ".float()")),
        ("quantize_per_tensor(__import__('torch').ones(2), 0.1, 0, __import__('torch').quint8)", None, ("quantized", ".dequantize()")),
        ("ones(2)", "int64", ("float32", "int64", ".to(torch.int64)")),
        ("ones(2, device='meta')", None, ("meta",)),
        ("nested.nested_tensor([__import__('torch').ones(1)])", None, ("nested", ".to_padded_tensor(0.0)")),
        ("eye(2).to_sparse()", None, ("sparse", ".to_dense()")),
        ("zeros(2, dtype=__import__('torch').complex64)", None, ("complex64", "view_as_real")),
    ],
)
def test_a_tensor_that_is_not_what_was_asked_for_is_refused_with_the_way_to_it(worker, source, asked, words):
    failure = worker.failure(lambda: array_of(worker, f"__import__('torch').{source}", asked))
    assert failure["code"] == "NOT_SENDABLE"
    for word in words:
        assert word in failure["message"]


def test_deep_copies_widen_small_floats_and_unpack_scalars(worker):
    worker.run("import torch\nsmall = {'b': torch.ones(2, dtype=torch.bfloat16), 's': torch.tensor(2.5), 'd': torch.float16}")
    value = worker.answer(worker.send_call("value", SCRATCH, ["small"]))
    assert (value["b"].dtype, value["b"].data) == ("float32", struct.pack("<2f", 1, 1))
    assert (value["s"], value["d"]) == (2.5, "torch.float16")


def test_live_bytes_count_tensors_and_fall_when_they_are_released(worker):
    before = worker.ping()["bytes"]
    tensor = worker.call(TORCH, "zeros", 1000, 1000).id
    assert worker.ping()["bytes"] == before + 4_000_000
    worker.release((tensor, 1))
    worker.expr("0")
    assert worker.ping()["bytes"] == before


def test_an_out_of_memory_error_names_what_is_alive_the_largest_first(worker):
    held = [
        worker.expr("__import__('torch').zeros(3 * 2**20)"),
        worker.expr("__import__('torch').nn.Linear(1024, 1024, bias=False)"),
    ]
    failure = worker.failure(lambda: worker.expr("(_ for _ in ()).throw(MemoryError('full'))"))
    assert failure["code"] == "OUT_OF_MEMORY"
    for words in ("alive on the worker: ", " torch.Tensor (12.", "1 torch.nn.modules.linear.Linear (4.0 MiB)"):
        assert words in failure["message"]
    worker.release(*((handle.id, 1) for handle in held))


def test_a_tensor_of_a_failed_call_is_freed(worker):
    worker.run(
        "import torch, weakref\ndef fail():\n global seen\n big = torch.zeros(1000, 1000)\n"
        " seen = weakref.ref(big)\n big @ torch.zeros(3, 3)"
    )
    assert worker.failure(lambda: worker.call(SCRATCH, "fail"))["type"] == "RuntimeError"
    assert worker.expr("_0() is None", HostSide.path(SCRATCH, "seen"))


def test_a_model_id_that_cannot_be_reached_says_so(worker):
    with Worker(environment={"HF_HUB_OFFLINE": "1"}) as offline:
        offline.hello()
        failure = offline.failure(
            lambda: offline.call(HostSide.module("diffusers"), ["AutoPipelineForText2Image", "from_pretrained"], "acme/no-such-model")
        )
    assert failure["code"] == "MODEL_UNREACHABLE", failure
    assert "acme/no-such-model" in failure["hint"]


def test_loading_shows_progress_and_paints_no_bars(worker, pipeline):
    stages = {event["stage"] for tag, event in worker.events if tag == 1 and event["kind"] == "progress"}
    assert "Loading pipeline components" in stages
    assert "Loading pipeline components" not in worker.stderr.text


def test_four_steps_are_four_progress_events(worker, pipeline):
    worker.events.clear()
    worker.answer(paint(worker, pipeline, 4, tag=40))
    assert [(e["step"], e["total"], e["stage"]) for tag, e in worker.events if tag == 40] == [(n, 4, None) for n in (1, 2, 3, 4)]


def test_a_second_order_scheduler_counts_each_step_once(worker, pipeline):
    worker.run(
        "def swap(pipe, name):\n import diffusers\n before = pipe.scheduler\n"
        " pipe.scheduler = getattr(diffusers, name).from_config(before.config)\n return before"
    )
    before = worker.call(SCRATCH, "swap", pipeline, "HeunDiscreteScheduler")
    worker.events.clear()
    worker.answer(paint(worker, pipeline, 3, tag=41))
    assert [(e["step"], e["total"]) for tag, e in worker.events if tag == 41] == [(1, 3), (2, 3), (3, 3)]
    worker.call(pipeline, ["scheduler"], HostSide.ref(before.id), op="set")
    assert worker.expr("'step' in vars(_0.scheduler)", pipeline) is False


def test_a_loop_without_a_progress_bar_is_counted_by_its_scheduler(worker, pipeline):
    worker.run(
        "from diffusers import DiffusionPipeline, DDIMScheduler\nimport torch\n"
        "class Bare(DiffusionPipeline):\n"
        " def __init__(self, scheduler): super().__init__(); self.register_modules(scheduler=scheduler)\n"
        " def __call__(self, steps):\n"
        "  self.scheduler.set_timesteps(steps); x = torch.ones(1, 1, 2, 2)\n"
        "  for t in self.scheduler.timesteps: x = self.scheduler.step(x, t, x).prev_sample\n"
        "  return float(x.sum())\n"
        "bare = Bare(DDIMScheduler())"
    )
    worker.events.clear()
    worker.answer(worker.send_call("call", SCRATCH, ["bare"], [5], tag=42))
    assert [(e["step"], e["total"]) for tag, e in worker.events if tag == 42] == [(n, 5) for n in range(1, 6)]


def test_a_pipeline_inside_the_users_own_file_tells_its_steps_as_well(worker, pipeline, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def paint(pipe): return pipe(prompt='a dog', num_inference_steps=2)")
    worker.events.clear()
    worker.call(HostSide.file(file), "paint", pipeline, tag=43)
    assert [e["step"] for tag, e in worker.events if tag == 43] == [1, 2]


def test_a_cancel_in_mid_loop_frees_the_worker_within_a_step_and_the_pipeline_still_paints(worker, pipeline):
    call = paint(worker, pipeline, 500, tag=44)
    worker.wait_for(lambda kind, tag, event: kind == protocol.EVENT and tag == 44 and event["step"] >= 3)
    began_s = time.monotonic()
    worker.cancel(call)
    assert worker.failure(lambda: worker.answer(call))["code"] == "CANCELLED"
    assert worker.expr("1 + 1") == 2
    assert time.monotonic() - began_s < 2
    assert worker.expr("len(__import__('torch').nn.modules.module._global_forward_pre_hooks)") == 0
    painted = worker.answer(paint(worker, pipeline, 2))
    pixels = worker.answer(worker.send_call("pixels", HostSide.ref(painted.id), ["images", [0]]))
    assert (pixels["width"], pixels["height"], pixels["channels"], pixels["data"].length) == (128, 128, 3, 128 * 128 * 3)


def test_cancels_at_random_moments_leave_gradients_and_pictures_as_they_were(worker, pipeline):
    def picture():
        generator = worker.call(TORCH, "manual_seed", 3)
        painted = worker.answer(paint(worker, pipeline, 2, generator=HostSide.ref(generator.id)))
        return bytes(worker.answer(worker.send_call("pixels", HostSide.ref(painted.id), ["images", [0]]))["data"].data)

    before = picture()
    for n in range(8):
        call = paint(worker, pipeline, 50, tag=45)
        worker.until_running(call)
        time.sleep(0.013 * n)
        worker.cancel(call)
        assert worker.failure(lambda call=call: worker.answer(call))["code"] == "CANCELLED"
    assert worker.expr("__import__('torch').is_grad_enabled() and not __import__('torch').is_inference_mode_enabled()") is True
    assert picture() == before


def test_a_step_callback_of_the_host_gets_latents_and_its_answer_is_used(worker, pipeline):
    seen = []

    def on_step(_pipe, step, _timestep, kwargs):
        seen.append((step, kwargs.type_name))
        worker.release((kwargs.id, 1))
        return {}

    worker.functions[9] = on_step
    worker.answer(paint(worker, pipeline, 3, tag=46, callback_on_step_end=HostSide.function(9)))
    assert seen == [(0, "dict"), (1, "dict"), (2, "dict")]


def test_a_step_callback_of_the_host_that_returns_nothing_changes_nothing(worker, pipeline):
    steps = []
    worker.functions[10] = lambda _pipe, step, _timestep, _kwargs: steps.append(step)
    worker.answer(paint(worker, pipeline, 2, tag=47, callback_on_step_end=HostSide.function(10)))
    assert steps == [0, 1]
