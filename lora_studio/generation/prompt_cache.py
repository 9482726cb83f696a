"""Encoded prompts, kept for the next picture: of many pictures most have the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lora_studio.families.encoders.bundled_embeddings import BundledEmbedding
from lora_studio.generation.lora_lookup import WantedLora
from lora_studio.lora.file.cosmos_keys import TEXT_ADAPTER
from lora_studio.runtime import memory_errors

if TYPE_CHECKING:
    from lora_studio.families.base import BaseModel, TextOutput
    from lora_studio.generation.requests.settled_request import SettledImage

KEPT = 32


class EncodedTexts:
    """Outputs of one base's text encoders for the latest prompts; those of another take their place."""

    def __init__(self, *, kept: int = KEPT) -> None:
        self._kept = kept
        self._model: Callable[[], BaseModel | None] = lambda: None
        self._found: dict[object, tuple[TextOutput, TextOutput]] = {}  # the latest used comes last

    def clear(self) -> None:
        self._found.clear()

    def get(
        self, model: BaseModel, image: SettledImage, words: Sequence[BundledEmbedding] = ()
    ) -> tuple[TextOutput, TextOutput]:
        """The encoded prompt and negative prompt of an image whose LoRAs are on the base: they may change its
        text encoders, and `words` are theirs. Raises OutOfMemory."""
        if self._model() is not model:
            self._found.clear()
            self._model = weakref.ref(model)
        prompt, negative_prompt, clip_skip = image.prompt, image.negative_prompt, image.request.clip_skip
        key = prompt, negative_prompt, clip_skip, frozenset(_state(lora, model) for lora in image.loras)
        found = self._found.pop(key, None)
        if found is None:
            with memory_errors("reading the prompt", "Take a shorter prompt, or close other programs."):
                from lora_studio.families.encoders.clip_encoder import PromptWindows  # loads torch

                how = PromptWindows(clip_skip=clip_skip, words=words)
                found = model.prompts.encode_prompts(prompt, negative_prompt, how)
        self._found[key] = found
        for old in list(self._found)[: -self._kept]:
            del self._found[old]
        return found


def _state(lora: WantedLora, model: BaseModel) -> tuple[object, ...]:
    """All that texts depend on: an adapter behind the text encoder has the denoiser's weight."""
    adapted = lora.weight if TEXT_ADAPTER in model.models() else None
    return lora.key, lora.header.tensor_hash, lora.weight_of_text, adapted
