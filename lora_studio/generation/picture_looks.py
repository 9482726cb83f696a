"""Looks at finished pictures through a loaded base, whose LoRAs are off meanwhile."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageOps

from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.families.encoders.clip_encoder import PromptWindows
from lora_studio.families.features.picture_features import LOOK_AT, pooled, watching
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.generation.pipelines import LoadedBase
from lora_studio.generation.requests.settled_request import Size
from lora_studio.runtime import memory_errors


class PictureLooks:
    """Looks of one base at pictures of one size. Its LoRAs must be off."""

    def __init__(self, base: LoadedBase, size: Size) -> None:
        self._base, self._size = base, size
        with quiet_libraries(), memory_errors("reading the prompt", "Close other programs."):
            self._text, _ = base.model.prompts.encode_prompts("", "", PromptWindows())

    def features(self, path: Path) -> torch.Tensor:
        """The features [d] of a picture, cut to the size's shape. Raises DatasetError, OutOfMemory."""
        picture = ImageOps.fit(open_picture(path), self._size, Image.Resampling.LANCZOS)
        hint = "Close other programs."
        with quiet_libraries(), memory_errors("comparing the pictures", hint), torch.no_grad():
            model, codec = self._base.model, self._base.model.codec
            moments = codec.scaled(codec.encode(codec.to_pixels(picture)))
            self._base.rest()
            time = torch.tensor([int(LOOK_AT * model.process.times)])
            latents = moments.mean.float().cpu()  # where the schedule of noise lies
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(int(time)))
            noisy = model.process.add_noise(latents, noise, time)
            with watching(model) as seen:
                device = self._base.device.kind
                model.denoise(noisy.to(device, model.dtype), time.to(device), self._text)
            self._base.rest()
        return pooled(seen)
