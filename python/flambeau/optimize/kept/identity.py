"""What a kept plan depends on, as plain data that is equal in every process: the machine, the versions, the module, its weights.

Weights are told apart by the sum of all their bytes (as whole numbers, at the speed of memory) and some of their values in place.
That is no hash against an enemy; before a kept plan is used, one output of it is compared with eager's.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from ..calls.guard import Key

_SAMPLES = 64
_SOURCES = (".py", ".cpp", ".h")


@cache
def machine(device: str, num_threads: int) -> Mapping[str, Any]:
    """The processor and torch's way with it. `num_threads` decides which kernels win."""
    capability: Any = getattr(torch.backends, "cpu", None)
    return {
        "processor": _processor(),
        "capability": "" if capability is None else capability.get_cpu_capability(),
        "onednn": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        "threads": num_threads,
        "device": _device(torch.device(device)),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor_flags() -> frozenset[str]:
    """The instruction sets that the system names; empty where it names none."""
    return frozenset(_cpu_info().get("flags", "").split())


def module_identity(module: nn.Module) -> Mapping[str, str]:
    """Class, structure, code and configuration of a module, and its weights. Raises ValueError for weights that cannot be read."""
    classes = sorted({type(part) for part in module.modules()}, key=_class_name)
    packages = sorted({kind.__module__.partition(".")[0] for kind in classes})
    return {
        "class": _class_name(type(module)),
        "structure": _sha(repr(module)),
        "code": _sha("".join(f"{_class_name(kind)} {_code(kind)}\n" for kind in classes)),
        "config": _sha(repr(getattr(module, "config", None)) if hasattr(module, "config") else ""),
        "versions": " ".join(f"{name} {getattr(sys.modules.get(name), '__version__', '')}" for name in packages),
        "weights": weights_identity(module),
    }


def weights_identity(module: nn.Module) -> str:
    """Equal for equal names, shapes, dtypes, layouts and values. Raises ValueError for weights that cannot be read."""
    digest = hashlib.sha256()
    with torch.inference_mode(False), torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.stride()} {tensor.dtype} ".encode())
            try:
                for number in _numbers(tensor.detach()):
                    digest.update(number)
            except (RuntimeError, NotImplementedError) as error:
                raise ValueError(f"{name} cannot be read: {error}") from error
    return digest.hexdigest()


def kind_identity(key: Key) -> str:
    """Of one kind of call."""
    return _sha(repr(key))


def _numbers(tensor: Tensor) -> Iterator[bytes]:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise ValueError(f"weights of layout {tensor.layout} on {tensor.device} have no identity")
    if not tensor.numel():
        return
    flat = tensor.as_strided((tensor.numel(),), (1,)) if _is_dense(tensor) else tensor.contiguous().reshape(-1)
    octets = flat.view(torch.uint8)
    whole = octets.numel() // 8 * 8
    if octets.storage_offset() % 8 or octets.data_ptr() % 8:
        octets = octets.clone()
    yield str(int(octets[:whole].view(torch.int64).sum())).encode()
    yield bytes(octets[whole:].tolist())
    step = max(1, flat.numel() // _SAMPLES)
    yield bytes(flat[::step].contiguous().view(torch.uint8).tolist())


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _code(kind: type[nn.Module]) -> str:
    code = getattr(getattr(kind, "forward", None), "__code__", None)
    return "" if code is None else _sha("".join(_code_texts(code)))


def _code_texts(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_texts(constant)
        else:
            yield repr(constant)


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _processor() -> str:
    info = _cpu_info()
    return _sha(f"{platform.system()} {platform.machine()} {platform.processor()} {info.get('model name', '')} {info.get('flags', '')}")


@cache
def _cpu_info() -> Mapping[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _device(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    driver: Any = getattr(torch._C, "_cuda_getDriverVersion", lambda: "")
    cudnn: Any = torch.backends.cudnn
    return (
        f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)} CUDA {torch.version.cuda} "
        f"driver {driver()} cuDNN {cudnn.version()}"
    )


@cache
def source(folder: str = "") -> str:
    """Of this package or one of its folders: a plan is kept by the code that can recall it."""
    digest = hashlib.sha256()
    paths = (path for path in (Path(__file__).parent.parent / folder).rglob("*") if path.suffix in _SOURCES)
    for path in sorted(paths):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
