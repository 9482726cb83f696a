"""Prompts of a strength report: the subject, the same without its trigger word, neighbours, other things."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lora_studio.catalog.base_models import is_embedded
from lora_studio.catalog.training_presets import preview_prompts
from lora_studio.config import Kind

NOUNS: Mapping[str, str] = {"person": "person", "character": "character", "object": "thing", "style": ""}
"""Names for subjects of a kind where nobody says more."""
NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "person": ("portrait of a woman", "portrait of a man"),
    "character": ("portrait of a girl", "a cartoon animal"),
    "object": ("a photo of a cup", "a photo of a toy"),
}
OTHERS = ("a house with a garden", "a car on a road")
EMBEDDED_NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "person": ("a clown", "a teddy bear"),
    "character": ("a teddy bear", "a frog"),
    "object": ("a gift", "a hat"),
}
EMBEDDED_OTHERS = ("a house", "a car")
"""Words that the embedded bases know."""
MOST_CAPTIONS = 500
VOWELS = frozenset("aeiou")
VOWEL = re.compile(r"\ba (?=[aeiou])")
WORD = re.compile(r"[^\W\d_]{2,30}")
FILLERS = frozenset(
    {"on", "in", "at", "with", "and", "is", "of", "the", "style", "by", "as", "standing", "sitting"}
)


@dataclass(frozen=True, kw_only=True)
class StrengthPrompts:
    """`subject` prompts have the trigger word, `plain` the first of them without it; `neighbours` are things
    of the subject's kind, `others` have nothing to do with it."""

    subject: tuple[str, ...]
    plain: tuple[str, ...]
    neighbours: tuple[str, ...]
    others: tuple[str, ...]


def strength_prompts(kind: Kind, trigger: str, base: str, noun: str = "") -> StrengthPrompts:
    """The prompts for a subject of this kind. `noun` is what it is in a word, as `dog`: a small one is its
    neighbour; those of a style are its motifs without its words. Without a trigger word the subject is called
    by the noun alone."""
    embedded, trigger = is_embedded(base), trigger.strip()
    called = noun or NOUNS[kind]
    plain = _about(kind, called if embedded else _with_article(called), base)
    neighbours = (EMBEDDED_NEIGHBOURS if embedded else NEIGHBOURS).get(kind, plain[1:])
    if noun and kind != "style":
        neighbours = (_with_article(f"small {noun}"), neighbours[0])
    return StrengthPrompts(
        subject=_about(kind, f"{trigger} {noun if kind != 'style' else ''}".strip(), base)
        if trigger
        else plain,
        plain=plain[:1] if trigger else (),
        neighbours=neighbours,
        others=EMBEDDED_OTHERS if embedded else OTHERS,
    )


def noun_in(captions: Iterable[str], trigger: str) -> str:
    """The word that stands behind the trigger word in at least half of the captions; empty without one."""
    found, count = Counter[str](), 0
    wanted = trigger.strip().casefold()
    for caption in list(captions)[:MOST_CAPTIONS] if wanted else ():
        _, there, rest = f" {caption[:1000].casefold()} ".partition(f" {wanted} ")
        word = WORD.match(rest.lstrip()) if there else None
        count += 1
        if word and word[0] not in FILLERS:
            found[word[0]] += 1
    best = next(iter(found.most_common(1)), ("", 0))
    return best[0] if 2 * best[1] >= max(1, count) else ""


def _about(kind: Kind, words: str, base: str) -> tuple[str, ...]:
    """The prompts of the previews with these words for the subject; those of a style may be empty."""
    prompts = preview_prompts(kind, words, base)
    if kind == "style" and not words:
        prompts = tuple(prompt.rpartition(",")[0] for prompt in prompts)
    return tuple(VOWEL.sub("an ", prompt) for prompt in prompts)


def _with_article(words: str) -> str:
    return f"{'an' if words[:1] in VOWELS else 'a'} {words}" if words else ""
