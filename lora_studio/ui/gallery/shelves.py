"""The shelves of the Gallery, a page of each, as HTML; and what is let go when a search finds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.catalog import family_title
from lora_studio.store.library import FAVOURITE, PICTURES, SHEETS
from lora_studio.studio import Studio
from lora_studio.ui.widgets import cards
from lora_studio.ui.widgets.html_templates import fill
from lora_studio.ui.widgets.pages import PAGE, Pages

STEPS = 20
"""Times that the shelves are painted during a first scan."""
HERE = Path(__file__).parent
SCRIPTS = ("shelf.js", "details.js", "filters.js")
SHELF_JS, DETAILS_JS, FILTERS_JS = ((HERE / name).read_text("utf-8") for name in SCRIPTS)
ORDERS = {"newest": "newest first", "name": "by name", "used": "most used"}
IMAGE_KINDS = {"": "pictures", FAVOURITE: "favourites", SHEETS: "sheets of grids"}
GROUPS = {"kind": "Kind", "base": "Base model", "family": "Made for", "tag": "Tag"}


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
    filters: tuple[gr.Textbox, ...] = ()

    @property
    def chosen_outputs(self) -> list[Any]:
        return [self.chosen, self.details, self.actions, self.share]

    @property
    def place(self) -> list[Any]:
        """The components that say which entries are looked at."""
        return [self.search, self.page, *self.filters]

    @property
    def after_delete(self) -> list[Any]:
        return [self.chosen, self.details, self.actions, self.token, self.undo_text, self.undo_row]


def lora_shelf(shelf: GalleryPart, studio: Studio, place: list[str], chosen: str) -> dict[Any, Any]:
    """New values for a page of LoRAs; `place` is the search, the page, the order and the filter. A search
    that finds nothing lets the chosen one go."""
    search, page, order, only = place
    pages = Pages.at(page, studio.gallery.count_loras(search, only))
    shown = studio.gallery.loras(search, limit=PAGE, offset=pages.offset, order=order, only=only)
    same = cards.twins(studio.gallery.listed_loras())
    sought = search.strip() or filter_name(only)
    grid = cards.lora_grid(shown, chosen, sought, same=same, pages=pages)
    gone = nothing_chosen(shelf, cards.lora_details(None)) if sought and not shown else {}
    return {shelf.grid: grid, **gone}


def lora_filters(studio: Studio, order: str, only: str) -> str:
    """HTML of the lists to sort and filter LoRAs with."""
    found = studio.gallery.lora_choices()
    groups = [("", [("", "all LoRAs"), ("favourite", filter_name("favourite"))])]
    for name, title in GROUPS.items():
        choices = [f"{name}={value}" for value in found[name]]
        groups.append((title, [(choice, filter_name(choice)) for choice in choices]))
    if only not in {value for _, choices in groups for value, _ in choices}:
        groups[0][1].append((only, filter_name(only)))  # nothing has that any more
    return fill("filters", orders=ORDERS.items(), order=order, only=only, groups=groups)


def filter_name(only: str) -> str:
    """A filter in words."""
    name, _, value = only.partition("=")
    if name == "family":
        return family_title(value)
    return "favourites" if only == "favourite" else value


def image_shelf(shelf: GalleryPart, studio: Studio, place: list[str], chosen: str) -> dict[Any, Any]:
    """New values for a page of pictures, as for LoRAs."""
    search, page, only = place
    kept_to = only or PICTURES
    pages = Pages.at(page, studio.gallery.count_images(search, kept_to))
    shown = studio.gallery.images(search, limit=PAGE, offset=pages.offset, only=kept_to)
    sought = search.strip() or (IMAGE_KINDS.get(only, only) if only else "")
    grid = cards.image_grid(shown, chosen, sought, pages=pages)
    gone = nothing_chosen(shelf, cards.image_details(None)) if sought and not shown else {}
    return {shelf.grid: grid, **gone}


def image_filters(only: str) -> str:
    """HTML of the list to filter pictures with."""
    return fill("filters", orders=(), order="", only=only, groups=[("", list(IMAGE_KINDS.items()))])


def first_scan(studio: Studio) -> str:
    """HTML of how far the first scan is; empty when none goes on."""
    progress = studio.first_scan.progress
    return fill("reading", done=progress[0], total=progress[1]) if progress else ""


def library_marks(studio: Studio) -> dict[str, list[Any]]:
    """Marks of the LoRAs and of the pictures that change with any of them; during a first scan, which changes
    them each moment, with each twentieth of it."""
    revisions = studio.database.revisions()
    progress = studio.first_scan.progress
    far = STEPS * progress[0] // progress[1] if progress else 0
    return {name: [-far or revisions[name], revisions["owners"]] for name in ("loras", "images")}


def nothing_chosen(shelf: GalleryPart, empty: str) -> dict[Any, Any]:
    """New values for details of nothing."""
    return {shelf.chosen: "", shelf.details: empty, shelf.actions: gr.update(visible=False)}
