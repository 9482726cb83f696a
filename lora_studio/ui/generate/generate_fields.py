"""Fields of the Generate tab: the few that everybody meets, and the others in the drawer's sections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import base_names, takes_hub_ids
from lora_studio.ui.generate.generate_requests import (
    DRAW,
    LABELS,
    MODES,
    SLOTS,
    TEXT_WEIGHTS,
    WEIGHT_LIMITS,
    WEIGHTS,
    defaults_of,
    lora_choices,
    sampler_choices,
)
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.html_templates import heading, hidden
from lora_studio.ui.widgets.settings_form import number_box

Fields = dict[str, Any]
FORMATS = [("PNG", "png"), ("JPEG", "jpeg"), ("WebP", "webp")]
HOW_MUCH = "How much may change: 0.3 keeps the shapes, 0.75 little but the colours."
UPSCALERS = [("Lanczos, on the picture", "lanczos"), ("Latent, softer", "latent")]


def _said(field: str) -> str:
    """The help of a request's field."""
    return GenerateRequest.model_fields[field].description or ""


def _own(field: str) -> Any:
    return GenerateRequest.model_fields[field].default


def slider(name: str, limits: tuple[float, float, float], info: str = "") -> gr.Slider:
    """A slider for a request's field; `limits` are least, most and step, `info` stands for its help."""
    least, most, step = limits
    return gr.Slider(
        least,
        most,
        value=_own(name),
        step=step,
        label=LABELS[name],
        info=info or _said(name),
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


def render_mode() -> Fields:
    """Create the choice of what Generate does. Which of the parts below belong to it is the stylesheet's."""
    mode = gr.Radio(
        list(MODES),
        value=DRAW,
        label="What to make",
        show_label=False,
        container=False,
        elem_id="generate-mode",
    )
    return {"mode": mode}


def render_loras(studio: Studio) -> Fields:
    """Create the choice of LoRAs."""
    loras = gr.Dropdown(
        lora_choices(studio.gallery.loras()),
        value=[],
        multiselect=True,
        max_choices=SLOTS,
        label=f"LoRAs, up to {SLOTS} together",
        interactive=True,
        elem_id="generate-loras",
        elem_classes="notranslate",
    )
    return {"loras": loras}


def render_numbers() -> Fields:
    """Create a weight for each LoRA, the count, the seed and the comparison switch."""
    fields: Fields = {}
    for slot, name in enumerate(WEIGHTS):
        fields[name] = gr.Slider(
            *WEIGHT_LIMITS,
            value=1,
            step=0.05,
            label="Weight",
            visible=False,
            elem_id=f"generate-weight-{slot}",
        )
    fields["count"] = box("count", "1")
    fields["seed"] = box("seed", "random")
    fields["compare"] = gr.Checkbox(
        False,
        label="Compare with the base",
        info="The same seed without LoRA under each picture, to slide over.",
        elem_id="generate-compare",
    )
    return fields


@contextmanager
def section(title: str, name: str) -> Iterator[None]:
    """A section of the drawer with its heading."""
    with gr.Column(elem_id=f"generate-{name}", elem_classes="section", min_width=280):
        heading(title, elem_id=f"generate-{name}-title")
        yield


def render_more(studio: Studio) -> Fields:
    """Create the fields of the section on model, steps and size."""
    fields: Fields = {}
    fields["negative_prompt"] = gr.Textbox(
        label=LABELS["negative_prompt"],
        info="What must not be seen.",
        lines=2,
        elem_id="generate-negative_prompt",
    )
    fields["base"] = gr.Dropdown(
        base_names(studio.settings),
        value=DEFAULT_BASE,
        label=LABELS["base"],
        interactive=True,
        allow_custom_value=takes_hub_ids(studio.settings),
        elem_id="generate-base",
    )
    base_defaults = defaults_of(DEFAULT_BASE)
    helps = {"guidance_scale": _said("guidance_scale"), "num_inference_steps": _said("num_inference_steps")}
    for row in (("num_inference_steps", "guidance_scale"), ("width", "height")):
        with gr.Row():
            fields |= {name: box(name, base_defaults[name], helps.get(name)) for name in row}
    fields["sampler"] = gr.Dropdown(
        sampler_choices(DEFAULT_BASE),
        value="",
        label=LABELS["sampler"],
        interactive=True,
        elem_id="generate-sampler",
    )
    fields["insert_trigger"] = gr.Checkbox(
        True,
        label=LABELS["insert_trigger"],
        info="Put in front of a prompt that lacks them.",
        elem_id="generate-insert_trigger",
    )
    return fields


def render_finer() -> Fields:
    """Create the fields of the section "Finer settings"."""
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
            label="Text encoder weight",
            placeholder="as its weight",
            visible=False,
            interactive=True,
            elem_id=f"generate-text-weight-{slot}",
        )
    fields["image_format"] = gr.Dropdown(
        FORMATS,
        value="png",
        label=LABELS["image_format"],
        interactive=True,
        elem_id="generate-image_format",
    )
    return fields


def render_larger() -> Fields:
    """Create the fields of the section "Larger and sharper"."""
    fields: Fields = {}
    fields["hires_scale"] = slider("hires_scale", (1, 4, 0.25))
    fields["hires_strength"] = slider("hires_strength", (0.01, 1, 0.01))
    with gr.Row():
        fields["hires_steps"] = box("hires_steps", "as above")
        fields["hires_upscaler"] = gr.Dropdown(
            UPSCALERS,
            value="lanczos",
            label=LABELS["hires_upscaler"],
            interactive=True,
            min_width=160,
            elem_id="generate-hires_upscaler",
        )
    return fields


def render_redrawing() -> Fields:
    """Create the fields of redrawing; `image` and `mask_image` hold the sums of the taken pictures."""
    fields: Fields = {name: hidden(f"generate-{name}") for name in ("image", "mask_image")}
    fields["strength"] = slider("strength", (0.01, 1, 0.01), HOW_MUCH)
    fields["mask_blur"] = box("mask_blur", str(_own("mask_blur")), _said("mask_blur"))
    fields["padding_mask_crop"] = box(
        "padding_mask_crop",
        "whole picture",
        "Draw only the painted part, larger, with so many pixels around it. Empty: the whole picture.",
    )
    return fields
