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
    said = mapping(settings_in(texts, "parameters", having=["sui_image_params"]).get("sui_image_params"))
    if not said:
        return None
    named = said.get("sampler") or said.get("comfyuisampler") or said.get("autowebuisampler")
    chosen, notes = sampler(named, said.get("scheduler") or said.get("comfyuischeduler"))
    names, weights = rows(said.get("loras")), rows(said.get("loraweights"))
    weights += [None] * (len(names) - len(weights))
    values = {
        "prompt": words(said.get("prompt")),
        "negative_prompt": words(said.get("negativeprompt")),
        "base": file_title(said.get("model")),
        "seed": plain(said.get("seed")),
        "num_inference_steps": plain(said.get("steps")),
        "guidance_scale": plain(said.get("cfgscale")),
        "width": plain(said.get("width")),
        "height": plain(said.get("height")),
        "variation_seed": plain(said.get("variationseed")),
        "variation_strength": plain(said.get("variationseedstrength")),
        "loras": [
            {"name": file_title(name), "weight": plain(weight)}
            for name, weight in zip(names, weights, strict=False)
        ],
        **chosen,
    }
    return Found(program="SwarmUI", values=values, notes=(*notes, *not_taken(said, LEFT)))
