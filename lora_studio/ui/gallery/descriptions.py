"""The description of a LoRA by people: the star that makes it a favourite, its tags, a note."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.lora.lora_folder import LONGEST_NOTE
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, guarded, safe_slug, text
from lora_studio.ui.gallery.shelves import GalleryPart


@dataclass(frozen=True, kw_only=True)
class DescriptionParts:
    """The fields of a chosen LoRA, and the button that saves them."""

    tags: gr.Textbox
    note: gr.Textbox
    save: gr.Button


def render() -> DescriptionParts:
    """Create the components. Call below the name."""
    with gr.Accordion("Tags and note", open=False, elem_id="gallery-lora-description"):
        tags = gr.Textbox(
            label="Tags",
            placeholder="watercolour, portraits",
            info="With commas between them. The search finds them.",
            max_lines=1,
            elem_id="gallery-lora-tags",
        )
        note = gr.Textbox(label="Note", lines=2, max_length=LONGEST_NOTE, elem_id="gallery-lora-note")
        save = gr.Button("Save", elem_id="gallery-lora-save")
    return DescriptionParts(tags=tags, note=note, save=save)


def listen(
    parts: DescriptionParts,
    shelf: GalleryPart,
    outputs: list[Any],
    shown: Callable[[str], list[Any]],
    studio: Studio,
) -> list[Any]:
    """Wire star and fields; returns the events after which the page has to be refreshed. `shown` gives values
    for `outputs`, those of a chosen LoRA."""

    def mark_favourite(event: gr.EventData) -> list[Any]:
        slug = safe_slug(getattr(event, "slug", None))
        studio.gallery.mark_lora(slug, getattr(event, "on", "") == "yes")
        return shown(slug)

    def describe(given: str, tags: str | None, note: str | None) -> list[Any]:
        slug = safe_slug(given)
        studio.gallery.describe_lora(slug, tags=text(tags, "tags"), note=text(note, "note"))
        return shown(slug)

    fields = [shelf.chosen, parts.tags, parts.note]
    return [
        shelf.details.like(guarded(mark_favourite), None, outputs, **QUICK),
        gr.on([parts.save.click, parts.tags.submit], guarded(describe), fields, outputs, **QUICK),
    ]
