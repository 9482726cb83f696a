"""Captions: reading them from beside a picture, and what becomes of one at each use."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lora_studio.config_groups import DatasetGroup
from lora_studio.errors import DatasetError

EXTENSIONS = (".txt", ".caption")


@dataclass(frozen=True, kw_only=True)
class CaptionText:
    """`text` is empty when there is none; `more_lines` says that the file went on after the line used."""

    text: str
    more_lines: bool = False


def read_caption(picture: Path, extension: str = "") -> CaptionText:
    """The first line with text in the file of the same name ending in `extension`, else in .txt, else in
    .caption. Raises DatasetError for a file that is not UTF-8."""
    wanted = (f".{extension.lstrip('.')}",) if extension.strip(". ") else EXTENSIONS
    for ending in wanted:
        path = picture.with_suffix(ending)
        if path.is_file():
            lines = [line.strip() for line in _read_text(path).splitlines()]
            filled = [line for line in lines if line]
            return CaptionText(text=filled[0] if filled else "", more_lines=len(filled) > 1)
    return CaptionText(text="")


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with the trigger word in front, unless it has it as a word already."""
    trigger = trigger.strip()
    if not trigger or has_word(caption, trigger):
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def has_word(text: str, word: str) -> bool:
    """Whether `word` stands in `text` by itself, in any case of letters."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def caption_for_use(caption: str, data: DatasetGroup, seed: int) -> str:
    """The caption as one step sees it: dropped, or with its comma-separated parts shuffled, as the settings
    say."""
    drawn = random.Random(seed)
    if drawn.random() < data.caption_dropout_rate:
        return ""
    if not data.shuffle_caption:
        return caption
    parts = [part.strip() for part in caption.split(",") if part.strip()]
    kept, loose = parts[: data.keep_tokens], parts[data.keep_tokens :]
    drawn.shuffle(loose)
    return ", ".join([*kept, *loose])


def tag_frequency(captions: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counts of the comma-separated parts, lower-cased, of (folder, caption) pairs, by folder."""
    counts: dict[str, Counter[str]] = {}
    for folder, caption in captions:
        tags = (part.strip().lower() for part in caption.split(","))
        counts.setdefault(folder, Counter()).update(tag for tag in tags if tag)
    return {folder: dict(counter) for folder, counter in counts.items()}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"The caption {path.name} is not UTF-8 text.", "Save it again with the encoding UTF-8.", path=path
        ) from error
    except OSError as error:
        raise DatasetError(f"The caption {path.name} can't be read: {error.strerror}.", path=path) from error
