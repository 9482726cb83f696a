"""Pictures as Generate and the previews draw them, on a tiny base made for flow matching."""

from __future__ import annotations

from typing import Any

import torch

from lora_studio.families.encoders.clip_encoder import PromptWindows
from lora_studio.families.sampling import Guidance, Sampler, sample

SIZE = (64, 48)


def draw_latents(
    model: Any, prompt: str, negative: str = "", *, steps: int = 3, **guidance: float
) -> torch.Tensor:
    """[1, c, h, w]."""
    texts = model.prompts.encode_prompts(prompt, negative, PromptWindows())
    size = model.codec.latents_size(*SIZE)
    sampler = Sampler(model.process, "Euler", steps, size)
    generator = torch.Generator().manual_seed(3)
    latents = sampler.start(torch.randn((1, model.codec.channels, *size), generator=generator))
    how = Guidance(**{"scale": 1.0, **guidance})
    for step in sample(model, sampler, latents, texts, how, generator=generator):
        latents = step.latents
    return latents


@torch.no_grad()
def draw(model: Any, prompt: str, negative: str = "", **values: Any) -> torch.Tensor:
    """[1, 3, H, W] in 0..1."""
    pixels: torch.Tensor = model.codec.decode(draw_latents(model, prompt, negative, **values))
    return pixels
