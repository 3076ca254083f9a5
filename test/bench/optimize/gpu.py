"""On a machine with a GPU, in under ten minutes: what ours does there, beside eager and torch.compile, and what it leaves out.

`--dry-run` goes through the same steps on the CPU with the bundled model: it shows that the script runs, and says nothing of a GPU.
Every figure is a ratio of turns in one process; a step that does not fit into the time left is left out and named.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

ROOT: Final = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "python"), str(Path(__file__).parent)]

import record  # noqa: E402
from flambeau.optimize.candidates import TABLE  # noqa: E402
from flambeau.optimize.registry import Registry  # noqa: E402
from modules import CASES, Case, Inputs, Positional, latents_of, unet_inputs  # noqa: E402

BUDGET_S = 540.0
PAIRS = 9
# Not tried here, each with the reason; a reader should not take silence for a result.
LEFT_OUT: Final = (
    "TensorRT: not among the peers that this repository installs",
    "CUDA graphs, FP8 and INT8 tensor-core kernels: no candidate of ours yet",
    "more than one GPU",
    "edits of weights through `.data` on a GPU: the guard cannot see them, by design",
)


@dataclass
class Run:
    """One run of this script: where it computes, the time left, what was measured."""

    device: torch.device
    dtype: torch.dtype
    is_dry: bool
    started_s: float = field(default_factory=time.monotonic)
    rows: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def step(self, name: str, needs_s: float, measure: Callable[[], dict[str, Any]]) -> None:
        """Measures and keeps a row, or says why not."""
        left_s = BUDGET_S - (time.monotonic() - self.started_s)
        if needs_s > left_s and not self.is_dry:
            self.left_out.append(f"{name}: needs about {needs_s:.0f} s, {left_s:.0f} s are left")
            print(f"left out  {self.left_out[-1]}", flush=True)
            return
        try:
            with torch.no_grad():
                self.rows[name] = measure()
        except Exception as error:  # One step's failure is a row; the others still say something.
            self.rows[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        print(f"{name:<44} {json.dumps(self.rows[name])}", flush=True)


def main() -> None:
    """Goes through the steps; ends with what was left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, small")
    is_dry = parser.parse_args().dry_run
    if not is_dry and not torch.cuda.is_available():
        sys.exit("no GPU that torch can use was found; --dry-run goes through the steps on the CPU")
    run = Run(torch.device("cpu" if is_dry else "cuda"), torch.float32 if is_dry else torch.bfloat16, is_dry)
    print(f"{'CPU, dry run: says nothing of a GPU' if is_dry else torch.cuda.get_device_name()}; torch {torch.__version__}", flush=True)
    print(f"candidates here: {', '.join(row.name for row in TABLE.get(run.device.type, ())) or 'none'}", flush=True)
    for name in ("bundled-unet", "bundled-vae") if is_dry else ("sdxl-unet", "sdxl-vae"):
        case = on_device(run, CASES[name](), name)
        run.step(f"{name}, eager against itself", 20, lambda case=case: turns(run, Positional(case), Positional(case), case))
        for quality in ("lossless", "balanced", "fast"):
            run.step(f"{name}, ours, {quality}", 60, lambda case=case, quality=quality: ours(run, case, quality))
        run.step(f"{name}, inputs that were not measured", 40, lambda case=case, name=name: unseen(run, case, name))
        run.step(f"{name}, copies and edits", 20, lambda case=case: dropped_in(run, case))
        run.step(f"{name}, torch.compile", 120, lambda case=case: compiled(run, case, None))
        run.step(f"{name}, torch.compile max-autotune", 200, lambda case=case: compiled(run, case, "max-autotune-no-cudagraphs"))
        del case
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
    for reason in (*run.left_out, *LEFT_OUT):
        print(f"left out  {reason}")
    print(f"took {time.monotonic() - run.started_s:.0f} s")
    if not is_dry:
        keep(run)


def on_device(run: Run, case: Case, name: str) -> Case:
    """The case on the GPU in 16 bits, at SDXL's own size: 1024 pixels."""
    module = case.module.to(run.device, run.dtype)
    side = {"sdxl-unet": 128, "sdxl-vae": 128}.get(name)
    made = case.inputs if side is None else unet_inputs(module, side) if name == "sdxl-unet" else latents_of(4, side)
    return Case(module, case.call, lambda seed: placed(run, made(seed)))


def placed(run: Run, inputs: Inputs) -> Inputs:
    """Timesteps stay what they are; everything else in the module's dtype."""
    return tuple(tensor.to(run.device, run.dtype if tensor.dim() > 0 else tensor.dtype) for tensor in inputs)


