"""The text that a caption is put into. Loads no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lora_studio.data.captions import has_word
from lora_studio.data.edits.picture_edits import LONGEST_CAPTION
from lora_studio.errors import ConfigError
from lora_studio.parsing.plain_text import plain_text

LONGEST_TEMPLATE = 500
CAPTION, TRIGGER = "{caption}", "{trigger}"
PLACES = re.compile(r"(\{caption\}|\{trigger\})")
PLAIN_TEMPLATE = f"{TRIGGER}, {CAPTION}"


@dataclass(frozen=True, kw_only=True)
class CaptionTemplate:
    """A text with {caption} and {trigger}; a trigger that the engine said already isn't doubled."""

    text: str = PLAIN_TEMPLATE
    trigger: str = ""

    def __post_init__(self) -> None:
        if CAPTION not in self.text or len(self.text) > LONGEST_TEMPLATE:
            raise ConfigError(
                f"The template needs {CAPTION} in it, and up to {LONGEST_TEMPLATE} characters.",
                field="template",
            )

    def of(self, caption: str) -> str:
        """The caption in the template, as one line."""
        trigger = "" if has_word(caption, self.trigger) else self.trigger
        pieces = {CAPTION: caption, TRIGGER: trigger}
        # In one pass: what is put in may hold the places' names.
        filled = "".join(pieces.get(part, part) for part in PLACES.split(self.text))
        return plain_text(filled, LONGEST_CAPTION).strip(" ,")
