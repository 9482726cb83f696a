"""The training loss of a set with noise and timesteps that never change: what a LoRA has learned of the set
itself, free of the luck of the draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TIMESTEPS = (100, 300, 500, 700, 900)
DRAWS = 2


def fixed_noise_losses(base: Path, lora: Path, pictures: Sequence[Path]) -> tuple[float, float]:
    """Mean squared error of the base's prediction on the pictures with their captions, without and with the
    LoRA in folder `lora`; each picture at five noise levels, twice."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(base)
    pipeline.load_lora_weights(str(lora))
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    found = []
    with torch.no_grad():
        for strength in (0.0, 1.0):
            pipeline.set_adapters(pipeline.get_active_adapters(), [strength])
            losses = [_picture_loss(pipeline, path, side) for path in pictures]
            found.append(float(np.mean(losses)))
    return found[0], found[1]


def _picture_loss(pipeline: Any, path: Path, side: int) -> float:
    import torch

    with Image.open(path) as image:
        small = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 127.5 - 1
    latent = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    count = len(TIMESTEPS) * DRAWS
    latents = latent.repeat(count, 1, 1, 1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor(TIMESTEPS * DRAWS)
    caption = path.with_suffix(".txt").read_text("utf-8").strip()
    text, _ = pipeline.encode_prompt(caption, "cpu", 1, False)
    schedule = pipeline.scheduler
    noisy = schedule.add_noise(latents, noise, timesteps)
    made = pipeline.unet(noisy, timesteps, encoder_hidden_states=text.repeat(count, 1, 1)).sample
    is_velocity = schedule.config.prediction_type == "v_prediction"
    target = schedule.get_velocity(latents, noise, timesteps) if is_velocity else noise
    return float((made - target).square().mean())
