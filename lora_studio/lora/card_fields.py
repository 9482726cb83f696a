"""The fields of a LoRA's model card that people fill in, kept in `training.json` beside the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.lora.file.lora_files import LONGEST_TITLE
from lora_studio.lora.lora_folder import LONGEST_NOTE, tags_in
from lora_studio.parsing.plain_text import plain_lines, plain_text

CARD, PUBLISHED = "card", "published"
"""Keys in `training.json`: what people write for the card, and the model on the Hub that a LoRA went to."""
LONGEST_DESCRIPTION, LONGEST_TRIGGER, LONGEST_PROMPT = 8000, 200, 500
MOST_PROMPTS = 20


@dataclass(frozen=True, kw_only=True)
class CardWords:
    """A description in Markdown, the words that call the subject up (empty: the file's), prompts to try."""

    description: str = ""
    trigger: str = ""
    prompts: tuple[str, ...] = ()

    def as_notes(self) -> dict[str, Any]:
        """The words as `training.json` has them."""
        return {**asdict(self), "prompts": list(self.prompts)}


def read_words(notes: Mapping[str, Any]) -> CardWords:
    """The words in `training.json`, which may be a stranger's: what does not fit is cut or left out."""
    kept = notes.get(CARD)
    if not isinstance(kept, dict):
        return CardWords()
    prompts = kept.get("prompts")
    lines = prompts[:MOST_PROMPTS] if isinstance(prompts, list) else []
    found = (plain_text(line, LONGEST_PROMPT) for line in lines)
    description = kept.get("description")
    text = plain_lines(description[:LONGEST_DESCRIPTION]).strip() if isinstance(description, str) else ""
    trigger = plain_text(kept.get("trigger"), LONGEST_TRIGGER)
    return CardWords(description=text, trigger=trigger, prompts=tuple(filter(None, found)))


def given_words(*, description: str, trigger: str, prompts: str) -> CardWords:
    """The words that a person types, a prompt a line. Raises ConfigError for too long ones."""
    text = plain_lines(description).strip()
    if len(text) > LONGEST_DESCRIPTION:
        raise ConfigError(
            f"Description: {len(text):,} characters are too many.",
            f"Use at most {LONGEST_DESCRIPTION:,}.",
            field="description",
        )
    word = plain_text(trigger, LONGEST_TRIGGER + 1)
    if len(word) > LONGEST_TRIGGER:
        raise ConfigError(
            "The trigger words are too long.", f"Use at most {LONGEST_TRIGGER} characters.", field="trigger"
        )
    lines = [line for line in map(str.strip, plain_lines(prompts).split("\n")) if line]
    if len(lines) > MOST_PROMPTS:
        raise ConfigError(
            f"{len(lines)} prompts are too many.",
            f"Write at most {MOST_PROMPTS}, each in a line.",
            field="prompts",
        )
    if long := next((line for line in lines if len(line) > LONGEST_PROMPT), ""):
        raise ConfigError(
            f"The prompt “{long[:40]}…” is too long.",
            f"A prompt has at most {LONGEST_PROMPT} characters.",
            field="prompts",
        )
    shown = tuple(plain_text(line, LONGEST_PROMPT) for line in lines)
    return CardWords(description=text, trigger=word, prompts=tuple(filter(None, shown)))


def words_of_people(notes: Mapping[str, Any]) -> dict[str, Any]:
    """The words of people on a LoRA, to be written again beside another training's facts; in plain text,
    since the file may be a stranger's."""
    found: dict[str, Any] = {
        "title": plain_text(notes.get("title"), LONGEST_TITLE),
        "favourite": notes.get("favourite") is True,
        "tags": list(tags_in(notes)),
        "note": plain_text(notes.get("note"), LONGEST_NOTE),
        PUBLISHED: plain_text(notes.get(PUBLISHED), LONGEST_TRIGGER),
    }
    words = read_words(notes)
    return {key: value for key, value in found.items() if value} | (
        {CARD: words.as_notes()} if words != CardWords() else {}
    )
