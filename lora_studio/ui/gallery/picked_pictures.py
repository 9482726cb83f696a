"""Several pictures at once: into the trash, or out as a ZIP."""

from __future__ import annotations

import secrets
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.access.visitor import visitor
from lora_studio.errors import StoreError, StudioError
from lora_studio.files import check_room, disk_errors
from lora_studio.formatting import counted, size
from lora_studio.studio import Studio
from lora_studio.ui.client_input.upload_owners import claim_files
from lora_studio.ui.client_input.validate import PRIVATE, as_words, guarded, safe_id
from lora_studio.ui.gallery.shelves import GalleryPart, nothing_chosen
from lora_studio.ui.widgets import cards
from lora_studio.ui.widgets.html_templates import fill, panel

MOST_PICKED = 300
ZIP_JS = "watch('value', () => { element.querySelector('a[download]')?.click(); });"
"""Script that begins the download of what was packed."""


def render() -> gr.HTML:
    """Create the place of the ZIP's link. Call above the grid."""
    return panel(elem_id="gallery-image-zip", actions=ZIP_JS)


def picked_ids(given: Any) -> list[str]:
    """The ids that a browser sends, each once. Raises StoreError for none or too many."""
    ids = given if isinstance(given, list) else []
    if len(ids) > MOST_PICKED:
        raise StoreError(f"{len(ids):,} pictures are too many at once.", f"Pick at most {MOST_PICKED}.")
    picked = list(dict.fromkeys(safe_id(one, "picture") for one in ids))
    if not picked:
        raise StoreError("No picture is picked.", "Press Select, then click the pictures.")
    return picked


def delete_all(studio: Studio, ids: Sequence[str]) -> str:
    """Move pictures to the trash; returns a sentence. What can't be deleted stays, and is said."""
    failed: list[StudioError] = []
    for image_id in ids:
        try:
            studio.gallery.delete_image(image_id)
        except StudioError as error:
            failed.append(error)
    done = counted(len(ids) - len(failed), "picture is", "pictures are")
    kept = f" {counted(len(failed), 'stays', 'stay')}: {failed[0]}" if failed else ""
    return f"{done} in the trash now.{kept}"


def packed(studio: Studio, ids: Sequence[str]) -> Path:
    """The visitor's ZIP of pictures among the uploads, which clear themselves. Raises StoreError."""
    uploads = studio.settings.uploads
    paths = [Path(studio.gallery.image(image_id).path) for image_id in ids]
    with disk_errors("The ZIP", "written"):
        check_room(uploads, "pictures.zip", sum(path.stat().st_size for path in paths), studio.settings)
        target = uploads / secrets.token_hex(20) / "pictures.zip"
        target.parent.mkdir(parents=True)
        names: set[str] = set()
        with zipfile.ZipFile(target, "w") as archive:  # stored: pictures are compressed already
            for number, path in enumerate(paths):
                name = path.name if path.name not in names else f"{number}-{path.name}"
                names.add(name)
                archive.write(path, name)
    claim_files([target], visitor(), uploads)
    return target


def listen(shelf: GalleryPart, link: gr.HTML, studio: Studio) -> list[Any]:
    """Wire both; returns the events after which the page has to be refreshed."""

    def delete_pictures(event: gr.EventData, chosen: str) -> Any:
        ids = picked_ids(getattr(event, "ids", None))
        gr.Info(as_words(delete_all(studio, ids)), title="Trash")
        return nothing_chosen(shelf, cards.image_details(None)) if chosen in ids else gr.skip()

    def pack(event: gr.EventData) -> str:
        ids = picked_ids(getattr(event, "ids", None))
        file = packed(studio, ids)
        words = f"pictures.zip: {counted(len(ids), 'picture')}, {size(file.stat().st_size)}"
        return fill("zip", file=file, words=words)

    outputs = [shelf.chosen, shelf.details, shelf.actions]
    shelf.grid.download(guarded(pack), None, link, show_progress_on=link, **PRIVATE)
    return [
        shelf.grid.delete(guarded(delete_pictures), shelf.chosen, outputs, show_progress="hidden", **PRIVATE)
    ]
