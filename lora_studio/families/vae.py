"""Between pictures and latents, as diffusers' own pipelines do it.

Shape letters: b pictures, c latent channels, h w latent height and width, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What the autoencoder makes of b pictures: for each a cloud of latents around `mean`, as wide as `std`,
    both [b, c, h, w], unscaled."""

    mean: torch.Tensor
    std: torch.Tensor


@torch.no_grad()
def encode(pipe: Any, *pictures: Image.Image) -> Moments:
    """Of RGB pictures of one size, which must suit the autoencoder."""
    pixels = pipe.image_processor.preprocess(list(pictures))
    with _as_exact_as_needed(pipe):
        vae = pipe.vae
        found = vae.encode(pixels.to(pipe._execution_device, vae.dtype)).latent_dist
        moments = Moments(mean=found.mean, std=found.std)
    pipe.maybe_free_model_hooks()
    return moments


def sample(pipe: Any, moments: Moments, noise: torch.Tensor) -> torch.Tensor:
    """Latents from the cloud, as the denoiser takes them, [b, c, h, w]. `noise` has their shape."""
    latents = (moments.mean + moments.std * noise.to(moments.mean)).to(pipe.unet.dtype)
    mean, std = _centre(pipe, latents)
    scaled: torch.Tensor = (latents - mean) * pipe.vae.config.scaling_factor / std
    return scaled


@torch.no_grad()
def decode_exactly(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """Pixels [1, 3, H, W] in 0..1, computed in 32 bit whatever the autoencoder's own format is."""
    with _in_32_bit(pipe.vae):
        mean, std = _centre(pipe, latents.float())
        unscaled = latents.float() * std / pipe.vae.config.scaling_factor + mean
        pixels: torch.Tensor = pipe.vae.decode(unscaled).sample
    pipe.maybe_free_model_hooks()
    return (pixels / 2 + 0.5).clamp(0, 1)


def to_picture(pipe: Any, pixels: torch.Tensor) -> Image.Image:
    """Of pixels [1, 3, H, W] in 0..1."""
    processor = pipe.image_processor
    picture: Image.Image = processor.numpy_to_pil(processor.pt_to_numpy(pixels))[0]
    return picture


def _centre(pipe: Any, latents: torch.Tensor) -> tuple[Any, Any]:
    """Mean and deviation of the latents in training, where the autoencoder was published with them."""
    found = [getattr(pipe.vae.config, name, None) for name in ("latents_mean", "latents_std")]
    if found[0] is None or found[1] is None:
        return 0.0, 1.0
    mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(latents) for values in found)
    return mean, std


@contextmanager
def _as_exact_as_needed(pipe: Any) -> Iterator[None]:
    """Pipelines whose autoencoder overflows in half precision have a way to raise it to 32 bit."""
    overflows = hasattr(pipe, "upcast_vae") and pipe.vae.config.force_upcast
    if not (overflows and pipe.vae.dtype == torch.float16):
        yield
        return
    with _in_32_bit(pipe.vae):
        yield


@contextmanager
def _in_32_bit(vae: Any) -> Iterator[None]:
    own = vae.dtype
    vae.to(dtype=torch.float32)
    try:
        yield
    finally:
        vae.to(dtype=own)
