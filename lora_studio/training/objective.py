"""The loss that one step minimises. Legend: b batch, c latent channels, h w latent height and width.

All random numbers of a sample come from a generator of its own, seeded by run, epoch and picture: a picture
meets the same noise whatever batch it is in. Kohya's trainer draws some of them once a batch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lora_studio.config import TrainConfig
from lora_studio.config_groups import NoiseGroup
from lora_studio.data.buckets import Placement
from lora_studio.data.latent_cache import Latents
from lora_studio.data.loader import Sample
from lora_studio.data.seeds import seed_of
from lora_studio.families.base import Process, TextOutput
from lora_studio.training.loss.loss_weights import elementwise_loss, huber_thresholds
from lora_studio.training.loss.noise_shapes import offset_noise, perturbed_input, pyramid_noise, random_share
from lora_studio.training.model import Engine


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """A batch's inputs, all on the CPU. `latents` and `noise` are [b, c, h, w], `timesteps` and the pictures'
    `weights` [b], `masks` [b, 1, h, w]. The denoiser sees `input_noise`, if that isn't `noise`. `sizes` [b,
    6] are as BaseModel.denoise takes them."""

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    input_noise: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    sizes: torch.Tensor | None = None


def draw(samples: Sequence[Sample], latents: Latents, config: TrainConfig, process: Process) -> TrainingBatch:
    """Latents sampled from their means and deviations, noise and timesteps for each sample."""
    drawn = [_draw_one(sample, latents, config, process) for sample in samples]
    return TrainingBatch(
        latents=torch.stack([one.latent for one in drawn]),
        noise=torch.stack([one.noise for one in drawn]),
        timesteps=torch.cat([one.timestep for one in drawn]),
        input_noise=torch.stack([one.input_noise for one in drawn]) if config.noise.ip_noise_gamma else None,
        masks=_stacked([one.mask for one in drawn], drawn[0].latent),
        weights=torch.tensor([sample.placed.picture.weight for sample in samples]),
        sizes=torch.tensor([one.sizes for one in drawn]),
    )


def sample_seed(config: TrainConfig, purpose: str, sample: Sample) -> int:
    """The seed of one showing of one picture."""
    return seed_of(config.optimizer.seed, purpose, sample.epoch, sample.placed.index, sample.repeat)


def sample_losses(engine: Engine, drawn: TrainingBatch, text: TextOutput) -> torch.Tensor:
    """The loss of each sample, [b], in Kohya's order: of each element, times the mask, the mean (what is
    masked counts in it), times the picture's weight and that of the noise level."""
    base, process, device = engine.base, engine.base.process, engine.device.kind
    settings = engine.config.noise
    latents, noise = drawn.latents.to(device), drawn.noise.to(device)
    timesteps = drawn.timesteps.to(device)
    seen = noise if drawn.input_noise is None else drawn.input_noise.to(device)
    noisy = process.add_noise(latents, seen, timesteps)
    with engine.forward_pass():
        answer = base.denoise(noisy, timesteps, text, drawn.sizes, guidance=engine.guidance)
    answer = process.prediction(answer.float(), noisy, timesteps, settings)
    target = process.target(latents, noise, timesteps)
    has_border = settings.loss_type in ("huber", "smooth_l1")
    thresholds = huber_thresholds(settings, process, timesteps) if has_border else None
    losses = elementwise_loss(answer, target, settings.loss_type, thresholds)
    if drawn.masks is not None:
        losses = losses * drawn.masks.to(device)
    losses = losses.mean(dim=(1, 2, 3))
    if drawn.weights is not None:
        losses = losses * drawn.weights.to(device)
    return losses * process.loss_weights(timesteps, settings)


@dataclass(frozen=True, kw_only=True)
class TrainingSample:
    """A single sample's share of a TrainingBatch; `timestep` is [1]."""

    latent: torch.Tensor
    noise: torch.Tensor
    input_noise: torch.Tensor
    timestep: torch.Tensor
    mask: torch.Tensor | None
    sizes: tuple[int, ...]


def _draw_one(sample: Sample, latents: Latents, config: TrainConfig, process: Process) -> TrainingSample:
    """Draw a sample's noise and timestep; what is optional is drawn last, so that switching it on leaves the
    rest as it was."""
    settings, data = config.noise, sample.placed.picture.settings
    flips = data.flip_aug and random.Random(sample_seed(config, "flip", sample)).random() < 0.5
    mean, deviation = latents.moments(sample.placed, mirrored=flips)
    generator = torch.Generator().manual_seed(sample_seed(config, "noise", sample))
    latent = mean + deviation * torch.randn(mean.shape, generator=generator)
    noise = torch.randn(mean.shape, generator=generator)
    timestep = process.draw_time(settings, generator, (mean.shape[-2], mean.shape[-1]))
    noise = _shaped(noise, latent, settings, generator)
    seen = noise
    if settings.ip_noise_gamma:
        share = random_share(generator) if settings.ip_noise_gamma_random_strength else 1.0
        seen = perturbed_input(noise, settings.ip_noise_gamma * share, generator)
    mask = latents.mask(sample.placed, mirrored=flips)
    sizes = sizes_of(sample.placed.placement, mirrored=flips)
    return TrainingSample(
        latent=latent, noise=noise, input_noise=seen, timestep=timestep, mask=mask, sizes=sizes
    )


def sizes_of(placement: Placement, *, mirrored: bool) -> tuple[int, ...]:
    """The sizes of a picture's preparation in pixels: original height and width, top and left of the cut in
    the scaled picture, height and width of the result (Podell et al. 2023)."""
    (width, height), (left, top) = placement.bucket, placement.corner
    if mirrored:
        left = placement.resized[0] - width - left
    whole = placement.original if placement.original != (0, 0) else placement.resized
    return whole[1], whole[0], top, left, height, width


def _shaped(
    noise: torch.Tensor, latent: torch.Tensor, settings: NoiseGroup, generator: torch.Generator
) -> torch.Tensor:
    """Offset, then the pyramid."""
    if settings.noise_offset:
        share = random_share(generator) if settings.noise_offset_random_strength else 1.0
        noise = offset_noise(
            noise,
            settings.noise_offset * share,
            generator,
            latent=latent,
            adaptive=settings.adaptive_noise_scale,
        )
    if settings.multires_noise_iterations:
        noise = pyramid_noise(
            noise,
            iterations=settings.multires_noise_iterations,
            discount=settings.multires_noise_discount,
            generator=generator,
        )
    return noise


def _stacked(masks: Sequence[torch.Tensor | None], like: torch.Tensor) -> torch.Tensor | None:
    """[b, 1, h, w] with ones for samples without a mask; None when there is no mask at all."""
    if all(mask is None for mask in masks):
        return None
    whole = torch.ones(1, *like.shape[-2:])
    return torch.stack([whole if mask is None else mask for mask in masks])
