"""On a machine with an NVIDIA GPU, in under ten minutes: pictures of SDXL's size with random weights, eager, by torch.compile and ours.

Takes the torch that is there; without diffusers the same layers in plain torch stand in. Each variant is a process of its own. What
does not fit into the time left, or cannot be had, is left out and named. `--dry-run` goes through the same steps on a CPU with a small
model: it shows that the script runs, and says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

STARTED_S: Final = time.monotonic()

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

ROOT: Final = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "python"), str(Path(__file__).parent)]

import sdxl  # noqa: E402
from gpu_record import keep, rounded, verdicts  # noqa: E402

BUDGET_S: Final = 540.0
PICTURES: Final = 5
# A UNet is measured within its first picture; a compiled package is ordered, compared and raced in those after it.
SETTLING: Final = 3
_DOTS: Final = 0.13
LEFT_OUT: Final = (
    "TensorRT and other engines: no part of what this repository installs",
    "the text encoders and a real pipeline: there are no weights to load",
    "quality of real pictures: weights are random, errors are those of one call",
    "more than one GPU",
)


@dataclass(frozen=True)
class Variant:
    """One way to paint. `needs_s` is what it takes at least on a fast GPU; `store`: a directory by this name, for the next one too."""

    name: str
    needs_s: float
    quality: str = ""
    builds: str = "never"
    store: str = ""
    mode: str = ""


# The first say most, as time may end.
VARIANTS: Final = (
    Variant("eager", 20),
    Variant("ours-balanced", 40, quality="balanced", store="rows"),
    Variant("ours-balanced-warm", 20, quality="balanced", store="rows"),
    Variant("torch-compile", 90, mode="default"),
    Variant("ours-bf16-built", 120, quality="lossless", builds="now", store="built"),
    Variant("ours-bf16-built-warm", 20, quality="lossless", store="built"),
    Variant("ours-bf16", 40, quality="lossless"),
    Variant("torch-compile-graphs", 90, mode="reduce-overhead"),
)


@dataclass
class Painter:
    """A UNet, a VAE and the loop that a pipeline has around them: guidance, and steps of Euler's."""

    unet: nn.Module
    vae: Any
    sizes: sdxl.Sizes
    device: torch.device
    dtype: torch.dtype

    def paint(self, seed: int) -> tuple[float, float]:
        """Seconds of the steps, and of decoding."""
        conditions = sdxl.conditions(self.sizes, self.device, self.dtype)
        times = torch.linspace(999, 1, self.sizes.steps, device=self.device)
        latents = self.noise(seed, 1)
        started = self.now_s()
        for step in range(self.sizes.steps):
            doubled = torch.cat([latents] * 2)
            unasked, asked = self.call(doubled, times[step], conditions).chunk(2)
            latents = latents - (unasked + 5.0 * (asked - unasked)) / self.sizes.steps
        painted = self.now_s()
        self.vae.decode(latents * _DOTS, return_dict=False)
        return painted - started, self.now_s() - painted

    def call(self, latents: Tensor, timestep: Tensor, conditions: dict[str, Any]) -> Tensor:
        """As SDXL's pipeline calls its UNet."""
        output = self.unet(latents, timestep, timestep_cond=None, cross_attention_kwargs=None, return_dict=False, **conditions)[0]
        assert isinstance(output, Tensor)
        return output

    def outputs(self) -> tuple[Tensor, Tensor]:
        """Of one call of each, on inputs of their own."""
        conditions = sdxl.conditions(self.sizes, self.device, self.dtype)
        noise = self.call(self.noise(77, 2), torch.tensor(321.0, device=self.device), conditions)
        return noise.clone(), self.vae.decode(self.noise(78, 1), return_dict=False)[0].clone()

    def noise(self, seed: int, batch: int) -> Tensor:
        """The same on every device."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, 4, self.sizes.side, self.sizes.side, generator=generator).to(self.device, self.dtype)

    def now_s(self) -> float:
        """Once all that was launched is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()


