"""Tags inside of a sentence, as one character each while a message is looked up."""

from __future__ import annotations

import re

INLINE = ("b", "i", "em", "strong", "small", "code", "kbd")
"""Elements that a sentence may hold. In a message they stand without attributes."""
FIRST = 0xE000
"""The code point of the first mark: of those that Unicode leaves to private use."""
MARKS = {
    chr(FIRST + place): tag
    for place, tag in enumerate(tag for name in INLINE for tag in (f"<{name}>", f"</{name}>"))
}
MARK_OF = {tag: mark for mark, tag in MARKS.items()}
MARKED = re.compile(f"[{chr(FIRST)}-{chr(FIRST + len(MARKS) - 1)}]")


def with_marks(message: str) -> str:
    """A message of a table with marks in the place of its tags."""
    for mark, tag in MARKS.items():
        message = message.replace(tag, mark)
    return message


def with_tags(text: str) -> str:
    """The message again."""
    for mark, tag in MARKS.items():
        text = text.replace(mark, tag)
    return text
