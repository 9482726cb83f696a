"""Fooocus' own scheme: JSON in `parameters`, or in Comment by older versions (its modules/meta_parser.py).
Its other scheme is A1111's line."""

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
    said = settings_in(texts, "parameters", "Comment", "comment", having=["prompt", "base_model"])
    if not said:
        return None
    chosen, notes = sampler(said.get("sampler"), said.get("scheduler"))
    width, height = _sides(said)
    values = {
        "prompt": words(said.get("prompt")),
        "negative_prompt": words(said.get("negative_prompt")),
        "base": file_title(said.get("base_model")),
        "seed": plain(said.get("seed")),
        "num_inference_steps": plain(said.get("steps")),
        "guidance_scale": plain(said.get("guidance_scale", said.get("cfg"))),
        "width": width,
        "height": height,
        "clip_skip": plain(said.get("clip_skip")),
        "loras": _loras(said),
        **chosen,
    }
    return Found(program="Fooocus", values=values, notes=(*notes, *not_taken(said, LEFT)))


def _sides(said: Mapping[str, Any]) -> tuple[Any, Any]:
    """From width and height, or from "(1152, 896)"."""
    if "width" in said:
        return plain(said.get("width")), plain(said.get("height"))
    width, _, height = words(said.get("resolution"))[:40].strip("() ").replace("×", ",").partition(",")
    return width.strip(), height.strip()


def _loras(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From `loras`, rows of name, weight and hash, or from `lora_combined_1`: "name : 0.5"."""
    found = [row for row in rows(said.get("loras")) if isinstance(row, list) and len(row) > 1]
    if not found:
        pairs = (words(said.get(f"lora_combined_{number}")) for number in range(1, MOST_LORAS))
        found = [list(pair.rpartition(" : ")[::2]) for pair in pairs if " : " in pair]
    return [{"name": file_title(row[0]), "weight": plain(row[1])} for row in found]
