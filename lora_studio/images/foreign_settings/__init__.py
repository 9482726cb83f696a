"""Settings that other programs leave in their pictures, one file a program. A1111's form, which Forge,
Civitai and many others write as well, is `images/infotext.py`."""

from __future__ import annotations

from collections.abc import Mapping

from lora_studio.images.foreign_settings import (
    comfy,
    draw_things,
    easy_diffusion,
    fooocus,
    invoke,
    novelai,
    swarm,
)
from lora_studio.images.foreign_settings.found_settings import Found

READERS = (
    *(swarm.read, fooocus.read, invoke.read, novelai.read, easy_diffusion.read, draw_things.read),
    comfy.read,  # the last: others that draw with ComfyUI leave its graph as well
)


def read_foreign(texts: Mapping[str, str]) -> Found | None:
    """The settings in a picture's texts, keyed as in a PNG; None when no program of READERS wrote them."""
    return next((found for read in READERS if (found := read(texts)) is not None), None)
