"""The prompt as the base model gets it: LoRA tags taken out, choices made, trigger words added."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from lora_studio.data.captions import has_word
from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import NUMBER
from lora_studio.parsing.slugs import slug_from
from lora_studio.prompts.lora_tags import TAG, added, read_tag, say_passed_over
from lora_studio.prompts.wildcards import choose
from lora_studio.request import GenerateRequest

UNREAD = {
    "prompt editing": re.compile(rf"(?<!\\)\[[^\[\]]*:\s*+{NUMBER}\s*+\]"),
    "alternating words": re.compile(r"(?<!\\)\[[^\[\]|]*\|[^\[\]]*\]"),
    "AND": re.compile(r"\bAND\b"),
    "a hypernetwork": re.compile(r"<hypernet:[^<>]*>"),
}
"""Marks that A1111 reads in a prompt and nothing here does."""
CHOICE = re.compile(r"\{[^{}]*<(?:lora|lyco):")


def prepare(request: GenerateRequest, find: Callable[[str], str] = slug_from) -> GenerateRequest:
    """Move the `<lora:...>` tags of the prompt into the list of LoRAs; `find` gives the slug of a name.
    Weights of a LoRA named more than once are added. Raises ConfigError for a tag that can't be read or
    stands where LoRAs can't be switched, and whatever `find` raises."""
    if TAG.search(request.negative_prompt):
        raise ConfigError(
            "A <lora:...> tag stands in the negative prompt, where it has no effect.",
            "Put it into the prompt, with a weight below 0 to take something away.",
            field="negative_prompt",
        )
    if not TAG.search(request.prompt):
        return request
    if CHOICE.search(request.prompt):
        raise _no_choice()
    loras = list(request.loras)
    for inside in TAG.findall(request.prompt):
        use = read_tag(inside, find)
        keys = [(other.slug, other.checkpoint) for other in loras]
        if (use.slug, use.checkpoint) in keys:
            place = keys.index((use.slug, use.checkpoint))
            loras[place] = added(loras[place], use)
        else:
            loras.append(use)
    return request.model_copy(update={"prompt": TAG.sub("", request.prompt).strip(), "loras": tuple(loras)})


def tag_remarks(request: GenerateRequest, find: Callable[[str], str] = slug_from) -> list[str]:
    """Sentences on parts of tags that are passed over and on LoRAs named twice. Raises as `prepare` does."""
    remarks: list[str] = []
    named = [(use.slug, use.checkpoint) for use in request.loras]
    tags = TAG.findall(request.prompt)
    for inside in tags:
        use = read_tag(inside, find)
        named.append((use.slug, use.checkpoint))
        if passed := say_passed_over(inside, use.slug):
            remarks.append(passed)
    if tags:
        loras = {(use.slug, use.checkpoint): use for use in prepare(request, find).loras}
        remarks += [
            f"The LoRA “{key[0]}” is named {named.count(key)} times; together that is {loras[key].weight:g}."
            for key in dict.fromkeys(named)
            if named.count(key) > 1
        ]
    return remarks


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
