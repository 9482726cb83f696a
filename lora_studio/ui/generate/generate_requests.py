"""Requests from the fields of the Generate tab, and settings from elsewhere into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from lora_studio.catalog import BASES, SAMPLERS, Base, is_embedded, preview_prompts
from lora_studio.catalog.purpose_prompts import purpose_prompts
from lora_studio.config import Kind
from lora_studio.errors import ConfigError
from lora_studio.formatting import moment
from lora_studio.grids.grid_request import PARAMETERS
from lora_studio.images.input_store import is_here
from lora_studio.lora.names import slugs_named
from lora_studio.parsing.plain_text import plain_text
from lora_studio.prompts.lora_tags import TAG
from lora_studio.records import ListedLora, LoraRecord
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.ui.client_input.base_traits import chosen_traits
from lora_studio.ui.client_input.field_refusals import RefusalList
from lora_studio.ui.client_input.picture_input import take_picture
from lora_studio.ui.client_input.validate import base_names, decimal, is_blank, safe_base, safe_id, safe_slug
from lora_studio.ui.gallery.gallery_tab import existing_lora
from lora_studio.ui.upload.setup_panel import KINDS
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets import cards

SLOTS = 8
"""LoRAs at once on the page; the API takes any number."""
WEIGHTS = tuple(f"weight-{slot}" for slot in range(SLOTS))
TEXT_WEIGHTS = tuple(f"text-weight-{slot}" for slot in range(SLOTS))
WEIGHT_LIMITS = (-1, 2)
"""Limits of the sliders; prompts and scripts may go further."""
MOST_TAGS, LONGEST_NAME = 20, 64
"""Limits of a picture's prompt: tags that are looked up, characters of a name that are shown."""
OWN_SAMPLER = "the base's own"
STARTER_SUBJECT, ANY_SUBJECT = "dog", "lighthouse"
OF_A_BASE = ("num_inference_steps", "guidance_scale", "width", "height")
"""Fields whose empty value is the base model's own."""
PIXELS = ("width", "height", "mask_blur", "padding_mask_crop")
LABELS: Mapping[str, str] = {
    **{name: f"{title} (px)" if name in PIXELS else title for name, title in PARAMETERS.items()},
    "count": "Pictures",
    "image_format": "File format",
    "image": "Picture to redraw",
    "mask_image": "Mask",
}
"""The page's labels by field: the words of a grid's axes, which are the field's own."""
DRAW, REDRAW, GRID = "draw", "redraw", "grid"
MODES = (("Draw", DRAW), ("Redraw", REDRAW), ("Grid", GRID))
"""(name to show, name) of what Generate does: new pictures, another version of one, many on a sheet."""
LARGER, FINER = "Larger and sharper", "Finer settings"
NUMBERS = (
    *("num_inference_steps", "width", "height", "seed", "count", "clip_skip"),
    *("variation_seed", "hires_steps", "mask_blur", "padding_mask_crop"),
    *("guidance_scale", "guidance_rescale", "distilled_guidance_scale", "shift", "variation_strength"),
    *("strength", "hires_scale", "hires_strength"),
)
WORDS = (
    *("prompt", "negative_prompt", "sampler", "hires_upscaler"),
    *("image_format", "image", "mask_image"),
)
"""Text fields that the page has under their names in a request; an empty one leaves the request's default."""

SLID = frozenset(
    {"clip_skip", "guidance_rescale", "variation_strength", "strength", "hires_scale", "hires_strength"}
)
TYPED = frozenset(NUMBERS) - SLID
"""Numbers that are text on the page."""

NO_PICTURE = ("There is no picture to redraw.", "Drop one under Redraw, or press Redraw below a picture.")
"""The refusal of redrawing nothing: what is wrong, and what to do."""

Filling = Mapping[str, Any]
"""New values for some of the fields, by their name in a request."""


def defaults_of(base: str, settings: Settings | None = None) -> dict[str, str]:
    """A base's own steps, guidance and size as grey texts; one outside the catalog with `settings`."""
    entry = _traits(base, settings)
    if entry is None:
        return dict.fromkeys(OF_A_BASE, "automatic")
    side = str(entry.native_size)
    return {
        "num_inference_steps": str(entry.num_inference_steps),
        "guidance_scale": f"{entry.guidance_scale:g}",
        "width": side,
        "height": side,
    }


def sampler_choices(base: str, settings: Settings | None = None) -> list[tuple[str, str]]:
    """(name to show, name) of the samplers that can draw with a base; all where only loading tells."""
    entry = _traits(base, settings)
    names = entry.samplers if entry else tuple(SAMPLERS)
    return [(OWN_SAMPLER, ""), *((name, name) for name in names)]


def _traits(base: str, settings: Settings | None) -> Base | None:
    return BASES.get(base) or (chosen_traits(base, settings) if settings else None)


