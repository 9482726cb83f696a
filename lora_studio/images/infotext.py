"""Infotext: the settings that A1111, Forge and most image sites write into a picture as text.

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
from lora_studio.errors import ConfigError
from lora_studio.images.foreign_request import fit
from lora_studio.images.settings_line import RESOURCES, find_settings, read_pairs, read_resources, read_sides
from lora_studio.parsing.slugs import SLUG, slug_from
from lora_studio.prompts.lora_tags import TAG, number, read_tag, say_passed_over, write_tag
from lora_studio.request import GenerateRequest
from lora_studio.samplers import AUTOMATIC, SPACINGS, sampler_named

NEGATIVE = "Negative prompt:"
LONGEST_TEXT = 100_000
"""Characters of an infotext that are read."""
LORA_KINDS = ("lora", "lycoris", "locon", "dora")
ONLY_MASKED = "Only masked"
NAMES_THERE = {"PNDM": "PLMS"}
EVEN = "Uniform"
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
    "Mask mode": "an inverted mask",
    "Hypernet": "a hypernetwork",
    "Styles": "styles",
    "Hires CFG Scale": "a CFG scale of the second pass",
    "Hires schedule type": "a schedule of the second pass",
    "Hires checkpoint": "a base model for the second pass",
    "Hires negative prompt": "a negative prompt for the second pass",
}
"""Settings of other programs that nothing here takes over, by their keys."""
READ = {
    *("Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Seed", "Size", "Model", "Clip skip"),
    *("Raw prompt", "Raw negative prompt", "CFG Rescale", "Distilled CFG Scale", "Shift"),
    *("Variation seed", "Variation seed strength"),
    *("Init image", "Mask image", "Denoising strength", "Mask blur", "Inpaint area", "Masked area padding"),
    *("Hires upscale", "Hires resize", "Hires upscaler", "Hires steps", "Hires denoising strength"),
    *("Lora weights", RESOURCES),
}
SAYS_NOTHING = {
    *("Version", "Model hash", "VAE hash", "Lora hashes", "Hashes", "User", "Created Date", "RNG", "NGMS"),
    *("Civitai metadata", "Metadata Scheme", "Batch size", "Batch pos", "Face restoration model", "Emphasis"),
    *("Wildcard prompt", "Diffusion in Low Bits", "Created", "Time taken"),
}
"""Keys that change nothing in drawing the picture."""
MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Infotext:
    """The parts of an infotext: `settings` maps the keys as written ("CFG scale") to unquoted values,
    `behind` is text after the line of settings."""

    prompt: str = ""
    negative_prompt: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    behind: str = ""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A request from a picture by `program` (empty: our own), and sentences on what was left out."""

    request: GenerateRequest
    notes: tuple[str, ...] = ()
    program: str = ""

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes, the program of the settings first."""
        return (f"These are settings of {self.program}.", *self.notes) if self.program else self.notes


def write_infotext(
    request: GenerateRequest,
    *,
    prompt: str,
    model: str,
    lora_hashes: Mapping[str, str],
    negative_prompt: str | None = None,
) -> str:
    """The infotext of an image. `request` has all values filled in; `prompt` and `negative_prompt` (None: the
    request's) are as drawn, with choices made and triggers inserted; `lora_hashes` as in
    `image_metadata.Origin`, of which the first 12 digits are written, as A1111 does. A checkpoint stands in
    its tag as `step=`, which A1111 passes over."""
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
    """Split an infotext, ours or another program's. Text without a line of settings is all prompt."""
    if len(text) > LONGEST_TEXT:  # the prompt stands at the start, the settings at the end
        text = f"{text[: LONGEST_TEXT // 2]}\n{text[-LONGEST_TEXT // 2 :]}"
    lines = text.replace("\r\n", "\n").strip().split("\n")
    place, settings = find_settings(lines)
    behind = "\n".join(lines[place + 1 :]).strip()
    lines = lines[:place]
    negatives = [line for line, words in enumerate(lines) if words.strip().startswith(NEGATIVE)]
    start = negatives[0] if negatives else len(lines)
    negative = "\n".join(lines[start:]).strip().removeprefix(NEGATIVE).strip()
    return Infotext(
        prompt="\n".join(lines[:start]).strip(), negative_prompt=negative, settings=settings, behind=behind
    )


def restore(text: str) -> Restored:
    """The request that an infotext describes, with notes; settings it leaves out keep their defaults. LoRA
    tags whose name can't be a slug stay in the prompt, where one can see them."""
    info = parse_infotext(text)
    settings = info.settings
    prompt, loras, passed = _without_tags(settings.get("Raw prompt") or info.prompt)
    width, height = read_sides(settings.get("Size", "")) or (None, None)
    sampler = sampler_named(
        settings.get("Sampler", ""), settings.get("Schedule type") or settings.get("Scheduler", "")
    )
    resources, left = _resources(settings)
    values: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": settings.get("Raw negative prompt") or info.negative_prompt,
        "base": settings.get("Model") or resources.get("base"),
        "loras": [*loras, *_more_loras(settings, loras, resources.get("loras", []))],
        "num_inference_steps": settings.get("Steps"),
        "guidance_scale": settings.get("CFG scale"),
        "seed": settings.get("Seed"),
        "width": width,
        "height": height,
        "sampler": sampler.sampler,
        "clip_skip": settings.get("Clip skip"),
        "guidance_rescale": settings.get("CFG Rescale"),
        "distilled_guidance_scale": settings.get("Distilled CFG Scale"),
        "shift": settings.get("Shift"),
        **_variation(settings),
        **_redrawn(settings),
        **_hires(settings),
    }
    request, notes = fit(values)
    notes = [*([sampler.note] if sampler.note else []), *passed, *notes, *left, *_left_out(settings)]
    if info.behind:
        notes.append(f"Passed over, behind the settings: “{info.behind[:60]}”.")
    return Restored(request=request, notes=tuple(notes), program=_program(settings))


