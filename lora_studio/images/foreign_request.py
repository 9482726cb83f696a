"""Requests from settings that another program wrote: every value that fits is taken over, the rest is rounded
or left out, each with a sentence. No value can refuse a whole picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import parse_decimal, parse_whole
from lora_studio.parsing.slugs import SLUG, slug_from
from lora_studio.prompts.lora_tags import HIGHEST_WEIGHT
from lora_studio.request import LONGEST_PROMPT, MAX_SEED, GenerateRequest

TITLES: Mapping[str, str] = {
    "num_inference_steps": "steps",
    "guidance_scale": "CFG scale",
    "clip_skip": "clip skip",
    "guidance_rescale": "guidance rescale",
    "distilled_guidance_scale": "distilled CFG scale",
    "shift": "shift",
    "variation_strength": "variation strength",
    "strength": "denoising strength",
    "mask_blur": "mask blur",
    "padding_mask_crop": "masked area padding",
    "hires_scale": "enlargement of the second pass",
    "hires_steps": "steps of the second pass",
    "hires_strength": "denoising strength of the second pass",
}
SEEDS: Mapping[str, str] = {"seed": "seed", "variation_seed": "variation seed"}
SIDES = ("width", "height")
TEXTS: Mapping[str, str] = {"prompt": "prompt", "negative_prompt": "negative prompt"}
STEP = 8
MOST_LORAS = 50
MOST_SHOWN = 60
NO_BASE = "These settings name no base model: choose the one that the picture was made with."


def fit(values: Mapping[str, Any]) -> tuple[GenerateRequest, list[str]]:
    """A request, and sentences on values left out or changed. `values` are by the request's names; numbers
    may be text, None and empty text are missing."""
    left = {name: value for name, value in values.items() if value not in (None, "")}
    taken: dict[str, Any] = {}
    notes: list[str] = []
    for name in TEXTS:
        taken[name] = _text(left.pop(name, ""), TEXTS[name], notes)
    for name in SEEDS:
        taken |= _seed(name, left.pop(name, None), notes)
    taken |= _size({name: left.pop(name, None) for name in SIDES}, notes)
    for name in [name for name in TITLES if name in left]:
        taken |= _number(name, left.pop(name), notes)
    taken |= _loras(left.pop("loras", ()), notes)
    if not left.get("base"):
        notes.append(NO_BASE)
    for name, value in left.items():
        taken |= _as_it_is(name, value, notes)
    return GenerateRequest(**taken), notes


def _text(value: Any, title: str, notes: list[str]) -> str:
    text = str(value).encode("utf-8", "replace").decode().replace("\x00", "")
    if len(text) > LONGEST_PROMPT:
        notes.append(f"The {title} has {len(text)} characters; its first {LONGEST_PROMPT} are taken over.")
    return text[:LONGEST_PROMPT]


def _seed(name: str, value: Any, notes: list[str]) -> dict[str, int]:
    if value is None:
        return {}
    seed = parse_whole(value)
    if seed is None:
        notes.append(_left_out(SEEDS[name], value))
        return {}
    if seed < 0:
        notes.append(f"The {SEEDS[name]} {seed} means any; one will be drawn.")
        return {}
    if seed > MAX_SEED:
        # The generator looks at the last 32 bits, which are the same.
        notes.append(f"The {SEEDS[name]} {seed} is {seed % (MAX_SEED + 1)} here, which draws the same noise.")
    return {name: seed % (MAX_SEED + 1)}


def _size(sides: Mapping[str, Any], notes: list[str]) -> dict[str, int]:
    if any(side is None for side in sides.values()):
        notes += [_left_out(name, side) for name, side in sides.items() if side is not None]
        return {}
    given = [parse_decimal(side) for side in sides.values()]
    wanted = [side for side in given if side is not None and side >= 1]
    written = " × ".join(str(side)[:MOST_SHOWN] for side in sides.values())
    if len(wanted) < 2:
        notes.append(_left_out("size", written))
        return {}
    least, most = _bounds("width")
    scale = min(1.0, most / max(wanted))
    found = [int(min(max(round(side * scale / STEP) * STEP, least), most)) for side in wanted]
    if found != wanted:
        notes.append(f"The size {written} is set to {found[0]} × {found[1]}.")
    return dict(zip(SIDES, found, strict=True))


def _number(name: str, value: Any, notes: list[str]) -> dict[str, float]:
    is_whole = "int" in str(GenerateRequest.model_fields[name].annotation)
    number = parse_decimal(value)
    if number is None:
        notes.append(_left_out(TITLES[name], value))
        return {}
    least, most = _bounds(name)
    if number <= 0 < least and not is_whole:
        # A strength of nothing leaves the picture as it is, which isn't drawing: the usual one is taken.
        notes += [_left_out(TITLES[name], value)] if number else []
        return {}
    found = min(max(round(number) if is_whole else number, least), most)
    if found != number:
        title = TITLES[name]
        notes.append(f"{title[0].upper()}{title[1:]} {str(value)[:MOST_SHOWN]}: {found:g} is taken instead.")
    return {name: int(found) if is_whole else found}


def _bounds(name: str) -> tuple[float, float]:
    """The least and the greatest value of a request's field; beyond an open end stands the next number."""
    least, most = 0.0, float(MAX_SEED)
    for limit in GenerateRequest.model_fields[name].metadata:
        least = getattr(limit, "ge", least)
        if getattr(limit, "gt", None) is not None:
            least = math.nextafter(limit.gt, math.inf)
        most = getattr(limit, "le", most)
    return least, most


def _loras(uses: Iterable[Mapping[str, Any]], notes: list[str]) -> dict[str, Any]:
    """The request's `loras` from uses with a `name` (or a `slug`) and the weights of a LoraUse."""
    found: list[dict[str, Any]] = []
    for use in list(uses)[:MOST_LORAS]:
        name = str(use.get("slug") or use.get("name") or "")[:200]
        slug = name if SLUG.fullmatch(name) else slug_from(name)
        weights = [parse_decimal(use.get(key)) for key in ("weight", "text_encoder_weight")]
        if not SLUG.fullmatch(slug) or (weights[0] is None and use.get("weight") is not None):
            notes.append(_left_out("a LoRA", name or "without a name"))
            continue
        weight, text = (
            None if one is None else max(-HIGHEST_WEIGHT, min(one, HIGHEST_WEIGHT)) for one in weights
        )
        if [weight, text] != weights:
            notes.append(f"The weight of the LoRA “{name[:MOST_SHOWN]}” is set to {weight:g}.")
        taken = {"slug": slug, "weight": 1.0 if weight is None else weight, "text_encoder_weight": text}
        found.append({**taken, "checkpoint": use.get("checkpoint")})
    return {"loras": found}


def _as_it_is(name: str, value: Any, notes: list[str]) -> dict[str, Any]:
    try:
        GenerateRequest(**{name: value})
    except ConfigError:
        notes.append(_left_out(name.replace("_", " "), value))
        return {}
    return {name: value}


def _left_out(title: str, value: Any) -> str:
    return f"Not taken over: {title} ({str(value)[:MOST_SHOWN]})."
