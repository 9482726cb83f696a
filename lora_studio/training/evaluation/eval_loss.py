"""Denoising errors under noise that is the same each time: what validation and the judge of pictures measure
with. Legend: b batch, c latent channels, h w latent height and width."""

from __future__ import annotations

import torch

from lora_studio.families.base import TextOutput
from lora_studio.training.model import Engine


def errors(
    engine: Engine,
    latents: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    text: TextOutput,
    sizes: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean squared error of each sample, [b], at its timestep, [b], without the weights that the training's
    objective may give: so that runs with other objectives compare. `latents` and `noise` are [b, c, h, w];
    `sizes` is [b, 6] as `objective.sizes_of` has it (None: of whole pictures, not cut)."""
    process, device = engine.base.process, engine.device.kind
    latents, noise, timesteps = latents.to(device), noise.to(device), timesteps.to(device)
    noisy = process.add_noise(latents, noise, timesteps)
    with engine.autocast():
        answer = engine.base.denoise(noisy, timesteps, text, sizes, guidance=engine.guidance)
    return (answer.float() - process.target(latents, noise, timesteps)).square().mean(dim=(1, 2, 3))