def ours(run: Run, case: Case, quality: str) -> dict[str, Any]:
    """Ours beside eager on a copy of the module."""
    fast, registry = Positional(Case(copy.deepcopy(case.module), case.call, case.inputs)), Registry()
    before, started = held(run), time.monotonic()
    registry.optimize(fast.module, quality=quality)  # type: ignore[arg-type]
    for seed in range(12):
        fast(*case.inputs(seed))
        if registry.report(fast.module).state not in ("waiting", "measuring"):
            break
    seconds, made = time.monotonic() - started, registry.report(fast.module)
    row = turns(run, Positional(case), fast, case)
    skipped = [f"{skip.what}: {skip.why}" for skip in made.skipped]
    return {**row, "prepare_s": seconds, "held_mib": (held(run) - before) / 2**20, "applied": list(made.applied), "skipped": skipped}


def compiled(run: Run, case: Case, mode: str | None) -> dict[str, Any]:
    """The peer that is always there."""
    if run.is_dry:
        return {"left out": "a dry run compiles nothing"}
    started = time.monotonic()
    fast = torch.compile(Positional(case), mode=mode)
    fast(*case.inputs(0))
    seconds = time.monotonic() - started
    return {**turns(run, Positional(case), fast, case), "prepare_s": seconds}


def unseen(run: Run, case: Case, name: str) -> dict[str, Any]:
    """Other sizes and batches after measuring: right, and no slower than eager."""
    fast, registry = Positional(Case(copy.deepcopy(case.module), case.call, case.inputs)), Registry()
    registry.optimize(fast.module, quality="lossless")
    for seed in range(5):
        fast(*case.inputs(seed))
    is_unet = name.endswith("unet")
    side = case.inputs(0)[0].shape[-1]
    made: dict[str, Callable[[int], Inputs]] = {}
    for what, size, batch in (("smaller", side // 2, 1), ("odd", side - 1, 1), ("batch of three", side // 2, 3)):
        made[what] = unet_inputs(case.module, size, batch) if is_unet else latents_of(4, size, batch)
    rows = {}
    for what, make in made.items():
        other = Case(case.module, case.call, lambda seed, make=make: placed(run, make(seed)))
        row = turns(run, Positional(other), fast, other, pairs=3)
        rows[what] = {"slower": 1 / row["ratio"], "relative_l2": row["relative_l2"]}
    return rows


def dropped_in(run: Run, case: Case) -> dict[str, Any]:
    """A copy is plain, an edited weight counts, and restore gives eager back to the bit."""
    module, registry = copy.deepcopy(case.module), Registry()
    registry.optimize(module, quality="lossless")
    fast, inputs = Positional(Case(module, case.call, case.inputs)), case.inputs(0)
    for seed in range(5):
        fast(*case.inputs(seed))
    twin = Positional(Case(copy.deepcopy(module), case.call, case.inputs))
    plain = Positional(Case(copy.deepcopy(case.module), case.call, case.inputs))
    rows = {"copy": difference(plain(*inputs), twin(*inputs)), "keys": list(module.state_dict()) == list(case.module.state_dict())}
    for edited in (module, plain.module):
        for parameter in edited.parameters():
            parameter.mul_(1.01)
    rows["edited"] = difference(plain(*inputs), fast(*inputs))
    registry.restore(module)
    rows["restored"] = difference(plain(*inputs), fast(*inputs))
    return rows


def turns(run: Run, eager: Any, variant: Any, case: Case, pairs: int = PAIRS) -> dict[str, Any]:
    """The ratio of neighbours, and how far the results are apart on inputs that nothing was prepared with."""
    inputs = case.inputs(100)
    error = difference(eager(*inputs), variant(*inputs))
    found = []
    for index in range(3 if run.is_dry else pairs):
        order = (eager, variant) if index % 2 == 0 else (variant, eager)
        seconds = {}
        for module in order:
            seconds[module is variant] = timed(run, module, inputs)
        found.append((seconds.get(False, seconds[True]), seconds[True]))
    return {
        "eager_s": statistics.median(a for a, _ in found),
        "seconds": statistics.median(b for _, b in found),
        "ratio": statistics.median(a / b for a, b in found),
        "relative_l2": error,
    }


def timed(run: Run, module: Any, inputs: Inputs) -> float:
    """Seconds to the end of the work, not of its launch."""
    synchronize(run)
    before = time.perf_counter()
    module(*inputs)
    synchronize(run)
    return time.perf_counter() - before


def synchronize(run: Run) -> None:
    """Waits for the GPU."""
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)


def held(run: Run) -> int:
    """Bytes that tensors hold on the GPU; 0 in a dry run."""
    return torch.cuda.memory_allocated(run.device) if run.device.type == "cuda" else 0


def difference(expected: Tensor, got: Tensor) -> float:
    """Relative L2."""
    return float((expected.double() - got.double()).norm() / expected.double().norm())


def keep(run: Run) -> None:
    """One record for each kind of GPU."""
    path = record.FILE.with_name("optimize-gpu.json")
    everything = json.loads(path.read_text()) if path.exists() else {}
    made = record.machine(sys.executable)
    everything[torch.cuda.get_device_name()] = {
        "machine": made,
        **record.when(),
        "rows": run.rows,
        "left_out": [*run.left_out, *LEFT_OUT],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
