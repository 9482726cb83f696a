"""The line of settings that A1111, Forge and most image sites read from a picture ("infotext").

Prompt, then a line "Negative prompt: ...", then one line of "Key: value" pairs. A LoRA stands in the prompt
as `<lora:name:weight>`. Our own JSON is exact; this form is for other programs and for their pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_studio import __version__
from lora_studio.config import SLUG
from lora_studio.errors import ConfigError
from lora_studio.generation.lora_tags import TAG, number, read_tag, write_tag
from lora_studio.numbers import parse_decimal
from lora_studio.request import GenerateRequest
from lora_studio.samplers import SPACINGS, sampler_named

NEGATIVE = "Negative prompt:"
LONGEST_KEY = 60
PAIR = re.compile(
    rf'\s{{0,9}}+(\w[\w \-/]{{0,{LONGEST_KEY}}}+):\s*+("(?:\\.|[^\\"])*+"(?=,|$)|[^,]*+)(?:,|$)'
)
"""Bounded, so that a long line which is none takes no longer than it is."""
FEWEST_PAIRS = 3
"""A last line with fewer pairs than this is part of the prompt."""
ONLY_MASKED = "Only masked"
UPSCALERS = {"lanczos": "Lanczos", "latent": "Latent"}
ELSEWHERE = {
    "VAE": "the autoencoder",
    "TI hashes": "embeddings",
    "ADetailer model": "ADetailer",
    "ControlNet 0": "ControlNet",
    "Refiner": "the refiner",
    "Hires sampler": "a sampler for the second pass",
    "Hires prompt": "a prompt for the second pass",
    "Eta": "Eta",
    "ENSD": "ENSD",
    "Tiling": "tiling",
    "Face restoration": "face restoration",
    "Distilled CFG Scale": "the distilled guidance",
    "Mask mode": "an inverted mask",
}
"""Settings of other programs that nothing here takes over, by their keys."""


@dataclass(frozen=True, kw_only=True)
class Infotext:
    """What a line says: `settings` maps the keys as written ("CFG scale") to unquoted values."""

    prompt: str = ""
    negative_prompt: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A request read from a picture, and sentences on what couldn't be taken over."""

    request: GenerateRequest
    notes: tuple[str, ...] = ()


def write_infotext(
    request: GenerateRequest,
    *,
    prompt: str,
    model: str,
    lora_hashes: Mapping[str, str],
    negative_prompt: str | None = None,
) -> str:
    """`request` with all values filled in; `prompt` and `negative_prompt` (None: the request's) as drawn,
    with choices made and triggers inserted; `lora_hashes` as `images.Origin` has them, of which the first 12
    digits are written, as A1111 does. A checkpoint stands in its tag as `step=`, which A1111 passes over."""
    negative = request.negative_prompt if negative_prompt is None else negative_prompt
    pairs: dict[str, Any] = {
        "Steps": request.num_inference_steps,
        "Sampler": request.sampler,
        **_schedule(request.sampler),
        "CFG scale": number(request.guidance_scale) if request.guidance_scale is not None else "",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": model,
        **_more_pairs(request),
        "RNG": "CPU",
        "Lora hashes": ", ".join(f"{key}: {digest[:12]}" for key, digest in lora_hashes.items()),
        "Version": f"LoRA Studio {__version__}",
    }
    lines = [" ".join([prompt, *map(write_tag, request.loras)]).strip()]
    if negative:
        lines.append(f"{NEGATIVE} {negative}")
    written = {key: str(value) for key, value in pairs.items() if value not in ("", None)}
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in written.items()))
    return "\n".join(lines).replace("\x00", "")


def parse_infotext(text: str) -> Infotext:
    """Read an infotext, ours or another program's. Text that has no settings line is all prompt."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    settings: dict[str, str] = {}
    pairs = PAIR.findall(lines[-1])
    if len(pairs) >= FEWEST_PAIRS and not lines[-1].startswith(NEGATIVE):
        settings = {key.strip(): _unquoted(value.strip()) for key, value in pairs}
        lines.pop()
    negatives = [line for line, words in enumerate(lines) if words.strip().startswith(NEGATIVE)]
    start = negatives[0] if negatives else len(lines)
    negative = "\n".join(lines[start:]).strip().removeprefix(NEGATIVE).strip()
    return Infotext(prompt="\n".join(lines[:start]).strip(), negative_prompt=negative, settings=settings)


def request_from_infotext(text: str) -> GenerateRequest:
    """The request that an infotext describes; what it leaves out keeps its default. LoRA tags whose name
    can't be a slug of ours stay in the prompt, where one can see them. Raises ConfigError for values out of
    range."""
    return restore(text).request


def restore(text: str) -> Restored:
    """The same, with notes. Raises ConfigError."""
    info = parse_infotext(text)
    said = info.settings
    prompt, loras = _without_tags(info.prompt)
    width, _, height = said.get("Size", "").partition("x")
    sampler = sampler_named(said.get("Sampler", ""), said.get("Schedule type", ""))
    values: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": info.negative_prompt,
        "base": said.get("Model"),
        "loras": loras,
        "num_inference_steps": said.get("Steps"),
        "guidance_scale": said.get("CFG scale"),
        "seed": said.get("Seed"),
        "width": width,
        "height": height,
        "sampler": sampler.sampler,
        "clip_skip": said.get("Clip skip"),
        "guidance_rescale": said.get("CFG Rescale"),
        **_variation(said),
        **_redrawn(said),
        **_hires(said),
    }
    request = GenerateRequest.build(
        **{key: value for key, value in values.items() if value not in (None, "")}
    )
    return Restored(request=request, notes=(*([sampler.note] if sampler.note else []), *_left_out(said)))


def _schedule(sampler: str) -> dict[str, str]:
    """As A1111 has it since 1.9: "DPM++ 2M" and "Schedule type: Karras" apart."""
    spacing = next((spacing for spacing in SPACINGS if sampler.endswith(f" {spacing}")), "")
    return {"Sampler": sampler.removesuffix(spacing).strip(), "Schedule type": spacing} if spacing else {}


def _more_pairs(request: GenerateRequest) -> dict[str, Any]:
    """What A1111 writes only where it is used. Keys that A1111 lacks: CFG Rescale is an extension's; those of
    pictures and the second pass's own strength are ours."""
    pairs: dict[str, Any] = {}
    if request.clip_skip > 1:
        pairs["Clip skip"] = request.clip_skip
    if request.guidance_rescale:
        pairs["CFG Rescale"] = number(request.guidance_rescale)
    if request.variation_strength:
        pairs["Variation seed"] = request.variation_seed
        pairs["Variation seed strength"] = number(request.variation_strength)
    if request.image:
        pairs["Denoising strength"] = number(request.strength)
        pairs["Init image"] = request.image
    if request.mask_image:
        pairs["Mask image"] = request.mask_image
        pairs["Mask blur"] = request.mask_blur
        if request.padding_mask_crop is not None:
            pairs["Inpaint area"] = ONLY_MASKED
            pairs["Masked area padding"] = request.padding_mask_crop
    if request.hires_scale > 1:
        pairs["Hires denoising strength" if request.image else "Denoising strength"] = number(
            request.hires_strength
        )
        pairs["Hires upscale"] = number(request.hires_scale)
        pairs["Hires steps"] = request.hires_steps
        pairs["Hires upscaler"] = UPSCALERS[request.hires_upscaler]
    return pairs


