"""Lengths of captions in tokens of a base's own text encoder, without loading it. CLIP's need no torch."""

from __future__ import annotations

from pathlib import Path

from lora_studio.data.checks.checked_set import CaptionLength
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import cached
from lora_studio.families.base_files.usual_parts import TOKENIZER, tokenizer_folder
from lora_studio.families.encoders.chat_message import count_long
from lora_studio.families.encoders.clip_prompt import WINDOW, caption_ids


def caption_length(found: FoundBase, max_token_length: int | None = None) -> CaptionLength | None:
    """The counting of a base's captions; None where its tokenizer isn't here. A base that reads by CLIP and
    was not fetched yet has the usual tokenizer."""
    if (how := found.traits.long_text) is not None:
        folder = cached(found.path_or_id) if found.layout == "hub" else Path(found.path_or_id)
        if folder is None:
            return None
        folder = folder.with_suffix("") if found.layout == "file" else folder
        try:
            count_long(folder, "", how)
        except (OSError, ValueError):
            return None
        return CaptionLength(limit=how.limit, count=lambda text: count_long(folder, text, how))
    places = {"file": lambda: tokenizer_folder(found), "folder": lambda: Path(found.path_or_id)}
    try:
        ids = caption_ids(places.get(found.layout, lambda: TOKENIZER)())
    except FileNotFoundError:
        ids = caption_ids(TOKENIZER)
    return CaptionLength(limit=max_token_length or WINDOW, count=lambda text: len(ids(text)))
