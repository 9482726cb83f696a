"""SwarmUI: JSON in `parameters`, with `sui_image_params` (its docs/Image Metadata Format.md)."""

from __future__ import annotations

from collections.abc import Mapping

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
    "refinermodel": "the refiner",
    "refinerupscale": "the refiner's enlargement",
    "vae": "the autoencoder",
    "controlnetmodel": "ControlNet",
    "initimage": "the picture to redraw",
}


def read(texts: Mapping[str, str]) -> Found | None:
    """Settings of SwarmUI in a picture's texts; None where there are none."""
    settings = mapping(settings_in(texts, "parameters", having=["sui_image_params"]).get("sui_image_params"))
    if not settings:
        return None
    named = settings.get("sampler") or settings.get("comfyuisampler") or settings.get("autowebuisampler")
    chosen, notes = sampler(named, settings.get("scheduler") or settings.get("comfyuischeduler"))
    names, weights = rows(settings.get("loras")), rows(settings.get("loraweights"))
    weights += [None] * (len(names) - len(weights))
    values = {
        "prompt": words(settings.get("prompt")),
        "negative_prompt": words(settings.get("negativeprompt")),
        "base": file_title(settings.get("model")),
        "seed": plain(settings.get("seed")),
        "num_inference_steps": plain(settings.get("steps")),
        "guidance_scale": plain(settings.get("cfgscale")),
        "width": plain(settings.get("width")),
        "height": plain(settings.get("height")),
        "variation_seed": plain(settings.get("variationseed")),
        "variation_strength": plain(settings.get("variationseedstrength")),
        "loras": [
            {"name": file_title(name), "weight": plain(weight)}
            for name, weight in zip(names, weights, strict=False)
        ],
        **chosen,
    }
    return Found(program="SwarmUI", values=values, notes=(*notes, *not_taken(settings, LEFT)))
