"""Active settings in folded boxes: a line near Generate that shows them, and from which each can be
removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.errors import ConfigError
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import base_names, quietly
from lora_studio.ui.generate.generate_requests import LABELS, Filling, sampler_box
from lora_studio.ui.generate.img2img import easel
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel

NAMES = (
    *("base", "image", "mask_image", "negative_prompt", "num_inference_steps", "guidance_scale"),
    *("width", "height", "sampler", "insert_trigger", "clip_skip", "guidance_rescale"),
    *("distilled_guidance_scale", "shift", "variation_strength", "image_format", "hires_scale"),
)
"""Fields in folds that change the next pictures by themselves."""
SHORT = 40
OTHER_WORDS: Mapping[str, str] = {
    "image": "your picture is redrawn",
    "mask_image": "only the painted part of it",
    "insert_trigger": "no trigger words in front",
}
SENT_JS = "(...values) => values.map((value, at) => at === MASK && value ? 'painted' : value)"
"""Script that sends a mark in the place of the mask, which is a picture."""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One active setting: its field and its words."""

    name: str
    text: str


def render() -> gr.HTML:
    """Create the line. Call inside a Tab, above the button that draws."""
    return panel(elem_id="generate-in-force", actions=ACTIONS_JS + "element.setAttribute('role', 'status');")


def plain(name: str) -> Any:
    """The value of a field that is not active."""
    if name == "base":
        return DEFAULT_BASE
    default = GenerateRequest.model_fields[name].default
    return "" if default is None else default


def chips(values: Sequence[Any], bases: Mapping[str, str]) -> list[Chip]:
    """The active ones of the values of NAMES; `bases` are titles by name."""
    found = []
    for name, value in zip(NAMES, values, strict=True):
        given = value.strip() if isinstance(value, str) else value
        if given == plain(name) or given in ("", None):
            continue
        shown = bases.get(given, given) if name == "base" else given
        text = str(f"{shown:g}" if isinstance(shown, float) else shown)
        text = text if len(text) <= SHORT else f"{text[:SHORT]}…"
        found.append(Chip(name=name, text=OTHER_WORDS.get(name) or f"{LABELS[name]}: {text}"))
    if not any(chip.name == "image" for chip in found):
        found = [chip for chip in found if chip.name != "mask_image"]  # a mask alone does nothing
    return found


def line(values: Sequence[Any], studio: Studio) -> str:
    """HTML of the active settings; empty without any."""
    titles = {name: title for title, name in base_names(studio.settings)}
    found = chips(values, titles)
    return fill("in_force", chips=found) if found else ""


def without(name: str, source: str, studio: Studio) -> Filling:
    """The fields with one of NAMES reset. Raises ConfigError."""
    if name not in NAMES:
        raise ConfigError("That is not in force.", "Reload the page.")
    if name == "image":
        return {"image": "", "mask_image": "", "canvas": ""}
    if name == "mask_image":
        return {"mask_image": "", "canvas": easel(source, "", studio.settings)}
    if name == "base":
        return {"base": DEFAULT_BASE, "sampler": sampler_box(DEFAULT_BASE, None, studio.settings)}
    return {name: plain(name)}


def listen(shown: gr.HTML, fields: Mapping[str, Any], canvas: gr.HTML, studio: Studio) -> None:
    """Refresh the line when one of the fields changes."""
    heard = [fields[name].change for name in NAMES if fields[name].visible] + [canvas.change]
    look, inputs, outputs, how = _looking(shown, fields, studio)
    gr.on(heard, look, inputs, outputs, trigger_mode="always_last", **how)


def follow(event: Any, shown: gr.HTML, fields: Mapping[str, Any], studio: Studio) -> Any:
    """Refresh the line after an event that fills in fields. Fields in a closed fold are not in the document
    and report no change (6.31)."""
    look, inputs, outputs, how = _looking(shown, fields, studio)
    return event.then(look, inputs, outputs, **how)


def _looking(shown: gr.HTML, fields: Mapping[str, Any], studio: Studio) -> tuple[Any, list[Any], Any, Any]:
    nothing: Any = gr.skip()

    def look(*values: Any) -> str:
        return line(values, studio)

    how: dict[str, Any] = {
        "js": SENT_JS.replace("MASK", str(NAMES.index("mask_image"))),
        "queue": False,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    return quietly(look, lambda: nothing), [fields[name] for name in NAMES], shown, how
