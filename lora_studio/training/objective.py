"""What one step minimises. Legend: b batch, c latent channels, h w latent height and width.

All random numbers of a sample come from a generator of its own, seeded by run, epoch and picture: a picture
meets the same noise whatever batch it is in.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lora_studio.config import TrainConfig
from lora_studio.data.cache import Latents
from lora_studio.data.loader import Sample
from lora_studio.data.seeds import seed_of
from lora_studio.training.engine import Engine


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """`latents` and `noise` are [b, c, h, w], `timesteps` [b]; all on the CPU."""

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor


def draw(samples: Sequence[Sample], latents: Latents, config: TrainConfig) -> Drawn:
    """Latents sampled from their means and deviations, noise and timesteps for each sample."""
    drawn = [_draw_one(sample, latents, config) for sample in samples]
    return Drawn(
        latents=torch.stack([one[0] for one in drawn]),
        noise=torch.stack([one[1] for one in drawn]),
        timesteps=torch.cat([one[2] for one in drawn]),
    )


def sample_seed(config: TrainConfig, purpose: str, sample: Sample) -> int:
    """The seed of one showing of one picture."""
    return seed_of(config.optimizer.seed, purpose, sample.epoch, sample.placed.index, sample.repeat)


def offset_noise(noise: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Shift each channel of [..., c, h, w] by a normal number times `strength` (Guttenberg 2023)."""
    shift = torch.randn((*noise.shape[:-2], 1, 1), generator=generator)
    return noise + strength * shift


def sample_losses(engine: Engine, drawn: Drawn, text: torch.Tensor) -> torch.Tensor:
    """Weighted mean squared error of each sample, [b]."""
    family, parts, device = engine.family, engine.parts, engine.device.kind
    latents, noise = drawn.latents.to(device), drawn.noise.to(device)
    timesteps = drawn.timesteps.to(device)
    noisy = family.noisy_input(parts, latents, noise, timesteps)
    with engine.autocast():
        answer = family.predict(parts, noisy, timesteps, text)
    target = family.target(parts, latents, noise, timesteps)
    losses = (answer.float() - target).square().mean(dim=(1, 2, 3))
    return losses * family.loss_weights(parts, timesteps, engine.config.noise.min_snr_gamma)


def _draw_one(
    sample: Sample, latents: Latents, config: TrainConfig
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    flips = config.dataset.flip_aug and random.Random(sample_seed(config, "flip", sample)).random() < 0.5
    mean, deviation = latents.moments(sample.placed, mirrored=flips)
    generator = torch.Generator().manual_seed(sample_seed(config, "noise", sample))
    latent = mean + deviation * torch.randn(mean.shape, generator=generator)
    noise = torch.randn(mean.shape, generator=generator)
    least, most = config.noise.min_timestep, config.noise.max_timestep
    timestep = torch.randint(least, most, (1,), generator=generator)
    if config.noise.noise_offset:
        noise = offset_noise(noise, config.noise.noise_offset, generator)
    return latent, noise, timestep
