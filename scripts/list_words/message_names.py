"""The rule for messages: text with words of a language in it, its placeholders aside."""

from __future__ import annotations

import re

PLACEHOLDER = re.compile(r"\{[a-z_A-Z]+\}")
TAG = re.compile(r"</?[a-z]+>")
WORD = re.compile(r"[A-Za-z]{2,}")
NAMES = re.compile(
    r"(LoRA|LoRAs|Studio|Kohya|API|Supabase|TOML|JSON|ZIP|PNG|Hub|VRAM|GPU|CFG|px|kB|MB|GB|URL|MB|min)"
)
"""Words that are the same in every language."""


def squeezed(text: str) -> str:
    """Text with single spaces and without signs that join it to another, to look a message up."""
    return " ".join(text.split()).strip(" ·").removeprefix(", ").removeprefix("; ").removesuffix(",").strip()


def is_message(text: str) -> bool:
    """Whether there is anything in a text to translate."""
    rest = NAMES.sub("", TAG.sub("", PLACEHOLDER.sub("", text)))
    return bool(WORD.search(rest))
