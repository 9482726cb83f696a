"""The page's address: the tab, the training, LoRA or picture that is looked at, and the LoRAs to draw with,
each with its weights. The browser keeps it (`page.js`), and what it names is looked up here."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.errors import ConfigError
from lora_studio.prompts.lora_tags import read_tag
from lora_studio.request import LoraUse
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, guarded, quietly, safe_id, safe_slug
from lora_studio.ui.gallery import gallery_tab
from lora_studio.ui.gallery.gallery_tab import GalleryTab
from lora_studio.ui.generate.generate_requests import SLOTS
from lora_studio.ui.generate.generate_tab import GenerateTab
from lora_studio.ui.train.train_tab import TrainTab
from lora_studio.ui.widgets.html_templates import panel

NAMES = ("training", "lora", "image")
"""Parameters of an address; the LoRAs to draw with come in beside the draft."""
LONGEST_STACK = 1000
"""Letters of an address that may name LoRAs to draw with."""
LISTEN_JS = "studio.listen((asked) => trigger('submit', asked));"
"""Script that hands on what Back and Forward ask for."""


def render() -> gr.HTML:
    """Create the unseen component through which the browser asks."""
    return panel(elem_id="page-address", actions=LISTEN_JS)


@dataclass(frozen=True, kw_only=True)
class Places:
    """The components that an address names something for."""

    train: TrainTab
    gallery: GalleryTab
    generate: GenerateTab

    @property
    def outputs(self) -> list[Any]:
        """Components in the order of `looked_up`."""
        gallery = self.gallery
        return [self.train.job, *gallery.lora_outputs, *gallery.images.chosen_outputs, gallery.tabs]

    def looked_up(self, studio: Studio, asked: Mapping[str, Any]) -> list[Any]:
        """Values for the training, the LoRA and the picture of an address. An empty name takes the choice
        back, one that is missing leaves it. Raises StudioError."""
        training, lora, image = (asked.get(name) for name in ("training", "lora", "image"))
        job: Any = gr.skip() if training is None else ""
        if training:
            job = studio.jobs.get(safe_id(training, "training")).id
        chosen: list[Any] = [gr.skip()] * len(self.gallery.lora_outputs)
        if lora is not None:
            chosen = (
                gallery_tab.lora_chosen(studio, safe_slug(lora)) if lora else gallery_tab.no_lora_chosen()
            )
        picture: list[Any] = [gr.skip()] * len(self.gallery.images.chosen_outputs)
        if image is not None:
            empty = gallery_tab.no_image_chosen()
            picture = gallery_tab.image_chosen(studio, safe_id(image, "picture")) if image else empty
        front = "gallery-images" if image else "gallery-loras" if lora else ""
        return [job, *chosen, *picture, gr.Tabs(selected=front) if front else gr.skip()]


def listen(page: gr.Blocks, asking: gr.HTML, places: Places, studio: Studio) -> Any:
    """Show what the address names when the page opens, and what Back and Forward ask for. Returns the event
    after which the page has to be refreshed."""

    def move(event: gr.EventData) -> list[Any]:
        return places.looked_up(studio, {name: getattr(event, name, None) for name in NAMES})

    def open_named(asked: Any) -> list[Any]:
        named = asked if isinstance(asked, dict) else {}
        return places.looked_up(studio, {name: named.get(name) or None for name in NAMES})

    nothing: list[Any] = [gr.skip()] * len(places.outputs)
    page.load(
        quietly(open_named, lambda: nothing),
        gr.JSON(visible=False, elem_id="asked-address"),
        places.outputs,
        js="() => [studio.address()]",
        queue=False,
        **QUICK,
    )
    # A second Back may come before the first one is answered.
    return asking.submit(guarded(move), None, places.outputs, trigger_mode="multiple", **QUICK)


def named_loras(asked: Any) -> list[LoraUse]:
    """The LoRAs that an address names, each as a prompt's tag does: "sea:0.8,sky,ink:0.5:1". What can't be
    read is left out, and so is another weight for the same LoRA."""
    if not isinstance(asked, str) or len(asked) > LONGEST_STACK:
        return []
    found: dict[str, LoraUse] = {}
    for inside in asked.split(",")[:SLOTS]:
        with contextlib.suppress(ConfigError):
            use = read_tag(inside)
            found.setdefault(use.slug, use)
    return list(found.values())


def told(inputs: list[Any], places: Places) -> str:
    """Script that tells the address what is looked at, and passes all `inputs` of an event on."""
    gallery = places.gallery
    parts = {"training": places.train.job, "lora": gallery.loras.chosen, "image": gallery.images.chosen}
    named = ", ".join(f"{name}: values[{inputs.index(part)}] || ''" for name, part in parts.items())
    return f"(...values) => {{ studio.place({{ {named} }}); return values; }}"
