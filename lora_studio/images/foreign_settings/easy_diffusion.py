"""Easy Diffusion: a text for each setting in a PNG, JSON in the UserComment of a JPEG or WebP; by its own
names or by titles ("Stable Diffusion model")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_studio.images.foreign_settings.found_settings import (
    Found,
    file_title,
    not_taken,
    plain,
    rows,
    sampler,
    settings_in,
    words,
)

TITLES = {
    "prompt": "Prompt",
    "negative_prompt": "Negative Prompt",
    "seed": "Seed",
    "use_stable_diffusion_model": "Stable Diffusion model",
    "clip_skip": "Clip Skip",
    "sampler_name": "Sampler",
    "width": "Width",
    "height": "Height",
    "num_inference_steps": "Steps",
    "guidance_scale": "Guidance Scale",
    "use_lora_model": "LoRA model",
    "lora_alpha": "LoRA Strength",
    "prompt_strength": "Prompt Strength",
    "use_hypernetwork_model": "Hypernetwork model",
    "use_upscale": "Use Upscaling",
    "use_face_correction": "Use Face Correction",
}
LEFT = {
    "use_hypernetwork_model": "a hypernetwork",
    "use_upscale": "the upscaler",
    "use_face_correction": "the face correction",
}
MARKS = ("use_stable_diffusion_model", "num_inference_steps")


def read(texts: Mapping[str, str]) -> Found | None:
    """Settings of Easy Diffusion in a picture's texts; None where there are none."""
    settings = settings_in(texts, "parameters") or dict(texts)
    settings = {name: settings.get(name, settings.get(title)) for name, title in TITLES.items()}
    if any(settings[name] is None for name in MARKS):
        return None
    chosen, notes = sampler(settings["sampler_name"])
    skip = str(settings["clip_skip"]).strip().lower()
    values = {
        "prompt": words(settings["prompt"]),
        "negative_prompt": words(settings["negative_prompt"]),
        "base": file_title(settings["use_stable_diffusion_model"]),
        "clip_skip": {"true": 2, "false": 1}.get(skip),
        "loras": [
            {"name": file_title(name), "weight": plain(weight)}
            for name, weight in zip(
                _several(settings["use_lora_model"]),
                [*_several(settings["lora_alpha"]), *[None] * 20],
                strict=False,
            )
        ],
        **{name: plain(settings[name]) for name in ("seed", "width", "height", *MARKS[1:], "guidance_scale")},
        **chosen,
    }
    return Found(program="Easy Diffusion", values=values, notes=(*notes, *not_taken(settings, LEFT)))


def _several(value: Any) -> list[Any]:
    """The values in one value, a list, or a text with commas between them; "None" is none."""
    if isinstance(value, str):
        value = [part.strip() for part in value[:2000].strip("[]").split(",")]
    parts = rows(value) or [value]
    return [part for part in parts if part not in (None, "", "None")][:20]
