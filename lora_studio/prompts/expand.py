"""The prompt as the base model gets it: LoRA tags taken out, choices made, trigger words added."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_studio.data.captions import has_word
from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import NUMBER
from lora_studio.parsing.slugs import slug_from
from lora_studio.prompts.lora_tags import TAG, added, read_tag, say_passed_over
from lora_studio.prompts.wildcards import choose
from lora_studio.request import LoraUse

UNREAD = {
    "prompt editing": re.compile(rf"(?<!\\)\[[^\[\]]*:\s*+{NUMBER}\s*+\]"),
    "alternating words": re.compile(r"(?<!\\)\[[^\[\]|]*\|[^\[\]]*\]"),
    "AND": re.compile(r"\bAND\b"),
    "a hypernetwork": re.compile(r"<hypernet:[^<>]*>"),
}
"""Marks that A1111 reads in a prompt and nothing here does."""
CHOICE = re.compile(r"\{[^{}]*<(?:lora|lyco):")


@dataclass(frozen=True, kw_only=True)
class Untagged:
    """A prompt without its LoRA tags, the LoRAs with those of the tags, and sentences on parts of tags that
    are passed over and on LoRAs named more than once."""

    prompt: str
    loras: tuple[LoraUse, ...]
    remarks: tuple[str, ...] = ()


def untagged(
    prompt: str, negative_prompt: str, loras: Sequence[LoraUse], find: Callable[[str], str] = slug_from
) -> Untagged:
    """Move the `<lora:...>` tags of a prompt into the list of LoRAs; `find` gives the slug of a name. Weights
    of a LoRA named more than once are added. Raises ConfigError for a tag that can't be read or stands where
    LoRAs can't be switched, and whatever `find` raises."""
    if TAG.search(negative_prompt):
        raise ConfigError(
            "A <lora:...> tag stands in the negative prompt, where it has no effect.",
            "Put it into the prompt, with a weight below 0 to take something away.",
            field="negative_prompt",
        )
    tags = TAG.findall(prompt)
    if not tags:
        return Untagged(prompt=prompt, loras=tuple(loras))
    if CHOICE.search(prompt):
        raise _no_choice()
    uses = list(loras)
    remarks: list[str] = []
    places = {(use.slug, use.checkpoint): place for place, use in reversed([*enumerate(uses)])}
    named = Counter((use.slug, use.checkpoint) for use in uses)
    for inside in tags:
        use = read_tag(inside, find)
        key = use.slug, use.checkpoint
        named[key] += 1
        if key in places:
            uses[places[key]] = added(uses[places[key]], use)
        else:
            places[key] = len(uses)
            uses.append(use)
        if passed := say_passed_over(inside, use.slug):
            remarks.append(passed)
    remarks += [
        f"The LoRA “{use.slug}” is named {count} times; together that is {use.weight:g}."
        for use in uses
        if (count := named[use.slug, use.checkpoint]) > 1
    ]
    return Untagged(prompt=TAG.sub("", prompt).strip(), loras=tuple(uses), remarks=tuple(remarks))


def expand(text: str, seed: int, folder: Path) -> str:
    """The text for one image's seed: each `{a|b}` and `__file__` replaced by a choice, with files from
    `folder`. Raises ConfigError."""
    chosen = choose(text, seed, folder)
    if chosen is not text and TAG.search(chosen):
        raise _no_choice()
    return chosen


def with_triggers(prompt: str, triggers: Iterable[str]) -> str:
    """Put the trigger words that the prompt lacks in front of it, in order, each once.

    A trigger is present when it stands there as a word of its own, in any case: "(ZWCAT:1.2)" has "zwcat",
    "zwcats" has not. Captions in training have the same form.
    """
    missing: list[str] = []
    for trigger in triggers:
        word = trigger.strip()
        if word and not has_word(prompt, word) and not any(has_word(other, word) for other in missing):
            missing.append(word)
    return ", ".join([*missing, prompt.strip()] if prompt.strip() else missing) if missing else prompt


def unread(text: str) -> list[str]:
    """Sentences on marks that A1111 reads and that are plain words here."""
    found = ((what, mark.search(text)) for what, mark in UNREAD.items())
    return [f"“{match[0][:60]}” ({what}) is taken as plain words." for what, match in found if match]


def _no_choice() -> ConfigError:
    return ConfigError(
        "A <lora:...> tag can't be one of several choices.",
        "Put it outside the braces, or make a grid over the LoRAs.",
        field="prompt",
    )
