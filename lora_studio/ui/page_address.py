"""The page's address: the tab, and the training or LoRA that is looked at. The browser keeps it (`page.js`),
and what it names is looked up here. Addresses are a stranger's words."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import guarded, quietly, safe_id, safe_slug
from lora_studio.ui.gallery import gallery_tab
from lora_studio.ui.gallery.gallery_tab import GalleryTab
from lora_studio.ui.train.train_tab import TrainTab
from lora_studio.ui.widgets.html_templates import panel

LISTEN_JS = "studio.listen((asked) => trigger('submit', asked));"
"""Script that hands on what Back and Forward ask for."""


def render() -> gr.HTML:
    """Create the unseen component through which the browser asks."""
    return panel(elem_id="page-address", actions=LISTEN_JS)


def looked_up(studio: Studio, training: Any, lora: Any, size: int) -> list[Any]:
    """Values for the training and the `size` components of a chosen LoRA. An empty name takes the choice
    back, None leaves it. Raises StudioError."""
    job: Any = gr.skip() if training is None else ""
    if training:
        job = studio.jobs.get(safe_id(training, "training")).id
    chosen: list[Any] = [gr.skip()] * size
    if lora is not None:
        chosen = gallery_tab.lora_chosen(studio, safe_slug(lora)) if lora else gallery_tab.no_lora_chosen()
    return [job, *chosen]


def listen(page: gr.Blocks, asking: gr.HTML, train: TrainTab, gallery: GalleryTab, studio: Studio) -> Any:
    """Show what the address names when the page opens, and what Back and Forward ask for. Returns the event
    after which the page has to be refreshed."""
    quick: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    lora_outputs = gallery.lora_outputs
    outputs = [train.job, *lora_outputs]

    def move(event: gr.EventData) -> list[Any]:
        training, lora = getattr(event, "training", None), getattr(event, "lora", None)
        return looked_up(studio, training, lora, len(lora_outputs))

    def open_named(asked: Any) -> list[Any]:
        named = asked if isinstance(asked, dict) else {}
        return looked_up(studio, named.get("training") or None, named.get("lora") or None, len(lora_outputs))

    nothing: list[Any] = [gr.skip()] * len(outputs)
    page.load(
        quietly(open_named, lambda: nothing),
        gr.JSON(visible=False, elem_id="asked-address"),
        outputs,
        js="() => [studio.address()]",
        queue=False,
        **quick,
    )
    return asking.submit(guarded(move), None, outputs, **quick)


def told(inputs: list[Any], train: TrainTab, gallery: GalleryTab) -> str:
    """Script that tells the address what is looked at, and passes all `inputs` of an event on."""
    places = [inputs.index(part) for part in (train.job, gallery.loras.chosen)]
    return f"(...values) => {{ studio.place(...{places}.map((at) => values[at] || '')); return values; }}"
