"""Builds the two CLIP tokenizers: 512 byte symbols, merges that make the captions' words whole, and the start and end marks."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from .captions import caption
from .model import TOKENS
from .pictures import random_picture
from .plan import Plan

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
SAMPLED_CAPTIONS = 20_000
COMMON_WORDS = (
    "the of and with in on at a an very shot portrait colorful colour color bright dark light sky grass photo picture wearing hat two "
    "three one no is are there it that looks like style painting watercolor oil pixel art"
)
"""Words that people write in prompts though the captions do not: one token each keeps such prompts short."""
COMMON_WORD_COUNT = 5
COUNT_LIMIT = 50
Pair = tuple[str, str]


def write_tokenizers(plan: Plan) -> None:
    """Writes tokenizer and tokenizer_2 into the work folder; only their padding differs."""
    vocabulary, merges = learn_merges(count_words(plan.seed))
    for name, pad in (("tokenizer", END), ("tokenizer_2", "!")):
        folder = plan.file(name)
        folder.mkdir(parents=True, exist_ok=True)
        _write_files(folder, vocabulary, merges, pad)
        # transformers 5 reads tokenizer.json, which it writes itself; older versions read vocab.json and merges.txt.
        CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)


def count_words(seed: int) -> Counter[str]:
    """How often each word occurs in sampled captions, and the common words."""
    rng, counts = random.Random(f"tokenizer {seed}"), Counter[str]()
    for _ in range(SAMPLED_CAPTIONS):
        counts.update(re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", caption(random_picture(rng), rng).lower()))
    for word in COMMON_WORDS.split():
        counts.setdefault(word, COMMON_WORD_COUNT)
    return counts


def learn_merges(counts: Counter[str]) -> tuple[list[str], list[Pair]]:
    """The vocabulary in the order of its ids, and the merges in the order of their rank: until every word is one token."""
    spellings = {word: [*word[:-1], word[-1] + WORD_END] for word in counts}
    merges: list[Pair] = []
    while True:
        pairs: Counter[Pair] = Counter()
        for word, spelling in spellings.items():
            for pair in pairwise(spelling):
                pairs[pair] += COUNT_LIMIT + min(counts[word], COUNT_LIMIT)
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spellings = {word: _merged(spelling, best) for word, spelling in spellings.items()}
    symbols = byte_symbols()
    return [*symbols, *(symbol + WORD_END for symbol in symbols), *("".join(pair) for pair in merges), START, END], merges


def byte_symbols() -> list[str]:
    """The printable character that stands for each byte, in CLIP's order ("!" comes first)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(hidden))]


def _merged(spelling: list[str], pair: Pair) -> list[str]:
    merged: list[str] = []
    for symbol in spelling:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def _write_files(folder: Path, vocabulary: list[str], merges: list[Pair], pad: str) -> None:
    ids = {token: place for place, token in enumerate(vocabulary)}
    if len(ids) != len(vocabulary):
        raise ValueError("two merges make the same token")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": pad,
        "do_lower_case": True,
        "errors": "replace",
        "add_prefix_space": False,
    }
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
