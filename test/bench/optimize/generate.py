"""A small language model writing words after a prompt, eager against ours: the same words, and how fast. Prints one row."""

from __future__ import annotations

import argparse
import copy
import statistics
from typing import Any

import torch
from flambeau.optimize import optimize, report
from modules import language_model
from setting import Row, print_row, work_s
from torch import Tensor

PROMPT = 64
WORDS = 32
PAIRS = 7
# Until every kind of call is settled: the prompt at its second, the word after it once enough pairs were timed.
WARM_UP = 3


def main() -> None:
    """One row: for each quality and batch, the ratio and the words that differ."""
    print_row(every_setting, argparse.ArgumentParser())


def every_setting(arguments: argparse.Namespace) -> Row:
    """See main."""
    pairs = 1 if arguments.quick else PAIRS
    found = {f"{quality}, batch {batch}": measured(quality, batch, pairs) for quality in ("lossless", "balanced") for batch in (1, 4)}
    different = sum(row["different_words"] for name, row in found.items() if name.startswith("lossless"))
    ratios = ", ".join(f"{name} {row['ratio']:.2f}x" for name, row in found.items())
    return {"summary": f"{ratios}; lossless: {different} words differ", "prompt": PROMPT, "words": WORDS, "settings": found}


def measured(quality: str, batch: int, num_pairs: int) -> dict[str, Any]:
    """Turns of one whole generation each."""
    plain: Any = language_model().module
    fast = optimize(copy.deepcopy(plain), quality=quality, store=False)
    first = _timed(fast, prompt(batch, 0))[0]
    for seed in range(1, WARM_UP):
        _timed(fast, prompt(batch, seed))
    pairs, different = [], 0
    for index in range(num_pairs):
        ids = prompt(batch, 10 + index)
        order = (plain, fast) if index % 2 == 0 else (fast, plain)
        results = {id(model): _timed(model, ids) for model in order}
        (eager_s, expected), (seconds, got) = results[id(plain)], results[id(fast)]
        pairs.append((eager_s, seconds))
        different += int((expected != got).sum())
    made = report(fast)
    return {
        "ratio": statistics.median(eager_s / seconds for eager_s, seconds in pairs),
        "eager_s": statistics.median(eager_s for eager_s, _ in pairs),
        "seconds": statistics.median(seconds for _, seconds in pairs),
        "first_s": first,
        "different_words": different,
        "applied": list(made.applied),
        "eager_calls": {counted.why: counted.count for counted in made.eager_calls},
    }


def prompt(batch: int, seed: int) -> Tensor:
    """Any words."""
    return torch.randint(3, 8000, (batch, PROMPT), generator=torch.Generator().manual_seed(seed))


def _timed(model: Any, ids: Tensor) -> tuple[float, Tensor]:
    before_s = work_s()
    made: Tensor = model.generate(ids, max_new_tokens=WORDS, min_new_tokens=WORDS, do_sample=False, pad_token_id=0)
    return work_s() - before_s, made


if __name__ == "__main__":
    main()
