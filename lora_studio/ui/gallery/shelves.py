"""The shelves of the Gallery, a page of each, as HTML; and what is let go when a search finds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.studio import Studio
from lora_studio.ui.widgets import cards
from lora_studio.ui.widgets.html_templates import fill
from lora_studio.ui.widgets.pages import PAGE, Pages

STEPS = 20
"""Times that the shelves are painted during a first scan."""
HERE = Path(__file__).parent
SHELF_JS, DETAILS_JS = ((HERE / name).read_text("utf-8") for name in ("shelf.js", "details.js"))


@dataclass(frozen=True, kw_only=True)
class GalleryPart:
    """One half of the tab: a searchable grid in pages and the details of the chosen entry."""

    search: gr.Textbox
    page: gr.Textbox
    grid: gr.HTML
    chosen: gr.Textbox
    details: gr.HTML
    actions: gr.Column
    use: gr.Button
    share: gr.Button
    delete: gr.Button
    undo_row: gr.Row
    undo_text: gr.HTML
    undo: gr.Button
    token: gr.Textbox

    @property
    def chosen_outputs(self) -> list[Any]:
        return [self.chosen, self.details, self.actions, self.share]

    @property
    def place(self) -> list[Any]:
        """The components that say which entries are looked at."""
        return [self.search, self.page]

    @property
    def after_delete(self) -> list[Any]:
        return [self.chosen, self.details, self.actions, self.token, self.undo_text, self.undo_row]


def lora_shelf(shelf: GalleryPart, studio: Studio, place: list[str], chosen: str) -> dict[Any, Any]:
    """New values for a page of LoRAs; `place` is the search and the page. A search that finds nothing lets
    the chosen one go."""
    search, page = place
    pages = Pages.at(page, studio.gallery.count_loras(search))
    shown = studio.gallery.loras(search, limit=PAGE, offset=pages.offset)
    same = cards.twins(studio.gallery.listed_loras())
    grid = cards.lora_grid(shown, chosen, search, same=same, pages=pages)
    gone = nothing_chosen(shelf, cards.lora_details(None)) if search.strip() and not shown else {}
    return {shelf.grid: grid, **gone}


def image_shelf(shelf: GalleryPart, studio: Studio, place: list[str], chosen: str) -> dict[Any, Any]:
    """New values for a page of pictures, as for LoRAs."""
    search, page = place
    pages = Pages.at(page, studio.gallery.count_images(search))
    shown = studio.gallery.images(search, limit=PAGE, offset=pages.offset)
    grid = cards.image_grid(shown, chosen, search, pages=pages)
    gone = nothing_chosen(shelf, cards.image_details(None)) if search.strip() and not shown else {}
    return {shelf.grid: grid, **gone}


def first_scan(studio: Studio) -> str:
    """HTML of how far the first scan is; empty when none goes on."""
    progress = studio.first_scan.progress
    return fill("reading", done=progress[0], total=progress[1]) if progress else ""


def library_marks(studio: Studio) -> dict[str, list[Any]]:
    """Marks of the LoRAs and of the pictures that change with any of them; during a first scan, which changes
    them each moment, with each twentieth of it."""
    revisions = studio.database.revisions()
    progress = studio.first_scan.progress
    far = progress and STEPS * progress[0] // progress[1]
    return {name: [far or revisions[name], revisions["owners"]] for name in ("loras", "images")}


def nothing_chosen(shelf: GalleryPart, empty: str) -> dict[Any, Any]:
    """New values for details of nothing."""
    return {shelf.chosen: "", shelf.details: empty, shelf.actions: gr.update(visible=False)}