def _schedule(sampler: str) -> dict[str, str]:
    """Sampler and schedule type apart, as A1111 writes them since 1.9: "DPM++ 2M" and "Schedule type:
    Karras". A method that A1111 would give another spacing of its own accord says that its steps lie
    evenly."""
    spacing = next((spacing for spacing in SPACINGS if sampler.endswith(f" {spacing}")), "")
    method = sampler.removesuffix(spacing).strip()
    spacing = spacing or (EVEN if method in AUTOMATIC else "")
    return {"Sampler": NAMES_THERE.get(method, method), **({"Schedule type": spacing} if spacing else {})}


def _more_pairs(request: GenerateRequest) -> dict[str, Any]:
    """The pairs that A1111 writes only where they are used. Keys that A1111 lacks: CFG Rescale is an
    extension's, Distilled CFG Scale and Shift are Forge's; those of pictures and the second pass's own
    strength are ours."""
    pairs: dict[str, Any] = {}
    if request.clip_skip > 1:
        pairs["Clip skip"] = request.clip_skip
    if request.guidance_rescale:
        pairs["CFG Rescale"] = number(request.guidance_rescale)
    if request.distilled_guidance_scale is not None:
        pairs["Distilled CFG Scale"] = number(request.distilled_guidance_scale)
    if request.shift is not None:
        pairs["Shift"] = number(request.shift)
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


def _without_tags(prompt: str) -> tuple[str, list[dict[str, Any]], list[str]]:
    """The prompt without the tags that can be read, their LoRAs, and sentences on parts of tags that are not
    used. Of a LoRA named twice (with the same checkpoint), the first tag counts."""
    passed: list[str] = []
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
        passed.append(say_passed_over(tag[1], use.slug))
        return ""

    return TAG.sub(take, prompt).strip(), list(loras.values()), list(filter(None, passed))


def _variation(settings: Mapping[str, str]) -> dict[str, Any]:
    strength = settings.get("Variation seed strength")
    return (
        {"variation_strength": strength, "variation_seed": settings.get("Variation seed")} if strength else {}
    )


def _redrawn(settings: Mapping[str, str]) -> dict[str, Any]:
    """Settings of img2img and inpainting. The denoising strength is the second pass's where there is one."""
    values: dict[str, Any] = {"image": settings.get("Init image"), "mask_image": settings.get("Mask image")}
    if settings.get("Init image") or not _second_pass(settings):
        values["strength"] = settings.get("Denoising strength")
    values["mask_blur"] = settings.get("Mask blur")
    if settings.get("Inpaint area") == ONLY_MASKED or "Masked area padding" in settings:
        values["padding_mask_crop"] = settings.get("Masked area padding", "32")
    return values