def _without_tags(prompt: str) -> tuple[str, list[dict[str, Any]]]:
    """The prompt without the tags that can be read, and their LoRAs; of one named twice (with the same
    checkpoint), the first tag."""
    loras: dict[tuple[str, int | None], dict[str, Any]] = {}

    def take(tag: re.Match[str]) -> str:
        try:
            use = read_tag(tag[1])
        except ConfigError:
            return tag[0]
        key = use.slug, use.checkpoint
        if not SLUG.fullmatch(tag[1].split(":")[0].strip()) or key in loras:
            return tag[0]
        loras[key] = use.model_dump()
        return ""

    return TAG.sub(take, prompt).strip(), list(loras.values())


def _variation(said: Mapping[str, str]) -> dict[str, Any]:
    strength = said.get("Variation seed strength")
    return {"variation_strength": strength, "variation_seed": said.get("Variation seed")} if strength else {}


def _redrawn(said: Mapping[str, str]) -> dict[str, Any]:
    """Without a second pass, the denoising strength is that of a redrawn picture."""
    values: dict[str, Any] = {"image": said.get("Init image"), "mask_image": said.get("Mask image")}
    if said.get("Init image") or not _second_pass(said):
        values["strength"] = _above_zero(said.get("Denoising strength"))
    values["mask_blur"] = said.get("Mask blur")
    if said.get("Inpaint area") == ONLY_MASKED or "Masked area padding" in said:
        values["padding_mask_crop"] = said.get("Masked area padding", "32")
    return values


def _hires(said: Mapping[str, str]) -> dict[str, Any]:
    if not _second_pass(said):
        return {}
    first = None if said.get("Init image") else said.get("Denoising strength")
    steps = said.get("Hires steps")
    return {
        "hires_scale": _scale(said),
        # A1111 means "as the first pass" by 0.
        "hires_steps": None if steps == "0" else steps,
        "hires_strength": _above_zero(said.get("Hires denoising strength", first)),
        "hires_upscaler": "latent" if said.get("Hires upscaler", "").startswith("Latent") else "lanczos",
    }


def _second_pass(said: Mapping[str, str]) -> bool:
    return any(key in said for key in ("Hires upscale", "Hires resize", "Hires upscaler"))


def _scale(said: Mapping[str, str]) -> str | float:
    """The enlargement, or that to a size: the larger one of both sides, as A1111 covers it."""
    if said.get("Hires upscale"):
        return said["Hires upscale"]
    sizes = [re.fullmatch(r"(\d{1,5}+)x(\d{1,5}+)", said.get(key, "")) for key in ("Size", "Hires resize")]
    if sizes[0] is None or sizes[1] is None:
        return 2.0
    factors = [int(after) / max(1, int(before)) for before, after in zip(*map(_sides, sizes), strict=True)]
    return round(max(1.0, *factors), 4)


def _sides(size: re.Match[str] | None) -> tuple[str, ...]:
    return size.groups() if size else ()


def _above_zero(value: str | None) -> str | None:
    """A strength of 0 leaves the picture as it is, which isn't drawing; ours begin above it."""
    return None if value is not None and parse_decimal(value) == 0 else value


def _left_out(said: Mapping[str, str]) -> list[str]:
    notes = [f"Not taken over: {ELSEWHERE[key]} ({said[key][:60]})." for key in ELSEWHERE if said.get(key)]
    upscaler = said.get("Hires upscaler", "")
    if upscaler and not upscaler.startswith(("Latent", "Lanczos", "None")):
        notes.append(f"The upscaler “{upscaler[:60]}” isn't here; Lanczos enlarges instead.")
    return notes


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value
