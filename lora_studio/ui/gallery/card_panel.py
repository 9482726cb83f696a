"""The model card of the chosen LoRA: what a person writes for it, and how it will look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.catalog.licences import licence_named
from lora_studio.lora.card_fields import CARD, LONGEST_DESCRIPTION, given_words, read_words
from lora_studio.lora.library_card import README, card_base, card_of
from lora_studio.lora.lora_folder import read_notes
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import (
    QUICK,
    as_words,
    chosen_lora,
    guarded,
    quietly,
    safe_slug,
    text,
)
from lora_studio.ui.widgets.html_templates import fill, panel
from lora_studio.ui.widgets.markdown_view import markdown_html

EMPTY = ("", "", "", "", "")


@dataclass(frozen=True, kw_only=True)
class CardParts:
    """The fields of the card, its licence, the button that saves and the card as it will look."""

    box: gr.Accordion
    description: gr.Textbox
    trigger: gr.Textbox
    prompts: gr.Textbox
    licence: gr.HTML
    save: gr.Button
    shown: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        """Components in the order of `card_values`."""
        return [self.description, self.trigger, self.prompts, self.licence, self.shown]


def render() -> CardParts:
    """Create the components. Call in the column of a LoRA's details."""
    with gr.Accordion("Model card", open=False, elem_id="gallery-card") as box:
        description = gr.Textbox(
            label="Description",
            info="What it is good for, in Markdown. Name and tags are taken from above.",
            lines=4,
            max_length=LONGEST_DESCRIPTION,
            elem_id="gallery-card-description",
        )
        trigger = gr.Textbox(
            label="Trigger words",
            info="Empty: the ones in the file.",
            max_lines=1,
            elem_id="gallery-card-trigger",
        )
        prompts = gr.Textbox(
            label="Prompts to try", info="One in each line.", lines=3, elem_id="gallery-card-prompts"
        )
        licence = panel(elem_id="gallery-card-licence")
        save = gr.Button("Save the card", elem_id="gallery-card-save")
        shown = panel(elem_id="gallery-card-shown")
    return CardParts(
        box=box,
        description=description,
        trigger=trigger,
        prompts=prompts,
        licence=licence,
        save=save,
        shown=shown,
    )


def listen(parts: CardParts, chosen: gr.Textbox, studio: Studio) -> list[Any]:
    """Wire the fields, read when the card unfolds; returns the events that the page is refreshed after."""

    def read_card(slug: str) -> list[Any]:
        return card_values(studio, safe_slug(slug)) if slug else list(EMPTY)

    def write_card(slug: str, description: Any, trigger: Any, prompts: Any) -> list[Any]:
        words = given_words(
            description=text(description, "description"),
            trigger=text(trigger, "trigger"),
            prompts=text(prompts, "prompts"),
        )
        record = studio.gallery.say_of_lora(chosen_lora(slug), "model card", {CARD: words.as_notes()})
        gr.Info(as_words(f"The card of “{record.title}” is saved."), title="Model card")
        return card_values(studio, record.slug)

    parts.box.expand(guarded(read_card), chosen, parts.outputs, **QUICK)
    chosen.change(quietly(read_card, lambda: list(EMPTY)), chosen, parts.outputs, **QUICK)
    fields = [chosen, parts.description, parts.trigger, parts.prompts]
    return [parts.save.click(guarded(write_card), fields, parts.outputs, **QUICK)]


def card_values(studio: Studio, slug: str) -> list[Any]:
    """Values for `CardParts.outputs`: what people wrote, the base's licence, the card. Raises StudioError."""
    record = studio.gallery.lora(slug)
    folder = Path(record.path).parent
    words, base = read_words(read_notes(folder)), card_base(record)
    licence = licence_named(base.licence)
    limits = fill("licence", base=base, restrictions=licence.restrictions if licence else "")
    pictures = {f"previews/{path.name}": path for path in (folder / "previews").glob("*")}
    shown, readme = markdown_html(card_of(folder), pictures=pictures), folder / README
    return [
        words.description,
        words.trigger,
        "\n".join(words.prompts),
        limits,
        fill("card_view", body=shown, file=readme if readme.is_file() else None),
    ]
