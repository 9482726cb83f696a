"""The picture to redraw and the mask that is painted over it.

Gradio's own editor opens any file of the server that a hand-written request names, before a handler could
look at it. So the picture comes in as a file that is checked here, is shown from our own folder, and the mask
is painted on a plain canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from lora_studio.catalog import Base
from lora_studio.errors import StoreError
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.ui.client_input.base_traits import chosen_traits
from lora_studio.ui.client_input.picture_input import kept_picture, take_picture
from lora_studio.ui.client_input.validate import QUICK, guarded
from lora_studio.ui.generate.generate_fields import Fields, render_redrawing
from lora_studio.ui.generate.generate_requests import REDRAW, Filling
from lora_studio.ui.upload.picture_set import PICTURES
from lora_studio.ui.widgets.html_templates import fill, panel

UNKNOWN_NATIVE, UNKNOWN_STEP = 1024, 8
"""Size and step of a base that the catalog does not know."""
LEAST_SIDE = 32
MUCH_LARGER = 1.5
"""Sides of the base's own size above which a picture is scaled down."""
DRAWN = "() => document.querySelector('#generate-canvas .easel')?.dataset.drawn || ''"
"""Script for the painted mask, as a data URL. It stays in the browser until a generation is asked for, so
that one that is asked for right after the last stroke has it."""
SCRIPT = Path(__file__).with_name("mask.js")


@dataclass(frozen=True, kw_only=True)
class RedrawParts:
    """The drop zone and the canvas."""

    file: gr.File
    canvas: gr.HTML


def render() -> tuple[Fields, RedrawParts]:
    """Create the parts of redrawing. Call inside a Tab."""
    with gr.Row(elem_id="generate-redraw", equal_height=False):
        with gr.Column(scale=3, min_width=300):
            file = gr.File(
                file_types=PICTURES,
                label="Drop a picture to redraw",
                show_label=False,
                height=110,
                elem_id="generate-source-file",
            )
            canvas = panel(elem_id="generate-canvas", actions=SCRIPT.read_text("utf-8"))
        with gr.Column(scale=2, min_width=280):
            fields = render_redrawing()
    return fields, RedrawParts(file=file, canvas=canvas)


def placed(source: str, base: str, settings: Settings) -> Filling:
    """The fields for a picture to redraw, by its sum. A picture much larger than the base's size brings a
    size that suits both; a smaller one is redrawn in its own. Raises StoreError."""
    path = kept_picture(source, settings)
    with Image.open(path) as picture:
        fitting = fitting_size(picture.size, chosen_traits(base, settings))
    note = f"It will be drawn at {fitting[0]} × {fitting[1]} pixels, which suits the base." if fitting else ""
    width, height = map(str, fitting) if fitting else ("", "")
    shown = easel(source, "", settings, note)
    size = {"width": width, "height": height}
    return {"image": source, "mask_image": "", "canvas": shown, "mode": REDRAW, **size}


def fitting_size(size: tuple[int, int], base: Base | None) -> tuple[int, int] | None:
    """A picture's shape with the area that the base is made for; None for a hardly larger one."""
    native, step = (base.native_size, base.step) if base else (UNKNOWN_NATIVE, UNKNOWN_STEP)
    scale = math.sqrt(native * native / (size[0] * size[1]))
    if scale > 1 / MUCH_LARGER:
        return None
    width, height = (max(LEAST_SIDE, round(side * scale / step) * step) for side in size)
    return width, height


def easel(source: str, mask: str, settings: Settings, note: str = "") -> str:
    """HTML of the picture with a canvas over it; empty if it isn't here. Both arguments are sums."""
    try:
        picture = kept_picture(source, settings)
        drawn = kept_picture(mask, settings) if mask else None
    except StoreError:
        return ""
    return fill("easel", picture=picture, mask=drawn, note=note)


def listen(parts: RedrawParts, fields: Fields, studio: Studio) -> list[Any]:
    """Wire dropping a picture, painting a mask, and removing both; returns the events that fill in fields."""
    settings = studio.settings

    def take(file: Any, base: str) -> list[Any]:
        filling = placed(take_picture(file, settings), base, settings)
        return [*(filling[name] for name in names), filling["canvas"], None]

    def remove() -> list[str]:
        return ["", "", ""]

    names = ("image", "mask_image", "width", "height")
    source, mask = fields["image"], fields["mask_image"]
    outputs = [*(fields[name] for name in names), parts.canvas, parts.file]
    return [
        parts.file.upload(guarded(take), [parts.file, fields["base"]], outputs, api_visibility="private"),
        parts.canvas.submit(None, None, mask, js=DRAWN, **QUICK),
        parts.canvas.click(guarded(remove), None, [source, mask, parts.canvas], **QUICK),
    ]
