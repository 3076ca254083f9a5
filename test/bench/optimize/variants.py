"""The ways to make a module faster that are compared: peers as their manuals recommend them on a CPU, and ours at each quality.

Each takes a Positional module and the inputs it may prepare with, and gives a callable of the same inputs. It may change the module:
a process measures one variant.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from modules import Inputs, Positional
from setting import SkippedError
from torch import Tensor, nn

# Calls until ours has measured, at most; a denoiser is measured at its fourth.
_MAX_WARM_UP = 12
# Further calls: a package is ordered at one of them, compared and raced at others.
_PACKAGE_CALLS = 20
# A second copy of larger modules would not leave room for the first.
_COPIED_BYTES = 1 << 30


@dataclass
class Prepared:
    """A variant, ready. `notes` is whatever belongs into its row."""

    run: Callable[..., Any]
    notes: dict[str, Any] = field(default_factory=dict)
    # Of the same module once more, after everything else: what a second start takes.
    again: Callable[[Positional], dict[str, Any]] | None = None


Prepare = Callable[[Positional, Sequence[Inputs], int], Prepared]


def eager(module: Positional, inputs: Sequence[Inputs], threads: int) -> Prepared:
    """The module against itself: how far from 1 a ratio is by chance."""
    return Prepared(copy.deepcopy(module) if _num_bytes(module) < _COPIED_BYTES else module)


def compiled(module: Positional, inputs: Sequence[Inputs], threads: int) -> Prepared:
    """torch.compile as it comes."""
    return Prepared(torch.compile(module))


def compiled_best(module: Positional, inputs: Sequence[Inputs], threads: int) -> Prepared:
    """torch.compile in its best form on a CPU: weights frozen and packed, images in NHWC."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    return Prepared(torch.compile(module.to(memory_format=torch.channels_last)))


def onnxruntime(module: Positional, inputs: Sequence[Inputs], threads: int) -> Prepared:
    """ONNX Runtime in float32."""
    import onnxruntime as ort

    folder = tempfile.mkdtemp()
    path = Path(folder) / "module.onnx"
    program = torch.onnx.export(module, inputs[0], dynamo=True, verbose=False)
    if program is None:
        raise SkippedError("torch.onnx.export gave no program")
    program.save(path, external_data=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*tensors: Tensor) -> Any:
        return _one(session.run(None, dict(zip(names, (tensor.numpy() for tensor in tensors), strict=True))))

    return Prepared(run, {"version": ort.__version__})


def openvino(precision: str | None) -> Prepare:
    """OpenVINO; without a precision it takes the processor's own, which may be bfloat16."""

    def prepare(module: Positional, inputs: Sequence[Inputs], threads: int) -> Prepared:
        import openvino as ov

        exported = torch.export.export(module, inputs[0], strict=False)
        config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        if precision is not None:
            config["INFERENCE_PRECISION_HINT"] = precision
        compiled_model = ov.Core().compile_model(ov.convert_model(exported), "CPU", config)
        request = compiled_model.create_infer_request()

        def run(*tensors: Tensor) -> Any:
            results = request.infer([tensor.numpy() for tensor in tensors])
            return _one([results[index] for index in range(len(results))])

        used = compiled_model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return Prepared(run, {"version": ov.__version__.split("-")[0], "precision": used})

    return prepare


def pt2e_int8(module: Positional, inputs: Sequence[Inputs], threads: int) -> Prepared:
    """Static int8 as torchao's manual does it by hand: export, observe, convert, compile with frozen weights."""
    import torch._inductor.config as inductor
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.utils import should_reduce_range

    inductor.freezing = True
    quantizer = x86.X86InductorQuantizer()
    reduce_range = bool(should_reduce_range(torch.device("cpu")))
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=reduce_range))
    observed = prepare_pt2e(torch.export.export(module, inputs[0], strict=False).module(), quantizer)
    for each in inputs:
        observed(*each)
    return Prepared(torch.compile(convert_pt2e(observed)), {"reduce_range": reduce_range})


def flambeau(quality: str, builds: str = "never") -> Prepare:
    """Ours, as a program uses it: one call, then the program's own first calls. With builds "now", packages are compiled as well."""

    def prepare(module: Positional, inputs: Sequence[Inputs], threads: int) -> Prepared:
        from flambeau.optimize import optimize, report, set_listener

        lines: list[str] = []
        set_listener(lambda notice: lines.append(notice.message) if notice.phase == "done" else None)
        optimize(module.module, quality=quality, builds=builds)
        _warmed_up(module, inputs)
        for index in range(_PACKAGE_CALLS if builds == "now" else 0):
            module(*inputs[index % len(inputs)])
        made = report(module.module)
        return Prepared(
            module,
            {
                "state": made.state,
                "applied": list(made.applied),
                "skipped": [f"{skip.what}: {skip.why}" for skip in made.skipped],
                "claimed_speed_up": made.speed_up,
                "claimed_error": made.relative_error,
                "measuring_s": made.seconds,
                "bytes": made.bytes,
                "line": lines[-1] if lines else None,
            },
            again=lambda other: _again(other, inputs, quality),
        )

    return prepare


def _warmed_up(module: Positional, inputs: Sequence[Inputs]) -> Any:
    from flambeau.optimize import report

    for index in range(_MAX_WARM_UP):
        if report(module.module).state not in ("waiting", "measuring"):
            break
        module(*inputs[index % len(inputs)])
    return report(module.module)


def _again(module: Positional, inputs: Sequence[Inputs], quality: str) -> dict[str, Any]:
    """What the store spares the next process: the same module once more, with what was kept of the first."""
    from flambeau.optimize import optimize

    optimize(module.module, quality=quality)
    made = _warmed_up(module, inputs)
    return {"again_measuring_s": made.seconds, "again_applied": list(made.applied)}


# The first of them answer the question that matters most: ours against the strongest peer.
VARIANTS: Final[Mapping[str, Prepare]] = {
    "flambeau-balanced": flambeau("balanced"),
    "openvino": openvino(None),
    "openvino-f32": openvino("f32"),
    "onnxruntime": onnxruntime,
    "flambeau-lossless": flambeau("lossless"),
    "flambeau-fast": flambeau("fast"),
    "flambeau-lossless-built": flambeau("lossless", "now"),
    "flambeau-balanced-built": flambeau("balanced", "now"),
    "eager": eager,
    "compile-best": compiled_best,
    "pt2e-int8": pt2e_int8,
    "compile": compiled,
}

# These change the module that they are given; eager is then timed on another one with the same weights.
CHANGING: Final = (
    "flambeau-lossless",
    "flambeau-balanced",
    "flambeau-fast",
    "flambeau-lossless-built",
    "flambeau-balanced-built",
    "compile-best",
)

def _one(results: Sequence[Any]) -> Any:
    tensors = [torch.from_numpy(result) for result in results]
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _num_bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