def main() -> None:
    """One variant in this process, or all of them in their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, small")
    parser.add_argument("--only", nargs="*", choices=[variant.name for variant in VARIANTS], help="these variants")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--stores", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.variant:
        chosen = next(variant for variant in VARIANTS if variant.name == given.variant)
        with torch.no_grad():
            print(json.dumps(measured(chosen, given.dry_run, given.stores)))
        return
    if not given.dry_run and not torch.cuda.is_available():
        sys.exit("no GPU that torch can use was found; --dry-run goes through the steps on the CPU")
    run(given.dry_run, given.only)


def run(is_dry: bool, only: list[str] | None) -> None:
    """All variants, each with what time is left; then the record."""
    where = "CPU, dry run: says nothing of a GPU" if is_dry else torch.cuda.get_device_name()
    made_by = sdxl.make(sdxl.SMALL if is_dry else sdxl.FULL)
    print(f"{where}; torch {torch.__version__}; layers of {made_by}", flush=True)
    rows: dict[str, Any] = {}
    left_out = [] if made_by == "diffusers" else ["diffusers' own classes: the same layers in plain torch stand in"]
    with tempfile.TemporaryDirectory() as stores:
        for variant in VARIANTS:
            left_s = BUDGET_S - (time.monotonic() - STARTED_S)
            if only and variant.name not in only:
                left_out.append(f"{variant.name}: not asked for")
            elif left_s < variant.needs_s and not is_dry:
                left_out.append(f"{variant.name}: needs {variant.needs_s:.0f} s or more, {left_s:.0f} s are left")
            else:
                rows[variant.name] = compared(in_process(variant, is_dry, stores, max(left_s, 1.0)), rows)
                print(f"{variant.name:<24} {json.dumps(rows[variant.name])}", flush=True)
    for line in (*verdicts(rows), *(f"left out  {reason}" for reason in (*left_out, *LEFT_OUT))):
        print(line)
    print(f"took {time.monotonic() - STARTED_S:.0f} s")
    if not is_dry:
        keep({"rows": rows, "verdicts": verdicts(rows), "left_out": [*left_out, *LEFT_OUT], "layers": made_by})


def in_process(variant: Variant, is_dry: bool, stores: str, most_s: float) -> dict[str, Any]:
    """The row of one variant; a crash or the end of its time is a row as well."""
    order = ["--variant", variant.name, "--stores", stores, *(["--dry-run"] if is_dry else [])]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(Path(stores, variant.name))}
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, *order],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env=environment,
        )
        try:
            output, _ = child.communicate(timeout=most_s)
            lines = output.strip().splitlines()
            row: dict[str, Any] = json.loads(lines[-1])
            return row
        except subprocess.TimeoutExpired:
            return {"failed": f"time: more than the {most_s:.0f} s that were left"}
        except (IndexError, ValueError):
            errors.seek(0)
            said = errors.read().strip().splitlines()
            return {"failed": f"exit code {child.returncode}: {said[-1][:300] if said else 'nothing said'}"}
        finally:
            # Compilers that it has started may still run.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def measured(variant: Variant, is_dry: bool, stores: Path) -> dict[str, Any]:
    """In this process: the first picture, and those once everything has settled."""
    painter = made(is_dry)
    expected = painter.outputs()
    if painter.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ready_s = painter.now_s() - STARTED_S
    notes = prepared(variant, painter, is_dry, stores)
    first_s = sum(painter.paint(0))
    for seed in range(1, SETTLING if variant.name != "eager" and not is_dry else 1):
        painter.paint(seed)
    pictures = [painter.paint(10 + seed) for seed in range(2 if is_dry else PICTURES)]
    steps_s, decode_s = (statistics.median(times) for times in zip(*pictures, strict=True))
    return {
        "picture_s": steps_s + decode_s,
        "step_ms": 1e3 * steps_s / painter.sizes.steps,
        "vae_ms": 1e3 * decode_s,
        "first_picture_s": first_s,
        "ready_s": ready_s,
        **memory(painter),
        **{f"{name}_l2": difference(a, b) for name, a, b in zip(("unet", "vae"), expected, painter.outputs(), strict=True)},
        **notes(),
    }


def made(is_dry: bool) -> Painter:
    """The same weights in every process."""
    device, dtype = (torch.device("cpu"), torch.float32) if is_dry else (torch.device("cuda", 0), torch.bfloat16)
    sizes = sdxl.SMALL if is_dry else sdxl.FULL
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return Painter(sdxl.unet(sizes), sdxl.vae(sizes), sizes, device, dtype)
    finally:
        torch.set_default_dtype(before)


def prepared(variant: Variant, painter: Painter, is_dry: bool, stores: Path) -> Callable[[], dict[str, Any]]:
    """Makes the painter fast; what is to be said of it afterwards."""
    if variant.mode:
        # A dry run traces and compiles nothing: the way is the same.
        options: dict[str, Any] = {"backend": "eager"} if is_dry else {"mode": variant.mode}
        if not is_dry:
            painter.unet.to(memory_format=torch.channels_last)
            painter.vae.to(memory_format=torch.channels_last)
        painter.unet.compile(fullgraph=True, **options)
        painter.vae.decoder.compile(fullgraph=True, **options)
        return dict
    if not variant.quality:
        return dict
    from flambeau.optimize.registry import Registry

    registry, builds = Registry(), "never" if is_dry else variant.builds
    place: Any = stores / variant.store if variant.store else False
    for module in (painter.unet, painter.vae):
        registry.optimize(module, quality=variant.quality, store=place, builds=builds)  # type: ignore[arg-type]

    def said() -> dict[str, Any]:
        notes: dict[str, Any] = {}
        for name, module in (("unet", painter.unet), ("vae", painter.vae)):
            report = registry.report(module)
            notes[name] = {
                "applied": list(report.applied),
                "skipped": [f"{skip.what}: {skip.why}" for skip in report.skipped],
                "seconds": report.seconds,
                "claimed": report.speed_up,
                "eager_calls": [[calls.why, calls.count] for calls in report.eager_calls],
            }
        return notes

    return said


def memory(painter: Painter) -> dict[str, float]:
    """MiB on the GPU; nothing in a dry run."""
    if painter.device.type != "cuda":
        return {}
    return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20, "reserved_mib": torch.cuda.memory_reserved() / 2**20}


def compared(row: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    """With how many times over eager it is."""
    eager = rows.get("eager", {})
    if "picture_s" not in row or "picture_s" not in eager:
        return rounded(row)
    return rounded({"over_eager": eager["picture_s"] / row["picture_s"], **row})


def difference(expected: Tensor, got: Tensor) -> float:
    """Relative L2."""
    return float((expected.double() - got.double()).norm() / expected.double().norm())


if __name__ == "__main__":
    main()
