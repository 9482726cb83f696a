"""InvokeAI: JSON in `invokeai_metadata` (its CoreMetadata), before version 3 in `sd-metadata`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lora_studio.images.foreign_settings.found_settings import (
    Found,
    file_title,
    mapping,
    not_taken,
    plain,
    rows,
    sampler,
    settings_in,
    words,
)

LEFT = {
    "vae": "the autoencoder",
    "refiner_model": "the refiner",
    "controlnets": "ControlNet",
    "ipAdapters": "IP adapters",
    "init_image": "the picture to redraw",
}
KARRAS = "_k"
WEIGHTS = re.compile(r"\w\+(?!\w)|\)[+\-\d]")
READ_OTHERWISE = ("InvokeAI's weights (cat+, (a cat)1.2) are not read: write them as (a cat:1.2).",)


def read(texts: Mapping[str, str]) -> Found | None:
    """Settings of InvokeAI in a picture's texts; None where there are none."""
    settings = settings_in(texts, "invokeai_metadata")
    if not settings:
        return _read_old(settings_in(texts, "sd-metadata", having=["image"]))
    chosen, notes = _sampler(settings.get("scheduler"))
    model = mapping(settings.get("model"))
    skip = settings.get("clip_skip")
    values = {
        "prompt": words(settings.get("positive_prompt")),
        "negative_prompt": words(settings.get("negative_prompt")),
        "base": file_title(model.get("name") or model.get("model_name")),
        "seed": plain(settings.get("seed")),
        "num_inference_steps": plain(settings.get("steps")),
        "guidance_scale": plain(settings.get("cfg_scale")),
        "guidance_rescale": plain(settings.get("cfg_rescale_multiplier")),
        "width": plain(settings.get("width")),
        "height": plain(settings.get("height")),
        # InvokeAI counts the layers that are left out, everybody else those from the end.
        "clip_skip": skip + 1 if isinstance(skip, int) and 0 <= skip < 100 else None,
        "loras": [_lora(mapping(row)) for row in rows(settings.get("loras"))],
        **chosen,
    }
    return Found(
        program="InvokeAI", values=values, notes=(*notes, *_weighted(values), *not_taken(settings, LEFT))
    )


def _read_old(settings: Mapping[str, Any]) -> Found | None:
    image = mapping(settings.get("image"))
    if not image:
        return None
    chosen, notes = _sampler(image.get("sampler"))
    prompt = image.get("prompt")
    first = mapping(rows(prompt)[0]).get("prompt") if rows(prompt) else prompt
    text, _, unwanted = words(first).partition("[")
    values = {
        "prompt": text.strip(),
        "negative_prompt": unwanted.strip().removesuffix("]"),
        "base": file_title(settings.get("model_weights")),
        "seed": plain(image.get("seed")),
        "num_inference_steps": plain(image.get("steps")),
        "guidance_scale": plain(image.get("cfg_scale")),
        "width": plain(image.get("width")),
        "height": plain(image.get("height")),
        **chosen,
    }
    return Found(program="InvokeAI", values=values, notes=(*notes, *_weighted(values)))


def _weighted(values: Mapping[str, Any]) -> tuple[str, ...]:
    found = WEIGHTS.search(f"{values['prompt']}\n{values['negative_prompt']}")
    return READ_OTHERWISE if found else ()


def _sampler(name: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    text = words(name)
    return sampler(text.removesuffix(KARRAS), "Karras" if text.endswith(KARRAS) else "")


def _lora(row: Mapping[str, Any]) -> dict[str, Any]:
    model = mapping(row.get("model") or row.get("lora"))
    return {
        "name": file_title(model.get("name") or model.get("model_name")),
        "weight": plain(row.get("weight")),
    }
