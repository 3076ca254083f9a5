"""Every number of the optimizer: how much it may hold, how long it may take, what it accepts. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Quality = Literal["lossless", "balanced", "fast"]
QUALITIES: Final[tuple[Quality, ...]] = ("lossless", "balanced", "fast")

Builds = Literal["never", "background", "now"]
BUILDS: Final[tuple[Builds, ...]] = ("never", "background", "now")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one plan. Handed in, so that a test can measure modules that are too small to be worth it."""

    # A denoiser is called in a loop: inputs of calls 1, 2 and 4 are kept and the fourth call pays for the measuring.
    # Anything else is measured right after its first call, so that the warm-up pays and not the first request.
    capture_at_calls: tuple[int, ...] = (1, 2, 4)
    measure_at_call_looped: int = 4
    # Comparing a kernel with its layer inside a call of the program adds this share to the call's time, so it is spread over several.
    check_share: float = 0.04
    # A layer may be off by so many times what it was where its kernel was accepted, or by this share of what the module may be.
    check_ratio: float = 4.0
    check_least: float = 0.1
    # Later timesteps differ from the captured ones: from each of these calls of a loop on, all layers are compared once more.
    check_at_calls: tuple[int, ...] = (8, 16)
    loop_arguments: tuple[str, ...] = ("timestep", "timesteps", "t", "sigma", "sigmas")
    capture_bytes: int = 512 * 1024 * 1024
    kinds_kept: int = 8
    # A first call may fill a lazy cache; a module whose state changes again keeps state, and replaying would corrupt it.
    dirty_calls: int = 2
    budget_s: float = 30.0
    budget_per_warm_up: float = 3.0
    # The shell and its guard take some 20 us a call: beside less than this, they would eat most of a gain.
    min_call_s: float = 0.002
    min_gain: float = 1.02
    min_gain_of_one_pair: float = 1.2
    # Of the timed pairs, the share that the candidate must win: a median alone can be luck on a busy machine.
    min_won: float = 2 / 3
    min_pairs: int = 3
    sure_pairs: int = 5
    max_pairs: int = 11
    pairs_s: float = 1.0
    # A candidate this much slower in its first pair is not timed again.
    hopeless: float = 0.5
    memory_share: float = 0.5
    reasons_kept: int = 16
    # How many kinds of calls (shapes, dtypes, layouts) of one module are told apart; the others run eagerly.
    kinds_followed: int = 32
    # Other kinds than the one measured are tried from this call of theirs on; modules quicker than this are not followed if eager won.
    try_kind_at_call: int = 2
    follow_call_s: float = 0.005
    # A package is built for a kind that has been called so often, for at most so many kinds of a module; then this long at most.
    build_at_call: int = 3
    packages_per_module: int = 4
    build_s: float = 3600.0
    # CUDA graphs of one module, over kinds of calls and what runs in them; they share one pool of memory.
    graphs_per_module: int = 8
    # Memory and disk that a build may need, in sizes of the module's weights and beyond them; what must stay free meanwhile.
    build_memory_per_weight: float = 6.0
    build_memory_bytes: int = 2 * 1024**3
    shared_memory_per_weight: float = 2.0
    build_disk_per_weight: float = 4.0
    build_disk_bytes: int = 512 * 1024**2
    # In a package: what weights of convolutions in tiles may take, and up to how many operations a product is inlined rather than called.
    package_tiles_bytes: int = 256 * 1024**2
    package_inline_flops: int = 2_000_000
    spare_memory_bytes: int = 512 * 1024**2
    builds_waiting: int = 16
    # Kernels in C++ are built where so many seconds are left for it, with one compiler's run that may take so long.
    kernels_build_s: float = 6.0
    kernels_timeout_s: float = 120.0
    kernels_threads: int = 1024
    # What the store holds in all, what it leaves free on the disk, one entry's text, and for how long damaged entries stay.
    store_bytes: int = 4 * 1024**3
    store_spare_bytes: int = 256 * 1024**2
    store_entry_bytes: int = 8 * 1024**2
    store_aside_s: float = 24 * 3600.0


LIMITS: Final = Limits()

# How far two ways to compute a module in 16 bits are apart: SDXL's VAE in bfloat16 is 0.024 from itself in float32.
HALF_ROUNDING: Final = 0.02


@dataclass(frozen=True)
class Tolerance:
    """How far outputs may be from eager: relative L2 error and cosine similarity, over all captured calls."""

    relative_error: float
    cosine: float


def tolerance(quality: Quality, noise: float, is_half: bool) -> Tolerance:
    """What a quality allows. `noise` is the relative error between two eager runs, `is_half` a 16-bit reference.

    In float32 another order of the same sums gives 1e-6 to 1e-5, so 1e-3 is already a defect there.
    """
    if quality == "lossless":
        return Tolerance(max(2 * noise, 1e-2 if is_half else 1e-3), 0.999)
    return Tolerance(5e-2, 0.998) if quality == "balanced" else Tolerance(1e-1, 0.99)
