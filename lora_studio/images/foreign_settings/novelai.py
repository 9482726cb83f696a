"""NovelAI: JSON in Comment beside Software: NovelAI; the prompt stands in Description as well."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lora_studio.images.foreign_settings.found_settings import (
    Found,
    not_taken,
    plain,
    sampler,
    settings_in,
    words,
)

LEFT = {"sm": "SMEA", "reference_strength": "the vibe", "strength": "the picture to redraw"}

WEIGHTS = re.compile(r"[{}\[\]]|\d::")
READ_OTHERWISE = (
    "NovelAI's weights are not read: {…} and 1.2::… :: are plain words here, […] lowers as in A1111.",
)


def read(texts: Mapping[str, str]) -> Found | None:
    """Settings of NovelAI in a picture's texts; None where there are none."""
    settings = settings_in(texts, "Comment", "parameters", having=["uc", "steps"])
    if not settings or ("sampler" not in settings and texts.get("Software") != "NovelAI"):
        return None
    schedule = words(settings.get("noise_schedule"))
    chosen, notes = sampler(
        words(settings.get("sampler")).removesuffix("_v3"), "" if schedule == "native" else schedule
    )
    values = {
        "prompt": words(settings.get("prompt")) or texts.get("Description", ""),
        "negative_prompt": words(settings.get("uc")),
        "base": "",
        "seed": plain(settings.get("seed")),
        "num_inference_steps": plain(settings.get("steps")),
        "guidance_scale": plain(settings.get("scale")),
        "guidance_rescale": plain(settings.get("cfg_rescale")),
        "width": plain(settings.get("width")),
        "height": plain(settings.get("height")),
        **chosen,
    }
    source = words(texts.get("Source"))[:60]
    base_note = (f"It was drawn by NovelAI's own model{f' ({source})' if source else ''}.",)
    weighted = WEIGHTS.search(f"{values['prompt']}\n{values['negative_prompt']}")
    marks = READ_OTHERWISE if weighted else ()
    return Found(
        program="NovelAI", values=values, notes=(*base_note, *marks, *notes, *not_taken(settings, LEFT))
    )