def sampler_box(base: str, sampler: str | None, settings: Settings) -> dict[str, Any]:
    """The choice of samplers for a base, one chosen where it fits; None: the chosen stays where all fit."""
    choices = sampler_choices(base, settings)
    names = {name for _, name in choices}
    if sampler is None and names.issuperset(SAMPLERS):
        return gr.update(choices=choices)
    return gr.update(choices=choices, value=sampler if sampler in names else "")


def ideas_for(base: str, lora: LoraRecord | None = None) -> tuple[str, ...]:
    """Prompts to try: about the LoRA's subject, or about things that the base knows."""
    if lora is not None:
        kind: Kind = lora.kind if lora.kind in KINDS else "object"  # type: ignore[assignment]
        return preview_prompts(kind, lora.trigger_word, base)
    subject = STARTER_SUBJECT if is_embedded(base) else ANY_SUBJECT
    return preview_prompts("object", subject, base)


def shown_ideas(base: str, lora: LoraRecord | None = None) -> str:
    """HTML of the prompts to try, and of those for more purposes."""
    kind, trigger = (lora.kind, lora.trigger_word) if lora else ("", "")
    return cards.ideas(ideas_for(base, lora), purpose_prompts(base, kind, trigger))


def lora_choices(records: Sequence[LoraRecord | ListedLora]) -> list[tuple[str, str]]:
    """(name to show, slug) of each LoRA; those that share their title have slug and date beside it."""
    twins = cards.twins(records)

    def shown(record: LoraRecord | ListedLora) -> str:
        apart = f" ({record.slug}, {moment(record.created_at)})"
        return f"{record.title}{apart}" if record.slug in twins else record.title

    return [(shown(record), record.slug) for record in records]


