"""The token counter below the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_studio.errors import StudioError
from lora_studio.families.base_files.locate import find_base
from lora_studio.families.base_files.usual_parts import TOKENIZER, tokenizer_folder
from lora_studio.families.encoders.clip_prompt import WINDOW, count_tokens
from lora_studio.formatting import counted
from lora_studio.prompts.lora_tags import TAG
from lora_studio.settings import Settings
from lora_studio.ui.client_input.validate import safe_base
from lora_studio.ui.widgets.html_templates import fill

LONGEST = 4000
"""Characters that are counted; a request may have more."""


def token_count(text: Any, base: Any, settings: Settings) -> str:
    """HTML: tokens and windows of a prompt. A base whose tokenizer isn't here yet is taken to read as CLIP
    does."""
    words = TAG.sub("", str(text or ""))[:LONGEST].strip()
    if not words:
        return ""
    tokens, windows = _count(words, base, settings)
    if windows == 1:
        return fill("quiet", text=f"{tokens} of {WINDOW} tokens")
    return fill("quiet", text=f"{counted(tokens, 'token')}, in {windows} parts of up to {WINDOW}")


def _count(text: str, base: Any, settings: Settings) -> tuple[int, int]:
    try:
        found = find_base(safe_base(base, settings), settings)
        if found.layout == "folder":
            return count_tokens(Path(found.path_or_id), text)
        if found.layout == "file":
            return count_tokens(tokenizer_folder(found), text)
    except (StudioError, FileNotFoundError):
        pass
    return count_tokens(TOKENIZER, text)
