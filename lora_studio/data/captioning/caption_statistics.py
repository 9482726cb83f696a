"""Counts of captions: how often each tag or word comes in a set, and how long captions are for a base."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lora_studio.data.captioning.caption_operations import Form, tags_in
from lora_studio.data.checks.caption_checks import LETTERS_A_TOKEN, split_at_window
from lora_studio.data.checks.checked_set import EMPTY_WORDS, LONGEST_LOOKED_AT, WORD, CaptionLength

MOST_COUNTED = 1000
"""Tags or words that are told, the most frequent ones."""


@dataclass(frozen=True, kw_only=True)
class CaptionTokens:
    """The length of a caption for a base; `lost` is what of it isn't read."""

    picture: str
    tokens: int
    lost: str


def word_counts(captions: Mapping[str, str], form: Form) -> list[tuple[str, int]]:
    """The captions of each tag, or telling word, the most frequent first, spelled as they mostly are."""
    spellings: dict[str, Counter[str]] = {}
    for caption in captions.values():
        text = caption[:LONGEST_LOOKED_AT]
        found = tags_in(text) if form == "tags" else WORD.findall(text)
        for word in {one.casefold(): one for one in found}.values():
            spellings.setdefault(word.casefold(), Counter())[word] += 1
    counts = [
        (spelled.most_common(1)[0][0], spelled.total())
        for word, spelled in spellings.items()
        if form == "tags" or word not in EMPTY_WORDS
    ]
    return sorted(counts, key=lambda count: (-count[1], count[0].casefold()))[:MOST_COUNTED]


def caption_tokens(captions: Mapping[str, str], length: CaptionLength) -> list[CaptionTokens]:
    """The lengths of captions' first lines in tokens, the longest first."""
    found = []
    for picture, caption in captions.items():
        text = caption.split("\n")[0][: LETTERS_A_TOKEN * length.limit]
        tokens = length.count(text)
        lost = split_at_window(text, length)[1] if tokens > length.limit else ""
        found.append(CaptionTokens(picture=picture, tokens=tokens, lost=lost))
    return sorted(found, key=lambda one: (-one.tokens, one.picture))
