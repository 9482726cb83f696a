"""The engine that somebody asks for, loaded, or why it can't be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lora_studio.captioning.captioner import CaptionEngine, Captioner
from lora_studio.captioning.engine_files import STARTER
from lora_studio.captioning.language_captioners import BlipCaptioner, FlorenceCaptioner
from lora_studio.captioning.starter_captioner import StarterCaptioner
from lora_studio.captioning.tagger_captioner import TaggerCaptioner
from lora_studio.captioning.tagger_options import TaggerOptions
from lora_studio.errors import ModelFileError
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.files import expanded
from lora_studio.formatting import size
from lora_studio.runtime import find_device, memory_errors

LANGUAGE: dict[str, Callable[[str, str], Captioner]] = {"blip": BlipCaptioner, "florence2": FlorenceCaptioner}


def load_captioner(engine: CaptionEngine, source: str = "", tagger: TaggerOptions | None = None) -> Captioner:
    """A loaded engine: the model of a folder or of a Hub id in this machine's cache; without one the usual
    one. `tagger` are the options of an engine that writes tags. Raises ModelFileError, OutOfMemory."""
    if not engine.source:
        return _opened(engine, str(STARTER), lambda: StarterCaptioner(STARTER))
    folder = expanded(source) if source else None
    place = str(folder) if folder is not None and folder.is_dir() else source or engine.source
    if engine.name in LANGUAGE:
        return _opened(engine, place, lambda: LANGUAGE[engine.name](place, find_device().kind))
    return _opened(engine, place, lambda: TaggerCaptioner(place, tagger))


def _opened(engine: CaptionEngine, place: str, load: Callable[[], Any]) -> Captioner:
    with quiet_libraries(), memory_errors("this engine", "Take a smaller one, or close other programs."):
        try:
            return load()
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ModelFileError(
                f"The model of {engine.title}, {place[:200]}, isn't on this machine, or can't be read.",
                _way_out(engine),
                path=place,
            ) from error


def _way_out(engine: CaptionEngine) -> str:
    if not engine.source:
        return "Install LoRA Studio again."
    if engine.files:
        return (
            f"Fetch it ({size(engine.download_bytes)}) with: {engine.fetch_command}. Or name the folder that "
            "these files lie in."
        )
    return (
        f"Fetch it ({size(engine.download_bytes)}) with: {engine.fetch_command}. Or name the folder that it "
        "lies in; its weights have to be .safetensors."
    )
