"""Fooocus' own scheme: JSON in `parameters`, earlier in Comment (modules/meta_parser.py); else A1111's."""

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

LEFT = {
    "styles": "styles",
    "refiner_model": "the refiner",
    "sharpness": "the sharpness",
    "adm_guidance": "the ADM guidance",
    "freeu": "FreeU",
}
MOST_LORAS = 20


def read(texts: Mapping[str, str]) -> Found | None:
    """Settings of Fooocus' own scheme in a picture's texts; None where there are none."""
    settings = settings_in(texts, "parameters", "Comment", "comment", having=["prompt", "base_model"])
    if not settings:
        return None
    chosen, notes = sampler(settings.get("sampler"), settings.get("scheduler"))
    width, height = _sides(settings)
    values = {
        "prompt": words(settings.get("prompt")),
        "negative_prompt": words(settings.get("negative_prompt")),
        "base": file_title(settings.get("base_model")),
        "seed": plain(settings.get("seed")),
        "num_inference_steps": plain(settings.get("steps")),
        "guidance_scale": plain(settings.get("guidance_scale", settings.get("cfg"))),
        "width": width,
        "height": height,
        "clip_skip": plain(settings.get("clip_skip")),
        "loras": _loras(settings),
        **chosen,
    }
    return Found(program="Fooocus", values=values, notes=(*notes, *not_taken(settings, LEFT)))


def _sides(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Width and height, from their own keys or from "(1152, 896)"."""
    if "width" in settings:
        return plain(settings.get("width")), plain(settings.get("height"))
    width, _, height = words(settings.get("resolution"))[:40].strip("() ").replace("×", ",").partition(",")
    return width.strip(), height.strip()


def _loras(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The LoRAs of `loras`, rows of name, weight and hash, or of `lora_combined_1`: "name : 0.5"."""
    found = [row for row in rows(settings.get("loras")) if isinstance(row, list) and len(row) > 1]
    if not found:
        pairs = (words(settings.get(f"lora_combined_{number}")) for number in range(1, MOST_LORAS))
        found = [list(pair.rpartition(" : ")[::2]) for pair in pairs if " : " in pair]
    return [{"name": file_title(row[0]), "weight": plain(row[1])} for row in found]
