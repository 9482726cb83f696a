"""A request's names on this machine: LoRAs, pictures to redraw and wildcards in their folders."""

from __future__ import annotations

from collections.abc import Sequence

from lora_studio.generation.lora_lookup import WantedLora, find_loras
from lora_studio.generation.requests.settled_request import Size
from lora_studio.images.input_store import size_of
from lora_studio.lora.names import as_slug
from lora_studio.prompts.expand import expand
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import Settings


class FolderLibrary:
    """The `Library` of a settled request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def slug_of(self, name: str) -> str:
        return as_slug(name, self._settings.loras)

    def loras(self, uses: Sequence[LoraUse]) -> list[WantedLora]:
        return find_loras(uses, self._settings.loras)

    def picture_size(self, request: GenerateRequest) -> Size | None:
        return size_of(request, self._settings.inputs)

    def chosen(self, text: str, seed: int) -> str:
        return expand(text, seed, self._settings.wildcards)
