"""The chosen LoRA's file for another program, in its names of layers and its number format, as a download.
The library and its own file stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.formatting import size
from lora_studio.lora.file.spellings import COMFYUI, DIFFUSERS, KOHYA
from lora_studio.lora.repair.repair_request import PRECISIONS, RepairRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import PRIVATE, as_words, chosen_lora, guarded, yes_or_no
from lora_studio.ui.gallery.picked_pictures import ZIP_JS
from lora_studio.ui.widgets.html_templates import fill, panel

NAMES = (
    ("as it is", ""),
    ("Kohya: A1111, Forge, InvokeAI", KOHYA),
    ("ComfyUI", COMFYUI),
    ("diffusers, PEFT", DIFFUSERS),
)
FORMATS = {"float": "32 bits", "fp16": "16 bits (fp16)", "bf16": "16 bits (bf16)"}


@dataclass(frozen=True, kw_only=True)
class ExportParts:
    """The fields, the button, and the place of the link."""

    spelling: gr.Radio
    precision: gr.Radio
    strip: gr.Checkbox
    go: gr.Button
    link: gr.HTML


def render() -> ExportParts:
    """Create the components. Call in the column of a LoRA's details."""
    with gr.Accordion("Download for another program", open=False, elem_id="gallery-export"):
        spelling = gr.Radio(
            list(NAMES), value="", label="Names of layers, as read by", elem_id="gallery-export-spelling"
        )
        formats = [("as it is", ""), *((FORMATS[name], name) for name in PRECISIONS)]
        precision = gr.Radio(formats, value="", label="Number format", elem_id="gallery-export-precision")
        strip = gr.Checkbox(
            True, label="Leave out what may be private in its metadata", elem_id="gallery-export-strip"
        )
        go = gr.Button("Make the file", elem_id="gallery-export-go")
        link = panel(elem_id="gallery-export-link", actions=ZIP_JS)
    return ExportParts(spelling=spelling, precision=precision, strip=strip, go=go, link=link)


def listen(parts: ExportParts, chosen: gr.Textbox, studio: Studio) -> None:
    """Wire the button; another LoRA takes the link away."""

    def export(slug: str, spelling: Any, precision: Any, strip: Any) -> str:
        asked = {"spelling": spelling or "", "save_precision": precision or ""}
        request = RepairRequest.from_values({**asked, "strip_private": yes_or_no(strip, "strip_private")})
        file, notes = studio.inspector.export(chosen_lora(slug), request)
        if notes:
            gr.Warning(as_words(" ".join(notes)), title="Left out")
        return fill("zip", file=file, words=f"{file.name}: {size(file.stat().st_size)}")

    inputs = [chosen, parts.spelling, parts.precision, parts.strip]
    parts.go.click(guarded(export), inputs, parts.link, show_progress_on=parts.link, **PRIVATE)
    chosen.change(lambda: "", None, parts.link, show_progress="hidden", **PRIVATE)
