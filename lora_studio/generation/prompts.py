"""The prompt as the base model sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lora_studio.data.captions import has_word


def with_triggers(prompt: str, triggers: Iterable[str]) -> str:
    """Put the trigger words that the prompt lacks in front of it, in order, each once.

    A trigger is present when it stands there as a word of its own, in any case: "(ZWCAT:1.2)" has "zwcat",
    "zwcats" has not. The form is that of the captions in training.
    """
    missing: list[str] = []
    for trigger in triggers:
        word = trigger.strip()
        if word and not has_word(prompt, word) and not any(has_word(other, word) for other in missing):
            missing.append(word)
    return ", ".join([*missing, prompt.strip()] if prompt.strip() else missing) if missing else prompt


def cut_off(tokenizer: Any, text: str) -> str:
    """The end of `text` beyond the tokenizer's window (for CLIP 77 tokens with start and end mark); empty
    when all of it fits."""
    limit = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return str(tokenizer.decode(tokens[limit:])).strip() if len(tokens) > limit else ""
