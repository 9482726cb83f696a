"""The fields of the Generate tab: the few that everybody meets, and the others in folds."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_studio.catalog import SAMPLERS
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.form import number_box
from lora_studio.ui.generating import (
    FIELD_TITLES,
    SLOTS,
    TEXT_WEIGHTS,
    WEIGHT_LIMITS,
    WEIGHTS,
    defaults_of,
    lora_choices,
)
from lora_studio.ui.guard import base_names, takes_hub_ids
from lora_studio.ui.markup import hidden, panel
from lora_studio.ui.upload_tab import DEFAULT_BASE

Fields = dict[str, Any]
SPECIAL_SAMPLER = "the base's own"
FORMATS = [("PNG", "png"), ("JPEG", "jpeg"), ("WebP", "webp")]
UPSCALERS = [("Lanczos, on the picture", "lanczos"), ("Latent, softer", "latent")]


def _said(field: str) -> str:
    """The help of a request's field."""
    return GenerateRequest.model_fields[field].description or ""


def _own(field: str) -> Any:
    return GenerateRequest.model_fields[field].default


def slider(name: str, field: str, label: str, limits: tuple[float, float, float]) -> gr.Slider:
    """`limits` are least, most and step."""
    least, most, step = limits
    return gr.Slider(
        least,
        most,
        value=_own(field),
        step=step,
        label=label,
        info=_said(field),
        interactive=True,
        elem_id=f"generate-{name}",
    )


def box(name: str, label: str, placeholder: str, info: str | None = None) -> gr.Textbox:
    return number_box(
        label=label,
        placeholder=placeholder,
        info=info,
        elem_id=f"generate-{name}",
        min_width=110,
        interactive=True,
    )


def render_loras(studio: Studio) -> tuple[Fields, gr.HTML]:
    """The choice of LoRAs, a weight for each, their trigger words."""
    fields: Fields = {}
    fields["loras"] = gr.Dropdown(
        lora_choices(studio.gallery.loras()),
        value=[],
        multiselect=True,
        max_choices=SLOTS,
        label="LoRAs",
        info=f"Up to {SLOTS} together, each with its weight.",
        interactive=True,
        elem_id="generate-loras",
    )
    for slot, name in enumerate(WEIGHTS):
        fields[name] = gr.Slider(
            *WEIGHT_LIMITS,
            value=1,
            step=0.05,
            label="Weight",
            visible=False,
            elem_id=f"generate-weight-{slot}",
        )
    return fields, panel(elem_id="generate-triggers")


def render_counts() -> Fields:
    fields: Fields = {}
    fields["compare"] = gr.Checkbox(
        False,
        label="Compare with the base",
        info="The same seed without LoRA under each picture, to slide over.",
        elem_id="generate-compare",
    )
    with gr.Row():
        fields["count"] = box("count", "Pictures", "1")
        fields["seed"] = box("seed", "Seed", "random")
    return fields


def render_more(studio: Studio) -> Fields:
    """What the fold "More settings" holds."""
    fields: Fields = {}
    fields["negative"] = gr.Textbox(
        label="Negative prompt", info="What must not be seen.", lines=2, elem_id="generate-negative"
    )
    fields["base"] = gr.Dropdown(
        base_names(studio.settings),
        value=DEFAULT_BASE,
        label="Base model",
        interactive=True,
        allow_custom_value=takes_hub_ids(studio.settings),
        elem_id="generate-base",
    )
    own = defaults_of(DEFAULT_BASE)
    for row in (("steps", "guidance"), ("width", "height")):
        with gr.Row():
            fields |= {name: box(name, FIELD_TITLES[name], own[name]) for name in row}
    fields["sampler"] = gr.Dropdown(
        [(SPECIAL_SAMPLER, ""), *((name, name) for name in SAMPLERS)],
        value="",
        label="Sampler",
        interactive=True,
        elem_id="generate-sampler",
    )
    fields["insert"] = gr.Checkbox(
        True, label="Put trigger words in front of the prompt", elem_id="generate-insert"
    )
    with gr.Accordion("Finer settings", open=False, elem_id="generate-finer"):
        fields |= _render_finer()
    return fields


def _render_finer() -> Fields:
    fields: Fields = {}
    fields["clip_skip"] = slider("clip-skip", "clip_skip", "Clip skip", (1, 12, 1))
    fields["rescale"] = slider("rescale", "guidance_rescale", "Guidance rescale", (0, 1, 0.05))
    fields["variation_strength"] = slider("variation", "variation_strength", "Variation", (0, 1, 0.01))
    fields["variation_seed"] = box("variation-seed", "Variation seed", "random", _said("variation_seed"))
    for slot, name in enumerate(TEXT_WEIGHTS):
        fields[name] = number_box(
            label="In the text encoder",
            placeholder="as its weight",
            visible=False,
            interactive=True,
            elem_id=f"generate-text-weight-{slot}",
        )
    fields["format"] = gr.Dropdown(
        FORMATS, value="png", label="File format", interactive=True, elem_id="generate-format"
    )
    return fields


def render_larger() -> Fields:
    """What the fold "Larger and sharper" holds."""
    fields: Fields = {}
    fields["hires_scale"] = slider("hires-scale", "hires_scale", "Times the size", (1, 4, 0.25))
    fields["hires_strength"] = slider("hires-strength", "hires_strength", "Freedom", (0.01, 1, 0.01))
    with gr.Row():
        fields["hires_steps"] = box("hires-steps", "Steps", "as above")
        fields["hires_upscaler"] = gr.Dropdown(
            UPSCALERS,
            value="lanczos",
            label="Enlarged by",
            interactive=True,
            min_width=160,
            elem_id="generate-hires-upscaler",
        )
    return fields


def render_redrawing() -> Fields:
    """How a picture is redrawn; `source` and `mask` are the sums of the pictures that were taken in."""
    fields: Fields = {"source": hidden("generate-source"), "mask": hidden("generate-mask")}
    fields["strength"] = slider("strength", "strength", "Freedom", (0.01, 1, 0.01))
    with gr.Row():
        fields["mask_blur"] = box("mask-blur", "Mask blur (px)", str(_own("mask_blur")))
        fields["crop"] = box("crop", "Only around the mask (px)", "whole picture")
    return fields