def _hires(settings: Mapping[str, str]) -> dict[str, Any]:
    if not _second_pass(settings):
        return {}
    first = None if settings.get("Init image") else settings.get("Denoising strength")
    steps = settings.get("Hires steps")
    return {
        "hires_scale": _scale(settings),
        # A1111 means "as the first pass" by 0.
        "hires_steps": None if steps == "0" else steps,
        "hires_strength": settings.get("Hires denoising strength", first),
        "hires_upscaler": "latent" if settings.get("Hires upscaler", "").startswith("Latent") else "lanczos",
    }


def _second_pass(settings: Mapping[str, str]) -> bool:
    return any(key in settings for key in ("Hires upscale", "Hires resize", "Hires upscaler"))


def _scale(settings: Mapping[str, str]) -> str | float:
    """The second pass's enlargement; for a target size that of the side that grows most, as in A1111."""
    if settings.get("Hires upscale"):
        return settings["Hires upscale"]
    before, after = (read_sides(settings.get(key, "")) for key in ("Size", "Hires resize"))
    if before is None or after is None:
        return 2.0
    return round(max(1.0, *(new / max(1, old) for old, new in zip(before, after, strict=True))), 4)


def _resources(settings: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Base and LoRAs that Civitai names, with notes; its versions without a name have only a number."""
    found: dict[str, Any] = {"loras": []}
    notes: list[str] = []
    for one in read_resources(settings.get(RESOURCES, "")):
        kind, name = str(one.get("type", "")), str(one.get("modelName") or "")[:100]
        kind = kind or (str(one.get("air", "")).split(":")[3:4] or [""])[0]
        if kind == "checkpoint" and name:
            found["base"] = name
        elif kind in LORA_KINDS and name:
            found["loras"].append({"name": name, "weight": one.get("weight", 1)})
        elif kind != "checkpoint" or not settings.get("Model"):
            what = name or f"number {str(one.get('modelVersionId', ''))[:20]} of Civitai"
            notes.append(f"Not taken over: {kind[:20] or 'a model'} ({what}).")
    return found, notes


def _more_loras(
    settings: Mapping[str, str], tagged: list[dict[str, Any]], named: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """LoRAs that stand in the settings alone: Fooocus' weights, Civitai's resources."""
    weights = read_pairs(settings.get("Lora weights", ""))
    uses = [*({"name": name, "weight": weight} for name, weight in weights.items()), *named]
    slugs = {use["slug"] for use in tagged}
    return [use for use in uses if slug_from(use["name"]) not in slugs]


def _program(settings: Mapping[str, str]) -> str:
    """The program that wrote the settings; empty for our own."""
    version = settings.get("Version", "")
    if version.startswith("LoRA Studio") or not settings:
        return ""
    if RESOURCES in settings:
        return "Civitai"
    names = {"f": "Forge", "neo": "Forge", "ComfyUI": "ComfyUI", "Fooocus": "Fooocus"}
    return next((name for start, name in names.items() if version.startswith(start)), "A1111")


def _left_out(settings: Mapping[str, str]) -> list[str]:
    notes = [
        f"Not taken over: {ELSEWHERE[key]} ({settings[key][:60]})." for key in ELSEWHERE if settings.get(key)
    ]
    upscaler = settings.get("Hires upscaler", "")
    if upscaler and not upscaler.startswith(("Latent", "Lanczos", "None")):
        notes.append(f"The upscaler “{upscaler[:60]}” isn't here; Lanczos enlarges instead.")
    covered = {
        key.split()[0] for key in ELSEWHERE if settings.get(key) and key not in ("Hires prompt", "Mask mode")
    }
    others = [key for key in settings if key not in READ | SAYS_NOTHING | ELSEWHERE.keys()]
    others = [key for key in others if key.split()[0] not in covered]
    if others:
        rest = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        notes.append(f"Passed over: {', '.join(others[:MOST_NAMED])}{rest}.")
    return notes


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value
