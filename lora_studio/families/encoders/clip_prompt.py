"""Prompts in A1111's windows: any length, in windows of 75 tokens that are encoded each by itself and put
side by side, and weights from brackets that multiply their tokens' embeddings.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from lora_studio.families.encoders.bundled_embeddings import Ids, run_at
from lora_studio.parsing.numbers import NUMBER
from lora_studio.prompts.prompt_weights import read_weights

WINDOW = 75
BACKTRACK = 20
"""A window that is full ends at its last comma, if that is no more than so many tokens back (A1111)."""
BREAK = re.compile(r"(?:(?<!\s)\s+)?\bBREAK\b\s*")
LOOSE_WEIGHT = re.compile(rf":\s*+({NUMBER})\s*+\)")
SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""CLIP's words (Radford et al. 2021), for a folder that has only its vocabulary."""

Window = list[tuple[int, float]]
"""Token numbers with their weights, at most 75."""


def windows_of(ids: Ids, text: str) -> list[Window]:
    """The text in windows of at most 75 tokens; the word BREAK ends one. At least one window."""
    comma = ids(",")
    windows: list[Window] = []
    window: Window = []
    for part, weight in _parts(text):
        if part is None:
            windows.append(window)
            window = []
            continue
        tokens = ids(part)
        for place, token in enumerate(tokens):
            if len(window) + run_at(tokens, place) > WINDOW > len(window):
                windows.append(window)
                window = []
            if len(window) == WINDOW:
                kept = WINDOW if [token] == comma else _last_comma(window, comma)
                windows.append(window[:kept])
                window = window[kept:]
            window.append((token, weight))
    return [*windows, window] if window or not windows else windows


def count_tokens(source: Any, text: str) -> tuple[int, int]:
    """Tokens of a text, without marks, and the windows they take. `source` is a tokenizer, or the folder of
    one, or of a base in diffusers' layout: that needs neither torch nor transformers.

    Raises FileNotFoundError for a folder without a tokenizer."""
    ids = caption_ids(Path(source)) if isinstance(source, str | Path) else ids_of(source)
    windows = windows_of(ids, text)
    return sum(map(len, windows)), len(windows)


def _parts(text: str) -> list[tuple[str | None, float]]:
    """Pieces with their weights; None is a BREAK."""
    parts: list[tuple[str | None, float]] = []
    for piece, weight in read_weights(LOOSE_WEIGHT.sub(r":\1)", text)):
        for number, part in enumerate(BREAK.split(piece)):
            parts += [(None, 1.0)] if number else []
            parts.append((part, weight))
    return parts


def _last_comma(window: Window, comma: list[int]) -> int:
    """The end of a full window that splits nothing: after its last comma, if that is near."""
    for place in range(WINDOW - 1, WINDOW - BACKTRACK - 1, -1):
        if [window[place][0]] == comma:
            return place + 1
    return WINDOW


def ids_of(tokenizer: Any) -> Ids:
    return lambda text: list(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def caption_ids(folder: Path) -> Ids:
    """Token numbers of a text as it stands, without marks and weights, by the tokenizer in a folder or in a
    base in diffusers' layout; without torch and transformers. Raises FileNotFoundError."""
    tokenizer = folder / "tokenizer"
    return _ids_in(tokenizer if tokenizer.is_dir() else folder)


@lru_cache(maxsize=8)
def _ids_in(folder: Path) -> Ids:
    tokenizer = _read_tokenizer(folder)
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def _read_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    whole = folder / "tokenizer.json"
    if whole.is_file():
        tokenizer = Tokenizer.from_file(str(whole))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if not (vocabulary.is_file() and merges.is_file()):
        raise FileNotFoundError(f"no tokenizer in {folder.name}")
    return _clip_tokenizer(vocabulary, merges)


def _clip_tokenizer(vocabulary: Path, merges: Path) -> Any:
    """CLIP's byte-pair tokenizer from its two files."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(
        models.BPE.from_file(
            str(vocabulary),
            str(merges),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token="<|endoftext|>",
        )
    )
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer
