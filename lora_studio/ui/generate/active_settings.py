"""Chips of what is in force for the next pictures, beside the button that draws: each LoRA, the style, the
picture, its mask, the grid, and each setting that is not the default, with an x that takes it away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.errors import ConfigError
from lora_studio.grids.grid_request import PARAMETERS
from lora_studio.prompts.styles import STYLES
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, base_names, quietly, safe_slug
from lora_studio.ui.gallery.gallery_tab import existing_lora
from lora_studio.ui.generate.generate_requests import (
    DRAW,
    GRID,
    LABELS,
    REDRAW,
    SLOTS,
    WEIGHTS,
    Filling,
    sampler_box,
)
from lora_studio.ui.generate.grid_fields import PARAMETER_FIELDS
from lora_studio.ui.generate.img2img import easel
from lora_studio.ui.generate.style_tiles import undress
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel

NAMES = (
    *("base", "image", "mask_image", "negative_prompt", "num_inference_steps", "guidance_scale"),
    *("width", "height", "sampler", "insert_trigger", "clip_skip", "guidance_rescale"),
    *("distilled_guidance_scale", "shift", "variation_strength", "image_format", "hires_scale"),
)
"""Fields out of sight that change the next pictures by themselves."""
READ = (*NAMES, "mode", "prompt", "loras", *WEIGHTS, *PARAMETER_FIELDS)
"""Fields that the chips are made of."""
STYLE, LORA = "style", "lora:"
SHORT = 40
OTHER_WORDS: Mapping[str, str] = {
    "image": "your picture is redrawn",
    "mask_image": "only the painted part of it",
    "insert_trigger": "no trigger words in front",
}
SENT_JS = "(...values) => values.map((value, at) => at === MASK && value ? 'painted' : value)"
"""Script that sends a mark in the place of the mask, which is a picture."""
Values = Mapping[str, Any]
"""Values of READ by name."""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One thing in force: its name, by which it is taken away, and its words."""

    name: str
    text: str


def render() -> gr.HTML:
    """Create the chips. Call inside a Tab, beside the button that draws."""
    return panel(elem_id="generate-in-force", actions=ACTIONS_JS + "element.setAttribute('role', 'status');")


def plain(name: str) -> Any:
    """The value of a field that is not active."""
    if name == "base":
        return DEFAULT_BASE
    default = GenerateRequest.model_fields[name].default
    return "" if default is None else default


def chips(values: Values, titles: Mapping[str, str]) -> list[Chip]:
    """A chip for each thing in force; `titles` are those of base models by name and of LoRAs by slug."""
    return [
        *_grid_chip(values),
        *_lora_chips(values, titles),
        *_style_chip(values),
        *_setting_chips(values, titles),
    ]


def _grid_chip(values: Values) -> Iterator[Chip]:
    if values["mode"] == GRID:
        axes = [PARAMETERS[values[name]] for name in PARAMETER_FIELDS if values[name] in PARAMETERS]
        yield Chip(name=GRID, text=f"Grid: {' × '.join(axes)}" if axes else "Grid")


def _lora_chips(values: Values, titles: Mapping[str, str]) -> Iterator[Chip]:
    for slug, weight in zip((values["loras"] or [])[:SLOTS], WEIGHTS, strict=False):
        if slug in titles:
            number = values[weight]
            shown = f"{number:g}" if isinstance(number, int | float) else "1"
            yield Chip(name=f"{LORA}{slug}", text=f"{_short(titles[slug])} · {shown}")


def _style_chip(values: Values) -> Iterator[Chip]:
    if style := _worn(values).style:
        yield Chip(name=STYLE, text=f"Style: {STYLES[style].title}")


def _setting_chips(values: Values, titles: Mapping[str, str]) -> Iterator[Chip]:
    redrawn = values["mode"] != DRAW and bool(values["image"])
    for name in NAMES:
        given = values[name].strip() if isinstance(values[name], str) else values[name]
        if given == plain(name) or given in ("", None) or (name in ("image", "mask_image") and not redrawn):
            continue  # a mask alone does nothing
        shown = titles.get(given, given) if name == "base" else given
        text = _short(f"{shown:g}" if isinstance(shown, float) else str(shown))
        yield Chip(name=name, text=OTHER_WORDS.get(name) or f"{LABELS[name]}: {text}")


def _short(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"


def _worn(values: Values) -> Any:
    """The prompts without their style, and which one it is."""
    prompt, negative, base = (str(values[name] or "") for name in ("prompt", "negative_prompt", "base"))
    return undress(prompt, negative, base)


def line(values: Values, studio: Studio) -> str:
    """HTML of what is in force; empty when nothing is."""
    titles = {name: title for title, name in base_names(studio.settings)}
    for slug in (values["loras"] or [])[:SLOTS]:
        if record := existing_lora(studio, safe_slug(slug)):
            titles[record.slug] = record.title
    found = chips(values, titles)
    return fill("in_force", chips=found) if found else ""


def without(name: str, values: Values, studio: Studio) -> Filling:
    """The fields with one chip taken away. Raises ConfigError."""
    if name == GRID:
        return {"mode": DRAW}
    if name == STYLE:
        worn = _worn(values)
        return {"prompt": worn.prompt, "negative_prompt": worn.negative}
    if name.startswith(LORA):
        kept = [slug for slug in values["loras"] or [] if slug != name.removeprefix(LORA)]
        return {"loras": gr.update(value=kept)}
    if name not in NAMES:
        raise ConfigError("That is not in force.", "Reload the page.")
    if name == "image":
        mode: Filling = {"mode": DRAW} if values["mode"] == REDRAW else {}
        return {"image": "", "mask_image": "", "canvas": "", **mode}
    if name == "mask_image":
        return {"mask_image": "", "canvas": easel(str(values["image"] or ""), "", studio.settings)}
    if name == "base":
        return {"base": DEFAULT_BASE, "sampler": sampler_box(DEFAULT_BASE, None, studio.settings)}
    return {name: plain(name)}


def by_name(values: Sequence[Any]) -> Values:
    return dict(zip(READ, values, strict=True))


def listen(shown: gr.HTML, fields: Mapping[str, Any], canvas: gr.HTML, studio: Studio) -> None:
    """Refresh the chips when one of the fields changes; after the prompt, when it is left."""
    seen = [name for name in READ if name in WEIGHTS or (fields[name].visible and name != "prompt")]
    heard = [*(fields[name].change for name in seen), fields["prompt"].blur, canvas.change]
    look, inputs, outputs, how = _looking(shown, fields, studio)
    gr.on(heard, look, inputs, outputs, trigger_mode="always_last", **how)


def follow(event: Any, shown: gr.HTML, fields: Mapping[str, Any], studio: Studio) -> Any:
    """Refresh the chips after an event that fills in fields. Fields in a closed drawer are not in the
    document and report no change (6.31)."""
    look, inputs, outputs, how = _looking(shown, fields, studio)
    return event.then(look, inputs, outputs, **how)


def _looking(shown: gr.HTML, fields: Mapping[str, Any], studio: Studio) -> tuple[Any, list[Any], Any, Any]:
    nothing: Any = gr.skip()

    def look(*values: Any) -> str:
        return line(by_name(values), studio)

    how: dict[str, Any] = {
        **QUICK,
        "js": SENT_JS.replace("MASK", str(READ.index("mask_image"))),
        "queue": False,
    }
    return quietly(look, lambda: nothing), [fields[name] for name in READ], shown, how