def slots(studio: Studio, chosen: Sequence[str], before: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """Values after another choice of LoRAs: a slider for each, with its weight kept; a box for the weight in
    the text encoder; the order; the triggers. `values` are those of WEIGHTS, then of TEXT_WEIGHTS. What a
    place holds is sent only where a LoRA has moved there: a new one finds 1, or what came with it from
    elsewhere, which may be on the page already or not yet."""
    weights, texts = values[:SLOTS], values[SLOTS:]
    places = {slug: place for place, slug in enumerate(before[:SLOTS])}

    def moved(kept: Sequence[Any], place: int, slug: str) -> dict[str, Any]:
        return {} if places.get(slug, place) == place else {"value": kept[places[slug]]}

    records = [record for slug in chosen[:SLOTS] if (record := existing_lora(studio, safe_slug(slug)))]
    names = {slug: name for name, slug in lora_choices(records)}
    sliders: list[Any] = []
    boxes: list[Any] = []
    for place, slug in enumerate(record.slug for record in records):
        title = f"Weight of {names[slug]}"
        sliders.append(gr.update(visible=True, label=title, **moved(weights, place, slug)))
        title = f"Text encoder weight of {names[slug]}"
        boxes.append(gr.update(visible=True, label=title, **moved(texts, place, slug)))
    sliders += [gr.update(visible=False, value=1)] * (SLOTS - len(sliders))
    boxes += [gr.update(visible=False, value="")] * (SLOTS - len(boxes))
    return [*sliders, *boxes, [record.slug for record in records], cards.triggers(records)]


def build_request(values: Mapping[str, Any], studio: Studio) -> GenerateRequest:
    """The request from the page's values by field name. Raises ConfigError, ModelFileError, StoreError."""
    given: dict[str, Any] = {name: values.get(name) or None for name in WORDS}
    given |= {name: values.get(name) for name in NUMBERS}
    given |= {"base": DEFAULT_BASE, "insert_trigger": bool(values["insert_trigger"])}
    if values.get("mode") == DRAW:
        given["image"] = None
    found = RefusalList()
    with found.at("base"):
        given["base"] = safe_base(values["base"], studio.settings)
    with found.at():
        given["loras"] = _uses(values, studio)
    with found.at("image"):
        if values.get("mode") == REDRAW and not given["image"]:
            raise ConfigError(*NO_PICTURE)
        given["mask_image"] = _mask(given, studio)
    filled = {name: value for name, value in given.items() if not is_blank(value)}
    request = GenerateRequest()
    with found.at():
        request = GenerateRequest.model_validate(filled, context=LABELS)
    found.raise_all()
    return request


def _mask(given: Mapping[str, Any], studio: Studio) -> str | None:
    """The sum of the mask, which comes as one or, freshly painted, as a data URL. None without a picture."""
    mask: str | None = given["mask_image"] if given["image"] else None
    return take_picture(mask, studio.settings, mask=True) if mask and mask.startswith("data:") else mask


def _uses(values: Mapping[str, Any], studio: Studio) -> list[dict[str, Any]]:
    uses = []
    found = RefusalList()
    for slug, weight, text in zip(values["loras"] or [], WEIGHTS, TEXT_WEIGHTS, strict=False):
        record = studio.gallery.lora(safe_slug(slug))
        use: dict[str, Any] = {"slug": record.slug}
        with found.at(weight):
            if (strength := decimal(values.get(weight), f"Weight of {record.title}")) is not None:
                use["weight"] = strength
        with found.at(text):
            if (strength := decimal(values.get(text), f"Text encoder weight of {record.title}")) is not None:
                use["text_encoder_weight"] = strength
        uses.append(use)
    found.raise_all()
    return uses


def use_lora(studio: Studio, slug: str) -> Filling:
    """Fields that draw with one LoRA. Raises StoreError."""
    record = studio.gallery.lora(safe_slug(slug))
    base = record.base if record.base in {name for _, name in base_names(studio.settings)} else DEFAULT_BASE
    return {
        **stacked([LoraUse(slug=record.slug)], studio.gallery.loras()),
        "mode": DRAW,
        "prompt": next(iter(ideas_for(base, record)), ""),
        "base": base,
        "sampler": sampler_box(base, None, studio.settings),
    }


def use_image(studio: Studio, image_id: str) -> tuple[Filling, list[str]]:
    """Fields that draw a gallery's picture again; what is missing. Raises StoreError, ConfigError."""
    return use_request(studio, request_of(studio, image_id))


def request_of(studio: Studio, image_id: str) -> GenerateRequest:
    """The request of a picture of the gallery. Raises StoreError, ConfigError."""
    kept = studio.gallery.image(safe_id(image_id, "picture")).request
    return GenerateRequest(**{name: kept[name] for name in kept if name in GenerateRequest.model_fields})


def use_request(studio: Studio, request: GenerateRequest) -> tuple[Filling, list[str]]:
    """Fields with a request's values, and sentences about parts of it that aren't here."""
    present = {record.slug: record for record in studio.gallery.loras()}
    uses = [use for use in request.loras if use.slug in present][:SLOTS]
    missing = [_missing_lora(use.slug) for use in request.loras if use.slug not in present]
    missing += _missing_tags(request.prompt, studio)
    filling = {**stacked(uses, list(present.values())), "insert_trigger": request.insert_trigger}
    for name in (*WORDS, *NUMBERS):
        if name != "count":
            value = getattr(request, name)
            filling[name] = _typed(value) if name in TYPED else value
    for use, weight in zip(uses, WEIGHTS, strict=False):
        if filling[weight] != use.weight:
            missing.append(f"The weight {use.weight:g} of “{use.slug}” is set to {filling[weight]:g}.")
    base, base_note = _base_here(request.base, studio)
    filling["sampler"] = sampler_box(base, request.sampler, studio.settings)
    if filling["sampler"]["value"] != request.sampler:
        missing.append(f"The sampler {request.sampler} can't draw with that base model; its own is chosen.")
    picture, gone = _pictures_here(request, studio)
    mode = REDRAW if picture["image"] else DRAW
    return {**filling, "base": base, "mode": mode, **picture}, [*missing, *base_note, *gone]


def stacked(uses: Sequence[LoraUse], records: Sequence[LoraRecord]) -> dict[str, Any]:
    """Fields with some of the LoRAs in `records` and their weights, as far as the sliders go."""
    slugs = [use.slug for use in uses]
    filling: dict[str, Any] = {"order": slugs}
    filling["loras"] = gr.update(choices=lora_choices(records), value=slugs)
    least, most = WEIGHT_LIMITS
    for use, weight, text in zip(uses, WEIGHTS, TEXT_WEIGHTS, strict=False):
        filling |= {weight: min(most, max(least, use.weight)), text: _typed(use.text_encoder_weight)}
    return filling


def _missing_lora(name: str) -> str:
    return f"The LoRA “{name}” is not in your library."


def _missing_tags(prompt: str, studio: Studio) -> list[str]:
    """Sentences on tags left in a prompt, by titles, that lead to no LoRA of the library."""
    names = dict.fromkeys(tag.split(":")[0].strip() for tag in TAG.findall(prompt)[:MOST_TAGS])
    folder = studio.settings.loras
    return [_missing_lora(plain_text(name, LONGEST_NAME)) for name in names if not slugs_named(name, folder)]


def _base_here(base: str, studio: Studio) -> tuple[str, list[str]]:
    if base in {name for _, name in base_names(studio.settings)}:
        return base, []
    return DEFAULT_BASE, [
        f"The base model “{base}” is not here; {BASES[DEFAULT_BASE].title} is chosen instead."
    ]


def _pictures_here(request: GenerateRequest, studio: Studio) -> tuple[Filling, list[str]]:
    """The picture to redraw and its mask, as far as they are kept here."""
    wanted = {"image": request.image, "mask_image": request.mask_image}
    here = {name: value for name, value in wanted.items() if is_here(value, studio.settings.inputs)}
    if len(here) == sum(map(bool, wanted.values())):
        return {"image": "", "mask_image": "", **here}, []
    gone = "The picture that it was redrawn from is not here; put it in again below."
    return {"image": "", "mask_image": ""}, [gone]


def _typed(value: Any) -> str:
    """A number as a person would type it."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
