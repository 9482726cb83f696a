"""The model card of a LoRA: what people say of it, base model, pictures, settings, use.

Titles, trigger words and prompts are anybody's words: each goes in as one line that Markdown, HTML and YAML
leave as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lora_studio.catalog import tag_of
from lora_studio.catalog.licences import licence_named
from lora_studio.config import TrainConfig
from lora_studio.lora.card_fields import CardWords
from lora_studio.lora.file.other_programs import DIFFUSERS, say, written_kind
from lora_studio.lora.lora_folder import tags_in
from lora_studio.parsing.plain_text import plain_text
from lora_studio.records import LoraRecord

FOR_DIFFUSERS = " For diffusers, `lora-studio inspect FILE --fix spelling=diffusers` writes a copy."
BY_US = "with LoRA Studio"
"""Words by which a card of ours is told from one that somebody wrote by hand."""
NO_WORDS = CardWords()
LONGEST_LINE = 1000
SPECIAL = re.compile(r"[\\`*_\[\]<>&|~$]")
"""Signs with a meaning inside a line of Markdown, of its tables and of the formulas that the Hub draws."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}", re.ASCII)
SETTINGS = (
    *("max_train_steps", "train_batch_size", "gradient_accumulation_steps", "resolution", "network_dim"),
    *(
        "network_alpha",
        "learning_rate",
        "unet_lr",
        "text_encoder_lr",
        "network_train_unet_only",
        "lr_scheduler",
    ),
    *("min_snr_gamma", "noise_offset", "seed", "save_precision"),
)


@dataclass(frozen=True, kw_only=True)
class CardBase:
    """A base model as far as a card names it. `hub_id` is empty where there is none."""

    name: str
    hub_id: str = ""
    licence: str = ""
    family: str = ""


def write_card(
    config: TrainConfig,
    base: CardBase,
    *,
    images: int,
    steps: int,
    previews: Sequence[tuple[str, str, str]],
    words: CardWords = NO_WORDS,
    notes: Mapping[str, Any] | None = None,
) -> str:
    """Markdown with the front matter of the Hugging Face Hub. `previews` are (prompt, picture without,
    picture with the LoRA), paths relative to the card; `words` and `notes` (a title, tags) are what people
    said of the LoRA."""
    notes = notes or {}
    given = plain_text(notes.get("title"), LONGEST_LINE)
    title = given or plain_text(config.output.title, LONGEST_LINE) or config.output.output_name
    trigger = words.trigger or plain_text(config.dataset.trigger_word, LONGEST_LINE)
    values = config.values()
    rows = [f"| `{name}` | {'' if values[name] is None else _line(str(values[name]))} |" for name in SETTINGS]
    made = (
        f"A LoRA for {_line(base.hub_id or base.name)}: {config.dataset.kind}, trained for {steps} steps "
        f"on {images} picture{'' if images == 1 else 's'} {BY_US}."
    )
    settings = ["## Settings", "", "| setting | value |", "|---|---|", *rows, ""]
    return "\n".join(
        [
            *_front_matter(title, trigger, base, tags_in(notes)),
            *_about(title, made, trigger, words),
            *_preview_table(previews),
            *_prompts(words),
            "## Use",
            "",
            *_usage(config, base, trigger),
            "",
            *_licence(base),
            *settings,
        ]
    )


def write_found_card(record: LoraRecord, base: CardBase, words: CardWords = NO_WORDS) -> str:
    """The card of a LoRA that was not trained here, by the facts in its file."""
    trigger = words.trigger or record.trigger_word
    made = f"A LoRA for {_line(base.hub_id or base.name or 'an unknown base model')}. Card {BY_US}."
    return "\n".join(
        [
            *_front_matter(record.title, trigger, base, record.tags),
            *_about(record.title, made, trigger, words),
            *_prompts(words),
            *_licence(base),
        ]
    )


