"""The buttons of the Gallery that share an own LoRA or picture with everybody here, and take that back."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_studio.access.visitor import Kind
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import as_words, guarded, safe_id, safe_slug

SHARE, UNSHARE = "Share", "Stop sharing"
SENTENCES = {True: "Everybody here sees it now.", False: "Only you and admins see it now."}


def render(what: str) -> gr.Button:
    """Create the button for a chosen thing, hidden: where nobody logs in there is nobody to share with."""
    return gr.Button(SHARE, visible=False, elem_id=f"gallery-{what}-share")


def button(studio: Studio, kind: Kind, key: str) -> Any:
    """The button's new look for a thing; hidden where the visitor has no say in it. Raises StoreError."""
    shared = studio.is_shared(kind, key)
    return gr.update(visible=shared is not None, value=UNSHARE if shared else SHARE)


def listen(share: gr.Button, chosen: gr.Textbox, kind: Kind, studio: Studio) -> Any:
    """Wire a button; returns the event after which the page has to be refreshed."""

    def turn_sharing(given: str) -> Any:
        key = safe_slug(given) if kind is Kind.LORA else safe_id(given, "picture")
        shared = not studio.is_shared(kind, key)
        studio.share(kind, key, shared)
        gr.Info(as_words(SENTENCES[shared]))
        return button(studio, kind, key)

    return share.click(guarded(turn_sharing), chosen, share, show_progress="hidden", api_visibility="private")
