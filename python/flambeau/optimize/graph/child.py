"""The process that builds one package: takes a module and a call of it, leaves a shared library, says one line of JSON.
Of the lowest priority, first to go when memory is short, and gone with whoever started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_FILE_BYTES: Final = 16 * 1024**3


def main() -> None:
    """Its argument is JSON: the descriptor that holds the module, a directory of ours, for how many threads to compile, who started us,
    whether anybody who wants a core goes first, whether the package runs on the module's own weights, and by which attention."""
    order = json.loads(sys.argv[1])
    _stand_back(order["is_patient"])
    _die_with(order["parent"])
    # Compilers talk; the answer has the real output for itself.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        made = _build(order, Path(order["directory"]))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        made = {"error": f"{type(error).__name__}: {first}"}
    answer.write(json.dumps(made) + "\n")
    answer.flush()


def _build(order: dict[str, Any], directory: Path) -> dict[str, Any]:
    import torch

    from ..calls import tree
    from ..cuda import package as shared
    from ..kept import identity
    from .inputs import Inputs, given_arguments
    from .package import FILE
    from .skeleton import skeleton

    torch.set_num_threads(1)
    with open(order["fd"], "rb") as file:
        # Written by the process that started us, into a file that has no name.
        owner, parameters, args, kwargs = torch.load(file, weights_only=False)
    given = given_arguments(parameters, args, kwargs)
    inputs = Inputs(parameters, args, kwargs)
    fill = skeleton([given[name] for name in inputs.names], "input")

    class Flat(torch.nn.Module):
        """The module with tensors in and tensors out; everything else is built in."""

        def __init__(self) -> None:
            super().__init__()
            self.owner = owner

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(tree.tensors(owner(**dict(zip(inputs.names, fill(iter(tensors)), strict=True)))))

    tensors = inputs.tensors(args, kwargs) or []
    with torch.no_grad(), shared.attention(order["attention"]):
        exported = torch.export.export(Flat(), tuple(tensors), strict=False)
        isa = ""
        if order["is_shared"]:
            shared.compile_to(exported, directory / shared.FILE)
        else:
            isa = _compile(exported, directory / FILE, order["num_threads"])
    return {
        "inputs": inputs.describe(),
        "outputs": len(exported.graph_signature.user_outputs),
        "isa": isa,
        "weights": identity.weights_identity(owner),
        # Of a package that runs on the module's own weights, how they must lie.
        "shared": shared.describe(shared.weights_of(owner)) if order["is_shared"] else None,
    }


def _compile(exported: Any, target: Path, num_threads: int) -> str:
    """Writes the shared library; which instructions it uses."""
    import torch._inductor
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    from . import convolutions, products

    settings: dict[str, Any] = {
        "freezing": True,
        "compile_threads": 1,
        "cpp.threads": num_threads,
        "aot_inductor.package": False,
        # They pay only in a cache that outlives the build: 19 of 34 CPU seconds of a small one.
        "aot_inductor.precompile_headers": False,
    }
    examples = tuple(exported.example_inputs[0])
    try:
        module = exported.module()
        ours = {**convolutions.swap_(module, target.parent, num_threads), **products.by_size()}
        made = torch._inductor.aot_compile(module, examples, options={**settings, **ours})
    except Exception:  # Whatever another version of the compiler does not take of ours, it does itself.
        traceback.print_exc()
        made = torch._inductor.aot_compile(exported.module(), examples, options=settings)
    if not isinstance(made, str):
        raise TypeError(f"expected the path of a library from the compiler, got {type(made).__name__}")
    os.replace(made, target)
    return str(pick_vec_isa()).upper()


def _stand_back(is_patient: bool) -> None:
    """Whoever else wants memory, and a core if there is no hurry, gets it first."""
    if is_patient:
        os.nice(19)
        with contextlib.suppress(AttributeError, OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))


def _die_with(parent: int) -> None:
    """Our group is our own: compilers that we started go with us."""

    def end(*_: int | FrameType | None) -> None:
        os.killpg(0, signal.SIGKILL)

    def watch() -> None:
        while os.read(0, 1):
            pass
        end()

    signal.signal(signal.SIGTERM, end)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        end()
    threading.Thread(target=watch, name="flambeau-parent", daemon=True).start()


if __name__ == "__main__":
    main()
