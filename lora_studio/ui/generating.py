"""What the Generate tab does: requests from its fields, a generation with progress, settings taken up."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from lora_studio.catalog import BASES, preview_prompts
from lora_studio.config import Kind
from lora_studio.events import Denoised, Event, Noted, PhaseAdvanced, ShouldStop
from lora_studio.records import ImageRecord, LoraRecord
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui import cards
from lora_studio.ui.gallery_tab import existing_lora, infotext
from lora_studio.ui.guard import base_names, decimal, safe_base, safe_id, safe_slug, whole
from lora_studio.ui.upload_tab import DEFAULT_BASE, KINDS
from lora_studio.ui.words import duration

SLOTS = 8
"""LoRAs at once on the page; the API takes any number."""
STARTER_SUBJECT, ANY_SUBJECT = "dog", "lighthouse"
FIELD_TITLES: Mapping[str, str] = {
    "steps": "Steps",
    "guidance": "Guidance",
    "width": "Width (px)",
    "height": "Height (px)",
}


def defaults_of(base: str) -> dict[str, str]:
    """A base's own steps, guidance and size, as grey texts."""
    entry = BASES.get(base)
    if entry is None:
        return dict.fromkeys(FIELD_TITLES, "automatic")
    side = str(entry.native_size)
    return {
        "steps": str(entry.num_inference_steps),
        "guidance": f"{entry.guidance_scale:g}",
        "width": side,
        "height": side,
    }


def ideas_for(base: str, lora: LoraRecord | None = None) -> tuple[str, ...]:
    """Prompts to try: about the LoRA's subject, or what the base knows."""
    if lora is not None:
        kind: Kind = lora.kind if lora.kind in KINDS else "object"  # type: ignore[assignment]
        return preview_prompts(kind, lora.trigger_word, base)
    embedded = base in BASES and not BASES[base].source
    return preview_prompts("object", STARTER_SUBJECT if embedded else ANY_SUBJECT, base)


def lora_choices(records: Sequence[LoraRecord]) -> list[tuple[str, str]]:
    return [(record.title, record.slug) for record in records]


def slots(studio: Studio, chosen: Sequence[str], before: Sequence[str], weights: Sequence[Any]) -> list[Any]:
    """After another choice of LoRAs: a slider for each, with its weight kept; the order; the triggers."""
    known = dict(zip(before, weights, strict=False))
    records = [record for slug in chosen[:SLOTS] if (record := existing_lora(studio, safe_slug(slug)))]
    sliders: list[Any] = [
        gr.update(visible=True, label=f"Weight of {record.title}", value=known.get(record.slug, 1))
        for record in records
    ]
    sliders += [gr.update(visible=False, value=1)] * (SLOTS - len(sliders))
    return [*sliders, [record.slug for record in records], cards.triggers(records)]


def build_request(values: Mapping[str, Any], weights: Sequence[Any], studio: Studio) -> GenerateRequest:
    """The request behind what the page sent. Raises ConfigError, ModelFileError, StoreError."""
    count = whole(values["count"], "count")
    loras = [studio.gallery.lora(safe_slug(slug)).slug for slug in values["loras"] or []]
    return GenerateRequest.build(
        prompt=values["prompt"] or "",
        negative_prompt=values["negative"] or "",
        base=safe_base(values["base"], studio.settings),
        loras=[
            {"slug": slug, "weight": 1 if weight is None else weight}
            for slug, weight in zip(loras, weights, strict=False)
        ],
        insert_trigger=bool(values["insert"]),
        num_inference_steps=whole(values["steps"], "steps"),
        guidance_scale=decimal(values["guidance"], "guidance"),
        width=whole(values["width"], "width"),
        height=whole(values["height"], "height"),
        seed=whole(values["seed"], "seed"),
        count=1 if count is None else count,
        sampler=values["sampler"] or "",
    )


class Painter:
    """Runs one generation for the page: the pictures, then the base's own where asked for."""

    def __init__(self, studio: Studio, progress: gr.Progress) -> None:
        self._studio, self._progress, self._rounds, self._round = studio, progress, 1, 0

    def paint(self, request: GenerateRequest, compare: bool, should_stop: ShouldStop) -> list[cards.Result]:
        compare = compare and bool(request.loras)
        self._rounds = 2 if compare else 1
        self._progress(0, desc="Waiting for the device" if self._studio.lease.holder else "Getting ready")
        own = self._studio.generate(request, self._hear, should_stop)
        if not (compare and own):
            return [cards.Result(image=image) for image in own]
        self._round = 1
        plain = request.model_copy(update={"loras": (), "seed": own[0].seed, "count": len(own)})
        base = [] if should_stop() else self._studio.generate(plain, self._hear, should_stop)
        beside: list[ImageRecord | None] = [*base, *[None] * (len(own) - len(base))]
        return [cards.Result(image=image, base=other) for image, other in zip(own, beside, strict=True)]

    def _hear(self, event: Event) -> None:
        if isinstance(event, Denoised):
            before = self._round * event.images * event.total_steps + (event.image - 1) * event.total_steps
            total = self._rounds * event.images * event.total_steps
            self._progress(
                (before + event.step, total), desc=f"Picture {event.image} of {event.images}", unit="steps"
            )
        elif isinstance(event, PhaseAdvanced):
            self._progress(0, desc="Loading the base model")
        elif isinstance(event, Noted) and event.level == "warning":
            gr.Warning(html.escape(event.message, quote=False))


def finished(made: Sequence[cards.Result], seconds: float, *, stopped: bool) -> list[Any]:
    """The results and the seed that "last seed again" takes."""
    if not made:
        return [cards.results([], "", "Stopped before the first picture was done."), gr.skip()]
    note = f"{'Stopped' if stopped else 'Done'} in {duration(seconds)}."
    return [cards.results(made, infotext(made[0].image), note), str(made[0].image.seed)]


def use_lora(studio: Studio, slug: str) -> list[Any]:
    """Values for `GenerateTab.filled` that take up one LoRA. Raises StoreError."""
    record = studio.gallery.lora(safe_slug(slug))
    base = record.base if record.base in {name for _, name in base_names(studio.settings)} else DEFAULT_BASE
    prompt = next(iter(ideas_for(base, record)), "")
    loras = gr.update(choices=lora_choices(studio.gallery.loras()), value=[record.slug])
    return [prompt, gr.skip(), loras, gr.skip(), base, *[gr.skip()] * (6 + SLOTS)]


def use_image(studio: Studio, image_id: str) -> list[Any]:
    """Values for `GenerateTab.filled` that make the same picture again. Raises StoreError."""
    request = studio.gallery.image(safe_id(image_id, "picture")).request
    present = {record.slug for record in studio.gallery.loras()}
    uses = [use for use in request.get("loras", ()) if use["slug"] in present][:SLOTS]
    slugs = [str(use["slug"]) for use in uses]
    loras = gr.update(choices=lora_choices(studio.gallery.loras()), value=slugs)
    names = ("seed", "num_inference_steps", "guidance_scale", "width", "height")
    weights: list[Any] = [use.get("weight", 1) for use in uses]
    return [
        request.get("prompt", ""),
        request.get("negative_prompt", ""),
        loras,
        slugs,
        request.get("base", DEFAULT_BASE),
        *(_typed(request.get(name)) for name in names),
        request.get("sampler", ""),
        *weights,
        *[gr.skip()] * (SLOTS - len(weights)),
    ]


def _typed(value: Any) -> str:
    """A number as a person would type it."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
