"""Texts as messages to a language model, and how long they are. Loads no torch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from lora_studio.catalog import LongText


def as_message(tokenizer: Any, text: str, *, thinks: bool = True) -> str:
    """The text as a user's message in the tokenizer's chat template; `thinks` as LongText has it."""
    message = [{"role": "user", "content": text}]
    filled: str = tokenizer.apply_chat_template(
        message, tokenize=False, add_generation_prompt=True, enable_thinking=thinks
    )
    return filled


def count_long(folder: Path, text: str, how: LongText) -> int:
    """Tokens of a text as it is read whole, marks and template included, however many are read of them; of
    several tokenizers, by the one that needs most. `folder` is the base's, in diffusers' layout. Raises
    OSError, ValueError where it has no tokenizer that can be used."""
    counts = []
    for name in how.tokenizers:
        tokenizer = _tokenizer(folder / name)
        whole = as_message(tokenizer, text, thinks=how.thinks) if how.as_message else text
        counts.append(len(tokenizer(whole, verbose=False).input_ids))
    return max(counts)


@lru_cache(maxsize=4)
def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
