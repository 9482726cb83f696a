"""The token counter below the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_studio.catalog import LongText
from lora_studio.errors import StudioError
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import cached
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.base_files.usual_parts import TOKENIZER, tokenizer_folder
from lora_studio.families.encoders.chat_message import count_long
from lora_studio.families.encoders.clip_prompt import WINDOW, count_tokens
from lora_studio.formatting import counted
from lora_studio.prompts.lora_tags import TAG
from lora_studio.settings import Settings
from lora_studio.ui.client_input.validate import safe_base
from lora_studio.ui.widgets.html_templates import fill

LONGEST = 4000
"""Characters that are counted; a request may have more."""


def token_count(text: Any, base: Any, settings: Settings) -> str:
    """HTML: tokens of a prompt, and the windows or the limit of the base's text encoder. A base that reads by
    CLIP and whose tokenizer isn't here yet has the usual one; of another such base nothing is said."""
    words = TAG.sub("", str(text or ""))[:LONGEST].strip()
    if not words:
        return ""
    try:
        found = find_base(safe_base(base, settings), settings)
    except StudioError:
        return _windows(TOKENIZER, words)
    if (how := found.traits.long_text) is not None:
        return _of_limit(found, words, how)
    try:
        return _windows(tokenizer_folder(found) if found.layout == "file" else Path(found.path_or_id), words)
    except FileNotFoundError:
        return _windows(TOKENIZER, words)


def _windows(tokenizer: Path, words: str) -> str:
    tokens, windows = count_tokens(tokenizer, words)
    if windows == 1:
        return fill("quiet", text=f"{tokens} of {WINDOW} tokens")
    return fill("quiet", text=f"{counted(tokens, 'token')}, in {windows} parts of up to {WINDOW}")


def _of_limit(found: FoundBase, words: str, how: LongText) -> str:
    folder = cached(found.path_or_id) if found.layout == "hub" else Path(found.path_or_id)
    if folder is None:
        return ""
    try:
        tokens = count_long(folder.with_suffix("") if found.layout == "file" else folder, words, how)
    except (OSError, ValueError):
        return ""
    if tokens > how.limit:
        return fill("quiet", text=f"{counted(tokens, 'token')}, of which {how.limit} are read")
    return fill("quiet", text=f"{tokens} of {how.limit} tokens")
