"""Fields of the Generate tab: the few that everybody meets, and the others in folds."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import base_names, takes_hub_ids
from lora_studio.ui.generate.generate_requests import (
    LABELS,
    SLOTS,
    TEXT_WEIGHTS,
    WEIGHT_LIMITS,
    WEIGHTS,
    defaults_of,
    lora_choices,
    sampler_choices,
)
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.html_templates import hidden, panel
from lora_studio.ui.widgets.settings_form import number_box

Fields = dict[str, Any]
FORMATS = [("PNG", "png"), ("JPEG", "jpeg"), ("WebP", "webp")]
UPSCALERS = [("Lanczos, on the picture", "lanczos"), ("Latent, softer", "latent")]


def _said(field: str) -> str:
    """The help of a request's field."""
    return GenerateRequest.model_fields[field].description or ""


def _own(field: str) -> Any:
    return GenerateRequest.model_fields[field].default


def slider(name: str, limits: tuple[float, float, float]) -> gr.Slider:
    """A slider for a request's field; `limits` are least, most and step."""
    least, most, step = limits
    return gr.Slider(
        least,
        most,
        value=_own(name),
        step=step,
        label=LABELS[name],
        info=_said(name),
        interactive=True,
        elem_id=f"generate-{name}",
    )


def box(name: str, placeholder: str, info: str | None = None) -> gr.Textbox:
    """A box for a number of a request's field."""
    return number_box(
        label=LABELS[name],
        placeholder=placeholder,
        info=info,
        elem_id=f"generate-{name}",
        min_width=110,
        interactive=True,
    )


def render_loras(studio: Studio) -> tuple[Fields, gr.HTML]:
    """Create the choice of LoRAs, a weight for each, and the list of their trigger words."""
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
    """Create the comparison switch, the count and the seed."""
    fields: Fields = {}
    fields["compare"] = gr.Checkbox(
        False,
        label="Compare with the base",
        info="The same seed without LoRA under each picture, to slide over.",
        elem_id="generate-compare",
    )
    with gr.Row():
        fields["count"] = box("count", "1")
        fields["seed"] = box("seed", "random")
    return fields


def render_more(studio: Studio) -> Fields:
    """Create the fields of the fold "More settings"."""
    fields: Fields = {}
    fields["negative_prompt"] = gr.Textbox(
        label="Negative prompt", info="What must not be seen.", lines=2, elem_id="generate-negative_prompt"
    )
    fields["base"] = gr.Dropdown(
        base_names(studio.settings),
        value=DEFAULT_BASE,
        label="Base model",
        interactive=True,
        allow_custom_value=takes_hub_ids(studio.settings),
        elem_id="generate-base",
    )
    base_defaults = defaults_of(DEFAULT_BASE)
    for row in (("num_inference_steps", "guidance_scale"), ("width", "height")):
        with gr.Row():
            fields |= {name: box(name, base_defaults[name]) for name in row}
    fields["sampler"] = gr.Dropdown(
        sampler_choices(DEFAULT_BASE),
        value="",
        label="Sampler",
        interactive=True,
        elem_id="generate-sampler",
    )
    fields["insert_trigger"] = gr.Checkbox(
        True, label="Put trigger words in front of the prompt", elem_id="generate-insert_trigger"
    )
    with gr.Accordion("Finer settings", open=False, elem_id="generate-finer"):
        fields |= _render_finer()
    return fields


def _render_finer() -> Fields:
    fields: Fields = {}
    fields["clip_skip"] = slider("clip_skip", (1, 12, 1))
    fields["guidance_rescale"] = slider("guidance_rescale", (0, 1, 0.05))
    fields["distilled_guidance_scale"] = box(
        "distilled_guidance_scale", "automatic", _said("distilled_guidance_scale")
    )
    fields["shift"] = box("shift", "automatic", _said("shift"))
    fields["variation_strength"] = slider("variation_strength", (0, 1, 0.01))
    fields["variation_seed"] = box("variation_seed", "random", _said("variation_seed"))
    for slot, name in enumerate(TEXT_WEIGHTS):
        fields[name] = number_box(
            label="In the text encoder",
            placeholder="as its weight",
            visible=False,
            interactive=True,
            elem_id=f"generate-text-weight-{slot}",
        )
    fields["image_format"] = gr.Dropdown(
        FORMATS, value="png", label="File format", interactive=True, elem_id="generate-image_format"
    )
    return fields


def render_larger() -> Fields:
    """Create the fields of the fold "Larger and sharper"."""
    fields: Fields = {}
    fields["hires_scale"] = slider("hires_scale", (1, 4, 0.25))
    fields["hires_strength"] = slider("hires_strength", (0.01, 1, 0.01))
    with gr.Row():
        fields["hires_steps"] = box("hires_steps", "as above")
        fields["hires_upscaler"] = gr.Dropdown(
            UPSCALERS,
            value="lanczos",
            label="Enlarged by",
            interactive=True,
            min_width=160,
            elem_id="generate-hires_upscaler",
        )
    return fields


def render_redrawing() -> Fields:
    """Create the fields of redrawing; `image` and `mask_image` hold the sums of the pictures that were taken
    in."""
    fields: Fields = {name: hidden(f"generate-{name}") for name in ("image", "mask_image")}
    fields["strength"] = slider("strength", (0.01, 1, 0.01))
    with gr.Row():
        fields["mask_blur"] = box("mask_blur", str(_own("mask_blur")))
        fields["padding_mask_crop"] = box("padding_mask_crop", "whole picture")
    return fields
