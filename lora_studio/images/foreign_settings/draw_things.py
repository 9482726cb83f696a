"""Draw Things: JSON inside the picture's XMP, in exif:UserComment, with `c` for the prompt and `uc`."""

from __future__ import annotations

import html
from collections.abc import Mapping

from lora_studio.images.foreign_settings.found_settings import (
    Found,
    file_title,
    mapping,
    plain,
    rows,
    sampler,
    words,
)
from lora_studio.parsing.json_text import read_object

PLACES = ("XML:com.adobe.xmp", "xmp")
TAG = "exif:UserComment"
LONGEST = 200_000


def read(texts: Mapping[str, str]) -> Found | None:
    """Settings of Draw Things in a picture's texts; None where there are none."""
    settings = next((found for place in PLACES if (found := _comment(texts.get(place, "")))), {})
    if "c" not in settings or "uc" not in settings:
        return None
    chosen, notes = sampler(settings.get("sampler"))
    width, _, height = words(settings.get("size"))[:20].partition("x")
    values = {
        "prompt": words(settings.get("c")),
        "negative_prompt": words(settings.get("uc")),
        "base": file_title(settings.get("model")),
        "seed": plain(settings.get("seed")),
        "num_inference_steps": plain(settings.get("steps")),
        "guidance_scale": plain(settings.get("scale")),
        "width": width,
        "height": height,
        "clip_skip": plain(mapping(settings.get("v2")).get("clipSkip")),
        "loras": [
            {"name": file_title(one.get("file") or one.get("model")), "weight": plain(one.get("weight"))}
            for one in map(mapping, rows(settings.get("lora")))
        ],
        **chosen,
    }
    return Found(program="Draw Things", values=values, notes=notes)


def _comment(xmp: str) -> Mapping[str, object]:
    """The JSON in the UserComment, by its braces: an XML parser's entities can be made to grow."""
    _, _, after = xmp[:LONGEST].partition(f"<{TAG}")
    inside, end, _ = after.partition(f"</{TAG}>")
    start, stop = inside.find("{"), inside.rfind("}")
    return read_object(html.unescape(inside[start : stop + 1])) if end and start >= 0 else {}
