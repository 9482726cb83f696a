"""Metadata made plain: text that any database, log and page can hold, numbers within bounds.

Metadata, titles and trigger words are a stranger's words. They are cut and cleaned here, where they are read,
and nowhere else, so that the code behind can believe in their form.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePath

from lora_studio.parsing.numbers import parse_decimal

LONGEST_NAME = 200
LONGEST_VALUE, LONGEST_TABLE, MOST_KEYS = 1 << 18, 1 << 20, 1000
"""Characters of one value and of all values of a file, and the number of keys. A table of tags or a picture
in the metadata may exceed them by itself and is left out then."""
LONGEST_KEPT, LONGEST_KEPT_TABLE = 2000, 32_000
"""Characters of one value and of all values of a file that the library keeps."""
JOINERS = "\u200c\u200d"
"""Format characters that belong to words (Persian, emoji of several); all others hide or turn text."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain_text(given: object, longest: int) -> str:
    """Text as one line of at most `longest` characters, none of control; empty for what is no text."""
    if not isinstance(given, str):
        return ""
    # Composing and joining spaces may make it shorter, so more is looked at than is kept; never all of it.
    start = _encodable(given[: 4 * longest + 100])
    shown = "".join(map(_shown, unicodedata.normalize("NFC", start)))
    return " ".join(shown.split())[:longest].rstrip()


def plain_words(given: object, longest: int) -> str:
    """Text as `plain_text` makes it, but cut between words, since it stands in front of a prompt."""
    text = plain_text(given, longest + 1)
    if len(text) <= longest:
        return text
    cut = max(text.rfind(" "), text.rfind(","))
    return text[: cut if cut > 0 else longest].rstrip(" ,")


def plain_table(
    metadata: Mapping[str, str], *, value: int = LONGEST_VALUE, whole: int = LONGEST_TABLE
) -> dict[str, str]:
    """Metadata without values longer than `value` characters, and without the longest ones where all together
    exceed `whole`. Values keep their lines."""
    short = {key: text for key, text in metadata.items() if len(text) <= value and len(key) <= LONGEST_NAME}
    kept, room = set(), whole
    for key in sorted(short, key=lambda key: len(short[key]))[:MOST_KEYS]:
        room -= len(key) + len(short[key])
        if room >= 0:
            kept.add(key)
    return {plain_text(key, LONGEST_NAME): plain_lines(text) for key, text in short.items() if key in kept}


def plain_lines(text: str) -> str:
    """Text that can be stored and shown, its lines kept."""
    return CONTROL.sub("", _encodable(text).replace("\r\n", "\n").replace("\r", "\n"))


def number(given: object, *, most: float, least: float = 0.0) -> float:
    """A number from `least` to `most` that a file gives as text; 0 for anything else."""
    value = parse_decimal(given) if isinstance(given, str) else None
    return value if value is not None and least <= value <= most else 0.0


def plain_name(path: PurePath) -> str:
    """A file's name for sentences: names on disk may hold bytes that are no text."""
    return plain_text(path.name, LONGEST_NAME) or "a file"


def is_plain(text: str) -> bool:
    """Whether text can be stored unchanged: names on disk may hold half a surrogate pair."""
    return _encodable(text) == text


def is_plain_line(text: str) -> bool:
    """Whether text is one line that can be stored and shows all that it holds; with spaces of any width."""
    return is_plain(text) and all(
        _shown(letter) == letter and unicodedata.category(letter) not in ("Zl", "Zp") for letter in text
    )


def _shown(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Cc":
        return " "
    hidden = kind == "Cf" and letter not in JOINERS
    return "" if hidden or (kind == "Cn" and ord(letter) & 0xFFFE == 0xFFFE) else letter


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
