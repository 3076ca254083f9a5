"""Which rows there are, how long each takes about, and in which order they say most for the time. Knows names, no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# Seconds of a row that measures eager against itself, about: the cheap ones say as much as the others.
MODULES: Final[Mapping[str, float]] = {
    "bundled-text": 15.0,
    "bundled-vae": 20.0,
    "bundled-unet": 25.0,
    "cnn": 20.0,
    "encoder": 30.0,
    "language-model-step": 25.0,
    "language-model": 30.0,
    "sdxl-vae": 150.0,
    "sdxl-unet": 250.0,
}
# How many times as long a variant takes.
VARIANTS: Final[Mapping[str, float]] = {
    "flambeau-balanced": 1.3,
    "flambeau-lossless": 1.3,
    "openvino": 1.2,
    "onnxruntime": 1.5,
    "eager": 1.0,
    "flambeau-fast": 1.3,
    "openvino-f32": 1.2,
    "compile-best": 3.0,
    "compile": 2.5,
    "pt2e-int8": 4.0,
    "flambeau-lossless-built": 4.0,
    "flambeau-balanced-built": 4.0,
}
# Ours and the strongest peers: what the benchmark is there to tell.
TELLING: Final = ("flambeau-balanced", "flambeau-lossless", "openvino", "onnxruntime")
# Claims of their own, each measured by a script: a row for ours alone.
CLAIMS: Final[Mapping[str, float]] = {"small": 120.0, "inputs": 90.0, "generate": 60.0}
# These choose their instructions themselves, whatever torch and oneDNN are told.
UNFORCED: Final = ("onnxruntime",)
# A row that takes so many times what was expected, and this long at least, is ended.
_PATIENCE: Final = 5.0
_LEAST_S: Final = 600.0


@dataclass(frozen=True)
class Name:
    """What is measured in one row."""

    module: str
    variant: str
    threads: int
    isa: str

    @property
    def is_claim(self) -> bool:
        """Whether a script of its own measures it."""
        return self.module in CLAIMS

    def __str__(self) -> str:
        return f"{self.module}/{self.isa}/{self.threads}/{self.variant}"


def ordered(names: Iterable[Name], rows: Mapping[str, Any]) -> list[Name]:
    """One thread and native before the rest, claims and the telling variants before the rest; then the cheapest first."""

    def place(name: Name) -> tuple[object, ...]:
        is_telling = name.is_claim or name.variant in TELLING
        return name.isa != "native", name.threads, not name.is_claim, not is_telling, expected_s(name, rows)

    return sorted(names, key=place)


def expected_s(name: Name, rows: Mapping[str, Any]) -> float:
    """As long as it took before, or another setting of it did; else an estimate."""
    for known in (str(name), *_alike(name, rows)):
        took_s = rows.get(known, {}).get("took_s")
        if isinstance(took_s, (int, float)):
            return float(took_s)
    return CLAIMS[name.module] if name.is_claim else MODULES[name.module] * VARIANTS[name.variant]


def most_s(name: Name, rows: Mapping[str, Any]) -> float:
    """When a row is ended: a compiler that has hung must not hold up the rest."""
    return max(_LEAST_S, _PATIENCE * expected_s(name, rows))


def _alike(name: Name, rows: Mapping[str, Any]) -> Collection[str]:
    ends = (f"{name.module}/", f"/{name.variant}")
    return [known for known in rows if known.startswith(ends[0]) and known.endswith(ends[1])]
