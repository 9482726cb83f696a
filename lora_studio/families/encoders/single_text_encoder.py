"""Encoders of long texts: each text is read alone, so that its company doesn't matter to the last bit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lora_studio.families.encoders.text_output import TextOutput

if TYPE_CHECKING:
    from lora_studio.families.encoders.clip_encoder import CaptionWindows, PromptWindows


class SingleTextEncoder(ABC):
    """Encodes texts for one base model; `models` gives what reads them, which need not stay in memory as
    tokenizers do. `longest` is the most tokens of a text. Captions and prompts are read alike, brackets are
    letters, and of `how` nothing applies."""

    def __init__(self, models: Callable[[], Any], longest: int) -> None:
        self._models = models
        self._longest = longest

    def encode_captions(self, captions: Sequence[str], how: CaptionWindows) -> TextOutput:
        """One batch, with gradients where they are on and something is trained."""
        models = self._models()
        return TextOutput.stack([self._encode(models, caption) for caption in captions])

    @torch.no_grad()
    def encode_prompts(self, prompt: str, negative: str, how: PromptWindows) -> tuple[TextOutput, TextOutput]:
        models = self._models()
        return self._encode(models, prompt), self._encode(models, negative)

    def caption_layer(self, clip_skip: int | None) -> int:
        """Always the same layer."""
        return 1

    def caption_limit(self, max_token_length: int | None) -> tuple[int, str]:
        """The most tokens of a caption that are read, and a hint for those who need more."""
        return self._longest, "Shorten them."

    @abstractmethod
    def _encode(self, models: Any, text: str) -> TextOutput:
        """One text, [1, n, d]."""
