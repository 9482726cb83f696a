"""Actions on the chosen entry of a shelf: delete it, bring it back, share it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_studio.access.visitor import Kind
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, guarded, safe_id, safe_slug, text
from lora_studio.ui.gallery import sharing
from lora_studio.ui.gallery.shelves import GalleryPart
from lora_studio.ui.widgets import cards

LONGEST_CHOICE = 250


def listen(shelf: GalleryPart, studio: Studio, what: str) -> list[Any]:
    """Wire a shelf's buttons; returns the events that the page is refreshed after, deleting first."""

    def delete(chosen: str) -> list[Any]:
        if what == "lora":
            record = studio.gallery.lora(safe_slug(chosen))
            title, token = record.title, studio.gallery.delete_lora(record.slug)
            empty = cards.lora_details(None)
        else:
            image = studio.gallery.image(safe_id(chosen, "picture"))
            title, token = image.prompt[:60] or "Picture", studio.gallery.delete_image(image.id)
            empty = cards.image_details(None)
        return ["", empty, gr.update(visible=False), token, cards.deleted(title), gr.update(visible=True)]

    def undo(token: str) -> list[Any]:
        studio.gallery.undo(safe_id(token, "deleted thing"))
        return ["", gr.update(visible=False)]

    return [
        shelf.delete.click(guarded(delete), shelf.chosen, shelf.after_delete, **QUICK),
        shelf.undo.click(guarded(undo), shelf.token, [shelf.token, shelf.undo_row], **QUICK),
        sharing.listen(shelf.share, shelf.chosen, Kind(what), studio),
    ]


def listen_filters(shown: tuple[gr.HTML, gr.HTML], loras: GalleryPart, images: GalleryPart) -> list[Any]:
    """Wire order and filter of both shelves; returns the events that the page is refreshed after."""
    order, only = loras.filters

    def choose(event: gr.EventData) -> dict[Any, Any]:
        value = text(getattr(event, "value", ""), "value", longest=LONGEST_CHOICE)
        chosen = order if getattr(event, "name", "") == "order" else only
        return {chosen: value, loras.page: "1"}

    def choose_kind(event: gr.EventData) -> list[str]:
        return [text(getattr(event, "value", ""), "value", longest=LONGEST_CHOICE), "1"]

    return [
        shown[0].input(guarded(choose), None, [order, only, loras.page], **QUICK),
        shown[1].input(guarded(choose_kind), None, [*images.filters, images.page], **QUICK),
    ]
