"""Captions by image-to-text models in transformers: BLIP (Li et al. 2022), Florence-2 (Xiao et al. 2023).

Both are read from a folder, or from the Hub's cache on this machine; nothing is fetched, and of weights only
safetensors are read: the other kind can run code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from lora_studio.captioning.captioner import Captioner

LONGEST_BLIP, LONGEST_FLORENCE = 60, 256
"""Tokens of an answer."""
BEAMS = 3
TASK = "<MORE_DETAILED_CAPTION>"
"""The question that Florence-2 answers."""
HERE: Mapping[str, Any] = {"local_files_only": True}


class BlipCaptioner(Captioner):
    """A BLIP model for captions, from a folder or a Hub id in the cache. Raises OSError, ValueError."""

    batch = 4

    def __init__(self, source: str, device: str = "cpu") -> None:
        from transformers import BlipForConditionalGeneration, BlipProcessor

        self._processor: Any = BlipProcessor.from_pretrained(source, **HERE)
        loaded: Any = BlipForConditionalGeneration.from_pretrained(source, use_safetensors=True, **HERE)
        self._model = loaded.to(device).eval()

    @torch.no_grad()
    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        inputs = self._processor(images=list(images), return_tensors="pt").to(self._model.device)
        tokens = self._model.generate(**inputs, max_new_tokens=LONGEST_BLIP, num_beams=BEAMS, do_sample=False)
        return [text.strip() for text in self._processor.batch_decode(tokens, skip_special_tokens=True)]


class FlorenceCaptioner(Captioner):
    """A Florence-2 model in transformers' form, a folder or a Hub id. Raises OSError, ValueError."""

    batch = 2

    def __init__(self, source: str, device: str = "cpu") -> None:
        from transformers import Florence2ForConditionalGeneration, Florence2Processor

        self._processor: Any = Florence2Processor.from_pretrained(source, **HERE)
        loaded: Any = Florence2ForConditionalGeneration.from_pretrained(source, use_safetensors=True, **HERE)
        self._model = loaded.to(device).eval()

    @torch.no_grad()
    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        inputs = self._processor(text=[TASK] * len(images), images=list(images), return_tensors="pt")
        tokens = self._model.generate(
            **inputs.to(self._model.device), max_new_tokens=LONGEST_FLORENCE, num_beams=BEAMS, do_sample=False
        )
        return [text.strip() for text in self._processor.batch_decode(tokens, skip_special_tokens=True)]
