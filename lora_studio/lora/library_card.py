"""The model card of a LoRA of the library: made of its file, its training and what people say of it, and
written anew when one of them changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_studio.catalog import BASES
from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.files import write_atomically
from lora_studio.lora.card_fields import CARD, read_words
from lora_studio.lora.lora_folder import read_notes, read_record
from lora_studio.lora.model_card import BY_US, CardBase, write_card, write_found_card
from lora_studio.parsing.plain_text import is_plain, plain_text
from lora_studio.records import LoraRecord

README, BY_HAND = "README.md", "README.by-hand.md"
LONGEST_READ = 1 << 20
"""Bytes of a card that is looked at."""
MOST_PREVIEWS = 12


def card_base(record: LoraRecord) -> CardBase:
    """The base of a LoRA as far as a card names it: an entry of the catalog, or the file's own word."""
    wanted = record.base.casefold()
    entry = next((one for one in BASES.values() if wanted in (one.name, one.source.casefold())), None)
    if entry is None:
        return CardBase(name=record.base, family=record.family)
    return CardBase(name=entry.name, hub_id=entry.source, licence=entry.licence, family=entry.family)


def card_of(folder: Path) -> str:
    """The Markdown of the card of a LoRA's folder. Raises BrokenFile, UnknownFormat, OSError."""
    record, notes = read_record(folder), read_notes(folder)
    base, words = card_base(record), read_words(notes)
    config = _config(notes)
    if config is None:
        return write_found_card(record, base, words)
    found = notes.get("result")
    result: dict[str, Any] = found if isinstance(found, dict) else {}
    images = result.get("images")
    return write_card(
        config,
        base,
        images=images if isinstance(images, int) and 0 < images < 10**6 else 1,
        steps=record.steps,
        previews=_previews(folder, result),
        words=words,
        notes=notes,
    )


def renew_card(folder: Path) -> None:
    """Write the card anew, if people wrote for it or it is one of ours. One that somebody wrote by hand is
    kept beside it. Raises BrokenFile, UnknownFormat, OSError."""
    path = folder / README
    old = read_card(folder)
    if CARD not in read_notes(folder) and BY_US not in old:
        return
    if old and BY_US not in old and not (folder / BY_HAND).exists():
        path.replace(folder / BY_HAND)
    write_atomically(path, card_of(folder))


def read_card(folder: Path) -> str:
    """The text of README.md; empty without one that can be read."""
    try:
        with (folder / README).open("rb") as file:
            return file.read(LONGEST_READ).decode("utf-8", "replace")
    except OSError:
        return ""


def _config(notes: Mapping[str, Any]) -> TrainConfig | None:
    given = notes.get("config")
    try:
        return TrainConfig.from_json(given) if isinstance(given, dict) else None
    except ConfigError:  # a part of one, or a stranger's
        return None


def _previews(folder: Path, result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(prompt, picture without, picture with it) of the last step, of pictures that are in the folder."""
    listed = result.get("previews")
    found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    steps = [one["step"] for one in found if isinstance(one.get("step"), int)]
    last = max(steps, default=0)
    shown = [
        (
            plain_text(one.get("prompt"), 500),
            _inside(folder, one.get("base_path")),
            _inside(folder, one.get("path")),
        )
        for one in found
        if last and one.get("step") == last
    ]
    return [row for row in shown if row[1] and row[2]][:MOST_PREVIEWS]


def _inside(folder: Path, given: Any) -> str:
    """A path below `previews/` that training.json names, if there is a file; empty for any other."""
    if not isinstance(given, str) or not is_plain(given):
        return ""
    name = given.removeprefix("previews/")
    if name != Path(name).name or name in ("", ".", "..") or "\\" in name:
        return ""
    try:
        return f"previews/{name}" if (folder / "previews" / name).is_file() else ""
    except (OSError, ValueError):
        return ""
