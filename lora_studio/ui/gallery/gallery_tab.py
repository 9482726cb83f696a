"""The Gallery tab: LoRAs and pictures, each with its details, deleting with a way back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.access.visitor import Kind
from lora_studio.errors import StoreError, StudioError
from lora_studio.formatting import counted
from lora_studio.images.image_metadata import PARAMETERS, read_chunks
from lora_studio.parsing.numbers import parse_whole
from lora_studio.records import ImageRecord, LoraRecord
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.client_input.validate import as_words, guarded, safe_id, safe_slug, safe_uploads
from lora_studio.ui.gallery import inspect_panel, link_import, sharing
from lora_studio.ui.train import checkpoint_panel as board
from lora_studio.ui.widgets import cards
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, hidden, panel

PAGE, MOST = 60, 6000


@dataclass(frozen=True, kw_only=True)
class GalleryPart:
    """One half of the tab: a searchable grid and the details of the chosen entry."""

    search: gr.Textbox
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
    def after_delete(self) -> list[Any]:
        return [self.chosen, self.details, self.actions, self.token, self.undo_text, self.undo_row]


@dataclass(frozen=True, kw_only=True)
class GalleryTab:
    """The components of the tab."""

    loras: GalleryPart
    title: gr.Textbox
    rename: gr.Button
    board: gr.HTML
    add: gr.UploadButton
    link: link_import.LinkParts
    inspect: inspect_panel.InspectParts
    images: GalleryPart
    more: gr.Button
    limit: gr.Textbox

    @property
    def lora_outputs(self) -> list[Any]:
        """Components of a chosen LoRA, in the order of `lora_chosen`."""
        return [*self.loras.chosen_outputs, self.title, self.board]


def render(settings: Settings) -> GalleryTab:
    """Create the components. Call inside a Tab."""
    with gr.Tabs(elem_id="gallery-tabs"):
        with gr.Tab("LoRAs", id="gallery-loras", elem_id="gallery-tab-loras"), gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                left = _render_grid("lora", "Search LoRAs", cards.lora_grid([], ""))
                add = gr.UploadButton(
                    "Add a LoRA file", file_types=[".safetensors"], size="sm", elem_id="gallery-lora-add"
                )
                link = link_import.render()
            with gr.Column(scale=2, min_width=320):
                parts = _render_details("lora", cards.lora_details(None))
                with parts["actions"]:
                    title = gr.Textbox(label="Name", max_lines=1, elem_id="gallery-lora-title")
                    rename = gr.Button("Rename", elem_id="gallery-lora-rename")
                    parts |= _render_actions("lora", "Generate with this")
                shown_board = board.render("gallery-lora-board")
                inspect = inspect_panel.render(settings)
        loras = GalleryPart(**left, **parts)
        with (
            gr.Tab("Pictures", id="gallery-images", elem_id="gallery-tab-images"),
            gr.Row(equal_height=False),
        ):
            with gr.Column(scale=3, min_width=320):
                left = _render_grid("image", "Search prompts", cards.image_grid([], ""))
                limit = hidden("gallery-image-limit", str(PAGE))
                more_button = gr.Button("Show more", visible=False, elem_id="gallery-image-more")
            with gr.Column(scale=2, min_width=320):
                parts = _render_details("image", cards.image_details(None))
                with parts["actions"]:
                    parts |= _render_actions("image", "Use these settings")
        images = GalleryPart(**left, **parts)
    return GalleryTab(
        loras=loras,
        title=title,
        rename=rename,
        board=shown_board,
        add=add,
        link=link,
        inspect=inspect,
        images=images,
        more=more_button,
        limit=limit,
    )


def _render_grid(what: str, label: str, empty: str) -> dict[str, Any]:
    search = gr.Textbox(
        label=label,
        show_label=False,
        container=False,
        placeholder=label,
        max_lines=1,
        elem_id=f"gallery-{what}-search",
    )
    with gr.Row(visible=False, elem_id=f"gallery-{what}-undo-row") as undo_row:
        undo_text = panel(elem_id=f"gallery-{what}-undo-text")
        undo = gr.Button("Undo", size="sm", elem_id=f"gallery-{what}-undo", min_width=80)
    grid = panel(empty, elem_id=f"gallery-{what}-grid", actions=ACTIONS_JS)
    return {
        "search": search,
        "grid": grid,
        "undo_row": undo_row,
        "undo_text": undo_text,
        "undo": undo,
        "token": hidden(f"gallery-{what}-token"),
        "chosen": hidden(f"gallery-{what}-chosen"),
    }


def _render_details(what: str, empty: str) -> dict[str, Any]:
    details = panel(empty, elem_id=f"gallery-{what}-details", actions=ACTIONS_JS)
    return {"details": details, "actions": gr.Column(visible=False, elem_id=f"gallery-{what}-actions")}


def _render_actions(what: str, use: str) -> dict[str, Any]:
    with gr.Row():
        return {
            "use": gr.Button(use, variant="primary", elem_id=f"gallery-{what}-use"),
            "share": sharing.render(what),
            "delete": gr.Button("Delete", elem_id=f"gallery-{what}-delete"),
        }


def listen(tab: GalleryTab, studio: Studio) -> list[Any]:
    """Wire both halves. Returns the events after which the page has to be refreshed."""
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def choose_lora(event: gr.EventData) -> list[Any]:
        return lora_chosen(studio, safe_slug(getattr(event, "slug", None)))

    def choose_image(event: gr.EventData) -> list[Any]:
        return image_chosen(studio, safe_id(getattr(event, "id", None), "picture"))

    def rename(slug: str, title: str | None) -> list[Any]:
        slug = safe_slug(slug)
        before = studio.gallery.lora(slug).title
        renamed = studio.gallery.rename_lora(slug, title or "")
        others = [one for one in studio.gallery.loras() if one.title == renamed.title and one.slug != slug]
        sentence = f"“{before}” is called “{renamed.title}” now."
        if before == renamed.title:
            sentence = f"It is called “{renamed.title}” already."
        elif others:
            sentence += f" {counted(len(others), 'other LoRA has', 'other LoRAs have')} that name too."
        gr.Info(as_words(sentence), title="Name")
        return lora_chosen(studio, slug)

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

    deleting = _listen_actions(tab.loras, studio, what="lora")
    deleting[0].success(lambda: "", None, tab.board, **quick)
    image_outputs, lora_outputs = tab.images.chosen_outputs, tab.lora_outputs
    return [
        tab.loras.grid.click(guarded(choose_lora), None, lora_outputs, **quick),
        tab.images.grid.click(guarded(choose_image), None, image_outputs, **quick),
        gr.on(
            [tab.rename.click, tab.title.submit],
            guarded(rename),
            [tab.loras.chosen, tab.title],
            lora_outputs,
            **quick,
        ),
        tab.add.upload(guarded(add), tab.add, lora_outputs, api_visibility="private"),
        *_listen_chosen(tab, studio, lora_outputs),
        tab.more.click(lambda limit: str(page_limit(limit) + PAGE), tab.limit, tab.limit, **quick),
        board.listen(tab.board, studio),
        *deleting,
        *_listen_actions(tab.images, studio, what="image"),
        *(
            shelf.details.click(guarded(deleted_elsewhere.undo_event(studio)), None, shelf.details, **quick)
            for shelf in (tab.loras, tab.images)
        ),
        tab.loras.search.change(lambda: None, None, None, trigger_mode="always_last", **quick),
        tab.images.search.change(lambda: None, None, None, trigger_mode="always_last", **quick),
    ]


def _listen_chosen(tab: GalleryTab, studio: Studio, outputs: list[Any]) -> list[Any]:
    """Wire what chooses a new LoRA by its slug: a link, a repair."""

    def show(slug: str) -> list[Any]:
        return lora_chosen(studio, safe_slug(slug)) if slug else [gr.skip()] * len(outputs)

    made = (
        link_import.listen(tab.link, studio, tab.loras.chosen),
        inspect_panel.listen(tab.inspect, tab.loras.chosen, studio),
    )
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    return [event.success(guarded(show), tab.loras.chosen, outputs, **quick) for event in made]


def _listen_actions(shelf: GalleryPart, studio: Studio, what: str) -> list[Any]:
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

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
        shelf.delete.click(guarded(delete), shelf.chosen, shelf.after_delete, **quick),
        shelf.undo.click(guarded(undo), shelf.token, [shelf.token, shelf.undo_row], **quick),
        sharing.listen(shelf.share, shelf.chosen, Kind(what), studio),
    ]


def lora_chosen(studio: Studio, slug: str) -> list[Any]:
    """Values for a chosen LoRA: its slug, details, buttons, name to edit, checkpoints. Raises StoreError."""
    record = studio.gallery.lora(slug)
    details = cards.lora_details(record, lora_file(record))
    share = sharing.button(studio, Kind.LORA, record.slug)
    here = [record.slug, details, gr.update(visible=True), share]
    return [*here, record.title, board.board_of(studio, slug)]


def no_lora_chosen() -> list[Any]:
    """Values in the order of `lora_chosen` when none is."""
    return ["", cards.lora_details(None), gr.update(visible=False), gr.skip(), "", ""]


def image_chosen(studio: Studio, image_id: str) -> list[Any]:
    record = studio.gallery.image(image_id)
    details = cards.image_details(record, infotext(record))
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


def lora_shelf(tab: GalleryTab, studio: Studio, search: str, chosen: str) -> dict[Any, Any]:
    """New values of the LoRAs' grid."""
    return {tab.loras.grid: cards.lora_grid(studio.gallery.loras(search=search), chosen, search)}


def image_shelf(tab: GalleryTab, studio: Studio, search: str, chosen: str, limit: int) -> dict[Any, Any]:
    """New values of the pictures' grid, and of whether there is more to show."""
    images = studio.gallery.images(search=search, limit=limit + 1)
    return {
        tab.images.grid: cards.image_grid(images[:limit], chosen, search),
        tab.more: gr.update(visible=len(images) > limit),
    }


def page_limit(given: Any) -> int:
    """The number of pictures to show, from the browser's value."""
    wanted = parse_whole(given) or 0
    return min(wanted, MOST) if wanted > 0 else PAGE


def existing_lora(studio: Studio, slug: str) -> LoraRecord | None:
    try:
        return studio.gallery.lora(slug)
    except StoreError:
        return None
