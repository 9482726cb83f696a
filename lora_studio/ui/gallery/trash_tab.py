"""The trash on the page: what was deleted, the way back, and the way out for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.formatting import counted, moment
from lora_studio.store.trash import Deleted, Trash
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.validate import QUICK, as_words, guarded, safe_id
from lora_studio.ui.widgets.html_templates import fill, panel

TRASH_JS = Path(__file__).with_name("trash.js").read_text("utf-8")
KINDS = {
    **{"lora": "LoRA", "image": "picture", "dataset": "set of pictures", "picture": "picture of a set"},
    "training": "training",
}
MOST_LISTED = 100


def render() -> gr.HTML:
    """Create the list. Call inside a Tab."""
    return panel(elem_id="gallery-trash", actions=TRASH_JS)


def deletions(studio: Studio) -> list[Deleted]:
    """Deletions of the visitor's, newest first."""
    return Trash(studio.settings.trash).entries(tuple(KINDS))


def purge_one(studio: Studio, token: str) -> None:
    """Delete one thing of the trash for good. Raises StoreError, NotAllowed."""
    if any(entry.token == token for entry in studio.removed_trainings.deleted()):
        studio.removed_trainings.purge(token)
    else:
        Trash(studio.settings.trash).purge(token)


def trash_list(studio: Studio) -> str:
    """HTML of what is in the trash."""
    entries = deletions(studio)
    rows = [(entry, KINDS[entry.kind], moment(entry.at)) for entry in entries[:MOST_LISTED]]
    older = len(entries) - len(rows)
    hidden = f"{counted(older, 'older deletion is', 'older deletions are')} not listed." if older else ""
    headline = counted(len(entries), "deleted thing", "deleted things")
    return fill("trash", rows=rows, headline=headline, hidden=hidden)


def listen(listed: gr.HTML, studio: Studio) -> list[Any]:
    """Wire the buttons; returns the events after which the page has to be refreshed."""

    def undo_deleted(event: gr.EventData) -> str:
        deleted_elsewhere.undo(studio, getattr(event, "id", None))
        gr.Info(as_words("It is back where it was."), title="Trash")
        return trash_list(studio)

    def purge(event: gr.EventData) -> str:
        purge_one(studio, safe_id(getattr(event, "id", None), "deleted thing"))
        return trash_list(studio)

    def empty_trash() -> str:
        entries = deletions(studio)
        for entry in entries:
            purge_one(studio, entry.token)
        gr.Info(as_words(f"{counted(len(entries), 'thing is', 'things are')} gone for good."), title="Trash")
        return trash_list(studio)

    return [
        listed.click(guarded(undo_deleted), None, listed, **QUICK),
        listed.delete(guarded(purge), None, listed, **QUICK),
        listed.clear(guarded(empty_trash), None, listed, **QUICK),
    ]
