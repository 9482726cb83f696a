"""The Gallery tab: LoRAs and pictures, each with its details, deleting with a way back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.access.visitor import Kind
from lora_studio.errors import StoreError, StudioError
from lora_studio.formatting import counted
from lora_studio.images.favourite_images import is_favourite, mark_image
from lora_studio.images.image_metadata import PARAMETERS, read_chunks
from lora_studio.lora.lora_folder import LONGEST_TAG
from lora_studio.records import ImageRecord, LoraRecord
from lora_studio.settings import Settings
from lora_studio.store.library import NEWEST
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.validate import (
    QUICK,
    as_words,
    guarded,
    safe_id,
    safe_slug,
    safe_uploads,
    text,
)
from lora_studio.ui.comparison import strength_panel
from lora_studio.ui.gallery import (
    descriptions,
    inspect_panel,
    link_import,
    lora_sections,
    picked_pictures,
    sharing,
    shelf_actions,
    trash_tab,
)
from lora_studio.ui.gallery.shelves import DETAILS_JS, FILTERS_JS, SHELF_JS, GalleryPart, nothing_chosen
from lora_studio.ui.widgets import cards
from lora_studio.ui.widgets.html_templates import hidden, panel


@dataclass(frozen=True, kw_only=True)
class GalleryTab:
    """The components of the tab."""

    loras: GalleryPart
    title: gr.Textbox
    rename: gr.Button
    sections: gr.HTML
    strength: gr.HTML
    add: gr.UploadButton
    link: link_import.LinkParts
    tools: lora_sections.LoraTools
    inspect: inspect_panel.InspectParts
    images: GalleryPart
    reading: gr.HTML
    described: descriptions.DescriptionParts
    filters: gr.HTML
    image_filters: gr.HTML
    tabs: gr.Tabs
    trash: gr.HTML
    zip_link: gr.HTML

    @property
    def lora_outputs(self) -> list[Any]:
        """Components of a chosen LoRA, in the order of `lora_chosen`."""
        described = self.described
        return [
            *self.loras.chosen_outputs,
            self.title,
            described.tags,
            described.note,
            self.sections,
            self.strength,
        ]


def render(settings: Settings) -> GalleryTab:
    """Create the components. Call inside a Tab."""
    reading = panel(elem_id="gallery-reading")
    with gr.Tabs(elem_id="gallery-tabs") as tabs:
        with gr.Tab("LoRAs", id="gallery-loras", elem_id="gallery-tab-loras"), gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                search = _render_search("lora", "Search LoRAs")
                filters = panel(elem_id="gallery-lora-filters", actions=FILTERS_JS)
                add = gr.UploadButton(
                    "Add a LoRA file", file_types=[".safetensors"], size="sm", elem_id="gallery-lora-add"
                )
                link = link_import.render()
                left = {**search, **_render_grid("lora", cards.lora_grid([], ""))}
            with gr.Column(scale=2, min_width=320, elem_id="gallery-lora-side"):
                parts = _render_details("lora", "Draw with it", cards.lora_details(None))
                with gr.Column(elem_id="gallery-lora-naming"):
                    title = gr.Textbox(label="Name", max_lines=1, elem_id="gallery-lora-title")
                    rename = gr.Button("Rename", elem_id="gallery-lora-rename")
                    described = descriptions.render()
                sections = lora_sections.render()
                strength = strength_panel.render("gallery-lora-strength")
                tools = lora_sections.render_tools()
                inspect = inspect_panel.render(settings)
        loras = GalleryPart(**left, **parts)
        with (
            gr.Tab("Pictures", id="gallery-images", elem_id="gallery-tab-images"),
            gr.Row(equal_height=False),
        ):
            with gr.Column(scale=3, min_width=320):
                search = _render_search("image", "Search prompts")
                image_filters = panel(elem_id="gallery-image-filters", actions=FILTERS_JS)
                zip_link = picked_pictures.render()
                left = {**search, **_render_grid("image", cards.image_grid([], ""))}
            with gr.Column(scale=2, min_width=320, elem_id="gallery-image-side"):
                parts = _render_details("image", "Use these settings", cards.image_details(None))
        images = GalleryPart(**left, **parts)
        with gr.Tab("Trash", id="gallery-trash-tab", elem_id="gallery-tab-trash"):
            trash = trash_tab.render()
    return GalleryTab(
        loras=loras,
        title=title,
        rename=rename,
        sections=sections,
        strength=strength,
        add=add,
        link=link,
        tools=tools,
        inspect=inspect,
        images=images,
        reading=reading,
        described=described,
        filters=filters,
        image_filters=image_filters,
        tabs=tabs,
        trash=trash,
        zip_link=zip_link,
    )


def _render_search(what: str, label: str) -> dict[str, Any]:
    search = gr.Textbox(
        label=label,
        show_label=False,
        container=False,
        placeholder=label,
        max_lines=1,
        elem_id=f"gallery-{what}-search",
    )
    only = hidden(f"gallery-{what}-only")
    filters = (hidden("gallery-lora-order", NEWEST), only) if what == "lora" else (only,)
    return {"search": search, "filters": filters, "page": hidden(f"gallery-{what}-page", "1")}


def _render_grid(what: str, empty: str) -> dict[str, Any]:
    with gr.Row(visible=False, elem_id=f"gallery-{what}-undo-row") as undo_row:
        undo_text = panel(elem_id=f"gallery-{what}-undo-text")
        undo = gr.Button("Undo", size="sm", elem_id=f"gallery-{what}-undo", min_width=80)
    grid = panel(empty, elem_id=f"gallery-{what}-grid", actions=SHELF_JS)
    return {
        "grid": grid,
        "undo_row": undo_row,
        "undo_text": undo_text,
        "undo": undo,
        "token": hidden(f"gallery-{what}-token"),
        "chosen": hidden(f"gallery-{what}-chosen"),
    }


def _render_details(what: str, use: str, empty: str) -> dict[str, Any]:
    """The details, below what can be done with the chosen entry."""
    with gr.Column(visible=False, elem_id=f"gallery-{what}-actions") as actions, gr.Row():
        parts = {
            "actions": actions,
            "use": gr.Button(use, variant="primary", elem_id=f"gallery-{what}-use"),
            "share": sharing.render(what),
            "delete": gr.Button("Delete", elem_id=f"gallery-{what}-delete"),
        }
    return {**parts, "details": panel(empty, elem_id=f"gallery-{what}-details", actions=DETAILS_JS)}


def listen(tab: GalleryTab, studio: Studio) -> list[Any]:
    """Wire both halves. Returns the events after which the page has to be refreshed."""

    def rename(slug: str, title: str | None) -> list[Any]:
        return _renamed(studio, safe_slug(slug), title or "")

    def add(file: Any) -> list[Any]:
        paths = safe_uploads(file, studio.settings)
        if not paths:
            raise StoreError("No file was sent.", "Choose a .safetensors file.")
        with studio.turns.take("import"):
            before = {lora.slug for lora in studio.gallery.listed_loras()}
            record = studio.gallery.import_lora(paths[0])
        if record.slug in before:
            gr.Info(as_words(f"This file is in the library already, as “{record.title}”."), title="Import")
        return lora_chosen(studio, record.slug)

    def mark_picture(event: gr.EventData) -> list[Any]:
        image_id = safe_id(getattr(event, "id", None), "picture")
        mark_image(studio.database, image_id, getattr(event, "on", "") == "yes")
        return image_chosen(studio, image_id)

    deleting = shelf_actions.listen(tab.loras, studio, what="lora")
    deleting[0].success(lambda: "", None, tab.sections, **QUICK)
    lora_outputs = tab.lora_outputs
    return [
        *_listen_grids(tab, studio),
        *descriptions.listen(
            tab.described, tab.loras, lora_outputs, lambda slug: lora_chosen(studio, slug), studio
        ),
        *lora_sections.listen_tools(tab.tools, tab.loras.chosen, studio),
        *shelf_actions.listen_filters((tab.filters, tab.image_filters), tab.loras, tab.images),
        *trash_tab.listen(tab.trash, studio),
        tab.images.details.like(guarded(mark_picture), None, tab.images.chosen_outputs, **QUICK),
        *picked_pictures.listen(tab.images, tab.zip_link, studio),
        gr.on(
            [tab.rename.click, tab.title.submit],
            guarded(rename),
            [tab.loras.chosen, tab.title],
            lora_outputs,
            **QUICK,
        ),
        tab.add.upload(guarded(add), tab.add, lora_outputs, api_visibility="private"),
        *_listen_chosen(tab, studio, lora_outputs),
        *lora_sections.listen(tab.sections, studio),
        strength_panel.listen(tab.strength, studio),
        *deleting,
        *shelf_actions.listen(tab.images, studio, what="image"),
        _listen_details(tab, tab.loras, studio, cards.lora_details(None)),
        _listen_details(tab, tab.images, studio, cards.image_details(None)),
        *(
            shelf.search.change(lambda: "1", None, shelf.page, trigger_mode="always_last", **QUICK)
            for shelf in (tab.loras, tab.images)
        ),
    ]


def _renamed(studio: Studio, slug: str, title: str) -> list[Any]:
    """Give a LoRA another name, and say so; values of `lora_chosen`. Raises StudioError."""
    before = studio.gallery.lora(slug).title
    renamed = studio.gallery.rename_lora(slug, title)
    others = [one for one in studio.gallery.loras() if one.title == renamed.title and one.slug != slug]
    sentence = f"“{before}” is called “{renamed.title}” now."
    if before == renamed.title:
        sentence = f"It is called “{renamed.title}” already."
    elif others:
        sentence += f" {counted(len(others), 'other LoRA has', 'other LoRAs have')} that name too."
    gr.Info(as_words(sentence), title="Name")
    return lora_chosen(studio, slug)


def _listen_grids(tab: GalleryTab, studio: Studio) -> list[Any]:
    """Wire what can be clicked in the grids: tiles, pages, the way out of a search."""
    lora_outputs, image_outputs = tab.lora_outputs, tab.images.chosen_outputs

    def choose_lora(event: gr.EventData) -> dict[Any, Any]:
        if (turned := _turned(tab.loras, event)) is not None:
            return turned
        slug = safe_slug(getattr(event, "slug", None))
        return dict(zip(lora_outputs, lora_chosen(studio, slug), strict=True))

    def choose_image(event: gr.EventData) -> dict[Any, Any]:
        if (turned := _turned(tab.images, event)) is not None:
            return turned
        image_id = safe_id(getattr(event, "id", None), "picture")
        return dict(zip(image_outputs, image_chosen(studio, image_id), strict=True))

    how: Any = {**QUICK, "trigger_mode": "multiple"}  # another is clicked before the first is answered
    return [
        tab.loras.grid.click(guarded(choose_lora), None, [*lora_outputs, *tab.loras.place], **how),
        tab.images.grid.click(guarded(choose_image), None, [*image_outputs, *tab.images.place], **how),
    ]


def _turned(shelf: GalleryPart, event: gr.EventData) -> dict[Any, Any] | None:
    """The page or the search after a click on something else than a tile; None after one on a tile."""
    match getattr(event, "action", ""):
        case "page":
            return {shelf.page: str(getattr(event, "page", ""))[:9]}
        case "clear":
            return {shelf.page: "1", shelf.search: "", **dict.fromkeys(shelf.filters[-1:], "")}
    return None


def _listen_details(tab: GalleryTab, shelf: GalleryPart, studio: Studio, empty: str) -> Any:
    """Wire what can be clicked in the details: Undo of a deletion elsewhere, the way out of a sheet, a tag,
    the pictures that were made with a LoRA."""
    undo = deleted_elsewhere.undo_event(studio)
    loras, images = tab.loras, tab.images

    def act(event: gr.EventData) -> dict[Any, Any]:
        match getattr(event, "action", ""):
            case "close":
                return {**nothing_chosen(shelf, empty), **({tab.sections: ""} if shelf is loras else {})}
            case "tag":
                tag = text(getattr(event, "tag", ""), "tag", longest=LONGEST_TAG)
                return {loras.search: "", loras.page: "1", loras.filters[-1]: f"tag={tag}"}
            case "pictures":
                slug = safe_slug(getattr(event, "slug", None))
                anew = {images.search: slug, images.page: "1", images.filters[0]: ""}
                return {**anew, tab.tabs: gr.Tabs(selected="gallery-images")}
        return {shelf.details: undo(event)}

    outputs = [
        shelf.chosen,
        shelf.details,
        shelf.actions,
        tab.sections,
        tab.tabs,
        *loras.place,
        *images.place,
    ]
    return shelf.details.click(guarded(act), None, outputs, show_progress="hidden", api_visibility="private")


def _listen_chosen(tab: GalleryTab, studio: Studio, outputs: list[Any]) -> list[Any]:
    """Wire what chooses a new LoRA by its slug: a link, a repair."""

    def show(slug: str) -> list[Any]:
        return lora_chosen(studio, safe_slug(slug)) if slug else [gr.skip()] * len(outputs)

    made = (
        link_import.listen(tab.link, studio, tab.loras.chosen),
        inspect_panel.listen(tab.inspect, tab.loras.chosen, studio),
    )
    return [event.success(guarded(show), tab.loras.chosen, outputs, **QUICK) for event in made]


def lora_chosen(studio: Studio, slug: str) -> list[Any]:
    """Values for a chosen LoRA: its slug, details, buttons, name to edit, sections. Raises StoreError."""
    record = studio.gallery.lora(slug)
    uses = cards.Uses(studio.gallery.images_with(slug), studio.gallery.count_images_with(slug))
    details = cards.lora_details(record, lora_file(record), uses)
    share = sharing.button(studio, Kind.LORA, record.slug)
    here = [record.slug, details, gr.update(visible=True), share]
    described = [record.title, ", ".join(record.tags), record.note]
    below = [lora_sections.sections_of(studio, slug), strength_panel.strength_of(studio, slug)]
    return [*here, *described, *below]


def no_lora_chosen() -> list[Any]:
    """Values in the order of `lora_chosen` when none is."""
    return ["", cards.lora_details(None), gr.update(visible=False), gr.skip(), "", "", "", "", ""]


def no_image_chosen() -> list[Any]:
    """Values in the order of `image_chosen` when none is."""
    return ["", cards.image_details(None), gr.update(visible=False), gr.skip()]


def image_chosen(studio: Studio, image_id: str) -> list[Any]:
    record = studio.gallery.image(image_id)
    favourite = is_favourite(studio.database, record.id)
    details = cards.image_details(record, infotext(record), favourite=favourite)
    share = sharing.button(studio, Kind.IMAGE, record.id)
    return [record.id, details, gr.update(visible=True), share]


def lora_file(record: LoraRecord) -> Path | None:
    """The weights to download; the record's path is the file or its folder."""
    path = Path(record.path)
    if path.is_file():
        return path
    return next(iter(sorted(path.glob("*.safetensors"))), None)


def infotext(record: ImageRecord) -> str:
    """The infotext in a picture's file; empty when it can't be read."""
    try:
        return read_chunks(record.path).get(PARAMETERS, "")
    except StudioError:
        return ""


def existing_lora(studio: Studio, slug: str) -> LoraRecord | None:
    try:
        return studio.gallery.lora(slug)
    except StoreError:
        return None
