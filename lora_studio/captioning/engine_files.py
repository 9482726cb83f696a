"""The files of an engine's usual model, found without loading it. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from lora_studio.captioning.captioner import CaptionEngine
from lora_studio.settings import CHECKOUT

STARTER = CHECKOUT / "models" / "starter" / "captioner"
USUAL = ("model.safetensors",)


def engine_weights(engine: CaptionEngine) -> list[Path]:
    """The files that an engine's usual model is read from; empty where one is missing on this machine."""
    if not engine.source:
        return sorted(STARTER.glob("*.safetensors"))
    from huggingface_hub import try_to_load_from_cache

    places = [try_to_load_from_cache(engine.source, name) for name in engine.files or USUAL]
    found = [Path(place) for place in places if isinstance(place, str)]
    return found if len(found) == len(places) and all(path.is_file() for path in found) else []