def _front_matter(title: str, trigger: str, base: CardBase, tags: Sequence[str] = ()) -> list[str]:
    hub_id = base.hub_id
    model = [f"base_model: {hub_id if HUB_ID.fullmatch(hub_id) else _yaml(hub_id)}"] if hub_id else []
    word = [f"instance_prompt: {_yaml(trigger)}"] if trigger else []
    library = ["library_name: diffusers"] if _in_diffusers(base) else []
    diffusers = ["- diffusers"] if _in_diffusers(base) else []
    listed = ["tags:", "- lora", *diffusers, "- text-to-image", f"- {tag_of(base.family)}"]
    of_people = [f"- {_yaml(tag)}" for tag in tags]
    return [
        "---",
        f"title: {_yaml(title)}",
        *library,
        *model,
        *_hub_licence(base),
        *word,
        *listed,
        *of_people,
        "---",
        "",
    ]


def _hub_licence(base: CardBase) -> list[str]:
    """The Hub's word for the base's licence, which a LoRA for it is under."""
    licence = licence_named(base.licence)
    if licence is None:
        return []
    named = [f"license_name: {_yaml(base.licence)}"] if licence.hub_tag == "other" else []
    return [f"license: {licence.hub_tag}", *named]


def _about(title: str, made: str, trigger: str, words: CardWords) -> list[str]:
    word = f"Write {_code(trigger)} in the prompt." if trigger else "It has no trigger word."
    description = [words.description, ""] if words.description else []
    return [f"# {_line(title)}", "", *description, f"{made} {word}", ""]


def _prompts(words: CardWords) -> list[str]:
    if not words.prompts:
        return []
    return ["## Prompts to try", "", *(f"- {_code(prompt)}" for prompt in words.prompts), ""]


def _licence(base: CardBase) -> list[str]:
    licence = licence_named(base.licence)
    limits = f" {licence.restrictions}" if licence else ""
    return [
        "## Licence",
        "",
        "The base model's licence applies to what is made with it: "
        f"{_line(base.licence) or 'see the base model'}.{limits} "
        "The rights in the training pictures are their owners'.",
        "",
    ]


def _preview_table(previews: Sequence[tuple[str, str, str]]) -> list[str]:
    if not previews:
        return []
    rows = [
        f"| {_line(prompt)} | ![without]({quote(before)}) | ![with]({quote(after)}) |"
        for prompt, before, after in previews
    ]
    return ["| prompt | without | with the LoRA |", "|---|---|---|", *rows, ""]


def _usage(config: TrainConfig, base: CardBase, trigger: str) -> list[str]:
    network = config.network
    if network.is_plain:
        snippet = _snippet(base.hub_id or f"path/to/{base.name}", trigger)
        shown = [*snippet, ""] if _in_diffusers(base) else []
        hint = "" if _in_diffusers(base) else FOR_DIFFUSERS
        return [*shown, f"This is a LoRA. {say(network.algo, family=base.family)}{hint}"]
    kind = f"{network.algo}, DoRA" if network.dora_wd else network.algo
    return [f"The file is of LyCORIS' kind {kind}. {say(*written_kind(network), base.family)}"]


def _in_diffusers(base: CardBase) -> bool:
    """Whether diffusers reads the files written for it; an unknown base counts as Stable Diffusion."""
    return not base.family or base.family in DIFFUSERS.families


def _snippet(base: str, trigger: str) -> list[str]:
    return [
        "```python",
        "from diffusers import DiffusionPipeline",
        "",
        f"pipe = DiffusionPipeline.from_pretrained({base!r})",
        'pipe.load_lora_weights("path/to/this/folder")',
        f"image = pipe({(trigger or 'your prompt')!r}).images[0]",
        "```",
    ]


def _line(text: str) -> str:
    """Text with Markdown's signs escaped, for a sentence, a table or a heading."""
    shown = SPECIAL.sub(lambda sign: f"\\{sign[0]}", plain_text(text, LONGEST_LINE))
    return re.sub(r"#$", r"\\#", shown)


def _code(text: str) -> str:
    """One line of code, which may hold backticks."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    room = " " if "`" in text else ""
    return f"{fence}{room}{text}{room}{fence}"


def _yaml(text: str) -> str:
    """A quoted line of YAML. Letters are not escaped: halves of a surrogate pair would stay halves there."""
    return json.dumps(plain_text(text, LONGEST_LINE), ensure_ascii=False)
