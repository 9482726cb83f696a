"""The line of settings that A1111, Forge and most image sites read from a picture ("infotext").

Prompt, then a line "Negative prompt: ...", then one line of "Key: value" pairs. A LoRA stands in the prompt
as `<lora:name:weight>`. Our own JSON chunk is exact; this form is for other programs and for their pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_studio import __version__
from lora_studio.catalog import SAMPLERS
from lora_studio.config import SLUG
from lora_studio.request import GenerateRequest

NEGATIVE = "Negative prompt:"
PAIR = re.compile(r'\s*(\w[\w /-]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
LORA_TAG = re.compile(r"\s*<lora:([^:<>]+)(?::(-?\d*\.?\d+))?>")
FEWEST_PAIRS = 3
"""A last line with fewer pairs than this is part of the prompt."""


@dataclass(frozen=True, kw_only=True)
class Infotext:
    """What a line says: `settings` maps the keys as written ("CFG scale") to unquoted values."""

    prompt: str = ""
    negative_prompt: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def write_infotext(
    request: GenerateRequest, *, prompt: str, model: str, lora_hashes: Mapping[str, str]
) -> str:
    """`request` with all values filled in; `prompt` as drawn (triggers inserted); `lora_hashes` maps a slug
    to the SHA-256 of its tensors, of which the first 12 digits are written, as A1111 does."""
    tags = [f"<lora:{use.slug}:{use.weight:g}>" for use in request.loras]
    pairs: dict[str, Any] = {
        "Steps": request.num_inference_steps,
        "Sampler": request.sampler,
        "CFG scale": f"{request.guidance_scale:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": model,
        "Lora hashes": ", ".join(f"{slug}: {digest[:12]}" for slug, digest in lora_hashes.items()),
        "Version": f"LoRA Studio {__version__}",
    }
    lines = [" ".join([prompt, *tags]).strip()]
    if request.negative_prompt:
        lines.append(f"{NEGATIVE} {request.negative_prompt}")
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in pairs.items() if value != ""))
    return "\n".join(lines).replace("\x00", "")


def parse_infotext(text: str) -> Infotext:
    """Read an infotext, ours or another program's. Text that has no settings line is all prompt."""
    lines = text.strip().split("\n")
    settings: dict[str, str] = {}
    pairs = PAIR.findall(lines[-1])
    if len(pairs) >= FEWEST_PAIRS and not lines[-1].startswith(NEGATIVE):
        settings = {key.strip(): _unquoted(value.strip()) for key, value in pairs}
        lines.pop()
    negatives = [number for number, line in enumerate(lines) if line.strip().startswith(NEGATIVE)]
    start = negatives[0] if negatives else len(lines)
    negative = "\n".join(lines[start:]).strip().removeprefix(NEGATIVE).strip()
    return Infotext(prompt="\n".join(lines[:start]).strip(), negative_prompt=negative, settings=settings)


def request_from_infotext(text: str) -> GenerateRequest:
    """The request that an infotext describes; what it leaves out keeps its default. LoRA tags whose name
    can't be a slug of ours stay in the prompt, where one can see them. Raises ConfigError for values out of
    range."""
    info = parse_infotext(text)
    said = info.settings
    loras = [
        {"slug": name, "weight": weight or 1.0}
        for name, weight in LORA_TAG.findall(info.prompt)
        if SLUG.fullmatch(name)
    ]
    width, _, height = said.get("Size", "").partition("x")
    values: dict[str, Any] = {
        "prompt": LORA_TAG.sub(lambda tag: "" if SLUG.fullmatch(tag[1]) else tag[0], info.prompt).strip(),
        "negative_prompt": info.negative_prompt,
        "base": said.get("Model"),
        "loras": loras,
        "num_inference_steps": said.get("Steps"),
        "guidance_scale": said.get("CFG scale"),
        "seed": said.get("Seed"),
        "width": width,
        "height": height,
        "sampler": _sampler(said),
    }
    return GenerateRequest.build(**{key: value for key, value in values.items() if value not in (None, "")})


def _sampler(said: Mapping[str, str]) -> str:
    """A1111 1.9 and later writes "DPM++ 2M" and "Schedule type: Karras" apart. Unknown names: the default."""
    name, schedule = said.get("Sampler", ""), said.get("Schedule type", "")
    return next((known for known in (f"{name} {schedule}", name) if known in SAMPLERS), "")


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value
