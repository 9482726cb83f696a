"""Slugs: names of LoRAs' folders, made from names in any script.

A slug is made once and never changes, whatever this module would make of the same name today.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from anyascii import anyascii

from lora_studio.parsing.file_names import RESERVED
from lora_studio.parsing.plain_text import LONGEST_NAME, plain_text

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
LONGEST_SLUG, MOST_LETTERS = 60, 64
"""A slug that is made leaves room for a number at its end."""
GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
"""German spellings, for names with ß, a letter of no other language. Elsewhere ö may be Swedish or Turkish,
and stays o, as it was in all slugs before."""
WORD_SIGN = re.compile("([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
"""Signs that are a word or a syllable of their own."""


def slug_from(name: str, longest: int = LONGEST_SLUG) -> str:
    """The slug of a name, in every system's letters; empty without a letter or digit. A slug stays."""
    if SLUG.fullmatch(name):
        return name
    text = plain_text(name, LONGEST_NAME)
    if "ß" in text or "ẞ" in text:
        text = text.translate(GERMAN)
    plain = anyascii(WORD_SIGN.sub(r" \1 ", text)).lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:longest].strip("-")
    return f"{slug}-lora" if RESERVED.fullmatch(slug) else slug


def free_slug(slug: str, is_taken: Callable[[str], bool]) -> str:
    """The slug itself, or the first with a number at its end that isn't taken and that Windows can have."""
    endings = itertools.chain([""], map("-{}".format, itertools.count(2)))
    numbered = (slug[: MOST_LETTERS - len(ending)] + ending for ending in endings)
    return next(free for free in numbered if not (is_taken(free) or RESERVED.fullmatch(free)))
